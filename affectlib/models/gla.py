"""GRU, context gates, mixture of experts: valence and arousal of a film, every second.

A recurrent network per modality reads the last minute; its last state is gated, a small mixture of experts gives both
values at once, and a low-pass filter smooths the film's course.

References:
    Jennifer J. Sun, Ting Liu, Gautam Prasad, GLA in MediaEval 2018 emotional impact of movies task, MediaEval, 2018.
    Context gate: Miech, Laptev, Sivic, Learnable pooling with context gating, arXiv 1706.06905, 2017.
    Mixture with a dummy expert: Abu-El-Haija et al., YouTube-8M, arXiv 1609.08675, 2016, Section 5.1.
    Encoder-decoder TCN: Lea et al., Temporal convolutional networks for action segmentation and detection, CVPR, 2017.

Differs from the paper in (04_gla says why):
    - "Multi-label" cross-entropy: two labels, scaled to [0, 1], soft targets.
    - Before its film begins a window is masked: the state stays 0.
    - 128 units and one layer for every modality, where the paper tunes 32 to 256 and 1 or 2 for each; two experts;
      dropout of 0.3 on the joined states and before the mixture.
    - The epoch is chosen on the validation films; no model learns from them in the end. Run 2 learns from the first
      70 % of the films. Table 1 is filtered, with the statistics of the batch.
    - Batches are of stretches of neighbouring windows, which share what they have in common (:func:`stretches`).
    - The moving average is weighted by a triangle, by what of it lies inside the film.
    - TCN: modalities are joined at the input; kernels of 5 s, two levels of 64 and 96 channels.
    - Faces go through Inception on ImageNet: the paper's network was not released.
"""

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SIZES = {"image": 2048, "audio": 128, "face": 4096}  # per second; the two largest faces, 2,048 each


class ContextGate(nn.Module):
    """Lets each feature through as far as all of them together say: ``x * sigmoid(BN(W x))``.

    Args:
        n_features: of the input, and of the output
        batch_norm: False puts a bias in its place (Table 1, run 1)

    Shape:
        forward and activity take and give ``(..., n_features)``

    Examples:
        >>> ContextGate(n_features=4, batch_norm=False)(torch.zeros(3, 2, 4)).shape
        torch.Size([3, 2, 4])
    """

    def __init__(self, *, n_features, batch_norm=True):
        super().__init__()
        self.gates = nn.Linear(n_features, n_features, bias=not batch_norm)
        self.norm = nn.BatchNorm1d(n_features) if batch_norm else nn.Identity()

    def activity(self, x):
        """How far each feature is let through, in (0, 1)."""
        z = self.gates(x)  # (..., n_features)
        return self.norm(z.flatten(0, -2)).view_as(z).sigmoid()  # (..., n_features)

    def forward(self, x):
        return x * self.activity(x)  # (..., n_features)


class MixtureOfExperts(nn.Module):
    """Logistic experts, weighted by a softmax for each label; one more, a dummy, always says 0.

    Args:
        n_features: of the input
        n_labels: each with experts and weights of its own
        n_experts: without the dummy

    Shape:
        forward ``(..., n_features)`` to ``(..., n_labels)``, in (0, 1)
    """

    def __init__(self, *, n_features, n_labels, n_experts=2):
        super().__init__()
        self.n_experts = n_experts
        self.gates = nn.Linear(n_features, n_labels * (n_experts + 1), bias=False)
        self.experts = nn.Linear(n_features, n_labels * n_experts)

    def shares(self, x):
        """Weight of each expert, the dummy last: ``(..., n_labels, n_experts + 1)``."""
        return self.gates(x).unflatten(-1, (-1, self.n_experts + 1)).softmax(-1)

    def forward(self, x):
        said = (
            self.experts(x).sigmoid().unflatten(-1, (-1, self.n_experts))
        )  # (..., n_labels, n_experts)
        return (self.shares(x)[..., :-1] * said).sum(-1)  # (..., n_labels)


