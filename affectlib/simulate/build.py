"""Parts of every simulated corpus: real files, from a known course of valence and arousal.

A result on a simulated corpus tests the pipeline. It says nothing about any paper.

A corpus that the same code made with the same arguments is left as it is. One that was begun and
killed is completed to the same bytes. One that was made otherwise is replaced. A folder with any
other file is refused.
"""

import ast
import contextlib
import fcntl
import functools
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from affectlib import __version__, paths
from affectlib.corpora.base import SIMULATED_MARK
from affectlib.errors import FileFormatError
from affectlib.features import processes
from affectlib.simulate.affect import view
from affectlib.simulate.score import Instrument, compose
from affectlib.simulate.stage import SIZE, Look, frames

FRAME_RATE = 12.5  # pictures per second
SAMPLING_RATE = 16000  # of the sound, in Hz
ANNOTATION_HERTZ = 25  # values of valence and arousal per second
# Modules that write a part of several corpora: a change in one builds all simulated corpora anew.
SHARED = ("affect", "build", "face", "liris_accede", "score", "stage")
SNR = {"sound": 1.5, "scene": 1.0, "motion": 1.0, "face": 1.0}


def ratios(snr: Mapping[str, float] | None) -> dict[str, float]:
    """Signal-to-noise ratio of every modality.

    Args:
        snr: ratios by modality; one that is missing is taken from ``SNR``

    Raises:
        ValueError: for an unknown modality, or a ratio not above 0
    """
    unknown = sorted(set(snr or {}) - set(SNR))
    if unknown:
        raise ValueError(f"snr knows {', '.join(SNR)}, not {', '.join(unknown)}")
    complete = {name: float(ratio) for name, ratio in {**SNR, **(snr or {})}.items()}
    for name, ratio in complete.items():
        if not ratio > 0:
            raise ValueError(f"snr of {name} lies above 0, not at {ratio}")
    return complete


def durations(seconds: float | Sequence[float]) -> float | Sequence[float]:
    """The same seconds, if none is below 1.

    Raises:
        ValueError: if one is
    """
    if np.min(seconds) < 1:
        raise ValueError(f"seconds is at least 1, not {np.min(seconds)}")
    return seconds


def build_corpus(
    root: Path,
    name: str,
    arguments: dict,
    files: list[str],
    tables: Callable[[], dict[str, str]],
    write: Callable[..., None],
    tasks: list[tuple],
    jobs: int,
) -> None:
    """Writes the files of a corpus that are missing.

    The mark of the corpus, written last, says that it is complete.

    Args:
        root: folder of the corpus
        name: of the corpus
        arguments: of the simulator, kept in the mark
        files: every file of the corpus, relative to ``root``
        tables: gives path to text of the files that are written at once
        write: module-level function that writes the files of one task, called with the task's parts
        tasks: arguments of ``write``, the root first and the clip second
        jobs: processes

    Raises:
        FileFormatError: if ``root`` holds a file that no simulator wrote
    """
    mark = {
        "corpus": name,
        "arguments": arguments,
        "affectlib": __version__,
        "source": _source(write, tables),
        "files": files,
    }
    with _one_at_a_time(root):
        final = root / SIMULATED_MARK
        begun = root / f"begun.{SIMULATED_MARK}"
        old_mark = _read_mark(final, begun)
        old_files = set() if old_mark is None else set(old_mark["files"])
        present = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        _refuse_foreign(root, present - old_files - {final.name, begun.name})
        if old_mark is not None and old_mark != mark:
            # The marks go last, so that a kill in between leaves them.
            _delete(root, [*sorted(present & old_files), begun.name, final.name])
        missing = [path for path in files if not (root / path).is_file()]
        if final.is_file() and not missing:
            return
        text = json.dumps(mark, indent=1).encode()
        write_file(begun, text)
        for path, table in tables().items():
            write_file(root / path, table.encode())
        undone = [task for task in tasks if any(task[1] in path for path in missing)]
        _run(write, undone, jobs)
        write_file(final, text)
        begun.unlink(missing_ok=True)


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Lets one process build a corpus; another one waits, and then finds it complete.

    The lock stands beside the folder, since a corpus holds no foreign file. The system releases it
    when a process ends, however it ends.
    """
    paths.make_folder(root.parent)
    with contextlib.ExitStack() as stack:
        # Some drives have no locks, and a finished corpus may lie where nothing may be written: a
        # corpus that two processes build at once has the same bytes.
        with contextlib.suppress(OSError):
            file = stack.enter_context(lock_file(root).open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock_file(root: Path) -> Path:
    """The file that a process locks while it builds a corpus."""
    return root.parent / f".{root.name}.lock"


def _read_mark(final, begun):
    """The mark of a corpus that is complete or begun, None if there is none."""
    for path in (final, begun):
        if path.is_file():
            return json.loads(path.read_text())
    return None


def _refuse_foreign(root, unknown):
    """Refuses a folder with files that no simulator wrote; halves of killed writes are ours."""
    foreign = sorted(path for path in unknown if not path.endswith(".part"))
    if foreign:
        expected = f"expected an empty folder or a simulated corpus, found {foreign[0]}"
        raise FileFormatError(root, expected)


def _delete(root, files):
    """Deletes files below a folder, then the folders that are empty."""
    for path in files:
        (root / path).unlink(missing_ok=True)
    folders = [path for path in root.rglob("*") if path.is_dir()]
    for folder in sorted(folders, reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _run(write, tasks, jobs):
    """Calls ``write`` for each task, in some processes."""
    n_processes = min(jobs, len(tasks))
    if n_processes <= 1:
        for task in tasks:
            write(*task)
        return
    # The same process gives the workers that describe the films later.
    context = processes.starter("affectlib.simulate")
    with ProcessPoolExecutor(n_processes, context, _start_worker) as pool:
        list(pool.map(write, *zip(*tasks, strict=True)))


def _source(*writers):
    """Hash of the code that draws, composes and writes; comments and layout do not count."""
    used = {writer.__module__.rpartition(".")[2] for writer in writers}
    digest = hashlib.sha256()
    for name in sorted({*SHARED, *used}):
        digest.update(_code(name))
    return digest.hexdigest()


# A process runs the code that it has loaded, whatever becomes of the file.
@functools.cache
def _code(name):
    """The code of a module of this package, without comments and layout."""
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return ast.dump(ast.parse(text)).encode()


def _start_worker():
    """One thread per process; a worker whose parent was killed ends too."""
    cv2.setNumThreads(1)
    processes.die_with_parent()


def write_file(path: Path, content: bytes) -> None:
    """Writes a whole file or none, and the folders above it."""
    paths.make_folder(path.parent)
    paths.write(path, content)


def no_tables() -> dict[str, str]:
    """For a corpus whose annotations are written film by film."""
    return {}


def film_rng(seed: int, film: int) -> np.random.Generator:
    """The generator that draws a film's look, actors and instrument; one per source film."""
    return np.random.default_rng([seed, 1, film])


