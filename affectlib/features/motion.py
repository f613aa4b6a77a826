"""Motion: dense optical flow and cuts.

References:
    Hanjalic and Xu (2005), Affective video content representation and modeling,
    IEEE Trans. Multimedia 7(1): motion activity and density of cuts as signs of arousal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from affectlib.features.extractor import Extractor
from affectlib.media import Picture

WIDTH = 160  # of the frames that flow is computed on, in pixels
# Of these frames, in pixels: OpenCV's flow crashes the process below 32 rows.
LOWEST = 32
# A column of single pixels would become one of 50,000 rows.
HIGHEST = 16 * WIDTH
DIRECTIONS = 8
CUT = 0.35  # distance of the colour histograms of two frames that counts as a cut between them
COLOURS = 6  # bins of the histogram for each of red, green and blue
STILL = 0.02  # speed below which a pixel counts as still, in frame widths per second
FLOW_STATISTICS = (
    "mean",
    "sd",
    "p50",
    "p95",
    "still",
    "global_x",
    "global_y",
    "residual",
    "zoom",
    "turn",
)
PAIR_STATISTICS = (*FLOW_STATISTICS, "difference")
MOTION_NAMES = (
    *(f"flow_{name}_mean" for name in PAIR_STATISTICS),
    *(f"flow_{name}_sd" for name in PAIR_STATISTICS),
    *(f"direction_{k * 360 // DIRECTIONS}" for k in range(DIRECTIONS)),
    "change_mean",
    "change_sd",
    "change_max",
    "cuts_per_second",
)


def motion(*, rate: float = 2.0) -> Extractor:
    """Optical flow, its directions, change between frames, and cut rate.

    Speeds are in frame widths per second.

    Args:
        rate: frame pairs per second of film
    """
    return Extractor("motion", 1, MOTION_NAMES, motion_vector, rate=rate, pairs=True)


def motion_vector(pictures: Sequence[Picture]) -> np.ndarray:
    """Describes the motion in frame pairs.

    Args:
        pictures: each with the frame that follows it

    Shape:
        result ``(34,)``
    """
    import cv2

    # Films run in parallel; threads inside one frame would only compete with them.
    cv2.setNumThreads(1)
    flow_of = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    rows = []
    directions = np.zeros(DIRECTIONS)
    colours = []
    for picture in pictures:
        small = _reduced(picture.image)
        first = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        second = cv2.cvtColor(_reduced(picture.following), cv2.COLOR_RGB2GRAY)
        flow = flow_of.calc(first, second, None)  # (height, width, 2), in pixels
        # Frame widths per second: independent of the size and frame rate of the film.
        flow = flow / (WIDTH * picture.gap)
        difference = np.abs(second.astype(np.float32) - first).mean()
        rows.append([*_flow_statistics(flow), float(difference) / 255])
        directions += _directions(flow)
        colours.append(_colours(small))
    rows = np.array(rows)  # (pairs, 11)
    directions = directions / max(directions.sum(), 1e-9)
    changes = _changes(colours)
    # Frames of less than a second say little about a rate: they count as one second.
    seconds = max(pictures[-1].time - pictures[0].time, 1.0)
    cuts = (changes > CUT).sum() / seconds
    change = [changes.mean(), changes.std(), changes.max(), cuts]
    return np.concatenate([rows.mean(0), rows.std(0), directions, change])


def _reduced(image: np.ndarray) -> np.ndarray:
    """A frame at a width of ``WIDTH`` pixels."""
    import cv2

    height = min(max(LOWEST, round(WIDTH * image.shape[0] / image.shape[1])), HIGHEST)
    return cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)


def _directions(flow: np.ndarray) -> np.ndarray:
    """Speed summed by direction, the first bin centred on rightward motion.

    Shape:
        flow ``(height, width, 2)``; result ``(8,)``
    """
    speed = np.hypot(flow[..., 0], flow[..., 1])  # (height, width)
    angle = np.arctan2(flow[..., 1], flow[..., 0])
    # Half a bin is added so that small noise around rightward motion stays in one bin.
    turns = angle / (2 * np.pi) + 0.5 / DIRECTIONS
    bins = np.floor(turns * DIRECTIONS).astype(int) % DIRECTIONS
    return np.bincount(bins.ravel(), weights=speed.ravel(), minlength=DIRECTIONS)


def _colours(image: np.ndarray) -> np.ndarray:
    """Colour histogram of a frame, ``(216,)``, whose bins add up to 1."""
    import cv2

    bins = [COLOURS] * 3
    histogram = cv2.calcHist([image], [0, 1, 2], None, bins, [0, 256] * 3).ravel()
    return histogram / histogram.sum()


def _changes(colours: Sequence[np.ndarray]) -> np.ndarray:
    """Distances in [0, 1] between consecutive histograms, a single 0 where there is only one."""
    if len(colours) < 2:
        return np.array([0.0])
    distances = []
    for before, after in pairwise(colours):
        distances.append(np.abs(after - before).sum() / 2)
    return np.array(distances)


def _flow_statistics(flow: np.ndarray) -> list[float]:
    """Ten numbers of one flow field: its speed, and the motion of the picture as a whole.

    Shape:
        flow ``(height, width, 2)``
    """
    height, width = flow.shape[:2]
    speed = np.hypot(flow[..., 0], flow[..., 1])  # (height, width)
    p50, p95 = np.percentile(speed, [50, 95])
    # The median is the motion of the camera, the rest that of things in the picture.
    camera = np.median(flow, axis=(0, 1))  # (2,)
    rest = flow - camera
    right = rest[..., 0]
    down = rest[..., 1]
    x = np.linspace(-1, 1, width)
    y = np.linspace(-1, 1, height)[:, None]
    zoom = (right * x + down * y).mean()
    turn = (down * x - right * y).mean()
    still = (speed < STILL).mean()
    residual = np.hypot(right, down).mean()
    camera_x, camera_y = np.abs(camera)
    return [
        speed.mean(),
        speed.std(),
        p50,
        p95,
        still,
        camera_x,
        camera_y,
        residual,
        zoom,
        turn,
    ]
