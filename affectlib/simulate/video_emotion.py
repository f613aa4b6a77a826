"""Simulated HEIV, Ekman-6 and VideoEmotion-8: people in scenes, one category of emotion per video.

A video is a row of shots of about one to two seconds. In each the main person is seen frontal and
expresses the category; or is turned away, covered or small, hardly expresses it and talks of
something else; or is not seen at all. The scene behind shows the category, or nothing. Sometimes a
smaller bystander looks on without emotion. A table beside the videos says what is seen when
(:func:`read_truth`). It is for tests: no loader reads it. The sound is silence.

With ``telling`` something else is planted. Each shot is lit or dim, and always shows the main
person from the front; the scene tells nothing but the light. With ``"lit"`` only the faces of lit
shots show the category, those of dim shots all show one and the same wrong category. So the face
alone cannot say which frames to trust, and scores that hear face and context can. With ``"all"``,
the control, the light falls in the same way and every face shows the category.
A result on a simulated corpus tests the pipeline. It says nothing about any paper.

References:
    Friesen and Ekman 1983 (EMFACS: the action units of the basic emotions).
    Plutchik 1980 (trust, anticipation).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from affectlib.corpora.base import Corpus
from affectlib.corpora.video_emotion import (
    EKMAN6_CLASSES,
    HEIV_CLASSES,
    SPLITS,
    VIDEOEMOTION8_CLASSES,
    load_ekman6,
    load_heiv,
    load_videoemotion8,
)
from affectlib.errors import NotFoundError
from affectlib.simulate.build import (
    SAMPLING_RATE,
    build_corpus,
    durations,
    encode,
    ratios,
    write_file,
)
from affectlib.simulate.face import UNITS, colour, draw_face, tint
from affectlib.simulate.stage import SIZE, Look, backdrop

# Pictures per second. The notebook looks at two of them; drawing faces is what takes the time.
VIDEO_RATE = 4.0
SNR = {"face": 3.0, "scene": 2.0}
# Action units by category. Trust and anticipation have no agreed ones: a mild smile, and raised
# brows and lids over parted lips.
EMFACS = {
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
STRENGTH = {"trust": 0.5, "anticipation": 0.6}  # intensity of their units; 1 for the others
# Valence and arousal of a telling scene's palette, and the hue and shape of the things in it.
SCENES = {
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
# How the main person is seen, by share of shots; one shot of each video is frontal.
FACES = {
    "frontal": 0.25,
    "turned": 0.22,
    "covered": 0.22,
    "small": 0.16,
    "none": 0.15,
}
TELLING = 0.5  # share of shots whose scene shows the category
# What can be planted: only lit shots tell the category, or all do, lit and dim.
PLANTED = ("lit", "all")
LIT = 0.5  # share of lit shots, beside one that is lit and one that is dim in each video
DIM = 0.4  # brightness of the scene in a dim shot; 1 in a lit one
BYSTANDER = 0.35  # share of shots with a second person
FACELESS = 0.04  # share of videos without any face
TRUTH = "truth.csv"
TRUTH_SECONDS = 0.5  # between two rows of the table
PLACE = ("left", "top", "width", "height")
_MISLEADING = 0.9  # how far a misleading face shows the wrong category; nothing of the right one
_SPREAD = 0.4  # standard deviation of the action units over categories
_MARGIN = 24  # pixels by which the scene exceeds the picture on each side


def make_heiv(
    root: Path | str,
    *,
    n_clips: int = 140,
    seconds: tuple[float, float] = (4.0, 6.0),
    seed: int = 0,
    snr: Mapping[str, float] | None = None,
    telling: str | None = None,
    jobs: int = 2,
) -> Corpus:
    """Writes a simulated HEIV, classes and sets in the real proportions, and loads it.

    Args:
        root: folder of the corpus, created if absent
        n_clips: number of videos, four per class or more
        seconds: shortest and longest video
        seed: of everything; the files do not depend on ``jobs``
        snr: signal-to-noise ratio of the category in the action units of an expressive ``face`` and
            in the colours of a telling ``scene``; one that is missing is taken from ``SNR``
        telling: which shots tell the category: ``"lit"`` or ``"all"``, as said above; None draws
            for each shot by itself how the face is seen and whether the scene tells
        jobs: processes; above 1 a script needs the usual ``if __name__ == "__main__":``

    Returns:
        Corpus, as ``load_heiv`` gives it

    Raises:
        ValueError: if an argument is out of its range
        FileFormatError: if ``root`` holds files that no simulator wrote
    """
    clips = _draw_clips(HEIV_CLASSES, (103, 105, 121, 207, 125, 158, 197), n_clips)
    clips["part"] = np.where(_draw_training(clips, 607 / 1012, seed), "train", "test")
    clips["file"] = clips["part"] + "/" + clips["clip"] + ".mp4"
    _make(root, "heiv", clips, {}, seconds, seed, snr, telling, jobs)
    return load_heiv(root)


def make_ekman6(
    root: Path | str,
    *,
    n_clips: int = 96,
    seconds: tuple[float, float] = (4.0, 6.0),
    seed: int = 0,
    snr: Mapping[str, float] | None = None,
    telling: str | None = None,
    jobs: int = 2,
) -> Corpus:
    """Writes a simulated Ekman-6, classes of equal size, half of them to train on, and loads it.

    Args, returns and errors as for :func:`make_heiv`.
    """
    clips = _draw_clips(EKMAN6_CLASSES, (1,) * 6, n_clips, first=1000)
    is_training = _draw_training(clips, 819 / 1637, seed)
    lists = _lists(clips, is_training, EKMAN6_CLASSES, "01", label_tests=True)
    _make(root, "ekman6", clips, lists, seconds, seed, snr, telling, jobs)
    return load_ekman6(root)


def make_videoemotion8(
    root: Path | str,
    *,
    n_clips: int = 128,
    seconds: tuple[float, float] = (4.0, 6.0),
    seed: int = 0,
    snr: Mapping[str, float] | None = None,
    telling: str | None = None,
    jobs: int = 2,
) -> Corpus:
    """Writes a simulated VideoEmotion-8, classes in the real proportions, ten splits, and loads it.

    Args, returns and errors as for :func:`make_heiv`.
    """
    sizes = (101, 101, 115, 167, 180, 101, 236, 100)
    clips = _draw_clips(VIDEOEMOTION8_CLASSES, sizes, n_clips)
    lists = {}
    for split, column in enumerate(SPLITS):
        is_training = _draw_training(clips, 736 / 1101, seed, split)
        lists |= _lists(clips, is_training, VIDEOEMOTION8_CLASSES, column[-2:])
    _make(root, "videoemotion8", clips, lists, seconds, seed, snr, telling, jobs)
    return load_videoemotion8(root)


def read_truth(root: Path | str) -> pd.DataFrame:
    """Reads what a simulated corpus shows every half second.

    Args:
        root: folder that one of the simulators above wrote

    Returns:
        DataFrame with the columns

        - clip: as in the corpus
        - time: in seconds
        - face: of the main person: frontal, turned, covered, small or none
        - expressive: how far the face shows the category, from 0 to 1
        - telling: 1 if the scene shows the category, else 0; where telling shots are planted, 1 if
          the face shows it
        - lit: 0 in a dim shot, else 1
        - left, top, width, height: of the main face from hairline to chin, in shares of the frame;
          nan if there is none

    Raises:
        NotFoundError: if there is no such table
    """
    path = Path(root) / TRUTH
    if not path.is_file():
        raise NotFoundError(f"{path}: no such table; only simulated corpora have one")
    return pd.read_csv(path, dtype={"clip": str}, keep_default_na=False, na_values=[""])


def _draw_clips(classes, sizes, n_clips, *, first=1):
    """The videos of a corpus: clip, emotion, file. Names recur from class to class.

    Args:
        classes: names of the classes
        sizes: of the classes in the real corpus
        n_clips: number of videos
        first: number of the first video of each class
    """
    if n_clips < 4 * len(classes):
        raise ValueError(f"n_clips is at least {4 * len(classes)}, four per class, not {n_clips}")
    # Two of each class, the rest in the real proportions; the largest remainders are rounded up.
    exact = 2 + (n_clips - 2 * len(classes)) * np.array(sizes) / sum(sizes)
    counts = exact.astype(int)
    by_remainder = np.argsort(counts - exact, kind="stable")
    counts[by_remainder[: n_clips - counts.sum()]] += 1
    rows = []
    for emotion, count in zip(classes, counts, strict=True):
        for i in range(count):
            name = f"{emotion}/{first + i:04d}"
            rows.append({"clip": name, "emotion": emotion, "file": f"{name}.mp4"})
    return pd.DataFrame(rows)


def _draw_training(clips, share, seed, split=0):
    """Draws the videos to train on: the same share of every class, at least one and not all.

    Shape:
        result ``(clips,)``, boolean
    """
    rng = np.random.default_rng([seed, 1, split])
    is_training = np.zeros(len(clips), bool)
    for rows in clips.groupby("emotion", sort=False).indices.values():
        n_training = np.clip(round(share * len(rows)), 1, len(rows) - 1)
        is_training[rng.permutation(rows)[:n_training]] = True
    return is_training


def _lists(clips, is_training, classes, number, *, label_tests=False):
    """The two lists of a split: path to text. Tests carry a label only in some corpora."""
    train = []
    test = []
    for clip, emotion, trains in zip(clips["clip"], clips["emotion"], is_training, strict=True):
        labelled = f"{clip} {classes.index(emotion) + 1}\n"
        if trains:
            train.append(labelled)
        else:
            test.append(labelled if label_tests else f"{clip}\n")
    return {f"trainlist{number}.txt": "".join(train), f"testlist{number}.txt": "".join(test)}


def _make(root, name, clips, lists, seconds, seed, snr, telling, jobs):
    """Writes the videos of a corpus, its lists, and the table of what they show."""
    if telling is not None and telling not in PLANTED:
        raise ValueError(f"telling is None or one of {', '.join(PLANTED)}, not {telling!r}")
    extra = sorted(set(snr or {}) - set(SNR))
    if extra:
        raise ValueError(f"snr knows {', '.join(SNR)}, not {', '.join(extra)}")
    root = Path(root)
    every = ratios({**SNR, **(snr or {})})
    snr = {name: every[name] for name in SNR}
    corpus = ("heiv", "ekman6", "videoemotion8").index(name)
    shortest, longest = durations(np.sort(seconds))
    rng = np.random.default_rng([seed, 2, corpus])
    lengths = rng.uniform(shortest, longest, len(clips)).tolist()
    tasks = []
    for i, (file, emotion) in enumerate(zip(clips["file"], clips["emotion"], strict=True)):
        tasks.append((root, file, [seed, corpus, i], emotion.lower(), lengths[i], snr, telling))
    arguments = {
        "n_clips": len(clips),
        "seconds": list(seconds),
        "seed": seed,
        "snr": snr,
        "telling": telling,
    }
    files = [TRUTH, *lists, *clips["file"]]

    def tables():
        return lists | {TRUTH: _truth(tasks, clips["clip"])}

    build_corpus(root, name, arguments, files, tables, _write_video, tasks, jobs)


@dataclass(frozen=True)
class Shot:
    """One shot of a video, and what it shows.

    Args:
        start: number of the first frame
        stop: number of the frame after the last
        face: how the main person is seen, one of ``FACES``
        expressive: how far the face shows the category, from 0 to 1
        telling: whether the scene shows the category; of a planted shot, whether the face does
        bystander: whether a second person is there
        centre: of the main face, in pixels
        size: of the main face, from hairline to chin, in pixels
        yaw: of the main face, in radians
        lit: False in a dim shot
        misleads: whether the face shows the video's wrong category
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
    lit: bool = True
    misleads: bool = False

    def at(self, frame: int) -> tuple[float, float]:
        """Centre of the main face in one frame: it sways a little."""
        seconds = frame / VIDEO_RATE
        x = self.centre[0] + 3 * np.sin(2.0 * seconds + self.yaw)
        y = self.centre[1] + 1.5 * np.sin(1.4 * seconds)
        return x, y

    def box(self, frame: int) -> np.ndarray:
        """Left, top, width and height of the main face in one frame, in shares of the picture."""
        x, y = self.at(frame)
        width = 0.74 * self.size
        box = np.array([x - width / 2, y - self.size / 2, width, self.size])
        return box / (*SIZE, *SIZE)


