"""Film music of a known valence and arousal.

Arousal sets tempo, loudness, brightness and how hard the beat is struck. Valence sets mode,
register, consonance and how detached the notes are.

References:
    Gabrielsson and Lindström 2010 (structure of music and emotion); Juslin and Laukka 2003.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

# Steps of a scale, in semitones above its root.
MAJOR = np.array([0, 2, 4, 5, 7, 9, 11])
MINOR = np.array([0, 2, 3, 5, 7, 8, 10])
CHORDS = (0, 3, 4, 0)  # the steps that chords stand on, four beats each

PERIOD = 2048  # samples of one period in a table
LEVELS = 16  # of brightness
PARTIALS = 8  # of a tone


@dataclass(frozen=True)
class Instrument:
    """What one film's music has in common, whatever it expresses.

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
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draws the music of a new film."""
        return cls(
            key=rng.uniform(50, 54),
            tempo=float(np.exp(rng.normal(0, 0.12))),
            gain=rng.normal(0, 1.5),
            timbre=rng.normal(0, 0.12),
            odd=rng.uniform(0.3, 1.0),
        )


def wavetables(odd: float) -> np.ndarray:
    """One period of a tone at each level of brightness.

    Args:
        odd: share of the even partials, beside which the odd ones stand out

    Shape:
        result ``(LEVELS, PERIOD)``, each with a root mean square of 1
    """
    partials = np.arange(1, PARTIALS + 1)
    falls = np.linspace(2.8, 0.6, LEVELS)[:, None]  # dark tones lose their high partials fast
    weights = partials**-falls * np.where(partials % 2, 1, odd)  # (levels, partials)
    waves = np.sin(2 * np.pi * np.outer(partials, np.arange(PERIOD)) / PERIOD)  # (partials, period)
    tables = np.zeros((LEVELS, PERIOD))
    # One partial after the other: a matrix product adds in an order that depends on the processor.
    for weight, wave in zip(weights.T, waves, strict=True):
        tables += np.outer(weight, wave)
    return tables / tables.std(1, keepdims=True)


def compose(
    valence: np.ndarray,
    arousal: np.ndarray,
    *,
    hertz: float,
    sampling_rate: int,
    rng: np.random.Generator,
    instrument: Instrument | None = None,
) -> np.ndarray:
    """Music that follows a course of valence and arousal.

    Args:
        valence: what the music shows, in [-1, 1]
        arousal: likewise
        hertz: values of both per second
        sampling_rate: of the sound, in Hz
        rng: random generator
        instrument: of the film; None draws one

    Shape:
        valence and arousal ``(n,)``; result ``(round(n / hertz * sampling_rate),)`` float32 in
        [-1, 1]

    Examples:
        >>> calm = np.zeros(50)
        >>> rng = np.random.default_rng(0)
        >>> compose(calm, calm, hertz=25, sampling_rate=8000, rng=rng).shape
        (16000,)
    """
    instrument = instrument or Instrument.draw(rng)
    length = round(len(valence) / hertz * sampling_rate)
    times = np.arange(len(valence)) / hertz
    tables = wavetables(instrument.odd)
    noise = rng.standard_normal(sampling_rate)
    signal = np.zeros(length + 3 * sampling_rate)  # the last notes may fade beyond the end
    degree = 4
    for beat, start in enumerate(_beats(arousal, times, hertz, instrument.tempo)):
        v = np.interp(start, times, valence)
        a = np.interp(start, times, arousal)
        is_major = rng.uniform() < 1 / (1 + np.exp(-5 * v))
        degree = int(np.clip(degree + rng.integers(-2, 3), 0, 9))
        tones, levels = _chord(beat, degree, MAJOR if is_major else MINOR, v, instrument.key)
        seconds = 1.2 * np.exp(-0.5 * a - 0.4 * v)
        brightness = (0.5 + 0.45 * a + instrument.timbre) * LEVELS
        table = tables[int(np.clip(brightness, 0, LEVELS - 1))]
        voice = _voice(tones, levels, table, seconds, sampling_rate)
        _strike(voice, noise, a, sampling_rate)
        first = int(start * sampling_rate)
        signal[first : first + len(voice)] += voice
    decibels = -21 + 11 * np.asarray(arousal) + instrument.gain
    gain = 10 ** (np.interp(np.arange(length) / sampling_rate, times, decibels) / 20)
    loud = np.tanh(signal[:length] * gain)
    # Steps of 16 bits, as a sound card has. What two processors round differently lies far below.
    return (np.round(loud * 2**15) / 2**15).astype(np.float32)


def _beats(arousal, times, hertz, tempo):
    """Seconds at which the beats fall: excited music is faster."""
    passed = np.cumsum(tempo * 1.4 * np.exp(0.7 * np.asarray(arousal))) / hertz  # in beats
    numbers = np.arange(int(passed[-1]) + 1)
    return np.interp(numbers, np.r_[0, passed], np.r_[times, len(arousal) / hertz])


def _chord(beat, degree, scale, valence, key):
    """The tones of one beat as MIDI notes, and the level of each: chord, melody, a dissonance."""
    melody = 12 + scale[degree % 7] + 12 * (degree // 7) + round(14 * valence)
    root = scale[CHORDS[beat // 4 % 4]] + round(6 * valence)
    tones = key + np.array([root, root + scale[2], root + 7, melody, root + 13])
    # The last tone lies a semitone above the octave: it sounds only where valence is negative.
    levels = np.array([0.5, 0.4, 0.35, 0.7, 0.6 * max(0.0, -valence)])
    return tones, levels


def _voice(tones, levels, table, seconds, sampling_rate):
    """The sound of some tones that fade together."""
    elapsed = np.arange(int(seconds * sampling_rate)) / sampling_rate
    frequencies = 440 * 2 ** ((tones - 69) / 12)  # in Hz
    voice = np.zeros(len(elapsed))
    for frequency, level in zip(frequencies, levels, strict=True):
        place = (frequency * PERIOD * elapsed).astype(np.int32) % PERIOD
        voice += level * table[place]
    attack = np.minimum(elapsed / 0.02, 1)
    voice *= attack * np.exp(-3.5 * elapsed / seconds)
    return voice


def _strike(voice, noise, arousal, sampling_rate):
    """Adds the hit of a beat to the beginning of a voice, in place."""
    n = sampling_rate // 8
    elapsed = np.arange(len(voice)) / sampling_rate
    hit = noise[:n] * np.exp(-elapsed[:n] / 0.03)
    voice[: len(hit)] += max(0.0, 0.5 + arousal) * hit[: len(voice)]
