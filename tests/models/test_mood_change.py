"""Networks, losses and training of mood_change, and why its 2-CNN cannot work."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from affectlib import results
from affectlib.baselines.mood_change import linear_predictions
from affectlib.corpora import frame_array, with_mood
from affectlib.metrics import balanced_accuracy
from affectlib.models.mood_change import (
    FusionMLP,
    MoodCNN,
    Task,
    TwoBranchCNN,
    Windows,
    distillation_loss,
    fit_mood_folds,
    grad_cam,
    subject_folds,
    vote,
)
from affectlib.simulate import make_afew_va
from affectlib.statistics import paired_difference

torch.set_num_threads(1)  # torch may have been loaded before affectlib asked for it


def fusion():
    return FusionMLP(MoodCNN(), MoodCNN())


def pictures(n, k=5, seed=0):
    return torch.randint(
        0, 256, (n, k, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture(scope="module")
def toy():
    """Twelve clips of ten frames. Brightness is the mood; it rises, stays or falls."""
    rng = np.random.default_rng(0)
    moods, changes = np.arange(12) % 3, np.arange(12) // 3 % 3
    level = (
        60
        + 60 * moods[:, None]
        + 5 * (changes[:, None] - 1) * np.arange(10)
        + rng.normal(0, 1, (12, 10))
    )
    frames = level.reshape(-1, 1, 1, 1) + rng.normal(0, 8, (120, 32, 32, 3))
    start = (np.arange(12)[:, None] * 10 + np.arange(6)).ravel()
    clip = np.repeat(np.arange(12), 6)
    targets = {"mood": torch.tensor(moods[clip]), "change": torch.tensor(changes[clip])}
    return Windows(
        torch.tensor(frames.clip(0, 255).astype(np.uint8)), torch.tensor(start), 5, clip, targets
    )


FOLD = SimpleNamespace(
    name="fold", train=np.arange(6), validation=np.arange(6, 9), test=np.arange(9, 12)
)


def test_parameters_counted_by_hand():
    convolutions = 16 * (3 * 27 + 1) + 32 * (16 * 27 + 1) + 32 * (32 * 27 + 1) + 2 * 32
    dense, head = 512 * (32 + 1), 3 * (512 + 1)
    assert sum(p.numel() for p in MoodCNN().parameters()) == convolutions + dense + head
    assert sum(p.numel() for p in TwoBranchCNN().parameters()) == 2 * (convolutions + dense + head)
    shared = TwoBranchCNN(shared="convolutions")
    assert sum(p.numel() for p in shared.parameters()) == convolutions + 2 * (dense + head)
    mlp = 512 * (1024 + 1) + 256 * (512 + 1) + 3 * (256 + 1)
    assert sum(p.numel() for p in fusion().parameters() if p.requires_grad) == mlp
    with pytest.raises(ValueError, match="shared"):
        TwoBranchCNN(shared="everything")


def test_same_padding_leaves_one_cell():
    shapes = []
    model = MoodCNN()
    for layer in model.convolutions:
        layer.register_forward_hook(lambda _m, _x, y: shapes.append(tuple(y.shape[2:])))
    model.eval()(pictures(1))
    assert [s for i, s in enumerate(shapes) if i % 3 != 1][:6] == [
        (2, 11, 11),
        (1, 6, 6),
        (1, 2, 2),
        (1, 1, 1),
        (1, 1, 1),
        (1, 1, 1),
    ]


def test_without_padding_too_little_is_left_of_five_frames():
    x = torch.nn.Conv3d(3, 16, 3, stride=3)(torch.zeros(1, 3, 5, 32, 32))
    assert x.shape[2:] == (1, 10, 10)
    for layer in (torch.nn.AvgPool3d(2), torch.nn.Conv3d(16, 32, 3, stride=3)):
        with pytest.raises(RuntimeError, match=r"(?i)kernel size"):
            layer(x)


def test_weights_without_a_gradient_are_those_that_only_meet_padding():
    """Convolution 2 sees one of three time steps, convolution 3 one cell of 27."""
    gets_gradient = {}
    for seed in range(30):  # a unit is silent for some weights, and not for others
        torch.manual_seed(seed)
        model = MoodCNN()
        model(pictures(16, seed=seed)).square().sum().backward()
        for name, parameter in model.named_parameters():
            mask = parameter.grad != 0
            gets_gradient[name] = gets_gradient.get(name, False) | mask
    dead = {name: int((~mask).sum()) for name, mask in gets_gradient.items()}
    structural = {"convolutions.3.weight": 32 * 16 * 18, "convolutions.6.weight": 32 * 32 * 26}
    assert {name: count for name, count in dead.items() if count} == structural
    assert sum(structural.values()) == 35_840


def test_pooling_at_the_edge_averages_what_is_there():
    x = torch.randn(1, 1, 3, 3, 3)
    pooled = MoodCNN().convolutions[2](x)
    assert pooled.shape == (1, 1, 2, 2, 2)
    assert pooled[0, 0, 1, 1, 1] == pytest.approx(float(x[0, 0, 2, 2, 2]), abs=1e-6)
    assert pooled[0, 0, 0, 0, 1] == pytest.approx(float(x[0, 0, :2, :2, 2].mean()), abs=1e-6)


def mood_gradients(model, x, mood, change, *, with_change):
    torch.manual_seed(1)  # one dropout for both
    model.train().zero_grad()
    branches = model.branches
    loss = F.cross_entropy(branches[0](x), mood)
    if with_change:
        loss = loss + F.cross_entropy(branches[1](x), change)
    loss.backward()
    return {name: p.grad.clone() for name, p in branches[0].named_parameters()}


def test_change_loss_cannot_move_the_mood_branch_of_the_papers_network():
    torch.manual_seed(0)
    model, x = TwoBranchCNN(), pictures(32)
    mood, change = (torch.randint(0, 3, (32,)) for _ in range(2))
    alone, both = (
        mood_gradients(copy.deepcopy(model), x, mood, change, with_change=w) for w in (False, True)
    )
    single = mood_gradients(copy.deepcopy(model.mood), x, mood, change, with_change=False)
    assert all(
        torch.equal(alone[name], both[name]) and torch.equal(alone[name], single[name])
        for name in alone
    )


def test_shared_convolutions_feel_the_change_loss_and_the_rest_does_not():
    torch.manual_seed(0)
    model, x = TwoBranchCNN(shared="convolutions"), pictures(32)
    mood, change = (torch.randint(0, 3, (32,)) for _ in range(2))
    alone, both = (
        mood_gradients(copy.deepcopy(model), x, mood, change, with_change=w) for w in (False, True)
    )
    for name in alone:
        assert torch.equal(alone[name], both[name]) != name.startswith("convolutions"), name


def test_distillation_loss_written_out():
    rng = np.random.default_rng(0)
    target, student, teacher = (
        rng.integers(0, 3, 7),
        rng.normal(size=(7, 3)),
        rng.normal(size=(7, 3)),
    )
    alpha, temperature = 0.15, 7.0

    def softmax(z):
        return [np.exp(v) / sum(np.exp(w) for w in z) for v in z]

    total = 0.0
    for y, s, t in zip(target, student, teacher, strict=True):
        p, q = softmax(t / temperature), softmax(s / temperature)
        divergence = sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))
        total += -alpha * np.log(softmax(s)[y]) + (1 - alpha) * temperature**2 * divergence
    found = distillation_loss(
        *map(torch.tensor, (target, student, teacher)), alpha=alpha, temperature=temperature
    )
    assert float(found) == pytest.approx(total / 7, rel=1e-6)
    student, target = torch.tensor(student), torch.tensor(target)
    plain = distillation_loss(target, student, torch.tensor(teacher), alpha=1.0)
    assert float(plain) == pytest.approx(float(F.cross_entropy(student, target)), rel=1e-6)
    same = distillation_loss(target, student, student, alpha=0.0)
    assert float(same) == pytest.approx(0, abs=1e-9)


def test_training_equals_a_plain_loop(toy):
    """Without dropout: order of windows, Adam, evaluation, and the epoch that is kept."""
    (fitted,) = fit_mood_folds(
        lambda fold, seed: {"a": Task(MoodCNN(dropout=0.0))},
        toy,
        [FOLD],
        seeds=(4,),
        epochs=5,
        batch_size=10,
    )
    torch.manual_seed(4)
    model = MoodCNN(dropout=0.0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    parts = {
        name: torch.tensor(np.flatnonzero(np.isin(toy.clip, clips)))
        for name, clips in vars(FOLD).items()
        if name != "name"
    }
    losses, states = [], []
    for epoch in range(1, 6):
        order = parts["train"][torch.randperm(36, generator=torch.Generator().manual_seed(epoch))]
        model.train()
        for start in (0, 10, 20):  # complete batches only
            rows = order[start : start + 10]
            optimiser.zero_grad()
            F.cross_entropy(model(toy.take(rows)), toy.targets["mood"][rows]).backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            held = parts["validation"]
            losses.append(float(F.cross_entropy(model(toy.take(held)), toy.targets["mood"][held])))
            states.append((copy.deepcopy(model.state_dict()), model(toy.take(parts["test"]))))
    assert fitted.epochs["validation_loss"].tolist() == pytest.approx(losses, rel=1e-5)
    best = int(np.argmin(losses))
    assert fitted.best_epoch == best + 1
    assert torch.allclose(fitted.logits["clean"], states[best][1], atol=1e-4)
    with torch.no_grad():
        assert torch.allclose(
            fitted.model(toy.take(fitted.test)), fitted.logits["clean"], atol=1e-5
        )


def everything(fold, seed):
    return {
        "mood": Task(MoodCNN()),
        "change": Task(MoodCNN(), ("change",)),
        "2-CNN": Task(TwoBranchCNN(), ("mood", "change")),
        "shared": Task(TwoBranchCNN(shared="convolutions"), ("mood", "change")),
    }


@pytest.fixture(scope="module")
def trained(toy):
    return {
        (run.name, run.seed): run
        for run in fit_mood_folds(everything, toy, [FOLD], seeds=(0, 1), epochs=25, batch_size=12)
    }


@pytest.mark.parametrize("name", ["mood", "change", "2-CNN", "shared"])
def test_every_network_learns_the_toy_and_keeps_its_best(trained, toy, name):
    run = trained[name, 0]
    truth = toy.targets["change" if name == "change" else "mood"][run.test]
    least = 0.9 if name != "change" else 0.6
    assert (run.logits["clean"].argmax(-1) == truth).double().mean() >= least
    assert run.epochs["validation_loss"].idxmin() + 1 == run.best_epoch
    assert len(run.epochs) == 25 and not run.model.training
    paper, clean = (F.cross_entropy(run.logits[kind], truth) for kind in ("paper", "clean"))
    assert paper <= clean  # chosen on the test windows themselves
    right = {}
    for kind, logits in run.logits.items():
        right[kind] = int((logits.argmax(-1) == truth).sum())
    assert right["accuracy"] == max(right.values())


def test_training_repeats_under_a_seed_and_differs_without(toy):
    options = {"seeds": (0, 1), "epochs": 4, "batch_size": 12}
    once, again = (fit_mood_folds(everything, toy, [FOLD], **options) for _ in range(2))
    for first, second in zip(once, again, strict=True):
        assert torch.equal(first.logits["clean"], second.logits["clean"])
        assert first.epochs.equals(second.epochs)
    mood = {run.seed: run for run in once if run.name == "mood"}
    assert not torch.equal(mood[0].logits["clean"], mood[1].logits["clean"])


def test_folds_in_threads_change_no_number(toy):
    folds = [
        SimpleNamespace(
            name=str(i), train=np.arange(6), validation=np.arange(6, 9), test=np.arange(9, 12)
        )
        for i in range(3)
    ]
    one, three = (
        fit_mood_folds(everything, toy, folds, epochs=2, batch_size=12, jobs=jobs)
        for jobs in (1, 3)
    )
    assert [(run.name, run.fold.name) for run in one] == [
        (run.name, run.fold.name) for run in three
    ]
    assert all(
        torch.equal(a.logits["clean"], b.logits["clean"]) for a, b in zip(one, three, strict=True)
    )


def test_the_papers_two_branches_are_trained_as_two_single_ones(toy):
    def build(fold, seed):
        torch.manual_seed(0)
        two = TwoBranchCNN(dropout=0.0)
        mood, change = copy.deepcopy(two.mood), copy.deepcopy(two.change)
        return {
            "two": Task(two, ("mood", "change")),
            "mood": Task(mood),
            "change": Task(change, ("change",)),
        }

    two, mood, _ = fit_mood_folds(build, toy, [FOLD], epochs=6, batch_size=12)
    assert torch.allclose(two.logits["clean"], mood.logits["clean"], atol=1e-5)
    assert two.best_epoch == mood.best_epoch


def test_teacher_and_student(trained, toy):
    def fusions(fold, seed):
        return {"mlp": Task(FusionMLP(trained["mood", seed].model, trained["change", seed].model))}

    before = copy.deepcopy(trained["mood", 0].model.state_dict())
    (teacher,) = fit_mood_folds(fusions, toy, [FOLD], epochs=8, batch_size=12)
    truth = toy.targets["mood"][teacher.test]
    assert (teacher.logits["clean"].argmax(-1) == truth).double().mean() >= 0.9
    with torch.no_grad():
        assert torch.allclose(
            teacher.model(toy.take(teacher.test)), teacher.logits["clean"], atol=1e-4
        )
    for state in (trained["mood", 0].model.state_dict(), teacher.model.mood.state_dict()):
        assert all(torch.equal(before[name], state[name]) for name in before)

    def students(fold, seed):
        torch.manual_seed(0)
        alone = MoodCNN(dropout=0.0)
        deaf = Task(copy.deepcopy(alone), teacher=teacher.model, alpha=1.0)
        return {
            "alone": Task(alone),
            "deaf": deaf,
            "taught": Task(copy.deepcopy(alone), teacher=teacher.model),
        }

    alone, deaf, taught = fit_mood_folds(students, toy, [FOLD], epochs=6, batch_size=12)
    assert torch.allclose(
        alone.logits["clean"], deaf.logits["clean"], atol=1e-4
    )  # alpha 1 hears no teacher
    assert not torch.allclose(alone.logits["clean"], taught.logits["clean"], atol=1e-2)


def test_grad_cam_written_out(trained):
    model, x, target = trained["mood", 0].model, pictures(3), torch.tensor([0, 1, 2])
    found = grad_cam(model, x, target)
    seen = []
    handle = model.convolutions[0].register_forward_hook(lambda _m, _x, y: seen.append(y))
    logits = model(x)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[torch.arange(3), target].sum(), seen[0])
    map_ = (gradient.mean((2, 3, 4), keepdim=True) * seen[0]).sum(1, keepdim=True).relu()
    expected = F.interpolate(map_, (5, 32, 32), mode="trilinear", align_corners=False)[:, 0]
    assert found.shape == (3, 5, 32, 32) and torch.allclose(found, expected, atol=1e-6)
    two = trained["2-CNN", 0].model
    assert torch.allclose(grad_cam(two, x, target), grad_cam(two.mood, x, target))


def test_vote_counts_windows_and_breaks_ties_by_probability():
    logits = torch.tensor([[3.0, 0, 0], [0, 1, 0], [0, 1, 0], [9, 0, 0], [0, 0, 1]])
    assert vote(logits, ["a", "a", "a", "b", "b"]).tolist() == [1, 0]


def test_windows_and_folds_refuse_what_does_not_fit(toy):
    with pytest.raises(ValueError, match="do not hold"):
        Windows(toy.frames, toy.start + 100, 5, toy.clip, {})
    with pytest.raises(ValueError, match="lengths differ"):
        Windows(toy.frames, toy.start, 5, toy.clip[1:], {})
    with pytest.raises(ValueError, match="fold: 36 windows to train on, 0 to validate"):
        fit_mood_folds(everything, toy, [SimpleNamespace(**(vars(FOLD) | {"validation": []}))])
    mixed = {"a": Task(MoodCNN(dropout=0.4)), "b": Task(MoodCNN(dropout=0.5))}
    with pytest.raises(ValueError, match=r"share their dropout, found \[0\.4, 0\.5\]"):
        fit_mood_folds(lambda fold, seed: mixed, toy, [FOLD], epochs=1)
    with pytest.raises(ValueError, match="never a number"):
        fit_mood_folds(everything, toy, [FOLD], epochs=1, learning_rate=1e30)


def test_scores_by_actor_average_to_those_of_all_windows():
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 200, p=[0.7, 0.2, 0.1])
    predictions = rng.integers(0, 3, (2, 200))
    actors = rng.choice(list("abcdefg"), 200)
    scores = results.scores_by_actor("x", truth, predictions, actors)
    assert scores.columns.tolist() == ["row", "column", "group", "value"]
    for seed, prediction in enumerate(predictions):
        of_column = scores[scores["column"] == "balanced accuracy"]
        values = of_column.groupby("group")["value"].nth(seed)
        # Pseudo-values average to the metric but for the bias of a mean of ratios.
        assert values.mean() == pytest.approx(balanced_accuracy(truth, prediction), abs=0.02)
    of_a = scores[(scores["column"] == "accuracy") & (scores["group"] == "a")]["value"]
    in_a = actors == "a"
    assert of_a.tolist() == pytest.approx(
        [(prediction[in_a] == truth[in_a]).mean() for prediction in predictions]
    )


def linear_control(root, **planted):
    """Balanced accuracy of the linear model of change, and its gain for mood over actors."""
    corpus = with_mood(make_afew_va(root, n_clips=60, frames=(15, 20), jobs=1, **planted))
    windows = Windows.cut(corpus, frame_array(corpus), 5)
    actors = corpus.clips["group"].to_numpy()[windows.clip]
    found = linear_predictions(windows, subject_folds(corpus), actors)
    change = balanced_accuracy(windows.targets["change"].numpy(), found["change"])
    of_models = []
    for name in ("mood", "mood, change"):
        scores = results.scores_by_actor(name, windows.targets["mood"].numpy(), found[name], actors)
        of_models.append(scores.loc[scores["column"] == "accuracy", "value"].to_numpy())
    return change, paired_difference(of_models[1], of_models[0])


def test_linear_models_find_a_planted_change_and_what_it_says_about_mood(tmp_path):
    change, gain = linear_control(tmp_path / "planted")
    assert change > 0.7
    assert gain.low > 0


def test_linear_models_find_nothing_where_nothing_is_planted(tmp_path):
    change, gain = linear_control(tmp_path / "null", change_seen=False, change_tells=False)
    assert 0.25 < change < 0.42
    assert gain.low < 0.02 and abs(gain.mean) < 0.03


def test_linear_models_refuse_folds_that_leave_windows_out(toy):
    with pytest.raises(ValueError, match="every window once"):
        linear_predictions(toy, [FOLD], ["a"] * len(toy))
