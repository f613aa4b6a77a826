"""From a corpus to a :class:`FeatureTable`: each film is decoded once and feeds every extractor.

A film is streamed: what is in memory is a batch of its clips for the networks and, decoded meanwhile by a thread,
the next one. What goes wrong with a film (a damaged file) or a clip (no memory, a process that was killed) is the
error of that one, told by its name; the others are done and kept.
"""

from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib.corpora.base import (
    ANNOTATION_COLUMNS,
    Corpus,
    CorpusFormatError,
    CorpusNotFoundError,
)
from affectlib.features.audio import emobase, sound
from affectlib.features.faces import face, people
from affectlib.features.motion import motion
from affectlib.features.store import FeatureTable, put
from affectlib.features.visual import scene
from affectlib.features.work import ExtractionError, Part, work

_OF_A_FILM = (
    CorpusNotFoundError,
    CorpusFormatError,
    ExtractionError,
)  # what on_error="skip" forgives


def descriptors(*, hop=0.04) -> tuple:
    """The extractors that need no weights: scene, motion, face, sound and openSMILE's emobase2010.

    Args:
        hop: seconds between the frames of emobase

    Examples:
        >>> [extractor.name for extractor in descriptors()]
        ['scene', 'motion', 'face', 'sound', 'emobase']
    """
    return scene(), motion(), face(), sound(), emobase(hop=hop)


SEGMENT = {
    "attend_affect": 5.0,
    "shot_long": 1.0,
    "gla": 1.0,
}  # seconds into which their notebooks cut films


def described(paper) -> tuple:
    """The descriptors that take the places of a paper's networks, in the same order; all where nothing is said.

    Examples:
        >>> [extractor.name for extractor in described("gla")]
        ['scene', 'sound', 'people']
    """
    if paper == "shot_long":
        return sound(), scene(rate=1.0), face(rate=1.0), motion(rate=1.0)
    if paper == "gla":
        return scene(rate=1.0), sound(), people(rate=1.0)
    return descriptors()


def extractors(features, paper, *, precision="fp32") -> tuple:
    """What a paper's notebook describes films by.

    Args:
        features: ``"pretrained"``, the paper's own networks, or ``"descriptors"``, see :func:`described`
        paper: slug
        precision: of the networks, see :func:`affectlib.features.deep.pretrained`

    Raises:
        WeightsNotFoundError: if weights are missing; it lists every file, and where each comes from
        ValueError: if ``features`` is neither, or the paper has no networks of its own

    Examples:
        >>> [extractor.name for extractor in extractors("descriptors", "attend_affect")]
        ['scene', 'motion', 'face', 'sound', 'emobase']
    """
    if features == "descriptors":
        return described(paper)
    if features != "pretrained":
        raise ValueError(f"features is 'descriptors' or 'pretrained', not {features!r}")
    from affectlib.features.deep import pretrained

    return pretrained(paper, precision=precision)


