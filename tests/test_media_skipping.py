"""Frames are the same whether packets between them are left out or all are decoded."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from affectlib import media, paths
from affectlib.errors import FileFormatError
from affectlib.media import _reading

SECONDS = 6
CLIPS = paths.GOLDEN / "clips"


def made(path, codec, pixels="yuv420p", **options):
    """Writes six seconds of grain that moves, 25 frames a second."""
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 200, (112, 128, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        names = {name.replace("_", "-"): value for name, value in options.items()}
        video = container.add_stream(codec, rate=25, options=names)
        video.width, video.height, video.pix_fmt = 64, 48, pixels
        for number in range(SECONDS * 25):
            x, y = rng.integers(0, 64, 2) if number // 20 % 2 else (number % 64, 0)
            frame = av.VideoFrame.from_ndarray(
                grain[y : y + 48, x : x + 64] + np.uint8(number % 50), format="rgb24"
            )
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


@pytest.fixture
def decoded(monkeypatch):
    """Sizes of the packets of pictures that were decoded."""
    sizes = []
    decode = _reading._decoded

    def note(path, step):
        if step.packet.stream.type == "video" and step.packet.size:
            sizes.append(step.packet.size)
        return decode(path, step)

    monkeypatch.setattr(_reading, "_decoded", note)
    return sizes


def events(path, times, *, skip, pairs=False):
    """All that is given, with every packet decoded or not; the times are those of the requests."""
    if skip:
        return list(media.stream(path, times, pairs=pairs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_reading, "can_skip", lambda video: False)
        return list(media.stream(path, times, pairs=pairs))


def by_kind(event):
    return isinstance(event, media.Sound)


def same(one, other):
    """True if two events hold the same bytes."""
    if isinstance(one, media.Sound):
        return one.first == other.first and np.array_equal(one.samples, other.samples)
    return (
        (one.time, one.side, str(one.gap)) == (other.time, other.side, str(other.gap))
        and np.array_equal(one.image, other.image)
        and (one.following is None) == (other.following is None)
        and (one.following is None or np.array_equal(one.following, other.following))
    )


def assert_same(path, seconds=SECONDS, rates=(0.2, 1, 3, 10)):
    rng = np.random.default_rng(1)
    requests = [media.grid(0, seconds, rate) for rate in rates]
    requests += [sorted(rng.uniform(0, seconds, count).tolist()) for count in (1, 2, 7)]
    for times, pairs in itertools.product(requests, (False, True)):
        # Only the order among pictures, and among blocks of sound, is the same.
        found = sorted(events(path, times, skip=True, pairs=pairs), key=by_kind)
        whole = sorted(events(path, times, skip=False, pairs=pairs), key=by_kind)
        assert len(found) == len(whole)
        assert all(map(same, found, whole)), (path.name, times, pairs)


X264 = {"preset": "veryfast", "x264_params": "keyint=25:scenecut=0"}
OPEN = {"preset": "medium", "x264_params": "open-gop=1:bframes=3:keyint=20"}
X265 = {"preset": "fast", "x265_params": "keyint=25:open-gop=0:log-level=none"}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("each_second.mp4", "libx264", X264),
        ("one_keyframe.mp4", "libx264", X264 | {"x264_params": "keyint=250"}),
        ("each_second.mkv", "libx264", X264),
        ("each_second.ts", "libx264", X264),
        ("without_times.avi", "libx264", X264),
        ("open.mp4", "libx264", OPEN),
        ("open.ts", "libx264", OPEN),
        ("refreshed.mp4", "libx264", {"x264_params": "intra-refresh=1:keyint=20"}),
        ("interlaced.mp4", "libx264", {"x264_params": "tff=1:keyint=20"}),
        ("deep.mp4", "libx264", {"x264_params": "bframes=8:keyint=30:ref=6"}),
        ("hevc.mp4", "libx265", X265),
        ("hevc.ts", "libx265", X265),
        ("mpeg4.mp4", "mpeg4", {"g": "12", "bf": "2"}),
        ("mpeg2.ts", "mpeg2video", {"g": "12", "bf": "2"}),
        ("vp8.webm", "libvpx", {"g": "20", "auto_alt_ref": "1", "lag_in_frames": "16"}),
        ("vp9.webm", "libvpx-vp9", {"g": "20", "cpu_used": "8", "deadline": "realtime"}),
        ("mjpeg.avi", "mjpeg", {"pixels": "yuvj420p"}),
    ],
)
def test_every_picture_is_that_of_a_film_decoded_as_a_whole(tmp_path, name, codec, options):
    assert_same(made(tmp_path / name, codec, **options))


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no real clips below AFFECTLIB_GOLDEN")
@pytest.mark.parametrize("name", ["bikes.mp4", "face_noface.mov", "mp_no_duration.webm"])
def test_every_picture_of_a_real_clip_is_that_of_the_whole(name):
    assert_same(CLIPS / name, seconds=4, rates=(1,))


def test_a_keyframe_at_each_request_is_all_that_is_decoded(tmp_path, decoded):
    path = made(tmp_path / "a.mp4", "libx264", **X264)
    list(media.stream(path, media.grid(0, SECONDS, 1)))
    # The first frames are decoded until one comes out.
    assert len(decoded) < SECONDS + 6


def test_frames_that_do_not_come_as_planned_are_read_anew(tmp_path, monkeypatch):
    path = made(tmp_path / "a.mp4", "libx264", **X264)
    check = _reading.Skipping.check

    def fail(self, frame):
        check(self, frame)
        if frame.pts * frame.time_base >= 3:
            raise _reading.PlanError

    times = media.grid(0, SECONDS, 2)
    whole = events(path, times, skip=False)
    monkeypatch.setattr(_reading.Skipping, "check", fail)
    found = events(path, times, skip=True)
    assert len(found) == len(whole) == 2 * SECONDS
    assert all(map(same, found, whole))


def test_damage_is_seen_where_a_frame_is_wanted_and_only_there(tmp_path):
    path = made(tmp_path / "a.mp4", "libx264", **X264)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as opened:
        packets = [packet for packet in opened.demux(video=0) if packet.size]
    # The keyframe at 1 s, from its middle on.
    damaged = packets[25]
    begin = damaged.pos + damaged.size // 2
    content[begin : begin + 400] = np.random.default_rng(0).bytes(400)
    path.write_bytes(content)
    assert len(list(media.stream(path, [0.0, 2.0, 3.0]))) == 3
    with pytest.raises(FileFormatError, match="found a damaged picture"):
        list(media.stream(path, media.grid(0, SECONDS, 25)))
