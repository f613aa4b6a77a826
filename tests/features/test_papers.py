"""Which features each paper takes: descriptors and networks."""

import pytest

from affectlib.features import descriptors, extractors
from affectlib.features.papers import NEEDS, PAPERS, SEGMENT, described, pretrained
from affectlib.features.pretrained.weights import WEIGHTS, WeightsNotFoundError

NAMES = {
    "attend_affect": ["scene", "motion", "face", "sound", "emobase"],
    "shot_long": ["sound", "scene", "face", "motion"],
    "gla": ["scene", "sound", "people"],
    "caan": ["scene", "motion", "face", "sound", "emobase"],
    "mood_change": ["scene", "motion", "face", "sound", "emobase"],
}


@pytest.mark.parametrize("paper", NAMES)
def test_descriptors_stand_in_for_the_networks_in_their_order(paper):
    assert [extractor.name for extractor in described(paper)] == NAMES[paper]
    assert extractors("descriptors", paper) == described(paper)


@pytest.mark.parametrize("paper", PAPERS)
def test_pretrained_features_need_the_weights_of_the_table(paper, monkeypatch, tmp_path):
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsNotFoundError) as error:
        extractors("pretrained", paper)
    assert all(name in str(error.value) for name in PAPERS[paper].weights)
    assert set(PAPERS[paper].weights) <= {weights.name for weights in WEIGHTS}


@pytest.mark.parametrize("paper", PAPERS)
def test_networks_look_at_the_rate_of_the_paper_unless_told_otherwise(paper):
    def rates(**options: float) -> set[float]:
        networks = pretrained(paper, weights="random", **options)
        return {extractor.rate for extractor in networks if not extractor.sound}

    assert rates() == {PAPERS[paper].rate}
    assert rates(rate=3.0) == {3.0}


def test_papers_that_cut_films_say_how_long_their_segments_are():
    assert SEGMENT == {"attend_affect": 5.0, "shot_long": 1.0, "gla": 1.0}


def test_other_features_and_papers_without_networks_are_refused():
    with pytest.raises(ValueError, match="'descriptors' or 'pretrained', not 'networks'"):
        extractors("networks", "gla")
    with pytest.raises(ValueError, match="'mood_change' has no pretrained extractors"):
        extractors("pretrained", "mood_change")


def test_old_import_paths_work_for_one_more_release():
    from affectlib.features import deep

    with pytest.warns(DeprecationWarning, match="papers"):
        assert deep.NEEDS is NEEDS
    with pytest.warns(DeprecationWarning, match="papers"):
        from affectlib.features.extract import descriptors as old
    assert old is descriptors
