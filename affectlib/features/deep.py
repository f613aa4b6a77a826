"""Extractors of the papers' own features: released networks on frames, frame pairs and sound.

Each factory takes the same arguments beside its own:

- ``weights``: None for the released file (see :mod:`.pretrained.weights`), a path for another file
  of the same network, or ``"random"``, for tests. With random weights the name of the extractor
  ends in ``_random``, and so do the names of its features.
- ``rate``: frames per second of film that are described.
- ``precision``: ``"fp32"``, the default, with which machines agree up to rounding; ``"bf16"``, half
  the bits; or ``"auto"``, which takes bf16 if the processor gains by it.
- ``detector``: finds the faces, see :func:`affectlib.features.detection.detect`; some need weights.

A graphics card is used if there is one.

Differs from the papers in: a frame is cropped before it is resized, not after; where a paper does
not say how a frame becomes a square, all of it is resized.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectlib.errors import FileFormatError
from affectlib.features.audio import vggish_examples
from affectlib.features.detection import DETECTOR, detect, weight_digests
from affectlib.features.extractor import Extractor
from affectlib.features.pretrained import weights as released_weights
from affectlib.media import SAMPLING_RATE, Picture
from affectlib.moved import moved_names

if TYPE_CHECKING:
    # torch takes seconds to import, and listing extractors does not need it.
    import torch
    from torch import nn

__getattr__ = moved_names(__name__, ("NEEDS", "pretrained"), "affectlib.features.papers")

SIDE = 640  # longer side of the frames that are read: the shorter is at least 256 up to 2.5 to 1
BATCH = 8  # frames that a network sees at once: as many as fit the cache of a processor
LARGE_BATCH = 64  # frames at once on a graphics card, and examples of sound at once
STACK = 128  # frames of one stack of I3D, which sees 125 in the paper
MARGIN = 0.2  # added on each side of a face for VGG-Face, in shares of its width and height; ours
PRECISIONS = ("fp32", "bf16", "auto")


@dataclass(frozen=True)
class Input:
    """The network of an extractor, and the form in which that takes its frames.

    Args:
        network: name of its class in :mod:`.pretrained.networks`
        side: of the square that it sees, in pixels
        mean: subtracted from red, green and blue (or blue, green and red) in 0 to 255
        deviation: by which the difference is divided
        options: arguments of its class, as (name, value)
        central: side of the square that is cut out of the middle of a frame, in shares of the
            frame's shorter side; 0 for the complete frame
        bgr: True if it takes blue, green and red
    """

    network: str
    side: int = 224
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    deviation: tuple[float, float, float] = (127.5, 127.5, 127.5)
    options: tuple[tuple[str, Any], ...] = ()
    central: float = 0.0
    bgr: bool = False


VGG_SIZES = {"pool": 512, "pool5": 512 * 7 * 7, "fc6": 4096}
_IMAGENET = {"mean": (123.675, 116.28, 103.53), "deviation": (58.395, 57.12, 57.375)}
# Caffe's networks take differences from the mean that are not scaled.
_PLACES = {"mean": (105.488, 113.741, 116.060), "deviation": (1.0, 1.0, 1.0), "bgr": True}
_VGG_FACE = {"mean": (129.1863, 104.7624, 93.5940), "deviation": (1.0, 1.0, 1.0)}
# As in torchvision's evaluation of ImageNet: frames of 256, of which 224 are cut out.
_CENTRE = 224 / 256

INPUTS = {
    "resnet50": Input("ResNet", **_IMAGENET, central=_CENTRE),
    "inception": Input("Inception", side=299),
    "vgg16_pool": Input("VGG", **_IMAGENET, options=(("layer", "pool"),)),
    "vgg16_pool5": Input("VGG", **_IMAGENET, options=(("layer", "pool5"),)),
    "vgg16_fc6": Input("VGG", **_IMAGENET, options=(("layer", "fc6"),)),
    "vgg16_places_pool": Input("VGG", **_PLACES, options=(("layer", "pool"),)),
    "vgg16_places_pool5": Input("VGG", **_PLACES, options=(("layer", "pool5"),)),
    "vgg16_places_fc6": Input("VGG", **_PLACES, options=(("layer", "fc6"),)),
    "vggface": Input("VGG", **_VGG_FACE, options=(("layer", "fc6"),)),
    "vggface_pool5": Input("VGG", **_VGG_FACE, options=(("layer", "pool5"),)),
    "xception": Input("Xception", side=160),
    "i3d": Input("I3D", central=_CENTRE),
    "flownet": Input(
        "FlowNetS",
        mean=(104.805, 110.16, 114.75),
        deviation=(255.0, 255.0, 255.0),
        central=_CENTRE,
    ),
    "openpose_backbone": Input(
        "OpenPoseBody", mean=(128.0, 128.0, 128.0), deviation=(256.0, 256.0, 256.0), bgr=True
    ),
    "vggish": Input("VGGish"),
    "vggish_pca_round": Input("VGGishPostprocessor"),
    "vggish_pca_truncate": Input("VGGishPostprocessor", options=(("quantise", "truncate"),)),
}
# Values that the networks which see faces give for one face.
FACE_SIZES = {
    "inception": 2048,
    "vggface": VGG_SIZES["fc6"],
    "vggface_pool5": VGG_SIZES["pool5"],
    "xception": 3072,
}


def resnet50(
    *, weights: Path | str | None = None, rate: float = 25.0, precision: str = "fp32"
) -> Extractor:
    """ResNet-50 of ImageNet, 2,048 values, averaged over frames (attend_affect, III-A)."""
    return _extractor("resnet50", 2048, stills, weights, precision, rate=rate)


def inception(
    *,
    faces: int = 0,
    weights: Path | str | None = None,
    rate: float = 1.0,
    precision: str = "fp32",
    detector: str = DETECTOR,
) -> Extractor:
    """Inception-v3 of ImageNet, 2,048 values for each frame or face, averaged over frames (gla).

    Args:
        faces: 0 for the complete frame, or how many of the largest faces are described, one after
            another: 2 in the paper, whose network of faces is not released.
            A face that is in no frame has zeros
        weights, rate, precision, detector: see the head of the module
    """
    if not faces:
        return _extractor("inception", 2048, stills, weights, precision, rate=rate)
    return _extractor(
        "inception_faces",
        FACE_SIZES["inception"] * faces,
        largest_faces,
        weights,
        precision,
        rate=rate,
        kind="inception",
        file="inception",
        extra=(("count", faces), ("detector", detector)),
    )


def vgg16(
    *,
    places: bool = False,
    layer: str = "fc6",
    weights: Path | str | None = None,
    rate: float = 1.0,
    precision: str = "fp32",
) -> Extractor:
    """VGG-16 of ImageNet (caan) or of Places365 (shot_long), averaged over frames.

    Args:
        places: True for Places365
        layer: ``"fc6"`` for 4,096 values, ``"pool"`` for the 512 maps of the last pooling layer,
            averaged over space, ``"pool5"`` for these maps row by row, 512 x 7 x 7 values in half
            precision
        weights, rate, precision: see the head of the module

    Raises:
        ValueError: if there is no such layer
    """
    if layer not in VGG_SIZES:
        raise ValueError(f"layer is 'pool', 'pool5' or 'fc6', not {layer!r}")
    file = "vgg16_places" if places else "vgg16"
    return _extractor(
        f"{file}_pool5" if layer == "pool5" else file,
        VGG_SIZES[layer],
        stills,
        weights,
        precision,
        rate=rate,
        half=layer == "pool5",
        kind=f"{file}_{layer}",
        file=file,
    )


def vggface(
    *,
    faces: int = 1,
    layer: str = "fc6",
    weights: Path | str | None = None,
    rate: float = 2.0,
    precision: str = "fp32",
    detector: str = DETECTOR,
) -> Extractor:
    """VGG-Face, 4,096 values of fc6 after its ReLU for each of the largest faces (caan).

    Faces are cut out with ``MARGIN`` around them.

    Args:
        faces: how many are described, one after another; zeros stand for a face that is not there.
            In clips of one frame these are the faces that
            :func:`affectlib.features.faces.people` gives, in the same order
        layer: ``"fc6"``, or ``"pool5"`` for the maps before it, 512 x 7 x 7 values in half
            precision
        weights, rate, precision, detector: see the head of the module

    Raises:
        ValueError: if there is no such layer
    """
    if layer not in ("fc6", "pool5"):
        raise ValueError(f"layer is 'fc6' or 'pool5', not {layer!r}")
    name = "vggface" if layer == "fc6" else "vggface_pool5"
    return _extractor(
        name,
        FACE_SIZES[name] * faces,
        largest_faces,
        weights,
        precision,
        rate=rate,
        half=layer == "pool5",
        file="vggface",
        extra=(("count", faces), ("detector", detector), ("margin", MARGIN)),
    )


def xception(
    *,
    weights: Path | str | None = None,
    rate: float = 1.0,
    precision: str = "fp32",
    detector: str = DETECTOR,
) -> Extractor:
    """Expression of the largest face, 3,072 values (shot_long); zeros where there is none."""
    return _extractor(
        "xception",
        FACE_SIZES["xception"],
        largest_faces,
        weights,
        precision,
        rate=rate,
        extra=(("count", 1), ("detector", detector)),
    )


def i3d(
    *, weights: Path | str | None = None, rate: float = 25.0, precision: str = "fp32"
) -> Extractor:
    """I3D's RGB stream up to mixed_5c, 1,024 values (attend_affect, III-A).

    A clip of ``STACK`` frames or fewer is one stack.
    """
    return _extractor("i3d", 1024, stacks, weights, precision, rate=rate)


def flownets(
    *, weights: Path | str | None = None, rate: float = 25.0, precision: str = "fp32"
) -> Extractor:
    """Contracting part of FlowNetS, 1,024 values, averaged over pairs (attend_affect, III-A)."""
    return _extractor("flownet", 1024, frame_pairs, weights, precision, rate=rate, pairs=True)


def openpose(
    *, weights: Path | str | None = None, rate: float = 1.0, precision: str = "fp32"
) -> Extractor:
    """OpenPose's body network, 128 values: the maps of its backbone, averaged (shot_long).

    Differs from the paper in: the paper adds a dense layer, whose weights were not published.
    """
    return _extractor(
        "openpose",
        128,
        stills,
        weights,
        precision,
        rate=rate,
        kind="openpose_backbone",
    )


def vggish(
    *,
    postprocessed: bool = False,
    quantise: str = "round",
    weights: Path | str | None = None,
    precision: str = "fp32",
) -> Extractor:
    """VGGish, 128 values, averaged over examples of 0.96 s.

    Sound of half that length or more is filled up with silence to one example.

    Args:
        postprocessed: False for the values after the last ReLU (attend_affect), True for the
            release's principal components in 256 steps (shot_long)
        quantise: ``"round"`` or ``"truncate"``, see
            :class:`affectlib.features.pretrained.networks.VGGishPostprocessor`
        weights, precision: see the head of the module

    Raises:
        ValueError: if ``quantise`` is neither
    """
    if quantise not in ("round", "truncate"):
        raise ValueError(f"quantise is 'round' or 'truncate', not {quantise!r}")
    return _extractor(
        "vggish",
        128,
        sounds,
        weights,
        precision,
        sound=True,
        shortest=0.975,
        padded=0.5,
        extra=(("postprocessed", postprocessed), ("quantise", quantise)),
    )


def _extractor(
    name: str,
    size: int,
    many: Callable,
    weights: Path | str | None,
    precision: str,
    *,
    kind: str = "",
    file: str = "",
    extra: tuple[tuple[str, Any], ...] = (),
    **fields: Any,
) -> Extractor:
    """An extractor that runs a network.

    Args:
        name: of the extractor
        size: number of its values
        many: module-level function that describes several clips at once
        weights, precision: as for every factory
        kind: key of ``INPUTS``, by default the name
        file: name in the table of weights, by default the name
        extra: options of the extractor beside those that every one has
        fields: further fields of :class:`Extractor`
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    if precision == "auto":
        precision = faster()
    kind = kind or name
    file = file or name
    options = dict(extra)
    if weights == "random":
        name = f"{name}_random"
        digests = ("random",)
    else:
        beside = ("vggish_pca",) if options.get("postprocessed") else ()
        digests = _digests(file, weights, beside)
        if weights is not None:
            weights = str(weights)
    # The options are part of the key under which features are stored: other weights, or another
    # detector's weights, give another key.
    digests += weight_digests(options.get("detector", DETECTOR))
    common = (
        ("kind", kind),
        ("file", file),
        ("weights", weights),
        ("digests", digests),
        ("precision", precision),
    )
    # A larger frame than descriptors take: networks see squares of up to 299 pixels.
    fields = {"side": SIDE, **fields}
    return Extractor(
        name,
        1,
        tuple(f"{name}_{i}" for i in range(size)),
        # Not a lambda: extractors are pickled on their way to other processes.
        functools.partial(_describe_one, many=many),
        options=common + extra,
        many=many,
        **fields,
    )


