"""Films that are unusual: short, silent, grey, upright, without cuts, without a picture."""

from fractions import Fraction

import av
import numpy as np
import pytest
from matplotlib import pyplot as plt

from affectlib import media
from affectlib.film.contents import describe
from affectlib.film.pictures import plot_contents, plot_faces, plot_shots

SOUND = ["loudness LUFS", "tempo BPM", "tempo salience"]
PICTURE = ["brightness", "contrast", "colourfulness", "saturation", "faces", "cuts per minute"]


def textured(count, *, colour=(1.0, 0.5, 0.2), size=(64, 96)):
    """A picture that moves to the left."""
    rng = np.random.default_rng(0)
    height, width = size
    coarse = rng.uniform(30, 255, (height // 8, (width + count) // 8 + 1))
    wide = np.kron(coarse, np.ones((8, 8)))[..., None] * colour
    return [wide[:, k : k + width].astype(np.uint8) for k in range(count)]


def tone(seconds, rate=16000):
    return 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


def write(path, images=(), *, signal=None, fps=25, pixels="yuv420p", audio_codec="aac", turn=None):
    """A film of RGB images and mono sound at 16 kHz."""
    with av.open(str(path), "w") as container:
        video = audio = None
        if len(images):
            video = container.add_stream("libx264", rate=Fraction(fps))
            video.options = {"preset": "ultrafast", "crf": "12"}
            video.height, video.width = images[0].shape[:2]
            video.pix_fmt = pixels
        if signal is not None:
            audio = container.add_stream(audio_codec, rate=16000, layout="mono")
        for image in images:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if video:
            container.mux(video.encode(None))
        if audio:
            samples = np.round(signal * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = 16000
            frame.pts = 0
            frame.time_base = Fraction(1, 16000)
            resampler = av.AudioResampler(format=audio.format.name, layout="mono", rate=16000)
            for block in resampler.resample(frame):
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    if turn is not None:
        _turn(path, turn)
    return path


def _turn(path, numbers):
    """Writes the four numbers of a display matrix into the header of an mp4."""
    content = path.read_bytes()
    place = content.index(b"tkhd") + 4 + 4 + 20 + 16
    a, b, c, d = (round(number * 65536) for number in numbers)
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], dtype=">i4").tobytes()
    path.write_bytes(content[:place] + matrix + content[place + 36 :])


def test_a_film_shorter_than_a_segment_has_one_of_its_length(tmp_path):
    path = write(tmp_path / "a.mp4", textured(50), signal=tone(2))
    contents = describe(path, [0.0], 5.0)
    assert len(contents.segments) == 1
    assert contents.segments["end"][0] == pytest.approx(2.0, abs=0.1)
    assert contents.segments[["loudness LUFS", *PICTURE]].notna().all(axis=None)
    assert contents.shots["scene"].tolist() == [1]
    assert contents.shots["end"].tolist() == contents.segments["end"].tolist()


@pytest.mark.parametrize("frames", [1, 2, 12])
def test_a_film_shorter_than_a_second(tmp_path, frames):
    path = write(tmp_path / "a.mp4", textured(frames), signal=tone(frames / 25))
    contents = describe(path, [0.0], 5.0)
    assert contents.segments[PICTURE].notna().all(axis=None)
    assert len(contents.shots) == 1
    assert contents.face_times == (0.0,)
    # 1.5 s are needed for a tempo.
    assert np.isnan(contents.segments["tempo BPM"][0])


def test_a_film_without_sound_has_no_loudness(tmp_path):
    contents = describe(write(tmp_path / "a.mp4", textured(50)), [0.0, 1.0], 1.0)
    assert contents.segments[SOUND].isna().all(axis=None)
    assert contents.segments[PICTURE].notna().all(axis=None)


def test_a_silent_sound_track_is_told_from_none(tmp_path):
    path = write(tmp_path / "a.mp4", textured(50), signal=np.zeros(32000))
    segments = describe(path, [0.0], 2.0).segments
    assert segments["loudness LUFS"][0] == -70
    assert np.isnan(segments["tempo BPM"][0])


@pytest.mark.parametrize("pixels", ["yuv420p", "gray"])
def test_a_black_and_white_film_has_no_hue(tmp_path, pixels):
    images = textured(50, colour=(1.0, 1.0, 1.0))
    path = write(tmp_path / "a.mp4", images, pixels=pixels)
    segments = describe(path, [0.0], 2.0).segments
    assert np.isnan(segments["hue degrees"][0])
    assert segments["colourfulness"][0] < 0.01
    assert segments["saturation"][0] < 0.02
    assert segments["contrast"][0] > 0.1


def test_the_boxes_of_an_upright_film_are_in_pixels_that_are_shown(tmp_path, golden):
    frame = next(media.stream(golden("clips/face_noface.mov"), [1.0], sound=False)).image
    lying = np.ascontiguousarray(np.rot90(frame[:, 200:680]))  # (480, 540, 3)
    upright = write(tmp_path / "upright.mp4", [np.ascontiguousarray(frame[:, 200:680])] * 3)
    turned = write(tmp_path / "turned.mp4", [lying] * 3, turn=(0, 1, -1, 0))
    assert (media.probe(turned).width, media.probe(turned).height) == (480, 540)
    places = ["left", "top", "right", "bottom"]
    expected = describe(upright, [0.0], 1.0).faces[places].to_numpy()
    found = describe(turned, [0.0], 1.0).faces[places].to_numpy()
    assert len(expected) == 1
    assert found == pytest.approx(expected, abs=6)
    # In the film of the face, before it was cut out: left 308, right 567.
    assert expected[0, [0, 2]] == pytest.approx([108, 367], abs=20)


def test_a_film_without_a_face_has_none_rather_than_nothing(tmp_path):
    contents = describe(write(tmp_path / "a.mp4", textured(50)), [0.0], 2.0)
    assert contents.segments["faces"].tolist() == [0.0]
    assert contents.segments["share with a face"].tolist() == [0.0]
    assert contents.faces.empty
    assert {"left", "mouth_curve"} <= set(contents.faces.columns)
    plt.close(plot_faces(contents, tmp_path / "a.mp4"))


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.mp3", "libmp3lame")])
def test_sound_without_a_picture(tmp_path, name, codec):
    path = write(tmp_path / name, signal=tone(3), audio_codec=codec)
    contents = describe(path, [0.0], 5.0)
    # A sine of 0.3: -10.5 dB, and -3 dB for its root mean square; 440 Hz is hardly weighted.
    assert contents.segments["loudness LUFS"][0] == pytest.approx(-14.2, abs=0.5)
    assert contents.segments[PICTURE].isna().all(axis=None)
    assert contents.shots.empty
    assert contents.faces.empty
    assert contents.face_times == ()
    plt.close(plot_contents(contents))
    with pytest.raises(ValueError, match="expected a film with a picture"):
        plot_shots(contents, path)
    with pytest.raises(ValueError, match="expected a film with a picture"):
        plot_faces(contents, path)


def test_sound_that_ends_before_the_picture(tmp_path):
    path = write(tmp_path / "a.mp4", textured(100), signal=tone(2))
    segments = describe(path, [0.0, 2.0, 3.0], [2.0, 1.0, 1.0]).segments
    assert segments["loudness LUFS"][0] == pytest.approx(-14.2, abs=0.6)
    # An encoder may add a moment of its own at the end.
    assert np.isnan(segments["loudness LUFS"][2])
    assert segments[PICTURE].notna().all(axis=None)


def test_a_picture_that_ends_before_the_sound_stays(tmp_path):
    path = write(tmp_path / "a.mp4", textured(50), signal=tone(4))
    segments = describe(path, [0.0, 3.0], 1.0).segments
    assert segments["loudness LUFS"].notna().all()
    assert segments["brightness"][1] == pytest.approx(segments["brightness"][0], abs=0.1)
    assert np.isnan(segments["motion widths/s"][1])


def test_a_variable_frame_rate_keeps_the_time_of_a_cut(tmp_path):
    path = tmp_path / "a.mkv"
    # Ten frames a second, then fifty; the picture changes at 4 s.
    times = [*np.arange(0, 3, 0.1), *np.arange(3, 6, 0.02)]
    images = [
        frame if t < 4 else 255 - frame for t, frame in zip(times, textured(180), strict=True)
    ]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=50)
        video.options = {"preset": "ultrafast", "crf": "12"}
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for time, image in zip(times, images, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = round(1000 * time)
            frame.time_base = Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    starts = describe(path, [0.0], 6.0).shots["start"].tolist()
    assert starts == pytest.approx([0.0, 4.0], abs=0.04)
