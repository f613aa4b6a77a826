"""Scores over films and seeds, and the score of the trivial predictor."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from affectlib import results
from affectlib.corpora import Fold
from affectlib.metrics import ccc, mse, pcc
from affectlib.statistics import interval


@pytest.fixture
def run():
    """Predictions of two seeds for three films of ten rows."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=30)
    prediction = truth + rng.normal(size=(2, 30))
    return SimpleNamespace(
        truth=truth, prediction=prediction, groups=tuple(np.repeat([*"abc"], 10))
    )


def test_scores_are_pooled_over_films_and_averaged_over_seeds(run):
    table = results.scores({("model", "arousal"): run}, [mse, pcc]).set_index("column")
    assert list(table.index) == ["arousal_mse", "arousal_pcc"]
    expected = ((run.prediction - run.truth) ** 2).mean()
    assert table.loc["arousal_mse", "mean"] == pytest.approx(expected)
    assert (table["low"] < table["mean"]).all()
    assert (table["mean"] < table["high"]).all()


def test_scores_by_group_keep_films_and_seeds_apart(run):
    table = results.scores_by_group({("model", "arousal"): run}, [mse])
    assert list(table["group"]) == ["a", "a", "b", "b", "c", "c"]
    expected = ((run.prediction[0] - run.truth)[10:20] ** 2).mean()
    assert table["value"][2] == pytest.approx(expected)


def test_pooled_scores_by_group_average_to_the_pooled_metric(run):
    table = results.scores_by_group({("model", "arousal"): run}, [mse, pcc], pooled=True)
    assert len(table) == 2 * 2 * 3
    means = table.groupby("column")["value"].mean()
    expected = ((run.prediction - run.truth) ** 2).mean()
    assert means["arousal_mse"] == pytest.approx(expected)
    # The jackknife takes the bias of a correlation away, which is small with thirty rows.
    by_seed = [pcc(run.truth, prediction) for prediction in run.prediction]
    assert means["arousal_pcc"] == pytest.approx(np.mean(by_seed), abs=0.05)


def test_official_score_is_the_mean_over_films_of_the_mean_over_seeds(run):
    per_film = results.scores_by_group({("model", "arousal"): run}, [mse, pcc])
    per_film = pd.concat([per_film, per_film.assign(row="other")])
    table = results.official(per_film, ["other", "model"])
    assert table[["row", "column"]].values.tolist() == [
        ["other", "arousal_mse"],
        ["other", "arousal_pcc"],
        ["model", "arousal_mse"],
        ["model", "arousal_pcc"],
    ]
    by_film = ((run.prediction - run.truth) ** 2).reshape(2, 3, 10).mean((0, 2))
    span = interval(by_film, scale="error")
    assert table[["mean", "low", "high", "n"]].values[0].tolist() == pytest.approx(
        [by_film.mean(), span.low, span.high, 3]
    )
    assert list(results.official(per_film)["row"]) == ["model", "model", "other", "other"]
    with pytest.raises(ValueError, match="lacks the rows third"):
        results.official(per_film, ["model", "third"])


def test_intervals_of_the_official_score_end_where_the_metric_does():
    values = {
        "arousal_mse": (0.01, 0.3, 0.2),
        "arousal_pcc": (0.9, 0.99, 0.5),
        "arousal_ccc": (math.nan, 0.5, 0.4),
    }
    rows = []
    for column, of_films in values.items():
        for film, value in enumerate(of_films):
            rows.append(("model", column, film, value))
    per_film = pd.DataFrame(rows, columns=["row", "column", "group", "value"])
    table = results.official(per_film).set_index("column")
    assert 0 <= table.loc["arousal_mse", "low"] < 0.17
    assert table.loc["arousal_mse", "high"] > 0.5
    assert table.loc["arousal_pcc", "low"] < 0.5
    assert 0.99 < table.loc["arousal_pcc", "high"] < 1
    assert table.loc["arousal_ccc", ["mean", "low", "high"]].isna().all()


@pytest.fixture
def clips():
    return pd.DataFrame({"group": list("aabb"), "arousal": [0.0, 2.0, 5.0, 7.0]})


def fold(name, *, train, validation=(), test):
    return Fold(name, np.array(train), np.array(validation, int), np.array(test))


def test_floor_learns_its_mean_from_the_training_clips_only(clips):
    folds = [
        fold("a", train=[2, 3], test=[0, 1]),
        fold("b", train=[0], validation=[1], test=[2, 3]),
    ]
    table = results.floor(clips, folds, ["arousal"])
    assert table[["row", "column"]].values.tolist() == [
        ["predict the training mean", "arousal_mse"]
    ]
    # The means are 6 and 1, the truth is 0 and 2, then 5 and 7.
    assert table["mean"].item() == pytest.approx(np.mean([36, 16, 16, 36]))


def test_floor_over_folds_correlates_negatively(clips):
    folds = [fold("a", train=[2, 3], test=[0, 1]), fold("b", train=[0, 1], test=[2, 3])]
    table = results.floor(clips, folds, ["arousal"], [pcc, ccc]).set_index("column")["mean"]
    expected = np.corrcoef(clips["arousal"], [6.0, 6, 1, 1])[0, 1]
    assert expected < -0.9
    assert table["arousal_pcc"] == pytest.approx(expected)
    assert table["arousal_ccc"] < 0


def test_floor_within_one_fold_has_no_correlation(clips):
    folds = [fold("a", train=[2, 3], test=[0, 1])]
    table = results.floor(clips, folds, ["arousal"], [pcc, ccc]).set_index("column")
    assert table.loc["arousal_pcc"].isna()[["mean", "low", "high"]].all()
