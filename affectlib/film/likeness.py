"""How far the segments of a film lie from those that the models learned from.

A model predicts for any film, also for one that is like none it has seen. The distance of a segment
is that to its nearest neighbours among segments of the training films (scikit-learn's
``NearestNeighbors``), feature by feature:

    - The values of a feature are standardised by the training films, and the distance is divided by
      the root of their number: emobase with its 1582 values weighs as much as motion with 34.
    - It is then told in units of what is usual: the median distance of films left out. The distance
      of a segment is the root mean square over features, so that 1 is usual.

A limit comes from films left out: each training film is compared with all the others, and 5 % of
these segments lie beyond the limit. The nearest neighbours were chosen over two other methods of
scikit-learn, by the same films left out; see :data:`NEIGHBOURS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from affectlib.film.base import Likeness
from affectlib.training import moments

# Tried on the demo's films: other simulated films, a film of noise, and films left out whose sound
# was taken away. Noise lies at 3.3 limits from its nearest neighbours (at 2.1 with FARTHEST), at
# 2.5 by the local outlier factor, and at 1.5 by a robust covariance of 8 principal components,
# which also overlooks that the sound is gone. 1, 5 and 10 neighbours agree. Where nothing was
# changed, each method calls about 4 % of the segments of films left out unlike.
NEIGHBOURS = 5
# Share of the segments of films left out that may lie beyond the limit.
BEYOND = 0.05
# Deviations from the mean beyond which a value counts no farther: one that is by chance nearly the
# same in all training films must not decide alone.
FARTHEST = 10.0
# Segments next to each other are alike: a few of each film stand for it, and a file stays small.
PER_FILM = 30
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Feature:
    """One feature of the training films: how it is scaled, and segments to compare with.

    Shape:
        mean and deviation ``(size,)``; points ``(segments, size)``, standardised
    """

    mean: np.ndarray
    deviation: np.ndarray
    points: np.ndarray

    def distance(self, values: np.ndarray) -> np.ndarray:
        """Mean distance to the nearest neighbours, ``(segments, size)`` to ``(segments,)``."""
        from sklearn.neighbors import NearestNeighbors

        points = self.points.astype(float)
        index = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(points))).fit(points)
        distances, _ = index.kneighbors(_scaled(values, self.mean, self.deviation))
        return distances.mean(1) / np.sqrt(values.shape[1])


@dataclass(frozen=True)
class Reference:
    """The training films, as other films are compared with them.

    Args:
        features: by name
        distances: of each training segment from the other films, by feature
        films: number of the film of each training segment

    Shape:
        distances ``(segments, features)``; films ``(segments,)``
    """

    features: Mapping[str, _Feature]
    distances: np.ndarray
    films: np.ndarray

    def compare(self, arrays: Arrays) -> Likeness:
        """How like the training films another film is.

        Args:
            arrays: features of its segments by name, ``(segments, size)``, as extracted
        """
        usual = np.median(self.distances, axis=0)  # (features,)
        # Where training films are copies of each other, any distance is unusual.
        usual = np.maximum(usual, 1e-9)
        calibration = _together(self.distances / usual)
        by_feature = {}
        for (name, feature), unit in zip(self.features.items(), usual, strict=True):
            by_feature[name] = feature.distance(np.asarray(arrays[name], float)) / unit
        distance = _together(np.stack(list(by_feature.values()), axis=1))
        limit = _limit(calibration)
        as_far = (calibration >= distance[:, None]).sum(1)  # (segments,)
        shares = _shares_of_films(calibration, self.films)
        likeness = Likeness(
            distance=distance,
            rank=(1 + as_far) / (1 + len(calibration)),
            limit=limit,
            level=float(shares.mean()),
            sentence=_sentence(distance, limit, shares, by_feature),
        )
        return likeness

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it as tensors by name, to be kept in a file."""
        content = {
            "distances": torch.tensor(self.distances, dtype=torch.float32),
            "films": torch.tensor(self.films),
        }
        for name, feature in self.features.items():
            content[f"mean/{name}"] = torch.tensor(feature.mean, dtype=torch.float32)
            content[f"deviation/{name}"] = torch.tensor(feature.deviation, dtype=torch.float32)
            content[f"points/{name}"] = torch.tensor(feature.points, dtype=torch.float32)
        return content

    @classmethod
    def of_tensors(cls, content: Mapping[str, torch.Tensor], names: Sequence[str]) -> Reference:
        """What :meth:`tensors` gave.

        Args:
            content: tensors by name
            names: of the features, in the order of ``distances``

        Raises:
            KeyError: if a tensor is missing
        """
        features = {}
        for name in names:
            parts = [content[f"{part}/{name}"] for part in ("mean", "deviation", "points")]
            features[name] = _Feature(*[part.double().numpy() for part in parts])
        return cls(features, content["distances"].double().numpy(), content["films"].numpy())


