"""LIRIS-ACCEDE and EIMT16 as their owners give them: typed here, and the real files."""

import shutil
import zipfile

import pytest

from affectlib.corpora import load_eimt16, load_liris_discrete, segments
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features import extract, extractors

# Small corpora of tests are a part of the real one.
pytestmark = pytest.mark.filterwarnings("ignore:.*a part of the corpus")

RANKING = (
    "id\tname\tvalenceRank\tarousalRank\tvalenceValue\tarousalValue\tvalenceVariance\tarousalVariance\n"
    "0\tACCEDE00000.mp4\t2\t0\t2.76434\t1.366938\t0.08\t0.02\n"
    "1\tACCEDE00001.mp4\t3\t1\t3.260093\t2.792376\t0.07\t0.05\n"
    "2\tACCEDE00002.mp4\t0\t2\t1.9\t3.2\t0.07\t0.05\n"
    "3\tACCEDE00003.mp4\t1\t3\t2.1\t4.1\t0.07\t0.05\n"
)


SETS = (
    "id\tname\tset\r\n0\tACCEDE00000.mp4\t1\r\n1\tACCEDE00001.mp4\t1\r\n"
    "2\tACCEDE00002.mp4\t2\r\n3\tACCEDE00003.mp4\t0\r\n"
)


MOVIES = ("20_Mississippi.mp4", "The_Dabbler_1_6.mp4", "The_Dabbler_2_6.mp4", "Route_1_66.mp4")


TEST = (
    "MEDIAEVAL16_00000.mp4\t2.59689988891\t2.79153702696\r"
    "MEDIAEVAL16_00001.mp4\t2.39555265255\t2.10598908719"
)


ANNOTATIONS = "LIRIS-ACCEDE-annotations/annotations"


def description(movies=MOVIES):
    """ACCEDEdescription.xml, as the owners' Readme shows it."""
    media = [
        f"  <media>\n    <id>{i}</id>\n    <name>ACCEDE{i:05d}.mp4</name>\n"
        f"    <license>a film shared under Creative Commons</license>\n    <movie>{movie}</movie>\n"
        f"    <start>833</start>\n    <end>1094</end>\n  </media>\n"
        for i, movie in enumerate(movies)
    ]
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<library>\n{"".join(media)}</library>\n'


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


@pytest.fixture
def root(tmp_path):
    """The archives unpacked in place, with what macOS adds to them."""
    put(tmp_path / ANNOTATIONS / "ACCEDEranking.txt", RANKING)
    put(tmp_path / ANNOTATIONS / "ACCEDEsets.txt", SETS)
    put(tmp_path / "__MACOSX" / ANNOTATIONS / "ACCEDEranking.txt", "no table")
    put(tmp_path / ANNOTATIONS / "._ACCEDEsets.txt", "no table")
    put(tmp_path / "LIRIS-ACCEDE-data" / "ACCEDEdescription.xml", description())
    put(tmp_path / "MEDIAEVAL16-Global_prediction.txt", TEST)
    return tmp_path


def test_archives_unpacked_in_place_are_read(root):
    corpus = load_liris_discrete(root, films=False)
    assert corpus.clips["clip"].tolist() == [f"ACCEDE{i:05d}" for i in range(4)]
    assert corpus.clips["split"].tolist() == ["learning", "learning", "validation", "test"]
    assert corpus.clips["arousal"].tolist() == [1.366938, 2.792376, 3.2, 4.1]
    assert not corpus.simulated
    assert corpus.notes == ()


def test_without_films_path_and_seconds_are_undefined(root):
    clips = load_liris_discrete(root, films=False).clips
    assert set(clips["path"]) == {""}
    assert clips["seconds"].isna().all()


def test_without_films_clips_are_neither_cut_nor_described(root):
    corpus = load_liris_discrete(root, films=False)
    with pytest.raises(ValueError, match="read without its films"):
        segments(corpus, parts=4)
    with pytest.raises(ValueError, match="read without its films"):
        extract(corpus, extractors("descriptors", "attend_affect"), progress=False)


def test_archives_may_be_merged(root):
    merged = root / "merged"
    for path in (root / ANNOTATIONS).glob("ACCEDE*"):
        put(merged / "annotations" / path.name, path.read_text())
    shutil.move(
        root / "LIRIS-ACCEDE-data" / "ACCEDEdescription.xml", merged / "ACCEDEdescription.xml"
    )
    corpus = load_liris_discrete(merged, films=False)
    assert corpus.clips["group"].tolist()[0] == "20_Mississippi"


def test_the_files_of_one_film_are_one_group(root):
    groups = load_liris_discrete(root, films=False).clips["group"]
    assert groups.tolist() == ["20_Mississippi", "The_Dabbler", "The_Dabbler", "Route_1_66"]


def test_two_different_files_of_a_name_are_refused(root):
    put(root / "older" / "ACCEDEsets.txt", SETS)
    assert len(load_liris_discrete(root, films=False)) == 4
    put(root / "older" / "ACCEDEsets.txt", SETS.replace("\t2\r", "\t0\r"))
    with pytest.raises(
        FileFormatError, match=r"expected one ACCEDEsets\.txt, found two that differ"
    ):
        load_liris_discrete(root, films=False)


