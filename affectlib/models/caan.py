"""Context-aware attention: face and scene of every frame are fused, scored, and averaged by their score.

A video's frames do not all tell its emotion. Each gets a fused vector and a score; the video's vector is their
weighted mean.

References:
    Xiaodong Liu, Miao Wang, Context-aware attention network for human emotion recognition in video, Advances in
    Multimedia, 2020.
    Triplet loss: Schroff et al., FaceNet, CVPR, 2015. Hardest of the batch: Hermans et al., arXiv 1703.07737, 2017.
    Quality-aware network: Liu, Yan, Ouyang, CVPR, 2017. Attention clusters: Long et al., CVPR, 2018, Eq. 3 to 5.

Differs from the paper in, where it leaves things open:
    - A video is classified by the layer that classifies its frames, applied to R: the weighted mean of their logits.
    - Fusion joins the two 1,024s to 2,048, after ReLU; dropout follows. g has 1,024 (Eq. 2).
    - Scores pass a sigmoid, no lower than 1e-12: Eq. 4 divides by their sum. Score layers halve, with ReLU between.
    - Triplets: margin 0.2, squared distances of normalised vectors, hardest positive and negative of the batch,
      mean over anchors; as much weight as the softmax loss, which is a mean over frames.
    - Attention to one modality parts at pool5 of a VGG. With its maps given, 3 x 3 convolutions that halve their
      channels, mean over places, one dense cell; on descriptors, which have no maps, dense layers instead.
    - A video without any face: all its frames count and the context alone decides; a model of faces sees the mean face.
    - Attention clusters: eight per modality.
"""

import functools
import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def aggregate(features, scores):
    """Mean of the frames, weighted by their scores: ``R = sum(g s) / sum(s)`` (Eq. 4).

    Args:
        features: of each frame
        scores: not negative; 0 for a frame that does not count

    Shape:
        features ``(batch, frames, size)``; scores ``(batch, frames)``; result ``(batch, size)``

    Raises:
        ValueError: if no frame of a video counts

    Examples:
        >>> aggregate(torch.tensor([[[1.0], [4.0], [9.0]]]), torch.tensor([[0.2, 0.1, 0.0]]))
        tensor([[2.]])
    """
    total = scores.sum(1, keepdim=True)  # (batch, 1)
    _refuse_empty(total)
    return (scores.unsqueeze(-1) * features).sum(1) / total  # (batch, size)


def _refuse_empty(counted):
    if empty := torch.nonzero(counted.flatten() == 0).flatten().tolist():
        raise ValueError(f"no frame counts in the videos {empty} of this batch")


def average_aggregate(features, mask):
    """Plain mean of the frames whose ``mask`` is 1; shapes as for :func:`aggregate` (Section 5.2)."""
    return aggregate(features, mask.to(features.dtype))


def _branch(size, middle):
    """Features of one modality, taken to a space of their own (Section 4.2)."""
    return nn.Sequential(nn.Linear(size, middle), nn.ReLU())


def _parts(of, allowed, face, context):
    """Place among the inputs, and size, of what a model looks at."""
    if of not in allowed:
        raise ValueError(f"of is one of {', '.join(allowed)}, not {of!r}")
    return [
        (i, size)
        for i, (name, size) in enumerate((("face", face), ("context", context)))
        if of in (name, "both")
    ]


