import shutil
from pathlib import Path

import numpy as np
import pytest

from affectlib.corpora import (
    CorpusFormatError,
    CorpusNotFoundError,
    load_mediaeval15,
    load_mediaeval18,
    segments,
)
from affectlib.corpora.mediaeval import PARTS
from affectlib.features import organisers
from affectlib.features.organisers import SIZES
from affectlib.simulate import make_mediaeval15, make_mediaeval18
from affectlib.simulate.mediaeval import describe

NOTES = "MEDIAEVAL18-DevSet-Part1-Valence_Arousal-annotations/annotations/MEDIAEVAL18_00_Valence-Arousal.txt"
SOUNDS = "MEDIAEVAL18-DevSet-Part1-Audio_features/audio_features/MEDIAEVAL18_00"
LOOKS = "MEDIAEVAL18-DevSet-Part1-Visual_features/visual_features/MEDIAEVAL18_00"


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    return root, make_mediaeval18(root, n_films=3, seconds=6, seed=1, jobs=1)


@pytest.fixture(scope="module")
def excerpts(tmp_path_factory):
    root = tmp_path_factory.mktemp("excerpts")
    return root, make_mediaeval15(root, n_clips=12, seconds=(2, 3), jobs=1)


@pytest.fixture
def copy(films, tmp_path):
    return shutil.copytree(films[0], tmp_path / "copy")


