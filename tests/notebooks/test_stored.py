"""The committed notebooks are executed, can be checked, and are clean.

nbval compares nothing in a notebook without outputs.
"""

import ast
import json
import re

import pytest

from affectlib.runner.notebooks import cells, default_parameters, find_notebooks

NOTEBOOKS = find_notebooks()
LEAST_CHECKS = 5
every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS.values(), ids=NOTEBOOKS)


def source_of(cell):
    return "".join(cell["source"])


def text_of(output):
    """All text of an output: printed, plain or HTML."""
    texts = ["".join(output.get("text", []))]
    for kind, content in output.get("data", {}).items():
        if kind.startswith("text/"):
            texts.append("".join(content))
    return "".join(texts)


def trees_of(notebook):
    """Syntax tree of each code cell."""
    return [ast.parse(source_of(cell)) for cell in cells(notebook)]


def test_there_are_notebooks():
    assert {"start_here", "attend_affect"} <= set(NOTEBOOKS)


@every_notebook
def test_executed_in_order_from_top_to_bottom(notebook):
    counts = [cell["execution_count"] for cell in cells(notebook) if source_of(cell).strip()]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_checked_cells_are_stored_with_plain_text(notebook):
    checked = cells(notebook, "nbval-check-output")
    assert len(checked) >= LEAST_CHECKS
    for cell in checked:
        assert cell["outputs"], source_of(cell)
        for output in cell["outputs"]:
            assert output["output_type"] in ("stream", "execute_result")
            assert output.get("name") != "stderr"
            assert "text/html" not in output.get("data", {})


@every_notebook
def test_outputs_hold_no_error_no_path_no_warning_and_no_widget(notebook):
    for cell in cells(notebook):
        for output in cell["outputs"]:
            assert output["output_type"] != "error", source_of(cell)
            assert output.get("name") != "stderr", source_of(cell)
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            assert not re.search(r"(?<![\w.:/])/(?:home|tmp|root|usr|work|Users)/", text_of(output))


@every_notebook
def test_one_parameters_cell_literal_typed_and_commented(notebook):
    assert default_parameters(notebook)
    assert not cells(notebook, "injected-parameters")
    source = source_of(cells(notebook, "parameters")[0])
    lines = source.splitlines()
    for node in ast.parse(source).body:
        assert isinstance(node, ast.AnnAssign)
        # The comment stands in a line of the assignment, or in a line of its own above it.
        above = lines[node.lineno - 2] if node.lineno > 1 else ""
        inside = lines[node.lineno - 1 : node.end_lineno]
        assert above.startswith("#") or "#" in "".join(inside), inside


@every_notebook
def test_kernel_and_metadata(notebook):
    metadata = json.loads(notebook.read_text())["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert not {"papermill", "widgets", "affectlib"} & set(metadata)


@every_notebook
def test_no_classes(notebook):
    for tree in trees_of(notebook):
        assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree))


@every_notebook
def test_affectlib_is_imported_first(notebook):
    """So that every library is loaded with the one instruction set that gives the stored digits."""
    imports = []
    for tree in trees_of(notebook):
        imports += [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    first = imports[0]
    module = first.module if isinstance(first, ast.ImportFrom) else first.names[0].name
    assert module.split(".")[0] == "affectlib"


@every_notebook
def test_no_output_widget(notebook):
    """A headless client that answers an Output widget may wait for ever (nbclient, issue 312)."""
    names = set()
    for tree in trees_of(notebook):
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
    assert not names & {"interact", "interactive", "interactive_output", "Output"}


@every_notebook
def test_every_picture_has_alternative_text(notebook):
    for cell in cells(notebook):
        for output in cell["outputs"]:
            data = output.get("data", {})
            assert not {"image/png", "image/svg+xml"} & set(data)
            for image in re.findall(r"<img [^>]*>", "".join(data.get("text/html", ""))):
                assert re.search(r'alt="[^"]+"', image)


@every_notebook
def test_sections_are_those_of_every_paper_notebook(notebook):
    if notebook.stem[:2] not in ("01", "02", "03", "04", "05"):
        pytest.skip("not a paper's notebook")
    headings = []
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "markdown":
            headings += re.findall(r"^## (.*)", source_of(cell), flags=re.M)
    assert headings == [
        "Parameters",
        "Setup",
        "Corpus",
        "Features",
        "Model",
        "Training",
        "Evaluation",
        "Figures",
        "What we learned",
        "Differences from the paper",
        "Exercises",
    ]
    assert len(cells(notebook, "solution")) >= 4
