"""The contract of all loaders: they read the owners' layout, and refuse damage by file and row.

Every file is typed here in the form that the owners publish.
"""

import json
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from affectlib import corpora
from affectlib.corpora import (
    EKMAN6_CLASSES,
    HEIV_CLASSES,
    VIDEOEMOTION8_CLASSES,
    Corpus,
    CorpusFormatError,
    CorpusNotFoundError,
    counts,
)
from affectlib.errors import FileFormatError, NotFoundError

# Small corpora of tests are a part of the real one.
pytestmark = pytest.mark.filterwarnings("ignore:.*a part of the corpus")

# As long as the films of the fixture.
SECONDS = 4
# Videos of each class in a corpus of emotions: the first two train.
PER_CLASS = 3


@dataclass(frozen=True)
class Layout:
    """How one corpus lies on disk, and the places that the tests damage.

    Args:
        load: its loader
        write: writes the corpus below a folder; takes the folder and the bytes of a film
        clips: names of its clips, in order
        hurt: the clip that is damaged
        film: file of that clip's picture
        film_faults: kinds of damage to that file
        table: the annotation that is damaged, None if the corpus has none in text
        row: a row of that clip in the table, counted from 1
        column: of a value in that row, counted from 0; the columns before it are not enough
        delimiter: between the cells
        too_large: a value out of range
        shared: True if the table is of all clips, so that nothing is left without it
    """

    load: Callable[..., Corpus]
    write: Callable[[Path, bytes], None]
    clips: tuple[str, ...]
    hurt: str
    film: str
    film_faults: tuple[str, ...] = ("absent", "empty", "cut", "front", "rubbish", "sound")
    table: str | None = None
    row: int = 3
    column: int = 0
    delimiter: str = "\t"
    too_large: str = ""
    shared: bool = True


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def put_film(path, film):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(film)


def lines(rows):
    return "".join(row + "\n" for row in rows)


# ---------------------------------------------------------------- the layouts


