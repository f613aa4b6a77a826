"""A face drawn from action units, whoever the actor.

Drawn at twice its size and scaled down so that edges are smooth, then shaded (eye sockets, nose, lips, jaw),
so that detectors trained on photographs find it. Colours are RGB.

References:
    Ekman and Friesen 1978 (action units); Russell 1980 (circumplex).
"""

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

SUPERSAMPLING = 2

# Where an emotion lies (valence, arousal) and the action units, from 0 to 1, that show it.
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
)


def action_units(valence, arousal):
    """Action units of a face at one point of the circumplex.

    The prototypes of the emotions, each weighted by a Gaussian of its distance.

    Returns:
        dict from the unit's number in the Facial Action Coding System to its intensity in [0, 1]

    Examples:
        >>> action_units(0.8, 0.4)[12] > 0.7 > 0.1 > action_units(-0.7, -0.5)[12]
        True
    """
    weights = np.exp(-((_PLACES - (valence, arousal)) ** 2).sum(1) / (2 * 0.25**2))
    return dict(zip(UNITS, (weights @ _INTENSITIES / weights.sum()).tolist(), strict=True))


def colour(hue, saturation, value):
    """RGB in 0 to 255 of hue (in turns), saturation and value (both clipped to [0, 1])."""
    return tuple(
        round(255 * c) for c in colorsys.hsv_to_rgb(hue % 1, *np.clip((saturation, value), 0, 1))
    )


def tint(colour, factor):
    return tuple(min(255.0, c * factor) for c in colour)


