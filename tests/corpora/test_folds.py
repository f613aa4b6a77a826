"""No group on two sides, nobody forgotten, the same again under a seed."""

import numpy as np
import pandas as pd
import pytest

from affectlib.corpora import Corpus, leave_one_film_out, official_split


def corpus(groups, splits):
    n = len(groups)
    names = [f"c{i}" for i in range(n)]
    clips = pd.DataFrame(
        {"clip": names, "path": "", "group": groups, "split": splits, "seconds": 1.0}
    )
    empty = pd.DataFrame(columns=["clip", "time", "valence", "arousal"])
    return Corpus("made", clips, empty, (), (0, 1), None, "", "", True)


def films(n=5, segments=4):
    return corpus(np.repeat([f"F{i}" for i in range(n)], segments), [""] * n * segments)


def task(seed=0, n=400):
    rng = np.random.default_rng(seed)
    splits = np.where(np.arange(n) < 300, "train", "test")
    return corpus(
        [f"{split}{film}" for split, film in zip(splits, rng.integers(0, 30, n), strict=True)],
        splits,
    )


def assert_sound(made, fold):
    parts = [fold.train, fold.validation, fold.test]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(made)))
    groups = [set(made.clips["group"].iloc[part]) for part in parts]
    assert all(groups)
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


@pytest.mark.parametrize("seed", [None, 0, 7])
def test_every_film_tests_once_and_validates_once(seed):
    made = films()
    folds = leave_one_film_out(made, seed=seed)
    names = [f"F{i}" for i in range(5)]
    assert [fold.name for fold in folds] == names
    for fold in folds:
        assert_sound(made, fold)
        assert set(made.clips["group"].iloc[fold.test]) == {fold.name}
        assert made.clips["group"].iloc[fold.validation].nunique() == 1
    assert sorted(made.clips["group"].iloc[fold.validation[0]] for fold in folds) == names


def test_the_seed_decides_which_film_validates():
    pairs = [
        [tuple(fold.validation) for fold in leave_one_film_out(films(9), seed=seed)]
        for seed in (1, 1, 2)
    ]
    assert pairs[0] == pairs[1] != pairs[2]


def test_two_films_are_too_few():
    with pytest.raises(ValueError, match="needs 3 films, found 2"):
        leave_one_film_out(films(2))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_a_share_of_the_films_validates_and_no_film_is_divided(share):
    made = task()
    (fold,) = official_split(made, validation_share=share, seed=3)
    assert_sound(made, fold)
    assert set(made.clips["split"].iloc[fold.test]) == {"test"}
    films = made.clips.loc[made.clips["split"] == "train", "group"].nunique()
    assert share * films <= made.clips["group"].iloc[fold.validation].nunique() < share * films + 1


def test_thirteen_of_54_films_whatever_their_lengths():
    seconds = np.random.default_rng(0).integers(1, 60, 54)
    names = [f"film{i}" for i in range(54) for _ in range(seconds[i])] + ["other"]
    made = corpus(names, ["train"] * (len(names) - 1) + ["test"])
    (fold,) = official_split(made, validation_share=13 / 54)
    assert made.clips["group"].iloc[fold.validation].nunique() == 13


def test_validation_is_drawn_by_the_seed():
    drawn = [tuple(official_split(task(), seed=seed)[0].validation) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_some_film_always_stays_in_train():
    made = corpus(["A", "B", "C"], ["train", "train", "test"])
    (fold,) = official_split(made, validation_share=1.0)
    assert_sound(made, fold)


def test_official_sets_stay_as_they_are():
    made = corpus(["A", "B", "C", "A"], ["learning", "validation", "test", "learning"])
    (fold,) = official_split(made)
    assert [list(part) for part in (fold.train, fold.validation, fold.test)] == [[0, 3], [1], [2]]


def test_other_splits_are_refused_by_name():
    with pytest.raises(ValueError, match="found ''"):
        official_split(films())
    with pytest.raises(ValueError, match="needs 2 of them, found 1"):
        official_split(corpus(["A", "A", "B"], ["train", "train", "test"]))


@pytest.mark.parametrize("group", [None, float("nan")])
def test_a_clip_without_a_group_is_named(group):
    with pytest.raises(ValueError, match="corpus made: clip 'c1' has no group"):
        corpus(["A", group, "C"], ["train", "train", "test"])
