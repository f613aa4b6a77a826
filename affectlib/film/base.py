"""What is known of one film: its curves, how like the training films it is, and what is in it.

The parts of :mod:`affectlib.film` hand these on to each other: models make curves, the report draws
them, and the exports write them to files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib.features import FeatureTable
from affectlib.media import Media


@dataclass(frozen=True)
class Curve:
    """What the models predict for one target, segment by segment.

    Args:
        target: ``"valence"`` or ``"arousal"``
        models: prediction of each model, as it comes
        middle: mean of the models, smoothed
        lower, upper: ends of the band around it
        level: share of the values of films left out that such a band holds; None where no films
            were left out, so that it is not known
        band: how the band was made, one sentence
        modalities: by name (``"sound"``, ``"picture"``), the smoothed curve of that modality alone

    Shape:
        models ``(models, segments)``; middle, lower, upper and each modality ``(segments,)``
    """

    target: str
    models: np.ndarray
    middle: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float | None
    band: str
    modalities: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Likeness:
    """How far a film lies from those that the models learned from.

    Args:
        distance: of each segment from the training films, in the unit of the method
        rank: share of segments of training films left out that lie as far away or farther, in
            [0, 1]; small is unusual
        limit: the distance beyond which a segment counts as unlike the training films
        level: share of the segments of films left out that lie beyond ``limit``
        sentence: what this says of the whole film

    Shape:
        distance and rank ``(segments,)``
    """

    distance: np.ndarray
    rank: np.ndarray
    limit: float
    level: float
    sentence: str

    @property
    def unlike(self) -> np.ndarray:
        """Mask of the segments beyond the limit, ``(segments,)``."""
        return self.distance > self.limit


@dataclass(frozen=True)
class Contents:
    """What is in a film, without any model of emotion.

    Args:
        segments: a row per segment; columns such as ``loudness LUFS``, ``tempo BPM``,
            ``brightness``, ``colourfulness``, ``faces``; nan where the film has no such thing
        shots: a row per shot: ``start``, ``end`` in seconds, ``scene``, its number
        faces: a row per face and looked-at frame: ``time`` in seconds; ``left``, ``top``,
            ``right``, ``bottom`` in pixels of the film; descriptors of the face by name
        face_times: the looked-at times, in seconds, those without a face among them
    """

    segments: pd.DataFrame
    shots: pd.DataFrame
    faces: pd.DataFrame
    face_times: tuple[float, ...]


@dataclass(frozen=True)
class Analysis:
    """All that is known of one film.

    Args:
        path: the media file
        media: its properties
        segments: a row per segment: ``start`` and ``end`` in seconds, ``missing``, names of the
            features that are zeros because the segment has no sound or picture
        table: the features of the segments
        curves: by target; empty where no model was asked
        likeness: None where the training films are not known
        contents: what is in the film
        model: what the curves come from, one sentence; it says so where films were simulated
        kind: kind of result, see :func:`affectlib.results.kind`
        licence: terms of the model and the features
        caveats: what cannot be said of this film, one sentence each
    """

    path: Path
    media: Media
    segments: pd.DataFrame
    table: FeatureTable
    curves: Mapping[str, Curve]
    likeness: Likeness | None
    contents: Contents
    model: str
    kind: str
    licence: str
    caveats: tuple[str, ...] = ()
