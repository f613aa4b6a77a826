"""One pass forward over a media file: frames at the asked times, frame pairs and 16 kHz mono sound.

A file is demuxed once and never sought in: decoding forward is four to five times faster than one seek per frame.
Everything is handed on while the file is being read, so that a film of three hours is never whole in memory.
Times count from the start of the file, in seconds, so a variable frame rate needs no special case.

What is read as it should be: films that are turned or mirrored, sound that changes its channels or its sampling rate,
files that do not begin at 0 s, cover pictures (left out), files that do not say how long they are (their packets are
looked through once). What is refused by name: a file cut short, time stamps that begin anew, pictures that change
their size, pictures turned by less than a right angle, sound with values that are no numbers, lists of other files.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Interpolation

from affectlib.errors import FileFormatError, NotFoundError

SAMPLING_RATE = 16000
TOLERANCE = 1e-3  # in seconds: times are rounded to the tick of the container
DRIFT = 0.05  # in seconds: a longer hole in the sound is filled with silence, so that it stays with the picture
LONGEST_HOLE = 3600.0  # in seconds: a longer one is refused, it would fill the memory with silence
RESTART = 0.5  # in seconds: by how much a time stamp may fall behind the one before it
LATE_START = (
    0.1  # in seconds: a container that begins later counts its duration from 0 or from there
)
GUESSED = (
    frozenset(  # formats without a duration of their own: FFmpeg estimates it from the first bytes
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
)
LISTS = frozenset(["concat", "dash", "hls", "sdp"])  # formats that lead to other files
# IndexError: a damaged transport stream may number its streams beyond those it has.
DECODER_ERRORS = (av.error.FFmpegError, UnicodeError, IndexError)
UNKNOWN_BYTES = 0x7FFFF000  # a wav that says it has more was written to a pipe
FILM_ENDINGS = (  # of the containers that FFmpeg reads and films come in
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


def is_film(path: Path) -> bool:
    """True if a file is named like a film; :func:`probe` tells what it really is."""
    return path.suffix.lower() in FILM_ENDINGS


@dataclass(frozen=True)
class Media:
    """What a file says about itself.

    Args:
        seconds: duration
        frame_rate: mean frames per second, None without picture
        width: in pixels, after rotation, None without picture
        height: in pixels, after rotation, None without picture
        sampling_rate: of its sound in Hz, None without sound
    """

    seconds: float
    frame_rate: float | None
    width: int | None
    height: int | None
    sampling_rate: int | None


@dataclass(frozen=True)
class Picture:
    """The frame shown at a time.

    Args:
        time: the time that was asked for, in seconds
        image: the last frame at or before it, RGB
        following: the frame decoded after it, None where pairs were not asked for and after the last frame
        gap: seconds between the two, nan without a following frame
        side: what its longer side was reduced to at most, None for as it was

    Shape:
        image and following ``(height, width, 3)``, uint8
    """

    time: float
    image: np.ndarray
    following: np.ndarray | None = None
    gap: float = float("nan")
    side: int | None = None


@dataclass(frozen=True)
class Look:
    """What is asked of the picture: frames per second, their longer side in pixels, and whether with the next one."""

    rate: float
    side: int | None = None
    pairs: bool = False


@dataclass(frozen=True)
class Sound:
    """A block of sound, mono at 16 kHz: ``samples (n,)``, float32 in [-1, 1], from sample number ``first``."""

    first: int
    samples: np.ndarray


@dataclass(frozen=True)
class Clip:
    """A stretch of film in memory: its pictures, and its sound ``(samples,)`` or None where there is none."""

    start: float
    seconds: float
    pictures: tuple = ()
    sound: np.ndarray | None = None

    @property
    def nbytes(self):
        """What it takes in memory, in bytes; a frame that follows one picture and is another counts twice."""
        arrays = [self.sound, *(array for p in self.pictures for array in (p.image, p.following))]
        return sum(array.nbytes for array in arrays if array is not None)

    def at(self, rate, *, side=None):
        """Its pictures on the grid of ``rate`` frames per second; of the given size, where it was read for that."""
        wanted = set(grid(self.start, self.seconds, rate))
        pictures = [picture for picture in self.pictures if picture.time in wanted]
        return [picture for picture in pictures if picture.side == side] or pictures


def grid(start, seconds, rate):
    """Times at which a stretch of film is looked at, one every ``1 / rate`` seconds from its start.

    Examples:
        >>> grid(5.0, 1.0, 2.0)
        [5.0, 5.5]
    """
    return [round(start + k / rate, 6) for k in range(max(1, int(np.ceil(seconds * rate - 1e-6))))]


def probe(path) -> Media:
    """Says what a media file holds.

    Reads its header and one frame. Only a file that does not say how long it is (what browsers and live recorders
    write, and formats without a header) is looked through to its end, without decoding it.

    Args:
        path: any file FFmpeg reads

    Raises:
        NotFoundError: if there is no such file
        FileFormatError: if it is empty, cut short, cannot be decoded, or holds neither picture nor sound
    """
    return _probe(path)[0]


def film_seconds(path) -> float:
    """Duration of a film, having looked that it can be decoded and was not cut short.

    As fast as :func:`probe`, which it calls: milliseconds for an ordinary film.

    Args:
        path: a media file with moving pictures

    Returns:
        duration in seconds

    Raises:
        FileFormatError: if the file is absent, empty, cut, undecodable or has no frames; a cover picture is none
    """
    if not Path(path).is_file():
        raise FileFormatError(path, "expected this film, found none")
    media, has_frames = _probe(path)
    if not has_frames:
        raise FileFormatError(path, "expected a film with frames, found none")
    return media.seconds


def _probe(path) -> tuple[Media, bool]:
    """What a file holds, and whether a frame of it can be decoded."""
    with _open(path) as container:
        video, audio = _streams(path, container)
        if video is None and audio is None:
            raise FileFormatError(path, "expected picture or sound, it has neither")
        frame_rate = width = height = frame = None
        seconds = _declared_seconds(container)
        if video is not None:
            _whole_index(path, video, seconds)
            frame_rate = float(video.average_rate or video.guessed_rate or 0) or None
            width, height = video.width, video.height
            with _named_errors(path):
                frame = next(container.decode(video), None)
            if frame is not None and _orientation(path, frame)[0]:
                width, height = height, width
        sampling_rate = audio.rate if audio is not None else None
    if seconds is None:
        seconds = _measured_seconds(path)
        if not seconds:
            raise FileFormatError(path, "expected picture or sound, it has no packet of either")
    return Media(seconds, frame_rate, width, height, sampling_rate), frame is not None


def _whole_index(path, video, seconds: float | None) -> None:
    """Refuses a film whose index names a place after the end of the file."""
    index = video.index_entries
    size = Path(path).stat().st_size
    if len(index) and index[-1].pos + index[-1].size > size:
        whole = "" if seconds is None else f" of {seconds:.1f} s"
        raise FileFormatError(path, f"expected a whole film{whole}, the file was cut short")


def _declared_seconds(container) -> float | None:
    """Duration that a container states, None where it states none that can be relied on."""
    if container.duration is None or container.duration <= 0 or container.format.name in GUESSED:
        return None
    starts_late = (container.start_time or 0) / av.time_base > LATE_START
    if starts_late and not container.format.name.startswith("mov"):
        return None
    return container.duration / av.time_base


def _measured_seconds(path) -> float:
    """Duration by the time stamps of all packets; nothing is decoded."""
    with _open(path) as container:
        streams = [stream for stream in _streams(path, container) if stream is not None]
        origin = (container.start_time or 0) / av.time_base
        ends: dict[str, float] = {}
        for packet in _packets(path, container, streams):
            if packet.size:  # the last packet of each stream is empty, it tells a decoder to finish
                _note_end(packet, origin, ends)
    return max(ends.values(), default=0.0)


def _note_end(packet, origin: float, ends: dict[str, float]) -> None:
    """Keeps when the packets of a kind of stream end, in seconds from the origin."""
    stream = packet.stream
    length = packet.duration or 0
    if not length and stream.type == "video" and stream.average_rate:
        # WebM does not say how long the last frame is shown.
        length = 1 / (stream.average_rate * packet.time_base)
    known = ends.get(stream.type, 0.0)
    if packet.pts is not None:
        begin = float(packet.pts * packet.time_base) - origin
    elif packet.dts is not None:
        begin = float(packet.dts * packet.time_base) - origin
    else:
        begin = known
    ends[stream.type] = max(known, begin + float(length * packet.time_base))


def stream(path, times=(), *, pairs=False, side=None, sound=True) -> Iterator:
    """Reads a file once, forward, and gives :class:`Picture` and :class:`Sound` as they come.

    Args:
        path: any file FFmpeg reads: mp4, mkv, mov, wav
        times: at which frames are wanted, in seconds, increasing; the frame at or before each is given. With
            ``{side: pairs}`` for each, as a list of both, one picture of every size
        pairs: give the following frame as well
        side: the longer side is reduced to this many pixels; smaller frames stay as they are
        sound: give the sound, at 16 kHz, mixed to mono; a file without sound gives none. Of several tracks the one
            that the file marks as default is heard, else the first

    Raises:
        NotFoundError: if there is no such file
        FileFormatError: if it cannot be decoded, ends before it says, has no frames where frames are asked for,
            ends before the last time, or is refused as the head of this module says
        ValueError: if ``times`` decrease
    """
    wanted_times = deque(one if isinstance(one, tuple) else (one, {side: pairs}) for one in times)
    if any(later < earlier for (earlier, _), (later, _) in pairwise(wanted_times)):
        raise ValueError("times must increase")
    with _open(path) as container:
        video, audio = _streams(path, container)
        if wanted_times and video is None:
            raise FileFormatError(path, "expected frames, it has no picture")
        streams = [stream for stream in (video, audio) if stream is not None]
        pictures = _Pictures(path, wanted_times) if wanted_times else None
        sounds = _Sounds(path) if sound and audio is not None else None
        wanted = [video] if pictures else []
        wanted += [audio] if sounds else []
        origin = (container.start_time or 0) / av.time_base
        ends: dict[str, float] = {}
        for source, frame in _frames(path, container, streams, wanted, origin, ends):
            at = None if frame.time is None else frame.time - origin
            if source is audio:
                length = frame.samples / frame.sample_rate
                ends["audio"] = max(ends.get("audio", 0.0), (at or 0.0) + length)
                yield from sounds.take(frame, at)
            else:
                at = ends.get("video", 0.0) if at is None else at
                length = float(frame.duration * frame.time_base) if frame.duration else 0.0
                ends["video"] = at + length
                yield from pictures.take(frame, at)
        if sounds:
            yield from sounds.rest()
        _complete(path, container, streams, ends)
        if pictures:
            yield from pictures.rest(ends)


class _Pictures:
    """Chooses the frame at or before each time from frames that come in order.

    Args:
        path: named in errors
        times: pairs of a time and, for every size, whether the following frame is wanted too
    """

    def __init__(self, path, times: deque):
        self.path = path
        self.times = times
        self.last = None  # time and frame
        self.images: dict = {}  # of the last frame, by size: each is converted once

    def take(self, frame, at: float) -> Iterator[Picture]:
        """Pictures of the times that lie before a new frame."""
        if self.last is not None:
            self._same_size(frame, at)
        following: dict = {}
        while self.last is not None and self.times and self.times[0][0] < at - TOLERANCE:
            yield from self._next(frame, following, at - self.last[0])
        self.last = (at, frame)
        self.images = following

    def rest(self, ends: dict[str, float]) -> Iterator[Picture]:
        """Pictures of the times after the last frame: it stays until the file ends."""
        if self.times and self.last is None:
            raise FileFormatError(self.path, "expected frames, none could be decoded")
        while self.times and self.times[0][0] < max([*ends.values(), self.last[0] + TOLERANCE]):
            yield from self._next(None, {}, float("nan"))
        if self.times:
            expected = (
                f"expected a frame at {self.times[0][0]:g} s, it ends at {max(ends.values()):.2f} s"
            )
            raise FileFormatError(self.path, expected)

    def _next(self, following, following_images: dict, gap: float) -> Iterator[Picture]:
        """Pictures of the next time, one for each size."""
        time, sizes = self.times.popleft()
        for side, pairs in sizes.items():
            paired = pairs and following is not None
            if side not in self.images:
                self.images[side] = _rgb(self.path, self.last[1], side)
            if paired and side not in following_images:
                following_images[side] = _rgb(self.path, following, side)
            image = self.images[side]
            if paired:
                yield Picture(time, image, following_images[side], gap, side)
            else:
                yield Picture(time, image, None, float("nan"), side)

    def _same_size(self, frame, at: float) -> None:
        before = self.last[1]
        if (frame.width, frame.height) != (before.width, before.height):
            raise FileFormatError(
                self.path,
                f"expected pictures of one size, found {frame.width} x {frame.height} after "
                f"{before.width} x {before.height} at {at:.2f} s",
            )


class _Sounds:
    """Turns decoded sound into blocks of 16 kHz mono that follow one another without a hole.

    Args:
        path: named in errors
    """

    def __init__(self, path):
        self.path = path
        self.heard = 0  # samples given so far
        self.kind = None  # format, channels and sampling rate of the frames that come
        self.resampler = None

    def take(self, frame, at: float | None) -> Iterator[Sound]:
        """Blocks of one more frame, which begins at a time or, with None, where the last one ended."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self.kind:
            # A resampler takes frames of one kind: a film that turns from stereo to 5.1 needs a new one.
            yield from self.rest()
            # s16, because a mix of float channels would not be scaled.
            self.resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLING_RATE)
            self.kind = kind
        if _is_float_file(frame) and not np.isfinite(frame.to_ndarray()).all():
            where = "" if at is None else f" at {at:.2f} s"
            raise FileFormatError(
                self.path, f"expected sound made of numbers, found nan or inf{where}"
            )
        hole = 0 if at is None else round(at * SAMPLING_RATE) - self.heard
        if hole > LONGEST_HOLE * SAMPLING_RATE:
            hours = hole / SAMPLING_RATE / 3600
            raise FileFormatError(
                self.path, f"expected sound that goes on, found a hole of {hours:.1f} hours"
            )
        if hole > DRIFT * SAMPLING_RATE:
            yield self._block(np.zeros(hole, np.float32))
        for block in self.resampler.resample(frame):
            yield self._block(_float(block))

    def rest(self) -> Iterator[Sound]:
        """What the resampler still holds."""
        if self.resampler is not None:
            for block in self.resampler.resample(None):
                yield self._block(_float(block))

    def _block(self, samples: np.ndarray) -> Sound:
        first = self.heard
        self.heard += len(samples)
        return Sound(first, samples)


