"""Which features each paper takes: descriptors and networks."""

import pytest

from affectlib.corpora import segments
from affectlib.errors import FileFormatError
from affectlib.features import Store, descriptors, extract, extractors, organisers
from affectlib.features.papers import (
    KINDS,
    NEEDS,
    PAPERS,
    SEGMENT,
    FeatureChoiceError,
    choices,
    computed,
    described,
    pretrained,
    weights_needed,
)
from affectlib.features.pretrained.weights import WEIGHTS, WeightsNotFoundError, weights_named
from affectlib.results import kind
from affectlib.simulate import make_mediaeval18

NAMES = {
    "attend_affect": ["scene", "motion", "face", "sound", "emobase"],
    "shot_long": ["sound", "scene", "face", "motion"],
    "gla": ["scene", "sound", "people"],
    "caan": ["people", "scene"],
    "mood_change": ["scene", "motion", "face", "sound", "emobase"],
}


@pytest.mark.parametrize("paper", NAMES)
def test_descriptors_stand_in_for_the_networks_in_their_order(paper):
    assert [extractor.name for extractor in described(paper)] == NAMES[paper]
    assert extractors("descriptors", paper) == described(paper)


@pytest.mark.parametrize("paper", PAPERS)
def test_pretrained_features_need_the_weights_of_the_table(paper, monkeypatch, tmp_path):
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsNotFoundError) as error:
        extractors("pretrained", paper)
    assert all(name in str(error.value) for name in PAPERS[paper].weights)
    assert set(PAPERS[paper].weights) <= {weights.name for weights in WEIGHTS}


@pytest.mark.parametrize("paper", PAPERS)
def test_networks_look_at_the_rate_of_the_paper_unless_told_otherwise(paper):
    def rates(**options: float) -> set[float]:
        networks = pretrained(paper, weights="random", **options)
        return {extractor.rate for extractor in networks if not extractor.sound}

    assert rates() == {PAPERS[paper].rate}
    assert rates(rate=3.0) == {3.0}


def test_papers_that_cut_films_say_how_long_their_segments_are():
    assert SEGMENT == {"attend_affect": 5.0, "shot_long": 1.0, "gla": 1.0}


def test_other_features_and_papers_without_networks_are_refused():
    with pytest.raises(FeatureChoiceError, match="no features 'networks'; there are descriptors"):
        extractors("networks", "gla")
    with pytest.raises(FeatureChoiceError, match="'mood_change' has no pretrained extractors"):
        extractors("pretrained", "mood_change")


@pytest.mark.parametrize("paper", PAPERS)
def test_the_table_of_a_paper_has_one_row_for_each_modality(paper):
    table = PAPERS[paper]
    networks = table.networks({"weights": "random", "precision": "fp32"}, 1.0, "hog")
    assert list(networks) == list(table.descriptors) == list(table.modalities)
    assert set(table.distributed) <= set(table.modalities)
    for modality, make in networks.items():
        file = dict(make().options).get("file")
        # openSMILE has no file of weights.
        assert file is None or file in table.needs[modality]


@pytest.mark.parametrize(
    ("paper", "features", "kinds"),
    [
        ("gla", "pretrained", ["pretrained"] * 3),
        ("gla", "organisers", ["organisers", "organisers", "descriptors"]),
        ("gla", {"face": "descriptors"}, ["pretrained", "pretrained", "descriptors"]),
        ("gla", {"audio": "organisers"}, ["pretrained", "organisers", "pretrained"]),
        ("shot_long", "organisers", ["organisers", "organisers", "descriptors", "descriptors"]),
        ("shot_long", {"expression": "descriptors"}, [*["pretrained"] * 2, *KINDS[:2]]),
        ("caan", {"context": "descriptors"}, ["pretrained", "descriptors"]),
    ],
)
def test_each_modality_can_be_chosen_by_itself(paper, features, kinds):
    chosen = choices(features, paper)
    assert tuple(chosen) == PAPERS[paper].modalities
    assert list(chosen.values()) == kinds


