"""LIRIS-ACCEDE: 9,800 film excerpts with one value each, and the MediaEval 2016 task on them (EIMT16).

Every file is found by its name in whatever folder below the root, so the owners' archives may be
unpacked where they lie, or merged:

- ``LIRIS-ACCEDE-data.zip``: ``data/ACCEDE00000.mp4`` ... and ``ACCEDEdescription.xml`` beside them
- ``LIRIS-ACCEDE-annotations.zip``: ``ACCEDEranking.txt``, ``ACCEDEsets.txt``
- of EIMT16: ``MEDIAEVAL16_00000.mp4`` ... and ``MEDIAEVAL16-Global_prediction.txt``
"""

import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from xml.etree import ElementTree

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
    film_seconds,
    find_file,
    is_simulated,
    numbers,
    read_lines,
    read_table,
    unique,
)

LABELS = ("valence", "arousal")
VALUE_RANGE = (0.0, 5.0)  # nominally 1 to 5; attend_affect, Section IV-A, gives [0, 5]
SETS = {"0": "test", "1": "learning", "2": "validation"}
LICENSE = "research use only, given by its owners on request; the films are under Creative Commons"
CITATION = (
    "Y. Baveye, E. Dellandréa, C. Chamaret, L. Chen, LIRIS-ACCEDE: a video database for affective "
    "content analysis, IEEE Transactions on Affective Computing, 2015"
)
CITATION_EIMT16 = (
    "E. Dellandréa, L. Chen, Y. Baveye, M. Sjöberg, C. Chamaret, The MediaEval 2016 emotional "
    "impact of movies task, MediaEval, 2016; " + CITATION
)
ASK = "liris-accede.ec-lyon.fr"
EXCERPTS_AS_GROUPS = "no film is known: each excerpt is a group of its own"

RANKING = "ACCEDEranking.txt"
SETS_FILE = "ACCEDEsets.txt"
DESCRIPTION = "ACCEDEdescription.xml"
TEST_LABELS = "MEDIAEVAL16-Global_prediction.txt"
ARCHIVES = {
    RANKING: "LIRIS-ACCEDE-annotations.zip",
    SETS_FILE: "LIRIS-ACCEDE-annotations.zip",
    DESCRIPTION: "LIRIS-ACCEDE-data.zip",
}


def load_liris_discrete(
    root: str | Path, *, films: bool = True, groups: str = "film", on_error: str = "raise"
) -> Corpus:
    """Reads the excerpts of LIRIS-ACCEDE with their official sets learning, validation and test.

    Args:
        root: folder below which the archives were unpacked
        films: False reads the annotations alone, for work with the owners' features
            (:func:`affectlib.features.load_liris_features`). ``path`` is then ``""`` and
            ``seconds`` is nan: the excerpts are not looked for
        groups: ``"film"`` groups the excerpts by the film they were cut from, which
            ``ACCEDEdescription.xml`` names; several files of one film (``The_Dabbler_1_6.mp4``)
            are one group. ``"excerpt"``, only with ``films=False``, makes each excerpt a group of
            its own, and the corpus notes it: the official sets, which never split a film, are then
            the only honest split
        on_error: ``"raise"``, or ``"skip"`` to drop an excerpt at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per excerpt, values nominally in [1, 5]

    Raises:
        CorpusNotFoundError: if ``root`` is no LIRIS-ACCEDE, or holds none of the excerpts
        CorpusFormatError: if an annotation or an excerpt is absent or not as expected
        ValueError: if an argument is none of the above

    References:
        Baveye et al., 2015
    """
    root, faults = Path(root), Faults(on_error)
    check_groups(groups, films)
    files = corpus_files(root, [RANKING], name="LIRIS-ACCEDE", ask=ASK)
    clips = _excerpts(root, files, groups, faults)
    clips = clips.assign(split=_official_sets(root, files, clips["clip"], faults))
    return excerpt_corpus(
        clips,
        root,
        files,
        faults,
        name="liris_discrete",
        citation=CITATION,
        films=films,
        groups=groups,
    )


