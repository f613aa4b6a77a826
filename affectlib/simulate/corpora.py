"""Moved to :mod:`affectlib.simulate.build`. This path works for one more release."""

from affectlib.moved import moved

moved(__name__, "affectlib.simulate.build")
