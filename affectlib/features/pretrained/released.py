"""Reads the checkpoints that the authors of AttendAffectNet released: pickles of whole objects from 2020.

A pickle names what it wants built, and unpickling imports and calls it. Here every name is compared with
a list: tensors and plain containers are built, the model's classes become objects without behaviour, and
any other name is refused before it is looked up. Nothing that stands on the list can be written to.
"""

import io
import json
import math
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch

from affectlib.corpora.base import AffectError, CorpusFormatError, CorpusNotFoundError
from affectlib.models.attend_affect import FeatureAAN


class RefusedPickleError(AffectError, pickle.UnpicklingError):
    """A pickle asked for something that no checkpoint needs; it was not imported, and nothing ran."""


class _StandIn:
    """What the classes of a released model become: attributes, no behaviour."""


def _tensor(storage, offset, size, stride, *_):
    if math.prod(size) > len(storage):
        raise ValueError(f"a tensor of shape {tuple(size)} cut from {len(storage)} values")
    return torch.as_strided(storage, size, stride, offset)


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
_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "FloatStorage"): "float32",
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch.nn.backends.thnn", "_get_thnn_function_backend"): lambda: None,
}


class _Unpickler(
    pickle._Unpickler
):  # the one in Python: that in C lets nobody decide who takes state
    """Builds tensors, plain containers and stand-ins. Storages are made empty and filled afterwards."""

    dispatch = dict(pickle._Unpickler.dispatch)  # noqa: RUF012

    def __init__(self, file, limit):
        super().__init__(file)
        self.limit, self.storages = limit, {}

    def find_class(self, module, name):
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if name in _CLASSES and re.fullmatch(r"model_\w+|torch\.nn\.modules\.\w+", module):
            return type(name, (_StandIn,), {})
        raise RefusedPickleError(
            f"asks for {module}.{name}, which no checkpoint needs: refused, nothing ran"
        )

    def load_build(self):
        """State goes to stand-ins only: set on a function of the list, it would outlive the file."""
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, _StandIn) or not isinstance(state, dict):
            raise RefusedPickleError(
                f"sets state on {getattr(target, '__name__', type(target).__name__)}: refused"
            )
        vars(target).update(state)

    dispatch[pickle.BUILD[0]] = load_build

    def persistent_load(self, key):
        if key[0] == "module":  # (class, file, source text)
            return key[1]
        kind, dtype, name, _, numel, *_ = key
        if kind != "storage" or dtype != "float32":
            raise RefusedPickleError(f"asks for a {kind} of type {dtype}: refused")
        if name not in self.storages:
            self.limit -= 4 * numel
            if numel < 0 or self.limit < 0:
                raise ValueError(f"storage {name} of {numel} values is larger than the file")
            self.storages[name] = torch.zeros(numel)
        return self.storages[name]


def _released_state(path):
    """Names and tensors of a whole-object checkpoint, legacy or zip."""
    limit = Path(path).stat().st_size

    def fill(storage, data):
        storage.copy_(torch.frombuffer(bytearray(data), dtype=torch.float32))

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            reader = _Unpickler(io.BytesIO(archive.read(pickled)), limit)
            model = reader.load()
            for name, storage in reader.storages.items():
                fill(storage, archive.read(f"{pickled.removesuffix('.pkl')}/{name}"))
    else:
        with open(path, "rb") as file:
            for _ in range(3):  # magic number, protocol, sizes of the machine's types
                _Unpickler(file, limit).load()
            reader = _Unpickler(file, limit)
            model = reader.load()
            for name in _Unpickler(file, limit).load():
                (numel,) = struct.unpack("<q", file.read(8))
                if numel != len(reader.storages[name]):
                    raise ValueError(
                        f"storage {name} holds {numel} values, {len(reader.storages[name])} expected"
                    )
                fill(reader.storages[name], file.read(4 * numel))
    state = {}

    def walk(node, prefix):
        state.update(
            {prefix + name: value for name, value in node._parameters.items() if value is not None}
        )
        for name, child in node._modules.items():
            walk(child, f"{prefix}{name}.")

    walk(model, "")
    return state


_RENAMED = (
    (r"^(?:linear|reduced_)(\d)\.", lambda m: f"project.linears.{m[1]}."),
    (r"^linear\.", "head.last."),
    (r"^src_embed\.0\.lut\.", "embedding."),
    (r"self_attn\.linears\.0", "attention.query"),
    (r"self_attn\.linears\.3", "attention.output"),
    (r"self_attn\.linears", "attention.linears"),
    (r"feed_forward\.w\.", "feed_forward.linear."),
    (r"sublayer", "residuals"),
    (r"a_2", "scale"),
    (r"b_2", "shift"),
)


