"""Mood prediction by learning changes in emotion: 1-CNN, 2-CNN, 2-CNN+MLP and teacher-student.

S. Narayana, R. Subramanian, I. Radwan, R. Goecke: To Improve Is to Change: Towards Improving Mood
Prediction by Learning Changes in Emotion. ICMI Companion 2022.

Differs from the paper in:
    - Mood is the class of the valence with the longest run of equal values. Ties go to the value
      with more frames, then to the earlier run. The paper's sentence allows two other readings
      (``corpora.labels.MOOD_RULES``).
    - Convolutions and pooling have "same" padding (the paper does not say). Without it the first
      convolution makes one frame of five, too few for the pooling over 2 x 2 x 2 that follows.
    - ReLU follows each convolution and dense layer (not in the paper). Dropout stands before the
      softmax layer (the paper does not say where).
    - Frames are scaled to [-1, 1) (not in the paper).
      A frame is the whole picture, as in the paper's Fig. 5, squashed from 720 x 576 to a square.
    - A window that would reach over a missing frame is dropped. The paper has as many windows as
      there are without this rule.
    - The number of epochs is fixed (the paper gives none); the epoch with the least validation
      loss is kept.
    - Three folds train, one chooses the epoch and the values of the grids, one tests. The paper
      trains on four and tests on one, and does not say which clips its values were chosen by.
      Folds are stratified by mood.
    - The MLP has no dropout (not given), and its branches are frozen. It learns from the training
      windows of its branches, which they know by heart.
    - Under "same" padding 35,840 of the 61,347 weights of a 1-CNN never get a gradient.
    - ``TwoBranchCNN(shared="none")`` is the paper's 2-CNN as we read it; the paper does not say
      that its branches share no weight. They share none here, so that the summed loss gives the
      mood branch the gradient of the mood loss alone: it is a 1-CNN trained beside another one.
      ``shared="convolutions"`` is ours: there the second task can act.
    - ``FusionMLP`` sees frames at test time, not change labels: Section 3.2 says that it needs the
      labels, but its architecture takes none.
    - The student without a teacher is trained again, with the student's batch size; the paper
      repeats the number of the 1-CNN.
    - Distillation carries the factor T squared, as in Hinton et al. (2015); Eq. 2 leaves it open.
    - Grad-CAM looks at the first convolution (the paper does not say which): behind it a picture
      has 2 x 2 cells.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from affectlib import paths
from affectlib.corpora.afew_va import BOX, FACE_MARGIN, picture_size
from affectlib.corpora.base import Corpus
from affectlib.corpora.folds import Fold
from affectlib.progress import progress_bar

if TYPE_CHECKING:
    from tqdm import tqdm

MOODS = ("negative", "neutral", "positive")
CHANGES = ("falling", "steady", "rising")

# Evaluation takes this many windows at once, which bounds its memory.
PART = 512
# Ways to choose the epoch: see Fitted.
_WAYS = ("clean", "paper", "accuracy")


# Labels and windows


def change_label(valence: Sequence[float], k: int) -> np.ndarray:
    """Direction of the emotion change over each window: valence at its end minus at its start.

    Args:
        valence: annotated valence of one clip, frame by frame, in [-10, 10]
        k: frames in a window

    Returns:
        -1 where valence falls, 0 where it is steady, 1 where it rises

    Shape:
        valence ``(frames,)``; result ``(frames - k + 1,)``

    Raises:
        ValueError: if ``k`` is below 2 or exceeds the clip

    References:
        Section 2.2.2, Eq. 1

    Examples:
        >>> change_label([-3, -3, -4, -4, -5], k=5)
        array([-1])
    """
    valence = np.asarray(valence)
    if not 2 <= k <= len(valence):
        raise ValueError(f"k lies between 2 and the {len(valence)} frames of the clip, not at {k}")
    difference = valence[k - 1 :] - valence[: len(valence) - k + 1]
    return np.sign(difference).astype(int)


def windows(frames: int | Sequence[int], k: int) -> np.ndarray:
    """First frame of each window of ``k`` consecutive frames; windows overlap.

    Args:
        frames: number of frames of a clip or, where some are missing, the numbers of those that
            are there. A gap breaks a window
        k: frames in a window

    Shape:
        result ``(windows,)``, positions among the frames; empty for a clip shorter than ``k``

    Raises:
        ValueError: if ``k`` is below 1, or the numbers do not increase

    References:
        Section 2.2.1

    Examples:
        >>> windows(5, 3)
        array([0, 1, 2])
        >>> windows([0, 1, 2, 4, 5, 6], 3)
        array([0, 3])
    """
    numbers = np.arange(frames) if np.isscalar(frames) else np.asarray(frames)
    if k < 1 or (np.diff(numbers) <= 0).any():
        raise ValueError(
            f"windows need k of at least 1 and increasing frame numbers, not k={k} and {frames}"
        )
    count = max(0, len(numbers) - k + 1)
    span = numbers[k - 1 :] - numbers[:count]  # (count,)
    return np.flatnonzero(span == k - 1)


def mood_windows(corpus: Corpus, k: int, *, landmarks: bool = False) -> pd.DataFrame:
    """Every window of a corpus with its two labels.

    Args:
        corpus: annotated frame by frame, with moods (:func:`affectlib.corpora.with_mood`)
        k: frames in a window
        landmarks: leave out the windows with a frame that has no landmarks

    Returns:
        DataFrame with the columns clip, group, start (row of the first frame in ``annotations``),
        mood and change

    Raises:
        ValueError: if a clip has no mood, or no clip has ``k`` consecutive frames
    """
    _check_moods(corpus)
    rows = corpus.annotations
    clips = corpus.clips.set_index("clip")
    usable = np.ones(len(rows), bool)
    if landmarks:
        usable = np.isfinite(rows["left"].to_numpy())
    frames = rows["frame"].to_numpy()
    valence = rows["valence"].to_numpy()
    tables = []
    for clip, positions in rows.groupby("clip", sort=False).indices.items():
        kept = positions[usable[positions]]
        first = windows(frames[kept], k)
        if not len(first):
            continue
        columns = {
            "clip": clip,
            "group": clips.at[clip, "group"],
            "start": kept[first],
            "mood": clips.at[clip, "mood"],
            "change": change_label(valence[kept], k)[first],
        }
        tables.append(pd.DataFrame(columns))
    if not tables:
        raise ValueError(f"{corpus.name}: no clip has {k} consecutive frames")
    return pd.concat(tables, ignore_index=True)


def _check_moods(corpus: Corpus) -> None:
    """Refuses a corpus in which a clip has no mood."""
    if "mood" not in corpus.clips:
        raise ValueError(
            f"{corpus.name}: clips have no moods, affectlib.corpora.with_mood adds them"
        )
    without = corpus.clips.loc[corpus.clips["mood"].isna(), "clip"]
    if len(without):
        raise ValueError(f"{corpus.name}: clip {without.iloc[0]!r} has no mood")


@dataclass(frozen=True)
class Windows:
    """Overlapping windows of ``k`` frames, cut from one array of frames when they are needed.

    Args:
        frames: all frames of the corpus
        start: row of each window's first frame
        k: frames in a window
        clip: position of each window's clip in ``corpus.clips``, as in folds
        targets: classes 0, 1, 2 by the name of the label, mood or change

    Shape:
        frames ``(frames, 32, 32, 3)`` uint8; start, clip and each target ``(n,)``

    Raises:
        ValueError: if lengths differ, or a window reaches over the last frame
    """

    frames: torch.Tensor
    start: torch.Tensor
    k: int
    clip: np.ndarray
    targets: dict[str, torch.Tensor]

    def __post_init__(self) -> None:
        lengths = {"start": len(self), "clip": len(self.clip)}
        for name, target in self.targets.items():
            lengths[name] = len(target)
        over_the_end = int(self.start.max()) + self.k > len(self.frames)
        if over_the_end or len(set(lengths.values())) > 1:
            raise ValueError(
                f"{len(self.frames)} frames do not hold windows of {self.k}, "
                f"or lengths differ: {lengths}"
            )

    @classmethod
    def cut(cls, corpus: Corpus, frames: np.ndarray, k: int, *, landmarks: bool = False) -> Windows:
        """Windows of a corpus.

        Args:
            corpus: with moods, see :func:`mood_windows`
            frames: its frames, from :func:`affectlib.corpora.frame_array`
            k: frames in a window
            landmarks: leave out the windows with a frame that has no landmarks
        """
        table = mood_windows(corpus, k, landmarks=landmarks)
        clip = pd.Index(corpus.clips["clip"]).get_indexer(table["clip"])
        targets = {}
        for name in ("mood", "change"):
            # Labels are -1, 0, 1; classes count from 0.
            targets[name] = torch.tensor(table[name].to_numpy() + 1)
        start = torch.tensor(table["start"].to_numpy())
        return cls(torch.from_numpy(frames), start, k, clip, targets)

    def __len__(self) -> int:
        return len(self.start)

    def take(self, rows: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Frames of some windows.

        Shape:
            rows ``(...,)``; result ``(..., k, 32, 32, 3)``
        """
        first = self.start[rows].unsqueeze(-1)  # (..., 1)
        return self.frames[first + torch.arange(self.k, device=first.device)]

    def to(self, device: torch.device | str) -> Windows:
        """The same windows on a device."""
        targets = {name: target.to(device) for name, target in self.targets.items()}
        return replace(
            self, frames=self.frames.to(device), start=self.start.to(device), targets=targets
        )

    # Folds hold clips, not windows: windows of one clip overlap and must not be on two sides.
    def in_clips(self, clips: Sequence[int]) -> torch.Tensor:
        """Positions of the windows of some clips."""
        return torch.from_numpy(np.flatnonzero(np.isin(self.clip, clips)))


