"""Do all notebooks share one frame, and is what they show short, and not a second copy of the package?"""

import ast
import functools
import json
import re
import statistics
from pathlib import Path

import pytest

import nsa_core as nsa
from nsa_core.lab.explore.frame import collection, title_of

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEDIAN_LINES, MOST_LINES = 10, 30
LEARNED, NEXT = "## What we learned", "## Where to go next"

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def cells(path, kind=None):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if kind in (None, cell["cell_type"])]


def source(cell):
    return "".join(cell["source"])


def lines(cell):
    return [line for line in source(cell).splitlines() if line.strip()]


def is_only_imports(cell):
    """Imports, with at most a setting or a name before the story begins."""
    kinds = [type(node) for node in ast.parse(source(cell)).body]
    return kinds.count(ast.Import) + kinds.count(ast.ImportFrom) >= max(1, len(kinds) - 3)


def definitions(tree):
    """Names of the functions and classes that a syntax tree defines, at any depth."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def assigned(tree):
    """Names that statements of a cell bind, other than by import or definition."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {node.asname for node in ast.walk(tree) if isinstance(node, ast.alias)} - {None}


@functools.cache
def package_definitions():
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "nsa_core").rglob("*.py"))
    kinds = ast.FunctionDef | ast.ClassDef
    named = {node.name for tree in trees for node in tree.body if isinstance(node, kinds)}
    return {name for name in named if not name.startswith("_")}


def repeats(code):
    """What a cell defines although the package has it: any public function or class, or an exported name."""
    tree = ast.parse(code)
    return (definitions(tree) & package_definitions()) | (assigned(tree) & set(nsa.__all__))


@every_notebook
def test_it_begins_with_a_question_and_a_sentence(path):
    heading, _, text = source(cells(path)[0]).partition("\n")
    assert cells(path)[0]["cell_type"] == "markdown"
    assert re.fullmatch(r"# .+\?", heading.strip()), "the title is a `# ` heading that asks a question"
    assert len(text.split()) >= 20, "below the title: what it is about, and the sentence that will answer"


@every_notebook
def test_versions_come_first_and_imports_second(path):
    versions, imports = cells(path, "code")[:2]
    assert "machine()" in source(versions) and versions["metadata"]["tags"] == ["nbval-ignore-output"]
    assert "torch" in json.dumps(versions["outputs"]), "no versions are stored: run make notebooks"
    assert is_only_imports(imports)


@every_notebook
def test_it_ends_with_what_we_learned_and_where_to_go(path):
    learned, last = (source(cell) for cell in cells(path)[-2:])
    assert learned.startswith(LEARNED) and learned.count("\n- ") >= 2, "takeaways, as a list"
    assert last.startswith(NEXT) and re.search(r"\]\((\S+\.ipynb)\)", last), "a link to another notebook"


@every_notebook
def test_links_between_notebooks_lead_somewhere(path):
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    targets = re.findall(r"\]\(([^():]+\.ipynb)[^)]*\)", text)
    assert [target for target in targets if not (path.parent / target).exists()] == []


@every_notebook
def test_code_cells_are_short(path):
    shown = [cell for cell in cells(path, "code") if not cell["metadata"].get("jupyter", {}).get("source_hidden")]
    sizes = [len(lines(cell)) for cell in shown]
    assert statistics.median(sizes) <= MEDIAN_LINES and max(sizes) <= MOST_LINES


@every_notebook
def test_every_code_cell_is_introduced(path):
    """At most three code cells in a row: prose, a small cell, an observation."""
    kinds = "".join(cell["cell_type"][0] for cell in cells(path))
    assert "cccc" not in kinds


@every_notebook
def test_no_cell_defines_what_the_package_has(path):
    assert {cell["id"]: repeats(source(cell)) for cell in cells(path, "code") if repeats(source(cell))} == {}


def test_the_map_names_every_notebook_by_its_title():
    text = collection(ROOT / "notebooks")
    assert text.count("\n") + 1 == len(NOTEBOOKS)
    for path in NOTEBOOKS:
        assert f"- [{path.stem}]({path.name}): {title_of(path)}" in text


def test_the_stored_map_is_up_to_date():
    outputs = json.dumps([cell["outputs"] for cell in cells(ROOT / "notebooks" / "00_start_here.ipynb", "code")])
    assert [path.name for path in NOTEBOOKS if json.dumps(title_of(path))[1:-1] not in outputs] == []


def test_a_notebook_without_a_title_is_named(tmp_path):
    (tmp_path / "01_x.ipynb").write_text('{"cells": [{"source": ["no heading"]}]}', encoding="utf-8")
    with pytest.raises(ValueError, match="01_x.ipynb begins with"):
        collection(tmp_path)


@pytest.mark.parametrize(
    "code, found",
    [
        ("def precompute(x):\n    return x", {"precompute"}),
        ("class Observation:\n    pass", {"Observation"}),
        ("precompute = 1", {"precompute"}),
        ("import torch as precompute", {"precompute"}),
        ("from nsa_core import precompute\nlengths = [1]", set()),
        ("def slow_sum(x):\n    return sum(x)", set()),
    ],
)
def test_a_repetition_is_seen(code, found):
    assert repeats(code) == found
