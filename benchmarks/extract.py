"""One pass over a film for all extractors of AttendAffectNet, against one pass for each.

The extractors read the frames, frame pairs and sound that the paper's read,
at their size and rate, and compute nothing from them:
only decoding is left, the part that one pass shares.
There are two alternatives:
a pass for each extractor that decodes no more than it needs
(three of five need pictures and the sound costs little, so the ratio cannot pass 3),
and a pass for each that decodes the film, picture and sound.

The second table puts a network behind the frames.
A thread decodes the next batch meanwhile, or not.
With a network on the processor itself, both want the same cores.

    python benchmarks/extract.py
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from affectlib.corpora import Corpus
from affectlib.features import Extractor, descriptors, extract, film, work
from affectlib.features.papers import pretrained

SECONDS = 30  # of the film
RATE = 25  # frames per second
WIDTH = 640
HEIGHT = 360
SAMPLING_RATE = 44100
TIMES = 3  # each extraction is timed so often; the fastest counts


def encode(path: Path) -> Path:
    """A film of moving light with fine grain, H.264, with sound."""
    rng = np.random.default_rng(0)
    frames = SECONDS * RATE
    grain = rng.integers(0, 24, (HEIGHT + 64, WIDTH + 64, 3), dtype=np.uint8)
    phase = np.linspace(0, 12, WIDTH + frames * 3)
    wave = (100 + 90 * np.sin(phase)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "g": "250"}
        video = container.add_stream("libx264", rate=Fraction(RATE), options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLING_RATE, layout="stereo")
        for i in range(frames):
            x, y = rng.integers(0, 64, 2)
            light = wave[3 * i : 3 * i + WIDTH][None, :, None]
            image = light + grain[y : y + HEIGHT, x : x + WIDTH]
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        tone = 0.3 * np.sin(np.arange(SECONDS * SAMPLING_RATE) / 20).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
        frame.sample_rate = SAMPLING_RATE
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def count(pictures_or_samples: Sequence) -> list[int]:
    """Computes nothing from its input."""
    return [len(pictures_or_samples)]


ANY_SOUND = Extractor("any sound", 1, ("n",), count, sound=True)
ANY_PICTURE = Extractor("any picture", 1, ("n",), count, rate=0.2)


def without_computation(extractors: Sequence[Extractor]) -> list[Extractor]:
    """The same extractors, which only read the film."""
    return [replace(e, names=("n",), vector=count, many=None, options=()) for e in extractors]


def fastest(
    corpus: Corpus, extractors: Sequence[Extractor], clock: Callable = time.process_time
) -> float:
    """Seconds of the fastest of a few extractions.

    The usual clock counts the time of this process on the processor,
    so that other work on the machine does not matter.
    """
    times = []
    for _ in range(TIMES):
        begin = clock()
        extract(corpus, extractors, jobs=1, progress=False)
        times.append(clock() - begin)
    return min(times)


def compare_passes(name: str, corpus: Corpus, extractors: Sequence[Extractor]) -> None:
    """Prints one row of the first table, in seconds of film per second."""
    readers = without_computation(extractors)
    together = fastest(corpus, readers)
    alone = [fastest(corpus, [reader]) for reader in readers]
    complete = 0.0
    for reader in readers:
        other = ANY_PICTURE if reader.sound else ANY_SOUND
        complete += fastest(corpus, [reader, other])
    each = sum(alone)
    names = [extractor.name.removesuffix("_random") for extractor in extractors]
    speeds = [f"{name} {SECONDS / time:.0f}" for name, time in zip(names, alone, strict=True)]
    print(
        f"{name:<30}{SECONDS / together:9.0f}"
        f"{SECONDS / each:11.0f}{each / together:7.1f}"
        f"{SECONDS / complete:11.0f}{complete / together:7.1f}   {', '.join(speeds)}",
        flush=True,
    )


def wait(clips: Sequence, pause: float = 0.0) -> list[list[int]]:
    """A network elsewhere, on a graphics card: this process waits."""
    time.sleep(pause * sum(len(pictures) for pictures in clips))
    return [[len(pictures)] for pictures in clips]


def compare_decoding_ahead(corpus: Corpus, pause: float) -> None:
    """Prints one row of the second table, in seconds of film per second.

    Args:
        corpus: the film
        pause: seconds that the network takes for a frame
    """
    options = (("pause", pause),)
    extractor = Extractor("wait", 1, ("n",), count, rate=RATE, options=options, many=wait)
    ahead = work._ahead
    with_thread = fastest(corpus, [extractor], time.perf_counter)
    work._ahead = iter
    without = fastest(corpus, [extractor], time.perf_counter)
    work._ahead = ahead
    milliseconds = f"{pause * 1000:.0f} ms"
    print(
        f"{milliseconds:<32} {SECONDS / with_thread:9.0f} {SECONDS / without:6.0f} "
        f"{without / with_thread:6.1f}",
        flush=True,
    )


def main() -> None:
    sets = {
        "attend_affect, 25 per second": pretrained("attend_affect", weights="random"),
        "attend_affect, 2 per second": pretrained("attend_affect", weights="random", rate=2.0),
        "descriptors": descriptors(),
    }
    with tempfile.TemporaryDirectory() as folder:
        corpus = film(encode(Path(folder) / "film.mp4"), seconds=5.0)
        print(f"{SECONDS} s of {WIDTH} x {HEIGHT} at {RATE} frames per second, one core")
        print("seconds of film per second")
        print(
            f"{'extractors':<30}{'one pass':>9}{'each, least':>11}{'ratio':>7}"
            f"{'each, all':>11}{'ratio':>7}   alone"
        )
        for name, extractors in sets.items():
            compare_passes(name, corpus, extractors)
        work.BATCH = 2**22  # small enough that there is a next batch
        print(f"\n{'a network elsewhere, per frame':<32} {'ahead':>9} {'not':>6} {'ratio':>6}")
        for pause in (0.001, 0.002, 0.004):
            compare_decoding_ahead(corpus, pause)


if __name__ == "__main__":
    main()
