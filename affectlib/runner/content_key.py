"""The content key of a notebook: a hash of everything that its outputs depend on.

The key covers code cells, parameters, the modules of affectlib that a notebook reaches by import,
the published tables, the results of other notebooks that it reads, the real corpora, the lock file
and the Python version. Comments, docstrings and markdown are not part of it.
"""

import ast
import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from affectlib import paths
from affectlib.runner.notebooks import code_cells

# Hashes of the corpora that were scanned already, while `each_corpus_scanned_once` is active.
_scanned: dict[Path, str] | None = None

# A module, and a name that is imported from it; None where the module itself is imported.
Import = tuple[str, str | None]


def content_key(notebook: Path, slug: str, parameters: Mapping[str, object]) -> str:
    """Hash of everything that the outputs of a notebook depend on.

    Args:
        notebook: its file
        slug: its slug
        parameters: those that differ from the defaults
    """
    sources = code_cells(notebook)
    code = "\n".join(sources)
    modules = []
    for file, text in module_files(sources).items():
        modules.append([str(file.relative_to(paths.ROOT)), _syntax(text)])
    tables = (paths.ROOT / "affectlib" / "published" / slug).glob("*.csv")
    files = sorted([*tables, paths.ROOT / "requirements.lock"])
    parts = [
        sys.version_info[:3],
        dict(parameters),
        [_syntax(source) for source in sources],
        modules,
        [[file.name, _digest(file)] for file in files],
        [manifest(folder) for folder in _golden_folders(code, slug)],
        _real_corpora(code, parameters),
        _named_files(parameters),
        {other: results_hash(other) for other in slugs_read(notebook, slug)},
    ]
    if "paths.DATA" in code and not re.search(r"^corpus\b", code, flags=re.M):
        # The notebook looks at every corpus that may be there.
        parts.append(_listing(paths.DATA))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def results_hash(slug: str) -> str | None:
    """Hash of the metrics.json of a paper, None where there is none."""
    file = paths.FIGURES / slug / "metrics.json"
    return _digest(file) if file.exists() else None


def figures_hash(slug: str) -> str:
    """Hash of every file that a run of a paper leaves in ``figures/<slug>``, by name and content.

    The spread over seeds is no part of it: ``make spread`` writes that file, and no notebook.
    """
    folder = paths.FIGURES / slug
    digests = []
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name != "spread.json":
            digests.append([name, _digest(file)])
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


# ---------------------------------------------------------------- code


# Cached, since many notebooks reach the same module, and each is planned twice.
@functools.cache
def _syntax(source: str) -> str:
    """Syntax tree of some code as text, without docstrings and places in the file."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:]
    return ast.dump(tree)


def _is_docstring(node: ast.AST) -> bool:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)


@functools.cache
def _imports(source: str) -> list[Import]:
    """Everything that some code imports of affectlib, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found += [(module, alias.name) for alias in node.names]
    return [(module, name) for module, name in found if module.startswith("affectlib")]


def _file_of_module(module: str) -> Path | None:
    """The file of a dotted module name, None where it is no module of affectlib."""
    stem = paths.ROOT.joinpath(*module.split("."))
    for file in (stem.with_suffix(".py"), stem / "__init__.py"):
        if file.exists():
            return file
    return None


def module_files(sources: Iterable[str]) -> dict[Path, str]:
    """Files of the affectlib modules that some code reaches by import, directly or through others.

    A name that a package only passes on leads to the module that defines it, not to the package's
    other modules.

    Returns:
        file to its text, in sorted order
    """
    files = {}
    seen = set()
    waiting = []
    for source in sources:
        waiting += _imports(source)
    while waiting:
        module, name = waiting.pop()
        if (module, name) in seen:
            continue
        seen.add((module, name))
        if name is not None and _file_of_module(f"{module}.{name}"):
            module = f"{module}.{name}"
            name = None
        file = _file_of_module(module)
        if file is None:
            continue
        text = file.read_text(encoding="utf-8")
        origin = _origin(file, text, name)
        if origin is not None:
            waiting.append((origin, name))
        elif file not in files:
            files[file] = text
            waiting += _imports(text)
    return dict(sorted(files.items()))


def _origin(file: Path, text: str, name: str | None) -> str | None:
    """The module from which a package imports a name that it passes on; None for any other name."""
    if file.name != "__init__.py":
        return None
    for module, imported in reversed(_imports(text)):
        if imported == name and imported is not None:
            return module
    return None


# ---------------------------------------------------------------- data


