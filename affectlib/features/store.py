"""What an extractor is, what it gives, and where the result is kept."""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from affectlib import paths
from affectlib.corpora.base import CorpusFormatError, CorpusNotFoundError


@dataclass(frozen=True)
class Extractor:
    """Turns one clip of film into one vector.

    Args:
        name: a short name, unique within one extraction
        version: raised whenever the numbers change; part of the key under which results are stored
        names: what each value is
        vector: module-level function from the pictures, or the sound, of one clip and the options to ``(size,)``
        rate: frames per second it looks at, 0 for none
        pairs: whether it needs the frame following each
        sound: whether it needs sound
        side: the longer side of its frames is reduced to this many pixels
        shortest: seconds of sound below which it has no value
        padded: share of ``shortest`` from which sound is filled up with silence; 1 for never
        options: settings that change the numbers; part of the key
        many: module-level function from a list of what ``vector`` takes to ``(clips, size)``: what a network gains by
            batches; the same numbers, so no part of the key. None calls ``vector`` clip by clip
    """

    name: str
    version: int
    names: tuple
    vector: Callable
    rate: float = 0.0
    pairs: bool = False
    sound: bool = False
    side: int = 320
    shortest: float = 0.1
    padded: float = 1.0
    options: tuple = ()
    many: Callable | None = None

    @property
    def size(self):
        """Number of values."""
        return len(self.names)

    def __call__(self, clip):
        """The vector of one clip, ``(size,)``; see :meth:`batch`."""
        return self.batch([clip])[0]

    def batch(self, clips):
        """The vectors of some clips.

        Args:
            clips: a list of :class:`affectlib.media.Clip` read at the rate of this extractor

        Shape:
            result ``(clips, size)``, float32; a row of nan where a clip lacks what is needed: sound, a frame, a second
            frame

        Raises:
            ValueError: if the extractor does not give as many finite values as it has names
        """
        rows = np.full((len(clips), self.size), np.nan, np.float32)
        inputs = {
            i: given for i, clip in enumerate(clips) if (given := self._input(clip)) is not None
        }
        if not inputs:
            return rows
        options, given = dict(self.options), list(inputs.values())
        values = (
            self.many(given, **options)
            if self.many
            else [self.vector(one, **options) for one in given]
        )
        if len(values) != len(given):
            raise ValueError(
                f"{self.name}: expected {len(given)} rows, one per clip, got {len(values)}"
            )
        for i, value in zip(inputs, values, strict=True):
            value = np.asarray(value, np.float32)
            if value.shape != (self.size,) or not np.isfinite(value).all():
                raise ValueError(
                    f"{self.name}: expected {self.size} finite values, got shape {value.shape}"
                )
            rows[i] = value
        return rows

    def _input(self, clip):
        """What ``vector`` takes of a clip, None where it is not there."""
        from affectlib.media import SAMPLING_RATE

        if self.sound:
            wanted, there = (
                round(self.shortest * SAMPLING_RATE),
                0 if clip.sound is None else len(clip.sound),
            )
            if there >= wanted:
                return clip.sound
            return (
                np.pad(clip.sound, (0, wanted - there))
                if there and there >= self.padded * wanted
                else None
            )
        pictures = clip.at(self.rate, side=self.side) if self.rate else []
        return [
            picture for picture in pictures if picture.following is not None or not self.pairs
        ] or None


