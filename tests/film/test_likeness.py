"""Noise and real films are called unlike simulated films; another simulated film is not."""

import functools
from fractions import Fraction

import av
import numpy as np
import pytest

from affectlib.corpora import segments
from affectlib.features import extract, film
from affectlib.features.audio import sound
from affectlib.features.visual import scene
from affectlib.film import likeness
from affectlib.film.likeness import Reference, learn
from affectlib.simulate import make_cognimuse

# Two features that take little time.
FEATURES = (scene(rate=1.0), sound())
SECONDS = 5.0


def draw(rng, n_films=12, n_segments=20, sizes=(40, 4)):
    """Features of films, each with a place of its own, and the film of each segment."""
    films = np.repeat([f"film {i}" for i in range(n_films)], n_segments)
    arrays = {}
    for name, size in zip(("many", "few"), sizes, strict=True):
        places = rng.normal(size=(n_films, size)).repeat(n_segments, axis=0)
        arrays[name] = 5 + 3 * (places + rng.normal(size=places.shape))
    return arrays, films


@functools.cache
def drawn():
    arrays, films = draw(np.random.default_rng(0))
    return learn(arrays, films)


def test_distance_and_rank_are_those_of_a_computation_by_hand():
    arrays, films = draw(np.random.default_rng(0), n_films=4, n_segments=6)
    reference = learn(arrays, films)
    new, _ = draw(np.random.default_rng(1), n_films=1, n_segments=3)

    def nearest(known, x):
        mean, deviation = known.mean(0), known.std(0)
        difference = ((x[:, None] - mean) - (known - mean)) / deviation
        distances = np.sqrt((difference**2).mean(-1))
        return np.sort(distances, axis=1)[:, :5].mean(1)

    calibration = {name: np.empty(24) for name in arrays}
    for one in set(films):
        out = films == one
        for name, values in arrays.items():
            calibration[name][out] = nearest(values[~out], values[out])
    usual = {name: np.median(values) for name, values in calibration.items()}
    squares = [(calibration[name] / usual[name]) ** 2 for name in arrays]
    of_calibration = np.sqrt(np.mean(squares, axis=0))
    squares = [(nearest(arrays[name], new[name]) / usual[name]) ** 2 for name in arrays]
    expected = np.sqrt(np.mean(squares, axis=0))
    found = reference.compare(new)
    np.testing.assert_allclose(found.distance, expected)
    as_far = (of_calibration >= expected[:, None]).sum(1)
    np.testing.assert_allclose(found.rank, (1 + as_far) / 25)
    # One of 24 may lie beyond.
    assert found.limit == pytest.approx(np.sort(of_calibration)[-2])


def test_a_feature_of_few_values_is_not_drowned_by_one_of_many():
    """One that is far in either feature is found, and as far whichever it is."""
    reference = drawn()
    new, _ = draw(np.random.default_rng(2), n_films=1)
    assert not reference.compare(new).unlike.all()
    for name in new:
        moved = new | {name: new[name] + 40.0}
        found = reference.compare(moved)
        assert found.unlike.all()
        assert f"the farthest feature is {name}" in found.sentence
        assert "20 of 20 segments are unlike" in found.sentence


def test_films_like_the_training_films_are_called_unlike_as_often_as_it_says():
    """Films that were drawn alike, six new ones for each of fifteen sets: about one in twenty."""
    shares = []
    levels = []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        arrays, films = draw(rng, n_films=18, n_segments=12, sizes=(10, 4))
        is_new = np.arange(len(films)) >= 12 * 12
        known = {name: values[~is_new] for name, values in arrays.items()}
        new = {name: values[is_new] for name, values in arrays.items()}
        found = learn(known, films[~is_new]).compare(new)
        shares.append(found.unlike.mean())
        levels.append(found.level)
    assert np.mean(levels) == pytest.approx(np.mean(shares), abs=0.03)
    assert 0.02 < np.mean(shares) < 0.11


def test_a_reference_survives_a_file_and_stays_small():
    arrays, films = draw(np.random.default_rng(0), n_segments=400)
    reference = learn(arrays, films)
    points = reference.features["many"].points
    assert points.shape == (12 * likeness.PER_FILM, 40)
    again = Reference.of_tensors(reference.tensors(), list(arrays))
    new, _ = draw(np.random.default_rng(3), n_films=1)
    first, second = reference.compare(new), again.compare(new)
    np.testing.assert_allclose(second.distance, first.distance, rtol=1e-5)
    assert second.limit == pytest.approx(first.limit, rel=1e-5)


def test_one_film_is_not_enough():
    arrays, films = draw(np.random.default_rng(0), n_films=1)
    with pytest.raises(ValueError, match="two or more, found 1"):
        learn(arrays, films)


def test_copies_of_one_film_do_not_divide_by_zero():
    values = np.ones((6, 3))
    found = learn({"one": values}, ["a"] * 3 + ["b"] * 3).compare({"one": values + 1})
    assert np.isfinite(found.distance).all()
    assert found.unlike.all()


def write_noise(path):
    """Five seconds of white noise, picture and sound."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=5)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for _ in range(25):
            picture = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        noise = rng.normal(0, 0.2, (1, 80_000)).astype(np.float32)
        for start in range(0, noise.shape[1], 1024):
            part = np.ascontiguousarray(noise[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(part, format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """What six short simulated films are like; each is one segment."""
    corpus = make_cognimuse(tmp_path_factory.mktemp("films"), n_films=6, seconds=SECONDS, jobs=1)
    films = segments(corpus, seconds=SECONDS)
    table = extract(films, FEATURES, jobs=1, progress=False)
    return learn(table.arrays, films.clips["group"])


def compared(reference, path):
    table = extract(film(path, seconds=SECONDS), FEATURES, missing="zeros", jobs=1, progress=False)
    return reference.compare(table.arrays)


def test_a_film_of_noise_is_unlike_simulated_films(simulated, tmp_path):
    write_noise(tmp_path / "noise.mp4")
    found = compared(simulated, tmp_path / "noise.mp4")
    assert found.unlike.all()
    assert found.sentence.startswith("1 of 1 segment is unlike the films that the models learned")
    # No segment of the six films left out is as far away.
    np.testing.assert_allclose(found.rank, 1 / 7)


def test_another_simulated_film_is_not_unlike(simulated, tmp_path):
    other = make_cognimuse(tmp_path, n_films=1, seconds=SECONDS, seed=11, jobs=1)
    found = compared(simulated, other.clips["path"][0])
    assert not found.unlike.any()
    assert found.sentence.startswith("None of 1 segment is unlike")


@pytest.mark.parametrize("name", ["bikes.mp4", "mp_no_duration.webm"])
def test_real_films_are_unlike_simulated_films(simulated, golden, name):
    assert compared(simulated, golden(f"clips/{name}")).unlike.all()
