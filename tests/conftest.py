"""Settings of every test: one thread, which importing affectlib sets."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from affectlib import paths

CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
)


@pytest.fixture
def golden() -> Callable[[str], Path]:
    """Gives a file or folder of real material; skips the test where it is not there."""

    def find(name: str) -> Path:
        path = paths.GOLDEN / name
        if not path.exists():
            pytest.skip(f"no {name} in {paths.GOLDEN} (AFFECTLIB_GOLDEN names another folder)")
        return path

    return find


@pytest.fixture(scope="module")
def browser():
    """A real Chromium, driven by Selenium: for tests that `make browser` runs."""
    # Imported here: no other test needs it.
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in CHROMIUM_FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()
