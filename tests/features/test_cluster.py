"""What a user reads when nobody answers on a Dask cluster."""

import re
import subprocess
import sys
import time

import pytest

from affectlib.features import cluster
from affectlib.runner import sweep


@pytest.fixture
def scheduler(monkeypatch):
    """A scheduler without workers, in a process of its own, and its address."""
    monkeypatch.setattr(cluster, "PATIENCE", 0.4)
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0"]
    command += ["--host", "127.0.0.1", "--no-dashboard"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    address = next(filter(None, (re.search(r"tcp://[\d.:]+\d", line) for line in process.stderr)))
    yield process, address[0]
    process.kill()
    process.wait()
    process.stderr.close()


def test_a_missing_worker_is_said_once_and_a_lost_scheduler_in_one_sentence(scheduler, capfd):
    process, address = scheduler
    told = ""
    with pytest.raises(cluster.ClusterError) as error, cluster.connected(address) as client:
        future = client.submit(sum, [1, 2])
        end = time.monotonic() + 30
        while "dask worker" not in told and time.monotonic() < end:
            time.sleep(0.1)
            told += capfd.readouterr().err
        time.sleep(3 * cluster.PATIENCE)
        process.kill()
        future.result()
    told += capfd.readouterr().err
    assert told.splitlines() == [
        f"no Dask worker at {address}: start one with `dask worker {address}`; waiting"
    ]
    assert f"the Dask scheduler at {address} is gone; what is finished is kept" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense"])
def test_a_scheduler_that_does_not_answer_is_said_in_one_line(monkeypatch, capsys, address):
    monkeypatch.setattr(cluster, "PATIENCE", 0.4)
    assert sweep.main("gla", "{seeds: [7]}", client=address) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert lines == [
        f"error: no Dask scheduler answers at {address}: start one with `dask scheduler`, "
        "which prints its address"
    ]
