"""Training: order, seeds and early stopping."""

import hashlib
import math
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from affectlib import training
from affectlib.models.attend_affect import FeatureAAN, mse_pcc_loss
from affectlib.training import (
    DeviceError,
    Samples,
    batches,
    find_device,
    fit,
    predict,
    samples,
    sequences,
    standardise,
)

torch.set_num_threads(1)  # torch may have been loaded before affectlib asked for it
SIZES = (6, 4)


def toy(films=4, segments=20, seed=0):
    """Two columns carry the target, one is constant; scales and offsets differ by column."""
    rng = np.random.default_rng(seed)
    n = films * segments
    target = rng.uniform(-1, 1, n)
    inputs = []
    for size in SIZES:
        x = rng.normal(size=(n, size)) * rng.uniform(0.1, 20, size) + rng.normal(size=size)
        x[:, 0] = 5 * target + 0.3 * rng.normal(size=n)
        x[:, -1] = 3.0
        inputs.append(torch.tensor(x, dtype=torch.float32))
    ids = tuple(f"F{i // segments}:{i % segments:04d}" for i in range(n))
    return Samples(
        tuple(inputs), torch.tensor(target, dtype=torch.float32), ids, tuple(i[:2] for i in ids)
    )


def film_folds(data):
    group = np.asarray(data.groups)
    films = sorted(set(data.groups))
    return [
        SimpleNamespace(
            name=film,
            test=np.flatnonzero(group == film),
            validation=np.flatnonzero(group == other),
            train=np.flatnonzero((group != film) & (group != other)),
        )
        for film, other in zip(films, films[1:] + films[:1], strict=True)
    ]


def build(dropout=0.0):
    return FeatureAAN(sizes=SIZES, layers=2, dropout=dropout)


def test_samples_refuse_what_is_not_finite_or_not_as_long():
    data = toy(1, 3)
    with pytest.raises(ValueError, match="ids has 2 samples, target has 3"):
        Samples(data.inputs, data.target, data.ids[:2], data.groups)
    broken = data.inputs[1].clone()
    broken[1, 2] = math.nan
    with pytest.raises(ValueError, match=r"inputs\[1\] of F0:0001 is not finite"):
        Samples((data.inputs[0], broken), data.target, data.ids, data.groups)


class Table(dict):
    clips = ("a", "b", "c")


def test_samples_come_from_a_table_in_the_order_of_the_clips():
    table = Table(sound=np.arange(6.0).reshape(3, 2))
    clips = pd.DataFrame({"clip": ["c", "a"], "group": ["x", "y"], "valence": [0.5, -0.5]})
    data = samples(table, clips, target="valence", names=["sound"])
    assert data.inputs[0].tolist() == [[4, 5], [0, 1]] and data.target.tolist() == [0.5, -0.5]
    with pytest.raises(ValueError, match="the first is d"):
        samples(table, clips.replace("c", "d"), target="valence", names=["sound"])


def test_standardise_uses_the_training_samples_only():
    data = toy()
    train, test = data.select(range(40)), data.select(range(40, 80))
    scaled, other = standardise(train, test)
    for x, y, before, later in zip(
        scaled.inputs, other.inputs, train.inputs, test.inputs, strict=True
    ):
        mean, deviation = before.mean(0), before.std(0, correction=0)
        deviation[-1] = 1  # constant
        np.testing.assert_allclose(x, (before - mean) / deviation, atol=1e-5)
        np.testing.assert_allclose(y, (later - mean) / deviation, atol=1e-5)
        assert not x[:, -1].any()


@pytest.mark.parametrize("pad", [True, False])
def test_sequences_never_cross_films(pad):
    data = toy(3, 5)
    cut = sequences(data, 3, pad=pad)
    assert len(cut) == (15 if pad else 9)
    for i, window in enumerate(cut.windows):
        assert {data.ids[j][:2] for j in window} == {cut.groups[i]}
        assert (
            data.ids[window[-1]] == cut.ids[i]
            and (window.diff() <= 1).all()
            and (window.diff() >= 0).all()
        )
    assert torch.equal(cut.take([0])[0], data.inputs[0][cut.windows[:1]])
    assert torch.equal(cut.select([2]).target, data.target[cut.windows[2:3]])
    with pytest.raises(ValueError, match="do not stand together"):
        sequences(data, 3, sources=list("ab" * 7 + "a"))


def test_batches_hold_every_sample_once_and_are_nearly_equal():
    cut = batches(95, 30, seed=1, epoch=2)
    assert sorted(torch.cat(cut).tolist()) == list(range(95)) and {len(c) for c in cut} == {23, 24}
    assert not torch.equal(torch.cat(cut), torch.cat(batches(95, 30, seed=1, epoch=3)))
    assert torch.equal(torch.cat(cut), torch.cat(batches(95, 30, seed=1, epoch=2)))


def trained(epochs=6, patience=30, learning_rate=0.01, dropout=0.2, seed=5):
    data = toy()
    fold = film_folds(data)[0]
    train, validation, test = standardise(
        *(data.select(p) for p in (fold.train, fold.validation, fold.test))
    )
    torch.manual_seed(seed)
    model = build(dropout)
    history = fit(
        model,
        train,
        validation,
        loss=mse_pcc_loss,
        epochs=epochs,
        batch_size=10,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
    )
    return model, validation, history, predict(model, test)


