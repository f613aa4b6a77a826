import copy
import functools
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss

from affectlib.models import shot_long
from affectlib.models.shot_long import (
    InterClip,
    IntraClip,
    clips_of,
    exponential_moving_average,
    fit_alone,
    mean_face,
    pick,
    progressive_fit,
    runs_of,
    shares,
    spread,
)
from affectlib.results import published
from affectlib.simulate.affect import remembered_course
from affectlib.training import Samples, fit, predict, samples

SIZES, SECONDS = (6, 4, 5), 4
NOISE = (1.5, 0.4, 4.0)  # of the three modalities: the second is the clearest


@pytest.fixture(scope="module")
def data():
    """Eight films of 40 s; each modality shows the truth under another noise."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.clip(rng.normal(0, 0.5, (8, 10)), -0.9, 0.9), SECONDS, axis=1).ravel()
    inputs = tuple(
        torch.from_numpy(
            truth[:, None] * rng.choice([-1, 1], size) + rng.normal(0, noise, (len(truth), size))
        ).float()
        for size, noise in zip(SIZES, NOISE, strict=True)
    )
    ids = tuple(f"film{row // 40}:{row % 40:04d}" for row in range(len(truth)))
    seconds = Samples(
        inputs, torch.tensor(truth, dtype=torch.float32), ids, tuple(name[:5] for name in ids)
    )
    return clips_of(seconds, SECONDS)[0]


@pytest.fixture(scope="module")
def parts(data):
    return data.select(range(60)), data.select(range(60, 80))


def small(seed=0, **options):
    torch.manual_seed(seed)
    return IntraClip(**{"sizes": SIZES, "hidden": 4, "width": 6} | options)


quick = functools.partial(
    fit, loss=mse_loss, epochs=25, batch_size=20, learning_rate=0.01, patience=25
)
few = functools.partial(quick, epochs=2)  # where nothing has to be learned


# within a clip


def lstm_by_hand(lstm, x, layer, backward):
    """The equations, one second after the other: hidden states ``(seconds, hidden)``."""
    suffix = f"_l{layer}" + "_reverse" * backward
    w, u, b, c = (
        getattr(lstm, f"{name}{suffix}")
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden, cell, states = torch.zeros(u.shape[1]), torch.zeros(u.shape[1]), []
    for second in x.flip(0) if backward else x:
        i, f, g, o = (w @ second + b + u @ hidden + c).chunk(4)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        states.append(hidden)
    return torch.stack(states[::-1] if backward else states)


def test_a_clip_is_the_sum_of_both_ends_of_two_layers_then_two_dense_layers(data):
    model = small()
    chosen = data.take([3])
    with torch.no_grad():
        predictions = model(chosen)
        total = 0
        for lstm, x in zip(model.lstms, chosen, strict=True):
            lower = torch.cat(
                [lstm_by_hand(lstm, x[0], 0, False), lstm_by_hand(lstm, x[0], 0, True)], 1
            )
            total += torch.cat(
                [lstm_by_hand(lstm, lower, 1, False)[-1], lstm_by_hand(lstm, lower, 1, True)[0]]
            )
        by_hand = torch.tanh(model.head[0](model.dense(total).relu()))
    assert torch.allclose(predictions, by_hand, atol=1e-6)


def test_sizes_are_the_paper_s():
    assert shot_long.SIZES == {"Audio": 128, "Scene": 512, "Expression": 3072, "Action": 128}
    model = IntraClip()
    assert [lstm.input_size for lstm in model.lstms] == [128, 512, 3072]
    assert all(
        lstm.num_layers == 2 and lstm.bidirectional for lstm in [*model.lstms, InterClip().lstm]
    )


def test_training_learns_and_repeats_under_a_seed(parts):
    runs = []
    for _ in range(2):
        model = small(2)
        history = quick(model, *parts)
        runs.append(predict(model, parts[1]).prediction)
    assert (
        np.array_equal(*runs)
        and history.epochs["validation_loss"].min() < 0.5 * parts[1].target.var()
    )


# progressive training


class Watch:
    """Trains, and keeps what every LSTM was before and after."""

    def __init__(self, model, train=quick):
        self.model, self.train, self.calls = model, train, []

    def states(self):
        return [copy.deepcopy(lstm.state_dict()) for lstm in self.model.lstms]

    def __call__(self, model, *parts):
        before, first = self.states(), copy.deepcopy(model.state_dict())
        history = self.train(model, *parts)
        changed = [
            any(not torch.equal(a[k], b[k]) for k in a)
            for a, b in zip(before, self.states(), strict=True)
        ]
        self.calls.append((type(model).__name__, changed, first, copy.deepcopy(model.state_dict())))
        return history


@pytest.fixture(scope="module")
def stage_one(parts):
    """Each modality trained alone, and the model before and after."""
    model = small()
    before = copy.deepcopy(model.state_dict())
    return fit_alone(model, *parts, fit=quick), before, model.state_dict()


def test_each_step_changes_the_newcomer_only(parts, stage_one):
    model = small()
    alone, _, _ = stage_one
    watch = Watch(model, train=few)
    steps = progressive_fit(model, *parts, fit=watch, alone=alone)
    assert steps[-2].used == (1, 0, 2), "the order of planted noise"
    assert [changed for _, changed, _, _ in watch.calls] == [
        [True, False, False],
        [False, False, True],
        [True] * 3,
    ]


def test_auxiliary_heads_are_fresh_and_discarded(parts):
    model = small()
    watch = Watch(model, train=few)
    begin = copy.deepcopy(model.state_dict())
    progressive_fit(model, *parts, fit=watch)
    *_, (_, _, second, second_after), (_, _, third, third_after), (name, _, last, _) = watch.calls
    heads = [
        {k: v for k, v in state.items() if k.startswith(("dense", "head"))}
        for state in (second, second_after, third, third_after)
    ]
    assert all(not torch.equal(a["dense.weight"], b["dense.weight"]) for a, b in pairwise(heads))
    assert name == "IntraClip" and torch.equal(last["dense.weight"], begin["dense.weight"])


def test_stage_one_leaves_the_model_alone_and_ranks_by_validation_error(parts, stage_one):
    alone, before, after = stage_one
    assert all(torch.equal(before[k], v) for k, v in after.items())
    scores = [
        float(
            (
                (
                    predict(step.model, pick(parts[1], step.used)).prediction
                    - parts[1].target.numpy()
                )
                ** 2
            ).mean()
        )
        for step in alone
    ]
    assert np.allclose(scores, [step.score for step in alone], rtol=1e-5) and np.argmin(scores) == 1


def test_the_frozen_sum_is_what_running_the_earlier_modalities_gives(parts):
    steps = progressive_fit(small(), *parts, fit=few)
    for step in steps:
        predictions = predict(step.model, pick(parts[1], step.used)).prediction
        assert np.isclose(
            ((predictions - parts[1].target.numpy()) ** 2).mean(), step.score, rtol=1e-4
        )
    assert [len(step.used) for step in steps] == [1, 2, 3, 3]


def test_residual_training_beats_the_best_modality_where_the_others_complete_it():
    rng = np.random.default_rng(1)
    halves = np.repeat(
        rng.uniform(-0.45, 0.45, (80, 2)), SECONDS, axis=0
    )  # each modality knows one part of the truth
    inputs = tuple(
        torch.tensor(half[:, None] + rng.normal(0, 0.05, (len(half), 3)), dtype=torch.float32)
        for half in halves.T
    )
    ids = tuple(f"film{row // 40}:{row % 40:04d}" for row in range(len(halves)))
    films = tuple(name[:5] for name in ids)
    data = clips_of(
        Samples(inputs, torch.tensor(halves.sum(1), dtype=torch.float32), ids, films), SECONDS
    )[0]
    first, *_, last = progressive_fit(
        small(sizes=(3, 3)), data.select(range(60)), data.select(range(60, 80)), fit=quick
    )
    assert last.score < 0.5 * first.score


def test_classes_are_learned_by_the_same_training(parts):
    named = [
        replace(part, target=(part.target > 0.2).long() + (part.target > -0.2).long())
        for part in parts
    ]
    loss = functools.partial(quick, loss=lambda truth, logits: cross_entropy(logits, truth))
    model = small(outputs=3)
    progressive_fit(model, *named, fit=loss)
    predictions = predict(model, named[1])
    assert (
        predictions.prediction.shape == (20, 3)
        and (predictions.prediction.argmax(1) == predictions.truth).mean() > 0.6
    )


def test_wrong_input_to_progressive_training_is_named(parts):
    with pytest.raises(ValueError, match="alone has 1 steps, the model has 3"):
        progressive_fit(small(), *parts, fit=few, alone=fit_alone(small(), *parts, fit=few)[:1])
    plain = Samples((torch.zeros(2, 3, 6),) * 3, torch.zeros(2), ("a", "b"), ("a", "b"))
    with pytest.raises(ValueError, match="window of seconds"):
        progressive_fit(small(), plain, plain, fit=quick)


def test_shares_are_the_final_states_and_their_sum_is_what_the_dense_layers_see(data):
    model = small()
    parts = shares(model, data)
    assert parts.shape == (3, len(data), 8)
    with torch.no_grad():
        for i, lstm in enumerate(model.lstms):
            states, _ = lstm(data.inputs[i][data.windows])  # both directions side by side
            by_hand = torch.cat([states[:, -1, :4], states[:, 0, 4:]], 1)
            assert torch.allclose(parts[i], by_hand, atol=1e-6)
        prediction = model.head(model.dense(parts.sum(0)).relu()).squeeze(-1)
        whole = model(data.take(range(len(data))))
    assert torch.allclose(prediction, whole, atol=1e-6)


def test_wrong_input_to_shares_is_named(data):
    with pytest.raises(ValueError, match="data has 2 inputs, the model has 3 modalities"):
        shares(small(), pick(data, [0, 1]))
    with pytest.raises(ValueError, match="window of seconds"):
        shares(small(), replace(data, windows=None, inputs=(torch.zeros(80, 6),) * 3))


# clips, runs and the way back to seconds


def seconds_of(lengths):
    ids = tuple(f"film{i}:{k:04d}" for i, n in enumerate(lengths) for k in range(n))
    return Samples(
        (torch.zeros(len(ids), 2),), torch.arange(float(len(ids))), ids, tuple(i[:5] for i in ids)
    )


def test_clips_stay_within_their_film_and_cover_every_second():
    data = seconds_of((7, 3, 2))
    clips, owner = clips_of(data, 3)
    assert clips.windows.tolist() == [[0, 1, 2], [3, 4, 5], [6, 6, 6], [7, 8, 9], [10, 11, 11]]
    assert owner.tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 4, 4]
    assert clips.target.tolist() == [1, 4, 6, 8, 10.5], "the mean of the seconds of a clip"
    assert clips.groups == ("film0", "film0", "film0", "film1", "film2")
    assert clips.inputs[0] is data.inputs[0], "gathered, not copied"


def test_seconds_out_of_order_are_refused():
    data = seconds_of((2, 2))
    with pytest.raises(ValueError, match="do not stand together"):
        clips_of(data.select([0, 2, 1]), 2)
    with pytest.raises(
        ValueError, match="expected consecutive seconds, found film0:0000 after film0:0001"
    ):
        clips_of(data.select([1, 0, 2]), 2)
    with pytest.raises(ValueError, match="length is 0"):
        clips_of(data, 0)


def test_a_gap_within_a_film_is_refused():
    data = seconds_of((5, 2))
    with pytest.raises(
        ValueError, match="expected consecutive seconds, found film0:0003 after film0:0001"
    ):
        clips_of(data.select([0, 1, 3, 4, 5, 6]), 2)
    assert len(clips_of(data.select([2, 3, 4, 6]), 2)[0]) == 3, "a film may begin later"


def test_no_clip_holds_two_films():
    data = replace(seconds_of((3, 2)), ids=tuple("abcde"))  # without a source: by group
    assert clips_of(data, 2)[0].windows.tolist() == [[0, 1], [2, 2], [3, 4]]
    excerpts = replace(seconds_of((3, 2)), groups=("one film",) * 5)
    assert clips_of(excerpts, 2)[0].windows.tolist() == [[0, 1], [2, 2], [3, 4]], (
        "two excerpts of one film"
    )
    with pytest.raises(ValueError, match="film0 belongs to two groups, a and b"):
        clips_of(replace(seconds_of((3,)), groups=("a", "b", "b")), 2)


@pytest.mark.parametrize(
    ("stride", "windows"),
    [(1, [[0, 1, 2], [1, 2, 3], [2, 3, 4], [5, 6, 6]]), (3, [[0, 1, 2], [2, 3, 4], [5, 6, 6]])],
)
def test_runs_of_clips(stride, windows):
    clips, _ = clips_of(seconds_of((5, 2)), 1)
    runs = runs_of(clips, torch.zeros(7, 4), 3, stride=stride)
    assert runs.windows.tolist() == windows and runs.target.squeeze(-1).tolist() == windows
    assert set(runs.groups) == {"film0", "film1"} and len(runs) == len(windows)
    assert np.isfinite(spread(np.ones((len(windows), 3)), runs.windows, 7)).all()


def test_spread_is_the_mean_over_the_runs_of_a_clip():
    windows, values = [[0, 1], [1, 2], [1, 1]], [[1.0, 2.0], [4.0, 8.0], [3.0, 5.0]]
    pairs = list(zip(np.ravel(windows), np.ravel(values), strict=True))
    slow = [np.mean([value for i, value in pairs if i == clip] or np.nan) for clip in range(4)]
    assert np.allclose(spread(np.array(values), np.array(windows), 4), slow, equal_nan=True)


def test_every_clip_of_a_run_counts_in_the_loss():
    clips, _ = clips_of(replace(seconds_of((6, 6)), target=torch.linspace(-0.5, 0.5, 12)), 1)
    runs = runs_of(clips, torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), 3)
    seen = []
    torch.manual_seed(0)
    model = InterClip(size=4, hidden=3)
    history = fit(
        model,
        runs,
        runs,
        epochs=40,
        learning_rate=0.02,
        batch_size=4,
        loss=lambda truth, predictions: (seen.append(truth.shape), mse_loss(predictions, truth))[1],
    )
    assert {shape[1] for shape in seen} == {3}
    predictions = predict(model, runs)
    assert predictions.prediction.shape == predictions.truth.shape == (8, 3)
    assert np.isclose(
        ((predictions.prediction - predictions.truth) ** 2).mean(),
        history.epochs["validation_loss"].min(),
        rtol=1e-4,
    )
    assert history.epochs["validation_loss"].min() < 0.03


# moving average and faces


def test_the_moving_average_is_the_paper_s_equation_film_by_film():
    rng = np.random.default_rng(0)
    values, films = rng.normal(size=20), np.repeat(["a", "b"], (13, 7))
    for beta in (0.0, 0.5, 0.96, 0.99):
        slow = []
        for i, value in enumerate(values):
            start = i == 0 or films[i] != films[i - 1]
            slow.append(value if start else slow[-1] * beta + value * (1 - beta))
        assert np.allclose(exponential_moving_average(values, beta, by=films), slow)
    assert np.array_equal(exponential_moving_average(values, 0.0), values)


@pytest.mark.parametrize(
    ("arguments", "message"), [(([1.0], 1.0), "beta lies in"), (([1.0], -0.1), "beta lies in")]
)
def test_a_wrong_beta_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        exponential_moving_average(*arguments)
    with pytest.raises(ValueError, match="predictions has 2 rows, by has 1"):
        exponential_moving_average([1.0, 2.0], 0.5, by=["a"])


def correlations_of_moving_averages(memory, betas, *, films=8, seconds=7200, clip_seconds=10):
    """Within-film correlation of felt clips and the moving average of perfectly shown ones."""
    rng = np.random.default_rng(0)
    by_film = []
    for _ in range(films):
        shown, felt = remembered_course(seconds, hertz=1, memory=memory, rng=rng)
        shown_clips = shown[:, 1].reshape(-1, clip_seconds).mean(1)
        felt_clips = felt[:, 1].reshape(-1, clip_seconds).mean(1)
        smooth = [exponential_moving_average(shown_clips, beta) for beta in betas]
        by_film.append([np.corrcoef(felt_clips, values)[0, 1] for values in smooth])
    return np.array(by_film)  # (films, betas)


def test_a_beta_of_the_paper_helps_where_a_memory_was_planted():
    """exp(-10 / 240) is 0.96: the weight of the past per clip of a memory of 240 s."""
    without, chosen = correlations_of_moving_averages(240.0, (0.0, 0.96)).T
    assert (chosen - without).min() > 0.2
    assert chosen.mean() > 0.8


def test_a_beta_of_the_paper_harms_where_no_memory_was_planted():
    without, chosen = correlations_of_moving_averages(0.0, (0.0, 0.96)).T
    assert np.allclose(without, 1)
    assert (without - chosen).min() > 0.2


def test_the_mean_face_comes_from_training_seconds_with_a_face():
    faces = np.array([[1.0, 2], [3, 4], [100, 100], [0, 0], [0, 0], [50, 50]])
    found = np.array([True, True, True, False, False, True])
    filled = mean_face(faces, found, [0, 1, 3])  # the others are for validation and test
    assert filled[3].tolist() == filled[4].tolist() == [2, 3]
    assert np.array_equal(filled[found], faces[found])
    assert np.array_equal(
        filled, mean_face(faces, found, np.array([True, True, False, True, False, False]))
    )
    with pytest.raises(ValueError, match="no training second shows a face"):
        mean_face(faces, found, [3, 4])


# published tables


def test_published_tables_agree_with_the_text():
    cells = {
        n: published("shot_long", n).set_index(["row", "column"])["value"] for n in range(1, 7)
    }
    assert [len(table) for table in cells.values()] == [16, 16, 8, 8, 28, 18]
    quoted = {n: int(published("shot_long", n)["quoted"].sum()) for n in cells}
    assert quoted == {1: 0, 2: 0, 3: 0, 4: 0, 5: 24, 6: 16}
    ours = cells[5].xs("Ours", level="row")
    assert (
        ours["valence_mse"]
        == cells[3].xs("valence_mse", level="column").min()
        == cells[3]["4 clips", "valence_mse"]
    )
    assert ours["arousal_pcc"] == cells[4]["beta 0.98", "arousal_pcc"]
    assert cells[1].xs("arousal_mse", level="column").idxmin() == "Audio"
    assert isinstance(pd.Index(cells[3].index.get_level_values("row"))[0], str)


def test_the_lowest_error_does_not_choose_the_published_beta():
    table = published("shot_long", 4).pivot(index="row", columns="column", values="value")
    ours = published("shot_long", 5).query("row == 'Ours'").set_index("column")["value"]
    reported = table[(table - ours[table.columns]).abs().max(axis=1) < 1e-9].index.tolist()
    assert reported == ["beta 0.98"]
    assert table["arousal_mse"].idxmin() != "beta 0.98"
    assert table["arousal_pcc"].idxmax() != "beta 0.98", "nor does the highest correlation"


def test_the_row_of_gla_joins_the_errors_of_one_run_with_the_correlations_of_another():
    row = published("shot_long", 5).query("row.str.startswith('GLA')").set_index("column")["value"]
    runs = published("gla", 1).pivot(index="row", columns="column", values="value")
    is_equal = (runs - row[runs.columns]).abs() < 0.0005 + 1e-9  # row has three decimals
    errors = is_equal[["valence_mse", "arousal_mse"]].all(axis=1)
    correlations = is_equal[["valence_pcc", "arousal_pcc"]].all(axis=1)
    assert runs.index[errors].tolist() == ["Run 5"]
    assert runs.index[correlations].tolist() == ["Run 4"]


def test_samples_of_a_table_become_clips(data):
    class Table:
        clips = ("a:0000", "a:0001", "a:0002")

        def __getitem__(self, name):
            return np.arange(3.0)[:, None]

    frame = pd.DataFrame({"clip": Table.clips, "group": "a", "valence": [0.0, 1.0, 0.5]})
    clips, owner = clips_of(samples(Table(), frame, target="valence", names=("sound",)), 2)
    assert clips.target.tolist() == [0.5, 0.5] and owner.tolist() == [0, 0, 1]
