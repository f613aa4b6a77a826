"""The papers' networks: sizes, names, front ends and arithmetic, with random weights; released ones are not here."""

import json
import pickle

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from affectlib.corpora.base import CorpusFormatError
from affectlib.features import audio, motion, visual
from affectlib.features import deep as pretrained
from affectlib.features.faces import blocks, detect, people
from affectlib.features.pretrained import networks, weights
from affectlib.features.pretrained.weights import WeightsNotFoundError
from affectlib.media import Clip, Picture
from affectlib.paths import GOLDEN

RATE = 16000
NAMES = GOLDEN / "weight_names.json"
RELEASED = {
    "vggish": "VGGish",
    "vggish_pca": "VGGishPostprocessor",
    "i3d_rgb": "I3D",
    "flownets": "FlowNetS",
}
# of the published architectures; those that load whole count the layers that are not run, too
PARAMETERS = {
    "VGGish": 72_141_184,
    "I3D": 12_697_264,
    "FlowNetS": 24_050_752,
    "ResNet": 25_557_032,
    "Inception": 27_161_264,
    "VGG": 14_714_688 + 102_764_544,
    "OpenPoseBody": 7_340_480 + 311_680,
    "Xception": 20_806_952 + 6_294_528 + 21_511,
}
INPUTS = {
    "VGGish": (96, 64),
    "I3D": (3, 4, 64, 64),
    "FlowNetS": (6, 64, 64),
    "ResNet": (3, 64, 64),
    "Inception": (3, 96, 96),
    "VGG": (3, 224, 224),
    "OpenPoseBody": (3, 64, 64),
    "Xception": (3, 64, 64),
}
EXTRACTORS = {
    "resnet50": (pretrained.resnet50, {}, 2048),
    "inception": (pretrained.inception, {}, 2048),
    "inception_faces": (pretrained.inception, {"faces": 2}, 4096),
    "vgg16": (pretrained.vgg16, {}, 4096),
    "vgg16_places": (pretrained.vgg16, {"places": True, "layer": "pool"}, 512),
    "vgg16_pool5": (pretrained.vgg16, {"layer": "pool5"}, 25088),
    "vggface_pool5": (pretrained.vggface, {"layer": "pool5"}, 25088),
    "vggface": (pretrained.vggface, {}, 4096),
    "xception": (pretrained.xception, {}, 3072),
    "i3d": (pretrained.i3d, {}, 1024),
    "flownet": (pretrained.flownets, {}, 1024),
    "openpose": (pretrained.openpose, {}, 128),
    "vggish": (pretrained.vggish, {"postprocessed": True}, 128),
}


@pytest.fixture(autouse=True)
def nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield
    pretrained.network_of.cache_clear()


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def sound(seconds, seed=0):
    return noise(round(seconds * RATE), seed=seed).numpy() * 0.1


@pytest.fixture(scope="module")
def portrait():
    from affectlib.simulate import stage

    images = (stage.portrait(0.5, 0.5, seed=seed, size=(320, 180)) for seed in range(8))
    return next(image for image in images if len(detect(image)) == 1)


def random(name, **options):
    return weights.load(name, lambda: getattr(networks, name)(**options), weights="random")


@pytest.mark.skipif(
    not NAMES.is_file(), reason=f"no list of released parameters (AFFECTLIB_GOLDEN) at {NAMES}"
)
@pytest.mark.parametrize("released", RELEASED)
def test_released_weights_would_load_strictly(released):
    with torch.device("meta"):
        network = getattr(networks, RELEASED[released])()
        state = {
            key: torch.empty(shape)
            for key, shape in json.loads(NAMES.read_text())[released].items()
        }
        state = getattr(network, "released", dict)(state)
    assert network.load_state_dict(state, strict=True, assign=True) == ([], [])


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_parameters_of_their_papers(name):
    with torch.device("meta"):
        network = getattr(networks, name)()
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


