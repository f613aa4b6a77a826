"""From arrays to predictions: one LightningModule, ``fit`` and ``predict`` for every paper.

Seeds and order: whoever builds the model sets the seed of its weights.
``fit`` seeds dropout, and shuffles each epoch with a generator of its own for (seed, epoch).
A run that was killed and is repeated gives the same numbers; :mod:`affectlib.kept` can keep
trainings on disk, so that it goes on.
``affectlib.stacked.fit_folds`` trains all folds and seeds of a small model at once.
"""

from __future__ import annotations

import copy
import functools
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from torch import nn

from affectlib.corpora.folds import first_rows
from affectlib.errors import AffectError
from affectlib.kept import Kept
from affectlib.progress import progress_bar

if TYPE_CHECKING:
    from affectlib.features import FeatureTable

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""A loss of truth and prediction."""

# torch.randperm is seeded with this prime times the seed, plus the epoch:
# no two (seed, epoch) of a real run meet in one number.
_SEED_STRIDE = 1_000_003
# Rows of a token that are checked at once: the check must not need as much memory as the token.
_CHECKED_ROWS = 1024
# Samples that are predicted at once: at most as many, and no more than fit into as many bytes.
_PART_SAMPLES = 512
_PART_BYTES = 2**27


@dataclass(frozen=True)
class Samples:
    """The inputs and targets that a model is trained on.

    Args:
        inputs: one tensor per token. Its first dimension runs over the samples,
            or over the segments where there are windows
        target: the value to predict
        ids: name of each sample
        groups: film or actor of each sample; no group may straddle two folds
        windows: for sequences, the rows of the inputs that each sample is made of; -1 stands for
            a row of zeros, where there is nothing. None: row i is sample i

    Shape:
        inputs ``(n, size)``; target ``(n,)``, with windows ``(n, length)``;
        windows ``(n, length)``

    Raises:
        ValueError: if lengths differ, a group is missing, or a value is not finite; names the
            sample

    Examples:
        >>> films = ("a", "a", "b")
        >>> data = Samples((torch.zeros(3, 2),), torch.zeros(3), ("a:0", "a:1", "b:0"), films)
        >>> data.select([2]).ids
        ('b:0',)
    """

    inputs: tuple[torch.Tensor, ...]
    target: torch.Tensor
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    windows: torch.Tensor | None = None

    def __post_init__(self) -> None:
        self._check_lengths()
        missing = pd.isna(np.asarray(self.groups, dtype=object))
        if missing.any():
            raise ValueError(f"group of {self.ids[np.argmax(missing)]} is missing")
        self._check_finite("target", self.target)
        for i, x in enumerate(self.inputs):
            self._check_finite(f"inputs[{i}]", x)

    def _check_lengths(self) -> None:
        lengths = {"ids": len(self.ids), "groups": len(self.groups)}
        if self.windows is not None:
            # The inputs are segments then, and there may be any number of them.
            lengths["windows"] = len(self.windows)
        else:
            for i, x in enumerate(self.inputs):
                lengths[f"inputs[{i}]"] = len(x)
        for name, length in lengths.items():
            if length != len(self):
                raise ValueError(f"{name} has {length} samples, target has {len(self)}")

    def _check_finite(self, name: str, values: torch.Tensor) -> None:
        row = _first_not_finite(values)
        if row is None:
            return
        # Rows are samples only where no windows are cut from them.
        if len(values) == len(self) and self.windows is None:
            raise ValueError(f"{name} of {self.ids[row]} is not finite")
        raise ValueError(f"{name}, row {row} is not finite")

    def __len__(self) -> int:
        return len(self.target)

    def rows(self, chosen: torch.Tensor) -> torch.Tensor:
        """Rows of the inputs that some samples are made of.

        Shape:
            chosen ``(...,)``; result ``(...,)``, with windows ``(..., length)``
        """
        if self.windows is None:
            return chosen
        return self.windows[chosen]

    def take(self, chosen: Sequence[int] | torch.Tensor) -> list[torch.Tensor]:
        """Inputs of some samples, one tensor per token."""
        rows = self.rows(torch.as_tensor(chosen))
        inputs = [x[rows] for x in self.inputs]
        if self.windows is not None:
            absent = rows < 0
            if absent.any():
                for x in inputs:
                    x[absent] = 0
        return inputs

    def parts(self) -> tuple[torch.Tensor, ...]:
        """Positions of all samples, cut into parts whose inputs fit into memory at once."""
        rows = 1 if self.windows is None else self.windows.shape[1]
        size = 0  # bytes of one sample
        for x in self.inputs:
            values = math.prod(x.shape[1:])
            size += rows * values * x.element_size()
        at_once = min(_PART_SAMPLES, max(1, _PART_BYTES // max(1, size)))
        return torch.arange(len(self)).split(at_once)

    def select(self, chosen: Sequence[int] | np.ndarray | torch.Tensor) -> Samples:
        """Some of the samples.

        Args:
            chosen: their positions
        """
        chosen = torch.as_tensor(np.asarray(chosen), dtype=torch.long)
        inputs, windows = self.inputs, self.windows
        if windows is None:
            inputs = tuple(x[chosen] for x in inputs)
        else:
            windows = windows[chosen]
        return replace(
            self,
            inputs=inputs,
            target=self.target[chosen],
            ids=tuple(self.ids[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen),
            windows=windows,
        )


def _first_not_finite(values: torch.Tensor) -> int | None:
    """The first row that holds a value which is not finite, None if there is none."""
    for i, part in enumerate(values.split(_CHECKED_ROWS)):
        finite = part.isfinite()
        if finite.all():
            continue
        finite = finite.flatten(1).all(1) if finite.dim() > 1 else finite  # (rows,)
        return _CHECKED_ROWS * i + int((~finite).nonzero()[0])
    return None


@dataclass(frozen=True)
class Predictions:
    """Predictions for samples that the model was not trained on.

    Shape:
        truth and prediction ``(n,)``; embedding ``(n, size)``
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    truth: np.ndarray
    prediction: np.ndarray
    embedding: np.ndarray | None = None


