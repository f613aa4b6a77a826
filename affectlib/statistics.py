"""How sure a number is: intervals, paired differences, claims, and the trivial predictors to beat."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from affectlib import metrics


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval, and the number of units behind it; nan where undefined."""

    mean: float
    low: float
    high: float
    n: int

    def __format__(self, spec):
        """As ``0.124 [0.101, 0.147]``, each number in the given format."""
        mean, low, high = (
            format(value, spec or ".3f") for value in (self.mean, self.low, self.high)
        )
        return f"{mean} [{low}, {high}]"


@dataclass(frozen=True)
class Difference(Interval):
    """Mean of a - b over pairs, its interval and the two-sided p value of a sign-flip permutation test."""

    p: float


@dataclass(frozen=True)
class Claim:
    """One sentence that a paper concludes with: model ``better`` beats model ``worse`` on a column of its table."""

    sentence: str
    better: str
    worse: str
    column: str
    higher_is_better: bool


def interval(values, *, groups=None, level=0.95):
    """Mean over folds, films or seeds with its t interval.

    Args:
        values: one value per unit; nan, undefined, is left out and not counted in ``n``
        groups: unit of each value: repeats of one unit (seeds of one film) are averaged first,
            since they are no independent witnesses; None takes each value as a unit
        level: coverage of the interval

    Shape:
        values and groups ``(units,)``

    Returns:
        Interval, its bounds nan below two units

    Examples:
        >>> f"{interval([1.0, 2.0, 3.0]):.2f}"
        '2.00 [-0.48, 4.48]'
    """
    values = _by_group(values, groups)
    n = len(values)
    if n < 2:
        return Interval(float(values[0]) if n else math.nan, math.nan, math.nan, n)
    from scipy.special import stdtrit

    half = stdtrit(n - 1, (1 + level) / 2) * values.std(ddof=1) / math.sqrt(n)
    return Interval(
        float(values.mean()), float(values.mean() - half), float(values.mean() + half), n
    )


def bootstrap_interval(metric, truth, prediction, *, groups, level=0.95, resamples=2000, seed=0):
    """A pooled metric with its percentile interval, films drawn with replacement (cluster bootstrap).

    The metrics of :mod:`affectlib.metrics` are computed from sums per film, so that 2,000 resamples take milliseconds;
    any other is called once per resample. A resample on which the metric is undefined is left out.

    Args:
        metric: function of truth and prediction
        truth: true values
        prediction: predicted values; with several seeds the mean of the metric over seeds is taken
        groups: film of each row: rows of one film stand or fall together
        level: coverage of the interval
        resamples: number of resamples
        seed: of the resampling

    Shape:
        truth and groups ``(rows,)``; prediction ``(rows,)`` or ``(seeds, rows)``

    Returns:
        Interval with the metric on all rows as its mean and the number of films as ``n``; bounds nan below two films

    Raises:
        ValueError: if the lengths differ

    References:
        A. C. Davison, D. V. Hinkley, Bootstrap methods and their application, 1997, Section 3.8
    """
    truth, predictions, groups = np.asarray(truth), np.atleast_2d(prediction), np.asarray(groups)
    point = float(np.mean([metric(truth, row) for row in predictions]))
    if len(groups) != len(truth):
        raise ValueError(f"truth has {len(truth)} rows, groups has {len(groups)}")
    names, member = np.unique(groups, return_inverse=True)
    n = len(names)
    if n < 2 or math.isnan(point):
        return Interval(point, math.nan, math.nan, n)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    if metric in _FROM_SUMS:
        sums, value = _FROM_SUMS[metric]
        values = np.mean(
            [value(counts @ sums(truth, row, member, n)) for row in predictions], axis=0
        )
    else:
        rows_of = [np.flatnonzero(member == group) for group in range(n)]
        values = []
        for count in counts:
            drawn = np.concatenate(
                [np.tile(rows, times) for rows, times in zip(rows_of, count, strict=True)]
            )
            values.append(np.mean([metric(truth[drawn], row[drawn]) for row in predictions]))
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(point, float(low), float(high), n)


