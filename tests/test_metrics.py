"""Metrics against their formulas, scipy, scikit-learn and torchmetrics."""

import inspect
import math

import numpy as np
import pytest
from scipy import stats

from affectlib import metrics

REGRESSION = (metrics.mse, metrics.pcc, metrics.ccc)
CLASSIFICATION = (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1)


@pytest.fixture(params=range(3))
def values(request):
    rng = np.random.default_rng(request.param)
    truth = rng.normal(3, 2, 200)
    return truth, 0.5 * truth + rng.normal(0, 1, 200)


@pytest.fixture(params=range(3))
def classes(request):
    rng = np.random.default_rng(request.param)
    truth = rng.choice(["anger", "joy", "fear"], 100, p=[0.7, 0.2, 0.1])
    return truth, np.where(rng.random(100) < 0.6, truth, rng.choice(["anger", "joy", "fear"], 100))


def test_regression_follows_the_formulas(values):
    truth, prediction = values
    n = len(truth)
    mean_t = sum(truth) / n
    mean_p = sum(prediction) / n
    squares = variance_t = variance_p = covariance = 0.0
    for t, p in zip(truth, prediction, strict=True):
        squares += (t - p) ** 2 / n
        variance_t += (t - mean_t) ** 2 / n
        variance_p += (p - mean_p) ** 2 / n
        covariance += (t - mean_t) * (p - mean_p) / n
    pcc = covariance / math.sqrt(variance_t * variance_p)
    ccc = 2 * covariance / (variance_t + variance_p + (mean_t - mean_p) ** 2)
    assert metrics.mse(truth, prediction) == pytest.approx(squares, rel=1e-9)
    assert metrics.pcc(truth, prediction) == pytest.approx(pcc, rel=1e-9)
    assert metrics.ccc(truth, prediction) == pytest.approx(ccc, rel=1e-9)


def test_regression_agrees_with_other_libraries(values):
    import torch
    from torchmetrics.functional import concordance_corrcoef, mean_squared_error

    truth, prediction = values
    tensors = torch.from_numpy(prediction), torch.from_numpy(truth)
    assert metrics.pcc(truth, prediction) == pytest.approx(
        stats.pearsonr(truth, prediction).statistic
    )
    assert metrics.mse(truth, prediction) == pytest.approx(float(mean_squared_error(*tensors)))
    # torchmetrics divides the covariance by n and the variances by n - 1: equal up to 1 / n.
    assert metrics.ccc(truth, prediction) == pytest.approx(
        float(concordance_corrcoef(*tensors)), rel=1 / len(truth)
    )


def test_concordance_is_the_population_form():
    truth, prediction = [3.0, -0.5, 2.0, 7.0], [2.5, 0.0, 2.0, 8.0]
    assert round(metrics.ccc(truth, prediction), 4) == 0.9768
    cov = np.cov(truth, prediction)
    n_minus_1 = (
        2 * cov[0, 1] / (cov[0, 0] + cov[1, 1] + (np.mean(truth) - np.mean(prediction)) ** 2)
    )
    assert round(n_minus_1, 4) == 0.9777


def test_classification_follows_the_formulas(classes):
    truth, prediction = classes
    recalls = []
    f1s = []
    for name in ("anger", "joy", "fear"):
        right = sum((truth == name) & (prediction == name))
        recalls.append(right / sum(truth == name))
        f1s.append(2 * right / (sum(truth == name) + sum(prediction == name)))
    share = sum(truth == prediction) / len(truth)
    assert metrics.accuracy(truth, prediction) == pytest.approx(share, rel=1e-9)
    assert metrics.balanced_accuracy(truth, prediction) == pytest.approx(sum(recalls) / 3, rel=1e-9)
    assert metrics.macro_f1(truth, prediction) == pytest.approx(sum(f1s) / 3, rel=1e-9)


def test_classification_agrees_with_scikit_learn(classes):
    from sklearn import metrics as reference

    assert metrics.accuracy(*classes) == pytest.approx(reference.accuracy_score(*classes))
    balanced = reference.balanced_accuracy_score(*classes)
    assert metrics.balanced_accuracy(*classes) == pytest.approx(balanced)


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_never_true_counts_for_f1_only_and_without_a_warning():
    truth = ["joy", "joy", "joy", "joy"]
    prediction = ["joy", "joy", "joy", "fear"]
    assert metrics.balanced_accuracy(truth, prediction) == 0.75
    # 6 / 7 for joy and 0 for fear.
    assert metrics.macro_f1(truth, prediction) == pytest.approx(3 / 7)


