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
    comparisons,
    holm,
    interval,
    intervals,
    jackknife_interval,
    max_t,
    paired_difference,
    pseudo_values,
)


def first_truth_by_rank(truth, prediction):
    """A metric of no meaning that tells in which order the rows of a resample come."""
    return float((truth * np.arange(len(truth))).sum() - prediction[0])


def test_a_resample_has_the_rows_of_its_films_film_after_film():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 5, 40)
    truth = rng.normal(size=40)
    prediction = rng.normal(size=40)
    counts = np.array([[2, 0, 1, 1, 1], [0, 3, 0, 0, 2]])
    found = intervals._resampled_rows(first_truth_by_rank, truth, prediction[None], groups, counts)
    for count, value in zip(counts, found, strict=True):
        rows = []
        for group, times in enumerate(count):
            rows += np.flatnonzero(groups == group).tolist() * times
        assert value == pytest.approx(first_truth_by_rank(truth[rows], prediction[rows]))


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
    ("values", "mean", "n"),
    [([], math.nan, 0), ([2.0], 2.0, 1), ([2.0, math.nan, 3.0], math.nan, 3)],
)
def test_too_few_or_undefined_units_leave_the_bounds_undefined(values, mean, n):
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


def test_a_mean_of_zero_has_a_p_of_one_whatever_its_rounding():
    rng = np.random.default_rng(0)
    for n in (10, 12, 30):
        differences = rng.normal(size=(20, n))
        differences -= differences.mean(1, keepdims=True)
        for row in differences:
            assert paired_difference(row, np.zeros(n)).p == 1
            assert max_t(1e-9 * row).tolist() == [1]


def test_signs_that_are_drawn_in_parts_are_those_of_one_draw():
    n = 30_000
    parts = comparisons._patterns(n)
    first = np.concatenate([next(parts) for _ in range(3)])
    drawn = np.random.default_rng(0).choice([-1.0, 1.0], size=(len(first), n))
    np.testing.assert_array_equal(first, drawn)


def test_resamples_that_are_drawn_in_parts_are_those_of_one_draw():
    n = 50_000
    parts = list(intervals._drawn(n, 200, seed=3))
    assert [len(part) for part in parts] == [83, 83, 34]
    drawn = np.random.default_rng(3).multinomial(n, np.full(n, 1 / n), size=200)
    np.testing.assert_array_equal(np.concatenate(parts), drawn)


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
    a = [1, 3, 10, 20]
    films = ["A", "A", "B", "C"]
    result = paired_difference(a, np.zeros(4), films)
    assert result.mean == pytest.approx((2 + 10 + 20) / 3)
    assert result.n == 3
    assert result.p == 0.25  # all of one sign: 2 of 2 ** 3
    # An undefined seed of film A leaves the mean over films undefined.
    undefined = paired_difference([1, math.nan, 10, 20], np.zeros(4), films)
    assert math.isnan(undefined.mean) and math.isnan(undefined.p) and undefined.n == 3
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
    assert list(result["verdict"]) == ["holds", "does not", "undecided", "not run"]
    assert list(result["n"]) == [12, 12, 12, 0]
    assert result["paper"].tolist() == pytest.approx([0.001, 0.01, math.nan, math.nan], nan_ok=True)
    # Each is a mean of 36 differences whose noise has a deviation of 0.07.
    assert result["run"][0] == pytest.approx(0.4, abs=0.04)
    assert result["run"][1] == pytest.approx(-0.5, abs=0.04)
    films = table[1].groupby(["row", "column", "group"])["value"].mean()
    # All twelve films point the same way: no sign pattern but the two extreme ones reaches that.
    assert result["p"].tolist()[:2] == [2 / 2**12] * 2
    # One test: a verdict where the adjusted p lies below 0.05. The floor does not grow with lines.
    assert result["adjusted"].tolist()[:2] == [2 / 2**12] * 2
    effects = films["video"]["mse"] - films["audio"]["mse"]
    moved = effects - math.copysign(result["over_seeds"][2], effects.mean())
    assert result["p"][2] == paired_difference(moved, np.zeros(12)).p
    assert math.isnan(result["p"][3]) and math.isnan(result["adjusted"][3])


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
    assert (result["adjusted"] >= result["p"]).all()
    assert result["adjusted"][0] == 2 / 2**12 < holm(result["p"])[0]


