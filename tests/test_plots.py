"""Every drawing function draws on the given Axes; a saved figure is labelled and repeats."""

import base64
import html
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from affectlib import paths, plots
from affectlib.architecture import layer_table

RNG = np.random.default_rng(0)
POINTS = np.concatenate([RNG.normal(c, 0.3, (40, 10)) for c in (-3, 0, 3)])
CLASSES = np.repeat(["a", "b", "c"], 40)
HISTORY = SimpleNamespace(
    best_epoch=2,
    epochs=pd.DataFrame(
        {"epoch": [1, 2, 3], "train_loss": [3, 2, 1.0], "validation_loss": [3, 1.5, 2.0]}
    ),
)


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


BAND = ([1, 1], [0, 0], [2, 2])  # a curve with its lower and upper bound
FRAMES = [np.zeros((9, 16, 3), np.uint8)] * 3
INTERVALS = pd.DataFrame({"name": ["m"], "mean": [1], "low": [0], "high": [2], "paper": [1]})
LAYERS = pd.DataFrame(
    {"layer": ["dense"], "kind": ["Linear"], "output": ["(2, 4)"], "parameters": [16]}
)

# Each drawing function with data of every form that it takes: function, arguments, options.
DRAWINGS = {
    "classes": (plots.plot_embedding, (POINTS[:, :2], CLASSES), {"label": "class"}),
    "values": (plots.plot_embedding, (POINTS[:, :2], POINTS[:, 3]), {"limits": (-1, 1)}),
    "shared bar": (plots.plot_embedding, (POINTS[:, :2], POINTS[:, 3]), {"bar": False}),
    "confusion": (plots.plot_confusion, (CLASSES, CLASSES[::-1], "abc"), {}),
    "curves": (plots.plot_curves, ([0, 60], [0, 1], {"x": [1, 0], "y": BAND}), {"label": "v"}),
    "steps": (plots.plot_curves, ([0, 60], [0, 1], {"y": BAND}), {"label": "v", "step": True}),
    "attention": (plots.plot_attention, (np.full((2, 2), 0.5), ["sound", "scene"]), {}),
    "frames": (plots.plot_frames, (FRAMES, ["1", "2", "3"]), {}),
    "history": (plots.plot_history, ({"fold": HISTORY},), {}),
    "bars": (plots.plot_bars, ({"valence": ([0, 5, -10], 10)},), {"hertz": 25}),
    "gradcam": (plots.plot_gradcam, (FRAMES, np.ones((3, 9, 16))), {}),
    "network": (plots.plot_network, (LAYERS, [("features", "dense")]), {}),
    "intervals": (
        plots.plot_intervals,
        (INTERVALS,),
        {"label": "MSE", "kind": "simulated", "reference": 1.5},
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
class TestContract:
    def test_draws_on_the_given_axes(self, name, ax):
        draw, arguments, options = DRAWINGS[name]
        assert draw(*arguments, ax=ax, **options) is ax
        assert ax.has_data() or ax.images or ax.texts

    def test_makes_axes_where_none_are_given(self, name):
        draw, arguments, options = DRAWINGS[name]
        ax = draw(*arguments, **options)
        assert isinstance(ax, plt.Axes)
        plt.close(ax.figure)

    def test_saves_nothing(self, name, ax, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(paths, "FIGURES", tmp_path)
        monkeypatch.setattr(plt.Figure, "savefig", lambda *_, **__: pytest.fail("saved a figure"))
        draw, arguments, options = DRAWINGS[name]
        draw(*arguments, ax=ax, **options)
        assert not list(tmp_path.iterdir())


def test_every_drawing_function_keeps_the_contract():
    functions = {name for name in vars(plots) if name.startswith("plot_")}
    assert {draw.__name__ for draw, _, _ in DRAWINGS.values()} == functions


def test_bars_leave_open_what_is_undefined(ax):
    plots.plot_bars({"valence": ([0, 5, -10], 10), "change": ([np.nan, 0, -1], 1)}, hertz=25, ax=ax)
    valence, change = [image.to_rgba(image.get_array())[0] for image in ax.images]
    assert change[0, 3] == 0 and (change[1] == valence[0]).all() and (change[2] == valence[2]).all()
    assert valence[0, :3].max() < 0.9  # zero is seen on white
    assert all(patch.get_hatch() and patch.zorder < ax.images[0].zorder for patch in ax.patches)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["undefined"]


def test_colours_of_signed_values_part_at_zero(ax):
    plots.plot_embedding(POINTS[:3, :2], [-1.0, 0.0, 1.0], limits=(-1, 1), ax=ax)
    (drawn,) = ax.collections
    below, zero, above = drawn.to_rgba(drawn.get_array())[:, :3]
    assert np.ptp(zero) < 0.02  # grey
    assert below[2] > below[0] and above[0] > above[2]  # purple, orange
    plots.plot_embedding(POINTS[:3, :2], [0.0, 0.5, 1.0], limits=(0, 1), ax=ax)
    assert ax.collections[1].get_cmap().name == "cividis"


def test_axes_can_share_a_colour_bar(ax):
    plots.plot_embedding(POINTS[:, :2], POINTS[:, 3], bar=False, ax=ax)
    assert ax.figure.axes == [ax]
    plots.plot_embedding(POINTS[:, :2], POINTS[:, 3], bar=True, ax=ax)
    assert len(ax.figure.axes) == 2


def test_confusion_counts_by_hand(ax):
    plots.plot_confusion(["a", "a", "b"], ["a", "b", "b"], ["a", "b"], ax=ax)
    assert [t.get_text() for t in ax.texts] == ["1\n50%", "1\n50%", "0\n0%", "1\n100%"]


@pytest.mark.parametrize(
    ("end", "unit", "drawn"), [(120, "seconds", [0, 60, 120]), (240, "minutes", [0, 1, 4])]
)
def test_curves_name_their_unit_of_time(ax, end, unit, drawn):
    plots.plot_curves([0, 60, end], [0, 1, 0], {"model": [0, 0, 0]}, label="arousal", ax=ax)
    assert list(ax.lines[0].get_xdata()) == drawn and unit in ax.get_xlabel()


def test_steps_hold_until_the_next_time(ax):
    plots.plot_curves([0, 60], [0, 1], {"clips": [0, 1]}, label="arousal", step=True, ax=ax)
    assert [line.get_drawstyle() for line in ax.lines] == ["default", "steps-post"]


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_projection_keeps_neighbours_and_repeats(method):
    from sklearn.manifold import trustworthiness

    flat = plots.project(POINTS, method=method, seed=1)
    assert flat.shape == (120, 2)
    assert trustworthiness(POINTS, flat, n_neighbors=10) > 0.85
    assert np.array_equal(flat, plots.project(POINTS, method=method, seed=1))


def test_unknown_projection():
    with pytest.raises(ValueError, match="pca"):
        plots.project(POINTS, method="pca")


@pytest.mark.parametrize("method", ["tsne", "umap"])
@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((40, 8)), "40 points that are all equal"),
        # Equal in single precision, and too close for its squares.
        (1e7 + 1e-3 * POINTS, "120 points that are all equal"),
        (1e-30 * POINTS, "120 points that are all equal"),
        (np.zeros((0, 8)), r"shape \(0, 8\), expected 2 rows and 2 columns"),
        (np.zeros(8), r"shape \(8,\), expected"),
        (np.arange(9.0)[:, None], r"shape \(9, 1\), expected"),
        (np.where(POINTS[7, 0] == POINTS, np.nan, POINTS), "row 7 is not finite"),
        (POINTS * 1e300, "row 0 is not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_points_without_a_projection_are_refused(method, points, message):
    with pytest.raises(ValueError, match=message):
        plots.project(points, method=method)


def test_gradcam_lays_shares_of_the_largest_value_over_the_lower_row(ax):
    maps = np.zeros((3, 9, 16))
    maps[1] = 2
    maps[2, 0, 0] = 4
    plots.plot_gradcam(FRAMES, maps, ax=ax)
    heat = ax.images[1].get_array().filled(np.nan)
    assert heat.shape == (2 * 9 + 1, 3 * 16 + 2)  # two rows of three frames, with gaps of one
    assert np.isnan(heat[:10]).all()
    assert np.isnan(heat[:, [16, 33]]).all()
    assert (heat[10:, :16] == 0).all()
    assert (heat[10:, 17:33] == 0.5).all()
    assert heat[10, 34] == 1
    assert ax.images[1].colorbar.vmin == 0 and ax.images[1].colorbar.vmax == 1


def test_a_gradcam_without_evidence_is_zero_everywhere(ax):
    plots.plot_gradcam(FRAMES, np.zeros((3, 9, 16)), ax=ax)
    assert np.nanmax(ax.images[1].get_array().filled(np.nan)) == 0


@pytest.mark.parametrize(("kind", "diamonds"), [("simulated", 0), ("real, descriptors", 1)])
def test_the_papers_marks_stand_beside_real_runs_only(kind, diamonds, ax):
    plots.plot_intervals(INTERVALS.assign(paper=1.0), label="MSE", kind=kind, ax=ax)
    names = ax.get_legend_handles_labels()[1]
    assert names.count("paper") == diamonds
    assert f"this run ({kind}), 95 % interval" in names


def test_saved_figure_is_labelled_simulated_and_repeats(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "FIGURES", tmp_path)
    written = []
    for _ in range(2):
        figure, ax = plt.subplots()
        plots.plot_attention(np.eye(2), ["a", "b"], ax=ax)
        plots.save_figure(
            figure, "gla", "map", title="Attention", alt="Two rows.", kind="simulated"
        )
        assert figure.get_suptitle() == "Attention (simulated)"
        written.append((tmp_path / "gla" / "map.png").read_bytes())
    assert written[0] == written[1]
    assert sorted(f.name for f in (tmp_path / "gla").iterdir()) == ["map.png", "map.txt"]
    assert (tmp_path / "gla" / "map.txt").read_text() == "Two rows.\n"


@pytest.mark.parametrize("suffix, first", [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_vector_copies_are_written_on_request_and_repeat(
    suffix, first, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(paths, "FIGURES", tmp_path)
    monkeypatch.setenv("AFFECTLIB_VECTORS", suffix)
    written = []
    for _ in range(2):
        figure, ax = plt.subplots()
        ax.plot([0, 1])
        plots.save_figure(figure, "gla", "line", title="A line", alt="A line.", kind="simulated")
        written.append((tmp_path / "gla" / f"line.{suffix}").read_bytes())
    assert written[0] == written[1]
    assert written[0].startswith(first)


def test_another_vector_format_is_refused(monkeypatch):
    monkeypatch.setenv("AFFECTLIB_VECTORS", "eps")
    with pytest.raises(ValueError, match="takes pdf and svg, not 'eps'"):
        plots.vector_formats()


def test_alternative_text_is_in_the_image_element(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    plots.show(plt.figure(), 'Two "rows" & a line.\n')
    pattern = r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)">'
    alt, source = re.fullmatch(pattern, shown[0]["text/html"]).groups()
    assert html.unescape(alt) == 'Two "rows" & a line.'
    picture = base64.b64decode(source)
    assert picture.startswith(b"\x89PNG")
    assert shown[0]["text/plain"] == 'Two "rows" & a line.'


class Doubled(nn.Module):
    """Two layers, of which the second learns nothing."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 5)

    def forward(self, x):
        hidden = self.first(x)
        with torch.no_grad():
            shift = self.second(hidden).sum()
        return hidden + shift


def test_a_network_is_drawn_from_its_table(ax):
    layers = layer_table(Doubled(), torch.ones(2, 3))
    edges = [("features", "first"), ("first", "sum"), ("first", "second"), ("second", "sum")]
    plots.plot_network(layers, edges, names={"first": "reads"}, ax=ax)
    texts = [text.get_text() for text in ax.texts if text.get_text()]
    assert {"features", "reads", "second", "sum"} <= set(texts)
    assert "Linear\n(2, 4)\n16 parameters" in texts
    places = {text.get_text(): text.get_position()[0] for text in ax.texts}
    assert places["features"] < places["reads"] < places["second"] < places["sum"]


def test_figure_without_alternative_text_is_refused():
    with pytest.raises(ValueError, match="alternative text"):
        plots.show(plt.figure(), " ")
