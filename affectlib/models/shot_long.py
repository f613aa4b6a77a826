"""Shot-long context and residual progressive training.

Recognises the emotion that a film evokes clip by clip: a recurrent network per modality within a clip, their sum,
and a second network, or a moving average, over clips.

References:
    Jie Zhang, Yin Zhao, Longjun Cai, Chaoping Tu, Wu Wei, Video affective effects prediction with multi-modal fusion
    and shot-long temporal context, arXiv 1909.01763, 2019.

Differs from the paper in:
    - Faces by MTCNN as in the paper when pretrained, HOG otherwise.
    - Action is the mean over the maps of OpenPose's backbone; the layers that the paper trains on it are not published.
    - Order, epochs, clips of long context and beta are chosen on validation films; ``protocol="paper"`` of the
      notebook chooses on the test films.
and, where it leaves things open, in:
    - Features are standardised by the training seconds.
    - A second without a face has the mean of the training faces' features, not the features of a mean face.
    - Hidden size 128 per direction, dense layer of 128 with ReLU; both ends of the upper LSTM layer are joined.
    - A newcomer's LSTM starts fresh, not from its weights of stage 1: what stage 1 is for is the order. The first
      modality keeps its weights, since stage 2 would train the same model again.
    - What is frozen is computed once per step; only the newcomer and its head are in the optimiser.
    - A film's last, incomplete clip is filled up with its last second; its target is the mean of its own seconds.
    - Clips in windows that overlap take the mean of their predictions (``InterClip``).
    - The moving average starts at a film's first prediction.
    - For Table 6 an excerpt is cut into whole seconds and is one clip, filled up as above.
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

SIZES = {
    "Audio": 128,
    "Scene": 512,
    "Expression": 3072,
    "Action": 128,
}  # of the paper's features, per second


def final(lstm, x):
    """Last hidden state of both directions of the upper layer: ``(batch, steps, size)`` to ``(batch, 2 * hidden)``."""
    _, (hidden, _) = lstm(x)  # (2 * layers, batch, hidden)
    return torch.cat([hidden[-2], hidden[-1]], -1)


def top(width_in, width, outputs):
    """The two dense layers above the LSTMs: an embedding, and a value in [-1, 1] or, of several outputs, logits."""
    head = (
        nn.Sequential(nn.Linear(width, 1), nn.Tanh()) if outputs == 1 else nn.Linear(width, outputs)
    )
    return nn.Linear(width_in, width), head


class IntraClip(nn.Module):
    """Short context: a two-layer bidirectional LSTM per modality over a clip's seconds, their sum, two dense layers.

    Args:
        sizes: features per modality; Multi-modal Features, valence
        hidden: of each direction of an LSTM; ours
        width: of the clip-level embedding; ours
        layers: of each LSTM; Intra-Clip Short Temporal Fusion
        outputs: 1 for a value in [-1, 1], otherwise that many logits (Table 6)

    Shape:
        forward takes one ``(batch, seconds, size)`` per modality, gives ``(batch,)`` or ``(batch, outputs)``

    Examples:
        >>> IntraClip(sizes=(4, 6), hidden=3, width=5)([torch.zeros(2, 10, 4), torch.zeros(2, 10, 6)]).shape
        torch.Size([2])
    """

    def __init__(self, *, sizes=(128, 512, 3072), hidden=128, width=128, layers=2, outputs=1):
        super().__init__()
        self.lstms = nn.ModuleList(
            nn.LSTM(size, hidden, layers, batch_first=True, bidirectional=True) for size in sizes
        )
        self.dense, self.head = top(2 * hidden, width, outputs)

    def embed(self, x):
        fused = sum(
            final(lstm, each) for lstm, each in zip(self.lstms, x, strict=True)
        )  # (batch, 2 * hidden)
        return self.dense(fused).relu()  # (batch, width)

    def forward(self, x):
        return self.head(self.embed(x)).squeeze(-1)  # (batch,) or (batch, outputs)


class InterClip(nn.Module):
    """Long context: a two-layer bidirectional LSTM over the embeddings of consecutive clips, a value for each.

    Args:
        size: of a clip's embedding
        hidden: of each direction; ours
        layers: Inter-clip Long Temporal Fusion, Valence

    Shape:
        forward takes ``[(batch, clips, size)]``, gives ``(batch, clips)``
    """

    def __init__(self, *, size=128, hidden=128, layers=2):
        super().__init__()
        self.lstm = nn.LSTM(size, hidden, layers, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Linear(2 * hidden, 1), nn.Tanh())

    def embed(self, x):
        return self.lstm(x[0])[0]  # (batch, clips, 2 * hidden)

    def forward(self, x):
        return self.head(self.embed(x)).squeeze(-1)  # (batch, clips)


class _Newcomer(nn.Module):
    """One modality that completes the frozen sum of those before it."""

    def __init__(self, lstm, dense, head):
        super().__init__()
        self.lstm, self.dense, self.head = lstm, dense, head

    def forward(self, x):
        before, own = (
            x  # (batch, seconds, 2 * hidden), filled in at the first second; (batch, seconds, size)
        )
        fused = before[:, 0] + final(self.lstm, own)  # (batch, 2 * hidden)
        return self.head(self.dense(fused).relu()).squeeze(-1)  # (batch,) or (batch, outputs)


@dataclass(frozen=True)
class Step:
    """A trained model, the modalities it uses (positions among all), and how its training went."""

    model: nn.Module
    used: tuple
    history: object

    @property
    def score(self):
        """Validation loss of the epoch that was kept."""
        return float(self.history.epochs["validation_loss"].min())


def fit_alone(model, train, validation, *, fit):
    """Stage 1: each modality alone, with an auxiliary head of its own.

    Args:
        model: an :class:`IntraClip`, which gives the sizes and stays as it is
        train, validation: clips with a window of seconds each, see :func:`clips_of`
        fit: trains a model on samples, for example ``functools.partial(training.fit, loss=..., epochs=...)``

    Returns:
        list of Step in the order of the modalities

    References:
        Residual-based Progressive Training Strategy, stage 1
    """
    steps = []
    for i in range(len(model.lstms)):
        alone = _part(model, [i])
        steps.append(
            Step(alone, (i,), fit(alone, *(pick(each, [i]) for each in (train, validation))))
        )
    return steps


def progressive_fit(model, train, validation, *, fit, alone=None):
    """Residual progressive training, in place: rank the modalities, add one after the other, fine-tune all.

    Each newcomer is trained on top of the frozen sum of those before it, with a fresh auxiliary head that is
    discarded: it learns what they leave over.

    Args:
        model: an :class:`IntraClip`
        train, validation: clips with a window of seconds each, see :func:`clips_of`
        fit: trains a model on samples in place, gives its History
        alone: the result of :func:`fit_alone`, where stage 1 is done

    Returns:
        list of Step: the best modality alone, then with each newcomer; last the fine-tuned model, ``model`` itself.
        ``used`` of each is in the order in which the modalities came

    Raises:
        ValueError: if ``alone`` does not have one step per modality, or the samples have no windows

    References:
        Residual-based Progressive Training Strategy, stage 2
    """
    parts = train, validation
    if any(each.windows is None for each in parts):
        raise ValueError("expected clips with a window of seconds each, see clips_of")
    alone = fit_alone(model, train, validation, fit=fit) if alone is None else list(alone)
    if len(alone) != len(model.lstms):
        raise ValueError(
            f"alone has {len(alone)} steps, the model has {len(model.lstms)} modalities"
        )
    order = sorted(range(len(alone)), key=lambda i: alone[i].score)
    model.lstms[order[0]].load_state_dict(alone[order[0]].model.lstms[0].state_dict())
    sums, steps = (
        [_vectors(model, each, order[0]) for each in parts],
        [replace(alone[order[0]], used=(order[0],))],
    )
    for k, i in enumerate(order[1:], 2):
        stage = _part(model, order[:k])
        newcomer = _Newcomer(model.lstms[i], stage.dense, stage.head)
        joined = [
            replace(each, inputs=(before, each.inputs[i]))
            for before, each in zip(sums, parts, strict=True)
        ]
        history = fit(newcomer, *joined)
        stage.lstms[-1].load_state_dict(model.lstms[i].state_dict())
        steps.append(Step(stage, tuple(order[:k]), history))
        sums = [before + _vectors(model, each, i) for before, each in zip(sums, parts, strict=True)]
    return [*steps, Step(model, tuple(range(len(order))), fit(model, train, validation))]


def _part(model, used):
    """A model of some of the modalities, with copies of their LSTMs and two fresh dense layers."""
    part = copy.deepcopy(model)
    part.lstms = nn.ModuleList(part.lstms[i] for i in used)
    linear = part.head[0] if isinstance(part.head, nn.Sequential) else part.head
    part.dense, part.head = top(part.dense.in_features, linear.in_features, linear.out_features)
    return part


def _vectors(model, data, i, batch=512):
    """What one modality adds to each clip, at the clip's first second: ``(seconds, 2 * hidden)``."""
    result = torch.zeros(len(data.inputs[i]), model.dense.in_features)
    with torch.no_grad():
        for windows in data.windows.split(batch):
            result[windows[:, 0]] = final(model.lstms[i], data.inputs[i][windows])
    return result