def paired_difference(a, b, groups=None, *, level=0.95, seed=0):
    """Mean of a - b over films, with a t interval and a sign-flip permutation test.

    Args:
        a: one score per row
        b: the scores to compare with, row by row
        groups: film of each row, within which differences are averaged first; None takes each row as a unit
        level: coverage of the interval
        seed: of the test where it draws: up to 14 units all sign patterns are counted, beyond that 20,000 drawn ones

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
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"a has {a.size} rows, b has {b.size}")
    differences = _by_group(a - b, groups)
    mean = interval(differences, level=level)
    n = mean.n
    if n < 2:
        return Difference(mean.mean, mean.low, mean.high, n, math.nan)
    exact = n <= 14
    if exact:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1, 1], size=(20_000, n))
    extreme = np.abs(signs @ differences) >= abs(differences.sum()) * (1 - 1e-12)
    p = extreme.mean() if exact else (extreme.sum() + 1) / (len(extreme) + 1)
    return Difference(mean.mean, mean.low, mean.high, n, float(p))


def holm(p_values):
    """Holm's step-down adjustment of p values for several tests; nan stays nan and is not counted.

    Examples:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, dtype=float)
    adjusted, order = np.full(p_values.shape, np.nan), np.argsort(p_values)
    order = order[~np.isnan(p_values[order])]
    scaled = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted


