"""Opens a media file, says what it holds, and refuses one that is damaged or incomplete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData

from affectlib.errors import FileFormatError, NotFoundError

# By how many seconds a time stamp may fall behind the one before it.
RESTART = 0.5
# A container that begins later than this, in seconds, counts its duration from 0 or from there.
LATE_START = 0.1
# In seconds: a damaged header may state years, and the times of their pictures fill the memory.
LONGEST = 24 * 3600.0
# Formats without a duration of their own: FFmpeg estimates it from the first bytes.
GUESSED = frozenset(
    [
        "aac",
        "ac3",
        "amr",
        "dts",
        "eac3",
        "h264",
        "hevc",
        "loas",
        "m4v",
        "mjpeg",
        "mpeg",
        "mpegts",
        "mpegvideo",
        "obu",
        "vc1",
    ]
)
# Formats that lead to other files.
LISTS = frozenset(["concat", "dash", "hls", "sdp"])
# IndexError: a damaged transport stream may number its streams beyond those it has.
DECODER_ERRORS = (av.error.FFmpegError, UnicodeError, IndexError)
# A wav that declares more bytes than this was written to a pipe, and does not know its size.
UNKNOWN_BYTES = 0x7FFFF000
# Endings of the containers that films come in and FFmpeg reads.
FILM_ENDINGS = (
    ".3gp",
    ".asf",
    ".avi",
    ".divx",
    ".dv",
    ".f4v",
    ".flv",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".mxf",
    ".ogm",
    ".ogv",
    ".rm",
    ".rmvb",
    ".ts",
    ".vob",
    ".webm",
    ".wmv",
)


@dataclass(frozen=True)
class Media:
    """Properties of a media file.

    Args:
        seconds: duration
        frame_rate: mean frames per second, None without picture
        width: in pixels as they are stored, after rotation, None without picture
        height: in pixels as they are stored, after rotation, None without picture
        sampling_rate: of its sound in Hz, None without sound
    """

    seconds: float
    frame_rate: float | None
    width: int | None
    height: int | None
    sampling_rate: int | None


def is_film(path: Path) -> bool:
    """Returns True if a file is named like a film; :func:`probe` looks into the file."""
    return path.suffix.lower() in FILM_ENDINGS


def probe(path: Path | str) -> Media:
    """Returns the properties of a media file.

    Reads its header and one frame. Only a file without a duration in its header is read to its end,
    without decoding it: browsers and live recorders write such files, and some formats have no
    header.

    Args:
        path: any file that FFmpeg reads

    Raises:
        NotFoundError: if there is no such file
        FileFormatError: if it is empty, cut short, cannot be decoded, holds neither picture nor
            sound, or lasts longer than a day
    """
    media, _ = _probe(path)
    return media


def film_seconds(path: Path | str) -> float:
    """Returns the duration of a film, after a check that it can be decoded and was not cut short.

    As fast as :func:`probe`, which it calls: milliseconds for an ordinary film.

    Args:
        path: a media file with moving pictures

    Returns:
        duration in seconds

    Raises:
        FileFormatError: if the file is absent, empty, cut short, cannot be decoded or has no
            frames; a cover picture does not count as a frame
    """
    if not Path(path).is_file():
        raise FileFormatError(path, "expected this film, found none")
    media, has_frames = _probe(path)
    if not has_frames:
        raise FileFormatError(path, "expected a film with frames, found none")
    return media.seconds


def duration(path: Path | str) -> float:
    """Returns the seconds that :func:`probe` tells, without decoding a frame.

    Raises:
        NotFoundError, FileFormatError: see :func:`probe`
    """
    with open_media(path) as container:
        return _seconds(path, container, *find_streams(path, container))


def _probe(path: Path | str) -> tuple[Media, bool]:
    """Returns the properties of a file, and whether a frame of it can be decoded."""
    with open_media(path) as container:
        video, audio = find_streams(path, container)
        seconds = _seconds(path, container, video, audio)
        frame_rate = None
        width = None
        height = None
        has_frames = False
        if video is not None:
            frame_rate = float(video.average_rate or video.guessed_rate or 0) or None
            width, height, has_frames = _shown_size(path, container, video)
        sampling_rate = audio.rate if audio is not None else None
    return Media(seconds, frame_rate, width, height, sampling_rate), has_frames


def _seconds(path, container, video, audio) -> float:
    """Returns how long a file lasts: what its header says, else what its packets say."""
    if video is None and audio is None:
        raise FileFormatError(path, "expected picture or sound, it has neither")
    seconds = _declared_seconds(container)
    if video is not None:
        _check_index(path, video, seconds)
    if seconds is None:
        seconds = _measured_seconds(path)
        if not seconds:
            raise FileFormatError(path, "expected picture or sound, it has no packet of either")
    if seconds > LONGEST:
        raise FileFormatError(path, f"expected a day at most, it says {seconds:.3g} s: damaged?")
    return seconds


def _shown_size(path, container, video) -> tuple[int, int, bool]:
    """Returns width and height as a player shows them, and whether a frame can be decoded."""
    width = video.width
    height = video.height
    with named_errors(path):
        frame = next(container.decode(video), None)
    if frame is None:
        return width, height, False
    exchanged, _, _ = orientation(path, frame)
    if exchanged:
        return height, width, True
    return width, height, True


def _check_index(path, video, seconds: float | None) -> None:
    """Refuses a film whose index names a place after the end of the file."""
    index = video.index_entries
    if not len(index):
        return
    size = Path(path).stat().st_size
    if index[-1].pos + index[-1].size > size:
        duration = "" if seconds is None else f" of {seconds:.1f} s"
        raise FileFormatError(path, f"expected a whole film{duration}, the file was cut short")


def _declared_seconds(container: av.container.InputContainer) -> float | None:
    """Returns the duration that a container states, None if it states no reliable one."""
    if container.duration is None or container.duration <= 0 or container.format.name in GUESSED:
        return None
    starts_late = start_seconds(container) > LATE_START
    if starts_late and not container.format.name.startswith("mov"):
        return None
    return container.duration / av.time_base


def start_seconds(container: av.container.InputContainer) -> float:
    """Returns the time stamp at which a container begins, in seconds."""
    return (container.start_time or 0) / av.time_base


def _measured_seconds(path) -> float:
    """Measures a duration by the time stamps of all packets; nothing is decoded."""
    with open_media(path) as container:
        streams = [stream for stream in find_streams(path, container) if stream is not None]
        origin = start_seconds(container)
        ends: dict[str, float] = {}
        for packet in packets(path, container, streams):
            # The last packet of each stream is empty: it tells a decoder to finish.
            if packet.size:
                _note_end(packet, origin, ends)
    return max(ends.values(), default=0.0)


def _note_end(packet, origin: float, ends: dict[str, float]) -> None:
    """Records when the packets of a kind of stream end, in seconds from the origin."""
    stream = packet.stream
    length = packet.duration or 0
    if not length and stream.type == "video" and stream.average_rate:
        # WebM does not say how long the last frame is shown.
        length = 1 / (stream.average_rate * packet.time_base)
    previous_end = ends.get(stream.type, 0.0)
    if packet.pts is not None:
        begin = float(packet.pts * packet.time_base) - origin
    elif packet.dts is not None:
        begin = float(packet.dts * packet.time_base) - origin
    else:
        begin = previous_end
    ends[stream.type] = max(previous_end, begin + float(length * packet.time_base))


def open_media(path: Path | str) -> av.container.InputContainer:
    """Opens a media file with FFmpeg.

    Raises:
        NotFoundError: if there is no such file
        FileFormatError: if it may not be read, is empty, shorter than its header says, no media
            file, or a list of other files
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"{path}: no such media file")
    try:
        _check_size(path)
    except OSError as error:
        expected = f"expected a media file, it cannot be read ({error.strerror})"
        raise FileFormatError(path, expected) from error
    try:
        # "file:", because FFmpeg would take a name such as "concat:x.mp4" for a command.
        container = av.open(f"file:{path}")
    except (av.error.FFmpegError, UnicodeError) as error:
        raise FileFormatError(
            path, f"expected a complete media file, it cannot be opened ({error})"
        ) from error
    if container.format.name in LISTS:
        kind = container.format.name
        container.close()
        raise FileFormatError(path, f"expected a media file, found a list of others ({kind})")
    return container


