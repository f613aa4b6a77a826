"""Faces: dlib's HOG detector (it needs no weights file), geometry, what the largest faces show, and who is who.

The detector searches windows of 80 pixels and more, so how small a face it finds depends on how large
the frame is when it is searched. ``"hog_enlarged"``, the default, enlarges every frame by half.
``benchmarks/faces.py`` measures what that gains on real film, beside other detectors.

References:
    Dalal and Triggs (2005), Histograms of oriented gradients for human detection, CVPR.
    King (2009), Dlib-ml: a machine learning toolkit, JMLR 10.
"""

import functools

import numpy as np

from affectlib.features.store import Extractor

DETECTOR = "hog_enlarged"  # the detector of the descriptors
ENLARGED = 1.5  # by how much "hog_enlarged" enlarges a frame before it searches it
# Least and largest longer side of the frame that is searched, in pixels. A frame of 640 is searched
# at 960, where faces from a thirteenth of its longer side on are found. A simulated frame, of 320, is
# searched at 480 under both names.
SIDES = {"hog": (480, 480), "hog_enlarged": (480, 960)}
CROP, SMALL, CELLS, DIRECTIONS = 64, 12, 4, 6
REGIONS = {
    "brows": (0.12, 0.34),
    "eyes": (0.26, 0.48),
    "nose": (0.44, 0.68),
    "mouth": (0.64, 0.94),
}  # of its height
GEOMETRY = ("count", "x", "y", "width", "area", "score")
SHOWN = tuple(
    f"{region}_{what}"
    for region in REGIONS
    for what in ("light", "contrast", "horizontal", "vertical", "height", "width", "curve", "slope")
) + ("skin_light", "skin_saturation", "asymmetry")
FACE_NAMES = (
    ("presence",)
    + tuple(f"{name}_mean" for name in GEOMETRY + SHOWN)
    + tuple(f"{name}_sd" for name in GEOMETRY + SHOWN)
    + tuple(f"pixel_{y}_{x}" for y in range(SMALL) for x in range(SMALL))
    + tuple(
        f"hog_{y}_{x}_{k}" for y in range(CELLS) for x in range(CELLS) for k in range(DIRECTIONS)
    )
)
BLOCK = (
    ("left", "top", "width", "height", "score")
    + SHOWN
    + FACE_NAMES[-(SMALL**2) - CELLS**2 * DIRECTIONS :]
)
NETWORKS_OF_FACES = ("inception_faces", "vggface", "vggface_pool5", "xception")  # in pretrained
DETECTORS = {
    "mtcnn": "MTCNN",
    "fasterrcnn": "faster_rcnn",
}  # their names in affectlib.features.pretrained.detectors
WEIGHTS = {
    "hog": (),
    "hog_enlarged": (),
    "mtcnn": ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet"),
    "fasterrcnn": ("fasterrcnn",),
}


def face(*, rate: float = 1.0, detector: str = DETECTOR) -> Extractor:
    """Presence, number, place and size of faces; light, lines and shape in the regions of the largest.

    Where no face is found, presence is 0 and so is everything else: read the others together with it.

    Args:
        rate: frames per second of film
        detector: as for :func:`detect`

    Raises:
        ValueError: if there is no such detector
        WeightsNotFoundError: if the detector's are missing
    """
    options = _detector_options(detector)
    return Extractor("face", 1, FACE_NAMES, face_vector, rate=rate, side=640, options=options)


def people(*, rate: float = 2.0, count: int = 2, detector: str = DETECTOR) -> Extractor:
    """Place and look of each of the largest faces in a frame, one block after the other: see :func:`blocks`.

    The first value is presence: the share of a clip's frames with a face. It is 1 or 0 for segments of one frame, for
    which this is meant; of a clip with several frames the one with the largest face is described.

    Args:
        rate: frames per second of film
        count: faces described; the blocks of those not found are 0
        detector: as for :func:`detect`

    Raises:
        ValueError: if there is no such detector, or ``count`` is below 1
        WeightsNotFoundError: if the detector's are missing
    """
    if count < 1:
        raise ValueError(f"expected a count of at least 1, found {count!r}")
    options = (("count", count), *_detector_options(detector))
    names = ["presence"]
    for person in range(count):
        names += [f"{name}_{person}" for name in BLOCK]
    return Extractor("people", 1, tuple(names), people_vector, rate=rate, side=640, options=options)


def _detector_options(detector):
    """The options of an extractor that its detector brings: its name and, if it has files, their digests."""
    digests = marks(detector)
    options = (("detector", detector),)
    return options + (("marks", digests),) if digests else options


