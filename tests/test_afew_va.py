"""AFEW-VA: moods, changes, windows and folds over actors; the simulator."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from affectlib import paths
from affectlib.corpora import (
    Corpus,
    change_label,
    load_afew_va,
    mood_label,
    mood_windows,
    subject_folds,
    windows,
    with_mood,
)
from affectlib.simulate import make_afew_va

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*a part of the corpus"
)  # as small corpora of tests are

CLIPS = {"001": "Ann", "002": "Bob", "003": "Ann"}
FRAMES = 6


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return make_afew_va(tmp_path_factory.mktemp("afew") / "va", n_clips=40, frames=(6, 12), jobs=1)


def write(root, part=""):
    """Three clips of six frames each, clip and frame number in the colour, a face in the middle."""
    for clip, actor in CLIPS.items():
        folder = root / part / clip
        folder.mkdir(parents=True)
        frames = {}
        for i in range(FRAMES):
            picture = np.full((48, 60, 3), (0, 10 * i, 50 * int(clip)), np.uint8)
            picture[14:34, 20:40] = 255
            cv2.imwrite(str(folder / f"{i:05d}.png"), picture)
            points = [[20 + 19 * (n % 2), 14 + 19 * (n // 2 % 2)] for n in range(68)]
            frames[f"{i:05d}"] = {"landmarks": points, "arousal": 1, "valence": i - 2}
        (folder / f"{clip}.json").write_text(
            json.dumps({"actor": actor, "video_id": clip, "frames": frames})
        )
    return root


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "afew_va")


def slow_mood(valence):
    """Every run of equal values, one by one."""
    best = None
    for start in range(len(valence)):
        end = start
        while end < len(valence) and valence[end] == valence[start]:
            end += 1
        key = (end - start, valence.count(valence[start]), -start)
        if best is None or key > best[0]:
            best = (key, valence[start])
    return -1 if best[1] < -3 else 1 if best[1] > 3 else 0


def test_mood_is_the_longest_run_written_out():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = np.repeat(rng.integers(-6, 7, 6), rng.integers(1, 4, 6)).tolist()
        assert mood_label(values) == slow_mood(values)


@pytest.mark.parametrize(
    ("values", "rule", "mood"),
    [
        ([5, 5, 0, 0, 5], "longest_run", 1),  # runs of two: 5 has more frames in all
        ([0, 0, 5, 5], "longest_run", 0),  # nothing between them: the earlier
        ([0, 0, 0, 5, 1, 5, 2, 5, 5], "longest_run", 0),
        ([0, 0, 0, 5, 1, 5, 2, 5, 5], "mode", 1),
        ([0, 5, 5, 0], "mode", 0),
        ([4, 5, 6, 0, 0], "longest_run", 0),
        ([4, 5, 6, 0, 0], "class_run", 1),
        ([-3], "longest_run", 0),
        ([-4], "class_run", -1),
        ([3], "mode", 0),
        ([4], "mode", 1),
    ],
)
def test_mood_rules(values, rule, mood):
    assert mood_label(values, rule=rule) == mood


def test_change_is_the_sign_of_the_difference():
    values = np.random.default_rng(1).integers(-10, 11, 30)
    for k in (2, 5, 9):
        expected = [int(np.sign(values[t] - values[t - k + 1])) for t in range(k - 1, 30)]
        assert change_label(values, k).tolist() == expected


def test_windows_of_numbers_with_gaps():
    numbers = [0, 1, 2, 3, 7, 8, 9, 11]
    expected = [
        i for i in range(6) if numbers[i : i + 3] == list(range(numbers[i], numbers[i] + 3))
    ]
    assert windows(numbers, 3).tolist() == expected == [0, 1, 4]
    assert windows(10, 3).tolist() == list(range(8)) and windows(4, 5).tolist() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: mood_label([]),
        lambda: mood_label([1, np.nan]),
        lambda: mood_label([1], rule="loudest"),
        lambda: change_label([1, 2], 1),
        lambda: change_label([1, 2], 3),
        lambda: windows([3, 2], 2),
        lambda: windows(3, 0),
    ],
)
def test_labels_refuse_nonsense(call):
    with pytest.raises(ValueError):
        call()


def test_a_gap_breaks_a_window_and_shifts_none(root):
    (root / "001/00002.png").unlink()
    edit(root / "001/001.json", lambda c: c["frames"].pop("00002"))
    edit(root / "003/003.json", lambda c: c["frames"]["00000"].update(landmarks=None))
    corpus = with_mood(load_afew_va(root))
    table = mood_windows(corpus, 3)
    first = corpus.annotations.iloc[table["start"]]
    assert first["clip"].tolist() == table["clip"].tolist()
    assert first["frame"].tolist() == [3, *range(4), *range(4)]
    for start in table["start"]:
        rows = corpus.annotations.iloc[start : start + 3]
        assert rows["clip"].nunique() == 1 and rows["frame"].diff()[1:].eq(1).all()
    assert table["change"].eq(1).all() and table["mood"].eq(0).all()
    assert len(mood_windows(corpus, 3, landmarks=True)) == len(table) - 1


def test_simulated_corpus_is_read_back(simulated):
    counts = with_mood(simulated).clips["mood"].value_counts()
    assert simulated.simulated and len(simulated) == 40
    assert counts.to_dict() == {0: 27, -1: 9, 1: 4}  # 59 : 400 : 141 of 600
    lengths = simulated.annotations.groupby("clip")["frame"].max() + 1
    assert lengths.between(6, 12).all() and simulated.clips["group"].nunique() == 16
    boxes = simulated.annotations[["left", "top", "right", "bottom"]].dropna().to_numpy()
    assert (boxes[:, :2] > -20).all() and ((boxes[:, 2:] - boxes[:, :2]) > 30).all()


def test_simulated_landmarks_lie_on_the_face(simulated):
    from affectlib.simulate.afew_va import SIZE, landmarks
    from affectlib.simulate.face import Actor, draw_face

    actor, pose = (
        Actor.draw(np.random.default_rng(0)),
        {"centre": (90, 72), "size": 80, "yaw": 0.1, "roll": 0.05},
    )
    picture = np.zeros((*SIZE[::-1], 3), np.uint8)
    draw_face(picture, actor, {12: 1.0, 25: 0.8}, **pose)
    points = landmarks(actor, {12: 1.0, 25: 0.8}, **pose)
    assert points.shape == (68, 2)
    inside = np.rint(points[17:]).astype(int)
    assert (picture[inside[:, 1], inside[:, 0]].sum(1) > 0).all()
    mouth, brows = points[48:68].mean(0), points[17:27].mean(0)
    assert mouth[1] > points[30, 1] > brows[1] and points[36, 0] < points[45, 0]


def test_simulation_repeats_and_is_completed_to_the_same_bytes(tmp_path):
    options = {"n_clips": 10, "frames": (5, 6), "jobs": 1, "seed": 3}
    make_afew_va(tmp_path / "a", **options)
    make_afew_va(tmp_path / "b", **options)
    (tmp_path / "b/004/00002.png").unlink()
    make_afew_va(tmp_path / "b", **options)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert all(
        (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        for name in files
    )
    with pytest.raises(ValueError, match="clips"):
        make_afew_va(tmp_path / "c", n_clips=1)


def corpus_of(moods, actors):
    clips = pd.DataFrame(
        {
            "clip": [f"{i:03d}" for i in range(len(moods))],
            "path": "",
            "group": actors,
            "split": "",
            "seconds": 1.0,
            "mood": moods,
        }
    )
    rows = pd.DataFrame({"clip": [], "time": [], "valence": [], "arousal": []})
    return Corpus("toy", clips, rows, (), (-10, 10), 25.0, "", "", True)


@pytest.fixture(scope="module")
def toy():
    rng = np.random.default_rng(0)
    return corpus_of(
        rng.permutation(np.repeat([-1, 0, 1], [28, 80, 12])),
        [f"A{i}" for i in rng.integers(0, 48, 120)],
    )


def test_no_actor_in_two_folds_and_every_clip_tested_once(toy):
    folds = subject_folds(toy)
    groups, moods = toy.clips["group"].to_numpy(), toy.clips["mood"].to_numpy()
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(120))
    for fold in folds:
        sides = [set(groups[part]) for part in (fold.train, fold.validation, fold.test)]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        assert len(fold.train) + len(fold.validation) + len(fold.test) == 120
        share = [np.mean(moods[fold.test] == mood) for mood in (-1, 0, 1)]
        assert share == pytest.approx([28 / 120, 80 / 120, 0.1], abs=0.12)


def test_folds_are_frozen_with_the_corpus(toy, tmp_path, monkeypatch):
    drawn = subject_folds(toy, folder=tmp_path)
    monkeypatch.setattr(
        "sklearn.model_selection.StratifiedGroupKFold", None
    )  # cannot draw any more
    again = subject_folds(toy, folder=tmp_path)
    assert all(
        (a.test == b.test).all() and (a.train == b.train).all()
        for a, b in zip(drawn, again, strict=True)
    )
    (file,) = tmp_path.iterdir()
    edit(file, lambda content: content.update(corpus="another"))
    with pytest.raises(ValueError, match="another corpus"):
        subject_folds(toy, folder=tmp_path)
    with pytest.raises(TypeError):  # other moods: another file, to be drawn
        subject_folds(corpus_of(-toy.clips["mood"].to_numpy(), toy.clips["group"]), folder=tmp_path)


def test_committed_folds_hold_every_actor_once():
    files = sorted((paths.ROOT / "notebooks" / "folds").glob("folds_afew_va_*.json"))
    assert files
    for content in (json.loads(file.read_text()) for file in files):
        actors = [actor for fold in content["folds"] for actor in fold]
        assert len(content["folds"]) == 5 and len(set(actors)) == len(actors) >= 40
    assert all(
        file.name.split("_")[3] == json.loads(file.read_text())["corpus"][:8] for file in files
    )


def test_folds_need_actors():
    with pytest.raises(ValueError, match="2 actors"):
        subject_folds(corpus_of([0, 0, 1], ["A", "B", "A"]))


def test_fewer_clips_in_the_same_folder_leave_no_empty_ones(tmp_path):
    from affectlib.simulate import make_afew_va

    make_afew_va(tmp_path / "c", n_clips=11, frames=(3, 4), jobs=1)
    assert len(make_afew_va(tmp_path / "c", n_clips=10, frames=(3, 4), jobs=1)) == 10
    assert not (tmp_path / "c" / "011").exists()
