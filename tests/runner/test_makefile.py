"""The Makefile deletes nothing but its own files, and calls the console command.

It is run with stand-ins for the programs, below a folder whose name has spaces.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from typer.main import get_command

from affectlib.paths import ROOT
from affectlib.runner import cli

# Each stand-in appends a line: two variables of its environment, and its arguments.
STAND_IN = """#!/bin/sh
echo "$AFFECTLIB_FIGURES|$AFFECTLIB_TEST_FIGURES|$*" >> "{calls}"
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout in a path with spaces and non-ASCII letters, and stand-ins for its programs."""
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
    for name in ("python", "ruff", "affectlib"):
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
    """Words that the last call of a program was given."""
    line = (checkout / "calls").read_text().splitlines()[-1]
    return line.split("|")[2].split()


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (
            ["reproduce", "PAPER=gla", "DRY_RUN=yes"],
            "reproduce --paper=gla --profile=demo --corpus=simulated --set= --jobs=2 --dry-run",
        ),
        (
            ["extract", "CORPUS=heiv", "EXTRACTORS=scene", "ON_ERROR=skip", "SECONDS=2"],
            "extract --corpus=heiv --jobs=2 --extractors=scene --seconds=2 --on-error=skip",
        ),
        (
            ["sweep", "PAPER=gla", "GRID=grid.yaml", "PROFILE=full", "DASK_SCHEDULER=tcp://a:1"],
            "sweep --paper=gla --profile=full --corpus=simulated --jobs=2 --grid=grid.yaml "
            "--dask-scheduler=tcp://a:1",
        ),
        (["notebooks"], "notebooks --paper=all --jobs=2"),
        (["spread", "JOBS=1"], "spread --paper=all --jobs=1"),
        (
            ["film", "FILM=my holiday.mp4", "MODEL=released", "OUT=o", "SMOOTHING=20"],
            "film --jobs=2 --model=released --out=o --smoothing=20 -- my holiday.mp4",
        ),
        (
            ["film", "FILM=sintel", "ANNOTATION=own.eaf"],
            "film --jobs=2 --annotation=own.eaf -- sintel",
        ),
        (["weights"], "weights --"),
        (["weights", "NAMES=vggish i3d"], "weights -- vggish i3d"),
        (["weights", "NAMES=xception", "FROM=raf"], "weights --from=raf -- xception"),
        (["site"], "site"),
        (["course"], "course"),
        (["lab", "LAB_ARGS=--no-browser --port=9000"], "lab --no-browser --port=9000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_make_passes_options_on(checkout, words, called):
    run = make(checkout, *words)
    assert run.returncode == 0, run.stdout + run.stderr
    assert last_call(checkout) == called.split()


@pytest.mark.parametrize("target", ["reproduce", "extract", "film", "sweep", "notebooks", "spread"])
def test_the_command_has_every_option_that_make_names(target):
    recipe = (ROOT / "Makefile").read_text().partition(f"\n{target}: env")[2]
    recipe = recipe.partition("\n\n")[0]
    named = set(re.findall(r"--([a-z-]+)", recipe))
    named |= set(re.findall(r"call given,\w+,([a-z-]+)", recipe))
    command = get_command(cli.app).commands[target]
    there = {word.removeprefix("--") for option in command.params for word in option.opts}
    assert named
    assert named <= there


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


# Stands in for uv: keeps the list of what is installed.
UV = """#!/bin/sh
echo "||uv $*" >> "{calls}"
test "$2" != sync || cp .venv/wanted.txt installed.txt
"""


def packages(text):
    """Names in a list of locked packages."""
    return set(re.findall(r"^([a-z][\w.-]*)==", text, flags=re.M))


def test_torch_of_the_cpu_takes_all_but_cuda_from_the_lock(checkout):
    uv = checkout / ".venv" / "bin" / "uv"
    uv.write_text(UV.format(calls=checkout / "calls"))
    uv.chmod(0o755)
    lock = (ROOT / "requirements.lock").read_text()
    versions = dict(re.findall(r"^(torch|torchvision)==(\S+)", lock, flags=re.M))

    assert make(checkout, "env", "TORCH=cpu").returncode == 0
    calls = (checkout / "calls").read_text()
    assert "uv pip sync --quiet --python .venv/bin/python --require-hashes" in calls
    wanted = " ".join(f"{name}=={version}" for name, version in versions.items())
    assert f"--no-deps --torch-backend cpu {wanted}\n" in calls
    installed = (checkout / "installed.txt").read_text()
    left_out = packages(lock) - packages(installed)
    assert {"torch", "torchvision", "triton", "nvidia-cublas", "cuda-bindings"} <= left_out
    assert all(re.match("torch$|torchvision$|triton$|nvidia-|cuda-", name) for name in left_out)
    # Every package that is left has its hashes, and no other ones.
    for block in re.findall(r"^[a-z].*?(?=^[a-z]|\Z)", installed, flags=re.M | re.S):
        assert block in lock
        assert "--hash=sha256:" in block

    # What was chosen stays until another word is given.
    (checkout / "calls").unlink()
    assert make(checkout, "env").returncode == 0
    assert not (checkout / "calls").exists()
    assert make(checkout, "env", "TORCH=lock").returncode == 0
    assert (checkout / "installed.txt").read_text() == lock
    assert "--torch-backend" not in (checkout / "calls").read_text()
    run = make(checkout, "env", "TORCH=gpu")
    assert run.returncode == 2
    assert "error: no TORCH gpu; there are lock, cpu" in run.stderr


def test_no_recipe_deletes_by_an_absolute_or_unquoted_variable_path():
    recipes = [
        line.strip() for line in (ROOT / "Makefile").read_text().splitlines() if "rm -" in line
    ]
    assert recipes == ['rm -rf "$(TEST_FIGURES)"', "rm -rf build"]


HOSTILE = [
    "a`touch pwned`.mp4",
    "a$(touch pwned).mp4",
    "$(shell touch pwned).mp4",
    "a; touch pwned #.mp4",
    "a'; touch pwned; '.mp4",
    'a"; touch pwned; ".mp4',
    "$OPTION_ROOT ${HOME} $$ Größe *.mp4",
]
OPTIONS = {
    "extract": "CORPUS EXTRACTORS FEATURES PRECISION ROOT SECONDS PARTS ON_ERROR DASK_SCHEDULER",
    "film": "FILM MODEL ANNOTATION OUT SMOOTHING JOBS",
    "sweep": "PAPER GRID PROFILE CORPUS DASK_SCHEDULER JOBS",
    "reproduce": "PAPER PROFILE CORPUS JOBS",
    "notebooks": "PAPER JOBS",
    "spread": "PAPER JOBS",
}
CASES = [("extract", text) for text in HOSTILE]
CASES += [(target, HOSTILE[0] + HOSTILE[2]) for target in OPTIONS]


@pytest.mark.parametrize(("target", "text"), CASES)
def test_no_option_is_run_by_make_or_the_shell(checkout, target, text):
    names = OPTIONS[target].split()
    run = make(checkout, target, *(f"{name}={text}" for name in names))
    assert run.returncode == 0, run.stdout + run.stderr
    assert not (checkout / "pwned").exists()
    assert (checkout / "calls").read_text().count(text) == len(names)


@pytest.mark.parametrize("target", ["help", "weights", "test", "lab"])
def test_no_option_of_another_target_is_run(checkout, target):
    run = make(
        checkout,
        target,
        *(f"{name}=$(shell touch pwned)`touch pwned`" for name in ("PAPER", "NAMES", "LAB_ARGS")),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert not (checkout / "pwned").exists()


def test_an_option_that_does_not_exist_is_an_error(checkout):
    run = make(checkout, "reproduce", "PAPER=gla", "features=pretrained")
    assert run.returncode == 2
    assert "no option features; there are PAPER PROFILE" in run.stderr
    assert not (checkout / "calls").exists()


def test_a_film_has_to_be_named(checkout):
    run = make(checkout, "film")
    assert run.returncode == 2
    assert "error: no film: make film FILM=holiday.mp4" in run.stderr
    assert not (checkout / "calls").exists()


def test_options_come_from_the_environment_too(checkout, monkeypatch):
    monkeypatch.setenv("PAPER", "a`touch pwned`$(shell touch pwned)")
    assert make(checkout, "reproduce").returncode == 0
    assert (
        "--paper=a`touch pwned`$(shell touch pwned) --profile=demo"
        in (checkout / "calls").read_text()
    )
    assert not (checkout / "pwned").exists()


@pytest.mark.parametrize("target", ["env", "reproduce"])
def test_a_checkout_that_may_not_be_written_says_what_is_needed(target):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "affectlib"
        folder.mkdir()
        for name in ("Makefile", "requirements.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        for entry in (*folder.iterdir(), folder, folder.parent):
            entry.chmod(0o555)
        # Root may write anywhere, so it becomes nobody.
        user = {"user": 65534} if os.geteuid() == 0 else {}
        run = subprocess.run(["make", target], cwd=folder, capture_output=True, text=True, **user)
        folder.parent.chmod(0o755)
        folder.chmod(0o755)
    assert run.returncode == 2
    lines = [line for line in run.stderr.splitlines() if not line.startswith("make")]
    assert lines == [
        f"error: {folder}: .venv has to be built, and may not be written here: allow it, "
        "or copy the checkout to another folder"
    ]
