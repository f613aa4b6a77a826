"""Data to Axes. A function that draws takes data and ``ax`` and returns the Axes; it saves nothing.

Colours are matplotlib's ``petroff8``, told apart under colour blindness, with a marker or a dash as
second channel. seaborn, umap and scikit-learn are imported when first used.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import html
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import color_sequences
from matplotlib.colors import LinearSegmentedColormap

from affectlib import paths

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from affectlib.training import History

    Band = tuple[ArrayLike, ArrayLike, ArrayLike]

PALETTE = tuple(color_sequences["petroff8"])
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
# From below zero over zero to above. Zero is grey, which is seen on white.
DIVERGING = LinearSegmentedColormap.from_list("bars", ["#5e3c99", "#c8c8c8", "#e66101"])
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
}
plt.rcParams.update(STYLE)
# Formats of pictures, each with what is left out of its file, such as the version of matplotlib and
# the date: the same figure gives the same bytes.
_LEFT_OUT = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None},
    "svg": {"Date": None},
}
_VECTOR_FORMATS = ("pdf", "svg")


def project(points: ArrayLike, *, method: str = "tsne", seed: int = 0) -> np.ndarray:
    """Two-dimensional embedding of high-dimensional points.

    Args:
        points: one row per clip
        method: ``"tsne"`` (500 iterations, perplexity 30 or a third of the points) or ``"umap"``
        seed: of the random start

    Shape:
        points ``(clips, size)``; result ``(clips, 2)``

    Raises:
        ValueError: if ``method`` is neither, or the points are no table of finite numbers with two
            rows and two columns, or are all equal
    """
    points = np.asarray(points, dtype=np.float32)
    _check_points(points)
    if method == "tsne":
        from sklearn.manifold import TSNE

        # t-SNE wants clearly fewer neighbours than there are points.
        perplexity = min(30.0, (len(points) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, max_iter=500, init="pca", random_state=seed)
        return tsne.fit_transform(points)
    if method == "umap":
        neighbours = min(15, len(points) - 1)
        with warnings.catch_warnings(), _keep_compiled_code():
            # umap warns that a seed means one thread: that is wanted here.
            warnings.simplefilter("ignore")
            from umap import UMAP

            umap = UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1)
            return umap.fit_transform(points)
    raise ValueError(f"method is {method!r}, expected 'tsne' or 'umap'")


@contextlib.contextmanager
def _keep_compiled_code() -> Iterator[None]:
    """Lets numba keep on disk what it compiles for umap, beside the code of umap.

    Numba keeps only functions that ask for it, and those of umap do not: each process would
    compile them anew for about twelve seconds. pynndescent, which umap needs, asks for it too.
    """
    import numba

    njit = numba.njit
    # umap looks this name up when it is imported, and again in each run.
    numba.njit = functools.partial(njit, cache=True)
    try:
        yield
    finally:
        numba.njit = njit


def _check_points(points: np.ndarray) -> None:
    """Refuses points that have no projection."""
    if points.ndim != 2 or min(points.shape) < 2:
        raise ValueError(f"points have shape {points.shape}, expected 2 rows and 2 columns or more")
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        raise ValueError(f"points, row {np.argmin(finite)} is not finite in single precision")
    # t-SNE divides by the spread, and ends the process where its square is 0.
    spread = np.ptp(points, axis=0).max()
    if spread < 1e-18:
        raise ValueError(f"{len(points)} points that are all equal have no projection")


def _axes(ax: Axes | None) -> Axes:
    """The given Axes, or those of a new figure."""
    if ax is not None:
        return ax
    _, ax = plt.subplots(figsize=(4.5, 3.6))
    return ax


def plot_embedding(
    points: np.ndarray,
    colour: ArrayLike,
    *,
    label: str | None = None,
    limits: tuple[float, float] | None = None,
    bar: bool = True,
    palette: Sequence = PALETTE,
    ax: Axes | None = None,
) -> Axes:
    """Scatter of projected clips, coloured by a class (with its own marker) or by a value.

    Args:
        points: projected clips
        colour: one class name or one number per clip
        label: name of the value, written at the colour bar, or title of the legend
        limits: smallest and largest value of the colour scale. With limits that lie evenly about 0
            the colours part at 0
        bar: draw a colour bar; False where several Axes share one
        palette: colours of the classes
        ax: where to draw

    Shape:
        points ``(clips, 2)``; colour ``(clips,)``
    """
    ax = _axes(ax)
    colour = np.asarray(colour)
    if np.issubdtype(colour.dtype, np.number):
        low, high = limits or (None, None)
        x, y = points.T
        signed = low is not None and low == -high
        cmap = DIVERGING if signed else "cividis"
        # The thin edge shows grey points on white.
        edge = {"edgecolors": "0.5", "linewidths": 0.4}
        drawn = ax.scatter(x, y, c=colour, cmap=cmap, s=25, vmin=low, vmax=high, **edge)
        if bar:
            ax.figure.colorbar(drawn, ax=ax, label=label)
    else:
        for i, name in enumerate(sorted(set(colour))):
            x, y = points[colour == name].T
            # Beyond eight classes the colours repeat: the shift gives each pair another marker.
            marker = MARKERS[(i + i // 8) % 8]
            ax.scatter(
                x,
                y,
                s=14,
                color=palette[i % len(palette)],
                marker=marker,
                label=str(name),
                linewidths=0,
            )
        ax.legend(
            title=label, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7, markerscale=1.3
        )
    ax.set(xticks=[], yticks=[], xlabel="first coordinate", ylabel="second coordinate")
    return ax


def plot_confusion(
    truth: ArrayLike, prediction: ArrayLike, labels: Sequence, *, ax: Axes | None = None
) -> Axes:
    """Confusion matrix: counts and, below them, percentages of the true class.

    Args:
        truth: true class of each clip, one of ``labels``
        prediction: predicted class of each clip
        labels: classes in the order of rows and columns
        ax: where to draw

    Shape:
        truth, prediction ``(clips,)``
    """
    import seaborn
    from sklearn.metrics import confusion_matrix

    ax = _axes(ax)
    counts = confusion_matrix(truth, prediction, labels=list(labels))
    # A class without clips has counts of 0: its shares are 0, not nan.
    clips_of_class = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / clips_of_class
    texts = np.empty(counts.shape, dtype=object)
    for place, count in np.ndenumerate(counts):
        texts[place] = f"{count}\n{shares[place]:.0%}"
    seaborn.heatmap(
        shares,
        annot=texts,
        fmt="",
        cmap="cividis",
        vmin=0,
        vmax=1,
        square=True,
        ax=ax,
        xticklabels=labels,
        yticklabels=labels,
        cbar_kws={"label": "share of the true class"},
    )
    ax.set(xlabel="predicted", ylabel="true")
    return ax


def plot_curves(
    time: ArrayLike,
    truth: ArrayLike,
    predictions: Mapping[str, ArrayLike | Band],
    *,
    label: str,
    step: bool = False,
    ylim: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Annotated and predicted affect over a film.

    Args:
        time: in seconds; the axis is in minutes beyond three of them
        truth: annotation, drawn black
        predictions: name to curve, or to a triple (curve, low, high) drawn with its band
        label: of the vertical axis
        step: whether predictions hold from one time to the next, as those of clips do
        ylim: limits of the vertical axis
        ax: where to draw

    Shape:
        time, truth and each curve ``(segments,)``
    """
    ax = _axes(ax)
    time = np.asarray(time, dtype=float)
    # A long film in seconds has ticks that nobody reads as a time.
    unit = "seconds"
    if time[-1] > 180:
        unit = "minutes"
        time = time / 60
    ax.plot(time, truth, color="black", linewidth=1.6, label="annotation")
    fill_step = "post" if step else None
    line_step = "steps-post" if step else "default"
    for i, (name, curve) in enumerate(predictions.items()):
        colour = PALETTE[i]
        if isinstance(curve, tuple):
            curve, low, high = curve
            ax.fill_between(time, low, high, step=fill_step, color=colour, alpha=0.2, linewidth=0)
        ax.plot(
            time,
            curve,
            DASHES[i % 4],
            color=colour,
            linewidth=1.3,
            label=name,
            drawstyle=line_step,
        )
    ax.set(xlabel=f"time in {unit}", ylabel=label, ylim=ylim)
    return ax


