"""Every loader reads the real layout and refuses the same kinds of damage, by file and row."""

import pickle
from pathlib import Path

import av
import numpy as np
import pytest

from affectlib.corpora import (
    CorpusFormatError,
    CorpusNotFoundError,
    load_cognimuse,
    load_eimt16,
    load_liris_discrete,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*a part of the corpus"
)  # as small corpora of tests are

HERTZ, SECONDS = 25, 1


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """Bytes of a film of one second: as usual, with its index in front, and of sound alone."""
    folder = tmp_path_factory.mktemp("films")

    def encode(name, *, frames=12, **options):
        with av.open(str(folder / name), "w", options=options) as container:
            if frames:
                stream = container.add_stream("libx264", rate=12)
                stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
                pictures = np.random.default_rng(0).integers(
                    0, 255, (frames, 48, 64, 3), dtype=np.uint8
                )
                coded = [
                    stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
                    for picture in pictures
                ]
            else:
                stream = container.add_stream("aac", rate=16000, layout="mono")
                sound = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
                )
                sound.sample_rate = 16000
                coded = [stream.encode(sound)]
            for packets in [*coded, stream.encode()]:
                container.mux(packets)
        return (folder / name).read_bytes()

    return {
        "whole": encode("whole.mp4"),
        "front": encode("front.mp4", movflags="faststart"),
        "sound": encode("sound.mp4", frames=0),
    }


class Cognimuse:
    load = staticmethod(load_cognimuse)
    annotation, film, hurt = "GLA/emotion/intended_1.dat", "GLA/GLA.mp4", "GLA"
    clips = ("BMI", "GLA", "MDB")
    delimiter, header = " ", 0
    too_large = "1.7"

    @staticmethod
    def write(root, film):
        for code in Cognimuse.clips:
            (root / code / "emotion").mkdir(parents=True)
            (root / code / f"{code}.mp4").write_bytes(film)
            rows = [
                f"{i / HERTZ:.2f} {0.01 * i:.3f} {-0.94 + 0.02 * i:.3f}"
                for i in range(HERTZ * SECONDS)
            ]
            (root / code / "emotion" / "intended_1.dat").write_text("\n".join(rows) + "\n")


class Liris:
    load = staticmethod(load_liris_discrete)
    annotation, film, hurt = "annotations/ACCEDEranking.txt", "data/ACCEDE00001.mp4", "ACCEDE00001"
    clips = tuple(f"ACCEDE{i:05d}" for i in range(4))
    delimiter, header = "\t", 1
    too_large = "7.1"

    @staticmethod
    def write(root, film):
        for folder in ("data", "annotations"):
            (root / folder).mkdir(parents=True)
        names = [f"{clip}.mp4" for clip in Liris.clips]
        for name in names:
            (root / "data" / name).write_bytes(film)
        head = "id name valenceRank arousalRank valenceValue arousalValue valenceVariance arousalVariance"
        rows = [
            head,
            *(
                f"{i} {name} {i} {i} {2 + i / 10} {3 - i / 10} 0.1 0.1"
                for i, name in enumerate(names)
            ),
        ]
        (root / "annotations/ACCEDEranking.txt").write_text("\n".join(rows).replace(" ", "\t"))
        sets = ["id name set", *(f"{i} {name} {(1, 1, 2, 0)[i]}" for i, name in enumerate(names))]
        (root / "annotations/ACCEDEsets.txt").write_bytes(
            "\r\n".join(sets).replace(" ", "\t").encode()
        )
        media = [
            f"<media><id>{i}</id><name>{name}</name><license>CC</license><movie>Film_{i // 2}.mp4</movie>"
            f"<start>0</start><end>12</end></media>"
            for i, name in enumerate(names)
        ]
        (root / "ACCEDEdescription.xml").write_text(f"<library>{''.join(media)}</library>")


class Eimt16(Liris):
    load = staticmethod(load_eimt16)
    annotation, film = "MEDIAEVAL16-Global_prediction.txt", "data/MEDIAEVAL16_00002.mp4"
    hurt = "MEDIAEVAL16_00002"
    clips = (*Liris.clips, "MEDIAEVAL16_00000", "MEDIAEVAL16_00001", "MEDIAEVAL16_00002")

    @staticmethod
    def write(root, film):
        Liris.write(root, film)
        rows = [f"{clip}.mp4\t3.1\t2.{i}" for i, clip in enumerate(Eimt16.clips[4:])]
        (root / Eimt16.annotation).write_bytes("\r".join(rows).encode())
        for clip in Eimt16.clips[4:]:
            (root / "data" / f"{clip}.mp4").write_bytes(film)


