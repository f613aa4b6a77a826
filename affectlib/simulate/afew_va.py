"""Simulated AFEW-VA: acted faces as png frames, with integer valence and arousal frame by frame."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from affectlib.corpora.afew_va import load_afew_va
from affectlib.corpora.base import Corpus
from affectlib.corpora.labels import mood_label
from affectlib.simulate.affect import course, view
from affectlib.simulate.build import build_corpus, no_tables, write_file
from affectlib.simulate.face import Actor, Pose, action_units, draw_face
from affectlib.simulate.stage import Look, backdrop

SIZE = (180, 144)  # a quarter of AFEW's 720 x 576
MARGIN = 10  # pixels by which the scene exceeds the picture on each side
HERTZ = 25  # frames per second
TEMPO = 3.0  # an acted emotion changes faster than a film's
GLOW = 0.8  # by this share the light changes when the valence of the scene changes by one
# Shares of positive and negative clips; the rest is neutral (mood_change 2.2.1).
MOODS = {1: 59 / 600, -1: 141 / 600}
LEVELS = {-1: (-6, -4), 0: (-2, 2), 1: (4, 6)}  # annotated valence that a clip holds, by mood
ACTORS = 240 / 600  # actors per clip (mood_change 2.1)
GAPS = 0.03  # share of clips with a missing frame
BLIND = 0.003  # share of frames without landmarks


def make_afew_va(
    root: Path | str,
    *,
    n_clips: int = 600,
    frames: tuple[int, int] = (10, 145),
    seed: int = 0,
    snr: float = 8.0,
    change_seen: bool = True,
    change_tells: bool = True,
    jobs: int = 2,
) -> Corpus:
    """Writes a simulated AFEW-VA and loads it.

    Actors recur, each with their face and set. Moods have the paper's proportions. Some frame
    numbers are missing, and some frames have no landmarks, as in the real corpus.

    The valence of a clip holds a level, leaves it for an excursion, and comes back. The level is
    held for longer than any other value, so that it gives the clip its mood. Two effects are
    planted, and each can be left out for a control:

        - ``change_seen``: face and light follow the valence from frame to frame.
        - ``change_tells``: the mood shows in the direction of the excursions. In a positive mood
          valence drops from one frame to the next and then rises slowly, in a negative mood the
          other way round, and both cross the same values. In a neutral mood it moves seldom.

    Args:
        root: folder of the corpus, created if absent
        n_clips: number of clips, at most 999
        frames: of the shortest and the longest clip; the mean lies 0.3 of the way between, as in
            the real corpus
        seed: of everything; the files do not depend on ``jobs``
        snr: signal-to-noise ratio of the valence that light and colour of the scene show; the face
            shows it exactly
        change_seen: pictures follow the valence; otherwise each picture of a clip shows the clip's
            mean valence, and nothing can be learned about change
        change_tells: the direction of change depends on the mood; otherwise excursions are drawn
            alike for all moods, and only the level tells the mood
        jobs: processes; above 1 a script needs the usual ``if __name__ == "__main__":``

    Returns:
        Corpus, as ``load_afew_va`` gives it

    Raises:
        ValueError: if an argument is out of its range
        FileFormatError: if ``root`` holds files that no simulator wrote
    """
    if not 10 <= n_clips <= 999 or not 3 <= frames[0] <= frames[1] or not snr > 0:
        raise ValueError(
            "expected 10 to 999 clips, at least 3 frames and snr above 0, "
            f"not {n_clips}, {frames}, {snr}"
        )
    root = Path(root)
    rng = np.random.default_rng([seed, 0])
    moods = _draw_moods(n_clips, rng)
    shares = rng.beta(1.1, 2.6, n_clips)
    lengths = np.rint(frames[0] + (frames[1] - frames[0]) * shares).astype(int)
    actors = _draw_actors(n_clips, rng)
    tasks = []
    files = []
    for index in range(n_clips):
        clip = f"{index + 1:03d}"
        numbers = _draw_frame_numbers(int(lengths[index]), np.random.default_rng([seed, 1, index]))
        mood = int(moods[index])
        actor = int(actors[index])
        planted = (bool(change_seen), bool(change_tells))
        tasks.append((root, f"{clip}/", seed, index, numbers, mood, actor, float(snr), planted))
        files += [f"{clip}/{number:05d}.png" for number in numbers]
        files.append(f"{clip}/{clip}.json")
    arguments = {
        "n_clips": n_clips,
        "frames": list(frames),
        "seed": seed,
        "snr": snr,
        "change_seen": bool(change_seen),
        "change_tells": bool(change_tells),
    }
    build_corpus(root, "afew_va", arguments, files, no_tables, _write_clip, tasks, jobs)
    return load_afew_va(root)


def _draw_moods(n_clips, rng):
    """The mood of each clip: 1, -1 or 0, in the paper's proportions."""
    counts = [round(n_clips * share) for share in MOODS.values()]
    return rng.permutation(np.repeat([*MOODS, 0], [*counts, n_clips - sum(counts)]))


