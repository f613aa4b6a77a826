"""LIRIS-ACCEDE: 9,800 film excerpts with one value each, and the MediaEval 2016 task built on them (EIMT16)."""

from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from affectlib.corpora.base import ANNOTATION_COLUMNS, CLIP_COLUMNS, Corpus, CorpusFormatError
from affectlib.corpora.files import Faults, film_seconds, is_simulated, numbers, read_table, require, unique

LABELS = ("valence", "arousal")
VALUE_RANGE = (0.0, 5.0)  # nominally 1 to 5; attend_affect, Section IV-A, gives [0, 5]
SETS = {"0": "test", "1": "learning", "2": "validation"}
LICENSE = "research use only, given by its owners on request; the films are under Creative Commons"
CITATION = (
    "Y. Baveye, E. Dellandréa, C. Chamaret, L. Chen, LIRIS-ACCEDE: a video database for affective content analysis, "
    "IEEE Transactions on Affective Computing, 2015"
)
CITATION_EIMT16 = (
    "E. Dellandréa, L. Chen, Y. Baveye, M. Sjöberg, C. Chamaret, The MediaEval 2016 emotional impact of movies task, "
    "MediaEval, 2016; " + CITATION
)
_ASK = "liris-accede.ec-lyon.fr"
_RANKING, _TEST = "annotations/ACCEDEranking.txt", "annotations/MEDIAEVAL16ranking.txt"
_SETS, _DESCRIPTION = "annotations/ACCEDEsets.txt", "annotations/ACCEDEdescription.xml"


def load_liris_discrete(root, *, on_error="raise"):
    """Reads the excerpts of LIRIS-ACCEDE with their official sets learning, validation and test.

    Args:
        root: folder that holds ``data`` and ``annotations``
        on_error: ``"raise"``, or ``"skip"`` to drop an excerpt at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per excerpt, the source film as its group, values nominally in [1, 5]

    Raises:
        CorpusNotFoundError: if ``root`` is no LIRIS-ACCEDE
        CorpusFormatError: if an annotation or an excerpt is not as expected

    References:
        Baveye et al., 2015
    """
    root, faults = Path(root), Faults(on_error)
    require(root, [_RANKING], name="LIRIS-ACCEDE", ask=_ASK)
    clips = _excerpts(root, faults)
    path = root / _SETS
    sets = named(path, ("set",), faults, delimiter="\t")
    for row in sets.index[~sets["set"].isin(SETS)]:
        fault = CorpusFormatError(path, f"expected set 0, 1 or 2, found {sets.at[row, 'set']!r}", row=row)
        faults(sets.at[row, "name"], fault)
    sets = sets.drop_duplicates("name").set_index("name")["set"]
    for clip in clips.loc[~clips["clip"].isin(sets.index), "clip"]:
        faults(clip, CorpusFormatError(path, f"expected a row for {clip}, found none"))
    return corpus_of("liris_discrete", clips.assign(split=clips["clip"].map(sets).map(SETS)), CITATION, root, faults)


def load_eimt16(root, *, test_annotations=None, on_error="raise"):
    """Reads the global task of MediaEval 2016: LIRIS-ACCEDE to train on, ``MEDIAEVAL16_*`` excerpts to test on.

    The source film of a test excerpt is not published: each is a group of its own.

    Args:
        root: folder that holds ``data`` and ``annotations``
        test_annotations: the table ``name valence arousal`` of the test excerpts, its delimiter found out;
            None looks for ``annotations/MEDIAEVAL16ranking.txt`` under ``root``
        on_error: ``"raise"``, or ``"skip"`` to drop an excerpt at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per excerpt, split ``train`` or ``test``, values nominally in [1, 5]

    Raises:
        CorpusNotFoundError: if ``root`` is no EIMT16
        CorpusFormatError: if an annotation or an excerpt is not as expected

    References:
        Dellandréa et al., 2016; attend_affect, Section IV-A
    """
    root, faults = Path(root), Faults(on_error)
    require(root, [_RANKING] if test_annotations else [_RANKING, _TEST], name="EIMT16", ask=_ASK)
    path = Path(test_annotations) if test_annotations else root / _TEST
    test = _values(path, {label: label for label in LABELS}, faults, delimiter="sniff")
    clips = [_excerpts(root, faults).assign(split="train"), test.assign(group=test["clip"], split="test")]
    return corpus_of("eimt16", pd.concat(clips, ignore_index=True), CITATION_EIMT16, root, faults)


