"""Progress bars, for somebody who waits."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

# Jupyter's server sets it for the kernels of the notebooks that it has opened. papermill, nbval and
# nbconvert start kernels themselves.
OPENED_IN_JUPYTER = "JPY_SESSION_NAME"


def progress_bar(
    iterable: Iterable | None = None, *, progress: bool | None, **options: object
) -> tqdm:
    """A bar for a terminal or a notebook.

    Args:
        iterable: what is counted; None where the caller counts
        progress: show the bar; None shows it in a notebook that is open in JupyterLab, and nowhere
            else, so that a notebook that is run headless has no bars in its outputs
        options: of tqdm
    """
    from tqdm.auto import tqdm

    if progress is None:
        progress = OPENED_IN_JUPYTER in os.environ
    return tqdm(iterable, disable=not progress, **options)