def test_networks_stand_where_the_house_says():
    assert (
        audio.VGGish is networks.VGGish
        and audio.VGGishPostprocessor is networks.VGGishPostprocessor
    )
    for module, names in (
        (motion, ("I3D", "FlowNetS", "OpenPoseBody")),
        (visual, ("Inception", "VGG", "Xception")),
    ):
        assert all(getattr(module, name) is getattr(networks, name) for name in names)
    for module in (audio, motion, visual):
        with pytest.raises(AttributeError, match="AlexNet"):
            _ = module.AlexNet


def slow_examples(signal):
    """The released front end, frame by frame and band by band, in float64."""
    window = [0.5 - 0.5 * np.cos(2 * np.pi * n / 400) for n in range(400)]
    lowest, highest, *bins = (
        1127.0 * np.log(1.0 + hertz / 700.0) for hertz in (125, 7500, *np.linspace(0, 8000, 257))
    )
    edges, bins = np.linspace(lowest, highest, 66), np.array(bins)
    rows = []
    for start in range(0, len(signal) - 400 + 1, 160):
        spectrum = np.abs(np.fft.rfft(signal[start : start + 400].astype(float) * window, 512))
        row = []
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
            rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
            row.append(
                np.log(np.sum(np.maximum(0, np.minimum(rising, falling))[1:] * spectrum[1:]) + 0.01)
            )
        rows.append(row)
    return np.array([rows[k : k + 96] for k in range(0, len(rows) - 95, 96)])


@pytest.mark.parametrize("seconds, n", [(0.974, 0), (0.975, 1), (1.92, 1), (1.935, 2), (3.3, 3)])
def test_the_front_end_of_vggish_is_the_released_one(seconds, n):
    signal = sound(seconds)
    examples = audio.vggish_examples(signal, RATE)
    assert examples.shape == (n, 96, 64) and examples.dtype == np.float32
    if n:
        np.testing.assert_allclose(examples, slow_examples(signal), atol=2e-5)
    assert np.allclose(audio.vggish_examples(np.zeros(RATE), RATE), np.log(0.01))


def test_the_bands_of_vggish_lie_where_librosas_do():
    import librosa

    _, mel = audio._vggish_filters()
    centres = librosa.mel_frequencies(66, fmin=125, fmax=7500, htk=True)
    for k, column in enumerate(
        mel.T
    ):  # straight on another scale, but from zero to zero at the same places
        hertz = np.flatnonzero(column) * 8000 / 256
        assert centres[k] < hertz.min() and hertz.max() < centres[k + 2]
    tone = np.sin(2 * np.pi * centres[40] * np.arange(RATE) / RATE)
    assert audio.vggish_examples(tone, RATE).mean((0, 1)).argmax() == 39
    higher = audio.vggish_examples(
        np.sin(2 * np.pi * centres[40] * np.arange(44100) / 44100), 44100
    )
    assert higher.shape == (1, 96, 64) and higher.mean((0, 1)).argmax() == 39
    with pytest.raises(ValueError, match=r"mono sound \(samples,\), got \(2, 5\)"):
        audio.vggish_examples(np.zeros((2, 5)), RATE)


def test_vggish_offers_both_ways_to_make_its_steps():
    def values(quantise):
        extractor = pretrained.vggish(postprocessed=True, quantise=quantise, weights="random")
        return extractor, pretrained.sounds([sound(1.0)], **dict(extractor.options))

    rounded, by_rounding = values("round")
    truncated, by_truncating = values("truncate")
    assert rounded.options != truncated.options
    assert pretrained.vggish(postprocessed=True, weights="random").options == rounded.options
    assert set(np.unique(by_rounding - by_truncating)) == {0.0, 1.0}
    with pytest.raises(ValueError, match="'round' or 'truncate', not 'floor'"):
        pretrained.vggish(postprocessed=True, quantise="floor", weights="random")


