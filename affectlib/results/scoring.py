"""Predictions to tables of scores with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from affectlib.metrics import Metric, mse
from affectlib.statistics import SCALES, interval, jackknife_interval, pseudo_values, train_mean

if TYPE_CHECKING:
    from affectlib.corpora import Fold
    from affectlib.training import Predictions

    Runs = Mapping[tuple[str, str], Predictions]


def scores(runs: Runs, metrics: Iterable[Metric]) -> pd.DataFrame:
    """Each run's metrics over all its predictions together, with intervals over groups.

    Args:
        runs: (row of a table, target) to Predictions; of several seeds the mean over seeds is taken
        metrics: functions of truth and prediction

    Returns:
        DataFrame with the columns row, column (for example ``arousal_mse``), mean, low, high
    """
    metrics = tuple(metrics)
    rows = []
    for (row, target), run in runs.items():
        for metric in metrics:
            span = jackknife_interval(metric, run.truth, run.prediction, groups=run.groups)
            rows.append((row, _column(target, metric), span.mean, span.low, span.high))
    return pd.DataFrame(rows, columns=["row", "column", "mean", "low", "high"])


def scores_by_group(runs: Runs, metrics: Iterable[Metric], *, pooled: bool = False) -> pd.DataFrame:
    """Each run's metrics within every group (film), one value per seed.

    Args:
        runs, metrics: as for :func:`scores`
        pooled: take what each group adds to the metric over all rows together, its pseudo-value
            (see :func:`affectlib.statistics.pseudo_values`). Their mean is the pooled metric. This
            is for groups too short for a metric of their own: an excerpt with one value has no
            correlation

    Returns:
        DataFrame with the columns row, column, group, value
    """
    metrics = tuple(metrics)
    if pooled:
        return _pseudo_values_by_group(runs, metrics)
    rows = []
    for (row, target), run in runs.items():
        groups = np.asarray(run.groups)
        predictions = np.atleast_2d(run.prediction)
        # Films in the order in which they appear, which a set would lose.
        for group in dict.fromkeys(run.groups):
            in_group = groups == group
            truth = run.truth[in_group]
            for metric in metrics:
                for prediction in predictions:
                    value = metric(truth, prediction[in_group])
                    rows.append((row, _column(target, metric), group, value))
    return pd.DataFrame(rows, columns=["row", "column", "group", "value"])


def _pseudo_values_by_group(runs: Runs, metrics: Sequence[Metric]) -> pd.DataFrame:
    """The table of :func:`scores_by_group` with pseudo-values."""
    rows = []
    for (row, target), run in runs.items():
        for metric in metrics:
            column = _column(target, metric)
            for prediction in np.atleast_2d(run.prediction):
                values = pseudo_values(metric, run.truth, prediction, groups=run.groups)
                rows += [(row, column, group, value) for group, value in values.items()]
    return pd.DataFrame(rows, columns=["row", "column", "group", "value"])


def official(per_film: pd.DataFrame, rows: Sequence[str] | None = None) -> pd.DataFrame:
    """MediaEval's score: each metric within a film, then the mean over films with its t interval.

    Intervals are taken on the scale of the metric (see ``statistics.jackknife_interval``), so that
    none reaches an error below 0 or a correlation beyond 1. A metric that is undefined on one film
    is undefined here, as in :mod:`affectlib.metrics`.

    Args:
        per_film: a table of :func:`scores_by_group`
        rows: which rows, in this order; None takes all

    Returns:
        DataFrame as of :func:`scores`, with the number of films ``n``

    Raises:
        ValueError: if ``per_film`` lacks one of the rows
    """
    available = per_film["row"].unique().tolist()
    rows = list(dict.fromkeys(available if rows is None else rows))
    missing = [row for row in rows if row not in available]
    if missing:
        raise ValueError(f"per_film lacks the rows {', '.join(missing)}")
    cells = []
    for row in rows:
        of_row = per_film[per_film["row"] == row]
        for column, cell in of_row.groupby("column", sort=False):
            scale = _scale(column)
            span = interval(cell["value"], groups=cell["group"], scale=scale)
            cells.append((row, column, span.mean, span.low, span.high, span.n))
    return pd.DataFrame(cells, columns=["row", "column", "mean", "low", "high", "n"])


def _scale(column: str) -> str | None:
    """The scale of a column's intervals, by the metric at its end."""
    for metric, scale in SCALES.items():
        if column.endswith(metric.__name__):
            return scale
    return None


def floor(
    clips: pd.DataFrame,
    folds: Sequence[Fold],
    targets: Iterable[str],
    metrics: Iterable[Metric] = (mse,),
) -> pd.DataFrame:
    """Scores of predicting the mean of each fold's training clips: the row to beat.

    Within one fold this prediction is constant and has no correlation with the truth. Over several
    folds it has one, and a negative one: the mean that predicts a film of high values does not
    include that film, and so is lower than the mean that predicts a film of low values.

    Args:
        clips: table of clips with group and the targets
        folds: positions in it
        targets: columns to predict
        metrics: functions of truth and prediction

    Returns:
        DataFrame as of :func:`scores`
    """
    tested = np.concatenate([fold.test for fold in folds])
    runs = {}
    for target in targets:
        values = clips[target].to_numpy()
        predictions = []
        for fold in folds:
            # A constant has nothing to choose by validation: it may learn from these clips too.
            learned = values[np.concatenate([fold.train, fold.validation])]
            predictions.append(train_mean(learned, len(fold.test)))
        runs["predict the training mean", target] = SimpleNamespace(
            truth=values[tested],
            prediction=np.concatenate(predictions),
            groups=clips["group"].to_numpy()[tested],
        )
    return scores(runs, metrics)


def _column(target: str, metric: Metric) -> str:
    return f"{target}_{metric.__name__}"
