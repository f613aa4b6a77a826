"""The lists of VideoEmotion-8 and Ekman-6 as they are public: typed here in that form, and the real ones."""

import os
import warnings

import av
import numpy as np
import pytest

from affectlib import paths
from affectlib.corpora import (
    EKMAN6_CLASSES,
    VIDEOEMOTION8_CLASSES,
    CorpusFormatError,
    CorpusNotFoundError,
    counts,
    load_ekman6,
    load_heiv,
    load_videoemotion8,
    segments,
    split_columns,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*a part of the corpus"
)  # as small corpora of tests are

LISTS = paths.GOLDEN / "lists"
needs_lists = pytest.mark.skipif(not LISTS.is_dir(), reason="no real lists below AFFECTLIB_GOLDEN")
PUBLISHED_SIZES = (101, 101, 115, 167, 180, 101, 236, 100)  # of the classes of VideoEmotion-8


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A film of five frames."""
    path = tmp_path_factory.mktemp("film") / "one.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for level in range(5):
            picture = np.full((32, 32, 3), 40 * level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def put(film, root, names):
    """Files of some names that are all the same film."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(film, path)


@pytest.fixture
def small(film, tmp_path):
    """Two videos per class, one of them named like a file, and the first split."""
    names = [
        f"{emotion}/{name}.mp4"
        for emotion in VIDEOEMOTION8_CLASSES
        for name in ("plain", "holiday.wmv")
    ]
    put(film, tmp_path, names)
    train = [
        f"{emotion}/holiday.wmv {1 + number}"
        for number, emotion in enumerate(VIDEOEMOTION8_CLASSES)
    ]
    test = [f"{emotion}/plain" for emotion in VIDEOEMOTION8_CLASSES]
    (tmp_path / "trainlist01.txt").write_bytes("\r\n".join(train).encode())
    (tmp_path / "testlist01.txt").write_text("\n".join(test) + "\n")
    return tmp_path


def test_a_row_is_matched_as_it_stands_then_without_its_ending(small):
    clips = load_videoemotion8(small).clips.set_index("clip")
    assert clips["split_01"].to_dict() == {
        **{f"{emotion}/holiday.wmv": "train" for emotion in VIDEOEMOTION8_CLASSES},
        **{f"{emotion}/plain": "test" for emotion in VIDEOEMOTION8_CLASSES},
    }
    path = small / "testlist01.txt"
    path.write_text(path.read_text().replace("/plain", "/plain.MP4"))
    assert load_videoemotion8(small).clips.set_index("clip")["split_01"].equals(clips["split_01"])
    path.write_text(path.read_text().replace("Joy/plain.MP4", "Joy/plain.txt"))
    with pytest.raises(
        CorpusFormatError, match=r"testlist01\.txt, row 5: .* none for Joy/plain\.txt"
    ):
        load_videoemotion8(small)


def test_where_both_names_are_there_the_row_means_the_one_it_states(small, film):
    put(film, small, ["Joy/holiday.mp4"])
    clips = load_videoemotion8(small).clips.set_index("clip")
    assert (clips.at["Joy/holiday.wmv", "split_01"], clips.at["Joy/holiday", "split_01"]) == (
        "train",
        "",
    )


def test_the_splits_that_are_there_are_used(small):
    corpus = load_videoemotion8(small)
    assert split_columns(corpus) == ("split_01",)
    assert not [
        column for column in corpus.clips if column.startswith("split_") and column != "split_01"
    ]
    assert split_columns(segments(corpus, seconds=0.25)) == ("split_01",)
    folder = small / "more" / "splits"
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        (folder / f"{part}list10.txt").write_bytes((small / f"{part}list01.txt").read_bytes())
    assert split_columns(load_videoemotion8(small)) == ("split_01", "split_10")
    table = counts(load_videoemotion8(small)).set_index("what")
    assert table.loc["splits"].tolist() == [10, 2]
    assert table.loc["videos to train on in split_10"].tolist() == [736, 8]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda root: (root / "testlist01.txt").unlink(),
            r"testlist01\.txt: expected this list beside trainlist01\.txt",
        ),
        (
            lambda root: (root / "trainlist11.txt").write_text("Joy/plain 5\n"),
            "expected a split from 01 to 10, found 11",
        ),
        (
            lambda root: (root / "trainlist1.txt").write_text("Joy/plain 5\n"),
            "expected one list of this split, found",
        ),
    ],
)
def test_a_split_that_is_not_complete_is_refused(small, change, expected):
    change(small)
    with pytest.raises(CorpusFormatError, match=expected):
        load_videoemotion8(small)