def _is_float_file(frame) -> bool:
    """True for sound that may hold nan: a float wav. Decoders of compressed sound give float too, but never nan."""
    return frame.format.name in ("flt", "dbl")


def clips(path, starts, seconds, *, rates=(), pairs=False, side=None, sound=True) -> Iterator[Clip]:
    """Cuts one pass over a file into clips, each given as soon as it is complete.

    Args:
        path: media file
        starts: where each clip starts, in seconds, increasing
        seconds: how long each clip lasts
        rates: frames per second that are looked at, or a :class:`Look` where that differs in more than the rate;
            several may be asked for at once, see :meth:`Clip.at`
        pairs: give the following frame of each picture as well
        side: largest side of a frame in pixels
        sound: give the sound

    Raises:
        NotFoundError, FileFormatError: see :func:`stream`; also where a clip ends after the file
        ValueError: if there are not as many starts as durations
    """
    looks = [rate if isinstance(rate, Look) else Look(rate, side, pairs) for rate in rates]
    waiting, times, heard = deque(), {}, 0.0
    for start, length in zip(starts, seconds, strict=True):
        waiting.append(_Cut(start, length, set()))
        for look in looks:
            for time in grid(start, length, look.rate):
                waiting[-1].times.add((time, look.side))
                sizes = times.setdefault(time, {})
                sizes[look.side] = sizes.get(look.side, False) or look.pairs
    for event in stream(path, sorted(times.items(), key=itemgetter(0)), sound=sound):
        if isinstance(event, Sound):
            heard = (event.first + len(event.samples)) / SAMPLING_RATE
        reached = heard if isinstance(event, Sound) else event.time
        for cut in waiting:
            if round(cut.start, 6) > reached:  # as times of the grid are
                break
            cut.take(event)
        while waiting and not waiting[0].times and (not sound or heard >= waiting[0].end):
            yield waiting.popleft().clip()
    media = probe(path) if waiting else None
    for cut in waiting:
        if cut.end > media.seconds + 0.5:
            expected = f"expected a clip from {cut.start:g} to {cut.end:g} s, it ends at {media.seconds:.2f} s"
            raise FileFormatError(path, expected)
        yield cut.clip()


