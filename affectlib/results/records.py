"""The files of a run in ``figures/<slug>/``: metrics.json and tables."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from affectlib import paths

if TYPE_CHECKING:
    import pandas as pd

    from affectlib.corpora import Corpus

# Libraries that can change a number: their versions stand in metrics.json.
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


def write_metrics(
    slug: str,
    metrics: Mapping[str, object],
    *,
    corpus: Corpus,
    kind: str,
    parameters: Mapping[str, object],
    seeds: Sequence[int],
    headline: Sequence[str] = (),
) -> Path:
    """Writes the numbers of a run, with everything that is needed to get them again.

    Args:
        slug: the paper
        metrics: number or ``statistics.Interval`` per name, nested as needed; nan (undefined)
            becomes null
        corpus: the corpus on which the numbers were computed
        kind: of the result, as :func:`affectlib.results.kind` gives it
        parameters: parameters of the run, plain values
        seeds: the seeds of the run
        headline: names in ``metrics`` that the README's table shows, in this order

    Returns:
        path of the file, ``figures/<slug>/metrics.json``

    Raises:
        ValueError: if a name in ``headline`` is not in ``metrics``
        TypeError: if JSON has no form for a value, for example a path
    """
    unknown = [name for name in headline if name not in metrics]
    if unknown:
        raise ValueError(f"headline names {', '.join(unknown)}, which metrics lacks")
    content = {
        "slug": slug,
        "kind": kind,
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
            # The number that affectlib has asked the libraries for.
            "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count()),
            "python": platform.python_version(),
            "versions": {package: version(package) for package in PACKAGES},
            "commit": source_commit(),
        },
    }
    # allow_nan=False: nan is no JSON. _plain has made null of it.
    text = json.dumps(
        _plain(content), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return _write(slug, "metrics.json", text + "\n")


def read_metrics(slug: str) -> dict:
    """Reads the file of :func:`write_metrics` as plain dicts; undefined numbers are None.

    Raises:
        FileNotFoundError: if there was no such run
    """
    file = paths.FIGURES / slug / "metrics.json"
    return json.loads(file.read_text(encoding="utf-8"))


def recorded(
    slug: str, *, corpus: Corpus, parameters: Mapping[str, object], seeds: Sequence[int]
) -> dict | None:
    """Metrics of an earlier run made under the same protocol, None where there is none.

    Numbers of two runs may stand side by side only if both saw the same clips under the same
    settings.

    Args:
        slug: the notebook that made the run; the runner runs that notebook first
        corpus: the run must have been made on a corpus of this name and number of clips, simulated
            or real as this one
        parameters: each must have this value in the run; the run may have more
        seeds: the seeds of the run

    Returns:
        dict of metrics as they were given to :func:`write_metrics`, intervals as dicts
    """
    try:
        run = read_metrics(slug)
    except FileNotFoundError:
        return None
    recorded_protocol = {
        "name": run["corpus"]["name"],
        "simulated": run["corpus"]["simulated"],
        "clips": run["corpus"]["clips"],
        "seeds": run["run"]["seeds"],
        "parameters": {name: run["parameters"].get(name) for name in parameters},
    }
    protocol = {
        "name": corpus.name,
        "simulated": corpus.simulated,
        "clips": len(corpus),
        "seeds": list(seeds),
        "parameters": parameters,
    }
    return run["metrics"] if recorded_protocol == _plain(protocol) else None


def write_table(slug: str, name: str, table: pd.DataFrame, *, kind: str) -> Path:
    """Writes a table as CSV with six significant digits.

    Its column ``kind`` is added where the table has none.

    Args:
        slug: the paper
        name: of the file, without suffix
        table: the table
        kind: of the result, as :func:`affectlib.results.kind` gives it

    Returns:
        path of the file, ``figures/<slug>/<name>.csv``
    """
    if "kind" not in table.columns:
        table = table.copy()
        table.insert(0, "kind", kind)
    return _write(slug, f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))


def claim_numbers(verdicts: pd.DataFrame) -> dict[str, dict[str, object]]:
    """The numbers behind each verdict, for metrics.json.

    Args:
        verdicts: a result of :func:`affectlib.statistics.claims`

    Returns:
        "claim, column" to verdict, run, low, high, n, p and adjusted (p for the number of claims)

    Raises:
        ValueError: if two claims have the same sentence and column
    """
    names = verdicts["claim"] + ", " + verdicts["column"]
    repeated = names[names.duplicated()]
    if len(repeated):
        raise ValueError(f"two claims are called {repeated.iloc[0]!r}")
    columns = ["verdict", "run", "low", "high", "n", "p", "adjusted"]
    return verdicts[columns].set_axis(names).to_dict("index")


def source_commit() -> str | None:
    """The last commit that changed affectlib or its locked environment; None outside a checkout.

    ``+`` is added where files differ from that commit. A commit of results does not change the
    answer, so that a run repeated on a clone writes the same bytes.
    """
    if not paths.IS_CHECKOUT:
        return None
    try:
        commit = _git("log", "-1", "--format=%H")
        changes = _git("status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if changes else commit


def _git(*words: str) -> str:
    """Output of a git command about the source and its locked environment."""
    run = subprocess.run(
        ["git", *words, "--", "affectlib", "requirements.lock"],
        cwd=paths.ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return run.stdout.strip()


def _plain(value: object) -> object:
    """Converts to plain containers, and to numbers of six significant digits."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    # Further digits differ between processors, and would change the file in every run.
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _write(slug: str, name: str, text: str) -> Path:
    path = paths.figures_of(slug) / name
    paths.write(path, text.encode("utf-8"))
    return path
