"""Passes over films: in this process, in others of this machine, or on the workers of a Dask cluster.

What goes wrong with a clip (an extractor that fails, no memory, a process that was killed) is the error of that clip;
what is wrong with a file is that of its film. Either is told by name; the rest is done and kept.
"""

import multiprocessing
import os
import pickle
import sys
import threading
import time
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np

from affectlib.corpora.base import AffectError
from affectlib.features.store import load, put

CHUNK = 64  # clips: what one worker takes at a time
BATCH = 2**26  # bytes of pictures and sound that are handed to a network at once
KEEP = 30.0  # seconds after which what a film has so far is stored
GIVEN_UP = 8  # clips of one film that may kill the process at work on them


class ExtractionError(AffectError, RuntimeError):
    """A clip could not be described, for another reason than its file: names the film, the clip and the reason."""


@dataclass(frozen=True)
class Part:
    """Clips of one film that are to be described.

    Args:
        path: of the film
        extractors: what to compute
        starts: of all its clips, in seconds
        seconds: how long each of them lasts
        rows: positions of those that are wanted
        places: extractor name to :class:`affectlib.features.store.Place`, empty to keep nothing
    """

    path: str
    extractors: tuple
    starts: list
    seconds: list
    rows: tuple
    places: dict = field(default_factory=dict)

    def __len__(self):
        return len(self.rows)

    def stored(self, extractor):
        """What is kept of all its clips, ``(clips, size)``, rows of inf where nothing is."""
        if self.places:
            return load(self.places[extractor.name])
        return np.full((len(self.starts), extractor.size), np.inf, np.float32)


def work(parts, client, jobs, report):
    """Describes films.

    Args:
        parts: list of :class:`Part`, of one film each
        client: see :func:`affectlib.features.extract`
        jobs: processes at work without a client
        report: called with the number of clips that were done

    Yields:
        part, extractor name to ``(clips, size)`` with rows of inf where nothing was done, and row to error, the row
        None where the film itself failed; several parts of a film may come
    """
    if client is not None:
        yield from _distributed(parts, client)
    elif parts and jobs > 1 and _apart(parts):
        yield from _pooled(_chunks(parts, jobs), jobs, report)
    else:
        yield from describe([part for chunk in _chunks(parts, jobs) for part in chunk], report)


def _apart(parts):
    """Whether other processes can do it: they do not find what a notebook or a prompt defines.

    They also run the script again that started them, which has to be written for it: not asked for one film.
    """
    main = sys.modules.get("__main__")
    if len(parts) == 1 and hasattr(main, "__file__") and getattr(main, "__spec__", None) is None:
        return False
    try:
        return b"__main__" not in pickle.dumps(parts)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False