def film(path, *, seconds=5.0) -> Corpus:
    """A media file of yours as a corpus of segments, without annotations.

    Args:
        path: mp4, mkv, mov, wav or anything else FFmpeg reads
        seconds: length of a segment; what is left at the end is dropped, a shorter film is one segment.
            None for the whole file

    Raises:
        CorpusNotFoundError, CorpusFormatError: see :func:`affectlib.media.probe`

    Examples:
        ``extract(film("holiday.mp4"), descriptors())``
    """
    from affectlib import media

    path = Path(path)
    whole = media.probe(path).seconds
    length = whole if seconds is None or whole < seconds else seconds
    n = 1 if length == whole else int((whole + 1e-6) // length)
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
    nothing = pd.DataFrame(
        {c: pd.Series(dtype=object if c == "clip" else float) for c in ANNOTATION_COLUMNS}
    )
    return Corpus(
        path.stem, clips, nothing, ("valence", "arousal"), (-1.0, 1.0), None, "yours", "", False
    )


def extract(
    corpus,
    extractors,
    *,
    store=None,
    client=None,
    progress=True,
    missing="error",
    on_error="raise",
    jobs=2,
) -> FeatureTable:
    """Computes, or takes from the store, one vector per clip and extractor.

    Args:
        corpus: its clips are described; those of one media file are served by one pass over it
        extractors: what to compute, for example :func:`descriptors`
        store: a :class:`Store` that keeps results and serves what it holds, None to keep nothing
        client: a ``dask.distributed`` client, or the address of a scheduler (``tcp://...``), whose workers see the
            media files under the same paths; the store too, if a film is to go on in the middle
        progress: show a bar with clips per second
        missing: where a clip lacks what an extractor needs (sound, picture): ``"error"``, or ``"zeros"``, which
            fills in 0 and lists the clip in ``FeatureTable.missing``
        on_error: ``"raise"``, or ``"skip"``, which drops the clips that failed, all of them where their file did, and
            says so in ``FeatureTable.skipped``; either way what was done before is in the store
        jobs: processes at work without a client; 1 stays in this one, as do extractors that a notebook defines

    Raises:
        CorpusNotFoundError, CorpusFormatError: if a film is not there, is damaged, lacks sound or picture, or changed
            while it was read
        ExtractionError: if an extractor fails on a clip, or the process at work on it was killed
        RuntimeError: if no process can be started
        ValueError: for an option that is not listed here, or extractors of the same name
    """
    from tqdm import tqdm

    extractors = tuple(extractors)
    if missing not in ("error", "zeros") or on_error not in ("raise", "skip"):
        raise ValueError(
            f"expected missing 'error' or 'zeros', on_error 'raise' or 'skip': {missing!r}, {on_error!r}"
        )
    if len({e.name for e in extractors}) < len(extractors):
        raise ValueError("two extractors have the same name")
    if (corpus.clips["path"] == "").any():
        raise ValueError(
            f"{corpus.name} was read without its films (films=False): there is nothing to describe"
        )
    films, arrays, failed, todo = _films(corpus.clips), {}, {}, []
    for path, (rows, starts, seconds) in films.items():
        places = {}
        with suppress(FileNotFoundError):  # the film itself is not there: said by whoever opens it
            places = (
                {e.name: store.place(path, e, starts, seconds) for e in extractors} if store else {}
            )
        whole = Part(path, extractors, starts, seconds, tuple(range(len(rows))), places)
        arrays |= {(path, e.name): whole.stored(e) for e in extractors}
        undone = {e.name: np.isinf(arrays[path, e.name]).any(1) for e in extractors}
        if needed := tuple(e for e in extractors if undone[e.name].any()):
            left = np.flatnonzero(np.any([undone[e.name] for e in needed], axis=0))
            todo.append(replace(whole, extractors=needed, rows=tuple(left.tolist())))
    served = len(corpus) - sum(map(len, todo))
    with (
        tqdm(
            total=len(corpus),
            initial=served,
            unit="clip",
            disable=not progress,
            desc=f"features of {corpus.name}",
        ) as bar,
        closing(
            work(todo, client, jobs, lambda n: bar.update(max(0, min(n, len(corpus) - bar.n))))
        ) as done,
    ):
        for part, found, errors in done:
            served += len(part)
            bar.update(max(0, served - bar.n))
            for e in part.extractors if None not in errors and found else ():
                new, array = ~np.isinf(found[e.name]).any(1), arrays[part.path, e.name]
                array[new] = found[e.name][new]
                try:
                    if part.places and new.any():
                        put(part.places[e.name], array)
                except (CorpusNotFoundError, CorpusFormatError) as error:
                    errors = {None: error}
                    break
            for row, error in errors.items():
                if on_error == "raise" or not isinstance(error, _OF_A_FILM):
                    raise error
                failed[part.path, row] = str(error)
    return _table(corpus, extractors, films, arrays, failed, missing)


def _films(clips):
    """Media file to positions, starts and durations of its clips, in the order of time."""
    starts = clips["start"].to_numpy(float) if "start" in clips else np.zeros(len(clips))
    seconds, paths, films = clips["seconds"].to_numpy(float), clips["path"].map(str).to_numpy(), {}
    for i in np.argsort(starts, kind="stable"):
        films.setdefault(paths[i], []).append(i)
    return {
        path: (np.array(films[path]), starts[films[path]].tolist(), seconds[films[path]].tolist())
        for path in dict.fromkeys(paths)
    }


def _heard(clip):
    """Seconds of sound in a clip, for who asks why it has no value."""
    from affectlib import media

    if media.probe(clip["path"]).sampling_rate is None:
        return 0.0
    start, seconds = float(clip.get("start", 0.0)), float(clip["seconds"])
    sound = next(media.clips(clip["path"], [start], [seconds])).sound
    return 0.0 if sound is None else len(sound) / media.SAMPLING_RATE


def _table(corpus, extractors, films, arrays, failed, missing):
    ids, lacking, whole = corpus.clips["clip"].to_numpy(), {}, {}
    kept, skipped, order = np.ones(len(corpus), bool), [], {path: i for i, path in enumerate(films)}
    for (path, row), message in sorted(
        failed.items(), key=lambda one: (order[one[0][0]], one[0][1] or 0)
    ):
        rows = films[path][0]
        kept[rows if row is None else rows[row]] = False
        if row is None or (path, None) not in failed:
            skipped.append(message if row is None else f"{ids[rows[row]]}: {message}")
    for e in extractors:
        whole[e.name] = np.zeros((len(corpus), e.size), np.float32)
        for path, (rows, _, _) in films.items():
            array, rows = arrays[path, e.name][kept[rows]], rows[kept[rows]]
            absent = np.isnan(array).any(1)
            if absent.any() and missing == "error":
                clip = corpus.clips.iloc[rows[absent][0]]
                need, has = "two frames" if e.pairs else "a frame", _heard(clip) if e.sound else 0
                if e.sound:
                    need = f"{e.padded * e.shortest:.3g} s of sound" if has else "sound"
                has = f"{has:.3g} s" if has else "none"
                expected = f"{e.name} needs {need}, clip {clip['clip']} has {has} (missing='zeros' goes on)"
                raise CorpusFormatError(path, expected)
            whole[e.name][rows] = np.where(absent[:, None], 0, array)
            if absent.any():
                lacking[e.name] = lacking.get(e.name, set()) | set(rows[absent])
    return FeatureTable(
        tuple(ids[kept]),
        {name: array[kept] for name, array in whole.items()},
        {e.name: e.names for e in extractors},
        corpus.simulated,
        {name: tuple(ids[i] for i in sorted(rows)) for name, rows in lacking.items()},
        tuple(skipped),
    )
