"""Corpora of known affect, rendered as real files in the layout of the real corpus."""

from affectlib.simulate.corpora import make_cognimuse, make_eimt16

__all__ = ["make_cognimuse", "make_eimt16"]
