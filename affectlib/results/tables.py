"""The papers' numbers as data, and this run's numbers beside them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

_PUBLISHED = Path(__file__).resolve().parents[1] / "published"
_CELL = ["row", "column"]
REASONS = ("quoted", "not run")
"""Why this run has no number where the paper has one."""


def published(slug: str, table: int | str) -> pd.DataFrame:
    """A table of a paper, as data.

    Args:
        slug: the paper
        table: number of the table in the paper; or the name of a file, as ``"figure5"``, for
            numbers that the paper gives with a figure

    Returns:
        DataFrame with one row per cell: row, column, value, spread (nan where none is given),
        quoted (True where the paper itself quotes the number from another paper)

    Raises:
        FileNotFoundError: if there is no such table

    Examples:
        >>> table = published("attend_affect", 1)
        >>> table.query("row == 'Feature AAN (video and audio)'")["value"].tolist()
        [0.124, 0.63, 0.178, 0.572]
    """
    name = table if isinstance(table, str) else f"table{table}"
    file = _PUBLISHED / slug / f"{name}.csv"
    return pd.read_csv(file, dtype={"value": float, "spread": float})


def against_paper(slug: str, table: int | str, run: pd.DataFrame, *, kind: str) -> pd.DataFrame:
    """The paper's table and this run, side by side.

    Args:
        slug: the paper
        table: number of the table in the paper
        run: this run: row, column, mean, low, high; rows that the paper does not have are appended
        kind: of this run, as :func:`affectlib.results.kind` gives it

    Returns:
        DataFrame with the columns row, column, paper, run, low, high and kind. Where this run has
        no such cell, kind is ``quoted`` (from another paper) or ``not run``. A metric that is not
        defined is nan and still of this run

    Raises:
        ValueError: if ``run`` lacks a column or has a cell twice
    """
    missing = {"row", "column", "mean", "low", "high"} - set(run.columns)
    if missing:
        raise ValueError(f"run lacks the columns {', '.join(sorted(missing))}")
    ours = run[["row", "column", "mean", "low", "high"]].rename(columns={"mean": "run"})
    repeated = ours[ours.duplicated(_CELL)]
    if len(repeated):
        row, column = repeated[_CELL].iloc[0]
        raise ValueError(f"run has {row!r}, {column!r} twice")
    paper = published(slug, table).rename(columns={"value": "paper"}).drop(columns="spread")

    # Not an outer merge, which sorts: the paper's order stays, our additional rows follow.
    both = paper.merge(ours, on=_CELL, how="left")
    matched = ours.merge(paper[_CELL], on=_CELL, how="left", indicator=True)
    additional = matched[matched.pop("_merge") == "left_only"]
    both = pd.concat([both, additional], ignore_index=True)

    is_quoted = both.pop("quoted").eq(True)  # nan in the additional rows
    # Not by notna: a metric of this run may be undefined, and is then nan.
    was_run = pd.MultiIndex.from_frame(both[_CELL]).isin(pd.MultiIndex.from_frame(ours[_CELL]))
    reason = np.where(is_quoted, *REASONS)
    return both.assign(kind=np.where(was_run, kind, reason))


def side_by_side(table: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """A table of :func:`against_paper` as text: one line per model, this run, then the paper.

    The paper's numbers stand in columns of their own. Columns without any number are left out.

    Args:
        table: row, column, paper, run, low, high, kind
        digits: decimals

    Returns:
        DataFrame of strings. Its columns have two levels: the kind of this run, as ``simulated``,
        over ``0.131 [0.120, 0.142]`` for each metric, or the reason why there is no number; and
        ``paper`` over ``0.124``
    """
    of_run = table["kind"][~table["kind"].isin(REASONS)]
    kind = of_run.iloc[0] if len(of_run) else "not run"
    blocks = {}
    for column in table["column"].unique():
        part = table[table["column"] == column].set_index("row")
        if part["run"].notna().any():
            lines = [_run_text(line, digits) for line in part.itertuples()]
            blocks[kind, column] = pd.Series(lines, part.index)
        if part["paper"].notna().any():
            blocks["paper", column] = part["paper"].map(lambda value: _number(value, digits))
    # This run first, in the order of the table's columns.
    order = sorted(blocks, key=lambda name: name[0] == "paper")
    wide = pd.DataFrame({name: blocks[name] for name in order})
    # Building a frame sorts the rows: back to the order of the table.
    wide = wide.loc[table["row"].unique().tolist()]
    return wide.fillna("–").rename_axis(index="model")


def _run_text(line: tuple, digits: int) -> str:
    """This run's side of one row of :func:`against_paper`."""
    if line.kind in REASONS:
        return line.kind
    text = _number(line.run, digits)
    if not math.isnan(line.low):
        text += f" [{_number(line.low, digits)}, {_number(line.high, digits)}]"
    return text


def _number(value: float, digits: int) -> str:
    if math.isnan(value):
        return "–"
    rounded = round(value, digits) + 0.0  # adding 0 takes the minus from a negative zero
    return f"{rounded:.{digits}f}"
