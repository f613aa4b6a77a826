"""Several films in one call: a folder of results for each, and a table and a figure of all.

A film that was done is not done again while its bytes and the settings stay the same. A film that
fails is named, and the others go on. Results of a film are written to a folder of a temporary name,
which takes its place when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib import kept, media, paths
from affectlib.errors import AffectError, NotFoundError, printable
from affectlib.features import Store, extract
from affectlib.features import film as cut_film
from affectlib.film import export
from affectlib.film.analysis import analyse
from affectlib.film.annotation import agreement, read_annotation
from affectlib.film.base import Analysis
from affectlib.film.models import FilmModel
from affectlib.film.report import write_report
from affectlib.results.trained import feature_identity

RECORD = "result.json"
# Films in one figure: more would be too small to read.
FILMS_IN_FIGURE = 40
TARGETS = ("valence", "arousal")


class NoFilmError(NotFoundError):
    """A folder holds no film. The message names it."""


@dataclass(frozen=True)
class Settings:
    """What the results of a film depend on, beside the film.

    Args:
        model: that draws the curves
        smoothing: seconds over which they are averaged
        annotation: file of an annotation of one's own; None where there is none
    """

    model: FilmModel
    smoothing: float = 10.0
    annotation: Path | None = None

    def key(self, content: str) -> str:
        """Hash of the settings, and of a film whose SHA-256 is given."""
        own = "" if self.annotation is None else Store().content(self.annotation)
        networks = [self.model.network(target) for target in self.model.targets]
        described = [feature_identity(extractor) for extractor in self.model.extractors]
        about = [self.model.source, self.model.kind, described]
        return kept.key(content, own, float(self.smoothing), about, networks, _code())


@dataclass(frozen=True)
class Result:
    """What came of one film.

    Args:
        film: the media file
        folder: of its results; None where it failed
        was_there: whether the results were there already
        error: why it failed; empty where it did not
        summary: a row of the table of all films
        curves: by target, the smoothed curve with its band: rows of middle, lower and upper
    """

    film: Path
    folder: Path | None = None
    was_there: bool = False
    error: str = ""
    summary: Mapping[str, object] = field(default_factory=dict)
    curves: Mapping[str, list[list[float]]] = field(default_factory=dict)


def films_of(places: Iterable[Path | str]) -> list[Path]:
    """The films that some paths name: a folder stands for all films directly in it.

    Args:
        places: films and folders

    Returns:
        each film once, those of a folder by name

    Raises:
        NoFilmError: if a folder holds no film
        NotFoundError: if there is no such file or folder
    """
    found: dict[Path, None] = {}
    for place in map(Path, places):
        if place.is_dir():
            inside = sorted(each for each in place.iterdir() if _is_shown_film(each))
            if not inside:
                raise NoFilmError(printable(f"{place}: expected films in this folder, found none"))
            found |= dict.fromkeys(inside)
        elif place.is_file():
            found[place] = None
        else:
            raise NotFoundError(printable(f"{place}: no such film or folder"))
    return list(found)


def _is_shown_film(path: Path) -> bool:
    # Some systems put hidden copies beside files: "._holiday.mp4".
    return path.is_file() and media.is_film(path) and not path.name.startswith(".")


def analyse_films(
    films: Sequence[Path],
    out: Path,
    settings: Settings,
    *,
    jobs: int = 2,
    progress: bool | None = None,
    tell: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Analyses films, and writes a folder of results for each.

    A folder holds ``report.html``; ``curve`` as csv, srt, vtt and eaf; ``features`` as csv, parquet
    and npz; and ``contents`` with tables of segments, shots and faces. Of several films,
    ``overview.csv`` and ``overview.png`` show all.

    Args:
        films: media files
        out: folder of the folders; it is made where it is not there
        settings: of the analysis
        jobs: processes that extract features, each of one film at a time
        progress: show bars
        tell: is called with each result as it comes

    Raises:
        WriteError: if a folder may not be written, or the disk is full
    """
    paths.make_folder(out)
    _remove_leftovers(out)
    places = _folders(films, out)
    if len(films) > 1 and jobs > 1:
        _describe_ahead(films, places, settings, jobs=jobs, progress=progress)
    results = []
    for film in films:
        result = _analyse_film(film, places[film], settings, jobs=jobs, progress=progress)
        results.append(result)
        tell(result)
    if len(films) > 1:
        write_overview(results, out)
    return results


