"""Every error that affectlib raises about its input, below everything else."""

from pathlib import Path


class AffectError(Exception):
    """Base of every error that affectlib raises about its input."""


class NotFoundError(AffectError, FileNotFoundError):
    """Something is not where it was looked for: says which files, and where to ask for it."""


class FileFormatError(AffectError, ValueError):
    """A file is not as its format says: names the file, the row and what was expected.

    Args:
        path: the file
        expected: what was expected there, and what was found
        row: of the file, counted from 1, or another place in it, None where there is none to name
    """

    def __init__(self, path, expected: str, *, row=None):
        self.path = Path(path)
        self.row = row
        self.expected = expected
        place = f"{path}" if row is None else f"{path}, row {row}"
        super().__init__(_printable(f"{place}: {expected}"))

    def __reduce__(self):
        # Without this, an error that crosses to another process is built again from its message alone.
        return _format_error, (self.path, self.expected, self.row)


def _printable(text: str) -> str:
    """The text, with what would command a terminal written out: names come from files of others."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _format_error(path, expected, row):
    return FileFormatError(path, expected, row=row)
