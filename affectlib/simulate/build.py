"""What every simulated corpus is built with: real files, from a known course of valence and arousal.

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
from affectlib.simulate.affect import view
from affectlib.simulate.score import Instrument, compose
from affectlib.simulate.stage import SIZE, Look, frames

FRAME_RATE, SAMPLING_RATE, ANNOTATION_HERTZ = 12.5, 16000, 25
# Modules that write a part of several corpora: a change in one builds all simulated corpora anew.
SHARED = ("affect", "build", "face", "liris_accede", "score", "stage")
SNR = {"sound": 1.5, "scene": 1.0, "motion": 1.0, "face": 1.0}


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
    names = sorted({*SHARED, *used})
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
