"""Five affective-computing papers you can run: corpora, features, models, training and plots.

Nothing heavy is imported here. This module does two things, both before any numerical library is
loaded, since each library reads its variables once:

    - It asks for a single thread. Small models and t-SNE run several times slower when two threads
      wait for each other on two busy cores; parallelise over notebooks, folds and films instead.
    - It asks for one instruction set, AVX2, which every x86-64 processor since about 2015 has. With
      AVX-512 a sum is taken in another order, and its last digit differs. So the same demo gives the
      same digits on processors with and without AVX-512. ``AFFECTLIB_INSTRUCTIONS=native`` lets each
      library choose by itself, as the runner does for the papers' sizes. Convolutions in single
      precision, which only the papers' large networks need, are left alone: AVX2 would halve their
      speed and take 16-bit arithmetic away.

A variable that is already set is left alone.
"""

import os
import platform
from pathlib import Path

__version__ = "0.1.0"

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)

# For each library, the variable by which it is told to use AVX2 and nothing beyond.
AVX2_VARIABLES = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own loops
    "MKL_CBWR": "AVX2",  # torch's matrix products; Intel's processors only, others are not changed
    "OPENBLAS_CORETYPE": "Haswell",  # matrix products of numpy and scipy
}
# These two name what is switched off, and complain about names that a processor does not have.
AVX512_OFF = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4",  # numpy's own loops
    "OPENCV_CPU_DISABLE": "AVX512-SKX",
}


def _instruction_sets() -> frozenset[str]:
    """Names what an x86-64 processor under Linux can do, as ``/proc/cpuinfo`` does; else nothing."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def _ask_for_one_instruction_set() -> None:
    choice = os.environ.get("AFFECTLIB_INSTRUCTIONS") or "avx2"
    if choice not in ("avx2", "native"):
        raise ValueError(f"AFFECTLIB_INSTRUCTIONS is avx2 or native, not {choice!r}")
    available = _instruction_sets()
    if choice == "native" or "avx2" not in available:
        return
    for variable, value in AVX2_VARIABLES.items():
        os.environ.setdefault(variable, value)
    if "avx512bw" in available:
        for variable, value in AVX512_OFF.items():
            os.environ.setdefault(variable, value)


for _variable in THREAD_VARIABLES:
    os.environ.setdefault(_variable, "1")
_ask_for_one_instruction_set()
