"""Before hours of work: everything that a run lacks, at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from affectlib import paths
from affectlib.features.papers import PAPERS
from affectlib.features.pretrained import weights
from affectlib.runner.content_key import corpora_read
from affectlib.runner.notebooks import code_cells

if TYPE_CHECKING:
    from affectlib.runner.execution import Job

GIGABYTE = 1e9


def missing(jobs: Sequence[Job]) -> list[str]:
    """Corpora and weights that the notebooks may read and that are not there, one line each.

    A notebook may do without some of them: it then says what it leaves out.
    """
    lines = []
    for job in jobs:
        if job.parameters.get("corpus") == "real":
            lines += _missing_corpora(job)
        if job.parameters.get("features") == "pretrained":
            lines += _missing_weights(job)
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
    """The weight files of a paper's networks that are not there, with their sources."""
    if job.slug not in PAPERS:
        return []
    try:
        weights.find(*PAPERS[job.slug].weights)
    except weights.WeightsNotFoundError as error:
        return [f"weights {line.strip()}" for line in str(error).splitlines()[1:]]
    return []


def report(jobs: Sequence[Job], figures: Path, missing: Sequence[str]) -> str:
    """What a run would do, as text: notebooks, their parameters, places, and what is missing."""
    lines = []
    for job in jobs:
        state = "up to date" if job.done else "to run"
        lines.append(f"{job.notebook.name}: {state}")
        lines += [f"  {name} = {value!r}" for name, value in job.parameters.items()]
    free = shutil.disk_usage(_existing(paths.CACHE)).free / GIGABYTE
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    lines.append(f"cache: {paths.CACHE}, {free:.0f} GB free; memory: {memory:.0f} GB")
    lines.append(f"tables and figures: {figures}")
    lines += [f"missing: {line}" for line in missing] or ["nothing is missing"]
    return "\n".join(lines)


def _existing(folder: Path) -> Path:
    """A folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder
