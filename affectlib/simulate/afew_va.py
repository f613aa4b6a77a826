"""Simulated AFEW-VA: acted faces as png frames, with integer valence and arousal frame by frame."""

import json
from pathlib import Path

import cv2
import numpy as np

from affectlib.corpora.labels import mood_label
from affectlib.simulate.affect import course, view
from affectlib.simulate.build import build_corpus, put
from affectlib.simulate.face import Actor, _Pen, action_units, draw_face
from affectlib.simulate.stage import Look, backdrop

SIZE, MARGIN = (180, 144), 10  # a quarter of AFEW's 720 x 576
HERTZ, TEMPO = 25, 3.0  # an acted emotion changes faster than a film's
MOODS = {1: 59 / 600, -1: 141 / 600}  # the rest is neutral; mood_change 2.2.1
LEVELS = {-1: (-0.75, -0.45), 0: (-0.2, 0.2), 1: (0.45, 0.75)}
ACTORS = 240 / 600  # actors per clip; mood_change 2.1
GAPS, BLIND = 0.03, 0.003  # share of clips with a missing frame, of frames without landmarks


def make_afew_va(root, *, n_clips=600, frames=(10, 145), seed=0, snr=8.0, jobs=2):
    """Writes a simulated AFEW-VA and loads it.

    Actors recur, each with a face and a set of their own; moods have the paper's proportions. Some frame numbers
    are missing, and some frames have no landmarks, as in the real corpus.

    Args:
        root: folder of the corpus, created where absent
        n_clips: clips, at most 999
        frames: of the shortest and the longest clip; the mean lies 0.3 of the way, as in the real corpus
        seed: of everything; the files do not depend on ``jobs``
        snr: signal-to-noise ratio of the valence that light and colour of the scene show; the face shows it exactly
        jobs: processes. Above 1 a script needs the usual ``if __name__ == "__main__":``

    Returns:
        Corpus, as ``load_afew_va`` gives it

    Raises:
        ValueError: if an argument is out of its range
        CorpusFormatError: if ``root`` holds files that no simulator wrote
    """
    from affectlib.corpora.afew_va import load_afew_va

    if not 10 <= n_clips <= 999 or not 3 <= frames[0] <= frames[1] or not snr > 0:
        raise ValueError(
            f"expected 10 to 999 clips, at least 3 frames and snr above 0, not {n_clips}, {frames}, {snr}"
        )
    rng = np.random.default_rng([seed, 0])
    counts = {mood: round(n_clips * share) for mood, share in MOODS.items()}
    moods = rng.permutation(
        np.repeat([1, -1, 0], [*counts.values(), n_clips - sum(counts.values())])
    )
    lengths = np.rint(frames[0] + (frames[1] - frames[0]) * rng.beta(1.1, 2.6, n_clips)).astype(int)
    cast = round(n_clips * ACTORS)
    actors = rng.permutation(np.r_[np.arange(cast), rng.integers(cast, size=n_clips - cast)])
    root, tasks, files = Path(root), [], []
    for index in range(n_clips):
        clip, length, n = (
            f"{index + 1:03d}",
            int(lengths[index]),
            np.random.default_rng([seed, 1, index]),
        )
        missing = int(n.integers(1, length - 1)) if n.uniform() < GAPS else None
        numbers = [number for number in range(length) if number != missing]
        tasks.append(
            (
                root,
                f"{clip}/",
                seed,
                index,
                numbers,
                int(moods[index]),
                int(actors[index]),
                float(snr),
            )
        )
        files += [*(f"{clip}/{number:05d}.png" for number in numbers), f"{clip}/{clip}.json"]
    arguments = {"n_clips": n_clips, "frames": list(frames), "seed": seed, "snr": snr}
    build_corpus(root, "afew_va", arguments, files, lambda: {}, _write_clip, tasks, jobs)
    return load_afew_va(root)