def shots(seconds: float, rng: np.random.Generator, telling: str | None = None) -> list[Shot]:
    """Draws the shots of one video. The main person keeps the place from shot to shot.

    Args:
        seconds: length of the video
        rng: random generator
        telling: as for :func:`make_heiv`
    """
    stops = _draw_stops(round(seconds * VIDEO_RATE), rng)
    if telling is not None:
        return _planted_shots(stops, telling, rng)
    faces = rng.choice(list(FACES), len(stops) - 1, p=list(FACES.values()))
    faces[rng.integers(len(faces))] = "frontal"
    if rng.uniform() < FACELESS:
        faces[:] = "none"
    has_person = bool((faces != "none").any())
    size, centre = _draw_place(rng)
    result = []
    for start, stop, face in zip(stops[:-1], stops[1:], faces.tolist(), strict=True):
        # All are drawn for each shot, so that one shot's kind does not change the others.
        expressive = rng.uniform(0.5, 1)
        weak = rng.uniform(0, 0.25)
        turned = rng.uniform(0.5, 0.75)
        smaller = rng.uniform(0.62, 0.7)
        is_telling = bool(rng.uniform() < TELLING)
        has_bystander = bool(rng.uniform() < BYSTANDER and has_person)
        shown = {"frontal": expressive, "none": 0.0}.get(face, weak)
        face_size = size * (smaller if face == "small" else 1.0)
        yaw = turned * rng.choice([-1, 1]) if face == "turned" else rng.normal(0, 0.08)
        result.append(
            Shot(start, stop, face, shown, is_telling, has_bystander, centre, face_size, float(yaw))
        )
    return result


