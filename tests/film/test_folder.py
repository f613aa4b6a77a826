"""Several films: a folder for each, done once, and a table and a figure of all."""

import json
import os
import shutil
import time
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from affectlib import paths
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.film import folder as folders
from affectlib.film.export import write_features
from affectlib.film.folder import NoFilmError, Settings, analyse_films, films_of
from affectlib.film.report import write_report

draw_all = folders._figure

FILES = {
    "report.html",
    "curve.csv",
    "curve.srt",
    "curve.vtt",
    "curve.eaf",
    "features.csv",
    "features.parquet",
    "features.npz",
    "contents",
    "result.json",
}


@pytest.fixture
def calls(monkeypatch, analysis_of, tmp_path):
    """Films that were analysed; no model is asked. Names that begin with bad fail.

    What takes long is a stand-in: the report, the tables of features and the figure of all films.
    """
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    names = []

    def write_nothing(analysis, path, *, annotation):
        path.write_text(f"{analysis.path.name} {annotation}")

    def write_no_features(table, segments, path, *, frame_rate):
        path.write_text(f"{len(table)} rows")

    def analyse(path, **options):
        names.append(path.name)
        if path.name.startswith("bad"):
            raise FileFormatError(path, "expected a film, found a red \x1b[31m line")
        return analysis_of(path)

    monkeypatch.setattr(folders, "analyse", analyse)
    monkeypatch.setattr(folders, "write_report", write_nothing)
    monkeypatch.setattr(folders, "_figure", lambda results: b"figure")
    monkeypatch.setattr(folders.export, "write_features", write_no_features)
    monkeypatch.setattr(folders, "extract", lambda corpus, extractors, **options: None)
    return names


@pytest.fixture(scope="module")
def film(write_film, tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "one.mp4", 12)


@pytest.fixture
def settings():
    return Settings(_model())


def _model():
    torch.manual_seed(0)
    layer = torch.nn.Linear(2, 1)
    return SimpleNamespace(
        source="made up",
        kind="simulated",
        extractors=(),
        targets=("valence", "arousal"),
        network=lambda target: layer,
    )


def names(folder):
    return {each.name for each in folder.iterdir()}


def test_every_result_of_a_film_is_in_its_folder_once(calls, film, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "write_report", write_report)
    monkeypatch.setattr(folders.export, "write_features", write_features)
    out = tmp_path / "out"
    (result,) = analyse_films([film], out, settings)
    assert result.folder == out / "one" and not result.was_there
    assert names(out / "one") == FILES
    assert names(out) == {"one"}
    before = {file: file.stat().st_mtime_ns for file in (out / "one").iterdir()}
    (again,) = analyse_films([film], out, settings)
    assert again.was_there
    assert again.summary == result.summary and again.curves == result.curves
    assert {file: file.stat().st_mtime_ns for file in (out / "one").iterdir()} == before
    assert calls == ["one.mp4"]


@pytest.mark.parametrize("change", ["film", "smoothing", "weights", "a file", "the record"])
def test_what_changed_is_done_again_and_notes_of_ones_own_stay(
    calls, film, settings, tmp_path, change
):
    copy = tmp_path / "one.mp4"
    shutil.copy(film, copy)
    out = tmp_path / "out"
    analyse_films([copy], out, settings)
    (out / "one" / "notes.txt").write_text("mine")
    if change == "film":
        with open(copy, "ab") as file:
            file.write(b"\0" * 8)
    elif change == "smoothing":
        settings = Settings(settings.model, smoothing=20.0)
    elif change == "weights":
        with torch.no_grad():
            settings.model.network("valence").bias += 1
    elif change == "a file":
        (out / "one" / "curve.csv").unlink()
    else:
        record = json.loads((out / "one" / "result.json").read_text())
        (out / "one" / "result.json").write_text(json.dumps(record | {"key": "x"}))
    (result,) = analyse_films([copy], out, settings)
    assert not result.was_there and len(calls) == 2
    assert names(out / "one") == FILES | {"notes.txt"}
    assert names(out) == {"one"}


