"""Downloads of open films: in parts, checked, from a small server that stands for the archive."""

import hashlib
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from affectlib import paths
from affectlib.errors import FileFormatError
from affectlib.film import commons
from affectlib.film.commons import FILMS, DownloadError, fetch, film_named

CONTENT = np.random.default_rng(0).bytes(400_000)
SINTEL = film_named("sintel")


class Archive:
    """What the server holds and how it behaves; each test changes it."""

    def __init__(self):
        self.content = CONTENT
        self.listed = {"size": str(len(CONTENT)), "md5": hashlib.md5(CONTENT).hexdigest()}
        self.name = SINTEL.file
        self.knows_ranges = True
        self.cut_after = None  # bytes after which the next answer breaks off
        self.asked = []

    def metadata(self):
        return json.dumps({"files": [{"name": "other.avi"}, {"name": self.name, **self.listed}]})


class Handler(BaseHTTPRequestHandler):
    """Answers as the archive does; ``state`` is set on a class of its own for each test."""

    state: Archive

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.state.asked.append((self.path, wanted))
        if self.path.startswith("/metadata/"):
            self.answer(200, self.state.metadata().encode())
        elif self.state.content is None:
            self.send_error(404)
        elif wanted and self.state.knows_ranges:
            self.part(int(wanted.removeprefix("bytes=").rstrip("-")))
        else:
            self.answer(200, self.state.content)

    def part(self, start):
        total = len(self.state.content)
        if start >= total:
            self.answer(416, b"", f"bytes */{total}")
        else:
            self.answer(206, self.state.content[start:], f"bytes {start}-{total - 1}/{total}")

    def answer(self, status, body, content_range=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        is_film = not self.path.startswith("/metadata/")
        if is_film and self.state.cut_after is not None:
            body = body[: self.state.cut_after]
            self.state.cut_after = None
        self.wfile.write(body)

    def log_message(self, *args):
        """Tells nothing."""


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An archive on this machine; ``address`` is its own."""
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    state = Archive()
    handler = type("OfOneTest", (Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state.address = f"http://127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()


def get(archive, film=SINTEL, lines=None):
    tell = [].append if lines is None else lines.append
    return fetch(film, archive=archive.address, progress=False, tell=tell)


def names():
    return sorted(file.name for file in commons.folder().iterdir())


def test_a_film_is_downloaded_once_and_its_licence_is_told_first(archive):
    lines = []
    path = get(archive, lines=lines)
    assert path.read_bytes() == CONTENT
    assert names() == ["sintel.mp4"]
    assert "CC BY 3.0" in lines[0] and "Blender Foundation" in lines[0]
    assert "downloading 0 MB" in lines[1] and "/details/Sintel" in lines[1]
    assert "size and MD5 are as the archive lists them" in lines[2]
    requests = len(archive.asked)
    assert get(archive, lines=lines) == path
    assert len(archive.asked) == requests
    assert "there already" in lines[-1]


def test_a_download_that_was_cut_off_goes_on(archive):
    archive.cut_after = 150_000
    with pytest.raises(FileFormatError, match="expected 400000 bytes, 150000 came: run it again"):
        get(archive)
    assert "sintel.mp4" not in names()
    assert get(archive).read_bytes() == CONTENT
    assert archive.asked[-1][1] == "bytes=150000-"
    assert names() == ["sintel.mp4"]


def test_a_server_without_ranges_sends_all_again(archive):
    archive.knows_ranges = False
    archive.cut_after = 150_000
    with pytest.raises(FileFormatError, match="150000 came"):
        get(archive)
    assert get(archive).read_bytes() == CONTENT
    assert names() == ["sintel.mp4"]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({"md5": "0" * 32}, r"sintel\.mp4\.partial: expected the MD5 0{32}, found"),
        ({"size": "9"}, "expected 9 bytes, 400000 came"),
        # Noise is no film: without a checksum the file has to be one.
        ({"md5": ""}, "expected a complete media file"),
    ],
)
def test_another_file_than_the_listed_one_is_refused_and_removed(archive, listed, message):
    archive.listed |= listed
    with pytest.raises(FileFormatError, match=message):
        get(archive)
    assert names() == []


def test_an_archive_without_the_film_or_without_an_answer_is_named(archive):
    archive.content = None
    with pytest.raises(DownloadError, match=r"sintel: http\S+/download/Sintel/\S+ stopped .*404"):
        get(archive)
    archive.name = "another.mp4"
    with pytest.raises(DownloadError, match="/metadata/Sintel lists no file sintel-2048"):
        get(archive)
    archive.metadata = lambda: "<html>"
    with pytest.raises(DownloadError, match="sintel: no answer from http"):
        get(archive)
    assert names() == []


def test_a_name_inside_a_folder_of_the_archive_is_asked_for_as_it_is(archive):
    film = replace(SINTEL, file="Content/big buck.mp4")
    archive.name = film.file
    get(archive, film)
    assert archive.asked[-1][0] == "/download/Sintel/Content/big%20buck.mp4"


def test_every_film_names_its_licence_and_its_makers():
    assert len({film.name for film in FILMS}) == len(FILMS)
    for film in FILMS:
        assert film.licence.startswith("Creative Commons Attribution")
        assert film.attribution and film.page.startswith("https://")
        assert film_named(film.name.upper()) is film
    assert film_named("holiday.mp4") is None
