"""One training by ``fit`` against the bare loop that a user would write for the same model."""

from collections.abc import Iterator
from functools import partial

import torch

from affectlib.models.attend_affect import FeatureAAN, mse_pcc_loss
from affectlib.training import Samples, fit
from benchmarks.common import Comparison, Way
from benchmarks.fit_folds import BATCH, corpus, train_one

EPOCHS = 10


def with_fit(train: Samples, held_out: Samples, device: str = "cpu") -> None:
    """The library's training."""
    torch.manual_seed(0)
    options = {"loss": mse_pcc_loss, "epochs": EPOCHS, "batch_size": BATCH, "progress": False}
    fit(FeatureAAN(), train, held_out, device=device, **options)


def comparisons() -> Iterator[Comparison]:
    """Ten films train, one validates; the loop validates and keeps the best weights as well."""
    data, folds = corpus(segments=24)
    train, held_out = data.select(folds[0].train), data.select(folds[0].validation)
    yield Comparison(
        f"FeatureAAN, {len(train)} samples, {EPOCHS} epochs",
        Way("fit", partial(with_fit, train, held_out)),
        [
            Way(
                "a bare loop, Adam(fused=True)",
                partial(train_one, FeatureAAN, train, held_out, EPOCHS),
            )
        ],
    )
