"""Training of mood_change with convolutions as matrix products, the first one for all models at once.

Nearly all of the time goes into the convolutions, in double precision, where Conv3d is slow. The
paper's kernels are 3 wide with stride 3: they multiply patches that do not overlap with a matrix.
In the first layer, which sees all pixels, the patches are the same for every model that is trained
on the same windows. They are cut once, and the matrices of all models stand side by side.

A test holds this equal to ``affectlib.models.mood_change``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from affectlib.models import mood_change
from affectlib.models.mood_change import (
    Convolutions,
    Fitted,
    FoldTraining,
    FusionMLP,
    MoodCNN,
    SameConv3d,
)


def fit_mood_folds(*args, **options) -> list[Fitted]:
    """:func:`affectlib.models.mood_change.fit_mood_folds`, faster.

    Args:
        args, options: the same
    """
    return mood_change.fit_mood_folds(*args, training=FastFoldTraining, **options)


class FastFoldTraining(FoldTraining):
    """The models of one fold, with fast convolutions."""

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        models = [task.model for task in self.tasks.values()]
        if not isinstance(models[0], FusionMLP):
            branches = [branch for model in models for branch in model.branches]
            return torch.stack(embed_side_by_side(branches, x))  # (branches, batch, width)
        with torch.no_grad():
            branches = [branch for model in models for branch in (model.mood, model.change)]
            embeddings = embed_side_by_side(branches, x)  # mood and change of each model
        fused = []
        for i, model in enumerate(models):
            joined = torch.cat(embeddings[2 * i : 2 * i + 2], -1)  # (batch, 1024)
            fused.append(model.mlp(joined))
        return torch.stack(fused)  # (models, batch, width)


def embed_side_by_side(branches: Sequence[MoodCNN], x: torch.Tensor) -> list[torch.Tensor]:
    """Penultimate layers of several 1-CNNs for the same windows.

    Shape:
        x ``(batch, k, 32, 32, 3)`` uint8; results ``(batch, 512)``
    """
    # Branches with shared convolutions see one result of them.
    convolutions = {id(branch.convolutions): branch.convolutions for branch in branches}
    first = _first_layers(list(convolutions.values()), x)
    seen = {}
    for key, maps in zip(convolutions, first, strict=True):
        seen[key] = _other_layers(convolutions[key], maps)  # (batch, 32)
    return [branch.dense(seen[id(branch.convolutions)]) for branch in branches]


def _first_layers(convolutions: Sequence[Convolutions], x: torch.Tensor) -> list[torch.Tensor]:
    """First convolution, ReLU and pooling of several networks.

    Shape:
        x ``(batch, k, 32, 32, 3)`` uint8; results ``(batch, t, 6, 6, 16)``
    """
    layers = [each[0] for each in convolutions]
    weight = torch.cat([_kernel_rows(layer) for layer in layers])  # (models * 16, 81)
    bias = torch.cat([layer.bias for layer in layers])  # (models * 16,)
    # Grey, 128, is 0 for the network. Bytes are cut into patches, which is less to copy.
    patches = _patches(x, padding=128).to(weight.dtype).div_(128).sub_(1)
    y = F.linear(patches, weight, bias).relu_()  # (batch, t, 11, 11, models * 16)
    y = _pool(convolutions[0], y)  # (batch, t, 6, 6, models * 16)
    return list(y.chunk(len(layers), -1))


def _other_layers(convolutions: Convolutions, x: torch.Tensor) -> torch.Tensor:
    """The layers behind the first one; x ``(batch, t, 6, 6, 16)``, result ``(batch, 32)``."""
    for layer in list(convolutions)[3:]:
        if isinstance(layer, SameConv3d):
            x = F.linear(_patches(x), _kernel_rows(layer), layer.bias).relu()
            x = _pool(convolutions, x)  # (batch, t, h, w, channels)
    flatten, normalise = list(convolutions)[-2:]
    return normalise(flatten(x.movedim(-1, 1)))  # (batch, 32)


def _kernel_rows(layer: SameConv3d) -> torch.Tensor:
    """Kernels in the order of patches, ``(out, 27 * channels)``; the layer has channels first."""
    return layer.weight.permute(0, 2, 3, 4, 1).flatten(1)


def _pool(convolutions: Convolutions, x: torch.Tensor) -> torch.Tensor:
    """The pooling layer of a network for maps with the channels last."""
    pool = convolutions[2]
    return pool(x.movedim(-1, 1)).movedim(1, -1)


def _patches(x: torch.Tensor, *, padding: int = 0) -> torch.Tensor:
    """Cuts maps into patches of 3 x 3 x 3 cells, filled up on both sides as SameConv3d does.

    Shape:
        ``(batch, time, height, width, channels)`` to ``(batch, t, h, w, 27 * channels)``
    """
    lacking = [0, 0]  # of the channels
    for size in (x.shape[3], x.shape[2], x.shape[1]):
        lacking += [-size % 3 // 2, -size % 3 - -size % 3 // 2]
    x = F.pad(x, lacking, value=padding)
    x = x.unflatten(1, (-1, 3)).unflatten(3, (-1, 3)).unflatten(5, (-1, 3))
    # Now (batch, t, 3, h, 3, w, 3, channels).
    x = x.permute(0, 1, 3, 5, 2, 4, 6, 7)  # (batch, t, h, w, 3, 3, 3, channels)
    return x.flatten(4)  # (batch, t, h, w, 27 * channels)
