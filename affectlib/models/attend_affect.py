"""AttendAffectNet: self-attention over modalities, over time, or over both.

Thao, Balamurali, Herremans and Roig: AttendAffectNet, self-attention based networks for predicting affective responses
from movies. ICPR 2020. Sections III-C and IV-B; checkpoints of the authors (MIT) are read by :func:`from_released`.

Differs from the paper in:
    - Norms of the feature encoder stand before each sub-layer and once at the end, not after each as in the text: so
      do the released models. Those of the decoder, of which none was released, stand after each sub-layer, as in the
      text.
    - Layers (6) and the tanh of the single-modality models are not in the text: from the released models. The temporal
      models have 6 layers as well, and every row of the notebook's tables takes the fused form.
    - The temporal models' feed-forward part is 40 wide, as their residual stream; the text says eight, which cannot
      be added to it. The decoder starts from the value 0, repeated, and ends after ``length`` outputs.
    - FeatureTemporalAAN hands on the encoded tokens flattened, and drops half in its encoder too: the appendix that
      describes it was not published.
    - Weights start as PyTorch's linear layers do, those of all folds of a seed alike; the text does not say.

Around the models, in ``affectlib.stacked`` and the notebook, where the text is silent unless said otherwise:
    - Features are standardised by a fold's training samples. A film's first segment stands in for those before it.
    - Batches are the common shuffle of all folds without what a fold holds out: of ``batch_size`` on average only.
    - The epoch is chosen on films that do not train: one of the eleven, or a fifth of EIMT16's training films.
    - On EIMT16 all parts of an excerpt share one value: what the decoder is given in training is what it is to predict.
    - ``emobase`` takes functionals from one pass over a clip; the text's come from each frame of 320 ms on its own.
    - Pretrained features see 25 frames a second, on EIMT16 too, where IV-B takes 64 of an excerpt and 16 of a part.

Every layer here also takes parameters stacked along a leading dimension, one slice per model, with
inputs stacked alike: ``affectlib.stacked`` trains all folds at once that way. Shapes below are for one model.
"""

import json
import math
import re
from pathlib import Path

import torch
from torch import nn

from affectlib.errors import FileFormatError, NotFoundError

SIZES = (2048, 1024, 1024, 128, 1582)  # resnet50, flownet, i3d, vggish, emobase (III-A, III-B)


