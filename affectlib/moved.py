"""Old import paths: each keeps working for one release, and names the new place of its module."""

import importlib
import sys
import warnings
from collections.abc import Callable, Collection

# Commands of the console that have another name than their module.
COMMANDS = {"agreement": "spread"}


def moved(old: str, new: str) -> None:
    """Puts a module in the place of an old one. The old file calls this, and holds nothing else.

    Args:
        old: ``__name__`` of the old module; ``"__main__"`` where it is run with ``python -m``: then
            the console command that took its place runs
        new: dotted name of the module that took its place
    """
    if old == "__main__":
        name = new.rpartition(".")[2]
        cli = importlib.import_module("affectlib.runner.cli")
        sys.argv.insert(1, COMMANDS.get(name, name))
        cli.console()
    warnings.warn(f"{old} has moved to {new}", DeprecationWarning, stacklevel=3)
    sys.modules[old] = importlib.import_module(new)


def moved_names(package: str, names: Collection[str], new: str) -> Callable[[str], object]:
    """Makes a ``__getattr__`` for a package whose names have moved to another module.

    Args:
        package: ``__name__`` of the package
        names: the names that have moved
        new: dotted name of the module that defines them now
    """

    def find(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        warnings.warn(f"{package}.{name} has moved to {new}", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(new), name)

    return find
