"""The truth of a simulated film: valence and arousal over time, and what each modality shows."""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

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


def remembered_course(
    seconds: float,
    *,
    hertz: float,
    memory: float,
    rng: np.random.Generator,
    deviation: float = DEVIATION,
) -> tuple[np.ndarray, np.ndarray]:
    """A film that is felt with a memory: what it shows, and what its audience feels.

    What is shown moves as in :func:`course`. What is felt is its leaky integral,
    ``felt[t] = (1 - a) * shown[t] + a * felt[t - 1]`` with ``a = exp(-1 / (memory * hertz))``,
    brought back to the usual deviation. It is what an exponential moving average over clips assumes
    (shot_long, Eq. 2), and what a recurrent network over seconds can learn. The film is taken to
    have been running for a while: nothing is special about its first second.

    Args:
        seconds: length of the film
        hertz: values per second
        memory: seconds after which the weight of the past has fallen to 1 / e; 0 for no memory,
            where what is felt is what is shown
        rng: random generator
        deviation: standard deviation over long films, before the bound

    Returns:
        shown and felt, each with valence and arousal side by side

    Shape:
        each ``(round(seconds * hertz), 2)``

    Examples:
        >>> options = {"hertz": 5, "rng": np.random.default_rng(0)}
        >>> shown, felt = remembered_course(60, memory=20, **options)
        >>> bool(np.abs(np.diff(felt, axis=0)).max() < np.abs(np.diff(shown, axis=0)).max())
        True
    """
    n = round(seconds * hertz)
    # After five times its memory, nothing of the integrator's start is left.
    before = round(5 * memory * hertz)
    valence = drift(before + n, hertz=hertz, rng=rng)
    uncoupled = drift(before + n, hertz=hertz, rng=rng)
    arousal = COUPLING * valence + np.sqrt(1 - COUPLING**2) * uncoupled
    shown = np.stack([valence, arousal], axis=1)
    felt = _leaky(shown, memory=memory, hertz=hertz)
    return _bounded(shown[before:], 0.0, deviation), _bounded(felt[before:], 0.0, deviation)


def _leaky(shown: np.ndarray, *, memory: float, hertz: float) -> np.ndarray:
    """Leaky integral of drifting noise, of variance 1 again.

    Args:
        shown: noise as of :func:`drift`
        memory: in seconds; 0 for none
        hertz: values per second

    Shape:
        shown and result ``(n, series)``
    """
    if memory == 0:
        return shown
    decay = np.exp(-1 / (memory * hertz))
    mean = lfilter([1 - decay], [1, -decay], shown, axis=0)
    # The variance of a weighted sum is the sum, over all lags, of the autocorrelation times what
    # the weights have in common at that lag: (1 - a) / (1 + a) * a^|lag|.
    lags = np.arange(1, round(20 * max(memory, MOOD_SECONDS) * hertz))
    common = decay**lags * _autocorrelation(lags / hertz)
    variance = (1 - decay) / (1 + decay) * (1 + 2 * common.sum())
    return mean / np.sqrt(variance)


def _autocorrelation(seconds: np.ndarray) -> np.ndarray:
    """Correlation of :func:`drift` with itself some seconds later."""
    mood = np.exp(-((seconds / MOOD_SECONDS) ** 2) / 4)
    emotion = np.exp(-((seconds / EMOTION_SECONDS) ** 2) / 4)
    return MOOD_SHARE * mood + (1 - MOOD_SHARE) * emotion


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