def _halves(size, layers):
    """Sizes before and after each of so many layers."""
    if layers not in (1, 2, 3):
        raise ValueError(f"scores come from 1, 2 or 3 layers, not {layers!r}")
    return [max(1, size // 2**i) for i in range(layers + 1)]


def dense_scores(size, layers):
    """One score per frame from 1, 2 or 3 dense layers, the last a single cell: 1FC, 2FC, 3FC (Eq. 3)."""
    widths = _halves(size, layers)[:-1]
    hidden = [
        layer for pair in itertools.pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())
    ]
    return nn.Sequential(
        *hidden, nn.Linear(widths[-1], 1), nn.Sigmoid(), nn.Threshold(1e-12, 1e-12)
    )


class MapScores(nn.Module):
    """``(batch, frames, channels, height, width)`` to ``(batch, frames, 1)``: convolutions, one dense cell (5.1)."""

    def __init__(self, channels, layers):
        super().__init__()
        widths = _halves(channels, layers)
        self.maps = nn.Sequential(
            *(
                layer
                for pair in itertools.pairwise(widths)
                for layer in (nn.Conv2d(*pair, 3, padding=1), nn.ReLU())
            )
        )
        self.cell = dense_scores(widths[-1], 1)

    def forward(self, maps):
        x = self.maps(maps.flatten(0, 1).to(self.maps[0].weight.dtype)).mean(
            (-2, -1)
        )  # (batch * frames, channels)
        return self.cell(x.unflatten(0, maps.shape[:2]))  # (batch, frames, 1)


class AttentionFusion(nn.Module):
    """Fused features of every frame to g and a score in (0, 1) (Eq. 2 and 3); arguments as for :class:`CAAN`.

    Shape:
        ``(batch, frames, size)`` to ``(batch, frames, features)`` and ``(batch, frames)``
    """

    def __init__(self, *, size=2048, features=1024, scores=3):
        super().__init__()
        self.feature, self.score = nn.Linear(size, features), dense_scores(features, scores)

    def forward(self, r):
        g = self.feature(r)  # (batch, frames, features)
        return g, self.score(g).squeeze(-1)  # (batch, frames, features), (batch, frames)


class _Video(nn.Module):
    """A model that embeds a video and classifies it."""

    def forward(self, x):
        return self.head(self.embed(x))  # (batch, n_classes)


class _Scored(_Video):
    """One that has ``frames``: features and scores of every frame, 0 where it does not count."""

    def embed(self, x):
        """The video's emotion vector R."""
        return aggregate(*self.frames(x))  # (batch, features)


class CAAN(_Scored):
    """Face and context of each frame fused, scored and aggregated (Fig. 4).

    Args:
        face: size of a face's features; fc6 of VGG-Face (Section 4.1)
        context: size of a whole frame's features; fc6 of VGG-16 (Section 4.1)
        middle: size that each is taken to before fusion (Section 4.2)
        features: of g and R; ours
        scores: dense layers of the score branch, 1, 2 or 3 (Table 2)
        attention: False gives every frame the same score
        dropout: of the fused features; ours
        n_classes: of HEIV

    Shape:
        takes faces ``(batch, frames, face)``, contexts ``(batch, frames, context)`` and a mask ``(batch, frames, 2)``,
        whether a frame counts and whether its face is seen (:func:`videos`); result ``(batch, n_classes)``

    Examples:
        >>> x = [torch.zeros(2, 9, 5), torch.zeros(2, 9, 4), torch.ones(2, 9, 2)]
        >>> CAAN(face=5, context=4, middle=8, features=6)(x).shape
        torch.Size([2, 7])
    """

    def __init__(
        self,
        *,
        face=4096,
        context=4096,
        middle=1024,
        features=1024,
        scores=3,
        attention=True,
        dropout=0.5,
        n_classes=7,
    ):
        super().__init__()
        self.attention = attention
        self.face, self.context = _branch(face, middle), _branch(context, middle)
        self.dropout = nn.Dropout(dropout)
        self.fusion = AttentionFusion(size=2 * middle, features=features, scores=scores)
        self.head = nn.Linear(features, n_classes)

    def frames(self, x):
        """Features g ``(batch, frames, features)`` and scores s ``(batch, frames)``, 0 where a frame does not count."""
        faces, contexts, mask = x[:3]
        r = torch.cat(
            [self.face(faces) * mask[..., 1:], self.context(contexts)], -1
        )  # (batch, frames, 2 * middle)
        g, s = self.fusion(self.dropout(r))  # (batch, frames, features), (batch, frames)
        return g, (s if self.attention else torch.ones_like(s)) * mask[..., 0]


class QualityAware(_Scored):
    """Attention to one modality, scored by middle features (Section 5.1); Table 4's equals Table 2's of context, 3FC.

    Args:
        of: ``"face"`` or ``"context"``
        face, context: sizes of the features; the one not asked for does not matter
        maps: channels of its feature maps, 512 at pool5 of a VGG, those of faces a fourth input, those of contexts a
            fifth; 0 where there are none: the score is then taken from the features, by dense layers
        middle, features, dropout, n_classes: as for :class:`CAAN`
        scores: layers of the score branch, 1, 2 or 3; for faces 1 was best, for context 3 (Table 2)

    Shape:
        takes what :class:`CAAN` takes and, with maps, twice ``(batch, frames, maps, height, width)``
    """

    def __init__(
        self,
        *,
        of="context",
        face=4096,
        context=4096,
        maps=0,
        middle=1024,
        features=1024,
        scores=1,
        dropout=0.5,
        n_classes=7,
    ):
        super().__init__()
        ((self.of, size),) = _parts(of, ("face", "context"), face, context)
        self.maps = maps
        self.feature = nn.Sequential(
            _branch(size, middle), nn.Dropout(dropout), nn.Linear(middle, features)
        )
        self.score = MapScores(maps, scores) if maps else dense_scores(size, scores)
        self.head = nn.Linear(features, n_classes)

    def frames(self, x):
        """As of :class:`CAAN`."""
        own = x[self.of]  # (batch, frames, size)
        s = self.score(x[3 + self.of] if self.maps else own).squeeze(-1)  # (batch, frames)
        return self.feature(own), s * x[2][..., 0]


class AverageAggregate(_Video):
    """Without attention: FAA (faces), CAA (context), FFAA (both) (Section 5.2); takes what :class:`CAAN` takes.

    Args:
        of: ``"face"``, ``"context"`` or ``"both"``
        face, context, n_classes: as for :class:`QualityAware`
        middle: of the first of two dense layers, and of each modality before fusion
        dropout: between those layers; ours
    """

    def __init__(
        self, *, of="both", face=4096, context=4096, middle=1024, dropout=0.5, n_classes=7
    ):
        super().__init__()
        parts, fused = _parts(of, ("face", "context", "both"), face, context), of == "both"
        self.branches = nn.ModuleDict(
            {str(i): _branch(size, middle) if fused else nn.Identity() for i, size in parts}
        )
        self.dense = _branch(2 * middle if fused else parts[0][1], middle)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(middle, n_classes))

    def embed(self, x):
        seen = (x[2][..., 1:], 1)
        parts = [
            branch(x[int(i)]) * seen[int(i)] for i, branch in self.branches.items()
        ]  # (batch, frames, …) each
        return self.dense(average_aggregate(torch.cat(parts, -1), x[2][..., 0]))  # (batch, middle)


