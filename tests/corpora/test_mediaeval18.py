"""MediaEval 2018 and 2017 as their owners give them: files typed here in the official form."""

import shutil

import numpy as np
import pytest

from affectlib.corpora import load_mediaeval18, segments
from affectlib.corpora.mediaeval import PARTS
from affectlib.errors import FileFormatError

# Small corpora of tests are a part of the real one.
pytestmark = pytest.mark.filterwarnings("ignore:.*a part of the corpus")

# As long as the films of the fixture.
SECONDS = 4
VALENCE = (0.0432, 0.1, -0.1, 0.25)
AROUSAL = (-0.5, -0.4, -0.3, 0.125)
TRAIN = "MEDIAEVAL18-DevSet-Part1-Valence_Arousal-annotations/annotations"
OTHERS = {
    "MEDIAEVAL18_53": "MEDIAEVAL18-DevSet-Part3-Valence_Arousal-annotations/annotations",
    "MEDIAEVAL18_54": "MEDIAEVAL18-TestSet-Valence_Arousal-annotations/annotations",
}
ENDING = "_Valence-Arousal.txt"
NOTES = f"{TRAIN}/MEDIAEVAL18_00{ENDING}"


def table(times=range(SECONDS)):
    """An annotation in the official form."""
    rows = ["Time\tValence\tArousal"]
    for time, valence, arousal in zip(times, VALENCE, AROUSAL, strict=False):
        rows.append(f"{time}\t{valence}\t{arousal}")
    return "\n".join(rows) + "\n"


@pytest.fixture
def root(films, tmp_path):
    """Two films to train on and one to test on, each archive unpacked by itself."""
    for clip, folder in {"MEDIAEVAL18_00": TRAIN, **OTHERS}.items():
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{clip}{ENDING}").write_text(table())
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{clip}.mp4").write_bytes(films["whole"])
    return tmp_path


def renumber(root, number):
    """Gives film 00 another number; returns its annotation."""
    clip = f"MEDIAEVAL18_{number}"
    (root / "data" / "MEDIAEVAL18_00.mp4").rename(root / "data" / f"{clip}.mp4")
    return (root / NOTES).rename(root / TRAIN / f"{clip}{ENDING}")


def test_films_have_the_official_sets(root):
    corpus = load_mediaeval18(root)
    assert corpus.clips["clip"].tolist() == ["MEDIAEVAL18_00", "MEDIAEVAL18_53", "MEDIAEVAL18_54"]
    assert corpus.clips["split"].tolist() == ["train", "train", "test"]
    assert corpus.hertz == 1
    assert [len(numbers) for numbers in PARTS.values()] == [14, 30, 10, 12]


def test_annotations_are_the_rows_of_the_file(root):
    corpus = load_mediaeval18(root)
    rows = corpus.annotations[corpus.annotations["clip"] == "MEDIAEVAL18_00"]
    assert rows["time"].tolist() == [0, 1, 2, 3]
    assert rows["valence"].tolist() == list(VALENCE)
    assert rows["arousal"].tolist() == list(AROUSAL)
    clip = corpus.clips.set_index("clip").loc["MEDIAEVAL18_00"]
    assert clip["valence"] == pytest.approx(np.mean(VALENCE))
    assert clip["arousal"] == pytest.approx(np.mean(AROUSAL))


def test_columns_are_found_by_name_not_by_place(root):
    expected = load_mediaeval18(root).annotations
    rows = [line.split("\t") for line in (root / NOTES).read_text().splitlines()]
    moved = ["\t".join((arousal, time, valence)) for time, valence, arousal in rows]
    (root / NOTES).write_text("\n".join(moved))
    assert load_mediaeval18(root).annotations.equals(expected)


def test_a_file_of_2017_is_read_as_2017_only(root):
    for path in root.glob("*/annotations/*.txt"):
        path.write_text("Segment\tTime\tMeanValence\tMeanArousal\n0\t0\t0.1\t-0.2")
    message = r"Arousal.txt, row 1: expected annotations of 2018.*edition=2017"
    with pytest.raises(FileFormatError, match=message):
        load_mediaeval18(root)
    with pytest.warns(UserWarning, match="annotated from 0 to 10 s, the film has 4 s"):
        corpus = load_mediaeval18(root, edition=2017)
    assert corpus.name == "mediaeval17"
    assert corpus.hertz == 0.2
    rows = corpus.annotations[["time", "valence", "arousal"]].drop_duplicates()
    assert rows.values.tolist() == [[0, 0.1, -0.2]]


