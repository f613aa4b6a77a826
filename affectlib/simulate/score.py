"""Film music of a known valence and arousal.

Arousal sets tempo, loudness, brightness and how hard the beat is struck; valence sets mode, register,
consonance and how detached the notes are.

References:
    Gabrielsson and Lindström 2010 (structure of music and emotion); Juslin and Laukka 2003.
"""

from dataclasses import dataclass

import numpy as np

MAJOR, MINOR = np.array([0, 2, 4, 5, 7, 9, 11]), np.array([0, 2, 3, 5, 7, 8, 10])
PERIOD, LEVELS, PARTIALS = 2048, 16, 8


@dataclass(frozen=True)
class Instrument:
    """What one film's music has in common whatever it expresses.

    Args:
        key: lowest root, as a MIDI note
        tempo: factor on the tempo
        gain: added loudness, in dB
        timbre: added brightness
        odd: share of the odd partials, from 0.3 (reedy) to 1
    """

    key: float
    tempo: float
    gain: float
    timbre: float
    odd: float

    @classmethod
    def draw(cls, rng):
        """A new film's music from a numpy random generator."""
        return cls(
            key=rng.uniform(50, 54),
            tempo=float(np.exp(rng.normal(0, 0.12))),
            gain=rng.normal(0, 1.5),
            timbre=rng.normal(0, 0.12),
            odd=rng.uniform(0.3, 1.0),
        )


def wavetables(odd):
    """One period of a tone at each level of brightness.

    Shape:
        result ``(LEVELS, PERIOD)``, each of root mean square 1
    """
    partials = np.arange(1, PARTIALS + 1)
    weights = partials ** -np.linspace(2.8, 0.6, LEVELS)[:, None] * np.where(partials % 2, 1, odd)
    waves = np.sin(2 * np.pi * np.outer(partials, np.arange(PERIOD)) / PERIOD)  # (partials, period)
    tables = np.zeros((LEVELS, PERIOD))
    # One partial after the other: a matrix product adds in an order that depends on the processor.
    for weight, wave in zip(weights.T, waves, strict=True):
        tables += np.outer(weight, wave)
    return tables / tables.std(1, keepdims=True)


def compose(valence, arousal, *, hertz, sampling_rate, rng, instrument=None):
    """Music that follows a course of valence and arousal.

    Args:
        valence, arousal: what the music shows, in [-1, 1]
        hertz: their values per second
        sampling_rate: of the sound, in Hz
        rng: numpy random generator
        instrument: the film's; None draws one

    Shape:
        valence and arousal ``(n,)``; result ``(round(n / hertz * sampling_rate),)`` float32 in [-1, 1]

    Examples:
        >>> compose(np.zeros(50), np.zeros(50), hertz=25, sampling_rate=8000, rng=np.random.default_rng(0)).shape
        (16000,)
    """
    instrument = instrument or Instrument.draw(rng)
    length = round(len(valence) / hertz * sampling_rate)
    times = np.arange(len(valence)) / hertz
    passed = np.cumsum(instrument.tempo * 1.4 * np.exp(0.7 * np.asarray(arousal))) / hertz
    beats = np.interp(
        np.arange(int(passed[-1]) + 1), np.r_[0, passed], np.r_[times, len(valence) / hertz]
    )
    tables, signal = wavetables(instrument.odd), np.zeros(length + 3 * sampling_rate)
    noise, degree = rng.standard_normal(sampling_rate), 4
    for beat, start in enumerate(beats):
        v, a = np.interp(start, times, valence), np.interp(start, times, arousal)
        scale = MAJOR if rng.uniform() < 1 / (1 + np.exp(-5 * v)) else MINOR
        degree = int(np.clip(degree + rng.integers(-2, 3), 0, 9))
        melody = 12 + scale[degree % 7] + 12 * (degree // 7) + round(14 * v)
        root = scale[(0, 3, 4, 0)[beat // 4 % 4]] + round(6 * v)
        tones = instrument.key + np.array([root, root + scale[2], root + 7, melody, root + 13])
        loudness = np.array([0.5, 0.4, 0.35, 0.7, 0.6 * max(0.0, -v)])
        seconds = 1.2 * np.exp(-0.5 * a - 0.4 * v)
        elapsed = np.arange(int(seconds * sampling_rate)) / sampling_rate
        frequencies = 440 * 2 ** ((tones - 69) / 12)  # in Hz
        table = tables[int(np.clip((0.5 + 0.45 * a + instrument.timbre) * LEVELS, 0, LEVELS - 1))]
        voice = np.zeros(len(elapsed))
        for frequency, level in zip(frequencies, loudness, strict=True):
            place = (frequency * PERIOD * elapsed).astype(np.int32) % PERIOD
            voice += level * table[place]
        voice *= np.minimum(elapsed / 0.02, 1) * np.exp(-3.5 * elapsed / seconds)
        hit = noise[: sampling_rate // 8] * np.exp(-elapsed[: sampling_rate // 8] / 0.03)
        voice[: len(hit)] += max(0.0, 0.5 + a) * hit[: len(voice)]
        first = int(start * sampling_rate)
        signal[first : first + len(voice)] += voice
    decibels = -21 + 11 * np.asarray(arousal) + instrument.gain
    gain = 10 ** (np.interp(np.arange(length) / sampling_rate, times, decibels) / 20)
    loud = np.tanh(signal[:length] * gain)
    # Steps of 16 bits, as a sound card has: what two processors round differently lies far below one.
    return (np.round(loud * 2**15) / 2**15).astype(np.float32)