def _draw_actors(n_clips, rng):
    """The actor of each clip; each actor has a clip at least."""
    n_actors = round(n_clips * ACTORS)
    return rng.permutation(
        np.r_[np.arange(n_actors), rng.integers(n_actors, size=n_clips - n_actors)]
    )


def _draw_frame_numbers(length, rng):
    """The frame numbers of a clip; now and then one is missing."""
    missing = int(rng.integers(1, length - 1)) if rng.uniform() < GAPS else None
    return [number for number in range(length) if number != missing]


def _write_clip(root, clip, seed, index, numbers, mood, actor, snr, planted):
    """Writes the frames of one clip, then its annotation.

    A missing number is a frame that was rendered and left out.
    """
    rng = np.random.default_rng([seed, 2, index])
    look = Look.draw(np.random.default_rng([seed, 3, actor]), actors=1)
    change_seen, change_tells = planted
    valence, arousal, values = _draw_course(numbers, mood, rng, change_tells)
    shown = valence if change_seen else np.full_like(valence, valence.mean())
    scene = view(shown, snr, rng, hertz=HERTZ / TEMPO)
    annotated = {}
    for number, (picture, points) in enumerate(_pictures(scene, shown, arousal, look, rng)):
        if number not in numbers:
            continue
        is_blind = rng.uniform() < BLIND
        annotated[f"{number:05d}"] = {
            "landmarks": None if is_blind else np.round(points, 2).tolist(),
            "arousal": int(values[number, 1]),
            "valence": int(values[number, 0]),
        }
        bgr = picture[..., ::-1]
        png = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
        write_file(root / clip / f"{number:05d}.png", png.tobytes())
    name = clip.removesuffix("/")
    content = {"actor": f"Actor {actor:03d}", "video_id": name, "frames": annotated}
    write_file(root / clip / f"{name}.json", json.dumps(content).encode())


def _draw_course(numbers, mood, rng, change_tells):
    """Valence and arousal of a clip, drawn until its mood label is the wanted one.

    Returns:
        valence, arousal, and both as the integers of the annotation

    Shape:
        ``(frames,)`` each; the integers ``(frames, 2)``
    """
    n_frames = numbers[-1] + 1
    seconds = n_frames * TEMPO / HERTZ
    while True:
        level = (0.0, rng.uniform(-0.4, 0.4))
        arousal = course(seconds, hertz=HERTZ / TEMPO, rng=rng, mean=level, deviation=0.35)[2]
        valence = _draw_valence(n_frames, mood, rng, change_tells)
        values = np.rint(10 * np.stack([valence, arousal], 1)).astype(int)
        if mood_label(values[numbers, 0]) == mood:
            return valence, arousal, values


def _draw_valence(n_frames, mood, rng, change_tells):
    """Valence of a clip: it holds a level, makes an excursion, holds the level again, and so on."""
    lowest, highest = LEVELS[mood]
    level = rng.integers(lowest, highest + 1)
    skipped = rng.integers(12)  # a clip begins anywhere in this course
    valence = []
    while len(valence) < skipped + n_frames:
        held, size, away, back = _draw_excursion(mood, rng, change_tells)
        valence += [level] * held
        valence += np.linspace(level, level + size, away + 1)[1:].tolist()
        valence += np.linspace(level + size, level, back + 1)[1:].tolist()
    return np.array(valence[skipped : skipped + n_frames]) / 10


def _draw_excursion(mood, rng, change_tells):
    """One excursion of valence: frames held before it, its size, frames away and frames back.

    The size is in steps of the annotation. One way takes a frame or two, the other moves by a
    step or more in each frame, so that no value on it is held.
    """
    if change_tells and mood != 0:
        # Down and slowly up again in a positive mood, up and slowly down in a negative one.
        size = int(rng.integers(9, 13))
        return 4, -mood * size, 1, round(size / 1.5)
    held = int(rng.integers(20, 40) if change_tells else rng.integers(6, 12))
    size = int(rng.integers(3, 5))
    frames = rng.permutation([2, size])
    return held, int(rng.choice([-1, 1])) * size, *frames.tolist()


