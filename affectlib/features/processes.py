"""Passes over films in this process, in others of this machine, or on a Dask cluster.

A process may be killed (no memory).
Its clip is then found and named; the others are done and stored.

This machine's processes are a pool of our own, not Dask's local cluster or joblib's loky.
Either of these would need the search for the clip that kills as well,
and both start each worker from nothing: it imports for seconds what a fork has at once.
On two busy cores, until the descriptors of two films of 30 s were there:
this pool 27 s, loky 45 s, a local cluster 60 s.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING

from affectlib.features.cluster import connected
from affectlib.features.work import ExtractionError, Part, Result, describe

if TYPE_CHECKING:
    from multiprocessing.managers import ValueProxy

    from dask.distributed import Client

CHUNK = 64  # clips: the most that one worker takes at a time, except for a longer film
ROUNDS = 4  # chunks for each worker, so that no worker is left alone with the rest
GIVEN_UP = 8  # clips of one film that may kill the process at work on them

Chunk = list[Part]
Report = Callable[[int], None]


def describe_parts(
    parts: list[Part], client: Client | str | None, jobs: int, report: Report
) -> Iterator[Result]:
    """Describes films and stores their features.

    Args:
        parts: of one film each
        client: see :func:`affectlib.features.extract`
        jobs: processes at work without a client
        report: called with the number of clips that were done

    Yields:
        results as they come; a film may come in several parts
    """
    if client is not None:
        results = _distributed(parts, client)
    elif len(parts) > 0 and jobs > 1 and _apart(parts):
        results = _pooled(_chunks(parts, jobs), jobs, report)
    else:
        ordered = [part for chunk in _chunks(parts, jobs) for part in chunk]
        results = describe(ordered, report)
    with closing(results):
        for result in results:
            # Saved here and not by the worker: a machine elsewhere need not see the store.
            yield result.saved()


def _apart(parts: list[Part]) -> bool:
    """True if the extractors can be pickled and imported by worker processes.

    Workers do not find what a notebook or a prompt defines.
    They also import the script that started them, which has to be written for that.
    A script that asks for a single film need not be.
    """
    main = sys.modules.get("__main__")
    is_script = hasattr(main, "__file__") and getattr(main, "__spec__", None) is None
    if len(parts) == 1 and is_script:
        return False
    try:
        return b"__main__" not in pickle.dumps(parts)
    # Local functions and lambdas raise any of these.
    except (pickle.PicklingError, AttributeError, TypeError):
        return False


def _chunks(parts: list[Part], jobs: int) -> list[Chunk]:
    """Films in portions of a few clips, long films first."""
    clips = sum(len(part) for part in parts)
    size = min(CHUNK, max(1, clips // (ROUNDS * max(jobs, 1))))
    chunks: list[Chunk] = []
    room = 0
    for part in sorted(parts, key=len, reverse=True):
        if len(part) > room:
            chunks.append([])
            room = size
        chunks[-1].append(part)
        room -= len(part)
    return chunks


# Processes of this machine


class _Progress:
    """Passes on how many clips all workers together have done."""

    def __init__(self, report: Report) -> None:
        self.report = report
        # Without a lock: a killed process would hold it for ever.
        self.done = starter().RawValue("q", 0)
        self.reported = 0

    def update(self) -> None:
        done = self.done.value
        self.report(done - self.reported)
        self.reported = done


def _pooled(chunks: list[Chunk], jobs: int, report: Report) -> Iterator[Result]:
    """Describes films in processes of this machine.

    After a process died, the films that it may have been at are repeated one at a time.
    A film that kills again is halved until the clip is found.
    """
    waiting = deque(chunks)
    suspects: deque[Chunk] = deque()
    deaths: Counter[str] = Counter()  # by film: its single clips that killed a process
    progress = _Progress(report)
    while waiting or suspects:
        alone = bool(suspects)
        queue = suspects if alone else waiting
        workers = 1 if alone else min(jobs, len(waiting))
        running: dict[Future, Chunk] = {}
        try:
            yield from _run_pool(queue, workers, running, progress)
        except BrokenProcessPool:
            lost = [part for chunk in running.values() for part in chunk]
            if alone:
                for part in lost:
                    yield from _search(part, suspects, deaths)
            else:
                _start_one()
                suspects.extend([part] for part in lost)


def _run_pool(
    queue: deque[Chunk], workers: int, running: dict[Future, Chunk], progress: _Progress
) -> Iterator[Result]:
    """Takes chunks off a queue until it is empty.

    Args:
        queue: chunks that wait
        workers: number of processes
        running: filled with what is at work; where a process died, what may have killed it
        progress: of the clips

    Raises:
        BrokenProcessPool: if a process died
    """
    pool = ProcessPoolExecutor(workers, starter(), die_with_parent, (progress.done,))
    try:
        while queue or running:
            while queue and len(running) < workers:
                future = pool.submit(_described, queue[0])
                running[future] = queue.popleft()
            # The timeout lets the bar move while long films are at work.
            finished = wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done
            for future in finished:
                results = future.result()
                del running[future]
                yield from results
            progress.update()
    finally:
        pool.shutdown(cancel_futures=True)


def _search(part: Part, suspects: deque[Chunk], deaths: Counter[str]) -> Iterator[Result]:
    """Halves a part that killed its process alone; a single clip is given up, with its error."""
    if len(part) == 1:
        deaths[part.path] += 1
    # The film is given up when searching on would kill too many processes.
    half = len(part) // 2
    if half == 0 or deaths[part.path] >= GIVEN_UP:
        yield _lost(part)
        return
    suspects.appendleft([replace(part, rows=part.rows[half:])])
    suspects.appendleft([replace(part, rows=part.rows[:half])])


def _start_one() -> None:
    """Raises RuntimeError where no process can be started: no film is to blame for that."""
    try:
        with ProcessPoolExecutor(1, starter(), die_with_parent) as pool:
            pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise RuntimeError(
            "processes cannot be started here: a script needs if __name__ == '__main__': "
            "around what it does; jobs=1 does without"
        ) from None


@functools.cache
def starter(*more: str) -> multiprocessing.context.BaseContext:
    """Starts workers, where possible as forks of a clean process that has imported what they need.

    The imports take 4 s; this way they happen once in the life of a process.

    Args:
        more: modules to import besides those of the extractors; of no effect after the first call
    """
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
            *more,
        ]
    )
    # Ctrl-C reaches all processes of a terminal. Until that one is ready, it would say where in its
    # imports it was, and so would a worker that is forked when its parent has gone.
    # The tracker first: starting it would unblock the signal.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
        # Does nothing; it starts when the imports are done.
        context.Process(target=int).start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return context


_clips_done = None  # in a worker: number of clips done by all workers, shared with the parent


def die_with_parent(clips_done: ValueProxy | None = None) -> None:
    """Lets this worker end with its parent, for which it would wait for ever otherwise.

    It also ends at Ctrl-C, which reaches it too, and leaves the telling to the parent.

    Args:
        clips_done: number that the workers share with the parent
    """
    global _clips_done
    _clips_done = clips_done
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        # The process from which this one was forked does not hear it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _described(parts: Chunk) -> list[Result]:
    """Runs in a worker: describes some films."""

    def report(clips: int) -> None:
        if _clips_done is not None:
            _clips_done.value += clips

    return list(describe(parts, report))


def _lost(part: Part) -> Result:
    """The result of a part that killed the process at work on it."""
    reason = "the process at work on it was killed (out of memory?)"
    errors = {}
    for row in part.rows:
        place = f"{part.path}, clip at {part.starts[row]:g} s"
        errors[row] = ExtractionError(f"{place}: {reason}")
    return Result(part, {}, errors)


# Workers of a Dask cluster


def _distributed(parts: list[Part], client: Client | str) -> Iterator[Result]:
    """Describes films on the workers of a Dask cluster.

    Dask repeats by itself the work of a worker that was lost.
    If several workers died of a chunk, its films are repeated one by one;
    a film that kills again is given up.
    """
    from dask.distributed import KilledWorker, as_completed

    with connected(client) as client:
        # Where no worker has come yet, portions are small.
        workers = sum(client.nthreads().values()) or CHUNK
        chunks = _chunks(parts, workers)
        # Not pure: Dask would not repeat a call with equal arguments.
        futures = client.map(_described, chunks, pure=False)
        running = dict(zip(futures, chunks, strict=True))
        finished = as_completed(futures)
        try:
            for future in finished:
                chunk = running.pop(future)
                try:
                    yield from future.result()
                except KilledWorker:
                    if len(chunk) == 1:
                        yield _lost(chunk[0])
                        continue
                    films = [[part] for part in chunk]
                    again = client.map(_described, films, pure=False)
                    running.update(zip(again, films, strict=True))
                    finished.update(again)
        finally:
            client.cancel(list(running))
