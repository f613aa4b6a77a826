"""COGNIMUSE as its owners give it: typed here in both its forms, and the real files."""

import warnings
from dataclasses import replace

import av
import numpy as np
import pytest

from affectlib import paths
from affectlib.corpora import length_table, load_cognimuse, segments
from affectlib.errors import FileFormatError, NotFoundError

# Small corpora of tests are a part of the real one.
pytestmark = pytest.mark.filterwarnings("ignore:.*a part of the corpus")

SHORT_NAMES = {
    "BMI": "BeautifulMind",
    "LOR": "LOTRReturn",
    "GLA": "Gladiator",
    "DEP": "TheDeparted",
    "CRA": "Crash",
    "CHI": "Chicago",
    "FNE": "FindingNemo",
    "ABE": "AmericanBeauty",
    "MDB": "MDB",
    "NCO": "NoCountry",
    "RAT": "Ratatouille",
    "SIL": "ShakespeareInLove",
}
GOLDEN = paths.GOLDEN / "cognimuse"
needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="no real COGNIMUSE below AFFECTLIB_GOLDEN"
)
needs_bikes = pytest.mark.skipif(
    not (paths.GOLDEN / "clips").is_dir(), reason="no real clips below AFFECTLIB_GOLDEN"
)


def write_film(path, seconds):
    """A film in the container that the ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codecs = {".webm": "libvpx", ".avi": "mpeg4", ".mpg": "mpeg2video"}
    # MPEG-2 knows only a few frame rates.
    rate = 25 if path.suffix == ".mpg" else 10
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codecs.get(path.suffix, "libx264"), rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for number in range(round(seconds * rate)):
            picture = np.full((32, 32, 3), number % 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_course(path, seconds, *, valence=0.1, arousal=-0.2, end="\n"):
    """An annotation in the official form: blanks, no header, a row every 0.04 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{number * 0.04:g} {valence:.3f} {arousal:.3f}" for number in range(round(seconds * 25))
    ]
    path.write_bytes((end.join(rows) + end).encode())
    return path


@pytest.fixture
def twelve(tmp_path):
    """The twelve-film form: films with their short names, in several containers and depths."""
    endings = (".mp4", ".mkv", ".webm", ".avi", ".mpg", ".mov")
    for number, name in enumerate(SHORT_NAMES.values()):
        folder = tmp_path / "Movie Clips" / ("more" if number % 2 else "")
        write_film(folder / f"{name}{endings[number % len(endings)]}", 2)
        for iteration in (1, 2, 3):
            write_course(
                tmp_path / "Emotion Annotation" / "intended" / f"intended_{iteration}_{name}.dat",
                2,
                valence=iteration / 10,
                end="\r\n",
            )
        for subject, iteration in ((1, 1), (1, 2), (2, 1)):
            write_course(
                tmp_path
                / "Emotion Annotation"
                / "experienced"
                / f"subj{subject}_{iteration}_{name}.dat",
                2,
                valence=subject / 10 + iteration / 100,
            )
    return tmp_path


@pytest.mark.filterwarnings("error")
def test_twelve_films_are_read_in_the_form_of_the_extension(twelve):
    corpus = load_cognimuse(twelve)
    assert corpus.clips["clip"].tolist() == list(SHORT_NAMES)
    assert corpus.clips["seconds"].between(1.9, 2.1).all()
    assert all(
        SHORT_NAMES[clip] in path for clip, path in corpus.clips[["clip", "path"]].to_numpy()
    )
    assert len(corpus.annotations) == 12 * 50
    assert np.allclose(corpus.annotations["valence"], 0.1)


@pytest.mark.parametrize(
    ("annotation", "iteration", "valence"),
    [
        ("intended", None, 0.1),
        ("intended", 1, 0.1),
        ("intended", 3, 0.3),
        ("intended", "mean", 0.2),
        # subject 1 is 0.11 and 0.12, subject 2 is 0.21: each subject counts once
        ("experienced", None, (0.115 + 0.21) / 2),
        ("experienced", "mean", (0.115 + 0.21) / 2),
        ("experienced", 1, (0.11 + 0.21) / 2),
    ],
)
def test_the_requested_pass_is_read(twelve, annotation, iteration, valence):
    corpus = load_cognimuse(twelve, annotation=annotation, iteration=iteration, films=False)
    assert np.allclose(corpus.annotations["valence"], valence)


