"""Two runs agree by their digits on the same arithmetic, elsewhere by the spread over seeds."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import affectlib
from affectlib.runner import agreement, cli

STORED = {
    "model / mse": 0.5,
    "model": {"pcc": {"mean": 0.8, "low": 0.7, "high": 0.9, "n": 5}},
    "claims": {"a beats b": "holds", "b beats c": "undecided"},
}
SPREAD = {
    "numbers": {
        "model / mse": 0.02,
        "model / pcc / mean": 0.01,
        "model / pcc / low": 0.02,
        "model / pcc / high": 0.02,
        "model / pcc / n": 0.0,
    },
    "texts": {},
}


def changed(path, value):
    """The stored metrics with one number or text replaced."""
    metrics = json.loads(json.dumps(STORED))
    *folders, name = path
    place = metrics
    for folder in folders:
        place = place[folder]
    place[name] = value
    return metrics


def test_a_run_agrees_with_itself_on_any_arithmetic():
    for same in (True, False):
        assert agreement.disagreements(STORED, STORED, SPREAD, same=same) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model / mse",), 0.5001),
        (("model", "pcc", "n"), 6),
        (("claims", "b beats c"), "holds"),
        (("model / mse",), None),
    ],
)
def test_on_the_same_arithmetic_every_digit_counts(path, value):
    fresh = changed(path, value)
    found = agreement.disagreements(STORED, fresh, SPREAD, same=True)
    assert len(found) == 1
    assert path[-1] in found[0]


@pytest.mark.parametrize("value", [0.0612345, 0.00512345, -0.00312345])
def test_on_the_same_arithmetic_the_tolerance_fits_the_number(value):
    stored = {"mse": value}
    last_digit = {"mse": value * (1 + 5e-6)}
    fourth_digit = {"mse": value * (1 + 1e-4)}
    assert agreement.disagreements(stored, last_digit, SPREAD, same=True) == []
    assert len(agreement.disagreements(stored, fourth_digit, SPREAD, same=True)) == 1


def test_elsewhere_a_number_may_move_as_far_as_another_seed_moves_it():
    near = changed(("model / mse",), 0.5 + 2 * 0.02)
    far = changed(("model / mse",), 0.5 + 25 * 0.02)
    assert agreement.disagreements(STORED, near, SPREAD, same=False) == []
    assert len(agreement.disagreements(STORED, far, SPREAD, same=False)) == 1


def test_elsewhere_a_number_that_no_seed_moves_may_hardly_move():
    still = {"numbers": dict.fromkeys(SPREAD["numbers"], 0.0), "texts": {}}
    fresh = changed(("model / mse",), 0.5 + 4 * agreement.NEARLY)
    assert len(agreement.disagreements(STORED, fresh, still, same=False)) == 1


def test_elsewhere_counts_stay_and_no_verdict_is_turned_round():
    less = changed(("model", "pcc", "n"), 4)
    softer = changed(("claims", "a beats b"), "undecided")
    opposite = changed(("claims", "a beats b"), "does not")
    assert len(agreement.disagreements(STORED, less, SPREAD, same=False)) == 1
    assert agreement.disagreements(STORED, softer, SPREAD, same=False) == []
    assert len(agreement.disagreements(STORED, opposite, SPREAD, same=False)) == 1


def test_more_than_chance_beyond_the_band_is_a_disagreement():
    stored = {f"mse {i}": 0.5 for i in range(100)}
    spread = {"numbers": dict.fromkeys(stored, 0.01), "texts": {}}
    for moved, expected in ((2, 0), (3, 3)):
        fresh = stored | {f"mse {i}": 0.5 + 0.08 for i in range(moved)}
        assert len(agreement.disagreements(stored, fresh, spread, same=False)) == expected


def test_runs_with_other_numbers_do_not_agree():
    fresh = {name: value for name, value in STORED.items() if name != "claims"}
    assert "a beats b" in agreement.disagreements(STORED, fresh, SPREAD, same=False)[0]


def test_spread_is_the_standard_deviation_over_runs():
    runs = [{"mse": value, "name": text} for value, text in ((1.0, "a"), (2.0, "a"), (4.0, "b"))]
    found = agreement.spread(runs)
    assert found["numbers"]["mse"] == pytest.approx(np.std([1, 2, 4], ddof=1), rel=1e-2)
    assert found["texts"] == {"name": ["a", "b"]}


def test_a_notebook_without_a_spread_is_judged_by_that_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(agreement.paths, "ROOT", tmp_path)
    assert agreement.read_spread("new")["numbers"] == {}
    folder = tmp_path / "figures" / "gla"
    folder.mkdir(parents=True)
    (folder / "spread.json").write_text(json.dumps({"numbers": {"run 5 / mse": 0.02}, "texts": {}}))
    stored, near, far = ({"model / mse": value} for value in (0.5, 0.55, 0.9))
    spread = agreement.read_spread("new")
    assert agreement.read_spread("gla")["numbers"] == {"run 5 / mse": 0.02}
    assert agreement.disagreements(stored, near, spread, same=False) == []
    assert len(agreement.disagreements(stored, far, spread, same=False)) == 1


def write_committed_run(root, seeds):
    """Writes committed results that were made with these seeds; returns their folder."""
    folder = root / "figures" / "gla"
    folder.mkdir(parents=True)
    run = {"metrics": {"mse": 0.5}, "run": {"seeds": seeds}}
    (folder / "metrics.json").write_text(json.dumps(run))
    return folder


def test_the_spread_is_collected_over_the_runs_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(agreement.paths, "ROOT", tmp_path)
    monkeypatch.setattr(agreement.paths, "CACHE", tmp_path / "cache")
    folder = write_committed_run(tmp_path, [0, 1])
    agreement.collect(["all"])
    assert not (folder / "spread.json").exists()

    other = tmp_path / "cache" / "spread" / "100" / "gla"
    other.mkdir(parents=True)
    (other / "metrics.json").write_text(json.dumps({"metrics": {"mse": 0.7}}))
    agreement.collect(["all"])
    content = json.loads((folder / "spread.json").read_text())
    assert content["first seeds"] == [0, 100]
    assert content["numbers"]["mse"] == pytest.approx(np.std([0.5, 0.7], ddof=1), rel=5e-3)
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "spread.json"]


def test_committed_results_of_another_first_seed_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(agreement.paths, "ROOT", tmp_path)
    monkeypatch.setattr(agreement.subprocess, "run", lambda *_, **__: pytest.fail("ran a notebook"))
    write_committed_run(tmp_path, [100, 101])
    assert cli.main(["spread"]) == 2
    assert "expected a run of first seed 0, found 100" in capsys.readouterr().err


# Not all of the arithmetic: descriptors of the film would take most of the time.
DIGITS = """
import json
import affectlib
import numpy as np
from affectlib.runner import agreement
results = agreement._library_results()
results["simulated film"] = [np.frombuffer(agreement._simulated_film(), np.uint8)]
print(json.dumps({name: agreement._digest(arrays) for name, arrays in results.items()}))
"""
OTHER_INSTRUCTIONS = {
    "ATEN_CPU_CAPABILITY": "default",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
}


def digests(settings):
    """The arithmetic of a new process under some settings of the instruction set."""
    chosen = (*affectlib.AVX2_VARIABLES, *affectlib.AVX512_OFF, "AFFECTLIB_INSTRUCTIONS")
    clean = {name: value for name, value in os.environ.items() if name not in chosen}
    run = subprocess.run(
        [sys.executable, "-c", DIGITS],
        env=clean | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


def test_a_simulated_film_is_the_same_bytes_under_another_instruction_set():
    usual = digests({})
    other = digests(OTHER_INSTRUCTIONS)
    assert usual["simulated film"] == other["simulated film"]
    # The other digests tell the two settings apart: the comparison above can fail.
    if "avx2" in affectlib._instruction_sets():
        assert usual["numpy"] != other["numpy"]
        assert usual["torch"] != other["torch"]


def test_numbers_that_hang_on_a_choice_may_be_absent_on_other_arithmetic_only():
    stored = {"mse": 0.1, "gap": 0.2}
    fresh = {"mse": 0.1}
    measured = agreement.spread([stored, fresh])
    assert measured["sometimes"] == ["gap"]
    assert agreement.disagreements(stored, fresh, measured, same=False) == []
    assert agreement.disagreements(fresh, stored, measured, same=False) == []
    assert (
        "only one of the runs has: gap"
        in agreement.disagreements(stored, fresh, measured, same=True)[0]
    )
    other = {"mse": 0.1, "pcc": 0.3}
    assert (
        "only one of the runs has: pcc"
        in agreement.disagreements(stored, other, measured, same=False)[0]
    )
