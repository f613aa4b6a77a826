"""Downloads the released weights, behind ``affectlib weights``.

Weights that nobody gives to a program are made from what a reader has.
"""

from collections.abc import Sequence
from pathlib import Path

from affectlib.errors import AffectError
from affectlib.features.pretrained.download import fetch
from affectlib.features.pretrained.weights import (
    WEIGHTS,
    Weights,
    WeightsNotFoundError,
    find,
    weights_named,
)
from affectlib.runner.failures import interrupted, report
from affectlib.runner.options import OptionError


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


def make(name: str, source: Path | str) -> Path:
    """Makes a file of weights that its owners do not give to a program, unless it is there.

    Args:
        name: ``xception``, which is trained on RAF-DB, or ``vgg16_places``, which is converted
        source: the folder of RAF-DB, or the released caffemodel

    Returns:
        the file

    Raises:
        OptionError: for another name
        NotFoundError, FileFormatError: if the source is not there, or not as expected
        WriteError: if the disk is full, or a folder may not be written
    """
    if name not in MADE:
        raise OptionError(f"--from serves {' and '.join(MADE)}, not {name}")
    try:
        (path,) = find(name)
    except WeightsNotFoundError:
        return MADE[name](source)
    print(f"{name} is there already; delete it to make it anew")
    return path


def _train_expressions(source: Path | str) -> Path:
    # Only here: torch takes seconds to import, and a list of files does not need it.
    from affectlib.runner.expressions import train_expressions

    return train_expressions(source)


def _convert_places365(source: Path | str) -> Path:
    from affectlib.features.pretrained.caffe import convert_places365

    return convert_places365(source)


MADE = {"xception": _train_expressions, "vgg16_places": _convert_places365}


def main(names: Sequence[str], source: Path | str | None) -> int:
    """Downloads weights, or makes one file of them: ``affectlib weights``.

    Args:
        names: of rows of the table of weights
        source: what one file is made from; None to download

    Returns:
        exit status: 0; 1 where a file is not there afterwards; 2 for a name that does not exist
    """
    try:
        if source is None:
            return 1 if download_all(names) else 0
        if len(names) != 1:
            raise OptionError(f"--from serves one of {' and '.join(MADE)}: name it")
        print(f"{names[0]}: {make(names[0], source)}")
    except (AffectError, ValueError, OSError) as error:
        return report(error)
    except KeyboardInterrupt:
        return interrupted()
    return 0
