"""Faces: detection, the two extractors of faces, and who is who."""

import sys
import types
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from affectlib.features import detection
from affectlib.features.detection import DETECTOR_WEIGHTS, detect
from affectlib.features.extractor import FeatureTable
from affectlib.features.faces import (
    BLOCK,
    blocks,
    crop,
    face,
    frames_without_face,
    people,
)
from affectlib.features.pretrained import weights
from affectlib.features.pretrained.weights import WeightsNotFoundError
from affectlib.media import Clip, Picture
from affectlib.models.caan import follow, track
from affectlib.simulate import face as drawing
from affectlib.simulate import stage

NO_FACE = np.full((180, 320, 3), 96, np.uint8)
CURVE = face().names.index("mouth_curve_mean")


def clip_of(*images: np.ndarray) -> Clip:
    """A clip without sound, two pictures a second."""
    pictures = [Picture(i / 2, image) for i, image in enumerate(images)]
    return Clip(0.0, len(images) / 2, tuple(pictures))


def frame_of_two(
    large: int = 100, small: int = 70, places: Sequence[int] = (90, 240)
) -> np.ndarray:
    """A frame with two people, the first larger."""
    rng = np.random.default_rng(0)
    look = stage.Look.draw(rng, actors=2)
    image = stage.backdrop(look, 0.0, 0.0, rng, margin=0)
    for actor, size, middle in zip(look.cast, (large, small), places, strict=True):
        drawing.draw_face(image, actor, {12: 1.0}, (middle, 95), size)
    return image


def far_frame() -> np.ndarray:
    """The two people, the first 50 pixels wide in a frame of 640."""
    far = np.full((360, 640, 3), 96, np.uint8)
    small = cv2.resize(frame_of_two(), (192, 108), interpolation=cv2.INTER_AREA)
    far[120:228, 224:416] = small
    return far


def test_faces_are_found_where_they_are():
    found = []
    for seed in range(8):
        for valence in (-0.9, 0.9):
            image = stage.portrait(valence, 0.0, seed=seed, size=(320, 180))
            found.append(detect(image))
    assert np.mean([len(rows) == 1 for rows in found]) >= 0.9
    left, top, width, height, _ = next(rows[0] for rows in found if len(rows))
    assert 0 < left < left + width < 320
    assert 0 < top < top + height < 200


def test_the_mouth_shows_whether_somebody_is_pleased():
    higher = 0
    for seed in range(8):
        values = []
        for valence in (-0.9, 0.9):
            image = stage.portrait(valence, 0.0, seed=seed, size=(320, 180))
            values.append(face()(clip_of(image))[CURVE])
        # Lowered corners lie below the middle of the mouth, and y grows downward.
        higher += values[0] > values[1]
    assert higher >= 7


def test_without_a_face_all_values_are_0():
    assert face()(clip_of(NO_FACE, NO_FACE)).tolist() == [0.0] * face().size
    assert people()(clip_of(NO_FACE)).tolist() == [0.0] * people().size


@pytest.mark.parametrize("count", [1, 2, 3])
def test_people_are_described_one_after_the_other(count):
    image = frame_of_two()
    extractor = people(count=count)
    vector = extractor(clip_of(image))
    assert extractor.size == 1 + 280 * count
    assert vector[0] == 1
    persons = blocks(vector[None])[0]
    assert persons.shape == (count, 280)
    assert np.shares_memory(blocks(vector[None]), vector)
    for person, box in zip(persons, detect(image), strict=False):
        assert person[:5] == pytest.approx(box / (320, 180, 320, 180, 1))
    if count > 1:
        assert persons[0, 2] > persons[1, 2] > 0
    assert (persons[2:] == 0).all()


def test_people_and_face_agree_on_the_largest_face():
    image = frame_of_two()
    person = blocks(people()(clip_of(image))[None])[0, 0]
    alone = face()(clip_of(image))
    names = face().names
    for i, name in enumerate(BLOCK[5:], start=5):
        column = name if name in names else f"{name}_mean"
        assert person[i] == pytest.approx(alone[names.index(column)], abs=1e-6)