def _excerpts(root, faults):
    """The discrete excerpts: clip, valence, arousal, group."""
    clips = _values(root / _RANKING, {"valence": "valenceValue", "arousal": "arousalValue"}, faults, delimiter="\t")
    path = root / _DESCRIPTION
    films = movies(path)
    for clip in clips.loc[[not films.get(clip) for clip in clips["clip"]], "clip"]:
        faults(clip, CorpusFormatError(path, f"expected a media entry that names the movie of {clip}, found none"))
    return clips.assign(group=clips["clip"].map(films))


def movies(path):
    """Excerpt to the film it was cut from, as a description in XML says."""
    try:
        media = list(ElementTree.parse(path).iter("media"))
    except FileNotFoundError:
        raise CorpusFormatError(path, "expected this file, found none") from None
    except ElementTree.ParseError as error:
        raise CorpusFormatError(path, f"expected XML: {error.msg}", row=error.position[0]) from None
    return {_clip(entry.findtext("name", "")): entry.findtext("movie", "").strip() for entry in media}


def _values(path, columns, faults, *, delimiter):
    """Clip, valence and arousal of a table of values."""
    table = named(path, columns.values(), faults, delimiter=delimiter)

    def fault(row, expected):
        faults(table.at[row, "name"], CorpusFormatError(path, expected, row=row))

    values = numbers(table, dict.fromkeys(columns.values(), VALUE_RANGE), fault)
    values = values.rename(columns={column: label for label, column in columns.items()})
    return values.assign(clip=table["name"]).drop_duplicates("clip").reset_index(drop=True)


def named(path, columns, faults, *, delimiter):
    """A table with clip names in place of file names, each name looked at for being there once."""
    table = read_table(path, ("name", *columns), delimiter=delimiter,
                       ragged=lambda cells, fault: faults(_clip(cells.get("name", "")), fault))
    table["name"] = table["name"].map(_clip)
    for row in table.index[table["name"] == ""]:
        faults("", CorpusFormatError(path, "expected a name, found none", row=row))
    unique(table, "name", lambda row, expected: faults(
        table.at[row, "name"], CorpusFormatError(path, expected, row=row)))
    return table


def _clip(name):
    return name.strip().removesuffix(".mp4")


def corpus_of(name, clips, citation, root, faults, *, value_range=VALUE_RANGE):
    """Looks at every film, leaves out the clips at fault."""
    clips = clips[~clips["clip"].isin(faults.found)]
    paths = {clip: root / "data" / f"{clip}.mp4" for clip in clips["clip"]}
    seconds = {}
    for clip, path in paths.items():
        try:
            seconds[clip] = film_seconds(path)
        except CorpusFormatError as fault:
            faults(clip, fault)
    clips = clips[clips["clip"].isin(seconds)].assign(path=lambda rows: rows["clip"].map(paths).map(str))
    faults.refuse_empty(clips)
    clips = clips.assign(seconds=clips["clip"].map(seconds))
    empty = pd.DataFrame({column: pd.Series(dtype=str if column == "clip" else float) for column in ANNOTATION_COLUMNS})
    return Corpus(
        name=name, clips=clips[[*CLIP_COLUMNS, *LABELS]].reset_index(drop=True), annotations=empty, labels=LABELS,
        value_range=value_range, hertz=None, license=LICENSE, citation=citation,
        simulated=is_simulated(root), skipped=faults.messages(),
    )
