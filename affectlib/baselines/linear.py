"""Ridge and logistic regression on the samples that the networks see.

The rows of a sample with windows (the seconds of a clip) are averaged first, which is *mean
pooling*: the linear model of the means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from affectlib.metrics import accuracy, mse
from affectlib.training import Predictions, Samples

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.linear_model import Ridge as RidgeModel

PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0)
"""Penalties of ridge regression, for standardised features."""

STRENGTHS = (1.0, 0.1, 0.01, 0.001, 0.0001)
"""Inverse penalties of logistic regression, for standardised features."""


def pooled(data: Samples) -> np.ndarray:
    """All tokens of each sample side by side; with windows, the means over the sample's rows.

    Shape:
        result ``(samples, sum of the tokens' sizes)``

    Examples:
        >>> x = torch.tensor([[1.0], [3.0], [5.0]])
        >>> pairs = torch.tensor([[0, 1], [1, 2]])
        >>> pooled(Samples((x,), torch.zeros(2), ("a", "b"), ("a", "a"), pairs)).tolist()
        [[2.0], [4.0]]
    """
    size = sum(x.shape[1] for x in data.inputs)
    result = np.empty((len(data), size))
    filled = 0
    for rows in _pooled_parts(data):
        result[filled : filled + len(rows)] = rows
        filled += len(rows)
    return result


def _pooled_parts(data: Samples) -> Iterator[np.ndarray]:
    """The rows of :func:`pooled`, in parts: those of real films are gigabytes."""
    for part in data.parts():
        tokens = []
        for x in data.take(part):
            rows = x.double()
            if data.windows is not None:
                rows = rows.mean(1)
            tokens.append(rows)
        yield torch.cat(tokens, dim=1).numpy()


def fit_ridge(
    train: Samples, validation: Samples, *, alphas: Sequence[float] = PENALTIES
) -> RidgeModel:
    """Ridge regression, its penalty chosen on validation samples.

    Args:
        train: samples to learn from, standardised; a sequence of targets counts by its last
        validation: samples of other films; the penalty with the lowest mean squared error,
            averaged over films, is kept, and of equal ones the first
        alphas: penalties to try

    Returns:
        scikit-learn's model, whose ``alpha`` tells the penalty
    """
    from sklearn.linear_model import Ridge

    validation_inputs = pooled(validation)
    validation_targets = _last(validation)

    def error(model: RidgeModel) -> float:
        prediction = model.predict(validation_inputs)
        return mse(validation_targets, prediction, by=validation.groups)

    if len(train) >= validation_inputs.shape[1]:
        return min(_solve_normal_equations(train, alphas), key=error)
    inputs = pooled(train)
    targets = _last(train)
    # The default solver differs with the shape of the data; this one is the same everywhere.
    models = (Ridge(alpha, solver="cholesky").fit(inputs, targets) for alpha in alphas)
    return min(models, key=error)


def _solve_normal_equations(train: Samples, alphas: Sequence[float]) -> list[RidgeModel]:
    """Ridge regressions on more samples than features, of which only a part is in memory at once.

    The products of the features are summed once for all penalties: (X'X + alpha) w = X'y.
    """
    from scipy.linalg import solve
    from sklearn.linear_model import Ridge

    targets = _last(train)
    mean_target = targets.mean()
    mean = sum(rows.sum(0) for rows in _pooled_parts(train)) / len(train)  # (size,)
    gram = np.zeros((len(mean), len(mean)))
    moments = np.zeros(len(mean))
    first = 0
    for rows in _pooled_parts(train):
        centred = rows - mean  # (part, size)
        gram += centred.T @ centred
        moments += centred.T @ (targets[first : first + len(rows)] - mean_target)
        first += len(rows)
    models = []
    for alpha in alphas:
        model = Ridge(alpha, solver="cholesky")
        model.coef_ = solve(gram + alpha * np.eye(len(mean)), moments, assume_a="pos")
        model.intercept_ = mean_target - mean @ model.coef_
        models.append(model)
    return models


def ridge(
    train: Samples, validation: Samples, test: Samples, *, alphas: Sequence[float] = PENALTIES
) -> Predictions:
    """Predicts test samples by ridge regression; see :func:`fit_ridge`.

    Examples:
        >>> x = torch.arange(6.0)[:, None]
        >>> films = ("a", "a", "b", "b", "c", "c")
        >>> data = Samples((x,), 2 * x[:, 0], films, films)
        >>> parts = [data.select(rows) for rows in ([0, 1], [2, 3], [4, 5])]
        >>> ridge(*parts, alphas=[1e-9]).prediction.round(3).tolist()
        [8.0, 10.0]
    """
    model = fit_ridge(train, validation, alphas=alphas)
    return Predictions(test.ids, test.groups, _last(test), model.predict(pooled(test)))


def fit_logistic(
    train: Samples, validation: Samples, *, strengths: Sequence[float] = STRENGTHS
) -> LogisticRegression:
    """Logistic regression over classes, its penalty chosen on validation samples.

    Args:
        train: samples to learn from, standardised, with classes as targets
        validation: samples of other groups; the penalty with the highest accuracy is kept, and of
            equal ones the strongest
        strengths: inverse penalties to try

    Returns:
        scikit-learn's model, whose ``C`` tells the inverse penalty
    """
    from sklearn.linear_model import LogisticRegression

    inputs = pooled(train)
    classes = train.target.numpy()
    validation_inputs = pooled(validation)
    validation_classes = validation.target.numpy()

    def share_right(model: LogisticRegression) -> float:
        return accuracy(validation_classes, model.predict(validation_inputs))

    models = (
        LogisticRegression(C=strength, max_iter=1000).fit(inputs, classes)
        for strength in sorted(strengths)
    )
    return max(models, key=share_right)


def logistic(
    train: Samples, validation: Samples, test: Samples, *, strengths: Sequence[float] = STRENGTHS
) -> Predictions:
    """Predicts the classes of test samples by logistic regression; see :func:`fit_logistic`.

    Examples:
        >>> x = torch.tensor([[-1.0], [1.0], [-2.0], [2.0], [-3.0], [3.0]])
        >>> classes = torch.tensor([0, 1, 0, 1, 0, 1])
        >>> films = ("a", "a", "b", "b", "c", "c")
        >>> data = Samples((x,), classes, films, films)
        >>> parts = [data.select(rows) for rows in ([0, 1], [2, 3], [4, 5])]
        >>> logistic(*parts).prediction.tolist()
        [0, 1]
    """
    model = fit_logistic(train, validation, strengths=strengths)
    classes = test.target.numpy()
    return Predictions(test.ids, test.groups, classes, model.predict(pooled(test)))


def _last(data: Samples) -> np.ndarray:
    """The value to predict of each sample: of a sequence of targets the last."""
    target = data.target.double()
    if target.dim() > 1:
        target = target[:, -1]
    return target.numpy()