def test_of_several_frames_people_takes_the_one_with_the_largest_face():
    small = frame_of_two(80, 60)
    large = frame_of_two(110, 60)
    vector = people()(clip_of(small, NO_FACE, large, NO_FACE))
    assert vector[0] == 0.5
    np.testing.assert_array_equal(vector[1:], people()(clip_of(large))[1:])


def test_the_default_detector_searches_a_simulated_frame_as_hog_does():
    near = frame_of_two()  # 320 pixels wide, as all simulated frames are
    faces = detect(near)
    assert len(faces) == 2
    np.testing.assert_array_equal(faces, detect(near, detector="hog"))


def test_the_default_detector_finds_a_small_face_that_hog_misses():
    assert len(detect(far_frame(), detector="hog")) == 0
    found = detect(far_frame())
    assert len(found) == 1
    expected = detect(frame_of_two())[0, :4] * 0.6 + (224, 120, 0, 0)
    np.testing.assert_allclose(found[0, :4], expected, atol=8)


@pytest.mark.parametrize("make", [face, people])
def test_the_detector_belongs_to_the_key(make):
    assert make(detector="hog").options != make(detector="hog_enlarged").options
    assert make().options == make(detector="hog_enlarged").options
    assert (make(detector="hog")(clip_of(far_frame())) == 0).all()
    assert (make()(clip_of(far_frame())) != 0).any()


@pytest.mark.parametrize(
    "call",
    [
        lambda: people(detector="cascade"),
        lambda: people(count=0),
        lambda: detect(NO_FACE, detector="cascade"),
        lambda: blocks(np.zeros((2, 280))),
    ],
    ids=["detector of people", "count of people", "detector", "size of a table"],
)
def test_wrong_arguments_are_refused(call):
    with pytest.raises(ValueError, match=r"cascade|count"):
        call()


def test_mtcnn_needs_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsNotFoundError, match=DETECTOR_WEIGHTS["mtcnn"][0]):
        people(detector="mtcnn")


@pytest.fixture
def mtcnn(monkeypatch, tmp_path) -> list:
    """A network in the place of MTCNN, with three files of weights; gives the built networks."""
    built = []

    class Network:
        def __init__(self) -> None:
            built.append(self)

        def detect(self, image: np.ndarray) -> np.ndarray:
            return np.array([[5, 5, 20, 20, 0.9], [40, 5, 60, 60, 0.8]])

    module = types.ModuleType("affectlib.features.pretrained.detectors")
    module.MTCNN = Network
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in DETECTOR_WEIGHTS["mtcnn"]:
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.setattr(weights, "find", lambda *names: tuple(tmp_path / name for name in names))
    detection._mtcnn.cache_clear()
    yield built
    detection._mtcnn.cache_clear()


def test_mtcnn_is_built_once_and_its_faces_are_sorted(mtcnn):
    assert detect(NO_FACE, detector="mtcnn")[:, 2].tolist() == [60, 20]
    persons = blocks(people(detector="mtcnn")(clip_of(NO_FACE))[None])[0]
    assert persons[:, 4] == pytest.approx([0.8, 0.9])
    assert len(mtcnn) == 1


def test_other_weights_of_mtcnn_make_another_key(mtcnn, tmp_path):
    before = people(detector="mtcnn").options
    (tmp_path / DETECTOR_WEIGHTS["mtcnn"][-1]).write_bytes(b"other weights")
    assert people(detector="mtcnn").options != before


def table_of(arrays: dict, names: dict, missing: dict | None = None) -> FeatureTable:
    clips = tuple("abcd"[: len(next(iter(arrays.values())))])
    return FeatureTable(clips, arrays, names, True, missing or {})


