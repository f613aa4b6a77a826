"""Linear models that every network has to beat: ridge and logistic regression.

They see the same samples as the networks. A network that does not beat them has not been shown to
need its layers. Trivial predictors, which see no sample at all, stand in
:mod:`affectlib.statistics`.
"""

from affectlib.baselines.linear import (
    PENALTIES,
    STRENGTHS,
    fit_logistic,
    fit_ridge,
    logistic,
    pooled,
    ridge,
)

__all__ = [
    "PENALTIES",
    "STRENGTHS",
    "fit_logistic",
    "fit_ridge",
    "logistic",
    "pooled",
    "ridge",
]
