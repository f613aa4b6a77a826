"""Faces by networks: MTCNN (shot_long) and Faster R-CNN (caan), beside the HOG detector of :mod:`.faces`.

References:
    Zhang et al. (2016), Joint face detection and alignment using multitask cascaded convolutional networks, IEEE
    Signal Processing Letters 23(10). Ren et al. (2015), Faster R-CNN, NeurIPS.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from affectlib.features.pretrained import weights as files

SHRINK = 0.709  # from one scale of the search to the next
THRESHOLDS = (0.6, 0.7, 0.7)  # of the three networks


class _Net(nn.Module):
    """One stage of MTCNN: convolutions with PReLU and pooling, then dense layers, under the names of facenet-pytorch.

    Args:
        widths: of its layers; convolutions until ``dense``
        kernels: of its convolutions
        pools: kernels of the pooling by 2 that follows each
        dense: inputs of the dense layer, 0 for none
        heads: name of each output to its width
    """

    def __init__(self, widths, kernels, pools, dense, heads):
        super().__init__()
        self.names, self.pools, self.flat = [], pools, f"dense{len(kernels) + 1}" if dense else ""
        channels = 3
        for i, (width, kernel) in enumerate(zip(widths, kernels, strict=False), 1):
            self.add_module(f"conv{i}", nn.Conv2d(channels, width, kernel))
            self.add_module(f"prelu{i}", nn.PReLU(width))
            channels = width
        if dense:
            self.add_module(self.flat, nn.Linear(dense, widths[-1]))
            self.add_module(f"prelu{len(kernels) + 1}", nn.PReLU(widths[-1]))
            channels = widths[-1]
        for name, width in heads.items():
            self.add_module(
                name, nn.Linear(channels, width) if dense else nn.Conv2d(channels, width, 1)
            )
        self.heads = tuple(heads)

    def forward(self, x):
        for i, pool in enumerate(self.pools, 1):
            x = getattr(self, f"prelu{i}")(getattr(self, f"conv{i}")(x))
            x = F.max_pool2d(x, pool, 2, ceil_mode=True) if pool else x
        if self.flat:
            x = getattr(self, self.flat)(
                x.permute(0, 3, 2, 1).flatten(1)
            )  # column by column, as it was trained
            x = getattr(self, self.flat.replace("dense", "prelu"))(x)
        score, shift = (getattr(self, name)(x) for name in self.heads[:2])
        return score.softmax(1)[:, 1], shift  # (batch, ...), (batch, 4, ...)


def _pnet():
    return _Net((10, 16, 32), (3, 3, 3), (2, 0, 0), 0, {"conv4_1": 2, "conv4_2": 4})


def _rnet():
    return _Net((28, 48, 64, 128), (3, 3, 2), (3, 3, 0), 576, {"dense5_1": 2, "dense5_2": 4})


def _onet():
    return _Net(
        (32, 64, 64, 128, 256),
        (3, 3, 3, 2),
        (3, 3, 2, 0),
        1152,
        {"dense6_1": 2, "dense6_2": 4, "dense6_3": 10},
    )


class MTCNN:
    """Three networks: the first proposes squares at every place and scale, the others reject and move them.

    Args:
        weights: None for the released ones, ``"random"`` for tests
        smallest: shortest side of a face, in pixels

    Raises:
        WeightsNotFoundError: if files are missing
    """

    def __init__(self, *, weights=None, smallest=20):
        if weights is None:
            files.find("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")
        self.smallest = smallest
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.nets = [
            files.load(f"mtcnn_{name}", make, weights=weights).to(self.device)
            for name, make in (("pnet", _pnet), ("rnet", _rnet), ("onet", _onet))
        ]

    @torch.inference_mode()
    def detect(self, image):
        """Finds faces.

        Args:
            image: RGB

        Returns:
            one row per face, the surest first: left, top, width, height (in pixels), score in [0, 1]

        Shape:
            image ``(height, width, 3)``, uint8; result ``(faces, 5)``
        """
        from torchvision.ops import nms

        x = _pixels(image).to(self.device)  # (height, width, 3)
        x = x.permute(2, 0, 1)[None].float()  # (1, 3, height, width)
        boxes = self._propose(x)  # (boxes, 5): left, top, right, bottom, score
        for net, side, threshold in zip(self.nets[1:], (24, 48), THRESHOLDS[1:], strict=True):
            boxes = _squares(boxes)
            crops, boxes = _crops(x, boxes, side)
            if not len(boxes):
                break
            score, shift = net(crops)
            sure = score > threshold
            boxes, shift = torch.cat([boxes[sure, :4], score[sure, None]], 1), shift[sure]
            moved = _moved(boxes, shift, 1)
            boxes = moved[nms(boxes[:, :4], boxes[:, 4], 0.7)] if side == 24 else _distinct(moved)
        boxes = boxes.cpu().numpy().astype(float)
        return np.column_stack([boxes[:, :2], boxes[:, 2:4] - boxes[:, :2], boxes[:, 4]])

    def _propose(self, x):
        from torchvision.ops import nms

        height, width = x.shape[2:]
        scale, found = 12 / self.smallest, [x.new_empty(0, 9)]
        while min(height, width) * scale >= 12:
            small = F.interpolate(x, (int(height * scale + 1), int(width * scale + 1)), mode="area")
            score, shift = self.nets[0]((small - 127.5) / 128)
            place = (score[0] >= THRESHOLDS[0]).nonzero()  # (boxes, 2): row, column
            corner = 2.0 * place.flip(1)
            rows = torch.cat(
                [
                    ((corner + 1) / scale).floor(),
                    ((corner + 12) / scale).floor(),
                    score[0][tuple(place.T)][:, None],
                    shift[0][:, place[:, 0], place[:, 1]].T,
                ],
                1,
            )
            found.append(rows[nms(rows[:, :4], rows[:, 4], 0.5)])
            scale *= SHRINK
        rows = torch.cat(found)
        rows = rows[nms(rows[:, :4], rows[:, 4], 0.7)]
        return _moved(rows[:, :5], rows[:, 5:], 0)


def _pixels(image):
    """A frame as a tensor; it is copied, since torch warns of arrays that may not be written to."""
    return torch.from_numpy(np.array(image, order="C"))


def _moved(boxes, shift, extra):
    """Boxes moved by shares of their size; the later networks count a pixel more in it."""
    size = (boxes[:, 2:4] - boxes[:, :2] + extra).repeat(1, 2)
    return torch.cat([boxes[:, :4] + shift * size, boxes[:, 4:]], 1)


def _distinct(boxes):
    """The surest boxes, without those of which, or in which, another lies to more than 0.7."""
    kept = []
    for box in boxes[boxes[:, 4].argsort(descending=True)].tolist():
        for other in kept:
            width, height = (min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1))
            smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
            if min(width, height) > 0 and width * height > 0.7 * smaller:
                break
        else:
            kept.append(box)
    return boxes.new_tensor(kept).reshape(-1, 5)


def _squares(boxes):
    side = (boxes[:, 2:4] - boxes[:, :2]).amax(1, keepdim=True)
    corner = (boxes[:, :2] + boxes[:, 2:4] - side) / 2
    return torch.cat([corner, corner + side, boxes[:, 4:]], 1)


def _crops(x, boxes, side):
    """What of each box lies in the frame, resized and scaled; boxes that lie outside are left out."""
    height, width = x.shape[2:]
    corners = boxes[:, :4].int()
    left, top = (corners[:, i].clamp(min=1) - 1 for i in (0, 1))
    right, bottom = corners[:, 2].clamp(max=width), corners[:, 3].clamp(max=height)
    inside = (right > left) & (bottom > top)
    crops = [
        F.interpolate(x[:, :, t:b, l:r], (side, side), mode="area")
        for l, t, r, b in torch.stack([left, top, right, bottom], 1)[inside].tolist()
    ]
    return (torch.cat(crops) - 127.5) / 128 if crops else x[:0], boxes[inside]


class faster_rcnn:
    """Faster R-CNN of torchvision (ResNet-50 with feature pyramid) with two classes: background, face.

    Differs from the paper in: its backbone, which the paper doesn't name.

    Args:
        weights: None or a path for a state dict trained on WIDER FACE, ``"random"`` for tests
        threshold: smallest score of a face

    Raises:
        WeightsNotFoundError: if the file is missing
    """

    def __init__(self, *, weights=None, threshold=0.5):
        from torchvision.models.detection import fasterrcnn_resnet50_fpn

        self.net = files.load(
            "fasterrcnn",
            lambda: fasterrcnn_resnet50_fpn(
                weights=None, weights_backbone=None, num_classes=2, box_score_thresh=threshold
            ),
            weights=weights,
        )
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.net.to(self.device)

    @torch.inference_mode()
    def detect(self, image):
        """Finds faces; as :meth:`MTCNN.detect`."""
        x = _pixels(image).to(self.device)  # (height, width, 3)
        found = self.net([x.permute(2, 0, 1).float() / 255])[0]
        boxes, scores = found["boxes"].cpu().numpy().astype(float), found["scores"].cpu().numpy()
        return np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2], scores])
