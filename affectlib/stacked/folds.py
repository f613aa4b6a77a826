"""All folds and seeds of a small model at once.

Leave one film out, with seeds and intervals, means dozens of trainings of a model whose every step is
a hundred small operations. Here their parameters are stacked along a leading dimension (``torch.func``),
and each step serves them all:

    - One shuffle per (seed, epoch), common to the folds of a seed, over every sample that some fold
      trains on. A fold gives weight 0 to the samples it holds out, so that its batch is the common one
      without them; the common batch is larger by as much, so that ``batch_size`` samples are left on
      average. With one fold this is exactly ``training.fit``.
    - The first layer, thousands of features wide, is then one matrix product for all folds. Each fold's
      standardisation, fitted on its own training samples, is folded into its weights.
    - One fused Adam over the stacked tensors. Dropout is drawn for each model on its own.
    - Each model keeps its own best epoch, and what comes after its patience changes nothing. Training
      ends when all have stopped.

Models: their first layer is ``project`` (one linear per token) and the others take stacked parameters, as
the layers of ``models.attend_affect`` do.
"""

import copy
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from affectlib.models.attend_affect import mse_pcc_loss
from affectlib.training import History, Predictions, batches, moments, run


class FoldResult(NamedTuple):
    """One fold under one seed: predictions on its test samples, and how training went.

    ``given_past`` are the predictions of a sequence model that is handed the true values of all
    segments before the one it predicts, as in training; None for every other model.
    """

    fold: object
    seed: int
    predictions: Predictions
    history: History
    given_past: Predictions | None = None


def pooled(results, *, given_past=False):
    """Test predictions of all folds together, one row per seed, in the order of the samples within each fold.

    Args:
        results: what :func:`fit_folds` gave
        given_past: those made with the true past instead, of sequence models

    Shape:
        ``prediction`` of the result is ``(seeds, rows)``, ``truth`` ``(rows,)``

    Returns:
        Predictions, without embeddings
    """
    by_seed = {}
    for result in results:
        part = result.given_past if given_past else result.predictions
        by_seed.setdefault(result.seed, []).append(part)
    first = next(iter(by_seed.values()))
    return Predictions(
        tuple(i for part in first for i in part.ids),
        tuple(g for part in first for g in part.groups),
        np.concatenate([part.truth for part in first]),
        np.stack(
            [np.concatenate([part.prediction for part in parts]) for parts in by_seed.values()]
        ),
    )


class _Given(nn.Module):
    """In place of the projection, whose result is handed in."""

    def forward(self, projected):
        return projected


