"""Context-aware attention: face and scene of each frame are fused, scored, and averaged by score.

Not every frame of a video tells its emotion. Each frame gets a fused vector and a score; the
video's vector is the mean of its frames, weighted by their scores.

References:
    Xiaodong Liu, Miao Wang, Context-aware attention network for human emotion recognition in video,
    Advances in Multimedia, 2020.
    Triplet loss: Schroff et al., FaceNet, CVPR, 2015.
    Hardest triplets of the batch: Hermans et al., arXiv 1703.07737, 2017.
    Quality-aware network: Liu, Yan, Ouyang, CVPR, 2017.
    Attention clusters: Long et al., CVPR, 2018, Eq. 3 to 5.

Differs from the paper in, where it leaves things open or contradicts itself:
    - A video is classified by the layer that classifies its frames, applied to R. This is the
      weighted mean of the logits of its frames.
    - ReLU follows each dense layer before fusion and the fusion layer; dropout of 0.5 follows r.
      The paper names no activation and no dropout. g has 1,024 values (Eq. 2).
    - Fusion is a dense layer of 2,048 units, Phi of Eq. 1 (``fusion="dense"``). The two vectors of
      1,024 have 2,048 values, too, if they are only joined, and the text can be read so:
      ``fusion="join"``.
    - Scores come from g, as Eq. 3 says. Elsewhere Sections 4.2 and 5.1 feed the fusion feature r
      to both branches: ``scores_from="fusion"``.
    - Scores pass a sigmoid and are never below 1e-12, since Eq. 4 divides by their sum; Eq. 3 has
      neither. The layers of the score branch halve in size, with ReLU between them.
    - The main person is who covers the largest area over all frames. In HEIV a person was marked
      for the annotators, the videos do not say whom.
    - Triplets: margin 0.2, squared distances of normalised vectors, hardest positive and negative
      of the batch, mean over anchors. The triplet loss has the weight of the softmax loss, which
      is a mean over frames.
    - Attention to a single modality branches off at pool5 of a VGG. Where its maps are given,
      3 x 3 convolutions that halve their channels are followed by the mean over places and one
      dense cell. Descriptors have no maps; dense layers score them instead.
    - Of a video without any face all frames count, and the context alone decides. A model of faces
      sees the mean face.
    - Attention clusters: eight per modality.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from affectlib.training import History, Samples

# Places of the two modalities among the inputs of every model.
_PLACES = {"face": 0, "context": 1}
# How face and context become the fusion feature r, and where scores come from.
_FUSIONS = ("dense", "join")
_SCORES_FROM = ("emotion", "fusion")
# Scores are at least this, so that their sum is never 0.
_LEAST_SCORE = 1e-12
# Least intersection over union of one person in two frames.
OVERLAP = 0.3
# Frames that a network embeds at once in evaluation, which bounds the memory.
_PART = 32


# Aggregation of frames


def aggregate(features: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
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
    weighted = scores.unsqueeze(-1) * features  # (batch, frames, size)
    return weighted.sum(1) / total  # (batch, size)


def _refuse_empty(totals: torch.Tensor) -> None:
    """Raises an error for videos with a total of 0."""
    empty = torch.nonzero(totals.flatten() == 0).flatten().tolist()
    if empty:
        raise ValueError(f"no frame counts in the videos {empty} of this batch")


def average_aggregate(features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Plain mean of the frames with a ``mask`` of 1; shapes as for :func:`aggregate` (5.2)."""
    return aggregate(features, mask.to(features.dtype))


# Layers


def _branch(size: int, middle: int) -> nn.Sequential:
    """Takes the features of one modality to a space of their own (Section 4.2)."""
    return nn.Sequential(nn.Linear(size, middle), nn.ReLU())


def _refuse_other(argument: str, value: str, allowed: Sequence[str]) -> None:
    """Raises an error for a value that an argument does not take."""
    if value not in allowed:
        raise ValueError(f"{argument} is one of {', '.join(allowed)}, not {value!r}")


