"""Do two runs agree? The same digits on the same arithmetic, the spread over seeds elsewhere.

Processors differ in the order in which they add, so in the last digit of a sum; training may carry
that digit up. ``affectlib`` asks every library for one instruction set, simulated films are the
same bytes everywhere, and the demo trains in double precision, so that most numbers agree to three
digits under any setting. A last digit can still change which epoch is chosen, or the numbers of a
network that was stopped while its loss was falling fast. Another *seed* changes such numbers in the
same way. So the notebooks are run with other seeds, and the standard deviation of each number over
these runs is stored beside it, in ``figures/<slug>/spread.json`` (``make spread``).

:func:`disagreements` compares a fresh run with the committed one. Where :func:`arithmetic` gives
the digests of the machine that stored the results, every number must be the same. Elsewhere it must
lie within the spread.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from affectlib import paths
from affectlib.errors import AffectError
from affectlib.runner.failures import report
from affectlib.runner.options import positive_count

if TYPE_CHECKING:
    import torch

SAME = 1e-5  # relative; numbers are stored with six digits
ZERO = 1e-7  # absolute: differences of equal numbers leave such rests
NEARLY = 2e-3  # absolute: what double precision leaves of a difference in the inputs' seventh digit
BAND = 4.0  # standard deviations that a number may lie away from the stored one
OUTSIDE = 0.02  # share of the numbers that may lie outside by chance: twenty of a thousand
SEEDS_FROM = (100, 200)  # first seed of each run that the spread is taken over
OPPOSITES = ("holds", "does not")
VERDICTS = (*OPPOSITES, "undecided", "too few units", "undefined", "not run")

_METRICS = re.compile(r"mse|pcc|ccc|accuracy|f1|trustworthiness|silhouette|correlation|\bp\b")
_BOUNDS = ("low", "high", "n")


class SeedError(AffectError, ValueError):
    """The committed results were not made with first seed 0."""


# ---------------------------------------------------------------- comparing


def leaves(content: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every number and text of a nested result, by its path, as ``("gla / mean", 0.1)``."""
    for name, value in content.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from leaves(value, f"{path} / ")
        else:
            yield path, value


def kind(path: str) -> str:
    """The kind of a number, its metric and its bound; numbers of a kind are judged together.

    Examples:
        >>> kind("network / TCN valence_pcc"), kind("1-CNN, accuracy / low")
        ('pcc', 'accuracy low')
        >>> kind("weights of the gate")
        'other'
    """
    metrics = _METRICS.findall(path.lower())
    bound = path.rpartition(" / ")[2]
    metric = metrics[-1] if metrics else "other"
    return f"{metric} {bound}" if bound in _BOUNDS else metric


def spread(runs: Sequence[Mapping]) -> dict[str, dict]:
    """Standard deviation of every number over runs that differ in their seeds.

    Args:
        runs: metrics of each run, nested

    Returns:
        ``numbers``: path to standard deviation, of the numbers that every run has; ``texts``: path
        to the different texts (verdicts, choices) of the runs, where there are several;
        ``sometimes``: paths that some of the runs lack, since a choice led another way
    """
    flat = [dict(leaves(run)) for run in runs]
    every = set.intersection(*map(set, flat))
    sometimes = sorted(set.union(*map(set, flat)) - every)
    numbers = {}
    texts = {}
    for path in flat[0]:
        if path not in every:
            continue
        values = [run[path] for run in flat]
        if all(_is_number(value) for value in values):
            numbers[path] = float(f"{np.std(values, ddof=1):.3g}")
        else:
            different = sorted({str(value) for value in values})
            if len(different) > 1:
                texts[path] = different
    return {"numbers": numbers, "texts": texts, "sometimes": sometimes}


