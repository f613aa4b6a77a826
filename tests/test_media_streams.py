"""Legal but unusual files: no duration, late starts, streams that change, covers, turned films.

Each is built here, or is a real clip.
"""

import os
import re
import socket
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from affectlib import media, paths
from affectlib.errors import AffectError, FileFormatError, NotFoundError
from affectlib.features import film

CLIPS = paths.GOLDEN / "clips"
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="no real clips below AFFECTLIB_GOLDEN")
LOUDNESS = 0.3 / np.sqrt(2)  # root mean square of tone()


def grey(level, size=(64, 48)):
    return np.full((size[1], size[0], 3), level, np.uint8)


def tone(seconds, rate, level=0.3):
    return (level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def write(
    path,
    images=(),
    *,
    sounds=(),
    rate=16000,
    layout="mono",
    video="libx264",
    audio="aac",
    container=None,
    options=None,
    start=0.0,
):
    """Writes images at 25 a second, and one track per pair of a signal and its disposition."""
    with av.open(str(path), "w", format=container, options=options or {}) as out:
        picture = None
        if len(images):
            picture = out.add_stream(
                video, rate=25, options={"preset": "ultrafast"} if video == "libx264" else {}
            )
            picture.height, picture.width, picture.pix_fmt = *images[0].shape[:2], "yuv420p"
        tracks = []
        for signal, disposition in sounds:
            track = out.add_stream(audio, rate=rate)
            track.layout = layout
            track.disposition = disposition
            tracks.append((track, signal))
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number + round(25 * start), Fraction(1, 25)
            out.mux(picture.encode(frame))
        if picture:
            out.mux(picture.encode(None))
        for track, signal in tracks:
            planes = np.tile(signal, (len(track.layout.channels), 1))
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = (
                rate,
                round(start * rate),
                Fraction(1, rate),
            )
            out.mux(track.encode(frame))
            out.mux(track.encode(None))
    return Path(path)


DEFAULT = av.stream.Disposition.default


def heard(path):
    """Seconds and loudness of the sound of a file."""
    sound = media.read(path).sound
    return len(sound) / 16000, float(np.sqrt(np.mean(sound**2)))


# ---------------------------------------------------------------- duration


@pytest.mark.parametrize(
    ("name", "container", "codecs"),
    [
        ("live.webm", "webm", {"video": "libvpx", "audio": "libopus", "rate": 48000}),
        ("live.mkv", "matroska", {}),
    ],
)
def test_a_file_that_does_not_say_how_long_it_is_is_measured(tmp_path, name, container, codecs):
    rate = codecs.get("rate", 16000)
    path = write(
        tmp_path / name,
        [grey(5 * (i % 50)) for i in range(150)],
        sounds=[(tone(6, rate), DEFAULT)],
        container=container,
        options={"live": "1"},
        **codecs,
    )
    with av.open(str(path)) as opened:
        assert opened.duration is None
    assert media.probe(path).seconds == pytest.approx(6, abs=0.07)
    assert media.film_seconds(path) == media.probe(path).seconds
    clip = media.read(path, rate=5)
    assert len(clip.pictures) >= 30
    assert len(clip.sound) == pytest.approx(96000, abs=1200)
    assert film(path, seconds=3.0).clips["start"].tolist() == [0.0, 3.0]


@pytest.mark.parametrize("quiet_first", [True, False])
def test_sound_without_a_header_is_measured_not_guessed(tmp_path, quiet_first):
    rng = np.random.default_rng(0)
    loud = rng.uniform(-0.9, 0.9, 80000).astype(np.float32)
    quiet = np.zeros(80000, np.float32)
    signal = np.concatenate([quiet, loud] if quiet_first else [loud, quiet])
    path = write(tmp_path / "a.aac", sounds=[(signal, DEFAULT)], container="adts")
    assert media.probe(path).seconds == pytest.approx(10, abs=0.2)
    assert heard(path)[0] == pytest.approx(10, abs=0.2)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("late", ["sound", "picture"])
def test_picture_or_sound_may_begin_later_than_the_other(tmp_path, name, late):
    path = tmp_path / name
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        track = out.add_stream("aac", rate=16000, layout="mono")
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(grey(90), format="rgb24")
            frame.pts = number + (25 if late == "picture" else 0)
            frame.time_base = Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(tone(2, 16000)[None], format="fltp", layout="mono")
        sound.sample_rate = 16000
        sound.pts, sound.time_base = 16000 * (late == "sound"), Fraction(1, 16000)
        out.mux(track.encode(sound))
        out.mux(track.encode(None))
    assert media.probe(path).seconds == pytest.approx(3, abs=0.1)
    clip = media.read(path, rate=1)
    # Before its first frame a film shows this frame; before its first sample it is silent.
    assert [float(picture.image.mean()) for picture in clip.pictures][:3] == pytest.approx(
        [90] * 3, abs=3
    )
    first_second = np.abs(clip.sound[:14000]).max()
    assert first_second == pytest.approx(0 if late == "sound" else 0.3, abs=0.02)
    assert len(clip.sound) / 16000 == pytest.approx(3 if late == "sound" else 2, abs=0.15)


def test_probe_and_film_seconds_are_one(tmp_path):
    for name in ("a.mp4", "a.mov", "a.mkv", "a.avi", "a.ts", "a.mpg"):
        video = "mpeg2video" if name == "a.mpg" else "libx264"
        path = write(tmp_path / name, [grey(9)] * 50, video=video)
        assert media.film_seconds(path) == media.probe(path).seconds == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mov"])
def test_a_file_may_begin_after_zero(tmp_path, name):
    images = [grey(10 * i) for i in range(20)] + [grey(200)] * 30
    path = write(tmp_path / name, images, sounds=[(tone(2, 16000), DEFAULT)], start=3.0)
    assert media.probe(path).seconds == pytest.approx(2, abs=0.15)
    clip = media.read(path, rate=5)
    shown = [float(picture.image.mean()) for picture in clip.pictures]
    # An encoder puts up to 0.064 s of silence in front of the sound: the picture begins up to two
    # frames later.
    assert shown[:4] == pytest.approx([0, 50, 100, 150], abs=23)
    assert len(clip.sound) / 16000 == pytest.approx(2, abs=0.15)


def test_a_late_file_that_was_cut_is_still_refused(tmp_path):
    noise = list(np.random.default_rng(0).integers(0, 255, (100, 48, 64, 3), dtype=np.uint8))
    path = write(tmp_path / "a.mkv", noise, start=3.0)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError, match="cut short"):
        media.read(path, rate=2)


