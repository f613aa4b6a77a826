"""Checks of what a command is asked for, from the console and from Python."""

import math

from affectlib.errors import AffectError


class OptionError(AffectError, ValueError):
    """An option that the command does not have, or that has no such value."""


def positive_number(value: float, option: str) -> None:
    """Refuses a length, such as that of a segment in seconds, that is not above 0.

    Args:
        value: of the option
        option: its name, for the message

    Raises:
        OptionError: for 0, a negative number, an infinite one or nan

    Examples:
        >>> positive_number(-1.0, "seconds")
        Traceback (most recent call last):
        affectlib.runner.options.OptionError: seconds: expected a number above 0, not -1.0
    """
    if not 0 < value < math.inf:
        raise OptionError(f"{option}: expected a number above 0, not {value}")


def positive_count(value: int, option: str) -> None:
    """Refuses a number of things, such as of processes, that is not above 0.

    Args:
        value: of the option
        option: its name, for the message

    Raises:
        OptionError: for 0 or a negative number

    Examples:
        >>> positive_count(0, "jobs")
        Traceback (most recent call last):
        affectlib.runner.options.OptionError: jobs: expected a whole number above 0, not 0
    """
    if value < 1:
        raise OptionError(f"{option}: expected a whole number above 0, not {value}")
