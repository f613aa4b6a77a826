"""How every loader walks a folder, finds a file by its name and reads a text table."""

import os

import pytest

from affectlib.corpora import CorpusFormatError, CorpusNotFoundError
from affectlib.corpora.files import (
    corpus_files,
    files_below,
    find_file,
    find_film,
    folders_below,
    read_lines,
    read_table,
)
from affectlib.runner import reproduce


@pytest.fixture
def root(tmp_path):
    for name in (
        "b/one.txt",
        "a/deep/two.txt",
        ".hidden/three.txt",
        "__MACOSX/a/four.txt",
        "._five",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def test_files_are_listed_in_order_without_hidden_ones(root):
    assert names(files_below(root), root) == ["a/deep/two.txt", "b/one.txt"]
    assert names(folders_below(root), root) == [".", "a", "a/deep", "b"]


def test_closed_folders_are_listed_but_not_entered(root):
    assert names(files_below(root, closed=("a",)), root) == ["b/one.txt"]
    assert names(folders_below(root, closed=("a",)), root) == [".", "a", "b"]
    assert names(files_below(root / "a", closed=("a",)), root) == ["a/deep/two.txt"]


def test_links_are_entered_once(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "linked").symlink_to(root, target_is_directory=True)
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    assert names(files_below(other), other) == ["linked/a/deep/two.txt", "linked/b/one.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_refused_by_name(root):
    (root / "b").chmod(0)
    try:
        with pytest.raises(CorpusFormatError, match=r"b: expected a folder to read"):
            files_below(root)
    finally:
        (root / "b").chmod(0o755)


def test_a_file_is_found_by_its_name(root):
    files = files_below(root)
    assert find_file(files, "one.txt", root=root) == root / "b" / "one.txt"
    assert find_file(files, "One.txt", root=root) is None


def test_a_film_is_found_in_any_container_and_once(root):
    assert find_film([], "Norm", root=root) == root / "Norm.mp4"
    for name in ("Norm.MKV", "Norm.txt", "Normal.mp4"):
        (root / name).write_text("")
    assert find_film(files_below(root), "Norm", root=root) == root / "Norm.MKV"
    (root / "b" / "Norm.mp4").write_text("")
    with pytest.raises(CorpusFormatError, match=r"one film Norm, found Norm\.MKV and Norm\.mp4"):
        find_film(files_below(root), "Norm", root=root)


def test_a_folder_without_the_wanted_files_is_no_corpus(root):
    assert len(corpus_files(root, ["o*.txt"], name="X", ask="a.b")) == 2
    with pytest.raises(
        CorpusNotFoundError, match=r"X at .*: not this corpus; looked for z\.txt, .*a\.b"
    ):
        corpus_files(root, ["one.txt", "z.txt"], name="X", ask="a.b")
    with pytest.raises(CorpusNotFoundError, match="no such folder"):
        corpus_files(root / "absent", ["one.txt"], name="X", ask="a.b")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_end_of_line_is_one(tmp_path, end):
    path = tmp_path / "table.txt"
    path.write_bytes(("\ufeffid\tname" + end + "0\ta\x0cb" + end).encode())
    assert read_lines(path) == ["id\tname", "0\ta\x0cb"]
    table = read_table(path, ("id", "name"), delimiter="\t")
    assert table.loc[2].tolist() == ["0", "a\x0cb"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id\tname\tname\n0\ta\tb\n", "row 1: expected each column once, found 'name' again"),
        (b"id\tname\n0\ta\tb\n", "row 2: expected 2 columns, found 3"),
        (b"id\tname\n", "expected rows after the header, found none"),
        (b" \n\n", "the file is empty"),
        ("id\tname\n0\tä\n".encode("latin-1"), "expected text in UTF-8"),
    ],
)
def test_a_damaged_table_is_refused_by_file_and_row(tmp_path, content, message):
    path = tmp_path / "table.txt"
    path.write_bytes(content)
    with pytest.raises(CorpusFormatError, match=message) as caught:
        read_table(path, ("id", "name"), delimiter="\t")
    assert caught.value.path == path


def test_what_is_no_file_is_refused_by_name(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(CorpusFormatError, match=r"folder\.txt: expected a file to read"):
        read_lines(tmp_path / "folder.txt")
    with pytest.raises(CorpusFormatError, match=r"absent\.txt: expected this file, found none"):
        read_lines(tmp_path / "absent.txt")


def test_the_content_key_sees_files_behind_links(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "linked").symlink_to(root, target_is_directory=True)
    listed = [name for name, _ in reproduce._manifest(other)]
    assert listed == ["linked/a/deep/two.txt", "linked/b/one.txt"]