def test_vggish_flattens_as_tensorflow_and_postprocesses_as_audioset():
    network, x = random("VGGish"), noise(2, 96, 64)
    maps = network.features(x[:, None])  # (2, 512, 6, 4)
    flat = torch.stack(
        [torch.cat([maps[b, :, i, j] for i in range(6) for j in range(4)]) for b in range(2)]
    )
    assert (
        torch.allclose(network.embed(x), network.embeddings(flat), atol=1e-5)
        and (network.embed(x) >= 0).all()
    )
    after, values = networks.VGGishPostprocessor(), noise(5, 128, seed=1)
    after.pca_eigen_vectors, after.pca_means = noise(128, 128, seed=2) / 8, noise(128, seed=3)
    expected = [
        [
            round(
                255
                * (
                    min(
                        2, max(-2, float(sum(after.pca_eigen_vectors[k] * (row - after.pca_means))))
                    )
                    + 2
                )
                / 4
            )
            for k in range(128)
        ]
        for row in values
    ]
    off = np.abs(after.embed(values).numpy() - expected)
    assert (
        off.max() <= 1 and (off > 0).mean() < 0.01
    )  # a sum in another order may fall beside a half
    assert {0.0, 255.0} <= set(after.embed(values).ravel().tolist())


@pytest.mark.parametrize(
    "size, kernel, stride", [(7, 3, 2), (8, 3, 2), (224, 7, 2), (5, 2, 2), (4, 3, 1), (1, 7, 2)]
)
def test_padding_is_tensorflows_same(size, kernel, stride):
    padded = networks._same(torch.ones(1, 1, size, size, size), (kernel,) * 3, (stride,) * 3)
    places = -(-size // stride)
    assert padded.shape[2] == max(size, (places - 1) * stride + kernel)
    before = int((padded[0, 0, :, padded.shape[3] // 2, padded.shape[4] // 2] == 0).int().argmin())
    assert before == (padded.shape[2] - size) // 2  # an odd one is added at the end
    assert nn.functional.max_pool3d(padded, kernel, stride).shape[2] == places


@pytest.mark.parametrize("name", PARAMETERS)
def test_folding_batch_norm_changes_nothing(name):
    network, x = (
        random(name, **({"layer": "pool"} if name == "VGG" else {})),
        noise(2, *INPUTS[name]),
    )
    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d))]
    with torch.no_grad():
        torch.manual_seed(0)
        for norm in norms:
            (
                norm.running_mean.normal_(0, 0.2),
                norm.running_var.uniform_(0.5, 2),
                norm.weight.uniform_(0.5, 1),
            )
        before = network.embed(x)
        folded = networks.fold(network)
        assert not any(isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d)) for m in folded.modules())
        after = folded.embed(x)
    assert before.abs().max() > 0 and torch.allclose(
        before, after, rtol=1e-3, atol=1e-5 * float(before.abs().max())
    )
    assert bool(norms) == (name in ("I3D", "ResNet", "Inception", "Xception"))


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_are_filled_without_being_built_first_and_run_the_same_on_one_library(name):
    options = {"layer": "pool"} if name == "VGG" else {}
    network = random(name, **options)
    ours = "body." if hasattr(network, "released") else ""  # not in the file
    state = {key.removeprefix(ours): value for key, value in network.state_dict().items()}
    with torch.device("meta"):
        fresh = getattr(networks, name)(**options)
    weights.fit("some.pth", getattr(fresh, "released", dict)(state), fresh)
    x = noise(1, *INPUTS[name])
    with torch.no_grad():
        expected, embedded = network.embed(x), networks.direct(fresh.eval()).embed(x)
    assert torch.allclose(embedded, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_embeddings_are_those_of_torchvision():
    for name, side in (("ResNet", 64), ("Inception", 96)):
        network, x = random(name), noise(1, 3, side, side)
        embedded, network.body.fc = network.embed(x), nn.Identity()
        assert torch.allclose(embedded, network.body(x), rtol=1e-4, atol=1e-6)


def test_vgg_reads_torchvisions_names_and_caffes():
    from torchvision.models import vgg16

    with torch.device("meta"):
        ours, theirs = networks.VGG(), vgg16()
    state = theirs.state_dict()
    assert {k: v.shape for k, v in ours.released(state).items()} == {
        k: v.shape for k, v in ours.state_dict().items()
    }
    pool = random("VGG", layer="pool")
    layers = [
        f"conv{b}_{k}" for b, n in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)) for k in range(1, n + 1)
    ]
    caffe = {
        f"{layers[i // 2]}.{k.rpartition('.')[2]}": v
        for i, (k, v) in enumerate(pool.state_dict().items())
    }
    behind = {f"{layer}.weight": torch.zeros(1) for layer in ("fc6", "fc7", "fc8a")}
    fresh = networks.VGG(layer="pool")
    weights.fit("caffe.pth", fresh.released({"state_dict": caffe | behind}), fresh)
    x = noise(1, 3, 224, 224)
    assert torch.equal(fresh.embed(x), pool.embed(x))
    assert torch.allclose(pool.embed(x), _through(pool, x), rtol=1e-4, atol=1e-5)
    maps = networks.VGG(layer="pool5")
    weights.fit("caffe.pth", maps.released(caffe | behind), maps)
    assert maps.embed(x).shape == (1, 512 * 7 * 7)
    assert torch.allclose(
        maps.embed(x).unflatten(1, (512, 49)).mean(2), pool.embed(x), rtol=1e-5, atol=1e-6
    )


