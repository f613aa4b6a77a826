"""Intervals that cover, tests that count, claims that are computed."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from affectlib import metrics, statistics
from affectlib.statistics import (
    Claim,
    bootstrap_interval,
    claims,
    holm,
    interval,
    paired_difference,
)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_interval_is_the_t_interval(level):
    values = np.random.default_rng(0).normal(1, 2, 12)
    result = interval(values, level=level)
    low, high = stats.t.interval(level, 11, loc=values.mean(), scale=stats.sem(values))
    assert (result.mean, result.low, result.high, result.n) == pytest.approx(
        (values.mean(), low, high, 12)
    )


def test_interval_covers_the_true_mean():
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(600):
        result = interval(rng.normal(3, 1, 6))
        hits.append(result.low <= 3 <= result.high)
    # Three standard errors of a share of 0.95 over 600 draws.
    assert np.mean(hits) == pytest.approx(0.95, abs=0.027)


def test_seeds_of_one_film_are_one_witness():
    films = np.repeat(["A", "B", "C"], 4)
    values = np.arange(12.0)
    assert interval(values, groups=films) == interval([1.5, 5.5, 9.5])


@pytest.mark.parametrize(
    ("values", "mean", "n"), [([], math.nan, 0), ([2.0], 2.0, 1), ([2.0, math.nan], 2.0, 1)]
)
def test_too_few_units_leave_the_bounds_undefined(values, mean, n):
    result = interval(values)
    assert result.mean == pytest.approx(mean, nan_ok=True) and result.n == n
    assert math.isnan(result.low) and math.isnan(result.high)


@pytest.fixture
def predictions():
    rng = np.random.default_rng(2)
    groups = rng.choice([f"F{i}" for i in range(8)], 300)
    truth = 5 + rng.normal(0, 1, 300) + (groups == "F1")
    return truth, 0.6 * truth + rng.normal(2, 0.7, 300), groups


@pytest.mark.parametrize(
    "metric", [metrics.mse, metrics.pcc, metrics.ccc], ids=lambda metric: metric.__name__
)
def test_bootstrap_from_sums_equals_the_bootstrap_of_rows(metric, predictions):
    truth, prediction, groups = predictions
    fast = bootstrap_interval(metric, truth, prediction, groups=groups, resamples=200)
    slow = bootstrap_interval(
        lambda t, p: metric(t, p), truth, prediction, groups=groups, resamples=200
    )
    assert (fast.mean, fast.low, fast.high, fast.n) == pytest.approx(
        (slow.mean, slow.low, slow.high, 8)
    )
    assert fast.low < fast.mean < fast.high and fast.mean == metric(truth, prediction)


@pytest.mark.parametrize(
    "metric",
    [metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1],
    ids=lambda metric: metric.__name__,
)
def test_bootstrap_of_classes_equals_the_bootstrap_of_rows(metric):
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 12, 40)
    truth = rng.choice(["joy", "fear", "anger", "rare"], 40, p=[0.4, 0.3, 0.25, 0.05])
    guesses = rng.choice(["joy", "fear", "never true"], (3, 40))
    prediction = np.where(rng.random((3, 40)) < 0.5, truth, guesses)
    fast = bootstrap_interval(metric, truth, prediction, groups=groups, resamples=100)
    slow = bootstrap_interval(
        lambda t, p: metric(t, p), truth, prediction, groups=groups, resamples=100
    )
    assert (fast.mean, fast.low, fast.high, fast.n) == pytest.approx(
        (slow.mean, slow.low, slow.high, slow.n)
    )
    assert fast.low < fast.mean < fast.high


def test_bootstrap_draws_films_not_rows(predictions):
    truth, prediction, _ = predictions
    rows = bootstrap_interval(metrics.mse, truth, prediction, groups=np.arange(300))
    repeated = bootstrap_interval(
        metrics.mse, np.tile(truth, 5), np.tile(prediction, 5), groups=np.tile(np.arange(300), 5)
    )
    assert (repeated.low, repeated.high) == pytest.approx((rows.low, rows.high))
    # The normal approximation, with a tenth of its half width for the tails and the resampling.
    half = 1.96 * stats.sem((truth - prediction) ** 2)
    assert rows.low == pytest.approx(rows.mean - half, abs=0.1 * half)


def test_bootstrap_over_seeds_is_the_mean_of_their_metric(predictions):
    truth, prediction, groups = predictions
    other = prediction[::-1]
    both = bootstrap_interval(metrics.pcc, truth, [prediction, other], groups=groups)
    assert both.mean == pytest.approx(
        (metrics.pcc(truth, prediction) + metrics.pcc(truth, other)) / 2
    )
    assert bootstrap_interval(
        metrics.pcc, truth, [prediction, prediction], groups=groups
    ) == pytest.approx(bootstrap_interval(metrics.pcc, truth, prediction, groups=groups))


def test_bootstrap_of_the_undefined_is_undefined(predictions):
    truth, _, groups = predictions
    result = bootstrap_interval(metrics.pcc, truth, np.full(300, 0.1), groups=groups)
    assert math.isnan(result.mean) and math.isnan(result.low)
    alone = bootstrap_interval(metrics.mse, truth, truth + 1, groups=np.full(300, "A"))
    assert alone.mean == pytest.approx(1) and math.isnan(alone.low) and alone.n == 1
    with pytest.raises(ValueError, match="truth has 300 rows, groups has 2"):
        bootstrap_interval(metrics.mse, truth, truth, groups=["A", "B"])


def test_paired_difference_counts_every_sign_pattern():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.4, 1, 9), rng.normal(0, 1, 9)
    result = paired_difference(a, b)
    sums = [abs(np.dot(signs, a - b)) for signs in itertools.product([-1, 1], repeat=9)]
    assert result.p == np.mean([value >= abs((a - b).sum()) - 1e-12 for value in sums])
    reference = interval(a - b)
    found = (result.mean, result.low, result.high, result.n)
    assert found == (reference.mean, reference.low, reference.high, 9)


def test_counted_sign_patterns_agree_with_scipy():
    rng = np.random.default_rng(6)
    for n in (2, 5, 9):
        differences = rng.normal(0.3, 1, n)
        reference = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        p = paired_difference(differences, np.zeros(n)).p
        assert p == pytest.approx(reference.pvalue, abs=1e-12)


def test_drawn_sign_patterns_agree_with_scipy():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.3, 1, 40), rng.normal(0, 1, 40)
    reference = stats.permutation_test(
        (a, b),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        rng=0,
        vectorized=True,
        permutation_type="samples",
        n_resamples=20_000,
    )
    # Five standard errors of the difference of two shares over 20,000 draws.
    error = 5 * math.sqrt(2 * reference.pvalue * (1 - reference.pvalue) / 20_000)
    assert 0.01 < reference.pvalue < 0.99
    assert paired_difference(a, b).p == pytest.approx(reference.pvalue, abs=error)
    assert paired_difference(a, b) == paired_difference(a, b)


def test_paired_difference_over_films():
    a = [1, 3, 10, 20, math.nan]
    films = ["A", "A", "B", "C", "D"]
    result = paired_difference(a, np.zeros(5), films)
    assert result.mean == pytest.approx((2 + 10 + 20) / 3)
    assert result.n == 3
    assert result.p == 0.25  # all of one sign: 2 of 2 ** 3
    assert math.isnan(paired_difference([1], [0]).p)
    with pytest.raises(ValueError, match="a has 2 rows, b has 1"):
        paired_difference([1, 2], [1])


def test_identical_models_do_not_differ():
    result = paired_difference([1, 2, 3, 4], [1, 2, 3, 4])
    assert (result.mean, result.p) == (0, 1)


def test_holm_follows_the_steps():
    p = [0.02, math.nan, 0.01, 0.3, 0.04]
    # sorted 0.01 0.02 0.04 0.3, times 4 3 2 1, never falling
    assert holm(p) == pytest.approx([0.06, math.nan, 0.04, 0.3, 0.08], nan_ok=True)
    assert holm([0.9, 0.8]).max() == 1


@pytest.fixture
def table():
    cells = [
        ("both", "mse", 0.124),
        ("audio", "mse", 0.125),
        ("both", "pcc", 0.63),
        ("audio", "pcc", 0.62),
    ]
    published = pd.DataFrame(cells, columns=["row", "column", "value"])
    rng = np.random.default_rng(5)
    base = {
        ("both", "mse"): 0.1,
        ("audio", "mse"): 0.5,
        ("video", "mse"): 0.5,
        ("both", "pcc"): 0.2,
        ("audio", "pcc"): 0.7,
    }
    scores = []
    for (row, column), value in base.items():
        for film in np.repeat(range(12), 3):  # three seeds
            scores.append((row, column, f"F{film}", value + rng.normal(0, 0.05)))
    return published, pd.DataFrame(scores, columns=["row", "column", "group", "value"])


def test_claims_hold_or_not_by_their_interval(table):
    made = [
        Claim("Both beat audio in error.", "both", "audio", "mse", False),
        Claim("Both beat audio in correlation.", "both", "audio", "pcc", True),
        Claim("Audio beats video.", "audio", "video", "mse", False),
        Claim("Audio beats text.", "audio", "text", "mse", False),
    ]
    result = claims(made, *table)
    assert list(result["verdict"]) == ["holds", "does not", "undecided", "undecided"]
    assert list(result["n"]) == [12, 12, 12, 0]
    assert result["paper"].tolist() == pytest.approx([0.001, 0.01, math.nan, math.nan], nan_ok=True)
    # Each is a mean of 36 differences whose noise has a deviation of 0.07.
    assert result["run"][0] == pytest.approx(0.4, abs=0.04)
    assert result["run"][1] == pytest.approx(-0.5, abs=0.04)
    films = table[1].groupby(["row", "column", "group"])["value"].mean()
    p = [paired_difference(films["audio"][c], films["both"][c]).p for c in ("mse", "pcc")]
    p.append(paired_difference(films["audio"]["mse"], films["video"]["mse"]).p)
    assert result["p"].tolist() == pytest.approx([*p, math.nan], nan_ok=True)
    assert result["adjusted"].tolist() == pytest.approx([*holm(p), math.nan], nan_ok=True)


def test_a_verdict_that_another_seed_could_turn_is_undecided():
    published = pd.DataFrame({"row": ["new", "old"], "column": "mse", "value": [0.1, 0.2]})
    films = [f"F{i}" for i in range(8)]
    steady = pd.Series([0.09, 0.10, 0.11, 0.10, 0.09, 0.11, 0.10, 0.10])

    def scores(*gains):
        """The old model errs by 0.5; the new one by less, by another amount under each seed."""
        old = pd.DataFrame({"row": "old", "column": "mse", "group": films, "value": 0.5})
        new = [
            pd.DataFrame(
                {"row": "new", "column": "mse", "group": films, "value": 0.5 - gain * steady}
            )
            for gain in gains
        ]
        return pd.concat([old, *new])

    claim = [Claim("New beats old.", "new", "old", "mse", False)]
    close = claims(claim, published, scores(1.0, 1.1)).iloc[0]
    apart = claims(claim, published, scores(4.0, -1.9)).iloc[0]
    assert close["verdict"] == "holds"
    assert apart["verdict"] == "undecided"
    assert close["run"] == pytest.approx(0.105)
    assert apart["run"] == pytest.approx(0.105)
    assert apart["over_seeds"] == pytest.approx(np.std([0.4, -0.19], ddof=1) / np.sqrt(2))
    assert claims(claim, published, scores(1.0)).iloc[0]["over_seeds"] == 0


def test_trivial_predictors():
    assert statistics.train_mean([1, 2, 6], 2).tolist() == [3, 3]
    assert statistics.majority(["joy", "fear", "joy"], 2).tolist() == ["joy", "joy"]
    guess = statistics.stratified(["joy"] * 3 + ["fear"], 4000, seed=0)
    # Four standard errors of a share of 0.75 over 4,000 draws.
    assert np.mean(guess == "joy") == pytest.approx(0.75, abs=0.027)
    assert (guess == statistics.stratified(["joy"] * 3 + ["fear"], 4000, seed=0)).all()


def test_every_pair_is_compared_once_and_adjusted_over_all(table):
    scores = table[1]
    result = statistics.pairwise(scores)
    assert [*zip(result["column"], result["a"], result["b"], strict=True)] == [
        ("mse", "both", "audio"),
        ("mse", "both", "video"),
        ("mse", "audio", "video"),
        ("pcc", "both", "audio"),
    ]
    films = scores.groupby(["row", "column", "group"])["value"].mean()
    for row in result.itertuples():
        one = paired_difference(films[row.a][row.column], films[row.b][row.column])
        assert (row.mean, row.low, row.high, row.n, row.p) == pytest.approx(
            (one.mean, one.low, one.high, one.n, one.p)
        )
    assert result["adjusted"].tolist() == pytest.approx(holm(result["p"]).tolist())


def test_pairs_leave_out_films_that_one_side_lacks(table):
    scores = table[1]
    less = scores[~((scores["row"] == "audio") & (scores["group"] == "F3"))]
    assert statistics.pairwise(less)["n"].tolist() == [11, 12, 11, 11]
