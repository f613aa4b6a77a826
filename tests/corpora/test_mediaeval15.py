"""MediaEval 2015 as its owners give it: files typed here in the official form."""

import shutil

import pytest

from affectlib.corpora import CorpusFormatError, CorpusNotFoundError, load_mediaeval15

AFFECT = "id\tname\tvalenceClass\tarousalClass\r\n"
ACCEDE = (
    AFFECT + "0\tACCEDE00000.mp4\t1\t-1\r\n1\tACCEDE00001.mp4\t0\t-1\r\n"
    "2\tACCEDE00002.mp4\t-1\t1\r\n3\tACCEDE00003.mp4\t0\t0\r\n"
)
MEDIAEVAL = AFFECT + "0\tMEDIAEVAL00000.mp4\t0\t-1\r\n1\tMEDIAEVAL00001.mp4\t-1\t-1\r\n"
SETS = "id\tname\tset\r\n0\tMEDIAEVAL00000.mp4\t0\r\n1\tMEDIAEVAL00001.mp4\t0\r\n"
DEVELOPMENT = (
    "SHOT_000000\tACCEDE00002.mp4\nSHOT_000001\tACCEDE00000.mp4\nSHOT_000002\tACCEDE00001.mp4\n"
)
TEST = "SHOT_000003\tMEDIAEVAL00001.mp4\nSHOT_000004\tACCEDE00003.mp4\nSHOT_000005\tMEDIAEVAL00000.mp4\n"
CLIPS = [*(f"ACCEDE{i:05d}" for i in range(4)), "MEDIAEVAL00000", "MEDIAEVAL00001"]


def description(prefix, count):
    media = [
        f"<media><id>{i}</id><name>{prefix}{i:05d}.mp4</name><license>CC</license>"
        f"<movie>{prefix.title()}_{i // 2}.mp4</movie><start>0</start><end>250</end></media>"
        for i in range(count)
    ]
    return f"<library>{''.join(media)}</library>"


FILES = {
    "MEDIAEVAL-annotations/annotations/ACCEDEaffect.txt": ACCEDE,
    "MEDIAEVAL-annotations/annotations/MEDIAEVALaffect.txt": MEDIAEVAL,
    "MEDIAEVAL-annotations/annotations/MEDIAEVALsets.txt": SETS,
    "MEDIAEVAL-mapping/MEDIAEVAL-mapping/shots-devset-nl.txt": DEVELOPMENT,
    "MEDIAEVAL-mapping/MEDIAEVAL-mapping/shots-testset-nl.txt": TEST,
    "LIRIS-ACCEDE-data/ACCEDEdescription.xml": description("ACCEDE", 4),
    "MEDIAEVAL-data/MEDIAEVALdescription.xml": description("MEDIAEVAL", 2),
}