def load_eimt16(
    root: str | Path,
    *,
    test_annotations: str | Path | None = None,
    films: bool = True,
    groups: str = "film",
    on_error: str = "raise",
) -> Corpus:
    """Reads the global task of MediaEval 2016: LIRIS-ACCEDE to train on, ``MEDIAEVAL16_*`` to test on.

    The source film of a test excerpt is not published: each is a group of its own.

    Args:
        root: folder below which the archives were unpacked
        test_annotations: the labels of the test excerpts, where they lie elsewhere than below
            ``root``: in the official form (no header, rows ``MEDIAEVAL16_00000.mp4``, valence,
            arousal), or with a header that names ``name``, ``valence`` and ``arousal``. Tab,
            semicolon, comma and blanks separate. None looks for
            ``MEDIAEVAL16-Global_prediction.txt`` below ``root``
        films, groups, on_error: as for :func:`load_liris_discrete`

    Returns:
        Corpus with one clip per excerpt, split ``train`` or ``test``, values nominally in [1, 5]

    Raises:
        CorpusNotFoundError: if ``root`` is no EIMT16, or holds none of the excerpts
        CorpusFormatError: if an annotation or an excerpt is absent or not as expected
        ValueError: if an argument is none of the above

    References:
        Dellandréa et al., 2016; attend_affect, Section IV-A
    """
    root, faults = Path(root), Faults(on_error)
    check_groups(groups, films)
    wanted = [RANKING] if test_annotations else [RANKING, TEST_LABELS]
    files = corpus_files(root, wanted, name="EIMT16", ask=ASK)
    labels = Path(test_annotations or find_file(files, TEST_LABELS, root=root))
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
        groups=groups,
    )


def check_groups(groups: str, films: bool) -> None:
    """Raises ValueError where ``groups`` is unknown, or ``"excerpt"`` although films are there."""
    if groups not in ("film", "excerpt"):
        raise ValueError(f"groups is 'film' or 'excerpt', not {groups!r}")
    if groups == "excerpt" and films:
        raise ValueError(
            f"groups='excerpt' is for films=False: {DESCRIPTION} comes with the films and names their groups"
        )


def _archive_file(files: list[Path], name: str, root: Path) -> Path:
    """Finds a file of one of the owners' archives.

    Raises:
        CorpusFormatError: if it is absent, with the archive to ask for
    """
    path = find_file(files, name, root=root)
    if path is not None:
        return path
    expected = f"expected this file of {ARCHIVES[name]}, found none in any folder (ask at {ASK})"
    if name == DESCRIPTION:
        expected += "; films=False, groups='excerpt' does without"
    raise CorpusFormatError(root / name, expected)


def _excerpts(root: Path, files: list[Path], groups: str, faults: Faults) -> pd.DataFrame:
    """Reads the discrete excerpts: clip, valence, arousal, group."""
    path = _archive_file(files, RANKING, root)
    columns = {"valenceValue": "valence", "arousalValue": "arousal"}
    table = named(path, tuple(columns), faults, delimiter="\t")
    clips = _values(path, table, columns, faults)
    if groups == "excerpt":
        return clips.assign(group=clips["clip"])
    description = _archive_file(files, DESCRIPTION, root)
    return clips.assign(group=source_films(clips["clip"], [description], faults))


def _official_sets(root: Path, files: list[Path], clips: pd.Series, faults: Faults) -> pd.Series:
    """Reads the official set of each excerpt."""
    path = _archive_file(files, SETS_FILE, root)
    table = named(path, ("set",), faults, delimiter="\t")
    for row in table.index[~table["set"].isin(SETS)]:
        expected = f"expected set 0, 1 or 2, found {table.at[row, 'set']!r}"
        faults(table.at[row, "name"], CorpusFormatError(path, expected, row=row))
    sets = table.drop_duplicates("name").set_index("name")["set"]
    for clip in clips[~clips.isin(sets.index)]:
        faults(clip, CorpusFormatError(path, f"expected a row for {clip}, found none"))
    return clips.map(sets).map(SETS)


