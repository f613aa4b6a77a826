"""GLA: its formulas written out, its windows, and its filters."""

import copy
import functools
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from affectlib.models.gla import (
    GLA,
    TCN,
    ContextGate,
    MixtureOfExperts,
    batch_statistics,
    butterworth,
    cross_entropy,
    cutoffs,
    film_by_film,
    last_states,
    moving_average,
    past_means,
    per_second,
    stretches,
    widths,
)
from affectlib.results import published
from affectlib.training import Samples, fit, predict

SIZES, FILMS, SECONDS = (5, 3), 6, 24


@pytest.fixture(scope="module")
def data():
    """Six films of 24 s; each modality carries valence and arousal, in [0, 1], under noise."""
    rng = np.random.default_rng(0)
    slow = np.cumsum(rng.normal(0, 0.5, (FILMS, SECONDS, 2)), axis=1).reshape(-1, 2)
    truth = 1 / (1 + np.exp(-slow))
    inputs = tuple(
        torch.from_numpy(
            slow @ rng.normal(size=(2, size)) + rng.normal(0, 0.5, (len(slow), size))
        ).float()
        for size in SIZES
    )
    films = tuple(f"film{row // SECONDS}" for row in range(len(slow)))
    ids = tuple(f"{film}:{row % SECONDS:04d}" for row, film in enumerate(films))
    return Samples(inputs, torch.from_numpy(truth).float(), ids, films)


def seeded(build=GLA, seed=0, **options):
    torch.manual_seed(seed)
    return build(**{"sizes": SIZES} | options)


small = {"hidden": 6, "length": 4}
quick = functools.partial(
    fit, loss=cross_entropy, epochs=60, batch_size=6, learning_rate=0.01, patience=60
)


# the formulas, written out


@pytest.mark.parametrize("batch_norm", [True, False])
def test_context_gate_is_its_formula(batch_norm):
    torch.manual_seed(0)
    gate, x = ContextGate(n_features=3, batch_norm=batch_norm).eval(), torch.randn(4, 3)
    if batch_norm:
        gate.norm.running_mean.normal_()
        gate.norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(gate.norm.weight)
        nn.init.normal_(gate.norm.bias)
    weight = gate.gates.weight.detach()
    for i, k in np.ndindex(4, 3):
        z = sum(float(weight[k, j] * x[i, j]) for j in range(3))
        if batch_norm:
            deviation = math.sqrt(float(gate.norm.running_var[k]) + 1e-5)
            z = (z - float(gate.norm.running_mean[k])) / deviation
            z = z * gate.norm.weight[k].item() + gate.norm.bias[k].item()
        else:
            z += gate.gates.bias[k].item()
        expected = float(x[i, k]) / (1 + math.exp(-z))
        assert gate(x)[i, k].item() == pytest.approx(expected, abs=1e-5)


def test_context_gate_has_a_bias_only_without_batch_norm():
    assert ContextGate(n_features=2).gates.bias is None
    assert ContextGate(n_features=2, batch_norm=False).gates.bias is not None


def test_mixture_is_its_formula_with_a_dummy_that_predicts_0():
    torch.manual_seed(0)
    n, labels, experts = 4, 2, 3
    mixture = MixtureOfExperts(n_features=n, n_labels=labels, n_experts=experts)
    x = torch.randn(5, n)
    assert mixture.gates.weight.shape == (labels * (experts + 1), n)
    assert mixture.gates.bias is None
    assert mixture.experts.weight.shape == (labels * experts, n)
    gates = mixture.gates.weight.detach().numpy()
    weights = mixture.experts.weight.detach().numpy()
    bias = mixture.experts.bias.detach().numpy()
    for i, label in np.ndindex(5, labels):
        row = x[i].numpy()
        first_gate = label * (experts + 1)
        power = [math.exp(gates[first_gate + k] @ row) for k in range(experts + 1)]
        p = 0
        for k in range(experts):
            expert = label * experts + k
            vote = 1 / (1 + math.exp(-(weights[expert] @ row + bias[expert])))
            p += power[k] / sum(power) * vote
        assert mixture(x)[i, label].item() == pytest.approx(p, abs=1e-6)
    assert mixture.shares(x).shape == (5, labels, experts + 1)
    with torch.no_grad():
        mixture.gates.weight.zero_()
        mixture.experts.bias.fill_(50)
        mixture.experts.weight.zero_()
    # All experts predict 1, the dummy 0.
    assert mixture(x).detach().numpy() == pytest.approx(experts / (experts + 1))


