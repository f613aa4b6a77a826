"""Places of the project, and the write that leaves no half file."""

import os
import stat

import pytest

from affectlib import paths


def test_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"old")
    paths.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_write_takes_a_name_as_text(tmp_path):
    paths.write(str(tmp_path / "table.csv"), b"new")
    assert (tmp_path / "table.csv").read_bytes() == b"new"


def test_written_file_has_the_rights_of_any_new_file(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    paths.write(tmp_path / "written", b"")
    usual, written = ((tmp_path / name).stat().st_mode for name in ("usual", "written"))
    assert stat.S_IMODE(written) == stat.S_IMODE(usual)


def test_failed_write_keeps_the_old_file_and_removes_the_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_bytes(b"old")

    def refuse(source, target):
        raise OSError("no room")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no room"):
        paths.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_write_needs_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        paths.write(tmp_path / "missing" / "table.csv", b"new")
