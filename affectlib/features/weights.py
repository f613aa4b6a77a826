"""Moved to :mod:`affectlib.features.pretrained.weights`. This path works for one more release."""

from affectlib.moved import moved

if __name__ == "__main__":
    moved(__name__, "affectlib.runner.weights")
else:
    moved(__name__, "affectlib.features.pretrained.weights")