def _test_excerpts(path: Path, faults: Faults) -> pd.DataFrame:
    """Reads the test excerpts of EIMT16: clip, valence, arousal, group."""
    lines = read_lines(path)
    cells = re.split(r"[\t;, ]+", next((line for line in lines if line.strip()), ""))
    has_header = "name" in [cell.strip() for cell in cells]
    table = named(path, LABELS, faults, delimiter="sniff", header=has_header)
    clips = _values(path, table, dict(zip(LABELS, LABELS, strict=True)), faults)
    return clips.assign(group=clips["clip"])


def source_films(clips: pd.Series, descriptions: Collection[Path], faults: Faults) -> pd.Series:
    """Finds the film each excerpt was cut from.

    Args:
        clips: names of the excerpts
        descriptions: ``ACCEDEdescription.xml`` and the like
        faults: called for each excerpt that none of them assigns to a film
    """
    films = {}
    for path in descriptions:
        films |= movies(path)
    names = " or ".join(path.name for path in descriptions)
    for clip in clips[[not films.get(clip) for clip in clips]]:
        expected = f"expected a media entry in {names} that names the movie of {clip}, found none"
        faults(clip, CorpusFormatError(next(iter(descriptions)), expected))
    return clips.map(films)


def movies(path: Path) -> dict[str, str]:
    """Reads which film each excerpt was cut from.

    Where the files of one film are numbered (``The_Dabbler_1_6.mp4`` to ``The_Dabbler_6_6.mp4``),
    they count as one film.

    Args:
        path: a description, ``<media>`` entries in XML

    Raises:
        CorpusFormatError: if the file is no XML, or names an excerpt twice
    """
    try:
        media = list(ElementTree.parse(path).iter("media"))
    except OSError as error:
        raise CorpusFormatError(path, f"expected a file to read: {error.strerror}") from None
    except ElementTree.ParseError as error:
        raise CorpusFormatError(path, f"expected XML: {error.msg}", row=error.position[0]) from None
    films = {}
    for entry in media:
        clip = _clip(entry.findtext("name", ""))
        if clip in films:
            raise CorpusFormatError(path, f"expected each name once, found {clip!r} again")
        films[clip] = _clip(entry.findtext("movie", ""))
    return _without_parts(films)


def _without_parts(films: dict[str, str]) -> dict[str, str]:
    """Gives numbered files of one film (``X_1_6``, ``X_2_6``) the name of the film (``X``)."""
    parts = defaultdict(set)
    titles = {}
    for file in set(films.values()):
        match = re.fullmatch(r"(.+)_(\d+)_(\d+)", file)
        if match and 1 <= int(match[2]) <= int(match[3]):
            titles[file] = match[1]
            parts[match[1], match[3]].add(file)
    numbered = {file for files in parts.values() if len(files) > 1 for file in files}
    return {clip: titles[file] if file in numbered else file for clip, file in films.items()}


def _values(
    path: Path, table: pd.DataFrame, columns: dict[str, str], faults: Faults
) -> pd.DataFrame:
    """Turns two columns of a table into clip, valence and arousal."""

    def fault(row: int, expected: str) -> None:
        faults(table.at[row, "name"], CorpusFormatError(path, expected, row=row))

    values = numbers(table, dict.fromkeys(columns, VALUE_RANGE), fault).rename(columns=columns)
    values = values.assign(clip=table["name"])
    return values.drop_duplicates("clip").reset_index(drop=True)


