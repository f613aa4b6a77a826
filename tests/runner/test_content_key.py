"""The content key follows everything that a notebook's outputs depend on, and nothing else."""

import os

import nbformat
import pytest

import affectlib.runner.content_key as module
from affectlib import paths
from affectlib.runner.content_key import (
    content_key,
    corpora_read,
    module_files,
    scan,
    slugs_read,
)
from affectlib.runner.notebooks import code_cells, find_notebooks
from affectlib.runner.reproduce import plan


@pytest.fixture
def key_of(tmp_path, write_notebook):
    """Gives the key of a notebook with these sources and parameters."""

    def find(*sources, **parameters):
        notebook = write_notebook(tmp_path / "n.ipynb", *sources)
        return content_key(notebook, "n", parameters)

    return find


def test_key_ignores_comments_but_not_code_and_parameters(key_of):
    key = key_of("x = 1")
    assert key_of("# why\nx = 1  # so") == key
    assert key_of("x = 2") != key
    assert key_of("x = 1", epochs=4) != key


def test_key_ignores_markdown(tmp_path, key_of):
    key = key_of("x = 1")
    notebook = nbformat.read(tmp_path / "n.ipynb", 4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("words"))
    nbformat.write(notebook, tmp_path / "n.ipynb")
    assert content_key(tmp_path / "n.ipynb", "n", {}) == key


