"""The features that MediaEval's organisers distribute, read second by second."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from affectlib.corpora import load_mediaeval18, segments
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features import organisers
from affectlib.features.organisers import SIZES
from affectlib.simulate import make_mediaeval18

NOTES = (
    "MEDIAEVAL18-DevSet-Part1-Valence_Arousal-annotations/annotations/"
    "MEDIAEVAL18_00_Valence-Arousal.txt"
)
SOUNDS = "MEDIAEVAL18-DevSet-Part1-Audio_features/audio_features/MEDIAEVAL18_00"


LOOKS = "MEDIAEVAL18-DevSet-Part1-Visual_features/visual_features/MEDIAEVAL18_00"


SECONDS = 6


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Three films with all series; the simulator writes two, the others are typed here."""
    root = tmp_path_factory.mktemp("films")
    corpus = make_mediaeval18(root, n_films=3, seconds=SECONDS, seed=1, jobs=1)
    for folder in sorted(root.glob("*/visual_features/*")):
        for name in sorted(set(SIZES) - {"audio", "cl"}):
            write_series(folder, name)
    return root, corpus


def write_series(folder, name):
    """One file of numbers per second, as the organisers give it."""
    (folder / name).mkdir()
    for second in range(1, SECONDS + 1):
        cells = ",".join(str(second + value / 10) for value in range(SIZES[name]))
        (folder / name / f"{folder.name}-{second:05d}_{name}.txt").write_text(cells)


@pytest.fixture
def copy(films, tmp_path):
    return shutil.copytree(films[0], tmp_path / "copy")


def renumber(root, new):
    """Film 00 under another number."""
    for path in sorted(root.rglob("*MEDIAEVAL18_00*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.replace("_00", f"_{new}", 1)))


def test_every_second_has_the_values_of_its_files(films):
    root, corpus = films
    table = organisers(segments(corpus, seconds=1.0), root)
    assert table.sizes == SIZES
    assert len(table) == 18
    assert table.simulated
    assert not table.missing
    assert not table.skipped
    row = table.clips.index("MEDIAEVAL18_00:0003")  # from 3 s on: file number 4
    cells = (root / LOOKS / "acc" / "MEDIAEVAL18_00-00004_acc.txt").read_text().split(",")
    assert np.allclose(table["acc"][row], [float(cell) for cell in cells])
    arff = (root / SOUNDS / "MEDIAEVAL18_00_00004.csv").read_text()
    assert arff.count("@attribute") == 1584
    assert np.allclose(
        table["audio"][row], [float(cell) for cell in arff.split("@data")[1].split(",")[1:-1]]
    )


def test_a_series_that_ends_early_cuts_the_film_and_is_reported(films, copy):
    for second in (5, 6):
        (copy / LOOKS / "cl" / f"MEDIAEVAL18_00-{second:05d}_cl.txt").unlink()
    with pytest.warns(
        UserWarning, match="1 series differ from their annotation in length.*2 s lost"
    ):
        table = organisers(segments(films[1], seconds=1.0), copy, ("cl", "sc"))
    assert len(table) == len(table["sc"]) == 16
    assert "MEDIAEVAL18_00:0004" not in table.clips
    assert table.skipped == ("MEDIAEVAL18_00: cl ends 2 s before the annotation",)


def test_a_series_longer_than_the_annotation_is_reported(films, copy):
    folder = copy / LOOKS / "cl"
    shutil.copy(folder / "MEDIAEVAL18_00-00001_cl.txt", folder / "MEDIAEVAL18_00-00007_cl.txt")
    with pytest.warns(UserWarning, match="0 s lost"):
        table = organisers(segments(films[1], seconds=1.0), copy, ("cl",))
    assert len(table) == 18
    assert table.skipped == ("MEDIAEVAL18_00: cl ends 1 s after the annotation",)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("")])
