"""Reading what a corpus holds on disk: every fault names its file and row, none is repaired."""

import filecmp
import fnmatch
import os
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib.corpora.base import SIMULATED_MARK, CorpusFormatError, CorpusNotFoundError
from affectlib.media import film_seconds  # noqa: F401 (stood here before, loaders import it from here)

CONTAINERS = (
    ".avi",
    ".flv",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".ogv",
    ".ts",
    ".webm",
    ".wmv",
)  # endings of the files of a film


class Faults:
    """Called with each fault of a clip: raises it, or remembers that the clip is to be dropped.

    Args:
        on_error: ``"raise"``, or ``"skip"`` to drop the whole clip, count it and list it

    Raises:
        ValueError: if ``on_error`` is neither
    """

    def __init__(self, on_error):
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is 'raise' or 'skip', not {on_error!r}")
        self.on_error, self.found = on_error, {}

    def __call__(self, clip, fault):
        if self.on_error == "raise":
            raise fault
        self.found.setdefault(clip, fault)

    def messages(self):
        """One message per dropped clip, for ``Corpus.skipped``."""
        return tuple(f"{clip}: {fault}" for clip, fault in self.found.items())

    def refuse_empty(self, kept):
        """Raises the first fault where dropping left no clip at all."""
        if not len(kept) and self.found:
            raise next(iter(self.found.values()))


def folders_below(root: Path, *, closed: Collection[str] = ()) -> list[Path]:
    """Lists a folder and every folder below it, in sorted order.

    Folders that are symbolic links are entered, each real folder once per branch, so that a link to
    a folder above does not go round for ever. Hidden folders, and the shadows that macOS adds to a
    zip (``__MACOSX``), are left out.

    Args:
        root: the folder; of one that does not exist nothing is listed
        closed: names of folders that are listed but not entered; ``root`` is always entered

    Raises:
        CorpusFormatError: if a folder cannot be read
    """
    found = []

    def walk(folder: Path, above: frozenset[Path]) -> None:
        real = folder.resolve()
        if real in above:
            return
        found.append(folder)
        if folder.name in closed and folder != root:
            return
        for entry in _entries(folder):
            if entry.is_dir():
                walk(folder / entry.name, above | {real})

    if root.is_dir():
        walk(root, frozenset())
    return sorted(found)


def files_below(root: Path, *, closed: Collection[str] = ()) -> list[Path]:
    """Lists every file below a folder, in sorted order.

    Links, hidden files and ``__MACOSX`` as for :func:`folders_below`.

    Args:
        root: the folder; one that does not exist holds no files
        closed: names of folders that are not entered, for example those with a million files that
            are not looked for

    Raises:
        CorpusFormatError: if a folder cannot be read
    """
    found = []
    for folder in folders_below(root, closed=closed):
        if folder.name in closed and folder != root:
            continue
        found += [folder / entry.name for entry in _entries(folder) if entry.is_file()]
    return sorted(found)


def _entries(folder: Path) -> list[os.DirEntry]:
    """Lists what lies in a folder, without what is hidden and without ``__MACOSX``."""
    try:
        with os.scandir(folder) as entries:
            visible_ones = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise CorpusFormatError(folder, f"expected a folder to read: {error.strerror}") from None
    return [entry for entry in visible_ones if entry.name != "__MACOSX"]


def find_file(files: list[Path], name: str, *, root: Path) -> Path | None:
    """Finds the one file of a name among those below a corpus' folder.

    Archives may be unpacked in place, or merged: the same file may then lie there twice. Copies of equal
    content count as one.

    Args:
        files: what :func:`files_below` listed
        name: of the file, without folder; upper and lower case count
        root: of the corpus, named in the error

    Returns:
        the first path in sorted order, None where there is no such file

    Raises:
        CorpusFormatError: if two files of the name differ
    """
    candidates = [path for path in files if path.name == name]
    for other in candidates[1:]:
        if not filecmp.cmp(candidates[0], other, shallow=False):
            first, second = (path.relative_to(root) for path in (candidates[0], other))
            raise CorpusFormatError(
                root, f"expected one {name}, found two that differ: {first} and {second}"
            )
    return candidates[0] if candidates else None


def find_film(files: list[Path], name: str, *, root: Path) -> Path:
    """Finds a film by its name, in any container.

    Args:
        files: what :func:`files_below` listed
        name: of the film, without the ending of its file
        root: of the corpus, named in the error

    Returns:
        the film; where there is none, the place where it would be expected, which
        :func:`film_seconds` refuses by name

    Raises:
        CorpusFormatError: if two different films have the name
    """
    films = [path for path in files if path.stem == name and path.suffix.lower() in CONTAINERS]
    names = sorted({path.name for path in films})
    if len(names) > 1:
        raise CorpusFormatError(root, f"expected one film {name}, found {' and '.join(names)}")
    if not names:
        return root / f"{name}.mp4"
    return find_file(films, names[0], root=root)


def visible(root, pattern):
    """Paths below a folder that match, without hidden ones and the shadows that macOS adds to a zip (``__MACOSX``)."""
    return (
        path
        for path in root.glob(pattern)
        if not any(
            part.startswith(".") or part == "__MACOSX" for part in path.relative_to(root).parts
        )
    )


