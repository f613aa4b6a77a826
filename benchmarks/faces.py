"""Face detection at 320 x 180: frames per second of processor time, and which faces of simulated videos are found.

Run with ``python benchmarks/faces.py``; the target is 60. By the longer side of the frame that is searched: a larger
one finds smaller faces and takes longer, as the square of it.
"""

import affectlib  # noqa: F401, I001  one thread, before numpy is loaded

import tempfile
import time

import numpy as np

from affectlib import media
from affectlib.features import faces
from affectlib.simulate import make_heiv
from affectlib.simulate.video_emotion import read_truth

KINDS = ("frontal", "turned", "covered", "small", "none")


def frames(folder):
    """Frames of simulated videos at every half second, and what each shows of the main person."""
    corpus, truth = make_heiv(folder, n_clips=42), read_truth(folder)
    images, kinds = [], []
    for clip, path in zip(corpus.clips["clip"], corpus.clips["path"], strict=True):
        about = truth[truth["clip"] == clip]
        pictures = media.read(path, rate=2.0, sound=False).pictures
        images += [picture.image for picture in pictures]
        kinds += about["face"].tolist()[:len(pictures)]
    return images, np.array(kinds)


def fastest(work, repeats=3):
    """Processor seconds of the fastest of some runs, and the result."""
    best = np.inf
    for _ in range(repeats):
        clock = time.process_time()
        result = work()
        best = min(best, time.process_time() - clock)
    return best, result


def main():
    with tempfile.TemporaryDirectory() as folder:
        images, kinds = frames(folder)
    print(f"{len(images)} frames of {images[0].shape[1]} x {images[0].shape[0]}, one thread")
    print(f"{'searched at':>11} {'frames/s':>9} " + " ".join(f"{kind:>8}" for kind in KINDS) + "   share with a face")
    seconds = {}
    for side in (320, 400, 480, 640):
        seconds[side], found = fastest(lambda side=side: [len(faces.detect(image, side=side)) for image in images])
        shares = " ".join(f"{np.mean(np.array(found)[kinds == kind] > 0):8.2f}" for kind in KINDS)
        print(f"{side:11d} {len(images) / seconds[side]:9.0f} {shares}")
    print(f"ratio 640 to {faces.SIDE}: {seconds[640] / seconds[faces.SIDE]:.2f}")
    pictures = [[media.Picture(0.0, image)] for image in images]
    clock, _ = fastest(lambda: [faces.people_vector(one) for one in pictures], repeats=1)
    print(f"detection and description of the two largest (people): {len(images) / clock:.0f} frames/s")


if __name__ == "__main__":
    main()