def subject_folds(
    corpus: Corpus,
    k: int = 5,
    *,
    seed: int = 0,
    folder: Path | str | None = None,
    frozen: Path | str | None = None,
) -> list[Fold]:
    """Folds over actors, stratified by mood; each fold tests once and validates once.

    Args:
        corpus: clips with the column mood; its groups are the actors
        k: number of folds
        seed: of the draw
        folder: keeps the folds as JSON, one file for each corpus (by the hash of its clips, actors
            and moods), ``k`` and ``seed``. The file is read where it exists and written otherwise,
            so that the folds outlive the algorithm that drew them. It names the actors: for a
            real corpus, a folder that is not published
        frozen: a folder of such files that is looked at first, and never written

    Raises:
        ValueError: if ``k`` is below 3, or there are fewer actors than folds,
            a clip has no mood, or a file does not fit the corpus

    References:
        Section 3.5; stratification and validation are ours
    """
    _check_moods(corpus)
    groups = corpus.clips["group"].to_numpy()
    if not 3 <= k <= len(set(groups)):
        raise ValueError(
            f"{corpus.name}: k lies between 3 and the {len(set(groups))} actors, not at {k}"
        )
    table = corpus.clips[["clip", "group", "mood"]].to_csv(index=False)
    key = hashlib.sha256(table.encode()).hexdigest()
    file = f"folds_{corpus.name}_{key[:8]}_{k}_{seed}.json"
    places = [Path(place) / file for place in (frozen, folder) if place is not None]
    kept = [path for path in places if path.exists()]
    if kept:
        parts = _read_folds(kept[0], key, groups)
    else:
        parts = _draw_folds(corpus, k, seed)
        if folder is not None:
            actors = [sorted(set(groups[part])) for part in parts]
            _write_folds(Path(folder) / file, {"corpus": key, "folds": actors})
    folds = []
    for i, test in enumerate(parts):
        # Each part validates once, for the fold before its own.
        validation = parts[(i + 1) % k]
        train = ~(validation | test)
        masks = (train, validation, test)
        folds.append(Fold(f"fold {i + 1}", *(np.flatnonzero(mask) for mask in masks)))
    return folds


