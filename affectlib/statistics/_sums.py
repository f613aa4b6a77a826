"""Metrics from sums per group: leaving a film out, or drawing it twice, is then one addition."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from affectlib import metrics


def _sums(
    truth: np.ndarray, prediction: np.ndarray, group_of_row: np.ndarray, n_groups: int
) -> np.ndarray:
    """Number of rows, and sums of t, p, tt, pp, tp and of the distance of the means, per group.

    Shape:
        result ``(groups, 7)``
    """
    # Sums of squares of values far from 0 would lose digits: t and p are taken from their means.
    t = truth - truth.mean()
    p = prediction - prediction.mean()
    shift = np.full(len(t), truth.mean() - prediction.mean())
    terms = [np.ones(len(t)), t, p, t * t, p * p, t * p, shift]
    columns = [np.bincount(group_of_row, weights=term, minlength=n_groups) for term in terms]
    return np.stack(columns, axis=1)


def _moments(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Difference of the means, both variances and the covariance of each resample.

    Shape:
        sums ``(resamples, 7)``; each result ``(resamples,)``
    """
    means = sums[:, 1:] / sums[:, :1]
    t, p, tt, pp, tp, shift = means.T
    return t - p + shift, tt - t * t, pp - p * p, tp - t * p


def _mse_from_sums(sums: np.ndarray) -> np.ndarray:
    shift, truth_variance, prediction_variance, covariance = _moments(sums)
    return truth_variance + prediction_variance - 2 * covariance + shift**2


def _pcc_from_sums(sums: np.ndarray) -> np.ndarray:
    _, truth_variance, prediction_variance, covariance = _moments(sums)
    # A constant leaves a variance of rounding errors: it counts as 0, and the correlation as nan.
    rounding = 1e-12 * max(truth_variance.max(), prediction_variance.max())
    defined = (truth_variance > rounding) & (prediction_variance > rounding)
    product = np.maximum(truth_variance * prediction_variance, np.finfo(float).tiny)
    return np.where(defined, covariance / np.sqrt(product), np.nan)


def _ccc_from_sums(sums: np.ndarray) -> np.ndarray:
    shift, truth_variance, prediction_variance, covariance = _moments(sums)
    scale = truth_variance + prediction_variance + shift**2
    # Of one constant in truth and prediction only rounding errors are left: that is undefined.
    defined = scale > 1e-12 * max(scale.max(), np.finfo(float).tiny)
    return np.where(defined, 2 * covariance / np.where(defined, scale, 1.0), np.nan)


def _confusions(
    truth: np.ndarray, prediction: np.ndarray, group_of_row: np.ndarray, n_groups: int
) -> np.ndarray:
    """Confusion matrix of each group, one after the other in a row.

    Shape:
        result ``(groups, classes * classes)``
    """
    classes, codes = np.unique(np.concatenate([truth, prediction]), return_inverse=True)
    true_code, predicted_code = np.split(codes, 2)
    cells = len(classes) ** 2
    # One number for each place in one of the matrices: bincount then counts all of them at once.
    cell_of_row = group_of_row * cells + true_code * len(classes) + predicted_code
    counts = np.bincount(cell_of_row, minlength=n_groups * cells)
    return counts.reshape(n_groups, cells).astype(float)


def _class_counts(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows predicted right, true rows and predicted rows of each class, for each resample.

    Shape:
        sums ``(resamples, classes * classes)``; each result ``(resamples, classes)``
    """
    # A row holds a square matrix: truth down, prediction across.
    n_classes = math.isqrt(sums.shape[1])
    matrices = sums.reshape(len(sums), n_classes, n_classes)
    right = np.diagonal(matrices, axis1=1, axis2=2)
    return right, matrices.sum(2), matrices.sum(1)


def _mean_ratio(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Mean of part / total over the classes that a resample has."""
    present = total > 0
    ratios = np.where(present, part / np.maximum(total, 1), 0)
    return ratios.sum(1) / present.sum(1)


def _accuracy_from_sums(sums: np.ndarray) -> np.ndarray:
    right, true, _ = _class_counts(sums)
    return right.sum(1) / true.sum(1)


def _balanced_accuracy_from_sums(sums: np.ndarray) -> np.ndarray:
    right, true, _ = _class_counts(sums)
    return _mean_ratio(right, true)


def _macro_f1_from_sums(sums: np.ndarray) -> np.ndarray:
    right, true, predicted = _class_counts(sums)
    return _mean_ratio(2 * right, true + predicted)


# For each metric: a function that adds up each group, and one that makes the metric of such sums.
FROM_SUMS: dict[Callable, tuple[Callable, Callable]] = {
    metrics.mse: (_sums, _mse_from_sums),
    metrics.pcc: (_sums, _pcc_from_sums),
    metrics.ccc: (_sums, _ccc_from_sums),
    metrics.accuracy: (_confusions, _accuracy_from_sums),
    metrics.balanced_accuracy: (_confusions, _balanced_accuracy_from_sums),
    metrics.macro_f1: (_confusions, _macro_f1_from_sums),
}
