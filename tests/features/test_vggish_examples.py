"""The log-mel examples that VGGish takes, compared with the released front end."""

import numpy as np
import pytest

from affectlib.features import audio

RATE = 16000


def noise(seconds: float) -> np.ndarray:
    samples = round(seconds * RATE)
    return np.random.default_rng(0).standard_normal(samples, dtype=np.float32) * 0.1


def slow_examples(signal):
    """The released front end, frame by frame and band by band, in float64."""

    def mel_scale(hertz):
        return 1127.0 * np.log(1.0 + hertz / 700.0)

    window = [0.5 - 0.5 * np.cos(2 * np.pi * n / 400) for n in range(400)]
    bins = np.array([mel_scale(hertz) for hertz in np.linspace(0, 8000, 257)])
    edges = np.linspace(mel_scale(125), mel_scale(7500), 66)
    rows = []
    for start in range(0, len(signal) - 400 + 1, 160):
        frame = signal[start : start + 400].astype(float) * window
        spectrum = np.abs(np.fft.rfft(frame, 512))
        row = []
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
            rising = (bins - low) / (centre - low)
            falling = (high - bins) / (high - centre)
            band = np.maximum(0, np.minimum(rising, falling))
            row.append(np.log(np.sum(band[1:] * spectrum[1:]) + 0.01))
        rows.append(row)
    return np.array([rows[k : k + 96] for k in range(0, len(rows) - 95, 96)])


@pytest.mark.parametrize(
    ("seconds", "n"), [(0.974, 0), (0.975, 1), (1.92, 1), (1.935, 2), (3.3, 3)]
)
def test_the_front_end_of_vggish_is_the_released_one(seconds, n):
    signal = noise(seconds)
    examples = audio.vggish_examples(signal, RATE)
    assert examples.shape == (n, 96, 64)
    assert examples.dtype == np.float32
    if n:
        np.testing.assert_allclose(examples, slow_examples(signal), atol=2e-5)


def test_silence_has_the_smallest_value():
    np.testing.assert_allclose(audio.vggish_examples(np.zeros(RATE), RATE), np.log(0.01))


def test_the_bands_of_vggish_lie_where_librosas_do():
    import librosa

    _, mel = audio._vggish_filters()
    centres = librosa.mel_frequencies(66, fmin=125, fmax=7500, htk=True)
    # librosa's bands are straight on another scale, but reach zero at the same places.
    for k, column in enumerate(mel.T):
        hertz = np.flatnonzero(column) * 8000 / 256
        assert centres[k] < hertz.min()
        assert hertz.max() < centres[k + 2]


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_a_tone_is_loudest_in_its_band_at_any_sampling_rate(rate):
    import librosa

    centres = librosa.mel_frequencies(66, fmin=125, fmax=7500, htk=True)
    tone = np.sin(2 * np.pi * centres[40] * np.arange(rate) / rate)
    examples = audio.vggish_examples(tone, rate)
    assert examples.shape == (1, 96, 64)
    assert examples.mean((0, 1)).argmax() == 39


def test_sound_of_two_channels_is_refused():
    with pytest.raises(ValueError, match=r"mono sound \(samples,\), got \(2, 5\)"):
        audio.vggish_examples(np.zeros((2, 5)), RATE)
