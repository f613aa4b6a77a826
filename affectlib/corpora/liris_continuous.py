"""LIRIS-ACCEDE, continuous part: thirty films annotated once a second, with mean and deviation.

The films are under Creative Commons licences. The development set of MediaEval 2018 contains all
thirty, so never train on one corpus and test on the other.

Every file is found by its name in whatever folder below the root:

- ``LIRIS-ACCEDE-continuous-annotations.zip``: ``continuous-annotations/<Movie>_Valence.txt`` and
  ``<Movie>_Arousal.txt``; the folder ``raw``, which holds each annotator alone, is not read
- ``LIRIS-ACCEDE-continuous-movies.zip``: ``continuous-movies/<Movie>.mp4``
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from affectlib.corpora.base import CLIP_COLUMNS, Corpus
from affectlib.corpora.completeness import warn_if_partial
from affectlib.corpora.excerpts import ASK, LABELS
from affectlib.corpora.excerpts import CITATION as CITATION_LIRIS
from affectlib.corpora.files import (
    Faults,
    corpus_files,
    find_file,
    find_film,
    is_simulated,
    numbers,
    read_table,
)
from affectlib.corpora.lengths import COVERED, rows_within
from affectlib.errors import FileFormatError
from affectlib.media import film_seconds

FILMS = (
    "After_The_Rain",
    "Attitude_Matters",
    "Barely_legal_stories",
    "Between_Viewings",
    "Big_Buck_Bunny",
    "Chatter",
    "Cloudland",
    "Damaged_Kung_Fu",
    "Decay",
    "Elephant_s_Dream",
    "First_Bite",
    "Full_Service",
    "Islands",
    "Lesson_Learned",
    "Norm",
    "Nuclear_Family",
    "On_time",
    "Origami",
    "Parafundit",
    "Payload",
    "Riding_The_Rails",
    "Sintel",
    "Spaceman",
    "Superhero",
    "Tears_of_Steel",
    "The_room_of_franz_kafka",
    "The_secret_number",
    "To_Claire_From_Sonny",
    "Wanted",
    "You_Again",
)
# The corpus has no official split. Ours tests on every fifth film of the list above, from the third
# on. From the fifth on, three of the four films of the Blender Foundation would be in the test set.
TEST_FILMS = (
    "Barely_legal_stories",
    "Damaged_Kung_Fu",
    "Islands",
    "Origami",
    "Spaceman",
    "To_Claire_From_Sonny",
)
SPLIT_NOTE = "the split into train and test is affectlib's, the corpus has none"
# Of values in [-1, 1]. A sample of two has 1.41 at most.
LARGEST_DEVIATION = 1.5
# Columns of the annotations: those of every corpus, and the deviations between annotators.
COLUMNS = ("clip", "time", *LABELS, "valence_std", "arousal_std")
LICENSE = (
    "annotations: research use only, given by their owners on request; films: Creative Commons"
)
CITATION = (
    "Y. Baveye, E. Dellandréa, C. Chamaret, L. Chen, Deep learning vs. kernel methods: performance "
    "for emotion prediction in videos, Affective Computing and Intelligent Interaction, 2015; "
    + CITATION_LIRIS
)


def load_liris_continuous(
    root: Path | str, *, films: bool = True, on_error: str = "raise"
) -> Corpus:
    """Reads the films of LIRIS-ACCEDE that are annotated once a second.

    The values stay as they are: the owners' means over annotators lie in [-1, 1]. The first row
    describes the first second of the film. If the two files of a film, or the file and the film,
    differ in length, both are cut to the shorter, as the owners' scripts do.

    The corpus has no official split. ``TEST_FILMS`` is ours, fixed once, and stated in ``notes``.

    Args:
        root: folder below which the archives were unpacked
        films: False reads the annotations alone. ``path`` is then ``""`` and ``seconds`` is nan
        on_error: ``"raise"``, or ``"skip"`` to drop a film at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per film, split ``train`` or ``test``, annotated in [-1, 1]. Its
        annotations have two more columns than others: ``valence_std`` and ``arousal_std``, the
        deviation between annotators

    Raises:
        NotFoundError: if ``root`` is not this corpus
        FileFormatError: if an annotation or a film is not as expected, or one covers less than
            half of the other

    Warns:
        UserWarning: if valence and arousal of some films differ in length, if films and their
            annotations differ by more than a second, and if a real corpus does not hold thirty
            films

    References:
        Baveye et al., Affective Computing and Intelligent Interaction, 2015
    """
    root = Path(root)
    faults = Faults(on_error)
    name = "LIRIS-ACCEDE, continuous part"
    wanted = ["*_Valence.txt", "*_Arousal.txt"]
    files = corpus_files(root, wanted, name=name, ask=ASK, closed=("raw",))
    clips = []
    annotations = []
    # One phrase per film that was cut, for the two warnings.
    uneven = []
    cut = []
    for movie in _movies(files):
        try:
            course = _read_film(files, movie, root)
            path, seconds, rows = _fit_film(course, files, movie, root, films)
        except FileFormatError as fault:
            faults(movie, fault)
            continue
        annotated = len(course.rows)
        if course.difference:
            uneven.append(f"{movie} {course.difference} s")
        if abs(annotated - seconds) > 1:
            cut.append(f"{movie} {annotated} s of {seconds:.0f} s")
        split = "test" if movie in TEST_FILMS else "train"
        valence = rows["valence"].mean()
        arousal = rows["arousal"].mean()
        clips.append((movie, path, movie, split, seconds, valence, arousal))
        annotations.append(rows.assign(clip=movie))
    faults.refuse_empty(clips)
    _warn_of_cuts(uneven, cut)
    corpus = Corpus(
        name="liris_continuous",
        clips=pd.DataFrame(clips, columns=[*CLIP_COLUMNS, *LABELS]),
        annotations=pd.concat(annotations, ignore_index=True)[list(COLUMNS)],
        labels=LABELS,
        value_range=(-1.0, 1.0),
        hertz=1.0,
        license=LICENSE,
        citation=CITATION,
        simulated=is_simulated(root),
        skipped=faults.messages(),
        notes=(SPLIT_NOTE,),
    )
    warn_if_partial(corpus)
    return corpus


def _movies(files: list[Path]) -> list[str]:
    """Names the films that have a file of valence or of arousal."""
    movies = set()
    for path in files:
        for ending in ("_Valence.txt", "_Arousal.txt"):
            if path.name.endswith(ending):
                movies.add(path.name.removesuffix(ending))
    return sorted(movies)


@dataclass(frozen=True)
class _Course:
    """The annotation of one film.

    Args:
        path: one of its two files
        rows: time, valence, arousal and their deviations, one row per second
        difference: seconds by which the longer of the two files was cut
    """

    path: Path
    rows: pd.DataFrame
    difference: int


def _read_film(files: list[Path], movie: str, root: Path) -> _Course:
    """Reads valence and arousal of a film, as long as the shorter of the two."""
    series = {}
    for label in LABELS:
        file = f"{movie}_{label.title()}.txt"
        path = find_file(files, file, root=root)
        if path is None:
            # _read_series refuses this place by name.
            path = root / file
        series[label] = _read_series(path)
    valence = series["valence"]
    arousal = series["arousal"]
    shorter, longer = sorted((len(valence), len(arousal)))
    if shorter < COVERED * longer:
        found = f"{len(valence)} and {len(arousal)} rows"
        raise FileFormatError(path, f"expected valence and arousal of one length, found {found}")
    rows = pd.DataFrame(
        {
            "time": valence["Time"],
            "valence": valence["Mean"],
            "arousal": arousal["Mean"],
            "valence_std": valence["Std"],
            "arousal_std": arousal["Std"],
        }
    )
    return _Course(path, rows.iloc[:shorter].reset_index(drop=True), longer - shorter)


def _read_series(path: Path) -> pd.DataFrame:
    """Reads one file: Time (in seconds, from 0), Mean and Std."""

    def fault(row: int, expected: str) -> None:
        raise FileFormatError(path, expected, row=row)

    table = read_table(path, ("Time", "Mean", "Std"), delimiter="\t")
    limits = {"Time": (0, math.inf), "Mean": (-1, 1), "Std": (0, LARGEST_DEVIATION)}
    series = numbers(table, limits, fault)
    for second, (row, time) in enumerate(series["Time"].items()):
        if time != second:
            expected = "expected times 0, 1, 2, ... s, one row per second"
            fault(row, f"{expected}: {second} here, found {time:g}")
    return series


def _fit_film(
    course: _Course, files: list[Path], movie: str, root: Path, films: bool
) -> tuple[str, float, pd.DataFrame]:
    """Returns path and seconds of a film, and its annotations that begin within it.

    Raises:
        FileFormatError: if the film is at fault, or annotated for less than half of its length
    """
    if not films:
        return "", math.nan, course.rows
    path = find_film(files, movie, root=root)
    seconds = film_seconds(path)
    if len(course.rows) < COVERED * seconds:
        expected = f"expected rows up to the film's end at {seconds:.0f} s"
        raise FileFormatError(course.path, f"{expected}, found {len(course.rows)}")
    return str(path), seconds, rows_within(course.rows, seconds)


def _warn_of_cuts(uneven: list[str], cut: list[str]) -> None:
    """Warns of cut annotations and films, once for all films."""
    if uneven:
        warnings.warn(
            f"valence and arousal of {len(uneven)} films differ in length, cut to the shorter: "
            f"{', '.join(uneven)}",
            stacklevel=3,
        )
    if cut:
        warnings.warn(
            f"{len(cut)} films differ in length from their annotation, cut to the shorter: "
            f"annotated are {', '.join(cut)}",
            stacklevel=3,
        )
