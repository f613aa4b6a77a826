"""Folds: which clips train, validate and test. No group is on two sides.

A fold holds positions in ``corpus.clips``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass

import numpy as np

from affectlib.corpora.base import Corpus


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


def subject_folds(corpus, k=5, *, seed=0, folder=None):
    """Folds over actors, stratified by mood; each fold tests once and validates the one before it.

    Args:
        corpus: clips with the column mood; its groups are the actors
        k: number of folds
        seed: draws them
        folder: where they are frozen as JSON, one file per corpus (by the hash of its clips, actors and moods), k
            and seed: read where it stands, written otherwise, so that they outlive the algorithm that drew them

    Returns:
        list of Fold

    Raises:
        ValueError: if ``k`` is below 3, or there are fewer actors than folds, or a file does not fit the corpus

    References:
        mood_change 3.5; stratification and validation are ours
    """
    clips = corpus.clips
    groups = clips["group"].to_numpy()
    if not 3 <= k <= len(set(groups)):
        raise ValueError(
            f"{corpus.name}: k lies between 3 and the {len(set(groups))} actors, not at {k}"
        )
    table = clips[["clip", "group", "mood"]].to_csv(index=False)
    key = hashlib.sha256(table.encode()).hexdigest()
    path = (
        None
        if folder is None
        else os.path.join(folder, f"folds_{corpus.name}_{key[:8]}_{k}_{seed}.json")
    )
    if path is not None and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            frozen = json.load(file)
        parts = [np.isin(groups, actors) for actors in frozen["folds"]]
        if frozen["corpus"] != key or not (np.sum(parts, axis=0) == 1).all():
            raise ValueError(f"{path}: these folds were drawn from another corpus")
    else:
        from sklearn.model_selection import StratifiedGroupKFold

        draw = StratifiedGroupKFold(k, shuffle=True, random_state=seed).split(
            clips, clips["mood"], groups
        )
        parts = [np.isin(np.arange(len(clips)), test) for _, test in draw]
        if path is not None:
            content = {"corpus": key, "folds": [sorted(set(groups[part])) for part in parts]}
            os.makedirs(folder, exist_ok=True)
            with open(f"{path}.{os.getpid()}.part", "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1, ensure_ascii=False)
            os.replace(file.name, path)
    return [_fold(f"fold {i + 1}", parts[(i + 1) % k], part) for i, part in enumerate(parts)]


def _fold(name: str, validation: np.ndarray, test: np.ndarray) -> Fold:
    """Makes a fold of two boolean masks over the clips; the other clips train."""
    train = ~(validation | test)
    return Fold(name, np.flatnonzero(train), np.flatnonzero(validation), np.flatnonzero(test))
