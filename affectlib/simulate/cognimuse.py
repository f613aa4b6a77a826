"""Simulated COGNIMUSE: films annotated 25 times a second."""

from pathlib import Path

import numpy as np

from affectlib.simulate.affect import course
from affectlib.simulate.build import (
    ANNOTATION_HERTZ,
    build_corpus,
    durations,
    encode,
    film_rng,
    put,
    ratios,
    render,
)

LEAD_IN = (2.0, 0.0, -0.94)  # the annotation tool's start: for how many seconds, valence, arousal


def make_cognimuse(root, *, n_films=12, seconds=90.0, seed=0, snr=None, jobs=2):
    """Writes a simulated COGNIMUSE in the form of its first seven films, and loads it.

    Args:
        root: folder of the corpus, created where absent
        n_films: films, at most the real corpus's twelve
        seconds: length of each film
        seed: of everything; the files do not depend on ``jobs``
        snr: signal-to-noise ratio of what sound, scene, motion and face show of the annotated affect,
            those missing taken from ``SNR``
        jobs: processes. Above 1 a script needs the usual ``if __name__ == "__main__":``

    Returns:
        Corpus, as ``load_cognimuse`` gives it

    Raises:
        ValueError: if an argument is out of its range
        CorpusFormatError: if ``root`` holds files that no simulator wrote
    """
    from affectlib.corpora.cognimuse import FILMS, load_cognimuse

    if not 1 <= n_films <= len(FILMS):
        raise ValueError(f"n_films lies between 1 and {len(FILMS)}, not at {n_films}")
    root, snr = Path(root), ratios(snr)
    tasks = [
        (root, code, seed, index, durations(seconds), snr)
        for index, code in enumerate(list(FILMS)[:n_films])
    ]
    files = [
        name
        for task in tasks
        for name in (f"{task[1]}/{task[1]}.mp4", f"{task[1]}/emotion/intended_1.dat")
    ]
    arguments = {"n_films": n_films, "seconds": seconds, "seed": seed, "snr": snr}
    build_corpus(root, "cognimuse", arguments, files, lambda: {}, _write_film, tasks, jobs)
    return load_cognimuse(root)


def _write_film(root, code, seed, index, seconds, snr):
    rng = np.random.default_rng([seed, 0, index])
    times, valence, arousal = course(seconds, hertz=ANNOTATION_HERTZ, rng=rng)
    pictures, signal = render(valence, arousal, snr, rng, film_rng(seed, index))
    held = times < LEAD_IN[0]
    rows = np.stack(
        [times, np.where(held, LEAD_IN[1], valence), np.where(held, LEAD_IN[2], arousal)], 1
    )
    put(
        root / code / "emotion" / "intended_1.dat",
        "".join(f"{t:.2f} {v:.4f} {a:.4f}\n" for t, v, a in rows).encode(),
    )
    put(root / code / f"{code}.mp4", encode(pictures, signal))
