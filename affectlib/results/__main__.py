"""Moved to :mod:`affectlib.runner.readme`. This path works for one more release."""

from affectlib.moved import moved

moved(__name__, "affectlib.runner.readme")
