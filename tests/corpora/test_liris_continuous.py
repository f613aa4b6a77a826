"""LIRIS-ACCEDE, continuous part: typed here in the official form, real files, and its simulator."""

import numpy as np
import pytest

from affectlib.corpora import (
    CorpusFormatError,
    CorpusNotFoundError,
    load_liris_continuous,
    official_split,
    segments,
)
from affectlib.corpora.liris_continuous import FILMS, TEST_FILMS
from affectlib.simulate import make_liris_continuous

NOTES = "LIRIS-ACCEDE-continuous-annotations/continuous-annotations"
MOVIES = "LIRIS-ACCEDE-continuous-movies/continuous-movies"


def series(values, deviation="0.0485672574047"):
    """One file in the official form."""
    rows = [f"{second}\t{value}\t{deviation}" for second, value in enumerate(values)]
    return "\n".join(["Time\tMean\tStd", *rows]) + "\n"


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


@pytest.fixture
def root(tmp_path):
    """Two films, unpacked in place; of one, arousal is a second shorter, as in the real files."""
    put(tmp_path / NOTES / "Norm_Valence.txt", series(["0.0432314948664", "0.05", "-0.1", "0.2"]))
    put(tmp_path / NOTES / "Norm_Arousal.txt", series(["-5.82671018857e-05", "0.1", "0.2"]))
    put(tmp_path / NOTES / "Islands_Valence.txt", series([0.1, 0.2, 0.3, 0.4]))
    put(tmp_path / NOTES / "Islands_Arousal.txt", series([-0.1, -0.2, -0.3, -0.4], "0.00121212"))
    put(tmp_path / NOTES / "raw" / "Norm_Valence.txt", "Time\tid1\tid2\n0\t0.1\t0.2\n")
    return tmp_path


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("continuous")
    return root, make_liris_continuous(root, n_films=3, seconds=4, jobs=1)


def test_annotations_are_the_rows_of_the_files(root):
    with pytest.warns(
        UserWarning, match="valence and arousal of 1 films differ in length.*Norm 1 s"
    ):
        corpus = load_liris_continuous(root, films=False)
    assert corpus.clips["clip"].tolist() == ["Islands", "Norm"]
    norm = corpus.annotations[corpus.annotations["clip"] == "Norm"]
    assert norm["time"].tolist() == [0, 1, 2]
    assert norm["valence"].tolist() == [0.0432314948664, 0.05, -0.1]
    assert norm["arousal"].tolist() == [-5.82671018857e-05, 0.1, 0.2]
    assert norm["valence_std"].tolist() == [0.0485672574047] * 3
    assert corpus.annotations["arousal_std"].tolist()[:4] == [0.00121212] * 4
    assert corpus.value_range == (-1, 1)
    assert corpus.hertz == 1
    assert not corpus.simulated


def test_the_split_is_ours_and_says_so(root):
    assert FILMS[2::5] == TEST_FILMS
    assert len(FILMS) == 30
    with pytest.warns(UserWarning):
        corpus = load_liris_continuous(root, films=False)
    assert corpus.clips.set_index("clip")["split"].to_dict() == {"Islands": "test", "Norm": "train"}
    assert "the split into train and test is affectlib's" in repr(corpus)


@pytest.mark.filterwarnings("ignore:valence and arousal")
def test_segments_and_selections_keep_working(root):
    corpus = load_liris_continuous(root, films=False)
    seconds = segments(corpus, seconds=2.0)
    assert seconds.clips["clip"].tolist() == ["Islands:0000", "Islands:0001", "Norm:0000"]
    assert seconds.clips["valence"].round(6).tolist()[:2] == [0.15, 0.35]
    assert corpus.select([0]).annotations["valence_std"].notna().sum() == 4


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_every_end_of_line_and_a_link_are_read(root, end, tmp_path_factory):
    for path in (root / NOTES).glob("*.txt"):
        put(path, "\ufeff" + path.read_text().replace("\n", end))
    linked = tmp_path_factory.mktemp("linked")
    (linked / "archives").symlink_to(root, target_is_directory=True)
    with pytest.warns(UserWarning):
        assert len(load_liris_continuous(linked, films=False).annotations) == 7


def test_films_are_found_in_any_container(root, simulated):
    film = next((simulated[0] / MOVIES).glob("*.mp4"))
    for place in ("movies/Norm.mp4", "elsewhere/deep/Islands.m4v"):
        (root / place).parent.mkdir(parents=True)
        (root / place).write_bytes(film.read_bytes())
    with pytest.warns(UserWarning):
        corpus = load_liris_continuous(root)
    assert corpus.clips["path"].str.endswith(("Islands.m4v", "Norm.mp4")).all()
    assert corpus.clips["seconds"].between(3.9, 4.2).all()
    (root / "movies" / "Norm.mkv").write_bytes(film.read_bytes())
    with pytest.raises(CorpusFormatError, match=r"one film Norm, found Norm\.mkv and Norm\.mp4"):
        load_liris_continuous(root)


@pytest.mark.filterwarnings("ignore:valence and arousal")
def test_film_and_annotation_are_cut_to_the_shorter(root, simulated):
    film = next((simulated[0] / MOVIES).glob("*.mp4")).read_bytes()
    for movie in ("Norm", "Islands"):
        (root / f"{movie}.mp4").write_bytes(film)
    put(root / NOTES / "Islands_Valence.txt", series([0.1] * 7))
    put(root / NOTES / "Islands_Arousal.txt", series([0.1] * 7))
    with pytest.warns(UserWarning, match="annotated are Islands 7 s of 4 s"):
        corpus = load_liris_continuous(root)
    assert (corpus.annotations["clip"] == "Islands").sum() == 4
    put(root / NOTES / "Norm_Arousal.txt", series([0.1]))
    put(root / NOTES / "Norm_Valence.txt", series([0.1]))
    with pytest.raises(CorpusFormatError, match="up to the film's end at 4 s, found 1"):
        load_liris_continuous(root)