class _Stack:
    """Models (seed by seed, and fold by fold within) with stacked parameters, and the samples they share."""

    def __init__(self, build, samples, trained, seeds, standardise):
        self.samples, self.seeds, self.folds = samples, len(seeds), len(trained)
        models = []
        for seed in seeds:
            torch.manual_seed(seed)
            model = build()
            models += [model] + [copy.deepcopy(model) for _ in trained[1:]]
        parameters, _ = torch.func.stack_module_state(models)
        self.model = copy.deepcopy(models[0])
        for name, parameter in self.model.named_parameters():
            parameter.data = parameters[name].data
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.linears = list(self.model.project.linears)
        self.model.project = _Given()
        self.model.train()
        # Roughly scaled once by all samples, for the sake of rounding; then exactly, fold by fold, in the weights.
        rough = [moments(x) if standardise else (0.0, 1.0) for x in samples.inputs]
        self.inputs = [
            (x - mean) / deviation
            for x, (mean, deviation) in zip(samples.inputs, rough, strict=True)
        ]
        rows = [samples.rows(chosen).unique() for chosen in trained]
        self.scales = []
        for x in self.inputs if standardise else ():
            mean, deviation = map(
                torch.stack, zip(*(moments(x[r]) for r in rows), strict=True)
            )  # (folds, size)
            self.scales.append((mean.unsqueeze(1), 1 / deviation.unsqueeze(1)))

    def target(self, chosen):
        return self.samples.target[chosen]

    def truth(self, target):
        return target if self.samples.windows is None else target[..., -1]

    def project(self, chosen, by):
        """First layer of all models.

        Shape:
            chosen ``(seeds, batch)`` for ``by="seed"``: the folds of a seed share their samples;
            ``(folds, batch)`` for ``by="fold"``; result ``(models, batch, ..., tokens, width)``
        """
        rows = self.samples.rows(chosen)  # (groups, batch) or (groups, batch, length)
        S, F = self.seeds, self.folds
        projected = []
        for i, (x, layer) in enumerate(zip(self.inputs, self.linears, strict=True)):
            weight, bias = (
                layer.weight.unflatten(0, (S, F)),
                layer.bias.unflatten(0, (S, F)),
            )  # (S, F, width, size)
            if self.scales:
                mean, inverse = self.scales[i]  # (F, 1, size)
                weight = weight * inverse
                bias = bias - (weight * mean).sum(-1)
            if by == "fold":
                weight, bias = weight.transpose(0, 1), bias.transpose(0, 1)
            groups, members, width, size = weight.shape
            picked = x[rows.flatten(1)]  # (groups, rows, size)
            weight = weight.reshape(groups, members * width, size).mT
            y = torch.baddbmm(bias.reshape(groups, 1, members * width), picked, weight)
            y = y.unflatten(-1, (members, width)).movedim(-2, 1)  # (groups, members, rows, width)
            y = y if by == "seed" else y.transpose(0, 1)
            projected.append(y.reshape(S * F, *rows.shape[1:], width))
        return torch.stack(projected, -2)

    def evaluate(self, chosen, *, given_past=False):
        """Predictions and embeddings, each fold's on its own samples.

        Args:
            chosen: one tensor of positions per fold
            given_past: hand a sequence model the true values before the last, instead of its own outputs

        Returns:
            positions and weights ``(models, batch)``, padded with weight 0, predictions, embeddings
        """
        longest = max(map(len, chosen))
        padded = torch.stack(
            [torch.nn.functional.pad(c, (0, longest - len(c)), value=int(c[0])) for c in chosen]
        )
        weight = torch.stack([(torch.arange(longest) < len(c)).float() for c in chosen])
        self.model.eval()
        with torch.no_grad():
            tokens = self.project(padded, "fold")
            if given_past:
                previous = self.target(padded)[..., :-1].repeat(
                    self.seeds, 1, 1
                )  # (models, batch, length - 1)
                embedding = self.model.embed(tokens, previous)
            else:
                embedding = self.model.embed(tokens)
            said = self.model.head(embedding).squeeze(-1)
        self.model.train()
        if getattr(self.model, "teacher_forced", False):
            said, embedding = said[..., -1], embedding[..., -1, :]
        return padded.repeat(self.seeds, 1), weight.repeat(self.seeds, 1), said, embedding


def fit_folds(
    build,
    samples,
    folds,
    *,
    seeds=(0,),
    epochs=500,
    batch_size=30,
    learning_rate=5e-4,
    patience=30,
    weight_decay=0.0,
    loss=mse_pcc_loss,
    protocol="clean",
    standardise=True,
    progress=False,
):
    """Trains a model once per fold and seed, all at the same time, and predicts each fold's test samples.

    Args:
        build: makes the untrained model; called once per seed, after that seed is set
        samples: all samples, in the order that the folds' positions mean
        folds: positions to train on, to validate by and to test on
        seeds: of the weights and the order of samples, one each. Dropout is drawn once for all models, under the
            first seed: the list of seeds is one unit, and a seed alone gives other numbers than among others
        epochs: at most so many
        batch_size: samples in a batch, on average over folds
        learning_rate: of Adam
        patience: epochs without a better validation loss after which a model stops
        weight_decay: of Adam
        loss: of truth and prediction ``(models, batch)`` and ``weight``, one value per model
        protocol: ``"clean"``: the epoch is chosen by each fold's ``validation`` samples. ``"paper"``: by its ``test``
            samples, as the authors' earlier code does, so that the ``validation`` samples train as well
        standardise: features, by the fold's training samples
        progress: show a bar

    Returns:
        list of FoldResult, folds of the first seed first

    Raises:
        ValueError: if a fold lacks samples it needs, or a model's validation loss was never a number

    References:
        attend_affect IV-B for the defaults, IV-C for leave one film out
    """
    if protocol not in ("clean", "paper"):
        raise ValueError(f"protocol is {protocol!r}, expected 'clean' or 'paper'")
    part = {"clean": "validation", "paper": "test"}[protocol]
    positions = {
        name: [torch.as_tensor(np.asarray(getattr(fold, name)), dtype=torch.long) for fold in folds]
        for name in ("train", "validation", "test")
    }
    for name in ("train", part, "test"):
        for fold, chosen in zip(folds, positions[name], strict=True):
            if not len(chosen):
                raise ValueError(f"fold {fold.name}: no sample under {name}")
    if protocol == "paper":
        pairs = zip(positions["train"], positions["validation"], strict=True)
        positions["train"] = [torch.cat(pair).unique() for pair in pairs]
    with torch.random.fork_rng():
        stack = _Stack(build, samples, positions["train"], seeds, standardise)
        torch.manual_seed(seeds[0])
        curves, best_epochs = _train(
            stack,
            positions["train"],
            positions[part],
            seeds,
            epochs,
            batch_size,
            learning_rate,
            patience,
            weight_decay,
            loss,
            progress,
        )
    _, _, said, embedding = stack.evaluate(positions["test"])
    told = None
    if getattr(stack.model, "teacher_forced", False):
        _, _, told, _ = stack.evaluate(positions["test"], given_past=True)
    results = []
    for i, (seed, fold) in enumerate((seed, fold) for seed in seeds for fold in folds):
        if not best_epochs[i]:
            raise ValueError(
                f"fold {fold.name}, seed {seed}: the validation loss was never a number"
            )
        tested = positions["test"][i % len(folds)]
        known = Predictions(
            tuple(samples.ids[j] for j in tested),
            tuple(samples.groups[j] for j in tested),
            stack.truth(stack.target(tested)).numpy(),
            said[i, : len(tested)].numpy(),
            embedding[i, : len(tested)].numpy(),
        )
        ran = min(len(curves), best_epochs[i] + patience)
        table = pd.DataFrame(
            {
                "epoch": np.arange(1, ran + 1),
                "train_loss": curves[:ran, 0, i],
                "validation_loss": curves[:ran, 1, i],
            }
        )
        given = None
        if told is not None:
            given = replace(known, prediction=told[i, : len(tested)].numpy(), embedding=None)
        results.append(FoldResult(fold, seed, known, History(table, best_epochs[i]), given))
    return results


