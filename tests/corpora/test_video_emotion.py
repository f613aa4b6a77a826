"""HEIV, Ekman-6 and VideoEmotion-8: folders of classes, and lists of splits."""

import shutil

import av
import numpy as np
import pytest

from affectlib.corpora import (
    EKMAN6_CLASSES,
    HEIV_CLASSES,
    VIDEOEMOTION8_CLASSES,
    load_ekman6,
    load_heiv,
    load_videoemotion8,
    segments,
)
from affectlib.errors import FileFormatError
from affectlib.features import extract
from affectlib.features.faces import blocks, people
from affectlib.models.caan import follow

# Small corpora of tests are a part of the real one.
pytestmark = pytest.mark.filterwarnings("ignore:.*a part of the corpus")

LOADERS = {
    "heiv": (load_heiv, HEIV_CLASSES),
    "ekman6": (load_ekman6, EKMAN6_CLASSES),
    "videoemotion8": (load_videoemotion8, VIDEOEMOTION8_CLASSES),
}


PER_CLASS = 4  # videos 1 to 4 of every class; the first two train


@pytest.fixture(scope="session")
def film(films):
    """Bytes of a video."""
    return films["whole"]


def write(name, root, film):
    _, classes = LOADERS[name]
    for emotion in classes:
        for i in range(1, PER_CLASS + 1):
            part = ("train" if i < 3 else "test") if name == "heiv" else ""
            (root / part / emotion).mkdir(parents=True, exist_ok=True)
            (root / part / emotion / f"{i}.mp4").write_bytes(film)
    numbers = {
        "heiv": [],
        "ekman6": [""],
        "videoemotion8": [f"{number:02d}" for number in range(1, 11)],
    }
    for number in numbers[name]:
        rows = [
            f"{emotion}/{i} {1 + classes.index(emotion)}"
            for emotion in classes
            for i in range(1, PER_CLASS + 1)
        ]
        train = [row for row in rows if row.split()[0][-1] in "12"]
        test = [row.split()[0] for row in rows if row not in train]
        (root / f"trainlist{number}.txt").write_text("\n".join(train))
        (root / f"testlist{number}.txt").write_text("\n".join(test) + "\n")
    return root


@pytest.fixture(params=LOADERS)
def name(request):
    return request.param


@pytest.fixture
def root(name, film, tmp_path):
    return write(name, tmp_path / name, film)


@pytest.fixture
def ekman6(film, tmp_path):
    return write("ekman6", tmp_path / "ekman6", film)


def folder(root, name, emotion):
    return root / ("train" if name == "heiv" else "") / emotion


def test_classes_and_splits_are_those_of_folders_and_lists(name, root):
    load, classes = LOADERS[name]
    corpus = load(root)
    folders = corpus.clips["clip"].str.split("/").str[0]
    assert corpus.clips["emotion"].tolist() == folders.tolist()
    assert corpus.clips["group"].tolist() == corpus.clips["clip"].tolist()
    for clip, path in zip(corpus.clips["clip"], corpus.clips["path"], strict=True):
        assert path.endswith(f"/{clip}.mp4")
    split = corpus.clips["split_10" if name == "videoemotion8" else "split"]
    trains = corpus.clips["clip"].str[-1].isin(["1", "2"])
    assert split.tolist() == np.where(trains, "train", "test").tolist()
    assert corpus.labels == classes
    assert corpus.value_range == (0, len(classes) - 1)


def test_each_of_ten_splits_has_its_own_lists(film, tmp_path):
    root = write("videoemotion8", tmp_path, film)
    (root / "trainlist03.txt").write_text("Anger/3 1\nTrust/4.mp4 8\n")
    (root / "testlist03.txt").write_text("Joy/1\n")
    clips = load_videoemotion8(root).clips.set_index("clip")
    assert clips["split_03"].to_dict() == dict.fromkeys(clips.index, "") | {
        "Anger/3": "train",
        "Trust/4": "train",
        "Joy/1": "test",
    }
    assert clips["split_04"].value_counts().to_dict() == {"train": 16, "test": 16}
    assert (clips["split"] == "").all()
    (root / "testlist07.txt").unlink()
    with pytest.raises(
        FileFormatError, match=r"testlist07\.txt: expected this list beside trainlist07\.txt"
    ):
        load_videoemotion8(root)


def test_lists_may_lie_one_folder_below(ekman6):
    (ekman6 / "splits").mkdir()
    for part in ("train", "test"):
        shutil.move(ekman6 / f"{part}list.txt", ekman6 / "splits" / f"{part}list01.txt")
    assert load_ekman6(ekman6).clips["split"].value_counts().to_dict() == {"train": 12, "test": 12}


@pytest.mark.parametrize("emptied", [True, False])
def test_a_class_without_videos_is_named(name, root, emptied):
    load, classes = LOADERS[name]
    place = folder(root, name, classes[2])
    shutil.rmtree(place)
    if emptied:
        place.mkdir()
    with pytest.raises(
        FileFormatError, match=f"expected this folder with the videos of {classes[2]}"
    ) as caught:
        load(root)
    assert caught.value.path == place
    corpus = load(root, on_error="skip")
    assert (corpus.clips["emotion"] == classes[2]).sum() == (2 if name == "heiv" else 0)
    assert any(
        message.endswith("found none") and classes[2] in message for message in corpus.skipped
    )


