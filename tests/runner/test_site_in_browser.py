"""Every page of the built site in a real Chromium, light and dark, on a desk and on a phone.

Needs Chromium: `make browser`. Builds the site first, which takes about a minute.
"""

import functools
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from affectlib.runner import site

if not os.environ.get("AFFECTLIB_BROWSER"):
    pytest.skip("opens a real browser: `make browser`", allow_module_level=True)

# Width and height in pixels.
SCREENS = {"desk": (1280, 900), "phone": (390, 844)}
THEMES = ("light", "dark")

BROKEN_PICTURES = """
return Array.from(document.images)
    .filter((image) => image.loading != "lazy" && !(image.complete && image.naturalWidth))
    .map((image) => image.currentSrc.slice(0, 100));
"""
LETTERS = "return document.querySelector('.bd-article, main').innerText.trim().length"
# A picture or a table may scroll within its frame, but never the page.
TOO_WIDE = "return document.documentElement.scrollWidth - window.innerWidth"
# Luminance of the page's ground, from 0 to 255.
GROUND = """
const parts = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
return (parts[0] + parts[1] + parts[2]) / 3;
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Tells nothing of requests that worked."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "pages"
    site.build(folder)
    return folder


@pytest.fixture(scope="module")
def address(pages):
    handler = functools.partial(Quiet, directory=str(pages))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def faults(browser, page):
    """What is wrong with a page as it is shown now."""
    found = [f"{page}: broken picture {name}" for name in browser.execute_script(BROKEN_PICTURES)]
    # The page of the search has its field only, until something is searched.
    if browser.execute_script(LETTERS) < 40 and page != "search.html":
        found.append(f"{page}: empty")
    if (pixels := browser.execute_script(TOO_WIDE)) > 1:
        found.append(f"{page}: {pixels} pixels wider than the screen")
    for entry in browser.get_log("browser"):
        if entry["level"] == "SEVERE":
            found.append(f"{page}: {entry['message'][:200]}")
    return found


@pytest.mark.parametrize("screen", SCREENS)
def test_no_page_is_broken_empty_or_wider_than_the_screen(pages, address, browser, screen):
    # A window cannot be as narrow as a phone.
    width, height = SCREENS[screen]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    found = []
    for file in sorted(pages.rglob("*.html")):
        page = file.relative_to(pages).as_posix()
        if page.startswith("_static/"):
            continue
        browser.get(f"{address}/{page}")
        for theme in THEMES:
            browser.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
            is_dark = browser.execute_script(GROUND) < 128
            if is_dark != (theme == "dark"):
                found.append(f"{page}: the ground does not become {theme}")
            found += faults(browser, page)
    assert found == []


def test_the_search_finds_a_term_of_the_glossary(address, browser):
    browser.get(f"{address}/search.html?q=jackknife")
    from selenium.webdriver.support.ui import WebDriverWait

    script = "return document.querySelector('#search-results')?.innerText"
    WebDriverWait(browser, 20).until(lambda page: "Glossary" in (page.execute_script(script) or ""))
