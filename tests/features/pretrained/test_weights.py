"""Released weights: found, checked, read without running anything, downloaded in parts."""

import hashlib
import os
import pickle
import re
import subprocess
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from affectlib.corpora.base import AffectError, CorpusFormatError
from affectlib.features.pretrained import networks, weights
from affectlib.features.pretrained.detectors import _pnet
from affectlib.features.pretrained.weights import (
    WEIGHTS,
    WeightsNotFoundError,
    download,
    find,
    folders,
    load,
)
from affectlib.paths import GOLDEN


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Nothing of this machine is found: two empty folders."""
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def save(path, state, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path, **options)
    return path


@pytest.fixture
def state():
    return load("mtcnn_pnet", _pnet, weights="random").state_dict()


def test_table_agrees_with_torchvision_and_invents_nothing():
    from torchvision import models

    table = {w.name: w for w in WEIGHTS}
    assert len(table) == len(WEIGHTS) and len({w.file for w in WEIGHTS}) == len(WEIGHTS)
    assert table["resnet50"].url == models.ResNet50_Weights.IMAGENET1K_V1.url
    assert table["inception"].url == models.Inception_V3_Weights.IMAGENET1K_V1.url
    assert table["vgg16"].url == models.VGG16_Weights.IMAGENET1K_V1.url
    for w in WEIGHTS:
        assert w.licence and w.where and re.fullmatch("[0-9a-f]*", w.sha256)
        said = re.search(
            r"-([0-9a-f]{8})\.", w.file
        )  # torch's rule: a name ends with the first digits
        assert not said or w.sha256.startswith(said[1])
        assert len(w.sha256) == 64 or said or not w.sha256
        assert w.url is None or w.url.endswith("/" + w.file)


def test_files_are_found_in_the_own_folder_first_then_in_torchs(folder):
    assert folders() == (folder / "own", type(folder)(torch.hub.get_dir()) / "checkpoints")
    with pytest.raises(WeightsNotFoundError) as error:
        find("i3d", "flownet")
    assert all(
        part in str(error.value)
        for part in (
            "rgb_imagenet.pt",
            "flownets_EPE1.951.pth",
            "piergiaj",
            "ClementPinard",
            str(folder / "own"),
        )
    )
    assert isinstance(error.value, FileNotFoundError) and isinstance(error.value, AffectError)
    hub = save(folder / "torch" / "hub" / "checkpoints" / "rgb_imagenet.pt", {})
    assert find("i3d") == (hub,)
    own = save(folder / "own" / "rgb_imagenet.pt", {})
    assert find("i3d") == (own,)
    with pytest.raises(ValueError, match="no weights 'alexnet', there are vggish"):
        find("alexnet")


@pytest.mark.parametrize("legacy", [False, True])
def test_what_was_saved_is_loaded(folder, state, legacy, monkeypatch):
    without_checksum = replace(weights._TABLE["mtcnn_pnet"], sha256="")
    monkeypatch.setitem(weights._TABLE, "mtcnn_pnet", without_checksum)
    path = save(folder / "own" / "pnet.pt", state, _use_new_zipfile_serialization=not legacy)
    for given in (None, path):
        net = load("mtcnn_pnet", _pnet, weights=given)
        assert all(torch.equal(net.state_dict()[key], value) for key, value in state.items())
        assert not net.training and not any(p.requires_grad for p in net.parameters())


def test_random_weights_repeat_and_leave_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = (load("mtcnn_pnet", _pnet, weights="random").state_dict() for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[key], second[key]) for key in first)
    with pytest.raises(WeightsNotFoundError, match="pnet"):  # never taken because a file is missing
        load("mtcnn_pnet", _pnet)


def test_weights_of_another_network_name_the_first_key_that_differs(folder, state):
    def refused(changed, message):
        with pytest.raises(CorpusFormatError, match=re.escape(message)) as error:
            load("mtcnn_pnet", _pnet, weights=save(folder / "other.pt", changed))
        assert "other.pt" in str(error.value)

    refused(
        state | {"conv2.weight": torch.zeros(16, 10, 5, 5)},
        "conv2.weight of shape (16, 10, 3, 3), found (16, 10, 5, 5)",
    )
    refused(
        {key: value for key, value in state.items() if key != "prelu3.weight"},
        "prelu3.weight (32,) is missing",
    )
    refused(state | {"conv9.weight": torch.zeros(1)}, "conv9.weight is not one of its parameters")
    refused([1, 2], "found a list")
    refused({"epoch": 3} | state, "epoch is not one of its parameters")
    refused({0: torch.zeros(1)} | state, "expected names of parameters, found 0")
    refused(
        {"state_dict": [torch.zeros(1)]}, "expected names and tensors in state_dict, found a list"
    )
    refused(state | {"conv2.weight": "text"}, "conv2.weight of shape (16, 10, 3, 3), found a str")


@pytest.mark.parametrize("module", ["", "module."])
def test_the_key_that_differs_is_named_as_in_the_file(folder, module):
    def refused(make, changed, message):
        with pytest.raises(CorpusFormatError, match=re.escape(message)):
            load("vgg16_places", make, weights=save(folder / "other.pt", changed))

    vgg = networks.VGG(layer="pool")
    own = vgg.state_dict()
    caffe = {
        f"{module}{name}.{what}": own[f"{place}.{what}"]
        for name, place in vgg._caffe().items()
        if name != "fc6"
        for what in ("weight", "bias")
    }
    load(
        "vgg16_places",
        partial(networks.VGG, layer="pool"),
        weights=save(folder / "whole.pt", caffe),
    )
    refused(networks.VGG, caffe, f" {module}fc6.weight (4096, 25088) is missing")
    refused(
        partial(networks.VGG, layer="pool"),
        caffe | {f"{module}conv1_2.bias": torch.zeros(3)},
        f" {module}conv1_2.bias of shape (64,), found (3,)",
    )
    refused(
        partial(networks.VGG, layer="pool"),
        caffe | {f"{module}conv6.bias": torch.zeros(3)},
        f" {module}conv6.bias is not one",
    )
    refused(
        partial(networks.VGG, layer="pool"),
        {"features.0.weight": own["features.0.weight"]},
        " features.0.bias (64,) is missing",
    )
    body = partial(networks.OpenPoseBody, layer="backbone")
    refused(
        body,
        {"model0.conv1_1.weight": torch.zeros(64, 3, 3, 3)},
        " model0.conv1_1.bias (64,) is missing",
    )
    refused(body, {"conv1_1.weight": torch.zeros(64, 3, 3, 3)}, " conv1_1.bias (64,) is missing")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_cut_short_is_refused_by_name(folder, state, legacy):
    path = save(folder / "cut.pt", state, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for share in (0, 0.01, 0.5, 0.98):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CorpusFormatError, match=r"cut.pt.*cut short"):
            load("mtcnn_pnet", _pnet, weights=path)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("how", ["zip", "legacy", "plain"])
def test_a_pickle_with_code_is_refused_and_nothing_runs(folder, state, how, monkeypatch):
    monkeypatch.chdir(folder)
    path = folder / "harm.pt"
    if how == "plain":
        path.write_bytes(pickle.dumps(Harmful(), protocol=2))
    else:
        save(path, state | {"conv1.bias": Harmful()}, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(CorpusFormatError, match=r"harm.pt.*asks to run code"):
        load("mtcnn_pnet", _pnet, weights=path)
    assert not (folder / "ran").exists()


def test_a_wrong_checksum_is_refused(folder):
    pca = networks.VGGishPostprocessor().state_dict()
    path = save(folder / "own" / "vggish_pca_params-970ea276.pth", pca)
    with pytest.raises(
        CorpusFormatError,
        match=r"vggish_pca_params.*SHA-256 that begins 970ea276, found (?!970ea276)",
    ):
        load("vggish_pca", networks.VGGishPostprocessor)
    load(
        "vggish_pca", networks.VGGishPostprocessor, weights=path
    )  # a file of one's own has none to keep to


def official_pca():
    """Parameters in the form of the released file: arrays of numpy in double precision, the means as a row."""
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
    """Single precision puts a value that lies on the edge of a step on its other side, seldom and by one step."""
    apart = np.abs(found - expected)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3
    assert found.min() >= 0 and found.max() <= 255


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("quantise", ["round", "truncate"])
def test_the_postprocessor_follows_the_published_recipe(folder, quantise, legacy):
    parameters = official_pca()
    path = save(folder / "pca.pth", parameters, _use_new_zipfile_serialization=not legacy)
    make = partial(networks.VGGishPostprocessor, quantise=quantise)
    net = load("vggish_pca", make, weights=path)
    assert net.pca_eigen_vectors.dtype == net.pca_means.dtype == torch.float32
    embeddings = np.random.default_rng(1).uniform(0, 1, (500, 128)).astype(np.float32)
    found = net.embed(torch.from_numpy(embeddings)).numpy()
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
    with pytest.raises(CorpusFormatError, match=message):
        load("vggish_pca", networks.VGGishPostprocessor, weights=path)


CONTENT = np.random.default_rng(0).bytes(3_000_000)
PCA = GOLDEN / "weights" / "vggish_pca_params-970ea276.pth"


@pytest.mark.skipif(not PCA.is_file(), reason=f"no released parameters (AFFECTLIB_GOLDEN) at {PCA}")
@pytest.mark.parametrize("quantise", ["round", "truncate"])
def test_the_released_principal_components_load_and_follow_the_recipe(quantise, monkeypatch):
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(PCA.parent))
    net = load("vggish_pca", partial(networks.VGGishPostprocessor, quantise=quantise))
    parameters = weights._read(PCA)
    assert {name: tuple(value.shape) for name, value in parameters.items()} == {
        "pca_eigen_vectors": (128, 128),
        "pca_means": (128,),
    }
    embeddings = np.random.default_rng(1).uniform(0, 1, (500, 128)).astype(np.float32)
    found = net.embed(torch.from_numpy(embeddings)).numpy()
    assert_steps_agree(found, published_recipe(embeddings, parameters, quantise))


def test_flownets_reads_its_contracting_part_out_of_a_released_file(folder):
    own = load("flownet", networks.FlowNetS, weights="random").state_dict()
    beside = {
        "deconv5.0.weight": torch.zeros(1024, 512, 4, 4),
        "predict_flow6.weight": torch.zeros(2, 1024, 3, 3),
        "predict_flow6.bias": torch.zeros(2),  # in some versions of the code, not in others
        "upsampled_flow6_to_5.weight": torch.zeros(2, 2, 4, 4),
    }
    release = {"arch": "flownets", "state_dict": dict(own) | beside, "div_flow": 20}
    net = load("flownet", networks.FlowNetS, weights=save(folder / "flow.pth", release))
    assert torch.equal(net.state_dict()["conv6_1.0.weight"], own["conv6_1.0.weight"])
    release["state_dict"].pop("conv1.0.bias")  # as in the release with batch norm
    with pytest.raises(CorpusFormatError, match=r"flow\.pth: .*conv1\.0\.bias \(64,\) is missing"):
        load("flownet", networks.FlowNetS, weights=save(folder / "flow.pth", release))


def test_i3d_is_read_from_a_file_of_2017_without_counters_of_batches(folder):
    own = load("i3d", networks.I3D, weights="random").state_dict()
    counters = [name for name in own if name.endswith("num_batches_tracked")]
    assert len(counters) == 57  # one per convolution but the last, which has no batch norm
    old = {name: value for name, value in own.items() if name not in counters}
    net = load(
        "i3d",
        networks.I3D,
        weights=save(folder / "rgb.pt", old, _use_new_zipfile_serialization=False),
    )
    assert torch.equal(
        net.state_dict()["Mixed_5c.b2b.bn.running_var"], own["Mixed_5c.b2b.bn.running_var"]
    )
    old.pop("logits.conv3d.bias")
    with pytest.raises(
        CorpusFormatError, match=r"rgb\.pt: .*logits\.conv3d\.bias \(400,\) is missing"
    ):
        load("i3d", networks.I3D, weights=save(folder / "rgb.pt", old))


def put_wheel(monkeypatch, files, *, fails=""):
    """Lets pip give a wheel that holds these files; returns what it is called with."""
    calls = []

    def run(command, **options):
        calls.append(command)
        if not fails:
            target = Path(
                command[command.index("--dest") + 1], "facenet_pytorch-2.6.0-py3-none-any.whl"
            )
            with zipfile.ZipFile(target, "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
        return subprocess.CompletedProcess(command, int(bool(fails)), "", fails)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


@pytest.fixture
def in_wheel(monkeypatch):
    entry = weights.Weights(
        "toy",
        "toy.pt",
        "https://example.org/toy.pt",
        "none",
        hashlib.sha256(CONTENT).hexdigest(),
        wheel=("facenet-pytorch==2.6.0", "facenet_pytorch/data/toy.pt"),
    )
    monkeypatch.setitem(weights._TABLE, "toy", entry)


def test_a_file_is_taken_out_of_a_wheel_and_checked(folder, in_wheel, monkeypatch):
    calls = put_wheel(monkeypatch, {"facenet_pytorch/data/toy.pt": CONTENT})
    path = weights.from_wheel("toy")
    assert path == folder / "own" / "toy.pt" and path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["toy.pt"]
    assert calls[0][-1] == "facenet-pytorch==2.6.0" and "--no-deps" in calls[0]
    with pytest.raises(WeightsNotFoundError, match=r"rgb_imagenet\.pt .*is in no wheel"):
        weights.from_wheel("i3d")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"facenet_pytorch/data/toy.pt": b"another"}, "toy.pt: expected a SHA-256"),
        (
            {"facenet_pytorch/data/other.pt": CONTENT},
            "expected a wheel with the file facenet_pytorch/data/toy",
        ),
    ],
)
def test_a_wheel_with_something_else_is_refused(folder, in_wheel, monkeypatch, files, message):
    put_wheel(monkeypatch, files)
    with pytest.raises(CorpusFormatError, match=message):
        weights.from_wheel("toy")
    assert list((folder / "own").iterdir()) == []


def test_the_wheel_is_tried_where_the_address_does_not_answer(in_wheel, monkeypatch, capsys):
    def no_answer(name):
        raise OSError("no route to example.org")

    monkeypatch.setattr(weights, "download", no_answer)
    put_wheel(monkeypatch, {"facenet_pytorch/data/toy.pt": CONTENT})
    assert weights.main(["toy"]) == 0
    assert (
        "no route to example.org; trying the wheel of facenet-pytorch==2.6.0"
        in capsys.readouterr().out
    )
    weights.find("toy")[0].unlink()
    put_wheel(monkeypatch, {}, fails="log\nERROR: No matching distribution found")
    assert weights.main(["toy"]) == 1
    said = capsys.readouterr().out
    assert "pip did not get facenet-pytorch==2.6.0: ERROR: No matching distribution found" in said


class Server(BaseHTTPRequestHandler):
    """Gives its content, or from the asked byte on; the first ``breaks`` replies stop in the middle."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        start = (
            int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
            if server.ranges
            else 0
        )
        start = 0 if self.headers.get("If-Range", server.tag) != server.tag else start
        server.asked.append(self.headers.get("Range"))
        if self.path == "/lost":
            return self.send_error(404)
        body, size = server.content[start:], len(server.content)
        self.send_response(416 if not body else 206 if start else 200)
        if start:
            place = f"{start + server.off}-{size - 1}" if body else "*"
            self.send_header("Content-Range", f"bytes {place}/{size}")
        if server.tag:
            self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if len(server.asked) <= server.breaks else body)


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.asked, server.breaks, server.ranges, server.content, server.tag, server.off = (
            [],
            0,
            True,
            CONTENT,
            "",
            0,
        )
        thread = threading.Thread(
            target=partial(server.serve_forever, poll_interval=0.02), daemon=True
        )
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}/toy.pt"
        yield server
        server.shutdown()


