"""AFEW-VA: clips, zip parts, frames, and every kind of damage."""

import json
import os
import shutil
import zipfile

import cv2
import numpy as np
import pytest

from affectlib.corpora import frame_array, load_afew_va
from affectlib.errors import FileFormatError, NotFoundError

# Small corpora of tests are a part of the real one.
pytestmark = pytest.mark.filterwarnings("ignore:.*a part of the corpus")

CLIPS = {"001": "Ann", "002": "Bob", "003": "Ann"}


FRAMES = 6


def write(root, part=""):
    """Three clips of six frames each, clip and frame number in the colour, a face in the middle."""
    for clip, actor in CLIPS.items():
        folder = root / part / clip
        folder.mkdir(parents=True)
        frames = {}
        for i in range(FRAMES):
            picture = np.full((48, 60, 3), (0, 10 * i, 50 * int(clip)), np.uint8)
            picture[14:34, 20:40] = 255
            cv2.imwrite(str(folder / f"{i:05d}.png"), picture)
            points = [[20 + 19 * (n % 2), 14 + 19 * (n // 2 % 2)] for n in range(68)]
            frames[f"{i:05d}"] = {"landmarks": points, "arousal": 1, "valence": i - 2}
        (folder / f"{clip}.json").write_text(
            json.dumps({"actor": actor, "video_id": clip, "frames": frames})
        )
    return root


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "afew_va")


def test_clips_and_frames_are_those_of_the_files(root):
    corpus = load_afew_va(root)
    assert corpus.clips["clip"].tolist() == list(CLIPS)
    assert corpus.clips["group"].tolist() == list(CLIPS.values())
    rows = corpus.annotations[corpus.annotations["clip"] == "002"]
    assert rows["frame"].tolist() == list(range(FRAMES))
    assert rows["time"].tolist() == [i / 25 for i in range(FRAMES)]
    assert rows["valence"].tolist() == [-2, -1, 0, 1, 2, 3]
    boxes = rows[["left", "top", "right", "bottom"]].to_numpy()
    assert boxes.tolist() == [[20, 14, 39, 33]] * FRAMES


def test_parts_nested_one_level_and_cropped_twins(tmp_path):
    root = write(tmp_path / "afew_va", part="01")
    shutil.copytree(root / "01" / "001", root / "01" / "001_cropped")
    assert load_afew_va(root).clips["clip"].tolist() == list(CLIPS)


def test_zip_parts_are_unpacked_once(tmp_path):
    made = write(tmp_path / "made")
    root = tmp_path / "afew_va"
    root.mkdir()
    shutil.make_archive(str(root / "01"), "zip", made)
    assert len(load_afew_va(root)) == 3
    stamp = os.stat(root / "01" / "001" / "00000.png").st_mtime_ns
    assert len(load_afew_va(root)) == 3
    assert os.stat(root / "01" / "001" / "00000.png").st_mtime_ns == stamp


def test_hidden_and_macos_folders_are_no_clips(root):
    made = write(root.parent / "made")
    # What a killed run leaves, and what macOS adds to a zip.
    for part in (".01.4711.part", "__MACOSX/01"):
        shutil.copytree(made, root / part)
    shutil.copytree(made / "001", root / "__MACOSX" / "004")
    shutil.make_archive(str(root / "__MACOSX" / "05"), "zip", made)
    assert load_afew_va(root).clips["clip"].tolist() == list(CLIPS)
    assert not (root / "__MACOSX" / "05").exists()
    for clip in CLIPS:
        shutil.rmtree(root / clip)
    with pytest.raises(NotFoundError, match="not this corpus"):
        load_afew_va(root)


def test_parts_in_parts_are_unpacked(tmp_path):
    made = write(tmp_path / "made")
    root = tmp_path / "afew_va"
    (tmp_path / "outer").mkdir()
    root.mkdir()
    shutil.make_archive(str(tmp_path / "outer" / "01"), "zip", made)
    shutil.make_archive(str(root / "all"), "zip", tmp_path / "outer")
    assert load_afew_va(root).clips["path"].tolist() == [
        str(root / "all" / "01" / clip) for clip in CLIPS
    ]


def test_two_processes_may_unpack_one_part(tmp_path, monkeypatch):
    made = write(tmp_path / "made")
    root = tmp_path / "afew_va"
    root.mkdir()
    shutil.make_archive(str(root / "01"), "zip", made)

    def slower(partial, target):
        shutil.copytree(partial, target)  # the other one was done first
        raise OSError(39, "Directory not empty")

    with monkeypatch.context() as patch:
        patch.setattr("affectlib.corpora.afew_va.os.replace", slower)
        assert len(load_afew_va(root)) == 3
    assert sorted(path.name for path in root.iterdir()) == ["01", "01.zip"]


def lock(path):
    """Marks the members of a zip as encrypted, in their own headers and in the directory."""
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            content[start + place] |= 1
            start = content.find(mark, start + 4)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "hurt", [lock, lambda path: path.write_bytes(path.read_bytes()[:99])], ids=["locked", "cut"]
)
def test_a_part_at_fault_is_named_or_skipped(root, hurt):
    with zipfile.ZipFile(root / "02.zip", "w") as part:
        part.writestr("004/004.json", "{}" * 99)
    hurt(root / "02.zip")
    with pytest.raises(FileFormatError, match=r"02\.zip: expected a whole zip without a password"):
        load_afew_va(root)
    corpus = load_afew_va(root, on_error="skip")
    assert len(corpus) == 3
    assert len(corpus.skipped) == 1
    assert corpus.skipped[0].startswith("02.zip: ")
    for clip in CLIPS:
        shutil.rmtree(root / clip)
    # The fault says more than "not this corpus".
    with pytest.raises(FileFormatError, match="whole zip"):
        load_afew_va(root, on_error="skip")


@pytest.mark.parametrize(
    "name",
    [
        "../escaped.txt",
        "/escaped.txt",
        "a/../../escaped.txt",
        "..\\escaped.txt",
        "../\x1b[31mescaped.txt",
    ],
)
def test_zip_cannot_leave_its_folder(root, name):
    with zipfile.ZipFile(root / "02.zip", "w") as part:
        part.writestr("fine.txt", "x")
        part.writestr(name, "x")
    with pytest.raises(FileFormatError, match=r"02\.zip.*escaped") as caught:
        load_afew_va(root)
    assert str(caught.value).isprintable()
    assert not list(root.parent.rglob("escaped.txt"))
    assert not (root / "02").exists()
    assert not list(root.glob(".*part*"))


def test_cut_zip_is_named(root):
    shutil.make_archive(str(root / "02"), "zip", root / "001")
    whole = (root / "02.zip").read_bytes()
    (root / "02.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match=r"02\.zip.*whole zip"):
        load_afew_va(root)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def rewrite(old, new):
    def change(root):
        path = root / "002/002.json"
        path.write_text(path.read_text().replace(old, new, 1))

    return change


def valence(value):
    return lambda root: edit(
        root / "002/002.json", lambda c: c["frames"]["00003"].update(valence=value)
    )


DAMAGE = {
    "truncated png": (
        lambda root: truncate(root / "002/00003.png"),
        "00003.png: expected a whole png",
    ),
    "no json": (lambda root: (root / "002/002.json").unlink(), "002.json: expected this file"),
    "broken json": (lambda root: truncate(root / "002/002.json"), "002.json, row 1: expected JSON"),
    "binary json": (
        lambda root: (root / "002/002.json").write_bytes(b"\xff\xfe\x81"),
        "002.json: expected text",
    ),
    "no actor": (
        lambda root: edit(root / "002/002.json", lambda c: c.pop("actor")),
        "002.json: expected actor",
    ),
    "no frames": (
        lambda root: edit(root / "002/002.json", lambda c: c.pop("frames")),
        "expected frames",
    ),
    "valence 11": (
        valence(11),
        "row frame 00003: expected valence as an integer in .-10, 10., found 11",
    ),
    "valence between": (valence(1.5), "expected valence as an integer"),
    "valence nan": (valence(float("nan")), "expected valence as an integer"),
    "valence true": (valence(True), "expected valence as an integer in .-10, 10., found True"),
    "valence infinite": (valence(float("-inf")), "expected valence as an integer"),
    "valence 1e400": (rewrite('"valence": 1', '"valence": 1e400'), "found inf"),
    "valence text": (valence("3"), "expected valence as an integer"),
    "valence of 400 digits": (
        valence(10**400),
        "expected valence as an integer in .-10, 10., found 1000",
    ),
    "valence of 5000 digits": (
        rewrite('"valence": 1', '"valence": 1' + 5000 * "0"),
        "002.json: expected JSON",
    ),
    "brackets without end": (
        lambda root: (root / "002/002.json").write_text(100_000 * "["),
        "002.json: expected JSON",
    ),
    "actor twice": (
        rewrite('"actor"', '"actor": "Eve", "actor"'),
        "002.json: expected each key once, found 'actor'",
    ),
    "frame twice": (
        rewrite('"00004"', '"00003"'),
        "row frame 00003: expected each key once, found '00003'",
    ),
    "valence twice": (
        rewrite('"valence": 1', '"valence": 1, "valence": 2'),
        "row frame 00003: expected each key once, found 'valence'",
    ),
    "no video_id": (
        lambda root: edit(root / "002/002.json", lambda c: c.pop("video_id")),
        "expected video_id, a name",
    ),
    "video_id of another": (
        lambda root: edit(root / "002/002.json", lambda c: c.update(video_id=" 001")),
        "002.json: expected each video_id once, found '001' of clip 001 again",
    ),
    "landmark of 400 digits": (
        lambda root: edit(
            root / "002/002.json",
            lambda c: c["frames"]["00003"]["landmarks"].__setitem__(0, [10**400, 1]),
        ),
        "row frame 00003: expected 68",
    ),
    "landmarks in brackets without end": (
        rewrite('"landmarks": [', '"landmarks": [' + 5000 * "[" + 5000 * "]" + ","),
        "002.json: expected JSON",
    ),
    "67 landmarks": (
        lambda root: edit(root / "002/002.json", lambda c: c["frames"]["00003"]["landmarks"].pop()),
        "row frame 00003: expected 68 landmarks",
    ),
    "frame name": (
        lambda root: edit(
            root / "002/002.json", lambda c: c["frames"].update(x=c["frames"]["00003"])
        ),
        "row frame x: expected a frame by its five digits",
    ),
    "two of one id": (
        lambda root: shutil.copytree(root / "002", root / "09" / "002"),
        "expected each clip once",
    ),
}


@pytest.mark.parametrize(("hurt", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named_or_skipped_and_counted(root, hurt, message):
    hurt(root)
    with pytest.raises(FileFormatError, match=message) as caught:
        load_afew_va(root)
    assert "002" in str(caught.value.path)
    corpus = load_afew_va(root, on_error="skip")
    assert corpus.clips["clip"].tolist() == ["001", "003"]
    assert len(corpus.skipped) == 1
    assert corpus.skipped[0].startswith("002: ")
    assert set(corpus.annotations["clip"]) == {"001", "003"}


def test_blanks_around_an_actor_make_no_other_one(root):
    edit(root / "003/003.json", lambda c: c.update(actor=" Ann "))
    assert load_afew_va(root).clips["group"].tolist() == list(CLIPS.values())


def test_frames_that_cannot_be_decoded_are_found_when_asked_for(root):
    path = root / "002/00003.png"
    png = path.read_bytes()
    path.write_bytes(png[:40] + b"\0\0\0\0" + png[44:])
    assert len(load_afew_va(root)) == 3
    with pytest.raises(FileFormatError, match=r"00003\.png: expected a png that can be decoded"):
        load_afew_va(root, decode=True)
    corpus = load_afew_va(root, on_error="skip", decode=True)
    assert corpus.skipped[0].startswith("002: ")
    assert len(frame_array(corpus, store=root.parent / "store")) == 12


def test_frames_follow_the_annotations(root):
    corpus = load_afew_va(root)
    pictures = frame_array(corpus, crop="frame", size=8, store=root.parent / "store", jobs=1)
    assert pictures.shape == (18, 8, 8, 3)
    assert pictures.dtype == np.uint8
    assert isinstance(pictures, np.memmap)
    # RGB: green counts the frames, red the clips.
    expected = [[50 * c, 10 * i, 0] for c in (1, 2, 3) for i in range(FRAMES)]
    assert pictures[:, 0, 0].tolist() == expected


def test_face_is_the_square_around_the_landmarks_and_black_without(root):
    edit(root / "001/001.json", lambda c: c["frames"]["00002"].update(landmarks=None))
    corpus = load_afew_va(root)
    assert corpus.annotations["left"].isna().tolist() == [i == 2 for i in range(18)]
    pictures = frame_array(corpus, size=27, store=root.parent / "store", jobs=1)
    # A face of 20 in a square of 1.4 x 19.
    seen = (pictures[5] == 255).all(-1)
    assert 19 <= seen.any(0).sum() <= 21
    assert 19 <= seen.any(1).sum() <= 21
    assert seen[13, 13]
    assert (pictures[2] == 0).all()
    assert (pictures[1] != 0).any()


def test_face_at_the_edge_repeats_the_edge(root):
    points = [[0 + 10 * (n % 2), 0 + 10 * (n // 2 % 2)] for n in range(68)]
    edit(root / "003/003.json", lambda c: c["frames"]["00005"].update(landmarks=points))
    pictures = frame_array(load_afew_va(root), size=8, store=root.parent / "store", jobs=1)
    assert (pictures[17] == (150, 50, 0)).all()


def test_frames_resume_and_notice_change(root, monkeypatch):
    corpus = load_afew_va(root)
    store = root.parent / "store"
    path = root / "003/00000.png"
    png = path.read_bytes()
    # Its end is whole, so the damage shows only when it is decoded.
    path.write_bytes(png[:40] + b"\0\0\0\0" + png[44:])
    with pytest.raises(
        FileFormatError, match=r"003.00000\.png: expected a png that can be decoded"
    ):
        frame_array(corpus, crop="frame", store=store, jobs=1)
    assert len(list(store.glob("afew_va-00[12]-*.npy"))) == 2
    assert not list(store.glob("*frame*"))
    path.write_bytes(png)
    decoded = []
    real = cv2.imread
    monkeypatch.setattr(cv2, "imread", lambda path: decoded.append(path) or real(path))
    first = frame_array(corpus, crop="frame", store=store, jobs=1)
    assert len(decoded) == FRAMES
    assert len(list(store.iterdir())) == 1
    assert (frame_array(corpus, crop="frame", store=store, jobs=1) == first).all()
    assert len(decoded) == FRAMES
    # Older than before is changed too.
    os.utime(root / "001/00000.png", (1, 1))
    assert (frame_array(corpus, crop="frame", store=store, jobs=1) == first).all()
    assert len(decoded) == 4 * FRAMES


def test_another_process_may_be_done_with_the_same_frames(root, monkeypatch):
    corpus = load_afew_va(root)
    store = root.parent / "store"
    load = np.lib.format.open_memmap
    taken = []

    def taken_away(path, **options):
        if not taken and "frame" not in path.name:
            taken.append(path)
            path.unlink()
        return load(path, **options)

    monkeypatch.setattr(np.lib.format, "open_memmap", taken_away)
    pictures = frame_array(corpus, crop="frame", size=8, store=store, jobs=1)
    assert len(taken) == 1
    assert pictures[:, 0, 0, 1].tolist() == [10 * i for i in range(FRAMES)] * 3
    assert len(list(store.iterdir())) == 1


def test_frames_do_not_depend_on_the_number_of_threads(root):
    corpus = load_afew_va(root)
    one, two = (
        frame_array(corpus, store=root.parent / f"store{jobs}", jobs=jobs) for jobs in (1, 2)
    )
    assert (one == two).all()
    with pytest.raises(ValueError, match="crop"):
        frame_array(corpus, crop="mouth")