def _write_clip(root, clip, seed, index, numbers, mood, actor, snr):
    """One clip's frames, then its annotation; a missing number is a frame that was rendered and left out."""
    rng = np.random.default_rng([seed, 2, index])
    look = Look.draw(np.random.default_rng([seed, 3, actor]), actors=1)
    while True:
        level = (rng.uniform(*LEVELS[mood]), rng.uniform(-0.4, 0.4))
        seconds = (numbers[-1] + 1) * TEMPO / HERTZ
        _, *shown = course(seconds, hertz=HERTZ / TEMPO, rng=rng, mean=level, deviation=0.35)
        values = np.rint(10 * np.stack(shown, 1)).astype(int)
        if mood_label(values[numbers, 0]) == mood:
            break
    scene = view(shown[0], snr, rng, hertz=HERTZ / TEMPO)
    annotated = {}
    for number, (picture, points) in enumerate(_pictures(scene, *shown, look, rng)):
        if number in numbers:
            landmarks = None if rng.uniform() < BLIND else np.round(points, 2).tolist()
            arousal, valence = int(values[number, 1]), int(values[number, 0])
            annotated[f"{number:05d}"] = {
                "landmarks": landmarks,
                "arousal": arousal,
                "valence": valence,
            }
            png = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
            put(root / clip / f"{number:05d}.png", png.tobytes())
    content = {"actor": f"Actor {actor:03d}", "video_id": clip[:-1], "frames": annotated}
    put(root / clip / f"{clip[:-1]}.json", json.dumps(content).encode())


def _pictures(scene, valence, arousal, look, rng):
    """Frames of one shot, each with its 68 landmarks: light and colour by ``scene``, the face by the affect."""
    (width, height), actor = SIZE, look.cast[0]
    large = backdrop(look, scene.mean(), arousal.mean(), rng, size=SIZE, margin=MARGIN)
    size, phase = rng.uniform(0.5, 0.62) * height, rng.uniform(0, 2 * np.pi, 4)
    middle = np.array([rng.uniform(0.35, 0.65) * width, rng.uniform(0.47, 0.53) * height])
    turn, tilt, gaze = rng.normal(0, [0.12, 0.05, 0.25])
    for i, (v, a) in enumerate(zip(valence, arousal, strict=True)):
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
        yield (
            cv2.convertScaleAbs(picture, alpha=1 + 0.25 * (scene[i] - scene.mean())),
            landmarks(actor, units, **pose),
        )


def landmarks(actor: Actor, units, centre, size, yaw=0.0, roll=0.0):
    """The 68 points of the iBUG scheme on a face of ``draw_face``, from the same geometry, roughly.

    Args:
        actor, units, centre, size, yaw, roll: as for ``draw_face``

    Shape:
        result ``(68, 2)``: x and y in pixels
    """
    pen, au = (
        _Pen(None, centre, size, yaw, roll),
        {1: 0, 2: 0, 4: 0, 12: 0, 15: 0, 25: 0, 26: 0, 43: 0} | units,
    )
    angle = np.linspace(np.pi, 0, 17)
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** actor.jaw
    jaw = np.stack([actor.width * across, -0.05 + (0.55 + 0.07 * au[26]) * np.sin(angle)], 1)
    along = np.linspace(1, 0, 5)
    height = (
        -0.15 - 0.02 * np.sin(np.pi * along) - 0.055 * au[1] * (1 - along) - 0.05 * au[2] * along
    )
    brow = np.stack([-0.072 - 0.2 * along, height + 0.05 * au[4] * (1 - along)], 1)
    bridge = np.stack([np.zeros(4), np.linspace(-0.06, 0.1, 4)], 1)
    nostrils = np.stack(
        [np.linspace(-actor.nose, actor.nose, 5), 0.165 - 0.01 * np.abs(np.linspace(-1, 1, 5))], 1
    )
    open_ = 1 - 0.95 * au[43]
    eye = (-0.165, -0.055) + np.array(
        [
            (-1, 0),
            (-0.4, -0.028 * open_ / actor.eyes),
            (0.4, -0.028 * open_ / actor.eyes),
            (1, 0),
            (0.4, 0.018 / actor.eyes),
            (-0.4, 0.018 / actor.eyes),
        ]
    ) * actor.eyes
    half, corners, gap = (
        0.115 + 0.04 * au[12],
        0.05 * au[15] - 0.065 * au[12],
        0.028 * au[25] + 0.1 * au[26],
    )
    mouth = []
    for n, lips in (
        (7, actor.lips),
        (5, 0),
    ):  # outer, then inner contour, clockwise from the left corner
        x = np.linspace(-1, 1, n)
        upper, lower = (
            np.stack([half * x, 0.29 + corners * x**2 + rise * (1 - x**2)], 1)
            for rise in (-0.3 * gap - 0.8 * lips, 0.8 * gap + 1.1 * lips)
        )
        mouth += [upper, lower[-2:0:-1]]
    mirror = (-1, 1)
    right_eye = (eye * mirror)[[3, 2, 1, 0, 5, 4]]
    face = np.concatenate([brow, brow[::-1] * mirror, bridge, nostrils, eye, right_eye, *mouth])
    return np.concatenate([pen.place(jaw, False), pen.place(face, True)]) / 16
