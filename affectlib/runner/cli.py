"""The console command ``affectlib``.

Each command declares its options, and calls a function of :mod:`affectlib.runner` that does the
work and returns the exit status: 0; 1 where something failed; 2 where it cannot be done as it was
asked for; 130 after Ctrl-C. Those modules are imported inside the commands: ``affectlib --help``
must not wait for torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
import typer.core
import typer.main
from typer.exceptions import TyperException

from affectlib import paths
from affectlib.errors import AffectError, printable
from affectlib.runner.failures import REFUSED, end_on_interrupt, interrupted, report

# Their threads wait for notebooks: Ctrl-C ends them at once. The others end as Python does.
ENDED_AT_ONCE = ("reproduce", "notebooks", "spread", "sweep")

ALL = ["all"]
NONE: list[str] = []

app = typer.Typer(
    help="Five papers on emotion in film and faces, as notebooks you can run.",
    epilog="Settings such as AFFECTLIB_DATA, the folder of the licensed corpora: see README.",
    add_completion=False,
    rich_markup_mode=None,
)

Papers = Annotated[
    list[str], typer.Option(metavar="SLUG", help="notebook, such as gla; may be given again")
]
Paper = Annotated[str, typer.Option(metavar="SLUG", help="the notebook, such as gla")]
Profile = Annotated[
    str, typer.Option(help="sizes: demo, full (the paper's), paper (its features as well)")
]
Corpus = Annotated[str, typer.Option(help="simulated or real")]
Jobs = Annotated[int, typer.Option(help="how many notebooks run at once")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Dask scheduler whose workers do the work (default: this machine does it)",
    ),
]


@app.command()
def reproduce(
    paper: Papers = ALL,
    profile: Profile = "demo",
    corpus: Corpus = "simulated",
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="parameter of the notebooks; may be given again (default: the profile's)",
        ),
    ] = NONE,
    jobs: Jobs = 2,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="list what would run and what is missing (default: no)"),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="forget runs and trainings that were kept (default: no)")
    ] = False,
    first_seed: Annotated[int, typer.Option(help="first seed under which models train")] = 0,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> int:
    """Run notebooks headless, print one table."""
    from affectlib.runner import execution
    from affectlib.runner import reproduce as runner

    if parent is not None:
        execution.end_with_parent(parent)
    return runner.main(
        " ".join(paper),
        profile=profile,
        corpus=corpus,
        parameters=" ".join(settings),
        first_seed=first_seed,
        jobs=jobs,
        dry_run=dry_run,
        fresh=fresh,
    )


@app.command()
def notebooks(paper: Papers = ALL, jobs: Jobs = 2) -> int:
    """Run the demo, and store the executed notebooks."""
    from affectlib.runner import reproduce as runner

    return runner.main(" ".join(paper), jobs=jobs, store=True)


@app.command()
def spread(paper: Paper = "all", jobs: Jobs = 2) -> int:
    """Run the demo with other seeds, store the spread."""
    from affectlib.runner import agreement

    return agreement.main(paper, jobs=jobs)


@app.command()
def extract(
    corpus: Annotated[str, typer.Option(help="a corpus, such as cognimuse, or a film")],
    extractors: Annotated[
        str, typer.Option(help="descriptors, single ones, or a paper's slug; commas between them")
    ] = "descriptors",
    features: Annotated[
        str, typer.Option(help="of a slug: pretrained, descriptors, or {modality: one of these}")
    ] = "pretrained",
    precision: Annotated[str, typer.Option(help="of networks: fp32, bf16 or auto")] = "fp32",
    root: Annotated[
        Path | None,
        typer.Option(help="folder of the corpus (default: that of its name in AFFECTLIB_DATA)"),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="length of segments (default: the slug's, or 5 where it has none)"),
    ] = None,
    parts: Annotated[
        int | None, typer.Option(help="cut each clip into so many parts (default: by seconds)")
    ] = None,
    on_error: Annotated[
        str, typer.Option(help="at a damaged clip: raise, or skip to leave it out and list it")
    ] = "raise",
    dask_scheduler: Scheduler = None,
    jobs: Annotated[int, typer.Option(help="how many processes are at work")] = 2,
) -> int:
    """Store the features of a corpus or a film."""
    from affectlib.runner import extract as runner

    return runner.main(
        corpus,
        extractors,
        features=features,
        precision=precision,
        root=root,
        seconds=seconds,
        parts=parts,
        on_error=on_error,
        client=dask_scheduler,
        jobs=jobs,
    )


@app.command()
def sweep(
    paper: Annotated[str, typer.Option(metavar="SLUG", help="the notebook")],
    grid: Annotated[
        str | None,
        typer.Option(help="file, or {name: [values]} (default: the paper's, notebooks/sweeps/)"),
    ] = None,
    profile: Profile = "demo",
    corpus: Corpus = "simulated",
    dask_scheduler: Scheduler = None,
    jobs: Jobs = 2,
) -> int:
    """Run a notebook over a grid of parameters."""
    from affectlib.runner import sweep as runner

    return runner.main(
        paper, grid, profile=profile, corpus=corpus, client=dask_scheduler, jobs=jobs
    )


@app.command()
def weights(
    names: Annotated[
        list[str] | None, typer.Argument(help="rows of the table of weights (default: all)")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="make xception of RAF-DB, or vgg16_places of a caffemodel (default: download)",
        ),
    ] = None,
) -> int:
    """Download released weights, or make some."""
    from affectlib.runner import weights as runner

    return runner.main(names or (), source)


@app.command()
def film(
    films: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="films, folders of films, or the name of an open film, such as sintel",
        ),
    ],
    model: Annotated[
        str, typer.Option(help="simulated, released, real, or a file of saved models")
    ] = "simulated",
    annotation: Annotated[
        Path | None,
        typer.Option(help="of yours, CSV or ELAN, drawn over the curves (default: none)"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="gets a folder for each film (default: build/films)")
    ] = None,
    smoothing: Annotated[
        float, typer.Option(help="seconds over which the curves are averaged")
    ] = 10.0,
    jobs: Annotated[int, typer.Option(help="how many processes are at work")] = 2,
) -> int:
    """Analyse films of yours: a report, curves, tables."""
    from affectlib.runner import film as runner

    return runner.main(
        films, model=model, annotation=annotation, out=out, smoothing=smoothing, jobs=jobs
    )


@app.command()
def site(
    folder: Annotated[
        Path | None, typer.Option(help="is written anew (default: build/site)")
    ] = None,
) -> int:
    """Build the site of the executed notebooks."""
    from affectlib.runner import site as runner

    return _build(runner.build, folder or paths.CACHE / "site")


@app.command()
def course(
    folder: Annotated[
        Path | None, typer.Option(help="is written anew (default: build/course)")
    ] = None,
) -> int:
    """Write the notebooks for students and teachers."""
    from affectlib.runner import course as runner

    return _build(runner.build, folder or paths.CACHE / "course")


def _build(build: Callable[[Path], None], folder: Path) -> int:
    """Builds what goes into a folder; returns the exit status."""
    try:
        paths.check_writable(folder.parent)
        build(folder)
    except (AffectError, OSError) as error:
        return report(error)
    except KeyboardInterrupt:
        return interrupted()
    print(folder)
    return 0


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> int:
    """Open JupyterLab at 00_start_here.

    Options of its own reach it, such as --port=9000.
    """
    from affectlib.runner.notebooks import notebook_file

    try:
        first = notebook_file("start_here")
    except AffectError as error:
        return report(error)
    command = [sys.executable, "-m", "jupyterlab"]
    # Notebooks link to the README, to figures/ and to executed copies in build/.
    command.append(f"--ServerApp.root_dir={paths.ROOT}")
    command.append(f"--LabApp.default_url=/lab/tree/{first.relative_to(paths.ROOT).as_posix()}")
    if os.geteuid() == 0:
        # As in a container: JupyterLab refuses root without it.
        command.append("--allow-root")
    # The kernels inherit the settings that `import affectlib` has made.
    os.execv(sys.executable, [*command, *context.args])


def main(arguments: Sequence[str]) -> int:
    """Runs a command; what is wrong with its options is told in one line.

    Args:
        arguments: name of the command and its options; none of them shows the help

    Returns:
        the exit status
    """
    command = typer.main.get_command(app)
    try:
        status = command.main(
            list(arguments) or ["--help"], prog_name="affectlib", standalone_mode=False
        )
    except TyperException as error:
        print(f"error: {_refusal(error)}", file=sys.stderr)
        return REFUSED
    return status or 0


def _refusal(error: TyperException) -> str:
    """What is wrong with the arguments, and where to find those that are right."""
    lines = error.format_message().removesuffix(".").splitlines()
    message = " ".join(printable(line) for line in lines)
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    if isinstance(context.command, typer.core.TyperGroup):
        return f"{message}; there are {', '.join(context.command.list_commands(context))}"
    return f"{message}; see {context.command_path} --help"


def console() -> None:
    """The console command ``affectlib``."""
    if sys.argv[1:] and sys.argv[1] in ENDED_AT_ONCE:
        end_on_interrupt()
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    console()
