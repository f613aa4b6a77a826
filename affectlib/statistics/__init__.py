"""How sure a number is: intervals, paired differences, claims, and trivial predictors to beat."""

from affectlib.statistics.comparisons import (
    SIGNIFICANCE,
    Claim,
    Difference,
    claims,
    holm,
    max_t,
    paired_difference,
    pairwise,
)
from affectlib.statistics.intervals import (
    SCALES,
    Interval,
    bootstrap_interval,
    interval,
    jackknife_interval,
    majority,
    pseudo_values,
    stratified,
    train_mean,
)

__all__ = [
    "SCALES",
    "SIGNIFICANCE",
    "Claim",
    "Difference",
    "Interval",
    "bootstrap_interval",
    "claims",
    "holm",
    "interval",
    "jackknife_interval",
    "majority",
    "max_t",
    "paired_difference",
    "pairwise",
    "pseudo_values",
    "stratified",
    "train_mean",
]
