"""Runs benchmarks and writes ``results.md``.

python -m benchmarks                 all but the long ones
python -m benchmarks faces sound     some of them; the rows of all others stay as they are
python -m benchmarks --whole         `make reproduce` and `make test`, before and now: hours
"""

import argparse
import sys
import time

import torch

from affectlib.errors import AffectError
from benchmarks import growth, results
from benchmarks.common import Row, cpu_seconds, measure
from benchmarks.growth import GROWTH
from benchmarks.registry import RATIOS, WHOLE, find


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", help="benchmarks, by default all but the long ones")
    parser.add_argument("--whole", action="store_true", help="make reproduce and make test: hours")
    options = parser.parse_args(arguments)
    try:
        run(options.names or ([*WHOLE] if options.whole else [*RATIOS, *GROWTH]))
    except AffectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(names: list[str]) -> None:
    """Runs some benchmarks, and writes the table after each: what is done survives a failure.

    Raises:
        ResultsError: if there is no such benchmark, or the table may not be changed
    """
    known = [*RATIOS, *GROWTH, *WHOLE]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise results.ResultsError(
            f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}"
        )
    torch.set_num_threads(1)
    machine = results.this_machine()
    before = results.read(results.RESULTS)
    # Refused now, and not after ten minutes.
    results.merge(before, results.Results(machine), names, known=known)
    if before is not None and before.machine != machine:
        before = None
    done = results.Results(machine, peers=results.peer_versions())
    for number, name in enumerate(names, 1):
        begun = time.perf_counter(), cpu_seconds()
        if name in GROWTH:
            done.growth.append(growth.measure(name))
        else:
            done.rows.extend(ratios(name))
        merged = results.merge(before, done, names[:number], known=known)
        results.write(results.RESULTS, merged)
        clock, used = time.perf_counter() - begun[0], cpu_seconds() - begun[1]
        print(f"{name}: {used:.0f} s of processor time, {clock:.0f} s", flush=True)


def ratios(name: str) -> list[Row]:
    """All rows of one benchmark."""
    rows = []
    for comparison in find(name)():
        print(f"{name}: {comparison.work}", flush=True)
        for row in measure(name, comparison):
            print(f"  {row.reference}: {row.ratio} ({row.spread})", flush=True)
            rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
