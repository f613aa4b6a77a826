"""The headless runner behind ``make reproduce``.

Executes each notebook with papermill in a process of its own, after the notebooks whose results it
reads, and skips every notebook whose content key is unchanged. The key stands in the metadata of
the executed notebook; :mod:`affectlib.runner.content_key` says what it covers.
"""

import argparse
import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from affectlib import paths
from affectlib.runner import agreement, execution, notebooks
from affectlib.runner.content_key import content_key, slugs_read
from affectlib.runner.execution import Job
from affectlib.runner.failures import FAILED, report
from affectlib.runner.notebooks import (
    CORPORA,
    PROFILES,
    ParameterError,
    find_notebooks,
    notebook_file,
    profile_parameters,
)
from affectlib.runner.options import positive_count
from affectlib.runner.readme import headline, update_readme


def plan(
    slug: str, *, profile: str = "demo", corpus: str = "simulated", first_seed: int = 0
) -> Job:
    """The job that one notebook makes under a profile.

    Args:
        slug: of the notebook
        profile: ``"demo"`` or ``"full"``
        corpus: ``"simulated"`` or ``"real"``
        first_seed: first of the seeds under which a notebook trains; 0 is committed

    Raises:
        ParameterError: if the slug, or a parameter of the profile, does not exist
    """
    notebook = notebook_file(slug)
    parameters = profile_parameters(notebook, slug, profile, corpus, first_seed)
    folder = f"{profile}-{corpus}"
    if first_seed:
        folder += f"-{first_seed}"
    output = paths.CACHE / "reproduce" / folder / notebook.name
    return Job(slug, notebook, output, parameters, content_key(notebook, slug, parameters))


def waves(jobs: Sequence[Job]) -> Iterator[list[str]]:
    """Slugs in lists that are run one after the other.

    Each notebook comes after the notebooks whose results it reads.

    Raises:
        ParameterError: if notebooks read each other's results in a circle
    """
    left = {job.slug: slugs_read(job.notebook, job.slug) for job in jobs}
    while left:
        ready = [slug for slug, others in left.items() if not left.keys() & set(others)]
        if not ready:
            raise ParameterError(f"{', '.join(left)} read each other's results in a circle")
        yield ready
        for slug in ready:
            del left[slug]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of ``python -m affectlib.runner.reproduce``; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.parent is not None:
        execution.end_with_parent(options.parent)
    try:
        return _reproduce(options)
    except (ParameterError, OSError) as error:
        return report(error)


def _reproduce(options: Namespace) -> int:
    """Runs what the options ask for, prints the table and returns the exit status."""
    begun = time.perf_counter()
    if options.store and options.first_seed:
        raise ParameterError(
            f"--store takes the run of first seed 0 only, not {options.first_seed}: "
            "the committed results are those of seed 0"
        )
    slugs = list(find_notebooks()) if options.paper == "all" else [options.paper]
    jobs = [_plan(slug, options) for slug in slugs]
    order = list(waves(jobs))
    if options.execute:
        return execution.execute_and_report(jobs[0])
    paths.tell_figures_moved()
    paths.check_writable(paths.CACHE)
    if options.store:
        paths.check_writable(notebooks.NOTEBOOKS)
    ran, failed = _run_in_order(order, options)
    for job in failed:
        print(f"failed: {job.notebook.name}{_cells_so_far(job)}", file=sys.stderr)
    if failed:
        return FAILED
    if options.store:
        _store_all(jobs)
    print(_table(jobs, ran))
    summary = "nothing to do: every notebook is up to date"
    if ran:
        summary = f"{len(ran)} of {len(jobs)} notebooks run"
    seconds = time.perf_counter() - begun
    print(f"{summary}, {seconds:.1f} s; executed notebooks: {jobs[0].output.parent}")
    return 0


def _cells_so_far(job: Job) -> str:
    partial = execution.partial_copy(job)
    return f"; its cells so far: {partial}" if partial.exists() else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m affectlib.runner.reproduce", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--paper", default="all", help="slug of one notebook, or all")
    parser.add_argument("--profile", default="demo", choices=PROFILES)
    parser.add_argument("--corpus", default="simulated", choices=CORPORA)
    parser.add_argument("--jobs", type=positive_count, default=2, help="notebooks run at once")
    parser.add_argument(
        "--first-seed", type=int, default=0, help="first of the seeds under which models train"
    )
    parser.add_argument(
        "--store", action="store_true", help="put the executed demo notebooks into the checkout"
    )
    # For the child processes, which execute one notebook each.
    parser.add_argument("--execute", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    return parser


def _plan(slug: str, options: Namespace) -> Job:
    return plan(slug, profile=options.profile, corpus=options.corpus, first_seed=options.first_seed)


def _run_in_order(order: list[list[str]], options: Namespace) -> tuple[list[str], list[Job]]:
    """Runs every notebook that is not up to date.

    Returns:
        slugs that were run, and the jobs among them that failed
    """
    ran = []
    failed = []
    for slugs in order:
        # Planned again: the key of a notebook that reads the results of others is known only once
        # these are there.
        jobs = [_plan(slug, options) for slug in slugs]
        waiting = [job for job in jobs if not job.done]
        with ThreadPoolExecutor(max(1, options.jobs)) as pool:
            succeeded = list(pool.map(lambda job: _run(job, options), waiting))
        ran += [job.slug for job in waiting]
        failed += [job for job, good in zip(waiting, succeeded, strict=True) if not good]
    return ran, failed


def _run(job: Job, options: Namespace) -> bool:
    """Runs one notebook in a child; whether it succeeded."""
    return execution.run_in_child(
        job, profile=options.profile, corpus=options.corpus, first_seed=options.first_seed
    )


def _store_all(jobs: Sequence[Job]) -> None:
    """Puts executed notebooks, the README's table and the digests of this machine in place."""
    for job in jobs:
        execution.store(job)
    update_readme()
    digests = json.dumps(agreement.arithmetic(), indent=1) + "\n"
    paths.write(agreement.stored_arithmetic(), digests.encode())


def _table(jobs: Sequence[Job], ran: Sequence[str]) -> str:
    """Notebook, time (of those in ``ran``) and headline numbers of each job, as text."""
    rows = [("notebook", "time", "headline")]
    for job in jobs:
        seconds = execution.run_record(job.output)["seconds"]
        duration = f"{seconds:.0f} s" if job.slug in ran else "unchanged"
        rows.append((job.notebook.stem, duration, headline(job.slug)))
    name_width = max(len(name) for name, _, _ in rows)
    time_width = max(len(duration) for _, duration, _ in rows)
    lines = []
    for name, duration, numbers in rows:
        lines.append(f"{name:<{name_width}}  {duration:>{time_width}}  {numbers}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
