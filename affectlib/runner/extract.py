"""Fills the store with the features of a corpus, behind ``affectlib extract``.

An extraction takes hours, here or on many machines. It takes the address of a Dask scheduler, whose
workers see this checkout, the data and the cache under the same paths. Stopped and started again,
it goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from affectlib import corpora, paths
from affectlib.errors import AffectError, printable
from affectlib.features import Extractor, FeatureTable, Store, descriptors, film
from affectlib.features import extract as extract_features
from affectlib.features.papers import KINDS, PAPERS, computed
from affectlib.runner.failures import interrupted, report
from affectlib.runner.notebooks import read_yaml
from affectlib.runner.options import OptionError, positive_count, positive_number

if TYPE_CHECKING:
    from dask.distributed import Client


# What an option may be, also where the chosen extractors make no use of it.
WORDS = {
    "precision": ("fp32", "bf16", "auto"),
    "on_error": ("raise", "skip"),
}


def extract_corpus(
    name: str,
    extractors: str = "descriptors",
    *,
    features: str | Mapping[str, str] = "pretrained",
    precision: str = "fp32",
    root: Path | str | None = None,
    seconds: float | None = None,
    parts: int | None = None,
    on_error: str = "raise",
    client: Client | str | None = None,
    jobs: int = 2,
) -> FeatureTable:
    """Puts the features of a whole corpus, or of one film, into the store.

    There the notebooks find them.

    Args:
        name: of a loader, as ``cognimuse`` for ``corpora.load_cognimuse``; or a media file
        extractors: ``"descriptors"``; the slug of a paper, for the extractors of its notebook;
            names of single descriptors; several of these, separated by commas
        features: of a slug: ``"pretrained"``, its own networks, ``"descriptors"``, which take
            the places of the networks, or another choice of
            :func:`affectlib.features.papers.choices`; those of the organisers are read by the
            notebooks, and not stored
        precision: of the networks, see :func:`affectlib.features.deep.pretrained`
        root: folder of the corpus, by default the folder of its name below ``AFFECTLIB_DATA``
        seconds: length of the segments. Where it is not given, films annotated over time are cut as
            the slug's notebook cuts them, or into 5 seconds
        parts: cut every clip into so many parts instead
        on_error: what the loader does with a clip whose files are damaged: ``"raise"``, or
            ``"skip"`` to leave it out and list it in ``skipped``
        client: a Dask client, or the address of a scheduler
        jobs: processes at work without one

    Returns:
        FeatureTable. Clips that failed are listed in its ``skipped``, clips without sound or
        picture in its ``missing``

    Raises:
        CorpusNotFoundError, CorpusFormatError: if there is no such corpus, or it is not as expected
        WeightsNotFoundError: if weights of networks are missing; it lists all of them
        OptionError: for a number that is not above 0, or an option with an unknown word
        FeatureChoiceError: for features that a paper does not have; it lists those there are
        ValueError: for an unknown corpus or extractor, listing those there are
    """
    if seconds is not None:
        positive_number(seconds, "seconds")
    if parts is not None:
        positive_count(parts, "parts")
    positive_count(jobs, "jobs")
    for option, word in {"precision": precision, "on_error": on_error}.items():
        if word not in WORDS[option]:
            raise OptionError(f"{option} is {' or '.join(WORDS[option])}, not {word!r}")
    chosen = _chosen_extractors(extractors, features, precision)
    usual_seconds = 5.0
    if extractors in PAPERS and PAPERS[extractors].segment:
        usual_seconds = PAPERS[extractors].segment
    if Path(name).is_file():
        corpus = film(name, seconds=seconds or usual_seconds)
    else:
        corpus = _load(name, root or paths.DATA / name, on_error)
        corpus = _cut(corpus, parts=parts, seconds=seconds, usual_seconds=usual_seconds)
    table = extract_features(
        corpus, chosen, store=Store(), client=client, jobs=jobs, missing="zeros", on_error="skip"
    )
    return replace(table, skipped=(*corpus.skipped, *table.skipped))


def _load(name: str, root: Path | str, on_error: str) -> corpora.Corpus:
    """Reads a corpus with the loader of its name."""
    load = getattr(corpora, f"load_{name}", None)
    if load is None:
        loaders = [each for each in dir(corpora) if each.startswith("load_")]
        available = ", ".join(sorted(loader.removeprefix("load_") for loader in loaders))
        raise ValueError(f"no corpus and no film {name!r}; there are {available}")
    return load(root, on_error=on_error)


def _cut(
    corpus: corpora.Corpus, *, parts: int | None, seconds: float | None, usual_seconds: float
) -> corpora.Corpus:
    """Cuts clips into segments where that is asked for, or where they are annotated over time."""
    if seconds and corpus.annotations.empty:
        # Only features are wanted here. With the value of a whole clip, which cannot be cut,
        # segments would refuse.
        clips = corpus.clips.drop(columns=["valence", "arousal"], errors="ignore")
        corpus = replace(corpus, clips=clips)
    if parts:
        return corpora.segments(corpus, parts=parts)
    if seconds:
        return corpora.segments(corpus, seconds=seconds)
    if not corpus.annotations.empty:
        return corpora.segments(corpus, seconds=usual_seconds)
    return corpus


def _chosen_extractors(
    text: str, features: str | Mapping[str, str], precision: str
) -> tuple[Extractor, ...]:
    """The extractors that a command names, each once."""
    if isinstance(features, str) and features not in KINDS:
        # Refused also where the chosen extractors make no use of it.
        raise OptionError(f"features is {' or '.join(KINDS)}, or a mapping, not {features!r}")
    single = {extractor.name: extractor for extractor in descriptors()}
    chosen = {}
    for word in text.split(","):
        if word == "descriptors":
            named = descriptors()
        elif word in single:
            named = (single[word],)
        elif word in PAPERS:
            named = tuple(computed(features, word, precision=precision).values())
        else:
            available = ", ".join([*single, *PAPERS])
            raise ValueError(f"no extractors {word!r}; there are descriptors, {available}")
        for extractor in named:
            chosen[extractor.name] = extractor
    return tuple(chosen.values())


def main(corpus: str, extractors: str, *, features: str, **options: object) -> int:
    """Extracts, and prints what came of it: ``affectlib extract``.

    Args:
        corpus: name of a loader, or a media file
        extractors: see :func:`extract_corpus`
        features: a word, or a mapping written as ``{modality: word, ...}``
        options: of :func:`extract_corpus`

    Returns:
        exit status: 0; 1 where clips were skipped, or a disk is full;
        2 for options that cannot be followed
    """
    try:
        paths.check_writable(paths.CACHE)
        chosen = read_yaml(features, "features") if features.startswith("{") else features
        table = extract_corpus(corpus, extractors, features=chosen, **options)
    except (AffectError, ValueError, OSError) as error:
        return report(error)
    except KeyboardInterrupt:
        return interrupted()
    print(table)
    for message in table.skipped:
        print(f"skipped: {printable(message)}", file=sys.stderr)
    for name, clips in table.missing.items():
        print(
            f"{name}: {len(clips)} clips lack what it needs, the first is {printable(clips[0])}",
            file=sys.stderr,
        )
    return 1 if table.skipped else 0
