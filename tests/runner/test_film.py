"""The command for films of one's own: which films, which refusals, which exit status."""

from types import SimpleNamespace

import pytest

from affectlib import paths
from affectlib.film.folder import Result
from affectlib.runner import cli
from affectlib.runner import film as command


@pytest.fixture(autouse=True)
def stand_ins(tmp_path, monkeypatch):
    """No model is trained and no film is looked at; gives what the command asked for."""
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    asked = SimpleNamespace(model=None, films=None, out=None, settings=None)

    def load(model, **options):
        asked.model = model
        return SimpleNamespace(source="made up")

    def analyse_films(films, out, settings, *, jobs, progress, tell):
        asked.films, asked.out, asked.settings, asked.jobs = films, out, settings, jobs
        results = []
        for film in films:
            error = "expected a film" if film.name.startswith("bad") else ""
            results.append(Result(film, out / film.stem, error=error))
            tell(results[-1])
        return results

    monkeypatch.setattr(command.models, "load", load)
    monkeypatch.setattr(command, "analyse_films", analyse_films)
    return asked


def test_a_film_gets_a_folder_and_its_report_is_named(stand_ins, tmp_path, capsys):
    film = tmp_path / "my holiday.mp4"
    film.write_bytes(b"film")
    assert cli.main(["film", str(film)]) == 0
    assert stand_ins.films == [film]
    assert stand_ins.model == "simulated"
    assert stand_ins.out == tmp_path / "cache" / "films"
    told = capsys.readouterr().out
    assert f"my holiday.mp4: {stand_ins.out / 'my holiday' / 'report.html'}" in told
    assert "overview" not in told


def test_options_reach_the_analysis(stand_ins, tmp_path):
    film = tmp_path / "a.mp4"
    film.write_bytes(b"film")
    own = tmp_path / "own.csv"
    own.write_text("start,end,valence\n0,5,0.5\n")
    words = ["--model=released", f"--annotation={own}", f"--out={tmp_path / 'o'}", "--smoothing=20"]
    assert cli.main(["film", *words, "--jobs=1", "--", str(film)]) == 0
    assert (stand_ins.model, stand_ins.out, stand_ins.jobs) == ("released", tmp_path / "o", 1)
    assert (stand_ins.settings.smoothing, stand_ins.settings.annotation) == (20.0, own)


def test_a_failed_film_of_several_makes_the_status_1(stand_ins, tmp_path, capsys):
    for name in ("a.mp4", "bad.mp4"):
        (tmp_path / name).write_bytes(b"film")
    assert cli.main(["film", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "failed: bad.mp4: expected a film" in told.err
    assert "overview.csv" in told.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.mp4"], "nowhere.mp4: no such film or folder; open films to download are sintel"),
        (["red\x1b[31m.mp4"], "red\\x1b[31m.mp4: no such film"),
        (["{here}"], "expected films in this folder, found none"),
        (["{here}", "--smoothing=0"], "smoothing: expected a number above 0"),
        (["{here}", "--jobs=0"], "jobs: expected a whole number above 0"),
        ([], "Missing argument 'PATH...'"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(stand_ins, tmp_path, capsys, words, message):
    (tmp_path / "here").mkdir()
    words = [word.replace("{here}", str(tmp_path / "here")) for word in words]
    assert cli.main(["film", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_an_annotation_is_of_one_film_and_is_read_before_the_work(stand_ins, tmp_path, capsys):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"film")
    own = tmp_path / "own.csv"
    own.write_text("start,end,valence\n0,5,2\n")
    assert cli.main(["film", str(tmp_path), f"--annotation={own}"]) == 2
    assert "expected one film for it, not 2" in capsys.readouterr().err
    assert cli.main(["film", str(tmp_path / "a.mp4"), f"--annotation={own}"]) == 2
    assert "own.csv, row 2: expected valence in [-1, 1]" in capsys.readouterr().err
    assert stand_ins.model is None


def test_an_open_film_is_fetched_unless_a_file_has_its_name(
    stand_ins, tmp_path, monkeypatch, capsys
):
    fetched = []
    film = tmp_path / "sintel.mp4"
    film.write_bytes(b"film")

    def fetch(open_film):
        fetched.append(open_film.name)
        return film

    monkeypatch.setattr(command.commons, "fetch", fetch)
    assert cli.main(["film", "Sintel"]) == 0
    assert (fetched, stand_ins.films) == (["sintel"], [film])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sintel").mkdir()
    film.rename(tmp_path / "sintel" / "own.mp4")
    assert cli.main(["film", "sintel"]) == 0
    assert fetched == ["sintel"]
    assert stand_ins.films[0].name == "own.mp4"


def test_an_archive_that_does_not_answer_makes_the_status_1(stand_ins, monkeypatch, capsys):
    def fail(open_film):
        raise command.commons.DownloadError(f"{open_film.name}: no answer")

    monkeypatch.setattr(command.commons, "fetch", fail)
    assert cli.main(["film", "sintel"]) == 1
    assert capsys.readouterr().err == "error: sintel: no answer\n"


def test_ctrl_c_ends_with_a_line(stand_ins, tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"film")

    def stop(*films, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "analyse_films", stop)
    assert cli.main(["film", str(tmp_path / "a.mp4")]) == 130
