"""Importing parts of the library, against the libraries alone that they stand on."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.common import Comparison, Way

PAIRS = {
    "affectlib": "numpy",
    "affectlib.corpora": "pandas",
    "affectlib.features": "pandas",
    "affectlib.plots": "matplotlib.pyplot",
    "affectlib.training": "torch",
}


def import_anew(name: str) -> None:
    """In an interpreter of its own, whose start is part of the time."""
    subprocess.run([sys.executable, "-c", f"import {name}"], check=True)


def comparisons() -> Iterator[Comparison]:
    """Each part beside the heaviest library that it needs."""
    for ours, theirs in PAIRS.items():
        yield Comparison(
            f"import {ours}",
            Way(ours, partial(import_anew, ours)),
            [Way(f"import {theirs} alone", partial(import_anew, theirs))],
            rounds=3,
        )
