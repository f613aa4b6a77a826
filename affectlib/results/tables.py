"""The papers' numbers as data, and this run's numbers beside them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

_PUBLISHED = Path(__file__).resolve().parents[1] / "published"
_CELL = ["row", "column"]


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


def against_paper(
    slug: str, table: int | str, run: pd.DataFrame, *, simulated: bool
) -> pd.DataFrame:
    """The paper's table and this run, side by side.

    Args:
        slug: the paper
        table: number of the table in the paper
        run: this run: row, column, mean, low, high; rows that the paper does not have are appended
        simulated: whether the run saw simulated films

    Returns:
        DataFrame with the columns row, column, paper, run, low, high and corpus. The corpus is
        ``simulated`` or ``real``; where this run has no such cell, it is ``quoted`` (from another
        paper) or ``not run``. A metric that is not defined is nan and still of this run

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
    reason = np.where(is_quoted, "quoted", "not run")
    kind = "simulated" if simulated else "real"
    return both.assign(corpus=np.where(was_run, kind, reason))


def side_by_side(table: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """A table of :func:`against_paper` as text: one line per model, one column per metric.

    Args:
        table: row, column, paper, run, low, high, corpus
        digits: decimals

    Returns:
        DataFrame of strings such as ``0.124 | 0.131 [0.120, 0.142]``: the paper's number, then this
        run's number, or the reason why there is none
    """
    text = table.assign(text=[_cell(row, digits) for row in table.itertuples()])
    wide = text.pivot(index="row", columns="column", values="text")
    # pivot sorts: back to the order of the table.
    wide = wide.loc[table["row"].unique().tolist(), table["column"].unique().tolist()]
    kind = "simulated" if "simulated" in set(table["corpus"]) else "real"
    return wide.fillna("–").rename_axis(index=f"paper | this run ({kind})", columns=None)


def _cell(row: tuple, digits: int) -> str:
    """Text of one row of :func:`against_paper`."""
    paper = _number(row.paper, digits)
    if math.isnan(row.run) and row.corpus in ("quoted", "not run"):
        return f"{paper} | {row.corpus}"
    text = f"{paper} | {_number(row.run, digits)}"
    if not math.isnan(row.low):
        text += f" [{_number(row.low, digits)}, {_number(row.high, digits)}]"
    return text


def _number(value: float, digits: int) -> str:
    if math.isnan(value):
        return "–"
    rounded = round(value, digits) + 0.0  # adding 0 takes the minus from a negative zero
    return f"{rounded:.{digits}f}"
