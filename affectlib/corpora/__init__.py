"""Files on disk to :class:`Corpus`: one loader per corpus, one way to fail."""

from affectlib.corpora.base import AffectError, Corpus, CorpusFormatError, CorpusNotFoundError

__all__ = ["AffectError", "Corpus", "CorpusFormatError", "CorpusNotFoundError"]
