"""Bands hold the share that they promise, for films whose errors are known."""

import numpy as np
import pytest

from affectlib.film.bands import calibrate, coverage, half_width
from affectlib.models.gla import moving_average

N_FILMS = 12


def films(rng, n=N_FILMS):
    """Absolute errors of films of many lengths, each with a bias of its own."""
    misses = []
    for _ in range(n):
        bias = rng.normal(0, 0.3)
        misses.append(np.abs(bias + rng.normal(0, 0.2, rng.integers(5, 60))))
    return misses


def test_a_quantile_in_which_films_weigh_the_same():
    """By hand: of two films and the new one, each weighs a third."""
    short, long = np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0, 6.0])
    # Masses 1/6 each for 1 and 2, 1/12 each for 3 to 6: half is reached at 4.
    assert half_width([short, long], 0.5) == 4.0
    assert half_width([long, short], 0.5) == 4.0
    # All that the two films hold is 2/3.
    assert half_width([short, long], 2 / 3) == 6.0
    with pytest.raises(ValueError, match=r"2 films left out allow a share of 0\.67, not 0\.9"):
        half_width([short, long], 0.9)


def test_a_new_film_is_held_as_promised_and_a_narrower_band_fails():
    """Normal errors with an effect of the film, drawn 600 times."""
    rng = np.random.default_rng(0)
    held = []
    narrow = []
    pooled = []
    for _ in range(600):
        calibration = films(rng)
        (new,) = films(rng, 1)
        width = half_width(calibration, 0.9)
        held.append(np.mean(new <= width))
        narrow.append(np.mean(new <= 0.6 * width))
        # What one would take from three films without regard to the new one.
        pooled.append(np.mean(new <= np.quantile(np.concatenate(calibration[:3]), 0.9)))
    assert 0.9 <= np.mean(held) < 0.97
    assert np.mean(narrow) < 0.8
    assert np.mean(pooled) < 0.88


def test_measured_coverage_is_that_of_new_films():
    """What is printed, and what new films show, agree on average over many calibrations."""
    rng = np.random.default_rng(1)
    measured = []
    true = []
    for _ in range(100):
        calibration = films(rng)
        measured.append(coverage(calibration, 0.8).mean)
        width = half_width(calibration, 0.8)
        true.append(np.mean([np.mean(new <= width) for new in films(rng, 10)]))
    assert np.mean(measured) == pytest.approx(np.mean(true), abs=0.02)


def test_coverage_is_counted_on_the_film_that_did_not_calibrate():
    misses = [np.array([1.0, 1.0]), np.array([2.0]), np.array([9.0, 1.0, 1.0, 1.0])]
    # The bands of the two others each time: 2, 1 and 2.
    shares = [1.0, 0.0, 3 / 4]
    found = coverage(misses, 0.5)
    assert found.mean == pytest.approx(np.mean(shares))
    assert found.n == 3


def test_a_band_is_of_smoothed_predictions_and_of_the_truth_as_it_is():
    rng = np.random.default_rng(2)
    pairs = [(rng.normal(size=20), rng.normal(size=20)) for _ in range(N_FILMS)]
    band = calibrate(pairs, hertz=0.2, smoothing=20.0)
    smoothed = [moving_average(p, seconds=20.0, hertz=0.2) for _, p in pairs]
    misses = [np.abs(s - truth) for (truth, _), s in zip(pairs, smoothed, strict=True)]
    assert band.half_width == half_width(misses, 0.9)
    assert band.aim == 0.9
    assert 0.5 < band.coverage.low < band.coverage.mean < band.coverage.high <= 1
    assert f"plus and minus {band.half_width:.2f}" in str(band)
    assert f"12 films left out in turn {band.coverage.mean:.0%} lay inside" in str(band)


@pytest.mark.parametrize(("n", "aim"), [(10, 0.9), (9, 0.8), (5, 0.8), (4, 0.5), (2, 0.5)])
def test_few_films_promise_less(n, aim):
    rng = np.random.default_rng(3)
    pairs = [(rng.normal(size=8), rng.normal(size=8)) for _ in range(n)]
    assert calibrate(pairs, hertz=0.2, smoothing=5.0).aim == aim


@pytest.mark.parametrize("n", [0, 1])
def test_one_film_promises_nothing(n):
    pairs = [(np.zeros(3), np.ones(3))] * n
    assert calibrate(pairs, hertz=0.2, smoothing=5.0) is None
