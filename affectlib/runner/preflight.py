"""Before hours of work: everything that a run lacks, at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from affectlib import paths
from affectlib.runner import estimate
from affectlib.runner.content_key import corpora_read
from affectlib.runner.notebooks import code_cells

if TYPE_CHECKING:
    from affectlib.runner.estimate import Estimate
    from affectlib.runner.execution import Job

GIGABYTE = 1e9
# Parameters that name a file, and what they may be besides.
FILE_PARAMETERS = ("film", "model", "annotation", "test_annotations")
NO_FILES = ("simulated", "released", "real")


def missing(jobs: Sequence[Job]) -> list[str]:
    """Corpora and weights that the notebooks may read and that are not there, one line each.

    A notebook may do without some of them: it then says what it leaves out.
    """
    lines = []
    for job in jobs:
        if job.parameters.get("corpus") == "real":
            lines += _missing_corpora(job)
        lines += _missing_weights(job)
        lines += _missing_files(job)
    return list(dict.fromkeys(lines))


def _missing_corpora(job: Job) -> list[str]:
    """The folders of real corpora that a notebook names and that are not there."""
    lines = []
    for name in corpora_read("\n".join(code_cells(job.notebook))):
        folder = paths.DATA / name
        if not folder.is_dir():
            lines.append(f"corpus {name}, expected in {folder} (AFFECTLIB_DATA moves it)")
    return lines


def _missing_weights(job: Job) -> list[str]:
    """The weight files that a notebook's features need and that are not there, with their sources.

    Raises:
        FeatureChoiceError: for features that the notebook does not have
    """
    # The defaults need none, and the imports, with torch among them, take seconds.
    if not {"features", "detector"} & job.parameters.keys():
        return []
    from affectlib.features.detection import DETECTOR_WEIGHTS
    from affectlib.features.papers import PAPERS, weights_needed
    from affectlib.features.pretrained import weights

    paper = estimate.FEATURES_OF.get(job.slug, job.slug)
    if paper not in PAPERS:
        return []
    needed = []
    # With weights of one's own, as in 05, no released file is read.
    if not job.parameters.get("weights"):
        needed += weights_needed(job.parameters.get("features", "descriptors"), paper)
    needed += DETECTOR_WEIGHTS.get(job.parameters.get("detector"), ())
    try:
        weights.find(*needed)
    except weights.WeightsNotFoundError as error:
        return [f"weights {line.strip()}" for line in str(error).splitlines()[1:]]
    return []


def _missing_files(job: Job) -> list[str]:
    """Files of one's own that a notebook is to read and that are not there."""
    lines = []
    for name in FILE_PARAMETERS:
        value = job.parameters.get(name)
        if value and value not in NO_FILES and not os.path.isfile(paths.from_root(value)):
            lines.append(f"{name} {value}, from {paths.ROOT} on")
    return lines


def estimates(jobs: Sequence[Job], *, fresh: bool = False) -> dict[str, Estimate]:
    """What each notebook that will run takes at most, by the name of its file.

    Args:
        jobs: of the run
        fresh: whether notebooks that are up to date run as well
    """
    waiting = [job for job in jobs if fresh or not job.done]
    return {job.notebook.name: estimate.estimate(job) for job in waiting}


def report(
    jobs: Sequence[Job],
    expected: Mapping[str, Estimate],
    figures: Path,
    problems: Sequence[str],
) -> str:
    """What a run would do, as text.

    Args:
        jobs: of the run
        expected: result of :func:`estimates`
        figures: where its tables and figures go
        problems: result of :func:`problems`
    """
    lines = []
    for job in jobs:
        name = job.notebook.name
        state = "to run" if name in expected else "up to date"
        lines.append(f"{name}: {state}")
        lines += [f"  {word} = {value!r}" for word, value in job.parameters.items()]
        if name in expected:
            lines.append(f"  {expected[name]}")
    free = _free_disk() / GIGABYTE
    memory = estimate.total_memory() / GIGABYTE
    lines.append(f"cache: {paths.CACHE}, {free:.0f} GB free; memory: {memory:.0f} GB")
    lines.append(f"tables and figures: {figures}")
    lines += problems or ["nothing is missing"]
    return "\n".join(lines)


def problems(jobs: Sequence[Job], expected: Mapping[str, Estimate], n_jobs: int) -> list[str]:
    """Everything that stands in the way of a run, one line each.

    Args:
        jobs: of the run
        expected: result of :func:`estimates`
        n_jobs: notebooks run at once
    """
    lines = [f"missing: {line}" for line in missing(jobs)]
    return lines + [f"too little {line}" for line in too_large(expected, n_jobs)]


def too_large(expected: Mapping[str, Estimate], n_jobs: int) -> list[str]:
    """Memory and disk that the notebooks to run take beyond what there is, one line each.

    Args:
        expected: result of :func:`estimates`
        n_jobs: notebooks run at once
    """
    lines = []
    known = {name: each.memory for name, each in expected.items() if each.memory is not None}
    largest = sorted(known.items(), key=lambda item: -item[1])[:n_jobs]
    needed = sum(memory for _, memory in largest)
    there = estimate.total_memory()
    if needed > there:
        names = " and ".join(name for name, _ in largest)
        lines.append(
            f"memory: {names} at once take about {needed / GIGABYTE:.0f} GB, "
            f"this machine has {there / GIGABYTE:.0f} GB"
        )
    written = sum(each.disk for each in expected.values())
    free = _free_disk()
    if written > free:
        lines.append(
            f"disk: the run writes about {written / GIGABYTE:.0f} GB, "
            f"{paths.CACHE} has {free / GIGABYTE:.0f} GB free (AFFECTLIB_CACHE moves it)"
        )
    return lines


def _free_disk() -> int:
    """Bytes that are free where the cache is, or will be."""
    return shutil.disk_usage(_existing(paths.CACHE)).free


def _existing(folder: Path) -> Path:
    """A folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder
