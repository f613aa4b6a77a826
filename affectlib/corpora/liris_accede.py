"""LIRIS-ACCEDE: 9,800 film excerpts with one value each, and the MediaEval 2016 task (EIMT16).

Every file is found by its name in whatever folder below the root. So the owners' archives may be
unpacked each by itself, or all into one folder:

- ``LIRIS-ACCEDE-data.zip``: ``data/ACCEDE00000.mp4`` ... and ``ACCEDEdescription.xml`` beside them
- ``LIRIS-ACCEDE-annotations.zip``: ``ACCEDEranking.txt``, ``ACCEDEsets.txt``
- of EIMT16: ``MEDIAEVAL16_00000.mp4`` ... and ``MEDIAEVAL16-Global_prediction.txt``
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from affectlib.corpora.base import Corpus
from affectlib.corpora.excerpts import (
    ASK,
    CITATION,
    LABELS,
    excerpt_corpus,
    named_table,
    source_films,
)
from affectlib.corpora.files import Faults, corpus_files, find_file, numbers, read_lines
from affectlib.errors import FileFormatError

# Nominally 1 to 5. attend_affect, Section IV-A, gives [0, 5].
VALUE_RANGE = (0.0, 5.0)
# The official sets, by the numbers in the file.
SET_NAMES = {"0": "test", "1": "learning", "2": "validation"}
CITATION_EIMT16 = (
    "E. Dellandréa, L. Chen, Y. Baveye, M. Sjöberg, C. Chamaret, The MediaEval 2016 emotional "
    "impact of movies task, MediaEval, 2016; " + CITATION
)

RANKING_FILE = "ACCEDEranking.txt"
SETS_FILE = "ACCEDEsets.txt"
DESCRIPTION_FILE = "ACCEDEdescription.xml"
TEST_FILE = "MEDIAEVAL16-Global_prediction.txt"
# The archive that holds each file.
ARCHIVES = {
    RANKING_FILE: "LIRIS-ACCEDE-annotations.zip",
    SETS_FILE: "LIRIS-ACCEDE-annotations.zip",
    DESCRIPTION_FILE: "LIRIS-ACCEDE-data.zip",
}


def load_liris_discrete(
    root: Path | str, *, films: bool = True, groups: str = "film", on_error: str = "raise"
) -> Corpus:
    """Reads the excerpts of LIRIS-ACCEDE with their official sets learning, validation and test.

    Args:
        root: folder below which the archives were unpacked
        films: False reads the annotations alone, for work with the owners' features
            (:func:`affectlib.features.load_liris_features`). ``path`` is then ``""`` and
            ``seconds`` is nan: nothing looks for the excerpts
        groups: ``"film"`` groups the excerpts by their source film, which
            ``ACCEDEdescription.xml`` names; several files of one film (``The_Dabbler_1_6.mp4``)
            are one group. ``"excerpt"``, only with ``films=False``, makes each excerpt a group of
            its own, and the corpus notes it. Only the official sets, which never split a film, are
            then an honest split
        on_error: ``"raise"``, or ``"skip"`` to drop an excerpt at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per excerpt, values nominally in [1, 5]

    Raises:
        NotFoundError: if ``root`` is no LIRIS-ACCEDE, or holds none of the excerpts
        FileFormatError: if an annotation or an excerpt is absent or not as expected
        ValueError: if an argument is none of the above

    Warns:
        UserWarning: if a real corpus does not hold the published number of excerpts

    References:
        Baveye et al., 2015
    """
    root = Path(root)
    faults = Faults(on_error)
    _check_groups(groups, films)
    files = corpus_files(root, [RANKING_FILE], name="LIRIS-ACCEDE", ask=ASK)
    clips = _excerpts(root, files, groups, faults)
    clips["split"] = _official_sets(root, files, clips["clip"], faults)
    return excerpt_corpus(
        clips,
        root,
        files,
        faults,
        name="liris_discrete",
        citation=CITATION,
        films=films,
        value_range=VALUE_RANGE,
        groups=groups,
    )


def load_eimt16(
    root: Path | str,
    *,
    test_annotations: Path | str | None = None,
    films: bool = True,
    groups: str = "film",
    on_error: str = "raise",
) -> Corpus:
    """Reads the global task of MediaEval 2016.

    LIRIS-ACCEDE is for training, the excerpts ``MEDIAEVAL16_*`` are for testing. The source film of
    a test excerpt is not published, so each is a group of its own.

    Args:
        root: folder below which the archives were unpacked
        test_annotations: the labels of the test excerpts, if they are not below ``root``. Either
            the official form (no header, rows ``MEDIAEVAL16_00000.mp4``, valence, arousal), or with
            a header that names ``name``, ``valence`` and ``arousal``. Tab, semicolon, comma and
            blanks separate. None looks for ``MEDIAEVAL16-Global_prediction.txt`` below ``root``
        films, groups, on_error: as for :func:`load_liris_discrete`

    Returns:
        Corpus with one clip per excerpt, split ``train`` or ``test``, values nominally in [1, 5]

    Raises:
        NotFoundError: if ``root`` is no EIMT16, or holds none of the excerpts
        FileFormatError: if an annotation or an excerpt is absent or not as expected
        ValueError: if an argument is none of the above

    Warns:
        UserWarning: if a real corpus does not hold the published number of excerpts

    References:
        Dellandréa et al., 2016; attend_affect, Section IV-A
    """
    root = Path(root)
    faults = Faults(on_error)
    _check_groups(groups, films)
    wanted = [RANKING_FILE] if test_annotations else [RANKING_FILE, TEST_FILE]
    files = corpus_files(root, wanted, name="EIMT16", ask=ASK)
    labels = Path(test_annotations or find_file(files, TEST_FILE, root=root))
    train = _excerpts(root, files, groups, faults).assign(split="train")
    test = _test_excerpts(labels, faults).assign(split="test")
    clips = pd.concat([train, test], ignore_index=True)
    return excerpt_corpus(
        clips,
        root,
        files,
        faults,
        name="eimt16",
        citation=CITATION_EIMT16,
        films=films,
        value_range=VALUE_RANGE,
        groups=groups,
    )


def _check_groups(groups: str, films: bool) -> None:
    """Refuses an unknown value of ``groups``, and ``"excerpt"`` together with films."""
    if groups not in ("film", "excerpt"):
        raise ValueError(f"groups is 'film' or 'excerpt', not {groups!r}")
    if groups == "excerpt" and films:
        raise ValueError(
            f"groups='excerpt' is for films=False: {DESCRIPTION_FILE} comes with the films and "
            "names their groups"
        )


def _archive_file(files: list[Path], name: str, root: Path) -> Path:
    """Finds a file of one of the owners' archives; the error names the archive to ask for."""
    path = find_file(files, name, root=root)
    if path is not None:
        return path
    expected = f"expected this file of {ARCHIVES[name]}, found none in any folder (ask at {ASK})"
    if name == DESCRIPTION_FILE:
        expected += "; films=False, groups='excerpt' reads the corpus without it"
    raise FileFormatError(root / name, expected)


