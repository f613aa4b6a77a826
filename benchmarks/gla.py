"""A training step of GLA: the plain model, and its fast twin whose windows share their seconds.

The plain model cuts every window out of its stretch and gives it to ``nn.GRU``. Windows of 60 s at
1 Hz overlap by 59 s, so that most of its arithmetic is repeated. Both get the same weights and
batches, forwards and backwards, at one thread.

    python benchmarks/gla.py
"""

import time
from typing import NamedTuple

import torch
from torch import nn

from affectlib.models.gla import GLA, SIZES, cross_entropy
from affectlib.stacked import fast

TIMES = 3


class Setting(NamedTuple):
    """Sizes of a model and of its batches; ``batch`` stretches of ``run`` windows."""

    sizes: tuple[int, ...]
    hidden: int
    length: int
    batch: int
    run: int


SETTINGS = {
    # The descriptors and sizes of the notebook's demonstration.
    "demonstration": Setting((76, 162, 561), hidden=32, length=30, batch=10, run=10),
    "image and audio": Setting((SIZES["image"], SIZES["audio"]), 128, 60, batch=2, run=64),
    "image, audio, face": Setting(tuple(SIZES.values()), 128, 60, batch=2, run=64),
    "image and audio, run 16": Setting((SIZES["image"], SIZES["audio"]), 128, 60, batch=8, run=16),
}


def step(model: nn.Module, x: list[torch.Tensor], truth: torch.Tensor) -> torch.Tensor:
    """One training step without the optimiser; gives the predictions."""
    model.zero_grad()
    prediction = model(x)
    cross_entropy(truth, prediction).backward()
    return prediction.detach()


def fastest(model: nn.Module, x: list[torch.Tensor], truth: torch.Tensor) -> float:
    """Duration of the fastest of a few steps, in seconds."""
    durations = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        step(model, x, truth)
        durations.append(time.perf_counter() - begun)
    return min(durations)


def main() -> None:
    torch.set_num_threads(1)
    print("one thread, seconds per training step")
    columns = ("setting", "windows", "plain", "fast", "ratio", "difference")
    print("{:<24} {:>8} {:>8} {:>8} {:>6} {:>11}".format(*columns))
    for name, setting in SETTINGS.items():
        torch.manual_seed(0)
        plain = GLA(sizes=setting.sizes, hidden=setting.hidden, length=setting.length, dropout=0.0)
        twin = fast(plain)
        seconds = setting.length - 1 + setting.run
        x = [torch.randn(setting.batch, seconds, size) for size in setting.sizes]
        x.append(torch.ones(setting.batch, seconds, 1))
        truth = torch.rand(setting.batch, setting.run, 2)
        difference = (step(plain, x, truth) - step(twin, x, truth)).abs().max()
        slow = fastest(plain, x, truth)
        quick = fastest(twin, x, truth)
        windows = setting.batch * setting.run
        print(
            f"{name:<24} {windows:>8} {slow:8.3f} {quick:8.3f} {slow / quick:6.1f} "
            f"{float(difference):11.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
