"""The command line of the runner: order, what is skipped, and what is refused."""

import json

import pytest

from affectlib.runner import reproduce
from affectlib.runner.content_key import figures_hash


def test_unknown_paper_is_named(capsys):
    assert reproduce.main(["--paper", "no_such"]) == 2
    assert "no_such" in capsys.readouterr().err


def test_results_of_another_first_seed_are_not_stored(capsys):
    assert reproduce.main(["--store", "--first-seed", "100"]) == 2
    assert "first seed 0 only, not 100" in capsys.readouterr().err


@pytest.fixture
def reader_and_writer(notebook_folder, write_notebook):
    """Two notebooks; the first in order reads the results of the second."""
    write_notebook(
        notebook_folder / "00_reader.ipynb",
        "from affectlib import results",
        "results.read_metrics('writer')",
    )
    write_notebook(notebook_folder / "01_writer.ipynb", "1")
    return notebook_folder


@pytest.fixture
def runs(reader_and_writer, monkeypatch):
    """Replaces the execution of notebooks; lists slug, and whether the key was up to date."""
    ran = []

    def run(job, options):
        ran.append((job.slug, job.key == reproduce.plan(job.slug).key))
        metrics = reader_and_writer / "figures" / job.slug / "metrics.json"
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.write_text(json.dumps([len(ran)]))
        record = {"key": job.key, "figures": figures_hash(job.slug), "seconds": 1.0}
        job.output.parent.mkdir(parents=True, exist_ok=True)
        job.output.write_text(json.dumps({"metadata": {"affectlib": record}}))
        return True

    monkeypatch.setattr(reproduce, "_run", run)
    monkeypatch.setattr(reproduce, "headline", lambda slug: "")
    return ran


def test_a_notebook_runs_after_those_whose_results_it_reads(runs):
    assert reproduce.main([]) == 0
    assert runs == [("writer", True), ("reader", True)]


def test_notebooks_that_are_up_to_date_are_skipped(runs, capsys):
    assert reproduce.main([]) == 0
    assert reproduce.main([]) == 0
    assert len(runs) == 2
    assert "nothing to do: every notebook is up to date" in capsys.readouterr().out


def test_a_change_reaches_the_notebooks_that_read_the_results(
    runs, reader_and_writer, write_notebook
):
    assert reproduce.main([]) == 0
    write_notebook(reader_and_writer / "01_writer.ipynb", "2")
    assert reproduce.main([]) == 0
    assert runs[2:] == [("writer", True), ("reader", True)]


def test_notebooks_that_read_each_other_are_refused(reader_and_writer, write_notebook, capsys):
    write_notebook(
        reader_and_writer / "01_writer.ipynb",
        "from affectlib import results\nresults.recorded('reader')",
    )
    assert reproduce.main([]) == 2
    assert "reader, writer read each other's results" in capsys.readouterr().err
