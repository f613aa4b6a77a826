"""Small pictures of a film, and short clips of the peaks of its curves, as bytes of files.

All of them are the same bytes for the same film, so that a report of it is the same file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from affectlib import media
from affectlib.film.base import Analysis
from affectlib.simulate.build import encode

# Of a clip: frames per second, and the longer side in pixels.
CLIP_RATE = 20.0
CLIP_SIDE = 320
# In seconds: of a longer segment, its middle is shown.
LONGEST_CLIP = 5.0
JPEG_QUALITY = 80
# Of pictures that stand for a film without any.
BLACK = np.zeros((180, 320, 3), np.uint8)


@dataclass(frozen=True)
class PeakClip:
    """A few seconds of a film.

    Args:
        start: where they start, in seconds
        seconds: how long they last
        video: content of an mp4 file, H.264 and AAC
        picture: the frame in the middle, content of a JPEG file
    """

    start: float
    seconds: float
    video: bytes
    picture: bytes


@dataclass(frozen=True)
class Sheet:
    """Small pictures of equal size, side by side on one large picture.

    Args:
        content: of a JPEG file
        width, height: of a small picture, in pixels
        columns, rows: of the sheet
        step: every ``step``-th segment has a picture
    """

    content: bytes
    width: int
    height: int
    columns: int
    rows: int
    step: int


def peak_clips(analysis: Analysis, positions: Iterable[int]) -> dict[int, PeakClip]:
    """Short clips of some segments, which any browser plays.

    A silent film gives clips without a sound, and a film without pictures black ones.

    Args:
        analysis: of the film
        positions: of the segments

    Returns:
        position to clip

    Raises:
        NotFoundError, FileFormatError: see :func:`affectlib.media.clips`
    """
    positions = sorted(set(positions))
    starts = []
    lengths = []
    for position in positions:
        segment = analysis.segments.iloc[position]
        whole = segment["end"] - segment["start"]
        length = min(whole, LONGEST_CLIP)
        starts.append(float(segment["start"] + (whole - length) / 2))
        lengths.append(float(length))
    looks = []
    if analysis.media.width is not None:
        looks.append(media.Look(CLIP_RATE, CLIP_SIDE))
    found = {}
    if positions:
        cut = media.clips(analysis.path, starts, lengths, rates=looks)
        for position, clip in zip(positions, cut, strict=True):
            found[position] = _peak_clip(clip)
    return found


def _peak_clip(clip: media.Clip) -> PeakClip:
    """Encodes one clip that is in memory."""
    count = len(media.grid(clip.start, clip.seconds, CLIP_RATE))
    pictures = [_even(picture.image) for picture in clip.pictures] or [BLACK] * count
    height, width = pictures[0].shape[:2]
    signal = clip.sound
    if signal is None:
        signal = np.zeros(round(clip.seconds * media.SAMPLING_RATE), np.float32)
    video = encode(
        pictures,
        signal,
        frame_rate=CLIP_RATE,
        sampling_rate=media.SAMPLING_RATE,
        size=(width, height),
    )
    return PeakClip(clip.start, clip.seconds, video, jpeg(pictures[len(pictures) // 2]))


def _even(image: np.ndarray) -> np.ndarray:
    """A picture whose sides are even, as H.264 wants them: the last row or column is left out."""
    height, width = image.shape[:2]
    if min(height, width) < 2:
        # A line of pixels has no even part: it is doubled.
        return _even(np.repeat(np.repeat(image, 2, axis=0), 2, axis=1))
    return np.ascontiguousarray(image[: height - height % 2, : width - width % 2])


def jpeg(image: np.ndarray) -> bytes:
    """An RGB picture ``(height, width, 3)`` as the content of a JPEG file."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, content = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    return content.tobytes()


def contact_sheet(
    analysis: Analysis, *, largest: int = 400, side: int | None = None
) -> Sheet | None:
    """A small picture of the middle of each segment, all on one sheet.

    Args:
        analysis: of the film
        largest: number of pictures at most; a longer film shows every second segment, or fewer
        side: the longer side of a small picture in pixels; None chooses it by their number

    Returns:
        None for a film without pictures

    Raises:
        NotFoundError, FileFormatError: see :func:`affectlib.media.stream`
    """
    if analysis.media.width is None:
        return None
    segments = analysis.segments
    step = -(-len(segments) // largest)
    shown = segments.iloc[::step]
    middles = (shown["start"] + shown["end"]) / 2
    if side is None:
        side = 320 if len(shown) <= 80 else 200
    pictures = media.stream(analysis.path, middles.tolist(), side=side, sound=False)
    images = [picture.image for picture in pictures]
    height, width = images[0].shape[:2]
    columns = min(20, len(images))
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for i, image in enumerate(images):
        top = i // columns * height
        left = i % columns * width
        sheet[top : top + height, left : left + width] = image
    return Sheet(jpeg(sheet), width, height, columns, rows, step)
