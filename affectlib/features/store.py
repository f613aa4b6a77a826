"""The store: features on disk, one file per film and extractor."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from affectlib import paths
from affectlib.errors import AffectError, FileFormatError, NotFoundError
from affectlib.features.extractor import Extractor
from affectlib.moved import moved_names
from affectlib.paths import sealed, unsealed

__getattr__ = moved_names(__name__, ("FeatureTable",), "affectlib.features.extractor")


class StoreError(AffectError, OSError):
    """A file of the store cannot be read or written: no permission, no space.

    Names the file and the reason. The features in it are not damaged.
    """


class Store:
    """Features on disk, one file per film and extractor, named by everything they depend on.

    The key covers the content of the film, the extractor (name, version, options, names),
    and where the clips start and how long they are.
    A file is written completely or not at all,
    so a killed run leaves nothing half-written,
    and two runs at once write the same bytes to the same place.
    A long film is stored as it goes: the rows of clips that are not done yet are inf.
    A SHA-256 of all bytes stands at the end of each file.
    Features that do not fit it are damaged: a warning names the file, and they are computed again.
    A file of earlier versions ends without one, and is served as it is.

    Args:
        root: folder, by default ``features`` in the cache folder; may be deleted at any time
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root if root is not None else paths.CACHE / "features")
        # By name of the extractor: the extractor, and the text of its part of a key.
        self._texts: dict[str, tuple[Extractor, str]] = {}

    def content(self, path: Path | str) -> str:
        """SHA-256 of a film.

        The digest is kept, so that a film is read for it only once.
        It is kept under path, size, time of modification, time of change and inode:
        copying tools can set the time of modification, but not the time of change.
        A digest that is damaged, or may not be read, is computed again.
        """
        return self._stamp(path).content

    def _stamp(self, path: Path | str) -> Stamp:
        """What tells a film from another one: its identity now, and its SHA-256."""
        path = Path(path).resolve()
        # Taken before the film is read: a change during its reading is noticed.
        identity = _identity(path)
        kept = self.root / "films" / identity
        try:
            digest = unsealed(kept.read_bytes())
        except OSError:
            digest = None
        if digest is not None:
            return Stamp(identity, digest.decode())
        computed = _digest(path)
        # A digest that cannot be kept costs time and nothing else.
        with contextlib.suppress(StoreError):
            write(kept, sealed(computed.encode()))
        return Stamp(identity, computed)

    def path(
        self,
        film: Path | str,
        extractor: Extractor,
        starts: Sequence[float],
        seconds: Sequence[float],
    ) -> Path:
        """The file for the features of a film, whether it exists yet or not.

        Args:
            film: media file
            extractor: that computes the features
            starts: where each clip starts, in seconds
            seconds: how long each clip lasts
        """
        return self.place(film, extractor, starts, seconds).path

    def _path(self, content: str, extractor: Extractor, grid: str) -> Path:
        """The file for features.

        Args:
            content: SHA-256 of the film
            extractor: that computes the features
            grid: starts and lengths of the clips, as :func:`_grid` gives them
        """
        parts = [json.dumps(content), self._text(extractor), grid]
        # The usual value adds nothing: keys from before the field existed stay valid.
        if extractor.padded != 1:
            parts.append(json.dumps(extractor.padded))
        if extractor.half:
            parts.append(json.dumps("half"))
        # The text of a list in JSON.
        text = "[" + ", ".join(parts) + "]"
        key = hashlib.sha256(text.encode()).hexdigest()
        return self.root / extractor.name / f"{key[:40]}.npy"

    def _text(self, extractor: Extractor) -> str:
        """An extractor's part of a key: written once, since it may hold a thousand names."""
        known, text = self._texts.get(extractor.name, (None, ""))
        if known is not extractor:
            parts = [
                extractor.name,
                extractor.version,
                extractor.options,
                extractor.names,
                extractor.rate,
                extractor.side,
            ]
            text = ", ".join(json.dumps(part) for part in parts)
            self._texts[extractor.name] = (extractor, text)
        return text

    def remove_leftovers(self) -> None:
        """Deletes what processes that were killed have left of their writes."""
        for folder in self.root.glob("*/"):
            paths.remove_leftovers(folder)

    def place(
        self,
        film: Path | str,
        extractor: Extractor,
        starts: Sequence[float],
        seconds: Sequence[float],
    ) -> Place:
        """Like :meth:`path`, plus what tells whether the film has changed.

        Features of a film that changed while it was read are refused.
        """
        return self.places(film, [extractor], starts, seconds)[extractor.name]

    def places(
        self,
        film: Path | str,
        extractors: Sequence[Extractor],
        starts: Sequence[float],
        seconds: Sequence[float],
    ) -> dict[str, Place]:
        """Like :meth:`place` for several extractors, by their names: the film is looked at once."""
        before = self._stamp(film)
        grid = _grid(starts, seconds)
        places = {}
        for extractor in extractors:
            path = self._path(before.content, extractor, grid)
            shape = (len(starts), extractor.size)
            places[extractor.name] = Place(path, str(film), before, shape, extractor.dtype)
        return places


