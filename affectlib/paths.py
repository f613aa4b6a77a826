"""Places of the project on disk, and one safe way to write a file.

An environment variable moves each place but ROOT:

- ROOT: the checkout
- DATA (``AFFECTLIB_DATA``): the licensed corpora, one folder each
- CACHE (``AFFECTLIB_CACHE``): simulated corpora and extracted features; may be deleted
- FIGURES (``AFFECTLIB_FIGURES``): tables and pictures that the notebooks save
- GOLDEN (``AFFECTLIB_GOLDEN``): the released AttendAffectNet checkpoints and their sample features
"""

import os
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _place(variable: str, default: Path) -> Path:
    """Reads a place from an environment variable; one that is unset or empty gives the default."""
    return Path(os.environ.get(variable) or default).expanduser().resolve()


DATA = _place("AFFECTLIB_DATA", ROOT / "data")
CACHE = _place("AFFECTLIB_CACHE", ROOT / "build")
FIGURES = _place("AFFECTLIB_FIGURES", ROOT / "figures")
GOLDEN = _place("AFFECTLIB_GOLDEN", ROOT.parent / "shared" / "golden")


def write(path: Path | str, content: bytes) -> None:
    """Writes a file completely or not at all.

    A reader, or a second process that writes the same file, never meets a half-written one.
    The content goes to a hidden temporary file in the same folder, which then takes the name of the
    file. A failure removes the temporary file and leaves an older file of that name as it was.

    Args:
        path: the file; its folder must exist
        content: every byte of the file

    Raises:
        OSError: if the folder does not exist, or the disk refuses the file

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
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
