"""All folds and seeds of a small model at once.

Leave one film out, with seeds and intervals, means dozens of trainings of a model in which every
step is a hundred small operations. Here the parameters of all models are stacked along a leading
dimension (``torch.func``), and each step serves them all:

    - The folds of a seed share one shuffle per epoch, over every sample that some fold trains on.
      A fold gives weight 0 to the samples that it holds out: its batch is the common batch without
      them. The common batch is larger by as much, so that ``batch_size`` samples are left on
      average. With one fold this is exactly ``training.fit``.
    - The first layer, thousands of features wide, is then one matrix product for all folds. Each
      fold's standardisation, fitted on its own training samples, is folded into its weights.
    - One fused Adam works on the stacked tensors. Dropout is drawn for each model separately.
    - Each model keeps its best epoch, and later epochs than its patience allows change nothing.
      Training ends when all models have stopped.

It takes the models of ``models.attend_affect``: their first layer is ``project``, one linear layer
per token, and their other layers have twins that take stacked parameters.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from affectlib.corpora.folds import Fold
from affectlib.kept import Kept
from affectlib.stacked.twins import fast
from affectlib.training import (
    History,
    Predictions,
    Samples,
    SequenceModel,
    batches,
    moments,
    run,
)


class FoldResult(NamedTuple):
    """One fold under one seed: predictions on its test samples, and the course of its training.

    ``given_past`` are the predictions of a sequence model that is fed with the true values of all
    segments before the one it predicts, as in training. It is None for every other model.
    """

    fold: Fold
    seed: int
    predictions: Predictions
    history: History
    given_past: Predictions | None = None


def pooled(results: Iterable[FoldResult], *, given_past: bool = False) -> Predictions:
    """Test predictions of all folds together, fold after fold, with one row per seed.

    Args:
        results: result of :func:`fit_folds`
        given_past: take the predictions made with the true past, of sequence models

    Shape:
        ``prediction`` of the result is ``(seeds, rows)``, ``truth`` ``(rows,)``

    Returns:
        Predictions, without embeddings
    """
    by_seed = {}
    for result in results:
        part = result.given_past if given_past else result.predictions
        by_seed.setdefault(result.seed, []).append(part)
    rows = [np.concatenate([part.prediction for part in parts]) for parts in by_seed.values()]
    # Samples and their truth are the same for every seed.
    first_parts = next(iter(by_seed.values()))
    ids = []
    groups = []
    for part in first_parts:
        ids += part.ids
        groups += part.groups
    truth = np.concatenate([part.truth for part in first_parts])
    return Predictions(tuple(ids), tuple(groups), truth, np.stack(rows))


def fit_folds(
    build: Callable[[], nn.Module],
    samples: Samples,
    folds: Sequence[Fold],
    *,
    loss: Callable[..., torch.Tensor],
    seeds: Sequence[int] = (0,),
    epochs: int = 500,
    batch_size: int = 30,
    learning_rate: float = 5e-4,
    patience: int = 30,
    weight_decay: float = 0.0,
    protocol: str = "clean",
    standardise: bool = True,
    progress: bool = False,
) -> list[FoldResult]:
    """Trains a model once per fold and seed, all at the same time, and predicts the test samples.

    Args:
        build: makes the untrained model; called once per seed, after this seed is set
        samples: all samples, in the order that the folds' positions refer to
        folds: positions to train on, to validate by and to test on
        loss: of truth and prediction ``(models, batch)`` and ``weight``, one value per model
        seeds: seeds of the weights and of the order of samples.
            Dropout is drawn once for all models, under the first seed. The list of seeds is
            therefore one unit: a seed alone gives other numbers than among others
        epochs: largest number of epochs
        batch_size: samples in a batch, on average over folds
        learning_rate: of Adam
        patience: epochs without a better validation loss after which a model stops
        weight_decay: of Adam
        protocol: ``"clean"``: each fold's ``validation`` samples choose the epoch.
            ``"paper"``: its ``test`` samples do, as in the authors' earlier code, and the
            ``validation`` samples train as well
        standardise: standardise the features by the fold's training samples
        progress: show a bar

    Returns:
        list of FoldResult, folds of the first seed first

    Raises:
        ValueError: if a fold lacks samples that it needs, or a model's validation loss was never a
            number

    References:
        attend_affect IV-B for the defaults, IV-C for leave one film out
    """
    train, validation, test = _positions(folds, protocol)
    with torch.random.fork_rng():
        models = _StackedModels(build, samples, train, seeds, standardise=standardise)
        optimiser = torch.optim.Adam(
            models.parameters, learning_rate, weight_decay=weight_decay, fused=True
        )
        schedule = _CommonBatches(train, seeds, batch_size)
        kept = Kept(
            ["fit_folds", models.module, models.parameters, samples, loss],
            [train, validation, list(seeds), standardise],
            [epochs, batch_size, learning_rate, patience, weight_decay],
        )
        # From here on the random numbers are those of dropout.
        torch.manual_seed(seeds[0])
        curves, best_epochs = _train(
            models,
            schedule,
            validation,
            loss=loss,
            optimiser=optimiser,
            epochs=epochs,
            patience=patience,
            progress=progress,
            kept=kept,
        )
    names = [(seed, fold) for seed in seeds for fold in folds]
    for (seed, fold), best_epoch in zip(names, best_epochs, strict=True):
        if best_epoch == 0:
            raise ValueError(
                f"fold {fold.name}, seed {seed}: the validation loss was never a number"
            )
    # Validation and dropout are over: the kept weights predict the test samples.
    predictions = models.test(test)
    past = [None] * len(names)
    if isinstance(models.module, SequenceModel):
        past = models.test(test, given_past=True)
    results = []
    for i, (seed, fold) in enumerate(names):
        # A model that stopped earlier than the others has a shorter history.
        ran = min(len(curves), best_epochs[i] + patience)
        table = pd.DataFrame(
            {
                "epoch": np.arange(1, ran + 1),
                "train_loss": curves[:ran, 0, i],
                "validation_loss": curves[:ran, 1, i],
            }
        )
        history = History(table, best_epochs[i])
        results.append(FoldResult(fold, seed, predictions[i], history, past[i]))
    return results


def _positions(folds: Sequence[Fold], protocol: str) -> list[list[torch.Tensor]]:
    """Positions that train, that choose the epoch, and that test: for each a list over folds."""
    if protocol not in ("clean", "paper"):
        raise ValueError(f"protocol is {protocol!r}, expected 'clean' or 'paper'")
    chooser = "validation" if protocol == "clean" else "test"
    parts = []
    for name in ("train", chooser, "test"):
        positions = []
        for fold in folds:
            chosen = _as_positions(getattr(fold, name))
            if not len(chosen):
                raise ValueError(f"fold {fold.name}: no sample under {name}")
            if name == "train" and protocol == "paper":
                # The validation samples choose nothing, and so they train.
                chosen = torch.cat([chosen, _as_positions(fold.validation)]).unique()
            positions.append(chosen)
        parts.append(positions)
    return parts


def _as_positions(chosen: Sequence[int] | np.ndarray) -> torch.Tensor:
    return torch.as_tensor(np.asarray(chosen), dtype=torch.long)


class _CommonBatches:
    """Batches that the folds of a seed share, and the weight of each sample in each fold.

    Args:
        train: positions that each fold trains on
        seeds: seeds of the order
        batch_size: samples that a fold has in a batch, on average
    """

    def __init__(self, train: Sequence[torch.Tensor], seeds: Sequence[int], batch_size: int):
        self.seeds = seeds
        # Samples that some fold trains on, and for each fold 1 where it is one of them.
        self.positions = torch.cat(list(train)).unique()  # (samples,)
        trains = [torch.isin(self.positions, chosen).float() for chosen in train]
        self.trains = torch.stack(trains)  # (folds, samples)
        share = len(self.positions) / float(self.trains.sum(1).mean())
        self.batch_size = max(1, round(batch_size * share))

    def epoch(self, epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of one epoch.

        Returns:
            positions ``(seeds, batch)`` and weights ``(models, batch)`` of each batch
        """
        orders = []
        for seed in self.seeds:
            order = batches(len(self.positions), self.batch_size, seed=seed, epoch=epoch)
            orders.append(order)
        result = []
        for parts in zip(*orders, strict=True):
            places = torch.stack(parts)  # (seeds, batch)
            # A sample that a fold holds out weighs nothing there.
            weight = self.trains[:, places]  # (folds, seeds, batch)
            weight = weight.transpose(0, 1).flatten(0, 1)  # (models, batch)
            result.append((self.positions[places], weight))
        return result


