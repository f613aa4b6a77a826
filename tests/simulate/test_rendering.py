"""Courses of affect, faces, pictures and music show what is planted in them."""

import cv2
import dlib
import numpy as np
import pytest

from affectlib.simulate import stage
from affectlib.simulate.affect import course, remembered_course, slow_noise, view
from affectlib.simulate.face import PROTOTYPES, Actor, action_units, draw_face
from affectlib.simulate.score import Instrument, compose

# affect


@pytest.mark.parametrize("mean", [(0.0, 0.0), (0.9, -0.9)])
def test_course_is_bounded_seeded_and_wide(mean):
    times, valence, arousal = course(600, hertz=25, rng=np.random.default_rng(1), mean=mean)
    assert np.allclose(np.diff(times), 0.04) and len(times) == len(valence) == len(arousal) == 15000
    assert np.abs([valence, arousal]).max() < 1
    assert np.array_equal(
        valence, course(600, hertz=25, rng=np.random.default_rng(1), mean=mean)[1]
    )
    if mean == (0.0, 0.0):
        segments = arousal.reshape(-1, 125).mean(1)
        assert segments.std() > 0.25 and np.ptp(segments) > 1


def test_valence_and_arousal_are_coupled_weakly():
    _, valence, arousal = course(20000, hertz=2, rng=np.random.default_rng(0))
    assert 0.1 < np.corrcoef(valence, arousal)[0, 1] < 0.3


def test_without_memory_what_is_shown_is_felt():
    _, valence, arousal = course(50, hertz=25, rng=np.random.default_rng(4))
    options = {"hertz": 25, "memory": 0, "rng": np.random.default_rng(4)}
    shown, felt = remembered_course(50, **options)
    assert np.array_equal(shown, felt)
    assert np.array_equal(felt, np.stack([valence, arousal], 1))


def test_what_is_felt_leaks_and_remembers():
    options = {"hertz": 5, "memory": 8, "rng": np.random.default_rng(0)}
    shown, felt = np.arctanh(remembered_course(4000, **options))
    # The recursion written out: what each second adds is a fixed share of what it shows.
    added = felt[1:] - np.exp(-1 / 40) * felt[:-1]
    assert added == pytest.approx(added[0] / shown[1] * shown[1:], abs=1e-9)
    assert felt.std(0) == pytest.approx(shown.std(0), rel=0.05)


@pytest.mark.parametrize(("memory", "helps"), [(60, True), (0, False)])
def test_a_moving_average_over_clips_helps_where_there_is_a_memory(memory, helps):
    gains = []
    for seed in range(20):
        options = {"hertz": 1, "memory": memory, "rng": np.random.default_rng(seed)}
        shown, felt = remembered_course(1800, **options)
        clips_shown, clips_felt = (x[:, 1].reshape(-1, 10).mean(1) for x in (shown, felt))
        average = clips_shown.copy()
        for i in range(1, len(average)):
            # 0.85 is what a memory of 60 s keeps over a clip of 10 s.
            average[i] = 0.85 * average[i - 1] + 0.15 * clips_shown[i]
        correlations = [np.corrcoef(x, clips_felt)[0, 1] for x in (average, clips_shown)]
        gains.append(correlations[0] - correlations[1])
    assert (min(gains) > 0.3) if helps else (max(gains) < -0.3)


def test_slow_noise_has_unit_variance_and_its_slowness():
    noise = slow_noise(200_000, seconds=2, hertz=5, rng=np.random.default_rng(0))
    assert noise.std() == pytest.approx(1, abs=0.05) and abs(noise.mean()) < 0.05
    assert np.corrcoef(noise[:-20], noise[20:])[0, 1] == pytest.approx(
        np.exp(-1), abs=0.05
    )  # 4 s apart


def test_view_has_the_asked_signal_to_noise():
    rng = np.random.default_rng(0)
    signal_ = 0.2 * slow_noise(100_000, seconds=2, hertz=5, rng=rng)
    noise = view(signal_, 4.0, rng, hertz=5, deviation=0.2) - signal_
    assert signal_.var() / noise.var() == pytest.approx(4, rel=0.15)
    assert np.array_equal(view(signal_, np.inf, rng, hertz=5), np.clip(signal_, -1, 1))
    with pytest.raises(ValueError, match="above 0"):
        view(signal_, 0, rng, hertz=5)


# faces


