"""Extractors: one contract for all, and for each a property planted in the film."""

import cv2
import numpy as np
import pytest

from affectlib.features import descriptors
from affectlib.features.audio import emobase, key, sound, tempo
from affectlib.features.faces import (
    BLOCK,
    blocks,
    crop,
    detect,
    face,
    follow,
    frames_without_face,
    people,
    track,
)
from affectlib.features.motion import motion
from affectlib.features.pretrained.weights import _TABLE, WeightsNotFoundError
from affectlib.features.store import FeatureTable
from affectlib.features.visual import frame_statistics, scene
from affectlib.media import Clip, Picture

RATE = 16000


def texture(seed=0, size=(180, 320)):
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def pictures(images, *, gap=0.1, rate=2.0):
    return tuple(Picture(i / rate, a, b, gap) for i, (a, b) in enumerate(images))


def tone(hertz=300.0, gain=0.1, seconds=2.0):
    return (gain * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(
        np.float32
    )


def clip(images=None, signal=None, seconds=2.0, **options):
    images = [(texture(i), texture(i)) for i in range(4)] if images is None else images
    return Clip(0.0, seconds, pictures(images, **options), tone() if signal is None else signal)


def value(extractor, name, a_clip):
    return float(extractor(a_clip)[extractor.names.index(name)])


@pytest.mark.parametrize("extractor", descriptors(), ids=lambda e: e.name)
@pytest.mark.parametrize(
    "kind", ["texture and tone", "black and silent", "white and loud", "noise"]
)
def test_every_extractor_gives_finite_float32_and_repeats(extractor, kind):
    noise = np.random.default_rng(0)
    image, signal = {
        "texture and tone": (texture(), tone()),
        "black and silent": (np.zeros((180, 320, 3), np.uint8), np.zeros(2 * RATE, np.float32)),
        "white and loud": (np.full((96, 48, 3), 255, np.uint8), np.ones(2 * RATE, np.float32)),
        "noise": (
            noise.integers(0, 255, (45, 81, 3), dtype=np.uint8),
            noise.normal(0, 0.1, 2 * RATE).astype("f4"),
        ),
    }[kind]
    one = clip([(image, image)] * 4, signal)
    vector = extractor(one)
    assert vector.shape == (extractor.size,) == (len(set(extractor.names)),)
    assert vector.dtype == np.float32 and np.isfinite(vector).all()
    assert np.array_equal(vector, extractor(one))


@pytest.mark.parametrize("extractor", descriptors(), ids=lambda e: e.name)
def test_what_is_not_there_is_undefined(extractor):
    assert np.isnan(extractor(Clip(0.0, 2.0))).all()


def test_a_pair_is_needed_for_motion_and_half_a_second_for_emobase():
    alone = Clip(0.0, 1.0, (Picture(0.0, texture()),), tone(seconds=0.4))
    assert np.isnan(motion()(alone)).all() and np.isnan(emobase()(alone)).all()
    assert np.isfinite(scene()(alone)).all() and np.isfinite(sound()(alone)).all()


def test_sound_knows_louder_brighter_and_major():
    quiet, loud = clip(signal=tone(gain=0.05)), clip(signal=tone(gain=0.5))
    assert value(sound(), "loudness_mean", loud) - value(
        sound(), "loudness_mean", quiet
    ) == pytest.approx(20, abs=0.5)
    low, high = clip(signal=tone(300)), clip(signal=tone(3000))
    assert value(sound(), "centroid_mean", high) == pytest.approx(3, abs=0.2)
    assert value(sound(), "centroid_mean", low) < 0.6

    def chord(*semitones):
        return clip(signal=sum(tone(261.63 * 2 ** (s / 12)) for s in semitones))

    assert (
        value(sound(), "mode", chord(0, 4, 7, 12)) > 0 > value(sound(), "mode", chord(0, 3, 7, 12))
    )


def test_tempo_is_that_of_the_clicks():
    per_second = RATE / 512
    for beats in (80, 120, 160):
        onsets = np.zeros(200)
        onsets[
            (np.arange(0, 200 * beats / 60 / per_second) * 60 / beats * per_second).astype(int)
        ] = 1
        found, clarity = tempo(onsets)
        assert 120 * 2**found == pytest.approx(beats, rel=0.05) and clarity > 0.4
    assert tempo(np.ones(200)).tolist() == [0, 0] == key(np.full(12, 1 / 12)).tolist()


def test_scene_knows_red_from_blue_and_dark_from_light():
    red, blue, black = (
        np.full((90, 160, 3), c, np.uint8) for c in ([220, 30, 30], [30, 30, 220], [5, 5, 5])
    )
    names = scene().names
    statistics = {
        name: {
            n.removesuffix("_mean"): x for n, x in zip(names, frame_statistics(image), strict=False)
        }
        for name, image in (("red", red), ("blue", blue), ("black", black))
    }
    assert statistics["red"]["hue_0"] == 1 == statistics["blue"]["hue_240"]
    assert statistics["red"]["warm"] > 0.9 > 0.1 > statistics["blue"]["warm"]
    assert (
        statistics["black"]["dark"] == 1
        and statistics["black"]["light"] < statistics["red"]["light"]
    )
    assert statistics["red"]["entropy"] == 0


def test_motion_is_measured_in_frame_widths_per_second():
    still, moving = texture(), np.roll(texture(), 8, axis=1)  # 8 of 320 pixels in 0.1 s
    speed = value(motion(), "flow_p50_mean", clip([(still, moving)] * 4))
    assert speed == pytest.approx(0.25, rel=0.1)
    assert value(motion(), "flow_p50_mean", clip([(still, still)] * 4)) < 0.01
    assert value(motion(), "direction_0", clip([(still, moving)] * 4)) > 0.8
    square = np.full((180, 320, 3), 90, np.uint8)
    before, after = square.copy(), square.copy()
    before[60:120, 100:160], after[60:120, 104:164] = texture(1, (60, 60)), texture(1, (60, 60))
    assert value(motion(), "flow_p95_mean", clip([(before, after)] * 4)) > 0.08


def test_cuts_are_counted():
    shots = [
        (texture(i), texture(i)) for i in (0, 0, 1, 1, 2, 2, 2)
    ]  # seven looks, 0.5 s apart: two cuts in 3 s
    bright = [
        ((a // 3 + 80 * k).astype(np.uint8),) * 2
        for k, (a, _) in zip((0, 0, 1, 1, 2, 2, 2), shots, strict=True)
    ]
    assert value(motion(), "cuts_per_second", clip(bright, seconds=3.5)) == pytest.approx(2 / 3)
    assert value(motion(), "cuts_per_second", clip(bright[:2])) == 0


def test_faces_are_found_where_they_are_and_show_expression():
    stage = pytest.importorskip("affectlib.simulate.stage")
    empty = clip([(texture(), None)] * 2)
    assert face()(empty).tolist() == [0.0] * face().size
    portraits = [
        stage.portrait(v, 0.0, seed=s, size=(320, 180)) for s in range(8) for v in (-0.9, 0.9)
    ]
    found = [detect(image) for image in portraits]
    assert np.mean([len(rows) == 1 for rows in found]) >= 0.9
    left, top, width, height, _ = next(rows for rows in found if len(rows))[0]
    assert 0 < left < left + width < 320 and 0 < top < top + height < 200
    vectors = np.array([face()(clip([(image, None)])) for image in portraits])
    curve = vectors[:, face().names.index("mouth_curve_mean")]
    assert (
        np.mean(curve[0::2] > curve[1::2]) > 0.85
    )  # lowered corners lie below the middle: y grows downward


def two_faces(large=100, small=70, x=(90, 240)):
    """A frame with two people, the first larger."""
    stage, drawing = (
        pytest.importorskip("affectlib.simulate.stage"),
        pytest.importorskip("affectlib.simulate.face"),
    )
    rng = np.random.default_rng(0)
    look = stage.Look.draw(rng, actors=2)
    image = stage.backdrop(look, 0.0, 0.0, rng, margin=0)
    for actor, size, middle in zip(look.cast, (large, small), x, strict=True):
        drawing.draw_face(image, actor, {12: 1.0}, (middle, 95), size)
    return image


@pytest.mark.parametrize("count", [1, 2, 3])
def test_people_are_described_one_after_the_other(count):
    image, extractor = two_faces(), people(count=count)
    vector = extractor(clip([(image, None)]))
    assert vector.shape == (extractor.size,) == (1 + 280 * count,) and vector[0] == 1
    found = blocks(vector[None])[0]
    assert found.shape == (count, 280) and np.shares_memory(blocks(vector[None]), vector)
    for block, row in zip(found, detect(image), strict=False):
        assert block[:4] == pytest.approx(row[:4] / (320, 180, 320, 180)) and block[
            4
        ] == pytest.approx(row[4])
    alone = face()(clip([(image, None)]))
    for name in BLOCK[5:]:  # of the largest, what the extractor face sees in it
        known = name if name in face().names else f"{name}_mean"
        assert found[0, BLOCK.index(name)] == pytest.approx(
            alone[face().names.index(known)], abs=1e-6
        )
    assert (found[0, 2] > found[1, 2] > 0) if count > 1 else found[0, 2] > 0
    assert (found[2:] == 0).all()


def test_people_where_there_are_none_and_of_several_frames():
    assert (people()(clip([(texture(), None)])) == 0).all()
    small, large = two_faces(80, 60), two_faces(110, 60)
    vector = people()(clip([(small, None), (texture(), None), (large, None), (texture(), None)]))
    assert vector[0] == 0.5 and np.array_equal(vector[1:], people()(clip([(large, None)]))[1:])


def test_the_default_detector_enlarges_a_frame_and_leaves_a_simulated_one_as_it_is():
    near = two_faces()  # 320 pixels wide, as all simulated frames are
    near_faces = detect(near)
    np.testing.assert_array_equal(near_faces, detect(near, detector="hog"))
    assert len(near_faces) == 2
    far = np.full(
        (360, 640, 3), 96, np.uint8
    )  # the same two, the first 50 pixels wide in a frame of 640
    small = cv2.resize(near, (192, 108), interpolation=cv2.INTER_AREA)
    far[120:228, 224:416] = small
    assert len(detect(far, detector="hog")) == 0
    found = detect(far)
    assert len(found) == 1
    expected = near_faces[0, :4] * 0.6 + (224, 120, 0, 0)
    np.testing.assert_allclose(found[0, :4], expected, atol=8)


def test_the_detector_belongs_to_the_key_of_both_extractors():
    for make in (face, people):
        options = {
            detector: make(detector=detector).options for detector in ("hog", "hog_enlarged")
        }
        assert options["hog"] != options["hog_enlarged"]
        assert make().options == options["hog_enlarged"]
    far = clip([(np.full((360, 640, 3), 96, np.uint8), None)])
    assert (face(detector="hog")(far) == 0).all()


def test_frames_without_a_face_are_counted_for_each_extractor_of_faces():
    arrays = {
        "scene": np.ones((4, 2)),
        "people": np.array([[1.0, 0.3], [0.25, 0.2], [0.0, 0.0], [0.0, 0.0]]),
        "xception_random": np.array([[0.0], [2.0], [3.0], [0.0]]),
    }
    names = {"scene": ("light", "hue"), "people": ("presence", "left_0"), "xception_random": ("x",)}
    missing = {"people": ("d",)}  # a clip without a picture
    table = FeatureTable(("a", "b", "c", "d"), arrays, names, True, missing)
    assert frames_without_face(table).splitlines() == [
        "people: no face in 58.3 % of the frames; 1 of 3 clips have none at all",
        "xception_random: 2 of 4 clips have none at all",
    ]
    scene_only = FeatureTable(("a",), {"scene": np.ones((1, 2))}, {"scene": ("light", "hue")}, True)
    assert frames_without_face(scene_only) == "no extractor of faces in this table"


@pytest.mark.parametrize(
    "call",
    [
        lambda: people(detector="cascade"),
        lambda: people(count=0),
        lambda: detect(texture(), detector="cascade"),
        lambda: blocks(np.zeros((2, 280))),
    ],
)
def test_faces_refuse_what_is_not_there(call):
    with pytest.raises(ValueError, match=r"cascade|count"):
        call()


@pytest.mark.parametrize(("name", "builder"), [("mtcnn", "MTCNN"), ("fasterrcnn", "faster_rcnn")])
def test_other_detectors_are_built_once_and_sorted(name, builder, monkeypatch, tmp_path):
    import sys
    import types

    from affectlib.features import faces

    built = []

    class Network:
        def __init__(self):
            built.append(1)

        def detect(self, image):
            return np.array([[5, 5, 20, 20, 0.9], [40, 5, 60, 60, 0.8]])

    module = types.ModuleType("affectlib.features.pretrained.detectors")
    setattr(module, builder, Network)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("affectlib.features.pretrained.detectors", module, raising=False)
    faces._detector.cache_clear()
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsNotFoundError, match=faces.WEIGHTS[name][0]):
        people(detector=name)
    for weights in faces.WEIGHTS[name]:
        (tmp_path / _TABLE[weights].file).write_bytes(b"1")
    image, key = texture(), people(detector=name).options
    (tmp_path / _TABLE[faces.WEIGHTS[name][-1]].file).write_bytes(b"two")
    assert people(detector=name).options != key and len(people().options) == 2
    assert detect(image, detector=name)[:, 2].tolist() == [60, 20]
    found = blocks(people(detector=name)(clip([(image, None)]))[None])[0]
    assert found[:, 4] == pytest.approx([0.8, 0.9]) and len(built) == 1
    faces._detector.cache_clear()


def slow_overlap(a, b):
    covered = [
        {(x, y) for x in range(left, left + w) for y in range(top, top + h)}
        for left, top, w, h in (a, b)
    ]
    return len(covered[0] & covered[1]) / len(covered[0] | covered[1])


def test_tracks_link_what_overlaps_most_written_out():
    rng = np.random.default_rng(0)
    for _ in range(40):
        boxes = np.concatenate([rng.integers(0, 12, (6, 2, 2)), rng.integers(4, 10, (6, 2, 2))], 2)
        boxes[rng.uniform(size=(6, 2)) < 0.2] = 0
        last, expected = {}, np.full((6, 2), -1)
        for frame in range(6):
            faces = [i for i in range(2) if boxes[frame, i, 2]]
            pairs = sorted(
                (
                    (slow_overlap(boxes[frame, i], box), -i, -person)
                    for i in faces
                    for person, box in last.items()
                ),
                reverse=True,
            )
            for shared, i, person in pairs:
                if shared >= 0.3 and expected[frame, -i] < 0 and -person not in expected[frame]:
                    expected[frame, -i] = -person
            for i in faces:
                if expected[frame, i] < 0:
                    expected[frame, i] = max([*last, -1]) + 1
                    last[expected[frame, i]] = boxes[frame, i]
                last[expected[frame, i]] = boxes[frame, i]
        assert track(boxes).tolist() == expected.tolist()


def test_the_main_person_is_followed_past_a_larger_stranger():
    person, stranger = [10, 10, 20, 20, 1.0], [60, 5, 30, 30, 1.0]
    frames = [
        [person, [0] * 5],
        [stranger, person],
        [[0] * 5, [0] * 5],
        [[12, 11, 14, 16, 1.0], [0] * 5],
        [person, [0] * 5],
    ]
    assert track(frames).tolist() == [[0, -1], [1, 0], [-1, -1], [0, -1], [0, -1]]
    assert follow(frames).tolist() == [0, 1, -1, 0, 0]
    assert follow(np.zeros((3, 2, 280))).tolist() == [-1] * 3 and follow(
        np.zeros((0, 2, 5))
    ).shape == (0,)


def test_a_box_without_height_overlaps_nothing_and_hides_nobody():
    person, flat = [10, 10, 20, 20], [60, 40, 5, 0]
    with np.errstate(all="raise"):
        assert track([[person, flat], [person, flat]]).tolist() == [[0, 1], [0, 2]]
        assert follow([[flat, person], [flat, person]]).tolist() == [1, 1]


def test_a_margin_widens_the_crop():
    image = np.zeros((100, 100, 3), np.uint8)
    image[40:62, 40:60] = 255  # a box of 20 x 20 is cut to 22 below
    inside, around = crop(image, [40, 40, 20, 20]), crop(image, [40, 40, 20, 20], margin=0.5)
    assert inside.shape == around.shape == (64, 64, 3)
    assert (inside > 200).mean() > 0.9 and 0.2 < (around > 128).mean() < 0.35
    assert np.array_equal(inside, crop(image, [40, 40, 20, 20], margin=0.0))


def test_emobase_frames_in_one_pass_agree_with_single_frames():
    import opensmile

    rng = np.random.default_rng(0)
    t = np.arange(2 * RATE) / RATE
    voice = 0.3 * np.sin(2 * np.pi * 180 * t) * (1.2 + np.sin(20 * t)) / 2
    signal = (voice + 0.02 * rng.normal(size=len(t))).astype(np.float32)
    single = opensmile.Smile(
        opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals, sampling_rate=RATE
    )
    cuts = [signal[a : a + 5120] for a in range(0, len(signal) - 5120 + 1, 640)]
    slow = np.array([single(cut, RATE)[0, :, 0] for cut in cuts])  # (frames, 1582)
    extractor = emobase()
    fast = extractor(clip(signal=signal))
    assert extractor.names == tuple(single.feature_names) and extractor.size == 1582
    level = np.array(
        [
            n.endswith(("_amean", "_quartile2"))
            and "_de" not in n
            and "F0" not in n
            and "jitter" not in n
            and "shimmer" not in n
            and "voicing" not in n
            for n in extractor.names
        ]
    )
    assert (
        level.sum() == 64
    )  # loudness, 15 MFCC, 8 log mel bands, 8 line spectral frequencies, twice
    assert np.corrcoef(fast[level], slow.mean(0)[level])[0, 1] > 0.999
    assert (
        np.median(np.abs(fast - slow.mean(0)) / (np.abs(slow.mean(0)) + slow.std(0) + 1e-6)) < 0.1
    )
