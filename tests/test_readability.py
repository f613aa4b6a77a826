"""The library is no denser than well-kept libraries that are measured in the same way."""

import contextlib
import importlib.util
import io

import pytest

from affectlib.paths import ROOT

SCRIPT = ROOT / "benchmarks" / "readability.py"


@pytest.fixture(scope="module")
def table():
    """Row of the benchmark's table by name, its numbers by column."""
    # Run here: a process of its own would import torch anew, to find torchmetrics.
    spec = importlib.util.spec_from_file_location("readability", SCRIPT)
    readability = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readability)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        readability.main([])
    columns, *rows = [line.split() for line in printed.getvalue().splitlines()]
    return {name: dict(zip(columns, map(float, numbers), strict=True)) for name, *numbers in rows}


@pytest.mark.parametrize("column", ["line_length", "long_lines", "operations", "dense_statements"])
def test_code_is_no_denser_than_the_densest_neighbour(table, column):
    neighbours = [row[column] for name, row in table.items() if name != "affectlib"]
    assert len(neighbours) == 3
    assert table["affectlib"][column] <= max(neighbours)


def test_comments_say_why_in_three_lines_of_a_hundred(table):
    assert table["affectlib"]["comments"] >= 3


def test_every_public_function_has_types(table):
    assert table["affectlib"]["annotated"] == 100
