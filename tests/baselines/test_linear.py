"""Linear baselines: the closed form, mean pooling, and a penalty chosen on other films."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from affectlib import baselines
from affectlib.training import Samples


def samples(n, *, seed, noise=0.1, size=5, windows=None):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, size))
    y = x @ np.arange(1.0, size + 1) + 3 + noise * rng.normal(size=n)
    films = tuple(f"film {i % 4}" for i in range(n))
    ids = tuple(f"{seed}:{i}" for i in range(n))
    tokens = (torch.tensor(x[:, :2]), torch.tensor(x[:, 2:]))
    return Samples(tokens, torch.tensor(y), ids, films, windows)


def test_ridge_is_its_closed_form():
    train, validation, test = (samples(40, seed=seed) for seed in range(3))
    result = baselines.ridge(train, validation, test, alphas=[2.0])
    x = torch.cat(train.inputs, 1).numpy()
    mean = x.mean(0)
    centred = x - mean
    y = train.target.numpy()
    weights = np.linalg.inv(centred.T @ centred + 2 * np.eye(5)) @ centred.T @ (y - y.mean())
    expected = (torch.cat(test.inputs, 1).numpy() - mean) @ weights + y.mean()
    assert result.prediction == pytest.approx(expected)
    assert result.groups == test.groups and result.truth.tolist() == test.target.tolist()


@pytest.mark.parametrize("n", [4, 6, 1200])
def test_ridge_is_that_of_scikit_learn_however_many_samples_there_are(n):
    from sklearn.linear_model import Ridge

    train, other = samples(n, seed=0), samples(40, seed=1)
    model = baselines.fit_ridge(train, other, alphas=[3.0])
    expected = Ridge(3.0).fit(torch.cat(train.inputs, 1).numpy(), train.target.numpy())
    assert model.coef_ == pytest.approx(expected.coef_, rel=1e-9)
    assert model.intercept_ == pytest.approx(expected.intercept_, rel=1e-9)


@pytest.mark.parametrize(("noise", "alpha"), [(0.01, 1e-6), (300.0, 1e6)])
def test_the_penalty_is_chosen_on_validation_films(noise, alpha):
    # Without noise the smallest penalty is right; where all is noise the largest is.
    train = samples(12, seed=0, noise=noise)
    validation = samples(200, seed=1, noise=noise)
    assert baselines.fit_ridge(train, validation, alphas=[1e-6, 1e6]).alpha == alpha


def test_windows_are_averaged():
    seconds = samples(40, seed=0)
    windows = torch.arange(40).view(10, 4)
    clips = Samples(
        seconds.inputs,
        seconds.target.view(10, 4).mean(1),
        tuple("abcdefghij"),
        tuple("aabbccddee"),
        windows,
    )
    by_hand = torch.cat(seconds.inputs, 1).view(10, 4, 5).mean(1).numpy()
    assert baselines.pooled(clips) == pytest.approx(by_hand)
    # A linear function of means is the mean of the function: the noise alone is left.
    error = baselines.ridge(clips, clips, clips, alphas=[1e-6])
    assert error.prediction == pytest.approx(error.truth, abs=0.2)


def test_of_a_sequence_of_targets_the_last_counts():
    train = samples(30, seed=0)
    other = torch.zeros(30, 2, dtype=torch.double)
    other[:, 1] = train.target
    result = baselines.ridge(replace(train, target=other), train, train)
    assert result.prediction == pytest.approx(baselines.ridge(train, train, train).prediction)


def test_logistic_regression_finds_classes_and_finds_none_in_noise():
    rng = np.random.default_rng(0)
    found = []
    for shift in (2.0, 0.0):
        parts = []
        for name in "abc":
            classes = rng.integers(0, 3, 300)
            x = rng.normal(size=(300, 3))
            x[np.arange(300), classes] += shift
            names = (name,) * 300
            parts.append(Samples((torch.tensor(x),), torch.tensor(classes), names, names))
        result = baselines.logistic(*parts)
        found.append(np.mean(result.prediction == result.truth))
    assert found[0] > 0.8
    assert found[1] == pytest.approx(1 / 3, abs=0.1)
