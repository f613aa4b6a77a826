"""Films that the tests of several loaders share."""

import av
import numpy as np
import pytest

SECONDS = 4
RATE = 12


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """Bytes of films of four seconds.

    ``whole`` as usual, ``front`` with its index at the front, ``sound`` without pictures.
    """
    folder = tmp_path_factory.mktemp("films")
    return {
        "whole": encode_pictures(folder / "whole.mp4"),
        "front": encode_pictures(folder / "front.mp4", movflags="faststart"),
        "sound": encode_silence(folder / "sound.mp4"),
    }


def encode_pictures(path, **options):
    """Writes noise, which does not compress: a film of some length in bytes."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(SECONDS * RATE):
            picture = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def encode_silence(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()
