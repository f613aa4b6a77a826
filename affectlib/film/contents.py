"""What is in a film: shots, faces, loudness, tempo, light, colour and motion, segment by segment.

No model of emotion takes part. The film is read once, and its sound a second time for the loudness,
which needs all channels. No more than one segment of sound and a few frames are in memory at once.

References:
    Dalal and Triggs (2005), Histograms of oriented gradients for human detection: the faces.
    Hasler and Suesstrunk (2003), Measuring colourfulness in natural images.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib import media
from affectlib.features import audio, faces, motion, visual
from affectlib.features.detection import detect
from affectlib.film.base import Contents
from affectlib.film.loudness import loudness
from affectlib.film.shots import SIDE, ShotFinder, colours, shot_table
from affectlib.media import SAMPLING_RATE, Media, Picture, Sound
from affectlib.progress import progress_bar

LOOKS = 2.0  # frames per second whose light, colour and motion are described
FACE_LOOKS = 1.0  # frames per second that are searched for faces
USUAL_RATE = 25.0  # frames per second of a film that does not say
MOST_FRAMES = 60.0  # per second that are compared for shots
GREY = 0.03  # colourfulness below which a picture has no hue: encoders leave a little colour
SHORTEST_SOUND = 0.05  # in seconds: less says nothing, and comes from rounded times
HUES = tuple(name for name in visual.FRAME_NAMES if name.startswith("hue_") and name[4:].isdigit())
FACE_COLUMNS = ("time", "left", "top", "right", "bottom", "score", *faces.STATISTICS)


def describe(
    path: Path | str,
    starts: Sequence[float],
    seconds: float | Sequence[float],
    *,
    progress: bool | None = None,
) -> Contents:
    """Describes a film without any model of emotion.

    Columns of ``segments``, nan where a segment has no sound or no picture:

    - ``start`` and ``end``, in seconds
    - ``loudness LUFS``: integrated loudness (EBU R 128), -70 in silence
    - ``tempo BPM`` and ``tempo salience``: beats per minute, and how clear the pulse is, at most 1;
      nan without a pulse and below 1.5 s. Periods are whole steps of 32 ms: near 120 beats per
      minute the next tempo is 4 % away
    - ``brightness``: mean CIE lightness, from 0 (black) to 1 (white); ``contrast``: its standard
      deviation within a frame
    - ``colourfulness``: Hasler and Suesstrunk's, of values in [0, 1]: 0 is grey
    - ``hue degrees``: the most frequent of twelve hues (0 red, 60 yellow, 120 green, 240 blue),
      weighted by how much colour a pixel has; nan in a grey picture
    - ``saturation``: mean, in [0, 1]; it says little of a picture that is nearly black
    - ``motion widths/s``: mean speed of the optical flow, in frame widths per second; pairs of
      frames on both sides of a cut are left out
    - ``faces``: mean number of faces in a frame; ``share with a face``: of the frames
    - ``cuts per minute``: from the shots that begin in the segment; the first one of the film does
      not count

    Light, colour and motion come from two frames per second, faces from one. The faces are those
    that dlib's detector of frontal faces finds: it misses turned and small ones, so look at
    :func:`affectlib.film.pictures.plot_faces`.

    Columns of ``faces`` beside time, box and score are image statistics of regions of the face, as
    :class:`affectlib.features.faces.FaceLook` has them: for example ``mouth_curve``, the bend of
    the dark lines about the mouth, or ``brows_height``. They move with what action units move, but
    **they are not action units of FACS**: nobody has coded them, and light, pose, beard and
    glasses move them too. A box may reach beyond the frame.

    Args:
        path: of the film
        starts: of the segments, in seconds, increasing
        seconds: how long a segment lasts, one number or one for each; a segment that would last
            longer than the film ends with it
        progress: show a bar; None shows it in an open notebook only

    Raises:
        NotFoundError, FileFormatError: see :func:`affectlib.media.stream`
        ValueError: if the starts do not increase, or lie outside the film
    """
    properties = media.probe(path)
    starts = np.asarray(starts, dtype=float)
    ends = np.minimum(starts + np.asarray(seconds, dtype=float), properties.seconds)
    if (np.diff(starts) <= 0).any() or (starts < 0).any() or (ends <= starts).any():
        expected = f"expected starts that increase, from 0 to {properties.seconds:g} s"
        raise ValueError(f"{expected}, found {starts.tolist()}")
    sounds = _Sounds(starts, ends)
    pictures = _Pictures(properties)
    bar = progress_bar(total=round(properties.seconds), unit="s of film", progress=progress)
    with bar:
        for event in media.stream(path, pictures.requests()):
            if isinstance(event, Sound):
                sounds.take(event)
                continue
            pictures.take(event)
            bar.update(int(event.time) - bar.n)
        sounds.rest()
        bar.update(bar.total - bar.n)
    segments = pd.DataFrame({"start": starts, "end": ends})
    segments["loudness LUFS"] = loudness(path, starts, ends)
    segments[["tempo BPM", "tempo salience"]] = np.reshape(sounds.rows, (-1, 2))
    shots = pictures.shots()
    found = pictures.faces()
    segments = segments.join(pictures.segments(starts, ends, shots, found))
    return Contents(segments, shots, found, tuple(pictures.face_times))


class _Sounds:
    """Tempo of each segment, from sound that comes in blocks.

    Args:
        starts, ends: of the segments, in seconds
    """

    def __init__(self, starts: np.ndarray, ends: np.ndarray):
        self.starts = np.round(starts * SAMPLING_RATE).astype(int)
        self.ends = np.round(ends * SAMPLING_RATE).astype(int)
        # Tempo and its salience of each segment that is complete.
        self.rows: list[tuple[float, float]] = []
        # Sound that is needed still, and the number of its first sample.
        self.blocks: list[np.ndarray] = []
        self.first = 0

    def take(self, sound: Sound) -> None:
        """Keeps a block, and describes the segments that it completes."""
        heard = sound.first + len(sound.samples)
        if len(self.rows) == len(self.ends) or heard <= self.starts[len(self.rows)]:
            self.blocks = []
            return
        if not self.blocks:
            self.first = sound.first
        self.blocks.append(sound.samples)
        while len(self.rows) < len(self.ends) and heard >= self.ends[len(self.rows)]:
            self._describe()

    def rest(self) -> None:
        """Describes the segments whose sound ends early, or is none."""
        while len(self.rows) < len(self.ends):
            self._describe()

    def _describe(self) -> None:
        """Describes the next segment, and drops what the one after it does not need."""
        row = len(self.rows)
        held = np.concatenate([np.zeros(0, np.float32), *self.blocks])
        begin = max(0, self.starts[row] - self.first)
        end = max(0, self.ends[row] - self.first)
        self.rows.append(_tempo(held[begin:end]))
        if row + 1 < len(self.starts):
            unneeded = min(len(held), max(0, self.starts[row + 1] - self.first))
            held = held[unneeded:]
            self.first += unneeded
        self.blocks = [held] if len(held) else []


def _tempo(signal: np.ndarray) -> tuple[float, float]:
    """Beats per minute and how clear the pulse is, both nan where there is none.

    Shape:
        signal ``(samples,)``
    """
    if len(signal) < SHORTEST_SOUND * SAMPLING_RATE:
        return float("nan"), float("nan")
    values = dict(zip(audio.SOUND_NAMES, audio.sound_vector(signal), strict=True))
    # A pulse of exactly 0: the descriptor found none.
    if values["pulse"] == 0:
        return float("nan"), float("nan")
    return audio.USUAL * 2 ** values["tempo"], values["pulse"]


class _Pictures:
    """What the frames of a film show, from frames that come one by one.

    Args:
        properties: of the film
    """

    def __init__(self, properties: Media):
        self.properties = properties
        rate = properties.frame_rate or USUAL_RATE
        self.rate = min(rate, MOST_FRAMES)
        self.looks: set[float] = set()
        self.finder: ShotFinder | None = None
        self.image: np.ndarray | None = None
        # Of each look: time, seconds to the following frame, motion, light and colour, histogram.
        self.times: list[float] = []
        self.gaps: list[float] = []
        self.motion: list[float] = []
        self.statistics: list[np.ndarray] = []
        self.histograms: list[np.ndarray] = []
        self.face_times: list[float] = []
        self.face_rows: list[list[float]] = []

    def requests(self) -> list[tuple[float, dict[int, bool]]]:
        """The frames that are wanted, as :func:`affectlib.media.stream` takes them."""
        if self.properties.width is None:
            return []
        seconds = self.properties.seconds
        self.finder = ShotFinder(self.rate)
        looks = media.grid(0.0, seconds, LOOKS)
        self.looks = set(looks)
        # Each table of sizes is one object for all its times: a long film has 300,000 frames.
        alone = {SIDE: False}
        in_pairs = {SIDE: True}
        with_faces = {SIDE: True, faces.SIDE: False}
        sizes = {time: alone for time in media.grid(0.0, seconds, self.rate)}
        sizes |= {time: in_pairs for time in looks}
        sizes |= {time: with_faces for time in media.grid(0.0, seconds, FACE_LOOKS)}
        return sorted(sizes.items(), key=itemgetter(0))

    def take(self, picture: Picture) -> None:
        """Looks at one picture."""
        if picture.side == faces.SIDE:
            self._find_faces(picture)
            return
        # A frame that is shown at several of the wanted times comes as one and the same array.
        if picture.image is not self.image:
            self.finder.take(picture.time, picture.image)
            self.image = picture.image
        if picture.time in self.looks:
            self._look(picture)

    def _look(self, picture: Picture) -> None:
        self.times.append(picture.time)
        self.gaps.append(picture.gap)
        speed = float("nan")
        if picture.following is not None:
            values = motion.motion_vector([picture])
            speed = values[motion.MOTION_NAMES.index("flow_mean_mean")]
        self.motion.append(speed)
        self.statistics.append(visual.frame_statistics(picture.image))
        self.histograms.append(colours(picture.image))

    def _find_faces(self, picture: Picture) -> None:
        self.face_times.append(picture.time)
        scale = self.properties.width / picture.image.shape[1]
        for box in detect(picture.image):
            left, top, width, height = box[:4] * scale
            look = faces.crop_statistics(faces.crop(picture.image, box))
            place = [left, top, left + width, top + height]
            self.face_rows.append([picture.time, *place, box[4], *look.statistics])

    def shots(self) -> pd.DataFrame:
        """A row per shot; none without picture."""
        starts = self.finder.starts() if self.finder else []
        histograms = np.array(self.histograms)
        return shot_table(starts, self.properties.seconds, np.array(self.times), histograms)

    def faces(self) -> pd.DataFrame:
        """A row per face."""
        return pd.DataFrame(self.face_rows, columns=list(FACE_COLUMNS), dtype=float)

    def segments(
        self, starts: np.ndarray, ends: np.ndarray, shots: pd.DataFrame, found: pd.DataFrame
    ) -> pd.DataFrame:
        """A row per segment: light, colour, motion, faces and cuts.

        Args:
            starts, ends: of the segments, in seconds
            shots: the result of :meth:`shots`
            found: the result of :meth:`faces`

        Shape:
            starts and ends ``(segments,)``
        """
        statistics = np.reshape(self.statistics, (-1, len(visual.FRAME_NAMES)))
        looks = pd.DataFrame(statistics, columns=list(visual.FRAME_NAMES), index=self.times)
        looks["motion"] = self.motion
        cuts = shots["start"].to_numpy()[1:]
        for time, gap in zip(self.times, self.gaps, strict=True):
            # The following frame belongs to another shot.
            if ((cuts > time) & (cuts <= time + gap)).any():
                looks.loc[time, "motion"] = float("nan")
        counts = pd.Series(0, index=self.face_times, dtype=float)
        counts = counts.add(found["time"].value_counts(), fill_value=0)
        rows = []
        for start, end in zip(starts, ends, strict=True):
            row = _light_and_motion(_between(looks, start, end))
            searched = _between(counts, start, end)
            row["faces"] = searched.mean()
            row["share with a face"] = (searched > 0).mean() if len(searched) else float("nan")
            row["cuts per minute"] = float("nan")
            if self.properties.width is not None:
                inside = (cuts >= start) & (cuts < end)
                row["cuts per minute"] = 60 * inside.sum() / (end - start)
            rows.append(row)
        return pd.DataFrame(rows)


def _between(table: pd.DataFrame | pd.Series, start: float, end: float):
    """The rows whose index, a time, lies in a segment."""
    # Times are rounded to a millionth of a second, and starts need not be.
    times = np.asarray(table.index, dtype=float)
    return table[(times >= start - 1e-6) & (times < end - 1e-6)]


def _light_and_motion(looks: pd.DataFrame) -> dict[str, float]:
    """Means over the looks of one segment, nan where there are none."""
    means = looks.mean()
    hue = float("nan")
    if means["colourfulness"] >= GREY:
        # Names end in degrees: "hue_30".
        hue = float(means[list(HUES)].idxmax().removeprefix("hue_"))
    return {
        "brightness": means["light"],
        "contrast": means["light_sd"],
        "colourfulness": means["colourfulness"],
        "hue degrees": hue,
        "saturation": means["saturation"],
        "motion widths/s": means["motion"],
    }
