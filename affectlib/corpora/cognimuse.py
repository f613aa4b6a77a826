"""COGNIMUSE with its extension: twelve films of half an hour, emotion annotated every 0.04 s.

The database exists in two forms. Both are read, at any depth of the folder:

- seven films: ``<CODE>/emotion/intended_1.dat``
- twelve films: ``Emotion Annotation/intended/intended_1_<Movie>.dat`` and
  ``Emotion Annotation/experienced/subj1_1_<Movie>.dat``

``CODE`` is a key of ``FILMS`` and ``Movie`` the short name in ``MOVIES``.
"""

from __future__ import annotations

import filecmp
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib.corpora.base import ANNOTATION_COLUMNS, CLIP_COLUMNS, Corpus
from affectlib.corpora.completeness import warn_if_partial
from affectlib.corpora.files import (
    Faults,
    files_below,
    is_simulated,
    not_found,
    numbers,
    read_table,
)
from affectlib.corpora.lengths import MOST_SECONDS, warn_of_lengths
from affectlib.errors import FileFormatError
from affectlib.media import film_seconds, is_film

FILMS = {
    "BMI": "A Beautiful Mind",
    "LOR": "The Lord of the Rings",
    "GLA": "Gladiator",
    "DEP": "The Departed",
    "CRA": "Crash",
    "CHI": "Chicago",
    "FNE": "Finding Nemo",
    "ABE": "American Beauty",
    "MDB": "Million Dollar Baby",
    "NCO": "No Country for Old Men",
    "RAT": "Ratatouille",
    "SIL": "Shakespeare in Love",
}
# Short names, as the twelve-film form writes them.
MOVIES = {
    "BMI": "BeautifulMind",
    "LOR": "LOTRReturn",
    "GLA": "Gladiator",
    "DEP": "TheDeparted",
    "CRA": "Crash",
    "CHI": "Chicago",
    "FNE": "FindingNemo",
    "ABE": "AmericanBeauty",
    "MDB": "MDB",
    "NCO": "NoCountry",
    "RAT": "Ratatouille",
    "SIL": "ShakespeareInLove",
}
LABELS = ("valence", "arousal")
HERTZ = 25.0
# Seconds from row to row.
STEP = 1 / HERTZ
# Seconds by which one step may be off.
STEP_TOLERANCE = 0.01
LICENSE = "research use only, given by its owners on request"
CITATION = (
    "A. Zlatintsi et al., COGNIMUSE: a multimodal video database annotated with saliency, events, "
    "semantics and emotion with application to summarization, EURASIP Journal on Image and Video "
    "Processing, 2017"
)
_ASK = "cognimuse.cs.ntua.gr"
_BEGINNINGS = {"intended": "intended_", "experienced": "subj"}
_PATTERNS = {
    "intended": re.compile(r"intended_(?P<iteration>\d+)(?:_(?P<film>.+))?\.dat"),
    "experienced": re.compile(r"subj(?P<subject>\d+)_(?P<iteration>\d+)(?:_(?P<film>.+))?\.dat"),
}
_LOOKED_FOR = {
    "intended": (
        "<CODE>/emotion/intended_1.dat, Emotion Annotation/intended/intended_1_<Movie>.dat"
    ),
    "experienced": (
        "experienced/subj1_1_<CODE>.dat, Emotion Annotation/experienced/subj1_1_<Movie>.dat"
    ),
}


@dataclass(frozen=True)
class _Pass:
    """One annotation file: one person's annotation of one film.

    Args:
        path: the file
        film: code of the film
        subject: number of the person, 0 for the expert of ``"intended"``
        iteration: number of the person's pass over the film, from 1
    """

    path: Path
    film: str
    subject: int
    iteration: int


def load_cognimuse(
    root: Path | str,
    *,
    annotation: str = "intended",
    iteration: int | str | None = None,
    films: bool = True,
    on_error: str = "raise",
) -> Corpus:
    """Reads COGNIMUSE in the form of its first seven films, or of all twelve.

    Reads all films that are there, twelve or fewer. A film is named by its code (``GLA``), its
    short name (``Gladiator``, ``LOTRReturn``) or its title; or it is the only one in the folder of
    its code. The first seconds, in which the annotation tool holds its starting value, are kept:
    ``labels.segments(..., lead_in="trim")`` leaves them out.

    Args:
        root: folder of the corpus, with films and annotations at any depth
        annotation: ``"intended"`` (the emotion that the film means to evoke, used by
            attend_affect) or ``"experienced"`` (the mean over the subjects who watched it)
        iteration: number of the annotator's pass over a film, counted from 1, or ``"mean"``, the
            mean over all passes. None reads the first pass of ``"intended"`` and the mean of
            ``"experienced"``
        films: False reads the annotations alone. Each ``path`` is then ``""``, and ``seconds`` is
            the length of the annotation
        on_error: ``"raise"``, or ``"skip"`` to drop a film at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per film, annotated at 25 Hz in [-1, 1]

    Raises:
        NotFoundError: if ``root`` is no COGNIMUSE
        FileFormatError: if a film or an annotation is not as expected, or an annotation begins
            after its first second or leaves out rows
        ValueError: if ``annotation`` or ``iteration`` is none of the above

    Warns:
        UserWarning: if a film and its annotation differ in length or in speed (see
            :func:`affectlib.corpora.lengths.length_table`), if annotations of different lengths
            are averaged, and if a real corpus does not hold twelve films

    References:
        Zlatintsi et al., 2017; attend_affect, Section IV-A
    """
    iteration = _check_options(annotation, iteration)
    root = Path(root)
    faults = Faults(on_error)
    files = files_below(root)
    passes = _passes(root, files, annotation, faults)
    codes = {one.film for one in passes}
    if films:
        codes |= _codes_of_films(root, files)
    clips = []
    courses = []
    for code in FILMS:
        if code not in codes or code in faults.by_clip:
            continue
        try:
            path = _find_film(root, files, code) if films else ""
            of_film = [one for one in passes if one.film == code]
            course = _film_course(root, code, of_film, annotation, iteration)
            seconds = film_seconds(path) if films else course["time"].iloc[-1] + STEP
        except FileFormatError as fault:
            faults(code, fault)
            continue
        valence = course["valence"].mean()
        arousal = course["arousal"].mean()
        clips.append((code, str(path), code, "", seconds, valence, arousal))
        courses.append(course.assign(clip=code))
    faults.refuse_empty(clips)
    corpus = Corpus(
        name="cognimuse",
        clips=pd.DataFrame(clips, columns=[*CLIP_COLUMNS, *LABELS]),
        annotations=pd.concat(courses, ignore_index=True)[list(ANNOTATION_COLUMNS)],
        labels=LABELS,
        value_range=(-1.0, 1.0),
        hertz=HERTZ,
        license=LICENSE,
        citation=CITATION,
        simulated=is_simulated(root),
        skipped=faults.messages(),
    )
    warn_of_lengths(corpus)
    warn_if_partial(corpus)
    return corpus


def _check_options(annotation: str, iteration: int | str | None) -> int | str:
    """Refuses unknown options; returns the iteration with its default filled in."""
    if annotation not in _PATTERNS:
        raise ValueError(f"annotation is 'intended' or 'experienced', not {annotation!r}")
    if iteration is None:
        return 1 if annotation == "intended" else "mean"
    if iteration != "mean" and not (isinstance(iteration, int) and iteration >= 1):
        raise ValueError(f"iteration is None, 'mean' or a number from 1, not {iteration!r}")
    return iteration


def film_code(name: str) -> str | None:
    """Finds the code of a film by any of its names.

    Args:
        name: a code, a short name or a title; upper and lower case, blanks and marks do not count

    Returns:
        a key of ``FILMS``, None if no film has this name

    Examples:
        >>> film_code("LOTRReturn"), film_code("Finding_Nemo"), film_code("Casablanca")
        ('LOR', 'FNE', None)
    """
    wanted = _letters(name)
    for code, title in FILMS.items():
        if wanted in (_letters(code), _letters(MOVIES[code]), _letters(title)):
            return code
    return None


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _passes(root: Path, files: list[Path], annotation: str, faults: Faults) -> list[_Pass]:
    """Finds every annotation file of a kind; one that belongs to no film is a fault."""
    passes = []
    for path in files:
        if path.suffix != ".dat" or not path.name.startswith(_BEGINNINGS[annotation]):
            continue
        match = _PATTERNS[annotation].fullmatch(path.name)
        code = _film_of(root, path, match["film"]) if match else None
        if code is None:
            expected = f"expected the name of a film of COGNIMUSE, as in {_LOOKED_FOR[annotation]}"
            faults(path.relative_to(root).as_posix(), FileFormatError(path, expected))
            continue
        subject = int(match["subject"]) if annotation == "experienced" else 0
        passes.append(_Pass(path, code, subject, int(match["iteration"])))
    if not passes:
        faults.refuse_empty(passes)
        raise not_found(root, _LOOKED_FOR[annotation], name="COGNIMUSE", ask=_ASK)
    return passes


def _film_of(root: Path, path: Path, name: str | None) -> str | None:
    """Returns the code of an annotated film, by the name in its file or by a folder above it."""
    if name is not None:
        return film_code(name)
    for folder in reversed(path.relative_to(root).parts[:-1]):
        code = film_code(folder)
        if code is not None:
            return code
    return None


def _codes_of_films(root: Path, files: list[Path]) -> set[str]:
    """Returns the codes of films with a file or a folder of their name: each needs annotations."""
    codes = set()
    for path in files:
        if is_film(path):
            codes.add(film_code(path.stem))
        for folder in path.relative_to(root).parts[:-1]:
            codes.add(film_code(folder))
    codes.discard(None)
    return codes