def named(
    path: Path,
    columns: Collection[str],
    faults: Faults,
    *,
    delimiter: str | None,
    header: bool = True,
) -> pd.DataFrame:
    """Reads a table of excerpts, each of which must stand there once.

    Args:
        path: the table
        columns: its columns beside ``name``; without a header those after it, in order
        faults: called with the name and the fault of each row that is not as expected
        delimiter, header: see :func:`affectlib.corpora.files.read_table`

    Returns:
        the table, with clip names in place of file names
    """

    def ragged(cells: dict, fault: CorpusFormatError) -> None:
        faults(_clip(cells.get("name", "")), fault)

    wanted = ("name", *columns)
    table = read_table(path, wanted, delimiter=delimiter, header=header, ragged=ragged)
    table["name"] = table["name"].map(_clip)
    for row in table.index[table["name"] == ""]:
        faults("", CorpusFormatError(path, "expected a name, found none", row=row))

    def fault(row: int, expected: str) -> None:
        faults(table.at[row, "name"], CorpusFormatError(path, expected, row=row))

    unique(table, "name", fault)
    return table


def _clip(name: str) -> str:
    """Name of an excerpt or a film without the ending of its file."""
    return name.strip().removesuffix(".mp4")


def excerpt_corpus(
    clips: pd.DataFrame,
    root: Path,
    files: list[Path],
    faults: Faults,
    *,
    name: str,
    citation: str,
    films: bool,
    groups: str = "film",
    value_range: tuple[float, float] = VALUE_RANGE,
) -> Corpus:
    """Makes the corpus of some excerpts, having looked at the film of each.

    Args:
        clips: clip, group, split, valence, arousal; those at fault are left out
        root: of the corpus
        files: what :func:`affectlib.corpora.files.files_below` listed
        faults: of the clips so far; called for each excerpt that is absent or no film
        name, citation, value_range: of the corpus
        films: False leaves the paths empty and the seconds undefined
        groups: ``"excerpt"`` notes that the films are not known
    """
    clips = clips[~clips["clip"].isin(faults.found)]
    faults.refuse_empty(clips)
    if films:
        places = _places(clips["clip"], root, files, faults)
        clips = clips[clips["clip"].isin(places)]
        paths = [str(places[clip][0]) for clip in clips["clip"]]
        seconds = [places[clip][1] for clip in clips["clip"]]
        clips = clips.assign(path=paths, seconds=seconds)
    else:
        clips = clips.assign(path="", seconds=float("nan"))
    faults.refuse_empty(clips)
    corpus = Corpus(
        name=name,
        clips=clips[[*CLIP_COLUMNS, *LABELS]].reset_index(drop=True),
        annotations=_no_annotations(),
        labels=LABELS,
        value_range=value_range,
        hertz=None,
        license=LICENSE,
        citation=citation,
        simulated=is_simulated(root),
        skipped=faults.messages(),
        notes=(EXCERPTS_AS_GROUPS,) if groups == "excerpt" else (),
    )
    warn_if_partial(corpus, stacklevel=4)
    return corpus


def _places(
    clips: pd.Series, root: Path, files: list[Path], faults: Faults
) -> dict[str, tuple[Path, float]]:
    """Finds the file and the seconds of each excerpt."""
    by_name = defaultdict(list)
    for path in files:
        if path.suffix == ".mp4":
            by_name[path.stem].append(path)
    if not any(clip in by_name for clip in clips):
        raise CorpusNotFoundError(
            f"the excerpts at {root}: found no {clips.iloc[0]}.mp4 in any folder, nor any other; they "
            f"are in LIRIS-ACCEDE-data.zip. Ask for it at {ASK} (films=False does without)"
        )
    places = {}
    for clip in clips:
        try:
            path = find_file(by_name[clip], f"{clip}.mp4", root=root)
            path = path or root / "data" / f"{clip}.mp4"
            places[clip] = path, film_seconds(path)
        except CorpusFormatError as fault:
            faults(clip, fault)
    return places


def _no_annotations() -> pd.DataFrame:
    """A table of annotations over time without a row: an excerpt has one value."""
    types = {column: float for column in ANNOTATION_COLUMNS} | {"clip": str}
    return pd.DataFrame({column: pd.Series(dtype=kind) for column, kind in types.items()})
