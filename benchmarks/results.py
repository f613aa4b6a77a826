"""``results.md``: the tables, the machine, and what a new run may replace in them."""

import contextlib
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

from affectlib import paths
from affectlib.errors import AffectError
from benchmarks.common import Row

RESULTS = Path(__file__).with_name("results.md")
LIBRARIES = ("torch", "numpy", "av", "opencv-python-headless", "scikit-learn", "scipy")
# Not in the lock: versions of those that were there when their rows were written.
PEERS = ("torchcodec", "decord", "facenet-pytorch", "mediapipe", "torchaudio")
RATIOS = "## Ratios"
GROWTH = "## Growth"
MACHINE = "## Machine"
_PEERS_LINE = "references beside the lock: "
TEXT = """# Benchmarks

Written by `make benchmarks`; `README.md` in this folder says how to read and repeat it.
Times are seconds of processor time, one thread, since other work may share the machine's cores.
"""
RATIO_TEXT = """A ratio says how many times as long the reference takes: above 1, ours is faster.
It is the median over n rounds in which all ways take turns; the spread is the lowest and highest.
"""
GROWTH_TEXT = """Slope of the logarithm of the time against the logarithm of the size: 1 is linear.
Memory is the peak of a process of its own, above what it held before the work.
Short work is done in three processes, of which the fastest counts.
"""
RATIO_COLUMNS = (
    "benchmark",
    "work",
    "ours",
    "reference",
    "time, ours",
    "time, reference",
    "ratio",
    "spread",
    "n",
)
GROWTH_COLUMNS = ("benchmark", "size", "sizes", "CPU seconds", "slope", "MiB of memory added")


class ResultsError(AffectError, ValueError):
    """The table may not be changed in this way."""


@dataclass(frozen=True)
class GrowthRow:
    """One row of the table of growth; every cell as it is written."""

    benchmark: str
    size: str
    sizes: str
    seconds: str
    slope: str
    memory: str


@dataclass(frozen=True)
class Results:
    """All that stands in the file.

    Args:
        machine: one line each
        rows: ratios
        growth: how time and memory grow
        peers: versions of the references that are not in the lock
    """

    machine: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    growth: list[GrowthRow] = field(default_factory=list)
    peers: dict[str, str] = field(default_factory=dict)


def this_machine() -> tuple[str, ...]:
    """Processor, cores, versions and graphics card, one line each."""
    import torch

    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    gpu = "no GPU was there: nothing was timed on one"
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
    return (
        f"processor: {_processor()}, {os.cpu_count()} cores",
        f"system: {platform.system()}",
        f"versions: {', '.join(versions)}",
        f"graphics card: {gpu}",
    )


def peer_versions() -> dict[str, str]:
    """Versions of the references that are installed beside the lock."""
    found = {}
    for name in PEERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _processor() -> str:
    """Name of the processor, with family and model, which tell more than a cloud's short name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(re.findall(r"^(model name|cpu family|model)\s*: (.+)$", text, flags=re.M))
    name = found.get("model name", platform.machine())
    return f"{name} (family {found.get('cpu family', '?')}, model {found.get('model', '?')})"


def read(path: Path) -> Results | None:
    """What the file holds, None where there is none."""
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8")
    machine = tuple(line[2:] for line in _section(text, MACHINE) if line.startswith("- "))
    peers = {}
    if machine and machine[-1].startswith(_PEERS_LINE):
        named = machine[-1].removeprefix(_PEERS_LINE).split(", ")
        peers = dict(each.split(" ") for each in named)
        machine = machine[:-1]
    rows = [Row(*cells) for cells in _cells(_section(text, RATIOS))]
    growth = [GrowthRow(*cells) for cells in _cells(_section(text, GROWTH))]
    return Results(machine, rows, growth, peers)


def _section(text: str, title: str) -> list[str]:
    """Lines below a title, to the next one."""
    _, _, after = text.partition(f"{title}\n")
    return re.split(r"^## ", after, flags=re.M)[0].splitlines()


def _cells(lines: Iterable[str]) -> list[list[str]]:
    """Cells of a table's rows, without its two lines of header."""
    table = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def merge(
    before: Results | None, new: Results, ran: Sequence[str], *, known: Sequence[str]
) -> Results:
    """The new rows, and the earlier ones of all that did not run.

    A reference that is missing now leaves its earlier row as it is.

    Args:
        before: what the file holds
        new: what was measured
        ran: names of the benchmarks that ran
        known: names of all benchmarks, in order; rows of others are dropped

    Raises:
        ResultsError: if the file is of another machine and some of its benchmarks did not run
    """
    if before is None:
        return new
    if before.machine != new.machine:
        kept = {row.benchmark for row in [*before.rows, *before.growth]} & set(known) - set(ran)
        if kept:
            others = ", ".join(sorted(kept))
            raise ResultsError(
                f"{RESULTS.name} is of another machine or of other versions, and {others} did not "
                "run: run all benchmarks, or remove the file"
            )
        return new
    earlier = {row.key: row for row in before.rows if row.was_measured}
    rows = [row for row in before.rows if row.benchmark not in ran and row.benchmark in known]
    rows += [row if row.was_measured else earlier.get(row.key, row) for row in new.rows]
    growth = [row for row in before.growth if row.benchmark not in ran and row.benchmark in known]
    growth += new.growth
    place = {name: number for number, name in enumerate(known)}

    def order(row):
        return place[row.benchmark]

    return Results(
        new.machine,
        sorted(rows, key=order),
        sorted(growth, key=order),
        before.peers | new.peers,
    )


def write(path: Path, results: Results) -> None:
    """Writes the file, wholly or not at all."""
    machine = list(results.machine)
    if results.peers:
        versions = ", ".join(f"{name} {version}" for name, version in results.peers.items())
        machine.append(f"{_PEERS_LINE}{versions}")
    parts = [TEXT, f"{MACHINE}\n", "".join(f"- {line}\n" for line in machine)]
    parts += [f"{RATIOS}\n", RATIO_TEXT, _table(RATIO_COLUMNS, map(astuple, results.rows))]
    parts += [f"{GROWTH}\n", GROWTH_TEXT, _table(GROWTH_COLUMNS, map(astuple, results.growth))]
    paths.write(path, "\n".join(parts).encode())


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
