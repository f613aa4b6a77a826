"""Extractors: one contract for all, and for each a property planted in the film."""

import numpy as np
import pytest

from affectlib.features import descriptors
from affectlib.features.audio import emobase, key, sound, tempo
from affectlib.features.faces import detect, face
from affectlib.features.motion import motion
from affectlib.features.visual import frame_statistics, scene
from affectlib.media import Clip, Picture

RATE = 16000


def texture(seed=0, size=(180, 320)):
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def pictures(images, *, gap=0.1, rate=2.0):
    return tuple(Picture(i / rate, a, b, gap) for i, (a, b) in enumerate(images))


def tone(hertz=300.0, gain=0.1, seconds=2.0):
    return (gain * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def clip(images=None, signal=None, seconds=2.0, **options):
    images = [(texture(i), texture(i)) for i in range(4)] if images is None else images
    return Clip(0.0, seconds, pictures(images, **options), tone() if signal is None else signal)


def value(extractor, name, a_clip):
    return float(extractor(a_clip)[extractor.names.index(name)])


@pytest.mark.parametrize("extractor", descriptors(), ids=lambda e: e.name)
@pytest.mark.parametrize("kind", ["texture and tone", "black and silent", "white and loud", "noise"])
def test_every_extractor_gives_finite_float32_and_repeats(extractor, kind):
    noise = np.random.default_rng(0)
    image, signal = {
        "texture and tone": (texture(), tone()),
        "black and silent": (np.zeros((180, 320, 3), np.uint8), np.zeros(2 * RATE, np.float32)),
        "white and loud": (np.full((96, 48, 3), 255, np.uint8), np.ones(2 * RATE, np.float32)),
        "noise": (noise.integers(0, 255, (45, 81, 3), dtype=np.uint8), noise.normal(0, 0.1, 2 * RATE).astype("f4")),
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
    assert value(sound(), "loudness_mean", loud) - value(sound(), "loudness_mean", quiet) == pytest.approx(20, abs=0.5)
    low, high = clip(signal=tone(300)), clip(signal=tone(3000))
    assert value(sound(), "centroid_mean", high) == pytest.approx(3, abs=0.2)
    assert value(sound(), "centroid_mean", low) < 0.6

    def chord(*semitones):
        return clip(signal=sum(tone(261.63 * 2 ** (s / 12)) for s in semitones))

    assert value(sound(), "mode", chord(0, 4, 7, 12)) > 0 > value(sound(), "mode", chord(0, 3, 7, 12))


def test_tempo_is_that_of_the_clicks():
    per_second = RATE / 512
    for beats in (80, 120, 160):
        onsets = np.zeros(200)
        onsets[(np.arange(0, 200 * beats / 60 / per_second) * 60 / beats * per_second).astype(int)] = 1
        found, clarity = tempo(onsets)
        assert 120 * 2**found == pytest.approx(beats, rel=0.05) and clarity > 0.4
    assert tempo(np.ones(200)).tolist() == [0, 0] == key(np.full(12, 1 / 12)).tolist()


def test_scene_knows_red_from_blue_and_dark_from_light():
    red, blue, black = (np.full((90, 160, 3), c, np.uint8) for c in ([220, 30, 30], [30, 30, 220], [5, 5, 5]))
    names = scene().names
    statistics = {name: {n.removesuffix("_mean"): x for n, x in zip(names, frame_statistics(image), strict=False)}
                  for name, image in (("red", red), ("blue", blue), ("black", black))}
    assert statistics["red"]["hue_0"] == 1 == statistics["blue"]["hue_240"]
    assert statistics["red"]["warm"] > 0.9 > 0.1 > statistics["blue"]["warm"]
    assert statistics["black"]["dark"] == 1 and statistics["black"]["light"] < statistics["red"]["light"]
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
    shots = [(texture(i), texture(i)) for i in (0, 0, 1, 1, 2, 2, 2)]  # seven looks, 0.5 s apart: two cuts in 3 s
    bright = [((a // 3 + 80 * k).astype(np.uint8),) * 2 for k, (a, _) in zip((0, 0, 1, 1, 2, 2, 2), shots, strict=True)]
    assert value(motion(), "cuts_per_second", clip(bright, seconds=3.5)) == pytest.approx(2 / 3)
    assert value(motion(), "cuts_per_second", clip(bright[:2])) == 0


def test_faces_are_found_where_they_are_and_show_expression():
    stage = pytest.importorskip("affectlib.simulate.stage")
    empty = clip([(texture(), None)] * 2)
    assert face()(empty).tolist() == [0.0] * face().size
    portraits = [stage.portrait(v, 0.0, seed=s, size=(320, 180)) for s in range(8) for v in (-0.9, 0.9)]
    found = [detect(image) for image in portraits]
    assert np.mean([len(rows) == 1 for rows in found]) >= 0.9
    left, top, width, height, _ = next(rows for rows in found if len(rows))[0]
    assert 0 < left < left + width < 320 and 0 < top < top + height < 200
    vectors = np.array([face()(clip([(image, None)])) for image in portraits])
    curve = vectors[:, face().names.index("mouth_curve_mean")]
    assert np.mean(curve[0::2] > curve[1::2]) > 0.85  # lowered corners lie below the middle: y grows downward


def test_emobase_frames_in_one_pass_agree_with_single_frames():
    import opensmile

    rng = np.random.default_rng(0)
    t = np.arange(2 * RATE) / RATE
    voice = 0.3 * np.sin(2 * np.pi * 180 * t) * (1.2 + np.sin(20 * t)) / 2
    signal = (voice + 0.02 * rng.normal(size=len(t))).astype(np.float32)
    single = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals, sampling_rate=RATE)
    cuts = [signal[a:a + 5120] for a in range(0, len(signal) - 5120 + 1, 640)]
    slow = np.array([single(cut, RATE)[0, :, 0] for cut in cuts])  # (frames, 1582)
    extractor = emobase()
    fast = extractor(clip(signal=signal))
    assert extractor.names == tuple(single.feature_names) and extractor.size == 1582
    level = np.array([n.endswith(("_amean", "_quartile2")) and "_de" not in n and "F0" not in n and "jitter" not in n
                      and "shimmer" not in n and "voicing" not in n for n in extractor.names])
    assert level.sum() == 64  # loudness, 15 MFCC, 8 log mel bands, 8 line spectral frequencies, twice
    assert np.corrcoef(fast[level], slow.mean(0)[level])[0, 1] > 0.999
    assert np.median(np.abs(fast - slow.mean(0)) / (np.abs(slow.mean(0)) + slow.std(0) + 1e-6)) < 0.1
