"""MediaEval's tasks on LIRIS-ACCEDE: films annotated every second (2018, 2017), classes (2015).

Every file is found by its name in whatever folder below the root. So the owners' archives may be
unpacked each by itself, or all into one folder.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from pathlib import Path

import pandas as pd

from affectlib.corpora.base import ANNOTATION_COLUMNS, CLIP_COLUMNS, Corpus
from affectlib.corpora.completeness import warn_if_partial
from affectlib.corpora.excerpts import (
    ASK,
    LABELS,
    LICENSE,
    excerpt_corpus,
    named_table,
    source_films,
)
from affectlib.corpora.excerpts import CITATION as CITATION_LIRIS
from affectlib.corpora.files import (
    Faults,
    corpus_files,
    files_below,
    find_file,
    find_film,
    is_simulated,
    numbers,
    read_table,
)
from affectlib.corpora.lengths import COVERED, rows_within
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.media import film_seconds

# Numbers of the films in each archive of 2018.
PARTS = {
    "DevSet-Part1": range(14),
    "DevSet-Part2": range(14, 44),
    "DevSet-Part3": range(44, 54),
    "TestSet": range(54, 66),
}
# Not searched by the loader: they hold a million and a half files.
FEATURE_FOLDERS = ("audio_features", "visual_features")
ANNOTATION_ENDING = "_Valence-Arousal.txt"
# Seconds from row to row, by edition.
PERIODS = {2017: 5.0, 2018: 1.0}
# Seconds that a row is the mean of, by edition.
SPANS = {2017: 10.0, 2018: 1.0}
# Seconds by which a time may be off.
TIME_TOLERANCE = 0.01
# Faults of the real corpus: film to the damaged series.
KNOWN_FAULTS = {
    # Frame 5588 is missing.
    "MEDIAEVAL18_06": ("audio",),
    # These two end early.
    "MEDIAEVAL18_18": ("fc6", "jcd"),
    # One frame is empty.
    "MEDIAEVAL18_27": ("cl",),
    # It has about 100 rows for a whole film.
    "MEDIAEVAL18_46": ("annotations",),
}
# Files of MediaEval 2015, and the archive that holds each.
FILES15 = {
    "ACCEDEaffect.txt": "MEDIAEVAL-annotations.zip",
    "MEDIAEVALaffect.txt": "MEDIAEVAL-annotations.zip",
    "shots-devset-nl.txt": "MEDIAEVAL-mapping.zip",
    "shots-testset-nl.txt": "MEDIAEVAL-mapping.zip",
    "ACCEDEdescription.xml": "LIRIS-ACCEDE-data.zip",
    "MEDIAEVALdescription.xml": "MEDIAEVAL-data.zip",
}
SPLIT15 = {"train": "shots-devset-nl.txt", "test": "shots-testset-nl.txt"}
CITATION18 = (
    "E. Dellandréa, M. Huigsloot, L. Chen, Y. Baveye, Z. Xiao, M. Sjöberg, The MediaEval 2018 "
    "emotional impact of movies task, MediaEval, 2018; " + CITATION_LIRIS
)
CITATION15 = (
    "M. Sjöberg, Y. Baveye, H. Wang, V. L. Quang, B. Ionescu, E. Dellandréa, M. Schedl, "
    "C.-H. Demarty, L. Chen, The MediaEval 2015 affective impact of movies task, MediaEval, 2015; "
    + CITATION_LIRIS
)


def load_mediaeval18(root: Path | str, *, edition: int = 2018, on_error: str = "raise") -> Corpus:
    """Reads the continuous task: films annotated every second, for development and for test.

    Columns are found by their names. Files of 2017 have four columns (segment, time, MeanValence,
    MeanArousal) with means over 10 s every 5 s: ``edition=2017`` reads them, 2018 refuses them.
    Annotation and film are cut to the shorter of the two.

    Args:
        root: folder below which the archives were unpacked:
            ``MEDIAEVAL18-<part>-Valence_Arousal-annotations``, and the films anywhere
        edition: 2018 or 2017
        on_error: ``"raise"``, or ``"skip"`` to drop a film at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per film, split ``train`` or ``test``, annotated in [-1, 1]

    Raises:
        NotFoundError: if ``root`` is not this corpus
        FileFormatError: if a film or an annotation is not as expected, or an annotation lacks the
            start of its film or covers less than half of it. Film 46 is exempt, since the real
            corpus has no more of it
        ValueError: if ``edition`` or ``on_error`` is none of the above

    Warns:
        UserWarning: if a film and its annotation differ by more than a second, and if a real corpus
            does not hold the published number of films

    References:
        Dellandréa et al., 2018; shot_long, Dataset and Metrics
    """
    root = Path(root)
    faults = Faults(on_error)
    if edition not in PERIODS:
        raise ValueError(f"edition is 2018 or 2017, not {edition!r}")
    wanted = [f"*{ANNOTATION_ENDING}"]
    files = corpus_files(root, wanted, name=f"MediaEval {edition}", ask=ASK, closed=FEATURE_FOLDERS)
    clips = []
    annotations = []
    for clip, copies in _annotation_files(files).items():
        try:
            path = find_file(copies, copies[0].name, root=root)
            course = _read_course(path, edition)
            split = _split(copies, clip, root)
            film = find_film(files, clip, root=root)
            seconds = film_seconds(film)
            _check_covered(path, clip, course, seconds, edition)
        except FileFormatError as fault:
            faults(clip, fault)
            continue
        _warn_if_cut(clip, course, seconds, edition)
        course = rows_within(course, seconds).reset_index(drop=True)
        valence = course["valence"].mean()
        arousal = course["arousal"].mean()
        clips.append((clip, str(film), clip, split, seconds, valence, arousal))
        annotations.append(course.assign(clip=clip))
    faults.refuse_empty(clips)
    corpus = Corpus(
        name=f"mediaeval{edition % 100}",
        clips=pd.DataFrame(clips, columns=[*CLIP_COLUMNS, *LABELS]),
        annotations=pd.concat(annotations, ignore_index=True)[list(ANNOTATION_COLUMNS)],
        labels=LABELS,
        value_range=(-1.0, 1.0),
        hertz=1 / PERIODS[edition],
        license=LICENSE,
        citation=CITATION18,
        simulated=is_simulated(root),
        skipped=faults.messages(),
    )
    warn_if_partial(corpus)
    return corpus


def _annotation_files(files: list[Path]) -> dict[str, list[Path]]:
    """Finds the annotation of each film, and its copies in other folders, in order of name."""
    tables = [path for path in files if path.name.endswith(ANNOTATION_ENDING)]
    by_clip = defaultdict(list)
    for path in sorted(tables, key=lambda path: path.name):
        by_clip[path.name.removesuffix(ANNOTATION_ENDING)].append(path)
    return by_clip


def _split(copies: list[Path], clip: str, root: Path) -> str:
    """Returns the official set of a film.

    Raises:
        FileFormatError: if nothing tells the set, or copies of the annotation tell two
    """
    sets = {_set_of_copy(path, clip, root) for path in copies}
    if len(sets) > 1:
        raise FileFormatError(
            copies[0], f"expected a film to train on or one to test on, found {clip} in both sets"
        )
    return sets.pop()


def _set_of_copy(path: Path, clip: str, root: Path) -> str:
    """Returns the official set that the archive of an annotation tells, or else its number.

    Raises:
        FileFormatError: if neither tells the set
    """
    folders = "/".join(path.relative_to(root).parts[:-1])
    if "-TestSet-" in folders:
        return "test"
    if "-DevSet-" in folders:
        return "train"
    number = clip.removeprefix("MEDIAEVAL18_")
    for part, films in PARTS.items():
        if number.isdecimal() and int(number) in films:
            return "test" if part == "TestSet" else "train"
    expected = "expected a folder that names DevSet or TestSet, or a film MEDIAEVAL18_00 to _65"
    raise FileFormatError(path, f"{expected}, found {clip}")


def _read_course(path: Path, edition: int) -> pd.DataFrame:
    """Reads time, valence and arousal of one film; columns are found by their names."""

    def fault(row: int, expected: str) -> None:
        raise FileFormatError(path, expected, row=row)

    table = read_table(path, (), delimiter="\t")
    columns = {}
    for kind in ("time", *LABELS):
        matching = [column for column in table.columns if kind in column.lower()]
        if len(matching) == 1:
            columns[matching[0]] = kind
    if len(columns) != 3:
        found = ", ".join(table.columns)
        fault(1, f"expected one column each of time, valence and arousal, found {found}")
    _check_edition(path, table.columns, edition)
    table = table[list(columns)].rename(columns=columns)
    limits = {"time": (0, math.inf), "valence": (-1, 1), "arousal": (-1, 1)}
    course = numbers(table, limits, fault)
    period = PERIODS[edition]
    steps = course["time"].diff()[1:]
    wrong = steps.index[(steps - period).abs() > TIME_TOLERANCE]
    if len(wrong):
        row = wrong[0]
        time = course.at[row, "time"]
        fault(
            row,
            f"expected time to increase by {period:g} s from row to row, found {time:g} s after "
            f"{time - steps[row]:g} s",
        )
    return course


def _check_edition(path: Path, columns: pd.Index, edition: int) -> None:
    """Refuses an annotation of the other edition, which the column names tell."""
    names = " ".join(columns).lower()
    found = 2017 if "mean" in names or "segment" in names else 2018
    if found != edition:
        raise FileFormatError(
            path,
            f"expected annotations of {edition}, found those of {found} ({', '.join(columns)}): "
            f"edition={found} reads them",
            row=1,
        )


def _covered_seconds(course: pd.DataFrame, edition: int) -> float:
    """Returns how many seconds of film an annotation covers."""
    return (len(course) - 1) * PERIODS[edition] + SPANS[edition]


def _check_covered(
    path: Path, clip: str, course: pd.DataFrame, seconds: float, edition: int
) -> None:
    """Refuses an annotation that lacks the start of its film, or covers less than half of it."""
    if "annotations" in KNOWN_FAULTS.get(clip, ()):
        return
    first = course["time"].iloc[0]
    last = course["time"].iloc[-1]
    if first > SPANS[edition] + TIME_TOLERANCE:
        expected = f"expected rows from the film's start on, the first is at {first:g} s"
        raise FileFormatError(path, expected, row=course.index[0])
    if _covered_seconds(course, edition) < COVERED * seconds:
        expected = f"expected rows up to the film's end at {seconds:.0f} s"
        raise FileFormatError(
            path, f"{expected}, the last is at {last:.0f} s", row=course.index[-1]
        )


def _warn_if_cut(clip: str, course: pd.DataFrame, seconds: float, edition: int) -> None:
    """Warns if a film and its annotation differ by more than a second."""
    lost = abs(_covered_seconds(course, edition) - seconds)
    if lost > 1:
        first = course["time"].iloc[0]
        end = course["time"].iloc[-1] + SPANS[edition]
        warnings.warn(
            f"{clip}: annotated from {first:.0f} to {end:.0f} s, the film has {seconds:.0f} s; "
            f"cut to the shorter, {lost:.0f} s lost",
            stacklevel=3,
        )


def load_mediaeval15(root: Path | str, *, films: bool = True, on_error: str = "raise") -> Corpus:
    """Reads the classes of 2015: excerpts whose valence and arousal are -1, 0 or 1, official sets.

    The excerpts are the 9,800 of LIRIS-ACCEDE and 1,100 more. The lists ``shots-devset-nl.txt`` and
    ``shots-testset-nl.txt`` give the sets of the task: 6,144 excerpts to develop on, 4,756 to test
    on. ``MEDIAEVALsets.txt``, which names only the 1,100, is not read.

    Args:
        root: folder below which the archives were unpacked
        films: False reads the annotations alone; ``path`` is then ``""`` and ``seconds`` nan
        on_error: ``"raise"``, or ``"skip"`` to drop an excerpt at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per excerpt, split ``train`` or ``test``, grouped by source film

    Raises:
        NotFoundError: if ``root`` is not this corpus, or lacks one of its archives, which is named
        FileFormatError: if an annotation or an excerpt is not as expected

    Warns:
        UserWarning: if a real corpus does not hold the published number of excerpts

    References:
        Sjöberg et al., 2015; shot_long, Table 6
    """
    root = Path(root)
    faults = Faults(on_error)
    files = files_below(root)
    paths = _files15(files, root)
    tables = [paths["ACCEDEaffect.txt"], paths["MEDIAEVALaffect.txt"]]
    descriptions = [paths["ACCEDEdescription.xml"], paths["MEDIAEVALdescription.xml"]]
    clips = pd.concat([_classes(path, faults) for path in tables], ignore_index=True)
    clips = clips.drop_duplicates("clip")
    lists = {name: paths[file] for name, file in SPLIT15.items()}
    split = _split15(lists, clips["clip"], faults)
    groups = source_films(clips["clip"], descriptions, faults)
    return excerpt_corpus(
        clips.assign(split=split, group=groups),
        root,
        files,
        faults,
        name="mediaeval15",
        citation=CITATION15,
        films=films,
        value_range=(-1, 1),
    )


def _files15(files: list[Path], root: Path) -> dict[str, Path]:
    """Finds the files of 2015 by name.

    Raises:
        NotFoundError: if one is missing, with the archives that hold it
    """
    paths = {}
    missing = []
    for name in FILES15:
        paths[name] = find_file(files, name, root=root)
        if paths[name] is None:
            missing.append(name)
    if missing:
        # A dict keeps the order and drops repeats.
        archives = ", ".join(dict.fromkeys(FILES15[name] for name in missing))
        raise NotFoundError(
            f"MediaEval 2015 at {root}: looked in every folder for {', '.join(missing)}, "
            f"which are in {archives}. Ask for them at {ASK}"
        )
    return paths


def _split15(lists: dict[str, Path], clips: pd.Series, faults: Faults) -> pd.Series:
    """Reads the official set of each excerpt.

    Args:
        lists: set to its list, rows of a shot's id and an excerpt's name, without a header
        clips: the excerpts that have classes
        faults: called for each excerpt that is in no list or in two, or has no class
    """
    with_classes = set(clips)
    split = {}
    for name, path in lists.items():
        table = read_table(path, ("shot", "name"), delimiter="\t", header=False)
        for row, clip in table["name"].str.removesuffix(".mp4").items():
            if clip in split:
                expected = f"expected each name once in {' and '.join(SPLIT15.values())}"
                faults(clip, FileFormatError(path, f"{expected}, found {clip!r} again", row=row))
            if clip not in with_classes:
                expected = f"expected an excerpt with classes, found {clip!r}"
                faults(clip, FileFormatError(path, expected, row=row))
            split[clip] = name
    for clip in clips[~clips.isin(split)]:
        expected = f"expected a row for {clip} here or in {SPLIT15['test']}, found none"
        faults(clip, FileFormatError(lists["train"], expected))
    return clips.map(split)


def _classes(path: Path, faults: Faults) -> pd.DataFrame:
    """Reads clip, valence and arousal of a table of classes."""
    columns = {"valenceClass": "valence", "arousalClass": "arousal"}
    table = named_table(path, tuple(columns), faults, delimiter="\t")
    for column in columns:
        for row in table.index[~table[column].isin(("-1", "0", "1"))]:
            expected = f"expected {column} -1, 0 or 1, found {table.at[row, column]!r}"
            faults(table.at[row, "name"], FileFormatError(path, expected, row=row))
    values = table[list(columns)].apply(pd.to_numeric, errors="coerce").rename(columns=columns)
    return values.assign(clip=table["name"]).reset_index(drop=True)
