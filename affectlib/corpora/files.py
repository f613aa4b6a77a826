"""Reading what a corpus holds on disk: every fault names its file and row, none is repaired."""

import filecmp
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib.corpora.base import SIMULATED_MARK, CorpusFormatError, CorpusNotFoundError
from affectlib.media import film_seconds  # noqa: F401 (stood here before, loaders import it from here)


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


def files_below(root: Path) -> list[Path]:
    """Lists every file below a folder, in sorted order.

    Folders that are symbolic links are entered, each real folder once per branch, so that a link to a
    folder above does not go round for ever. Hidden files and folders, and the shadows that macOS adds
    to a zip (``__MACOSX``), are left out.

    Args:
        root: the folder; one that does not exist holds no files
    """
    found = []

    def walk(folder, above):
        real = folder.resolve()
        if real in above:
            return
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                walk(entry, above | {real})
            elif entry.is_file():
                found.append(entry)

    if root.is_dir():
        walk(root, frozenset())
    return found


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
            raise CorpusFormatError(root, f"expected one {name}, found two that differ: {first} and {second}")
    return candidates[0] if candidates else None


def visible(root, pattern):
    """Paths below a folder that match, without hidden ones and the shadows that macOS adds to a zip (``__MACOSX``)."""
    return (path for path in root.glob(pattern)
            if not any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(root).parts))


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
        raise CorpusNotFoundError(f"{name} at {root}: {what}; looked for {', '.join(missing)}. Ask for it at {ask}")


def is_simulated(root):
    """Whether the files under ``root`` were written by ``affectlib.simulate``."""
    return (root / SIMULATED_MARK).is_file()


def read_table(path, columns, *, delimiter=None, header=True, ragged=None):
    """Reads a text table, cell by cell, as strings.

    Args:
        path: the file
        columns: those that must stand in the header; or, without a header, the names of all columns in order
        delimiter: None for any run of blanks; ``"sniff"`` takes the first of tab, semicolon and comma that
            the header holds
        header: whether the first row names the columns
        ragged: called with the cells (a dict) and the fault of each row of another length than the header's, which
            is then left out; None raises the first

    Returns:
        DataFrame of strings whose index is the row in the file, counted from 1

    Raises:
        CorpusFormatError: if the file is absent, empty, no text, lacks a column or has a ragged row
    """
    try:
        rows = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise CorpusFormatError(path, "expected this file, found none") from None
    except UnicodeDecodeError:
        raise CorpusFormatError(path, "expected text in UTF-8") from None
    if not any(row.strip() for row in rows):
        raise CorpusFormatError(path, "expected rows, the file is empty")
    if delimiter == "sniff":
        delimiter = next((mark for mark in "\t;," if mark in rows[0]), None)
    cells = {number: row.split(delimiter) for number, row in enumerate(rows, 1) if row.strip()}
    names = [name.strip() for name in cells.pop(next(iter(cells)))] if header else list(columns)
    if lacking := [column for column in columns if column not in names]:
        raise CorpusFormatError(path, f"expected the columns {', '.join(columns)}; {', '.join(lacking)} missing", row=1)
    for number in [number for number, row in cells.items() if len(row) != len(names)]:
        fault = CorpusFormatError(path, f"expected {len(names)} columns, found {len(cells[number])}", row=number)
        if ragged is None:
            raise fault
        ragged(dict(zip(names, cells.pop(number), strict=False)), fault)
    if not cells:
        raise CorpusFormatError(path, "expected rows after the header, found none")
    stripped = [[cell.strip() for cell in row] for row in cells.values()]
    return pd.DataFrame(stripped, columns=names, index=pd.Index(cells, name="row"))


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
            fault(row, f"expected {column} as a number in [{low:g}, {high:g}], found {table.at[row, column]!r}")
        result[column] = values.where(good)
    return pd.DataFrame(result, index=table.index)


def unique(table, column, fault):
    """Calls ``fault`` for every row whose ``column`` repeats an earlier one."""
    for row in table.index[table[column].duplicated()]:
        fault(row, f"expected each {column} once, found {table.at[row, column]!r} again")
