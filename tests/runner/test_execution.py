"""An executed notebook is complete or absent, and is stored without anything that varies."""

import json

import nbformat
import pytest

from affectlib.runner import execution
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

    results = notebook_folder / "figures" / "good"
    results.mkdir(parents=True)
    (results / "metrics.json").write_text("of another profile")
    assert not job.done


def test_failing_cell_is_told_in_one_line(notebook_folder, write_notebook, capfd):
    source = "raise FileNotFoundError('COGNIMUSE is not there')"
    write_notebook(notebook_folder / "00_bad.ipynb", source)
    assert main(["--paper", "bad", "--execute"]) == 1
    line = "00_bad.ipynb, cell 2: FileNotFoundError: COGNIMUSE is not there"
    assert line in capfd.readouterr().err


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
