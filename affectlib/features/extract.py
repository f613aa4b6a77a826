"""From a corpus to a :class:`FeatureTable`: each film is decoded once and feeds every extractor.

A film is streamed: what is in memory is a batch of its clips for the networks and, decoded meanwhile by a thread,
the next one. What goes wrong with a film (a damaged file, no memory, a process that was killed) is the error of that
film, told by its name; the others are done and kept.
"""

import multiprocessing
import os
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib.corpora.base import ANNOTATION_COLUMNS, AffectError, Corpus, CorpusFormatError, CorpusNotFoundError
from affectlib.features.audio import emobase, sound
from affectlib.features.faces import face
from affectlib.features.motion import motion
from affectlib.features.store import FeatureTable
from affectlib.features.visual import scene

CHUNK = 64  # clips: what one worker takes at a time
BATCH = 2**26  # bytes of pictures and sound that are handed to a network at once


class ExtractionError(AffectError, RuntimeError):
    """A film could not be described, for another reason than its file: names the film, the clip and the reason."""


_OF_A_FILM = (CorpusNotFoundError, CorpusFormatError, ExtractionError)  # what on_error="skip" forgives


def descriptors(*, hop=0.04) -> tuple:
    """The extractors that need no weights: scene, motion, face, sound and openSMILE's emobase2010.

    Args:
        hop: seconds between the frames of emobase

    Examples:
        >>> [extractor.name for extractor in descriptors()]
        ['scene', 'motion', 'face', 'sound', 'emobase']
    """
    return scene(), motion(), face(), sound(), emobase(hop=hop)