def _train(
    stack,
    trained,
    validated,
    seeds,
    epochs,
    batch_size,
    learning_rate,
    patience,
    weight_decay,
    loss,
    progress,
):
    """Leaves a stack with each model's best weights.

    Returns:
        losses ``(epochs, 2, models)``, for training and validation, and each model's best epoch, 0 for none
    """
    from tqdm import tqdm

    seen = torch.cat(trained).unique()
    mask = torch.stack([torch.isin(seen, chosen).float() for chosen in trained])  # (folds, seen)
    common = max(1, round(batch_size * len(seen) / float(mask.sum(1).mean())))
    optimiser = torch.optim.Adam(
        stack.parameters, learning_rate, weight_decay=weight_decay, fused=True
    )
    models = len(seeds) * len(trained)
    best, best_epoch = torch.full((models,), math.inf), torch.zeros(models, dtype=torch.long)
    kept, curves = [p.detach().clone() for p in stack.parameters], []
    for epoch in tqdm(range(1, epochs + 1), disable=not progress, unit="epoch"):
        total = torch.zeros(models)
        orders = [batches(len(seen), common, seed=seed, epoch=epoch) for seed in seeds]
        for place in map(torch.stack, zip(*orders, strict=True)):  # (seeds, batch)
            weight = mask[:, place].transpose(0, 1).flatten(0, 1)  # (models, batch)
            target = stack.target(
                seen[place].unsqueeze(1).expand(-1, stack.folds, -1).flatten(0, 1)
            )
            said = run(stack.model, stack.project(seen[place], "seed"), target)  # (models, batch)
            losses = loss(stack.truth(target), said, weight=weight)  # (models,)
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
            total += losses.detach() / len(orders[0])
        chosen, weight, said, _ = stack.evaluate(validated)
        value = loss(stack.truth(stack.target(chosen)), said, weight=weight)
        curves.append(torch.stack([total, value]).numpy())
        improved = (value < best) & (epoch - best_epoch <= patience)
        best, best_epoch = (
            torch.where(improved, value, best),
            torch.where(improved, epoch, best_epoch),
        )
        for old, new in zip(kept, stack.parameters, strict=True):
            old.copy_(torch.where(improved.view(-1, *[1] * (new.dim() - 1)), new.detach(), old))
        if (epoch - best_epoch >= patience).all():
            break
    for parameter, weights in zip(stack.parameters, kept, strict=True):
        parameter.data = weights
    return np.stack(curves), best_epoch.tolist()
