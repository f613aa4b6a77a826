"""Released weights: found, checked, and read without running anything."""

import os
import pickle
import re
import tracemalloc
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from affectlib.errors import AffectError, FileFormatError
from affectlib.features.pretrained import networks, weights
from affectlib.features.pretrained.detectors import ProposalNetwork
from affectlib.features.pretrained.weights import (
    WEIGHTS,
    WeightsNotFoundError,
    find,
    folders,
    load,
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Nothing of this machine is found: two empty folders."""
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def save(path: Path, state: object, *, legacy: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.fixture
def state():
    return load("mtcnn_pnet", ProposalNetwork, weights="random").state_dict()


def test_names_and_files_of_the_table_are_unique():
    assert len({w.name for w in WEIGHTS}) == len(WEIGHTS)
    assert len({w.file for w in WEIGHTS}) == len(WEIGHTS)


def test_addresses_are_those_of_torchvision():
    from torchvision import models

    table = {w.name: w for w in WEIGHTS}
    assert table["resnet50"].url == models.ResNet50_Weights.IMAGENET1K_V1.url
    assert table["inception"].url == models.Inception_V3_Weights.IMAGENET1K_V1.url
    assert table["vgg16"].url == models.VGG16_Weights.IMAGENET1K_V1.url


@pytest.mark.parametrize("row", WEIGHTS, ids=lambda row: row.name)
def test_a_row_of_the_table_is_complete_and_its_checksum_fits_its_name(row):
    assert row.licence
    assert row.where
    assert row.url is None or row.url.endswith("/" + row.file)
    assert re.fullmatch("[0-9a-f]*", row.sha256)
    # torch's rule: a file name ends with the first digits of its checksum.
    in_name = re.search(r"-([0-9a-f]{8})\.", row.file)
    if in_name:
        assert row.sha256.startswith(in_name[1])
    else:
        assert len(row.sha256) in (0, 64)


def test_files_are_found_in_the_chosen_folder_first_then_in_that_of_torch(folder):
    assert folders() == (folder / "own", Path(torch.hub.get_dir()) / "checkpoints")
    in_torch = save(folder / "torch" / "hub" / "checkpoints" / "rgb_imagenet.pt", {})
    assert find("i3d") == (in_torch,)
    chosen = save(folder / "own" / "rgb_imagenet.pt", {})
    assert find("i3d") == (chosen,)


def test_one_error_names_all_missing_files_and_their_sources(folder):
    with pytest.raises(WeightsNotFoundError) as error:
        find("i3d", "flownet")
    message = str(error.value)
    for part in ("rgb_imagenet.pt", "piergiaj", "flownets_EPE1.951.pth", "ClementPinard"):
        assert part in message
    assert str(folder / "own") in message
    assert isinstance(error.value, FileNotFoundError)
    assert isinstance(error.value, AffectError)
    with pytest.raises(ValueError, match="no weights 'alexnet', there are vggish"):
        find("alexnet")


@pytest.mark.parametrize("legacy", [False, True])
def test_saved_parameters_are_loaded(folder, state, legacy, monkeypatch):
    without_checksum = replace(weights._TABLE["mtcnn_pnet"], sha256="")
    monkeypatch.setitem(weights._TABLE, "mtcnn_pnet", without_checksum)
    path = save(folder / "own" / "pnet.pt", state, legacy=legacy)
    for file in (None, path):
        network = load("mtcnn_pnet", ProposalNetwork, weights=file)
        for name, value in network.state_dict().items():
            assert torch.equal(value, state[name])
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())


def test_random_weights_repeat_and_leave_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = load("mtcnn_pnet", ProposalNetwork, weights="random").state_dict()
    second = load("mtcnn_pnet", ProposalNetwork, weights="random").state_dict()
    assert torch.equal(torch.rand(1), expected)
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_random_weights_never_stand_in_for_a_missing_file():
    with pytest.raises(WeightsNotFoundError, match="pnet"):
        load("mtcnn_pnet", ProposalNetwork)


DAMAGE = {
    "shape": (
        lambda state: state | {"conv2.weight": torch.zeros(16, 10, 5, 5)},
        "conv2.weight of shape (16, 10, 3, 3), found (16, 10, 5, 5)",
    ),
    "missing": (
        lambda state: {k: v for k, v in state.items() if k != "prelu3.weight"},
        "prelu3.weight (32,) is missing",
    ),
    "unknown": (
        lambda state: state | {"conv9.weight": torch.zeros(1)},
        "conv9.weight is not one of its parameters",
    ),
    "list": (lambda state: [1, 2], "found a list"),
    "number": (lambda state: {"epoch": 3} | state, "epoch is not one of its parameters"),
    "key": (
        lambda state: {0: torch.zeros(1)} | state,
        "expected names of parameters, found 0",
    ),
    "state_dict": (
        lambda state: {"state_dict": [torch.zeros(1)]},
        "expected names and tensors in state_dict, found a list",
    ),
    "text": (
        lambda state: state | {"conv2.weight": "text"},
        "conv2.weight of shape (16, 10, 3, 3), found a str",
    ),
    "meta": (
        lambda state: state | {"conv2.weight": torch.empty(16, 10, 3, 3, device="meta")},
        "conv2.weight of shape (16, 10, 3, 3), found a tensor without values",
    ),
    "complex": (
        lambda state: state | {"conv2.weight": torch.zeros(16, 10, 3, 3, dtype=torch.complex64)},
        "conv2.weight of shape (16, 10, 3, 3), found a tensor of torch.complex64",
    ),
    "sparse": (
        lambda state: state | {"conv2.weight": torch.zeros(16, 10, 3, 3).to_sparse()},
        "conv2.weight of shape (16, 10, 3, 3), found a tensor that is nested, quantised or sparse",
    ),
    "quantised": (
        lambda state: (
            state
            | {
                "conv2.weight": torch.quantize_per_tensor(
                    torch.zeros(16, 10, 3, 3), scale=1.0, zero_point=0, dtype=torch.qint8
                )
            }
        ),
        "conv2.weight of shape (16, 10, 3, 3), found a tensor that is nested, quantised or sparse",
    ),
    "nan": (
        lambda state: state | {"conv2.weight": torch.full((16, 10, 3, 3), torch.nan)},
        "expected finite numbers in conv2.weight",
    ),
    "too large": (
        lambda state: state | {"conv2.weight": torch.zeros(16, 10, 3, 3).double() + 1e300},
        "expected finite numbers in conv2.weight",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_weights_of_another_network_name_the_first_key_that_differs(folder, state, damage):
    change, message = DAMAGE[damage]
    path = save(folder / "other.pt", change(state))
    with pytest.raises(FileFormatError, match=re.escape(message)) as error:
        load("mtcnn_pnet", ProposalNetwork, weights=path)
    assert "other.pt" in str(error.value)


def test_arrays_of_something_else_than_numbers_are_named(folder, state, monkeypatch):
    path = save(folder / "array.pt", state)
    # Such a file can be written by hand only.
    monkeypatch.setattr(torch, "load", lambda *args, **options: {"a": np.zeros(3, object)})
    with pytest.raises(FileFormatError, match=r"array\.pt: expected a in single .*found object"):
        weights.read_tensors(path)


def repack(path: Path, size: int) -> None:
    """Compresses the members of a zip, each followed by zeros up to this size."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content.ljust(size, b"\0"))


@pytest.mark.parametrize("size", [0, 2**22], ids=["as large as before", "bomb"])
def test_a_compressed_file_is_refused_before_it_takes_memory(folder, state, size):
    path = save(folder / "packed.pt", state)
    repack(path, size)
    tracemalloc.start()
    with pytest.raises(FileFormatError, match=r"packed\.pt: .*as torch stores them"):
        load("mtcnn_pnet", ProposalNetwork, weights=path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21


def caffe_file(prefix: str) -> dict:
    """VGG-16 up to its last pooling, under Caffe's names."""
    vgg = networks.VGG(layer="pool")
    parameters = vgg.state_dict()
    state = {}
    for caffe, ours in vgg.caffe_names().items():
        if caffe != "fc6":
            state[f"{prefix}{caffe}.weight"] = parameters[f"{ours}.weight"]
            state[f"{prefix}{caffe}.bias"] = parameters[f"{ours}.bias"]
    return state


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_key_that_differs_is_named_as_in_the_file_of_caffe(folder, prefix):
    def refuse(make, state, message):
        with pytest.raises(FileFormatError, match=re.escape(message)):
            load("vgg16_places", make, weights=save(folder / "other.pt", state))

    pool = partial(networks.VGG, layer="pool")
    state = caffe_file(prefix)
    load("vgg16_places", pool, weights=save(folder / "complete.pt", state))
    refuse(networks.VGG, state, f" {prefix}fc6.weight (4096, 25088) is missing")
    refuse(
        pool,
        state | {f"{prefix}conv1_2.bias": torch.zeros(3)},
        f" {prefix}conv1_2.bias of shape (64,), found (3,)",
    )
    refuse(
        pool,
        state | {f"{prefix}conv6.bias": torch.zeros(3)},
        f" {prefix}conv6.bias is not one",
    )


@pytest.mark.parametrize(
    ("name", "make", "state", "message"),
    [
        (
            "vgg16_places",
            partial(networks.VGG, layer="pool"),
            {"features.0.weight": torch.zeros(64, 3, 3, 3)},
            " features.0.bias (64,) is missing",
        ),
        (
            "openpose",
            networks.OpenPoseBody,
            {"model0.conv1_1.weight": torch.zeros(64, 3, 3, 3)},
            " model0.conv1_1.bias (64,) is missing",
        ),
        (
            "openpose",
            networks.OpenPoseBody,
            {"conv1_1.weight": torch.zeros(64, 3, 3, 3)},
            " conv1_1.bias (64,) is missing",
        ),
    ],
    ids=["torchvision", "openpose with prefix", "openpose"],
)
def test_the_key_that_differs_is_named_as_in_the_file(folder, name, make, state, message):
    with pytest.raises(FileFormatError, match=re.escape(message)):
        load(name, make, weights=save(folder / "other.pt", state))


@pytest.mark.parametrize("place", [4, 16])
def test_a_damaged_end_of_an_archive_is_refused_by_name(folder, place):
    file = folder / "weights.pt"
    torch.save({"layer.weight": torch.zeros(3, 2)}, file)
    content = bytearray(file.read_bytes())
    # The locator of a large archive before the end: torch writes one, with the number of disks.
    locator = content.rindex(b"PK\x06\x07")
    content[locator + place] ^= 255
    file.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"weights\.pt"):
        weights.read_tensors(file)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.98])
