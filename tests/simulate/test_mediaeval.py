"""The simulators of MediaEval: the organisers' layout, and features that describe their film."""

import numpy as np
import pytest

from affectlib.features.organisers import SIZES
from affectlib.simulate import make_mediaeval15, make_mediaeval18
from affectlib.simulate.mediaeval import describe


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    return root, make_mediaeval18(root, n_films=3, seconds=6, seed=1, jobs=1)


@pytest.fixture(scope="module")
def excerpts(tmp_path_factory):
    root = tmp_path_factory.mktemp("excerpts")
    return root, make_mediaeval15(root, n_clips=12, seconds=(2, 3), jobs=1)


def test_features_describe_their_picture():
    dark, light = np.full((90, 160, 3), 30, np.uint8), np.full((90, 160, 3), 220, np.uint8)
    stripes = np.repeat(np.tile(np.uint8([0, 255]).repeat(8), 10)[None, :], 90, 0)[
        ..., None
    ].repeat(3, 2)
    assert describe(dark)["cl"][0] < describe(light)["cl"][0]
    edges = describe(np.ascontiguousarray(stripes))["eh"].reshape(16, 5)
    assert (edges[:, 0] > 0.2).all() and edges[:, 1:4].max() < 0.05  # upright edges only
    for name, values in describe(stripes).items():
        assert values.shape == (SIZES[name],) and np.isfinite(values).all()


def test_classes_and_official_sets(excerpts):
    corpus = excerpts[1]
    assert corpus.clips["split"].value_counts().to_dict() == {
        "train": 8,
        "test": 4,
    } and corpus.value_range == (-1, 1)
    assert set(corpus.clips["valence"]) == set(corpus.clips["arousal"]) == {-1, 0, 1}
    assert (
        corpus.clips.groupby("group")["split"].nunique().max() == 1
        and corpus.clips["group"].nunique() == 3
    )


def test_the_simulator_writes_the_official_layout(excerpts):
    root = excerpts[0]
    assert (
        (root / "MEDIAEVAL-mapping/shots-devset-nl.txt")
        .read_text()
        .startswith("SHOT_000000\tACCEDE00000.mp4\n")
    )
    sets = (root / "annotations/MEDIAEVALsets.txt").read_text().splitlines()
    assert (
        sets[0] == "id\tname\tset"
        and len(sets) == 5
        and all(row.endswith("\t0") for row in sets[1:])
    )
    assert (root / "ACCEDEdescription.xml").is_file() and (
        root / "MEDIAEVALdescription.xml"
    ).is_file()


def test_features_are_written_as_asked_and_the_rest_stays_the_same(films, tmp_path):
    small = make_mediaeval18(tmp_path, n_films=3, seconds=6, seed=1, features=("cl",), jobs=1)
    assert small.annotations.equals(films[1].annotations)
    assert not list(tmp_path.glob("*Audio*")) and len(list(tmp_path.rglob("*_cl.txt"))) == 18


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_films": 2}, "between 3 and 66"),
        ({"features": ("vgg",)}, "unknown features vgg"),
        ({"snr": {"taste": 1}}, "snr knows sound"),
        ({"seconds": 0.5}, "at least 1"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_mediaeval18(tmp_path, **arguments)
    with pytest.raises(ValueError, match="at least 12"):
        make_mediaeval15(tmp_path, n_clips=3)
