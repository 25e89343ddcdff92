"""Does the calculator work in JupyterLab: does a preset move every cost, and a key the number of steps?

Run: `pytest -m browser tests/browser`. Screenshots go to the folder that NSA_ARTIFACTS names, or to pytest's own.
"""

import pytest
import test_lab
from test_lab import CELLS_S, CHANGE_S

tools, lab, artefacts = test_lab.tools, test_lab.lab, test_lab.artefacts  # its fixtures
HEIGHT = 9000  # the whole notebook, so that no cell is taken out of the page
LAST = "Show the other 20"  # a button of the last picture
SAYS = """(text) => {
    const says = document.querySelector('.pic-calculator .pic-says');
    return !!says && says.textContent.replaceAll('\\u00a0', ' ').includes(text);
}"""
TABLE = "the note: its table"

pytestmark = pytest.mark.browser


@pytest.fixture
def page(lab):
    with test_lab.tab_with_all_cells_run(lab, "06_why_reverted", LAST, HEIGHT) as tab:
        yield tab


def test_a_preset_and_a_key_change_what_it_says(page, artefacts):
    page.wait_for_function(SAYS, arg="With 4 draft steps a refresh by copies takes", timeout=CELLS_S * 1000)
    page.locator(".pic-calculator select").select_option(label=TABLE)
    page.wait_for_function(SAYS, arg="With 4 draft steps a refresh by copies takes 235 µs", timeout=CHANGE_S * 1000)
    page.get_by_role("slider", name="draft steps N").first.press("ArrowRight")
    page.wait_for_function(SAYS, arg="With 5 draft steps a refresh by copies takes 250 µs", timeout=CHANGE_S * 1000)
    page.screenshot(path=artefacts / "calculator.png")