def test_features_of_several_films_are_extracted_at_once(
    calls, film, settings, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        folders, "extract", lambda corpus, extractors, **options: asked.append((corpus, options))
    )
    for place in ("a", "b", "c"):
        (tmp_path / place).mkdir()
        shutil.copy(film, tmp_path / place / "one.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    films = [tmp_path / place / "one.mp4" for place in "abc"] + [tmp_path / "bad.mp4"]
    analyse_films(films[:1], tmp_path / "out", settings)
    assert asked == []
    results = analyse_films(films, tmp_path / "out", settings, jobs=3)
    assert [bool(result.error) for result in results] == [False, False, False, True]
    ((corpus, options),) = asked
    # The first film was done, the last cannot be opened; 12 s are two segments.
    assert corpus.clips["path"].tolist() == [str(films[1])] * 2 + [str(films[2])] * 2
    assert corpus.clips["clip"].is_unique
    assert (options["jobs"], options["on_error"]) == (3, "skip")


def test_films_of_one_name_and_folders_of_other_people_are_left_alone(
    calls, film, settings, tmp_path
):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        shutil.copy(film, tmp_path / place / "one.mp4")
    out = tmp_path / "out"
    (out / "photos").mkdir(parents=True)
    (out / "photos" / "1.jpg").write_text("mine")
    shutil.copy(film, tmp_path / "photos.mp4")
    films = [tmp_path / "a" / "one.mp4", tmp_path / "b" / "one.mp4", tmp_path / "photos.mp4"]
    results = analyse_films(films, out, settings)
    assert len({result.folder for result in results}) == 3
    assert results[0].folder.name == "one" and results[1].folder.name.startswith("one-")
    assert names(out / "photos") == {"1.jpg"}
    # In another order each film still finds its own.
    again = analyse_films(films[::-1], out, settings)
    assert all(result.was_there for result in again)


def test_a_film_that_fails_is_named_and_the_others_go_on(
    calls, film, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(folders, "_figure", draw_all)
    for name in ("bad.mp4", "good.mp4", "other.mp4"):
        shutil.copy(film, tmp_path / name)
    out = tmp_path / "out"
    told = []
    results = analyse_films(films_of([tmp_path]), out, settings, tell=told.append)
    assert told == results
    assert [bool(result.error) for result in results] == [True, False, False]
    assert "bad.mp4: expected a film" in results[0].error and "\x1b" not in results[0].error
    assert names(out) == {"good", "other", "overview.csv", "overview.png"}
    table = pd.read_csv(out / "overview.csv")
    assert table["film"].tolist() == ["bad.mp4", "good.mp4", "other.mp4"]
    assert table["error"].notna().tolist() == [True, False, False]
    assert table["segments"].tolist()[1:] == [2, 2]
    # Segments, segments with zeros, shots and frames with a face, as whole numbers.
    assert ",2,0,3,2," in (out / "overview.csv").read_text()
    assert set(table["kind"].dropna()) == {"simulated"}
    picture = (out / "overview.png").read_bytes()
    analyse_films(films_of([tmp_path]), out, settings)
    assert (out / "overview.png").read_bytes() == picture


def test_nothing_half_written_is_left_where_a_report_fails(
    calls, film, settings, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    analyse_films([film], out, settings)
    report = (out / "one" / "report.html").read_bytes()

    def fail(analysis, path):
        raise FileFormatError(path, "expected room")

    monkeypatch.setattr(folders.export, "write_eaf", fail)
    (result,) = analyse_films([film], out, Settings(settings.model, smoothing=3.0))
    assert "expected room" in result.error
    assert names(out) == {"one"}
    assert (out / "one" / "report.html").read_bytes() == report


def test_folders_that_a_killed_process_left_are_removed(calls, film, settings, tmp_path):
    left = tmp_path / ".one.abc.part"
    fresh = tmp_path / ".two.abc.part"
    for folder in (left, fresh):
        folder.mkdir()
    old = time.time() - 2 * paths.LONGEST_WRITE
    os.utime(left, (old, old))
    analyse_films([], tmp_path, settings)
    assert not left.exists() and fresh.exists()


def test_a_folder_stands_for_its_films(tmp_path):
    for name in ("b.mp4", "a.MKV", "notes.txt", "._b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "c.mp4").mkdir()
    found = [tmp_path / "a.MKV", tmp_path / "b.mp4"]
    assert films_of([tmp_path, tmp_path / "b.mp4"]) == found
    with pytest.raises(NoFilmError, match=r"c\.mp4: expected films in this folder, found none"):
        films_of([tmp_path / "c.mp4"])
    with pytest.raises(NotFoundError, match=r"d\.mp4: no such film or folder"):
        films_of([tmp_path / "d.mp4"])