class _Projected(nn.Module):
    """Stands in place of the projection: its result is handed in."""

    def forward(self, projected: torch.Tensor) -> torch.Tensor:
        return projected


def _stack(build: Callable[[], nn.Module], seeds: Sequence[int], n_folds: int) -> nn.Module:
    """A fast model whose parameters are those of all models, stacked seed by seed, fold by fold.

    The folds of a seed start with the same weights.
    """
    models = []
    for seed in seeds:
        torch.manual_seed(seed)
        model = build()
        models.append(model)
        for _ in range(n_folds - 1):
            models.append(copy.deepcopy(model))
    stacked_parameters, _ = torch.func.stack_module_state(models)
    stacked = fast(models[0])
    for name, parameter in stacked.named_parameters():
        parameter.data = stacked_parameters[name].data
    return stacked


class _StackedModels:
    """All models (seed by seed, and fold by fold within) and the samples that they share.

    Args:
        build: makes one untrained model
        samples: all samples
        train: positions that each fold trains on
        seeds: seeds of the weights
        standardise: standardise the features by each fold's training samples
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        samples: Samples,
        train: Sequence[torch.Tensor],
        seeds: Sequence[int],
        *,
        standardise: bool,
    ):
        self.samples = samples
        self.n_seeds = len(seeds)
        self.n_folds = len(train)
        self.n_models = self.n_seeds * self.n_folds
        self.module = _stack(build, seeds, self.n_folds)
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        # The first layer has its own way (`project`), since models share its input.
        self.linears = list(self.module.project.linears)
        self.module.project = _Projected()
        self.module.train()

        self.inputs = list(samples.inputs)
        self.scales = None
        if standardise:
            self.inputs = [_roughly_scaled(x) for x in samples.inputs]
            rows = [samples.rows(chosen).unique() for chosen in train]
            self.scales = [_scales(x, rows) for x in self.inputs]

    def project(self, positions: torch.Tensor, *, by: Literal["seed", "fold"]) -> torch.Tensor:
        """Output of the first layer of all models.

        Args:
            positions: of samples
            by: ``"seed"``: the folds of a seed share their samples; ``"fold"``: the seeds of a fold
                share theirs

        Shape:
            positions ``(seeds, batch)`` or ``(folds, batch)``;
            result ``(models, batch, ..., tokens, width)``
        """
        rows = self.samples.rows(positions)  # (groups, batch) or (groups, batch, length)
        tokens = []
        for token in range(len(self.inputs)):
            tokens.append(self._project_token(token, rows, by))
        return torch.stack(tokens, dim=-2)  # (models, batch, ..., tokens, width)

    def _project_token(self, token: int, rows: torch.Tensor, by: str) -> torch.Tensor:
        """Output of the linear layer of one token, ``(models, batch, ..., width)``."""
        weight, bias = self._first_layer(token)
        if by == "fold":
            weight = weight.transpose(0, 1)  # (folds, seeds, width, size)
            bias = bias.transpose(0, 1)  # (folds, seeds, width)
        groups, members, width, size = weight.shape
        x = self.inputs[token][rows.flatten(1)]  # (groups, rows, size)
        # The members of a group share their rows, and so one matrix product serves them all.
        weight = weight.reshape(groups, members * width, size)
        bias = bias.reshape(groups, 1, members * width)
        y = torch.baddbmm(bias, x, weight.mT)  # (groups, rows, members * width)
        y = y.unflatten(-1, (members, width))  # (groups, rows, members, width)
        y = y.movedim(-2, 1)  # (groups, members, rows, width)
        if by == "fold":
            y = y.transpose(0, 1)  # (seeds, folds, rows, width)
        return y.reshape(self.n_models, *rows.shape[1:], width)  # (models, batch, ..., width)

    def _first_layer(self, token: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight ``(seeds, folds, width, size)`` and bias ``(seeds, folds, width)`` of a token.

        Both contain the standardisation: ``W ((x - mean) / deviation) + b``.
        """
        models = (self.n_seeds, self.n_folds)
        weight = self.linears[token].weight.unflatten(0, models)  # (seeds, folds, width, size)
        bias = self.linears[token].bias.unflatten(0, models)  # (seeds, folds, width)
        if self.scales is None:
            return weight, bias
        mean, inverse = self.scales[token]  # each (folds, 1, size)
        # One over the deviation goes into the weight, the mean into the bias.
        weight = weight * inverse  # (seeds, folds, width, size)
        shift = (weight * mean).sum(-1)  # (seeds, folds, width)
        return weight, bias - shift

    def target(self, positions: torch.Tensor) -> torch.Tensor:
        """Target of each model.

        Shape:
            positions ``(seeds, batch)``;
            result ``(models, batch)``, with windows ``(models, batch, length)``
        """
        # (seeds, folds, batch)
        for_folds = positions.unsqueeze(1).expand(-1, self.n_folds, -1)
        return self.samples.target[for_folds.flatten(0, 1)]

    def truth(self, target: torch.Tensor) -> torch.Tensor:
        """The values to predict: of a sequence, the last."""
        return target if self.samples.windows is None else target[..., -1]

    def evaluate(
        self, positions: torch.Tensor, *, given_past: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predictions and embeddings of each fold on its samples.

        Args:
            positions: of samples, one row per fold
            given_past: feed a sequence model with the true values before the last, instead of its
                own outputs

        Shape:
            positions ``(folds, batch)``; results ``(models, batch)`` and ``(models, batch, width)``
        """
        self.module.eval()
        with torch.no_grad():
            tokens = self.project(positions, by="fold")  # (models, batch, ..., tokens, width)
            if given_past:
                past = self.module.previous(self.samples.target[positions])
                past = past.repeat(self.n_seeds, 1, 1)  # (models, batch, length - 1)
                embedding = self.module.embed(tokens, past)
            else:
                embedding = self.module.embed(tokens)
            prediction = self.module.head(embedding).squeeze(-1)
        self.module.train()
        # A sequence predicts its last segment.
        if isinstance(self.module, SequenceModel):
            prediction = prediction[..., -1]
            embedding = embedding[..., -1, :]
        return prediction, embedding

    def test(self, test: Sequence[torch.Tensor], *, given_past: bool = False) -> list[Predictions]:
        """Predictions of each model on the test samples of its fold.

        Args:
            test: positions of each fold
            given_past: as in :meth:`evaluate`; the predictions then come without embeddings
        """
        positions, _ = _padded(test)
        prediction, embedding = self.evaluate(positions, given_past=given_past)
        results = []
        for model in range(self.n_models):
            chosen = test[model % self.n_folds]
            n = len(chosen)
            result = Predictions(
                tuple(self.samples.ids[i] for i in chosen),
                tuple(self.samples.groups[i] for i in chosen),
                self.truth(self.samples.target[chosen]).numpy(),
                prediction[model, :n].numpy(),
                embedding[model, :n].numpy(),
            )
            results.append(replace(result, embedding=None) if given_past else result)
        return results


def _roughly_scaled(x: torch.Tensor) -> torch.Tensor:
    """Features standardised by all samples.

    Only for the sake of rounding: each fold's exact standardisation follows in its weights.
    """
    mean, deviation = moments(x)
    return (x - mean) / deviation


def _scales(x: torch.Tensor, rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean, and one over the deviation, of each fold's rows, both ``(folds, 1, size)``."""
    means = []
    deviations = []
    for chosen in rows:
        mean, deviation = moments(x[chosen])
        means.append(mean)
        deviations.append(deviation)
    return torch.stack(means).unsqueeze(1), 1 / torch.stack(deviations).unsqueeze(1)


def _padded(positions: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """One row per fold, as long as the longest, filled up with the row's first position.

    Returns:
        positions and weights, both ``(folds, longest)``; the weight is 0 where a row is filled up
    """
    longest = max(len(chosen) for chosen in positions)
    rows = []
    weights = []
    for chosen in positions:
        fill = (0, longest - len(chosen))
        rows.append(nn.functional.pad(chosen, fill, value=int(chosen[0])))
        weights.append((torch.arange(longest) < len(chosen)).float())
    return torch.stack(rows), torch.stack(weights)


class _BestWeights:
    """The best weights of each model, by its validation loss.

    Args:
        parameters: stacked parameters, which training changes
        n_models: number of models
        patience: epochs without a better loss after which a model stops
    """

    def __init__(self, parameters: Sequence[nn.Parameter], n_models: int, patience: int):
        self.parameters = parameters
        self.patience = patience
        self.losses = torch.full((n_models,), math.inf)
        self.epochs = torch.zeros(n_models, dtype=torch.long)
        self.weights = [p.detach().clone() for p in parameters]

    def update(self, losses: torch.Tensor, epoch: int) -> None:
        """Keeps the weights of the models that have improved and have not stopped yet."""
        improved = (losses < self.losses) & (epoch - self.epochs <= self.patience)  # (models,)
        self.losses = torch.where(improved, losses, self.losses)
        self.epochs = torch.where(improved, epoch, self.epochs)
        for kept, parameter in zip(self.weights, self.parameters, strict=True):
            chosen = improved.view(-1, *[1] * (parameter.dim() - 1))  # (models, 1, ..., 1)
            kept.copy_(torch.where(chosen, parameter.detach(), kept))

    def all_stopped(self, epoch: int) -> bool:
        return bool((epoch - self.epochs >= self.patience).all())

    def restore(self) -> None:
        for parameter, kept in zip(self.parameters, self.weights, strict=True):
            parameter.data = kept


def _train(
    models: _StackedModels,
    schedule: _CommonBatches,
    validation: Sequence[torch.Tensor],
    *,
    loss: Callable[..., torch.Tensor],
    optimiser: torch.optim.Optimizer,
    epochs: int,
    patience: int,
    progress: bool,
    kept: Kept,
) -> tuple[np.ndarray, list[int]]:
    """Leaves all models with their best weights.

    A training of which a state was kept goes on after the last epoch of that state.

    Returns:
        losses ``(epochs, 2, models)``, training first, and each model's best epoch, 0 for none
    """
    # Validation samples and their truth are the same in every epoch.
    positions, weight = _padded(validation)
    positions_of_all = positions.repeat(models.n_seeds, 1)  # (models, longest)
    truth = models.truth(models.samples.target[positions_of_all])  # (models, longest)
    weight = weight.repeat(models.n_seeds, 1)  # (models, longest)
    best = _BestWeights(models.parameters, models.n_models, patience)
    curves = []
    state = kept.load()
    if state is not None:
        curves = _resume(state, models, optimiser, best)
    first = len(curves) + 1
    if curves and best.all_stopped(len(curves)):
        first = epochs + 1  # it had come to its end
    for epoch in _counted(first, epochs, progress):
        train_loss = _train_epoch(models, schedule.epoch(epoch), loss, optimiser)  # (models,)
        prediction, _ = models.evaluate(positions)  # (models, longest)
        validation_loss = loss(truth, prediction, weight=weight)  # (models,)
        curves.append(torch.stack([train_loss, validation_loss]).numpy())
        best.update(validation_loss, epoch)
        if best.all_stopped(epoch):
            break
        if kept.is_due():
            kept.save(_state(models, optimiser, best, curves))
    kept.save(_state(models, optimiser, best, curves))
    best.restore()
    return np.stack(curves), best.epochs.tolist()


def _state(
    models: _StackedModels,
    optimiser: torch.optim.Optimizer,
    best: _BestWeights,
    curves: Sequence[np.ndarray],
) -> dict[str, object]:
    """Everything that a training needs to go on after this epoch with the same numbers."""
    return {
        "parameters": [parameter.detach() for parameter in models.parameters],
        "optimiser": optimiser.state_dict(),
        "best": [best.losses, best.epochs, best.weights],
        "curves": [torch.from_numpy(losses) for losses in curves],
        "random": torch.get_rng_state(),
    }


def _resume(
    state: dict,
    models: _StackedModels,
    optimiser: torch.optim.Optimizer,
    best: _BestWeights,
) -> list[np.ndarray]:
    """Puts everything back as it was when a state was kept; returns the losses of its epochs."""
    for parameter, value in zip(models.parameters, state["parameters"], strict=True):
        parameter.data.copy_(value)
    optimiser.load_state_dict(state["optimiser"])
    best.losses, best.epochs, best.weights = state["best"]
    torch.set_rng_state(state["random"])
    return [losses.numpy() for losses in state["curves"]]


def _counted(first: int, last: int, progress: bool) -> Iterator[int]:
    """Epochs from the first to the last, with or without a bar."""
    from tqdm import tqdm

    return tqdm(range(first, last + 1), disable=not progress, unit="epoch")


def _train_epoch(
    models: _StackedModels,
    steps: Sequence[tuple[torch.Tensor, torch.Tensor]],
    loss: Callable[..., torch.Tensor],
    optimiser: torch.optim.Optimizer,
) -> torch.Tensor:
    """Trains all models for one epoch.

    Returns:
        mean loss of each model, ``(models,)``
    """
    total = torch.zeros(models.n_models)
    for positions, weight in steps:
        target = models.target(positions)  # (models, batch), with windows (models, batch, length)
        tokens = models.project(positions, by="seed")  # (models, batch, ..., tokens, width)
        prediction = run(models.module, tokens, target)  # (models, batch)
        losses = loss(models.truth(target), prediction, weight=weight)  # (models,)
        optimiser.zero_grad()
        # The models share no parameter: the gradient of the sum is that of each loss.
        losses.sum().backward()
        optimiser.step()
        total += losses.detach() / len(steps)
    return total
