"""The command line of the runner: order, what is skipped, and what is refused."""

import json
import threading
import types

import pytest

from affectlib import paths
from affectlib.runner import cli, reproduce
from affectlib.runner.content_key import figures_hash


def status(*options):
    """Exit status of `affectlib reproduce` with these options."""
    return cli.main(["reproduce", *options])


def test_unknown_paper_is_named(capsys):
    assert status("--paper", "no_such") == 2
    assert "no_such" in capsys.readouterr().err


def test_results_of_another_first_seed_are_not_stored(capsys):
    assert reproduce.main("all", store=True, first_seed=100) == 2
    assert "first seed 0 is stored only, not demo-simulated-100" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ([], None),
        (["--profile", "full"], "full-simulated"),
        (["--corpus", "real"], "demo-real"),
        (["--profile", "paper", "--corpus", "real"], "paper-real"),
    ],
)
def test_only_the_demo_writes_over_the_committed_figures(runs, options, folder, monkeypatch):
    monkeypatch.delenv("AFFECTLIB_FIGURES", raising=False)
    committed = paths.FIGURES
    assert status("--paper", "writer", *options) == 0
    expected = committed if folder is None else paths.CACHE / "figures" / folder
    assert expected == paths.FIGURES
    # A folder that the user names takes whatever is run.
    monkeypatch.setenv("AFFECTLIB_FIGURES", str(committed))
    paths.FIGURES = committed
    assert status("--paper", "writer", *options) == 0
    assert committed == paths.FIGURES


def test_parameters_of_ones_own_get_folders_of_their_own(monkeypatch):
    monkeypatch.delenv("AFFECTLIB_FIGURES", raising=False)
    folders = {reproduce.Settings().folder}
    for parameters in ({"epochs": 5}, {"epochs": 6}, {"epochs": 5, "lengths": [3]}):
        settings = reproduce.Settings(parameters=parameters)
        assert settings.figures == paths.CACHE / "figures" / settings.folder
        folders.add(settings.folder)
    assert len(folders) == 4


def test_a_fresh_run_forgets_earlier_ones(runs):
    trained = paths.CACHE / "trained"
    trained.mkdir(parents=True)
    (trained / "a.pt").write_text("weights")
    assert status() == 0
    assert (trained / "a.pt").exists()
    assert status("--fresh") == 0
    assert not trained.exists()
    assert [slug for slug, _ in runs] == ["writer", "reader"] * 2


def test_several_papers_in_one_call(runs):
    assert status("--paper", "writer reader") == 0
    assert [slug for slug, _ in runs] == ["writer", "reader"]
    assert status("--fresh", "--paper", "writer", "--paper", "reader") == 0
    assert [slug for slug, _ in runs] == ["writer", "reader"] * 2
    assert status("--paper", " ") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch=5", "no parameter 'epoch'; it has epochs"),
        ("epochs=many", "epochs='many' is str, the default 3 is int"),
        ("epochs", "expected name=value, not 'epochs'"),
        ("epochs=1 epochs=2", "epochs stands twice"),
        ("epochs='1", "No closing quotation"),
        ("epochs=2020-01-01", "is date, expected"),
    ],
)
def test_parameters_of_ones_own_are_checked(runs, text, message, capsys):
    assert status("--paper", "writer", "--set", text) == 2
    assert message in capsys.readouterr().err
    assert runs == []


def test_a_run_says_how_many_numbers_and_which_verdicts_differ(runs, reader_and_writer, capsys):
    metrics = reader_and_writer / "figures" / "writer" / "metrics.json"
    metrics.parent.mkdir(parents=True)
    numbers = {"mse": 0.5, "pcc": 0.1, "claims": {"a beats b": {"verdict": "holds", "p": 0.01}}}
    metrics.write_text(json.dumps({"metrics": numbers}))
    before = reproduce.stored_metrics("writer")
    numbers = {"mse": 0.5, "pcc": 0.2, "claims": {"a beats b": {"verdict": "undecided", "p": 0.3}}}
    metrics.write_text(json.dumps({"metrics": numbers}))
    assert reproduce.against_stored("writer", before) == [
        "writer: 1 of 3 numbers agree with the stored ones",
        "writer: another verdict: claims / a beats b / verdict: stored holds, now undecided",
    ]
    assert reproduce.against_stored("writer", None) == []


