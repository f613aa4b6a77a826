"""Features by name: ``FeatureTable.to_frame``."""

import numpy as np
import pytest

from affectlib.features import FeatureTable

NAMES = {"scene": ("light", "hue"), "sound": ("loudness",)}


def feature_table(**changes):
    """Two extractors, three clips, the second of which is silent."""
    settings = {
        "clips": ("a:0000", "a:0001", "a:0002"),
        "arrays": {
            "scene": np.array([[1, 2], [3, 4], [5, 6]], np.float32),
            "sound": np.array([[0.5], [0], [0.25]], np.float16),
        },
        "names": NAMES,
        "simulated": False,
        "missing": {"sound": ("a:0001",)},
    }
    return FeatureTable(**(settings | changes))


def test_every_value_stands_below_its_name():
    frame = feature_table().to_frame()
    assert list(frame.columns) == ["scene.light", "scene.hue", "sound.loudness"]
    assert list(frame.index) == ["a:0000", "a:0001", "a:0002"]
    assert frame.index.name == "clip"
    assert frame.at["a:0001", "scene.hue"] == 4
    assert frame.at["a:0002", "sound.loudness"] == 0.25
    assert (frame.dtypes == np.float32).all()


def test_what_a_clip_lacks_is_nan_and_a_zero_stays_zero():
    arrays = {
        "scene": np.zeros((3, 2), np.float32),
        "sound": np.zeros((3, 1), np.float32),
    }
    frame = feature_table(arrays=arrays).to_frame()
    assert frame["sound.loudness"].isna().tolist() == [False, True, False]
    assert (frame[["scene.light", "scene.hue"]] == 0).all(axis=None)


def test_a_table_without_rows_keeps_its_columns():
    frame = feature_table().select(np.zeros(3, bool)).to_frame()
    assert frame.shape == (0, 3)
    assert feature_table(arrays={}).to_frame().shape == (3, 0)


def test_names_are_unique():
    names = NAMES | {"scene": ("light", "light")}
    with pytest.raises(ValueError, match=r"two features are called 'scene\.light'"):
        feature_table(names=names).to_frame()
    # The point between the names may be in them, too.
    arrays = {"scene": np.ones((3, 1)), "scene.x": np.ones((3, 1))}
    names = {"scene": ("x.y",), "scene.x": ("y",)}
    with pytest.raises(ValueError, match=r"two features are called 'scene\.x\.y'"):
        feature_table(arrays=arrays, names=names).to_frame()


def test_each_value_has_a_name():
    names = NAMES | {"scene": ("light",)}
    with pytest.raises(ValueError, match="scene has 2 values, but 1 names"):
        feature_table(names=names).to_frame()
