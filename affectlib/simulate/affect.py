"""The truth of a simulated film: valence and arousal over time, and what each modality shows."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

MOOD_SECONDS = 6.0  # time scale of the slow part of a course
EMOTION_SECONDS = 1.5  # time scale of the fast part
MOOD_SHARE = 0.7  # share of the slow part in the variance
COUPLING = 0.2  # correlation of arousal with valence
DEVIATION = 0.4  # standard deviation of valence and arousal over long films


def slow_noise(n: int, *, seconds: float, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth Gaussian noise of mean 0 and variance 1.

    White noise under a Gaussian window. Two values that lie apart by one ``seconds`` have a
    correlation of 0.78, by two 0.37, by four 0.02.

    Args:
        n: number of values
        seconds: time scale
        hertz: values per second
        rng: random generator

    Shape:
        result ``(n,)``
    """
    sigma = seconds * hertz
    margin = int(np.ceil(4 * sigma))
    white = rng.standard_normal(n + 2 * margin)
    smooth = gaussian_filter1d(white, sigma, mode="wrap", truncate=4)
    # A Gaussian window divides the variance by 2 sqrt(pi) sigma.
    return smooth[margin : margin + n] * np.sqrt(2 * np.sqrt(np.pi) * sigma)


def drift(n: int, *, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """Slow mood plus fast emotion: noise of variance 1 on two time scales.

    Args:
        n: number of values
        hertz: values per second
        rng: random generator

    Shape:
        result ``(n,)``
    """
    mood = slow_noise(n, seconds=MOOD_SECONDS, hertz=hertz, rng=rng)
    emotion = slow_noise(n, seconds=EMOTION_SECONDS, hertz=hertz, rng=rng)
    return np.sqrt(MOOD_SHARE) * mood + np.sqrt(1 - MOOD_SHARE) * emotion


def course(
    seconds: float,
    *,
    hertz: float,
    rng: np.random.Generator,
    mean: tuple[float, float] = (0.0, 0.0),
    deviation: float = DEVIATION,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The valence and arousal of one film over time.

    Both are slow mood plus fast emotion, bounded by tanh. Arousal follows valence weakly.

    Args:
        seconds: length of the film
        hertz: values per second
        rng: random generator
        mean: level of valence and of arousal around which the film moves
        deviation: standard deviation over long films, before the bound

    Returns:
        times in seconds, valence, arousal

    Shape:
        each ``(round(seconds * hertz),)``

    Examples:
        >>> times, valence, arousal = course(60, hertz=25, rng=np.random.default_rng(0))
        >>> len(times), bool(np.abs(valence).max() < 1), bool(np.abs(arousal).max() < 1)
        (1500, True, True)
    """
    n = round(seconds * hertz)
    times = np.arange(n) / hertz
    valence = drift(n, hertz=hertz, rng=rng)
    uncoupled = drift(n, hertz=hertz, rng=rng)
    arousal = COUPLING * valence + np.sqrt(1 - COUPLING**2) * uncoupled
    return (
        times,
        _bounded(valence, mean[0], deviation),
        _bounded(arousal, mean[1], deviation),
    )


def _bounded(noise: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """Noise around a mean, bounded to (-1, 1) by tanh."""
    # tanh narrows the spread; the factor of 1.2 makes up for it at the usual deviation.
    return np.tanh(np.arctanh(mean) + 1.2 * deviation * noise)


def view(
    signal: np.ndarray,
    snr: float,
    rng: np.random.Generator,
    *,
    hertz: float,
    deviation: float = DEVIATION,
) -> np.ndarray:
    """What one modality shows of the truth: the signal plus independent noise of the same slowness.

    Args:
        signal: valence or arousal in [-1, 1]
        snr: variance of films in general (``deviation`` squared) over that of the noise;
            ``np.inf`` for no noise
        rng: random generator
        hertz: values per second
        deviation: standard deviation of films in general

    Shape:
        signal and result ``(n,)``, the result clipped to [-1, 1]

    Raises:
        ValueError: if ``snr`` is not above 0
    """
    if not snr > 0:
        raise ValueError(f"a signal-to-noise ratio lies above 0, not at {snr}")
    noise = drift(len(signal), hertz=hertz, rng=rng)
    return np.clip(signal + deviation / np.sqrt(snr) * noise, -1, 1)
