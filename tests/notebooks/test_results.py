"""The committed numbers against those of a fresh run, which `make test` makes with nbval."""

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
    """Folder of the fresh run of a notebook; skips one that had no real files to run on."""
    folder = Path(FRESH) / slug
    if slug == "real_labels" and not (paths.GOLDEN / "liris_accede").is_dir():
        pytest.skip(f"{paths.GOLDEN} has no liris_accede: the notebook had nothing to read")
    return folder


@pytest.fixture(scope="session")
def same():
    """Whether this machine computes the same digits as the machine that stored the results."""
    stored = json.loads(agreement.stored_arithmetic().read_text())
    return stored == agreement.arithmetic()


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
    committed = ROOT / "figures" / slug
    fresh = fresh_folder(slug)
    # The spread is measured over other runs, by `make spread`.
    names = {path.name for path in committed.iterdir()} - {"spread.json"}
    assert names == {path.name for path in fresh.iterdir()}
    for picture in committed.glob("*.png"):
        assert picture.with_suffix(".txt").read_text().strip()
        # An empty figure of this size takes fewer bytes.
        assert (fresh / picture.name).stat().st_size > 5000