def test_a_missing_pass_is_named(twelve):
    with pytest.raises(
        FileFormatError, match=r"subj2_2_BeautifulMind\.dat: .*iterations there are: 1"
    ):
        load_cognimuse(twelve, annotation="experienced", iteration=2, films=False)
    with pytest.raises(
        FileFormatError, match=r"intended_4_BeautifulMind\.dat: .*iterations there are: 1, 2, 3"
    ):
        load_cognimuse(twelve, iteration=4, films=False)
    for wrong in ("first", 0, 1.5):
        with pytest.raises(ValueError, match="iteration is None, 'mean' or a number from 1"):
            load_cognimuse(twelve, iteration=wrong)


def test_without_films_a_clip_lasts_as_long_as_its_annotation(twelve):
    for film in (twelve / "Movie Clips").rglob("*.*"):
        film.unlink()
    corpus = load_cognimuse(twelve, films=False)
    assert (corpus.clips["path"] == "").all()
    assert np.allclose(corpus.clips["seconds"], 2.0)
    assert length_table(corpus)["film_seconds"].isna().all()
    assert len(segments(corpus, seconds=1.0)) == 24
    with pytest.raises(
        FileFormatError, match=r"expected one film named BMI, BeautifulMind or A Beautiful Mind"
    ):
        load_cognimuse(twelve)


@pytest.mark.parametrize(
    "name", ["intended_1.dat", "intended_1_Casablanca.dat", "intended_x_Gladiator.dat"]
)
def test_an_annotation_of_no_film_is_refused_not_left_out(twelve, name):
    path = write_course(twelve / "Emotion Annotation" / "intended" / name, 2)
    with pytest.raises(FileFormatError, match="expected the name of a film of COGNIMUSE") as caught:
        load_cognimuse(twelve, films=False)
    assert caught.value.path == path
    skipped = load_cognimuse(twelve, films=False, on_error="skip")
    assert len(skipped) == 12
    assert name in skipped.skipped[0]


def test_two_films_or_two_annotations_of_one_name_are_refused_copies_are_not(twelve):
    first = twelve / "Emotion Annotation" / "intended" / "intended_1_Gladiator.dat"
    write_course(twelve / "GLA" / "emotion" / "intended_1.dat", 2, end="\r\n")
    assert len(load_cognimuse(twelve)) == 12
    write_course(twelve / "GLA" / "emotion" / "intended_1.dat", 2, valence=0.9)
    with pytest.raises(
        FileFormatError, match="expected one such file, found another one at"
    ) as caught:
        load_cognimuse(twelve)
    assert {"GLA", first.name} & set(caught.value.path.parts)
    (twelve / "GLA" / "emotion" / "intended_1.dat").unlink()
    write_film(twelve / "GLA" / "GLA.mkv", 2)
    with pytest.raises(FileFormatError, match=r"found GLA/GLA\.mkv, Movie Clips/Gladiator\.webm"):
        load_cognimuse(twelve)


def test_a_film_or_a_folder_that_is_not_annotated_is_named(tmp_path):
    write_course(tmp_path / "BMI" / "emotion" / "intended_1.dat", 2)
    write_film(tmp_path / "BMI" / "BMI.mp4", 2)
    write_film(tmp_path / "films" / "Shakespeare in Love.mp4", 2)
    with pytest.raises(
        FileFormatError, match=r"intended_1_ShakespeareInLove\.dat: expected this file"
    ):
        load_cognimuse(tmp_path)


def test_hidden_films_are_no_films_and_linked_folders_are_read(tmp_path):
    real = tmp_path / "elsewhere" / "GLA"
    write_course(real / "emotion" / "intended_1.dat", 2)
    write_film(real / "GLA.mp4", 2)
    (real / "._GLA.mp4").write_bytes(b"shadow of macOS")
    root = tmp_path / "cognimuse"
    root.mkdir()
    (root / "GLA").symlink_to(real)
    assert load_cognimuse(root).clips["clip"].tolist() == ["GLA"]


def test_a_root_without_annotations_says_what_was_looked_for(tmp_path):
    write_film(tmp_path / "GLA.mp4", 1)
    with pytest.raises(
        NotFoundError,
        match=r"not this corpus; looked for .*intended_1_<Movie>\.dat.*Ask for it",
    ):
        load_cognimuse(tmp_path)
    with pytest.raises(NotFoundError, match=r"looked for .*subj1_1_<Movie>\.dat"):
        load_cognimuse(tmp_path, annotation="experienced")


