"""Finds and reads the files of a corpus. Every fault names its file and row; none is repaired."""

from __future__ import annotations

import filecmp
import fnmatch
import os
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib.corpora.base import SIMULATED_MARK
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.media import is_film


class Faults:
    """Collects the faults of clips: raises each one, or notes that its clip is to be dropped.

    Args:
        on_error: ``"raise"``, or ``"skip"`` to drop a clip at fault, count it and list it

    Attributes:
        by_clip: the first fault of each clip that is to be dropped

    Raises:
        ValueError: if ``on_error`` is neither
    """

    def __init__(self, on_error: str):
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is 'raise' or 'skip', not {on_error!r}")
        self.on_error = on_error
        self.by_clip: dict[str, FileFormatError] = {}

    def __call__(self, clip: str, fault: FileFormatError) -> None:
        """Raises the fault of a clip, or notes it."""
        if self.on_error == "raise":
            raise fault
        # A clip may have several faults. The first one is enough to drop and to explain it.
        self.by_clip.setdefault(clip, fault)

    def messages(self) -> tuple[str, ...]:
        """Returns one message per dropped clip, for ``Corpus.skipped``."""
        return tuple(f"{clip}: {fault}" for clip, fault in self.by_clip.items())

    def refuse_empty(self, clips: Collection) -> None:
        """Raises the first fault if no clip is left."""
        if not len(clips) and self.by_clip:
            raise next(iter(self.by_clip.values()))


def folders_below(root: Path, *, closed: Collection[str] = ()) -> list[Path]:
    """Lists a folder and every folder below it, in sorted order.

    Symbolic links to folders are entered, each real folder once per branch, so that a link to a
    folder above does not lead round for ever. Hidden folders are left out, and so is ``__MACOSX``,
    which macOS adds to a zip.

    Args:
        root: the folder; if it does not exist, the list is empty
        closed: names of folders that are listed but not entered; ``root`` is always entered

    Raises:
        FileFormatError: if a folder cannot be read
    """
    folders = []

    def walk(folder: Path, above: frozenset[Path]) -> None:
        real = folder.resolve()
        # A link to a folder above: to enter it would lead round for ever.
        if real in above:
            return
        folders.append(folder)
        if folder.name in closed and folder != root:
            return
        for entry in entries_of(folder):
            # True for a link to a folder, which is entered.
            if entry.is_dir():
                walk(folder / entry.name, above | {real})

    if root.is_dir():
        walk(root, frozenset())
    return sorted(folders)


def files_below(root: Path, *, closed: Collection[str] = ()) -> list[Path]:
    """Lists every file below a folder, in sorted order.

    Treats links, hidden files and ``__MACOSX`` as :func:`folders_below` does.

    Args:
        root: the folder; if it does not exist, the list is empty
        closed: names of folders that are not entered, for example one with a million files that the
            caller does not need

    Raises:
        FileFormatError: if a folder cannot be read
    """
    files = []
    for folder in folders_below(root, closed=closed):
        if folder.name in closed and folder != root:
            continue
        # True for a link to a file; false for a link that leads nowhere.
        for entry in entries_of(folder):
            if entry.is_file():
                files.append(folder / entry.name)
    return sorted(files)


def entries_of(folder: Path) -> list[os.DirEntry]:
    """Lists the content of a folder, without hidden entries and without ``__MACOSX``."""
    try:
        with os.scandir(folder) as content:
            entries = list(content)
    # Archives of others may hold folders without the right to read them.
    except OSError as error:
        raise FileFormatError(folder, f"expected a folder to read: {error.strerror}") from None
    # For each file x of a zip, macOS adds a hidden ._x that only looks like it.
    visible = [entry for entry in entries if not entry.name.startswith(".")]
    return [entry for entry in visible if entry.name != "__MACOSX"]


def find_file(files: Iterable[Path], name: str, *, root: Path) -> Path | None:
    """Finds the one file of a name among the files below the folder of a corpus.

    Archives may be unpacked each by itself, or into one folder, so a file may be there twice.
    Copies of equal content count as one.

    Args:
        files: paths from :func:`files_below`
        name: name of the file without its folder; upper and lower case count
        root: folder of the corpus, named in the error

    Returns:
        the first path in sorted order, None if there is no such file

    Raises:
        FileFormatError: if two files of the name differ
    """
    candidates = [path for path in files if path.name == name]
    if not candidates:
        return None
    first = candidates[0]
    for other in candidates[1:]:
        # Not shallow: size and time of two different files may agree.
        if not filecmp.cmp(first, other, shallow=False):
            pair = f"{first.relative_to(root)} and {other.relative_to(root)}"
            raise FileFormatError(root, f"expected one {name}, found two that differ: {pair}")
    return first


def find_film(files: Iterable[Path], name: str, *, root: Path) -> Path:
    """Finds a film by its name, in any container.

    Args:
        files: paths from :func:`files_below`
        name: name of the film without the ending of its file
        root: folder of the corpus, named in the error

    Returns:
        the film; if there is none, a place below ``root``, which
        :func:`affectlib.media.film_seconds` refuses by name

    Raises:
        FileFormatError: if two different films have the name
    """
    films = [path for path in files if path.stem == name and is_film(path)]
    names = sorted({path.name for path in films})
    if not names:
        return root / f"{name}.mp4"
    if len(names) > 1:
        raise FileFormatError(root, f"expected one film {name}, found {' and '.join(names)}")
    return find_file(films, names[0], root=root)


