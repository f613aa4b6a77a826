"""How long a run will take, and its memory and disk, from runs that this machine has made.

A cell whose time grows with the sizes of a run says how, in its metadata:

    "work": {"part": "films", "amount": "films * film_seconds"}

``amount`` is an expression in the notebook's parameters that the seconds of the cell are
proportional to. After each run the runner keeps the seconds per unit of each part, the slowest that
it has seen: a run that finds its films in the cache tells nothing about making them. From these
rates and the parameters of another run come its seconds. Epochs count as if none was spared, so
this is what a run takes at most.

The part ``features`` is in seconds of film. Its rate is that of the descriptors; the rate of a
paper's networks is measured on a film of ten seconds, with random weights.

The parameters cell has two such expressions in bytes: ``held``, what the notebook keeps in memory,
and ``written``, what it leaves in the cache.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from affectlib import paths
from affectlib.runner.notebooks import (
    ParameterError,
    cells,
    default_parameters,
    profile_parameters,
    tags,
)

if TYPE_CHECKING:
    from affectlib.runner.execution import Job

# Sizes of the real corpora, in the parameters of the notebooks. Films of MediaEval 2018: 54 of them
# last 26 hours and 49 minutes (shot_long, Dataset and Metrics). Frames of AFEW-VA: 30,051 in 600
# clips. Videos are longer than the frames that are taken of each: `most` frames at `rate` a second.
_MEDIAEVAL18 = {"films": 66, "test_films": 12, "film_seconds": (26 * 60 + 49) * 60 / 54}
REAL = {
    "mood_change": {"clips": 600, "clip_frames": [30051 / 600, 30051 / 600]},
    "shot_long": _MEDIAEVAL18 | {"excerpts": 10900, "excerpt_seconds": [8.0, 12.0]},
    "attend_affect": {"films": 12, "film_seconds": 1800.0, "excerpts": 11000},
    "gla": _MEDIAEVAL18,
    "caan": {"videos": [1012, 1637, 1101], "video_seconds": [32.0, 32.0]},
    "comparison": _MEDIAEVAL18,
}
# Notebooks that describe films by the features of another notebook's paper.
FEATURES_OF = {"comparison": "gla", "your_own_film": "attend_affect"}
# The part whose rate depends on what describes the films.
FEATURES = "features"
# The part of the cells that take as long whatever the sizes.
OTHER = "other"
# What an expression may call.
_FUNCTIONS = {
    "ceil": math.ceil,
    "len": len,
    "max": max,
    "mean": statistics.fmean,
    "min": min,
    "sum": sum,
}


@dataclass(frozen=True)
class Estimate:
    """What a run of one notebook takes at most.

    Args:
        seconds: of each part
        memory: bytes; None where this machine has not run the notebook yet
        disk: bytes in the cache
        unknown: parts that this machine has no rate for
    """

    seconds: Mapping[str, float]
    memory: float | None
    disk: float
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.memory is None:
            return "time and memory unknown: this machine has not run its demo yet"
        parts = ", ".join(self.longest_parts().values())
        text = f"at most about {self.duration()} ({parts}), "
        text += f"{self.memory / 1e9:.1f} GB of memory, {self.disk / 1e9:.1f} GB of disk"
        if self.unknown:
            text += f"; not counted: {', '.join(self.unknown)}"
        return text

    def duration(self) -> str:
        """All parts together, in words."""
        return _duration(sum(self.seconds.values()))

    def longest_parts(self) -> dict[str, str]:
        """The four longest parts, the longest first, each with its time in words."""
        longest = sorted(self.seconds.items(), key=lambda item: -item[1])
        return {part: f"{part} {_duration(taken)}" for part, taken in longest[:4]}


def amount(expression: str, parameters: Mapping[str, object]) -> float:
    """The value of an expression under a notebook's parameters.

    Args:
        expression: arithmetic on names of parameters, with ``len``, ``sum``, ``mean``, ``min``,
            ``max`` and ``ceil``; ``simulated`` and ``float_bytes`` are names too
        parameters: all of them, defaults included

    Raises:
        ParameterError: if the expression cannot be computed

    Examples:
        >>> amount("films * mean(lengths)", {"films": 3, "lengths": [2, 4]})
        9.0
    """
    names = dict(parameters)
    names["simulated"] = parameters.get("corpus", "simulated") == "simulated"
    names["float_bytes"] = 8 if parameters.get("precision") == "float64" else 4
    try:
        # The expressions stand in this project's notebooks, whose code is run anyway.
        value = eval(expression, {"__builtins__": {}, **_FUNCTIONS}, names)
        return float(value)
    except Exception as error:
        raise ParameterError(f"work {expression!r}: {error}") from None


def all_parameters(job: Job) -> dict[str, object]:
    """The parameters of a job, defaults included; a real corpus has its own sizes."""
    parameters = default_parameters(job.notebook) | job.parameters
    if parameters.get("corpus") == "real":
        parameters |= REAL.get(job.slug, {})
    return parameters


def rates_file(slug: str) -> Path:
    """Where the rates of a notebook on this machine are kept."""
    return paths.CACHE / "rates" / f"{slug}.json"


def read_rates(slug: str) -> dict:
    """Seconds per unit of each part, and peak of memory; empty where there are none."""
    try:
        rates = json.loads(rates_file(slug).read_bytes())
    except (OSError, ValueError):
        return {}
    return rates if isinstance(rates, dict) else {}


def remember(job: Job, executed: Mapping, peak: int) -> None:
    """Keeps the rates of a run that has ended.

    Args:
        job: the run
        executed: the executed notebook; papermill has put the seconds of each cell into it
        peak: most bytes of memory that its kernel has held

    Raises:
        WriteError: if the disk is full
    """
    parameters = all_parameters(job)
    rates = read_rates(job.slug)
    seconds = dict(rates.get("seconds", {}))
    taken = _seconds(executed["cells"])
    for part, count in units(executed["cells"], parameters).items():
        is_of_descriptors = part != FEATURES or not _needs_networks(job.slug, parameters)
        if count > 0 and is_of_descriptors:
            seconds[part] = max(seconds.get(part, 0.0), taken[part] / count)
    held = _bytes(executed["cells"], "held", parameters)
    # Of two runs, the one that holds more tells more.
    memory = max(rates.get("memory", [0.0, 0]), [held, peak])
    content = json.dumps({"seconds": seconds, "memory": memory}, indent=1) + "\n"
    paths.make_folder(rates_file(job.slug).parent)
    paths.write(rates_file(job.slug), content.encode())


def units(notebook_cells: Sequence[Mapping], parameters: Mapping) -> dict[str, float]:
    """Units of each part of a notebook; the cells without work are the part ``other``, one unit."""
    found = {OTHER: 1.0}
    for cell in notebook_cells:
        work = cell["metadata"].get("work")
        if work:
            before = found.get(work["part"], 0.0)
            found[work["part"]] = before + amount(work["amount"], parameters)
    return found


def _seconds(notebook_cells: Sequence[Mapping]) -> dict[str, float]:
    """Seconds of each part of an executed notebook."""
    found = {OTHER: 0.0}
    for cell in notebook_cells:
        part = cell["metadata"].get("work", {}).get("part", OTHER)
        taken = cell["metadata"].get("papermill", {}).get("duration") or 0.0
        found[part] = found.get(part, 0.0) + taken
    return found


def estimate(job: Job) -> Estimate:
    """What a run takes at most, by the rates of this machine."""
    parameters = all_parameters(job)
    rates = read_rates(job.slug)
    known = dict(rates.get("seconds", {}))
    if known and _needs_networks(job.slug, parameters):
        known[FEATURES] = network_rate(FEATURES_OF.get(job.slug, job.slug))
    code = cells(job.notebook)
    counts = units(code, parameters)
    seconds = {part: known[part] * count for part, count in counts.items() if part in known}
    memory = None
    if "memory" in rates:
        held_then, peak = rates["memory"]
        more = _bytes(code, "held", parameters) - held_then
        memory = max(peak + more, 0.0)
    unknown = tuple(part for part, count in counts.items() if count and part not in known)
    return Estimate(seconds, memory, _bytes(code, "written", parameters), unknown)


def how_long(job: Job) -> str:
    """What the top of a notebook tells its reader about time, as Markdown.

    Args:
        job: a run of the demo that has ended, so that there are rates
    """
    demo = estimate(job)
    parts = [text for part, text in demo.longest_parts().items() if part != OTHER]
    text = f"**How long it takes.** As it stands, about {demo.duration()}"
    text += " on two cores without a graphics card, with the corpus and its features"
    text += f" ({', '.join(parts)})." if parts else "."
    parameters = profile_parameters(job.notebook, job.slug, "full", "simulated")
    full_job = replace(job, parameters=parameters)
    if all_parameters(full_job) != all_parameters(job):
        text += " With the paper's sizes (`PROFILE=full`), on simulated films and the same machine,"
        text += f" at most {estimate(full_job).duration()}."
    return text


def _needs_networks(slug: str, parameters: Mapping) -> bool:
    """Whether some of a notebook's features are those of its paper's networks."""
    features = parameters.get("features", "descriptors")
    if isinstance(features, str):
        return features == "pretrained"
    # Imported here: every notebook's process imports this module, and torch takes seconds.
    from affectlib.features.papers import PRETRAINED, choices

    return PRETRAINED in choices(features, FEATURES_OF.get(slug, slug)).values()


def network_rate(slug: str) -> float:
    """Seconds that a paper's networks take for a second of film, measured on this machine.

    Their weights are random: they take as long as the released ones.

    Args:
        slug: of a paper that has networks, see ``features.papers.PAPERS``
    """
    # Imported here: every notebook's process imports this module, and torch takes seconds.
    from affectlib.corpora import segments
    from affectlib.features.extract import extract
    from affectlib.features.papers import pretrained
    from affectlib.simulate.cognimuse import make_cognimuse

    networks = pretrained(slug, weights="random")
    with TemporaryDirectory() as folder:
        film = make_cognimuse(Path(folder) / "film", n_films=1, seconds=10.0)
        first, second = (segments(film, seconds=5.0).select([position]) for position in range(2))
        # The first call builds the networks.
        extract(first, networks, progress=False, jobs=1)
        begun = time.perf_counter()
        extract(second, networks, progress=False, jobs=1)
        return (time.perf_counter() - begun) / 5.0


def _bytes(notebook_cells: Sequence[Mapping], name: str, parameters: Mapping) -> float:
    """The value of an expression of the parameters cell; 0 where it has none."""
    for cell in notebook_cells:
        if "parameters" in tags(cell):
            return amount(cell["metadata"].get(name, "0"), parameters)
    return 0.0


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, in words.

    Examples:
        >>> _duration(40), _duration(600), _duration(9000)
        ('40 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def total_memory() -> float:
    """Bytes of memory that this machine has, or that this process may use."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return math.inf
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):
        return float(total)
    return float(min(total, limit))
