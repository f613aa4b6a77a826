"""A reader opens 00_start_here in JupyterLab, runs it and moves a slider; waits, and sees a bar.

Needs Chromium: `make browser`. AFFECTLIB_BROWSER=long also restarts 03 and 05 and runs
them to the end, which takes as long as their demos.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest

from affectlib.paths import ROOT

if not os.environ.get("AFFECTLIB_BROWSER"):
    pytest.skip("opens a real browser: `make browser`", allow_module_level=True)

IS_LONG = os.environ["AFFECTLIB_BROWSER"] == "long"
LONG = ("03_attend_affect", "05_caan")
LONGEST = 3600  # seconds for one of these
# A reader who waits sees this bar; it has to be seen before it ends.
BAR = """
import time
from affectlib.progress import progress_bar

for _ in progress_bar(range(100), progress=None, unit="epoch"):
    time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    for name in ("00_start_here", *(LONG if IS_LONG else ())):
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", folder)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(BAR)]
    bar = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(bar, folder / "bar.ipynb")
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
    address = f"http://127.0.0.1:{port}/lab/tree"
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=1)
            break
        except OSError:
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait()


def wait(browser, script, seconds=60):
    """The first true value of a script, asked for twice a second."""
    for _ in range(2 * seconds):
        if value := browser.execute_script(f"return {script}"):
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


# The kernel of a notebook that is open starts anew, as by the first half of "Restart and Run All".
RESTART = """
window.restarted = "";
const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
kernel.restart().then(() => { window.restarted = "yes"; });
"""


def test_a_reader_sees_the_pictures_runs_all_and_moves_a_slider(browser, lab):
    browser.get(f"{lab}/00_start_here.ipynb?reset")
    wait(
        browser,
        "window.jupyterapp && document.querySelector('.jp-OutputArea-output img') && true",
    )
    wait(browser, f"{IDLE} && true", 120)
    browser.execute_script(RUN_ALL)
    # A slider that is moved while cells run waits for its turn, and the cell that draws it may run
    # after that.
    assert wait(browser, "window.ran", 300) == "ran, true"
    wait(browser, f"{IDLE} && true")
    wait(browser, "document.querySelectorAll('.jp-Notebook .noUi-handle').length == 2")
    picture = "document.querySelector('.jupyter-widgets.widget-image')"
    wait(browser, "document.querySelector('audio.jupyter-widgets[src]') && true")
    before = wait(browser, f"{picture} && {picture}.src")
    from selenium.webdriver.common.keys import Keys

    browser.find_element("css selector", ".noUi-handle").send_keys(Keys.ARROW_LEFT * 8)
    assert wait(browser, f"{picture} && {picture}.src != {before!r} && {picture}.src", 30) != before


def test_a_reader_who_waits_sees_a_bar(browser, lab):
    browser.get(f"{lab}/bar.ipynb?reset")
    wait(browser, f"window.jupyterapp && {IDLE} && true", 120)
    browser.execute_script(RUN_ALL)
    wait(browser, "document.querySelector('.jupyter-widgets.widget-hprogress') && true")
    assert wait(browser, "window.ran") == "ran, true"


@pytest.mark.skipif(not IS_LONG, reason="takes as long as the demo: AFFECTLIB_BROWSER=long")
@pytest.mark.parametrize("name", LONG)
def test_a_reader_restarts_and_runs_a_long_notebook_to_its_end(browser, lab, name):
    browser.get(f"{lab}/{name}.ipynb?reset")
    wait(browser, f"window.jupyterapp && {IDLE} && true", 120)
    browser.execute_script(RESTART)
    wait(browser, "window.restarted")
    browser.execute_script(RUN_ALL)
    assert wait(browser, "window.ran", LONGEST) == "ran, true"
