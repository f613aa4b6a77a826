"""A run that is killed anywhere and repeated gives the bytes of a run that was never killed.

A small pipeline (a film to features, features to a model, the model to a figure, a table and
metrics.json) runs in a child process, which ends without warning at one of its writes to disk:
before the write, between the temporary file and the file, or after it.
"""

import hashlib
import multiprocessing
import os
import runpy
from pathlib import Path

import pytest

from affectlib.corpora import segments
from affectlib.simulate import make_cognimuse

PIPELINE = Path(__file__).with_name("faults_pipeline.py")
# Points at which a run is killed; `AFFECTLIB_FAULTS=20` tries more of them.
POINTS = int(os.environ.get("AFFECTLIB_FAULTS") or 1)
KILLED = 9
MODULES = (
    "affectlib.features",
    "affectlib.models.attend_affect",
    "affectlib.plots",
    "affectlib.results",
    "affectlib.stacked",
    "av",
    "cv2",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "torch._dynamo",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    return segments(make_cognimuse(root, n_films=3, seconds=8, jobs=1), seconds=2.0)


@pytest.fixture(scope="module")
def run_in_child(corpus):
    """Runs the pipeline below a folder, up to one of its events; gives the exit status."""
    # A server that has imported everything, and run nothing, makes a child in no time.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(MODULES))

    def run(folder, last):
        names = {"CORPUS": corpus, "FOLDER": folder, "LAST": last}
        child = context.Process(target=runpy.run_path, args=(str(PIPELINE), names, "fault"))
        child.start()
        child.join(120)
        assert child.exitcode is not None, "the child did not end"
        return child.exitcode

    return run


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
