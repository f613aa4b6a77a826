"""Odd and damaged media files, encoded here."""

from fractions import Fraction

import av
import numpy as np
import pytest

from affectlib import media
from affectlib.errors import FileFormatError, NotFoundError


def grey(level, size=(64, 48)):
    return np.full((size[1], size[0], 3), level, np.uint8)


def encode(
    path,
    images,
    *,
    rate=Fraction(25),
    ticks=None,
    signal=None,
    sampling_rate=16000,
    layout="mono",
    faststart=False,
):
    """Writes images, and a mono signal, to a media file; ticks are frame times in milliseconds."""
    with av.open(
        str(path), "w", options={"movflags": "+faststart"} if faststart else {}
    ) as container:
        video = audio = None
        if len(images):
            video = container.add_stream(
                "libx264", rate=rate, options={"crf": "4", "preset": "ultrafast"}
            )
            video.height, video.width, video.pix_fmt = *images[0].shape[:2], "yuv420p"
            if ticks:
                video.codec_context.time_base = Fraction(1, 1000)
        if signal is not None:
            audio = container.add_stream(
                "pcm_s16le" if str(path).endswith("wav") else "aac", rate=sampling_rate
            )
            audio.layout = layout
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if ticks:
                frame.pts, frame.time_base = ticks[i], Fraction(1, 1000)
            container.mux(video.encode(frame))
        if video:
            container.mux(video.encode(None))
        if audio:
            planes = np.tile(signal.astype(np.float32), (len(audio.layout.channels), 1))
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sampling_rate, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def tone(seconds, sampling_rate=16000, hertz=440.0):
    return 0.3 * np.sin(
        2 * np.pi * hertz * np.arange(round(seconds * sampling_rate)) / sampling_rate
    )


def levels(clip):
    return [float(p.image.mean()) for p in clip.pictures]


@pytest.mark.parametrize("extension", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(24000, 1001), Fraction(25, 2)])
def test_the_frame_at_or_before_each_time_is_given(tmp_path, extension, rate):
    shown = [5 * i for i in range(int(2 * rate))]
    path = encode(tmp_path / f"a.{extension}", [grey(x) for x in shown], rate=rate, signal=tone(2))
    times = [0.0, 0.3, 0.6, 0.99, 1.5]
    found = [p for p in media.stream(path, times, pairs=True) if isinstance(p, media.Picture)]
    index = [int(np.floor((t + 1e-4) * float(rate))) for t in times]  # from the frame rate
    assert [p.time for p in found] == times
    assert [p.image.mean() for p in found] == pytest.approx([shown[i] for i in index], abs=3)
    assert [p.following.mean() for p in found] == pytest.approx(
        [shown[i + 1] for i in index], abs=3
    )
    assert [p.gap for p in found] == pytest.approx([1 / float(rate)] * 5, abs=2e-3)
    assert media.probe(path).frame_rate == pytest.approx(float(rate), rel=1e-3)


def test_variable_frame_rate_counts_in_seconds(tmp_path):
    ticks = [0, 40, 80, 500, 540, 1000, 1040, 1900]
    path = encode(tmp_path / "a.mp4", [grey(x) for x in range(0, 240, 30)], ticks=ticks)
    clip = media.read(path, rate=4, pairs=True)
    assert levels(clip) == pytest.approx([0, 60, 90, 120, 150, 180, 180, 180], abs=3)
    assert clip.pictures[1].gap == pytest.approx(0.42, abs=1e-3)


def test_one_frame_has_no_pair(tmp_path):
    clip = media.read(encode(tmp_path / "a.mp4", [grey(90)]), rate=2, pairs=True)
    assert levels(clip) == pytest.approx([90], abs=3)
    assert clip.pictures[0].following is None
    assert clip.sound is None
    assert np.isnan(clip.pictures[0].gap)


def test_portrait_is_reduced_by_its_longer_side_and_never_enlarged(tmp_path):
    path = encode(tmp_path / "a.mp4", [grey(90, (48, 96))] * 3)
    assert media.read(path, rate=1, side=32).pictures[0].image.shape == (32, 16, 3)
    assert media.read(path, rate=1, side=500).pictures[0].image.shape == (96, 48, 3)
    assert (media.probe(path).width, media.probe(path).height) == (48, 96)