def test_a_dry_run_lists_what_is_missing_and_runs_nothing(
    runs, reader_and_writer, write_notebook, capsys, monkeypatch
):
    monkeypatch.setattr(paths, "DATA", reader_and_writer / "data")
    (reader_and_writer / "data" / "heiv").mkdir(parents=True)
    source = "corpus: str = 'simulated'\nfeatures: str = 'descriptors'"
    loading = "[getattr(corpora, f'load_{name}') for name in ('heiv', 'ekman6')]"
    write_notebook(reader_and_writer / "02_caan.ipynb", loading, parameters=source)
    options = ["--paper", "caan", "--corpus", "real", "--set", "features=pretrained", "--dry-run"]
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(reader_and_writer / "weights"))
    assert status(*options) == 1
    said = capsys.readouterr().out
    assert "02_caan.ipynb: to run" in said
    assert "corpus ekman6, expected in" in said
    assert "corpus heiv" not in said
    assert "weights vgg_face" in said or "weights vggface" in said
    assert runs == []
    assert status("--paper", "caan", "--dry-run") == 0
    assert "nothing is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("slug", "settings", "files"),
    [
        ("caan", "features={face: descriptors}", {"vgg16-397923af.pth"}),
        ("caan", "detector=mtcnn", {"pnet.pt", "rnet.pt", "onet.pt"}),
        ("caan", "features=pretrained weights=random", set()),
        ("gla", "features=organisers", set()),
        # 06 describes films as 04 does.
        (
            "comparison",
            "features={image: organisers, face: descriptors}",
            {"vggish-10086976.pth", "vggish_pca_params-970ea276.pth"},
        ),
    ],
)
def test_only_the_weights_that_a_notebook_will_read_are_missing(
    notebook_folder, write_notebook, capsys, monkeypatch, slug, settings, files
):
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(notebook_folder / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(notebook_folder / "torch"))
    parameters = "features: str | dict = 'descriptors'\nweights: str = ''\ndetector: str = 'hog'"
    write_notebook(notebook_folder / f"01_{slug}.ipynb", "1", parameters=parameters)
    assert status("--paper", slug, "--set", settings, "--dry-run") == bool(files)
    lines = capsys.readouterr().out.splitlines()
    missing = [line.split()[2] for line in lines if line.startswith("missing: ")]
    assert set(missing) == files


def test_a_modality_that_does_not_exist_is_refused_before_anything_runs(
    runs, reader_and_writer, write_notebook, capsys
):
    parameters = "features: str | dict = 'descriptors'"
    write_notebook(reader_and_writer / "02_gla.ipynb", "1", parameters=parameters)
    assert status("--paper", "gla", "--set", "features={ear: pretrained}") == 2
    assert "gla has no modality 'ear'; there are image, audio, face" in capsys.readouterr().err
    assert runs == []


def test_a_file_of_ones_own_that_is_not_there_is_missing(notebook_folder, write_notebook, capsys):
    source = "film: str = ''\nmodel: str = ''\nannotation: str = ''"
    write_notebook(notebook_folder / "07_own.ipynb", "1", parameters=source)
    there = notebook_folder / "there.mp4"
    there.touch()
    words = f"film={there} model=released"
    assert status("--paper", "own", "--set", words, "--dry-run") == 0
    words = "film=no/such.mp4 model=no/models.pt annotation=no/own.csv"
    assert status("--paper", "own", "--set", words, "--dry-run") == 1
    said = capsys.readouterr().out
    assert "missing: film no/such.mp4, from" in said
    assert "missing: model no/models.pt, from" in said
    assert "missing: annotation no/own.csv, from" in said


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

    def run(job, settings):
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
    assert status() == 0
    assert runs == [("writer", True), ("reader", True)]


def test_notebooks_that_are_up_to_date_are_skipped(runs, capsys):
    assert status() == 0
    assert status() == 0
    assert len(runs) == 2
    assert "nothing to do: every notebook is up to date" in capsys.readouterr().out


def test_a_deleted_figure_is_made_again(runs, reader_and_writer):
    assert status() == 0
    (reader_and_writer / "figures" / "writer" / "metrics.json").unlink()
    assert status() == 0
    assert runs[2:] == [("writer", True), ("reader", True)]


def test_a_change_reaches_the_notebooks_that_read_the_results(
    runs, reader_and_writer, write_notebook
):
    assert status() == 0
    write_notebook(reader_and_writer / "01_writer.ipynb", "2")
    assert status() == 0
    assert runs[2:] == [("writer", True), ("reader", True)]


def test_notebooks_that_read_each_other_are_refused(reader_and_writer, write_notebook, capsys):
    write_notebook(
        reader_and_writer / "01_writer.ipynb",
        "from affectlib import results\nresults.recorded('reader')",
    )
    assert status() == 2
    assert "reader, writer read each other's results" in capsys.readouterr().err


def test_a_notebook_waits_for_those_that_it_reads_and_for_no_other(monkeypatch):
    """``reader`` begins while ``slow`` is still at work, and not before ``read`` has ended."""
    events = []
    reader_begun = threading.Event()

    def run(job, settings):
        events.append(f"{job.slug} begins")
        if job.slug == "slow":
            assert reader_begun.wait(60)
        if job.slug == "reader":
            reader_begun.set()
        events.append(f"{job.slug} ends")
        return True

    def planned(slug, settings):
        done = slug == "up to date"
        return types.SimpleNamespace(slug=slug, notebook=slug, done=done)

    reads = {"reader": ["read"], "last": ["reader", "up to date"]}
    monkeypatch.setattr(reproduce, "slugs_read", lambda notebook, slug: reads.get(slug, []))
    monkeypatch.setattr(reproduce, "plan", planned)
    monkeypatch.setattr(reproduce, "_run", run)
    jobs = [planned(slug, None) for slug in ("last", "reader", "up to date", "slow", "read")]
    ran, failed = reproduce._run_in_order(reproduce.sorted_by_results(jobs), None, 2)
    assert set(ran) == {"last", "reader", "slow", "read"}
    assert failed == []
    assert events.index("read ends") < events.index("reader begins")
    assert events.index("reader begins") < events.index("slow ends")
    assert events.index("reader ends") < events.index("last begins")
