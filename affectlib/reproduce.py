"""Moved to :mod:`affectlib.runner.reproduce`. This path works for one more release."""

from affectlib.moved import moved

moved(__name__, "affectlib.runner.reproduce")
