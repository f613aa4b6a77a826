"""Sweeps: a grid of parameters over a small notebook, here and on a cluster."""

from datetime import date

import pandas as pd
import pytest

from affectlib.runner import cli, notebooks
from affectlib.runner import sweep as module
from affectlib.runner.notebooks import ParameterError

# Writes metrics.json as the notebooks of the papers do.
WRITE_METRICS = """
import json
import os
from pathlib import Path

folder = Path(os.environ["AFFECTLIB_FIGURES"]) / "tiny"
folder.mkdir(parents=True, exist_ok=True)
metrics = {"sum": {"mean": a + b, "low": a, "high": a + 2 * b}}
text = json.dumps({"metrics": metrics, "headline": ["sum"]})
(folder / "metrics.json").write_text(text)
"""


@pytest.fixture
def tiny(notebook_folder, write_notebook):
    """The folder of the sweeps of a notebook with parameters a and b; it fails for a = 3."""
    write_notebook(
        notebook_folder / "01_tiny.ipynb",
        "if a == 3:\n    raise ValueError('three is refused')",
        WRITE_METRICS,
        parameters="a: int = 1\nb: float = 0.5",
    )
    return notebook_folder / "cache" / "sweeps" / "tiny"


def test_a_sweep_runs_every_point_once(tiny, monkeypatch):
    message = r"1 of 2 points of tiny failed:\n.*'a': 3.*three is refused"
    with pytest.raises(module.SweepError, match=message):
        module.sweep("tiny", {"a": [1, 3], "b": [1]}, progress=False)
    table = pd.read_csv(tiny / "sweep.csv")
    assert table[["a", "b", "sum", "sum, low"]].to_numpy().tolist() == [[1, 1, 2, 1]]
    point = tiny / table["key"][0]
    files = [path.relative_to(point).as_posix() for path in point.rglob("*") if path.is_file()]
    assert sorted(files) == ["01_tiny.ipynb", "tiny/metrics.json"]

    monkeypatch.setattr(module, "run", lambda job: pytest.fail(f"{job.parameters} ran again"))
    again = module.sweep("tiny", {"a": [1], "b": [1]}, progress=False)
    assert again["sum"].tolist() == [2]

    ran = []
    monkeypatch.setattr(module, "run", ran.append)
    (point / "01_tiny.ipynb").write_bytes(b'{"cells": [')
    module.sweep("tiny", {"a": [1], "b": [1]}, progress=False)
    assert [job.parameters for job in ran] == [{"b": 1}]


def test_a_sweep_on_a_cluster(tiny):
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        table = module.sweep("tiny", {"a": [2]}, client=address, progress=False)
    assert table["sum"].tolist() == [2.5]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"c": [1]}, "no parameter 'c'; it has a, b"),
        ({"a": ["1"]}, "a='1' is str"),
        ({"a": 1}, "list of values"),
        ({"a": []}, "list of values"),
        ({1: [2]}, "grid: 1 is int, expected a name"),
        ({"a": [1, date(2020, 1, 2)]}, r"grid, a, value 2: datetime.date\(2020, 1, 2\) is date"),
        ({"a": [b"1"]}, "grid, a, value 1: b'1' is bytes"),
        ({"a": [[1], (1, 2)]}, r"grid, a, value 2: \(1, 2\) is tuple"),
        ({"a": [{1: 2}]}, "grid, a, value 1: 1 is int as a name, expected text"),
        ({}, "list of values"),
        (None, "no such grid"),
        ("nowhere.yaml", "no such grid"),
    ],
)
def test_a_grid_is_checked_before_anything_runs(tiny, grid, message):
    with pytest.raises(ParameterError, match=message):
        module.sweep("tiny", grid, progress=False)
    assert not tiny.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [!!python/name:os.system ]", "line 1, column 5: could not determine a constructor"),
        ("a: [1\nb: [2]", "line 2, column 2: "),
        ("a: [1]\na: [2]", "line 2, column 1: the name 'a' stands twice"),
        ("a: [2020-01-02]", r"a, value 1: datetime.date\(2020, 1, 2\) is date"),
        ("a: [2020-13-45]", "no plain YAML: month must be in 1..12"),
        ("a: [!!binary aGk=]", "a, value 1: b'hi' is bytes"),
        ("1: [2]", "1 is int, expected a name"),
        ("? [a]\n: [1]", "line 1, column 3: found unhashable key"),
        ("a: &x [*x]", "line 1, column 8: an alias, expected the value itself"),
        ("\x00", "no plain YAML: unacceptable character"),
    ],
)
def test_a_grid_file_that_is_not_plain_is_refused_by_its_place(tiny, tmp_path, text, message):
    file = tmp_path / "grid.yaml"
    file.write_text(text)
    with pytest.raises(ParameterError, match=rf"grid\.yaml.*{message}"):
        module.sweep("tiny", file, progress=False)


def test_a_sweep_of_an_unknown_notebook_is_refused(tiny):
    with pytest.raises(ParameterError, match=r"no notebook 'other'; there are tiny"):
        module.sweep("other", {"a": [1]}, progress=False)


@pytest.mark.parametrize(
    "file", sorted((notebooks.NOTEBOOKS / "sweeps").glob("*.yaml")), ids=lambda f: f.stem
)
def test_the_papers_grids_fit_their_notebooks(file):
    notebook = notebooks.notebook_file(file.stem)
    points = module._points(file.stem, None)
    given = [notebooks.checked_parameters(notebook, point) for point in points]
    assert len({str(parameters) for parameters in given}) == len(points) > 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--paper=nothing", "--grid={a: [1]}"], "no notebook 'nothing'"),
        (["--paper=tiny", "--grid={a: [10"], "grid, line 1, column 8: "),
        (["--paper=tiny", "--grid=1917"], "no such grid 1917"),
        (["tiny", "--paper=tiny"], "unexpected extra argument"),
        (["--paper=tiny", "--grid={a: [1]}", "--corpus=rael"], "no corpus 'rael'; there are sim"),
        (["--paper=tiny", "--grid={a: [1]}", "--profile=big"], "no profile 'big'; there are demo"),
        (["--paper=all"], "no notebook 'all'; there are tiny"),
        (["--jobs=2"], "Missing option '--paper'"),
        (["--paper=tiny", "--grid={a: [1]}", "--jobs=0"], "jobs: expected a whole number above 0"),
        (["--paper=tiny", "--jobs=two"], "Invalid value for '--jobs'"),
    ],
)
def test_the_command_reports_errors_in_one_line(tiny, capsys, words, message):
    assert cli.main(["sweep", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_extract_corpus_is_still_found_under_its_old_path():
    from affectlib.runner import extract

    with pytest.warns(DeprecationWarning, match=r"moved to affectlib\.runner\.extract"):
        assert module.extract_corpus is extract.extract_corpus
