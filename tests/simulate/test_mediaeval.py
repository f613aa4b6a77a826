"""The simulators of MediaEval: the organisers' layout, and features that describe their film."""

import numpy as np
import pytest

from affectlib.features.organisers import SIZES
from affectlib.simulate import make_mediaeval15, make_mediaeval18
from affectlib.simulate.mediaeval import colour_layout


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    return root, make_mediaeval18(root, n_films=3, seconds=6, seed=1, jobs=1)


@pytest.fixture(scope="module")
def excerpts(tmp_path_factory):
    root = tmp_path_factory.mktemp("excerpts")
    return root, make_mediaeval15(root, n_clips=12, seconds=(2, 3), jobs=1)


def test_the_colour_layout_begins_with_the_light():
    dark = np.full((90, 160, 3), 30, np.uint8)
    light = np.full((90, 160, 3), 220, np.uint8)
    values = colour_layout(light)
    assert values.shape == (SIZES["cl"],)
    # The mean of an 8 x 8 icon, times eight.
    assert values[0] == pytest.approx(8 * 220, rel=0.01)
    assert colour_layout(dark)[0] == pytest.approx(8 * 30, rel=0.01)
    # A flat picture has no other frequencies of light.
    assert values[1:21] == pytest.approx([0] * 20, abs=1e-3)


def test_classes_and_official_sets(excerpts):
    corpus = excerpts[1]
    assert corpus.clips["split"].value_counts().to_dict() == {
        "train": 8,
        "test": 4,
    }
    assert corpus.value_range == (-1, 1)
    assert set(corpus.clips["valence"]) == set(corpus.clips["arousal"]) == {-1, 0, 1}
    assert corpus.clips.groupby("group")["split"].nunique().max() == 1
    assert corpus.clips["group"].nunique() == 3


def test_the_simulator_writes_the_official_layout(excerpts):
    root = excerpts[0]
    assert (
        (root / "MEDIAEVAL-mapping/shots-devset-nl.txt")
        .read_text()
        .startswith("SHOT_000000\tACCEDE00000.mp4\n")
    )
    sets = (root / "annotations/MEDIAEVALsets.txt").read_text().splitlines()
    assert sets[0] == "id\tname\tset"
    assert len(sets) == 5
    assert all(row.endswith("\t0") for row in sets[1:])
    assert (root / "ACCEDEdescription.xml").is_file()
    assert (root / "MEDIAEVALdescription.xml").is_file()


def test_features_are_written_as_asked_and_the_rest_stays_the_same(films, tmp_path):
    small = make_mediaeval18(tmp_path, n_films=3, seconds=6, seed=1, features=("cl",), jobs=1)
    assert small.annotations.equals(films[1].annotations)
    assert not list(tmp_path.glob("*Audio*"))
    assert len(list(tmp_path.rglob("*_cl.txt"))) == 18


def test_films_are_split_as_asked_and_felt_with_a_memory(films, tmp_path):
    options = {"n_films": 5, "seconds": 6, "seed": 1, "features": ("cl",), "jobs": 2}
    corpus = make_mediaeval18(tmp_path, test_films=3, memory=20, **options)
    assert corpus.clips["split"].value_counts().to_dict() == {"test": 3, "train": 2}
    assert corpus.clips["clip"].str[-2:].astype(int).ge(54).sum() == 3
    steps = corpus.annotations.groupby("clip")["valence"].diff().abs().mean()
    assert steps < films[1].annotations.groupby("clip")["valence"].diff().abs().mean() / 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_films": 2}, "between 3 and 66"),
        ({"features": ("vgg",)}, "unknown features vgg"),
        ({"snr": {"taste": 1}}, "snr knows sound"),
        ({"seconds": 0.5}, "at least 1"),
        ({"memory": -1}, "at least 0, not -1"),
        ({"n_films": 6, "test_films": 5}, "between 1 and 4, not at 5"),
        ({"n_films": 66, "test_films": 11}, "at most 54 films do not test"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_mediaeval18(tmp_path, **arguments)
    with pytest.raises(ValueError, match="at least 12"):
        make_mediaeval15(tmp_path, n_clips=3)