def _check_size(path: Path) -> None:
    """Refuses an empty file, and a wav or avi that holds fewer bytes than its header says."""
    size = path.stat().st_size
    if size == 0:
        raise FileFormatError(path, "expected a media file, the file is empty")
    with open(path, "rb") as file:
        kind = file.read(4)
        # RIFF counts the bytes that follow its first eight.
        declared = int.from_bytes(file.read(4), "little") + 8
    if kind == b"RIFF" and size + 1 < declared < UNKNOWN_BYTES:
        raise FileFormatError(path, f"expected {declared} bytes, there are {size}: cut short?")


def find_streams(
    path: Path | str, container: av.container.InputContainer
) -> tuple[av.VideoStream | None, av.AudioStream | None]:
    """Chooses the film and the sound of a file, each None if there is none.

    Of several sound tracks the one marked as default is chosen, else the first. A cover picture is
    not a film.

    Raises:
        FileFormatError: if FFmpeg does not know the codec of one of them
    """
    video = _first_film(container)
    audio = _default_track(container)
    for stream in (video, audio):
        if stream is not None and stream.codec_context is None:
            raise FileFormatError(
                path, f"expected {stream.type} of a codec that FFmpeg knows, found another"
            )
    if video is not None:
        # Films run in parallel, not the frames of one.
        video.codec_context.thread_count = 1
    return video, audio


