"""The report of a film: one file that asks for nothing, and shows what the analysis says."""

import html
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from affectlib.film.annotation import Annotation
from affectlib.film.report import write_report

HOSTILE = "<b>\"ü & x'.mp4"
# Elements that have no end.
VOID = {"meta", "link", "img", "input", "path", "br"}


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.addresses = []
        self.alternatives = []
        self.text = ""
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [
            attributes[name] for name in ("src", "href", "poster") if name in attributes
        ]
        if tag in ("img", "video") or attributes.get("role") == "img":
            self.alternatives.append(attributes.get("alt") or attributes.get("aria-label"))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def film(write_film, tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / HOSTILE)


def page_of(analysis, folder, **options):
    write_report(analysis, folder / "report.html", **options)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(film, analysis_of, tmp_path_factory):
    """The page of the film, by simulated models."""
    return page_of(analysis_of(film), tmp_path_factory.mktemp("text"))


def test_the_page_is_whole_and_asks_nothing_of_a_network(text, film, analysis_of, tmp_path):
    page = Page(text)
    assert page.open == []
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    assert all(page.alternatives)
    assert "default-src 'none'" in text
    assert "://" not in re.sub(r"base64,[\w+/=]+", "", text)
    assert page_of(analysis_of(film), tmp_path) == text
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_name_is_shown_as_it_is_and_not_as_markup(text, film):
    page = Page(text)
    assert "b" not in page.tags
    assert HOSTILE in page.text
    assert str(film.parent) not in text
    assert html.escape(HOSTILE, quote=False)[:9] in text


def test_simulated_models_are_said_on_the_figure_itself(text, film, analysis_of, tmp_path):
    stamp = '<span class="stamp">simulated models</span>'
    assert text.count(stamp) == 2
    real = page_of(analysis_of(film, kind="real, descriptors"), tmp_path)
    assert stamp not in real
    assert "real, descriptors" in real


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, flags=re.S)[1])


def test_the_values_that_are_read_out_are_those_of_the_analysis(text, film, analysis_of):
    analysis = analysis_of(film)
    data = data_of(text)
    assert data["from"][2] == "0:00:10:00"
    words = dict(data["words"])
    assert list(words) == ["valence", "arousal", "distance", "brightness"]
    for i, value in enumerate(analysis.curves["valence"].middle):
        assert words["valence"][i].startswith(f"{value:+.2f} (band {value - 0.9:+.2f}")
    assert ["unlike" in text for text in words["distance"]] == analysis.likeness.unlike.tolist()


def paths_of(text, layer):
    """The SVG paths of a layer; the switches above the drawings have samples of them, too."""
    drawings = text.partition('id="tracks"')[2]
    return re.findall(rf'class="layer {layer}" d="(.*?)"', drawings)


def points(path):
    """Horizontal and vertical places along a path."""
    return np.array([[float(x) for x in pair.split()] for pair in re.split("[ML]", path)[1:]])


def test_a_curve_is_drawn_where_its_values_are_and_is_not_cut_off(text, film, analysis_of):
    analysis = analysis_of(film)
    drawn = points(paths_of(text, "middle")[0])
    middle = analysis.curves["valence"].middle
    assert drawn[1:-1, 0] == pytest.approx(1000 * (np.arange(8) + 0.5) / 8, abs=0.1)
    # The band reaches to -1.4 and +1.35: the axis goes from -1.5 to 1.5.
    assert drawn[1:-1, 1] == pytest.approx(200 * (1.5 - middle) / 3, abs=0.1)
    for band in paths_of(text, "band"):
        heights = points(band.rstrip("Z"))[:, 1]
        assert 0 <= heights.min() <= heights.max() <= 200


def test_an_annotation_is_drawn_over_the_curve_with_its_agreement(film, analysis_of, tmp_path):
    analysis = analysis_of(film)
    values = pd.DataFrame({"start": [0.0, 20.0], "end": [15.0, 40.0], "value": [0.5, -0.5]})
    annotation = Annotation(film, {"valence": values})
    text = page_of(analysis, tmp_path, annotation=annotation)
    (path,) = paths_of(text, "annotation")
    # Segment 3 is not annotated: the line breaks there.
    first, second = (points("M" + part) for part in path.split("M")[1:])
    assert [len(first), len(second)] == [4, 5]
    assert "Agreement with your annotation" in text
    assert "yours +0.50" in dict(data_of(text)["words"])["valence"][0]


