"""The simulator's modalities must be able to add to each other, and to add nothing."""

import numpy as np
import pytest
import torch

from affectlib import baselines
from affectlib.metrics import pcc
from affectlib.simulate.cognimuse import segment_views
from affectlib.statistics import paired_difference
from affectlib.training import Samples, standardise

PICTURES = ("scene", "motion", "face")
NOTHING = dict.fromkeys(PICTURES, 1e-6)
SETS = {"sound": ("sound",), "pictures": PICTURES, "both": (*PICTURES, "sound")}
FILMS = {"train": range(12), "validation": range(12, 16), "test": range(16, 28)}


def predictions(snr, target, n_segments=40):
    """Ridge regression on sound, on pictures and on both, learned from other films."""
    views = segment_views(n_films=28, n_segments=n_segments, snr=snr)
    film = np.arange(28 * n_segments) // n_segments
    runs = {}
    for name, modalities in SETS.items():
        inputs = tuple(torch.tensor(views.tokens[modality]) for modality in modalities)
        ids = tuple(str(row) for row in range(len(film)))
        data = Samples(inputs, torch.tensor(getattr(views, target)), ids, views.films)
        parts = [data.select(np.flatnonzero(np.isin(film, films))) for films in FILMS.values()]
        runs[name] = baselines.ridge(*standardise(*parts))
    return runs


def gain(runs, without):
    """Error of one modality minus that of both: above 0 where the other one adds to it."""
    both = runs["both"]
    alone = (both.truth - runs[without].prediction) ** 2
    together = (both.truth - both.prediction) ** 2
    return paired_difference(alone, together, both.groups)


@pytest.mark.parametrize("target", ["valence", "arousal"])
def test_both_modalities_beat_either_where_each_has_noise_of_its_own(target):
    runs = predictions(None, target)
    assert gain(runs, "sound").low > 0.01
    assert gain(runs, "pictures").low > 0.001


@pytest.mark.parametrize("target", ["valence", "arousal"])
def test_pictures_that_show_nothing_add_nothing(target):
    runs = predictions(NOTHING, target)
    assert gain(runs, "sound").mean < 0.001
    assert gain(runs, "pictures").low > 0.01
    assert abs(pcc(runs["pictures"].truth, runs["pictures"].prediction)) < 0.2


def test_another_ratio_changes_its_modality_alone():
    shown = segment_views(n_films=2, n_segments=5)
    blank = segment_views(n_films=2, n_segments=5, snr={"scene": 1e-6})
    for name in ("sound", "motion", "face"):
        np.testing.assert_array_equal(shown.tokens[name], blank.tokens[name])
    assert np.abs(shown.tokens["scene"] - blank.tokens["scene"]).max() > 0.1
    np.testing.assert_array_equal(shown.valence, blank.valence)
    np.testing.assert_array_equal(shown.arousal, blank.arousal)


def test_without_noise_two_descriptors_tell_the_affect():
    views = segment_views(n_films=1, n_segments=50, snr={"sound": np.inf})
    affect = np.stack([views.valence, views.arousal], axis=1)
    solved, *_ = np.linalg.lstsq(views.tokens["sound"], affect, rcond=None)
    error = views.tokens["sound"] @ solved - affect
    # What is left is the noise of the descriptors, 0.1, spread over their mixture.
    assert np.sqrt(np.mean(error**2)) < 0.1
    assert views.films == ("film 0",) * 50
