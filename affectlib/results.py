"""What a run leaves behind: metrics.json, tables beside the paper's, and the README's table made from them.

Everything goes to ``figures/<slug>/``, which is committed: same input, same bytes. So no date, no time and no path
is written, and the code is named by the last commit that changed it. Everything made from simulated films says so.

``python -m affectlib.results`` renews the table in README.md.
"""

import json
import math
import os
import platform
import re
import subprocess
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from affectlib import paths
from affectlib.metrics import mse
from affectlib.statistics import bootstrap_interval, interval, train_mean

PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "torch",
    "librosa",
    "opensmile",
    "av",
    "opencv-python-headless",
)
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
_HERE = Path(__file__).resolve().parent


def published(slug, table):
    """A table of a paper, as data.

    Args:
        slug: the paper
        table: number of the table in the paper; or the name of a file, as ``"figure5"``, for numbers told with a figure

    Returns:
        DataFrame with one row per cell: row, column, value, spread (nan where none is given), quoted (True where
        the paper itself quotes the number from another)

    Raises:
        FileNotFoundError: if there is no such table

    Examples:
        >>> published("attend_affect", 1).query("row == 'Feature AAN (video and audio)'")["value"].tolist()
        [0.124, 0.63, 0.178, 0.572]
    """
    name = table if isinstance(table, str) else f"table{table}"
    return pd.read_csv(
        _HERE / "published" / slug / f"{name}.csv", dtype={"value": float, "spread": float}
    )


def against_paper(slug, table, run, *, simulated, baselines=None):
    """The paper's table, this run and the trivial baselines, side by side.

    Args:
        slug: the paper
        table: number of the table in the paper
        run: this run: row, column, mean, low, high; rows that the paper does not have are appended
        simulated: whether the run saw simulated films
        baselines: the values of each trivial predictor by column, as in ``{"train mean": {"arousal_mse": 1.496}}``

    Returns:
        DataFrame with the columns row, column, paper, run, low, high, one per baseline, and corpus: ``simulated``,
        ``real``, or, where this run has no such cell, ``quoted`` (from another paper) or ``not run``. A metric that
        is not defined is nan and still of this run

    Raises:
        ValueError: if ``run`` lacks a column or has a cell twice
    """
    if lacking := {"row", "column", "mean", "low", "high"} - set(run.columns):
        raise ValueError(f"run lacks the columns {', '.join(sorted(lacking))}")
    paper = published(slug, table).rename(columns={"value": "paper"}).drop(columns="spread")
    ours = run[["row", "column", "mean", "low", "high"]].rename(columns={"mean": "run"})
    if ours.duplicated(["row", "column"]).any():
        row, column = ours.loc[ours.duplicated(["row", "column"]), ["row", "column"]].iloc[0]
        raise ValueError(f"run has {row!r}, {column!r} twice")
    # Not an outer merge, which sorts: the paper's order stays, our own rows follow.
    both = paper.merge(ours, on=["row", "column"], how="left")
    new = ours.merge(paper[["row", "column"]], on=["row", "column"], how="left", indicator=True)
    both = pd.concat([both, new[new.pop("_merge") == "left_only"]], ignore_index=True)
    without = np.where(both.pop("quoted").eq(True), "quoted", "not run")
    measured = pd.MultiIndex.from_frame(both[["row", "column"]]).isin(
        pd.MultiIndex.from_frame(ours[["row", "column"]])
    )
    for name, values in (baselines or {}).items():
        both[name] = both["column"].map(values).astype(float)
    return both.assign(corpus=np.where(measured, "simulated" if simulated else "real", without))


def side_by_side(table, *, digits=3):
    """A table of :func:`against_paper` as text for a reader: one line per model, one column per metric.

    Args:
        table: row, column, paper, run, low, high, corpus
        digits: decimals

    Returns:
        DataFrame of strings such as ``0.124 | 0.131 [0.120, 0.142]``: the paper's number, then this run's, or why
        there is none
    """

    def number(value):
        return (
            "–" if math.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"
        )  # no minus before a zero

    def cell(row):
        if math.isnan(row.run) and row.corpus in ("quoted", "not run"):
            return f"{number(row.paper)} | {row.corpus}"
        bounds = "" if math.isnan(row.low) else f" [{number(row.low)}, {number(row.high)}]"
        return f"{number(row.paper)} | {number(row.run)}{bounds}"

    text = table.assign(text=[cell(row) for row in table.itertuples()])
    order = list(dict.fromkeys(table["column"]))
    wide = text.pivot(index="row", columns="column", values="text").loc[
        list(dict.fromkeys(table["row"])), order
    ]
    kind = "simulated" if "simulated" in set(table["corpus"]) else "real"
    return wide.fillna("–").rename_axis(index=f"paper | this run ({kind})", columns=None)


