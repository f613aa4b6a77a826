"""The table of layers tells what a pass through the network shows."""

import pytest
import torch
from torch import nn

from affectlib.architecture import layer_table
from affectlib.drawing import columns_of


class Gated(nn.Module):
    """Two branches; no error reaches the second, and a layer that nothing calls."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList([nn.GRU(3, 4, batch_first=True), nn.Linear(3, 4)])
        self.unused = nn.Linear(7, 7)
        self.scale = nn.Parameter(torch.ones(4))
        self.dropout = nn.Dropout()

    def forward(self, x):
        _, state = self.branches[0](x)
        gate = self.branches[1](x[:, 0]).detach()
        return self.dropout(self.scale * state[-1] * gate)


@pytest.fixture
def table():
    return layer_table(Gated(), torch.ones(2, 5, 3)).set_index("layer")


def test_layers_stand_in_the_order_of_their_calls(table):
    assert list(table.index) == [
        "branches.0",
        "branches.1",
        "dropout",
        "unused",
        "parameters of its own",
        "all",
    ]
    assert list(table["kind"]) == ["GRU", "Linear", "Dropout", "Linear", "", "Gated"]


def test_shapes_of_outputs(table):
    assert table.loc["branches.0", "output"] == "(1, 2, 4)"  # its last state
    assert table.loc["branches.1", "output"] == "(2, 4)"
    assert table.loc["unused", "output"] == "not called"
    assert table.loc["all", "output"] == "(2, 4)"


def test_parameters_as_the_formula_counts_them(table):
    gru = 3 * (4 * 3 + 4 * 4 + 4 + 4)  # three gates: input, state, and two vectors of bias
    assert table.loc["branches.0", "parameters"] == gru
    assert table.loc["branches.1", "parameters"] == 3 * 4 + 4
    assert table.loc["all", "parameters"] == gru + 16 + 56 + 4


def test_what_learns_is_told_apart(table):
    assert table.loc["branches.0", "with gradient"] == table.loc["branches.0", "parameters"]
    assert table.loc["branches.1", "with gradient"] == 0
    assert table.loc["unused", "with gradient"] == 0
    assert table.loc["parameters of its own", "with gradient"] == 4


def test_the_model_is_left_as_it_was():
    model = Gated().train()
    layer_table(model, torch.ones(2, 5, 3))
    assert model.training and model.dropout.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_deeper_layers_on_request():
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), nn.Linear(2, 1))
    table = layer_table(model, torch.ones(1, 3), depth=2)
    assert sorted(table["layer"]) == ["0", "0.0", "0.1", "1", "all"]


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ValueError, match="no output of ReLU hangs on a parameter"):
        layer_table(nn.ReLU(), torch.ones(1))


def test_every_edge_goes_to_the_right():
    edges = [("x", "a"), ("y", "b"), ("a", "b"), ("b", "c"), ("a", "c")]
    columns, ways = columns_of(edges)
    column_of = {name: x for x, column in enumerate(columns) for name in column}
    for way in ways:
        steps = [column_of[name] for name in way]
        assert steps == list(range(steps[0], steps[-1] + 1))
    # An input stands directly before the layer that takes it.
    assert column_of["y"] == column_of["b"] - 1


def test_edges_that_need_not_cross_do_not():
    columns, _ = columns_of(
        [("a", "A"), ("b", "B"), ("c", "C"), ("C", "z"), ("A", "z"), ("B", "z")]
    )
    assert [name.upper() for name in columns[0]] == columns[1]


def test_edges_in_a_circle_are_refused():
    with pytest.raises(ValueError, match="in a circle"):
        columns_of([("a", "b"), ("b", "a")])
