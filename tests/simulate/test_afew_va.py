"""The simulator of AFEW-VA: moods, faces, landmarks, and the same bytes again."""

import numpy as np
import pytest

from affectlib.corpora import frame_array, with_mood
from affectlib.corpora.labels import mood_label
from affectlib.models.mood_change import change_label
from affectlib.simulate import make_afew_va
from affectlib.simulate.afew_va import SIZE, _draw_course, landmarks
from affectlib.simulate.face import Actor, draw_face


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return make_afew_va(tmp_path_factory.mktemp("afew") / "va", n_clips=40, frames=(6, 12), jobs=1)


def test_simulated_corpus_is_read_back(simulated):
    counts = with_mood(simulated).clips["mood"].value_counts()
    assert simulated.simulated
    assert len(simulated) == 40
    assert counts.to_dict() == {0: 27, -1: 9, 1: 4}  # 59 : 400 : 141 of 600
    lengths = simulated.annotations.groupby("clip")["frame"].max() + 1
    assert lengths.between(6, 12).all()
    assert simulated.clips["group"].nunique() == 16
    boxes = simulated.annotations[["left", "top", "right", "bottom"]].dropna().to_numpy()
    assert (boxes[:, :2] > -20).all()
    assert ((boxes[:, 2:] - boxes[:, :2]) > 30).all()


def test_simulated_landmarks_lie_on_the_face(simulated):
    actor = Actor.draw(np.random.default_rng(0))
    pose = {"centre": (90, 72), "size": 80, "yaw": 0.1, "roll": 0.05}
    picture = np.zeros((*SIZE[::-1], 3), np.uint8)
    draw_face(picture, actor, {12: 1.0, 25: 0.8}, **pose)
    points = landmarks(actor, {12: 1.0, 25: 0.8}, **pose)
    assert points.shape == (68, 2)
    inside = np.rint(points[17:]).astype(int)
    assert (picture[inside[:, 1], inside[:, 0]].sum(1) > 0).all()
    mouth, brows = points[48:68].mean(0), points[17:27].mean(0)
    assert mouth[1] > points[30, 1] > brows[1]
    assert points[36, 0] < points[45, 0]


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


def test_fewer_clips_in_the_same_folder_leave_no_empty_ones(tmp_path):
    make_afew_va(tmp_path / "c", n_clips=11, frames=(3, 4), jobs=1)
    assert len(make_afew_va(tmp_path / "c", n_clips=10, frames=(3, 4), jobs=1)) == 10
    assert not (tmp_path / "c" / "011").exists()


def changes_by_mood(*, change_tells):
    """Share of falling, steady and rising windows of 5 in clips of 40 frames, by mood."""
    rng = np.random.default_rng(0)
    shares = {}
    for mood in (-1, 0, 1):
        changes = []
        for _ in range(150):
            valence = _draw_course(list(range(40)), mood, rng, change_tells)[2][:, 0]
            assert mood_label(valence) == mood
            assert np.abs(valence).max() <= 10
            changes.append(change_label(valence, 5))
        changes = np.concatenate(changes)
        shares[mood] = np.array([(changes == sign).mean() for sign in (-1, 0, 1)])
    return shares


def test_direction_of_change_tells_the_mood_where_planted():
    shares = changes_by_mood(change_tells=True)
    assert shares[-1][0] > 0.55 and shares[-1][2] < 0.36
    assert shares[1][2] > 0.55 and shares[1][0] < 0.36
    assert shares[0][1] > 0.6 and abs(shares[0][0] - shares[0][2]) < 0.05


def test_change_is_the_same_in_every_mood_where_it_is_not_planted():
    shares = changes_by_mood(change_tells=False)
    for mood in (-1, 1):
        assert np.abs(shares[mood] - shares[0]).max() < 0.05
    assert shares[0].min() > 0.2


@pytest.mark.parametrize("change_seen", [True, False])
def test_pictures_follow_valence_only_where_planted(tmp_path, change_seen):
    corpus = make_afew_va(
        tmp_path / "va", n_clips=12, frames=(12, 16), jobs=1, change_seen=change_seen
    )
    light = frame_array(corpus).mean((1, 2, 3))
    valence = corpus.annotations["valence"].to_numpy()
    clip = corpus.annotations["clip"].to_numpy()
    same_clip = clip[4:] == clip[:-4]
    steps = (light[4:] - light[:-4])[same_clip]
    change = (valence[4:] - valence[:-4])[same_clip]
    correlation = np.corrcoef(steps, change)[0, 1]
    assert correlation > 0.8 if change_seen else abs(correlation) < 0.2
