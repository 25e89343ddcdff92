"""Do stored notebooks hold what a strict comparison of outputs relies on? An unexecuted notebook would pass one."""

import json
import re
import runpy
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
REFRESH = runpy.run_path(str(FOLDER / "refresh.py"))
MAX_IGNORED = 2  # cells whose outputs are stored but never compared
MAX_BYTES = 1_000_000
# Roots of absolute paths that would be true on one machine only.
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|opt|usr|var|work|workspace|Users)/\w")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return set(cell["metadata"].get("tags", []))


def cells_that_run(path):
    """The code cells that are executed, in order."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code" and source(cell).strip()]
    return [cell for cell in code if "nbval-skip" not in tags(cell)]


def texts(output):
    """Everything in an output that is text: streams, errors, and every representation but pictures."""
    shown = [data for kind, data in output.get("data", {}).items() if not kind.startswith("image/")]
    stored = [*shown, output.get("text", ""), output.get("evalue", ""), output.get("traceback", "")]
    return ["".join(text) if isinstance(text, list) else str(text) for text in stored]


def test_there_is_a_first_notebook():
    assert FOLDER / "00_start_here.ipynb" in NOTEBOOKS


@every_notebook
def test_the_file_is_as_refresh_writes_it(path):
    notebook = nbformat.read(path, as_version=4)
    assert path.read_text(encoding="utf-8") == REFRESH["stored_text"](REFRESH["clean"](notebook)), (
        "run: make notebooks"
    )
    assert notebook.metadata.kernelspec.name == "python3"


@every_notebook
def test_cell_ids_are_unique(path):
    ids = [cell["id"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    assert len(set(ids)) == len(ids)


@every_notebook
def test_every_cell_was_run_once_from_top_to_bottom(path):
    counts = [cell["execution_count"] for cell in cells_that_run(path)]
    assert counts == list(range(1, len(counts) + 1)), "run: make notebooks"
    assert any(cell["outputs"] for cell in cells_that_run(path)), "no outputs are stored: run: make notebooks"


@every_notebook
def test_no_cell_silences_its_value_with_a_semicolon(path):
    assert [cell["id"] for cell in cells_that_run(path) if source(cell).rstrip().endswith(";")] == []


@every_notebook
def test_stored_errors_are_announced_by_a_tag(path):
    failed = [cell for cell in cells_that_run(path) if any(out["output_type"] == "error" for out in cell["outputs"])]
    assert [cell["id"] for cell in failed if "raises-exception" not in tags(cell)] == []


@every_notebook
def test_outputs_name_no_path_of_one_machine(path):
    outputs = [(cell["id"], text) for cell in cells_that_run(path) for out in cell["outputs"] for text in texts(out)]
    assert [(cell, found[0]) for cell, text in outputs if (found := MACHINE_PATH.search(text))] == []


@every_notebook
def test_at_most_two_cells_escape_comparison(path):
    escaped = [
        cell for cell in cells_that_run(path) if "nbval-ignore-output" in tags(cell) or "NBVAL_" in source(cell)
    ]
    skipped = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if "nbval-skip" in tags(cell)]
    assert len(escaped) + len(skipped) <= MAX_IGNORED


@every_notebook
def test_the_file_stays_small(path):
    assert path.stat().st_size < MAX_BYTES


@pytest.mark.parametrize("text", ["see /home/me/x.py", "'/var/a'", 'File "/usr/lib/x.py"'])
def test_the_path_pattern_finds_machine_paths(text):
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["ratio a/b", "docs/var/x", "1 / usr", "https://host/home/page", "../opt/x"])
def test_the_path_pattern_leaves_other_slashes_alone(text):
    assert not MACHINE_PATH.search(text)
