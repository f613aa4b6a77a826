"""Many folds at once, held against one after the other with the plain model."""

import functools
import hashlib
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from affectlib import THREAD_VARIABLES, stacked
from affectlib.models.attend_affect import FeatureAAN, FeatureTemporalAAN, TemporalAAN, mse_pcc_loss
from affectlib.stacked import pooled
from affectlib.training import Samples, batches, fit, predict, run, sequences, standardise

torch.set_num_threads(1)  # torch may have been loaded before affectlib asked for it
SIZES = (6, 4)
fit_folds = functools.partial(stacked.fit_folds, loss=mse_pcc_loss)


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


BUILDS = {
    "feature": build,
    "temporal": lambda: TemporalAAN(sizes=SIZES, length=3, layers=1, dropout=0.0),
    "feature_temporal": lambda: FeatureTemporalAAN(sizes=SIZES, length=3, layers=1, dropout=0.0),
}


def one_by_one(make, data, fold, seed, **options):
    """One fold with the plain model and the plain loop; also fed with the true past."""
    parts = [data.select(part) for part in (fold.train, fold.validation, fold.test)]
    train, validation, test = standardise(*parts)
    torch.manual_seed(seed)
    model = make()
    history = fit(model, train, validation, loss=mse_pcc_loss, seed=seed, **options)
    with torch.no_grad():
        given_past = run(model, test.take(range(len(test))), test.target)
    return history, predict(model, test), given_past.numpy()


@pytest.mark.parametrize("name", BUILDS)
def test_one_fold_stacked_equals_the_plain_loop(name):
    data = toy() if name == "feature" else sequences(toy(), 3)
    fold = film_folds(data)[1]
    options = {"epochs": 5, "batch_size": 12, "learning_rate": 0.003}
    history, plain, given_past = one_by_one(BUILDS[name], data, fold, 2, **options)
    (result,) = fit_folds(BUILDS[name], data, [fold], seeds=(2,), **options)
    fitted, curves = result.predictions, result.history
    assert fitted.ids == plain.ids
    assert fitted.groups == plain.groups
    np.testing.assert_allclose(fitted.truth, plain.truth)
    np.testing.assert_allclose(fitted.prediction, plain.prediction, atol=1e-4)
    np.testing.assert_allclose(fitted.embedding, plain.embedding, atol=1e-3)
    np.testing.assert_allclose(curves.epochs, history.epochs, atol=1e-4)
    assert curves.best_epoch == history.best_epoch
    if name == "feature":
        assert result.given_past is None
    else:
        np.testing.assert_allclose(result.given_past.prediction, given_past, atol=1e-4)
        # The true past makes a difference.
        assert np.abs(given_past - fitted.prediction).max() > 1e-3


@pytest.mark.parametrize("options", [{"heads": 8}, {"initial": "equal"}])
def test_options_of_the_model_are_the_same_stacked(options):
    data = toy()
    fold = film_folds(data)[0]
    make = functools.partial(FeatureAAN, sizes=SIZES, layers=2, dropout=0.0, **options)
    training = {"epochs": 4, "batch_size": 12, "learning_rate": 0.003}
    _, plain, _ = one_by_one(make, data, fold, 1, **training)
    (result,) = fit_folds(make, data, [fold], seeds=(1,), **training)
    np.testing.assert_allclose(result.predictions.prediction, plain.prediction, atol=1e-4)


def test_raw_inputs_are_the_plain_loop_without_standardising():
    data = toy()
    fold = film_folds(data)[2]
    options = {"epochs": 4, "batch_size": 12, "learning_rate": 0.003}
    torch.manual_seed(1)
    model = build()
    parts = [data.select(part) for part in (fold.train, fold.validation, fold.test)]
    fit(model, parts[0], parts[1], loss=mse_pcc_loss, seed=1, **options)
    plain = predict(model, parts[2]).prediction
    raw = fit_folds(build, data, [fold], seeds=(1,), standardise=False, **options)
    np.testing.assert_allclose(raw[0].predictions.prediction, plain, atol=1e-4)
    scaled = fit_folds(build, data, [fold], seeds=(1,), **options)
    assert np.abs(scaled[0].predictions.prediction - plain).max() > 1e-2


def slow_fold(data, fold, every, batch_size, seed, epochs):
    """One fold by hand: the common batches, without the samples that the fold holds out."""
    positions = np.unique(np.concatenate([f.train for f in every]))
    mean_length = np.mean([len(f.train) for f in every])
    common = round(batch_size * len(positions) / mean_length)
    scaled = standardise(data.select(fold.train), data)[1]
    train = set(fold.train)
    torch.manual_seed(seed)
    model = build()
    optimiser = torch.optim.Adam(model.parameters(), 0.003)
    best = math.inf
    for epoch in range(1, epochs + 1):
        for place in batches(len(positions), common, seed=seed, epoch=epoch):
            rows = [i for i in positions[place] if i in train]
            optimiser.zero_grad()
            mse_pcc_loss(scaled.target[rows], model(scaled.take(rows))).backward()
            optimiser.step()
        with torch.no_grad():
            predictions = model(scaled.take(fold.validation))
            value = mse_pcc_loss(scaled.target[fold.validation], predictions)
            if value < best:
                best = value
                tested = model(scaled.take(fold.test))
    return tested


