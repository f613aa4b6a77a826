"""A training step of GLA: ``nn.GRU`` on stacked windows, and our twin whose windows share seconds.

The plain model cuts every window out of its stretch and gives all of them to ``nn.GRU``, as one
would write it. Windows of 60 s at 1 Hz overlap by 59 s, so that most of its arithmetic is repeated.
Both get the same weights and batches, forwards and backwards.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from affectlib.models.gla import GLA, SIZES, cross_entropy
from affectlib.stacked import fast
from benchmarks.common import Comparison, Way


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
    "image": Setting((SIZES["image"],), 128, 60, batch=1, run=64),
    "image and audio": Setting((SIZES["image"], SIZES["audio"]), 128, 60, batch=1, run=64),
    "image, audio, face": Setting(tuple(SIZES.values()), 128, 60, batch=1, run=64),
}


def step(model: nn.Module, x: list[torch.Tensor], truth: torch.Tensor) -> torch.Tensor:
    """One training step without the optimiser; gives the predictions."""
    model.zero_grad()
    prediction = model(x)
    cross_entropy(truth, prediction).backward()
    return prediction.detach()


def comparisons() -> Iterator[Comparison]:
    """All settings."""
    for name, setting in SETTINGS.items():
        torch.manual_seed(0)
        plain = GLA(sizes=setting.sizes, hidden=setting.hidden, length=setting.length, dropout=0.0)
        twin = fast(plain)
        seconds = setting.length - 1 + setting.run
        x = [torch.randn(setting.batch, seconds, size) for size in setting.sizes]
        x.append(torch.ones(setting.batch, seconds, 1))
        truth = torch.rand(setting.batch, setting.run, 2)
        yield Comparison(
            f"{name}, {setting.batch * setting.run} windows of {setting.length} s, one step",
            Way("fast(GLA)", partial(step, twin, x, truth)),
            [Way("nn.GRU on stacked windows", partial(step, plain, x, truth))],
            rounds=3,
        )