def _through(pool, x):
    """VGG-16 written out: five blocks of convolutions, each followed by pooling."""
    convolutions = iter([m for m in pool.features if isinstance(m, nn.Conv2d)])
    for n in (2, 2, 3, 3, 3):
        for _ in range(n):
            x = nn.functional.relu(next(convolutions)(x))
        x = nn.functional.max_pool2d(x, 2)
    return x.mean((2, 3))


def test_openpose_takes_its_backbone_out_of_the_whole_model():
    network = random("OpenPoseBody", layer="backbone")
    whole = {key.removeprefix("backbone."): value for key, value in network.state_dict().items()}
    stages = {"conv5_1_CPM_L1.weight": torch.zeros(1), "Mconv1_stage2_L2.bias": torch.zeros(1)}
    for prefix in ("", "model0."):
        fresh = networks.OpenPoseBody(layer="backbone")
        weights.fit(
            "pose.pth", fresh.released({prefix + k: v for k, v in whole.items()} | stages), fresh
        )
        assert torch.equal(fresh.embed(noise(1, 3, 64, 64)), network.embed(noise(1, 3, 64, 64)))
    with pytest.raises(CorpusFormatError, match=r"conv4_4_CPM\.bias \(128,\) is missing"):
        weights.fit(
            "pose.pth",
            fresh.released({k: v for k, v in whole.items() if k != "conv4_4_CPM.bias"}),
            fresh,
        )


def given(extractor, image, n=1):
    if extractor.sound:
        return sound(1.0 + n)
    return [Picture(k / 25, np.roll(image, k, 1), np.roll(image, k + 1, 1), 0.04) for k in range(n)]


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_runs_at_its_real_size(name, portrait):
    factory, options, size = EXTRACTORS[name]
    extractor = factory(**options, weights="random")
    assert (extractor.name, extractor.size) == (f"{name}_random", size)
    assert extractor.names[:2] == (f"{name}_random_0", f"{name}_random_1")
    assert ("weights", "random") in extractor.options
    one, two = given(extractor, portrait), given(extractor, portrait[:, ::-1], 2)
    rows = extractor.many([one, two], **dict(extractor.options))
    assert rows.shape == (2, size) and np.isfinite(rows).all() and (np.ptp(rows, axis=1) > 0).all()
    again = pickle.loads(pickle.dumps(extractor.vector))(one, **dict(extractor.options))
    np.testing.assert_allclose(again, rows[0], rtol=1e-3, atol=1e-4 * np.abs(rows).max())
    clip = (
        Clip(0.0, 2.0, (), given(extractor, portrait))
        if extractor.sound
        else Clip(0.0, 1 / 25, tuple(one))
    )
    np.testing.assert_allclose(extractor(clip), rows[0], rtol=1e-3, atol=1e-4 * np.abs(rows).max())