@pytest.mark.parametrize(
    "metric", [*REGRESSION, *CLASSIFICATION], ids=lambda metric: metric.__name__
)
class TestContract:
    def test_signature(self, metric):
        parameters = inspect.signature(metric).parameters
        assert list(parameters) == ["truth", "prediction", "by"]
        assert parameters["by"].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters["by"].default is None

    def test_lengths_are_named(self, metric):
        with pytest.raises(ValueError, match="truth has 3 rows, prediction has 2"):
            metric([1, 2, 3], [1, 2])
        with pytest.raises(ValueError, match="truth has 3 rows, by has 1"):
            metric([1, 2, 3], [1, 2, 3], by=["A"])

    def test_no_rows_give_nan(self, metric):
        assert math.isnan(metric([], []))
        assert math.isnan(metric([], [], by=[]))

    def test_grouped_is_the_mean_over_groups(self, metric):
        rng = np.random.default_rng(0)
        truth = rng.integers(0, 3, 60)
        prediction = rng.integers(0, 3, 60)
        by = rng.choice(["A", "B", "C"], 60)
        each = [metric(truth[by == group], prediction[by == group]) for group in "ABC"]
        result = metric(truth, prediction, by=by)
        assert type(result) is float
        assert result == pytest.approx(np.mean(each))

    def test_perfect(self, metric):
        assert metric([1, 2, 3], [1, 2, 3]) == pytest.approx(0 if metric is metrics.mse else 1)


@pytest.mark.parametrize("value", [0.1, 0.3, 0.5, -0.94, 1e8 + 0.1, 0.0])
def test_concordance_of_the_same_constant_is_undefined_whatever_its_rounding(value):
    constant = np.full(50, value)
    assert math.isnan(metrics.ccc(constant, constant))
    assert math.isnan(metrics.ccc(constant, constant * (1 + 1e-15)))
    assert math.isnan(metrics.ccc(constant.astype(np.float32), constant.astype(np.float32)))
    # Of two constants that differ, and of one, it is defined.
    assert metrics.ccc(constant, constant + 1) == pytest.approx(0, abs=1e-12)
    assert metrics.ccc(value + np.arange(50), constant) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_computed_with_rounding_has_no_correlation(dtype):
    noisy = np.full(50, 0.3, dtype)
    noisy[::2] = np.nextafter(dtype(0.3), dtype(1))
    assert len(set(noisy)) == 2
    series = np.arange(50.0)
    assert math.isnan(metrics.pcc(series, noisy))
    assert math.isnan(metrics.pcc(noisy, series))
    assert math.isnan(metrics.ccc(noisy, np.full(50, 0.3, dtype)))
    # A hundred steps of the type are no rounding.
    line = dtype(0.3) + 100 * np.finfo(dtype).eps * series.astype(dtype)
    assert metrics.pcc(series, line) > 0.99


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (["A", None, "B"], "by, row 1 is missing"),
        ([1.0, 2.0, math.nan], "by, row 2 is missing"),
        (np.array(["A", 1, "B"], object), "several types: int and str"),
    ],
)
def test_missing_and_mixed_groups_are_named(by, message):
    with pytest.raises(ValueError, match=message):
        metrics.mse([1, 2, 3], [1, 2, 4], by=by)


def test_text_is_compared_with_text_only():
    with pytest.raises(ValueError, match="one holds text and the other does not"):
        metrics.accuracy(["0", "1"], [0, 1])
    objects = np.array(["joy", "fear"], object)
    assert metrics.accuracy(objects, ["joy", "joy"]) == 0.5


def test_constants_are_undefined_not_zero():
    assert math.isnan(metrics.pcc([1, 2, 3], [0.1, 0.1, 0.1]))
    assert math.isnan(metrics.pcc([0.1, 0.1, 0.1], [1, 2, 3]))
    assert math.isnan(metrics.ccc([2, 2], [2, 2]))
    assert metrics.ccc([2, 2], [3, 3]) == 0  # defined: the means differ
    assert math.isnan(metrics.pcc([1, 2, 5, 5], [1, 2, 3, 4], by=["A", "A", "B", "B"]))
