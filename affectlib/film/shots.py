"""Shots, by PySceneDetect, and scenes, by time-constrained clustering of the shots.

References:
    Castellano, PySceneDetect, https://www.scenedetect.com: the detectors of cuts and of fades.
    Yeung, Yeo and Liu (1998), Segmentation of video by clustering and graph analysis,
    Computer Vision and Image Understanding 71(1): time-constrained clustering, sections 3 and 4.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

import numpy as np
import pandas as pd

SIDE = 256  # of the frames that are compared, in pixels: PySceneDetect's own choice
# In seconds. A shot may be shorter, but then it is joined with its neighbour. Each shot has a
# frame of those that are looked at twice a second.
SHORTEST = 0.5
LEAST = 8.0  # mean difference of the light of two frames that can be a cut, of 255
ALIKE = 0.5  # distance of the colours of two shots below which they may be one view
WINDOW = 60.0  # seconds after which a shot that looks alike counts as another view
BINS = (8, 4, 4)  # of the histogram of colours: hue, saturation, value


class _Fade(NamedTuple):
    """A fade to black and back, by the numbers of frames: begin and end of the black, and middle"""

    out: int
    middle: int
    back: int


class ShotFinder:
    """Finds where shots begin, in frames that come one by one.

    Cuts are found by PySceneDetect's ``AdaptiveDetector``: a frame differs from the one before it
    more than three times as much as the frames around it do. A fixed limit, as ``ContentDetector``
    has it, takes fast motion for cuts. A fade through black is found by ``ThresholdDetector``; the
    new shot begins in the middle of the black.

    Settings are PySceneDetect's own, but for three. The shortest shot is half a second: its 15
    frames are another time in every film. Frames are compared by their light alone, not by hue and
    saturation: these jump in pale and dark pixels, at the end of a fade and where an encoder writes
    a key frame. In the first 30 s of Big Buck Bunny that gave two cuts that nobody sees, beside the
    three that are there. With light alone, a smaller difference is enough for a cut, 8 of 255
    instead of 15: cuts within one dark room differ by no more. At 4, Big Buck Bunny has false ones.

    Not found: slow dissolves from one picture into another, wipes, a cut within half a second after
    another one, one in the last two frames, and one between pictures whose pixels differ by less
    than that in light. Found though it is none: a flash of one frame.

    Args:
        frame_rate: frames per second, roughly: the shortest shot is counted in frames
    """

    def __init__(self, frame_rate: float):
        # Imported here: it takes a moment, and a film without picture has no shots.
        from scenedetect import AdaptiveDetector, ThresholdDetector

        shortest = max(1, round(SHORTEST * frame_rate))
        self.frame_rate = frame_rate
        self.cut_detector = AdaptiveDetector(
            min_scene_len=shortest, luma_only=True, min_content_val=LEAST
        )
        self.fade_detector = ThresholdDetector(min_scene_len=shortest)
        self.times = array("d")
        self.cuts: list[int] = []
        self.fades: list[_Fade] = []

    def take(self, time: float, image: np.ndarray) -> None:
        """Looks at the next frame.

        Args:
            time: in seconds
            image: RGB, all of one size

        Shape:
            image ``(height, width, 3)``, uint8
        """
        import cv2
        from scenedetect import FrameTimecode

        # Threads inside one small frame take longer than they save.
        cv2.setNumThreads(1)
        number = len(self.times)
        self.times.append(time)
        stamp = FrameTimecode(number, self.frame_rate)
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        for cut in self.cut_detector.process_frame(stamp, image):
            self.cuts.append(cut.frame_num)
        # Read before the detector writes the end of the fade there.
        out = self.fade_detector.last_fade["frame"]
        for cut in self.fade_detector.process_frame(stamp, image):
            self.fades.append(_Fade(out.frame_num, cut.frame_num, number))

    def starts(self) -> list[float]:
        """Where the shots begin, in seconds, the first at 0; empty if no frame came."""
        if not self.times:
            return []
        frames = {0, *self.cuts}
        for fade in self.fades:
            # A film that begins in black has not faded out. A cut to black or from black was found
            # as a cut.
            cut_inside = any(fade.out - 1 <= cut <= fade.back + 1 for cut in self.cuts)
            if fade.out > 0 and not cut_inside:
                frames.add(fade.middle)
        times = [self.times[number] for number in sorted(frames)]
        return [0.0, *times[1:]]


def colours(image: np.ndarray) -> np.ndarray:
    """Histogram of the colours of a frame, by hue, saturation and value; its bins add up to 1.

    Args:
        image: RGB

    Shape:
        image ``(height, width, 3)``, uint8; result ``(128,)``
    """
    import cv2

    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    # OpenCV's hues of bytes end at 180.
    ranges = [0, 180, 0, 256, 0, 256]
    histogram = cv2.calcHist([hsv], [0, 1, 2], None, list(BINS), ranges).ravel()
    return histogram / histogram.sum()


def shot_table(
    starts: list[float], seconds: float, times: np.ndarray, histograms: np.ndarray
) -> pd.DataFrame:
    """Shots with their scenes.

    Args:
        starts: of the shots, in seconds
        seconds: duration of the film
        times: of some frames, in seconds
        histograms: of the colours of these frames, see :func:`colours`

    Returns:
        a row per shot, counted from 1: ``start`` and ``end`` in seconds, ``scene``, counted from 1

    Shape:
        times ``(frames,)``; histograms ``(frames, 128)``
    """
    index = pd.RangeIndex(1, len(starts) + 1, name="shot")
    ends = [*starts[1:], seconds][: len(starts)]
    means = []
    for start, end in zip(starts, ends, strict=True):
        inside = (times >= start) & (times < end)
        if not inside.any():
            # A last shot of a moment: the nearest frame stands for it.
            inside = np.abs(times - start) == np.abs(times - start).min()
        means.append(histograms[inside].mean(axis=0))
    scenes = find_scenes(starts, ends, np.array(means))
    return pd.DataFrame({"start": starts, "end": ends, "scene": scenes}, index=index)


def find_scenes(starts: list[float], ends: list[float], histograms: np.ndarray) -> list[int]:
    """Groups shots to scenes: a scene goes on as long as one of its views comes back.

    Yeung, Yeo and Liu's time-constrained clustering. Shots are one view if the colours of each two
    of them differ by less than ``ALIKE`` (half the sum of absolute differences of the histograms)
    and no more than a minute lies between them: clusters of complete linkage. A new scene begins
    where no view of the shots before is seen again.

    So a dialogue between two views is one scene. What colours do not tell is not seen: two places
    in the same light may become one scene, and a montage of pictures that are all different becomes
    as many scenes as it has shots. Read the scenes as groups of shots, not as a scholar's division.

    Args:
        starts: of the shots, in seconds
        ends: of the shots, in seconds
        histograms: mean colours of each shot, see :func:`colours`

    Returns:
        number of the scene of each shot, from 1

    Shape:
        histograms ``(shots, 128)``
    """
    if len(starts) < 2:
        return [1] * len(starts)
    from scipy.spatial.distance import pdist, squareform
    from sklearn.cluster import AgglomerativeClustering

    distances = squareform(pdist(histograms, "cityblock")) / 2  # (shots, shots), in [0, 1]
    between = np.subtract.outer(np.array(starts), np.array(ends))  # later start, earlier end
    too_far = np.maximum(between, between.T) > WINDOW
    distances[too_far] = 2.0  # more than any distance, so that they never meet in a cluster
    clustering = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="complete", distance_threshold=ALIKE
    )
    views = clustering.fit_predict(distances)
    last_shot_of = {view: shot for shot, view in enumerate(views)}
    scenes = []
    scene = 1
    # The last shot that shows a view of the scene so far.
    reach = 0
    for shot, view in enumerate(views):
        if shot > reach:
            scene += 1
        reach = max(reach, last_shot_of[view])
        scenes.append(scene)
    return scenes
