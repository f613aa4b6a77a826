"""Descriptors: one contract for all of them, and for each a property planted in the film."""

import shutil
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import opensmile
import pytest

from affectlib import paths
from affectlib.features import Extractor, descriptors
from affectlib.features.audio import emobase, emobase_vector, key, sound, tempo
from affectlib.features.faces import people
from affectlib.features.motion import motion
from affectlib.features.visual import frame_statistics, scene
from affectlib.media import SAMPLING_RATE, Clip, Picture

EVERY = (*descriptors(), people())


def texture(seed: int = 0, size: tuple[int, int] = (180, 320)) -> np.ndarray:
    """A frame of large soft spots."""
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def tone(hertz: float = 300.0, gain: float = 0.1, seconds: float = 2.0) -> np.ndarray:
    times = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    return (gain * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def film_of(pairs: Sequence[tuple[np.ndarray, np.ndarray]], seconds: float = 2.0) -> Clip:
    """A silent clip of frame pairs, one every half second, whose frames are 0.1 s apart."""
    pictures = [Picture(i / 2, first, second, 0.1) for i, (first, second) in enumerate(pairs)]
    return Clip(0.0, seconds, tuple(pictures))


def sound_of(signal: np.ndarray) -> Clip:
    return Clip(0.0, len(signal) / SAMPLING_RATE, (), signal)


def value(extractor: Extractor, name: str, clip: Clip) -> float:
    """One value of a clip, by its name."""
    return float(extractor(clip)[extractor.names.index(name)])


def clips_of_all_kinds() -> dict[str, Clip]:
    rng = np.random.default_rng(0)
    samples = 2 * SAMPLING_RATE
    noise = rng.integers(0, 255, (45, 81, 3), dtype=np.uint8)
    kinds = {
        "texture and tone": (texture(), tone()),
        "black and silent": (np.zeros((180, 320, 3), np.uint8), np.zeros(samples, np.float32)),
        "white and loud": (np.full((96, 48, 3), 255, np.uint8), np.ones(samples, np.float32)),
        "squares": (noise, np.sign(tone(gain=1.0))),
        "a click": (texture(), np.eye(1, samples, samples - 1, dtype=np.float32)[0]),
        "noise": (noise, rng.normal(0, 0.1, samples).astype(np.float32)),
    }
    clips = {}
    for kind, (image, signal) in kinds.items():
        pictures = film_of([(image, image)] * 4).pictures
        clips[kind] = Clip(0.0, 2.0, pictures, signal)
    return clips


CLIPS = clips_of_all_kinds()


@pytest.mark.parametrize("extractor", EVERY, ids=lambda extractor: extractor.name)
@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_every_extractor_gives_finite_float32_and_repeats(extractor, clip):
    vector = extractor(clip)
    assert vector.shape == (extractor.size,)
    assert len(set(extractor.names)) == extractor.size
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
    np.testing.assert_array_equal(vector, extractor(clip))


@pytest.mark.parametrize("extractor", EVERY, ids=lambda extractor: extractor.name)
def test_a_clip_without_picture_and_sound_gives_nan(extractor):
    assert np.isnan(extractor(Clip(0.0, 2.0))).all()


@pytest.mark.parametrize("size", [(1, 320), (320, 1), (24, 320)], ids=str)
def test_frames_of_any_shape_are_described_in_little_memory(size):
    image = cv2.resize(texture(), size[::-1])
    clip = film_of([(image, image)] * 2)
    tracemalloc.start()
    for extractor in EVERY:
        if not extractor.sound:
            assert np.isfinite(extractor(clip)).all()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20


def test_motion_needs_a_pair_and_emobase_half_a_second():
    short = Clip(0.0, 1.0, (Picture(0.0, texture()),), tone(seconds=0.4))
    assert np.isnan(motion()(short)).all()
    assert np.isnan(emobase()(short)).all()
    assert np.isfinite(scene()(short)).all()
    assert np.isfinite(sound()(short)).all()


def test_ten_times_the_amplitude_is_20_decibels_louder():
    quiet = value(sound(), "loudness_mean", sound_of(tone(gain=0.05)))
    loud = value(sound(), "loudness_mean", sound_of(tone(gain=0.5)))
    assert loud - quiet == pytest.approx(20, abs=0.5)


def test_the_centroid_of_a_tone_is_near_its_frequency():
    assert value(sound(), "centroid_mean", sound_of(tone(3000))) == pytest.approx(3, abs=0.2)
    assert value(sound(), "centroid_mean", sound_of(tone(300))) < 0.6


def test_sound_tells_major_from_minor():
    def mode(*semitones: int) -> float:
        chord = sum(tone(261.63 * 2 ** (semitone / 12)) for semitone in semitones)
        return value(sound(), "mode", sound_of(chord))

    assert mode(0, 4, 7, 12) > 0 > mode(0, 3, 7, 12)


def test_where_all_pitches_are_equal_there_is_no_key():
    assert key(np.full(12, 1 / 12)).tolist() == [0, 0]


@pytest.mark.parametrize("beats", [80, 120, 160])
def test_tempo_is_that_of_the_clicks(beats):
    frames_per_beat = 60 / beats * SAMPLING_RATE / 512
    onsets = np.zeros(200)
    onsets[np.arange(0, 200, frames_per_beat).astype(int)] = 1
    octaves, clarity = tempo(onsets)
    assert 120 * 2**octaves == pytest.approx(beats, rel=0.05)
    assert clarity > 0.4


def test_without_onsets_there_is_no_tempo():
    assert tempo(np.ones(200)).tolist() == [0, 0]


def test_scene_tells_red_from_blue_and_dark_from_light():
    statistics = {}
    for name, colour in {"red": (220, 30, 30), "blue": (30, 30, 220), "black": (5, 5, 5)}.items():
        image = np.full((90, 160, 3), colour, np.uint8)
        names = [name.removesuffix("_mean") for name in scene().names]
        statistics[name] = dict(zip(names, frame_statistics(image), strict=False))
    assert statistics["red"]["hue_0"] == 1
    assert statistics["blue"]["hue_240"] == 1
    assert statistics["red"]["warm"] > 0.9
    assert statistics["blue"]["warm"] < 0.1
    assert statistics["black"]["dark"] == 1
    assert statistics["black"]["light"] < statistics["red"]["light"]
    assert statistics["red"]["entropy"] == 0


def test_motion_is_measured_in_frame_widths_per_second():
    still = texture()
    moving = np.roll(still, 8, axis=1)  # 8 of 320 pixels in 0.1 s
    panning = film_of([(still, moving)] * 4)
    assert value(motion(), "flow_p50_mean", panning) == pytest.approx(0.25, rel=0.1)
    assert value(motion(), "direction_0", panning) > 0.8
    assert value(motion(), "flow_p50_mean", film_of([(still, still)] * 4)) < 0.01


def test_motion_sees_a_small_thing_that_moves():
    before = np.full((180, 320, 3), 90, np.uint8)
    after = before.copy()
    before[60:120, 100:160] = texture(1, (60, 60))
    after[60:120, 104:164] = texture(1, (60, 60))
    assert value(motion(), "flow_p95_mean", film_of([(before, after)] * 4)) > 0.08


def test_cuts_are_counted():
    # Seven frames, half a second apart: two cuts in three seconds.
    pairs = []
    for shot in (0, 0, 1, 1, 2, 2, 2):
        image = (texture(shot) // 3 + 80 * shot).astype(np.uint8)
        pairs.append((image, image))
    film = film_of(pairs, seconds=3.5)
    assert value(motion(), "cuts_per_second", film) == pytest.approx(2 / 3)
    assert value(motion(), "cuts_per_second", film_of(pairs[:2])) == 0


def voice() -> np.ndarray:
    """Two seconds of a voice of 180 Hz that swells and fades, with a little noise."""
    rng = np.random.default_rng(0)
    times = np.arange(2 * SAMPLING_RATE) / SAMPLING_RATE
    swell = (1.2 + np.sin(20 * times)) / 2
    noise = 0.02 * rng.normal(size=len(times))
    return (0.3 * np.sin(2 * np.pi * 180 * times) * swell + noise).astype(np.float32)


def is_level(name: str) -> bool:
    """True for functionals that describe a level: neither change, pitch nor voicing."""
    others = ("_de", "F0", "jitter", "shimmer", "voicing")
    return name.endswith(("_amean", "_quartile2")) and not any(other in name for other in others)


def test_emobase_in_one_pass_agrees_with_a_call_per_frame():
    signal = voice()
    single = opensmile.Smile(
        opensmile.FeatureSet.IS10,
        opensmile.FeatureLevel.Functionals,
        sampling_rate=SAMPLING_RATE,
    )
    rows = []
    for first in range(0, len(signal) - 5120 + 1, 640):
        rows.append(single(signal[first : first + 5120], SAMPLING_RATE)[0, :, 0])
    slow = np.array(rows)  # (frames, 1582)
    extractor = emobase()
    assert extractor.names == tuple(single.feature_names)
    assert extractor.size == 1582
    fast = extractor(sound_of(signal))
    level = np.array([is_level(name) for name in extractor.names])
    # Loudness, 15 MFCC, 8 log mel bands and 8 line spectral frequencies, two functionals of each.
    assert level.sum() == 64
    assert np.corrcoef(fast[level], slow.mean(0)[level])[0, 1] > 0.999
    scale = np.abs(slow.mean(0)) + slow.std(0) + 1e-6
    assert np.median(np.abs(fast - slow.mean(0)) / scale) < 0.1


def test_emobase_works_below_a_path_of_any_letters(tmp_path, monkeypatch):
    signal = voice()
    right = emobase_vector(signal, hop=0.04)
    # openSMILE itself may stand below such a path, and so may the cache.
    package = tmp_path / "Jürgen 李" / "opensmile"
    shutil.copytree(Path(opensmile.__file__).parent / "core" / "config", package)
    folder = property(lambda self: str(package))
    monkeypatch.setattr(opensmile.Smile, "default_config_root", folder)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "Jürgen 李")
    assert emobase_vector(signal, hop=0.04).tolist() == right.tolist()
