"""One thread against two, when both cores are busy: two t-SNE at once.

Two processes run at the same time, as two notebooks do in `make reproduce JOBS=2`. GNU OpenMP waits
by spinning, so that two threads in each process take processor time for nothing. The small steps of
a training lose more, and on a busy machine without a bound: they are not timed.
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import partial

from affectlib import THREAD_VARIABLES
from benchmarks.common import Comparison, Way, cpu_seconds

TASKS = {
    "t-SNE of 300 points": """
        import numpy as np
        from sklearn.manifold import TSNE
        points = np.random.default_rng(0).normal(size=(300, 128))
        TSNE(max_iter=500, random_state=0).fit_transform(points)
        """,
}


def two_at_once(code: str, threads: int) -> float:
    """Processor time of two processes that run the same code."""
    # Set before the child loads a library; affectlib leaves variables alone that are set already.
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    command = [sys.executable, "-c", textwrap.dedent(code)]
    begun = cpu_seconds()
    processes = [subprocess.Popen(command, env=environment) for _ in range(2)]
    for process in processes:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, command)
    return cpu_seconds() - begun


def comparisons() -> Iterator[Comparison]:
    """Both tasks, with the start of their interpreters."""
    for name, code in TASKS.items():
        yield Comparison(
            f"two processes at once: {name}",
            Way("one thread each", partial(two_at_once, code, 1), tells_seconds=True),
            [Way("two threads each", partial(two_at_once, code, 2), tells_seconds=True)],
            rounds=2,
        )
