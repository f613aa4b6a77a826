"""A training that was killed goes on, with the numbers of one that was not."""

import functools
import os

import numpy as np
import pytest
import torch
from torch import nn

from affectlib import kept, paths, training
from affectlib.corpora import Fold
from affectlib.models.attend_affect import FeatureAAN, mse_pcc_loss
from affectlib.models.mood_change import MoodCNN, Task, Windows
from affectlib.stacked import fit_folds, folds
from affectlib.stacked.mood_change import FastFoldTraining, fit_mood_folds
from affectlib.training import Samples

# Whether a training is killed at more points than one: see tests/test_faults.py.
MORE = bool(os.environ.get("AFFECTLIB_FAULTS"))
FOLDS = [
    Fold("a", np.arange(10, 30), np.arange(5, 10), np.arange(5)),
    Fold("b", np.r_[0:5, 15:30], np.arange(10, 15), np.arange(5, 10)),
]


@pytest.fixture(autouse=True)
def keeping(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    monkeypatch.setenv("AFFECTLIB_KEEP", "1")
    return tmp_path / "trained"


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    tokens = (torch.randn(30, 6, generator=generator), torch.randn(30, 4, generator=generator))
    target = torch.randn(30, generator=generator)
    names = tuple(f"clip {i}" for i in range(30))
    return Samples(tokens, target, names, names)


class Killed(Exception):
    """Stands for the end of the process."""


def numbers(results):
    """Everything that a training gives, as arrays."""
    values = []
    for result in results:
        values += [result.predictions.prediction, result.history.epochs.to_numpy()]
        values.append(np.array(result.history.best_epoch))
    return values


def kill(monkeypatch, owner, train, killed_at):
    """Kills a training before an epoch, of which a state is kept after each.

    Args:
        owner: has the function ``_train_epoch``
        train: trains
        killed_at: number of epochs that are trained before

    Returns:
        list that grows by one with each epoch that is trained from now on
    """
    monkeypatch.setattr(kept, "EVERY", -1.0)
    train_epoch = owner._train_epoch
    trained = []

    def dying(*arguments):
        if len(trained) == killed_at:
            raise Killed
        trained.append(1)
        return train_epoch(*arguments)

    monkeypatch.setattr(owner, "_train_epoch", dying)
    with pytest.raises(Killed):
        train()
    assert len(trained) == killed_at
    left = []

    def counting(*arguments):
        left.append(1)
        return train_epoch(*arguments)

    monkeypatch.setattr(owner, "_train_epoch", counting)
    return left


def train_folds(data):
    return fit_folds(
        lambda: FeatureAAN(sizes=(6, 4)),
        data,
        FOLDS,
        loss=mse_pcc_loss,
        seeds=(0, 1),
        epochs=8,
        patience=5,
        batch_size=10,
    )


@pytest.mark.parametrize("killed_at", [1, 4, 7] if MORE else [4])
def test_folds_that_were_killed_go_on_with_the_same_numbers(data, monkeypatch, killed_at):
    monkeypatch.delenv("AFFECTLIB_KEEP")
    expected = numbers(train_folds(data))
    monkeypatch.setenv("AFFECTLIB_KEEP", "1")
    left = kill(monkeypatch, folds, lambda: train_folds(data), killed_at)
    result = numbers(train_folds(data))
    assert killed_at + len(left) <= 8
    for value, reference in zip(result, expected, strict=True):
        assert np.array_equal(value, reference)
    # Once more: it has come to its end, and no epoch is trained.
    n_left = len(left)
    again = numbers(train_folds(data))
    assert len(left) == n_left
    for value, reference in zip(again, expected, strict=True):
        assert np.array_equal(value, reference)


def train_moods():
    """Two folds of the fast training of mood_change."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (50,), generator=generator)
    windows = Windows(pixels, torch.arange(50), 3, np.repeat(np.arange(10), 5), {"mood": labels})
    folds = [
        Fold("a", np.arange(6), np.arange(6, 8), np.arange(8, 10)),
        Fold("b", np.arange(4, 10), np.arange(2, 4), np.arange(2)),
    ]
    return fit_mood_folds(students, windows, folds, epochs=3, batch_size=15, jobs=1)


def students(fold, seed):
    """A student with dropout and a teacher."""
    return {"student": Task(MoodCNN(dropout=0.4), teacher=MoodCNN())}


def mood_numbers(results):
    values = []
    for result in results:
        values += [result.epochs.to_numpy(), np.array(result.best_epoch)]
        values += [logits.numpy() for logits in result.logits.values()]
        values += [weights.numpy() for weights in result.model.state_dict().values()]
    return values


@functools.cache
def never_killed():
    return mood_numbers(train_moods())


# In the first fold, between the folds, and in the second.
@pytest.mark.parametrize("killed_at", [2, 3, 4] if MORE else [3])
def test_mood_folds_that_were_killed_go_on_with_the_same_numbers(monkeypatch, killed_at):
    monkeypatch.delenv("AFFECTLIB_KEEP")
    expected = never_killed()
    monkeypatch.setenv("AFFECTLIB_KEEP", "1")
    left = kill(monkeypatch, FastFoldTraining, train_moods, killed_at)
    for value, reference in zip(mood_numbers(train_moods()), expected, strict=True):
        assert np.array_equal(value, reference)
    assert len(left) == 6 - killed_at
    # Once more: both folds have come to their end, and no epoch is trained.
    left.clear()
    for value, reference in zip(mood_numbers(train_moods()), expected, strict=True):
        assert np.array_equal(value, reference)
    assert not left


class Linear(nn.Module):
    """A model with a head and an embedding."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.hidden = nn.Linear(10, 3)
        self.head = nn.Linear(3, 1)
        self.dropout = dropout

    def embed(self, x):
        hidden = self.hidden(torch.cat(x, 1))
        return nn.functional.dropout(hidden, self.dropout, self.training)

    def forward(self, x):
        return self.head(self.embed(x)).squeeze(-1)


def train_one(data, *, dropout=0.0, **options):
    torch.manual_seed(0)
    model = Linear(dropout)
    history = training.fit(
        model,
        data.select(range(20)),
        data.select(range(20, 30)),
        loss=nn.functional.mse_loss,
        **{"epochs": 3, "batch_size": 5, **options},
    )
    return model, history


def test_a_finished_training_is_not_repeated(data, keeping, monkeypatch):
    model, history = train_one(data)
    assert len(list(keeping.iterdir())) == 1
    monkeypatch.setattr(training, "_lightning", None)  # another training would fail
    repeated, again = train_one(data)
    assert again.best_epoch == history.best_epoch
    assert again.epochs.equals(history.epochs)
    for name, value in model.state_dict().items():
        assert torch.equal(repeated.state_dict()[name], value)
    assert not repeated.training


def test_another_training_is_another_file(data, keeping):
    trainings = [{}, {"epochs": 4}, {"seed": 1}, {"learning_rate": 0.1}, {"dropout": 0.5}]
    for options in trainings:
        train_one(data, **options)
    train_one(data.select(range(29, -1, -1)))
    assert len(list(keeping.iterdir())) == len(trainings) + 1


def test_a_damaged_state_is_trained_anew(data, keeping):
    expected = numbers(train_folds(data))
    (file,) = keeping.glob("*.pt")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (bytes(content), content[:100], b""):
        file.write_bytes(damaged)
        for value, right in zip(numbers(train_folds(data)), expected, strict=True):
            np.testing.assert_array_equal(value, right)


def test_nothing_is_kept_unless_it_is_asked_for(data, keeping, monkeypatch):
    monkeypatch.delenv("AFFECTLIB_KEEP")
    train_one(data)
    train_folds(data)
    assert not keeping.exists()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        ("1", 1),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2, 1), torch.zeros(2)),
        ([1, [2]], [1, 2]),
        ({"a": 1}, {"b": 1}),
        (mse_pcc_loss, nn.functional.mse_loss),
        (None, 0),
    ],
)
def test_parts_that_differ_have_different_keys(one, other):
    assert kept.key(one) == kept.key(one)
    assert kept.key(one) != kept.key(other)


def test_what_cannot_be_told_is_refused():
    with pytest.raises(TypeError, match="the value of object cannot be told"):
        kept.key(object())