def plot_attention(
    weights: ArrayLike,
    names: Sequence[str],
    *,
    rows: Sequence[str] | None = None,
    ylabel: str = "attending",
    equal: ArrayLike | None = None,
    bar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Attention weights as a heat map with each weight written in it.

    The colour tells how far a weight is from an equal share: grey where it is one, full orange
    where it is twice as large or more, full purple where it is zero. The scale is the same in every
    figure, so that small differences look small.

    Args:
        weights: attention; nan where a place may not be looked at, which is left white
        names: of the columns: the places that are attended to
        rows: names of the rows: the places that attend; ``names`` if None
        ylabel: label of the vertical axis
        equal: an equal share; the mean of the weights if None, which it is where each row, or each
            column, sums to 1
        bar: whether a bar beside the Axes explains the colours
        ax: where to draw

    Shape:
        weights ``(rows, columns)``; equal a number or of a shape that divides the weights, such as
        ``(rows, 1)``
    """
    import seaborn

    ax = _axes(ax)
    weights = np.asarray(weights)
    if equal is None:
        equal = np.nanmean(weights)
    few = weights.size <= 60  # more numbers would overlap
    seaborn.heatmap(
        weights / equal,
        annot=weights if few else False,
        fmt=".2f",
        cmap=DIVERGING,
        vmin=0,
        vmax=2,
        xticklabels=names,
        yticklabels=names if rows is None else rows,
        ax=ax,
        cbar=bar,
        cbar_kws={"label": "attention / equal share", "extend": "max"},
        annot_kws={"size": 7},
    )
    ax.set(xlabel="attended to", ylabel=ylabel)
    ax.tick_params(axis="x", rotation=30)
    ax.tick_params(axis="y", rotation=0)
    return ax


def plot_frames(
    frames: Sequence[np.ndarray], titles: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """A strip of frames side by side, each with a line of text above it.

    Args:
        frames: RGB pictures of one size, 0 to 255
        titles: one text per frame
        ax: where to draw

    Shape:
        each frame ``(height, width, 3)``
    """
    ax = _axes(ax)
    height, width = frames[0].shape[:2]
    gap = max(2, width // 50)
    total_width = len(frames) * (width + gap) - gap
    strip = np.full((height, total_width, 3), 255, np.uint8)
    for i, (frame, title) in enumerate(zip(frames, titles, strict=True)):
        left = i * (width + gap)
        strip[:, left : left + width] = frame
        ax.text(left + width / 2, -gap, title, ha="center", va="bottom", fontsize=7)
    # One picture instead of many axes: the frames then stay together at every figure size.
    ax.imshow(strip)
    ax.set_axis_off()
    return ax


def plot_history(histories: Mapping[str, History], *, ax: Axes | None = None) -> Axes:
    """Training and validation loss over epochs, with the epoch that was kept.

    Args:
        histories: name to History
        ax: where to draw
    """
    ax = _axes(ax)
    for i, (name, history) in enumerate(histories.items()):
        colour = PALETTE[i % 8]
        table = history.epochs
        epoch = table["epoch"]
        validation = table["validation_loss"]
        kept = epoch == history.best_epoch
        ax.plot(epoch, table["train_loss"], "--", color=colour, linewidth=0.9)
        ax.plot(epoch, validation, color=colour, linewidth=1.3, label=name)
        ax.plot(epoch[kept], validation[kept], MARKERS[i % 8], color=colour, markersize=5)
    ax.set(xlabel="epoch", ylabel="loss (dashed: training)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_bars(
    bars: Mapping[str, tuple[ArrayLike, float]], *, hertz: float, ax: Axes | None = None
) -> Axes:
    """Values over a clip as bars of colour, one under the other.

    Zero is grey, undefined is hatched.

    Args:
        bars: name to values and the largest magnitude that they may take; the bar of a change of
            mood starts where its first window ends
        hertz: values per second
        ax: where to draw

    Shape:
        each values ``(frames,)``, nan where undefined
    """
    ax = _axes(ax)
    some_undefined = False
    for row, (values, limit) in enumerate(bars.values()):
        values = np.asarray(values, dtype=float)
        some_undefined = some_undefined or bool(np.isnan(values).any())
        seconds = len(values) / hertz
        bottom = -row - 0.4
        # The picture is transparent where a value is nan, and shows the hatches behind it.
        hatched = plt.Rectangle(
            (0, bottom),
            seconds,
            0.8,
            facecolor="white",
            edgecolor="grey",
            hatch="////",
            linewidth=0.5,
            zorder=-1,
        )
        ax.add_patch(hatched)
        drawn = ax.imshow(
            values[None] / limit,
            cmap=DIVERGING,
            vmin=-1,
            vmax=1,
            aspect="auto",
            interpolation="nearest",
            extent=(0, seconds, bottom, -row + 0.4),
        )
    names = [f"{name} (±{limit:g})" for name, (_, limit) in bars.items()]
    ax.set(
        xlabel="time in seconds",
        yticks=-np.arange(len(bars)),
        yticklabels=names,
        ylim=(-len(bars) + 0.5, 0.5),
    )
    bar = ax.figure.colorbar(drawn, ax=ax, ticks=[-1, 0, 1], pad=0.02)
    bar.ax.set_yticklabels(["negative, falling", "neutral, steady", "positive, rising"])
    if some_undefined:
        below = (-0.02, -0.16)
        ax.legend([hatched], ["undefined"], loc="upper left", bbox_to_anchor=below, frameon=False)
    return ax


def plot_gradcam(frames: ArrayLike, maps: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """A strip of frames, and below it the same frames with a Grad-CAM map laid over them.

    Args:
        frames: RGB pictures of one window, 0 to 255
        maps: not negative; the colour bar shows their share of the largest value of the window
        ax: where to draw

    Shape:
        frames ``(k, height, width, 3)``; maps ``(k, height, width)``
    """
    ax = _axes(ax)
    frames = np.asarray(frames) / 255
    maps = np.asarray(maps, dtype=float)
    # A map of zeros stays black: it is not divided by 0.
    shares = maps / max(maps.max(), 1e-12)
    grey = np.repeat(frames.mean(-1, keepdims=True), 3, -1)
    _, height, width = maps.shape
    gap = max(1, width // 16)
    pictures = np.ones((2 * height + gap, len(frames) * (width + gap) - gap, 3))
    # Undefined beside the maps, where nothing is laid over.
    heat = np.full(pictures.shape[:2], np.nan)
    for i in range(len(frames)):
        columns = slice(i * (width + gap), i * (width + gap) + width)
        pictures[:height, columns] = frames[i]
        pictures[height + gap :, columns] = grey[i]
        heat[height + gap :, columns] = shares[i]
    ax.imshow(pictures, interpolation="nearest")
    drawn = ax.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.55, interpolation="nearest")
    ax.figure.colorbar(drawn, ax=ax, label="evidence (largest = 1)", shrink=0.8)
    ax.set_axis_off()
    return ax


def plot_intervals(
    table: pd.DataFrame,
    *,
    label: str,
    kind: str,
    reference: float | None = None,
    reference_name: str = "predict the training mean",
    ax: Axes | None = None,
) -> Axes:
    """Means with their intervals, one row each: a forest plot.

    Args:
        table: columns name, mean, low, high; where there is a column paper, its value is a hollow
            diamond. On simulated data it is not drawn: beside the run's dot it would look like a
            reproduction
        label: of the horizontal axis
        kind: of the result, as :func:`affectlib.results.kind` gives it; named in the legend
        reference: value of a vertical line, for example that of a trivial predictor
        reference_name: name of that line
        ax: where to draw
    """
    ax = _axes(ax)
    rows = np.arange(len(table))[::-1]  # the first row of the table on top
    ax.hlines(rows, table["low"], table["high"], color=PALETTE[0], linewidth=2)
    ax.plot(table["mean"], rows, "o", color=PALETTE[0], label=f"this run ({kind}), 95 % interval")
    if "paper" in table and kind != "simulated":
        ax.plot(table["paper"], rows, "D", color=PALETTE[1], markerfacecolor="white", label="paper")
    if reference is not None:
        ax.axvline(reference, color="grey", linestyle=":", linewidth=1, label=reference_name)
    ax.set(yticks=rows, yticklabels=table["name"], xlabel=label)
    return ax


def plot_network(
    layers: pd.DataFrame,
    edges: Sequence[tuple[str, str]],
    *,
    names: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws a network from left to right, from data.

    Args:
        layers: as :func:`affectlib.architecture.layer_table` gives it
        edges: pairs of names; the output of the first goes into the second. A name of ``layers`` is
            drawn as a box with its class, its output and its number of parameters. Any other name
            is drawn as it is: an input, an operation or an output.
        ax: where to draw; without it, a figure of fitting size is made

    Raises:
        ValueError: if the edges go in a circle
    """
    from affectlib.drawing import columns_of  # networkx is imported when first used

    columns, chains = columns_of(edges)
    height = max(len(column) for column in columns)
    if ax is None:
        size = (1.75 * len(columns) + 0.2, 0.85 * height + 0.2)
        ax = plt.subplots(figsize=size)[1]
    rows = layers.set_index("layer")
    places = {}
    for x, column in enumerate(columns):
        for index, name in enumerate(column):
            places[name] = (x, (len(column) - 1) / 2 - index)
    for chain in chains:
        for start, end in pairwise(chain):
            last = end == chain[-1]
            _arrow(ax, places[start], places[end], start == chain[0], last)
    for name, place in places.items():
        if isinstance(name, str):
            title = (names or {}).get(name, name)
            _box(ax, title, place, rows.loc[name] if name in rows.index else None)
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-height / 2, height / 2))
    ax.set_axis_off()
    return ax