def test_the_mean_over_frames_is_taken_clip_by_clip(portrait):
    extractor = pretrained.openpose(weights="random", layer="backbone")
    pictures = given(extractor, portrait, 3)
    single = np.array(
        [extractor.vector([picture], **dict(extractor.options)) for picture in pictures]
    )
    rows = extractor.many([pictures[:2], pictures[2:]], **dict(extractor.options))
    np.testing.assert_allclose(rows, [single[:2].mean(0), single[2]], rtol=1e-4, atol=1e-6)


def test_faces_that_are_absent_are_zeros_and_the_second_is_apart(portrait):
    extractor = pretrained.inception(faces=2, weights="random")
    blank = [Picture(0.0, np.zeros_like(portrait))]
    empty, one = extractor.many(
        [blank, given(extractor, portrait) + blank], **dict(extractor.options)
    )
    assert not empty.any() and one[:2048].any() and not one[2048:].any()
    alone = extractor.many([given(extractor, portrait)], **dict(extractor.options))[0]
    np.testing.assert_allclose(one, alone, rtol=1e-4)  # a frame without the face does not dilute it


def test_vggface_describes_the_faces_that_people_places_each_with_its_margin(portrait):
    both = np.concatenate([np.zeros_like(portrait), portrait])
    both[:153, :272] = cv2.resize(
        portrait, (272, 153), interpolation=cv2.INTER_AREA
    )  # a smaller one above
    boxes = detect(both)
    assert len(boxes) == 2 and boxes[0, 1] > 180
    extractor = pretrained.vggface(faces=2, weights="random")
    assert extractor.size == 8192 and ("margin", 0.2) in extractor.options
    found = extractor.many([[Picture(0.0, both)]], **dict(extractor.options))[0].reshape(2, 4096)
    placed = people(count=2).vector([Picture(0.0, both)], count=2)
    scale = np.array([*both.shape[1::-1]] * 2)
    options = {
        name: value
        for name, value in extractor.options
        if name not in ("count", "detector", "margin")
    }
    for rank, block in enumerate(blocks(placed[None])[0]):
        crop = pretrained.cut(both, block[:4] * scale, margin=0.2)
        wanted = pretrained._run(
            pretrained.square(crop, pretrained.INPUTS["vggface"])[None], **options
        )[0]
        np.testing.assert_allclose(found[rank], wanted, rtol=1e-4, atol=1e-4 * wanted.max())


def test_a_margin_ends_at_the_edge_of_the_frame():
    image = np.arange(100 * 60).reshape(60, 100, 1)
    assert (pretrained.cut(image, [20, 10, 10, 20], margin=0.5) == image[0:40, 15:35]).all()
    assert (pretrained.cut(image, [90, 50, 20, 20], margin=0.2) == image[46:, 86:]).all()
    assert (pretrained.cut(image, [20, 10, 10, 20]) == image[10:30, 20:30]).all()


def test_a_long_clip_is_cut_into_stacks_that_count_by_their_frames(monkeypatch, portrait):
    extractor = pretrained.i3d(weights="random")
    monkeypatch.setattr(pretrained, "STACK", 2)
    pictures = given(extractor, portrait, 3)
    parts = [
        extractor.vector(part, **dict(extractor.options)) for part in (pictures[:2], pictures[2:])
    ]
    whole = extractor.vector(pictures, **dict(extractor.options))
    np.testing.assert_allclose(whole, (2 * parts[0] + parts[1]) / 3, rtol=1e-3, atol=1e-6)


def test_half_the_numbers_give_nearly_the_same(portrait):
    full, half = (pretrained.resnet50(weights="random", precision=p) for p in ("fp32", "bf16"))
    a, b = (e.vector(given(e, portrait), **dict(e.options)) for e in (full, half))
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999 and full.options != half.options
    with pytest.raises(ValueError, match="precision is one of fp32, bf16"):
        pretrained.resnet50(weights="random", precision="fp8")


