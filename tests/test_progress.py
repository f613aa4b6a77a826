"""Bars are shown to somebody who watches, and never stand in a notebook that runs headless."""

import re

import nbclient
import nbformat
import pytest
import torch
from torch import nn

from affectlib.progress import OPENED_IN_JUPYTER, progress_bar
from affectlib.training import Samples, fit


@pytest.mark.parametrize(
    ("progress", "opened", "shown"),
    [
        (None, False, False),
        (None, True, True),
        (False, True, False),
        (True, False, True),
    ],
)
def test_a_bar_is_shown_where_somebody_watches(monkeypatch, capsys, progress, opened, shown):
    monkeypatch.delenv(OPENED_IN_JUPYTER, raising=False)
    if opened:
        monkeypatch.setenv(OPENED_IN_JUPYTER, "01_mood_change.ipynb")
    assert list(progress_bar(range(3), progress=progress, unit="epoch")) == [0, 1, 2]
    assert ("3/3" in capsys.readouterr().err) is shown


class Line(nn.Module):
    """One weight and one bias."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 1)

    def embed(self, x):
        return x[0]

    def forward(self, x):
        return self.head(self.embed(x)).squeeze(-1)


@pytest.mark.parametrize("progress", [None, True])
def test_a_training_counts_its_epochs_and_gives_the_same_numbers(capsys, monkeypatch, progress):
    monkeypatch.delenv(OPENED_IN_JUPYTER, raising=False)
    x = torch.linspace(-1, 1, 8)[:, None]
    names = tuple("abcdefgh")
    samples = Samples((x,), 2 * x[:, 0], names, names)
    torch.manual_seed(0)
    model = Line()
    history = fit(model, samples, samples, loss=nn.functional.mse_loss, epochs=3, progress=progress)
    told = capsys.readouterr().err
    # How far it comes before it is taken away hangs on the time: bars are drawn ten times a second.
    assert ("0/3" in told) is bool(progress)
    assert ("epoch" in told) is bool(progress)
    assert not re.search("Epoch|batch", told)
    assert len(history.epochs) == 3


SOURCE = """
from affectlib.progress import progress_bar
for _ in progress_bar(range(3), progress=None):
    pass
print("done")
"""


def test_a_kernel_that_papermill_and_nbval_start_shows_no_bar(monkeypatch):
    monkeypatch.delenv(OPENED_IN_JUPYTER, raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE)])
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output["text"] == "done\n"
