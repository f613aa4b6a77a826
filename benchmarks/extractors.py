"""The papers' networks beside the floating-point limit of the same run, with random weights.

    python benchmarks/extractors.py               frames or seconds of sound per second, one thread
    python benchmarks/extractors.py 2             two threads
    python benchmarks/extractors.py 1 resnet50    some of them

A network sees a prepared batch, as large as the library makes it. Its limit is the time of its
convolutions and dense layers as matrix products of the same shapes, by the faster of the two
libraries that torch brings (``mm``, and a convolution of 1 x 1). A share above one is no error:
convolutions of 3 x 3 in fp32 need fewer products (Winograd). Network and products take turns, so
that other work of the machine slows both.
"""

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from affectlib.features import deep
from affectlib.features.audio import vggish_examples
from affectlib.media import SAMPLING_RATE

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FRAMES = deep.BATCH if DEVICE == "cpu" else deep.LARGE_BATCH  # in one batch
STACK = 2 * deep.BATCH  # frames of one stack of I3D
ROUNDS = 12  # the fastest one counts
ROWS = 2**14  # of a product that is timed; the time of a longer one is scaled up
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
CASES = {
    "resnet50": (deep.resnet50, (3, 224, 224)),
    "vgg16": (deep.vgg16, (3, 224, 224)),
    "inception": (deep.inception, (3, 299, 299)),
    "xception": (deep.xception, (3, 160, 160)),
    "openpose": (deep.openpose, (3, 224, 224)),
    "flownet": (deep.flownets, (6, 224, 224)),
    "i3d": (deep.i3d, (3, STACK, 224, 224)),
    "vggish": (deep.vggish, (96, 64)),
}
# Where it is not FRAMES.
BATCHES = {"i3d": 1, "vggish": deep.LARGE_BATCH}
# What one batch holds, where it is not as many frames.
UNITS = {
    "i3d": (STACK, "frames"),
    "vggish": (0.96 * BATCHES["vggish"], "seconds"),
    "flownet": (FRAMES, "pairs"),
}

# A matrix product: places of its output (images, height, width), inner size, columns.
Product = tuple[tuple[int, ...], int, int]


def seconds(run: Callable[[], object]) -> float:
    """The time of one call."""
    clock = time.perf_counter()
    run()
    if DEVICE == "cuda":
        torch.cuda.synchronize()  # the call returns before the card has finished
    return time.perf_counter() - clock


def find_products(network: nn.Module, run: Callable[[], object]) -> dict[Product, int]:
    """The matrix products of one pass, and how many there are of each."""
    counts = {}

    def note(layer, _, result):
        if getattr(layer, "groups", 1) != 1:
            return  # a depthwise convolution is not worth a matrix product
        if not isinstance(layer, nn.Linear):
            result = result.movedim(1, -1)  # channels last
        *places, columns = result.shape
        product = (tuple(places), layer.weight[0].numel(), columns)
        counts[product] = counts.get(product, 0) + 1

    hooks = []
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            hooks.append(layer.register_forward_hook(note))
    run()
    for hook in hooks:
        hook.remove()
    return counts


def ways_to_multiply(product: Product, dtype: torch.dtype) -> list[tuple[Callable, float]]:
    """Ways to take a part of a product, each with how many such parts the product has."""
    places, inner, columns = product
    rows = int(np.prod(places))
    part = min(rows, ROWS)
    a = torch.randn(part, inner).to(DEVICE, dtype)
    b = torch.randn(inner, columns).to(DEVICE, dtype)
    ways = [(partial(torch.mm, a, b), rows / part)]
    # A convolution of sixteen images: torch leaves fewer to the slower library.
    side = int((part / 16) ** 0.5)
    if side:
        kernel = b.T.reshape(columns, inner, 1, 1)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        x = a[: 16 * side**2].reshape(16, side, side, inner)
        x = x.permute(0, 3, 1, 2)  # channels last in memory
        ways.append((partial(F.conv2d, x, kernel), rows / (16 * side**2)))
    return ways


def random_batch(name: str, dtype: torch.dtype) -> torch.Tensor:
    """A batch as the library makes it."""
    _, shape = CASES[name]
    x = torch.randn(BATCHES.get(name, FRAMES), *shape).to(DEVICE, dtype)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    if x.ndim == 5:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    return x


def compare(name: str, precision: str) -> None:
    """Prints one line: the speed of a network with a prepared batch, the limit, and its share."""
    factory, _ = CASES[name]
    dtype = DTYPES[precision]
    options = dict(factory(weights="random").options)
    network = deep.prepared_network(options["kind"], options["file"], "random", "random", precision)
    run = partial(network.embed, random_batch(name, dtype))
    with torch.inference_mode():
        counts = find_products(network, run)
        ways = {product: ways_to_multiply(product, dtype) for product in counts}
        fastest = dict.fromkeys(counts, np.inf)
        took = np.inf
        for _ in range(ROUNDS):
            took = min(took, seconds(run))
            for product, choices in ways.items():
                for multiply, parts in choices:
                    fastest[product] = min(fastest[product], seconds(multiply) * parts)
    limit = sum(n * fastest[product] for product, n in counts.items())
    operations = 0
    for (places, inner, columns), n in counts.items():
        operations += 2 * n * np.prod(places) * inner * columns
    units, unit = UNITS.get(name, (FRAMES, "frames"))
    print(
        f"{name:<10} {precision}  {units / took:8.1f} {units / limit:8.1f} {limit / took:6.2f} "
        f"{operations / took / 1e9:8.0f}   {unit}",
        flush=True,
    )
    deep.prepared_network.cache_clear()


def time_front_end(length: int = 120) -> None:
    """Prints the speed of the log-mel examples; ``length`` in seconds."""
    samples = length * SAMPLING_RATE
    signal = np.random.default_rng(0).standard_normal(samples, dtype=np.float32) * 0.1
    took = min(seconds(lambda: vggish_examples(signal, SAMPLING_RATE)) for _ in range(5))
    print(f"log-mel front end of VGGish: {length / took:.0f} times real time on one core")


def time_frames_to_vectors(n: int = 16) -> None:
    """Prints the speed from frames to vectors: cropping, resizing and normalising included."""
    from affectlib.media import Picture

    images = np.random.default_rng(0).integers(0, 255, (n, 360, 640, 3), dtype=np.uint8)
    pictures = [Picture(i / 25, image) for i, image in enumerate(images)]
    clips = [pictures[: n // 2], pictures[n // 2 :]]
    for precision in DTYPES:
        extractor = deep.resnet50(weights="random", precision=precision)
        run = partial(extractor.many, clips, **dict(extractor.options))
        run()
        took = min(seconds(run) for _ in range(2))
        print(
            f"resnet50 {precision} from frames of 640 x 360 to vectors: "
            f"{n / took:.1f} frames per second"
        )


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    time_front_end()
    print(
        f"{torch.get_num_threads()} thread(s), {DEVICE}, batches of {FRAMES} frames, "
        "random weights; per second"
    )
    print(f"{'network':<16} {'runs at':>8} {'limit':>8} {'share':>6} {'GFLOP/s':>8}")
    for name in sys.argv[2:] or CASES:
        for precision in DTYPES:
            compare(name, precision)
    if len(sys.argv) < 3:
        time_frames_to_vectors()
