"""Data to Axes. A function that draws takes data and ``ax`` and returns the Axes; it saves nothing.

Colours are matplotlib's ``petroff8``, told apart under colour blindness, with a marker or a dash as second
channel. seaborn, umap and scikit-learn are imported when first used.
"""

import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import color_sequences

from affectlib import paths

PALETTE = tuple(color_sequences["petroff8"])
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
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


def project(points, *, method="tsne", seed=0):
    """Two-dimensional embedding of high-dimensional points.

    Args:
        points: one row per clip
        method: ``"tsne"`` (500 iterations, perplexity 30 or a third of the points) or ``"umap"``
        seed: of the random start

    Shape:
        points ``(clips, size)``; result ``(clips, 2)``

    Raises:
        ValueError: if ``method`` is neither
    """
    points = np.asarray(points, dtype=np.float32)
    if method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(points) - 1) / 3)
        return TSNE(
            perplexity=perplexity, max_iter=500, init="pca", random_state=seed
        ).fit_transform(points)
    if method == "umap":
        import warnings

        from umap import UMAP

        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # umap warns that a seed means one thread: that is wanted here
            return UMAP(
                n_neighbors=min(15, len(points) - 1), random_state=seed, n_jobs=1
            ).fit_transform(points)
    raise ValueError(f"method is {method!r}, expected 'tsne' or 'umap'")


def _axes(ax):
    return plt.subplots(figsize=(4.5, 3.6))[1] if ax is None else ax


