"""Shots and scenes, from planted cuts and from controls without any."""

import cv2
import numpy as np
import pytest

from affectlib import media
from affectlib.film.shots import ShotFinder, colours, find_scenes, shot_table

RATE = 25.0
TINTS = [(1, 0.2, 0.2), (0.2, 1, 0.2), (0.2, 0.2, 1), (1, 1, 0.2), (0.2, 1, 1)]


def picture(seed, height=90, width=240):
    """A large picture of soft blobs in a colour of its own."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 255, (6, 12, 3)).astype(np.float32)
    large = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (np.clip(large, 0, 255) * TINTS[seed]).astype(np.uint8)


def panned(seed, frames, step=2):
    """A camera that moves over a picture, ``step`` of 160 pixels per frame."""
    wide = np.tile(picture(seed), (1, 3, 1))
    return [wide[:, step * k % 240 :][:, :160] for k in range(frames)]


def found(frames):
    finder = ShotFinder(RATE)
    for number, frame in enumerate(frames):
        finder.take(number / RATE, np.ascontiguousarray(frame))
    return finder.starts()


def test_every_planted_cut_is_found_at_its_frame():
    frames = panned(1, 40) + panned(2, 17) + panned(3, 60) + panned(4, 30)
    assert found(frames) == [0.0, 40 / RATE, 57 / RATE, 117 / RATE]


@pytest.mark.parametrize("step", [0, 2, 16])
def test_a_camera_that_moves_is_no_cut(step):
    assert found(panned(1, 120, step)) == [0.0]


def test_noise_and_a_light_that_grows_are_no_cuts():
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (90, 160, 3), dtype=np.uint8) for _ in range(60)]
    assert found(noise) == [0.0]
    brighter = [(frame * (0.3 + k / 115)).astype(np.uint8) for k, frame in enumerate(panned(1, 80))]
    assert found(brighter) == [0.0]


def test_the_hue_of_a_pale_picture_is_no_cut():
    # Pixels that an encoder moves by 4 of 255 go from reddish to greenish grey.
    before = np.full((90, 160, 3), (204, 200, 200), np.uint8)
    after = np.full((90, 160, 3), (200, 204, 200), np.uint8)
    assert found([before] * 40 + [after] * 40) == [0.0]


def test_a_fade_through_black_is_one_boundary_in_the_black():
    light = np.r_[np.ones(30), np.linspace(1, 0, 20), np.zeros(10), np.linspace(0, 1, 20)]
    frames = []
    for k, level in enumerate(np.r_[light, np.ones(30)]):
        seed = 1 if k < 55 else 2
        frames.append((panned(seed, 1)[0] * level).astype(np.uint8))
    starts = found(frames)
    assert len(starts) == 2
    assert 49 / RATE <= starts[1] <= 61 / RATE


def test_black_at_the_beginning_or_between_two_cuts_is_not_split():
    black = [np.zeros((90, 160, 3), np.uint8)] * 20
    assert found([*black, *panned(1, 40)]) == [0.0, 20 / RATE]
    assert found([*panned(1, 40), *black, *panned(2, 40)]) == [0.0, 40 / RATE, 60 / RATE]


def test_one_frame_is_one_shot_and_no_frame_none():
    assert found(panned(1, 1)) == [0.0]
    assert found([]) == []


def scenes_of(seeds, seconds=4.0):
    starts = [seconds * k for k in range(len(seeds))]
    ends = [start + seconds for start in starts]
    histograms = np.array([colours(picture(seed)) for seed in seeds])
    return find_scenes(starts, ends, histograms)


def test_a_dialogue_of_two_views_is_one_scene():
    assert scenes_of([1, 2, 1, 2, 3, 4, 3]) == [1, 1, 1, 1, 2, 2, 2]


def test_a_view_that_comes_back_after_minutes_is_another_scene():
    assert scenes_of([1, 2, 1]) == [1, 1, 1]
    assert scenes_of([1, 2, 1], seconds=70.0) == [1, 2, 3]


def test_one_shot_is_one_scene():
    histograms = np.array([colours(picture(1))])
    table = shot_table([0.0], 3.0, np.array([0.0]), histograms)
    assert table.to_dict("records") == [{"start": 0.0, "end": 3.0, "scene": 1}]
    assert shot_table([], 3.0, np.array([]), np.array([])).empty


def test_a_last_shot_of_a_moment_is_described_by_the_nearest_frame():
    histograms = np.array([colours(picture(seed)) for seed in (1, 2)])
    table = shot_table([0.0, 2.0], 2.1, np.array([0.0, 1.5]), histograms)
    assert table["end"].tolist() == [2.0, 2.1]


# Seen by eye, frame by frame, on either side of each cut. Before the one of the second film, an
# encoder's key frames change the hue of a pale sky.
@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("bikes.mp4", [1.2, 3.04, 5.48, 7.48, 9.68]),
        ("mp_big_buck_bunny_0_30.webm", [284 / 24]),
    ],
)
def test_the_cuts_of_real_films_are_found(golden, name, cuts):
    path = golden(f"clips/{name}")
    properties = media.probe(path)
    finder = ShotFinder(properties.frame_rate)
    times = media.grid(0.0, min(13.0, properties.seconds), properties.frame_rate)
    for frame in media.stream(path, times, side=256, sound=False):
        finder.take(frame.time, frame.image)
        if frame.time == times[-1]:
            break
    assert finder.starts()[1:] == pytest.approx(cuts, abs=0.5 / properties.frame_rate)
