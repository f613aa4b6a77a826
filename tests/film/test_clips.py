"""Clips of a film, and its small pictures."""

import io

import av
import numpy as np
import pytest

from affectlib.film.clips import contact_sheet, peak_clips


def test_a_clip_has_the_pictures_and_the_sound_of_its_segment(write_film, analysis_of, tmp_path):
    analysis = analysis_of(write_film(tmp_path / "grey.mp4"))
    clips = peak_clips(analysis, [6, 0])
    assert list(clips) == [0, 6]
    again = peak_clips(analysis, [0, 6])
    assert clips[6].video == again[6].video
    means = {}
    for position, clip in clips.items():
        with av.open(io.BytesIO(clip.video)) as container:
            assert {stream.codec_context.name for stream in container.streams} == {"h264", "aac"}
            frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        assert len(frames) == 100  # 5 s at 20 frames per second
        means[position] = np.mean(frames)
    # The film turns from black to white: 40 s, segments of 5 s.
    assert means[0] == pytest.approx(255 * 2.5 / 40, abs=8)
    assert means[6] == pytest.approx(255 * 32.5 / 40, abs=8)


def test_a_silent_real_film_gives_silent_clips(golden, analysis_of):
    analysis = analysis_of(golden("clips/bikes.mp4"))
    (clip,) = peak_clips(analysis, [1]).values()
    with av.open(io.BytesIO(clip.video)) as container:
        loudest = max(np.abs(frame.to_ndarray()).max() for frame in container.decode(audio=0))
    assert loudest < 1e-3
    assert clip.picture.startswith(b"\xff\xd8")


@pytest.mark.parametrize(("largest", "step"), [(400, 1), (4, 2), (3, 3)])
def test_a_long_film_shows_fewer_pictures(write_film, analysis_of, tmp_path, largest, step):
    import cv2

    analysis = analysis_of(write_film(tmp_path / "grey.mp4"))
    sheet = contact_sheet(analysis, largest=largest)
    assert sheet.step == step
    image = cv2.imdecode(np.frombuffer(sheet.content, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image.shape == (sheet.rows * sheet.height, sheet.columns * sheet.width)
    # The picture of each segment is that of its middle.
    for index, segment in enumerate(range(0, 8, step)):
        column = index % sheet.columns * sheet.width
        row = index // sheet.columns * sheet.height
        small = image[row : row + sheet.height, column : column + sheet.width]
        assert small.mean() == pytest.approx(255 * (5 * segment + 2.5) / 40, abs=8)
