"""Extraction on many machines, played by processes of this one.

There are a scheduler and two workers, and one worker is killed in the middle.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pandas as pd
import pytest

from affectlib import paths
from affectlib.features import Extractor, Store, extract, film, processes

FILMS = 12
GREYS = [20 + 15 * i for i in range(FILMS)]
HELPERS = """
import os, time
from affectlib.features import Extractor

def light(pictures, log=""):
    value = pictures[0].image.mean()
    if log:
        time.sleep(0.2)
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {value:.2f}\\n")
    return [value]

def extractor(log=""):
    return Extractor("light", 1, ("light",), light, rate=1.0, options=(("log", log),))
"""
# Kills a process once it has described two films.
KILLER = """
import sys, time, os, signal
log, pid = sys.argv[1], int(sys.argv[2])
def described():
    if not os.path.exists(log):
        return 0
    return sum(line.split()[0] == str(pid) for line in open(log))
while described() < 2:
    time.sleep(0.02)
os.kill(pid, signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("dask")
    (path / "dask_helpers.py").write_text(HELPERS)
    sys.path.insert(0, str(path))
    yield path
    sys.path.remove(str(path))


@pytest.fixture(scope="module")
def corpus(folder):
    """Films of one clip, each in another grey."""
    clips = []
    for i, grey in enumerate(GREYS):
        path = folder / f"f{i:02d}.mp4"
        with av.open(str(path), "w") as container:
            options = {"preset": "ultrafast"}
            video = container.add_stream("libx264", rate=Fraction(2), options=options)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            image = np.full((48, 64, 3), grey, np.uint8)
            for _ in range(4):
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(video.encode(None))
        clips.append(film(path).clips)
    return replace(film(path), name="films", clips=pd.concat(clips).reset_index(drop=True))


@pytest.fixture(scope="module")
def cluster(folder):
    """Address of a scheduler, and its two workers as processes."""
    from dask.distributed import Client

    search = f"{folder}{os.pathsep}{paths.ROOT}"
    environment = {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    file = folder / "scheduler.json"

    def start(*arguments: str) -> subprocess.Popen:
        common = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments, *common],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=folder,
        )

    # The workers wait for the scheduler's file: all three start at once.
    started = [start("scheduler", "--port", "0")]
    for _ in range(2):
        options = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0")
        started.append(start("worker", *options))
    try:
        deadline = time.monotonic() + 60
        while not file.is_file():
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        with Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_worker_killed_in_the_middle_loses_no_clip(folder, corpus, cluster):
    import dask_helpers

    address, workers = cluster
    log = folder / "log"
    store = Store(folder / "store")
    extractor = dask_helpers.extractor(str(log))
    arguments = [str(log), str(workers[0].pid)]
    killer = subprocess.Popen([sys.executable, "-c", KILLER, *arguments])
    try:
        table = extract(corpus, [extractor], store=store, client=address, progress=False)
    finally:
        killer.kill()
        killer.wait()
    assert workers[0].wait(timeout=10) == -signal.SIGKILL
    assert workers[1].poll() is None
    assert table["light"][:, 0] == pytest.approx(GREYS, abs=3)
    assert not table.skipped
    assert len(list(store.root.glob("light/*.npy"))) == FILMS

    lines = [line.split() for line in log.read_text().splitlines()]
    described = pd.DataFrame(lines, columns=["pid", "film"])
    assert set(described["pid"]) == {str(worker.pid) for worker in workers}
    assert described["film"].nunique() == FILMS
    # Described twice were only films that the lost worker had not yet handed over.
    assert len(described) <= FILMS + 2
    twice = described[described["film"].duplicated(keep=False)]
    assert set(twice.groupby("film")["pid"].first()) <= {str(workers[0].pid)}

    log.unlink()
    again = extract(corpus, [extractor], store=store, progress=False)
    np.testing.assert_array_equal(again["light"], table["light"])
    assert not log.exists()


def light(pictures):
    return [pictures[0].image.mean()]


def test_a_film_that_kills_its_workers_is_named(corpus, monkeypatch):
    from dask.distributed import Client, KilledWorker

    described = processes._described

    def deadly(parts):
        if any("f03" in part.path for part in parts):
            raise KilledWorker("describe", SimpleNamespace(address="tcp://elsewhere"), 3)
        return described(parts)

    monkeypatch.setattr(processes, "_described", deadly)
    extractor = Extractor("light", 1, ("light",), light, rate=1.0)
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as one:
        table = extract(corpus, [extractor], client=one, on_error="skip", progress=False)
        assert len(table) == FILMS - 1
        assert len(table.skipped) == 1
        assert "f03.mp4" in table.skipped[0]
        with pytest.raises(RuntimeError, match=r"f03\.mp4.*killed"):
            extract(corpus, [extractor], client=one, progress=False)