def _digests(file: str, weights: Path | str | None, beside: tuple[str, ...]) -> tuple[str, ...]:
    """The first digits of the checksums of the files that an extractor reads.

    Args:
        file: name in the table of weights
        weights: another file in its place, None for the released one
        beside: further names in the table

    Raises:
        WeightsNotFoundError: if files are missing
    """
    if weights is None:
        files = released_weights.find(file, *beside)
    else:
        if not Path(weights).is_file():
            raise released_weights.WeightsNotFoundError(f"{weights}: no such file of weights")
        files = (Path(weights), *released_weights.find(*beside))
    return tuple(released_weights.digest(path)[:16] for path in files)


def faster() -> str:
    """``"bf16"`` if the graphics card or the processor has instructions for it, else ``"fp32"``."""
    import torch

    if torch.cuda.is_available():
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if has_bf16 else "fp32"


def _describe_one(clip: Any, *, many: Callable, **options: Any) -> np.ndarray:
    return many([clip], **options)[0]


def stills(inputs: Sequence[list[Picture]], **options: Any) -> np.ndarray:
    """Describes each clip by the mean over its frames.

    Args:
        inputs: the pictures of each clip
        options: of the extractor

    Shape:
        result ``(clips, size)``
    """
    layout = INPUTS[options["kind"]]
    images = []
    for pictures in inputs:
        for picture in pictures:
            images.append(resize_to_input(picture.image, layout))
    values = _embed(np.stack(images), **options)
    return _means(values, [len(pictures) for pictures in inputs])


