"""One pass over a film for all extractors of a set, against one pass for each.

The extractors read the frames, frame pairs and sound that the paper's read, at their size and rate,
and compute nothing from them: only decoding is left, the part that one pass shares. A pass for each
decodes no more than its extractor needs.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from affectlib.corpora import Corpus
from affectlib.features import Extractor, descriptors, extract, film
from affectlib.features.papers import pretrained
from benchmarks.common import Comparison, Way
from benchmarks.reading import encode

SECONDS = 20  # of the film


def count(pictures_or_samples: Sequence) -> list[int]:
    """Computes nothing from its input."""
    return [len(pictures_or_samples)]


def without_computation(extractors: Sequence[Extractor]) -> list[Extractor]:
    """The same extractors, which only read the film."""
    return [replace(e, names=("n",), vector=count, many=None, options=()) for e in extractors]


def together(corpus: Corpus, extractors: Sequence[Extractor]) -> None:
    """One pass for all."""
    extract(corpus, extractors, jobs=1, progress=False)


def one_by_one(corpus: Corpus, extractors: Sequence[Extractor]) -> None:
    """A pass for each."""
    for extractor in extractors:
        together(corpus, [extractor])


def comparisons() -> Iterator[Comparison]:
    """The five extractors of AttendAffectNet, and the descriptors."""
    sets = {
        "five extractors of attend_affect": pretrained("attend_affect", weights="random"),
        "the same at 2 frames per s": pretrained("attend_affect", weights="random", rate=2.0),
        "descriptors": descriptors(),
    }
    with tempfile.TemporaryDirectory() as folder:
        corpus = film(encode(Path(folder) / "film.mp4", seconds=SECONDS), seconds=5.0)
        for name, extractors in sets.items():
            readers = without_computation(extractors)
            yield Comparison(
                f"decoding {SECONDS} s of film, 640 x 360, for {name}",
                Way("extract, one pass", partial(together, corpus, readers)),
                [Way("a pass for each", partial(one_by_one, corpus, readers))],
                rounds=3,
            )
