"""The papers' extractors at their real sizes, with random weights; released ones are not here."""

import pickle

import cv2
import numpy as np
import pytest
import torch

from affectlib.errors import FileFormatError
from affectlib.features import deep
from affectlib.features.detection import detect
from affectlib.features.faces import blocks, people
from affectlib.features.papers import NEEDS, pretrained
from affectlib.features.pretrained import networks, weights
from affectlib.features.pretrained.weights import WeightsNotFoundError
from affectlib.media import Clip, Picture

RATE = 16000
EXTRACTORS = {
    "resnet50": (deep.resnet50, {}, 2048),
    "inception": (deep.inception, {}, 2048),
    "inception_faces": (deep.inception, {"faces": 2}, 4096),
    "vgg16": (deep.vgg16, {}, 4096),
    "vgg16_places": (deep.vgg16, {"places": True, "layer": "pool"}, 512),
    "vgg16_pool5": (deep.vgg16, {"layer": "pool5"}, 25088),
    "vggface_pool5": (deep.vggface, {"layer": "pool5"}, 25088),
    "vggface": (deep.vggface, {}, 4096),
    "xception": (deep.xception, {}, 3072),
    "i3d": (deep.i3d, {}, 1024),
    "flownet": (deep.flownets, {}, 1024),
    "openpose": (deep.openpose, {}, 128),
    "vggish": (deep.vggish, {"postprocessed": True}, 128),
}


@pytest.fixture(autouse=True)
def no_files_and_no_cache(tmp_path, monkeypatch):
    """Nothing of this machine is found, and no network is kept for the next test."""
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield
    deep.prepared_network.cache_clear()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """A simulated frame in which one face is found."""
    from affectlib.simulate import stage

    for seed in range(8):
        image = stage.portrait(0.5, 0.5, seed=seed, size=(320, 180))
        if len(detect(image)) == 1:
            return image
    raise AssertionError("no face is found in any of the simulated frames")


def noise(seconds: float) -> np.ndarray:
    samples = round(seconds * RATE)
    return np.random.default_rng(0).standard_normal(samples, dtype=np.float32) * 0.1


def pictures_of(image: np.ndarray, n: int = 1) -> list[Picture]:
    """Frames that move one pixel to the right each time, with the frame following each."""
    pictures = []
    for k in range(n):
        shown = np.roll(image, k, 1)
        following = np.roll(image, k + 1, 1)
        pictures.append(Picture(k / 25, shown, following, 0.04))
    return pictures


def describe(extractor, clip) -> np.ndarray:
    """The vector of one clip."""
    return extractor.vector(clip, **dict(extractor.options))


def describe_all(extractor, clips) -> np.ndarray:
    """The vectors of several clips at once."""
    return extractor.many(clips, **dict(extractor.options))


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_runs_at_its_real_size(name, portrait):
    factory, options, size = EXTRACTORS[name]
    extractor = factory(**options, weights="random")
    assert (extractor.name, extractor.size) == (f"{name}_random", size)
    assert extractor.names[:2] == (f"{name}_random_0", f"{name}_random_1")
    assert ("weights", "random") in extractor.options
    if extractor.sound:
        one = noise(2.0)
        two = noise(3.0)
        clip = Clip(0.0, 2.0, (), one)
    else:
        one = pictures_of(portrait)
        two = pictures_of(portrait[:, ::-1], 2)
        clip = Clip(0.0, 1 / 25, tuple(one))
    rows = describe_all(extractor, [one, two])
    assert rows.shape == (2, size)
    assert np.isfinite(rows).all()
    assert (np.ptp(rows, axis=1) > 0).all()
    # A batch of another size may round otherwise.
    close = {"rtol": 1e-3, "atol": 1e-4 * np.abs(rows).max()}
    unpickled = pickle.loads(pickle.dumps(extractor.vector))
    np.testing.assert_allclose(unpickled(one, **dict(extractor.options)), rows[0], **close)
    np.testing.assert_allclose(extractor(clip), rows[0], **close)


def test_the_mean_over_frames_is_taken_clip_by_clip(portrait):
    extractor = deep.openpose(weights="random")
    pictures = pictures_of(portrait, 3)
    single = np.array([describe(extractor, [picture]) for picture in pictures])
    rows = describe_all(extractor, [pictures[:2], pictures[2:]])
    np.testing.assert_allclose(rows, [single[:2].mean(0), single[2]], rtol=1e-4, atol=1e-6)


