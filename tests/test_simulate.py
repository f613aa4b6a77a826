import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import av
import cv2
import numpy as np
import pytest

from affectlib.corpora import CorpusFormatError
from affectlib.simulate import make_cognimuse, make_eimt16, stage
from affectlib.simulate.affect import course, slow_noise, view
from affectlib.simulate.face import PROTOTYPES, Actor, action_units, draw_face
from affectlib.simulate.score import Instrument, compose


def contents(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def pictures_of(path):
    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def sound_of(path):
    with av.open(str(path)) as film:
        return np.concatenate([frame.to_ndarray()[0] for frame in film.decode(audio=0)])


@pytest.fixture(scope="module")
def cognimuse(tmp_path_factory):
    root = tmp_path_factory.mktemp("cognimuse")
    return root, make_cognimuse(root, n_films=2, seconds=12, seed=3, jobs=1)


@pytest.fixture(scope="module")
def eimt16(tmp_path_factory):
    root = tmp_path_factory.mktemp("eimt16")
    return root, make_eimt16(root, n_clips=16, seconds=(2, 3), seed=3, jobs=1)


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
    dlib = pytest.importorskip("dlib")
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


# corpora


def test_cognimuse_stands_in_its_real_layout(cognimuse):
    root, corpus = cognimuse
    assert set(contents(root)) == {
        "SIMULATED.json",
        "BMI/BMI.mp4",
        "BMI/emotion/intended_1.dat",
        "LOR/LOR.mp4",
        "LOR/emotion/intended_1.dat",
    }
    assert corpus.simulated and list(corpus.clips["clip"]) == ["BMI", "LOR"] and corpus.hertz == 25
    rows = np.loadtxt(root / "BMI" / "emotion" / "intended_1.dat")
    assert (
        rows.shape == (300, 3)
        and np.allclose(rows[:, 0], 0.04 * np.arange(300))
        and np.abs(rows[:, 1:]).max() <= 1
    )
    assert (rows[:50, 2] == -0.94).all() and (rows[:50, 1] == 0).all() and rows[50, 2] != -0.94
    with av.open(str(root / "BMI" / "BMI.mp4")) as film:
        video, audio = film.streams.video[0], film.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, float(video.average_rate)) == (320, 180, 12.5)
        assert (audio.rate, audio.layout.name) == (16000, "mono")
    assert len(pictures_of(root / "BMI" / "BMI.mp4")) == 150
    assert len(sound_of(root / "BMI" / "BMI.mp4")) == pytest.approx(12 * 16000, abs=2048)


def test_eimt16_stands_in_its_real_layout(eimt16):
    root, corpus = eimt16
    clips = corpus.clips
    assert corpus.simulated and clips["split"].value_counts().to_dict() == {"train": 12, "test": 4}
    assert list(clips["clip"][[0, 12]]) == ["ACCEDE00000", "MEDIAEVAL16_00000"]
    assert clips.loc[clips["split"] == "train"].groupby("group").size().tolist() == [4, 4, 4]
    assert (
        clips[["valence", "arousal"]].min().min() >= 1
        and clips[["valence", "arousal"]].max().max() <= 5
    )
    means = clips.groupby("split")["arousal"].mean()
    assert means["train"] == pytest.approx(2.457, abs=0.25) and means["test"] == pytest.approx(
        3.4, abs=0.25
    )
    header = (root / "annotations" / "ACCEDEranking.txt").read_text().splitlines()[0].split("\t")
    assert header == [
        "id",
        "name",
        "valenceRank",
        "arousalRank",
        "valenceValue",
        "arousalValue",
        "valenceVariance",
        "arousalVariance",
    ]
    assert (root / "annotations" / "ACCEDEsets.txt").read_text().splitlines()[:2] == [
        "id\tname\tset",
        "0\tACCEDE00000.mp4\t1",
    ]


def test_files_depend_on_seed_not_on_jobs(eimt16, tmp_path):
    root, _ = eimt16
    make_eimt16(tmp_path / "two", n_clips=16, seconds=(2, 3), seed=3, jobs=2)
    assert contents(tmp_path / "two") == contents(root)
    make_eimt16(tmp_path / "other", n_clips=8, seconds=(1, 1), seed=4, jobs=1)
    first, second = (
        pictures_of(path / "data" / "ACCEDE00000.mp4") for path in (root, tmp_path / "other")
    )
    assert not np.array_equal(first[0], second[0])


