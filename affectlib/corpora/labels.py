"""From annotations over time to one value per clip: segments, parts and the lead-in."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd

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

    return pd.Series({clip: run(rows) for clip, rows in annotations.groupby("clip", sort=False)}, dtype=float)


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
    means = annotations.groupby([annotations["clip"], segment.rename("segment")], sort=False)[["valence", "arousal"]]
    means = means.mean().reset_index()
    ends = annotations.groupby("clip", sort=False)["time"].agg(lambda times: times.iloc[-1] + times.diff().median())
    means.insert(2, "start", means["segment"] * float(seconds))
    means.insert(3, "seconds", float(seconds))
    whole = means["start"] + seconds <= means["clip"].map(ends) + _EPSILON
    return means[whole].reset_index(drop=True)


def segments(corpus, *, seconds=None, parts=None, lead_in="keep"):
    """Cuts every clip into parts that become clips of their own.

    Args:
        corpus: a corpus annotated over time (``seconds``), or one with a value per clip (``parts``)
        seconds: length of a segment, whose value is the mean of its annotations
        parts: number of equal parts of a clip, each of which takes the clip's value
        lead_in: ``"keep"``, as attend_affect does not mention it, or ``"trim"`` to leave out the segments that
            begin while the annotation tool still holds its starting value

    Returns:
        Corpus with clips named ``BMI:0003``, ordered by source and start

    Warns:
        UserWarning: if a film ends before its annotation and loses segments by that

    Raises:
        ValueError: if not exactly one of ``seconds`` and ``parts`` is given, or the corpus has no annotations over time

    References:
        attend_affect, Section IV-A (5 s) and IV-B (4 parts)
    """
    if (seconds is None) == (parts is None):
        raise ValueError("exactly one of seconds and parts must be given")
    if lead_in not in ("keep", "trim"):
        raise ValueError(f"lead_in is 'keep' or 'trim', not {lead_in!r}")
    rows = _parts(corpus, parts) if seconds is None else _seconds(corpus, seconds, lead_in)
    rows["clip"] = [f"{source}:{segment:04d}" for source, segment in zip(rows["source"], rows["segment"], strict=True)]
    about = corpus.clips.set_index("clip")[["path", "group", "split"]]
    clips = rows.drop(columns="segment").join(about, on="source")
    order = ["clip", "source", "start", "seconds", "path", "group", "split", "valence", "arousal"]
    return replace(corpus, clips=clips[order].reset_index(drop=True))


def _seconds(corpus, seconds, lead_in):
    if corpus.annotations.empty:
        raise ValueError(f"{corpus.name} has one value per clip and no annotations over time: cut it by parts")
    rows = segment_means(corpus.annotations, seconds)
    films = rows["clip"].map(corpus.clips.set_index("clip")["seconds"])
    late = rows["start"] + seconds > films + _SLACK
    for clip, lost in rows[late].groupby("clip", sort=False):
        warnings.warn(f"{clip}: the film ends before its annotation; {len(lost)} segments lost", stacklevel=3)
    if lead_in == "trim":
        late |= rows["start"] < rows["clip"].map(lead_in_seconds(corpus.annotations)) - _EPSILON
    return rows[~late].rename(columns={"clip": "source"})


def _parts(corpus, parts):
    rows = corpus.clips[["clip", "seconds", "valence", "arousal"]].rename(columns={"clip": "source"})
    rows = rows.loc[rows.index.repeat(parts)].assign(seconds=lambda row: row["seconds"] / parts)
    rows["segment"] = np.tile(np.arange(parts), len(corpus))
    return rows.assign(start=rows["segment"] * rows["seconds"])
