"""The library is no denser than well-kept libraries that are measured in the same way."""

import subprocess
import sys

import pytest

from affectlib.paths import ROOT

SCRIPT = ROOT / "benchmarks" / "readability.py"


@pytest.fixture(scope="module")
def table():
    """Row of the benchmark's table by name, its numbers by column."""
    run = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True)
    columns, *rows = [line.split() for line in run.stdout.splitlines()]
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