def test_two_lists_of_one_name_must_be_equal(small):
    (small / "copy").mkdir()
    (small / "copy" / "trainlist01.txt").write_bytes((small / "trainlist01.txt").read_bytes())
    assert len(load_videoemotion8(small)) == 16
    (small / "copy" / "trainlist01.txt").write_text("Joy/plain 5\n")
    with pytest.raises(
        CorpusFormatError, match=r"expected one trainlist01\.txt, found two that differ"
    ):
        load_videoemotion8(small)


def test_no_list_at_all_says_where_to_ask(small):
    for path in small.glob("*list01.txt"):
        path.unlink()
    with pytest.raises(
        CorpusNotFoundError, match=r"looked for \*\*/trainlist\*\.txt.*Ask for them"
    ):
        load_videoemotion8(small)


def test_shadows_of_macos_are_no_videos_and_linked_folders_are_read(film, tmp_path):
    root = tmp_path / "heiv"
    for split in ("train", "test"):
        for emotion in ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"):
            put(film, tmp_path / "elsewhere" / split / emotion, [f"{split}.mp4"])
    (tmp_path / "elsewhere" / "train" / "joy" / "._train.mp4").write_bytes(b"\0\5\x16\7")
    root.mkdir()
    for split in ("train", "test"):
        (root / split).symlink_to(tmp_path / "elsewhere" / split)
    assert load_heiv(root).clips["split"].value_counts().to_dict() == {"train": 7, "test": 7}


# ---------------------------------------------------------------- the real lists


def names_in(path):
    return [row.split()[0] for row in path.read_text().splitlines()]


@needs_lists
def test_the_public_lists_of_videoemotion8_are_read(film, tmp_path):
    listed = names_in(LISTS / "ve8_vaanet/trainlist01.txt") + names_in(
        LISTS / "ve8_vaanet/testlist01.txt"
    )
    missing = []  # the public lists name 1,099 of the 1,101 videos
    for emotion, size in zip(VIDEOEMOTION8_CLASSES, PUBLISHED_SIZES, strict=True):
        of_class = [name for name in listed if name.startswith(f"{emotion}/")]
        missing += [f"{emotion}/in no list {number}" for number in range(size - len(of_class))]
    put(film, tmp_path, [f"{name}.mp4" for name in listed + missing])
    (tmp_path / "lists").symlink_to(LISTS / "ve8_vaanet")
    with pytest.warns(UserWarning, match="10 splits are published, 1 found"):
        corpus = load_videoemotion8(tmp_path)
    assert len(corpus) == 1101 and len(missing) == 2 and corpus.skipped == ()
    assert corpus.clips["split_01"].value_counts().to_dict() == {"train": 732, "test": 367, "": 2}
    assert corpus.clips["emotion"].value_counts()[list(VIDEOEMOTION8_CLASSES)].tolist() == list(
        PUBLISHED_SIZES
    )
    found = counts(corpus).set_index("what")["found"]
    assert found[["videos", "splits"]].tolist() == [1101, 1]


@needs_lists
def test_the_public_lists_of_ekman6_are_read_and_complete(film, tmp_path):
    listed = names_in(LISTS / "ek6_cten/trainlist01.txt") + names_in(
        LISTS / "ek6_cten/testlist01.txt"
    )
    put(film, tmp_path, [f"{name}.mp4" for name in listed])
    (tmp_path / "lists").symlink_to(LISTS / "ek6_cten")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corpus = load_ekman6(tmp_path)
    assert len(corpus) == 1637 and set(corpus.clips["emotion"]) == set(EKMAN6_CLASSES)
    assert corpus.clips["split"].value_counts().to_dict() == {"train": 819, "test": 818}
    assert (counts(corpus)["published"] == counts(corpus)["found"]).all()
