"""``fit_folds`` and ``fit`` on a graphics card; ``networks.py`` has the networks and their limit.

Without a card there is no row, and the list of the machine says so. Times are on the wall: the
processor waits for the card.
"""

from collections.abc import Iterator
from functools import partial

import torch

from affectlib.models.attend_affect import FeatureAAN, mse_pcc_loss
from affectlib.stacked import fit_folds
from benchmarks import fit, networks
from benchmarks.common import Comparison, Way
from benchmarks.fit_folds import BATCH, EPOCHS, FILMS, TIMED_FOLDS, corpus, train_one, usual


def comparisons() -> Iterator[Comparison]:
    """Nothing where there is no card."""
    if torch.cuda.is_available():
        yield from trainings()


def trainings() -> Iterator[Comparison]:
    """The card against the usual loop on the card, and against the processor."""
    data, folds = corpus()
    options = {"loss": mse_pcc_loss, "batch_size": BATCH, "epochs": EPOCHS, "progress": False}
    run = partial(fit_folds, FeatureAAN, data, folds, **options)
    yield Comparison(
        f"fit_folds on the card, {FILMS} folds; a fold's epoch",
        Way("fit_folds", partial(run, device="cuda"), per=EPOCHS * FILMS),
        [
            Way(
                "nn.TransformerEncoder on the card, Adam(fused=True), a loop over folds",
                partial(usual, data, folds[:TIMED_FOLDS], "cuda"),
                per=EPOCHS * TIMED_FOLDS,
            ),
            Way("fit_folds on the processor", run, per=EPOCHS * FILMS),
        ],
        rounds=3,
        clock=networks.wall_seconds,
    )
    train, held_out = data.select(folds[0].train), data.select(folds[0].validation)
    bare = partial(train_one, FeatureAAN, train, held_out, fit.EPOCHS, "cuda")
    yield Comparison(
        f"fit on the card, FeatureAAN, {len(train)} samples, {fit.EPOCHS} epochs",
        Way("fit", partial(fit.with_fit, train, held_out, "cuda")),
        [
            Way("a bare loop on the card, Adam(fused=True)", bare),
            Way("fit on the processor", partial(fit.with_fit, train, held_out)),
        ],
        rounds=3,
        clock=networks.wall_seconds,
    )