def learn(arrays: Arrays, films: Sequence[str]) -> Reference:
    """Learns what segments of some films are like, and how far a film left out lies from the rest.

    Args:
        arrays: features by name, as extracted
        films: film of each segment, two films or more; the segments of a film in their order

    Shape:
        each feature ``(segments, size)``; films ``(segments,)``

    Raises:
        ValueError: if there are fewer than two films
    """
    arrays = {name: np.asarray(values) for name, values in arrays.items()}
    names = list(dict.fromkeys(films))
    if len(names) < 2:
        raise ValueError(f"a film is left out of two or more, found {len(names)}")
    numbers = np.array([names.index(film) for film in films])
    distances = np.empty((len(numbers), len(arrays)))
    for number in range(len(names)):
        is_out = numbers == number
        for column, values in enumerate(arrays.values()):
            others = _feature(values[~is_out], numbers[~is_out])
            distances[is_out, column] = others.distance(np.asarray(values[is_out], float))
    features = {name: _feature(values, numbers) for name, values in arrays.items()}
    return Reference(features, distances, numbers)


def _feature(values: np.ndarray, films: np.ndarray) -> _Feature:
    """One feature of some films, thinned out to a few segments of each."""
    values = np.asarray(values, float)
    mean, deviation = (part.numpy() for part in moments(torch.tensor(values)))
    rows = []
    for film in np.unique(films):
        places = np.flatnonzero(films == film)
        chosen = np.linspace(0, len(places) - 1, min(PER_FILM, len(places)))
        rows.append(places[chosen.round().astype(int)])
    return _Feature(mean, deviation, _scaled(values[np.concatenate(rows)], mean, deviation))


def _scaled(values: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Standardised values, ``(segments, size)``; see :data:`FARTHEST`."""
    return np.clip((values - mean) / deviation, -FARTHEST, FARTHEST)


def _together(distances: np.ndarray) -> np.ndarray:
    """One distance for all features, ``(segments, features)`` to ``(segments,)``."""
    return np.sqrt((distances**2).mean(1))


def _limit(calibration: np.ndarray) -> float:
    """The smallest distance of films left out beyond which at most 5 % of their segments lie."""
    beyond = int(BEYOND * (len(calibration) + 1))
    return float(np.sort(calibration)[len(calibration) - 1 - beyond])


def _shares_of_films(calibration: np.ndarray, films: np.ndarray) -> np.ndarray:
    """Share of each film's segments beyond the limit of all the other films, ``(films,)``."""
    shares = []
    for film in np.unique(films):
        is_out = films == film
        shares.append(np.mean(calibration[is_out] > _limit(calibration[~is_out])))
    return np.array(shares)


def _sentence(
    distance: np.ndarray, limit: float, shares: np.ndarray, by_feature: Mapping[str, np.ndarray]
) -> str:
    """What is to be said of the whole film."""
    is_unlike = distance > limit
    n = len(distance)
    segments = "segment" if n == 1 else "segments"
    of_films_left_out = f"on films left out {shares.mean():.0%} of segments are"
    if not is_unlike.any():
        return (
            f"None of {n} {segments} is unlike the films that the models learned from "
            f"({of_films_left_out})."
        )
    farthest = {name: np.median(values[is_unlike]) for name, values in by_feature.items()}
    name = max(farthest, key=farthest.get)
    as_many = int(np.sum(shares >= is_unlike.mean()))
    are = "is" if is_unlike.sum() == 1 else "are"
    return (
        f"{is_unlike.sum()} of {n} {segments} {are} unlike the films that the models learned from: "
        f"the curve there is a guess ({of_films_left_out}, and {as_many} of {len(shares)} films "
        f"have as large a share; the farthest feature is {name}, {farthest[name]:.1f} times the "
        "usual distance away)."
    )
