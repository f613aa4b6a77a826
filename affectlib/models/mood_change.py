"""Mood prediction by learning changes in emotion: 1-CNN, 2-CNN, 2-CNN+MLP and teacher-student.

S. Narayana, R. Subramanian, I. Radwan, R. Goecke: To Improve Is to Change: Towards Improving Mood Prediction
by Learning Changes in Emotion. ICMI Companion 2022.

Differs from the paper in:
    Mood is the class of the valence with the longest run of equal values; ties go to the value with more frames, then
    to the earlier. The paper's sentence allows two other readings (``labels.MOOD_RULES``).
    Padding of convolutions and pooling is "same" (not said; without it the first convolution makes one of five frames,
    which is too short for a pooling over 2 x 2 x 2 and for the next convolution).
    ReLU after each convolution and dense layer (not said); dropout stands before the softmax layer (place not said).
    Frames are scaled to [-1, 1) (not said).
    Epochs are a fixed number (none is given), and the one with the least validation loss is kept.
    Validation: three folds train, one chooses the epoch and the values of the grids, one tests. The paper has four and
    one, and does not say by which clips its values were chosen.
    ``TwoBranchCNN(shared="none")`` is the paper's 2-CNN. Its branches share no weight, so the summed loss gives the
    mood branch the gradient of the mood loss alone: it is a 1-CNN trained beside another. ``shared="convolutions"``
    is ours: the variant in which the second task can act.
    ``FusionMLP`` sees frames at test time, not change labels: Section 3.2 says it needs the labels, its
    architecture takes none.
    The student without a teacher is trained again, with the student's batch size; the paper repeats the 1-CNN's number.
    Distillation carries the factor T squared, as in Hinton et al. (2015); Eq. 2 leaves it open.
    Grad-CAM looks at the first convolution (layer not said): after it a picture is 2 x 2 cells.
"""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from affectlib.corpora.afew_va import BOX, FACE_MARGIN
from affectlib.corpora.base import Corpus

MOODS = ("negative", "neutral", "positive")
CHANGES = ("falling", "steady", "rising")


class SameConv3d(nn.Conv3d):
    """Convolution whose output is ``ceil(input / stride)`` along each axis, zeros added as needed, the odd one last."""

    def forward(self, x):
        padding = []
        for size, kernel, stride in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            lacking = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [lacking // 2, lacking - lacking // 2]
        return super().forward(F.pad(x, padding))


class SamePool3d(nn.Module):
    """Average over 2 x 2 x 2, "same" padding: what hangs over the edge does not count in the average."""

    def forward(self, x):
        return F.avg_pool3d(x, [min(2, size) for size in x.shape[2:]], stride=2, ceil_mode=True)


class Convolutions(nn.Sequential):
    """The three convolutional layers of Section 3.1, flattened and normalised.

    Shape:
        ``(batch, 3, k, 32, 32)`` to ``(batch, 32)``
    """

    def __init__(self, *, kernels=(16, 32, 32)):
        layers, channels = [], 3
        for count in kernels:
            layers += [SameConv3d(channels, count, 3, stride=3), nn.ReLU(), SamePool3d()]
            channels = count
        super().__init__(*layers, nn.Flatten(), nn.BatchNorm1d(channels))


class MoodCNN(nn.Module):
    """1-CNN: three 3D convolutions, a dense layer, three classes (Section 3.1, Fig. 3).

    Args:
        classes: of mood or of change (Section 2.2)
        kernels: of the three convolutions (Section 3.1)
        width: of the dense layer (Section 3.1)
        dropout: 0.4 or 0.5 (Section 3.1)
        convolutions: an existing :class:`Convolutions` to share, a new one where None

    Shape:
        uint8 frames ``(batch, k, 32, 32, 3)`` to logits ``(batch, classes)``
    """

    def __init__(
        self, *, classes=3, kernels=(16, 32, 32), width=512, dropout=0.4, convolutions=None
    ):
        super().__init__()
        self.convolutions = Convolutions(kernels=kernels) if convolutions is None else convolutions
        self.dense = nn.Sequential(nn.Linear(kernels[-1], width), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))

    @property
    def branches(self):
        """What is trained on a label of its own: here the network itself."""
        return (self,)

    def embed(self, x):
        """Penultimate layer, ``(batch, 512)``."""
        precision = self.head[1].weight.dtype
        x = x.movedim(-1, 1).to(precision) / 128 - 1  # (batch, 3, k, 32, 32)
        return self.dense(self.convolutions(x))  # (batch, 512)

    def forward(self, x):
        return self.head(self.embed(x))  # (batch, 3)