class GLA(nn.Module):
    """A recurrent network per modality, joined by a context gate; mixture of experts; second gate.

    Args:
        sizes: features per modality; Section 2.1, image and audio
        hidden: units of each recurrent network, one number or one per modality; 32 to 256 in Section 3
        layers: of each, one number or one per modality; 1 or 2 in Section 3
        cell: ``"gru"`` or ``"lstm"``; Section 2.2
        length: seconds in a window; 60 was best in Section 3
        n_labels: valence and arousal
        n_experts, dropout: ours; no dropout in run 1 of Table 1
        batch_norm: in the gates; False in run 1

    Shape:
        forward takes one ``(batch, length - 1 + run, size)`` per modality and last whether the second is of the film,
        ``(batch, length - 1 + run, 1)``; gives the value at the end of each of the ``run`` windows,
        ``(batch, run, n_labels)``, in (0, 1). A single window has a run of 1.

    Raises:
        ValueError: if ``cell`` is neither

    Examples:
        >>> GLA(sizes=(5, 3), hidden=4, length=10)([torch.zeros(2, 12, 5), torch.zeros(2, 12, 3), torch.ones(2, 12, 1)]
        ...                                        ).shape
        torch.Size([2, 3, 2])
    """

    def __init__(
        self,
        *,
        sizes=(2048, 128),
        hidden=128,
        layers=1,
        cell="gru",
        length=60,
        n_labels=2,
        n_experts=2,
        dropout=0.3,
        batch_norm=True,
    ):
        super().__init__()
        if cell not in ("gru", "lstm"):
            raise ValueError(f"cell is 'gru' or 'lstm', not {cell!r}")
        hidden, layers = (
            [each] * len(sizes) if isinstance(each, int) else list(each)
            for each in (hidden, layers)
        )
        kind = nn.GRU if cell == "gru" else nn.LSTM
        self.length = length
        shapes = zip(sizes, hidden, layers, strict=True)
        self.recurrent = nn.ModuleList(kind(*shape, batch_first=True) for shape in shapes)
        self.gate = ContextGate(n_features=sum(hidden), batch_norm=batch_norm)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(
            MixtureOfExperts(n_features=sum(hidden), n_labels=n_labels, n_experts=n_experts),
            ContextGate(n_features=n_labels, batch_norm=batch_norm),
        )

    def states(self, x):
        """Last state of every modality in every window, side by side: ``(batch, run, sum of hidden)``."""
        *x, present = x
        alike = len({(rnn.hidden_size, rnn.num_layers) for rnn in self.recurrent}) == 1
        pairs = list(zip(self.recurrent, x, strict=True))
        groups = [
            last_states(*zip(*own, strict=True), present, self.length)
            for own in ([pairs] if alike else [[pair] for pair in pairs])
        ]
        return torch.cat([states for group in groups for states in group], -1)

    def embed(self, x):
        fused = self.dropout(self.states(x))  # (batch, run, sum of hidden)
        return self.dropout(self.gate(fused))  # (batch, run, sum of hidden)

    def forward(self, x):
        return self.head(self.embed(x))  # (batch, run, n_labels)


