"""Figures of what is in a film: its shots, the faces that were found, and everything over time.

A function returns a new figure and saves nothing. No colour is needed to read
them: curves have axes of their own, and boxes are black and white.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import hsv_to_rgb
from matplotlib.patches import Rectangle

from affectlib import media
from affectlib.film.base import Contents
from affectlib.film.timecode import timecode
from affectlib.plots import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 320  # of the frames in a figure, in pixels
COLUMNS = 6  # of a contact sheet
FACE_COLUMNS = 4  # of the frames with faces, which are larger
# Light grey, for what lies behind the curves.
FAINT = "#b8b8b8"
# Upper ends of axes whose quantities have one.
TOPS = {"tempo BPM": 250.0, "brightness": 1.0, "saturation": 1.05}


def plot_shots(contents: Contents, path: Path | str, *, most: int = 24) -> Figure:
    """Contact sheet: the middle frame of each shot, with its number, its scene and its timecode.

    The timecode is that of the beginning of the shot. Neighbours whose frames look like one picture
    are a cut too many; a picture that fits badly to its shot is often a cut that was missed.

    Args:
        contents: of the film
        path: of the film
        most: number of frames at most; of more shots some are shown, evenly spread

    Raises:
        ValueError: if the film has no picture
        NotFoundError, FileFormatError: see :func:`affectlib.media.stream`
    """
    shots = contents.shots
    if shots.empty:
        raise ValueError("expected a film with a picture, this one has no shots")
    chosen = shots.iloc[_spread(len(shots), most)]
    middles = (chosen["start"] + chosen["end"]) / 2
    images = _frames(path, middles.tolist())
    frame_rate = media.probe(path).frame_rate
    axes, figure = _sheet(images, COLUMNS)
    for ax, image, (number, shot) in zip(axes, images, chosen.iterrows(), strict=True):
        ax.imshow(image)
        start = timecode(shot["start"], frame_rate)
        ax.set_title(f"shot {number}, scene {shot['scene']:.0f}\n{start}", fontsize=8)
    scenes = shots["scene"].nunique()
    title = f"{_count(len(shots), 'shot')}, {_count(scenes, 'scene')}"
    if len(chosen) < len(shots):
        title += f"; {len(chosen)} shots are shown"
    figure.suptitle(title)
    return figure


def plot_faces(contents: Contents, path: Path | str, *, most: int = 12) -> Figure:
    """Frames with the boxes of the faces that were found in them, to check the detector by eye.

    Two thirds are frames with a face, as far as there are so many: is there a face in each box?
    The others are frames without: did the detector miss one?

    Args:
        contents: of the film
        path: of the film
        most: number of frames at most, evenly spread over the film

    Raises:
        ValueError: if the film has no picture
        NotFoundError, FileFormatError: see :func:`affectlib.media.stream`
    """
    if not contents.face_times:
        raise ValueError("expected a film with a picture, no frame of this one was searched")
    times = np.array(contents.face_times)
    has_face = np.isin(times, contents.faces["time"])
    chosen = _spread_over_both(times[has_face], times[~has_face], most)
    images = _frames(path, chosen)
    properties = media.probe(path)
    axes, figure = _sheet(images, FACE_COLUMNS)
    for ax, image, time in zip(axes, images, chosen, strict=True):
        ax.imshow(image)
        scale = image.shape[1] / properties.width
        boxes = contents.faces[contents.faces["time"] == time]
        for box in boxes.itertuples():
            _draw_box(ax, box, scale)
        found = _count(len(boxes), "face") if len(boxes) else "no face found"
        ax.set_title(f"{timecode(time, properties.frame_rate)}\n{found}", fontsize=8)
    figure.suptitle(
        f"a face was found in {has_face.sum()} of {_count(len(times), 'frame')} that were searched"
    )
    return figure


def plot_contents(contents: Contents) -> Figure:
    """Loudness, tempo, light, colour, motion and faces over time; a grey line where a shot begins.

    A curve has a gap where the film has no sound, no picture or no pulse. What a film does not have
    at all is said in its place. Dots of the tempo are larger where the pulse is clearer: small ones
    are hardly a tempo. The band about the brightness is as wide as the contrast. The dots of the
    saturation have the dominant hue.

    Args:
        contents: of the film
    """
    segments = contents.segments
    figure, axes = plt.subplots(7, 1, figsize=(9, 10), sharex=True, layout="constrained")
    # Times of a long film in seconds are ticks that nobody reads as a time.
    unit, factor = ("minutes", 60.0) if segments["end"].iloc[-1] > 180 else ("seconds", 1.0)
    middle = (segments["start"] + segments["end"]) / 2 / factor
    has_no_sound = segments["loudness LUFS"].isna().all()
    names = [
        ("loudness LUFS", "loudness\nLUFS", "no sound"),
        ("tempo BPM", "tempo\nBPM", "no sound" if has_no_sound else "no pulse"),
        ("brightness", "brightness\n0 to 1", "no picture"),
        ("saturation", "saturation\nand hue", "no picture"),
        ("colourfulness", "colourfulness\n0 is grey", "no picture"),
        ("motion widths/s", "motion\nwidths/s", "no picture"),
        ("faces", "faces\nper frame", "no picture"),
    ]
    for ax, (name, label, lack) in zip(axes, names, strict=True):
        for start in contents.shots["start"].iloc[1:]:
            ax.axvline(start / factor, color=FAINT, linewidth=0.6, zorder=0)
        values = segments[name]
        ax.set_ylabel(label)
        if values.isna().all():
            ax.text(0.5, 0.5, lack, transform=ax.transAxes, ha="center", va="center")
            ax.set_yticks([])
            continue
        ax.plot(middle, values, color=PALETTE[0], marker="o", markersize=3, linewidth=1.2)
        if name != "loudness LUFS":
            ax.set_ylim(0, TOPS.get(name, 1.15 * values.max() or 1.0))
    _mark_salience(axes[1], middle, segments)
    _mark_contrast(axes[2], middle, segments)
    _mark_hues(axes[3], middle, segments)
    axes[-1].set_ylim(top=max(1.15, axes[-1].get_ylim()[1]))
    figure.align_ylabels(axes)
    axes[-1].set_xlabel(f"time in {unit}")
    axes[-1].set_xlim(0, segments["end"].iloc[-1] / factor)
    return figure


def _mark_hues(ax: Axes, middle: pd.Series, segments: pd.DataFrame) -> None:
    """Dots in the dominant hue of each segment."""
    coloured = segments["hue degrees"].notna()
    if not coloured.any():
        return
    hues = segments.loc[coloured, "hue degrees"] / 360
    dots = [hsv_to_rgb((hue, 0.8, 0.8)) for hue in hues]
    saturation = segments.loc[coloured, "saturation"]
    ax.scatter(
        middle[coloured],
        saturation,
        c=dots,
        s=40,
        clip_on=False,
        edgecolor="black",
        linewidth=0.4,
        zorder=3,
    )


def _mark_contrast(ax: Axes, middle: pd.Series, segments: pd.DataFrame) -> None:
    """A band as wide as the contrast about the brightness."""
    brightness = segments["brightness"]
    lower = brightness - segments["contrast"]
    upper = brightness + segments["contrast"]
    ax.fill_between(middle, lower, upper, color=PALETTE[0], alpha=0.2, linewidth=0)


def _mark_salience(ax: Axes, middle: pd.Series, segments: pd.DataFrame) -> None:
    """Larger dots where the pulse is clearer."""
    sizes = 3 + 150 * segments["tempo salience"].clip(lower=0)
    ax.scatter(middle, segments["tempo BPM"], s=sizes, color=PALETTE[0], alpha=0.6)


def _draw_box(ax: Axes, box: tuple, scale: float) -> None:
    """A box in two colours, so that it is seen on any picture."""
    corner = (box.left * scale, box.top * scale)
    width = (box.right - box.left) * scale
    height = (box.bottom - box.top) * scale
    for colour, line in (("black", 3.0), ("white", 1.2)):
        patch = Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=line)
        ax.add_patch(patch)


def _frames(path: Path | str, times: Sequence[float]) -> list[np.ndarray]:
    """The frames at some times, which increase."""
    pictures = media.stream(path, times, side=SIDE, sound=False)
    return [picture.image for picture in pictures]


def _spread(count: int, most: int) -> list[int]:
    """Numbers of at most ``most`` of ``count`` things, evenly spread.

    Examples:
        >>> _spread(3, 5)
        [0, 1, 2]
        >>> _spread(9, 3)
        [1, 4, 7]
    """
    if count <= most:
        return list(range(count))
    return [int((k + 0.5) * count / most) for k in range(most)]


def _spread_over_both(with_face: np.ndarray, without: np.ndarray, most: int) -> list[float]:
    """Times of frames of both kinds, in order; the kind that is rare leaves room for the other."""
    few = min(len(without), max(most // 3, most - len(with_face)))
    chosen = [
        *with_face[_spread(len(with_face), most - few)],
        *without[_spread(len(without), few)],
    ]
    return sorted(chosen)


def _sheet(images: Sequence[np.ndarray], columns: int) -> tuple[list[Axes], Figure]:
    """A figure with room for each image and a title of two lines above it."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height, width = images[0].shape[:2]
    # In inches: a title of one line must fit even above a frame of a telephone held upright.
    cell = 10 / columns if columns > 2 else 3.3
    cell_height = min(cell * height / width, 3.5) + 0.42
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(cell * columns, cell_height * rows + 0.3),
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat:
        ax.set_axis_off()
    return list(axes.flat)[: len(images)], figure


def _count(number: int, name: str) -> str:
    """A number with its noun.

    Examples:
        >>> _count(1, "shot"), _count(2, "shot")
        ('1 shot', '2 shots')
    """
    return f"{number} {name}" if number == 1 else f"{number:,} {name}s"
