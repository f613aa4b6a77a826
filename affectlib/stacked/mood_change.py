"""Training of mood_change with convolutions as matrix products, the first for all models at once.

Nearly all of the time goes into the convolutions, in double precision, where Conv3d is slow. The
paper's kernels are 3 wide with stride 3: they multiply patches that do not overlap with a matrix.
In the first layer, which sees all pixels, the patches are the same for every model that is trained
on the same windows. They are cut once, and the matrices of all models stand side by side.
What the two frozen networks of a 2-CNN+MLP make of the windows is computed once for all epochs.

A test holds this equal to ``affectlib.models.mood_change``.

Trainings are kept on disk here, fold by fold, where :mod:`affectlib.kept` is on.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from affectlib.kept import Kept
from affectlib.models import mood_change
from affectlib.models.mood_change import (
    PART,
    Convolutions,
    Fitted,
    FoldTraining,
    FusionMLP,
    MoodCNN,
    SameConv3d,
)
from affectlib.training import find_device

if TYPE_CHECKING:
    from tqdm import tqdm


# Axes of maps with the channels last, (batch, time, height, width, channels).
_TIME_HEIGHT_WIDTH = (1, 2, 3)


def fit_mood_folds(*args, device: str = "cpu", **options) -> list[Fitted]:
    """:func:`affectlib.models.mood_change.fit_mood_folds`, faster.

    Args:
        args, options: the same
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for a CUDA device where there is one

    Raises:
        DeviceError: if there is no such device
    """
    return mood_change.fit_mood_folds(
        *args, training=FastFoldTraining, device=find_device(device), **options
    )


class FastFoldTraining(FoldTraining):
    """The models of one fold, with fast convolutions. Their training may be kept on disk."""

    def run(self, epochs: int, batch_size: int, learning_rate: float, bar: tqdm) -> list[Fitted]:
        tasks = []
        for (name, seed), task in self.tasks.items():
            tasks.append([name, seed, task])
        self.kept = Kept(
            ["fit_mood_folds", self.windows, str(self.device)],
            [self.train, self.validation, self.test, tasks],
            [epochs, batch_size, learning_rate],
        )
        fitted = super().run(epochs, batch_size, learning_rate, bar)
        # Other folds are still to come: theirs would add up in memory.
        vars(self).pop("_joined", None)
        return fitted

    def resume(self, optimiser: torch.optim.Optimizer) -> int:
        state = self.kept.load()
        if state is None:
            return 0
        for key, weights, progress in zip(
            self.tasks, state["weights"], state["progress"], strict=True
        ):
            self.tasks[key].model.load_state_dict(weights)
            vars(self.progress[key]).update(progress)
        optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["random"])
        first = next(iter(self.progress.values()))
        return len(first.curve)

    def keep(self, optimiser: torch.optim.Optimizer, *, is_last: bool) -> None:
        if not (is_last or self.kept.is_due()):
            return
        self.kept.save(
            {
                "weights": [task.model.state_dict() for task in self.tasks.values()],
                "progress": [vars(progress) for progress in self.progress.values()],
                "optimiser": optimiser.state_dict(),
                "random": self.generator.get_state(),
            }
        )

    def embed(self, rows: torch.Tensor) -> torch.Tensor:
        models = [task.model for task in self.tasks.values()]
        if isinstance(models[0], FusionMLP):
            return self._embed_fusions(models, rows)
        branches = []
        for model in models:
            branches += model.branches
        embeddings = embed_side_by_side(branches, self.windows.take(rows))
        return torch.stack(embeddings)  # (branches, batch, width)

    def _embed_fusions(self, models: Sequence[FusionMLP], rows: torch.Tensor) -> torch.Tensor:
        """Last hidden layers of several 2-CNN+MLPs, ``(models, batch, 256)``."""
        hidden = []
        for model, joined in zip(models, self._joined, strict=True):
            hidden.append(model.mlp(joined[rows]))  # (batch, 256)
        return torch.stack(hidden)

    @functools.cached_property
    def _joined(self) -> list[torch.Tensor]:
        """What the MLP of each 2-CNN+MLP sees of every window, ``(windows, 1024)`` each.

        Its two 1-CNNs are frozen, so that one look at each window is enough for all epochs.
        """
        frozen = []
        for task in self.tasks.values():
            frozen += [task.model.mood, task.model.change]
        parts = [[] for _ in self.tasks]
        with torch.no_grad():
            for rows in torch.arange(len(self.windows), device=self.device).split(PART):
                embeddings = embed_side_by_side(frozen, self.windows.take(rows))
                pairs = zip(embeddings[::2], embeddings[1::2], strict=True)
                for of_model, pair in zip(parts, pairs, strict=True):
                    of_model.append(torch.cat(pair, -1))  # (rows, 1024)
        return [torch.cat(of_model) for of_model in parts]


def embed_side_by_side(branches: Sequence[MoodCNN], x: torch.Tensor) -> list[torch.Tensor]:
    """Penultimate layers of several 1-CNNs for the same windows.

    Shape:
        x ``(batch, k, 32, 32, 3)`` uint8; results ``(batch, 512)``
    """
    # Branches with shared convolutions see one result of them.
    networks = {}
    for branch in branches:
        networks[id(branch.convolutions)] = branch.convolutions
    maps = _first_layers(list(networks.values()), x)
    seen = {}
    for key, first in zip(networks, maps, strict=True):
        seen[key] = _other_layers(networks[key], first)  # (batch, 32)
    embeddings = []
    for branch in branches:
        convolved = seen[id(branch.convolutions)]
        embeddings.append(branch.dense(convolved))  # (batch, 512)
    return embeddings


def _first_layers(networks: Sequence[Convolutions], x: torch.Tensor) -> list[torch.Tensor]:
    """First convolution, ReLU and pooling of several networks.

    Shape:
        x ``(batch, k, 32, 32, 3)`` uint8; results ``(batch, t, 6, 6, 16)``
    """
    layers = [network[0] for network in networks]
    weight = torch.cat([_kernel_rows(layer, x) for layer in layers])  # (models * 16, 81)
    bias = torch.cat([layer.bias for layer in layers])  # (models * 16,)
    # Bytes are cut into patches, which is less to copy. Grey, 128, is 0 for the network.
    patches = _patches(x, padding=128)  # (batch, t, 11, 11, 81)
    patches = patches.to(weight.dtype).div_(128).sub_(1)
    y = F.linear(patches, weight, bias)  # (batch, t, 11, 11, models * 16)
    y = _pool(networks[0], y.relu_())  # (batch, t, 6, 6, models * 16)
    return list(y.chunk(len(layers), -1))


def _other_layers(network: Convolutions, x: torch.Tensor) -> torch.Tensor:
    """The layers behind the first one.

    Shape:
        x ``(batch, t, 6, 6, 16)``; result ``(batch, 32)``
    """
    *layers, flatten, normalise = network
    for layer in layers[3:]:
        if isinstance(layer, SameConv3d):
            patches = _patches(x)  # (batch, t, h, w, taps * channels)
            y = F.linear(patches, _kernel_rows(layer, x), layer.bias)
            x = _pool(network, y.relu())
    x = x.movedim(-1, 1)  # channels first, as the network flattens them
    return normalise(flatten(x))


def _kernel_rows(layer: SameConv3d, x: torch.Tensor) -> torch.Tensor:
    """Kernels as rows, ``(out, taps * channels)``, in the order of a patch: channels last.

    Args:
        x: the maps that the layer is applied to, channels last
    """
    kernels = layer.weight
    for axis in _TIME_HEIGHT_WIDTH:
        if x.shape[axis] == 1:  # see _patches
            kernels = kernels.narrow(1 + axis, 1, 1)
    return kernels.permute(0, 2, 3, 4, 1).flatten(1)


def _pool(network: Convolutions, x: torch.Tensor) -> torch.Tensor:
    """The pooling of a network for maps with the channels last."""
    pool = network[2]
    pooled = pool(x.movedim(-1, 1))
    return pooled.movedim(1, -1)


def _patches(x: torch.Tensor, *, padding: int = 0) -> torch.Tensor:
    """Cuts maps into patches of 3 x 3 x 3 cells, filled up on both sides as SameConv3d does.

    Along an axis of one cell only the middle of a kernel meets it, and the rest meets the padding,
    which is zero: there a patch is one cell wide. Behind the first layer most axes are of this
    kind.

    Shape:
        ``(batch, time, height, width, channels)`` to ``(batch, t, h, w, taps * channels)``, with
        27 taps where no axis has one cell
    """
    margins = [0, 0]  # of the channels; F.pad starts at the last axis
    widths = {}
    for axis in reversed(_TIME_HEIGHT_WIDTH):
        widths[axis] = 1 if x.shape[axis] == 1 else 3
        lacking = -x.shape[axis] % widths[axis]
        before = lacking // 2
        margins += [before, lacking - before]
    if any(margins):
        x = F.pad(x, margins, value=padding)
    # From the last axis on, so that the positions of the others stay.
    for axis in reversed(_TIME_HEIGHT_WIDTH):
        x = x.unflatten(axis, (-1, widths[axis]))
    # Now (batch, t, 3, h, 3, w, 3, channels), some of the 3 being 1.
    x = x.permute(0, 1, 3, 5, 2, 4, 6, 7)  # (batch, t, h, w, 3, 3, 3, channels)
    return x.flatten(4)
