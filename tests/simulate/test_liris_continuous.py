"""The simulator of the continuous part of LIRIS-ACCEDE."""

import pytest

from affectlib.corpora import official_split, segments
from affectlib.simulate import make_liris_continuous

NOTES = "LIRIS-ACCEDE-continuous-annotations/continuous-annotations"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("continuous")
    return root, make_liris_continuous(root, n_films=3, seconds=4, jobs=1)


def test_the_simulator_writes_the_official_layout(simulated):
    root, corpus = simulated
    assert corpus.simulated
    assert sorted(corpus.clips["split"]) == ["test", "train", "train"]
    assert len(list((root / NOTES).glob("*_Valence.txt"))) == 3
    assert (root / NOTES / "Norm_Valence.txt").exists() == ("Norm" in set(corpus.clips["clip"]))
    lines = next((root / NOTES).glob("*_Arousal.txt")).read_text().splitlines()
    assert lines[0] == "Time\tMean\tStd"
    assert len(lines) == 5
    assert corpus.annotations["valence_std"].between(0.05, 0.7).all()
    fold = official_split(segments(corpus, seconds=1.0))[0]
    assert len(fold.test) == 4


def test_films_do_not_depend_on_the_number_of_processes(simulated, tmp_path):
    root, corpus = simulated
    again = make_liris_continuous(tmp_path, n_films=3, seconds=4, jobs=2)
    assert again.annotations.equals(corpus.annotations)
    for path in root.rglob("*"):
        if path.is_file() and path.suffix != ".json":
            assert (tmp_path / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_a_wrong_number_of_films_is_named(tmp_path):
    with pytest.raises(ValueError, match="between 3 and 30, not at 31"):
        make_liris_continuous(tmp_path, n_films=31)
