"""AFEW-VA: where the time of an epoch of the 1-CNN goes, against the usual ways to load windows.

python benchmarks/afew_va.py             ratios, on simulated clips enlarged to AFEW's 720 x 576
python benchmarks/afew_va.py --notebook  the training cells of 01_mood_change at demo size, 1 epoch
python benchmarks/afew_va.py --full 10   600 clips, decoded once, 10 epochs of every model of
                                         Table 1 on 5 folds
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

from affectlib import paths
from affectlib.corpora import Corpus, Fold, frame_array, with_mood
from affectlib.models import mood_change as plain
from affectlib.models.mood_change import (
    FusionMLP,
    MoodCNN,
    Task,
    TwoBranchCNN,
    Windows,
    subject_folds,
)
from affectlib.simulate import make_afew_va
from affectlib.stacked import mood_change as fast

BATCH = 128
Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


class Pngs(Dataset):
    """Opens and stacks five pngs per item."""

    def __init__(self, corpus: Corpus, windows: Windows):
        folders = corpus.clips.set_index("clip")["path"]
        self.files = []
        for clip, frame in zip(
            corpus.annotations["clip"], corpus.annotations["frame"], strict=True
        ):
            self.files.append(f"{folders[clip]}/{frame:05d}.png")
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = int(self.windows.start[i])
        pictures = []
        for file in self.files[start : start + self.windows.k]:
            small = cv2.resize(cv2.imread(file), (32, 32), interpolation=cv2.INTER_AREA)
            pictures.append(small[..., ::-1])
        return torch.from_numpy(np.stack(pictures)), self.windows.targets["mood"][i]


class Items(Dataset):
    """One window per item from the array in memory."""

    def __init__(self, windows: Windows):
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = int(self.windows.start[i])
        return self.windows.frames[start : start + self.windows.k], self.windows.targets["mood"][i]


def gathered(windows: Windows) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches as the library makes them: one gather each."""
    for rows in torch.randperm(len(windows)).split(BATCH):
        yield windows.take(rows), windows.targets["mood"][rows]


def epoch(batches: Batches) -> tuple[float, float]:
    """One epoch of the 1-CNN.

    Returns:
        seconds per window, and the share of them outside forward, backward and step
    """
    torch.manual_seed(0)
    model = MoodCNN()
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    begun = time.perf_counter()
    learning = 0.0
    count = 0
    for x, target in batches:
        step_begun = time.perf_counter()
        optimiser.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimiser.step()
        learning += time.perf_counter() - step_begun
        count += len(target)
    total = time.perf_counter() - begun
    return total / count, 1 - learning / total


