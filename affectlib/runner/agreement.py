"""Do two runs agree? The same digits on the same arithmetic, the spread over seeds elsewhere.

Processors differ in the order in which they add, so in the last digit of a sum; training may carry
that digit up. ``affectlib`` asks every library for one instruction set, simulated films are the same
bytes everywhere, and the demo trains in double precision, so that most numbers agree to three digits
under any setting. What a last digit can still turn, an epoch chosen or a network that was stopped
while it was falling fast, is known by what another *seed* does to it: the notebooks are run with
other seeds, and the standard deviation of each number over these runs is stored beside it, in
``figures/<slug>/spread.json`` (``make spread``).

:func:`disagreements` compares a fresh run with the committed one. Where :func:`arithmetic` gives what
it gave on the machine that stored the results, every number must be the same. Elsewhere it must lie
within the spread.
"""

import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from affectlib import paths

SAME = 1e-5  # relative; numbers are stored with six digits
NEARLY = 2e-3  # absolute: what double precision leaves of a difference in the inputs' seventh digit
BAND = 4.0  # standard deviations that a number may lie away from the stored one
OUTSIDE = (
    0.02  # share of the numbers that may lie farther away, as some of a thousand will by chance
)
SEEDS_FROM = (100, 200)  # first seed of each run that the spread is taken over
OPPOSITES = {"holds", "does not"}

_METRICS = re.compile(r"mse|pcc|ccc|accuracy|f1|trustworthiness|silhouette|correlation|\bp\b")
_BOUNDS = ("low", "high", "n")


