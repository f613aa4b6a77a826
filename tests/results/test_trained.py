"""Saved models predict what their run predicted, and a file that is not theirs is refused."""

import functools
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from affectlib import paths
from affectlib.corpora import Fold
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features.extractor import Extractor
from affectlib.models.attend_affect import FeatureAAN, mse_pcc_loss
from affectlib.results import trained
from affectlib.results.trained import FeaturesDifferError, load_models, save_models
from affectlib.stacked import fit_folds
from affectlib.training import Samples

FEATURES = [
    Extractor("colour", 1, tuple("abcdef"), len, rate=2.0),
    Extractor("sound", 3, tuple("abcd"), len, sound=True, options=(("hop", 0.04),)),
]
SIZES = [feature.size for feature in FEATURES]
FOLDS = [
    Fold("A", np.arange(10, 30), np.arange(5, 10), np.arange(5)),
    Fold("B", np.r_[0:5, 15:30], np.arange(10, 15), np.arange(5, 10)),
]


class Films:
    """What is told of a corpus."""

    name = "cognimuse"
    simulated = True
    citation = "Zlatintsi et al., 2017"

    def __len__(self):
        return 12


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    monkeypatch.delenv("AFFECTLIB_KEEP", raising=False)


@functools.cache
def data_and_runs():
    """Raw features of two scales, and a trained ensemble for each target."""
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for i, size in enumerate(SIZES):
        noise = torch.randn(30, size, generator=generator)
        inputs.append(10.0 ** (2 * i) * (3 + noise))
    names = tuple(f"clip {i}" for i in range(30))
    runs = {}
    for target in ("arousal", "valence"):
        values = torch.randn(30, generator=generator)
        data = Samples(tuple(inputs), values, names, names)
        runs[target] = fit_folds(
            functools.partial(FeatureAAN, sizes=SIZES, heads=4),
            data,
            FOLDS,
            loss=mse_pcc_loss,
            seeds=(3, 4),
            epochs=4,
            batch_size=10,
            keep_weights=True,
        )
    return data, runs


def save(corpus=None, reference=None):
    _, runs = data_and_runs()
    scores = {
        target: {"MSE": [0.1234567, 0.1, 0.2], "PCC": [0.5, np.nan, np.nan]} for target in runs
    }
    return save_models(
        "attend_affect",
        runs,
        heads=4,
        extractors=FEATURES,
        corpus=corpus or Films(),
        kind="simulated",
        scores=scores,
        parameters={"protocol": "clean"},
        reference=reference,
    )


def test_saved_models_predict_what_their_run_predicted():
    data, runs = data_and_runs()
    models = load_models(save())
    models.check(FEATURES)
    assert models.targets == ("arousal", "valence")
    assert len(models) == 4
    assert models.simulated
    for target, results in runs.items():
        curves = models.predict(target, data.inputs)
        assert curves.shape == (4, 30)
        for curve, result in zip(curves, results, strict=True):
            found = curve[result.fold.test]
            np.testing.assert_allclose(found, result.predictions.prediction, atol=1e-5)
    score = models.scores("arousal")["MSE"]
    assert (score.mean, score.low, score.high, score.n) == (0.123457, 0.1, 0.2, 2)
    assert np.isnan(models.scores("valence")["PCC"].low)


def test_a_file_tells_what_its_models_are():
    about = load_models(save()).about
    assert about["paper"] == "attend_affect"
    assert about["corpus"]["folds"] == ["A", "B"]
    assert about["seeds"] == [3, 4]
    assert about["parameters"] == {"protocol": "clean"}
    assert about["versions"]["torch"]
    assert "Learned from simulated films, which nobody owns" in about["licence"]
    assert str(load_models(save())) == "cognimuse (simulated), 4 models for each target"


def test_owners_of_a_real_corpus_are_named():
    films = Films()
    films.simulated = False
    licence = load_models(save(films)).about["licence"]
    assert licence.startswith("Learned from cognimuse: the terms under which its owners")
    assert "annotation and features of its segments in this file" in licence


def test_a_file_holds_what_was_predicted_for_films_left_out():
    """The mean over both seeds, film by film; computed here from the run itself."""
    _, runs = data_and_runs()
    models = load_models(save())
    assert models.seconds == 5.0
    for target, results in runs.items():
        pairs = models.left_out(target)
        assert [len(truth) for truth, _ in pairs] == [5, 5]
        for (truth, prediction), first, second in zip(pairs, results[:2], results[2:], strict=True):
            assert (first.seed, second.seed) == (3, 4)
            np.testing.assert_allclose(truth, first.predictions.truth)
            both = first.predictions.prediction + second.predictions.prediction
            np.testing.assert_allclose(prediction, both / 2, atol=1e-6)


