"""The headless runner behind ``make reproduce``.

Executes each notebook with papermill in a process of its own, after those whose results it reads, and skips those
whose content key is unchanged. The key covers code cells, parameters, the affectlib modules a notebook reaches by
import, the published tables, the results of other notebooks that it reads, the real corpora, the lock file and the
Python version; it stands in the executed notebook's metadata. Comments, docstrings and markdown are not part of it.
Parameters are strict: a name that the parameters cell does not assign, or a value of another type, is an error.
"""

import argparse
import ast
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from affectlib import AVX2_VARIABLES, AVX512_OFF, paths
from affectlib.corpora.base import AffectError

NOTEBOOKS = paths.ROOT / "notebooks"
EXTRA_KEYS = (
    "metadata.papermill cell.metadata.papermill cell.metadata.execution "
    "metadata.language_info.version metadata.widgets metadata.affectlib"
)


class ParameterError(AffectError, ValueError):
    """A notebook parameter that does not exist, or whose value has another type."""


@dataclass(frozen=True)
class Job:
    """One notebook to run: slug, file, where the executed copy goes, parameters and content key."""

    slug: str
    notebook: Path
    output: Path
    parameters: dict
    key: str

    @property
    def done(self):
        """Whether an executed copy with this key exists and the results in figures/ are the ones it wrote."""
        return executed(self.output) == {"key": self.key, "results": results_hash(self.slug)}


def find_notebooks():
    """Slug to file of every notebook, in reading order."""
    return {
        path.stem.split("_", 1)[1]: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    }


def cells(notebook, tag=None):
    """Code cells of a notebook, all or those with a tag."""
    found = [c for c in json.loads(Path(notebook).read_text())["cells"] if c["cell_type"] == "code"]
    return [c for c in found if tag is None or tag in c["metadata"].get("tags", [])]


def code_cells(notebook):
    """Sources of the code cells."""
    return ["".join(c["source"]) for c in cells(notebook)]


def default_parameters(notebook):
    """Names and literal defaults of the cell tagged ``parameters``.

    Raises:
        ParameterError: if there is not exactly one such cell, or a default is no literal
    """
    tagged = cells(notebook, "parameters")
    if len(tagged) != 1:
        raise ParameterError(
            f"{notebook}: expected one cell tagged parameters, found {len(tagged)}"
        )
    defaults = {}
    for node in ast.parse("".join(tagged[0]["source"])).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            try:
                defaults[target.id] = ast.literal_eval(node.value)
            except ValueError:
                raise ParameterError(f"{notebook}: parameter {target.id} is no literal") from None
    return defaults


def checked_parameters(notebook, given):
    """Those of the given parameters that differ from the defaults.

    Raises:
        ParameterError: for a name the parameters cell does not assign or a value of another type
    """
    defaults = default_parameters(notebook)
    for name, value in given.items():
        if name not in defaults:
            raise ParameterError(
                f"{Path(notebook).name}: no parameter {name!r}; it has {', '.join(defaults)}"
            )
        default = defaults[name]
        same = type(value) is type(default) or (type(default) is float and type(value) is int)
        if default is not None and not same:
            raise ParameterError(
                f"{Path(notebook).name}: {name}={value!r} is {type(value).__name__}, "
                f"the default {default!r} is {type(default).__name__}"
            )
    return {name: value for name, value in given.items() if value != defaults[name]}


def profile_parameters(notebook, slug, profile, corpus, first_seed=0):
    """Parameters of a profile's YAML file, with corpus and first seed where the notebook has them."""
    import yaml

    source = NOTEBOOKS / "parameters" / f"{slug}.{profile}.yaml"
    given = (yaml.safe_load(source.read_text()) or {}) if source.exists() else {}
    defaults = default_parameters(notebook)
    for name, value in {"corpus": corpus, "first_seed": first_seed}.items():
        if name in defaults:
            given[name] = value
    return checked_parameters(notebook, given)


# ---------------------------------------------------------------- content key


