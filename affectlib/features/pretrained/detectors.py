"""MTCNN, the network that finds faces for shot_long; the HOG detector is in :mod:`.faces`.

References:
    Zhang et al. (2016), Joint face detection and alignment using multitask cascaded convolutional
    networks, IEEE Signal Processing Letters 23(10).
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from affectlib.features.pretrained import weights as released_weights

SMALLEST = 20  # shortest side of a face that is found, in pixels
SHRINK = 0.709  # from one scale of the search to the next
WINDOW = 12  # side of what the first network sees at one place, in pixels
STEP = 2  # pixels between two places of the first network

# Smallest scores of a face, for the three networks.
PROPOSAL_SCORE = 0.6
REFINED_SCORE = 0.7
FINAL_SCORE = 0.7

# Largest overlap of two boxes that are kept: intersection over union in the first two stages,
# intersection over the smaller box in the last.
OVERLAP_AT_ONE_SCALE = 0.5
OVERLAP = 0.7


class ProposalNetwork(nn.Module):
    """First network of MTCNN, under the names of facenet-pytorch: looks at every place of a frame.

    Shape:
        ``(batch, 3, height, width)`` to a score ``(batch, rows, columns)`` and a shift
        ``(batch, 4, rows, columns)`` of left, top, right and bottom in shares of the box
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 10, 3)
        self.prelu1 = nn.PReLU(10)
        self.conv2 = nn.Conv2d(10, 16, 3)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2d(16, 32, 3)
        self.prelu3 = nn.PReLU(32)
        self.conv4_1 = nn.Conv2d(32, 2, 1)  # no face, face
        self.conv4_2 = nn.Conv2d(32, 4, 1)  # shift

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.prelu1(self.conv1(x))
        x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        x = self.prelu2(self.conv2(x))
        x = self.prelu3(self.conv3(x))  # (batch, 32, rows, columns)
        score = self.conv4_1(x).softmax(1)[:, 1]  # (batch, rows, columns)
        return score, self.conv4_2(x)


class RefinementNetwork(nn.Module):
    """Second network of MTCNN, under the names of facenet-pytorch: rejects and moves boxes.

    Shape:
        ``(batch, 3, 24, 24)`` to a score ``(batch,)`` and a shift ``(batch, 4)``
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 28, 3)
        self.prelu1 = nn.PReLU(28)
        self.conv2 = nn.Conv2d(28, 48, 3)
        self.prelu2 = nn.PReLU(48)
        self.conv3 = nn.Conv2d(48, 64, 2)
        self.prelu3 = nn.PReLU(64)
        self.dense4 = nn.Linear(576, 128)
        self.prelu4 = nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)  # no face, face
        self.dense5_2 = nn.Linear(128, 4)  # shift

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.prelu1(self.conv1(x))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = self.prelu2(self.conv2(x))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(x))  # (batch, 64, 3, 3)
        x = _flatten_by_column(x)  # (batch, 576)
        x = self.prelu4(self.dense4(x))  # (batch, 128)
        score = self.dense5_1(x).softmax(1)[:, 1]  # (batch,)
        return score, self.dense5_2(x)


class OutputNetwork(nn.Module):
    """Third network of MTCNN, under the names of facenet-pytorch: decides.

    Shape:
        ``(batch, 3, 48, 48)`` to a score ``(batch,)`` and a shift ``(batch, 4)``
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.prelu1 = nn.PReLU(32)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.prelu2 = nn.PReLU(64)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.prelu3 = nn.PReLU(64)
        self.conv4 = nn.Conv2d(64, 128, 2)
        self.prelu4 = nn.PReLU(128)
        self.dense5 = nn.Linear(1152, 256)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)  # no face, face
        self.dense6_2 = nn.Linear(256, 4)  # shift
        self.dense6_3 = nn.Linear(256, 10)  # eyes, nose and mouth: in the file, not used here

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.prelu1(self.conv1(x))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = self.prelu2(self.conv2(x))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(x))
        x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        x = self.prelu4(self.conv4(x))  # (batch, 128, 3, 3)
        x = _flatten_by_column(x)  # (batch, 1152)
        x = self.prelu5(self.dense5(x))  # (batch, 256)
        score = self.dense6_1(x).softmax(1)[:, 1]  # (batch,)
        return score, self.dense6_2(x)


