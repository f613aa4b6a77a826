"""Places of the project on disk, and one safe way to write a file.

An environment variable moves each place but ROOT:

- ROOT: the checkout
- DATA (``AFFECTLIB_DATA``): the licensed corpora, one folder each
- CACHE (``AFFECTLIB_CACHE``): simulated corpora and extracted features; may be deleted
- FIGURES (``AFFECTLIB_FIGURES``): tables and pictures that the notebooks save; in the cache where
  the checkout may not be written
- GOLDEN (``AFFECTLIB_GOLDEN``): the released AttendAffectNet checkpoints and their sample features
"""

import contextlib
import errno
import functools
import os
import stat
import sys
import uuid
from pathlib import Path

from affectlib.errors import AffectError

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

ROOT = Path(__file__).resolve().parents[1]


def _place(variable: str, default: Path) -> Path:
    """Reads a place from an environment variable; one that is unset or empty gives the default."""
    return Path(os.environ.get(variable) or default).expanduser().resolve()


def _default_figures(usual: Path, instead: Path) -> Path:
    """The usual folder for figures; another one where that one is read-only."""
    above = usual if usual.exists() else usual.parent
    return usual if os.access(above, os.W_OK) else instead


DATA = _place("AFFECTLIB_DATA", ROOT / "data")
CACHE = _place("AFFECTLIB_CACHE", ROOT / "build")
FIGURES = _place("AFFECTLIB_FIGURES", _default_figures(ROOT / "figures", CACHE / "figures"))
GOLDEN = _place("AFFECTLIB_GOLDEN", ROOT.parent / "shared" / "golden")


@functools.cache
def tell_figures_moved() -> None:
    """Says where figures go if the checkout may not be written; once in a process."""
    if FIGURES == CACHE / "figures" and not os.environ.get("AFFECTLIB_FIGURES"):
        usual = ROOT / "figures"
        print(f"{usual} may not be written: figures go to {FIGURES}", file=sys.stderr)


def figures_of(slug: str) -> Path:
    """The folder of a paper's figures, which is made where it is not there.

    Raises:
        WriteError: if the disk is full, or the folder may not be written
    """
    tell_figures_moved()
    folder = FIGURES / slug
    make_folder(folder)
    return folder


class WriteError(AffectError, OSError):
    """A place cannot be written: the disk is full, or its rights forbid it.

    Args:
        message: one sentence with the place and what is needed
        errno: the system's number of the reason
    """

    def __init__(self, message: str, errno: int | None = None):
        super().__init__(message)
        self.errno = errno


def write_error(error: OSError, path: Path, *, size: int | None = None) -> OSError:
    """The error to raise where a place could not be written.

    Args:
        error: of the system
        path: file or folder that was to be written
        size: of the file, in bytes, where it is known

    Returns:
        WriteError with one sentence for a full disk and for missing rights; any other error as it
        is

    Examples:
        >>> full = OSError(errno.ENOSPC, "No space left on device")
        >>> print(write_error(full, Path("/data/build/a.npy"), size=4096))
        /data/build/a.npy: the disk is full, 4096 bytes are needed: make room there
    """
    if isinstance(error, WriteError):
        return error
    if error.errno in FULL:
        needed = "more room is needed" if size is None else f"{size} bytes are needed"
        advice = f"the disk is full, {needed}: make room there"
    elif error.errno in FORBIDDEN:
        advice = "may not be written: allow it"
    else:
        return error
    return WriteError(f"{path}: {advice}{_other_place(path)}", error.errno)


def _other_place(path: Path) -> str:
    """Names the setting that moves the place of a file; empty where there is none."""
    for variable, place in {"AFFECTLIB_CACHE": CACHE, "AFFECTLIB_FIGURES": FIGURES}.items():
        if path.is_relative_to(place):
            return f", or name another folder in {variable}"
    return ""


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are not there.

    Raises:
        WriteError: if the disk is full, or the folder above may not be written
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, path) from error


def check_writable(folder: Path) -> None:
    """Refuses a folder before hours of work, not after.

    Raises:
        WriteError: if it cannot be made, or may not be written
    """
    make_folder(folder)
    if not os.access(folder, os.W_OK):
        error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        raise write_error(error, folder)


def write(path: Path | str, content: bytes) -> None:
    """Writes a file completely or not at all.

    A reader, or a second process that writes the same file, never meets a half-written one.
    The content goes to a hidden temporary file in the same folder, which then takes the name of the
    file. A failure removes the temporary file and leaves an older file of that name as it was.
    A new file has the rights of any new file, one that is replaced keeps its own.

    Args:
        path: the file; its folder must exist
        content: every byte of the file

    Raises:
        WriteError: if the disk is full, or the folder may not be written
        OSError: for any other reason, for example a folder that does not exist

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder, "moods.json"), b"[]")
        ...     os.listdir(folder)
        ['moods.json']
    """
    path = Path(path)
    # A name of its own for each call: processes and threads may write the same file at once.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        temporary.write_bytes(content)
        _keep_rights(path, temporary)
        os.replace(temporary, path)
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError):
            raise write_error(error, path, size=len(content)) from error
        raise


def _keep_rights(path: Path, temporary: Path) -> None:
    """Gives a new file the rights of the file that it is to replace."""
    with contextlib.suppress(FileNotFoundError):
        temporary.chmod(stat.S_IMODE(path.stat().st_mode))


def _remove(temporary: Path) -> None:
    # Where it cannot even be removed, the first error says more.
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
