"""From annotations over time to targets: segments, parts, the lead-in, and moods."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from affectlib.corpora.base import Corpus
from affectlib.moved import moved_names

# Times come from text: 0.04 * 125 is 5 up to this.
_EPSILON = 1e-6
# A film may end this many seconds before its annotation.
_SLACK = 0.1


def lead_in_seconds(annotations: pd.DataFrame) -> pd.Series:
    """Measures how long each clip holds the starting value of the annotation tool.

    These are the first rows whose valence and arousal both equal the first row's.

    Args:
        annotations: clip, time (in seconds), valence, arousal, ordered by time within a clip

    Returns:
        Series of seconds by clip, from the first row to the first row that differs; 0 if the
        second row already differs

    Examples:
        >>> rows = pd.DataFrame({"clip": "BMI", "time": [0.0, 1, 2, 3]})
        >>> rows = rows.assign(valence=0.0, arousal=[-0.94, -0.94, 0, 0])
        >>> lead_in_seconds(rows).to_dict()
        {'BMI': 2.0}
    """
    seconds = {}
    for clip, rows in annotations.groupby("clip", sort=False):
        values = rows[["valence", "arousal"]].to_numpy()
        times = rows["time"].to_numpy()
        moved = np.flatnonzero((values != values[0]).any(axis=1))
        end = moved[0] if len(moved) else len(rows) - 1
        # A first value of a single row is not a lead-in.
        seconds[clip] = float(times[end] - times[0]) if end > 1 else 0.0
    return pd.Series(seconds, dtype=float)


def segment_means(annotations: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Averages the annotations of each segment; segments do not overlap.

    The last incomplete segment is dropped.

    Args:
        annotations: clip, time (in seconds), valence, arousal, ordered by time within a clip
        seconds: length of a segment

    Returns:
        DataFrame with the columns clip, segment (0, 1, ...), start (in seconds), seconds, valence,
        arousal

    Raises:
        ValueError: if ``seconds`` is not positive

    References:
        attend_affect, Section IV-A: 5 s segments

    Examples:
        >>> rows = pd.DataFrame({"clip": "BMI", "time": [0.0, 1, 2, 3, 4]})
        >>> rows = rows.assign(valence=[0, 0.5, 1, 1, 9], arousal=0.0)
        >>> segment_means(rows, 2)[["segment", "start", "valence"]].values.tolist()
        [[0.0, 0.0, 0.25], [1.0, 2.0, 1.0]]
    """
    _check_positive(seconds)
    numbers = np.floor((annotations["time"] + _EPSILON) / seconds).astype(int)
    by_segment = annotations.groupby([annotations["clip"], numbers.rename("segment")], sort=False)
    means = by_segment[["valence", "arousal"]].mean().reset_index()
    means.insert(2, "start", means["segment"] * float(seconds))
    means.insert(3, "seconds", float(seconds))
    ends = annotations.groupby("clip", sort=False)["time"].agg(_annotation_end)
    complete = means["start"] + seconds <= means["clip"].map(ends) + _EPSILON
    return means[complete].reset_index(drop=True)


def _annotation_end(times: pd.Series) -> float:
    """Returns the time at which the row after the last one would come."""
    return times.iloc[-1] + times.diff().median()


def segments(
    corpus: Corpus,
    *,
    seconds: float | None = None,
    parts: int | None = None,
    lead_in: str = "keep",
) -> Corpus:
    """Cuts every clip into segments, which become clips of their own.

    Args:
        corpus: annotated over time (for ``seconds``), or with one value per clip (for ``parts``),
            or without valence and arousal (for either): its segments take the other columns of
            their clip, such as its class
        seconds: length of a segment, whose value is the mean of its annotations. The last
            incomplete one is dropped. A clip without annotations that is shorter is one segment
        parts: number of equal parts of a clip; each takes the value of the clip
        lead_in: ``"keep"``, as attend_affect does not mention it, or ``"trim"`` to leave out the
            segments that begin while the annotation tool still holds its starting value

    Returns:
        Corpus with clips named ``BMI:0003``, ordered by source and start

    Warns:
        UserWarning: if a film ends before its annotation and so loses segments, or has no segment

    Raises:
        ValueError: if not exactly one of ``seconds`` and ``parts`` is given, or one is not
            positive, or a corpus with one value per clip is cut by seconds, or a corpus without
            films is cut by parts

    References:
        attend_affect, Section IV-A (5 s) and IV-B (4 parts)
    """
    if (seconds is None) == (parts is None):
        raise ValueError("exactly one of seconds and parts must be given")
    if lead_in not in ("keep", "trim"):
        raise ValueError(f"lead_in is 'keep' or 'trim', not {lead_in!r}")
    if parts is not None and corpus.clips["seconds"].isna().any():
        raise ValueError(
            f"{corpus.name} was read without its films (films=False): its clips have no length "
            "to cut"
        )
    # Columns that a segment takes from its clip.
    inherited = ["path", "group", "split"]
    if "valence" in corpus.clips:
        rows = _parts(corpus, parts) if seconds is None else _seconds(corpus, seconds, lead_in)
        targets = ["valence", "arousal"]
    else:
        rows = _cut_without_values(corpus, seconds, parts)
        others = ("clip", "seconds", *inherited)
        targets = [column for column in corpus.clips if column not in others]
        inherited += targets
    names = []
    for source, segment in zip(rows["source"], rows["segment"], strict=True):
        names.append(f"{source}:{segment:04d}")
    rows["clip"] = names
    of_clips = corpus.clips.set_index("clip")[inherited]
    clips = rows.drop(columns="segment").join(of_clips, on="source")
    order = ["clip", "source", "start", "seconds", "path", "group", "split", *targets]
    return replace(corpus, clips=clips[order].reset_index(drop=True))


