"""The segments at which a curve is highest and lowest, to be looked at and listened to."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def peaks(curve: ArrayLike, count: int) -> tuple[list[int], list[int]]:
    """Segments at which a curve is highest, and those at which it is lowest.

    No segment is among both: the highest come from the upper half of the values, the lowest from
    the lower half. A short film therefore has fewer peaks, and one of a single segment, or a curve
    that is the same everywhere, has none. Among the highest no two are neighbours, nor among the
    lowest: a peak that lasts is shown once.

    Args:
        curve: one value per segment
        count: of segments at each end, at most

    Shape:
        curve ``(segments,)``

    Returns:
        positions of the highest and of the lowest segments, each in the order of the film

    Examples:
        >>> peaks([0.1, 0.9, 0.8, -0.5, 0.3, 0.7], 2)
        ([1, 5], [0, 3])
        >>> peaks([0.4], 3)
        ([], [])
    """
    values = np.asarray(curve, float)
    if not len(values) or np.ptp(values) == 0:
        return [], []
    order = np.argsort(values, kind="stable").tolist()
    half = len(order) // 2
    return _apart(order[::-1][:half], count), _apart(order[:half], count)


def _apart(candidates: list[int], count: int) -> list[int]:
    """The first of some positions, none beside another, sorted."""
    chosen = []
    for position in candidates:
        is_beside = any(abs(position - other) <= 1 for other in chosen)
        if len(chosen) < count and not is_beside:
            chosen.append(position)
    return sorted(chosen)
