"""One pass over a film for all extractors of AttendAffectNet, against one pass for each; and decoding ahead.

The extractors look at what the paper's look at (frames, frame pairs, their size and rate, sound) and do nothing with
it: what is left is decoding, the part that one pass shares. The alternatives: a pass for each that decodes no more than
that extractor needs (three of five need pictures and the sound costs little, so that the ratio cannot pass 3), and a
pass for each that decodes the film, picture and sound. The second table puts a network behind the frames, and
lets a thread decode the next batch meanwhile, or not; with a network on the processor itself both want the same cores.

    python benchmarks/extract.py
"""

import affectlib  # noqa: F401, I001  one thread, before numpy is loaded

import sys
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from affectlib.features import Extractor, descriptors, extract, film
from affectlib.features.deep import pretrained

SECONDS, RATE, SIZE, TIMES = 30, 25, (640, 360), 3


def encode(path):
    """A film of moving light with fine grain, H.264 at 25 frames per second, with sound."""
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 24, (SIZE[1] + 64, SIZE[0] + 64, 3), dtype=np.uint8)
    wave = (100 + 90 * np.sin(np.linspace(0, 12, SIZE[0] + SECONDS * RATE * 3))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream(
            "libx264", rate=Fraction(RATE), options={"preset": "veryfast", "g": "250"}
        )
        audio = container.add_stream("aac", rate=44100, layout="stereo")
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        for i in range(SECONDS * RATE):
            x, y = rng.integers(0, 64, 2)
            image = (
                wave[3 * i : 3 * i + SIZE[0]][None, :, None]
                + grain[y : y + SIZE[1], x : x + SIZE[0]]
            )
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        tone = 0.3 * np.sin(np.arange(SECONDS * 44100) / 20).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def nothing(given):
    return [len(given)]


def looks_only(extractors):
    """The same extractors with nothing behind what they look at."""
    return [replace(e, names=("n",), vector=nothing, many=None, options=()) for e in extractors]


SOUND, PICTURE = (
    Extractor(name, 1, ("n",), nothing, **looks)
    for name, looks in (("any sound", {"sound": True}), ("any picture", {"rate": 0.2}))
)


def seconds_of(corpus, extractors, clock=time.process_time):
    """Seconds (of the processor, so that neighbours do not count) of the fastest of a few extractions."""
    taken = []
    for _ in range(TIMES):
        begun = clock()
        extract(corpus, extractors, jobs=1, progress=False)
        taken.append(clock() - begun)
    return min(taken)


def wait(clips, pause=0.0):
    """A network elsewhere, on a graphics card: this process waits."""
    time.sleep(pause * sum(map(len, clips)))
    return [[len(pictures)] for pictures in clips]


def main():
    with tempfile.TemporaryDirectory() as folder:
        corpus = film(encode(Path(folder) / "film.mp4"), seconds=5.0)
        print(
            f"{SECONDS} s of {SIZE[0]} x {SIZE[1]} at {RATE} frames per second, one core: seconds of film per second"
        )
        print(
            f"{'extractors':<30}{'one pass':>9}{'each, own':>11}{'ratio':>7}{'each, all':>11}{'ratio':>7}   alone"
        )
        sets = {
            "attend_affect, 25 per second": pretrained("attend_affect", weights="random"),
            "attend_affect, 2 per second": pretrained("attend_affect", weights="random", rate=2.0),
            "descriptors": descriptors(),
        }
        for name, extractors in sets.items():
            looks = looks_only(extractors)
            together, alone = seconds_of(corpus, looks), [seconds_of(corpus, [e]) for e in looks]
            whole = sum(seconds_of(corpus, [e, PICTURE if e.sound else SOUND]) for e in looks)
            print(
                f"{name:<30}{SECONDS / together:9.0f}{SECONDS / sum(alone):11.0f}{sum(alone) / together:7.1f}"
                f"{SECONDS / whole:11.0f}{whole / together:7.1f}   "
                + ", ".join(
                    f"{e.name.removesuffix('_random')} {SECONDS / s:.0f}"
                    for e, s in zip(extractors, alone, strict=True)
                ),
                flush=True,
            )
        module = sys.modules["affectlib.features.work"]
        module.BATCH, ahead = 2**22, module._ahead
        print(f"\n{'a network elsewhere, per frame':<32} {'ahead':>9} {'not':>6} {'ratio':>6}")
        for pause in (0.001, 0.002, 0.004):
            e = Extractor(
                "wait", 1, ("n",), nothing, rate=25.0, options=(("pause", pause),), many=wait
            )
            taken = []
            for module._ahead in (ahead, iter):
                taken.append(seconds_of(corpus, [e], time.perf_counter))
            print(
                f"{f'{pause * 1000:.0f} ms':<32} {SECONDS / taken[0]:9.0f} {SECONDS / taken[1]:6.0f} "
                f"{taken[1] / taken[0]:6.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