@pytest.fixture
def root(tmp_path):
    """The archives unpacked in place."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return tmp_path


def find(root, name):
    return next(root.rglob(name))


def test_the_official_sets_are_those_of_the_shots(root):
    clips = load_mediaeval15(root, films=False).clips
    assert clips["clip"].tolist() == CLIPS
    assert clips["split"].tolist() == ["train", "train", "train", "test", "test", "test"]
    assert clips["valence"].tolist() == [1, 0, -1, 0, 0, -1]
    assert clips["arousal"].tolist() == [-1, -1, 1, 0, -1, -1]


def test_excerpts_are_grouped_by_the_film_they_were_cut_from(root):
    groups = load_mediaeval15(root, films=False).clips["group"]
    assert groups.tolist() == ["Accede_0"] * 2 + ["Accede_1"] * 2 + ["Mediaeval_0"] * 2


def test_merged_archives_are_read_and_the_sets_file_is_not_needed(root):
    merged = root / "merged"
    merged.mkdir()
    for name in FILES:
        shutil.move(root / name, merged)
    (merged / "MEDIAEVALsets.txt").unlink()
    assert len(load_mediaeval15(merged, films=False)) == 6


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("shots-devset-nl.txt", "MEDIAEVAL-mapping.zip"),
        ("shots-testset-nl.txt", "MEDIAEVAL-mapping.zip"),
        ("ACCEDEdescription.xml", "LIRIS-ACCEDE-data.zip"),
        ("MEDIAEVALdescription.xml", "MEDIAEVAL-data.zip"),
        ("MEDIAEVALaffect.txt", "MEDIAEVAL-annotations.zip"),
    ],
)
def test_a_missing_archive_is_named(root, name, archive):
    find(root, name).unlink()
    with pytest.raises(
        CorpusNotFoundError, match=f"looked in every folder for {name}, .*{archive}"
    ):
        load_mediaeval15(root, films=False)


def test_of_a_corpus_that_is_not_there_every_archive_is_named(tmp_path):
    with pytest.raises(CorpusNotFoundError) as caught:
        load_mediaeval15(tmp_path / "absent")
    for archive in ("MEDIAEVAL-annotations.zip", "MEDIAEVAL-mapping.zip", "MEDIAEVAL-data.zip"):
        assert archive in str(caught.value)


def test_missing_excerpts_are_asked_for(root):
    with pytest.raises(CorpusNotFoundError, match=r"no ACCEDE00000\.mp4 in any folder"):
        load_mediaeval15(root)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("shots-testset-nl.txt", "ACCEDE00003", "ACCEDE00002", "row 2: expected each name once in"),
        (
            "shots-testset-nl.txt",
            "ACCEDE00003",
            "ACCEDE00009",
            "row 2: expected an excerpt with classes",
        ),
        (
            "shots-testset-nl.txt",
            "SHOT_000004\tACCEDE00003.mp4\n",
            "",
            "expected a row for ACCEDE00003",
        ),
        ("shots-devset-nl.txt", "\tACCEDE00000.mp4", "", "row 2: expected 2 columns, found 1"),
        ("ACCEDEaffect.txt", "\t-1\t1\r", "\t-1\t2\r", "row 4: expected arousalClass -1, 0 or 1"),
        ("MEDIAEVALdescription.xml", "00001.mp4", "00009.mp4", "names the movie of MEDIAEVAL00001"),
    ],
)
def test_damage_is_named(root, name, old, new, message):
    path = find(root, name)
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())
    with pytest.raises(CorpusFormatError, match=message):
        load_mediaeval15(root, films=False)


def test_an_excerpt_at_fault_is_dropped_and_listed(root):
    path = find(root, "shots-testset-nl.txt")
    path.write_text(TEST.replace("SHOT_000004\tACCEDE00003.mp4\n", ""))
    corpus = load_mediaeval15(root, films=False, on_error="skip")
    assert "ACCEDE00003" not in set(corpus.clips["clip"])
    assert len(corpus) == 5
    assert corpus.skipped[0].startswith("ACCEDE00003: ")


def test_the_real_lists_have_the_published_sizes(golden, root):
    """The classes by shot, in the form they are public in: put into the official form, and read."""
    lists = golden("lists/aimt15_eimt16")
    rows = {
        kind: (lists / f"AIMT15_{kind}.list").read_text().splitlines() for kind in ("train", "test")
    }
    shots = {"train": [], "test": []}
    classes = [AFFECT.strip()]
    for kind, lines in rows.items():
        for line in lines:
            shot, valence, arousal = line.split()
            name = f"ACCEDE{int(shot.removeprefix('SHOT_')):05d}"
            shots[kind].append(f"{shot}\t{name}.mp4")
            classes.append(f"{len(classes) - 1}\t{name}.mp4\t{valence}\t{arousal}")
    find(root, "ACCEDEaffect.txt").write_text("\n".join(classes))
    find(root, "shots-devset-nl.txt").write_text("\n".join(shots["train"]))
    test = shots["test"] + ["SHOT_900000\tMEDIAEVAL00000.mp4", "SHOT_900001\tMEDIAEVAL00001.mp4"]
    find(root, "shots-testset-nl.txt").write_text("\n".join(test))
    find(root, "ACCEDEdescription.xml").write_text(description("ACCEDE", 10900))
    clips = load_mediaeval15(root, films=False).clips
    clips = clips[clips["clip"].str.startswith("ACCEDE")]
    assert clips["split"].value_counts().to_dict() == {"train": 6144, "test": 4756}
    majority = clips[clips["split"] == "train"]["arousal"].mode()[0]
    test = clips[clips["split"] == "test"]
    assert round((test["arousal"] == majority).mean(), 3) == 0.556
