"""What every model promises: shapes, finite outputs, gradients, and numbers that repeat."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import nn

from affectlib.models.attend_affect import FeatureAAN, FeatureTemporalAAN, TemporalAAN
from affectlib.models.gla import GLA, TCN

torch.set_num_threads(1)  # torch may have been loaded before affectlib asked for it


class Case(NamedTuple):
    """A small model, with an input for it.

    Args:
        build: makes the model; takes ``dropout``
        arguments: makes what ``forward`` and ``embed`` take, from a generator of random numbers
        output: shape of the output
        embedding: shape of the embedding
        unlearned: names of parameters that get no gradient
    """

    build: Callable[..., nn.Module]
    arguments: Callable[[torch.Generator], tuple]
    output: tuple[int, ...]
    embedding: tuple[int, ...]
    unlearned: tuple[str, ...] = ()


BATCH, LENGTH, RUN = 6, 4, 3
SIZES = (7, 3, 5)


def excerpts(generator):
    """Feature vectors, one per token."""
    return ([torch.randn(BATCH, size, generator=generator) for size in SIZES],)


def sequences(generator):
    """Feature vectors of consecutive segments, and the values before the last."""
    tokens = [torch.randn(BATCH, LENGTH, size, generator=generator) for size in SIZES]
    return tokens, torch.randn(BATCH, LENGTH - 1, generator=generator)


def stretches(generator):
    """Features of neighbouring windows; the first stretch begins before its film."""
    seconds = LENGTH - 1 + RUN
    features = [torch.randn(BATCH, seconds, size, generator=generator) for size in SIZES]
    present = torch.ones(BATCH, seconds, 1)
    present[0, : LENGTH - 1] = 0
    return ([*features, present],)


CASES = {
    "FeatureAAN": Case(
        lambda **options: FeatureAAN(sizes=SIZES, layers=2, **options),
        excerpts,
        output=(BATCH,),
        embedding=(BATCH, 8),
    ),
    "FeatureAAN, single": Case(
        lambda **options: FeatureAAN(sizes=SIZES, layers=2, variant="single", **options),
        excerpts,
        output=(BATCH,),
        embedding=(BATCH, 8),
    ),
    "TemporalAAN": Case(
        lambda **options: TemporalAAN(sizes=SIZES, length=LENGTH, layers=2, **options),
        sequences,
        output=(BATCH, LENGTH),
        embedding=(BATCH, LENGTH, 8 * len(SIZES)),
    ),
    "FeatureTemporalAAN": Case(
        lambda **options: FeatureTemporalAAN(sizes=SIZES, length=LENGTH, layers=2, **options),
        sequences,
        output=(BATCH, LENGTH),
        embedding=(BATCH, LENGTH, 8 * len(SIZES)),
    ),
    "GLA": Case(
        lambda **options: GLA(sizes=SIZES, hidden=6, length=LENGTH, **options),
        stretches,
        output=(BATCH, RUN, 2),
        embedding=(BATCH, RUN, 6 * len(SIZES)),
    ),
    "GLA, lstm": Case(
        lambda **options: GLA(
            sizes=SIZES,
            hidden=(6, 4, 5),
            layers=(2, 1, 1),
            cell="lstm",
            length=LENGTH,
            batch_norm=False,
            **options,
        ),
        stretches,
        output=(BATCH, RUN, 2),
        embedding=(BATCH, RUN, 15),
    ),
    "TCN": Case(
        lambda **options: TCN(sizes=SIZES, channels=(6, 8), **options),
        stretches,
        output=(BATCH, LENGTH - 1 + RUN, 2),
        embedding=(BATCH, LENGTH - 1 + RUN, 6),
    ),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    return request.param


def seeded(case, seed=0, **options):
    torch.manual_seed(seed)
    return case.build(**options)


def arguments(case):
    return case.arguments(torch.Generator().manual_seed(1))


def test_output_and_embedding_are_finite_and_have_their_shapes(case):
    model = seeded(case).eval()
    inputs = arguments(case)
    output, embedding = model(*inputs), model.embed(*inputs)
    assert output.shape == case.output
    assert embedding.shape == case.embedding
    assert output.isfinite().all()
    assert embedding.isfinite().all()


def test_output_is_the_head_of_the_embedding(case):
    model = seeded(case).eval()
    inputs = arguments(case)
    expected = model.head(model.embed(*inputs)).reshape(case.output)
    assert torch.equal(model(*inputs), expected)


def test_every_parameter_that_learns_gets_a_gradient(case):
    model = seeded(case, dropout=0.0)
    output = model(*arguments(case))
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
    (output * weights).sum().backward()
    for name, parameter in model.named_parameters():
        if name in case.unlearned:
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def losses_of_training(case):
    """Squared error while a model learns one batch by heart, with dropout."""
    model = seeded(case, dropout=0.05)
    inputs = arguments(case)
    # Within (0, 1), which some models cannot leave.
    truth = 0.2 + 0.6 * torch.rand(case.output, generator=torch.Generator().manual_seed(3))
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(60):
        loss = nn.functional.mse_loss(model(*inputs), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_learns_a_batch_by_heart_and_repeats_under_a_seed(case):
    losses = losses_of_training(case)
    assert losses[-1] < 0.5 * losses[0]
    assert losses == losses_of_training(case)
