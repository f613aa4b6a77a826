"""From a film to its analysis: caveats that are true of it, and nothing that is not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from affectlib import paths
from affectlib.features.papers import descriptors
from affectlib.film.analysis import analyse, unusual_features
from affectlib.film.base import Curve, Likeness


class Toy:
    """A model whose curve is the loudness of the film; it asks for sound only."""

    def __init__(self, *, simulated=False, unlike=0, level=0.9):
        self.extractors = tuple(each for each in descriptors() if each.name == "sound")
        self.source = "made up"
        self.kind = "simulated" if simulated else "real, descriptors"
        self.licence = "none"
        self.simulated = simulated
        self.unlike = unlike
        self.level = level

    def curves(self, table, hertz, smoothing):
        self.asked = (hertz, smoothing)
        middle = table["sound"][:, 0].astype(float)
        return {
            "arousal": Curve(
                "arousal", middle[None], middle, middle - 1, middle + 1, self.level, "made up"
            )
        }

    def likeness(self, table):
        if self.unlike is None:
            return None
        distance = np.where(np.arange(len(table)) < self.unlike, 2.0, 0.5)
        return Likeness(distance, np.ones(len(table)), 1.0, 0.05, "made up")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")


def caveats(path, **options):
    return " ".join(analyse(path, model=Toy(**options)).caveats)


def test_a_film_with_sound_says_what_is_true_of_it(write_film, tmp_path):
    path = write_film(tmp_path / "grey.mp4", 6.6)
    model = Toy(unlike=2)
    analysis = analyse(path, model=model, seconds=1.0, smoothing=15.0)
    assert model.asked == (1.0, 15.0)
    assert len(analysis.segments) == 6 == len(analysis.contents.segments)
    assert analysis.segments["end"].iloc[-1] == 6
    assert analysis.segments["missing"].eq("").all()
    assert (analysis.kind, analysis.model, analysis.licence) == (
        "real, descriptors",
        "made up",
        "none",
    )
    told = " ".join(analysis.caveats)
    for words in (
        "Segments unlike the training films: 2 of 6.",
        "black and white",
        "No face was found in 7 frames",
        "s, from 0:00:06:00 on, are in no segment",
        "changes faster than 15 s",
        "what a few annotators would say",
    ):
        assert words in told
    for words in ("simulated", "no sound", "upright", "is not known"):
        assert words not in told


def test_simulated_models_unknown_training_films_and_bands_are_said_first(write_film, tmp_path):
    path = write_film(tmp_path / "grey.mp4", 10, size=(48, 64))
    analysis = analyse(path, model=Toy(simulated=True, unlike=None, level=None))
    assert "say nothing about a real film" in analysis.caveats[0]
    told = " ".join(analysis.caveats)
    assert "How like this film is to those" in told
    assert "How often the band of arousal holds the true value is not known" in told
    assert "The film is upright" in told
    assert "With 2 segments there is hardly a course over time" in told
    assert "nlike the training films" not in told


def test_a_film_shorter_than_a_segment_is_judged_as_a_whole(write_film, tmp_path):
    path = write_film(tmp_path / "short.mp4", 2)
    analysis = analyse(path, model=Toy())
    assert len(analysis.segments) == 1
    assert "The film is shorter (2.0 s) than a segment (5 s)" in " ".join(analysis.caveats)


def test_a_silent_real_film_has_zeros_and_says_so(golden):
    path = golden("clips/bikes.mp4")
    analysis = analyse(path, model=Toy())
    assert analysis.segments["missing"].eq("sound").all()
    assert (analysis.table["sound"] == 0).all()
    told = " ".join(analysis.caveats)
    assert "The film has no sound" in told
    assert "black and white" not in told


def test_unusual_features_are_those_far_from_the_median_of_the_film(
    write_film, analysis_of, tmp_path
):
    analysis = analysis_of(write_film(tmp_path / "grey.mp4"))
    values = np.zeros((8, 3), np.float32)
    values[:, 0] = np.arange(8)
    values[:, 1] = [1, 2, 3, 4, 5, 6, 7, 100]
    values[4, 2] = 9  # one value in most of the film: nothing to compare with
    names = {"toy": ("even", "jump", "constant")}
    table = replace(analysis.table, arrays={"toy": values}, names=names)
    found = unusual_features(replace(analysis, table=table))
    assert found["feature"].tolist() == ["toy jump", "toy even"]
    # Median 4.5; absolute deviations 3.5, 2.5, 1.5, .5, .5, 1.5, 2.5, 95.5, whose median is 2.
    assert found["deviations"][0] == pytest.approx(95.5 / (1.4826 * 2), rel=1e-6)
    assert found["segment"][0] == 7
    few = replace(analysis, segments=pd.DataFrame(analysis.segments.iloc[:5]))
    assert unusual_features(few).empty


def test_an_unknown_model_is_named(write_film, tmp_path):
    from affectlib.errors import AffectError

    with pytest.raises(AffectError, match="nowhere"):
        analyse(write_film(tmp_path / "grey.mp4", 10), model=str(tmp_path / "nowhere.pt"))
