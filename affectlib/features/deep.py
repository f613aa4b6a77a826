"""Extractors of the papers' own features: released networks on frames, frame pairs, stacks of frames and sound.

Each factory takes ``weights``: None for the released file (see :mod:`.pretrained.weights`), a path for another
of the same network, or ``"random"``, for tests: then the name of the extractor ends in ``_random``, and with it all
that is made from it. ``precision="bf16"`` halves the numbers, ``"auto"`` does where the processor gains by it; the
default is ``"fp32"``, so that machines agree up to rounding. CUDA is used where it is.

Faces are found by ``detector``, see :func:`affectlib.features.faces.detect`; some have weights.

Differs from the papers in: a frame is cropped before it is resized, not after; where a paper does not say how a frame
becomes a square, it is resized whole.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affectlib.corpora.base import CorpusFormatError
from affectlib.features.audio import SAMPLING_RATE, vggish_examples
from affectlib.features.detection import DETECTOR, weight_digests
from affectlib.features.extractor import Extractor
from affectlib.features.pretrained import weights as files
from affectlib.moved import moved_names

__getattr__ = moved_names(__name__, ("NEEDS", "pretrained"), "affectlib.features.papers")

SIDE = 640  # longer side of the frames that are read: the shorter is at least 256 up to 2.5 to 1
BATCH, LARGE_BATCH = (
    8,
    64,
)  # frames at once: what fits the cache of a processor; on a GPU, and of sound
STACK = 128  # frames of one stack of I3D, which sees 125 in the paper
MARGIN = (
    0.2  # added around a face for VGG-Face, on every side, in shares of its width and height; ours
)
PRECISIONS = ("fp32", "bf16", "auto")


@dataclass(frozen=True)
class Input:
    """What a network wants: its class and that one's options, the square, the mean and deviation of 0 to 255."""

    network: str
    side: int = 224
    mean: tuple = (127.5,) * 3
    deviation: tuple = (127.5,) * 3
    options: tuple = ()
    central: float = (
        0.0  # share of the shorter side that is cut out of the middle, 0 for the whole frame
    )
    bgr: bool = False


VGG_SIZES = {"pool": 512, "pool5": 512 * 7 * 7, "fc6": 4096}
_IMAGENET = dict(mean=(123.675, 116.28, 103.53), deviation=(58.395, 57.12, 57.375))
_CAFFE = dict(mean=(105.488, 113.741, 116.060), deviation=(1.0,) * 3, bgr=True)
_FACE = dict(mean=(129.1863, 104.7624, 93.5940), deviation=(1.0,) * 3)
INPUTS = {
    "resnet50": Input("ResNet", **_IMAGENET, central=224 / 256),
    "inception": Input("Inception", 299),
    **{
        f"vgg16_{layer}": Input("VGG", **_IMAGENET, options=(("layer", layer),))
        for layer in VGG_SIZES
    },
    **{
        f"vgg16_places_{layer}": Input("VGG", **_CAFFE, options=(("layer", layer),))
        for layer in VGG_SIZES
    },
    "vggface": Input("VGG", **_FACE, options=(("layer", "fc6"),)),
    "vggface_pool5": Input("VGG", **_FACE, options=(("layer", "pool5"),)),
    "xception": Input("Xception", 160),
    "i3d": Input("I3D", central=224 / 256),
    "flownet": Input(
        "FlowNetS", mean=(104.805, 110.16, 114.75), deviation=(255.0,) * 3, central=224 / 256
    ),
    **{
        f"openpose_{layer}": Input(
            "OpenPoseBody",
            mean=(128.0,) * 3,
            deviation=(256.0,) * 3,
            bgr=True,
            options=(("layer", layer),),
        )
        for layer in ("backbone", "dense")
    },
    "vggish": Input("VGGish"),
    "vggish_pca_round": Input("VGGishPostprocessor"),
    "vggish_pca_truncate": Input("VGGishPostprocessor", options=(("quantise", "truncate"),)),
}


def resnet50(*, weights=None, rate=25.0, precision="fp32") -> Extractor:
    """ResNet-50 of ImageNet, 2,048 values, averaged over frames (attend_affect, III-A)."""
    return _extractor("resnet50", 2048, stills, weights, precision, rate=rate)