@pytest.mark.parametrize(
    "sampling_rate, layout, extension",
    [
        (8000, "mono", "mp4"),
        (44100, "stereo", "mkv"),
        (48000, "stereo", "wav"),
        (8000, "mono", "wav"),
    ],
)
def test_sound_becomes_16_khz_mono(tmp_path, sampling_rate, layout, extension):
    images = [] if extension == "wav" else [grey(9)] * 50
    path = encode(
        tmp_path / f"a.{extension}",
        images,
        signal=tone(2, sampling_rate),
        sampling_rate=sampling_rate,
        layout=layout,
    )
    sound = media.read(path).sound
    spectrum = np.abs(np.fft.rfft(sound[:32000]))
    assert sound.dtype == np.float32
    assert len(sound) == pytest.approx(32000, abs=1200)
    assert np.argmax(spectrum) / 2 == pytest.approx(440, abs=1)
    assert np.sqrt(np.mean(sound[4000:28000] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    assert media.probe(path).sampling_rate == sampling_rate


def test_sound_keeps_its_place(tmp_path):
    signal = tone(3)
    signal[:16000] = 0
    path = encode(tmp_path / "a.mp4", [grey(9)] * 75, signal=signal)
    first, second, third = media.clips(path, [0.0, 1.0, 2.0], [1.0] * 3)
    assert [len(c.sound) for c in (first, second, third)] == [16000] * 3
    assert np.abs(first.sound[:15000]).max() < 0.01 < 0.2 < np.abs(second.sound[1000:]).max()


def test_clips_agree_with_the_whole_and_may_overlap(tmp_path):
    path = encode(
        tmp_path / "a.mp4",
        [grey(3 * i) for i in range(75)],
        signal=tone(3) * np.linspace(0, 1, 48000),
    )
    whole = media.read(path, rate=4)
    starts, seconds = [0.0, 0.5, 1.0], [1.0, 2.0, 1.5]
    for clip, a, s in zip(
        media.clips(path, starts, seconds, rates=(4, 2)), starts, seconds, strict=True
    ):
        assert np.array_equal(clip.sound, whole.sound[round(a * 16000) : round((a + s) * 16000)])
        inside = [p for p in whole.pictures if a <= p.time < a + s]
        assert levels(clip) == [float(p.image.mean()) for p in inside]
        assert [p.time for p in clip.at(2)] == [p.time for p in inside][::2]


@pytest.mark.parametrize("rate", [3, 7, 29.97])
def test_clips_of_one_frame_may_start_at_a_fraction_of_a_second(tmp_path, rate):
    path = encode(tmp_path / "film.mp4", [grey(10 * k) for k in range(25)], signal=tone(1.0))
    n = int(rate)
    made = list(media.clips(path, [k / rate for k in range(n)], [1 / rate] * n, rates=(rate,)))
    assert [len(clip.pictures) for clip in made] == [1] * n


def test_sound_is_given_while_the_film_is_read(tmp_path):
    path = encode(tmp_path / "a.mp4", [grey(9)] * 250, signal=tone(10))
    blocks = [event for event in media.stream(path) if isinstance(event, media.Sound)]
    assert max(len(b.samples) for b in blocks) < 8000
    assert [b.first for b in blocks] == np.cumsum([0] + [len(b.samples) for b in blocks])[
        :-1
    ].tolist()


def cut(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def noise(n, size=(64, 48)):
    return list(np.random.default_rng(0).integers(0, 255, (n, size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize(
    "name, faststart", [("a.mp4", False), ("a.mp4", True), ("a.mkv", False), ("a.mov", True)]
)
def test_a_film_cut_in_half_is_refused(tmp_path, name, faststart):
    path = cut(encode(tmp_path / name, noise(100), signal=tone(4), faststart=faststart))
    for looks in ({"rate": 2}, {"rate": 2, "sound": False}, {}):
        with pytest.raises(FileFormatError, match=name):
            media.read(path, **looks)


def test_the_last_frame_stays_while_the_sound_goes_on(tmp_path):
    path = encode(tmp_path / "a.mp4", [grey(9)] * 50 + [grey(99)], signal=tone(3))
    for sound in (True, False):
        assert levels(media.read(path, rate=1, sound=sound)) == pytest.approx([9, 9, 99], abs=3)


def test_a_sound_cut_in_half_is_refused(tmp_path):
    path = encode(tmp_path / "a.wav", [], signal=tone(4))
    assert len(media.read(path).sound) == 64000
    declared = bytearray(path.read_bytes())
    path.write_bytes(declared[: len(declared) // 2])
    with pytest.raises(FileFormatError, match=r"a\.wav"):
        media.read(path)


def test_a_file_that_is_not_a_film_is_refused_by_name(tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.mp4"):
        media.probe(tmp_path / "none.mp4")
    for name, content in (("empty.mp4", b""), ("text.mp4", b"no film at all\n" * 50)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError, match=name):
            media.read(tmp_path / name, rate=1)


def test_frames_are_refused_where_there_are_none(tmp_path):
    path = encode(tmp_path / "a.wav", [], signal=tone(1))
    assert media.probe(path).frame_rate is None
    with pytest.raises(FileFormatError, match="no picture"):
        media.read(path, rate=1)


def test_times_past_the_end_and_backwards_are_refused(tmp_path):
    path = encode(tmp_path / "a.mp4", [grey(9)] * 50, signal=tone(2))
    with pytest.raises(FileFormatError, match="ends at 2"):
        list(media.stream(path, [1.0, 7.0]))
    with pytest.raises(FileFormatError, match="ends at 2"):
        list(media.clips(path, [1.0], [9.0]))
    with pytest.raises(ValueError, match="increase"):
        list(media.stream(path, [1.0, 0.5]))
