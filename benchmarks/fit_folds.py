"""Leave one film out: ``fit_folds`` against a loop over folds of the plain model, at one thread.

Both get the same samples, at the size of COGNIMUSE: 12 films of 360 segments, five tokens, 5,806
features, batches of 30. The last rows train one fold with Adam: the plain model, and its fast twin.

    python benchmarks/fit_folds.py
"""

import copy
import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from affectlib.corpora import Fold
from affectlib.models.attend_affect import SIZES, FeatureAAN, TemporalAAN, mse_pcc_loss
from affectlib.stacked import fast, fit_folds
from affectlib.training import Samples, batches, run, sequences

FILMS, SEGMENTS, BATCH = 12, 360, 30


def corpus() -> tuple[Samples, list[Fold]]:
    """Random features and values, and a fold for each film."""
    n = FILMS * SEGMENTS
    film = np.repeat(np.arange(FILMS), SEGMENTS)
    names = tuple(f"{number}:{row:05d}" for row, number in enumerate(film))
    features = tuple(torch.randn(n, size) for size in SIZES)
    data = Samples(features, torch.rand(n), names, tuple(film))
    folds = []
    for number in range(FILMS):
        test = film == number
        validation = film == (number + 1) % FILMS
        train = ~test & ~validation
        parts = [np.flatnonzero(part) for part in (train, validation, test)]
        folds.append(Fold(str(number), *parts))
    return data, folds


def train_one(model: nn.Module, data: Samples, fold: Fold, epochs: int) -> None:
    """The plain loop over batches, with validation and early stopping's copies."""
    optimiser = torch.optim.Adam(model.parameters(), 5e-4)
    train = data.select(fold.train)
    validation = data.select(fold.validation)
    held_out = validation.take(range(len(validation)))
    best = math.inf
    for epoch in range(1, epochs + 1):
        model.train()
        for rows in batches(len(train), BATCH, seed=0, epoch=epoch):
            target = train.target[rows]
            prediction = run(model, train.take(rows), target)
            loss = mse_pcc_loss(last(target), prediction)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            prediction = run(model, held_out)
            value = float(mse_pcc_loss(last(validation.target), prediction))
        if value < best:
            best = value
            copy.deepcopy(model.state_dict())


def last(target: torch.Tensor) -> torch.Tensor:
    """The value that a sequence is to predict."""
    return target[:, -1] if target.dim() > 1 else target


def timed(function: Callable[[], object]) -> float:
    """Duration of a call, in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def row(name: str, seconds: float, alternative: float) -> None:
    """Prints a duration, and how many times as long the alternative takes."""
    print(f"{name:44s} {seconds:8.4f} {alternative / seconds:6.1f}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, folds = corpus()
    print(f"{FILMS} films of {SEGMENTS} segments, batches of {BATCH}, one thread")
    print(f"{'seconds per fold and epoch':44s} {'seconds':>8s} {'ratio':>6s}")

    loop = timed(lambda: [train_one(FeatureAAN(), data, fold, 2) for fold in folds[:6]]) / 12
    row("loop over folds, plain model and Adam", loop, loop)
    for seeds in ((0,), (0, 1, 2)):
        train = partial(
            fit_folds, FeatureAAN, data, folds, loss=mse_pcc_loss, seeds=seeds, batch_size=BATCH
        )
        preparation = timed(partial(train, epochs=1))
        epochs = timed(partial(train, epochs=4)) - preparation
        seconds = epochs / 3 / FILMS / len(seeds)
        row(f"fit_folds, {FILMS} folds x {len(seeds)} seeds", seconds, loop)

    for model, samples in ((FeatureAAN(), data), (TemporalAAN(), sequences(data, 5))):
        name = type(model).__name__
        plain = timed(lambda model=model, samples=samples: train_one(model, samples, folds[0], 1))
        twin = fast(model)
        quick = timed(lambda twin=twin, samples=samples: train_one(twin, samples, folds[0], 1))
        row(f"{name}, plain", plain, plain)
        row(f"{name}, fast twin", quick, plain)


if __name__ == "__main__":
    main()
