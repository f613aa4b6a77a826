"""Seconds to import affectlib, its plots and, for scale, what they leave to their first use.

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
CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(name):
    """Best of three fresh interpreters."""
    run = [sys.executable, "-c", CODE.format(name)]
    return min(
        float(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    )


if __name__ == "__main__":
    taken = {name: seconds(name) for name in NAMES}
    print(f"{'import':<20} {'seconds':>8} {'of umap':>8}")
    for name in NAMES:
        print(f"{name:<20} {taken[name]:8.3f} {taken[name] / taken['umap']:8.2f}")
