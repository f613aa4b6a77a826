"""What runs for hours, here or on many machines: the features of a corpus, and a notebook over a grid of parameters.

Behind ``make extract`` and ``make sweep``. Both take the address of a Dask scheduler, whose workers see this checkout,
the data and the cache under the same paths; both, killed and repeated, go on where they were.
"""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import as_completed as completed
from contextlib import nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
import yaml

from affectlib import corpora, paths
from affectlib.corpora.base import AffectError
from affectlib.runner import reproduce


class SweepError(AffectError, RuntimeError):
    """Some points of a sweep failed: names them; the others are done."""


def extract_corpus(
    name,
    extractors="descriptors",
    *,
    features="pretrained",
    precision="fp32",
    root=None,
    seconds=None,
    parts=None,
    client=None,
    jobs=2,
):
    """Puts the features of a whole corpus, or of one film, into the store, where the notebooks find them.

    Args:
        name: of a loader, as ``cognimuse`` for ``corpora.load_cognimuse``; or a media file
        extractors: ``"descriptors"``; the slug of a paper, for what its notebook takes; names of single descriptors;
            several, separated by commas
        features: of a slug: ``"pretrained"``, its own networks, or ``"descriptors"``, what takes their places
        precision: of the networks, see :func:`affectlib.features.deep.pretrained`
        root: folder of the corpus, by default that of its name below ``AFFECTLIB_DATA``
        seconds: length of the segments; where not given, films annotated over time are cut into those of the slug's
            notebook, or of 5
        parts: cut every clip into so many instead
        client: a Dask client, or the address of a scheduler
        jobs: processes at work without one

    Returns:
        FeatureTable; what failed stands in its ``skipped``, what lacks sound or picture in its ``missing``

    Raises:
        CorpusNotFoundError, CorpusFormatError: if there is no such corpus, or it is not as expected
        WeightsNotFoundError: if networks are asked for whose weights are missing; lists all
        ValueError: for an unknown corpus or extractor, listing those there are
    """
    from affectlib.features import Store, extract, film
    from affectlib.features.extract import SEGMENT

    chosen = _extractors(extractors, features, precision)
    usual = SEGMENT.get(extractors, 5.0)
    if Path(name).is_file():
        clips = film(name, seconds=seconds or usual)
    elif (load := getattr(corpora, f"load_{name}", None)) is None:
        known = sorted(
            loader.removeprefix("load_") for loader in dir(corpora) if loader.startswith("load_")
        )
        raise ValueError(f"no corpus and no film {name!r}; there are {', '.join(known)}")
    else:
        clips = load(root or paths.DATA / name)
        if (
            clips.annotations.empty and seconds
        ):  # features alone: the value of a whole clip need not be cut
            clips = replace(
                clips, clips=clips.clips.drop(columns=["valence", "arousal"], errors="ignore")
            )
        if parts or seconds or not clips.annotations.empty:
            clips = corpora.segments(
                clips, **({"parts": parts} if parts else {"seconds": seconds or usual})
            )
    return extract(
        clips, chosen, store=Store(), client=client, jobs=jobs, missing="zeros", on_error="skip"
    )


def _extractors(text, features, precision):
    from affectlib.features import descriptors
    from affectlib.features.deep import NEEDS
    from affectlib.features.extract import extractors

    single, found = {e.name: (e,) for e in descriptors()}, {}
    for word in text.split(","):
        if word not in ("descriptors", *single, *NEEDS):
            raise ValueError(
                f"no extractors {word!r}; there are descriptors, {', '.join([*single, *NEEDS])}"
            )
        chosen = descriptors() if word == "descriptors" else single.get(word)
        found |= {e.name: e for e in chosen or extractors(features, word, precision=precision)}
    return tuple(found.values())


def sweep(
    slug, grid=None, *, profile="demo", corpus="simulated", client=None, jobs=2, progress=True
):
    """Runs a notebook once for every combination of some parameters.

    Each point has a folder of its own, ``sweeps/<slug>/<key>`` in the cache: the executed notebook, metrics.json,
    tables and figures. The key is the content key of ``make reproduce``; a point that is there is not run again.

    Args:
        slug: of the notebook
        grid: parameter to the list of its values, or a YAML file that says so, by default
            ``notebooks/sweeps/<slug>.yaml``: the paper's
        profile: what the other parameters are, ``"demo"`` or ``"full"``
        corpus: ``"simulated"`` or ``"real"``
        client: a Dask client, or the address of a scheduler
        jobs: notebooks run at once without one
        progress: show a bar with the time left

    Returns:
        DataFrame with one row per point: its parameters, key, and headline numbers with their intervals; also
        written as ``sweeps/<slug>/sweep.csv``

    Raises:
        ParameterError: for a notebook, a parameter or a type of value that does not exist, before anything runs
        SweepError: once the rest is done, if points failed; it names them
    """
    from tqdm import tqdm

    from affectlib.features.store import write

    jobs_of = {}
    for point in _points(slug, grid):
        job = _job(slug, point, profile, corpus)
        jobs_of[job.key] = (point, job)
    waiting, failed = [job for _, job in jobs_of.values() if not job.output.is_file()], {}
    with tqdm(
        total=len(jobs_of),
        initial=len(jobs_of) - len(waiting),
        unit="point",
        disable=not progress,
        desc=f"sweep of {slug}",
    ) as bar:
        for job, error in _spread(waiting, client, jobs):
            bar.update()
            if error:
                failed[job.key] = error
    rows = [
        {**point, "key": job.output.parent.name, **_headline(job)}
        for point, job in jobs_of.values()
        if job.key not in failed
    ]
    table = pd.DataFrame(rows)
    write(
        paths.CACHE / "sweeps" / slug / "sweep.csv",
        table.to_csv(index=False, float_format="%.6g").encode(),
    )
    if failed:
        raise SweepError(
            f"{len(failed)} of {len(jobs_of)} points of {slug} failed:\n"
            + "\n".join(f"  {jobs_of[key][0]}: {error}" for key, error in failed.items())
        )
    return table


