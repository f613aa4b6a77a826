"""The runner: strict parameters, content keys, whole or nothing."""

import json

import nbformat
import pytest
import yaml

from affectlib import paths
from affectlib.runner import reproduce


def write_notebook(
    path, *sources, parameters="epochs: int = 3\nrate: float = 0.5\nname: str | None = None"
):
    cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    nbformat.write(notebook, path)
    return path


def test_parameters_are_read_with_their_types(tmp_path):
    notebook = write_notebook(tmp_path / "n.ipynb")
    assert reproduce.default_parameters(notebook) == {"epochs": 3, "rate": 0.5, "name": None}
    assert reproduce.checked_parameters(notebook, {"epochs": 3, "rate": 1, "name": "x"}) == {
        "rate": 1,
        "name": "x",
    }


@pytest.mark.parametrize(
    "given", [{"epoch": 4}, {"epochs": "4"}, {"epochs": True}, {"rate": "1e-3"}]
)
def test_unknown_or_mistyped_parameter_is_an_error(tmp_path, given):
    notebook = write_notebook(tmp_path / "n.ipynb")
    with pytest.raises(reproduce.ParameterError, match=next(iter(given))):
        reproduce.checked_parameters(notebook, given)


@pytest.mark.parametrize(
    "file", sorted((reproduce.NOTEBOOKS / "parameters").glob("*.yaml")), ids=lambda f: f.name
)
def test_every_profile_fits_its_notebook(file):
    slug, profile = file.stem.split(".")
    notebook = reproduce.find_notebooks()[slug]
    given = yaml.safe_load(file.read_text()) or {}
    assert set(reproduce.checked_parameters(notebook, given)) <= set(given)
    assert profile in ("demo", "full")


def test_unknown_paper_is_named(capsys):
    assert reproduce.main(["--paper", "no_such"]) == 2
    assert "no_such" in capsys.readouterr().err


