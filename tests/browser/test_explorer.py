"""Does every control of the explorer do what it says, quickly, on a plain page and without a kernel in between?

Run: `pytest -m browser -s tests/browser` also prints how long a change took from input to picture.
"""

import json

import pytest
import test_lab
from test_lab import ROOT, TIMED, report

from nsa_core.lab.explore.session import MODES
from nsa_core.lab.explore.setup import Setup
from nsa_core.lab.explore.trace_batches import full_size
from nsa_core.lab.explore.widget import Explorer

tools, artefacts, chromium = test_lab.tools, test_lab.artefacts, test_lab.chromium  # its fixtures
FRONT = ROOT / "nsa_core/lab/explore/front"
SITE = "http://explorer.test/"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Explorer</title>
<link rel="stylesheet" href="explorer.css"><style>:root { color-scheme: light dark } body { margin: 0 }</style>
<main id="here"></main><script type="module">
import { Model } from "./host.js";
import explorer from "./explorer.js";
const here = document.getElementById("here"), given = await window.start();
window.model = new Model(given, async (intent, model) => {
  for (const [name, value] of Object.entries(await window.ask(intent))) model.set(name, value);
});
explorer.render({ model: window.model, el: here });
</script></html>"""
KINDS = {".js": "text/javascript", ".css": "text/css"}
PAINTED = "() => Number(document.querySelector('.nsa-explorer')?.dataset.painted || 0)"
WIDE = (
    "() => [...document.querySelectorAll('*')].filter((e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth && "
)
WIDE += "!['OPTION', 'SELECT', 'INPUT'].includes(e.tagName)).map((e) => e.className || e.tagName)"

pytestmark = pytest.mark.browser


@pytest.fixture
def visit(chromium):
    """Open a page that shows an explorer: visit(explorer, width=..., theme=...)."""
    contexts, errors = [], []

    def open_page(explorer, width=1280, height=800, theme="light", touch=False):
        size = {"width": width, "height": height}
        context = chromium.new_context(viewport=size, color_scheme=theme, has_touch=touch)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))

        def now():
            return {"at": explorer.at, "state": explorer.state, "busy": explorer.busy}

        def ask(intent):
            explorer.ask(**intent)
            return now()

        page.expose_function("start", now)
        page.expose_function("ask", ask)
        page.route("**/*", serve)
        page.goto(SITE)
        page.wait_for_function(f"{PAINTED[6:]} > 0")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors, errors


def serve(route):
    name = route.request.url.removeprefix(SITE)
    if not name:
        return route.fulfill(body=PAGE, content_type="text/html")
    path = FRONT / name
    return route.fulfill(body=path.read_text(), content_type=KINDS[path.suffix]) if path.exists() else route.abort()


def facts(page):
    return page.locator(".nsa-facts").inner_text()


def test_every_option_of_every_control_is_shown_by_its_control_and_soon(visit):
    explorer = Explorer(at=2)
    page, took = visit(explorer), []
    for index in range(len(explorer.state["controls"])):
        for option in explorer.state["controls"][index]["options"]:
            if option["why"] or "fused" in option["value"]:
                continue
            act = {"control": index, "value": option["value"]}
            if option["value"] != explorer.state["controls"][index]["value"]:
                took.append(page.evaluate(TIMED, act))
            shown = [c["value"] for c in explorer.state["controls"]]
            assert page.locator(".nsa-controls select").evaluate_all("(all) => all.map((s) => s.value)") == shown
            assert shown[index] == option["value"]
    report("a control of the small tables", took)


def test_steps_and_selections_are_shown_at_once(visit):
    page = visit(Explorer())
    took = [page.evaluate(TIMED, {"click": f".nsa-dots button:nth-child({at % 7 + 1})"}) for at in range(1, 15)]
    report("a step", took)
    assert page.locator(".nsa-dots [aria-current=step]").inner_text() == "1"


def test_the_tables_of_the_notebooks_traces_are_quick_too(visit):
    setup = Setup(bs=16, width=4096, page_size=64, topk=2048)
    explorer = Explorer(setup, recorded=[full_size(setup, at) for at in (1800, 2000)], at=1)
    page = visit(explorer)
    report(
        "a step of 16 x 4096",
        [page.evaluate(TIMED, {"click": f".nsa-dots button:nth-child({i % 2 + 1})"}) for i in range(8)],
    )
    options = ("eager", "foreach", "shared", "copy")
    report("a strategy of 16 x 4096", [page.evaluate(TIMED, {"control": 1, "value": value}) for value in options])
    assert page.locator(".nsa-controls select").first.is_disabled()


def test_a_kernel_that_is_interpreted_shows_its_progress(visit, monkeypatch):
    explorer = Explorer(at=2)
    page = visit(explorer)
    page.evaluate("() => window.model.set('busy', { text: 'Replay', done: 3, total: 7 })")
    assert page.locator(".nsa-busy").inner_text() == "Replay 3 of 7" and page.locator(".nsa-busy").is_visible()
    page.evaluate("() => window.model.set('busy', null)")
    assert page.locator(".nsa-busy").is_hidden()


def test_pointing_reaches_every_field_and_a_click_stays(visit):
    page = visit(Explorer(at=2))
    box, seen = page.locator(".nsa-top").bounding_box(), set()
    for y in range(int(box["y"]) + 40, int(box["y"] + box["height"]), 9):
        for x in range(int(box["x"]) + 180, int(box["x"] + box["width"]), 17):
            page.mouse.move(x, y)
            seen.add(page.locator(".nsa-facts h4").inner_text().partition("[")[0])
    assert seen == {"What this replay did", *(field["name"] for field in Explorer().scene["fields"])}
    page.mouse.click(box["x"] + 200, box["y"] + 45)
    page.mouse.move(5, 5)
    assert facts(page).startswith("page_table_1[0, ") and "Request A" in facts(page)


def test_the_keyboard_alone_reads_cells_and_moves_steps(visit):
    page = visit(Explorer(at=2))
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.classList.contains('nsa-top')"):
            break
    label = page.locator(".nsa-top")
    assert "page_table_1[0, 0] = 40" in label.get_attribute("aria-label")
    for key in ("ArrowDown", *["ArrowRight"] * 17):
        page.keyboard.press(key)
    said = label.get_attribute("aria-label")
    assert (
        "page_table_1[1, 17] = 53" in said
        and "left by request B" in said
        and "now belongs to request C itself" in said
    )
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert "real_page_table[1, 0]" in label.get_attribute("aria-label")
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    assert "nsa_seqlens_expanded[0]" in label.get_attribute("aria-label")
    page.keyboard.press("n")
    assert page.locator(".nsa-dots [aria-current=step]").inner_text() == "4"
    page.keyboard.press("Escape")
    assert "What this replay did" in facts(page)


def test_play_runs_and_pauses(visit):
    page = visit(Explorer())
    page.locator(".nsa-play").click()
    page.wait_for_function("() => document.querySelector('.nsa-dots [aria-current=step]').textContent === '2'")
    page.locator(".nsa-play", has_text="Pause").click()
    page.wait_for_timeout(1900)
    assert page.locator(".nsa-dots [aria-current=step]").inner_text() == "2"
    page.get_by_role("button", name="Next step").click()
    page.get_by_role("button", name="Previous step").click()
    page.get_by_role("button", name="Previous step").click()
    assert page.get_by_role("button", name="Previous step").is_disabled()


def test_a_batch_can_be_edited_and_a_refusal_stands_at_its_request(visit, artefacts):
    explorer = Explorer(at=2)
    page = visit(explorer)
    length = page.get_by_label("Length of request A")
    length.fill("25")
    length.press("Enter")
    page.wait_for_selector(".nsa-chip.nsa-refused")
    assert "needs 25 columns" in page.locator(".nsa-requests [role=alert]").inner_text()
    assert length.input_value() == "12" and len(explorer.state["frames"]) == 7
    page.screenshot(path=artefacts / "explorer_refused.png")
    length.fill("13")
    length.press("Enter")
    page.wait_for_selector(".nsa-chip.nsa-refused", state="detached")
    assert page.locator(".nsa-dots button").count() == 4 and length.input_value() == "13"
    for name, note in {
        "Request C grows by one token": "C grew.",
        "Request D finishes": "D finished, so E moved up.",
        "Admit a request": "F came.",
    }.items():
        page.get_by_role("button", name=name).click()
        page.wait_for_function(f"() => document.querySelector('.nsa-note').textContent === {json.dumps(note)}")
    assert page.get_by_role("button", name="Admit a request").is_disabled()
    page.get_by_role("button", name="back to the story").click()
    page.wait_for_function("() => document.querySelectorAll('.nsa-dots button').length === 7")


def test_a_refused_control_returns_to_what_the_picture_shows(visit):
    explorer = Explorer()
    explorer.ask(edit="A", length=23)
    page = visit(explorer)
    page.locator(".nsa-controls select").first.select_option("target_verify")
    page.wait_for_selector(".nsa-controls .nsa-refused")
    assert page.locator(".nsa-controls select").first.input_value() == "decode"
    assert "needs 23 + 3 columns" in page.locator(".nsa-controls .nsa-refused small").inner_text()


def test_accepted_tokens_are_asked_for_only_where_they_are_read(visit):
    explorer = Explorer()
    page = visit(explorer)
    for mode in MODES:
        page.locator(".nsa-controls select").first.select_option(mode)
        page.wait_for_function(f"() => document.querySelector('.nsa-controls select').value === {json.dumps(mode)}")
        assert page.get_by_label("Accepted tokens of request A").count() == (mode == "draft_extend")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 900])
def test_it_fits_the_screen(visit, artefacts, width, theme):
    explorer = Explorer(at=2)
    page = visit(explorer, width=width, theme=theme)
    for compare in ("", "before"):
        explorer.ask(set="compare", value=compare)
        for mode in MODES:
            page.evaluate("(act) => window.model.send(act)", {"set": "mode", "value": mode})
            page.wait_for_function(f"() => window.model.get('state').controls[0].value === {json.dumps(mode)}")
            page.wait_for_timeout(60)
            name = f"explorer_{width}_{theme}_{mode}{'_compared' if compare else ''}.png"
            page.screenshot(path=artefacts / name, full_page=True)
            assert page.evaluate(WIDE) == [], name
            if width == 1280:
                height = page.evaluate("() => document.querySelector('.nsa-explorer').offsetHeight")
                assert height <= 800, (name, height)


def test_a_tap_tells_what_a_cell_is(visit):
    page = visit(Explorer(at=2), width=900, touch=True)
    box = page.locator(".nsa-top").bounding_box()
    page.touchscreen.tap(box["x"] + 200, box["y"] + 70)
    assert facts(page).startswith("page_table_1[1, ")
