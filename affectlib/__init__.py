"""Five affective-computing papers you can run: corpora, features, models, training and plots.

Importing this module loads nothing heavy. It changes two settings of the numerical libraries:

- One thread. Small models and t-SNE run several times slower when two threads wait for each other
  on two busy cores; run notebooks, folds and films in parallel instead. This works whether the
  libraries are loaded before or after this module. A thread variable that is already set, such as
  ``OMP_NUM_THREADS``, is left alone.
- One instruction set, AVX2, which every x86-64 processor since about 2015 has. With AVX-512 a sum
  is taken in another order, and its last digit differs. So the same demo gives the same digits on
  processors with and without AVX-512. A library reads this choice once, while it loads: a library
  that was loaded before this module keeps its own instruction set, without a warning, and its last
  digits may then differ. The runner imports this module first. ``AFFECTLIB_INSTRUCTIONS=native``
  lets each library choose by itself, as the runner does for the papers' sizes. Convolutions in
  single precision, which only the papers' large networks need, are left alone: AVX2 would halve
  their speed and take 16-bit arithmetic away. A variable that is already set is left alone.
"""

import os
import platform
import sys
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

# Each of these starts its threads when it is loaded, or brings a library that does.
_THREADED_LIBRARIES = ("numpy", "scipy", "sklearn", "torch", "numba")


def _instruction_sets() -> frozenset[str]:
    """Instruction sets of an x86-64 processor under Linux, as ``/proc/cpuinfo`` names them.

    Empty on every other system.
    """
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


def _ask_for_one_thread() -> None:
    chosen_by_user = any(variable in os.environ for variable in THREAD_VARIABLES)
    # Libraries that are loaded later, here and in child processes, read the variables.
    for variable in THREAD_VARIABLES:
        # Numba reads its variable again later, and refuses one that changed while it is running.
        if variable == "NUMBA_NUM_THREADS" and "numba" in sys.modules:
            continue
        os.environ.setdefault(variable, "1")
    if not chosen_by_user:
        _limit_threads_of_loaded_libraries()


def _limit_threads_of_loaded_libraries() -> None:
    """Sets one thread in libraries that have read their variables before this module set them."""
    if not any(library in sys.modules for library in _THREADED_LIBRARIES):
        return
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    # torch and numba keep numbers of their own beside those of the libraries that they call.
    for library in ("torch", "numba"):
        if library in sys.modules:
            sys.modules[library].set_num_threads(1)


_ask_for_one_thread()
_ask_for_one_instruction_set()
