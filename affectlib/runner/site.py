"""Builds the site: executed notebooks, a gallery of figures, the glossary and the API.

Sphinx reads one folder, and nothing is to be written into the checkout. So all pages are copied
into a temporary folder, at the places that they have in the checkout: links between notebooks,
README and glossary are then the same in JupyterLab, on GitHub and on the site. Pages that are made
from data (the gallery, the table for teachers, one page per module) are written beside them.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

import affectlib
from affectlib import paths
from affectlib.errors import AffectError
from affectlib.runner import folders
from affectlib.runner.course import exercise_table
from affectlib.runner.notebooks import find_notebooks

SOURCE = paths.ROOT / "site"
FIGURES = paths.ROOT / "figures"
# Pages of the checkout that are shown as they are.
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
# Not on the API's pages: commands, and old import paths that hold nothing.
NOT_API = ("runner", "moved", "reproduce", "sweep", "agreement")
# The kind of figures whose notebook writes no metrics.json: it reads simulated corpora only.
SIMULATED = "simulated"


class SiteError(AffectError, RuntimeError):
    """The site cannot be built as it should be: a link, a picture or a page is broken."""


def build(folder: Path) -> None:
    """Builds the site.

    Args:
        folder: where its pages go; an older site there is replaced

    Raises:
        SiteError: if Sphinx has an error or a warning, or if a page has a link or a picture that
            leads nowhere, or a picture without alternative text; nothing is written then
        FolderError: if the folder holds something else than a site
    """
    folder = Path(folder)
    folders.check_replaceable(folder, sign=".buildinfo")
    paths.make_folder(folder.parent)
    # Beside the final place: a rename within one disk leaves no half-written site.
    with TemporaryDirectory(dir=folder.parent) as temporary:
        source = Path(temporary, "source")
        pages = Path(temporary, "pages")
        collect(source)
        _run_sphinx(source, pages)
        faults = broken(pages)
        if faults:
            raise SiteError("\n".join(["the site has faults:", *faults]))
        folders.replace(folder, pages)


def collect(source: Path) -> None:
    """Writes everything that Sphinx reads into one folder.

    Args:
        source: a folder that does not exist yet
    """
    shutil.copytree(SOURCE, source / "site")
    for name in ("conf.py", "index.md"):
        (source / "site" / name).rename(source / name)
    for name in PAGES:
        shutil.copy(paths.ROOT / name, source)
    (source / "notebooks").mkdir()
    for notebook in find_notebooks().values():
        shutil.copy(notebook, source / "notebooks")
    shutil.copytree(FIGURES, source / "figures", ignore=shutil.ignore_patterns("*.csv", "*.json"))
    _append(source / "site" / "gallery.md", gallery())
    _append(source / "site" / "teachers.md", exercise_table())
    _write_api(source / "api")


def _append(page: Path, text: str) -> None:
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{text}", encoding="utf-8")


def _run_sphinx(source: Path, pages: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--quiet"]
    command += ["--fail-on-warning", "--keep-going", "--jobs", "auto"]
    command += [str(source), str(pages), "--doctree-dir", str(source.parent / "doctrees")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        told = (done.stderr or done.stdout).replace(f"{source}/", "")
        raise SiteError(f"Sphinx could not build the site:\n{told.strip()}")


# ---------------------------------------------------------------- pages made from data


def figure_files() -> dict[str, list[Path]]:
    """The stored pictures of each notebook, in reading order; notebooks without one are left out.

    Returns:
        slug to files
    """
    found = {slug: sorted((FIGURES / slug).glob("*.png")) for slug in find_notebooks()}
    return {slug: pictures for slug, pictures in found.items() if pictures}


def alternative_text(picture: Path) -> str:
    """The sentence that stands beside a picture, for a reader who cannot see it.

    Raises:
        SiteError: if there is none
    """
    file = picture.with_suffix(".txt")
    if not file.is_file() or not file.read_text(encoding="utf-8").strip():
        raise SiteError(f"{file}: expected a sentence on what {picture.name} shows, found none")
    return file.read_text(encoding="utf-8").strip()


def gallery() -> str:
    """All figures with alternative text and kind, as Markdown."""
    notebooks = find_notebooks()
    blocks = []
    for slug, pictures in figure_files().items():
        blocks.append(f"## {_title(notebooks[slug])}\n\n::::{{container}} gallery")
        for picture in pictures:
            text = _escaped(alternative_text(picture))
            shown = f"![{text}](../figures/{slug}/{picture.name})"
            blocks.append(":::{container} picture")
            blocks.append(f"[{shown}](../notebooks/{notebooks[slug].name})\n")
            blocks.append(f"**{_kind(slug)}**: {text}\n:::")
        blocks.append("::::\n")
    return "\n".join(blocks)


def _escaped(text: str) -> str:
    """Text in which Markdown finds no marks."""
    return re.sub(r"([\\`*_\[\]<>$])", r"\\\1", text)


def _kind(slug: str) -> str:
    metrics = FIGURES / slug / "metrics.json"
    if not metrics.is_file():
        return SIMULATED
    return json.loads(metrics.read_text(encoding="utf-8"))["kind"]


def _title(notebook: Path) -> str:
    """The first heading of a notebook."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        heading = re.match(r"# (.+)", "".join(cell["source"]))
        if cell["cell_type"] == "markdown" and heading:
            return heading.group(1)
    raise SiteError(f"{notebook}: expected a heading in its first cells, found none")


