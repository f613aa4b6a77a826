"""What a benchmark is, and how two ways to do one piece of work are timed.

Times are seconds of processor time, in which other work on the same machine counts little. The ways
take turns, A B A B, so that a busy minute falls on all of them, and each round gives one ratio.
"""

import importlib
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

from affectlib import paths

# Libraries that only benchmarks use, installed as README.md says. The lock's own come first.
PEERS = paths.ROOT / "build" / "peers"
if str(PEERS) not in sys.path:
    sys.path.append(str(PEERS))

# Work that is done sooner is repeated within a round, in seconds.
SHORTEST = 0.05


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@dataclass(frozen=True)
class Way:
    """One way to do a piece of work.

    Args:
        name: library and function
        run: does the work
        per: how often one call does it; the time is divided by this
        note: what to know beside the time
        tells_seconds: ``run`` gives the time itself, and wants no call that is not timed
    """

    name: str
    run: Callable[[], object]
    per: float = 1.0
    note: str = ""
    tells_seconds: bool = False


@dataclass(frozen=True)
class Missing:
    """A reference that cannot be timed here, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """One piece of work, done by the library and by others.

    Args:
        work: what is done, with its size
        ours: the library's way
        references: what a user would otherwise write
        rounds: how often the ways take turns
        clock: gives seconds; a graphics card needs the clock on the wall
    """

    work: str
    ours: Way
    references: Sequence[Way | Missing]
    rounds: int = 5
    clock: Callable[[], float] = cpu_seconds


@dataclass(frozen=True)
class Row:
    """One row of the table of ratios.

    Args:
        benchmark: its name
        work: what was done
        ours: name of the library's way
        reference: name of the other
        ours_took: in words
        reference_took: in words
        ratio: how many times as long the reference takes, median of the rounds; or why there is
            none
        spread: lowest and highest ratio of a round
        n: rounds
    """

    benchmark: str
    work: str
    ours: str
    reference: str
    ours_took: str
    reference_took: str
    ratio: str
    spread: str
    n: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells one row from another."""
        return self.benchmark, self.work, self.reference

    @property
    def was_measured(self) -> bool:
        """False if the reference was missing."""
        return self.n != "0"


def peer(name: str) -> ModuleType | None:
    """A library that only benchmarks use, None where it is not installed.

    One that is there and does not load counts as not installed, but tells why.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None
    except (ImportError, OSError, RuntimeError) as error:
        print(f"  {name} does not load: {str(error).splitlines()[0]}", flush=True)
        return None


def not_installed(name: str) -> Missing:
    """A reference whose library is not installed."""
    return Missing(name, "not installed")


def measure(benchmark: str, comparison: Comparison) -> list[Row]:
    """Times all ways of a comparison in turns; one row per reference."""
    calls = {comparison.ours.name: _calls(comparison.ours, comparison.clock)}
    missing = [each for each in comparison.references if isinstance(each, Missing)]
    references = []
    for way in comparison.references:
        if isinstance(way, Missing):
            continue
        try:
            calls[way.name] = _calls(way, comparison.clock)
            references.append(way)
        except Exception as error:  # another library's; the table names it
            missing.append(Missing(way.name, f"fails: {type(error).__name__}"))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(comparison.rounds):
        for way in (comparison.ours, *references):
            times[way.name].append(_seconds(way, calls[way.name], comparison.clock))
    rows = [_row(benchmark, comparison, way, times) for way in references]
    for each in missing:
        start = (benchmark, comparison.work, comparison.ours.name, each.name)
        rows.append(Row(*start, "", "", each.reason, "", "0"))
    return rows


def _row(benchmark: str, comparison: Comparison, way: Way, times: dict[str, list[float]]) -> Row:
    ours = times[comparison.ours.name]
    theirs = times[way.name]
    ratios = [theirs_took / ours_took for ours_took, theirs_took in zip(ours, theirs, strict=True)]
    return Row(
        benchmark,
        comparison.work,
        comparison.ours.name,
        way.name,
        _took(ours, comparison.ours.note),
        _took(theirs, way.note),
        f"{rounded(statistics.median(ratios))} x",
        f"{rounded(min(ratios))} to {rounded(max(ratios))}",
        str(comparison.rounds),
    )


def _took(times: Sequence[float], note: str) -> str:
    text = duration(statistics.median(times))
    return f"{text}, {note}" if note else text


def _calls(way: Way, clock: Callable[[], float]) -> int:
    """How often a way is called in a round.

    The first call, which loads and compiles, is not timed.
    """
    if way.tells_seconds:
        return 1
    took = _seconds(way, 1, clock) * way.per
    if took < 1.0:
        took = _seconds(way, 1, clock) * way.per
    return max(1, min(1000, math.ceil(SHORTEST / max(took, 1e-6))))


def _seconds(way: Way, calls: int, clock: Callable[[], float]) -> float:
    """Seconds for the work once."""
    if way.tells_seconds:
        return float(way.run()) / way.per
    begun = clock()
    for _ in range(calls):
        way.run()
    return (clock() - begun) / calls / way.per


def rounded(value: float) -> str:
    """Three digits at most: three decimals below 0.1, none from a hundred on.

    Examples:
        >>> rounded(0.0234), rounded(0.456), rounded(12.34), rounded(123.4)
        ('0.023', '0.46', '12.3', '123')
    """
    for limit, decimals in ((0.0995, 3), (9.995, 2), (99.95, 1)):
        if value < limit:
            return f"{value:.{decimals}f}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """A time in words, in a unit that fits.

    Examples:
        >>> duration(0.00012), duration(0.0123), duration(12.34)
        ('120 us', '12.3 ms', '12.3 s')
    """
    if seconds < 1e-3:
        return f"{rounded(seconds * 1e6)} us"
    if seconds < 1:
        return f"{rounded(seconds * 1e3)} ms"
    return f"{rounded(seconds)} s"
