"""Moving pictures of a known valence and arousal: an actor's face over a lit, moving scene.

Colours are RGB.

References:
    Valdez and Mehrabian 1994 (colour and emotion); Hanjalic and Xu 2005 (motion, cuts and arousal).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import cv2
import numpy as np

from affectlib.simulate.face import Actor, action_units, colour, draw_face, tint

SIZE = (320, 180)  # width and height of a picture, in pixels
MARGIN = 40  # pixels by which a scene exceeds the picture on each side


@dataclass(frozen=True)
class Look:
    """What one film's pictures have in common, whatever they express.

    Args:
        hue: turn of the film's palette
        saturation: added to that of every colour
        brightness: added to that of every colour
        restless: factor by which this film moves and cuts faster than others
        cast: the film's actors
    """

    hue: float
    saturation: float
    brightness: float
    restless: float
    cast: tuple[Actor, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, *, actors: int = 3) -> Self:
        """Draws the look of a new film."""
        return cls(
            hue=rng.normal(0, 0.04),
            saturation=rng.normal(0, 0.07),
            brightness=rng.normal(0, 0.06),
            restless=float(np.exp(rng.normal(0, 0.2))),
            cast=tuple(Actor.draw(rng) for _ in range(actors)),
        )


def _palette(look, valence, arousal):
    """Hue, saturation and value: warm, light and full for pleasant scenes, else blue and dark."""
    hue = 0.84 + 0.25 * valence + look.hue
    saturation = 0.34 + 0.2 * valence + 0.1 * arousal + look.saturation
    value = 0.52 + 0.24 * valence + look.brightness
    return hue, saturation, value


def backdrop(
    look: Look,
    valence: float,
    arousal: float,
    rng: np.random.Generator,
    *,
    size: tuple[int, int] = SIZE,
    margin: int = MARGIN,
) -> np.ndarray:
    """The background of one shot, larger than the picture so that the camera can move over it.

    Args:
        look: of the film
        valence: of the scene, in [-1, 1]
        arousal: of the scene, in [-1, 1]
        rng: random generator
        size: width and height of the picture, in pixels
        margin: pixels by which the background exceeds the picture on each side

    Shape:
        result ``(height + 2 * margin, width + 2 * margin, 3)`` uint8
    """
    width = size[0] + 2 * margin
    height = size[1] + 2 * margin
    hue, saturation, value = _palette(look, valence, arousal)
    sky = np.array(colour(hue + rng.normal(0, 0.03), saturation * 0.8, value * 1.25), np.float32)
    ground = np.array(colour(hue + rng.normal(0, 0.05), saturation, value * 0.65), np.float32)
    ramp = np.clip(np.linspace(-0.2, 1.2, height, dtype=np.float32), 0, 1)[:, None, None]
    image = np.broadcast_to(sky + (ground - sky) * ramp, (height, width, 3))
    image = image.astype(np.uint8, order="C")
    horizon = round(height * rng.uniform(0.5, 0.68))
    draw = (_house, _hill, _light)[rng.integers(3)]
    for _ in range(rng.integers(8, 16)):
        x = int(rng.uniform(0, width))
        extent = rng.uniform(12, 46)
        paint = colour(
            hue + rng.normal(0, 0.06),
            saturation * rng.uniform(0.6, 1.2),
            value * rng.uniform(0.55, 1.2),
        )
        draw(image, x, extent, horizon, paint, rng)
    image = cv2.GaussianBlur(image, (0, 0), 1.2)
    noise = rng.normal(0, 4 + 3 * arousal, (height // 3, width // 3)).astype(np.float32)
    grain = cv2.resize(noise, (width, height))
    return np.clip(image + grain[..., None], 0, 255).astype(np.uint8)


def _house(image, x, extent, horizon, paint, rng):
    """A house that stands on the horizon, some of its windows lit."""
    height = len(image)
    right = x + int(extent)
    roof = horizon - int(extent * 2 * rng.uniform(0.4, 1))
    cv2.rectangle(image, (x, roof), (right, height), tint(paint, 0.8), -1)
    for left in range(x + 4, right - 5, 9):
        for top in range(roof + 5, horizon + 20, 12):
            glow = 1.6 if rng.uniform() < 0.4 else 0.6
            cv2.rectangle(image, (left, top), (left + 4, top + 6), tint(paint, glow), -1)


def _hill(image, x, extent, horizon, paint, rng):
    """A hill or a tree."""
    height = len(image)
    axes = (int(extent * 2), height - horizon + int(extent * 0.6))
    cv2.ellipse(image, (x, height), axes, 0, 180, 360, tint(paint, 0.75), -1, cv2.LINE_AA)


def _light(image, x, extent, horizon, paint, rng):
    """A light out of focus."""
    place = (x, int(rng.uniform(0.1, 0.9) * len(image)))
    cv2.circle(image, place, int(extent * 0.5), tint(paint, 1.2), -1, cv2.LINE_AA)


def frames(
    scene: np.ndarray,
    motion: np.ndarray,
    face: np.ndarray,
    *,
    look: Look,
    rng: np.random.Generator,
    hertz: float = 12.5,
    size: tuple[int, int] = SIZE,
) -> Iterator[np.ndarray]:
    """The pictures of one film, shot by shot.

    Args:
        scene: valence and arousal over time, as the scene shows them
        motion: likewise, as motion and cuts show them
        face: likewise, as the actors' faces show them
        look: what the film's shots have in common
        rng: random generator
        hertz: pictures per second
        size: width and height in pixels

    Shape:
        scene, motion and face ``(frames, 2)``; yields ``(height, width, 3)`` uint8 RGB per row
    """
    start = 0
    while start < len(face):
        # Arousing films cut faster.
        seconds = 3.2 * np.exp(-1.1 * motion[start, 1]) / look.restless * rng.uniform(0.75, 1.3)
        stop = min(len(face), start + max(5, round(seconds * hertz)))
        shot = slice(start, stop)
        yield from _shot(scene[shot], motion[shot], face[shot], look, rng, hertz, size)
        start = stop


class _Spots(NamedTuple):
    """Coloured spots that drift through a shot."""

    places: np.ndarray
    radii: np.ndarray
    speeds: np.ndarray
    colours: list

    @classmethod
    def draw_from(cls, palette, rng, size):
        """Draws the spots of a shot."""
        width, height = size
        hue, saturation, value = palette
        count = rng.integers(2, 6)
        places = rng.uniform(0, 1, (count, 2)) * (width + 80, height)
        radii = rng.uniform(5, 15, count)
        speeds = rng.normal(0, 1, (count, 2)) * (26, 8)
        colours = []
        for _ in range(count):
            turned = hue + rng.normal(0, 0.08)
            colours.append(colour(turned, saturation * 1.2, value * rng.uniform(0.8, 1.5)))
        return cls(places, radii, speeds, colours)

    def paint(self, picture, way):
        """Draws the spots on a picture, moved along by the way that the camera has gone."""
        height, width = picture.shape[:2]
        for place, radius, speed, paint in zip(*self, strict=True):
            spot = (place + speed * way) % (width + 80, height + 60) - (40, 30)
            # cv2 takes sixteenths of a pixel.
            middle = np.round(spot * 16).astype(int).tolist()
            cv2.circle(picture, middle, round(radius * 16), paint, -1, cv2.LINE_AA, 4)


class _Pose(NamedTuple):
    """Where an actor is in a shot, and how the head is held."""

    actor: Actor
    extent: float
    middle: np.ndarray
    turn: float
    gaze: float
    phase: np.ndarray
    blink: float

    @classmethod
    def draw_from(cls, look, rng, size):
        """Draws the actor of a shot."""
        width, height = size
        actor = look.cast[rng.integers(len(look.cast))]
        extent = rng.uniform(0.54, 0.66) * height
        middle = np.array([rng.uniform(0.36, 0.64) * width, rng.uniform(0.5, 0.53) * height])
        turn = rng.normal(0, 0.1)
        gaze = rng.normal(0, 0.25)
        phase = rng.uniform(0, 6, 3)
        blink = rng.uniform(1, 4)
        return cls(actor, extent, middle, turn, gaze, phase, blink)

    def paint(self, picture, affect, time, way, shake):
        """Draws the actor on a picture, swaying with the way that the camera has gone."""
        units = action_units(*affect)
        if (time + self.blink) % 4 < 0.15:
            units[43] = 1.0  # eyes closed
        sway = np.sin(self.phase + way * np.array([1.1, 0.8, 0.6]))
        draw_face(
            picture,
            self.actor,
            units,
            self.middle + (4, 1.5) * sway[:2] + shake,
            self.extent,
            yaw=self.turn + 0.05 * sway[2],
            roll=0.04 * sway[0],
            gaze=self.gaze,
        )


def _shot(scene, motion, face, look, rng, hertz, size):
    """The pictures of one shot: its scene stays, camera, spots and face move."""
    width, height = size
    large = backdrop(look, *scene[0], rng, size=size, margin=MARGIN)
    palette = _palette(look, *scene[0])
    times = np.arange(len(face)) / hertz
    pace = look.restless * np.exp(1.3 * motion[:, 1])
    way = np.cumsum(pace) / hertz
    heading = rng.uniform(0, 2 * np.pi)
    shake = rng.normal(0, 0.7, (len(face), 2)) * pace[:, None]
    pan = 0.22 * way[:, None] * (np.cos(heading), 0.5 * np.sin(heading))
    camera = np.round(MARGIN * np.sin(pan) + shake + MARGIN)
    camera = np.clip(camera, 0, 2 * MARGIN).astype(int)
    spots = _Spots.draw_from(palette, rng, size)
    has_actor = rng.uniform() < 0.8
    pose = _Pose.draw_from(look, rng, size)
    for i, time in enumerate(times):
        x, y = camera[i]
        picture = large[y : y + height, x : x + width].copy()
        spots.paint(picture, way[i])
        if has_actor:
            pose.paint(picture, face[i], time, way[i], shake[i])
        # Within a shot the light follows the scene's valence.
        yield cv2.convertScaleAbs(picture, alpha=1 + 0.25 * (scene[i, 0] - scene[0, 0]))


def portrait(
    valence: float, arousal: float, *, seed: int = 0, size: tuple[int, int] = SIZE
) -> np.ndarray:
    """One picture of one actor in one scene, both at the same point of the circumplex.

    Args:
        valence: in [-1, 1]
        arousal: in [-1, 1]
        seed: chooses face and scene
        size: width and height in pixels

    Shape:
        result ``(height, width, 3)`` uint8 RGB

    Examples:
        >>> portrait(0.5, 0.2, seed=1).shape
        (180, 320, 3)
    """
    rng = np.random.default_rng(seed)
    look = Look.draw(rng, actors=1)
    picture = backdrop(look, valence, arousal, rng, size=size, margin=0)
    middle = (0.5 * size[0], 0.52 * size[1])
    draw_face(picture, look.cast[0], action_units(valence, arousal), middle, 0.6 * size[1])
    return picture
