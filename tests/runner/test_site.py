"""The sources of the site, and the checks of its pages. `make site` builds it, not this."""

import json
import re
import runpy
from xml.etree import ElementTree

import pytest

from affectlib.paths import ROOT
from affectlib.runner import site
from affectlib.runner.notebooks import find_notebooks

GLOSSARY = (ROOT / "site" / "glossary.md").read_text(encoding="utf-8")
REFERENCES = (ROOT / "site" / "references.bib").read_text(encoding="utf-8")
MATHML = "{http://www.w3.org/1998/Math/MathML}"


@pytest.fixture(scope="module")
def conf():
    """Names that the settings of the site define."""
    return runpy.run_path(str(ROOT / "site" / "conf.py"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "source"
    site.collect(folder)
    return folder


def test_every_page_is_in_a_table_of_contents(source):
    index = (source / "index.md").read_text(encoding="utf-8")
    listed = set()
    for tree in re.findall(r"```\{toctree\}\n(.*?)```", index, flags=re.S):
        for line in tree.splitlines():
            if line and not line.startswith(":"):
                listed |= {*source.glob(f"{line}.*"), *source.glob(line)}
    pages = {
        *source.glob("*.md"),
        *source.glob("notebooks/*.ipynb"),
        *source.glob("site/*.md"),
        source / "api" / "index.rst",
    }
    assert pages - listed == {source / "index.md"}
    assert len(find_notebooks()) == len(list(source.glob("notebooks/*.ipynb")))


def test_every_figure_is_in_the_gallery_with_its_text_and_its_kind(source):
    text = (source / "site" / "gallery.md").read_text(encoding="utf-8")
    pictures = sorted((ROOT / "figures").glob("*/*.png"))
    cards = re.findall(r"\[!\[(.+?)\]\((.+?)\)\]\((.+?)\)\n\n\*\*(.+?)\*\*: (.+)", text)
    assert len(cards) == len(pictures) > 40
    for alt, picture, notebook, kind, caption in cards:
        assert (source / "site" / picture).is_file()
        assert (source / "site" / notebook).is_file()
        assert alt == caption
        assert kind == "simulated" or kind.startswith("real, ")


def test_a_figure_without_a_sentence_is_refused_by_name(tmp_path):
    with pytest.raises(site.SiteError, match=r"empty\.txt: expected a sentence on what empty\.png"):
        site.alternative_text(tmp_path / "empty.png")


def test_the_api_has_every_module_a_notebook_imports(source):
    pages = {file.stem for file in (source / "api").glob("affectlib*.rst")}
    assert pages == set(site.api_modules())
    for notebook in find_notebooks().values():
        text = notebook.read_text(encoding="utf-8")
        for module in re.findall(r'"from (affectlib[\w.]*) import', text):
            # A page of its own, of the package above it, or of its parts.
            related = [page for page in pages if f"{module}.".startswith(f"{page}.")]
            parts = [page for page in pages if page.startswith(f"{module}.")]
            assert related or parts, module


def test_the_glossary_has_each_term_once_and_says_something_of_it():
    terms = re.findall(r"^### (.+)\n\n(.+)", GLOSSARY, flags=re.M)
    names = [name for name, _ in terms]
    assert len(names) == len(set(names)) >= 60
    assert all(len(text) > 25 for _, text in terms)
    for wanted in ("CCC", "Holm's correction", "Grad-CAM", "Intended emotion", "Triplet loss"):
        assert wanted in names


def test_links_to_the_glossary_name_a_term_of_it():
    headings = re.findall(r"^#+ (.+)", GLOSSARY, flags=re.M)
    # As GitHub does, and MyST: small letters, no punctuation, hyphens for spaces.
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    linked = set(re.findall(r"\(#([\w-]+)\)", GLOSSARY))
    for notebook in find_notebooks().values():
        text = notebook.read_text(encoding="utf-8")
        linked |= set(re.findall(r"site/glossary\.md#([\w%-]+)", text))
    assert linked - anchors == set()
    assert linked


def test_each_work_that_is_cited_is_listed():
    keys = set(re.findall(r"^@\w+\{(\w+),", REFERENCES, flags=re.M))
    pages = [file.read_text(encoding="utf-8") for file in (ROOT / "site").glob("*.md")]
    cited = set(re.findall(r"\{cite:[pt]\}`(\w+)`", "".join(pages)))
    assert cited == keys


def test_a_doi_has_the_form_of_one():
    given = re.findall(r"doi = \{(.+?)\}", REFERENCES)
    assert len(given) > 20
    assert [doi for doi in given if not re.fullmatch(r"10\.\d{4,}/[\w.()/-]+", doi)] == []


@pytest.mark.parametrize(
    ("formula", "index"),
    [(r"\hat y_i", "i"), (r"\hat{y}_{i}", "i"), (r"\tilde c_t", "t"), (r"\bar{\alpha}_k", "k")],
)
def test_an_index_stands_beside_its_letter_also_below_an_accent(conf, formula, index):
    tree = ElementTree.fromstring(conf["mathml"](formula))
    base, sub, _ = tree.find(f"{MATHML}msubsup")
    assert base.tag == f"{MATHML}mover"
    assert sub.text == index


@pytest.mark.parametrize(
    "formula",
    [
        r"y_1, \dots, y_n",
        r"\Big(\frac{1}{5} \sum_i z_i\Big)",
        r"\bigg[ x \bigg]",
        r"\begin{align*} a &= b \\ c &= d \end{align*}",
        r"\stackrel{a}{b}",
    ],
)
def test_common_commands_are_rewritten_for_docutils(conf, formula):
    assert conf["mathml"](formula).startswith("<math")


def formulas_of(text):
    """Formulas of a Markdown text, displayed and within lines."""
    text = re.sub(r"`[^`]*`", "", text)
    displayed = re.findall(r"\$\$(.+?)\$\$", text, flags=re.S)
    text = re.sub(r"\$\$.+?\$\$", "", text, flags=re.S)
    return displayed + re.findall(r"(?<![\\\w])\$(?! )([^$]+?)(?<! )\$(?!\w)", text)


def test_formulas_of_the_glossary_and_the_notebooks_can_be_read(conf):
    formulas = formulas_of(GLOSSARY)
    assert len(formulas) > 40
    for notebook in find_notebooks().values():
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                formulas += formulas_of("".join(cell["source"]))
    for formula in formulas:
        assert conf["mathml"](conf["EQUATION_NUMBER"].sub("", formula)).startswith("<math")


PAGE = """
<h1 id="top">Title</h1>
<a href="{link}">link</a>
<img src="picture.png" alt="{alt}">
<a href="https://doi.org/10.1037/h0077714">paper</a>
"""


@pytest.mark.parametrize(
    ("link", "alt", "fault"),
    [
        ("other.html#top", "A curve.", None),
        ("#top", "A curve.", None),
        ("missing.html", "A curve.", "page.html: missing.html: no such file"),
        ("other.html#end", "A curve.", "page.html: other.html#end: no such place in that page"),
        ("https://doi", "A curve.", "page.html: https://doi: not a whole address"),
        ("htps://doi.org", "A curve.", "page.html: htps://doi.org: not a whole address"),
        ("#top", " ", "page.html: a picture has no alternative text: picture.png"),
    ],
)
def test_a_broken_page_is_told(tmp_path, link, alt, fault):
    (tmp_path / "page.html").write_text(PAGE.format(link=link, alt=alt))
    (tmp_path / "other.html").write_text(PAGE.format(link="page.html", alt="A face."))
    (tmp_path / "picture.png").write_bytes(b"")
    assert site.broken(tmp_path) == ([] if fault is None else [fault])
