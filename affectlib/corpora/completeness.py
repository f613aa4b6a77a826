"""Compares a corpus with the published numbers about it.

They are in ``affectlib/published/<slug>/table0.csv``, in the columns of every published table. Rows
whose column ``quoted`` is false are from the text of the paper of that slug:

- attend_affect, Section IV-A: twelve films of COGNIMUSE; 9,800 excerpts to train on, 1,200 to test
  on
- caan, Sections 3 and 5.6: HEIV, Ekman-6, and 1,101 videos of VideoEmotion-8 in ten splits
- mood_change, Sections 2.1 and 2.2: clips, actors, windows and moods of AFEW-VA
- shot_long, Dataset and Metrics: films of MediaEval 2018

The other rows are from the makers of the corpora:

- the sets of LIRIS-ACCEDE: the Readme beside its annotations
- the split of MediaEval 2015: the organisers' lists of shots
- the thirty films of the continuous part: its files
- the sizes of the splits and classes of VideoEmotion-8: its lists
- the 30,051 frames of AFEW-VA: Kossaifi et al., 2017

The classes of HEIV are left out: the paper's table of them adds up to 1,016 videos, its text says
1,012.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from affectlib.corpora.base import Corpus
from affectlib.corpora.labels import with_mood

_PUBLISHED = Path(__file__).resolve().parents[1] / "published"
# At most so many numbers are named in a warning.
_MOST_NAMED = 4
# Frames in a window of mood_change, for its published number of windows.
_WINDOW = 5
# Names of the moods of AFEW-VA.
_MOODS = {1: "positive", 0: "neutral", -1: "negative"}


@dataclass(frozen=True)
class _Fact:
    """One published number, and a way to count it in a corpus.

    Args:
        what: words for the counted things
        row, column: place of the number in the published table
        count: counts it in a corpus
    """

    what: str
    row: str
    column: str
    count: Callable[[Corpus], int]


def counts(corpus: Corpus) -> pd.DataFrame:
    """Counts a corpus, and lists the published numbers beside.

    Args:
        corpus: as a loader returns it, not cut to segments

    Returns:
        DataFrame with the columns what, published and found, the last two whole numbers; without
        rows if nothing is published about the corpus

    Examples:
        >>> from affectlib.corpora import load_cognimuse
        >>> counts(load_cognimuse("cognimuse", films=False))  # doctest: +SKIP
            what  published  found
        0  films         12      4
    """
    rows = []
    if corpus.name in _FACTS:
        slug, facts_of = _FACTS[corpus.name]
        table = pd.read_csv(_PUBLISHED / slug / "table0.csv")
        published = table.set_index(["row", "column"])["value"]
        for fact in facts_of(corpus):
            number = published[fact.row, fact.column]
            rows.append((fact.what, int(number), int(fact.count(corpus))))
    return pd.DataFrame(rows, columns=["what", "published", "found"])


def warn_if_partial(corpus: Corpus, *, stacklevel: int = 3) -> None:
    """Warns if a real corpus holds less, or more, than is published about it.

    Args:
        corpus: as a loader is about to return it; a simulated one is never warned of
        stacklevel: of the warning; 3 names the line that called the loader

    Warns:
        UserWarning: one for the corpus, with the first numbers that differ
    """
    if corpus.simulated:
        return
    table = counts(corpus)
    differing = table[table["published"] != table["found"]]
    if differing.empty:
        return
    parts = []
    for what, published, found in differing.head(_MOST_NAMED).itertuples(index=False):
        parts.append(f"{published:,} {what} are published, {found:,} found")
    if len(differing) > _MOST_NAMED:
        more = len(differing) - _MOST_NAMED
        parts.append(f"{more} more numbers differ (corpora.counts lists them)")
    is_less = (differing["found"] < differing["published"]).any()
    verdict = "a part of the corpus" if is_less else "more than the corpus"
    if corpus.skipped:
        verdict += f" ({len(corpus.skipped)} at fault were skipped)"
    warnings.warn(f"{corpus.name}: {'; '.join(parts)}: {verdict}", stacklevel=stacklevel)


def _clips(what: str, row: str, column: str) -> _Fact:
    """All clips of a corpus."""
    return _Fact(what, row, column, len)


def _clips_with(what: str, row: str, column: str, *, where: str, value: str) -> _Fact:
    """Clips with a value in the column ``where``."""

    def count(corpus: Corpus) -> int:
        return (corpus.clips[where] == value).sum()

    return _Fact(what, row, column, count)


def _train_and_test(what: str, row: str) -> list[_Fact]:
    """Clips of the official sets train and test."""
    return [
        _clips_with(f"{what} to train on", row, "train", where="split", value="train"),
        _clips_with(f"{what} to test on", row, "test", where="split", value="test"),
    ]


def _cognimuse(corpus: Corpus) -> list[_Fact]:
    return [_clips("films", "extended COGNIMUSE", "films")]


def _liris_discrete(corpus: Corpus) -> list[_Fact]:
    row = "Discrete LIRIS-ACCEDE"
    purposes = {"learning": "to learn from", "validation": "to validate on", "test": "to test on"}
    facts = [_clips("excerpts", row, "excerpts")]
    for name, purpose in purposes.items():
        facts.append(_clips_with(f"excerpts {purpose}", row, name, where="split", value=name))
    return facts


def _eimt16(corpus: Corpus) -> list[_Fact]:
    return _train_and_test("excerpts", "Global EIMT16")


def _mediaeval15(corpus: Corpus) -> list[_Fact]:
    row = "MediaEval 2015"
    return [_clips("excerpts", row, "excerpts"), *_train_and_test("excerpts", row)]


def _mediaeval18(corpus: Corpus) -> list[_Fact]:
    return _train_and_test("films", "MediaEval 2018")


def _liris_continuous(corpus: Corpus) -> list[_Fact]:
    return [_clips("films", "Continuous LIRIS-ACCEDE", "films")]


def _heiv(corpus: Corpus) -> list[_Fact]:
    return [_clips("videos", "HEIV", "videos"), *_train_and_test("videos", "HEIV")]


def _ekman6(corpus: Corpus) -> list[_Fact]:
    return [_clips("videos", "Ekman-6", "videos"), *_train_and_test("videos", "Ekman-6")]


def _videoemotion8(corpus: Corpus) -> list[_Fact]:
    """Videos, classes, and each split that is there."""
    row = "VideoEmotion-8"
    splits = [column for column in corpus.clips if column.startswith("split_")]
    facts = [_clips("videos", row, "videos")]
    for emotion in corpus.labels:
        what = f"videos of {emotion}"
        facts.append(_clips_with(what, row, emotion, where="emotion", value=emotion))
    facts.append(_Fact("splits", row, "splits", lambda corpus: len(splits)))
    for split in splits:
        train = f"videos to train on in {split}"
        test = f"videos to test on in {split}"
        facts.append(_clips_with(train, row, "train", where=split, value="train"))
        facts.append(_clips_with(test, row, "test", where=split, value="test"))
    return facts


def _afew_va(corpus: Corpus) -> list[_Fact]:
    """Clips, actors, frames, windows and moods."""
    windows = f"windows of {_WINDOW} frames"
    facts = [
        _clips("clips", "clips", "corpus"),
        _Fact("actors", "actors", "corpus", lambda corpus: corpus.clips["group"].nunique()),
        _Fact("frames", "frames", "corpus", lambda corpus: len(corpus.annotations)),
        _Fact(windows, windows, "corpus", _count_windows),
    ]
    for mood, name in _MOODS.items():
        facts.append(_clips_of_mood(mood, name))
    return facts


def _clips_of_mood(mood: int, name: str) -> _Fact:
    def count(corpus: Corpus) -> int:
        return (with_mood(corpus).clips["mood"] == mood).sum()

    return _Fact(f"clips of {name} mood", name, "mood", count)


def _count_windows(corpus: Corpus) -> int:
    """Counts windows of consecutive frames within one clip; a missing frame breaks a window."""
    rows = corpus.annotations.sort_values(["clip", "frame"])
    # The last frame of the window that begins at each row.
    ends = rows.shift(-(_WINDOW - 1))
    complete = (ends["clip"] == rows["clip"]) & (ends["frame"] - rows["frame"] == _WINDOW - 1)
    return int(complete.sum())


# Corpus to the slug whose published table holds its numbers, and the facts to count.
_FACTS = {
    "afew_va": ("mood_change", _afew_va),
    "cognimuse": ("attend_affect", _cognimuse),
    "eimt16": ("attend_affect", _eimt16),
    "ekman6": ("caan", _ekman6),
    "heiv": ("caan", _heiv),
    "liris_continuous": ("shot_long", _liris_continuous),
    "liris_discrete": ("attend_affect", _liris_discrete),
    "mediaeval15": ("shot_long", _mediaeval15),
    "mediaeval18": ("shot_long", _mediaeval18),
    "videoemotion8": ("caan", _videoemotion8),
}
