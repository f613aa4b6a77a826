"""A face drawn from action units, for any actor.

The face is drawn at twice its size and scaled down, so that edges are smooth. Then it is shaded
(eye sockets, nose, lips, jaw), so that detectors trained on photographs find it. Colours are RGB.

References:
    Ekman and Friesen 1978 (action units); Russell 1980 (circumplex).
"""

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self

import cv2
import numpy as np

Colour = float | Sequence[float]  # a grey value, or RGB

SUPERSAMPLING = 2
REACH = 0.25  # width of the Gaussian by which prototypes are mixed, on the circumplex

# Each emotion's place (valence, arousal), and the action units, from 0 to 1, that show it.
PROTOTYPES = {
    "neutral": ((0.0, 0.0), {}),
    "joy": ((0.8, 0.4), {6: 0.9, 12: 1.0, 25: 0.7}),
    "surprise": ((0.2, 0.9), {1: 1.0, 2: 1.0, 5: 0.9, 25: 0.8, 26: 0.8}),
    "fear": ((-0.6, 0.8), {1: 1.0, 2: 0.6, 4: 0.6, 5: 1.0, 20: 1.0, 25: 0.6, 26: 0.3}),
    "anger": ((-0.8, 0.5), {4: 1.0, 5: 0.5, 7: 0.8, 23: 1.0}),
    "disgust": ((-0.8, 0.1), {4: 0.4, 7: 0.4, 9: 1.0, 10: 0.8, 15: 0.5}),
    "sadness": ((-0.7, -0.5), {1: 1.0, 4: 0.4, 15: 1.0, 17: 0.6, 43: 0.25}),
    "tiredness": ((-0.1, -0.9), {15: 0.2, 43: 0.6}),
    "calm": ((0.6, -0.6), {6: 0.2, 12: 0.5, 43: 0.25}),
}
UNITS = tuple(sorted({unit for _, units in PROTOTYPES.values() for unit in units}))
_PLACES = np.array([place for place, _ in PROTOTYPES.values()])
_INTENSITIES = np.array(
    [[units.get(unit, 0.0) for unit in UNITS] for _, units in PROTOTYPES.values()]
)  # (emotions, units)


def action_units(valence: float, arousal: float) -> dict[int, float]:
    """Action units of a face at one point of the circumplex.

    The prototypes of the emotions are averaged, each weighted by a Gaussian of its distance.

    Args:
        valence: in [-1, 1]
        arousal: in [-1, 1]

    Returns:
        dict from the unit's number in the Facial Action Coding System to its intensity in [0, 1]

    Examples:
        >>> action_units(0.8, 0.4)[12] > 0.7 > 0.1 > action_units(-0.7, -0.5)[12]
        True
    """
    squares = ((_PLACES - (valence, arousal)) ** 2).sum(1)
    weights = np.exp(-squares / (2 * REACH**2))
    intensities = weights @ _INTENSITIES / weights.sum()
    return dict(zip(UNITS, intensities.tolist(), strict=True))


def colour(hue: float, saturation: float, value: float) -> tuple[int, ...]:
    """RGB in 0 to 255 of hue (in turns), saturation and value (both clipped to [0, 1])."""
    clipped = np.clip((saturation, value), 0, 1)
    rgb = colorsys.hsv_to_rgb(hue % 1, *clipped)
    return tuple(round(255 * channel) for channel in rgb)


@lru_cache(maxsize=1024)
def tint(colour: tuple[float, ...], factor: float) -> tuple[float, ...]:
    """A lighter or darker colour: each channel times a factor, at most 255."""
    return tuple(min(255.0, channel * factor) for channel in colour)