@dataclass(frozen=True)
class Actor:
    """One person's looks; lengths in face heights (hairline to chin).

    Args:
        skin, hair, iris, cloth: colours
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
    def draw(cls, rng):
        """A new face from a numpy random generator."""
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


class _Pen:
    """Draws shapes given in face heights on an image, turned by yaw and roll (in radians)."""

    def __init__(self, image, centre, size, yaw, roll):
        self.image, self.centre, self.size = image, np.asarray(centre, float), size
        self.yaw = np.array([np.cos(yaw), np.sin(yaw)])
        self.roll = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]]) * size

    def place(self, points, turned):
        points = np.asarray(points, float)
        if turned:
            depth = 0.38 * np.sqrt(np.maximum(0, 1 - (points[:, 0] / 0.45) ** 2))
            points = points * (self.yaw[0], 1) + depth[:, None] * (self.yaw[1], 0)
        return np.round((points @ self.roll + self.centre) * 16).astype(np.int32)

    def fill(self, points, colour, *, turned=True):
        cv2.fillPoly(self.image, [self.place(points, turned)], colour, cv2.LINE_AA, 4)

    def line(self, points, colour, width, *, turned=True):
        width = max(1, round(width * self.size))
        cv2.polylines(
            self.image, [self.place(points, turned)], False, colour, width, cv2.LINE_AA, 4
        )

    def oval(self, centre, radii, colour, *, turned=True):
        self.fill(np.asarray(centre) + _CIRCLE * radii, colour, turned=turned)


_CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 24, endpoint=False)) for f in (np.cos, np.sin)], 1)
_ROUND = np.linspace(0, 2 * np.pi, 56, endpoint=False)
_ACROSS = np.linspace(-1, 1, 15)
_ARCH = 1 - _ACROSS**2


def _curve(x, y):
    points = np.empty((len(x), 2))
    points[:, 0], points[:, 1] = x, y
    return points


def _between(x, upper, lower):
    """Outline of the area between two curves over the same x."""
    return np.concatenate([_curve(x, upper), _curve(x, lower)[::-1]])


def _head(actor, grow=0.0, *, chin=0.5, bend=None):
    """Outline of the face, or with ``grow`` of the hair around it; ``bend`` below 1 makes the lower end square."""
    cosine, sine = np.cos(_ROUND), np.sin(_ROUND)
    x = (
        (actor.width + grow)
        * np.sign(cosine)
        * np.abs(cosine) ** np.where(sine > 0, bend or actor.jaw, 0.9)
    )
    return _curve(
        x, -0.05 + np.where(sine > 0, chin + 0.05, 0.47) * sine + np.minimum(grow * sine, 0)
    )


def draw_face(canvas, actor, units, centre, size, *, yaw=0.0, roll=0.0, gaze=0.0):
    """Draw one head on a picture, in place.

    Args:
        canvas: RGB picture
        actor: whose face
        units: action units (number to intensity in [0, 1]); those missing are at rest
        centre: x and y of the middle between hairline and chin, in pixels
        size: from hairline to chin, in pixels
        yaw, roll: turned to the side, tilted; in radians
        gaze: eyes to the left (-1) or right (1) of the picture

    Shape:
        canvas ``(height, width, 3)`` uint8
    """
    height, width = canvas.shape[:2]
    left, top = (
        int(np.clip(c - 0.85 * size, 0, n)) for c, n in zip(centre, (width, height), strict=True)
    )
    right, bottom = (
        int(np.clip(c + 0.85 * size, 0, n)) for c, n in zip(centre, (width, height), strict=True)
    )
    if right - left < 2 or bottom - top < 2:
        return
    at = np.array(centre, float)
    body = _Pen(canvas, at, size, 0, roll / 3)
    slope = 0.32 * np.cos(np.linspace(-1.4, 1.4, 11))
    shoulders = _curve(np.linspace(-0.95, 0.95, 11), 0.97 - slope)
    body.fill(np.concatenate([shoulders, [(1.15, 3), (-1.15, 3)]]), actor.cloth)

    region = canvas[top:bottom, left:right]
    large = cv2.resize(
        region, None, fx=SUPERSAMPLING, fy=SUPERSAMPLING, interpolation=cv2.INTER_NEAREST
    )
    _paint(
        _Pen(large, (at - (left, top)) * SUPERSAMPLING, size * SUPERSAMPLING, yaw, roll),
        actor,
        units,
        gaze,
    )
    small = cv2.resize(large, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    shade = np.full(region.shape[:2], 128, np.uint8)
    _shade(_Pen(shade, at - (left, top), size, yaw, roll), actor, units)
    across = np.clip((np.arange(left, right) - centre[0]) / (0.42 * size), -1, 1)
    below = np.clip((np.arange(top, bottom) - centre[1]) / (0.15 * size) + 3.9, 0, 1)[:, None]
    shade = cv2.GaussianBlur(shade, (0, 0), 0.022 * size) + 22 * actor.light * below * np.sin(
        np.pi * across
    )
    region[:] = cv2.multiply(
        small, cv2.merge([shade.astype(np.float32)] * 3), scale=1 / 128, dtype=cv2.CV_8U
    )


def _paint(pen, actor, units, gaze):
    """Flat colours and lines of the head."""
    au = {unit: units.get(unit, 0.0) for unit in UNITS}
    skin, hair, dark = actor.skin, actor.hair, tint(actor.skin, 0.62)
    chin = 0.5 + 0.07 * au[26]

    pen.fill(_head(actor, 0.075, chin=actor.length, bend=0.5), tint(hair, 0.75), turned=False)
    pen.fill(
        _curve([-0.17, 0.17, 0.2, -0.2], [0.2, 0.2, 0.84, 0.84]), tint(skin, 0.8), turned=False
    )
    for side in (-1, 1):
        pen.oval((side * (actor.width + 0.005), 0.0), (0.04, 0.09), tint(skin, 0.85), turned=False)
    pen.fill(_head(actor, chin=chin), skin, turned=False)

    for side in (-1, 1):
        _eye(pen, actor, au, side, gaze)
    lift = 0.02 * au[9]
    for side in (-1, 1):
        pen.oval((side * 0.55 * actor.nose, 0.158 - lift), (0.018, 0.010), tint(skin, 0.38))
        pen.line(
            [
                (side * actor.nose, 0.115 - lift),
                (side * 1.15 * actor.nose, 0.14 - lift),
                (side * 0.9 * actor.nose, 0.165 - lift),
            ],
            dark,
            0.008,
        )
    _mouth(pen, actor, au)

    parting, fringe = actor.parting * actor.width, actor.fringe
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
    pen.fill(np.concatenate([edge, crown[np.argsort(-crown[:, 0])]]), hair, turned=False)


def _eye(pen, actor, au, side, gaze):
    x, y = 0.165, -0.055
    across = side * (x + actor.eyes * _ACROSS)
    openness = 0.034 * (1 + 0.5 * au[5] - 0.3 * au[7] - 0.15 * au[6]) * (1 - 0.95 * au[43])
    upper = y - openness * _ARCH + 0.006 * np.abs(_ACROSS)
    lower = np.maximum(y + 0.022 * (1 - 0.45 * au[6] - 0.4 * au[7]) * _ARCH, upper)
    pen.fill(_between(across, upper, lower), (236, 232, 228))
    middle = side * x + 0.03 * gaze
    for radius, colour in ((0.035, actor.iris), (0.017, (12, 10, 10))):
        circle = np.array([middle, y - 0.004]) + radius * _CIRCLE
        order = np.argsort(across)
        floor, ceiling = (
            np.interp(circle[:, 0], across[order], curve[order]) for curve in (lower, upper)
        )
        pen.fill(_curve(circle[:, 0], np.clip(circle[:, 1], ceiling, floor)), colour)
    if openness > 0.015:
        pen.oval((middle + 0.01, y - 0.016), (0.006, 0.006), (255, 255, 255))
    pen.line(_curve(across, upper), tint(actor.skin, 0.22), 0.013)
    pen.line(_curve(across, upper - 0.022 - 0.012 * au[5]), tint(actor.skin, 0.66), 0.007)
    pen.line(_curve(across, lower), tint(actor.skin, 0.55), 0.006)

    along = (_ACROSS + 1) / 2
    brow = (
        -0.15
        - 0.02 * np.sin(np.pi * along)
        - 0.055 * au[1] * (1 - along) ** 1.5
        - 0.05 * au[2] * along
    )
    brow = brow + au[4] * (0.05 * (1 - along) + 0.01) + 0.02 * au[9] * (1 - along)
    thick = actor.brow * (1 - 0.65 * along**2)
    pen.fill(
        _between(side * (0.072 - 0.018 * au[4] + 0.2 * along), brow - thick, brow + 0.6 * thick),
        tint(actor.hair, 0.8),
    )


def _mouth(pen, actor, au):
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
    pen.fill(_between(across, top - 0.8 * lips * bow, top), tint(red, 0.92))
    pen.fill(_between(across, low, low + 1.1 * lips * _ARCH), tint(red, 1.08))
    if gap > 0.004:
        pen.fill(_between(across, top, low), (58, 22, 26))
        teeth = np.minimum(low, top + 0.028 * _ARCH)
        pen.fill(_between(0.86 * across, top, teeth), (238, 234, 226))
    else:
        pen.line(_curve(across, middle), tint(actor.skin, 0.36), 0.009)
    for side in (-1, 1):
        pen.oval((side * half, middle[0]), (0.008, 0.006), tint(actor.skin, 0.45))


def _shade(pen, actor, units):
    """Light and shadow of the head: 128 leaves the colour as it is."""
    au = {unit: units.get(unit, 0.0) for unit in UNITS}
    outline = _head(actor, -0.01, chin=0.5 + 0.07 * au[26])
    pen.fill(_curve([-0.16, 0.16, 0.17, -0.17], [0.4, 0.4, 0.6, 0.6]), 84, turned=False)
    pen.fill(outline, 128, turned=False)
    pen.line(np.concatenate([outline, outline[:1]]), 98, 0.035, turned=False)
    pen.line(_curve(0.3 * _ACROSS, -0.42 - 0.06 * _ARCH), 150, 0.03, turned=False)
    pen.oval((0, -0.27), (0.2, 0.07), 140)
    for side in (-1, 1):
        pen.oval((side * 0.15, -0.09), (0.1, 0.055), 100)
        pen.oval((side * 0.165, -0.05), (0.075, 0.035), 122)
        pen.oval((side * 0.21, 0.1 - 0.02 * au[6]), (0.075, 0.05), round(138 + 10 * au[6]))
        pen.line([(side * 0.05, -0.06), (side * 0.035, 0.06), (side * 0.06, 0.11)], 110, 0.03)
        fold = max(au[12], au[10], au[9])
        if fold > 0.05:
            pen.line(
                [(side * 0.085, 0.13), (side * 0.15, 0.2), (side * (0.16 + 0.03 * au[12]), 0.27)],
                round(128 - 55 * fold),
                0.016,
            )
        if au[4] > 0.1:
            pen.line([(side * 0.028, -0.2), (side * 0.022, -0.11)], round(128 - 70 * au[4]), 0.014)
    if au[1] > 0.2:
        pen.line(
            _curve(0.16 * _ACROSS, -0.27 + 0.01 * np.cos(6 * _ACROSS)),
            round(128 - 45 * au[1]),
            0.012,
        )
    pen.line([(0, -0.05), (0, 0.1)], 146, 0.028)
    pen.oval((0, 0.115), (0.03, 0.022), 150)
    pen.oval((0, 0.175), (actor.nose, 0.018), 88)
    pen.oval((0, 0.4 + 0.05 * au[26]), (0.075, 0.018), round(104 - 20 * au[17]))
    pen.oval((0, 0.45 + 0.06 * au[26]), (0.06, 0.025), 136)
