"""Each faster twin gives the numbers of its plain layer: outputs, gradients and statistics."""

import numpy as np
import pytest
import torch
from torch import nn

from affectlib.models import attend_affect, gla
from affectlib.models.attend_affect import FeatureAAN, FeatureTemporalAAN, TemporalAAN
from affectlib.models.gla import GLA, TCN
from affectlib.stacked import fast, recurrent, transformer

torch.set_num_threads(1)  # torch may have been loaded before affectlib asked for it
SIZES, BATCH, LENGTH, RUN = (7, 3, 5), 6, 4, 5
TRANSFORMERS = {
    "feature": lambda **options: FeatureAAN(sizes=SIZES, **options),
    "feature, single": lambda **options: FeatureAAN(sizes=SIZES, variant="single", **options),
    "temporal": lambda **options: TemporalAAN(sizes=SIZES, length=LENGTH, **options),
    "feature_temporal": lambda **options: FeatureTemporalAAN(sizes=SIZES, length=LENGTH, **options),
}
RECURRENT = {
    "gru": {},
    "lstm": {"cell": "lstm"},
    "two layers": {"layers": 2},
    "unequal networks": {"cell": "lstm", "hidden": (6, 4, 6), "layers": (2, 1, 1)},
    "no batch norm": {"batch_norm": False},
}


