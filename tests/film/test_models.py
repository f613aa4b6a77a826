"""Models of each kind are loaded, predict what they must, and say how far they may be believed."""

import functools
import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from affectlib import paths
from affectlib.corpora import Corpus, leave_one_film_out
from affectlib.errors import NotFoundError
from affectlib.features import FeatureTable, descriptors
from affectlib.features.papers import pretrained
from affectlib.features.pretrained.hdf5 import read_features
from affectlib.features.pretrained.weights import WeightsNotFoundError
from affectlib.film import models
from affectlib.film.likeness import learn
from affectlib.film.models import NoRealModelsError, Training, load
from affectlib.models.attend_affect import FeatureAAN, mse_pcc_loss
from affectlib.models.gla import moving_average
from affectlib.results.trained import save_models
from affectlib.stacked import fit_folds
from affectlib.training import samples

N_FILMS = 10
N_SEGMENTS = 4
TRAINING = Training(films=N_FILMS, epochs=2)
HERTZ = 0.2
EXPECTED = {"video_audio": None, "only_audio": "sound", "only_video": "picture"}


def corpus(simulated=True):
    """Films without files, and what was felt in them."""
    rng = np.random.default_rng(0)
    films = np.repeat([f"F{i}" for i in range(N_FILMS)], N_SEGMENTS)
    clips = pd.DataFrame(
        {
            "clip": [f"{film}:{i}" for i, film in enumerate(films)],
            "path": "",
            "group": films,
            "split": "",
            "seconds": 5.0,
            "valence": rng.uniform(-1, 1, len(films)),
            "arousal": rng.uniform(-1, 1, len(films)),
        }
    )
    annotations = pd.DataFrame(columns=["clip", "time", "valence", "arousal"])
    return Corpus("cognimuse", clips, annotations, ("valence",), (-1, 1), None, "", "", simulated)


@functools.cache
def features(seed=0, n=N_FILMS * N_SEGMENTS, shift=0.0):
    """Features of drawn segments, of the names and sizes of the descriptors."""
    rng = np.random.default_rng(seed)
    arrays = {}
    names = {}
    for extractor in descriptors():
        arrays[extractor.name] = rng.normal(shift, 1, (n, extractor.size)).astype(np.float32)
        names[extractor.name] = extractor.names
    clips = tuple(corpus().clips["clip"])[:n]
    return FeatureTable(clips, arrays, names, simulated=True)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(models, "training_films", lambda training, *, jobs: corpus())
    monkeypatch.setattr(models, "extract", lambda *args, **options: features())
    monkeypatch.delenv("AFFECTLIB_KEEP", raising=False)


@functools.cache
def runs():
    """Trained models as notebook 03 has them."""
    names = [extractor.name for extractor in descriptors()]
    data = samples(features(), corpus().clips, target="arousal", names=names)
    build = partial(FeatureAAN, sizes=[x.shape[-1] for x in data.inputs])
    folds = leave_one_film_out(corpus())
    results = fit_folds(
        build, data, folds, loss=mse_pcc_loss, epochs=1, batch_size=60, keep_weights=True
    )
    # One training serves both: that targets are kept apart is tested in test_trained.
    return dict.fromkeys(("arousal", "valence"), results)


def save(path, *, simulated=False, reference=None, protocol="clean"):
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_models(
        "attend_affect",
        runs(),
        heads=2,
        extractors=descriptors(),
        corpus=corpus(simulated),
        kind="simulated" if simulated else "real, descriptors",
        scores={target: {"MSE": [0.2, 0.1, 0.3]} for target in runs()},
        parameters={"protocol": protocol},
        reference=reference,
        path=path,
    )


@functools.cache
def reference():
    return learn(features().arrays, corpus().clips["group"]).tensors()


# The released checkpoints


@pytest.fixture
def sample(golden):
    """The authors' sample features of ten segments, under the names of the paper's extractors."""
    folder = golden("attend_affect")
    arrays = {}
    for extractor in pretrained("attend_affect", weights="random"):
        file = extractor.name.removesuffix("_random")
        arrays[extractor.name] = read_features(folder / f"{file}_sample.h5", extractor.size).numpy()
    return FeatureTable(tuple("abcdefghij"), arrays, {}, simulated=False)


