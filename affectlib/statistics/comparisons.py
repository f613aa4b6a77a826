"""Is one model better than another? Paired differences, claims of a paper, many tests at once.

Verdicts and p values come from one test: signs of the paired differences are flipped. With several
claims about the same films, the signs are flipped jointly, and each claim is compared with the
largest statistic among all of them (max-T). Claims that share their films are correlated; max-T
uses that, where Holm's method has to expect the worst.

References:
    P. H. Westfall, S. S. Young, Resampling-based multiple testing, 1993, Section 2.3 (max-T)

    D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987 (equivalence by two
    one-sided tests)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from affectlib.statistics.intervals import Interval, interval, unit_means

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Up to this many units the sign-flip test counts all sign patterns, beyond it draws some at random.
EXACT_UNITS = 14
DRAWN_PATTERNS = 20_000
SIGNIFICANCE = 0.05
"""A claim has a verdict where its adjusted p lies below this."""

# Sign patterns are multiplied with differences in parts. A part has so many signs at most: it fits
# into a processor's cache, and many units need no more memory than few.
_SIGNS_AT_ONCE = 2**16


@dataclass(frozen=True)
class Difference(Interval):
    """Mean of a - b over pairs with its interval, and the p value of a sign-flip permutation test.

    The test is two-sided.
    """

    p: float


@dataclass(frozen=True)
class Claim:
    """One sentence that a paper concludes with.

    It says that model ``better`` beats model ``worse`` on a column of the paper's table. With a
    ``margin`` it says that the two are similar: that they differ by less than the margin.
    """

    sentence: str
    better: str
    worse: str
    column: str
    higher_is_better: bool
    margin: float | None = None


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
        Difference, all of it nan where a side of a pair is undefined; p is nan below two units

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
    differences = unit_means(a - b, groups)
    mean = interval(differences, level=level)
    p = _sign_flip_p(differences)
    return Difference(mean.mean, mean.low, mean.high, mean.n, p)


# ---------------------------------------------------------------- sign flips


def max_t(differences: ArrayLike) -> np.ndarray:
    """Two-sided p values of several mean differences, adjusted for their number (step-down max-T).

    Under the null hypothesis every film could have its signs the other way round, in all tests
    together. For each pattern of signs, the largest t statistic is taken over a test and all tests
    with a smaller statistic. The adjusted p of the test is the share of patterns in which that
    largest one reaches the test's own. However many tests there are, it can be as low as
    2 / 2**films.

    Args:
        differences: of each test, film by film

    Shape:
        differences ``(tests, films)``; result ``(tests,)``

    Returns:
        adjusted p values; nan for a test with an undefined difference, which is not counted

    Examples:
        >>> max_t([[1, 2, 3, 1, 2, 3], [1, -1, 2, -2, 3, -3]]).tolist()
        [0.0625, 1.0]
    """
    differences = np.atleast_2d(np.asarray(differences, dtype=float))
    adjusted = np.full(len(differences), math.nan)
    defined = ~np.isnan(differences).any(1)
    n = differences.shape[1]
    if n < 2 or not defined.any():
        return adjusted
    kept = differences[defined]
    # |mean| / root mean square grows with |t|, and stays finite where all differences are equal.
    size = np.sqrt(np.sum(kept**2, axis=1))
    kept = kept / np.where(size > 0, size, 1.0)[:, None]
    observed = np.abs(kept.sum(1))
    order = np.argsort(-observed, kind="stable")
    kept = kept[order]
    # The margin keeps patterns in the count that equal the observed sum but for rounding. It is no
    # share of the sum: a sum of 0 is itself a rounding error.
    observed = observed[order] - 1e-12
    extreme = np.zeros(len(kept))
    n_patterns = 0
    for signs in _patterns(n):
        flipped = np.abs(signs @ kept.T)  # (patterns, tests)
        # The largest among a test and all that have a smaller statistic than it.
        largest = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]
        extreme += (largest >= observed).sum(0)
        n_patterns += len(signs)
    stepwise = np.maximum.accumulate(_share(extreme, n_patterns, n))
    adjusted[np.flatnonzero(defined)[order]] = stepwise
    return adjusted


def _sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p value of the mean difference, if each sign were as likely as the other.

    Shape:
        differences ``(units,)``
    """
    return float(max_t(differences)[0])


def _one_sided_p(differences: np.ndarray) -> float:
    """P value of a mean difference above 0, by sign flips.

    Shape:
        differences ``(units,)``
    """
    n = len(differences)
    if n < 2 or np.isnan(differences).any():
        return math.nan
    observed = differences.sum()
    observed -= 1e-12 * np.abs(differences).sum()  # as in max_t
    extreme = 0
    n_patterns = 0
    for signs in _patterns(n):
        extreme += (signs @ differences >= observed).sum()
        n_patterns += len(signs)
    return float(_share(extreme, n_patterns, n))


