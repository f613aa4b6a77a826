"""AFEW-VA: an epoch of the 1-CNN, against a ``DataLoader`` over tensors in memory.

The reference holds all frames in memory, as one does after the first epoch, and cuts a window out
of them per item. Four models (seeds or folds) train side by side in the library, one after the
other in the reference.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from affectlib.corpora import Fold, frame_array, with_mood
from affectlib.models.mood_change import MoodCNN, Task, Windows
from affectlib.simulate import make_afew_va
from affectlib.stacked.mood_change import fit_mood_folds
from benchmarks.common import Comparison, Way

BATCH = 128
CLIPS = 12
EPOCHS = 2


class Items(Dataset):
    """One window per item."""

    def __init__(self, windows: Windows, rows: np.ndarray) -> None:
        self.windows = windows
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        row = int(self.rows[i])
        start = int(self.windows.start[row])
        frames = self.windows.frames[start : start + self.windows.k]
        return frames, self.windows.targets["mood"][row]


def usual(train: Items, held_out: Items, models: int) -> None:
    """The loop that one writes: one model after the other, validation after each epoch."""
    for seed in range(models):
        torch.manual_seed(seed)
        model = MoodCNN()
        optimiser = torch.optim.Adam(model.parameters(), fused=True)
        for _ in range(EPOCHS):
            model.train()
            for x, target in DataLoader(train, BATCH, shuffle=True):
                optimiser.zero_grad()
                F.cross_entropy(model(x), target).backward()
                optimiser.step()
            model.eval()
            with torch.no_grad():
                for x, _ in DataLoader(held_out, BATCH):
                    model(x)


def untrained(fold: Fold, seed: int) -> dict[str, Task]:
    """The 1-CNN that predicts mood."""
    return {"1-CNN": Task(MoodCNN())}


def comparisons() -> Iterator[Comparison]:
    """One model and four; times are per model and epoch."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = with_mood(make_afew_va(Path(folder), n_clips=CLIPS, jobs=1))
        store = Path(folder) / "store"
        frames = np.array(frame_array(corpus, crop="frame", store=store, jobs=1, progress=False))
    windows = Windows.cut(corpus, frames, 5)
    clips = np.arange(CLIPS)
    fold = Fold("all", clips[2:], clips[:1], clips[1:2])
    train, held_out = (
        Items(windows, np.asarray(windows.in_clips(part))) for part in (fold.train, fold.validation)
    )
    for models in (1, 4):
        run = partial(
            fit_mood_folds, untrained, windows, [fold], seeds=range(models), epochs=EPOCHS, jobs=1
        )
        yield Comparison(
            f"{len(train)} windows of 5 frames, 32 x 32, {models} at once; a model's epoch",
            Way("fit_mood_folds", run, per=models * EPOCHS),
            [
                Way(
                    "DataLoader over tensors in memory, Adam(fused=True)",
                    partial(usual, train, held_out, models),
                    per=models * EPOCHS,
                )
            ],
            rounds=3,
        )
