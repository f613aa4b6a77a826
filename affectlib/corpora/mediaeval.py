"""MediaEval's tasks on LIRIS-ACCEDE: whole films annotated every second (2018, 2017), and affect classes (2015).

Every file is found by its name in whatever folder below the root, so the owners' archives may be
unpacked where they lie, or merged.
"""

import math
import warnings
from pathlib import Path

import pandas as pd

from affectlib.corpora.base import (
    ANNOTATION_COLUMNS,
    CLIP_COLUMNS,
    Corpus,
    CorpusFormatError,
    CorpusNotFoundError,
)
from affectlib.corpora.completeness import warn_if_partial
from affectlib.corpora.files import (
    Faults,
    corpus_files,
    files_below,
    film_seconds,
    find_file,
    find_film,
    is_simulated,
    numbers,
    read_table,
)
from affectlib.corpora.liris_accede import ASK, LICENSE, excerpt_corpus, named, source_films
from affectlib.corpora.liris_accede import CITATION as LIRIS

LABELS = ("valence", "arousal")
PARTS = {
    "DevSet-Part1": range(14),
    "DevSet-Part2": range(14, 44),
    "DevSet-Part3": range(44, 54),
    "TestSet": range(54, 66),
}
FEATURE_FOLDERS = ("audio_features", "visual_features")  # a million and a half files
PERIODS, SPANS = (
    {2017: 5.0, 2018: 1.0},
    {2017: 10.0, 2018: 1.0},
)  # seconds from row to row; that a row stands for
KNOWN_FAULTS = {  # of the real corpus: film to the series at fault
    "MEDIAEVAL18_06": ("audio",),  # lacks frame 5588
    "MEDIAEVAL18_18": ("fc6", "jcd"),  # incomplete
    "MEDIAEVAL18_27": ("cl",),  # an empty frame
    "MEDIAEVAL18_46": ("annotations",),  # about 100 rows for a whole film
}
COVERED = 0.5  # an annotation shorter than this share of its film is taken for a damaged one
FILES15 = {  # of MediaEval 2015: file to the archive that holds it
    "ACCEDEaffect.txt": "MEDIAEVAL-annotations.zip",
    "MEDIAEVALaffect.txt": "MEDIAEVAL-annotations.zip",
    "shots-devset-nl.txt": "MEDIAEVAL-mapping.zip",
    "shots-testset-nl.txt": "MEDIAEVAL-mapping.zip",
    "ACCEDEdescription.xml": "LIRIS-ACCEDE-data.zip",
    "MEDIAEVALdescription.xml": "MEDIAEVAL-data.zip",
}
SPLIT15 = {"train": "shots-devset-nl.txt", "test": "shots-testset-nl.txt"}
CITATION18 = (
    "E. Dellandréa, M. Huigsloot, L. Chen, Y. Baveye, Z. Xiao, M. Sjöberg, The MediaEval 2018 emotional impact of "
    "movies task, MediaEval, 2018; " + LIRIS
)
CITATION15 = (
    "M. Sjöberg, Y. Baveye, H. Wang, V. L. Quang, B. Ionescu, E. Dellandréa, M. Schedl, C.-H. Demarty, L. Chen, "
    "The MediaEval 2015 affective impact of movies task, MediaEval, 2015; " + LIRIS
)