def leaves(content: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every number and text of a nested result, by its path, as ``("gla / mean", 0.1)``."""
    for name, value in content.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from leaves(value, f"{path} / ")
        else:
            yield path, value


def kind(path: str) -> str:
    """What a number is, so that numbers of a kind may be judged together: its metric and its bound.

    Examples:
        >>> kind("network / TCN valence_pcc"), kind("1-CNN, accuracy / low")
        ('pcc', 'accuracy low')
        >>> kind("weights of the gate")
        'other'
    """
    metrics = _METRICS.findall(path.lower())
    bound = path.rpartition(" / ")[2]
    words = [metrics[-1] if metrics else "other"]
    if bound in _BOUNDS:
        words.append(bound)
    return " ".join(words)


def spread(runs: list[dict]) -> dict:
    """Standard deviation of every number over runs that differ in their seeds, and what else changed.

    Args:
        runs: metrics of each run, nested

    Returns:
        ``numbers``: path to standard deviation, of numbers that every run has; ``texts``: path to the
        different texts (verdicts, choices) of the runs, where there are several
    """
    flat = [dict(leaves(run)) for run in runs]
    shared = [path for path in flat[0] if all(path in run for run in flat)]
    numbers, texts = {}, {}
    for path in shared:
        values = [run[path] for run in flat]
        if all(_is_number(value) for value in values):
            numbers[path] = float(f"{np.std(values, ddof=1):.3g}")
        elif len(set(map(str, values))) > 1:
            texts[path] = sorted(set(map(str, values)))
    return {"numbers": numbers, "texts": texts}


def disagreements(stored: dict, fresh: dict, spread: dict, *, same: bool) -> list[str]:
    """Compares the metrics of two runs of one notebook.

    Args:
        stored: metrics of the committed run, nested
        fresh: those of the other run
        spread: what :func:`spread` gave
        same: whether both were run on the same arithmetic

    Returns:
        one line for each number that is too far off, and for each verdict that was turned round; none
        where the runs agree
    """
    old, new = dict(leaves(stored)), dict(leaves(fresh))
    if old.keys() != new.keys():
        names = ", ".join(sorted(old.keys() ^ new.keys()))
        return [f"only one of the runs has: {names}"]
    numbers = spread["numbers"]
    pooled = _by_kind(numbers)
    certain, doubtful = [], []
    for path, value in old.items():
        line = f"{path}: stored {value}, now {new[path]}"
        if value == new[path]:
            continue
        if not _is_number(value) or not _is_number(new[path]):
            if same or {value, new[path]} == OPPOSITES or None in (value, new[path]):
                certain.append(line)
        elif isinstance(value, int):
            certain.append(line)  # a count
        elif same:
            if not np.isclose(value, new[path], rtol=SAME, atol=SAME):
                certain.append(line)
        else:
            band = BAND * np.hypot(numbers.get(path, 0.0), pooled.get(kind(path), 0.0)) + NEARLY
            if abs(value - new[path]) > 3 * band:
                certain.append(f"{line}, band {band:.3g}")
            elif abs(value - new[path]) > band:
                doubtful.append(f"{line}, band {band:.3g}")
    if len(doubtful) > OUTSIDE * max(len(numbers), 50):
        certain += doubtful
    return certain


def _by_kind(numbers: dict[str, float]) -> dict[str, float]:
    """Root mean square of the deviations of each kind of number."""
    squares = {}
    for path, deviation in numbers.items():
        squares.setdefault(kind(path), []).append(deviation**2)
    return {name: float(np.sqrt(np.mean(values))) for name, values in squares.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_spread(slug: str) -> dict:
    """The stored spread of a notebook's numbers.

    Where it was not measured, that of all other notebooks stands in: numbers are then judged by what
    a seed does to numbers of their kind.
    """
    file = paths.ROOT / "figures" / slug / "spread.json"
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    numbers = {}
    for other in sorted((paths.ROOT / "figures").glob("*/spread.json")):
        content = json.loads(other.read_text(encoding="utf-8"))
        # The name of the notebook before each path: none is taken for a path of this notebook.
        numbers |= {
            f"{other.parent.name}: {path}": value for path, value in content["numbers"].items()
        }
    return {"numbers": numbers, "texts": {}}


def stored_arithmetic() -> Path:
    """The file that holds :func:`arithmetic` of the machine that stored the committed results."""
    return paths.ROOT / "figures" / "arithmetic.json"


def arithmetic() -> dict[str, str]:
    """A digest of what each library computes from fixed inputs, down to the last digit.

    Two machines with equal digests are taken to give equal results: products and recurrent
    steps of torch in both precisions, numpy's functions and products, scipy's solver, a
    simulated film, and every descriptor of it.

    Returns:
        library or part to the first digits of a SHA-256
    """
    import scipy.linalg
    import torch

    from affectlib.features import descriptors, extract, film
    from affectlib.simulate.build import encode, film_rng, ratios, render

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((64, 300)), rng.standard_normal((300, 77))
    found = {
        "numpy": [np.exp(a), np.log(np.abs(a)), np.sin(a), a @ b, (a**2).sum(0)],
        "numpy, single": [
            np.exp(a.astype(np.float32)),
            a.astype(np.float32) @ b.astype(np.float32),
        ],
        "scipy": [scipy.linalg.lstsq(a[:, :50], b[:64])[0]],
    }
    for name, precision in (("torch", torch.float64), ("torch, single", torch.float32)):
        found[name] = _torch_digits(
            torch.tensor(a, dtype=precision), torch.tensor(b, dtype=precision)
        )

    course = np.sin(np.arange(100) / 20)  # four seconds
    picture, sound = render(course, -course, ratios(None), np.random.default_rng(1), film_rng(0, 0))
    content = encode(picture, sound)
    found["simulated film"] = [np.frombuffer(content, np.uint8)]
    table = extract(film(_kept(content)), descriptors(), jobs=1, progress=False)
    found |= {f"descriptor {name}": [table[name]] for name in table.sizes}
    return {name: _digest(arrays) for name, arrays in found.items()}


def _torch_digits(a, b) -> list[np.ndarray]:
    """Products and the gradient of a recurrent network with fixed weights, in double also a convolution.

    The demo takes convolutions in double precision only.
    """
    import torch

    gru = torch.nn.GRU(30, 16, batch_first=True, dtype=a.dtype)
    convolution = torch.nn.Conv2d(3, 8, 3, dtype=a.dtype)
    with torch.no_grad():
        for parameter in (*gru.parameters(), *convolution.parameters()):
            count = parameter.numel()
            parameter.copy_(torch.linspace(-0.3, 0.3, count, dtype=a.dtype).view_as(parameter))
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


def _kept(content: bytes) -> Path:
    """A file with this content in the cache."""
    path = paths.CACHE / "arithmetic" / f"{hashlib.sha256(content).hexdigest()[:16]}.mp4"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return path


def _digest(arrays: list[np.ndarray]) -> str:
    buffer = io.BytesIO()
    for array in arrays:
        np.save(buffer, np.ascontiguousarray(array))
    return hashlib.sha256(buffer.getvalue()).hexdigest()[:16]


def measure(slugs: list[str], *, jobs: int) -> int:
    """Runs notebooks with other seeds and stores the spread of their numbers in ``figures/<slug>/``.

    The committed run counts as one of the runs. Films and features are taken from the cache, so that
    only training is repeated.

    Args:
        slugs: of the notebooks, or ``["all"]``
        jobs: notebooks run at once

    Returns:
        exit status: 0, or 1 where a run failed
    """
    places = {first: paths.CACHE / "spread" / str(first) for first in SEEDS_FROM}
    for first, place in places.items():
        for slug in slugs:
            command = [sys.executable, "-m", "affectlib.runner.reproduce", "--paper", slug]
            command += ["--first-seed", str(first), "--jobs", str(jobs)]
            environment = os.environ | {"AFFECTLIB_FIGURES": str(place)}
            if subprocess.run(command, env=environment, check=False).returncode:
                return 1
    collect(slugs)
    return 0


def collect(slugs: list[str]) -> None:
    """Stores the spread over the committed run and those that :func:`measure` has made so far.

    Args:
        slugs: of the notebooks, or ``["all"]``
    """
    figures = paths.ROOT / "figures"
    for file in sorted(figures.glob("*/metrics.json")):
        slug = file.parent.name
        made = {
            first: paths.CACHE / "spread" / str(first) / slug / "metrics.json"
            for first in SEEDS_FROM
        }
        others = {first: path for first, path in made.items() if path.exists()}
        if (slugs != ["all"] and slug not in slugs) or not others:
            continue
        runs = [
            json.loads(each.read_text(encoding="utf-8"))["metrics"]
            for each in (file, *others.values())
        ]
        content = {"first seeds": [0, *others], **spread(runs)}
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (figures / slug / "spread.json").write_text(text, encoding="utf-8")
        print(f"{slug}: spread of {len(content['numbers'])} numbers over {len(runs)} runs")


def main(arguments: list[str] | None = None) -> int:
    """Command line of ``python -m affectlib.runner.agreement``; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m affectlib.runner.agreement")
    parser.add_argument("--paper", default="all", help="slug of one notebook, or all")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks run at once")
    options = parser.parse_args(arguments)
    return measure([options.paper], jobs=options.jobs)


if __name__ == "__main__":
    sys.exit(main())
