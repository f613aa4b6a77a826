"""Intervals and tests over films, against a plain loop and scipy's resampling."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from scipy import stats

from affectlib.metrics import ccc, mse, pcc
from affectlib.statistics import bootstrap_interval, paired_difference
from benchmarks.common import Comparison, Way

FILMS, ROWS, RESAMPLES = 12, 216, 2000


def mae(truth: np.ndarray, prediction: np.ndarray) -> float:
    """A metric of one's own, of which the library knows nothing."""
    return float(np.abs(truth - prediction).mean())


def plain_loop(metric: Callable, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """What one writes: films drawn with replacement, their rows put together."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, FILMS, FILMS)
        values.append(metric(truth[drawn].ravel(), prediction[drawn].ravel()))
    return np.quantile(values, [0.025, 0.975])


def scipy_bootstrap(metric: Callable, truth: np.ndarray, prediction: np.ndarray) -> object:
    """scipy draws the numbers of the films."""

    def of_films(drawn):
        return metric(truth[drawn].ravel(), prediction[drawn].ravel())

    options = {"n_resamples": RESAMPLES, "vectorized": False, "method": "percentile"}
    return stats.bootstrap((np.arange(FILMS),), of_films, **options, rng=0)


def scipy_permutation(a: np.ndarray, b: np.ndarray) -> object:
    """The sign-flip test, vectorised; in blocks, so that it fits into memory."""

    def difference(x, y, axis):
        return np.mean(x - y, axis=axis)

    options = {"permutation_type": "samples", "n_resamples": 20_000, "vectorized": True}
    return stats.permutation_test((a, b), difference, batch=1000, **options, rng=0)


def comparisons() -> Iterator[Comparison]:
    """Metrics of the library, a metric of one's own, and the paired test."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((FILMS, ROWS))
    prediction = truth + rng.standard_normal((FILMS, ROWS))
    groups = np.repeat(np.arange(FILMS), ROWS)
    for metric in (mse, pcc, ccc, mae):
        run = partial(bootstrap_interval, metric, truth.ravel(), prediction.ravel(), groups=groups)
        name = f"{metric.__name__}, a metric of one's own" if metric is mae else metric.__name__
        yield Comparison(
            f"interval of {name}: {FILMS} films of {ROWS} rows, {RESAMPLES:,} resamples",
            Way("bootstrap_interval", partial(run, resamples=RESAMPLES)),
            [
                Way("a loop over resamples", partial(plain_loop, metric, truth, prediction)),
                Way("scipy.stats.bootstrap", partial(scipy_bootstrap, metric, truth, prediction)),
            ],
            rounds=3,
        )
    a, b = rng.standard_normal((2, 1000))
    yield Comparison(
        "sign-flip test of 1,000 films, 20,000 patterns",
        Way("paired_difference", partial(paired_difference, a, b)),
        [Way("scipy.stats.permutation_test", partial(scipy_permutation, a, b))],
        rounds=3,
    )