def _check_positive(seconds: float) -> None:
    # Not "seconds <= 0": nan is refused too.
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, not {seconds}")


def _seconds(corpus: Corpus, seconds: float, lead_in: str) -> pd.DataFrame:
    """Cuts clips that are annotated over time: source, segment, start, seconds, two means."""
    if corpus.annotations.empty:
        raise ValueError(
            f"{corpus.name} has one value per clip and no annotations over time: cut it by parts"
        )
    rows = segment_means(corpus.annotations, seconds)
    film_seconds = rows["clip"].map(corpus.clips.set_index("clip")["seconds"])
    dropped = rows["start"] + seconds > film_seconds + _SLACK
    for clip, lost in rows[dropped].groupby("clip", sort=False):
        warnings.warn(
            f"{clip}: the film ends before its annotation; {len(lost)} segments lost", stacklevel=3
        )
    if lead_in == "trim":
        held = rows["clip"].map(lead_in_seconds(corpus.annotations))
        dropped |= rows["start"] < held - _EPSILON
    kept = rows[~dropped]
    for clip in corpus.clips.loc[~corpus.clips["clip"].isin(kept["clip"]), "clip"]:
        warnings.warn(f"{clip}: no segment of {seconds:g} s, the film is left out", stacklevel=3)
    return kept.rename(columns={"clip": "source"})


def _parts(corpus: Corpus, parts: int) -> pd.DataFrame:
    """Cuts clips of one value into equal parts: source, segment, start, seconds, the two values."""
    columns = ["clip", "seconds", "valence", "arousal"]
    rows = corpus.clips[columns].rename(columns={"clip": "source"})
    rows = rows.loc[rows.index.repeat(parts)]
    rows = rows.assign(seconds=rows["seconds"] / parts)
    rows["segment"] = np.tile(np.arange(parts), len(corpus))
    return rows.assign(start=rows["segment"] * rows["seconds"])


def _cut_without_values(corpus: Corpus, seconds: float | None, parts: int | None) -> pd.DataFrame:
    """Cuts clips without values into as many complete segments as fit, at least one."""
    rows = corpus.clips[["clip", "seconds"]].rename(columns={"clip": "source"})
    if parts is None:
        _check_positive(seconds)
        lengths = rows["seconds"].clip(upper=seconds)
    else:
        lengths = rows["seconds"] / parts
    counts = np.floor(rows["seconds"] / lengths + _EPSILON).astype(int)
    rows = rows.assign(seconds=lengths).loc[rows.index.repeat(counts)]
    rows["segment"] = np.concatenate([np.arange(count) for count in counts])
    return rows.assign(start=rows["segment"] * rows["seconds"]).reset_index(drop=True)


MOOD_RULES = ("longest_run", "mode", "class_run")


def valence_class(valence: float | Sequence[float]) -> np.ndarray:
    """Class of a valence in [-10, 10]: -1 (negative) below -3, 1 (positive) above 3, else 0.

    Shape:
        result as ``valence``, integers

    References:
        mood_change 2.2.1

    Examples:
        >>> valence_class([-4, -3, 3, 4])
        array([-1,  0,  0,  1])
    """
    valence = np.asarray(valence, dtype=float)
    return np.where(np.abs(valence) > 3, np.sign(valence), 0).astype(int)


def mood_label(valence: Sequence[float], *, rule: str = "longest_run") -> int:
    """Class of a clip's dominant emotion.

    Args:
        valence: annotated valence of one clip, frame by frame, in [-10, 10]
        rule: ``"longest_run"``: the valence with the longest run of equal values; ties go to the
            value with more frames overall, then to the earlier run.
            ``"mode"``: the valence with most frames; ties go to the earlier one.
            ``"class_run"``: like the first rule, with runs of one class instead of one value

    Shape:
        valence ``(frames,)``

    Returns:
        -1, 0 or 1, as :func:`valence_class`

    Raises:
        ValueError: if ``rule`` is unknown, or there is no frame, or a valence is not a number

    References:
        mood_change 2.2.1: "the valence value prevailing over most consecutive frames"

    Examples:
        >>> [mood_label([4, 4, 4, -5, -5, 0, -5, -5], rule=rule) for rule in MOOD_RULES]
        [1, -1, 1]
    """
    if rule not in MOOD_RULES:
        raise ValueError(f"rule is one of {', '.join(MOOD_RULES)}, not {rule!r}")
    values = np.asarray(valence, dtype=float)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a mood needs frames with a valence each, found {len(values)} frames")
    if rule == "class_run":
        values = valence_class(values)
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])  # (runs,)
    run_lengths = np.diff(np.r_[starts, len(values)])  # (runs,)
    if rule == "mode":
        run_lengths = np.zeros(len(starts))  # only the number of frames counts
    frames = [np.sum(values == values[start]) for start in starts]
    # The last key of lexsort counts first; negative starts put the earlier run last.
    order = np.lexsort((-starts, frames, run_lengths))
    mood = values[starts[order[-1]]]
    return int(mood if rule == "class_run" else valence_class(mood))


def with_mood(corpus: Corpus, *, rule: str = "longest_run") -> Corpus:
    """The same corpus with the column mood among its clips: -1, 0 or 1, by :func:`mood_label`."""
    moods = {}
    for clip, valence in corpus.annotations.groupby("clip")["valence"]:
        moods[clip] = mood_label(valence, rule=rule)
    return replace(corpus, clips=corpus.clips.assign(mood=corpus.clips["clip"].map(moods)))


# Only mood_change needs these, and they stand in its model file now.
__getattr__ = moved_names(
    __name__, ("change_label", "mood_windows", "windows"), "affectlib.models.mood_change"
)
