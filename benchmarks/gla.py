"""Windows per second in training: neighbouring windows that share their projection, against ``nn.GRU`` on each.

Windows of 60 s at 1 Hz overlap by 59. The alternative slices every window out of its film, stacks them and gives them
to ``nn.GRU``. Both get the same windows and weights, forwards and backwards, at one thread.

    python benchmarks/gla.py
"""

import affectlib  # noqa: F401, I001  one thread, before torch is loaded

import time
from functools import partial

import torch
from torch import nn

from affectlib.models.gla import GLA, SIZES, last_states

LENGTH, BATCH, HIDDEN, FILM, TIMES = (
    60,
    512,
    128,
    1951,
    3,
)  # FILM: seconds in a film of MediaEval 2018


def best(function):
    """Seconds of the fastest of a few calls, and what it gave."""
    taken = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        result = function()
        taken.append(time.perf_counter() - begun)
    return min(taken), result


def main():
    torch.set_num_threads(1)
    print(
        f"{BATCH} windows of {LENGTH} s, {HIDDEN} units, forwards and backwards, one thread: windows per second"
    )
    print(
        f"{'features':<26} {'windows in a stretch':>20} {'nn.GRU':>8} {'shared':>8} {'ratio':>6} {'difference':>11}"
    )
    for names in (("image",), ("image", "audio"), ("image", "audio", "face")):
        torch.manual_seed(0)
        rnns = GLA(sizes=[SIZES[name] for name in names], hidden=HIDDEN).recurrent
        films = [torch.randn(FILM, SIZES[name]) for name in names]
        rows = {
            run: torch.randint(0, FILM - LENGTH - run, (BATCH // run, 1))
            + torch.arange(LENGTH - 1 + run)
            for run in (16, 64, 128)
        }
        for run, own in rows.items():
            loop, a = best(partial(item_by_item, rnns, films, own, run))
            shared, b = best(partial(together, rnns, films, own))
            print(
                f"{' + '.join(names):<26} {run:>20} {BATCH / loop:8.0f} {BATCH / shared:8.0f} {loop / shared:6.1f} "
                f"{float((a - b).abs().max()):11.1e}",
                flush=True,
            )


def item_by_item(rnns, films, rows, run):
    """Each window sliced and stacked."""
    begins = [int(first) + j for first in rows[:, 0] for j in range(run)]
    states = [
        rnn(torch.stack([film[begin : begin + LENGTH] for begin in begins]))[1][0]
        for rnn, film in zip(rnns, films, strict=True)
    ]
    return stepped(rnns, torch.cat(states, -1))


def together(rnns, films, rows):
    """Each second projected once per stretch."""
    present = torch.ones(*rows.shape, 1)
    states = last_states(rnns, [film[rows] for film in films], present, LENGTH)
    return stepped(rnns, torch.cat(tuple(states), -1).flatten(0, 1))


def stepped(rnns: nn.ModuleList, states):
    """Goes backwards."""
    rnns.zero_grad()
    states.square().mean().backward()
    return states.detach()


if __name__ == "__main__":
    main()
