"""Does the explorer work where readers use it: in JupyterLab, in a browser, from the keyboard?

Run: `pytest -m browser tests/browser`. Screenshots go to the folder that NSA_ARTIFACTS names, or to pytest's own.
"""

import importlib.util
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PLAYWRIGHT = importlib.util.find_spec("playwright")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS, HEIGHT = (1280, 1920), 1700
START_S, CELLS_S, CHANGE_S = 60, 120, 30
# No news over the page; a tall viewport keeps Lab from taking cells out of the page that are off the screen.
SETTINGS = '{"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}'
IDLE = """() => {
    const widget = window.jupyterapp && window.jupyterapp.shell.currentWidget;
    const session = widget && widget.sessionContext && widget.sessionContext.session;
    return !!session && !!session.kernel && session.kernel.status === 'idle';
}"""
# Resolved when the last cell has run; cells that failed are seen in the page.
RUN_ALL = """async () => {
    await window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs');
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""
# Milliseconds from a changed control, or a click, to the frame that shows it.
TIMED = """(act) => new Promise((done, fail) => {
  setTimeout(() => fail(new Error(`no picture of ${JSON.stringify(act)}`)), 4000);
  const root = document.querySelector('.nsa-explorer'), begin = performance.now();
  const select = root.querySelectorAll('.nsa-controls select')[act.control];
  const seen = new MutationObserver(() => {
    if (select && select.value !== act.value) return;
    seen.disconnect();
    requestAnimationFrame(() => done(performance.now() - begin));
  });
  seen.observe(root, { attributes: true, attributeFilter: ['data-painted'] });
  if (!select) return root.querySelector(act.click).click();
  select.value = act.value;
  select.dispatchEvent(new Event('change'));
})"""
NOTE = "(text) => document.querySelector('.nsa-note')?.textContent === text"

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True, scope="module")
def tools():
    missing = [
        f"{name}: {way}"
        for name, found, way in (
            ("Chromium", CHROMIUM, "apt-get install --no-install-recommends chromium"),
            ("playwright", PLAYWRIGHT, "pip install -e '.[test]'"),
        )
        if not found
    ]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but the browser test lacks {'; '.join(missing)}", pytrace=False)
    if missing:
        pytest.skip(f"the browser test lacks {'; '.join(missing)}")


@pytest.fixture(scope="module")
def chromium(tools):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(tools, tmp_path_factory):
    """The address of a JupyterLab of its own on loopback, with copies of the notebooks."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "root", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(SETTINGS, encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command(home, url), env=environment(home), stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until_up(url, server, home / "lab.log")
            yield url
        finally:
            stop(server)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(home, url):
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": url.rpartition(":")[2],
        "ServerApp.port_retries": 0,
        "IdentityProvider.token": "",
        "ServerApp.password": "",
        "ServerApp.disable_check_xsrf": True,
        "ServerApp.root_dir": home / "root",
        "LabApp.expose_app_in_browser": True,
        "ServerApp.shutdown_no_activity_timeout": 300,
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *flags]


def environment(home):
    """No setting of this machine's user, and nothing of this test's left with them."""
    folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    mine = {f"JUPYTER_{name}": str(home / name.lower()) for name in folders}
    mine |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces")}
    mine |= {"IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": str(ROOT)}
    return {name: value for name, value in (os.environ | mine).items() if name != "TRITON_INTERPRET"}


def wait_until_up(url, server, log):
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            return urllib.request.urlopen(url + "/api/status", timeout=1)
        except OSError:
            assert server.poll() is None, log.read_text()[-2000:]
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not answer within {START_S} s: {log.read_text()[-2000:]}")


def stop(server):
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextmanager
def tab_with_all_cells_run(lab, notebook, last, height):
    """A browser tab on a notebook whose last cell shows `last`; it must close without an error of the page."""
    from playwright.sync_api import sync_playwright

    errors = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        tab = browser.new_page(viewport={"width": WIDTHS[0], "height": height})
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(f"{lab}/lab/tree/{notebook}.ipynb?reset")
        tab.wait_for_selector(".jp-OutputArea-output img", timeout=START_S * 1000)  # stored pictures, before any run
        tab.wait_for_function(IDLE, timeout=START_S * 1000)
        tab.set_default_timeout(CELLS_S * 1000)
        tab.evaluate(RUN_ALL)
        tab.wait_for_selector(f".jp-OutputArea-output:has-text('{last}')")
        yield tab
        browser.close()
    assert not errors, errors


@pytest.fixture
def page(lab):
    with tab_with_all_cells_run(lab, "01_decode", "Which line copies the table?", HEIGHT) as tab:
        yield tab


@pytest.fixture
def artefacts(tmp_path):
    folder = Path(os.environ.get("NSA_ARTIFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def report(title, milliseconds):
    middle, worst = statistics.median(milliseconds), max(milliseconds)
    print(f"\n{title}: median {middle:.0f} ms, worst {worst:.0f} ms of {len(milliseconds)}")


def photograph(page, folder, moment):
    """The explorer as readers with a small and with a large screen see it."""
    for width in reversed(WIDTHS):
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.wait_for_timeout(500)  # Lab lays the page out again
        page.locator(".nsa-explorer").first.scroll_into_view_if_needed()
        page.screenshot(path=folder / f"decode_{width}_{moment}.png")


def test_the_explorer_takes_the_place_of_its_picture_and_answers(page, artefacts):
    explorer = page.locator(".nsa-explorer").first
    page.wait_for_function(NOTE, arg="B finished, so C and D moved up. E came.", timeout=CELLS_S * 1000)
    explorer.scroll_into_view_if_needed()
    area = page.locator(".jp-OutputArea:has(.nsa-explorer)").first
    assert area.locator("img").count() == 1 and not area.locator("img").is_visible()
    photograph(page, artefacts, "before")
    strategies = [{"control": 1, "value": value} for value in ("eager", "foreach", "shared", "copy", "eager")]
    report("a strategy, in JupyterLab", [page.evaluate(TIMED, act) for act in strategies])
    modes = [{"control": 0, "value": value} for value in ("target_verify", "draft_extend", "decode")]
    report("a mode, in JupyterLab", [page.evaluate(TIMED, act) for act in modes])
    page.wait_for_function(
        "() => document.querySelector('.nsa-costs').textContent.includes('42')", timeout=CHANGE_S * 1000
    )
    explorer.get_by_role("button", name="Next step").click()
    page.wait_for_function(NOTE, arg="D finished, so E moved up.", timeout=CHANGE_S * 1000)
    explorer.locator(".nsa-top").focus()
    page.keyboard.press("ArrowRight")
    assert "page_table_1[0, 1]" in explorer.locator(".nsa-top").get_attribute("aria-label")
    photograph(page, artefacts, "after")
