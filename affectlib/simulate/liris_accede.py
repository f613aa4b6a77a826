"""Simulated LIRIS-ACCEDE, discrete part: short excerpts of films, ranked by valence and arousal."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from affectlib.corpora.base import Corpus
from affectlib.corpora.liris_accede import load_eimt16
from affectlib.simulate.affect import course
from affectlib.simulate.build import (
    ANNOTATION_HERTZ,
    FRAME_RATE,
    build_corpus,
    durations,
    encode,
    film_rng,
    ratios,
    render,
    write_file,
)

EXCERPTS_PER_FILM = 4  # of the training part; each test excerpt has a film of its own
TEST_PREFIX = "MEDIAEVAL16_"
TEST_SHARE = 0.25
RANKING = "annotations/ACCEDEranking.txt"
SETS = "annotations/ACCEDEsets.txt"
DESCRIPTION = "ACCEDEdescription.xml"
TEST_LABELS = "MEDIAEVAL16-Global_prediction.txt"
# The real test excerpts are more arousing: 3.40 against 2.46 on the scale of 1 to 5.
AROUSAL_LEVEL = {"train": -0.27, "test": 0.2}


class Excerpt(NamedTuple):
    """One excerpt to write; also the arguments of :func:`write_excerpt`.

    Args:
        root: folder of the corpus
        clip: name of the excerpt, without its ending
        seed: of the corpus
        index: of the excerpt
        seconds: its length
        snr: signal-to-noise ratio by modality
        level: valence and arousal around which it moves
        frame_rate: pictures per second
    """

    root: Path
    clip: str
    seed: int
    index: int
    seconds: float
    snr: Mapping[str, float]
    level: tuple[float, float]
    frame_rate: float = FRAME_RATE


def make_eimt16(
    root: Path | str,
    *,
    n_clips: int = 80,
    seconds: tuple[float, float] = (8.0, 12.0),
    seed: int = 0,
    snr: Mapping[str, float] | None = None,
    jobs: int = 2,
) -> Corpus:
    """Writes a simulated LIRIS-ACCEDE with the test excerpts of EIMT16 and loads it.

    A quarter of the excerpts are test. As in the real corpus, test excerpts are more arousing than
    those to train on. Four training excerpts share a source film. Each test excerpt comes from a
    film of its own: no file names the films of test excerpts, so excerpts with a common film could
    not be taken together as one unit.

    Args:
        root: as for ``make_cognimuse``
        n_clips: number of excerpts, training and test together
        seconds: shortest and longest excerpt
        seed: as for ``make_cognimuse``
        snr: as for ``make_cognimuse``
        jobs: as for ``make_cognimuse``

    Returns:
        Corpus, as ``load_eimt16`` gives it

    Raises:
        ValueError: if an argument is out of its range
        FileFormatError: if ``root`` holds files that no simulator wrote
    """
    if n_clips < 8:
        raise ValueError(f"n_clips is at least 8, not {n_clips}")
    root = Path(root)
    snr = ratios(snr)
    rng = np.random.default_rng(seed)
    shortest, longest = durations(np.sort(seconds))
    n_test = round(n_clips * TEST_SHARE)
    excerpts = []
    for prefix, part, count in (
        ("ACCEDE", "train", n_clips - n_test),
        (TEST_PREFIX, "test", n_test),
    ):
        levels = _levels(count, AROUSAL_LEVEL[part], rng)
        lengths = rng.uniform(shortest, longest, count)
        for i, (length, level) in enumerate(zip(lengths, levels, strict=True)):
            name = f"{prefix}{i:05d}"
            excerpts.append(Excerpt(root, name, seed, len(excerpts), length, snr, tuple(level)))
    files = [f"data/{excerpt.clip}.mp4" for excerpt in excerpts]
    files += [RANKING, SETS, DESCRIPTION, TEST_LABELS]
    arguments = {"n_clips": n_clips, "seconds": list(seconds), "seed": seed, "snr": snr}

    def tables():
        return _annotations(excerpts)

    build_corpus(root, "eimt16", arguments, files, tables, write_excerpt, excerpts, jobs)
    return load_eimt16(root)


def _levels(count, arousal, rng):
    """Levels of valence and arousal of some excerpts, with the same spread for any number."""
    drawn = rng.standard_normal((2, count))
    spread = 0.35 * (drawn - drawn.mean(1, keepdims=True)) / drawn.std(1, keepdims=True)
    return np.clip(spread.T + (0, arousal), -0.9, 0.9).tolist()


def excerpt_course(
    seed: int, index: int, seconds: float, level: tuple[float, float]
) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """The generator of one excerpt, and its valence and arousal over time, around their level.

    Args:
        seed: of the corpus
        index: of the excerpt
        seconds: its length
        level: valence and arousal around which it moves
    """
    rng = np.random.default_rng([seed, 0, index])
    _, valence, arousal = course(
        seconds, hertz=ANNOTATION_HERTZ, rng=rng, mean=level, deviation=0.12
    )
    return rng, valence, arousal


def write_excerpt(
    root: Path,
    clip: str,
    seed: int,
    index: int,
    seconds: float,
    snr: Mapping[str, float],
    level: tuple[float, float],
    frame_rate: float = FRAME_RATE,
) -> None:
    """Renders one excerpt into ``data/``. Excerpts of one source film share its look.

    Args:
        root, clip, seed, index, seconds, snr, level, frame_rate: see :class:`Excerpt`
    """
    rng, valence, arousal = excerpt_course(seed, index, seconds, level)
    look_rng = film_rng(seed, source_film(clip))
    pictures, signal = render(valence, arousal, snr, rng, look_rng, frame_rate)
    write_file(root / "data" / f"{clip}.mp4", encode(pictures, signal, frame_rate=frame_rate))


def source_film(clip: str) -> int:
    """Number of the film that an excerpt is cut from; no film gives excerpts to both parts.

    Args:
        clip: name of the excerpt, which ends in its number

    Examples:
        >>> [source_film(f"ACCEDE{i:05d}") for i in (0, 3, 4)]
        [0, 0, 1]
        >>> [source_film(f"MEDIAEVAL{i:05d}") for i in (0, 3, 4)]
        [5000, 5000, 5001]
        >>> [source_film(f"MEDIAEVAL16_{i:05d}") for i in (0, 3, 4)]
        [10000, 10003, 10004]
    """
    number = int(clip[-5:])
    if clip.startswith(TEST_PREFIX):
        return 10000 + number
    film = number // EXCERPTS_PER_FILM
    return 5000 + film if clip.startswith("MEDIAEVAL") else film


def _annotations(excerpts):
    """The four annotation files of the excerpts: path to text, lines ended as in the real files."""
    values = {}
    for excerpt in excerpts:
        _, valence, arousal = excerpt_course(
            excerpt.seed, excerpt.index, excerpt.seconds, excerpt.level
        )
        values[excerpt.clip] = 3 + 2 * np.mean([valence, arousal], axis=1)
    train = [excerpt for excerpt in excerpts if excerpt.clip.startswith("ACCEDE")]
    test = [excerpt for excerpt in excerpts if not excerpt.clip.startswith("ACCEDE")]
    labels = []
    for excerpt in test:
        valence, arousal = values[excerpt.clip]
        labels.append(f"{excerpt.clip}.mp4\t{valence:.6f}\t{arousal:.6f}")
    return {
        RANKING: "\n".join(_ranking(train, values)) + "\n",
        SETS: "\r\n".join(_sets(train)) + "\r\n",
        DESCRIPTION: "\n".join(_description(train)) + "\n",
        TEST_LABELS: "\r".join(labels),
    }


def _ranking(excerpts, values):
    """Rows of ``ACCEDEranking.txt``."""
    names = ("id", "name", "valenceRank", "arousalRank", "valenceValue", "arousalValue")
    rows = ["\t".join([*names, "valenceVariance", "arousalVariance"])]
    ordered = np.array([values[excerpt.clip] for excerpt in excerpts])  # (excerpts, 2)
    ranks = ordered.argsort(0).argsort(0)
    for i, excerpt in enumerate(excerpts):
        valence, arousal = values[excerpt.clip]
        numbers = [*ranks[i], f"{valence:.6f}", f"{arousal:.6f}", 0.1, 0.1]
        cells = [i, f"{excerpt.clip}.mp4", *numbers]
        rows.append("\t".join(str(cell) for cell in cells))
    return rows


def _sets(excerpts):
    """Rows of ``ACCEDEsets.txt``: of four films one to learn, one to validate, two to test."""
    rows = ["id\tname\tset"]
    for i, excerpt in enumerate(excerpts):
        film = i // EXCERPTS_PER_FILM
        rows.append(f"{i}\t{excerpt.clip}.mp4\t{(1, 2, 0, 0)[film % 4]}")
    return rows


def _description(excerpts):
    """Lines of ``ACCEDEdescription.xml``: source film, first and last frame of each excerpt."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<library>"]
    start = 0
    for i, excerpt in enumerate(excerpts):
        if i % EXCERPTS_PER_FILM == 0:
            start = 0
        end = start + round(excerpt.seconds * FRAME_RATE)
        movie = f"Film {i // EXCERPTS_PER_FILM:03d}.mp4"
        lines.append(
            f"<media><id>{i}</id><name>{excerpt.clip}.mp4</name><license>simulated</license>"
            f"<movie>{movie}</movie><start>{start}</start><end>{end}</end></media>"
        )
        start = end
    return [*lines, "</library>"]
