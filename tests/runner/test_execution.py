"""An executed notebook is complete or absent, and is stored without anything that varies."""

import errno
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

from affectlib import paths
from affectlib.runner import execution
from affectlib.runner.content_key import figures_hash
from affectlib.runner.execution import Job
from affectlib.runner.reproduce import main


def test_a_failing_notebook_leaves_no_finished_copy(notebook_folder, write_notebook):
    notebook = write_notebook(notebook_folder / "00_bad.ipynb", "1 / 0")
    output = notebook_folder / "out" / notebook.name
    with pytest.raises(Exception, match="ZeroDivisionError"):
        execution.execute(Job("bad", notebook, output, {}, "key"))
    assert not output.exists()


def test_an_executed_notebook_carries_its_key_and_its_results(
    notebook_folder, write_notebook, capfd
):
    notebook = write_notebook(notebook_folder / "01_good.ipynb", "print(epochs)")
    job = Job("good", notebook, notebook_folder / "out" / notebook.name, {"epochs": 7}, "key")
    execution.execute(job)
    assert job.done
    assert execution.run_record(job.output)["key"] == "key"
    assert [path.name for path in job.output.parent.iterdir()] == ["01_good.ipynb"]
    cells = json.loads(job.output.read_text())["cells"]
    outputs = [cell["outputs"] for cell in cells if cell.get("outputs")]
    assert outputs[0][0]["text"] == ["7\n"]
    assert "cell  2 of 3" in capfd.readouterr().out


@pytest.fixture
def done_job(notebook_folder):
    """A job whose executed copy and figures belong together."""
    job = Job("good", notebook_folder / "01_good.ipynb", notebook_folder / "out.ipynb", {}, "key")
    figures = notebook_folder / "figures" / "good"
    figures.mkdir(parents=True)
    for name in ("metrics.json", "table1.csv", "curve.png"):
        (figures / name).write_text("of this run")
    record = {"key": "key", "figures": figures_hash("good"), "seconds": 1.0}
    job.output.write_text(json.dumps({"metadata": {"affectlib": record}}))
    assert job.done
    return job


@pytest.mark.parametrize("name", ["metrics.json", "table1.csv", "curve.png", "another.png"])
def test_figures_of_another_run_are_made_again(notebook_folder, done_job, name):
    (notebook_folder / "figures" / "good" / name).write_text("of another profile")
    assert not done_job.done


def test_a_deleted_figure_is_made_again(notebook_folder, done_job):
    (notebook_folder / "figures" / "good" / "curve.png").unlink()
    assert not done_job.done


@pytest.mark.parametrize(
    "content", [b"", b'{"metadata": {"affe', b"[]", b"{}", b"7", b'{"metadata": []}', b"\xff"]
)
def test_an_executed_notebook_that_is_cut_is_run_again(done_job, content):
    done_job.output.write_bytes(content)
    assert execution.run_record(done_job.output) == {}
    assert not done_job.done


def test_the_spread_over_seeds_is_no_figure_of_a_run(notebook_folder, done_job):
    (notebook_folder / "figures" / "good" / "spread.json").write_text("{}")
    assert done_job.done


def test_failing_cell_is_told_in_one_line(notebook_folder, write_notebook, capfd):
    source = "raise FileNotFoundError('COGNIMUSE is not there')"
    write_notebook(notebook_folder / "00_bad.ipynb", source)
    assert main(["--paper", "bad", "--execute"]) == 1
    line = "00_bad.ipynb, cell 2: FileNotFoundError: COGNIMUSE is not there"
    assert line in capfd.readouterr().err


def test_a_killed_kernel_is_told_in_one_line(notebook_folder, write_notebook, capfd):
    source = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    write_notebook(notebook_folder / "00_bad.ipynb", source)
    assert main(["--paper", "bad", "--execute"]) == 1
    told = capfd.readouterr().err
    assert "error: 00_bad.ipynb: its kernel was killed (out of memory?); its cells so far" in told
    assert "Traceback" not in told
    assert not list(notebook_folder.rglob("reproduce/*/00_bad.ipynb"))


