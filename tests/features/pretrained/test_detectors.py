"""Faces by networks: where they are found, and what the detector's weights mean for what is stored."""

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from affectlib import media
from affectlib.features import deep as pretrained
from affectlib.features.pretrained import detectors, weights
from affectlib.features.pretrained.weights import WeightsNotFoundError
from affectlib.paths import GOLDEN


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Nothing of this machine is found: two empty folders."""
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def cone(side):
    """What the stand-ins below take for a face: light that falls off from the middle to the edge."""
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    return (1 - line.abs()[:, None].maximum(line.abs())).clamp(min=0)  # (side, side)


class Cones(nn.Module):
    """Stands in for a network of MTCNN: sure where a window looks like a cone; moves nothing."""

    def forward(self, x):
        light = (x.mean(1, keepdim=True) * 128 + 127.5) / 255  # (batch, 1, height, width)
        windows = nn.functional.unfold(
            light, 12 if x.shape[2] not in (24, 48) else x.shape[2], stride=2
        )
        side = round(windows.shape[1] ** 0.5)
        off = (windows - cone(side).reshape(1, -1, 1)).square().mean(1)  # (batch, places)
        score = torch.exp(-20 * off)
        score = (
            score.reshape(len(x), *((n - 12) // 2 + 1 for n in x.shape[2:]))
            if side == 12
            else score[:, 0]
        )
        return score, torch.zeros(len(x), 4, *score.shape[1:])


def test_mtcnn_places_squares_and_has_the_released_parameters():
    detector = detectors.MTCNN(weights="random")
    assert [sum(p.numel() for p in net.parameters()) for net in detector.nets] == [
        6632,
        100178,
        389040,
    ]
    assert [tuple(out.shape) for out in detector.nets[0](noise(1, 3, 12, 12))] == [
        (1, 1, 1),
        (1, 4, 1, 1),
    ]
    assert [tuple(out.shape) for out in detector.nets[2](noise(2, 3, 48, 48))] == [(2,), (2, 4)]
    detector.nets = [Cones()] * 3
    image = np.zeros((120, 200, 3), np.uint8)
    image[30:90, 120:180] = 255 * cone(60)[..., None].numpy()
    found = detector.detect(image)
    assert len(found) == 1
    left, top, width, height, score = found[0]
    inside = (min(left + width, 180) - max(left, 120)) * (min(top + height, 90) - max(top, 30))
    assert inside / (width * height + 3600 - inside) > 0.7 and score > 0.8
    assert detector.detect(np.zeros((120, 200, 3), np.uint8)).shape == (0, 5)
    assert detector.detect(np.zeros((8, 8, 3), np.uint8)).shape == (0, 5)
    with pytest.raises(WeightsNotFoundError, match=r"pnet\.pt[\s\S]*rnet\.pt[\s\S]*onet\.pt"):
        detectors.MTCNN()


def test_mtcnn_takes_an_array_that_may_not_be_written_to():
    image = np.zeros((40, 60, 3), np.uint8)
    image.flags.writeable = False  # as np.asarray gives it of a PIL image
    detector = detectors.MTCNN(weights="random")
    detector.nets = [Cones()] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert detector.detect(image).shape == (0, 5)
        assert detector.detect(image[:, ::-1]).shape == (0, 5)


MTCNN_FILES = [GOLDEN / "weights" / f"{net}.pt" for net in ("pnet", "rnet", "onet")]
CLIPS = GOLDEN / "clips"
needs_mtcnn = pytest.mark.skipif(
    not all(path.is_file() for path in MTCNN_FILES),
    reason=f"no released weights of MTCNN (AFFECTLIB_GOLDEN) at {MTCNN_FILES[0].parent}",
)
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


@needs_mtcnn
@pytest.mark.parametrize("place", REFERENCE, ids=str)
def test_boxes_of_mtcnn_are_those_of_the_reference(place, monkeypatch):
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(MTCNN_FILES[0].parent))
    if isinstance(place, str):
        photo = Path(matplotlib.get_data_path(), "sample_data", place)
        image = np.asarray(Image.open(photo).convert("RGB"))
    else:
        name, number = place
        if not (CLIPS / name).is_file():
            pytest.skip(f"no real clip (AFFECTLIB_GOLDEN) at {CLIPS / name}")
        clip = media.read(CLIPS / name, rate=2.0, side=640, sound=False)
        image = clip.pictures[number].image
    found = detectors.MTCNN().detect(image)
    if REFERENCE[place] is None:
        assert len(found) == 0
        return
    assert len(found) == 1
    left, top, width, height, score = found[0]
    *box, wanted_score = REFERENCE[place]
    assert [left, top, left + width, top + height] == pytest.approx(box, abs=2e-3)
    assert score == pytest.approx(wanted_score, abs=1e-5)


def test_the_last_stage_of_mtcnn_keeps_one_of_nested_boxes():
    boxes = torch.tensor(
        [[0, 0, 10, 10, 0.8], [2, 2, 6, 6, 0.9], [20, 0, 30, 10, 0.7], [26, 0, 36, 10, 0.75]]
    )
    assert detectors._distinct(boxes)[:, 4].tolist() == pytest.approx([0.9, 0.75, 0.7])


def test_faster_rcnn_gives_boxes_of_faces():
    detector = detectors.faster_rcnn(weights="random", threshold=0.0)
    assert detector.net.roi_heads.box_predictor.cls_score.out_features == 2  # background and face
    for head in (detector.net.rpn.head.bbox_pred, detector.net.roi_heads.box_predictor.bbox_pred):
        nn.init.zeros_(head.weight)  # so that boxes stay where the anchors are
    detector.net.rpn._post_nms_top_n = dict.fromkeys(("training", "testing"), 8)
    detector.net.transform.min_size = (64,)
    found = detector.detect(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))
    assert found.shape[1] == 5 and len(found) and (found[:, 2:4] >= 0).all()
    assert (found[:, :2] >= 0).all() and (found[:, 0] + found[:, 2] <= 90.01).all()
    with pytest.raises(WeightsNotFoundError, match="WIDER FACE"):
        detectors.faster_rcnn()


def test_weights_of_a_face_detector_belong_to_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path))
    for name in pretrained.NEEDS["shot_long"]:
        (tmp_path / weights._TABLE[name].file).write_bytes(name.encode())

    def key():
        by_name = {e.name: dict(e.options) for e in pretrained.pretrained("shot_long")}
        assert (
            by_name["xception"]["detector"] == "mtcnn"
            and len(by_name["vgg16_places"]["marks"]) == 1
        )
        return by_name["xception"]["marks"]

    first = key()
    assert len(first) == 4
    (tmp_path / "rnet.pt").write_bytes(b"another")
    assert [a == b for a, b in zip(first, key(), strict=True)] == [True, True, False, True]
    (tmp_path / "onet.pt").unlink()
    with pytest.raises(WeightsNotFoundError, match=r"onet\.pt \(mtcnn_onet\)"):
        pretrained.pretrained("shot_long")
    assert dict(pretrained.xception(weights="random").options)["marks"] == ("random",)
