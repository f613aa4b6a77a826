"""AFEW-VA as people keep it: parts that are links, zips, and files at fault."""

import io
import json
import os
import struct
import tracemalloc
import warnings
import zipfile
import zlib

import cv2
import numpy as np
import pytest

from affectlib import paths
from affectlib.corpora import afew_va, counts, frame_array, load_afew_va
from affectlib.errors import FileFormatError
from affectlib.runner.content_key import manifest

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
    with pytest.raises(FileFormatError, match="expected each clip once, found 001 also under"):
        load_afew_va(root)


def test_a_link_to_a_folder_above_is_entered_once(root):
    (root / "01" / "loop").symlink_to(root)
    assert len(load_afew_va(root.parent / "elsewhere")) == 2
    (root / "02").unlink()
    assert len(load_afew_va(root)) == 2


def test_a_change_behind_a_link_changes_the_content_key(root, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    before = manifest(root)
    assert "02/051/051.json" in dict(before)
    path = root.parent / "elsewhere" / "02" / "051" / "051.json"
    path.write_text(path.read_text().replace('"valence": 5', '"valence": 6'))
    os.utime(path, ns=(1, 1))
    assert manifest(root) != before


def test_an_empty_folder_beside_the_others_is_a_fault(root):
    (root / "01" / "003").mkdir()
    with pytest.raises(FileFormatError, match=r"003\.json: expected this file, found none"):
        load_afew_va(root)
    assert len(load_afew_va(root, on_error="skip")) == 4


def test_an_empty_zip_is_named_or_skipped(root):
    (root / "03.zip").write_bytes(b"PK\5\6" + b"\0" * 18)
    with pytest.raises(FileFormatError, match=r"03\.zip: expected files, the zip is empty"):
        load_afew_va(root)
    corpus = load_afew_va(root, on_error="skip")
    assert len(corpus) == 4
    assert len(corpus.skipped) == 1


def test_a_zip_that_holds_a_file_twice_is_refused(root):
    with warnings.catch_warnings(), zipfile.ZipFile(root / "03.zip", "w") as part:
        warnings.simplefilter("ignore")
        for text in ("{}", "{ }"):
            part.writestr("101/101.json", text)
    with pytest.raises(
        FileFormatError, match=r"03\.zip: expected each file once, found '101/101\.json' again"
    ):
        load_afew_va(root)
    assert not (root / "03").exists()


@pytest.mark.parametrize("x", [12000.0, 1e300, -500.0])
def test_landmarks_far_from_the_picture_are_refused(root, x):
    path = root / "01" / "001" / "001.json"
    path.write_text(path.read_text().replace("[20.5, 14.25]", f"[{x}, 14.25]", 1))
    with pytest.raises(
        FileFormatError, match="expected landmarks in or near the picture of 60 x 48"
    ) as caught:
        load_afew_va(root)
    assert (caught.value.path, caught.value.row) == (path, "frame 00000")


@pytest.mark.parametrize("actor", ["\\ud800", "a\\u001b[2J", "a\\nb"])
def test_an_actor_that_cannot_be_printed_is_refused_harmlessly(root, actor):
    path = root / "01" / "001" / "001.json"
    path.write_text(path.read_text().replace('"actor": "Ann"', f'"actor": "{actor}"'))
    with pytest.raises(
        FileFormatError, match="expected actor, a name that can be printed"
    ) as caught:
        load_afew_va(root)
    assert str(caught.value).isprintable()


def png(width, height, *, rows=9):
    """The bytes of a png that says this size, of black rows."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    black = zlib.compress(b"\0" * (3 * width + 1) * rows) if rows else b""
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in [(b"IHDR", header), (b"IDAT", black), (b"IEND", b"")]:
        length = struct.pack(">I", len(body))
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        content += length + kind + body + checksum
    return content


@pytest.mark.parametrize(
    "size", [(40000, 40000), (2**31 - 1, 2), (20000, 20000), (1, 10**6), (4097, 48)]
)
def test_a_small_png_that_says_it_is_huge_is_named_before_it_is_decoded(root, size, monkeypatch):
    corpus = load_afew_va(root)
    path = root / "01" / "001" / "00000.png"
    path.write_bytes(png(*size, rows=0))
    monkeypatch.setattr(cv2, "imread", lambda path: pytest.fail("decoded"))
    message = rf"00000\.png: expected at most 4096 pixels a side, found {size[0]} x {size[1]}"
    with pytest.raises(FileFormatError, match=message):
        load_afew_va(root)
    assert load_afew_va(root, on_error="skip").clips["clip"].tolist() == ["002", "051", "052"]
    # The file may have changed since the corpus was read.
    with pytest.raises(FileFormatError, match=message):
        frame_array(corpus, store=root.parent / "store", jobs=1)


def test_a_png_that_tells_its_size_late_is_refused(root):
    path = root / "01" / "001" / "00000.png"
    content = path.read_bytes()
    text = struct.pack(">I", 4) + b"tEXt" + b"a\0bc" + struct.pack(">I", zlib.crc32(b"tEXta\0bc"))
    path.write_bytes(content[:8] + text + content[8:])
    with pytest.raises(FileFormatError, match=r"00000\.png: expected a whole png"):
        load_afew_va(root)


def test_a_face_larger_than_any_picture_is_refused(root):
    folder = root / "01" / "001"
    (folder / "00000.png").write_bytes(png(4000, 4000))
    path = folder / "001.json"
    path.write_text(path.read_text().replace("[20.5, 14.25]", "[7900.0, 14.25]", 1))
    with pytest.raises(FileFormatError, match="expected a face of at most 4096 pixels a side"):
        load_afew_va(root)


@pytest.mark.parametrize("box", [(-9, -8, 20, 30), (50, 40, 75, 70), (-30, -20, 90, 80)])
def test_a_square_over_the_edge_repeats_it_and_takes_no_larger_picture(box):
    picture = np.random.default_rng(0).integers(0, 256, (48, 60, 3), np.uint8)
    square = afew_va._square(picture, np.array(box, float))
    over = 200
    bordered = cv2.copyMakeBorder(picture, over, over, over, over, cv2.BORDER_REPLICATE)
    expected = afew_va._square(bordered, np.array(box, float) + over)
    assert np.array_equal(square, expected)
    high = np.zeros((4096, 2, 3), np.uint8)
    tracemalloc.start()
    assert afew_va._square(high, np.array([-500.0, -500.0, 500.0, 500.0])).shape == (1400, 1400, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 7e6


def test_digits_of_other_scripts_are_no_frame(root):
    path = root / "01" / "001" / "001.json"
    path.write_text(path.read_text().replace('"00005"', '"\u0660\u0660\u0660\u0660\u0665"'))
    with pytest.raises(FileFormatError, match="expected a frame by its five digits"):
        load_afew_va(root)


def test_a_zip_that_would_fill_the_disk_is_refused(root):
    with zipfile.ZipFile(root / "03.zip", "w", zipfile.ZIP_DEFLATED) as part:
        part.writestr("101/101.json", b"\0" * 2**20)
    with pytest.raises(FileFormatError, match=r"03\.zip: expected at most 100 times the"):
        load_afew_va(root)
    assert not (root / "03").exists()
    assert len(load_afew_va(root, on_error="skip")) == 4


def zip_of(*members):
    """The bytes of a zip of pairs of a name and a content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as part:
        for name, content in members:
            part.writestr(name, content)
    return file.getvalue()


def test_zips_deep_in_zips_are_refused_or_skipped(root):
    content = zip_of(("readme.txt", "the innermost"))
    for _ in range(40):
        content = zip_of(("03.zip", content))
    (root / "03.zip").write_bytes(content)
    message = r"03/03/03/03\.zip: expected zips at most 2 deep in other zips, found one 3 deep"
    with pytest.raises(FileFormatError, match=message):
        load_afew_va(root)
    assert len(load_afew_va(root, on_error="skip")) == 4
    assert not (root / "03" / "03" / "03" / "03").exists()


def test_zips_in_a_zip_cannot_fill_the_disk_together(root):
    noise = np.random.default_rng(0).bytes(1000)
    # Each is 60 times as large as its zip, and their zip again nearly 60 times its own.
    inner = zip_of(("zeros.txt", noise + b"\0" * 60_000))
    outer = zip_of(*((f"{number:02d}.zip", inner) for number in range(40)))
    (root / "03.zip").write_bytes(zip_of(("all.zip", outer)))
    largest = afew_va.LARGEST_RATIO * (root / "03.zip").stat().st_size
    with pytest.raises(FileFormatError, match=r"\.zip: expected at most 100 times"):
        load_afew_va(root)
    assert sum(path.stat().st_size for path in (root / "03").rglob("*")) <= largest + 10**5


def test_odd_names_in_a_zip_stay_in_its_folder(root):
    clip = {path.name: path.read_bytes() for path in (root / "01" / "001").iterdir()}
    members = [("101/101.JSON", "{}"), ("101/a\nb\x1b[31m.txt", "x"), ("CON", "")]
    for name, content in clip.items():
        content = content.replace(b"video 001", b"video 101")
        members.append((f"101/{name.replace('001.json', '101.json')}", content))
    (root / "03.zip").write_bytes(zip_of(*members))
    assert load_afew_va(root).clips["clip"].tolist() == ["001", "002", "051", "052", "101"]


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_damaged_frames_of_the_store_are_decoded_again(root, share):
    corpus = load_afew_va(root)
    store = root.parent / "store"
    right = frame_array(corpus, store=store, jobs=1).copy()
    (path,) = store.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.warns(UserWarning, match=rf"{path.name}: kept frames are damaged .* decoded again"):
        again = frame_array(corpus, store=store, jobs=1)
    assert np.array_equal(again, right)
    assert path.read_bytes() == whole


def test_a_flipped_bit_in_stored_frames_is_found(root):
    corpus = load_afew_va(root)
    store = root.parent / "store"
    right = frame_array(corpus, store=store, jobs=1).copy()
    (path,) = store.iterdir()
    whole = path.read_bytes()
    # In the header, in the first picture, in the last one, in the digest.
    for place in (9, 60, len(whole) - right.nbytes, len(whole) - 40, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match="kept frames are damaged"):
            assert np.array_equal(frame_array(corpus, store=store, jobs=1), right)
        assert path.read_bytes() == whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Frames of earlier versions have no digest.
        path.write_bytes(whole[: -paths.DIGEST_BYTES])
        assert np.array_equal(frame_array(corpus, store=store, jobs=1), right)
