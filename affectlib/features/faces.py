"""Faces: dlib's HOG detector (it needs no weights file), geometry, and what the largest face shows.

References:
    Dalal and Triggs (2005), Histograms of oriented gradients for human detection, CVPR; King (2009), Dlib-ml, JMLR 10.
"""

import functools

import numpy as np

from affectlib.features.store import Extractor

SIDE = 480  # longer side of the searched frame, in pixels: finds faces from a sixth of it on
CROP, SMALL, CELLS, DIRECTIONS = 64, 12, 4, 6
REGIONS = {"brows": (0.12, 0.34), "eyes": (0.26, 0.48), "nose": (0.44, 0.68), "mouth": (0.64, 0.94)}  # of its height
GEOMETRY = ("count", "x", "y", "width", "area", "score")
SHOWN = (tuple(f"{region}_{what}" for region in REGIONS
               for what in ("light", "contrast", "horizontal", "vertical", "height", "width", "curve", "slope"))
         + ("skin_light", "skin_saturation", "asymmetry"))
FACE_NAMES = (("presence",) + tuple(f"{name}_mean" for name in GEOMETRY + SHOWN)
              + tuple(f"{name}_sd" for name in GEOMETRY + SHOWN)
              + tuple(f"pixel_{y}_{x}" for y in range(SMALL) for x in range(SMALL))
              + tuple(f"hog_{y}_{x}_{k}" for y in range(CELLS) for x in range(CELLS) for k in range(DIRECTIONS)))


def face(*, rate=1.0) -> Extractor:
    """Presence, number, place and size of faces, and light, lines and shape in the regions of the largest.

    Where no face is found, presence is 0 and so is everything else: read the others together with it.

    Args:
        rate: frames per second of film
    """
    return Extractor("face", 1, FACE_NAMES, face_vector, rate=rate, side=640)


@functools.cache
def _detector():
    import dlib

    return dlib.get_frontal_face_detector()


def detect(image):
    """Finds frontal faces.

    Args:
        image: RGB

    Returns:
        one row per face, the largest first: left, top, width, height (in pixels of ``image``), score

    Shape:
        image ``(height, width, 3)``, uint8; result ``(faces, 5)``
    """
    import cv2

    cv2.setNumThreads(1)
    scale = SIDE / max(image.shape[:2])
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    boxes, scores, _ = _detector().run(grey, 0, 0.0)
    rows = [[b.left() / scale, b.top() / scale, b.width() / scale, b.height() / scale, score]
            for b, score in zip(boxes, scores, strict=True)]
    return np.array(sorted(rows, key=lambda row: (-row[2] * row[3], row[0])), dtype=float).reshape(-1, 5)


def face_vector(pictures):
    """Describes the faces in frames.

    Args:
        pictures: :class:`affectlib.media.Picture`

    Shape:
        result ``(323,)``
    """
    geometry, shown, pixels, hogs = [], [], [], []
    for picture in pictures:
        found = detect(picture.image)
        if not len(found):
            continue
        height, width = picture.image.shape[:2]
        left, top, w, h, score = found[0]
        geometry.append([len(found), (left + w / 2) / width, (top + h / 2) / height, w / width,
                         w * h / (width * height), score])
        statistics, small, hog = crop_statistics(crop(picture.image, found[0]))
        shown.append(statistics)
        pixels.append(small)
        hogs.append(hog)
    if not geometry:
        return np.zeros(len(FACE_NAMES))
    rows = np.hstack([geometry, shown])  # (faces, 41)
    return np.concatenate([[len(rows) / len(pictures)], rows.mean(0), rows.std(0), np.mean(pixels, 0),
                           np.mean(hogs, 0)])


def crop(image, box):
    """Cuts a face out, from its forehead to its chin, at a fixed size; outside the frame its edge goes on.

    Shape:
        image ``(height, width, 3)``; box ``(4 or more,)``; result ``(64, 64, 3)``
    """
    import cv2

    left, top, width, height = box[:4]
    corners = np.float32([[left, top], [left + width, top], [left, top + height * 1.1]])
    to = np.float32([[0, 0], [CROP, 0], [0, CROP]])
    return cv2.warpAffine(image, cv2.getAffineTransform(corners, to), (CROP, CROP), flags=cv2.INTER_AREA,
                          borderMode=cv2.BORDER_REPLICATE)


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
        rows, columns = slice(round(top * CROP), round(bottom * CROP)), slice(CROP // 6, CROP - CROP // 6)
        values += [normal[rows, columns].mean(), normal[rows, columns].std(), np.abs(dy[rows, columns]).mean(),
                   np.abs(dx[rows, columns]).mean(), *_marks(normal[rows, columns])]
    values += [light.mean(), hsv[..., 1].mean() / 255, np.abs(normal - normal[:, ::-1]).mean()]
    edge, bins = np.hypot(dx, dy), ((np.arctan2(dy, dx) / np.pi + 0.5 / DIRECTIONS) % 1 * DIRECTIONS).astype(int)
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
    curve, slope, _ = np.linalg.solve(base.T @ (base * w[:, None]) + 1e-3 * np.eye(3), base.T @ (w * heights))
    return [(w * heights).sum(), np.sqrt((w * x**2).sum()), curve, slope]