@pytest.fixture
def toy(monkeypatch):
    entry = weights.Weights(
        "toy", "toy.pt", "https://example.org/toy.pt", "none", hashlib.sha256(CONTENT).hexdigest()
    )
    monkeypatch.setitem(weights._TABLE, "toy", entry)
    return entry


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_goes_on_and_is_checked(folder, server, toy, ranges):
    server.breaks, server.ranges = 1, ranges
    with pytest.raises(
        CorpusFormatError, match="expected 3000000 bytes, 1500000 came: run it again"
    ):
        download("toy", url=server.url, progress=False)
    assert not (folder / "own" / "toy.pt").exists()
    path = download("toy", url=server.url, progress=False)
    assert path == folder / "own" / "toy.pt" and path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1500000-"]
    assert [p.name for p in path.parent.iterdir()] == ["toy.pt"]


def test_a_download_that_was_whole_but_not_yet_moved_is_not_sent_again(folder, server, toy):
    (folder / "own").mkdir()
    (folder / "own" / ".toy.pt.partial").write_bytes(CONTENT)
    assert download("toy", url=server.url, progress=False).read_bytes() == CONTENT


@pytest.fixture
def unchecked(monkeypatch, server, folder):
    """A file of tensors without a checksum."""
    monkeypatch.setitem(
        weights._TABLE,
        "toy",
        weights.Weights("toy", "toy.pt", "https://example.org/toy.pt", "none"),
    )
    versions = [
        save(folder / "v.pt", {"a": torch.full((100_000,), value)}).read_bytes()
        for value in (1.0, 2.0)
    ]
    assert len(versions[0]) == len(versions[1])
    server.content, server.tag = versions[0], '"one"'
    return versions


