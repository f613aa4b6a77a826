"""The papers' networks beside the floating-point limit of the same run, with random weights.

    python benchmarks/extractors.py                 frames (or seconds of sound) per second, one thread
    python benchmarks/extractors.py 2               two threads
    python benchmarks/extractors.py 1 resnet50      some of them

A network sees a prepared batch, as large as the library makes it. Its limit is the time of its convolutions and dense
layers as matrix products of the same shapes, by the faster of the two libraries that torch brings (``mm``, and a
convolution of 1 x 1). A share above one is no error: convolutions of 3 x 3 in fp32 need fewer products (Winograd).
Network and products take turns, so that what else the machine does slows both.
"""

import affectlib  # noqa: F401, I001  one thread, before torch is loaded

import sys
import time
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from affectlib.features import deep as pretrained
from affectlib.features.audio import SAMPLING_RATE, vggish_examples

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FRAMES = pretrained.BATCH if DEVICE == "cpu" else pretrained.LARGE_BATCH  # in one batch
STACK = 2 * pretrained.BATCH  # frames of one stack of I3D
ROUNDS = 12  # the fastest one counts
ROWS = 2**14  # of a product that is timed; a longer one takes as much longer
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
CASES = {
    "resnet50": (pretrained.resnet50, (3, 224, 224)),
    "vgg16": (pretrained.vgg16, (3, 224, 224)),
    "inception": (pretrained.inception, (3, 299, 299)),
    "xception": (pretrained.xception, (3, 160, 160)),
    "openpose": (pretrained.openpose, (3, 224, 224)),
    "flownet": (pretrained.flownets, (6, 224, 224)),
    "i3d": (pretrained.i3d, (3, STACK, 224, 224)),
    "vggish": (pretrained.vggish, (96, 64)),
}
BATCHES = {"i3d": 1, "vggish": pretrained.LARGE_BATCH}
UNITS = {
    "i3d": (STACK, "frames"),
    "vggish": (0.96 * BATCHES["vggish"], "seconds"),
    "flownet": (FRAMES, "pairs"),
}


def seconds(run):
    clock = time.perf_counter()
    run()
    if DEVICE == "cuda":
        torch.cuda.synchronize()  # it was only asked for
    return time.perf_counter() - clock


def products(network, run):
    """What one pass multiplies: (images, height, width), inner size and columns of each layer, and how many of each."""
    found = {}

    def note(layer, _, result):
        if getattr(layer, "groups", 1) == 1:  # depthwise: no matrix product to speak of
            *places, columns = (
                result if isinstance(layer, nn.Linear) else result.movedim(1, -1)
            ).shape
            shape = (tuple(places), layer.weight[0].numel(), columns)
            found[shape] = found.get(shape, 0) + 1

    kinds = nn.Conv2d, nn.Conv3d, nn.Linear
    hooks = [
        layer.register_forward_hook(note) for layer in network.modules() if isinstance(layer, kinds)
    ]
    run()
    for hook in hooks:
        hook.remove()
    return found


def candidates(places, inner, columns, dtype):
    """Two ways to take one product, and how many times that the whole is."""
    rows = int(np.prod(places))
    part = min(rows, ROWS)
    a, b = torch.randn(part, inner).to(DEVICE, dtype), torch.randn(inner, columns).to(DEVICE, dtype)
    side = int((part / 16) ** 0.5)  # of sixteen images: torch leaves fewer to the slower library
    kernel = b.T.reshape(columns, inner, 1, 1).contiguous(memory_format=torch.channels_last)
    ways = [(partial(torch.mm, a, b), rows / part)]
    if side:
        x = a[: 16 * side**2].reshape(16, side, side, inner).permute(0, 3, 1, 2)  # channels last
        ways.append((partial(F.conv2d, x, kernel), rows / (16 * side**2)))
    return ways


def compare(name, precision):
    """One line: what the network does with a prepared batch, the limit, and the share of it."""
    (factory, shape), dtype = CASES[name], DTYPES[precision]
    options = dict(factory(weights="random").options)
    network = pretrained.network_of(options["kind"], options["file"], "random", "random", precision)
    given = torch.randn(BATCHES.get(name, FRAMES), *shape).to(DEVICE, dtype)
    if given.ndim > 3:
        given = given.contiguous(
            memory_format=torch.channels_last if given.ndim == 4 else torch.channels_last_3d
        )
    with torch.inference_mode():
        run = partial(network.embed, given)
        shapes = products(network, run)
        ways = {key: candidates(*key, dtype) for key in shapes}
        least = dict.fromkeys(shapes, np.inf)
        took = np.inf
        for _ in range(ROUNDS):
            took = min(took, seconds(run))
            for key, pair in ways.items():
                least[key] = min(least[key], *(seconds(way) * times for way, times in pair))
    limit = sum(n * least[key] for key, n in shapes.items())
    work = sum(
        2 * n * np.prod(places) * inner * columns for (places, inner, columns), n in shapes.items()
    )
    units, unit = UNITS.get(name, (FRAMES, "frames"))
    print(
        f"{name:<10} {precision}  {units / took:8.1f} {units / limit:8.1f} {limit / took:6.2f} "
        f"{work / took / 1e9:8.0f}   {unit}",
        flush=True,
    )
    pretrained.network_of.cache_clear()


def front_end(length=120):
    signal = (
        np.random.default_rng(0).standard_normal(length * SAMPLING_RATE, dtype=np.float32) * 0.1
    )
    took = min(seconds(lambda: vggish_examples(signal, SAMPLING_RATE)) for _ in range(5))
    print(f"log-mel front end of VGGish: {length / took:.0f} times real time on one core")


def whole(n=16):
    """From decoded frames to vectors: cropping, resizing and normalising come on top of the network."""
    from affectlib.media import Picture

    images = np.random.default_rng(0).integers(0, 255, (n, 360, 640, 3), dtype=np.uint8)
    pictures = [Picture(i / 25, image) for i, image in enumerate(images)]
    for precision in DTYPES:
        extractor = pretrained.resnet50(weights="random", precision=precision)
        run = partial(
            extractor.many, [pictures[: n // 2], pictures[n // 2 :]], **dict(extractor.options)
        )
        run()
        took = min(seconds(run) for _ in range(2))
        print(
            f"resnet50 {precision} from frames of 640 x 360 to vectors: {n / took:.1f} frames per second"
        )


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    front_end()
    print(
        f"{torch.get_num_threads()} thread(s), {DEVICE}, batches of {FRAMES} frames, random weights; per second"
    )
    print(f"{'network':<16} {'runs at':>8} {'limit':>8} {'share':>6} {'GFLOP/s':>8}")
    for name in sys.argv[2:] or CASES:
        for precision in DTYPES:
            compare(name, precision)
    if len(sys.argv) < 3:
        whole()
