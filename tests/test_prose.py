"""Does every number in a notebook's sentences come from a recording, or stand in the cell's own template?"""

import copy
import json
import re
import runpy
from pathlib import Path

import nbformat
import pytest

from nsa_core.lab.explore import prose

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REFRESH = runpy.run_path(str(ROOT / "notebooks" / "refresh.py"))
NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)\n]*\)|https?://\S+|\b\d\d_[a-z_]+\b|<svg.*?</svg>", re.S)
DIGIT = re.compile(r"\d")


def source(cell):
    return "".join(cell["source"])


def told(path):
    """Markdown cells with a template for their numbers."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "markdown" and prose.METADATA in cell["metadata"]]


every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


@every_notebook
def test_every_sentence_says_what_its_expressions_yield(path):
    for cell in told(path):
        assert source(cell) == prose.render(cell["metadata"][prose.METADATA]), "run: make notebooks"


@every_notebook
def test_no_number_in_prose_is_without_a_template(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    loose = [c for c in cells if c["cell_type"] == "markdown" and prose.METADATA not in c["metadata"]]
    assert [source(c) for c in loose if DIGIT.search(NOT_PROSE.sub("", source(c)))] == []


@every_notebook
def test_a_changed_digit_is_seen_and_mended(path):
    for cell in told(path):
        text = source(cell)
        found = DIGIT.search(text)
        if found is None:
            continue
        changed = f"{text[: found.start()]}{(int(found[0]) + 1) % 10}{text[found.end() :]}"
        assert changed != prose.render(cell["metadata"][prose.METADATA])
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(changed)])
        notebook.cells[0].metadata = copy.deepcopy(nbformat.from_dict(cell["metadata"]))
        REFRESH["render"](notebook)
        assert notebook.cells[0].source == text


def test_an_expression_is_evaluated_and_rounded_as_asked():
    names = {"us": lambda steps: 1077.6 * steps / 4, "half": 0.5}
    assert prose.render("from {us(4):,.0f} us, {half:.0%} of {{it}}", names) == "from 1,078 us, 50% of {it}"
    with pytest.raises(NameError, match="unknown"):
        prose.render("{unknown:.1f}", names)