@pytest.mark.parametrize(
    ("film", "annotated", "remark"),
    [
        (48.0, 50.0, "4.2% faster"),
        (50.0, 48.0, "4.0% slower"),
        (20.0, 15.0, "annotated for 15.0 s of 20.0 s, the rest"),
        (15.0, 20.0, "goes on after the film"),
        (20.0, 19.0, None),
        (20.0, 20.0, None),
    ],
)
def test_film_and_annotation_are_compared_film_by_film(tmp_path, film, annotated, remark):
    write_course(tmp_path / "GLA" / "emotion" / "intended_1.dat", annotated)
    write_film(tmp_path / "GLA" / "GLA.mp4", film)
    write_course(tmp_path / "BMI" / "emotion" / "intended_1.dat", 2)
    write_film(tmp_path / "BMI" / "BMI.mp4", 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        corpus = load_cognimuse(tmp_path)
    told = [str(one.message) for one in caught if str(one.message).startswith("GLA: ")]
    assert len(told) == (remark is not None)
    assert all(remark in one for one in told)
    assert not any(str(one.message).startswith("BMI: ") for one in caught)
    table = length_table(corpus).set_index("clip")
    lengths = table.loc["GLA", ["film_seconds", "annotated_seconds"]].tolist()
    assert lengths == pytest.approx([film, annotated], abs=0.05)
    assert table.at["GLA", "difference"] == pytest.approx(film - annotated, abs=0.05)
    assert table.at["GLA", "ratio"] == pytest.approx(film / annotated, rel=0.01)
    assert (table["remark"] != "").tolist() == [False, remark is not None]


def test_a_corpus_of_one_value_per_clip_has_no_table_of_lengths(twelve):
    corpus = replace(load_cognimuse(twelve, films=False), hertz=None)
    with pytest.raises(ValueError, match="expected an annotation over time"):
        length_table(corpus)


def test_a_mean_of_annotations_of_other_lengths_says_so(tmp_path):
    folder = tmp_path / "Emotion Annotation" / "experienced"
    write_course(folder / "subj1_1_Gladiator.dat", 10)
    write_course(folder / "subj2_1_Gladiator.dat", 6)
    with pytest.warns(UserWarning, match=r"GLA: the mean of annotations that last 6\.0 to 10\.0 s"):
        corpus = load_cognimuse(tmp_path, annotation="experienced", films=False)
    assert len(corpus.annotations) == 150


# ---------------------------------------------------------------- the times of an annotation


@pytest.fixture
def seven(tmp_path):
    """The seven-film form, with two films of two seconds."""
    for code in ("BMI", "GLA"):
        write_course(tmp_path / code / "emotion" / "intended_1.dat", 2)
        write_film(tmp_path / code / f"{code}.mp4", 2)
    return tmp_path


def test_annotations_are_the_rows_of_the_file_and_a_clip_has_their_mean(seven):
    path = seven / "GLA" / "emotion" / "intended_1.dat"
    rows = [(i / 25, 0.01 * i, -0.94 + 0.01 * i) for i in range(50)]
    path.write_text("".join(f"{time:.2f} {v:.3f} {a:.3f}\n" for time, v, a in rows))
    corpus = load_cognimuse(seven)
    read = corpus.annotations.query("clip == 'GLA'")[["time", "valence", "arousal"]].to_numpy()
    assert np.array_equal(read, np.loadtxt(path))
    clip = corpus.clips.set_index("clip").loc["GLA"]
    assert (clip["group"], clip["split"]) == ("GLA", "")
    assert np.allclose([clip["valence"], clip["arousal"]], [0.245, -0.695])
    assert corpus.hertz == 25
    assert corpus.value_range == (-1, 1)


def one_step_is(time):
    """The times of an annotation whose fifth row is not at 0.16 s."""
    return lambda i: time if i == 4 else i / 25


@pytest.mark.parametrize(
    ("time_of", "row", "expected"),
    [
        (one_step_is(0.00), 5, "increase by 0.04 s from row to row, found 0 s after 0.12 s"),
        (one_step_is(9.00), 5, "increase by 0.04 s from row to row, found 9 s after 0.12 s"),
        (one_step_is(0.18), 5, "increase by 0.04 s from row to row, found 0.18 s after 0.12 s"),
        (lambda i: i, 2, "increase by 0.04 s from row to row, found 1 s after 0 s"),
        (
            lambda i: i / 25 + 0.9 * (i > 9),
            11,
            "increase by 0.04 s from row to row, found 1.3 s after 0.36 s",
        ),
        (lambda i: 600 + i / 25, 1, "begin at 0 s, found 600 s"),
        (lambda i: 0, 2, "found 0 s after 0 s"),
    ],
)
def test_times_are_those_of_the_film_at_25_hertz(seven, time_of, row, expected):
    path = seven / "GLA" / "emotion" / "intended_1.dat"
    path.write_text("".join(f"{time_of(i):.2f} 0.1 0.2\n" for i in range(50)))
    with pytest.raises(FileFormatError, match=f"expected time to .*{expected}") as caught:
        load_cognimuse(seven)
    assert (caught.value.path, caught.value.row) == (path, row)


def test_an_annotation_of_one_row_is_refused_and_a_short_one_reported(seven):
    path = seven / "GLA" / "emotion" / "intended_1.dat"
    write_course(path, 1)
    with pytest.warns(UserWarning, match=r"GLA: annotated for 1\.0 s of 2\.0 s, the rest"):
        assert len(load_cognimuse(seven)) == 2
    path.write_text("0.00 0.1 0.2\n")
    with pytest.raises(FileFormatError, match=r"every 0\.04 s, found a single one"):
        load_cognimuse(seven)


def test_a_missing_annotation_is_named_in_the_form_of_the_corpus(seven):
    (seven / "GLA" / "emotion" / "intended_1.dat").unlink()
    with pytest.raises(FileFormatError, match=r"GLA/emotion/intended_1\.dat: expected this file"):
        load_cognimuse(seven)


def test_the_single_film_in_the_folder_of_its_code_may_have_any_name(seven):
    (seven / "GLA" / "GLA.mp4").rename(seven / "GLA" / "first.mp4")
    assert load_cognimuse(seven).clips["path"][1].endswith("first.mp4")
    (seven / "GLA" / "second.mkv").write_bytes(b"")
    with pytest.raises(FileFormatError, match=r"first\.mp4, GLA/second\.mkv"):
        load_cognimuse(seven)


# ---------------------------------------------------------------- real files


@needs_golden
@pytest.mark.filterwarnings("ignore:cognimuse")
def test_real_annotations_are_read():
    corpus = load_cognimuse(GOLDEN, films=False)
    assert corpus.clips["clip"].tolist() == ["BMI", "DEP", "CRA", "CHI"]
    assert not corpus.simulated
    counts = corpus.annotations["clip"].value_counts()
    assert counts[["BMI", "DEP", "CRA", "CHI"]].tolist() == [46939, 45023, 39930, 45205]
    assert corpus.annotations[["valence", "arousal"]].abs().max().max() <= 1
    assert len(segments(corpus, seconds=5.0)) == 375 + 360 + 319 + 361


@needs_golden
@needs_bikes
def test_a_film_shorter_than_the_real_annotation_is_reported(tmp_path):
    for folder in GOLDEN.iterdir():
        (tmp_path / folder.name).mkdir()
        (tmp_path / folder.name / "emotion").symlink_to(folder / "emotion")
        (tmp_path / folder.name / "film.mp4").symlink_to(paths.GOLDEN / "clips" / "bikes.mp4")
    with pytest.warns(
        UserWarning, match=r"BMI: annotated for 1877\.6 s of 10\.0 s: the annotation goes on"
    ):
        corpus = load_cognimuse(tmp_path)
    assert len(corpus) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [row.replace(".", ",") for row in rows], "row 2: expected time as a number"),
        (lambda rows: [row.replace(" ", ", ") for row in rows], "row 1: expected time as a number"),
        (lambda rows: ["time valence arousal", *rows], "row 1: expected time as a number"),
        (lambda rows: ["0.00 True 0.2", *rows[1:]], "row 1: expected valence as a number"),
        (lambda rows: ["0.00 0x0 0.2", *rows[1:]], "row 1: expected valence as a number"),
        (lambda rows: ["0.00 1_0e-2 0.2", *rows[1:]], "row 1: expected valence as a number"),
        (lambda rows: ["0.00 1e400 0.2", *rows[1:]], "row 1: expected valence as a number"),
        (lambda rows: [rows[0], "\0\0\0", *rows[1:]], "row 2: expected 3 columns, found 1"),
    ],
    ids=[
        "decimal commas",
        "commas",
        "header",
        "True",
        "hexadecimal",
        "underscore",
        "1e400",
        "nul bytes",
    ],
)
def test_an_annotation_in_another_form_is_named_by_its_row(tmp_path, change, message):
    write_film(tmp_path / "BMI" / "BMI.mp4", 2)
    path = write_course(tmp_path / "BMI" / "emotion" / "intended_1.dat", 2)
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(FileFormatError, match=message) as caught:
        load_cognimuse(tmp_path)
    assert caught.value.path == path


def test_blanks_of_any_kind_may_stand_between_numbers(tmp_path):
    write_film(tmp_path / "BMI" / "BMI.mp4", 2)
    path = write_course(tmp_path / "BMI" / "emotion" / "intended_1.dat", 2)
    rows = path.read_text().replace(" ", "\t").splitlines()
    # The second row ends in a "next line", as text from a mainframe does.
    path.write_text("\n".join([rows[0], rows[1] + "\x85", *rows[2:]]))
    assert np.allclose(load_cognimuse(tmp_path).annotations["arousal"], -0.2)
