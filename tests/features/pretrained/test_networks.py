"""The papers' networks: parameters, names, arithmetic and speed tricks, with random weights."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from affectlib.errors import FileFormatError
from affectlib.features.pretrained import networks, weights

# Name in the golden list of released parameters, and the network that reads them.
RELEASED = {
    "vggish": "VGGish",
    "vggish_pca": "VGGishPostprocessor",
    "i3d_rgb": "I3D",
    "flownets": "FlowNetS",
}
# Of the published architectures without the layers for classes, which are not kept; I3D's file is
# loaded with that layer.
PARAMETERS = {
    "VGGish": 72_141_184,
    "I3D": 12_697_264,
    "FlowNetS": 24_050_752,
    "ResNet": 25_557_032 - 2048 * 1000 - 1000,
    "Inception": 21_785_568,
    "VGG": 14_714_688 + 102_764_544,
    "OpenPoseBody": 7_340_480,
    "Xception": 20_806_952 + 6_294_528 + 21_511,
}
WITH_BATCH_NORM = ("I3D", "ResNet", "Inception", "Xception")
# A small input of each; VGG's fc6 takes one size only.
SHAPES = {
    "VGGish": (96, 64),
    "I3D": (3, 4, 64, 64),
    "FlowNetS": (6, 64, 64),
    "ResNet": (3, 64, 64),
    "Inception": (3, 96, 96),
    "VGG": (3, 224, 224),
    "OpenPoseBody": (3, 64, 64),
    "Xception": (3, 64, 64),
}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(values)


def options(name: str) -> dict:
    """The pooling layer of VGG is tested: fc6 has a hundred million parameters."""
    return {"layer": "pool"} if name == "VGG" else {}


def random_network(name: str, **kwargs) -> nn.Module:
    make = getattr(networks, name)
    return weights.load(name, lambda: make(**kwargs), weights="random")


def file_state(network: nn.Module) -> dict:
    """The parameters under the names that a released file has."""
    state = network.state_dict()
    if isinstance(network, networks.OpenPoseBody):
        return {name.removeprefix("backbone."): value for name, value in state.items()}
    return state


@pytest.mark.parametrize("name", RELEASED)
def test_released_weights_would_load_strictly(name, golden):
    names_and_shapes = json.loads(golden("weight_names.json").read_text())[name]
    with torch.device("meta"):
        network = getattr(networks, RELEASED[name])()
        state = {key: torch.empty(shape) for key, shape in names_and_shapes.items()}
    if hasattr(network, "state_from_file"):
        state = network.state_from_file(state)
    assert network.load_state_dict(state, strict=True, assign=True) == ([], [])


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_parameters_of_their_papers(name):
    with torch.device("meta"):
        network = getattr(networks, name)()
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_read_from_a_file_gives_the_same_values_through_one_library(name):
    network = random_network(name, **options(name))
    with torch.device("meta"):
        fresh = getattr(networks, name)(**options(name))
    state = dict(file_state(network))
    if hasattr(fresh, "state_from_file"):
        state = fresh.state_from_file(state)
    weights.load_strictly("some.pth", state, fresh)
    fresh = networks.convolve_with_onednn(fresh.eval())
    x = noise(1, *SHAPES[name])
    with torch.no_grad():
        expected = network.embed(x)
        values = fresh.embed(x)
    assert torch.allclose(values, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", PARAMETERS)
def test_folding_batch_norm_keeps_the_values(name):
    network = random_network(name, **options(name))
    x = noise(2, *SHAPES[name])
    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d))]
    assert bool(norms) == (name in WITH_BATCH_NORM)
    with torch.no_grad():
        torch.manual_seed(0)
        for norm in norms:
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 2)
            norm.weight.uniform_(0.5, 1)
        before = network.embed(x)
        folded = networks.fold_batch_norm(network)
        after = folded.embed(x)
    left = [m for m in folded.modules() if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d))]
    assert left == []
    largest = float(before.abs().max())
    assert largest > 0
    assert torch.allclose(before, after, rtol=1e-3, atol=1e-5 * largest)


@pytest.mark.parametrize("name", ["resnet50", "inception_v3"])
def test_embeddings_are_those_of_torchvision_and_its_files_fit(name):
    from torchvision import models

    ours = {"resnet50": networks.ResNet, "inception_v3": networks.Inception}[name]()
    extra = {"init_weights": False} if name == "inception_v3" else {}
    theirs = getattr(models, name)(weights=None, **extra).eval()
    weights.load_strictly("some.pth", ours.state_from_file(theirs.state_dict()), ours)
    ours.eval()
    theirs.fc = nn.Identity()
    x = noise(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(ours.embed(x), theirs(x))


def test_vgg_has_the_names_and_shapes_of_torchvision():
    from torchvision.models import vgg16

    with torch.device("meta"):
        ours = networks.VGG()
        theirs = vgg16()
    from_file = ours.state_from_file(theirs.state_dict())
    shapes = {name: value.shape for name, value in from_file.items()}
    assert shapes == {name: value.shape for name, value in ours.state_dict().items()}


def test_vgg_reads_caffes_names():
    pool = random_network("VGG", layer="pool")
    caffe_of = {ours: caffe for caffe, ours in pool.caffe_names().items()}
    assert list(caffe_of.values())[:3] == ["conv1_1", "conv1_2", "conv2_1"]
    state = {}
    for name, value in pool.state_dict().items():
        layer, _, kind = name.rpartition(".")
        state[f"{caffe_of[layer]}.{kind}"] = value
    for layer in ("fc6", "fc7", "fc8a"):
        state[f"{layer}.weight"] = torch.zeros(1)  # behind the pooling: left out
    fresh = networks.VGG(layer="pool")
    weights.load_strictly("caffe.pth", fresh.state_from_file({"state_dict": state}), fresh)
    x = noise(1, 3, 224, 224)
    assert torch.equal(fresh.embed(x), pool.embed(x))
    maps = networks.VGG(layer="pool5")
    weights.load_strictly("caffe.pth", maps.state_from_file(state), maps)
    values = maps.embed(x)
    assert values.shape == (1, 512 * 7 * 7)
    means = values.unflatten(1, (512, 49)).mean(2)
    assert torch.allclose(means, pool.embed(x), rtol=1e-5, atol=1e-6)


def test_vgg_is_five_blocks_of_convolutions():
    pool = random_network("VGG", layer="pool")
    x = noise(1, 3, 224, 224)
    expected = x
    convolutions = iter([m for m in pool.features if isinstance(m, nn.Conv2d)])
    for n in (2, 2, 3, 3, 3):
        for _ in range(n):
            expected = nn.functional.relu(next(convolutions)(expected))
        expected = nn.functional.max_pool2d(expected, 2)
    expected = expected.mean((2, 3))
    assert torch.allclose(pool.embed(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "model0."])
def test_openpose_takes_its_backbone_out_of_the_body_model(prefix):
    network = random_network("OpenPoseBody")
    backbone = {prefix + name: value for name, value in file_state(network).items()}
    stages = {"conv5_1_CPM_L1.weight": torch.zeros(1), "Mconv1_stage2_L2.bias": torch.zeros(1)}
    fresh = networks.OpenPoseBody()
    weights.load_strictly("pose.pth", fresh.state_from_file(backbone | stages), fresh)
    x = noise(1, 3, 64, 64)
    assert torch.equal(fresh.embed(x), network.embed(x))
    del backbone[f"{prefix}conv4_4_CPM.bias"]
    with pytest.raises(FileFormatError, match=r"conv4_4_CPM\.bias \(128,\) is missing"):
        weights.load_strictly("pose.pth", fresh.state_from_file(backbone), fresh)


def test_vggish_flattens_as_tensorflow():
    network = random_network("VGGish")
    x = noise(2, 96, 64)
    maps = network.features(x[:, None])  # (2, 512, 6, 4)
    rows = []
    for example in maps:
        rows.append(torch.cat([example[:, i, j] for i in range(6) for j in range(4)]))
    expected = network.embeddings(torch.stack(rows))
    values = network.embed(x)
    assert torch.allclose(values, expected, atol=1e-5)
    assert (values >= 0).all()


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [(7, 3, 2), (8, 3, 2), (224, 7, 2), (5, 2, 2), (4, 3, 1), (1, 7, 2)],
)
def test_padding_is_tensorflows_same(size, kernel, stride):
    x = torch.ones(1, 1, size, size, size)
    padded = networks._pad_same(x, (kernel,) * 3, (stride,) * 3)
    places = -(-size // stride)  # rounded up
    assert padded.shape[2] == max(size, (places - 1) * stride + kernel)
    line = padded[0, 0, :, padded.shape[3] // 2, padded.shape[4] // 2]
    before = int((line == 0).int().argmin())
    assert before == (padded.shape[2] - size) // 2  # where it is odd, the end gets one more
    assert nn.functional.max_pool3d(padded, kernel, stride).shape[2] == places
