"""Sound: what librosa and openSMILE say about it, and what VGGish hears.

References:
    Hershey et al. (2017), CNN architectures for large-scale audio classification, ICASSP: VGGish.
    Eyben, Wöllmer and Schuller (2010), openSMILE, ACM Multimedia; Schuller et al. (2010), The INTERSPEECH 2010
    paralinguistic challenge. Krumhansl (1990), Cognitive foundations of musical pitch: the key profiles.
"""

import functools
import re
from pathlib import Path

import numpy as np

from affectlib import paths
from affectlib.corpora.base import CorpusFormatError
from affectlib.features.store import Extractor, write

SAMPLING_RATE = 16000
FRAME, HOP = 1024, 512  # of the spectrum, in samples
BANDS, COEFFICIENTS = 32, 20
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
FRAMEWISE = (
    tuple(f"logmel_{k}" for k in range(BANDS))
    + tuple(f"mfcc_{k}" for k in range(COEFFICIENTS))
    + tuple(f"tonnetz_{k}" for k in range(6))
    + tuple(f"contrast_{k}" for k in range(7))
    + ("loudness", "centroid", "bandwidth", "rolloff", "flatness", "zero_crossing", "onset")
)
SOUND_NAMES = (
    tuple(f"{name}_mean" for name in FRAMEWISE)
    + tuple(f"{name}_sd" for name in FRAMEWISE)
    + tuple(f"chroma_{k}" for k in range(12))
    + ("loudness_p95", "loudness_p5", "tempo", "pulse", "mode", "key_strength")
)
VGGISH_WINDOW, VGGISH_HOP, VGGISH_FFT, VGGISH_BANDS, VGGISH_FRAMES = 400, 160, 512, 64, 96
VGGISH_BLOCK = (
    192  # frames whose spectra are taken at once: they stay in the cache of the processor
)