def _draw_place(rng):
    """Size and centre of the main face, in pixels."""
    side = rng.choice([-1, 1])
    size = rng.uniform(0.54, 0.62) * SIZE[1]
    x = (0.5 + side * rng.uniform(0.09, 0.14)) * SIZE[0]
    y = rng.uniform(0.5, 0.53) * SIZE[1]
    return size, (x, y)


def _planted_shots(stops, telling, rng):
    """Shots of frontal faces, lit or dim, of which those in ``telling`` show the category."""
    n = len(stops) - 1
    size, centre = _draw_place(rng)
    is_lit = rng.uniform(size=n) < LIT
    # One shot is lit for sure, and one is dim if there are several.
    order = rng.permutation(n)
    is_lit[order[1:2]] = False
    is_lit[order[0]] = True
    result = []
    for start, stop, lit in zip(stops[:-1], stops[1:], is_lit.tolist(), strict=True):
        strength = rng.uniform(0.8, 1)
        yaw = rng.normal(0, 0.08)
        tells = lit or telling == "all"
        shown = strength if tells else 0.0
        result.append(
            Shot(
                start,
                stop,
                "frontal",
                shown,
                telling=tells,
                bystander=False,
                centre=centre,
                size=size,
                yaw=float(yaw),
                lit=lit,
                misleads=not tells,
            )
        )
    return result


