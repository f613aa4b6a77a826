"""Turns the VGG-16 of Places365, released as a caffemodel, into a file that the extractors read.

Caffe is not needed. A caffemodel is a message of protobuf: numbered fields, each with its length.
Only four of its kinds of messages are read here, and nothing in a file is run.

The means that Caffe subtracts, and its order of colours, are not in the caffemodel: they stand in
``affectlib.features.deep.INPUTS``.

References:
    Zhou et al. (2018), Places: a 10 million image database for scene recognition, TPAMI.
    Caffe's format: ``caffe.proto``, messages NetParameter, LayerParameter, V1LayerParameter,
    BlobProto and BlobShape; protobuf's encoding: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features.pretrained.networks import VGG
from affectlib.features.pretrained.weights import (
    folders,
    load_strictly,
    weights_named,
    write_tensors,
)

CATEGORIES = 365  # of scenes, which the last layer of the released network tells apart
LARGEST_VARINT = 10  # bytes

# Kinds of protobuf fields.
VARINT = 0
BITS_64 = 1
BYTES = 2
BITS_32 = 5


@dataclass(frozen=True)
class _LayerFields:
    """Numbers of the fields that hold layers, and of the name and the parameters of a layer."""

    layers: int
    name: int
    blobs: int


# Caffe of 2015 and later, and Caffe before.
_FORMS = (_LayerFields(layers=100, name=1, blobs=7), _LayerFields(layers=2, name=4, blobs=6))
# Of a BlobProto.
_OLD_SHAPE = (1, 2, 3, 4)
_VALUES = 5
_SHAPE = 7
_DOUBLE_VALUES = 8


def read_caffemodel(path: Path | str) -> dict[str, list[np.ndarray]]:
    """Reads the parameters of every layer of a caffemodel.

    Args:
        path: the file; it is mapped into memory, and the arrays are views of it where they can be

    Returns:
        by name of the layer, in the order of the file: its weights, then its biases;
        layers without parameters are left out

    Shape:
        convolutions ``(kernels, channels, height, width)``, dense layers ``(outputs, inputs)``,
        biases ``(outputs,)``

    Raises:
        NotFoundError: if there is no such file
        FileFormatError: if it is cut short, or no caffemodel
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"{path}: no such caffemodel")
    layers = {}
    try:
        content = memoryview(np.memmap(path, np.uint8, mode="r"))
        for number, _, value in _fields(content):
            for form in _FORMS:
                if number == form.layers:
                    name, blobs = _layer(value, form)
                    if blobs:
                        layers[name] = blobs
    # Bytes of another kind of file fail in as many ways as there are bytes.
    except (ValueError, TypeError, OverflowError) as error:
        raise FileFormatError(path, f"expected a complete caffemodel: {error}") from error
    if not layers:
        raise FileFormatError(path, "expected a caffemodel with trained layers, found none")
    return layers


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview | int]]:
    """The fields of a message: number, kind, and value as a whole number or as bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number = key >> 3
        kind = key & 7
        if kind == VARINT:
            value, place = _varint(message, place)
        else:
            if kind == BYTES:
                size, place = _varint(message, place)
            else:
                size = {BITS_64: 8, BITS_32: 4}.get(kind, -1)
            if number == 0 or size < 0 or place + size > len(message):
                raise ValueError(f"byte {place} of a message is no field, or the file is cut short")
            value = message[place : place + size]
            place += size
        yield number, kind, value


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, the lowest first, and the place after it."""
    value = 0
    for i in range(LARGEST_VARINT):
        if place + i >= len(message):
            raise ValueError("cut short within a number")
        byte = message[place + i]
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value, place + i + 1
    raise ValueError(f"a number of more than {LARGEST_VARINT} bytes")


def _layer(message: memoryview, form: _LayerFields) -> tuple[str, list[np.ndarray]]:
    """Name and parameters of a layer."""
    name = ""
    blobs = []
    for number, kind, value in _fields(message):
        if kind != BYTES:
            continue
        if number == form.name:
            name = bytes(value).decode()
        elif number == form.blobs:
            blobs.append(_blob(value))
    return name, blobs


def _blob(message: memoryview) -> np.ndarray:
    """The array in a BlobProto, in single precision."""
    old_shape = {}
    shape = None
    values = np.zeros(0, np.float32)
    for number, kind, value in _fields(message):
        if number in _OLD_SHAPE:
            old_shape[number] = value
        elif number == _SHAPE:
            shape = _shape(value)
        elif number == _VALUES and kind == BYTES:
            values = np.frombuffer(value, "<f4")
        elif number == _DOUBLE_VALUES and kind == BYTES:
            values = np.frombuffer(value, "<f8").astype(np.float32)
    if shape is None:
        # Always four numbers, 1 in front of dense layers and biases.
        shape = [old_shape.get(number, 1) for number in _OLD_SHAPE]
        while shape[0] == 1 and len(shape) > 1:
            shape = shape[1:]
    if math.prod(shape) != len(values):
        raise ValueError(f"parameters of shape {tuple(shape)} with {len(values)} values")
    return values.reshape(shape)


def _shape(message: memoryview) -> list[int]:
    """The numbers of a BlobShape, packed or one by one."""
    sizes = []
    for number, kind, value in _fields(message):
        if number != 1:
            continue
        if kind == VARINT:
            sizes.append(value)
            continue
        place = 0
        while place < len(value):
            size, place = _varint(value, place)
            sizes.append(size)
    return sizes


def convert_places365(source: Path | str, destination: Path | str | None = None) -> Path:
    """Writes the weights of the released VGG-16 of Places365 as the extractors read them.

    Everything behind fc6 is left out. The file appears only when it is complete.

    Args:
        source: ``vgg16_places365.caffemodel``
        destination: the new file, by default ``vgg16_places365.pth`` in the first folder in which
            weights are looked for

    Returns:
        the new file

    Raises:
        NotFoundError: if there is no such file
        FileFormatError: if it is no caffemodel, or that of another network; it names the layer
        WriteError: if the disk is full, or the folder may not be written
    """
    source = Path(source)
    layers = read_caffemodel(source)
    with torch.device("meta"):
        network = VGG(layer="fc6")
    state = {}
    for name in network.caffe_names():
        for kind, values in zip(("weight", "bias"), layers.get(name, ()), strict=False):
            state[f"{name}.{kind}"] = torch.from_numpy(values.copy())
    # Also of a file that has none of these layers, errors name them as Caffe does.
    expected = dict.fromkeys(f"{name}.weight" for name in network.caffe_names())
    load_strictly(
        source,
        network.state_from_file(state),
        network,
        name_in_file=lambda name: network.name_in_file(name, expected),
    )
    _check_categories(source, layers)
    if destination is None:
        destination = folders()[0] / weights_named("vgg16_places").file
    write_tensors(destination, state)
    return Path(destination)


def _check_categories(path: Path, layers: dict[str, Sequence[np.ndarray]]) -> None:
    """Refuses a VGG-16 that was trained on something else, whose layers have the same sizes."""
    *_, (last, blobs) = layers.items()
    found = blobs[0].shape[0] if blobs[0].ndim else 0
    if found != CATEGORIES:
        raise FileFormatError(
            path,
            f"expected a last layer for the {CATEGORIES} scenes of Places365, "
            f"found {last} with {found} outputs: trained on something else",
        )
