"""The Makefile harms nothing: run with stand-ins for the programs, below a folder whose name has spaces."""

import os
import shutil
import subprocess

import pytest

from affectlib.paths import ROOT

# What each stand-in leaves behind: the two places it was given, and its arguments.
STAND_IN = """#!/bin/sh
echo "$AFFECTLIB_FIGURES|$AFFECTLIB_TEST_FIGURES|$*" >> "{calls}"
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose path has spaces and letters beyond ASCII, with stand-ins for Python and ruff."""
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


def make(checkout, target):
    """Runs a target as a user would, without what the make that runs these tests has set."""
    own = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "AFFECTLIB_FIGURES", "AFFECTLIB_TEST_FIGURES")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    return subprocess.run(
        ["make", target], cwd=checkout, env=environment, capture_output=True, text=True
    )


def test_make_test_deletes_its_old_figures_and_nothing_beside_the_checkout(checkout):
    above = checkout.parents[1]
    # What an unquoted path would be split into: `.../Größe`, `und` and `Raum/affectlib/...`.
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
    places = {
        place for figures, test_figures, _ in calls for place in (figures, test_figures) if place
    }
    assert places == {str(checkout / "build" / "test-figures")}
    assert any("--nbval-lax" in arguments and figures for figures, _, arguments in calls)
    assert any(
        "test_results.py" in arguments and test_figures for _, test_figures, arguments in calls
    )


def test_no_recipe_deletes_by_an_absolute_or_unquoted_variable_path():
    recipes = [
        line.strip() for line in (ROOT / "Makefile").read_text().splitlines() if "rm -" in line
    ]
    assert recipes == ['rm -rf "$(TEST_FIGURES)"', "rm -rf build"]