def _grid(text):
    """A grid as it is written, or the name of its file."""
    try:
        return yaml.safe_load(text) if text.lstrip().startswith("{") else text
    except yaml.YAMLError as error:
        raise reproduce.ParameterError(
            f"a grid names parameters, each with a list of values: {text!r}"
        ) from error


def _points(slug, grid):
    """All combinations of a grid: dicts of parameters."""
    if not isinstance(grid, dict):
        file = reproduce.NOTEBOOKS / "sweeps" / f"{slug}.yaml" if grid is None else Path(grid)
        if not file.is_file():
            raise reproduce.ParameterError(f"{slug}: no such grid {file}")
        grid = yaml.safe_load(file.read_text(encoding="utf-8"))
    if (
        not isinstance(grid, dict)
        or not grid
        or not all(isinstance(v, list) and v for v in grid.values())
    ):
        raise reproduce.ParameterError(
            f"a grid names parameters, each with a list of values: {grid!r}"
        )
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _job(slug, point, profile, corpus):
    """The job of one point; its parameters are checked as those of a profile are."""
    notebooks = reproduce.find_notebooks()
    if slug not in notebooks:
        raise reproduce.ParameterError(f"no notebook {slug!r}; there are {', '.join(notebooks)}")
    notebook = notebooks[slug]
    given = reproduce.profile_parameters(notebook, slug, profile, corpus) | point
    parameters = reproduce.checked_parameters(notebook, given)
    key = reproduce.content_key(notebook, slug, parameters)
    output = paths.CACHE / "sweeps" / slug / key[:16] / notebook.name
    return reproduce.Job(slug, notebook, output, parameters, key)


def _spread(jobs, client, at_once):
    """Gives each job and its error, None where it succeeded, as they are done."""
    if client is None:
        with ThreadPoolExecutor(max(1, at_once)) as pool:
            futures = {pool.submit(run, job): job for job in jobs}
            for future in completed(futures):
                yield futures[future], future.result()
        return
    from dask.distributed import Client, KilledWorker
    from dask.distributed import as_completed as distributed

    with Client(client) if isinstance(client, str) else nullcontext(client) as client:
        futures = {client.submit(run, job, pure=False): job for job in jobs}
        for future in distributed(list(futures)):
            try:
                yield futures[future], future.result()
            except KilledWorker:
                yield futures[future], "the process at work on it was killed (out of memory?)"


def run(job):
    """Runs one job in a process of its own, which writes to the job's folder and ends with this one.

    Returns:
        None, or the last line of what went wrong
    """
    fields = {
        "slug": job.slug,
        "notebook": str(job.notebook),
        "output": str(job.output),
        "parameters": job.parameters,
        "key": job.key,
    }
    code = "import sys; from affectlib.runner.sweep import _child; sys.exit(_child(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(fields)],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"AFFECTLIB_FIGURES": str(job.output.parent)},
    )
    return (
        None
        if done.returncode == 0
        else (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    )


def _child(text):
    parent, fields = os.getppid(), json.loads(text)

    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    places = {name: Path(fields.pop(name)) for name in ("notebook", "output")}
    return reproduce._execute(reproduce.Job(**places, **fields))


def _headline(job):
    """Headline numbers of a point: mean, and bounds where there are some."""
    file = job.output.parent / job.slug / "metrics.json"
    metrics = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"headline": ()}
    numbers = {}
    for name in metrics["headline"]:
        value = metrics["metrics"][name]
        bounds = value if isinstance(value, dict) else {"mean": value}
        numbers |= {
            name: bounds["mean"],
            **{f"{name}, {end}": bounds[end] for end in ("low", "high") if end in bounds},
        }
    return numbers


def main(arguments):
    """What ``make extract`` and ``make sweep`` call: ``extract`` or ``sweep``, then options as ``name=value``.

    Returns:
        0; 1 where clips were skipped or points failed; 2 for options that make no sense
    """
    what, *given = arguments
    options = {name: value for name, _, value in (word.partition("=") for word in given) if value}
    try:
        for name, kind in (
            ("seconds", float),
            ("parts", int),
            ("jobs", int),
            ("grid", _grid),
        ):  # the rest is text
            if name in options:
                options[name] = kind(options[name])
        result = {"extract": extract_corpus, "sweep": sweep}[what](**options)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (AffectError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    skipped = getattr(result, "skipped", ())
    print(result if what == "extract" else result.to_string(index=False))
    for message in skipped:
        print(f"skipped: {message}", file=sys.stderr)
    for name, clips in getattr(result, "missing", {}).items():
        print(
            f"{name}: {len(clips)} clips lack what it needs, the first is {clips[0]}",
            file=sys.stderr,
        )
    return 1 if skipped else 0


if __name__ == "__main__":
    # Not __main__, so that a worker elsewhere finds its functions by name.
    from affectlib.runner import sweep as module

    sys.exit(module.main(sys.argv[1:]))