def mse_pcc_loss(truth, prediction, *, weight=None):
    """Mean squared error plus one minus Pearson's correlation (Eq. 3).

    Args:
        truth: annotated values
        prediction: predicted values
        weight: 1 for what counts, 0 for what does not; None counts everything

    Shape:
        truth, prediction, weight ``(..., batch)``; result ``(...)``, one loss per leading row

    A batch in which either side is constant has no correlation: it counts as 0, the term is then 1
    and gives no gradient, so that the error alone decides.

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
    weight = torch.ones_like(truth) if weight is None else weight
    share = weight / weight.sum(-1, keepdim=True).clamp(min=1)  # (..., batch), sums to 1
    t = (truth - (share * truth).sum(-1, keepdim=True)) * weight
    p = (prediction - (share * prediction).sum(-1, keepdim=True)) * weight
    spread = (share * t * t).sum(-1) * (share * p * p).sum(-1)  # (...), product of the variances
    defined = spread > 1e-16
    deviation = torch.where(defined, spread, 1.0).sqrt()
    pcc = torch.where(defined, (share * t * p).sum(-1) / deviation, 0.0)
    return (share * (truth - prediction) ** 2).sum(-1) + 1 - pcc


class Linear(nn.Linear):
    """A linear layer, of one model or of many stacked."""

    def forward(self, x):
        if self.weight.dim() == 2:
            return super().forward(x)
        y = torch.baddbmm(
            self.bias.unsqueeze(1), x.flatten(1, -2), self.weight.mT
        )  # (models, rows, out)
        return y.unflatten(1, x.shape[1:-1])


class Dropout(nn.Dropout):
    """Dropout that draws 16 random bits per value: a third of the time of PyTorch's on a CPU.

    The probability is rounded to a multiple of 2**-16, and the values kept are scaled accordingly.
    """

    def forward(self, x):
        steps = round(self.p * 2**16)
        if not self.training or not steps:
            return x
        bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64, device=x.device).random_(
            -(2**63), None
        )
        kept = bits.view(torch.int16)[: x.numel()].view(x.shape) > steps - 2**15 - 1
        return x * kept.to(x.dtype).mul_(2**16 / max(2**16 - steps, 1))


class LayerNorm(nn.Module):
    """Divides by the unbiased standard deviation plus 1e-6, as the released models do.

    ``torch.nn.LayerNorm`` divides by the root of the biased variance plus 1e-5, and is off by up
    to 0.08 here. Written on PyTorch's kernel: a biased deviation ``s`` and the factor
    ``s / (s sqrt(n / (n - 1)) + 1e-6)``; the gradient takes that factor as a constant.
    """

    def __init__(self, width):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        n = x.shape[-1]
        y, _, inverse = torch.native_layer_norm(x, (n,), None, None, 1e-20)
        scale, shift = self.scale, self.shift
        if scale.dim() == 2:
            scale, shift = (p.view(p.shape[0], *[1] * (x.dim() - 2), n) for p in (scale, shift))
        return torch.addcmul(shift, y / (math.sqrt(n / (n - 1)) + 1e-6 * inverse.detach()), scale)


class Attention(nn.Module):
    """Multi-head attention, scaled by the root of the head's width (Eq. 1).

    Tokens are few and heads narrow, so products are taken value by value, with everything else (models,
    batch, heads) as the last dimension, called rows: faster than thousands of matrix products of 5 x 4.
    """

    def __init__(self, width, heads, dropout):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of {heads} heads")
        self.heads = heads
        self.query, self.key_value, self.output = (
            Linear(width, width),
            Linear(width, 2 * width),
            Linear(width, width),
        )
        self.dropout = Dropout(dropout)

    def forward(self, x, memory=None, mask=None, maps=None):
        memory = x if memory is None else memory
        q = self._rows(self.query(x))  # (tokens, d, rows)
        k, v = (self._rows(y) for y in self.key_value(memory).chunk(2, -1))  # (memory, d, rows)
        scores = (q.unsqueeze(1) * k).sum(2) / math.sqrt(q.shape[1])  # (tokens, memory, rows)
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(-1), -torch.inf)
        weights = scores.softmax(1)  # (tokens, memory, rows)
        leading = (*x.shape[:-2], self.heads)
        if maps is not None:
            maps.append(
                weights.movedim(-1, 0).unflatten(0, leading)
            )  # (batch, heads, tokens, memory)
        y = (self.dropout(weights).unsqueeze(2) * v).sum(1)  # (tokens, d, rows)
        y = y.unflatten(-1, leading).movedim((0, 1), (-3, -1))  # (batch, tokens, heads, d)
        return self.output(y.flatten(-2))  # (batch, tokens, width)

    def _rows(self, x):
        x = x.unflatten(-1, (self.heads, -1)).movedim((-3, -1), (0, 1))  # (tokens, d, batch, heads)
        return x.flatten(2).contiguous()


class FeedForward(nn.Module):
    """One linear layer (IV-B): dropout(relu(W x)), or W(dropout(x + tanh(x))) in the single-modality models."""

    def __init__(self, width, dropout, variant):
        super().__init__()
        self.linear, self.dropout, self.variant = Linear(width, width), Dropout(dropout), variant

    def forward(self, x):
        if self.variant == "single":
            return self.linear(self.dropout(x + x.tanh()))
        return self.dropout(self.linear(x).relu())


class Residual(nn.Module):
    """A sub-layer, dropout, and the way around; the norm stands before the sub-layer or after the sum.

    Args:
        width: of what goes through
        dropout: share of values dropped
        norm_first: True as in the released encoders, False as in the text (III-C)
    """

    def __init__(self, width: int, dropout: float, *, norm_first: bool = True):
        super().__init__()
        self.norm = LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.norm_first = norm_first

    def forward(self, x, sublayer):
        if self.norm_first:
            return x + self.dropout(sublayer(self.norm(x)))
        return self.norm(x + self.dropout(sublayer(x)))


class Layer(nn.Module):
    """One layer of the encoder, or, with ``memory=True``, of the decoder (Fig. 2)."""

    def __init__(self, width, heads, dropout, variant="fused", *, memory=False):
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.memory_attention = Attention(width, heads, dropout) if memory else None
        self.feed_forward = FeedForward(width, dropout, variant)
        residuals = [
            Residual(width, dropout, norm_first=not memory) for _ in range(3 if memory else 2)
        ]
        self.residuals = nn.ModuleList(residuals)

    def forward(self, x, memory=None, mask=None, maps=None, memory_maps=None):
        x = self.residuals[0](x, lambda y: self.attention(y, mask=mask, maps=maps))
        if self.memory_attention is not None:
            x = self.residuals[1](x, lambda y: self.memory_attention(y, memory, maps=memory_maps))
        return self.residuals[-1](x, self.feed_forward)


class Stack(nn.Module):
    """Layers; an encoder's end in a norm, since its layers begin with one, a decoder's each end in one.

    The decoder must not begin with a norm: its input repeats the previous value over all cells, and a
    norm over those cells subtracts exactly that.
    """

    def __init__(self, width, layers, heads, dropout, variant="fused", *, memory=False):
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(width, heads, dropout, variant, memory=memory) for _ in range(layers)
        )
        self.norm = nn.Identity() if memory else LayerNorm(width)

    def forward(self, x, memory=None, mask=None, maps=None, memory_maps=None):
        for layer in self.layers:
            x = layer(x, memory, mask, maps, memory_maps)
        return self.norm(x)


class Projection(nn.Module):
    """Every feature vector to the same width, one linear layer each."""

    def __init__(self, sizes, width):
        super().__init__()
        self.linears = nn.ModuleList(Linear(size, width) for size in sizes)

    def forward(self, tokens):
        sizes = [layer.in_features for layer in self.linears]
        if [token.shape[-1] for token in tokens] != sizes:
            raise ValueError(
                f"tokens have sizes {[t.shape[-1] for t in tokens]}, the model takes {sizes}"
            )
        return torch.stack([layer(x) for layer, x in zip(self.linears, tokens, strict=True)], -2)


class FeatureAAN(nn.Module):
    """Feature AttendAffectNet: attention among the features of one excerpt (III-C b).

    Args:
        sizes: length of each feature vector
        width: cells that each is reduced to (III-C b)
        layers: layers of the encoder (released models)
        heads: attention heads (IV-B)
        dropout: share of values dropped (IV-B)
        variant: ``"fused"``, or ``"single"`` for the form in which the released models of one modality
            differ: another feed-forward part, and a tanh before the head
        unused_embedding: keep the 72 parameters of an embedding that the released fused model holds and
            never calls. They are frozen; without them the model has 48,865 parameters, with them 48,937

    Shape:
        tokens: list of ``(batch, size)``; result ``(batch,)``; ``embed`` gives ``(batch, width)``

    Trained with Adam, learning rate 0.0005, at most 500 epochs, batches of 30, patience 30 on
    COGNIMUSE; learning rate 0.01, batches of 40 (arousal) and 20 (valence) on EIMT16 (IV-B).

    Examples:
        >>> model = FeatureAAN(sizes=(4, 6)).eval()
        >>> model([torch.zeros(3, 4), torch.zeros(3, 6)]).shape
        torch.Size([3])
    """

    teacher_forced = False

    def __init__(
        self,
        *,
        sizes=SIZES,
        width=8,
        layers=6,
        heads=2,
        dropout=0.1,
        variant="fused",
        unused_embedding=False,
    ):
        super().__init__()
        if variant not in ("fused", "single"):
            raise ValueError(f"variant is {variant!r}, expected 'fused' or 'single'")
        self.project = Projection(sizes, width)
        self.encoder = Stack(width, layers, heads, dropout, variant)
        self.head = nn.Sequential(
            *[nn.Tanh()] * (variant == "single"), Dropout(dropout), Linear(width, 1)
        )
        self.embedding = Linear(width, width).requires_grad_(False) if unused_embedding else None

    def encode(self, tokens, maps=None):
        """Tokens after the encoder, ``(batch, tokens, width)``."""
        return self.encoder(self.project(tokens), maps=maps)

    def embed(self, tokens):
        return self.encode(tokens).mean(-2)  # (batch, width)

    def forward(self, tokens):
        return self.head(self.embed(tokens)).squeeze(-1)  # (batch,)

    def attention(self, tokens):
        """What each token attends to; rows sum to 1 where dropout is off.

        Shape:
            result ``(layers, batch, heads, tokens, tokens)``
        """
        maps = []
        self.encode(tokens, maps)
        return torch.stack(maps)


def positions(length, width):
    """Sine and cosine of a position, in alternating cells (Eq. 2).

    Shape:
        result ``(length, width)``
    """
    place, cell = torch.arange(length)[:, None], torch.arange(width)
    angle = place / 10000 ** (2 * (cell // 2) / width)
    return torch.where(cell % 2 == 0, angle.sin(), angle.cos())


class TemporalAAN(nn.Module):
    """Temporal AttendAffectNet: a decoder over the segments of a film (III-C c).

    Args:
        sizes: length of each feature vector
        width: cells that each is reduced to; the decoder works on all of them joined, 40 wide
        length: segments in a sequence; 5 on COGNIMUSE, 4 on EIMT16 (IV-B)
        layers: layers of the decoder
        heads: attention heads (IV-B)
        dropout: share of values dropped (IV-B)

    Shape:
        tokens: list of ``(batch, length, size)``; previous ``(batch, length - 1)``; result
        ``(batch, length)``; ``embed`` gives ``(batch, length, width * len(sizes))``

    ``previous`` holds the true values of all segments but the last, in training. Without it the model
    feeds itself, one segment after the other. Only the last output enters the loss.
    Trained with Adam, learning rate 0.001, at most 1000 epochs, batches of 30, patience 30 on
    COGNIMUSE; as FeatureAAN on EIMT16 (IV-B).

    Examples:
        >>> model = TemporalAAN(sizes=(4, 6), length=5).eval()
        >>> model([torch.zeros(3, 5, 4), torch.zeros(3, 5, 6)]).shape
        torch.Size([3, 5])
    """

    teacher_forced = True

    def __init__(self, *, sizes=SIZES, width=8, length=5, layers=6, heads=2, dropout=0.5):
        super().__init__()
        joined = width * len(sizes)
        self.project = Projection(sizes, width)
        self.decoder = Stack(joined, layers, heads, dropout, memory=True)
        self.head = nn.Sequential(Dropout(dropout), Linear(joined, 1))
        self.register_buffer("places", positions(length, joined), persistent=False)
        self.register_buffer(
            "mask", torch.ones(length, length, dtype=torch.bool).tril(), persistent=False
        )

    def segments(self, tokens):
        """Features of each segment, joined, ``(batch, length, joined)``."""
        return self.project(tokens).flatten(-2)

    def embed(self, tokens, previous=None):
        x = self.segments(tokens)  # (batch, length, joined)
        length = len(self.mask)
        if x.shape[-2] != length:
            raise ValueError(f"sequences of {x.shape[-2]} segments, the model takes {length}")
        memory = x + self.places  # (batch, length, joined)
        if previous is None:
            previous = x.new_zeros(*x.shape[:-2], 0)
            for _ in range(length - 1):
                y = self.head(self._decode(memory, previous)[..., -1, :])  # (batch, 1)
                previous = torch.cat([previous, y], -1)  # (batch, so far)
        return self._decode(memory, previous)  # (batch, length, joined)

    def attention(self, tokens):
        """What each segment attends to: previous outputs, and the features of the segments.

        Shape:
            result ``(2, layers, batch, heads, length, length)``; rows sum to 1 where dropout is off
        """
        own, other = [], []
        with torch.no_grad():
            memory = self.segments(tokens) + self.places  # (batch, length, joined)
            self._decode(memory, self(tokens)[..., :-1], own, other)
        return torch.stack([torch.stack(own), torch.stack(other)])

    def _decode(self, memory, previous, *maps):
        x = torch.nn.functional.pad(previous, (1, 0)).unsqueeze(
            -1
        )  # (batch, n, 1), the start value 0 first
        n = x.shape[-2]
        return self.decoder(
            x + self.places[:n], memory, self.mask[:n, :n], *maps
        )  # (batch, n, joined)

    def forward(self, tokens, previous=None):
        return self.head(self.embed(tokens, previous)).squeeze(-1)  # (batch, length)


class FeatureTemporalAAN(TemporalAAN):
    """Feature and Temporal AttendAffectNet: the encoder within each segment, then the decoder (III-C d).

    Arguments and shapes as :class:`TemporalAAN`; the encoded tokens of :class:`FeatureAAN` take the place of features.

    Examples:
        >>> model = FeatureTemporalAAN(sizes=(4, 6), length=4).eval()
        >>> model([torch.zeros(3, 4, 4), torch.zeros(3, 4, 6)]).shape
        torch.Size([3, 4])
    """

    def __init__(self, *, sizes=SIZES, width=8, length=5, layers=6, heads=2, dropout=0.5):
        super().__init__(
            sizes=sizes, width=width, length=length, layers=layers, heads=heads, dropout=dropout
        )
        self.encoder = Stack(width, layers, heads, dropout)

    def segments(self, tokens):
        x = self.project(tokens)  # (batch, length, tokens, width)
        y = self.encoder(x.flatten(-4, -3))  # (batch * length, tokens, width)
        return y.unflatten(-3, x.shape[-4:-2]).flatten(-2)  # (batch, length, joined)


# The features that the released models take, in their order.
TOKENS = ("resnet50", "flownet", "i3d", "vggish", "emobase")
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
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise FileFormatError(
            path, f"expected a released Feature AttendAffectNet: {error}"
        ) from error


def _build_released(released: dict[str, torch.Tensor]) -> FeatureAAN:
    """The model that fits the parameters of a released file, with these parameters."""
    state = _rename_released(released)
    n_tokens = sum(bool(re.fullmatch(r"project\.linears\.\d\.weight", key)) for key in state)
    sizes = [state[f"project.linears.{i}.weight"].shape[1] for i in range(n_tokens)]
    layers = {key.split(".")[2] for key in state if key.startswith("encoder.layers.")}
    # Only the fused model holds an embedding, which it never calls.
    fused = "embedding.weight" in state
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
    model.load_state_dict(state)
    return model


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


def compare(folder: Path | str) -> list[tuple[str, int, float]]:
    """Compares the released arousal models on the released sample features with expected values.

    The expected values were computed with the authors' models, not published by them. They tell if
    a model is loaded correctly, not if it is good.

    Args:
        folder: holds checkpoints named ``*arousal*`` (others are left alone),
            ``<feature>_sample.h5`` and ``expected_arousal.json``, which is not part of the release

    Returns:
        a row (model, parameters, largest difference) for each checkpoint; the difference is nan
        without expected values

    Raises:
        FileFormatError: if a file beside the checkpoints is missing or damaged, a checkpoint is
            damaged, or its name tells none of the three models
        RefusedPickleError: as :func:`from_released`
    """
    folder = Path(folder)
    checkpoints = sorted(folder.glob("*arousal*.pth"))
    expected_file = folder / "expected_arousal.json"
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
        tokens = [_read_sample(folder / f"{name}_sample.h5") for name in _TOKENS_OF[kind]]
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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {kind: torch.tensor(content[kind]["prediction"]) for kind in _TOKENS_OF}
    except (ValueError, KeyError, TypeError) as error:
        raise FileFormatError(
            path, f"expected the values of {', '.join(_TOKENS_OF)}: {error!r}"
        ) from None


def _read_sample(path: Path) -> torch.Tensor:
    """Sample features of one kind, ``(segments, size)``."""
    import h5py

    if not path.is_file():
        raise FileFormatError(
            path, "expected the sample features beside the checkpoints, found none"
        )
    try:
        with h5py.File(path) as file:
            table = next(iter(file))
            return torch.tensor(file[table][()], dtype=torch.get_default_dtype())
    except (OSError, StopIteration, TypeError) as error:
        raise FileFormatError(
            path, f"expected an HDF5 file with one table of features: {error!r}"
        ) from None
