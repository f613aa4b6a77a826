"""Moving pictures of a known valence and arousal: an actor's face over a lit, coloured, moving scene.

Colours are RGB.

References:
    Valdez and Mehrabian 1994 (colour and emotion); Hanjalic and Xu 2005 (motion, cuts and arousal).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from affectlib.simulate.face import Actor, action_units, colour, draw_face, tint

SIZE = (320, 180)


@dataclass(frozen=True)
class Look:
    """What one film's pictures have in common whatever they express.

    Args:
        hue: turn of the film's palette
        saturation, brightness: of the whole film, added
        restless: how much faster than others this film moves and cuts, a factor
        cast: its actors
    """

    hue: float
    saturation: float
    brightness: float
    restless: float
    cast: tuple

    @classmethod
    def draw(cls, rng, *, actors=3):
        """A new film's look from a numpy random generator."""
        return cls(
            hue=rng.normal(0, 0.04),
            saturation=rng.normal(0, 0.07),
            brightness=rng.normal(0, 0.06),
            restless=float(np.exp(rng.normal(0, 0.2))),
            cast=tuple(Actor.draw(rng) for _ in range(actors)),
        )


def _palette(look, valence, arousal):
    """Warm, light and full colours for pleasant scenes, blue, dark and grey ones for unpleasant."""
    hue = 0.84 + 0.25 * valence + look.hue
    return (
        hue,
        0.34 + 0.2 * valence + 0.1 * arousal + look.saturation,
        0.52 + 0.24 * valence + look.brightness,
    )


