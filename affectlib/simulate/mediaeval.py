"""Simulated MediaEval 2018 (whole films, annotated every second) and 2015 (excerpts with classes).

Two of the organisers' features of 2018 are written, with the real sizes and file names: openSMILE's
(``audio``), and the colour layout (``cl``), which is computed in the spirit of its name. No
notebook reads the ten others.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from affectlib.corpora.base import Corpus
from affectlib.corpora.mediaeval import PARTS, load_mediaeval15, load_mediaeval18
from affectlib.simulate.affect import remembered_course
from affectlib.simulate.build import (
    ANNOTATION_HERTZ,
    SAMPLING_RATE,
    build_corpus,
    durations,
    encode,
    film_rng,
    no_tables,
    ratios,
    render,
    write_file,
)
from affectlib.simulate.liris_accede import (
    EXCERPTS_PER_FILM,
    Excerpt,
    excerpt_course,
    write_excerpt,
)

FRAME_RATE = 6.25  # pictures per second; features are taken once a second
SNR = {"sound": 4.0, "scene": 1.0, "motion": 2.0, "face": 0.7}
FEATURES = ("audio", "cl")
N_TRAIN = 54  # of the 66 real films; the twelve others test
N_FILMS = 66
CLASS_TABLES = (
    "annotations/ACCEDEaffect.txt",
    "annotations/MEDIAEVALaffect.txt",
    "annotations/MEDIAEVALsets.txt",
    "ACCEDEdescription.xml",
    "MEDIAEVALdescription.xml",
    "MEDIAEVAL-mapping/shots-devset-nl.txt",
    "MEDIAEVAL-mapping/shots-testset-nl.txt",
)


def make_mediaeval18(
    root: Path | str,
    *,
    n_films: int = 12,
    test_films: int | None = None,
    seconds: float = 72.0,
    memory: float = 0.0,
    seed: int = 0,
    snr: Mapping[str, float] | None = None,
    features: Sequence[str] = FEATURES,
    jobs: int = 2,
) -> Corpus:
    """Writes a simulated MediaEval 2018 and loads it.

    Film numbers are drawn evenly from the real ones, so that the official split and all parts
    occur.

    Args:
        root: folder of the corpus, created if absent
        n_films: number of films, from 3 to 66
        test_films: how many of them test, at most 12; None for a third of them
        seconds: length of each film
        memory: seconds that an audience remembers. Sound and pictures show the affect of the
            moment; the annotation is its leaky integral over the past (``remembered_course`` in
            :mod:`affectlib.simulate.affect`). With 0 the annotation is what is shown: then no model
            can gain by looking back, but for averaging noise away
        seed: of everything; the files do not depend on ``jobs``
        snr: signal-to-noise ratio by modality: how well sound, scene, motion and face show the
            affect of the moment; a modality that is missing is taken from ``SNR``, in which sound
            carries most. Motion shows arousal only
        features: which of the organisers' features to write, one file per second each
        jobs: processes; above 1 a script needs the usual ``if __name__ == "__main__":``

    Returns:
        Corpus, as ``load_mediaeval18`` gives it

    Raises:
        ValueError: if an argument is out of its range
        FileFormatError: if ``root`` holds files that no simulator wrote
    """
    if not 3 <= n_films <= N_FILMS:
        raise ValueError(f"n_films lies between 3 and {N_FILMS}, not at {n_films}")
    unknown = sorted(set(features) - set(FEATURES))
    if unknown:
        raise ValueError(f"unknown features {', '.join(unknown)}; there are {', '.join(FEATURES)}")
    if not 0 <= memory < np.inf:
        raise ValueError(f"memory is a number of seconds, at least 0, not {memory}")
    root = Path(root)
    snr = ratios({**SNR, **(snr or {})})
    length = durations(seconds)
    names = [name for name in FEATURES if name in features]
    n_test = _checked_test_films(test_films, n_films)
    train = np.linspace(0, N_TRAIN - 1, n_films - n_test).round().astype(int)
    test = np.linspace(N_TRAIN, N_FILMS - 1, n_test).round().astype(int)
    tasks = []
    files = []
    for film in [*train.tolist(), *test.tolist()]:
        clip = f"MEDIAEVAL18_{film:02d}"
        tasks.append((root, clip, seed, film, length, memory, snr, names))
        files += _files(clip, film, int(seconds), names)
    arguments = {
        "n_films": n_films,
        "test_films": n_test,
        "seconds": seconds,
        "memory": memory,
        "seed": seed,
        "snr": snr,
        "features": names,
    }
    build_corpus(root, "mediaeval18", arguments, files, no_tables, _write_film, tasks, jobs)
    return load_mediaeval18(root)


def make_mediaeval15(
    root: Path | str,
    *,
    n_clips: int = 36,
    seconds: tuple[float, float] = (8.0, 12.0),
    seed: int = 0,
    snr: Mapping[str, float] | None = None,
    jobs: int = 2,
) -> Corpus:
    """Writes a simulated MediaEval 2015 and loads it.

    Its classes are the thirds of the simulated values. A third of the excerpts test; four excerpts
    share a source film.

    Args:
        root: as for ``make_mediaeval18``
        n_clips: number of excerpts, 12 or more
        seconds: shortest and longest excerpt
        seed: as for ``make_mediaeval18``
        snr: as for ``make_mediaeval18``
        jobs: as for ``make_mediaeval18``

    Returns:
        Corpus, as ``load_mediaeval15`` gives it

    Raises:
        ValueError: if an argument is out of its range
        FileFormatError: if ``root`` holds files that no simulator wrote
    """
    if n_clips < 12:
        raise ValueError(f"n_clips is at least 12, not {n_clips}")
    root = Path(root)
    snr = ratios({**SNR, **(snr or {})})
    rng = np.random.default_rng(seed)
    shortest, longest = durations(np.sort(seconds))
    n_test = n_clips // 3
    names = [f"ACCEDE{i:05d}" for i in range(n_clips - n_test)]
    names += [f"MEDIAEVAL{i:05d}" for i in range(n_test)]
    levels = np.clip(rng.normal(0, 0.45, (n_clips, 2)), -0.9, 0.9).tolist()
    lengths = rng.uniform(shortest, longest, n_clips)
    excerpts = []
    for i, (name, length, level) in enumerate(zip(names, lengths, levels, strict=True)):
        excerpts.append(Excerpt(root, name, seed, i, length, snr, tuple(level), FRAME_RATE))
    files = [f"data/{name}.mp4" for name in names] + list(CLASS_TABLES)
    arguments = {"n_clips": n_clips, "seconds": list(seconds), "seed": seed, "snr": snr}

    def tables():
        return _class_tables(excerpts)

    build_corpus(root, "mediaeval15", arguments, files, tables, write_excerpt, excerpts, jobs)
    return load_mediaeval15(root)


def _checked_test_films(test_films, n_films):
    """Number of test films; at least one film has to train and one to validate."""
    most = min(N_FILMS - N_TRAIN, n_films - 2)
    if test_films is None:
        return min(most, max(1, n_films // 3))
    if not 1 <= test_films <= most or n_films - test_films > N_TRAIN:
        raise ValueError(
            f"test_films of {n_films} films lies between 1 and {most}, not at {test_films}; "
            f"at most {N_TRAIN} films do not test"
        )
    return test_films


def _files(clip, film, n_seconds, names):
    """Every file of one film: the film, its annotation, then its features second by second."""
    part = next(part for part, numbers in PARTS.items() if film in numbers)
    head = f"MEDIAEVAL18-{part}-"
    files = [
        f"{head}Data/data/{clip}.mp4",
        f"{head}Valence_Arousal-annotations/annotations/{clip}_Valence-Arousal.txt",
    ]
    sounds = f"{head}Audio_features/audio_features/{clip}"
    pictures = f"{head}Visual_features/visual_features/{clip}"
    for name in names:
        for second in range(1, n_seconds + 1):
            if name == "audio":
                files.append(f"{sounds}/{clip}_{second:05d}.csv")
            else:
                files.append(f"{pictures}/{name}/{clip}-{second:05d}_{name}.txt")
    return files


def _write_film(root, clip, seed, index, seconds, memory, snr, names):
    """Renders one film, and writes its annotation and the organisers' features."""
    rng = np.random.default_rng([seed, 0, index])
    shown, felt = remembered_course(seconds, hertz=ANNOTATION_HERTZ, memory=memory, rng=rng)
    pictures, signal = render(*shown.T, snr, rng, film_rng(seed, index), FRAME_RATE)
    layouts: list[np.ndarray] = []
    content = encode(_collect_layouts(pictures, layouts), signal, frame_rate=FRAME_RATE)
    n_seconds = int(seconds)
    film, annotation, *feature_files = _files(clip, index, n_seconds, names)
    write_file(root / film, content)
    write_file(root / annotation, _series(felt, n_seconds).encode())
    texts = []
    for name in names:
        for second in range(n_seconds):
            if name == "audio":
                block = signal[second * SAMPLING_RATE : (second + 1) * SAMPLING_RATE]
                texts.append(_arff(block))
            else:
                texts.append(",".join(f"{value:.6g}" for value in layouts[second]))
    for file, text in zip(feature_files, texts, strict=True):
        write_file(root / file, text.encode())


