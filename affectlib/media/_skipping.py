"""Leaves out the packets of a film that no wanted frame needs, most of them at one frame a second.

A packet holds one picture, coded as the difference from earlier pictures or, in a keyframe, whole.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import av

# In seconds: containers round times to their ticks.
TOLERANCE = 1e-3
# Bytes of packets that wait at most: the pictures of some ten seconds of a film in high quality.
LONGEST_WAIT = 16 * 2**20
# Values of FFmpeg's AVFieldOrder: unknown, and whole pictures.
NOT_INTERLACED = (0, 1)
# Beginnings of the names of containers (mp4, transport stream) that state both times of a packet.
STATE_TIMES = ("mov", "mpegts")


class PlanError(Exception):
    """The frames of a film do not come as its packets say; it must be decoded as a whole."""


class Kind(NamedTuple):
    """What one packet means for those around it.

    Args:
        begins: decoding may begin here, and nothing that is stored later needs what came before
        may_go: nothing but pictures is lost without it; False if it holds parameters of the codec
        is_shown: it gives a frame
    """

    begins: bool
    may_go: bool = True
    is_shown: bool = True


class Step(NamedTuple):
    """A packet to decode, and whether somebody wants its own picture or only later ones."""

    packet: av.Packet
    is_wanted: bool = True


class Held(NamedTuple):
    """A packet that waits, and its kind."""

    packet: av.Packet
    kind: Kind


class Skipping:
    """Chooses the packets to decode.

    Packets wait until it is known which of them shows the next requested frame: no packet comes
    with a presentation time (pts) before its decoding time (dts), so all candidates are there once
    a packet is decoded later than the request. Then those before the last keyframe are dropped, and
    those from the keyframe to the frame are decoded. Without a keyframe on the way all are. What
    is dropped is the end of a group of pictures, and the decoder sees a shorter film.

    Every planned frame must come out of the decoder: see :meth:`check`.

    Args:
        wanted: pairs of a time in seconds, in order, and whether the following frame is wanted too
        video: the stream
        origin: seconds at which the container begins
    """

    def __init__(self, wanted: Iterable[tuple[float, bool]], video: av.VideoStream, origin: float):
        self.wanted = deque(wanted)
        self.context = video.codec_context
        self.kind_of = CODECS[self.context.name](bytes(self.context.extradata or b""))
        self.numerator = video.time_base.numerator
        self.denominator = video.time_base.denominator
        self.origin = origin
        # Packets that wait, in the order of the file.
        self.held: list[Held] = []
        self.held_bytes = 0
        # Presentation times of all frames from the last planned one on, in ticks, sorted.
        self.shown: list[int] = []
        # Those of planned frames that have not come yet.
        self.planned: deque[int] = deque()
        # Of the last frame that came; None before the first.
        self.came: int | None = None
        self.states_times = video.container.format.name.startswith(STATE_TIMES)
        # True once the times at which packets are shown and decoded are known to be different.
        self.is_reordered = False

    def take(self, packet: av.Packet) -> Iterator[Step]:
        """Gives the packets to decode now that one more is there.

        Raises:
            PlanError: if it has no presentation time, or one before its decoding time
        """
        if packet.pts is None and not packet.size:
            # FFmpeg's last packet is empty: the decoder shall finish.
            yield from self._plan(None, ended=True)
            yield Step(packet)
            return
        if packet.pts is None or (packet.dts is not None and packet.pts < packet.dts):
            raise PlanError
        kind = self.kind_of(packet)
        if kind.is_shown and packet.size and not packet.is_discard:
            self.is_reordered |= bool(self.shown) and packet.pts < self.shown[-1]
            if self.states_times and packet.dts is not None:
                self.is_reordered |= packet.pts > packet.dts
            insort(self.shown, packet.pts)
        if not self.wanted:
            return
        self.held.append(Held(packet, kind))
        self.held_bytes += packet.size
        brings_parameters = not kind.may_go or packet.has_sidedata("new_extradata")
        if not self._can_plan() or (brings_parameters and not kind.begins):
            yield from self._all()
        else:
            yield from self._plan(packet.dts)

    def _can_plan(self) -> bool:
        """Returns True if a frame has come, and packets state times at which they are shown.

        AVI stores none, and FFmpeg numbers its packets instead. Where the decoder puts pictures in
        another order than that of the file, their times must be in another order too, or differ
        from the decoding times in a container that states both.
        """
        return self.came is not None and (self.is_reordered or not self.context.reorder_depth)

    def check(self, frame: av.VideoFrame) -> None:
        """Notes a frame that came.

        Raises:
            PlanError: if an earlier one was planned, if times do not increase, or if the film is
                interlaced: half a picture may be missing
        """
        if frame.pts is None or frame.interlaced_frame:
            raise PlanError
        if self.came is not None and frame.pts <= self.came:
            raise PlanError
        if self.came is None:
            # Pictures before the first that can be decoded will never come.
            self.shown = [pts for pts in self.shown if pts >= frame.pts]
        self.came = frame.pts
        if self.planned and self.planned[0] < frame.pts:
            raise PlanError
        if self.planned and self.planned[0] == frame.pts:
            self.planned.popleft()

    def check_end(self) -> None:
        """Raises PlanError if a planned frame did not come."""
        if self.planned:
            raise PlanError

    def _plan(self, dts: int | None, *, ended: bool = False) -> Iterator[Step]:
        """Gives what the next requests need, as far as that is known.

        Args:
            dts: decoding time of the last packet, in ticks
            ended: True if no packet will come any more
        """
        while self.wanted and self.shown:
            time, pairs = self.wanted[0]
            if not ended and (dts is None or self._answers_from(dts) <= time):
                break
            after = bisect_right(self.shown, time, key=self._answers_from)
            # Before the first frame the first is shown.
            after = max(after, 1)
            if pairs and not ended and (after == len(self.shown) or dts < self.shown[after]):
                break
            frames = self.shown[after - 1 : after + pairs]
            self.wanted.popleft()
            del self.shown[: after - 1]
            yield from self._decode(frames)
        if not self.wanted:
            self.held.clear()
            return
        yield from self._drop_before(self.wanted[0][0])
        if self.held_bytes > LONGEST_WAIT:
            yield from self._all()

    def _answers_from(self, pts: int) -> float:
        """Returns the first request, in seconds, that a frame answers."""
        # As PyAV computes the time of a frame, to the last bit.
        return pts * self.numerator / self.denominator - self.origin - TOLERANCE

    def _decode(self, frames: list[int]) -> Iterator[Step]:
        """Gives the packets of some frames, and those that they are differences from."""
        for pts in frames:
            if (self.came is None or pts > self.came) and pts not in self.planned:
                self.planned.append(pts)
        begin = 0
        for number, (packet, _) in enumerate(self.held):
            if packet.pts not in frames:
                continue
            yield from self._without(begin, self._key(begin, number))
            for needed, _ in self.held[self._key(begin, number) : number + 1]:
                yield Step(needed, needed.pts >= frames[0])
            begin = number + 1
        self._forget(begin)

    def _drop_before(self, time: float) -> Iterator[Step]:
        """Drops the packets before the last keyframe at or before a request, in seconds."""
        for number in range(len(self.held) - 1, 0, -1):
            packet, kind = self.held[number]
            if kind.begins and self._answers_from(packet.pts) <= time:
                yield from self._without(0, number)
                self._forget(number)
                return

    def _key(self, begin: int, number: int) -> int:
        """Returns the number of the last keyframe from ``begin`` to a packet, or ``begin``."""
        for key in range(number, begin, -1):
            if self.held[key].kind.begins:
                return key
        return begin

    def _without(self, begin: int, end: int) -> Iterator[Step]:
        """Gives, of packets that nobody needs, the keyframes that bring parameters for others."""
        for packet, kind in self.held[begin:end]:
            if not kind.may_go:
                yield Step(packet)

    def _all(self) -> Iterator[Step]:
        """Gives all packets that wait."""
        for packet, _ in self.held:
            yield Step(packet)
        self._forget(len(self.held))

    def _forget(self, count: int) -> None:
        """Takes away the first packets that wait."""
        self.held_bytes -= sum(packet.size for packet, _ in self.held[:count])
        del self.held[:count]


def can_skip(video: av.VideoStream) -> bool:
    """Returns True for a codec whose keyframes are known to stand alone, if not interlaced.

    Left out: MPEG-2, whose keyframes may rely on tables that an earlier picture brought; MPEG-4
    part 2, where several pictures may share a packet; AV1, whose keyframes may be shown later.
    """
    context = video.codec_context
    return context.name in CODECS and context.field_order in NOT_INTERLACED


def drops_unreferenced(video: av.VideoStream) -> bool:
    """Returns True if the decoder can leave out pictures from which no other is a difference."""
    return video.codec_context.name == "h264"


def _h264(extradata: bytes) -> Callable[[av.Packet], Kind]:
    # avcC, the header of mp4 and mkv, tells in its fifth byte how many bytes state a length.
    length = _length_bytes(extradata, 4)

    def kind(packet: av.Packet) -> Kind:
        types = {byte & 31 for byte in _units(packet, length)}
        # 5 is an IDR picture, which clears all that came before. Other pictures that are marked as
        # keyframes (recovery points) may be followed by some that refer back.
        # 1: any other picture; 6, 9, 12: remarks, delimiters, filling.
        return Kind(begins=packet.is_keyframe and 5 in types, may_go=types <= {1, 5, 6, 9, 12})

    return kind


def _hevc(extradata: bytes) -> Callable[[av.Packet], Kind]:
    # hvcC tells it in its 22nd byte.
    length = _length_bytes(extradata, 21)
    pictures = {*range(10), *range(16, 22)}

    def kind(packet: av.Packet) -> Kind:
        types = {byte >> 1 & 63 for byte in _units(packet, length)}
        # 19 and 20: IDR. 35, 38 to 40: delimiters, filling, remarks.
        begins = packet.is_keyframe and bool(types & {19, 20})
        return Kind(begins, may_go=types <= {*pictures, 35, 38, 39, 40})

    return kind


def _length_bytes(extradata: bytes, place: int) -> int | None:
    """Returns how many bytes state the length of a unit (NAL), 0 if units begin with 0 0 1.

    None if the header is of no known kind.
    """
    if not extradata or extradata.startswith((b"\0\0\1", b"\0\0\0\1")):
        return 0
    if extradata[0] == 1 and len(extradata) > place:
        return (extradata[place] & 3) + 1
    return None


def _units(packet: av.Packet, length: int | None) -> Iterator[int]:
    """Gives the first byte of each unit of a packet; 255, which is no type, for what is none.

    Args:
        packet: one picture of H.264 or HEVC
        length: bytes that state the length of a unit; 0 if units begin with 0 0 1
    """
    content = memoryview(packet)
    place = 0
    if length:
        while place + length < len(content):
            begin = place + length
            yield content[begin]
            place = begin + int.from_bytes(content[place:begin], "big")
        if place != len(content):
            yield 255
        return
    content = bytes(content)
    if length is None or not content.startswith((b"\0\0\1", b"\0\0\0\1")):
        yield 255
        return
    while (place := content.find(b"\0\0\1", place) + 3) >= 3 and place < len(content):
        yield content[place]


def _vp8(extradata: bytes) -> Callable[[av.Packet], Kind]:
    def kind(packet: av.Packet) -> Kind:
        first = memoryview(packet)[0] if packet.size else 1
        # The lowest bit: a difference from other pictures. The fifth: it is shown.
        is_shown = bool(first & 16)
        return Kind(packet.is_keyframe and is_shown and not first & 1, is_shown=is_shown)

    return kind


def _vp9(extradata: bytes) -> Callable[[av.Packet], Kind]:
    def kind(packet: av.Packet) -> Kind:
        first = memoryview(packet)[0] if packet.size else 255
        # From the highest bit: 1 0, two of the profile (3 has another order), repetition of an
        # earlier picture, difference from one.
        return Kind(packet.is_keyframe and first & 0b11001100 == 0b10000000 and first & 48 != 48)

    return kind


def _mjpeg(extradata: bytes) -> Callable[[av.Packet], Kind]:
    def kind(packet: av.Packet) -> Kind:
        content = bytes(packet)
        # With tables of its own for quantisation and for its codes.
        return Kind(b"\xff\xdb" in content and b"\xff\xc4" in content)

    return kind


CODECS = {"h264": _h264, "hevc": _hevc, "mjpeg": _mjpeg, "vp8": _vp8, "vp9": _vp9}
