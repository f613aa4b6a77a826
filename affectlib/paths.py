"""Places of the project on disk, and one safe way to write a file.

An environment variable moves each place but ROOT:

- ROOT: the checkout, or the folder of an installed package
- DATA (``AFFECTLIB_DATA``): the licensed corpora, one folder each
- CACHE (``AFFECTLIB_CACHE``): simulated corpora and extracted features; may be deleted
- FIGURES (``AFFECTLIB_FIGURES``): tables and pictures that the notebooks save; in the cache where
  the checkout may not be written
- GOLDEN (``AFFECTLIB_GOLDEN``): the released AttendAffectNet checkpoints and their sample features

By default they stand in the checkout. A package that was installed from a wheel has none: then data
and figures are in the current folder, and the cache is ``affectlib`` in the user's own
(``XDG_CACHE_HOME``, else ``~/.cache``).
"""

import contextlib
import errno
import functools
import hashlib
import os
import stat
import sys
import time
import uuid
from pathlib import Path

from affectlib.errors import AffectError

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

# Of a SHA-256, in bytes.
DIGEST_BYTES = 32
# In seconds: a temporary file that is older was left by a process that was killed.
LONGEST_WRITE = 3600

ROOT = Path(__file__).resolve().parents[1]
IS_CHECKOUT = (ROOT / "pyproject.toml").is_file()


def _place(variable: str, default: Path) -> Path:
    """Reads a place from an environment variable; one that is unset or empty gives the default."""
    return Path(os.environ.get(variable) or default).expanduser().resolve()


def _default_figures(usual: Path, instead: Path) -> Path:
    """The usual folder for figures; another one where that one is read-only."""
    above = usual if usual.exists() else usual.parent
    return usual if os.access(above, os.W_OK) else instead


# Nobody looks for data of his own among installed packages, and an update may delete them there.
_HOME = ROOT if IS_CHECKOUT else Path.cwd()
_USER_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "affectlib"

DATA = _place("AFFECTLIB_DATA", _HOME / "data")
CACHE = _place("AFFECTLIB_CACHE", ROOT / "build" if IS_CHECKOUT else _USER_CACHE)
FIGURES = _place("AFFECTLIB_FIGURES", _default_figures(_HOME / "figures", CACHE / "figures"))
GOLDEN = _place("AFFECTLIB_GOLDEN", _HOME.parent / "shared" / "golden")


def from_root(path: str) -> Path:
    """A path of a user's own, such as a parameter of a notebook: relative ones begin at ROOT."""
    return ROOT / Path(path).expanduser()


@functools.cache
def tell_figures_moved() -> None:
    """Says where figures go if the checkout may not be written; once in a process."""
    if FIGURES == CACHE / "figures" and not os.environ.get("AFFECTLIB_FIGURES"):
        usual = _HOME / "figures"
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


def sealed(content: bytes) -> bytes:
    """Some bytes, and their SHA-256 after them."""
    return content + hashlib.sha256(content).digest()


def unsealed(content: bytes) -> bytes | None:
    """The bytes that were given to :func:`sealed`, None if any of them changed since.

    Examples:
        >>> unsealed(sealed(b"joy"))
        b'joy'
        >>> unsealed(sealed(b"joy").replace(b"j", b"b")) is None
        True
    """
    body = content[:-DIGEST_BYTES]
    if hashlib.sha256(body).digest() != content[-DIGEST_BYTES:]:
        return None
    return body


def remove_leftovers(folder: Path) -> None:
    """Deletes the temporary files that processes left in a folder when they were killed.

    A write that is at work now is younger than an hour, and is left alone.
    """
    for file in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > LONGEST_WRITE:
                file.unlink()


def _keep_rights(path: Path, temporary: Path) -> None:
    """Gives a new file the rights of the file that it is to replace."""
    with contextlib.suppress(FileNotFoundError):
        temporary.chmod(stat.S_IMODE(path.stat().st_mode))


def _remove(temporary: Path) -> None:
    # Where it cannot even be removed, the first error says more.
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