def corpora_read(code: str) -> list[str]:
    """Names of the real corpora that some code may load.

    A corpus is named by the call of its loader, or by its name as text, as in
    ``getattr(corpora, f"load_{name}")``. A name that the code only mentions does no harm: its files
    then are part of the key for nothing.
    """
    named = set(re.findall(r"\bload_(\w+)\b", code))
    named |= set(re.findall(r"[\"'](\w+)[\"']", code))
    return sorted(named & _loaders())


@functools.cache
def _loaders() -> set[str]:
    """Names of all corpora that have a loader."""
    package = Path(__file__).resolve().parents[1] / "corpora" / "__init__.py"
    return set(re.findall(r"\bload_(\w+)\b", package.read_text(encoding="utf-8")))


def _real_corpora(code: str, parameters: Mapping[str, object]) -> list[list[str]]:
    """Name and hash of every real corpus that a notebook may read and that is there."""
    if parameters.get("corpus") != "real":
        return []
    folders = [paths.DATA / name for name in corpora_read(code)]
    return [[folder.name, _scan_once(folder)] for folder in folders if folder.is_dir()]


@contextmanager
def each_corpus_scanned_once() -> Iterator[None]:
    """Within it, the keys of all notebooks take one scan of each corpus, of up to ten seconds.

    A corpus that changes meanwhile is noticed by the process that runs a notebook, which scans it
    for itself, and by the next command.
    """
    global _scanned
    _scanned = {}
    try:
        yield
    finally:
        _scanned = None


def _scan_once(folder: Path) -> str:
    if _scanned is None:
        return scan(folder)
    if folder not in _scanned:
        _scanned[folder] = scan(folder)
    return _scanned[folder]


def _named_files(parameters: Mapping[str, object]) -> list[list]:
    """Path, size and date of every file that a parameter names, such as a film of one's own."""
    named = []
    for value in parameters.values():
        if isinstance(value, str) and value:
            file = paths.from_root(value)
            # Not Path.is_file: that fails for text that can be no path.
            if os.path.isfile(file):
                about = file.stat()
                named.append([value, about.st_size, about.st_mtime_ns])
    return named


def _golden_folders(code: str, slug: str) -> list[Path]:
    """The folders of reference files that a notebook names, and the folder of its slug."""
    if "GOLDEN" not in code:
        return []
    folders = []
    for folder in sorted(paths.GOLDEN.glob("*")):
        quoted = rf"[\"'/]{re.escape(folder.name)}[\"'/]"
        is_named = folder.name == slug or re.search(quoted, code)
        if folder.is_dir() and is_named:
            folders.append(folder)
    return folders


def manifest(folder: Path) -> list[list]:
    """Relative path and content hash of every file below a folder of reference files.

    Links are followed.
    """
    from affectlib.corpora.files import files_below
    from affectlib.features.store import Store

    content = Store().content
    return [[file.relative_to(folder).as_posix(), content(file)] for file in files_below(folder)]


def scan(folder: Path) -> str:
    """Hash of the path, size and modification time of every file below a folder.

    Contents are not read: a real corpus has up to a million and a half of files. The files are
    those that the loaders see.

    Raises:
        FileFormatError: if a folder cannot be read
    """
    from affectlib.corpora.files import entries_of, folders_below

    digest = hashlib.sha256()
    for place in folders_below(folder):
        digest.update(f"{place.relative_to(folder)}\n".encode("utf-8", "surrogateescape"))
        # By entries and not by paths, which would take twice the time.
        for entry in sorted(entries_of(place), key=lambda entry: entry.name):
            if entry.is_file():
                about = entry.stat()
                line = f"{entry.name}\0{about.st_size}\0{about.st_mtime_ns}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _listing(folder: Path) -> list[list]:
    """Names and sizes of everything that stands directly in the folders of a folder.

    The size of a folder is None.
    """
    entries = []
    for path in sorted(folder.glob("*/*")):
        size = path.stat().st_size if path.is_file() else None
        entries.append([str(path.relative_to(folder)), size])
    return entries


def slugs_read(notebook: Path, slug: str) -> list[str]:
    """Slugs of the other notebooks whose results a notebook reads.

    It reads them by ``results.recorded`` or ``results.read_metrics``.
    """
    found = set()
    for source in code_cells(notebook):
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            function = ast.unparse(node.func).split(".")[-1]
            first = node.args[0]
            if function in ("recorded", "read_metrics") and isinstance(first, ast.Constant):
                found.add(first.value)
    return sorted(found - {slug})