def _first_film(container: av.container.InputContainer) -> av.VideoStream | None:
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    return None


def _default_track(container: av.container.InputContainer) -> av.AudioStream | None:
    tracks = container.streams.audio
    for track in tracks:
        if track.disposition & av.stream.Disposition.default:
            return track
    return next(iter(tracks), None)


def packets(
    path: Path | str, container: av.container.InputContainer, streams: Sequence[av.stream.Stream]
) -> Iterator[av.Packet]:
    """Gives the packets of some streams in the order of the file.

    Raises:
        FileFormatError: if the time stamps of a stream begin anew, or a packet cannot be read
    """
    latest: dict[int, int] = {}
    tolerance = {}
    for stream in streams:
        tolerance[stream.index] = round(RESTART / stream.time_base)
    with named_errors(path):
        for packet in container.demux(streams):
            stamp = packet.dts
            if stamp is not None:
                index = packet.stream_index
                previous = latest.get(index, stamp)
                if stamp < previous - tolerance[index]:
                    raise _restarted(path, stamp * packet.time_base, previous * packet.time_base)
                latest[index] = stamp
            yield packet


def _restarted(path, stamp, previous) -> FileFormatError:
    """Returns the error of a file whose time stamps, in seconds, fall back."""
    found = f"{float(stamp):.2f} s after {float(previous):.2f} s"
    return FileFormatError(path, f"expected time stamps that go on, found {found}: files joined?")


def stopped(path: Path | str, error: Exception) -> FileFormatError:
    """Returns the error that names the file at which a decoder stopped."""
    return FileFormatError(path, f"expected a complete media file, decoding stopped ({error})")


@contextmanager
def named_errors(path: Path | str) -> Iterator[None]:
    """Turns errors of the decoder into errors that name the file."""
    try:
        yield
    except DECODER_ERRORS as error:
        raise stopped(path, error) from error


def check_complete(
    path: Path | str,
    container: av.container.InputContainer,
    streams: Sequence[av.stream.Stream],
    ends: dict[str, float],
) -> None:
    """Refuses a file that ends before its header says.

    A file that was cut decodes without an error as far as it goes.

    Args:
        path: named in the error
        container: the open file
        streams: those that were read
        ends: seconds at which each kind of stream ended

    Raises:
        FileFormatError: if one ended too early
    """
    if container.format.name in GUESSED:
        return
    # Pairs of a declared and a measured end, in seconds.
    pairs = []
    for stream in streams:
        pairs.append((_stream_seconds(stream), ends.get(stream.type, 0.0)))
    # mkv declares the duration of the file only.
    if any(declared is None for declared, _ in pairs):
        declared = (container.duration or 0) / av.time_base
        if _declared_seconds(container) is None:
            # It counts from 0 s or from the start. Take the shorter one.
            declared -= start_seconds(container)
        pairs.append((declared, max(ends.values(), default=0.0)))
    for declared, end in pairs:
        if declared is None:
            continue
        # A tenth of the duration may be missing, but never more than a second.
        missing = min(1.0, max(0.15, 0.1 * declared))
        if end < declared - missing:
            raise FileFormatError(
                path, f"expected {declared:.2f} s, it ends at {end:.2f} s: cut short?"
            )


def _stream_seconds(stream) -> float | None:
    """Returns the duration that a stream states, None if it states none."""
    if stream.duration is None:
        return None
    return float(stream.duration * stream.time_base)


def orientation(path: Path | str, frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Says how a frame must be turned to be upright.

    Returns:
        three answers: whether rows and columns are exchanged, then whether the result is mirrored
        left to right, then whether it is mirrored top to bottom

    Raises:
        FileFormatError: if the film leans, or is turned by less than a right angle
    """
    data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if data is None:
        return False, False, False
    # A player shows the point (x, y) of the frame at (a x + c y, b x + d y).
    # The file stores these numbers with 16 bits after the point.
    numbers = np.frombuffer(bytes(data), dtype=np.int32)[:5] / 65536
    a, b, _, c, d = numbers.tolist()
    small = 0.01 * max(abs(a), abs(b), abs(c), abs(d))
    if abs(b) <= small and abs(c) <= small and a and d:
        return False, a < 0, d < 0
    if abs(a) <= small and abs(d) <= small and b and c:
        return True, c < 0, b < 0
    matrix = f"{a:.3g} {b:.3g} {c:.3g} {d:.3g}"
    raise FileFormatError(
        path, f"expected a film turned by right angles, found the display matrix {matrix}"
    )