class Place(NamedTuple):
    """Where the features of one film and extractor are kept.

    Args:
        path: file of the features
        film: media file
        stamp: of the film, before it was read
        shape: ``(clips, size)`` of the features
        dtype: type of their values
    """

    path: Path
    film: str
    stamp: Stamp
    shape: tuple[int, int]
    dtype: np.dtype = np.dtype(np.float32)

    def load(self) -> np.ndarray:
        """Reads the features.

        Returns:
            a row of nan where a clip lacks the sound or picture that is needed,
            a row of inf where a clip is not done yet

        Shape:
            result ``(clips, size)``

        Damaged features count as not done: a warning names the file, and they are computed again.

        Raises:
            StoreError: if the file may not be read; it names the file
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return self._nothing_done()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        try:
            return _unpacked(content, self.shape, self.dtype)
        except ValueError as error:
            warnings.warn(
                f"{self.path}: stored features are damaged ({error}): they are computed again",
                stacklevel=2,
            )
            return self._nothing_done()

    def _nothing_done(self) -> np.ndarray:
        return np.full(self.shape, np.inf, self.dtype)

    def save(self, array: np.ndarray) -> None:
        """Stores the features. Rows of inf leave what is already stored of these clips.

        Args:
            array: ``(clips, size)``

        Raises:
            NotFoundError: if the film was deleted after the place was taken
            FileFormatError: if it changed
            StoreError: if the features cannot be written
        """
        try:
            has_changed = self.stamp.has_changed(self.film)
        except FileNotFoundError:
            raise NotFoundError(f"{self.film}: deleted while it was read") from None
        if has_changed:
            changed = "changed while it was read: nothing is kept, run it again"
            raise FileFormatError(self.film, changed)
        array = np.asarray(array, self.dtype)
        # Parts of one film come one after another: each keeps the rows of those before.
        undone = np.isinf(array)
        if undone.any():
            array = np.where(undone, self.load(), array)
        write(self.path, _packed(array))


class Stamp(NamedTuple):
    """What tells a film from another one that took its place.

    Args:
        identity: changes whenever somebody writes to the file or replaces it
        content: SHA-256 of the film
    """

    identity: str
    content: str

    def has_changed(self, film: Path | str) -> bool:
        """True if the film has another content now.

        Its content is read only where the file was touched: replaced, moved, given other rights.
        """
        path = Path(film).resolve()
        return _identity(path) != self.identity and _digest(path) != self.content


def _grid(starts: Sequence[float], seconds: Sequence[float]) -> str:
    """Starts and lengths of clips as the text of a key."""
    grid = [[round(float(time), 6) for time in times] for times in (starts, seconds)]
    return json.dumps(grid)


def _digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(path: Path) -> str:
    """A name for a file that changes whenever somebody writes to the file or replaces it."""
    status = path.stat()
    parts = (path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    text = "\n".join(str(part) for part in parts)
    # Names of files need not be UTF-8.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _packed(array: np.ndarray) -> bytes:
    """The bytes of a stored file: an npy file, and a digest."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return sealed(buffer.getvalue())


def _unpacked(content: bytes, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """The features in the bytes of a stored file.

    Raises:
        ValueError: if the bytes are damaged
    """
    body = unsealed(content)
    reason = f"they are not {dtype} {shape}"
    if body is None:
        # A file of earlier versions holds an array and no digest.
        body = content
        reason = "they do not fit their digest"
    # Compared and not parsed: a damaged header can make numpy raise nearly any error.
    header = _header(shape, dtype)
    # A view: bytes would be copied.
    values = memoryview(body)[len(header) :]
    if not body.startswith(header) or len(values) != dtype.itemsize * math.prod(shape):
        raise ValueError(reason)
    # Copied: what comes from bytes cannot be changed.
    return np.frombuffer(values, dtype).reshape(shape).copy()


@functools.lru_cache(maxsize=64)
def _header(shape: tuple[int, int], dtype: np.dtype) -> bytes:
    """The first bytes of an npy file of such features."""
    stream = io.BytesIO()
    about = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


def _unreadable(path: Path, error: OSError) -> StoreError:
    """The error of a stored file that may not be read."""
    if isinstance(error, PermissionError):
        expected = "no permission to read these stored features, which another user may own"
        advice = "ask for it, or name another folder by AFFECTLIB_CACHE"
        return StoreError(f"{path}: {expected}: {advice}")
    return StoreError(f"{path}: these stored features cannot be read ({error.strerror})")


def write(path: Path, content: bytes) -> None:
    """Like :func:`affectlib.paths.write`; makes the folder where it is missing.

    Raises:
        StoreError: if the file cannot be written
    """
    try:
        paths.make_folder(path.parent)
        paths.write(path, content)
    except OSError as error:
        # A WriteError has the number of the reason, but not its text.
        reason = os.strerror(error.errno) if error.errno else error
        raise StoreError(f"{path}: this file cannot be written ({reason})") from error
