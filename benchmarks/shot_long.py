"""The recurrent networks of shot_long: four ratios, and one progressive training at full scale.

python benchmarks/shot_long.py            the ratios, on a tenth of the films
python benchmarks/shot_long.py --full 5   66 films of the paper's length, 5 epochs of every stage
                                          (1 if no number is given)
"""

import copy
import resource
import sys
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

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
from affectlib.training import History, Samples, batches, fit, predict

LENGTH = 10  # seconds in a clip
BATCH = 64  # clips in a batch
FILM = 1951  # seconds in a film of MediaEval 2018
VALENCE = ("Audio", "Scene", "Expression")


class Ratio(NamedTuple):
    """Seconds of one epoch of the usual way and of ours."""

    subject: str
    other: str
    other_seconds: float
    ours: str
    our_seconds: float


def planted(films: int) -> Samples:
    """Clips with features of the paper's sizes; the first modality shows the truth most clearly."""
    rng = np.random.default_rng(0)
    n = films * FILM
    levels = rng.normal(0, 0.5, n // 20 + 1)  # a new level every 20 seconds
    truth = np.tanh(np.repeat(levels, 20)[:n]).astype(np.float32)
    inputs = []
    for noise, name in enumerate(VALENCE, 1):
        x = rng.standard_normal((n, SIZES[name]), dtype=np.float32)
        x *= noise
        x += truth[:, None] * rng.choice(np.float32([-1, 1]), SIZES[name])
        inputs.append(torch.from_numpy(x))
    ids = tuple(f"film{row // FILM:02d}:{row % FILM:04d}" for row in range(n))
    groups = tuple(name[:6] for name in ids)
    clips, _ = clips_of(Samples(tuple(inputs), torch.from_numpy(truth), ids, groups), LENGTH)
    return clips


def peak_memory() -> float:
    """In GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def epoch(
    loss: Callable[[torch.Tensor], torch.Tensor], parameters: Iterable[nn.Parameter], n: int
) -> float:
    """Seconds of one epoch.

    Args:
        loss: of a batch, given by its positions
        parameters: to train
        n: samples
    """
    optimiser = torch.optim.Adam(parameters)
    begun = time.perf_counter()
    for chosen in batches(n, BATCH, seed=0, epoch=1):
        optimiser.zero_grad()
        loss(chosen).backward()
        optimiser.step()
    return time.perf_counter() - begun


class Cells(nn.Module):
    """The same two-layer bidirectional LSTM, cell by cell."""

    def __init__(self, size: int, hidden: int):
        super().__init__()
        sizes = (size, size, 2 * hidden, 2 * hidden)
        self.cells = nn.ModuleList(nn.LSTMCell(each, hidden) for each in sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = range(x.shape[1])
        for forward, backward in (self.cells[:2], self.cells[2:]):
            there = self.states(forward, x, steps)  # (batch, steps, hidden)
            back = self.states(backward, x, reversed(steps))
            ends = torch.cat([there[:, -1], back[:, 0]], -1)  # (batch, 2 * hidden)
            x = torch.cat([there, back], -1)  # (batch, steps, 2 * hidden)
        return ends

    def states(self, cell: nn.LSTMCell, x: torch.Tensor, steps: Iterable[int]) -> torch.Tensor:
        """Hidden states in the order of time, whatever the order of the steps."""
        state = None
        by_step = {}
        for step in steps:
            state = cell(x[:, step], state)
            by_step[step] = state[0]
        return torch.stack([by_step[step] for step in range(x.shape[1])], 1)


def recurrent_step(data: Samples, model: IntraClip) -> Ratio:
    """nn.LSTM against a loop over cells."""
    scene = data.inputs[1]
    head = nn.Linear(256, 1)

    def seconds_of(network: nn.Module, state: Callable[[torch.Tensor], torch.Tensor]) -> float:
        def loss(chosen):
            prediction = head(state(scene[data.windows[chosen]])).squeeze(-1)
            return mse_loss(prediction, data.target[chosen])

        return epoch(loss, [*network.parameters(), *head.parameters()], len(data))

    cells = Cells(SIZES["Scene"], 128)
    lstm = copy.deepcopy(model.lstms[1])
    by_cell = seconds_of(cells, cells)
    fused = seconds_of(lstm, lambda x: final(lstm, x))
    return Ratio("recurrent step (scene)", "cell by cell", by_cell, "nn.LSTM", fused)


def frozen_sums(data: Samples, model: IntraClip) -> Ratio:
    """The sum of the frozen modalities once, against in each batch."""
    newcomer = copy.deepcopy(model.lstms[2])
    faces = data.inputs[2]
    head = nn.Linear(256, 1)

    def sum_of_frozen(chosen):
        with torch.no_grad():
            audio, scene, _ = data.take(chosen)
            return final(model.lstms[0], audio) + final(model.lstms[1], scene)

    def loss(chosen, frozen):
        fused = frozen + final(newcomer, faces[data.windows[chosen]])
        return mse_loss(head(fused).squeeze(-1), data.target[chosen])

    n = len(data)
    in_batches = epoch(lambda chosen: loss(chosen, sum_of_frozen(chosen)), newcomer.parameters(), n)
    begun = time.perf_counter()
    sums = torch.cat([sum_of_frozen(chosen) for chosen in torch.arange(n).split(512)])
    prepared = time.perf_counter() - begun
    once = epoch(lambda chosen: loss(chosen, sums[chosen]), newcomer.parameters(), n)
    ours = f"once ({prepared:.1f} s)"
    return Ratio("newcomer expression", "earlier ones run in each batch", in_batches, ours, once)


def stage_1(data: Samples, model: IntraClip) -> Ratio:
    """Modalities one after the other, against all of them in each batch."""
    heads = [nn.Linear(256, 1) for _ in VALENCE]
    n = len(data)

    def loss(i, chosen):
        state = final(model.lstms[i], data.inputs[i][data.windows[chosen]])
        return mse_loss(heads[i](state).squeeze(-1), data.target[chosen])

    apart = 0.0
    parameters = []
    for i, (lstm, head) in enumerate(zip(model.lstms, heads, strict=True)):
        of_modality = [*lstm.parameters(), *head.parameters()]
        parameters += of_modality
        apart += epoch(lambda chosen, i=i: loss(i, chosen), of_modality, n)
    together = epoch(lambda chosen: sum(loss(i, chosen) for i in range(3)), parameters, n)
    return Ratio("stage 1", "modalities at once", together, "one after the other", apart)


def gathered_clips(data: Samples, model: IntraClip) -> Ratio:
    """Clips gathered from seconds, against copies of them."""
    n = len(data)
    copies = data.take(torch.arange(n))
    more = sum(x.nbytes for x in copies) / 2**20

    def loss_of_copies(chosen):
        return mse_loss(model([x[chosen] for x in copies]), data.target[chosen])

    def loss_of_gathered(chosen):
        return mse_loss(model(data.take(chosen)), data.target[chosen])

    copied = epoch(loss_of_copies, model.parameters(), n)
    gathered = epoch(loss_of_gathered, model.parameters(), n)
    other = f"clips copied, {more:.0f} MiB more"
    return Ratio("joint training", other, copied, "gathered", gathered)


def ratios(films: int = 6) -> None:
    data = planted(films)
    model = IntraClip()
    print(f"{len(data)} clips of {LENGTH} s, the paper's sizes, one thread; seconds per epoch")
    for compare in (recurrent_step, frozen_sums, stage_1, gathered_clips):
        row = compare(data, model)
        print(
            f"  {row.subject:<24} {row.other:<32} {row.other_seconds:6.1f}   "
            f"{row.ours:<22} {row.our_seconds:6.1f}   "
            f"ratio {row.other_seconds / row.our_seconds:4.2f}"
        )


def full(epochs: int, films: int = 66) -> None:
    begun = time.perf_counter()
    data = planted(films)
    for_training = [i for i, name in enumerate(data.groups) if int(name[4:]) < 54]
    held_out = len(for_training) // 5
    train_rows, validation_rows = for_training[:-held_out], for_training[-held_out:]
    train, validation = data.select(train_rows), data.select(validation_rows)
    print(
        f"{films} films, {films * FILM} s, {len(data)} clips: "
        f"features made in {time.perf_counter() - begun:.0f} s, "
        f"{sum(x.nbytes for x in data.inputs) / 2**30:.1f} GiB, peak {peak_memory():.1f} GiB"
    )
    seconds = []

    def timed_fit(model: nn.Module, train: Samples, validation: Samples) -> History:
        begun = time.perf_counter()
        history = fit(
            model,
            train,
            validation,
            loss=mse_loss,
            epochs=epochs,
            batch_size=BATCH,
            learning_rate=1e-3,
        )
        seconds.append(time.perf_counter() - begun)
        parameters = sum(p.numel() for p in model.parameters())
        print(
            f"  {epochs} epochs, {type(model).__name__:<10} {parameters:>8} parameters "
            f"{seconds[-1]:7.1f} s, "
            f"validation MSE {history.epochs['validation_loss'].min():.4f}, "
            f"peak {peak_memory():.1f} GiB",
            flush=True,
        )
        return history

    torch.manual_seed(0)
    model = IntraClip()
    begun = time.perf_counter()
    alone = fit_alone(model, train, validation, fit=timed_fit)
    steps = progressive_fit(model, train, validation, fit=timed_fit, alone=alone)
    embedding = torch.from_numpy(predict(model, data).embedding)
    timed_fit(
        InterClip(),
        runs_of(train, embedding[train_rows], 4),
        runs_of(validation, embedding[validation_rows], 4),
    )
    order = [VALENCE[i] for i in steps[-2].used]
    print(
        f"order {order}; {epochs} epochs of every stage {sum(seconds):.0f} s, "
        f"with frozen sums and embeddings {time.perf_counter() - begun:.0f} s, "
        f"peak {peak_memory():.1f} GiB"
    )


if __name__ == "__main__":
    if "--full" in sys.argv[1:]:
        full(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    else:
        ratios()
