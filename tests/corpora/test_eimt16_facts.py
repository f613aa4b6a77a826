"""The numbers of EIMT16 that stand in ``table0.csv``, computed again from the owners' files."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from affectlib import results
from affectlib.paths import GOLDEN

ANNOTATIONS = GOLDEN / "liris_accede" / "LIRIS-ACCEDE-annotations.zip"
TEST_LABELS = GOLDEN / "eimt16" / "MEDIAEVAL16-Global_prediction.txt"


@pytest.mark.skipif(
    not (ANNOTATIONS.is_file() and TEST_LABELS.is_file()),
    reason=f"no annotations of LIRIS-ACCEDE and EIMT16 (AFFECTLIB_GOLDEN) at {GOLDEN}",
)
def test_the_published_facts_are_those_of_the_owners_files():
    """Read without our loaders."""
    with zipfile.ZipFile(ANNOTATIONS) as archive:
        # Beside each file, the archive has a note of the system that packed it.
        names = [name for name in archive.namelist() if not name.startswith("__MACOSX")]
        (name,) = [name for name in names if name.endswith("ACCEDEranking.txt")]
        train = pd.read_csv(io.BytesIO(archive.read(name)), sep="\t")
    lines = TEST_LABELS.read_text().replace("\r", "\n").split("\n")
    test = np.array([line.split()[1:3] for line in lines if line.strip()], dtype=float)
    assert (len(train), len(test)) == (9800, 1200)
    valence_error = np.mean((test[:, 0] - train["valenceValue"].mean()) ** 2)
    arousal_error = np.mean((test[:, 1] - train["arousalValue"].mean()) ** 2)
    computed = {
        "predict the training mean: arousal_mse": arousal_error,
        "predict the training mean: valence_mse": valence_error,
        "arousal mean of the training set": train["arousalValue"].mean(),
        "arousal mean of the test set": test[:, 1].mean(),
    }
    facts = results.published("attend_affect", 0)
    facts = facts[facts["row"] == "real EIMT16"].set_index("column")["value"]
    assert facts.to_dict() == {name: round(value, 3) for name, value in computed.items()}
