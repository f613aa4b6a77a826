"""Analyses films of one's own, behind ``affectlib film``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from affectlib import paths
from affectlib.errors import AffectError, NotFoundError, printable
from affectlib.film import commons, models
from affectlib.film.annotation import read_annotation
from affectlib.film.folder import Result, Settings, analyse_films, films_of
from affectlib.runner.failures import FAILED, interrupted, report
from affectlib.runner.options import OptionError, positive_count, positive_number


def find_films(places: Sequence[str]) -> list[Path]:
    """The films that a command names; an open film is downloaded unless it is there.

    Args:
        places: films, folders of films, or names of open films such as ``sintel``

    Raises:
        NotFoundError: for anything else; it lists the open films
        DownloadError, FileFormatError: as :func:`affectlib.film.commons.fetch`
    """
    found: list[Path | str] = []
    for place in places:
        open_film = commons.film_named(place)
        if Path(place).exists():
            found.append(place)
        elif open_film is not None:
            found.append(commons.fetch(open_film))
        else:
            names = ", ".join(film.name for film in commons.FILMS)
            raise NotFoundError(
                printable(f"{place}: no such film or folder; open films to download are {names}")
            )
    return films_of(found)


def main(
    places: Sequence[str],
    *,
    model: str,
    annotation: Path | None,
    out: Path | None,
    smoothing: float,
    jobs: int,
) -> int:
    """Analyses films, and prints where the report of each is: ``affectlib film``.

    Args:
        places: see :func:`find_films`
        model: see :func:`affectlib.film.models.load`
        annotation: file of an annotation of one's own, of one film
        out: gets a folder for each film; ``films`` in the cache where it is not given
        smoothing: seconds over which curves are averaged
        jobs: processes at work

    Returns:
        exit status: 0; 1 where a film failed or did not come, or a disk is full; 2 for options that
        cannot be followed
    """
    out = out or paths.CACHE / "films"
    try:
        positive_number(smoothing, "smoothing")
        positive_count(jobs, "jobs")
        paths.check_writable(out)
        films = find_films(places)
        if annotation is not None:
            if len(films) > 1:
                raise OptionError(f"annotation: expected one film for it, not {len(films)}")
            read_annotation(annotation)
        # Bars are for somebody who watches.
        progress = sys.stderr.isatty()
        loaded = models.load(model, jobs=jobs, progress=progress)
        print(f"models: {loaded.source}")
        settings = Settings(loaded, smoothing, annotation)
        results = analyse_films(films, out, settings, jobs=jobs, progress=progress, tell=_tell)
    except commons.DownloadError as error:
        report(error)
        return FAILED
    except (AffectError, OSError) as error:
        return report(error)
    except KeyboardInterrupt:
        return interrupted()
    if len(results) > 1:
        print(f"all films: {out / 'overview.csv'}, {out / 'overview.png'}")
    return FAILED if any(result.error for result in results) else 0


def _tell(result: Result) -> None:
    """One line for a film that is done, or failed."""
    name = printable(result.film.name)
    if result.error:
        # Most errors name the file themselves.
        place = "" if name in result.error else f"{name}: "
        print(f"failed: {place}{result.error}", file=sys.stderr)
        return
    remark = " (there already)" if result.was_there else ""
    print(f"{name}: {printable(str(result.folder / 'report.html'))}{remark}", flush=True)