def write_afew_va(root, film):
    for clip in ("001", "002", "003"):
        frames = {}
        for number in range(6):
            picture = np.full((48, 60, 3), 10 * number, np.uint8)
            (root / clip).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / clip / f"{number:05d}.png"), picture)
            points = [[20 + 19 * (n % 2), 14 + 19 * (n // 2 % 2)] for n in range(68)]
            frames[f"{number:05d}"] = {"landmarks": points, "arousal": 1.0, "valence": -2.0}
        content = {"actor": "Ann", "video_id": f"video {clip}", "frames": frames}
        put(root / clip / f"{clip}.json", json.dumps(content))


def write_cognimuse(root, film):
    for code in ("BMI", "GLA", "MDB"):
        put_film(root / code / f"{code}.mp4", film)
        rows = []
        for i in range(25 * SECONDS):
            rows.append(f"{i / 25:.2f} {0.005 * i:.3f} {-0.94 + 0.01 * i:.3f}")
        put(root / code / "emotion" / "intended_1.dat", lines(rows))


LIRIS_CLIPS = tuple(f"ACCEDE{i:05d}" for i in range(4))
EIMT16_CLIPS = tuple(f"MEDIAEVAL16_{i:05d}" for i in range(3))
MEDIAEVAL15_CLIPS = tuple(f"MEDIAEVAL{i:05d}" for i in range(2))


def description(clips):
    media = []
    for i, clip in enumerate(clips):
        media.append(
            f"<media><id>{i}</id><name>{clip}.mp4</name><license>CC</license>"
            f"<movie>Film_{clip[:-5]}_{i // 2}.mp4</movie><start>0</start><end>12</end></media>"
        )
    return f"<library>{''.join(media)}</library>"


def write_liris_discrete(root, film):
    head = "id name valenceRank arousalRank valenceValue arousalValue valenceVariance "
    ranking = [head + "arousalVariance"]
    sets = ["id name set"]
    for i, clip in enumerate(LIRIS_CLIPS):
        put_film(root / "data" / f"{clip}.mp4", film)
        ranking.append(f"{i} {clip}.mp4 {i} {i} {2 + i / 10} {3 - i / 10} 0.1 0.1")
        sets.append(f"{i} {clip}.mp4 {(1, 1, 2, 0)[i]}")
    put(root / "annotations" / "ACCEDEranking.txt", lines(ranking).replace(" ", "\t"))
    put(root / "annotations" / "ACCEDEsets.txt", lines(sets).replace(" ", "\t"))
    put(root / "ACCEDEdescription.xml", description(LIRIS_CLIPS))


def write_eimt16(root, film):
    write_liris_discrete(root, film)
    rows = []
    for i, clip in enumerate(EIMT16_CLIPS):
        put_film(root / "data" / f"{clip}.mp4", film)
        rows.append(f"{clip}.mp4\t3.1\t2.{i}")
    put(root / "MEDIAEVAL16-Global_prediction.txt", lines(rows))


def write_mediaeval15(root, film):
    for prefix, clips in (("ACCEDE", LIRIS_CLIPS), ("MEDIAEVAL", MEDIAEVAL15_CLIPS)):
        rows = ["id\tname\tvalenceClass\tarousalClass"]
        for i, clip in enumerate(clips):
            put_film(root / "data" / f"{clip}.mp4", film)
            rows.append(f"{i}\t{clip}.mp4\t{i % 3 - 1}\t{-1}")
        put(root / "annotations" / f"{prefix}affect.txt", lines(rows))
        put(root / f"{prefix}description.xml", description(clips))
    sets = {"devset": LIRIS_CLIPS[:3], "testset": (LIRIS_CLIPS[3], *MEDIAEVAL15_CLIPS)}
    for name, clips in sets.items():
        rows = [f"SHOT_{i:06d}\t{clip}.mp4" for i, clip in enumerate(clips)]
        put(root / "mapping" / f"shots-{name}-nl.txt", lines(rows))


def write_mediaeval18(root, film):
    for number, part in (("00", "DevSet-Part1"), ("53", "DevSet-Part3"), ("54", "TestSet")):
        clip = f"MEDIAEVAL18_{number}"
        put_film(root / f"{clip}.mp4", film)
        rows = ["Time\tValence\tArousal"]
        rows += [f"{second}\t0.1\t-0.{second}" for second in range(SECONDS)]
        archive = f"MEDIAEVAL18-{part}-Valence_Arousal-annotations"
        put(root / archive / "annotations" / f"{clip}_Valence-Arousal.txt", lines(rows))


def write_liris_continuous(root, film):
    for movie in ("Islands", "Norm"):
        put_film(root / f"{movie}.mp4", film)
        for label in ("Valence", "Arousal"):
            rows = ["Time\tMean\tStd"]
            rows += [f"{second}\t0.{second}\t0.0485" for second in range(SECONDS)]
            put(root / "continuous-annotations" / f"{movie}_{label}.txt", lines(rows))


def write_heiv(root, film):
    for emotion in HEIV_CLASSES:
        for video in range(1, PER_CLASS + 1):
            split = "train" if video < PER_CLASS else "test"
            put_film(root / split / emotion / f"{video}.mp4", film)


def write_classes(root, film, classes, list_name):
    """Folders of classes, and lists to train and to test on."""
    train = []
    test = []
    for number, emotion in enumerate(classes, start=1):
        for video in range(1, PER_CLASS + 1):
            put_film(root / emotion / f"{video}.mp4", film)
            if video < PER_CLASS:
                train.append(f"{emotion}/{video} {number}")
            else:
                test.append(f"{emotion}/{video}")
    put(root / f"train{list_name}.txt", lines(train))
    put(root / f"test{list_name}.txt", lines(test))


def videos_of(classes):
    return tuple(f"{emotion}/{video}" for emotion in classes for video in range(1, PER_CLASS + 1))


def heiv_clips():
    """The videos of HEIV in the order of its folders: train first."""
    train = [clip for clip in videos_of(HEIV_CLASSES) if not clip.endswith(str(PER_CLASS))]
    test = [clip for clip in videos_of(HEIV_CLASSES) if clip.endswith(str(PER_CLASS))]
    return (*train, *test)


VIDEO_FAULTS = ("empty", "cut", "front", "rubbish", "sound")
LAYOUTS = {
    "afew_va": Layout(
        corpora.load_afew_va,
        write_afew_va,
        clips=("001", "002", "003"),
        hurt="002",
        film="002/00003.png",
        film_faults=("absent", "empty", "cut", "rubbish"),
    ),
    "cognimuse": Layout(
        corpora.load_cognimuse,
        write_cognimuse,
        clips=("BMI", "GLA", "MDB"),
        hurt="GLA",
        film="GLA/GLA.mp4",
        table="GLA/emotion/intended_1.dat",
        column=2,
        delimiter=" ",
        too_large="1.7",
        shared=False,
    ),
    "liris_discrete": Layout(
        corpora.load_liris_discrete,
        write_liris_discrete,
        clips=LIRIS_CLIPS,
        hurt="ACCEDE00001",
        film="data/ACCEDE00001.mp4",
        table="annotations/ACCEDEranking.txt",
        column=5,
        too_large="7.1",
    ),
    "eimt16": Layout(
        corpora.load_eimt16,
        write_eimt16,
        clips=(*LIRIS_CLIPS, *EIMT16_CLIPS),
        hurt="MEDIAEVAL16_00002",
        film="data/MEDIAEVAL16_00002.mp4",
        table="MEDIAEVAL16-Global_prediction.txt",
        column=2,
        too_large="7.1",
    ),
    "mediaeval15": Layout(
        corpora.load_mediaeval15,
        write_mediaeval15,
        clips=(*LIRIS_CLIPS, *MEDIAEVAL15_CLIPS),
        hurt="ACCEDE00001",
        film="data/ACCEDE00001.mp4",
        table="annotations/ACCEDEaffect.txt",
        column=3,
        too_large="2",
    ),
    "mediaeval18": Layout(
        corpora.load_mediaeval18,
        write_mediaeval18,
        clips=("MEDIAEVAL18_00", "MEDIAEVAL18_53", "MEDIAEVAL18_54"),
        hurt="MEDIAEVAL18_00",
        film="MEDIAEVAL18_00.mp4",
        table=(
            "MEDIAEVAL18-DevSet-Part1-Valence_Arousal-annotations/annotations/"
            "MEDIAEVAL18_00_Valence-Arousal.txt"
        ),
        column=2,
        too_large="1.7",
        shared=False,
    ),
    "liris_continuous": Layout(
        corpora.load_liris_continuous,
        write_liris_continuous,
        clips=("Islands", "Norm"),
        hurt="Islands",
        film="Islands.mp4",
        table="continuous-annotations/Islands_Arousal.txt",
        column=1,
        too_large="1.2",
        shared=False,
    ),
    "heiv": Layout(
        corpora.load_heiv,
        write_heiv,
        clips=heiv_clips(),
        hurt="disgust/2",
        film="train/disgust/2.mp4",
        film_faults=VIDEO_FAULTS,
    ),
    "ekman6": Layout(
        corpora.load_ekman6,
        lambda root, film: write_classes(root, film, EKMAN6_CLASSES, "list"),
        clips=videos_of(EKMAN6_CLASSES),
        hurt="disgust/2",
        film="disgust/2.mp4",
        film_faults=VIDEO_FAULTS,
        table="trainlist.txt",
        row=4,
        column=1,
        delimiter=" ",
        too_large="99",
    ),
    "videoemotion8": Layout(
        corpora.load_videoemotion8,
        lambda root, film: write_classes(root, film, VIDEOEMOTION8_CLASSES, "list01"),
        clips=videos_of(VIDEOEMOTION8_CLASSES),
        hurt="Anticipation/2",
        film="Anticipation/2.mp4",
        film_faults=VIDEO_FAULTS,
        table="trainlist01.txt",
        row=4,
        column=1,
        delimiter=" ",
        too_large="99",
    ),
}
WITH_TABLE = [name for name, layout in LAYOUTS.items() if layout.table]
WITHOUT_FILMS = (
    "cognimuse",
    "liris_discrete",
    "eimt16",
    "mediaeval15",
    "liris_continuous",
)


def written(name, folder, films):
    """Writes a corpus; returns its layout and its root."""
    layout = LAYOUTS[name]
    layout.write(folder / "corpus", films["whole"])
    return layout, folder / "corpus"


every_loader = pytest.mark.parametrize("name", LAYOUTS)


# ---------------------------------------------------------------- reading


@every_loader
def test_the_owners_layout_is_read(name, films, tmp_path):
    layout, root = written(name, tmp_path, films)
    corpus = layout.load(root)
    assert corpus.name == name
    assert tuple(corpus.clips["clip"]) == layout.clips
    assert all(Path(path).exists() for path in corpus.clips["path"])
    expected_seconds = 6 / 25 if name == "afew_va" else SECONDS
    assert corpus.clips["seconds"].tolist() == pytest.approx(
        [expected_seconds] * len(corpus), abs=0.1
    )
    if "valence" in corpus.clips:
        assert corpus.clips[["valence", "arousal"]].notna().all(axis=None)
    else:
        assert set(corpus.clips["emotion"]) == set(corpus.labels)
    assert set(corpus.annotations["clip"]) == (set(layout.clips) if corpus.hertz else set())
    assert not corpus.simulated
    assert corpus.skipped == ()


@every_loader
def test_a_mark_tells_simulated_files(name, films, tmp_path):
    layout, root = written(name, tmp_path, films)
    (root / "SIMULATED.json").write_text("{}")
    assert layout.load(root).simulated


@pytest.mark.parametrize("name", WITHOUT_FILMS)
def test_films_are_not_needed_for_the_annotations(name, films, tmp_path):
    layout, root = written(name, tmp_path, films)
    with_films = layout.load(root)
    for path in root.rglob("*.mp4"):
        path.unlink()
    corpus = layout.load(root, films=False)
    assert set(corpus.clips["path"]) == {""}
    columns = ["clip", "group", "split", "valence", "arousal"]
    assert corpus.clips[columns].equals(with_films.clips[columns])


@pytest.mark.parametrize("name", WITH_TABLE)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_every_end_of_line_and_a_byte_order_mark_are_read(name, end, mark, films, tmp_path):
    layout, root = written(name, tmp_path, films)
    expected = layout.load(root)
    for path in [*root.rglob("*.txt"), *root.rglob("*.dat")]:
        text = mark + path.read_text().replace("\n", end)
        path.write_bytes(text.encode())
    corpus = layout.load(root)
    assert corpus.clips.equals(expected.clips)
    assert corpus.annotations.equals(expected.annotations)


@every_loader
def test_linked_folders_are_read(name, films, tmp_path):
    layout, root = written(name, tmp_path, films)
    linked = tmp_path / "linked"
    linked.mkdir()
    for entry in root.iterdir():
        (linked / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    assert tuple(layout.load(linked).clips["clip"]) == layout.clips


# ---------------------------------------------------------------- refusing


@every_loader
@pytest.mark.parametrize("place", ["absent", "holiday"])
def test_a_missing_corpus_says_where_to_ask(name, place, tmp_path):
    (tmp_path / "holiday" / "pictures").mkdir(parents=True)
    with pytest.raises(NotFoundError, match=r"looked .*Ask for (it|them) at") as caught:
        LAYOUTS[name].load(tmp_path / place)
    assert str(tmp_path / place) in str(caught.value)


@every_loader
def test_on_error_is_checked(name, tmp_path):
    with pytest.raises(ValueError, match="on_error is 'raise' or 'skip', not 'ignore'"):
        LAYOUTS[name].load(tmp_path, on_error="ignore")


def damage_film(path, kind, films):
    content = path.read_bytes()
    path.unlink()
    damaged = {
        "absent": None,
        "empty": b"",
        "cut": content[: len(content) // 2],
        "front": films["front"][:-3000],
        "rubbish": b"no film at all " * 99,
        "sound": films["sound"],
    }[kind]
    if damaged is not None:
        path.write_bytes(damaged)


def film_cases():
    for name, layout in LAYOUTS.items():
        for kind in layout.film_faults:
            yield pytest.param(name, kind, id=f"{name}-{kind}")


@pytest.mark.parametrize(("name", "kind"), film_cases())
def test_a_damaged_film_is_named_or_its_clip_is_skipped(name, kind, films, tmp_path):
    layout, root = written(name, tmp_path, films)
    damage_film(root / layout.film, kind, films)
    with pytest.raises(FileFormatError) as caught:
        layout.load(root)
    assert caught.value.path == root / layout.film
    assert str(root / layout.film) in str(caught.value)
    assert_skipped(layout, root)


def assert_skipped(layout, root):
    """The damaged clip, and no other one, is dropped and listed."""
    corpus = layout.load(root, on_error="skip")
    assert tuple(corpus.clips["clip"]) == tuple(c for c in layout.clips if c != layout.hurt)
    assert layout.hurt not in set(corpus.annotations["clip"])
    assert len(corpus.skipped) == 1
    assert corpus.skipped[0].startswith(f"{layout.hurt}: ")


def cell(value):
    """Damage to one value of one row."""

    def change(layout, rows):
        cells = rows[layout.row - 1].split(layout.delimiter)
        cells[layout.column] = layout.too_large if value is None else value
        rows[layout.row - 1] = layout.delimiter.join(cells)
        return rows

    return change


def cut_row(layout, rows):
    rows[layout.row - 1] = rows[layout.row - 1].rpartition(layout.delimiter)[0]
    return rows


def repeat_row(layout, rows):
    return [*rows[: layout.row], *rows[layout.row - 1 :]]


# Kind of damage to a row: what is done, and by how many rows below the damaged one it is noticed.
ROW_FAULTS = {
    "nan": (cell("nan"), 0),
    "text": (cell("high"), 0),
    "infinite": (cell("inf"), 0),
    "out of range": (cell(None), 0),
    "cut": (cut_row, 0),
    "repeated": (repeat_row, 1),
}


@pytest.mark.parametrize("name", WITH_TABLE)
@pytest.mark.parametrize("kind", ROW_FAULTS)
def test_a_damaged_row_is_named_or_its_clip_is_skipped(name, kind, films, tmp_path):
    layout, root = written(name, tmp_path, films)
    change, below = ROW_FAULTS[kind]
    path = root / layout.table
    path.write_text(lines(change(layout, path.read_text().splitlines())))
    with pytest.raises(FileFormatError) as caught:
        layout.load(root)
    assert (caught.value.path, caught.value.row) == (path, layout.row + below)
    assert f"{path}, row {layout.row + below}: expected" in str(caught.value)
    assert_skipped(layout, root)


@pytest.mark.parametrize("name", WITH_TABLE)
def test_a_missing_column_is_named_by_the_first_row(name, films, tmp_path):
    layout, root = written(name, tmp_path, films)
    path = root / layout.table
    rows = []
    for row in path.read_text().splitlines():
        rows.append(layout.delimiter.join(row.split(layout.delimiter)[: layout.column]))
    path.write_text(lines(rows))
    with pytest.raises(FileFormatError) as caught:
        layout.load(root)
    assert (caught.value.path, caught.value.row) == (path, 1)


@pytest.mark.parametrize("name", WITH_TABLE)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\xff\xfe\x00\x81" * 9, "expected text in UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_named(name, content, message, films, tmp_path):
    layout, root = written(name, tmp_path, films)
    path = root / layout.table
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        layout.load(root)
    assert caught.value.path == path
    if layout.shared:
        with pytest.raises(FileFormatError, match=message):
            layout.load(root, on_error="skip")
    else:
        assert_skipped(layout, root)


@every_loader
def test_a_corpus_of_which_nothing_is_left_is_an_error_even_when_skipping(name, films, tmp_path):
    layout, root = written(name, tmp_path, films)
    for path in [*root.rglob("*.mp4"), *root.rglob("*.png")]:
        path.write_bytes(b"")
    with pytest.raises(FileFormatError, match=r"the file is empty|expected a whole png"):
        layout.load(root, on_error="skip")


# ---------------------------------------------------------------- counting


@every_loader
def test_a_part_of_a_corpus_is_called_a_part_at_the_line_of_the_caller(name, films, tmp_path):
    layout, root = written(name, tmp_path, films)
    with pytest.warns(UserWarning, match=rf"^{name}: .* are published, .*: a part of") as caught:
        corpus = layout.load(root)
    assert [warning.filename for warning in caught] == [__file__]
    table = counts(corpus)
    assert (table["found"] <= table["published"]).all()
    (root / "SIMULATED.json").write_text("{}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layout.load(root)


# ---------------------------------------------------------------- errors


def test_the_earlier_names_of_the_errors_are_the_same_classes():
    assert CorpusFormatError is FileFormatError
    assert CorpusNotFoundError is NotFoundError
    assert issubclass(FileFormatError, ValueError)
    assert issubclass(NotFoundError, FileNotFoundError)


def test_a_format_error_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(FileFormatError("a.dat", "expected a number", row=7)))
    assert str(error) == "a.dat, row 7: expected a number"
    assert (error.path, error.row) == (Path("a.dat"), 7)


def test_a_file_name_cannot_command_a_terminal():
    error = FileFormatError("x\x1b[2J\ny ü.mp4", "expected a film")
    assert str(error) == "x\\x1b[2J\\ny ü.mp4: expected a film"
