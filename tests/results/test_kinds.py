"""The word beside a number comes from the corpus and the extractors, not from a parameter."""

from types import SimpleNamespace

import pytest

from affectlib import results
from affectlib.features import descriptors
from affectlib.features.papers import PAPERS, described, pretrained

REAL = SimpleNamespace(simulated=False)


@pytest.mark.parametrize("paper", ["mood_change", *PAPERS])
def test_a_simulated_corpus_is_simulated_whatever_describes_it(paper):
    simulated = SimpleNamespace(simulated=True)
    word = results.kind(simulated, paper=paper, extractors=descriptors())
    assert word == "simulated"
    assert results.is_simulated(word)


@pytest.mark.parametrize("paper", PAPERS)
def test_descriptors_on_real_films_are_no_reproduction(paper):
    word = results.kind(REAL, paper=paper, extractors=described(paper))
    assert word == "real, descriptors"
    assert not results.is_simulated(word)


@pytest.mark.parametrize("paper", PAPERS)
def test_the_networks_of_a_paper_make_a_reproduction_with_their_weights_only(paper):
    random = pretrained(paper, weights="random")
    names = [extractor.name.removesuffix("_random") for extractor in random]
    assert results.kind(REAL, paper=paper, extractors=names) == "real, the paper's features"
    assert "other features" in results.kind(REAL, paper=paper, extractors=random)


@pytest.mark.parametrize(
    ("paper", "extractors", "word"),
    [
        ("gla", ["fc6", "audio"], "real, organisers' features"),
        ("gla", ["fc6", "audio", "people"], "real, descriptors and organisers' features"),
        (
            "shot_long",
            ["audio", "vgg16_places", "face", "openpose"],
            "real, descriptors, organisers' features and the paper's features",
        ),
        ("gla", ["inception", "people"], "real, descriptors and the paper's features"),
        # openSMILE's emobase is AttendAffectNet's own, and stands among the descriptors too.
        ("attend_affect", ["emobase", "scene"], "real, descriptors"),
        ("attend_affect", ["emobase", "vggish"], "real, the paper's features"),
        # The network of another paper is not this paper's.
        ("gla", ["resnet50"], "real, other features"),
    ],
)
def test_mixtures_are_named(paper, extractors, word):
    assert results.kind(REAL, paper=paper, extractors=extractors) == word


def test_what_still_differs_is_named():
    word = results.kind(REAL, paper="caan", extractors=["vggface", "vgg16"], but="not tuned")
    assert word == "real, the paper's features (not tuned)"
