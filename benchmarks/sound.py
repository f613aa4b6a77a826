"""Descriptors of sound: ours against a call per feature of librosa, torchaudio and openSMILE."""

from collections.abc import Iterator
from functools import partial
from unittest import mock

import librosa
import numpy as np
import opensmile
import torch

from affectlib.features.audio import emobase_vector, sound_vector, vggish_examples
from affectlib.media import SAMPLING_RATE
from benchmarks.common import Comparison, Missing, Way, not_installed, peer

SECONDS = 5
FRAME = 0.32  # seconds of a frame of emobase
HOP = 0.04


def signal() -> np.ndarray:
    """A changing tone in noise."""
    rng = np.random.default_rng(0)
    time = np.arange(SECONDS * SAMPLING_RATE) / SAMPLING_RATE
    tone = np.sin(2 * np.pi * (200 + 40 * time) * time)
    return (0.3 * tone + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


def a_call_per_feature(y: np.ndarray, *, chroma: str) -> list[np.ndarray]:
    """What one writes after librosa's tutorial; every call takes its own spectrum."""
    sr = SAMPLING_RATE
    pitches = librosa.feature.chroma_stft if chroma == "stft" else librosa.feature.chroma_cqt
    features = librosa.feature
    return [
        features.rms(y=y),
        features.zero_crossing_rate(y),
        features.spectral_centroid(y=y, sr=sr),
        features.spectral_bandwidth(y=y, sr=sr),
        features.spectral_rolloff(y=y, sr=sr),
        features.spectral_flatness(y=y),
        features.spectral_contrast(y=y, sr=sr),
        features.mfcc(y=y, sr=sr, n_mfcc=20),
        features.chroma_stft(y=y, sr=sr),
        features.tonnetz(y=y, sr=sr, chroma=pitches(y=y, sr=sr)),
        librosa.onset.onset_strength(y=y, sr=sr),
    ]


def torchaudio() -> object | None:
    """torchaudio, None where it is not installed.

    Its wheel may name another CUDA than torch's. Only the processor is used here.
    """
    with mock.patch.object(torch.version, "cuda", None):
        return peer("torchaudio")


def with_torchaudio(y: np.ndarray) -> Way | Missing:
    """It has a quarter of the features."""
    name = "torchaudio: mel, MFCC and centroid only"
    library = torchaudio()
    if library is None:
        return not_installed(name)
    mel = {"n_fft": 2048, "hop_length": 512, "n_mels": 128}
    transforms = [
        library.transforms.MelSpectrogram(SAMPLING_RATE, **mel),
        library.transforms.MFCC(SAMPLING_RATE, n_mfcc=20, melkwargs=mel),
        library.transforms.SpectralCentroid(SAMPLING_RATE, n_fft=2048, hop_length=512),
    ]
    x = torch.from_numpy(y)
    return Way(name, lambda: [transform(x) for transform in transforms])


def log_mel_of_torchaudio(y: np.ndarray) -> Way | Missing:
    """The same windows, hop and bands."""
    name = "torchaudio.transforms.MelSpectrogram and a logarithm"
    library = torchaudio()
    if library is None:
        return not_installed(name)
    mel = library.transforms.MelSpectrogram(
        SAMPLING_RATE, 512, 400, 160, 125.0, 7500.0, n_mels=64, power=1.0
    )
    x = torch.from_numpy(y)
    return Way(name, lambda: torch.log(mel(x) + 0.01))


def log_mel_of_librosa(y: np.ndarray) -> np.ndarray:
    """The same windows, hop and bands."""
    options = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 64}
    limits = {"fmin": 125.0, "fmax": 7500.0}
    mel = librosa.feature.melspectrogram(y=y, sr=SAMPLING_RATE, power=1.0, **options, **limits)
    return np.log(mel + 0.01)


def frame_by_frame(smile: opensmile.Smile, y: np.ndarray, n: int) -> None:
    """openSMILE's functionals, a call per frame."""
    for number in range(n):
        begin = int(number * HOP * SAMPLING_RATE)
        smile.process_signal(y[begin : begin + int(FRAME * SAMPLING_RATE)], SAMPLING_RATE)


def comparisons() -> Iterator[Comparison]:
    """The set of descriptors, emobase, and VGGish's log-mel examples."""
    y = signal()
    yield Comparison(
        f"162 values of {SECONDS} s",
        Way("sound_vector", partial(sound_vector, y)),
        [
            Way("librosa, a call per feature", partial(a_call_per_feature, y, chroma="stft")),
            Way("librosa, its own tonnetz (CQT)", partial(a_call_per_feature, y, chroma="cqt")),
            with_torchaudio(y),
        ],
    )
    n_frames = int((SECONDS - FRAME) / HOP) + 1
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.IS10, feature_level=opensmile.FeatureLevel.Functionals
    )
    timed = 12  # frames; the time is scaled to all of them
    yield Comparison(
        f"emobase of {SECONDS} s, {n_frames} frames of {FRAME} s",
        Way("emobase_vector", partial(emobase_vector, y, hop=HOP)),
        [
            Way(
                "opensmile, a call per frame",
                partial(frame_by_frame, smile, y, timed),
                per=timed / n_frames,
            ),
            Way("emobase_vector, hop 0.32 s", partial(emobase_vector, y, hop=FRAME)),
        ],
    )
    yield Comparison(
        f"log-mel examples of VGGish, {SECONDS} s",
        Way("vggish_examples", partial(vggish_examples, y, SAMPLING_RATE)),
        [Way("librosa", partial(log_mel_of_librosa, y)), log_mel_of_torchaudio(y)],
    )