def _series(felt, n_seconds):
    """The annotation file of a film: the mean over each second."""
    values = felt[: n_seconds * ANNOTATION_HERTZ]
    means = values.reshape(n_seconds, ANNOTATION_HERTZ, 2).mean(1)
    rows = ["Time\tValence\tArousal"]
    rows += [f"{second}\t{v:.4f}\t{a:.4f}" for second, (v, a) in enumerate(means)]
    return "\n".join(rows) + "\n"


def _collect_layouts(
    pictures: Iterable[np.ndarray], layouts: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Passes the pictures on; the colour layout of the first of each second goes into a list."""
    for i, picture in enumerate(pictures):
        if i >= len(layouts) * FRAME_RATE:
            layouts.append(colour_layout(picture))
        yield picture


def _class_tables(excerpts):
    """Annotation files of the classes: path to text. LIRIS-ACCEDE's excerpts are for training."""
    names = [excerpt.clip for excerpt in excerpts]
    classes = dict(zip(names, _classes(excerpts), strict=True))
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


def _classes(excerpts):
    """Classes -1, 0 and 1 of each excerpt: the thirds of the means of valence and of arousal.

    Shape:
        result ``(excerpts, 2)``
    """
    means = []
    for excerpt in excerpts:
        _, valence, arousal = excerpt_course(
            excerpt.seed, excerpt.index, excerpt.seconds, excerpt.level
        )
        means.append(np.mean([valence, arousal], axis=1))
    means = np.array(means)
    is_high = means > np.quantile(means, 2 / 3, axis=0)
    is_low = means < np.quantile(means, 1 / 3, axis=0)
    return is_high.astype(int) - is_low.astype(int)


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
    """openSMILE's extractor, and the head of a file of its values."""
    import opensmile

    smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
    attributes = "\n".join(f"@attribute {name} numeric" for name in smile.feature_names)
    header = (
        "@relation openSMILE\n\n@attribute name string\n"
        f"{attributes}\n@attribute class numeric\n\n@data\n\n"
    )
    return smile, header


def _arff(signal):
    """One second of sound as the organisers give it: 1,582 values between a name and a class."""
    smile, header = _smile()
    values = np.nan_to_num(smile(signal, SAMPLING_RATE).ravel())
    cells = ",".join(f"{value:.6e}" for value in values)
    return f"{header}'unknown',{cells},?\n"


def colour_layout(picture: np.ndarray) -> np.ndarray:
    """The lowest cosine coefficients of an 8 x 8 icon: 21 of the light, 6 of each colour.

    Args:
        picture: RGB

    Shape:
        picture ``(height, width, 3)`` uint8; result ``(33,)``

    Examples:
        >>> colour_layout(np.zeros((90, 160, 3), np.uint8)).shape
        (33,)
    """
    small = cv2.resize(picture, (160, 90), interpolation=cv2.INTER_AREA)
    icon = cv2.resize(small, (8, 8), interpolation=cv2.INTER_AREA)
    icon = cv2.cvtColor(icon, cv2.COLOR_RGB2YCrCb)
    # From low to high frequencies: by the sum of the two indices.
    order = np.argsort(np.add.outer(np.arange(8), np.arange(8)).ravel(), kind="stable")
    coefficients = []
    for channel, n_kept in enumerate((21, 6, 6)):
        spectrum = cv2.dct(icon[..., channel].astype(np.float32)).ravel()[order]
        coefficients.append(spectrum[:n_kept])
    return np.concatenate(coefficients).astype(np.float32)