@functools.cache  # a module is reached by many notebooks, and each is planned twice
def _syntax(source):
    """Syntax tree of some code as text, docstrings and places left out."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            node.body = body[1:]
    return ast.dump(tree)


@functools.cache
def _imports(source):
    """What some code imports of affectlib, anywhere in it: (module, name), name None for a whole module."""
    nodes = [*ast.walk(ast.parse(source))]
    found = [
        (alias.name, None) for node in nodes if isinstance(node, ast.Import) for alias in node.names
    ]
    found += [
        (node.module or "", one.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for one in node.names
    ]
    return [pair for pair in found if pair[0].startswith("affectlib")]


def _file(module):
    """The file of a dotted module name, None where it is no module of affectlib."""
    stem = paths.ROOT.joinpath(*module.split("."))
    return next(
        (file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.exists()), None
    )


def module_files(sources):
    """Files of the affectlib modules that some code reaches by import, directly or through others.

    A name that a package only passes on leads to the module it comes from, not to the package's other modules.
    """
    found, seen, waiting = {}, set(), [pair for source in sources for pair in _imports(source)]
    while waiting:
        pair = waiting.pop()
        if pair in seen:
            continue
        seen.add(pair)
        module, name = pair
        if name is not None and _file(f"{module}.{name}"):
            module, name = f"{module}.{name}", None
        file = _file(module)
        if file is None:
            continue
        text = file.read_text()
        passed_on = {n: m for m, n in _imports(text)} if file.name == "__init__.py" else {}
        if name in passed_on:
            waiting.append((passed_on[name], name))
        elif file not in found:
            found[file] = text
            waiting.extend(_imports(text))
    return dict(sorted(found.items()))


def _manifest(folder):
    """Relative path and content hash of every file below a folder, behind links too, as loaders read it."""
    from affectlib.corpora.files import files_below
    from affectlib.features.store import Store

    content = Store().content  # read once per file, then known by size and date
    return [[file.relative_to(folder).as_posix(), content(file)] for file in files_below(folder)]


def _listing(folder):
    """Names and sizes, None for a folder, of what stands directly in each folder of a folder."""
    return [
        [str(f.relative_to(folder)), f.stat().st_size if f.is_file() else None]
        for f in sorted(folder.glob("*/*"))
    ]


def reads(notebook, slug):
    """Slugs of the other notebooks whose results a notebook reads, by ``results.recorded`` or ``read_metrics``."""
    asked = {
        node.args[0].value
        for source in code_cells(notebook)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] in ("recorded", "read_metrics")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    return sorted(asked - {slug})


def _golden_folders(code, slug):
    """The folders of reference files that a notebook may read: that of its slug, and those it names."""
    if "GOLDEN" not in code:
        return []
    present = sorted(path.name for path in paths.GOLDEN.glob("*") if path.is_dir())
    named = [
        name
        for name in present
        if name == slug or re.search(rf"[\"'/]{re.escape(name)}[\"'/]", code)
    ]
    return [paths.GOLDEN / name for name in named]


def content_key(notebook, slug, parameters):
    """Hash of everything the outputs of a notebook depend on."""
    sources = code_cells(notebook)
    code = "\n".join(sources)
    files = [
        *(paths.ROOT / "affectlib" / "published" / slug).glob("*.csv"),
        paths.ROOT / "requirements.lock",
    ]
    folders = _golden_folders(code, slug)
    if parameters.get("corpus") == "real":
        folders += [paths.DATA / name for name in sorted(set(re.findall(r"\bload_(\w+)\(", code)))]
    parts = [
        sys.version_info[:3],
        parameters,
        [_syntax(source) for source in sources],
        [
            [str(f.relative_to(paths.ROOT)), _syntax(text)]
            for f, text in module_files(sources).items()
        ],
        [[f.name, hashlib.sha256(f.read_bytes()).hexdigest()] for f in sorted(files)],
        [_manifest(folder) for folder in folders if folder.is_dir()],
        {name: results_hash(name) for name in reads(notebook, slug)},
    ]
    if "paths.DATA" in code and not re.search(r"^corpus\b", code, flags=re.M):
        parts.append(_listing(paths.DATA))  # it looks at every corpus that may be there
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def results_hash(slug):
    """Hash of the metrics.json of a paper, None where there is none."""
    file = paths.FIGURES / slug / "metrics.json"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None


def executed(output):
    """Content key and hash of the results in the metadata of an executed notebook, empty where there is none."""
    known = (
        json.loads(output.read_text())["metadata"].get("affectlib", {}) if output.exists() else {}
    )
    return {name: value for name, value in known.items() if name != "seconds"}


def plan(slug, *, profile="demo", corpus="simulated", first_seed=0):
    """The job that one notebook makes under a profile.

    Args:
        slug: of the notebook
        profile: ``"demo"`` or ``"full"``
        corpus: ``"simulated"`` or ``"real"``
        first_seed: of those that a notebook trains under; 0 is what is committed

    Raises:
        ParameterError: if the slug, or a parameter of the profile, does not exist
    """
    notebooks = find_notebooks()
    if slug not in notebooks:
        raise ParameterError(f"no notebook {slug!r}; there are {', '.join(notebooks)}")
    notebook = notebooks[slug]
    parameters = profile_parameters(notebook, slug, profile, corpus, first_seed)
    folder = f"{profile}-{corpus}" if not first_seed else f"{profile}-{corpus}-{first_seed}"
    output = paths.CACHE / "reproduce" / folder / notebook.name
    return Job(slug, notebook, output, parameters, content_key(notebook, slug, parameters))


# ---------------------------------------------------------------- execution


def execute(job):
    """Runs one notebook in this process, one printed line per cell; the copy appears only when whole."""
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines
    from traitlets.config import Config

    begun, headings = time.perf_counter(), _headings(job.notebook)

    class Progress(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, manager, kernel_name, **options):
            start, count = manager.cell_start, sum(c.cell_type == "code" for c in manager.nb.cells)
            number = {
                id(c): i
                for i, c in enumerate((c for c in manager.nb.cells if c.cell_type == "code"), 1)
            }

            def cell_start(cell, cell_index=None, **rest):
                if id(cell) in number:
                    print(
                        f"{job.slug:<14} cell {number[id(cell)]:>2} of {count}  "
                        f"{time.perf_counter() - begun:5.0f} s  {headings.get(cell.get('id'), '')}",
                        flush=True,
                    )
                return start(cell, cell_index, **rest)

            manager.cell_start = cell_start
            with (
                TemporaryDirectory() as folder
            ):  # a socket file: kernels that start at once may pick the same ports
                sockets = Config(
                    {"KernelManager": {"transport": "ipc", "ip": str(Path(folder) / "kernel")}}
                )
                return super().execute_managed_notebook(
                    manager, kernel_name, config=sockets, **options
                )

    papermill_engines.register("affectlib", Progress)
    job.output.parent.mkdir(parents=True, exist_ok=True)
    partial = job.output.with_suffix(".partial.ipynb")
    papermill.execute_notebook(
        str(job.notebook),
        str(partial),
        job.parameters,
        engine_name="affectlib",
        progress_bar=False,
        cwd=str(NOTEBOOKS),
        kernel_name="python3",
    )
    content = json.loads(partial.read_text())
    content["metadata"]["affectlib"] = {
        "key": job.key,
        "results": results_hash(job.slug),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    os.replace(partial, job.output)


def _headings(notebook):
    """Section title above each code cell, by cell id."""
    title, found = "", {}
    for cell in json.loads(Path(notebook).read_text())["cells"]:
        if cell["cell_type"] == "markdown":
            lines = re.findall(r"^#+ (.*)", "".join(cell["source"]), flags=re.M)
            title = lines[-1] if lines else title
        else:
            found[cell.get("id")] = title
    return found


def store(job):
    """Puts an executed notebook into the checkout: outputs and counts kept, timings and widgets dropped.

    A cell tagged ``timing`` keeps no output: what it prints differs from run to run.
    """
    content = json.loads(job.output.read_text())
    for cell in content["cells"]:
        cell["outputs"] = [
            o
            for o in cell.get("outputs", [])
            if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})
            and "timing" not in cell["metadata"].get("tags", [])
        ]
        if cell["cell_type"] != "code":
            del cell["outputs"]
    job.notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "nbstripout",
            "--keep-output",
            "--keep-count",
            "--extra-keys",
            EXTRA_KEYS,
            str(job.notebook),
        ],
        check=True,
    )


def _execute(job):
    """Exit status of one execution; a failing cell is told in a line, its traceback stands in the partial copy."""
    from papermill.exceptions import PapermillExecutionError

    try:
        execute(job)
    except PapermillExecutionError as error:
        print(
            f"error: {job.notebook.name}, cell {error.exec_count}: {error.ename}: {error.evalue}",
            file=sys.stderr,
        )
        return 1
    return 0


def _run(job, options):
    """Starts a child for one notebook; True where it succeeded."""
    command = [
        sys.executable,
        "-m",
        "affectlib.runner.reproduce",
        "--paper",
        job.slug,
        "--profile",
        options.profile,
        "--corpus",
        options.corpus,
        "--first-seed",
        str(options.first_seed),
        "--execute",
    ]
    environment = dict(os.environ)
    if options.profile != "demo":
        # Only the demo's digits are compared between processors; what takes hours runs as fast as it can.
        for variable in (*AVX2_VARIABLES, *AVX512_OFF):
            environment.pop(variable, None)
        environment["AFFECTLIB_INSTRUCTIONS"] = "native"
    return subprocess.run(command, check=False, env=environment).returncode == 0


def waves(jobs):
    """Slugs in lists to be run one list after the other: each notebook after those whose results it reads.

    Raises:
        ParameterError: if notebooks read each other's results in a circle
    """
    left = {job.slug: reads(job.notebook, job.slug) for job in jobs}
    while left:
        ready = [slug for slug, others in left.items() if not left.keys() & set(others)]
        if not ready:
            raise ParameterError(f"{', '.join(left)} read each other's results in a circle")
        yield ready
        left = {slug: others for slug, others in left.items() if slug not in ready}


def _table(jobs, ran):
    """Notebook, time (of those in ``ran``) and headline numbers of each job, as text."""
    from affectlib.results import headline

    rows = [("notebook", "time", "headline")]
    for job in jobs:
        seconds = json.loads(job.output.read_text())["metadata"]["affectlib"]["seconds"]
        rows.append(
            (
                job.notebook.stem,
                f"{seconds:.0f} s" if job.slug in ran else "unchanged",
                headline(job.slug),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c}" for a, b, c in rows)


def main(arguments=None):
    """Command line of ``python -m affectlib.runner.reproduce``; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m affectlib.runner.reproduce", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--paper", default="all", help="slug of one notebook, or all")
    parser.add_argument("--profile", default="demo", choices=("demo", "full"))
    parser.add_argument("--corpus", default="simulated", choices=("simulated", "real"))
    parser.add_argument("--jobs", type=int, default=2, help="notebooks run at once")
    parser.add_argument(
        "--first-seed", type=int, default=0, help="first of the seeds that are trained under"
    )
    parser.add_argument(
        "--store", action="store_true", help="put the executed demo notebooks into the checkout"
    )
    parser.add_argument("--execute", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    planned = functools.partial(
        plan, profile=options.profile, corpus=options.corpus, first_seed=options.first_seed
    )
    try:
        jobs = [
            planned(slug)
            for slug in (find_notebooks() if options.paper == "all" else [options.paper])
        ]
        order = list(waves(jobs))
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.execute:
        return _execute(jobs[0])
    ran, failed = [], []
    for slugs in order:
        # Planned anew: the key of a notebook that reads others' results is known once these are there.
        waiting = [job for job in map(planned, slugs) if not job.done]
        with ThreadPoolExecutor(max(1, options.jobs)) as pool:
            worked = list(pool.map(lambda job: _run(job, options), waiting))
        ran += [job.slug for job in waiting]
        failed += [job for job, fine in zip(waiting, worked, strict=True) if not fine]
    if failed:
        for job in failed:
            print(
                f"failed: {job.notebook.name}; what it did so far: {job.output.with_suffix('.partial.ipynb')}",
                file=sys.stderr,
            )
        return 1
    if options.store:
        from affectlib.results import update_readme
        from affectlib.runner import agreement

        for job in jobs:
            store(job)
        update_readme()
        digests = json.dumps(agreement.arithmetic(), indent=1) + "\n"
        agreement.stored_arithmetic().write_text(digests, encoding="utf-8")
    print(_table(jobs, ran))
    done = (
        f"{len(ran)} of {len(jobs)} notebooks run"
        if ran
        else "nothing to do: every notebook is up to date"
    )
    print(
        f"{done}, {time.perf_counter() - begun:.1f} s; executed notebooks: {jobs[0].output.parent}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
