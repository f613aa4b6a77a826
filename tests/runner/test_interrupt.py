"""Ctrl-C ends a command in one line, and every process that it has started."""

import os
import shutil
import signal
import subprocess
import sys
import time
import wave

import numpy as np
import pytest

from affectlib import paths

# The only notebook says that its kernel is at work, and then works for longer than the test.
WORK = """
import time
pipe = open("{pipe}", "wb", buffering=0)
pipe.write(b"at work")
time.sleep(120)
"""
COMMANDS = {
    "reproduce": ("--paper", "slow"),
    "sweep": ("--paper=slow", "--grid={epochs: [1, 2]}", "--jobs=1"),
    "extract": ("--corpus=film.wav", "--extractors=sound", "--seconds=1"),
}


@pytest.fixture
def checkout(tmp_path, write_notebook):
    """A checkout of its own: the library, a notebook, and ten minutes of noise."""
    library = shutil.ignore_patterns("__pycache__")
    shutil.copytree(paths.ROOT / "affectlib", tmp_path / "affectlib", ignore=library)
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(paths.ROOT / name, tmp_path)
    (tmp_path / "notebooks").mkdir()
    os.mkfifo(tmp_path / "pipe")
    source = WORK.format(pipe=tmp_path / "pipe")
    write_notebook(tmp_path / "notebooks" / "00_slow.ipynb", source)
    noise = np.random.default_rng(0).integers(-9000, 9000, 600 * 16000).astype("<i2")
    with wave.open(str(tmp_path / "film.wav"), "wb") as film:
        film.setnchannels(1)
        film.setsampwidth(2)
        film.setframerate(16000)
        film.writeframes(noise.tobytes())
    return tmp_path


def is_empty(group):
    """Whether a group of processes has no member left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def as_in_a_terminal():
    """These tests may run in the background, where a shell lets all commands ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


# Each takes 14 s: one always, the others with `AFFECTLIB_FAULTS=20` (see tests/test_faults.py).
TRIED = COMMANDS if os.environ.get("AFFECTLIB_FAULTS") else ("reproduce",)


@pytest.mark.parametrize("command", TRIED)
def test_ctrl_c_ends_a_command_in_one_line_and_all_that_it_started(
    checkout, command, wait_until, pipe_content
):
    # A pipe tells by its end that the kernel, its only writer, is gone.
    pipe = os.open(checkout / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    environment = dict(os.environ)
    for name in os.environ:
        if name.startswith("AFFECTLIB_"):
            del environment[name]
    # A terminal sends Ctrl-C to all processes of a group.
    run = subprocess.Popen(
        [sys.executable, "-m", "affectlib.runner.cli", command, *COMMANDS[command]],
        cwd=checkout,
        env=environment | {"PYTHONPATH": str(checkout)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=as_in_a_terminal,
    )
    try:
        if command == "extract":
            assert wait_until((checkout / "build" / "features" / "films").exists)
            time.sleep(1)  # workers start
        else:
            assert wait_until(lambda: pipe_content(pipe) == b"at work")
        os.killpg(run.pid, signal.SIGINT)
        _, told = run.communicate(timeout=30)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 130
    # Bars stand before it.
    bars = ("features of", "sweep of")
    lines = [line for line in told.splitlines() if line and not line.startswith(bars)]
    assert lines == ["interrupted: what is finished is kept; the same command goes on"]
    assert wait_until(lambda: pipe_content(pipe) == b"")
    assert wait_until(lambda: is_empty(run.pid))
    os.close(pipe)
