"""Options of a command, written as ``name=value``, as the Makefile passes them on."""

import math
from collections.abc import Callable, Mapping, Sequence

from affectlib.errors import AffectError


class OptionError(AffectError, ValueError):
    """An option that is not written as ``name=value``, or that the command does not have."""


def positive_number(value: str | float) -> float:
    """Converts a length, such as that of a segment in seconds.

    Raises:
        OptionError: for 0, a negative number, an infinite one or nan
        ValueError: for text that is no number

    Examples:
        >>> positive_number("2.5")
        2.5
    """
    number = float(value)
    if not 0 < number < math.inf:
        raise OptionError(f"expected a number above 0, not {value}")
    return number


def positive_count(value: str | int) -> int:
    """Converts a number of things, such as of processes.

    Raises:
        OptionError: for 0 or a negative number
        ValueError: for text that is no whole number

    Examples:
        >>> positive_count("2")
        2
    """
    count = int(value)
    if count < 1:
        raise OptionError(f"expected a whole number above 0, not {value}")
    return count


def read_options(
    words: Sequence[str],
    kinds: Mapping[str, Callable[[str], object]],
    *,
    required: str,
) -> dict[str, object]:
    """Splits each word at its first ``=``.

    An option with an empty value is left out: a variable of the Makefile that was not given is
    empty.

    Args:
        words: such as ``seconds=2.5``
        kinds: every option of the command, with the function that converts its text
        required: the option that must be given

    Raises:
        OptionError: for a word without ``=``; an unknown option, listing those there are; an
            option that stands twice, or whose text cannot be converted; a required one that is
            not there

    Examples:
        >>> kinds = {"name": str, "seconds": positive_number}
        >>> read_options(["name=1917", "seconds="], kinds, required="name")
        {'name': '1917'}
        >>> read_options(["name=1917", "seconds=-1"], kinds, required="name")
        Traceback (most recent call last):
        affectlib.runner.options.OptionError: seconds: expected a number above 0, not -1
    """
    options = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise OptionError(f"expected name=value, not {word!r}")
        if name not in kinds:
            raise OptionError(f"no option {name!r}; there are {', '.join(kinds)}")
        if name in options:
            raise OptionError(f"option {name!r} stands twice")
        if text:
            options[name] = _converted(name, text, kinds[name])
    if required not in options:
        raise OptionError(f"option {required!r} is missing")
    return options


def _converted(name: str, text: str, convert: Callable[[str], object]) -> object:
    try:
        return convert(text)
    except ValueError as error:
        raise OptionError(f"{name}: {error}") from None
