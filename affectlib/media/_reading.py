"""Reads a media file once, forward: pictures at requested times, and sound as 16 kHz mono."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import av
import av.filter
import numpy as np
from av.video.reformatter import Interpolation

from affectlib.errors import FileFormatError
from affectlib.media._container import (
    DECODER_ERRORS,
    check_complete,
    duration,
    find_streams,
    open_media,
    orientation,
    packets,
    start_seconds,
    stopped,
)
from affectlib.media._skipping import (
    TOLERANCE,
    PlanError,
    Skipping,
    Step,
    can_skip,
    drops_unreferenced,
)

SAMPLING_RATE = 16000
# Samples of a block of sound, a quarter of a second.
BLOCK = 4000
# In seconds: a longer hole in the sound is filled with silence, so that it stays with the picture.
DRIFT = 0.05
# In seconds: a longer hole is refused, since its silence would fill the memory.
LONGEST_HOLE = 3600.0
# In seconds: a clip may end this much later than its file; its last frame stays so long.
END_TOLERANCE = 0.5

# The sizes wanted of one picture: its longer side in pixels (None for the size it has) to whether
# the following frame is wanted too.
Sizes = dict[int | None, bool]


@dataclass(frozen=True)
class Picture:
    """The frame shown at a time.

    Args:
        time: the requested time, in seconds
        image: the last frame at or before it, RGB
        following: the frame decoded after it; None without ``pairs``, and after the last frame
        gap: seconds between the two, nan without a following frame
        side: the longer side in pixels that was requested, None for the size of the film

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
    """A request for pictures.

    Args:
        rate: frames per second
        side: their longer side in pixels at most, None for the size of the film
        pairs: True if each picture comes with the following frame
    """

    rate: float
    side: int | None = None
    pairs: bool = False


@dataclass(frozen=True)
class Sound:
    """A block of sound, mono at 16 kHz.

    Args:
        first: number of its first sample, counted from the start of the file
        samples: values in [-1, 1]

    Shape:
        samples ``(samples,)``, float32
    """

    first: int
    samples: np.ndarray