def _draw_folds(corpus: Corpus, k: int, seed: int) -> list[np.ndarray]:
    """One mask over the clips for each fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    clips = corpus.clips
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    parts = []
    for _, test in splitter.split(clips, clips["mood"], clips["group"].to_numpy()):
        parts.append(np.isin(np.arange(len(clips)), test))
    return parts


def _read_folds(path: Path, key: str, groups: np.ndarray) -> list[np.ndarray]:
    """The same from a file, which has to be of this corpus."""
    content = json.loads(path.read_text(encoding="utf-8"))
    parts = [np.isin(groups, actors) for actors in content["folds"]]
    each_clip_once = (np.sum(parts, axis=0) == 1).all()
    if content["corpus"] != key or not each_clip_once:
        raise ValueError(f"{path}: these folds were drawn from another corpus")
    return parts


def _write_folds(path: Path, content: dict) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    paths.make_folder(path.parent)
    paths.write(path, text.encode())


# Networks


class SameConv3d(nn.Conv3d):
    """Convolution with "same" padding: its output has ``ceil(input / stride)`` cells on each axis.

    Zeros are added on both sides; of an odd number one more at the end.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padding = []
        # F.pad starts at the last axis.
        for axis in (2, 1, 0):
            size = x.shape[2 + axis]
            kernel, stride = self.kernel_size[axis], self.stride[axis]
            cells = math.ceil(size / stride)
            lacking = max((cells - 1) * stride + kernel - size, 0)
            before = lacking // 2
            padding += [before, lacking - before]
        return super().forward(F.pad(x, padding))


