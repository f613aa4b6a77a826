"""MediaEval's tasks on LIRIS-ACCEDE: whole films annotated every second (2018, 2017), and affect classes (2015)."""

import math
import warnings
from pathlib import Path

import pandas as pd

from affectlib.corpora.base import ANNOTATION_COLUMNS, CLIP_COLUMNS, Corpus, CorpusFormatError
from affectlib.corpora.files import Faults, film_seconds, is_simulated, numbers, read_table, require
from affectlib.corpora.liris_accede import CITATION as LIRIS
from affectlib.corpora.liris_accede import LICENSE, corpus_of, movies, named

LABELS = ("valence", "arousal")
PARTS = {"DevSet-Part1": range(14), "DevSet-Part2": range(14, 44), "DevSet-Part3": range(44, 54),
         "TestSet": range(54, 66)}
ANNOTATIONS = "MEDIAEVAL*-Valence_Arousal-annotations/annotations"
PERIODS, SPANS = {2017: 5.0, 2018: 1.0}, {2017: 10.0, 2018: 1.0}  # seconds from row to row; that a row stands for
KNOWN_FAULTS = {  # of the real corpus: film to the series at fault
    "MEDIAEVAL18_06": ("audio",),  # lacks frame 5588
    "MEDIAEVAL18_18": ("fc6", "jcd"),  # incomplete
    "MEDIAEVAL18_27": ("cl",),  # an empty frame
    "MEDIAEVAL18_46": ("annotations",),  # about 100 rows for a whole film
}
COVERED = 0.5  # an annotation shorter than this share of its film is taken for a damaged one
SETS15 = {"1": "train", "0": "test"}
CITATION18 = (
    "E. Dellandréa, M. Huigsloot, L. Chen, Y. Baveye, Z. Xiao, M. Sjöberg, The MediaEval 2018 emotional impact of "
    "movies task, MediaEval, 2018; " + LIRIS
)
CITATION15 = (
    "M. Sjöberg, Y. Baveye, H. Wang, V. L. Quang, B. Ionescu, E. Dellandréa, M. Schedl, C.-H. Demarty, L. Chen, "
    "The MediaEval 2015 affective impact of movies task, MediaEval, 2015; " + LIRIS
)
_ASK = "liris-accede.ec-lyon.fr"


def load_mediaeval18(root, *, edition=2018, on_error="raise"):
    """Reads the continuous task: films with valence and arousal every second, official development and test films.

    Columns are found by their names. The four columns of 2017 (segment, time, MeanValence, MeanArousal), means over
    10 s every 5 s, are read with ``edition=2017`` and refused without. Annotation and film are cut to the shorter.

    Args:
        root: folder that holds ``MEDIAEVAL18-<part>-Valence_Arousal-annotations`` and the films in ``<any>/data``
        edition: 2018 or 2017
        on_error: ``"raise"``, or ``"skip"`` to drop a film at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per film, split ``train`` or ``test``, annotated in [-1, 1]

    Raises:
        CorpusNotFoundError: if ``root`` is not this corpus
        CorpusFormatError: if a film or an annotation is not as expected, or an annotation lacks its film's start or
            covers less than half of it; of film 46 the real corpus has no more than that, known by name and reported

    Warns:
        UserWarning: by how many seconds a film and its annotation differ, where that is more than one

    References:
        Dellandréa et al., 2018; shot_long, Dataset and Metrics
    """
    root, faults = Path(root), Faults(on_error)
    if edition not in PERIODS:
        raise ValueError(f"edition is 2018 or 2017, not {edition!r}")
    require(root, [f"{ANNOTATIONS}/*_Valence-Arousal.txt"], name=f"MediaEval {edition}", ask=_ASK)
    clips, annotations = [], []
    for path in sorted(root.glob(f"{ANNOTATIONS}/*_Valence-Arousal.txt"), key=lambda path: path.name):
        clip = path.name.removesuffix("_Valence-Arousal.txt")
        try:
            course = _course(path, edition)
            film = next(iter([*root.glob(f"*/data/{clip}.mp4"), root / f"data/{clip}.mp4"]))
            seconds = film_seconds(film)
            course = _covered(path, clip, course, seconds, edition)
        except CorpusFormatError as fault:
            faults(clip, fault)
            continue
        split = "test" if "-TestSet-" in path.parent.parent.name else "train"
        clips.append((clip, str(film), clip, split, seconds, course["valence"].mean(), course["arousal"].mean()))
        annotations.append(course.assign(clip=clip))
    faults.refuse_empty(clips)
    return Corpus(
        name=f"mediaeval{edition % 100}", clips=pd.DataFrame(clips, columns=[*CLIP_COLUMNS, *LABELS]),
        annotations=pd.concat(annotations, ignore_index=True)[list(ANNOTATION_COLUMNS)], labels=LABELS,
        value_range=(-1.0, 1.0), hertz=1 / PERIODS[edition], license=LICENSE, citation=CITATION18,
        simulated=is_simulated(root), skipped=faults.messages(),
    )