def test_key_ignores_comments_docstrings_and_markdown_but_not_code(tmp_path):
    key = lambda *s, **p: reproduce.content_key(write_notebook(tmp_path / "n.ipynb", *s), "n", p)  # noqa: E731
    base = key("x = 1")
    assert key("# why\nx = 1  # so") == base
    assert key("x = 2") != base
    assert key("x = 1", epochs=4) != base
    notebook = nbformat.read(tmp_path / "n.ipynb", 4)
    write_notebook(tmp_path / "n.ipynb", "x = 1")
    notebook = nbformat.read(tmp_path / "n.ipynb", 4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("words"))
    nbformat.write(notebook, tmp_path / "n.ipynb")
    assert reproduce.content_key(tmp_path / "n.ipynb", "n", {}) == base


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small checkout of its own: a package, a lock and two notebooks."""
    package = tmp_path / "affectlib"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "low.py").write_text('"""Doc."""\nA = 1\n')
    (package / "sub" / "__init__.py").write_text(
        "def late():\n    from affectlib.low import A\n    return A\n"
    )
    (package / "other.py").write_text("B = 1\n")
    (tmp_path / "requirements.lock").write_text("x==1\n")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def test_key_follows_imports_through_modules(checkout):
    notebook = write_notebook(checkout / "n.ipynb", "from affectlib import sub")
    files = [f.name for f in reproduce.module_files(reproduce.code_cells(notebook))]
    assert files == ["low.py", "__init__.py"]
    key = lambda: reproduce.content_key(notebook, "n", {})  # noqa: E731
    base = key()
    (checkout / "affectlib" / "other.py").write_text("B = 2\n")
    (checkout / "affectlib" / "low.py").write_text('"""Another text."""\nA = 1  # comment\n')
    assert key() == base
    (checkout / "affectlib" / "low.py").write_text("A = 2\n")
    changed = key()
    assert changed != base
    (checkout / "requirements.lock").write_text("x==2\n")
    assert key() != changed


def test_key_of_a_notebook_that_looks_for_any_corpus_follows_the_data_folder(checkout, monkeypatch):
    monkeypatch.setattr(paths, "DATA", checkout / "data")
    looking = write_notebook(
        checkout / "a.ipynb", "from affectlib import paths", "print(paths.DATA)"
    )
    choosing = write_notebook(
        checkout / "b.ipynb", "corpus: str = 'simulated'", "print(paths.DATA)"
    )
    keys = lambda: [reproduce.content_key(notebook, "n", {}) for notebook in (looking, choosing)]  # noqa: E731
    known = [keys()]
    (checkout / "data" / "heiv").mkdir(parents=True)
    (checkout / "data" / "heiv" / "list.txt").write_text("1")
    known.append(keys())
    (checkout / "data" / "heiv" / "list.txt").write_text("12")
    known.append(keys())
    assert len({key for key, _ in known}) == 3 and len({key for _, key in known}) == 1


def test_a_name_that_a_package_passes_on_leads_to_its_module_only(checkout):
    package = checkout / "affectlib" / "many"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from affectlib.many.a import f\nfrom affectlib.many.b import g\n"
    )
    (package / "a.py").write_text("from affectlib.low import A as f\n")
    (package / "b.py").write_text("g = 1\n")
    names = lambda source: [f.name for f in reproduce.module_files([source])]  # noqa: E731
    assert names("from affectlib.many import f") == ["low.py", "a.py"]
    assert names("from affectlib import many") == ["low.py", "__init__.py", "a.py", "b.py"]
    assert names("import affectlib.many.b") == ["b.py"]


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A notebook that reads the results of one that stands after it."""
    monkeypatch.setattr(reproduce, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    write_notebook(
        tmp_path / "00_reader.ipynb",
        "from affectlib.results import read_metrics, recorded",
        "read_metrics('reader') if epochs < 0 else read_metrics('writer')",
    )
    write_notebook(tmp_path / "01_writer.ipynb", "1")
    return tmp_path


def test_key_of_a_notebook_holds_the_results_it_reads_of_others(reader):
    assert reproduce.reads(reader / "00_reader.ipynb", "reader") == ["writer"]
    key = lambda: reproduce.plan("reader").key  # noqa: E731
    absent = key()
    for slug in ("reader", "writer"):
        (reader / "figures" / slug).mkdir(parents=True)
    (reader / "figures" / "reader" / "metrics.json").write_text("{}")
    assert key() == absent
    (reader / "figures" / "writer" / "metrics.json").write_text("{}")
    present = key()
    assert present != absent
    (reader / "figures" / "writer" / "metrics.json").write_text('{"epochs": 1}')
    assert key() not in (absent, present)


def test_a_notebook_runs_after_those_whose_results_it_reads(reader, monkeypatch):
    ran = []

    def run(job, options):
        ran.append((job.slug, job.key == reproduce.plan(job.slug).key))
        metrics = reader / "figures" / job.slug / "metrics.json"
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.write_text(json.dumps([len(ran)]))
        job.output.parent.mkdir(parents=True, exist_ok=True)
        known = {"key": job.key, "results": reproduce.results_hash(job.slug), "seconds": 1.0}
        job.output.write_text(json.dumps({"metadata": {"affectlib": known}}))
        return True

    monkeypatch.setattr(reproduce, "_run", run)
    monkeypatch.setattr("affectlib.results.headline", lambda slug: "")
    assert reproduce.main([]) == 0
    assert ran == [("writer", True), ("reader", True)]
    assert reproduce.main([]) == 0 and len(ran) == 2
    write_notebook(reader / "01_writer.ipynb", "2")
    assert reproduce.main([]) == 0
    assert ran[2:] == [("writer", True), ("reader", True)]


def test_notebooks_that_read_each_other_are_refused(reader, capsys):
    write_notebook(
        reader / "01_writer.ipynb", "from affectlib import results\nresults.recorded('reader')"
    )
    assert reproduce.main([]) == 2
    assert "reader, writer read each other's results" in capsys.readouterr().err


def test_failing_notebook_leaves_no_finished_copy_and_a_good_one_carries_its_key(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(reproduce, "NOTEBOOKS", tmp_path)
    bad = write_notebook(tmp_path / "00_bad.ipynb", "1 / 0")
    good = write_notebook(tmp_path / "01_good.ipynb", "print(epochs)")
    make = lambda slug, file: reproduce.Job(  # noqa: E731
        slug, file, tmp_path / "out" / file.name, {"epochs": 7}, "k"
    )
    with pytest.raises(Exception, match="ZeroDivisionError"):
        reproduce.execute(make("bad", bad))
    assert not (tmp_path / "out" / bad.name).exists()
    job = make("good", good)
    reproduce.execute(job)
    assert job.done and reproduce.executed(job.output)["key"] == "k"
    outputs = [
        c["outputs"] for c in json.loads(job.output.read_text())["cells"] if c.get("outputs")
    ]
    assert outputs[0][0]["text"] == ["7\n"]
    assert "cell  2 of 3" in capfd.readouterr().out
    monkeypatch.setattr(paths, "FIGURES", tmp_path)
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "metrics.json").write_text("of another profile")
    assert not job.done


def test_failing_cell_is_told_in_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(reproduce, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    write_notebook(tmp_path / "00_bad.ipynb", "raise FileNotFoundError('COGNIMUSE is not there')")
    assert reproduce.main(["--paper", "bad", "--execute"]) == 1
    assert (
        "00_bad.ipynb, cell 2: FileNotFoundError: COGNIMUSE is not there" in capfd.readouterr().err
    )


def test_stored_notebook_has_no_timing_and_no_widget(tmp_path):
    source = write_notebook(tmp_path / "a.ipynb", "1")
    executed = nbformat.read(source, 4)
    executed.metadata["papermill"] = {"duration": 1.5}
    timing = nbformat.v4.new_code_cell("2", execution_count=3, metadata={"tags": ["timing"]})
    timing.outputs = [nbformat.v4.new_output("stream", text="7.25 s\n")]
    executed.cells.insert(1, timing)
    cell = executed.cells[-1]
    cell.metadata["execution"] = {"iopub.status.idle": "2020"}
    cell.execution_count = 2
    cell.outputs = [
        nbformat.v4.new_output(
            "display_data", data={"application/vnd.jupyter.widget-view+json": {}}
        ),
        nbformat.v4.new_output("stream", text="kept\n"),
    ]
    nbformat.write(executed, tmp_path / "b.ipynb")
    reproduce.store(reproduce.Job("a", source, tmp_path / "b.ipynb", {}, "k"))
    text = source.read_text()
    assert "kept" in text and '"execution_count": 2' in text
    assert not any(word in text for word in ("papermill", "widget-view", "iopub", "7.25"))
