"""Does JupyterLab, as `make lab` starts it, listen on loopback only, ask for a token, keep to its copy?"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
PATIENCE = 120  # seconds for a cold start on a busy machine
OPENS_UP = ("token", "password", "allow_origin", "allow_remote_access", "disable_check_xsrf", "ip=0", "ip=*")

if shutil.which("make") is None:
    pytest.skip("needs make to read the command of `make lab`", allow_module_level=True)
pytest.importorskip("jupyterlab", reason="needs jupyterlab, the extra [notebooks]")


def lab_arguments(*extra, copy=ROOT / ".lab"):
    """What `make lab` hands to JupyterLab. copy: of the notebooks, which it serves."""
    variables = [f"LAB_ARGS={' '.join(('--no-browser', *extra))}", f"LAB_COPY={copy}"]
    command = ["make", "--no-print-directory", "--dry-run", "lab", *variables]
    recipe = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (words,) = [shlex.split(line) for line in recipe.replace("\\\n", " ").splitlines() if "-m jupyterlab" in line]
    return words[words.index("jupyterlab") + 1 :]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The running server as it describes itself; it knows no configuration but its command line."""
    home, port = tmp_path_factory.mktemp("home"), free_port()
    places = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    copy = Path(shutil.copytree(NOTEBOOKS, home / "copy"))
    arguments = lab_arguments(f"--ServerApp.port={port}", "--ServerApp.port_retries=0", copy=copy)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *arguments],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env=environment | places | {"HOME": str(home)},
        )
    try:
        yield described(home, port, process)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def described(home, port, process):
    give_up = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < give_up:
        for path in (home / "runtime").glob("jpserver-*.json"):
            if connects("127.0.0.1", port):
                return json.loads(path.read_text())
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not come up: {(home / 'log').read_text()}")


def connects(host, port):
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, port)) == 0


def get(server, path, token=None):
    """Status and body; `path` goes out as it is written."""
    request = urllib.request.Request(f"http://127.0.0.1:{server['port']}{path}")
    if token is not None:
        request.add_header("Authorization", f"token {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode(errors="replace")


def test_the_command_opens_nothing_up():
    arguments = lab_arguments()
    assert "--ServerApp.ip=127.0.0.1" in arguments and f"--ServerApp.root_dir={ROOT / '.lab'}" in arguments
    assert not [word for word in arguments for risk in OPENS_UP if risk in word]


def test_only_loopback_answers(server):
    assert connects("127.0.0.1", server["port"])
    assert not connects("127.0.0.2", server["port"])  # answers where a server listens on every address
    assert server["url"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "path", ("contents", "contents/refresh.py", "kernels", "kernelspecs", "sessions", "terminals")
)
@pytest.mark.parametrize("token", (None, "", "0" * 48), ids=("none", "empty", "wrong"))
def test_nothing_is_told_without_the_token(server, path, token):
    assert get(server, f"/api/{path}", token)[0] == 403
    assert get(server, f"/api/{path}", server["token"])[0] == 200


def test_the_token_is_made_for_this_server(server):
    assert len(server["token"]) >= 32 and server["password"] is False


def test_the_token_opens_notebooks(server):
    status, body = get(server, "/api/contents", server["token"])
    names = {entry["name"] for entry in json.loads(body)["content"]}
    assert status == 200 and names and names <= {path.name for path in NOTEBOOKS.iterdir()}
    assert Path(server["root_dir"]).name == "copy"


@pytest.mark.parametrize("door", ("/files/", "/api/contents/", "/nbconvert/script/", "/view/", "/tree/"))
@pytest.mark.parametrize("up", ("..", "%2e%2e", "..%2f..%2f" + ROOT.name, "%252e%252e", "x/../..", "%2f" + str(ROOT)))
def test_nothing_above_is_served_even_with_it(server, door, up):
    status, body = get(server, f"{door}{up}/pyproject.toml", server["token"])
    assert "build-backend" not in body
    if door in ("/files/", "/api/contents/"):
        assert status in (400, 403, 404)


def test_those_doors_do_serve_what_lies_in_notebooks(server):
    for door in ("/files/", "/api/contents/"):
        status, body = get(server, f"{door}refresh.py", server["token"])
        assert status == 200 and "import" in body
