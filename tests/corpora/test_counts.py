"""What is published about each corpus, and that a part of one is said to be a part."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from affectlib.corpora import VIDEOEMOTION8_CLASSES, Corpus, counts, warn_if_partial, windows

SIZES8 = (101, 101, 115, 167, 180, 101, 236, 100)


def corpus_of(
    name, *, splits=None, n=0, labels=(), annotations=None, groups=None, simulated=False, **columns
):
    """A corpus in memory: ``splits`` says how many clips each official set has."""
    split = np.repeat([*splits], [*splits.values()]) if splits else np.repeat("", n)
    names = [f"clip {number}" for number in range(len(split))]
    clips = pd.DataFrame(
        {
            "clip": names,
            "path": "",
            "group": names if groups is None else groups,
            "split": split,
            "seconds": 1.0,
            **columns,
        }
    )
    if annotations is None:
        annotations = pd.DataFrame(
            {column: [] for column in ("clip", "time", "valence", "arousal")}
        )
    return Corpus(name, clips, annotations, labels, (-10, 10), None, "", "", simulated)


def afew_va(lengths, actors):
    """AFEW-VA with clips of some lengths: the first are positive, the next negative, the rest neutral."""
    n = len(lengths)
    rows = pd.DataFrame(
        {
            "clip": np.repeat([f"clip {number}" for number in range(n)], lengths),
            "frame": np.concatenate([np.arange(length) for length in lengths]),
        }
    )
    valence = np.zeros(n)
    valence[:59], valence[59:200] = 7, -7
    rows = rows.assign(time=rows["frame"] / 25, valence=np.repeat(valence, lengths), arousal=0.0)
    return corpus_of(
        "afew_va", n=n, groups=[f"actor {number % actors}" for number in range(n)], annotations=rows
    )


def complete():
    """Every corpus as it is published."""
    lengths = np.full(600, 50)
    lengths[:51] += 1  # 30,051 frames
    emotions = np.repeat(VIDEOEMOTION8_CLASSES, SIZES8)
    split = np.repeat(["train", "test"], [736, 365])
    eight = corpus_of(
        "videoemotion8",
        n=1101,
        labels=VIDEOEMOTION8_CLASSES,
        emotion=emotions,
        **{f"split_{number:02d}": split for number in range(1, 11)},
    )
    return [
        afew_va(lengths, 240),
        eight,
        corpus_of("heiv", splits={"train": 607, "test": 405}),
        corpus_of("ekman6", splits={"train": 819, "test": 818}),
        corpus_of("cognimuse", n=12),
        corpus_of("eimt16", splits={"train": 9800, "test": 1200}),
        corpus_of("liris_discrete", splits={"learning": 2450, "validation": 2450, "test": 4900}),
        corpus_of("mediaeval15", splits={"train": 6144, "test": 4756}),
        corpus_of("mediaeval18", splits={"train": 54, "test": 12}),
        corpus_of("liris_continuous", n=30),
    ]


@pytest.mark.parametrize("corpus", complete(), ids=lambda corpus: corpus.name)
def test_a_complete_corpus_has_the_published_counts_and_is_not_spoken_of(corpus):
    table = counts(corpus)
    assert list(table.columns) == ["what", "published", "found"] and len(table)
    assert table["published"].tolist() == table["found"].tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_partial(corpus)


@pytest.mark.parametrize("corpus", complete(), ids=lambda corpus: corpus.name)
def test_half_of_a_corpus_is_said_to_be_a_part(corpus):
    half = corpus.select(np.arange(0, len(corpus), 2))
    assert (counts(half)["found"] < counts(corpus)["found"]).any()
    with pytest.warns(
        UserWarning, match=rf"{corpus.name}: .* are published, .* found.*: a part of the corpus$"
    ):
        warn_if_partial(half, stacklevel=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_partial(replace(half, simulated=True))


def test_the_warning_says_what_is_missing_and_where_it_was_called():
    corpus = corpus_of("heiv", splits={"train": 300, "test": 405})
    expected = "heiv: 1,012 videos are published, 705 found; 607 videos to train on are published, 300 found"
    with pytest.warns(UserWarning) as caught:
        warn_if_partial(replace(corpus, skipped=("a: b", "c: d")), stacklevel=2)
    assert str(caught[0].message) == f"{expected}: a part of the corpus (2 at fault were skipped)"
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"13 found: more than the corpus"):
        warn_if_partial(corpus_of("cognimuse", n=13))
    nothing = corpus_of("videoemotion8", n=1, labels=VIDEOEMOTION8_CLASSES, emotion="Joy")
    with pytest.warns(UserWarning, match=r"6 more numbers differ \(corpora\.counts lists them\)"):
        warn_if_partial(nothing)


def test_windows_are_counted_as_mood_change_counts_them():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, 600)
    corpus = afew_va(lengths, 240)
    kept = rng.uniform(size=len(corpus.annotations)) > 0.05  # frames are missing here and there
    rows = corpus.annotations[kept].sample(frac=1, random_state=0)
    corpus = replace(corpus, annotations=rows)
    one_by_one = sum(
        len(windows(np.sort(frames.to_numpy()), 5)) for _, frames in rows.groupby("clip")["frame"]
    )
    clips = corpus.clips["clip"].isin(rows["clip"])
    table = counts(corpus.select(clips.to_numpy())).set_index("what")["found"]
    assert table["windows of 5 frames"] == one_by_one > 0


def test_a_corpus_about_which_nothing_is_published_has_no_rows():
    assert counts(corpus_of("holiday", n=3)).empty
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_partial(corpus_of("holiday", n=3))