def test_a_film_without_picture_sound_or_curve_has_a_page(film, analysis_of, tmp_path):
    analysis = analysis_of(film)
    about = replace(analysis.media, width=None, height=None, frame_rate=None)
    nothing = replace(
        analysis.contents,
        shots=analysis.contents.shots.iloc[:0],
        faces=analysis.contents.faces.iloc[:0],
        face_times=(),
    )
    bare = replace(analysis, media=about, contents=nothing, curves={}, likeness=None)
    page = Page(page_of(bare, tmp_path))
    assert page.open == []
    assert "no picture" in page.text
    assert "No model was asked" in page.text
    assert "img" not in page.tags and "video" not in page.tags


# ---------------------------------------------------------------- in a real browser

SCREENS = {"desk": (1280, 900), "phone": (390, 844)}
GROUND = """
const parts = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
return (parts[0] + parts[1] + parts[2]) / 3;
"""
PLAY = """
const done = arguments[0];
const video = document.querySelector("video");
video.muted = true;
video.addEventListener("timeupdate", () => {
    if (video.currentTime > 0.2) done([video.readyState, video.videoWidth, video.duration]);
});
video.addEventListener("error", () => done(video.error.message));
video.play();
"""
POSITION = "return document.getElementById('picture').style.backgroundPosition"
TIME = "return document.getElementById('time').textContent"
REQUESTED = "return performance.getEntriesByType('resource').map((entry) => entry.name)"


@pytest.fixture(scope="module")
def shown(request, film, analysis_of, tmp_path_factory):
    """A browser with the report of a film."""
    if not os.environ.get("AFFECTLIB_BROWSER"):
        pytest.skip("opens a real browser: `make browser`")
    browser = request.getfixturevalue("browser")
    page = tmp_path_factory.mktemp("page") / "report.html"
    write_report(analysis_of(film), page)
    browser.get_log("browser")
    browser.get(page.as_uri())
    return browser


def test_mouse_and_keys_move_the_picture_and_the_values(shown):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    plot = shown.find_element(By.CSS_SELECTOR, ".plot.curve")
    seen = {}
    for share in (-0.45, 0.05, 0.45):
        offset = round(share * plot.size["width"])
        ActionChains(shown).move_to_element_with_offset(plot, offset, 10).perform()
        seen[shown.execute_script(TIME)] = shown.execute_script(POSITION)
    assert list(seen) == [
        "0:00:00:00 to 0:00:05:00",
        "0:00:20:00 to 0:00:25:00",
        "0:00:35:00 to 0:00:40:00",
    ]
    assert len(set(seen.values())) == 3
    slider = shown.find_element(By.ID, "moment")
    slider.send_keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert shown.execute_script(TIME) == "0:00:10:00 to 0:00:15:00"
    assert slider.get_attribute("aria-valuetext") == "0:00:10:00"
    live = shown.find_element(By.CSS_SELECTOR, "[aria-live]")
    assert "+0.45 (band -0.45 to +1.35)" in live.text
    assert "unlike" not in live.text
    slider.send_keys(Keys.END)
    assert "unlike the training films" in live.text


def test_a_modality_can_be_switched_on(shown):
    from selenium.webdriver.common.by import By

    line = shown.find_element(By.CSS_SELECTOR, "#tracks .modality-0")
    assert not line.is_displayed()
    shown.find_element(By.CSS_SELECTOR, "[data-layer=modality-0]").click()
    assert line.is_displayed()


def test_a_peak_plays(shown):
    state, width, seconds = shown.execute_async_script(PLAY)
    assert state >= 2
    assert width == 64
    assert seconds == pytest.approx(5, abs=0.1)


def test_the_page_fits_a_phone_in_the_dark_and_says_nothing_is_wrong(shown):
    for dark in (False, True):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        assert (shown.execute_script(GROUND) < 128) is dark
        for width, height in SCREENS.values():
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            shown.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            wider = "return document.documentElement.scrollWidth - window.innerWidth"
            assert shown.execute_script(wider) <= 0
    requested = shown.execute_script(REQUESTED)
    assert all(name.startswith("data:") for name in requested)
    assert [entry for entry in shown.get_log("browser") if entry["level"] != "INFO"] == []