@pytest.mark.parametrize(
    ("paper", "features", "message"),
    [
        ("gla", {"image": "networks"}, "no features 'networks'; there are descriptors, pretrained"),
        ("gla", {"sound": "descriptors"}, "gla has no modality 'sound'; there are image, audio, f"),
        ("gla", {"face": "organisers"}, "no features for 'face' of gla; there are image (fc6), au"),
        (
            "shot_long",
            {"action": "organisers"},
            "for 'action' of shot_long; there are audio (audio)",
        ),
        ("caan", "organisers", "no features for caan; there are none"),
        ("attend_affect", {"i3d": "organisers"}, "for 'i3d' of attend_affect; there are none"),
        ("gla", {"face": None}, "no features None; there are descriptors"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_with_those_there_are(paper, features, message):
    with pytest.raises(FeatureChoiceError) as error:
        choices(features, paper)
    assert message in str(error.value)


def test_only_the_weights_that_are_needed_are_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    features = {"expression": "descriptors", "scene": "descriptors", "action": "descriptors"}
    assert weights_needed(features, "shot_long") == ("vggish", "vggish_pca")
    with pytest.raises(WeightsNotFoundError) as error:
        computed(features, "shot_long")
    assert "vggish" in str(error.value)
    assert "xception" not in str(error.value)
    for name in ("vggish", "vggish_pca"):
        (tmp_path / weights_named(name).file).write_bytes(b"not read yet")
    names = [extractor.name for extractor in extractors(features, "shot_long")]
    assert names == ["vggish", "scene", "face", "motion"]


SECONDS = 4


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Simulated films with the two features of the organisers that the simulator writes."""
    root = tmp_path_factory.mktemp("films")
    return root, make_mediaeval18(root, n_films=3, seconds=SECONDS, jobs=1)


def read(films, store_folder, features, **options):
    """The table of features of all seconds, and its extractors."""
    root, corpus = films
    used = extractors(features, "gla", corpus=corpus, root=root)
    clips = segments(corpus, seconds=1.0)
    options = {"store": Store(store_folder), "jobs": 1, "progress": False, **options}
    return used, extract(clips, used, **options)


def test_the_organisers_features_stand_in_the_table_of_the_others(films, tmp_path):
    root, corpus = films
    used, table = read(films, tmp_path, "organisers")
    # The simulator writes no fc6: the colour layout stands in.
    assert [(each.name, each.size) for each in used] == [
        ("cl", 33),
        ("audio", 1582),
        ("people", 561),
    ]
    clips = segments(corpus, seconds=1.0)
    assert table.clips == tuple(clips.clips["clip"])
    # Read by hand: the third second of the second film.
    film = clips.clips["source"].unique()[1]
    file = next(root.rglob(f"{film}-00003_cl.txt"))
    row = table.clips.index(clips.clips["clip"][SECONDS + 2])
    numbers = [float(cell) for cell in file.read_text().split(",")]
    assert table["cl"][row].tolist() == pytest.approx(numbers, rel=1e-6)
    assert (table["audio"] == organisers(clips, root, ("audio",))["audio"]).all()
    assert kind(corpus, paper="gla", extractors=used) == "simulated"


def test_a_series_that_ends_before_its_film_is_an_error_or_zeros(tmp_path):
    root = tmp_path / "films"
    films = root, make_mediaeval18(root, n_films=3, seconds=SECONDS, jobs=1)
    next(root.rglob(f"MEDIAEVAL18_00-{SECONDS:05d}_cl.txt")).unlink()
    choice = {"image": "organisers", "audio": "organisers", "face": "descriptors"}
    with (
        pytest.warns(UserWarning, match="1 series differ"),
        pytest.raises(FileFormatError, match=r"MEDIAEVAL18_00:0003.*missing='zeros' goes on"),
    ):
        read(films, tmp_path / "store", choice)
    with pytest.warns(UserWarning, match="1 series differ"):
        _, table = read(films, tmp_path / "store", choice, missing="zeros")
    assert table.missing == {"cl": ("MEDIAEVAL18_00:0003",)}
    assert len(table) == 3 * SECONDS
    assert (table["cl"][SECONDS - 1] == 0).all()
    assert (table["audio"][SECONDS - 1] != 0).any()


def test_organisers_features_without_their_corpus_are_refused(films):
    root, corpus = films
    with pytest.raises(FeatureChoiceError, match="come with mediaeval18 only, not with no corpus"):
        extractors("organisers", "gla")
    other = type(corpus)(**{**vars(corpus), "name": "liris_continuous"})
    with pytest.raises(FeatureChoiceError, match="not with liris_continuous"):
        extractors("organisers", "gla", corpus=other, root=root)


def test_old_import_paths_work_for_one_more_release():
    from affectlib.features import deep

    with pytest.warns(DeprecationWarning, match="papers"):
        assert deep.NEEDS is NEEDS
    with pytest.warns(DeprecationWarning, match="papers"):
        from affectlib.features.extract import descriptors as old
    assert old is descriptors