# Half the width and half the height of a box, in columns and rows.
_BOX = (0.39, 0.36)


def _arrow(ax: Axes, start: tuple, end: tuple, leaves_box: bool, enters_box: bool) -> None:
    from_x = start[0] + _BOX[0] * leaves_box
    to_x = end[0] - _BOX[0] * enters_box
    style = "-|>" if enters_box else "-"
    options = {"arrowstyle": style, "color": "0.35", "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", xy=(to_x, end[1]), xytext=(from_x, start[1]), arrowprops=options)


def _box(ax: Axes, name: str, place: tuple, layer: pd.Series | None) -> None:
    x, y = place
    is_layer = layer is not None
    box = plt.Rectangle(
        (x - _BOX[0], y - _BOX[1]),
        2 * _BOX[0],
        2 * _BOX[1],
        facecolor="#e8f0fb" if is_layer else "white",
        edgecolor=PALETTE[0] if is_layer else "0.6",
        linestyle="-" if is_layer else ":",
    )
    ax.add_patch(box)
    if not is_layer:
        ax.text(x, y, name, ha="center", va="center", fontsize=8)
        return
    details = f"{layer['kind']}\n{layer['output']}\n{layer['parameters']:,} parameters"
    ax.text(x, y + 0.2, name, ha="center", va="center", fontsize=8, fontweight="bold")
    ax.text(x, y - 0.11, details, ha="center", va="center", fontsize=6.5, linespacing=1.25)


