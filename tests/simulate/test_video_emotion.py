"""The simulators of HEIV, Ekman-6 and VideoEmotion-8: their files, faces, scenes and truth."""

import hashlib
import itertools
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from affectlib.corpora import load_heiv, official_split, segments
from affectlib.errors import NotFoundError
from affectlib.features import extract
from affectlib.features.faces import blocks, people
from affectlib.models.caan import follow
from affectlib.simulate import make_ekman6, make_heiv, make_videoemotion8
from affectlib.simulate.video_emotion import (
    DIM,
    EMFACS,
    FACES,
    SCENES,
    SNR,
    Shot,
    _pictures,
    _units,
    read_truth,
    shots,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*a part of the corpus"
)  # as small corpora of tests are


@pytest.fixture(scope="module")
def heiv(tmp_path_factory):
    root = tmp_path_factory.mktemp("heiv")
    return root, make_heiv(root, n_clips=32, seconds=(2.0, 4.0), seed=5, jobs=1)


def test_heiv_has_the_real_proportions(heiv):
    root, corpus = heiv
    counts = corpus.clips["emotion"].value_counts()
    assert corpus.simulated
    assert len(corpus) == 32
    assert counts.index[0] == "joy"
    assert counts.min() >= 2
    table = corpus.clips.groupby("emotion")["split"].value_counts().unstack()
    assert (table > 0).all(axis=None)
    assert table["train"].sum() / 32 == pytest.approx(0.6, abs=0.1)
    (fold,) = official_split(corpus)
    assert len(fold.test) == table["test"].sum()
    assert (root / corpus.clips["split"][0] / f"{corpus.clips['clip'][0]}.mp4").is_file()
    with av.open(corpus.clips["path"][0]) as video:
        stream = video.streams.video[0]
        assert (
            stream.codec_context.name,
            stream.width,
            stream.height,
            float(stream.average_rate),
        ) == ("h264", 320, 180, 4.0)


@pytest.mark.parametrize(
    ("make", "per_class"), [(make_ekman6, {4}), (make_videoemotion8, {4, 5, 6, 7})]
)
def test_the_others_are_read_back_with_their_splits(make, per_class, tmp_path):
    corpus = make(tmp_path, n_clips=24 if make is make_ekman6 else 40, seconds=(1.0, 1.0), jobs=1)
    assert set(corpus.clips["emotion"].value_counts()) <= per_class | {3}
    assert corpus.skipped == ()
    if make is make_ekman6:
        assert corpus.clips["clip"][0] == "anger/1000"
        assert corpus.clips["split"].value_counts()["train"] == 12
        assert (tmp_path / "trainlist01.txt").read_text().splitlines()[0].startswith("anger/100")
        return
    splits = corpus.clips.filter(like="split_")
    assert splits.shape == (40, 10)
    assert set(splits.to_numpy().ravel()) == {"train", "test"}
    assert ((splits == "train").mean() - 2 / 3).abs().max() < 0.1
    assert len(set(map(tuple, splits.T.to_numpy()))) == 10
    assert corpus.clips["clip"].str.split("/").str[1].duplicated().any()