@dataclass(frozen=True)
class History:
    """Losses of each epoch, and the epoch whose weights were kept.

    Args:
        epochs: table of epoch (from 1), train_loss and validation_loss
        best_epoch: the epoch that was kept
    """

    epochs: pd.DataFrame
    best_epoch: int


def samples(
    table: FeatureTable, clips: pd.DataFrame, *, target: str, names: Iterable[str]
) -> Samples:
    """Features and annotations as tensors.

    Args:
        table: features of every clip, in any order
        clips: the corpus' table of clips, with ``target`` among its columns
        target: column to predict, for example ``"valence"``
        names: extractors, in the order of the model's tokens

    Returns:
        Samples in the order of ``clips``, in torch's default precision

    Raises:
        ValueError: if a clip has no features, no group or no number to predict
    """
    place = {clip: i for i, clip in enumerate(table.clips)}
    absent = [clip for clip in clips["clip"] if clip not in place]
    if absent:
        raise ValueError(f"{len(absent)} clips have no features, the first is {absent[0]}")
    rows = [place[clip] for clip in clips["clip"]]
    # Models are built in torch's default precision too.
    precision = torch.get_default_dtype()
    # Indexing copies, so that the table is not shared.
    inputs = tuple(torch.from_numpy(table[name][rows]).to(precision) for name in names)
    if not pd.api.types.is_numeric_dtype(clips[target]):
        raise ValueError(f"{target} holds {clips[target].dtype}, expected numbers in every row")
    numbers = clips[target].to_numpy(dtype=float, na_value=np.nan)
    values = torch.tensor(numbers, dtype=precision)
    return Samples(inputs, values, tuple(clips["clip"]), tuple(clips["group"]))


