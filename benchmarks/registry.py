"""All benchmarks that give ratios, by name."""

import importlib
from collections.abc import Callable, Iterator

from benchmarks.common import Comparison

# Each is the function `comparisons` of the module of its name.
RATIOS = (
    "reading",
    "extract",
    "networks",
    "faces",
    "sound",
    "store",
    "loaders",
    "fit_folds",
    "fit",
    "gla",
    "afew_va",
    "dropout",
    "intervals",
    "tsne",
    "imports",
    "threads",
    "gpu",
)
# They take an hour or more, and run only where they are asked for.
WHOLE = ("reproduce", "test")


def find(name: str) -> Callable[[], Iterator[Comparison]]:
    """The function that prepares the comparisons of a benchmark, one after the other."""
    if name in WHOLE:
        from benchmarks import whole

        return getattr(whole, name)
    return importlib.import_module(f"benchmarks.{name}").comparisons
