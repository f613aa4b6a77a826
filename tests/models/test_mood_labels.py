"""Labels, windows and folds of mood_change."""

import importlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from affectlib import paths
from affectlib.corpora import Corpus, with_mood
from affectlib.models.mood_change import change_label, mood_windows, subject_folds, windows
from affectlib.runner.notebooks import code_cells, find_notebooks


def corpus_of(clips, annotations):
    clips = pd.DataFrame({"path": "", "split": "", "seconds": 1.0} | clips)
    return Corpus(
        name="toy",
        clips=clips,
        annotations=pd.DataFrame(annotations),
        labels=(),
        value_range=(-10, 10),
        hertz=25.0,
        license="",
        citation="",
        simulated=True,
    )


# labels and windows


def test_change_is_the_sign_of_the_difference():
    values = np.random.default_rng(1).integers(-10, 11, 30)
    for k in (2, 5, 9):
        expected = [int(np.sign(values[t] - values[t - k + 1])) for t in range(k - 1, 30)]
        assert change_label(values, k).tolist() == expected


def test_windows_of_numbers_with_gaps():
    numbers = [0, 1, 2, 3, 7, 8, 9, 11]
    expected = []
    for i in range(6):
        first = numbers[i]
        if numbers[i : i + 3] == [first, first + 1, first + 2]:
            expected.append(i)
    assert windows(numbers, 3).tolist() == expected == [0, 1, 4]
    assert windows(10, 3).tolist() == list(range(8))
    assert windows(4, 5).tolist() == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: change_label([1, 2], 1), "not at 1"),
        (lambda: change_label([1, 2], 3), "the 2 frames"),
        (lambda: windows([3, 2], 2), "increasing frame numbers"),
        (lambda: windows(3, 0), "k of at least 1"),
    ],
)
def test_labels_refuse_nonsense(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.fixture
def three_clips():
    """Valence rises from -2 to 3. Clip a lacks its frame 2, clip c the landmarks of its frame 0."""
    frames = {"a": [0, 1, 3, 4, 5], "b": [0, 1, 2, 3, 4, 5], "c": [0, 1, 2, 3, 4, 5]}
    rows = []
    for clip, numbers in frames.items():
        for number in numbers:
            left = np.nan if (clip, number) == ("c", 0) else 10.0
            rows.append(
                {
                    "clip": clip,
                    "time": number / 25,
                    "frame": number,
                    "valence": number - 2.0,
                    "arousal": 0.0,
                    "left": left,
                }
            )
    clips = {"clip": list(frames), "group": ["Ann", "Bob", "Ann"]}
    return with_mood(corpus_of(clips, rows))


def test_a_gap_breaks_a_window_and_shifts_none(three_clips):
    table = mood_windows(three_clips, 3)
    annotations = three_clips.annotations
    first = annotations.iloc[table["start"]]
    assert first["clip"].tolist() == table["clip"].tolist()
    assert first["frame"].tolist() == [3, *range(4), *range(4)]
    for start in table["start"]:
        rows = annotations.iloc[start : start + 3]
        assert rows["clip"].nunique() == 1
        assert rows["frame"].diff()[1:].eq(1).all()
    assert table["change"].eq(1).all()
    assert table["mood"].eq(0).all()
    assert table["group"].tolist() == ["Ann"] + ["Bob"] * 4 + ["Ann"] * 4


def test_windows_without_landmarks_are_left_out(three_clips):
    every = mood_windows(three_clips, 3)
    kept = mood_windows(three_clips, 3, landmarks=True)
    assert len(kept) == len(every) - 1
    assert not kept["start"].isin(every.loc[every["clip"] == "c", "start"].iloc[:1]).any()


def test_no_window_at_all_is_refused(three_clips):
    with pytest.raises(ValueError, match="no clip has 7 consecutive frames"):
        mood_windows(three_clips, 7)


# folds

NO_ROWS = {"clip": [], "time": [], "valence": [], "arousal": []}


def clips_of(moods, actors):
    names = [f"{i:03d}" for i in range(len(moods))]
    return corpus_of({"clip": names, "group": actors, "mood": moods}, NO_ROWS)


@pytest.fixture(scope="module")
def actors():
    """120 clips of 48 actors."""
    rng = np.random.default_rng(0)
    moods = rng.permutation(np.repeat([-1, 0, 1], [28, 80, 12]))
    return clips_of(moods, [f"A{i}" for i in rng.integers(0, 48, 120)])


def test_no_actor_in_two_folds_and_every_clip_tested_once(actors):
    folds = subject_folds(actors)
    groups = actors.clips["group"].to_numpy()
    moods = actors.clips["mood"].to_numpy()
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(120))
    assert sorted(np.concatenate([fold.validation for fold in folds])) == list(range(120))
    for fold in folds:
        train, validation, test = (
            set(groups[part]) for part in (fold.train, fold.validation, fold.test)
        )
        assert not train & validation
        assert not train & test
        assert not validation & test
        assert len(fold.train) + len(fold.validation) + len(fold.test) == 120
        share = [np.mean(moods[fold.test] == mood) for mood in (-1, 0, 1)]
        assert share == pytest.approx([28 / 120, 80 / 120, 0.1], abs=0.12)


