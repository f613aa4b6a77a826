"""A reader opens 00_start_here in JupyterLab, runs it and moves a slider.

Needs Chromium: `make browser`.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from affectlib.paths import ROOT

if not os.environ.get("AFFECTLIB_BROWSER"):
    pytest.skip("opens a real browser: `make browser`", allow_module_level=True)

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "notebooks" / "00_start_here.ipynb", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            f"--port={port}",
            "--IdentityProvider.token=",
            f"--ServerApp.root_dir={folder}",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"AFFECTLIB_FIGURES": str(folder / "figures")},
    )
    address = f"http://127.0.0.1:{port}/lab/tree/00_start_here.ipynb"
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=1)
            break
        except OSError:
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def page(lab):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.get(lab)
    yield driver
    driver.quit()


def wait(page, script, seconds=60):
    """The first true value of a script, asked for twice a second."""
    for _ in range(2 * seconds):
        if value := page.execute_script(f"return {script}"):
            return value
        time.sleep(0.5)
    raise AssertionError(f"never true within {seconds} s: {script}")


# JupyterLab's own answer comes when the last cell has run. Prompts of cells do not tell it: those
# that are out of sight are no part of the page.
RUN_ALL = """
window.ran = "";
jupyterapp.commands.execute("notebook:run-all-cells").then(
    (good) => { window.ran = `ran, ${good}`; },
    (error) => { window.ran = `failed, ${error}`; },
);
"""
# The circle above the notebook: its kernel waits for something to do.
IDLE = "document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')"


def test_a_reader_sees_the_pictures_runs_all_and_moves_a_slider(page):
    wait(
        page,
        "window.jupyterapp && document.querySelector('.jp-OutputArea-output img') && true",
    )
    wait(page, f"{IDLE} && true", 120)
    page.execute_script(RUN_ALL)
    # A slider that is moved while cells run waits for its turn, and the cell that draws it may run
    # after that.
    assert wait(page, "window.ran", 300) == "ran, true"
    wait(page, f"{IDLE} && true")
    wait(page, "document.querySelectorAll('.jp-Notebook .noUi-handle').length == 2")
    picture = "document.querySelector('.jupyter-widgets.widget-image')"
    wait(page, "document.querySelector('audio.jupyter-widgets[src]') && true")
    before = wait(page, f"{picture} && {picture}.src")
    from selenium.webdriver.common.keys import Keys

    page.find_element("css selector", ".noUi-handle").send_keys(Keys.ARROW_LEFT * 8)
    assert wait(page, f"{picture} && {picture}.src != {before!r} && {picture}.src", 30) != before
