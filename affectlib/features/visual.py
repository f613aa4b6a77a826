"""Scene: colour, light and texture of single frames.

References:
    Wang and Cheong (2006), Affective understanding in film, IEEE Trans. Circuits Syst. Video Technol. 16(6):
    lighting key, colour energy, and colour as signs of mood.
    Hasler and Suesstrunk (2003), Measuring colourfulness in natural images, SPIE 5007.
"""

import numpy as np

from affectlib.features.store import Extractor

WIDTH = 160  # of the frames that are described, in pixels
HUES, LEVELS, EDGES = 12, 8, 8
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
    STATISTICS
    + tuple(f"hue_{k * 360 // HUES}" for k in range(HUES))
    + tuple(f"light_bin_{k}" for k in range(LEVELS))
    + tuple(f"saturation_bin_{k}" for k in range(LEVELS))
    + tuple(f"edge_{k * 180 // EDGES}" for k in range(EDGES))
)
SCENE_NAMES = tuple(f"{name}_mean" for name in FRAME_NAMES) + tuple(
    f"{name}_sd" for name in STATISTICS
)


def __getattr__(name):
    """The networks, imported when they are asked for: torch takes seconds."""
    if name in ("ResNet", "Inception", "VGG", "Xception"):
        from affectlib.features.pretrained import networks

        return getattr(networks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def scene(*, rate=2.0) -> Extractor:
    """Colour, light, saturation, hue and texture, averaged over frames, with their spread.

    Args:
        rate: frames per second of film
    """
    return Extractor("scene", 1, SCENE_NAMES, scene_vector, rate=rate)


def scene_vector(pictures):
    """Describes the look of frames.

    Args:
        pictures: :class:`affectlib.media.Picture`

    Shape:
        result ``(76,)``
    """
    rows = np.array([frame_statistics(picture.image) for picture in pictures])  # (frames, 56)
    return np.concatenate([rows.mean(0), rows[:, : len(STATISTICS)].std(0)])


def frame_statistics(image):
    """Fifty-six numbers of one frame, all of the order of 1.

    Args:
        image: RGB

    Shape:
        image ``(height, width, 3)``, uint8; result ``(56,)``
    """
    import cv2

    cv2.setNumThreads(1)
    height = max(8, round(WIDTH * image.shape[0] / image.shape[1]))
    image = (
        cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    )
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))  # hue in degrees
    light, green_red, blue_yellow = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2LAB) / 100)
    chroma = saturation * value  # a hue counts as much as it is seen
    angle = np.deg2rad(hue)
    weight = max(float(chroma.sum()), 1e-6)
    red, green, blue = cv2.split(image)
    opponents = red - green, (red + green) / 2 - blue
    colourfulness = np.hypot(*(x.std() for x in opponents)) + 0.3 * np.hypot(
        *(x.mean() for x in opponents)
    )
    dx, dy = cv2.Sobel(light, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(light, cv2.CV_32F, 0, 1) / 8
    edge = np.hypot(dx, dy)
    hues = _histogram(((hue + 180 / HUES) % 360) / 360, HUES, chroma)
    lights, saturations = _histogram(light, LEVELS), _histogram(saturation, LEVELS)
    directions = _histogram((np.arctan2(dy, dx) / np.pi + 0.5 / EDGES) % 1, EDGES, edge)
    h, w = light.shape
    statistics = [
        (np.cos(angle) * chroma).sum() / weight,
        (np.sin(angle) * chroma).sum() / weight,
        saturation.mean(),
        saturation.std(),
        light.mean(),
        light.std(),
        (light < 0.2).mean(),
        (light > 0.8).mean(),
        light.mean() * light.std(),  # Wang and Cheong, lighting key
        green_red.mean(),
        blue_yellow.mean(),
        ((np.cos(angle - np.pi / 6) > 0.5) * chroma).sum() / weight,
        colourfulness,
        chroma.mean() * light.std(),
        cv2.Laplacian(light, cv2.CV_32F).std(),
        edge.mean(),
        light[h // 4 : h - h // 4, w // 4 : w - w // 4].mean() - light.mean(),
        light[: h // 2].mean() - light[h // 2 :].mean(),
        (np.abs(dx) > np.abs(dy)).mean(),
        -(lights[lights > 0] * np.log2(lights[lights > 0])).sum() / np.log2(LEVELS),
    ]
    return np.concatenate([statistics, hues, lights, saturations, directions])


def _histogram(values, bins, weights=None):
    places = np.clip((values * bins).astype(int), 0, bins - 1).ravel()
    counts = np.bincount(
        places, weights=None if weights is None else weights.ravel(), minlength=bins
    )
    return counts / max(counts.sum(), 1e-9)
