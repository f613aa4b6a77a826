"""What a run did without: clips that could not be read, and features that are zeros.

``on_error="skip"`` and ``missing="zeros"`` let a run go on. A reader must see what that cost.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from affectlib.corpora import Corpus
from affectlib.features import FeatureTable

# Films that are named before the others are only counted.
NAMED = 20
COLUMNS = ("corpus", "left out", "count", "which")


def left_out(corpus: Corpus, *tables: FeatureTable) -> pd.DataFrame:
    """Counts and lists what was left out of a corpus.

    Args:
        corpus: as it was loaded
        tables: the features of its clips

    Returns:
        one row for each clip, film or zip part that the loader or ``extract`` dropped, and one for
        each extractor whose features are zeros in some clips because these lack its sound or
        picture. A single row says so where nothing was left out

    Examples:
        >>> import numpy as np
        >>> from affectlib.corpora.base import no_annotations
        >>> columns = ["clip", "path", "group", "split", "seconds"]
        >>> films = pd.DataFrame([["a", "a.mp4", "a", "", 9.0]], columns=columns)
        >>> corpus = Corpus("films", films, no_annotations(), (), (0, 1), None, "", "", True)
        >>> print(left_out(corpus).loc[0, "left out"])
        nothing
        >>> table = FeatureTable(
        ...     ("a:0", "a:1"), {"sound": np.zeros((2, 1))}, {}, True, missing={"sound": ("a:1",)}
        ... )
        >>> print(*left_out(corpus, table).loc[0])
        films sound: zeros 1 a (1)
    """
    rows = [(corpus.name, "not read", 1, message) for message in corpus.skipped]
    for table in tables:
        rows += [(corpus.name, "not described", 1, message) for message in table.skipped]
        for extractor, clips in table.missing.items():
            if clips:
                rows.append((corpus.name, f"{extractor}: zeros", len(clips), _by_film(clips)))
    if not rows:
        rows.append((corpus.name, "nothing", 0, ""))
    return pd.DataFrame(rows, columns=COLUMNS)


def _by_film(clips: tuple[str, ...]) -> str:
    """How many clips of each film, of the first films by name."""
    counts = Counter(clip.rpartition(":")[0] or clip for clip in clips)
    names = [f"{film} ({count})" for film, count in list(counts.items())[:NAMED]]
    if len(counts) > NAMED:
        names.append(f"and {len(counts) - NAMED} more")
    return ", ".join(names)