def test_two_versions_are_never_spliced(folder, server, unchecked):
    server.breaks = 1
    with pytest.raises(CorpusFormatError, match="run it again"):
        download("toy", url=server.url, progress=False)
    server.content, server.tag = unchecked[1], '"two"'
    assert download("toy", url=server.url, progress=False).read_bytes() == unchecked[1]
    assert server.asked[1].startswith("bytes=") and len(server.asked) == 2
    assert [p.name for p in (folder / "own").iterdir()] == ["toy.pt"]


@pytest.mark.parametrize("tag", ["", '"one"'])
def test_without_a_checksum_it_goes_on_where_the_version_is_known(server, unchecked, tag):
    server.breaks, server.tag = 1, tag
    with pytest.raises(CorpusFormatError, match="run it again"):
        download("toy", url=server.url, progress=False)
    assert download("toy", url=server.url, progress=False).read_bytes() == unchecked[0]
    assert bool(server.asked[1]) == bool(tag)


@pytest.mark.parametrize("have", [b"<html>", b"<html>" * 100_000])
@pytest.mark.parametrize("version", ["", '"one"'])
def test_a_page_is_not_taken_for_a_file(folder, server, unchecked, have, version):
    (folder / "own").mkdir()
    (folder / "own" / ".toy.pt.partial").write_bytes(have)
    (folder / "own" / ".toy.pt.version").write_text(version)
    if version and len(have) < len(unchecked[0]):
        with pytest.raises(CorpusFormatError, match="cut short"):
            download("toy", url=server.url, progress=False)
    assert download("toy", url=server.url, progress=False).read_bytes() == unchecked[0]
    server.content = b"<html>please log in</html>"
    (folder / "own" / "toy.pt").unlink()
    with pytest.raises(CorpusFormatError, match="cut short"):
        download("toy", url=server.url, progress=False)
    assert list((folder / "own").iterdir()) == []