def test_cross_entropy_is_its_formula():
    truth, prediction = [0.2, 0.9], [0.3, 0.6]
    first = 0.2 * math.log(0.3) + 0.8 * math.log(0.7)
    second = 0.9 * math.log(0.6) + 0.1 * math.log(0.4)
    value = cross_entropy(torch.tensor(truth), torch.tensor(prediction))
    assert float(value) == pytest.approx(-(first + second) / 2, abs=1e-6)


# windows


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("before", [0, 3, 4])
def test_last_states_are_those_of_the_network_on_each_window(kind, layers, before):
    torch.manual_seed(0)
    length, run, batch, size = 5, 4, 3, 7
    rnn = kind(size, 6, layers, batch_first=True)
    x = torch.randn(batch, length - 1 + run, size)
    present = torch.ones(batch, length - 1 + run, 1)
    present[1, :before] = 0
    states = last_states(rnn, x, present, length)
    for i, j in np.ndindex(batch, run):
        begin = max(j, before if i == 1 else 0)
        outputs, _ = rnn(x[i : i + 1, begin : j + length])
        torch.testing.assert_close(states[i, j], outputs[0, -1], atol=1e-6, rtol=0)


def test_stretches_hold_a_window_for_every_second(data):
    cut = stretches(data, length=3, run=10)
    assert len(cut) == FILMS * 3  # 24 s: two runs of ten, and one that ends with the film
    assert cut.windows[0].tolist() == [-1, -1, *range(10)]
    assert cut.windows[1].tolist() == list(range(8, 20))
    assert cut.windows[2].tolist() == list(range(12, 24))
    assert cut.windows[3].tolist() == [-1, -1, *range(24, 34)]
    assert cut.ids[:3] == ("film0:0009", "film0:0019", "film0:0023") and cut.groups[3] == "film1"
    assert cut.target.shape == (18, 10, 2, 1)
    *inputs, present = cut.take(range(4))
    assert [x.shape for x in inputs] == [(4, 12, 5), (4, 12, 3)]
    assert present[:, :3, 0].tolist() == [[0, 0, 1], [1, 1, 1], [1, 1, 1], [0, 0, 1]]
    assert not inputs[0][0, :2].any()


def test_per_second_puts_every_window_back_at_its_end(data):
    cut = stretches(data, length=3, run=10)
    torch.testing.assert_close(
        torch.from_numpy(per_second(cut, cut.target[..., 0])).float(), data.target
    )
    some = per_second(cut.select([0, 2]), cut.target[[0, 2], ..., 0])
    assert np.flatnonzero(~np.isnan(some[:, 0])).tolist() == [*range(10), *range(14, 24)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 0}, "at least 1"),
        ({"run": 0}, "at least 1"),
        ({"run": 25}, "film0 has 24 s, a stretch 25"),
    ],
)
def test_stretches_refuse(data, change, message):
    with pytest.raises(ValueError, match=message):
        stretches(data, **{"length": 3, "run": 10} | change)


def test_stretches_refuse_scattered_seconds(data):
    with pytest.raises(ValueError, match="do not stand together"):
        stretches(data.select([0, 30, 1]), length=2, run=1)