@pytest.fixture
def no_weights(monkeypatch):
    """The paper's features without the released weights of their networks."""
    chosen = pretrained("attend_affect", weights="random")
    monkeypatch.setattr(models, "extractors", lambda features, paper: chosen)


@pytest.mark.parametrize("target", ["valence", "arousal"])
def test_released_models_predict_the_expected_values(target, sample, golden, no_weights):
    """Without smoothing the curves are the values that the authors' own code gives."""
    expected = json.loads(golden(f"attend_affect/expected_{target}.json").read_text())
    curve = load("released").curves(sample, HERTZ, smoothing=5.0)[target]
    for end, name in EXPECTED.items():
        values = expected[end]
        if isinstance(values, dict):
            values = values["prediction"]
        found = curve.middle if name is None else curve.modalities[name]
        np.testing.assert_allclose(found, values, atol=2e-5)
    assert curve.models.shape == (1, 10)
    assert set(curve.modalities) == {"picture", "sound"}


@pytest.mark.parametrize(("target", "error"), [("valence", 0.178), ("arousal", 0.124)])
def test_the_band_of_released_models_is_the_miss_of_table_1(target, error, sample, no_weights):
    loaded = load("released")
    curve = loaded.curves(sample, HERTZ, smoothing=20.0)[target]
    np.testing.assert_allclose(curve.upper - curve.middle, np.sqrt(error))
    np.testing.assert_allclose(curve.middle - curve.lower, np.sqrt(error))
    np.testing.assert_allclose(
        curve.middle, moving_average(curve.models[0], seconds=20.0, hertz=HERTZ)
    )
    assert curve.level is None
    assert f"({error})" in curve.band
    assert "Were errors normal, about 68 %" in curve.band
    assert loaded.likeness(sample) is None
    assert loaded.left_out(target) == []
    assert not loaded.simulated
    assert loaded.network(target)(loaded.inputs(target, sample)).shape == (10,)


def test_missing_weights_and_checkpoints_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsNotFoundError) as error:
        load("released", golden=tmp_path)
    for name in ("resnet50", "flownet", "i3d", "vggish"):
        assert name in str(error.value).lower()
    with pytest.raises(NotFoundError, match=r"valence.*video_audio\.pth: no such checkpoint"):
        models.released(tmp_path, ())


# Models that were saved


def test_saved_models_are_read_with_the_features_that_they_learned_from(tmp_path):
    file = save(tmp_path / "models.pt", reference=reference())
    loaded = load(str(file))
    assert [e.name for e in loaded.extractors] == [e.name for e in descriptors()]
    assert (loaded.kind, loaded.simulated) == ("real, descriptors", False)
    assert "real films" in loaded.source
    table = features(1, n=5)
    curves = loaded.curves(table, HERTZ, smoothing=10.0)
    tokens = [torch.tensor(array) for array in table.arrays.values()]
    for target, curve in curves.items():
        np.testing.assert_allclose(curve.models, loaded.models.predict(target, tokens))
        network = loaded.network(target)
        with torch.no_grad():
            first = network(loaded.inputs(target, table)).numpy()
        np.testing.assert_allclose(first, curve.models[0])
        width = curve.upper - curve.lower
        np.testing.assert_allclose(width, width[0])
        assert 0.5 < curve.level <= 1
        assert "at least 90% of the values of a film like" in curve.band


def test_a_film_that_is_unlike_gets_no_confident_curve(tmp_path):
    """The last two of five segments are far away: the band goes from end to end there."""
    loaded = load(str(save(tmp_path / "models.pt", reference=reference())))
    like, unlike = features(1, n=5), features(2, n=5, shift=30.0)
    arrays = {}
    for name in like.arrays:
        arrays[name] = np.concatenate([like[name][:3], unlike[name][3:]])
    mixed = replace(like, arrays=arrays)
    assert loaded.likeness(mixed).unlike.tolist() == [False] * 3 + [True] * 2
    usual = loaded.curves(like, HERTZ, 5.0)["valence"]
    curve = loaded.curves(mixed, HERTZ, 5.0)["valence"]
    np.testing.assert_allclose(curve.lower[:3], usual.lower[:3])
    assert (curve.lower[3:] <= -1).all()
    assert (curve.upper[3:] >= 1).all()
    assert curve.level == usual.level
    assert "In 2 of 5 segments, unlike the training films" in curve.band
    curve = loaded.curves(unlike, HERTZ, 5.0)["valence"]
    assert curve.level is None
    assert curve.band.startswith("the whole range from -1 to 1, since the film is unlike")


