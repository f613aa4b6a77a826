"""Detectors of faces, by name: dlib's HOG detector, which needs no weights, and MTCNN.

The HOG detector searches windows of 80 pixels and more,
so the smallest face that it finds depends on the size of the frame when it is searched.
``"hog_enlarged"``, the default, enlarges every frame by half.
``benchmarks/faces.py`` measures how many faces that adds on real film, beside other detectors.

References:
    Dalal and Triggs (2005), Histograms of oriented gradients for human detection, CVPR.
    King (2009), Dlib-ml: a machine learning toolkit, JMLR 10.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from affectlib.features.pretrained import weights

if TYPE_CHECKING:
    from affectlib.features.pretrained.detectors import MTCNN

DETECTOR = "hog_enlarged"  # of the descriptors
ENLARGED = 1.5  # by how much "hog_enlarged" enlarges a frame before it searches it
# Least and largest longer side of the frame that is searched, in pixels.
# A frame of 640 is searched at 960: faces from a thirteenth of its longer side on are found.
# A simulated frame, of 320, is searched at 480 under both names.
HOG_SIDES = {"hog": (480, 480), "hog_enlarged": (480, 960)}
# Names of the weight files that each detector needs.
DETECTOR_WEIGHTS = {
    "hog": (),
    "hog_enlarged": (),
    "mtcnn": ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet"),
}


def weight_digests(detector: str) -> tuple[str, ...]:
    """Digests of the weight files of a detector.

    They belong to the key of all features that are made with it.

    Args:
        detector: see :func:`detect`

    Returns:
        16 digits of each file; nothing for the two HOG detectors, which have no files

    Raises:
        WeightsNotFoundError: if files are missing
        ValueError: if there is no such detector
    """
    _check_name(detector)
    files = weights.find(*DETECTOR_WEIGHTS[detector])
    return tuple(weights.digest(path)[:16] for path in files)


def detector_options(detector: str) -> tuple[tuple[str, str | tuple], ...]:
    """The options of an extractor that uses a detector.

    Args:
        detector: see :func:`detect`

    Returns:
        the detector's name and, if it has weight files, their digests

    Raises:
        WeightsNotFoundError: if files are missing
        ValueError: if there is no such detector

    Examples:
        >>> detector_options("hog")
        (('detector', 'hog'),)
    """
    digests = weight_digests(detector)
    if not digests:
        return (("detector", detector),)
    return ("detector", detector), ("digests", digests)


def detect(image: np.ndarray, *, detector: str = DETECTOR) -> np.ndarray:
    """Finds faces.

    Args:
        image: RGB
        detector: ``"hog_enlarged"``, dlib's detector of frontal faces
            on the frame enlarged by half, to a longer side between 480 and 960 pixels;
            ``"hog"``, the same at 480: four times as fast on a frame of 640, large faces only;
            ``"mtcnn"``, which finds turned faces too and needs weights,
            see :mod:`affectlib.features.pretrained.detectors`

    Returns:
        one row per face, the largest first:
        left, top, width, height (in pixels of ``image``), score

    Shape:
        image ``(height, width, 3)``, uint8; result ``(faces, 5)``

    Raises:
        ValueError: if there is no such detector
        WeightsNotFoundError: if its weights are missing
    """
    _check_name(detector)
    if detector == "mtcnn":
        return _largest_first(_mtcnn().detect(image))
    least, largest = HOG_SIDES[detector]
    enlarged = ENLARGED * max(image.shape[:2])
    side = min(max(enlarged, least), largest)
    return _largest_first(hog(image, side=side))


def hog(image: np.ndarray, *, side: float) -> list[list[float]]:
    """Finds frontal faces by dlib's HOG detector.

    Args:
        image: RGB
        side: longer side of the frame that is searched, in pixels;
            faces from 73 of these pixels on are found

    Returns:
        one row per face: left, top, width, height (in pixels of ``image``), score

    Shape:
        image ``(height, width, 3)``, uint8
    """
    import cv2

    # Films run in parallel; threads inside one frame would only compete with them.
    cv2.setNumThreads(1)
    scale = side / max(image.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=interpolation)
    boxes, scores, _ = _hog_detector().run(grey, 0, 0.0)
    rows = []
    for box, score in zip(boxes, scores, strict=True):
        place = (box.left(), box.top(), box.width(), box.height())
        rows.append([*(value / scale for value in place), score])
    return rows


def _check_name(detector: str) -> None:
    if detector not in DETECTOR_WEIGHTS:
        names = ", ".join(DETECTOR_WEIGHTS)
        raise ValueError(f"detector is one of {names}, not {detector!r}")


# Each detector is built once per process.


@functools.cache
def _hog_detector():
    import dlib

    return dlib.get_frontal_face_detector()


@functools.cache
def _mtcnn() -> MTCNN:
    from affectlib.features.pretrained.detectors import MTCNN

    return MTCNN()


def _largest_first(rows: Sequence[Sequence[float]]) -> np.ndarray:
    # Of two faces of one size, the left one comes first.
    ordered = sorted(rows, key=lambda row: (-row[2] * row[3], row[0]))
    return np.array(ordered, dtype=float).reshape(-1, 5)