def read(path, *, rate=None, pairs=False, side=None, sound=True) -> Clip:
    """The whole of a short file in memory, as one :class:`Clip`; for a long one take :func:`clips`.

    Args:
        path: media file
        rate: frames per second that are looked at, None for no frames
        pairs: give the following frame of each picture as well
        side: largest side of a frame in pixels
        sound: give the sound
    """
    rates = () if rate is None else (rate,)
    return next(
        clips(path, [0.0], [probe(path).seconds], rates=rates, pairs=pairs, side=side, sound=sound)
    )


@dataclass
class _Cut:
    start: float
    seconds: float
    times: set
    pictures: list = field(default_factory=list)
    blocks: list = field(default_factory=list)

    @property
    def end(self):
        return self.start + self.seconds

    def take(self, event):
        if isinstance(event, Picture):
            if (event.time, event.side) in self.times:
                self.times.remove((event.time, event.side))
                self.pictures.append(event)
            return
        first, end = (round(t * SAMPLING_RATE) - event.first for t in (self.start, self.end))
        if first < len(event.samples) and end > 0:
            self.blocks.append(event.samples[max(first, 0) : end])

    def clip(self):
        sound = np.concatenate(self.blocks) if self.blocks else None
        return Clip(self.start, self.seconds, tuple(self.pictures), sound)


