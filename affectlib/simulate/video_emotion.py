"""Simulated HEIV, Ekman-6 and VideoEmotion-8: people in scenes, one category of emotion per video.

A video is a row of shots of about one to two seconds. In each the main person is seen frontal, and expresses the
category; or turned away, covered or small, hardly expressing it and talking of something else; or not at all. The scene
behind tells of the category or of nothing. Sometimes a smaller bystander looks on without emotion. What is seen when is
written beside the videos (:func:`read_truth`), for tests: no loader reads it. The sound is silence.
A result on them tests the pipeline; it says nothing about any paper.

References:
    Friesen and Ekman 1983 (EMFACS: the action units of the basic emotions); Plutchik 1980 (trust, anticipation).
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from affectlib.corpora.base import CorpusNotFoundError
from affectlib.corpora.video_emotion import (
    EKMAN6_CLASSES,
    HEIV_CLASSES,
    SPLITS,
    VIDEOEMOTION8_CLASSES,
    load_ekman6,
    load_heiv,
    load_videoemotion8,
)
from affectlib.simulate.build import (
    FRAME_RATE,
    SAMPLING_RATE,
    build_corpus,
    durations,
    encode,
    put,
    ratios,
)
from affectlib.simulate.face import UNITS, colour, draw_face, tint
from affectlib.simulate.stage import SIZE, Look, backdrop

SNR = {"face": 3.0, "scene": 2.0}
EMFACS = {  # trust and anticipation have no agreed units: a mild smile, and brows and lids raised over parted lips
    "joy": (6, 12),
    "sadness": (1, 4, 15),
    "surprise": (1, 2, 5, 26),
    "fear": (1, 2, 4, 5, 20, 26),
    "disgust": (9, 15),
    "anger": (4, 5, 7, 23),
    "neutral": (),
    "trust": (12,),
    "anticipation": (1, 2, 25),
}
STRENGTH = {"trust": 0.5, "anticipation": 0.6}  # of their units; of all others 1
SCENES = {  # valence and arousal of a telling scene's palette, hue and shape of what fills it
    "anger": (-0.5, 0.6, 0.0, "wedges"),
    "disgust": (-0.5, 0.1, 0.28, "drops"),
    "fear": (-0.8, 0.5, 0.75, "bars"),
    "joy": (0.8, 0.4, 0.15, "drops"),
    "neutral": (0.0, -0.4, 0.1, "bars"),
    "sadness": (-0.6, -0.6, 0.6, "rain"),
    "surprise": (0.3, 0.8, 0.88, "wedges"),
    "trust": (0.5, -0.4, 0.08, "drops"),
    "anticipation": (0.2, 0.5, 0.48, "rain"),
}
FACES = {
    "frontal": 0.25,
    "turned": 0.22,
    "covered": 0.22,
    "small": 0.16,
    "none": 0.15,
}  # of shots; one is frontal
TELLING, BYSTANDER, FACELESS = (
    0.5,
    0.35,
    0.04,
)  # share of shots with a telling scene, a bystander; of faceless videos
TRUTH, TRUTH_SECONDS = "truth.csv", 0.5
PLACE = ("left", "top", "width", "height")
_SPREAD = 0.4  # of the units over categories
_MARGIN = 24  # by which the scene exceeds the picture


def make_heiv(root, *, n_clips=140, seconds=(4.0, 6.0), seed=0, snr=None, jobs=2):
    """Writes a simulated HEIV, classes and sets in the real proportions, and loads it.

    Args:
        root: folder of the corpus, created where absent
        n_clips: videos, four per class or more
        seconds: shortest and longest video
        seed: of everything; the files do not depend on ``jobs``
        snr: signal-to-noise ratio of the category in the action units of an expressive ``face`` and in the colours of
            a telling ``scene``, those missing taken from ``SNR``
        jobs: processes. Above 1 a script needs the usual ``if __name__ == "__main__":``

    Returns:
        Corpus, as ``load_heiv`` gives it

    Raises:
        ValueError: if an argument is out of its range
        CorpusFormatError: if ``root`` holds files that no simulator wrote
    """
    clips = _draw(HEIV_CLASSES, (103, 105, 121, 207, 125, 158, 197), n_clips)
    clips["part"] = np.where(_chosen(clips, 607 / 1012, seed), "train", "test")
    clips["file"] = clips["part"] + "/" + clips["clip"] + ".mp4"
    _make(root, "heiv", clips, {}, seconds, seed, snr, jobs)
    return load_heiv(root)


def make_ekman6(root, *, n_clips=96, seconds=(4.0, 6.0), seed=0, snr=None, jobs=2):
    """Writes a simulated Ekman-6, classes of equal size, half of them to train on, and loads it.

    Args, returns and errors as for :func:`make_heiv`.
    """
    clips = _draw(EKMAN6_CLASSES, (1,) * 6, n_clips, first=1000)
    lists = _write_lists(clips, _chosen(clips, 819 / 1637, seed), EKMAN6_CLASSES, "01", label=True)
    _make(root, "ekman6", clips, lists, seconds, seed, snr, jobs)
    return load_ekman6(root)


def make_videoemotion8(root, *, n_clips=128, seconds=(4.0, 6.0), seed=0, snr=None, jobs=2):
    """Writes a simulated VideoEmotion-8, classes in the real proportions, ten splits, and loads it.

    Args, returns and errors as for :func:`make_heiv`.
    """
    clips = _draw(VIDEOEMOTION8_CLASSES, (101, 101, 115, 167, 180, 101, 236, 100), n_clips)
    lists = {}
    for number, column in enumerate(SPLITS):
        lists |= _write_lists(
            clips, _chosen(clips, 736 / 1101, seed, number), VIDEOEMOTION8_CLASSES, column[-2:]
        )
    _make(root, "videoemotion8", clips, lists, seconds, seed, snr, jobs)
    return load_videoemotion8(root)


def read_truth(root):
    """What every half second of a simulated corpus shows.

    Args:
        root: folder that one of the simulators above wrote

    Returns:
        DataFrame with the columns clip (as in the corpus), time (in seconds), face (of the main person: frontal,
        turned, covered, small or none), expressive (how far the face shows the category, from 0 to 1), telling (1
        where the scene shows it, else 0), and left, top, width, height of the main face from hairline to chin, in
        shares of the frame, nan where there is none

    Raises:
        CorpusNotFoundError: if there is no such table
    """
    path = Path(root) / TRUTH
    if not path.is_file():
        raise CorpusNotFoundError(f"{path}: no such table; only simulated corpora have one")
    return pd.read_csv(path, dtype={"clip": str}, keep_default_na=False, na_values=[""])


def _draw(classes, sizes, n_clips, *, first=1):
    """The videos of a corpus: clip, emotion, file; names recur from class to class."""
    if n_clips < 4 * len(classes):
        raise ValueError(f"n_clips is at least {4 * len(classes)}, four per class, not {n_clips}")
    exact = 2 + (n_clips - 2 * len(classes)) * np.array(sizes) / sum(sizes)
    counts = exact.astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n_clips - counts.sum()]] += 1
    names = [
        f"{emotion}/{first + i:04d}"
        for emotion, count in zip(classes, counts, strict=True)
        for i in range(count)
    ]
    return pd.DataFrame(
        {
            "clip": names,
            "emotion": [name.split("/")[0] for name in names],
            "file": [f"{name}.mp4" for name in names],
        }
    )


def _chosen(clips, share, seed, number=0):
    """Which videos train: the same share of every class, at least one and not all."""
    rng, train = np.random.default_rng([seed, 1, number]), np.zeros(len(clips), bool)
    for rows in clips.groupby("emotion", sort=False).indices.values():
        train[rng.permutation(rows)[: np.clip(round(share * len(rows)), 1, len(rows) - 1)]] = True
    return train


def _write_lists(clips, train, classes, number, *, label=False):
    """The two lists of a split: path to text; those of tests with a label only where ``label``."""
    rows = {"train": [], "test": []}
    for clip, emotion, chosen in zip(clips["clip"], clips["emotion"], train, strict=True):
        labelled = f"{clip} {classes.index(emotion) + 1}\n"
        rows["train" if chosen else "test"].append(labelled if chosen or label else f"{clip}\n")
    return {f"{part}list{number}.txt": "".join(rows[part]) for part in ("train", "test")}


def _make(root, name, clips, lists, seconds, seed, snr, jobs):
    if extra := sorted(set(snr or {}) - set(SNR)):
        raise ValueError(f"snr knows {', '.join(SNR)}, not {', '.join(extra)}")
    root, snr = Path(root), {key: ratios({**SNR, **(snr or {})})[key] for key in SNR}
    corpus = ("heiv", "ekman6", "videoemotion8").index(name)
    lengths = np.random.default_rng([seed, 2, corpus]).uniform(
        *durations(np.sort(seconds)), len(clips)
    )
    tasks = [
        (root, clip["file"], [seed, corpus, i], clip["emotion"].lower(), float(length), snr)
        for i, (clip, length) in enumerate(zip(clips.to_dict("records"), lengths, strict=True))
    ]
    arguments = {"n_clips": len(clips), "seconds": list(seconds), "seed": seed, "snr": snr}
    files = [TRUTH, *lists, *clips["file"]]
    build_corpus(
        root,
        name,
        arguments,
        files,
        lambda: lists | {TRUTH: _truth(tasks, clips["clip"])},
        _write_video,
        tasks,
        jobs,
    )


@dataclass(frozen=True)
class Shot:
    """One shot of a video: frames from ``start`` to ``stop`` (not included), and what they show.

    Args:
        face: how the main person is seen, one of ``FACES``
        expressive: how far the face shows the category, from 0 to 1
        telling: whether the scene shows it
        bystander: whether somebody else is there
        centre: of the main face, in pixels
        size: of the main face, from hairline to chin, in pixels
        yaw: of the main face, in radians
    """

    start: int
    stop: int
    face: str
    expressive: float
    telling: bool
    bystander: bool
    centre: tuple
    size: float
    yaw: float

    def at(self, frame):
        """Centre of the main face in one frame: it sways a little."""
        return self.centre[0] + 3 * np.sin(0.16 * frame + self.yaw), self.centre[1] + 1.5 * np.sin(
            0.11 * frame
        )


def shots(seconds, rng):
    """Draws the shots of one video; the main person keeps the place from shot to shot."""
    frames, stops = round(seconds * FRAME_RATE), [0]
    while stops[-1] < frames - 1.5 * FRAME_RATE:
        stops.append(stops[-1] + round(rng.uniform(1, 2) * FRAME_RATE))
    stops = [*(stop for stop in stops if stop <= frames - 0.5 * FRAME_RATE), frames]
    faces = rng.choice(list(FACES), len(stops) - 1, p=list(FACES.values()))
    faces[rng.integers(len(faces))] = "frontal"
    if rng.uniform() < FACELESS:
        faces[:] = "none"
    side, size = rng.choice([-1, 1]), rng.uniform(0.54, 0.62) * SIZE[1]
    centre = (0.5 + side * rng.uniform(0.09, 0.14)) * SIZE[0], rng.uniform(0.5, 0.53) * SIZE[1]
    result = []
    for start, stop, face in zip(stops, stops[1:], faces, strict=False):
        expressive, weak, turned, smaller = (
            rng.uniform(*r) for r in ((0.5, 1), (0, 0.25), (0.5, 0.75), (0.62, 0.7))
        )
        result.append(
            Shot(
                start,
                stop,
                str(face),
                {"frontal": expressive, "none": 0.0}.get(face, weak),
                bool(rng.uniform() < TELLING),
                bool(rng.uniform() < BYSTANDER and (faces != "none").any()),
                centre,
                size * (smaller if face == "small" else 1.0),
                float(turned * rng.choice([-1, 1]) if face == "turned" else rng.normal(0, 0.08)),
            )
        )
    return result


def _truth(tasks, clips):
    """Text of the table of what is seen when."""
    rows, step = [], TRUTH_SECONDS * FRAME_RATE
    for (_, _, key, _, seconds, _), clip in zip(tasks, clips, strict=True):
        for shot in shots(seconds, np.random.default_rng([3, *key])):
            for beat in np.arange(np.ceil(shot.start / step), shot.stop / step):
                (x, y), size = shot.at(int(beat * step)), shot.size  # the frame shown at that time
                box = np.array([x - 0.37 * size, y - 0.5 * size, 0.74 * size, size]) / (
                    *SIZE,
                    *SIZE,
                )
                rows.append(
                    (
                        clip,
                        beat * TRUTH_SECONDS,
                        shot.face,
                        round(shot.expressive, 4),
                        int(shot.telling),
                        *(box.round(4) if shot.face != "none" else [np.nan] * 4),
                    )
                )
    table = pd.DataFrame(rows, columns=["clip", "time", "face", "expressive", "telling", *PLACE])
    return table.to_csv(index=False, lineterminator="\n")


def _write_video(root, file, key, emotion, seconds, snr):
    plan = shots(seconds, np.random.default_rng([3, *key]))
    pictures = _pictures(plan, emotion, snr, np.random.default_rng([4, *key]))
    put(root / file, encode(pictures, np.zeros(round(seconds * SAMPLING_RATE), np.float32)))


def _pictures(plan, emotion, snr, rng):
    """The frames of one video, RGB."""
    look = Look.draw(rng, actors=2)
    main, other = look.cast
    across = 0.2 if plan[0].centre[0] > SIZE[0] / 2 else 0.8
    other_place = np.array([across * SIZE[0], rng.uniform(0.54, 0.6) * SIZE[1]])
    other_size, gaze = rng.uniform(0.36, 0.43) * SIZE[1], rng.normal(0, 0.2)
    for shot in plan:
        scene = _scene(look, emotion if shot.telling else None, snr["scene"], rng)
        units, cover = _units(emotion, shot, snr["face"], rng), rng.integers(3)
        heading = rng.uniform(0, 2 * np.pi)
        for frame in range(shot.start, shot.stop):
            pan = _MARGIN * (1 + 0.9 * np.sin(0.05 * (frame - shot.start) + heading))
            x, y = round(pan), round(_MARGIN + 0.4 * (pan - _MARGIN))
            picture = scene[y : y + SIZE[1], x : x + SIZE[0]].copy()
            if shot.bystander:
                draw_face(
                    picture,
                    other,
                    {43: float(frame % 37 < 2)},
                    other_place + (2 * np.sin(0.13 * frame), 0),
                    other_size,
                )
            if shot.face != "none":
                draw_face(picture, main, units, shot.at(frame), shot.size, yaw=shot.yaw, gaze=gaze)
            if shot.face == "covered":
                _cover(picture, main, shot.at(frame), shot.size, cover)
            yield picture


def _units(emotion, shot, snr, rng):
    """Action units of a shot: the category as far as expressed, with noise; of a hidden face mostly another one."""
    noise = rng.normal(0, _SPREAD / np.sqrt(snr), len(UNITS))
    passing, strength = (
        rng.choice([name for name in EMFACS if name != emotion]),
        rng.uniform(0.3, 0.8),
    )
    own, passing = (
        np.array([STRENGTH.get(name, 1.0) * (unit in EMFACS[name]) for unit in UNITS])
        for name in (emotion, passing)
    )
    shown = (
        shot.expressive * np.clip(own + noise, 0, 1) + (shot.face != "frontal") * strength * passing
    )
    return dict(zip(UNITS, np.clip(shown, 0, 1).tolist(), strict=True))


def _scene(look, emotion, snr, rng):
    """One shot's background: colours, lights and shapes of the category, or of none."""
    noise = 1 / np.sqrt(snr)
    if emotion is None:
        valence, arousal, hue = *rng.uniform(-0.6, 0.6, 2), rng.uniform()
        shape = rng.choice(["wedges", "drops", "bars", "rain"])
    else:
        valence, arousal, hue, shape = SCENES[emotion]
        valence, arousal = np.clip(rng.normal((valence, arousal), 0.3 * noise), -0.9, 0.9)
        hue = hue + rng.normal(0, 0.08 * noise)
    image = backdrop(look, valence, arousal, rng, margin=_MARGIN)
    height, width = image.shape[:2]
    for _ in range(rng.integers(9, 18)):
        x, y, extent = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(6, 16)
        paint = colour(
            hue + rng.normal(0, 0.02),
            rng.uniform(0.5, 0.9),
            0.6 + 0.3 * valence + rng.uniform(-0.15, 0.15),
        )
        if shape == "drops":
            cv2.circle(image, (round(x), round(y)), round(extent), paint, -1, cv2.LINE_AA)
        elif shape == "bars":
            cv2.rectangle(image, (round(x), 0), (round(x + 0.6 * extent), height), paint, -1)
        elif shape == "rain":
            cv2.line(
                image,
                (round(x), round(y)),
                (round(x - extent), round(y + 3 * extent)),
                paint,
                3,
                cv2.LINE_AA,
            )
        else:
            turn = rng.uniform(0, 2 * np.pi) + np.array([0, 0.35, 3.3])
            points = np.stack([x + 2 * extent * np.cos(turn), y + 2 * extent * np.sin(turn)], 1)
            cv2.fillPoly(image, [np.rint(points).astype(np.int32)], paint, cv2.LINE_AA)
    return image


def _cover(picture, actor, centre, size, kind):
    """A hand over the mouth, a hat's brim over the eyes, or a post before one side of the face."""
    x, y = centre
    if kind == 0:
        for finger in range(4):
            start = round(x + (0.16 * finger - 0.3) * size), round(y + (0.2 + 0.02 * finger) * size)
            cv2.line(
                picture,
                start,
                (start[0] + round(0.05 * size), start[1] + round(0.2 * size)),
                tint(actor.skin, 0.86 + 0.05 * finger),
                max(2, round(0.15 * size)),
                cv2.LINE_AA,
            )
    else:
        corners = ((-0.5, -0.13), (0.5, 0.0)) if kind == 1 else ((0.13, -2.0), (0.45, 2.0))
        corners = [(round(x + a * size), round(y + b * size)) for a, b in corners]
        cv2.rectangle(picture, *corners, tint(actor.cloth, 0.6), -1)