class AttentionClusters(_Video):
    """Several attentions per modality, each shifted, scaled and normalised, side by side (Table 4).

    Args:
        face, context, n_classes: as for :class:`CAAN`
        clusters, dropout: per modality, and before the classes; ours

    Shape:
        takes what :class:`CAAN` takes; embeds as ``(batch, clusters * (face + context))``
    """

    def __init__(self, *, face=4096, context=4096, clusters=8, dropout=0.5, n_classes=7):
        super().__init__()
        sizes = (face, context)
        self.weights = nn.ModuleList(nn.Linear(size, clusters) for size in sizes)
        self.scale = nn.Parameter(torch.ones(2, clusters, 1))
        self.shift = nn.Parameter(torch.zeros(2, clusters, 1))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(clusters * sum(sizes), n_classes))

    def attend(self, x):
        """Weights over the frames, those of faces first: two ``(batch, clusters, frames)``, each row a sum of 1."""
        _refuse_empty(x[2][..., 0].sum(1))
        absent = x[2][..., :1] == 0  # (batch, frames, 1)
        return [
            layer(own).masked_fill(absent, -torch.inf).softmax(1).mT
            for layer, own in zip(self.weights, x, strict=False)
        ]

    def embed(self, x):
        seen = x[2][..., 1].amax(1)[
            :, None, None
        ]  # (batch, 1, 1): a video without a face has no face clusters
        pooled = [
            a @ own for a, own in zip(self.attend(x), x, strict=False)
        ]  # (batch, clusters, size) each
        v = [
            functional.normalize(self.scale[i] * each + self.shift[i], dim=-1)
            for i, each in enumerate(pooled)
        ]
        v = torch.cat(
            [(v[0] * seen).flatten(1), v[1].flatten(1)], 1
        )  # (batch, clusters * (face + context))
        return v / self.scale.shape[1] ** 0.5


class Said(NamedTuple):
    """What a model with scores says while it learns."""

    frames: torch.Tensor  # logits, (batch, frames, n_classes)
    counted: torch.Tensor  # (batch, frames), bool
    video: torch.Tensor  # R, (batch, features)


class Supervised(nn.Module):
    """A model as it is trained: while it learns, one with scores gives :class:`Said`; else it gives the videos' logits.

    So the epoch is chosen by the softmax loss of the validation videos, for every model.
    """

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        if not (self.training and isinstance(self.model, _Scored)):
            return self.model(x)
        g, s = self.model.frames(x)
        return Said(self.model.head(g), x[2][..., 0] > 0, aggregate(g, s))


@functools.cache
def _triplets(margin):
    from pytorch_metric_learning import distances, losses, miners, reducers

    distance = distances.LpDistance(p=2, power=2, normalize_embeddings=True)
    mined = miners.BatchHardMiner(distance=distances.LpDistance(normalize_embeddings=True))
    return losses.TripletMarginLoss(
        margin=margin, distance=distance, reducer=reducers.MeanReducer()
    ), mined


def triplet_loss(truth, video, *, margin=0.2):
    """Videos of one class nearer to each other than to those of others, by a margin; hardest triplet of each anchor.

    Shape:
        truth ``(batch,)``, integers; video (R) ``(batch, features)``; result a number, 0 without a triplet
    """
    loss, mined = _triplets(margin)
    return loss(video, truth, mined(video, truth))


