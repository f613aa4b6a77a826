"""Moved to :mod:`affectlib.features.pretrained.networks`. This path works for one more release."""

from affectlib.moved import moved

moved(__name__, "affectlib.features.pretrained.networks")
