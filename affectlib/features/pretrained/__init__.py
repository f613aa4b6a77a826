"""The papers' networks, their released weights and checkpoints, and the face detector MTCNN."""

from affectlib.moved import moved_names

_MOVED = (
    "INPUTS",
    "MARGIN",
    "NEEDS",
    "SIDE",
    "flownets",
    "i3d",
    "inception",
    "openpose",
    "pretrained",
    "resnet50",
    "vgg16",
    "vggface",
    "vggish",
    "xception",
)
__getattr__ = moved_names(__name__, _MOVED, "affectlib.features.deep")
