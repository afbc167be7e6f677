"""The pages in a real browser, from a file, on a desk screen and on a phone."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--allow-file-access-from-files",
)  # fmt: skip
pytestmark = [
    pytest.mark.enable_socket,  # the driver is spoken to over localhost
    pytest.mark.skipif(not (CHROMIUM.exists() and DRIVER.exists()), reason="needs /usr/bin/chromium and /usr/bin/chromedriver"),
]
MEASURE = """return [...document.querySelectorAll(arguments[0])].map(e => {
  const box = e.getBoundingClientRect();
  return [e.id || e.tagName, box.width, box.height, box.left, box.right, e.checkVisibility ? e.checkVisibility() : true];
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(str(DRIVER), log_output=os.devnull)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module", params=["page", "comparison", "converted_page"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("pages") / "report.html"
    file.write_text(request.getfixturevalue(request.param), encoding="utf-8")
    return file.as_uri()


def show(browser: Any, address: str, width: int, scheme: str = "light") -> None:
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.get(address)


@pytest.mark.parametrize("width", [1000, 400])
def test_the_page_shows_all_charts_without_errors_or_sideways_scrolling(browser: Any, address: str, width: int) -> None:
    show(browser, address, width)
    logs = browser.get_log("browser")
    assert not [entry for entry in logs if entry["level"] in ("SEVERE", "WARNING")]
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return document.body.scrollWidth") <= width
    charts = browser.execute_script(MEASURE, "figure.chart, figure.chart svg")
    assert len(charts) >= 2 * 14
    for name, wide, high, left, right, visible in charts:
        assert visible, name
        assert wide > 150 and high > 80, name
        assert left >= 0 and right <= width, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_screen_is_not_blank(browser: Any, address: str, scheme: str) -> None:
    from PIL import Image, ImageStat

    show(browser, address, 1000, scheme)
    shot = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("L")
    statistics = ImageStat.Stat(shot)
    assert statistics.var[0] > 50
    assert (statistics.median[0] > 128) == (scheme == "light")


def test_charts_hold_ink_in_both_schemes(browser: Any, address: str) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        show(browser, address, 1000, scheme)
        ask = "return getComputedStyle(document.querySelector('figure.chart svg path[style*=\"--s1\"]'))"
        colours[scheme] = browser.execute_script(f"const style = {ask.removeprefix('return ')}; return style.fill + style.stroke")
    assert colours["light"] != colours["dark"]


def test_nothing_is_requested_but_the_file(browser: Any, address: str) -> None:
    show(browser, address, 1000)
    names = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in names if not name.startswith("data:")] == []


def test_pictures_load(browser: Any, address: str) -> None:
    show(browser, address, 1000)
    sizes = browser.execute_script("return [...document.images].map(i => [i.naturalWidth, i.naturalHeight])")
    assert len(sizes) >= 3
    assert all(size == [28, 28] for size in sizes)


def test_the_table_sorts_by_a_click(browser: Any, address: str, request: pytest.FixtureRequest) -> None:
    show(browser, address, 1000)
    heads = browser.find_elements("css selector", "table.results th button")
    if not heads:
        assert "run record" in browser.page_source
        return
    energy = next(head for head in heads if head.text == "energy")
    column = [head.text for head in heads].index("energy")
    ask = "return [...document.querySelectorAll('table.results tbody tr')].map(r => Number(r.cells[arguments[0]].dataset.value))"
    energy.click()
    down = browser.execute_script(ask, column)
    assert down == sorted(down, reverse=True)
    energy.click()
    assert browser.execute_script(ask, column) == down[::-1]
