"""Writes what is known of a film to files of other programs: tables, subtitles, ELAN.

The same analysis gives the same bytes. Every file says of which kind its numbers are: simulated, or
real with the features they were made from.
"""

from __future__ import annotations

import html
import io
import math
import mimetypes
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pympi
import pysubs2

from affectlib import paths
from affectlib.errors import AffectError, printable
from affectlib.features import FeatureTable
from affectlib.film.base import Analysis
from affectlib.film.timecode import timecode
from affectlib.media import Media

UNLIKE = "unlike the training films"
# Of numbers in tables: finer ones are rounding, which differs between machines.
_DECIMALS = 6
# An ELAN file must have a date. A fixed one, so that the same analysis gives the same bytes.
# pympi's date is refused by ELAN's schema in time zones of half an hour, such as India's.
_DATE = "1970-01-01T00:00:00Z"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
# Letters that no XML file can hold, such as most control characters.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Start and end in seconds, and what to write there.
Span = tuple[float, float, str]


class ExportError(AffectError, ValueError):
    """A film cannot be written in this form. The message names the file and says why."""


# ---------------------------------------------------------------- tables


def segment_table(analysis: Analysis) -> pd.DataFrame:
    """What the models say of each segment.

    Args:
        analysis: of one film

    Returns:
        a row per segment. Columns: ``kind`` of result; ``start`` and ``end`` in seconds and as
        ``start timecode`` and ``end timecode``; per target its value (``valence``), the ends of its
        band (``valence lowest``, ``valence highest``) and the modalities alone (``valence sound``);
        ``likeness distance``, ``likeness rank`` and ``unlike``, if the training films are known;
        ``missing``, the features that are zeros
    """
    table = _times(analysis.segments, analysis.media.frame_rate)
    for target, curve in analysis.curves.items():
        table[target] = curve.middle
        table[f"{target} lowest"] = curve.lower
        table[f"{target} highest"] = curve.upper
        for modality, values in curve.modalities.items():
            table[f"{target} {modality}"] = values
    if analysis.likeness is not None:
        table["likeness distance"] = analysis.likeness.distance
        table["likeness rank"] = analysis.likeness.rank
        table["unlike"] = analysis.likeness.unlike
    table["missing"] = analysis.segments["missing"].to_numpy()
    table.insert(0, "kind", analysis.kind)
    return table


def write_csv(analysis: Analysis, path: Path | str) -> None:
    """Writes the table of :func:`segment_table` as CSV, with commas, in UTF-8.

    Args:
        analysis: of one film
        path: the file; its folder must exist

    Raises:
        WriteError: if the file cannot be written
    """
    paths.write(path, _csv(segment_table(analysis)))


def write_contents(analysis: Analysis, folder: Path | str) -> tuple[Path, ...]:
    """Writes what is in the film as three tables.

    ``segments.csv`` has a row per segment, ``shots.csv`` one per shot, ``faces.csv`` one per face
    and looked-at frame. Each begins with the column ``film``: simulated or real.

    Args:
        analysis: of one film
        folder: made where it is not there

    Returns:
        paths of the three files

    Raises:
        WriteError: if a file cannot be written
    """
    folder = Path(folder)
    frame_rate = analysis.media.frame_rate
    contents = analysis.contents
    segments = _times(analysis.segments, frame_rate)
    others = contents.segments.reset_index(drop=True).drop(columns=list(segments), errors="ignore")
    segments = pd.concat([segments, others], axis=1)
    shots = _times(contents.shots, frame_rate)
    shots.insert(0, "shot", np.arange(1, len(shots) + 1))
    shots["scene"] = contents.shots["scene"].to_numpy()
    faces = contents.faces.reset_index(drop=True)
    faces.insert(1, "timecode", _timecodes(faces["time"], frame_rate))
    paths.make_folder(folder)
    written = []
    for name, table in {"segments": segments, "shots": shots, "faces": faces}.items():
        table.insert(0, "film", _film_kind(analysis.table))
        path = folder / f"{name}.csv"
        paths.write(path, _csv(table))
        written.append(path)
    return tuple(written)


