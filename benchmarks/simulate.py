"""Seconds of simulated film written per second, and per second of processor time.

Run with ``python benchmarks/simulate.py``; the target is 20 on two cores.
"""

import resource
import tempfile
import time
from pathlib import Path

from affectlib.simulate import make_cognimuse


def processor_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main(*, n_films=6, seconds=60):
    print(f"{'processes':>9} {'film s per s':>13} {'film s per processor s':>23}")
    for jobs in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            clock, used = time.perf_counter(), processor_seconds()
            make_cognimuse(Path(folder), n_films=n_films, seconds=seconds, jobs=jobs)
            clock, used = time.perf_counter() - clock, processor_seconds() - used
        print(f"{jobs:>9} {n_films * seconds / clock:>13.1f} {n_films * seconds / used:>23.1f}")


if __name__ == "__main__":
    main()
