"""Files on disk to :class:`Corpus`: one loader per corpus, one way to fail."""

from affectlib.corpora.afew_va import frame_array, load_afew_va
from affectlib.corpora.base import AffectError, Corpus, CorpusFormatError, CorpusNotFoundError
from affectlib.corpora.cognimuse import load_cognimuse
from affectlib.corpora.completeness import counts, warn_if_partial
from affectlib.corpora.folds import Fold, leave_one_film_out, official_split
from affectlib.corpora.labels import (
    lead_in_seconds,
    mood_label,
    segment_means,
    segments,
    with_mood,
)
from affectlib.corpora.lengths import length_table
from affectlib.corpora.liris_accede import load_eimt16, load_liris_discrete
from affectlib.corpora.liris_continuous import load_liris_continuous
from affectlib.corpora.mediaeval import load_mediaeval15, load_mediaeval18
from affectlib.corpora.video_emotion import (
    EKMAN6_CLASSES,
    HEIV_CLASSES,
    VIDEOEMOTION8_CLASSES,
    load_ekman6,
    load_heiv,
    load_videoemotion8,
    split_columns,
)
from affectlib.moved import moved_names

__all__ = [
    "EKMAN6_CLASSES",
    "HEIV_CLASSES",
    "VIDEOEMOTION8_CLASSES",
    "AffectError",
    "Corpus",
    "CorpusFormatError",
    "CorpusNotFoundError",
    "Fold",
    "counts",
    "frame_array",
    "lead_in_seconds",
    "leave_one_film_out",
    "length_table",
    "load_afew_va",
    "load_cognimuse",
    "load_eimt16",
    "load_ekman6",
    "load_heiv",
    "load_liris_continuous",
    "load_liris_discrete",
    "load_mediaeval15",
    "load_mediaeval18",
    "load_videoemotion8",
    "mood_label",
    "official_split",
    "segment_means",
    "segments",
    "split_columns",
    "warn_if_partial",
    "with_mood",
]

__getattr__ = moved_names(
    __name__,
    ("change_label", "mood_windows", "subject_folds", "windows"),
    "affectlib.models.mood_change",
)