def load(path):
    """What :func:`affectlib.models.attend_affect.from_released` gives."""
    if not Path(path).is_file():
        raise CorpusNotFoundError(
            f"{path}: no such checkpoint; github.com/ivyha010/AttendAffectNet has them"
        )
    try:
        state = _released_state(path)
        for pattern, name in _RENAMED:
            state = {re.sub(pattern, name, key): value for key, value in state.items()}
        tokens = sorted(
            key for key in state if key.startswith("project.") and key.endswith("weight")
        )
        first = int(tokens[0].split(".")[2])
        state = {
            re.sub(
                r"^project\.linears\.(\d)", lambda m: f"project.linears.{int(m[1]) - first}", key
            ): value
            for key, value in state.items()
        }
        width, layers = (
            len(state["encoder.norm.scale"]),
            len({k.split(".")[2] for k in state if "encoder.layers" in k}),
        )
        for key in [key for key in state if "attention.linears.1" in key]:
            state[key.replace("linears.1", "key_value")] = torch.cat(
                [state.pop(key), state.pop(key.replace("linears.1", "linears.2"))]
            )
        variant = "fused" if "embedding.weight" in state else "single"
        sizes = [state[f"project.linears.{i}.weight"].shape[1] for i in range(len(tokens))]
        model = FeatureAAN(
            sizes=sizes,
            width=width,
            layers=layers,
            variant=variant,
            unused_embedding="embedding.weight" in state,
        )
        last = len(model.head) - 1
        model.load_state_dict(
            {key.replace("head.last", f"head.{last}"): value for key, value in state.items()}
        )
    except RefusedPickleError as error:
        raise RefusedPickleError(f"{path}: {error}") from None
    except Exception as error:
        raise CorpusFormatError(
            path, f"expected a released Feature AttendAffectNet, whole: {error}"
        ) from error
    return model.eval()


TOKENS = ("resnet50", "flownet", "i3d", "vggish", "emobase")
_USED = {"video_audio": TOKENS, "only_video": TOKENS[:3], "only_audio": TOKENS[3:]}


def compare(folder):
    """Runs the released arousal models on the released sample features, beside the values expected of them.

    The expected values were computed with the authors' models, not published by them: they tell whether a model is
    loaded right, not whether it is good.

    Args:
        folder: holds checkpoints named ``*arousal*`` (others are left alone), ``<feature>_sample.h5`` and, which is
            not part of the release, ``expected_arousal.json``

    Returns:
        list of (model, parameters, largest difference), empty where the folder has no such checkpoint; the difference
        is nan where the expected values are not there

    Raises:
        CorpusFormatError: if a file beside the checkpoints is missing or damaged, a checkpoint is damaged, or its
            name tells none of the three models
        RefusedPickleError: as :func:`affectlib.models.attend_affect.from_released`
    """
    folder = Path(folder)
    rows, paths = [], sorted(folder.glob("*arousal*.pth"))
    expected = _expected(folder / "expected_arousal.json") if paths else {}
    for path in paths:
        kind = next((kind for kind in _USED if path.stem.endswith(kind)), None)
        if kind is None:
            raise CorpusFormatError(path, f"expected a name that ends in {', '.join(_USED)}")
        model, tokens = load(path), [_sample(folder / f"{name}_sample.h5") for name in _USED[kind]]
        with torch.no_grad():
            said = model(tokens)
        if expected and said.shape != expected[kind].shape:
            raise CorpusFormatError(
                folder / "expected_arousal.json",
                f"expected {len(said)} values of {kind}, as many "
                f"as segments in the sample features; found {expected[kind].numel()}",
            )
        off = float((said - expected[kind]).abs().max()) if expected else math.nan
        rows.append((kind, sum(p.numel() for p in model.parameters()), off))
    return rows


def _expected(path):
    """Expected values of each model, as tensors; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {kind: torch.tensor(content[kind]["prediction"]) for kind in _USED}
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusFormatError(
            path, f"expected the values of {', '.join(_USED)}: {error!r}"
        ) from None


def _sample(path):
    """Sample features of one kind, ``(segments, size)``."""
    import h5py

    if not path.is_file():
        raise CorpusFormatError(
            path, "expected the sample features beside the checkpoints, found none"
        )
    try:
        with h5py.File(path) as file:
            return torch.tensor(file[next(iter(file))][()], dtype=torch.get_default_dtype())
    except (OSError, StopIteration, TypeError) as error:
        raise CorpusFormatError(
            path, f"expected an HDF5 file with one table of features: {error!r}"
        ) from None
