"""Would `make test` notice if a stored number were wrong? One is changed in a copy of every notebook."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"(?<![\w.])\d+")
# As in pyproject.toml, but with no test of the project beside the copies.
NBVAL = [
    "--nbval",
    "--nbval-current-env",
    "--nbval-cell-timeout=120",
    "-p",
    "no:cacheprovider",
    "-q",
    "--nbval-sanitize-with=tests/nbval_sanitize.cfg",
    f"-c={os.devnull}",
]

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def text_of(output):
    """Where an output keeps the text that is compared; None for pictures and errors."""
    holder, key = (output, "text") if "text" in output else (output.get("data", {}), "text/plain")
    return (holder, key) if NUMBER.search("".join(holder.get(key, ""))) else None


def change_a_number(cells):
    """Add one to the first number stored by a compared cell; returns that cell's place among the code cells."""
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    for place, cell in enumerate(code):
        if "nbval-ignore-output" in cell["metadata"].get("tags", []):
            continue
        for holder, key in filter(None, map(text_of, cell["outputs"])):
            text = "".join(holder[key])
            holder[key] = NUMBER.sub(lambda found: str(int(found[0]) + 1), text, count=1)
            return place
    raise AssertionError("no compared cell stores a number")


def mutated(path):
    """A notebook whose last cell is the first that stores a number, now a wrong one; and that cell's place."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    place = change_a_number(notebook["cells"])
    last = [at for at, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"][place]
    notebook["cells"] = notebook["cells"][: last + 1]
    return json.dumps(notebook), place


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """What nbval says of each code cell of the mutated copies: {notebook: {place: passed}}."""
    folder = tmp_path_factory.mktemp("mutated")
    for path in NOTEBOOKS:
        (folder / path.name).write_text(mutated(path)[0], encoding="utf-8")
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", *NBVAL, f"--rootdir={folder}", f"--junit-xml={report}", str(folder)]
    options = {"cwd": ROOT, "env": environment(), "capture_output": True, "text": True, "timeout": 600}
    done = subprocess.run(command, check=False, **options)
    assert report.exists(), done.stdout + done.stderr
    return read(report)


def environment():
    """That of `make test`; notebooks run without the interpreter unless they ask for it themselves."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"PYTHONPATH": path}


def read(report):
    found = {path.name: {} for path in NOTEBOOKS}
    for case in ElementTree.parse(report).iter("testcase"):
        notebook = case.get("classname").removesuffix(".ipynb").rpartition(".")[2] + ".ipynb"
        place = int(case.get("name").removeprefix("Cell "))
        found[notebook][place] = case.find("failure") is None and case.find("error") is None
    return found


@every_notebook
def test_a_changed_number_fails_its_cell_and_no_other(path, verdicts):
    place = mutated(path)[1]
    assert verdicts[path.name] == {at: at != place for at in range(place + 1)}


def test_exactly_one_digit_string_changes():
    cell = {"cell_type": "code", "metadata": {}, "outputs": [{"output_type": "stream", "text": ["a1 29 and 30\n"]}]}
    ignored = {"cell_type": "code", "metadata": {"tags": ["nbval-ignore-output"]}, "outputs": [{"text": ["7"]}]}
    assert change_a_number([ignored, cell]) == 1
    assert cell["outputs"][0]["text"] == "a1 30 and 30\n" and ignored["outputs"][0]["text"] == ["7"]


def test_a_notebook_that_stores_no_number_is_refused():
    with pytest.raises(AssertionError, match="no compared cell"):
        change_a_number([{"cell_type": "code", "metadata": {}, "outputs": []}])