def claims(sentences, published, scores, *, level=0.95):
    """Sets what a paper concludes against its own numbers and against this run.

    Effects are signed so that a positive one favours the claim. The run's effect is paired over films.
    A claim holds where its interval lies above 0, does not where it lies below, and is undecided
    otherwise. It is undecided too where the interval reaches 0 when it is moved by the effect's
    standard error over seeds: another seed, or another processor, could then turn the verdict round.
    Each claim's verdict is its own; ``adjusted`` tells how sure one may be of it as one of many, and
    with few films it can tell little: no p lies below 2 / 2**n.

    Args:
        sentences: the claims
        published: the paper's table: row, column, value
        scores: this run: row, column, group (film), value, one per seed and in the same order of seeds
        level: coverage of the intervals

    Returns:
        DataFrame with the columns claim, column, paper, run, low, high, n, p, adjusted (p by Holm),
        over_seeds (standard error of the effect over seeds, 0 with a single one), verdict
    """
    paper = published.set_index(["row", "column"])["value"]
    rows = []
    for claim in sentences:
        sign = 1 if claim.higher_is_better else -1
        keys = [(claim.better, claim.column), (claim.worse, claim.column)]
        effects = sign * _paired_by_seed(scores, *keys)  # (seeds, films)
        run = paired_difference(effects.mean(), np.zeros(effects.shape[1]), level=level)
        over_seeds = _standard_error(effects.mean(axis=1))
        verdict = "undecided"
        if run.low - over_seeds > 0:
            verdict = "holds"
        elif run.high + over_seeds < 0:
            verdict = "does not"
        effect = sign * (paper.get(keys[0], math.nan) - paper.get(keys[1], math.nan))
        cells = (claim.sentence, claim.column, effect, run.mean, run.low, run.high, run.n, run.p)
        rows.append((*cells, over_seeds, verdict))
    columns = ["claim", "column", "paper", "run", "low", "high", "n", "p", "over_seeds", "verdict"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(table.columns.get_loc("p") + 1, "adjusted", holm(table["p"]))
    return table


def _paired_by_seed(scores, a, b):
    """Differences of two models, seed by seed and film by film, of the films that both have.

    A model of a single seed, such as a constant, is compared with every seed of the other.

    Args:
        scores: row, column, group, value
        a, b: row and column of each model

    Returns:
        DataFrame ``(seeds, films)``; without films where a model has no scores
    """
    sides = []
    for row, column in (a, b):
        part = scores[(scores["row"] == row) & (scores["column"] == column)]
        seed = part.groupby("group", sort=False).cumcount()
        sides.append(part.assign(seed=seed).pivot(index="seed", columns="group", values="value"))
    seeds = range(max(map(len, sides)))
    sides = [side.reindex(seeds, method="ffill") if len(side) == 1 else side for side in sides]
    left, right = sides[0].align(sides[1], join="inner")
    return left - right


def _standard_error(values):
    """Standard error of a mean; 0 of a single value, whose error is not known."""
    values = np.asarray(values, dtype=float)
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def pairwise(scores, *, level=0.95):
    """Every model against every other, paired over films, with Holm's adjustment over all of these comparisons.

    Args:
        scores: one run: row, column, group (film), value, one per seed; the rows and columns to compare, no others
        level: coverage of each interval, which is not adjusted

    Returns:
        DataFrame with the columns column, a, b, mean (of a - b), low, high, n, p, adjusted (p by Holm)

    Examples:
        >>> scores = pd.DataFrame({"row": list("xxyy"), "column": "mse", "group": list("ABAB"), "value": [3, 4, 1, 3]})
        >>> pairwise(scores)[["a", "b", "mean", "n", "adjusted"]].values.tolist()
        [['x', 'y', 1.5, 2, 0.5]]
    """
    films = scores.groupby(["column", "row", "group"], sort=False)["value"].mean()
    rows = []
    for column in dict.fromkeys(scores["column"]):
        by_row = films[column].unstack("group")
        for a, b in combinations(dict.fromkeys(scores.loc[scores["column"] == column, "row"]), 2):
            found = paired_difference(by_row.loc[a], by_row.loc[b], level=level)
            rows.append((column, a, b, found.mean, found.low, found.high, found.n, found.p))
    table = pd.DataFrame(rows, columns=["column", "a", "b", "mean", "low", "high", "n", "p"])
    return table.assign(adjusted=holm(table["p"]))


def train_mean(truth, n):
    """Predicts the mean of the training values, ``n`` times."""
    return np.full(n, np.mean(truth))


def majority(truth, n):
    """Predicts the most frequent training class, ``n`` times; the first in sorted order on a tie."""
    classes, counts = np.unique(truth, return_counts=True)
    return np.full(n, classes[counts.argmax()])


def stratified(truth, n, *, seed=0):
    """Guesses ``n`` classes with the frequencies of the training classes."""
    return np.random.default_rng(seed).choice(np.asarray(truth), size=n)


def _by_group(values, groups):
    """Defined values, averaged within each group."""
    values = np.asarray(values, dtype=float).ravel()
    if groups is None:
        return values[~np.isnan(values)]
    groups = np.asarray(groups).ravel()
    if len(groups) != len(values):
        raise ValueError(f"values has {len(values)} rows, groups has {len(groups)}")
    means = pd.Series(values).groupby(groups).mean()
    return means[means.notna()].to_numpy()


def _sums(truth, prediction, member, n):
    """Per group: rows, and sums of t, p, tt, pp, tp, taken from the common means for the sake of the digits."""
    t, p = truth - truth.mean(), prediction - prediction.mean()
    d = np.full(len(t), truth.mean() - prediction.mean())
    terms = [np.ones(len(t)), t, p, t * t, p * p, t * p, d]
    return np.stack([np.bincount(member, weights=term, minlength=n) for term in terms], axis=1)


def _moments(sums):
    """Means, variances and covariance of each resample."""
    t, p, tt, pp, tp, shift = (sums[:, 1:] / sums[:, :1]).T
    return t - p + shift, tt - t * t, pp - p * p, tp - t * p


def _mse_from_sums(sums):
    shift, tt, pp, tp = _moments(sums)
    return tt + pp - 2 * tp + shift**2


def _pcc_from_sums(sums):
    _, tt, pp, tp = _moments(sums)
    flat = 1e-12 * max(tt.max(), pp.max())
    return np.where(
        (tt > flat) & (pp > flat), tp / np.sqrt(np.maximum(tt * pp, np.finfo(float).tiny)), np.nan
    )


def _ccc_from_sums(sums):
    shift, tt, pp, tp = _moments(sums)
    return 2 * tp / (tt + pp + shift**2)


def _taken(truth, prediction, member, n):
    """Per group: how often each class was taken for each, ``(groups, classes * classes)``."""
    classes, codes = np.unique(np.concatenate([truth, prediction]), return_inverse=True)
    true, said = np.split(codes, 2)
    cells = len(classes) ** 2
    counts = np.bincount(member * cells + true * len(classes) + said, minlength=n * cells)
    return counts.reshape(n, cells).astype(float)


def _matrices(sums):
    """Of each resample: right ones, true ones and predicted ones of each class, ``(resamples, classes)`` each."""
    matrices = sums.reshape(len(sums), *[math.isqrt(sums.shape[1])] * 2)
    return np.diagonal(matrices, axis1=1, axis2=2), matrices.sum(2), matrices.sum(1)


def _mean_share(part, whole):
    """Mean over the classes that are there."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 0).sum(1) / (whole > 0).sum(1)


def _accuracy_from_sums(sums):
    right, true, _ = _matrices(sums)
    return right.sum(1) / true.sum(1)


def _balanced_accuracy_from_sums(sums):
    right, true, _ = _matrices(sums)
    return _mean_share(right, true)


def _macro_f1_from_sums(sums):
    right, true, said = _matrices(sums)
    return _mean_share(2 * right, true + said)


_FROM_SUMS = {
    metrics.mse: (_sums, _mse_from_sums),
    metrics.pcc: (_sums, _pcc_from_sums),
    metrics.ccc: (_sums, _ccc_from_sums),
    metrics.accuracy: (_taken, _accuracy_from_sums),
    metrics.balanced_accuracy: (_taken, _balanced_accuracy_from_sums),
    metrics.macro_f1: (_taken, _macro_f1_from_sums),
}
