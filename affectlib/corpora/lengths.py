"""Compares the length of each film with the length of its annotation.

A film may run faster than the annotated one: a PAL copy shows 25 frames a second of a film shot at
24. Or it may begin elsewhere. Both move every label away from its scene. Nothing in the files says
so: only the lengths do.
"""

from __future__ import annotations

import math
import warnings

import pandas as pd

from affectlib.corpora.base import Corpus

# A PAL copy of a film runs faster by this factor.
PAL_SPEED = 25 / 24
# How far a ratio of lengths may lie from that factor.
SPEED_TOLERANCE = 0.005
# In seconds: a shorter difference says nothing about speed.
LEAST_SECONDS = 0.5
# In seconds: a longer difference is reported.
MOST_SECONDS = 2.0
# An annotation that covers less than this share of its film is reported.
LEAST_COVERED = 0.9
# An annotation that covers less than this share of its film counts as damaged.
COVERED = 0.5
LENGTH_COLUMNS = ("clip", "film_seconds", "annotated_seconds", "difference", "ratio", "remark")


def length_table(corpus: Corpus) -> pd.DataFrame:
    """Compares how long each film lasts with how long it is annotated.

    Args:
        corpus: annotated over time, with one clip per film

    Returns:
        DataFrame with one row per film: clip, film_seconds (nan without a film),
        annotated_seconds, difference (film minus annotation, in seconds), ratio (film over
        annotation) and remark (``""`` if they agree)

    Raises:
        ValueError: if the corpus has no annotation over time
    """
    if corpus.hertz is None:
        raise ValueError(
            f"{corpus.name}: expected an annotation over time, it has one value per clip"
        )
    last_times = corpus.annotations.groupby("clip")["time"].max()
    rows = []
    for clip, path, seconds in corpus.clips[["clip", "path", "seconds"]].itertuples(index=False):
        # The last row is valid until the next one would come.
        annotated = last_times[clip] + 1 / corpus.hertz
        film = seconds if path else math.nan
        remark = _remark(film, annotated)
        rows.append((clip, film, annotated, film - annotated, film / annotated, remark))
    return pd.DataFrame(rows, columns=list(LENGTH_COLUMNS))


def warn_of_lengths(corpus: Corpus) -> None:
    """Warns of each film whose length does not fit its annotation.

    Args:
        corpus: annotated over time, with one clip per film

    Warns:
        UserWarning: one per film with a remark in :func:`length_table`
    """
    table = length_table(corpus)
    for clip, remark in zip(table["clip"], table["remark"], strict=True):
        if remark:
            # Level 3 is the line that called the loader.
            warnings.warn(f"{clip}: {remark}", UserWarning, stacklevel=3)


def _remark(film: float, annotated: float) -> str:
    """Returns a sentence about two lengths in seconds, empty if they agree or the film is nan."""
    difference = film - annotated
    ratio = film / annotated
    lengths = f"annotated for {annotated:.1f} s of {film:.1f} s"
    faster = abs(ratio * PAL_SPEED - 1) < SPEED_TOLERANCE
    slower = abs(ratio / PAL_SPEED - 1) < SPEED_TOLERANCE
    if abs(difference) > LEAST_SECONDS and (faster or slower):
        word = "faster" if faster else "slower"
        speed = f"{abs(1 / ratio - 1):.1%} {word}"
        return (
            f"{lengths}: the film seems to run {speed} than the one that was annotated "
            "(PAL against film), so that labels and scenes drift apart"
        )
    long_rest = difference > MOST_SECONDS or annotated < LEAST_COVERED * film
    if film > annotated and long_rest:
        return f"{lengths}, the rest is left out"
    if difference < -MOST_SECONDS:
        return (
            f"{lengths}: the annotation goes on after the film, or the film begins later than "
            "it should"
        )
    return ""


def rows_within(rows: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Keeps the annotations whose second begins within the film.

    Args:
        rows: one per second, with the column time (in seconds)
        seconds: duration of the film

    Returns:
        the first rows, at least the one at 0 s
    """
    # A film that ends up to 0.1 s early still has its last second.
    end = max(math.floor(seconds + 0.1), 1)
    return rows[rows["time"] < end]
