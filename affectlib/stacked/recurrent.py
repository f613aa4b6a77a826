"""A faster twin of ``models.gla.GLA``, for windows that slide over a film second by second."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional

from affectlib.models import gla as plain


class SlidingGLA(plain.GLA):
    """The plain model. Neighbouring windows share the projection of the seconds they share."""

    def states(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """Last state of every modality in every window, ``(batch, run, sum of hidden)``."""
        *features, present = x
        shapes = {(rnn.hidden_size, rnn.num_layers) for rnn in self.recurrent}
        if len(shapes) == 1:
            # All networks have one shape, and take each step together.
            states = list(last_states(self.recurrent, features, present, self.length))
        else:
            states = []
            for rnn, modality in zip(self.recurrent, features, strict=True):
                (alone,) = last_states([rnn], [modality], present, self.length)
                states.append(alone)  # (batch, run, hidden)
        return torch.cat(states, dim=-1)  # (batch, run, sum of hidden)


def last_states(
    rnns: Sequence[nn.GRU | nn.LSTM],
    x: Sequence[torch.Tensor],
    present: torch.Tensor,
    length: int,
) -> torch.Tensor:
    """Last states of recurrent networks in each window that slides over a stretch.

    The result is that of :func:`affectlib.models.gla.last_states`, for all networks at once.
    The contribution of a second does not depend on the window that it is seen in. Its projection,
    nearly all of the arithmetic, is therefore computed once, and each step takes a slice of it.

    Args:
        rnns: one per modality, of the same number of units and layers
        x: features of a stretch, second by second, one tensor per modality
        present: 1 where a second belongs to the film, 0 before it
        length: seconds in a window

    Shape:
        each x ``(batch, length - 1 + run, size)``; present ``(batch, length - 1 + run, 1)``;
        result ``(modalities, batch, run, hidden)``
    """
    run = present.shape[1] - length + 1
    # From this second on, every stretch lies within its film.
    first_whole = int((present == 0).any(0).sum())
    inside = []  # each (batch, run, 1); None where all seconds belong to the film
    for t in range(length):
        inside.append(present[:, t : t + run] > 0 if t < first_whole else None)
    layers = rnns[0].num_layers
    for layer in range(layers):
        projected = _project(rnns, layer, x)
        if layer == 0:
            # each a view, (modalities, batch, run, gates)
            steps = [projected[:, :, t : t + run] for t in range(length)]
        else:
            # (modalities, length, batch, run, gates)
            steps = projected.unbind(1)
        states = _scan(rnns, layer, steps, inside)
        if layer + 1 < layers:
            x = torch.stack(list(states), dim=1)  # (modalities, length, batch, run, hidden)
    # Only the last state of the last layer is kept: the list of all would fill the memory.
    for state in states:
        last = state  # (modalities, batch, run, hidden)
    return last


def _project(
    rnns: Sequence[nn.GRU | nn.LSTM], layer: int, x: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Inputs of one layer, times its weights, for every modality: ``(modalities, ..., gates)``."""
    projected = []
    for rnn, values in zip(rnns, x, strict=True):
        weight = getattr(rnn, f"weight_ih_l{layer}")  # (gates, size)
        bias = getattr(rnn, f"bias_ih_l{layer}")  # (gates,)
        projected.append(functional.linear(values, weight, bias))  # (..., gates)
    return torch.stack(projected)


def _scan(
    rnns: Sequence[nn.GRU | nn.LSTM],
    layer: int,
    steps: Sequence[torch.Tensor],
    inside: Sequence[torch.Tensor | None],
) -> Iterator[torch.Tensor]:
    """State of one layer after each second of the windows.

    Args:
        rnns: one per modality
        layer: number of the layer, from 0
        steps: projected inputs, second by second, each ``(modalities, batch, run, gates)``
        inside: for each second, whether it belongs to the film, ``(batch, run, 1)``; None where
            all do

    Yields:
        ``(modalities, batch, run, hidden)``
    """
    weights = [getattr(rnn, f"weight_hh_l{layer}") for rnn in rnns]
    biases = [getattr(rnn, f"bias_hh_l{layer}") for rnn in rnns]
    weight = torch.stack(weights).mT  # (modalities, hidden, gates)
    bias = torch.stack(biases).unsqueeze(1)  # (modalities, 1, gates)
    step_of = _lstm_step if isinstance(rnns[0], nn.LSTM) else _gru_step
    h = steps[0].new_zeros(*steps[0].shape[:-1], rnns[0].hidden_size)
    c = h
    for step, within in zip(steps, inside, strict=True):
        back = torch.baddbmm(bias, h.flatten(1, 2), weight)  # (modalities, batch * run, gates)
        new_h, new_c = step_of(step, back.view_as(step), h, c)
        if within is not None:
            # Before the film begins, the state stays 0.
            new_h = torch.where(within, new_h, h)  # (modalities, batch, run, hidden)
            if new_c is not c:  # a GRU has no cell
                new_c = torch.where(within, new_c, c)  # (modalities, batch, run, hidden)
        h, c = new_h, new_c
        yield h


def _gru_step(
    step: torch.Tensor, back: torch.Tensor, h: torch.Tensor, c: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The equations in torch's documentation of GRU. A GRU has no cell: ``c`` comes back."""
    hidden = h.shape[-1]
    step, step_n = step.split((2 * hidden, hidden), dim=-1)  # (..., 2 hidden), (..., hidden)
    back, back_n = back.split((2 * hidden, hidden), dim=-1)  # (..., 2 hidden), (..., hidden)
    r, z = (step + back).sigmoid().chunk(2, dim=-1)  # each (..., hidden)
    n = torch.addcmul(step_n, r, back_n).tanh()  # (..., hidden)
    return torch.lerp(n, h, z), c


def _lstm_step(
    step: torch.Tensor, back: torch.Tensor, h: torch.Tensor, c: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The equations in torch's documentation of LSTM: the new state, and the new cell."""
    i, f, g, o = (step + back).chunk(4, dim=-1)  # each (..., hidden)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()  # (..., hidden)
    return o.sigmoid() * c.tanh(), c


TWINS = {plain.GLA: SlidingGLA}
