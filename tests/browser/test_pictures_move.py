"""Do the pictures move, on a page with nothing but a model, and in JupyterLab? From keyboard and pointer.

Run: `pytest -m browser tests/browser`. Screenshots go to the folder that NSA_ARTIFACTS names, or to pytest's own.
"""

import importlib.util
import itertools
import json
import urllib.request

import nbformat
import pytest
import test_lab

from nsa_core.lab.bench.evidence import committed
from nsa_core.lab.explore import front, pictures
from nsa_core.lab.explore.pictures import cheapest_way, copy_forms, gain_over_steps, when_copies_pay

tools, lab, artefacts = test_lab.tools, test_lab.lab, test_lab.artefacts  # its fixtures
chromium = test_lab.chromium
QUICK_MS = 100  # from an input to the picture
WIDTHS = (1280, 900, 390)
PAGE = '<!doctype html><meta charset="utf-8"><body style="margin: 12px"><style id="css"></style><div id="el"></div>'
# The least a host offers, as `front/draw.js` lists it.
HOST = """async ([css, esm, data, state]) => {
    document.getElementById('css').textContent = css;
    const fields = {data, state}, heard = {};
    window.model = {
        get: (name) => fields[name],
        set: (name, value) => { fields[name] = value; for (const call of heard['change:' + name] ?? []) call(); },
        on: (event, call) => { (heard[event] ??= []).push(call); },
        off: (event, call) => { heard[event] = heard[event].filter((other) => other !== call); },
        save_changes: () => {},
    };
    window.picture = await import(URL.createObjectURL(new Blob([esm], {type: 'text/javascript'})));
    window.end = window.picture.default.render({model: window.model, el: document.getElementById('el')});
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
STATE = "() => window.model.get('state')"
OUTSIDE = """() => {
    const root = document.querySelector('.nsa').getBoundingClientRect();
    const words = [...document.querySelectorAll('.nsa svg text')];
    return words.filter((word) => {
        const box = word.getBoundingClientRect();
        return box.width && (box.right > root.right || box.left < root.left);
    }).map((word) => word.textContent);
}"""
OVER = "() => document.documentElement.scrollWidth - window.innerWidth"
SAYS = """(says) => {
    const root = document.querySelector('.nsa');
    const chosen = [...root.querySelectorAll('option:checked')].map((option) => option.text);
    return (root.textContent + chosen).replaceAll('\\u00a0', ' ').includes(says);
}"""
# Picture, what to do (a role, its name and a key, or "click"), and what the page then says.
MOVES = [
    ("gain", "slider", "draft steps N", "ArrowRight", "With 5 draft steps, by the model"),
    ("gain", "slider", "to compute a set", "Home", "stays below 1.0"),
    ("gain", "slider", "to copy a set", "End", "stays below 1."),
    ("gain", "img", "measured at 8 draft steps", "focus", "Measured, N = 8: "),
    ("gain", "img", "claimed at 4 draft steps", "focus", "Calculated there, not measured"),
    ("loop", "slider", "moment", "ArrowRight", "the small model has guessed 1 token."),
    ("loop", "button", "one moment on", "click", "the small model has guessed 1 token."),
    ("loop", "button", "Play", "click", "the small model has guessed 1 token."),
    (
        "loop",
        "button",
        "check",
        "click",
        "3 guessed, 2 accepted; 1 more from the big model. One pass of it gave 3 tokens.",
    ),
    ("loop", "button", "catch up", "focus", "The small model reads the accepted tokens once more"),
    ("history", "button", "Measured and audited", "click", "computing every set"),
    ("history", "button", "Batched copies reverted", "ArrowRight", "Published: 642"),
    ("timeline", "slider", "time since the call", "End", "eager, copy, fused and graph are done."),
    ("timeline", "slider", "zoom", "End", "zoom, shown 20"),
    ("timeline", "button", "8 draft steps", "click", "of 128 operations for eager"),
    ("calculator", "slider", "draft steps N", "Home", "With 1 draft step a refresh"),
    ("calculator", "slider", "round", "End", "Leave it"),
    ("calculator", "slider", "to compute a set", "End", "your own numbers"),
    ("calculator", "slider", "to copy a set", "End", "your own numbers"),
    ("calculator", "slider", "the same, batched", "Home", "your own numbers"),
    ("calculator", "slider", "one launch for all", "Home", "Keep the copies"),
    ("ledger", "searchbox", "filter claims", "is_contiguous", "1 of 26 claims."),
    ("ledger", "button", "held", "click", "of 26 claims."),
    ("ledger", "button", "Show the other 20", "click", "The batched kernel needs 480 lines."),
    ("forms", "combobox", "what is refreshed", "ArrowDown", "decode, 8 draft steps: copy takes"),
    ("forms", "img", "batched-steps: ", "focus", "times as fast as copy, "),
    ("strategy_map", "slider", "draft steps N", "End", "16 draft steps, 131,072 tokens"),
    ("strategy_map", "slider", "tokens in the batch", "End", "Use shared+graph"),
    ("strategy_map", "checkbox", "shared+graph", "click", "Use graph"),
    ("releases", "button", "8 sets", "click", "8 sets on an NVIDIA H200: one refresh took"),
    ("releases", "button", "NVIDIA H100", "click", "4 sets on an NVIDIA H100: one refresh took"),
    ("releases", "img", "sglang 0.5.23", "focus", "operations on the GPU"),
    ("releases", "button", "8 sets", "click", "every set is computed"),
]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def made():
    run = committed()
    return {
        "gain": pictures.gain(run),
        "loop": pictures.loop(),
        "history": pictures.history(run),
        "timeline": pictures.timeline(run),
        "calculator": pictures.calculator([run]),
        "ledger": pictures.ledger(run),
        "forms": pictures.forms(run),
        "strategy_map": pictures.strategy_map(run),
        "releases": pictures.releases(),
    }


@pytest.fixture
def shown(chromium, made):
    """Opens a picture on a page of its own; the page must end without an error."""
    pages, errors = [], []

    def open_page(name, width=900, scheme="light"):
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        pages.append(page)
        page.set_default_timeout(5000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.set_content(PAGE)
        page.evaluate(HOST, [made[name]._css, made[name]._esm, made[name].data, made[name].state])
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not errors, errors


def act(page, role, name, how):
    for folded in page.locator(".pic-costs summary").all():
        folded.click()
    control = page.get_by_role(role, name=name).first
    if how == "click":
        control.click()
    elif role == "searchbox":
        control.fill(how)
    else:
        control.focus()
        if how != "focus":
            control.press(how)


@pytest.mark.parametrize("name, role, control, how, says", MOVES, ids=[f"{m[0]}: {m[2]}" for m in MOVES])
def test_a_control_moves_the_picture(shown, name, role, control, how, says):
    page = shown(name)
    before = page.locator(".nsa").text_content()
    state = page.evaluate(STATE)
    act(page, role, control, how)
    page.wait_for_function("(before) => document.querySelector('.nsa').textContent !== before", arg=before)
    page.wait_for_function(SAYS, arg=says)
    assert page.evaluate(STATE) != state or how == "focus"
    assert page.evaluate(OVER) <= 0 and page.evaluate(OUTSIDE) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "name", ["gain", "loop", "history", "timeline", "calculator", "ledger", "forms", "strategy_map", "releases"]
)
def test_nothing_is_cut_off_at_any_width(shown, artefacts, name, width, scheme):
    page = shown(name, width, scheme)
    page.screenshot(path=artefacts / f"{name}_{width}_{scheme}.png", full_page=True)
    assert page.evaluate(OVER) <= 0 and page.evaluate(OUTSIDE) == []


@pytest.mark.parametrize("name", ["gain", "timeline", "calculator", "strategy_map"])
def test_an_input_is_drawn_at_once(shown, name):
    page = shown(name)
    slider = page.get_by_role("slider").first
    took = slider.evaluate("""(input) => {
        const times = [];
        for (const value of [input.max, input.min, input.max, input.min, input.max]) {
            const begin = performance.now();
            input.value = value;
            input.dispatchEvent(new Event('input'));
            document.body.getBoundingClientRect();
            times.push(performance.now() - begin);
        }
        return times.sort((a, b) => a - b)[2];
    }""")
    assert took < QUICK_MS


def test_the_modules_run_as_they_lie_in_the_folder(chromium, made):
    """A page of its own imports them by address, without what JupyterLab is given."""
    page = chromium.new_page()
    page.route("http://front.test/**", serve)
    page.goto("http://front.test/")
    page.evaluate(
        HOST.replace("URL.createObjectURL(new Blob([esm], {type: 'text/javascript'}))", "'./gain.js'"),
        ["", "", made["gain"].data, made["gain"].state],
    )
    assert page.locator(".pic-says").inner_text().startswith("With 4 draft steps")
    page.close()


def serve(route):
    name = route.request.url.rpartition("/")[2]
    if name:
        return route.fulfill(body=front.read(name), content_type="text/javascript")
    return route.fulfill(body=PAGE, content_type="text/html")


def test_an_ended_picture_draws_no_more(shown):
    page = shown("gain")
    before = page.locator(".pic-says").inner_text()
    page.evaluate("() => { window.end(); window.model.set('state', {...window.model.get('state'), steps: 9}); }")
    assert page.locator(".pic-says").inner_text() == before


def plain(text):
    return text.replace("*", "").replace("\u00a0", " ")


def states_of(name, data):
    if name == "gain":
        own = (data["compute"], data["copy"])
        pairs = itertools.product((1, 3, 4, 8, 16), (own, (175, 15), (0.3, 300), (42.25, 7)))
        return [{"steps": n, "compute": c, "copy": k} for n, (c, k) in pairs]
    if name == "calculator":
        pairs = itertools.product(data["presets"], (1, 2, 4, 16), (1, 8, 9.92, 30.5, 100))
        return [{"steps": n, "step_ms": ms} | {k: v for k, v in p.items() if k != "name"} for p, n, ms in pairs]
    if name == "forms":
        return [{"plan": plan} for plan in data["plans"]]
    without = ([], ["graph"], ["shared+graph"], ["graph", "shared+graph"])
    pairs = itertools.product((1, 4, 7, 16), data["tokens"][::4], without)
    return [{"steps": n, "tokens": tokens, "without": less} for n, tokens, less in pairs]


@pytest.mark.parametrize("name", ["gain", "calculator", "forms", "strategy_map"])
def test_browser_and_python_say_the_same(shown, made, name):
    data, page = made[name].data, shown(name)
    own = {
        "gain": lambda state: gain_over_steps.sentence(data, state),
        "calculator": when_copies_pay.sentence,
        "forms": lambda state: copy_forms.sentence(data, state),
        "strategy_map": lambda state: cheapest_way.sentence(data, state),
    }[name]
    states = states_of(name, data)
    said = page.evaluate(
        "(states) => states.map((s) => window.picture.sentence(window.model.get('data'), s))", states
    )
    assert [plain(text) for text in said] == [own(state) for state in states]


def test_the_bars_of_the_gain_add_up_to_what_stands_above_them(shown, made):
    data, page = made["gain"].data, shown("gain")
    for state in states_of("gain", data):
        rows = page.evaluate("(state) => window.picture.blocks(window.model.get('data'), state)", state)
        for row in rows:
            assert sum(long for _, long in row["parts"]) == pytest.approx(row["total"])
            assert min(long for _, long in row["parts"]) > 0


# In JupyterLab

CELLS = (
    "from nsa_core.lab.explore import pictures\nfrom nsa_core.lab.bench.evidence import committed",
    "gain = pictures.gain(committed())\ngain",
    "pictures.loop()",
    "pictures.table([{'way': 'copy', 'time': 534.4}, {'way': 'graph', 'time': 6.252}], {'time': 'us'}, marked=[1])",
    "print('all', 'ran')",
)


def stored(folder):
    """A notebook of the pictures, run and stored as notebooks/refresh.py stores one."""
    spec = importlib.util.spec_from_file_location("refresh", test_lab.ROOT / "notebooks" / "refresh.py")
    refresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(refresh)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    for at, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{at}"
    refresh.run(notebook, folder)
    return refresh.stored_text(refresh.clean(notebook))


def upload(lab, name, text):
    """Put a notebook into the served folder; nobody signed it, so JupyterLab trusts none of its outputs."""
    body = json.dumps({"type": "notebook", "content": json.loads(text)}).encode()
    request = urllib.request.Request(
        f"{lab}/api/contents/{name}", body, {"Content-Type": "application/json"}, method="PUT"
    )
    urllib.request.urlopen(request, timeout=test_lab.START_S).close()


def test_jupyterlab_shows_the_still_before_a_run_and_the_moving_picture_after(lab, artefacts, tmp_path, chromium):
    text = stored(tmp_path)
    assert "widget-view" not in text and '"image/png"' in text
    upload(lab, "pictures.ipynb", text)
    page, errors = chromium.new_page(viewport={"width": 1280, "height": 3000}), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{lab}/lab/tree/pictures.ipynb?reset")
    page.wait_for_selector(".jp-OutputArea-output img", timeout=test_lab.START_S * 1000)
    assert page.locator(".jp-OutputArea-output img").count() == 2 and page.locator(".nsa").count() == 0
    page.screenshot(path=artefacts / "pictures_cold.png")
    page.wait_for_function(test_lab.IDLE, timeout=test_lab.START_S * 1000)
    page.evaluate(test_lab.RUN_ALL)
    page.wait_for_selector(".jp-OutputArea-output:has-text('all ran')", timeout=test_lab.CELLS_S * 1000)
    slider = page.get_by_role("slider", name="draft steps N")
    slider.focus()
    slider.press("ArrowRight")
    page.wait_for_function(
        "() => document.querySelector('.pic-gain .pic-says').textContent.startsWith('With 5 draft steps')"
    )
    assert page.locator(".pic-loop").count() == 1
    page.screenshot(path=artefacts / "pictures_live.png")
    page.close()
    assert not errors, errors