def standardise(train: Samples, *others: Samples) -> list[Samples]:
    """Scales every feature to mean 0 and deviation 1 over the training samples.

    A feature that is constant over the training samples becomes 0.

    Args:
        train: the samples that mean and deviation are taken from
        others: samples to scale with the same numbers

    Returns:
        list of Samples, ``train`` first

    Raises:
        ValueError: if there is no training sample

    Examples:
        >>> data = Samples((torch.tensor([[1.0], [3.0]]),), torch.zeros(2), ("a", "b"), ("a", "b"))
        >>> standardise(data)[0].inputs[0].flatten()
        tensor([-1.,  1.])
    """
    if not len(train):
        raise ValueError("no training sample to take mean and deviation from")
    rows = train.rows(torch.arange(len(train))).unique()
    scales = [moments(x[rows]) for x in train.inputs]
    scaled = []
    for data in (train, *others):
        inputs = []
        for x, (mean, deviation) in zip(data.inputs, scales, strict=True):
            inputs.append((x - mean) / deviation)
        scaled.append(replace(data, inputs=tuple(inputs)))
    return scaled


def standardise_in_place(data: Samples, rows: np.ndarray | Sequence[int]) -> None:
    """Like :func:`standardise`, for samples that are too large to be held twice.

    Args:
        data: samples without windows; their inputs are changed
        rows: positions of the training samples, that mean and deviation are taken from

    Raises:
        ValueError: if there is no training sample, or the samples have windows

    Examples:
        >>> data = Samples((torch.tensor([[1.0], [3.0]]),), torch.zeros(2), ("a", "b"), ("a", "b"))
        >>> standardise_in_place(data, [0, 1])
        >>> data.inputs[0].flatten()
        tensor([-1.,  1.])
    """
    if not len(rows):
        raise ValueError("no training sample to take mean and deviation from")
    if data.windows is not None:
        raise ValueError("samples with windows share their rows, and cannot be changed in place")
    rows = torch.as_tensor(np.asarray(rows), dtype=torch.long)
    for x in data.inputs:
        mean, deviation = moments(x[rows])
        x.sub_(mean).div_(deviation)


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each column; deviation 1 where the column is constant.

    Shape:
        x ``(rows, size)``; results ``(size,)``
    """
    mean = x.mean(0)
    deviation = x.std(0, correction=0)
    # Rounding leaves a constant column a deviation of about 1e-7 of its mean.
    least = 1e-6 * mean.abs().clamp(min=1e-6)
    return mean, torch.where(deviation > least, deviation, 1.0)


def sequences(
    data: Samples, length: int, *, sources: Sequence[str] | None = None, pad: bool = True
) -> Samples:
    """Windows of consecutive samples of one film or excerpt; each predicts its last sample.

    Args:
        data: samples, those of one source together and in order
        length: samples in a window
        sources: film or excerpt that each sample was cut from;
            by default the id up to the last colon
        pad: a window for every sample; before the first sample of a source that sample is
            repeated, so that positions stay those of ``data`` (COGNIMUSE).
            False: complete windows only (EIMT16: one per excerpt)

    Raises:
        ValueError: if ``length`` is below 1, or the samples of one source do not stand together

    Examples:
        >>> ids = ("a:0", "a:1", "b:0")
        >>> data = Samples((torch.zeros(3, 1),), torch.arange(3.0), ids, ("a", "a", "b"))
        >>> sequences(data, 2).windows.tolist()
        [[0, 0], [0, 1], [2, 2]]
        >>> sequences(data, 2, pad=False).ids
        ('a:1',)
    """
    if length < 1:
        raise ValueError(f"length is {length}, at least 1 is needed")
    if sources is None:
        sources = [name.rpartition(":")[0] or name for name in data.ids]
    row = np.arange(len(data))
    start = first_rows(sources)  # (n,)
    windows = row[:, None] + np.arange(1 - length, 1)  # (n, length)
    ends = row if pad else row[windows[:, 0] >= start]
    windows = np.maximum(windows, start[:, None])[ends]  # (windows, length)
    windows = torch.from_numpy(windows)
    return Samples(
        data.inputs,
        data.target[windows],
        tuple(data.ids[i] for i in ends),
        tuple(data.groups[i] for i in ends),
        windows,
    )


def batches(n: int, batch_size: int, *, seed: int, epoch: int) -> tuple[torch.Tensor, ...]:
    """Shuffled positions of one epoch, in batches of at most ``batch_size``.

    Batches differ by at most one sample in size.
    """
    generator = torch.Generator("cpu").manual_seed(_SEED_STRIDE * seed + epoch)
    # On the CPU, so that the order is the same on every device.
    order = torch.randperm(n, generator=generator, device="cpu")
    return order.tensor_split(_batch_count(n, batch_size))


def _batch_count(n: int, batch_size: int) -> int:
    return max(1, math.ceil(n / batch_size))


@runtime_checkable
class SequenceModel(Protocol):
    """A model with one output per segment of a sequence, fed with the values of earlier segments.

    Its ``forward`` takes the inputs and these values. Without them the model feeds itself with its
    own outputs. The last output is the prediction.
    """

    def previous(self, target: torch.Tensor) -> torch.Tensor:
        """The true values that training feeds in place of the model's own outputs."""