def test_a_file_cut_short_is_refused_by_name(folder, state, legacy, share):
    path = save(folder / "cut.pt", state, legacy=legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FileFormatError, match=r"cut.pt.*cut short"):
        load("mtcnn_pnet", ProposalNetwork, weights=path)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
def test_a_pickle_with_code_is_refused_and_nothing_runs(folder, state, form, monkeypatch):
    monkeypatch.chdir(folder)
    path = folder / "harm.pt"
    if form == "plain":
        path.write_bytes(pickle.dumps(Harmful(), protocol=2))
    else:
        save(path, state | {"conv1.bias": Harmful()}, legacy=form == "legacy")
    with pytest.raises(FileFormatError, match=r"harm.pt.*asks to run code"):
        load("mtcnn_pnet", ProposalNetwork, weights=path)
    assert not (folder / "ran").exists()


def test_a_wrong_checksum_is_refused(folder):
    state = networks.VGGishPostprocessor().state_dict()
    path = save(folder / "own" / "vggish_pca_params-970ea276.pth", state)
    message = r"vggish_pca_params.*SHA-256 that begins 970ea276, found (?!970ea276)"
    with pytest.raises(FileFormatError, match=message):
        load("vggish_pca", networks.VGGishPostprocessor)
    # A file that the reader names has no checksum to keep to.
    load("vggish_pca", networks.VGGishPostprocessor, weights=path)


