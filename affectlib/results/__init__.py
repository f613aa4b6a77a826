"""Results of a run: scores with intervals, tables beside the paper's, and metrics.json.

Everything is written to ``figures/<slug>/``, which is committed: the same input gives the same
bytes. So no date, no time and no path is written, and the code is named by the last commit that
changed it. Everything says of which kind it is: simulated, or real with the features it was made
from (:func:`kind`).
"""

from affectlib.moved import moved_names
from affectlib.results.actors import scores_by_actor
from affectlib.results.kinds import is_simulated, kind
from affectlib.results.omissions import left_out
from affectlib.results.records import (
    PACKAGES,
    claim_numbers,
    read_metrics,
    recorded,
    source_commit,
    write_metrics,
    write_table,
)
from affectlib.results.scoring import floor, official, scores, scores_by_group
from affectlib.results.tables import against_paper, published, side_by_side

__all__ = [
    "PACKAGES",
    "against_paper",
    "claim_numbers",
    "floor",
    "is_simulated",
    "kind",
    "left_out",
    "official",
    "published",
    "read_metrics",
    "recorded",
    "scores",
    "scores_by_actor",
    "scores_by_group",
    "side_by_side",
    "source_commit",
    "write_metrics",
    "write_table",
]

_README_NAMES = ("BEGIN", "END", "headline", "report", "update_readme")
__getattr__ = moved_names(__name__, _README_NAMES, "affectlib.runner.readme")