def run(
    model: nn.Module, inputs: list[torch.Tensor], target: torch.Tensor | None = None
) -> torch.Tensor:
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


def _run_in_parts(model: nn.Module, data: Samples, device: torch.device) -> torch.Tensor:
    """The prediction of :func:`run` for all samples, of which not all need to fit into memory."""
    predictions = []
    for part in data.parts():
        inputs = [x.to(device) for x in data.take(part)]
        predictions.append(run(model, inputs))
    return torch.cat(predictions)


def last(target: torch.Tensor) -> torch.Tensor:
    """The value that each sample is to predict: the last one of a sequence.

    Shape:
        target ``(n,)`` or ``(n, length)``, or with more dimensions of which the last one counts;
        result without the last dimension, ``(n,)`` unchanged
    """
    return target[..., -1] if target.dim() > 1 else target


class DeviceError(AffectError, ValueError):
    """A device to train on that has another name, or is not there."""


def find_device(name: str) -> torch.device:
    """The device to train on.

    Args:
        name: ``"cpu"``, ``"cuda"``, or ``"auto"``: a CUDA device where there is one, else the CPU

    Raises:
        DeviceError: for another name, or if this machine has no CUDA device

    Examples:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name not in ("cpu", "cuda", "auto"):
        raise DeviceError(f"device is {name!r}, expected 'cpu', 'cuda' or 'auto'")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise DeviceError("device is 'cuda', and torch finds no CUDA device: take 'cpu' or 'auto'")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


class BestEpoch:
    """Keeps the weights of the epoch with the least validation loss.

    Lightning's ModelCheckpoint would write a file for each better epoch, and its EarlyStopping
    needs a validation loader and logged metrics. This stays in memory and is shorter.

    Attributes:
        epoch: the best one so far, from 1; 0 while no loss was a number
        loss: its validation loss
        weights: a copy of the model's state, None while no loss was a number
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.loss = math.inf
        self.weights: dict[str, torch.Tensor] | None = None

    def update(self, model: nn.Module, epoch: int, loss: float) -> None:
        """Copies the weights if the loss is the least so far; a loss of nan never is."""
        if loss < self.loss:
            self.epoch = epoch
            self.loss = loss
            self.weights = copy.deepcopy(model.state_dict())


def _look_for_drivers_once() -> None:
    """Takes back a variable that Lightning sets, where there is no graphics card.

    With it every step of an optimizer looks for a driver on the disk, which takes 0.1 ms.
    """
    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


