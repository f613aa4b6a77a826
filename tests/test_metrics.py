"""Metrics against their formulas and against scipy, scikit-learn and torchmetrics."""

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
    t, p = (list(map(float, side)) for side in values)
    n, mt, mp = len(t), sum(t) / len(t), sum(p) / len(p)
    vt, vp = sum((x - mt) ** 2 for x in t) / n, sum((x - mp) ** 2 for x in p) / n
    cov = sum((x - mt) * (y - mp) for x, y in zip(t, p, strict=True)) / n
    assert metrics.mse(t, p) == pytest.approx(
        sum((x - y) ** 2 for x, y in zip(t, p, strict=True)) / n
    )
    assert metrics.pcc(t, p) == pytest.approx(cov / math.sqrt(vt * vp))
    assert metrics.ccc(t, p) == pytest.approx(2 * cov / (vt + vp + (mt - mp) ** 2))


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


def test_classification_agrees_with_scikit_learn(classes):
    from sklearn import metrics as reference

    assert metrics.accuracy(*classes) == pytest.approx(reference.accuracy_score(*classes))
    assert metrics.balanced_accuracy(*classes) == pytest.approx(
        reference.balanced_accuracy_score(*classes)
    )
    assert metrics.macro_f1(*classes) == pytest.approx(
        reference.f1_score(*classes, average="macro")
    )


@pytest.mark.parametrize(
    "metric", [*REGRESSION, *CLASSIFICATION], ids=lambda metric: metric.__name__
)
class TestContract:
    def test_signature(self, metric):
        assert str(inspect.signature(metric)) == "(truth, prediction, *, by=None)"

    def test_lengths_are_named(self, metric):
        with pytest.raises(ValueError, match="truth has 3 rows, prediction has 2"):
            metric([1, 2, 3], [1, 2])
        with pytest.raises(ValueError, match="truth has 3 rows, by has 1"):
            metric([1, 2, 3], [1, 2, 3], by=["A"])

    def test_nothing_is_undefined(self, metric):
        assert math.isnan(metric([], [])) and math.isnan(metric([], [], by=[]))

    def test_grouped_is_the_mean_over_groups(self, metric):
        rng = np.random.default_rng(0)
        truth, prediction, by = (
            rng.integers(0, 3, 60),
            rng.integers(0, 3, 60),
            rng.choice(["A", "B", "C"], 60),
        )
        each = [metric(truth[by == group], prediction[by == group]) for group in "ABC"]
        result = metric(truth, prediction, by=by)
        assert type(result) is float and result == pytest.approx(np.mean(each))

    def test_perfect(self, metric):
        assert metric([1, 2, 3], [1, 2, 3]) == pytest.approx(0 if metric is metrics.mse else 1)


def test_constants_are_undefined_not_zero():
    assert math.isnan(metrics.pcc([1, 2, 3], [0.1, 0.1, 0.1]))
    assert math.isnan(metrics.pcc([0.1, 0.1, 0.1], [1, 2, 3]))
    assert math.isnan(metrics.ccc([2, 2], [2, 2]))
    assert metrics.ccc([2, 2], [3, 3]) == 0  # defined: the means differ
    assert math.isnan(metrics.pcc([1, 2, 5, 5], [1, 2, 3, 4], by=["A", "A", "B", "B"]))
