"""GRU, context gates, mixture of experts: valence and arousal of a film, every second.

A recurrent network per modality reads the last minute of a film. The last states are joined and
gated, a small mixture of experts gives both values at once, and a low-pass filter smooths the
values over the film.

References:
    Jennifer J. Sun, Ting Liu, Gautam Prasad, GLA in MediaEval 2018 emotional impact of movies task,
    MediaEval, 2018.
    Context gate: Miech, Laptev, Sivic, Learnable pooling with context gating, arXiv 1706.06905,
    2017.
    Mixture with a dummy expert: Abu-El-Haija et al., YouTube-8M, arXiv 1609.08675, 2016,
    Section 5.1.
    Encoder-decoder TCN: Lea et al., Temporal convolutional networks for action segmentation and
    detection, CVPR, 2017.

Differs from the paper in (04_gla says why):
    - "Multi-label" cross-entropy is read as: two labels, scaled to [0, 1], as soft targets.
    - A window that begins before its film is masked there: the state stays 0 until the film begins.
    - Every modality has 128 units and one layer, where the paper tunes 32 to 256 units and 1 or 2
      layers for each and does not say which won: ``hidden`` and ``layers`` take one number per
      modality. There are two experts. Dropout of 0.3 stands on the joined states and before the
      mixture; batch norm only inside the gates.
    - The epoch is chosen on the validation films, and no model learns from them in the end;
      ``protocol="paper"`` of the notebook trains once more on all development films, as the paper
      does. Run 2 learns from the first 70 % of the films. Table 1 is filtered, with the batch's
      statistics.
    - Batches are made of stretches of neighbouring windows, which share their seconds
      (:func:`stretches`).
    - A batch's statistics are taken over neighbouring stretches, also where one film ends and the
      next begins.
    - The moving average has triangular weights, renormalised at the ends of the film. Filters are
      tried an octave apart, up to the length of a film (:func:`cutoffs`, :func:`widths`).
    - The TCN joins the modalities at its input, and has kernels of 5 s and two levels of 64 and 96
      channels.
    - Faces go through Inception on ImageNet: the paper's network was not released.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.nn import functional

from affectlib.corpora.folds import first_rows, group_starts

if TYPE_CHECKING:
    from affectlib.training import Samples

# Features per second. The two largest faces have 2,048 each.
SIZES = {"image": 2048, "audio": 128, "face": 4096}
# Features of which running sums are taken at once.
_COLUMNS = 256


class ContextGate(nn.Module):
    """Lets each feature through as far as all features together decide.

    ``x * sigmoid(BN(W x))``

    Args:
        n_features: length of the input, and of the output
        batch_norm: False puts a bias in its place (Table 1, run 1)

    Shape:
        forward and activity take and give ``(..., n_features)``

    References:
        Miech et al., Eq. 1

    Examples:
        >>> ContextGate(n_features=4, batch_norm=False)(torch.zeros(3, 2, 4)).shape
        torch.Size([3, 2, 4])
    """

    def __init__(self, *, n_features: int, batch_norm: bool = True):
        super().__init__()
        self.gates = nn.Linear(n_features, n_features, bias=not batch_norm)
        self.norm = nn.BatchNorm1d(n_features) if batch_norm else nn.Identity()

    def activity(self, x: torch.Tensor) -> torch.Tensor:
        """How far each feature is let through, in (0, 1)."""
        z = self.gates(x)  # (..., n_features)
        # BatchNorm1d takes one leading dimension.
        normed = self.norm(z.flatten(0, -2))  # (rows, n_features)
        return normed.view_as(z).sigmoid()  # (..., n_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.activity(x)  # (..., n_features)


class MixtureOfExperts(nn.Module):
    """Logistic experts, weighted by a softmax; one more expert, a dummy, always predicts 0.

    Args:
        n_features: length of the input
        n_labels: number of labels; each has experts and weights of its own
        n_experts: experts of each label, without the dummy

    Shape:
        forward ``(..., n_features)`` to ``(..., n_labels)``, in (0, 1)

    References:
        Abu-El-Haija et al., Section 5.1
    """

    def __init__(self, *, n_features: int, n_labels: int, n_experts: int = 2):
        super().__init__()
        self.n_experts = n_experts
        self.gates = nn.Linear(n_features, n_labels * (n_experts + 1), bias=False)
        self.experts = nn.Linear(n_features, n_labels * n_experts)

    def shares(self, x: torch.Tensor) -> torch.Tensor:
        """Weight of each expert, the dummy last, ``(..., n_labels, n_experts + 1)``."""
        logits = self.gates(x)  # (..., n_labels * (n_experts + 1))
        logits = logits.unflatten(-1, (-1, self.n_experts + 1))  # (..., n_labels, n_experts + 1)
        return logits.softmax(-1)  # (..., n_labels, n_experts + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        predictions = self.experts(x).sigmoid()  # (..., n_labels * n_experts)
        predictions = predictions.unflatten(-1, (-1, self.n_experts))  # (..., n_labels, n_experts)
        # The dummy predicts 0, so that its term falls away.
        shares = self.shares(x)[..., :-1]  # (..., n_labels, n_experts)
        return (shares * predictions).sum(-1)  # (..., n_labels)


class GLA(nn.Module):
    """A recurrent network per modality, a context gate, a mixture of experts, a second gate.

    ``affectlib.stacked.fast`` gives a twin that trains several times as fast.

    Args:
        sizes: features per modality; Section 2.1, image and audio
        hidden: units of each recurrent network, one number or one per modality;
            32 to 256 in Section 3
        layers: layers of each, one number or one per modality; 1 or 2 in Section 3
        cell: ``"gru"`` or ``"lstm"``; Section 2.2
        length: seconds in a window; 60 was best in Section 3
        n_labels: valence and arousal
        n_experts: experts of each label; not in the paper
        dropout: share of states dropped, before and after the gate; not in the paper.
            Run 1 of Table 1 has none
        batch_norm: in the gates; False in run 1

    Shape:
        forward takes one ``(batch, length - 1 + run, size)`` per modality, and last
        ``(batch, length - 1 + run, 1)``: 1 where the second belongs to the film, 0 before it.
        It gives the value at the end of each of the ``run`` windows, ``(batch, run, n_labels)``,
        in (0, 1). A single window has a run of 1.

    Raises:
        ValueError: if ``cell`` is neither, or there are not as many ``hidden`` or ``layers`` as
            modalities

    Examples:
        >>> model = GLA(sizes=(5, 3), hidden=4, length=10)
        >>> image, audio = torch.zeros(2, 12, 5), torch.zeros(2, 12, 3)
        >>> model([image, audio, torch.ones(2, 12, 1)]).shape
        torch.Size([2, 3, 2])
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int] = (2048, 128),
        hidden: int | Sequence[int] = 128,
        layers: int | Sequence[int] = 1,
        cell: str = "gru",
        length: int = 60,
        n_labels: int = 2,
        n_experts: int = 2,
        dropout: float = 0.3,
        batch_norm: bool = True,
    ):
        super().__init__()
        if cell not in ("gru", "lstm"):
            raise ValueError(f"cell is 'gru' or 'lstm', not {cell!r}")
        hidden = _per_modality("hidden", hidden, len(sizes))
        layers = _per_modality("layers", layers, len(sizes))
        network = nn.GRU if cell == "gru" else nn.LSTM
        self.length = length
        # One network per modality, each with its own number of units.
        self.recurrent = nn.ModuleList()
        for size, units, depth in zip(sizes, hidden, layers, strict=True):
            self.recurrent.append(network(size, units, depth, batch_first=True))
        joined = sum(hidden)
        self.gate = ContextGate(n_features=joined, batch_norm=batch_norm)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(
            MixtureOfExperts(n_features=joined, n_labels=n_labels, n_experts=n_experts),
            ContextGate(n_features=n_labels, batch_norm=batch_norm),
        )

    def states(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """Last state of every modality in every window, ``(batch, run, sum of hidden)``."""
        *features, present = x
        states = []
        for rnn, modality in zip(self.recurrent, features, strict=True):
            states.append(last_states(rnn, modality, present, self.length))  # (batch, run, hidden)
        return torch.cat(states, dim=-1)  # (batch, run, sum of hidden)

    def embed(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """Gated states, ``(batch, run, sum of hidden)``."""
        joined = self.dropout(self.states(x))  # (batch, run, sum of hidden)
        return self.dropout(self.gate(joined))  # (batch, run, sum of hidden)

    def forward(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.head(self.embed(x))  # (batch, run, n_labels)


def _per_modality(name: str, numbers: int | Sequence[int], count: int) -> list[int]:
    """One number per modality, of a number for all or one for each."""
    if isinstance(numbers, int):
        return [numbers] * count
    if len(numbers) != count:
        raise ValueError(f"{name} has {len(numbers)} numbers, there are {count} modalities")
    return list(numbers)


def last_states(
    rnn: nn.GRU | nn.LSTM, x: torch.Tensor, present: torch.Tensor, length: int
) -> torch.Tensor:
    """Cuts the windows out of a stretch, and gives each to the network.

    Args:
        rnn: reads forward
        x: features of a stretch, second by second
        present: 1 where a second belongs to the film, 0 before it; each window ends within the film
        length: seconds in a window

    Shape:
        x ``(batch, length - 1 + run, size)``; present ``(batch, length - 1 + run, 1)``;
        result ``(batch, run, hidden)``, the last layer's last state in each window
    """
    windows = x.unfold(1, length, 1)  # (batch, run, size, length)
    batch, run = windows.shape[:2]
    windows = windows.flatten(0, 1).mT  # (batch * run, length, size)
    inside = present.unfold(1, length, 1).flatten(0, 1)  # (batch * run, 1, length)
    seconds = inside.sum(-1).long()  # (batch * run, 1), seconds of film in a window

    # A window may begin before its film. These seconds are put behind the others, and the network
    # stops before it reaches them.
    before = length - seconds  # (batch * run, 1)
    order = torch.arange(length, device=x.device) + before  # (batch * run, length)
    order = order % length  # (batch * run, length)
    windows = windows.take_along_dim(order.unsqueeze(-1), dim=1)  # (batch * run, length, size)
    packed = nn.utils.rnn.pack_padded_sequence(
        windows, seconds.squeeze(-1).cpu(), batch_first=True, enforce_sorted=False
    )
    _, state = rnn(packed)
    if isinstance(rnn, nn.LSTM):
        # An LSTM also gives its cells.
        state, _ = state
    return state[-1].unflatten(0, (batch, run))  # (batch, run, hidden)


class TCN(nn.Module):
    """Encoder-decoder of convolutions over time, sequence to sequence.

    Args:
        sizes: features per modality
        channels: channels of each level, which has half the rate of the one before;
            Lea et al., Section 4
        kernel: width in seconds at the first level, odd
        n_labels: valence and arousal
        dropout: share of whole channels dropped

    Shape:
        forward takes the input of :class:`GLA`, and gives a value for every second of it,
        ``(batch, seconds, n_labels)``

    References:
        Section 2.2
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int] = (2048, 128),
        channels: Sequence[int] = (64, 96),
        kernel: int = 5,
        n_labels: int = 2,
        dropout: float = 0.3,
    ):
        super().__init__()
        self.encoder = nn.ModuleList()
        width = sum(sizes)
        for level in channels:
            self.encoder.append(nn.Conv1d(width, level, kernel, padding=kernel // 2))
            width = level
        # The decoder goes back through the levels. At the first one it keeps the channels.
        self.decoder = nn.ModuleList()
        for level in [*channels[-2::-1], channels[0]]:
            self.decoder.append(nn.Conv1d(width, level, kernel, padding=kernel // 2))
            width = level
        self.dropout = nn.Dropout1d(dropout)
        self.head = nn.Sequential(nn.Linear(width, n_labels), nn.Sigmoid())

    def embed(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """Output of the decoder, ``(batch, seconds, channels)``."""
        *features, present = x
        # Seconds before the film are 0, like the padding of the convolutions.
        joined = torch.cat(features, dim=-1) * present  # (batch, seconds, features)
        y = joined.transpose(1, 2)  # (batch, features, seconds)
        lengths = []
        for convolution in self.encoder:
            lengths.append(y.shape[-1])
            y = self.dropout(convolution(y).relu())  # (batch, channels, seconds)
            y = functional.max_pool1d(y, 2, ceil_mode=True)  # (batch, channels, half the seconds)
        for convolution, length in zip(self.decoder, reversed(lengths), strict=True):
            y = functional.interpolate(y, length)  # (batch, channels, twice the seconds)
            y = self.dropout(convolution(y).relu())  # (batch, channels, seconds)
        return y.transpose(1, 2)  # (batch, seconds, channels)

    def forward(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.head(self.embed(x))  # (batch, seconds, n_labels)


def cross_entropy(truth: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    """Sigmoid cross-entropy of soft targets, mean over all values.

    Truth and prediction lie in [0, 1].

    References:
        Section 2
    """
    return functional.binary_cross_entropy(prediction, truth)


def batch_statistics(model: nn.Module) -> nn.Module:
    """A copy of a model whose batch norms predict with the statistics of the batch at hand.

    The paper's models do so.

    References:
        Section 3, last paragraph
    """
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            # Without running statistics PyTorch takes those of the batch in evaluation, too.
            module.running_mean = None
            module.running_var = None
    return model


def stretches(data: Samples, *, length: int = 60, run: int = 64) -> Samples:
    """Cuts films into stretches of neighbouring windows, with a window that ends at each second.

    No window and no input is copied: a stretch holds row numbers.
    The last stretch of a film ends with the film, and overlaps the stretch before.

    Args:
        data: samples, one per second; those of a film stand together and in order
        length: seconds in a window; 1 for a sequence-to-sequence model
        run: windows in a stretch

    Returns:
        Samples with ``windows``, one per stretch.
        The inputs are those of ``data``, and one more that is 1: ``take`` gives zeros for every
        second before a film, so that this input tells whether a second belongs to the film

    Shape:
        target of ``data`` ``(seconds, labels)``;
        target of the result ``(stretches, run, labels, 1)``, so that all of it counts in
        ``training.fit``; windows ``(stretches, length - 1 + run)``

    Raises:
        ValueError: if a number is below 1, a film is shorter than ``run``, or its seconds do not
            stand together
    """
    if min(length, run) < 1:
        raise ValueError(f"length and run are at least 1, not {length} and {run}")
    starts, ends = _stretch_bounds(data.groups, run)
    # Rows count back from the end of a stretch. There is nothing before its film: -1.
    rows = ends[:, None] + np.arange(1 - length - run, 0)  # (stretches, length - 1 + run)
    rows = np.where(rows < starts[:, None], -1, rows)  # (stretches, length - 1 + run)
    windows = torch.from_numpy(rows)
    present = data.inputs[0].new_ones(len(data.groups), 1)  # (seconds, 1)
    target = data.target[windows[:, -run:]].unsqueeze(-1)  # (stretches, run, labels, 1)
    return replace(
        data,
        inputs=(*data.inputs, present),
        windows=windows,
        target=target,
        ids=tuple(data.ids[end - 1] for end in ends),
        groups=tuple(data.groups[end - 1] for end in ends),
    )


def _stretch_bounds(films: Sequence[str], run: int) -> tuple[np.ndarray, np.ndarray]:
    """For each stretch: the first row of its film, and the row after the stretch."""
    film_starts = np.flatnonzero(group_starts(films)).tolist()
    film_ends = [*film_starts[1:], len(films)]
    starts = []
    ends = []
    for start, end in zip(film_starts, film_ends, strict=True):
        if end - start < run:
            raise ValueError(f"film {films[start]} has {end - start} s, a stretch {run}")
        # The last stretch ends with the film, however much of it the one before has covered.
        stretch_ends = [*range(start + run, end, run), end]
        starts += [start] * len(stretch_ends)
        ends += stretch_ends
    return np.array(starts), np.array(ends)


def per_second(data: Samples, values: ArrayLike) -> np.ndarray:
    """Puts the value at the end of each window at its second.

    Args:
        data: the stretches, all of a corpus or some
        values: one per stretch and window

    Shape:
        values ``(stretches, run, ...)``;
        result ``(seconds of the corpus, ...)``, nan for seconds in no stretch
    """
    values = np.asarray(values)
    run = values.shape[1]
    seconds = len(data.inputs[0])
    ends = data.windows[:, -run:].numpy()  # (stretches, run)
    result = np.full((seconds, *values.shape[2:]), np.nan)
    result[ends] = values
    return result


def past_means(data: Samples, length: int) -> Samples:
    """Mean pooling: the features of each second become their mean over the window that ends there.

    A window that begins before its film is shorter, as in :func:`last_states`. Each sample of the
    result is a window of one row, so that ``select`` copies nothing.

    Args:
        data: samples, one per second; those of a film stand together and in order
        length: seconds in a window

    Raises:
        ValueError: if ``length`` is below 1, or the seconds of a film do not stand together
    """
    if length < 1:
        raise ValueError(f"length is at least 1, not {length}")
    row = np.arange(len(data.groups))
    # First row of each window, which begins with its film at the earliest.
    first = np.maximum(row - length + 1, first_rows(data.groups))  # (seconds,)
    first = torch.from_numpy(first)
    end = torch.from_numpy(row + 1)
    inputs = []
    for x in data.inputs:
        means = torch.empty_like(x)  # (seconds, size)
        # A few columns at a time: the sums are in double precision.
        for columns, result in zip(x.split(_COLUMNS, 1), means.split(_COLUMNS, 1), strict=True):
            # With running sums the cost does not grow with the window.
            sums = columns.double().cumsum(0)  # (seconds, columns)
            sums = functional.pad(sums, (0, 0, 1, 0))  # (seconds + 1, columns)
            result[:] = (sums[end] - sums[first]) / (end - first).unsqueeze(1)
        inputs.append(means)
    return replace(data, inputs=tuple(inputs), windows=torch.from_numpy(row)[:, None])


def butterworth(
    series: ArrayLike, *, order: int, cutoff: float, hertz: float, causal: bool = False
) -> np.ndarray:
    """Low-pass filter without ripples.

    Args:
        series: values of one film over time
        order: order of the filter; forwards and backwards doubles it
        cutoff: frequency in Hz at which half the power is left (forwards and backwards, a quarter)
        hertz: values per second
        causal: True filters forwards only, as a live system must, and lags.
            False filters forwards and backwards, and has no lag (zero phase)

    Shape:
        series and result ``(..., time)``

    Raises:
        ValueError: if ``cutoff`` does not lie between 0 and half of ``hertz``

    References:
        Section 2.3; ``scipy.signal.butter`` with ``sosfiltfilt`` or ``sosfilt``

    Examples:
        >>> butterworth([1.0, 1.0, 1.0, 1.0], order=2, cutoff=0.1, hertz=1).round(6).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    from scipy import signal

    if not 0 < cutoff < hertz / 2:
        raise ValueError(f"cutoff lies between 0 and {hertz / 2:g} Hz, not at {cutoff:g}")
    series = np.asarray(series, float)
    sections = signal.butter(order, cutoff, fs=hertz, output="sos")
    if not causal:
        # As much padding as scipy takes by default, or as much as a short film has.
        padding = 3 * (2 * len(sections) + 1)
        padding = min(padding, series.shape[-1] - 1)
        return signal.sosfiltfilt(sections, series, padlen=padding)
    # The filter starts as if the first value had always been there.
    settled = signal.sosfilt_zi(sections)  # (sections, 2), for a constant of 1
    leading = [1] * (series.ndim - 1)
    settled = settled.reshape(len(sections), *leading, 2)  # (sections, ..., 2)
    filtered, _ = signal.sosfilt(sections, series, zi=settled * series[..., :1])
    return filtered


def moving_average(series: ArrayLike, *, seconds: float, hertz: float) -> np.ndarray:
    """Weighted moving average; the weights fall in a straight line on both sides of each moment.

    Args:
        series: values of one film over time
        seconds: duration from the first weight to the last
        hertz: values per second

    Shape:
        series and result ``(..., time)``

    Raises:
        ValueError: if ``seconds`` is not positive

    References:
        Section 2.3

    Examples:
        >>> moving_average([0.0, 4.0, 0.0], seconds=3, hertz=1).round(3).tolist()
        [1.333, 2.0, 1.333]
    """
    from scipy.ndimage import convolve1d

    if not seconds > 0:
        raise ValueError(f"seconds must be positive, not {seconds}")
    series = np.asarray(series, float)
    side = round(seconds * hertz) // 2
    distance = np.abs(np.arange(-side, side + 1))  # (2 * side + 1,)
    weights = 1 - distance / (side + 1)  # (2 * side + 1,)
    total = convolve1d(series, weights, mode="constant")  # (..., time)
    # Weights that reach beyond the film do not count.
    inside = convolve1d(np.ones_like(series), weights, mode="constant")  # (..., time)
    return total / inside  # (..., time)


def cutoffs(film_seconds: float, *, hertz: float) -> list[float]:
    """Cut-off frequencies to try, an octave apart, from the highest down.

    The highest is 0.4 of the rate, which leaves nearly everything; the lowest still lets one wave
    per film through. How slowly annotations move is a matter of the corpus, so that a fixed list
    would be too fast for long films.

    Args:
        film_seconds: length of a film
        hertz: values per second

    Raises:
        ValueError: if a film has fewer than three values

    Examples:
        >>> cutoffs(50, hertz=1)
        [0.4, 0.2, 0.1, 0.05, 0.025]
    """
    _check_long_enough(film_seconds, hertz)
    frequencies = []
    frequency = 0.4 * hertz
    while frequency * film_seconds >= 1:
        frequencies.append(frequency)
        frequency /= 2
    return frequencies


def widths(film_seconds: float, *, hertz: float) -> list[float]:
    """Durations of moving averages to try, each about twice the last, up to a film's length.

    Args:
        film_seconds: length of a film
        hertz: values per second

    Raises:
        ValueError: if a film has fewer than three values

    Examples:
        >>> widths(50, hertz=1)
        [3.0, 5.0, 9.0, 17.0, 33.0]
    """
    _check_long_enough(film_seconds, hertz)
    durations = []
    values = 3  # odd: as many before a moment as after it
    while values <= film_seconds * hertz:
        durations.append(values / hertz)
        values = 2 * values - 1
    return durations


def _check_long_enough(film_seconds: float, hertz: float) -> None:
    """Refuses films of fewer than three values, for which there is no filter to try."""
    if film_seconds * hertz < 3:
        raise ValueError(f"a film of {film_seconds:g} s at {hertz:g} Hz is too short to filter")


def film_by_film(
    smooth: Callable[[np.ndarray], np.ndarray], values: ArrayLike, films: Sequence[str]
) -> np.ndarray:
    """Applies a filter within every film.

    Args:
        smooth: takes and gives ``(..., time)``
        values: of the seconds of several films, those of a film in order
        films: film of each second

    Shape:
        values and result ``(..., seconds)``; films ``(seconds,)``
    """
    values = np.asarray(values, float)
    films = np.asarray(films)
    result = np.empty_like(values)
    for film in set(films.tolist()):
        inside = films == film
        result[..., inside] = smooth(values[..., inside])
    return result