def renumber(root, new):
    """Film 00 under another number."""
    for path in sorted(root.rglob("*MEDIAEVAL18_00*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.replace("_00", f"_{new}", 1)))


# films


def test_films_have_the_official_numbers_and_sets(films):
    clips = films[1].clips
    assert clips["clip"].tolist() == ["MEDIAEVAL18_00", "MEDIAEVAL18_53", "MEDIAEVAL18_54"]
    assert (
        clips["split"].tolist() == ["train", "train", "test"]
        and films[1].simulated
        and films[1].hertz == 1
    )
    assert [len(numbers) for numbers in PARTS.values()] == [14, 30, 10, 12]


def test_annotations_are_the_file_s_rows(films):
    root, corpus = films
    rows = [line.split("\t") for line in (root / NOTES).read_text().splitlines()[1:]]
    read = corpus.annotations[corpus.annotations["clip"] == "MEDIAEVAL18_00"]
    assert (
        np.allclose(read[["time", "valence", "arousal"]], np.array(rows, float)) and len(rows) == 6
    )


def test_columns_are_found_by_name_not_by_place(films, copy):
    lines = [line.split("\t") for line in (copy / NOTES).read_text().splitlines()]
    (copy / NOTES).write_text("\n".join("\t".join((a, t, v)) for t, v, a in lines))
    assert load_mediaeval18(copy).annotations.equals(films[1].annotations)


def test_a_file_of_2017_is_told_apart(copy):
    rows = ["Segment\tTime\tMeanValence\tMeanArousal", "0\t0\t0.1\t-0.2"]
    for path in copy.glob("*/annotations/*.txt"):
        path.write_text("\n".join(rows))
    with pytest.raises(
        CorpusFormatError, match=r"Arousal.txt, row 1: expected annotations of 2018.*edition=2017"
    ):
        load_mediaeval18(copy)
    with pytest.warns(UserWarning, match="annotated from 0 to 10 s, the film has 6 s"):
        corpus = load_mediaeval18(copy, edition=2017)
    assert corpus.name == "mediaeval17" and corpus.hertz == 0.2
    assert corpus.annotations[["time", "valence", "arousal"]].drop_duplicates().values.tolist() == [
        [0, 0.1, -0.2]
    ]


def test_a_file_of_2018_is_not_read_as_2017(films):
    with pytest.raises(
        CorpusFormatError, match="expected annotations of 2017, found those of 2018"
    ):
        load_mediaeval18(films[0], edition=2017)
    with pytest.raises(ValueError, match="2018 or 2017"):
        load_mediaeval18(films[0], edition=2016)


def edit(line, text):
    def damage(root):
        lines = (root / NOTES).read_text().splitlines()
        lines[line - 1] = text
        (root / NOTES).write_text("\n".join(lines))

    return damage


def cut_film(root):
    path = next(root.glob("*/data/MEDIAEVAL18_00.mp4"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            edit(3, "1\tnan\t0"),
            r"00_Valence-Arousal.txt, row 3: expected valence as a number in \[-1, 1\], found 'nan'",
        ),
        (edit(3, "1\t0\t1.7"), r"row 3: expected arousal .* found '1.7'"),
        (
            edit(4, "0\t0\t0"),
            r"row 4: expected time to increase by 1 s from row to row, found 0 s after 1 s",
        ),
        (
            edit(4, "7\t0\t0"),
            r"row 4: expected time to increase by 1 s from row to row, found 7 s after 1 s",
        ),
        (edit(5, "3\t0"), r"row 5: expected 3 columns, found 2"),
        (
            edit(1, "Time\tValence\tLiking"),
            r"row 1: expected one column each of time, valence and arousal, found Time",
        ),
        (lambda root: (root / NOTES).write_text(""), "expected rows, the file is empty"),
        (
            lambda root: (root / NOTES).write_text("Time\tValence\tArousal\n0\t0\t0\n1\t0\t0\n"),
            r"row 3: expected rows up to the film's end at 6 s, the last is at 1 s",
        ),
        (
            lambda root: (root / NOTES).write_text("Time\tValence\tArousal\n4\t0\t0\n5\t0\t0\n"),
            r"00_Valence-Arousal.txt, row 2: expected rows from the film's start on, the first is at 4 s",
        ),
        (
            lambda root: next(root.glob("*/data/MEDIAEVAL18_00.mp4")).unlink(),
            "MEDIAEVAL18_00.mp4: expected this film",
        ),
        (
            lambda root: next(root.glob("*/data/MEDIAEVAL18_00.mp4")).write_bytes(b""),
            "the file is empty",
        ),
        (cut_film, "MEDIAEVAL18_00.mp4: expected a"),
    ],
)
def test_damage_is_named_or_the_film_is_dropped(copy, damage, message):
    damage(copy)
    with pytest.raises(CorpusFormatError, match=message):
        load_mediaeval18(copy)
    kept = load_mediaeval18(copy, on_error="skip")
    assert (
        kept.clips["clip"].tolist() == ["MEDIAEVAL18_53", "MEDIAEVAL18_54"]
        and len(kept.skipped) == 1
    )


def test_film_46_of_the_real_corpus_is_cut_and_reported(copy):
    renumber(copy, "46")
    notes = copy / NOTES.replace("_00_", "_46_")
    notes.write_text("\n".join(notes.read_text().splitlines()[:3]))
    with pytest.warns(
        UserWarning, match="MEDIAEVAL18_46: annotated from 0 to 2 s, the film has 6 s; .* 4 s lost"
    ):
        corpus = load_mediaeval18(copy)
    assert (corpus.annotations["clip"] == "MEDIAEVAL18_46").sum() == 2


def test_film_46_may_lack_its_start_too(copy):
    renumber(copy, "46")
    notes = copy / NOTES.replace("_00_", "_46_")
    lines = notes.read_text().splitlines()
    notes.write_text("\n".join([lines[0], *lines[-2:]]))
    with pytest.warns(
        UserWarning, match="MEDIAEVAL18_46: annotated from 4 to 6 s, the film has 6 s; .* 4 s lost"
    ):
        corpus = load_mediaeval18(copy)
    assert segments(corpus, seconds=1.0).clips.query("source == 'MEDIAEVAL18_46'")[
        "start"
    ].tolist() == [4, 5]


def test_an_annotation_longer_than_its_film_is_cut_and_reported(copy):
    with open(copy / NOTES, "a") as file:
        file.writelines(f"{second}\t0\t0\n" for second in range(6, 9))
    with pytest.warns(UserWarning, match="to 9 s, the film has 6 s; cut to the shorter, 3 s lost"):
        assert len(load_mediaeval18(copy).annotations) == 18


def test_another_folder_is_not_this_corpus(tmp_path):
    for load in (load_mediaeval18, load_mediaeval15):
        with pytest.raises(
            CorpusNotFoundError, match=r"MediaEval 201\d at .*looked .*for.*liris-accede"
        ):
            load(tmp_path)


# the organisers' features


def test_every_second_has_the_values_of_its_files(films):
    root, corpus = films
    table = organisers(segments(corpus, seconds=1.0), root)
    assert (
        table.sizes == SIZES
        and len(table) == 18
        and table.simulated
        and not table.missing
        and not table.skipped
    )
    row = table.clips.index("MEDIAEVAL18_00:0003")  # from 3 s on: file number 4
    cells = (root / LOOKS / "acc" / "MEDIAEVAL18_00-00004_acc.txt").read_text().split(",")
    assert np.allclose(table["acc"][row], [float(cell) for cell in cells])
    arff = (root / SOUNDS / "MEDIAEVAL18_00_00004.csv").read_text()
    assert arff.count("@attribute") == 1584
    assert np.allclose(
        table["audio"][row], [float(cell) for cell in arff.split("@data")[1].split(",")[1:-1]]
    )


def test_features_describe_their_picture():
    dark, light = np.full((90, 160, 3), 30, np.uint8), np.full((90, 160, 3), 220, np.uint8)
    stripes = np.repeat(np.tile(np.uint8([0, 255]).repeat(8), 10)[None, :], 90, 0)[
        ..., None
    ].repeat(3, 2)
    assert describe(dark)["cl"][0] < describe(light)["cl"][0]
    edges = describe(np.ascontiguousarray(stripes))["eh"].reshape(16, 5)
    assert (edges[:, 0] > 0.2).all() and edges[:, 1:4].max() < 0.05  # upright edges only
    for name, values in describe(stripes).items():
        assert values.shape == (SIZES[name],) and np.isfinite(values).all()


def test_a_series_that_ends_early_cuts_the_film_and_is_reported(films, copy):
    for second in (5, 6):
        (copy / LOOKS / "cl" / f"MEDIAEVAL18_00-{second:05d}_cl.txt").unlink()
    with pytest.warns(
        UserWarning, match="1 series differ from their annotation in length.*2 s lost"
    ):
        table = organisers(segments(films[1], seconds=1.0), copy, ("cl", "sc"))
    assert len(table) == len(table["sc"]) == 16 and "MEDIAEVAL18_00:0004" not in table.clips
    assert table.skipped == ("MEDIAEVAL18_00: cl ends 2 s before the annotation",)


def test_a_series_longer_than_the_annotation_is_reported(films, copy):
    folder = copy / LOOKS / "cl"
    shutil.copy(folder / "MEDIAEVAL18_00-00001_cl.txt", folder / "MEDIAEVAL18_00-00007_cl.txt")
    with pytest.warns(UserWarning, match="0 s lost"):
        table = organisers(segments(films[1], seconds=1.0), copy, ("cl",))
    assert len(table) == 18 and table.skipped == (
        "MEDIAEVAL18_00: cl ends 1 s after the annotation",
    )


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("")])
def test_a_second_without_a_value_is_named_or_listed(films, copy, damage):
    damage(copy / LOOKS / "cl" / "MEDIAEVAL18_00-00002_cl.txt")
    clips = segments(films[1], seconds=1.0)
    with pytest.raises(
        CorpusFormatError,
        match=r"MEDIAEVAL18_00-00002_cl.txt, row 1: expected 33 values of second 2",
    ):
        organisers(clips, copy, ("cl",))
    with pytest.warns(UserWarning, match="1 seconds of 1 films have no cl; zeros"):
        table = organisers(clips, copy, ("cl",), missing="zeros")
    assert (
        table.missing == {"cl": ("MEDIAEVAL18_00:0001",)}
        and not table["cl"][1].any()
        and table["cl"][2].any()
    )


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
    assert table.missing == {name: (f"MEDIAEVAL18_{film}:{second - 1:04d}",)} and len(table) == 18