def test_a_film_that_one_side_lacks_is_not_left_out_silently(table):
    published, scores = table
    less = scores[~((scores["row"] == "audio") & (scores["group"] == "F3"))]
    pairs = statistics.pairwise(less)
    assert pairs["n"].tolist() == [12] * 4
    assert pairs["mean"].isna().tolist() == [True, False, True, True]
    sentences = [Claim("Both beat audio.", "both", "audio", "mse", False)]
    assert claims(sentences, published, less)["verdict"].tolist() == ["undefined"]


def one_score_per_film(**rows):
    """A table of scores with one seed."""
    tables = []
    for row, values in rows.items():
        films = [f"F{i}" for i in range(len(values))]
        tables.append(pd.DataFrame({"row": row, "column": "mse", "group": films, "value": values}))
    return pd.concat(tables)


@pytest.mark.parametrize(("n", "verdict"), [(5, "too few units"), (6, "holds")])
def test_five_films_give_no_verdict_however_clear(n, verdict):
    scores = one_score_per_film(new=np.full(n, 0.1), old=np.linspace(0.3, 0.4, n))
    empty = pd.DataFrame(columns=["row", "column", "value"])
    result = claims([Claim("New beats old.", "new", "old", "mse", False)], empty, scores)
    assert result["verdict"].tolist() == [verdict]
    assert result["p"].tolist() == [2 / 2**n]


@pytest.mark.parametrize(
    ("distance", "verdict"), [(0.0, "holds"), (0.045, "undecided"), (0.2, "does not")]
)
def test_similar_is_a_claim_of_its_own(distance, verdict):
    noise = 0.02 * np.random.default_rng(0).normal(size=10)
    noise -= noise.mean()
    scores = one_score_per_film(new=0.1 + distance + noise, old=np.full(10, 0.1))
    empty = pd.DataFrame(columns=["row", "column", "value"])
    claim = Claim("New and old are similar.", "new", "old", "mse", False, margin=0.05)
    result = claims([claim], empty, scores).iloc[0]
    assert result["verdict"] == verdict
    assert result["run"] == pytest.approx(distance)
    # The t form of the two one-sided tests, which scipy has, agrees on the side of 0.05.
    effects = distance + noise
    lower = stats.ttest_1samp(effects, -0.05, alternative="greater").pvalue
    upper = stats.ttest_1samp(effects, 0.05, alternative="less").pvalue
    assert (max(lower, upper) < 0.05) == (verdict == "holds")


# adjustment


def correlated_tests(rng, n_tests=20, n_films=12, shift=0.0):
    """Differences of tests that share most of their noise; the first three have an effect."""
    shared = rng.normal(size=(1, n_films))
    differences = 0.9 * shared + 0.45 * rng.normal(size=(n_tests, n_films))
    differences[:3] += shift
    return differences


def test_max_t_is_the_sign_flip_test_for_one_and_the_definition_for_several():
    rng = np.random.default_rng(0)
    differences = correlated_tests(rng, n_tests=4, n_films=7, shift=0.5)
    assert max_t(differences[:1])[0] == paired_difference(differences[0], np.zeros(7)).p
    # The definition, with t statistics: from the largest down, each against those not larger.
    observed = np.abs(stats.ttest_1samp(differences, 0, axis=1).statistic)
    order = np.argsort(-observed)
    expected = np.zeros(4)
    for place, test in enumerate(order):
        rest = differences[order[place:]]
        hits = []
        for signs in itertools.product([-1, 1], repeat=7):
            t = np.abs(stats.ttest_1samp(rest * signs, 0, axis=1).statistic)
            hits.append(t.max() >= observed[test] * (1 - 1e-9))
        expected[test] = max(np.mean(hits), expected[order[place - 1]] if place else 0)
    assert max_t(differences) == pytest.approx(expected, abs=1e-12)


