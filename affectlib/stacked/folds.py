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
    - Each model keeps its best epoch. One that has stopped, by its patience, leaves the stack; the
      numbers of the others change by rounding at most. Training ends when all models have stopped.
    - All of this happens on one device, the CPU or a graphics card. Results are on the CPU.

It takes the models of ``models.attend_affect``: their first layer is ``project``, one linear layer
per token, and their other layers have twins that take stacked parameters.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from affectlib.corpora.folds import Fold
from affectlib.kept import Kept
from affectlib.progress import progress_bar
from affectlib.stacked.transformer import draw_for_all
from affectlib.stacked.twins import fast
from affectlib.training import (
    History,
    Predictions,
    Samples,
    SequenceModel,
    batches,
    find_device,
    moments,
    run,
)


class FittedWeights(NamedTuple):
    """What a trained model needs to predict: its weights, and how its inputs are scaled.

    ``weights`` are those of the plain model, by name. ``scales`` holds mean and deviation of each
    token, ``(size,)`` each: a model takes ``(x - mean) / deviation``. Where inputs are not
    standardised the mean is 0 and the deviation 1.
    """

    weights: dict[str, torch.Tensor]
    scales: list[tuple[torch.Tensor, torch.Tensor]]


class FoldResult(NamedTuple):
    """One fold under one seed: predictions on its test samples, and the course of its training.

    ``given_past`` are the predictions of a sequence model that is fed with the true values of all
    segments before the one it predicts, as in training. It is None for every other model.
    ``fitted`` is there if :func:`fit_folds` was asked to keep the weights.
    """

    fold: Fold
    seed: int
    predictions: Predictions
    history: History
    given_past: Predictions | None = None
    fitted: FittedWeights | None = None


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
    progress: bool | None = None,
    device: str = "cpu",
    keep_weights: bool = False,
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
        progress: show a bar; None shows one where a notebook is open in JupyterLab
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for a CUDA device where there is one; weights
            and the order of samples are drawn on the CPU, dropout on the device
        keep_weights: give back the weights of each model, see :class:`FittedWeights`

    Returns:
        list of FoldResult, folds of the first seed first; everything in it is on the CPU

    Raises:
        ValueError: if a fold lacks samples that it needs, or a model's validation loss was never a
            number
        DeviceError: if there is no such device

    References:
        attend_affect IV-B for the defaults, IV-C for leave one film out
    """
    place = find_device(device)
    train, validation, test = _positions(folds, protocol)
    with torch.random.fork_rng():
        models = _StackedModels(build, samples, train, seeds, standardise=standardise, device=place)
        optimiser = torch.optim.Adam(
            models.parameters, learning_rate, weight_decay=weight_decay, fused=True
        )
        schedule = _CommonBatches(train, seeds, batch_size)
        kept = Kept(
            ["fit_folds", models.module, models.parameters, samples, loss],
            [train, validation, list(seeds), standardise, str(place)],
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
        fitted = models.fitted(i) if keep_weights else None
        results.append(FoldResult(fold, seed, predictions[i], history, past[i], fitted))
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
    return torch.as_tensor(np.asarray(chosen), dtype=torch.long, device="cpu")


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


def _stack(
    build: Callable[[], nn.Module], seeds: Sequence[int], n_folds: int, device: torch.device
) -> nn.Module:
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
    return stacked.to(device)


class _Groups(NamedTuple):
    """Models that share their samples: those of one seed, or those of one fold.

    Args:
        names: number of the seed or fold of each group; those without a model are left out
        counts: models of each group
        order: of the models, group after group
        back: from this order to that of the models
    """

    names: list[int]
    counts: list[int]
    order: torch.Tensor
    back: torch.Tensor

    @classmethod
    def of(cls, group: torch.Tensor, device: torch.device) -> _Groups:
        """Sorts models by their group, ``(models,)``, which is on the CPU."""
        order = group.argsort(stable=True)
        names, counts = group[order].unique_consecutive(return_counts=True)
        back = order.argsort().to(device)
        return cls(names.tolist(), counts.tolist(), order.to(device), back)


class _StackedModels:
    """All models (seed by seed, and fold by fold within) and the samples that they share.

    Models that have stopped can be dropped: ``active`` are the numbers of those that are left.

    Args:
        build: makes one untrained model
        samples: all samples
        train: positions that each fold trains on
        seeds: seeds of the weights
        standardise: standardise the features by each fold's training samples
        device: where models and samples are held
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        samples: Samples,
        train: Sequence[torch.Tensor],
        seeds: Sequence[int],
        *,
        standardise: bool,
        device: torch.device,
    ):
        self.samples = samples
        self.device = device
        self.n_seeds = len(seeds)
        self.n_folds = len(train)
        self.n_models = self.n_seeds * self.n_folds
        self.module = _stack(build, seeds, self.n_folds, device)
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        # The first layer has its own way (`project`), since models share its input.
        self.linears = list(self.module.project.linears)
        self.names = {parameter: name for name, parameter in self.module.named_parameters()}
        self.module.project = _Projected()
        self.module.train()
        self._set_active(torch.arange(self.n_models, device="cpu"))

        self.targets = samples.target.to(device)
        self.windows = None if samples.windows is None else samples.windows.to(device)
        inputs = list(samples.inputs)
        self.rough_scales = None
        self.scales = None
        if standardise:
            # By all samples first, for the sake of rounding. Each fold's exact standardisation
            # follows in its weights.
            self.rough_scales = [moments(x) for x in inputs]
            for token, (mean, deviation) in enumerate(self.rough_scales):
                inputs[token] = (inputs[token] - mean) / deviation
            rows = [samples.rows(chosen).unique() for chosen in train]
            self.scales = [_scales(x, rows, device) for x in inputs]
        self.inputs = [x.to(device) for x in inputs]

    def _set_active(self, active: torch.Tensor) -> None:
        """Remembers which models are left, ``(models,)``, and which of them share samples."""
        self.active = active
        self.seed_of = (active // self.n_folds).to(self.device)
        self.fold_of = (active % self.n_folds).to(self.device)
        self.groups = {
            "seed": _Groups.of(active // self.n_folds, self.device),
            "fold": _Groups.of(active % self.n_folds, self.device),
        }
        draw_for_all(self.module, self.n_models, active.to(self.device))

    def drop(self, stays: torch.Tensor, optimiser: torch.optim.Optimizer) -> None:
        """Drops the models that have stopped, also from the state of the optimiser.

        Args:
            stays: whether each model that is left stays, on the CPU

        Shape:
            stays ``(active models,)``, bool
        """
        chosen = stays.nonzero().squeeze(1).to(self.device)
        for parameter in self.parameters:
            parameter.data = parameter.data[chosen]
            parameter.grad = None
            moments_of = optimiser.state.get(parameter, {})
            for name in ("exp_avg", "exp_avg_sq"):
                if name in moments_of:
                    moments_of[name] = moments_of[name][chosen]
        self._set_active(self.active[stays])

    def restore(self, weights: Sequence[torch.Tensor]) -> None:
        """Takes all models in again, with these weights for each parameter."""
        for parameter, values in zip(self.parameters, weights, strict=True):
            parameter.data = values
            parameter.grad = None
        self._set_active(torch.arange(self.n_models, device="cpu"))

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
        # (groups, batch) or (groups, batch, length)
        rows = positions if self.windows is None else self.windows[positions]
        tokens = []
        for token in range(len(self.inputs)):
            tokens.append(self._project_token(token, rows, by))
        return torch.stack(tokens, dim=-2)  # (models, batch, ..., tokens, width)

    def _project_token(self, token: int, rows: torch.Tensor, by: str) -> torch.Tensor:
        """Output of the linear layer of one token, ``(models, batch, ..., width)``."""
        weight, bias = self._first_layer(token)
        groups = self.groups[by]
        # Models stand seed by seed: only by fold are they put into another order.
        if by == "fold":
            weight = weight[groups.order]
            bias = bias[groups.order]
        parts = []
        for name, weights, biases in zip(
            groups.names, weight.split(groups.counts), bias.split(groups.counts), strict=True
        ):
            members, width, _ = weights.shape
            x = self.inputs[token][rows[name].flatten()]  # (rows, size)
            # The members of a group share their rows: one matrix product serves them all.
            y = torch.addmm(biases.flatten(), x, weights.flatten(0, 1).T)  # (rows, members * width)
            parts.append(y.unflatten(-1, (members, width)).movedim(1, 0))  # (members, rows, width)
        y = torch.cat(parts)  # (models, rows, width)
        if by == "fold":
            y = y[groups.back]
        return y.unflatten(1, rows.shape[1:])  # (models, batch, ..., width)

    def _first_layer(self, token: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight ``(models, width, size)`` and bias ``(models, width)`` of a token.

        Both contain the standardisation: ``W ((x - mean) / deviation) + b``.
        """
        weight = self.linears[token].weight  # (models, width, size)
        bias = self.linears[token].bias  # (models, width)
        if self.scales is None:
            return weight, bias
        mean, inverse = self.scales[token]  # each (folds, 1, size)
        # One over the deviation goes into the weight, the mean into the bias.
        weight = weight * inverse[self.fold_of]  # (models, width, size)
        shift = (weight * mean[self.fold_of]).sum(-1)  # (models, width)
        return weight, bias - shift

    def fitted(self, model: int) -> FittedWeights:
        """Weights and scales of one model, on the CPU."""
        weights = {}
        for parameter, name in self.names.items():
            weights[name] = parameter.detach()[model].cpu().clone()
        if self.scales is None:
            plain = []
            for x in self.samples.inputs:
                nothing = x.new_zeros(x.shape[-1])
                plain.append((nothing, nothing + 1))
            return FittedWeights(weights, plain)
        scales = []
        for rough, of_folds in zip(self.rough_scales, self.scales, strict=True):
            mean, inverse = [part[model % self.n_folds, 0].cpu() for part in of_folds]
            scales.append((rough[0] + rough[1] * mean, rough[1] / inverse))
        return FittedWeights(weights, scales)

    def target(self, positions: torch.Tensor) -> torch.Tensor:
        """Target of each model.

        Shape:
            positions ``(seeds, batch)``;
            result ``(models, batch)``, with windows ``(models, batch, length)``
        """
        return self.targets[positions[self.seed_of]]

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
                past = self.module.previous(self.targets[positions])  # (folds, batch, length - 1)
                embedding = self.module.embed(tokens, past[self.fold_of])
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
        prediction, embedding = self.evaluate(positions.to(self.device), given_past=given_past)
        prediction = prediction.cpu()
        embedding = embedding.cpu()
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


def _scales(
    x: torch.Tensor, rows: Sequence[torch.Tensor], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean, and one over the deviation, of each fold's rows, both ``(folds, 1, size)``."""
    means = []
    deviations = []
    for chosen in rows:
        mean, deviation = moments(x[chosen])
        means.append(mean)
        deviations.append(deviation)
    mean = torch.stack(means).unsqueeze(1)
    inverse = 1 / torch.stack(deviations).unsqueeze(1)
    return mean.to(device), inverse.to(device)


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
        weights.append((torch.arange(longest, device="cpu") < len(chosen)).float())
    return torch.stack(rows), torch.stack(weights)


class _BestWeights:
    """The best weights of each model, by its validation loss.

    Losses and epochs are on the CPU: they decide what happens next. Weights stay on the device.

    Args:
        parameters: stacked parameters of all models
        n_models: number of models
        patience: epochs without a better loss after which a model stops
    """

    def __init__(self, parameters: Sequence[nn.Parameter], n_models: int, patience: int):
        self.patience = patience
        self.losses = torch.full((n_models,), math.inf, device="cpu")
        self.epochs = torch.zeros(n_models, dtype=torch.long, device="cpu")
        self.weights = [p.detach().clone() for p in parameters]

    def update(self, models: _StackedModels, losses: torch.Tensor, epoch: int) -> None:
        """Keeps the weights of the models that have improved.

        Args:
            models: after this epoch
            losses: of the models that are left, on the CPU
            epoch: number of the epoch
        """
        improved = losses < self.losses[models.active]  # (active models,)
        better = models.active[improved]
        self.losses[better] = losses[improved].to(self.losses.dtype)
        self.epochs[better] = epoch
        chosen = improved.nonzero().squeeze(1).to(models.device)
        places = better.to(models.device)
        for kept, parameter in zip(self.weights, models.parameters, strict=True):
            kept[places] = parameter.detach()[chosen]

    def waits(self, models: _StackedModels, epoch: int) -> torch.Tensor:
        """Whether each model that is left may still improve, ``(active models,)``, bool."""
        return epoch - self.epochs[models.active] < self.patience


def _train(
    models: _StackedModels,
    schedule: _CommonBatches,
    validation: Sequence[torch.Tensor],
    *,
    loss: Callable[..., torch.Tensor],
    optimiser: torch.optim.Optimizer,
    epochs: int,
    patience: int,
    progress: bool | None,
    kept: Kept,
) -> tuple[np.ndarray, list[int]]:
    """Leaves all models with their best weights.

    A training of which a state was kept goes on after the last epoch of that state.

    Returns:
        losses ``(epochs, 2, models)``, training first, nan after a model has stopped; and each
        model's best epoch, 0 for none
    """
    # Validation samples and their truth are the same in every epoch.
    positions, weight = (part.to(models.device) for part in _padded(validation))
    truth = models.truth(models.targets[positions])  # (folds, longest)
    best = _BestWeights(models.parameters, models.n_models, patience)
    curves = []
    state = kept.load()
    if state is not None:
        curves = _resume(state, models, optimiser, best)
    first = len(curves) + 1
    if not len(models.active):
        first = epochs + 1  # it had come to its end
    for epoch in progress_bar(
        range(first, epochs + 1), progress=progress, unit="epoch", leave=False
    ):
        train_loss = _train_epoch(models, schedule.epoch(epoch), loss, optimiser)
        prediction, _ = models.evaluate(positions)  # (active models, longest)
        of_fold = models.fold_of
        validation_loss = loss(truth[of_fold], prediction, weight=weight[of_fold])
        # The one place where an epoch waits for the device.
        losses = torch.stack([train_loss, validation_loss]).cpu()  # (2, active models)
        best.update(models, losses[1], epoch)
        row = losses.new_full((2, models.n_models), math.nan)
        row[:, models.active] = losses
        curves.append(row.numpy())
        stays = best.waits(models, epoch)
        if not stays.all():
            models.drop(stays, optimiser)
        if not len(models.active):
            break
        if kept.is_due():
            kept.save(_state(models, optimiser, best, curves))
    kept.save(_state(models, optimiser, best, curves))
    models.restore(best.weights)
    return np.stack(curves), best.epochs.tolist()


def _state(
    models: _StackedModels,
    optimiser: torch.optim.Optimizer,
    best: _BestWeights,
    curves: Sequence[np.ndarray],
) -> dict[str, object]:
    """Everything that a training needs to go on after this epoch with the same numbers."""
    return {
        "active": models.active,
        "parameters": [parameter.detach() for parameter in models.parameters],
        "optimiser": optimiser.state_dict(),
        "best": [best.losses, best.epochs, best.weights],
        "curves": [torch.from_numpy(losses) for losses in curves],
        "random": _random_state(models.device),
    }


def _resume(
    state: dict,
    models: _StackedModels,
    optimiser: torch.optim.Optimizer,
    best: _BestWeights,
) -> list[np.ndarray]:
    """Puts everything back as it was when a state was kept; returns the losses of its epochs."""
    stays = torch.isin(models.active, state["active"])
    models.drop(stays, optimiser)
    for parameter, value in zip(models.parameters, state["parameters"], strict=True):
        parameter.data.copy_(value)
    optimiser.load_state_dict(state["optimiser"])
    best.losses, best.epochs, weights = state["best"]
    best.weights = [values.to(models.device) for values in weights]
    _set_random_state(state["random"], models.device)
    return [losses.numpy() for losses in state["curves"]]


def _random_state(device: torch.device) -> torch.Tensor:
    """State of the random numbers that dropout draws on a device."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()


def _set_random_state(state: torch.Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def _train_epoch(
    models: _StackedModels,
    steps: Sequence[tuple[torch.Tensor, torch.Tensor]],
    loss: Callable[..., torch.Tensor],
    optimiser: torch.optim.Optimizer,
) -> torch.Tensor:
    """Trains all models that are left for one epoch.

    Returns:
        mean loss of each model, ``(models,)``
    """
    total = torch.zeros(len(models.active), device=models.device)
    for positions, weight in steps:
        positions = positions.to(models.device)
        weight = weight[models.active].to(models.device)
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
