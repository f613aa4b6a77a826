"""What every corpus becomes once it is read: two tables and what must be known about them."""

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
]

CLIP_COLUMNS = ("clip", "path", "group", "split", "seconds")
ANNOTATION_COLUMNS = ("clip", "time", "valence", "arousal")
SIMULATED_MARK = "SIMULATED.json"


# The names that corpora used before the errors moved below media.
CorpusNotFoundError = NotFoundError
CorpusFormatError = FileFormatError


@dataclass(frozen=True)
class Corpus:
    """One corpus in memory.

    Args:
        name: slug of the corpus, for example ``cognimuse``
        clips: one row per clip, with the columns clip (unique id), path (media file, ``""`` where
            it was read with ``films=False``), group (what may never straddle two folds: film,
            actor), split (official set or ``""``), seconds (duration, nan without films) and the
            targets. Where a clip is a part of a longer one (``labels.segments``)
            also source (the clip it was cut from, as named in ``annotations``) and start (in seconds)
        annotations: one row per clip and time: clip, time (in seconds), valence, arousal
        labels: names of the targets or classes
        value_range: smallest and largest value an annotation may take
        hertz: annotations per second, None where a clip has one value
        license: under which terms its owner gives it
        citation: the paper to cite
        simulated: True where the files were written by ``affectlib.simulate``
        skipped: what ``on_error="skip"`` dropped, one message per clip or zip part
        notes: what else a reader of a result must know, one sentence each; shown with the corpus
    """

    name: str
    clips: pd.DataFrame
    annotations: pd.DataFrame
    labels: tuple
    value_range: tuple
    hertz: float | None
    license: str
    citation: str
    simulated: bool
    skipped: tuple = ()
    notes: tuple = ()

    def __post_init__(self):
        missing = [c for c in CLIP_COLUMNS if c not in self.clips.columns]
        missing += [c for c in ANNOTATION_COLUMNS if c not in self.annotations.columns]
        if missing:
            raise ValueError(f"corpus {self.name}: columns missing: {', '.join(missing)}")
        if self.clips["clip"].duplicated().any():
            twice = self.clips.loc[self.clips["clip"].duplicated(), "clip"].iloc[0]
            raise ValueError(f"corpus {self.name}: clip {twice!r} stands twice")

    def __len__(self):
        return len(self.clips)

    def __repr__(self):
        kind = "simulated" if self.simulated else "real"
        counts = f"{len(self.clips)} clips, {len(self.annotations)} annotations"
        notes = "".join(f"; {note}" for note in self.notes)
        return f"Corpus({self.name}, {kind}, {counts}{notes})"

    def select(self, rows):
        """The same corpus with some clips only.

        Args:
            rows: boolean mask over ``clips``, or positions in it

        Returns:
            a new Corpus; annotations of other clips are left out
        """
        rows = np.asarray(rows)
        clips = self.clips.iloc[np.flatnonzero(rows) if rows.dtype == bool else rows]
        annotated = clips["source"] if "source" in clips else clips["clip"]
        kept = self.annotations["clip"].isin(set(annotated))
        return replace(
            self,
            clips=clips.reset_index(drop=True),
            annotations=self.annotations[kept].reset_index(drop=True),
        )