def _patterns(n: int) -> Iterator[np.ndarray]:
    """Patterns of n signs, in parts: all of them up to 14 units, beyond that some at random.

    Shape:
        each part ``(patterns, n)``
    """
    # scipy.stats.permutation_test gives the same p for one test, but flips no signs jointly.
    total = 2**n if n <= EXACT_UNITS else DRAWN_PATTERNS
    rng = np.random.default_rng(0)
    at_once = max(1, _SIGNS_AT_ONCE // n)
    for first in range(0, total, at_once):
        count = min(at_once, total - first)
        if n <= EXACT_UNITS:
            bits = np.arange(first, first + count)[:, None] >> np.arange(n) & 1
            yield 1.0 - 2.0 * bits
        else:
            # The parts follow each other in one stream of bits, however large they are.
            bits = rng.integers(0, 2, size=(count, n))
            yield 2.0 * bits - 1.0


def _share(extreme: ArrayLike, n_patterns: int, n_units: int) -> np.ndarray:
    """Share of extreme patterns."""
    if n_units <= EXACT_UNITS:
        return np.asarray(extreme) / n_patterns
    # The observed pattern counts as one of those drawn, so that p is never 0.
    return (np.asarray(extreme) + 1) / (n_patterns + 1)


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


# ---------------------------------------------------------------- claims


def claims(
    sentences: Sequence[Claim], published: pd.DataFrame, scores: pd.DataFrame
) -> pd.DataFrame:
    """Compares the conclusions of a paper with its own numbers and with this run.

    Effects are signed so that a positive one favours the claim. Of a claim of similarity the effect
    is ``better`` minus ``worse`` as it is. The run's effect is paired over units (films, actors);
    each unit counts once, its seeds are averaged.

    The test flips the signs of the effects. Before it, all effects are moved by the standard error
    of the mean effect over seeds, towards the hypothesis that the claim has to refute. Otherwise
    another seed, or another processor, could turn a verdict round. The p values of all claims that
    share their units are adjusted together, by :func:`max_t`; those of similarity by :func:`holm`.

    Args:
        sentences: the claims
        published: the paper's table: row, column, value
        scores: this run: row, column, group (the unit), value, one per seed and in the same order
            of seeds

    Returns:
        DataFrame with the columns claim, column, paper, run, low, high (a 95 % interval of this
        claim alone), n, p, adjusted, over_seeds (standard error of the effect over seeds, 0 with a
        single one), verdict. A verdict is one of

        - ``holds`` or ``does not``: the adjusted p lies below 0.05
        - ``undecided``: it does not
        - ``too few units``: even if all pointed the same way, p could not lie below 0.05
        - ``undefined``: a score is nan, or one model lacks a unit that the other has
        - ``not run``: this run lacks one of the models
    """
    paper = published.set_index(["row", "column"])["value"]
    effects = [_effect(claim, paper, scores) for claim in sentences]
    families = {}
    for i, effect in enumerate(effects):
        is_similarity = sentences[i].margin is not None
        families.setdefault((effect.units, is_similarity), []).append(i)
    adjusted = np.full(len(effects), math.nan)
    for (_, is_similarity), members in families.items():
        if is_similarity:
            adjusted[members] = holm([effects[i].p for i in members])
        elif len(effects[members[0]].tested) > 0:
            adjusted[members] = max_t([effects[i].tested for i in members])
    rows = []
    for claim, effect, p in zip(sentences, effects, adjusted, strict=True):
        rows.append(_claim_row(claim, effect, p))
    columns = ["claim", "column", "paper", "run", "low", "high", "n", "p", "adjusted"]
    return pd.DataFrame(rows, columns=[*columns, "over_seeds", "verdict"])


@dataclass(frozen=True)
class _Effect:
    """The effect of one claim: ``run`` with its interval, and ``tested``, moved by ``over_seeds``.

    Shape:
        tested ``(units,)``
    """

    paper: float
    run: Interval
    units: tuple[str, ...]
    over_seeds: float
    tested: np.ndarray
    p: float
    was_run: bool


def _effect(claim: Claim, paper: pd.Series, scores: pd.DataFrame) -> _Effect:
    """The effect of a claim in the paper and in this run."""
    is_similarity = claim.margin is not None
    sign = 1 if claim.higher_is_better or is_similarity else -1
    better = (claim.better, claim.column)
    worse = (claim.worse, claim.column)
    in_paper = sign * (paper.get(better, math.nan) - paper.get(worse, math.nan))
    by_seed, was_run = _paired_by_seed(scores, better, worse)
    by_seed = sign * by_seed  # (seeds, units)
    # skipna=False: a seed without a value must not be left out.
    by_unit = by_seed.mean(skipna=False).to_numpy()
    run = interval(by_unit)
    over_seeds = _standard_error(by_seed.mean(axis=1, skipna=False))
    if is_similarity:
        tested, p = _similarity(by_unit, over_seeds, claim.margin)
    else:
        tested = by_unit - np.sign(run.mean) * min(over_seeds, abs(run.mean))
        p = _sign_flip_p(tested) if len(tested) else math.nan
    units = tuple(by_seed.columns)
    return _Effect(in_paper, run, units, over_seeds, tested, p, was_run)


def _similarity(effects: np.ndarray, over_seeds: float, margin: float) -> tuple[np.ndarray, float]:
    """Tests of an equivalence: two one-sided tests, or one that the margin is exceeded.

    Returns:
        effects, moved away from 0 by their standard error over seeds where they lie within the
        margin, and towards it where they lie beyond; the p value

    Shape:
        effects and first result ``(units,)``
    """
    if len(effects) == 0:
        return effects, math.nan
    mean = effects.mean()
    if abs(mean) < margin:
        tested = effects + math.copysign(over_seeds, mean)
        return tested, max(_one_sided_p(margin + tested), _one_sided_p(margin - tested))
    size = math.copysign(1.0, mean) * effects
    tested = size - min(over_seeds, abs(mean))
    return tested, _one_sided_p(tested - margin)


def _claim_row(claim: Claim, effect: _Effect, adjusted: float) -> tuple:
    """One row of the result of :func:`claims`."""
    run = effect.run
    verdict = _verdict(claim, effect, adjusted)
    numbers = (effect.paper, run.mean, run.low, run.high, run.n, effect.p, float(adjusted))
    return (claim.sentence, claim.column, *numbers, effect.over_seeds, verdict)


def _verdict(claim: Claim, effect: _Effect, adjusted: float) -> str:
    """The verdict on a claim, see :func:`claims`."""
    if not effect.was_run:
        return "not run"
    if math.isnan(effect.run.mean):
        return "undefined"
    sides = 2 if claim.margin is None else 1
    if sides / 2**effect.run.n >= SIGNIFICANCE:
        return "too few units"
    if not adjusted < SIGNIFICANCE:
        return "undecided"
    if claim.margin is None:
        favours = effect.run.mean > 0
    else:
        favours = abs(effect.run.mean) < claim.margin
    return "holds" if favours else "does not"


def _paired_by_seed(
    scores: pd.DataFrame, a: tuple[str, str], b: tuple[str, str]
) -> tuple[pd.DataFrame, bool]:
    """Differences of two models, seed by seed and unit by unit.

    A model of a single seed, such as a constant, is compared with every seed of the other. A unit
    that one of them lacks has no difference: it is nan.

    Args:
        scores: row, column, group, value
        a, b: row and column of each model

    Returns:
        DataFrame ``(seeds, units)``, without units where a model has no scores; whether both have
    """
    left = _by_seed(scores, *a)
    right = _by_seed(scores, *b)
    if left.empty or right.empty:
        return pd.DataFrame(), False
    seeds = range(max(len(left), len(right)))
    if len(left) == 1:
        left = left.reindex(seeds, method="ffill")
    if len(right) == 1:
        right = right.reindex(seeds, method="ffill")
    left, right = left.align(right, join="outer", axis=1)
    return left - right, True


def _by_seed(scores: pd.DataFrame, row: str, column: str) -> pd.DataFrame:
    """Scores of one model, ``(seeds, units)``."""
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

    The p values of all comparisons of the same films are adjusted together, by :func:`max_t`; the
    95 % intervals are not adjusted.

    Args:
        scores: one run: row, column, group (film), value, one per seed; only the rows and columns
            to compare

    Returns:
        DataFrame with the columns column, a, b, mean (of a - b), low, high, n, p, adjusted. A
        comparison is nan where a score is, or where one model lacks a film that the other has

    Examples:
        >>> table = {"row": list("xxyy"), "column": "mse", "group": list("ABAB")}
        >>> scores = pd.DataFrame(table | {"value": [3, 4, 1, 3]})
        >>> pairwise(scores)[["a", "b", "mean", "n", "adjusted"]].values.tolist()
        [['x', 'y', 1.5, 2, 0.5]]
    """
    groups = scores.groupby(["column", "row", "group"], sort=False)["value"]
    films = groups.agg(lambda values: values.mean(skipna=False))
    rows = []
    differences = {}
    for column in scores["column"].unique():
        by_row = films[column].unstack("group")
        # Films that none of the models has in this column are no films of its comparisons.
        by_row = by_row.dropna(axis=1, how="all")
        models = scores.loc[scores["column"] == column, "row"].unique()
        for a, b in combinations(models, 2):
            d = paired_difference(by_row.loc[a], by_row.loc[b])
            family = differences.setdefault(tuple(by_row.columns), {})
            family[len(rows)] = (by_row.loc[a] - by_row.loc[b]).to_numpy()
            rows.append((column, a, b, d.mean, d.low, d.high, d.n, d.p))
    table = pd.DataFrame(rows, columns=["column", "a", "b", "mean", "low", "high", "n", "p"])
    adjusted = np.full(len(rows), math.nan)
    for family in differences.values():
        adjusted[list(family)] = max_t(list(family.values()))
    return table.assign(adjusted=adjusted)