def test_detectors_find_the_faces():
    hog = dlib.get_frontal_face_detector()
    haar = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    found, rng = [], np.random.default_rng(0)
    for _ in range(80):
        look = stage.Look.draw(rng, actors=1)
        valence, arousal = rng.uniform(-1, 1, 2)
        picture = stage.backdrop(look, valence, arousal, rng, margin=0)
        centre = rng.uniform(110, 210), rng.uniform(90, 95)
        draw_face(
            picture,
            look.cast[0],
            action_units(valence, arousal),
            centre,
            rng.uniform(0.54, 0.66) * 180,
            yaw=rng.normal(0, 0.1),
            roll=rng.normal(0, 0.03),
        )
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        boxes = [(r.left(), r.top(), r.right(), r.bottom()) for r in hog(grey, 0)]
        others = [
            (x, y, x + w, y + h)
            for x, y, w, h in haar.detectMultiScale(grey, 1.1, 4, minSize=(40, 40))
        ]
        found.append(
            [
                any(
                    left < centre[0] < right and top < centre[1] < bottom
                    for left, top, right, bottom in each
                )
                for each in (boxes, others)
            ]
        )
    assert (np.mean(found, axis=0) >= 0.95).all(), np.mean(found, axis=0)


@pytest.mark.parametrize("emotion", PROTOTYPES)
def test_units_at_a_prototype_are_mostly_its_own(emotion):
    place, wanted = PROTOTYPES[emotion]
    units = action_units(*place)
    assert all(0 <= value <= 1 for value in units.values())
    for unit, value in wanted.items():
        assert units[unit] > 0.4 * value


def test_faces_differ_by_actor_unit_yaw_and_stay_in_their_place():
    def draw(seed=0, units=None, **options):
        canvas = np.full((180, 320, 3), 90, np.uint8)
        draw_face(
            canvas, Actor.draw(np.random.default_rng(seed)), units or {}, (160, 90), 100, **options
        )
        return canvas.astype(int)

    rest = draw()
    assert np.array_equal(rest, draw()) and np.abs(rest - draw(seed=1)).mean() > 1
    for unit in (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 25, 26, 43):
        assert np.abs(rest - draw(units={unit: 1.0})).max() > 20, unit
    assert np.abs(rest - draw(yaw=0.6)).mean() > 0.5
    assert (rest[:, :60] == 90).all() and (rest[:10] == 90).all()


def test_a_face_outside_the_picture_changes_nothing():
    canvas = np.full((50, 50, 3), 7, np.uint8)
    draw_face(canvas, Actor.draw(np.random.default_rng(0)), {}, (-500, 20), 30)
    assert (canvas == 7).all()


# pictures and music


def test_motion_and_light_follow_what_is_planted():
    n, look = 100, stage.Look.draw(np.random.default_rng(0))
    flat = {level: np.full((n, 2), level) for level in (-0.7, 0.0, 0.7)}

    def play(scene, motion, seed):
        rng = np.random.default_rng(seed)
        return np.stack(
            list(stage.frames(flat[scene], flat[motion], flat[0.0], look=look, rng=rng))
        ).astype(int)

    for seed in range(2):
        calm, wild = (
            np.abs(np.diff(play(0.0, level, seed), axis=0)).mean() for level in (-0.7, 0.7)
        )
        assert wild > 1.5 * calm
        dark, light = (play(level, 0.0, seed).mean() for level in (-0.7, 0.7))
        assert light > dark + 20


def test_loudness_and_register_follow_what_is_planted():
    rng = np.random.default_rng(0)
    _, valence, arousal = course(120, hertz=25, rng=rng)
    sound = compose(valence, arousal, hertz=25, sampling_rate=8000, rng=rng)
    assert sound.dtype == np.float32 and len(sound) == 120 * 8000 and np.abs(sound).max() <= 1
    loudness = 20 * np.log10(sound.reshape(60, -1).std(1))
    assert np.corrcoef(loudness, arousal.reshape(60, -1).mean(1))[0, 1] > 0.9
    spectrum = np.abs(np.fft.rfft(sound.reshape(60, -1) * np.hanning(16000)))
    pitch = (spectrum * np.log2(np.arange(8001) + 100)).sum(1) / spectrum.sum(1)
    design = np.stack(
        [np.ones(60), valence.reshape(60, -1).mean(1), arousal.reshape(60, -1).mean(1)], 1
    )
    assert np.linalg.lstsq(design, pitch, rcond=None)[0][1] > 0.1


def test_films_differ_in_their_instrument():
    one, two = (
        compose(
            np.zeros(100),
            np.zeros(100),
            hertz=25,
            sampling_rate=8000,
            rng=np.random.default_rng(0),
            instrument=Instrument.draw(np.random.default_rng(seed)),
        )
        for seed in (0, 1)
    )
    assert np.abs(one - two).max() > 0.01