def _open(path):
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"{path}: no such media file")
    size = path.stat().st_size
    if size == 0:
        raise FileFormatError(path, "expected a media file, the file is empty")
    with open(path, "rb") as file:
        kind = file.read(4)
        declared = int.from_bytes(file.read(4), "little")
    if (
        kind == b"RIFF" and size + 1 < declared + 8 < UNKNOWN_BYTES
    ):  # wav and avi say in bytes how long they are
        raise FileFormatError(path, f"expected {declared + 8} bytes, there are {size}: cut short?")
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


def _stopped(path, error: Exception) -> FileFormatError:
    return FileFormatError(path, f"expected a complete media file, decoding stopped ({error})")


@contextmanager
def _named_errors(path):
    """Errors of the decoder become errors that name the file."""
    try:
        yield
    except DECODER_ERRORS as error:
        raise _stopped(path, error) from error


def _streams(path, container):
    """The film and the sound of a file, each None where there is none."""
    kinds = av.stream.Disposition
    video = next(
        (
            stream
            for stream in container.streams.video
            if not stream.disposition & kinds.attached_pic
        ),
        None,
    )
    tracks = container.streams.audio
    first = next(iter(tracks), None)
    audio = next((stream for stream in tracks if stream.disposition & kinds.default), first)
    for stream in (video, audio):
        if stream is not None and stream.codec_context is None:
            raise FileFormatError(
                path, f"expected {stream.type} of a codec that FFmpeg knows, found another"
            )
    if video is not None:
        video.codec_context.thread_count = 1  # films run in parallel, not the frames of one
    return video, audio


