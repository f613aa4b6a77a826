"""The form of every corpus in memory: a table of clips, a table of annotations, and their terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from affectlib.errors import AffectError, FileFormatError, NotFoundError

__all__ = [
    "ANNOTATION_COLUMNS",
    "CLIP_COLUMNS",
    "SIMULATED_MARK",
    "AffectError",
    "Corpus",
    "CorpusFormatError",
    "CorpusNotFoundError",
    "no_annotations",
]

# Columns of every corpus; the targets come after them.
CLIP_COLUMNS = ("clip", "path", "group", "split", "seconds")
ANNOTATION_COLUMNS = ("clip", "time", "valence", "arousal")
# A corpus without this file is real.
SIMULATED_MARK = "SIMULATED.json"

# Earlier names of the two errors.
CorpusNotFoundError = NotFoundError
CorpusFormatError = FileFormatError


@dataclass(frozen=True)
class Corpus:
    """One corpus in memory.

    Args:
        name: slug of the corpus, for example ``cognimuse``
        clips: one row per clip. Columns: clip (unique id), path (media file, ``""`` if read with
            ``films=False``), group (film or actor, never on both sides of a split), split
            (official set or ``""``), seconds (duration, nan without films) and the targets. A clip
            that is part of a longer one (``labels.segments``) also has source (the longer clip, as
            named in ``annotations``) and start (in seconds)
        annotations: one row per clip and time. Columns: clip, time (in seconds), valence, arousal
        labels: names of the targets or classes
        value_range: smallest and largest value an annotation may take
        hertz: annotations per second, None if a clip has one value
        license: the owner's terms of use
        citation: the paper to cite
        simulated: True if ``affectlib.simulate`` wrote the files
        skipped: clips or zip parts that ``on_error="skip"`` dropped, one message each
        notes: other facts that a reader of a result must know, one sentence each; shown by
            ``repr``

    Raises:
        ValueError: if a table lacks a column, two clips have one id, or a clip has no group
    """

    name: str
    clips: pd.DataFrame
    annotations: pd.DataFrame
    labels: tuple[str, ...]
    value_range: tuple[float, float]
    hertz: float | None
    license: str
    citation: str
    simulated: bool
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        missing = [column for column in CLIP_COLUMNS if column not in self.clips]
        missing += [column for column in ANNOTATION_COLUMNS if column not in self.annotations]
        if missing:
            raise ValueError(f"corpus {self.name}: columns missing: {', '.join(missing)}")
        repeated = self.clips.loc[self.clips["clip"].duplicated(), "clip"]
        if len(repeated):
            raise ValueError(f"corpus {self.name}: clip {repeated.iloc[0]!r} appears twice")
        # Folds could put such a clip on either side.
        without = self.clips.loc[self.clips["group"].isna(), "clip"]
        if len(without):
            raise ValueError(f"corpus {self.name}: clip {without.iloc[0]!r} has no group")

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        kind = "simulated" if self.simulated else "real"
        counts = f"{len(self.clips)} clips, {len(self.annotations)} annotations"
        notes = "".join(f"; {note}" for note in self.notes)
        return f"Corpus({self.name}, {kind}, {counts}{notes})"

    def select(self, rows: np.ndarray | Sequence[int] | Sequence[bool]) -> Corpus:
        """Returns the same corpus with some of its clips.

        Args:
            rows: boolean mask over ``clips``, or positions in it

        Returns:
            a new Corpus, without the annotations of other clips
        """
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        clips = self.clips.iloc[rows]
        # Segments are annotated under the name of the clip they were cut from.
        annotated = clips["source"] if "source" in clips else clips["clip"]
        kept = self.annotations["clip"].isin(set(annotated))
        return replace(
            self,
            clips=clips.reset_index(drop=True),
            annotations=self.annotations[kept].reset_index(drop=True),
        )


def no_annotations() -> pd.DataFrame:
    """Returns a table of annotations without rows, for a corpus with one value per clip."""
    columns = {}
    for column in ANNOTATION_COLUMNS:
        columns[column] = pd.Series(dtype=str if column == "clip" else float)
    return pd.DataFrame(columns)