def test_max_t_keeps_its_level_and_finds_more_than_holm():
    rng = np.random.default_rng(1)
    false_alarms = []
    found = {"max_t": [], "holm": []}
    for _ in range(150):
        # Ten films, so that Holm's smallest adjusted p, 20 * 2 / 1024, can lie below 0.05.
        null = correlated_tests(rng, n_films=10)
        false_alarms.append(max_t(null).min() < 0.05)
        planted = correlated_tests(rng, n_films=10, shift=1.3)
        p = [paired_difference(row, np.zeros(10)).p for row in planted]
        found["max_t"].append((max_t(planted)[:3] < 0.05).mean())
        found["holm"].append((holm(p)[:3] < 0.05).mean())
    # Three standard errors of a share of 0.05 over 150 draws.
    assert np.mean(false_alarms) < 0.05 + 0.053
    assert np.mean(found["max_t"]) > np.mean(found["holm"]) + 0.1


def test_an_undefined_test_is_not_counted():
    differences = correlated_tests(np.random.default_rng(2), n_tests=3, shift=1)
    with_undefined = np.vstack([differences, np.full(12, math.nan)])
    adjusted = max_t(with_undefined)
    assert adjusted[:3].tolist() == max_t(differences).tolist()
    assert math.isnan(adjusted[3])


# coverage


def draw_films(rng, n_films, n_rows):
    """Truth and prediction of films that have levels, slopes and biases of their own.

    Shape:
        results ``(films, rows)``
    """
    truth = rng.normal(0, 0.25, (n_films, 1)) + 0.3 * rng.normal(size=(n_films, n_rows))
    slope = 0.6 + 0.2 * rng.normal(size=(n_films, 1))
    bias = rng.normal(0, 0.15, (n_films, 1))
    return truth, slope * truth + bias + 0.25 * rng.normal(size=(n_films, n_rows))