def test_a_file_of_weights_is_part_of_the_key_and_may_not_change(tmp_path, portrait):
    path = tmp_path / "pose.pth"
    network = random("OpenPoseBody", layer="backbone")
    torch.save(
        {key.removeprefix("backbone."): value for key, value in network.state_dict().items()}, path
    )
    extractor = pretrained.openpose(layer="backbone", weights=path)
    assert extractor.name == "openpose"
    twin = pretrained.openpose(layer="backbone", weights="random")
    values = [e.vector(given(e, portrait), **dict(e.options)) for e in (extractor, twin)]
    np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-6)
    torch.save(
        {key.removeprefix("backbone."): value * 2 for key, value in network.state_dict().items()},
        path,
    )
    assert pretrained.openpose(layer="backbone", weights=path).options != extractor.options
    pretrained.network_of.cache_clear()
    with pytest.raises(CorpusFormatError, match="that the extractor was made with"):
        extractor.vector(given(extractor, portrait), **dict(extractor.options))


def test_vggish_hears_segments_that_nearly_last_an_example():
    tone = (0.2 * np.sin(np.arange(16000) / 10)).astype(np.float32)
    e = pretrained.vggish(weights="random")
    clips = [
        Clip(0.0, 1.0, (), sound)
        for sound in (tone, tone[:14400], np.pad(tone[:14400], (0, 1200)), tone[:7000])
    ]
    values = e.batch(clips)
    assert np.isfinite(values[:3]).all() and np.isnan(values[3]).all()
    assert np.array_equal(values[1], values[2]) and not np.array_equal(values[0], values[1])


def test_precision_is_part_of_the_key_and_the_same_everywhere_by_default(monkeypatch):
    def used(**options):
        return {
            dict(e.options)["precision"]
            for e in pretrained.pretrained("caan", weights="random", **options)
        }

    assert used() == {"fp32"} and used(precision="bf16") == {"bf16"}
    for best in ("fp32", "bf16"):
        monkeypatch.setattr(pretrained, "faster", lambda best=best: best)
        assert used(precision="auto") == {best} and used() == {"fp32"}
    monkeypatch.undo()
    assert pretrained.faster() in ("fp32", "bf16")
    with pytest.raises(ValueError, match="precision is one of fp32, bf16, auto, not 'fp16'"):
        pretrained.pretrained("caan", weights="random", precision="fp16")


@pytest.mark.parametrize("paper", pretrained.NEEDS)
def test_a_paper_says_all_that_is_missing_at_once(paper):
    with pytest.raises(WeightsNotFoundError) as error:
        pretrained.pretrained(paper)
    assert all(f"({name}):" in str(error.value) for name in pretrained.NEEDS[paper])
    used = {
        dict(e.options).get("file", e.name) for e in pretrained.pretrained(paper, weights="random")
    }
    beside = {"vggish_pca", "mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet"}
    assert used - {"emobase"} == set(pretrained.NEEDS[paper]) - beside


def test_the_extractors_of_attend_affect_are_its_tokens_at_its_sizes_and_rates():
    from affectlib.features.pretrained.released import TOKENS
    from affectlib.models.attend_affect import FeatureAAN

    extractors = pretrained.pretrained("attend_affect", weights="random")
    assert tuple(e.name.removesuffix("_random") for e in extractors) == TOKENS
    assert [e.size for e in extractors] == [2048, 1024, 1024, 128, 1582]
    assert [e.rate for e in extractors] == [25.0, 25.0, 25.0, 0.0, 0.0]
    FeatureAAN(sizes=[e.size for e in extractors])([torch.zeros(1, e.size) for e in extractors])
    sizes = {
        paper: [e.size for e in pretrained.pretrained(paper, weights="random")]
        for paper in pretrained.NEEDS
    }
    assert sizes["shot_long"] == [128, 512, 3072, 128] and sizes["gla"] == [2048, 128, 4096]
    assert sizes["caan"] == [4096, 4096]
    with pytest.raises(ValueError, match="'mood_change' has no pretrained extractors"):
        pretrained.pretrained("mood_change")
