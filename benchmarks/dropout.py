"""Our dropout, 16 random bits per value, against ``nn.Dropout``: forwards and backwards."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from affectlib.stacked.transformer import Dropout
from benchmarks.common import Comparison, Way


def step(dropout: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Both directions, as in training."""
    return torch.autograd.grad(dropout(x), x, gradient)[0]


def comparisons() -> Iterator[Comparison]:
    """Activations of twelve and 36 stacked models, and of one model alone."""
    for shape in ((12, 30, 5, 32), (36, 30, 5, 32), (36, 2, 30, 5, 5), (30, 5, 8)):
        x = torch.randn(shape, requires_grad=True)
        gradient = torch.randn(shape)
        yield Comparison(
            f"values of shape {' x '.join(map(str, shape))}",
            Way("stacked Dropout", partial(step, Dropout(0.5), x, gradient)),
            [Way("nn.Dropout", partial(step, nn.Dropout(0.5), x, gradient))],
        )
