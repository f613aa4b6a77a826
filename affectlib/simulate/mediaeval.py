"""Simulated MediaEval 2018 (whole films, annotated every second, with the organisers' features) and 2015 (classes).

The organisers' features have the real sizes and file names and are taken from the rendered picture and sound, each in
the spirit of its name but not to its letter; ``fc6`` is a fixed random projection of the picture.
"""

import functools
from pathlib import Path

import cv2
import numpy as np

from affectlib.corpora.mediaeval import PARTS, load_mediaeval15, load_mediaeval18
from affectlib.simulate.affect import course
from affectlib.simulate.build import (
    ANNOTATION_HERTZ,
    SAMPLING_RATE,
    build_corpus,
    durations,
    encode,
    film_rng,
    put,
    ratios,
    render,
)
from affectlib.simulate.liris_accede import EXCERPTS_PER_FILM, excerpt_course, write_excerpt

FRAME_RATE = 6.25  # features are looked at once a second
SNR = {"sound": 4.0, "scene": 1.0, "motion": 2.0, "face": 0.7}
VISUAL = ("acc", "cedd", "cl", "eh", "fcth", "gabor", "jcd", "sc", "tamura", "lbp", "fc6")
FEATURES = ("audio", *VISUAL)
CLASS_TABLES = (
    "annotations/ACCEDEaffect.txt",
    "annotations/MEDIAEVALaffect.txt",
    "annotations/MEDIAEVALsets.txt",
    "ACCEDEdescription.xml",
    "MEDIAEVALdescription.xml",
    "MEDIAEVAL-mapping/shots-devset-nl.txt",
    "MEDIAEVAL-mapping/shots-testset-nl.txt",
)
_WIDTH, _HEIGHT = 160, 90  # of the pictures that are described


