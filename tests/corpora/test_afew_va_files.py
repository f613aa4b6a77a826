"""AFEW-VA as people keep it: parts that are links, zips, and files at fault."""

import json
import os
import struct
import warnings
import zipfile
import zlib

import cv2
import numpy as np
import pytest

from affectlib import paths
from affectlib.corpora import CorpusFormatError, counts, frame_array, load_afew_va
from affectlib.runner import reproduce

pytestmark = pytest.mark.filterwarnings("ignore:.*a part of the corpus")


def write(folder, *, actor="Ann", frames=6, first=0):
    """One clip in the official form, its folder named by three digits."""
    folder.mkdir(parents=True)
    annotated = {}
    for number in range(first, first + frames):
        picture = np.full((48, 60, 3), 10 * number, np.uint8)
        cv2.imwrite(str(folder / f"{number:05d}.png"), picture)
        points = [[20.5 + 19 * (n % 2), 14.25 + 19 * (n // 2 % 2)] for n in range(68)]
        annotated[f"{number:05d}"] = {"landmarks": points, "arousal": -2.0, "valence": 5}
    content = {"actor": actor, "video_id": f"video {folder.name}", "frames": annotated}
    (folder / f"{folder.name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def root(tmp_path):
    """Two clips in a part of their own, two in a part that is a link."""
    for clip in ("001", "002"):
        write(tmp_path / "afew_va" / "01" / clip)
    for clip in ("051", "052"):
        write(tmp_path / "elsewhere" / "02" / clip, actor="Bob")
    (tmp_path / "afew_va" / "02").symlink_to(tmp_path / "elsewhere" / "02")
    return tmp_path / "afew_va"


def test_linked_folders_are_read(root):
    corpus = load_afew_va(root)
    assert corpus.clips["clip"].tolist() == ["001", "002", "051", "052"]
    assert counts(corpus).set_index("what")["found"][["clips", "actors", "frames"]].tolist() == [
        4,
        2,
        24,
    ]
    assert frame_array(corpus, store=root.parent / "store", jobs=1).shape == (24, 32, 32, 3)
    (root / "03").symlink_to(root / "01")
    with pytest.raises(CorpusFormatError, match="expected each clip once, found 001 also under"):
        load_afew_va(root)


def test_a_link_to_a_folder_above_is_no_endless_road(root):
    (root / "01" / "loop").symlink_to(root)
    assert len(load_afew_va(root.parent / "elsewhere")) == 2
    (root / "02").unlink()
    assert len(load_afew_va(root)) == 2


def test_a_change_behind_a_link_changes_the_content_key(root, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    before = reproduce._manifest(root)
    assert "02/051/051.json" in dict(before)
    path = root.parent / "elsewhere" / "02" / "051" / "051.json"
    path.write_text(path.read_text().replace('"valence": 5', '"valence": 6'))
    os.utime(path, ns=(1, 1))
    assert reproduce._manifest(root) != before


def test_a_half_copied_corpus_is_said_to_be_one(root):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_afew_va(root)
        (root / "SIMULATED.json").write_text("{}")
        load_afew_va(root)
    messages = [str(one.message) for one in caught]
    assert len(messages) == 1 and messages[0].endswith("a part of the corpus")
    assert messages[0].startswith(
        "afew_va: 600 clips are published, 4 found; 240 actors are published, 2 found"
    )
    assert caught[0].filename == __file__


def test_an_empty_folder_beside_the_others_is_a_fault(root):
    (root / "01" / "003").mkdir()
    with pytest.raises(CorpusFormatError, match=r"003\.json: expected this file, found none"):
        load_afew_va(root)
    assert len(load_afew_va(root, on_error="skip")) == 4


def test_an_empty_zip_is_named_or_skipped(root):
    (root / "03.zip").write_bytes(b"PK\5\6" + b"\0" * 18)
    with pytest.raises(CorpusFormatError, match=r"03\.zip: expected files, the zip is empty"):
        load_afew_va(root)
    corpus = load_afew_va(root, on_error="skip")
    assert len(corpus) == 4 and len(corpus.skipped) == 1


def test_a_zip_that_holds_a_file_twice_is_refused(root):
    with warnings.catch_warnings(), zipfile.ZipFile(root / "03.zip", "w") as part:
        warnings.simplefilter("ignore")
        for text in ("{}", "{ }"):
            part.writestr("101/101.json", text)
    with pytest.raises(
        CorpusFormatError, match=r"03\.zip: expected each file once, found '101/101\.json' again"
    ):
        load_afew_va(root)
    assert not (root / "03").exists()


@pytest.mark.parametrize("x", [12000.0, 1e300, -500.0])
def test_landmarks_far_from_the_picture_are_refused(root, x):
    path = root / "01" / "001" / "001.json"
    path.write_text(path.read_text().replace("[20.5, 14.25]", f"[{x}, 14.25]", 1))
    with pytest.raises(
        CorpusFormatError, match="expected landmarks in or near the picture of 60 x 48"
    ) as caught:
        load_afew_va(root)
    assert (caught.value.path, caught.value.row) == (path, "frame 00000")


@pytest.mark.parametrize("actor", ["\\ud800", "a\\u001b[2J", "a\\nb"])
def test_an_actor_that_cannot_be_printed_is_refused_harmlessly(root, actor):
    path = root / "01" / "001" / "001.json"
    path.write_text(path.read_text().replace('"actor": "Ann"', f'"actor": "{actor}"'))
    with pytest.raises(
        CorpusFormatError, match="expected actor, a name that can be printed"
    ) as caught:
        load_afew_va(root)
    assert str(caught.value).isprintable()


def test_a_name_of_a_file_cannot_command_a_terminal(root):
    error = CorpusFormatError("x\x1b[2J\ny ü.mp4", "expected a film")
    assert str(error) == "x\\x1b[2J\\ny ü.mp4: expected a film"


@pytest.mark.parametrize("side", [40000, 2**31 - 1])
def test_a_small_png_that_says_it_is_huge_is_named(root, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path = root / "01" / "001" / "00000.png"
    pieces = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 9)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in pieces:
        content += (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )
    path.write_bytes(content)
    with pytest.raises(CorpusFormatError, match=r"00000\.png: expected a png that can be decoded"):
        load_afew_va(root, decode=True)
    with pytest.raises(CorpusFormatError, match=r"00000\.png: expected a png that can be decoded"):
        frame_array(load_afew_va(root), store=root.parent / "store", jobs=1)
