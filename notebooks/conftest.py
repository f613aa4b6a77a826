"""For nbval: a notebook on real files is compared only where these files are."""

import pytest

from affectlib import paths

# The reference files that the committed run of a notebook has read.
NEEDS = {"08_real_labels.ipynb": ("liris_accede", "eimt16", "lists", "cognimuse")}


def pytest_collection_modifyitems(items):
    for item in items:
        missing = [
            name for name in NEEDS.get(item.path.name, ()) if not (paths.GOLDEN / name).is_dir()
        ]
        if missing:
            reason = f"{paths.GOLDEN} has no {', '.join(missing)}"
            item.add_marker(pytest.mark.skip(reason=reason))