def pick(data, used):
    """Samples with some of their inputs only, in the given order."""
    return replace(data, inputs=tuple(data.inputs[i] for i in used))


def clips_of(data, length=10):
    """Cuts seconds into clips of equal length, film by film; nothing is copied.

    Args:
        data: samples, one per second, those of a film together and in order
        length: seconds in a clip; Dataset and Metrics

    Returns:
        the clips as samples with ``windows``, their target the mean of their seconds; and the clip of each second

    Raises:
        ValueError: if ``length`` is below 1, or the seconds of a film do not stand together, belong to two groups or
            leave one out

    Shape:
        clip of each second ``(seconds,)``: ``prediction[owner]`` repeats every clip's value
    """
    if length < 1:
        raise ValueError(f"length is {length}")
    change, row = _first_seconds(data), np.arange(len(data))
    start = np.maximum.accumulate(np.where(change, row, 0))
    begins = (row - start) % length == 0
    owner, firsts = np.cumsum(begins) - 1, np.flatnonzero(begins)
    ends = np.r_[np.flatnonzero(change)[1:], len(data)][
        np.cumsum(change)[firsts] - 1
    ]  # of each clip's film
    windows = torch.from_numpy(np.minimum(firsts[:, None] + np.arange(length), ends[:, None] - 1))
    own = torch.from_numpy(owner)
    total = torch.zeros(len(firsts), dtype=torch.float64).index_add_(0, own, data.target.double())
    target = (total / torch.bincount(own)).to(data.target.dtype)
    return replace(
        data,
        target=target,
        ids=tuple(data.ids[i] for i in firsts),
        groups=tuple(data.groups[i] for i in firsts),
        windows=windows,
    ), owner