def write_features(
    table: FeatureTable,
    segments: pd.DataFrame,
    path: Path | str,
    *,
    frame_rate: float | None = None,
) -> None:
    """Writes the features of a film by name, a row per segment.

    The first columns are ``clip``, ``film`` (simulated or real), ``start``, ``end``, and both times
    as timecodes; then one column per value, such as ``scene.light_mean``. A value is missing where
    the segment lacks the sound or picture that it needs. NPZ holds the first columns as arrays of
    these names, all values as ``values`` ``(segments, features)`` and their names as ``names``.

    Args:
        table: features of the segments of one film
        segments: a row per segment: ``start`` and ``end`` in seconds
        path: ends in ``.csv``, ``.parquet`` or ``.npz``; its folder must exist
        frame_rate: of the film, for the timecodes; None for milliseconds

    Raises:
        ExportError: if the path ends otherwise
        ValueError: if the numbers of rows differ, or two features have the same name
        WriteError: if the file cannot be written
    """
    ending = Path(path).suffix.lower()
    if ending not in (".csv", ".parquet", ".npz"):
        expected = "expected a name that ends in .csv, .parquet or .npz"
        raise ExportError(printable(f"{path}: {expected}"))
    if len(table) != len(segments):
        raise ValueError(f"{len(table)} rows of features, {len(segments)} segments")
    about = _times(segments, frame_rate)
    about.insert(0, "clip", table.clips)
    about.insert(1, "film", _film_kind(table))
    features = table.to_frame().reset_index(drop=True)
    if ending == ".npz":
        content = _npz(about, features)
    elif ending == ".csv":
        # Exact: these are the numbers that a model is given.
        joined = pd.concat([about, features], axis=1)
        content = joined.to_csv(index=False, lineterminator="\n").encode()
    else:
        content = pd.concat([about, features], axis=1).to_parquet(index=False, engine="pyarrow")
    paths.write(path, content)


def _npz(about: pd.DataFrame, features: pd.DataFrame) -> bytes:
    arrays = {}
    for name, column in about.items():
        # Text of a fixed length, which is read without unpickling.
        is_text = column.dtype.kind not in "fi"
        arrays[name] = column.to_numpy(str) if is_text else column.to_numpy()
    arrays["values"] = features.to_numpy()
    arrays["names"] = features.columns.to_numpy(str)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _csv(table: pd.DataFrame) -> bytes:
    return table.round(_DECIMALS).to_csv(index=False, lineterminator="\n").encode()


def _times(rows: pd.DataFrame, frame_rate: float | None) -> pd.DataFrame:
    """Start and end of each row, in seconds and as timecodes."""
    table = pd.DataFrame({"start": rows["start"].to_numpy(), "end": rows["end"].to_numpy()})
    for name in ("start", "end"):
        table[f"{name} timecode"] = _timecodes(table[name], frame_rate)
    return table


def _timecodes(seconds: Iterable[float], frame_rate: float | None) -> list[str]:
    return [timecode(each, frame_rate) for each in seconds]


def _film_kind(table: FeatureTable) -> str:
    return "simulated" if table.simulated else "real"


# ---------------------------------------------------------------- subtitles


def write_srt(analysis: Analysis, path: Path | str) -> None:
    """Writes the curves as SRT subtitles: one cue per segment, the first of which says the kind.

    Args:
        analysis: of one film; without a curve, the cues say so
        path: the file; its folder must exist

    Raises:
        WriteError: if the file cannot be written
    """
    content = _subtitles(_cues(analysis)).to_string("srt", keep_ssa_tags=True)
    paths.write(path, content.encode())


def write_vtt(analysis: Analysis, path: Path | str) -> None:
    """Writes the curves as WebVTT subtitles; notes before them say where the curves come from.

    Args:
        analysis: of one film; without a curve, the cues say so
        path: the file; its folder must exist

    Raises:
        WriteError: if the file cannot be written

    References:
        https://www.w3.org/TR/webvtt1/, section 4.1: notes, and the letters that a cue must escape
    """
    cues = [(start, end, html.escape(text, quote=False)) for start, end, text in _cues(analysis)]
    content = _subtitles(cues).to_string("vtt", keep_ssa_tags=True)
    # pysubs2 writes no notes. The first line is "WEBVTT", the second is empty.
    header, body = content.split("\n\n", 1)
    # An arrow would turn a note into the times of a cue, and an empty line would end it.
    notes = ["NOTE " + " ".join(each.split()).replace("-->", "->") for each in _about(analysis)]
    paths.write(path, "\n\n".join([header, *notes, body]).encode())


def _subtitles(cues: Sequence[Span]) -> pysubs2.SSAFile:
    subtitles = pysubs2.SSAFile()
    for start, end, text in cues:
        # "\N" is a line break in the format in which pysubs2 keeps subtitles.
        text = text.replace("\n", r"\N")
        event = pysubs2.SSAEvent(start=_milliseconds(start), end=_milliseconds(end), text=text)
        subtitles.append(event)
    return subtitles


