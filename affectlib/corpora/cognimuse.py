"""COGNIMUSE with its extension: twelve films of half an hour, emotion annotated every 0.04 s.

Two forms of the database are in the field, and both are read, at any depth of the folder:

======================================================  ===============================================
seven films                                             ``<CODE>/emotion/intended_1.dat``
twelve films                                            ``Emotion Annotation/intended/intended_1_<Movie>.dat``
                                                        ``Emotion Annotation/experienced/subj1_1_<Movie>.dat``
======================================================  ===============================================

``CODE`` is a key of ``FILMS`` and ``Movie`` the short name in ``MOVIES``.
"""

import filecmp
import os
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
    numbers,
    read_table,
)
from affectlib.corpora.lengths import MOST_SECONDS, warn_of_lengths
from affectlib.errors import FileFormatError, NotFoundError
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
MOVIES = {  # as the twelve-film form writes them
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
STEP = 1 / HERTZ  # seconds from row to row
SLACK = 0.01  # seconds by which one step may be off
LICENSE = "research use only, given by its owners on request"
CITATION = (
    "A. Zlatintsi et al., COGNIMUSE: a multimodal video database annotated with saliency, events, semantics and "
    "emotion with application to summarization, EURASIP Journal on Image and Video Processing, 2017"
)
_ASK = "cognimuse.cs.ntua.gr"
_BEGINNINGS = {"intended": "intended_", "experienced": "subj"}
_PATTERNS = {
    "intended": re.compile(r"intended_(?P<iteration>\d+)(?:_(?P<film>.+))?\.dat"),
    "experienced": re.compile(r"subj(?P<subject>\d+)_(?P<iteration>\d+)(?:_(?P<film>.+))?\.dat"),
}
_LOOKED_FOR = {
    "intended": "<CODE>/emotion/intended_1.dat, Emotion Annotation/intended/intended_1_<Movie>.dat",
    "experienced": "experienced/subj1_1_<CODE>.dat, Emotion Annotation/experienced/subj1_1_<Movie>.dat",
}


@dataclass(frozen=True)
class _Found:
    """One annotation file: whose it is and how often the person had watched the film by then."""

    path: Path
    film: str
    subject: int
    iteration: int


def load_cognimuse(
    root: str | os.PathLike,
    *,
    annotation: str = "intended",
    iteration: int | str | None = None,
    films: bool = True,
    on_error: str = "raise",
) -> Corpus:
    """Reads COGNIMUSE in the form of its first seven films, or of all twelve.

    Films are taken as found, all twelve or fewer. A film is named by its code (``GLA``), its short name
    (``Gladiator``, ``LOTRReturn``) or its title; or it is the only one in the folder of its code.
    The first seconds, in which the annotation tool holds its starting value, are kept:
    ``labels.segments(..., lead_in="trim")`` leaves them out.

    Args:
        root: folder of the corpus; films and annotations may stand at any depth
        annotation: ``"intended"`` (what the film means to evoke, used by attend_affect) or ``"experienced"``
            (the mean over the subjects who watched it)
        iteration: which of the annotator's passes over a film is read, counted from 1, or ``"mean"``, the mean over
            those there are. None reads the first pass of ``"intended"`` and the mean over all passes of
            ``"experienced"``
        films: whether the films are needed. Without them each ``path`` is ``""`` and ``seconds`` is how long the
            film is annotated
        on_error: ``"raise"``, or ``"skip"`` to drop a film at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per film, annotated at 25 Hz in [-1, 1]

    Raises:
        CorpusNotFoundError: if ``root`` is no COGNIMUSE
        CorpusFormatError: if a film or an annotation is not as expected; one that begins after its first second or
            leaves out rows is not
        ValueError: if ``annotation`` or ``iteration`` is not one of those above

    Warns:
        UserWarning: if a film and its annotation differ in length or in speed, film by film (see
            :func:`affectlib.corpora.lengths.length_table`), if annotations of different lengths are averaged,
            and if a real corpus does not hold twelve films

    References:
        Zlatintsi et al., 2017; attend_affect, Section IV-A
    """
    if annotation not in _PATTERNS:
        raise ValueError(f"annotation is 'intended' or 'experienced', not {annotation!r}")
    if iteration is None:
        iteration = 1 if annotation == "intended" else "mean"
    if iteration != "mean" and not (isinstance(iteration, int) and iteration >= 1):
        raise ValueError(f"iteration is None, 'mean' or a number from 1, not {iteration!r}")
    root = Path(root)
    faults = Faults(on_error)
    files = files_below(root)
    found = _annotations(root, files, annotation, faults)
    codes = {one.film for one in found}
    if films:
        codes |= _films_there(root, files)
    clips = []
    courses = []
    for code in FILMS:
        if code not in codes or code in faults.found:
            continue
        try:
            path = _film(root, files, code) if films else None
            parts = [one for one in found if one.film == code]
            course = _course_of(root, code, parts, annotation, iteration)
            annotated = course["time"].iloc[-1] + STEP
            seconds = film_seconds(path) if films else annotated
        except FileFormatError as fault:
            faults(code, fault)
            continue
        means = course["valence"].mean(), course["arousal"].mean()
        clips.append((code, str(path or ""), code, "", seconds, *means))
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


def film_code(name: str) -> str | None:
    """Finds the code of a film by any of its names.

    Args:
        name: a code, a short name or a title; upper and lower case, blanks and marks do not count

    Returns:
        a key of ``FILMS``, None where no film has this name

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


def _annotations(root: Path, files: list[Path], annotation: str, faults: Faults) -> list[_Found]:
    """Every annotation file of a kind; one that belongs to no film is a fault, not left out."""
    found = []
    for path in files:
        if path.suffix != ".dat" or not path.name.startswith(_BEGINNINGS[annotation]):
            continue
        match = _PATTERNS[annotation].fullmatch(path.name)
        name = match["film"] if match else None
        folders = [folder for folder in path.relative_to(root).parts[:-1] if film_code(folder)]
        if name is None and folders:
            name = folders[-1]
        code = film_code(name) if match and name else None
        if code is None:
            expected = f"expected the name of a film of COGNIMUSE, as in {_LOOKED_FOR[annotation]}"
            faults(path.relative_to(root).as_posix(), FileFormatError(path, expected))
            continue
        subject = int(match["subject"]) if annotation == "experienced" else 0
        found.append(_Found(path, code, subject, int(match["iteration"])))
    if not found:
        faults.refuse_empty(found)
        what = "not this corpus" if root.is_dir() else "no such folder"
        raise NotFoundError(
            f"COGNIMUSE at {root}: {what}; looked for {_LOOKED_FOR[annotation]}. Ask for it at {_ASK}"
        )
    return found


def _films_there(root: Path, files: list[Path]) -> set[str]:
    """Codes of the films that have a file or a folder of their name: each needs an annotation."""
    codes = {film_code(path.stem) for path in files if is_film(path)}
    for path in files:
        codes |= {film_code(folder) for folder in path.relative_to(root).parts[:-1]}
    return codes - {None}


def _film(root: Path, files: list[Path], code: str) -> Path:
    """The film of a code: the one of its name, else the only one in a folder of its name."""
    candidates = [path for path in files if is_film(path)]
    named = [path for path in candidates if film_code(path.stem) == code]
    beside = [path for path in candidates if film_code(path.parent.name) == code]
    found = named or beside
    if len(found) == 1:
        return found[0]
    folder = root / code if (root / code).is_dir() else root
    names = ", ".join(path.relative_to(root).as_posix() for path in found) or "none"
    raise FileFormatError(
        folder / f"{code}.mp4",
        f"expected one film named {code}, {MOVIES[code]} or {FILMS[code]}, or a single one in the folder {code}; "
        f"found {names}",
    )


def _course_of(
    root: Path, code: str, found: list[_Found], annotation: str, iteration: int | str
) -> pd.DataFrame:
    """Time, valence and arousal of one film, averaged over passes and subjects as asked for."""
    subjects = sorted({one.subject for one in found})
    if not subjects:
        raise FileFormatError(
            _usual(root, code, annotation, 0, iteration), "expected this file, found none"
        )
    means = []
    for subject in subjects:
        passes: dict[int, Path] = {}
        for one in found:
            if one.subject == subject:
                _once(root, passes.get(one.iteration), one.path)
                passes.setdefault(one.iteration, one.path)
        if iteration != "mean":
            if iteration not in passes:
                there = ", ".join(map(str, sorted(passes)))
                raise FileFormatError(
                    _usual(root, code, annotation, subject, iteration),
                    f"expected this file, found none; iterations there are: {there}",
                )
            passes = {iteration: passes[iteration]}
        read = [(path, _course(path)) for path in passes.values()]
        means.append((read[0][0], _mean(code, read)))
    return _mean(code, means)


def _once(root: Path, known: Path | None, other: Path) -> None:
    """Refuses a second file of the same film, subject and pass, unless it is a copy."""
    if known is not None and not filecmp.cmp(known, other, shallow=False):
        raise FileFormatError(
            other, f"expected one such file, found another one at {known.relative_to(root)}"
        )


def _usual(root: Path, code: str, annotation: str, subject: int, iteration: int | str) -> Path:
    """Where a missing annotation would stand, in the form that the corpus has."""
    number = 1 if iteration == "mean" else iteration
    if annotation == "intended" and (root / code).is_dir():
        return root / code / "emotion" / f"intended_{number}.dat"
    if annotation == "intended":
        return root / "Emotion Annotation" / "intended" / f"intended_{number}_{MOVIES[code]}.dat"
    name = f"subj{subject or 1}_{number}_{MOVIES[code]}.dat"
    return root / "Emotion Annotation" / "experienced" / name


def _mean(code: str, read: list[tuple[Path, pd.DataFrame]]) -> pd.DataFrame:
    """Mean of several courses of one film, cut to the shortest."""
    courses = [course for _, course in read]
    if len(courses) == 1:
        return courses[0]
    lengths = [len(course) for course in courses]
    shortest = min(lengths)
    if (max(lengths) - shortest) * STEP > MOST_SECONDS:
        warnings.warn(
            f"{code}: the mean of annotations that last {shortest * STEP:.1f} to {max(lengths) * STEP:.1f} s, "
            "cut to the shortest",
            UserWarning,
            stacklevel=4,
        )
    first_path, first = read[0]
    for path, course in read:
        if not np.allclose(course["time"][:shortest], first["time"][:shortest], atol=0.02):
            raise FileFormatError(path, f"expected the same times as {first_path.name}")
    stacked = [course[:shortest].to_numpy() for course in courses]
    return pd.DataFrame(np.mean(stacked, axis=0), columns=first.columns)


def _course(path: Path) -> pd.DataFrame:
    """One annotation file: time, valence and arousal, blank separated, without a header."""

    def fault(row, expected):
        raise FileFormatError(path, expected, row=row)

    limits = {"time": (0, np.inf), "valence": (-1, 1), "arousal": (-1, 1)}
    course = numbers(read_table(path, limits, header=False), limits, fault)
    steps = course["time"].diff()[1:]
    if not len(steps):
        fault(None, f"expected a row every {STEP:g} s, found a single one")
    if course["time"].iloc[0] > 1:
        fault(course.index[0], f"expected time to begin at 0 s, found {course['time'].iloc[0]:g} s")
    wrong = steps.index[(steps - STEP).abs() > SLACK + 1e-9]
    for row in wrong[:1]:
        time = course.at[row, "time"]
        found = f"{time:g} s after {time - steps[row]:g} s"
        fault(row, f"expected time to increase by {STEP:g} s from row to row, found {found}")
    return course.reset_index(drop=True)
