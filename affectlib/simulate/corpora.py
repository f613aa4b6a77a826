"""Simulated corpora: real files in the real layout, from a known course of valence and arousal.

A result on them tests the pipeline; it says nothing about any paper.
A corpus that stands, made by the same code with the same arguments, is left as it is; one begun and killed is
completed to the same bytes; one made otherwise is replaced; a folder with any other file is refused.
"""

import ast
import hashlib
import io
import json
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from affectlib import __version__
from affectlib.simulate.affect import course, view
from affectlib.simulate.score import Instrument, compose
from affectlib.simulate.stage import SIZE, Look, frames

FRAME_RATE, SAMPLING_RATE, ANNOTATION_HERTZ = 12.5, 16000, 25
SNR = {"sound": 1.5, "scene": 1.0, "motion": 1.0, "face": 1.0}
LEAD_IN = (2.0, 0.0, -0.94)  # the annotation tool's start: for how many seconds, valence, arousal
EXCERPTS_PER_FILM, TEST_SHARE = 4, 0.25
LIRIS_TABLES = (
    "annotations/ACCEDEranking.txt",
    "annotations/ACCEDEsets.txt",
    "ACCEDEdescription.xml",
    "MEDIAEVAL16-Global_prediction.txt",
)
AROUSAL_LEVEL = {"train": -0.27, "test": 0.2}  # values of 2.46 and 3.40 on the scale of 1 to 5


def make_cognimuse(root, *, n_films=12, seconds=90.0, seed=0, snr=None, jobs=2):
    """Writes a simulated COGNIMUSE in the form of its first seven films, and loads it.

    Args:
        root: folder of the corpus, created where absent
        n_films: films, at most the real corpus's twelve
        seconds: length of each film
        seed: of everything; the files do not depend on ``jobs``
        snr: signal-to-noise ratio of what sound, scene, motion and face show of the annotated affect,
            those missing taken from ``SNR``
        jobs: processes. Above 1 a script needs the usual ``if __name__ == "__main__":``

    Returns:
        Corpus, as ``load_cognimuse`` gives it

    Raises:
        ValueError: if an argument is out of its range
        CorpusFormatError: if ``root`` holds files that no simulator wrote
    """
    from affectlib.corpora.cognimuse import FILMS, load_cognimuse

    if not 1 <= n_films <= len(FILMS):
        raise ValueError(f"n_films lies between 1 and {len(FILMS)}, not at {n_films}")
    root, snr = Path(root), ratios(snr)
    tasks = [
        (root, code, seed, index, durations(seconds), snr)
        for index, code in enumerate(list(FILMS)[:n_films])
    ]
    files = [
        name
        for task in tasks
        for name in (f"{task[1]}/{task[1]}.mp4", f"{task[1]}/emotion/intended_1.dat")
    ]
    arguments = {"n_films": n_films, "seconds": seconds, "seed": seed, "snr": snr}
    build_corpus(root, "cognimuse", arguments, files, lambda: {}, _write_film, tasks, jobs)
    return load_cognimuse(root)


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


def ratios(snr):
    """Signal-to-noise ratio of every modality, those not given taken from ``SNR``.

    Raises:
        ValueError: for an unknown modality, or a ratio not above 0
    """
    unknown = sorted(set(snr or {}) - set(SNR))
    if unknown:
        raise ValueError(f"snr knows {', '.join(SNR)}, not {', '.join(unknown)}")
    known = {name: float(ratio) for name, ratio in {**SNR, **(snr or {})}.items()}
    if bad := [name for name, ratio in known.items() if not ratio > 0]:
        raise ValueError(f"snr of {bad[0]} lies above 0, not at {known[bad[0]]}")
    return known


def durations(seconds):
    """The same seconds, refused with a ValueError where any is below 1."""
    if np.min(seconds) < 1:
        raise ValueError(f"seconds is at least 1, not {np.min(seconds)}")
    return seconds


