"""Puts a folder that was made in the place of an older one, and deletes nothing else."""

import shutil
from pathlib import Path

from affectlib.errors import AffectError


class FolderError(AffectError, FileExistsError):
    """A folder that is to be replaced holds something that the command did not make."""


def check_replaceable(folder: Path, *, sign: str) -> None:
    """Refuses to replace a folder with other content.

    Args:
        folder: where a command is to write
        sign: a file that stands in every folder which this command has made

    Raises:
        FolderError: if the folder holds something, and not this file
    """
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / sign).is_file()):
        raise FolderError(
            f"{folder}: holds something else, and would be replaced: name another folder, "
            "or an empty one"
        )


def replace(folder: Path, made: Path) -> None:
    """Moves a folder to its final place, on the same disk. An older one there is deleted."""
    if folder.exists():
        shutil.rmtree(folder)
    made.rename(folder)
