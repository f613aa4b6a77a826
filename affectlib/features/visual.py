"""Scene: colour, light and texture of single frames.

References:
    Wang and Cheong (2006), Affective understanding in film,
    IEEE Trans. Circuits Syst. Video Technol. 16(6):
    lighting key, colour energy, and colour as signs of mood.
    Hasler and Suesstrunk (2003), Measuring colourfulness in natural images, SPIE 5007.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from affectlib.features.extractor import Extractor
from affectlib.media import Picture

WIDTH = 160  # of the frames that are described, in pixels
# Of these frames, in pixels: a column of single pixels would become one of 50,000 rows.
HIGHEST = 16 * WIDTH
HUES = 12  # bins of the histogram of hues
LEVELS = 8  # bins of the histograms of light and saturation
EDGES = 8  # bins of the histogram of edge directions
DARK = 0.2  # light below which a pixel is dark
BRIGHT = 0.8  # light above which it is bright
STATISTICS = (
    "hue_cos",
    "hue_sin",
    "saturation",
    "saturation_sd",
    "light",
    "light_sd",
    "dark",
    "bright",
    "lighting_key",
    "green_red",
    "blue_yellow",
    "warm",
    "colourfulness",
    "colour_energy",
    "sharpness",
    "edges",
    "centre_light",
    "top_light",
    "vertical_edges",
    "entropy",
)
FRAME_NAMES = (
    *STATISTICS,
    *(f"hue_{k * 360 // HUES}" for k in range(HUES)),
    *(f"light_bin_{k}" for k in range(LEVELS)),
    *(f"saturation_bin_{k}" for k in range(LEVELS)),
    *(f"edge_{k * 180 // EDGES}" for k in range(EDGES)),
)
SCENE_NAMES = (
    *(f"{name}_mean" for name in FRAME_NAMES),
    *(f"{name}_sd" for name in STATISTICS),
)


def scene(*, rate: float = 2.0) -> Extractor:
    """Colour, light, saturation, hue and texture, averaged over frames, with their spread.

    Args:
        rate: frames per second of film
    """
    return Extractor("scene", 1, SCENE_NAMES, scene_vector, rate=rate)


def scene_vector(pictures: Sequence[Picture]) -> np.ndarray:
    """Describes the look of frames.

    Args:
        pictures: at least one

    Shape:
        result ``(76,)``
    """
    rows = np.array([frame_statistics(picture.image) for picture in pictures])  # (frames, 56)
    spread = rows[:, : len(STATISTICS)].std(0)
    return np.concatenate([rows.mean(0), spread])


def frame_statistics(image: np.ndarray) -> np.ndarray:
    """Fifty-six numbers of one frame, all of the order of 1.

    Args:
        image: RGB

    Shape:
        image ``(height, width, 3)``, uint8; result ``(56,)``
    """
    import cv2

    # Films run in parallel; threads inside one frame would only compete with them.
    cv2.setNumThreads(1)
    height = min(max(8, round(WIDTH * image.shape[0] / image.shape[1])), HIGHEST)
    image = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
    image = image.astype(np.float32) / 255
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hue, saturation, value = cv2.split(hsv)  # hue in degrees
    # Light from 0 to 1; the two opponents around 0.
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB) / 100
    light, green_red, blue_yellow = cv2.split(lab)
    # A hue counts as much as it is seen: dark and grey pixels have one, but show little of it.
    chroma = saturation * value
    # By 8, the sum of the sizes of Sobel's weights: then edges are in units of light.
    dx = cv2.Sobel(light, cv2.CV_32F, 1, 0) / 8
    dy = cv2.Sobel(light, cv2.CV_32F, 0, 1) / 8
    edges = np.hypot(dx, dy)
    sharpness = cv2.Laplacian(light, cv2.CV_32F).std()
    # The first bin of hues is centred on red, the first of edges on vertical lines.
    turns = ((hue + 180 / HUES) % 360) / 360
    directions = (np.arctan2(dy, dx) / np.pi + 0.5 / EDGES) % 1
    lights = _histogram(light, LEVELS)
    hue_cos, hue_sin, warm = _hue_statistics(hue, chroma)
    brightness = light.mean()
    contrast = light.std()
    dark = (light < DARK).mean()
    bright = (light > BRIGHT).mean()
    # Wang and Cheong's lighting key and colour energy.
    lighting_key = brightness * contrast
    colour_energy = chroma.mean() * contrast
    vertical = np.abs(dx) > np.abs(dy)
    # In the order of STATISTICS.
    statistics = [
        hue_cos,
        hue_sin,
        saturation.mean(),
        saturation.std(),
        brightness,
        contrast,
        dark,
        bright,
        lighting_key,
        green_red.mean(),
        blue_yellow.mean(),
        warm,
        _colourfulness(image),
        colour_energy,
        sharpness,
        edges.mean(),
        *_layout(light),
        vertical.mean(),
        _entropy(lights),
    ]
    return np.concatenate(
        [
            statistics,
            _histogram(turns, HUES, chroma),
            lights,
            _histogram(saturation, LEVELS),
            _histogram(directions, EDGES, edges),
        ]
    )


def _hue_statistics(hue: np.ndarray, chroma: np.ndarray) -> tuple[float, float, float]:
    """Mean cosine and sine of the hue, and the share of warm hues, weighted by chroma.

    Args:
        hue: in degrees
        chroma: in [0, 1]

    Shape:
        hue and chroma ``(height, width)``
    """
    angle = np.deg2rad(hue)
    weight = max(float(chroma.sum()), 1e-6)
    warm = np.cos(angle - np.pi / 6) > 0.5  # within 60 degrees of orange
    cosine = (np.cos(angle) * chroma).sum() / weight
    sine = (np.sin(angle) * chroma).sum() / weight
    share = (warm * chroma).sum() / weight
    return cosine, sine, share


def _colourfulness(image: np.ndarray) -> float:
    """Hasler and Suesstrunk's colourfulness of a frame ``(height, width, 3)``, RGB in [0, 1]."""
    import cv2

    red, green, blue = cv2.split(image)
    red_green = red - green
    yellow_blue = (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    distance = np.hypot(red_green.mean(), yellow_blue.mean())
    return spread + 0.3 * distance


def _layout(light: np.ndarray) -> tuple[float, float]:
    """How much lighter the centre is than the frame, and the upper half than the lower.

    Shape:
        light ``(height, width)``
    """
    height, width = light.shape
    rows = slice(height // 4, height - height // 4)
    columns = slice(width // 4, width - width // 4)
    centre = light[rows, columns].mean() - light.mean()
    top = light[: height // 2].mean() - light[height // 2 :].mean()
    return centre, top


def _entropy(shares: np.ndarray) -> float:
    """Entropy of a histogram of ``LEVELS`` bins, 1 where all bins are equal."""
    shares = shares[shares > 0]
    bits = -(shares * np.log2(shares)).sum()
    return bits / np.log2(LEVELS)


def _histogram(values: np.ndarray, bins: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Shares of values in [0, 1] by bin, ``(bins,)``; pixels count by their weight if any."""
    # The value 1 belongs to the last bin.
    places = (values * bins).astype(int)
    places = np.clip(places, 0, bins - 1).ravel()
    if weights is not None:
        weights = weights.ravel()
    counts = np.bincount(places, weights=weights, minlength=bins)
    return counts / max(counts.sum(), 1e-9)
