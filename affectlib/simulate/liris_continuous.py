"""Simulated LIRIS-ACCEDE, continuous part: films annotated once a second by several people."""

from pathlib import Path

import numpy as np

from affectlib.corpora.base import Corpus
from affectlib.corpora.liris_continuous import FILMS, TEST_FILMS, load_liris_continuous
from affectlib.simulate.affect import course
from affectlib.simulate.build import (
    ANNOTATION_HERTZ,
    build_corpus,
    durations,
    encode,
    film_rng,
    no_tables,
    ratios,
    render,
    write_file,
)
from affectlib.simulate.mediaeval import SNR

FRAME_RATE = 6.25  # features are looked at once a second
ANNOTATORS = 10  # a film, as in the real corpus
DISAGREEMENT = 0.3  # deviation of an annotator from the others
NOTES = "LIRIS-ACCEDE-continuous-annotations/continuous-annotations"
MOVIES = "LIRIS-ACCEDE-continuous-movies/continuous-movies"


def make_liris_continuous(
    root: str | Path,
    *,
    n_films: int = 12,
    seconds: float = 72.0,
    seed: int = 0,
    snr: dict[str, float] | None = None,
    jobs: int = 2,
) -> Corpus:
    """Writes a simulated LIRIS-ACCEDE, continuous part, and loads it.

    A fifth of the films, at least one, are test films of affectlib's split; the names are drawn
    evenly from the real ones.

    Args:
        root: folder of the corpus, created if absent
        n_films: films, from 3 to 30
        seconds: length of each film
        seed: of everything; the files do not depend on ``jobs``
        snr: signal-to-noise ratio by modality: how well sound, scene, motion and face show the
            annotated affect; a modality that is missing is taken from MediaEval 2018
        jobs: processes; above 1 a script needs the usual ``if __name__ == "__main__":``

    Returns:
        Corpus, as ``load_liris_continuous`` gives it

    Raises:
        ValueError: if an argument is out of its range
        FileFormatError: if ``root`` holds files that no simulator wrote
    """
    if not 3 <= n_films <= len(FILMS):
        raise ValueError(f"n_films lies between 3 and {len(FILMS)}, not at {n_films}")
    root = Path(root)
    ratio = ratios({**SNR, **(snr or {})})
    n_test = max(1, round(n_films * len(TEST_FILMS) / len(FILMS)))
    train_films = [film for film in FILMS if film not in TEST_FILMS]
    chosen = [*_evenly(train_films, n_films - n_test), *_evenly(TEST_FILMS, n_test)]
    tasks = [(root, film, seed, FILMS.index(film), durations(seconds), ratio) for film in chosen]
    files = [path for film in chosen for path in _files(film)]
    arguments = {"n_films": n_films, "seconds": seconds, "seed": seed, "snr": ratio}
    build_corpus(root, "liris_continuous", arguments, files, no_tables, _write_film, tasks, jobs)
    return load_liris_continuous(root)


def _evenly(names: list[str] | tuple[str, ...], count: int) -> list[str]:
    """Draws some of the names, evenly over the list."""
    places = np.linspace(0, len(names) - 1, count).round().astype(int)
    return [names[place] for place in places]


def _files(film: str) -> tuple[str, str, str]:
    """The film, its valence and its arousal."""
    return f"{MOVIES}/{film}.mp4", f"{NOTES}/{film}_Valence.txt", f"{NOTES}/{film}_Arousal.txt"


def _write_film(
    root: Path, film: str, seed: int, index: int, seconds: float, snr: dict[str, float]
) -> None:
    """Renders one film and writes its annotations."""
    rng = np.random.default_rng([seed, 0, index])
    _, valence, arousal = course(seconds, hertz=ANNOTATION_HERTZ, rng=rng)
    pictures, sound = render(valence, arousal, snr, rng, film_rng(seed, index), FRAME_RATE)
    movie, *notes = _files(film)
    write_file(root / movie, encode(pictures, sound, frame_rate=FRAME_RATE))
    for path, values in zip(notes, (valence, arousal), strict=True):
        write_file(root / path, _series(values, int(seconds), rng).encode())


def _series(values: np.ndarray, n_seconds: int, rng: np.random.Generator) -> str:
    """One annotation file: the mean over each second, and the deviation between annotators.

    Shape:
        values ``(seconds * ANNOTATION_HERTZ,)`` or a little longer
    """
    means = values[: n_seconds * ANNOTATION_HERTZ].reshape(n_seconds, ANNOTATION_HERTZ).mean(1)
    deviations = rng.normal(0, DISAGREEMENT, (ANNOTATORS, n_seconds)).std(0)
    rows = ["Time\tMean\tStd"]
    for second, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
        rows.append(f"{second}\t{mean:.6f}\t{deviation:.6f}")
    return "\n".join(rows) + "\n"
