"""One pass forward over a media file: frames at the asked times, frame pairs and 16 kHz mono sound.

A file is demuxed once and never sought in: decoding forward is four to five times faster than one seek per frame.
Everything is handed on while the file is being read, so that a film of three hours is never whole in memory.
Times count from the start of the file, in seconds, so a variable frame rate needs no special case.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation

from affectlib.errors import FileFormatError, NotFoundError

SAMPLING_RATE = 16000
TOLERANCE = 1e-3  # in seconds: times are rounded to the tick of the container
DRIFT = 0.05  # in seconds: a longer hole in the sound is filled with silence, so that it stays with the picture

FILM_ENDINGS = (  # of the containers that FFmpeg reads and films come in
    ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv",
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
    """Reads the header of a media file.

    Raises:
        CorpusNotFoundError: if there is no such file
        CorpusFormatError: if it is empty, cannot be decoded, or holds neither picture nor sound
    """
    with _open(path) as container:
        video, audio = _streams(container)
        if video is None and audio is None:
            raise FileFormatError(path, "expected picture or sound, it has neither")
        seconds = max([_declared(s) or 0.0 for s in (video, audio) if s] + [(container.duration or 0) / 1e6])
        rate = float(video.average_rate or video.guessed_rate or 0) or None if video else None
        width, height = (video.width, video.height) if video else (None, None)
        if video and _turns(next(container.decode(video), None)) % 2:
            width, height = height, width
        return Media(seconds, rate, width, height, audio.rate if audio else None)


def stream(path, times=(), *, pairs=False, side=None, sound=True) -> Iterator:
    """Reads a file once, forward, and gives :class:`Picture` and :class:`Sound` as they come.

    Args:
        path: any file FFmpeg reads: mp4, mkv, mov, wav
        times: at which frames are wanted, in seconds, increasing; the frame at or before each is given. With
            ``{side: pairs}`` for each, as a list of both, one picture of every size
        pairs: give the following frame as well
        side: the longer side is reduced to this many pixels; smaller frames stay as they are
        sound: give the sound, at 16 kHz, mixed to mono; a file without sound gives none

    Raises:
        CorpusNotFoundError: if there is no such file
        CorpusFormatError: if it cannot be decoded, ends before it says, has no frames where frames are asked for,
            or ends before the last time
        ValueError: if ``times`` decrease
    """
    times = deque(one if isinstance(one, tuple) else (one, {side: pairs}) for one in times)
    if any(b < a for (a, _), (b, _) in pairwise(times)):
        raise ValueError("times must increase")
    with _open(path) as container:
        video, audio = _streams(container)
        if times and video is None:
            raise FileFormatError(path, "expected frames, it has no picture")
        wanted = [s for s in (video if times else None, audio if sound else None) if s is not None]
        streams = [s for s in (video, audio) if s is not None]
        origin = (container.start_time or 0) / 1e6
        last, images, ends, heard = None, {}, {}, 0

        def picture(following=None, shown=None, gap=float("nan")):
            """Pictures of the next time, every frame converted once for each size."""
            time, sizes = times.popleft()
            for side, pairs in sizes.items():
                pairs = pairs and following is not None
                for frame, made in ((last[1], images), *([(following, shown)] if pairs else [])):
                    if side not in made:
                        made[side] = _rgb(frame, side)
                yield Picture(time, images[side], shown[side] if pairs else None, gap if pairs else float("nan"), side)

        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLING_RATE)  # float would not scale the mix
        for source, frame in _frames(path, container, streams, wanted, origin, ends):
            at = None if frame.time is None else frame.time - origin
            if source is audio:
                ends["audio"] = max(ends.get("audio", 0.0), (at or 0.0) + frame.samples / frame.sample_rate)
                hole = 0 if at is None else round(at * SAMPLING_RATE) - heard
                if hole > DRIFT * SAMPLING_RATE:
                    yield Sound(heard, np.zeros(hole, np.float32))
                    heard += hole
                for block in resampler.resample(frame):
                    yield Sound(heard, _float(block))
                    heard += block.samples
                continue
            at = ends.get("video", 0.0) if at is None else at
            ends["video"] = at + (float(frame.duration * frame.time_base) if frame.duration else 0.0)
            shown = {}
            while last is not None and times and times[0][0] < at - TOLERANCE:
                yield from picture(frame, shown, at - last[0])
            last, images = (at, frame), shown
        if audio in wanted:
            for block in resampler.resample(None):
                yield Sound(heard, _float(block))
                heard += block.samples
        _complete(path, container, streams, ends)
        if times and last is None:
            raise FileFormatError(path, "expected frames, none could be decoded")
        while times and times[0][0] < max([*ends.values(), last[0] + TOLERANCE]):
            yield from picture()
        if times:
            expected = f"expected a frame at {times[0][0]:g} s, it ends at {max(ends.values()):.2f} s"
            raise FileFormatError(path, expected)


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
        CorpusNotFoundError, CorpusFormatError: see :func:`stream`; also where a clip ends after the file
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
    return next(clips(path, [0.0], [probe(path).seconds], rates=rates, pairs=pairs, side=side, sound=sound))


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
            self.blocks.append(event.samples[max(first, 0):end])

    def clip(self):
        sound = np.concatenate(self.blocks) if self.blocks else None
        return Clip(self.start, self.seconds, tuple(self.pictures), sound)


def _open(path):
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"{path}: no such media file")
    size = path.stat().st_size
    if size == 0:
        raise FileFormatError(path, "expected a media file, it is empty")
    with open(path, "rb") as file:
        kind, declared = file.read(4), int.from_bytes(file.read(4), "little")
    if kind == b"RIFF" and size + 1 < declared + 8 < 2**32:  # wav and avi say in bytes how long they are
        raise FileFormatError(path, f"expected {declared + 8} bytes, there are {size}: cut short?")
    try:
        return av.open(str(path))
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise FileFormatError(path, f"expected a complete media file, it cannot be opened ({error})") from error


def _streams(container):
    cover = av.stream.Disposition.attached_pic
    video = next((s for s in container.streams.video if not s.disposition & cover), None)
    audio = next(iter(container.streams.audio), None)
    if video is not None:
        video.codec_context.thread_count = 1  # films run in parallel, not the frames of one
    return video, audio


def _frames(path, container, streams, wanted, origin, ends):
    """Decoded frames of the wanted streams; of the others only where they end, so that a cut file is noticed."""
    try:
        for packet in container.demux(streams):
            if packet.stream in wanted:
                for frame in packet.decode():
                    yield packet.stream, frame
            elif packet.pts is not None:
                end, kind = float((packet.pts + (packet.duration or 0)) * packet.time_base), packet.stream.type
                ends[kind] = max(ends.get(kind, 0.0), end - origin)
    except av.error.FFmpegError as error:
        raise FileFormatError(path, f"expected a complete media file, decoding stopped ({error})") from error


def _declared(stream):
    return None if stream.duration is None else float(stream.duration * stream.time_base)


def _complete(path, container, streams, ends):
    """Refuses a file that stops before it says: a cut one decodes without an error as far as it goes."""
    said = [(_declared(s), ends.get(s.type, 0.0)) for s in streams]
    if any(declared is None for declared, _ in said):  # mkv declares the whole file only
        said.append(((container.duration or 0) / 1e6, max(ends.values(), default=0.0)))
    for declared, end in said:
        if declared is not None and end < declared - min(1.0, max(0.15, 0.1 * declared)):
            raise FileFormatError(path, f"expected {declared:.2f} s, it ends at {end:.2f} s: cut short?")


def _float(block):
    return block.to_ndarray()[0].astype(np.float32) / 32768


def _turns(frame):
    return 0 if frame is None else round(frame.rotation / 90) % 4


def _rgb(frame, side):
    scale = min(1.0, side / max(frame.width, frame.height)) if side else 1.0
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    image = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation=Interpolation.AREA)
    return np.ascontiguousarray(np.rot90(image, _turns(frame))) if _turns(frame) else image

def film_seconds(path) -> float:
    """Duration of a film, having looked that it can be decoded and was not cut short.

    Opens the file and decodes its first frame: milliseconds, whatever the length.

    Args:
        path: a media file with moving pictures

    Returns:
        duration in seconds, as the container declares it

    Raises:
        CorpusFormatError: if the file is absent, empty, cut, undecodable or has no frames
    """
    if not path.is_file():
        raise FileFormatError(path, "expected this film, found none")
    if not (size := path.stat().st_size):
        raise FileFormatError(path, "expected a film, the file is empty")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video or container.duration is None:
                raise FileFormatError(path, "expected a film with frames, found none")
            seconds, index = container.duration / av.time_base, container.streams.video[0].index_entries
            if len(index) and index[-1].pos + index[-1].size > size:
                raise FileFormatError(path, f"expected a whole film of {seconds:.1f} s, the file was cut short")
            if next(container.decode(video=0), None) is None:
                raise FileFormatError(path, "expected a film with frames, found none")
    except av.FFmpegError as error:
        raise FileFormatError(path, f"expected a film that can be decoded: {error.strerror}") from error
    return seconds