class TwoBranchCNN(nn.Module):
    """2-CNN: a mood and a change branch, losses summed (Section 3.3, Fig. 4 left).

    Args:
        shared: ``"none"``, as in the paper, or ``"convolutions"``, ours
        options: of :class:`MoodCNN`

    Shape:
        uint8 frames ``(batch, k, 32, 32, 3)`` to mood logits ``(batch, 3)``

    Raises:
        ValueError: if ``shared`` is neither
    """

    def __init__(self, *, shared="none", **options):
        super().__init__()
        if shared not in ("none", "convolutions"):
            raise ValueError(f"shared is 'none' or 'convolutions', not {shared!r}")
        self.mood = MoodCNN(**options)
        self.change = MoodCNN(
            convolutions=self.mood.convolutions if shared == "convolutions" else None, **options
        )

    @property
    def branches(self):
        """The mood branch and the change branch."""
        return self.mood, self.change

    def embed(self, x):
        """Penultimate layer of the mood branch, ``(batch, 512)``."""
        return self.mood.embed(x)

    def forward(self, x):
        return self.mood(x)  # (batch, 3): the mood branch alone is active for inference


class FusionMLP(nn.Module):
    """2-CNN+MLP: two trained 1-CNNs, frozen, their 512 + 512 joined by an MLP (Section 3.2, Fig. 3).

    Args:
        mood: 1-CNN trained on mood labels
        change: 1-CNN trained on change labels
        widths: of the two dense layers (Section 3.2)
        classes: of mood

    Shape:
        uint8 frames ``(batch, k, 32, 32, 3)`` to mood logits ``(batch, 3)``
    """

    def __init__(self, mood, change, *, widths=(512, 256), classes=3):
        super().__init__()
        self.mood, self.change = (
            copy.deepcopy(branch).requires_grad_(False) for branch in (mood, change)
        )
        joined = mood.head[-1].in_features + change.head[-1].in_features
        self.mlp = nn.Sequential(
            nn.Linear(joined, widths[0]), nn.ReLU(), nn.Linear(widths[0], widths[1]), nn.ReLU()
        )
        self.head = nn.Linear(widths[1], classes)

    @property
    def branches(self):
        """What is trained on a label of its own: here the network itself."""
        return (self,)

    def train(self, mode=True):
        """The two branches stay in evaluation mode: their normalisation is frozen with them."""
        super().train(mode)
        self.mood.eval()
        self.change.eval()
        return self

    def join(self, x):
        """Both branches' penultimate layers, ``(batch, 1024)``; constant over training, so computed once."""
        return torch.cat([self.mood.embed(x), self.change.embed(x)], dim=-1)

    def embed(self, x):
        """Last hidden layer, ``(batch, 256)``."""
        return self.mlp(self.join(x))

    def forward(self, x):
        return self.head(self.embed(x))  # (batch, 3)


def distillation_loss(target, logits, teacher_logits, *, alpha=0.1, temperature=5.0):
    """Loss of the student: weighted sum of cross-entropy and distillation (Section 3.4, Eq. 2).

    ``alpha * CE(target, softmax(logits)) + (1 - alpha) * T^2 * KL(softmax(teacher / T) || softmax(logits / T))``.
    The factor T^2 is Hinton et al.'s: it keeps the size of the gradient when T changes.

    Args:
        target: class of each window
        logits: of the student
        teacher_logits: of the teacher
        alpha: weight of the cross-entropy, 0.05 to 0.3 in the paper; 1 is cross-entropy alone
        temperature: T, 3, 5 or 7 in the paper

    Shape:
        target ``(..., batch)``; logits, teacher_logits ``(..., batch, classes)``;
        alpha, temperature and result ``(...)``
    """
    hard = -logits.log_softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1).mean(-1)
    scale = torch.as_tensor(temperature)[..., None, None]
    student, teacher = (logits / scale).log_softmax(-1), (teacher_logits / scale).log_softmax(-1)
    soft = (teacher.exp() * (teacher - student)).sum(-1).mean(-1)
    return alpha * hard + (1 - alpha) * temperature**2 * soft


def grad_cam(model, x, target):
    """Where the first convolution sees evidence for a class (Fig. 5; Selvaraju et al. 2017, by captum).

    The first layer, since after it a picture is 2 x 2 cells; enlarged to the frames.

    Args:
        model: 1-CNN, or 2-CNN, whose mood branch is then looked at
        x: windows
        target: class of each

    Shape:
        x ``(batch, k, 32, 32, 3)`` uint8; target ``(batch,)``; result ``(batch, k, 32, 32)``, not negative
    """
    from captum.attr import LayerGradCam

    branch = model.branches[0].eval()
    map_ = LayerGradCam(branch, branch.convolutions[0]).attribute(x, target, relu_attributions=True)
    return F.interpolate(
        map_.detach(), x.shape[1:4], mode="trilinear", align_corners=False
    ).squeeze(1)


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
    import cv2

    annotations = corpus.annotations
    folders = corpus.clips.set_index("clip")["path"]
    boxes = annotations[list(BOX)].to_numpy(copy=True)  # (frames, 4), in pixels
    for clip, rows in annotations.groupby("clip").indices.items():
        first = annotations["frame"].iloc[rows[0]]
        height, width = cv2.imread(f"{folders[clip]}/{first:05d}.png").shape[:2]
        boxes[rows] /= [width, height, width, height]
    return boxes