@functools.cache
def _lightning() -> tuple:
    """Lightning and the one module, made at the first use: the import takes seconds."""
    import pytorch_lightning as pl

    _look_for_drivers_once()
    # They report the hardware, and warn of options that are chosen on purpose here.
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Lit(pl.LightningModule):
        """Any model with a loss of truth and prediction; keeps the weights that validate best."""

        # Lightning's automatic step calls some twenty hooks, which here do nothing.
        automatic_optimization = False

        def __init__(
            self, model, validation, *, loss, learning_rate, weight_decay, patience, epochs
        ):
            super().__init__()
            self.model = model
            self.validation = validation
            self.loss = loss
            self.learning_rate = learning_rate
            self.weight_decay = weight_decay
            self.patience = patience
            self.best = BestEpoch()
            self.curves = []  # epoch, training loss, validation loss
            self.losses = []  # of the batches of this epoch
            self.epochs = epochs  # a bar

        def training_step(self, batch, _):
            inputs, target = batch
            optimizer = self.optimizers(use_pl_optimizer=False)
            loss = self.loss(last(target), run(self.model, inputs, target))
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.losses.append(loss.detach())

        # Not a validation_step, which sees one batch at a time.
        def on_train_epoch_end(self):
            epoch = len(self.curves) + 1
            train_loss = float(torch.stack(self.losses).mean())
            validation_loss = self.validate()
            self.losses.clear()
            self.curves.append((epoch, train_loss, validation_loss))
            self.best.update(self.model, epoch, validation_loss)
            self.epochs.update()
            if epoch - self.best.epoch >= self.patience:
                self.trainer.should_stop = True

        def validate(self):
            """Loss over all validation samples at once: a correlation is no mean over batches."""
            truth = last(self.validation.target).to(self.device)
            self.model.eval()
            with torch.no_grad():
                value = float(
                    self.loss(truth, _run_in_parts(self.model, self.validation, self.device))
                )
            self.model.train()
            return value

        # Processes that train side by side give these back together with the weights.
        def get_extra_state(self):
            return {"curves": self.curves, "best": vars(self.best)}

        def set_extra_state(self, state):
            self.curves = state["curves"]
            vars(self.best).update(state["best"])

        def configure_optimizers(self):
            # Fused: one call for all parameters, where the usual form makes ten for each of them.
            return torch.optim.Adam(
                self.parameters(), self.learning_rate, weight_decay=self.weight_decay, fused=True
            )

    return pl, Lit


class _Loader:
    """Batches of one epoch after the other, in the order of :func:`batches`.

    Where several processes train side by side, each takes its share of every batch.
    """

    def __init__(self, data: Samples, batch_size: int, seed: int):
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return _batch_count(len(self.data), self.batch_size)

    def __iter__(self) -> Iterator[tuple[list[torch.Tensor], torch.Tensor]]:
        # Lightning iterates once in each epoch.
        self.epoch += 1
        rank, processes = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank = torch.distributed.get_rank()
            processes = torch.distributed.get_world_size()
        for batch in batches(len(self.data), self.batch_size, seed=self.seed, epoch=self.epoch):
            share = batch[rank::processes]
            yield self.data.take(share), self.data.target[share]


