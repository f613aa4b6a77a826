"""How far predictions are from the truth. Truth before prediction; undefined is nan, never 0.

Every metric takes ``by``, one group label per row (film, movie, clip). The result is then the mean
over groups of the metric within each group, as MediaEval scores. A group without a defined value
makes that mean nan, since leaving it out would flatter the model that fails on it. Pooled and
grouped scores are not comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Metric = Callable[..., float]


# scikit-learn has a mean squared error and an accuracy too. Ours are one line of numpy each, stay
# nan where a prediction is nan, and are fast enough to be taken film by film and seed by seed.


def mse(truth: ArrayLike, prediction: ArrayLike, *, by: Sequence | None = None) -> float:
    """Mean squared error.

    Args:
        truth: true values
        prediction: predicted values
        by: group label of each row; None pools all rows

    Shape:
        truth, prediction and by ``(rows,)``

    Returns:
        mean squared error in [0, inf); nan without rows

    Raises:
        ValueError: if the lengths differ, or a label of a group is missing

    Examples:
        >>> mse([0, 1], [0, 3])
        2.0
    """
    return _measure(_mse, truth, prediction, by, dtype=float)


def pcc(truth: ArrayLike, prediction: ArrayLike, *, by: Sequence | None = None) -> float:
    """Pearson's correlation coefficient; arguments and errors as for :func:`mse`.

    Returns:
        correlation in [-1, 1]; nan where truth or prediction is constant, or as good as constant:
            its values differ by the rounding of their type

    Examples:
        >>> round(pcc([1, 2, 3, 4], [1, 3, 2, 4]), 6)
        0.8
    """
    metric = partial(_pcc, rounding=_rounding(truth, prediction))
    return _measure(metric, truth, prediction, by, dtype=float)


def ccc(truth: ArrayLike, prediction: ArrayLike, *, by: Sequence | None = None) -> float:
    """Lin's concordance correlation coefficient; arguments and errors as for :func:`mse`.

    This is the population form, which divides by n. With n - 1 in place of n, the covariance and
    the variances give 0.9777 where this gives 0.9768.

    Returns:
        concordance in [-1, 1]; nan where truth and prediction are the same constant, up to the
            rounding of their type. Of two other constants it is 0

    References:
        L. I. Lin, A concordance correlation coefficient to evaluate reproducibility,
        Biometrics, 1989.

    Examples:
        >>> round(ccc([1, 2, 3, 4], [1.5, 2.5, 3.5, 4.5]), 6)
        0.909091
    """
    metric = partial(_ccc, rounding=_rounding(truth, prediction))
    return _measure(metric, truth, prediction, by, dtype=float)


def accuracy(truth: ArrayLike, prediction: ArrayLike, *, by: Sequence | None = None) -> float:
    """Share of rows predicted right; arguments and errors as for :func:`mse`, with classes.

    Examples:
        >>> accuracy(["joy", "fear"], ["joy", "joy"])
        0.5
    """
    return _measure(_accuracy, truth, prediction, by)


def balanced_accuracy(
    truth: ArrayLike, prediction: ArrayLike, *, by: Sequence | None = None
) -> float:
    """Mean recall over the classes of the truth; arguments and errors as for :func:`accuracy`.

    Examples:
        >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
        0.5
    """
    return _measure(_balanced_accuracy, truth, prediction, by)


def macro_f1(truth: ArrayLike, prediction: ArrayLike, *, by: Sequence | None = None) -> float:
    """Mean F1 over the classes that occur in truth or prediction.

    Arguments and errors as for :func:`accuracy`.

    Examples:
        >>> round(macro_f1([0, 0, 0, 1], [0, 0, 0, 0]), 6)
        0.428571
    """
    return _measure(_macro_f1, truth, prediction, by)


def _measure(
    metric: Callable[[np.ndarray, np.ndarray], float],
    truth: ArrayLike,
    prediction: ArrayLike,
    by: Sequence | None,
    *,
    dtype: type | None = None,
) -> float:
    """Checks the lengths, then takes a metric over all rows, or within each group."""
    truth = np.asarray(truth, dtype=dtype).ravel()
    prediction = np.asarray(prediction, dtype=dtype).ravel()
    if len(truth) != len(prediction):
        raise ValueError(f"truth has {len(truth)} rows, prediction has {len(prediction)}")
    if _is_text(truth) != _is_text(prediction) and len(truth):
        raise ValueError("of truth and prediction, one holds text and the other does not")
    groups = None if by is None else np.asarray(by).ravel()
    if groups is not None:
        _check_groups(groups, len(truth))
    if len(truth) == 0:
        return float("nan")
    if groups is None:
        return float(metric(truth, prediction))
    # np.mean, unlike np.nanmean, passes on the nan of a group without a defined value.
    values = []
    for group in np.unique(groups):
        rows = groups == group
        values.append(metric(truth[rows], prediction[rows]))
    return float(np.mean(values))


def _is_text(values: np.ndarray) -> bool:
    """True for strings, also as objects, as pandas keeps them."""
    if values.dtype.kind == "O":
        return all(isinstance(value, str) for value in values)
    return values.dtype.kind in "UST"


def _check_groups(groups: np.ndarray, n_rows: int) -> None:
    """Refuses labels of groups that are too few, missing, or of several types."""
    if len(groups) != n_rows:
        raise ValueError(f"truth has {n_rows} rows, by has {len(groups)}")
    missing = pd.isna(groups)
    if missing.any():
        raise ValueError(f"by, row {np.argmax(missing)} is missing: each row needs its group")
    try:
        np.unique(groups)
    except TypeError:
        names = sorted({type(label).__name__ for label in groups})
        raise ValueError(f"by holds labels of several types: {' and '.join(names)}") from None


def _mse(truth: np.ndarray, prediction: np.ndarray) -> float:
    return np.mean((truth - prediction) ** 2)


def _rounding(*series: ArrayLike) -> float:
    """Share of itself by which a constant may vary: 16 steps of the coarsest type of number."""
    steps = []
    for values in series:
        dtype = np.asarray(values).dtype
        steps.append(np.finfo(dtype if dtype.kind == "f" else float).eps)
    return 16 * float(max(steps))


def _is_constant(values: np.ndarray, rounding: float) -> bool:
    """True if values differ by no more than rounding, a share of the largest of them."""
    # The variance of a constant may be a rounding error instead of 0; its range is exactly 0.
    return bool(np.ptp(values) <= rounding * np.abs(values).max())


def _pcc(truth: np.ndarray, prediction: np.ndarray, *, rounding: float) -> float:
    if _is_constant(truth, rounding) or _is_constant(prediction, rounding):
        return np.nan
    t = truth - truth.mean()
    p = prediction - prediction.mean()
    return t @ p / np.sqrt((t @ t) * (p @ p))


def _ccc(truth: np.ndarray, prediction: np.ndarray, *, rounding: float) -> float:
    if _is_constant(np.concatenate([truth, prediction]), rounding):
        return np.nan
    t = truth - truth.mean()
    p = prediction - prediction.mean()
    shift = truth.mean() - prediction.mean()
    scale = np.mean(t**2) + np.mean(p**2) + shift**2
    if scale == 0:
        return np.nan
    return 2 * np.mean(t * p) / scale


def _accuracy(truth: np.ndarray, prediction: np.ndarray) -> float:
    return np.mean(truth == prediction)


def _balanced_accuracy(truth: np.ndarray, prediction: np.ndarray) -> float:
    from sklearn.metrics import recall_score

    # Not balanced_accuracy_score, which warns about a class that is predicted but never true.
    classes = np.unique(truth)
    return recall_score(truth, prediction, labels=classes, average="macro")


def _macro_f1(truth: np.ndarray, prediction: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return f1_score(truth, prediction, average="macro")
