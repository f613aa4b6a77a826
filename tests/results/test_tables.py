"""The paper's numbers are the paper's, and this run's numbers stand beside them."""

import math

import pandas as pd
import pytest

from affectlib import results

COLUMNS = ["arousal_mse", "arousal_pcc", "valence_mse", "valence_pcc"]


def wide_table(number):
    """A published table with one line per row and one column per metric."""
    cells = results.published("attend_affect", number)
    return cells.pivot(index="row", columns="column", values="value")


@pytest.mark.parametrize(("table", "rows", "quoted"), [(1, 7, 1), (2, 10, 4)])
def test_published_tables_hold_every_cell(table, rows, quoted):
    cells = results.published("attend_affect", table)
    wide = wide_table(table)
    assert list(cells.columns) == ["row", "column", "value", "spread", "quoted"]
    assert wide.shape == (rows, 4)
    assert sorted(wide.columns) == COLUMNS
    assert wide.notna().all(axis=None)
    assert cells.groupby("row")["quoted"].first().sum() == quoted
    assert cells["value"].between(0, 1.5).all()


def test_published_tables_agree_with_the_text():
    """Section V-a quotes two models of Table II."""
    table = wide_table(2)
    best = table.loc["Feature AAN (video and audio)", COLUMNS]
    assert best.tolist() == [0.742, 0.503, 0.185, 0.467]
    assert table.loc["Feature AAN (only audio)", "arousal_mse"] == 1.111


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", ["Feature", "Temporal"])
def test_published_tables_rank_the_models_as_the_text_does(number, kind):
    """Section V-a concludes from both tables that both modalities together are best."""
    table = wide_table(number)
    best = table.loc[f"{kind} AAN (video and audio)"]
    for other in (f"{kind} AAN (only video)", f"{kind} AAN (only audio)"):
        for target in ("arousal", "valence"):
            assert best[f"{target}_mse"] < table.loc[other, f"{target}_mse"]
            assert best[f"{target}_pcc"] > table.loc[other, f"{target}_pcc"]


@pytest.mark.parametrize(
    ("figure", "cells"), [(5, [0.111, 0.715, 0.184, 0.507]), (6, [0.054, 0.774, 0.172, 0.646])]
)
def test_published_curves_have_the_numbers_of_the_text(figure, cells):
    table = results.published("attend_affect", f"figure{figure}").set_index("column")["value"]
    assert table[COLUMNS].tolist() == cells


def test_unknown_table():
    with pytest.raises(FileNotFoundError):
        results.published("attend_affect", 9)


@pytest.fixture
def run():
    """Scores of one model of the paper, and of one that the paper does not have."""
    cells = [("Feature AAN (only audio)", 0.2, 0.1, 0.3), ("Linear", 0.4, math.nan, math.nan)]
    return pd.DataFrame(cells, columns=["row", "mean", "low", "high"]).assign(column="arousal_mse")


def test_against_paper_puts_both_numbers_into_one_row(run):
    table = results.against_paper("attend_affect", 1, run, kind="simulated")
    assert list(table.columns) == ["row", "column", "paper", "run", "low", "high", "kind"]
    assert len(table) == 7 * 4 + 1
    assert list(table["row"][::4])[:2] == ["Feature AAN (only video)", "Feature AAN (only audio)"]
    cells = table.set_index(["row", "column"])
    ours = cells.loc[("Feature AAN (only audio)", "arousal_mse")]
    shown = ours[["paper", "run", "low", "high", "kind"]].tolist()
    assert shown == [0.125, 0.2, 0.1, 0.3, "simulated"]
    assert math.isnan(cells.loc[("Linear", "arousal_mse"), "paper"])
    assert cells.loc[("Sivaprasad et al. 2018", "valence_pcc"), "kind"] == "quoted"
    assert cells.loc[("Temporal AAN (only audio)", "valence_pcc"), "kind"] == "not run"


def test_against_paper_tells_real_from_simulated(run):
    table = results.against_paper("attend_affect", 1, run, kind="real, descriptors")
    assert set(table["kind"]) == {"real, descriptors", "quoted", "not run"}


def test_side_by_side_keeps_the_paper_in_columns_of_its_own(run):
    text = results.side_by_side(results.against_paper("attend_affect", 1, run, kind="simulated"))
    # Only one metric was run: the others have no column on this run's side.
    paper = [("paper", column) for column in results.published("attend_affect", 1)["column"][:4]]
    assert list(text.columns) == [("simulated", "arousal_mse"), *paper]
    audio = text.loc["Feature AAN (only audio)"]
    assert audio["simulated", "arousal_mse"] == "0.200 [0.100, 0.300]"
    assert audio["paper", "arousal_mse"] == "0.125"
    assert text.loc["Linear", ("simulated", "arousal_mse")] == "0.400"
    assert text.loc["Linear", ("paper", "arousal_mse")] == "–"
    assert text.index[-1] == "Linear"
    assert text.loc["Sivaprasad et al. 2018", ("simulated", "arousal_mse")] == "quoted"
    assert text.loc["Temporal AAN (only audio)", ("simulated", "arousal_mse")] == "not run"


def test_side_by_side_writes_no_minus_before_a_zero(run):
    run = run.assign(mean=-0.0001, low=-0.0002, high=0.0001)
    text = results.side_by_side(results.against_paper("attend_affect", 1, run, kind="simulated"))
    assert text.loc["Linear", ("simulated", "arousal_mse")] == "0.000 [0.000, 0.000]"


def test_an_undefined_metric_of_this_run_is_not_one_that_was_not_run(run):
    undefined = run.assign(column="arousal_pcc", mean=math.nan, low=math.nan, high=math.nan)
    defined = run[:1].assign(column="arousal_pcc", row="Temporal AAN (only audio)")
    run = pd.concat([undefined, defined])
    table = results.against_paper("attend_affect", 1, run, kind="simulated")
    cells = table.set_index(["row", "column"])["kind"]
    for row in ("Feature AAN (only audio)", "Linear"):
        assert cells[row, "arousal_pcc"] == "simulated"
    assert results.side_by_side(table).loc["Linear", ("simulated", "arousal_pcc")] == "–"


def test_against_paper_refuses_half_a_run(run):
    with pytest.raises(ValueError, match="high, low"):
        results.against_paper(
            "attend_affect", 1, run.drop(columns=["low", "high"]), kind="simulated"
        )
    with pytest.raises(ValueError, match=r"'Linear', 'arousal_mse' twice"):
        results.against_paper("attend_affect", 1, pd.concat([run, run[1:]]), kind="simulated")
