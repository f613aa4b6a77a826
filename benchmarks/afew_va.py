"""AFEW-VA: where the time of an epoch of the 1-CNN goes, against the usual ways to load windows.

python benchmarks/afew_va.py                 ratios, on simulated clips enlarged to AFEW's 720 x 576
python benchmarks/afew_va.py --full 10       600 clips, decoded once, 10 epochs of every model of Table 1 on 5 folds
"""

import affectlib  # noqa: F401, I001  one thread, before torch is loaded

import resource
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from affectlib import paths
from affectlib.corpora import Fold, frame_array, subject_folds, with_mood
from affectlib.models.mood_change import FusionMLP, MoodCNN, TwoBranchCNN
from affectlib.stacked.mood_change import Task, Windows, fit_folds
from affectlib.simulate import make_afew_va

BATCH = 128


class Pngs(Dataset):
    """Opens and stacks five pngs per item."""

    def __init__(self, corpus, windows):
        folders = corpus.clips.set_index("clip")["path"]
        self.files = [
            f"{folders[clip]}/{frame:05d}.png"
            for clip, frame in zip(
                corpus.annotations["clip"], corpus.annotations["frame"], strict=True
            )
        ]
        self.windows = windows

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, i):
        start = int(self.windows.start[i])
        pictures = [
            cv2.resize(cv2.imread(file), (32, 32), interpolation=cv2.INTER_AREA)[..., ::-1]
            for file in self.files[start : start + self.windows.k]
        ]
        return torch.from_numpy(np.stack(pictures)), self.windows.targets["mood"][i]


class Items(Dataset):
    """One window per item from the array in memory."""

    def __init__(self, windows):
        self.windows = windows

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, i):
        start = int(self.windows.start[i])
        return self.windows.frames[start : start + self.windows.k], self.windows.targets["mood"][i]


def gathered(windows):
    """Batches as the library makes them: one gather each."""
    for rows in torch.randperm(len(windows)).split(BATCH):
        yield windows.take(rows), windows.targets["mood"][rows]


def epoch(batches):
    """Seconds per window of one epoch of the 1-CNN, and the share spent outside forward, backward and step."""
    torch.manual_seed(0)
    model = MoodCNN()
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    begun, learning, n = time.perf_counter(), 0.0, 0
    for x, target in batches:
        clock = time.perf_counter()
        optimiser.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimiser.step()
        learning += time.perf_counter() - clock
        n += len(target)
    whole = time.perf_counter() - begun
    return whole / n, 1 - learning / whole


def at_real_size(corpus, folder):
    """The same clips with frames of 720 x 576, as AFEW-VA has them, with the grain of a film."""
    rng = np.random.default_rng(0)
    for path in corpus.clips["path"]:
        (folder / Path(path).name).mkdir()
        for file in sorted(Path(path).glob("*.png")):
            large = cv2.resize(cv2.imread(str(file)), (720, 576), interpolation=cv2.INTER_CUBIC)
            large = np.clip(large + rng.integers(-4, 5, large.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / file.parent.name / file.name), large)
    return replace(
        corpus,
        clips=corpus.clips.assign(path=[str(folder / Path(p).name) for p in corpus.clips["path"]]),
    )


def fitted(windows, seeds, epochs=3, folds=1, jobs=1):
    """Seconds per window, epoch and model of ``fit_folds``; all clips but two train."""
    clips = np.arange(windows.clip.max() + 1)
    fold = Fold("all", clips[2:], clips[:1], clips[1:2])
    begun = time.perf_counter()
    fit_folds(
        lambda fold, seed: {"1-CNN": Task(MoodCNN())},
        windows,
        [fold] * folds,
        seeds=range(seeds),
        epochs=epochs,
        jobs=jobs,
    )
    return (time.perf_counter() - begun) / epochs / seeds / folds / len(windows.of(fold.train))


