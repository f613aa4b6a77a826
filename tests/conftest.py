"""Settings of every test: one thread, which importing affectlib sets."""

from collections.abc import Callable
from pathlib import Path

import pytest

from affectlib import paths


@pytest.fixture
def golden() -> Callable[[str], Path]:
    """Gives a file or folder of real material; skips the test where it is not there."""

    def find(name: str) -> Path:
        path = paths.GOLDEN / name
        if not path.exists():
            pytest.skip(f"no {name} in {paths.GOLDEN} (AFFECTLIB_GOLDEN names another folder)")
        return path

    return find
