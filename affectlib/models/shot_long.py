"""Shot-long context and residual progressive training.

Recognises the emotion that a film evokes, clip by clip: a recurrent network per modality within a
clip, their sum, and a second network, or a moving average, over clips.

References:
    Jie Zhang, Yin Zhao, Longjun Cai, Chaoping Tu, Wu Wei, Video affective effects prediction with
    multi-modal fusion and shot-long temporal context, arXiv 1909.01763, 2019.

Differs from the paper in:
    - Faces come from MTCNN, as in the paper, with the pretrained features, and from HOG otherwise.
    - Expression: the weights of Xception, trained on RAF, are not public.
    - Action is the mean over the maps of OpenPose's backbone; the layers that the paper trains on
      it are not published. The paper says both that newly added layers are fine-tuned and that
      all weights of the feature extractors are fixed.
    - Order, epochs, clips of long context and beta are chosen on validation films, and by the
      lowest error. The paper has no validation films and chooses "the best performance": its
      beta has not the lowest error in its own Table 4. ``protocol="paper"`` of the notebook
      chooses on the test films; that the paper did so for order and epochs too is inferred.
and, where the paper leaves things open, in:
    - The optimiser (Adam), its rate, the size of batches and early stopping are ours.
    - Scene is the spatial mean of the last pooling layer's maps of VGG-16; the paper gives the size
      of 512 only.
    - Features are standardised by the training seconds.
    - A second without a face gets the mean of the features of the training faces, not the features
      of a mean face.
    - The hidden size is 128 per direction, the dense layer has 128 values and ReLU. The two ends
      of the upper LSTM layer are joined.
    - A newcomer's LSTM starts fresh, not from its weights of stage 1: stage 1 is used only to rank
      the modalities. The first modality keeps its weights, since stage 2 would train the same
      model again.
    - Frozen parts are computed once per step; only the newcomer and its head are in the optimiser.
    - A film's last, incomplete clip is filled up with its last second; its target is the mean of
      the seconds that it has.
    - Clips in overlapping windows get the mean of their predictions (``InterClip``).
    - The moving average starts at a film's first prediction.
    - For Table 6 an excerpt is cut into seconds and is one clip, filled up as above.
    - Correlations are taken within each film; the paper does not say whether its own are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from affectlib.corpora.folds import group_starts

if TYPE_CHECKING:
    from affectlib.training import History, Samples

    Fit = Callable[[nn.Module, Samples, Samples], History]
    """Trains a model in place on samples, and chooses its epoch by other samples."""

# Features per second of the paper's four modalities.
SIZES = {
    "Audio": 128,
    "Scene": 512,
    "Expression": 3072,
    "Action": 128,
}

# Clips whose vectors are computed at once, which bounds the memory.
_PART = 512


# Within a clip


def final(lstm: nn.LSTM, x: torch.Tensor) -> torch.Tensor:
    """Last hidden state of both directions of the upper layer.

    Shape:
        x ``(batch, steps, size)``; result ``(batch, 2 * hidden)``
    """
    _, (hidden, _) = lstm(x)  # (2 * layers, batch, hidden)
    forward, backward = hidden[-2], hidden[-1]  # each (batch, hidden)
    return torch.cat([forward, backward], -1)  # (batch, 2 * hidden)


def top(width_in: int, width: int, outputs: int) -> tuple[nn.Linear, nn.Module]:
    """The two dense layers above the LSTMs.

    Returns:
        the layer of the embedding, and the layer above it: for one output a value in [-1, 1],
        for several outputs logits
    """
    head = nn.Linear(width, outputs)
    if outputs == 1:
        head = nn.Sequential(head, nn.Tanh())
    return nn.Linear(width_in, width), head


class IntraClip(nn.Module):
    """Short context: an LSTM per modality over a clip's seconds, their sum, two dense layers.

    Args:
        sizes: features per modality (Multi-modal Features, valence)
        hidden: of each direction of an LSTM; ours
        width: of the clip-level embedding; ours
        layers: of each bidirectional LSTM (Intra-Clip Short Temporal Fusion)
        outputs: 1 for a value in [-1, 1], otherwise this many logits (Table 6)

    Shape:
        forward takes one ``(batch, seconds, size)`` per modality,
        gives ``(batch,)`` or ``(batch, outputs)``

    Examples:
        >>> model = IntraClip(sizes=(4, 6), hidden=3, width=5)
        >>> model([torch.zeros(2, 10, 4), torch.zeros(2, 10, 6)]).shape
        torch.Size([2])
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int] = (128, 512, 3072),
        hidden: int = 128,
        width: int = 128,
        layers: int = 2,
        outputs: int = 1,
    ):
        super().__init__()
        self.lstms = nn.ModuleList(
            nn.LSTM(size, hidden, layers, batch_first=True, bidirectional=True) for size in sizes
        )
        self.dense, self.head = top(2 * hidden, width, outputs)

    def embed(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """Clip-level embedding, ``(batch, width)``."""
        fused = 0
        for lstm, modality in zip(self.lstms, x, strict=True):
            fused = fused + final(lstm, modality)  # (batch, 2 * hidden)
        return self.dense(fused).relu()  # (batch, width)

    def forward(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.head(self.embed(x)).squeeze(-1)  # (batch,) or (batch, outputs)


# Across clips


class InterClip(nn.Module):
    """Long context: an LSTM over the embeddings of consecutive clips, a value for each clip.

    Args:
        size: of a clip's embedding
        hidden: of each direction; ours
        layers: of the bidirectional LSTM (Inter-clip Long Temporal Fusion, Valence)

    Shape:
        forward takes ``[(batch, clips, size)]``, gives ``(batch, clips)``
    """

    def __init__(self, *, size: int = 128, hidden: int = 128, layers: int = 2):
        super().__init__()
        self.lstm = nn.LSTM(size, hidden, layers, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Linear(2 * hidden, 1), nn.Tanh())

    def embed(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """Hidden states of all clips, ``(batch, clips, 2 * hidden)``."""
        states, _ = self.lstm(x[0])  # (batch, clips, 2 * hidden)
        return states

    def forward(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.head(self.embed(x)).squeeze(-1)  # (batch, clips)


# Residual progressive training


class _Newcomer(nn.Module):
    """One modality that completes the frozen sum of those before it.

    Shape:
        forward takes the frozen sums ``(batch, seconds, 2 * hidden)``, filled in at the first
        second only, and the newcomer's features ``(batch, seconds, size)``;
        gives ``(batch,)`` or ``(batch, outputs)``
    """

    def __init__(self, lstm: nn.LSTM, dense: nn.Linear, head: nn.Module):
        super().__init__()
        self.lstm = lstm
        self.dense = dense
        self.head = head

    def forward(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        frozen, features = x
        fused = frozen[:, 0] + final(self.lstm, features)  # (batch, 2 * hidden)
        embedding = self.dense(fused).relu()  # (batch, width)
        return self.head(embedding).squeeze(-1)  # (batch,) or (batch, outputs)


@dataclass(frozen=True)
class Step:
    """One step of the progressive training.

    Args:
        model: after this step
        used: positions of its modalities among all
        history: of its training
    """

    model: nn.Module
    used: tuple[int, ...]
    history: History

    @property
    def score(self) -> float:
        """Validation loss of the epoch that was kept."""
        return float(self.history.epochs["validation_loss"].min())


def fit_alone(model: IntraClip, train: Samples, validation: Samples, *, fit: Fit) -> list[Step]:
    """Stage 1: trains each modality alone, with an auxiliary head.

    Args:
        model: gives the sizes and stays as it is
        train, validation: clips with a window of seconds each, see :func:`clips_of`
        fit: trains a model on samples, for example ``functools.partial(training.fit, loss=...)``

    Returns:
        list of Step in the order of the modalities

    References:
        Residual-based Progressive Training Strategy, stage 1
    """
    steps = []
    for i in range(len(model.lstms)):
        alone = _part(model, [i])
        history = fit(alone, pick(train, [i]), pick(validation, [i]))
        steps.append(Step(alone, (i,), history))
    return steps


def progressive_fit(
    model: IntraClip,
    train: Samples,
    validation: Samples,
    *,
    fit: Fit,
    alone: Sequence[Step] | None = None,
) -> list[Step]:
    """Residual progressive training, in place: rank the modalities, add them one by one, fine-tune.

    Each newcomer is trained on top of the frozen sum of those before it, with a fresh auxiliary
    head that is discarded: it learns what they leave over.

    Args:
        model: the model to train
        train, validation: clips with a window of seconds each, see :func:`clips_of`
        fit: trains a model on samples in place, gives its History
        alone: the result of :func:`fit_alone`; None runs it

    Returns:
        list of Step: the best modality alone, then one step for each newcomer, last the fine-tuned
        model, ``model`` itself. ``used`` is in the order in which the modalities came

    Raises:
        ValueError: if ``alone`` does not have one step per modality, or the samples have no windows

    References:
        Residual-based Progressive Training Strategy, stage 2
    """
    if train.windows is None or validation.windows is None:
        raise ValueError("expected clips with a window of seconds each, see clips_of")
    if alone is None:
        alone = fit_alone(model, train, validation, fit=fit)
    if len(alone) != len(model.lstms):
        raise ValueError(
            f"alone has {len(alone)} steps, the model has {len(model.lstms)} modalities"
        )
    # The least validation loss first.
    order = sorted(range(len(alone)), key=lambda i: alone[i].score)
    first = order[0]
    model.lstms[first].load_state_dict(alone[first].model.lstms[0].state_dict())
    steps = [replace(alone[first], used=(first,))]
    frozen_train = _vectors(model, train, first)  # (seconds, 2 * hidden)
    frozen_validation = _vectors(model, validation, first)
    for count, i in enumerate(order[1:], 2):
        # Its two dense layers are the auxiliary head of this step.
        stage = _part(model, order[:count])
        newcomer = _Newcomer(model.lstms[i], stage.dense, stage.head)
        history = fit(
            newcomer,
            replace(train, inputs=(frozen_train, train.inputs[i])),
            replace(validation, inputs=(frozen_validation, validation.inputs[i])),
        )
        # The stage holds copies made before the newcomer was trained.
        stage.lstms[-1].load_state_dict(model.lstms[i].state_dict())
        steps.append(Step(stage, tuple(order[:count]), history))
        frozen_train = frozen_train + _vectors(model, train, i)
        frozen_validation = frozen_validation + _vectors(model, validation, i)
    history = fit(model, train, validation)
    steps.append(Step(model, tuple(range(len(order))), history))
    return steps


def _part(model: IntraClip, used: Sequence[int]) -> IntraClip:
    """A model of some of the modalities, with copies of their LSTMs and two fresh dense layers."""
    part = copy.deepcopy(model)
    part.lstms = nn.ModuleList(part.lstms[i] for i in used)
    linear = part.head[0] if isinstance(part.head, nn.Sequential) else part.head
    part.dense, part.head = top(part.dense.in_features, linear.in_features, linear.out_features)
    return part


def _vectors(model: IntraClip, data: Samples, i: int) -> torch.Tensor:
    """The share of one modality in each clip's sum, at the clip's first second.

    It is a feature of seconds, so that it can be an input beside the newcomer's features.

    Shape:
        result ``(seconds, 2 * hidden)``
    """
    vectors = torch.zeros(len(data.inputs[i]), model.dense.in_features)
    with torch.no_grad():
        for windows in data.windows.split(_PART):
            first_seconds = windows[:, 0]
            vectors[first_seconds] = final(model.lstms[i], data.inputs[i][windows])
    return vectors


def pick(data: Samples, used: Sequence[int]) -> Samples:
    """Samples with some of their inputs only, in the given order."""
    return replace(data, inputs=tuple(data.inputs[i] for i in used))


def shares(model: IntraClip, data: Samples) -> torch.Tensor:
    """What each modality adds to the sum of each clip.

    Args:
        model: its modalities are those of ``data``
        data: clips with a window of seconds each, see :func:`clips_of`

    Shape:
        result ``(modalities, clips, 2 * hidden)``; its sum over modalities goes into the first
        dense layer

    Raises:
        ValueError: if the samples have no windows, or not one input per modality

    References:
        Residual-based Progressive Training Strategy: a modality "of low importance" would "push
        the mapping to zero"
    """
    if data.windows is None:
        raise ValueError("expected clips with a window of seconds each, see clips_of")
    if len(data.inputs) != len(model.lstms):
        raise ValueError(
            f"data has {len(data.inputs)} inputs, the model has {len(model.lstms)} modalities"
        )
    first_seconds = data.windows[:, 0]
    modalities = range(len(model.lstms))
    return torch.stack([_vectors(model, data, i)[first_seconds] for i in modalities])


# Seconds to clips, clips to runs


def clips_of(data: Samples, length: int = 10) -> tuple[Samples, np.ndarray]:
    """Cuts seconds into clips of equal length, film by film; nothing is copied.

    Args:
        data: samples, one per second, those of a film together and in order
        length: seconds in a clip (Dataset and Metrics)

    Returns:
        the clips as samples with ``windows``, their target the mean of their seconds;
        and the clip of each second

    Raises:
        ValueError: if ``length`` is below 1, or the seconds of a film do not stand together,
            belong to two groups or leave one out

    Shape:
        clip of each second ``(seconds,)``: ``prediction[owner]`` repeats every clip's value
    """
    if length < 1:
        raise ValueError(f"length is {length}")
    seconds = np.arange(len(data))
    film_begins = _film_begins(data)  # (seconds,)
    film = np.cumsum(film_begins) - 1  # (seconds,)
    film_starts = np.flatnonzero(film_begins)  # (films,)
    film_ends = np.r_[film_starts[1:], len(data)]  # (films,)
    clip_begins = (seconds - film_starts[film]) % length == 0  # (seconds,)
    owner = np.cumsum(clip_begins) - 1  # (seconds,)
    first_seconds = np.flatnonzero(clip_begins)  # (clips,)
    windows = first_seconds[:, None] + np.arange(length)  # (clips, length)
    # An incomplete last clip repeats its film's last second.
    last_seconds = film_ends[film[first_seconds]] - 1  # (clips,)
    windows = torch.from_numpy(np.minimum(windows, last_seconds[:, None]))
    clips = replace(
        data,
        target=_means(data.target, torch.from_numpy(owner)),
        ids=tuple(data.ids[i] for i in first_seconds),
        groups=tuple(data.groups[i] for i in first_seconds),
        windows=windows,
    )
    return clips, owner


def _means(values: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
    """Mean of the seconds of each clip; values ``(seconds,)``."""
    counts = torch.bincount(owner)  # (clips,)
    # A sum in single precision would depend on the order of the seconds.
    sums = torch.zeros(len(counts), dtype=torch.float64)
    sums.index_add_(0, owner, values.double())
    return (sums / counts).to(values.dtype)  # (clips,)


def _film_begins(data: Samples) -> np.ndarray:
    """True at the first second of each film.

    A film is a group and a source; the source stands before the last colon of an id.
    """
    sources = []
    numbers = []
    for name in data.ids:
        source, _, number = name.rpartition(":")
        sources.append(source)
        numbers.append(number)
    films = list(zip(data.groups, sources, strict=True))
    begins = group_starts(films)
    _refuse_two_groups(films)
    for i in np.flatnonzero(~begins):
        # An id without a colon has no number to check.
        if sources[i] and int(numbers[i]) != int(numbers[i - 1]) + 1:
            raise ValueError(
                f"expected consecutive seconds, found {data.ids[i]} after {data.ids[i - 1]}"
            )
    return begins


def _refuse_two_groups(films: Sequence[tuple[str, str]]) -> None:
    """Raises an error for a source with two groups."""
    group_of = {}
    for group, source in dict.fromkeys(films):
        if not source:
            continue
        known_group = group_of.setdefault(source, group)
        if known_group != group:
            raise ValueError(f"{source} belongs to two groups, {known_group} and {group}")


def runs_of(data: Samples, vectors: torch.Tensor, length: int, *, stride: int = 1) -> Samples:
    """Runs of consecutive clips of one film.

    Args:
        data: the clips, those of a film together and in order
        vectors: embedding of each clip
        length: clips in a run; a shorter film repeats its last clip
        stride: clips from run to run; the last run of a film ends with the film

    Returns:
        samples with ``windows`` into ``vectors``, and the target of every clip of a run

    Shape:
        vectors ``(clips, size)``;
        targets of the result ``(runs, length, 1)``, so that all of them count (Eq. 3)
    """
    groups = np.asarray(data.groups)
    windows = []
    for group in dict.fromkeys(data.groups):
        clips = np.flatnonzero(groups == group)
        last_start = max(0, len(clips) - length)
        # A set, since the stride may reach the last start by itself.
        starts = {*range(0, last_start + 1, stride), last_start}
        for start in sorted(starts):
            positions = start + np.arange(length)
            windows.append(clips[np.minimum(positions, len(clips) - 1)])
    windows = torch.from_numpy(np.stack(windows))  # (runs, length)
    first_clips = windows[:, 0]
    return replace(
        data,
        inputs=(vectors,),
        target=data.target[windows].unsqueeze(-1),
        windows=windows,
        ids=tuple(data.ids[i] for i in first_clips),
        groups=tuple(groups[first_clips].tolist()),
    )


def spread(values: np.ndarray, windows: np.ndarray, clips: int) -> np.ndarray:
    """One value per clip from values per run: the mean over the runs that hold the clip.

    Args:
        values: of each clip of each run
        windows: clips of each run
        clips: number of clips

    Shape:
        values and windows ``(runs, length)``; result ``(clips,)``, nan for a clip in no run

    Examples:
        >>> spread(np.array([[0.0, 1.0], [3.0, 2.0]]), np.array([[0, 1], [1, 2]]), 3).tolist()
        [0.0, 2.0, 2.0]
    """
    total = np.zeros(clips)
    count = np.zeros(clips)
    np.add.at(total, np.asarray(windows), values)
    np.add.at(count, np.asarray(windows), 1)
    means = np.full(clips, np.nan)
    return np.divide(total, count, out=means, where=count > 0)


# Smoothing, and seconds without a face


def exponential_moving_average(
    predictions: Sequence[float], beta: float, *, by: Sequence | None = None
) -> np.ndarray:
    """Weighs the past by ``beta`` and the present by the rest, from the first prediction (Eq. 2).

    Args:
        predictions: one value per clip, in order
        beta: weight of the past, in [0, 1)
        by: film of each clip, within which the average runs; None for a single film

    Shape:
        predictions, by and result ``(clips,)``

    Raises:
        ValueError: if ``beta`` is out of its range, or the lengths differ

    Examples:
        >>> exponential_moving_average([1.0, 0.0, 0.0], 0.5).tolist()
        [1.0, 0.5, 0.25]
    """
    from scipy.signal import lfilter

    predictions = np.asarray(predictions, float)
    films = np.zeros(len(predictions)) if by is None else np.asarray(by)
    if not 0 <= beta < 1:
        raise ValueError(f"beta lies in [0, 1), not at {beta}")
    if len(films) != len(predictions):
        raise ValueError(f"predictions has {len(predictions)} rows, by has {len(films)}")
    smooth = np.empty(len(predictions))
    for film in dict.fromkeys(films.tolist()):
        in_film = films == film
        values = predictions[in_film]
        # The state of the filter as if all of the past had been the first prediction.
        before = [beta * values[0]]
        smooth[in_film], _ = lfilter([1 - beta], [1, -beta], values, zi=before)
    return smooth


def mean_face(
    faces: np.ndarray, found: Sequence[bool], trained: Sequence[bool] | Sequence[int]
) -> np.ndarray:
    """Gives seconds without a face the mean face of the training seconds.

    Args:
        faces: features of the largest face of each second
        found: whether there is one
        trained: which seconds are for training, as a mask or as positions;
            only these enter the mean

    Shape:
        faces and result ``(seconds, size)``; found ``(seconds,)``;
        trained ``(seconds,)`` or positions

    Raises:
        ValueError: if no training second shows a face

    References:
        Audio and visual features
    """
    faces = np.asarray(faces)
    found = np.asarray(found, bool)
    for_training = np.zeros(len(faces), bool)
    for_training[trained] = True
    averaged = found & for_training
    if not averaged.any():
        raise ValueError("no training second shows a face: there is no mean face")
    return np.where(found[:, None], faces, faces[averaged].mean(0))