def corpus_files(
    root: Path, wanted: Collection[str], *, name: str, ask: str, closed: Collection[str] = ()
) -> list[Path]:
    """Lists the files below a folder, after a check that the folder is this corpus.

    Args:
        root: folder of the corpus
        wanted: names, or patterns of names; some file in some folder must match each of them
        name: the corpus, as a reader calls it
        ask: where its owner gives it
        closed: see :func:`files_below`

    Raises:
        NotFoundError: if the folder or any of the files is absent
    """
    files = files_below(root, closed=closed)
    names = {path.name for path in files}
    missing = [pattern for pattern in wanted if not fnmatch.filter(names, pattern)]
    if missing:
        raise not_found(root, f"{', '.join(missing)}, in any folder", name=name, ask=ask)
    return files


def not_found(root: Path, looked_for: str, *, name: str, ask: str) -> NotFoundError:
    """Returns the error of a folder that is not the corpus.

    Args:
        root: the folder
        looked_for: the files that it should hold
        name: the corpus, as a reader calls it
        ask: where its owner gives it
    """
    state = "not this corpus" if root.is_dir() else "no such folder"
    return NotFoundError(f"{name} at {root}: {state}; looked for {looked_for}. Ask for it at {ask}")


def is_simulated(root: Path) -> bool:
    """Returns True if ``affectlib.simulate`` wrote the files below ``root``."""
    return (root / SIMULATED_MARK).is_file()


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a text file, whether they end in LF, CR LF or CR alone.

    A byte order mark is left out. Nothing else ends a line: a form feed within a cell does not.

    Raises:
        FileFormatError: if the file is absent, cannot be read, or is not text in UTF-8
    """
    try:
        # utf-8-sig drops a byte order mark, and reading as text turns every line end into LF.
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileFormatError(path, "expected this file, found none") from None
    except OSError as error:
        raise FileFormatError(path, f"expected a file to read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileFormatError(path, "expected text in UTF-8") from None
    # Not splitlines: it would also end a line at a form feed.
    return text.removesuffix("\n").split("\n")


def read_table(
    path: Path,
    columns: Collection[str],
    *,
    delimiter: str | None = None,
    header: bool = True,
    ragged: Callable[[dict[str, str], FileFormatError], None] | None = None,
) -> pd.DataFrame:
    """Reads a text table, cell by cell, as strings.

    Args:
        path: the file
        columns: names that the header must hold; without a header, the names of all columns in
            order
        delimiter: None for any run of blanks; ``"sniff"`` takes the first of tab, semicolon and
            comma that the first row holds
        header: True if the first row names the columns
        ragged: called with the cells (a dict) and the fault of each row that is longer or shorter
            than the header; such rows are left out. None raises the first fault

    Returns:
        DataFrame of strings whose index is the row in the file, counted from 1

    Raises:
        FileFormatError: if the file is absent, empty or not text, lacks a column, names one twice
            or has a ragged row
    """
    lines = read_lines(path)
    filled = [line for line in lines if line.strip()]
    if not filled:
        raise FileFormatError(path, "expected rows, the file is empty")
    if delimiter == "sniff":
        delimiter = next((mark for mark in "\t;," if mark in filled[0]), None)
    rows = _cells(lines, delimiter)
    names = list(columns)
    if header:
        first = next(iter(rows))
        names = rows.pop(first)
        _check_header(path, names, columns)
    for number, cells in list(rows.items()):
        if len(cells) == len(names):
            continue
        expected = f"expected {len(names)} columns, found {len(cells)}"
        fault = FileFormatError(path, expected, row=number)
        if ragged is None:
            raise fault
        # A short row lacks its last cells, so it may still tell its name.
        ragged(dict(zip(names, cells, strict=False)), fault)
        del rows[number]
    if not rows:
        where = " after the header" if header else ""
        raise FileFormatError(path, f"expected rows{where}, found none")
    return pd.DataFrame(list(rows.values()), columns=names, index=pd.Index(rows, name="row"))


def _cells(lines: Iterable[str], delimiter: str | None) -> dict[int, list[str]]:
    """Cuts lines into cells without blanks around them. Keys are line numbers, from 1."""
    rows = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows[number] = [cell.strip() for cell in line.split(delimiter)]
    return rows


def _check_header(path: Path, names: list[str], columns: Collection[str]) -> None:
    """Refuses a header that lacks a wanted column, or names any column twice."""
    lacking = [column for column in columns if column not in names]
    if lacking:
        wanted = ", ".join(columns)
        missing = ", ".join(lacking)
        raise FileFormatError(path, f"expected the columns {wanted}; {missing} missing", row=1)
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        expected = f"expected each column once, found {repeated[0]!r} again"
        raise FileFormatError(path, expected, row=1)


def numbers(
    table: pd.DataFrame,
    limits: Mapping[str, tuple[float, float]],
    fault: Callable[[Hashable, str], None],
) -> pd.DataFrame:
    """Turns columns of a table from text to numbers.

    Args:
        table: strings, as read by :func:`read_table`
        limits: smallest and largest value per column
        fault: called with row and expectation for every cell that is not a finite number within its
            limits

    Returns:
        DataFrame of floats with the columns of ``limits``, nan where a cell was at fault
    """
    columns = {}
    for column, (low, high) in limits.items():
        values = pd.to_numeric(table[column], errors="coerce").astype(float)
        # With an infinite limit, "inf" lies between the limits.
        good = values.between(low, high) & np.isfinite(values)
        expected = f"expected {column} as a number in [{low:g}, {high:g}]"
        for row in table.index[~good]:
            fault(row, f"{expected}, found {table.at[row, column]!r}")
        columns[column] = values.where(good)
    return pd.DataFrame(columns, index=table.index)


def unique(table: pd.DataFrame, column: str, fault: Callable[[Hashable, str], None]) -> None:
    """Calls ``fault`` with row and expectation for every row that repeats an earlier value."""
    for row in table.index[table[column].duplicated()]:
        fault(row, f"expected each {column} once, found {table.at[row, column]!r} again")
