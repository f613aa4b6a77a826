"""Who trains, who chooses, who tests: positions in ``corpus.clips``, no group on two sides."""

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from affectlib.moved import moved_names


@dataclass(frozen=True)
class Fold:
    """One division of a corpus.

    Args:
        name: the film left out, or ``official``
        train, validation, test: positions in ``corpus.clips``

    Shape:
        each ``(rows,)``, integers
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def group_starts(groups: Iterable[Hashable]) -> np.ndarray:
    """True at the first row of each film, actor or other group; its rows must follow one another.

    Args:
        groups: the group of each row

    Shape:
        result ``(rows,)``, bool

    Raises:
        ValueError: if a group comes back after another one

    Examples:
        >>> group_starts(["a", "a", "b"])
        array([ True, False,  True])
    """
    starts = []
    seen = set()
    previous = None
    for row, group in enumerate(groups):
        begins = row == 0 or group != previous
        if begins and group in seen:
            raise ValueError(f"the rows of {group} do not stand together: row {row} is apart")
        seen.add(group)
        starts.append(begins)
        previous = group
    return np.array(starts, dtype=bool)


def leave_one_film_out(corpus, *, seed=None):
    """One fold per film: it tests, another one validates, the rest trains.

    Every film tests once and validates once. Works on films and on their segments, by ``group``.

    Args:
        corpus: a corpus of three films or more
        seed: shuffles which film validates which; None takes the next one

    Returns:
        list of Fold in the order of the films

    Raises:
        ValueError: if there are fewer than three films

    References:
        attend_affect, Section IV-C; the validation film is ours (``protocol="clean"``)
    """
    groups = corpus.clips["group"].to_numpy()
    films = list(dict.fromkeys(groups))
    if len(films) < 3:
        raise ValueError(f"{corpus.name}: leaving one film out needs 3 films, found {len(films)}")
    ring = films if seed is None else list(np.random.default_rng(seed).permutation(films))
    following = dict(zip(ring, ring[1:] + ring[:1], strict=True))
    return [_fold(film, groups == following[film], groups == film) for film in films]


def official_split(corpus, *, validation_share=0.2, seed=0):
    """The one fold that the makers of a corpus fixed.

    Args:
        corpus: its splits are learning, validation and test, or train and test
        validation_share: part of the films of ``train`` that validates where no set is named so, rounded up
        seed: draws those films

    Returns:
        list with a single Fold

    Raises:
        ValueError: if the splits are others, or ``train`` has a single film
    """
    split, groups = corpus.clips["split"].to_numpy(), corpus.clips["group"].to_numpy()
    found = set(split)
    if found == {"learning", "validation", "test"}:
        return [_fold("official", split == "validation", split == "test")]
    if found != {"train", "test"}:
        raise ValueError(
            f"{corpus.name}: expected the splits train and test, or learning, validation and test; "
            f"found {', '.join(sorted(map(repr, found)))}"
        )
    train = split == "train"
    films = np.unique(groups[train])
    if len(films) < 2:
        raise ValueError(
            f"{corpus.name}: holding films out of train needs 2 of them, found {len(films)}"
        )
    n = min(
        max(1, math.ceil(validation_share * len(films) - 1e-9)), len(films) - 1
    )  # at least one and never all
    held_out = films[np.random.default_rng(seed).permutation(len(films))[:n]]
    return [_fold("official", train & np.isin(groups, held_out), split == "test")]


def _fold(name, validation, test):
    return Fold(name, *(np.flatnonzero(mask) for mask in (~(validation | test), validation, test)))


# Only mood_change needs it, and it stands in its model file now.
__getattr__ = moved_names(__name__, ("subject_folds",), "affectlib.models.mood_change")