def _draw_stops(n_frames, rng):
    """Frame numbers at which shots of one to two seconds begin and end."""
    stops = [0]
    while stops[-1] < n_frames - 1.5 * VIDEO_RATE:
        stops.append(stops[-1] + round(rng.uniform(1, 2) * VIDEO_RATE))
    # A shot of less than half a second joins the one before.
    return [*(stop for stop in stops if stop <= n_frames - 0.5 * VIDEO_RATE), n_frames]


def _truth(tasks, clips):
    """Text of the table of what the videos show every half second."""
    rows = []
    step = TRUTH_SECONDS * VIDEO_RATE
    for (_, _, key, _, seconds, _, telling), clip in zip(tasks, clips, strict=True):
        for shot in shots(seconds, np.random.default_rng([3, *key]), telling):
            for beat in np.arange(np.ceil(shot.start / step), shot.stop / step):
                frame = int(beat * step)
                box = shot.box(frame).round(4) if shot.face != "none" else [np.nan] * 4
                seen = (
                    shot.face,
                    round(shot.expressive, 4),
                    int(shot.telling),
                    int(shot.lit),
                )
                rows.append((clip, beat * TRUTH_SECONDS, *seen, *box))
    columns = ["clip", "time", "face", "expressive", "telling", "lit", *PLACE]
    table = pd.DataFrame(rows, columns=columns)
    return table.to_csv(index=False, lineterminator="\n")


