"""How much of a corpus is there, against what is published about it.

The published numbers stand in ``affectlib/published/<slug>/table0.csv``, in the columns of every published table.
Where ``quoted`` is false they are in the text of the paper of that slug:

- attend_affect, Section IV-A: twelve films of COGNIMUSE, 9,800 excerpts to train on and 1,200 to test on
- caan, Sections 3 and 5.6: HEIV, Ekman-6, and 1,101 videos of VideoEmotion-8 in ten splits
- mood_change, Sections 2.1 and 2.2: clips, actors, windows and moods of AFEW-VA
- shot_long, Dataset and Metrics: films of MediaEval 2018

Where it is true they come from those who made the corpus: the sets of LIRIS-ACCEDE from the Readme beside its
annotations, the split of MediaEval 2015 from the organisers' lists of shots, the thirty films of the continuous part
from its files, the sizes of the splits and classes of VideoEmotion-8 from its lists, and the 30,051 frames of AFEW-VA
from its authors (Kossaifi et al., 2017). HEIV's classes are left out: the paper's table of them adds up to 1,016
videos, and its text says 1,012.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from affectlib.corpora.base import Corpus
from affectlib.corpora.labels import with_mood

_PUBLISHED = Path(__file__).resolve().parents[1] / "published"
_TOLD = 4  # numbers that a warning names
_WINDOW = 5  # frames in a window of mood_change, for its published number of windows


@dataclass(frozen=True)
class _Fact:
    """One published number, and how it is counted in a corpus.

    Args:
        what: what is counted, as a reader says it
        row, column: of the number in the published table
        count: counts it in a corpus
    """

    what: str
    row: str
    column: str
    count: Callable[[Corpus], int]


def counts(corpus: Corpus) -> pd.DataFrame:
    """Compares what was found of a corpus with what is published about it.

    Args:
        corpus: as a loader returns it, not cut to segments

    Returns:
        DataFrame with the columns what, published and found, both whole numbers; without rows for a corpus about
        which nothing is published

    Examples:
        >>> from affectlib.corpora import load_cognimuse
        >>> counts(load_cognimuse("cognimuse", films=False))  # doctest: +SKIP
            what  published  found
        0  films         12      4
    """
    slug, facts = _facts(corpus)
    rows = []
    if facts:
        table = pd.read_csv(_PUBLISHED / slug / "table0.csv").set_index(["row", "column"])["value"]
        for fact in facts:
            rows.append((fact.what, int(table[fact.row, fact.column]), int(fact.count(corpus))))
    return pd.DataFrame(rows, columns=["what", "published", "found"])


def warn_if_partial(corpus: Corpus, *, stacklevel: int = 3) -> None:
    """Warns where a real corpus does not hold as much as is published about it.

    Args:
        corpus: as a loader is about to return it; nothing is said of a simulated one
        stacklevel: of the warning: 3 names the line that called the loader

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
    for what, published, found in differing.head(_TOLD).itertuples(index=False):
        parts.append(f"{published:,} {what} are published, {found:,} found")
    if len(differing) > _TOLD:
        parts.append(f"{len(differing) - _TOLD} more numbers differ (corpora.counts lists them)")
    less = (differing["found"] < differing["published"]).any()
    verdict = "a part of the corpus" if less else "more than the corpus"
    dropped = f" ({len(corpus.skipped)} at fault were skipped)" if corpus.skipped else ""
    warnings.warn(
        f"{corpus.name}: {'; '.join(parts)}: {verdict}{dropped}", UserWarning, stacklevel=stacklevel
    )


def _facts(corpus: Corpus) -> tuple[str, list[_Fact]]:
    """The paper whose table holds the numbers of a corpus, and the numbers."""
    name = corpus.name
    if name == "afew_va":
        return "mood_change", _afew_va()
    if name == "heiv":
        return "caan", [_clips("videos", "HEIV", "videos"), *_sets("videos", "HEIV")]
    if name == "ekman6":
        return "caan", [_clips("videos", "Ekman-6", "videos"), *_sets("videos", "Ekman-6")]
    if name == "videoemotion8":
        return "caan", _videoemotion8(corpus)
    if name == "cognimuse":
        return "attend_affect", [_clips("films", "extended COGNIMUSE", "films")]
    if name == "liris_discrete":
        row = "Discrete LIRIS-ACCEDE"
        purposes = {
            "learning": "to learn from",
            "validation": "to validate on",
            "test": "to test on",
        }
        return "attend_affect", [
            _clips("excerpts", row, "excerpts"),
            *_sets("excerpts", row, purposes),
        ]
    if name == "eimt16":
        return "attend_affect", _sets("excerpts", "Global EIMT16")
    if name == "mediaeval15":
        row = "MediaEval 2015"
        return "shot_long", [_clips("excerpts", row, "excerpts"), *_sets("excerpts", row)]
    if name == "mediaeval18":
        return "shot_long", _sets("films", "MediaEval 2018")
    if name == "liris_continuous":
        return "shot_long", [_clips("films", "Continuous LIRIS-ACCEDE", "films")]
    return "", []


def _clips(what: str, row: str, column: str) -> _Fact:
    return _Fact(what, row, column, len)


def _sets(what: str, row: str, purposes: dict[str, str] | None = None) -> list[_Fact]:
    """Clips of each official set."""
    purposes = purposes or {"train": "to train on", "test": "to test on"}
    return [
        _in_set(f"{what} {purpose}", row, name, "split", name) for name, purpose in purposes.items()
    ]


def _in_set(what: str, row: str, column: str, split: str, name: str) -> _Fact:
    """Clips whose column ``split`` has the value ``name``."""

    def count(corpus):
        return (corpus.clips[split] == name).sum()

    return _Fact(what, row, column, count)


def _videoemotion8(corpus: Corpus) -> list[_Fact]:
    row = "VideoEmotion-8"
    splits = [column for column in corpus.clips if column.startswith("split_")]
    facts = [_clips("videos", row, "videos")]
    facts += [
        _in_set(f"videos of {emotion}", row, emotion, "emotion", emotion)
        for emotion in corpus.labels
    ]
    facts.append(_Fact("splits", row, "splits", lambda corpus: len(splits)))
    for split in splits:
        facts.append(_in_set(f"videos to train on in {split}", row, "train", split, "train"))
        facts.append(_in_set(f"videos to test on in {split}", row, "test", split, "test"))
    return facts


def _afew_va() -> list[_Fact]:
    facts = [
        _clips("clips", "clips", "corpus"),
        _Fact("actors", "actors", "corpus", lambda corpus: corpus.clips["group"].nunique()),
        _Fact("frames", "frames", "corpus", lambda corpus: len(corpus.annotations)),
        _Fact(f"windows of {_WINDOW} frames", f"windows of {_WINDOW} frames", "corpus", _windows),
    ]
    for mood, name in ((1, "positive"), (0, "neutral"), (-1, "negative")):

        def count(corpus, mood=mood):
            return (with_mood(corpus).clips["mood"] == mood).sum()

        facts.append(_Fact(f"clips of {name} mood", name, "mood", count))
    return facts


def _windows(corpus: Corpus) -> int:
    """Windows of consecutive frames within one clip, all clips at once; a missing frame breaks a window."""
    rows = corpus.annotations.sort_values(["clip", "frame"])
    later = rows.shift(-(_WINDOW - 1))
    complete = (later["clip"] == rows["clip"]) & (later["frame"] - rows["frame"] == _WINDOW - 1)
    return int(complete.sum())
