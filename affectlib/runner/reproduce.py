"""The headless runner behind ``affectlib reproduce``.

Executes each notebook with papermill in a process of its own, after the notebooks whose results it
reads, and skips every notebook whose content key is unchanged. The key stands in the metadata of
the executed notebook; :mod:`affectlib.runner.content_key` says what it covers.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from affectlib import paths
from affectlib.errors import AffectError
from affectlib.results import read_metrics
from affectlib.runner import agreement, execution, notebooks, preflight
from affectlib.runner.content_key import content_key, each_corpus_scanned_once, slugs_read
from affectlib.runner.estimate import Estimate
from affectlib.runner.execution import Job
from affectlib.runner.failures import FAILED, report
from affectlib.runner.notebooks import (
    ParameterError,
    find_notebooks,
    notebook_file,
    profile_parameters,
    read_settings,
)
from affectlib.runner.options import positive_count
from affectlib.runner.readme import headline, update_readme


@dataclass(frozen=True)
class Settings:
    """What a run differs by from the committed one.

    Args:
        profile: ``"demo"``, ``"full"`` or ``"paper"``
        corpus: ``"simulated"`` or ``"real"``
        first_seed: first of the seeds under which notebooks train; 0 is committed
        parameters: parameters of one's own
    """

    profile: str = "demo"
    corpus: str = "simulated"
    first_seed: int = 0
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Name of the folder of such runs, such as ``full-real``."""
        name = f"{self.profile}-{self.corpus}"
        if self.first_seed:
            name += f"-{self.first_seed}"
        if self.parameters:
            text = json.dumps(dict(self.parameters), sort_keys=True)
            name += f"-set-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        return name

    @property
    def figures(self) -> Path:
        """Where the figures of such runs go.

        Only the demo on simulated corpora writes to ``figures/``, which is committed. Any other run
        gets a folder of its own in the cache, unless AFFECTLIB_FIGURES names one.
        """
        is_demo = (self.profile, self.corpus) == ("demo", "simulated") and not self.parameters
        if is_demo or os.environ.get("AFFECTLIB_FIGURES"):
            return paths.FIGURES
        return paths.CACHE / "figures" / self.folder


def plan(slug: str, settings: Settings | None = None) -> Job:
    """The job that one notebook makes.

    Args:
        slug: of the notebook
        settings: of the run, by default those of the demo

    Raises:
        ParameterError: if the slug, or a parameter, does not exist
    """
    settings = settings or Settings()
    notebook = notebook_file(slug)
    parameters = profile_parameters(
        notebook,
        slug,
        settings.profile,
        settings.corpus,
        settings.first_seed,
        settings.parameters,
    )
    output = paths.CACHE / "reproduce" / settings.folder / notebook.name
    return Job(slug, notebook, output, parameters, content_key(notebook, slug, parameters))


def sorted_by_results(jobs: Sequence[Job]) -> TopologicalSorter[str]:
    """Slugs, each to be run after those whose results it reads.

    Raises:
        ParameterError: if notebooks read each other's results in a circle
    """
    slugs = {job.slug for job in jobs}
    sorter = TopologicalSorter()
    for job in jobs:
        sorter.add(job.slug, *slugs.intersection(slugs_read(job.notebook, job.slug)))
    try:
        sorter.prepare()
    except CycleError as error:
        _, circle = error.args  # the last one is the first again
        names = ", ".join(circle[:-1])
        raise ParameterError(f"{names} read each other's results in a circle") from error
    return sorter


def main(
    papers: str,
    *,
    profile: str = "demo",
    corpus: str = "simulated",
    parameters: str = "",
    first_seed: int = 0,
    jobs: int = 2,
    dry_run: bool = False,
    fresh: bool = False,
    store: bool = False,
) -> int:
    """Runs notebooks and prints one table: ``affectlib reproduce``, ``affectlib notebooks``.

    Args:
        papers: slugs of notebooks with spaces between them, or ``"all"``
        profile: see :class:`Settings`
        corpus: see :class:`Settings`
        parameters: of one's own, as :func:`affectlib.runner.notebooks.read_settings` reads them
        first_seed: see :class:`Settings`
        jobs: notebooks run at once
        dry_run: only list what would run, and what is missing
        fresh: forget earlier runs, and the trainings that they kept
        store: put the executed demo into the checkout, which takes no other settings

    Returns:
        exit status: 0; 1 where a notebook failed, or a dry run found something missing; 2 for
        options that cannot be followed
    """
    try:
        settings = Settings(profile, corpus, first_seed, read_settings(parameters))
        positive_count(jobs, "jobs")
        if store and settings != Settings():
            raise ParameterError(
                f"the demo of first seed 0 is stored only, not {settings.folder}: "
                "the committed results are those of seed 0"
            )
        with each_corpus_scanned_once():
            return _reproduce(papers, settings, jobs, dry_run=dry_run, fresh=fresh, store=store)
    except (AffectError, OSError) as error:
        return report(error)


