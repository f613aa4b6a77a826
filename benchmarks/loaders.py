"""Reading the text files of a corpus: our loaders against ``pandas.read_csv`` on the same files.

Ours look at every value: a fault is named by file and row.
"""

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np
import pandas as pd

from affectlib.corpora import load_cognimuse, load_mediaeval18
from affectlib.corpora.cognimuse import FILMS, HERTZ
from benchmarks.common import Comparison, Way


def write_mediaeval18(root: Path, *, films: int, seconds: int = 1950) -> list[Path]:
    """Annotations as the organisers lay them out, beside films of one grey picture a second."""
    grey = root / "grey.mp4"
    write_grey(grey, seconds)
    files = []
    for number in range(films):
        os.link(grey, root / f"MEDIAEVAL18_{number:02d}.mp4")
        part = "DevSet" if number < 54 else "TestSet"
        folder = root / f"MEDIAEVAL18-{part}-Valence_Arousal-annotations"
        folder.mkdir(exist_ok=True)
        values = np.random.default_rng(number).uniform(-1, 1, (seconds, 2))
        table = pd.DataFrame(values, columns=["Valence", "Arousal"])
        table.insert(0, "Time", np.arange(seconds))
        files.append(folder / f"MEDIAEVAL18_{number:02d}_Valence-Arousal.txt")
        table.to_csv(files[-1], sep="\t", index=False, float_format="%.6f")
    grey.unlink()
    return files


def write_grey(path: Path, seconds: int) -> None:
    """A film of the right length and nothing on it."""
    frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 128, np.uint8), format="rgb24")
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=1)
        video.width = video.height = 16
        for second in range(seconds):
            frame.pts = second
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def write_cognimuse(root: Path, *, rows: int) -> list[Path]:
    """Annotations of all twelve films, without films."""
    files = []
    for number, code in enumerate(FILMS):
        folder = root / code / "emotion"
        folder.mkdir(parents=True)
        values = np.random.default_rng(number).uniform(-1, 1, (rows, 2))
        times = np.arange(rows) / HERTZ
        files.append(folder / "intended_1.dat")
        np.savetxt(files[-1], np.column_stack([times, values]), fmt="%.4f")
    return files


def read_all(files: list[Path], **options: object) -> list[pd.DataFrame]:
    """What a user would write."""
    return [pd.read_csv(file, **options) for file in files]


def comparisons() -> Iterator[Comparison]:
    """Both corpora with films of real length."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = write_mediaeval18(root, films=66)
        yield Comparison(
            "MediaEval 2018, annotations of 66 films of 1,950 s",
            Way("load_mediaeval18", partial(load_mediaeval18, root)),
            [Way("pandas.read_csv, nothing checked", partial(read_all, files, sep="\t"))],
            rounds=3,
        )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = write_cognimuse(root, rows=15_000)
        yield Comparison(
            "COGNIMUSE, annotations of 12 films of 600 s at 25 Hz",
            Way("load_cognimuse", partial(load_cognimuse, root, films=False)),
            [
                Way(
                    "pandas.read_csv, nothing checked",
                    partial(read_all, files, sep=" ", header=None),
                )
            ],
            rounds=3,
        )