@pytest.mark.parametrize("films", [True, False])
def test_without_the_source_films_it_is_no_corpus(root, films):
    (root / "LIRIS-ACCEDE-data" / "ACCEDEdescription.xml").unlink()
    with pytest.raises(FileFormatError, match=r"ACCEDEdescription\.xml: .*LIRIS-ACCEDE-data\.zip"):
        load_liris_discrete(root, films=films)
    with pytest.raises(FileFormatError, match=r"LIRIS-ACCEDE-data\.zip"):
        load_eimt16(root, films=films)


def test_excerpts_as_groups_must_be_asked_for_and_are_noted(root):
    (root / "LIRIS-ACCEDE-data" / "ACCEDEdescription.xml").unlink()
    corpus = load_liris_discrete(root, films=False, groups="excerpt")
    assert corpus.clips["group"].tolist() == corpus.clips["clip"].tolist()
    assert corpus.notes == ("no film is known: each excerpt is a group of its own",)
    assert "each excerpt is a group of its own" in repr(corpus)
    with pytest.raises(ValueError, match="groups='excerpt' is for films=False"):
        load_liris_discrete(root, groups="excerpt")
    with pytest.raises(ValueError, match="'film' or 'excerpt', not 'clip'"):
        load_liris_discrete(root, films=False, groups="clip")


def test_films_that_are_not_there_are_asked_for_by_archive(root):
    with pytest.raises(NotFoundError, match=r"no ACCEDE00000\.mp4 .*LIRIS-ACCEDE-data\.zip"):
        load_liris_discrete(root)


@pytest.mark.parametrize("encoding", ["TTF-8", "utf-7", "big5"])
def test_a_description_in_an_encoding_that_cannot_be_read_is_refused(root, encoding):
    path = root / "LIRIS-ACCEDE-data" / "ACCEDEdescription.xml"
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    put(path, head + description().partition("?>")[2].lstrip())
    with pytest.raises(FileFormatError, match=r"ACCEDEdescription\.xml, row 1: expected XML"):
        load_liris_discrete(root, films=False)


LAUGHS = "".join(f'<!ENTITY l{n} "{10 * f"&l{n - 1};"}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "document",
    [
        f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><x><media><name>&l9;</name></media></x>',
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x><media><name>&e;</name></media></x>',
        "",
    ],
    ids=["a billion laughs", "another file", "empty"],
)
def test_a_description_reads_no_other_file_and_does_not_grow(root, document):
    put(root / "LIRIS-ACCEDE-data" / "ACCEDEdescription.xml", document)
    with pytest.raises(FileFormatError, match=r"ACCEDEdescription\.xml, row 1: expected XML"):
        load_liris_discrete(root, films=False)


def test_a_description_may_name_its_encoding(root):
    path = root / "LIRIS-ACCEDE-data" / "ACCEDEdescription.xml"
    text = description(("Café.mp4", *MOVIES[1:])).partition("?>")[2].lstrip()
    head = '<?xml version="1.0" encoding="iso-8859-1"?>\n'
    path.write_bytes((head + text).encode("iso-8859-1"))
    assert load_liris_discrete(root, films=False).clips["group"][0] == "Café"


def test_an_excerpt_named_twice_by_the_description_is_refused(root):
    path = root / "LIRIS-ACCEDE-data" / "ACCEDEdescription.xml"
    put(path, description().replace("ACCEDE00003", "ACCEDE00002"))
    with pytest.raises(FileFormatError, match="expected each name once, found 'ACCEDE00002' again"):
        load_liris_discrete(root, films=False)


def test_text_of_another_encoding_is_refused_by_name(root):
    (root / ANNOTATIONS / "ACCEDEsets.txt").write_bytes(SETS.encode("utf-16"))
    with pytest.raises(FileFormatError, match=r"ACCEDEsets\.txt: expected text in UTF-8"):
        load_liris_discrete(root, films=False)


def test_the_official_test_labels_are_read(root):
    corpus = load_eimt16(root, films=False)
    test = corpus.clips[corpus.clips["split"] == "test"]
    assert test["valence"].tolist() == [2.59689988891, 2.39555265255]
    assert test["arousal"].tolist() == [2.79153702696, 2.10598908719]
    assert test["group"].tolist() == test["clip"].tolist()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2.39555265255", "5.2", r"row 2: expected valence as a number in \[0, 5\], found '5.2'"),
        ("\t2.10598908719", "", "row 2: expected 3 columns, found 2"),
        (
            "00001.mp4",
            "00000.mp4",
            "row 2: expected each name once, found 'MEDIAEVAL16_00000' again",
        ),
    ],
)
def test_damaged_test_labels_are_named(root, old, new, message):
    put(root / "MEDIAEVAL16-Global_prediction.txt", TEST.replace(old, new))
    with pytest.raises(FileFormatError, match=message):
        load_eimt16(root, films=False)


