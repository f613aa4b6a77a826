"""Folds: which clips train, validate and test. No group is on two sides.

A fold holds positions in ``corpus.clips``.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from affectlib.corpora.base import Corpus
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


def first_rows(groups: Iterable[Hashable]) -> np.ndarray:
    """For each row, the first row of its film, actor or other group.

    Arguments and errors as for :func:`group_starts`.

    Shape:
        result ``(rows,)``, integers

    Examples:
        >>> first_rows(["a", "a", "b"]).tolist()
        [0, 0, 2]
    """
    starts = group_starts(groups)
    return np.maximum.accumulate(np.where(starts, np.arange(len(starts)), 0))


def leave_one_film_out(corpus: Corpus, *, seed: int | None = None) -> list[Fold]:
    """Makes one fold per film: it tests, another one validates, the rest trains.

    Every film tests once and validates once. Works on films and on their segments, by ``group``.

    Args:
        corpus: a corpus of three films or more
        seed: shuffles the order of the films; each validates for the one before it. None keeps the
            order of the corpus

    Returns:
        folds in the order of the films

    Raises:
        ValueError: if there are fewer than three films

    References:
        attend_affect, Section IV-C; the validation film is ours (``protocol="clean"``)
    """
    groups = corpus.clips["group"].to_numpy()
    # A dict keeps the order and drops repeats.
    films = list(dict.fromkeys(groups))
    if len(films) < 3:
        raise ValueError(f"{corpus.name}: leaving one film out needs 3 films, found {len(films)}")
    ring = films
    if seed is not None:
        ring = list(np.random.default_rng(seed).permutation(films))
    next_film = dict(zip(ring, ring[1:] + ring[:1], strict=True))
    folds = []
    for film in films:
        validates = groups == next_film[film]
        folds.append(_fold(film, validates, groups == film))
    return folds


def official_split(corpus: Corpus, *, validation_share: float = 0.2, seed: int = 0) -> list[Fold]:
    """Makes the one fold that the makers of a corpus fixed.

    Args:
        corpus: its splits are learning, validation and test, or train and test
        validation_share: share of the films of ``train`` that validates if no split does, rounded
            up
        seed: draws those films

    Returns:
        list with a single Fold

    Raises:
        ValueError: if the corpus has other splits, or ``train`` has a single film
    """
    split = corpus.clips["split"].to_numpy()
    groups = corpus.clips["group"].to_numpy()
    names = set(split)
    if names == {"learning", "validation", "test"}:
        return [_fold("official", split == "validation", split == "test")]
    if names != {"train", "test"}:
        found = ", ".join(sorted(map(repr, names)))
        raise ValueError(
            f"{corpus.name}: expected the splits train and test, or learning, validation and "
            f"test; found {found}"
        )
    train = split == "train"
    films = np.unique(groups[train])
    if len(films) < 2:
        raise ValueError(
            f"{corpus.name}: holding films out of train needs 2 of them, found {len(films)}"
        )
    # 1e-9: the share of a number of films may come out a little above a whole number.
    count = math.ceil(validation_share * len(films) - 1e-9)
    # At least one film and never all.
    count = min(max(1, count), len(films) - 1)
    held_out = films[np.random.default_rng(seed).permutation(len(films))[:count]]
    return [_fold("official", train & np.isin(groups, held_out), split == "test")]


def _fold(name: str, validation: np.ndarray, test: np.ndarray) -> Fold:
    """Makes a fold of two boolean masks over the clips; the other clips train."""
    train = ~(validation | test)
    return Fold(name, np.flatnonzero(train), np.flatnonzero(validation), np.flatnonzero(test))


# Only mood_change needs it, and it stands in its model file now.
__getattr__ = moved_names(__name__, ("subject_folds",), "affectlib.models.mood_change")
