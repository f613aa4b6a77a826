"""Where things lie. Each place can be moved by an environment variable of the same name.

ROOT is the checkout; DATA (``AFFECTLIB_DATA``) holds the licensed corpora, one folder each;
CACHE (``AFFECTLIB_CACHE``) holds simulated corpora and extracted features and may be deleted;
FIGURES (``AFFECTLIB_FIGURES``) receives tables and pictures; GOLDEN (``AFFECTLIB_GOLDEN``) holds
the released AttendAffectNet checkpoints with their sample features.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _place(variable, default):
    return Path(os.environ.get(variable) or default).expanduser().resolve()


DATA = _place("AFFECTLIB_DATA", ROOT / "data")
CACHE = _place("AFFECTLIB_CACHE", ROOT / "build")
FIGURES = _place("AFFECTLIB_FIGURES", ROOT / "figures")
GOLDEN = _place("AFFECTLIB_GOLDEN", ROOT.parent / "shared" / "golden")