def test_a_header_of_other_columns_is_named(root):
    put(root / "MEDIAEVAL16-Global_prediction.txt", "clip\tvalence\tarousal\r" + TEST)
    message = r"row 1: expected valence as a number in \[0, 5\], found 'valence'"
    with pytest.raises(FileFormatError, match=message):
        load_eimt16(root, films=False)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("header", ["", "name valence arousal\n"])
@pytest.mark.parametrize("delimiter", ["\t", ";", ",", "  "])
def test_labels_of_the_test_set_are_read_from_elsewhere_in_every_form(root, delimiter, header, end):
    official = root / "MEDIAEVAL16-Global_prediction.txt"
    expected = load_eimt16(root, films=False).clips
    text = header.replace(" ", delimiter) + TEST.replace("\r", "\n").replace("\t", delimiter)
    put(root / "elsewhere.csv", text.replace("\n", end))
    official.unlink()
    with pytest.raises(NotFoundError, match="MEDIAEVAL16-Global_prediction"):
        load_eimt16(root, films=False)
    corpus = load_eimt16(root, test_annotations=root / "elsewhere.csv", films=False)
    assert corpus.clips.equals(expected)


DESCRIPTION = "LIRIS-ACCEDE-data/ACCEDEdescription.xml"


@pytest.mark.parametrize(
    ("file", "row", "old", "new", "expected"),
    [
        (f"{ANNOTATIONS}/ACCEDEsets.txt", 3, "00001.mp4\t1", "00001.mp4\t5", "set 0, 1 or 2"),
        (
            f"{ANNOTATIONS}/ACCEDEsets.txt",
            None,
            "1\tACCEDE00001.mp4\t1\r\n",
            "",
            "a row for ACCEDE00001",
        ),
        (DESCRIPTION, None, "ACCEDE00001", "ACCEDE09999", "movie of ACCEDE00001"),
    ],
)
def test_an_excerpt_needs_its_set_and_its_film(root, file, row, old, new, expected):
    path = root / file
    text = path.read_bytes().decode()
    assert old in text
    put(path, text.replace(old, new))
    with pytest.raises(FileFormatError, match=expected) as caught:
        load_liris_discrete(root, films=False)
    assert (caught.value.path, caught.value.row) == (path, row)
    corpus = load_liris_discrete(root, films=False, on_error="skip")
    assert "ACCEDE00001" not in set(corpus.clips["clip"])
    assert len(corpus.skipped) == 1


@pytest.mark.parametrize("file", [f"{ANNOTATIONS}/ACCEDEsets.txt", DESCRIPTION])
@pytest.mark.parametrize("content", [None, ""])
def test_sets_and_description_must_be_there(root, file, content):
    path = root / file
    path.unlink()
    if content is not None:
        put(path, content)
    with pytest.raises(FileFormatError, match=path.name):
        load_liris_discrete(root, films=False)


# real files


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    return tmp_path_factory.mktemp("unpacked")


@pytest.fixture
def official(golden, unpacked):
    """The owners' two archives, unpacked in place."""
    for archive in sorted(golden("liris_accede").glob("*.zip")):
        if not (unpacked / archive.name).exists():
            zipfile.ZipFile(archive).extractall(unpacked)
            (unpacked / archive.name).touch()
    return unpacked


def test_the_official_archives_load(official):
    with pytest.raises(FileFormatError, match=r"LIRIS-ACCEDE-data\.zip"):
        load_liris_discrete(official, films=False)
    corpus = load_liris_discrete(official, films=False, groups="excerpt")
    counts = corpus.clips["split"].value_counts().to_dict()
    assert counts == {"learning": 2450, "validation": 2450, "test": 4900}
    assert not corpus.simulated
    limits = corpus.clips[["valence", "arousal"]].agg(["min", "max"]).round(3)
    assert limits["valence"].tolist() == [1.328, 3.594]
    assert limits["arousal"].tolist() == [1.318, 4.543]


def test_the_official_archives_load_with_a_description(official, tmp_path):
    (tmp_path / "archives").symlink_to(official, target_is_directory=True)
    put(
        tmp_path / "ACCEDEdescription.xml",
        description([f"Film_{i // 60}.mp4" for i in range(9800)]),
    )
    corpus = load_liris_discrete(tmp_path, films=False)
    assert len(corpus) == 9800
    assert corpus.clips["group"].nunique() == 164


def test_the_official_test_labels_load(official, golden):
    labels = golden("eimt16/MEDIAEVAL16-Global_prediction.txt")
    corpus = load_eimt16(official, test_annotations=labels, films=False, groups="excerpt")
    assert corpus.clips["split"].value_counts().to_dict() == {"train": 9800, "test": 1200}
    means = corpus.clips.groupby("split")[["valence", "arousal"]].mean().round(3)
    assert means.loc["test"].tolist() == [2.744, 3.4]
    assert means.loc["train"].tolist() == [2.801, 2.457]
