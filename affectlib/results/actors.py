"""Scores of single actors, the units of mood_change's intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from affectlib.metrics import balanced_accuracy
from affectlib.statistics import pseudo_values


def scores_by_actor(
    row: str, truth: np.ndarray, predictions: np.ndarray, actors: np.ndarray
) -> pd.DataFrame:
    """Scores of every actor, who are the units of intervals and claims.

    Folds share their training clips, and windows of one clip share their frames. Actors share
    neither clips nor test folds.

    An actor has too few clips for a balanced accuracy of their own. What the actor adds to the
    balanced accuracy of all windows stands in its place
    (:func:`affectlib.statistics.pseudo_values`).

    Args:
        row: name of the model
        truth: class of each window
        predictions: of each seed
        actors: of each window

    Shape:
        truth and actors ``(n,)``; predictions ``(seeds, n)``

    Returns:
        DataFrame with the columns row, column (accuracy, balanced accuracy), group (actor), value;
        one row per column, actor and seed, in the order of the seeds

    References:
        ours; the paper gives the deviation over five folds
    """
    tables = []
    for prediction in np.atleast_2d(predictions):
        is_right = pd.Series(prediction == np.asarray(truth))  # (n,)
        columns = {
            "accuracy": is_right.groupby(actors).mean(),
            "balanced accuracy": pseudo_values(balanced_accuracy, truth, prediction, groups=actors),
        }
        for column, values in columns.items():
            table = {"row": row, "column": column, "group": values.index, "value": values.array}
            tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)
