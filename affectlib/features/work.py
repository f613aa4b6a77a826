"""One pass over films in this process, and the only readers and writers of the store.

A clip may fail (an extractor raises an error, there is no memory);
a film may fail (its file is damaged).
Either error names what failed; everything else is done and stored.
:mod:`affectlib.features.processes` runs such passes in several processes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from affectlib import media
from affectlib.errors import AffectError
from affectlib.features.extractor import Extractor
from affectlib.features.store import Place

BATCH = 2**26  # bytes of pictures and sound that are handed to a network at once
KEEP = 30.0  # seconds after which the features that a film has so far are stored

Item = TypeVar("Item")


class ExtractionError(AffectError, RuntimeError):
    """A clip could not be described, and its file is not to blame.

    Names the film, the clip and the reason.
    """


@dataclass(frozen=True)
class Part:
    """Clips of one film that are to be described.

    Args:
        path: of the film
        extractors: that describe the clips
        starts: of all clips of the film, in seconds
        seconds: how long each of them lasts
        rows: positions of the clips that are to be described, among all clips
        places: where features are stored, by name of the extractor; empty to store nothing
    """

    path: str
    extractors: tuple[Extractor, ...]
    starts: list[float]
    seconds: list[float]
    rows: tuple[int, ...]
    places: dict[str, Place] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def load(self) -> dict[str, np.ndarray]:
        """The stored features of all clips of the film.

        Returns:
            by name of the extractor, ``(clips, size)``; rows of inf where nothing is stored

        Raises:
            StoreError: if a stored file may not be read
        """
        arrays = {}
        for extractor in self.extractors:
            if self.places:
                arrays[extractor.name] = self.places[extractor.name].load()
            else:
                shape = (len(self.starts), extractor.size)
                arrays[extractor.name] = np.full(shape, np.inf, extractor.dtype)
        return arrays

    def save(self, arrays: dict[str, np.ndarray]) -> None:
        """Stores features, where there is anything to store and a place for it.

        Args:
            arrays: like the result of :meth:`load`

        Raises:
            NotFoundError: if the film was deleted while it was read
            FileFormatError: if it changed
            StoreError: if the features cannot be written
        """
        for name, place in self.places.items():
            if name in arrays and done(arrays[name]).any():
                place.save(arrays[name])

    def unfinished(self, arrays: dict[str, np.ndarray]) -> Part | None:
        """The part that still has to be described, None if nothing is left.

        Args:
            arrays: features that exist, like the result of :meth:`load`
        """
        extractors = []
        undone = np.zeros(len(self.starts), bool)
        for extractor in self.extractors:
            rows = ~done(arrays[extractor.name])
            if rows.any():
                extractors.append(extractor)
                undone |= rows
        if not extractors:
            return None
        rows = [row for row in self.rows if undone[row]]
        return replace(self, extractors=tuple(extractors), rows=tuple(rows))


class Result(NamedTuple):
    """The features of a part, and what went wrong.

    Args:
        part: that was described
        arrays: by name of the extractor, ``(clips, size)``, rows of inf where nothing was done
        errors: by row of the clip, or under None where the film itself failed
    """

    part: Part
    arrays: dict[str, np.ndarray]
    errors: dict[int | None, AffectError]

    def saved(self) -> Result:
        """Stores the features, unless the film failed.

        Returns:
            the same result; with an error of the film if it was deleted or changed meanwhile,
            or if there is no room for its features
        """
        if None in self.errors:
            return self
        try:
            self.part.save(self.arrays)
        except AffectError as error:
            return self._replace(errors={None: error})
        return self


def done(array: np.ndarray) -> np.ndarray:
    """Which rows of some features are done, ``(clips,)``."""
    return ~np.isinf(array).any(axis=1)


def describe(
    parts: Iterable[Part], report: Callable[[int], None] = lambda clips: None
) -> Iterator[Result]:
    """Passes over films, one after the other; networks get clips of several films at once.

    Features that are stored already are not computed again:
    a process may have been killed in the middle of a film.

    Args:
        parts: of one film each, every film at most once
        report: called with the number of clips that were done

    Yields:
        one result for each part
    """
    films = {part.path: _Film(part) for part in parts}
    # Clips that are stored count as done, for the bar.
    report(sum(len(film.part) - film.left for film in films.values()))
    for batch in _batches_of(list(films.values())):
        _describe_batch(batch)
        report(len(batch))
        for film, clips in Counter(item.film for item in batch).items():
            film.left -= clips
            if film.is_complete:
                del films[film.part.path]
                yield film.result()
            else:
                film.keep()
    # These had nothing to do, failed, or gave no clips because they lack picture and sound.
    for film in films.values():
        yield film.result()


class _Film:
    """A film that is being described: its features so far, and what went wrong.

    Attributes:
        part: that was asked for
        arrays: features by name of the extractor, see :meth:`Part.load`
        errors: see :class:`Result`
        todo: the clips that are not done yet, None if all are
        left: how many of these clips have not been described yet
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.arrays = part.load()
        self.errors: dict[int | None, AffectError] = {}
        # A run, or a worker, that was killed may have stored some of the clips.
        rows = [row for row in part.rows if not self._is_done(row)]
        self.todo = replace(part, rows=tuple(rows)) if rows else None
        self.left = len(rows)
        self.kept_at: float | None = None

    def _is_done(self, row: int) -> bool:
        return not any(np.isinf(array[row]).any() for array in self.arrays.values())

    @property
    def has_failed(self) -> bool:
        """True if the film itself failed, not only clips of it."""
        return None in self.errors

    @property
    def is_complete(self) -> bool:
        """True if every clip was described."""
        return self.left == 0 and not self.has_failed

    def keep(self) -> None:
        """Stores the features so far, if that is due."""
        now = time.monotonic()
        if self.kept_at is None:
            self.kept_at = now
        if now - self.kept_at <= KEEP or self.has_failed:
            return
        self.errors = Result(self.part, self.arrays, self.errors).saved().errors
        self.kept_at = now

    def result(self) -> Result:
        """The features of all clips; a clip that gave no values lacks picture or sound."""
        if not self.has_failed:
            rows = [row for row in self.part.rows if row not in self.errors]
            for array in self.arrays.values():
                values = array[rows]
                array[rows] = np.where(np.isinf(values), np.nan, values)
        return Result(self.part, self.arrays, self.errors)