def _describe_ahead(
    films: Sequence[Path],
    places: Mapping[Path, Path],
    settings: Settings,
    *,
    jobs: int,
    progress: bool | None,
) -> None:
    """Puts the features of films that are not done into the store, several films at once."""
    corpora = []
    for film in films:
        # A film that cannot be opened is named when its turn comes.
        with contextlib.suppress(AffectError, OSError):
            if _kept(film, places[film], settings) is None:
                corpora.append(cut_film(film))
    if len(corpora) < 2:
        return
    clips = pd.concat([corpus.clips for corpus in corpora], ignore_index=True)
    # Films in two folders may share a name.
    clips["clip"] = [f"{i}" for i in range(len(clips))]
    # A film that fails is named when its turn comes, and so is a full disk.
    with contextlib.suppress(AffectError, OSError):
        extract(
            replace(corpora[0], clips=clips),
            settings.model.extractors,
            store=Store(),
            missing="zeros",
            on_error="skip",
            jobs=jobs,
            progress=progress,
        )


def _analyse_film(
    film: Path, folder: Path, settings: Settings, *, jobs: int, progress: bool | None
) -> Result:
    """The result of one film, from its folder if it is complete there."""
    try:
        done = _kept(film, folder, settings)
        if done is not None:
            return done
        analysis = analyse(
            film,
            model=settings.model,
            smoothing=settings.smoothing,
            jobs=jobs,
            progress=progress,
        )
        # Taken again: a film that was changed meanwhile has other bytes.
        key = settings.key(Store().content(film))
        return _write(analysis, folder, settings, key)
    except (AffectError, OSError) as error:
        if isinstance(error, paths.WriteError):
            raise
        return Result(film, error=printable(str(error)), summary={"film": film.name})


def _write(analysis: Analysis, folder: Path, settings: Settings, key: str) -> Result:
    """Writes all files of a film; the folder is complete or not there."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    paths.make_folder(temporary)
    try:
        _write_files(analysis, temporary, settings)
        sizes = {}
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                sizes[file.relative_to(temporary).as_posix()] = file.stat().st_size
        record = {
            "key": key,
            "place": _place_key(analysis.path),
            "files": sizes,
            "summary": _summary(analysis, folder),
            "curves": _curves(analysis),
        }
        text = json.dumps(record, indent=1, ensure_ascii=False)
        paths.write(temporary / RECORD, text.encode())
        _exchange(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Result(analysis.path, folder, summary=record["summary"], curves=record["curves"])


def _write_files(analysis: Analysis, folder: Path, settings: Settings) -> None:
    frame_rate = analysis.media.frame_rate
    annotation = None
    if settings.annotation is not None:
        annotation = read_annotation(settings.annotation, media=analysis.media)
        table = agreement(annotation, analysis).reset_index()
        paths.write(folder / "agreement.csv", table.to_csv(index=False).encode())
    write_report(analysis, folder / "report.html", annotation=annotation)
    export.write_csv(analysis, folder / "curve.csv")
    export.write_srt(analysis, folder / "curve.srt")
    export.write_vtt(analysis, folder / "curve.vtt")
    export.write_eaf(analysis, folder / "curve.eaf")
    export.write_contents(analysis, folder / "contents")
    for ending in ("csv", "parquet", "npz"):
        file = folder / f"features.{ending}"
        export.write_features(analysis.table, analysis.segments, file, frame_rate=frame_rate)


def _exchange(new: Path, old: Path) -> None:
    """Lets a complete folder take the place of an older one; files that others put there stay."""
    if not old.exists():
        os.replace(new, old)
        return
    aside = old.with_name(f".{old.name}.{uuid.uuid4().hex}.part")
    os.replace(old, aside)
    for entry in aside.iterdir():
        if not (new / entry.name).exists():
            os.replace(entry, new / entry.name)
    os.replace(new, old)
    shutil.rmtree(aside, ignore_errors=True)


# ---------------------------------------------------------------- what is there already


def _folders(films: Sequence[Path], out: Path) -> dict[Path, Path]:
    """The folder of each film: its name without the ending, and a mark where that is taken."""
    taken: set[Path] = set()
    places = {}
    for film in films:
        place = _place_key(film)
        folder = out / film.stem
        if folder in taken or not _may_take(folder, place):
            folder = out / f"{film.stem}-{place[:8]}"
        taken.add(folder)
        places[film] = folder
    return places


def _may_take(folder: Path, place: str) -> bool:
    """Whether a folder is free, or holds older results of the same film."""
    if not folder.exists():
        return True
    return (_record(folder) or {}).get("place") == place


def _place_key(film: Path) -> str:
    """Hash of the place of a film: the folder of results may be passed on, the place is private."""
    return hashlib.sha256(os.fsencode(film.resolve())).hexdigest()


def _record(folder: Path) -> dict | None:
    """What a folder of results says of itself; None where it is none of ours, or damaged."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wanted = {"key", "place", "files", "summary", "curves"}
    return record if isinstance(record, dict) and wanted <= record.keys() else None


def _kept(film: Path, folder: Path, settings: Settings) -> Result | None:
    """The result of a film that is complete in its folder, and would be the same now."""
    record = _record(folder)
    if record is None or not film.is_file():
        return None
    for name, size in record["files"].items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            return None
    if record["key"] != settings.key(Store().content(film)):
        return None
    return Result(film, folder, was_there=True, summary=record["summary"], curves=record["curves"])