def test_a_known_series_that_ends_early_cuts_the_film_as_any_other(copy):
    (copy / LOOKS / "jcd" / "MEDIAEVAL18_00-00006_jcd.txt").unlink()
    renumber(copy, "18")
    with pytest.warns(
        UserWarning, match="1 series differ from their annotation in length.*1 s lost"
    ):
        table = organisers(segments(load_mediaeval18(copy), seconds=1.0), copy, ("jcd", "cl"))
    assert len(table) == 17 and table.skipped == (
        "MEDIAEVAL18_18: jcd ends 1 s before the annotation",
    )
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
    with pytest.raises(CorpusFormatError, match=message):
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
    with pytest.raises(
        CorpusFormatError, match=r"expected files MEDIAEVAL18_00-00001_cl.txt, ..., found none"
    ):
        organisers(clips, root / "elsewhere", ("cl",))


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
    with pytest.raises(CorpusFormatError, match=message):
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


def test_merged_archives_keep_the_official_sets(films, tmp_path):
    for path in films[0].rglob("*"):
        if path.suffix == ".mp4" or path.name.endswith("Arousal.txt"):
            shutil.copy(path, tmp_path)
    assert load_mediaeval18(tmp_path).clips["split"].tolist() == ["train", "train", "test"]


def test_a_film_with_two_folders_of_features_is_refused(films, copy):
    shutil.copytree(copy / LOOKS, copy / "second" / "visual_features" / "MEDIAEVAL18_00")
    with pytest.raises(CorpusFormatError, match="expected one such folder, there is"):
        organisers(segments(films[1], seconds=1.0), copy, ("cl",))