@dataclass(frozen=True)
class FeatureTable:
    """One vector per clip and extractor.

    Args:
        clips: clip ids, in the order of the corpus
        arrays: extractor name to ``(clips, size)``, float32
        names: extractor name to what each value is
        simulated: True where the films were simulated
        missing: extractor name to the clips that lack what it needs (sound, picture); their rows are 0
        skipped: what ``on_error="skip"`` dropped, one message per film, or per clip where the others are kept
    """

    clips: tuple
    arrays: dict
    names: dict
    simulated: bool
    missing: dict = field(default_factory=dict)
    skipped: tuple = ()

    def __getitem__(self, name):
        if name not in self.arrays:
            raise KeyError(f"no features {name!r}, there are {', '.join(self.arrays)}")
        return self.arrays[name]

    def __len__(self):
        return len(self.clips)

    def __repr__(self):
        sizes = ", ".join(f"{name} {size}" for name, size in self.sizes.items())
        return (
            f"FeatureTable({'simulated' if self.simulated else 'real'}, {len(self)} clips, {sizes})"
        )

    @property
    def sizes(self):
        """Extractor name to number of values."""
        return {name: array.shape[1] for name, array in self.arrays.items()}

    def select(self, rows):
        """The same table with some clips only; ``rows`` is a boolean mask, or positions."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        clips = tuple(self.clips[i] for i in rows)
        missing = {
            name: tuple(c for c in ids if c in set(clips)) for name, ids in self.missing.items()
        }
        return FeatureTable(
            clips,
            {name: array[rows] for name, array in self.arrays.items()},
            self.names,
            self.simulated,
            missing,
            self.skipped,
        )


class Store:
    """Features on disk, one file per film and extractor, named by what they depend on.

    The key covers the content of the film, the extractor (name, version, options, names) and where its clips start
    and how long they are. A file is written beside its place and renamed: a killed run leaves nothing
    half-written, and two runs at once write the same bytes to the same place. A long film is stored as it goes; what
    is not done yet are rows of inf.

    Args:
        root: folder, by default ``features`` in the cache folder; may be deleted at any time
    """

    def __init__(self, root=None):
        self.root = Path(root if root is not None else paths.CACHE / "features")

    def content(self, path):
        """SHA-256 of a film; kept by path, size and date of change, so that a film is read for it once."""
        path, (size, changed) = Path(path).resolve(), stamp(path)
        known = (
            self.root
            / "films"
            / hashlib.sha256(f"{path}\n{size}\n{changed}".encode()).hexdigest()[:32]
        )
        if known.is_file() and len(digest := known.read_text()) == 64:
            return digest
        with open(path, "rb") as film:
            digest = hashlib.file_digest(film, "sha256").hexdigest()
        write(known, digest.encode())
        return digest

    def path(self, film, extractor, starts, seconds):
        """Where the features of a film are kept, whether they are there yet or not."""
        grid = [[round(float(t), 6) for t in column] for column in (starts, seconds)]
        parts = [
            self.content(film),
            extractor.name,
            extractor.version,
            extractor.options,
            extractor.names,
            extractor.rate,
            extractor.side,
            grid,
            *([extractor.padded] if extractor.padded != 1 else []),
        ]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self.root / extractor.name / f"{key[:40]}.npy"

    def place(self, film, extractor, starts, seconds):
        """The same, with what the film is like now: taken before it is read, so that nothing else is kept for it."""
        now = stamp(film)
        path = self.path(film, extractor, starts, seconds)
        return Place(path, str(film), now, (len(starts), extractor.size))


class Place(NamedTuple):
    """Where features go: the file, the film they are of, its size and date of change, ``(clips, size)``."""

    path: Path
    film: str
    stamp: tuple
    shape: tuple


def stamp(film):
    """Size and date of change of a file."""
    status = Path(film).stat()
    return status.st_size, status.st_mtime_ns


def load(place):
    """Reads the features of a film.

    Shape:
        result ``(clips, size)``, float32; a row of nan where a clip lacks what is needed, of inf where it is not done

    Raises:
        CorpusFormatError: if the stored file is damaged; it names the file to delete
    """
    path = place.path
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return np.full(place.shape, np.inf, np.float32)
    except (ValueError, EOFError, OSError) as error:
        raise CorpusFormatError(
            path, f"stored features are damaged ({error}): delete this file"
        ) from error
    if array.shape != place.shape or array.dtype != np.float32:
        found = f"found {array.dtype} {array.shape}: delete this file"
        raise CorpusFormatError(path, f"expected stored features float32 {place.shape}, {found}")
    return array


def put(place, array):
    """Keeps the features of a film, beside those of its clips that are there.

    Raises:
        CorpusNotFoundError, CorpusFormatError: if the film was deleted, or changed, after the place was taken
    """
    try:
        now = stamp(place.film)
    except FileNotFoundError:
        raise CorpusNotFoundError(f"{place.film}: deleted while it was read") from None
    if now != place.stamp:
        raise CorpusFormatError(
            place.film, "changed while it was read: nothing is kept, run it again"
        )
    array = np.asarray(array, np.float32)
    if np.isinf(array).any():
        array = np.where(np.isinf(array), load(place), array)
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write(place.path, buffer.getvalue())


def write(path, content):
    """Writes bytes beside their place and renames: whoever reads finds all of them or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