def last_states(rnns, x, present, length):
    """Last states of recurrent networks in each of the windows that slide over a stretch, one second at a time.

    The same numbers as cutting the windows out and giving each, without what lies before its film, to its network.
    But what a second contributes does not depend on the window it is seen in: its projection, nearly all of the
    arithmetic, is computed once, and each step takes a slice of it. All networks take a step at once.

    Args:
        rnns: ``nn.GRU`` or ``nn.LSTM`` of the same number of units and layers that read forward, one per modality
        x: features of a stretch, second by second, one tensor per modality
        present: 1 where a second is of the film, 0 before it
        length: seconds in a window

    Shape:
        each x ``(batch, length - 1 + run, size)``; present ``(batch, length - 1 + run, 1)``;
        result ``(modalities, batch, run, hidden)``
    """
    run, whole = present.shape[1] - length + 1, bool(present.all())
    seen = [present[:, t : t + run] > 0 for t in range(length)]  # each (batch, run, 1)
    for layer in range(rnns[0].num_layers):
        w, recurrent, b, bias = (
            [getattr(rnn, f"{name}_l{layer}") for rnn in rnns]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        recurrent, bias = (
            torch.stack(recurrent).mT,
            torch.stack(bias).unsqueeze(1),
        )  # (modalities, hidden, gates), …
        steps = torch.stack([functional.linear(*each) for each in zip(x, w, b, strict=True)])
        # each (modalities, batch, run, gates); at the first layer a view
        steps = steps.unbind(1) if layer else [steps[:, :, t : t + run] for t in range(length)]
        state = h, c = (present.new_zeros(len(rnns), len(present), run, rnns[0].hidden_size),) * 2
        more, outputs = layer + 1 < rnns[0].num_layers, []
        for t, step in enumerate(steps):
            back = torch.baddbmm(bias, h.flatten(1, 2), recurrent).view_as(
                step
            )  # (modalities, batch, run, gates)
            new = _cell(rnns[0], step, back, h, c)
            state = (
                new
                if whole
                else [torch.where(seen[t], *pair) for pair in zip(new, state, strict=True)]
            )
            h, c = state
            outputs += [h] if more else []
        x = torch.stack(outputs, 1) if more else x  # (modalities, length, batch, run, hidden)
    return h


def _cell(rnn, step, back, h, c):
    """One step of the equations in torch's documentation of GRU and LSTM: the new state, and the new cell."""
    if isinstance(rnn, nn.LSTM):
        i, f, g, o = (step + back).chunk(4, -1)  # each (…, run, hidden)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    sizes = 2 * rnn.hidden_size, rnn.hidden_size
    (step, last), (back, candidate) = step.split(sizes, -1), back.split(sizes, -1)
    r, z = (step + back).sigmoid().chunk(2, -1)  # each (…, run, hidden)
    n = torch.addcmul(last, r, candidate).tanh()  # (…, run, hidden)
    return torch.lerp(n, h, z), c


class TCN(nn.Module):
    """Encoder-decoder of convolutions over time, sequence to sequence.

    Args:
        sizes: features per modality
        channels: of each level, halving the rate each time; Lea et al., Section 4
        kernel: in seconds at the first level, odd
        n_labels: valence and arousal
        dropout: of whole channels

    Shape:
        forward takes what :class:`GLA` takes, gives a value for every second of it, ``(batch, seconds, n_labels)``

    References:
        Section 2.2
    """

    def __init__(self, *, sizes=(2048, 128), channels=(64, 96), kernel=5, n_labels=2, dropout=0.3):
        super().__init__()
        widths = [sum(sizes), *channels]
        conv = [
            nn.Conv1d(*pair, kernel, padding=kernel // 2)
            for pair in zip(widths, channels, strict=False)
        ]
        back = [
            nn.Conv1d(*pair, kernel, padding=kernel // 2)
            for pair in zip(channels[::-1], [*channels[-2::-1], channels[0]], strict=True)
        ]
        self.encoder, self.decoder = nn.ModuleList(conv), nn.ModuleList(back)
        self.dropout = nn.Dropout1d(dropout)
        self.head = nn.Sequential(nn.Linear(channels[0], n_labels), nn.Sigmoid())

    def embed(self, x):
        *x, present = x
        x = (torch.cat(x, -1) * present).transpose(1, 2)  # (batch, features, seconds)
        rates = []
        for layer in self.encoder:
            rates.append(x.shape[-1])
            x = functional.max_pool1d(
                self.dropout(layer(x).relu()), 2, ceil_mode=True
            )  # (batch, channels, halved)
        for layer, seconds in zip(self.decoder, rates[::-1], strict=True):
            x = self.dropout(
                layer(functional.interpolate(x, seconds)).relu()
            )  # (batch, channels, doubled)
        return x.transpose(1, 2)  # (batch, seconds, channels)

    def forward(self, x):
        return self.head(self.embed(x))  # (batch, seconds, n_labels)


def cross_entropy(truth, prediction):
    """Sigmoid cross-entropy of soft targets, mean over everything; both in [0, 1] (Section 2)."""
    return functional.binary_cross_entropy(prediction, truth)


def batch_statistics(model):
    """A copy of a model whose batch norms predict with the statistics of the batch at hand, as the paper's do.

    References:
        Section 3, last paragraph
    """
    model = copy.deepcopy(model)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm1d)):
        norm.running_mean = norm.running_var = None
    return model


def stretches(data, *, length=60, run=64):
    """Cuts films into stretches of neighbouring windows, one window ending at each second; no window is copied.

    Args:
        data: samples, one per second, those of a film together and in order
        length: seconds in a window; 1 for a sequence-to-sequence model
        run: windows in a stretch; the last stretch of a film ends with it and overlaps the one before

    Returns:
        Samples with ``windows``, one per stretch. Their inputs are those of ``data``, a last row of zeros which
        stands for every second before a film, and as one more input whether a row is of a film (1) or that one (0)

    Shape:
        data's target ``(seconds, labels)``; the result's ``(stretches, run, labels, 1)``, so that all of it counts in
        ``training.fit``; windows ``(stretches, length - 1 + run)``

    Raises:
        ValueError: if a number is below 1, a film is shorter than ``run``, or its seconds do not stand together
    """
    if min(length, run) < 1:
        raise ValueError(f"length and run are at least 1, not {length} and {run}")
    films, ends, starts = np.asarray(data.groups), [], []
    changes = [0, *(np.flatnonzero(films[1:] != films[:-1]) + 1), len(films)]
    if len(changes) - 1 != len(set(data.groups)):
        raise ValueError("the seconds of one film do not stand together")
    for start, end in pairwise(changes):
        if end - start < run:
            raise ValueError(f"film {films[start]} has {end - start} s, a stretch {run}")
        lasts = sorted({*range(start + run, end, run), end})
        ends, starts = ends + lasts, starts + [start] * len(lasts)
    rows = np.array(ends)[:, None] + np.arange(1 - length - run, 0)  # (stretches, length - 1 + run)
    windows = torch.from_numpy(np.where(rows < np.array(starts)[:, None], len(films), rows))
    inputs = [torch.cat([x, x.new_zeros(1, x.shape[1])]) for x in data.inputs]
    present = (torch.arange(len(films) + 1) < len(films)).to(data.inputs[0].dtype)[:, None]
    target = data.target[windows[:, -run:]].unsqueeze(-1)  # (stretches, run, labels, 1)
    return replace(
        data,
        inputs=(*inputs, present),
        windows=windows,
        target=target,
        ids=tuple(data.ids[end - 1] for end in ends),
        groups=tuple(data.groups[end - 1] for end in ends),
    )


def per_second(data, values):
    """What was said at the end of each window, put at its second.

    Args:
        data: the stretches, all of a corpus or some
        values: one per stretch and window

    Shape:
        values ``(stretches, run, ...)``; result ``(seconds of the corpus, ...)``, nan where no stretch is
    """
    values = np.asarray(values)
    result = np.full((len(data.inputs[0]) - 1, *values.shape[2:]), np.nan)
    result[data.windows[:, -values.shape[1] :].numpy()] = values
    return result


def butterworth(series, *, order, cutoff, hertz, causal=False):
    """Low-pass filter without ripples.

    Args:
        series: values of one film over time
        order: of the filter; forwards and backwards doubles it
        cutoff: frequency at which half the power is left (a quarter, forwards and backwards), in Hz
        hertz: values per second
        causal: True looks at the past only, as a live system must, and lags; False has no lag (zero phase)

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
    if causal:
        start = signal.sosfilt_zi(sections)  # (sections, 2), of a step of height 1
        start = (
            start.reshape(len(start), *[1] * (series.ndim - 1), 2) * series[..., :1]
        )  # (sections, ..., 2)
        return signal.sosfilt(sections, series, zi=start)[0]
    return signal.sosfiltfilt(
        sections, series, padlen=min(3 * (2 * len(sections) + 1), series.shape[-1] - 1)
    )


def moving_average(series, *, seconds, hertz):
    """Weighted moving average around each moment, the weights falling to both sides in a straight line.

    Args:
        series: values of one film over time
        seconds: from end to end of the weights that count
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
    series, side = np.asarray(series, float), round(seconds * hertz) // 2
    weights = 1 - np.abs(np.arange(-side, side + 1)) / (side + 1)  # (2 * side + 1,)
    total, inside = (
        convolve1d(x, weights, mode="constant") for x in (series, np.ones_like(series))
    )
    return total / inside  # (..., time)


def film_by_film(smooth, values, films):
    """Applies a filter within every film.

    Args:
        smooth: takes and gives ``(..., time)``
        values: of the seconds of several films, those of a film in order
        films: film of each

    Shape:
        values and result ``(..., seconds)``; films ``(seconds,)``
    """
    values, films = np.asarray(values, float), np.asarray(films)
    result = np.empty_like(values)
    for film in set(films.tolist()):
        result[..., films == film] = smooth(values[..., films == film])
    return result