def _cues(analysis: Analysis) -> list[Span]:
    """What a viewer reads during each segment."""
    cues = []
    for i, segment in enumerate(analysis.segments.itertuples()):
        lines = [f"kind of result: {analysis.kind}"] if i == 0 else []
        for target, curve in analysis.curves.items():
            band = f"{_signed(curve.lower[i])} to {_signed(curve.upper[i])}"
            lines.append(f"{target} {_signed(curve.middle[i])} ({band})")
        if not analysis.curves:
            lines.append("no curve: no model was asked")
        if analysis.likeness is not None and analysis.likeness.unlike[i]:
            lines.append(UNLIKE)
        if segment.missing:
            lines.append(f"zeros in place of {segment.missing}")
        cues.append((segment.start, segment.end, "\n".join(lines)))
    return cues


def _signed(value: float) -> str:
    """A value with its sign and two decimals; a value that rounds to 0 has none."""
    if math.isnan(value):
        return "unknown"
    rounded = round(float(value), 2)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else ""
    return f"{sign}{abs(rounded):.2f}"


def _about(analysis: Analysis) -> list[str]:
    """Where the numbers come from, and what they cannot say, one sentence each."""
    sentences = [f"Kind of result: {analysis.kind}.", analysis.model]
    if analysis.likeness is not None:
        sentences.append(analysis.likeness.sentence)
    sentences += [*analysis.caveats, analysis.licence]
    return [sentence for sentence in sentences if sentence]


def _milliseconds(seconds: float) -> int:
    return math.floor(seconds * 1000 + 0.5)


# ---------------------------------------------------------------- ELAN


def write_eaf(analysis: Analysis, path: Path | str) -> None:
    """Writes an ELAN file, linked to the film.

    Its tiers: ``about`` (kind of result, model, caveats), ``shots``, ``scenes``; per target the
    values (``valence``) and the band (``valence band``); ``unlike``, stretches that are unlike the
    training films; ``faces``, how many faces were seen. A tier without annotations is left out.

    Args:
        analysis: of one film
        path: the file, usually ``.eaf``; its folder must exist

    Raises:
        ExportError: if the path of the film, or a sentence, holds a letter that no XML file can
        WriteError: if the file cannot be written

    References:
        http://www.mpi.nl/tools/elan/EAFv3.0.xsd, the schema of ELAN
    """
    path = Path(path)
    _check_letters(path, [str(analysis.path), *_about(analysis)])
    eaf = _empty_eaf()
    if analysis.licence:
        eaf.add_license(analysis.licence, "")
    _link_film(eaf, analysis.path, analysis.media, path)
    for name, spans in _tiers(analysis).items():
        if spans:
            eaf.add_tier(name)
        for start, end, value in spans:
            first = _milliseconds(start)
            # ELAN knows no annotation without a length.
            last = max(first + 1, _milliseconds(end))
            eaf.add_annotation(name, first, last, value)
    eaf.add_property("lastUsedAnnotationId", eaf.maxaid)
    _sort_time_slots(eaf)
    document = pympi.Elan.to_adocument(eaf)
    paths.write(path, ElementTree.tostring(document, encoding="UTF-8", xml_declaration=True))


def _check_letters(path: Path, texts: Iterable[str]) -> None:
    for text in texts:
        found = _NOT_XML.search(text)
        if found:
            message = f"{path}: an ELAN file cannot hold the letter {found.group()!a} of"
            raise ExportError(printable(f"{message} {text!r}"))