def fit(
    model: nn.Module,
    train: Samples,
    validation: Samples,
    *,
    loss: Loss,
    epochs: int = 500,
    batch_size: int = 30,
    learning_rate: float = 5e-4,
    patience: int = 30,
    weight_decay: float = 0.0,
    seed: int = 0,
    progress: bool | None = None,
    device: str = "cpu",
    devices: int | str | list[int] = 1,
    strategy: str = "auto",
) -> History:
    """Trains a model in place and leaves it with the weights that validated best.

    Args:
        model: takes the list of tokens
        train: samples to learn from
        validation: samples that choose the epoch. In the clean protocol their groups differ from
            those of the test samples. In the paper protocol they are the test samples themselves,
            as in the authors' code, and the result is too good
        loss: of truth and prediction
        epochs: at most this many
        batch_size: at most this many samples
        learning_rate: of Adam
        patience: training ends after this many epochs without a better validation loss
        weight_decay: of Adam
        seed: of the order of samples and of dropout; the weights are drawn before
        progress: show a bar; None shows one where a notebook is open in JupyterLab
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for a CUDA device where there is one; the
            trained model is on the CPU
        devices: Lightning's: how many processors or graphics cards share every batch
        strategy: Lightning's: how they share it, in a notebook ``"ddp_notebook"``.
            A loss over a batch, such as a correlation, is then one over each share

    Raises:
        ValueError: if there is no sample to learn from or to validate by, a number is below 1 that
            has to count something, one sample is alone in a batch of a model with batch norm,
            or the validation loss was never a number
        DeviceError: if there is no such device

    References:
        attend_affect IV-B for the defaults
    """
    place = find_device(device).type
    if not len(train) or not len(validation):
        raise ValueError(
            f"{len(train)} samples to train on, {len(validation)} to validate: both are needed"
        )
    for name, count in [("epochs", epochs), ("batch_size", batch_size), ("patience", patience)]:
        if count < 1:
            raise ValueError(f"{name} is {count}, at least 1 is needed")
    kept = Kept(
        ["fit", model, train, validation, loss],
        [epochs, batch_size, learning_rate, patience, weight_decay, seed],
        [place, str(devices), strategy],
    )
    state = kept.load()
    if state is not None:
        model.load_state_dict(state["weights"])
        model.eval().cpu()
        return _history(state["curves"], state["best_epoch"])
    pl, Lit = _lightning()
    counted = progress_bar(total=epochs, progress=progress, unit="epoch", leave=False)
    module = Lit(
        model,
        validation,
        loss=loss,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        epochs=counted,
    )
    model.train()
    deterministic = torch.are_deterministic_algorithms_enabled()
    # The caller draws the same random numbers afterwards, however long the training was.
    with torch.random.fork_rng(), warnings.catch_warnings(), counted:
        warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning's own use of torch
        torch.manual_seed(seed)
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator=place,
            devices=devices,
            strategy=strategy,
            # Nothing goes to disk: weights stay in memory, losses in the History.
            logger=False,
            deterministic=True,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,  # it counts batches
        )
        try:
            trainer.fit(module, _Loader(train, batch_size, seed))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ValueError(
                f"batch norm needs two samples in each batch: {len(train)} samples in batches of "
                f"at most {batch_size} leave one alone"
            ) from error
        finally:
            # The trainer switched them on.
            torch.use_deterministic_algorithms(deterministic)
    if module.best.weights is None:
        raise ValueError(
            "the validation loss was never a number: look at the samples and the learning rate"
        )
    model.load_state_dict(module.best.weights)
    model.eval().cpu()
    kept.save(
        {
            "weights": model.state_dict(),
            "curves": module.curves,
            "best_epoch": module.best.epoch,
        }
    )
    return _history(module.curves, module.best.epoch)


def _history(curves: Sequence[tuple[int, float, float]], best_epoch: int) -> History:
    """History of a training from the epoch, training loss and validation loss of each epoch."""
    table = pd.DataFrame(curves, columns=["epoch", "train_loss", "validation_loss"])
    return History(table, best_epoch)


def predict(model: nn.Module, data: Samples, *, batch_size: int | None = None) -> Predictions:
    """Predictions of a model for samples, with the embedding of each.

    A sequence model feeds itself; its embedding is that of the last segment.

    Args:
        model: a trained model
        data: the samples
        batch_size: samples that are predicted at once; by default as many as fit into memory
    """
    model.eval()
    parts = data.parts() if batch_size is None else torch.arange(len(data)).split(batch_size)
    predictions = []
    embeddings = []
    with torch.no_grad():
        for chosen in parts:
            embedding = model.embed(data.take(chosen))
            embeddings.append(embedding)
            predictions.append(model.head(embedding).squeeze(-1))
    prediction = torch.cat(predictions)
    embedding = torch.cat(embeddings)
    if isinstance(model, SequenceModel):
        prediction = prediction[:, -1]
        embedding = embedding[:, -1]
    truth = last(data.target)
    return Predictions(data.ids, data.groups, truth.numpy(), prediction.numpy(), embedding.numpy())