def test_stored_notebook_has_no_timing_and_no_widget(tmp_path, write_notebook):
    source = write_notebook(tmp_path / "a.ipynb", "1")
    executed = nbformat.read(source, 4)
    executed.metadata["papermill"] = {"duration": 1.5}
    timing = nbformat.v4.new_code_cell("2", execution_count=3, metadata={"tags": ["timing"]})
    timing.outputs = [nbformat.v4.new_output("stream", text="7.25 s\n")]
    executed.cells.insert(1, timing)
    cell = executed.cells[-1]
    cell.metadata["execution"] = {"iopub.status.idle": "2020"}
    cell.execution_count = 2
    widget = {"application/vnd.jupyter.widget-view+json": {}}
    cell.outputs = [
        nbformat.v4.new_output("display_data", data=widget),
        nbformat.v4.new_output("stream", text="kept\n"),
    ]
    nbformat.write(executed, tmp_path / "b.ipynb")
    execution.store(Job("a", source, tmp_path / "b.ipynb", {}, "key"))
    text = source.read_text()
    assert "kept" in text
    assert '"execution_count": 2' in text
    for word in ("papermill", "widget-view", "iopub", "7.25"):
        assert word not in text


# A runner whose only notebook says who runs it, and then waits for longer than the test.
RUNNER = """
import sys
from pathlib import Path
from affectlib import paths
from affectlib.runner import notebooks, reproduce
notebooks.NOTEBOOKS = Path(sys.argv[1])
paths.CACHE = notebooks.NOTEBOOKS / "cache"
paths.FIGURES = notebooks.NOTEBOOKS / "figures"
sys.exit(reproduce.main(sys.argv[2:]))
"""
WAIT = """
import os, time
pipe = open("{pipe}", "wb", buffering=0)
pipe.write(b"at work")
time.sleep(120)
"""


def test_the_kernel_ends_with_the_process_that_asked_for_it(
    tmp_path, write_notebook, wait_until, pipe_content
):
    # A pipe tells by its end that the kernel, its only writer, is gone.
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_notebook(tmp_path / "00_slow.ipynb", WAIT.format(pipe=tmp_path / "pipe"))
    child = [sys.executable, "-c", RUNNER, str(tmp_path), "--paper", "slow", "--execute"]
    # Stands in for `make reproduce`: starts the child, and is killed.
    parent_code = (
        "import os, subprocess, sys; subprocess.run([*sys.argv[1:], '--parent', str(os.getpid())])"
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_code, *child])
    try:
        assert wait_until(lambda: pipe_content(pipe) == b"at work")
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: pipe_content(pipe) == b"")
    os.close(pipe)


