"""The known truth of a simulated film: a course of valence and arousal, and what each modality shows of it."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

MOOD_SECONDS, EMOTION_SECONDS = 6.0, 1.5
MOOD_SHARE, COUPLING = 0.7, 0.2
DEVIATION = 0.4


def slow_noise(n, *, seconds, hertz, rng):
    """Smooth Gaussian noise of mean 0 and variance 1.

    White noise under a Gaussian window, so that two values lie apart by one ``seconds``
    with correlation 0.78, by two with 0.37, by four with 0.02.

    Shape:
        result ``(n,)``
    """
    sigma = seconds * hertz
    margin = int(np.ceil(4 * sigma))
    white = rng.standard_normal(n + 2 * margin)
    smooth = gaussian_filter1d(white, sigma, mode="wrap", truncate=4)
    return smooth[margin : margin + n] * np.sqrt(2 * np.sqrt(np.pi) * sigma)


def drift(n, *, hertz, rng):
    """Slow mood plus fast emotion: noise of variance 1 on two time scales, ``(n,)``."""
    mood = slow_noise(n, seconds=MOOD_SECONDS, hertz=hertz, rng=rng)
    emotion = slow_noise(n, seconds=EMOTION_SECONDS, hertz=hertz, rng=rng)
    return np.sqrt(MOOD_SHARE) * mood + np.sqrt(1 - MOOD_SHARE) * emotion


def course(seconds, *, hertz, rng, mean=(0.0, 0.0), deviation=DEVIATION):
    """One film's valence and arousal over time.

    Both are slow mood plus fast emotion, bounded by tanh; arousal follows valence weakly.

    Args:
        seconds: length of the film
        hertz: values per second
        rng: numpy random generator
        mean: level of valence and of arousal around which the film moves
        deviation: standard deviation over long films, before the bound

    Shape:
        result times, valence, arousal, each ``(round(seconds * hertz),)``

    Examples:
        >>> times, valence, arousal = course(60, hertz=25, rng=np.random.default_rng(0))
        >>> len(times), bool(np.abs(valence).max() < 1), bool(np.abs(arousal).max() < 1)
        (1500, True, True)
    """
    n = round(seconds * hertz)
    valence = drift(n, hertz=hertz, rng=rng)
    arousal = COUPLING * valence + np.sqrt(1 - COUPLING**2) * drift(n, hertz=hertz, rng=rng)
    bounded = [
        np.tanh(np.arctanh(m) + 1.2 * deviation * x)
        for m, x in zip(mean, (valence, arousal), strict=True)
    ]
    return np.arange(n) / hertz, *bounded


def view(signal, snr, rng, *, hertz, deviation=DEVIATION):
    """What one modality shows of the truth: the signal plus independent noise of the same slowness.

    Args:
        signal: valence or arousal in [-1, 1]
        snr: variance of films in general (``deviation`` squared) over that of the noise; ``np.inf`` for none
        rng: numpy random generator

    Shape:
        signal and result ``(n,)``, the result clipped to [-1, 1]

    Raises:
        ValueError: if ``snr`` is not above 0
    """
    if not snr > 0:
        raise ValueError(f"a signal-to-noise ratio lies above 0, not at {snr}")
    noise = drift(len(signal), hertz=hertz, rng=rng)
    return np.clip(signal + deviation / np.sqrt(snr) * noise, -1, 1)
