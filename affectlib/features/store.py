"""The store: features on disk, one file per film and extractor."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from affectlib import paths
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features.extractor import Extractor
from affectlib.moved import moved_names

__getattr__ = moved_names(__name__, ("FeatureTable",), "affectlib.features.extractor")


class Store:
    """Features on disk, one file per film and extractor, named by everything they depend on.

    The key covers the content of the film, the extractor (name, version, options, names),
    and where the clips start and how long they are.
    A file is written completely or not at all,
    so a killed run leaves nothing half-written,
    and two runs at once write the same bytes to the same place.
    A long film is stored as it goes: the rows of clips that are not done yet are inf.

    Args:
        root: folder, by default ``features`` in the cache folder; may be deleted at any time
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root if root is not None else paths.CACHE / "features")

    def content(self, path: Path | str) -> str:
        """SHA-256 of a film.

        The digest is kept under path, size and modification time,
        so that a film is read for it only once.
        """
        path = Path(path).resolve()
        size, modified = stamp(path)
        name = hashlib.sha256(f"{path}\n{size}\n{modified}".encode()).hexdigest()[:32]
        kept = self.root / "films" / name
        if kept.is_file():
            digest = kept.read_text()
            # A digest that was cut short is computed again.
            if len(digest) == 64:
                return digest
        with open(path, "rb") as film:
            digest = hashlib.file_digest(film, "sha256").hexdigest()
        write(kept, digest.encode())
        return digest

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
        grid = [[round(float(time), 6) for time in times] for times in (starts, seconds)]
        parts = [
            self.content(film),
            extractor.name,
            extractor.version,
            extractor.options,
            extractor.names,
            extractor.rate,
            extractor.side,
            grid,
        ]
        # The usual value adds nothing: keys from before the field existed stay valid.
        if extractor.padded != 1:
            parts.append(extractor.padded)
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self.root / extractor.name / f"{key[:40]}.npy"

    def place(
        self,
        film: Path | str,
        extractor: Extractor,
        starts: Sequence[float],
        seconds: Sequence[float],
    ) -> Place:
        """Like :meth:`path`, plus the film's size and modification time.

        With them, features of a film that changed meanwhile are refused.
        """
        # Taken before the film is read: a change during its reading is noticed.
        before = stamp(film)
        path = self.path(film, extractor, starts, seconds)
        return Place(path, str(film), before, (len(starts), extractor.size))


class Place(NamedTuple):
    """Where the features of one film and extractor are kept.

    Args:
        path: file of the features
        film: media file
        stamp: size and modification time of the film, see :func:`stamp`
        shape: ``(clips, size)`` of the features
    """

    path: Path
    film: str
    stamp: tuple[int, int]
    shape: tuple[int, int]

    def load(self) -> np.ndarray:
        """Reads the features.

        Returns:
            float32; a row of nan where a clip lacks the sound or picture that is needed,
            a row of inf where a clip is not done yet

        Shape:
            result ``(clips, size)``

        Raises:
            FileFormatError: if the stored file is damaged; it names the file to delete
        """
        try:
            array = np.load(self.path, allow_pickle=False)
        except FileNotFoundError:
            return np.full(self.shape, np.inf, np.float32)
        except (ValueError, EOFError, OSError) as error:
            damage = f"stored features are damaged ({error}): delete this file"
            raise FileFormatError(self.path, damage) from error
        if array.shape != self.shape or array.dtype != np.float32:
            expected = f"expected stored features float32 {self.shape}"
            found = f"found {array.dtype} {array.shape}: delete this file"
            raise FileFormatError(self.path, f"{expected}, {found}")
        return array

    def save(self, array: np.ndarray) -> None:
        """Stores the features. Rows of inf leave what is already stored of these clips.

        Args:
            array: ``(clips, size)``

        Raises:
            NotFoundError: if the film was deleted after the place was taken
            FileFormatError: if it changed
        """
        try:
            now = stamp(self.film)
        except FileNotFoundError:
            raise NotFoundError(f"{self.film}: deleted while it was read") from None
        if now != self.stamp:
            changed = "changed while it was read: nothing is kept, run it again"
            raise FileFormatError(self.film, changed)
        array = np.asarray(array, np.float32)
        # Parts of one film come one after another: each keeps the rows of those before.
        undone = np.isinf(array)
        if undone.any():
            array = np.where(undone, self.load(), array)
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write(self.path, buffer.getvalue())


def stamp(film: Path | str) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds of a file."""
    status = Path(film).stat()
    return status.st_size, status.st_mtime_ns


def write(path: Path, content: bytes) -> None:
    """Like :func:`affectlib.paths.write`; makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    paths.write(path, content)
