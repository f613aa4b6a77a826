"""Linear models of mood_change: logistic regression from small pictures of a window."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F

from affectlib.baselines.linear import fit_logistic, pooled
from affectlib.corpora import Fold
from affectlib.models.mood_change import Windows
from affectlib.training import Samples, standardise


def linear_predictions(
    windows: Windows, folds: Sequence[Fold], actors: Sequence[str], *, side: int = 8
) -> dict[str, np.ndarray]:
    """Test predictions of logistic regression from small pictures of each window.

    - ``"mood"``: from the mean frame
    - ``"mood, difference"``: from the mean frame and the last frame minus the first
    - ``"change"``: from the last frame minus the first
    - ``"mood, change"``: from the mean frame and the probabilities that the model of change gives,
      the linear counterpart of the 2-CNN+MLP

    Args:
        windows: of all clips
        folds: positions of clips to train on, to choose the penalty by, and to test on
        actors: of each window
        side: side of the small pictures in pixels

    Shape:
        each prediction ``(n,)``: every window is predicted by the fold that tests it

    Raises:
        ValueError: if the folds do not test every window once

    References:
        ours: a network that does not beat it has not been shown to need its layers
    """
    tested = torch.cat([windows.in_clips(fold.test) for fold in folds])
    if not tested.sort().values.equal(torch.arange(len(windows))):
        raise ValueError("the folds must test every window once")
    mean, difference = _small_pictures(windows, side)
    mood, change = windows.targets["mood"], windows.targets["change"]
    both = torch.cat([mean, difference], 1)
    names = ("mood", "mood, difference", "change", "mood, change")
    predictions = {name: np.empty(len(windows), dtype=int) for name in names}
    for fold in folds:
        fit = partial(_fit_linear, windows=windows, fold=fold, actors=actors)
        found = {"mood": fit(mean, mood), "mood, difference": fit(both, mood)}
        found["change"] = fit(difference, change)
        with_change = torch.cat([mean, found["change"]], 1)
        found["mood, change"] = fit(with_change, mood)
        rows = windows.in_clips(fold.test)
        for name, probabilities in found.items():
            predictions[name][rows] = probabilities[rows].argmax(-1)
    return predictions


def _small_pictures(windows: Windows, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean frame of each window, and its last frame minus its first, both ``(n, side * side * 3)``.

    Each cell of a small picture is the mean of a square of pixels.
    """
    precision = torch.get_default_dtype()
    pixels = windows.frames.to(precision).movedim(-1, 1)  # (frames, 3, 32, 32)
    small = F.adaptive_avg_pool2d(pixels, side).flatten(1)  # (frames, 3 * side * side)
    rows = windows.start[:, None] + torch.arange(windows.k)  # (n, k)
    first, last = small[rows[:, 0]], small[rows[:, -1]]
    return small[rows].mean(1), last - first


def _fit_linear(
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    windows: Windows,
    fold: Fold,
    actors: Sequence[str],
) -> torch.Tensor:
    """Logistic regression of one fold: probabilities for all windows, ``(n, 3)``."""
    ids = tuple(map(str, range(len(windows))))
    data = Samples((inputs,), target, ids, tuple(actors))
    train = data.select(windows.in_clips(fold.train))
    validation = data.select(windows.in_clips(fold.validation))
    train, validation, data = standardise(train, validation, data)
    model = fit_logistic(train, validation)
    probabilities = torch.zeros(len(windows), 3, dtype=inputs.dtype)
    # A class that no training window has keeps a probability of 0.
    probabilities[:, model.classes_] = torch.tensor(
        model.predict_proba(pooled(data)), dtype=inputs.dtype
    )
    return probabilities
