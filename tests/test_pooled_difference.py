"""A pooled metric of two models, compared film by film."""

import numpy as np
import pytest

from affectlib.metrics import mse, pcc
from affectlib.statistics import jackknife_values, paired_difference, pooled_difference


def films(rng, n_films, segments=12):
    """Truth and two models' predictions, each with levels of their own for every film."""
    rows = n_films * segments
    level = np.repeat(rng.normal(0, 0.5, n_films), segments)
    truth = level + rng.normal(0, 1, rows)
    shared = np.repeat(rng.normal(0, 0.4, n_films), segments) + rng.normal(0, 0.6, rows)
    a = truth + shared + rng.normal(0, 0.5, rows)
    b = 0.8 * truth + shared + rng.normal(0, 0.9, rows)
    return truth, a, b, np.repeat(np.arange(n_films), segments)


def textbook(metric, truth, prediction, groups):
    """Estimate and jackknife variance, written out."""
    names = np.unique(groups)
    n = len(names)
    without = []
    for name in names:
        rows = groups != name
        without.append(metric(truth[rows], prediction[rows]))
    centre = sum(without) / n
    variance = (n - 1) / n * sum((value - centre) ** 2 for value in without)
    return metric(truth, prediction), variance


@pytest.mark.parametrize("metric", [mse, pcc])
def test_the_values_have_the_metric_as_mean_and_the_jackknifes_error(metric):
    truth, a, _, groups = films(np.random.default_rng(0), 7)
    (values,) = jackknife_values(metric, truth, a, groups=groups)
    point, variance = textbook(metric, truth, a, groups)
    assert values.mean() == pytest.approx(point, abs=1e-12)
    assert values.var(ddof=1) / 7 == pytest.approx(variance, rel=1e-9)


def test_an_error_over_films_of_equal_length_is_the_mean_over_films():
    truth, a, b, groups = films(np.random.default_rng(1), 6)
    (values,) = jackknife_values(mse, truth, a, groups=groups)
    errors = [mse(truth[groups == film], a[groups == film]) for film in range(6)]
    np.testing.assert_allclose(values, errors, atol=1e-12)
    pooled = pooled_difference(mse, truth, a, b, groups=groups)
    paired = paired_difference((truth - a) ** 2, (truth - b) ** 2, groups)
    np.testing.assert_allclose(
        [pooled.mean, pooled.low, pooled.high, pooled.p],
        [paired.mean, paired.low, paired.high, paired.p],
        atol=1e-12,
    )


def test_groups_keep_their_order_and_seeds_their_rows():
    truth = np.arange(6.0)
    predictions = np.stack([truth + 1, truth + 2])
    groups = ["z", "z", "a", "a", "m", "m"]
    values = jackknife_values(mse, truth, predictions, groups=groups)
    np.testing.assert_allclose(values, [[1, 1, 1], [4, 4, 4]])


def test_undefined_stays_undefined():
    truth = np.array([0.0, 0.0, 1.0, 2.0])
    groups = [0, 0, 1, 1]
    # Without the second film the truth is constant.
    values = jackknife_values(pcc, truth, np.arange(4.0), groups=groups)
    assert np.isnan(values).all()
    assert np.isnan(pooled_difference(pcc, truth, np.arange(4.0), truth, groups=groups).mean)


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="truth has 3 rows, prediction has 2, groups has 3"):
        jackknife_values(mse, [1, 2, 3], [1, 2], groups=[1, 2, 3])


@pytest.mark.parametrize("n_films", [5, 12])
def test_intervals_of_a_pooled_correlation_hold_what_they_promise(n_films):
    """Of 95 % intervals, 95 % hold the true difference; here 500 samples, error 0.01."""
    rng = np.random.default_rng(2)
    truth, a, b, _ = films(rng, 20_000)
    true_difference = pcc(truth, a) - pcc(truth, b)
    held = 0
    for _ in range(500):
        truth, a, b, groups = films(rng, n_films)
        span = pooled_difference(pcc, truth, a, b, groups=groups)
        held += span.low < true_difference < span.high
    assert 0.93 <= held / 500 <= 0.98