def scores(runs, metrics):
    """Each run's metrics over all its predictions together, with intervals over groups.

    Args:
        runs: (row of a table, target) to Predictions; with several seeds the mean over seeds is taken
        metrics: functions of truth and prediction

    Returns:
        DataFrame with the columns row, column (for example ``arousal_mse``), mean, low, high
    """
    rows = [
        (
            row,
            f"{target}_{metric.__name__}",
            bootstrap_interval(metric, run.truth, run.prediction, groups=run.groups),
        )
        for (row, target), run in runs.items()
        for metric in metrics
    ]
    return pd.DataFrame(
        [(row, column, i.mean, i.low, i.high) for row, column, i in rows],
        columns=["row", "column", "mean", "low", "high"],
    )


def scores_by_group(runs, metrics):
    """Each run's metrics within every group (film), one value per seed.

    Args:
        runs, metrics: as for :func:`scores`

    Returns:
        DataFrame with the columns row, column, group, value
    """
    rows = []
    for (row, target), run in runs.items():
        groups = np.asarray(run.groups)
        for group in dict.fromkeys(run.groups):
            own = groups == group
            rows += [
                (row, f"{target}_{metric.__name__}", group, metric(run.truth[own], prediction[own]))
                for metric in metrics
                for prediction in np.atleast_2d(run.prediction)
            ]
    return pd.DataFrame(rows, columns=["row", "column", "group", "value"])


def official(per_film, rows=None):
    """Mean over films with its t interval: MediaEval's score, each metric taken within a film first.

    An interval ends where the metric does: no error below 0, no correlation beyond 1. A metric that is undefined on
    one film is undefined here, as in :mod:`affectlib.metrics`.

    Args:
        per_film: as of :func:`scores_by_group`
        rows: which rows, in this order; None takes all

    Returns:
        DataFrame as of :func:`scores`, with the number of films ``n``

    Raises:
        ValueError: if ``per_film`` lacks one of the rows
    """
    rows = list(dict.fromkeys(per_film["row"] if rows is None else rows))
    if lacking := [row for row in rows if row not in set(per_film["row"])]:
        raise ValueError(f"per_film lacks the rows {', '.join(lacking)}")
    cells = [
        (row, column, interval(_all_or_none(cell["value"]), groups=cell["group"]))
        for row in rows
        for column, cell in per_film[per_film["row"] == row].groupby("column", sort=False)
    ]
    table = pd.DataFrame(
        [(row, column, i.mean, i.low, i.high, i.n) for row, column, i in cells],
        columns=["row", "column", "mean", "low", "high", "n"],
    )
    errors = table["column"].str.endswith("mse")
    return table.assign(
        low=table["low"].clip(lower=np.where(errors, 0.0, -1.0)),
        high=table["high"].clip(upper=np.where(errors, np.inf, 1.0)),
    )


def floor(clips, folds, targets, metrics=(mse,)):
    """What predicting the mean of each fold's training clips scores: the row to beat.

    Args:
        clips: table of clips with group and the targets
        folds: positions in it
        targets: columns to predict
        metrics: functions of truth and prediction. Within one fold the prediction is constant and has no correlation.
            Over several folds it has one, and a negative one: a film above the others is left out of the mean that it
            is predicted by

    Returns:
        DataFrame as of :func:`scores`
    """
    tested = np.concatenate([fold.test for fold in folds])
    runs = {}
    for target in targets:
        values = clips[target].to_numpy()
        said = [
            train_mean(values[np.r_[fold.train, fold.validation]], len(fold.test)) for fold in folds
        ]
        runs["predict the training mean", target] = SimpleNamespace(
            truth=values[tested],
            prediction=np.concatenate(said),
            groups=clips["group"].to_numpy()[tested],
        )
    return scores(runs, metrics)