def test_fit_keeps_the_best_weights_and_repeats_to_the_bit():
    model, validation, history, predictions = trained()
    losses = history.epochs["validation_loss"]
    assert (
        history.best_epoch == history.epochs["epoch"][losses.idxmin()] and losses.min() < losses[0]
    )
    with torch.no_grad():
        best = float(mse_pcc_loss(validation.target, model(validation.inputs)))
    assert best == pytest.approx(losses.min(), abs=1e-6)
    assert predictions.embedding.shape == (20, 8) and set(predictions.groups) == {"F0"}
    again = trained()[3]
    assert (
        hashlib.sha256(predictions.prediction).digest() == hashlib.sha256(again.prediction).digest()
    )
    assert not np.array_equal(predictions.prediction, trained(seed=6)[3].prediction)


def test_fit_stops_after_its_patience():
    history = trained(epochs=200, patience=3, learning_rate=0.05)[2]
    assert len(history.epochs) == history.best_epoch + 3 < 200


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(sum(SIZES), 1)

    def forward(self, tokens):
        return self.layer(torch.cat(tokens, -1))[:, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="forks processes")
def test_two_processes_share_every_batch_and_learn_what_one_learns():
    learned, data = standardise(toy(3), toy(1, seed=1))
    options = {
        "loss": torch.nn.functional.mse_loss,
        "epochs": 6,
        "batch_size": 20,
        "learning_rate": 0.05,
    }
    one, two = Line(), Line()
    alone = fit(one, learned, data, **options)
    shared = fit(two, learned, data, devices=2, strategy="ddp_notebook", **options)
    assert shared.best_epoch == alone.best_epoch and len(shared.epochs) == 6
    assert np.allclose(shared.epochs["validation_loss"], alone.epochs["validation_loss"], atol=1e-5)
    assert torch.allclose(one.layer.weight, two.layer.weight, atol=1e-5)
    assert not torch.allclose(two.layer.weight, Line().layer.weight, atol=1e-2)  # it did learn


def test_samples_without_a_group_or_a_number_to_predict_are_named():
    data = toy(1, 3)
    for missing in (None, math.nan, pd.NA):
        with pytest.raises(ValueError, match="group of F0:0001 is missing"):
            Samples(data.inputs, data.target, data.ids, ("F0", missing, "F0"))
    table = Table(x=np.zeros((3, 2)))
    table.clips = data.ids
    clips = pd.DataFrame({"clip": data.ids, "group": data.groups, "mood": ["good", None, "bad"]})
    with pytest.raises(ValueError, match=r"mood holds .*, expected numbers in every row"):
        samples(table, clips, target="mood", names=["x"])
    clips["mood"] = pd.array([1, None, 0], dtype="Int64")
    with pytest.raises(ValueError, match="target of F0:0001 is not finite"):
        samples(table, clips, target="mood", names=["x"])


def test_standardising_by_no_sample_is_refused():
    data = toy(1, 3)
    with pytest.raises(ValueError, match="no training sample"):
        standardise(data.select([]), data)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "patience"])
def test_fit_refuses_a_count_below_one(name):
    data = toy(1, 3)
    with pytest.raises(ValueError, match=f"{name} is 0, at least 1 is needed"):
        fit(build(), data, data, loss=mse_pcc_loss, **{name: 0})


class Normed(Line):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(sum(SIZES))

    def forward(self, tokens):
        return self.layer(self.norm(torch.cat(tokens, -1)))[:, 0]


def test_a_sample_alone_in_a_batch_of_a_model_with_batch_norm_is_named():
    data = toy(1, 3)
    options = {"loss": torch.nn.functional.mse_loss, "epochs": 1}
    message = "3 samples in batches of at most 2 leave one alone"
    with pytest.raises(ValueError, match=message):
        fit(Normed(), data, data, batch_size=2, **options)
    # The trainer's switch is set back.
    assert not torch.are_deterministic_algorithms_enabled()
    assert fit(Normed(), data, data, batch_size=3, **options).best_epoch == 1


def test_fit_learns_and_names_what_it_lacks():
    predictions = trained(epochs=40, dropout=0.0)[3]
    assert np.corrcoef(predictions.truth, predictions.prediction)[0, 1] > 0.9
    data = toy()
    with pytest.raises(ValueError, match="0 to validate"):
        fit(build(), data, data.select([]), loss=mse_pcc_loss)
    with pytest.raises(ValueError, match="never a number"):
        fit(
            build(),
            data,
            data,
            epochs=2,
            loss=lambda truth, prediction: (prediction * math.nan).sum(),
        )


def test_the_device_is_the_one_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("cpu") == find_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="no CUDA device: take 'cpu' or 'auto'"):
        find_device("cuda")
    with pytest.raises(DeviceError, match="'gpu', expected 'cpu', 'cuda' or 'auto'"):
        find_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("cuda") == find_device("auto") == torch.device("cuda")
    # A machine with a graphics card still trains on the CPU unless it is told otherwise.
    assert find_device("cpu") == torch.device("cpu")


def test_training_hands_the_device_to_lightning(monkeypatch):
    class Stop(Exception):
        pass

    asked = []

    def trainer(**options):
        asked.append(options["accelerator"])
        raise Stop

    lightning, _ = training._lightning()
    monkeypatch.setattr(lightning, "Trainer", trainer)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    data = Samples((torch.zeros(4, 2),), torch.zeros(4), ("a", "b", "c", "d"), tuple("abcd"))
    for device in ("cpu", "cuda", "auto"):
        with pytest.raises(Stop):
            fit(nn.Linear(2, 1), data, data, loss=nn.functional.mse_loss, device=device)
    assert asked == ["cpu", "cuda", "cuda"]
