"""How sure a number is: intervals, paired differences, claims, and trivial predictors to beat."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from affectlib import metrics

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Up to this many units the sign-flip test counts all sign patterns, beyond it draws some at random.
EXACT_UNITS = 14
DRAWN_PATTERNS = 20_000


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval and the number of units; nan where undefined."""

    mean: float
    low: float
    high: float
    n: int

    def __format__(self, spec: str) -> str:
        """Formats the numbers, each with the given format, as in ``0.124 [0.101, 0.147]``."""
        spec = spec or ".3f"
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


@dataclass(frozen=True)
class Difference(Interval):
    """Mean of a - b over pairs with its interval, and the p value of a sign-flip permutation test.

    The test is two-sided.
    """

    p: float


@dataclass(frozen=True)
class Claim:
    """One sentence that a paper concludes with.

    It says that model ``better`` beats model ``worse`` on a column of the paper's table.
    """

    sentence: str
    better: str
    worse: str
    column: str
    higher_is_better: bool


def interval(
    values: ArrayLike, *, groups: ArrayLike | None = None, level: float = 0.95
) -> Interval:
    """Mean over folds, films or seeds with its t interval.

    Args:
        values: one value per unit; nan (undefined) is left out and not counted in ``n``
        groups: unit of each value. Repeats of one unit (seeds of one film) are averaged first,
            since they are no independent witnesses. None takes each value as a unit
        level: coverage of the interval

    Shape:
        values and groups ``(units,)``

    Returns:
        Interval, its bounds nan below two units

    Examples:
        >>> f"{interval([1.0, 2.0, 3.0]):.2f}"
        '2.00 [-0.48, 4.48]'
    """
    values = _unit_means(values, groups)
    n = len(values)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(values.mean())
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    from scipy import stats

    t = stats.t.ppf((1 + level) / 2, df=n - 1)
    half = float(t * stats.sem(values))
    return Interval(mean, mean - half, mean + half, n)


