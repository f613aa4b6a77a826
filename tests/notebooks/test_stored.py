"""The committed notebooks: executed, checkable, clean. nbval compares nothing in a stripped notebook."""

import ast
import json
import re

import pytest

from affectlib.runner.notebooks import cells, default_parameters, find_notebooks

NOTEBOOKS = find_notebooks()
LEAST_CHECKS = 5
every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS.values(), ids=NOTEBOOKS)


def text_of(output):
    return "".join(output.get("text", [])) + "".join(
        "".join(v) for k, v in output.get("data", {}).items() if k.startswith("text/")
    )


def test_there_are_notebooks():
    assert {"start_here", "attend_affect"} <= set(NOTEBOOKS)


@every_notebook
def test_executed_in_order_from_top_to_bottom(notebook):
    counts = [c["execution_count"] for c in cells(notebook) if "".join(c["source"]).strip()]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_checked_cells_are_stored_with_plain_text(notebook):
    checked = cells(notebook, "nbval-check-output")
    assert len(checked) >= LEAST_CHECKS
    for cell in checked:
        assert cell["outputs"], "".join(cell["source"])
        for output in cell["outputs"]:
            assert output["output_type"] in ("stream", "execute_result")
            assert output.get("name") != "stderr" and "text/html" not in output.get("data", {})


@every_notebook
def test_outputs_hold_no_error_no_path_no_warning_and_no_widget(notebook):
    for cell in cells(notebook):
        for output in cell["outputs"]:
            assert output["output_type"] != "error" and output.get("name") != "stderr", "".join(
                cell["source"]
            )
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            assert not re.search(r"(?<![\w.:/])/(?:home|tmp|root|usr|work|Users)/", text_of(output))


@every_notebook
def test_one_parameters_cell_literal_typed_and_commented(notebook):
    assert default_parameters(notebook)
    assert not cells(notebook, "injected-parameters")
    source = "".join(cells(notebook, "parameters")[0]["source"])
    assert all(isinstance(node, ast.AnnAssign) for node in ast.parse(source).body)
    assert all("#" in line for line in source.splitlines())


@every_notebook
def test_kernel_and_metadata(notebook):
    metadata = json.loads(notebook.read_text())["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert not {"papermill", "widgets", "affectlib"} & set(metadata)


@every_notebook
def test_no_classes_affectlib_first(notebook):
    sources = ["".join(c["source"]) for c in cells(notebook)]
    assert not any(isinstance(n, ast.ClassDef) for s in sources for n in ast.walk(ast.parse(s)))
    imports = [
        n for s in sources for n in ast.parse(s).body if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    assert (getattr(imports[0], "module", None) or imports[0].names[0].name).split(".")[
        0
    ] == "affectlib"


@every_notebook
def test_no_output_widget(notebook):
    """A headless client answers an Output widget, and then at times waits for ever (nbclient, issue 312)."""
    used = {
        n.id if isinstance(n, ast.Name) else n.attr
        for c in cells(notebook)
        for n in ast.walk(ast.parse("".join(c["source"])))
        if isinstance(n, ast.Name | ast.Attribute)
    }
    assert not used & {"interact", "interactive", "interactive_output", "Output"}


@every_notebook
def test_every_picture_has_alternative_text(notebook):
    for cell in cells(notebook):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                assert output["metadata"]["image/png"]["alt"].strip()
            assert "image/svg+xml" not in output.get("data", {})


@every_notebook
def test_sections_are_those_of_every_paper_notebook(notebook):
    if notebook.stem[:2] not in ("01", "02", "03", "04", "05"):
        pytest.skip("not a paper's notebook")
    text = "".join(
        "".join(c["source"]) + "\n"
        for c in json.loads(notebook.read_text())["cells"]
        if c["cell_type"] == "markdown"
    )
    headings = re.findall(r"^## (.*)", text, flags=re.M)
    assert headings == [
        "Parameters",
        "Setup",
        "Corpus",
        "Features",
        "Model",
        "Training",
        "Evaluation",
        "Figures",
        "Differences from the paper",
        "Exercises",
    ]
    assert len(cells(notebook, "solution")) >= 4