def load_mediaeval18(root: str | Path, *, edition: int = 2018, on_error: str = "raise") -> Corpus:
    """Reads the continuous task: films with valence and arousal every second, official development and test films.

    Columns are found by their names. The four columns of 2017 (segment, time, MeanValence,
    MeanArousal), means over 10 s every 5 s, are read with ``edition=2017`` and refused without.
    Annotation and film are cut to the shorter.

    Args:
        root: folder below which the archives were unpacked:
            ``MEDIAEVAL18-<part>-Valence_Arousal-annotations``, and the films anywhere
        edition: 2018 or 2017
        on_error: ``"raise"``, or ``"skip"`` to drop a film at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per film, split ``train`` or ``test``, annotated in [-1, 1]

    Raises:
        CorpusNotFoundError: if ``root`` is not this corpus
        CorpusFormatError: if a film or an annotation is not as expected, or an annotation lacks its
            film's start or covers less than half of it; of film 46 the real corpus has no more
            than that, known by name and reported

    Warns:
        UserWarning: by how many seconds a film and its annotation differ, where that is more than one

    References:
        Dellandréa et al., 2018; shot_long, Dataset and Metrics
    """
    root, faults = Path(root), Faults(on_error)
    if edition not in PERIODS:
        raise ValueError(f"edition is 2018 or 2017, not {edition!r}")
    ending = "_Valence-Arousal.txt"
    files = corpus_files(
        root, [f"*{ending}"], name=f"MediaEval {edition}", ask=ASK, closed=FEATURE_FOLDERS
    )
    tables = [path for path in files if path.name.endswith(ending)]
    clips, annotations = [], []
    for path in _each_once(tables, root):
        clip = path.name.removesuffix(ending)
        try:
            course = _course(path, edition)
            split = _split(path, clip, root)
            film = find_film(files, clip, root=root)
            seconds = film_seconds(film)
            course = _covered(path, clip, course, seconds, edition)
        except CorpusFormatError as fault:
            faults(clip, fault)
            continue
        means = course["valence"].mean(), course["arousal"].mean()
        clips.append((clip, str(film), clip, split, seconds, *means))
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


def _each_once(paths: list[Path], root: Path) -> list[Path]:
    """Drops copies of equal content, orders the rest by name; two that differ are an error."""
    names = sorted({path.name for path in paths})
    return [find_file(paths, name, root=root) for name in names]


