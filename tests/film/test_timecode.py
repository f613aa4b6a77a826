"""Timecodes: written, read back, and refused where they are none."""

import re
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectlib.errors import AffectError
from affectlib.film.timecode import TimecodeError, seconds_of, timecode

RATES = [0.5, 1, 12.5, 23.976, 24, 24000 / 1001, 25, 29.97, 30, 50, 59.94, 60, 119.88, 1000]


@pytest.mark.parametrize(
    ("seconds", "rate", "written"),
    [
        # 13 frames of 1/25 s are 0.52 s.
        (62.52, 25, "0:01:02:13"),
        (62.52, None, "0:01:02.520"),
        (0, 25, "0:00:00:00"),
        (-0.0, 25, "0:00:00:00"),
        # Half of a second is frame 12 of 24 and frame 15 of 30.
        (3600.5, 23.976, "1:00:00:12"),
        (3600.5, 29.97, "1:00:00:15"),
        # 0.99 s is 23.76 frames: the nearest is 24, the first of the next second.
        (0.99, 24, "0:00:01:00"),
        (59.9999, 23.976, "0:01:00:00"),
        (59.9999, 30, "0:01:00:00"),
        (3599.9999, 25, "1:00:00:00"),
        (59.9996, None, "0:01:00.000"),
        (59.9994, None, "0:00:59.999"),
        (10.5, 120, "0:00:10:060"),
        (3 * 3600 + 4 * 60 + 5.25, 24, "3:04:05:06"),
        (100 * 3600, None, "100:00:00.000"),
        # One frame in two seconds: the nominal rate is never 0.
        (7.2, 0.4, "0:00:07:00"),
    ],
)
def test_a_time_is_written(seconds, rate, written):
    assert timecode(seconds, rate) == written


@settings(max_examples=200, deadline=None)
@given(seconds=st.floats(0, 24 * 3600), rate=st.sampled_from(RATES))
def test_what_is_written_is_read_back(seconds, rate):
    text = timecode(seconds, rate)
    nominal = max(1, round(rate + 1e-9))
    _, minute, second, frame = map(int, text.split(":"))
    assert 0 <= minute < 60 and 0 <= second < 60 and 0 <= frame < nominal
    # No more than half a frame away, and once rounded it stays.
    back = seconds_of(text, rate)
    assert abs(back - seconds) <= 0.5 / nominal + 1e-6
    assert timecode(back, rate) == text


@settings(max_examples=200, deadline=None)
@given(milliseconds=st.integers(0, 24 * 3600 * 1000))
def test_milliseconds_are_those_of_another_clock(milliseconds):
    # timedelta writes h:m:s.microseconds, and leaves out a fraction that is 0.
    expected = str(timedelta(hours=1, milliseconds=milliseconds)) + ".000"
    expected = re.search(r"(\d+):(\d\d:\d\d\.\d{3})", expected)
    text = timecode(milliseconds / 1000)
    assert text.split(":", 1)[1] == expected.group(2)
    assert seconds_of(text) == pytest.approx(milliseconds / 1000, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(frames=st.integers(0, 24 * 3600 * 25), rate=st.sampled_from([24, 25, 30, 50, 60]))
def test_the_start_of_a_frame_is_that_frame(frames, rate):
    second, frame = divmod(frames, rate)
    text = timecode(frames / rate, rate)
    assert seconds_of(text.rsplit(":", 1)[0]) == second
    assert int(text.rsplit(":", 1)[1]) == frame


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1:02", 62),
        ("0:01:02", 62),
        ("00:01:02,500", 62.5),
        ("0:01:02.5", 62.5),
        (" 90:00 ", None),
        ("59:59.25", 3599.25),
        ("100:00:00", 360000),
    ],
)
def test_other_forms_are_read(text, seconds):
    if seconds is None:
        with pytest.raises(TimecodeError, match="below 60"):
            seconds_of(text)
    else:
        assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "rate", "message"),
    [
        ("", None, "expected a timecode"),
        ("62.5", None, "expected a timecode"),
        ("-0:01", None, "expected a timecode"),
        ("1:2:3:4:5", 25, "expected a timecode"),
        # A semicolon stands for a timecode that drops numbers of frames.
        ("0:01:02;13", 29.97, "expected a timecode"),
        ("٠:٠١", None, "expected a timecode"),
        ("0:60:00", None, "below 60"),
        ("0:01:02:25", 25, "a frame below 25"),
        ("0:01:02:24", 23.976, "a frame below 24"),
        ("0:01:02:13", None, "frame rate of the film is needed"),
    ],
)
def test_what_is_no_timecode_is_refused(text, rate, message):
    with pytest.raises(TimecodeError, match=message) as refusal:
        seconds_of(text, rate)
    assert isinstance(refusal.value, AffectError)


@pytest.mark.parametrize("seconds", [-0.001, float("nan"), float("inf")])
def test_a_time_before_the_film_is_refused(seconds):
    with pytest.raises(ValueError, match="0 s or more"):
        timecode(seconds, 25)


@pytest.mark.parametrize("rate", [0, -25, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="frame rate above 0"):
        timecode(1, rate)
    with pytest.raises(ValueError, match="frame rate above 0"):
        seconds_of("0:00:01:00", rate)
