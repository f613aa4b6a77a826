"""The recurrent nets of shot_long: four ratios, and one progressive training at the paper's scale.

python benchmarks/shot_long.py            the ratios, on a tenth of the films
python benchmarks/shot_long.py --full 5   66 films of the paper's length, 5 epochs of every stage (1 if not given)
"""

import affectlib  # noqa: F401, I001  one thread, before torch is loaded

import copy
import functools
import resource
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from affectlib.models.shot_long import (
    SIZES,
    InterClip,
    IntraClip,
    clips_of,
    final,
    fit_alone,
    progressive_fit,
    runs_of,
)
from affectlib.training import Samples, batches, fit, predict

LENGTH, BATCH, FILM = (
    10,
    64,
    1951,
)  # seconds in a clip, clips in a batch, seconds in a film of MediaEval 2018
VALENCE = ("Audio", "Scene", "Expression")


def planted(films, names=VALENCE):
    """Features of the paper's sizes in which the first modality shows most, as clips."""
    rng, n = np.random.default_rng(0), films * FILM
    truth = np.tanh(np.repeat(rng.normal(0, 0.5, n // 20 + 1), 20)[:n]).astype(np.float32)
    inputs = []
    for noise, name in enumerate(names, 1):
        x = rng.standard_normal((n, SIZES[name]), dtype=np.float32)
        x *= noise
        x += truth[:, None] * rng.choice(np.float32([-1, 1]), SIZES[name])
        inputs.append(torch.from_numpy(x))
    ids = tuple(f"film{row // FILM:02d}:{row % FILM:04d}" for row in range(n))
    return clips_of(
        Samples(tuple(inputs), torch.from_numpy(truth), ids, tuple(name[:6] for name in ids)),
        LENGTH,
    )[0]


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def epoch(step, parameters, n):
    """Seconds of one epoch of ``step(chosen)``, which gives the loss."""
    optimiser, clock = torch.optim.Adam(parameters), time.perf_counter()
    for chosen in batches(n, BATCH, seed=0, epoch=1):
        optimiser.zero_grad()
        step(chosen).backward()
        optimiser.step()
    return time.perf_counter() - clock


class Cells(nn.Module):
    """The same two-layer bidirectional LSTM, cell by cell."""

    def __init__(self, size, hidden):
        super().__init__()
        self.cells = nn.ModuleList(
            nn.LSTMCell(n, hidden) for n in (size, size, 2 * hidden, 2 * hidden)
        )

    def forward(self, x):
        for there, back in (self.cells[:2], self.cells[2:]):
            outputs = []
            for cell, steps in ((there, range(x.shape[1])), (back, range(x.shape[1] - 1, -1, -1))):
                state, own = None, {}
                for t in steps:
                    state = cell(x[:, t], state)
                    own[t] = state[0]
                outputs.append(torch.stack([own[t] for t in range(x.shape[1])], 1))
            ends, x = torch.cat([outputs[0][:, -1], outputs[1][:, 0]], -1), torch.cat(outputs, -1)
        return ends


def ratios(films=6):
    data = planted(films)
    n, target = len(data), data.target
    model = IntraClip()
    print(f"{n} clips of {LENGTH} s, the paper's sizes, one thread; seconds per epoch")
    rows, scene = [], data.inputs[1]

    cells, head = Cells(512, 128), nn.Linear(256, 1)
    loop = epoch(
        lambda c: mse_loss(head(cells(scene[data.windows[c]])).squeeze(-1), target[c]),
        [*cells.parameters(), *head.parameters()],
        n,
    )
    lstm = copy.deepcopy(model.lstms[1])
    fused = epoch(
        lambda c: mse_loss(head(final(lstm, scene[data.windows[c]])).squeeze(-1), target[c]),
        [*lstm.parameters(), *head.parameters()],
        n,
    )
    rows.append(("recurrent step (scene)", "cell by cell", loop, "nn.LSTM", fused))

    def everything(c):
        with torch.no_grad():
            before = sum(
                final(m, x) for m, x in zip(model.lstms[:2], data.take(c)[:2], strict=True)
            )
        return mse_loss(
            head(before + final(newcomer, data.inputs[2][data.windows[c]])).squeeze(-1), target[c]
        )

    newcomer = copy.deepcopy(model.lstms[2])
    live = epoch(everything, newcomer.parameters(), n)
    clock = time.perf_counter()
    with torch.no_grad():
        sums = torch.cat(
            [
                sum(final(m, x) for m, x in zip(model.lstms[:2], data.take(c)[:2], strict=True))
                for c in torch.arange(n).split(512)
            ]
        )
    prepared = time.perf_counter() - clock
    faces = data.inputs[2]
    once = epoch(
        lambda c: mse_loss(
            head(sums[c] + final(newcomer, faces[data.windows[c]])).squeeze(-1), target[c]
        ),
        newcomer.parameters(),
        n,
    )
    rows.append(
        (
            "newcomer expression",
            "earlier ones run in each batch",
            live,
            f"once ({prepared:.1f} s)",
            once,
        )
    )

    heads = [nn.Linear(256, 1) for _ in VALENCE]

    def alone(i, c):
        return mse_loss(
            heads[i](final(model.lstms[i], data.inputs[i][data.windows[c]])).squeeze(-1), target[c]
        )

    parameters = [
        [*lstm.parameters(), *h.parameters()] for lstm, h in zip(model.lstms, heads, strict=True)
    ]
    apart = sum(epoch(functools.partial(alone, i), own, n) for i, own in enumerate(parameters))
    together = epoch(
        lambda c: sum(alone(i, c) for i in range(3)), [p for own in parameters for p in own], n
    )
    rows.append(("stage 1", "modalities at once", together, "one after the other", apart))

    copied = data.take(torch.arange(n))
    given = epoch(
        lambda c: mse_loss(model([x[c] for x in copied]), target[c]), model.parameters(), n
    )
    gathered = epoch(lambda c: mse_loss(model(data.take(c)), target[c]), model.parameters(), n)
    more = sum(x.nbytes for x in copied) / 2**20
    rows.append(
        ("joint training", f"clips copied, {more:.0f} MiB more", given, "gathered", gathered)
    )
    for what, other, a, ours, b in rows:
        print(f"  {what:<24} {other:<32} {a:6.1f}   {ours:<22} {b:6.1f}   ratio {a / b:4.2f}")


def full(epochs, films=66):
    clock = time.perf_counter()
    data = planted(films)
    dev = [i for i, name in enumerate(data.groups) if int(name[4:]) < 54]
    train, validation = data.select(dev[: -len(dev) // 5]), data.select(dev[-len(dev) // 5 :])
    print(
        f"{films} films, {films * FILM} s, {len(data)} clips: features made in {time.perf_counter() - clock:.0f} s, "
        f"{sum(x.nbytes for x in data.inputs) / 2**30:.1f} GiB, peak {memory():.1f} GiB"
    )
    total = 0.0

    def timed(model, *parts):
        nonlocal total
        clock = time.perf_counter()
        history = fit(
            model, *parts, loss=mse_loss, epochs=epochs, batch_size=BATCH, learning_rate=1e-3
        )
        spent = time.perf_counter() - clock
        total += spent
        wide = sum(p.numel() for p in model.parameters())
        print(
            f"  {epochs} epochs, {type(model).__name__:<10} {wide:>8} parameters {spent:7.1f} s, "
            f"validation MSE {history.epochs['validation_loss'].min():.4f}, peak {memory():.1f} GiB",
            flush=True,
        )
        return history

    torch.manual_seed(0)
    model = IntraClip()
    clock = time.perf_counter()
    alone = fit_alone(model, train, validation, fit=timed)
    steps = progressive_fit(model, train, validation, fit=timed, alone=alone)
    said = predict(model, data)
    runs = [
        runs_of(part, torch.from_numpy(said.embedding[chosen]), 4)
        for part, chosen in ((train, dev[: -len(dev) // 5]), (validation, dev[-len(dev) // 5 :]))
    ]
    timed(InterClip(), *runs)
    whole = time.perf_counter() - clock
    print(
        f"order {[VALENCE[i] for i in steps[-2].used]}; {epochs} epochs of every stage {total:.0f} s, with frozen "
        f"sums and embeddings {whole:.0f} s, peak {memory():.1f} GiB"
    )


if __name__ == "__main__":
    if "--full" in sys.argv[1:]:
        full(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    else:
        ratios()