@pytest.fixture
def double():
    """Double precision: the twins' rounding then lies far below any true difference."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def tokens(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (BATCH, LENGTH) if isinstance(model, TemporalAAN) else (BATCH,)
    return [torch.randn(*shape, size, generator=generator) for size in SIZES]


def stretches(before=0, seed=0):
    """Features of stretches, of which one begins before its film."""
    generator = torch.Generator().manual_seed(seed)
    seconds = LENGTH - 1 + RUN
    features = [torch.randn(BATCH, seconds, size, generator=generator) for size in SIZES]
    present = torch.ones(BATCH, seconds, 1)
    present[1, :before] = 0
    return [*features, present]


def assert_equal_numbers(plain, faster, x, *, gradient_tolerance):
    """Compares outputs in training mode, gradients, and what batch norms remember."""
    plain.train()
    faster.train()
    output = plain(x)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(9))
    (output * weights).sum().backward()
    other = faster(x)
    (other * weights).sum().backward()
    torch.testing.assert_close(other, output, atol=1e-10, rtol=0)
    others = dict(faster.named_parameters())
    for name, parameter in plain.named_parameters():
        scale = parameter.grad.abs().max()
        off = (others[name].grad - parameter.grad).abs().max()
        assert off <= gradient_tolerance * scale, (name, float(off), float(scale))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(faster.state_dict()[name], value)
    torch.testing.assert_close(faster.eval()(x), plain.eval()(x), atol=1e-10, rtol=0)


# layers of attend_affect


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_fast_transformer_gives_the_plain_numbers(double, name):
    torch.manual_seed(0)
    plain = TRANSFORMERS[name](dropout=0.0)
    # The norm's twin takes a factor as constant, which moves gradients by parts in a million.
    assert_equal_numbers(plain, fast(plain), tokens(plain), gradient_tolerance=1e-4)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_fast_transformer_shows_the_plain_attention(double, name):
    plain = TRANSFORMERS[name]().eval()
    x = tokens(plain)
    torch.testing.assert_close(fast(plain).attention(x), plain.attention(x), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_stacked_parameters_give_the_numbers_of_each_plain_model(double, name):
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(TRANSFORMERS[name](dropout=0.0))
    stacked = fast(models[0])
    states = [model.state_dict() for model in models]
    for parameter_name, parameter in stacked.named_parameters():
        parameter.data = torch.stack([state[parameter_name] for state in states])
    inputs = [tokens(model, seed) for seed, model in enumerate(models)]
    with torch.no_grad():
        together = stacked([torch.stack(token) for token in zip(*inputs, strict=True)])
        alone = [model(x) for model, x in zip(models, inputs, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-10, rtol=0)


@pytest.mark.parametrize("size", [1.0, 1e-3, 0.0])
def test_fast_layer_norm_is_the_plain_one(size):
    torch.manual_seed(0)
    x = (size * torch.randn(6, 8)).requires_grad_()
    y = x.detach().clone().requires_grad_()
    weights = torch.randn(6, 8)
    plain, faster = attend_affect.LayerNorm(8), transformer.LayerNorm(8)
    (plain(x) * weights).sum().backward()
    (faster(y) * weights).sum().backward()
    torch.testing.assert_close(faster(y), plain(x), atol=2e-6, rtol=0)
    if size:
        largest = float(x.grad.abs().max())
        torch.testing.assert_close(y.grad, x.grad, rtol=5e-3, atol=1e-3 * largest)


def test_fast_attention_is_the_plain_one_under_a_mask():
    torch.manual_seed(0)
    plain = attend_affect.Attention(8, 2, 0.0)
    faster = transformer.Attention(8, 2, 0.0)
    faster.load_state_dict(plain.state_dict())
    x, memory = torch.randn(3, 4, 8), torch.randn(3, 5, 8)
    mask = torch.ones(4, 5, dtype=torch.bool).tril()
    torch.testing.assert_close(faster(x, memory, mask), plain(x, memory, mask))
    torch.testing.assert_close(faster.weights, plain.weights)
    assert faster.weights.shape == (3, 2, 4, 5)


def test_fast_dropout_keeps_the_mean_and_drops_its_share():
    torch.manual_seed(0)
    x = transformer.Dropout(0.3)(torch.ones(40, 5001))
    assert (x == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert x.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(transformer.Dropout(0.3).eval()(x), x)
    assert torch.equal(transformer.Dropout(0.0)(x), x)
    assert not transformer.Dropout(1.0)(torch.ones(9)).any()


# sliding windows of gla


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("before", [0, 2, LENGTH - 1])
def test_a_fast_gla_gives_the_plain_numbers(double, name, before):
    torch.manual_seed(0)
    options = {"sizes": SIZES, "hidden": 6, "length": LENGTH, "dropout": 0.0}
    plain = GLA(**options | RECURRENT[name])
    assert_equal_numbers(plain, fast(plain), stretches(before), gradient_tolerance=1e-8)


@pytest.mark.parametrize("network", [nn.GRU, nn.LSTM])
def test_sliding_states_of_several_networks_are_those_of_each(network):
    torch.manual_seed(0)
    rnns = [network(size, 6, 2, batch_first=True) for size in SIZES]
    *features, present = stretches(before=3)
    together = recurrent.last_states(rnns, features, present, LENGTH)
    for rnn, x, states in zip(rnns, features, together, strict=True):
        alone = gla.last_states(rnn, x, present, LENGTH)
        torch.testing.assert_close(states, alone, atol=1e-5, rtol=0)


# models


def test_fast_leaves_the_plain_model_as_it_is_and_shares_no_weight_with_it():
    plain = FeatureAAN(sizes=SIZES)
    faster = fast(plain)
    assert type(plain.encoder.layers[0].attention) is attend_affect.Attention
    assert type(faster.encoder.layers[0].attention) is transformer.Attention
    assert type(faster.head[0]) is transformer.Dropout
    before = plain.head[1].weight.clone()
    with torch.no_grad():
        faster.head[1].weight.add_(1)
    assert torch.equal(plain.head[1].weight, before)


def test_fast_copies_a_model_that_has_no_twin():
    plain = TCN(sizes=SIZES)
    faster = fast(plain)
    assert faster is not plain
    assert [type(module) for module in faster.modules()] == [type(m) for m in plain.modules()]
    x = stretches()
    np.testing.assert_array_equal(faster.eval()(x).detach(), plain.eval()(x).detach())
