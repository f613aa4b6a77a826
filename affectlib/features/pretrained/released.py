"""Reads checkpoints that are pickles of whole models, such as AttendAffectNet's of 2020.

A pickle names the classes and functions that it wants, and unpickling imports and calls them: such
a file can run any code. Here every name is compared with a list first. Tensors and plain containers
are built, the classes of the model become objects without behaviour, and any other name is refused
before it is looked up. A pickle cannot change anything that is on the list.
"""

import io
import math
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import torch

from affectlib.errors import AffectError, FileFormatError, NotFoundError
from affectlib.features.pretrained.weights import is_finite, refuse_inflated


class RefusedPickleError(AffectError, pickle.UnpicklingError):
    """A pickle asked for something that no checkpoint needs. It was not imported; nothing ran."""


class _StandIn:
    """Takes the place of a class of the released model: holds attributes, has no behaviour."""


def _tensor(storage, offset, size, stride, *_):
    # With strides of 0, a small storage would give a tensor of any size.
    if math.prod(size) > len(storage):
        raise ValueError(f"a tensor of shape {tuple(size)} cut from {len(storage)} values")
    return torch.as_strided(storage, size, stride, offset)


# Classes of the released models and of torch.nn for which a stand-in is built.
_CLASSES = {
    "Encoder_FullyConnected",
    "Encoder",
    "EncoderLayer",
    "MultiHeadedAttention",
    "PositionwiseFeedForward",
    "SublayerConnection",
    "LayerNorm",
    "Embeddings",
    "Linear",
    "Dropout",
    "ModuleList",
    "Sequential",
    "AvgPool1d",
}
# Names that a pickle may use, and the object that it gets for each.
_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "FloatStorage"): "float32",
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch.nn.backends.thnn", "_get_thnn_function_backend"): lambda: None,
}


# The unpickler written in Python: the one in C does not let a subclass decide which objects
# receive state.
class _Unpickler(pickle._Unpickler):
    """Builds tensors, plain containers and stand-ins.

    Storages, the memory of tensors, are made empty; the caller fills them afterwards.

    Args:
        file: the pickle
        limit: bytes that all storages together may have: the size of the file
    """

    dispatch = dict(pickle._Unpickler.dispatch)  # noqa: RUF012

    def __init__(self, file: BinaryIO, limit: int) -> None:
        super().__init__(file)
        self.limit = limit
        self.storages = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if name in _CLASSES and re.fullmatch(r"model_\w+|torch\.nn\.modules\.\w+", module):
            return type(name, (_StandIn,), {})
        raise RefusedPickleError(
            f"asks for {module}.{name}, which no checkpoint needs: refused, nothing ran"
        )

    def load_build(self) -> None:
        """Gives state to stand-ins only: set on a function of the list, it would stay there."""
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _StandIn) or not isinstance(state, dict):
            name = getattr(target, "__name__", type(target).__name__)
            raise RefusedPickleError(f"sets state on {name}: refused")
        vars(target).update(state)

    dispatch[pickle.BUILD[0]] = load_build

    def persistent_load(self, key: tuple) -> Any:
        if key[0] == "module":  # (class, file, source text)
            return key[1]
        kind, dtype, name, _, numel, *_ = key
        if kind != "storage" or dtype != "float32":
            raise RefusedPickleError(f"asks for a {kind} of type {dtype}: refused")
        if name not in self.storages:
            # A few bytes of a pickle may ask for any amount of memory.
            self.limit -= 4 * numel
            if numel < 0 or self.limit < 0:
                raise ValueError(f"storage {name} of {numel} values is larger than the file")
            self.storages[name] = torch.zeros(numel)
        return self.storages[name]


def read_state(path: Path | str) -> dict[str, torch.Tensor]:
    """Reads the parameters of a pickled model, without importing or calling anything from it.

    Args:
        path: a checkpoint of torch that holds a whole model, in the format of before or after
            torch 1.6

    Returns:
        names and tensors, as the ``state_dict()`` of the model would give them, without buffers

    Raises:
        NotFoundError: if there is no such file
        RefusedPickleError: if the pickle asks for a name that no checkpoint needs; the message
            tells the name
        FileFormatError: if the file is damaged, or holds something other than a model, or a value
            that is not finite
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"{path}: no such checkpoint")
    refuse_inflated(path)
    try:
        model = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        state = _parameters(model)
    except RefusedPickleError as error:
        raise RefusedPickleError(f"{path}: {error}") from None
    except Exception as error:  # damaged bytes fail in as many ways as there are bytes
        raise FileFormatError(path, f"expected a released model, complete: {error}") from error
    for name, value in state.items():
        # Without a value, a shape may claim any size.
        if not torch.is_tensor(value) or value.numel() == 0 or not is_finite(value):
            raise FileFormatError(path, f"expected finite numbers in {name}")
    return state


def _read_zip(path: Path) -> Any:
    """The model in a file of torch 1.6 or later: a pickle, and one file for each storage."""
    limit = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
        pickled = pickles[0]
        reader = _Unpickler(io.BytesIO(archive.read(pickled)), limit)
        model = reader.load()
        for name, storage in reader.storages.items():
            _fill(storage, archive.read(f"{pickled.removesuffix('.pkl')}/{name}"))
    return model


def _read_legacy(path: Path) -> Any:
    """The model in a file from before torch 1.6: five pickles, then the storages."""
    limit = path.stat().st_size
    with open(path, "rb") as file:
        for _ in range(3):  # magic number, protocol, sizes of the machine's types
            _Unpickler(file, limit).load()
        reader = _Unpickler(file, limit)
        model = reader.load()
        for name in _Unpickler(file, limit).load():
            storage = reader.storages[name]
            (numel,) = struct.unpack("<q", file.read(8))
            if numel != len(storage):
                raise ValueError(f"storage {name} holds {numel} values, {len(storage)} expected")
            _fill(storage, file.read(4 * numel))
    return model


def _fill(storage: torch.Tensor, data: bytes) -> None:
    # copy_ would spread a single value over all places.
    if len(data) != 4 * len(storage):
        raise ValueError(f"a storage of {len(storage)} values has {len(data)} bytes, cut short?")
    storage.copy_(torch.frombuffer(bytearray(data), dtype=torch.float32))


def _parameters(
    module: _StandIn, prefix: str = "", seen: set[int] | None = None
) -> dict[str, torch.Tensor]:
    """Parameters of a module and of those in it, as ``state_dict()`` names them."""
    state = {}
    seen = set() if seen is None else seen
    # Forty modules that each hold the next one twice would give a million million names.
    if id(module) in seen:
        raise ValueError(f"the module {prefix!r} stands in two places")
    seen.add(id(module))
    # A layer without bias holds None under that name.
    for name, value in module._parameters.items():
        if value is not None:
            state[prefix + name] = value
    for name, child in module._modules.items():
        state.update(_parameters(child, f"{prefix}{name}.", seen))
    return state