@dataclass(frozen=True)
class Clip:
    """A stretch of film in memory.

    Args:
        start: where it starts in the film, in seconds
        seconds: how long it lasts
        pictures: :class:`Picture`, in order of time
        sound: mono at 16 kHz, None where there is none

    Shape:
        sound ``(samples,)``, float32
    """

    start: float
    seconds: float
    pictures: tuple[Picture, ...] = ()
    sound: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes.

        A frame that follows one picture and is itself another picture counts twice.
        """
        arrays = [self.sound]
        for picture in self.pictures:
            arrays.append(picture.image)
            arrays.append(picture.following)
        return sum(array.nbytes for array in arrays if array is not None)

    def at(self, rate: float, *, side: int | None = None) -> list[Picture]:
        """Returns its pictures on the grid of ``rate`` frames per second.

        Args:
            rate: frames per second
            side: chooses the pictures of this size, if the clip was read in several sizes
        """
        times = set(grid(self.start, self.seconds, rate))
        pictures = [picture for picture in self.pictures if picture.time in times]
        of_side = [picture for picture in pictures if picture.side == side]
        return of_side or pictures


def grid(start: float, seconds: float, rate: float) -> list[float]:
    """Returns the times of ``rate`` pictures per second in a stretch of film, from its start on.

    Args:
        start: where the stretch starts, in seconds
        seconds: how long it lasts; there is at least one time
        rate: pictures per second

    Examples:
        >>> grid(5.0, 1.0, 2.0)
        [5.0, 5.5]
    """
    count = max(1, int(np.ceil(seconds * rate - 1e-6)))
    return [round(start + k / rate, 6) for k in range(count)]


def stream(
    path: Path | str,
    times: Iterable[float | tuple[float, Sizes]] = (),
    *,
    pairs: bool = False,
    side: int | None = None,
    sound: bool = True,
) -> Iterator[Picture | Sound]:
    """Reads a file once, forward, and gives :class:`Picture` and :class:`Sound` as they come.

    Packets that no requested frame needs are not decoded, as far as that changes no frame, and
    damage in them is not seen: it harms nothing that is given. A picture comes when the next frame
    is decoded, so it may come after later sound.

    Args:
        path: any file that FFmpeg reads: mp4, mkv, mov, wav
        times: times of the wanted frames, in seconds, increasing; the frame at or before each is
            given. A tuple ``(time, {side: pairs})`` asks for one picture of every size
        pairs: give the following frame as well
        side: reduce the longer side to this many pixels; smaller frames stay as they are
        sound: give the sound at 16 kHz, mixed to mono, if the file has any. Of several tracks the
            one marked as default is heard, else the first

    Raises:
        NotFoundError: if there is no such file
        FileFormatError: if it cannot be decoded, ends before its header says or half a second
            before the last time, lacks frames where frames are wanted, or is one of the files that
            :mod:`affectlib.media` refuses
        ValueError: if ``times`` decrease
    """
    requests = deque()
    for time in times:
        requests.append(time if isinstance(time, tuple) else (time, {side: pairs}))
    if any(later < earlier for (earlier, _), (later, _) in pairwise(requests)):
        raise ValueError("times must increase")
    heard = 0
    try:
        for event in _read(path, requests, sound, skip=True):
            if isinstance(event, Sound):
                heard = event.first + len(event.samples)
            yield event
        return
    except PlanError:
        pass
    # The frames that are missing need all packets. What was given is not given again.
    for event in _read(path, requests, sound, skip=False):
        if isinstance(event, Picture) or event.first >= heard:
            yield event


def _read(path, requests: deque, sound: bool, *, skip: bool) -> Iterator[Picture | Sound]:
    """Reads a file from its beginning.

    Args:
        path: media file
        requests: pairs of a time and the sizes wanted; those that were answered are taken out
        sound: give the sound as well
        skip: leave out packets that no requested frame needs

    Raises:
        PlanError: if packets were left out and should not have been
    """
    with open_media(path) as container:
        video, audio = find_streams(path, container)
        if requests and video is None:
            raise FileFormatError(path, "expected frames, it has no picture")
        pictures = _Pictures(path, requests) if requests else None
        sounds = _Sounds(path) if sound and audio is not None else None
        skipping = None
        if skip and requests and can_skip(video):
            wanted = [(time, any(sizes.values())) for time, sizes in requests]
            skipping = Skipping(wanted, video, start_seconds(container))
        yield from _decode(path, container, video, audio, pictures, sounds, skipping)


def _decode(
    path,
    container,
    video,
    audio,
    pictures: _Pictures | None,
    sounds: _Sounds | None,
    skipping: Skipping | None,
) -> Iterator[Picture | Sound]:
    """Hands decoded frames to the two collectors, and gives what they make of them."""
    streams = [stream for stream in (video, audio) if stream is not None]
    wanted = []
    if pictures is not None:
        wanted.append(video)
    if sounds is not None:
        wanted.append(audio)
    origin = start_seconds(container)
    # Seconds at which each kind of stream ends, as far as it was read.
    ends: dict[str, float] = {}
    for source, frame in _frames(path, container, streams, wanted, origin, ends, skipping):
        at = None if frame.time is None else frame.time - origin
        if source is audio:
            length = frame.samples / frame.sample_rate
            ends["audio"] = max(ends.get("audio", 0.0), (at or 0.0) + length)
            yield from sounds.take(frame, at)
        else:
            # A frame without a time stamp begins where the one before it ended.
            if at is None:
                at = ends.get("video", 0.0)
            length = float(frame.duration * frame.time_base) if frame.duration else 0.0
            ends["video"] = at + length
            yield from pictures.take(frame, at)
    if sounds is not None:
        yield from sounds.rest()
    check_complete(path, container, streams, ends)
    if pictures is not None:
        yield from pictures.rest(ends)


def _frames(
    path, container, streams, wanted, origin: float, ends: dict[str, float], skipping
) -> Iterator:
    """Gives pairs of a wanted stream and its next decoded frame.

    The other streams are not decoded, nor are packets that ``skipping`` leaves out. Their ends are
    recorded, so that a cut file is noticed.

    Raises:
        FileFormatError: if the decoder stops, or says of a frame that it is damaged
    """
    # When the packets of each kind of stream end that were not decoded.
    passed: dict[str, float] = {}
    for packet in packets(path, container, streams):
        source = packet.stream
        skips = skipping is not None and source.type == "video"
        if skips or source not in wanted:
            _note(packet, origin, passed)
        if source not in wanted:
            continue
        for step in skipping.take(packet) if skips else (Step(packet),):
            for frame in _decoded(path, step):
                if frame.is_corrupt:
                    raise _damaged(path, source, frame, origin)
                if skips:
                    skipping.check(frame)
                yield source, frame
    if skipping is not None:
        skipping.check_end()
    for kind, end in passed.items():
        ends[kind] = max(ends.get(kind, 0.0), end)


def _decoded(path, step: Step) -> list[av.frame.Frame]:
    """Returns the frames that come out of a decoder when it is given one more packet."""
    source = step.packet.stream
    if drops_unreferenced(source):
        source.codec_context.skip_frame = "DEFAULT" if step.is_wanted else "NONREF"
    # Not with named_errors: entering it for each of many thousand packets takes time.
    try:
        return step.packet.decode()
    except DECODER_ERRORS as error:
        raise stopped(path, error) from error


def _note(packet: av.Packet, origin: float, passed: dict[str, float]) -> None:
    """Records when a packet ends, in seconds from the start of the file."""
    if packet.pts is None:
        return
    end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
    kind = packet.stream.type
    passed[kind] = max(passed.get(kind, 0.0), end - origin)


def _damaged(path, stream: av.stream.Stream, frame: av.frame.Frame, origin: float):
    """Returns the error of a frame whose damage the decoder noticed and covered up."""
    kind = "picture" if stream.type == "video" else "sound"
    where = "" if frame.time is None else f" at {frame.time - origin:.2f} s"
    return FileFormatError(path, f"expected a whole file, found a damaged {kind}{where}")


class _Pictures:
    """Chooses the frame at or before each requested time, from frames that come in order.

    Args:
        path: named in errors
        requests: pairs of a time and the sizes wanted, in order of time
    """

    def __init__(self, path: Path | str, requests: deque[tuple[float, Sizes]]):
        self.path = path
        self.requests = requests
        # The last frame that came, and its time in seconds.
        self.frame = None
        self.time = float("nan")
        # That frame as an array, by size: each size is converted once.
        self.images: dict[int | None, np.ndarray] = {}

    def take(self, frame: av.VideoFrame, at: float) -> Iterator[Picture]:
        """Gives the pictures of all requests before a new frame."""
        following_images: dict[int | None, np.ndarray] = {}
        if self.frame is not None:
            self._check_size(frame, at)
            while self.requests and self.requests[0][0] < at - TOLERANCE:
                yield from self._next(frame, following_images, at - self.time)
        self.frame = frame
        self.time = at
        self.images = following_images

    def rest(self, ends: dict[str, float]) -> Iterator[Picture]:
        """Gives the pictures after the last frame, which stays until a clip may end."""
        if not self.requests:
            return
        if self.frame is None:
            raise FileFormatError(self.path, "expected frames, none could be decoded")
        end = max([*ends.values(), self.time + TOLERANCE])
        while self.requests and self.requests[0][0] < end + END_TOLERANCE:
            yield from self._next(None, {}, float("nan"))
        if self.requests:
            first = self.requests[0][0]
            expected = f"expected a frame at {first:g} s, it ends at {max(ends.values()):.2f} s"
            raise FileFormatError(self.path, expected)

    def _next(
        self,
        following: av.VideoFrame | None,
        following_images: dict[int | None, np.ndarray],
        gap: float,
    ) -> Iterator[Picture]:
        """Gives the pictures of the next request, one for each size."""
        time, sizes = self.requests.popleft()
        for side, pairs in sizes.items():
            if side not in self.images:
                self.images[side] = _rgb(self.path, self.frame, side)
            image = self.images[side]
            if not pairs or following is None:
                yield Picture(time, image, None, float("nan"), side)
                continue
            if side not in following_images:
                following_images[side] = _rgb(self.path, following, side)
            yield Picture(time, image, following_images[side], gap, side)

    def _check_size(self, frame: av.VideoFrame, at: float) -> None:
        """Refuses a frame of another size than the one before it."""
        size = (frame.width, frame.height)
        previous = (self.frame.width, self.frame.height)
        if size != previous:
            raise FileFormatError(
                self.path,
                f"expected pictures of one size, found {size[0]} x {size[1]} after "
                f"{previous[0]} x {previous[1]} at {at:.2f} s",
            )


class _Sounds:
    """Turns decoded sound into blocks of 16 kHz mono that follow one another without a hole.

    Args:
        path: named in errors
    """

    def __init__(self, path: Path | str):
        self.path = path
        # Samples given so far, and samples given or still held by the resampler.
        self.heard = 0
        self.taken = 0.0
        # Format, channels and sampling rate of the frames that come.
        self.kind = None
        self.resampler: _Resampler | None = None

    def take(self, frame: av.AudioFrame, at: float | None) -> Iterator[Sound]:
        """Gives the blocks of one more frame.

        Args:
            frame: the next one of the file
            at: where it begins, in seconds; None if it begins where the last one ended
        """
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self.kind:
            # A resampler takes frames of one kind. A film that turns from stereo to 5.1 needs a
            # new one.
            yield from self.rest()
            self.resampler = _Resampler(frame)
            self.kind = kind
        self._check_numbers(frame, at)
        hole = 0 if at is None else round(at * SAMPLING_RATE - self.taken)
        if hole > LONGEST_HOLE * SAMPLING_RATE:
            hours = hole / SAMPLING_RATE / 3600
            raise FileFormatError(
                self.path, f"expected sound that goes on, found a hole of {hours:.1f} hours"
            )
        if hole > DRIFT * SAMPLING_RATE:
            # The sound before the hole comes first.
            yield from self.rest()
            self.resampler = _Resampler(frame)
            yield self._block(np.zeros(round(at * SAMPLING_RATE) - self.heard, np.float32))
            self.taken = self.heard
        self.taken += frame.samples * SAMPLING_RATE / frame.sample_rate
        for samples in self.resampler.take(frame):
            yield self._block(samples)

    def rest(self) -> Iterator[Sound]:
        """Gives the sound that the resampler still holds."""
        if self.resampler is not None:
            for samples in self.resampler.rest():
                yield self._block(samples)
            self.taken = self.heard

    def _check_numbers(self, frame: av.AudioFrame, at: float | None) -> None:
        """Refuses sound that holds nan or infinite values."""
        # Only a wav of floats can hold them. Decoders of compressed sound give float too ("fltp"),
        # but never nan.
        if frame.format.name not in ("flt", "dbl"):
            return
        if not np.isfinite(frame.to_ndarray()).all():
            where = "" if at is None else f" at {at:.2f} s"
            raise FileFormatError(
                self.path, f"expected sound made of numbers, found nan or inf{where}"
            )

    def _block(self, samples: np.ndarray) -> Sound:
        first = self.heard
        self.heard += len(samples)
        return Sound(first, samples)


class _Resampler:
    """Turns sound of one kind into 16 kHz mono, in blocks of one length.

    Frames are gathered until they make a block: to ask for one takes longer than to make it.

    Args:
        frame: the first one
    """

    def __init__(self, frame: av.AudioFrame):
        self.graph = av.filter.Graph()
        source = self.graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=frame.time_base,
        )
        # s16, because a mix of float channels would not be scaled.
        target = self.graph.add(
            "aformat", sample_rates=str(SAMPLING_RATE), sample_fmts="s16", channel_layouts="mono"
        )
        sink = self.graph.add("abuffersink")
        source.link_to(target)
        target.link_to(sink)
        self.graph.configure()
        self.graph.set_audio_frame_size(BLOCK)
        self.length = BLOCK * frame.sample_rate / SAMPLING_RATE
        # Samples that were gathered, at their own rate.
        self.gathered = 0

    def take(self, frame: av.AudioFrame) -> Iterator[np.ndarray]:
        """Gives the blocks that one more frame completes, float32 in [-1, 1]."""
        self.graph.push(frame)
        self.gathered += frame.samples
        if self.gathered >= self.length:
            self.gathered = 0
            yield from self._blocks()

    def rest(self) -> Iterator[np.ndarray]:
        """Gives what it still holds; it takes no more afterwards."""
        self.graph.push(None)
        yield from self._blocks()

    def _blocks(self) -> Iterator[np.ndarray]:
        while True:
            try:
                block = self.graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                # It wants more sound, or has come to its end.
                return
            yield block.to_ndarray()[0].astype(np.float32) / 32768


def _rgb(path, frame: av.VideoFrame, side: int | None) -> np.ndarray:
    """Turns a frame into an upright RGB array whose longer side has at most ``side`` pixels."""
    scale = 1.0
    if side:
        scale = min(1.0, side / max(frame.width, frame.height))
    width = max(1, round(frame.width * scale))
    height = max(1, round(frame.height * scale))
    image = frame.to_ndarray(
        format="rgb24", width=width, height=height, interpolation=Interpolation.AREA
    )
    exchanged, mirrored, upside_down = orientation(path, frame)
    if not (exchanged or mirrored or upside_down):
        return image
    if exchanged:
        image = image.transpose(1, 0, 2)
    if mirrored:
        image = image[:, ::-1]
    if upside_down:
        image = image[::-1]
    return np.ascontiguousarray(image)


def clips(
    path: Path | str,
    starts: Sequence[float],
    seconds: Sequence[float],
    *,
    rates: Iterable[float | Look] = (),
    pairs: bool = False,
    side: int | None = None,
    sound: bool = True,
) -> Iterator[Clip]:
    """Cuts one pass over a file into clips, and gives each as soon as it is complete.

    Args:
        path: media file
        starts: where each clip starts, in seconds, increasing
        seconds: how long each clip lasts
        rates: frames per second, or a :class:`Look` with a size and pairs of its own; for several
            at once see :meth:`Clip.at`
        pairs: give the following frame of each picture as well
        side: largest side of a frame in pixels
        sound: give the sound

    Raises:
        NotFoundError, FileFormatError: see :func:`stream`; also if a clip ends after the file
        ValueError: if there are not as many starts as durations
    """
    looks = [rate if isinstance(rate, Look) else Look(rate, side, pairs) for rate in rates]
    waiting = deque()
    # All requests of all clips: time to sizes.
    requests: dict[float, Sizes] = {}
    for start, length in zip(starts, seconds, strict=True):
        cut = _Cut(start, length)
        cut.request(looks, requests)
        waiting.append(cut)
    heard = 0.0
    for event in stream(path, sorted(requests.items(), key=_time_of_request), sound=sound):
        if isinstance(event, Sound):
            heard = (event.first + len(event.samples)) / SAMPLING_RATE
            reached = heard
        else:
            reached = event.time
        for cut in waiting:
            # Rounded as the times of grid() are.
            if round(cut.start, 6) > reached:
                break
            cut.take(event)
        while waiting and not waiting[0].times and (not sound or heard >= waiting[0].end):
            yield waiting.popleft().clip()
    yield from _last_clips(path, waiting)


def _time_of_request(request: tuple[float, Sizes]) -> float:
    return request[0]


def _last_clips(path, waiting: deque[_Cut]) -> Iterator[Clip]:
    """Gives the clips that were not complete at the end of the file, which may end a bit early."""
    if not waiting:
        return
    seconds = duration(path)
    for cut in waiting:
        if cut.end > seconds + END_TOLERANCE:
            raise FileFormatError(
                path,
                f"expected a clip from {cut.start:g} to {cut.end:g} s, it ends at {seconds:.2f} s",
            )
        yield cut.clip()


def read(
    path: Path | str,
    *,
    rate: float | None = None,
    pairs: bool = False,
    side: int | None = None,
    sound: bool = True,
) -> Clip:
    """Reads a short file into memory as one :class:`Clip`; for a long one use :func:`clips`.

    Args:
        path: media file
        rate: frames per second, None for no frames
        pairs: give the following frame of each picture as well
        side: largest side of a frame in pixels
        sound: give the sound

    Raises:
        NotFoundError, FileFormatError: see :func:`stream`
    """
    rates = () if rate is None else (rate,)
    seconds = duration(path)
    return next(clips(path, [0.0], [seconds], rates=rates, pairs=pairs, side=side, sound=sound))


@dataclass
class _Cut:
    """A clip while its pictures and its sound are being collected.

    Args:
        start: where it starts in the film, in seconds
        seconds: how long it lasts
        times: pairs of a time and a side of the pictures that it still waits for
        pictures: those that came
        blocks: samples that came
    """

    start: float
    seconds: float
    times: set[tuple[float, int | None]] = field(default_factory=set)
    pictures: list[Picture] = field(default_factory=list)
    blocks: list[np.ndarray] = field(default_factory=list)

    @property
    def end(self) -> float:
        return self.start + self.seconds

    def request(self, looks: Sequence[Look], requests: dict[float, Sizes]) -> None:
        """Adds the pictures that it needs to the requests of all clips."""
        for look in looks:
            for time in grid(self.start, self.seconds, look.rate):
                self.times.add((time, look.side))
                sizes = requests.setdefault(time, {})
                sizes[look.side] = sizes.get(look.side, False) or look.pairs

    def take(self, event: Picture | Sound) -> None:
        """Keeps a picture or the part of a block of sound that lies inside the clip."""
        if isinstance(event, Picture):
            key = (event.time, event.side)
            if key in self.times:
                self.times.remove(key)
                self.pictures.append(event)
            return
        first = round(self.start * SAMPLING_RATE) - event.first
        end = round(self.end * SAMPLING_RATE) - event.first
        if first < len(event.samples) and end > 0:
            self.blocks.append(event.samples[max(first, 0) : end])

    def clip(self) -> Clip:
        """Returns the finished clip."""
        sound = np.concatenate(self.blocks) if self.blocks else None
        return Clip(self.start, self.seconds, tuple(self.pictures), sound)