@cache
def _code() -> str:
    """Hash of the code that writes the results."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.iterdir()):
        if file.suffix in (".py", ".jinja"):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _remove_leftovers(out: Path) -> None:
    """Deletes the folders that processes left here when they were killed."""
    for folder in out.glob(".*.part"):
        with contextlib.suppress(OSError):
            if folder.is_dir() and time.time() - folder.stat().st_mtime > paths.LONGEST_WRITE:
                shutil.rmtree(folder)


# ---------------------------------------------------------------- all films


def _summary(analysis: Analysis, folder: Path) -> dict[str, object]:
    """A row of the table of all films."""
    shots = analysis.contents.shots
    row: dict[str, object] = {
        "film": analysis.path.name,
        "folder": folder.name,
        "kind": analysis.kind,
        "seconds": round(analysis.media.seconds, 3),
        "segments": len(analysis.segments),
        "segments with zeros": int((analysis.segments["missing"] != "").sum()),
        "shots": len(shots),
        "frames with a face": int(analysis.contents.faces["time"].nunique()),
    }
    if analysis.likeness is not None:
        row["share unlike the training films"] = round(float(analysis.likeness.unlike.mean()), 4)
    for target, curve in analysis.curves.items():
        row[f"{target} mean"] = round(float(curve.middle.mean()), 4)
        row[f"{target} lowest"] = round(float(curve.middle.min()), 4)
        row[f"{target} highest"] = round(float(curve.middle.max()), 4)
    return row


def _curves(analysis: Analysis) -> dict[str, list[list[float]]]:
    """Middle, lower and upper end of each curve, rounded for a figure."""
    rows = {}
    for target, curve in analysis.curves.items():
        lines = np.round([curve.middle, curve.lower, curve.upper], 4)
        rows[target] = lines.tolist()
    return rows


def write_overview(results: Sequence[Result], out: Path) -> list[Path]:
    """Writes a table and a figure of several films.

    Args:
        results: of the films, in the order of the rows
        out: folder for both

    Returns:
        the files: ``overview.csv``, ``overview.png``, and of many films ``overview-2.png`` ...

    Raises:
        WriteError: if the folder may not be written
    """
    rows = [{**result.summary, "error": result.error} for result in results]
    table = pd.DataFrame(rows)
    for name in table.columns:
        # A film that failed has empty cells; whole numbers of the others stay whole.
        if all(isinstance(row.get(name, 0), int) for row in rows):
            table[name] = table[name].astype("Int64")
    # The reason of a failure stands at the end of a row.
    columns = [name for name in table.columns if name != "error"]
    written = [out / "overview.csv"]
    paths.write(written[0], table[[*columns, "error"]].to_csv(index=False).encode())
    drawn = [result for result in results if result.curves]
    for first in range(0, len(drawn), FILMS_IN_FIGURE):
        page = first // FILMS_IN_FIGURE + 1
        name = "overview.png" if page == 1 else f"overview-{page}.png"
        paths.write(out / name, _figure(drawn[first : first + FILMS_IN_FIGURE]))
        written.append(out / name)
    return written


def _figure(results: Sequence[Result]) -> bytes:
    """Curves of some films, a row for each, as the content of a PNG file."""
    # Not pyplot: a command draws without a window, and keeps no figure.
    from matplotlib.figure import Figure

    from affectlib.plots import PALETTE

    rows = len(results)
    figure = Figure(figsize=(10, 0.9 + 1.0 * rows), layout="constrained")
    axes = figure.subplots(rows, len(TARGETS), sharex="col", sharey=True, squeeze=False)
    for row, result in zip(axes, results, strict=True):
        for column, (ax, target) in enumerate(zip(row, TARGETS, strict=True)):
            lines = np.array(result.curves[target])
            segments = lines.shape[1]
            # The middles of the segments, from the beginning (0) to the end (1) of the film; the
            # first and the last value reach to the ends.
            x = np.r_[0, (np.arange(segments) + 0.5) / segments, 1]
            middle, lower, upper = np.pad(lines, ((0, 0), (1, 1)), mode="edge")
            ax.fill_between(x, lower, upper, color=PALETTE[column], alpha=0.2, linewidth=0)
            ax.plot(x, middle, color=PALETTE[column])
            ax.axhline(0, color="grey", linewidth=0.6)
            ax.set_xlim(0, 1)
        name = printable(result.film.name).replace("$", r"\$")
        row[0].set_title(f"{name} ({result.summary['kind']})", fontsize=8, loc="left")
    for ax, target in zip(axes[-1], TARGETS, strict=True):
        ax.set_xlabel(f"{target}, from the beginning to the end of the film")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100, metadata={"Software": None})
    return content.getvalue()
