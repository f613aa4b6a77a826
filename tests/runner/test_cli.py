"""The console command: help for every option, errors in one line, and Ctrl-C."""

import subprocess
import sys

import pytest
from typer.main import get_command

from affectlib import paths
from affectlib.errors import AffectError
from affectlib.runner import cli

COMMANDS = get_command(cli.app).commands


@pytest.fixture(autouse=True)
def figures(monkeypatch):
    """A run moves the folder of figures: it is put back after each test."""
    monkeypatch.setattr(paths, "FIGURES", paths.FIGURES)


def test_without_a_command_the_help_lists_them_all(capsys):
    assert cli.main([]) == 0
    told = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in told


def test_the_help_loads_nothing_heavy():
    heavy = ("numpy", "pandas", "torch", "sphinx", "nbgrader", "jupyterlab")
    code = (
        "import sys; from affectlib.runner import cli; cli.main(['--help'])\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_and_its_default(name, capsys):
    assert cli.main([name, "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for option in COMMANDS[name].params:
        if getattr(option, "hidden", False):
            continue
        assert option.help
        if option.required:
            default = "[required]"
        elif option.default is None or option.default is False or option.default == []:
            default = "(default: "  # in the words of the help
        elif option.default == cli.ALL:
            default = "[default: all]"
        else:
            default = f"[default: {option.default}]"
        text = told.partition(" ".join(option.help.split()))
        assert text[1], option.name
        assert default in text[1] + text[2][:40], option.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reprodoce"], "No such command 'reprodoce'"),
        (["reprodoce"], "there are reproduce, notebooks, spread, extract, sweep, weights, film"),
        (["reproduce", "--papers=gla"], "No such option: --papers"),
        (["reproduce", "--papers=gla"], "see affectlib reproduce --help"),
        (["reproduce", "gla"], "unexpected extra argument"),
        (["reproduce", "--paper"], "Option '--paper' requires an argument"),
        (["reproduce", "--paper=gla", "--corpus=rael"], "no corpus 'rael'; there are simulated,"),
        (["reproduce", "--paper=gla", "--profile=big"], "no profile 'big'; there are demo, full,"),
        (["spread", "--jobs=0"], "jobs: expected a whole number above 0, not 0"),
        (["red\x1b[31m\n"], "red\\x1b[31m"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(capsys, words, message):
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert "\x1b" not in line


@pytest.mark.parametrize("name", ["site", "course"])
def test_what_is_built_goes_into_its_folder(name, tmp_path, monkeypatch, capsys):
    built = []
    module = pytest.importorskip(f"affectlib.runner.{name}")
    monkeypatch.setattr(module, "build", built.append)
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    assert cli.main([name]) == 0
    assert cli.main([name, "--folder", str(tmp_path / "other" / "place")]) == 0
    assert built == [tmp_path / name, tmp_path / "other" / "place"]
    assert capsys.readouterr().out.splitlines() == [str(folder) for folder in built]

    def fails(folder):
        raise AffectError("a link leads nowhere")

    def is_interrupted(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "build", fails)
    assert cli.main([name]) == 2
    assert capsys.readouterr().err == "error: a link leads nowhere\n"
    monkeypatch.setattr(module, "build", is_interrupted)
    assert cli.main([name]) == 130


@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_the_lab_is_rooted_at_the_checkout(monkeypatch, user, allowed):
    calls = []

    def replace_process(program, words):
        calls.append(words)
        raise SystemExit(0)

    monkeypatch.setattr(cli.os, "geteuid", lambda: user)
    monkeypatch.setattr(cli.os, "execv", replace_process)
    with pytest.raises(SystemExit):
        cli.main(["lab", "--no-browser", "--port=9000"])
    (words,) = calls
    assert words[:3] == [sys.executable, "-m", "jupyterlab"]
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in words
    assert f"--ServerApp.root_dir={paths.ROOT}" in words
    assert ("--allow-root" in words) is allowed
    assert words[-2:] == ["--no-browser", "--port=9000"]


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("affectlib.reproduce", "affectlib reproduce"),
        ("affectlib.sweep", "affectlib sweep"),
        ("affectlib.agreement", "affectlib spread"),
        ("affectlib.features.weights", "affectlib weights"),
    ],
)
def test_the_old_modules_run_the_command_that_took_their_place(module, command):
    run = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith(f"Usage: {command} ")