def _chunks(parts, jobs):
    """Films in portions of a few clips, long films first."""
    chunks, room = [], 0
    for part in sorted(parts, key=lambda part: -len(part)):
        if room < len(part):
            chunks.append([])
            room = min(CHUNK, max(1, sum(map(len, parts)) // (4 * max(jobs, 1))))
        chunks[-1].append(part)
        room -= len(part)
    return chunks


def _pooled(chunks, jobs, report):
    """In processes of this machine. Where one dies, the films it may have been at are repeated alone, one by one, and
    one that dies again is halved until the clip is found."""
    waiting, alone, lost, told = deque(chunks), deque(), Counter(), 0
    done = _processes().RawValue(
        "q", 0
    )  # without a lock, which a killed process would hold for ever
    while waiting or alone:
        source, most, running = (alone, 1, {}) if alone else (waiting, min(jobs, len(waiting)), {})
        pool = ProcessPoolExecutor(most, _processes(), _die_with_parent, (done,))
        try:
            while source or running:
                while source and len(running) < most:
                    future = pool.submit(_described, source[0])
                    running[future] = source.popleft()
                for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
                    results = future.result()
                    del running[future]
                    yield from results
                report(done.value - told)
                told = done.value
        except BrokenProcessPool:
            parts = [part for chunk in running.values() for part in chunk]
            if source is waiting:
                _start_one()
                alone.extend([part] for part in parts)
                continue
            for part in parts:
                lost[part.path] += len(part) == 1
                half = len(part) // 2
                if half and lost[part.path] < GIVEN_UP:
                    alone.extendleft(
                        [replace(part, rows=rows)] for rows in (part.rows[half:], part.rows[:half])
                    )
                else:
                    yield _lost(part)
        finally:
            pool.shutdown(cancel_futures=True)


def _start_one():
    """Refuses to go on where no process can be started: no film is to blame for that."""
    try:
        with ProcessPoolExecutor(1, _processes(), _die_with_parent) as pool:
            pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise RuntimeError(
            "processes cannot be started here: a script needs if __name__ == '__main__': around what it "
            "does; jobs=1 does without"
        ) from None


def _distributed(parts, client):
    """On the workers of a Dask cluster. It repeats by itself what a lost worker was at; what several died of is split
    into single films, and then given up."""
    from dask.distributed import Client, KilledWorker, as_completed

    with Client(client) if isinstance(client, str) else nullcontext(client) as client:
        chunks = _chunks(
            parts, sum(client.nthreads().values()) or CHUNK
        )  # none yet: small portions
        running = dict(zip(client.map(_described, chunks, pure=False), chunks, strict=True))
        done = as_completed(list(running))
        try:
            for future in done:
                chunk = running.pop(future)
                try:
                    yield from future.result()
                except KilledWorker:
                    if len(chunk) == 1:
                        yield _lost(chunk[0])
                        continue
                    again = client.map(_described, [[part] for part in chunk], pure=False)
                    running |= zip(again, ([part] for part in chunk), strict=True)
                    done.update(again)
        finally:
            client.cancel(list(running))


def _lost(part):
    said = "the process at work on it was killed (out of memory?)"
    return (
        part,
        {},
        {
            row: ExtractionError(f"{part.path}, clip at {part.starts[row]:g} s: {said}")
            for row in part.rows
        },
    )


def _processes():
    """Workers forked from a clean process that has imported what they need, once for all (4 s)."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "cv2",
            "dlib",
            "librosa.core.audio",
            "librosa.core.constantq",
            "librosa.core.pitch",
            "librosa.feature.spectral",
            "opensmile",
            "affectlib.media",
            "affectlib.features",
        ]
    )
    return context


_done = None  # in a worker: clips done by all workers, shared with the parent


def _die_with_parent(done=None):
    """A worker whose parent was killed would wait for ever: it leaves instead."""
    global _done
    _done, parent = done, multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _described(parts):
    def report(clips):
        if _done is not None:
            _done.value += clips

    return list(describe(parts, report))


def describe(parts, report=lambda clips: None):
    """Passes over films, one after the other, their clips batched for the networks.

    Args, Yields:
        as :func:`work`
    """
    parts = {part.path: part for part in parts}
    needed = {path: {e.name: e for e in part.extractors} for path, part in parts.items()}
    arrays = {
        path: {name: part.stored(e) for name, e in needed[path].items()}
        for path, part in parts.items()
    }
    undone = {
        path: [
            row
            for row in part.rows
            if any(np.isinf(array[row]).any() for array in arrays[path].values())
        ]
        for path, part in parts.items()
    }  # what a killed run, or process, kept is not done again
    report(sum(map(len, parts.values())) - sum(map(len, undone.values())))
    left, failed, kept = (
        {p: len(rows) for p, rows in undone.items()},
        {path: {} for path in parts},
        {},
    )
    todo = [replace(part, rows=tuple(undone[path])) for path, part in parts.items() if undone[path]]
    networks = any(e.many for extractors in needed.values() for e in extractors.values())
    for batch in _ahead(_batches(todo, failed, BATCH)) if networks else _batches(todo, failed, 0):
        for e in {name: e for path, *_ in batch for name, e in needed[path].items()}.values():
            _fill(e, [one for one in batch if e.name in needed[one[0]]], arrays, failed)
        report(len(batch))
        for path, n in Counter(path for path, *_ in batch).items():
            left[path] -= n
            if not left[path] and None not in failed[path]:
                yield _finished(parts[path], arrays.pop(path), failed[path])
            elif (
                parts[path].places
                and time.monotonic() - kept.setdefault(path, time.monotonic()) > KEEP
            ):
                _keep(parts[path], arrays[path], failed[path])
                kept[path] = time.monotonic()
    for path in arrays:
        yield _finished(parts[path], arrays[path], failed[path])


def _finished(part, arrays, failed):
    """A clip of a film without picture or sound was not asked for: it lacks what is needed."""
    rows = [row for row in part.rows if row not in failed and None not in failed]
    for array in arrays.values():
        array[rows] = np.where(np.isinf(array[rows]), np.nan, array[rows])
    return part, arrays, failed


def _keep(part, arrays, failed):
    try:
        for name, array in arrays.items():
            put(part.places[name], array)
    except AffectError as error:
        failed[None] = error


def _fill(extractor, batch, arrays, failed):
    """Writes what an extractor says about some clips; where it fails, they are tried one by one to find out which."""
    batch = [one for one in batch if not {one[1], None} & set(failed[one[0]])]
    try:
        rows = extractor.batch([clip for *_, clip in batch])
    except Exception as error:
        if len(batch) > 1:
            for one in batch:
                _fill(extractor, [one], arrays, failed)
        else:
            path, row, clip = batch[0]
            error = _named(error, f"{path}, clip at {clip.start:g} s, {extractor.name}")
            failed[path][row if isinstance(error, ExtractionError) else None] = error
        return
    for (path, i, _), row in zip(batch, rows, strict=True):
        arrays[path][extractor.name][i] = row


def _named(error, where):
    """The error of a clip or film. Those of affectlib say what they are about."""
    return (
        error
        if isinstance(error, AffectError)
        else ExtractionError(f"{where}: {type(error).__name__}: {error}")
    )


def _batches(parts, failed, most):
    """Clips as (path, row, clip), in lists of ``most`` bytes and a clip; a film that cannot be read has failed."""
    from affectlib import media

    batch, held = [], 0
    for part in parts:
        path, extractors = part.path, part.extractors
        starts, seconds = (
            [column[row] for row in part.rows] for column in (part.starts, part.seconds)
        )
        try:
            header = media.probe(path)
            looks = {
                media.Look(e.rate, e.side, e.pairs)
                for e in extractors
                if e.rate and header.frame_rate
            }
            sound = bool(header.sampling_rate) and any(e.sound for e in extractors)
            clips = (
                media.clips(path, starts, seconds, rates=looks, sound=sound)
                if looks or sound
                else ()
            )
            for i, clip in zip(part.rows, clips, strict=False):
                if None in failed[path]:
                    break
                batch.append((path, i, clip))
                held += clip.nbytes
                if held >= most:
                    yield batch
                    batch, held = [], 0
        except Exception as error:
            failed[path][None] = _named(error, path)
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