def official_pca():
    """Parameters in the form of the released file: numpy arrays in double precision."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 0.3, (128, 128))
    return {"pca_eigen_vectors": vectors, "pca_means": rng.normal(0.5, 0.2, 128)}


def published_recipe(embeddings, parameters, quantise):
    """The published post-processing, one example after another, in double precision."""
    matrix = np.asarray(parameters["pca_eigen_vectors"], float)
    means = np.asarray(parameters["pca_means"], float).reshape(-1)
    rows = []
    for embedding in embeddings:
        components = matrix @ (embedding - means)
        clipped = np.clip(components, -2.0, 2.0)
        steps = (clipped + 2.0) * (255.0 / 4.0)
        rows.append(np.round(steps) if quantise == "round" else np.floor(steps))
    return np.array(rows)


def assert_steps_agree(found, expected):
    """In single precision a value at the edge of a step falls beside it: seldom, and by one."""
    apart = np.abs(found - expected)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3
    assert found.min() >= 0 and found.max() <= 255


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("quantise", ["round", "truncate"])
def test_the_postprocessor_follows_the_published_recipe(folder, quantise, legacy):
    parameters = official_pca()
    path = save(folder / "pca.pth", parameters, legacy=legacy)
    make = partial(networks.VGGishPostprocessor, quantise=quantise)
    network = load("vggish_pca", make, weights=path)
    assert network.pca_eigen_vectors.dtype == network.pca_means.dtype == torch.float32
    embeddings = np.random.default_rng(1).uniform(0, 1, (500, 128)).astype(np.float32)
    found = network.embed(torch.from_numpy(embeddings)).numpy()
    assert_steps_agree(found, published_recipe(embeddings, parameters, quantise))
    assert (found == 0).any() and (found == 255).any()  # some are clipped


def test_truncated_steps_are_half_a_step_lower_than_rounded_ones():
    embeddings = torch.rand(500, 128, generator=torch.Generator().manual_seed(0))
    rounded, truncated = (
        networks.VGGishPostprocessor(quantise=quantise).embed(embeddings)
        for quantise in ("round", "truncate")
    )
    lower = rounded - truncated
    assert set(lower.unique().tolist()) == {0.0, 1.0}
    assert lower.mean().item() == pytest.approx(0.5, abs=0.02)
    with pytest.raises(ValueError, match="'round' or 'truncate', not 'ceil'"):
        networks.VGGishPostprocessor(quantise="ceil")


def test_principal_components_of_another_shape_are_refused(folder):
    path = save(folder / "pca.pth", official_pca() | {"pca_means": np.zeros(64)})
    message = r"pca\.pth: expected pca_means of shape \(128,\), found \(64,\)"
    with pytest.raises(FileFormatError, match=message):
        load("vggish_pca", networks.VGGishPostprocessor, weights=path)


@pytest.mark.parametrize("quantise", ["round", "truncate"])
def test_the_released_principal_components_load_and_follow_the_recipe(
    quantise, golden, monkeypatch
):
    path = golden("weights/vggish_pca_params-970ea276.pth")
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(path.parent))
    network = load("vggish_pca", partial(networks.VGGishPostprocessor, quantise=quantise))
    parameters = weights.read_tensors(path)
    assert {name: tuple(value.shape) for name, value in parameters.items()} == {
        "pca_eigen_vectors": (128, 128),
        "pca_means": (128,),
    }
    embeddings = np.random.default_rng(1).uniform(0, 1, (500, 128)).astype(np.float32)
    found = network.embed(torch.from_numpy(embeddings)).numpy()
    assert_steps_agree(found, published_recipe(embeddings, parameters, quantise))


def test_flownets_reads_its_contracting_part_out_of_a_released_file(folder):
    state = load("flownet", networks.FlowNetS, weights="random").state_dict()
    beside = {
        "deconv5.0.weight": torch.zeros(1024, 512, 4, 4),
        "predict_flow6.weight": torch.zeros(2, 1024, 3, 3),
        "predict_flow6.bias": torch.zeros(2),  # in some versions of the code, not in others
        "upsampled_flow6_to_5.weight": torch.zeros(2, 2, 4, 4),
    }
    release = {"arch": "flownets", "state_dict": dict(state) | beside, "div_flow": 20}
    network = load("flownet", networks.FlowNetS, weights=save(folder / "flow.pth", release))
    assert torch.equal(network.state_dict()["conv6_1.0.weight"], state["conv6_1.0.weight"])
    release["state_dict"].pop("conv1.0.bias")  # as in the release with batch norm
    with pytest.raises(FileFormatError, match=r"flow\.pth: .*conv1\.0\.bias \(64,\) is missing"):
        load("flownet", networks.FlowNetS, weights=save(folder / "flow.pth", release))


def test_i3d_is_read_from_a_file_of_2017_without_counters_of_batches(folder):
    state = load("i3d", networks.I3D, weights="random").state_dict()
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    assert len(counters) == 57  # one per convolution but the last, which has no batch norm
    old = {name: value for name, value in state.items() if name not in counters}
    network = load(
        "i3d",
        networks.I3D,
        weights=save(folder / "rgb.pt", old, legacy=True),
    )
    assert torch.equal(
        network.state_dict()["Mixed_5c.b2b.bn.running_var"], state["Mixed_5c.b2b.bn.running_var"]
    )
    old.pop("logits.conv3d.bias")
    with pytest.raises(
        FileFormatError, match=r"rgb\.pt: .*logits\.conv3d\.bias \(400,\) is missing"
    ):
        load("i3d", networks.I3D, weights=save(folder / "rgb.pt", old))