def _flatten_by_column(x: torch.Tensor) -> torch.Tensor:
    """Flattens maps column by column with the channels last: the networks were trained so."""
    return x.permute(0, 3, 2, 1).flatten(1)


class MTCNN:
    """Finds faces with three networks.

    The first proposes squares at every place and scale, the others reject and move them.
    Boxes in the methods below have the columns left, top, right, bottom (in pixels) and score.

    Args:
        weights: None for the released ones, ``"random"`` for tests

    Raises:
        WeightsNotFoundError: if files are missing; it lists all of them
    """

    def __init__(self, *, weights: str | None = None) -> None:
        stages = {
            "mtcnn_pnet": ProposalNetwork,
            "mtcnn_rnet": RefinementNetwork,
            "mtcnn_onet": OutputNetwork,
        }
        if weights is None:
            released_weights.find(*stages)  # so that one error names every missing file
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.nets = []
        for name, make in stages.items():
            network = released_weights.load(name, make, weights=weights)
            self.nets.append(network.to(self.device))

    @torch.inference_mode()
    def detect(self, image: np.ndarray) -> np.ndarray:
        """Finds faces.

        Args:
            image: RGB

        Returns:
            one row per face, the highest score first: left, top, width, height (in pixels),
            score in [0, 1]

        Shape:
            image ``(height, width, 3)``, uint8; result ``(faces, 5)``
        """
        # Copied, because torch warns of arrays that are read-only.
        x = torch.from_numpy(np.array(image, order="C")).to(self.device)  # (height, width, 3)
        x = x.permute(2, 0, 1)[None].float()  # (1, 3, height, width)
        boxes = self._propose(x)
        boxes = self._refine(x, boxes)
        boxes = self._decide(x, boxes)
        boxes = boxes.cpu().numpy().astype(float)  # (faces, 5)
        size = boxes[:, 2:4] - boxes[:, :2]
        return np.column_stack([boxes[:, :2], size, boxes[:, 4]])

    def _propose(self, x: torch.Tensor) -> torch.Tensor:
        """Boxes of the first network at all scales, ``(boxes, 5)``."""
        from torchvision.ops import nms

        scale = WINDOW / SMALLEST
        rows = [x.new_empty(0, 9)]  # so that a frame smaller than a window gives no boxes
        while min(x.shape[2:]) * scale >= WINDOW:
            proposals = self._propose_at(x, scale)  # (boxes, 9)
            kept = nms(proposals[:, :4], proposals[:, 4], OVERLAP_AT_ONE_SCALE)
            rows.append(proposals[kept])
            scale *= SHRINK
        rows = torch.cat(rows)
        rows = rows[nms(rows[:, :4], rows[:, 4], OVERLAP)]
        return _move(rows[:, :5], rows[:, 5:], extra=0)

    def _propose_at(self, x: torch.Tensor, scale: float) -> torch.Tensor:
        """Boxes of the first network at one scale, each with its shift, ``(boxes, 5 + 4)``."""
        height, width = x.shape[2:]
        size = int(height * scale + 1), int(width * scale + 1)
        small = F.interpolate(x, size, mode="area")
        score, shift = self.nets[0](_normalise(small))
        place = (score[0] >= PROPOSAL_SCORE).nonzero()  # (boxes, 2): row, column
        row, column = place.T
        corner = float(STEP) * place.flip(1)  # (boxes, 2): left, top in the small frame
        # Pixels count from 1, as in the Matlab code in which MTCNN was published.
        parts = [
            ((corner + 1) / scale).floor(),
            ((corner + WINDOW) / scale).floor(),
            score[0][row, column][:, None],
            shift[0][:, row, column].T,
        ]
        return torch.cat(parts, 1)

    def _refine(self, x: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes that the second network keeps, moved."""
        from torchvision.ops import nms

        boxes, shift = _judge(self.nets[1], x, boxes, side=24, threshold=REFINED_SCORE)
        # Boxes are compared where they were, and only then moved: so does the released detector.
        kept = nms(boxes[:, :4], boxes[:, 4], OVERLAP)
        return _move(boxes, shift, extra=1)[kept]

    def _decide(self, x: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes that the third network keeps, moved."""
        boxes, shift = _judge(self.nets[2], x, boxes, side=48, threshold=FINAL_SCORE)
        return _drop_nested(_move(boxes, shift, extra=1))


def _judge(
    network: nn.Module, x: torch.Tensor, boxes: torch.Tensor, *, side: int, threshold: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squares around the boxes to which a network gives a high enough score, and their shifts."""
    crops, boxes = _crop(x, _enclosing_squares(boxes), side)
    if not len(boxes):
        return boxes, boxes[:, :4]
    score, shift = network(crops)
    accepted = score > threshold
    boxes = torch.cat([boxes[accepted, :4], score[accepted, None]], 1)
    return boxes, shift[accepted]


def _normalise(x: torch.Tensor) -> torch.Tensor:
    """Scales pixel values from [0, 255] to about [-1, 1], as MTCNN was trained."""
    return (x - 127.5) / 128


def _move(boxes: torch.Tensor, shift: torch.Tensor, *, extra: int) -> torch.Tensor:
    """Moves the sides of boxes by shares of the box's size.

    The later two networks count the size with one ``extra`` pixel.
    """
    left_top = boxes[:, :2]
    right_bottom = boxes[:, 2:4]
    size = right_bottom - left_top + extra  # (boxes, 2)
    moved = boxes[:, :4] + shift * size.repeat(1, 2)
    return torch.cat([moved, boxes[:, 4:]], 1)


def _drop_nested(boxes: torch.Tensor) -> torch.Tensor:
    """Keeps the boxes of highest score; drops those that overlap one of them too far.

    The overlap is divided by the smaller of two boxes, so that a box inside another is dropped.
    """
    kept = []
    for box in boxes[boxes[:, 4].argsort(descending=True)].tolist():
        if not any(_nested(box, other) for other in kept):
            kept.append(box)
    return boxes.new_tensor(kept).reshape(-1, 5)


def _nested(box: list[float], other: list[float]) -> bool:
    """True if the boxes share more than ``OVERLAP`` of the smaller one."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return False
    smaller = min(_area(box), _area(other))
    return width * height > OVERLAP * smaller


def _area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _enclosing_squares(boxes: torch.Tensor) -> torch.Tensor:
    """Squares with the centres of the boxes and their longer sides."""
    left_top = boxes[:, :2]
    right_bottom = boxes[:, 2:4]
    side = (right_bottom - left_top).amax(1, keepdim=True)  # (boxes, 1)
    corner = (left_top + right_bottom - side) / 2
    return torch.cat([corner, corner + side, boxes[:, 4:]], 1)


def _crop(x: torch.Tensor, boxes: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cuts out the part of each box that lies in the frame, resized and normalised.

    Boxes that lie outside of the frame are left out.

    Shape:
        result ``(boxes inside, 3, side, side)`` and ``(boxes inside, 5)``
    """
    height, width = x.shape[2:]
    corners = boxes[:, :4].int()
    # Pixels count from 1 in boxes, from 0 in tensors.
    left = corners[:, 0].clamp(min=1) - 1
    top = corners[:, 1].clamp(min=1) - 1
    right = corners[:, 2].clamp(max=width)
    bottom = corners[:, 3].clamp(max=height)
    inside = (right > left) & (bottom > top)
    edges = torch.stack([left, top, right, bottom], 1)[inside]
    crops = [x.new_empty(0, 3, side, side)]
    for l, t, r, b in edges.tolist():
        crops.append(F.interpolate(x[:, :, t:b, l:r], (side, side), mode="area"))
    return _normalise(torch.cat(crops)), boxes[inside]
