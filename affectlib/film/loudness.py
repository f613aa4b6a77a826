"""Loudness of stretches of a film, in LUFS.

FFmpeg's filter ``ebur128`` weights the original sound, in all its channels, and gives the loudness
of every 400 ms, ten times a second. Here these are gated and averaged over each stretch, as the
recommendation does it over a programme.

References:
    ITU-R BS.1770-5 (2023), Algorithms to measure audio programme loudness, annex 1.
    EBU R 128 (2023), Loudness normalisation and permitted maximum level of audio signals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from affectlib.media._container import find_streams, named_errors, open_media, start_seconds

BLOCK = 0.4  # length of the blocks that are gated, in seconds
SILENCE = -70.0  # absolute gate, in LUFS: a block below it counts as silent
RELATIVE = 10.0  # relative gate: so far below the mean of the other blocks, in LU
TOLERANCE = 0.01  # of the places of blocks, in seconds


def loudness(path: Path | str, starts: Sequence[float], ends: Sequence[float]) -> np.ndarray:
    """Measures the loudness of stretches of a film, in one pass over its sound.

    Mono sound counts as one channel: it is 3 LU softer than the same sound in two channels.

    Args:
        path: of the film
        starts: of the stretches, in seconds
        ends: of the stretches, in seconds

    Returns:
        in LUFS. -70 where all of a stretch is softer than the absolute gate. nan without sound, and
        where a stretch holds less than 400 ms of it

    Shape:
        result ``(stretches,)``

    Raises:
        NotFoundError, FileFormatError: see :func:`affectlib.media.stream`
    """
    blocks = np.array(list(_blocks(path))).reshape(-1, 2)
    block_ends, values = blocks.T
    result = []
    for start, end in zip(starts, ends, strict=True):
        begins_inside = block_ends - BLOCK >= start - TOLERANCE
        ends_inside = block_ends <= end + TOLERANCE
        result.append(gated(values[begins_inside & ends_inside]))
    return np.array(result)


def gated(values: np.ndarray) -> float:
    """Loudness of a stretch from that of its blocks: BS.1770, equations 5 to 7.

    Args:
        values: loudness of each block of 400 ms, in LUFS

    Returns:
        in LUFS; -70 if all blocks are silent, nan if there are none

    Shape:
        values ``(blocks,)``
    """
    if len(values) == 0:
        return float("nan")
    values = values[values > SILENCE]
    if len(values) == 0:
        return SILENCE
    values = values[values > _mean(values) - RELATIVE]
    return _mean(values)


def _mean(values: np.ndarray) -> float:
    """Level of the mean power of blocks. The constant of BS.1770 cancels out."""
    return float(10 * np.log10(np.mean(10 ** (values / 10))))


def _blocks(path: Path | str) -> Iterator[tuple[float, float]]:
    """Gives the end of every block of 400 ms, in seconds, and its loudness in LUFS."""
    with open_media(path) as container:
        _, audio = find_streams(path, container)
        if audio is None:
            return
        origin = start_seconds(container)
        meter = None
        end = 0.0
        with named_errors(path):
            for frame in container.decode(audio):
                begin = end if frame.time is None else frame.time - origin
                end = begin + frame.samples / frame.sample_rate
                # A meter takes sound of one kind. Sound that changes its channels needs a new one.
                if meter is None or meter.kind != _kind(frame):
                    meter = _Meter(frame)
                yield from meter.take(frame, begin)


def _kind(frame: av.AudioFrame) -> tuple[str, str, int]:
    """Format, channels and sampling rate."""
    return frame.format.name, frame.layout.name, frame.sample_rate


class _Meter:
    """FFmpeg's ``ebur128`` for sound of one kind.

    Args:
        frame: the first one
    """

    def __init__(self, frame: av.AudioFrame):
        self.kind = _kind(frame)
        sample_format, layout, rate = self.kind
        self.ticks = Fraction(1, rate)
        self.begin: float | None = None
        self.graph = av.filter.Graph()
        source = self.graph.add_abuffer(
            sample_rate=rate, format=sample_format, layout=layout, time_base=self.ticks
        )
        # It gives the sound back in frames of 100 ms, each with the loudness up to its end.
        meter = self.graph.add("ebur128", "metadata=1:framelog=quiet")
        sink = self.graph.add("abuffersink")
        self.graph.link_nodes(source, meter, sink).configure()

    def take(self, frame: av.AudioFrame, begin: float) -> Iterator[tuple[float, float]]:
        """Gives the blocks that end in one more frame.

        Args:
            frame: the next one
            begin: where it begins, in seconds
        """
        if self.begin is None:
            self.begin = begin
        frame.time_base = self.ticks
        frame.pts = round(begin / self.ticks)
        self.graph.push(frame)
        while True:
            try:
                measured = self.graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            value = measured.metadata.get("lavfi.r128.M")
            end = measured.time + measured.samples / measured.sample_rate
            # The meter counts what comes before the first sample as silence.
            if value is not None and end - self.begin > BLOCK - TOLERANCE:
                yield end, float(value)