@pytest.mark.parametrize("length", [1, 5, 24, 40])
def test_past_means_are_means_of_windows_within_the_film(data, length):
    pooled = past_means(data, length)
    assert pooled.groups == data.groups and torch.equal(pooled.target, data.target)
    for x, means in zip(data.inputs, pooled.inputs, strict=True):
        for row in (0, 1, 6, 23, 24, 30, len(data) - 1):
            film_start = row - row % SECONDS
            window = x[max(film_start, row - length + 1) : row + 1]
            torch.testing.assert_close(means[row], window.mean(0))


def test_past_means_refuse_no_window(data):
    with pytest.raises(ValueError, match="at least 1, not 0"):
        past_means(data, 0)


# the networks


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "lstm"},
        {"batch_norm": False, "dropout": 0.0},
        {"hidden": (6, 4), "layers": (2, 1)},
    ],
)
def test_gla_is_its_parts_one_after_the_other(data, options):
    model, cut = seeded(**small | options).eval(), stretches(data, length=4, run=6)
    x = cut.take(range(5))
    *features, present = x
    pairs = zip(model.recurrent, features, strict=True)
    states = torch.cat([last_states(rnn, each, present, 4) for rnn, each in pairs], -1)
    mixture, second = model.head
    expected = second(mixture(model.gate(states)))
    torch.testing.assert_close(model(x), expected)
    assert expected.shape == (5, 6, 2) and ((expected > 0) & (expected < 1)).all()
    assert model.embed(x).shape == (5, 6, sum(rnn.hidden_size for rnn in model.recurrent))


@pytest.mark.parametrize("build", [functools.partial(GLA, **small), TCN])
def test_films_that_did_not_train_are_predicted_better_than_by_the_mean(data, build):
    model = seeded(build, dropout=0.1)
    cut = stretches(data, length=4 if isinstance(model, GLA) else 1, run=12)
    train, held_out = cut.select(range(8)), cut.select(range(8, 12))
    history = quick(model, train, held_out)
    predictions = predict(model, held_out)
    flat = np.mean((predictions.truth - train.target.numpy().mean()) ** 2)
    assert np.mean((predictions.truth - predictions.prediction) ** 2) < 0.5 * flat
    losses = history.epochs["validation_loss"]
    assert losses.min() < losses[0]


def test_default_sizes_are_those_of_the_paper():
    model = GLA()
    assert [rnn.weight_ih_l0.shape for rnn in model.recurrent] == [(384, 2048), (384, 128)]
    assert model.head[0].experts.weight.shape == (4, 256) and model.length == 60


# The corners of the paper's grid, and networks that differ from modality to modality.
@pytest.mark.parametrize(
    ("hidden", "layers"), [(32, 1), (256, 2), ((256, 32), (1, 2)), ([32, 64], 2)]
)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_network_of_the_papers_grid_can_be_built(hidden, layers, cell):
    model = seeded(hidden=hidden, layers=layers, cell=cell)
    units = [hidden, hidden] if isinstance(hidden, int) else list(hidden)
    depths = [layers, layers] if isinstance(layers, int) else list(layers)
    assert [rnn.hidden_size for rnn in model.recurrent] == units
    assert [rnn.num_layers for rnn in model.recurrent] == depths
    assert model.gate.gates.in_features == sum(units)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": (6, 4, 2)}, "hidden has 3 numbers, there are 2 modalities"),
        ({"layers": [1]}, "layers has 1 numbers, there are 2 modalities"),
    ],
)
def test_as_many_networks_as_modalities(change, message):
    with pytest.raises(ValueError, match=message):
        seeded(**change)


def test_unknown_cell_is_refused():
    with pytest.raises(ValueError, match="'gru' or 'lstm', not 'rnn'"):
        seeded(cell="rnn")


