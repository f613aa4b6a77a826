"""AttendAffectNet: self-attention over modalities, over time, or over both.

References:
    Thao, Balamurali, Herremans, Roig, AttendAffectNet: self-attention based networks for predicting
    affective responses from movies, ICPR, 2020. Sections III-C and IV-B.
    The layers follow "The Annotated Transformer" (Harvard NLP), as the authors' code does.
    Checkpoints of the authors (MIT license) are read by :func:`from_released`.

Differs from the paper in:
    - In the encoder a norm stands before each sub-layer and one more at the end, as in the released
      models; the text puts one after each. The decoder was not released: its norms stand after each
      sub-layer, as in the text.
    - The number of layers (6) and the tanh of the single-modality models are not in the text; they
      come from the released models. The temporal models have 6 layers too, and every row of the
      notebook's tables takes the fused form.
    - The temporal models' feed-forward part is 40 wide, like the values that it is added to. The
      text says eight, which cannot be added. The decoder starts from the value 0, repeated over all
      cells, and ends after ``length`` outputs.
    - FeatureTemporalAAN hands on the encoded tokens flattened, and drops half of the values in its
      encoder too: the appendix that describes it was not published.
    - Weights start as PyTorch's linear layers do, independently of each other, and equal for all
      folds of a seed. The text does not say how. The authors' public model file copies one layer:
      there query, key, value and output start equal, and so do the six layers. ``initial="equal"``
      does the same.
    - Models of one modality join three or two tokens: their decoders are 24 or 16 wide, not 40.
    - The outputs of all segments but the last never enter the loss, as in the text. In the test
      they are fed back all the same.

The training differs in these points (``affectlib.stacked`` and the notebook); where the text does
not say otherwise, it is silent:

    - Features are standardised by a fold's training samples. The released models take them raw, as
      their sample features show; ``fit_folds(standardise=False)`` does so.
    - Before the first segment of a film, the first segment is repeated.
    - Batches are the common shuffle of all folds without the samples that a fold holds out, so that
      they have ``batch_size`` samples on average only.
    - The epoch is chosen on films that do not train: one of the eleven, or a fifth of EIMT16's
      training films.
    - On EIMT16 all parts of an excerpt share one value. In training the decoder is therefore fed
      with the value that it is to predict.
    - ``emobase`` takes functionals from one pass over a clip; the paper's come from each frame of
      320 ms separately.
    - Pretrained features see 25 frames a second, on EIMT16 too, where Section IV-B takes 64 frames
      of an excerpt and 16 of a part. I3D takes them in stacks of at most 128 frames, whose outputs
      are averaged: two or three stacks for an excerpt of EIMT16.
    - Frames are cut to the middle 224/256 of their shorter side and resized. The text crops
      224 x 224 pixels.

Shape comments name the batch first. Dimensions are counted from the last one, so that further ones
may stand before the batch: ``affectlib.stacked`` puts the folds there.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from affectlib.errors import FileFormatError, NotFoundError

# Length of resnet50, flownet, i3d, vggish and emobase (Sections III-A, III-B).
SIZES = (2048, 1024, 1024, 128, 1582)


def mse_pcc_loss(
    truth: torch.Tensor, prediction: torch.Tensor, *, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean squared error plus one minus Pearson's correlation.

    A batch in which the truth or the prediction is constant has no correlation.
    The correlation then counts as 0 and has no gradient, so that the error alone decides.

    Args:
        truth: annotated values
        prediction: predicted values
        weight: 1 for values that count, 0 for the others.
            None: all values count

    Shape:
        truth, prediction and weight ``(..., batch)``; result ``(...)``, one loss per leading row

    Raises:
        ValueError: if truth and prediction differ in shape

    References:
        Eq. 3

    Examples:
        >>> mse_pcc_loss(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]))
        tensor(1.)
        >>> mse_pcc_loss(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 1.0]))
        tensor(1.6667)
    """
    if truth.shape != prediction.shape:
        raise ValueError(
            f"truth {tuple(truth.shape)} and prediction {tuple(prediction.shape)} differ in shape"
        )
    if weight is None:
        weight = torch.ones_like(truth)  # (..., batch)
    count = weight.sum(-1, keepdim=True).clamp(min=1)  # (..., 1)
    share = weight / count  # (..., batch), sums to 1
    truth_mean = (share * truth).sum(-1, keepdim=True)  # (..., 1)
    prediction_mean = (share * prediction).sum(-1, keepdim=True)  # (..., 1)
    t = (truth - truth_mean) * weight  # (..., batch)
    p = (prediction - prediction_mean) * weight  # (..., batch)
    truth_variance = (share * t * t).sum(-1)  # (...)
    prediction_variance = (share * p * p).sum(-1)  # (...)
    product = truth_variance * prediction_variance  # (...)

    # Where a variance is 0 the root has no gradient. It is taken of 1 there, and not used.
    defined = product > 1e-16
    deviations = torch.where(defined, product, 1.0).sqrt()  # (...)
    covariance = (share * t * p).sum(-1)  # (...)
    correlation = torch.where(defined, covariance / deviations, 0.0)  # (...)
    error = (share * (truth - prediction) ** 2).sum(-1)  # (...)
    return error + 1 - correlation


