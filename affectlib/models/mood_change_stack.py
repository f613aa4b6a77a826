"""Moved to :mod:`affectlib.stacked.mood_change`. This path works for one more release."""

from affectlib.moved import moved

moved(__name__, "affectlib.stacked.mood_change")
