"""Simulated COGNIMUSE: films annotated 25 times a second."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from affectlib.corpora.base import Corpus
from affectlib.corpora.cognimuse import FILMS, load_cognimuse
from affectlib.simulate.affect import course, view
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

# The annotation tool begins with a fixed value, held for some seconds.
LEAD_IN_SECONDS = 2.0
LEAD_IN_VALENCE = 0.0
LEAD_IN_AROUSAL = -0.94


def make_cognimuse(
    root: Path | str,
    *,
    n_films: int = 12,
    seconds: float = 90.0,
    seed: int = 0,
    snr: Mapping[str, float] | None = None,
    jobs: int = 2,
) -> Corpus:
    """Writes a simulated COGNIMUSE in the form of its first seven films, and loads it.

    Args:
        root: folder of the corpus, created if absent
        n_films: number of films, at most the real corpus's twelve
        seconds: length of each film
        seed: of everything; the files do not depend on ``jobs``
        snr: signal-to-noise ratio by modality: how well sound, scene, motion and face show the
            annotated affect; a modality that is missing is taken from ``build.SNR``
        jobs: processes; above 1 a script needs the usual ``if __name__ == "__main__":``

    Returns:
        Corpus, as ``load_cognimuse`` gives it

    Raises:
        ValueError: if an argument is out of its range
        FileFormatError: if ``root`` holds files that no simulator wrote
    """
    if not 1 <= n_films <= len(FILMS):
        raise ValueError(f"n_films lies between 1 and {len(FILMS)}, not at {n_films}")
    root = Path(root)
    snr = ratios(snr)
    length = durations(seconds)
    tasks = []
    files = []
    for index, code in enumerate(list(FILMS)[:n_films]):
        tasks.append((root, code, seed, index, length, snr))
        files += [_film_file(code), _annotation_file(code)]
    arguments = {"n_films": n_films, "seconds": seconds, "seed": seed, "snr": snr}
    build_corpus(root, "cognimuse", arguments, files, no_tables, _write_film, tasks, jobs)
    return load_cognimuse(root)


def _film_file(code):
    return f"{code}/{code}.mp4"


def _annotation_file(code):
    return f"{code}/emotion/intended_1.dat"


def _write_film(root, code, seed, index, seconds, snr):
    """Writes the annotation of one film, and the film that shows it."""
    rng = np.random.default_rng([seed, 0, index])
    times, valence, arousal = course(seconds, hertz=ANNOTATION_HERTZ, rng=rng)
    pictures, signal = render(valence, arousal, snr, rng, film_rng(seed, index))
    is_held = times < LEAD_IN_SECONDS
    annotated_valence = np.where(is_held, LEAD_IN_VALENCE, valence)
    annotated_arousal = np.where(is_held, LEAD_IN_AROUSAL, arousal)
    rows = [
        f"{time:.2f} {v:.4f} {a:.4f}\n"
        for time, v, a in zip(times, annotated_valence, annotated_arousal, strict=True)
    ]
    write_file(root / _annotation_file(code), "".join(rows).encode())
    write_file(root / _film_file(code), encode(pictures, signal))


class SegmentViews(NamedTuple):
    """What the modalities of some films show, segment by segment.

    Shape:
        each token ``(segments, size)``; valence, arousal and films ``(segments,)``
    """

    tokens: dict[str, np.ndarray]
    valence: np.ndarray
    arousal: np.ndarray
    films: tuple[str, ...]


def segment_views(
    *,
    n_films: int,
    n_segments: int = 60,
    seconds: float = 5.0,
    size: int = 8,
    seed: int = 0,
    snr: Mapping[str, float] | None = None,
) -> SegmentViews:
    """The simulator's affect and what each modality shows of it, without pictures and sound.

    A film takes seconds to render and to describe, this takes milliseconds: enough films for a
    planted effect that must be found, and for a control in which there is none. Two calls with the
    same seed and another ``snr`` differ in the modalities with another ratio, and in nothing else.

    Args:
        n_films: number of films
        n_segments: segments of each
        seconds: length of a segment
        size: descriptors of a modality; each is a mixture of the valence and the arousal that it
            shows, with a little noise
        seed: of everything
        snr: signal-to-noise ratios, as for :func:`make_cognimuse`

    Returns:
        SegmentViews, its tokens by modality

    Examples:
        >>> views = segment_views(n_films=2, n_segments=3)
        >>> views.tokens["sound"].shape, views.films[2:4]
        ((6, 8), ('film 0', 'film 1'))
    """
    snr = ratios(snr)
    mixing = np.random.default_rng([seed, 2]).standard_normal((len(snr), 2, size))
    truth = []
    shown = {name: [] for name in snr}
    for film in range(n_films):
        rng = np.random.default_rng([seed, 3, film])
        _, *signals = course(n_segments * seconds, hertz=ANNOTATION_HERTZ, rng=rng)
        truth.append(_segment_means(signals, n_segments))
        for mix, (name, ratio) in zip(mixing, snr.items(), strict=True):
            views = [view(signal, ratio, rng, hertz=ANNOTATION_HERTZ) for signal in signals]
            descriptors = _segment_means(views, n_segments) @ mix  # (segments, size)
            shown[name].append(descriptors + 0.1 * rng.standard_normal(descriptors.shape))
    valence, arousal = np.concatenate(truth).T
    films = tuple(f"film {film}" for film in range(n_films) for _ in range(n_segments))
    tokens = {name: np.concatenate(parts) for name, parts in shown.items()}
    return SegmentViews(tokens, valence, arousal, films)


def _segment_means(signals, n_segments):
    """Means of valence and arousal within each segment, ``(segments, 2)``."""
    values = np.stack(signals, axis=1)  # (values, 2)
    return values.reshape(n_segments, -1, 2).mean(1)
