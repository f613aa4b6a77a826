"""MTCNN: where it finds faces, and that its weights belong to the key of stored features."""

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from affectlib import media
from affectlib.features import deep
from affectlib.features.papers import NEEDS, pretrained
from affectlib.features.pretrained import detectors
from affectlib.features.pretrained.weights import WeightsNotFoundError, weights_named


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Nothing of this machine is found: two empty folders."""
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def cone(side: int) -> torch.Tensor:
    """The picture that stands for a face: light that falls off from the middle to the edge."""
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    distance = line.abs()[:, None].maximum(line.abs())
    return (1 - distance).clamp(min=0)  # (side, side)


class Cones(nn.Module):
    """Stands in for a network of MTCNN: its score is high where a window looks like a cone."""

    def forward(self, x):
        light = (x.mean(1, keepdim=True) * 128 + 127.5) / 255  # (batch, 1, height, width)
        # The two later networks see crops of 24 and 48, the first one windows of 12 in a frame.
        proposes = x.shape[2] not in (24, 48)
        side = 12 if proposes else x.shape[2]
        windows = nn.functional.unfold(light, side, stride=2)  # (batch, side * side, places)
        error = (windows - cone(side).reshape(1, -1, 1)).square().mean(1)  # (batch, places)
        score = torch.exp(-20 * error)
        if proposes:
            rows, columns = ((n - side) // 2 + 1 for n in x.shape[2:])
            score = score.reshape(len(x), rows, columns)
        else:
            score = score[:, 0]
        return score, torch.zeros(len(x), 4, *score.shape[1:])


def cone_detector() -> detectors.MTCNN:
    detector = detectors.MTCNN(weights="random")
    detector.device = "cpu"
    detector.nets = [Cones()] * 3
    return detector


def test_mtcnn_has_the_released_parameters():
    networks = detectors.MTCNN(weights="random").nets
    parameters = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert parameters == [6632, 100178, 389040]


@pytest.mark.parametrize(
    ("network", "side", "score", "shift"),
    [
        (detectors.ProposalNetwork, 12, (2, 1, 1), (2, 4, 1, 1)),
        (detectors.RefinementNetwork, 24, (2,), (2, 4)),
        (detectors.OutputNetwork, 48, (2,), (2, 4)),
    ],
)
def test_the_networks_of_mtcnn_give_a_score_and_a_shift(network, side, score, shift):
    outputs = network()(noise(2, 3, side, side))
    assert [tuple(output.shape) for output in outputs] == [score, shift]
    assert ((outputs[0] >= 0) & (outputs[0] <= 1)).all()


def test_mtcnn_finds_a_face_at_its_place_and_size():
    image = np.zeros((120, 200, 3), np.uint8)
    image[30:90, 120:180] = 255 * cone(60)[..., None].numpy()
    faces = cone_detector().detect(image)
    assert len(faces) == 1
    left, top, width, height, score = faces[0]
    shared_width = min(left + width, 180) - max(left, 120)
    shared_height = min(top + height, 90) - max(top, 30)
    shared = shared_width * shared_height
    assert shared / (width * height + 60 * 60 - shared) > 0.7
    assert score > 0.8


@pytest.mark.parametrize("shape", [(120, 200, 3), (8, 8, 3)], ids=str)
def test_mtcnn_finds_no_face_in_a_black_frame(shape):
    assert cone_detector().detect(np.zeros(shape, np.uint8)).shape == (0, 5)


def test_mtcnn_names_all_missing_files():
    with pytest.raises(WeightsNotFoundError, match=r"pnet\.pt[\s\S]*rnet\.pt[\s\S]*onet\.pt"):
        detectors.MTCNN()


def test_mtcnn_takes_an_array_that_is_read_only():
    image = np.zeros((40, 60, 3), np.uint8)
    image.flags.writeable = False  # like np.asarray of a PIL image
    detector = cone_detector()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert detector.detect(image).shape == (0, 5)
        assert detector.detect(image[:, ::-1]).shape == (0, 5)


# Left, top, right, bottom, score, by MTCNN(keep_all=True) of facenet-pytorch 2.6.0 on one thread.
# The photo comes with matplotlib; frames of the clips are read at two per second, 640 pixels wide.
REFERENCE = {
    "grace_hopper.jpg": (174.4022, 119.5554, 355.6483, 340.4570, 0.999824),
    ("face_noface.mov", 0): (218.0327, 80.9876, 372.1218, 293.0814, 0.999986),
    ("face_noface.mov", 4): (212.6334, 77.3404, 366.5998, 286.5807, 1.000000),
    ("face_noface.mov", 8): None,
    ("bikes.mp4", 3): (391.7043, 10.1661, 443.2412, 81.0218, 0.979437),
    ("bikes.mp4", 9): (412.0263, 33.5166, 434.8902, 60.9790, 0.993729),
    ("bikes.mp4", 10): (417.3596, 20.8449, 441.1746, 49.2263, 0.993976),
    ("bikes.mp4", 13): None,
}


def read_frame(place, golden) -> np.ndarray:
    """A photo of matplotlib, or a frame of a golden clip."""
    if isinstance(place, str):
        photo = Path(matplotlib.get_data_path(), "sample_data", place)
        return np.asarray(Image.open(photo).convert("RGB"))
    name, number = place
    clip = media.read(golden(f"clips/{name}"), rate=2.0, side=640, sound=False)
    return clip.pictures[number].image


@pytest.mark.parametrize("place", REFERENCE, ids=str)
def test_boxes_of_mtcnn_are_those_of_the_reference(place, golden, monkeypatch):
    for name in ("pnet", "rnet", "onet"):
        monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(golden(f"weights/{name}.pt").parent))
    faces = detectors.MTCNN().detect(read_frame(place, golden))
    if REFERENCE[place] is None:
        assert len(faces) == 0
        return
    assert len(faces) == 1
    left, top, width, height, score = faces[0]
    *expected_box, expected_score = REFERENCE[place]
    box = [left, top, left + width, top + height]
    assert box == pytest.approx(expected_box, abs=2e-3)
    assert score == pytest.approx(expected_score, abs=1e-5)


def test_the_last_stage_of_mtcnn_keeps_one_of_nested_boxes():
    boxes = torch.tensor(
        [[0, 0, 10, 10, 0.8], [2, 2, 6, 6, 0.9], [20, 0, 30, 10, 0.7], [26, 0, 36, 10, 0.75]]
    )
    assert detectors._drop_nested(boxes)[:, 4].tolist() == pytest.approx([0.9, 0.75, 0.7])


def test_weights_of_a_face_detector_belong_to_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path))
    for name in NEEDS["shot_long"]:
        (tmp_path / weights_named(name).file).write_bytes(name.encode())

    def options_of(name):
        extractors = {extractor.name: extractor for extractor in pretrained("shot_long")}
        return dict(extractors[name].options)

    assert options_of("xception")["detector"] == "mtcnn"
    assert len(options_of("vgg16_places")["digests"]) == 1
    before = options_of("xception")["digests"]
    assert len(before) == 4  # of the network, then of the three networks of MTCNN
    (tmp_path / "rnet.pt").write_bytes(b"another")
    after = options_of("xception")["digests"]
    unchanged = [a == b for a, b in zip(before, after, strict=True)]
    assert unchanged == [True, True, False, True]
    (tmp_path / "onet.pt").unlink()
    with pytest.raises(WeightsNotFoundError, match=r"onet\.pt \(mtcnn_onet\)"):
        pretrained("shot_long")
    assert dict(deep.xception(weights="random").options)["digests"] == ("random",)
