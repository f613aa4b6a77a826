"""Leave one film out: ``fit_folds`` against a loop over folds of the plain model, at one thread.

The alternative is the model as the Annotated Transformer writes it (separate linears for query, key and
value, norms of elementary operations) with plain Adam, one fold after the other. Both get the same
samples, at the size of COGNIMUSE: 12 films of 360 segments, five tokens, 5,806 features, batches of 30.

    python benchmarks/fit_folds.py
"""

import affectlib  # noqa: F401, I001  one thread, before torch is loaded

import copy
import math
import time
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from affectlib.models.attend_affect import SIZES, FeatureAAN, mse_pcc_loss
from affectlib.stacked import fit_folds
from affectlib.training import Samples, batches

FILMS, SEGMENTS, BATCH = 12, 360, 30


def clones(module, n):
    return nn.ModuleList(copy.deepcopy(module) for _ in range(n))


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return self.a * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + self.b


class HeadedAttention(nn.Module):
    def __init__(self, heads, width, dropout):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.linears, self.dropout = clones(nn.Linear(width, width), 4), nn.Dropout(dropout)

    def forward(self, *inputs):
        n = len(inputs[0])
        q, k, v = (
            layer(x).view(n, -1, self.heads, self.d).transpose(1, 2)
            for layer, x in zip(self.linears[:3], inputs, strict=True)
        )
        weights = self.dropout((q @ k.transpose(-2, -1) / math.sqrt(self.d)).softmax(-1))
        return self.linears[3]((weights @ v).transpose(1, 2).reshape(n, -1, self.heads * self.d))


class Sublayer(nn.Module):
    def __init__(self, width, dropout):
        super().__init__()
        self.norm, self.dropout = Norm(width), nn.Dropout(dropout)

    def forward(self, x, inner):
        return x + self.dropout(inner(self.norm(x)))


class EncoderLayer(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.attention, self.dropout = HeadedAttention(heads, width, dropout), nn.Dropout(dropout)
        self.linear, self.sublayers = nn.Linear(width, width), clones(Sublayer(width, dropout), 2)

    def forward(self, x):
        x = self.sublayers[0](x, lambda y: self.attention(y, y, y))
        return self.sublayers[1](x, lambda y: self.dropout(self.linear(y).relu()))


class Plain(nn.Module):
    def __init__(self, width=8, heads=2, layers=6, dropout=0.1):
        super().__init__()
        self.reduce = nn.ModuleList(nn.Linear(size, width) for size in SIZES)
        self.layers, self.norm = clones(EncoderLayer(width, heads, dropout), layers), Norm(width)
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(width, 1)

    def forward(self, tokens):
        x = torch.cat(
            [layer(x).unsqueeze(1) for layer, x in zip(self.reduce, tokens, strict=True)], 1
        )
        for layer in self.layers:
            x = layer(x)
        return self.linear(self.dropout(self.norm(x).mean(1))).squeeze(-1)


def loop_over_folds(data, folds, epochs):
    """The plain way: one model after the other, with validation and early stopping's copies."""
    for fold in folds:
        model = Plain()
        optimiser = torch.optim.Adam(model.parameters(), 5e-4)
        train, validation = data.select(fold.train), data.select(fold.validation)
        best = math.inf
        for epoch in range(1, epochs + 1):
            model.train()
            for rows in batches(len(train), BATCH, seed=0, epoch=epoch):
                loss = mse_pcc_loss(train.target[rows], model(train.take(rows)))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            model.eval()
            with torch.no_grad():
                value = float(mse_pcc_loss(validation.target, model(validation.inputs)))
            if value < best:
                best, _ = value, copy.deepcopy(model.state_dict())


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    n = FILMS * SEGMENTS
    film = np.repeat(np.arange(FILMS), SEGMENTS)
    data = Samples(
        tuple(torch.randn(n, size) for size in SIZES),
        torch.rand(n),
        tuple(map(str, range(n))),
        tuple(film),
    )
    folds = [
        SimpleNamespace(
            name=str(f),
            test=np.flatnonzero(film == f),
            validation=np.flatnonzero(film == (f + 1) % FILMS),
            train=np.flatnonzero((film != f) & (film != (f + 1) % FILMS)),
        )
        for f in range(FILMS)
    ]
    print(
        f"{FILMS} films of {SEGMENTS} segments, batches of {BATCH}, one thread: seconds per fold and epoch"
    )
    print(f"{'what':44s} {'seconds':>8s} {'ratio':>6s}")
    loop = timed(lambda: loop_over_folds(data, folds[:6], 2)) / 12
    print(f"{'loop over folds, plain model and Adam':44s} {loop:8.4f} {1:6.1f}")
    for seeds in ((0,), (0, 1, 2)):

        def train(epochs, seeds=seeds):
            fit_folds(FeatureAAN, data, folds, seeds=seeds, epochs=epochs, batch_size=BATCH)

        preparation = timed(lambda: train(1))
        stacked = (timed(lambda: train(4)) - preparation) / 3 / FILMS / len(seeds)
        print(
            f"{f'fit_folds, {FILMS} folds x {len(seeds)} seeds':44s} {stacked:8.4f} {loop / stacked:6.1f}"
        )


if __name__ == "__main__":
    main()