@dataclass(frozen=True)
class Actor:
    """One person's looks; lengths in face heights (hairline to chin).

    Args:
        skin: colour
        hair: colour
        iris: colour
        cloth: colour
        width: half the width of the face at the cheeks
        jaw: exponent of the jaw's curve, below 1 square, above 1 pointed
        brow: thickness of the eyebrows
        lips: fullness of the lips
        eyes: half the width of an eye
        nose: half the width of the nose
        fringe: height of the hairline
        parting: where the hair parts, from -1 (left) to 1 (right)
        length: how far down the hair reaches
        light: light from the left (-1) or the right (1)
    """

    skin: tuple
    hair: tuple
    iris: tuple
    cloth: tuple
    width: float
    jaw: float
    brow: float
    lips: float
    eyes: float
    nose: float
    fringe: float
    parting: float
    length: float
    light: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draws a new face."""
        tone = rng.uniform()
        grey = rng.uniform() < 0.15
        return cls(
            skin=colour(rng.uniform(0.045, 0.075), 0.30 + 0.24 * tone, 0.97 - 0.36 * tone),
            hair=colour(
                rng.uniform(0.03, 0.11),
                0.1 if grey else rng.uniform(0.35, 0.7),
                0.6 if grey else rng.uniform(0.1, 0.5 - 0.35 * tone),
            ),
            iris=colour(*((0.08, 0.7, 0.3), (0.58, 0.5, 0.5), (0.3, 0.4, 0.4))[rng.integers(3)]),
            cloth=colour(rng.uniform(), rng.uniform(0.2, 0.7), rng.uniform(0.25, 0.8)),
            width=rng.uniform(0.35, 0.39),
            jaw=rng.uniform(0.85, 1.1),
            brow=rng.uniform(0.018, 0.028),
            lips=rng.uniform(0.028, 0.042),
            eyes=rng.uniform(0.066, 0.076),
            nose=rng.uniform(0.052, 0.066),
            fringe=rng.uniform(-0.42, -0.34),
            parting=rng.uniform(-0.6, 0.6),
            length=rng.choice([0.06, 0.12, 0.5, 0.65]),
            light=rng.uniform(0.4, 1.0) * rng.choice([-1, 1]),
        )


class Pose:
    """Where a face is in a picture, and how its head is held.

    Args:
        centre: x and y of the middle of the face, in pixels
        size: height of the face, in pixels
        yaw: by which the face is turned to the side, in radians
        roll: by which it is tilted, in radians
    """

    def __init__(self, centre: Sequence[float], size: float, yaw: float, roll: float):
        self.centre = np.asarray(centre, float)
        self.size = size
        self.yaw = np.array([np.cos(yaw), np.sin(yaw)])
        self.roll = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]]) * size

    def place(self, points: np.ndarray, turned: np.ndarray | bool) -> np.ndarray:
        """Points of a face in sixteenths of a pixel, the unit that cv2 draws in.

        Args:
            points: in face heights
            turned: whether they lie on the front of the head and follow its yaw; one value for each
                point or for all

        Shape:
            points and result ``(n, 2)``; turned ``(n,)``
        """
        # The front of a head is an ellipse seen from above: its middle stands out most.
        depth = 0.38 * np.sqrt(np.maximum(0, 1 - (points[:, 0] / 0.45) ** 2))
        across = points[:, 0] * self.yaw[0] + depth * self.yaw[1]
        placed = _curve(np.where(turned, across, points[:, 0]), points[:, 1])
        return np.round((placed @ self.roll + self.centre) * 16).astype(np.int32)


class Shape(NamedTuple):
    """One polygon or line of a sketch.

    Args:
        points: in face heights
        colour: of the polygon or line
        width: of a line, in face heights; None fills a polygon
        turned: whether it lies on the front of the head and follows its yaw
    """

    points: Sequence
    colour: Colour
    width: float | None
    turned: bool


class Sketch(list[Shape]):
    """Shapes of a face, in face heights and in the order in which they are drawn.

    All points are placed in one go: placing each shape by itself takes more time than drawing it.
    """

    def fill(self, points: Sequence, colour: Colour, *, turned: bool = True) -> None:
        """Adds a polygon."""
        self.append(Shape(points, colour, None, turned))

    def line(self, points: Sequence, colour: Colour, width: float, *, turned: bool = True) -> None:
        """Adds a line of some width."""
        self.append(Shape(points, colour, width, turned))

    def oval(
        self,
        centre: Sequence[float],
        radii: Sequence[float],
        colour: Colour,
        *,
        turned: bool = True,
    ) -> None:
        """Adds an ellipse."""
        self.fill(centre + _CIRCLE * radii, colour, turned=turned)

    def draw(self, image: np.ndarray, pose: Pose) -> None:
        """Draws all shapes on an image, in place."""
        lengths = [len(shape.points) for shape in self]
        turned = np.repeat([shape.turned for shape in self], lengths)
        placed = pose.place(np.concatenate([shape.points for shape in self]), turned)
        stop = 0
        for shape, length in zip(self, lengths, strict=True):
            points = [placed[stop : stop + length]]
            stop += length
            if shape.width is None:
                cv2.fillPoly(image, points, shape.colour, cv2.LINE_AA, 4)
            else:
                thickness = max(1, round(shape.width * pose.size))
                cv2.polylines(image, points, False, shape.colour, thickness, cv2.LINE_AA, 4)


_TURN = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)  # (points, 2)
_ROUND = np.linspace(0, 2 * np.pi, 56, endpoint=False)  # angles of the points of a head
_COSINE = np.cos(_ROUND)
_SINE = np.sin(_ROUND)
_ACROSS = np.linspace(-1, 1, 15)  # from the left to the right corner of an eye or a mouth
_ARCH = 1 - _ACROSS**2


def _curve(x, y):
    """Points of a curve, ``(n, 2)``."""
    points = np.empty((len(x), 2))
    points[:, 0] = x
    points[:, 1] = y
    return points


def _between(x, upper, lower):
    """Outline of the area between two curves over the same x."""
    return np.concatenate([_curve(x, upper), _curve(x, lower)[::-1]])


def _head(actor, grow=0.0, *, chin=0.5, bend=None):
    """Outline of the face, or with ``grow`` of the hair around it.

    Args:
        actor: whose head
        grow: added to the width
        chin: where the lower end lies
        bend: exponent of the lower half; below 1 its end is square. None for the actor's jaw
    """
    x = (actor.width + grow) * _across_head(bend or actor.jaw)
    radius = np.where(_SINE > 0, chin + 0.05, 0.47)
    y = -0.05 + radius * _SINE + np.minimum(grow * _SINE, 0)
    return _curve(x, y)


@lru_cache(maxsize=64)
def _across_head(bend):
    """Points of a head from left to right, in half widths, ``(points,)``."""
    exponent = np.where(_SINE > 0, bend, 0.9)
    return np.sign(_COSINE) * np.abs(_COSINE) ** exponent


def draw_face(
    canvas: np.ndarray,
    actor: Actor,
    units: Mapping[int, float],
    centre: Sequence[float],
    size: float,
    *,
    yaw: float = 0.0,
    roll: float = 0.0,
    gaze: float = 0.0,
) -> None:
    """Draws one head on a picture, in place.

    Args:
        canvas: RGB picture
        actor: whose face
        units: action units (number to intensity in [0, 1]); a unit that is missing is at rest
        centre: x and y of the middle between hairline and chin, in pixels
        size: from hairline to chin, in pixels
        yaw: by which the head is turned to the side, in radians
        roll: by which it is tilted, in radians
        gaze: where the eyes look, from the left (-1) to the right (1) of the picture

    Shape:
        canvas ``(height, width, 3)`` uint8
    """
    height, width = canvas.shape[:2]
    left = int(np.clip(centre[0] - 0.85 * size, 0, width))
    top = int(np.clip(centre[1] - 0.85 * size, 0, height))
    right = int(np.clip(centre[0] + 0.85 * size, 0, width))
    bottom = int(np.clip(centre[1] + 0.85 * size, 0, height))
    if right - left < 2 or bottom - top < 2:
        return
    middle = np.array(centre, float)
    _body(actor).draw(canvas, Pose(middle, size, 0, roll / 3))

    region = canvas[top:bottom, left:right]
    large = cv2.resize(
        region, None, fx=SUPERSAMPLING, fy=SUPERSAMPLING, interpolation=cv2.INTER_NEAREST
    )
    intensities = tuple(units.get(unit, 0.0) for unit in UNITS)
    inside = middle - (left, top)
    pose = Pose(inside * SUPERSAMPLING, size * SUPERSAMPLING, yaw, roll)
    _flat(actor, intensities, gaze).draw(large, pose)
    small = cv2.resize(large, (right - left, bottom - top), interpolation=cv2.INTER_AREA)

    shade = np.full(region.shape[:2], 128, np.uint8)
    _shades(actor, intensities).draw(shade, Pose(inside, size, yaw, roll))
    # Light from one side, which fades out above the head.
    across = np.clip((np.arange(left, right) - centre[0]) / (0.42 * size), -1, 1)
    below = np.clip((np.arange(top, bottom) - centre[1]) / (0.15 * size) + 3.9, 0, 1)[:, None]
    light = 22 * actor.light * below * np.sin(np.pi * across)
    shade = cv2.GaussianBlur(shade, (0, 0), 0.022 * size) + light
    shades = cv2.merge([shade.astype(np.float32)] * 3)
    region[:] = cv2.multiply(small, shades, scale=1 / 128, dtype=cv2.CV_8U)


@lru_cache(maxsize=64)
def _body(actor):
    """Shoulders below the head."""
    sketch = Sketch()
    slope = 0.32 * np.cos(np.linspace(-1.4, 1.4, 11))
    shoulders = _curve(np.linspace(-0.95, 0.95, 11), 0.97 - slope)
    sketch.fill(np.concatenate([shoulders, [(1.15, 3), (-1.15, 3)]]), actor.cloth)
    return sketch


# In some films a face keeps its expression for a whole shot.
@lru_cache(maxsize=4)
def _flat(actor, intensities, gaze):
    """Flat colours and lines of the head, with the intensity of each of ``UNITS``."""
    au = dict(zip(UNITS, intensities, strict=True))
    sketch = Sketch(_back(actor))
    sketch.fill(_head(actor, chin=0.5 + 0.07 * au[26]), actor.skin, turned=False)
    for side in (-1, 1):
        _eye(sketch, actor, au, side, gaze)
        _brow(sketch, actor, au, side)
    for side in (-1, 1):
        _nostril(sketch, actor, au, side)
    _mouth(sketch, actor, au)
    sketch += _fringe(actor)
    return sketch


@lru_cache(maxsize=64)
def _back(actor):
    """Hair behind the head, neck and ears: what no expression moves."""
    sketch = Sketch()
    skin = actor.skin
    hair = _head(actor, 0.075, chin=actor.length, bend=0.5)
    sketch.fill(hair, tint(actor.hair, 0.75), turned=False)
    neck = _curve([-0.17, 0.17, 0.2, -0.2], [0.2, 0.2, 0.84, 0.84])
    sketch.fill(neck, tint(skin, 0.8), turned=False)
    for side in (-1, 1):
        ear = (side * (actor.width + 0.005), 0.0)
        sketch.oval(ear, (0.04, 0.09), tint(skin, 0.85), turned=False)
    return sketch


def _nostril(sketch, actor, au, side):
    """One nostril and the wing of the nose beside it."""
    lift = 0.02 * au[9]
    sketch.oval((side * 0.55 * actor.nose, 0.158 - lift), (0.018, 0.010), tint(actor.skin, 0.38))
    wing = [
        (side * actor.nose, 0.115 - lift),
        (side * 1.15 * actor.nose, 0.14 - lift),
        (side * 0.9 * actor.nose, 0.165 - lift),
    ]
    sketch.line(wing, tint(actor.skin, 0.62), 0.008)


@lru_cache(maxsize=64)
def _fringe(actor):
    """Hair over the forehead, parted."""
    sketch = Sketch()
    parting = actor.parting * actor.width
    fringe = actor.fringe
    edge = [
        (-actor.width - 0.01, 0.0),
        (-actor.width + 0.015, -0.16),
        (-0.8 * actor.width, fringe + 0.06),
        (parting - 0.02, fringe - 0.03),
        (parting, fringe - 0.07),
        (parting + 0.02, fringe - 0.03),
        (0.8 * actor.width, fringe + 0.06),
        (actor.width - 0.015, -0.16),
        (actor.width + 0.01, 0.0),
    ]
    crown = _head(actor, 0.08)
    crown = crown[crown[:, 1] < -0.04]
    from_the_right = crown[np.argsort(-crown[:, 0])]
    sketch.fill(np.concatenate([edge, from_the_right]), actor.hair, turned=False)
    return sketch


def _eye(sketch, actor, au, side, gaze):
    """One eye: white, iris and pupil between the lids, then the lids."""
    x = 0.165
    y = -0.055
    across = side * (x + actor.eyes * _ACROSS)
    openness = 0.034 * (1 + 0.5 * au[5] - 0.3 * au[7] - 0.15 * au[6]) * (1 - 0.95 * au[43])
    upper = y - openness * _ARCH + 0.006 * np.abs(_ACROSS)
    lower = np.maximum(y + 0.022 * (1 - 0.45 * au[6] - 0.4 * au[7]) * _ARCH, upper)
    sketch.fill(_between(across, upper, lower), (236, 232, 228))
    middle = side * x + 0.03 * gaze
    order = slice(None, None, side)  # from left to right
    for radius, colour in ((0.035, actor.iris), (0.017, (12, 10, 10))):
        circle = np.array([middle, y - 0.004]) + radius * _CIRCLE
        # The lids cover the iris.
        floor = np.interp(circle[:, 0], across[order], lower[order])
        ceiling = np.interp(circle[:, 0], across[order], upper[order])
        sketch.fill(_curve(circle[:, 0], np.clip(circle[:, 1], ceiling, floor)), colour)
    if openness > 0.015:
        sketch.oval((middle + 0.01, y - 0.016), (0.006, 0.006), (255, 255, 255))
    sketch.line(_curve(across, upper), tint(actor.skin, 0.22), 0.013)
    sketch.line(_curve(across, upper - 0.022 - 0.012 * au[5]), tint(actor.skin, 0.66), 0.007)
    sketch.line(_curve(across, lower), tint(actor.skin, 0.55), 0.006)


def _brow(sketch, actor, au, side):
    """One eyebrow: units 1 and 2 raise its inner and outer end, 4 lowers it."""
    along = (_ACROSS + 1) / 2  # 0 at the inner end, 1 at the outer
    height = (
        -0.15
        - 0.02 * np.sin(np.pi * along)
        - 0.055 * au[1] * (1 - along) ** 1.5
        - 0.05 * au[2] * along
    )
    height = height + au[4] * (0.05 * (1 - along) + 0.01) + 0.02 * au[9] * (1 - along)
    thick = actor.brow * (1 - 0.65 * along**2)
    across = side * (0.072 - 0.018 * au[4] + 0.2 * along)
    outline = _between(across, height - thick, height + 0.6 * thick)
    sketch.fill(outline, tint(actor.hair, 0.8))


def _mouth(sketch, actor, au):
    """Lips, and where they part the dark of the mouth with the upper teeth."""
    half = 0.115 + 0.04 * au[12] + 0.035 * au[20] - 0.02 * au[23] - 0.02 * au[26]
    lips = actor.lips * (1 - 0.5 * au[23] - 0.2 * au[12] - 0.2 * au[20])
    gap = 0.028 * au[25] + 0.1 * au[26]
    across = half * _ACROSS
    corners = 0.05 * au[15] - 0.065 * au[12] - 0.006
    middle = 0.29 + 0.02 * au[12] - 0.01 * au[10] - 0.012 * au[17] + corners * _ACROSS**2
    top = middle - 0.3 * gap * _ARCH - 0.012 * au[10] * _ARCH
    low = middle + 0.8 * gap * _ARCH
    bow = np.sqrt(_ARCH) - 0.28 * np.exp(-((_ACROSS / 0.16) ** 2))
    red = tuple(np.array(actor.skin) * (0.80, 0.55, 0.56))
    sketch.fill(_between(across, top - 0.8 * lips * bow, top), tint(red, 0.92))
    sketch.fill(_between(across, low, low + 1.1 * lips * _ARCH), tint(red, 1.08))
    if gap > 0.004:
        sketch.fill(_between(across, top, low), (58, 22, 26))
        teeth = np.minimum(low, top + 0.028 * _ARCH)
        sketch.fill(_between(0.86 * across, top, teeth), (238, 234, 226))
    else:
        sketch.line(_curve(across, middle), tint(actor.skin, 0.36), 0.009)
    for side in (-1, 1):
        sketch.oval((side * half, middle[0]), (0.008, 0.006), tint(actor.skin, 0.45))


@lru_cache(maxsize=4)
def _shades(actor, intensities):
    """Light and shadow of the head: 128 leaves the colour as it is."""
    au = dict(zip(UNITS, intensities, strict=True))
    sketch = Sketch()
    outline = _head(actor, -0.01, chin=0.5 + 0.07 * au[26])
    # The neck lies in the shadow of the chin, the edge of the face turns away from the light.
    sketch.fill(_curve([-0.16, 0.16, 0.17, -0.17], [0.4, 0.4, 0.6, 0.6]), 84, turned=False)
    sketch.fill(outline, 128, turned=False)
    sketch.line(np.concatenate([outline, outline[:1]]), 98, 0.035, turned=False)
    # Hairline and forehead.
    sketch.line(_curve(0.3 * _ACROSS, -0.42 - 0.06 * _ARCH), 150, 0.03, turned=False)
    sketch.oval((0, -0.27), (0.2, 0.07), 140)
    for side in (-1, 1):
        _shade_side(sketch, au, side)
    if au[1] > 0.2:
        wrinkle = _curve(0.16 * _ACROSS, -0.27 + 0.01 * np.cos(6 * _ACROSS))
        sketch.line(wrinkle, round(128 - 45 * au[1]), 0.012)
    # Bridge, tip and underside of the nose; lower lip and chin.
    sketch.line([(0, -0.05), (0, 0.1)], 146, 0.028)
    sketch.oval((0, 0.115), (0.03, 0.022), 150)
    sketch.oval((0, 0.175), (actor.nose, 0.018), 88)
    sketch.oval((0, 0.4 + 0.05 * au[26]), (0.075, 0.018), round(104 - 20 * au[17]))
    sketch.oval((0, 0.45 + 0.06 * au[26]), (0.06, 0.025), 136)
    return sketch


def _shade_side(sketch, au, side):
    """Light and shadow of one half of the face."""
    # Eye socket, lid and cheek.
    sketch.oval((side * 0.15, -0.09), (0.1, 0.055), 100)
    sketch.oval((side * 0.165, -0.05), (0.075, 0.035), 122)
    sketch.oval((side * 0.21, 0.1 - 0.02 * au[6]), (0.075, 0.05), round(138 + 10 * au[6]))
    # Side of the nose.
    sketch.line([(side * 0.05, -0.06), (side * 0.035, 0.06), (side * 0.06, 0.11)], 110, 0.03)
    # Fold from nose to mouth, and frown above the nose.
    fold = max(au[12], au[10], au[9])
    if fold > 0.05:
        end = side * (0.16 + 0.03 * au[12])
        line = [(side * 0.085, 0.13), (side * 0.15, 0.2), (end, 0.27)]
        sketch.line(line, round(128 - 55 * fold), 0.016)
    if au[4] > 0.1:
        sketch.line([(side * 0.028, -0.2), (side * 0.022, -0.11)], round(128 - 70 * au[4]), 0.014)