def ratios(clips=24):
    small = with_mood(make_afew_va(paths.CACHE / "corpora" / "afew_va-benchmark", n_clips=clips))
    first = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        corpus = at_real_size(small, Path(folder))
        for turn, jobs in enumerate((1, 2, 2, 1)):  # in turns, so that a busy minute falls on both
            clock = time.perf_counter()
            frames = np.array(
                frame_array(corpus, crop="frame", store=Path(folder) / f"store{turn}", jobs=jobs)
            )
            first[jobs].append(time.perf_counter() - clock)
        windows = Windows.cut(corpus, frames, 5)
        few = torch.utils.data.Subset(
            Pngs(corpus, windows), range(0, len(windows), max(1, len(windows) // 256))
        )
        png, _ = epoch(DataLoader(few, BATCH))
    epoch(gathered(windows))
    rounds = [
        (
            epoch(DataLoader(Items(windows), BATCH, shuffle=True))[0],
            epoch(gathered(windows)),
            fitted(windows, 1),
            fitted(windows, 4),
        )
        for _ in range(3)
    ]
    item, (plain, outside), one, ours = map(
        min, zip(*rounds, strict=True)
    )  # four: as in Table 1, side by side
    print(
        f"{len(windows)} windows of {tuple(windows.take([0]).shape[1:])}, batches of {BATCH}, one thread unless said"
    )
    print(f"{'epoch of the 1-CNN':<46} {'ms/window':>9} {'ratio':>6}")
    for name, value in (
        ("five pngs of 720 x 576 opened per item", png),
        ("in memory, item by item", item),
        ("one gather", plain),
        ("fit_folds, one model", one),
        ("fit_folds, four models side by side, each", ours),
        ("fit_folds, sixty models side by side, each", fitted(windows, 60, epochs=1)),
        ("fit_folds, four side by side, two threads", fitted(windows, 4, folds=4, jobs=2)),
    ):
        print(f"{name:<46} {1000 * value:9.3f} {value / ours:6.2f}")
    print(
        f"one model against one model: fit_folds is {png / one:.0f} times as fast as five pngs opened per item, "
        f"{item / one:.2f} times as fast as item by item, {plain / one:.2f} times as fast as one gather"
    )
    print(f"share of an epoch with one gather outside forward, backward and step: {outside:.1%}")
    single, double = map(min, first.values())
    print(
        f"first pass, {len(frames)} frames decoded once: one thread {single:.1f} s, two {double:.1f} s, "
        f"ratio {single / double:.2f}"
    )


def full(epochs):
    clock = time.perf_counter()

    def lap(what):
        nonlocal clock
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"  {what:<44} {time.perf_counter() - clock:7.1f} s, peak {peak:.2f} GiB", flush=True)
        clock = time.perf_counter()

    corpus = with_mood(make_afew_va(paths.CACHE / "corpora" / "afew_va-full", n_clips=600))
    lap(f"{len(corpus)} clips, {len(corpus.annotations)} frames written and read")
    frames = frame_array(corpus, crop="frame")
    lap("decoded once")
    windows, folds = Windows.cut(corpus, frames, 5), subject_folds(corpus, 5)
    train = partial(fit_folds, windows=windows, folds=folds, epochs=epochs)
    found = train(
        lambda fold, seed: {
            "mood": Task(MoodCNN()),
            "change": Task(MoodCNN(), ("change",)),
            "2-CNN": Task(TwoBranchCNN(), ("mood", "change")),
            "shared": Task(TwoBranchCNN(shared="convolutions"), ("mood", "change")),
        }
    )
    lap(f"{len(windows)} windows: four networks, {epochs} epochs, 5 folds")
    runs = {(run.name, run.fold.name): run.model for run in found}
    found = train(
        lambda fold, seed: {
            "mlp": Task(FusionMLP(runs["mood", fold.name], runs["change", fold.name]))
        }
    )
    lap("2-CNN+MLP")
    runs |= {(run.name, run.fold.name): run.model for run in found}
    train(
        lambda fold, seed: {
            "alone": Task(MoodCNN()),
            "taught": Task(MoodCNN(), teacher=runs["mlp", fold.name]),
        }
    )
    lap("students")


if __name__ == "__main__":
    if "--full" in sys.argv[1:]:
        full(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    else:
        ratios()
