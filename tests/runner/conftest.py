"""Small notebooks for the tests of the runner, and ways to wait for its processes."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from affectlib import paths
from affectlib.runner import notebooks

PARAMETERS = "epochs: int = 3\nrate: float = 0.5\nname: str | None = None"


@pytest.fixture
def write_notebook() -> Callable[..., Path]:
    """Writes a notebook: a parameters cell and one code cell per source."""

    def write(path: Path, *sources: str, parameters: str = PARAMETERS) -> Path:
        cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        cells += [nbformat.v4.new_code_cell(source) for source in sources]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture
def notebook_folder(tmp_path, monkeypatch) -> Path:
    """An empty folder of notebooks, with a cache and figures of its own."""
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    return tmp_path


@pytest.fixture
def wait_until() -> Callable[..., bool]:
    """Waits for a state; tells whether it came."""

    def wait(state: Callable[[], bool], seconds: float = 60) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if state():
                return True
            time.sleep(0.05)
        return False

    return wait


@pytest.fixture
def pipe_content() -> Callable[[int], bytes | None]:
    """Gives what stands in a pipe: None if nothing, empty if nobody has it open for writing."""

    def content(pipe: int) -> bytes | None:
        try:
            return os.read(pipe, 100)
        except BlockingIOError:
            return None

    return content
