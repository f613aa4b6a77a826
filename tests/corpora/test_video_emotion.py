"""HEIV, Ekman-6, VideoEmotion-8: what stands in the folders is read, every damage has a name; the simulated videos."""

import hashlib
import itertools
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from affectlib.corpora import (
    EKMAN6_CLASSES,
    HEIV_CLASSES,
    VIDEOEMOTION8_CLASSES,
    CorpusFormatError,
    CorpusNotFoundError,
    load_ekman6,
    load_heiv,
    load_videoemotion8,
    official_split,
    segments,
)
from affectlib.features import extract
from affectlib.features.faces import blocks, follow, people
from affectlib.simulate import make_ekman6, make_heiv, make_videoemotion8
from affectlib.simulate.video_emotion import (
    EMFACS,
    FACES,
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

LOADERS = {
    "heiv": (load_heiv, HEIV_CLASSES),
    "ekman6": (load_ekman6, EKMAN6_CLASSES),
    "videoemotion8": (load_videoemotion8, VIDEOEMOTION8_CLASSES),
}
PER_CLASS = 4  # videos 1 to 4 of every class; the first two train


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """Bytes of a video of one second."""
    path = tmp_path_factory.mktemp("film") / "one.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), dtype=np.uint8)
        for packet in [
            *(stream.encode(av.VideoFrame.from_ndarray(one, format="rgb24")) for one in noise),
            stream.encode(),
        ]:
            container.mux(packet)
    return path.read_bytes()


def write(name, root, film):
    _, classes = LOADERS[name]
    for emotion in classes:
        for i in range(1, PER_CLASS + 1):
            part = ("train" if i < 3 else "test") if name == "heiv" else ""
            (root / part / emotion).mkdir(parents=True, exist_ok=True)
            (root / part / emotion / f"{i}.mp4").write_bytes(film)
    for number in {"heiv": [], "ekman6": [""], "videoemotion8": [f"{k:02d}" for k in range(1, 11)]}[
        name
    ]:
        rows = [
            f"{emotion}/{i} {1 + classes.index(emotion)}"
            for emotion in classes
            for i in range(1, PER_CLASS + 1)
        ]
        train = [row for row in rows if row.split()[0][-1] in "12"]
        test = [row.split()[0] for row in rows if row not in train]
        (root / f"trainlist{number}.txt").write_text("\n".join(train))
        (root / f"testlist{number}.txt").write_text("\n".join(test) + "\n")
    return root


@pytest.fixture(params=LOADERS)
def name(request):
    return request.param


@pytest.fixture
def root(name, film, tmp_path):
    return write(name, tmp_path / name, film)


@pytest.fixture
def ekman6(film, tmp_path):
    return write("ekman6", tmp_path / "ekman6", film)


def folder(root, name, emotion):
    return root / ("train" if name == "heiv" else "") / emotion


def test_reads_the_real_layout(name, root):
    load, classes = LOADERS[name]
    corpus = load(root)
    assert sorted(corpus.clips["clip"]) == sorted(
        f"{c}/{i}" for c in classes for i in range(1, PER_CLASS + 1)
    )
    assert (corpus.clips["emotion"] == corpus.clips["clip"].str.split("/").str[0]).all()
    assert (corpus.clips["group"] == corpus.clips["clip"]).all() and corpus.clips[
        "seconds"
    ].between(0.9, 1.1).all()
    assert all(
        Path(path).parts[-2:] == (clip.split("/")[0], clip.split("/")[1] + ".mp4")
        for clip, path in zip(corpus.clips["clip"], corpus.clips["path"], strict=True)
    )
    split = corpus.clips["split_10" if name == "videoemotion8" else "split"]
    assert (split == np.where(corpus.clips["clip"].str[-1].isin(["1", "2"]), "train", "test")).all()
    assert (
        corpus.labels == classes
        and corpus.value_range == (0, len(classes) - 1)
        and corpus.annotations.empty
    )
    assert not corpus.simulated and corpus.skipped == ()


def test_ten_splits_of_their_own(film, tmp_path):
    root = write("videoemotion8", tmp_path, film)
    (root / "trainlist03.txt").write_text("Anger/3 1\nTrust/4.mp4 8\n")
    (root / "testlist03.txt").write_text("Joy/1\n")
    clips = load_videoemotion8(root).clips.set_index("clip")
    assert clips["split_03"].to_dict() == dict.fromkeys(clips.index, "") | {
        "Anger/3": "train",
        "Trust/4": "train",
        "Joy/1": "test",
    }
    assert (
        clips["split_04"].value_counts().to_dict() == {"train": 16, "test": 16}
        and (clips["split"] == "").all()
    )
    (root / "testlist07.txt").unlink()
    with pytest.raises(
        CorpusFormatError, match=r"testlist07\.txt: expected this list beside trainlist07\.txt"
    ):
        load_videoemotion8(root)


def test_lists_may_lie_one_folder_below(ekman6):
    (ekman6 / "splits").mkdir()
    for part in ("train", "test"):
        shutil.move(ekman6 / f"{part}list.txt", ekman6 / "splits" / f"{part}list01.txt")
    assert load_ekman6(ekman6).clips["split"].value_counts().to_dict() == {"train": 12, "test": 12}


def test_missing_corpus_says_where_to_ask(name, tmp_path):
    load, classes = LOADERS[name]
    for place in ("nowhere", "."):
        with pytest.raises(CorpusNotFoundError, match=f"looked for .*{classes[0]}.*Ask for it"):
            load(tmp_path / place)


@pytest.mark.parametrize("emptied", [True, False])
def test_a_class_without_videos_is_named(name, root, emptied):
    load, classes = LOADERS[name]
    place = folder(root, name, classes[2])
    shutil.rmtree(place)
    if emptied:
        place.mkdir()
    with pytest.raises(
        CorpusFormatError, match=f"expected this folder with the videos of {classes[2]}"
    ) as caught:
        load(root)
    assert caught.value.path == place
    corpus = load(root, on_error="skip")
    assert (corpus.clips["emotion"] == classes[2]).sum() == (2 if name == "heiv" else 0)
    assert any(
        message.endswith("found none") and classes[2] in message for message in corpus.skipped
    )


def test_one_key_twice_is_an_error_one_name_in_two_classes_is_not(name, root):
    load, classes = LOADERS[name]
    place = folder(root, name, classes[1]) / "1"
    shutil.copy(place.with_suffix(".mp4"), place.with_suffix(".avi"))
    with pytest.raises(
        CorpusFormatError, match=f"expected each clip once, found {classes[1]}/1 also as"
    ):
        load(root)
    corpus = load(root, on_error="skip")
    assert len(corpus) == PER_CLASS * len(classes) - 1 and corpus.skipped[0].startswith(
        f"{classes[1]}/1: "
    )


def test_a_name_in_both_sets_of_heiv_is_an_error(film, tmp_path):
    root = write("heiv", tmp_path, film)
    (root / "test/joy/1.mp4").write_bytes(film)
    with pytest.raises(CorpusFormatError, match=r"found joy/1 also as .*train.*joy.1\.mp4"):
        load_heiv(root)


@pytest.mark.parametrize(
    "damage",
    [lambda film: b"", lambda film: film[: len(film) // 2], lambda film: b"no film " * 99],
    ids=["empty", "cut", "other"],
)
def test_a_damaged_video_is_named_or_skipped(name, root, film, damage):
    load, classes = LOADERS[name]
    path = folder(root, name, classes[0]) / "2.mp4"
    path.write_bytes(damage(film))
    with pytest.raises(CorpusFormatError) as caught:
        load(root)
    assert caught.value.path == path
    corpus = load(root, on_error="skip")
    assert len(corpus) == PER_CLASS * len(classes) - 1 and len(corpus.skipped) == 1
    with pytest.raises(ValueError, match="ignore"):
        load(root, on_error="ignore")


def replaced(old, new):
    return lambda text: text.replace(old, new)


LIST_DAMAGE = {  # list, what is done to it, row, message, the clip lost
    "names a missing video": (
        "train",
        replaced("fear/1 ", "fear/9 "),
        5,
        "a video .* none for fear/9",
        "fear/1",
    ),
    "unknown class": (
        "train",
        replaced("fear/1", "dread/1"),
        5,
        "a video .* none for dread/1",
        "fear/1",
    ),
    "row cut": (
        "train",
        replaced("fear/1 3", "fear/1"),
        5,
        "expected 'class/video number', found 'fear/1'",
        "fear/1",
    ),
    "text for a number": (
        "train",
        replaced("fear/1 3", "fear/1 fear"),
        5,
        "expected 'class/video number'",
        "fear/1",
    ),
    "a column too many": (
        "test",
        replaced("fear/3", "fear/3 3 3"),
        5,
        "expected 'class/video', found",
        "fear/3",
    ),
    "another class's number": (
        "train",
        replaced("fear/2 3", "fear/2 4"),
        6,
        "expected the number 3",
        "fear/2",
    ),
    "row twice": (
        "train",
        replaced("fear/1 3", "fear/1 3\nfear/1 3"),
        6,
        "once in the lists",
        "fear/1",
    ),
    "in both lists": (
        "test",
        replaced("fear/3", "fear/1\nfear/3"),
        5,
        "once in the lists",
        "fear/1",
    ),
    "row missing": (
        "train",
        replaced("fear/1 3\n", ""),
        None,
        "expected a row for fear/1",
        "fear/1",
    ),
}


@pytest.mark.parametrize(
    ("part", "change", "row", "message", "lost"), LIST_DAMAGE.values(), ids=LIST_DAMAGE
)
def test_a_damaged_list_is_named_by_row_or_its_video_skipped(
    ekman6, part, change, row, message, lost
):
    path = ekman6 / f"{part}list.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(CorpusFormatError, match=message) as caught:
        load_ekman6(ekman6)
    assert (caught.value.path, caught.value.row) == (path, row)
    corpus = load_ekman6(ekman6, on_error="skip")
    assert len(corpus) == 23 and lost not in set(corpus.clips["clip"])
    assert all("fear" in text or "dread" in text for text in corpus.skipped)


def test_two_classes_with_one_number_are_refused(ekman6):
    path = ekman6 / "trainlist.txt"
    path.write_text(path.read_text().replace("/1 3", "/1 2").replace("/2 3", "/2 2"))
    with pytest.raises(
        CorpusFormatError, match="another number than 2, which is that of disgust"
    ) as caught:
        load_ekman6(ekman6)
    assert (caught.value.path, caught.value.row) == (path, 5)
    kept = set(load_ekman6(ekman6, on_error="skip").clips["clip"])
    assert len(kept) == 22 and not {"fear/1", "fear/2"} & kept


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x81" * 9])
def test_a_list_that_is_no_text_is_refused(ekman6, content):
    (ekman6 / "testlist.txt").write_bytes(content)
    with pytest.raises(CorpusFormatError, match=r"testlist\.txt"):
        load_ekman6(ekman6, on_error="skip")


def test_segments_carry_the_class_and_the_splits(film, tmp_path):
    corpus = load_videoemotion8(write("videoemotion8", tmp_path, film))
    parts = segments(corpus, seconds=0.4)
    assert (
        parts.clips["start"].tolist() == [0.0, 0.4] * len(corpus)
        and (parts.clips["seconds"] == 0.4).all()
    )
    assert parts.clips["source"].tolist() == np.repeat(corpus.clips["clip"], 2).tolist()
    assert parts.clips["clip"][1] == "Anger/1:0001"
    whole = corpus.clips.set_index("clip").loc[parts.clips["source"]]
    for column in ("path", "group", "split", "emotion", *(f"split_{k:02d}" for k in range(1, 11))):
        assert parts.clips[column].tolist() == whole[column].tolist()
    assert len(segments(corpus, parts=3)) == 3 * len(corpus)
    with pytest.raises(ValueError, match="positive"):
        segments(corpus, seconds=0)


def test_a_video_of_one_frame_without_a_face_is_one_row_of_absence(ekman6):
    for path in ekman6.rglob("*.mp4"):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=12)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            for packet in [stream.encode(frame), stream.encode()]:
                container.mux(packet)
    parts = segments(load_ekman6(ekman6), seconds=0.5)
    assert (
        len(parts) == 24
        and (parts.clips["start"] == 0).all()
        and (parts.clips["seconds"] < 0.5).all()
    )
    table = extract(parts.select([0, 1]), (people(),), progress=False, jobs=1)
    assert (table["people"] == 0).all() and follow(blocks(table["people"])).tolist() == [-1, -1]


# simulated videos


@pytest.fixture(scope="module")
def heiv(tmp_path_factory):
    root = tmp_path_factory.mktemp("heiv")
    return root, make_heiv(root, n_clips=32, seconds=(2.0, 4.0), seed=5, jobs=1)


def test_heiv_has_the_real_proportions(heiv):
    root, corpus = heiv
    counts = corpus.clips["emotion"].value_counts()
    assert corpus.simulated and len(corpus) == 32 and counts.index[0] == "joy" and counts.min() >= 2
    table = corpus.clips.groupby("emotion")["split"].value_counts().unstack()
    assert (table > 0).all(axis=None) and table["train"].sum() / 32 == pytest.approx(0.6, abs=0.1)
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
        ) == ("h264", 320, 180, 12.5)


@pytest.mark.parametrize(
    ("make", "per_class"), [(make_ekman6, {4}), (make_videoemotion8, {4, 5, 6, 7})]
)
def test_the_others_are_read_back_with_their_splits(make, per_class, tmp_path):
    corpus = make(tmp_path, n_clips=24 if make is make_ekman6 else 40, seconds=(1.0, 1.0), jobs=1)
    assert set(corpus.clips["emotion"].value_counts()) <= per_class | {3} and corpus.skipped == ()
    if make is make_ekman6:
        assert (
            corpus.clips["clip"][0] == "anger/1000"
            and corpus.clips["split"].value_counts()["train"] == 12
        )
        assert (tmp_path / "trainlist01.txt").read_text().splitlines()[0].startswith("anger/100")
        return
    splits = corpus.clips.filter(like="split_")
    assert splits.shape == (40, 10) and set(splits.to_numpy().ravel()) == {"train", "test"}
    assert ((splits == "train").mean() - 2 / 3).abs().max() < 0.1 and len(
        set(map(tuple, splits.T.to_numpy()))
    ) == 10
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
    with pytest.raises(CorpusNotFoundError, match=r"truth\.csv"):
        read_truth(tmp_path)


def test_truth_has_a_row_for_every_half_second(heiv):
    root, corpus = heiv
    truth, parts = read_truth(root), segments(corpus, seconds=0.5)
    known = set(zip(truth["clip"], truth["time"], strict=True))
    assert set(zip(parts.clips["source"], parts.clips["start"], strict=True)) <= known and len(
        known
    ) == len(truth)
    assert set(truth["face"]) == set(FACES) and set(truth["telling"]) == {0, 1}
    frontal, absent = truth["face"] == "frontal", truth["face"] == "none"
    assert (
        truth.loc[frontal, "expressive"].between(0.5, 1).all()
        and (truth.loc[absent, "expressive"] == 0).all()
    )
    assert (
        truth.loc[~frontal, "expressive"].max() <= 0.25 and (truth["left"].isna() == absent).all()
    )


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
        assert plan[0].start == 0 and plan[-1].stop in (12, 66)
        assert all(a.stop == b.start for a, b in itertools.pairwise(plan))
        kinds = {shot.face for shot in plan}
        assert "frontal" in kinds or (
            kinds == {"none"} and not any(shot.bystander for shot in plan)
        )
    lengths = [shot.stop - shot.start for plan in drawn[1::2] for shot in plan]
    assert min(lengths) >= 6 and max(lengths) <= 32
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
            assert frontal[unit] > 0.6 * strength and frontal[unit] > turned[unit] + 0.1
        assert all(frontal[unit] < 0.25 for unit in frontal if unit not in own)


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
    ],
)
def test_bad_arguments_are_named(make, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **options)
    assert not list(tmp_path.iterdir())