class _QueuedClip(NamedTuple):
    """A clip in memory, and which one it is: its film and its row there."""

    film: _Film
    row: int
    clip: media.Clip


def _batches_of(films: list[_Film]) -> Iterator[list[_QueuedClip]]:
    """Clips in batches; if there are networks, a thread decodes the next batch meanwhile."""
    todo = [film for film in films if film.todo is not None]
    extractors = [extractor for film in films for extractor in film.part.extractors]
    # Descriptors gain nothing: each batch of theirs is one clip.
    if any(extractor.many is not None for extractor in extractors):
        return _ahead(_batches(todo, BATCH))
    return _batches(todo, 0)


def _batches(films: list[_Film], size: int) -> Iterator[list[_QueuedClip]]:
    """Clips of films in lists of ``size`` bytes and up to one clip more.

    A film that cannot be read gets its error.
    """
    batch = []
    held = 0
    for film in films:
        try:
            for row, clip in zip(film.todo.rows, _clips(film.todo), strict=False):
                # A network may have failed on an earlier batch of this film.
                if film.has_failed:
                    break
                batch.append(_QueuedClip(film, row, clip))
                held += clip.nbytes
                if held >= size:
                    yield batch
                    batch = []
                    held = 0
        except Exception as error:
            film.errors[None] = _named(error, film.part.path)
    if batch:
        yield batch


def _clips(part: Part) -> Iterable[media.Clip]:
    """Reads the clips of a part, with the pictures and sound that its extractors need.

    A film without any of them gives no clips.
    """
    header = media.probe(part.path)
    looks = set()
    if header.frame_rate:
        for extractor in part.extractors:
            if extractor.rate:
                looks.add(media.Look(extractor.rate, extractor.side, extractor.pairs))
    needs_sound = any(extractor.sound for extractor in part.extractors)
    sound = needs_sound and bool(header.sampling_rate)
    if not looks and not sound:
        return ()
    starts = [part.starts[row] for row in part.rows]
    seconds = [part.seconds[row] for row in part.rows]
    return media.clips(part.path, starts, seconds, rates=looks, sound=sound)


def _describe_batch(batch: list[_QueuedClip]) -> None:
    """Lets every extractor describe the clips that it is needed for."""
    extractors = {}
    for item in batch:
        for extractor in item.film.part.extractors:
            extractors[extractor.name] = extractor
    for name, extractor in extractors.items():
        _fill(extractor, [item for item in batch if name in item.film.arrays])


def _fill(extractor: Extractor, batch: list[_QueuedClip]) -> None:
    """Writes the features of some clips by one extractor.

    If it fails, the clips are tried one by one to find out which one is to blame.
    """
    batch = [item for item in batch if not {item.row, None} & set(item.film.errors)]
    try:
        rows = extractor.batch([item.clip for item in batch])
    # Extractors are code of others: any error belongs to a clip, and does not end the run.
    except Exception as error:
        if len(batch) > 1:
            for item in batch:
                _fill(extractor, [item])
            return
        film, row, clip = batch[0]
        where = f"{film.part.path}, clip at {clip.start:g} s, {extractor.name}"
        error = _named(error, where)
        # An error of affectlib is about a file (a film that changed, weights): all clips share it.
        film.errors[row if isinstance(error, ExtractionError) else None] = error
        return
    for item, row in zip(batch, rows, strict=True):
        item.film.arrays[extractor.name][item.row] = row


def _named(error: Exception, where: Path | str) -> AffectError:
    """The error of a clip or film; errors of affectlib already name what they are about."""
    if isinstance(error, AffectError):
        return error
    return ExtractionError(f"{where}: {type(error).__name__}: {error}")


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; a thread makes the next one while the current one is in use.

    Decoding and networks do not wait for each other then.
    """
    end = object()
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, items, end)
        while True:
            item = upcoming.result()
            if item is end:
                return
            upcoming = thread.submit(next, items, end)
            yield item