def test_an_absent_face_has_zeros_and_leaves_the_mean_alone(portrait):
    extractor = deep.inception(faces=2, weights="random")
    blank = [Picture(0.0, np.zeros_like(portrait))]
    empty, one = describe_all(extractor, [blank, pictures_of(portrait) + blank])
    assert not empty.any()
    assert one[:2048].any()
    assert not one[2048:].any()  # there is no second face
    without_blank = describe(extractor, pictures_of(portrait))
    np.testing.assert_allclose(one, without_blank, rtol=1e-4)


def test_vggface_describes_the_faces_that_people_places_each_with_its_margin(portrait):
    both = np.concatenate([np.zeros_like(portrait), portrait])
    smaller = cv2.resize(portrait, (272, 153), interpolation=cv2.INTER_AREA)
    both[:153, :272] = smaller
    boxes = detect(both)
    assert len(boxes) == 2
    assert boxes[0, 1] > 180  # the larger face, below, comes first
    extractor = deep.vggface(faces=2, weights="random")
    assert extractor.size == 8192
    assert ("margin", 0.2) in extractor.options
    described = describe(extractor, [Picture(0.0, both)]).reshape(2, 4096)
    placed = people(count=2).vector([Picture(0.0, both)], count=2)
    height, width = both.shape[:2]
    options = dict(extractor.options)
    for name in ("count", "detector", "margin"):
        del options[name]
    for rank, block in enumerate(blocks(placed[None])[0]):
        box = block[:4] * (width, height, width, height)
        face = deep.cut_face(both, box, margin=0.2)
        square = deep.resize_to_input(face, deep.INPUTS["vggface"])
        expected = deep._embed(square[None], **options)[0]
        atol = 1e-4 * expected.max()
        np.testing.assert_allclose(described[rank], expected, rtol=1e-4, atol=atol)


def test_a_margin_ends_at_the_edge_of_the_frame():
    image = np.arange(100 * 60).reshape(60, 100, 1)
    margin = deep.cut_face(image, [20, 10, 10, 20], margin=0.5)
    np.testing.assert_array_equal(margin, image[0:40, 15:35])
    at_edge = deep.cut_face(image, [90, 50, 20, 20], margin=0.2)
    np.testing.assert_array_equal(at_edge, image[46:, 86:])
    without_margin = deep.cut_face(image, [20, 10, 10, 20])
    np.testing.assert_array_equal(without_margin, image[10:30, 20:30])


def test_a_long_clip_is_cut_into_stacks_that_count_by_their_frames(monkeypatch, portrait):
    extractor = deep.i3d(weights="random")
    monkeypatch.setattr(deep, "STACK", 2)
    pictures = pictures_of(portrait, 3)
    first = describe(extractor, pictures[:2])
    second = describe(extractor, pictures[2:])
    values = describe(extractor, pictures)
    np.testing.assert_allclose(values, (2 * first + second) / 3, rtol=1e-3, atol=1e-6)


def test_half_the_bits_give_nearly_the_same(portrait):
    full = deep.resnet50(weights="random", precision="fp32")
    half = deep.resnet50(weights="random", precision="bf16")
    assert full.options != half.options
    a = describe(full, pictures_of(portrait))
    b = describe(half, pictures_of(portrait))
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert cosine > 0.999
    with pytest.raises(ValueError, match="precision is one of fp32, bf16"):
        deep.resnet50(weights="random", precision="fp8")


def test_a_file_of_weights_is_part_of_the_key_and_may_not_change(tmp_path, portrait):
    network = weights.load("openpose", networks.OpenPoseBody, weights="random")
    state = {}
    for name, value in network.state_dict().items():
        state[name.removeprefix("backbone.")] = value
    path = tmp_path / "pose.pth"
    torch.save(state, path)
    extractor = deep.openpose(weights=path)
    assert extractor.name == "openpose"
    values = describe(extractor, pictures_of(portrait))
    expected = describe(deep.openpose(weights="random"), pictures_of(portrait))
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
    torch.save({name: value * 2 for name, value in state.items()}, path)
    assert deep.openpose(weights=path).options != extractor.options
    deep.prepared_network.cache_clear()
    with pytest.raises(FileFormatError, match="that the extractor was made with"):
        describe(extractor, pictures_of(portrait))


