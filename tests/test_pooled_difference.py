"""A pooled metric of two models, compared film by film through pseudo-values."""

import numpy as np
import pytest

from affectlib.metrics import mse, pcc
from affectlib.statistics import paired_difference, pseudo_values


def films(rng, n_films, segments=12):
    """Truth and two models' predictions, each with levels of their own for every film."""
    rows = n_films * segments
    level = np.repeat(rng.normal(0, 0.5, n_films), segments)
    truth = level + rng.normal(0, 1, rows)
    shared = np.repeat(rng.normal(0, 0.4, n_films), segments) + rng.normal(0, 0.6, rows)
    a = truth + shared + rng.normal(0, 0.5, rows)
    b = 0.8 * truth + shared + rng.normal(0, 0.9, rows)
    return truth, a, b, np.repeat(np.arange(n_films), segments)


def pooled_difference(metric, truth, a, b, groups):
    left = pseudo_values(metric, truth, a, groups=groups)
    right = pseudo_values(metric, truth, b, groups=groups)
    return paired_difference(left, right)


def textbook_variance(metric, truth, a, b, groups):
    """The jackknife's variance of the difference of two pooled metrics, written out."""
    names = np.unique(groups)
    n = len(names)
    without = []
    for name in names:
        rows = groups != name
        without.append(metric(truth[rows], a[rows]) - metric(truth[rows], b[rows]))
    centre = sum(without) / n
    return (n - 1) / n * sum((value - centre) ** 2 for value in without)


@pytest.mark.parametrize("metric", [mse, pcc])
def test_the_interval_is_the_jackknifes(metric):
    from scipy import stats

    truth, a, b, groups = films(np.random.default_rng(0), 7)
    span = pooled_difference(metric, truth, a, b, groups)
    error = np.sqrt(textbook_variance(metric, truth, a, b, groups))
    assert (span.high - span.low) / 2 == pytest.approx(stats.t.ppf(0.975, df=6) * error, rel=1e-9)
    plain = metric(truth, a) - metric(truth, b)
    assert span.mean == pytest.approx(plain, abs=0.2 * error)


def test_an_error_over_films_of_equal_length_is_paired_over_films():
    truth, a, b, groups = films(np.random.default_rng(1), 6)
    pooled = pooled_difference(mse, truth, a, b, groups)
    paired = paired_difference((truth - a) ** 2, (truth - b) ** 2, groups)
    np.testing.assert_allclose(
        [pooled.mean, pooled.low, pooled.high, pooled.p],
        [paired.mean, paired.low, paired.high, paired.p],
        atol=1e-12,
    )


def test_excerpts_of_one_value_each_have_a_difference_of_correlations_too():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=40)
    good = truth + 0.5 * rng.normal(size=40)
    poor = truth + 3.0 * rng.normal(size=40)
    span = pooled_difference(pcc, truth, good, poor, np.arange(40))
    assert span.n == 40
    assert span.low > 0


@pytest.mark.parametrize("n_films", [5, 12])
def test_intervals_of_a_difference_of_pooled_correlations_cover_what_they_say(n_films):
    """Of 95 % intervals, 95 % hold the true difference; here 500 samples, error 0.01."""
    rng = np.random.default_rng(2)
    truth, a, b, _ = films(rng, 20_000)
    true_difference = pcc(truth, a) - pcc(truth, b)
    held = 0
    for _ in range(500):
        truth, a, b, groups = films(rng, n_films)
        span = pooled_difference(pcc, truth, a, b, groups)
        held += span.low < true_difference < span.high
    assert 0.93 <= held / 500 <= 0.98