def backdrop(look, valence, arousal, rng, *, size=SIZE, margin=40):
    """One shot's background, larger than the picture so that the camera can move over it.

    Shape:
        result ``(height + 2 * margin, width + 2 * margin, 3)`` uint8
    """
    width, height = size[0] + 2 * margin, size[1] + 2 * margin
    hue, saturation, value = _palette(look, valence, arousal)
    sky = np.array(colour(hue + rng.normal(0, 0.03), saturation * 0.8, value * 1.25), np.float32)
    ground = np.array(colour(hue + rng.normal(0, 0.05), saturation, value * 0.65), np.float32)
    ramp = np.clip(np.linspace(-0.2, 1.2, height, dtype=np.float32), 0, 1)[:, None, None]
    image = np.broadcast_to(sky + (ground - sky) * ramp, (height, width, 3)).astype(
        np.uint8, order="C"
    )
    horizon = round(height * rng.uniform(0.5, 0.68))
    kind = rng.integers(3)
    for _ in range(rng.integers(8, 16)):
        x, extent = int(rng.uniform(0, width)), rng.uniform(12, 46)
        paint = colour(
            hue + rng.normal(0, 0.06),
            saturation * rng.uniform(0.6, 1.2),
            value * rng.uniform(0.55, 1.2),
        )
        if kind == 0:  # a town: houses on the horizon, some windows lit
            roof = horizon - int(extent * 2 * rng.uniform(0.4, 1))
            cv2.rectangle(image, (x, roof), (x + int(extent), height), tint(paint, 0.8), -1)
            for wx in range(x + 4, x + int(extent) - 5, 9):
                for wy in range(roof + 5, horizon + 20, 12):
                    glow = 1.6 if rng.uniform() < 0.4 else 0.6
                    cv2.rectangle(image, (wx, wy), (wx + 4, wy + 6), tint(paint, glow), -1)
        elif kind == 1:  # hills and trees
            cv2.ellipse(
                image,
                (x, height),
                (int(extent * 2), height - horizon + int(extent * 0.6)),
                0,
                180,
                360,
                tint(paint, 0.75),
                -1,
                cv2.LINE_AA,
            )
        else:  # lights out of focus
            cv2.circle(
                image,
                (x, int(rng.uniform(0.1, 0.9) * height)),
                int(extent * 0.5),
                tint(paint, 1.2),
                -1,
                cv2.LINE_AA,
            )
    image = cv2.GaussianBlur(image, (0, 0), 1.2)
    grain = cv2.resize(
        rng.normal(0, 4 + 3 * arousal, (height // 3, width // 3)).astype(np.float32),
        (width, height),
    )
    return np.clip(image + grain[..., None], 0, 255).astype(np.uint8)


def frames(scene, motion, face, *, look, rng, hertz=12.5, size=SIZE):
    """The pictures of one film, shot by shot.

    Args:
        scene, motion, face: valence and arousal over time, as each of the three shows them
        look: what the film's shots have in common
        rng: numpy random generator
        hertz: pictures per second
        size: width and height in pixels

    Shape:
        scene, motion and face ``(frames, 2)``; yields ``(height, width, 3)`` uint8 RGB, once per row
    """
    start, n = 0, len(face)
    while start < n:
        seconds = 3.2 * np.exp(-1.1 * motion[start, 1]) / look.restless * rng.uniform(0.75, 1.3)
        stop = min(n, start + max(5, round(seconds * hertz)))
        yield from _shot(
            scene[start:stop], motion[start:stop], face[start:stop], look, rng, hertz, size
        )
        start = stop


def _shot(scene, motion, face, look, rng, hertz, size):
    width, height, margin = *size, 40
    large = backdrop(look, *scene[0], rng, size=size, margin=margin)
    hue, saturation, value = _palette(look, *scene[0])
    times = np.arange(len(face)) / hertz
    pace = look.restless * np.exp(1.3 * motion[:, 1])
    way = np.cumsum(pace) / hertz
    heading = rng.uniform(0, 2 * np.pi)
    shake = rng.normal(0, 0.7, (len(face), 2)) * pace[:, None]
    camera = margin * np.sin(0.22 * way[:, None] * (np.cos(heading), 0.5 * np.sin(heading)))
    camera = np.clip(np.round(camera + shake + margin), 0, 2 * margin).astype(int)
    count = rng.integers(2, 6)
    places, radii = rng.uniform(0, 1, (count, 2)) * (width + 80, height), rng.uniform(5, 15, count)
    speeds = rng.normal(0, 1, (count, 2)) * (26, 8)
    colours = [
        colour(hue + rng.normal(0, 0.08), saturation * 1.2, value * rng.uniform(0.8, 1.5))
        for _ in radii
    ]
    present = rng.uniform() < 0.8
    actor = look.cast[rng.integers(len(look.cast))]
    extent = rng.uniform(0.54, 0.66) * height
    middle = np.array([rng.uniform(0.36, 0.64) * width, rng.uniform(0.5, 0.53) * height])
    turn, gaze, phase, blink = (
        rng.normal(0, 0.1),
        rng.normal(0, 0.25),
        rng.uniform(0, 6, 3),
        rng.uniform(1, 4),
    )
    for i, time in enumerate(times):
        x, y = camera[i]
        picture = large[y : y + height, x : x + width].copy()
        for place, radius, speed, paint in zip(places, radii, speeds, colours, strict=True):
            spot = (place + speed * way[i]) % (width + 80, height + 60) - (40, 30)
            cv2.circle(
                picture,
                np.round(spot * 16).astype(int).tolist(),
                round(radius * 16),
                paint,
                -1,
                cv2.LINE_AA,
                4,
            )
        if present:
            units = action_units(*face[i])
            if (time + blink) % 4 < 0.15:
                units[43] = 1.0
            sway = np.sin(phase + way[i] * np.array([1.1, 0.8, 0.6]))
            draw_face(
                picture,
                actor,
                units,
                middle + (4, 1.5) * sway[:2] + shake[i],
                extent,
                yaw=turn + 0.05 * sway[2],
                roll=0.04 * sway[0],
                gaze=gaze,
            )
        yield cv2.convertScaleAbs(picture, alpha=1 + 0.25 * (scene[i, 0] - scene[0, 0]))


def portrait(valence, arousal, *, seed=0, size=SIZE):
    """One picture of one actor in one scene, all showing the same point of the circumplex.

    Args:
        valence, arousal: in [-1, 1]
        seed: whose face and which scene
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
    draw_face(
        picture,
        look.cast[0],
        action_units(valence, arousal),
        (0.5 * size[0], 0.52 * size[1]),
        0.6 * size[1],
    )
    return picture
