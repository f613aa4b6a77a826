"""Reads an annotation of one's own, from a table or from ELAN, and compares it with the curves."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pympi

from affectlib.corpora.files import read_lines
from affectlib.errors import FileFormatError
from affectlib.film.base import Analysis, Curve
from affectlib.film.timecode import TimecodeError, seconds_of
from affectlib.media import Media
from affectlib.metrics import ccc, mse, pcc

TARGETS = ("valence", "arousal")
# A segment counts as annotated if annotations cover this share of it.
_COVERED = 0.5
# With fewer segments, a correlation says nothing.
_FEWEST = 3
# In seconds: by as much an annotation may end after the film, since editors round to frames.
_ROUNDING = 0.1
_SCHEMA_LOCATION = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"


@dataclass(frozen=True)
class Annotation:
    """Values that a person gave to stretches of a film.

    Args:
        path: the file
        values: by target, a row per stretch in the order of time: ``start`` and ``end`` in seconds,
            ``value`` in [-1, 1]; the index is the place in the file, such as ``row 7``
    """

    path: Path
    values: Mapping[str, pd.DataFrame]

    def over(self, target: str, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The mean annotation of some segments.

        Args:
            target: ``"valence"`` or ``"arousal"``
            starts: of the segments, in seconds
            ends: of the segments, in seconds

        Returns:
            mean weighted by time; nan where annotations cover less than half of a segment

        Shape:
            starts, ends and result ``(segments,)``
        """
        stretches = self.values[target]
        first = stretches["start"].to_numpy()
        last = stretches["end"].to_numpy()
        value = stretches["value"].to_numpy()
        means = np.full(len(starts), np.nan)
        for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
            # In the order of time and without overlaps, so a search finds the stretches.
            low = np.searchsorted(last, start, side="right")
            high = np.searchsorted(first, end, side="left")
            shared = np.minimum(last[low:high], end) - np.maximum(first[low:high], start)
            covered = shared.sum()
            # A millionth less: shares of decimal times are not exact.
            if covered > 0 and covered >= _COVERED * (end - start) - 1e-6:
                means[i] = shared @ value[low:high] / covered
        return means


def read_annotation(path: Path | str, *, media: Media | None = None) -> Annotation:
    """Reads an annotation of valence, arousal or both, with values in [-1, 1].

    **A table** (any ending but ``.eaf``) is text in UTF-8, with or without a byte order mark. Its
    first row names the columns; upper and lower case do not matter, and other columns are left
    alone. Columns are parted by tabs, semicolons or commas: by the first of these that is in the
    first row. Numbers have a decimal point, or, unless commas part the columns, a decimal comma.

    - ``valence``, ``arousal``: at least one. An empty cell means that nothing was annotated there
    - ``start`` and ``end``: a row is a stretch of the film. Gaps are allowed, overlaps are not
    - or ``time``: a row holds from its time to that of the next row, which is later; the last row
      holds as long as the one before it. At least two rows
    - times are seconds (``62.5``) or timecodes (``0:01:02.500``, ``1:02``, or ``0:01:02:12`` with a
      frame, see :func:`affectlib.film.timecode.seconds_of`)

    **An ELAN file** (``.eaf``) has a tier named ``valence``, ``arousal``, or both, in upper or
    lower case, whose annotations are numbers, with a decimal point or comma. Annotations that
    refer to others (symbolic association) have the times of those. Parts of a symbolic subdivision
    have no times and are refused, and so is a time slot without a time: ELAN would spread such
    slots evenly, which nobody annotated.

    Args:
        path: the file
        media: the film, if times count frames, and to refuse times beyond its end

    Raises:
        FileFormatError: if the file is absent or none of these; if a value is no number or outside
            [-1, 1], a stretch ends before it starts, two overlap, or one lies beyond the film. It
            names the row or the annotation
    """
    path = Path(path)
    if path.suffix.lower() == ".eaf":
        values = _read_elan(path)
    else:
        values = _read_text(path, None if media is None else media.frame_rate)
    for target, stretches in values.items():
        _check(path, target, stretches)
    annotation = Annotation(path, values)
    if media is not None:
        _check_within(annotation, media.seconds)
    return annotation


