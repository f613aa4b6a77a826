"""AttendAffectNet: the paper's details, and the released checkpoints."""

import json
import math
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from affectlib.corpora import CorpusFormatError, CorpusNotFoundError
from affectlib.corpora.base import AffectError
from affectlib.features.pretrained.released import RefusedPickleError, _tensor
from affectlib.models.attend_affect import (
    Attention,
    FeatureAAN,
    FeatureTemporalAAN,
    LayerNorm,
    TemporalAAN,
    compare,
    from_released,
    mse_pcc_loss,
    positions,
)
from affectlib.paths import GOLDEN

torch.set_num_threads(1)  # torch may have been loaded before affectlib asked for it
SIZES, LENGTH, BATCH = (7, 3, 5), 4, 12
MODELS = {
    "fused": lambda **options: FeatureAAN(sizes=SIZES, **options),
    "single": lambda **options: FeatureAAN(sizes=SIZES, variant="single", **options),
    "temporal": lambda **options: TemporalAAN(sizes=SIZES, length=LENGTH, **options),
    "feature_temporal": lambda **options: FeatureTemporalAAN(sizes=SIZES, length=LENGTH, **options),
}
GOLD = GOLDEN / "attend_affect"
RELEASED = {"video_audio": slice(0, 5), "only_video": slice(0, 3), "only_audio": slice(3, 5)}
needs_gold = pytest.mark.skipif(
    not GOLD.is_dir(), reason=f"no released checkpoints (AFFECTLIB_GOLDEN) at {GOLD}"
)


def tokens(model):
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH, LENGTH) if isinstance(model, TemporalAAN) else (BATCH,)
    return [torch.randn(*shape, size, generator=generator) for size in SIZES]


@pytest.mark.parametrize("name", MODELS)
def test_tokens_of_another_size_are_refused(name):
    model = MODELS[name]()
    with pytest.raises(ValueError, match=r"\[3, 7, 5\].*\[7, 3, 5\]"):
        model([tokens(model)[i] for i in (1, 0, 2)])


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="variant"):
        FeatureAAN(variant="both")
    with pytest.raises(ValueError, match="initial is 'same'"):
        FeatureAAN(initial="same")
    with pytest.raises(ValueError, match="3 heads"):
        FeatureAAN(heads=3)
    with pytest.raises(ValueError, match="3 segments"):
        TemporalAAN(sizes=(2,), length=4)([torch.zeros(1, 3, 2)])


def slow_loss(truth, prediction):
    truth, prediction = truth.double().numpy(), prediction.double().numpy()
    return np.mean((truth - prediction) ** 2) + 1 - np.corrcoef(truth, prediction)[0, 1]


def test_loss_is_equation_3_and_takes_a_weight():
    truth, prediction = torch.randn(2, 20), torch.randn(2, 20)
    kept = torch.rand(20) < 0.6
    for i in range(2):
        assert mse_pcc_loss(truth, prediction)[i].item() == pytest.approx(
            slow_loss(truth[i], prediction[i]), rel=1e-5
        )
    weighted = mse_pcc_loss(truth[0], prediction[0], weight=kept.float())
    assert weighted.item() == pytest.approx(
        slow_loss(truth[0][kept], prediction[0][kept]), rel=1e-5
    )
    with pytest.raises(ValueError, match=r"\(3,\).*\(3, 1\)"):
        mse_pcc_loss(torch.zeros(3), torch.zeros(3, 1))


@pytest.mark.parametrize(
    "truth, prediction", [((0.5, 0.5), (0.1, 0.9)), ((0.1, 0.9), (0.5, 0.5)), ((1.0,), (0.0,))]
)
def test_loss_of_a_constant_batch_is_its_error_plus_one(truth, prediction):
    truth, prediction = torch.tensor(truth), torch.tensor(prediction, requires_grad=True)
    loss = mse_pcc_loss(truth, prediction)
    loss.backward()
    error = (truth - prediction.detach()) ** 2
    assert loss.item() == pytest.approx(error.mean().item() + 1)
    np.testing.assert_allclose(
        prediction.grad, 2 * (prediction.detach() - truth) / len(truth), atol=1e-6
    )