def coverage(metric, interval_of, *, n_films, n_rows, draws):
    """Share of intervals that hold the value of the metric over very many films."""
    rng = np.random.default_rng(0)
    many = draw_films(rng, 400_000 // n_rows, n_rows)
    value = metric(many[0].ravel(), many[1].ravel())
    groups = np.repeat(np.arange(n_films), n_rows)
    hits = []
    for _ in range(draws):
        truth, prediction = draw_films(rng, n_films, n_rows)
        span = interval_of(metric, truth.ravel(), prediction.ravel(), groups=groups)
        hits.append(span.low <= value <= span.high)
    return np.mean(hits)


@pytest.mark.parametrize("n_rows", [12, 120])
@pytest.mark.parametrize("n_films", [5, 12])
@pytest.mark.parametrize(
    "metric", [metrics.mse, metrics.pcc, metrics.ccc], ids=lambda m: m.__name__
)
def test_intervals_of_few_films_cover_what_they_say(metric, n_films, n_rows):
    share = coverage(metric, jackknife_interval, n_films=n_films, n_rows=n_rows, draws=1500)
    assert share >= 0.93


def test_the_percentile_bootstrap_does_not():
    def bootstrap(*data, groups):
        return bootstrap_interval(*data, groups=groups, resamples=400)

    for metric in (metrics.mse, metrics.pcc):
        assert coverage(metric, bootstrap, n_films=5, n_rows=12, draws=300) < 0.92


@pytest.mark.parametrize("n_films", [5, 12])
@pytest.mark.parametrize("metric", [metrics.mse, metrics.pcc], ids=lambda m: m.__name__)
def test_intervals_of_means_over_films_cover_too(metric, n_films):
    def mean_over_films(metric, truth, prediction, *, groups):
        parts = range(groups.max() + 1)
        values = [metric(truth[groups == i], prediction[groups == i]) for i in parts]
        return interval(values, scale="error" if metric is metrics.mse else "correlation")

    rng = np.random.default_rng(1)
    truth, prediction = draw_films(rng, 8000, 40)
    value = np.mean([metric(t, p) for t, p in zip(truth, prediction, strict=True)])
    groups = np.repeat(np.arange(n_films), 40)
    hits = []
    for _ in range(1200):
        truth, prediction = draw_films(rng, n_films, 40)
        span = mean_over_films(metric, truth.ravel(), prediction.ravel(), groups=groups)
        hits.append(span.low <= value <= span.high)
    assert np.mean(hits) >= 0.93


@pytest.mark.parametrize(("n_units", "share"), [(12, 0.5), (12, 0.85), (70, 0.9), (70, 0.15)])
def test_intervals_of_shares_cover_too(n_units, share):
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(800):
        right = rng.random(n_units) < share
        units = np.arange(n_units)
        span = jackknife_interval(metrics.accuracy, np.ones(n_units), right, groups=units)
        hits.append(span.low <= share <= span.high)
    assert np.mean(hits) >= 0.93


# jackknife


@pytest.mark.parametrize(
    ("metric", "forward", "back"),
    [
        (metrics.pcc, np.arctanh, np.tanh),
        (metrics.ccc, np.arctanh, np.tanh),
        (lambda t, p: float(np.mean(np.abs(t - p))), lambda x: x, lambda x: x),
    ],
    ids=["pcc", "ccc", "another metric"],
)
def test_the_jackknife_is_its_definition(metric, forward, back, predictions):
    truth, prediction, groups = predictions
    without = []
    for film in np.unique(groups):
        kept = groups != film
        without.append(forward(metric(truth[kept], prediction[kept])))
    error = np.sqrt(7 / 8 * np.sum((np.array(without) - np.mean(without)) ** 2))
    half = stats.t.ppf(0.975, 7) * error
    point = metric(truth, prediction)
    result = jackknife_interval(metric, truth, prediction, groups=groups)
    expected = (point, back(forward(point) - half), back(forward(point) + half), 8)
    assert (result.mean, result.low, result.high, result.n) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("truth", "prediction", "low", "high"),
    [
        ([1, 1, 1, 1], [1, 1, 1, 1], 0.025**0.25, 1.0),
        ([1, 1, 1, 1], [0, 0, 0, 0], 0.0, 1 - 0.025**0.25),
    ],
)
def test_units_that_are_all_right_or_all_wrong_get_the_exact_bound(truth, prediction, low, high):
    result = jackknife_interval(metrics.accuracy, truth, prediction, groups=list("abcd"))
    assert (result.low, result.high) == pytest.approx((low, high))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_errors_need_three_films_for_bounds(n):
    result = interval([0.1, 0.2, 0.3][:n], scale="error")
    assert math.isnan(result.high) == math.isnan(result.low) == (n < 3)
    assert n < 3 or result.low < result.mean < result.high < 5


def test_what_is_undefined_without_a_film_has_no_bounds():
    truth = [0.1, 0.1, 0.1, 0.1, 0.5, 0.6]
    result = jackknife_interval(metrics.pcc, truth, np.arange(6.0), groups=list("aabbcc"))
    assert result.mean > 0 and math.isnan(result.low) and math.isnan(result.high)


def test_pseudo_values_of_a_mean_are_its_parts_and_of_a_correlation_average_to_it(predictions):
    truth, prediction, groups = predictions
    by_film = pseudo_values(metrics.pcc, truth, prediction, groups=groups)
    assert list(by_film.index) == [f"F{i}" for i in range(8)]
    assert by_film.mean() == pytest.approx(metrics.pcc(truth, prediction), abs=0.02)
    alone = pseudo_values(metrics.mse, truth, prediction, groups=np.arange(300))
    assert alone.to_numpy() == pytest.approx((truth - prediction) ** 2)