def _halved_sizes(size: int, layers: int) -> list[int]:
    """Sizes before and after each of 1, 2 or 3 layers."""
    if layers not in (1, 2, 3):
        raise ValueError(f"scores come from 1, 2 or 3 layers, not {layers!r}")
    return [max(1, size // 2**i) for i in range(layers + 1)]


def dense_scores(size: int, layers: int) -> nn.Sequential:
    """One score per frame from 1, 2 or 3 dense layers, the last a single cell.

    Args:
        size: of the features
        layers: 1FC, 2FC or 3FC in the paper's tables

    Shape:
        the module takes ``(..., size)``, gives ``(..., 1)``

    References:
        Eq. 3
    """
    sizes = _halved_sizes(size, layers)[:-1]  # the last layer has one cell
    modules = []
    for before, after in itertools.pairwise(sizes):
        modules += [nn.Linear(before, after), nn.ReLU()]
    modules += [nn.Linear(sizes[-1], 1), nn.Sigmoid(), nn.Threshold(_LEAST_SCORE, _LEAST_SCORE)]
    return nn.Sequential(*modules)


class MapScores(nn.Module):
    """One score per frame from feature maps: convolutions, then one dense cell (Section 5.1).

    Args:
        channels: of the maps
        layers: 1, 2 or 3 convolutions

    Shape:
        ``(batch, frames, channels, height, width)`` to ``(batch, frames, 1)``
    """

    def __init__(self, *, channels: int, layers: int):
        super().__init__()
        sizes = _halved_sizes(channels, layers)
        modules = []
        for before, after in itertools.pairwise(sizes):
            modules += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        self.maps = nn.Sequential(*modules)
        self.cell = dense_scores(sizes[-1], 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        # Maps are stored in half precision.
        x = maps.flatten(0, 1).to(self.maps[0].weight.dtype)  # (batch * frames, channels, h, w)
        x = self.maps(x).mean((-2, -1))  # (batch * frames, halved channels)
        x = x.unflatten(0, maps.shape[:2])  # (batch, frames, halved channels)
        return self.cell(x)  # (batch, frames, 1)


class AttentionFusion(nn.Module):
    """Face and context of every frame to g and a score in (0, 1) (Section 4.2, Eq. 1 to 3).

    Args:
        size: of face and context together
        fused: size of the fusion layer
        features: of g; ours
        scores: dense layers of the score branch, 1, 2 or 3 (Table 2)
        fusion: ``"dense"`` is the fusion layer of Eq. 1; ``"join"`` takes face and context as they
            are, whatever ``fused`` is
        scores_from: ``"emotion"`` is g (Eq. 3), ``"fusion"`` is r (text of Sections 4.2 and 5.1)
        dropout: of r; ours

    Shape:
        ``(batch, frames, size)`` to ``(batch, frames, features)`` and ``(batch, frames)``

    Raises:
        ValueError: if ``fusion`` or ``scores_from`` is neither, or ``scores`` is not 1, 2 or 3
    """

    def __init__(
        self,
        *,
        size: int = 2048,
        fused: int = 2048,
        features: int = 1024,
        scores: int = 3,
        fusion: str = "dense",
        scores_from: str = "emotion",
        dropout: float = 0.5,
    ):
        super().__init__()
        _refuse_other("fusion", fusion, _FUSIONS)
        _refuse_other("scores_from", scores_from, _SCORES_FROM)
        if fusion == "dense":
            self.fuse = nn.Sequential(nn.Linear(size, fused), nn.ReLU())
        else:
            self.fuse = nn.Identity()
            fused = size
        self.dropout = nn.Dropout(dropout)
        self.feature = nn.Linear(fused, features)
        self.from_emotion = scores_from == "emotion"
        self.score = dense_scores(features if self.from_emotion else fused, scores)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        r = self.dropout(self.fuse(x))  # (batch, frames, fused)
        g = self.feature(r)  # (batch, frames, features)
        s = self.score(g if self.from_emotion else r).squeeze(-1)  # (batch, frames)
        return g, s


# Models


class _Video(nn.Module):
    """A model that embeds a video and classifies it."""

    def forward(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.head(self.embed(x))  # (batch, n_classes)


class _Scored(_Video):
    """A model whose ``frames`` gives features and scores of every frame."""

    def embed(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """The video's emotion vector R, ``(batch, features)``."""
        g, s = self.frames(x)  # (batch, frames, features), (batch, frames)
        return aggregate(g, s)  # (batch, features)


class CAAN(_Scored):
    """Face and context of each frame fused, scored and aggregated (Fig. 4).

    Args:
        face: size of a face's features; fc6 of VGG-Face (Section 4.1)
        context: size of the features of the whole frame; fc6 of VGG-16 (Section 4.1)
        middle: size that each is taken to before fusion (Section 4.2)
        fused: size of the fusion layer (Section 4.2)
        features: of g and R; ours
        scores: dense layers of the score branch, 1, 2 or 3 (Table 2)
        fusion: ``"dense"``, a layer of its own, or ``"join"``
        scores_from: ``"emotion"``, which is g, or ``"fusion"``, which is r
        attention: False gives every frame the same score
        dropout: of the fused features; ours
        n_classes: of HEIV (Section 3)

    Raises:
        ValueError: as for :class:`AttentionFusion`

    Shape:
        takes faces ``(batch, frames, face)``, contexts ``(batch, frames, context)`` and a mask
        ``(batch, frames, 2)``: whether a frame counts, and whether its face is seen
        (see :func:`videos`); result ``(batch, n_classes)``

    Examples:
        >>> x = [torch.zeros(2, 9, 5), torch.zeros(2, 9, 4), torch.ones(2, 9, 2)]
        >>> CAAN(face=5, context=4, middle=8, features=6)(x).shape
        torch.Size([2, 7])
    """

    def __init__(
        self,
        *,
        face: int = 4096,
        context: int = 4096,
        middle: int = 1024,
        fused: int = 2048,
        features: int = 1024,
        scores: int = 3,
        fusion: str = "dense",
        scores_from: str = "emotion",
        attention: bool = True,
        dropout: float = 0.5,
        n_classes: int = 7,
    ):
        super().__init__()
        self.attention = attention
        self.face = _branch(face, middle)
        self.context = _branch(context, middle)
        self.fusion = AttentionFusion(
            size=2 * middle,
            fused=fused,
            features=features,
            scores=scores,
            fusion=fusion,
            scores_from=scores_from,
            dropout=dropout,
        )
        self.head = nn.Linear(features, n_classes)

    def frames(self, x: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features g and scores s of all frames; s is 0 where a frame does not count.

        Shape:
            g ``(batch, frames, features)``; s ``(batch, frames)``
        """
        faces, contexts, mask = x[:3]
        counts = mask[..., 0]  # (batch, frames)
        face_seen = mask[..., 1:]  # (batch, frames, 1)
        face = self.face(faces) * face_seen  # (batch, frames, middle)
        context = self.context(contexts)  # (batch, frames, middle)
        both = torch.cat([face, context], -1)  # (batch, frames, 2 * middle)
        g, s = self.fusion(both)  # (batch, frames, features), (batch, frames)
        if not self.attention:
            s = torch.ones_like(s)
        return g, s * counts


class QualityAware(_Scored):
    """Attention to one modality, scored by middle features (Section 5.1).

    The quality-aware network of Table 4 is the one for context with 3FC in Table 2.

    Args:
        of: ``"face"`` or ``"context"``
        face, context: sizes of the features (Section 4.1); only the one of ``of`` matters
        maps: channels of the feature maps, 512 at pool5 of a VGG. 0 where there are no maps: the
            score is then taken from the features, by dense layers
        middle, features, dropout, n_classes: as for :class:`CAAN`
        scores: layers of the score branch, 1, 2 or 3; in Table 2 1 is best for faces, 3 for context
        attention: False gives every frame the same score

    Shape:
        takes the inputs of :class:`CAAN` and, with maps, those of faces and those of contexts,
        each ``(batch, frames, maps, height, width)``; result ``(batch, n_classes)``

    Raises:
        ValueError: if ``of`` is neither, or ``scores`` is not 1, 2 or 3
    """

    def __init__(
        self,
        *,
        of: str = "context",
        face: int = 4096,
        context: int = 4096,
        maps: int = 0,
        middle: int = 1024,
        features: int = 1024,
        scores: int = 1,
        attention: bool = True,
        dropout: float = 0.5,
        n_classes: int = 7,
    ):
        super().__init__()
        _refuse_other("of", of, ("face", "context"))
        size = face if of == "face" else context
        self.place = _PLACES[of]
        self.attention = attention
        self.has_maps = maps > 0
        self.feature = nn.Sequential(
            _branch(size, middle), nn.Dropout(dropout), nn.Linear(middle, features)
        )
        self.score = (
            MapScores(channels=maps, layers=scores) if self.has_maps else dense_scores(size, scores)
        )
        self.head = nn.Linear(features, n_classes)

    def frames(self, x: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and scores of all frames, as :meth:`CAAN.frames`."""
        features = x[self.place]  # (batch, frames, size)
        counts = x[2][..., 0]  # (batch, frames)
        g = self.feature(features)  # (batch, frames, features)
        if not self.attention:
            return g, counts
        # Maps stand behind faces, contexts and mask, in the same order.
        scored = x[3 + self.place] if self.has_maps else features
        s = self.score(scored).squeeze(-1)  # (batch, frames)
        return g, s * counts


class AverageAggregate(_Video):
    """Without attention: FAA (faces), CAA (context), FFAA (both) (Section 5.2).

    Args:
        of: ``"face"``, ``"context"`` or ``"both"``
        face, context: sizes of the features (Section 4.1)
        middle: of the first of two dense layers, and of each modality before fusion (Section 5.2)
        dropout: between those layers; ours
        n_classes: of HEIV (Section 3)

    Shape:
        takes the inputs of :class:`CAAN`; result ``(batch, n_classes)``

    Raises:
        ValueError: if ``of`` is none of the three
    """

    def __init__(
        self,
        *,
        of: str = "both",
        face: int = 4096,
        context: int = 4096,
        middle: int = 1024,
        dropout: float = 0.5,
        n_classes: int = 7,
    ):
        super().__init__()
        _refuse_other("of", of, ("face", "context", "both"))
        self.branches = nn.ModuleDict()
        if of == "both":
            self.branches["face"] = _branch(face, middle)
            self.branches["context"] = _branch(context, middle)
            size = 2 * middle
        else:
            # A single modality has no space to share with another one.
            self.branches[of] = nn.Identity()
            size = face if of == "face" else context
        self.dense = _branch(size, middle)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(middle, n_classes))

    def embed(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """The video's vector, ``(batch, middle)``."""
        mask = x[2]
        counts = mask[..., 0]  # (batch, frames)
        face_seen = mask[..., 1:]  # (batch, frames, 1)
        parts = []
        for name, branch in self.branches.items():
            part = branch(x[_PLACES[name]])  # (batch, frames, middle or size)
            if name == "face":
                part = part * face_seen
            parts.append(part)
        frames = torch.cat(parts, -1)  # (batch, frames, size)
        return self.dense(average_aggregate(frames, counts))  # (batch, middle)


class AttentionClusters(_Video):
    """Several attentions per modality, each shifted, scaled and normalised (Table 4).

    Args:
        face, context: sizes of the features (Section 4.1)
        clusters: attentions per modality; ours
        dropout: before the classes; ours
        n_classes: of HEIV (Section 3)

    Shape:
        takes the inputs of :class:`CAAN`; result ``(batch, n_classes)``
    """

    def __init__(
        self,
        *,
        face: int = 4096,
        context: int = 4096,
        clusters: int = 8,
        dropout: float = 0.5,
        n_classes: int = 7,
    ):
        super().__init__()
        self.weights = nn.ModuleList([nn.Linear(face, clusters), nn.Linear(context, clusters)])
        self.scale = nn.Parameter(torch.ones(2, clusters, 1))
        self.shift = nn.Parameter(torch.zeros(2, clusters, 1))
        width = clusters * (face + context)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, n_classes))

    def attend(self, x: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Weights over the frames, those of faces first; each row sums to 1.

        Shape:
            result twice ``(batch, clusters, frames)``
        """
        counts = x[2][..., 0]  # (batch, frames)
        _refuse_empty(counts.sum(1))
        absent = counts.unsqueeze(-1) == 0  # (batch, frames, 1)
        weights = []
        for layer, features in zip(self.weights, x[:2], strict=True):
            scores = layer(features)  # (batch, frames, clusters)
            scores = scores.masked_fill(absent, -torch.inf)
            weights.append(scores.softmax(1).mT)  # (batch, clusters, frames)
        return weights

    def embed(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """All clusters of both modalities, ``(batch, clusters * (face + context))``."""
        clusters = []
        for i, weights in enumerate(self.attend(x)):
            pooled = weights @ x[i]  # (batch, clusters, size)
            shifted = self.scale[i] * pooled + self.shift[i]  # (batch, clusters, size)
            clusters.append(functional.normalize(shifted, dim=-1))
        # A video without a face has no clusters of faces.
        has_face = x[2][..., 1].amax(1)[:, None, None]  # (batch, 1, 1)
        clusters[0] = clusters[0] * has_face
        joined = torch.cat([part.flatten(1) for part in clusters], 1)
        # Each cluster has length 1; so their joined length does not grow with their number.
        return joined / self.scale.shape[1] ** 0.5


# Training


class FrameOutputs(NamedTuple):
    """Outputs of a model with scores while it is trained.

    Shape:
        logits ``(batch, frames, n_classes)``; counted ``(batch, frames)``, bool;
        video (R) ``(batch, features)``
    """

    logits: torch.Tensor
    counted: torch.Tensor
    video: torch.Tensor


class Supervised(nn.Module):
    """A model as it is trained.

    While it is trained, a model with scores gives :class:`FrameOutputs`. In evaluation, and for
    every other model, the result is the logits of the videos: the epoch is chosen by the softmax
    loss of the validation videos, for every model.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Sequence[torch.Tensor]) -> FrameOutputs | torch.Tensor:
        if not (self.training and isinstance(self.model, _Scored)):
            return self.model(x)  # (batch, n_classes)
        g, s = self.model.frames(x)  # (batch, frames, features), (batch, frames)
        counted = x[2][..., 0] > 0  # (batch, frames)
        return FrameOutputs(self.model.head(g), counted, aggregate(g, s))


@functools.cache
def _triplets(margin: float) -> tuple:
    """The loss and the miner of hardest triplets, made at the first use: the import is slow."""
    from pytorch_metric_learning import distances, losses, miners, reducers

    squared = distances.LpDistance(p=2, power=2, normalize_embeddings=True)
    loss = losses.TripletMarginLoss(margin=margin, distance=squared, reducer=reducers.MeanReducer())
    miner = miners.BatchHardMiner(distance=distances.LpDistance(normalize_embeddings=True))
    return loss, miner


def triplet_loss(truth: torch.Tensor, video: torch.Tensor, *, margin: float = 0.2) -> torch.Tensor:
    """Pulls videos of one class nearer to each other than to others, by a margin.

    Each video is an anchor once, with the hardest positive and negative of the batch.

    Args:
        truth: class of each video
        video: R of each video
        margin: of FaceNet; the paper gives none

    Shape:
        truth ``(batch,)``, integers; video ``(batch, features)``;
        result a number, 0 without a triplet
    """
    loss, miner = _triplets(margin)
    return loss(video, truth, miner(video, truth))


def emotion_loss(
    truth: torch.Tensor,
    outputs: FrameOutputs | torch.Tensor,
    *,
    margin: float = 0.2,
    triplet: float = 1.0,
) -> torch.Tensor:
    """Softmax loss of every frame that counts, plus triplet loss of the videos (Section 4.2).

    Args:
        truth: class of each video
        outputs: :class:`FrameOutputs`; or the logits of the videos, for which the result is their
            softmax loss alone
        margin: of the triplets; ours
        triplet: weight of their loss; ours

    Shape:
        truth ``(batch,)``, integers; result a number
    """
    if torch.is_tensor(outputs):
        return functional.cross_entropy(outputs, truth)
    counted = outputs.counted
    frame_truth = truth[:, None].expand_as(counted)  # (batch, frames)
    softmax = functional.cross_entropy(outputs.logits[counted], frame_truth[counted])
    return softmax + triplet * triplet_loss(truth, outputs.video, margin=margin)


# The main person of a video


def track(boxes: np.ndarray | Sequence) -> np.ndarray:
    """Links the faces of consecutive frames to persons, the best match first.

    Faces match by intersection over union, from ``OVERLAP`` on.
    A person keeps the last place where it was seen, however long out of sight.

    Args:
        boxes: left, top, width, height (and more) of the faces of one clip,
            width 0 where there is none

    Returns:
        number of the person, counted by first appearance, -1 where there is no face

    Shape:
        boxes ``(frames, count, 4 or more)``; result ``(frames, count)``

    Examples:
        >>> first = [[0, 0, 4, 4], [9, 0, 3, 3]]
        >>> second = [[9, 1, 3, 3], [0, 0, 0, 0]]
        >>> third = [[1, 0, 4, 4], [5, 5, 2, 2]]
        >>> track([first, second, third]).tolist()
        [[0, 1], [1, -1], [0, 2]]
    """
    boxes = np.asarray(boxes, float)[..., :4]
    persons = np.full(boxes.shape[:2], -1)
    last_places = []  # box of each person where it was last seen
    for frame, faces in enumerate(boxes):
        present = np.flatnonzero(faces[:, 2] > 0)
        known = np.reshape(last_places, (-1, 4))
        overlap = _overlaps(faces[present], known)  # (faces, persons)
        while overlap.size and overlap.max() >= OVERLAP:
            i, person = np.unravel_index(overlap.argmax(), overlap.shape)
            persons[frame, present[i]] = person
            last_places[person] = faces[present[i]]
            # Neither this face nor this person takes part in a second match.
            overlap[i] = -1
            overlap[:, person] = -1
        for i in present:
            if persons[frame, i] < 0:
                persons[frame, i] = len(last_places)
                last_places.append(faces[i])
    return persons


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box with every other, 0 where both are empty.

    Shape:
        a ``(m, 4)``; b ``(n, 4)``; result ``(m, n)``
    """
    sides = []
    for axis in (0, 1):
        a_start = a[:, axis]
        b_start = b[:, axis]
        a_end = a_start + a[:, axis + 2]
        b_end = b_start + b[:, axis + 2]
        end = np.minimum.outer(a_end, b_end)
        start = np.maximum.outer(a_start, b_start)
        # Negative where the boxes do not touch.
        sides.append(np.maximum(end - start, 0))
    both = sides[0] * sides[1]
    a_area = a[:, 2] * a[:, 3]
    b_area = b[:, 2] * b[:, 3]
    union = np.add.outer(a_area, b_area) - both
    return np.divide(both, union, out=np.zeros_like(union), where=union > 0)


def follow(boxes: np.ndarray | Sequence) -> np.ndarray:
    """Follows the main person of a clip: the one that covers the largest area over all frames.

    Args:
        boxes: see :func:`track`

    Returns:
        position of the person among the faces of each frame, -1 where it is not seen

    Shape:
        boxes ``(frames, count, 4 or more)``; result ``(frames,)``

    Examples:
        >>> first = [[0, 0, 4, 4], [9, 0, 3, 3]]
        >>> second = [[9, 1, 3, 3], [1, 0, 2, 3]]
        >>> third = [[9, 0, 3, 3], [0, 0, 0, 0]]
        >>> follow([first, second, third]).tolist()
        [1, 0, 0]
    """
    boxes = np.asarray(boxes, float)
    persons = track(boxes)
    seen = persons >= 0
    if not seen.any():
        return np.full(len(boxes), -1)
    areas = boxes[..., 2] * boxes[..., 3]
    main = np.bincount(persons[seen], areas[seen]).argmax()
    is_main = persons == main
    return np.where(is_main.any(1), is_main.argmax(1), -1)


# Frames to videos


def videos(frames: Samples, seen: Sequence[bool]) -> Samples:
    """Frames to videos of unequal length, padded and masked.

    Frames without a face are left out (Section 4.1); a video without any face keeps all frames.
    No frame is copied, but for faces where one of them is not seen: a video holds row numbers.

    Args:
        frames: samples, one per frame, named ``video:number``;
            inputs face and context (and their maps), target the class
        seen: whether a face was found in each frame

    Returns:
        Samples with ``windows``, one per video, in the order of their first frames; ``take`` gives
        the inputs of :class:`CAAN`, 0 beyond the end of a video

    Raises:
        ValueError: if lengths differ, or frames of one video have different classes
    """
    seen = np.asarray(seen, bool)
    if len(seen) != len(frames):
        raise ValueError(f"seen has {len(seen)} rows, frames has {len(frames)}")
    names = np.array([name.rpartition(":")[0] for name in frames.ids])
    kept = []  # rows of each video
    first = []  # first row of each video
    for name in dict.fromkeys(names):
        rows = np.flatnonzero(names == name)
        if len(frames.target[rows].unique()) > 1:
            raise ValueError(f"the frames of {name} have different classes")
        first.append(rows[0])
        rows_with_face = rows[seen[rows]]
        kept.append(rows_with_face if len(rows_with_face) else rows)
    windows = np.full((len(kept), max(map(len, kept))), -1)  # (videos, frames)
    for video, rows in zip(windows, kept, strict=True):
        video[: len(rows)] = rows
    face_seen = torch.tensor(seen, dtype=torch.get_default_dtype())  # (rows,)
    mask = torch.stack([torch.ones(len(seen)), face_seen], 1)  # (rows, 2)
    faces, contexts, *maps = frames.inputs
    if not seen.all():
        # A frame without a face has 0 in place of its features, whatever their dimensions.
        faces = faces.clone()
        faces[~seen] = 0
    return replace(
        frames,
        inputs=(faces, contexts, mask, *maps),
        windows=torch.from_numpy(windows),
        target=frames.target[first].long(),
        ids=tuple(names[first].tolist()),
        groups=tuple(frames.groups[i] for i in first),
    )


def scale_maps(maps: torch.Tensor, rows: Sequence[int] | np.ndarray) -> None:
    """Divides maps by one deviation for all of them, in place; their zeros stay zeros.

    Args:
        maps: in half precision, and too many for a copy in single precision
        rows: of the training frames, that the deviation is taken from

    Shape:
        maps ``(frames, channels, height, width)``
    """
    count = 0
    total = 0.0
    squares = 0.0
    for part in torch.as_tensor(rows).split(_PART):
        values = maps[part].double()
        count += values.numel()
        total += float(values.sum())
        squares += float(values.square().sum())
    variance = (squares - total**2 / count) / (count - 1)
    maps.div_(variance**0.5)


# The first stage: tuning the backbones


class FrameClassifier(_Video):
    """A network with a new last layer, for frames that carry the category of their video.

    Args:
        network: its ``embed`` takes ``(batch, 3, side, side)``, gives ``(batch, size)``
        size: of its embedding; fc6 (Section 4.1)
        n_classes: of HEIV (Section 3)
        mean, deviation: of red, green and blue, in 0 to 255, that the network expects

    Shape:
        a list of one tensor, RGB frames ``(batch, side, side, 3)``, uint8,
        to ``(batch, n_classes)``
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        size: int = 4096,
        n_classes: int = 7,
        mean: Sequence[float] = (127.5,) * 3,
        deviation: Sequence[float] = (127.5,) * 3,
    ):
        super().__init__()
        # Released weights are in single precision, whatever the other models are trained in.
        precision = next(network.parameters()).dtype
        self.network = network
        self.head = nn.Linear(size, n_classes, dtype=precision)
        self.register_buffer("scale", torch.tensor([mean, deviation], dtype=precision))

    def embed(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """The network's embedding of each frame, ``(batch, size)``."""
        frames = x[0]
        mean, deviation = self.scale  # each (3,)
        # All validation frames come at once, and would not fit into memory.
        part_size = len(frames) if self.training else _PART
        embeddings = []
        for part in frames.split(part_size):
            normalised = (part - mean) / deviation  # (part, side, side, 3)
            embeddings.append(self.network.embed(normalised.movedim(-1, 1)))  # (part, size)
        return torch.cat(embeddings)  # (batch, size)


def tune_backbone(
    network: nn.Module,
    train: Samples,
    validation: Samples,
    *,
    fit: Callable[..., History],
    seed: int = 0,
    size: int = 4096,
    n_classes: int = 7,
    mean: Sequence[float] = (127.5,) * 3,
    deviation: Sequence[float] = (127.5,) * 3,
    **options,
) -> History:
    """First stage: VGG-Face or VGG-16 learns the categories from single frames.

    Afterwards its fc6 is taken as features (Section 4.1).

    Args:
        network: as for :class:`FrameClassifier`; tuned in place, and left with the weights that
            validated best
        train, validation: samples, one per frame: the crop of a face or the whole frame,
            and the class of its video
        fit: ``training.fit``
        seed: of the new layer, of order and dropout
        size, n_classes, mean, deviation: as for :class:`FrameClassifier`
        options: of ``fit``; use a learning rate below its default, since the weights are
            trained already
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FrameClassifier(
            network, size=size, n_classes=n_classes, mean=mean, deviation=deviation
        )
    return fit(model, train, validation, loss=emotion_loss, seed=seed, **options)