def require(root, wanted, *, name, ask):
    """Looks for files that make a folder a corpus.

    Args:
        root: folder of the corpus
        wanted: patterns, relative to ``root``, each of which must match a file that is :func:`visible`
        name: the corpus, as a reader calls it
        ask: where its owner gives it

    Raises:
        CorpusNotFoundError: if the folder or any of the files is absent
    """
    missing = [pattern for pattern in wanted if not (root.is_dir() and any(visible(root, pattern)))]
    if missing:
        what = "no such folder" if not root.is_dir() else "not this corpus"
        raise CorpusNotFoundError(
            f"{name} at {root}: {what}; looked for {', '.join(missing)}. Ask for it at {ask}"
        )


def corpus_files(
    root: Path, wanted: Collection[str], *, name: str, ask: str, closed: Collection[str] = ()
) -> list[Path]:
    """Lists the files below a folder, having looked that those are there which make it a corpus.

    Args:
        root: folder of the corpus
        wanted: names, or patterns of names, each of which some file must have, in whatever folder
        name: the corpus, as a reader calls it
        ask: where its owner gives it
        closed: see :func:`files_below`

    Raises:
        CorpusNotFoundError: if the folder or any of the files is absent
    """
    files = files_below(root, closed=closed)
    names = {path.name for path in files}
    missing = [pattern for pattern in wanted if not fnmatch.filter(names, pattern)]
    if missing:
        state = "not this corpus" if root.is_dir() else "no such folder"
        looked_for = ", ".join(missing)
        raise CorpusNotFoundError(
            f"{name} at {root}: {state}; looked for {looked_for}, in any folder. Ask for it at {ask}"
        )
    return files


def is_simulated(root):
    """Whether the files under ``root`` were written by ``affectlib.simulate``."""
    return (root / SIMULATED_MARK).is_file()


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a text file, whether they end in LF, CR LF or CR alone.

    A byte order mark is left out. Nothing else ends a line: a form feed within a cell does not.

    Raises:
        CorpusFormatError: if the file is absent, cannot be read, or is no text in UTF-8
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CorpusFormatError(path, "expected this file, found none") from None
    except OSError as error:
        raise CorpusFormatError(path, f"expected a file to read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CorpusFormatError(path, "expected text in UTF-8") from None
    return text.removesuffix("\n").split("\n")


def read_table(
    path: Path,
    columns: Collection[str],
    *,
    delimiter: str | None = None,
    header: bool = True,
    ragged: Callable[[dict, CorpusFormatError], None] | None = None,
) -> pd.DataFrame:
    """Reads a text table, cell by cell, as strings.

    Args:
        path: the file
        columns: those that must stand in the header; or, without a header, the names of all columns
            in order
        delimiter: None for any run of blanks; ``"sniff"`` takes the first of tab, semicolon and
            comma that the first row holds
        header: whether the first row names the columns
        ragged: called with the cells (a dict) and the fault of each row of another length than the
            header's, which is then left out; None raises the first

    Returns:
        DataFrame of strings whose index is the row in the file, counted from 1

    Raises:
        CorpusFormatError: if the file is absent, empty, no text, lacks a column, names one twice or
            has a ragged row
    """
    lines = read_lines(path)
    if not any(line.strip() for line in lines):
        raise CorpusFormatError(path, "expected rows, the file is empty")
    if delimiter == "sniff":
        first_line = next(line for line in lines if line.strip())
        delimiter = next((mark for mark in "\t;," if mark in first_line), None)
    rows = {
        number: [cell.strip() for cell in line.split(delimiter)]
        for number, line in enumerate(lines, start=1)
        if line.strip()
    }
    names = list(columns)
    if header:
        first = next(iter(rows))
        names = rows.pop(first)
        _check_header(path, names, columns)
    for number, cells in list(rows.items()):
        if len(cells) == len(names):
            continue
        expected = f"expected {len(names)} columns, found {len(cells)}"
        fault = CorpusFormatError(path, expected, row=number)
        if ragged is None:
            raise fault
        ragged(dict(zip(names, cells, strict=False)), fault)
        del rows[number]
    if not rows:
        where = " after the header" if header else ""
        raise CorpusFormatError(path, f"expected rows{where}, found none")
    return pd.DataFrame(list(rows.values()), columns=names, index=pd.Index(rows, name="row"))


def _check_header(path: Path, names: list[str], columns: Collection[str]) -> None:
    """Raises CorpusFormatError where a wanted column is missing, or any column stands twice."""
    lacking = [column for column in columns if column not in names]
    if lacking:
        wanted, missing = ", ".join(columns), ", ".join(lacking)
        raise CorpusFormatError(path, f"expected the columns {wanted}; {missing} missing", row=1)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise CorpusFormatError(path, f"expected each column once, found {twice[0]!r} again", row=1)


def numbers(table, limits, fault):
    """Turns columns of a table from text to numbers.

    Args:
        table: strings, as read by :func:`read_table`
        limits: smallest and largest value per column
        fault: called with row and expectation for every cell that is no finite number within its limits

    Returns:
        DataFrame of floats with the columns of ``limits``, nan where a cell was at fault
    """
    result = {}
    for column, (low, high) in limits.items():
        values = pd.to_numeric(table[column], errors="coerce").astype(float)
        good = values.between(low, high) & np.isfinite(values)
        for row in table.index[~good]:
            fault(
                row,
                f"expected {column} as a number in [{low:g}, {high:g}], found {table.at[row, column]!r}",
            )
        result[column] = values.where(good)
    return pd.DataFrame(result, index=table.index)


def unique(table, column, fault):
    """Calls ``fault`` for every row whose ``column`` repeats an earlier one."""
    for row in table.index[table[column].duplicated()]:
        fault(row, f"expected each {column} once, found {table.at[row, column]!r} again")
