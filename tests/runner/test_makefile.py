"""The Makefile deletes nothing but its own files, and calls the modules of the runner.

It is run with stand-ins for the programs, below a folder whose name has spaces.
"""

import os
import shutil
import subprocess

import pytest

from affectlib.paths import ROOT
from affectlib.runner import extract, sweep
from affectlib.runner.options import read_options

# Each stand-in appends a line: two variables of its environment, and its arguments.
STAND_IN = """#!/bin/sh
echo "$AFFECTLIB_FIGURES|$AFFECTLIB_TEST_FIGURES|$*" >> "{calls}"
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout in a path with spaces and non-ASCII letters, and stand-ins for Python and ruff."""
    folder = tmp_path / "Größe und Raum" / "affectlib"
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder)
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "00_one.ipynb").write_text("{}")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / ".venv")  # so that `make env` finds nothing to do
    for name in ("python", "ruff"):
        program = programs / name
        program.write_text(STAND_IN.format(calls=folder / "calls"))
        program.chmod(0o755)
    return folder


def make(checkout, *words):
    """Runs a target as a user would, without the variables of a make that runs these tests."""
    inherited = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "AFFECTLIB_FIGURES", "AFFECTLIB_TEST_FIGURES")
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    return subprocess.run(
        ["make", *words], cwd=checkout, env=environment, capture_output=True, text=True
    )


def last_call(checkout):
    """Module and options that the last call of Python was given."""
    line = (checkout / "calls").read_text().splitlines()[-1]
    flag, module, *words = line.split("|")[2].split()
    assert flag == "-m"
    return module, words


@pytest.mark.parametrize(
    ("words", "module", "kinds", "options"),
    [
        (
            ["extract", "CORPUS=heiv", "EXTRACTORS=scene", "ON_ERROR=skip", "SECONDS=2"],
            "affectlib.runner.extract",
            extract.OPTIONS,
            {"name": "heiv", "extractors": "scene", "on_error": "skip", "seconds": 2.0, "jobs": 2},
        ),
        (
            ["sweep", "PAPER=gla", "GRID=grid.yaml", "PROFILE=full"],
            "affectlib.runner.sweep",
            sweep.OPTIONS,
            {
                "slug": "gla",
                "grid": "grid.yaml",
                "profile": "full",
                "corpus": "simulated",
                "jobs": 2,
            },
        ),
    ],
    ids=["extract", "sweep"],
)
def test_make_passes_options_on(checkout, words, module, kinds, options):
    run = make(checkout, *words)
    assert run.returncode == 0, run.stdout + run.stderr
    called, given = last_call(checkout)
    assert called == module
    assert read_options(given, kinds, required=next(iter(kinds))) == options


def test_make_test_deletes_its_old_figures_and_nothing_beside_the_checkout(checkout):
    above = checkout.parents[1]
    # An unquoted path would be split into these: `.../Größe`, `und` and `Raum/affectlib/...`.
    neighbours = [
        above / "Größe",
        checkout / "und",
        checkout / "Raum" / "affectlib" / "build" / "test-figures",
    ]
    for folder in neighbours:
        folder.mkdir(parents=True)
        (folder / "precious.txt").write_text("keep")
    old = checkout / "build" / "test-figures" / "gla" / "metrics.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")

    run = make(checkout, "test")

    assert run.returncode == 0, run.stdout + run.stderr
    assert not old.exists()
    for folder in neighbours:
        assert (folder / "precious.txt").read_text() == "keep"


def test_make_test_names_one_absolute_folder_for_fresh_figures(checkout):
    assert make(checkout, "test").returncode == 0
    calls = [line.split("|") for line in (checkout / "calls").read_text().splitlines()]
    places = {figures for figures, _, _ in calls} | {test_figures for _, test_figures, _ in calls}
    assert places - {""} == {str(checkout / "build" / "test-figures")}
    assert any("--nbval-lax" in arguments and figures for figures, _, arguments in calls)
    assert any(
        "test_results.py" in arguments and test_figures for _, test_figures, arguments in calls
    )


def test_no_recipe_deletes_by_an_absolute_or_unquoted_variable_path():
    recipes = [
        line.strip() for line in (ROOT / "Makefile").read_text().splitlines() if "rm -" in line
    ]
    assert recipes == ['rm -rf "$(TEST_FIGURES)"', "rm -rf build"]
