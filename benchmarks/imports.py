"""Seconds to import affectlib and its parts; for scale, libraries that they import at first use.

python benchmarks/imports.py
"""

import subprocess
import sys

NAMES = (
    "affectlib",
    "affectlib.corpora",
    "affectlib.features",
    "affectlib.plots",
    "affectlib.training",
    "pytorch_lightning",
    "umap",
    "seaborn",
)
SCALE = "umap"
CODE = """
import time
begun = time.perf_counter()
import {name}
print(time.perf_counter() - begun)
"""


def import_seconds(name: str) -> float:
    """Best of three new interpreters."""
    command = [sys.executable, "-c", CODE.format(name=name)]
    seconds = []
    for _ in range(3):
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds.append(float(run.stdout))
    return min(seconds)


if __name__ == "__main__":
    seconds = {name: import_seconds(name) for name in NAMES}
    print(f"{'import':<20} {'seconds':>8} {'of ' + SCALE:>8}")
    for name in NAMES:
        print(f"{name:<20} {seconds[name]:8.3f} {seconds[name] / seconds[SCALE]:8.2f}")
