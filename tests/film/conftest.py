"""Small films, and analyses of them that no model had to be trained for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affectlib import media
from affectlib.features import FeatureTable
from affectlib.features import film as cut_film
from affectlib.film.base import Analysis, Contents, Curve, Likeness
from affectlib.simulate.build import encode

RATE = 5  # pictures per second


@pytest.fixture(scope="session")
def write_film() -> Callable[..., Path]:
    """Writes a film whose picture turns from black to white, with a tone."""

    def write(path: Path, seconds: float = 40, *, size: tuple[int, int] = (64, 48)) -> Path:
        width, height = size
        count = round(seconds * RATE)
        greys = np.linspace(0, 255, count).astype(np.uint8)
        pictures = [np.full((height, width, 3), grey) for grey in greys]
        time = np.arange(round(seconds * media.SAMPLING_RATE)) / media.SAMPLING_RATE
        tone = (0.1 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
        content = encode(
            pictures, tone, frame_rate=RATE, sampling_rate=media.SAMPLING_RATE, size=size
        )
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(scope="session")
def analysis_of() -> Callable[..., Analysis]:
    """An analysis of a film with made-up numbers: a wave, some shots, a face every second."""

    def make(path: Path, *, kind: str = "simulated") -> Analysis:
        corpus = cut_film(path)
        about = media.probe(path)
        count = len(corpus)
        starts = corpus.clips["start"].to_numpy(float)
        ends = starts + corpus.clips["seconds"].to_numpy(float)
        wave = np.sin(np.arange(count))
        curves = {}
        for target, middle in {"valence": 0.5 * wave, "arousal": 0.3 - 0.4 * wave}.items():
            curves[target] = Curve(
                target=target,
                models=middle[None],
                middle=middle,
                lower=middle - 0.9,
                upper=middle + 0.9,
                level=0.9,
                band="made up",
                modalities={"sound": middle / 2, "picture": middle * 2},
            )
        distance = np.linspace(0, 2, count)
        segments = pd.DataFrame({"start": starts, "end": ends, "missing": ""})
        contents = segments[["start", "end"]].assign(brightness=np.linspace(0, 1, count))
        cuts = np.arange(0, about.seconds, 4)
        shots = pd.DataFrame(
            {"start": cuts, "end": np.r_[cuts[1:], about.seconds], "scene": np.arange(len(cuts))}
        )
        places = ["time", "left", "top", "right", "bottom"]
        faces = pd.DataFrame([[1.0, 10, 10, 30, 40], [3.0, 20, 10, 40, 40]], columns=places)
        values = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
        return Analysis(
            path=path,
            media=about,
            segments=segments,
            table=FeatureTable(
                tuple(corpus.clips["clip"]), {"toy": values}, {"toy": ("one", "two")}, False
            ),
            curves=curves,
            likeness=Likeness(distance, 1 - distance / 2, 1.5, 0.05, "Some segments are unlike."),
            contents=Contents(contents, shots, faces, (0.0, 1.0, 2.0, 3.0)),
            model="Models that were made up.",
            kind=kind,
            licence="none",
            caveats=("Nothing can be said.",),
        )

    return make