def test_a_finished_corpus_is_left_and_a_holed_one_mended(cognimuse):
    root, _ = cognimuse
    before, times = contents(root), {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    make_cognimuse(root, n_films=2, seconds=12, seed=3, jobs=1)
    assert times == {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    (root / "LOR" / "LOR.mp4").unlink()
    make_cognimuse(root, n_films=2, seconds=12, seed=3, jobs=1)
    assert contents(root) == before


def test_other_arguments_replace_a_simulated_corpus(tmp_path):
    make_eimt16(tmp_path, n_clips=9, seconds=(1, 1), jobs=1)
    corpus = make_eimt16(tmp_path, n_clips=8, seconds=(1, 1), jobs=1)
    assert len(corpus) == 8 and len(list((tmp_path / "data").iterdir())) == 8


@pytest.mark.parametrize("name", ["BMI/BMI.mp4", "thesis.txt"])
def test_a_folder_with_other_files_is_refused_and_kept(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(CorpusFormatError, match=name):
        make_cognimuse(tmp_path, n_films=1, seconds=1, jobs=1)
    assert contents(tmp_path).keys() == {name} and (tmp_path / name).read_text() == "mine"


def test_a_killed_run_is_completed_to_the_same_files(cognimuse, tmp_path):
    root, _ = cognimuse
    code = "import sys, affectlib.simulate as s; s.make_cognimuse(sys.argv[1], n_films=2, seconds=12, seed=3, jobs=1)"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    while not (tmp_path / "BMI" / "BMI.mp4").exists() and child.poll() is None:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert (
        not (tmp_path / "SIMULATED.json").exists() and not (tmp_path / "LOR" / "LOR.mp4").exists()
    )
    first = (tmp_path / "BMI" / "BMI.mp4").stat().st_mtime_ns
    make_cognimuse(tmp_path, n_films=2, seconds=12, seed=3, jobs=1)
    assert contents(tmp_path) == contents(root)
    assert (tmp_path / "BMI" / "BMI.mp4").stat().st_mtime_ns == first


def test_the_mark_says_how_a_corpus_was_made(cognimuse):
    mark = json.loads((cognimuse[0] / "SIMULATED.json").read_text())
    assert mark["arguments"]["seed"] == 3 and set(mark["arguments"]["snr"]) == {
        "sound",
        "scene",
        "motion",
        "face",
    }
    assert mark["affectlib"] and len(mark["files"]) == 4


def test_a_film_shows_what_its_annotation_says(tmp_path):
    snr = dict.fromkeys(("sound", "scene", "motion", "face"), np.inf)
    corpus = make_cognimuse(tmp_path, n_films=1, seconds=40, seed=0, snr=snr, jobs=1)
    arousal = corpus.annotations["arousal"].to_numpy().reshape(20, -1).mean(1)[1:]
    sound = sound_of(tmp_path / "BMI" / "BMI.mp4")[: 40 * 16000].reshape(20, -1)[1:]
    assert np.corrcoef(np.log(sound.std(1)), arousal)[0, 1] > 0.8


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"n_films": 0}, "n_films"),
        ({"n_films": 13}, "n_films"),
        ({"seconds": 0.5}, "seconds"),
        ({"snr": {"smell": 1}}, "smell"),
        ({"snr": {"face": 0}}, "face"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_cognimuse(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_eimt16_is_written_in_the_official_layout(eimt16):
    root = eimt16[0]
    labels = (root / "MEDIAEVAL16-Global_prediction.txt").read_bytes()
    assert labels.startswith(b"MEDIAEVAL16_00000.mp4\t")
    assert labels.count(b"\r") == 3 and b"\n" not in labels  # four excerpts, no header
    assert (root / "annotations" / "ACCEDEsets.txt").read_bytes().startswith(b"id\tname\tset\r\n")
    assert (root / "ACCEDEdescription.xml").is_file()
    assert not (root / "annotations" / "ACCEDEdescription.xml").exists()