def edit(path, row, change, *, delimiter):
    """Rewrites one row (from 1) of a text file, cell by cell."""
    rows = path.read_text().splitlines()
    rows[row - 1] = delimiter.join(change(rows[row - 1].split(delimiter)))
    path.write_text("\n".join(rows))


def cell(value):
    return lambda cells: [*cells[:-1], value] if len(cells) < 8 else [*cells[:5], value, *cells[6:]]


# kind of damage: (what is at fault, the row it must name or None, what is done to it)
ROW = 3
DAMAGE = {
    "annotation empty": ("annotation", None, lambda path, layout, film: path.write_bytes(b"")),
    "annotation binary": (
        "annotation",
        None,
        lambda path, layout, film: path.write_bytes(b"\xff\xfe\x00\x81" * 9),
    ),
    "column missing": (
        "annotation",
        1,
        lambda path, layout, film: path.write_text(
            "\n".join(
                row.rsplit(layout.delimiter, 1 if len(row.split(layout.delimiter)) < 8 else 3)[0]
                for row in path.read_text().splitlines()
            )
        ),
    ),
    "row cut": (
        "annotation",
        ROW,
        lambda path, layout, film: edit(
            path, ROW, lambda cells: cells[:-1], delimiter=layout.delimiter
        ),
    ),
    "nan": (
        "annotation",
        ROW,
        lambda path, layout, film: edit(path, ROW, cell("nan"), delimiter=layout.delimiter),
    ),
    "text for a number": (
        "annotation",
        ROW,
        lambda path, layout, film: edit(path, ROW, cell("high"), delimiter=layout.delimiter),
    ),
    "out of range": (
        "annotation",
        ROW,
        lambda path, layout, film: edit(
            path, ROW, cell(layout.too_large), delimiter=layout.delimiter
        ),
    ),
    "infinite": (
        "annotation",
        ROW,
        lambda path, layout, film: edit(path, ROW, cell("inf"), delimiter=layout.delimiter),
    ),
    "row twice": (
        "annotation",
        ROW + 1,
        lambda path, layout, film: path.write_text(
            "\n".join(
                row
                for i, line in enumerate(path.read_text().splitlines(), 1)
                for row in [line] * (1 + (i == ROW))
            )
        ),
    ),
    "film absent": ("film", None, lambda path, layout, film: path.unlink()),
    "film empty": ("film", None, lambda path, layout, film: path.write_bytes(b"")),
    "film cut": (
        "film",
        None,
        lambda path, layout, film: path.write_bytes(film["whole"][: len(film["whole"]) // 2]),
    ),
    "film cut, index in front": (
        "film",
        None,
        lambda path, layout, film: path.write_bytes(film["front"][:-3000]),
    ),
    "film undecodable": (
        "film",
        None,
        lambda path, layout, film: path.write_bytes(b"no film at all " * 99),
    ),
    "film without frames": (
        "film",
        None,
        lambda path, layout, film: path.write_bytes(film["sound"]),
    ),
}


@pytest.fixture(params=[Cognimuse, Liris, Eimt16], ids=lambda layout: layout.__name__.lower())
def layout(request):
    return request.param


@pytest.fixture
def root(layout, film, tmp_path):
    layout.write(tmp_path / "corpus", film["whole"])
    return tmp_path / "corpus"


def test_reads_the_real_layout(layout, root):
    corpus = layout.load(root)
    assert tuple(corpus.clips["clip"]) == layout.clips
    assert all(Path(path).is_file() for path in corpus.clips["path"])
    assert corpus.clips["seconds"].between(0.9, 1.2).all()
    assert corpus.clips[["valence", "arousal"]].notna().all(axis=None)
    assert not corpus.simulated and corpus.skipped == ()


def test_a_mark_tells_simulated_files(layout, root):
    (root / "SIMULATED.json").write_text("{}")
    assert layout.load(root).simulated


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_refused_by_file_and_row(layout, root, film, kind):
    target, row, damage = DAMAGE[kind]
    path = root / getattr(layout, target)
    damage(path, layout, film)
    with pytest.raises(CorpusFormatError) as caught:
        layout.load(root)
    assert caught.value.path == path
    assert caught.value.row == row
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("kind", DAMAGE)
def test_skip_drops_the_whole_clip_and_lists_it(layout, root, film, kind):
    target, row, damage = DAMAGE[kind]
    damage(root / getattr(layout, target), layout, film)
    if (
        target == "annotation" and layout.header and row in (None, 1)
    ):  # one file for all: nothing to go by
        with pytest.raises(CorpusFormatError):
            layout.load(root, on_error="skip")
        return
    corpus = layout.load(root, on_error="skip")
    assert tuple(corpus.clips["clip"]) == tuple(
        clip for clip in layout.clips if clip != layout.hurt
    )
    assert len(corpus.skipped) == 1 and corpus.skipped[0].startswith(layout.hurt)
    assert layout.hurt not in set(corpus.annotations["clip"])


@pytest.mark.parametrize("where", ["absent", "wrong"])
def test_missing_corpus_says_where_to_ask(layout, tmp_path, where):
    (tmp_path / "wrong" / "holiday").mkdir(parents=True)
    with pytest.raises(
        CorpusNotFoundError, match=r"looked for .*(intended_1\.dat|ranking\.txt).*Ask for it"
    ) as caught:
        layout.load(tmp_path / where)
    assert str(tmp_path / where) in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)


def test_nothing_left_is_an_error_even_when_skipping(layout, root):
    for path in root.rglob("*.mp4"):
        path.write_bytes(b"")
    with pytest.raises(CorpusFormatError, match="empty"):
        layout.load(root, on_error="skip")


def test_on_error_is_checked(layout, root):
    with pytest.raises(ValueError, match="ignore"):
        layout.load(root, on_error="ignore")


def test_format_error_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(CorpusFormatError("a.dat", "expected a number", row=7)))
    assert str(error) == "a.dat, row 7: expected a number"