def test_a_film_that_is_absent_is_named_or_dropped(root, simulated):
    film = next((simulated[0] / MOVIES).glob("*.mp4"))
    (root / "Islands.mp4").write_bytes(film.read_bytes())
    with pytest.raises(CorpusFormatError, match=r"Norm\.mp4: expected this film, found none"):
        load_liris_continuous(root)
    corpus = load_liris_continuous(root, on_error="skip")
    assert corpus.clips["clip"].tolist() == ["Islands"]
    assert corpus.skipped[0].startswith("Norm: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            series([0.1, "nan", 0.1, 0.1]),
            r"Islands_Arousal\.txt, row 3: expected Mean .* found 'nan'",
        ),
        (
            series([0.1, 0.1, 1.2, 0.1]),
            r"row 4: expected Mean as a number in \[-1, 1\], found '1\.2'",
        ),
        (
            series([0.1] * 4, "-0.1"),
            r"row 2: expected Std as a number in \[0, 1\.5\], found '-0\.1'",
        ),
        (
            series([0.1] * 4).replace("\n2\t", "\n3\t"),
            "row 4: expected times 0, 1, 2, .* 2 here, found 3",
        ),
        (
            series([0.1] * 4).replace("\n0\t", "\n1\t"),
            "row 2: expected times 0, 1, 2, .* 0 here, found 1",
        ),
        (series([0.1] * 4).replace("2\t0.1\t", "2\t"), "row 4: expected 3 columns, found 2"),
        (series([0.1] * 4).replace("Mean", "Value"), "row 1: expected the columns Time, Mean, Std"),
        (series([0.1]), "expected valence and arousal of one length, found 4 and 1 rows"),
        ("", "the file is empty"),
        (None, "expected this file, found none"),
    ],
)
@pytest.mark.filterwarnings("ignore:valence and arousal")
def test_damage_is_named_or_the_film_is_dropped(root, text, message):
    path = root / NOTES / "Islands_Arousal.txt"
    if text is None:
        path.unlink()
    else:
        put(path, text)
    with pytest.raises(CorpusFormatError, match=message):
        load_liris_continuous(root, films=False)
    corpus = load_liris_continuous(root, films=False, on_error="skip")
    assert corpus.clips["clip"].tolist() == ["Norm"]


def test_another_folder_is_not_this_corpus(tmp_path):
    with pytest.raises(CorpusNotFoundError, match=r"looked for \*_Valence\.txt.*liris-accede"):
        load_liris_continuous(tmp_path)


def test_the_real_annotations_load(golden):
    """25 of the 30 films; the last row of the shortest and the longest, as counted in the files."""
    with pytest.warns(UserWarning, match="valence and arousal of 9 films differ.*kafka 7 s"):
        corpus = load_liris_continuous(golden("liris_continuous"), films=False)
    assert len(corpus) == 25
    assert set(corpus.clips["clip"]) <= set(FILMS)
    assert corpus.clips["split"].value_counts().to_dict() == {"train": 20, "test": 5}
    lengths = corpus.annotations.groupby("clip").size()
    assert lengths.sum() == 21656
    assert lengths.agg(["idxmin", "min", "idxmax", "max"]).tolist() == [
        "Wanted",
        119,
        "Decay",
        4568,
    ]
    bunny = corpus.annotations.query("clip == 'Big_Buck_Bunny'")
    assert bunny["valence"].iloc[0] == 0.0432314948664
    assert len(bunny) == 597


def test_the_simulator_writes_the_official_layout(simulated):
    root, corpus = simulated
    assert corpus.simulated
    assert sorted(corpus.clips["split"]) == ["test", "train", "train"]
    assert len(list((root / NOTES).glob("*_Valence.txt"))) == 3
    assert (root / NOTES / "Norm_Valence.txt").exists() == ("Norm" in set(corpus.clips["clip"]))
    lines = next((root / NOTES).glob("*_Arousal.txt")).read_text().splitlines()
    assert lines[0] == "Time\tMean\tStd"
    assert len(lines) == 5
    assert corpus.annotations["valence_std"].between(0.05, 0.7).all()
    fold = official_split(segments(corpus, seconds=1.0))[0]
    assert len(fold.test) == 4


def test_films_do_not_depend_on_the_number_of_processes(simulated, tmp_path):
    root, corpus = simulated
    again = make_liris_continuous(tmp_path, n_films=3, seconds=4, jobs=2)
    assert again.annotations.equals(corpus.annotations)
    for path in root.rglob("*"):
        if path.is_file() and path.suffix != ".json":
            assert (tmp_path / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_a_wrong_number_of_films_is_named(tmp_path):
    with pytest.raises(ValueError, match="between 3 and 30, not at 31"):
        make_liris_continuous(tmp_path, n_films=31)


def test_the_folder_raw_may_be_the_root(root, tmp_path):
    raw = tmp_path / "raw"
    put(raw / "Wanted_Valence.txt", series(np.zeros(3)))
    put(raw / "Wanted_Arousal.txt", series(np.zeros(3)))
    assert len(load_liris_continuous(raw, films=False)) == 1
