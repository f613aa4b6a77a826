"""The committed numbers against those of a fresh run, which `make test` has just made with nbval."""

import json
import os
from pathlib import Path

import pytest

from affectlib.paths import ROOT

FRESH = os.environ.get("AFFECTLIB_TEST_FIGURES")
COMMITTED = {path.parent.name: path for path in sorted((ROOT / "figures").glob("*/metrics.json"))}

if not FRESH:
    pytest.skip("compares with the fresh run that `make test` makes", allow_module_level=True)


def numbers(content, prefix=""):
    """Every number of a nested result, by its path; bounds and counts of intervals included."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{key} / ")
        elif isinstance(value, int | float):
            yield f"{prefix}{key}", value


def test_there_are_committed_results():
    assert "attend_affect" in COMMITTED


@pytest.mark.parametrize("slug", COMMITTED)
def test_fresh_numbers_are_the_committed_ones(slug):
    committed, fresh = (json.loads(path.read_text()) for path in (
        COMMITTED[slug], Path(FRESH) / slug / "metrics.json"))
    for part in ("slug", "headline", "parameters", "corpus"):
        assert fresh[part] == committed[part]
    expected, found = dict(numbers(committed["metrics"])), dict(numbers(fresh["metrics"]))
    assert len(expected) > 10 and found.keys() == expected.keys()
    # Another processor changes the seventh digit, and training carries it up: one part in ten, or 0.05.
    assert found == pytest.approx(expected, rel=0.1, abs=0.05)


@pytest.mark.parametrize("slug", COMMITTED)
def test_fresh_run_draws_the_committed_figures(slug):
    names = {path.name for path in (ROOT / "figures" / slug).iterdir()}
    assert names == {path.name for path in (Path(FRESH) / slug).iterdir()}
    for name in (name for name in names if name.endswith(".png")):
        assert (ROOT / "figures" / slug / name).with_suffix(".txt").read_text().strip()
        assert (Path(FRESH) / slug / name).stat().st_size > 5000
