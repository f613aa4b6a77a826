"""The pipeline of tests/test_faults.py: a child process runs it, and may end at one of its writes.

The child gets CORPUS, FOLDER and LAST; it writes the number of its events to FOLDER/events.
"""

import os
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


if __name__ == "fault":
    n_events = run_until(CORPUS, FOLDER, LAST)  # noqa: F821
    (FOLDER / "events").write_text(str(n_events))  # noqa: F821
