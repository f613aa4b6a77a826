"""Reads features that their authors released in HDF5, one table in each file.

HDF5 can say that the values of a table lie in another file: by a link, by external storage, or as a
virtual table. Then a file from elsewhere decides which file of the reader is read. It can also
claim more values than it has, or compress zeros a thousandfold. The released files do none of it,
so all of it is refused, before a value is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from affectlib.errors import FileFormatError

if TYPE_CHECKING:
    import h5py


def read_features(path: Path | str, size: int) -> torch.Tensor:
    """Reads the only table of a file.

    Args:
        path: an HDF5 file
        size: length of a feature vector

    Shape:
        result ``(rows, size)``, in torch's default precision

    Raises:
        FileFormatError: if the file is missing or damaged, holds something else than one table of
            finite numbers of this size, compresses its values, or keeps them in another file
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise FileFormatError(path, "expected a file of features, found none")
    try:
        with h5py.File(path, "r") as file:
            table = _only_table(path, file)
            _check_values_are_inside(path, table)
            _check_shape(path, table, size)
            values = np.asarray(table[()], dtype=float)  # (rows, size)
    except FileFormatError:
        raise
    except Exception as error:  # damaged bytes fail in as many ways as there are bytes
        raise FileFormatError(
            path, f"expected an HDF5 file with one table of features: {error!r:.200}"
        ) from None
    features = torch.tensor(values, dtype=torch.get_default_dtype())
    finite = features.isfinite().all(1)  # (rows,)
    if not finite.all():
        row = int((~finite).nonzero()[0]) + 1
        raise FileFormatError(path, "expected finite numbers", row=row)
    return features


def _only_table(path: Path, file: h5py.File) -> h5py.Dataset:
    """The only table of a file. No link is followed."""
    import h5py

    names = list(file)
    if len(names) != 1:
        raise FileFormatError(path, f"expected one table, found {len(names)} entries")
    name = names[0]
    link = file.get(name, getlink=True)
    # A hard link is how HDF5 keeps what is in the file itself.
    if not isinstance(link, h5py.HardLink):
        kind = type(link).__name__
        raise FileFormatError(path, f"expected a table at {name!r}, found a link ({kind})")
    table = file[name]
    if not isinstance(table, h5py.Dataset):
        kind = type(table).__name__
        raise FileFormatError(path, f"expected a table at {name!r}, found a {kind}")
    return table


def _check_values_are_inside(path: Path, table: h5py.Dataset) -> None:
    """Refuses a table whose values are elsewhere, are compressed, or are fewer than it claims."""
    if table.external:
        other = table.external[0][0]
        raise FileFormatError(path, f"expected values in this file, found them in {other!r}")
    if table.is_virtual:
        raise FileFormatError(path, "expected values in this file, found a virtual table")
    if table.id.get_create_plist().get_nfilters():
        raise FileFormatError(path, "expected values as they are, found them compressed")
    held = min(table.id.get_storage_size(), path.stat().st_size)
    if table.nbytes > held:
        raise FileFormatError(
            path,
            f"expected {table.nbytes} bytes of values, found {held}: cut short, or a wrong claim",
        )


def _check_shape(path: Path, table: h5py.Dataset, size: int) -> None:
    """Refuses a table of something else than numbers, or of another size."""
    if table.dtype.kind not in "fiu":
        raise FileFormatError(path, f"expected numbers, found {table.dtype}")
    if table.ndim != 2 or table.shape[0] == 0 or table.shape[1] != size:
        raise FileFormatError(
            path, f"expected a table of rows of {size} values, found the shape {table.shape}"
        )