def marks(detector: str) -> tuple:
    """Digests of the files of a detector; they belong to the key of all that is made with it.

    Returns:
        16 digits of each, nothing for the two HOG detectors, which have no files

    Raises:
        WeightsNotFoundError: if files are missing
        ValueError: if there is no such detector
    """
    from affectlib.features.pretrained import weights

    if detector not in WEIGHTS:
        raise ValueError(f"detector is one of {', '.join(WEIGHTS)}, not {detector!r}")
    return tuple(weights.digest(path)[:16] for path in weights.find(*WEIGHTS[detector]))


@functools.cache
def _detector(name):
    if name in SIDES:
        import dlib

        return dlib.get_frontal_face_detector()
    if name not in DETECTORS:
        raise ValueError(f"detector is one of {', '.join(WEIGHTS)}, not {name!r}")
    from affectlib.features.pretrained import detectors

    return getattr(detectors, DETECTORS[name])()


def detect(image: np.ndarray, *, detector: str = DETECTOR) -> np.ndarray:
    """Finds faces.

    Args:
        image: RGB
        detector: ``"hog_enlarged"``, dlib's detector of frontal faces on the frame enlarged by half, to a
            longer side between 480 and 960 pixels; ``"hog"``, the same at 480, four times as fast on a
            frame of 640, for which only large faces are there; ``"mtcnn"``, which finds turned faces too,
            or ``"fasterrcnn"``: these need weights, see ``affectlib.features.pretrained.detectors``

    Returns:
        one row per face, the largest first: left, top, width, height (in pixels of ``image``), score

    Shape:
        image ``(height, width, 3)``, uint8; result ``(faces, 5)``

    Raises:
        ValueError: if there is no such detector
        WeightsNotFoundError: if the detector's are missing
    """
    if detector not in SIDES:
        return _largest_first(_detector(detector).detect(image))
    least, largest = SIDES[detector]
    enlarged = ENLARGED * max(image.shape[:2])
    return _largest_first(hog(image, side=min(max(enlarged, least), largest)))


def hog(image: np.ndarray, *, side: float) -> list:
    """Finds frontal faces by dlib's HOG detector.

    Args:
        image: RGB
        side: longer side of the frame that is searched, in pixels; faces from 73 of them on are found

    Returns:
        one row per face: left, top, width, height (in pixels of ``image``), score

    Shape:
        image ``(height, width, 3)``, uint8
    """
    import cv2

    cv2.setNumThreads(1)
    scale = side / max(image.shape[:2])
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=interpolation)
    boxes, scores, _ = _detector("hog").run(grey, 0, 0.0)
    rows = []
    for box, score in zip(boxes, scores, strict=True):
        place = box.left(), box.top(), box.width(), box.height()
        rows.append([*(value / scale for value in place), score])
    return rows


def _largest_first(rows):
    return np.array(sorted(rows, key=lambda row: (-row[2] * row[3], row[0])), dtype=float).reshape(
        -1, 5
    )


def face_vector(pictures: list, *, detector: str = DETECTOR, marks: tuple = ()) -> np.ndarray:
    """Describes the faces in frames.

    Args:
        pictures: :class:`affectlib.media.Picture`
        detector: as for :func:`detect`
        marks: of the detector's weights, part of the key only

    Shape:
        result ``(323,)``
    """
    geometry, shown, pixels, hogs = [], [], [], []
    for picture in pictures:
        found = detect(picture.image, detector=detector)
        if not len(found):
            continue
        height, width = picture.image.shape[:2]
        left, top, w, h, score = found[0]
        geometry.append(
            [
                len(found),
                (left + w / 2) / width,
                (top + h / 2) / height,
                w / width,
                w * h / (width * height),
                score,
            ]
        )
        statistics, small, hog = crop_statistics(crop(picture.image, found[0]))
        shown.append(statistics)
        pixels.append(small)
        hogs.append(hog)
    if not geometry:
        return np.zeros(len(FACE_NAMES))
    rows = np.hstack([geometry, shown])  # (faces, 41)
    return np.concatenate(
        [
            [len(rows) / len(pictures)],
            rows.mean(0),
            rows.std(0),
            np.mean(pixels, 0),
            np.mean(hogs, 0),
        ]
    )


def people_vector(
    pictures: list, *, count: int = 2, detector: str = DETECTOR, marks: tuple = ()
) -> np.ndarray:
    """Describes the largest faces of the frame that shows the largest.

    Args:
        pictures: :class:`affectlib.media.Picture`
        count, detector: as for :func:`people`
        marks: of the detector's weights, part of the key only

    Shape:
        result ``(1 + count * 280,)``
    """
    found = [detect(picture.image, detector=detector) for picture in pictures]
    best = int(np.argmax([rows[0, 2] * rows[0, 3] if len(rows) else 0 for rows in found]))
    image, result = pictures[best].image, np.zeros((count, len(BLOCK)))
    height, width = image.shape[:2]
    for block, row in zip(result, found[best], strict=False):
        block[:] = np.concatenate(
            [row / (width, height, width, height, 1), *crop_statistics(crop(image, row))]
        )
    return np.r_[np.mean([len(rows) > 0 for rows in found]), result.ravel()]