def test_many_folds_and_seeds_equal_each_alone():
    data, options = toy(), {"epochs": 4, "batch_size": 12, "learning_rate": 0.003}
    folds = film_folds(data)
    results = fit_folds(build, data, folds, seeds=(0, 7), **options)
    assert [(r.fold.name, r.seed) for r in results] == [(f.name, s) for s in (0, 7) for f in folds]
    for result in (results[0], results[6], results[7]):
        expected = slow_fold(data, result.fold, folds, 12, result.seed, 4)
        np.testing.assert_allclose(result.predictions.prediction, expected, atol=1e-4)


def test_pooled_predictions_have_a_row_per_seed_and_every_fold():
    data = sequences(toy(), 3)
    folds = film_folds(data)
    results = fit_folds(BUILDS["temporal"], data, folds, seeds=(0, 7), epochs=1)
    plain, past = pooled(results), pooled(results, given_past=True)
    assert plain.ids == data.ids
    assert plain.groups == data.groups
    np.testing.assert_array_equal(plain.truth, data.target[:, -1])
    for row, fold in np.ndindex(2, len(folds)):
        result = results[row * len(folds) + fold]
        rows = folds[fold].test
        np.testing.assert_array_equal(plain.prediction[row, rows], result.predictions.prediction)
        np.testing.assert_array_equal(past.prediction[row, rows], result.given_past.prediction)


def test_folds_stop_independently_and_keep_their_best():
    data = toy()
    results = fit_folds(
        build, data, film_folds(data), epochs=120, batch_size=12, learning_rate=0.03, patience=4
    )
    lengths = [len(r.history.epochs) for r in results]
    assert len(set(lengths)) > 1
    assert max(lengths) < 120
    for r in results:
        losses = r.history.epochs["validation_loss"]
        assert r.history.best_epoch == losses.idxmin() + 1 == len(losses) - 4
        assert np.corrcoef(r.predictions.truth, r.predictions.prediction)[0, 1] > 0.8


@pytest.mark.parametrize("name", BUILDS)
def test_models_that_stop_leave_the_others_as_they_were(name):
    """Dropped or not, a model sees the same batches and draws the same dropout."""
    data = toy(segments=8) if name == "feature" else sequences(toy(segments=8), 3)
    folds = film_folds(data)
    classes = {
        "feature": FeatureAAN,
        "temporal": functools.partial(TemporalAAN, length=3),
        "feature_temporal": functools.partial(FeatureTemporalAAN, length=3),
    }
    make = functools.partial(classes[name], sizes=SIZES, layers=1, dropout=0.3)
    options = {"seeds": (0, 7), "batch_size": 6, "learning_rate": 0.02}
    dropping = fit_folds(make, data, folds, epochs=30, patience=2, **options)
    lengths = [len(result.history.epochs) for result in dropping]
    assert len(set(lengths)) > 2
    assert max(lengths) < 30
    # With this patience none can stop, and all stay in the stack.
    staying = fit_folds(make, data, folds, epochs=max(lengths), patience=30, **options)
    for dropped, stayed in zip(dropping, staying, strict=True):
        epochs = dropped.history.epochs
        np.testing.assert_allclose(epochs, stayed.history.epochs[: len(epochs)], atol=2e-4)


def test_kept_weights_predict_what_was_predicted():
    """By the plain model, from features as they were extracted."""
    data = toy()
    for is_scaled in (True, False):
        results = fit_folds(
            build,
            data,
            film_folds(data),
            seeds=(0, 7),
            epochs=4,
            patience=1,
            batch_size=12,
            standardise=is_scaled,
            keep_weights=True,
        )
        for result in results:
            model = build().eval()
            model.load_state_dict(result.fitted.weights)
            inputs = data.take(result.fold.test)
            scales = result.fitted.scales
            scaled = [(x - mean) / by for x, (mean, by) in zip(inputs, scales, strict=True)]
            with torch.no_grad():
                prediction = model(scaled)
            np.testing.assert_allclose(prediction, result.predictions.prediction, atol=1e-4)


