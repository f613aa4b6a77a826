"""Trainings that are kept on disk, so that a killed run of hours goes on where it was.

Nothing is kept by default: a demo trains in seconds, and a test must train anew. The runner sets
``AFFECTLIB_KEEP=1`` for every other run. A training is then found again by a key of everything that
its numbers depend on: the code of models and training, the first weights, the samples, the options
and the version of torch. A training that goes on gives the same numbers as one that was never
killed, since the state of the random numbers is kept too.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import io
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import torch

from affectlib import paths

# A long training writes its state after the first epoch that ends later than this, in seconds,
# after the last write.
EVERY = 60.0
_READING = threading.Lock()
# Code that can change the numbers of a training.
_SOURCES = ("models/*.py", "stacked/*.py", "training.py", "kept.py")


def is_on() -> bool:
    """Whether trainings are kept: whether AFFECTLIB_KEEP is set to anything but nothing."""
    return bool(os.environ.get("AFFECTLIB_KEEP"))


def folder() -> Path:
    """Where trainings are kept; may be deleted."""
    return paths.CACHE / "trained"


class Kept:
    """The kept state of one training.

    Args:
        parts: everything that the numbers of the training depend on; see :func:`key`

    Examples:
        >>> kept = Kept("fit", {"epochs": 5}, torch.zeros(3))
        >>> kept.load() is None  # nothing is kept unless AFFECTLIB_KEEP is set
        True
    """

    def __init__(self, *parts: object):
        self._file = folder() / f"{key(*parts)}.pt" if is_on() else None
        self._written = time.monotonic()

    def load(self) -> dict | None:
        """The state that was kept last.

        Returns:
            None where nothing was kept, where its file is damaged, or where nothing is to be kept
        """
        if self._file is None or not self._file.is_file():
            return None
        content = paths.unsealed(self._file.read_bytes())
        if content is None:
            # Damaged, or of another version: trained anew.
            return None
        # Plain tensors and containers only: no code in the file is run.
        return torch.load(io.BytesIO(content), weights_only=True)

    def is_due(self) -> bool:
        """Whether it is time to write the state of a training that goes on."""
        return self._file is not None and time.monotonic() - self._written > EVERY

    def save(self, state: Mapping[str, object]) -> None:
        """Keeps a state in place of the one before; a kill meanwhile leaves that one.

        Args:
            state: tensors, numbers, text and plain containers of these

        Raises:
            WriteError: if the disk is full, or the folder may not be written
        """
        if self._file is None:
            return
        paths.make_folder(self._file.parent)
        content = io.BytesIO()
        torch.save(dict(state), content)
        paths.write(self._file, paths.sealed(content.getvalue()))
        self._written = time.monotonic()


def key(*parts: object) -> str:
    """Hash of some parts, of the code that trains, and of the version of torch.

    Args:
        parts: tensors, arrays, numbers, text, None, functions, models with their weights, and
            mappings, lists, tuples and dataclasses of these

    Raises:
        TypeError: for anything else, whose value cannot be told

    Examples:
        >>> key(torch.zeros(3)) == key(torch.zeros(3)), key(torch.zeros(3)) == key(torch.zeros(4))
        (True, False)
    """
    digest = hashlib.sha256()
    threads = torch.get_num_threads()
    for part in (torch.__version__, threads, str(torch.get_default_dtype()), _code(), *parts):
        _add(digest, part)
    return digest.hexdigest()


def _described(model: torch.nn.Module) -> list[list[object]]:
    """What a model does besides its weights: classes and settings of all its parts.

    Args:
        model: a module; of its attributes, numbers, text, booleans and tuples of these count
    """
    parts = []
    for name, module in model.named_modules():
        settings = {}
        for attribute, value in vars(module).items():
            if isinstance(value, str | int | float | bool | tuple | None):
                settings[attribute] = repr(value)
        # The flag tells training from prediction, and changes with the last use.
        settings.pop("training", None)
        parts.append([name, type(module), settings])
    return parts


@functools.cache
def _code() -> str:
    """Hash of the code that can change the numbers of a training."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for file in sorted(package.glob(pattern)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _add(digest: object, part: object) -> None:
    """Adds one part to a hash: its type first, then its content."""
    digest.update(f"{type(part).__name__}:".encode())
    if isinstance(part, torch.Tensor):
        _add(digest, part.detach().cpu().numpy())
    elif isinstance(part, np.ndarray):
        digest.update(f"{part.dtype}{part.shape}".encode())
        if part.dtype == object:
            digest.update(repr(part.tolist()).encode())
        else:
            # Not tobytes, which would copy gigabytes.
            digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8))
    elif part is None or isinstance(part, str | int | float | bool | np.generic):
        digest.update(f"{part!r};".encode())
    elif callable(part) and not isinstance(part, functools.partial | torch.nn.Module):
        digest.update(_source(part).encode())
    else:
        items = _items(part)
        digest.update(f"{len(items)}".encode())
        for item in items:
            _add(digest, item)


def _items(part: object) -> list[object]:
    """The parts of a model, mapping, list, tuple, dataclass or partial function."""
    if isinstance(part, torch.nn.Module):
        return [_described(part), part.state_dict()]
    if isinstance(part, Mapping):
        return [*part.keys(), *part.values()]
    if isinstance(part, list | tuple | range):
        return list(part)
    if isinstance(part, functools.partial):
        return [part.func, part.args, part.keywords]
    if is_dataclass(part):
        return [getattr(part, field.name) for field in fields(part)]
    raise TypeError(f"the value of {type(part).__name__} cannot be told for a key")


def _source(function: Callable) -> str:
    """Name and text of a function or class."""
    name = f"{function.__module__}.{function.__qualname__}"
    try:
        # inspect builds syntax trees, which CPython 3.11 cannot do in two threads at once.
        with _READING:
            return name + inspect.getsource(function)
    except (OSError, TypeError):
        # Built in, or typed into a prompt.
        return name
