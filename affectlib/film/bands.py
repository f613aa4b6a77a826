"""Bands around a curve that hold what they say: their width comes from films left out.

Each model of an ensemble predicts one film that it has not learned from. How far it misses there is
what a new film has to expect. The band is the curve plus and minus a quantile of these misses.

Segments of one film are alike, so the film is the unit. Every film left out has the same weight,
however long it is, and the new film has that weight too: of F films and the new one, each has
1 / (F + 1), and the misses of the new one are taken as unknown, that is as the largest. If the new
film was drawn like the others, a segment of it lies inside with the probability that was aimed at,
or a larger one. With 12 films no band can promise more than 12 / 13.

The misses are those of single models, the curve is the mean of all. A mean misses less on average,
so the band is rather too wide than too narrow.

References:
    Dunn, Wasserman, Ramdas, Distribution-free prediction sets for two-layer hierarchical models,
    Journal of the American Statistical Association, 2023.
    Lee, Barber, Willett, Distribution-free inference with hierarchical data, arXiv:2306.06342.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from affectlib.models.gla import moving_average
from affectlib.statistics import Interval, interval

# Shares of a new film's values that a band may aim at: the largest that the films allow is taken.
AIMS = (0.9, 0.8, 0.5)
# Truth and prediction of one film left out, each (segments,), the prediction as the model gave it.
Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Band:
    """A band of the same width everywhere.

    Args:
        half_width: from the curve to either end
        aim: share of a new film's values that shall lie inside
        coverage: share that did, on films left out of the calibration, with its 95 % interval over
            films
    """

    half_width: float
    aim: float
    coverage: Interval

    def __str__(self) -> str:
        measured = f"{self.coverage.mean:.0%} lay inside"
        if not math.isnan(self.coverage.low):
            low, high = f"{self.coverage.low:.0%}", f"{self.coverage.high:.0%}"
            measured += f" (95 % interval over films: {low} to {high})"
        return (
            f"the curve plus and minus {self.half_width:.2f}, so that at least {self.aim:.0%} of "
            "the values of a film like the training films lie inside; on "
            f"{self.coverage.n} films left out in turn {measured}"
        )


def calibrate(left_out: Sequence[Pair], *, hertz: float, smoothing: float) -> Band | None:
    """The band of a curve, from films that the models had not learned from.

    Args:
        left_out: truth and prediction of each film left out
        hertz: segments per second
        smoothing: seconds over which curves are averaged; the truth is not

    Returns:
        None with fewer than two films, from which nothing can be said
    """
    misses = []
    for truth, prediction in left_out:
        smoothed = moving_average(prediction, seconds=smoothing, hertz=hertz)
        misses.append(np.abs(smoothed - truth))
    n = len(misses)
    # Measuring leaves one more film out: the others alone must allow the aim.
    possible = [aim for aim in AIMS if aim <= (n - 1) / n + 1e-9] if n else []
    if not possible:
        return None
    return Band(half_width(misses, possible[0]), possible[0], coverage(misses, possible[0]))


def half_width(misses: Sequence[np.ndarray], aim: float) -> float:
    """The smallest half width that holds a share of the values of a new film.

    Args:
        misses: absolute errors of each film left out, ``(segments,)``
        aim: share of the values of a new film that shall lie inside

    Raises:
        ValueError: if there are too few films for this share

    Examples:
        >>> half_width([np.array([0.1, 0.2]), np.array([0.3, 0.4, 0.5])], 0.5)
        0.4
    """
    n = len(misses)
    if aim > n / (n + 1) + 1e-9:
        raise ValueError(f"{n} films left out allow a share of {n / (n + 1):.2f}, not {aim}")
    values = np.concatenate(misses)
    weights = [np.full(len(of_film), 1 / ((n + 1) * len(of_film))) for of_film in misses]
    order = np.argsort(values, kind="stable")
    held = np.cumsum(np.concatenate(weights)[order])
    # Rounding of the sum must not ask for one value more than there is.
    place = np.searchsorted(held, aim - 1e-9)
    return float(values[order][place])


def coverage(misses: Sequence[np.ndarray], aim: float) -> Interval:
    """The share of values that bands hold: each film is judged by the band of all the others.

    Args:
        misses: absolute errors of each film left out, ``(segments,)``
        aim: share of the values of a new film that shall lie inside

    Returns:
        mean share over films, with its 95 % interval over films
    """
    shares = []
    for i, of_film in enumerate(misses):
        others = [*misses[:i], *misses[i + 1 :]]
        shares.append(float(np.mean(of_film <= half_width(others, aim))))
    return interval(shares, scale="share")
