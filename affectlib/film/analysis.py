"""From a film to all that is known of it: features, curves, likeness, contents and caveats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib import media
from affectlib.features import FeatureTable, Store, extract
from affectlib.features import film as cut_film
from affectlib.film import models
from affectlib.film.base import Analysis, Contents, Curve, Likeness
from affectlib.film.contents import GREY, describe
from affectlib.film.models import FilmModel
from affectlib.film.timecode import timecode
from affectlib.media import Media

# Segments that a course over time needs at least: two or three values have no shape.
FEW_SEGMENTS = 6
# In seconds: a shorter rest at the end is rounding.
SHORTEST_REST = 0.1

# What the papers and their corpora set as limits to any film.
LIMITS = (
    "A curve estimates what a few annotators would say that a film intends. It measures no "
    "audience, and none of the people in the film.",
    "There are two numbers only. Surprise, irony, disgust and tenderness may share one value of "
    "valence and arousal.",
    "Each segment is judged by itself. The models do not know what happened before: a quiet scene "
    "after a death is quiet.",
    "Whether the film is drawn, old, or in another language than the training films is not "
    "checked by its content. The distance to the training films notices some of it only.",
)


def analyse(
    path: Path | str,
    *,
    model: str | FilmModel = "simulated",
    seconds: float = 5.0,
    smoothing: float = 10.0,
    missing: str = "zeros",
    jobs: int = 2,
    progress: bool | None = None,
) -> Analysis:
    """Analyses a film: what models predict for it, how far to believe them, what is in it.

    The film is streamed, and never in memory as a whole.

    Args:
        path: mp4, mkv, mov or anything else that FFmpeg reads
        model: a name or a file as :func:`affectlib.film.models.load` takes it, or a loaded model
        seconds: length of a segment; what is left at the end is in no segment
        smoothing: seconds over which the curves are averaged
        missing: where a segment lacks the sound or picture that a feature needs: ``"zeros"``, which
            is said in ``segments`` and ``caveats``, or ``"error"``
        jobs: processes that extract features
        progress: show bars; None shows them in an open notebook only

    Raises:
        NotFoundError, FileFormatError: if the film is not there or damaged
        WeightsNotFoundError: if weights of the model's features are not there
        ExtractionError: if a feature cannot be computed
    """
    path = Path(path)
    corpus = cut_film(path, seconds=seconds)
    loaded = model
    if isinstance(model, str):
        loaded = models.load(model, jobs=jobs, progress=progress)
    table = extract(
        corpus,
        loaded.extractors,
        store=Store(),
        missing=missing,
        jobs=jobs,
        progress=progress,
    )
    starts = corpus.clips["start"].to_numpy(float)
    length = float(corpus.clips["seconds"].iloc[0])
    about = media.probe(path)
    curves = loaded.curves(table, hertz=1 / length, smoothing=smoothing)
    likeness = loaded.likeness(table)
    contents = describe(path, starts, length, progress=progress)
    segments = pd.DataFrame(
        {"start": starts, "end": starts + length, "missing": _missing_names(table)}
    )
    caveats = _caveats(
        about=about,
        segments=segments,
        curves=curves,
        likeness=likeness,
        contents=contents,
        simulated=loaded.simulated,
        smoothing=smoothing,
        wanted_seconds=seconds,
    )
    return Analysis(
        path=path,
        media=about,
        segments=segments,
        table=table,
        curves=curves,
        likeness=likeness,
        contents=contents,
        model=loaded.source,
        kind=loaded.kind,
        licence=loaded.licence,
        caveats=tuple(caveats),
    )


def _missing_names(table: FeatureTable) -> list[str]:
    """For each segment, the names of the features that are zeros, with spaces between."""
    lacking = {name: set(clips) for name, clips in table.missing.items()}
    names = []
    for clip in table.clips:
        names.append(" ".join(name for name, clips in lacking.items() if clip in clips))
    return names


def _caveats(
    *,
    about: Media,
    segments: pd.DataFrame,
    curves: dict[str, Curve],
    likeness: Likeness | None,
    contents: Contents,
    simulated: bool,
    smoothing: float,
    wanted_seconds: float,
) -> list[str]:
    """What cannot be said of this film, the gravest first."""
    caveats = []
    if simulated:
        caveats.append(
            "The models learned from simulated films, which are drawn and composed from two "
            "numbers. Their curves show how such a curve is made and read. They say nothing about "
            "a real film."
        )
    if curves:
        caveats += _of_likeness(likeness, segments)
        caveats += _of_bands(curves)
    caveats += _of_sound_and_picture(about, segments, contents)
    caveats += _of_length(about, segments, smoothing, wanted_seconds)
    if curves:
        caveats += LIMITS
    return caveats


def _of_likeness(likeness: Likeness | None, segments: pd.DataFrame) -> Iterator[str]:
    if likeness is None:
        yield (
            "How like this film is to those that the models learned from is not known: their "
            "features are not part of the model."
        )
        return
    unlike = int(likeness.unlike.sum())
    if unlike:
        yield (
            f"Segments unlike the training films: {unlike} of {len(segments)}. What the models say "
            "there is a guess."
        )


def _of_bands(curves: dict[str, Curve]) -> Iterator[str]:
    unknown = [target for target, curve in curves.items() if curve.level is None]
    if unknown:
        yield (
            f"How often the band of {' and '.join(unknown)} holds the true value is not known for "
            "this film."
        )


def _of_sound_and_picture(
    about: Media, segments: pd.DataFrame, contents: Contents
) -> Iterator[str]:
    has_picture = about.width is not None
    if about.sampling_rate is None:
        yield "The film has no sound: the features of sound are zeros, and the picture decides."
    if not has_picture:
        yield "The file has no picture: the features of the picture are zeros, the sound decides."
    lacking = segments["missing"] != ""
    if about.sampling_rate is not None and has_picture and lacking.any():
        names = sorted(set(" ".join(segments["missing"]).split()))
        yield (
            f"Segments that lack sound or picture: {int(lacking.sum())} of {len(segments)}. Zeros "
            f"stand there for {', '.join(names)}."
        )
    if not has_picture:
        return
    colour = contents.segments["colourfulness"].max()
    if colour < GREY:
        yield "The film is black and white: features of colour have nothing to tell."
    if contents.faces.empty:
        yield (
            f"No face was found in {_counted(len(contents.face_times), 'frame')}: the features of "
            "faces are those of a film without any. The detector finds frontal faces of people; it "
            "misses turned, small and drawn ones."
        )
    if about.height > about.width:
        yield "The film is upright. The films that the models learned from are wide."


def _of_length(
    about: Media, segments: pd.DataFrame, smoothing: float, wanted_seconds: float
) -> Iterator[str]:
    length = float(segments["end"].iloc[0] - segments["start"].iloc[0])
    if about.seconds < wanted_seconds:
        yield (
            f"The film is shorter ({about.seconds:.1f} s) than a segment ({wanted_seconds:g} s): "
            "it is judged as a whole, and there is no course over time."
        )
        return
    if len(segments) < FEW_SEGMENTS:
        yield f"With {_counted(len(segments), 'segment')} there is hardly a course over time."
    rest = about.seconds - float(segments["end"].iloc[-1])
    if rest > SHORTEST_REST:
        place = timecode(float(segments["end"].iloc[-1]), about.frame_rate)
        yield f"The last {rest:.1f} s, from {place} on, are in no segment and were not judged."
    if smoothing > length and len(segments) > 1:
        yield f"What changes faster than {smoothing:g} s is smoothed away."


def _counted(number: int, thing: str) -> str:
    """A number and what it counts.

    Examples:
        >>> _counted(1, "segment"), _counted(2, "segment")
        ('1 segment', '2 segments')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def unusual_features(analysis: Analysis, count: int = 8) -> pd.DataFrame:
    """The features that stand out most from the rest of the same film, one row each.

    Each value is compared with the median of its feature over the film, in units of the median
    absolute deviation times 1.4826, which is the standard deviation for values of a normal
    distribution. Features that have one value in half of the film or more are left out.

    Args:
        analysis: of the film
        count: number of rows at most; each feature has one row, its most unusual segment

    Returns:
        table of ``feature``, ``segment`` (position), ``value``, ``median`` and ``deviations``;
        without rows for a film of few segments
    """
    rows = []
    if len(analysis.segments) >= FEW_SEGMENTS:
        for name, array in analysis.table.arrays.items():
            rows += _unusual(name, np.asarray(array, float), analysis.table.names[name])
    columns = ["feature", "segment", "value", "median", "deviations"]
    table = pd.DataFrame(rows, columns=columns)
    order = table["deviations"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].head(count).reset_index(drop=True)


def _unusual(extractor: str, values: np.ndarray, names: tuple[str, ...]) -> list[list]:
    """The most unusual segment of each feature.

    Shape:
        values ``(segments, size)``
    """
    median = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - median), axis=0)
    usable = spread > 1e-6 * np.maximum(np.abs(median), 1e-6)
    deviations = np.zeros_like(values)
    deviations[:, usable] = (values - median)[:, usable] / spread[usable]
    rows = []
    for column in np.flatnonzero(usable):
        segment = int(np.abs(deviations[:, column]).argmax())
        rows.append(
            [
                f"{extractor} {names[column]}",
                segment,
                float(values[segment, column]),
                float(median[column]),
                float(deviations[segment, column]),
            ]
        )
    return rows