def test_segments_of_the_training_films_come_along():
    assert load_models(save()).reference is None
    found = load_models(save(reference={"mean/colour": torch.arange(6.0)})).reference
    assert list(found) == ["mean/colour"]
    assert found["mean/colour"].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_file_of_the_first_version_is_read_without_films_left_out():
    file = save()
    content = torch.load(file, weights_only=True)
    old = {name: value for name, value in content.items() if "left_out" not in name}
    about = json.loads(old["about"])
    about["format"] = "affectlib trained models, version 1"
    del about["seconds"], about["segments"]
    old["about"] = json.dumps(about)
    del old["digest"]
    torch.save(old | {"digest": trained._digest(old)}, file)
    models = load_models(file)
    assert models.left_out("arousal") == []
    assert models.seconds is None
    assert models.reference is None
    data, _ = data_and_runs()
    assert models.predict("arousal", data.inputs).shape == (4, 30)


def test_the_same_models_are_the_same_bytes():
    first = save().read_bytes()
    assert save().read_bytes() == first


def test_models_stand_beside_figures_that_are_not_committed(tmp_path, monkeypatch):
    assert save() == tmp_path / "cache" / "models" / "attend_affect" / "models.pt"
    assert not (tmp_path / "figures").exists()
    monkeypatch.setenv("AFFECTLIB_KEEP", "1")
    assert save() == tmp_path / "figures" / "attend_affect" / "models.pt"


@pytest.mark.parametrize(
    "others",
    [
        FEATURES[::-1],
        FEATURES[:1],
        [FEATURES[0], replace(FEATURES[1], version=4)],
        [FEATURES[0], replace(FEATURES[1], options=(("hop", 0.02),))],
        [replace(FEATURES[0], rate=4.0), FEATURES[1]],
        [replace(FEATURES[0], names=tuple("abcdeg")), FEATURES[1]],
    ],
)
def test_other_features_are_refused_with_both_lists(others):
    models = load_models(save())
    with pytest.raises(FeaturesDifferError) as error:
        models.check(others)
    trained_on, here = str(error.value).split("; the features here are ")
    assert "trained on colour (version 1, 6 values, 2 frames a second, key " in trained_on
    for feature in others:
        assert f"{feature.name} (version {feature.version}" in here


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.pt: no such file .* PAPER=attend_affect"):
        load_models(tmp_path / "none.pt")


def test_damaged_bytes_are_refused():
    """Cut short, or one byte changed in text or weights."""
    file = save()
    content = file.read_bytes()
    places = [content.index(b"cognimuse"), content.index(b"simulated"), 0]
    # Tensors fill most of the file.
    places += list(range(len(content) // 3, 2 * len(content) // 3, 1709))
    damaged = [content[: len(content) // 2], b"", b"no models"]
    for place in places:
        changed = bytes([content[place] ^ 1])
        damaged.append(content[:place] + changed + content[place + 1 :])
    for bad in damaged:
        file.write_bytes(bad)
        try:
            models = load_models(file)
        except FileFormatError as error:
            assert str(file) in str(error)
        else:
            # The byte did not count: zip pads its members.
            file.write_bytes(content)
            expected = load_models(file)
            assert models.about == expected.about
            for target, tensors in models.tensors.items():
                for name, tensor in tensors.items():
                    assert torch.equal(tensor, expected.tensors[target][name])


def test_another_version_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(trained, "FORMAT", "affectlib trained models, version 3")
    file = save()
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match=r"version 2', found '.*version 3': train anew"):
        load_models(file)


def test_other_content_is_refused():
    file = save()
    content = torch.load(file, weights_only=True)
    name = "arousal/weights/head.1.weight"
    others = [
        content | {name: content[name] + 1},
        {key: value for key, value in content.items() if key != name},
        {"about": "[]"},
        {"weights": torch.zeros(3)},
    ]
    # Sealed again, so that only the missing weights are wrong.
    without = {key: value for key, value in others[1].items() if key != "digest"}
    others.append(without | {"digest": trained._digest(without)})
    for other in others:
        torch.save(other, file)
        with pytest.raises(FileFormatError, match=r"models\.pt"):
            load_models(file)


def test_code_in_a_file_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    file = tmp_path / "models.pt"
    file.write_bytes(pickle.dumps({"about": Harm()}, protocol=2))
    with pytest.raises(FileFormatError):
        load_models(file)
    torch.save({"about": Harm()}, file)
    with pytest.raises(FileFormatError, match="asks to run code"):
        load_models(file)
    assert not (tmp_path / "harm").exists()
