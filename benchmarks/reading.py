"""Film and sound: one frame a second at full size and 16 kHz mono, beside other readers.

Every way gives RGB arrays and 32-bit floats, with one thread. torchcodec, decord and OpenCV carry
FFmpeg; torchcodec's is linked as ``README.md`` says.
"""

import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from affectlib import media
from affectlib.paths import GOLDEN
from benchmarks.common import Comparison, Missing, Way, not_installed, peer

SECONDS = 12  # of a made film
RATE = 25  # frames per second
WIDTH = 640
HEIGHT = 360
SAMPLING_RATE = 44100
# Real clips, if the folder of reference files has them.
CLIPS = ("bikes.mp4", "mp_big_buck_bunny_0_30.webm")


class Part(NamedTuple):
    """What is read of a film."""

    name: str
    pictures: bool
    sound: bool

    @property
    def options(self) -> dict[str, bool]:
        """For the readers."""
        return {"pictures": self.pictures, "sound": self.sound}


PICTURES = Part("frames alone", True, False)
SOUND = Part("sound alone", False, True)
BOTH = Part("frames and sound", True, True)


def encode(path: Path, *, seconds: int, keyframe_every: int = 250) -> Path:
    """Writes a film of moving light with fine grain, H.264, with sound.

    Args:
        path: of the file
        seconds: of the film
        keyframe_every: frames from one keyframe to the next
    """
    rng = np.random.default_rng(0)
    frames = seconds * RATE
    grain = rng.integers(0, 24, (HEIGHT + 64, WIDTH + 64, 3), dtype=np.uint8)
    phase = np.linspace(0, 12, WIDTH + frames * 3)
    wave = (100 + 90 * np.sin(phase)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        # No keyframe but these: the encoder would add some where the light changes.
        options = {"preset": "veryfast", "g": str(keyframe_every), "sc_threshold": "0"}
        video = container.add_stream("libx264", rate=Fraction(RATE), options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLING_RATE, layout="stereo")
        for i in range(frames):
            x, y = rng.integers(0, 64, 2)
            light = wave[3 * i : 3 * i + WIDTH][None, :, None]
            image = light + grain[y : y + HEIGHT, x : x + WIDTH]
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        tone = 0.3 * np.sin(np.arange(seconds * SAMPLING_RATE) / 20).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
        frame.sample_rate = SAMPLING_RATE
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def read_by_hand(path: Path, *, pictures: bool = True, sound: bool = True) -> list[np.ndarray]:
    """The loop over PyAV's packets that one writes after its documentation."""
    found = []
    wanted = 0.0
    with av.open(str(path)) as container:
        streams = []
        if pictures:
            streams.append(container.streams.video[0])
            streams[0].codec_context.thread_count = 1
        if sound:
            streams.append(container.streams.audio[0])
        resampler = av.AudioResampler("flt", "mono", media.SAMPLING_RATE, 16000)
        for packet in container.demux(streams):
            for frame in packet.decode():
                if isinstance(frame, av.AudioFrame):
                    found += [block.to_ndarray()[0] for block in resampler.resample(frame)]
                elif frame.time >= wanted:
                    found.append(frame.to_ndarray(format="rgb24"))
                    wanted += 1
        if sound:
            found += [block.to_ndarray()[0] for block in resampler.resample(None)]
    return found


def seek_each(path: Path, seconds: int) -> list[np.ndarray]:
    """Frames by one seek each."""
    found = []
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        video.codec_context.thread_count = 1
        for second in range(seconds):
            container.seek(int(second / video.time_base), stream=video)
            for frame in container.decode(video):
                if frame.time >= second:
                    found.append(frame.to_ndarray(format="rgb24"))
                    break
    return found


def grab_and_retrieve(path: Path) -> list[np.ndarray]:
    """OpenCV decodes every frame and converts those that are wanted; it has no sound."""
    found = []
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    per_second = capture.get(cv2.CAP_PROP_FPS)
    number = 0
    while capture.grab():
        if number >= len(found) * per_second:
            _, image = capture.retrieve()
            found.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        number += 1
    return found


def with_torchcodec(path: Path, seconds: int, *, pictures: bool, sound: bool) -> list:
    """Its exact mode, which reads the index of the file first."""
    from torchcodec.decoders import AudioDecoder, VideoDecoder

    found = []
    if pictures:
        video = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
        begin = video.metadata.begin_stream_seconds
        found.append(video.get_frames_played_at([begin + n for n in range(seconds)]).data.numpy())
    if sound:
        audio = AudioDecoder(str(path), sample_rate=media.SAMPLING_RATE, num_channels=1)
        found.append(audio.get_all_samples().data.numpy())
    return found


def with_decord(path: Path, seconds: int, *, pictures: bool, sound: bool) -> list:
    """Frames by number, as it asks for them."""
    import decord

    found = []
    if pictures:
        video = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        numbers = [int(n * video.get_avg_fps()) for n in range(seconds)]
        found.append(video.get_batch([n for n in numbers if n < len(video)]).asnumpy())
    if sound:
        audio = decord.AudioReader(str(path), sample_rate=media.SAMPLING_RATE, mono=True)
        found.append(audio[:].asnumpy())
    return found


def ours(path: Path, *, pictures: bool, sound: bool) -> media.Clip:
    """The library's reader."""
    return media.read(path, rate=1.0 if pictures else None, sound=sound)


def others(path: Path, seconds: int, *, pictures: bool, sound: bool) -> list[Way | Missing]:
    """Readers of the same frames and sound."""
    parts = {"pictures": pictures, "sound": sound}
    found = [Way("PyAV by hand", partial(read_by_hand, path, **parts))]
    readers: dict[str, Callable] = {"torchcodec": with_torchcodec, "decord": with_decord}
    for name, reader in readers.items():
        if peer(name) is None or (name == "torchcodec" and peer("torchcodec.decoders") is None):
            found.append(not_installed(name))
        else:
            found.append(Way(name, partial(reader, path, seconds, **parts)))
    return found


def films(folder: Path) -> Iterator[tuple[str, Path]]:
    """Two made films, and real clips."""
    for every in (10, 1):
        path = encode(folder / f"{every}.mp4", seconds=SECONDS, keyframe_every=every * RATE)
        yield f"made, {SECONDS} s, a keyframe every {every} s", path
    for name in CLIPS:
        if (GOLDEN / "clips" / name).is_file():
            yield f"real clip {name}", GOLDEN / "clips" / name


def comparisons() -> Iterator[Comparison]:
    """Frames and sound together, each alone, and a seek per frame."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, path in films(Path(folder)):
            about = media.probe(path)
            seconds = int(about.seconds)
            parts = [PICTURES, SOUND, BOTH] if about.sampling_rate is not None else [PICTURES]
            for part in parts:
                references = others(path, seconds, **part.options)
                if part is PICTURES:
                    references += [
                        Way("OpenCV, grab and retrieve", partial(grab_and_retrieve, path)),
                        Way("PyAV, a seek per frame", partial(seek_each, path, seconds)),
                    ]
                yield Comparison(
                    f"{part.name}: {name}",
                    Way("media.read", partial(ours, path, **part.options)),
                    references,
                    rounds=3,
                )