def test_every_tensor_is_made_on_the_device_that_was_asked_for():
    """A stand-in for a graphics card: whatever is made anywhere else has no values here."""
    data = sequences(toy(segments=8), 3)
    folds = film_folds(data)

    def make():
        with torch.device("cpu"):
            return TemporalAAN(sizes=SIZES, length=3, layers=1)

    options = {"epochs": 6, "patience": 2, "batch_size": 6, "learning_rate": 0.02}
    expected = fit_folds(make, data, folds, keep_weights=True, **options)
    torch.set_default_device("meta")
    try:
        found = fit_folds(make, data, folds, device="cpu", keep_weights=True, **options)
    finally:
        torch.set_default_device(None)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.predictions.prediction, theirs.predictions.prediction)
        np.testing.assert_array_equal(ours.history.epochs, theirs.history.epochs)


def test_a_loss_that_is_never_a_number_is_named_with_its_fold():
    data = toy()

    def broken(truth, prediction, *, weight):
        return (prediction * math.nan).sum(-1)

    with pytest.raises(ValueError, match="fold F1, seed 3: the validation loss was never"):
        fit_folds(build, data, [film_folds(data)[1]], seeds=(3,), epochs=2, loss=broken)


def test_dropout_differs_by_model_and_the_run_repeats():
    data = toy()
    fold = film_folds(data)[0]
    options = {"epochs": 2, "batch_size": 12, "learning_rate": 0.01}
    first, second = fit_folds(lambda: build(0.3), data, [fold, fold], **options)
    assert np.abs(first.predictions.prediction - second.predictions.prediction).max() > 1e-3
    again = fit_folds(lambda: build(0.3), data, [fold, fold], **options)
    assert np.array_equal(first.predictions.prediction, again[0].predictions.prediction)
    equal = fit_folds(build, data, [fold, fold], **options)
    np.testing.assert_allclose(
        equal[0].predictions.prediction, equal[1].predictions.prediction, atol=1e-6
    )


def test_protocols_choose_by_different_samples():
    data = toy()
    fold = film_folds(data)[0]
    options = {"epochs": 3, "batch_size": 12}
    (paper,) = fit_folds(build, data, [fold], protocol="paper", **options)
    (clean,) = fit_folds(build, data, [fold], protocol="clean", **options)
    # Under "paper" the validation samples train, and the test samples choose.
    train = np.sort(np.r_[fold.train, fold.validation])
    swapped = SimpleNamespace(name="swapped", train=train, validation=fold.test, test=fold.test)
    (same,) = fit_folds(build, data, [swapped], **options)
    np.testing.assert_allclose(paper.history.epochs, same.history.epochs)
    off = paper.history.epochs["validation_loss"] - clean.history.epochs["validation_loss"]
    assert off.abs().max() > 1e-3


def test_an_unknown_protocol_and_an_empty_part_are_refused():
    data = toy()
    fold = film_folds(data)[0]
    with pytest.raises(ValueError, match="protocol"):
        fit_folds(build, data, [fold], protocol="best")
    empty = SimpleNamespace(
        name="F9", train=fold.train, validation=fold.validation[:0], test=fold.test
    )
    with pytest.raises(ValueError, match="fold F9: no sample under validation"):
        fit_folds(build, data, [empty])


def trained_digest(loss=mse_pcc_loss):
    data = toy()
    results = fit_folds(
        lambda: build(0.2), data, film_folds(data), epochs=40, batch_size=12, loss=loss
    )
    predictions = b"".join(result.predictions.prediction.tobytes() for result in results)
    return hashlib.sha256(predictions).hexdigest()


# Trains in its own process. With "stop" it says that it is in the middle, and waits to be killed.
PROGRAM = """
import sys
import tests_toy

steps = 0

def loss(truth, prediction, *, weight):
    global steps
    steps += 1
    if steps == 50 and sys.argv[1] == "stop":
        print("in the middle", flush=True)
        sys.stdin.read()
    return tests_toy.mse_pcc_loss(truth, prediction, weight=weight)

print(tests_toy.trained_digest(loss))
"""


# Two processes that import torch anew: half a minute. tests/test_kept.py kills the same training at
# an epoch, and tests/test_faults.py a whole run.
@pytest.mark.skipif(
    not os.environ.get("AFFECTLIB_FAULTS"), reason="AFFECTLIB_FAULTS=20 kills at more points"
)
def test_a_killed_training_repeated_gives_the_same_numbers(tmp_path):
    (tmp_path / "tests_toy.py").write_text(Path(__file__).read_text())
    # Another count of threads gives other last digits.
    options = {
        "cwd": tmp_path,
        "stdout": subprocess.PIPE,
        "text": True,
        "env": os.environ | dict.fromkeys(THREAD_VARIABLES, "1"),
    }
    command = [sys.executable, "-c", PROGRAM]
    killed = subprocess.Popen([*command, "stop"], stdin=subprocess.PIPE, **options)
    assert killed.stdout.readline() == "in the middle\n"
    killed.send_signal(signal.SIGKILL)
    assert killed.communicate()[0] == ""
    assert killed.returncode == -signal.SIGKILL
    repeated = subprocess.run([*command, "run"], check=True, **options)
    assert repeated.stdout.split()[-1] == trained_digest()
