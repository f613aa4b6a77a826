"""The pipeline of tests/test_faults.py: a child process runs it, and may end at one of its writes.

This script is a server: it imports everything and runs nothing, so that a fork of it runs the
pipeline in no time. Its argument is a file with a pickled corpus. Each line of its input is the
number of the last event and a folder; its answer is the exit status of the run. A run that comes to
its end writes the number of its events to the file ``events`` in the folder.
"""

import importlib
import os
import pickle
import signal
import sys
import traceback
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from affectlib import kept, paths, plots, results
from affectlib.corpora import Fold
from affectlib.features import Store, extract
from affectlib.features.motion import motion
from affectlib.features.visual import scene
from affectlib.models.attend_affect import FeatureAAN, mse_pcc_loss
from affectlib.stacked import fit_folds
from affectlib.training import samples

KILLED = 9
LONGEST = 120  # seconds of a run
# What a run would import when it comes to it.
MODULES = ("av", "cv2", "matplotlib.backends.backend_agg", "torch._dynamo")


def pipeline(corpus, folder):
    """Features, training, figure, table and metrics of a small corpus, all below a folder."""
    paths.CACHE = folder / "cache"
    paths.FIGURES = folder / "figures"
    os.environ["AFFECTLIB_KEEP"] = "1"
    kept.EVERY = -1.0  # a state after each epoch
    extractors = (scene(rate=1.0), motion(rate=1.0))
    table = extract(corpus, extractors, store=Store(), jobs=1, progress=False)
    names = [extractor.name for extractor in extractors]
    data = samples(table, corpus.clips, target="arousal", names=names)
    film = pd.factorize(corpus.clips["group"])[0]
    fold = Fold("a", *(np.flatnonzero(film == part) for part in range(3)))
    (result,) = fit_folds(
        lambda: FeatureAAN(sizes=[x.shape[1] for x in data.inputs]),
        data,
        [fold],
        loss=mse_pcc_loss,
        epochs=3,
        batch_size=4,
    )
    predictions = result.predictions
    fig, ax = plt.subplots()
    ax.plot(predictions.truth, predictions.prediction, "o")
    plots.save_figure(fig, "faults", "dots", title="Dots", alt="Dots.", kind="simulated")
    by_clip = pd.DataFrame({"clip": predictions.ids, "prediction": predictions.prediction})
    results.write_table("faults", "table1", by_clip, kind="simulated")
    results.write_metrics(
        "faults",
        {"prediction": predictions.prediction, "best epoch": result.history.best_epoch},
        corpus=corpus,
        kind="simulated",
        parameters={},
        seeds=[0],
    )


def run_until(corpus, folder, last):
    """Runs the pipeline and ends the process at one of its events.

    Args:
        corpus: of the pipeline
        folder: of the pipeline
        last: number of the event, from 1; 0 to come to the end

    Returns:
        number of events
    """
    plt.switch_backend("agg")
    events = 0

    def happens():
        nonlocal events
        events += 1
        if events == last:
            os._exit(KILLED)

    replace = os.replace
    write_bytes = Path.write_bytes

    def counted_write(path, content):
        happens()
        half = memoryview(content)[: len(content) // 2]
        write_bytes(path, half)
        happens()
        return write_bytes(path, content)

    def counted_replace(source, target):
        happens()
        replace(source, target)
        happens()

    Path.write_bytes = counted_write
    os.replace = counted_replace
    pipeline(corpus, folder)
    return events


def serve(corpus):
    """Runs the pipeline in a fork for each line of the input, and answers with its exit status."""
    for module in MODULES:
        importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a run prints is no answer
    for line in sys.stdin:
        last, folder = line.rstrip("\n").split(" ", maxsplit=1)
        child = os.fork()
        if child == 0:
            run_in_fork(corpus, Path(folder), int(last))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def run_in_fork(corpus, folder, last):
    """Runs the pipeline up to an event, and ends the process."""
    signal.alarm(LONGEST)
    try:
        events = run_until(corpus, folder, last)
        (folder / "events").write_text(str(events))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    serve(pickle.loads(Path(sys.argv[1]).read_bytes()))
