"""Our dropout, 16 random bits per value, against ``nn.Dropout``."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from affectlib.stacked.transformer import Dropout
from benchmarks.common import Comparison, Way


def comparisons() -> Iterator[Comparison]:
    """Activations of twelve and 36 stacked models, and of one model alone."""
    for shape in ((12, 30, 5, 32), (36, 30, 5, 32), (36, 2, 30, 5, 5), (30, 5, 8)):
        x = torch.randn(shape)
        yield Comparison(
            f"values of shape {' x '.join(map(str, shape))}",
            Way("stacked Dropout", partial(Dropout(0.5), x)),
            [Way("nn.Dropout", partial(nn.Dropout(0.5), x))],
        )