def agreement(annotation: Annotation, analysis: Analysis) -> pd.DataFrame:
    """How far the curves agree with an annotation, on the segments that it covers.

    Args:
        annotation: of the same film
        analysis: the film, with curves

    Returns:
        a row per annotated target. Columns: ``n``, segments of which at least half is annotated;
        ``PCC``, ``CCC`` and ``MSE`` of the curve; ``MSE of the mean``, that of always saying the
        mean of the annotation: a curve that is no better says nothing; ``inside``, share of
        annotations within the band; ``level``, the share that the band promises, nan if unknown;
        ``reason``, why a number is nan, empty if none is

    Raises:
        FileFormatError: if an annotation lies beyond the end of the film
    """
    _check_within(annotation, analysis.media.seconds)
    starts = analysis.segments["start"].to_numpy()
    ends = analysis.segments["end"].to_numpy()
    rows = []
    for target in annotation.values:
        truth = annotation.over(target, starts, ends)
        curve = analysis.curves.get(target)
        rows.append(_compare(truth, curve))
    return pd.DataFrame(rows, index=pd.Index(annotation.values, name="target"))


def _compare(truth: np.ndarray, curve: Curve | None) -> dict[str, object]:
    """One row of :func:`agreement`."""
    covered = ~np.isnan(truth)
    names = ("PCC", "CCC", "MSE", "MSE of the mean", "inside", "level")
    row: dict[str, object] = {"n": int(covered.sum())} | dict.fromkeys(names, np.nan)
    if curve is None:
        return row | {"reason": "no model drew this curve"}
    if curve.level is not None:
        row["level"] = curve.level
    if covered.sum() < _FEWEST:
        return row | {"reason": f"fewer than {_FEWEST} segments are annotated"}
    truth = truth[covered]
    middle = curve.middle[covered]
    inside = (curve.lower[covered] <= truth) & (truth <= curve.upper[covered])
    row["MSE"] = mse(truth, middle)
    row["MSE of the mean"] = mse(truth, np.full(len(truth), truth.mean()))
    row["inside"] = float(inside.mean())
    row["PCC"] = pcc(truth, middle)
    if np.isnan(row["PCC"]):
        # A metric of 0 would look like a curve that is wrong.
        constant = "annotation" if np.isnan(pcc(truth, np.arange(len(truth)))) else "curve"
        return row | {"reason": f"the {constant} does not change: no correlation"}
    row["CCC"] = ccc(truth, middle)
    return row | {"reason": ""}


# ---------------------------------------------------------------- checks


def _fault(path: Path, place: str, expected: str) -> FileFormatError:
    number = place.removeprefix("row ")
    if number.isdecimal():
        return FileFormatError(path, expected, row=int(number))
    return FileFormatError(path, f"{place}: {expected}")


def _frame(rows: Iterable[tuple[str, float, float, float]]) -> pd.DataFrame:
    """Stretches (place, start, end, value), in the order of time."""
    table = pd.DataFrame(rows, columns=["place", "start", "end", "value"])
    return table.sort_values("start", kind="stable").set_index("place")


def _check(path: Path, target: str, stretches: pd.DataFrame) -> None:
    """Refuses stretches that end before they start, overlap, or have no value in [-1, 1]."""
    latest = -math.inf
    before = ""
    for stretch in stretches.itertuples():
        place = str(stretch.Index)
        if stretch.start < 0:
            raise _fault(path, place, f"expected a time of 0 s or more, found {stretch.start:g} s")
        if stretch.end <= stretch.start:
            times = f"{stretch.start:g} s to {stretch.end:g} s"
            raise _fault(path, place, f"expected an end after the start, found {times}")
        if not -1 <= stretch.value <= 1:
            expected = f"expected {target} in [-1, 1], found {stretch.value:g}"
            raise _fault(path, place, expected)
        # A millisecond: two tools may round the same time up and down.
        if stretch.start < latest - 1e-3:
            expected = f"expected a start after {before}, which ends at {latest:g} s"
            raise _fault(path, place, f"{expected}, found {stretch.start:g} s")
        latest = stretch.end
        before = place