def test_folds_are_frozen_with_the_corpus(actors, tmp_path, monkeypatch):
    drawn = subject_folds(actors, folder=tmp_path)
    # From here on no folds can be drawn, only read.
    monkeypatch.setattr("sklearn.model_selection.StratifiedGroupKFold", None)
    again = subject_folds(actors, folder=tmp_path)
    for before, after in zip(drawn, again, strict=True):
        assert before.name == after.name
        assert (before.train == after.train).all()
        assert (before.validation == after.validation).all()
        assert (before.test == after.test).all()
    other_moods = clips_of(-actors.clips["mood"].to_numpy(), actors.clips["group"])
    with pytest.raises(TypeError):  # another file, which would have to be drawn
        subject_folds(other_moods, folder=tmp_path)


def test_folds_that_come_with_the_checkout_are_read_and_never_written(
    actors, tmp_path, monkeypatch
):
    published = tmp_path / "published"
    private = tmp_path / "private"
    published.mkdir()
    places = {"folder": private, "frozen": published}
    drawn = subject_folds(actors, seed=1, **places)
    assert not list(published.iterdir())
    (file,) = private.iterdir()
    file.rename(published / file.name)
    # From here on no folds can be drawn, only read.
    monkeypatch.setattr("sklearn.model_selection.StratifiedGroupKFold", None)
    again = subject_folds(actors, seed=1, **places)
    assert [fold.test.tolist() for fold in again] == [fold.test.tolist() for fold in drawn]
    assert not list(private.iterdir())


def test_the_notebook_keeps_the_names_of_actors_out_of_the_checkout():
    code = "\n".join(code_cells(find_notebooks()["mood_change"]))
    (call,) = [line for line in code.splitlines() if line.startswith("folds = subject_folds(")]
    assert 'folder=paths.CACHE / "folds"' in call


def test_frozen_folds_of_another_corpus_are_refused(actors, tmp_path):
    subject_folds(actors, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"corpus": "another"}))
    with pytest.raises(ValueError, match="another corpus"):
        subject_folds(actors, folder=tmp_path)


def test_committed_folds_hold_every_actor_once():
    files = sorted((paths.ROOT / "notebooks" / "folds").glob("folds_afew_va_*.json"))
    assert files
    for file in files:
        content = json.loads(file.read_text())
        names = [actor for fold in content["folds"] for actor in fold]
        assert len(content["folds"]) == 5
        assert len(set(names)) == len(names) >= 40
        assert file.name.split("_")[3] == content["corpus"][:8]


@pytest.mark.parametrize(
    ("moods", "message"),
    [
        ([np.nan, 0, 1] * 4, "toy: clip '000' has no mood"),
        (None, "toy: clips have no moods, affectlib.corpora.with_mood adds them"),
    ],
)
def test_a_clip_without_a_mood_is_named(moods, message):
    corpus = clips_of([0] * 12, [f"A{i}" for i in range(12)])
    clips = corpus.clips.drop(columns="mood")
    corpus = replace(corpus, clips=clips if moods is None else clips.assign(mood=moods))
    for use in (subject_folds, lambda corpus: mood_windows(corpus, 5)):
        with pytest.raises(ValueError, match=message):
            use(corpus)


def test_a_mood_that_is_rare_or_the_only_one_makes_folds():
    for moods in ([0] * 12, [-1] + [0] * 11):
        folds = subject_folds(clips_of(moods, [f"A{i}" for i in range(12)]), 3)
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(12))


def test_folds_need_actors():
    with pytest.raises(ValueError, match="2 actors"):
        subject_folds(clips_of([0, 0, 1], ["A", "B", "A"]))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("affectlib.corpora", "mood_windows"),
        ("affectlib.corpora", "subject_folds"),
        ("affectlib.corpora.labels", "change_label"),
        ("affectlib.corpora.folds", "subject_folds"),
        ("affectlib.models.mood_change_stack", "Windows"),
        ("affectlib.models.mood_change_stack", "fit_folds"),
    ],
)
def test_old_import_paths_work_and_say_where_the_name_is(module, name):
    with pytest.warns(DeprecationWarning, match="mood_change"):
        assert callable(getattr(importlib.import_module(module), name))