def _split(path: Path, clip: str, root: Path) -> str:
    """Official set of a film: by the archive its annotation lies in, else by its number.

    Raises:
        CorpusFormatError: if neither says it
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
    raise CorpusFormatError(path, f"{expected}, found {clip}")


def load_mediaeval15(root: str | Path, *, films: bool = True, on_error: str = "raise") -> Corpus:
    """Reads the classes of 2015: excerpts whose valence and arousal are -1, 0 or 1, official sets.

    The excerpts are the 9,800 of LIRIS-ACCEDE and 1,100 more. The sets of the task, 6,144 to
    develop and 4,756 to test, are those of ``shots-devset-nl.txt`` and ``shots-testset-nl.txt``;
    ``MEDIAEVALsets.txt``, which names the 1,100 alone, is not read.

    Args:
        root: folder below which the archives were unpacked
        films: False reads the annotations alone; ``path`` is then ``""`` and ``seconds`` nan
        on_error: ``"raise"``, or ``"skip"`` to drop an excerpt at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per excerpt, split ``train`` or ``test``, grouped by source film

    Raises:
        CorpusNotFoundError: if ``root`` is not this corpus, or lacks one of its archives: says which
        CorpusFormatError: if an annotation or an excerpt is not as expected

    References:
        Sjöberg et al., 2015; shot_long, Table 6
    """
    root, faults = Path(root), Faults(on_error)
    files = files_below(root)
    found = {name: find_file(files, name, root=root) for name in FILES15}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        archives = ", ".join(dict.fromkeys(FILES15[name] for name in missing))
        raise CorpusNotFoundError(
            f"MediaEval 2015 at {root}: looked in every folder for {', '.join(missing)}, "
            f"which are in {archives}. Ask for them at {ASK}"
        )
    tables = [found["ACCEDEaffect.txt"], found["MEDIAEVALaffect.txt"]]
    descriptions = [found["ACCEDEdescription.xml"], found["MEDIAEVALdescription.xml"]]
    clips = pd.concat([_classes(path, faults) for path in tables], ignore_index=True)
    clips = clips.drop_duplicates("clip")
    split = _shots({name: found[file] for name, file in SPLIT15.items()}, clips["clip"], faults)
    clips = clips.assign(split=split, group=source_films(clips["clip"], descriptions, faults))
    return excerpt_corpus(
        clips,
        root,
        files,
        faults,
        name="mediaeval15",
        citation=CITATION15,
        films=films,
        value_range=(-1, 1),
    )


def _shots(paths: dict[str, Path], clips: pd.Series, faults: Faults) -> pd.Series:
    """Reads the official set of each excerpt.

    Args:
        paths: set to its list, rows of a shot's id and an excerpt's name, without a header
        clips: the excerpts that have classes
        faults: called for each excerpt that stands in no list or in two, or has no class
    """
    known = set(clips)
    split = {}
    for name, path in paths.items():
        table = read_table(path, ("shot", "name"), delimiter="\t", header=False)
        for row, clip in table["name"].str.removesuffix(".mp4").items():
            if clip in split:
                expected = f"expected each name once in {' and '.join(SPLIT15.values())}"
                faults(clip, CorpusFormatError(path, f"{expected}, found {clip!r} again", row=row))
            if clip not in known:
                expected = f"expected an excerpt with classes, found {clip!r}"
                faults(clip, CorpusFormatError(path, expected, row=row))
            split[clip] = name
    for clip in clips[~clips.isin(split)]:
        expected = f"expected a row for {clip} here or in {SPLIT15['test']}, found none"
        faults(clip, CorpusFormatError(paths["train"], expected))
    return clips.map(split)


def _classes(path: Path, faults: Faults) -> pd.DataFrame:
    """Reads clip, valence and arousal of a table of classes."""
    columns = {f"{label}Class": label for label in LABELS}
    table = named(path, tuple(columns), faults, delimiter="\t")
    for column in columns:
        for row in table.index[~table[column].isin(("-1", "0", "1"))]:
            expected = f"expected {column} -1, 0 or 1, found {table.at[row, column]!r}"
            faults(table.at[row, "name"], CorpusFormatError(path, expected, row=row))
    values = table[list(columns)].apply(pd.to_numeric, errors="coerce").rename(columns=columns)
    return values.assign(clip=table["name"]).reset_index(drop=True)


def _course(path, edition):
    """One annotation file: time, valence and arousal, found by name."""

    def fault(row, expected):
        raise CorpusFormatError(path, expected, row=row)

    table = read_table(path, (), delimiter="\t")
    names = {
        kind: [column for column in table.columns if kind in column.lower()]
        for kind in ("time", *LABELS)
    }
    if [len(found) for found in names.values()] != [1, 1, 1]:
        fault(
            1,
            f"expected one column each of time, valence and arousal, found {', '.join(table.columns)}",
        )
    found = (
        2017
        if any("mean" in column.lower() or "segment" in column.lower() for column in table.columns)
        else 2018
    )
    if found != edition:
        fault(
            1,
            f"expected annotations of {edition}, found those of {found} ({', '.join(table.columns)}): "
            f"edition={found} reads them",
        )
    table = table[[column for (column,) in names.values()]].set_axis(list(names), axis=1)
    course = numbers(table, {"time": (0, math.inf), "valence": (-1, 1), "arousal": (-1, 1)}, fault)
    steps = course["time"].diff()[1:]
    for row in steps.index[(steps - PERIODS[edition]).abs() > 0.01][:1]:
        before = course.at[row, "time"] - steps[row]
        fault(
            row,
            f"expected time to increase by {PERIODS[edition]:g} s from row to row, found "
            f"{course.at[row, 'time']:g} s after {before:g} s",
        )
    return course


def _covered(path, clip, course, seconds, edition):
    """The rows within the film; says by how much the two differ."""
    first, last, span = course["time"].iloc[0], course["time"].iloc[-1], SPANS[edition]
    covered = (len(course) - 1) * PERIODS[edition] + span
    if "annotations" not in KNOWN_FAULTS.get(clip, ()):
        if first > span + 0.01:
            raise CorpusFormatError(
                path,
                f"expected rows from the film's start on, the first is at {first:g} s",
                row=course.index[0],
            )
        if covered < COVERED * seconds:
            raise CorpusFormatError(
                path,
                f"expected rows up to the film's end at {seconds:.0f} s, the last is at "
                f"{last:.0f} s",
                row=course.index[-1],
            )
    if abs(covered - seconds) > 1:
        warnings.warn(
            f"{clip}: annotated from {first:.0f} to {last + span:.0f} s, the film has {seconds:.0f} s; "
            f"cut to the shorter, {abs(covered - seconds):.0f} s lost",
            stacklevel=3,
        )
    return course[course["time"] < max(math.floor(seconds + 0.1), 1)].reset_index(drop=True)
