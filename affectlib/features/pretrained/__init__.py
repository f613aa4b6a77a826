"""The papers' networks, their released weights and checkpoints, and detectors of faces that need weights."""

from affectlib.moved import moved_names

_MOVED = (
    "INPUTS",
    "MARGIN",
    "NEEDS",
    "SIDE",
    "cut",
    "flownets",
    "i3d",
    "inception",
    "openpose",
    "pretrained",
    "resnet50",
    "square",
    "vgg16",
    "vggface",
    "vggish",
    "xception",
)
__getattr__ = moved_names(__name__, _MOVED, "affectlib.features.deep")
