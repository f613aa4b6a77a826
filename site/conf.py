"""Settings of the site. `make site` copies this file and all pages into one folder."""

import os
import re

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

import affectlib

project = "affectlib"
author = "the authors of affectlib"
version = release = affectlib.__version__
language = "en"
root_doc = "index"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
]

# Notebooks are shown as they are stored: nothing runs while the site is built.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "linkify"]
# Only whole addresses become links: README names files such as conf.py, which look like hosts.
myst_linkify_fuzzy_links = False
# Headings are link targets as on GitHub: small letters, hyphens for spaces.
myst_heading_anchors = 4

bibtex_bibfiles = ["site/references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
# Text, not pairs of a type and a description.
napoleon_custom_sections = ["Shape", "Returns", "Differs from the paper in"]

html_theme = "sphinx_book_theme"
html_title = "affectlib"
html_static_path = ["site/_static"]
html_css_files = ["affectlib.css"]
html_favicon = "site/_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_theme_options = {
    "use_download_button": True,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "navbar_persistent": [],  # the sidebar has a search field already
}
# There is no public address yet. Once there is one, this variable adds buttons to the repository
# and to Binder.
repository = os.environ.get("AFFECTLIB_REPOSITORY")
if repository:
    html_theme_options |= {
        "repository_url": repository,
        "repository_branch": "main",
        "use_repository_button": True,
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org",
            "notebook_interface": "jupyterlab",
        },
    }

# Formulas become MathML here, not by a script in the browser: they show without a network, and a
# formula that cannot be read ends the build.
html_math_renderer = "mathml"
EQUATION_NUMBER = re.compile(r"\\tag\{(.*?)\}")
# A letter with an accent and an index, as in \hat y_i. docutils sets such an index below the
# letter; beside an empty power it goes to its place.
ACCENT = r"\\(?:bar|dot|hat|overline|tilde|vec|widehat)\s*(?:\{[^{}]*\}|\\?[A-Za-z]+)"
# What docutils cannot read, and how it reads it.
REWRITTEN = (
    (rf"({ACCENT})(?=\s*_)", r"\1^{}"),
    (r"\\dots\b", r"\\ldots"),
    (r"\\([Bb]igg?)(?=\s*[(\[|])", r"\\\1l"),
    (r"\\([Bb]igg?)(?=\s*[)\]/])", r"\\\1r"),
    (r"\\stackrel\b", r"\\overset"),
    (r"\{align\*?\}", r"{aligned}"),
)


def mathml(source, **options):
    """A formula of LaTeX as MathML."""
    for pattern, replacement in REWRITTEN:
        source = re.sub(pattern, replacement, source)
    return tex2mathml(source, **options)


def inline_formula(writer, node):
    """Writes a formula within a line."""
    writer.body.append(mathml(node.astext()))
    raise SkipNode


def displayed_formula(writer, node):
    r"""Writes a formula on a line of its own, with the number that ``\tag`` gives it."""
    source = node.astext()
    number = EQUATION_NUMBER.search(source)
    formula = mathml(EQUATION_NUMBER.sub("", source), as_block=True)
    writer.body.append(f'<div class="formula">{formula}')
    if number:
        writer.body.append(f'<span class="number">({number.group(1)})</span>')
    writer.body.append("</div>\n")
    raise SkipNode


def setup(app):
    """Sphinx calls this."""
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
