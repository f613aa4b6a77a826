"""From a corpus to a :class:`FeatureTable`: each film is decoded once and feeds every extractor."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib.corpora.base import ANNOTATION_COLUMNS, AffectError, Corpus, CorpusFormatError
from affectlib.features.audio import emobase, sound
from affectlib.features.faces import face
from affectlib.features.motion import motion
from affectlib.features.store import FeatureTable
from affectlib.features.visual import scene

CHUNK = 64  # clips: what one worker takes at a time


def descriptors(*, hop=0.04) -> tuple:
    """The extractors that need no weights: scene, motion, face, sound and openSMILE's emobase2010.

    Args:
        hop: seconds between the frames of emobase

    Examples:
        >>> [extractor.name for extractor in descriptors()]
        ['scene', 'motion', 'face', 'sound', 'emobase']
    """
    return scene(), motion(), face(), sound(), emobase(hop=hop)


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
    clips = pd.DataFrame({
        "clip": [f"{path.stem}:{i:04d}" for i in range(n)], "source": path.stem, "start": np.arange(n) * length,
        "seconds": length, "path": str(path), "group": path.stem, "split": "", "valence": np.nan, "arousal": np.nan})
    nothing = pd.DataFrame({c: pd.Series(dtype=object if c == "clip" else float) for c in ANNOTATION_COLUMNS})
    return Corpus(path.stem, clips, nothing, ("valence", "arousal"), (-1.0, 1.0), None, "yours", "", False)


def extract(corpus, extractors, *, store=None, client=None, progress=True, missing="error", on_error="raise",
            jobs=2) -> FeatureTable:
    """Computes, or takes from the store, one vector per clip and extractor.

    Args:
        corpus: its clips are described; those of one media file are served by one pass over it
        extractors: what to compute, for example :func:`descriptors`
        store: a :class:`Store` that keeps results and serves what it holds, None to keep nothing
        client: a ``dask.distributed`` client whose workers see the media files under the same paths
        progress: show a bar with clips per second
        missing: where a clip lacks what an extractor needs (sound, picture): ``"error"``, or ``"zeros"``, which
            fills in 0 and lists the clip in ``FeatureTable.missing``
        on_error: ``"raise"``, or ``"skip"``, which drops the clips of an unreadable film and says so in
            ``FeatureTable.skipped``
        jobs: processes at work without a client; 1 stays in this one

    Raises:
        CorpusNotFoundError, CorpusFormatError: if a film is not there, is damaged, or lacks sound or picture
        ValueError: for an option that is not listed here, or extractors of the same name
    """
    from tqdm import tqdm

    extractors = tuple(extractors)
    if missing not in ("error", "zeros") or on_error not in ("raise", "skip"):
        raise ValueError(f"expected missing 'error' or 'zeros', on_error 'raise' or 'skip': {missing!r}, {on_error!r}")
    if len({e.name for e in extractors}) < len(extractors):
        raise ValueError("two extractors have the same name")
    films, arrays, failed, todo = _films(corpus.clips), {}, {}, []
    with tqdm(total=len(corpus), unit="clip", disable=not progress, desc=f"features of {corpus.name}") as bar:
        for path, (rows, starts, seconds) in films.items():
            needed = []
            for e in extractors:
                try:
                    arrays[path, e.name] = store.get(path, e, starts, seconds) if store else None
                except FileNotFoundError:
                    arrays[path, e.name] = None  # the film itself is not there: said by whoever opens it
                if arrays[path, e.name] is None:
                    needed.append(e)
            if needed:
                todo.append((path, tuple(needed), starts, seconds))
            else:
                bar.update(len(rows))
        with closing(_work(todo, client, jobs)) as done:
            for path, needed, result in done:
                bar.update(len(films[path][0]))
                if isinstance(result, Exception):
                    if on_error == "raise":
                        raise result
                    failed[path] = str(result)
                    continue
                for e in needed:
                    arrays[path, e.name] = result[e.name]
                    if store:
                        store.put(path, e, *films[path][1:], result[e.name])
    return _table(corpus, extractors, films, arrays, failed, missing)


def _films(clips):
    """Media file to positions, starts and durations of its clips, in the order of time."""
    starts = clips["start"].to_numpy(float) if "start" in clips else np.zeros(len(clips))
    seconds, paths, films = clips["seconds"].to_numpy(float), clips["path"].map(str).to_numpy(), {}
    for i in np.argsort(starts, kind="stable"):
        films.setdefault(paths[i], []).append(i)
    return {path: (np.array(films[path]), starts[films[path]].tolist(), seconds[films[path]].tolist())
            for path in dict.fromkeys(paths)}


def _work(todo, client, jobs):
    """Gives (path, extractors, result or error) film by film, as they are done."""
    chunks, room = [], 0
    for film_ in sorted(todo, key=lambda film_: -len(film_[2])):  # long films first
        n = len(film_[2])
        if room < n:
            chunks.append([])
            room = min(CHUNK, max(1, sum(len(f[2]) for f in todo) // (4 * max(jobs, 1))))
        chunks[-1].append(film_)
        room -= n
    if client is not None:
        from dask.distributed import as_completed as completed

        futures = client.map(_chunk, chunks, pure=False)
        try:
            for future in completed(futures):
                yield from future.result()
        finally:
            client.cancel(futures)
    elif min(jobs, len(chunks)) < 2:
        for chunk in chunks:
            yield from _chunk(chunk)
    else:
        pool = ProcessPoolExecutor(min(jobs, len(chunks)), _processes(), _die_with_parent)
        try:
            for future in as_completed([pool.submit(_chunk, chunk) for chunk in chunks]):
                yield from future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _processes():
    """Workers forked from a clean process that has imported what they need, once for all (4 s)."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cv2", "dlib", "librosa.core.audio", "librosa.core.constantq", "librosa.core.pitch",
                                    "librosa.feature.spectral", "opensmile", "affectlib.media", "affectlib.features"])
    return context