def disagreements(stored: Mapping, fresh: Mapping, spread: Mapping, *, same: bool) -> list[str]:
    """Compares the metrics of two runs of one notebook.

    Args:
        stored: metrics of the committed run, nested
        fresh: metrics of the other run, nested
        spread: a result of :func:`spread`
        same: whether both were run on the same arithmetic

    Returns:
        one line for each number that is too far off, and for each verdict that turned into its
        opposite; empty where the runs agree
    """
    old = dict(leaves(stored))
    new = dict(leaves(fresh))
    only_one_has = old.keys() ^ new.keys()
    if not same:
        # Elsewhere a choice may lead another way, as it does under another seed.
        only_one_has = only_one_has - set(spread.get("sometimes", ()))
        old = {path: value for path, value in old.items() if path in new}
    if only_one_has:
        return [f"only one of the runs has: {', '.join(sorted(only_one_has))}"]
    if same:
        return [_line(path, old, new) for path in old if not _is_equal(old[path], new[path])]

    numbers = spread["numbers"]
    deviation_of_kind = _by_kind(numbers)
    certain = []
    doubtful = []
    for path, value in old.items():
        line = _line(path, old, new)
        if not _is_measured(value, new[path]):
            if not _may_differ(value, new[path]):
                certain.append(line)
            continue
        deviation = np.hypot(numbers.get(path, 0.0), deviation_of_kind.get(kind(path), 0.0))
        band = BAND * deviation + NEARLY
        distance = abs(value - new[path])
        if distance > 3 * band:
            certain.append(f"{line}, band {band:.3g}")
        elif distance > band:
            doubtful.append(f"{line}, band {band:.3g}")
    # A few of many numbers lie outside their band by chance.
    if len(doubtful) > OUTSIDE * max(len(numbers), 50):
        return certain + doubtful
    return certain


def compared(stored: Mapping, fresh: Mapping) -> tuple[int, int, list[str]]:
    """Counts the numbers of a fresh run that are those of the stored one, to the stored digits.

    Args:
        stored: metrics of the stored run, nested
        fresh: metrics of the fresh run, nested

    Returns:
        numbers that agree, numbers in all, and one line for each verdict that differs. A number
        that only one of the runs has does not agree

    Examples:
        >>> stored = {"mse": 0.1, "claims": {"a beats b": {"verdict": "holds", "p": 0.01}}}
        >>> fresh = {"mse": 0.1, "claims": {"a beats b": {"verdict": "undecided", "p": 0.2}}}
        >>> compared(stored, fresh)
        (1, 2, ['claims / a beats b / verdict: stored holds, now undecided'])
    """
    old = dict(leaves(stored))
    new = dict(leaves(fresh))
    same = 0
    n_numbers = 0
    verdicts = []
    for path in dict.fromkeys([*old, *new]):
        before = old.get(path)
        after = new.get(path)
        if before in VERDICTS or after in VERDICTS:
            if before != after:
                verdicts.append(f"{path}: stored {before}, now {after}")
        elif _is_number(before) or _is_number(after):
            n_numbers += 1
            same += path in old and path in new and _is_equal(before, after)
    return same, n_numbers, verdicts


def _line(path: str, old: Mapping, new: Mapping) -> str:
    return f"{path}: stored {old[path]}, now {new[path]}"


def _is_measured(old: object, new: object) -> bool:
    """Whether two values are numbers that vary continuously. Integers are counts."""
    return _is_number(old) and _is_number(new) and not isinstance(old, int)


def _is_equal(old: object, new: object) -> bool:
    """Whether two values are the same to the digits that are stored."""
    if _is_measured(old, new):
        return bool(np.isclose(old, new, rtol=SAME, atol=ZERO))
    return old == new


def _may_differ(old: object, new: object) -> bool:
    """Whether two values that are not both measured may stand in runs that agree.

    Texts may: a choice, or a verdict that is less sure. Counts may not, nor may a verdict turn into
    its opposite, nor may one run have a number where the other has none.
    """
    if old == new:
        return True
    if _is_number(old) and _is_number(new):
        return False
    if old is None or new is None:
        return False
    return not (old in OPPOSITES and new in OPPOSITES)