class SamePool3d(nn.Module):
    """Average over 2 x 2 x 2 with "same" padding: cells beyond the edge do not count."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # An axis of one cell has nothing to average.
        kernel = [min(2, size) for size in x.shape[2:]]
        return F.avg_pool3d(x, kernel, stride=2, ceil_mode=True)


class Convolutions(nn.Sequential):
    """The three convolutional layers of Section 3.1, flattened and normalised.

    Shape:
        ``(batch, 3, k, 32, 32)`` to ``(batch, 32)``
    """

    def __init__(self, *, kernels: Sequence[int] = (16, 32, 32)):
        layers = []
        channels = 3
        for count in kernels:
            layers += [SameConv3d(channels, count, 3, stride=3), nn.ReLU(), SamePool3d()]
            channels = count
        # Five frames of 32 x 32 leave a single cell, so that flattening keeps the channels only.
        super().__init__(*layers, nn.Flatten(), nn.BatchNorm1d(channels))


class MoodCNN(nn.Module):
    """1-CNN: three 3D convolutions, a dense layer, three classes (Section 3.1, Fig. 3).

    Args:
        classes: of mood or of change (Section 2.2)
        kernels: of the three convolutions (Section 3.1)
        width: of the dense layer (Section 3.1)
        dropout: 0.4 or 0.5 (Section 3.1)
        convolutions: an existing :class:`Convolutions` to share; None makes a new one

    Shape:
        uint8 frames ``(batch, k, 32, 32, 3)`` to logits ``(batch, classes)``
    """

    def __init__(
        self,
        *,
        classes: int = 3,
        kernels: Sequence[int] = (16, 32, 32),
        width: int = 512,
        dropout: float = 0.4,
        convolutions: Convolutions | None = None,
    ):
        super().__init__()
        self.convolutions = Convolutions(kernels=kernels) if convolutions is None else convolutions
        self.dense = nn.Sequential(nn.Linear(kernels[-1], width), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))

    @property
    def branches(self) -> tuple[nn.Module, ...]:
        """The parts with a label each: here the network itself."""
        return (self,)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised output of the convolutions, ``(batch, 32)``."""
        precision = self.head[1].weight.dtype
        x = x.movedim(-1, 1).to(precision)  # (batch, 3, k, 32, 32)
        x = x / 128 - 1  # from 0 to 255 to [-1, 1)
        return self.convolutions(x)  # (batch, 32)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Penultimate layer, ``(batch, 512)``."""
        return self.dense(self.convolve(x))  # (batch, 512)

    def embed_branches(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Penultimate layer of each branch."""
        return [self.embed(x)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(x))  # (batch, classes)


class TwoBranchCNN(nn.Module):
    """2-CNN: a mood and a change branch, losses summed (Section 3.3, Fig. 4 left).

    Args:
        shared: ``"none"``, as in the paper, or ``"convolutions"``, ours
        classes, kernels, width, dropout: of each branch, as for :class:`MoodCNN`

    Shape:
        uint8 frames ``(batch, k, 32, 32, 3)`` to mood logits ``(batch, classes)``

    Raises:
        ValueError: if ``shared`` is neither
    """

    def __init__(
        self,
        *,
        shared: str = "none",
        classes: int = 3,
        kernels: Sequence[int] = (16, 32, 32),
        width: int = 512,
        dropout: float = 0.4,
    ):
        super().__init__()
        if shared not in ("none", "convolutions"):
            raise ValueError(f"shared is 'none' or 'convolutions', not {shared!r}")
        sizes = {"classes": classes, "kernels": kernels, "width": width, "dropout": dropout}
        self.shared = shared
        self.mood = MoodCNN(**sizes)
        convolutions = self.mood.convolutions if shared == "convolutions" else None
        self.change = MoodCNN(convolutions=convolutions, **sizes)

    @property
    def head(self) -> nn.Module:
        """The classifier of the mood branch."""
        return self.mood.head

    @property
    def branches(self) -> tuple[nn.Module, ...]:
        """The mood branch and the change branch."""
        return self.mood, self.change

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Penultimate layer of the mood branch, ``(batch, 512)``."""
        return self.mood.embed(x)

    def embed_branches(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Penultimate layers of both branches, mood first, each ``(batch, 512)``."""
        if self.shared == "none":
            return [self.mood.embed(x), self.change.embed(x)]
        # Once for both, so that the running statistics of the normalisation move once per batch.
        seen = self.mood.convolve(x)  # (batch, 32)
        return [self.mood.dense(seen), self.change.dense(seen)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The mood branch alone is active for inference (Section 3.3).
        return self.head(self.embed(x))  # (batch, classes)


class FusionMLP(nn.Module):
    """2-CNN+MLP: two trained 1-CNNs, frozen, and an MLP that joins their embeddings.

    Args:
        mood: 1-CNN trained on mood labels; copied
        change: 1-CNN trained on change labels; copied
        widths: of the two dense layers (Section 3.2)
        classes: of mood (Section 2.2)

    Shape:
        uint8 frames ``(batch, k, 32, 32, 3)`` to mood logits ``(batch, classes)``

    References:
        Section 3.2, Fig. 3
    """

    def __init__(
        self,
        mood: MoodCNN,
        change: MoodCNN,
        *,
        widths: Sequence[int] = (512, 256),
        classes: int = 3,
    ):
        super().__init__()
        # Copies, so that the two networks can be trained on or compared afterwards.
        self.mood = copy.deepcopy(mood).requires_grad_(False)
        self.change = copy.deepcopy(change).requires_grad_(False)
        joined = mood.head[-1].in_features + change.head[-1].in_features
        first, second = widths
        self.mlp = nn.Sequential(
            nn.Linear(joined, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU()
        )
        self.head = nn.Linear(second, classes)

    @property
    def branches(self) -> tuple[nn.Module, ...]:
        """The parts with a label each: here the network itself."""
        return (self,)

    def train(self, mode: bool = True) -> FusionMLP:
        """The two 1-CNNs stay in evaluation mode: their normalisation is frozen with them."""
        super().train(mode)
        self.mood.eval()
        self.change.eval()
        return self

    def join(self, x: torch.Tensor) -> torch.Tensor:
        """Penultimate layers of both 1-CNNs, ``(batch, 1024)``."""
        return torch.cat([self.mood.embed(x), self.change.embed(x)], dim=-1)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Last hidden layer, ``(batch, 256)``."""
        return self.mlp(self.join(x))  # (batch, 256)

    def embed_branches(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Last hidden layer of the one branch."""
        return [self.embed(x)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(x))  # (batch, classes)


# Loss of the student


def distillation_loss(
    target: torch.Tensor,
    logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    *,
    alpha: float = 0.1,
    temperature: float = 5.0,
) -> torch.Tensor:
    """Loss of the student: weighted sum of cross-entropy and distillation (Section 3.4, Eq. 2).

    ``alpha * CE(target, softmax(logits))
    + (1 - alpha) * T^2 * KL(softmax(teacher_logits / T) || softmax(logits / T))``.
    The factor T^2 is from Hinton et al.: it keeps the size of the gradient when T changes.

    Args:
        target: class of each window
        logits: of the student
        teacher_logits: of the teacher
        alpha: weight of the cross-entropy, 0.05 to 0.3 in the paper; 1 is cross-entropy alone
        temperature: T, 3, 5 or 7 in the paper

    Shape:
        target ``(batch,)``; logits and teacher_logits ``(batch, classes)``; result a number
    """
    hard = F.cross_entropy(logits, target)
    # A temperature above 1 makes the small probabilities count: they are what a teacher adds.
    student = (logits / temperature).log_softmax(-1)  # (batch, classes)
    teacher = (teacher_logits / temperature).log_softmax(-1)  # (batch, classes)
    soft = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return alpha * hard + (1 - alpha) * temperature**2 * soft


# Training


@dataclass
class Task:
    """One model to train.

    Args:
        model: :class:`MoodCNN`, :class:`TwoBranchCNN` or :class:`FusionMLP`
        targets: the label of each of its branches, mood or change
        teacher: a trained model that the student imitates; None for no teacher
        alpha, temperature: of :func:`distillation_loss`
    """

    model: nn.Module
    targets: tuple[str, ...] = ("mood",)
    teacher: nn.Module | None = None
    alpha: float = 0.1
    temperature: float = 5.0


@dataclass
class Fitted:
    """One trained model of one fold and seed.

    Args:
        name: of the task
        fold: that it was trained on
        seed: of its weights
        model: in evaluation mode, with the weights of the epoch that validated best
        test: positions of the test windows
        logits: for the test windows, ``(test, classes)``; ``"clean"``: of the epoch chosen by the
            validation windows; ``"paper"``: of the epoch with the least loss on the test windows
            themselves; ``"accuracy"``: of the epoch with the highest accuracy on them
        epochs: table of epoch, train_loss, validation_loss
        best_epoch: the epoch that validated best
    """

    name: str
    fold: Fold
    seed: int
    model: nn.Module
    test: torch.Tensor
    logits: dict[str, torch.Tensor] = field(repr=False)
    epochs: pd.DataFrame = field(repr=False)
    best_epoch: int


def fit_mood_folds(
    build: Callable[[Fold, int], dict[str, Task]],
    windows: Windows,
    folds: Sequence[Fold],
    *,
    seeds: Sequence[int] = (0,),
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    jobs: int = 2,
    progress: bool | None = None,
    training: type[FoldTraining] | None = None,
    device: torch.device | str = "cpu",
) -> list[Fitted]:
    """Trains the tasks of every fold and seed.

    The tasks and seeds of a fold see the same batches, in one order. An epoch has as many complete
    batches as a fold gives, shuffled anew. Folds are trained side by side in threads, which
    changes no number.

    Args:
        build: makes the tasks of a fold and seed, by name; the seed is set before each call
        windows: of all clips
        folds: positions of clips to train on, to choose the epoch by, and to test on
        seeds: of the weights. Dropout is drawn once for all models of a fold: the numbers of a
            model depend on the models that are trained beside it, and a list of seeds is one unit
        epochs: all are run; the one with the least cross-entropy of the first branch is kept
        batch_size: 64, 128 or 256 in the paper
        learning_rate: of Adam; 1e-5 or 1e-3 in the paper
        jobs: folds that are trained at once
        progress: show a bar; None shows one where a notebook is open in JupyterLab
        training: trains a fold; None is :class:`FoldTraining`, and
            ``affectlib.stacked.mood_change`` has a faster one
        device: where models are trained, such as ``"cuda"``; results are on the CPU

    Returns:
        list of Fitted, fold by fold

    Raises:
        ValueError: if a part of a fold has no window, or a validation loss was never a number,
            or the tasks of a fold differ in their dropout

    References:
        Sections 3.1, 3.4, 3.5
    """
    training = training or FoldTraining
    windows = windows.to(device)

    def fit_fold(of_fold: FoldTraining) -> list[Fitted]:
        return of_fold.run(epochs, batch_size, learning_rate, counted)

    with (
        torch.random.fork_rng(),
        ThreadPoolExecutor(jobs) as pool,
        progress_bar(
            total=len(folds) * epochs, progress=progress, unit="epoch", leave=False
        ) as counted,
    ):
        # Models are built here, one after the other: threads share torch's random numbers.
        trainings = []
        for fold in folds:
            tasks = {}
            for seed in seeds:
                torch.manual_seed(seed)
                for name, task in build(fold, seed).items():
                    tasks[name, seed] = task
            trainings.append(training(tasks, windows, fold))
        fitted = []
        for models in pool.map(fit_fold, trainings):
            fitted += models
        return fitted


class _Progress:
    """One model while it is trained: its losses, and what the three ways to choose an epoch keep.

    ``"clean"`` chooses by the loss on the validation windows, ``"paper"`` by that on the test
    windows themselves, ``"accuracy"`` by the errors on the test windows.
    """

    def __init__(self) -> None:
        self.curve: list[tuple[int, float, float]] = []  # epoch, training loss, validation loss
        self.best_epoch = dict.fromkeys(_WAYS, 0)
        self.least = dict.fromkeys(_WAYS, math.inf)
        self.logits: dict[str, torch.Tensor] = {}  # of the test windows
        self.weights: dict[str, torch.Tensor] | None = None

    def update(
        self,
        model: nn.Module,
        train_loss: float,
        held_out: dict[str, torch.Tensor],
        logits: torch.Tensor,
    ) -> None:
        """Adds an epoch.

        Args:
            model: after this epoch
            train_loss: mean over its batches
            held_out: what each way makes as small as it can
            logits: of the test windows
        """
        epoch = len(self.curve) + 1
        self.curve.append((epoch, train_loss, float(held_out["clean"])))
        for way, loss in held_out.items():
            if loss < self.least[way]:  # never where the loss is nan
                self.least[way] = float(loss)
                self.best_epoch[way] = epoch
                self.logits[way] = logits
                if way == "clean":
                    self.weights = copy.deepcopy(model.state_dict())


class FoldTraining:
    """The models of one fold while they are trained, all on the same batches."""

    def __init__(self, tasks: dict[tuple[str, int], Task], windows: Windows, fold: Fold):
        self.tasks = tasks
        self.windows = windows
        self.fold = fold
        self.device = windows.frames.device
        self.train = windows.in_clips(fold.train).to(self.device)
        self.validation = windows.in_clips(fold.validation).to(self.device)
        self.test = windows.in_clips(fold.test).to(self.device)
        if not (len(self.train) and len(self.validation) and len(self.test)):
            raise ValueError(
                f"{fold.name}: {len(self.train)} windows to train on, {len(self.validation)} "
                f"to validate, {len(self.test)} to test: all are needed"
            )
        self.dropout = self._common_dropout()
        # Other folds draw in other threads at the same time: from torch's shared generator each
        # fold would get other numbers in each run.
        first_seed = next(iter(tasks))[1]
        self.generator = torch.Generator(self.device).manual_seed(first_seed)
        self.progress = {key: _Progress() for key in tasks}

    def _common_dropout(self) -> float:
        """The one share of dropout of all branches, 0 where there is none."""
        shares = set()
        for task in self.tasks.values():
            for branch in task.model.branches:
                for layer in branch.head.modules():
                    if isinstance(layer, nn.Dropout):
                        shares.add(layer.p)
        if len(shares) > 1:
            raise ValueError(
                f"{self.fold.name}: tasks side by side share their dropout, found {sorted(shares)}"
            )
        return shares.pop() if shares else 0.0

    def run(self, epochs: int, batch_size: int, learning_rate: float, bar: tqdm) -> list[Fitted]:
        """Trains all epochs; each model ends with its best weights, on the CPU."""
        parameters = []
        for task in self.tasks.values():
            task.model.to(self.device)
            parameters += [p for p in task.model.parameters() if p.requires_grad]
        optimiser = torch.optim.Adam(parameters, learning_rate, fused=True)
        epochs_before = self.resume(optimiser)
        bar.update(epochs_before)
        teacher_logits = self._teacher_logits()
        for epoch in range(epochs_before + 1, epochs + 1):
            train_losses = self._train_epoch(epoch, batch_size, optimiser, teacher_logits)
            validation_logits = self._predict(self.validation)
            test_logits = self._predict(self.test)
            for key, task in self.tasks.items():
                target = self.windows.targets[task.targets[0]]
                is_wrong = test_logits[key].argmax(-1) != target[self.test]
                held_out = {
                    "clean": F.cross_entropy(validation_logits[key], target[self.validation]),
                    "paper": F.cross_entropy(test_logits[key], target[self.test]),
                    "accuracy": is_wrong.double().mean(),
                }
                self.progress[key].update(task.model, train_losses[key], held_out, test_logits[key])
            self.keep(optimiser, is_last=epoch == epochs)
            bar.update()
        return [self._fitted(*key) for key in self.tasks]

    def resume(self, optimiser: torch.optim.Optimizer) -> int:
        """Goes on where an earlier training of this fold was killed.

        Here every training begins anew; ``affectlib.stacked.mood_change`` keeps them on disk.

        Returns:
            number of epochs that were trained before
        """
        return 0

    def keep(self, optimiser: torch.optim.Optimizer, *, is_last: bool) -> None:
        """Called after each epoch, for a training that keeps its state."""

    def _teacher_logits(self) -> dict[tuple[str, int], torch.Tensor]:
        """Logits of each student's teacher for the training windows, in the rows of all windows."""
        by_student = {}
        for key, task in self.tasks.items():
            if task.teacher is None:
                continue
            # All training windows once: a teacher does not change while its student learns.
            logits = _predict(task.teacher.to(self.device), self.windows, self.train)
            task.teacher.cpu()
            by_row = logits.new_zeros(len(self.windows), logits.shape[1])
            by_row[self.train] = logits
            by_student[key] = by_row
        return by_student

    def _train_epoch(
        self,
        epoch: int,
        batch_size: int,
        optimiser: torch.optim.Optimizer,
        teacher_logits: dict[tuple[str, int], torch.Tensor],
    ) -> dict[tuple[str, int], float]:
        """Mean training loss of each model's first branch."""
        for task in self.tasks.values():
            task.model.train()
        n = len(self.train)
        size = min(batch_size, n)
        steps = n // size
        # One order for all seeds, so that they can share their batches.
        # It is drawn on the CPU, so that it is the same on every device.
        order = torch.randperm(n, generator=torch.Generator().manual_seed(epoch), device="cpu")
        order = order.to(self.device)
        means = dict.fromkeys(self.tasks, 0.0)
        for batch in order[: steps * size].split(size):
            rows = self.train[batch]
            losses = self._losses(rows, teacher_logits)
            # The models share no weight: the gradient of the sum is that of each model's own loss.
            total = sum(loss for branches in losses.values() for loss in branches)
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
            for key, branches in losses.items():
                # In double precision, and not yet a number: that would wait for the device.
                means[key] += branches[0].detach().double() / steps
        return {key: float(mean) for key, mean in means.items()}

    def embed(self, rows: torch.Tensor) -> torch.Tensor:
        """Penultimate layers of all branches; ``affectlib.stacked.mood_change`` has a faster twin.

        Args:
            rows: positions of windows

        Shape:
            rows ``(batch,)``; result ``(branches, batch, width)``
        """
        x = self.windows.take(rows)  # (batch, k, 32, 32, 3)
        embeddings = []
        for task in self.tasks.values():
            embeddings += task.model.embed_branches(x)
        return torch.stack(embeddings)  # (branches, batch, width)

    def _losses(
        self, rows: torch.Tensor, teacher_logits: dict[tuple[str, int], torch.Tensor]
    ) -> dict[tuple[str, int], list[torch.Tensor]]:
        """Loss of each branch of each model on one batch."""
        embeddings = self._drop(self.embed(rows))  # (branches, batch, width)
        by_branch = iter(embeddings)
        losses = {}
        for key, task in self.tasks.items():
            losses[key] = []
            for branch, label in zip(task.model.branches, task.targets, strict=True):
                logits = _last_layer(branch)(next(by_branch))  # (batch, classes)
                target = self.windows.targets[label][rows]
                if task.teacher is None:
                    loss = F.cross_entropy(logits, target)
                else:
                    loss = distillation_loss(
                        target,
                        logits,
                        teacher_logits[key][rows],
                        alpha=task.alpha,
                        temperature=task.temperature,
                    )
                losses[key].append(loss)
        return losses

    def _drop(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Dropout of all branches at once, from this fold's own generator."""
        if not self.dropout:
            return embeddings
        share_kept = 1 - self.dropout
        mask = torch.empty_like(embeddings).bernoulli_(share_kept, generator=self.generator)
        return embeddings * (mask / share_kept)

    def _predict(self, rows: torch.Tensor) -> dict[tuple[str, int], torch.Tensor]:
        """Logits of each model's first branch, ``(rows, classes)`` each."""
        for task in self.tasks.values():
            task.model.eval()
        parts = {key: [] for key in self.tasks}
        with torch.no_grad():
            for part in rows.split(PART):
                embeddings = self.embed(part)  # (branches, part, width)
                first = 0
                for key, task in self.tasks.items():
                    parts[key].append(_last_layer(task.model.branches[0])(embeddings[first]))
                    first += len(task.model.branches)
        return {key: torch.cat(logits) for key, logits in parts.items()}

    def _fitted(self, name: str, seed: int) -> Fitted:
        """The result of one task."""
        model = self.tasks[name, seed].model
        progress = self.progress[name, seed]
        if progress.weights is None:
            raise ValueError(
                f"{self.fold.name}: the validation loss was never a number: "
                "look at the learning rate"
            )
        model.load_state_dict(progress.weights)
        return Fitted(
            name,
            self.fold,
            seed,
            model.eval().cpu(),
            self.test.cpu(),
            {way: logits.cpu() for way, logits in progress.logits.items()},
            pd.DataFrame(progress.curve, columns=["epoch", "train_loss", "validation_loss"]),
            progress.best_epoch["clean"],
        )


def _last_layer(branch: nn.Module) -> nn.Linear:
    """The softmax layer without the dropout before it."""
    return branch.head[-1] if isinstance(branch.head, nn.Sequential) else branch.head


def _predict(model: nn.Module, windows: Windows, rows: torch.Tensor) -> torch.Tensor:
    """Logits for some windows, ``(rows, classes)``."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(windows.take(part)) for part in rows.split(PART)])


def vote(logits: torch.Tensor, clips: Sequence) -> pd.Series:
    """Class of each clip: that of most of its windows.

    On a tie the class with the greater mean probability wins.

    Args:
        logits: of each window
        clips: clip of each window

    Shape:
        logits ``(n, classes)``; clips ``(n,)``

    Returns:
        Series of classes by clip, in the order of the clips
    """
    probabilities = logits.softmax(-1)  # (n, classes)
    votes = F.one_hot(logits.argmax(-1), logits.shape[-1])  # (n, classes)
    # A weight so small that probabilities decide between equal counts only.
    votes = votes + 1e-3 * probabilities
    means = pd.DataFrame(votes.double().numpy()).groupby(np.asarray(clips), sort=False).mean()
    return means.idxmax(axis=1)


# Attention


def grad_cam(model: nn.Module, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Where the first convolution sees evidence for a class, enlarged to the frames.

    Args:
        model: 1-CNN, or 2-CNN, of which the mood branch is looked at
        x: windows
        target: class of each window

    Shape:
        x ``(batch, k, 32, 32, 3)`` uint8; target ``(batch,)``; result ``(batch, k, 32, 32)``,
        not negative

    References:
        Fig. 5; Selvaraju et al. 2017, by captum
    """
    from captum.attr import LayerGradCam

    branch = model.branches[0].eval()
    # The first layer, since behind it a picture has 2 x 2 cells only.
    layer = branch.convolutions[0]
    evidence = LayerGradCam(branch, layer).attribute(x, target, relu_attributions=True)
    evidence = evidence.detach()  # (batch, 1, 2, 11, 11) for k = 5
    evidence = F.interpolate(evidence, x.shape[1:4], mode="trilinear", align_corners=False)
    return evidence.squeeze(1)  # (batch, k, 32, 32)


def face_masks(corpus: Corpus, *, side: int = 32, crop: str = "frame") -> np.ndarray:
    """Marks the cells of every small picture whose centre lies on the face.

    The face is the box around the landmarks.
    A whole frame without landmarks has no marked cell.

    Args:
        corpus: AFEW-VA; all frames of a clip have one size
        side: side of the pictures in pixels, as ``size`` of ``frame_array``
        crop: how the pictures were made, as for ``frame_array``: ``"frame"`` or ``"face"``

    Shape:
        result ``(frames, side, side)`` bool, row by row as ``corpus.annotations``

    Raises:
        ValueError: if ``crop`` is neither

    References:
        ours: measures how much of Grad-CAM falls on the face (Fig. 5)
    """
    if crop not in ("frame", "face"):
        raise ValueError(f"crop is 'frame' or 'face', not {crop!r}")
    if crop == "frame":
        boxes = _boxes_in_frame(corpus)  # (frames, 4)
    else:
        # The square that was cut out is larger than the face by the same factor everywhere.
        margin = (1 - 1 / FACE_MARGIN) / 2
        box = [margin, margin, 1 - margin, 1 - margin]
        boxes = np.tile(box, (len(corpus.annotations), 1))  # (frames, 4)
    left, top, right, bottom = (side * boxes).T[..., None]  # each (frames, 1)
    centres = np.arange(side) + 0.5
    rows = (centres >= top) & (centres <= bottom)  # (frames, side)
    columns = (centres >= left) & (centres <= right)  # (frames, side)
    return rows[:, :, None] & columns[:, None, :]  # (frames, side, side)


def _boxes_in_frame(corpus: Corpus) -> np.ndarray:
    """Left, top, right and bottom of each face as shares of the frame, nan without landmarks."""
    annotations = corpus.annotations
    folders = corpus.clips.set_index("clip")["path"]
    boxes = annotations[list(BOX)].to_numpy(copy=True)  # (frames, 4), in pixels
    for clip, rows in annotations.groupby("clip").indices.items():
        first = annotations["frame"].iloc[rows[0]]
        # From its header: the file may claim a size that would fill the memory.
        width, height = picture_size(Path(folders[clip]) / f"{first:05d}.png")
        boxes[rows] /= [width, height, width, height]
    return boxes