def load_mediaeval15(root, *, on_error="raise"):
    """Reads the classes of 2015: excerpts whose valence and arousal are -1, 0 or 1, official sets.

    Of excerpts that no ``*description.xml`` assigns to a film, each is a group of its own.

    Args:
        root: folder that holds ``data`` and ``annotations``; in ``MEDIAEVALsets.txt`` set 1 is development, 0 test
        on_error: ``"raise"``, or ``"skip"`` to drop an excerpt at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per excerpt, split ``train`` or ``test``

    Raises:
        CorpusNotFoundError: if ``root`` is not this corpus
        CorpusFormatError: if an annotation or an excerpt is not as expected

    References:
        Sjöberg et al., 2015; shot_long, Table 6
    """
    root, faults = Path(root), Faults(on_error)
    tables = [root / "annotations" / name for name in ("ACCEDEaffect.txt", "MEDIAEVALaffect.txt")]
    sets_path = root / "annotations" / "MEDIAEVALsets.txt"
    require(root, [f"annotations/{path.name}" for path in (*tables, sets_path)], name="MediaEval 2015", ask=_ASK)
    clips = pd.concat([_classes(path, faults) for path in tables], ignore_index=True)
    sets = named(sets_path, ("set",), faults, delimiter="\t")
    for row in sets.index[~sets["set"].isin(SETS15)]:
        fault = CorpusFormatError(sets_path, f"expected set 1 or 0, found {sets.at[row, 'set']!r}", row=row)
        faults(sets.at[row, "name"], fault)
    split = clips["clip"].map(sets.drop_duplicates("name").set_index("name")["set"].map(SETS15))
    for clip in clips.loc[split.isna(), "clip"]:
        faults(clip, CorpusFormatError(sets_path, f"expected a row for {clip}, found none"))
    films = {}
    for path in sorted((root / "annotations").glob("*description.xml")):
        films |= movies(path)
    clips = clips.assign(split=split, group=[films.get(clip) or clip for clip in clips["clip"]])
    return corpus_of("mediaeval15", clips.drop_duplicates("clip"), CITATION15, root, faults, value_range=(-1, 1))


def _classes(path, faults):
    """Clip, valence and arousal of a table of classes."""
    columns = {f"{label}Class": label for label in LABELS}
    table = named(path, tuple(columns), faults, delimiter="\t")
    for column in columns:
        for row in table.index[~table[column].isin(("-1", "0", "1"))]:
            found = f"expected {column} -1, 0 or 1, found {table.at[row, column]!r}"
            faults(table.at[row, "name"], CorpusFormatError(path, found, row=row))
    values = table[list(columns)].apply(pd.to_numeric, errors="coerce").rename(columns=columns)
    return values.assign(clip=table["name"]).reset_index(drop=True)


def _course(path, edition):
    """One annotation file: time, valence and arousal, found by name."""
    def fault(row, expected):
        raise CorpusFormatError(path, expected, row=row)

    table = read_table(path, (), delimiter="\t")
    names = {kind: [column for column in table.columns if kind in column.lower()] for kind in ("time", *LABELS)}
    if [len(found) for found in names.values()] != [1, 1, 1]:
        fault(1, f"expected one column each of time, valence and arousal, found {', '.join(table.columns)}")
    found = 2017 if any("mean" in column.lower() or "segment" in column.lower() for column in table.columns) else 2018
    if found != edition:
        fault(1, f"expected annotations of {edition}, found those of {found} ({', '.join(table.columns)}): "
                 f"edition={found} reads them")
    table = table[[column for column, in names.values()]].set_axis(list(names), axis=1)
    course = numbers(table, {"time": (0, math.inf), "valence": (-1, 1), "arousal": (-1, 1)}, fault)
    steps = course["time"].diff()[1:]
    for row in steps.index[(steps - PERIODS[edition]).abs() > 0.01][:1]:
        before = course.at[row, "time"] - steps[row]
        fault(row, f"expected time to increase by {PERIODS[edition]:g} s from row to row, found "
                   f"{course.at[row, 'time']:g} s after {before:g} s")
    return course


def _covered(path, clip, course, seconds, edition):
    """The rows within the film; says by how much the two differ."""
    first, last, span = course["time"].iloc[0], course["time"].iloc[-1], SPANS[edition]
    covered = (len(course) - 1) * PERIODS[edition] + span
    if "annotations" not in KNOWN_FAULTS.get(clip, ()):
        if first > span + 0.01:
            raise CorpusFormatError(path, f"expected rows from the film's start on, the first is at {first:g} s",
                                    row=course.index[0])
        if covered < COVERED * seconds:
            raise CorpusFormatError(path, f"expected rows up to the film's end at {seconds:.0f} s, the last is at "
                                          f"{last:.0f} s", row=course.index[-1])
    if abs(covered - seconds) > 1:
        warnings.warn(f"{clip}: annotated from {first:.0f} to {last + span:.0f} s, the film has {seconds:.0f} s; "
                      f"cut to the shorter, {abs(covered - seconds):.0f} s lost", stacklevel=3)
    return course[course["time"] < max(math.floor(seconds + 0.1), 1)].reset_index(drop=True)