def _check_within(annotation: Annotation, seconds: float) -> None:
    """Refuses times after the end of the film."""
    for stretches in annotation.values.values():
        beyond = stretches["end"] > seconds + _ROUNDING
        for place, end in stretches.loc[beyond, "end"].items():
            expected = f"expected times within the film, which ends at {seconds:g} s, found {end:g}"
            raise _fault(annotation.path, str(place), f"{expected} s")


# ---------------------------------------------------------------- tables


def _read_text(path: Path, frame_rate: float | None) -> dict[str, pd.DataFrame]:
    """The stretches of a table, by target."""
    header, rows, comma = _cells(path)
    targets = [target for target in TARGETS if target in header]
    has_stretches = "start" in header and "end" in header
    if not targets or not (has_stretches or "time" in header):
        expected = "expected the columns time, or start and end; and valence, arousal or both"
        raise FileFormatError(path, f"{expected}; found {', '.join(header)}", row=1)
    table = {}
    for number, cells in rows.items():
        table[f"row {number}"] = dict(zip(header, cells, strict=True))
    if has_stretches:
        times = _stretches(path, table, comma, frame_rate)
    else:
        times = _holding_times(path, table, comma, frame_rate)
    values = {}
    for target in targets:
        stretches = []
        for place, cells in table.items():
            if cells[target]:
                value = _number(path, place, target, cells[target], comma=comma)
                stretches.append((place, *times[place], value))
        if not stretches:
            raise FileFormatError(path, f"expected numbers in the column {target}, it is empty")
        values[target] = _frame(stretches)
    return values


def _cells(path: Path) -> tuple[list[str], dict[int, list[str]], bool]:
    """Names of the columns, cells by row, and whether a number may have a decimal comma."""
    lines = read_lines(path)
    first = next((line for line in lines if line.strip()), "")
    delimiter = next((mark for mark in "\t;" if mark in first), ",")
    rows = {}
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows[reader.line_num] = [cell.strip() for cell in cells]
    except csv.Error as error:
        raise FileFormatError(path, f"expected a table: {error}", row=reader.line_num) from error
    if len(rows) < 2:
        raise FileFormatError(path, "expected names of columns and rows below them, found none")
    header = [name.lower() for name in rows.pop(next(iter(rows)))]
    for name in header:
        if name and header.count(name) > 1:
            raise FileFormatError(path, f"expected each column once, found {name!r} again", row=1)
    for number, cells in rows.items():
        if len(cells) != len(header):
            expected = f"expected {len(header)} columns, found {len(cells)}"
            raise FileFormatError(path, expected, row=number)
    return header, rows, delimiter != ","


Table = Mapping[str, Mapping[str, str]]
Times = dict[str, tuple[float, float]]


def _stretches(path: Path, table: Table, comma: bool, frame_rate: float | None) -> Times:
    """Start and end of each row."""
    times = {}
    for place, cells in table.items():
        start = _time(path, place, "start", cells["start"], comma=comma, frame_rate=frame_rate)
        end = _time(path, place, "end", cells["end"], comma=comma, frame_rate=frame_rate)
        times[place] = (start, end)
    return times


def _holding_times(path: Path, table: Table, comma: bool, frame_rate: float | None) -> Times:
    """Start and end of each row that holds until the next one."""
    places = list(table)
    if len(places) < 2:
        raise FileFormatError(path, "expected two rows or more, to know how long each holds")
    starts = []
    for place in places:
        text = table[place]["time"]
        start = _time(path, place, "time", text, comma=comma, frame_rate=frame_rate)
        if starts and start <= starts[-1]:
            expected = f"expected a time after {starts[-1]:g} s, found {start:g} s"
            raise _fault(path, place, expected)
        starts.append(start)
    ends = [*starts[1:], 2 * starts[-1] - starts[-2]]
    return dict(zip(places, zip(starts, ends, strict=True), strict=True))


def _time(
    path: Path, place: str, column: str, text: str, *, comma: bool, frame_rate: float | None
) -> float:
    """A time in seconds, from a number or a timecode."""
    if ":" not in text:
        return _number(path, place, column, text, comma=comma)
    try:
        return seconds_of(text, frame_rate)
    except TimecodeError as error:
        raise _fault(path, place, f"{column}: {error}") from error