def test_models_without_films_left_out_promise_nothing(tmp_path):
    loaded = load(str(save(tmp_path / "models.pt")))
    assert loaded.likeness(features()) is None
    old = replace(loaded, models=replace(loaded.models, about=dict(loaded.models.about)))
    del old.models.about["segments"], old.models.about["seconds"]
    curve = old.curves(features(1, n=5), HERTZ, 5.0)["arousal"]
    assert curve.level is None
    np.testing.assert_allclose(curve.lower, curve.models.min(0))
    assert "no share is known" in curve.band
    # Segments of another length were never tried.
    curve = loaded.curves(features(1, n=5), 0.5, 5.0)["arousal"]
    assert curve.level is None
    assert "segments of 5 s, not 2" in curve.band


def test_models_that_were_stopped_by_the_films_left_out_say_so(tmp_path):
    loaded = load(str(save(tmp_path / "models.pt", protocol="paper")))
    curve = loaded.curves(features(1, n=5), HERTZ, 5.0)["arousal"]
    assert "so the band is too narrow" in curve.band


def test_the_newest_models_of_a_real_corpus_are_found():
    figures = paths.CACHE / "figures"
    older = save(figures / "demo-real" / "attend_affect" / "models.pt")
    newer = save(figures / "full-real" / "attend_affect" / "models.pt", reference=reference())
    newest = save(paths.CACHE / "models" / "attend_affect" / "models.pt", simulated=True)
    for age, file in enumerate([newest, newer, older]):
        os.utime(file, (1e9 - age, 1e9 - age))
    loaded = load("real")
    assert not loaded.simulated
    assert loaded.likeness(features()) is not None
    os.utime(older, (2e9, 2e9))
    assert load("real").likeness(features()) is None


def test_simulated_models_are_no_real_ones():
    with pytest.raises(NoRealModelsError, match=r"PAPER=attend_affect .*CORPUS=real.*cognimuse"):
        load("real")
    file = save(paths.FIGURES / "attend_affect" / "models.pt", simulated=True)
    with pytest.raises(NoRealModelsError) as error:
        load("real")
    assert f"{file} learned from simulated films" in str(error.value)
    loaded = load(str(file))
    assert loaded.simulated
    assert loaded.kind == "simulated"
    assert "simulated films" in loaded.source


# Models that are trained here


def test_models_are_trained_once_and_kept(monkeypatch):
    loaded = load("simulated", training=TRAINING, jobs=1)
    assert loaded.simulated
    assert "have never seen a real one" in loaded.source
    assert loaded.models.tensors["valence"]["mean/0"].dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32
    first = loaded.curves(features(1, n=5), HERTZ, 10.0)
    (file,) = (paths.CACHE / "models" / "your_own_film").glob("*.pt")

    def refuse(*args):
        raise AssertionError("trained twice")

    train = models._train
    monkeypatch.setattr(models, "_train", refuse)
    again = load("", training=TRAINING, jobs=1).curves(features(1, n=5), HERTZ, 10.0)
    for target, curve in first.items():
        np.testing.assert_array_equal(again[target].models, curve.models)
    with pytest.raises(AssertionError, match="trained twice"):
        load("simulated", training=TRAINING, first_seed=1, jobs=1)
    monkeypatch.setattr(models, "_train", train)
    file.write_bytes(b"damaged")
    mended = load("simulated", training=TRAINING, jobs=1).curves(features(1, n=5), HERTZ, 10.0)
    np.testing.assert_array_equal(mended["valence"].models, first["valence"].models)
