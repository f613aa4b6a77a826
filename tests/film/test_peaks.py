"""Peaks of a curve: few where the film is short, and never the same segment at both ends."""

import numpy as np
import pytest

from affectlib.film.peaks import peaks


def test_no_segment_is_highest_and_lowest():
    rng = np.random.default_rng(0)
    for n in range(2, 30):
        values = rng.normal(size=n)
        highest, lowest = peaks(values, 3)
        assert 1 <= len(highest) <= min(3, n // 2)
        assert 1 <= len(lowest) <= min(3, n // 2)
        assert not set(highest) & set(lowest)
        assert np.argmax(values) in highest
        assert np.argmin(values) in lowest
        assert values[highest].min() > values[lowest].max()
        assert (np.diff(highest) > 1).all()
        assert (np.diff(lowest) > 1).all()


@pytest.mark.parametrize("curve", [[], [0.4], [0.2, 0.2, 0.2]])
def test_a_curve_without_peaks(curve):
    assert peaks(curve, 3) == ([], [])