def _write_video(root, file, key, emotion, seconds, snr, telling):
    """Renders one video, without sound to speak of."""
    plan = shots(seconds, np.random.default_rng([3, *key]), telling)
    pictures = _pictures(
        plan, emotion, snr, np.random.default_rng([4, *key]), planted=telling is not None
    )
    silence = np.zeros(round(seconds * SAMPLING_RATE), np.float32)
    write_file(root / file, encode(pictures, silence, frame_rate=VIDEO_RATE))


def _pictures(plan, emotion, snr, rng, *, planted=False):
    """The frames of one video, RGB. Where shots are planted, no scene shows the category."""
    width, height = SIZE
    look = Look.draw(rng, actors=2)
    main, other = look.cast
    across = 0.2 if plan[0].centre[0] > width / 2 else 0.8  # on the other side
    other_place = np.array([across * width, rng.uniform(0.54, 0.6) * height])
    other_size = rng.uniform(0.36, 0.43) * height
    gaze = rng.normal(0, 0.2)
    # Drawn only where it is needed: the other corpora stay as they were.
    wrong = _draw_wrong(emotion, rng) if planted else None
    for shot in plan:
        shows_category = shot.telling and not planted
        scene = _scene(look, emotion if shows_category else None, snr["scene"], rng)
        if not shot.lit:
            scene = (DIM * scene).astype(np.uint8)
        units = _units(wrong if shot.misleads else emotion, shot, snr["face"], rng)
        cover = (_hand, _brim, _post)[rng.integers(3)]
        heading = rng.uniform(0, 2 * np.pi)
        for frame in range(shot.start, shot.stop):
            in_shot = (frame - shot.start) / VIDEO_RATE  # seconds
            pan = _MARGIN * (1 + 0.9 * np.sin(0.6 * in_shot + heading))
            x = round(pan)
            y = round(_MARGIN + 0.4 * (pan - _MARGIN))
            picture = scene[y : y + height, x : x + width].copy()
            if shot.bystander:
                blink = {43: float(frame % 12 < 1)}  # once in three seconds
                place = other_place + (2 * np.sin(1.6 * frame / VIDEO_RATE), 0)
                draw_face(picture, other, blink, place, other_size)
            if shot.face != "none":
                draw_face(picture, main, units, shot.at(frame), shot.size, yaw=shot.yaw, gaze=gaze)
            if shot.face == "covered":
                cover(picture, main, shot.at(frame), shot.size)
            yield picture


def _draw_wrong(emotion, rng):
    """One of the other categories of HEIV."""
    names = [label.lower() for label in HEIV_CLASSES]
    return rng.choice([name for name in names if name != emotion])


def _units(emotion, shot, snr, rng):
    """Action units of a shot: a category as far as it is expressed, with noise.

    A face that is hidden shows mostly another category. One that misleads shows the given category,
    the wrong one, as strongly as others show the right one.
    """
    noise = rng.normal(0, _SPREAD / np.sqrt(snr), len(UNITS))
    passing = rng.choice([name for name in EMFACS if name != emotion])
    strength = rng.uniform(0.3, 0.8)
    strength_shown = _MISLEADING if shot.misleads else shot.expressive
    shown = strength_shown * np.clip(_intensities(emotion) + noise, 0, 1)
    is_hidden = shot.face != "frontal"
    shown = shown + is_hidden * strength * _intensities(passing)
    return dict(zip(UNITS, np.clip(shown, 0, 1).tolist(), strict=True))