def show(fig: Figure, alt: str) -> None:
    """Displays a figure inline with its alternative text, then closes it.

    The picture is an ``<img>`` of its own: of a plain picture no reader of notebooks puts the
    alternative text into the page.

    Raises:
        ValueError: if ``alt`` is empty
    """
    from IPython.display import display

    if not alt.strip():
        raise ValueError("a figure needs a sentence of alternative text")
    picture = _picture(fig, "png", dpi="figure", bbox_inches="tight")
    source = base64.b64encode(picture).decode()
    image = f'<img alt="{html.escape(alt.strip())}" src="data:image/png;base64,{source}">'
    display({"text/html": image, "text/plain": alt.strip()}, raw=True)
    # Closed, since Jupyter would display an open figure once more, without its text.
    plt.close(fig)


def vector_formats() -> list[str]:
    """Formats of vector copies that ``AFFECTLIB_VECTORS`` asks for, such as ``"pdf svg"``.

    Raises:
        ValueError: if it names another format
    """
    formats = os.environ.get("AFFECTLIB_VECTORS", "").split()
    for name in formats:
        if name not in _VECTOR_FORMATS:
            raise ValueError(f"AFFECTLIB_VECTORS takes pdf and svg, not {name!r}")
    return formats


def _picture(fig: Figure, form: str, **options: object) -> bytes:
    """A figure as the content of a file; the same bytes for the same figure."""
    content = io.BytesIO()
    # Names inside an SVG are random without it.
    with plt.rc_context({"svg.hashsalt": "affectlib"}):
        fig.savefig(content, format=form, metadata=_LEFT_OUT[form], **options)
    return content.getvalue()


def save_figure(fig: Figure, slug: str, name: str, *, title: str, alt: str, kind: str) -> None:
    """Titles a figure, saves it as ``figures/<slug>/<name>.png``, and shows it.

    With ``AFFECTLIB_VECTORS="pdf svg"`` in the environment, such copies stand beside it.

    Args:
        fig: the figure
        slug: of the paper
        name: of the file, without suffix
        title: of the figure; the kind is added in brackets
        alt: a sentence for a reader who cannot see the figure, stored in ``<name>.txt`` and in the
            notebook
        kind: of the data behind it, as :func:`affectlib.results.kind` gives it

    Raises:
        ValueError: if ``alt`` is empty
    """
    fig.suptitle(f"{title} ({kind})", fontsize=11)
    folder = paths.figures_of(slug)
    for suffix in ("png", *vector_formats()):
        paths.write(folder / f"{name}.{suffix}", _picture(fig, suffix))
    paths.write(folder / f"{name}.txt", f"{alt.strip()}\n".encode())
    show(fig, alt)
