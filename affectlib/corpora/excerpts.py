"""Film excerpts as LIRIS-ACCEDE gives them, shared by its loaders and those of MediaEval.

An excerpt has a name (``ACCEDE00000``), one value of valence and of arousal, and a source film,
which an XML description names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from affectlib.corpora.base import CLIP_COLUMNS, Corpus, no_annotations
from affectlib.corpora.completeness import warn_if_partial
from affectlib.corpora.files import Faults, find_file, is_simulated, read_table, unique
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.media import film_seconds

LABELS = ("valence", "arousal")
LICENSE = "research use only, given by its owners on request; the films are under Creative Commons"
CITATION = (
    "Y. Baveye, E. Dellandréa, C. Chamaret, L. Chen, LIRIS-ACCEDE: a video database for affective "
    "content analysis, IEEE Transactions on Affective Computing, 2015"
)
ASK = "liris-accede.ec-lyon.fr"
UNKNOWN_FILMS_NOTE = "no film is known: each excerpt is a group of its own"


def named_table(
    path: Path,
    columns: Collection[str],
    faults: Faults,
    *,
    delimiter: str | None,
    header: bool = True,
) -> pd.DataFrame:
    """Reads a table of excerpts, in which each name must appear once.

    Args:
        path: the table
        columns: its columns beside ``name``; without a header, the columns after it, in order
        faults: called with the name and the fault of each row that is not as expected
        delimiter, header: see :func:`affectlib.corpora.files.read_table`

    Returns:
        the table, with clip names in place of file names

    Raises:
        FileFormatError: see :func:`affectlib.corpora.files.read_table`
    """

    def ragged(cells: dict[str, str], fault: FileFormatError) -> None:
        faults(clip_name(cells.get("name", "")), fault)

    table = read_table(path, ("name", *columns), delimiter=delimiter, header=header, ragged=ragged)
    table["name"] = table["name"].map(clip_name)
    for row in table.index[table["name"] == ""]:
        faults("", FileFormatError(path, "expected a name, found none", row=row))

    def fault(row: int, expected: str) -> None:
        faults(table.at[row, "name"], FileFormatError(path, expected, row=row))

    unique(table, "name", fault)
    return table


def clip_name(file: str) -> str:
    """Returns the name of an excerpt or a film without the ending of its file."""
    return file.strip().removesuffix(".mp4")


def source_films(clips: pd.Series, descriptions: list[Path], faults: Faults) -> pd.Series:
    """Finds the film that each excerpt was cut from.

    Args:
        clips: names of the excerpts
        descriptions: ``ACCEDEdescription.xml`` and similar files, at least one
        faults: called for each excerpt that none of them assigns to a film

    Raises:
        FileFormatError: if a description is not XML, has an encoding that cannot be read, or names
            an excerpt twice
    """
    films = {}
    for path in descriptions:
        films.update(_read_description(path))
    names = " or ".join(path.name for path in descriptions)
    for clip in clips:
        if not films.get(clip):
            expected = f"expected a media entry in {names} that names the movie of {clip}"
            faults(clip, FileFormatError(descriptions[0], f"{expected}, found none"))
    return clips.map(films)


def _read_description(path: Path) -> dict[str, str]:
    """Reads the source film of each excerpt from the ``<media>`` entries of an XML file."""
    try:
        entries = list(ElementTree.parse(path).iter("media"))
    except OSError as error:
        raise FileFormatError(path, f"expected a file to read: {error.strerror}") from None
    except ElementTree.ParseError as error:
        raise FileFormatError(path, f"expected XML: {error.msg}", row=error.position[0]) from None
    except (LookupError, ValueError) as error:
        # The file declares an encoding that there is not, or that the parser cannot read.
        raise FileFormatError(path, f"expected XML: {error}", row=1) from None
    films = {}
    for entry in entries:
        clip = clip_name(entry.findtext("name", ""))
        if clip in films:
            raise FileFormatError(path, f"expected each name once, found {clip!r} again")
        # An entry without a movie gives "", which source_films refuses.
        films[clip] = clip_name(entry.findtext("movie", ""))
    return _join_parts(films)


def _join_parts(films: dict[str, str]) -> dict[str, str]:
    """Gives numbered files of one film (``X_1_6``, ``X_2_6``) the name of the film (``X``).

    A name such as ``Route_1_66`` keeps its number if no other file shares the rest of it.
    """
    titles = {}
    # Files by title and number of parts: those of one film share both.
    parts = defaultdict(set)
    for file in set(films.values()):
        match = re.fullmatch(r"(.+)_(\d+)_(\d+)", file)
        if match and 1 <= int(match[2]) <= int(match[3]):
            titles[file] = match[1]
            parts[match[1], match[3]].add(file)
    joined = {}
    for files in parts.values():
        if len(files) > 1:
            for file in files:
                joined[file] = titles[file]
    return {clip: joined.get(file, file) for clip, file in films.items()}


def excerpt_corpus(
    clips: pd.DataFrame,
    root: Path,
    files: Iterable[Path],
    faults: Faults,
    *,
    name: str,
    citation: str,
    films: bool,
    value_range: tuple[float, float],
    groups: str = "film",
) -> Corpus:
    """Makes the corpus of some excerpts, after a look at the film of each.

    Args:
        clips: clip, group, split, valence, arousal; excerpts at fault are left out
        root: folder of the corpus
        files: paths from :func:`affectlib.corpora.files.files_below`
        faults: of the excerpts so far; called for each excerpt that is absent or damaged
        name, citation, value_range: of the corpus
        films: False leaves the paths empty and the seconds undefined
        groups: ``"excerpt"`` adds the note that the source films are not known

    Raises:
        NotFoundError: if none of the excerpts is there
    """
    clips = clips[~clips["clip"].isin(faults.by_clip)]
    faults.refuse_empty(clips)
    if films:
        places = _places(clips["clip"], root, files, faults)
        clips = clips[clips["clip"].isin(places)]
        found = [places[clip] for clip in clips["clip"]]
        clips = clips.assign(
            path=[str(path) for path, _ in found], seconds=[seconds for _, seconds in found]
        )
    else:
        clips = clips.assign(path="", seconds=float("nan"))
    faults.refuse_empty(clips)
    corpus = Corpus(
        name=name,
        clips=clips[[*CLIP_COLUMNS, *LABELS]].reset_index(drop=True),
        annotations=no_annotations(),
        labels=LABELS,
        value_range=value_range,
        hertz=None,
        license=LICENSE,
        citation=citation,
        simulated=is_simulated(root),
        skipped=faults.messages(),
        notes=(UNKNOWN_FILMS_NOTE,) if groups == "excerpt" else (),
    )
    # Level 4 is the line that called the loader, which called this function.
    warn_if_partial(corpus, stacklevel=4)
    return corpus


def _places(
    clips: pd.Series, root: Path, files: Iterable[Path], faults: Faults
) -> dict[str, tuple[Path, float]]:
    """Finds the file and the duration, in seconds, of each excerpt."""
    # Searching all files for each of 9,800 excerpts would take minutes.
    by_name = defaultdict(list)
    for path in files:
        if path.suffix == ".mp4":
            by_name[path.stem].append(path)
    # One error for a missing archive instead of 9,800 for its films.
    if not any(clip in by_name for clip in clips):
        raise NotFoundError(
            f"the excerpts at {root}: found no {clips.iloc[0]}.mp4 in any folder, nor any other; "
            f"they are in LIRIS-ACCEDE-data.zip. Ask for it at {ASK} "
            "(films=False reads the corpus without them)"
        )
    places = {}
    for clip in clips:
        try:
            path = find_file(by_name[clip], f"{clip}.mp4", root=root)
            if path is None:
                # film_seconds refuses this place by name.
                path = root / "data" / f"{clip}.mp4"
            places[clip] = (path, film_seconds(path))
        except FileFormatError as fault:
            faults(clip, fault)
    return places
