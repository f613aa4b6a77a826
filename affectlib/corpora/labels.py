"""From annotations over time to the values to predict: segments, parts, the lead-in, and moods."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from affectlib.corpora.base import Corpus
from affectlib.moved import moved_names

_EPSILON = 1e-6  # times come from text: 0.04 * 125 is 5 up to this
_SLACK = 0.1  # a film may end this many seconds before its annotation


def lead_in_seconds(annotations):
    """How long each clip holds the starting value of the annotation tool.

    The leading run of rows in which both valence and arousal equal those of the first row.

    Args:
        annotations: clip, time (in seconds), valence, arousal, ordered by time within a clip

    Returns:
        Series of seconds from the first row to the first that differs, by clip; 0 where the second row already does

    Examples:
        >>> rows = pd.DataFrame({"clip": "BMI", "time": [0., 1, 2, 3], "valence": 0., "arousal": [-.94, -.94, 0, 0]})
        >>> lead_in_seconds(rows).to_dict()
        {'BMI': 2.0}
    """

    def run(rows):
        values, times = rows[["valence", "arousal"]].to_numpy(), rows["time"].to_numpy()
        moved = np.flatnonzero((values != values[0]).any(axis=1))
        end = moved[0] if len(moved) else len(rows) - 1
        return float(times[end] - times[0]) if end > 1 else 0.0

    return pd.Series(
        {clip: run(rows) for clip, rows in annotations.groupby("clip", sort=False)}, dtype=float
    )


def segment_means(annotations, seconds):
    """Mean annotation of each segment, without overlap, the last incomplete one dropped.

    Args:
        annotations: clip, time (in seconds), valence, arousal, ordered by time within a clip
        seconds: length of a segment

    Returns:
        DataFrame with the columns clip, segment (0, 1, ...), start (in seconds), seconds, valence, arousal

    Raises:
        ValueError: if ``seconds`` is not positive

    References:
        attend_affect, Section IV-A: 5 s segments

    Examples:
        >>> rows = pd.DataFrame({"clip": "BMI", "time": [0., 1, 2, 3, 4], "valence": [0, .5, 1, 1, 9], "arousal": 0.})
        >>> segment_means(rows, 2)[["segment", "start", "valence"]].values.tolist()
        [[0.0, 0.0, 0.25], [1.0, 2.0, 1.0]]
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, not {seconds}")
    segment = np.floor((annotations["time"] + _EPSILON) / seconds).astype(int)
    means = annotations.groupby([annotations["clip"], segment.rename("segment")], sort=False)[
        ["valence", "arousal"]
    ]
    means = means.mean().reset_index()
    ends = annotations.groupby("clip", sort=False)["time"].agg(
        lambda times: times.iloc[-1] + times.diff().median()
    )
    means.insert(2, "start", means["segment"] * float(seconds))
    means.insert(3, "seconds", float(seconds))
    whole = means["start"] + seconds <= means["clip"].map(ends) + _EPSILON
    return means[whole].reset_index(drop=True)


def segments(corpus, *, seconds=None, parts=None, lead_in="keep"):
    """Cuts every clip into parts that become clips of their own.

    Args:
        corpus: a corpus annotated over time (``seconds``), one with a value per clip (``parts``), or one without
            valence and arousal (either), whose segments take the other columns of their clip, such as its class
        seconds: length of a segment, whose value is the mean of its annotations. The last incomplete one is dropped;
            a clip without annotations that is shorter is one segment
        parts: number of equal parts of a clip, each of which takes the clip's value
        lead_in: ``"keep"``, as attend_affect does not mention it, or ``"trim"`` to leave out the segments that
            begin while the annotation tool still holds its starting value

    Returns:
        Corpus with clips named ``BMI:0003``, ordered by source and start

    Warns:
        UserWarning: if a film ends before its annotation and loses segments by that, or has no segment at all

    Raises:
        ValueError: if not exactly one of ``seconds`` and ``parts`` is given, or not above 0, or the corpus
            has one value per clip and is to be cut by seconds, or was read without its films and is to be cut by parts

    References:
        attend_affect, Section IV-A (5 s) and IV-B (4 parts)
    """
    if (seconds is None) == (parts is None):
        raise ValueError("exactly one of seconds and parts must be given")
    if lead_in not in ("keep", "trim"):
        raise ValueError(f"lead_in is 'keep' or 'trim', not {lead_in!r}")
    if parts is not None and corpus.clips["seconds"].isna().any():
        raise ValueError(
            f"{corpus.name} was read without its films (films=False): its clips have no length to cut"
        )
    known = ["path", "group", "split"]
    if "valence" in corpus.clips:
        rows = _parts(corpus, parts) if seconds is None else _seconds(corpus, seconds, lead_in)
        order = ["valence", "arousal"]
    else:
        rows = _pieces(corpus, seconds, parts)
        order = [column for column in corpus.clips if column not in ("clip", "seconds", *known)]
        known += order
    rows["clip"] = [
        f"{source}:{segment:04d}"
        for source, segment in zip(rows["source"], rows["segment"], strict=True)
    ]
    clips = rows.drop(columns="segment").join(corpus.clips.set_index("clip")[known], on="source")
    order = ["clip", "source", "start", "seconds", "path", "group", "split", *order]
    return replace(corpus, clips=clips[order].reset_index(drop=True))


def _seconds(corpus, seconds, lead_in):
    if corpus.annotations.empty:
        raise ValueError(
            f"{corpus.name} has one value per clip and no annotations over time: cut it by parts"
        )
    rows = segment_means(corpus.annotations, seconds)
    films = rows["clip"].map(corpus.clips.set_index("clip")["seconds"])
    late = rows["start"] + seconds > films + _SLACK
    for clip, lost in rows[late].groupby("clip", sort=False):
        warnings.warn(
            f"{clip}: the film ends before its annotation; {len(lost)} segments lost", stacklevel=3
        )
    if lead_in == "trim":
        late |= rows["start"] < rows["clip"].map(lead_in_seconds(corpus.annotations)) - _EPSILON
    for clip in corpus.clips.loc[~corpus.clips["clip"].isin(rows.loc[~late, "clip"]), "clip"]:
        warnings.warn(f"{clip}: no segment of {seconds:g} s, the film is left out", stacklevel=3)
    return rows[~late].rename(columns={"clip": "source"})


def _parts(corpus, parts):
    rows = corpus.clips[["clip", "seconds", "valence", "arousal"]].rename(
        columns={"clip": "source"}
    )
    rows = rows.loc[rows.index.repeat(parts)].assign(seconds=lambda row: row["seconds"] / parts)
    rows["segment"] = np.tile(np.arange(parts), len(corpus))
    return rows.assign(start=rows["segment"] * rows["seconds"])


def _pieces(corpus, seconds, parts):
    """Segments of clips that have no value to cut: as many whole ones as fit, at least one."""
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds must be positive, not {seconds}")
    rows = corpus.clips[["clip", "seconds"]].rename(columns={"clip": "source"})
    lengths = rows["seconds"].clip(upper=seconds) if parts is None else rows["seconds"] / parts
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
