"""Film length against annotation length, film by film.

A film that runs faster than the one that was annotated (a PAL copy shows 25 frames a second of a film shot at 24), or
that begins elsewhere, moves every label away from its scene. Nothing in the files says so: only the lengths do.
"""

import warnings

import pandas as pd

from affectlib.corpora.base import Corpus

PAL_SPEED = 25 / 24  # a PAL copy of a film runs faster by this factor
SPEED_TOLERANCE = 0.005  # how far a ratio of lengths may lie from that factor
LEAST_SECONDS = 0.5  # a shorter difference says nothing about speed
MOST_SECONDS = 2.0  # a longer difference is told
LEAST_COVERED = 0.9  # share of a film that its annotation covers at least
LENGTH_COLUMNS = ("clip", "film_seconds", "annotated_seconds", "difference", "ratio", "remark")


def length_table(corpus: Corpus) -> pd.DataFrame:
    """Compares how long each film lasts with how long it is annotated.

    Args:
        corpus: annotated over time, with one clip per film

    Returns:
        DataFrame with one row per film: clip, film_seconds (nan without a film), annotated_seconds, difference
        (film minus annotation, in seconds), ratio (film over annotation) and remark (``""`` where they agree)

    Raises:
        ValueError: if the corpus has no annotation over time
    """
    if corpus.hertz is None:
        raise ValueError(
            f"{corpus.name}: expected an annotation over time, it has one value per clip"
        )
    last = corpus.annotations.groupby("clip")["time"].max()
    rows = []
    for clip, path, seconds in zip(
        corpus.clips["clip"], corpus.clips["path"], corpus.clips["seconds"], strict=True
    ):
        # The last row stands for the time until the next one would come.
        annotated = last[clip] + 1 / corpus.hertz
        film = seconds if path else float("nan")
        rows.append(
            (clip, film, annotated, film - annotated, film / annotated, _remark(film, annotated))
        )
    return pd.DataFrame(rows, columns=list(LENGTH_COLUMNS))


def warn_of_lengths(corpus: Corpus) -> None:
    """Warns of each film whose length and annotation do not fit.

    Args:
        corpus: annotated over time, with one clip per film

    Warns:
        UserWarning: one per film with a remark in :func:`length_table`
    """
    table = length_table(corpus)
    for clip, remark in zip(table["clip"], table["remark"], strict=True):
        if remark:
            # 3: the line that called the loader, not the loader
            warnings.warn(f"{clip}: {remark}", UserWarning, stacklevel=3)


def _remark(film: float, annotated: float) -> str:
    """One sentence about two lengths in seconds, empty where they agree or there is no film."""
    difference = film - annotated
    ratio = film / annotated
    lengths = f"annotated for {annotated:.1f} s of {film:.1f} s"
    faster = abs(ratio * PAL_SPEED - 1) < SPEED_TOLERANCE
    slower = abs(ratio / PAL_SPEED - 1) < SPEED_TOLERANCE
    if abs(difference) > LEAST_SECONDS and (faster or slower):
        word = "faster" if faster else "slower"
        return (
            f"{lengths}: the film seems to run {abs(1 / ratio - 1):.1%} {word} than the one that was annotated "
            "(PAL against film), so that labels and scenes drift apart"
        )
    if film > annotated and (difference > MOST_SECONDS or annotated < LEAST_COVERED * film):
        return f"{lengths}, the rest is left out"
    if difference < -MOST_SECONDS:
        return f"{lengths}: the annotation goes on after the film, or the film begins later than it should"
    return ""