def _intensities(emotion):
    """Action units of a category, ``(units,)``."""
    is_part = np.array([unit in EMFACS[emotion] for unit in UNITS])
    return STRENGTH.get(emotion, 1.0) * is_part


def _scene(look, emotion, snr, rng):
    """The background of one shot: colours, lights and shapes of the category, or of none."""
    noise = 1 / np.sqrt(snr)
    if emotion is None:
        valence, arousal = rng.uniform(-0.6, 0.6, 2)
        hue = rng.uniform()
        shape = rng.choice(list(_SHAPES))
    else:
        valence, arousal, hue, shape = SCENES[emotion]
        valence, arousal = np.clip(rng.normal((valence, arousal), 0.3 * noise), -0.9, 0.9)
        hue = hue + rng.normal(0, 0.08 * noise)
    image = backdrop(look, valence, arousal, rng, margin=_MARGIN)
    height, width = image.shape[:2]
    for _ in range(rng.integers(9, 18)):
        x = rng.uniform(0, width)
        y = rng.uniform(0, height)
        extent = rng.uniform(6, 16)
        paint = colour(
            hue + rng.normal(0, 0.02),
            rng.uniform(0.5, 0.9),
            0.6 + 0.3 * valence + rng.uniform(-0.15, 0.15),
        )
        _SHAPES[shape](image, x, y, extent, paint, rng)
    return image


def _wedge(image, x, y, extent, paint, rng):
    turn = rng.uniform(0, 2 * np.pi) + np.array([0, 0.35, 3.3])
    points = np.stack([x + 2 * extent * np.cos(turn), y + 2 * extent * np.sin(turn)], 1)
    cv2.fillPoly(image, [np.rint(points).astype(np.int32)], paint, cv2.LINE_AA)


def _drop(image, x, y, extent, paint, rng):
    cv2.circle(image, (round(x), round(y)), round(extent), paint, -1, cv2.LINE_AA)


def _bar(image, x, y, extent, paint, rng):
    corner = (round(x + 0.6 * extent), len(image))
    cv2.rectangle(image, (round(x), 0), corner, paint, -1)


def _rain(image, x, y, extent, paint, rng):
    end = (round(x - extent), round(y + 3 * extent))
    cv2.line(image, (round(x), round(y)), end, paint, 3, cv2.LINE_AA)


_SHAPES = {"wedges": _wedge, "drops": _drop, "bars": _bar, "rain": _rain}


def _hand(picture, actor, centre, size):
    """Covers the mouth by four fingers."""
    x, y = centre
    for finger in range(4):
        start = round(x + (0.16 * finger - 0.3) * size), round(y + (0.2 + 0.02 * finger) * size)
        end = start[0] + round(0.05 * size), start[1] + round(0.2 * size)
        paint = tint(actor.skin, 0.86 + 0.05 * finger)
        cv2.line(picture, start, end, paint, max(2, round(0.15 * size)), cv2.LINE_AA)


def _brim(picture, actor, centre, size):
    """Covers the eyes by the brim of a hat."""
    _block(picture, actor, centre, size, (-0.5, -0.13), (0.5, 0.0))


def _post(picture, actor, centre, size):
    """Covers one side of the face by a post."""
    _block(picture, actor, centre, size, (0.13, -2.0), (0.45, 2.0))


def _block(picture, actor, centre, size, first, second):
    """A rectangle between two corners, given in face heights from the centre."""
    corners = [
        (round(centre[0] + x * size), round(centre[1] + y * size)) for x, y in (first, second)
    ]
    cv2.rectangle(picture, *corners, tint(actor.cloth, 0.6), -1)
