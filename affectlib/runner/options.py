"""Options of a command, written as ``name=value``, as the Makefile passes them on."""

from collections.abc import Callable, Mapping, Sequence

from affectlib.errors import AffectError


class OptionError(AffectError, ValueError):
    """An option that is not written as ``name=value``, or that the command does not have."""


def read_options(
    words: Sequence[str], kinds: Mapping[str, Callable[[str], object]]
) -> dict[str, object]:
    """Splits each word at its first ``=``.

    An option with an empty value is left out: a variable of the Makefile that was not given is
    empty.

    Args:
        words: such as ``seconds=2.5``
        kinds: every option of the command, with the function that converts its text

    Raises:
        OptionError: for a word without ``=``, or an unknown option; it lists those there are
        ValueError: if a text cannot be converted

    Examples:
        >>> read_options(["name=1917", "seconds=2.5", "root="], {"name": str, "seconds": float})
        Traceback (most recent call last):
        affectlib.runner.options.OptionError: no option 'root'; there are name, seconds
        >>> read_options(["seconds=2.5", "name="], {"name": str, "seconds": float})
        {'seconds': 2.5}
    """
    options = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise OptionError(f"expected name=value, not {word!r}")
        if name not in kinds:
            raise OptionError(f"no option {name!r}; there are {', '.join(kinds)}")
        if text:
            options[name] = kinds[name](text)
    return options