# ---------------------------------------------------------------- streams that change


def joined(path, *parts):
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def test_time_stamps_that_begin_anew_are_refused(tmp_path):
    one = write(tmp_path / "one.ts", [grey(9)] * 50, sounds=[(tone(2, 16000), DEFAULT)])
    path = joined(tmp_path / "two.ts", one, one)
    for look in (
        lambda: media.probe(path),
        lambda: media.film_seconds(path),
        lambda: list(media.stream(path, [0.0])),
    ):
        with pytest.raises(
            FileFormatError,
            match=r"two\.ts: expected time stamps that go on, found .* files joined",
        ):
            look()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("stereo", 48000), ("5.1", 48000)),
        (("5.1", 48000), ("stereo", 48000)),
        (("stereo", 48000), ("stereo", 44100)),
    ],
)
def test_sound_may_change_its_channels_and_its_sampling_rate(tmp_path, first, second):
    parts = []
    for number, (layout, rate) in enumerate((first, second)):
        path = write(
            tmp_path / f"{number}.ts",
            [grey(9)] * 50,
            sounds=[(tone(2, rate), DEFAULT)],
            rate=rate,
            layout=layout,
            audio="ac3",
            start=2.0 * number,
        )
        parts.append(path)
    path = joined(tmp_path / "both.ts", *parts)
    with av.open(str(path)) as opened:
        kinds = [
            (frame.layout.name.partition("(")[0], frame.sample_rate)
            for frame in opened.decode(audio=0)
        ]
    assert list(dict.fromkeys(kinds)) == [first, second], "the file is not what this test is about"
    seconds, _ = heard(path)
    assert seconds == pytest.approx(4, abs=0.15)
    sound = media.read(path).sound
    for half in (sound[4000:28000], sound[36000:60000]):
        assert np.argmax(np.abs(np.fft.rfft(half))) / 1.5 == pytest.approx(440, abs=1)
        assert np.sqrt(np.mean(half**2)) > 0.5 * LOUDNESS