def _reproduce(
    papers: str, settings: Settings, n_jobs: int, *, dry_run: bool, fresh: bool, store: bool
) -> int:
    """Runs what is asked for, prints the table and returns the exit status."""
    begun = time.perf_counter()
    # Results of one profile are never taken for those of another one.
    paths.FIGURES = settings.figures
    jobs = [plan(slug, settings) for slug in _slugs(papers)]
    order = sorted_by_results(jobs)
    expected = preflight.estimates(jobs, fresh=fresh)
    problems = preflight.problems(jobs, expected, n_jobs)
    if dry_run:
        print(preflight.report(jobs, expected, settings.figures, problems))
        return FAILED if problems else 0
    for line in problems:
        print(line, file=sys.stderr)
    if settings != Settings():
        _tell_estimates(expected)
    _prepare(jobs, fresh=fresh, store=store)
    before = {job.slug: stored_metrics(job.slug) for job in jobs}
    ran, failed = _run_in_order(order, settings, n_jobs)
    for job in failed:
        print(f"failed: {job.notebook.name}{_cells_so_far(job)}", file=sys.stderr)
    if failed:
        return FAILED
    if store:
        _store_all(jobs)
    print(_table(jobs, ran))
    # In the order of the table; they ended in another one.
    for slug in [job.slug for job in jobs if job.slug in ran]:
        for line in against_stored(slug, before[slug]):
            print(line)
    print(_summary(jobs, ran, time.perf_counter() - begun))
    return 0


def _tell_estimates(expected: Mapping[str, Estimate]) -> None:
    """Says how long a run of hours will take, before it begins."""
    for name, each in expected.items():
        print(f"{name}: {each}", flush=True)


def _prepare(jobs: Sequence[Job], *, fresh: bool, store: bool) -> None:
    """Refuses places that may not be written, before hours of work."""
    paths.tell_figures_moved()
    paths.check_writable(paths.CACHE)
    if store:
        paths.check_writable(notebooks.NOTEBOOKS)
    if fresh:
        _forget(jobs)


def _forget(jobs: Sequence[Job]) -> None:
    """Deletes the executed copies of notebooks, and all trainings that were kept."""
    # Imported here: every notebook's process imports this module, and torch takes seconds.
    from affectlib import kept

    for job in jobs:
        job.output.unlink(missing_ok=True)
    shutil.rmtree(kept.folder(), ignore_errors=True)


def _summary(jobs: Sequence[Job], ran: Sequence[str], seconds: float) -> str:
    """What was run, and where its results are."""
    summary = "nothing to do: every notebook is up to date"
    if ran:
        summary = f"{len(ran)} of {len(jobs)} notebooks run"
    text = f"{summary}, {seconds:.1f} s; executed notebooks: {jobs[0].output.parent}"
    if paths.FIGURES != paths.ROOT / "figures":
        text += f"\ntables and figures: {paths.FIGURES}"
    return text


def _slugs(papers: str) -> list[str]:
    """Slugs of the notebooks that are asked for: ``all``, or some names between spaces.

    Raises:
        ParameterError: if there is none
    """
    names = list(dict.fromkeys(papers.replace(",", " ").split()))
    if not names:
        raise ParameterError("PAPER is empty, expected all, or slugs with spaces between them")
    return list(find_notebooks()) if names == ["all"] else names


def stored_metrics(slug: str) -> dict | None:
    """Metrics of the run whose figures are there; None where there is none that can be read."""
    try:
        return read_metrics(slug)["metrics"]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def against_stored(slug: str, before: Mapping | None) -> list[str]:
    """Lines on how the numbers of a run differ from those that were there before it.

    Args:
        slug: of the notebook
        before: its metrics before the run; None gives no line
    """
    after = stored_metrics(slug)
    if before is None or after is None:
        return []
    same, n_numbers, verdicts = agreement.compared(before, after)
    lines = [f"{slug}: {same} of {n_numbers} numbers agree with the stored ones"]
    lines += [f"{slug}: another verdict: {line}" for line in verdicts]
    return lines


def _cells_so_far(job: Job) -> str:
    partial = execution.partial_copy(job)
    return f"; its cells so far: {partial}" if partial.exists() else ""


def _run_in_order(
    order: TopologicalSorter[str], settings: Settings, n_jobs: int
) -> tuple[list[str], list[Job]]:
    """Runs every notebook that is not up to date, as soon as those are done whose results it reads.

    Returns:
        slugs that were run, and the jobs among them that failed
    """
    ran = []
    failed = []
    running: dict[Future[bool], Job] = {}
    with ThreadPoolExecutor(max(1, n_jobs)) as pool:
        while order.is_active():
            for slug in order.get_ready():
                # Planned again: the key of a notebook that reads the results of others is known
                # only once these are there.
                job = plan(slug, settings)
                if job.done:
                    order.done(slug)
                else:
                    running[pool.submit(_run, job, settings)] = job
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                job = running.pop(future)
                order.done(job.slug)
                ran.append(job.slug)
                if not future.result():
                    failed.append(job)
    return ran, failed


def _run(job: Job, settings: Settings) -> bool:
    """Runs one notebook in a child; whether it succeeded."""
    return execution.run_in_child(job, profile=settings.profile, parameters=settings.parameters)


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
