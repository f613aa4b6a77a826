"""Training of mood_change: windows of frames, and every model and seed of a fold side by side.

All kernels of the paper are 3 wide with stride 3, so that a convolution is non-overlapping patches times a matrix.
The patches are the same for every model; their matrices stand side by side in one wide product. A test holds this
equal to ``Conv3d``.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from affectlib.corpora.labels import mood_windows
from affectlib.models.mood_change import FusionMLP, distillation_loss


@dataclass(frozen=True)
class Windows:
    """Overlapping windows of ``k`` frames: a gather from one array, never a copy.

    Args:
        frames: all frames of the corpus
        start: row of each window's first frame
        k: frames in a window
        clip: position of each window's clip in ``corpus.clips``, which folds are made of
        targets: classes 0, 1, 2 by name of the label

    Shape:
        frames ``(frames, 32, 32, 3)`` uint8; start, clip and each target ``(n,)``

    Raises:
        ValueError: if lengths differ, or a window reaches over the last frame
    """

    frames: torch.Tensor
    start: torch.Tensor
    k: int
    clip: np.ndarray
    targets: dict

    def __post_init__(self):
        lengths = {"start": len(self), "clip": len(self.clip)} | {
            name: len(t) for name, t in self.targets.items()
        }
        if len(set(lengths.values())) > 1 or int(self.start.max()) + self.k > len(self.frames):
            raise ValueError(
                f"{len(self.frames)} frames do not hold windows of {self.k}, or lengths differ: {lengths}"
            )

    @classmethod
    def cut(cls, corpus, frames, k, *, landmarks=False):
        """Windows of a corpus with moods, from its frames (``frame_array``); options of ``mood_windows``."""
        table = mood_windows(corpus, k, landmarks=landmarks)
        place = pd.Index(corpus.clips["clip"]).get_indexer(table["clip"])
        targets = {name: torch.tensor(table[name].to_numpy() + 1) for name in ("mood", "change")}
        return cls(
            torch.from_numpy(frames), torch.tensor(table["start"].to_numpy()), k, place, targets
        )

    def __len__(self):
        return len(self.start)

    def take(self, rows):
        """Frames of some windows, ``(..., k, 32, 32, 3)``."""
        return self.frames[self.start[rows].unsqueeze(-1) + torch.arange(self.k)]

    def of(self, clips):
        """Positions of the windows of some clips."""
        return torch.from_numpy(np.flatnonzero(np.isin(self.clip, clips)))


@dataclass
class Task:
    """A model to train, on which label each of its branches, and after which teacher, if any (Eq. 2)."""

    model: nn.Module
    targets: tuple = ("mood",)
    teacher: nn.Module | None = None
    alpha: float = 0.1
    temperature: float = 5.0


@dataclass
class Fitted:
    """One model of one fold and seed: weights of the epoch that validated best, and what it says on the test windows.

    Args:
        name, fold, seed: which one
        model: trained, in evaluation mode
        test: positions of the windows tested on
        logits: ``"clean"``: at the epoch chosen on the validation actors; ``"paper"``: chosen on the test windows
        epochs: table of epoch, train_loss, validation_loss
        best_epoch: the one kept
    """

    name: str
    fold: object
    seed: int
    model: nn.Module
    test: torch.Tensor
    logits: dict = field(repr=False)
    epochs: pd.DataFrame = field(repr=False)
    best_epoch: int


class _Stack:
    """Modules of equal shape with stacked parameters; remembers which model (``owners``) each belongs to."""

    def __init__(self, modules, owners):
        self.modules, self.owners = modules, torch.tensor(owners)
        self.parameters, self.buffers = torch.func.stack_module_state(modules)
        self.kept = {name: tensor.detach().clone() for name, tensor in self.state()}

    def __getitem__(self, name):
        return self.parameters[name] if name in self.parameters else self.buffers[name]

    def state(self):
        yield from (self.parameters | self.buffers).items()

    def keep(self, improved):
        """Remembers the present weights of the models that improved."""
        for name, tensor in self.state():
            self.kept[name][improved[self.owners]] = tensor.detach()[improved[self.owners]]

    def restore(self):
        """Puts what was remembered into the modules themselves."""
        for i, module in enumerate(self.modules):
            module.load_state_dict({name: tensor[i] for name, tensor in self.kept.items()})

    def linear(self, x, name):
        """``(modules, rows, inputs)`` to ``(modules, rows, outputs)``."""
        return torch.baddbmm(self[f"{name}.bias"].unsqueeze(1), x, self[f"{name}.weight"].mT)


def _taps(size):
    """Which of three taps touch an axis shorter than the kernel, whose rest is padding."""
    return slice((3 - size) // 2, (3 - size) // 2 + size) if size < 3 else slice(0, 3)


def _unfold(x, weight, *, fill=0):
    """Patches that a 3 x 3 x 3 kernel with stride 3 meets, which do not overlap, and the kernels as matrices.

    Shape:
        x ``(n, t, h, w, c)``; weight ``(modules, out, c, 3, 3, 3)``;
        result ``(n, t', h', w', taps * c)`` and ``(modules, taps * c, out)``
    """
    taps = [_taps(size) for size in x.shape[1:4]]
    lacking = [-size % 3 if size > 2 else 0 for size in x.shape[3:0:-1]]
    x = F.pad(
        x, [0, 0, *(n for size in lacking for n in (size // 2, size - size // 2))], value=fill
    )
    kernel = [min(3, size) for size in x.shape[1:4]]
    cells = [n // size for n, size in zip(x.shape[1:4], kernel, strict=True)]
    pairs = [n for pair in zip(cells, kernel, strict=True) for n in pair]
    x = x.reshape(len(x), *pairs, -1).permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(len(x), *cells, -1)
    return x, weight[(..., *taps)].permute(0, 3, 4, 5, 2, 1).flatten(1, 4)


def _pool(x):
    """:class:`SamePool3d` with the channels last, ``(n, t, h, w, c)``."""
    if x.shape[1] > 1:
        even = x.shape[1] // 2 * 2
        pairs = x[:, :even].unflatten(1, (-1, 2)).mean(2)
        x = pairs if even == x.shape[1] else torch.cat([pairs, x[:, even:]], 1)
    n, t = x.shape[:2]
    size = [min(2, side) for side in x.shape[2:4]]
    return (
        F.avg_pool2d(x.flatten(0, 1).permute(0, 3, 1, 2), size, 2, ceil_mode=True)
        .permute(0, 2, 3, 1)
        .unflatten(0, (n, t))
    )


class _First(torch.autograd.Function):
    """Convolution, ReLU and pooling of the first layer, where the time goes: as few passes over memory as can be.

    Shape:
        x ``(n, t, h, w, taps)``, which gets no gradient; weight ``(taps, out)``; result ``(n, t', h', w', out)``
    """

    @staticmethod
    def forward(ctx, x, weight):
        y = torch.mm(x.flatten(0, 3), weight).relu_().view(*x.shape[:4], -1)
        ctx.save_for_backward(x, y)
        return _pool(y)

    @staticmethod
    def backward(ctx, gradient):
        x, y = ctx.saved_tensors
        for axis, (size, cells) in enumerate(
            zip(y.shape[1:4], gradient.shape[1:4], strict=True), 1
        ):
            cell = torch.arange(size) // 2
            share = 1 / torch.bincount(cell, minlength=cells).view(-1, *[1] * (4 - axis))
            gradient = (gradient * share).index_select(axis, cell)
        gradient = torch.ops.aten.threshold_backward(gradient, y, 0).flatten(0, 3)
        return None, x.flatten(0, 3).T @ gradient


class _Branches:
    """1-CNNs on the same windows, side by side: one matrix product where Conv3d would run once for each."""

    def __init__(self, branches, owners, *, seed=0):
        shared = list(
            {id(branch.convolutions): branch.convolutions for branch in branches}.values()
        )
        self.index = torch.tensor(
            [[one is branch.convolutions for one in shared].index(True) for branch in branches]
        )
        first = [int((self.index == i).nonzero()[0]) for i in range(len(shared))]
        self.convolutions = _Stack(shared, [owners[i] for i in first])
        self.dense = _Stack([branch.dense for branch in branches], owners)
        self.head = _Stack([branch.head for branch in branches], owners)
        self.stacks = (self.convolutions, self.dense, self.head)
        self.dropout, self.generator = branches[0].head[0].p, torch.Generator().manual_seed(seed)

    def features(self, windows, rows, *, training=False):
        """Normalised output of the convolutions, ``(branches, batch, 32)``."""
        stack = self.convolutions
        modules = len(stack.modules)
        x, weight = _unfold(
            windows.take(rows), stack["0.weight"] / 128, fill=128
        )  # (batch, t, 11, 11, 81)
        x = F.pad(x, (0, 1), value=129).to(weight.dtype).sub_(128)  # a column of ones, for the bias
        weight = (
            torch.cat([weight, stack["0.bias"].unsqueeze(1)], 1).transpose(0, 1).flatten(1)
        )  # (82, modules * 16)
        x = _First.apply(x, weight)  # (batch, t, 6, 6, modules * 16)
        x = x.unflatten(-1, (modules, -1)).movedim(-2, 0)  # (modules, batch, t, 6, 6, 16)
        for layer in ("3", "6"):
            x, weight = _unfold(
                x.flatten(0, 1), stack[f"{layer}.weight"]
            )  # (modules * batch, t, h, w, taps * c)
            shape = x.shape[:-1]
            x = x.reshape(modules, -1, x.shape[-1])
            x = torch.baddbmm(stack[f"{layer}.bias"].unsqueeze(1), x, weight)
            x = _pool(F.relu(x).reshape(*shape, -1)).unflatten(0, (modules, -1))
        x = x.flatten(2).transpose(0, 1).flatten(1)  # (batch, modules * 32)
        x = F.batch_norm(
            x,
            *(stack[f"10.{name}"].view(-1) for name in ("running_mean", "running_var")),
            *(stack[f"10.{name}"].flatten() for name in ("weight", "bias")),
            training=training,
        )
        return x.unflatten(1, (modules, -1)).transpose(0, 1)[self.index]

    def logits(self, windows, rows, *, training=False):
        """``(branches, batch, 3)``"""
        x = F.relu(self.dense.linear(self.features(windows, rows, training=training), "0"))
        if (
            training
        ):  # drawn by a generator of its own: folds in other threads draw at the same time
            kept = 1 - self.dropout
            x = x * torch.empty_like(x).bernoulli_(kept, generator=self.generator).div_(kept)
        return self.head.linear(x, "1")


class _Fusions:
    """2-CNN+MLPs side by side; what their frozen branches see in all windows is computed once."""

    def __init__(self, models, owners, windows):
        self.mlp = _Stack([model.mlp for model in models], owners)
        self.head = _Stack([nn.Sequential(model.head) for model in models], owners)
        self.stacks = (self.mlp, self.head)
        pairs = [branch for model in models for branch in (model.mood, model.change)]
        branches = _Branches(pairs, [0] * len(pairs))
        self.dense, parts = branches.dense, torch.arange(len(windows)).split(512)
        with torch.no_grad():
            self.seen = torch.cat(
                [branches.features(windows, rows) for rows in parts], 1
            )  # (2 * models, n, 32)

    def logits(self, windows, rows, *, training=False):
        """``(models, batch, 3)``"""
        with torch.no_grad():
            x = F.relu(self.dense.linear(self.seen[:, rows], "0"))  # (2 * models, batch, 512)
            x = x.unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)  # (models, batch, 1024)
        for layer in ("0", "2"):
            x = F.relu(self.mlp.linear(x, layer))
        return self.head.linear(x, "0")


def _stacked(models, owners, windows, seed=0):
    if isinstance(models[0], FusionMLP):
        return _Fusions(models, owners, windows)
    return _Branches(models, owners, seed=seed)


def _predicted(stack, windows, rows):
    with torch.no_grad():
        return torch.cat([stack.logits(windows, part) for part in rows.split(512)], 1)


def fit_folds(
    build,
    windows,
    folds,
    *,
    seeds=(0,),
    epochs=20,
    batch_size=128,
    learning_rate=1e-3,
    jobs=2,
    progress=False,
):
    """Trains the tasks of every fold and seed; the tasks and seeds of a fold go side by side, in one stack.

    Each fold is a stack of its own: one of all folds falls out of the processor's cache and is slower. Folds go side by
    side in threads instead, which changes no number. An epoch is as many whole batches as a fold gives, shuffled
    anew; the seeds of a fold see them in one order.

    Args:
        build: called with fold and seed, that seed set; gives tasks by name, all :class:`FusionMLP` or none
        windows: of all clips
        folds: positions of clips to train on, to choose the epoch by, and to test on
        seeds: of the weights, and together of the dropout: it is drawn once for the whole stack of a fold, so that a
            model's numbers depend on what trains beside it; the set of seeds is one unit
        epochs: all are run; the one with the least cross-entropy of the first branch is kept
        batch_size: 64, 128 or 256 in the paper
        learning_rate: of Adam; 1e-5 or 1e-3 in the paper
        jobs: folds trained at once
        progress: show a bar

    Returns:
        list of Fitted

    Raises:
        ValueError: if a part of a fold has no window, or a validation loss was never a number, or the tasks of a fold
            differ in their dropout

    References:
        mood_change 3.1, 3.4, 3.5
    """
    from tqdm import tqdm

    def made(fold, seed):
        torch.manual_seed(seed)
        return {(name, seed): task for name, task in build(fold, seed).items()}

    with (
        torch.random.fork_rng(),
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=len(folds) * epochs, disable=not progress, unit="epoch") as bar,
    ):
        tasks = [
            {key: task for seed in seeds for key, task in made(fold, seed).items()}
            for fold in folds
        ]
        found = pool.map(
            lambda part, fold: _fit_fold(
                part, windows, fold, epochs, batch_size, learning_rate, bar
            ),
            tasks,
            folds,
        )
        return [run for runs in found for run in runs]


def _fit_fold(tasks, windows, fold, epochs, batch_size, learning_rate, bar):
    train, validation, test = (
        windows.of(getattr(fold, part)) for part in ("train", "validation", "test")
    )
    if not (len(train) and len(validation) and len(test)):
        raise ValueError(
            f"{fold.name}: {len(train)} windows to train on, {len(validation)} to validate, {len(test)} "
            "to test: all are needed"
        )
    listed = [
        (i, task, branch, target)
        for i, task in enumerate(tasks.values())
        for branch, target in zip(task.model.branches, task.targets, strict=True)
    ]
    owners, each, branches, names = map(list, zip(*listed, strict=True))
    dropouts = {branch.head[0].p for branch in branches if not isinstance(branch, FusionMLP)}
    if len(dropouts) > 1:
        raise ValueError(
            f"{fold.name}: tasks side by side share their dropout, found {sorted(dropouts)}"
        )
    stack = _stacked(branches, owners, windows, seed=next(iter(tasks))[1])
    leaders = torch.tensor([owners.index(i) for i in range(len(tasks))])
    target = torch.stack([windows.targets[name] for name in names])  # (branches, n)
    taught = {id(task.teacher): task.teacher for task in each if task.teacher is not None}
    known = torch.zeros(len(taught) + 1, len(windows), 3)
    if taught:
        known[1:, train] = _predicted(
            _stacked(list(taught.values()), [0] * len(taught), windows), windows, train
        )
    teacher = [
        1 + list(taught).index(id(task.teacher)) if task.teacher is not None else 0 for task in each
    ]
    alpha = torch.tensor([task.alpha if task.teacher is not None else 1.0 for task in each])
    temperature = torch.tensor([task.temperature for task in each])
    parameters = [p for part in stack.stacks for p in part.parameters.values()]
    optimiser = torch.optim.Adam(parameters, learning_rate, fused=True)
    size, held = min(batch_size, len(train)), torch.cat([validation, test])
    best, chosen, said = (
        {kind: value.clone() for kind in ("clean", "paper")}
        for value in (
            torch.full((len(tasks),), math.inf),
            torch.zeros(len(tasks)),
            torch.zeros(len(tasks), len(test), 3),
        )
    )
    curves = []
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch))
        total = torch.zeros(len(each))
        steps = len(train) // size
        for rows in train[order[: steps * size].view(steps, size)]:
            losses = distillation_loss(
                target[:, rows],
                stack.logits(windows, rows, training=True),
                known[:, rows][teacher],
                alpha=alpha,
                temperature=temperature,
            )
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
            total += losses.detach() / steps
        logits = _predicted(stack, windows, held)[leaders]  # (models, validation + test, 3)
        values = F.cross_entropy(logits.movedim(-1, 1), target[leaders][:, held], reduction="none")
        values = {
            "clean": values[:, : len(validation)].mean(1),
            "paper": values[:, len(validation) :].mean(1),
        }
        for protocol, value in values.items():
            improved = value < best[protocol]
            best[protocol] = torch.where(improved, value, best[protocol])
            chosen[protocol][improved] = epoch
            said[protocol][improved] = logits[improved][:, len(validation) :]
            if protocol == "clean":
                for part in stack.stacks:
                    part.keep(improved)
        curves.append(torch.stack([total[leaders], values["clean"]]).numpy())
        bar.update()
    if not chosen["clean"].all():
        raise ValueError(
            f"{fold.name}: the validation loss was never a number: look at the learning rate"
        )
    for part in stack.stacks:
        part.restore()
    return [
        Fitted(
            name,
            fold,
            seed,
            task.model.eval(),
            test,
            {kind: said[kind][i] for kind in said},
            pd.DataFrame(
                {
                    "epoch": np.arange(1, epochs + 1),
                    "train_loss": np.array(curves)[:, 0, i],
                    "validation_loss": np.array(curves)[:, 1, i],
                }
            ),
            int(chosen["clean"][i]),
        )
        for i, ((name, seed), task) in enumerate(tasks.items())
    ]


def vote(logits, clips):
    """Class of each clip: that of most of its windows; on a tie the one of greater mean probability.

    Args:
        logits: of each window
        clips: clip of each window

    Shape:
        logits ``(n, classes)``; clips ``(n,)``

    Returns:
        Series of classes by clip, in the order of the clips
    """
    shares = logits.softmax(-1)
    votes = F.one_hot(logits.argmax(-1), logits.shape[-1]) + 1e-3 * shares
    means = pd.DataFrame(votes.double().numpy()).groupby(np.asarray(clips), sort=False).mean()
    return means.idxmax(axis=1)
