"""The fast training of mood_change gives the numbers of the plain one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from affectlib.models import mood_change as plain
from affectlib.models.mood_change import FusionMLP, MoodCNN, Task, TwoBranchCNN, Windows
from affectlib.stacked import mood_change as fast

torch.set_num_threads(1)  # torch may have been loaded before affectlib asked for it

FOLDS = [
    SimpleNamespace(
        name="first", train=np.arange(6), validation=np.arange(6, 8), test=np.arange(8, 10)
    ),
    SimpleNamespace(
        name="second", train=np.arange(4, 10), validation=np.arange(2, 4), test=np.arange(2)
    ),
]


@pytest.fixture(autouse=True)
def double_precision():
    """Rounding grows while a network learns; in single precision it would hide a mistake."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def windows_of(k, clips=10, frames=18):
    """Windows of noise with random labels."""
    generator = torch.Generator().manual_seed(0)
    count = frames - k + 1
    start = (torch.arange(clips)[:, None] * frames + torch.arange(count)).flatten()
    targets = {}
    for name in ("mood", "change"):
        targets[name] = torch.randint(0, 3, (len(start),), generator=generator)
    shape = (clips * frames, 32, 32, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Windows(pixels, start, k, np.repeat(np.arange(clips), count), targets)


@pytest.mark.parametrize("k", [2, 3, 5, 9, 15])
@pytest.mark.parametrize("training", [True, False])
def test_embeddings_and_gradients_are_those_of_conv3d(k, training):
    torch.manual_seed(0)
    shared = TwoBranchCNN(shared="convolutions")
    branches = [MoodCNN(), MoodCNN(), *shared.branches]
    for branch in branches:
        branch.train(training)
    x = windows_of(k).take(torch.arange(8))

    def gradients(embeddings):
        for branch in branches:
            branch.zero_grad()
        weights = torch.randn(
            embeddings.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        )
        (embeddings * weights).sum().backward()
        collected = []
        for branch in branches:
            collected += [p.grad.clone() for p in branch.parameters() if p.grad is not None]
        return collected

    def plain_embeddings():
        single = [branch.embed(x) for branch in branches[:2]]
        return torch.stack(single + shared.embed_branches(x))

    expected = plain_embeddings()
    found = torch.stack(fast.embed_side_by_side(branches, x))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    for ours, theirs in zip(gradients(found), gradients(plain_embeddings()), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def networks(fold, seed):
    return {
        "mood": Task(MoodCNN()),
        "change": Task(MoodCNN(), ("change",)),
        "2-CNN": Task(TwoBranchCNN(), ("mood", "change")),
        "shared": Task(TwoBranchCNN(shared="convolutions"), ("mood", "change")),
    }


def every_model(fit):
    """All models of the paper, one after the other."""
    windows = windows_of(5, frames=12)
    options = {"seeds": (0, 1), "epochs": 3, "batch_size": 20}
    runs = fit(networks, windows, FOLDS, **options)
    by_key = {(run.name, run.fold.name, run.seed): run.model for run in runs}

    def fusions(fold, seed):
        mood, change = (by_key[name, fold.name, seed] for name in ("mood", "change"))
        return {"fusion": Task(FusionMLP(mood, change))}

    fused = fit(fusions, windows, FOLDS, **options)
    teachers = {(run.fold.name, run.seed): run.model for run in fused}

    def students(fold, seed):
        teacher = teachers[fold.name, seed]
        return {"alone": Task(MoodCNN()), "taught": Task(MoodCNN(), teacher=teacher)}

    return [*runs, *fused, *fit(students, windows, FOLDS, **options)]


def test_training_of_every_model_gives_the_numbers_of_the_plain_one():
    expected = every_model(plain.fit_mood_folds)
    found = every_model(fast.fit_mood_folds)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.name, ours.fold.name, ours.seed) == (
            theirs.name,
            theirs.fold.name,
            theirs.seed,
        )
        assert ours.best_epoch == theirs.best_epoch
        np.testing.assert_allclose(ours.epochs, theirs.epochs, atol=1e-8)
        for way in ("clean", "paper"):
            torch.testing.assert_close(ours.logits[way], theirs.logits[way], rtol=0, atol=1e-7)


def test_every_tensor_is_made_on_the_device_that_was_asked_for():
    """A stand-in for a graphics card: whatever is made anywhere else has no values here."""
    windows = windows_of(5)
    options = {"epochs": 2, "batch_size": 20}

    def students(fold, seed):
        with torch.device("cpu"):
            student = MoodCNN(dropout=0.4)
            teacher = MoodCNN()
        return {"taught": Task(student, teacher=teacher)}

    expected = fast.fit_mood_folds(students, windows, FOLDS, **options)
    torch.set_default_device("meta")
    try:
        found = fast.fit_mood_folds(students, windows, FOLDS, device="cpu", **options)
    finally:
        torch.set_default_device(None)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.logits["clean"], theirs.logits["clean"])
        np.testing.assert_array_equal(ours.epochs, theirs.epochs)
