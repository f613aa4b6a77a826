"""Released features: what no released file has is refused by name, before a value is read."""

import tracemalloc

import h5py
import numpy as np
import pytest
import torch

from affectlib.errors import FileFormatError
from affectlib.features.pretrained.hdf5 import read_features

SECRET = "PRIVATE KEY 1234"
ROWS = np.arange(8.0).reshape(2, 4)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", ">f4"])
@pytest.mark.parametrize("chunks", [None, (1, 4)])
def test_a_table_of_numbers_is_read_under_any_name(tmp_path, dtype, chunks):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("ärger", data=ROWS.astype(dtype), chunks=chunks)
    features = read_features(path, 4)
    assert features.dtype == torch.get_default_dtype()
    assert features.tolist() == ROWS.tolist()


def external_storage(file, folder):
    (folder / "secret.txt").write_text(SECRET)
    place = str(folder / "secret.txt")
    file.create_dataset("default", (4, 4), "u1", external=[(place, 0, 16)])


def other_file(folder):
    with h5py.File(folder / "other.h5", "w") as file:
        file["x"] = ROWS
    return str(folder / "other.h5")


def external_link(file, folder):
    file["default"] = h5py.ExternalLink(other_file(folder), "x")


def virtual_table(file, folder):
    layout = h5py.VirtualLayout((2, 4), "f8")
    layout[:] = h5py.VirtualSource(other_file(folder), "x", (2, 4))
    file.create_virtual_dataset("default", layout)


def claim(file, folder):
    file.create_dataset("default", (10**9, 4), "f4", chunks=(1000, 4))


def claim_without_chunks(file, folder):
    file.create_dataset("default", (10**9, 4), "f4")


def bomb(file, folder):
    zeros = np.zeros((2**14, 4), "f4")
    file.create_dataset("default", data=zeros, chunks=(2**14, 4), compression="gzip")


def table(values, name="default"):
    def write(file, folder):
        file[name] = values

    return write


def two_tables(file, folder):
    file["a"] = file["b"] = ROWS


def group_and_table(file, folder):
    file.create_group("a")
    file["default"] = ROWS


def reference(file, folder):
    # References need a root to refer to.
    file.create_dataset("default", data=[[file.ref] * 4], dtype=h5py.ref_dtype)


DAMAGE = {
    "external storage": (external_storage, r"expected values in this file, found them in .*secret"),
    "external link": (external_link, r"found a link \(ExternalLink\)"),
    "virtual table": (virtual_table, "expected values in this file, found a virtual table"),
    "soft link": (table(h5py.SoftLink("/nowhere")), r"at 'default', found a link \(SoftLink\)"),
    "dangling link": (table(h5py.ExternalLink("/nowhere.h5", "x")), r"link \(ExternalLink\)"),
    "claim": (claim, "expected 16000000000 bytes of values, found 0"),
    "claim without chunks": (claim_without_chunks, "expected 16000000000 bytes of values, found 0"),
    "bomb": (bomb, "found them compressed"),
    "nothing": (lambda file, folder: None, "expected one table, found 0 entries"),
    "two tables": (two_tables, "expected one table, found 2 entries"),
    "group and table": (group_and_table, "expected one table, found 2 entries"),
    "references": (reference, "expected numbers, found object"),
    "group": (lambda file, folder: file.create_group("a"), "found a Group"),
    "type": (table(np.dtype("f4")), "found a Datatype"),
    "text": (table(np.array([[b"a", b"b"]])), "expected numbers, found"),
    "compound": (table(np.zeros((2, 4), [("a", "f4")])), "expected numbers, found"),
    "empty": (table(h5py.Empty("f4")), "shape None"),
    "no rows": (table(np.zeros((0, 4))), r"shape \(0, 4\)"),
    "one dimension": (table(np.zeros(8)), r"rows of 4 values, found the shape \(8,\)"),
    "another size": (table(np.zeros((4, 2))), r"rows of 4 values, found the shape \(4, 2\)"),
    "nan": (table(np.where(ROWS == 5, np.nan, ROWS)), "row 2: expected finite numbers"),
    "beyond single precision": (table(ROWS * 1e300), "row 1: expected finite numbers"),
}


@pytest.mark.parametrize(("write", "message"), DAMAGE.values(), ids=DAMAGE)
def test_what_no_released_file_has_is_refused_by_name(tmp_path, write, message):
    path = tmp_path / "vggish_sample.h5"
    with h5py.File(path, "w") as file:
        write(file, tmp_path)
    # In single precision, 1e300 is no number.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=message) as caught:
            read_features(path, 4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        torch.set_default_dtype(before)
    assert caught.value.path == path
    assert peak < 2**20


def test_damaged_bytes_and_a_missing_file_are_named(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(FileFormatError, match=r"a\.h5: expected a file of features, found none"):
        read_features(path, 4)
    with h5py.File(path, "w") as file:
        file["default"] = ROWS
    whole = path.read_bytes()
    for size in (0, 100, len(whole) - 8):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match=r"a\.h5: expected"):
            read_features(path, 4)