# excerpts with classes


def test_classes_and_official_sets(excerpts):
    corpus = excerpts[1]
    assert corpus.clips["split"].value_counts().to_dict() == {
        "train": 8,
        "test": 4,
    } and corpus.value_range == (-1, 1)
    assert set(corpus.clips["valence"]) == set(corpus.clips["arousal"]) == {-1, 0, 1}
    assert (
        corpus.clips.groupby("group")["split"].nunique().max() == 1
        and corpus.clips["group"].nunique() == 3
    )


@pytest.mark.parametrize(
    ("name", "line", "text", "message"),
    [
        (
            "ACCEDEaffect.txt",
            3,
            "1\tACCEDE00001.mp4\t2\t0",
            "ACCEDEaffect.txt, row 3: expected valenceClass -1, 0 or 1",
        ),
        ("ACCEDEaffect.txt", 3, "1\tACCEDE00001.mp4\t0.5\t0", "found '0.5'"),
        ("ACCEDEaffect.txt", 3, "1\tACCEDE00000.mp4\t0\t0", "row 3: expected each name once"),
    ],
)
def test_damaged_classes_are_named(excerpts, tmp_path, name, line, text, message):
    root = shutil.copytree(excerpts[0], tmp_path / "copy")
    lines = (root / "annotations" / name).read_text().splitlines()
    lines[line - 1] = text
    (root / "annotations" / name).write_text("\n".join(lines))
    with pytest.raises(CorpusFormatError, match=message):
        load_mediaeval15(root)
    assert len(load_mediaeval15(root, on_error="skip")) < 12


def test_the_simulator_writes_the_official_layout(excerpts):
    root = excerpts[0]
    assert (
        (root / "MEDIAEVAL-mapping/shots-devset-nl.txt")
        .read_text()
        .startswith("SHOT_000000\tACCEDE00000.mp4\n")
    )
    sets = (root / "annotations/MEDIAEVALsets.txt").read_text().splitlines()
    assert (
        sets[0] == "id\tname\tset"
        and len(sets) == 5
        and all(row.endswith("\t0") for row in sets[1:])
    )
    assert (root / "ACCEDEdescription.xml").is_file() and (
        root / "MEDIAEVALdescription.xml"
    ).is_file()


# the simulator


def test_features_are_written_as_asked_and_the_rest_stays_the_same(films, tmp_path):
    small = make_mediaeval18(tmp_path, n_films=3, seconds=6, seed=1, features=("cl",), jobs=1)
    assert small.annotations.equals(films[1].annotations)
    assert not list(tmp_path.glob("*Audio*")) and len(list(tmp_path.rglob("*_cl.txt"))) == 18


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_films": 2}, "between 3 and 66"),
        ({"features": ("vgg",)}, "unknown features vgg"),
        ({"snr": {"taste": 1}}, "snr knows sound"),
        ({"seconds": 0.5}, "at least 1"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_mediaeval18(tmp_path, **arguments)
    with pytest.raises(ValueError, match="at least 12"):
        make_mediaeval15(tmp_path, n_clips=3)
