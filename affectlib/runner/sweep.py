"""Runs a notebook over a grid of parameters, behind ``affectlib sweep``.

A sweep takes hours, here or on many machines. It takes the address of a Dask scheduler, whose
workers see this checkout, the data and the cache under the same paths. Stopped and started again,
it goes on where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import as_completed as completed
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from tqdm import tqdm

from affectlib import paths
from affectlib.errors import AffectError
from affectlib.features.cluster import connected
from affectlib.moved import moved_names
from affectlib.runner import notebooks
from affectlib.runner.content_key import content_key
from affectlib.runner.execution import Job, child_command, run_record
from affectlib.runner.failures import FAILED, report
from affectlib.runner.notebooks import (
    ParameterError,
    check_plain,
    checked_parameters,
    notebook_file,
    profile_parameters,
    read_yaml,
)
from affectlib.runner.options import positive_count

if TYPE_CHECKING:
    from dask.distributed import Client

__getattr__ = moved_names(__name__, ("extract_corpus",), "affectlib.runner.extract")

# One combination of values, by name of the parameter.
Point = dict[str, object]


class SweepError(AffectError, RuntimeError):
    """Some points of a sweep failed: it names them. The others are done."""


def sweep(
    slug: str,
    grid: Mapping[str, list] | Path | str | None = None,
    *,
    profile: str = "demo",
    corpus: str = "simulated",
    client: Client | str | None = None,
    jobs: int = 2,
    progress: bool = True,
) -> pd.DataFrame:
    """Runs a notebook once for every combination of some parameters.

    Each point has a folder of its own, ``sweeps/<slug>/<key>`` in the cache: the executed notebook,
    metrics.json, tables and figures. The key is the content key of ``affectlib reproduce``. A point
    with an executed notebook is not run again.

    Args:
        slug: of the notebook
        grid: parameter to the list of its values, or the YAML file of a grid; by default the
            paper's grid, ``notebooks/sweeps/<slug>.yaml``
        profile: of the other parameters, ``"demo"`` or ``"full"``
        corpus: ``"simulated"`` or ``"real"``
        client: a Dask client, or the address of a scheduler
        jobs: notebooks run at once without one
        progress: show a bar with the time left

    Returns:
        DataFrame with one row per point: its parameters, key, and headline numbers with their
        intervals; also written as ``sweeps/<slug>/sweep.csv``

    Raises:
        ParameterError: for a notebook, a parameter or a type of value that does not exist, before
            anything runs
        OptionError: if ``jobs`` is not above 0
        SweepError: once the rest is done, if points failed; it names them
    """
    notebook_file(slug)
    positive_count(jobs, "jobs")
    points = {}
    jobs_by_key = {}
    # Every point is checked before the first one runs.
    for point in _points(slug, grid):
        job = _job(slug, point, profile, corpus)
        points[job.key] = point
        jobs_by_key[job.key] = job
    waiting = [job for job in jobs_by_key.values() if run_record(job.output).get("key") != job.key]
    failed = _run_all(waiting, client, jobs, slug=slug, n_points=len(points), progress=progress)

    rows = []
    for key, job in jobs_by_key.items():
        if key not in failed:
            rows.append({**points[key], "key": job.output.parent.name, **_headline(job)})
    table = pd.DataFrame(rows)
    folder = paths.CACHE / "sweeps" / slug
    paths.make_folder(folder)
    paths.write(folder / "sweep.csv", table.to_csv(index=False, float_format="%.6g").encode())
    if failed:
        lines = [f"{len(failed)} of {len(points)} points of {slug} failed:"]
        lines += [f"  {points[key]}: {error}" for key, error in failed.items()]
        raise SweepError("\n".join(lines))
    return table


def _run_all(
    waiting: Sequence[Job],
    client: Client | str | None,
    at_once: int,
    *,
    slug: str,
    n_points: int,
    progress: bool,
) -> dict[str, str]:
    """Runs the jobs that wait, with a bar over all points.

    Returns:
        key to error of the jobs that failed
    """
    failed = {}
    with tqdm(
        total=n_points,
        initial=n_points - len(waiting),
        unit="point",
        disable=not progress,
        desc=f"sweep of {slug}",
    ) as bar:
        results = _run_here(waiting, at_once) if client is None else _run_on(client, waiting)
        for job, error in results:
            bar.update()
            if error is not None:
                failed[job.key] = error
    return failed


def _run_here(jobs: Sequence[Job], at_once: int) -> Iterator[tuple[Job, str | None]]:
    """Runs jobs on this machine; yields each job and its error, None where it succeeded."""
    with ThreadPoolExecutor(max(1, at_once)) as pool:
        futures = {pool.submit(run, job): job for job in jobs}
        for future in completed(futures):
            yield futures[future], future.result()


def _run_on(client: Client | str, jobs: Sequence[Job]) -> Iterator[tuple[Job, str | None]]:
    """Runs jobs on a cluster; yields each job and its error, None where it succeeded."""
    from dask.distributed import KilledWorker
    from dask.distributed import as_completed as distributed

    with connected(client) as cluster:
        # Not pure: of a pure function dask would take the result of an earlier call.
        futures = {cluster.submit(run, job, pure=False): job for job in jobs}
        for future in distributed(list(futures)):
            try:
                error = future.result()
            except KilledWorker:
                error = "the process at work on it was killed (out of memory?)"
            yield futures[future], error


def _points(slug: str, grid: Mapping[str, list] | Path | str | None) -> list[Point]:
    """All combinations of the values of a grid."""
    source = "grid"
    if not isinstance(grid, Mapping):
        file = Path(grid) if grid is not None else notebooks.NOTEBOOKS / "sweeps" / f"{slug}.yaml"
        if not file.is_file():
            raise ParameterError(f"{slug}: no such grid {file}")
        source = str(file)
        grid = read_yaml(file.read_bytes(), source)
    _check_grid(grid, source)
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _check_grid(grid: object, source: str) -> None:
    """Refuses anything but at least one parameter, each with a list of plain values."""
    form = "a grid names parameters, each with a list of values"
    if not isinstance(grid, Mapping) or not grid:
        raise ParameterError(f"{source}: {form}: {grid!r}")
    for name, values in grid.items():
        if not isinstance(name, str):
            raise ParameterError(f"{source}: {name!r} is {type(name).__name__}, expected a name")
        if not isinstance(values, list) or not values:
            raise ParameterError(f"{source}, {name}: {form}: {values!r}")
        check_plain(values, f"{source}, {name}")


def _job(slug: str, point: Point, profile: str, corpus: str) -> Job:
    """The job of one point; its parameters are checked as those of a profile are."""
    notebook = notebook_file(slug)
    given = profile_parameters(notebook, slug, profile, corpus) | point
    parameters = checked_parameters(notebook, given)
    key = content_key(notebook, slug, parameters)
    output = paths.CACHE / "sweeps" / slug / key[:16] / notebook.name
    return Job(slug, notebook, output, parameters, key)


def run(job: Job) -> str | None:
    """Runs one job in a child process, which writes to the job's folder and ends with this process.

    Returns:
        None, or the last line of the error
    """
    done = subprocess.run(
        child_command(job),
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"AFFECTLIB_FIGURES": str(job.output.parent)},
        # Ctrl-C ends this process, which says so, and its end ends the child.
        start_new_session=True,
    )
    if done.returncode == 0:
        return None
    # The last line names the error; the traceback stands in the partial copy of the notebook.
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"status {done.returncode}"


def _headline(job: Job) -> dict[str, object]:
    """Headline numbers of a point: mean, and bounds where there are some."""
    file = job.output.parent / job.slug / "metrics.json"
    if not file.is_file():
        return {}
    content = json.loads(file.read_text(encoding="utf-8"))
    numbers = {}
    for name in content["headline"]:
        value = content["metrics"][name]
        if not isinstance(value, dict):
            numbers[name] = value
            continue
        numbers[name] = value["mean"]
        for bound in ("low", "high"):
            if bound in value:
                numbers[f"{name}, {bound}"] = value[bound]
    return numbers


def main(slug: str, grid: str | None, **options: object) -> int:
    """Runs a sweep, and prints its table: ``affectlib sweep``.

    Args:
        slug: of the notebook
        grid: a grid in braces, or the name of its file; None for the paper's
        options: of :func:`sweep`

    Returns:
        exit status: 0; 1 where points failed, or a disk is full;
        2 for options that cannot be followed
    """
    try:
        paths.check_writable(paths.CACHE)
        is_text = grid is not None and grid.lstrip().startswith("{")
        table = sweep(slug, read_yaml(grid, "grid") if is_text else grid, **options)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except (AffectError, ValueError, OSError) as error:
        return report(error)
    print(table.to_string(index=False))
    return 0