def test_pictures_that_change_their_size_are_refused_the_sound_is_still_heard(tmp_path):
    one = write(tmp_path / "one.ts", [grey(9)] * 50, sounds=[(tone(2, 16000), DEFAULT)])
    two = write(
        tmp_path / "two.ts",
        [grey(9, (128, 96))] * 50,
        sounds=[(tone(2, 16000), DEFAULT)],
        start=2.0,
    )
    path = joined(tmp_path / "both.ts", one, two)
    expected = r"expected pictures of one size, found 128 x 96 after 64 x 48 at 2\.\d+ s"
    with pytest.raises(FileFormatError, match=expected):
        media.read(path, rate=5)
    assert heard(path)[0] == pytest.approx(4, abs=0.2)


def test_the_track_that_is_marked_as_default_is_heard(tmp_path):
    quiet, loud = tone(2, 16000, 0.02), tone(2, 16000, 0.5)
    path = write(
        tmp_path / "a.mkv",
        [grey(9)] * 50,
        sounds=[(quiet, av.stream.Disposition(0)), (loud, DEFAULT)],
    )
    assert heard(path)[1] == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    path = write(tmp_path / "b.mkv", [grey(9)] * 50, sounds=[(quiet, DEFAULT), (loud, DEFAULT)])
    assert heard(path)[1] == pytest.approx(0.02 / np.sqrt(2), rel=0.1)


