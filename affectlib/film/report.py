"""One film as one web page: curves with the picture at the mouse, peaks to play, and the limits.

The page is a single file that asks nothing of any network: pictures and clips stand in it. It is
the same bytes for the same analysis.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import av
import cv2
import jinja2
import numpy as np
import pandas as pd
import torch

import affectlib
from affectlib import media, paths, results
from affectlib.errors import printable
from affectlib.film.analysis import unusual_features
from affectlib.film.annotation import Annotation, agreement
from affectlib.film.base import Analysis, Curve
from affectlib.film.clips import contact_sheet, jpeg, peak_clips
from affectlib.film.peaks import peaks
from affectlib.film.timecode import timecode

# Peaks at each end of a curve, and pictures of faces.
PEAKS = 3
FACES = 8
FACE_SIDE = 480
FACE_COLOUR = (255, 140, 0)
# Rows of the table of shots: a long film has thousands.
MOST_SHOTS = 1000
# Shots whose boundaries are drawn through the curves: more would hide them.
MOST_LINES = 150
# Width and height of the drawing; the browser stretches it to the width of the page.
WIDTH = 1000.0
HEIGHT = 200.0
# Steps of the time axis, in seconds.
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
MOST_TICKS = 6
# Columns of the contents that are drawn over time, how each is called, and its unit.
DRAWN = {
    "loudness LUFS": ("loudness", " LUFS"),
    "brightness": ("brightness", ""),
    "colourfulness": ("colour", ""),
    "motion widths/s": ("motion", " widths/s"),
    "faces": ("faces", ""),
    "cuts per minute": ("cuts", " per minute"),
}


@dataclass(frozen=True)
class Track:
    """One drawing over time.

    Args:
        name: beside it
        alt: what it shows, for a reader who cannot see it
        layers: class of a layer to its SVG path, drawn one over the other
        ticks: pairs of a label and its place from the top, in percent
        values: of the segments, as the page reads them out; None where there is none
        spans: class of a layer to rectangles ``(left, width)`` in percent
    """

    name: str
    alt: str
    layers: Mapping[str, str]
    ticks: Sequence[tuple[str, float]] = ()
    values: Sequence[str] = ()
    spans: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


def write_report(
    analysis: Analysis,
    path: Path | str,
    *,
    annotation: Annotation | None = None,
) -> None:
    """Writes a film's report, completely or not at all.

    Args:
        analysis: of the film
        path: of the page, ``.html``; its folder must exist
        annotation: of one's own, drawn over the curves, with its agreement

    Raises:
        NotFoundError, FileFormatError: if the film cannot be read any more, or the annotation lies
            beyond its end
        WriteError: if the disk is full, or the folder may not be written
    """
    paths.write(path, _render(analysis, annotation).encode())


def _render(analysis: Analysis, annotation: Annotation | None) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals["data_of"] = _data_address
    environment.filters["sentence"] = _sentence
    time_of = partial(_time, analysis)
    sheet = contact_sheet(analysis)
    axis = _time_axis(_end(analysis))
    yours = _your_curves(analysis, annotation)
    tracks = _curve_tracks(analysis, yours)
    likeness = _likeness_track(analysis)
    small = _content_tracks(analysis)
    return environment.get_template("report.html.jinja").render(
        name=printable(analysis.path.name),
        facts=_facts(analysis),
        analysis=analysis,
        simulated=results.is_simulated(analysis.kind),
        sheet=sheet,
        axis=axis,
        tracks=tracks,
        lanes=[*_shot_track(analysis), *likeness],
        small=small,
        modalities=_modalities(analysis),
        has_annotation=bool(yours),
        page_data=_page_data(analysis, [*tracks, *likeness, *small], time_of),
        peaks=_peaks(analysis, time_of),
        summary=_summary(analysis, time_of),
        shots=_shots(analysis, time_of),
        shot_count=len(analysis.contents.shots),
        most_shots=MOST_SHOTS,
        faces=list(_faces(analysis, time_of)),
        face_sentence=_face_sentence(analysis),
        unusual=_unusual(analysis, time_of),
        agreement=None if annotation is None else _table(agreement(annotation, analysis)),
        versions=_versions(),
    )


def _data_address(content: bytes, kind: str) -> str:
    """Bytes as an address that holds them, for a page that asks nothing of a network."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _sentence(text: str) -> str:
    """A text with a large first letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _your_curves(analysis: Analysis, annotation: Annotation | None) -> dict[str, np.ndarray]:
    """By target, the mean of an annotation in each segment; nan where there is none."""
    if annotation is None:
        return {}
    starts = analysis.segments["start"].to_numpy()
    ends = analysis.segments["end"].to_numpy()
    return {target: annotation.over(target, starts, ends) for target in annotation.values}


def _end(analysis: Analysis) -> float:
    """Where the time axis ends, in seconds."""
    return float(analysis.segments["end"].iloc[-1])


def _time(analysis: Analysis, seconds: float) -> str:
    return timecode(max(0.0, float(seconds)), analysis.media.frame_rate)


def _facts(analysis: Analysis) -> list[str]:
    """What kind of file it is, in a few words each."""
    about = analysis.media
    facts = [_time(analysis, about.seconds)]
    if about.width is None:
        facts.append("no picture")
    else:
        facts.append(f"{about.width} x {about.height} pixels")
    if about.frame_rate:
        facts.append(f"{about.frame_rate:.3g} frames per second")
    facts.append("no sound" if about.sampling_rate is None else "with sound")
    count = len(analysis.segments)
    length = analysis.segments["end"].iloc[0] - analysis.segments["start"].iloc[0]
    facts.append(f"{count} segment{'s' if count > 1 else ''} of {length:.3g} s")
    return facts


def _versions() -> list[str]:
    """What made the page: without a date, so that it is the same page tomorrow."""
    return [
        f"affectlib {affectlib.__version__}",
        f"PyAV {av.__version__}",
        f"torch {torch.__version__}",
    ]


# ---------------------------------------------------------------- drawings


def _time_axis(end: float) -> list[tuple[str, float]]:
    """Labels of the time axis and their places from the left, in percent.

    Examples:
        >>> _time_axis(20.0)
        [('0:00', 0.0), ('0:05', 25.0), ('0:10', 50.0), ('0:15', 75.0), ('0:20', 100.0)]
    """
    step = next((step for step in STEPS if end / step <= MOST_TICKS), STEPS[-1])
    ticks = []
    for number in range(int(end / step + 1e-6) + 1):
        seconds = number * step
        minutes, second = divmod(seconds, 60)
        label = f"{minutes}:{second:02d}"
        if end >= 3600:
            label = f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
        ticks.append((label, round(100 * seconds / end, 2)))
    return ticks


@dataclass(frozen=True)
class _Scale:
    """Places of values in a drawing.

    Args:
        low, high: values at its bottom and its top
        xs: horizontal places of the middles of the segments
    """

    low: float
    high: float
    xs: np.ndarray

    def y(self, value: float) -> float:
        return round(HEIGHT * (self.high - value) / (self.high - self.low), 1)

    def percent(self, value: float) -> float:
        return round(100 * self.y(value) / HEIGHT, 2)

    def line(self, values: np.ndarray) -> str:
        """SVG path of a curve; it breaks where values are nan, and reaches both edges."""
        parts = []
        pen_is_down = False
        for x, value in self._points(values):
            if not math.isfinite(value):
                pen_is_down = False
                continue
            parts.append(f"{'L' if pen_is_down else 'M'}{x:g} {self.y(value):g}")
            pen_is_down = True
        return "".join(parts)

    def area(self, lower: np.ndarray, upper: np.ndarray) -> str:
        """SVG path of the area between two curves."""
        there = [f"{x:g} {self.y(value):g}" for x, value in self._points(upper)]
        back = [f"{x:g} {self.y(value):g}" for x, value in self._points(lower)]
        return "M" + "L".join(there + back[::-1]) + "Z"

    def _points(self, values: np.ndarray) -> list[tuple[float, float]]:
        values = [float(value) for value in values]
        xs = [0.0, *self.xs.tolist(), WIDTH]
        return list(zip(xs, [values[0], *values, values[-1]], strict=True))


def _places(analysis: Analysis) -> np.ndarray:
    """Horizontal places of the middles of the segments, ``(segments,)``."""
    middles = (analysis.segments["start"] + analysis.segments["end"]).to_numpy() / 2
    return (WIDTH * middles / _end(analysis)).round(1)


def _curve_tracks(analysis: Analysis, annotation: Mapping[str, np.ndarray]) -> list[Track]:
    """A drawing for each target."""
    cuts = _cut_lines(analysis)
    return [
        _curve_track(analysis, curve, annotation.get(target), cuts)
        for target, curve in analysis.curves.items()
    ]


def _curve_track(
    analysis: Analysis, curve: Curve, annotation: np.ndarray | None, cuts: str
) -> Track:
    drawn = [np.array([-1.0, 1.0]), curve.lower, curve.upper, curve.middle]
    drawn += list(curve.modalities.values())
    if annotation is not None:
        drawn.append(annotation)
    # Values beyond the usual range are not cut off: the axis grows by halves.
    low = math.floor(2 * min(np.nanmin(values) for values in drawn)) / 2
    high = math.ceil(2 * max(np.nanmax(values) for values in drawn)) / 2
    scale = _Scale(low, high, _places(analysis))
    layers = {"cuts": cuts, "zero": f"M0 {scale.y(0):g}H{WIDTH:g}"}
    layers["band"] = scale.area(curve.lower, curve.upper)
    for name, values in curve.modalities.items():
        layers[_layer(analysis, name)] = scale.line(values)
    if annotation is not None:
        layers["annotation"] = scale.line(annotation)
    layers["middle"] = scale.line(curve.middle)
    ticks = [(f"{value:+g}" if value else "0", scale.percent(value)) for value in (-1, 0, 1)]
    values = []
    for i in range(len(curve.middle)):
        values.append(_curve_words(curve, annotation, i))
    alt = (
        f"Predicted {curve.target} over the film, from {curve.middle.min():+.2f} to "
        f"{curve.middle.max():+.2f}, with its band."
    )
    return Track(curve.target, alt, layers, ticks, values)


def _curve_words(curve: Curve, annotation: np.ndarray | None, i: int) -> str:
    """What a curve says in one segment."""
    band = f"{_signed(curve.lower[i])} to {_signed(curve.upper[i])}"
    words = f"{_signed(curve.middle[i])} (band {band})"
    for name, values in curve.modalities.items():
        words += f"; {name} alone {_signed(values[i])}"
    if annotation is not None and math.isfinite(annotation[i]):
        words += f"; yours {_signed(annotation[i])}"
    return words


def _signed(value: float) -> str:
    """A value with its sign and two decimals; what rounds to 0 is +0.00."""
    return f"{round(float(value), 2) + 0.0:+.2f}"


def _modalities(analysis: Analysis) -> list[str]:
    """Names of the modalities that have curves of their own, in the order of the curves."""
    names: dict[str, None] = {}
    for curve in analysis.curves.values():
        names |= dict.fromkeys(curve.modalities)
    return list(names)


def _layer(analysis: Analysis, modality: str) -> str:
    """Class of the layer of a modality."""
    return f"modality-{_modalities(analysis).index(modality)}"


def _cut_starts(analysis: Analysis) -> list[float]:
    """Where shots begin, but the first, as horizontal places."""
    starts = analysis.contents.shots["start"].to_numpy(float)[1:]
    end = _end(analysis)
    return [round(WIDTH * start / end, 1) for start in starts if start < end]


def _cut_lines(analysis: Analysis) -> str:
    """Boundaries of shots through a drawing; none where they would hide it."""
    starts = _cut_starts(analysis)
    if len(starts) > MOST_LINES:
        return ""
    return "".join(f"M{x:g} 0V{HEIGHT:g}" for x in starts)


def _shot_track(analysis: Analysis) -> list[Track]:
    """A lane of the shots; scenes are shaded in turn."""
    shots = analysis.contents.shots
    if shots.empty:
        return []
    lines = "".join(f"M{x:g} 0V{HEIGHT:g}" for x in _cut_starts(analysis))
    end = _end(analysis)
    scenes = shots.groupby("scene", sort=False)
    firsts = scenes["start"].min().to_numpy(float)
    lasts = np.minimum(scenes["end"].max().to_numpy(float), end)
    spans = []
    for first, last in list(zip(firsts, lasts, strict=True))[::2]:
        if first < end:
            spans.append((round(100 * first / end, 2), round(100 * (last - first) / end, 2)))
    alt = f"{len(shots)} shots in {len(scenes)} scenes."
    return [Track("shots", alt, {"cut": lines}, spans={"scene": spans})]


def _likeness_track(analysis: Analysis) -> list[Track]:
    """A lane of the distance to the training films, and of the segments beyond its limit."""
    likeness = analysis.likeness
    if likeness is None:
        return []
    highest = max(float(np.nanmax(likeness.distance)), likeness.limit)
    scale = _Scale(0.0, 1.1 * highest, _places(analysis))
    bottom = np.zeros(len(likeness.distance))
    layers = {
        "distance": scale.area(bottom, likeness.distance),
        "limit": f"M0 {scale.y(likeness.limit):g}H{WIDTH:g}",
    }
    end = _end(analysis)
    spans = []
    for row in analysis.segments[likeness.unlike].itertuples():
        left = round(100 * row.start / end, 2)
        spans.append((left, round(100 * (row.end - row.start) / end, 2)))
    values = []
    for distance, is_unlike in zip(likeness.distance, likeness.unlike, strict=True):
        word = "unlike" if is_unlike else "like"
        values.append(f"{word} the training films ({distance:.3g}, limit {likeness.limit:.3g})")
    alt = f"Distance of each segment to the training films. {likeness.sentence}"
    return [Track("distance", alt, layers, values=values, spans={"unlike": spans})]


def _content_tracks(analysis: Analysis) -> list[Track]:
    """Low drawings of what is in the film."""
    table = analysis.contents.segments
    tracks = []
    for column, (name, unit) in DRAWN.items():
        if column not in table or not np.isfinite(table[column]).any():
            continue
        series = table[column].to_numpy(float)
        low = float(np.nanmin(series))
        high = float(np.nanmax(series))
        # A value that never changes is drawn near the bottom: in the middle stands the name.
        below = 0.08 * (high - low) if high > low else 0.2
        above = 0.08 * (high - low) if high > low else 1.8
        scale = _Scale(low - below, high + above, _places(analysis))
        words = ["none" if math.isnan(value) else f"{value:.3g}{unit}" for value in series]
        ticks = [(f"{value:.3g}", scale.percent(value)) for value in sorted({low, high})]
        alt = f"{column} over the film, from {low:.3g} to {high:.3g}."
        tracks.append(Track(name, alt, {"content": scale.line(series)}, ticks, words))
    return tracks


def _page_data(
    analysis: Analysis, tracks: Sequence[Track], time_of: Callable[[float], str]
) -> dict[str, object]:
    """What the page's program reads: times of the segments, and the words of each track."""
    starts = analysis.segments["start"].tolist()
    ends = analysis.segments["end"].tolist()
    # Pairs, since a JSON object would be sorted by its names.
    words = [[track.name, list(track.values)] for track in tracks]
    end = _end(analysis)
    return {
        "from": [time_of(start) for start in starts],
        "to": [time_of(stop) for stop in ends],
        "left": [round(start / end, 5) for start in starts],
        "right": [round(stop / end, 5) for stop in ends],
        "words": words,
        "missing": analysis.segments["missing"].tolist(),
    }


