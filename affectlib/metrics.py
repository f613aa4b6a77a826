"""How far predictions are from the truth. Truth before prediction; undefined is nan, never 0.

Every metric takes ``by``, one group label per row (film, movie, clip): the result is then the mean over
groups of the metric within each, as MediaEval scores. A group without a defined value makes that mean nan,
since leaving it out would flatter the model that fails on it. Pooled and grouped scores are not comparable.
"""

import numpy as np


def mse(truth, prediction, *, by=None):
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
        ValueError: if the lengths differ

    Examples:
        >>> mse([0, 1], [0, 3])
        2.0
    """
    return _measure(lambda t, p: np.mean((t - p) ** 2), truth, prediction, by, float)


def pcc(truth, prediction, *, by=None):
    """Pearson's correlation coefficient; arguments and errors as :func:`mse`.

    Returns:
        correlation in [-1, 1]; nan where truth or prediction is constant

    Examples:
        >>> round(pcc([1, 2, 3, 4], [1, 3, 2, 4]), 6)
        0.8
    """
    return _measure(_pcc, truth, prediction, by, float)


def ccc(truth, prediction, *, by=None):
    """Lin's concordance correlation coefficient, in its population form; arguments and errors as :func:`mse`.

    Returns:
        concordance in [-1, 1]; nan where truth and prediction are the same constant

    References:
        L. I. Lin, A concordance correlation coefficient to evaluate reproducibility, Biometrics, 1989.
        With n-1 in place of n, the covariance and variances give 0.9777 where this gives 0.9768.

    Examples:
        >>> round(ccc([1, 2, 3, 4], [1.5, 2.5, 3.5, 4.5]), 6)
        0.909091
    """
    return _measure(_ccc, truth, prediction, by, float)


def accuracy(truth, prediction, *, by=None):
    """Share of rows predicted right; arguments and errors as :func:`mse`, with classes as values.

    Examples:
        >>> accuracy(["joy", "fear"], ["joy", "joy"])
        0.5
    """
    return _measure(lambda t, p: np.mean(t == p), truth, prediction, by, None)


def balanced_accuracy(truth, prediction, *, by=None):
    """Mean recall over the classes that occur in the truth; arguments and errors as :func:`accuracy`.

    Examples:
        >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
        0.5
    """
    return _measure(
        lambda t, p: np.mean([np.mean(p[t == c] == c) for c in np.unique(t)]),
        truth,
        prediction,
        by,
        None,
    )


def macro_f1(truth, prediction, *, by=None):
    """Mean F1 over the classes that occur in truth or prediction; arguments and errors as :func:`accuracy`.

    Examples:
        >>> round(macro_f1([0, 0, 0, 1], [0, 0, 0, 0]), 6)
        0.428571
    """
    return _measure(_macro_f1, truth, prediction, by, None)


def _measure(metric, truth, prediction, by, dtype):
    truth, prediction = (
        np.asarray(truth, dtype=dtype).ravel(),
        np.asarray(prediction, dtype=dtype).ravel(),
    )
    if len(truth) != len(prediction):
        raise ValueError(f"truth has {len(truth)} rows, prediction has {len(prediction)}")
    if by is None:
        return float(metric(truth, prediction)) if len(truth) else float("nan")
    groups = np.asarray(by).ravel()
    if len(groups) != len(truth):
        raise ValueError(f"truth has {len(truth)} rows, by has {len(groups)}")
    if not len(groups):
        return float("nan")
    masks = (groups == group for group in np.unique(groups))
    return float(np.mean([metric(truth[mask], prediction[mask]) for mask in masks]))


def _pcc(truth, prediction):
    if np.ptp(truth) == 0 or np.ptp(prediction) == 0:
        return np.nan
    t, p = truth - truth.mean(), prediction - prediction.mean()
    return t @ p / np.sqrt((t @ t) * (p @ p))


def _ccc(truth, prediction):
    t, p = truth - truth.mean(), prediction - prediction.mean()
    scale = np.mean(t**2) + np.mean(p**2) + (truth.mean() - prediction.mean()) ** 2
    return 2 * np.mean(t * p) / scale if scale else np.nan


def _macro_f1(truth, prediction):
    classes = np.unique(np.concatenate([truth, prediction]))
    return np.mean(
        [
            2
            * np.sum((truth == c) & (prediction == c))
            / (np.sum(truth == c) + np.sum(prediction == c))
            for c in classes
        ]
    )
