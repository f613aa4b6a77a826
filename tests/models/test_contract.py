"""What every model promises: shapes, finite outputs, gradients, and numbers that repeat."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import nn

from affectlib.models.attend_affect import FeatureAAN, FeatureTemporalAAN, TemporalAAN
from affectlib.models.caan import CAAN, AttentionClusters, AverageAggregate, QualityAware
from affectlib.models.gla import GLA, TCN
from affectlib.models.mood_change import FusionMLP, MoodCNN, TwoBranchCNN
from affectlib.models.shot_long import InterClip, IntraClip
from affectlib.stacked import fast

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


def clips(generator):
    """Features of the seconds of clips, one tensor per modality."""
    return ([torch.randn(BATCH, LENGTH, size, generator=generator) for size in SIZES],)


def clip_runs(generator):
    """Embeddings of consecutive clips."""
    return ([torch.randn(BATCH, LENGTH, SIZES[0], generator=generator)],)


def pictures(generator):
    """Windows of five frames."""
    shape = (BATCH, 5, 32, 32, 3)
    return (torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),)


FACE, CONTEXT, MAPS, CLASSES = 5, 4, 8, 3
PARTS = ("weight", "bias")
CAAN_SIZES = {"face": FACE, "context": CONTEXT, "n_classes": CLASSES}
CAAN_WIDTHS = {"middle": 8, "features": 16}


def videos(generator):
    """Faces, contexts and the mask of videos of one to six frames; the last has no face."""
    counts = torch.arange(6) < torch.arange(1, BATCH + 1)[:, None]  # (videos, frames)
    mask = torch.stack([counts, counts], -1).float()
    mask[-1, :, 1] = 0
    features = [torch.randn(BATCH, 6, size, generator=generator) for size in (FACE, CONTEXT)]
    return ([*features, mask],)


def videos_with_maps(generator):
    """Like ``videos``, with feature maps of the faces."""
    (inputs,) = videos(generator)
    return ([*inputs, torch.randn(BATCH, 6, MAPS, 4, 4, generator=generator)],)


def change_branch(**options):
    """Parameters that only the loss of the change branch reaches; ``forward`` is of the mood."""
    names = [name for name, _ in TwoBranchCNN(**options).named_parameters()]
    return tuple(name for name in names if name.startswith("change."))


def frozen_branches():
    """Parameters of the two trained networks below the MLP."""
    model = FusionMLP(MoodCNN(), MoodCNN())
    return tuple(name for name, p in model.named_parameters() if not p.requires_grad)


CASES = {
    "MoodCNN": Case(
        lambda **options: MoodCNN(**options), pictures, output=(BATCH, 3), embedding=(BATCH, 512)
    ),
    "TwoBranchCNN": Case(
        lambda **options: TwoBranchCNN(**options),
        pictures,
        output=(BATCH, 3),
        embedding=(BATCH, 512),
        unlearned=change_branch(),
    ),
    "TwoBranchCNN, shared": Case(
        lambda **options: TwoBranchCNN(shared="convolutions", **options),
        pictures,
        output=(BATCH, 3),
        embedding=(BATCH, 512),
        unlearned=change_branch(shared="convolutions"),
    ),
    "FusionMLP": Case(
        lambda **options: FusionMLP(MoodCNN(**options), MoodCNN(**options)),
        pictures,
        output=(BATCH, 3),
        embedding=(BATCH, 256),
        unlearned=frozen_branches(),
    ),
    "IntraClip": Case(
        lambda **_: IntraClip(sizes=SIZES, hidden=4, width=6),
        clips,
        output=(BATCH,),
        embedding=(BATCH, 6),
    ),
    "IntraClip, classes": Case(
        lambda **_: IntraClip(sizes=SIZES, hidden=4, width=6, outputs=3),
        clips,
        output=(BATCH, 3),
        embedding=(BATCH, 6),
    ),
    "InterClip": Case(
        lambda **_: InterClip(size=SIZES[0], hidden=4),
        clip_runs,
        output=(BATCH, LENGTH),
        embedding=(BATCH, LENGTH, 8),
    ),
    "CAAN": Case(
        lambda **options: CAAN(**CAAN_SIZES, **CAAN_WIDTHS, **options),
        videos,
        output=(BATCH, CLASSES),
        embedding=(BATCH, 16),
    ),
    "CAAN, equal scores": Case(
        lambda **options: CAAN(**CAAN_SIZES, **CAAN_WIDTHS, attention=False, **options),
        videos,
        output=(BATCH, CLASSES),
        embedding=(BATCH, 16),
        unlearned=tuple(f"fusion.score.{i}.{part}" for i in (0, 2, 4) for part in PARTS),
    ),
    "QualityAware, face": Case(
        lambda **options: QualityAware(of="face", **CAAN_SIZES, **CAAN_WIDTHS, **options),
        videos,
        output=(BATCH, CLASSES),
        embedding=(BATCH, 16),
    ),
    "QualityAware, context": Case(
        lambda **options: QualityAware(of="context", **CAAN_SIZES, **CAAN_WIDTHS, **options),
        videos,
        output=(BATCH, CLASSES),
        embedding=(BATCH, 16),
    ),
    "QualityAware, maps": Case(
        lambda **options: QualityAware(
            of="face", maps=MAPS, **CAAN_SIZES, **CAAN_WIDTHS, **options
        ),
        videos_with_maps,
        output=(BATCH, CLASSES),
        embedding=(BATCH, 16),
    ),
    "AverageAggregate, face": Case(
        lambda **options: AverageAggregate(of="face", middle=8, **CAAN_SIZES, **options),
        videos,
        output=(BATCH, CLASSES),
        embedding=(BATCH, 8),
    ),
    "AverageAggregate, context": Case(
        lambda **options: AverageAggregate(of="context", middle=8, **CAAN_SIZES, **options),
        videos,
        output=(BATCH, CLASSES),
        embedding=(BATCH, 8),
    ),
    "AverageAggregate, both": Case(
        lambda **options: AverageAggregate(of="both", middle=8, **CAAN_SIZES, **options),
        videos,
        output=(BATCH, CLASSES),
        embedding=(BATCH, 8),
    ),
    "AttentionClusters": Case(
        lambda **options: AttentionClusters(clusters=3, **CAAN_SIZES, **options),
        videos,
        output=(BATCH, CLASSES),
        embedding=(BATCH, 3 * (FACE + CONTEXT)),
        # The softmax over frames takes a bias away: it is the same for all of them.
        unlearned=("weights.0.bias", "weights.1.bias"),
    ),
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


def losses_of_training(case, steps):
    """Squared error while a model learns one batch by heart, with dropout."""
    model = seeded(case, dropout=0.05)
    inputs = arguments(case)
    # Within (0, 1), which some models cannot leave.
    truth = 0.2 + 0.6 * torch.rand(case.output, generator=torch.Generator().manual_seed(3))
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(steps):
        loss = nn.functional.mse_loss(model(*inputs), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_learns_a_batch_by_heart_and_repeats_under_a_seed(case):
    losses = losses_of_training(case, steps=60)
    assert losses[-1] < 0.5 * losses[0]
    assert losses[:10] == losses_of_training(case, steps=10)


def test_every_tensor_is_made_on_the_device_of_the_input(case):
    """A stand-in for a graphics card: whatever is made anywhere else has no values here."""
    inputs = arguments(case)
    for model in (seeded(case, dropout=0.0), fast(seeded(case, dropout=0.0))):
        expected = model(*inputs).detach()
        torch.set_default_device("meta")
        try:
            found = model(*inputs)
            found.sum().backward()
        finally:
            torch.set_default_device(None)
        assert torch.equal(found.detach(), expected)