def _packets(path, container, streams):
    """Packets of some streams in the order of the file, whose time stamps do not begin anew."""
    latest: dict[int, int] = {}
    allowed = {stream.index: round(RESTART / stream.time_base) for stream in streams}
    with _named_errors(path):
        for packet in container.demux(streams):
            stamp = packet.dts
            if stamp is not None:
                index = packet.stream_index
                before = latest.get(index, stamp)
                if stamp < before - allowed[index]:
                    found = f"{float(stamp * packet.time_base):.2f} s after {float(before * packet.time_base):.2f} s"
                    raise FileFormatError(
                        path, f"expected time stamps that go on, found {found}: files joined?"
                    )
                latest[index] = stamp
            yield packet


def _frames(path, container, streams, wanted, origin, ends):
    """Decoded frames of the wanted streams; of the others only where they end, so that a cut file is noticed."""
    for packet in _packets(path, container, streams):
        if packet.stream in wanted:
            try:  # not _named_errors: entering it for each of many thousand packets takes time
                frames = packet.decode()
            except DECODER_ERRORS as error:
                raise _stopped(path, error) from error
            for frame in frames:
                yield packet.stream, frame
        elif packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            kind = packet.stream.type
            ends[kind] = max(ends.get(kind, 0.0), end - origin)