def test_one_key_twice_is_an_error_one_name_in_two_classes_is_not(name, root):
    load, classes = LOADERS[name]
    place = folder(root, name, classes[1]) / "1"
    shutil.copy(place.with_suffix(".mp4"), place.with_suffix(".avi"))
    with pytest.raises(
        FileFormatError, match=f"expected each clip once, found {classes[1]}/1 also as"
    ):
        load(root)
    corpus = load(root, on_error="skip")
    assert len(corpus) == PER_CLASS * len(classes) - 1
    assert corpus.skipped[0].startswith(f"{classes[1]}/1: ")


def test_a_name_in_both_sets_of_heiv_is_an_error(film, tmp_path):
    root = write("heiv", tmp_path, film)
    (root / "test/joy/1.mp4").write_bytes(film)
    with pytest.raises(FileFormatError, match=r"found joy/1 also as .*train.*joy.1\.mp4"):
        load_heiv(root)


def replaced(old, new):
    return lambda text: text.replace(old, new)


# Kind of damage: list, change, row, message, the clip that is lost.
LIST_DAMAGE = {
    "names a missing video": (
        "train",
        replaced("fear/1 ", "fear/9 "),
        5,
        "a video .* none for fear/9",
        "fear/1",
    ),
    "a column too many": (
        "test",
        replaced("fear/3", "fear/3 3 3"),
        5,
        "expected 'class/video', found",
        "fear/3",
    ),
    "another class's number": (
        "train",
        replaced("fear/2 3", "fear/2 4"),
        6,
        "expected the number 3",
        "fear/2",
    ),
    "in both lists": (
        "test",
        replaced("fear/3", "fear/1\nfear/3"),
        5,
        "once in the lists",
        "fear/1",
    ),
    "row missing": (
        "train",
        replaced("fear/1 3\n", ""),
        None,
        "expected a row for fear/1",
        "fear/1",
    ),
}


@pytest.mark.parametrize(
    ("part", "change", "row", "message", "lost"), LIST_DAMAGE.values(), ids=LIST_DAMAGE
)
def test_a_damaged_list_is_named_by_row_or_its_video_skipped(
    ekman6, part, change, row, message, lost
):
    path = ekman6 / f"{part}list.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(FileFormatError, match=message) as caught:
        load_ekman6(ekman6)
    assert (caught.value.path, caught.value.row) == (path, row)
    corpus = load_ekman6(ekman6, on_error="skip")
    assert len(corpus) == 23
    assert lost not in set(corpus.clips["clip"])
    assert all("fear" in text or "dread" in text for text in corpus.skipped)


def test_two_classes_with_one_number_are_refused(ekman6):
    path = ekman6 / "trainlist.txt"
    path.write_text(path.read_text().replace("/1 3", "/1 2").replace("/2 3", "/2 2"))
    with pytest.raises(
        FileFormatError, match="another number than 2, which is that of disgust"
    ) as caught:
        load_ekman6(ekman6)
    assert (caught.value.path, caught.value.row) == (path, 5)
    kept = set(load_ekman6(ekman6, on_error="skip").clips["clip"])
    assert len(kept) == 22
    assert not {"fear/1", "fear/2"} & kept


def test_segments_carry_the_class_and_the_splits(film, tmp_path):
    corpus = load_videoemotion8(write("videoemotion8", tmp_path, film))
    parts = segments(corpus, seconds=1.6)
    assert parts.clips["start"].tolist() == [0.0, 1.6] * len(corpus)
    assert (parts.clips["seconds"] == 1.6).all()
    assert parts.clips["source"].tolist() == np.repeat(corpus.clips["clip"], 2).tolist()
    assert parts.clips["clip"][1] == "Anger/1:0001"
    whole = corpus.clips.set_index("clip").loc[parts.clips["source"]]
    for column in ("path", "group", "split", "emotion", *(f"split_{k:02d}" for k in range(1, 11))):
        assert parts.clips[column].tolist() == whole[column].tolist()
    assert len(segments(corpus, parts=3)) == 3 * len(corpus)
    with pytest.raises(ValueError, match="positive"):
        segments(corpus, seconds=0)


def test_a_video_of_one_frame_without_a_face_is_one_row_of_absence(ekman6):
    for path in ekman6.rglob("*.mp4"):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=12)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            for packet in [stream.encode(frame), stream.encode()]:
                container.mux(packet)
    parts = segments(load_ekman6(ekman6), seconds=0.5)
    assert len(parts) == 24
    assert (parts.clips["start"] == 0).all()
    assert (parts.clips["seconds"] < 0.5).all()
    table = extract(parts.select([0, 1]), (people(),), progress=False, jobs=1)
    assert (table["people"] == 0).all()
    assert follow(blocks(table["people"])).tolist() == [-1, -1]