def test_a_second_without_a_value_is_named_or_listed(films, copy, damage):
    damage(copy / LOOKS / "cl" / "MEDIAEVAL18_00-00002_cl.txt")
    clips = segments(films[1], seconds=1.0)
    with pytest.raises(
        FileFormatError,
        match=r"MEDIAEVAL18_00-00002_cl.txt, row 1: expected 33 values of second 2",
    ):
        organisers(clips, copy, ("cl",))
    with pytest.warns(UserWarning, match="1 seconds of 1 films have no cl; zeros"):
        table = organisers(clips, copy, ("cl",), missing="zeros")
    assert table.missing == {"cl": ("MEDIAEVAL18_00:0001",)}
    assert not table["cl"][1].any()
    assert table["cl"][2].any()


def shorten(path):
    path.write_text(path.read_text().rpartition(",")[0])


@pytest.mark.parametrize(
    ("film", "name", "file", "damage"),
    [
        ("06", "audio", SOUNDS + "/MEDIAEVAL18_00_00003.csv", Path.unlink),
        ("06", "audio", SOUNDS + "/MEDIAEVAL18_00_00003.csv", shorten),
        ("27", "cl", LOOKS + "/cl/MEDIAEVAL18_00-00003_cl.txt", lambda path: path.write_text("")),
        ("18", "jcd", LOOKS + "/jcd/MEDIAEVAL18_00-00005_jcd.txt", shorten),
    ],
)
def test_the_known_faults_of_the_real_corpus_pass_and_are_listed(copy, film, name, file, damage):
    damage(copy / file)
    renumber(copy, film)
    with pytest.warns(UserWarning, match=f"1 seconds of 1 films have no {name}; zeros"):
        table = organisers(segments(load_mediaeval18(copy), seconds=1.0), copy, (name,))
    second = int(file.rsplit("_", 1)[1][:5] if name == "audio" else file.rsplit("-", 1)[1][:5])
    assert table.missing == {name: (f"MEDIAEVAL18_{film}:{second - 1:04d}",)}
    assert len(table) == 18


def test_a_known_series_that_ends_early_cuts_the_film_as_any_other(copy):
    (copy / LOOKS / "jcd" / "MEDIAEVAL18_00-00006_jcd.txt").unlink()
    renumber(copy, "18")
    with pytest.warns(
        UserWarning, match="1 series differ from their annotation in length.*1 s lost"
    ):
        table = organisers(segments(load_mediaeval18(copy), seconds=1.0), copy, ("jcd", "cl"))
    assert len(table) == 17
    assert table.skipped == ("MEDIAEVAL18_18: jcd ends 1 s before the annotation",)
    assert not table.missing


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        (
            SOUNDS + "/MEDIAEVAL18_00_00002.csv",
            lambda text: text.rstrip() + "\n" + text.rstrip().splitlines()[-1],
            "expected one row of values, found more",
        ),
        (
            LOOKS + "/cl/MEDIAEVAL18_00-00002_cl.txt",
            lambda text: text.rstrip() + "\n" + text,
            "00002_cl.txt, row 2: expected one row of values, found more",
        ),
        (
            SOUNDS + "/MEDIAEVAL18_00_00002.csv",
            lambda text: text.replace(",?", ""),
            r"00002.csv, row 15\d\d: expected a name, 1582 values and a class, found 1583 cells",
        ),
        (
            SOUNDS + "/MEDIAEVAL18_00_00002.csv",
            lambda text: text.split("@data")[0],
            "a row after @data, found none",
        ),
        (
            LOOKS + "/cl/MEDIAEVAL18_00-00002_cl.txt",
            lambda text: text.rpartition(",")[0],
            "row 1: .*found 32 of 32",
        ),
        (
            LOOKS + "/cl/MEDIAEVAL18_00-00002_cl.txt",
            lambda text: "nan" + text[text.index(",") :],
            "found 32 of 33",
        ),
        (
            LOOKS + "/cl/MEDIAEVAL18_00-00002_cl.txt",
            lambda text: "high" + text[text.index(",") :],
            "expected numbers",
        ),
    ],
)
def test_a_damaged_row_is_named(films, copy, file, edit, message):
    (copy / file).write_text(edit((copy / file).read_text()))
    with pytest.raises(FileFormatError, match=message):
        organisers(segments(films[1], seconds=1.0), copy, ("audio", "cl"))


