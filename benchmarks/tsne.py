"""Maps of embeddings: ``project`` (t-SNE, 500 iterations) against scikit-learn's 1,000."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from sklearn.manifold import TSNE, trustworthiness

from affectlib.plots import project
from benchmarks.common import Comparison, Way


def usual(points: np.ndarray) -> np.ndarray:
    """What one writes."""
    return TSNE(random_state=0).fit_transform(points)


def comparisons() -> Iterator[Comparison]:
    """Three groups of points; the trustworthiness says how well a map keeps neighbours."""
    rng = np.random.default_rng(0)
    for n, size in ((216, 8), (600, 128)):
        points = (
            rng.standard_normal((n, size)) + 2 * rng.standard_normal((3, size))[np.arange(n) % 3]
        )
        points = points.astype(np.float32)

        def kept(way, points=points):
            return f"trustworthiness {trustworthiness(points, way(points)):.3f}"

        yield Comparison(
            f"{n} points of {size} values",
            Way("project", partial(project, points), note=kept(project)),
            [Way("sklearn.manifold.TSNE", partial(usual, points), note=kept(usual))],
            rounds=3,
        )