def __getattr__(name):
    """The networks, imported when they are asked for: torch takes seconds."""
    if name in ("VGGish", "VGGishPostprocessor"):
        from affectlib.features.pretrained import networks

        return getattr(networks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def sound() -> Extractor:
    """Loudness, spectrum, timbre, harmony and rhythm by librosa, from one short-time spectrum."""
    return Extractor("sound", 1, SOUND_NAMES, sound_vector, sound=True)


def emobase(*, hop=0.04) -> Extractor:
    """openSMILE's emobase2010 (``IS10``): 1,582 functionals of frames of 320 ms, averaged over the clip.

    One pass over a clip gives the functionals of all its frames, sixteen times faster than a call per frame.
    The two differ: here pitch and smoothing run on through the clip, where a call per frame starts anew every
    320 ms and has no pitch at its edges; positions of extremes and pitch statistics are the ones that move.

    Args:
        hop: seconds between frames; the paper's is 0.04; a wider one saves a sixth of the time at most

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


def sound_vector(signal):
    """Describes sound.

    Args:
        signal: mono, at 16 kHz, in [-1, 1]

    Shape:
        signal ``(samples,)``; result ``(162,)``
    """
    import librosa

    rate = {"sr": SAMPLING_RATE}
    signal = np.pad(signal, (0, max(0, 2 * FRAME - len(signal))))
    spectrum = np.abs(librosa.stft(signal, n_fft=FRAME, hop_length=HOP))  # (513, frames)
    power = spectrum**2
    mel = librosa.power_to_db(
        librosa.feature.melspectrogram(S=power, n_mels=BANDS, **rate), top_db=None, amin=1e-8
    )
    chroma = librosa.feature.chroma_stft(S=power, tuning=0.0, **rate)  # (12, frames)
    loudness = 10 * np.log10(np.maximum(power.mean(0), 1e-8))
    rise = np.maximum(np.diff(mel, axis=1, prepend=mel[:, :1]), 0).mean(0)  # (frames,)
    rows = np.vstack(
        [
            mel,
            librosa.feature.mfcc(S=mel, n_mfcc=COEFFICIENTS),
            librosa.feature.tonnetz(chroma=chroma, **rate),
            librosa.feature.spectral_contrast(S=spectrum, fmin=100.0, n_bands=6, **rate),
            loudness,
            librosa.feature.spectral_centroid(S=spectrum, **rate) / 1000,
            librosa.feature.spectral_bandwidth(S=spectrum, **rate) / 1000,
            librosa.feature.spectral_rolloff(S=spectrum, **rate) / 1000,
            librosa.feature.spectral_flatness(S=spectrum),
            librosa.feature.zero_crossing_rate(signal, frame_length=FRAME, hop_length=HOP),
            rise,
        ]
    )
    pitches = (chroma * power.mean(0)).sum(1)
    pitches /= max(pitches.sum(), 1e-9)
    return np.concatenate(
        [
            rows.mean(1),
            rows.std(1),
            pitches,
            np.percentile(loudness, [95, 5]),
            tempo(rise),
            key(pitches),
        ]
    )


def tempo(onsets):
    """Pulse of an onset curve by autocorrelation: log2 of its beats per minute over 120, and how clear it is.

    Librosa's own tracker compiles for seconds; a clip of five seconds does not need it.

    Shape:
        onsets ``(frames,)``, one every 32 ms; result ``(2,)``: tempo 0 and clarity 0 where there is no pulse
    """
    centred = onsets - onsets.mean()
    lags = np.arange(
        round(60 / 240 * SAMPLING_RATE / HOP), round(60 / 40 * SAMPLING_RATE / HOP) + 1
    )
    energy = float(centred @ centred)
    if energy < 1e-6 or len(onsets) <= lags[-1]:
        return np.zeros(2)
    correlation = np.array([centred[lag:] @ centred[:-lag] for lag in lags]) / energy
    octaves = np.log2(60 * SAMPLING_RATE / (HOP * lags) / 120)
    best = np.argmax(correlation * np.exp(-0.5 * octaves**2))
    return np.array([octaves[best], correlation[best]])


def key(pitches):
    """Major against minor: correlation with the best major key less that with the best minor, and the higher.

    Shape:
        pitches ``(12,)``, share of each pitch class; result ``(2,)``, zeros where all pitches are alike

    Examples:
        >>> bool(key(np.array(MAJOR))[0] > 0 > key(np.array(MINOR))[0])
        True
    """
    if np.std(pitches) < 1e-9:
        return np.zeros(2)
    best = [
        max(np.corrcoef(pitches, np.roll(mode, k))[0, 1] for k in range(12))
        for mode in (MAJOR, MINOR)
    ]
    return np.array([best[0] - best[1], max(best)])


def vggish_examples(signal, sampling_rate):
    """What VGGish hears: logarithms of a mel spectrogram, in examples of 0.96 s that do not overlap.

    Windows of 25 ms (periodic Hann) every 10 ms, magnitudes of 512 points, 64 triangles on the HTK mel scale from 125
    to 7,500 Hz, log of mel + 0.01; numerically the released front end, in float32. What is left after the last
    example is not used.

    Args:
        signal: mono, in [-1, 1]
        sampling_rate: in Hz; other than 16,000 is resampled

    Shape:
        signal ``(samples,)``; result ``(examples, 96, 64)``, float32; none below 0.975 s

    Raises:
        ValueError: if the signal is not mono

    Examples:
        >>> vggish_examples(np.zeros(32000), 16000).shape
        (2, 96, 64)
    """
    from scipy.fft import rfft

    signal = np.asarray(signal, np.float32)
    if signal.ndim != 1:
        raise ValueError(f"expected mono sound (samples,), got {signal.shape}")
    if sampling_rate != SAMPLING_RATE:
        import librosa

        signal = librosa.resample(signal, orig_sr=sampling_rate, target_sr=SAMPLING_RATE)
    window, mel = _vggish_filters()
    hops = max(0, 1 + (len(signal) - VGGISH_WINDOW) // VGGISH_HOP) // VGGISH_FRAMES * VGGISH_FRAMES
    if not hops:
        return np.empty((0, VGGISH_FRAMES, VGGISH_BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(signal, VGGISH_WINDOW)[::VGGISH_HOP][:hops]
    result, padded = (
        np.empty((hops, VGGISH_BANDS), np.float32),
        np.zeros((VGGISH_BLOCK, VGGISH_FFT), np.float32),
    )
    for first in range(0, hops, VGGISH_BLOCK):
        block = frames[first : first + VGGISH_BLOCK]
        np.multiply(block, window, out=padded[: len(block), :VGGISH_WINDOW])
        parts = rfft(padded[: len(block)], axis=1).view(np.float32)  # real and imaginary in turn
        np.multiply(parts, parts, out=parts)
        magnitudes = np.sqrt(parts[:, ::2] + parts[:, 1::2])  # (block, 257)
        np.matmul(magnitudes, mel, out=result[first : first + len(block)])
    result += 0.01
    return np.log(result, out=result).reshape(-1, VGGISH_FRAMES, VGGISH_BANDS)


@functools.cache
def _vggish_filters():
    """Window ``(400,)`` and triangles ``(257, 64)``, which are straight on the mel scale, not in Hz as librosa's."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(VGGISH_WINDOW) / VGGISH_WINDOW)
    edges, bins = (
        1127 * np.log1p(np.asarray(hertz) / 700)
        for hertz in ((125, 7500), np.linspace(0, SAMPLING_RATE / 2, VGGISH_FFT // 2 + 1))
    )
    edges = np.linspace(*edges, VGGISH_BANDS + 2)
    low, centre, high, bins = edges[:-2], edges[1:-1], edges[2:], bins[:, None]
    mel = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    return window.astype(np.float32), mel.astype(np.float32)


def emobase_vector(signal, *, hop):
    """Means of the 1,582 functionals over all frames of 320 ms.

    Args:
        signal: mono, at 16 kHz, in [-1, 1], half a second or more
        hop: seconds between frames

    Shape:
        signal ``(samples,)``; result ``(1582,)``
    """
    path = paths.CACHE / "opensmile" / f"emobase2010_{hop:g}.conf"
    if not path.is_file():  # openSMILE reads it at every call
        write(path, _framed(hop))
    frames = _smile(path)(np.clip(signal, -1, 1 - 2**-15), SAMPLING_RATE)[0]  # (1582, frames)
    return frames.astype(np.float64).mean(1)


def _framed(hop):
    """openSMILE's own configuration takes functionals over the whole signal: here over frames of 320 ms."""
    import opensmile

    standard = (
        Path(opensmile.__file__).parent
        / "core"
        / "config"
        / f"{opensmile.FeatureSet.IS10.value}.conf"
    )
    text, n = re.subn(
        r"frameMode *= *full\s+frameSize *= *0\s+frameStep *= *0",
        f"frameMode = fixed\nframeSize = 0.32\nframeStep = {hop:g}",
        standard.read_text(errors="replace"),
    )
    if n != 3:
        raise CorpusFormatError(
            standard, f"expected three blocks of functionals over the whole signal, found {n}"
        )
    return text.encode()


@functools.cache
def _smile(path):
    import opensmile

    return opensmile.Smile(str(path), "func", sampling_rate=SAMPLING_RATE)


@functools.cache
def _smile_names():
    import opensmile

    return tuple(
        opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals).feature_names
    )
