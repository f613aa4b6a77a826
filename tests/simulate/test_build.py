"""Simulated corpora stand in the real layout, and a run that was killed is completed."""

import fcntl
import hashlib
import json
import signal
import subprocess
import sys

import av
import numpy as np
import pytest

from affectlib.corpora import CorpusFormatError
from affectlib.simulate import build, make_cognimuse, make_eimt16
from affectlib.simulate.liris_accede import source_film


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


def test_test_excerpts_of_eimt16_have_films_and_groups_of_their_own(eimt16):
    """Excerpts of one film share its look; no two test excerpts do, as no file could tell so."""
    clips = eimt16[1].clips.set_index("clip")
    test = clips[clips["split"] == "test"]
    assert test["group"].nunique() == len(test)
    films = {clip: source_film(clip) for clip in clips.index}
    assert len({films[clip] for clip in test.index}) == len(test)
    train = clips[clips["split"] == "train"]
    by_group = train["group"].groupby([films[clip] for clip in train.index]).nunique()
    assert by_group.tolist() == [1, 1, 1]


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


# Kills itself as soon as the first film is written.
KILLED = """
import os, signal, sys
from affectlib import simulate
from affectlib.simulate import cognimuse

write_file = cognimuse.write_file

def write_and_die(path, content):
    write_file(path, content)
    if path.name == "BMI.mp4":
        os.kill(os.getpid(), signal.SIGKILL)

cognimuse.write_file = write_and_die
simulate.make_cognimuse(sys.argv[1], n_films=2, seconds=12, seed=3, jobs=1)
"""


def test_a_killed_run_is_completed_to_the_same_files(cognimuse, tmp_path):
    root, _ = cognimuse
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "SIMULATED.json").exists()
    assert not (tmp_path / "LOR" / "LOR.mp4").exists()
    first = (tmp_path / "BMI" / "BMI.mp4").stat().st_mtime_ns
    make_cognimuse(tmp_path, n_films=2, seconds=12, seed=3, jobs=1)
    assert contents(tmp_path) == contents(root)
    assert (tmp_path / "BMI" / "BMI.mp4").stat().st_mtime_ns == first


def test_one_process_builds_a_corpus_at_a_time(tmp_path, monkeypatch):
    locked = []

    def try_lock(root):
        with build.lock_file(root).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def run_nothing(*_):
        locked.append((try_lock(tmp_path / "corpus"), try_lock(tmp_path / "other")))

    monkeypatch.setattr(build, "_run", run_nothing)
    nothing = build.no_tables
    build.build_corpus(tmp_path / "corpus", "cognimuse", {}, [], nothing, nothing, [], 1)
    # While it is built, others wait for this corpus, and not for another one.
    assert locked == [(False, True)]
    assert try_lock(tmp_path / "corpus")


def test_a_corpus_that_may_not_be_locked_is_built_all_the_same(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError("no locks available")

    built = []
    monkeypatch.setattr(build.fcntl, "flock", no_locks)
    monkeypatch.setattr(build, "_run", lambda *_: built.append(tmp_path / "corpus"))
    nothing = build.no_tables
    build.build_corpus(tmp_path / "corpus", "cognimuse", {}, [], nothing, nothing, [], 1)
    assert built == [tmp_path / "corpus"]


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
