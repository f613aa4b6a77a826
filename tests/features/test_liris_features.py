"""The features that the owners of LIRIS-ACCEDE distribute: typed here, and the real files."""

import zipfile

import numpy as np
import pytest

from affectlib.corpora import load_liris_discrete
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features import load_liris_features


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


COUNTS = {"Arousal_TAC2015": 23, "Valence_TAC2015": 17, "Valence_ACII2013": 14}


@pytest.fixture
def features(tmp_path):
    """Three files of features in the official form."""
    for kind, count in COUNTS.items():
        rows = ["\t".join(["id", "name", *(f"feature{i}" for i in range(count))])]
        for i in range(3):
            values = [f"{i}.5", "5.41E+00", "4.32E+15", *(str(j) for j in range(3, count))]
            rows.append("\t".join([str(i), f"ACCEDE{i:05d}.mp4", *values]))
        put(tmp_path / "features" / f"ACCEDEfeatures{kind}.txt", "\r\n".join(rows) + "\r\n")
    return tmp_path


def test_features_keep_the_names_and_the_order_of_the_files(features):
    table = load_liris_features(features)
    assert table.clips == ("ACCEDE00000", "ACCEDE00001", "ACCEDE00002")
    assert table.sizes == {"arousal": 23, "valence": 17}
    assert table.names["valence"] == tuple(f"feature{i}" for i in range(17))
    expected = np.array([2.5, 5.41, 4.32e15, 3], np.float32)
    assert np.array_equal(table["arousal"][2, :4], expected)
    assert not table.simulated


def test_the_earlier_features_are_read_when_asked_for(features):
    assert load_liris_features(features, ("valence_acii2013",)).sizes == {"valence_acii2013": 14}
    with pytest.raises(ValueError, match="no features sound, there are arousal, valence"):
        load_liris_features(features, ("sound",))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "1.5\t",
            "nan\t",
            r"ACCEDEfeaturesValence_TAC2015\.txt, row 3: expected feature0 .* found 'nan'",
        ),
        ("1.5\t", "1e39\t", "row 3: expected feature0 as a number"),
        ("1.5\t", "", "row 3: expected 19 columns, found 18"),
        ("ACCEDE00001", "ACCEDE00000", "row 3: expected each name once"),
        ("ACCEDE00001", "ACCEDE00009", "expected the excerpts of ACCEDEfeaturesArousal_TAC2015"),
        ("feature3", "feature4", "row 1: expected each column once"),
    ],
)
def test_damaged_features_are_named(features, old, new, message):
    path = features / "features" / "ACCEDEfeaturesValence_TAC2015.txt"
    put(path, path.read_bytes().decode().replace(old, new, 1))
    with pytest.raises(FileFormatError, match=message):
        load_liris_features(features)


def test_a_column_too_few_is_named(features):
    path = features / "features" / "ACCEDEfeaturesValence_TAC2015.txt"
    rows = path.read_text().splitlines()
    put(path, "\n".join(row.rpartition("\t")[0] for row in rows))
    with pytest.raises(FileFormatError, match="row 1: expected id, name and 17 features, found 16"):
        load_liris_features(features)


def test_absent_features_are_asked_for(features):
    (features / "features" / "ACCEDEfeaturesValence_TAC2015.txt").unlink()
    with pytest.raises(NotFoundError, match=r"ACCEDEfeaturesValence_TAC2015\.txt.*Ask for it"):
        load_liris_features(features)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    return tmp_path_factory.mktemp("unpacked")


@pytest.fixture
def official(golden, unpacked):
    """The owners' two archives, unpacked in place."""
    for archive in sorted(golden("liris_accede").glob("*.zip")):
        if not (unpacked / archive.name).exists():
            zipfile.ZipFile(archive).extractall(unpacked)
            (unpacked / archive.name).touch()
    return unpacked


def test_the_official_features_load(official):
    names = ("arousal", "valence", "valence_acii2013")
    table = load_liris_features(official, names)
    assert len(table) == 9800
    assert table.sizes == {"arousal": 23, "valence": 17, "valence_acii2013": 14}
    assert table.names["arousal"][:2] == ("colorfulness", "minEnergy")
    assert all(np.isfinite(table[name]).all() for name in names)
    corpus = load_liris_discrete(official, films=False, groups="excerpt")
    assert table.clips == tuple(corpus.clips["clip"])
