"""Files on disk to :class:`Corpus`: one loader per corpus, one way to fail."""

from affectlib.corpora.base import AffectError, Corpus, CorpusFormatError, CorpusNotFoundError
from affectlib.corpora.cognimuse import load_cognimuse
from affectlib.corpora.folds import Fold, leave_one_film_out, official_split
from affectlib.corpora.labels import lead_in_seconds, segment_means, segments
from affectlib.corpora.liris_accede import load_eimt16, load_liris_discrete

__all__ = [
    "AffectError", "Corpus", "CorpusFormatError", "CorpusNotFoundError", "Fold", "lead_in_seconds",
    "leave_one_film_out", "load_cognimuse", "load_eimt16", "load_liris_discrete", "official_split",
    "segment_means", "segments",
]
