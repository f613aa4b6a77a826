"""From arrays to predictions: one LightningModule, ``fit`` and ``predict`` for every paper.

Seeds and order: the weights' seed is set by whoever builds the model; ``fit`` seeds dropout, and shuffles
each epoch with a generator of its own for (seed, epoch). A run that was killed and is repeated gives the
same numbers. ``affectlib.stacked.fit_folds`` trains all folds and seeds of a small model at once.
"""

import copy
import functools
import logging
import math
import warnings
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch

from affectlib.models.attend_affect import mse_pcc_loss


@dataclass(frozen=True)
class Samples:
    """What a model is trained on.

    Args:
        inputs: one tensor per token, its first dimension the samples (the segments, where there are windows)
        target: what is predicted
        ids: name of each sample
        groups: what may never straddle two folds: film, actor
        windows: for sequences, which rows of the inputs each sample is made of; None: row i is sample i

    Shape:
        inputs ``(n, size)``; target ``(n,)``, with windows ``(n, length)``; windows ``(n, length)``

    Raises:
        ValueError: if lengths differ, or a value is not finite; names the sample

    Examples:
        >>> data = Samples((torch.zeros(3, 2),), torch.zeros(3), ("a:0", "a:1", "b:0"), ("a", "a", "b"))
        >>> data.select([2]).ids
        ('b:0',)
    """

    inputs: tuple
    target: torch.Tensor
    ids: tuple
    groups: tuple
    windows: torch.Tensor | None = None

    def __post_init__(self):
        n = len(self.target)
        lengths = {"ids": len(self.ids), "groups": len(self.groups), "windows": n}
        lengths |= (
            {"windows": len(self.windows)}
            if self.windows is not None
            else {f"inputs[{i}]": len(x) for i, x in enumerate(self.inputs)}
        )
        for name, length in lengths.items():
            if length != n:
                raise ValueError(f"{name} has {length} samples, target has {n}")
        for name, values in [
            ("target", self.target),
            *((f"inputs[{i}]", x) for i, x in enumerate(self.inputs)),
        ]:
            finite = values.isfinite().flatten(1).all(1) if values.dim() > 1 else values.isfinite()
            if not finite.all():
                row = int((~finite).nonzero()[0])
                name += (
                    f" of {self.ids[row]}"
                    if len(values) == n and self.windows is None
                    else f", row {row}"
                )
                raise ValueError(f"{name} is not finite")

    def __len__(self):
        return len(self.target)

    def rows(self, chosen):
        """Rows of the inputs that some samples are made of, ``(..., )`` or with windows ``(..., length)``."""
        return chosen if self.windows is None else self.windows[chosen]

    def take(self, chosen):
        """Inputs of some samples, one tensor per token."""
        rows = self.rows(torch.as_tensor(chosen))
        return [x[rows] for x in self.inputs]

    def select(self, chosen):
        """The same samples with some only; ``chosen`` are positions."""
        chosen = torch.as_tensor(np.asarray(chosen), dtype=torch.long)
        kept = replace(
            self,
            target=self.target[chosen],
            ids=tuple(self.ids[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen),
            windows=torch.zeros(len(chosen), 0),
        )
        if self.windows is None:
            return replace(kept, inputs=tuple(x[chosen] for x in self.inputs), windows=None)
        return replace(kept, windows=self.windows[chosen])


@dataclass(frozen=True)
class Predictions:
    """What a model said about samples it was not trained on; truth and prediction are arrays ``(n,)``."""

    ids: tuple
    groups: tuple
    truth: np.ndarray
    prediction: np.ndarray
    embedding: np.ndarray | None = None


@dataclass(frozen=True)
class History:
    """Loss per epoch (epoch from 1, train_loss, validation_loss) and the epoch whose weights were kept."""

    epochs: pd.DataFrame
    best_epoch: int


def samples(table, clips, *, target, names):
    """Features and annotations as tensors.

    Args:
        table: a FeatureTable
        clips: the corpus' table of clips, in any order, with ``target`` among its columns
        target: column to predict, for example ``"valence"``
        names: extractors, in the order of the model's tokens

    Returns:
        Samples in torch's default precision, which models are built in too

    Raises:
        ValueError: if a clip has no features
    """
    place = {clip: i for i, clip in enumerate(table.clips)}
    absent = [clip for clip in clips["clip"] if clip not in place]
    if absent:
        raise ValueError(f"{len(absent)} clips have no features, the first is {absent[0]}")
    rows = [place[clip] for clip in clips["clip"]]
    precision = torch.get_default_dtype()
    inputs = tuple(torch.tensor(table[name][rows], dtype=precision) for name in names)
    values = torch.tensor(clips[target].to_numpy(), dtype=precision)
    return Samples(inputs, values, tuple(clips["clip"]), tuple(clips["group"]))


def standardise(train, *others):
    """Every feature with mean 0 and deviation 1 over the training samples; a constant one becomes 0.

    Args:
        train: the samples that mean and deviation are taken from
        others: samples changed with the same numbers

    Returns:
        list of Samples, ``train`` first

    Examples:
        >>> data = Samples((torch.tensor([[1.0], [3.0]]),), torch.zeros(2), ("a", "b"), ("a", "b"))
        >>> standardise(data)[0].inputs[0].flatten()
        tensor([-1.,  1.])
    """
    rows = train.rows(torch.arange(len(train))).unique()
    scales = [moments(x[rows]) for x in train.inputs]
    return [
        replace(s, inputs=tuple((x - m) / d for x, (m, d) in zip(s.inputs, scales, strict=True)))
        for s in (train, *others)
    ]


def moments(x):
    """Mean and deviation of each column; deviation 1 where the column is constant."""
    mean, deviation = x.mean(0), x.std(0, correction=0)
    return mean, torch.where(deviation > 1e-6 * mean.abs().clamp(min=1e-6), deviation, 1.0)


def sequences(data, length, *, sources=None, pad=True):
    """Windows of consecutive samples of one film or excerpt; each predicts its last.

    Args:
        data: samples, those of one source in order
        length: samples in a window
        sources: what each sample was cut from; by default its id up to the last colon
        pad: a window for every sample, the first of a source repeated before it, so that positions
            stay those of ``data`` (COGNIMUSE); False: whole windows only (EIMT16: one per excerpt)

    Raises:
        ValueError: if ``length`` is below 1, or the samples of one source do not stand together

    Examples:
        >>> data = Samples((torch.zeros(3, 1),), torch.arange(3.0), ("a:0", "a:1", "b:0"), ("a", "a", "b"))
        >>> sequences(data, 2).windows.tolist()
        [[0, 0], [0, 1], [2, 2]]
        >>> sequences(data, 2, pad=False).ids
        ('a:1',)
    """
    if length < 1:
        raise ValueError(f"length is {length}, at least 1 is needed")
    sources = np.asarray(
        [i.rpartition(":")[0] or i for i in data.ids] if sources is None else sources
    )
    change = np.r_[True, sources[1:] != sources[:-1]]
    if change.sum() != len(set(sources)):
        raise ValueError("the samples of one source do not stand together")
    row = np.arange(len(data))
    start = np.maximum.accumulate(np.where(change, row, 0))
    windows = row[:, None] + np.arange(1 - length, 1)
    ends = row if pad else row[windows[:, 0] >= start]
    windows = torch.from_numpy(np.maximum(windows, start[:, None])[ends])
    return Samples(
        data.inputs,
        data.target[windows],
        tuple(data.ids[i] for i in ends),
        tuple(data.groups[i] for i in ends),
        windows,
    )


def batches(n, batch_size, *, seed, epoch):
    """Shuffled positions of one epoch, in batches of equal size (to one) of at most ``batch_size``."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1_000_003 * seed + epoch))
    return order.tensor_split(max(1, math.ceil(n / batch_size)))


@runtime_checkable
class SequenceModel(Protocol):
    """A model with one output per segment of a sequence, fed with the values of earlier segments.

    Its ``forward`` takes the inputs and these values. Without them the model feeds itself with its
    own outputs. The last output is the prediction.
    """

    def previous(self, target: torch.Tensor) -> torch.Tensor:
        """The true values that training feeds in place of the model's own outputs."""


def run(model, inputs, target=None):
    """Prediction for each sample.

    Args:
        model: takes the list of tokens
        inputs: one tensor per token
        target: true values; a :class:`SequenceModel` is fed with those of earlier segments.
            None: it feeds itself
    """
    if not isinstance(model, SequenceModel):
        return model(inputs)
    previous = None if target is None else model.previous(target)
    return model(inputs, previous)[..., -1]


@functools.cache
def _lightning():
    """Lightning and the one module, made at the first use: the import takes seconds."""
    import pytorch_lightning as pl

    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Lit(pl.LightningModule):
        """Any model with a loss of truth and prediction; keeps the weights that validate best."""

        def __init__(self, model, validation, *, loss, learning_rate, weight_decay, patience):
            super().__init__()
            self.model, self.validation, self.loss = model, validation, loss
            self.learning_rate, self.weight_decay, self.patience = (
                learning_rate,
                weight_decay,
                patience,
            )
            self.rows, self.losses, self.state = [], [], None
            self.best, self.best_epoch = math.inf, 0

        def training_step(self, batch, _):
            inputs, target = batch
            loss = self.loss(last(target), run(self.model, inputs, target))
            self.losses.append(loss.detach())
            return loss

        def on_train_epoch_end(self):
            self.model.eval()
            with torch.no_grad():
                inputs = [
                    x.to(self.device)
                    for x in self.validation.take(torch.arange(len(self.validation)))
                ]
                truth = last(self.validation.target).to(self.device)
                value = float(self.loss(truth, run(self.model, inputs)))
            self.model.train()
            self.rows.append((len(self.rows) + 1, float(torch.stack(self.losses).mean()), value))
            self.losses.clear()
            if value < self.best:
                self.best, self.best_epoch = value, len(self.rows)
                self.state = copy.deepcopy(self.model.state_dict())
            if len(self.rows) - self.best_epoch >= self.patience:
                self.trainer.should_stop = True

        def get_extra_state(self):
            """What comes back, with the weights, from processes that trained side by side."""
            return {"rows": self.rows, "best_epoch": self.best_epoch, "state": self.state}

        def set_extra_state(self, state):
            self.rows, self.best_epoch, self.state = (
                state["rows"],
                state["best_epoch"],
                state["state"],
            )

        def configure_optimizers(self):
            return torch.optim.Adam(
                self.parameters(), self.learning_rate, weight_decay=self.weight_decay
            )

    return pl, Lit


def last(target):
    """The value that a sequence is to predict; what is no sequence stays as it is."""
    return target[..., -1] if target.dim() > 1 else target


class _Loader:
    """Batches of one epoch after the other, in the order of :func:`batches`; of each, this process's share."""

    def __init__(self, data, batch_size, seed):
        self.data, self.batch_size, self.seed, self.epoch = data, batch_size, seed, 0

    def __len__(self):
        return max(1, math.ceil(len(self.data) / self.batch_size))

    def __iter__(self):
        self.epoch += 1
        shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, count = (
            (torch.distributed.get_rank(), torch.distributed.get_world_size()) if shared else (0, 1)
        )
        for chosen in batches(len(self.data), self.batch_size, seed=self.seed, epoch=self.epoch):
            chosen = chosen[rank::count]
            yield self.data.take(chosen), self.data.target[chosen]


def fit(
    model,
    train,
    validation,
    *,
    loss=mse_pcc_loss,
    epochs=500,
    batch_size=30,
    learning_rate=5e-4,
    patience=30,
    weight_decay=0.0,
    seed=0,
    progress=False,
    devices=1,
    strategy="auto",
):
    """Trains a model in place and leaves it with the weights that validated best.

    Args:
        model: takes the list of tokens
        train: samples to learn from
        validation: samples that choose the epoch. Of other groups than the test samples (clean), or the
            test samples themselves, as the authors' code does (paper): then the result is too good
        loss: of truth and prediction
        epochs: at most so many
        batch_size: at most so many samples
        learning_rate: of Adam
        patience: epochs without a better validation loss after which training ends
        weight_decay: of Adam
        seed: of the order of samples and of dropout; weights are made before
        progress: show a bar
        devices, strategy: Lightning's: how many processors or graphics cards share every batch, and how, in a
            notebook ``"ddp_notebook"``. A loss over a batch, such as a correlation, is then one over its shares

    Raises:
        ValueError: if there is no sample to learn or to choose by, or the validation loss was never a number

    References:
        attend_affect IV-B for the defaults
    """
    if not len(train) or not len(validation):
        raise ValueError(
            f"{len(train)} samples to train on, {len(validation)} to validate: both are needed"
        )
    pl, Lit = _lightning()
    module = Lit(
        model,
        validation,
        loss=loss,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
    )
    model.train()
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning's own use of torch
        torch.manual_seed(seed)
        trainer = pl.Trainer(
            max_epochs=epochs,
            devices=devices,
            strategy=strategy,
            logger=False,
            deterministic=True,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
        )
        trainer.fit(module, _Loader(train, batch_size, seed))
    torch.use_deterministic_algorithms(before)
    if module.state is None:
        raise ValueError(
            "the validation loss was never a number: look at the samples and the learning rate"
        )
    model.load_state_dict(module.state)
    model.eval().cpu()
    return History(
        pd.DataFrame(module.rows, columns=["epoch", "train_loss", "validation_loss"]),
        module.best_epoch,
    )


def predict(model, data, *, batch_size=512):
    """What a model says about samples, with the embedding of each.

    A sequence model feeds itself; its embedding is that of the last segment.

    Returns:
        Predictions
    """
    model.eval()
    said, embedded = [], []
    with torch.no_grad():
        for chosen in torch.arange(len(data)).split(batch_size):
            embedding = model.embed(data.take(chosen))
            said.append(model.head(embedding).squeeze(-1))
            embedded.append(embedding)
    said, embedded = torch.cat(said), torch.cat(embedded)
    if isinstance(model, SequenceModel):
        said, embedded = said[:, -1], embedded[:, -1]
    return Predictions(
        data.ids, data.groups, last(data.target).numpy(), said.numpy(), embedded.numpy()
    )
