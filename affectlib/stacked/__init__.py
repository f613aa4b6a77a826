"""The same numbers, faster: each part stands beside a plain twin and a test that the two agree.

``fast`` takes a plain model from ``affectlib.models`` and gives its faster twin.
``fit_folds`` trains all folds and seeds of a model at once.
"""

from affectlib.stacked.folds import FoldResult, fit_folds, pooled
from affectlib.stacked.twins import fast

__all__ = ["FoldResult", "fast", "fit_folds", "pooled"]
