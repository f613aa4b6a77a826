"""Sound: descriptors by librosa and openSMILE, and the spectrogram that VGGish takes.

References:
    Hershey et al. (2017), CNN architectures for large-scale audio classification, ICASSP: VGGish.
    Eyben, Wöllmer and Schuller (2010), openSMILE, ACM Multimedia.
    Schuller et al. (2010), The INTERSPEECH 2010 paralinguistic challenge: emobase2010.
    Krumhansl (1990), Cognitive foundations of musical pitch: the key profiles.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from affectlib import paths
from affectlib.errors import FileFormatError
from affectlib.features.extractor import Extractor
from affectlib.features.store import write
from affectlib.media import SAMPLING_RATE

if TYPE_CHECKING:
    import opensmile

FRAME = 1024  # of the spectrum, in samples
HOP = 512  # between frames of the spectrum, in samples
BANDS = 32  # of the mel spectrogram
COEFFICIENTS = 20  # of the mel cepstrum
# Krumhansl's profiles: how well each pitch class fits C major and C minor.
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
FRAMEWISE = (
    *(f"logmel_{k}" for k in range(BANDS)),
    *(f"mfcc_{k}" for k in range(COEFFICIENTS)),
    *(f"tonnetz_{k}" for k in range(6)),
    *(f"contrast_{k}" for k in range(7)),
    "loudness",
    "centroid",
    "bandwidth",
    "rolloff",
    "flatness",
    "zero_crossing",
    "onset",
)
SOUND_NAMES = (
    *(f"{name}_mean" for name in FRAMEWISE),
    *(f"{name}_sd" for name in FRAMEWISE),
    *(f"chroma_{k}" for k in range(12)),
    "loudness_p95",
    "loudness_p5",
    "tempo",
    "pulse",
    "mode",
    "key_strength",
)
SLOWEST = 40  # tempo that is looked for, in beats per minute
FASTEST = 240
USUAL = 120  # tempo from which others are counted, in octaves
VGGISH_WINDOW = 400  # samples
VGGISH_HOP = 160  # samples
VGGISH_FFT = 512  # points
VGGISH_BANDS = 64
VGGISH_FRAMES = 96  # of one example
VGGISH_EDGES = (125, 7500)  # of the lowest and the highest band, in Hz
# Frames whose spectra are computed at once: they stay in the cache of the processor.
VGGISH_BLOCK = 192


def sound() -> Extractor:
    """Loudness, spectrum, timbre, harmony and rhythm by librosa, from one short-time spectrum."""
    return Extractor("sound", 1, SOUND_NAMES, sound_vector, sound=True)


def emobase(*, hop: float = 0.04) -> Extractor:
    """openSMILE's emobase2010 (``IS10``): 1,582 functionals, averaged over the clip.

    Functionals are of frames of 320 ms.
    One pass over a clip gives the functionals of all its frames,
    many times faster than a call per frame (``benchmarks/sound.py``).
    The two differ: here pitch and smoothing run on through the clip,
    where a call per frame starts anew every 320 ms and has no pitch at its edges.
    Positions of extremes and pitch statistics are the ones that move.

    Args:
        hop: seconds between frames; the paper's is 0.04.
            A wider one saves a sixth of the time at most

    References:
        Thao, Balamurali, Herremans and Roig (2020), AttendAffectNet, section III-B.
    """
    return Extractor(
        "emobase",
        1,
        _smile_names(),
        emobase_vector,
        sound=True,
        shortest=0.5,
        options=(("hop", hop),),
    )


def sound_vector(signal: np.ndarray) -> np.ndarray:
    """Describes sound.

    Args:
        signal: mono, at 16 kHz, in [-1, 1]

    Shape:
        signal ``(samples,)``; result ``(162,)``
    """
    import librosa

    # Silence fills a shorter clip up to two frames.
    missing = 2 * FRAME - len(signal)
    signal = np.pad(signal, (0, max(0, missing)))
    spectrum = np.abs(librosa.stft(signal, n_fft=FRAME, hop_length=HOP))  # (513, frames)
    power = spectrum**2
    chroma = librosa.feature.chroma_stft(S=power, tuning=0.0, sr=SAMPLING_RATE)  # (12, frames)
    mel = librosa.feature.melspectrogram(S=power, n_mels=BANDS, sr=SAMPLING_RATE)
    mel = librosa.power_to_db(mel, top_db=None, amin=1e-8)  # (32, frames)
    loudness = 10 * np.log10(np.maximum(power.mean(0), 1e-8))  # (frames,)
    # Growth of energy in the bands marks the onsets of notes and beats.
    growth = np.diff(mel, axis=1, prepend=mel[:, :1])
    onsets = np.maximum(growth, 0).mean(0)  # (frames,)
    mfcc = librosa.feature.mfcc(S=mel, n_mfcc=COEFFICIENTS)
    tonnetz = librosa.feature.tonnetz(chroma=chroma, sr=SAMPLING_RATE)
    contrast = librosa.feature.spectral_contrast(
        S=spectrum, fmin=100.0, n_bands=6, sr=SAMPLING_RATE
    )
    # Frequencies in kHz, so that all rows are of one order.
    centroid = librosa.feature.spectral_centroid(S=spectrum, sr=SAMPLING_RATE) / 1000
    bandwidth = librosa.feature.spectral_bandwidth(S=spectrum, sr=SAMPLING_RATE) / 1000
    rolloff = librosa.feature.spectral_rolloff(S=spectrum, sr=SAMPLING_RATE) / 1000
    flatness = librosa.feature.spectral_flatness(S=spectrum)
    crossings = librosa.feature.zero_crossing_rate(signal, frame_length=FRAME, hop_length=HOP)
    # In the order of FRAMEWISE.
    rows = np.vstack(
        [
            mel,
            mfcc,
            tonnetz,
            contrast,
            loudness,
            centroid,
            bandwidth,
            rolloff,
            flatness,
            crossings,
            onsets,
        ]
    )
    # Loud moments say more about the key than quiet ones.
    pitches = (chroma * power.mean(0)).sum(1)
    pitches /= max(pitches.sum(), 1e-9)
    return np.concatenate(
        [
            rows.mean(1),
            rows.std(1),
            pitches,
            np.percentile(loudness, [95, 5]),
            tempo(onsets),
            key(pitches),
        ]
    )


def tempo(onsets: np.ndarray) -> np.ndarray:
    """Pulse of an onset curve by autocorrelation.

    Librosa's tracker compiles for seconds; a clip of five seconds does not need it.

    Args:
        onsets: one value every 32 ms

    Returns:
        log2 of the beats per minute over 120, and how clear the pulse is;
        zeros where there is no pulse

    Shape:
        onsets ``(frames,)``; result ``(2,)``
    """
    shortest = round(60 / FASTEST * SAMPLING_RATE / HOP)
    longest = round(60 / SLOWEST * SAMPLING_RATE / HOP)
    lags = np.arange(shortest, longest + 1)
    centred = onsets - onsets.mean()
    energy = float(centred @ centred)
    if energy < 1e-6 or len(onsets) <= longest:
        return np.zeros(2)
    correlation = np.array([centred[lag:] @ centred[:-lag] for lag in lags]) / energy
    beats_per_minute = 60 * SAMPLING_RATE / (HOP * lags)
    octaves = np.log2(beats_per_minute / USUAL)
    # A pulse fits its multiples as well: the one nearest to a usual tempo is chosen.
    best = np.argmax(correlation * np.exp(-0.5 * octaves**2))
    return np.array([octaves[best], correlation[best]])


def key(pitches: np.ndarray) -> np.ndarray:
    """Major against minor, by correlation with the profiles of all keys.

    Args:
        pitches: share of each pitch class

    Returns:
        correlation with the best major key less that with the best minor key,
        and the larger of the two; zeros where all shares are equal

    Shape:
        pitches ``(12,)``; result ``(2,)``

    Examples:
        >>> bool(key(np.array(MAJOR))[0] > 0 > key(np.array(MINOR))[0])
        True
    """
    if np.std(pitches) < 1e-9:
        return np.zeros(2)
    major = _best_correlation(pitches, MAJOR)
    minor = _best_correlation(pitches, MINOR)
    return np.array([major - minor, max(major, minor)])


def _best_correlation(pitches: np.ndarray, profile: tuple[float, ...]) -> float:
    """Largest correlation with a profile in any of the twelve keys."""
    return max(np.corrcoef(pitches, np.roll(profile, k))[0, 1] for k in range(12))


def vggish_examples(signal: np.ndarray, sampling_rate: int) -> np.ndarray:
    """The input of VGGish: logarithms of a mel spectrogram, in examples of 0.96 s.

    Windows of 25 ms (periodic Hann) every 10 ms, magnitudes of 512 points,
    64 triangles on the HTK mel scale from 125 to 7,500 Hz, log of mel + 0.01.
    The values are those of the released front end, in float32.
    Examples do not overlap; the rest after the last one is not used.

    Args:
        signal: mono, in [-1, 1]
        sampling_rate: in Hz; sound of another rate than 16,000 is resampled

    Shape:
        signal ``(samples,)``; result ``(examples, 96, 64)``, float32; none below 0.975 s

    Raises:
        ValueError: if the signal is not mono

    Examples:
        >>> vggish_examples(np.zeros(32000), 16000).shape
        (2, 96, 64)
    """
    signal = np.asarray(signal, np.float32)
    if signal.ndim != 1:
        raise ValueError(f"expected mono sound (samples,), got {signal.shape}")
    if sampling_rate != SAMPLING_RATE:
        import librosa

        signal = librosa.resample(signal, orig_sr=sampling_rate, target_sr=SAMPLING_RATE)
    windows = max(0, 1 + (len(signal) - VGGISH_WINDOW) // VGGISH_HOP)
    examples = windows // VGGISH_FRAMES
    if examples == 0:
        return np.empty((0, VGGISH_FRAMES, VGGISH_BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(signal, VGGISH_WINDOW)[::VGGISH_HOP]
    mel = _vggish_mel(frames[: examples * VGGISH_FRAMES])
    # As in the released front end: keeps the logarithm of silence finite.
    mel += 0.01
    np.log(mel, out=mel)
    return mel.reshape(-1, VGGISH_FRAMES, VGGISH_BANDS)


def _vggish_mel(frames: np.ndarray) -> np.ndarray:
    """Mel spectrogram of some frames.

    Shape:
        frames ``(frames, 400)``, float32; result ``(frames, 64)``, float32
    """
    from scipy.fft import rfft

    window, triangles = _vggish_filters()
    mel = np.empty((len(frames), VGGISH_BANDS), np.float32)
    padded = np.zeros((VGGISH_BLOCK, VGGISH_FFT), np.float32)
    for first in range(0, len(frames), VGGISH_BLOCK):
        block = frames[first : first + VGGISH_BLOCK]
        np.multiply(block, window, out=padded[: len(block), :VGGISH_WINDOW])
        # Real and imaginary parts in turn, squared in place.
        parts = rfft(padded[: len(block)], axis=1).view(np.float32)
        np.multiply(parts, parts, out=parts)
        magnitudes = np.sqrt(parts[:, ::2] + parts[:, 1::2])  # (block, 257)
        np.matmul(magnitudes, triangles, out=mel[first : first + len(block)])
    return mel


@functools.cache
def _vggish_filters() -> tuple[np.ndarray, np.ndarray]:
    """Window ``(400,)`` and triangles ``(257, 64)``, float32.

    The triangles are straight on the mel scale; those of librosa are straight in Hz.
    """
    phase = 2 * np.pi * np.arange(VGGISH_WINDOW) / VGGISH_WINDOW
    window = 0.5 - 0.5 * np.cos(phase)
    lowest, highest = _mel(np.asarray(VGGISH_EDGES))
    edges = np.linspace(lowest, highest, VGGISH_BANDS + 2)
    low = edges[:-2]
    centre = edges[1:-1]
    high = edges[2:]
    bins = _mel(np.linspace(0, SAMPLING_RATE / 2, VGGISH_FFT // 2 + 1))[:, None]
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return window.astype(np.float32), triangles.astype(np.float32)


def _mel(hertz: np.ndarray) -> np.ndarray:
    """Frequencies on the HTK mel scale."""
    return 1127 * np.log1p(hertz / 700)


def emobase_vector(signal: np.ndarray, *, hop: float) -> np.ndarray:
    """Means of the 1,582 functionals over all frames of 320 ms.

    Args:
        signal: mono, at 16 kHz, in [-1, 1], half a second or more
        hop: seconds between frames

    Shape:
        signal ``(samples,)``; result ``(1582,)``
    """
    path = paths.CACHE / "opensmile" / f"emobase2010_{hop:g}.conf"
    # openSMILE reads the file again at every call, so it has to stay where it is.
    if not path.is_file():
        write(path, _framewise_configuration(hop))
    # Samples of 16 bits reach from -1 to just below 1.
    signal = np.clip(signal, -1, 1 - 2**-15)
    frames = _smile(path)(signal, SAMPLING_RATE)[0]  # (1582, frames)
    return frames.astype(np.float64).mean(1)


def _framewise_configuration(hop: float) -> bytes:
    """openSMILE's configuration, with functionals of frames of 320 ms.

    The original takes functionals over the complete signal.

    Raises:
        FileFormatError: if the original is not as it was in the tested version
    """
    import opensmile

    folder = Path(opensmile.__file__).parent / "core" / "config"
    original = folder / f"{opensmile.FeatureSet.IS10.value}.conf"
    text, replaced = re.subn(
        r"frameMode *= *full\s+frameSize *= *0\s+frameStep *= *0",
        f"frameMode = fixed\nframeSize = 0.32\nframeStep = {hop:g}",
        original.read_text(errors="replace"),
    )
    if replaced != 3:
        expected = f"expected three blocks of functionals over the whole signal, found {replaced}"
        raise FileFormatError(original, expected)
    return text.encode()


def _opensmile() -> ModuleType:
    """openSMILE, which takes files below any path.

    It writes paths in ASCII and so refuses users like Jürgen (opensmile-python, issue 63).
    """
    import opensmile
    from opensmile.core import lib

    # A name of a module comes before the one that Python has.
    lib.bytes = _file_name
    return opensmile


def _file_name(text: str, _: str) -> bytes:
    """A path, or another text that openSMILE is given, as the file system writes it."""
    return os.fsencode(text)


@functools.cache
def _smile(path: Path) -> opensmile.Smile:
    opensmile = _opensmile()
    return opensmile.Smile(str(path), "func", sampling_rate=SAMPLING_RATE)


@functools.cache
def _smile_names() -> tuple[str, ...]:
    opensmile = _opensmile()
    level = opensmile.FeatureLevel.Functionals
    return tuple(opensmile.Smile(opensmile.FeatureSet.IS10, level).feature_names)