def _number(path: Path, place: str, name: str, text: str, *, comma: bool) -> float:
    """A finite number."""
    plain = text.replace(",", ".") if comma else text
    try:
        number = float(plain)
    except ValueError:
        number = math.nan
    # "nan", "inf" and "1_0" are numbers in Python.
    if not math.isfinite(number) or "_" in plain:
        raise _fault(path, place, f"expected {name} as a number, found {text!r}")
    return number


# ---------------------------------------------------------------- ELAN


def _read_elan(path: Path) -> dict[str, pd.DataFrame]:
    """The stretches of an ELAN file, by target."""
    eaf = _parse(path)
    values = {}
    for target in TARGETS:
        tiers = [name for name in eaf.tiers if name.strip().lower() == target]
        if len(tiers) > 1:
            expected = f"expected one tier {target}, found {' and '.join(map(repr, tiers))}"
            raise FileFormatError(path, expected)
        if tiers:
            values[target] = _read_tier(path, eaf, tiers[0], target)
    if not values:
        found = ", ".join(eaf.tiers) or "none"
        raise FileFormatError(path, f"expected a tier valence or arousal, found {found}")
    return values


def _parse(path: Path) -> pympi.Eaf:
    """The content of an ELAN file, as pympi reads it."""
    text = "\n".join(read_lines(path))
    try:
        root = ElementTree.fromstring(text.encode())
    # LookupError and ValueError: of an encoding that is none, or that the parser does not know.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise FileFormatError(path, f"expected an ELAN file, in XML: {error}") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        expected = f"expected ANNOTATION_DOCUMENT, as in an ELAN file, found {root.tag}"
        raise FileFormatError(path, expected)
    # pympi needs this attribute, which ELAN writes and other programs need not.
    root.attrib.setdefault(_SCHEMA_LOCATION, "")
    try:
        with TemporaryDirectory() as folder:
            copy = Path(folder, "copy.eaf")
            ElementTree.ElementTree(root).write(copy, encoding="UTF-8")
            return pympi.Eaf(str(copy), suppress_version_warning=True)
    # pympi checks nothing: a missing attribute is a KeyError, a bad number a ValueError.
    except (LookupError, ValueError, TypeError) as error:
        expected = f"expected an ELAN file that is whole, {type(error).__name__}: {error}"
        raise FileFormatError(path, expected) from error


def _read_tier(path: Path, eaf: pympi.Eaf, tier: str, target: str) -> pd.DataFrame:
    """The stretches of one tier."""
    aligned, referring, *_ = eaf.tiers[tier]
    texts = {name: text for name, (_, _, text, _) in aligned.items()}
    for name, (_, text, previous, _) in referring.items():
        if previous is not None:
            expected = "expected a time, found a part of a symbolic subdivision, which has none"
            raise _fault(path, f"annotation {name} of tier {tier}", expected)
        texts[name] = text
    stretches = []
    for name, text in texts.items():
        place = f"annotation {name} of tier {tier}"
        start, end = _elan_times(path, eaf, name, place)
        value = _number(path, place, target, text.strip(), comma=True)
        stretches.append((place, start, end, value))
    if not stretches:
        raise FileFormatError(path, f"expected annotations on the tier {tier}, it is empty")
    return _frame(stretches)


def _elan_times(path: Path, eaf: pympi.Eaf, name: str, place: str) -> Sequence[float]:
    """Start and end of an annotation, or of the one that it refers to, in seconds."""
    # Not by pympi, which takes every annotation of a dependent tier for one that refers.
    followed = {name}
    while True:
        aligned, referring, *_ = eaf.tiers.get(eaf.annotations.get(name), ({}, {}))
        if name in aligned:
            break
        if name not in referring:
            raise _fault(path, place, f"expected an annotation {name!r} to refer to, found none")
        name = referring[name][0]
        if name in followed:
            raise _fault(path, place, "expected an annotation with times, it refers to itself")
        followed.add(name)
    times = []
    for slot in aligned[name][:2]:
        milliseconds = eaf.timeslots.get(slot)
        if milliseconds is None:
            raise _fault(path, place, f"expected a time in time slot {slot}, found none")
        times.append(milliseconds / 1000)
    return times