def emotion_loss(truth, said, *, margin=0.2, triplet=1.0):
    """Softmax loss of every frame that counts, plus triplet loss of the videos (Section 4.2).

    Args:
        truth: class of each video
        said: :class:`Said`; for a model without scores the videos' logits, whose softmax loss is all
        margin, triplet: of the triplets, and weight of their loss; ours
    """
    if torch.is_tensor(said):
        return functional.cross_entropy(said, truth)
    each = truth[:, None].expand_as(said.counted)  # (batch, frames)
    softmax = functional.cross_entropy(said.frames[said.counted], each[said.counted])
    return softmax + triplet * triplet_loss(truth, said.video, margin=margin)


def videos(frames, seen):
    """Frames to videos of unequal length, padded and masked.

    Frames without a face are left out (Section 4.1); a video without any keeps all of its frames.

    Args:
        frames: samples, one per frame, named ``video:number``; inputs face and context (and maps), target the class
        seen: whether a face was found

    Returns:
        Samples, one per video, in the order of first frames; inputs as :class:`CAAN` takes them, 0 beyond the end

    Raises:
        ValueError: if lengths differ, or frames of one video have different classes
    """
    seen = np.asarray(seen, bool)
    if len(seen) != len(frames):
        raise ValueError(f"seen has {len(seen)} rows, frames has {len(frames)}")
    names = np.array([name.rpartition(":")[0] for name in frames.ids])
    rows = [np.flatnonzero(names == name) for name in dict.fromkeys(names)]
    kept = [own[seen[own]] if seen[own].any() else own for own in rows]
    for own in rows:
        if len(frames.target[own].unique()) > 1:
            raise ValueError(f"the frames of {names[own[0]]} have different classes")
    pad = functools.partial(nn.utils.rnn.pad_sequence, batch_first=True)
    sight = torch.tensor(seen, dtype=torch.get_default_dtype())
    mask = torch.stack([torch.ones(len(seen)), sight], 1)  # (rows, 2)
    faces, *others = frames.inputs
    faces = faces * sight.view(-1, *[1] * (faces.dim() - 1))
    faces, context, *maps = (pad([x[own] for own in kept]) for x in (faces, *others))
    first = [own[0] for own in rows]
    return replace(
        frames,
        inputs=(faces, context, pad([mask[own] for own in kept]), *maps),
        target=frames.target[first].long(),
        ids=tuple(names[first].tolist()),
        groups=tuple(frames.groups[i] for i in first),
    )


class FrameClassifier(_Video):
    """A network with a new last layer, for frames that carry their video's category; see :func:`tune_backbone`.

    Shape:
        a list of one tensor, RGB frames ``(batch, side, side, 3)``, uint8, to ``(batch, n_classes)``
    """

    def __init__(
        self, network, *, size=4096, n_classes=7, mean=(127.5,) * 3, deviation=(127.5,) * 3
    ):
        super().__init__()
        # Released weights are in single precision, whatever the other models are trained in.
        precision = next(network.parameters()).dtype
        self.network = network
        self.head = nn.Linear(size, n_classes, dtype=precision)
        self.register_buffer("scale", torch.tensor([mean, deviation], dtype=precision))

    def embed(self, x):
        parts = x[0].split(
            len(x[0]) if self.training else 32
        )  # a whole validation set would not fit into memory
        return torch.cat(
            [
                self.network.embed(((part - self.scale[0]) / self.scale[1]).movedim(-1, 1))
                for part in parts
            ]
        )  # (batch, size)


def tune_backbone(
    network,
    train,
    validation,
    *,
    fit,
    seed=0,
    size=4096,
    n_classes=7,
    mean=(127.5,) * 3,
    deviation=(127.5,) * 3,
    **options,
):
    """First stage: VGG-Face or VGG-16 learns the categories from single frames, before its fc6 is taken (4.1): History.

    Args:
        network: its ``embed`` takes ``(batch, 3, side, side)``, gives ``(batch, size)``; tuned in place and left with
            the weights that validated best
        train, validation: samples, one per frame: the crop of a face or the whole frame, and its video's class
        fit: ``training.fit``
        seed: of the new layer, of order and dropout
        size, n_classes: of what the network embeds, and of the new layer
        mean, deviation: of red, green and blue, in 0 to 255, that the network expects
        options: of ``fit``; a learning rate below its default suits weights that know much already
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FrameClassifier(
            network, size=size, n_classes=n_classes, mean=mean, deviation=deviation
        )
    return fit(model, train, validation, loss=emotion_loss, seed=seed, **options)
