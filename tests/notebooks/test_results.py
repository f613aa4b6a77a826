"""The committed numbers against those of a fresh run, which `make test` has just made with nbval."""

import json
import os
from pathlib import Path

import pytest

from affectlib import paths
from affectlib.paths import ROOT
from affectlib.runner import agreement

FRESH = os.environ.get("AFFECTLIB_TEST_FIGURES")
COMMITTED = {path.parent.name: path for path in sorted((ROOT / "figures").glob("*/metrics.json"))}

if not FRESH:
    pytest.skip("compares with the fresh run that `make test` makes", allow_module_level=True)


def test_there_are_committed_results():
    assert "attend_affect" in COMMITTED


def fresh_folder(slug):
    """Where the fresh run of a notebook is; skips one that was not run for want of real files."""
    folder = Path(FRESH) / slug
    if slug == "real_labels" and not (paths.GOLDEN / "liris_accede").is_dir():
        pytest.skip(f"{paths.GOLDEN} has no liris_accede: the notebook had nothing to read")
    return folder


@pytest.fixture(scope="session")
def same():
    """Whether this machine computes what the one did that stored the results, to the last digit."""
    return json.loads(agreement.stored_arithmetic().read_text()) == agreement.arithmetic()


@pytest.mark.parametrize("slug", COMMITTED)
def test_fresh_numbers_are_the_committed_ones(slug, same):
    committed = json.loads(COMMITTED[slug].read_text())
    fresh = json.loads((fresh_folder(slug) / "metrics.json").read_text())
    for part in ("slug", "headline", "parameters", "corpus"):
        assert fresh[part] == committed[part]
    assert len(list(agreement.leaves(committed["metrics"]))) > 10
    spread = agreement.read_spread(slug)
    assert not agreement.disagreements(committed["metrics"], fresh["metrics"], spread, same=same)


@pytest.mark.parametrize("slug", COMMITTED)
def test_fresh_run_draws_the_committed_figures(slug):
    names = {path.name for path in (ROOT / "figures" / slug).iterdir()} - {"spread.json"}
    fresh = fresh_folder(slug)
    assert names == {path.name for path in fresh.iterdir()}
    for name in (name for name in names if name.endswith(".png")):
        assert (ROOT / "figures" / slug / name).with_suffix(".txt").read_text().strip()
        assert (fresh / name).stat().st_size > 5000