def test_wrong_questions_are_named(films):
    root, corpus = films
    clips = segments(corpus, seconds=1.0)
    with pytest.raises(ValueError, match="no organisers' features vgg, there are audio, acc"):
        organisers(clips, root, ("vgg",))
    with pytest.raises(ValueError, match="cut into seconds first"):
        organisers(corpus, root)
    with pytest.raises(ValueError, match="'error' or 'zeros'"):
        organisers(clips, root, missing="mean")


def test_archives_that_are_not_there_are_named_and_so_is_a_series(films, copy, tmp_path):
    clips = segments(films[1], seconds=1.0)
    for name, archive in (("audio", "Audio_features"), ("cl", "Visual_features")):
        with pytest.raises(NotFoundError, match=rf"in the archives MEDIAEVAL18-...-{archive}\."):
            organisers(clips, tmp_path / "elsewhere", (name,))
    # With other series there, one that is not is a fault of the copy.
    shutil.rmtree(copy / LOOKS / "cl")
    with pytest.raises(
        FileFormatError, match=r"expected files MEDIAEVAL18_00-00001_cl.txt, ..., found none"
    ):
        organisers(clips, copy, ("cl",))


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_every_end_of_line_is_read(films, copy, end):
    clips = segments(films[1], seconds=1.0)
    expected = organisers(clips, copy, ("audio", "cl"))
    for pattern in ("*Audio*/**/*.csv", "*Visual*/**/*_cl.txt", "*/annotations/*.txt"):
        for path in copy.glob(pattern):
            path.write_bytes("\ufeff".encode() + path.read_bytes().replace(b"\n", end.encode()))
    assert load_mediaeval18(copy).annotations.equals(films[1].annotations)
    table = organisers(clips, copy, ("audio", "cl"))
    assert all(np.array_equal(table[name], expected[name]) for name in ("audio", "cl"))


@pytest.mark.parametrize(
    ("name", "file", "first"),
    [
        ("audio", SOUNDS + "/MEDIAEVAL18_00_00000.csv", "MEDIAEVAL18_00_00001.csv"),
        ("cl", LOOKS + "/cl/MEDIAEVAL18_00-00000_cl.txt", "MEDIAEVAL18_00-00001_cl.txt"),
    ],
)
def test_a_series_that_begins_at_0_is_refused_never_shifted(films, copy, name, file, first):
    shutil.copy((copy / file).with_name(first), copy / file)
    message = (
        rf"{(copy / file).name}: expected files that count from 1 \({first}\), found one numbered 0"
    )
    with pytest.raises(FileFormatError, match=message):
        organisers(segments(films[1], seconds=1.0), copy, (name,))


def test_folders_that_are_links_are_read(films, tmp_path):
    for folder in films[0].iterdir():
        if folder.is_dir():
            (tmp_path / "archives").mkdir(exist_ok=True)
            (tmp_path / "archives" / folder.name).symlink_to(folder, target_is_directory=True)
    corpus = load_mediaeval18(tmp_path)
    assert corpus.annotations.equals(films[1].annotations)
    assert corpus.clips["split"].tolist() == ["train", "train", "test"]
    table = organisers(segments(corpus, seconds=1.0), tmp_path, ("cl",))
    assert np.array_equal(
        table["cl"], organisers(segments(films[1], seconds=1.0), films[0], ("cl",))["cl"]
    )


def test_a_film_with_two_folders_of_features_is_refused(films, copy):
    shutil.copytree(copy / LOOKS, copy / "second" / "visual_features" / "MEDIAEVAL18_00")
    with pytest.raises(FileFormatError, match="expected one such folder, there is"):
        organisers(segments(films[1], seconds=1.0), copy, ("cl",))