@pytest.mark.parametrize("seconds", [1, 7, 12, 13])
def test_tcn_gives_a_value_for_every_second_and_does_not_see_what_lies_before_the_film(seconds):
    model = seeded(TCN).eval()
    x = [torch.randn(2, seconds, size) for size in SIZES]
    present = torch.ones(2, seconds, 1)
    present[0, : seconds // 2] = 0
    output = model([*x, present])
    assert output.shape == (2, seconds, 2)
    changed = [each.clone() for each in x]
    for each in changed:
        each[0, : seconds // 2] = 9
    torch.testing.assert_close(model([*changed, present]), output)


def test_tcn_is_its_formula():
    model = seeded(TCN, channels=(4, 3), kernel=3).eval()
    x, n = np.random.default_rng(0).normal(size=(7, sum(SIZES))), 7

    def convolve(x, layer):
        weight, bias = (
            p.detach().double().numpy() for p in (layer.weight, layer.bias)
        )  # (out, in, kernel), (out,)
        padded = np.pad(x, ((1, 1), (0, 0)))
        outputs = []
        for t in range(len(x)):
            taps = [weight[:, :, j] @ padded[t + j] for j in range(3)]
            outputs.append(sum(taps) + bias)
        return np.maximum(outputs, 0)

    down, lengths = x, []
    # The encoder convolves, then takes the larger of each two neighbours.
    for layer in model.encoder:
        wide = convolve(down, layer)
        lengths.append(len(wide))
        down = np.stack([wide[t : t + 2].max(0) for t in range(0, len(wide), 2)])
    # The decoder repeats each value twice, then convolves.
    for layer, length in zip(model.decoder, lengths[::-1], strict=True):
        down = convolve(down[np.arange(length) * len(down) // length], layer)
    linear = model.head[0]
    logits = (
        down @ linear.weight.detach().double().numpy().T + linear.bias.detach().double().numpy()
    )
    given = [
        torch.from_numpy(x[None, :, :5]).float(),
        torch.from_numpy(x[None, :, 5:]).float(),
        torch.ones(1, n, 1),
    ]
    assert model(given)[0].detach().numpy() == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)


def test_tcn_looks_both_ways_but_not_everywhere():
    model = seeded(TCN).eval()
    x = [torch.zeros(1, 80, size) for size in SIZES] + [torch.ones(1, 80, 1)]
    before = model(x)[0, :, 0]
    x[0][0, 40] = 5
    moved = (model(x)[0, :, 0] - before).abs().nonzero().flatten()
    assert 20 < moved.min() < 40 < moved.max() < 60


def test_batch_statistics_are_those_of_the_batch_and_leave_the_model_alone(data):
    model, cut = seeded(**small, dropout=0.0), stretches(data, length=4, run=12)
    quick(model, cut.select(range(8)), cut.select(range(8, 12)), epochs=3)
    x, weights = cut.take(range(8, 12)), copy.deepcopy(model.state_dict())
    changed = batch_statistics(model)
    of_batch, of_population = changed.eval()(x), model.eval()(x)
    # Training takes the statistics of the batch, too.
    torch.testing.assert_close(of_batch, copy.deepcopy(model).train()(x))
    assert (of_batch - of_population).abs().max() > 1e-3
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights.values(), model.state_dict().values(), strict=True)
    )
    first_alone = changed([each[:1] for each in x])
    assert (of_batch[:1] - first_alone).abs().max() > 1e-3


# filters


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("frequency", [0.02, 0.05, 0.15])
def test_butterworth_weakens_a_wave_as_its_formula_says(order, frequency):
    time, cutoff = np.arange(4000), 0.05
    wave = np.sin(2 * np.pi * frequency * time)
    ratio = math.tan(math.pi * frequency) / math.tan(math.pi * cutoff)  # bilinear transform
    power = 1 / (1 + ratio ** (2 * order))
    middle = slice(1000, 3000)
    smooth = butterworth(wave, order=order, cutoff=cutoff, hertz=1)[middle]
    assert smooth == pytest.approx(power * wave[middle], abs=1e-3)  # twice through, no lag
    live = butterworth(wave, order=order, cutoff=cutoff, hertz=1, causal=True)[middle]
    assert live.std() * math.sqrt(2) == pytest.approx(math.sqrt(power), abs=1e-3)


def test_only_the_causal_butterworth_does_not_see_the_future():
    series = np.random.default_rng(0).normal(size=(2, 50))
    changed = series.copy()
    changed[:, 30:] += 1
    for causal in (True, False):
        a, b = (
            butterworth(x, order=3, cutoff=0.1, hertz=1, causal=causal) for x in (series, changed)
        )
        assert np.array_equal(a[:, :30], b[:, :30]) is causal
        assert a[1] == pytest.approx(
            butterworth(series[1], order=3, cutoff=0.1, hertz=1, causal=causal)
        )


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("seconds", [1, 2, 5])
def test_butterworth_leaves_a_constant_however_short(causal, seconds):
    assert butterworth(
        np.full(seconds, 0.3), order=4, cutoff=0.05, hertz=1, causal=causal
    ) == pytest.approx(0.3)


@pytest.mark.parametrize("cutoff", [0, 0.5, -1, 2])
def test_butterworth_refuses_a_cutoff_beyond_half_the_rate(cutoff):
    with pytest.raises(ValueError, match=r"between 0 and 0\.5 Hz"):
        butterworth(np.zeros(9), order=2, cutoff=cutoff, hertz=1)


@pytest.mark.parametrize("seconds", [1, 5, 6, 100])
@pytest.mark.parametrize("hertz", [1, 2])
def test_moving_average_is_a_triangle_within_the_film(seconds, hertz):
    series, side = np.random.default_rng(0).normal(size=21), round(seconds * hertz) // 2
    for t, value in enumerate(moving_average(series, seconds=seconds, hertz=hertz)):
        weights = {s: 1 - abs(s - t) / (side + 1) for s in range(21) if abs(s - t) <= side}
        assert value == pytest.approx(
            sum(w * series[s] for s, w in weights.items()) / sum(weights.values())
        )


def test_moving_average_refuses_no_time():
    with pytest.raises(ValueError, match="positive"):
        moving_average(np.zeros(3), seconds=0, hertz=1)


@pytest.mark.parametrize(("film", "hertz"), [(3, 1), (50, 1), (50, 2), (1600, 1), (7000, 1)])
def test_filters_to_try_reach_from_hardly_any_to_a_film(film, hertz):
    frequencies = cutoffs(film, hertz=hertz)
    durations = widths(film, hertz=hertz)
    assert frequencies[0] == 0.4 * hertz < hertz / 2
    assert 1 <= frequencies[-1] * film < 2
    assert durations[0] == 3 / hertz
    assert film / 2 < durations[-1] <= film
    # An octave apart: none that lies between two of them is far from both.
    assert np.allclose(np.divide(frequencies[1:], frequencies[:-1]), 0.5)
    assert all(1.6 < b / a < 2 for a, b in itertools.pairwise(durations))
    for cutoff in frequencies:
        butterworth(np.zeros(9), order=4, cutoff=cutoff, hertz=hertz)


def test_filters_to_try_refuse_films_of_two_values():
    for try_out in (cutoffs, widths):
        with pytest.raises(ValueError, match="too short to filter"):
            try_out(2, hertz=1)


def test_films_are_filtered_one_by_one():
    series, films = np.random.default_rng(0).normal(size=(2, 20)), np.repeat(["b", "a"], [12, 8])
    smooth = functools.partial(moving_average, seconds=5, hertz=1)
    smoothed = film_by_film(smooth, series, films)
    expected = np.hstack([smooth(series[:, :12]), smooth(series[:, 12:])])
    assert np.array_equal(smoothed, expected)


def test_published_table_has_every_cell_and_the_average_errs_least():
    table = published("gla", 1).pivot(index="row", columns="column", values="value")
    assert table.shape == (5, 4) and table.notna().all(None)
    assert table[["valence_mse", "arousal_mse"]].idxmin().tolist() == ["Run 5", "Run 5"]
    assert table[["valence_pcc", "arousal_pcc"]].idxmax().tolist() == ["Run 4", "Run 4"]
    assert table.to_numpy().sum() == pytest.approx(3.6063)