def test_a_range_that_was_not_asked_for_starts_anew(folder, server, toy):
    server.breaks, server.off = 1, 7
    with pytest.raises(CorpusFormatError, match="run it again"):
        download("toy", url=server.url, progress=False)
    assert download("toy", url=server.url, progress=False).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1500000-", None]


def test_nothing_is_fetched_unencrypted_where_https_was_asked_for(monkeypatch):
    from urllib.request import HTTPRedirectHandler, OpenerDirector, Request

    def redirected(opener, request, timeout):
        handler = next(h for h in opener.handlers if isinstance(h, HTTPRedirectHandler))
        return handler.redirect_request(
            Request("https://a.org/x"), None, 302, "", {}, request.full_url
        )

    monkeypatch.setattr(OpenerDirector, "open", redirected)
    with pytest.raises(OSError, match="not encrypted"):
        weights._open("http://b.org/x", 0, "")
    assert weights._open("https://b.org/x", 0, "").full_url == "https://b.org/x"


def test_what_is_wrong_is_not_kept(folder, server, toy, monkeypatch):
    monkeypatch.setitem(
        weights._TABLE, "toy", weights.Weights("toy", "toy.pt", toy.where, "none", "00000000")
    )
    with pytest.raises(CorpusFormatError, match="SHA-256 that begins 00000000"):
        download("toy", url=server.url, progress=False)
    assert list((folder / "own").iterdir()) == []
    with pytest.raises(OSError, match="404"):
        download("toy", url=server.url.replace("toy.pt", "lost"), progress=False)
    with pytest.raises(WeightsNotFoundError, match=r"by hand.*ClementPinard"):
        download("flownet")


def test_the_target_skips_what_is_there_and_says_what_is_left(folder, toy, monkeypatch, capsys):
    (folder / "own").mkdir()
    (folder / "own" / "toy.pt").write_bytes(CONTENT)
    assert weights.main(["toy"]) == 0
    assert weights.main(["xception"]) == 1
    assert "there already" in (said := capsys.readouterr().out) and "got by hand" in said
    asked = []
    monkeypatch.setattr(weights, "download", lambda name: asked.append(name) or f"{name}.pt")
    monkeypatch.setattr(weights, "WEIGHTS", tuple(w for w in WEIGHTS if w.url))
    assert weights.main([]) == 0 and asked == [w.name for w in WEIGHTS if w.url]
