"""What a film holds, against formulas, FFmpeg's own loudness and planted changes."""

from fractions import Fraction

import av
import numpy as np
import pytest

from affectlib.film.contents import describe
from affectlib.film.loudness import gated, loudness

RATE = 48000


def sine(seconds, level, hertz=997.0):
    """A sine, level of its peak in dB of full scale."""
    time = np.arange(round(seconds * RATE)) / RATE
    return 10 ** (level / 20) * np.sin(2 * np.pi * hertz * time)


def write_sound(path, signal, layout="stereo"):
    """Uncompressed sound, the same in each channel."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout=layout)
        channels = len(av.AudioLayout(layout).channels)
        samples = np.repeat(np.round(signal * 32767).astype(np.int16), channels)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout=layout)
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_film(path, images, *, fps=25):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.options = {"preset": "ultrafast", "crf": "10"}
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("layout", "expected"), [("stereo", -23.0), ("mono", -26.01)])
def test_a_sine_has_the_loudness_of_the_recommendation(tmp_path, layout, expected):
    # BS.1770: 997 Hz at 0 dB in one channel is -3.01 LKFS. EBU Tech 3341: -23 dB in both is -23.
    path = write_sound(tmp_path / "a.wav", sine(4, -23.0), layout)
    assert loudness(path, [0.0], [4.0]) == pytest.approx([expected], abs=0.05)


def test_each_stretch_has_its_own_loudness(tmp_path):
    signal = np.concatenate([sine(2, -40), sine(2, -20), np.zeros(2 * RATE), sine(1, -30)])
    path = write_sound(tmp_path / "a.wav", signal)
    starts = [0.0, 2.0, 4.0, 6.0, 6.8, 7.0]
    ends = [2.0, 4.0, 6.0, 7.0, 7.0, 9.0]
    values = loudness(path, starts, ends)
    assert values[[0, 1, 3]] == pytest.approx([-40, -20, -30], abs=0.1)
    # The filters ring for a moment after the loud sound.
    assert -70 <= values[2] < -60
    # 0.2 s are shorter than a block, and after 7 s there is no sound.
    assert np.isnan(values[4:]).all()


def test_the_gate_is_that_of_the_recommendation():
    # Silence and what lies 10 LU below the mean of the rest do not count.
    values = np.array([-20.0, -26.0, -45.0, -80.0, -120.0])
    power = 10 ** (values / 10)
    assert gated(values) == pytest.approx(10 * np.log10((power[0] + power[1]) / 2))
    assert gated(np.array([-80.0, -np.inf])) == -70
    assert np.isnan(gated(np.array([])))


def test_the_loudness_of_a_film_is_that_of_ffmpeg(tmp_path):
    rng = np.random.default_rng(0)
    envelope = np.repeat(rng.uniform(0.001, 0.3, 24), RATE // 4)
    path = write_sound(tmp_path / "a.wav", envelope * rng.normal(size=6 * RATE).clip(-3, 3))
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=RATE, format="s16", layout="stereo", time_base=Fraction(1, RATE)
    )
    graph.link_nodes(source, graph.add("ebur128", "metadata=1"), graph.add("abuffersink"))
    graph.configure()
    integrated = None
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            graph.push(frame)
            while True:
                try:
                    integrated = graph.pull().metadata["lavfi.r128.I"]
                except av.error.BlockingIOError:
                    break
    assert loudness(path, [0.0], [6.0]) == pytest.approx([float(integrated)], abs=0.05)


def test_clicks_at_120_a_minute_have_that_tempo(tmp_path):
    signal = np.zeros(12 * RATE)
    burst = sine(0.03, -6, 2000.0)
    for click in np.arange(0, 12, 0.5):
        begin = round(click * RATE)
        signal[begin : begin + len(burst)] = burst
    path = write_sound(tmp_path / "a.wav", signal)
    segments = describe(path, [0.0, 6.0], 6.0).segments
    # The period is a whole number of 32 ms.
    assert segments["tempo BPM"].tolist() == pytest.approx([120, 120], rel=0.05)
    assert (segments["tempo salience"] > 0.4).all()


def test_planted_colours_light_and_cuts(tmp_path):
    red = np.full((48, 64, 3), (200, 30, 30), np.uint8)
    blue = np.full((48, 64, 3), (30, 30, 200), np.uint8)
    white = np.full((48, 64, 3), 250, np.uint8)
    path = write_film(tmp_path / "a.mp4", [red] * 50 + [white] * 25 + [blue] * 25)
    contents = describe(path, [0.0, 2.0, 3.0], [2.0, 1.0, 1.0])
    segments = contents.segments
    assert contents.shots["start"].tolist() == [0.0, 2.0, 3.0]
    assert segments["cuts per minute"].tolist() == [0.0, 60.0, 60.0]
    assert segments["hue degrees"].tolist() == pytest.approx([0, np.nan, 240], nan_ok=True)
    assert segments["brightness"][1] > 0.95
    assert segments["brightness"][1] > segments["brightness"][0] > segments["brightness"][2]
    assert (segments["motion widths/s"].abs() < 0.01).all()
    assert segments[["loudness LUFS", "tempo BPM", "tempo salience"]].isna().all(axis=None)
    assert contents.face_times == (0.0, 1.0, 2.0, 3.0)


def test_motion_is_in_widths_per_second(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 60, 3), dtype=np.uint8)
    wide = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    images = [wide[:, 2 * k : 2 * k + 160] for k in range(50)]
    path = write_film(tmp_path / "a.mp4", images)
    segments = describe(path, [0.0], 2.0).segments
    # 2 of 160 pixels, 25 times a second.
    assert segments["motion widths/s"][0] == pytest.approx(2 / 160 * 25, rel=0.15)


def test_starts_that_do_not_increase_are_refused(tmp_path):
    path = write_sound(tmp_path / "a.wav", sine(2, -20))
    for starts in ([1.0, 0.0], [-1.0], [0.0, 5.0]):
        with pytest.raises(ValueError, match="expected starts that increase, from 0 to 2 s"):
            describe(path, starts, 1.0)


def test_the_faces_of_a_real_film_are_found_until_they_leave(golden):
    path = golden("clips/face_noface.mov")
    contents = describe(path, [0.0, 3.0], [2.4, 3.0])
    assert contents.segments["share with a face"].tolist() == [1.0, 0.0]
    assert contents.faces["time"].tolist() == [0.0, 1.0, 2.0]
    # By eye: the middle of the face lies left of the middle of 960 x 540, and it is a square.
    face = contents.faces.iloc[0]
    assert 350 < (face["left"] + face["right"]) / 2 < 520
    assert 250 < (face["top"] + face["bottom"]) / 2 < 380
    assert face["right"] - face["left"] == pytest.approx(face["bottom"] - face["top"], abs=2)
    # A cut through one black frame: either side of it is right.
    assert contents.shots["start"].tolist()[1:] == pytest.approx([2.443], abs=0.03)
