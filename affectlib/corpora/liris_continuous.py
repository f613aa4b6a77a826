"""LIRIS-ACCEDE, continuous part: thirty films annotated once a second, with mean and deviation.

The films are under Creative Commons licences. They are also thirty of the films to develop on in
MediaEval 2018: never train on the one and test on the other.

Every file is found by its name in whatever folder below the root:

- ``LIRIS-ACCEDE-continuous-annotations.zip``: ``continuous-annotations/<Movie>_Valence.txt`` and
  ``<Movie>_Arousal.txt``; the folder ``raw``, with each annotator by himself, is not read
- ``LIRIS-ACCEDE-continuous-movies.zip``: ``continuous-movies/<Movie>.mp4``
"""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from affectlib.corpora.base import CLIP_COLUMNS, Corpus, CorpusFormatError
from affectlib.corpora.completeness import warn_if_partial
from affectlib.corpora.files import (
    Faults,
    corpus_files,
    film_seconds,
    find_file,
    find_film,
    is_simulated,
    numbers,
    read_table,
)
from affectlib.corpora.liris_accede import ASK
from affectlib.corpora.liris_accede import CITATION as LIRIS

LABELS = ("valence", "arousal")
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
# The corpus has no official split. Ours: every fifth film of the list above tests, from the third
# on; from the fifth on, three of the four films of the Blender Foundation would test together.
TEST_FILMS = (
    "Barely_legal_stories",
    "Damaged_Kung_Fu",
    "Islands",
    "Origami",
    "Spaceman",
    "To_Claire_From_Sonny",
)
SPLIT_NOTE = "the split into train and test is affectlib's, the corpus has none"
LARGEST_DEVIATION = 1.5  # of values in [-1, 1]; that of a sample of two is 1.41
COVERED = 0.5  # less of the longer series, or of the film, is taken for a damaged file
LICENSE = (
    "annotations: research use only, given by their owners on request; films: Creative Commons"
)
CITATION = (
    "Y. Baveye, E. Dellandréa, C. Chamaret, L. Chen, Deep learning vs. kernel methods: performance "
    "for emotion prediction in videos, Affective Computing and Intelligent Interaction, 2015; "
    + LIRIS
)


def load_liris_continuous(
    root: str | Path, *, films: bool = True, on_error: str = "raise"
) -> Corpus:
    """Reads the films of LIRIS-ACCEDE that are annotated once a second.

    The values are taken as they are: the owners' means over annotators lie in [-1, 1]. The first
    row stands for the first second of the film. Where the two files of a film, or the file and the
    film, differ in length, both are cut to the shorter, as the owners' scripts do.

    The corpus has no official split: ``TEST_FILMS`` is ours, a list fixed once, and noted in
    ``notes``.

    Args:
        root: folder below which the archives were unpacked
        films: False reads the annotations alone. ``path`` is then ``""`` and ``seconds`` is nan
        on_error: ``"raise"``, or ``"skip"`` to drop a film at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per film, split ``train`` or ``test``, annotated in [-1, 1]. Its
        annotations have two columns more than others: ``valence_std`` and ``arousal_std``, the
        deviation between annotators

    Raises:
        CorpusNotFoundError: if ``root`` is not this corpus
        CorpusFormatError: if an annotation or a film is not as expected, or one covers less than
            half of the other

    Warns:
        UserWarning: in which films valence and arousal differ in length, and in which the film and
            its annotation by more than one second

    References:
        Baveye et al., Affective Computing and Intelligent Interaction, 2015
    """
    root, faults = Path(root), Faults(on_error)
    name = "LIRIS-ACCEDE, continuous part"
    wanted = ["*_Valence.txt", "*_Arousal.txt"]
    files = corpus_files(root, wanted, name=name, ask=ASK, closed=("raw",))
    clips, annotations = [], []
    uneven, cut = [], []
    for movie in _movies(files):
        try:
            course = _read_film(files, movie, root)
            path, seconds = "", math.nan
            rows = course.rows
            if films:
                path = find_film(files, movie, root=root)
                seconds = film_seconds(path)
                rows = _within(course, seconds)
        except CorpusFormatError as fault:
            faults(movie, fault)
            continue
        if course.difference:
            uneven.append(f"{movie} {course.difference} s")
        if abs(len(course.rows) - seconds) > 1:
            cut.append(f"{movie} {len(course.rows)} s of {seconds:.0f} s")
        split = "test" if movie in TEST_FILMS else "train"
        means = rows["valence"].mean(), rows["arousal"].mean()
        clips.append((movie, str(path), movie, split, seconds, *means))
        annotations.append(rows.assign(clip=movie))
    faults.refuse_empty(clips)
    _warn(uneven, cut)
    columns = ["clip", "time", *LABELS, "valence_std", "arousal_std"]
    corpus = Corpus(
        name="liris_continuous",
        clips=pd.DataFrame(clips, columns=[*CLIP_COLUMNS, *LABELS]),
        annotations=pd.concat(annotations, ignore_index=True)[columns],
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
    """Names of the films that have a file of valence or of arousal."""
    names = [path.name for path in files]
    found = set()
    for ending in ("_Valence.txt", "_Arousal.txt"):
        found |= {name.removesuffix(ending) for name in names if name.endswith(ending)}
    return sorted(found)


@dataclass(frozen=True)
class _Course:
    """The annotation of one film.

    Args:
        path: one of its two files
        rows: time, valence, arousal and their deviations, a row per second
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
        path = find_file(files, file, root=root) or root / file
        series[label] = _read_series(path)
    valence, arousal = series.values()
    shorter, longer = sorted((len(valence), len(arousal)))
    if shorter < COVERED * longer:
        expected = (
            f"expected valence and arousal of one length, found {len(valence)} and {len(arousal)}"
        )
        raise CorpusFormatError(path, f"{expected} rows")
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
        raise CorpusFormatError(path, expected, row=row)

    table = read_table(path, ("Time", "Mean", "Std"), delimiter="\t")
    limits = {"Time": (0, math.inf), "Mean": (-1, 1), "Std": (0, LARGEST_DEVIATION)}
    series = numbers(table, limits, fault)
    for second, (row, time) in enumerate(series["Time"].items()):
        if time != second:
            fault(
                row, f"expected times 0, 1, 2, ... s, a row a second: {second} here, found {time:g}"
            )
    return series


def _within(course: _Course, seconds: float) -> pd.DataFrame:
    """Keeps the rows whose second begins within the film.

    Raises:
        CorpusFormatError: if the annotation covers less than half of the film
    """
    if len(course.rows) < COVERED * seconds:
        expected = f"expected rows up to the film's end at {seconds:.0f} s"
        raise CorpusFormatError(course.path, f"{expected}, found {len(course.rows)}")
    end = max(math.floor(seconds + 0.1), 1)
    return course.rows[course.rows["time"] < end]


def _warn(uneven: list[str], cut: list[str]) -> None:
    """Warns of what was cut, once for all films."""
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