@pytest.fixture
def cognimuse(film, tmp_path):
    Cognimuse.write(tmp_path, film["whole"])
    return tmp_path


def test_cognimuse_annotations_and_film_means(cognimuse):
    corpus = load_cognimuse(cognimuse)
    rows = np.loadtxt(cognimuse / "MDB/emotion/intended_1.dat")
    read = corpus.annotations.query("clip == 'MDB'")[["time", "valence", "arousal"]].to_numpy()
    assert np.array_equal(read, rows)
    clip = corpus.clips.set_index("clip").loc["MDB"]
    assert (clip["group"], clip["split"]) == ("MDB", "")
    assert np.allclose([clip["valence"], clip["arousal"]], rows[:, 1:].mean(axis=0))
    assert corpus.hertz == 25 and corpus.value_range == (-1, 1)


@pytest.mark.parametrize(
    ("time", "why"), [("0.00", "backwards"), ("9.00", "a gap"), ("0.18", "a row left out")]
)
def test_cognimuse_time_must_go_on(cognimuse, time, why):
    edit(
        cognimuse / "GLA/emotion/intended_1.dat", 5, lambda cells: [time, *cells[1:]], delimiter=" "
    )
    with pytest.raises(CorpusFormatError, match="expected time to increase") as caught:
        load_cognimuse(cognimuse)
    assert caught.value.row == 5, why


@pytest.mark.parametrize(
    ("rows", "row", "expected"),
    [
        (lambda i: i, 2, "increase by 0.04 s from row to row, found 1 s after 0 s"),
        (
            lambda i: i / HERTZ + 0.9 * (i > 9),
            11,
            "increase by 0.04 s from row to row, found 1.3 s after 0.36 s",
        ),
        (lambda i: 600 + i / HERTZ, 1, "begin at 0 s, found 600 s"),
        (lambda i: 0, 2, "found 0 s after 0 s"),
    ],
)
def test_cognimuse_times_are_those_of_the_film_at_25_hertz(cognimuse, rows, row, expected):
    (cognimuse / "GLA/emotion/intended_1.dat").write_text(
        "".join(f"{rows(i):.2f} 0.1 0.2\n" for i in range(25))
    )
    with pytest.raises(CorpusFormatError, match=expected) as caught:
        load_cognimuse(cognimuse)
    assert caught.value.row == row


