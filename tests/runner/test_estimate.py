"""Estimates of time, memory and disk, from rates of runs on this machine."""

import json
import time
from pathlib import Path

import nbformat
import pytest

from affectlib.features import Extractor, papers
from affectlib.runner import estimate, notebooks, preflight
from affectlib.runner.execution import Job
from affectlib.runner.notebooks import ParameterError

PARAMETERS = "films: int = 2\nepochs: int = 3\ncorpus: str = 'simulated'"


@pytest.fixture
def job(notebook_folder):
    """Makes jobs of a notebook with two parts: films, and training on them."""
    path = notebook_folder / "01_small.ipynb"
    first = nbformat.v4.new_code_cell(
        PARAMETERS,
        metadata={"tags": ["parameters"], "held": "films * 1000", "written": "films * 10"},
    )
    films = nbformat.v4.new_code_cell("1", metadata={"work": {"part": "films", "amount": "films"}})
    training = nbformat.v4.new_code_cell(
        "2", metadata={"work": {"part": "training", "amount": "films * epochs"}}
    )
    rest = nbformat.v4.new_code_cell("3")
    nbformat.write(nbformat.v4.new_notebook(cells=[first, films, training, rest]), path)

    def make(**parameters):
        return Job("small", path, notebook_folder / "out.ipynb", parameters, "key")

    return make


def executed(job: Job, seconds: list[float]) -> dict:
    """The notebook as papermill leaves it, with the seconds of its cells."""
    content = json.loads(job.notebook.read_text())
    for cell, duration in zip(content["cells"], seconds, strict=True):
        cell["metadata"]["papermill"] = {"duration": duration}
    return content


def test_seconds_grow_as_the_cells_say(job):
    demo = job()
    estimate.remember(demo, executed(demo, [1.0, 4.0, 12.0, 5.0]), peak=10_000)
    # Ten times the films, twice the epochs: 2 s a film, 2 s a film and epoch, 6 s for the rest.
    full = estimate.estimate(job(films=20, epochs=6))
    assert full.seconds == {"other": 6.0, "films": 40.0, "training": 240.0}
    # 18 more films than then, of 1,000 bytes each.
    assert full.memory == 10_000 + 18 * 1000
    assert full.disk == 200
    assert "at most about 5 min (training 4 min, films 40 s, other 6 s)" in str(full)


def test_the_top_of_a_notebook_tells_its_time(job, notebook_folder):
    demo = job(corpus="simulated")
    estimate.remember(demo, executed(demo, [1.0, 4.0, 12.0, 5.0]), peak=10_000)
    text = estimate.how_long(demo)
    assert "about 22 s on two cores" in text
    assert "(training 12 s, films 4 s)" in text
    assert "PROFILE=full" not in text
    # 2 s a film, 2 s a film and epoch, 6 s for the rest: 166 s.
    (notebook_folder / "parameters").mkdir(exist_ok=True)
    (notebook_folder / "parameters" / "small.full.yaml").write_text("films: 20\n")
    assert "at most 3 min." in estimate.how_long(demo)


def test_a_run_that_finds_its_films_does_not_make_films_cheap(job):
    demo = job()
    estimate.remember(demo, executed(demo, [1.0, 4.0, 12.0, 5.0]), peak=10_000)
    estimate.remember(demo, executed(demo, [1.0, 0.1, 12.0, 5.0]), peak=9_000)
    assert estimate.estimate(demo).seconds["films"] == 4.0
    assert estimate.estimate(demo).memory == 10_000


def test_without_a_run_on_this_machine_nothing_is_guessed(job):
    assert "has not run its demo" in str(estimate.estimate(job()))
    estimate.rates_file("small").parent.mkdir(parents=True)
    estimate.rates_file("small").write_text("{cut")
    assert "has not run its demo" in str(estimate.estimate(job()))


def test_too_much_memory_and_disk_is_said_before_a_run(job, monkeypatch):
    demo = job()
    estimate.remember(demo, executed(demo, [1.0, 4.0, 12.0, 5.0]), peak=10_000)
    assert preflight.too_large(preflight.estimates([demo]), 1) == []
    huge = job(films=10**13)
    memory, disk = preflight.too_large(preflight.estimates([huge]), 1)
    assert memory.startswith("memory: 01_small.ipynb at once take about 10000000 GB")
    assert disk.startswith("disk: the run writes about 100000 GB")


@pytest.mark.parametrize("expression", ["films *", "no_such * 2", "films.__class__", "open('x')"])
def test_a_wrong_expression_is_named(expression):
    with pytest.raises(ParameterError, match="work "):
        estimate.amount(expression, {"films": 2})


def test_a_real_corpus_has_its_own_sizes():
    job = Job("gla", notebooks.notebook_file("gla"), Path(), {"corpus": "real"}, "")
    parameters = estimate.all_parameters(job)
    assert parameters["films"] == 66
    # 26 hours and 49 minutes in 54 films.
    assert parameters["film_seconds"] * 54 == pytest.approx(26 * 3600 + 49 * 60)


@pytest.mark.parametrize(
    "slug", [slug for slug in notebooks.find_notebooks() if slug != "start_here"]
)
def test_every_work_of_a_notebook_can_be_computed(slug):
    notebook = notebooks.notebook_file(slug)
    amounts = {}
    for profile in ("demo", "full", "paper"):
        for corpus in notebooks.CORPORA:
            given = notebooks.profile_parameters(notebook, slug, profile, corpus)
            parameters = estimate.all_parameters(Job(slug, notebook, Path(), given, ""))
            for number, cell in enumerate(notebooks.cells(notebook)):
                work = cell["metadata"].get("work")
                if work:
                    value = estimate.amount(work["amount"], parameters)
                    amounts[profile, corpus, number] = value
            (first,) = notebooks.cells(notebook, "parameters")
            for name in ("held", "written"):
                assert estimate.amount(first["metadata"].get(name, "0"), parameters) >= 0
    assert all(value >= 0 for value in amounts.values())
    if slug != "real_labels":
        assert any(value > 0 for value in amounts.values())


@pytest.mark.parametrize("slug", ["shot_long", "attend_affect", "gla"])
def test_memory_counts_the_values_that_a_second_or_segment_has(slug):
    networks = sum(each.size for each in papers.pretrained(slug, weights="random"))
    described = sum(each.size for each in papers.extractors("descriptors", slug))
    (first,) = notebooks.cells(notebooks.notebook_file(slug), "parameters")
    width = f"({networks} if features != 'descriptors' else {described})"
    assert width in first["metadata"]["held"]
    assert width in first["metadata"]["written"]


def test_the_networks_of_a_paper_are_timed_on_this_machine(monkeypatch):
    """Two networks that take half a second for five seconds of film: a tenth of a second each."""

    def slow(pictures):
        time.sleep(0.5)
        return [0.0]

    networks = tuple(Extractor(name, 1, ("value",), slow, rate=1.0) for name in ("first", "second"))
    monkeypatch.setattr(papers, "pretrained", lambda slug, weights: networks)
    assert estimate.network_rate("gla") == pytest.approx(0.2, rel=0.5)
