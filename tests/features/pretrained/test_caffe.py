"""The released VGG-16 of Places365 is converted without Caffe.

The files are written here, byte by byte as protobuf's description says, and read by OpenCV too.
"""

import struct

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.vgg import make_layers

from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features import deep
from affectlib.features.pretrained import caffe, networks, weights
from affectlib.runner import weights as command

WIDTHS = [4, 4, "M", 6, 6, "M", 6, 6, 6, "M", 8, 8, 8, "M", 8, 8, 8, "M"]
DENSE = 16


class NarrowVGG(networks.VGG):
    """VGG-16 with its names and few kernels: the real fc6 alone has 411 MB."""

    def __init__(self, *, layer="fc6"):
        nn.Module.__init__(self)
        self.layer = layer
        self.features = make_layers(WIDTHS)
        if layer == "fc6":
            self.classifier = networks._dense(8 * 7 * 7, DENSE)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(caffe, "VGG", NarrowVGG)
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def varint(number):
    result = b""
    while number >= 128:
        result += bytes([number % 128 + 128])
        number //= 128
    return result + bytes([number])


def field(number, content):
    """A field of protobuf: text or bytes with their length, or a whole number."""
    if isinstance(content, int):
        return varint(8 * number) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(8 * number + 2) + varint(len(content)) + content


def new_blob(array):
    shape = b"".join(varint(size) for size in array.shape)
    values = struct.pack(f"<{array.size}f", *array.ravel().tolist())
    return field(7, field(1, shape)) + field(5, values)


def old_blob(array):
    """Four sizes, of which the first are 1 where there are fewer."""
    sizes = [1] * (4 - array.ndim) + list(array.shape)
    values = struct.pack(f"<{array.size}f", *array.ravel().tolist())
    content = b"".join(field(number, size) for number, size in enumerate(sizes, 1))
    return content + field(5, values)


def new_layer(name, arrays):
    content = field(1, name) + field(2, "Convolution" if arrays[0].ndim == 4 else "InnerProduct")
    content += field(3, "below") + field(4, name)
    return field(100, content + b"".join(field(7, new_blob(array)) for array in arrays))


def old_layer(name, arrays):
    content = field(2, "below") + field(3, name) + field(4, name)
    content += field(5, 4 if arrays[0].ndim == 4 else 14)
    return field(2, content + b"".join(field(6, old_blob(array)) for array in arrays))


def made_up(categories=365):
    """Parameters of every layer of a narrow VGG-16, under Caffe's names."""
    rng = np.random.default_rng(0)
    network = NarrowVGG()
    state = network.state_dict()
    layers = {}
    for name, ours in network.caffe_names().items():
        shape = tuple(state[f"{ours}.weight"].shape)
        scale = np.sqrt(2 / np.prod(shape[1:]))
        kernels = rng.normal(0, scale, shape).astype(np.float32)
        layers[name] = [kernels, rng.normal(0, 0.1, shape[0]).astype(np.float32)]
    for name, shape in {"fc7": (DENSE, DENSE), "fc8a": (categories, DENSE)}.items():
        layers[name] = [
            rng.normal(0, 0.1, shape).astype(np.float32),
            np.zeros(shape[0], np.float32),
        ]
    return layers


def write(path, layers, layer=new_layer):
    content = field(1, "VGG_Places365")
    content += b"".join(layer(name, arrays) for name, arrays in layers.items())
    path.write_bytes(content)
    return path


def prototxt():
    """The network in the text from which OpenCV builds it."""
    lines = ['input: "data"', "input_dim: 1", "input_dim: 3", "input_dim: 224", "input_dim: 224"]
    below = "data"
    block = place = 1
    for width in WIDTHS:
        if width == "M":
            name = f"pool{block}"
            lines.append(
                f'layer {{ name: "{name}" type: "Pooling" bottom: "{below}" top: "{name}" '
                "pooling_param { pool: MAX kernel_size: 2 stride: 2 } }"
            )
            block, place, below = block + 1, 1, name
            continue
        name = f"conv{block}_{place}"
        lines.append(
            f'layer {{ name: "{name}" type: "Convolution" bottom: "{below}" top: "{name}" '
            f"convolution_param {{ num_output: {width} pad: 1 kernel_size: 3 }} }}"
        )
        lines.append(f'layer {{ name: "relu_{name}" type: "ReLU" bottom: "{name}" top: "{name}" }}')
        place, below = place + 1, name
    lines.append(
        f'layer {{ name: "fc6" type: "InnerProduct" bottom: "{below}" top: "fc6" '
        f"inner_product_param {{ num_output: {DENSE} }} }}"
    )
    lines.append('layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }')
    return "\n".join(lines)