def api_modules() -> list[str]:
    """Dotted names of all modules that have a page.

    A package that exports names has one page for them; one that does not has a page per module.
    """
    names = []
    for module in pkgutil.iter_modules(affectlib.__path__, "affectlib."):
        if module.name.removeprefix("affectlib.") in NOT_API:
            continue
        names += _pages_of(module.name)
    return names


def _pages_of(name: str) -> Iterator[str]:
    module = importlib.import_module(name)
    if module.__name__ != name:
        return  # an old import path: it has become the module that took its place
    if not hasattr(module, "__path__") or hasattr(module, "__all__"):
        yield name
        return
    for part in pkgutil.iter_modules(module.__path__, f"{name}."):
        yield from _pages_of(part.name)


def _write_api(folder: Path) -> None:
    """Writes one page per module, and one that lists them with the first sentence of each."""
    folder.mkdir()
    names = api_modules()
    lines = [
        *_heading("API"),
        "Import from these modules of ``affectlib``.",
        "",
    ]
    for name in names:
        summary = (importlib.import_module(name).__doc__ or "").strip().split("\n")[0]
        lines.append(f":doc:`{name}`\n    {summary}\n")
        title = name.removeprefix("affectlib.")
        page = [*_heading(title), f".. automodule:: {name}", "   :members:", ""]
        if hasattr(importlib.import_module(name), "__all__"):
            page.insert(-1, "   :imported-members:")
        (folder / f"{name}.rst").write_text("\n".join(page), encoding="utf-8")
    lines += [".. toctree::", "   :hidden:", "", *(f"   {name}" for name in names), ""]
    (folder / "index.rst").write_text("\n".join(lines), encoding="utf-8")


def _heading(text: str) -> list[str]:
    return [text, "=" * len(text), ""]


# ---------------------------------------------------------------- checks of the built pages


class Page(HTMLParser):
    """What a built page links to, shows and can be linked at.

    Args:
        file: the page
    """

    def __init__(self, file: Path):
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = set()
        self.without_text: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """HTMLParser calls this for each tag."""
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag in ("a", "link") and "href" in values:
            self.targets.add(values["href"])
        if tag in ("img", "script", "iframe", "source") and "src" in values:
            self.targets.add(values["src"])
        if tag == "img" and not values.get("alt", "").strip():
            self.without_text.append(values.get("src", "")[:60])


def broken(pages: Path) -> list[str]:
    """Looks for faults in built pages: links, pictures, alternative texts, addresses.

    Addresses on the web are not opened, but they have to be whole.

    Args:
        pages: folder of a built site

    Returns:
        one line per fault, with the page that has it
    """
    pages = Path(pages).resolve()
    read = {}
    for file in sorted(pages.rglob("*.html")):
        # The theme's own templates are copied along. They are no pages.
        if "_static" not in file.relative_to(pages).parts:
            read[file] = Page(file)
    faults = []
    for file, page in read.items():
        name = file.relative_to(pages).as_posix()
        for picture in page.without_text:
            faults.append(f"{name}: a picture has no alternative text: {picture}")
        for target in sorted(page.targets):
            fault = _fault(target, file, read)
            if fault:
                faults.append(f"{name}: {target[:100]}: {fault}")
    return faults


def _fault(target: str, file: Path, read: Mapping[Path, Page]) -> str | None:
    """What is wrong with a link of a page; None if nothing is."""
    parts = urlsplit(target)
    if parts.scheme == "data":
        return None
    if parts.scheme or parts.netloc:
        whole = parts.scheme in ("http", "https") and "." in parts.netloc
        return None if whole else "not a whole address"
    if parts.path:
        file = (file.parent / unquote(parts.path)).resolve()
    if not file.exists():
        return "no such file"
    fragment = unquote(parts.fragment)
    # "#" alone is a button of the theme.
    if fragment and file in read and fragment not in read[file].anchors:
        return "no such place in that page"
    return None
