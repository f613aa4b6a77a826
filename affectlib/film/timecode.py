"""Times of a film as people write them: hours, minutes, seconds, and a frame or milliseconds.

The times of subtitles (SRT, WebVTT) are written by pysubs2, see :mod:`affectlib.film.export`.
"""

from __future__ import annotations

import math
import re

from affectlib.errors import AffectError

# Minutes and seconds have two digits, but 1:02 is written for the first minutes of a film.
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d+))?", flags=re.ASCII)
_FRAMES = re.compile(r"(\d+):(\d{1,2}):(\d{1,2}):(\d+)", flags=re.ASCII)
_FORMS = "h:m:s:frame, h:m:s.milliseconds, h:m:s or m:s"


class TimecodeError(AffectError, ValueError):
    """A text is no timecode. The message names the text and says what was expected."""


def timecode(seconds: float, frame_rate: float | None = None) -> str:
    """A time as a timecode, ``h:m:s:frame``, or ``h:m:s.milliseconds`` without a frame rate.

    Hours, minutes and seconds are those of a clock, so that they agree with every player.
    The last number counts frames within the second, from 0, at the nominal rate: the rate rounded
    to a whole number, 24 for 23.976 and 30 for 29.97. It is the nearest frame, not the one before.
    No number of a frame is dropped. A studio's timecode at 23.976 counts 24 frames as one second,
    and so falls 3.6 s behind the clock in an hour: this one does not.
    For a film whose rate varies, the mean rate stands in, and the frame is approximate.

    Args:
        seconds: from the start of the film, 0 or more
        frame_rate: frames per second; None for milliseconds

    Raises:
        ValueError: if the time or the rate is negative, or not a finite number, or the rate is 0

    Examples:
        >>> timecode(62.52, 25)
        '0:01:02:13'
        >>> timecode(62.52)
        '0:01:02.520'
        >>> timecode(59.9999, 23.976)
        '0:01:00:00'
    """
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"expected a time of 0 s or more, got {seconds}")
    if frame_rate is None:
        units = 1000
        mark = "."
        digits = 3
    else:
        units = _nominal(frame_rate)
        mark = ":"
        digits = max(2, len(str(units - 1)))
    # Rounded before it is cut up: a last frame that rounds up is the first of the next second.
    whole, rest = divmod(math.floor(seconds * units + 0.5), units)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}{mark}{rest:0{digits}d}"


def seconds_of(text: str, frame_rate: float | None = None) -> float:
    """The time of a timecode, in seconds from the start of the film; undoes :func:`timecode`.

    Args:
        text: ``h:m:s:frame``, ``h:m:s.milliseconds``, ``h:m:s`` or ``m:s``; any number of decimals,
            after a point or a comma
        frame_rate: frames per second, needed for the form with frames

    Raises:
        TimecodeError: if it is none of these forms, a minute or a second is 60 or more, the frame
            is not below the nominal rate, or the rate is needed and not known
        ValueError: if the rate is not a number above 0

    Examples:
        >>> seconds_of("0:01:02:13", 25)
        62.52
        >>> seconds_of("1:02,52")
        62.52
    """
    text = text.strip()
    frames = _FRAMES.fullmatch(text)
    clock = _CLOCK.fullmatch(text)
    if frames is not None:
        hour, minute, second, frame = frames.groups()
        part = _part_of_second(text, int(frame), frame_rate)
    elif clock is not None:
        hour, minute, second, decimals = clock.groups()
        part = float(f"0.{decimals or 0}")
    else:
        raise TimecodeError(f"expected a timecode such as {_FORMS}, found {text!r}")
    if int(minute) >= 60 or int(second) >= 60:
        raise TimecodeError(f"expected minutes and seconds below 60, found {text!r}")
    return int(hour or 0) * 3600 + int(minute) * 60 + int(second) + part


def _nominal(frame_rate: float) -> int:
    """Frames that are counted in a second: the rate as a whole number, at least 1."""
    if not math.isfinite(frame_rate) or frame_rate <= 0:
        raise ValueError(f"expected a frame rate above 0, got {frame_rate}")
    return max(1, math.floor(frame_rate + 0.5))


def _part_of_second(text: str, frame: int, frame_rate: float | None) -> float:
    """The part of a second before a frame."""
    if frame_rate is None:
        raise TimecodeError(f"{text!r} counts frames: the frame rate of the film is needed")
    nominal = _nominal(frame_rate)
    if frame >= nominal:
        raise TimecodeError(f"expected a frame below {nominal}, found {text!r}")
    return frame / nominal