@pytest.mark.parametrize("size", [1.0, 1e-3, 0.0])
def test_layer_norm_divides_by_the_unbiased_deviation_plus_epsilon(size):
    x = size * torch.randn(6, 8)
    norm = LayerNorm(8)
    with torch.no_grad():
        norm.scale.uniform_(0.5, 2)
        norm.shift.normal_()
    rows = x.double().numpy()
    centred = rows - rows.mean(1, keepdims=True)
    deviation = rows.std(1, ddof=1, keepdims=True)
    expected = centred / (deviation + 1e-6) * norm.scale.detach().numpy()
    expected = expected + norm.shift.detach().numpy()
    np.testing.assert_allclose(norm(x).detach(), expected, atol=5e-6)


def test_layer_norm_has_a_gradient_where_all_cells_are_equal():
    x = torch.ones(2, 8, requires_grad=True)
    (LayerNorm(8)(x) * torch.randn(2, 8)).sum().backward()
    assert x.grad.isfinite().all()


def test_torch_layer_norm_cannot_take_its_place():
    x = torch.randn(6, 8)
    assert (LayerNorm(8)(x) - nn.functional.layer_norm(x, (8,))).abs().max() > 0.05


def test_attention_is_softmax_of_scaled_products():
    layer, x, memory = Attention(8, 2, 0.0), torch.randn(3, 4, 8), torch.randn(3, 5, 8)
    q, (k, v) = layer.query(x), layer.key_value(memory).chunk(2, -1)
    joined = torch.zeros(3, 4, 8)
    result = layer(x, memory).detach()
    for b in range(3):
        for h in range(2):
            part = slice(4 * h, 4 * h + 4)
            weights = (q[b, :, part] @ k[b, :, part].T / math.sqrt(4)).softmax(-1)
            joined[b, :, part] = weights @ v[b, :, part]
            np.testing.assert_allclose(layer.weights[b, h], weights.detach(), atol=1e-6)
    np.testing.assert_allclose(result, layer.output(joined).detach(), atol=1e-6)


def test_attention_maps_have_rows_that_sum_to_one():
    maps = MODELS["fused"]().eval().attention([torch.randn(6, size) for size in SIZES])
    assert maps.shape == (6, 6, 2, 3, 3)
    np.testing.assert_allclose(maps.sum(-1).detach(), 1, atol=1e-6)


