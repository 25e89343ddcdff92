"""Does the calculator work in JupyterLab: does a preset move every cost, and a key one of them?

Run: `pytest -m browser tests/browser`. Screenshots go to the folder that NSA_ARTIFACTS names, or to pytest's own.
"""

import pytest
import test_lab
from test_lab import CELLS_S, CHANGE_S, CHROMIUM, FLAGS, IDLE, RUN_ALL, START_S, WIDTHS

tools, lab, artefacts = test_lab.tools, test_lab.lab, test_lab.artefacts  # its fixtures
HEIGHT = 9000  # the whole notebook, so that no cell is taken out of the page
LAST = "copies pass half of the time"  # printed by the last cell
STATUS = "[...document.querySelectorAll('[role=status]')].find(e => e.textContent.includes('Verdict'))"
SAYS = f"(text) => {{ const e = {STATUS}; return !!e && e.textContent.includes(text); }}"
PICTURE = f"{STATUS}.closest('.widget-vbox').querySelector('img.widget-image')"
TABLE = "the record: its table"

pytestmark = pytest.mark.browser


@pytest.fixture
def page(lab):
    """A browser tab on 06_why_reverted with all cells run; it must close without an error of the page."""
    from playwright.sync_api import sync_playwright

    errors = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        tab = browser.new_page(viewport={"width": WIDTHS[0], "height": HEIGHT})
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(f"{lab}/lab/tree/06_why_reverted.ipynb?reset")
        tab.wait_for_selector(".jp-OutputArea-output img", timeout=START_S * 1000)
        tab.wait_for_function(IDLE, timeout=START_S * 1000)
        tab.set_default_timeout(CELLS_S * 1000)
        tab.evaluate(RUN_ALL)
        tab.wait_for_selector(f".jp-OutputArea-output:has-text('{LAST}')")
        yield tab
        browser.close()
    assert not errors, errors


def test_a_preset_and_a_key_change_words_and_picture(page, artefacts):
    page.wait_for_function(SAYS, arg="recorded, one launch.", timeout=CELLS_S * 1000)
    page.locator(".widget-dropdown", has_text="numbers of").locator("select").select_option(TABLE)
    page.wait_for_function(SAYS, arg="eager 760 us, copy 235 us, batched 220 us", timeout=CHANGE_S * 1000)
    before = page.evaluate(f"() => {PICTURE}.getAttribute('src')")
    handle = page.locator(".widget-slider", has_text="draft steps N").locator(".noUi-handle")
    handle.focus()
    handle.press("ArrowRight")
    page.wait_for_function(SAYS, arg="5 steps: eager 950 us, copy 250 us", timeout=CHANGE_S * 1000)
    page.wait_for_function(f"(src) => {PICTURE}.getAttribute('src') !== src", arg=before, timeout=CHANGE_S * 1000)
    page.screenshot(path=artefacts / "calculator.png")
    words = page.evaluate(f"() => {STATUS}.textContent")
    assert TABLE in words and "Verdict: keep the copies" in words
