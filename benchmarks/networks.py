"""The papers' networks beside the floating-point limit of the same run, with random weights.

A network sees a prepared batch, as large as the library makes it. Its limit is the time of its
convolutions and dense layers as matrix products of the same shapes, by the faster of the two
libraries that torch brings (``mm``, and a convolution of 1 x 1): no user could be faster with these
layers, so a ratio of 0.9 is 90 % of what the machine can do. A share above one is no error:
convolutions of 3 x 3 in fp32 need fewer products (Winograd). Where torchvision has the network,
what one would write with it stands beside the limit. All run on the graphics card where there is
one, as in the library.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from affectlib.features import deep
from benchmarks.common import Comparison, Way, cpu_seconds

STACK = 2 * deep.BATCH  # frames of one stack of I3D
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
# In 16 bits only some: the table is long enough.
IN_16_BITS = ("resnet50", "vgg16", "i3d")
# Both without their last layers' use: torchvision has no others of these networks.
TORCHVISION = {"resnet50": torchvision.models.resnet50, "vgg16": torchvision.models.vgg16}
# What one batch holds, where it is not as many frames.
UNITS = {
    "i3d": f"{STACK} frames",
    "vggish": "{batch} examples of 0.96 s",
    "flownet": "{batch} pairs",
}

# A matrix product: places of its output (images, height, width), inner size, columns.
Product = tuple[tuple[int, ...], int, int]


def batch_size(name: str, device: str) -> int:
    """As the library chooses it."""
    if name == "i3d":
        return 1
    return deep.LARGE_BATCH if device == "cuda" or name == "vggish" else deep.BATCH


def wall_seconds() -> float:
    """Time on the wall once the card has finished all that it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


def clock_of(device: str) -> Callable[[], float]:
    """Processor time; for a card, the time on the wall."""
    return wall_seconds if device == "cuda" else cpu_seconds


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


def ways_to_multiply(
    product: Product, dtype: torch.dtype, device: str
) -> list[tuple[Callable, float]]:
    """Ways to take a part of a product, each with how many such parts the product has."""
    places, inner, columns = product
    rows = int(np.prod(places))
    part = min(rows, ROWS)
    a = torch.randn(part, inner).to(device, dtype)
    b = torch.randn(inner, columns).to(device, dtype)
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


def random_batch(name: str, dtype: torch.dtype, device: str) -> torch.Tensor:
    """A batch as the library makes it."""
    _, shape = CASES[name]
    x = torch.randn(batch_size(name, device), *shape).to(device, dtype)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    if x.ndim == 5:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    return x


class Limit:
    """The matrix products of a network, each by its faster library.

    Args:
        run: one pass of the network
        network: that it runs
        dtype: of its numbers
        device: where it runs
    """

    def __init__(self, run: Callable, network: nn.Module, dtype: torch.dtype, device: str) -> None:
        self.clock = clock_of(device)
        self.counts = find_products(network, run)
        self.fastest = {}
        for product in self.counts:
            ways = ways_to_multiply(product, dtype, device)
            # The first call of each prepares it.
            for multiply, _ in ways:
                multiply()
            self.fastest[product] = min(ways, key=self.took)

    def took(self, way: tuple[Callable, float]) -> float:
        """Seconds of a whole product."""
        multiply, parts = way
        begun = self.clock()
        multiply()
        return (self.clock() - begun) * parts

    def seconds(self) -> float:
        """All products of the network."""
        with torch.inference_mode():
            return sum(n * self.took(self.fastest[p]) for p, n in self.counts.items())

    @property
    def operations(self) -> float:
        """Multiplications and additions of one pass."""
        total = 0
        for (places, inner, columns), n in self.counts.items():
            total += 2 * n * np.prod(places) * inner * columns
        return float(total)


def compare(name: str, precision: str, device: str) -> Comparison:
    """A network, its limit, and torchvision's where it has one."""
    factory, _ = CASES[name]
    dtype = DTYPES[precision]
    options = dict(factory(weights="random").options)
    network = deep.prepared_network(options["kind"], options["file"], "random", "random", precision)
    x = random_batch(name, dtype, device)

    def ours():
        with torch.inference_mode():
            return network.embed(x)

    limit = Limit(ours, network, dtype, device)
    note = f"{limit.operations / 1e9:.0f} GFLOP"
    references = [Way("its matrix products alone", limit.seconds, note=note, tells_seconds=True)]
    if name in TORCHVISION and precision == "fp32":
        usual = TORCHVISION[name]().eval().to(device)
        frames = torch.randn(x.shape, device=device)

        def theirs():
            with torch.inference_mode():
                return usual(frames)

        references.append(Way("torchvision, as it comes", theirs))
    batch = batch_size(name, device)
    unit = UNITS.get(name, "{batch} frames").format(batch=batch)
    work = f"{name}, {precision}, {unit}" + (", on the card" if device == "cuda" else "")
    return Comparison(work, Way(name, ours), references, rounds=2, clock=clock_of(device))


def comparisons() -> Iterator[Comparison]:
    """All networks in 32 bits, some in 16; on the graphics card where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name in CASES:
        for precision in DTYPES:
            if precision == "fp32" or name in IN_16_BITS:
                yield compare(name, precision, device)
                deep.prepared_network.cache_clear()
