"""Faster twins of the layers of ``models.attend_affect``, for one model or for many stacked.

Each class takes the place of a plain layer, has the same parameters, and differs in ``forward``.
Parameters may be stacked along a leading dimension, one slice per model; inputs then are stacked in
the same way. Shape comments are for one model.
"""

import math

import torch
from torch import nn

from affectlib.models import attend_affect as plain


class Linear(nn.Linear):
    """A linear layer. Stacked, all models take one batched matrix product."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.weight.dim() == 2:
            return super().forward(x)
        rows = x.flatten(1, -2)  # (models, rows, in)
        bias = self.bias.unsqueeze(1)  # (models, 1, out)
        y = torch.baddbmm(bias, rows, self.weight.mT)  # (models, rows, out)
        return y.unflatten(1, x.shape[1:-1])  # (models, batch, ..., out)


class Dropout(nn.Dropout):
    """Dropout that draws 16 random bits per value, faster than PyTorch's for many stacked models.

    For one small model alone it is no faster: ``benchmarks/dropout.py`` measures both.
    The probability is rounded to a multiple of 2**-16, and the values kept are scaled accordingly.

    Attributes:
        models: None; or, where some of the stacked models were dropped, the number of models before
            that, and the positions of those that are left; see :func:`draw_for_all`
        axis: dimension along which models are stacked
    """

    models: tuple[int, torch.Tensor] | None = None
    axis: int = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = round(self.p * 2**16)
        if not self.training or not steps:
            return x
        shape = list(x.shape)
        if self.models is not None:
            shape[self.axis] = self.models[0]
        size = math.prod(shape)
        # Each 64-bit integer gives four 16-bit integers, from -2**15 to 2**15 - 1.
        count = (size + 3) // 4
        bits = torch.empty(count, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        draws = bits.view(torch.int16)[:size].view(shape)
        if self.models is not None:
            draws = draws.index_select(self.axis, self.models[1])
        # The lowest `steps` of 2**16 values drop out.
        kept = draws > steps - 2**15 - 1
        scale = 2**16 / max(2**16 - steps, 1)
        return x * kept.to(x.dtype).mul_(scale)


class LayerNorm(plain.LayerNorm):
    """The plain norm on PyTorch's kernel, which needs one pass instead of eight.

    The kernel divides by the biased deviation ``s``. The factor from there to the plain norm is
    ``s / (s sqrt(n / (n - 1)) + 1e-6)``. The gradient takes it as a constant, which it nearly is.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[-1]
        y, _, inverse = torch.native_layer_norm(x, (n,), None, None, 1e-20)
        unbiased = math.sqrt(n / (n - 1))
        y = y / (unbiased + 1e-6 * inverse.detach())  # (..., width)
        scale = self.scale
        shift = self.shift
        if scale.dim() == 2:
            # (models, 1, ..., 1, width)
            shape = (len(scale), *[1] * (x.dim() - 2), n)
            scale = scale.view(shape)
            shift = shift.view(shape)
        return torch.addcmul(shift, y, scale)  # (..., width)


class Attention(plain.Attention):
    """The plain attention with products taken value by value.

    Tokens are few and heads narrow: thousands of matrix products of 5 x 4 are slow. Here everything
    else (models, batch, heads) is the last dimension, called rows, and the products run along it.
    """

    def forward(
        self, x: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        q = self._rows(self.query(x))  # (tokens, d, rows)
        k, v = self.key_value(memory).chunk(2, dim=-1)  # each (batch, memory, width)
        k = self._rows(k)  # (memory, d, rows)
        v = self._rows(v)  # (memory, d, rows)

        products = q.unsqueeze(1) * k  # (tokens, memory, d, rows)
        scores = products.sum(2) / math.sqrt(q.shape[1])  # (tokens, memory, rows)
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(-1), -torch.inf)  # (tokens, memory, rows)
        weights = scores.softmax(1)  # (tokens, memory, rows)
        leading = (*x.shape[:-2], self.heads)  # (batch, heads)
        # (batch, heads, tokens, memory)
        self.weights = weights.detach().movedim(-1, 0).unflatten(0, leading)

        # (tokens, memory, batch, heads), and models before the batch if there are several
        shares = self.dropout(weights.unflatten(-1, leading))
        shares = shares.flatten(2).unsqueeze(2)  # (tokens, memory, 1, rows)
        y = (shares * v).sum(1)  # (tokens, d, rows)
        y = y.unflatten(-1, leading)  # (tokens, d, batch, heads)
        y = y.movedim((0, 1), (-3, -1))  # (batch, tokens, heads, d)
        return self.output(y.flatten(-2))  # (batch, tokens, width)

    def _rows(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens and the cells of a head first, everything else behind."""
        x = x.unflatten(-1, (self.heads, -1))  # (batch, tokens, heads, d)
        x = x.movedim((-3, -1), (0, 1))  # (tokens, d, batch, heads)
        return x.flatten(2).contiguous()  # (tokens, d, rows)


def draw_for_all(model: nn.Module, n_models: int, left: torch.Tensor) -> None:
    """Draws dropout for all models of a stack of which some were dropped.

    Each model that is left then draws what it would have drawn among all.

    Args:
        model: a stack of fast models
        n_models: number of models before some were dropped
        left: positions of those that are left, on the device of the model
    """
    for module in model.modules():
        if isinstance(module, Dropout):
            module.models = None if len(left) == n_models else (n_models, left)
        if isinstance(module, Attention):
            # Its weights have the tokens in front.
            module.dropout.axis = 2


TWINS = {
    nn.Linear: Linear,
    nn.Dropout: Dropout,
    plain.LayerNorm: LayerNorm,
    plain.Attention: Attention,
}