def _empty_eaf() -> pympi.Eaf:
    """An ELAN file of version 3.0, without tiers. pympi's is 2.8, of today, with an empty tier."""
    eaf = pympi.Eaf(author="affectlib")
    eaf.remove_tier("default")
    eaf.properties.clear()
    eaf.header = {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    eaf.adocument.update(DATE=_DATE, VERSION="3.0", FORMAT="3.0")
    eaf.adocument["xsi:noNamespaceSchemaLocation"] = _SCHEMA
    return eaf


def _link_film(eaf: pympi.Eaf, film: Path, media: Media, path: Path) -> None:
    """Links the film by both ways in which ELAN looks for it: its path, and that from the file."""
    # As ELAN writes them: letters are not escaped, ELAN would take "%20" for part of the name.
    whole = film.resolve().as_posix()
    relative = Path(os.path.relpath(film.resolve(), path.resolve().parent)).as_posix()
    if not relative.startswith("../"):
        relative = f"./{relative}"
    eaf.add_linked_file(
        f"file:///{whole.lstrip('/')}", relpath=relative, mimetype=_mime_type(film, media)
    )


def _mime_type(film: Path, media: Media) -> str:
    """The type of a media file by its ending; ELAN's general ones where it says nothing."""
    # Of Python itself: what a system adds differs between machines.
    types = mimetypes.MimeTypes()
    types.add_type("video/x-matroska", ".mkv")
    found = types.types_map[True].get(film.suffix.lower(), "")
    if found.startswith(("video/", "audio/")):
        return found
    return "audio/*" if media.frame_rate is None else "video/*"


def _tiers(analysis: Analysis) -> dict[str, list[Span]]:
    """The annotations of each tier."""
    segments = analysis.segments
    starts = segments["start"].tolist()
    ends = segments["end"].tolist()
    tiers = {"about": [(0.0, analysis.media.seconds, "\n".join(_about(analysis)))]}
    tiers |= _shot_tiers(analysis.contents.shots)
    for target, curve in analysis.curves.items():
        values = [_number(value, 3) for value in curve.middle]
        bands = []
        for lower, upper in zip(curve.lower, curve.upper, strict=True):
            low, high = _number(lower, 2), _number(upper, 2)
            bands.append(f"{low} to {high}" if low and high else "")
        tiers[target] = _spans(starts, ends, values)
        tiers[f"{target} band"] = _spans(starts, ends, bands)
    if analysis.likeness is not None:
        marks = [UNLIKE if unlike else "" for unlike in analysis.likeness.unlike]
        tiers["unlike"] = _joined(_spans(starts, ends, marks))
    tiers["faces"] = _face_tier(analysis)
    return tiers


def _shot_tiers(shots: pd.DataFrame) -> dict[str, list[Span]]:
    starts = shots["start"].tolist()
    ends = shots["end"].tolist()
    numbers = [f"shot {i}" for i in range(1, len(shots) + 1)]
    scenes = [f"scene {int(scene)}" for scene in shots["scene"]]
    return {
        "shots": _spans(starts, ends, numbers),
        "scenes": _joined(_spans(starts, ends, scenes)),
    }


def _face_tier(analysis: Analysis) -> list[Span]:
    """Stretches with a face: each looked-at frame stands for the time until the next one."""
    times = list(analysis.contents.face_times)
    ends = [*times[1:], analysis.media.seconds][: len(times)]
    # Rounded to milliseconds: both columns went through arithmetic of their own.
    counts = analysis.contents.faces["time"].astype(float).round(3).value_counts()
    words = []
    for time in times:
        count = int(counts.get(round(time, 3), 0))
        words.append("" if count == 0 else "1 face" if count == 1 else f"{count} faces")
    return _joined(_spans(times, ends, words))


def _spans(starts: Sequence[float], ends: Sequence[float], values: Sequence[str]) -> list[Span]:
    """Annotations, without those that have nothing to say."""
    return [each for each in zip(starts, ends, values, strict=True) if each[2]]


def _joined(spans: list[Span]) -> list[Span]:
    """Makes one annotation of neighbours that say the same."""
    joined: list[Span] = []
    for start, end, value in spans:
        if joined and joined[-1][2] == value and math.isclose(joined[-1][1], start, abs_tol=1e-3):
            start = joined.pop()[0]
        joined.append((start, end, value))
    return joined


def _number(value: float, decimals: int) -> str:
    """A value as a program reads it; empty where it is not known."""
    if math.isnan(value):
        return ""
    # Adding 0 turns -0.0 into 0.0.
    return f"{round(float(value), decimals) + 0.0:.{decimals}f}"


def _sort_time_slots(eaf: pympi.Eaf) -> None:
    """Numbers the time slots in the order of time, as ELAN does; pympi takes that of the tiers."""
    in_order = sorted(eaf.timeslots, key=lambda slot: eaf.timeslots[slot])
    renamed = {slot: f"ts{i}" for i, slot in enumerate(in_order, start=1)}
    eaf.timeslots = {renamed[slot]: eaf.timeslots[slot] for slot in in_order}
    for aligned, *_ in eaf.tiers.values():
        for name, (start, end, value, picture) in aligned.items():
            aligned[name] = (renamed[start], renamed[end], value, picture)
