"""The word that stands beside every number: simulated, or real with the features it was made from.

Three kinds of result are never mixed. On a **simulated** corpus a run tests the pipeline and says
nothing about a paper. On a real corpus, with **descriptors** or the **organisers' features**, it
says something about the method. Only with **the paper's features** is it a reproduction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from affectlib.features.organisers import SIZES as ORGANISERS_SIZES
from affectlib.features.papers import PAPERS, described, pretrained

if TYPE_CHECKING:
    from affectlib.corpora import Corpus
    from affectlib.features import Extractor

SIMULATED = "simulated"
DESCRIPTORS = "descriptors"
ORGANISERS = "organisers' features"
PAPER = "the paper's features"
OTHER = "other features"


def kind(
    corpus: Corpus, *, paper: str, extractors: Iterable[Extractor | str] = (), but: str = ""
) -> str:
    """The kind of a result, from the corpus and the extractors that were used.

    Args:
        corpus: the corpus; simulated corpora are marked on disk
        paper: slug of the paper
        extractors: what described the films, or the names of it; none for mood_change, which learns
            from pixels as its paper does
        but: in what the features still differ from the paper's, for example "not tuned"

    Returns:
        ``simulated``; ``real, descriptors``; ``real, organisers' features``;
        ``real, the paper's features``; or a mixture of these, joined by "and"

    Examples:
        >>> from types import SimpleNamespace
        >>> kind(SimpleNamespace(simulated=True), paper="gla")
        'simulated'
        >>> real = SimpleNamespace(simulated=False)
        >>> kind(real, paper="gla", extractors=["scene", "sound"])
        'real, descriptors'
        >>> kind(real, paper="gla", extractors=["inception", "sound"])
        "real, descriptors and the paper's features"
        >>> kind(real, paper="mood_change")
        "real, the paper's features"
    """
    if corpus.simulated:
        return SIMULATED
    names = {getattr(extractor, "name", extractor) for extractor in extractors}
    words = {_word(name, paper) for name in names - _shared(paper)}
    *others, last = sorted(words) or [PAPER]
    text = f"{', '.join(others)} and {last}" if others else last
    return f"real, {text} ({but})" if but else f"real, {text}"


def is_simulated(kind: str) -> bool:
    """True for the kind of a result on a simulated corpus."""
    return kind == SIMULATED


def _word(name: str, paper: str) -> str:
    """Which set of features an extractor belongs to."""
    if name in _networks(paper):
        return PAPER
    if name in _descriptors():
        return DESCRIPTORS
    if name in ORGANISERS_SIZES:
        return ORGANISERS
    return OTHER


def _shared(paper: str) -> set[str]:
    """Extractors that a paper takes itself, and that stand among its descriptors too."""
    if paper not in PAPERS:
        return set()
    descriptors = {extractor.name for extractor in described(paper)}
    return descriptors & _networks(paper)


def _networks(paper: str) -> set[str]:
    """Names of the networks of a paper with their released weights."""
    if paper not in PAPERS:
        return set()
    # Released weights may not be there, and only names are needed.
    networks = pretrained(paper, weights="random")
    return {extractor.name.removesuffix("_random") for extractor in networks}


def _descriptors() -> set[str]:
    """Names of all extractors that need no weights."""
    names = set()
    for paper in PAPERS:
        names |= {extractor.name for extractor in described(paper)}
    return names