def _declared(stream):
    return None if stream.duration is None else float(stream.duration * stream.time_base)


def _complete(path, container, streams, ends):
    """Refuses a file that stops before it says: a cut one decodes without an error as far as it goes."""
    if container.format.name in GUESSED:
        return
    pairs = [(_declared(stream), ends.get(stream.type, 0.0)) for stream in streams]
    if any(declared is None for declared, _ in pairs):  # mkv declares the duration of the file only
        declared = (container.duration or 0) / av.time_base
        if _declared_seconds(container) is None:
            # Counted from 0 s or from the start: taken for the shorter.
            declared -= (container.start_time or 0) / av.time_base
        pairs.append((declared, max(ends.values(), default=0.0)))
    for declared, end in pairs:
        if declared is not None and end < declared - min(1.0, max(0.15, 0.1 * declared)):
            raise FileFormatError(
                path, f"expected {declared:.2f} s, it ends at {end:.2f} s: cut short?"
            )


def _float(block):
    return block.to_ndarray()[0].astype(np.float32) / 32768


def _orientation(path, frame) -> tuple[bool, bool, bool]:
    """How a frame must be turned to be seen upright.

    Returns:
        whether rows and columns are exchanged, and whether the result is then mirrored left to right, top to bottom

    Raises:
        FileFormatError: if the film is turned by less than a right angle, or leaning
    """
    data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if data is None:
        return False, False, False
    # A point (x, y) of the frame is shown at (a x + c y, b x + d y); numbers with 16 bits after the point.
    a, b, _, c, d = (
        value / 65536 for value in np.frombuffer(bytes(data), dtype=np.int32)[:5].tolist()
    )
    small = 0.01 * max(abs(a), abs(b), abs(c), abs(d))
    if abs(b) <= small and abs(c) <= small and a and d:
        return False, a < 0, d < 0
    if abs(a) <= small and abs(d) <= small and b and c:
        return True, c < 0, b < 0
    raise FileFormatError(
        path,
        f"expected a film turned by right angles, found the display matrix {a:.3g} {b:.3g} {c:.3g} {d:.3g}",
    )


def _rgb(path, frame, side):
    scale = min(1.0, side / max(frame.width, frame.height)) if side else 1.0
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    image = frame.to_ndarray(
        format="rgb24", width=width, height=height, interpolation=Interpolation.AREA
    )
    exchanged, mirrored, upside_down = _orientation(path, frame)
    if not (exchanged or mirrored or upside_down):
        return image
    if exchanged:
        image = image.transpose(1, 0, 2)
    if mirrored:
        image = image[:, ::-1]
    if upside_down:
        image = image[::-1]
    return np.ascontiguousarray(image)