def _excerpts(root: Path, files: list[Path], groups: str, faults: Faults) -> pd.DataFrame:
    """Reads the discrete excerpts: clip, valence, arousal, group."""
    path = _archive_file(files, RANKING_FILE, root)
    columns = {"valenceValue": "valence", "arousalValue": "arousal"}
    table = named_table(path, tuple(columns), faults, delimiter="\t")
    clips = _values(path, table, columns, faults)
    if groups == "excerpt":
        return clips.assign(group=clips["clip"])
    description = _archive_file(files, DESCRIPTION_FILE, root)
    return clips.assign(group=source_films(clips["clip"], [description], faults))


def _official_sets(root: Path, files: list[Path], clips: pd.Series, faults: Faults) -> pd.Series:
    """Reads the official set of each excerpt."""
    path = _archive_file(files, SETS_FILE, root)
    table = named_table(path, ("set",), faults, delimiter="\t")
    for row in table.index[~table["set"].isin(SET_NAMES)]:
        expected = f"expected set 0, 1 or 2, found {table.at[row, 'set']!r}"
        faults(table.at[row, "name"], FileFormatError(path, expected, row=row))
    sets = table.drop_duplicates("name").set_index("name")["set"]
    for clip in clips[~clips.isin(sets.index)]:
        faults(clip, FileFormatError(path, f"expected a row for {clip}, found none"))
    return clips.map(sets).map(SET_NAMES)


def _test_excerpts(path: Path, faults: Faults) -> pd.DataFrame:
    """Reads the test excerpts of EIMT16: clip, valence, arousal, group."""
    filled = [line for line in read_lines(path) if line.strip()]
    first_cells = re.split(r"[\t;, ]+", filled[0]) if filled else []
    has_header = "name" in [cell.strip() for cell in first_cells]
    table = named_table(path, LABELS, faults, delimiter="sniff", header=has_header)
    clips = _values(path, table, {label: label for label in LABELS}, faults)
    return clips.assign(group=clips["clip"])


def _values(
    path: Path, table: pd.DataFrame, columns: dict[str, str], faults: Faults
) -> pd.DataFrame:
    """Turns two columns of a table into clip, valence and arousal.

    Args:
        path: the file of the table, named in errors
        table: with the column name
        columns: name of each column in the table to its name in the result
        faults: called for each value that is not a number in the range
    """

    def fault(row: int, expected: str) -> None:
        faults(table.at[row, "name"], FileFormatError(path, expected, row=row))

    values = numbers(table, dict.fromkeys(columns, VALUE_RANGE), fault)
    values = values.rename(columns=columns).assign(clip=table["name"])
    return values.drop_duplicates("clip").reset_index(drop=True)