def test_a_file_of_weights_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r"none\.pth: no such file of weights"):
        deep.openpose(weights=tmp_path / "none.pth")


def test_vggish_describes_sound_that_nearly_lasts_an_example():
    tone = (0.2 * np.sin(np.arange(16000) / 10)).astype(np.float32)
    sounds = {
        "one second": tone,
        "0.9 seconds": tone[:14400],
        "0.9 seconds and silence": np.pad(tone[:14400], (0, 1200)),
        "too short": tone[:7000],
    }
    clips = [Clip(0.0, 1.0, (), sound) for sound in sounds.values()]
    rows = deep.vggish(weights="random").batch(clips)
    values = dict(zip(sounds, rows, strict=True))
    assert np.isnan(values["too short"]).all()
    assert np.isfinite(rows[:3]).all()
    np.testing.assert_array_equal(values["0.9 seconds"], values["0.9 seconds and silence"])
    assert np.abs(values["one second"] - values["0.9 seconds"]).max() > 1e-3


def test_vggish_offers_both_ways_to_make_its_steps():
    rounded = deep.vggish(postprocessed=True, quantise="round", weights="random")
    truncated = deep.vggish(postprocessed=True, quantise="truncate", weights="random")
    assert rounded.options != truncated.options
    assert deep.vggish(postprocessed=True, weights="random").options == rounded.options
    difference = describe(rounded, noise(1.0)) - describe(truncated, noise(1.0))
    assert set(np.unique(difference)) == {0.0, 1.0}
    with pytest.raises(ValueError, match="'round' or 'truncate', not 'floor'"):
        deep.vggish(postprocessed=True, quantise="floor", weights="random")


def test_precision_is_part_of_the_key_and_the_same_everywhere_by_default(monkeypatch):
    def precisions(**options):
        extractors = pretrained("caan", weights="random", **options)
        return {dict(extractor.options)["precision"] for extractor in extractors}

    assert precisions() == {"fp32"}
    assert precisions(precision="bf16") == {"bf16"}
    for best in ("fp32", "bf16"):
        monkeypatch.setattr(deep, "faster", lambda best=best: best)
        assert precisions(precision="auto") == {best}
        assert precisions() == {"fp32"}
    monkeypatch.undo()
    assert deep.faster() in ("fp32", "bf16")
    with pytest.raises(ValueError, match="precision is one of fp32, bf16, auto, not 'fp16'"):
        pretrained("caan", weights="random", precision="fp16")


@pytest.mark.parametrize("paper", NEEDS)
def test_the_table_of_a_paper_names_the_files_that_its_extractors_read(paper):
    files = set()
    for extractor in pretrained(paper, weights="random"):
        files.add(dict(extractor.options).get("file", extractor.name))
    files.discard("emobase")  # openSMILE has no weights
    # Read beside the file of an extractor.
    beside = {"vggish_pca", "mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet"}
    assert files == set(NEEDS[paper]) - beside


def test_the_extractors_of_a_paper_have_its_sizes_and_rates():
    sizes = {}
    for paper in NEEDS:
        sizes[paper] = [extractor.size for extractor in pretrained(paper, weights="random")]
    assert sizes == {
        "attend_affect": [2048, 1024, 1024, 128, 1582],
        "shot_long": [128, 512, 3072, 128],
        "gla": [2048, 128, 4096],
        "caan": [4096, 4096],
    }
    rates = [extractor.rate for extractor in pretrained("attend_affect", weights="random")]
    assert rates == [25.0, 25.0, 25.0, 0.0, 0.0]


def test_the_extractors_of_attend_affect_are_the_tokens_of_its_model():
    from affectlib.models.attend_affect import TOKENS, FeatureAAN

    extractors = pretrained("attend_affect", weights="random")
    assert tuple(e.name.removesuffix("_random") for e in extractors) == TOKENS
    model = FeatureAAN(sizes=[e.size for e in extractors])
    prediction = model([torch.zeros(1, e.size) for e in extractors])
    assert prediction.shape == (1,)