def test_key_follows_a_file_that_a_parameter_names(key_of, tmp_path):
    film = tmp_path / "holiday.mp4"
    missing = key_of("x = 1", film=str(film))
    film.write_bytes(b"first")
    first = key_of("x = 1", film=str(film))
    film.write_bytes(b"another")
    assert len({missing, first, key_of("x = 1", film=str(film))}) == 3
    # Text that can be no path is no file.
    assert key_of("x = 1", name="a" * 5000) != key_of("x = 1", name="\0")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small checkout of its own: a package and a lock."""
    package = tmp_path / "affectlib"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "low.py").write_text('"""Doc."""\nA = 1\n')
    (package / "sub" / "__init__.py").write_text(
        "def late():\n    from affectlib.low import A\n    return A\n"
    )
    (package / "other.py").write_text("B = 1\n")
    (tmp_path / "requirements.lock").write_text("x==1\n")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def file_names(*sources):
    return [file.name for file in module_files(sources)]


def test_imports_inside_functions_are_followed(checkout):
    assert file_names("from affectlib import sub") == ["low.py", "__init__.py"]


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("affectlib/low.py", "A = 2\n", True),
        ("affectlib/low.py", '"""Another text."""\nA = 1  # comment\n', False),
        ("affectlib/other.py", "B = 2\n", False),
        ("requirements.lock", "x==2\n", True),
    ],
    ids=["imported code", "imported text", "other module", "lock"],
)
def test_key_follows_imported_code_and_the_lock(checkout, write_notebook, file, text, changes):
    notebook = write_notebook(checkout / "n.ipynb", "from affectlib import sub")
    before = content_key(notebook, "n", {})
    (checkout / file).write_text(text)
    assert (content_key(notebook, "n", {}) != before) is changes


def test_a_name_that_a_package_passes_on_leads_to_its_module_only(checkout):
    package = checkout / "affectlib" / "many"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from affectlib.many.a import f\nfrom affectlib.many.b import g\n"
    )
    (package / "a.py").write_text("from affectlib.low import A as f\n")
    (package / "b.py").write_text("g = 1\n")
    assert file_names("from affectlib.many import f") == ["low.py", "a.py"]
    assert file_names("from affectlib import many") == ["low.py", "__init__.py", "a.py", "b.py"]
    assert file_names("import affectlib.many.b") == ["b.py"]


def test_key_of_a_notebook_that_looks_for_any_corpus_follows_the_data_folder(
    checkout, monkeypatch, write_notebook
):
    monkeypatch.setattr(paths, "DATA", checkout / "data")
    looking = write_notebook(
        checkout / "a.ipynb", "from affectlib import paths", "print(paths.DATA)"
    )
    choosing = write_notebook(
        checkout / "b.ipynb", "corpus: str = 'simulated'", "print(paths.DATA)"
    )
    looking_keys = {content_key(looking, "n", {})}
    choosing_keys = {content_key(choosing, "n", {})}
    (checkout / "data" / "heiv").mkdir(parents=True)
    for text in ("1", "12"):
        (checkout / "data" / "heiv" / "list.txt").write_text(text)
        looking_keys.add(content_key(looking, "n", {}))
        choosing_keys.add(content_key(choosing, "n", {}))
    assert len(looking_keys) == 3
    assert len(choosing_keys) == 1


def test_key_holds_the_results_that_a_notebook_reads_of_others(notebook_folder, write_notebook):
    reader = write_notebook(
        notebook_folder / "00_reader.ipynb",
        "from affectlib.results import read_metrics, recorded",
        "read_metrics('reader') if epochs < 0 else read_metrics('writer')",
    )
    write_notebook(notebook_folder / "01_writer.ipynb", "1")
    assert slugs_read(reader, "reader") == ["writer"]
    figures = notebook_folder / "figures"
    absent = plan("reader").key
    for slug in ("reader", "writer"):
        (figures / slug).mkdir(parents=True)
    (figures / "reader" / "metrics.json").write_text("{}")
    assert plan("reader").key == absent
    (figures / "writer" / "metrics.json").write_text("{}")
    present = plan("reader").key
    assert present != absent
    (figures / "writer" / "metrics.json").write_text('{"epochs": 1}')
    assert plan("reader").key not in (absent, present)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("corpora.load_heiv(root)", ["heiv"]),
        ("getattr(corpora, f'load_{name}')\nNAMES = ('heiv', \"ekman6\")", ["ekman6", "heiv"]),
        ("load_cognimuse(paths.DATA / 'cognimuse')", ["cognimuse"]),
        ("load_features('table')", []),
    ],
)
def test_corpora_are_found_by_loader_or_by_name(code, names):
    assert corpora_read(code) == names


def test_key_follows_the_files_of_every_real_corpus(checkout, monkeypatch, write_notebook):
    monkeypatch.setattr(paths, "DATA", checkout / "data")
    source = "for name in ('heiv', 'ekman6'):\n    getattr(corpora, f'load_{name}')"
    notebook = write_notebook(checkout / "n.ipynb", "corpus: str = 'simulated'", source)
    real = {"corpus": "real"}
    keys = {content_key(notebook, "n", real)}
    for name in ("heiv", "ekman6"):
        (checkout / "data" / name).mkdir(parents=True)
        keys.add(content_key(notebook, "n", real))
        (checkout / "data" / name / "a.mp4").write_text("film")
        keys.add(content_key(notebook, "n", real))
    (checkout / "data" / "afew_va").mkdir()
    assert content_key(notebook, "n", real) in keys
    assert len(keys) == 5


def test_a_scan_sees_names_sizes_dates_and_through_links(tmp_path):
    folder = tmp_path / "corpus"
    outside = tmp_path / "disk"
    for place in (folder / "a", outside):
        place.mkdir(parents=True)
    (outside / "b.mp4").write_text("1")
    (folder / "films").symlink_to(outside)
    # A circle of links is walked once.
    (outside / "back").symlink_to(folder)
    (folder / "lost").symlink_to(tmp_path / "nowhere")
    seen = {scan(folder)}
    assert scan(folder) in seen
    (outside / "b.mp4").write_text("12")
    seen.add(scan(folder))
    os.utime(outside / "b.mp4", ns=(0, 0))
    seen.add(scan(folder))
    (outside / "b.mp4").rename(outside / "c.mp4")
    seen.add(scan(folder))
    assert len(seen) == 4


def test_keys_of_one_command_share_the_scan_of_a_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    (tmp_path / "afew_va").mkdir()
    scanned = []
    monkeypatch.setattr(module, "scan", lambda folder: scanned.append(folder.name) or "hash")
    read = ("load_afew_va(root)", {"corpus": "real"})
    with module.each_corpus_scanned_once():
        assert module._real_corpora(*read) == module._real_corpora(*read)
    assert scanned == ["afew_va"]
    # Afterwards each key is of the corpus as it is.
    module._real_corpora(*read)
    assert scanned == ["afew_va", "afew_va"]


def test_a_scan_reads_no_file(tmp_path):
    # A terabyte that takes no room on disk: to read it would take hours.
    with (tmp_path / "a.mp4").open("wb") as file:
        file.truncate(10**12)
    assert len(scan(tmp_path)) == 64


@pytest.mark.parametrize(
    ("slug", "names"),
    [
        ("mood_change", ["afew_va"]),
        ("shot_long", ["liris_continuous", "mediaeval15", "mediaeval18"]),
        ("attend_affect", ["cognimuse", "eimt16"]),
        ("gla", ["liris_continuous", "mediaeval18"]),
        ("caan", ["ekman6", "heiv", "videoemotion8"]),
        ("comparison", ["mediaeval18"]),
    ],
)
def test_every_corpus_that_a_notebook_loads_is_seen(slug, names):
    code = "\n".join(code_cells(find_notebooks()[slug]))
    assert corpora_read(code) == names


def test_key_follows_a_corpus_that_is_a_link_to_another_disk(checkout, monkeypatch, write_notebook):
    monkeypatch.setattr(paths, "DATA", checkout / "data")
    notebook = write_notebook(
        checkout / "n.ipynb", "corpus: str = 'simulated'", "corpora.load_heiv(root)"
    )
    disk = checkout / "disk" / "HEIV"
    (disk / "train").mkdir(parents=True)
    (checkout / "data").mkdir()
    keys = {content_key(notebook, "n", {"corpus": "real"})}
    (checkout / "data" / "heiv").symlink_to(disk)
    keys.add(content_key(notebook, "n", {"corpus": "real"}))
    for name in ("a.mp4", "b.mp4"):
        (disk / "train" / name).write_text("film")
        keys.add(content_key(notebook, "n", {"corpus": "real"}))
    assert content_key(notebook, "n", {"corpus": "real"}) in keys
    assert len(keys) == 4