def bootstrap_interval(
    metric: metrics.Metric,
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    groups: ArrayLike,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A pooled metric with its percentile interval, films drawn with replacement.

    This is a cluster bootstrap. The metrics of :mod:`affectlib.metrics` are computed from sums per
    film, so that 2,000 resamples take milliseconds; any other metric is called once per resample.
    A resample on which the metric is undefined is left out.

    Args:
        metric: function of truth and prediction
        truth: true values
        prediction: predicted values; of several seeds the mean of the metric over seeds is taken
        groups: film of each row; a resample holds all rows of a film or none
        level: coverage of the interval
        resamples: number of resamples
        seed: of the resampling

    Shape:
        truth and groups ``(rows,)``; prediction ``(rows,)`` or ``(seeds, rows)``

    Returns:
        Interval with the metric on all rows as its mean and the number of films as ``n``;
        bounds nan below two films

    Raises:
        ValueError: if the lengths differ

    References:
        A. C. Davison, D. V. Hinkley, Bootstrap methods and their application, 1997, Section 3.8
    """
    truth = np.asarray(truth)
    predictions = np.atleast_2d(prediction)
    groups = np.asarray(groups)
    point = float(np.mean([metric(truth, row) for row in predictions]))
    if len(groups) != len(truth):
        raise ValueError(f"truth has {len(truth)} rows, groups has {len(groups)}")
    names, group_of_row = np.unique(groups, return_inverse=True)
    n = len(names)
    if n < 2 or math.isnan(point):
        return Interval(point, math.nan, math.nan, n)
    # How often each film is drawn in each resample.
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    if metric in _FROM_SUMS:
        values = _resampled_sums(metric, truth, predictions, group_of_row, counts)
    else:
        values = _resampled_rows(metric, truth, predictions, group_of_row, counts)
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(point, float(low), float(high), n)


def paired_difference(
    a: ArrayLike, b: ArrayLike, groups: ArrayLike | None = None, *, level: float = 0.95
) -> Difference:
    """Mean of a - b over films, with a t interval and a sign-flip permutation test.

    Up to 14 units the test counts all sign patterns; beyond that, 20,000 patterns drawn with a
    fixed seed.

    Args:
        a: one score per row
        b: the scores to compare with, row by row
        groups: film of each row, within which differences are averaged first; None takes each row
            as a unit
        level: coverage of the interval

    Shape:
        a, b and groups ``(rows,)``

    Returns:
        Difference; a pair with an undefined side is left out, p is nan below two units

    Raises:
        ValueError: if the lengths differ

    Examples:
        >>> paired_difference([1, 2, 3], [0, 1, 2]).p
        0.25
    """
    a = np.asarray(a, dtype=float)
    b = np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"a has {a.size} rows, b has {b.size}")
    differences = _unit_means(a - b, groups)
    mean = interval(differences, level=level)
    p = _sign_flip_p(differences) if mean.n >= 2 else math.nan
    return Difference(mean.mean, mean.low, mean.high, mean.n, p)


def _sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p value of the mean difference, if each sign were as likely as the other.

    Shape:
        differences ``(units,)``
    """
    # scipy.stats.permutation_test gives the same p where all patterns are counted. Where patterns
    # are drawn it draws others: the p values of the committed results would change.
    n = len(differences)
    exact = n <= EXACT_UNITS
    if exact:
        pattern = np.arange(2**n)[:, None]
        bits = pattern >> np.arange(n) & 1
        signs = 1 - 2 * bits  # (patterns, units)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], size=(DRAWN_PATTERNS, n))
    # The margin keeps patterns in the count that equal the observed sum but for rounding.
    observed = abs(differences.sum()) * (1 - 1e-12)
    extreme = np.abs(signs @ differences) >= observed
    if exact:
        return float(extreme.mean())
    # The observed pattern counts as one of those drawn, so that p is never 0.
    return float((extreme.sum() + 1) / (len(extreme) + 1))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down adjustment of p values for several tests; nan stays nan and is not counted.

    Shape:
        p_values and result ``(tests,)``

    Examples:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    order = order[~np.isnan(p_values[order])]
    # The smallest p is multiplied by the number of tests, the next by one less, and so on.
    scaled = p_values[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(p_values.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted


def claims(
    sentences: Sequence[Claim], published: pd.DataFrame, scores: pd.DataFrame
) -> pd.DataFrame:
    """Compares the conclusions of a paper with its own numbers and with this run.

    Effects are signed so that a positive one favours the claim. The run's effect is paired over
    films. A claim holds where its 95 % interval lies above 0, does not where it lies below, and is
    undecided otherwise. It is undecided too where the interval reaches 0 when it is moved by the
    effect's standard error over seeds: another seed, or another processor, could then turn the
    verdict round.

    Each verdict is about its claim alone. ``adjusted`` says how sure one may be of it as one of
    many. With few films it can say little: no p lies below 2 / 2**n.

    Args:
        sentences: the claims
        published: the paper's table: row, column, value
        scores: this run: row, column, group (film), value, one per seed and in the same order of
            seeds

    Returns:
        DataFrame with the columns claim, column, paper, run, low, high, n, p, adjusted (p by Holm),
        over_seeds (standard error of the effect over seeds, 0 with a single one), verdict
    """
    paper = published.set_index(["row", "column"])["value"]
    rows = [_checked_claim(claim, paper, scores) for claim in sentences]
    columns = ["claim", "column", "paper", "run", "low", "high", "n", "p", "over_seeds", "verdict"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(table.columns.get_loc("p") + 1, "adjusted", holm(table["p"]))
    return table


def _checked_claim(claim: Claim, paper: pd.Series, scores: pd.DataFrame) -> dict[str, object]:
    """One row of :func:`claims`."""
    sign = 1 if claim.higher_is_better else -1
    better = (claim.better, claim.column)
    worse = (claim.worse, claim.column)
    effects = sign * _paired_by_seed(scores, better, worse)  # (seeds, films)
    # Seeds of one film are no independent witnesses: their mean is one value per film.
    run = paired_difference(effects.mean(), np.zeros(effects.shape[1]))
    over_seeds = _standard_error(effects.mean(axis=1))
    verdict = "undecided"
    if run.low - over_seeds > 0:
        verdict = "holds"
    elif run.high + over_seeds < 0:
        verdict = "does not"
    return {
        "claim": claim.sentence,
        "column": claim.column,
        "paper": sign * (paper.get(better, math.nan) - paper.get(worse, math.nan)),
        "run": run.mean,
        "low": run.low,
        "high": run.high,
        "n": run.n,
        "p": run.p,
        "over_seeds": over_seeds,
        "verdict": verdict,
    }


def _paired_by_seed(scores: pd.DataFrame, a: tuple[str, str], b: tuple[str, str]) -> pd.DataFrame:
    """Differences of two models, seed by seed and film by film, of the films that both have.

    A model of a single seed, such as a constant, is compared with every seed of the other.

    Args:
        scores: row, column, group, value
        a, b: row and column of each model

    Returns:
        DataFrame ``(seeds, films)``; without films where a model has no scores
    """
    left = _by_seed(scores, *a)
    right = _by_seed(scores, *b)
    seeds = range(max(len(left), len(right)))
    if len(left) == 1:
        left = left.reindex(seeds, method="ffill")
    if len(right) == 1:
        right = right.reindex(seeds, method="ffill")
    # Only films that both models have.
    left, right = left.align(right, join="inner")
    return left - right


def _by_seed(scores: pd.DataFrame, row: str, column: str) -> pd.DataFrame:
    """Scores of one model, ``(seeds, films)``."""
    part = scores[(scores["row"] == row) & (scores["column"] == column)]
    seed = part.groupby("group", sort=False).cumcount()
    return part.assign(seed=seed).pivot(index="seed", columns="group", values="value")


def _standard_error(values: ArrayLike) -> float:
    """Standard error of a mean; 0 of a single value, whose error is not known."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return 0.0
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def pairwise(scores: pd.DataFrame) -> pd.DataFrame:
    """Compares every model with every other, paired over films.

    The p values are adjusted by Holm's method over all of these comparisons; the 95 % intervals are
    not adjusted.

    Args:
        scores: one run: row, column, group (film), value, one per seed; only the rows and columns
            to compare

    Returns:
        DataFrame with the columns column, a, b, mean (of a - b), low, high, n, p, adjusted

    Examples:
        >>> table = {"row": list("xxyy"), "column": "mse", "group": list("ABAB")}
        >>> scores = pd.DataFrame(table | {"value": [3, 4, 1, 3]})
        >>> pairwise(scores)[["a", "b", "mean", "n", "adjusted"]].values.tolist()
        [['x', 'y', 1.5, 2, 0.5]]
    """
    films = scores.groupby(["column", "row", "group"], sort=False)["value"].mean()
    rows = []
    for column in scores["column"].unique():
        by_row = films[column].unstack("group")
        models = scores.loc[scores["column"] == column, "row"].unique()
        for a, b in combinations(models, 2):
            d = paired_difference(by_row.loc[a], by_row.loc[b])
            rows.append((column, a, b, d.mean, d.low, d.high, d.n, d.p))
    table = pd.DataFrame(rows, columns=["column", "a", "b", "mean", "low", "high", "n", "p"])
    return table.assign(adjusted=holm(table["p"]))


def train_mean(truth: ArrayLike, n: int) -> np.ndarray:
    """Predicts the mean of the training values, ``n`` times."""
    return np.full(n, np.mean(truth))


def majority(truth: ArrayLike, n: int) -> np.ndarray:
    """Predicts the most frequent training class, ``n`` times; on a tie the first when sorted."""
    classes, counts = np.unique(truth, return_counts=True)
    return np.full(n, classes[counts.argmax()])


def stratified(truth: ArrayLike, n: int, *, seed: int | Sequence[int] = 0) -> np.ndarray:
    """Guesses ``n`` classes with the frequencies of the training classes."""
    return np.random.default_rng(seed).choice(np.asarray(truth), size=n)


def _unit_means(values: ArrayLike, groups: ArrayLike | None) -> np.ndarray:
    """Defined values, averaged within each group."""
    values = np.asarray(values, dtype=float).ravel()
    if groups is None:
        return values[~np.isnan(values)]
    groups = np.asarray(groups).ravel()
    if len(groups) != len(values):
        raise ValueError(f"values has {len(values)} rows, groups has {len(groups)}")
    means = pd.Series(values).groupby(groups).mean()
    return means[means.notna()].to_numpy()


# ---------------------------------------------------------------- bootstrap


def _resampled_rows(
    metric: metrics.Metric,
    truth: np.ndarray,
    predictions: np.ndarray,
    group_of_row: np.ndarray,
    counts: np.ndarray,
) -> list[float]:
    """The metric on each resample, from its rows. This serves any metric.

    Shape:
        truth and group_of_row ``(rows,)``; predictions ``(seeds, rows)``;
        counts ``(resamples, groups)``; result ``(resamples,)``
    """
    rows_of_group = [np.flatnonzero(group_of_row == group) for group in range(counts.shape[1])]
    values = []
    for count in counts:
        repeated = [np.tile(rows, n) for rows, n in zip(rows_of_group, count, strict=True)]
        drawn = np.concatenate(repeated)
        values.append(np.mean([metric(truth[drawn], row[drawn]) for row in predictions]))
    return values


def _resampled_sums(
    metric: metrics.Metric,
    truth: np.ndarray,
    predictions: np.ndarray,
    group_of_row: np.ndarray,
    counts: np.ndarray,
) -> np.ndarray:
    """The metric on each resample, from sums per group that are added as often as it was drawn.

    Arguments, shapes and result as for :func:`_resampled_rows`.
    """
    sums_of_groups, metric_from_sums = _FROM_SUMS[metric]
    by_seed = []
    for prediction in predictions:
        sums = sums_of_groups(truth, prediction, group_of_row, counts.shape[1])  # (groups, sums)
        by_seed.append(metric_from_sums(counts @ sums))
    return np.mean(by_seed, axis=0)


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
    return 2 * covariance / (truth_variance + prediction_variance + shift**2)


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
_FROM_SUMS: dict[Callable, tuple[Callable, Callable]] = {
    metrics.mse: (_sums, _mse_from_sums),
    metrics.pcc: (_sums, _pcc_from_sums),
    metrics.ccc: (_sums, _ccc_from_sums),
    metrics.accuracy: (_confusions, _accuracy_from_sums),
    metrics.balanced_accuracy: (_confusions, _balanced_accuracy_from_sums),
    metrics.macro_f1: (_confusions, _macro_f1_from_sums),
}


# ---------------------------------------------------------------- pooled metrics of two models


def jackknife_values(
    metric: metrics.Metric, truth: ArrayLike, prediction: ArrayLike, *, groups: ArrayLike
) -> np.ndarray:
    """One value per group whose mean is a pooled metric, and whose standard error is its own.

    A pooled correlation is no mean over films. These values make it one: the value of a film tells
    how much the pooled metric changes when the film is left out. They may stand wherever one score
    per film is asked for, as in :func:`claims`; differences between two models are then those of
    their pooled metrics.

    Args:
        metric: function of truth and prediction
        truth: true values
        prediction: predicted values, of one seed or of several
        groups: film of each row

    Shape:
        truth and groups ``(rows,)``; prediction ``(rows,)`` or ``(seeds, rows)``;
        result ``(seeds, groups)``, groups in the order in which they first appear

    Returns:
        array; a seed is nan where the metric is undefined on all rows, or without one of the groups

    Raises:
        ValueError: if the lengths differ

    References:
        B. Efron, R. J. Tibshirani, An introduction to the bootstrap, 1993, Chapter 11: its
        pseudo-values, moved together so that their mean is the metric itself

    Examples:
        >>> jackknife_values(metrics.mse, [0, 0, 0, 0], [1, 1, 2, 2], groups=list("aabb")).tolist()
        [[1.0, 4.0]]
    """
    truth = np.asarray(truth)
    predictions = np.atleast_2d(prediction)
    groups = np.asarray(groups)
    if not len(groups) == len(truth) == predictions.shape[1]:
        raise ValueError(
            f"truth has {len(truth)} rows, prediction has {predictions.shape[1]}, "
            f"groups has {len(groups)}"
        )
    kept = [groups != group for group in dict.fromkeys(groups.tolist())]
    values = []
    for row in predictions:
        without = np.array([metric(truth[rows], row[rows]) for rows in kept])  # (groups,)
        distance = without.mean() - without  # how much the film itself adds
        values.append(metric(truth, row) + (len(kept) - 1) * distance)
    return np.stack(values)


def pooled_difference(
    metric: metrics.Metric,
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    groups: ArrayLike,
    level: float = 0.95,
) -> Difference:
    """A pooled metric of model a minus that of model b, paired over films.

    The interval is the jackknife's, which leaves out one film after the other; the p value is that
    of :func:`paired_difference` on the films' :func:`jackknife_values`.

    Args:
        metric: function of truth and prediction
        truth: true values
        a: predicted values of one model; of several seeds the mean of the metric is taken
        b: those of the other model
        groups: film of each row
        level: coverage of the interval

    Shape:
        truth and groups ``(rows,)``; a and b ``(rows,)`` or ``(seeds, rows)``

    Returns:
        Difference, its mean the difference of the two pooled metrics; nan where either is undefined

    Raises:
        ValueError: if the lengths differ

    Examples:
        >>> pooled_difference(metrics.mse, [0, 0, 0], [2, 2, 1], [1, 1, 1], groups=list("abc")).mean
        2.0
    """
    left = jackknife_values(metric, truth, a, groups=groups).mean(axis=0)  # (groups,)
    right = jackknife_values(metric, truth, b, groups=groups).mean(axis=0)  # (groups,)
    if np.isnan(left - right).any():
        return Difference(math.nan, math.nan, math.nan, len(left), math.nan)
    return paired_difference(left, right, level=level)
