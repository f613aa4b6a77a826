"""Segments hold the mean of their own annotations, and nothing else."""

import numpy as np
import pandas as pd
import pytest

from affectlib.corpora import Corpus, lead_in_seconds, segment_means, segments

HERTZ = 25


def course(clip, seconds, *, hold=0.0, seed=0):
    """Annotations of one film, times as a text file gives them."""
    n = round(seconds * HERTZ)
    values = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    values[: round(hold * HERTZ)] = (0.0, -0.94)
    times = [float(f"{i / HERTZ:.2f}") for i in range(n)]
    return pd.DataFrame(
        {"clip": clip, "time": times, "valence": values[:, 0], "arousal": values[:, 1]}
    )


def films(*annotations, seconds=None):
    clips = pd.DataFrame(
        [{"clip": rows["clip"][0], "seconds": seconds or len(rows) / HERTZ} for rows in annotations]
    )
    clips = clips.assign(
        path=clips["clip"] + ".mp4", group=clips["clip"], split="", valence=0.0, arousal=0.0
    )
    return Corpus(
        "films", clips, pd.concat(annotations, ignore_index=True), (), (-1, 1), HERTZ, "", "", True
    )


def excerpts():
    clips = pd.DataFrame(
        {
            "clip": ["E1", "E0"],
            "path": ["1.mp4", "0.mp4"],
            "group": ["F", "G"],
            "valence": [2.0, 3.0],
            "split": ["train", "test"],
            "seconds": [8.0, 12.0],
            "arousal": [4.0, 1.0],
        }
    )
    empty = pd.DataFrame(columns=["clip", "time", "valence", "arousal"])
    return Corpus("excerpts", clips, empty, ("valence", "arousal"), (1, 5), None, "", "", True)


@pytest.mark.parametrize("seconds", [1.0, 3.0, 5.0, 7.3])
def test_segment_means_are_those_of_the_rows_inside(seconds):
    rows = pd.concat([course("B", 61.52), course("A", 23.0, seed=1)], ignore_index=True)
    result = segment_means(rows, seconds)
    assert list(result.columns) == ["clip", "segment", "start", "seconds", "valence", "arousal"]
    assert list(dict.fromkeys(result["clip"])) == ["B", "A"]
    for clip, length in (("B", 61.52), ("A", 23.0)):
        mine = result[result["clip"] == clip]
        assert len(mine) == int(length / seconds + 1e-9)
        for part in mine.itertuples():
            hundredths = (rows["time"] * 100).round()
            inside = (rows["clip"] == clip) & (hundredths >= round(part.start * 100))
            inside &= hundredths < round((part.start + seconds) * 100)
            assert part.valence == pytest.approx(rows.loc[inside, "valence"].mean())
            assert part.arousal == pytest.approx(rows.loc[inside, "arousal"].mean())


def test_five_second_segments_have_125_annotations_each():
    rows = course("A", 60.0)
    rows["valence"] = np.arange(len(rows)) // 125 / 100
    result = segment_means(rows, 5.0)
    assert len(result) == 12
    assert np.allclose(result["valence"], np.arange(12) / 100)


def test_seconds_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        segment_means(course("A", 5), 0)


def test_segments_are_clips_of_their_own():
    corpus = segments(films(course("BMI", 21.0), course("GLA", 10.0)), seconds=5.0)
    assert list(corpus.clips["clip"]) == [
        *(f"BMI:{i:04d}" for i in range(4)),
        "GLA:0000",
        "GLA:0001",
    ]
    assert list(corpus.clips["start"]) == [0, 5, 10, 15, 0, 5]
    assert list(corpus.clips["source"]) == list(corpus.clips["group"]) == ["BMI"] * 4 + ["GLA"] * 2
    assert set(corpus.clips.loc[corpus.clips["group"] == "GLA", "path"]) == {"GLA.mp4"}
    assert set(corpus.select([4, 5]).annotations["clip"]) == {"GLA"}


def test_a_film_that_ends_early_loses_segments_loudly():
    with pytest.warns(
        UserWarning, match=r"BMI: the film ends before its annotation; 2 segments lost"
    ):
        corpus = segments(films(course("BMI", 20.0), seconds=12.0), seconds=5.0)
    assert len(corpus) == 2


def test_a_film_without_a_segment_is_named():
    with pytest.warns(UserWarning, match=r"GLA: no segment of 5 s, the film is left out"):
        corpus = segments(films(course("BMI", 20.0), course("GLA", 4.0)), seconds=5.0)
    assert set(corpus.clips["group"]) == {"BMI"}


def test_lead_in_is_kept_unless_trimmed():
    corpus = films(
        course("BMI", 20.0, hold=2.0), course("GLA", 20.0, hold=6.0), course("MDB", 20.0)
    )
    assert lead_in_seconds(corpus.annotations).to_dict() == {"BMI": 2.0, "GLA": 6.0, "MDB": 0.0}
    assert len(segments(corpus, seconds=5.0)) == 12
    trimmed = segments(corpus, seconds=5.0, lead_in="trim").clips
    assert {film: list(rows["start"]) for film, rows in trimmed.groupby("source")} == {
        "BMI": [5, 10, 15],
        "GLA": [10, 15],
        "MDB": [0, 5, 10, 15],
    }
    assert list(trimmed["clip"])[:1] == ["BMI:0001"]


def test_parts_take_the_value_of_their_excerpt():
    corpus = segments(excerpts(), parts=4)
    assert list(corpus.clips["clip"]) == [
        f"{clip}:{i:04d}" for clip in ("E1", "E0") for i in range(4)
    ]
    assert list(corpus.clips["start"]) == [0, 2, 4, 6, 0, 3, 6, 9]
    assert list(corpus.clips["seconds"]) == [2.0] * 4 + [3.0] * 4
    assert list(corpus.clips["arousal"]) == [4.0] * 4 + [1.0] * 4
    assert list(corpus.clips["split"]) == ["train"] * 4 + ["test"] * 4


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "exactly one"),
        ({"seconds": 5, "parts": 4}, "exactly one"),
        ({"seconds": 5, "lead_in": "drop"}, "lead_in"),
        ({"seconds": 5}, "by parts"),
    ],
)
def test_wrong_options_are_refused(options, expected):
    with pytest.raises(ValueError, match=expected):
        segments(excerpts(), **options)