class LayerNorm(nn.Module):
    """Subtracts the mean and divides by the unbiased standard deviation plus 1e-6.

    The released models were trained with this norm, from "The Annotated Transformer".
    ``torch.nn.LayerNorm`` divides by the root of the biased variance plus 1e-5.
    At a width of 8 its result is off by up to 0.08, so that it cannot take its place.
    """

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(-1, keepdim=True)  # (..., 1)
        deviation = x.std(-1, keepdim=True)  # (..., 1), divides by width - 1
        y = (x - mean) / (deviation + 1e-6)  # (..., width)
        return self.scale * y + self.shift  # (..., width)


class Attention(nn.Module):
    """Multi-head attention, scaled by the root of the head's width (Eq. 1).

    After each call, ``weights`` holds the attention of every token to every token of the memory,
    ``(batch, heads, tokens, memory)``. Rows sum to 1: they are kept from before dropout.

    Args:
        width: cells of a token
        heads: number of heads, which share the width
        dropout: share of attention weights dropped

    Shape:
        x ``(batch, tokens, width)``; memory ``(batch, memory, width)``;
        mask ``(tokens, memory)``, False where a token may not look; result as x

    Raises:
        ValueError: if the width is no multiple of the number of heads
    """

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        # One layer makes the keys and the values, side by side.
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.weights: torch.Tensor | None = None

    def forward(
        self, x: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        q = self.query(x)  # (batch, tokens, width)
        k, v = self.key_value(memory).chunk(2, dim=-1)  # each (batch, memory, width)
        q = self._split(q)  # (batch, heads, tokens, width / heads)
        k = self._split(k)  # (batch, heads, memory, width / heads)
        v = self._split(v)  # (batch, heads, memory, width / heads)

        # A sum over more cells is larger. Without the root the softmax would pick one token only.
        scores = q @ k.mT / math.sqrt(q.shape[-1])  # (batch, heads, tokens, memory)
        if mask is not None:
            # The softmax turns minus infinity into a weight of 0.
            scores = scores.masked_fill(~mask, -torch.inf)  # (batch, heads, tokens, memory)
        weights = scores.softmax(dim=-1)  # (batch, heads, tokens, memory)
        # For drawings only: training does not come back to it.
        self.weights = weights.detach()

        # Each token takes the values of the others, in proportion to its weights.
        y = self.dropout(weights) @ v  # (batch, heads, tokens, width / heads)
        y = y.transpose(-3, -2).flatten(-2)  # (batch, tokens, width)
        return self.output(y)  # (batch, tokens, width)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """Gives every head its part of the cells."""
        x = x.unflatten(-1, (self.heads, -1))  # (batch, tokens, heads, width / heads)
        return x.transpose(-3, -2)  # (batch, heads, tokens, width / heads)


class FeedForward(nn.Module):
    """One linear layer (Section IV-B).

    Args:
        width: cells of a token
        dropout: share of values dropped
        variant: ``"fused"``: ``dropout(relu(W x))``.
            ``"single"``: ``W dropout(x + tanh(x))``, as in the released models of one modality
    """

    def __init__(self, width: int, dropout: float, variant: str = "fused"):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.variant = variant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.variant == "single":
            y = self.dropout(x + x.tanh())  # (batch, tokens, width)
            return self.linear(y)  # (batch, tokens, width)
        y = self.linear(x).relu()  # (batch, tokens, width)
        return self.dropout(y)  # (batch, tokens, width)


class NormFirst(nn.Module):
    """A norm, a sub-layer, dropout, and the way around all three: as in the released encoders."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm = LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, sublayer: Callable) -> torch.Tensor:
        y = sublayer(self.norm(x))  # (batch, tokens, width)
        return x + self.dropout(y)  # (batch, tokens, width)


class NormLast(nn.Module):
    """A sub-layer, dropout, the way around both, and a norm: as in the text (Section III-C)."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm = LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, sublayer: Callable) -> torch.Tensor:
        y = sublayer(x)  # (batch, tokens, width)
        return self.norm(x + self.dropout(y))  # (batch, tokens, width)


class EncoderLayer(nn.Module):
    """Attention among the tokens, then the feed-forward part (Fig. 2, left)."""

    def __init__(self, width: int, heads: int, dropout: float, variant: str):
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.feed_forward = FeedForward(width, dropout, variant)
        self.residuals = nn.ModuleList(NormFirst(width, dropout) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attend, transform = self.residuals
        # The tokens attend to one another: they are their own memory.
        x = attend(x, lambda y: self.attention(y, y))  # (batch, tokens, width)
        return transform(x, self.feed_forward)  # (batch, tokens, width)


class Encoder(nn.Module):
    """Layers, and a norm at the end, since each layer begins with one."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float, variant: str = "fused"):
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, dropout, variant) for _ in range(layers)
        )
        self.norm = LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)  # (batch, tokens, width)
        return self.norm(x)  # (batch, tokens, width)


def _start_equal(encoder: Encoder) -> None:
    """Gives all layers the weights of the first, and its attention those of its query."""
    first = encoder.layers[0]
    attention = first.attention
    query = attention.query
    with torch.no_grad():
        # Keys and values come from one layer: the query's weights stand there twice.
        attention.key_value.weight.copy_(query.weight.repeat(2, 1))
        attention.key_value.bias.copy_(query.bias.repeat(2))
    attention.output.load_state_dict(query.state_dict())
    for layer in encoder.layers[1:]:
        layer.load_state_dict(first.state_dict())


class DecoderLayer(nn.Module):
    """Attention among earlier outputs, then to the memory, then feed-forward (Fig. 2, right)."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.memory_attention = Attention(width, heads, dropout)
        self.feed_forward = FeedForward(width, dropout)
        self.residuals = nn.ModuleList(NormLast(width, dropout) for _ in range(3))

    def forward(self, x: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        listen, look, transform = self.residuals
        # First to earlier outputs (the mask hides later ones), then to features of all segments.
        x = listen(x, lambda y: self.attention(y, y, mask))  # (batch, length, width)
        x = look(x, lambda y: self.memory_attention(y, memory))  # (batch, length, width)
        return transform(x, self.feed_forward)  # (batch, length, width)


class Decoder(nn.Module):
    """Layers, each of which ends in a norm.

    The decoder must not begin with a norm. Its input repeats the previous value over all cells, and
    a norm over these cells subtracts exactly this value.
    """

    def __init__(self, width: int, layers: int, heads: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(width, heads, dropout) for _ in range(layers))

    def forward(self, x: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, memory, mask)  # (batch, length, width)
        return x


class Projection(nn.Module):
    """Reduces every feature vector to the same width, with a linear layer for each."""

    def __init__(self, sizes: Sequence[int], width: int):
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(size, width) for size in sizes)

    def forward(self, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        expected = [linear.in_features for linear in self.linears]
        sizes = [token.shape[-1] for token in tokens]
        if sizes != expected:
            raise ValueError(f"tokens have sizes {sizes}, the model takes {expected}")
        reduced = []
        for linear, token in zip(self.linears, tokens, strict=True):
            reduced.append(linear(token))  # (batch, width)
        return torch.stack(reduced, dim=-2)  # (batch, tokens, width)


class FeatureAAN(nn.Module):
    """Feature AttendAffectNet: attention among the features of one excerpt (Section III-C b).

    Trained with Adam.
    On COGNIMUSE: learning rate 0.0005, at most 500 epochs, batches of 30, patience 30.
    On EIMT16: learning rate 0.01, batches of 40 for arousal and 20 for valence (Section IV-B).

    Args:
        sizes: length of each feature vector
        width: cells that each is reduced to (Section III-C b)
        layers: layers of the encoder (released models)
        heads: attention heads (Section IV-B)
        dropout: share of values dropped (Section IV-B)
        variant: ``"fused"``, or ``"single"`` for the released models of one modality,
            which have another feed-forward part and a tanh before the head
        unused_embedding: keep the 72 parameters of an embedding that the released fused model holds
            and never calls. They are frozen.
            Without them the model has 48,865 parameters, with them 48,937
        initial: ``"independent"``: each layer draws its own initial weights. ``"equal"``: query,
            key, value and output of an attention start equal, and all layers of the encoder do, as
            in the authors' public model file

    Shape:
        tokens: list of ``(batch, size)``; result ``(batch,)``; ``embed`` gives ``(batch, width)``

    Raises:
        ValueError: if ``variant`` or ``initial`` is none of its two, or the width is no multiple of
            the number of heads

    Examples:
        >>> model = FeatureAAN(sizes=(4, 6)).eval()
        >>> model([torch.zeros(3, 4), torch.zeros(3, 6)]).shape
        torch.Size([3])
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int] = SIZES,
        width: int = 8,
        layers: int = 6,
        heads: int = 2,
        dropout: float = 0.1,
        variant: str = "fused",
        unused_embedding: bool = False,
        initial: str = "independent",
    ):
        super().__init__()
        if variant not in ("fused", "single"):
            raise ValueError(f"variant is {variant!r}, expected 'fused' or 'single'")
        if initial not in ("independent", "equal"):
            raise ValueError(f"initial is {initial!r}, expected 'independent' or 'equal'")
        self.project = Projection(sizes, width)
        self.encoder = Encoder(width, layers, heads, dropout, variant)
        if initial == "equal":
            _start_equal(self.encoder)
        head = [nn.Dropout(dropout), nn.Linear(width, 1)]
        if variant == "single":
            head.insert(0, nn.Tanh())
        self.head = nn.Sequential(*head)
        # It comes last, so that the other weights are the same with it and without it.
        self.embedding = None
        if unused_embedding:
            self.embedding = nn.Linear(width, width).requires_grad_(False)

    def encode(self, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Tokens after the encoder, ``(batch, tokens, width)``."""
        x = self.project(tokens)  # (batch, tokens, width)
        return self.encoder(x)  # (batch, tokens, width)

    def embed(self, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mean of the encoded tokens, ``(batch, width)``."""
        return self.encode(tokens).mean(-2)  # (batch, width)

    def forward(self, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        x = self.embed(tokens)  # (batch, width)
        return self.head(x).squeeze(-1)  # (batch,)

    def attention(self, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Attention of each token to each; rows sum to 1.

        Shape:
            result ``(layers, batch, heads, tokens, tokens)``
        """
        # Every layer keeps the weights of its last call.
        self.encode(tokens)
        maps = [layer.attention.weights for layer in self.encoder.layers]
        return torch.stack(maps)  # (layers, batch, heads, tokens, tokens)


def positions(length: int, width: int) -> torch.Tensor:
    """Sine and cosine of a position, in alternating cells.

    Shape:
        result ``(length, width)``

    References:
        Eq. 2
    """
    place = torch.arange(length).unsqueeze(1)  # (length, 1)
    cell = torch.arange(width)  # (width,)
    pair = cell // 2  # (width,), a sine and a cosine share a frequency
    angle = place / 10000 ** (2 * pair / width)  # (length, width)
    return torch.where(cell % 2 == 0, angle.sin(), angle.cos())  # (length, width)


class TemporalAAN(nn.Module):
    """Temporal AttendAffectNet: a decoder over the segments of a film (Section III-C c).

    The decoder is fed with the values of earlier segments: in training with the true ones
    (``previous``), otherwise with its own outputs, one segment after the other.
    Only the last output enters the loss.

    Trained with Adam.
    On COGNIMUSE: learning rate 0.001, at most 1000 epochs, batches of 30, patience 30.
    On EIMT16: as :class:`FeatureAAN` (Section IV-B).

    Args:
        sizes: length of each feature vector
        width: cells that each is reduced to; the decoder works on all of them joined, 40 wide
        length: segments in a sequence; 5 on COGNIMUSE, 4 on EIMT16 (Section IV-B)
        layers: layers of the decoder
        heads: attention heads (Section IV-B)
        dropout: share of values dropped (Section IV-B)

    Shape:
        tokens: list of ``(batch, length, size)``; previous ``(batch, length - 1)``;
        result ``(batch, length)``; ``embed`` gives ``(batch, length, width * len(sizes))``

    Examples:
        >>> model = TemporalAAN(sizes=(4, 6), length=5).eval()
        >>> model([torch.zeros(3, 5, 4), torch.zeros(3, 5, 6)]).shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int] = SIZES,
        width: int = 8,
        length: int = 5,
        layers: int = 6,
        heads: int = 2,
        dropout: float = 0.5,
    ):
        super().__init__()
        joined = width * len(sizes)
        self.project = Projection(sizes, width)
        self.decoder = Decoder(joined, layers, heads, dropout)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(joined, 1))
        # Places and mask are no weights, and no part of a checkpoint.
        self.register_buffer("places", positions(length, joined), persistent=False)
        # True where a segment may look: at itself and at the segments before it.
        mask = torch.ones(length, length, dtype=torch.bool).tril()  # (length, length)
        self.register_buffer("mask", mask, persistent=False)

    def previous(self, target: torch.Tensor) -> torch.Tensor:
        """The values that training feeds to the decoder: all but the one it is to predict.

        Shape:
            target ``(batch, length)``; result ``(batch, length - 1)``
        """
        return target[..., :-1]  # (batch, length - 1)

    def segments(self, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Features of each segment, joined, ``(batch, length, joined)``."""
        x = self.project(tokens)  # (batch, length, tokens, width)
        return x.flatten(-2)  # (batch, length, joined)

    def embed(
        self, tokens: Sequence[torch.Tensor], previous: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Output of the decoder, ``(batch, length, joined)``."""
        memory = self._memory(tokens)  # (batch, length, joined)
        if previous is None:
            previous = self._own_outputs(memory)  # (batch, length - 1)
        return self._decode(memory, previous)  # (batch, length, joined)

    def forward(
        self, tokens: Sequence[torch.Tensor], previous: torch.Tensor | None = None
    ) -> torch.Tensor:
        x = self.embed(tokens, previous)  # (batch, length, joined)
        return self.head(x).squeeze(-1)  # (batch, length)

    def attention(self, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Attention of each segment: first to the previous outputs, second to the features.

        Shape:
            result ``(2, layers, batch, heads, length, length)``; rows sum to 1
        """
        with torch.no_grad():
            # Once to predict the values, once more with all of them at the same time.
            previous = self(tokens)[..., :-1]  # (batch, length - 1)
            self.embed(tokens, previous)
        # each map (batch, heads, length, length)
        to_outputs = [layer.attention.weights for layer in self.decoder.layers]
        to_features = [layer.memory_attention.weights for layer in self.decoder.layers]
        return torch.stack([torch.stack(to_outputs), torch.stack(to_features)])

    def _memory(self, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Segments with their places, to which the decoder attends."""
        x = self.segments(tokens)  # (batch, length, joined)
        length = len(self.mask)
        if x.shape[-2] != length:
            raise ValueError(f"sequences of {x.shape[-2]} segments, the model takes {length}")
        # Attention does not see the order of the segments: the places tell it.
        return x + self.places  # (batch, length, joined)

    def _own_outputs(self, memory: torch.Tensor) -> torch.Tensor:
        """Values of all segments but the last, each predicted from those before it."""
        # At first nothing is predicted, and the decoder has its start value only.
        outputs = memory.new_zeros(*memory.shape[:-2], 0)  # (batch, 0)
        for _ in range(len(self.mask) - 1):
            x = self._decode(memory, outputs)  # (batch, so far + 1, joined)
            y = self.head(x[..., -1, :])  # (batch, 1)
            outputs = torch.cat([outputs, y], dim=-1)  # (batch, so far)
        return outputs  # (batch, length - 1)

    def _decode(self, memory: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        """One output more than there are previous values: the decoder starts from the value 0."""
        values = nn.functional.pad(previous, (1, 0)).unsqueeze(-1)  # (batch, n, 1)
        n = values.shape[-2]
        # Adding the places repeats each value over all cells.
        x = values + self.places[:n]  # (batch, n, joined)
        return self.decoder(x, memory, self.mask[:n, :n])  # (batch, n, joined)


class FeatureTemporalAAN(TemporalAAN):
    """Feature and Temporal AttendAffectNet (Section III-C d).

    The encoder of :class:`FeatureAAN` works within each segment, then the decoder over segments.
    Arguments and shapes are those of :class:`TemporalAAN`.

    Examples:
        >>> model = FeatureTemporalAAN(sizes=(4, 6), length=4).eval()
        >>> model([torch.zeros(3, 4, 4), torch.zeros(3, 4, 6)]).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int] = SIZES,
        width: int = 8,
        length: int = 5,
        layers: int = 6,
        heads: int = 2,
        dropout: float = 0.5,
    ):
        super().__init__(
            sizes=sizes, width=width, length=length, layers=layers, heads=heads, dropout=dropout
        )
        self.encoder = Encoder(width, layers, heads, dropout)

    def segments(self, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Encoded features of each segment, joined, ``(batch, length, joined)``."""
        x = self.project(tokens)  # (batch, length, tokens, width)
        # Tokens of one segment attend to one another, not to those of other segments.
        x = self.encoder(x)  # (batch, length, tokens, width)
        return x.flatten(-2)  # (batch, length, joined)


# The features that the released models take, in their order.
TOKENS = ("resnet50", "flownet", "i3d", "vggish", "emobase")
_SIZE_OF = dict(zip(TOKENS, SIZES, strict=True))
_TOKENS_OF = {"video_audio": TOKENS, "only_video": TOKENS[:3], "only_audio": TOKENS[3:]}
# Names of parameters in the released files, and here; replaced in this order.
_RELEASED_NAMES = (
    (r"^(?:linear|reduced_)(\d)\.", r"project.linears.\1."),
    (r"^linear\.", "head.last."),
    (r"^src_embed\.0\.lut\.", "embedding."),
    (r"self_attn\.linears\.0", "attention.query"),
    (r"self_attn\.linears\.3", "attention.output"),
    (r"self_attn\.linears", "attention.linears"),
    (r"feed_forward\.w\.", "feed_forward.linear."),
    (r"sublayer", "residuals"),
    (r"a_2", "scale"),
    (r"b_2", "shift"),
)


def from_released(path: Path | str) -> FeatureAAN:
    """Reads a checkpoint that the authors released, as a FeatureAAN that predicts.

    Nothing in the pickle is imported or called: see :mod:`affectlib.features.pretrained.released`.

    Args:
        path: a ``Feature_AAN`` file (``.pth``), fused or of one modality, legacy or zip

    Raises:
        NotFoundError: if there is no such file
        RefusedPickleError: if the pickle asks for a name that no checkpoint needs; the message
            tells the name
        FileFormatError: if the file is damaged, or holds another model
    """
    from affectlib.features.pretrained.released import read_state

    if not Path(path).is_file():
        raise NotFoundError(
            f"{path}: no such checkpoint; github.com/ivyha010/AttendAffectNet has them"
        )
    released = read_state(path)
    try:
        return _build_released(released).eval()
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
        raise FileFormatError(
            path, f"expected a released Feature AttendAffectNet: {error}"
        ) from error


def _build_released(released: dict[str, torch.Tensor]) -> FeatureAAN:
    """The model that fits the parameters of a released file, with these parameters."""
    state = _rename_released(released)
    n_tokens = sum(bool(re.fullmatch(r"project\.linears\.\d\.weight", key)) for key in state)
    sizes = [state[f"project.linears.{i}.weight"].shape[1] for i in range(n_tokens)]
    layers = {key.split(".")[2] for key in state if key.startswith("encoder.layers.")}
    if len(layers) > 100:
        raise ValueError(f"{len(layers)} layers, the released models have 6")
    # Only the fused model holds an embedding, which it never calls.
    fused = "embedding.weight" in state
    # On "meta", sizes that do not fit together take no memory before they are refused.
    with torch.device("meta"):
        model = FeatureAAN(
            sizes=sizes,
            width=len(state["encoder.norm.scale"]),
            layers=len(layers),
            variant="fused" if fused else "single",
            unused_embedding=fused,
        )
    last = len(model.head) - 1
    for kind in ("weight", "bias"):
        state[f"head.{last}.{kind}"] = state.pop(f"head.last.{kind}")
    model.load_state_dict(state, assign=True)
    return model.to(torch.get_default_dtype())


def _rename_released(released: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Parameters of a released file under the names that :class:`FeatureAAN` has."""
    state = {}
    for key, value in released.items():
        for pattern, name in _RELEASED_NAMES:
            key = re.sub(pattern, name, key)
        state[key] = value
    # The released models number their features from 1, or, for sound alone, from a later number.
    numbers = {int(key.split(".")[2]) for key in state if key.startswith("project.linears.")}
    for i, number in enumerate(sorted(numbers)):
        for kind in ("weight", "bias"):
            value = state.pop(f"project.linears.{number}.{kind}")
            state[f"project.linears.{i}.{kind}"] = value
    # Keys and values come from one layer here, from two in the released models.
    for key in [key for key in state if "attention.linears.1" in key]:
        values = state.pop(key.replace("linears.1", "linears.2"))
        state[key.replace("linears.1", "key_value")] = torch.cat([state.pop(key), values])
    return state


def compare(folder: Path | str, *, target: str = "arousal") -> list[tuple[str, int, float]]:
    """Compares the released models on the released sample features with expected values.

    The expected values were computed with the authors' models, not published by them. They tell if
    a model is loaded correctly, not if it is good.

    Args:
        folder: holds checkpoints named ``*arousal*`` or ``*valence*``, ``<feature>_sample.h5``, and
            ``expected_arousal.json`` or ``expected_valence.json``, which are not in the release
        target: ``"arousal"`` or ``"valence"``; checkpoints of the other are left alone

    Returns:
        a row (model, parameters, largest difference) for each checkpoint; the difference is nan
        without expected values

    Raises:
        FileFormatError: if a file beside the checkpoints is missing or damaged, or holds a value
            that is not finite; if a checkpoint is damaged, or is not the model that its name tells
        RefusedPickleError: as :func:`from_released`
    """
    folder = Path(folder)
    checkpoints = sorted(folder.glob(f"*{target}*.pth"))
    expected_file = folder / f"expected_{target}.json"
    expected = {}
    if checkpoints and expected_file.is_file():
        expected = _read_expected(expected_file)
    rows = []
    for path in checkpoints:
        kinds = [kind for kind in _TOKENS_OF if path.stem.endswith(kind)]
        if not kinds:
            raise FileFormatError(path, f"expected a name that ends in {', '.join(_TOKENS_OF)}")
        kind = kinds[0]
        model = from_released(path)
        sizes = [_SIZE_OF[name] for name in _TOKENS_OF[kind]]
        found = [linear.in_features for linear in model.project.linears]
        if found != sizes:
            raise FileFormatError(
                path, f"expected a model of features of sizes {sizes}, found {found}"
            )
        tokens = _read_samples(folder, _TOKENS_OF[kind])
        with torch.no_grad():
            predictions = model(tokens)  # (segments,)
        difference = math.nan
        if expected:
            if predictions.shape != expected[kind].shape:
                raise FileFormatError(
                    expected_file,
                    f"expected {len(predictions)} values of {kind}, as many as segments in the "
                    f"sample features; found {expected[kind].numel()}",
                )
            difference = float((predictions - expected[kind]).abs().max())
        parameters = sum(p.numel() for p in model.parameters())
        rows.append((kind, parameters, difference))
    return rows


def _read_expected(path: Path) -> dict[str, torch.Tensor]:
    """Expected values of each model, ``(segments,)``."""
    expected = {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for kind in _TOKENS_OF:
            values = content[kind]
            # Beside the values, a kind may tell its number of parameters.
            if isinstance(values, dict):
                values = values["prediction"]
            expected[kind] = torch.tensor(values)
    # Brackets without end and numbers of 400 digits raise a RuntimeError.
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise FileFormatError(
            path, f"expected the values of {', '.join(_TOKENS_OF)}: {error!r:.200}"
        ) from None
    for kind, values in expected.items():
        if values.dim() != 1 or not values.isfinite().all():
            raise FileFormatError(path, f"expected a list of finite numbers for {kind}")
    return expected


def _read_samples(folder: Path, names: Sequence[str]) -> list[torch.Tensor]:
    """Sample features of the same segments, one ``(segments, size)`` for each name."""
    from affectlib.features.pretrained.hdf5 import read_features

    samples = []
    for name in names:
        path = folder / f"{name}_sample.h5"
        sample = read_features(path, _SIZE_OF[name])
        if samples and len(sample) != len(samples[0]):
            raise FileFormatError(
                path,
                f"expected {len(samples[0])} segments, as in {names[0]}_sample.h5; "
                f"found {len(sample)}",
            )
        samples.append(sample)
    return samples