def at_real_size(corpus: Corpus, folder: Path) -> Corpus:
    """The same clips with frames of 720 x 576, as AFEW-VA has them, with the grain of a film."""
    rng = np.random.default_rng(0)
    folders = []
    for path in map(Path, corpus.clips["path"]):
        enlarged = folder / path.name
        enlarged.mkdir()
        for file in sorted(path.glob("*.png")):
            large = cv2.resize(cv2.imread(str(file)), (720, 576), interpolation=cv2.INTER_CUBIC)
            large = np.clip(large + rng.integers(-4, 5, large.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(enlarged / file.name), large)
        folders.append(str(enlarged))
    return replace(corpus, clips=corpus.clips.assign(path=folders))


def seconds_of_fit(
    fit: Callable, windows: Windows, models: int, *, epochs: int = 3, folds: int = 1, jobs: int = 1
) -> float:
    """Seconds per window, epoch and model; all clips but two train."""
    clips = np.arange(windows.clip.max() + 1)
    fold = Fold("all", clips[2:], clips[:1], clips[1:2])
    begun = time.perf_counter()
    fit(
        lambda fold, seed: {"1-CNN": Task(MoodCNN())},
        windows,
        [fold] * folds,
        seeds=range(models),
        epochs=epochs,
        jobs=jobs,
    )
    trained = epochs * models * folds * len(windows.in_clips(fold.train))
    return (time.perf_counter() - begun) / trained


def ratios(clips: int = 24) -> None:
    corpus = make_afew_va(paths.CACHE / "corpora" / "afew_va-benchmark", n_clips=clips)
    decoding = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        large = at_real_size(with_mood(corpus), Path(folder))
        # In turns, so that a busy minute falls on both.
        for turn, jobs in enumerate((1, 2, 2, 1)):
            begun = time.perf_counter()
            store = Path(folder) / f"store{turn}"
            frames = np.array(frame_array(large, crop="frame", store=store, jobs=jobs))
            decoding[jobs].append(time.perf_counter() - begun)
        windows = Windows.cut(large, frames, 5)
        some = range(0, len(windows), max(1, len(windows) // 256))
        png, _ = epoch(DataLoader(Subset(Pngs(large, windows), some), BATCH))
    epoch(gathered(windows))  # warms up
    item, gather, outside = [], [], []
    for _ in range(3):
        item.append(epoch(DataLoader(Items(windows), BATCH, shuffle=True))[0])
        seconds, share = epoch(gathered(windows))
        gather.append(seconds)
        outside.append(share)
    best = min(gather)
    print(
        f"{len(windows)} windows of {tuple(windows.take([0]).shape[1:])}, batches of {BATCH}, "
        "one thread unless said otherwise"
    )
    print(f"{'epoch of the 1-CNN':<46} {'ms/window':>9} {'ratio':>6}")
    rows = {
        "five pngs of 720 x 576 opened per item": png,
        "in memory, item by item": min(item),
        "one gather": best,
    }
    for name, module in (("plain", plain), ("fast", fast)):
        fit = module.fit_mood_folds
        rows[f"{name} training, one model"] = seconds_of_fit(fit, windows, 1)
        rows[f"{name} training, four models"] = seconds_of_fit(fit, windows, 4)
        rows[f"{name} training, four models, two threads"] = seconds_of_fit(
            fit, windows, 4, folds=4, jobs=2
        )
    for name, value in rows.items():
        print(f"{name:<46} {1000 * value:9.3f} {value / best:6.2f}")
    print(f"share of one gather outside forward, backward and step: {min(outside):.1%}")
    single, double = min(decoding[1]), min(decoding[2])
    print(
        f"first pass, {len(frames)} frames decoded once: one thread {single:.1f} s, "
        f"two {double:.1f} s, ratio {single / double:.2f}"
    )


class Laps:
    """Prints the seconds since the lap before, of the clock and of the processor."""

    def __init__(self):
        self.clock = time.perf_counter()
        self.processor = time.process_time()

    def lap(self, name: str) -> None:
        clock, processor = time.perf_counter(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"  {name:<44} {clock - self.clock:7.1f} s, "
            f"processor {processor - self.processor:7.1f} s, peak {peak:.2f} GiB",
            flush=True,
        )
        self.clock, self.processor = clock, processor


def table_1(train: Callable, mlp_epochs: int, laps: Laps) -> None:
    """Every model of Table 1; ``train`` is a ``fit_mood_folds`` with windows, folds and options."""

    def networks(fold, seed):
        return {
            "mood": Task(MoodCNN()),
            "change": Task(MoodCNN(), ("change",)),
            "2-CNN": Task(TwoBranchCNN(), ("mood", "change")),
            "shared": Task(TwoBranchCNN(shared="convolutions"), ("mood", "change")),
        }

    models = {}
    for run in train(networks):
        models[run.name, run.fold.name, run.seed] = run.model
    laps.lap("four networks")

    def fusion(fold, seed):
        mood, change = (models[name, fold.name, seed] for name in ("mood", "change"))
        return {"mlp": Task(FusionMLP(mood, change))}

    for run in train(fusion, epochs=mlp_epochs):
        models[run.name, run.fold.name, run.seed] = run.model
    laps.lap("2-CNN+MLP")

    def students(fold, seed):
        teacher = models["mlp", fold.name, seed]
        return {"alone": Task(MoodCNN()), "taught": Task(MoodCNN(), teacher=teacher)}

    train(students)
    laps.lap("students")


def notebook(epochs: int = 1) -> None:
    """The training cells of the notebook, plain and fast, in the notebook's double precision."""
    torch.set_default_dtype(torch.float64)
    place = paths.CACHE / "corpora" / "afew_va-100x15-27"
    corpus = with_mood(make_afew_va(place, n_clips=100, frames=(15, 27)))
    windows = Windows.cut(corpus, frame_array(corpus, crop="frame"), 5)
    folds = subject_folds(corpus, 5)
    for name, module in (("fast", fast), ("plain", plain)):
        print(name)
        options = {"windows": windows, "folds": folds, "seeds": range(2), "batch_size": 64}
        table_1(partial(module.fit_mood_folds, epochs=epochs, **options), epochs, Laps())


def full(epochs: int) -> None:
    laps = Laps()
    corpus = with_mood(make_afew_va(paths.CACHE / "corpora" / "afew_va-full", n_clips=600))
    laps.lap(f"{len(corpus)} clips, {len(corpus.annotations)} frames written and read")
    frames = frame_array(corpus, crop="frame")
    laps.lap("decoded once")
    windows = Windows.cut(corpus, frames, 5)
    print(f"{len(windows)} windows, {epochs} epochs, 5 folds")
    folds = subject_folds(corpus, 5)
    train = partial(fast.fit_mood_folds, windows=windows, folds=folds, epochs=epochs)
    table_1(train, epochs, laps)


if __name__ == "__main__":
    if "--full" in sys.argv[1:]:
        full(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    elif "--notebook" in sys.argv[1:]:
        notebook()
    else:
        ratios()
