"""A run that is killed anywhere and repeated gives the bytes of a run that was never killed.

A small pipeline (a film to features, features to a model, the model to a figure, a table and
metrics.json) runs in a child process, which ends without warning at one of its writes to disk:
before the write, between the temporary file and the file, or after it.
"""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from affectlib.corpora import segments
from affectlib.simulate import make_cognimuse

PIPELINE = Path(__file__).with_name("faults_pipeline.py")
# Points at which a run is killed; `AFFECTLIB_FAULTS=20` tries more of them.
POINTS = int(os.environ.get("AFFECTLIB_FAULTS") or 1)
KILLED = 9


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    return segments(make_cognimuse(root, n_films=3, seconds=8, jobs=1), seconds=2.0)


@pytest.fixture(scope="module")
def run_in_child(corpus, tmp_path_factory):
    """Runs the pipeline below a folder, up to one of its events; gives the exit status."""
    pickled = tmp_path_factory.mktemp("pickled") / "corpus"
    pickled.write_bytes(pickle.dumps(corpus))
    command = [sys.executable, str(PIPELINE), str(pickled)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(folder, last):
        print(last, folder, file=server.stdin, flush=True)
        return int(server.stdout.readline())

    yield run
    server.communicate()


def contents(folder):
    """Hash of every file that a run leaves for its reader, by name."""
    files = sorted(folder.rglob("*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def whole(run_in_child, tmp_path_factory):
    """Number of events of a run that is not killed, and the files that it leaves."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_in_child(folder, 0) == 0
    files = contents(folder / "figures" / "faults")
    assert sorted(files) == ["dots.png", "dots.txt", "metrics.json", "table1.csv"]
    events = int((folder / "events").read_text())
    assert events > POINTS
    return events, files


@pytest.mark.parametrize("point", range(POINTS))
def test_a_killed_run_that_is_repeated_gives_the_same_bytes(run_in_child, whole, tmp_path, point):
    events, files = whole
    # Spread evenly over the events of the run.
    last = 1 + int(events * (point + 0.5) / POINTS)
    assert run_in_child(tmp_path, last) == KILLED
    assert run_in_child(tmp_path, 0) == 0
    left = contents(tmp_path / "figures" / "faults")
    # A killed write may leave its hidden half, which a later run of the notebook removes.
    assert {name: left[name] for name in left if not name.endswith(".part")} == files