def make_mediaeval18(
    root, *, n_films=12, seconds=72.0, seed=0, snr=None, features=FEATURES, jobs=2
):
    """Writes a simulated MediaEval 2018 and loads it.

    Film numbers are drawn evenly from the real ones, so that the official split and all parts occur; 12 of 66 test.

    Args:
        root: folder of the corpus, created where absent
        n_films: films, from 3 to 66; a third of them, at most 12, test
        seconds: length of each film
        seed: of everything; the files do not depend on ``jobs``
        snr: signal-to-noise ratio of what sound, scene, motion and face show of the annotated affect, those missing
            taken from ``SNR``, in which sound carries most. Motion shows arousal only
        features: which of the organisers' features to write, one file per second each
        jobs: processes. Above 1 a script needs the usual ``if __name__ == "__main__":``

    Returns:
        Corpus, as ``load_mediaeval18`` gives it

    Raises:
        ValueError: if an argument is out of its range
        CorpusFormatError: if ``root`` holds files that no simulator wrote
    """
    if not 3 <= n_films <= 66 or (unknown := set(features) - set(FEATURES)):
        raise ValueError(
            f"unknown features {', '.join(sorted(unknown))}"
            if 3 <= n_films <= 66
            else f"n_films lies between 3 and 66, not at {n_films}"
        )
    root, snr, test = Path(root), ratios({**SNR, **(snr or {})}), min(12, max(1, n_films // 3))
    films = [
        *np.linspace(0, 53, n_films - test).round().astype(int),
        *np.linspace(54, 65, test).round().astype(int),
    ]
    names = [name for name in FEATURES if name in features]
    tasks = [
        (root, f"MEDIAEVAL18_{film:02d}", seed, int(film), durations(seconds), snr, names)
        for film in films
    ]
    files = [
        name
        for _, clip, _, film, _, _, _ in tasks
        for name in _files(clip, film, int(seconds), names)
    ]
    arguments = {
        "n_films": n_films,
        "seconds": seconds,
        "seed": seed,
        "snr": snr,
        "features": names,
    }
    build_corpus(root, "mediaeval18", arguments, files, lambda: {}, _write_film, tasks, jobs)
    return load_mediaeval18(root)


def make_mediaeval15(root, *, n_clips=36, seconds=(8.0, 12.0), seed=0, snr=None, jobs=2):
    """Writes a simulated MediaEval 2015 and loads it.

    Its classes are the thirds of the simulated values. A third of the excerpts test; four share a source film.

    Args:
        root, seed, jobs: as for ``make_mediaeval18``
        n_clips: excerpts, 12 or more
        seconds: shortest and longest excerpt
        snr: as for ``make_mediaeval18``

    Returns:
        Corpus, as ``load_mediaeval15`` gives it

    Raises:
        ValueError: if an argument is out of its range
        CorpusFormatError: if ``root`` holds files that no simulator wrote
    """
    if n_clips < 12:
        raise ValueError(f"n_clips is at least 12, not {n_clips}")
    root, snr, rng = Path(root), ratios({**SNR, **(snr or {})}), np.random.default_rng(seed)
    lengths, test = durations(np.sort(seconds)), n_clips // 3
    levels = np.clip(rng.normal(0, 0.45, (n_clips, 2)), -0.9, 0.9).tolist()
    names = [f"ACCEDE{i:05d}" for i in range(n_clips - test)] + [
        f"MEDIAEVAL{i:05d}" for i in range(test)
    ]
    tasks = [
        (root, name, seed, i, length, snr, tuple(level), FRAME_RATE)
        for i, (name, length, level) in enumerate(
            zip(names, rng.uniform(*lengths, n_clips), levels, strict=True)
        )
    ]
    files = [f"data/{name}.mp4" for name in names] + list(CLASS_TABLES)
    arguments = {"n_clips": n_clips, "seconds": list(seconds), "seed": seed, "snr": snr}
    build_corpus(
        root,
        "mediaeval15",
        arguments,
        files,
        lambda: _class_tables(tasks),
        write_excerpt,
        tasks,
        jobs,
    )
    return load_mediaeval15(root)


def _files(clip, film, seconds, names):
    """Every file of one film: the film, its annotation, then its features."""
    part = next(name for name, numbers in PARTS.items() if film in numbers)
    head = f"MEDIAEVAL18-{part}-"
    yield f"{head}Data/data/{clip}.mp4"
    yield f"{head}Valence_Arousal-annotations/annotations/{clip}_Valence-Arousal.txt"
    for name in names:
        for second in range(1, seconds + 1):
            yield (
                f"{head}Audio_features/audio_features/{clip}/{clip}_{second:05d}.csv"
                if name == "audio"
                else f"{head}Visual_features/visual_features/{clip}/{name}/{clip}-{second:05d}_{name}.txt"
            )


def _write_film(root, clip, seed, index, seconds, snr, names):
    rng = np.random.default_rng([seed, 0, index])
    _, valence, arousal = course(seconds, hertz=ANNOTATION_HERTZ, rng=rng)
    pictures, signal = render(valence, arousal, snr, rng, film_rng(seed, index), FRAME_RATE)
    seen, whole = [], int(seconds)
    content = encode(_watched(pictures, seen, names), signal, frame_rate=FRAME_RATE)
    film, annotation, *files = _files(clip, index, whole, names)
    put(root / film, content)
    means = (
        np.stack([valence, arousal], 1)[: whole * ANNOTATION_HERTZ]
        .reshape(whole, ANNOTATION_HERTZ, 2)
        .mean(1)
    )
    rows = "".join(f"{second}\t{v:.4f}\t{a:.4f}\n" for second, (v, a) in enumerate(means))
    put(root / annotation, f"Time\tValence\tArousal\n{rows}".encode())
    for file, (name, second) in zip(
        files, ((n, s) for n in names for s in range(whole)), strict=True
    ):
        if name == "audio":
            text = _arff(signal[second * SAMPLING_RATE : (second + 1) * SAMPLING_RATE])
        else:
            text = ",".join(f"{value:.6g}" for value in seen[second][name])
        put(root / file, text.encode())


def _watched(pictures, seen, names):
    """Hands the pictures on, and describes the first of each second on the way."""
    for i, picture in enumerate(pictures):
        if i >= len(seen) * FRAME_RATE:
            seen.append(describe(picture, [name for name in names if name != "audio"]))
        yield picture


def _class_tables(tasks):
    """Annotation files of the classes: path to text. The excerpts of LIRIS-ACCEDE are to train on."""
    names = [name for _, name, *_ in tasks]
    classes = dict(zip(names, _classes(tasks), strict=True))
    accede = [name for name in names if name.startswith("ACCEDE")]
    mediaeval = [name for name in names if name.startswith("MEDIAEVAL")]
    shots = {name: f"SHOT_{i:06d}\t{name}.mp4" for i, name in enumerate(names)}
    lines = (
        _class_rows(accede, classes),
        _class_rows(mediaeval, classes),
        ["id\tname\tset", *(f"{i}\t{name}.mp4\t0" for i, name in enumerate(mediaeval))],
        _description(accede, "ACCEDE"),
        _description(mediaeval, "MEDIAEVAL"),
        [shots[name] for name in accede],
        [shots[name] for name in mediaeval],
    )
    texts = ["\n".join(rows) + "\n" for rows in lines]
    return dict(zip(CLASS_TABLES, texts, strict=True))


def _classes(tasks):
    """Classes -1, 0 and 1 of each excerpt: the thirds of the means of valence and of arousal.

    Shape:
        result ``(excerpts, 2)``
    """
    means = []
    for _, _, seed, i, seconds, _, level, _ in tasks:
        _, valence, arousal = excerpt_course(seed, i, seconds, level)
        means.append(np.mean([valence, arousal], axis=1))
    means = np.array(means)
    high = means > np.quantile(means, 2 / 3, axis=0)
    low = means < np.quantile(means, 1 / 3, axis=0)
    return high.astype(int) - low.astype(int)


def _class_rows(names, classes):
    """Rows of a table of classes."""
    rows = ["id\tname\tvalenceClass\tarousalClass"]
    for i, name in enumerate(names):
        valence, arousal = classes[name]
        rows.append(f"{i}\t{name}.mp4\t{valence}\t{arousal}")
    return rows


def _description(names, prefix):
    """Lines of a description: of which film an excerpt is."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<library>"]
    for i, name in enumerate(names):
        movie = f"{prefix} {i // EXCERPTS_PER_FILM:03d}.mp4"
        lines.append(f"<media><id>{i}</id><name>{name}.mp4</name><movie>{movie}</movie></media>")
    return [*lines, "</library>"]


@functools.cache
def _smile():
    import opensmile

    smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
    attributes = "\n".join(f"@attribute {name} numeric" for name in smile.feature_names)
    return (
        smile,
        f"@relation openSMILE\n\n@attribute name string\n{attributes}\n@attribute class numeric\n\n@data\n\n",
    )


def _arff(signal):
    """One second of sound as the organisers give it: openSMILE's 1,582 values between a name and a class."""
    smile, header = _smile()
    values = np.nan_to_num(smile(signal, SAMPLING_RATE).ravel())
    return f"{header}'unknown',{','.join(f'{value:.6e}' for value in values)},?\n"


def describe(picture, names=VISUAL):
    """The organisers' visual features of one picture.

    Args:
        picture: RGB
        names: which

    Shape:
        picture ``(height, width, 3)``, uint8; results ``(size,)`` by name

    Examples:
        >>> {name: len(values) for name, values in describe(np.zeros((90, 160, 3), np.uint8), ("cl", "sc")).items()}
        {'cl': 33, 'sc': 64}
    """
    small = cv2.resize(picture, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    hsv, grey = (
        cv2.cvtColor(small, cv2.COLOR_RGB2HSV),
        cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255,
    )
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(grey, cv2.CV_32F, 0, 1) / 8
    speed, angle = np.hypot(dx, dy), (np.arctan2(dy, dx) / np.pi) % 1
    fine = hsv[..., 0] // 12 % 16 * 4 + hsv[..., 1] // 128 * 2 + hsv[..., 2] // 128  # 64 colours
    coarse = (hsv[..., 0] // 23).astype(int) * 3 + hsv[..., 2] // 86  # 24 colours
    ways = {
        "acc": lambda: _correlogram(fine),
        "cl": lambda: _layout(small),
        "sc": lambda: _shares(fine, 64),
        "lbp": lambda: _shares(_local_patterns(grey), 256),
        "cedd": lambda: _joint(angle, speed, coarse, 6),
        "jcd": lambda: _joint(angle, speed, coarse, 7),
        "fcth": lambda: _joint(np.clip(speed * 8, 0, 0.999), speed, coarse, 8),
        "eh": lambda: _edges(angle, speed),
        "gabor": lambda: _gabor(grey),
        "tamura": lambda: np.r_[
            cv2.resize(grey, None, fx=0.25, fy=0.25).std() / max(grey.std(), 1e-6),
            grey.std(),
            _shares((angle * 16).astype(int) % 16, 16, speed),
        ],
        "fc6": lambda: np.maximum(cv2.resize(small, (16, 9)).ravel() / 255 @ _projection(), 0),
    }
    return {name: np.asarray(ways[name](), np.float32) for name in names}


def _shares(bins, n, weights=None):
    counts = np.bincount(bins.ravel(), None if weights is None else weights.ravel(), n)
    return counts / max(counts.sum(), 1e-9)


def _joint(texture, weight, colours, n):
    """Histogram of ``n`` textures by 24 colours."""
    return _shares(
        np.minimum((texture * n).astype(int), n - 1) * 24 + colours, n * 24, weight + 1e-4
    )


def _correlogram(colours):
    """Per colour, how often a neighbour at distance 1, 3, 5 and 7 has the same."""
    total = np.maximum(np.bincount(colours.ravel(), minlength=64), 1)
    same = [(colours[:, d:] == colours[:, :-d], colours[:, d:]) for d in (1, 3, 5, 7)]
    return np.concatenate([np.bincount(c[equal], minlength=64) / total for equal, c in same])


def _layout(picture):
    """The lowest cosine coefficients of an 8 x 8 icon: 21 of the light, 6 of each colour."""
    icon = cv2.cvtColor(
        cv2.resize(picture, (8, 8), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb
    )
    order = np.argsort(np.add.outer(np.arange(8), np.arange(8)).ravel(), kind="stable")
    spectra = [
        cv2.dct(icon[..., channel].astype(np.float32)).ravel()[order] for channel in range(3)
    ]
    return np.concatenate([spectra[0][:21], spectra[1][:6], spectra[2][:6]])


def _local_patterns(grey):
    middle, bits = (
        grey[1:-1, 1:-1],
        [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)],
    )
    rows, columns = middle.shape
    return sum(
        (grey[y : y + rows, x : x + columns] >= middle).astype(int) << k
        for k, (y, x) in enumerate(bits)
    )


def _edges(angle, speed):
    """Four directions and no direction, in each of 4 x 4 parts of the picture."""
    kinds = np.where(speed < 0.01, 4, (angle * 4 + 0.5).astype(int) % 4)
    parts = [part for band in np.array_split(kinds, 4) for part in np.array_split(band, 4, axis=1)]
    return np.concatenate([_shares(part, 5) for part in parts])


def _gabor(grey):
    replies = [cv2.filter2D(grey, cv2.CV_32F, kernel) for kernel in _kernels()]
    return np.array([(reply.mean(), reply.std()) for reply in replies]).ravel()


@functools.cache
def _kernels():
    return [
        cv2.getGaborKernel((15, 15), 3, np.pi * k / 6, wave, 0.7)
        for wave in (3, 4, 6, 8, 11)
        for k in range(6)
    ]


@functools.cache
def _projection():
    return np.random.default_rng(4096).normal(0, 0.1, (16 * 9 * 3, 4096)).astype(np.float32)