def test_positions_are_equation_2():
    table = positions(5, 40)
    for place in range(5):
        for cell in range(40):
            angle = place / 10000 ** (2 * (cell // 2) / 40)
            expected = math.sin(angle) if cell % 2 == 0 else math.cos(angle)
            assert table[place, cell].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["temporal", "feature_temporal"])
def test_decoder_hears_earlier_values_and_no_later_one(name):
    """In double precision rounding moves an output by 1e-15, an earlier value by 1e-3 and more."""
    torch.manual_seed(0)
    model = MODELS[name]().double().eval()
    x = [token.double() for token in tokens(model)]
    before = torch.randn(BATCH, LENGTH - 1, dtype=torch.float64)
    for changed in range(LENGTH - 1):
        after = before.clone()
        after[:, changed] += 1
        moved = (model(x, before) - model(x, after)).abs().amax(0)
        assert moved[: changed + 1].max() < 1e-12
        assert moved[changed + 1 :].min() > 1e-3


@pytest.mark.parametrize("name", ["temporal", "feature_temporal"])
def test_the_last_output_has_a_gradient_by_every_value_before_it(name):
    torch.manual_seed(0)
    model = MODELS[name]().double().eval()
    x = [token.double() for token in tokens(model)]
    previous = torch.randn(BATCH, LENGTH - 1, dtype=torch.float64, requires_grad=True)
    model(x, previous)[:, -1].sum().backward()
    assert previous.grad.abs().amin() > 1e-6
    assert previous.grad.abs().amax() > 1e-3


@pytest.mark.parametrize("name", ["temporal", "feature_temporal"])
def test_decoder_feeds_itself_where_no_past_is_given(name):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    x = tokens(model)
    alone = model(x)
    np.testing.assert_allclose(model(x, alone[:, :-1]).detach(), alone.detach(), atol=1e-5)


def test_equal_initial_weights_are_one_layer_copied():
    torch.manual_seed(0)
    model = FeatureAAN(sizes=SIZES, initial="equal")
    first = model.encoder.layers[0]
    attention = first.attention
    for kind in ("weight", "bias"):
        query = getattr(attention.query, kind)
        key, value = getattr(attention.key_value, kind).chunk(2)
        for other in (key, value, getattr(attention.output, kind)):
            assert torch.equal(query, other)
        assert query.std() > 0.01
    expected = first.state_dict()
    for layer in model.encoder.layers[1:]:
        for name, values in layer.state_dict().items():
            assert torch.equal(values, expected[name])
            # Equal at the start only: a step may move each by itself.
            assert values.data_ptr() != expected[name].data_ptr()


def test_independent_initial_weights_differ_and_those_outside_the_encoder_are_the_same():
    models = []
    for initial in ("independent", "equal"):
        torch.manual_seed(0)
        models.append(FeatureAAN(sizes=SIZES, initial=initial))
    independent, equal = models
    first, second = independent.encoder.layers[:2]
    assert (first.attention.query.weight - first.attention.output.weight).abs().max() > 0.01
    assert (first.attention.query.weight - second.attention.query.weight).abs().max() > 0.01
    # The two start with the same query in their first layer, the same projection and head.
    for part in ("project", "head"):
        for a, b in zip(
            getattr(independent, part).parameters(), getattr(equal, part).parameters(), strict=True
        ):
            assert torch.equal(a, b)


def test_equal_layers_drift_apart_in_training():
    torch.manual_seed(0)
    model = FeatureAAN(sizes=SIZES, initial="equal", dropout=0.0)
    x = tokens(model)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    mse_pcc_loss(torch.linspace(-1, 1, BATCH), model(x)).backward()
    optimiser.step()
    first, second = model.encoder.layers[:2]
    difference = first.attention.query.weight - second.attention.query.weight
    assert difference.abs().max() > 1e-3


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
def test_heads_share_the_width_and_cost_no_parameter(heads):
    model = FeatureAAN(sizes=SIZES, heads=heads).eval()
    maps = model.attention([torch.randn(6, size) for size in SIZES])
    assert maps.shape == (6, 6, heads, 3, 3)
    expected = sum(p.numel() for p in FeatureAAN(sizes=SIZES).parameters())
    assert sum(p.numel() for p in model.parameters()) == expected


def test_parameter_counts_are_the_released_ones():
    def count(**options):
        return sum(p.numel() for p in FeatureAAN(**options).parameters())

    assert count(unused_embedding=True) == 48_937 == count() + 72
    assert count(sizes=(2048, 1024, 1024), variant="single") == 35_169
    assert count(sizes=(128, 1582), variant="single") == 16_073


@needs_gold
@pytest.mark.parametrize("target", ["arousal", "valence"])
@pytest.mark.parametrize("name", RELEASED)
def test_released_models_give_the_released_values(name, target):
    h5py = pytest.importorskip("h5py")
    expected = json.loads((GOLD / f"expected_{target}.json").read_text())[name]
    features = []
    for feature in ("resnet50", "flownet", "i3d", "vggish", "emobase")[RELEASED[name]]:
        with h5py.File(GOLD / f"{feature}_sample.h5") as file:
            features.append(torch.from_numpy(file["default"][:]))
    model = from_released(GOLD / f"MDB_{target}_COGNIMUSE_attention_model_Feature_AAN_{name}.pth")
    assert not model.training
    n_parameters = {"video_audio": 48_937, "only_video": 35_169, "only_audio": 16_073}
    assert sum(p.numel() for p in model.parameters()) == n_parameters[name]
    if isinstance(expected, dict):
        expected = expected["prediction"]
    np.testing.assert_allclose(model(features).detach(), expected, atol=1e-5)


@needs_gold
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_released_file_cut_short_is_refused(tmp_path, share):
    whole = (GOLD / "MDB_arousal_COGNIMUSE_attention_model_Feature_AAN_only_audio.pth").read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CorpusFormatError, match=r"cut\.pth"):
        from_released(cut)


