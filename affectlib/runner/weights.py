"""Downloads the released weights: ``python -m affectlib.runner.weights [names]``."""

import argparse
import sys
from collections.abc import Sequence

from affectlib.errors import AffectError
from affectlib.features.pretrained.download import fetch
from affectlib.features.pretrained.weights import (
    WEIGHTS,
    Weights,
    WeightsNotFoundError,
    find,
    weights_named,
)
from affectlib.runner.failures import interrupted


def download_all(names: Sequence[str] = ()) -> int:
    """Downloads weights, and prints how to get those that a program may not fetch.

    Args:
        names: of rows of the table of weights; all of them where none is named

    Returns:
        how many failed; files to be got by hand count only if they were named

    Raises:
        ValueError: if a name is not in the table
    """
    rows = [weights_named(name) for name in names] or WEIGHTS
    failed = 0
    for weights in rows:
        try:
            print(f"{weights.name}: {_find_or_fetch(weights)}")
        except (AffectError, OSError) as error:
            print(f"{weights.name}: {error}")
            if names or weights.url is not None:
                failed += 1
    return failed


def _find_or_fetch(weights: Weights) -> str:
    """The path of a file, downloaded if it is not there, and a remark."""
    try:
        return f"{find(weights.name)[0]} (there already)"
    except WeightsNotFoundError:
        return f"{fetch(weights.name)} ({weights.licence})"


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m affectlib.runner.weights")
    parser.add_argument("names", nargs="*", help="of weights; by default all")
    options = parser.parse_args(arguments)
    try:
        failed = download_all(options.names)
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return interrupted()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