# ---------------------------------------------------------------- peaks, tables and faces


def _peaks(analysis: Analysis, time_of: Callable[[float], str]) -> list[dict[str, object]]:
    """The clips at the ends of each curve, ready to be shown."""
    ends = []
    for target, curve in analysis.curves.items():
        highest, lowest = peaks(curve.middle, PEAKS)
        ends.append((f"highest {target}", highest, curve))
        ends.append((f"lowest {target}", lowest, curve))
    positions = [position for _, chosen, _ in ends for position in chosen]
    clips = peak_clips(analysis, positions)
    groups = []
    for title, chosen, curve in ends:
        shown = []
        for position in chosen:
            clip = clips[position]
            shown.append(
                {
                    "segment": position,
                    "time": time_of(analysis.segments["start"].iloc[position]),
                    "value": _signed(curve.middle[position]),
                    "clip": clip,
                }
            )
        groups.append({"title": title, "shown": shown})
    return groups


def _summary(analysis: Analysis, time_of: Callable[[float], str]) -> list[list[str]]:
    """A row per column of the contents: its lowest, median and highest value, and where that is."""
    table = analysis.contents.segments
    rows = []
    for column in table.columns.difference(["start", "end"], sort=False):
        series = pd.to_numeric(table[column])
        if series.isna().all():
            rows.append([column, "none", "", "", ""])
            continue
        numbers = [f"{value:.3g}" for value in (series.min(), series.median(), series.max())]
        place = time_of(analysis.segments["start"].iloc[int(series.argmax())])
        rows.append([column, *numbers, place if series.max() > series.min() else ""])
    return rows