def _die_with_parent():
    """A worker whose parent was killed would wait for ever: it leaves instead."""
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _chunk(films):
    results = []
    for path, needed, starts, seconds in films:
        try:
            results.append((path, needed, _describe(path, needed, starts, seconds)))
        except AffectError as error:
            results.append((path, needed, error))
    return results


def _describe(path, extractors, starts, seconds):
    """One pass over one film: extractor name to ``(clips, size)``."""
    from affectlib import media

    header = media.probe(path)
    able = [e for e in extractors if (header.sampling_rate or not e.sound) and (header.frame_rate or not e.rate)]
    arrays = {e.name: np.full((len(starts), e.size), np.nan, np.float32) for e in extractors}
    if not able:
        return arrays
    looks = dict(rates={e.rate for e in able if e.rate}, pairs=any(e.pairs for e in able),
                 side=max(e.side for e in able), sound=any(e.sound for e in able))
    for i, clip in enumerate(media.clips(path, starts, seconds, **looks)):
        for e in able:
            arrays[e.name][i] = e(clip)
    return arrays


def _table(corpus, extractors, films, arrays, failed, missing):
    ids, lacking, whole = corpus.clips["clip"].to_numpy(), {}, {}
    kept = np.ones(len(corpus), bool)
    for path in failed:
        kept[films[path][0]] = False
    for e in extractors:
        whole[e.name] = np.zeros((len(corpus), e.size), np.float32)
        for path, (rows, _, _) in films.items():
            if path in failed:
                continue
            array = arrays[path, e.name]
            absent = np.isnan(array).any(1)
            if absent.any() and missing == "error":
                need = "sound" if e.sound else "two frames" if e.pairs else "a frame"
                expected = f"{e.name} needs {need}, clip {ids[rows[absent][0]]} has none (missing='zeros' goes on)"
                raise CorpusFormatError(path, expected)
            whole[e.name][rows] = np.where(absent[:, None], 0, array)
            if absent.any():
                lacking[e.name] = lacking.get(e.name, set()) | set(rows[absent])
    return FeatureTable(
        tuple(ids[kept]), {name: array[kept] for name, array in whole.items()}, {e.name: e.names for e in extractors},
        corpus.simulated, {name: tuple(ids[i] for i in sorted(rows)) for name, rows in lacking.items()},
        tuple(failed[path] for path in films if path in failed))
