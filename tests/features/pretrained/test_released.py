"""The reader of pickled models; that it runs nothing is tested with the model that it serves."""

import sys
import types
import zipfile

import pytest
import torch

from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features.pretrained.released import RefusedPickleError, read_state


def make_module(monkeypatch, module: str, name: str) -> type:
    """A class in a module of this name, as the code of a released model would have it."""
    code = types.ModuleType(module)
    made = type(name, (), {"__module__": module})
    setattr(code, name, made)
    monkeypatch.setitem(sys.modules, module, code)
    return made


@pytest.fixture
def model(monkeypatch):
    """A model with one layer, with the attributes that torch's modules have."""
    layer = make_module(monkeypatch, "torch.nn.modules.of_a_test", "Linear")()
    layer._parameters = {"weight": torch.arange(6.0).reshape(2, 3), "bias": None}
    layer._modules = {}
    model = make_module(monkeypatch, "model_of_a_test", "Encoder")()
    model._parameters = {"scale": torch.tensor([7.0])}
    model._modules = {"first": layer}
    return model


@pytest.mark.parametrize("legacy", [False, True])
def test_parameters_are_read_under_the_names_of_a_state_dict(tmp_path, model, legacy):
    path = tmp_path / "model.pth"
    torch.save(model, path, _use_new_zipfile_serialization=not legacy)
    state = read_state(path)
    assert list(state) == ["scale", "first.weight"]
    assert torch.equal(state["scale"], torch.tensor([7.0]))
    assert torch.equal(state["first.weight"], torch.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("left", [0.0, 0.5, -20, -1])
def test_a_file_cut_short_is_refused_by_name(tmp_path, model, legacy, left):
    path = tmp_path / "model.pth"
    torch.save(model, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    # A share of the file, or without some bytes: 20 bytes less leave one value of the last storage.
    size = left if left < 0 else int(left * len(content))
    path.write_bytes(content[:size])
    with pytest.raises(FileFormatError, match=r"model\.pth: expected a released model, complete"):
        read_state(path)


def test_a_class_that_is_not_on_the_list_is_refused(tmp_path, model, monkeypatch):
    model._modules["other"] = make_module(monkeypatch, "model_of_a_test2", "Downloader")()
    path = tmp_path / "model.pth"
    torch.save(model, path)
    with pytest.raises(RefusedPickleError, match=r"model\.pth: asks for .*Downloader"):
        read_state(path)


def test_values_in_double_precision_are_refused(tmp_path, model):
    model._parameters["scale"] = torch.tensor([7.0], dtype=torch.float64)
    path = tmp_path / "model.pth"
    torch.save(model, path)
    with pytest.raises(RefusedPickleError, match="DoubleStorage"):
        read_state(path)


@pytest.mark.parametrize(
    "scale",
    [torch.tensor([torch.nan]), torch.zeros(1)[:0].reshape(0, 10**9)],
    ids=["nan", "no value"],
)
def test_parameters_without_finite_values_are_refused(tmp_path, model, scale):
    model._parameters["scale"] = scale
    path = tmp_path / "model.pth"
    torch.save(model, path)
    with pytest.raises(FileFormatError, match=r"model\.pth: expected finite numbers in scale"):
        read_state(path)


def test_a_compressed_file_is_refused(tmp_path, model):
    path = tmp_path / "model.pth"
    torch.save(model, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(FileFormatError, match=r"model\.pth: .*as torch stores them"):
        read_state(path)


def test_a_module_in_many_places_is_refused(tmp_path, model, monkeypatch):
    kind = make_module(monkeypatch, "torch.nn.modules.of_a_list", "ModuleList")
    for _ in range(60):
        holder = kind()
        holder._parameters = {}
        holder._modules = {"a": model, "b": model}
        model = holder
    path = tmp_path / "model.pth"
    torch.save(model, path)
    with pytest.raises(FileFormatError, match=r"model\.pth: .* stands in two places"):
        read_state(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.pth: no such checkpoint"):
        read_state(tmp_path / "none.pth")