def render(
    valence: np.ndarray,
    arousal: np.ndarray,
    snr: Mapping[str, float],
    rng: np.random.Generator,
    look_rng: np.random.Generator,
    frame_rate: float = FRAME_RATE,
) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Pictures and sound of a course, each modality showing a noisy view of it.

    Args:
        valence: in [-1, 1], ``ANNOTATION_HERTZ`` times a second
        arousal: likewise
        snr: signal-to-noise ratio by modality, as :func:`ratios` gives it
        rng: draws the noise and all that happens in the film
        look_rng: draws look, actors and instrument, see :func:`film_rng`
        frame_rate: pictures per second

    Returns:
        an iterator over pictures and the sound, as :func:`encode` takes them
    """
    look = Look.draw(look_rng)
    instrument = Instrument.draw(look_rng)
    shown = {}
    for name, ratio in snr.items():
        views = [view(signal, ratio, rng, hertz=ANNOTATION_HERTZ) for signal in (valence, arousal)]
        shown[name] = np.stack(views, 1)  # (values, 2)
    every = round(ANNOTATION_HERTZ / frame_rate)
    pictures = frames(
        shown["scene"][::every],
        shown["motion"][::every],
        shown["face"][::every],
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


def encode(
    pictures: Iterable[np.ndarray],
    signal: np.ndarray,
    *,
    frame_rate: float = FRAME_RATE,
    sampling_rate: int = SAMPLING_RATE,
    size: tuple[int, int] = SIZE,
) -> bytes:
    """One film as the content of an mp4 file: H.264 and AAC, the same bytes for the same input.

    Args:
        pictures: RGB pictures
        signal: mono sound in [-1, 1]
        frame_rate: pictures per second
        sampling_rate: of the sound, in Hz
        size: width and height of the pictures, in pixels

    Shape:
        pictures ``(height, width, 3)`` uint8 each; signal ``(samples,)`` float32
    """
    content = io.BytesIO()
    hop = round(sampling_rate / frame_rate)  # samples per picture
    with av.open(content, "w", format="mp4") as container:
        # One thread: with more, the encoder's output depends on their number.
        options = {"preset": "superfast", "crf": "23", "threads": "1"}
        video = container.add_stream("libx264", rate=Fraction(frame_rate), options=options)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=sampling_rate, layout="mono")
        audio.bit_rate = 64000
        for i, picture in enumerate(pictures):
            planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = i
            container.mux(video.encode(frame))
            block = signal[i * hop : (i + 1) * hop]
            if len(block):
                sound = av.AudioFrame.from_ndarray(block[None], format="fltp", layout="mono")
                sound.sample_rate = sampling_rate
                sound.pts = i * hop
                container.mux(audio.encode(sound))
        # Encoding None writes out what the encoders still hold.
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return content.getvalue()