def _shots(analysis: Analysis, time_of: Callable[[float], str]) -> list[list[str]]:
    rows = []
    for number, shot in enumerate(analysis.contents.shots.head(MOST_SHOTS).itertuples(), 1):
        length = f"{shot.end - shot.start:.1f} s"
        rows.append([str(number), time_of(shot.start), length, str(shot.scene)])
    return rows


def _faces(analysis: Analysis, time_of: Callable[[float], str]) -> Iterator[dict[str, object]]:
    """Pictures with a box around each face, from times spread over the film."""
    table = analysis.contents.faces
    times = np.unique(table["time"].to_numpy(float))
    if not len(times):
        return
    places = np.linspace(0, len(times) - 1, min(FACES, len(times))).round().astype(int)
    chosen = times[np.unique(places)].tolist()
    for picture in media.stream(analysis.path, chosen, side=FACE_SIDE, sound=False):
        image = np.ascontiguousarray(picture.image)
        scale = image.shape[1] / analysis.media.width
        boxes = table[table["time"] == picture.time]
        for box in boxes.itertuples():
            first = (round(box.left * scale), round(box.top * scale))
            last = (round(box.right * scale), round(box.bottom * scale))
            cv2.rectangle(image, first, last, FACE_COLOUR, 2)
        yield {"time": time_of(picture.time), "count": len(boxes), "picture": jpeg(image)}


