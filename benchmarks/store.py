"""Features on disk: our store against one file of h5py.

A film is named by its content, five extractors are stored of it, and all are read again. h5py keeps
no key of the content and no digest of the values, and a killed run damages its file.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from affectlib.features import Extractor, descriptors
from affectlib.features.store import Store
from benchmarks.common import Comparison, Way


class Films:
    """Some films, features of each, and where both ways keep them.

    Args:
        folder: of all files
        films: how many
        clips: of each film
    """

    def __init__(self, folder: Path, *, films: int, clips: int) -> None:
        self.extractors: Sequence[Extractor] = descriptors()
        self.starts = [5.0 * number for number in range(clips)]
        self.seconds = [5.0] * clips
        self.store = Store(folder / "store")
        self.file = folder / "features.h5"
        rng = np.random.default_rng(0)
        self.films = []
        for number in range(films):
            self.films.append(folder / f"{number}.mp4")
            self.films[-1].write_bytes(str(number).encode())
        self.features = []
        for extractor in self.extractors:
            self.features.append(rng.standard_normal((clips, extractor.size), dtype=np.float32))

    def write(self) -> None:
        """Ours."""
        for film in self.films:
            for extractor, values in zip(self.extractors, self.features, strict=True):
                self.store.place(film, extractor, self.starts, self.seconds).save(values)

    def read(self) -> None:
        """Ours."""
        for film in self.films:
            for extractor in self.extractors:
                self.store.place(film, extractor, self.starts, self.seconds).load()

    def write_h5(self) -> None:
        """A group per film, a data set per extractor."""
        with h5py.File(self.file, "w") as file:
            for film in self.films:
                group = file.create_group(film.name)
                for extractor, values in zip(self.extractors, self.features, strict=True):
                    group[extractor.name] = values

    def read_h5(self) -> None:
        """All of it."""
        with h5py.File(self.file) as file:
            for film in self.films:
                for extractor in self.extractors:
                    np.asarray(file[film.name][extractor.name])


def comparisons() -> Iterator[Comparison]:
    """Many short films, and few long ones; times are per film."""
    for films, clips in ((200, 1), (4, 720)):
        with tempfile.TemporaryDirectory() as folder:
            stored = Films(Path(folder), films=films, clips=clips)
            stored.write()
            stored.write_h5()
            sizes = f"a film of {clips:,} clips, descriptors"
            for verb, ours, theirs in (
                ("write", stored.write, stored.write_h5),
                ("read", stored.read, stored.read_h5),
            ):
                yield Comparison(
                    f"{verb} {sizes}",
                    Way("Store", ours, per=films),
                    [Way("h5py, one file", theirs, per=films)],
                )
