"""Does the calculator work in JupyterLab: does a preset move every cost, and a key one of them?

Run: `pytest -m browser tests/browser`. Screenshots go to the folder that NSA_ARTIFACTS names, or to pytest's own.
"""

import pytest
import test_lab
from test_lab import CELLS_S, CHANGE_S

tools, lab, artefacts = test_lab.tools, test_lab.lab, test_lab.artefacts  # its fixtures
HEIGHT = 9000  # the whole notebook, so that no cell is taken out of the page
LAST = "copies pass half of the time"  # printed by the last cell
STATUS = "[...document.querySelectorAll('[role=status]')].find(e => e.textContent.includes('Verdict'))"
SAYS = f"(text) => {{ const e = {STATUS}; return !!e && e.textContent.includes(text); }}"
PICTURE = f"{STATUS}.closest('.widget-vbox').querySelector('img.widget-image')"
TABLE = "the note: its table"

pytestmark = pytest.mark.browser


@pytest.fixture
def page(lab):
    with test_lab.tab_with_all_cells_run(lab, "06_why_reverted", LAST, HEIGHT) as tab:
        yield tab


def test_a_preset_and_a_key_change_words_and_picture(page, artefacts):
    page.wait_for_function(SAYS, arg="NVIDIA H200, one launch.", timeout=CELLS_S * 1000)
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
    assert TABLE in words and "Verdict: the revert stands; keep the copies" in words