def test_a_hole_of_hours_is_refused_a_short_one_is_silence(tmp_path):
    path = tmp_path / "a.mkv"
    for hole in (1.0, 30 * 86400.0):
        with av.open(str(path), "w") as out:
            track = out.add_stream("pcm_s16le", rate=16000, layout="mono")
            for begin in (0.0, 1.0 + hole):
                frame = av.AudioFrame.from_ndarray(
                    tone(1, 16000)[None], format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts, frame.time_base = (
                    16000,
                    round(begin * 16000),
                    Fraction(1, 16000),
                )
                out.mux(track.encode(frame))
            out.mux(track.encode(None))
        if hole == 1.0:
            assert heard(path)[0] == pytest.approx(3, abs=0.1)
        else:
            with pytest.raises(FileFormatError, match=r"a hole of 720\.0 hours"):
                list(media.stream(path))


# ---------------------------------------------------------------- covers


def test_the_cover_of_a_song_is_no_film(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as out:
        track = out.add_stream("libmp3lame", rate=16000, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(grey(10, (32, 32)), format="rgb24")
        picture.pts = 0
        out.mux(cover.encode(picture))
        out.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(tone(2, 16000)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    with av.open(str(path)) as opened:
        assert len(opened.streams.video) == 1, "the file is not what this test is about"
    with pytest.raises(FileFormatError, match="expected a film with frames, found none"):
        media.film_seconds(path)
    about = media.probe(path)
    assert about.width is None
    assert about.frame_rate is None
    assert about.sampling_rate == 16000
    with pytest.raises(FileFormatError, match="it has no picture"):
        media.read(path, rate=1)
    assert heard(path)[0] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", ["a.mp4", "a.m4a"])
def test_the_cover_of_a_film_is_left_out(tmp_path, name):
    path = tmp_path / name
    with av.open(str(path), "w", format="mp4") as out:
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        picture = av.VideoFrame.from_ndarray(grey(10, (32, 32)), format="rgb24")
        picture.pts = 0
        out.mux(cover.encode(picture))
        out.mux(cover.encode(None))
        for _ in range(50):
            out.mux(video.encode(av.VideoFrame.from_ndarray(grey(90), format="rgb24")))
        out.mux(video.encode(None))
    assert media.film_seconds(path) == pytest.approx(2)
    assert (media.probe(path).width, media.probe(path).height) == (64, 48)
    assert [float(p.image.mean()) for p in media.read(path, rate=1).pictures] == pytest.approx(
        [90, 90], abs=3
    )


# ---------------------------------------------------------------- colours, sizes, order of frames


def rgb(y, u, v, red, blue, *, full):
    """Colour of a pixel by the formula of ITU-R BT.601, 709 and 2020.

    Args:
        y, u, v: as the file stores them
        red, blue: share of these in the brightness
        full: whether values use all of 0 to 255
    """
    if not full:
        y, u, v = (y - 16) * 255 / 219, (u - 128) * 255 / 224 + 128, (v - 128) * 255 / 224 + 128
    r = y + 2 * (1 - red) * (v - 128)
    b = y + 2 * (1 - blue) * (u - 128)
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip([r, g, b], 0, 255)


@pytest.mark.parametrize(
    ("colours", "red", "blue", "full"),
    [
        (6, 0.299, 0.114, False),
        (1, 0.2126, 0.0722, False),
        (9, 0.2627, 0.0593, False),
        (1, 0.2126, 0.0722, True),
        (6, 0.299, 0.114, True),
    ],
    ids=["601", "709", "2020", "709 of full range", "601 of full range"],
)
def test_colours_are_those_of_the_matrix_that_the_file_names(tmp_path, colours, red, blue, full):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"qp": "1", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.colorspace = colours
        video.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane, value in zip(frame.planes, (100, 90, 200), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.colorspace, frame.color_range = colours, 2 if full else 1
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        out.mux(video.encode(frame))
        out.mux(video.encode(None))
    found = media.read(path, rate=1).pictures[0].image[20, 30]
    assert found.tolist() == pytest.approx(rgb(100, 90, 200, red, blue, full=full), abs=3)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "size"),
    [
        ("a.gif", "gif", "rgb8", (64, 48)),
        ("odd.mkv", "ffv1", "yuv444p", (65, 49)),
        ("ten.mkv", "ffv1", "yuv420p10le", (64, 48)),
        ("alpha.webm", "libvpx-vp9", "yuva420p", (64, 48)),
    ],
    ids=["gif", "odd sides", "10 bits", "transparent"],
)
def test_other_kinds_of_pixels_are_seen(tmp_path, name, codec, pixels, size):
    path = tmp_path / name
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = *size, pixels
        for number in range(10):
            picture = grey(90 if number < 5 else 200, size)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
    assert (media.probe(path).width, media.probe(path).height) == size
    pictures = media.read(path, rate=5).pictures
    assert [float(picture.image.mean()) for picture in pictures] == pytest.approx([90, 200], abs=4)


def test_a_picture_is_a_film_of_one_frame(tmp_path):
    path = tmp_path / "a.png"
    with av.open(str(path), "w", format="image2") as out:
        video = out.add_stream("png", rate=1)
        video.width, video.height, video.pix_fmt = 64, 48, "rgb24"
        out.mux(video.encode(av.VideoFrame.from_ndarray(grey(80), format="rgb24")))
        out.mux(video.encode(None))
    assert [float(p.image.mean()) for p in media.read(path, rate=2).pictures] == [80]


def reordered(path):
    """A film that gets lighter by 5 a frame, whose frames are stored in another order."""
    with av.open(str(path), "w") as out:
        options = {"preset": "medium", "bf": "3", "crf": "4"}
        video = out.add_stream("libx264", rate=25, options=options)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(grey(5 * number), format="rgb24")
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    with av.open(str(path)) as opened:
        stamps = [packet.pts for packet in opened.demux(video=0) if packet.size]
    assert stamps != sorted(stamps), "the file is not what this test is about"
    return path


def frame_numbers(path, rate):
    return [float(picture.image.mean()) / 5 for picture in media.read(path, rate=rate).pictures]


def test_frames_that_are_stored_in_another_order_come_at_their_times(tmp_path):
    numbers = frame_numbers(reordered(tmp_path / "a.mp4"), 25)
    assert numbers == pytest.approx(range(50), abs=1)


def test_a_film_that_was_trimmed_by_an_edit_list_begins_where_it_says(tmp_path):
    path = reordered(tmp_path / "a.mp4")
    content = bytearray(path.read_bytes())
    place = content.find(b"elst") + 12
    seconds, begin = struct.unpack_from(">Ii", content, place)
    # The track's own ticks per second stand in its header.
    header = content.find(b"mdhd") + 4
    (ticks,) = struct.unpack_from(">I", content, header + 12)
    struct.pack_into(">Ii", content, place, seconds // 2, begin + ticks)
    path.write_bytes(content)
    assert frame_numbers(path, 5)[:5] == pytest.approx([25, 30, 35, 40, 45], abs=1)


def test_an_interlaced_film_is_seen(tmp_path):
    path = tmp_path / "a.mp4"
    options = {"preset": "ultrafast", "flags": "+ilme+ildct", "x264-params": "tff=1"}
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options=options)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(50):
            out.mux(video.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
        out.mux(video.encode(None))
    pictures = media.read(path, rate=5).pictures
    assert [names(picture.image) for picture in pictures] == ["RGBW"] * 10


# ---------------------------------------------------------------- turned and mirrored


def corners():
    """A picture whose corners are red, green (above), blue and white (below)."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = (250, 20, 20)
    picture[:24, 32:] = (20, 250, 20)
    picture[24:, :32] = (20, 20, 250)
    picture[24:, 32:] = (240, 240, 240)
    return picture


def names(image):
    """Colours of the corners: above left and right, below left and right."""
    height, width = image.shape[:2]
    found = ""
    for row in (height // 4, 3 * height // 4):
        for column in (width // 4, 3 * width // 4):
            red, green, blue = (value > 150 for value in image[row, column].tolist())
            found += (
                "W" if red and green else "R" if red else "G" if green else "B" if blue else "?"
            )
    return found


def with_matrix(path, numbers):
    """An mp4 that is to be shown turned: its track header holds a matrix of nine numbers."""
    content = write(path, [corners()] * 10).read_bytes()
    begin = content.find(b"tkhd") + 4
    begin += 4 + 4 * 5 + 8 + 8  # version, five numbers, two reserved, layer to volume
    a, b, c, d = (round(number * 65536) & 0xFFFFFFFF for number in numbers)
    matrix = struct.pack(">9I", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(content[:begin] + matrix + content[begin + 36 :])
    return path


@pytest.mark.parametrize(
    ("numbers", "right"),
    [
        ((1, 0, 0, 1), "RGBW"),
        ((0, 1, -1, 0), "BRWG"),
        ((-1, 0, 0, -1), "WBGR"),
        ((0, -1, 1, 0), "GWRB"),
        ((-1, 0, 0, 1), "GRWB"),
        ((1, 0, 0, -1), "BWRG"),
        ((0, 1, 1, 0), "RBGW"),
        ((0, -1, -1, 0), "WGBR"),
    ],
)
def test_a_film_is_seen_as_a_player_shows_it(tmp_path, numbers, right):
    path = with_matrix(tmp_path / "a.mp4", numbers)
    clip = media.read(path, rate=25, pairs=True)
    assert {names(picture.image) for picture in clip.pictures} == {right}
    assert names(clip.pictures[0].following) == right
    assert clip.pictures[0].image.flags.c_contiguous
    exchanged = numbers[0] == 0
    assert clip.pictures[0].image.shape == ((64, 48, 3) if exchanged else (48, 64, 3))
    assert (media.probe(path).width, media.probe(path).height) == (
        (48, 64) if exchanged else (64, 48)
    )


def test_a_film_that_leans_is_refused(tmp_path):
    path = with_matrix(tmp_path / "a.mp4", (0.7071, 0.7071, -0.7071, 0.7071))
    for look in (media.probe, media.film_seconds, lambda path: media.read(path, rate=1)):
        with pytest.raises(FileFormatError, match=r"right angles, found the display matrix 0\.707"):
            look(path)


def test_pixels_that_are_not_square_come_as_they_are_stored(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.sample_aspect_ratio = Fraction(2, 1)
        for _ in range(5):
            out.mux(video.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
        out.mux(video.encode(None))
    with av.open(str(path)) as opened:
        assert opened.streams.video[0].sample_aspect_ratio == 2, "the file is not as planned"
    assert (media.probe(path).width, media.probe(path).height) == (64, 48)
    image = media.read(path, rate=25).pictures[0].image
    assert image.shape == (48, 64, 3)
    assert names(image) == "RGBW"


# ---------------------------------------------------------------- hostile and broken


def wav(path, samples, *, riff=None, data=None, kind=1, bits=None):
    """A wav file whose header may state wrong sizes, as one that was written to a pipe does."""
    content = samples.tobytes()
    bits = bits or 8 * samples.dtype.itemsize
    header = struct.pack(
        "<4sI4s4sIHHIIHH",
        b"RIFF",
        36 + len(content) if riff is None else riff,
        b"WAVE",
        b"fmt ",
        16,
        kind,
        1,
        16000,
        16000 * bits // 8,
        bits // 8,
        bits,
    )
    size = len(content) if data is None else data
    path.write_bytes(header + struct.pack("<4sI", b"data", size) + content)
    return path


@pytest.mark.parametrize(
    ("riff", "data"), [(0x7FFFF024, 0x7FFFF000), (0xFFFFFFFF, 0xFFFFFFFF), (0, 0)]
)
def test_a_wav_from_a_pipe_lasts_as_long_as_its_samples(tmp_path, riff, data):
    path = wav(tmp_path / "a.wav", (tone(2, 16000) * 32767).astype("<i2"), riff=riff, data=data)
    assert media.probe(path).seconds == pytest.approx(2, abs=0.01)
    assert heard(path) == (2.0, pytest.approx(LOUDNESS, rel=0.01))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_a_wav_with_values_that_are_not_numbers_is_refused(tmp_path, value, kind):
    samples = tone(1, 16000).astype(kind)
    assert heard(wav(tmp_path / "good.wav", samples, kind=3))[1] == pytest.approx(
        LOUDNESS, rel=0.01
    )
    samples[9000] = value
    with pytest.raises(
        FileFormatError,
        match=r"a\.wav: expected sound made of numbers, found nan or inf at 0\.\d+ s",
    ):
        media.read(wav(tmp_path / "a.wav", samples, kind=3))


def of_24_bits(signal):
    """Samples as whole numbers of three bytes, the lowest first."""
    numbers = (signal * (2**23 - 1)).astype("<i4")
    return numbers.view(np.uint8).reshape(-1, 4)[:, :3]


@pytest.mark.parametrize(
    ("samples", "kind", "bits", "loudness"),
    [
        (of_24_bits(tone(1, 16000)), 1, 24, LOUDNESS),
        ((tone(1, 16000) * 127 + 128).astype(np.uint8), 1, 8, LOUDNESS),
        (tone(1, 16000), 3, 32, LOUDNESS),
        (tone(1, 16000).astype("<f8"), 3, 64, LOUDNESS),
    ],
    ids=["24 bits", "8 bits", "float", "double"],
)
def test_every_kind_of_wav_is_heard(tmp_path, samples, kind, bits, loudness):
    path = wav(tmp_path / "a.wav", samples, kind=kind, bits=bits)
    assert heard(path) == (1.0, pytest.approx(loudness, rel=0.02))


def test_sound_above_full_scale_is_cut_at_it(tmp_path):
    path = wav(tmp_path / "a.wav", 10 * tone(1, 16000), kind=3)
    assert np.abs(media.read(path).sound).max() == pytest.approx(1, abs=1e-4)


def test_six_loud_channels_are_mixed_without_cutting(tmp_path):
    signal = tone(2, 48000, 0.9)
    path = write(
        tmp_path / "a.mkv", sounds=[(signal, DEFAULT)], rate=48000, layout="5.1", audio="ac3"
    )
    seconds, loudness = heard(path)
    assert seconds == pytest.approx(2, abs=0.1)
    assert loudness == pytest.approx(0.9 / np.sqrt(2), rel=0.05)


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.mp4", "ffconcat version 1.0\nfile real.mp4\n"),
        ("list.m3u8", PLAYLIST.format("real.mp4")),
        ("list.m3u8", PLAYLIST.format("http://127.0.0.1:{port}/real.ts")),
    ],
    ids=["concat", "playlist", "playlist of the network"],
)
def test_a_list_of_other_files_is_refused(tmp_path, name, content):
    write(tmp_path / "real.mp4", [grey(9)] * 10)
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / name).write_text(content.replace("{port}", str(server.getsockname()[1])))
        with pytest.raises(AffectError, match=name):
            media.probe(tmp_path / name)
        server.settimeout(0)
        # Nobody has asked for anything.
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    "name", ["concat:x.mp4", "http:x.mp4", "pipe:0", "x.mp4?a=b#c", "%78.mp4", "caf\udce9.mp4"]
)
def test_a_name_is_never_a_command(tmp_path, monkeypatch, name):
    if name.startswith("caf") and sys.platform != "linux":
        pytest.skip("other systems know no names that are not UTF-8")
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.mp4", [grey(9)] * 10)
    write(tmp_path / "other.mp4", [grey(9)] * 50)
    os.rename("other.mp4", name)
    assert media.probe(name).seconds == pytest.approx(2)
    assert len(media.read(Path(name), rate=1).pictures) == 2


@pytest.mark.parametrize(
    "name", ["a.mp4", "a.mkv", "a.webm", "a.ts", "a.avi", "a.wav", "a.mp3", "a.aac", "a.flac"]
)
def test_rubbish_and_missing_files_are_named_whatever_they_are_called(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(NotFoundError, match=name):
        media.probe(path)
    with pytest.raises(FileFormatError, match="expected this film, found none"):
        media.film_seconds(path)
    rng = np.random.default_rng(0)
    for content in (
        b"",
        b"\0" * 5000,
        rng.bytes(5000),
        b"RIFF" + rng.bytes(5000),
        b"\x1aE\xdf\xa3" + rng.bytes(900),
    ):
        path.write_bytes(content)
        for look in (media.probe, media.film_seconds, media.read):
            with pytest.raises(AffectError, match=name):
                look(path)


def test_a_codec_that_nobody_knows_is_refused(tmp_path):
    path = write(tmp_path / "a.mp4", [grey(9)] * 10)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    for look in (media.probe, media.film_seconds, media.read):
        with pytest.raises(
            FileFormatError, match=r"a\.mp4: expected video of a codec that FFmpeg knows"
        ):
            look(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.webm", "a.wav"])
def test_damaged_files_are_read_or_named_never_a_raw_error(tmp_path, name):
    codecs = {"video": "libvpx", "audio": "libopus", "rate": 48000} if name == "a.webm" else {}
    images = [] if name == "a.wav" else [grey(9)] * 25
    codecs |= {"audio": "pcm_s16le"} if name == "a.wav" else {}
    path = write(
        tmp_path / name, images, sounds=[(tone(1, codecs.get("rate", 16000)), DEFAULT)], **codecs
    )
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for attempt in range(60):
        content = bytearray(whole)
        if attempt % 3 == 0:
            content = content[: rng.integers(1, len(content))]
        elif attempt % 3 == 1:
            for place in rng.integers(len(content), size=40):
                content[place] = rng.integers(256)
        else:
            begin = rng.integers(min(len(content), 1500))
            content[begin : begin + 30] = rng.bytes(rng.integers(1, 60))
        path.write_bytes(content)
        for look in (
            media.probe,
            media.film_seconds,
            lambda path: list(media.stream(path, [0.0, 0.5])),
        ):
            try:
                look(path)
            except AffectError as error:
                assert name in str(error)
                refused += 1
    assert refused > 10


def rolling(count):
    """Soft stripes with a little noise, which roll upwards."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(count):
        rows = 120 + 60 * np.sin(np.arange(48) / 5 + number / 3)
        noise = rng.normal(0, 5, (48, 64, 3))
        images.append((rows[:, None, None] + noise).astype(np.uint8))
    return images


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libx264"), ("a.mp4", "libx264"), ("a.avi", "mpeg4")]
)
def test_most_damaged_pictures_are_named_with_their_time(tmp_path, name, codec):
    path = write(tmp_path / name, rolling(30), video=codec)
    assert len(media.read(path, rate=5).pictures) == 6
    whole = path.read_bytes()
    with av.open(str(path)) as opened:
        packets = [packet for packet in opened.demux(video=0) if packet.size]
    message = rf"{name}: expected a whole file, found a damaged picture at ([0-9.]+) s"
    named = 0
    for packet in packets[5:25]:
        middle = packet.pos + packet.size // 2
        damage = np.random.default_rng(packet.pos).bytes(24)
        path.write_bytes(whole[:middle] + damage + whole[middle + 24 :])
        try:
            media.read(path, rate=5)
        except FileFormatError as error:
            found = re.search(message, str(error))
            if found:
                time = float(packet.pts * packet.time_base)
                assert float(found[1]) == pytest.approx(time, abs=0.05)
                named += 1
    # The codes of some damage are valid: no decoder can notice it.
    assert named > 10


def test_a_film_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", [grey(9)] * 5)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    # Root may read everything, so the refusal is played.
    monkeypatch.setattr("builtins.open", refuse)
    for look in (media.probe, media.film_seconds, media.read):
        with pytest.raises(
            FileFormatError, match=r"a\.mp4: .*cannot be read \(Permission denied\)"
        ):
            look(path)


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.mp4", "a.ts"])
def test_every_frame_of_a_film_is_read_though_its_sound_is_longer(tmp_path, name):
    images = [grey(8 * number) for number in range(25)]
    # An encoder fills up its last block of sound, and mkv declares this longer time.
    path = write(tmp_path / name, images, sounds=[(tone(1.0, 16000), DEFAULT)])
    pictures = media.read(path, rate=25).pictures
    assert len(pictures) >= 25
    assert pictures[-1].image.mean() == pytest.approx(192, abs=3)
    with pytest.raises(FileFormatError, match=r"expected a frame at 1\.9 s"):
        list(media.stream(path, [1.9]))


def test_a_header_that_states_years_is_refused(tmp_path):
    path = write(tmp_path / "a.avi", rolling(25), video="mpeg4")
    content = bytearray(path.read_bytes())
    # Two numbers of the header: their ratio is how long a frame lasts, in seconds.
    place = content.find(b"strh") + 8 + 20
    scale, rate = struct.unpack_from("<2I", content, place)
    assert rate == 25 * scale, "the file is not what this test is about"
    struct.pack_into("<2I", content, place, 50_000_000, 25)
    path.write_bytes(content)
    for look in (media.probe, media.film_seconds, lambda path: media.read(path, rate=5)):
        with pytest.raises(
            FileFormatError, match=r"a\.avi: expected a day at most, it says 5e\+07 s"
        ):
            look(path)


# ---------------------------------------------------------------- real clips


@needs_clips
def test_a_real_browser_recording_is_read_to_its_end():
    path = CLIPS / "mp_no_duration.webm"
    about = media.probe(path)
    assert about.seconds == media.film_seconds(path) == pytest.approx(4.938, abs=0.001)
    clip = media.read(path, rate=about.frame_rate, side=64)
    assert len(clip.pictures) == 74
    assert len(clip.sound) / 16000 == pytest.approx(4.86, abs=0.001)


@needs_clips
@pytest.mark.parametrize(
    ("name", "seconds", "frames", "sound"),
    [
        ("bikes.mp4", 10.0, 250, None),
        ("face_noface.mov", 6.424, 170, 6.396),
        ("mp_big_buck_bunny_0_30.webm", 30.003, 721, 30.003),
    ],
)
def test_real_clips_are_read_to_their_end(name, seconds, frames, sound):
    about = media.probe(CLIPS / name)
    clip = media.read(CLIPS / name, rate=about.frame_rate, side=64)
    assert about.seconds == pytest.approx(seconds, abs=0.001)
    assert len(clip.pictures) == frames
    assert (None if clip.sound is None else len(clip.sound) / 16000) == (
        sound and pytest.approx(sound, abs=0.001)
    )
    assert (about.sampling_rate is None) == (sound is None)