def _find_film(root: Path, files: list[Path], code: str) -> Path:
    """Finds the film of a code: the one of its name, else the only one in a folder of its name."""
    films = [path for path in files if is_film(path)]
    candidates = [path for path in films if film_code(path.stem) == code]
    if not candidates:
        candidates = [path for path in films if film_code(path.parent.name) == code]
    if len(candidates) == 1:
        return candidates[0]
    folder = root / code if (root / code).is_dir() else root
    names = ", ".join(path.relative_to(root).as_posix() for path in candidates) or "none"
    raise FileFormatError(
        folder / f"{code}.mp4",
        f"expected one film named {code}, {MOVIES[code]} or {FILMS[code]}, or a single one in "
        f"the folder {code}; found {names}",
    )


def _film_course(
    root: Path, code: str, passes: list[_Pass], annotation: str, iteration: int | str
) -> pd.DataFrame:
    """Reads time, valence and arousal of one film: the mean over its subjects."""
    subjects = sorted({one.subject for one in passes})
    if not subjects:
        place = _expected_place(root, code, annotation, 0, iteration)
        raise FileFormatError(place, "expected this file, found none")
    courses = []
    for subject in subjects:
        of_subject = [one for one in passes if one.subject == subject]
        paths = _paths_by_iteration(root, of_subject)
        if iteration != "mean":
            if iteration not in paths:
                place = _expected_place(root, code, annotation, subject, iteration)
                there = ", ".join(map(str, sorted(paths)))
                expected = f"expected this file, found none; iterations there are: {there}"
                raise FileFormatError(place, expected)
            paths = {iteration: paths[iteration]}
        # Each subject counts once, whatever the number of passes.
        of_passes = [(path, _read_course(path)) for path in paths.values()]
        first_path = of_passes[0][0]
        courses.append((first_path, _mean(code, of_passes)))
    return _mean(code, courses)


def _paths_by_iteration(root: Path, passes: list[_Pass]) -> dict[int, Path]:
    """Returns the file of each iteration of one person.

    Raises:
        FileFormatError: if two files of one iteration differ; copies of equal content count once
    """
    paths: dict[int, Path] = {}
    for one in passes:
        first = paths.setdefault(one.iteration, one.path)
        if first != one.path and not filecmp.cmp(first, one.path, shallow=False):
            expected = f"expected one such file, found another one at {first.relative_to(root)}"
            raise FileFormatError(one.path, expected)
    return paths


def _expected_place(
    root: Path, code: str, annotation: str, subject: int, iteration: int | str
) -> Path:
    """Returns the place of a missing annotation, in the form that the corpus has."""
    number = 1 if iteration == "mean" else iteration
    if annotation == "intended" and (root / code).is_dir():
        return root / code / "emotion" / f"intended_{number}.dat"
    if annotation == "intended":
        name = f"intended_{number}_{MOVIES[code]}.dat"
    else:
        name = f"subj{subject or 1}_{number}_{MOVIES[code]}.dat"
    return root / "Emotion Annotation" / annotation / name


def _mean(code: str, courses: list[tuple[Path, pd.DataFrame]]) -> pd.DataFrame:
    """Averages several annotations of one film, cut to the shortest.

    Args:
        code: of the film, named in the warning
        courses: pairs of a file, named in errors, and its time, valence and arousal
    """
    first_path, first = courses[0]
    if len(courses) == 1:
        return first
    lengths = [len(course) for _, course in courses]
    shortest = min(lengths)
    longest = max(lengths)
    if (longest - shortest) * STEP > MOST_SECONDS:
        warnings.warn(
            f"{code}: the mean of annotations that last {shortest * STEP:.1f} to "
            f"{longest * STEP:.1f} s, cut to the shortest",
            UserWarning,
            stacklevel=4,
        )
    values = []
    for path, course in courses:
        cut = course[:shortest]
        if not np.allclose(cut["time"], first["time"][:shortest], atol=STEP / 2):
            raise FileFormatError(path, f"expected the same times as {first_path.name}")
        values.append(cut.to_numpy())
    return pd.DataFrame(np.mean(values, axis=0), columns=first.columns)


def _read_course(path: Path) -> pd.DataFrame:
    """Reads one annotation file: time, valence and arousal between blanks, without a header."""

    def fault(row: int | None, expected: str) -> None:
        raise FileFormatError(path, expected, row=row)

    limits = {"time": (0, np.inf), "valence": (-1, 1), "arousal": (-1, 1)}
    course = numbers(read_table(path, limits, header=False), limits, fault)
    steps = course["time"].diff()[1:]
    if not len(steps):
        fault(None, f"expected a row every {STEP:g} s, found a single one")
    first_time = course["time"].iloc[0]
    if first_time > 1:
        fault(course.index[0], f"expected time to begin at 0 s, found {first_time:g} s")
    # 1e-9: differences of decimal times are not exact.
    wrong = steps.index[(steps - STEP).abs() > STEP_TOLERANCE + 1e-9]
    if len(wrong):
        row = wrong[0]
        time = course.at[row, "time"]
        fault(
            row,
            f"expected time to increase by {STEP:g} s from row to row, found {time:g} s after "
            f"{time - steps[row]:g} s",
        )
    return course.reset_index(drop=True)