def test_a_child_is_told_its_parent(monkeypatch):
    commands = []

    def run(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(execution.subprocess, "run", run)
    job = Job("good", Path("n.ipynb"), Path("out.ipynb"), {}, "key")
    assert execution.run_in_child(job, profile="demo", corpus="simulated", first_seed=0)
    place = commands[0].index("--parent")
    assert commands[0][place + 1] == str(os.getpid())


@pytest.mark.parametrize(
    ("profile", "parameters", "keeps"),
    [("demo", {}, False), ("full", {}, True), ("paper", {}, True), ("demo", {"epochs": 5}, True)],
)
def test_only_the_committed_demo_always_trains_anew(monkeypatch, profile, parameters, keeps):
    environments = []

    def run(command, *, env, **options):
        environments.append(env)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.delenv("AFFECTLIB_KEEP", raising=False)
    monkeypatch.setattr(execution.subprocess, "run", run)
    job = Job("good", Path("n.ipynb"), Path("out.ipynb"), {}, "key")
    options = {"profile": profile, "corpus": "simulated", "first_seed": 0}
    execution.run_in_child(job, parameters=parameters, **options)
    assert ("AFFECTLIB_KEEP" in environments[0]) is keeps


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_a_killed_run_left_of_a_figure_is_removed(notebook_folder, done_job, monkeypatch):
    folder = notebook_folder / "figures" / "good"
    old = folder / ".curve.png.0123.part"
    at_work = folder / ".table1.csv.4567.part"
    for file in (old, at_work):
        file.write_text("half")
    os.utime(old, (0, 0))
    monkeypatch.setattr("papermill.execute_notebook", full_disk)
    assert execution.execute_and_report(done_job) == 1
    assert not old.exists()
    assert at_work.exists()


def test_a_full_disk_ends_a_notebook_in_one_line(notebook_folder, monkeypatch, capsys, done_job):
    def cut_copy(source, target, *_, **__):
        Path(target).write_text('{"cells": [')
        full_disk()

    monkeypatch.setattr("papermill.execute_notebook", cut_copy)
    done_job.output.unlink()
    assert execution.execute_and_report(done_job) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "out.partial.ipynb: the disk is full, more room is needed" in lines[0]
    assert not list(notebook_folder.glob("out*"))


@pytest.mark.parametrize("command", ["reproduce", "sweep", "extract", "agreement"])
def test_a_full_disk_ends_every_command_in_one_line(notebook_folder, monkeypatch, capsys, command):
    module = importlib.import_module(f"affectlib.runner.{command}")
    work = {"reproduce": "plan", "sweep": "sweep", "extract": "extract_corpus"}
    monkeypatch.setattr(module, work.get(command, "measure"), full_disk)
    words = {"sweep": ["slug=gla"], "extract": ["name=heiv"]}.get(command, ["--paper", "gla"])
    assert module.main(words) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "the disk is full, more room is needed: make room there" in lines[0]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("reproduce", ["--paper", "good"]),
        ("sweep", ["slug=good", "grid={epochs: [1]}"]),
        ("extract", ["name=heiv"]),
    ],
)
def test_a_cache_that_may_not_be_written_is_told_before_anything_runs(
    notebook_folder, write_notebook, monkeypatch, capsys, command, words
):
    write_notebook(notebook_folder / "00_good.ipynb", "1")
    monkeypatch.setattr(paths.os, "access", lambda folder, mode: False)
    monkeypatch.setattr(execution, "run_in_child", lambda *_, **__: pytest.fail("ran a notebook"))
    module = importlib.import_module(f"affectlib.runner.{command}")
    assert module.main(words) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    message = "cache: may not be written: allow it, or name another folder in AFFECTLIB_CACHE"
    assert message in lines[0]


def test_the_time_of_a_notebook_is_stored_where_it_has_a_place(
    tmp_path, write_notebook, monkeypatch
):
    source = write_notebook(tmp_path / "a.ipynb", "1")
    content = json.loads(source.read_text())
    place = nbformat.v4.new_markdown_cell("", id="how-long")
    content["cells"].append(dict(place))
    (tmp_path / "b.ipynb").write_text(json.dumps(content))
    monkeypatch.setattr(execution.estimate, "how_long", lambda job: f"Of {job.slug}: a minute.")
    execution.store(Job("a", source, tmp_path / "b.ipynb", {}, "key"))
    assert nbformat.read(source, 4).cells[-1].source == "Of a: a minute."


def test_a_full_disk_leaves_the_stored_notebook_as_it_was(tmp_path, write_notebook, monkeypatch):
    stored = write_notebook(tmp_path / "a.ipynb", "1")
    before = stored.read_bytes()
    write_notebook(tmp_path / "b.ipynb", "2")
    monkeypatch.setattr(paths.os, "replace", full_disk)
    with pytest.raises(paths.WriteError, match=r"a\.ipynb: the disk is full, \d+ bytes"):
        execution.store(Job("a", stored, tmp_path / "b.ipynb", {}, "key"))
    assert stored.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ipynb", "b.ipynb"]


def test_a_notebook_runs_where_the_path_of_a_socket_would_be_too_long(
    notebook_folder, write_notebook, monkeypatch
):
    long = notebook_folder / ("ö" * 50) / "temporary files"
    long.mkdir(parents=True)
    # TMPDIR is read once in a process.
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    notebook = write_notebook(notebook_folder / "00_good.ipynb", "1")
    job = Job("good", notebook, notebook_folder / "out" / notebook.name, {}, "key")
    execution.execute(job)
    assert job.done


@pytest.mark.parametrize(
    ("folder", "transport"),
    [("t" * 98, "ipc"), ("t" * 99, "tcp"), ("ö" * 49, "ipc"), ("ö" * 50, "tcp")],
)
def test_a_kernel_talks_by_files_while_their_paths_are_short(folder, transport):
    assert execution._transport(folder)["transport"] == transport