def _by_kind(numbers: Mapping[str, float]) -> dict[str, float]:
    """Root mean square of the deviations of each kind of number."""
    squares = {}
    for path, deviation in numbers.items():
        squares.setdefault(kind(path), []).append(deviation**2)
    return {name: float(np.sqrt(np.mean(values))) for name, values in squares.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_spread(slug: str) -> dict[str, dict]:
    """The stored spread of a notebook's numbers.

    Where it was not measured, the spread of all other notebooks takes its place: a number is then
    judged by how far a seed moves numbers of its kind.
    """
    figures = paths.ROOT / "figures"
    file = figures / slug / "spread.json"
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    numbers = {}
    for other in sorted(figures.glob("*/spread.json")):
        content = json.loads(other.read_text(encoding="utf-8"))
        for path, deviation in content["numbers"].items():
            # With the name of the notebook, so that it is not taken for a path of this notebook.
            numbers[f"{other.parent.name}: {path}"] = deviation
    return {"numbers": numbers, "texts": {}}


# ---------------------------------------------------------------- arithmetic


def stored_arithmetic() -> Path:
    """The file with :func:`arithmetic` of the machine that stored the committed results."""
    return paths.ROOT / "figures" / "arithmetic.json"


def arithmetic() -> dict[str, str]:
    """A digest of each library's results from fixed inputs, down to the last digit.

    Two machines with equal digests are taken to give equal results. Covered are products and
    recurrent steps of torch in both precisions, numpy's functions and products, scipy's solver, a
    simulated film, and every descriptor of it.

    Returns:
        library or part to the first digits of a SHA-256
    """
    results = _library_results()
    film = _simulated_film()
    results["simulated film"] = [np.frombuffer(film, np.uint8)]
    results.update(_descriptors_of(film))
    return {name: _digest(arrays) for name, arrays in results.items()}


def _library_results() -> dict[str, list[np.ndarray]]:
    """What the numerical libraries make of fixed inputs."""
    import scipy.linalg
    import torch

    rng = np.random.default_rng(0)
    a = rng.standard_normal((64, 300))
    b = rng.standard_normal((300, 77))
    single_a = a.astype(np.float32)
    single_b = b.astype(np.float32)
    return {
        "numpy": [np.exp(a), np.log(np.abs(a)), np.sin(a), a @ b, (a**2).sum(0)],
        "numpy, single": [np.exp(single_a), single_a @ single_b],
        "scipy": [scipy.linalg.lstsq(a[:, :50], b[:64])[0]],
        "torch": _torch_results(torch.tensor(a), torch.tensor(b)),
        "torch, single": _torch_results(torch.tensor(single_a), torch.tensor(single_b)),
    }


def _torch_results(a: "torch.Tensor", b: "torch.Tensor") -> list[np.ndarray]:
    """Products and the gradient of a recurrent network with fixed weights.

    In double precision also a convolution: the demo takes convolutions in that precision only.
    """
    import torch

    gru = torch.nn.GRU(30, 16, batch_first=True, dtype=a.dtype)
    convolution = torch.nn.Conv2d(3, 8, 3, dtype=a.dtype)
    with torch.no_grad():
        for parameter in (*gru.parameters(), *convolution.parameters()):
            weights = torch.linspace(-0.3, 0.3, parameter.numel(), dtype=a.dtype)
            parameter.copy_(weights.view_as(parameter))
    states, _ = gru(a[:, :300].reshape(64, 10, 30))
    states.sum().backward()
    results = [
        a @ b,
        torch.bmm(a.view(4, 16, 300), b.expand(4, 300, 77)),
        a.exp(),
        a.softmax(-1),
        gru.weight_hh_l0.grad,
    ]
    if a.dtype == torch.float64:
        results.append(convolution(a[:, :243].reshape(64, 3, 9, 9)))
    return [result.detach().numpy() for result in results]


def _simulated_film() -> bytes:
    """The content of a simulated film of four seconds."""
    from affectlib.simulate.build import encode, film_rng, ratios, render

    course = np.sin(np.arange(100) / 20)
    picture, sound = render(course, -course, ratios(None), np.random.default_rng(1), film_rng(0, 0))
    return encode(picture, sound)


def _descriptors_of(content: bytes) -> dict[str, list[np.ndarray]]:
    """Every descriptor of a film."""
    from affectlib.features import descriptors, extract, film

    table = extract(film(_cached_film(content)), descriptors(), jobs=1, progress=False)
    return {f"descriptor {name}": [table[name]] for name in table.sizes}


def _cached_film(content: bytes) -> Path:
    """A film with this content in the cache."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    path = paths.CACHE / "arithmetic" / f"{digest}.mp4"
    if not path.exists():
        paths.make_folder(path.parent)
        paths.write(path, content)
    return path


def _digest(arrays: Iterable[np.ndarray]) -> str:
    buffer = io.BytesIO()
    for array in arrays:
        np.save(buffer, np.ascontiguousarray(array))
    return hashlib.sha256(buffer.getvalue()).hexdigest()[:16]


# ---------------------------------------------------------------- measuring the spread


def measure(slugs: Sequence[str], *, jobs: int) -> int:
    """Runs notebooks with other seeds and stores the spread of their numbers.

    The spread goes to ``figures/<slug>/spread.json``. The committed run counts as one of the runs.
    Films and features are taken from the cache, so that only training is repeated.

    Args:
        slugs: of the notebooks, or ``["all"]``
        jobs: notebooks run at once

    Returns:
        exit status: 0, or 1 where a run failed

    Raises:
        SeedError: if a committed run was not made with first seed 0
    """
    _committed_runs(slugs)  # refuses before hours of training, not after
    for first_seed in SEEDS_FROM:
        environment = os.environ | {"AFFECTLIB_FIGURES": str(_place(first_seed))}
        for slug in slugs:
            command = [sys.executable, "-m", "affectlib.runner.cli", "reproduce"]
            command += ["--paper", slug, "--first-seed", str(first_seed), "--jobs", str(jobs)]
            command += ["--parent", str(os.getpid())]
            if subprocess.run(command, env=environment, check=False).returncode:
                return 1
    collect(slugs)
    return 0


def collect(slugs: Sequence[str]) -> None:
    """Stores the spread over the committed run and the runs that :func:`measure` has made so far.

    Args:
        slugs: of the notebooks, or ``["all"]``

    Raises:
        SeedError: if a committed run was not made with first seed 0
    """
    for slug, committed in _committed_runs(slugs).items():
        first_seeds = [0]
        runs = [committed["metrics"]]
        for first_seed in SEEDS_FROM:
            file = _place(first_seed) / slug / "metrics.json"
            if file.exists():
                first_seeds.append(first_seed)
                runs.append(json.loads(file.read_text(encoding="utf-8"))["metrics"])
        if len(runs) == 1:
            continue
        content = {"first seeds": first_seeds, **spread(runs)}
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        paths.write(paths.ROOT / "figures" / slug / "spread.json", text.encode("utf-8"))
        print(f"{slug}: spread of {len(content['numbers'])} numbers over {len(runs)} runs")


def _place(first_seed: int) -> Path:
    """Folder for the results of the runs with one first seed."""
    return paths.CACHE / "spread" / str(first_seed)


def _committed_runs(slugs: Sequence[str]) -> dict[str, dict]:
    """Slug to the metrics.json of the committed runs.

    Raises:
        SeedError: if one of them was not made with first seed 0
    """
    runs = {}
    for file in sorted((paths.ROOT / "figures").glob("*/metrics.json")):
        slug = file.parent.name
        if slugs != ["all"] and slug not in slugs:
            continue
        run = json.loads(file.read_text(encoding="utf-8"))
        seeds = run["run"]["seeds"]
        if seeds and seeds[0] != 0:
            raise SeedError(
                f"{file}: expected a run of first seed 0, found {seeds[0]}: "
                "`make notebooks` makes it anew"
            )
        runs[slug] = run
    return runs


def main(paper: str, *, jobs: int) -> int:
    """Measures the spread: ``affectlib spread``; returns the exit status."""
    try:
        positive_count(jobs, "jobs")
        return measure([paper], jobs=jobs)
    except (AffectError, OSError) as error:
        return report(error)