def _face_sentence(analysis: Analysis) -> str:
    """How many of the frames that were looked at show a face."""
    looked = len(analysis.contents.face_times)
    found = analysis.contents.faces["time"].nunique()
    if not looked:
        return "The file has no picture."
    if not found:
        return f"No face was found in the {looked} frames that were searched."
    return f"A face was found in {found} of the {looked} frames that were searched."


def _unusual(analysis: Analysis, time_of: Callable[[float], str]) -> list[list[str]]:
    rows = []
    for row in unusual_features(analysis).itertuples():
        place = time_of(analysis.segments["start"].iloc[row.segment])
        rows.append(
            [row.feature, place, f"{row.value:.3g}", f"{row.median:.3g}", f"{row.deviations:+.1f}"]
        )
    return rows


def _table(table: pd.DataFrame) -> dict[str, list]:
    """Columns and cells of a table as text, its index first."""
    table = table.reset_index()
    cells = []
    for row in table.itertuples(index=False):
        cells.append([_cell(value) for value in row])
    return {"columns": [str(column) for column in table.columns], "cells": cells}


def _cell(value: object) -> str:
    """A number with two decimals, ``unknown`` for nan, and any other value as it is."""
    if not isinstance(value, float):
        return str(value)
    return "unknown" if math.isnan(value) else f"{value:.2f}"
