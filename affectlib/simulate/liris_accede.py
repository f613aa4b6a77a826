"""Simulated LIRIS-ACCEDE, discrete part: short excerpts of films, ranked by valence and arousal."""

from pathlib import Path

import numpy as np

from affectlib.simulate.affect import course
from affectlib.simulate.build import (
    ANNOTATION_HERTZ,
    FRAME_RATE,
    build_corpus,
    durations,
    encode,
    film_rng,
    put,
    ratios,
    render,
)

EXCERPTS_PER_FILM, TEST_SHARE = 4, 0.25
LIRIS_TABLES = (
    "annotations/ACCEDEranking.txt",
    "annotations/ACCEDEsets.txt",
    "ACCEDEdescription.xml",
    "MEDIAEVAL16-Global_prediction.txt",
)
AROUSAL_LEVEL = {"train": -0.27, "test": 0.2}  # values of 2.46 and 3.40 on the scale of 1 to 5


def make_eimt16(root, *, n_clips=80, seconds=(8.0, 12.0), seed=0, snr=None, jobs=2):
    """Writes a simulated LIRIS-ACCEDE with the test excerpts of EIMT16 and loads it.

    A quarter of the excerpts are test; four excerpts share a source film. As in the real corpus,
    test excerpts are more arousing than those to train on.

    Args:
        root, seed, snr, jobs: as for ``make_cognimuse``
        n_clips: excerpts, training and test together
        seconds: shortest and longest excerpt

    Returns:
        Corpus, as ``load_eimt16`` gives it

    Raises:
        ValueError: if an argument is out of its range
        CorpusFormatError: if ``root`` holds files that no simulator wrote
    """
    from affectlib.corpora.liris_accede import load_eimt16

    if n_clips < 8:
        raise ValueError(f"n_clips is at least 8, not {n_clips}")
    root, snr, rng = Path(root), ratios(snr), np.random.default_rng(seed)
    lengths = durations(np.sort(seconds))
    test = round(n_clips * TEST_SHARE)
    tasks = []
    for name, split, count in (("ACCEDE", "train", n_clips - test), ("MEDIAEVAL16_", "test", test)):
        drawn = rng.standard_normal((2, count))
        spread = 0.35 * (drawn - drawn.mean(1, keepdims=True)) / drawn.std(1, keepdims=True)
        levels = np.clip(spread.T + (0, AROUSAL_LEVEL[split]), -0.9, 0.9).tolist()
        tasks += [
            (root, f"{name}{i:05d}", seed, len(tasks) + i, length, snr, tuple(level))
            for i, (length, level) in enumerate(
                zip(rng.uniform(*lengths, count), levels, strict=True)
            )
        ]
    files = [f"data/{task[1]}.mp4" for task in tasks] + list(LIRIS_TABLES)
    arguments = {"n_clips": n_clips, "seconds": list(seconds), "seed": seed, "snr": snr}
    build_corpus(
        root,
        "eimt16",
        arguments,
        files,
        lambda: _liris_annotations(tasks),
        write_excerpt,
        tasks,
        jobs,
    )
    return load_eimt16(root)


def excerpt_course(seed, index, seconds, level):
    """One excerpt's generator, valence and arousal over time, around its level."""
    rng = np.random.default_rng([seed, 0, index])
    return rng, *course(seconds, hertz=ANNOTATION_HERTZ, rng=rng, mean=level, deviation=0.12)[1:]


def write_excerpt(root, clip, seed, index, seconds, snr, level, frame_rate=FRAME_RATE):
    """Renders one excerpt into ``data/``; every ``EXCERPTS_PER_FILM`` share a source film's look."""
    rng, valence, arousal = excerpt_course(seed, index, seconds, level)
    film = int(clip[-5:]) // EXCERPTS_PER_FILM + (5000 if clip.startswith("MEDIAEVAL") else 0)
    rendered = render(valence, arousal, snr, rng, film_rng(seed, film), frame_rate)
    put(root / "data" / f"{clip}.mp4", encode(*rendered, frame_rate=frame_rate))


def _liris_annotations(tasks):
    """The four annotation files of the excerpts: path to text, lines ended as in the real files."""
    values = {}
    for _, clip, seed, index, seconds, _, level in tasks:
        _, valence, arousal = excerpt_course(seed, index, seconds, level)
        values[clip] = 3 + 2 * np.mean([valence, arousal], axis=1)
    train = [task for task in tasks if task[1].startswith("ACCEDE")]
    test = [task for task in tasks if not task[1].startswith("ACCEDE")]
    labels = [f"{clip}.mp4\t{values[clip][0]:.6f}\t{values[clip][1]:.6f}" for _, clip, *_ in test]
    texts = (
        "\n".join(_liris_ranking(train, values)) + "\n",
        "\r\n".join(_liris_sets(train)) + "\r\n",
        "\n".join(_liris_description(train)) + "\n",
        "\r".join(labels),
    )
    return dict(zip(LIRIS_TABLES, texts, strict=True))


def _liris_ranking(tasks, values):
    """Rows of ``ACCEDEranking.txt``."""
    names = ("id", "name", "valenceRank", "arousalRank", "valenceValue", "arousalValue")
    rows = ["\t".join([*names, "valenceVariance", "arousalVariance"])]
    ranks = np.array([values[clip] for _, clip, *_ in tasks]).argsort(0).argsort(0)
    for i, (_, clip, *_) in enumerate(tasks):
        valence, arousal = values[clip]
        cells = [i, f"{clip}.mp4", *ranks[i], f"{valence:.6f}", f"{arousal:.6f}", 0.1, 0.1]
        rows.append("\t".join(str(cell) for cell in cells))
    return rows


def _liris_sets(tasks):
    """Rows of ``ACCEDEsets.txt``: whole films, one of four to learn, one to validate, two to test."""
    rows = ["id\tname\tset"]
    for i, (_, clip, *_) in enumerate(tasks):
        film = i // EXCERPTS_PER_FILM
        rows.append(f"{i}\t{clip}.mp4\t{(1, 2, 0, 0)[film % 4]}")
    return rows


def _liris_description(tasks):
    """Lines of ``ACCEDEdescription.xml``: of which film an excerpt is, and between which frames."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<library>"]
    start = 0
    for i, (_, clip, _, _, seconds, *_) in enumerate(tasks):
        if i % EXCERPTS_PER_FILM == 0:
            start = 0
        end = start + round(seconds * FRAME_RATE)
        movie = f"Film {i // EXCERPTS_PER_FILM:03d}.mp4"
        lines.append(
            f"<media><id>{i}</id><name>{clip}.mp4</name><license>simulated</license>"
            f"<movie>{movie}</movie><start>{start}</start><end>{end}</end></media>"
        )
        start = end
    return [*lines, "</library>"]