def extractors(features, paper, *, otherwise=None) -> tuple:
    """What a paper's notebook describes films by.

    Args:
        features: ``"pretrained"``, the paper's own networks, or ``"descriptors"``, which need no weights
        paper: slug
        otherwise: the descriptors that take their places, in the same order; all of them where not given

    Raises:
        WeightsNotFoundError: if weights are missing; it lists every file, and where each comes from
        ValueError: if ``features`` is neither, or the paper has no networks of its own

    Examples:
        >>> [extractor.name for extractor in extractors("descriptors", "attend_affect")]
        ['scene', 'motion', 'face', 'sound', 'emobase']
    """
    if features == "descriptors":
        return descriptors() if otherwise is None else tuple(otherwise)
    if features != "pretrained":
        raise ValueError(f"features is 'descriptors' or 'pretrained', not {features!r}")
    from affectlib.features.pretrained import pretrained

    return pretrained(paper)


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
        client: a ``dask.distributed`` client, or the address of a scheduler (``tcp://...``), whose workers see the
            media files under the same paths
        progress: show a bar with clips per second
        missing: where a clip lacks what an extractor needs (sound, picture): ``"error"``, or ``"zeros"``, which
            fills in 0 and lists the clip in ``FeatureTable.missing``
        on_error: ``"raise"``, or ``"skip"``, which drops the clips of a film that failed and says so in
            ``FeatureTable.skipped``; either way the films done before are in the store
        jobs: processes at work without a client; 1 stays in this one

    Raises:
        CorpusNotFoundError, CorpusFormatError: if a film is not there, is damaged, or lacks sound or picture
        ExtractionError: if an extractor fails on a film, or the process at work on it was killed
        RuntimeError: if no process can be started
        ValueError: for an option that is not listed here, or extractors of the same name
    """
    from tqdm import tqdm

    extractors = tuple(extractors)
    if missing not in ("error", "zeros") or on_error not in ("raise", "skip"):
        raise ValueError(f"expected missing 'error' or 'zeros', on_error 'raise' or 'skip': {missing!r}, {on_error!r}")
    if len({e.name for e in extractors}) < len(extractors):
        raise ValueError("two extractors have the same name")
    films, arrays, failed, todo, served = _films(corpus.clips), {}, {}, [], 0
    for path, (rows, starts, seconds) in films.items():
        needed = []
        for e in extractors:
            try:
                arrays[path, e.name] = store.get(path, e, starts, seconds) if store else None
            except FileNotFoundError:
                arrays[path, e.name] = None  # the film itself is not there: said by whoever opens it
            if arrays[path, e.name] is None:
                needed.append(e)
        served += 0 if needed else len(rows)
        if needed:
            todo.append((path, tuple(needed), starts, seconds))
    with (tqdm(total=len(corpus), initial=served, unit="clip", disable=not progress,
               desc=f"features of {corpus.name}") as bar,
          closing(_work(todo, client, jobs, bar.update)) as done):
        for path, needed, result in done:
            served += len(films[path][0])
            bar.update(max(0, served - bar.n))
            if isinstance(result, Exception):
                if on_error == "raise" or not isinstance(result, _OF_A_FILM):
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


def _work(todo, client, jobs, report):
    """Gives (path, extractors, result or error) film by film, as they are done."""
    if client is not None:
        yield from _distributed(todo, client)
    elif len(chunks := _chunks(todo, jobs)) < 2 or jobs < 2:
        yield from describe([film_ for chunk in chunks for film_ in chunk], report)
    else:
        yield from _pooled(chunks, jobs)


def _chunks(todo, jobs):
    """Films in portions of a few clips, long films first."""
    chunks, room = [], 0
    for film_ in sorted(todo, key=lambda film_: -len(film_[2])):
        if room < len(film_[2]):
            chunks.append([])
            room = min(CHUNK, max(1, sum(len(f[2]) for f in todo) // (4 * max(jobs, 1))))
        chunks[-1].append(film_)
        room -= len(film_[2])
    return chunks


def _pooled(chunks, jobs):
    """In processes of this machine. Where one dies, the films it may have been at are repeated alone, one by one."""
    waiting, alone = deque(chunks), deque()
    while waiting or alone:
        source, most, running = (alone, 1, {}) if alone else (waiting, min(jobs, len(waiting)), {})
        pool = ProcessPoolExecutor(most, _processes(), _die_with_parent)
        try:
            while source or running:
                while source and len(running) < most:
                    future = pool.submit(_described, source[0])
                    running[future] = source.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    results = future.result()
                    del running[future]
                    yield from results
        except BrokenProcessPool:
            if source is alone:
                yield from _lost(film_ for chunk in running.values() for film_ in chunk)
            else:
                _start_one()
                alone.extend([film_] for chunk in running.values() for film_ in chunk)
        finally:
            pool.shutdown(cancel_futures=True)


def _start_one():
    """Refuses to go on where no process can be started: no film is to blame for that."""
    try:
        with ProcessPoolExecutor(1, _processes(), _die_with_parent) as pool:
            pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise RuntimeError("processes cannot be started here: a script needs if __name__ == '__main__': around what it "
                           "does; jobs=1 does without") from None


def _distributed(todo, client):
    """On the workers of a Dask cluster. It repeats by itself what a lost worker was at; what several died of is split
    into single films, and then given up."""
    from dask.distributed import Client, KilledWorker, as_completed

    with Client(client) if isinstance(client, str) else nullcontext(client) as client:
        chunks = _chunks(todo, max(1, sum(client.nthreads().values())))
        running = dict(zip(client.map(_described, chunks, pure=False), chunks, strict=True))
        done = as_completed(list(running))
        try:
            for future in done:
                chunk = running.pop(future)
                try:
                    yield from future.result()
                except KilledWorker:
                    if len(chunk) == 1:
                        yield from _lost(chunk)
                        continue
                    again = client.map(_described, [[film_] for film_ in chunk], pure=False)
                    running |= zip(again, ([film_] for film_ in chunk), strict=True)
                    done.update(again)
        finally:
            client.cancel(list(running))


def _lost(films):
    for path, needed, *_ in films:
        yield path, needed, ExtractionError(f"{path}: the process at work on it was killed (out of memory?)")


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


def describe(films, report=lambda clips: None):
    """Passes over films, one after the other, their clips batched for the networks.

    Args:
        films: path, extractors, starts and durations of the clips of each
        report: called with the number of clips that were done

    Yields:
        path, extractors, and extractor name to ``(clips, size)`` or the error of that film, as each is done
    """
    left = {path: len(starts) for path, _, starts, _ in films}
    needed = {path: {e.name: e for e in extractors} for path, extractors, *_ in films}
    arrays = {path: {name: np.full((left[path], e.size), np.nan, np.float32) for name, e in extractors.items()}
              for path, extractors in needed.items()}
    failed = {}
    networks = any(e.many for extractors in needed.values() for e in extractors.values())
    for batch in _ahead(_batches(films, failed, BATCH)) if networks else _batches(films, failed, 0):
        for e in {name: e for path, *_ in batch for name, e in needed[path].items()}.values():
            _fill(e, [one for one in batch if e.name in needed[one[0]]], arrays, failed)
        report(len(batch))
        for path, *_ in batch:
            left[path] -= 1
            if not left[path] and path not in failed:
                yield path, tuple(needed[path].values()), arrays.pop(path)
    for path in arrays:
        yield path, tuple(needed[path].values()), failed.get(path, arrays[path])


def _described(films):
    return list(describe(films))


def _fill(extractor, batch, arrays, failed):
    """Writes what an extractor says about some clips; where it fails, they are tried one by one to find out which."""
    batch = [one for one in batch if one[0] not in failed]
    try:
        rows = extractor.batch([clip for *_, clip in batch])
    except Exception as error:
        if len(batch) > 1:
            for one in batch:
                _fill(extractor, [one], arrays, failed)
        else:
            path, _, clip = batch[0]
            failed[path] = _named(error, f"{path}, clip at {clip.start:g} s, {extractor.name}")
        return
    for (path, i, _), row in zip(batch, rows, strict=True):
        arrays[path][extractor.name][i] = row


def _named(error, where):
    """The error of a film. Those of affectlib say what they are about."""
    return error if isinstance(error, AffectError) else ExtractionError(f"{where}: {type(error).__name__}: {error}")


def _batches(films, failed, most):
    """Clips as (path, row, clip), in lists of ``most`` bytes and a clip; a film that cannot be read has failed."""
    from affectlib import media

    batch, held = [], 0
    for path, extractors, starts, seconds in films:
        try:
            header = media.probe(path)
            looks = {media.Look(e.rate, e.side, e.pairs) for e in extractors if e.rate and header.frame_rate}
            sound = bool(header.sampling_rate) and any(e.sound for e in extractors)
            clips = media.clips(path, starts, seconds, rates=looks, sound=sound) if looks or sound else ()
            for i, clip in enumerate(clips):
                if path in failed:
                    break
                batch.append((path, i, clip))
                held += clip.nbytes
                if held >= most:
                    yield batch
                    batch, held = [], 0
        except Exception as error:
            failed[path] = _named(error, path)
    if batch:
        yield batch


def _ahead(items):
    """The same items, each made by a thread while the one before is in use: decoding and networks do not wait."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, items, end)
        while (item := upcoming.result()) is not end:
            upcoming = thread.submit(next, items, end)
            yield item


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