def plot_embedding(points, colour, *, label=None, limits=None, palette=PALETTE, ax=None):
    """Scatter of projected clips, coloured by a class (with its own marker) or by a value.

    Args:
        points: projected clips
        colour: one class name or one number per clip
        label: name of the value, written at the colour bar, or title of the legend
        limits: smallest and largest value of the colour scale
        palette: colours of the classes
        ax: where to draw

    Shape:
        points ``(clips, 2)``; colour ``(clips,)``
    """
    ax, colour = _axes(ax), np.asarray(colour)
    if np.issubdtype(colour.dtype, np.number):
        low, high = limits or (None, None)
        drawn = ax.scatter(
            *points.T, c=colour, cmap="cividis", s=12, vmin=low, vmax=high, linewidths=0
        )
        ax.figure.colorbar(drawn, ax=ax, label=label)
    else:
        for i, name in enumerate(dict.fromkeys(sorted(colour))):
            ax.scatter(
                *points[colour == name].T,
                s=14,
                color=palette[i % len(palette)],
                marker=MARKERS[(i + i // 8) % 8],
                label=str(name),
                linewidths=0,
            )
        ax.legend(
            title=label, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7, markerscale=1.3
        )
    ax.set(xticks=[], yticks=[], xlabel="first coordinate", ylabel="second coordinate")
    return ax


def plot_confusion(truth, prediction, labels, *, ax=None):
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
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    text = np.array(
        [
            [f"{n}\n{p:.0%}" for n, p in zip(*rows, strict=True)]
            for rows in zip(counts, share, strict=True)
        ]
    )
    seaborn.heatmap(
        share,
        annot=text,
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


def plot_curves(time, truth, predictions, *, label, step=False, ylim=None, ax=None):
    """Annotated and predicted affect over a film.

    Args:
        time: in seconds; the axis is in minutes beyond three of them
        truth: annotation, drawn black
        predictions: name to curve, or to a triple (curve, low, high) drawn with its band
        label: of the vertical axis
        step: whether predictions hold from one time to the next, as those of clips do
        ylim: its limits
        ax: where to draw

    Shape:
        time, truth and each curve ``(segments,)``
    """
    ax, time = _axes(ax), np.asarray(time, dtype=float)
    unit, scale = ("minutes", 60) if time[-1] > 180 else ("seconds", 1)
    time = time / scale
    ax.plot(time, truth, color="black", linewidth=1.6, label="annotation")
    for i, (name, curve) in enumerate(predictions.items()):
        if isinstance(curve, tuple):
            curve, low, high = curve
            ax.fill_between(
                time,
                low,
                high,
                step="post" if step else None,
                color=PALETTE[i],
                alpha=0.2,
                linewidth=0,
            )
        ax.plot(
            time,
            curve,
            DASHES[i % 4],
            color=PALETTE[i],
            linewidth=1.3,
            label=name,
            drawstyle="steps-post" if step else "default",
        )
    ax.set(xlabel=f"time in {unit}", ylabel=label, ylim=ylim)
    return ax


def plot_attention(weights, names, *, rows=None, ylabel="attending", limits=None, ax=None):
    """Attention weights as a heat map with each weight written in it.

    Args:
        weights: each row sums to 1
        names: of what is attended to (columns)
        rows: of what attends, ``names`` where not given
        ylabel: of the rows
        limits: smallest and largest weight of the colour scale, those of the data where not given
        ax: where to draw

    Shape:
        weights ``(rows, columns)``
    """
    import seaborn

    ax = _axes(ax)
    weights = np.asarray(weights)
    low, high = limits or (weights.min(), weights.max())
    seaborn.heatmap(
        weights,
        annot=weights.size <= 60,
        fmt=".2f",
        cmap="cividis",
        vmin=low,
        vmax=high,
        xticklabels=names,
        yticklabels=names if rows is None else rows,
        ax=ax,
        cbar_kws={"label": "attention"},
        annot_kws={"size": 7},
    )
    ax.set(xlabel="attended to", ylabel=ylabel)
    ax.tick_params(axis="x", rotation=30)
    ax.tick_params(axis="y", rotation=0)
    return ax


def plot_frames(frames, titles, *, ax=None):
    """A strip of frames side by side, each with a line of text above it.

    Args:
        frames: RGB pictures of one size, 0 to 255
        titles: one text per frame
        ax: where to draw

    Shape:
        each frame ``(height, width, 3)``
    """
    ax, width = _axes(ax), frames[0].shape[1]
    gap = max(2, width // 50)
    strip = np.full((frames[0].shape[0], len(frames) * (width + gap) - gap, 3), 255, np.uint8)
    for i, (frame, title) in enumerate(zip(frames, titles, strict=True)):
        strip[:, i * (width + gap) : i * (width + gap) + width] = frame
        ax.text(i * (width + gap) + width / 2, -gap, title, ha="center", va="bottom", fontsize=7)
    ax.imshow(strip)
    ax.set_axis_off()
    return ax


def plot_history(histories, *, ax=None):
    """Training and validation loss over epochs, with the epoch that was kept.

    Args:
        histories: name to History
        ax: where to draw
    """
    ax = _axes(ax)
    for i, (name, history) in enumerate(histories.items()):
        table = history.epochs
        ax.plot(table["epoch"], table["train_loss"], "--", color=PALETTE[i % 8], linewidth=0.9)
        ax.plot(
            table["epoch"],
            table["validation_loss"],
            color=PALETTE[i % 8],
            linewidth=1.3,
            label=name,
        )
        best = table[table["epoch"] == history.best_epoch]
        ax.plot(
            best["epoch"],
            best["validation_loss"],
            MARKERS[i % 8],
            color=PALETTE[i % 8],
            markersize=5,
        )
    ax.set(xlabel="epoch", ylabel="loss (dashed: training)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_bars(bars, *, hertz, ax=None):
    """Values over a clip as bars of colour, one under the other; zero is grey, undefined is hatched.

    Args:
        bars: name to values and the largest magnitude they may take; a change starts where its first window ends
        hertz: values per second
        ax: where to draw

    Shape:
        each values ``(frames,)``, nan where undefined
    """
    from matplotlib.colors import LinearSegmentedColormap

    ax, cmap = (
        _axes(ax),
        LinearSegmentedColormap.from_list("bars", ["#5e3c99", "#c8c8c8", "#e66101"]),
    )
    for row, (values, limit) in enumerate(bars.values()):
        extent = (0, len(values) / hertz, -row - 0.4, -row + 0.4)
        behind = ax.add_patch(
            plt.Rectangle(
                (0, -row - 0.4),
                extent[1],
                0.8,
                facecolor="white",
                edgecolor="grey",
                hatch="////",
                linewidth=0.5,
                zorder=-1,
            )
        )
        drawn = ax.imshow(
            np.asarray(values, float)[None] / limit,
            cmap=cmap,
            vmin=-1,
            vmax=1,
            aspect="auto",
            interpolation="nearest",
            extent=extent,
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
    if any(np.isnan(values).any() for values, _ in bars.values()):
        ax.legend(
            [behind], ["undefined"], loc="upper left", bbox_to_anchor=(-0.02, -0.16), frameon=False
        )
    return ax


def plot_gradcam(frames, maps, *, ax=None):
    """A strip of frames, and below it the same with what a Grad-CAM map sees laid over them.

    Args:
        frames: RGB pictures of one window, 0 to 255
        maps: not negative; the largest value of the window is drawn brightest
        ax: where to draw

    Shape:
        frames ``(k, height, width, 3)``; maps ``(k, height, width)``
    """
    ax, frames, maps = _axes(ax), np.asarray(frames) / 255, np.asarray(maps, float)
    heat = plt.get_cmap("inferno")(maps / max(maps.max(), 1e-12))[..., :3]
    grey = np.repeat(frames.mean(-1, keepdims=True), 3, -1)
    strips = [np.concatenate(list(row), 1) for row in (frames, 0.45 * grey + 0.55 * heat)]
    ax.imshow(np.concatenate(strips), interpolation="nearest")
    ax.set_axis_off()
    return ax


def plot_intervals(
    table, *, label, reference=None, reference_name="predict the training mean", ax=None
):
    """Means with their intervals, one row each: a forest plot.

    Args:
        table: columns name, mean, low, high; where there is a column paper, its value is a hollow diamond
        label: of the horizontal axis
        reference: value of a vertical line, for example that of a trivial predictor
        reference_name: what that line is
        ax: where to draw
    """
    ax = _axes(ax)
    rows = np.arange(len(table))[::-1]
    ax.hlines(rows, table["low"], table["high"], color=PALETTE[0], linewidth=2)
    ax.plot(table["mean"], rows, "o", color=PALETTE[0], label="this run, 95 % interval")
    if "paper" in table:
        ax.plot(table["paper"], rows, "D", color=PALETTE[1], markerfacecolor="white", label="paper")
    if reference is not None:
        ax.axvline(reference, color="grey", linestyle=":", linewidth=1, label=reference_name)
    ax.set(yticks=rows, yticklabels=table["name"], xlabel=label)
    return ax


def show(fig, alt):
    """Displays a figure inline with its alternative text, then closes it.

    Raises:
        ValueError: if ``alt`` is empty
    """
    from IPython.display import display

    if not alt.strip():
        raise ValueError("a figure needs a sentence of alternative text")
    display(fig, metadata={"image/png": {"alt": alt}})
    plt.close(fig)


def save_figure(fig, slug, name, *, title, alt, simulated):
    """Titles a figure, saves it as ``figures/<slug>/<name>.png`` with its alternative text, and shows it.

    Args:
        fig: the figure
        slug: of the paper
        name: of the file, without suffix
        title: of the figure; " (simulated data)" is added where that is so
        alt: a sentence for who cannot see it, stored in ``<name>.txt`` and in the notebook
        simulated: whether the data behind it are simulated

    Raises:
        ValueError: if ``alt`` is empty
    """
    fig.suptitle(f"{title} (simulated data)" if simulated else title, fontsize=11)
    folder = paths.FIGURES / slug
    folder.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=folder, suffix=".png")
    os.close(handle)
    fig.savefig(partial, metadata={"Software": None})
    os.chmod(partial, 0o644)
    os.replace(partial, folder / f"{name}.png")
    (folder / f"{name}.txt").write_text(alt.strip() + "\n")
    show(fig, alt)
