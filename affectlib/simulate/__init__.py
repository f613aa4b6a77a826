"""Corpora of known affect, rendered as real files in the layout of the real corpus."""

from affectlib.simulate.afew_va import make_afew_va
from affectlib.simulate.cognimuse import make_cognimuse
from affectlib.simulate.liris_accede import make_eimt16
from affectlib.simulate.liris_continuous import make_liris_continuous
from affectlib.simulate.mediaeval import make_mediaeval15, make_mediaeval18
from affectlib.simulate.video_emotion import make_ekman6, make_heiv, make_videoemotion8

__all__ = [
    "make_afew_va",
    "make_cognimuse",
    "make_eimt16",
    "make_ekman6",
    "make_heiv",
    "make_liris_continuous",
    "make_mediaeval15",
    "make_mediaeval18",
    "make_videoemotion8",
]
