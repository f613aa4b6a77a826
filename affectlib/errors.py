"""Errors that affectlib raises about its input. This module stands below all others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


class AffectError(Exception):
    """Base of every error that affectlib raises about its input."""


class NotFoundError(AffectError, FileNotFoundError):
    """A corpus or a file is missing. The message names the files and says where to ask for them."""


class FileFormatError(AffectError, ValueError):
    """A file breaks its format. The message names the file, the row and what was expected.

    Args:
        path: the file
        expected: what was expected there, and what was found
        row: row of the file, counted from 1, or another place in it; None if there is none to name

    Examples:
        >>> print(FileFormatError("a.dat", "expected a number, found 'x'", row=7))
        a.dat, row 7: expected a number, found 'x'
    """

    def __init__(self, path: Path | str, expected: str, *, row: int | str | None = None):
        self.path = Path(path)
        self.row = row
        self.expected = expected
        place = str(path)
        if row is not None:
            place += f", row {row}"
        super().__init__(printable(f"{place}: {expected}"))

    def __reduce__(self) -> tuple[Callable, tuple]:
        # Without this method, an error from a worker process would be rebuilt from its message.
        return _format_error, (self.path, self.expected, self.row)


def _format_error(path: Path, expected: str, row: int | str | None) -> FileFormatError:
    return FileFormatError(path, expected, row=row)


def printable(text: str) -> str:
    """Spells out every letter that cannot be printed.

    File names come from other people, and such letters could send commands to a terminal.

    Examples:
        >>> printable("red\\x1b[31m\\n")
        'red\\\\x1b[31m\\\\n'
    """
    letters = []
    for letter in text:
        letters.append(letter if letter.isprintable() else ascii(letter)[1:-1])
    return "".join(letters)