class Planted:
    """Unpickled, it would call ``function`` with ``arguments``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def write(path, layout, planted):
    data = pickle.dumps(planted, protocol=2)
    if layout == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", data)
            archive.writestr("archive/version", "3")
    elif layout == "legacy":
        header = [
            pickle.dumps(part, protocol=2)
            for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        ]
        path.write_bytes(
            b"".join(header) + data + pickle.dumps(["0"], protocol=2) + struct.pack("<q", 0)
        )
    else:
        path.write_bytes(data)


@pytest.mark.parametrize("layout", ["zip", "legacy", "first"])
@pytest.mark.parametrize(
    "function, argument, name",
    [
        (os.system, "touch {}", "system"),
        (eval, "open({!r}, 'w')", "eval"),
        (os.mkdir, "{}", "mkdir"),
        (torch.load, "{}", "load"),
        (getattr, "{}", "getattr"),
    ],
)
def test_crafted_pickle_is_refused_by_name_and_runs_nothing(
    tmp_path, layout, function, argument, name
):
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    write(path, layout, {"state": [Planted(function, argument.format(str(trace)))]})
    with pytest.raises(RefusedPickleError, match=rf"model\.pth.*\.{name}\b") as caught:
        from_released(path)
    assert isinstance(caught.value, AffectError) and isinstance(
        caught.value, pickle.UnpicklingError
    )
    assert not trace.exists()


@pytest.mark.parametrize(
    "module, name, told",
    [
        ("torch._utils", "_rebuild_tensor_v2", "_tensor"),
        ("torch._utils", "_rebuild_parameter", "<lambda>"),
        ("model_x", "Encoder", "Encoder"),
        ("collections", "OrderedDict", "OrderedDict"),
    ],
)
@pytest.mark.parametrize("slots", [True, False])
def test_pickle_that_writes_to_an_allowed_name_is_refused(tmp_path, module, name, told, slots):
    state = b"}X\x0c\x00\x00\x00__defaults__)s"  # {"__defaults__": ()}, as attributes or as slots
    data = (
        f"\x80\x02c{module}\n{name}\n".encode("latin1")
        + (b"N" + state + b"\x86" if slots else state)
        + b"b."
    )
    with zipfile.ZipFile(tmp_path / "state.pth", "w") as archive:
        archive.writestr("archive/data.pkl", data)
    before = _tensor.__defaults__, dict(vars(_tensor))
    with pytest.raises(RefusedPickleError, match=rf"state\.pth: sets state on {told}"):
        from_released(tmp_path / "state.pth")
    assert (_tensor.__defaults__, dict(vars(_tensor))) == before


def test_compare_leaves_a_folder_without_arousal_models_alone_and_names_what_is_missing(tmp_path):
    (tmp_path / "MDB_valence_AAN_only_audio.pth").write_bytes(b"")
    assert compare(tmp_path) == []
    (tmp_path / "MDB_arousal_AAN_only_audio.pth").write_bytes(b"")
    (tmp_path / "expected_arousal.json").write_text('{"only_audio": [1]}')
    with pytest.raises(CorpusFormatError, match=r"expected_arousal\.json: expected the values"):
        compare(tmp_path)
    values = {kind: {"prediction": [0.1]} for kind in RELEASED}
    (tmp_path / "expected_arousal.json").write_text(json.dumps(values))
    with pytest.raises(CorpusFormatError, match=r"only_audio\.pth: expected a released"):
        compare(tmp_path)
    (tmp_path / "MDB_arousal_AAN_smell.pth").write_bytes(b"")
    (tmp_path / "MDB_arousal_AAN_only_audio.pth").unlink()
    with pytest.raises(
        CorpusFormatError, match=r"smell\.pth: expected a name that ends in video_audio"
    ):
        compare(tmp_path)


@needs_gold
def test_compare_finds_the_expected_values_of_valence_too():
    rows = compare(GOLD, target="valence")
    assert [row[0] for row in rows] == ["only_audio", "only_video", "video_audio"]
    assert max(row[2] for row in rows) < 1e-5


@needs_gold
def test_compare_finds_the_expected_values_and_names_missing_or_damaged_features(tmp_path):
    for path in GOLD.glob("*"):
        (tmp_path / path.name).symlink_to(path)
    rows = compare(tmp_path)
    assert [row[:2] for row in rows] == [
        ("only_audio", 16_073),
        ("only_video", 35_169),
        ("video_audio", 48_937),
    ]
    assert max(row[2] for row in rows) < 1e-5
    (tmp_path / "expected_arousal.json").unlink()
    assert [np.isnan(row[2]) for row in compare(tmp_path)] == [True] * 3
    sample = tmp_path / "vggish_sample.h5"
    sample.unlink()
    with pytest.raises(CorpusFormatError, match=r"vggish_sample\.h5: .*found none"):
        compare(tmp_path)
    sample.write_bytes(b"no table")
    with pytest.raises(CorpusFormatError, match=r"vggish_sample\.h5: expected an HDF5"):
        compare(tmp_path)


@needs_gold
def test_compare_refuses_features_that_do_not_fit_and_values_that_are_no_numbers(tmp_path):
    h5py = pytest.importorskip("h5py")
    for path in GOLD.glob("*"):
        (tmp_path / path.name).symlink_to(path)
    sample = tmp_path / "emobase_sample.h5"
    sample.unlink()
    for values, message in (
        (np.zeros((9, 1582), "f4"), "expected 10 segments, as in vggish_sample.h5; found 9"),
        (np.zeros((10, 128), "f4"), "expected a table of rows of 1582 values"),
        (np.full((10, 1582), np.nan), "row 1: expected finite numbers"),
    ):
        with h5py.File(sample, "w") as file:
            file["default"] = values
        with pytest.raises(CorpusFormatError, match=rf"emobase_sample\.h5.*{message}"):
            compare(tmp_path)
    video = next(tmp_path.glob("*arousal*only_video.pth"))
    video.unlink()
    video.symlink_to(next(GOLD.glob("*arousal*only_audio.pth")))
    next(tmp_path.glob("*arousal*only_audio.pth")).unlink()
    message = r"only_video\.pth: expected a model of .*\[2048, 1024, 1024\], found \[128, 1582\]"
    with pytest.raises(CorpusFormatError, match=message):
        compare(tmp_path)


def test_released_sizes_that_do_not_fit_together_take_no_memory(tmp_path, monkeypatch):
    released = {
        "linear1.weight": torch.zeros(1, 10**6),
        "linear1.bias": torch.zeros(1),
        "encoder.norm.a_2": torch.zeros(10**6),
        "linear.weight": torch.zeros(1, 1),
        "linear.bias": torch.zeros(1),
    }
    path = tmp_path / "sizes.pth"
    path.touch()
    monkeypatch.setattr(
        "affectlib.features.pretrained.released.read_state", lambda path: dict(released)
    )
    # Of 8 MB of parameters, a layer of 4 TB would come.
    with pytest.raises(CorpusFormatError, match=r"sizes\.pth: .*size mismatch"):
        from_released(path)
    released["encoder.norm.a_2"] = torch.tensor(1.0)
    with pytest.raises(CorpusFormatError, match=r"sizes\.pth: expected a released"):
        from_released(path)


@pytest.mark.parametrize(
    "text", ["[NaN, 1]", "[1e400]", "0.5", "[[1], [2]]", f"[{10**400}]", "[" * 10**5]
)
def test_expected_values_that_are_no_list_of_numbers_are_refused(tmp_path, text):
    (tmp_path / "MDB_arousal_AAN_only_audio.pth").write_bytes(b"")
    others = '"only_video": {"prediction": [1]}, "video_audio": {"prediction": [1]}'
    content = f'{{{others}, "only_audio": {{"prediction": {text}}}}}'
    (tmp_path / "expected_arousal.json").write_text(content)
    with pytest.raises(CorpusFormatError, match=r"expected_arousal\.json: expected "):
        compare(tmp_path)


def test_pickle_of_plain_data_is_no_model_and_a_missing_file_is_named(tmp_path):
    write(tmp_path / "list.pth", "zip", [1, 2])
    with pytest.raises(CorpusFormatError, match=r"list\.pth"):
        from_released(tmp_path / "list.pth")
    with pytest.raises(CorpusNotFoundError, match=r"none\.pth"):
        from_released(tmp_path / "none.pth")