def hashes(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_files_depend_on_the_seed_not_on_jobs_and_are_mended(heiv, tmp_path):
    root, corpus = heiv
    whole = hashes(root)
    Path(corpus.clips["path"][3]).unlink()
    make_heiv(root, n_clips=32, seconds=(2.0, 4.0), seed=5, jobs=1)
    assert hashes(root) == whole
    few = {"n_clips": 24, "seconds": (1.0, 1.0)}
    make_ekman6(tmp_path / "two", jobs=2, **few)
    make_ekman6(tmp_path / "one", jobs=1, **few)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    make_ekman6(tmp_path / "two", jobs=1, seed=1, **few)
    assert not set(hashes(tmp_path / "one").values()) & set(hashes(tmp_path / "two").values())


def test_no_loader_reads_the_truth(heiv, tmp_path):
    root, corpus = heiv
    shutil.copytree(root, tmp_path / "copy")
    (tmp_path / "copy" / "truth.csv").write_bytes(b"\xff nonsense")
    again = load_heiv(tmp_path / "copy")
    assert again.clips.drop(columns="path").equals(corpus.clips.drop(columns="path"))
    with pytest.raises(NotFoundError, match=r"truth\.csv"):
        read_truth(tmp_path)


def test_truth_has_a_row_for_every_half_second(heiv):
    root, corpus = heiv
    truth, parts = read_truth(root), segments(corpus, seconds=0.5)
    known = set(zip(truth["clip"], truth["time"], strict=True))
    assert set(zip(parts.clips["source"], parts.clips["start"], strict=True)) <= known
    assert len(known) == len(truth)
    assert set(truth["face"]) == set(FACES)
    assert set(truth["telling"]) == {0, 1}
    frontal, absent = truth["face"] == "frontal", truth["face"] == "none"
    assert truth.loc[frontal, "expressive"].between(0.5, 1).all()
    assert (truth.loc[absent, "expressive"] == 0).all()
    assert truth.loc[~frontal, "expressive"].max() <= 0.25
    assert (truth["left"].isna() == absent).all()


def test_the_main_person_is_found_and_followed_where_the_truth_says(heiv):
    root, corpus = heiv
    parts = segments(corpus, seconds=0.5)
    found = blocks(extract(parts, (people(),), progress=False, jobs=1)["people"])
    truth = read_truth(root).set_index(["clip", "time"])
    truth = truth.loc[
        list(zip(parts.clips["source"], parts.clips["start"], strict=True))
    ].reset_index()
    main = np.full(len(parts), -1)
    for rows in parts.clips.groupby("source").indices.values():
        main[rows] = follow(found[rows])
    box = found[np.arange(len(parts)), np.maximum(main, 0), :4]
    middle = box[:, 0] + box[:, 2] / 2 - (truth["left"] + truth["width"] / 2).to_numpy()
    right = (main >= 0) & (np.abs(middle) < 0.12)
    for face in ("frontal", "small", "turned", "covered"):
        assert right[truth["face"] == face].mean() > (
            0.95 if face in ("frontal", "small") else 0.85
        ), face
    assert (main[truth["face"] == "none"] >= 0).mean() < 0.1
    assert 0.1 < (found[:, 1, 2] > 0).mean() < 0.6, "bystanders are seen as well"
    small = truth["face"] == "small"
    assert box[small & right, 2].mean() < 0.8 * box[(truth["face"] == "frontal") & right, 2].mean()


def test_shots_fill_the_video_and_one_is_frontal():
    drawn = [
        shots(seconds, np.random.default_rng(seed)) for seed in range(200) for seconds in (1.0, 5.3)
    ]
    for plan in drawn:
        assert plan[0].start == 0
        assert plan[-1].stop in (4, 21)
        assert all(a.stop == b.start for a, b in itertools.pairwise(plan))
        kinds = {shot.face for shot in plan}
        assert "frontal" in kinds or (
            kinds == {"none"} and not any(shot.bystander for shot in plan)
        )
    lengths = [shot.stop - shot.start for plan in drawn[1::2] for shot in plan]
    assert min(lengths) >= 2
    assert max(lengths) <= 10
    assert 0.01 < np.mean([{shot.face for shot in plan} == {"none"} for plan in drawn]) < 0.09


def test_a_frontal_face_shows_its_units_and_a_hidden_one_others():
    def mean(face, expressive, emotion):
        shot = Shot(0, 12, face, expressive, True, False, (160, 90), 100.0, 0.0)
        rng = np.random.default_rng(0)
        drawn = [_units(emotion, shot, 4.0, rng) for _ in range(200)]
        return {unit: np.mean([units[unit] for units in drawn]) for unit in drawn[0]}

    for emotion, own in EMFACS.items():
        frontal, turned = mean("frontal", 0.9, emotion), mean("turned", 0.1, emotion)
        strength = 0.5 if emotion == "trust" else 0.6 if emotion == "anticipation" else 1.0
        for unit in own:
            assert frontal[unit] > 0.6 * strength
            assert frontal[unit] > turned[unit] + 0.1
        assert all(frontal[unit] < 0.25 for unit in frontal if unit not in own)


# what can be planted


def planted(telling, *, seconds=5.0, videos=100):
    plans = [shots(seconds, np.random.default_rng(seed), telling) for seed in range(videos)]
    return plans, [shot for plan in plans for shot in plan]


def test_planted_shots_tell_where_they_are_lit_or_everywhere():
    plans, every = planted("lit")
    assert all(shot.telling == shot.lit == (not shot.misleads) for shot in every)
    assert all(len({shot.lit for shot in plan}) == 2 for plan in plans), "both kinds in a video"
    assert {shot.face for shot in every} == {"frontal"}
    assert all((shot.expressive >= 0.8) == shot.telling for shot in every)
    controls, of_control = planted("all")
    assert all(shot.telling and not shot.misleads for shot in of_control)
    assert [[shot.lit for shot in plan] for plan in controls] == [
        [shot.lit for shot in plan] for plan in plans
    ], "the light falls in the same way"


def test_a_misleading_face_shows_the_wrong_category_and_nothing_of_the_right_one():
    shot = Shot(
        0, 12, "frontal", 0.0, False, False, (160, 90), 100.0, 0.0, lit=False, misleads=True
    )
    rng = np.random.default_rng(0)
    drawn = [_units("joy", shot, 50.0, rng) for _ in range(100)]
    means = {unit: np.mean([units[unit] for units in drawn]) for unit in drawn[0]}
    assert all((means[unit] > 0.7) == (unit in EMFACS["joy"]) for unit in means)


def test_scenes_of_planted_shots_tell_nothing_but_the_light():
    def scene(emotion, lit, seed):
        shot = Shot(0, 1, "none", 0.0, True, False, (160, 90), 100.0, 0.0, lit=lit)
        rng = np.random.default_rng(seed)
        return next(_pictures([shot], emotion, SNR, rng, planted=True)).astype(float)

    for seed in range(3):
        lit, dim = scene("joy", True, seed), scene("joy", False, seed)
        assert dim.mean() / lit.mean() == pytest.approx(DIM, abs=0.02)
    # A video is planted or not: with the same draws, the scene does not know the category.
    colours = [[scene(name, True, [i, 7]).mean((0, 1)) for i in range(40)] for name in SCENES]
    means = np.mean(colours, axis=1)  # (categories, 3)
    within = np.std(colours, axis=1).mean() / np.sqrt(40)
    assert means.std(0).mean() < 2.5 * within


def test_a_planted_corpus_names_light_and_telling_in_its_truth(tmp_path):
    for telling in ("lit", "all"):
        root = tmp_path / telling
        make_heiv(root, n_clips=28, seconds=(2.0, 2.0), telling=telling, jobs=1)
        truth = read_truth(root)
        assert set(truth["lit"]) == {0, 1}
        expected = truth["lit"] if telling == "lit" else 1
        assert (truth["telling"] == expected).all()
        assert ((truth["expressive"] > 0) == (truth["telling"] == 1)).all()


def test_telling_scenes_of_one_category_are_alike():
    def scene(emotion, telling, seed):
        shot = Shot(0, 1, "none", 0.0, telling, False, (160, 90), 100.0, 0.0)
        picture = next(
            _pictures([shot], emotion, SNR | {"scene": 50.0}, np.random.default_rng(seed))
        )
        return picture.reshape(-1, 3).mean(0)

    for telling, wanted in ((True, True), (False, False)):
        colours = np.array(
            [
                [scene(emotion, telling, [i, k]) for i in range(12)]
                for k, emotion in enumerate(("joy", "sadness", "disgust"))
            ]
        )  # (emotions, scenes, 3)
        between, within = colours.mean(1).std(0).mean(), colours.std(1).mean()
        assert (between > within) == wanted


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (make_heiv, {"n_clips": 27}, "at least 28"),
        (make_ekman6, {"n_clips": 23}, "at least 24"),
        (make_videoemotion8, {"seconds": (0.5, 2)}, "seconds"),
        (make_heiv, {"snr": {"sound": 1}}, "not sound"),
        (make_heiv, {"snr": {"face": 0}}, "face"),
        (make_heiv, {"telling": "dim"}, "lit, all, not 'dim'"),
    ],
)
def test_bad_arguments_are_named(make, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **options)
    assert not list(tmp_path.iterdir())