def test_a_file_of_2018_is_not_read_as_2017(root):
    message = "expected annotations of 2017, found those of 2018"
    with pytest.raises(FileFormatError, match=message):
        load_mediaeval18(root, edition=2017)
    with pytest.raises(ValueError, match="2018 or 2017"):
        load_mediaeval18(root, edition=2016)


def row(number, text):
    """Damage to one row of the annotation, counted from 1."""

    def damage(content):
        lines = content.splitlines()
        lines[number - 1] = text
        return "\n".join(lines)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (row(4, "0\t0\t0"), r"row 4: expected time to increase by 1 s .*, found 0 s after 1 s"),
        (row(4, "7\t0\t0"), r"row 4: expected time to increase by 1 s .*, found 7 s after 1 s"),
        (
            row(1, "Time\tValence\tLiking"),
            r"row 1: expected one column each of time, valence and arousal, found Time, Valence",
        ),
        (
            row(1, "Time\tValence time\tArousal"),
            r"row 1: expected one column each of time, valence and arousal, found Time, Valence",
        ),
        (
            lambda content: table([0]),
            r"row 2: expected rows up to the film's end at 4 s, the last is at 0 s",
        ),
        (
            lambda content: table([2, 3]),
            r"row 2: expected rows from the film's start on, the first is at 2 s",
        ),
    ],
)
def test_damage_is_named_or_the_film_is_dropped(root, damage, message):
    (root / NOTES).write_text(damage((root / NOTES).read_text()))
    with pytest.raises(FileFormatError, match=rf"00_Valence-Arousal\.txt, {message}"):
        load_mediaeval18(root)
    corpus = load_mediaeval18(root, on_error="skip")
    assert corpus.clips["clip"].tolist() == ["MEDIAEVAL18_53", "MEDIAEVAL18_54"]
    assert len(corpus.skipped) == 1


def test_film_46_of_the_real_corpus_is_cut_and_reported(root):
    renumber(root, "46").write_text(table([0]))
    message = "MEDIAEVAL18_46: annotated from 0 to 1 s, the film has 4 s; .* 3 s lost"
    with pytest.warns(UserWarning, match=message):
        corpus = load_mediaeval18(root)
    assert (corpus.annotations["clip"] == "MEDIAEVAL18_46").sum() == 1


def test_film_46_may_lack_its_start_too(root):
    renumber(root, "46").write_text(table([2, 3]))
    message = "MEDIAEVAL18_46: annotated from 2 to 4 s, the film has 4 s; .* 2 s lost"
    with pytest.warns(UserWarning, match=message):
        corpus = load_mediaeval18(root)
    clips = segments(corpus, seconds=1.0).clips
    assert clips.loc[clips["source"] == "MEDIAEVAL18_46", "start"].tolist() == [2, 3]


def test_an_annotation_longer_than_its_film_is_cut_and_reported(root):
    with open(root / NOTES, "a") as file:
        file.writelines(f"{second}\t0\t0\n" for second in range(4, 7))
    with pytest.warns(UserWarning, match="to 7 s, the film has 4 s; cut to the shorter, 3 s lost"):
        corpus = load_mediaeval18(root)
    assert len(corpus.annotations) == 3 * SECONDS


def test_merged_archives_keep_the_official_sets(root):
    merged = root / "merged"
    merged.mkdir()
    for path in [*root.rglob("*.mp4"), *root.rglob(f"*{ENDING}")]:
        shutil.move(path, merged)
    assert load_mediaeval18(merged).clips["split"].tolist() == ["train", "train", "test"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (table(), "expected a film to train on or one to test on, found MEDIAEVAL18_00 in both"),
        (table([0]), r"expected one MEDIAEVAL18_00_Valence-Arousal\.txt, found two that differ"),
    ],
)
def test_a_film_in_both_sets_is_named_or_dropped(root, content, message):
    (root / OTHERS["MEDIAEVAL18_54"] / f"MEDIAEVAL18_00{ENDING}").write_text(content)
    with pytest.raises(FileFormatError, match=message):
        load_mediaeval18(root)
    corpus = load_mediaeval18(root, on_error="skip")
    assert corpus.clips["clip"].tolist() == ["MEDIAEVAL18_53", "MEDIAEVAL18_54"]
    assert len(corpus.skipped) == 1


def test_a_film_of_no_set_is_named(root):
    path = renumber(root, "66")
    path.rename(root / path.name)
    with pytest.raises(FileFormatError, match=r"DevSet or TestSet, .*, found MEDIAEVAL18_66"):
        load_mediaeval18(root)
