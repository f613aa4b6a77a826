"""Faces: their number, place and size, and what the largest ones show.

How faces are found is in :mod:`affectlib.features.detection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from affectlib.features.detection import DETECTOR, detect, detector_options
from affectlib.features.extractor import Extractor, FeatureTable
from affectlib.media import Picture
from affectlib.moved import moved_names

_find_in_detection = moved_names(__name__, ("ENLARGED", "hog"), "affectlib.features.detection")
_find_in_caan = moved_names(__name__, ("follow", "track"), "affectlib.models.caan")


def __getattr__(name: str):
    return _find_in_caan(name) if name in ("follow", "track") else _find_in_detection(name)


CROP = 64  # side of a face that is cut out, in pixels
CHIN = 1.1  # height of the cut, in heights of the box: detectors leave the chin out
SMALL = 12  # side of the small picture of a face, in pixels
CELLS = 4  # of the histograms of gradients, along each side
DIRECTIONS = 6  # bins of each histogram of gradients
SIDE = 640  # longer side of the frames that are searched, in pixels
# From where to where a region reaches, in shares of the height of a face.
REGIONS = {
    "brows": (0.12, 0.34),
    "eyes": (0.26, 0.48),
    "nose": (0.44, 0.68),
    "mouth": (0.64, 0.94),
}
REGION_STATISTICS = (
    "light",
    "contrast",
    "horizontal",
    "vertical",
    "height",
    "width",
    "curve",
    "slope",
)
GEOMETRY = ("count", "x", "y", "width", "area", "score")
STATISTICS = (
    *(f"{region}_{name}" for region in REGIONS for name in REGION_STATISTICS),
    "skin_light",
    "skin_saturation",
    "asymmetry",
)
PIXELS = tuple(f"pixel_{y}_{x}" for y in range(SMALL) for x in range(SMALL))
GRADIENTS = tuple(
    f"hog_{y}_{x}_{k}" for y in range(CELLS) for x in range(CELLS) for k in range(DIRECTIONS)
)
FACE_NAMES = (
    "presence",
    *(f"{name}_mean" for name in GEOMETRY + STATISTICS),
    *(f"{name}_sd" for name in GEOMETRY + STATISTICS),
    *PIXELS,
    *GRADIENTS,
)
# The features of one person in the extractor people.
BLOCK = ("left", "top", "width", "height", "score", *STATISTICS, *PIXELS, *GRADIENTS)
# Extractors of deep.py that look at faces.
NETWORKS_OF_FACES = ("inception_faces", "vggface", "vggface_pool5", "xception")


def face(*, rate: float = 1.0, detector: str = DETECTOR) -> Extractor:
    """Presence, number, place and size of faces; light, lines and shape of the largest.

    Where no face is found, presence is 0 and so is everything else:
    read the others together with it.

    Args:
        rate: frames per second of film
        detector: see :func:`affectlib.features.detection.detect`

    Raises:
        ValueError: if there is no such detector
        WeightsNotFoundError: if its weights are missing
    """
    options = detector_options(detector)
    return Extractor("face", 1, FACE_NAMES, face_vector, rate=rate, side=SIDE, options=options)


def people(*, rate: float = 2.0, count: int = 2, detector: str = DETECTOR) -> Extractor:
    """Place and look of each of the largest faces in a frame, one block after the other.

    The first value is presence: the share of a clip's frames with a face.
    The extractor is meant for clips of one frame, where presence is 1 or 0.
    Of a clip with several frames, the one with the largest face is described.
    :func:`blocks` gives the features person by person.

    Args:
        rate: frames per second of film
        count: number of faces described; the block of a missing face is 0
        detector: see :func:`affectlib.features.detection.detect`

    Raises:
        ValueError: if there is no such detector, or ``count`` is below 1
        WeightsNotFoundError: if the detector's weights are missing
    """
    if count < 1:
        raise ValueError(f"expected a count of at least 1, found {count!r}")
    names = ["presence"]
    for person in range(count):
        names += [f"{name}_{person}" for name in BLOCK]
    options = (("count", count), *detector_options(detector))
    return Extractor(
        "people", 1, tuple(names), people_vector, rate=rate, side=SIDE, options=options
    )


def face_vector(
    pictures: Sequence[Picture], *, detector: str = DETECTOR, digests: tuple[str, ...] = ()
) -> np.ndarray:
    """Describes the faces in frames.

    Args:
        pictures: at least one
        detector: see :func:`affectlib.features.detection.detect`
        digests: of the detector's weights; belong to the key only

    Shape:
        result ``(323,)``
    """
    geometry = []
    looks = []
    for picture in pictures:
        faces = detect(picture.image, detector=detector)
        if len(faces):
            geometry.append(_geometry(faces, picture.image))
            looks.append(crop_statistics(crop(picture.image, faces[0])))
    # Zeros, not nan: a frame without a face is an observation, not a lack.
    if not geometry:
        return np.zeros(len(FACE_NAMES))
    statistics = [look.statistics for look in looks]
    pixels = [look.pixels for look in looks]
    gradients = [look.gradients for look in looks]
    rows = np.hstack([geometry, statistics])  # (frames with a face, 41)
    presence = [len(rows) / len(pictures)]
    return np.concatenate(
        [presence, rows.mean(0), rows.std(0), np.mean(pixels, 0), np.mean(gradients, 0)]
    )


def _geometry(faces: np.ndarray, image: np.ndarray) -> list[float]:
    """The values of ``GEOMETRY``: number of faces, place, size and score of the largest.

    Shape:
        faces ``(faces, 5)``, the largest first; image ``(height, width, 3)``
    """
    image_height, image_width = image.shape[:2]
    left, top, width, height, score = faces[0]
    x = (left + width / 2) / image_width
    y = (top + height / 2) / image_height
    area = width * height / (image_width * image_height)
    return [len(faces), x, y, width / image_width, area, score]


def people_vector(
    pictures: Sequence[Picture],
    *,
    count: int = 2,
    detector: str = DETECTOR,
    digests: tuple[str, ...] = (),
) -> np.ndarray:
    """Describes the largest faces of the frame that shows the largest.

    Args:
        pictures: at least one
        count: number of faces described
        detector: see :func:`affectlib.features.detection.detect`
        digests: of the detector's weights; belong to the key only

    Shape:
        result ``(1 + count * 280,)``
    """
    faces = [detect(picture.image, detector=detector) for picture in pictures]
    presence = np.mean([len(boxes) > 0 for boxes in faces])
    # A mean over frames would mix persons: the one frame keeps each block one person.
    best = int(np.argmax([_largest_area(boxes) for boxes in faces]))
    image = pictures[best].image
    height, width = image.shape[:2]
    size = (width, height, width, height, 1)  # the score keeps its value
    result = np.zeros((count, len(BLOCK)))
    for person, box in enumerate(faces[best][:count]):
        look = crop_statistics(crop(image, box))
        result[person] = np.concatenate([box / size, *look])
    return np.r_[presence, result.ravel()]


def _largest_area(boxes: np.ndarray) -> float:
    """Area of the first of some boxes, the largest, 0 where there is none."""
    if len(boxes) == 0:
        return 0.0
    return boxes[0, 2] * boxes[0, 3]


def frames_without_face(table: FeatureTable) -> str:
    """Says how many frames have no face, and how many clips have none at all.

    All values of such a frame are 0.
    The extractors of faces by networks tell of clips only:
    a clip without any face is a row of zeros.

    Args:
        table: clips that lack a picture are left out

    Returns:
        one line per extractor of faces, or a line that says that there is none

    Examples:
        >>> presence = np.array([[1.0], [0.5], [0.0]])
        >>> names = {"face": ("presence",)}
        >>> table = FeatureTable(("a", "b", "c"), {"face": presence}, names, True)
        >>> print(frames_without_face(table))
        face: no face in 50.0 % of the frames; 1 of 3 clips have none at all
    """
    lines = []
    for name, array in table.arrays.items():
        lacking = set(table.missing.get(name, ()))
        rows = [i for i, clip in enumerate(table.clips) if clip not in lacking]
        values = array[rows]
        if len(values) == 0:
            continue
        empty = (values == 0).all(axis=1).sum()
        clips = f"{empty:,} of {len(values):,} clips have none at all"
        if table.names[name][0] == "presence":
            percent = 100 * (1 - values[:, 0].mean(dtype=float))
            lines.append(f"{name}: no face in {percent:.1f} % of the frames; {clips}")
        elif name.removesuffix("_random") in NETWORKS_OF_FACES:
            lines.append(f"{name}: {clips}")
    if not lines:
        return "no extractor of faces in this table"
    return "\n".join(lines)


def blocks(table: np.ndarray) -> np.ndarray:
    """The features of :func:`people`, person by person, as a view.

    ``BLOCK`` names the values of a person.
    It begins with left, top, width and height (in shares of the frame) and score,
    all 0 where there is no face.

    Shape:
        table ``(rows, 1 + count * 280)``; result ``(rows, count, 280)``

    Raises:
        ValueError: if the table has another size

    Examples:
        >>> blocks(np.zeros((3, 561))).shape
        (3, 2, 280)
    """
    size = len(BLOCK)
    if table.ndim != 2 or table.shape[1] <= 1 or (table.shape[1] - 1) % size:
        expected = f"expected (rows, 1 + count * {size}) from the extractor people"
        raise ValueError(f"{expected}, found {table.shape}")
    return table[:, 1:].reshape(len(table), -1, size)


def crop(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """Cuts a face out, from its forehead to its chin, at a fixed size.

    Outside the frame the pixels of its edge are repeated.

    Args:
        image: RGB
        box: left, top, width, height in pixels

    Shape:
        image ``(height, width, 3)``; box ``(4 or more,)``; result ``(64, 64, 3)``
    """
    import cv2

    left, top, width, height = box[:4]
    corners = np.float32([[left, top], [left + width, top], [left, top + height * CHIN]])
    target = np.float32([[0, 0], [CROP, 0], [0, CROP]])
    return cv2.warpAffine(
        image,
        cv2.getAffineTransform(corners, target),
        (CROP, CROP),
        flags=cv2.INTER_AREA,
        borderMode=cv2.BORDER_REPLICATE,
    )


class FaceLook(NamedTuple):
    """What one face looks like.

    Shape:
        statistics ``(35,)``, named by ``STATISTICS``;
        pixels ``(144,)``, a small picture of the face;
        gradients ``(96,)``, histograms of oriented gradients by cell
    """

    statistics: np.ndarray
    pixels: np.ndarray
    gradients: np.ndarray


def crop_statistics(image: np.ndarray) -> FaceLook:
    """Describes one face, with its light normalised.

    Dark lines (brows, eyes, lips) in a region have a height, a width,
    and a parabola through their centres from left to right:
    raised corners of the mouth curve it the other way than lowered ones.

    Args:
        image: a face, RGB

    Shape:
        image ``(64, 64, 3)``, uint8
    """
    import cv2

    saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1]
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255  # (64, 64)
    # The smallest deviation keeps the noise of an even face small.
    normal = (light - light.mean()) / max(float(light.std()), 0.02)
    dx = cv2.Sobel(normal, cv2.CV_32F, 1, 0) / 8
    dy = cv2.Sobel(normal, cv2.CV_32F, 0, 1) / 8
    statistics = []
    # The middle two thirds: at the sides are hair and background.
    columns = slice(CROP // 6, CROP - CROP // 6)
    for top, bottom in REGIONS.values():
        rows = slice(round(top * CROP), round(bottom * CROP))
        region = normal[rows, columns]
        horizontal = np.abs(dy[rows, columns]).mean()
        vertical = np.abs(dx[rows, columns]).mean()
        statistics += [region.mean(), region.std(), horizontal, vertical, *_dark_lines(region)]
    mirrored = normal[:, ::-1]
    asymmetry = np.abs(normal - mirrored).mean()
    statistics += [light.mean(), saturation.mean() / 255, asymmetry]
    pixels = cv2.resize(normal, (SMALL, SMALL), interpolation=cv2.INTER_AREA).ravel()
    return FaceLook(np.array(statistics), pixels, _gradients(dx, dy))


def _gradients(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Histograms of the directions of edges, one for each cell of a face, of length 1 together.

    Shape:
        dx and dy ``(64, 64)``; result ``(96,)``
    """
    strength = np.hypot(dx, dy)
    turns = (np.arctan2(dy, dx) / np.pi + 0.5 / DIRECTIONS) % 1
    # Rounding may lift a direction to the end of the last bin.
    bins = np.minimum((turns * DIRECTIONS).astype(int), DIRECTIONS - 1)
    cell = np.arange(CROP) * CELLS // CROP
    cells = cell[:, None] * CELLS + cell  # (64, 64)
    places = cells * DIRECTIONS + bins
    size = CELLS * CELLS * DIRECTIONS
    sums = np.bincount(places.ravel(), weights=strength.ravel(), minlength=size)
    return sums / max(np.linalg.norm(sums), 1e-6)


def _dark_lines(region: np.ndarray) -> list[float]:
    """Height, width, curve and slope of the dark lines of a region, in shares of its size.

    Shape:
        region ``(rows, columns)``
    """
    # Darker than the middle of the region by 0.3 deviations of the face.
    dark = np.maximum(np.median(region) - 0.3 - region, 0)  # (rows, columns)
    weight = dark.sum(0)  # (columns,)
    if weight.sum() < 1e-3:
        return [0.5, 0.0, 0.0, 0.0]
    x = np.linspace(-1, 1, region.shape[1])
    y = np.linspace(0, 1, region.shape[0])
    heights = (dark * y[:, None]).sum(0) / np.maximum(weight, 1e-6)  # (columns,)
    weight = weight / weight.sum()
    # Weighted least squares for a parabola; the small ridge serves lines of one or two columns.
    powers = np.stack([x**2, x, np.ones_like(x)], 1)  # (columns, 3)
    moments = powers.T @ (powers * weight[:, None]) + 1e-3 * np.eye(3)
    curve, slope, _ = np.linalg.solve(moments, powers.T @ (weight * heights))
    height = (weight * heights).sum()
    width = np.sqrt((weight * x**2).sum())
    return [height, width, curve, slope]