def test_a_converted_network_gives_what_opencv_gives_with_the_caffemodel(folder):
    model = write(folder / "vgg16_places365.caffemodel", made_up())
    structure = folder / "deploy.prototxt"
    structure.write_text(prototxt())
    assert command.main(["vgg16_places"], source=model) == 0
    image = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)

    # The means of Places365 as its owners print them: blue, green, red.
    means = (105.487823486, 113.741088867, 116.060394287)
    square = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    other = cv2.dnn.readNetFromCaffe(str(structure), str(model))
    other.setInput(cv2.dnn.blobFromImage(square, 1.0, (224, 224), means, swapRB=True))
    expected = np.maximum(other.forward("fc6"), 0)  # OpenCV gives fc6 before its ReLU

    layout = deep.INPUTS["vgg16_places_fc6"]
    network = weights.load("vgg16_places", NarrowVGG)
    x = torch.from_numpy(deep.resize_to_input(image, layout)[None].copy())
    found = network.embed(deep._normalise(x, layout)).numpy()
    assert (expected > 0).mean() > 0.2
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-2)
    pool = weights.load("vgg16_places", lambda: NarrowVGG(layer="pool"))
    assert pool.embed(deep._normalise(x, layout)).shape == (1, 8)


@pytest.mark.parametrize("layer", [new_layer, old_layer], ids=["new", "old"])
def test_both_forms_of_a_caffemodel_hold_the_same_arrays(folder, layer):
    layers = made_up()
    found = caffe.read_caffemodel(write(folder / "model", layers, layer))
    assert list(found) == list(layers)
    for name, arrays in layers.items():
        for array, other in zip(arrays, found[name], strict=True):
            np.testing.assert_array_equal(array, other)


def test_a_network_of_other_layers_is_refused_by_layer(folder):
    def refuse(layers, message):
        path = write(folder / "other.caffemodel", layers)
        with pytest.raises(FileFormatError, match=message):
            caffe.convert_places365(path)
        assert not (folder / "weights").exists()

    complete = made_up()
    without = {name: arrays for name, arrays in complete.items() if name != "conv3_2"}
    refuse(without, r"other\.caffemodel: .*conv3_2\.weight \(6, 6, 3, 3\) is missing")
    narrower = complete | {"conv1_1": [np.zeros((3, 3, 3, 3)), np.zeros(3)]}
    refuse(narrower, r"conv1_1\.weight of shape \(4, 3, 3, 3\), found \(3, 3, 3, 3\)")
    refuse(made_up(categories=1000), "365 scenes of Places365, found fc8a with 1000 outputs")
    broken = complete | {"fc6": [np.full((DENSE, 392), np.nan), np.zeros(DENSE)]}
    refuse(broken, r"finite numbers in fc6\.weight")
    refuse({"conv1": [np.zeros((96, 3, 11, 11)), np.zeros(96)]}, r"conv1_1\.weight .* is missing")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_caffemodel_cut_short_is_refused_by_name(folder, share):
    path = write(folder / "cut.caffemodel", made_up())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FileFormatError, match=r"cut\.caffemodel: expected"):
        caffe.convert_places365(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 64,
        b"PK\x03\x04" + b"\0" * 60,
        b"\x89HDF\r\n\x1a\n" + b"\0" * 60,
        b"name: 'VGG'\nlayer { name: 'conv1_1' }\n",
        field(1, "no layers"),
        field(100, field(1, "conv1_1") + field(7, field(7, field(1, varint(2**40))))),
        field(100, field(1, b"\xff\xfe") + field(7, new_blob(np.zeros(3)))),
        field(100, 7),
        b"\xff" * 64,
    ],
    ids=["empty", "zeros", "zip", "hdf5", "text", "none", "large", "name", "number", "ones"],
)
def test_another_kind_of_file_is_refused_by_name(folder, content):
    path = folder / "other.bin"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"other\.bin: expected"):
        caffe.convert_places365(path)


def test_damaged_bytes_are_refused_by_name_or_read(folder):
    """Only the errors of this library, whatever the bytes; some damage only changes a weight."""
    rng = np.random.default_rng(0)
    small = {"conv1_1": [rng.normal(size=(2, 3)), np.zeros(2)], "fc8a": [np.zeros((3, 2))]}
    refused = 0
    for layer in (new_layer, old_layer):
        content = write(folder / "model", small, layer).read_bytes()
        for _ in range(150):
            damaged = bytearray(content)
            for place in rng.integers(0, len(content), rng.integers(1, 4)):
                damaged[place] = rng.integers(0, 256)
            path = folder / "damaged.caffemodel"
            path.write_bytes(damaged)
            with pytest.raises(FileFormatError, match=r"damaged\.caffemodel"):
                # No such file fits the network, also if it can be read.
                caffe.convert_places365(path)
            refused += 1
    assert refused == 300


def test_a_file_that_is_not_there_is_named(folder, capsys):
    with pytest.raises(NotFoundError, match="nothing: no such caffemodel"):
        caffe.convert_places365(folder / "nothing")
    assert command.main(["vgg16_places"], source=folder / "nothing") == 2
    assert "no such caffemodel" in capsys.readouterr().err