def frames_without_face(table) -> str:
    """A sentence for each extractor of faces: how many frames have no face, and how many clips none at all.

    All values of such a frame are 0. The network extractors of faces tell of clips only: those without any
    face are rows of zeros.

    Args:
        table: :class:`affectlib.features.FeatureTable`; clips that lack a picture are left out

    Returns:
        one line per extractor of faces, or a line that says that there is none

    Examples:
        >>> from affectlib.features.store import FeatureTable
        >>> presence = np.array([[1.0], [0.5], [0.0]])
        >>> names = {"face": ("presence",)}
        >>> print(frames_without_face(FeatureTable(("a", "b", "c"), {"face": presence}, names, True)))
        face: no face in 50.0 % of the frames; 1 of 3 clips have none at all
    """
    lines = []
    for name, array in table.arrays.items():
        lacking = set(table.missing.get(name, ()))
        seen = np.array([clip not in lacking for clip in table.clips], bool)
        values = array[seen]
        if not len(values):
            continue
        empty = f"{(values == 0).all(axis=1).sum():,} of {len(values):,} clips have none at all"
        if table.names[name][0] == "presence":
            share = 1 - values[:, 0].mean(dtype=float)
            lines.append(
                f"{name}: no face in {share:.1%} of the frames; {empty}".replace("%", " %")
            )
        elif name.removesuffix("_random") in NETWORKS_OF_FACES:
            lines.append(f"{name}: {empty}")
    return "\n".join(lines) if lines else "no extractor of faces in this table"


def blocks(table):
    """The features of :func:`people`, person by person, as a view; a block is named by ``BLOCK``.

    It begins with left, top, width and height (in shares of the frame) and score, all 0 where there is no face.

    Shape:
        table ``(rows, 1 + count * 280)``; result ``(rows, count, 280)``

    Raises:
        ValueError: if the table has another size

    Examples:
        >>> blocks(np.zeros((3, 561))).shape
        (3, 2, 280)
    """
    if table.ndim != 2 or table.shape[1] < 2 or (table.shape[1] - 1) % len(BLOCK):
        raise ValueError(
            f"expected (rows, 1 + count * {len(BLOCK)}) from the extractor people, found {table.shape}"
        )
    return table[:, 1:].reshape(len(table), -1, len(BLOCK))


def track(boxes, *, overlap=0.3):
    """Who is who: links the faces of consecutive frames by intersection over union, the best match first.

    A person keeps the last place seen, however long out of sight.

    Args:
        boxes: left, top, width, height (and whatever follows) of the faces of one clip, width 0 where there is none
        overlap: least intersection over union of one person in two frames

    Returns:
        number of the person, counted by first appearance, -1 where there is no face

    Shape:
        boxes ``(frames, count, 4 or more)``; result ``(frames, count)``

    Examples:
        >>> track([[[0, 0, 4, 4], [9, 0, 3, 3]], [[9, 1, 3, 3], [0, 0, 0, 0]], [[1, 0, 4, 4], [5, 5, 2, 2]]]).tolist()
        [[0, 1], [1, -1], [0, 2]]
    """
    boxes = np.asarray(boxes, float)[..., :4]
    people_, last = np.full(boxes.shape[:2], -1), []  # last: where each was seen
    for frame, faces in enumerate(boxes):
        here = np.flatnonzero(faces[:, 2] > 0)
        shared = _overlaps(faces[here], np.reshape(last, (-1, 4)))  # (here, people)
        while shared.size and shared.max() >= overlap:
            i, person = np.unravel_index(shared.argmax(), shared.shape)
            people_[frame, here[i]], last[person] = person, faces[here[i]]
            shared[i], shared[:, person] = -1, -1
        for i in here[people_[frame, here] < 0]:
            people_[frame, i] = len(last)
            last.append(faces[i])
    return people_


def _overlaps(a, b):
    """Intersection over union of every box with every other, 0 where both are empty, ``(a, b)``."""
    sides = [
        np.minimum.outer(a[:, k] + a[:, k + 2], b[:, k] + b[:, k + 2])
        - np.maximum.outer(a[:, k], b[:, k])
        for k in (0, 1)
    ]
    both = np.prod(np.maximum(sides, 0), axis=0)
    union = np.add.outer(a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]) - both
    return np.divide(both, union, out=np.zeros_like(union), where=union > 0)


