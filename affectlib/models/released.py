"""Moved to :mod:`affectlib.models.attend_affect`. This path works for one more release."""

from affectlib.moved import moved

moved(__name__, "affectlib.models.attend_affect")
