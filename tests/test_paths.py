"""Places of the project, and the write that leaves no half file."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_a_file_that_is_replaced_keeps_its_rights(tmp_path, mode):
    path = tmp_path / "table.csv"
    path.write_bytes(b"old")
    path.chmod(mode)
    paths.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_a_new_file_has_the_rights_that_the_umask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        paths.write(tmp_path / "table.csv", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "table.csv").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "table.csv: the disk is full, 3 bytes are needed: make room there, or name"),
        (errno.EDQUOT, "table.csv: the disk is full"),
        (errno.EROFS, "table.csv: may not be written: allow it, or name another folder in AFFECT"),
        (errno.EACCES, "table.csv: may not be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_with_what_is_needed(
    tmp_path, monkeypatch, number, message
):
    def refuse(path, content):
        # Half of it is there when the disk is full.
        with path.open("wb") as file:
            file.write(content[:1])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(paths, "CACHE", tmp_path)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(paths.WriteError, match=message) as error:
        paths.write(tmp_path / "table.csv", b"new")
    assert error.value.errno == number
    assert "AFFECTLIB_CACHE" in str(error.value)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    def refuse(path, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(paths.WriteError, match="gla: may not be written"):
        paths.make_folder(tmp_path / "gla")


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


PLACES = """
import os, sys
forbidden = sys.argv[1]
usual = os.access
os.access = lambda path, mode: str(path) not in forbidden.split(":") and usual(path, mode)
from affectlib import paths
print(paths.figures_of("gla"))
paths.figures_of("caan")
"""


def places(cache, forbidden, **settings):
    """Runs a process to which some folders are read-only."""
    environment = {name: value for name, value in os.environ.items() if name != "AFFECTLIB_FIGURES"}
    return subprocess.run(
        [sys.executable, "-c", PLACES, forbidden],
        env=environment | {"AFFECTLIB_CACHE": str(cache)} | settings,
        capture_output=True,
        text=True,
        check=True,
    )


def test_figures_of_a_read_only_checkout_go_to_the_cache(tmp_path):
    usual = paths.ROOT / "figures"
    run = places(tmp_path, f"{paths.ROOT}:{usual}")
    assert run.stdout == f"{tmp_path / 'figures' / 'gla'}\n"
    assert run.stderr == f"{usual} may not be written: figures go to {tmp_path / 'figures'}\n"
    assert (tmp_path / "figures" / "caan").is_dir()


def test_figures_go_where_the_setting_says(tmp_path):
    named = tmp_path / "named"
    run = places(tmp_path, f"{paths.ROOT}", AFFECTLIB_FIGURES=str(named))
    assert run.stdout == f"{named / 'gla'}\n"
    assert run.stderr == ""


def installed(folder, *words, **settings):
    """Runs Python where the package lies in a folder by itself, as a wheel leaves it."""
    site = folder / "site-packages"
    if not site.exists():
        shutil.copytree(
            paths.ROOT / "affectlib",
            site / "affectlib",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    work = folder / "work"
    work.mkdir(exist_ok=True)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("AFFECTLIB_")
    }
    return subprocess.run(
        [sys.executable, *words],
        cwd=work,
        env=environment | {"PYTHONPATH": str(site)} | settings,
        capture_output=True,
        text=True,
    )


def test_an_installed_package_keeps_nothing_among_the_packages(tmp_path):
    code = "from affectlib import paths as p; print(p.DATA, p.CACHE, p.FIGURES, p.ROOT, sep='\\n')"
    run = installed(tmp_path, "-c", code, XDG_CACHE_HOME=str(tmp_path / "cache"))
    work = tmp_path / "work"
    places = [work / "data", tmp_path / "cache" / "affectlib", work / "figures"]
    assert run.stdout.splitlines() == [
        str(place) for place in (*places, tmp_path / "site-packages")
    ]
    run = installed(tmp_path, "-c", code, XDG_CACHE_HOME="", HOME=str(tmp_path / "home"))
    assert run.stdout.splitlines()[1] == str(tmp_path / "home" / ".cache" / "affectlib")
    run = installed(tmp_path, "-c", code, AFFECTLIB_DATA=str(tmp_path / "mine"))
    assert run.stdout.splitlines()[0] == str(tmp_path / "mine")


def test_an_installed_package_says_that_notebooks_come_with_the_checkout(tmp_path):
    run = installed(
        tmp_path, "-m", "affectlib.runner.cli", "reproduce", XDG_CACHE_HOME=str(tmp_path / "cache")
    )
    assert run.returncode == 2
    assert run.stderr.splitlines() == [
        f"error: {tmp_path / 'site-packages' / 'notebooks'}: no such folder; notebooks come with "
        "the checkout of affectlib, not with the installed package: run this command there"
    ]
    assert sorted(path.name for path in (tmp_path / "site-packages").iterdir()) == ["affectlib"]
