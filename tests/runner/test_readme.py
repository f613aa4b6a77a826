"""The README's table is made from the committed results."""

import json
import subprocess

import pytest

from affectlib import paths
from affectlib.runner import readme

METRICS = {"arousal_pcc": {"mean": 0.5123, "low": 0.4, "high": None, "n": 12}, "films": 12}


def write_run(figures, *, headline=(), kind="simulated"):
    """Writes a metrics.json with as much as the README's table needs."""
    run = {
        "slug": "gla",
        "kind": kind,
        "metrics": METRICS | {"claims": {"a beats b": "holds"}},
        "headline": headline,
        "parameters": {},
        "corpus": {"name": "mediaeval18", "simulated": kind == "simulated"},
    }
    (figures / "gla").mkdir(parents=True, exist_ok=True)
    (figures / "gla" / "metrics.json").write_text(json.dumps(run))


@pytest.fixture
def figures(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    return tmp_path / "figures"


def last_line():
    return readme.report().splitlines()[-1]


def test_report_shows_the_headline_in_its_order(figures):
    write_run(figures, headline=["films", "arousal_pcc"])
    numbers = "films 12; arousal_pcc 0.512 [0.400, –]"
    assert last_line() == f"| gla | mediaeval18 | **simulated** | {numbers} |"


def test_report_without_a_headline_shows_all_numbers(figures):
    write_run(figures)
    assert last_line().endswith("| arousal_pcc 0.512 [0.400, –]; films 12 |")


def test_report_names_the_features_of_a_real_run(figures):
    write_run(figures, kind="real, organisers' features")
    assert "| **real, organisers' features** |" in last_line()


def test_headline_of_a_run_that_was_not_made_is_empty(figures):
    assert readme.headline("gla") == ""


def test_update_changes_only_the_lines_between_the_marks(figures, tmp_path):
    write_run(figures)
    file = tmp_path / "README.md"
    file.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    assert readme.update_readme(file) is True
    assert readme.update_readme(file) is False
    table = readme.report()
    assert file.read_text() == f"before\n{readme.BEGIN}\n{table}\n{readme.END}\nafter\n"


def test_update_refuses_a_file_without_marks(figures, tmp_path):
    file = tmp_path / "README.md"
    file.write_text("no marks")
    with pytest.raises(ValueError, match="found them 0 times"):
        readme.update_readme(file)
    assert file.read_text() == "no marks"


def test_readme_is_up_to_date(tmp_path):
    committed = paths.ROOT / "README.md"
    if not committed.is_file():
        pytest.skip("no README.md in this checkout")
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "figures"], cwd=paths.ROOT)
    if changed.returncode == 1:
        pytest.skip("figures/ changed since the last commit: the table is of the committed ones")
    copy = tmp_path / "README.md"
    copy.write_text(committed.read_text(encoding="utf-8"), encoding="utf-8")
    assert not readme.update_readme(copy), "run python -m affectlib.runner.readme"
