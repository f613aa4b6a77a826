"""Leave one film out: ``fit_folds`` against a loop over folds of ``nn.TransformerEncoder``.

The reference is what a user would write: PyTorch's own encoder, fused Adam, batches from memory,
validation after each epoch and a copy of the best weights. Both get the same samples, with the
features of the paper.
"""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import nn

from affectlib.corpora import Fold
from affectlib.models.attend_affect import SIZES, FeatureAAN, mse_pcc_loss
from affectlib.stacked import fit_folds
from affectlib.training import Samples, batches
from benchmarks.common import Comparison, Way

FILMS, SEGMENTS, BATCH, EPOCHS = 12, 60, 30, 3
TIMED_FOLDS = 3  # of the loop over folds; its time is per fold


def corpus(*, segments: int = SEGMENTS) -> tuple[Samples, list[Fold]]:
    """Random features and values, and a fold for each film."""
    n = FILMS * segments
    film = np.repeat(np.arange(FILMS), segments)
    names = tuple(f"{number}:{row:05d}" for row, number in enumerate(film))
    generator = torch.Generator().manual_seed(0)
    features = tuple(torch.randn(n, size, generator=generator) for size in SIZES)
    data = Samples(features, torch.rand(n, generator=generator), names, tuple(film))
    folds = []
    for number in range(FILMS):
        test = film == number
        validation = film == (number + 1) % FILMS
        train = ~test & ~validation
        parts = [np.flatnonzero(part) for part in (train, validation, test)]
        folds.append(Fold(str(number), *parts))
    return data, folds


class UsualModel(nn.Module):
    """A projection per token, PyTorch's encoder and a head: the sizes of FeatureAAN."""

    def __init__(self) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(size, 8) for size in SIZES)
        layer = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.5, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 6)
        self.head = nn.Linear(8, 1)

    def forward(self, tokens: list[torch.Tensor]) -> torch.Tensor:
        projected = [part(x) for part, x in zip(self.projections, tokens, strict=True)]
        x = self.encoder(torch.stack(projected, 1))  # (batch, tokens, 8)
        return self.head(x.mean(1)).squeeze(-1)


def train_one(
    build: Callable[[], nn.Module],
    train: Samples,
    held_out: Samples,
    epochs: int,
    device: str = "cpu",
) -> None:
    """The loop that one writes: batches, validation, a copy of the best weights."""
    model = build().to(device)
    optimiser = torch.optim.Adam(model.parameters(), 5e-4, fused=True)
    tokens = [x.to(device) for x in train.inputs]
    target = train.target.to(device)
    others = [x.to(device) for x in held_out.inputs]
    truth = held_out.target.to(device)
    best = math.inf
    for epoch in range(1, epochs + 1):
        model.train()
        for rows in batches(len(target), BATCH, seed=0, epoch=epoch):
            loss = mse_pcc_loss(target[rows], model([x[rows] for x in tokens]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            value = float(mse_pcc_loss(truth, model(others)))
        if value < best:
            best = value
            copy.deepcopy(model.state_dict())


def usual(data: Samples, folds: list[Fold], device: str = "cpu") -> None:
    """One fold after the other; nothing is left from one to the next."""
    for fold in folds:
        train = data.select(fold.train)
        train_one(UsualModel, train, data.select(fold.validation), EPOCHS, device)


def comparisons() -> Iterator[Comparison]:
    """Twelve folds, with one seed and with three; times are per fold, seed and epoch."""
    data, folds = corpus()
    options = {"loss": mse_pcc_loss, "batch_size": BATCH, "epochs": EPOCHS, "progress": False}
    for seeds in ((0,), (0, 1, 2)):
        run = partial(fit_folds, FeatureAAN, data, folds, seeds=seeds, **options)
        yield Comparison(
            f"{FILMS} films of {SEGMENTS} segments, {len(seeds)} seeds; a fold's epoch",
            Way("fit_folds", run, per=EPOCHS * FILMS * len(seeds)),
            [
                Way(
                    "nn.TransformerEncoder, Adam(fused=True), a loop over folds",
                    partial(usual, data, folds[:TIMED_FOLDS]),
                    per=EPOCHS * TIMED_FOLDS,
                )
            ],
            rounds=3,
        )
