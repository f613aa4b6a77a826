"""Before hours of work: everything that a run lacks, at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from affectlib import paths
from affectlib.features.detection import DETECTOR_WEIGHTS
from affectlib.features.papers import PAPERS, weights_needed
from affectlib.features.pretrained import weights
from affectlib.runner.content_key import corpora_read
from affectlib.runner.notebooks import code_cells

if TYPE_CHECKING:
    from affectlib.runner.execution import Job

GIGABYTE = 1e9
# Notebooks that describe films by the features of another notebook's paper.
FEATURES_OF = {"comparison": "gla"}


def missing(jobs: Sequence[Job]) -> list[str]:
    """Corpora and weights that the notebooks may read and that are not there, one line each.

    A notebook may do without some of them: it then says what it leaves out.
    """
    lines = []
    for job in jobs:
        if job.parameters.get("corpus") == "real":
            lines += _missing_corpora(job)
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
    """The weight files that a notebook's features need and that are not there, with their sources.

    Raises:
        FeatureChoiceError: for features that the notebook does not have
    """
    paper = FEATURES_OF.get(job.slug, job.slug)
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