def inception(*, faces=0, weights=None, rate=1.0, precision="fp32", detector=DETECTOR) -> Extractor:
    """Inception-v3 of ImageNet, 2,048 values, averaged over frames (gla); or of the largest faces, one after another.

    Args:
        faces: 0 for the whole frame, or of how many faces: 2 in the paper, whose network of faces is not released.
            A face that is in no frame has zeros
        weights, rate, precision: as for all
        detector: of faces, see :func:`affectlib.features.faces.detect`
    """
    if not faces:
        return _extractor("inception", 2048, stills, weights, precision, rate=rate)
    return _extractor(
        "inception_faces",
        2048 * faces,
        largest_faces,
        weights,
        precision,
        rate=rate,
        kind="inception",
        file="inception",
        extra=(("count", faces), ("detector", detector)),
    )


def vgg16(*, places=False, layer="fc6", weights=None, rate=1.0, precision="fp32") -> Extractor:
    """VGG-16 of ImageNet, or of Places365: fc6, 4,096 values (caan), or the last pooling, 512 values (shot_long).

    ``layer="pool5"`` gives the maps of that pooling, one row after another: 512 x 7 x 7 values (caan).
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
        kind=f"{file}_{layer}",
        file=file,
    )


def vggface(
    *, faces=1, layer="fc6", weights=None, rate=2.0, precision="fp32", detector=DETECTOR
) -> Extractor:
    """VGG-Face, fc6 after its ReLU, 4,096 values of each of the largest faces, cut out with ``MARGIN`` (caan).

    Args:
        faces: of how many, one after another, zeros for a face that is not there; in clips of one frame the same
            faces in the same order as those of :func:`affectlib.features.faces.people`
        layer: ``"fc6"``, or ``"pool5"`` for the maps before it, 512 x 7 x 7 values
        weights, rate, precision: as for all
        detector: of faces, see :func:`affectlib.features.faces.detect`
    """
    if layer not in ("fc6", "pool5"):
        raise ValueError(f"layer is 'fc6' or 'pool5', not {layer!r}")
    name = "vggface" if layer == "fc6" else "vggface_pool5"
    return _extractor(
        name,
        VGG_SIZES[layer] * faces,
        largest_faces,
        weights,
        precision,
        rate=rate,
        file="vggface",
        extra=(("count", faces), ("detector", detector), ("margin", MARGIN)),
    )


def xception(*, weights=None, rate=1.0, precision="fp32", detector=DETECTOR) -> Extractor:
    """Expression of the largest face, 3,072 values (shot_long); zeros where there is none."""
    return _extractor(
        "xception",
        3072,
        largest_faces,
        weights,
        precision,
        rate=rate,
        extra=(("count", 1), ("detector", detector)),
    )


def i3d(*, weights=None, rate=25.0, precision="fp32") -> Extractor:
    """I3D's RGB stream to mixed_5c, 1,024 values (attend_affect, III-A); a clip of 128 frames or less is one stack."""
    return _extractor("i3d", 1024, stacks, weights, precision, rate=rate)


def flownets(*, weights=None, rate=25.0, precision="fp32") -> Extractor:
    """Contracting part of FlowNetS, 1,024 values, averaged over pairs of frames (attend_affect, III-A)."""
    return _extractor("flownet", 1024, frame_pairs, weights, precision, rate=rate, pairs=True)


def openpose(*, layer="dense", weights=None, rate=1.0, precision="fp32") -> Extractor:
    """OpenPose's body network, 128 values (shot_long): the paper's dense layer, or the mean of the backbone's maps.

    Args:
        layer: ``"dense"``, whose weights nobody published, or ``"backbone"``, whose are
        weights, rate, precision: as for all
    """
    if layer not in ("dense", "backbone"):
        raise ValueError(f"layer is 'dense' or 'backbone', not {layer!r}")
    return _extractor(
        "openpose",
        128,
        stills,
        weights,
        precision,
        rate=rate,
        kind=f"openpose_{layer}",
        file="openpose_dense" if layer == "dense" else "openpose",
    )


def vggish(
    *,
    postprocessed: bool = False,
    quantise: str = "round",
    weights: str | Path | None = None,
    precision: str = "fp32",
) -> Extractor:
    """VGGish, 128 values, averaged over examples of 0.96 s; sound of half that length or more is one, with silence.

    Args:
        postprocessed: False for what comes after the last ReLU (attend_affect), True for the release's principal
            components in 256 steps (shot_long)
        quantise: ``"round"`` or ``"truncate"``, see :class:`affectlib.features.pretrained.networks.VGGishPostprocessor`
        weights, precision: as for all

    Raises:
        ValueError: if ``quantise`` is neither
    """
    if quantise not in ("round", "truncate"):
        raise ValueError(f"quantise is 'round' or 'truncate', not {quantise!r}")
    extra = (("postprocessed", postprocessed), ("quantise", quantise))
    return _extractor(
        "vggish",
        128,
        sounds,
        weights,
        precision,
        sound=True,
        shortest=0.975,
        padded=0.5,
        extra=extra,
    )


def _extractor(name, size, many, weights, precision, *, kind="", file="", extra=(), **fields):
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    precision = faster() if precision == "auto" else precision
    kind, file = kind or name, file or name
    wanted = (file, "vggish_pca") if ("postprocessed", True) in extra else (file,)
    if weights == "random":
        name, made_of = f"{name}_random", ("random",)
    else:
        found = (
            files.find(*wanted) if weights is None else (Path(weights), *files.find(*wanted[1:]))
        )
        if not found[0].is_file():
            raise files.WeightsNotFoundError(f"{weights}: no such file of weights")
        weights, made_of = (
            weights and str(weights),
            tuple(files.digest(path)[:16] for path in found),
        )
    made_of += weight_digests(dict(extra).get("detector", DETECTOR))
    options = (
        ("kind", kind),
        ("file", file),
        ("weights", weights),
        ("marks", made_of),
        ("precision", precision),
        *extra,
    )
    return Extractor(
        name,
        1,
        tuple(f"{name}_{i}" for i in range(size)),
        functools.partial(_one, many=many),
        options=options,
        many=many,
        **{"side": SIDE} | fields,
    )


def faster():
    """``"bf16"`` where a graphics card or the processor has instructions for it, else ``"fp32"``."""
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return (
        "bf16"
        if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        else "fp32"
    )


def _one(given, *, many, **options):
    return many([given], **options)[0]


def stills(inputs, **chosen):
    """Mean over the frames of each clip.

    Args:
        inputs: for each clip, a list of :class:`affectlib.media.Picture`
        chosen: the options of the extractor

    Shape:
        result ``(clips, size)``
    """
    wanted = INPUTS[chosen["kind"]]
    images = np.stack(
        [square(picture.image, wanted) for pictures in inputs for picture in pictures]
    )
    return _means(_run(images, **chosen), [len(pictures) for pictures in inputs])


def frame_pairs(inputs, **chosen):
    """Mean over the frame pairs of each clip; as :func:`stills`."""
    wanted = INPUTS[chosen["kind"]]
    images = np.stack(
        [
            np.concatenate(
                [square(image, wanted) for image in (picture.image, picture.following)], -1
            )
            for pictures in inputs
            for picture in pictures
        ]
    )
    return _means(_run(images, **chosen), [len(pictures) for pictures in inputs])


def stacks(inputs, **chosen):
    """Each clip as one stack of frames, a longer one in parts that count by their frames; as :func:`stills`."""
    wanted, rows = INPUTS[chosen["kind"]], []
    for pictures in inputs:
        images = np.stack([square(picture.image, wanted) for picture in pictures])
        parts = np.array_split(images, -(-len(images) // STACK))
        values = np.concatenate([_run(part[None], **chosen) for part in parts])
        rows.append(np.average(values, axis=0, weights=[len(part) for part in parts]))
    return np.stack(rows)


def largest_faces(inputs, *, count, detector, margin=0.0, **chosen):
    """Mean over the frames that show a face, for each of the largest ``count`` faces; zeros where none does.

    ``margin`` as for :func:`cut`.

    Shape:
        result ``(clips, count * size)``
    """
    from affectlib.features.faces import detect

    wanted, crops, places = INPUTS[chosen["kind"]], [], []
    for clip, pictures in enumerate(inputs):
        for picture in pictures:
            for rank, box in enumerate(detect(picture.image, detector=detector)[:count]):
                crops.append(square(cut(picture.image, box, margin=margin), wanted))
                places.append((clip, rank))
    size = {
        "inception": 2048,
        "vggface": 4096,
        "vggface_pool5": VGG_SIZES["pool5"],
        "xception": 3072,
    }[chosen["kind"]]
    result = np.zeros((len(inputs), count, size), np.float32)
    if crops:
        values, places = _run(np.stack(crops), **chosen), np.array(places)
        for clip, rank in np.unique(places, axis=0):
            result[clip, rank] = values[(places == (clip, rank)).all(1)].mean(0)
    return result.reshape(len(inputs), -1)


def sounds(inputs: list, *, postprocessed: bool, quantise: str = "round", **chosen) -> np.ndarray:
    """Mean over the examples of 0.96 s of each clip.

    Args:
        inputs: for each clip, its sound, mono, at 16 kHz
        postprocessed: principal components in 256 steps
        quantise: how these steps are made, ``"round"`` or ``"truncate"``
        chosen: the options of the extractor

    Shape:
        result ``(clips, 128)``
    """
    examples = [vggish_examples(signal, SAMPLING_RATE) for signal in inputs]
    values = _run(np.concatenate(examples), **chosen)
    if postprocessed:
        values = _run(
            values,
            kind=f"vggish_pca_{quantise}",
            file="vggish_pca",
            weights="random" if chosen["weights"] == "random" else None,
            marks=chosen["marks"][-1:],
            precision="fp32",
        )
    return _means(values, [len(example) for example in examples])


def _means(values, lengths):
    parts = np.split(values, np.cumsum(lengths)[:-1])
    return np.stack([part.mean(0, dtype=np.float64) for part in parts])


def cut(image, box, *, margin=0.0):
    """A face out of a frame, ``box``: left, top, width, height in pixels; at the frame's edges what lies within.

    ``margin`` is added on every side, in shares of width and height.
    """
    more = margin * box[2], margin * box[3]
    left, top = (max(int(v - m), 0) for v, m in zip(box[:2], more, strict=True))
    right, bottom = (int(v + size + m) for v, size, m in zip(box[:2], box[2:4], more, strict=True))
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]


def square(image, wanted):
    """A frame, or its middle, as the square ``(side, side, 3)`` that a network wants, see ``INPUTS``."""
    import cv2

    if wanted.central:
        height, width = image.shape[:2]
        n = max(1, round(wanted.central * min(height, width)))
        top, left = (height - n) // 2, (width - n) // 2
        image = image[top : top + n, left : left + n]
    smaller = min(image.shape[:2]) > wanted.side
    image = cv2.resize(
        image, (wanted.side,) * 2, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    )
    return image[..., ::-1] if wanted.bgr else image


def _run(batch, *, kind, file, weights, marks, precision):
    """Passes a batch through a network: frames ``(n, side, side, 3 or 6)`` or stacks of them, uint8; or examples."""
    import torch

    wanted, network = INPUTS[kind], network_of(kind, file, weights, marks[0], precision)
    tensor = next(t for t in network.state_dict().values() if t.is_floating_point())
    results, n = [], LARGE_BATCH if tensor.is_cuda or wanted.network.startswith("VGGish") else BATCH
    with torch.inference_mode():
        for start in range(0, len(batch), n):
            x = torch.from_numpy(np.ascontiguousarray(batch[start : start + n]))
            x = (x.pin_memory() if tensor.is_cuda else x).to(tensor.device, non_blocking=True)
            if x.dtype == torch.uint8:
                repeat = x.shape[-1] // 3
                x = x.float().sub_(x.new_tensor(wanted.mean * repeat, dtype=torch.float32))
                x = x.div_(x.new_tensor(wanted.deviation * repeat)).movedim(
                    -1, 1
                )  # (n, 3 or 6, ..., side, side)
            results.append(network.embed(x.to(tensor.dtype)).float())
        return torch.cat(results).cpu().numpy()  # waits for the device once


@functools.cache
def network_of(kind, file, weights, mark, precision):
    """A network ready to run, once per process: batch norm folded, channels last, on the device that is there.

    Raises:
        CorpusFormatError: if the file is not that with which the extractor was made
    """
    import torch

    from affectlib.features.pretrained import networks

    if weights != "random":
        path = files.find(file)[0] if weights is None else Path(weights)
        if path.is_file() and not files.digest(path).startswith(mark):
            raise CorpusFormatError(
                path, f"expected the file of SHA-256 {mark} that the extractor was made with"
            )
    make = functools.partial(getattr(networks, INPUTS[kind].network), **dict(INPUTS[kind].options))
    network = networks.fold(files.load(file, make, weights=weights))
    network = network.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    network = network.to(
        memory_format=torch.channels_last_3d if kind == "i3d" else torch.channels_last
    )
    return network.cuda() if torch.cuda.is_available() else networks.direct(network)