def test_frames_without_a_face_are_counted_for_each_extractor_of_faces():
    arrays = {
        "scene": np.ones((4, 2)),
        "people": np.array([[1.0, 0.3], [0.25, 0.2], [0.0, 0.0], [0.0, 0.0]]),
        "xception_random": np.array([[0.0], [2.0], [3.0], [0.0]]),
    }
    names = {"scene": ("light", "hue"), "people": ("presence", "left_0"), "xception_random": ("x",)}
    missing = {"people": ("d",)}  # a clip without a picture
    assert frames_without_face(table_of(arrays, names, missing)).splitlines() == [
        "people: no face in 58.3 % of the frames; 1 of 3 clips have none at all",
        "xception_random: 2 of 4 clips have none at all",
    ]


def test_a_table_without_an_extractor_of_faces_says_so():
    table = table_of({"scene": np.ones((1, 2))}, {"scene": ("light", "hue")})
    assert frames_without_face(table) == "no extractor of faces in this table"


def test_a_crop_reaches_from_the_box_to_the_chin():
    image = np.zeros((100, 100, 3), np.uint8)
    image[40:62, 40:60] = 255  # a box of 20 x 20 is cut to a height of 22
    cut = crop(image, [40, 40, 20, 20])
    assert cut.shape == (64, 64, 3)
    assert (cut > 200).mean() > 0.9


def slow_overlap(a: Sequence[int], b: Sequence[int]) -> float:
    """Intersection over union of two boxes, by counting pixels."""
    pixels = []
    for left, top, width, height in (a, b):
        columns = range(left, left + width)
        rows = range(top, top + height)
        pixels.append({(x, y) for x in columns for y in rows})
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


def slow_track(boxes: np.ndarray) -> np.ndarray:
    """Links faces by sorting all pairs of a face and a person, frame by frame."""
    last = {}
    persons = np.full(boxes.shape[:2], -1)
    for frame, faces in enumerate(boxes):
        present = [i for i, box in enumerate(faces) if box[2]]
        pairs = []
        for i in present:
            for person, place in last.items():
                pairs.append((slow_overlap(faces[i], place), -i, -person))
        for overlap, minus_i, minus_person in sorted(pairs, reverse=True):
            free = persons[frame, -minus_i] < 0 and -minus_person not in persons[frame]
            if overlap >= 0.3 and free:
                persons[frame, -minus_i] = -minus_person
        for i in present:
            if persons[frame, i] < 0:
                persons[frame, i] = max([*last, -1]) + 1
            last[persons[frame, i]] = faces[i]
    return persons


def test_tracks_follow_the_slow_way():
    rng = np.random.default_rng(0)
    for _ in range(40):
        places = rng.integers(0, 12, (6, 2, 2))
        sizes = rng.integers(4, 10, (6, 2, 2))
        boxes = np.concatenate([places, sizes], axis=2)
        boxes[rng.uniform(size=(6, 2)) < 0.2] = 0
        assert track(boxes).tolist() == slow_track(boxes).tolist()


def test_the_main_person_is_followed_past_a_larger_stranger():
    person = [10, 10, 20, 20, 1.0]
    stranger = [60, 5, 30, 30, 1.0]
    nobody = [0] * 5
    frames = [
        [person, nobody],
        [stranger, person],
        [nobody, nobody],
        [[12, 11, 14, 16, 1.0], nobody],
        [person, nobody],
    ]
    assert track(frames).tolist() == [[0, -1], [1, 0], [-1, -1], [0, -1], [0, -1]]
    assert follow(frames).tolist() == [0, 1, -1, 0, 0]


def test_without_faces_nobody_is_followed():
    assert follow(np.zeros((3, 2, 280))).tolist() == [-1] * 3
    assert follow(np.zeros((0, 2, 5))).shape == (0,)


def test_a_box_without_height_overlaps_nothing_and_hides_nobody():
    person = [10, 10, 20, 20]
    flat = [60, 40, 5, 0]
    with np.errstate(all="raise"):
        assert track([[person, flat], [person, flat]]).tolist() == [[0, 1], [0, 2]]
        assert follow([[flat, person], [flat, person]]).tolist() == [1, 1]
