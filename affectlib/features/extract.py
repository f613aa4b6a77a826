"""From a corpus to a :class:`FeatureTable`: each film is decoded once and feeds every extractor.

A film is streamed: in memory is a batch of its clips for the networks,
and the next batch, which a thread decodes meanwhile.
An error of a film (a damaged file) or a clip (no memory, a killed process) names it;
the others are done and stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from affectlib import media
from affectlib.corpora.base import ANNOTATION_COLUMNS, Corpus
from affectlib.errors import FileFormatError, NotFoundError, printable
from affectlib.features.extractor import Extractor, FeatureTable
from affectlib.features.organisers import Distributed, add_distributed
from affectlib.features.processes import describe_parts
from affectlib.features.store import Store
from affectlib.features.work import ExtractionError, Part, Result, done
from affectlib.moved import moved_names
from affectlib.progress import progress_bar

if TYPE_CHECKING:
    from dask.distributed import Client

__getattr__ = moved_names(
    __name__,
    ("SEGMENT", "described", "descriptors", "extractors"),
    "affectlib.features.papers",
)

# Errors of a film or clip that on_error="skip" forgives.
FORGIVEN = (NotFoundError, FileFormatError, ExtractionError)


def film(path: Path | str, *, seconds: float | None = 5.0) -> Corpus:
    """A media file of yours as a corpus of segments, without annotations.

    Args:
        path: mp4, mkv, mov, wav or anything else that FFmpeg reads
        seconds: length of a segment; what is left at the end is dropped,
            and a shorter film is one segment. None for one segment of the whole film

    Raises:
        NotFoundError, FileFormatError: see :func:`affectlib.media.probe`;
            also if its name is not UTF-8, since tables cannot hold such a name

    Examples:
        ``extract(film("holiday.mp4"), descriptors())``
    """
    path = Path(path)
    duration = media.probe(path).seconds
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        expected = "expected a name in UTF-8, found other letters: rename the file or its folder"
        raise FileFormatError(path, expected) from error
    if seconds is None or duration < seconds:
        length = duration
        n = 1
    else:
        length = seconds
        # Rounding in the duration must not cost a segment.
        n = int((duration + 1e-6) // length)
    clips = pd.DataFrame(
        {
            "clip": [f"{path.stem}:{i:04d}" for i in range(n)],
            "source": path.stem,
            "start": np.arange(n) * length,
            "seconds": length,
            "path": str(path),
            "group": path.stem,
            "split": "",
            "valence": np.nan,
            "arousal": np.nan,
        }
    )
    empty = {}
    for column in ANNOTATION_COLUMNS:
        empty[column] = pd.Series(dtype=object if column == "clip" else float)
    return Corpus(
        name=path.stem,
        clips=clips,
        annotations=pd.DataFrame(empty),
        labels=("valence", "arousal"),
        value_range=(-1.0, 1.0),
        hertz=None,
        license="yours",
        citation="",
        simulated=False,
    )


def extract(
    corpus: Corpus,
    extractors: Sequence[Extractor | Distributed],
    *,
    store: Store | None = None,
    client: Client | str | None = None,
    progress: bool | None = True,
    missing: str = "error",
    on_error: str = "raise",
    jobs: int = 2,
) -> FeatureTable:
    """Computes, or takes from the store, one vector per clip and extractor.

    Args:
        corpus: its clips are described; one pass over a media file serves all its clips
        extractors: for example those of :func:`affectlib.features.papers.descriptors`;
            features of the organisers among them are read from their files
        store: keeps results and serves those that it holds, None to keep nothing
        client: a Dask client, or the address of a scheduler (``tcp://...``),
            whose workers see the media files under the same paths.
            They must see the store too, if a killed run is to go on in the middle of a film
        progress: show a bar with clips per second; None shows one where a notebook is open in
            JupyterLab
        missing: where a clip lacks the sound or picture that an extractor needs:
            ``"error"``, or ``"zeros"``, which fills in 0 and lists the clip in
            ``FeatureTable.missing``
        on_error: ``"raise"``, or ``"skip"``, which drops the clips that failed,
            all clips of a film where the film failed, and lists them in
            ``FeatureTable.skipped``; either way, everything done before is in the store
        jobs: processes at work without a client; with 1, and for extractors that a notebook
            defines, this process does the work

    Raises:
        NotFoundError, FileFormatError: if a film is not there, is damaged,
            lacks sound or picture, or changed while it was read
        ExtractionError: if an extractor fails on a clip, or its process was killed
        StoreError: if a file of the store may not be read or written
        RuntimeError: if no process can be started
        ValueError: for an option that is not listed here, or extractors of the same name
    """
    extractors = tuple(extractors)
    _check_arguments(corpus, extractors, missing, on_error)
    distributed = [each for each in extractors if isinstance(each, Distributed)]
    extractors = tuple(each for each in extractors if not isinstance(each, Distributed))
    films = _films(corpus.clips)
    # By name of the extractor, for all clips; rows of inf where nothing is done yet.
    features = {}
    for extractor in extractors:
        features[extractor.name] = np.empty((len(corpus), extractor.size), extractor.dtype)
    todo = []
    for path, film in films.items():
        part = _part(path, film, extractors, store)
        stored = part.load()
        for name, array in stored.items():
            features[name][film.rows] = array
        rest = part.unfinished(stored)
        if rest is not None:
            todo.append(rest)
    if todo and store is not None:
        store.remove_leftovers()
    failures = {}
    # Closed at once after an error, so that no worker process goes on.
    with closing(_results(corpus, todo, client, jobs, progress)) as results:
        for part, arrays, errors in results:
            if None not in errors:
                _merge(features, films[part.path].rows, arrays)
            for row, error in errors.items():
                if on_error == "raise" or not isinstance(error, FORGIVEN):
                    raise error
                failures[part.path, row] = str(error)
    table = _table(corpus, extractors, films, features, failures, missing)
    return add_distributed(table, distributed, corpus, missing=missing)


def _check_arguments(
    corpus: Corpus, extractors: tuple[Extractor | Distributed, ...], missing: str, on_error: str
) -> None:
    if missing not in ("error", "zeros") or on_error not in ("raise", "skip"):
        expected = "expected missing 'error' or 'zeros', on_error 'raise' or 'skip'"
        raise ValueError(f"{expected}: {missing!r}, {on_error!r}")
    names = {extractor.name for extractor in extractors}
    if len(names) < len(extractors):
        raise ValueError("two extractors have the same name")
    if (corpus.clips["path"] == "").any():
        raise ValueError(
            f"{corpus.name} was read without its films (films=False): there is nothing to describe"
        )


@dataclass(frozen=True)
class _FilmClips:
    """The clips of one film, in the order of time.

    Args:
        rows: positions in the table of all clips
        starts: in seconds
        seconds: how long each clip lasts
    """

    rows: np.ndarray
    starts: list[float]
    seconds: list[float]


def _films(clips: pd.DataFrame) -> dict[str, _FilmClips]:
    """The clips of each media file, by path, in the order in which files first appear."""
    rows_of: dict[str, list[int]] = {}
    for row, path in enumerate(clips["path"].map(str)):
        rows_of.setdefault(path, []).append(row)
    seconds = clips["seconds"].to_numpy(float)
    # Clips without a start are files of their own, from their beginning.
    starts = np.zeros(len(clips))
    if "start" in clips:
        starts = clips["start"].to_numpy(float)
    films = {}
    for path, rows in rows_of.items():
        rows = np.array(rows)
        rows = rows[np.argsort(starts[rows], kind="stable")]
        films[path] = _FilmClips(rows, starts[rows].tolist(), seconds[rows].tolist())
    return films


def _part(
    path: str, film: _FilmClips, extractors: tuple[Extractor, ...], store: Store | None
) -> Part:
    """All clips of a film as work to do, with the places where features are stored."""
    places = {}
    if store is not None:
        try:
            places = store.places(path, extractors, film.starts, film.seconds)
        except OSError:
            # The film is not there, or may not be read.
            # Opening it will say so, with all that belongs to the error.
            places = {}
    rows = tuple(range(len(film.rows)))
    return Part(path, extractors, film.starts, film.seconds, rows, places)


def _results(
    corpus: Corpus, todo: list[Part], client: Client | str | None, jobs: int, progress: bool | None
) -> Iterator[Result]:
    """Describes films behind a bar that counts clips.

    Yields:
        a :class:`Result` for each film, or for several parts of it
    """
    total = len(corpus)
    finished = total - sum(len(part) for part in todo)
    counted = progress_bar(
        total=total,
        initial=finished,
        unit="clip",
        progress=progress,
        desc=f"features of {printable(corpus.name)}",
    )

    def report(clips: int) -> None:
        # Clips that are done again after a process was killed must not count twice.
        counted.update(max(0, min(clips, total - counted.n)))

    with counted, closing(describe_parts(todo, client, jobs, report)) as results:
        for result in results:
            finished += len(result.part)
            counted.update(max(0, finished - counted.n))
            yield result


def _merge(features: dict[str, np.ndarray], rows: np.ndarray, new: dict[str, np.ndarray]) -> None:
    """Writes the clips of one film that are done into the features of all clips, in place.

    Args:
        features: of all clips
        rows: positions of the film's clips
        new: features of the film's clips
    """
    for name, array in new.items():
        is_done = done(array)
        features[name][rows[is_done]] = array[is_done]


def _table(
    corpus: Corpus,
    extractors: tuple[Extractor, ...],
    films: dict[str, _FilmClips],
    features: dict[str, np.ndarray],
    failures: dict[tuple[str, int | None], str],
    missing: str,
) -> FeatureTable:
    """The features of all clips that did not fail, in the order of the corpus.

    Raises:
        FileFormatError: if a clip lacks what an extractor needs, unless ``missing`` is zeros
    """
    ids = corpus.clips["clip"].to_numpy()
    kept = _clips_without_failure(films, failures, len(corpus))
    arrays = {}
    lacking = {}
    for extractor in extractors:
        array = features[extractor.name]
        # Extractors give nan for a clip that lacks what they need; the least of its values is nan.
        absent = np.isnan(array.min(axis=1, initial=np.inf)) & kept
        if absent.any():
            if missing == "error":
                raise _lack(extractor, _first_clip(corpus, films, absent))
            array[absent] = 0
            lacking[extractor.name] = tuple(ids[absent])
        # Large arrays are copied only where clips are left out.
        arrays[extractor.name] = array if kept.all() else array[kept]
    return FeatureTable(
        clips=tuple(ids[kept]),
        arrays=arrays,
        names={extractor.name: extractor.names for extractor in extractors},
        simulated=corpus.simulated,
        missing=lacking,
        skipped=_messages(ids, films, failures),
    )


def _clips_without_failure(
    films: dict[str, _FilmClips], failures: dict[tuple[str, int | None], str], clips: int
) -> np.ndarray:
    """Mask of the clips that did not fail, and whose films did not."""
    kept = np.ones(clips, bool)
    for path, row in failures:
        rows = films[path].rows
        kept[rows if row is None else rows[row]] = False
    return kept


def _messages(
    ids: np.ndarray,
    films: dict[str, _FilmClips],
    failures: dict[tuple[str, int | None], str],
) -> tuple[str, ...]:
    """One message for each film that failed, or for each clip where its film did not."""
    messages = []
    for path, film in films.items():
        if (path, None) in failures:
            messages.append(failures[path, None])
            continue
        for row, clip in enumerate(ids[film.rows]):
            if (path, row) in failures:
                messages.append(f"{clip}: {failures[path, row]}")
    return tuple(messages)


def _first_clip(corpus: Corpus, films: dict[str, _FilmClips], mask: np.ndarray) -> pd.Series:
    """The first clip of a mask, film by film and in the order of time."""
    order = np.concatenate([film.rows for film in films.values()])
    return corpus.clips.iloc[order[mask[order]][0]]


def _lack(extractor: Extractor, clip: pd.Series) -> FileFormatError:
    """The error of a clip that lacks the sound or picture that an extractor needs."""
    found = "none"
    if extractor.sound:
        need = "sound"
        seconds = _seconds_of_sound(clip)
        if seconds:
            need = f"{extractor.padded * extractor.shortest:.3g} s of sound"
            found = f"{seconds:.3g} s"
    else:
        need = "two frames" if extractor.pairs else "a frame"
    expected = f"{extractor.name} needs {need}, clip {clip['clip']} has {found}"
    return FileFormatError(clip["path"], f"{expected} (missing='zeros' goes on)")


def _seconds_of_sound(clip: pd.Series) -> float:
    """How much sound a clip has, in seconds."""
    path = clip["path"]
    if media.probe(path).sampling_rate is None:
        return 0.0
    start = float(clip.get("start", 0.0))
    seconds = float(clip["seconds"])
    sound = next(media.clips(path, [start], [seconds])).sound
    return 0.0 if sound is None else len(sound) / media.SAMPLING_RATE