def _first_seconds(data):
    """Where films begin: at another group, or another source, which is what stands before the colon of an id."""
    names = [name.rpartition(":") for name in data.ids]
    films = [(group, source) for group, (source, _, _) in zip(data.groups, names, strict=True)]
    change = np.array([i == 0 or film != films[i - 1] for i, film in enumerate(films)], bool)
    if change.sum() != len(set(films)):
        raise ValueError("the seconds of one film do not stand together")
    groups = {}
    for group, source in dict.fromkeys(films):
        if source and groups.setdefault(source, group) != group:
            raise ValueError(f"{source} belongs to two groups, {groups[source]} and {group}")
    for i in np.flatnonzero(~change):
        if names[i][0] and int(names[i][2]) != int(names[i - 1][2]) + 1:
            raise ValueError(
                f"expected consecutive seconds, found {data.ids[i]} after {data.ids[i - 1]}"
            )
    return change


def runs_of(data, vectors, length, *, stride=1):
    """Runs of consecutive clips of one film.

    Args:
        data: the clips, those of a film together and in order
        vectors: embedding of each clip
        length: clips in a run; a shorter film repeats its last
        stride: clips from run to run; the last run of a film ends with it

    Returns:
        samples with ``windows`` into ``vectors``, the target of every clip of a run

    Shape:
        vectors ``(clips, size)``; targets of the result ``(runs, length, 1)``, so that all of them count (Eq. 3)
    """
    names, windows = np.asarray(data.groups), []
    for name in dict.fromkeys(data.groups):
        rows = np.flatnonzero(names == name)
        last = max(0, len(rows) - length)
        for start in sorted({*range(0, last + 1, stride), last}):
            windows.append(rows[np.minimum(start + np.arange(length), len(rows) - 1)])
    windows = torch.from_numpy(np.stack(windows))
    return replace(
        data,
        inputs=(vectors,),
        target=data.target[windows].unsqueeze(-1),
        windows=windows,
        ids=tuple(data.ids[i] for i in windows[:, 0]),
        groups=tuple(names[windows[:, 0]].tolist()),
    )


def spread(values, windows, clips):
    """One value per clip from values per run: the mean over the runs it is in.

    Shape:
        values and windows ``(runs, length)``; result ``(clips,)``, nan for a clip in no run

    Examples:
        >>> spread(np.array([[0.0, 1.0], [3.0, 2.0]]), np.array([[0, 1], [1, 2]]), 3).tolist()
        [0.0, 2.0, 2.0]
    """
    total, count = np.zeros(clips), np.zeros(clips)
    np.add.at(total, np.asarray(windows), values)
    np.add.at(count, np.asarray(windows), 1)
    return np.divide(total, count, out=np.full(clips, np.nan), where=count > 0)


def exponential_moving_average(predictions, beta, *, by=None):
    """The past with weight ``beta``, the present with the rest, started at the first prediction (Eq. 2).

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
    by = np.zeros(len(predictions)) if by is None else np.asarray(by)
    if not 0 <= beta < 1:
        raise ValueError(f"beta lies in [0, 1), not at {beta}")
    if len(by) != len(predictions):
        raise ValueError(f"predictions has {len(predictions)} rows, by has {len(by)}")
    result = np.empty(len(predictions))
    for name in dict.fromkeys(by.tolist()):
        own = by == name
        values = predictions[own]
        result[own] = lfilter([1 - beta], [1, -beta], values, zi=[beta * values[0]])[0]
    return result


def mean_face(faces, found, trained):
    """Gives seconds without a face the mean face of the training seconds (Audio and visual features).

    Args:
        faces: features of the largest face of each second
        found: whether there is one
        trained: whether, or which, seconds are for training; only these enter the mean

    Shape:
        faces and result ``(seconds, size)``; found ``(seconds,)``; trained ``(seconds,)`` or positions

    Raises:
        ValueError: if no training second shows a face
    """
    faces, found = np.asarray(faces), np.asarray(found, bool)
    learned = np.zeros(len(faces), bool)
    learned[trained] = True
    if not (found & learned).any():
        raise ValueError("no training second shows a face: there is no mean face")
    return np.where(found[:, None], faces, faces[found & learned].mean(0))