def write_metrics(slug, metrics, *, corpus, parameters, seeds, headline=(), name="metrics"):
    """Writes the numbers of a run, with what is needed to get them again.

    Args:
        slug: the paper
        metrics: number or ``statistics.Interval`` per name, nested as needed; nan, undefined, becomes null
        corpus: what the numbers were computed on
        parameters: parameters of the run, plain values
        seeds: the seeds of the run
        headline: names in ``metrics`` that :func:`report` shows, in this order
        name: of the file, without suffix

    Returns:
        path of the file, ``figures/<slug>/<name>.json``

    Raises:
        ValueError: if a name in ``headline`` is not in ``metrics``
        TypeError: if a value is of a kind that JSON has no word for, for example a path
    """
    if unknown := [key for key in headline if key not in metrics]:
        raise ValueError(f"headline names {', '.join(unknown)}, which metrics lacks")
    content = {
        "slug": slug,
        "metrics": metrics,
        "headline": headline,
        "parameters": parameters,
        "corpus": {
            "name": corpus.name,
            "simulated": corpus.simulated,
            "clips": len(corpus),
            "skipped": len(corpus.skipped),
            "citation": corpus.citation,
        },
        "run": {
            "seeds": seeds,
            "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count()),
            "python": platform.python_version(),
            "versions": {package: version(package) for package in PACKAGES},
            "commit": source_commit(),
        },
    }
    text = json.dumps(
        _plain(content), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return _write(paths.FIGURES / slug / f"{name}.json", text + "\n")


def read_metrics(slug, *, name="metrics"):
    """Reads what :func:`write_metrics` wrote, as plain dicts; undefined numbers are None.

    Raises:
        FileNotFoundError: if there was no such run
    """
    return json.loads((paths.FIGURES / slug / f"{name}.json").read_text(encoding="utf-8"))


def recorded(slug, *, corpus, parameters, seeds):
    """Metrics of an earlier run made under the same protocol, None where there is none.

    Numbers of two runs may stand side by side only if both saw the same clips under the same settings.

    Args:
        slug: the notebook that made the run; the runner takes its results for an input of the notebook that asks
        corpus: its name, number of clips and being simulated must be those of the run
        parameters: each must have this value in the run; the run may have more
        seeds: those of the run

    Returns:
        dict of metrics as :func:`write_metrics` was given them, intervals as dicts
    """
    try:
        run = read_metrics(slug)
    except FileNotFoundError:
        return None
    there = [run["corpus"][name] for name in ("name", "simulated", "clips")] + [run["run"]["seeds"]]
    same = there == _plain([corpus.name, corpus.simulated, len(corpus), list(seeds)])
    known = {name: run["parameters"].get(name) for name in parameters}
    return run["metrics"] if same and known == _plain(parameters) else None


def write_table(slug, name, table, *, simulated):
    """Writes a table as CSV, six significant digits, its column ``corpus`` telling simulated from real.

    Returns:
        path of the file, ``figures/<slug>/<name>.csv``
    """
    if "corpus" not in table.columns:
        table = table.copy()
        table.insert(0, "corpus", "simulated" if simulated else "real")
    return _write(
        paths.FIGURES / slug / f"{name}.csv", table.to_csv(index=False, float_format="%.6g")
    )


def report():
    """One markdown table over all ``figures/*/metrics.json``: paper, corpus, input, headline numbers with intervals.

    Numbers of a run without ``headline`` are all those at the top of its metrics.
    """
    lines = ["| paper | corpus | input | result, mean [95 % interval] |", "|---|---|---|---|"]
    for path in sorted(paths.FIGURES.glob("*/metrics.json")):
        run = read_metrics(path.parent.name)
        features = run["parameters"].get("features")
        kind = "**simulated**" if run["corpus"]["simulated"] else "**real**"
        if features and not run["corpus"]["simulated"]:
            kind += f", {features}"
        lines.append(
            f"| {run['slug']} | {run['corpus']['name']} | {kind} | {headline(run['slug'])} |"
        )
    return "\n".join(lines)


def headline(slug):
    """Headline numbers of a run with their intervals, empty where it wrote none."""
    if not (paths.FIGURES / slug / "metrics.json").exists():
        return ""
    run = read_metrics(slug)
    names = run["headline"] or [name for name, value in run["metrics"].items() if _cell(value)]
    return "; ".join(f"{name} {_cell(run['metrics'][name])}" for name in names)


def update_readme(path=None):
    """Puts :func:`report` between the two marks in the README.

    Args:
        path: the file; None takes README.md of the checkout

    Returns:
        whether the file changed

    Raises:
        ValueError: if the marks are not there once each, in order
    """
    path = Path(path or paths.ROOT / "README.md")
    old = path.read_text(encoding="utf-8")
    new, count = re.subn(
        f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{report()}\n{END}", old, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{path}: expected {BEGIN} and {END} once, found them {count} times")
    if new != old:
        _write(path, new)
    return new != old


def source_commit():
    """The last commit that changed affectlib or its locked environment, ``+`` added where files differ from it.

    A commit of results does not change it, so that a run repeated on a clone writes the same bytes. None outside
    a git checkout.
    """

    def git(*words):
        run = subprocess.run(
            ["git", *words, "--", "affectlib", "requirements.lock"],
            cwd=paths.ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        return run.stdout.strip()

    try:
        return git("log", "-1", "--format=%H") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _all_or_none(values):
    return values if values.notna().all() else values * math.nan


def _plain(value):
    """Plain containers and numbers of six significant digits."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _cell(value):
    """A number or interval for a reader, empty for anything else."""
    if isinstance(value, dict) and {"mean", "low", "high"} <= set(value):
        mean, low, high = (
            "–" if value[key] is None else f"{value[key]:.3f}" for key in ("mean", "low", "high")
        )
        return f"{mean} [{low}, {high}]"
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else f"{value}" if type(value) is int else ""


def _write(path, text):
    """Writes a whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)
    return path


if __name__ == "__main__":
    print("README.md renewed" if update_readme() else "README.md was up to date")
