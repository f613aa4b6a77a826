"""How time and memory grow with the size of the work: three sizes each, each in a new process.

python -m benchmarks.growth load 100     prints the CPU seconds and the memory of one size
"""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affectlib import paths
from benchmarks.common import cpu_seconds, rounded
from benchmarks.results import GrowthRow

Work = Callable[[], object]


@dataclass(frozen=True)
class Growth:
    """What is done at three sizes.

    Args:
        size: what the numbers count
        sizes: small, middle, large
        prepare: gives the work of one size, below a folder that is empty; not timed
        first: a size that is done before, so that everything is loaded and compiled
        runs: processes per size, of which the fastest counts; more where the work is short
    """

    size: str
    sizes: Sequence[int]
    prepare: Callable[[int, Path], Work]
    first: int = 5
    runs: int = 1


def load(films: int, folder: Path) -> Work:
    """The continuous task of MediaEval 2018, films of 1,950 s."""
    from affectlib.corpora import load_mediaeval18
    from benchmarks.loaders import write_mediaeval18

    write_mediaeval18(folder, films=films)
    return lambda: load_mediaeval18(folder)


def extract(seconds: int, folder: Path) -> Work:
    """The descriptors of one film."""
    from affectlib.features import descriptors, film
    from affectlib.features import extract as described
    from benchmarks.reading import encode

    corpus = film(encode(folder / "film.mp4", seconds=seconds), seconds=5.0)
    extractors = descriptors()
    return lambda: described(corpus, extractors, jobs=1, progress=False)


def simulate(seconds: int, folder: Path) -> Work:
    """One film of COGNIMUSE."""
    from affectlib.simulate import make_cognimuse

    return lambda: make_cognimuse(folder, n_films=1, seconds=float(seconds), jobs=1)


def fit(segments: int, folder: Path) -> Work:
    """One epoch of all twelve folds; folds grow with films, so the films stay twelve."""
    from functools import partial

    from affectlib.models.attend_affect import FeatureAAN, mse_pcc_loss
    from affectlib.stacked import fit_folds
    from benchmarks.fit_folds import corpus

    options = {"loss": mse_pcc_loss, "batch_size": 30, "epochs": 1, "progress": False}
    return partial(fit_folds, FeatureAAN, *corpus(segments=segments), **options)


def content_key(files: int, folder: Path) -> Work:
    """The scan of a real corpus, of which a content key is made."""
    from affectlib.runner.content_key import scan

    for number in range(files):
        place = folder / f"{number // 100:04d}"
        place.mkdir(exist_ok=True)
        (place / f"{number:06d}.csv").write_text("0")
    return lambda: scan(folder)


def bootstrap(films: int, folder: Path) -> Work:
    """An interval of the correlation, films of four rows."""
    from affectlib.metrics import pcc
    from affectlib.statistics import bootstrap_interval

    truth, prediction, groups = _predictions(films, rows=4)
    return lambda: bootstrap_interval(pcc, truth, prediction, groups=groups)


def paired_difference(films: int, folder: Path) -> Work:
    """The sign-flip test, one score per film."""
    from affectlib import statistics

    truth, prediction, groups = _predictions(films, rows=1)
    return lambda: statistics.paired_difference(truth, prediction, groups)


def _predictions(films: int, *, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(films * rows)
    prediction = truth + rng.standard_normal(films * rows)
    return truth, prediction, np.repeat(np.arange(films), rows)


GROWTH = {
    "growth_load": Growth("films of 1,950 s, MediaEval 2018", (16, 32, 64), load, runs=3),
    "growth_extract": Growth("seconds of film, descriptors", (20, 40, 80), extract),
    "growth_simulate": Growth("seconds of film, COGNIMUSE", (20, 40, 80), simulate),
    "growth_fit": Growth("segments of each of 12 films, fit_folds, an epoch", (36, 72, 144), fit),
    "growth_content_key": Growth("files of a corpus", (2000, 4000, 8000), content_key, runs=3),
    "growth_bootstrap": Growth("films of 4 rows, PCC", (1000, 3000, 9000), bootstrap, runs=3),
    "growth_paired_difference": Growth("films", (1000, 3000, 9000), paired_difference, runs=3),
}


def measure(name: str) -> GrowthRow:
    """Times all sizes of a benchmark, each in a process of its own."""
    growth = GROWTH[name]
    seconds = []
    memory = []
    for size in growth.sizes:
        found = [in_process(name, size) for _ in range(growth.runs)]
        seconds.append(min(each["seconds"] for each in found))
        memory.append(max(each["memory"] for each in found))
        print(f"{name} {size}: {rounded(seconds[-1])} s, {rounded(memory[-1])} MiB", flush=True)
    return GrowthRow(
        name,
        growth.size,
        " / ".join(f"{size:,}" for size in growth.sizes),
        " / ".join(map(rounded, seconds)),
        f"{slope(growth.sizes, seconds):.2f}",
        " / ".join(f"{value:.0f}" for value in memory),
    )


def in_process(name: str, size: int) -> dict[str, float]:
    """:func:`one_size` in a new process."""
    command = [sys.executable, "-m", "benchmarks.growth", name, str(size)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=paths.ROOT)
    if run.returncode:
        raise RuntimeError(f"{name} at {size}: {run.stderr.strip()}")
    return json.loads(run.stdout.splitlines()[-1])


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log time against log size.

    Examples:
        >>> round(slope([1, 2, 4], [3, 12, 48]), 6)
        2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _in_memory(field: str) -> float:
    """A line of /proc/self/status in MiB, nan where the system has no such file."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return math.nan
    return int(text.partition(f"{field}:")[2].split()[0]) / 1024


def one_size(name: str, size: int) -> dict[str, float]:
    """CPU seconds of the work and the memory that it added at its peak, in MiB."""
    with _work(name, GROWTH[name].first) as work:
        work()
    with _work(name, size) as work:
        _forget_peak()
        held = _in_memory("VmRSS")
        begun = cpu_seconds()
        work()
        seconds = cpu_seconds() - begun
        return {"seconds": seconds, "memory": max(0.0, _in_memory("VmHWM") - held)}


@contextmanager
def _work(name: str, size: int) -> Iterator[Work]:
    with tempfile.TemporaryDirectory() as folder:
        yield GROWTH[name].prepare(size, Path(folder))


def _forget_peak() -> None:
    """Sets the kernel's peak back to what the process holds, without its preparation."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("the peak of memory holds that of the preparation, too", file=sys.stderr)


if __name__ == "__main__":
    print(json.dumps(one_size(sys.argv[1], int(sys.argv[2]))))