def frame_pairs(inputs: Sequence[list[Picture]], **options: Any) -> np.ndarray:
    """Describes each clip by the mean over its frame pairs; as :func:`stills`."""
    layout = INPUTS[options["kind"]]
    pairs = []
    for pictures in inputs:
        for picture in pictures:
            first = resize_to_input(picture.image, layout)
            second = resize_to_input(picture.following, layout)
            pairs.append(np.concatenate([first, second], -1))  # (side, side, 6)
    values = _embed(np.stack(pairs), **options)
    return _means(values, [len(pictures) for pictures in inputs])


def stacks(inputs: Sequence[list[Picture]], **options: Any) -> np.ndarray:
    """Describes each clip as one stack of frames; as :func:`stills`.

    A clip of more than ``STACK`` frames is cut into parts that count by their number of frames.
    """
    layout = INPUTS[options["kind"]]
    rows = []
    for pictures in inputs:
        images = np.stack([resize_to_input(picture.image, layout) for picture in pictures])
        n_parts = -(-len(images) // STACK)  # rounded up
        parts = np.array_split(images, n_parts)
        values = np.concatenate([_embed(part[None], **options) for part in parts])
        rows.append(np.average(values, axis=0, weights=[len(part) for part in parts]))
    return np.stack(rows)


def largest_faces(
    inputs: Sequence[list[Picture]],
    *,
    count: int,
    detector: str,
    margin: float = 0.0,
    **options: Any,
) -> np.ndarray:
    """Describes each of the largest faces of a clip by the mean over the frames that show it.

    The faces of a frame are counted by their size. A face that no frame shows has zeros.

    Args:
        inputs: the pictures of each clip
        count: how many faces are described, one after another
        detector: see :func:`affectlib.features.detection.detect`
        margin: see :func:`cut_face`
        options: of the extractor

    Shape:
        result ``(clips, count * size)``
    """
    layout = INPUTS[options["kind"]]
    crops = []
    places = []
    for clip, pictures in enumerate(inputs):
        for picture in pictures:
            # The largest come first.
            boxes = detect(picture.image, detector=detector)[:count]
            for rank, box in enumerate(boxes):
                face = cut_face(picture.image, box, margin=margin)
                crops.append(resize_to_input(face, layout))
                places.append((clip, rank))
    result = np.zeros((len(inputs), count, FACE_SIZES[options["kind"]]), np.float32)
    if crops:
        values = _embed(np.stack(crops), **options)
        places = np.array(places)
        for clip, rank in np.unique(places, axis=0):
            shows_face = (places == (clip, rank)).all(1)
            result[clip, rank] = values[shows_face].mean(0)
    return result.reshape(len(inputs), -1)


def sounds(
    inputs: Sequence[np.ndarray], *, postprocessed: bool, quantise: str, **options: Any
) -> np.ndarray:
    """Describes each clip by the mean over its examples of 0.96 s.

    Args:
        inputs: the sound of each clip, mono, at 16 kHz
        postprocessed: True for principal components in 256 steps
        quantise: how these steps are made, ``"round"`` or ``"truncate"``
        options: of the extractor

    Shape:
        result ``(clips, 128)``
    """
    examples = [vggish_examples(signal, SAMPLING_RATE) for signal in inputs]
    values = _embed(np.concatenate(examples), **options)
    if postprocessed:
        # The released components serve for every VGGish but the random one, and they are read in
        # single precision always: they end in whole numbers.
        values = _embed(
            values,
            kind=f"vggish_pca_{quantise}",
            file="vggish_pca",
            weights="random" if options["weights"] == "random" else None,
            digests=options["digests"][-1:],
            precision="fp32",
        )
    return _means(values, [len(example) for example in examples])


def _means(values: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """The mean over the rows of each clip; ``lengths`` says how many rows belong to each."""
    parts = np.split(values, np.cumsum(lengths)[:-1])
    # In double precision: a clip may have thousands of frames.
    return np.stack([part.mean(0, dtype=np.float64) for part in parts])


def cut_face(image: np.ndarray, box: Sequence[float], *, margin: float = 0.0) -> np.ndarray:
    """Cuts a face out of a frame; at the edges of the frame, the part that lies within.

    Args:
        image: the frame
        box: left, top, width and height in pixels
        margin: added on each side, in shares of width and height

    Shape:
        image ``(height, width, 3)``; box ``(4 or more,)``
    """
    left, top, width, height = box[:4]
    more_width = margin * width
    more_height = margin * height
    first_column = max(int(left - more_width), 0)
    first_row = max(int(top - more_height), 0)
    last_column = max(int(left + width + more_width), first_column + 1)
    last_row = max(int(top + height + more_height), first_row + 1)
    return image[first_row:last_row, first_column:last_column]


def resize_to_input(image: np.ndarray, layout: Input) -> np.ndarray:
    """Resizes a frame, or its middle, to the square that a network takes.

    Args:
        image: RGB
        layout: a row of ``INPUTS``

    Shape:
        image ``(height, width, 3)``; result ``(side, side, 3)``
    """
    import cv2

    if layout.central:
        height, width = image.shape[:2]
        side = max(1, round(layout.central * min(height, width)))
        top = (height - side) // 2
        left = (width - side) // 2
        image = image[top : top + side, left : left + side]
    # Areas avoid aliasing when a frame shrinks, but leave blocks when it grows.
    shrinks = min(image.shape[:2]) > layout.side
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    image = cv2.resize(image, (layout.side, layout.side), interpolation=interpolation)
    return image[..., ::-1] if layout.bgr else image


def _embed(
    inputs: np.ndarray,
    *,
    kind: str,
    file: str,
    weights: str | None,
    digests: tuple[str, ...],
    precision: str,
) -> np.ndarray:
    """Passes frames, frame pairs, stacks or sound through a network, a batch at a time.

    Args:
        inputs: uint8 frames, or float32 examples of sound
        kind, file, weights, digests, precision: options of the extractor

    Shape:
        inputs ``(n, side, side, 3)``, pairs ``(n, side, side, 6)``, stacks
        ``(n, frames, side, side, 3)``, sound ``(n, 96, 64)`` or ``(n, 128)``; result ``(n, size)``
    """
    import torch

    layout = INPUTS[kind]
    network = prepared_network(kind, file, weights, digests[0], precision)
    tensor = _floating_tensor(network)
    on_card = tensor.is_cuda
    size = LARGE_BATCH if on_card or layout.network.startswith("VGGish") else BATCH
    results = []
    with torch.inference_mode():
        for start in range(0, len(inputs), size):
            batch = np.ascontiguousarray(inputs[start : start + size])
            x = torch.from_numpy(batch)
            if on_card:
                x = x.pin_memory()  # so that the copy need not wait for the card
            x = x.to(tensor.device, non_blocking=True)
            if x.dtype == torch.uint8:
                x = _normalise(x, layout)
            results.append(network.embed(x.to(tensor.dtype)).float())
        # Only here does the processor wait for the card.
        return torch.cat(results).cpu().numpy()


def _normalise(x: torch.Tensor, layout: Input) -> torch.Tensor:
    """Subtracts the mean, divides by the deviation, and puts the channels first.

    Shape:
        x ``(n, ..., side, side, 3 or 6)``, uint8; result ``(n, 3 or 6, ..., side, side)``
    """
    import torch

    frames = x.shape[-1] // 3  # of a pair: 2
    mean = x.new_tensor(layout.mean * frames, dtype=torch.float32)
    x = x.float().sub_(mean)
    x = x.div_(x.new_tensor(layout.deviation * frames))
    return x.movedim(-1, 1)


def _floating_tensor(network: nn.Module) -> torch.Tensor:
    """A parameter, or a buffer, that shows the device and the precision of a network."""
    tensors = network.state_dict().values()
    return next(tensor for tensor in tensors if tensor.is_floating_point())


@functools.cache
def prepared_network(
    kind: str, file: str, weights: str | None, digest: str, precision: str
) -> nn.Module:
    """A network ready to run, made once in each process.

    Batch norm is folded into the convolutions, channels are last, and it is on the graphics card
    if there is one.

    Args:
        kind: key of ``INPUTS``
        file: name in the table of weights
        weights: None for the released ones, a path, or ``"random"``
        digest: first digits of the checksum that the file has to have
        precision: ``"fp32"`` or ``"bf16"``

    Raises:
        FileFormatError: if the file is another than the one with which the extractor was made
    """
    import torch

    from affectlib.features.pretrained import networks

    # The file may have changed since the extractor was made, or differ on another machine.
    if weights != "random":
        path = released_weights.find(file)[0] if weights is None else Path(weights)
        if path.is_file() and not released_weights.digest(path).startswith(digest):
            raise FileFormatError(
                path, f"expected the file of SHA-256 {digest} that the extractor was made with"
            )
    # Folded in single precision, and only then made half as long.
    layout = INPUTS[kind]
    make = functools.partial(getattr(networks, layout.network), **dict(layout.options))
    network = released_weights.load(file, make, weights=weights)
    network = networks.fold_batch_norm(network)
    network = network.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    channels_last = torch.channels_last_3d if kind == "i3d" else torch.channels_last
    network = network.to(memory_format=channels_last)
    if torch.cuda.is_available():
        return network.cuda()
    return networks.convolve_with_onednn(network)