def build_corpus(root, name, arguments, files, tables, write, tasks, jobs):
    """Writes what is missing of a corpus; its mark, written last, says that it is complete.

    Args:
        root: folder of the corpus
        name: of the corpus
        arguments: what it was asked for with, kept in the mark
        files: every file it consists of, relative to ``root``
        tables: gives path to text of the files written at once
        write: module-level function that writes the files of one task, called with its parts
        tasks: arguments of ``write``, the root first and the clip second
        jobs: processes
    """
    from affectlib.corpora.base import SIMULATED_MARK, CorpusFormatError

    mark = {
        "corpus": name,
        "arguments": arguments,
        "affectlib": __version__,
        "source": _source(write, tables),
        "files": files,
    }
    final, begun = root / SIMULATED_MARK, root / f"begun.{SIMULATED_MARK}"
    old = next((json.loads(path.read_text()) for path in (final, begun) if path.is_file()), None)
    own = set() if old is None else set(old["files"])
    present = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    foreign = sorted(
        path for path in present - {final.name, begun.name} - own if not path.endswith(".part")
    )
    if foreign:
        raise CorpusFormatError(
            root, f"expected an empty folder or a simulated corpus, found {foreign[0]}"
        )
    if old is not None and old != mark:
        for path in (
            *sorted(present & own),
            begun.name,
            final.name,
        ):  # the marks last: a kill leaves them
            (root / path).unlink(missing_ok=True)
        for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
    missing = [path for path in files if not (root / path).is_file()]
    if final.is_file() and not missing:
        return
    text = json.dumps(mark, indent=1).encode()
    put(begun, text)
    for path, table in tables().items():
        put(root / path, table.encode())
    tasks = [task for task in tasks if any(task[1] in path for path in missing)]
    if jobs > 1 and len(tasks) > 1:
        with ProcessPoolExecutor(
            min(jobs, len(tasks)), multiprocessing.get_context("spawn"), _start_worker
        ) as pool:
            list(pool.map(write, *zip(*tasks, strict=True)))
    else:
        for task in tasks:
            write(*task)
    put(final, text)
    begun.unlink(missing_ok=True)


def _source(*writers):
    """Hash of the code that draws and composes, and of the modules that write; comments and layout do not count."""
    used = {writer.__module__.rpartition(".")[2] for writer in writers}
    names = sorted({"affect", "corpora", "face", "score", "stage"} | used)
    texts = [Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8") for name in names]
    return hashlib.sha256("".join(ast.dump(ast.parse(text)) for text in texts).encode()).hexdigest()


def _start_worker():
    """One thread per process; a worker whose parent was killed ends too."""
    cv2.setNumThreads(1)
    threading.Thread(
        target=lambda: (multiprocessing.parent_process().join(), os._exit(1)), daemon=True
    ).start()


def put(path, content):
    """Writes a whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)


def film_rng(seed, film):
    """What a film draws its look, actors and instrument from: one generator per source film."""
    return np.random.default_rng([seed, 1, film])


def _write_film(root, code, seed, index, seconds, snr):
    rng = np.random.default_rng([seed, 0, index])
    times, valence, arousal = course(seconds, hertz=ANNOTATION_HERTZ, rng=rng)
    pictures, signal = render(valence, arousal, snr, rng, film_rng(seed, index))
    held = times < LEAD_IN[0]
    rows = np.stack(
        [times, np.where(held, LEAD_IN[1], valence), np.where(held, LEAD_IN[2], arousal)], 1
    )
    put(
        root / code / "emotion" / "intended_1.dat",
        "".join(f"{t:.2f} {v:.4f} {a:.4f}\n" for t, v, a in rows).encode(),
    )
    put(root / code / f"{code}.mp4", encode(pictures, signal))


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


def render(valence, arousal, snr, rng, look_rng, frame_rate=FRAME_RATE):
    """Pictures and sound of a course, each modality showing its own noisy view of it."""
    look, instrument = Look.draw(look_rng), Instrument.draw(look_rng)
    shown = {
        name: np.stack(
            [view(signal, ratio, rng, hertz=ANNOTATION_HERTZ) for signal in (valence, arousal)], 1
        )
        for name, ratio in snr.items()
    }
    every = round(ANNOTATION_HERTZ / frame_rate)
    pictures = frames(
        *(shown[name][::every] for name in ("scene", "motion", "face")),
        look=look,
        hertz=frame_rate,
        rng=np.random.default_rng(rng.integers(2**32)),
    )
    sound = compose(
        *shown["sound"].T,
        hertz=ANNOTATION_HERTZ,
        sampling_rate=SAMPLING_RATE,
        rng=rng,
        instrument=instrument,
    )
    return pictures, sound


def encode(pictures, signal, *, frame_rate=FRAME_RATE, sampling_rate=SAMPLING_RATE, size=SIZE):
    """One film as the content of an mp4 file: H.264 and AAC, the same bytes for the same input.

    Args:
        pictures: iterable of RGB pictures
        signal: mono sound in [-1, 1], at ``sampling_rate`` Hz

    Shape:
        pictures ``(height, width, 3)`` uint8 each; signal ``(samples,)`` float32
    """
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        video = container.add_stream(
            "libx264",
            rate=Fraction(frame_rate),
            options={"preset": "superfast", "crf": "23", "threads": "1"},
        )
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream("aac", rate=sampling_rate, layout="mono")
        audio.bit_rate = 64000
        hop = round(sampling_rate / frame_rate)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(
                cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), format="yuv420p"
            )
            frame.pts = i
            container.mux(video.encode(frame))
            if len(block := signal[i * hop : (i + 1) * hop]):
                sound = av.AudioFrame.from_ndarray(block[None], format="fltp", layout="mono")
                sound.sample_rate, sound.pts = sampling_rate, i * hop
                container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return content.getvalue()