def _pictures(scene, valence, arousal, look, rng):
    """Frames of one shot, each with its 68 landmarks.

    Light and colour follow ``scene``, the face follows valence and arousal.
    """
    width, height = SIZE
    actor = look.cast[0]
    large = backdrop(look, scene.mean(), arousal.mean(), rng, size=SIZE, margin=MARGIN)
    size = rng.uniform(0.5, 0.62) * height
    phase = rng.uniform(0, 2 * np.pi, 4)
    middle = np.array([rng.uniform(0.35, 0.65) * width, rng.uniform(0.47, 0.53) * height])
    turn, tilt, gaze = rng.normal(0, [0.12, 0.05, 0.25])
    for i, (v, a) in enumerate(zip(valence, arousal, strict=True)):
        # An excited actor sways faster.
        sway = np.sin(phase + i / HERTZ * np.exp(a) * np.array([1.7, 1.3, 1.1, 0.9]))
        x, y = np.rint(MARGIN * (1 + 0.9 * sway[2:])).astype(int)
        picture = large[y : y + height, x : x + width].copy()
        pose = {
            "centre": middle + (5, 2) * sway[:2],
            "size": size,
            "yaw": turn + 0.06 * sway[2],
            "roll": tilt + 0.04 * sway[0],
        }
        units = action_units(v, a)
        draw_face(picture, actor, units, gaze=gaze, **pose)
        light = 1 + GLOW * (scene[i] - scene.mean())
        yield cv2.convertScaleAbs(picture, alpha=light), landmarks(actor, units, **pose)


def landmarks(
    actor: Actor,
    units: Mapping[int, float],
    centre: Sequence[float],
    size: float,
    yaw: float = 0.0,
    roll: float = 0.0,
) -> np.ndarray:
    """The 68 points of the iBUG scheme on a face of ``draw_face``, roughly, from the same geometry.

    Args:
        actor, units, centre, size, yaw, roll: as for ``draw_face``

    Shape:
        result ``(68, 2)``: x and y in pixels
    """
    rest = dict.fromkeys((1, 2, 4, 12, 15, 25, 26, 43), 0)
    au = rest | units
    right_to_left = (-1, 1)  # mirrors x
    brow = _brow_points(au)
    bridge = np.stack([np.zeros(4), np.linspace(-0.06, 0.1, 4)], 1)
    under_nose = 0.165 - 0.01 * np.abs(np.linspace(-1, 1, 5))
    nostrils = np.stack([np.linspace(-actor.nose, actor.nose, 5), under_nose], 1)
    eye = _eye_points(actor, au)
    # Each eye begins at its left corner and goes clockwise.
    other_eye = (eye * right_to_left)[[3, 2, 1, 0, 5, 4]]
    mouth = _mouth_points(actor, au)
    brows = [brow, brow[::-1] * right_to_left]
    face = np.concatenate([*brows, bridge, nostrils, eye, other_eye, mouth])
    pose = Pose(centre, size, yaw, roll)
    jaw = pose.place(_jaw_points(actor, au), False)
    return np.concatenate([jaw, pose.place(face, True)]) / 16


def _jaw_points(actor, au):
    """17 points along the jaw, in face heights."""
    angle = np.linspace(np.pi, 0, 17)
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** actor.jaw
    down = -0.05 + (0.55 + 0.07 * au[26]) * np.sin(angle)
    return np.stack([actor.width * across, down], 1)


def _brow_points(au):
    """5 points of the left eyebrow, from outside to inside."""
    along = np.linspace(1, 0, 5)
    height = (
        -0.15 - 0.02 * np.sin(np.pi * along) - 0.055 * au[1] * (1 - along) - 0.05 * au[2] * along
    )
    return np.stack([-0.072 - 0.2 * along, height + 0.05 * au[4] * (1 - along)], 1)


def _eye_points(actor, au):
    """6 points of the left eye."""
    openness = 1 - 0.95 * au[43]
    upper = -0.028 * openness / actor.eyes
    lower = 0.018 / actor.eyes
    shape = [(-1, 0), (-0.4, upper), (0.4, upper), (1, 0), (0.4, lower), (-0.4, lower)]
    return (-0.165, -0.055) + np.array(shape) * actor.eyes


def _mouth_points(actor, au):
    """20 points of the mouth: outer, then inner contour, clockwise from the left corner."""
    half = 0.115 + 0.04 * au[12]
    corners = 0.05 * au[15] - 0.065 * au[12]
    gap = 0.028 * au[25] + 0.1 * au[26]
    contours = []
    for n_points, lips in ((7, actor.lips), (5, 0)):
        x = np.linspace(-1, 1, n_points)
        edges = []
        for rise in (-0.3 * gap - 0.8 * lips, 0.8 * gap + 1.1 * lips):
            y = 0.29 + corners * x**2 + rise * (1 - x**2)
            edges.append(np.stack([half * x, y], 1))
        upper, lower = edges
        contours += [upper, lower[-2:0:-1]]
    return np.concatenate(contours)