def test_cognimuse_annotation_of_one_row_is_refused_and_a_short_one_told(cognimuse):
    path = cognimuse / "GLA/emotion/intended_1.dat"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(rows[: len(rows) // 2]))
    with pytest.warns(UserWarning, match=r"GLA: annotated for .* s of .* s, the rest is left out"):
        assert len(load_cognimuse(cognimuse)) == 3
    path.write_text(rows[0])
    with pytest.raises(CorpusFormatError, match=r"every 0\.04 s, found a single one"):
        load_cognimuse(cognimuse)


def test_cognimuse_annotation_absent_names_the_file(cognimuse):
    (cognimuse / "GLA/emotion/intended_1.dat").unlink()
    with pytest.raises(CorpusFormatError, match=r"GLA/emotion/intended_1\.dat"):
        load_cognimuse(cognimuse)


def test_cognimuse_takes_a_single_film_of_another_name(cognimuse):
    (cognimuse / "GLA/GLA.mp4").rename(cognimuse / "GLA/first.mp4")
    assert load_cognimuse(cognimuse).clips["path"][1].endswith("first.mp4")
    (cognimuse / "GLA/second.mkv").write_bytes(b"")
    with pytest.raises(CorpusFormatError, match=r"first\.mp4, GLA/second\.mkv"):
        load_cognimuse(cognimuse)


def test_cognimuse_experienced_is_the_mean_over_subjects(cognimuse):
    for code in Cognimuse.clips:
        folder = cognimuse / code / "emotion" / "experienced"
        folder.mkdir()
        for subject, rows in ((1, 25), (2, 24)):
            text = "\n".join(
                f"{i / HERTZ:.2f} {0.1 * subject} {-0.2 * subject}" for i in range(rows)
            )
            (folder / f"subj{subject}_1_{code}.dat").write_text(text)
    corpus = load_cognimuse(cognimuse, annotation="experienced")
    assert len(corpus.annotations) == 3 * 24
    assert np.allclose(corpus.annotations[["valence", "arousal"]], [0.15, -0.3])


@pytest.fixture
def eimt16(film, tmp_path):
    Eimt16.write(tmp_path, film["whole"])
    return tmp_path


def test_excerpts_are_grouped_by_source_film(eimt16):
    discrete = load_liris_discrete(eimt16).clips
    assert list(discrete["group"]) == ["Film_0", "Film_0", "Film_1", "Film_1"]
    assert list(discrete["split"]) == ["learning", "learning", "validation", "test"]
    assert list(discrete["valence"]) == [2.0, 2.1, 2.2, 2.3]
    task = load_eimt16(eimt16)
    assert list(task.clips["split"]) == ["train"] * 4 + ["test"] * 3
    assert task.clips["group"].nunique() == 5
    assert list(task.clips["arousal"][4:]) == [2.0, 2.1, 2.2]
    assert task.annotations.empty and task.hertz is None


@pytest.mark.parametrize("header", ["", "name valence arousal\n"])
@pytest.mark.parametrize("delimiter", ["\t", ";", ",", "  "])
def test_eimt16_reads_a_given_test_file_with_or_without_header(eimt16, delimiter, header):
    old = eimt16 / Eimt16.annotation
    moved = eimt16 / "elsewhere.csv"
    moved.write_text(header.replace(" ", delimiter) + old.read_text().replace("\t", delimiter))
    old.unlink()
    with pytest.raises(CorpusNotFoundError, match="MEDIAEVAL16-Global_prediction"):
        load_eimt16(eimt16)
    assert len(load_eimt16(eimt16, test_annotations=moved)) == 7


@pytest.mark.parametrize(
    ("file", "row", "change", "expected"),
    [
        (
            "annotations/ACCEDEsets.txt",
            3,
            lambda text: text.replace("00001.mp4\t1", "00001.mp4\t5"),
            "set 0, 1 or 2",
        ),
        (
            "annotations/ACCEDEsets.txt",
            None,
            lambda text: text.replace("1\tACCEDE00001.mp4\t1\n", ""),
            "a row for ACCEDE00001",
        ),
        (
            "ACCEDEdescription.xml",
            None,
            lambda text: text.replace("ACCEDE00001", "ACCEDE09999"),
            "movie of ACCEDE00001",
        ),
    ],
)
def test_an_excerpt_needs_its_set_and_its_film(eimt16, file, row, change, expected):
    path = eimt16 / file
    path.write_text(change(path.read_text()))
    with pytest.raises(CorpusFormatError, match=expected) as caught:
        load_liris_discrete(eimt16)
    assert (caught.value.path, caught.value.row) == (path, row)
    skipped = load_liris_discrete(eimt16, on_error="skip")
    assert "ACCEDE00001" not in set(skipped.clips["clip"]) and len(skipped.skipped) == 1


@pytest.mark.parametrize("file", ["annotations/ACCEDEsets.txt", "ACCEDEdescription.xml"])
@pytest.mark.parametrize("damage", ["unlink", "touch"])
def test_sets_and_description_must_be_there(eimt16, file, damage):
    path = eimt16 / file
    path.unlink()
    if damage == "touch":
        path.touch()
    with pytest.raises(CorpusFormatError, match=path.name):
        load_liris_discrete(eimt16)
