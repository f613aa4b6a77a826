"""The definition of an extractor, and the table of the features that extractors give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from affectlib.corpora.base import Corpus
from affectlib.media import SAMPLING_RATE, Clip, Picture


@dataclass(frozen=True)
class Extractor:
    """Turns one clip of film into one vector.

    Args:
        name: a short name, unique within one extraction
        version: raised whenever the values change;
            part of the key under which results are stored
        names: one name for each value
        vector: module-level function that takes the pictures, or the sound, of one clip,
            and the options; gives ``(size,)``
        rate: frames per second that the extractor looks at, 0 for none
        pairs: whether it needs the frame that follows each
        sound: whether it needs sound
        side: the longer side of its frames is reduced to this many pixels
        shortest: length of sound in seconds; a shorter clip has no value
        padded: share of ``shortest`` from which on sound is filled up with silence;
            1 for never
        half: whether values are kept in half precision, as those of large maps are;
            part of the key
        options: settings that change the values; part of the key
        many: batched form of ``vector`` for networks:
            module-level function from a list of its inputs to ``(clips, size)``.
            It must give identical values, so it is no part of the key.
            None calls ``vector`` clip by clip
    """

    name: str
    version: int
    names: tuple[str, ...]
    vector: Callable
    rate: float = 0.0
    pairs: bool = False
    sound: bool = False
    side: int = 320
    shortest: float = 0.1
    padded: float = 1.0
    half: bool = False
    options: tuple = ()
    many: Callable | None = None

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.names)

    @property
    def dtype(self) -> np.dtype:
        """Type of the values, float32 or float16."""
        return np.dtype(np.float16 if self.half else np.float32)

    def __call__(self, clip: Clip) -> np.ndarray:
        """The vector of one clip, ``(size,)``; see :meth:`batch`."""
        return self.batch([clip])[0]

    def batch(self, clips: Sequence[Clip]) -> np.ndarray:
        """The vectors of some clips.

        Args:
            clips: read at the rate of this extractor

        Returns:
            one row per clip;
            a row is nan where the clip lacks sound, a frame or a second frame

        Shape:
            result ``(clips, size)``

        Raises:
            ValueError: if the extractor does not give as many finite values as it has names
        """
        rows = np.full((len(clips), self.size), np.nan, self.dtype)
        inputs = {}
        for i, clip in enumerate(clips):
            value = self._input(clip)
            if value is not None:
                inputs[i] = value
        if not inputs:
            return rows
        values = self._values(list(inputs.values()))
        for i, value in zip(inputs, values, strict=True):
            rows[i] = self._checked(value)
        return rows

    def _input(self, clip: Clip) -> np.ndarray | list[Picture] | None:
        """The input of ``vector`` for a clip, None where the clip lacks it."""
        if self.sound:
            return self._sound(clip)
        if not self.rate:
            return None
        pictures = clip.at(self.rate, side=self.side)
        # The last frame of a film has none after it; other extractors may want no pairs.
        if self.pairs:
            pictures = [picture for picture in pictures if picture.following is not None]
        return pictures or None

    def _sound(self, clip: Clip) -> np.ndarray | None:
        """The sound of a clip, filled up with silence where allowed, None where too short."""
        needed = round(self.shortest * SAMPLING_RATE)
        samples = 0 if clip.sound is None else len(clip.sound)
        if samples >= needed:
            return clip.sound
        # A clip without any sample is never filled up.
        if samples == 0 or samples < self.padded * needed:
            return None
        return np.pad(clip.sound, (0, needed - samples))

    def _values(self, inputs: list) -> Sequence:
        """One value of ``vector`` for each input."""
        options = dict(self.options)
        if self.many is None:
            return [self.vector(one, **options) for one in inputs]
        values = self.many(inputs, **options)
        if len(values) != len(inputs):
            expected = f"expected {len(inputs)} rows, one per clip, got {len(values)}"
            raise ValueError(f"{self.name}: {expected}")
        return values

    def _checked(self, value: Sequence[float]) -> np.ndarray:
        """One vector; raises ValueError if its size is wrong or a value not finite."""
        with np.errstate(over="ignore"):
            # A value that is too large for half precision is refused below.
            value = np.asarray(value, self.dtype)
        if value.shape != (self.size,) or not np.isfinite(value).all():
            expected = f"expected {self.size} finite values, got shape {value.shape}"
            raise ValueError(f"{self.name}: {expected}")
        return value


@dataclass(frozen=True)
class FeatureTable:
    """One vector per clip and extractor.

    Args:
        clips: clip ids, in the order of the corpus
        arrays: by name of the extractor, ``(clips, size)``, float32, or float16 of large maps
        names: by name of the extractor, one name for each value
        simulated: True where the films were simulated
        missing: by name of the extractor, the clips that lack the sound or picture it needs;
            their rows are 0
        skipped: one message for each film that ``on_error="skip"`` dropped,
            or for each clip where the other clips of its film are there
    """

    clips: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]
    names: Mapping[str, tuple[str, ...]]
    simulated: bool
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise KeyError(f"no features {name!r}, there are {', '.join(self.arrays)}")
        return self.arrays[name]

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        kind = "simulated" if self.simulated else "real"
        sizes = ", ".join(f"{name} {size}" for name, size in self.sizes.items())
        return f"FeatureTable({kind}, {len(self)} clips, {sizes})"

    @property
    def sizes(self) -> dict[str, int]:
        """Number of values by name of the extractor."""
        return {name: array.shape[1] for name, array in self.arrays.items()}

    def to_frame(self) -> pd.DataFrame:
        """The features by name, a row per clip.

        Returns:
            index ``clip``; a column per value, such as ``scene.light_mean``: name of the extractor,
            a point, name of the value. Values are nan where the clip lacks the sound or picture
            that the extractor needs; in ``arrays`` they are 0 there

        Shape:
            ``(clips, sum of all sizes)``

        Raises:
            ValueError: if an extractor does not have as many names as values, or two columns would
                have the same name
        """
        columns = []
        parts = []
        for name, array in self.arrays.items():
            names = self.names[name]
            if len(names) != array.shape[1]:
                raise ValueError(f"{name} has {array.shape[1]} values, but {len(names)} names")
            columns += [f"{name}.{value}" for value in names]
            lacking = np.isin(self.clips, self.missing.get(name, ()))
            parts.append(np.where(lacking[:, None], np.nan, array).astype(np.float32))
        # Taken together: thousands of columns that are added one by one take long.
        values = np.concatenate(parts, axis=1) if parts else np.empty((len(self), 0), np.float32)
        index = pd.Index(self.clips, name="clip")
        frame = pd.DataFrame(values, index=index, columns=pd.Index(columns, dtype=object))
        repeated = frame.columns[frame.columns.duplicated()]
        if len(repeated):
            raise ValueError(f"two features are called {repeated[0]!r}")
        return frame

    def described(self, corpus: Corpus) -> Corpus:
        """The corpus without the clips that have no features, because ``extract`` skipped them.

        Args:
            corpus: whose clips were described
        """
        if len(corpus) == len(self):
            return corpus
        return corpus.select(corpus.clips["clip"].isin(self.clips).to_numpy())

    def select(self, rows: Sequence[int] | np.ndarray) -> FeatureTable:
        """The same table with some clips only.

        Args:
            rows: boolean mask over the clips, or positions
        """
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        clips = tuple(self.clips[i] for i in rows)
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        selected = set(clips)
        missing = {}
        for name, lacking in self.missing.items():
            missing[name] = tuple(clip for clip in lacking if clip in selected)
        return FeatureTable(clips, arrays, self.names, self.simulated, missing, self.skipped)