def follow(boxes, *, overlap=0.3):
    """Which face of each frame is the main person of the clip: whose track covers the largest area over all frames.

    Args:
        boxes, overlap: as for :func:`track`

    Returns:
        position among the faces of each frame, -1 where the main person is not seen

    Shape:
        boxes ``(frames, count, 4 or more)``; result ``(frames,)``

    Examples:
        >>> follow([[[0, 0, 4, 4], [9, 0, 3, 3]], [[9, 1, 3, 3], [1, 0, 2, 3]], [[9, 0, 3, 3], [0, 0, 0, 0]]]).tolist()
        [1, 0, 0]
    """
    boxes = np.asarray(boxes, float)
    people_ = track(boxes, overlap=overlap)
    seen = people_ >= 0
    if not seen.any():
        return np.full(len(boxes), -1)
    main = np.bincount(people_[seen], (boxes[..., 2] * boxes[..., 3])[seen]).argmax()
    return np.where((people_ == main).any(1), (people_ == main).argmax(1), -1)


def crop(image, box, *, margin=0.0):
    """Cuts a face out, from its forehead to its chin, at a fixed size; outside the frame its edge goes on.

    Args:
        image: RGB
        box: left, top, width, height in pixels
        margin: added on every side, in shares of width and height

    Shape:
        image ``(height, width, 3)``; box ``(4 or more,)``; result ``(64, 64, 3)``
    """
    import cv2

    left, top, width, height = (
        box[0] - margin * box[2],
        box[1] - margin * box[3],
        box[2] * (1 + 2 * margin),
        box[3] * (1 + 2 * margin),
    )
    corners = np.float32([[left, top], [left + width, top], [left, top + height * 1.1]])
    to = np.float32([[0, 0], [CROP, 0], [0, CROP]])
    return cv2.warpAffine(
        image,
        cv2.getAffineTransform(corners, to),
        (CROP, CROP),
        flags=cv2.INTER_AREA,
        borderMode=cv2.BORDER_REPLICATE,
    )


def crop_statistics(image):
    """Describes one face, with its light normalised.

    Dark marks (brows, eyes, lips) in a region have a height, a width, and a parabola through their centres from
    left to right: raised corners of the mouth give it another curve than lowered ones.

    Args:
        image: a face, RGB

    Shape:
        image ``(64, 64, 3)``, uint8; result ``(35,)``, ``(144,)`` and ``(96,)``: statistics, pixels, gradients
    """
    import cv2

    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255  # (64, 64)
    normal = (light - light.mean()) / max(float(light.std()), 0.02)
    dx, dy = cv2.Sobel(normal, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(normal, cv2.CV_32F, 0, 1) / 8
    values = []
    for top, bottom in REGIONS.values():
        rows, columns = (
            slice(round(top * CROP), round(bottom * CROP)),
            slice(CROP // 6, CROP - CROP // 6),
        )
        values += [
            normal[rows, columns].mean(),
            normal[rows, columns].std(),
            np.abs(dy[rows, columns]).mean(),
            np.abs(dx[rows, columns]).mean(),
            *_marks(normal[rows, columns]),
        ]
    values += [light.mean(), hsv[..., 1].mean() / 255, np.abs(normal - normal[:, ::-1]).mean()]
    edge, bins = (
        np.hypot(dx, dy),
        ((np.arctan2(dy, dx) / np.pi + 0.5 / DIRECTIONS) % 1 * DIRECTIONS).astype(int),
    )
    cell = np.arange(CROP) * CELLS // CROP
    places = (cell[:, None] * CELLS + cell) * DIRECTIONS + np.minimum(bins, DIRECTIONS - 1)
    hog = np.bincount(places.ravel(), weights=edge.ravel(), minlength=CELLS * CELLS * DIRECTIONS)
    small = cv2.resize(normal, (SMALL, SMALL), interpolation=cv2.INTER_AREA).ravel()
    return np.array(values), small, hog / max(np.linalg.norm(hog), 1e-6)


def _marks(region):
    """Height, width, curve and slope of the dark marks of a region, in shares of its size."""
    dark = np.maximum(np.median(region) - 0.3 - region, 0)  # (rows, columns)
    x, y = np.linspace(-1, 1, region.shape[1]), np.linspace(0, 1, region.shape[0])
    weight = dark.sum(0)  # (columns,)
    if weight.sum() < 1e-3:
        return [0.5, 0.0, 0.0, 0.0]
    heights = (dark * y[:, None]).sum(0) / np.maximum(weight, 1e-6)
    w = weight / weight.sum()
    base = np.stack([x**2, x, np.ones_like(x)], 1)  # (columns, 3)
    curve, slope, _ = np.linalg.solve(
        base.T @ (base * w[:, None]) + 1e-3 * np.eye(3), base.T @ (w * heights)
    )
    return [(w * heights).sum(), np.sqrt((w * x**2).sum()), curve, slope]
