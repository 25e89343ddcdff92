"""Is every number in a notebook's prose the record's own, and every other number printed by a cell that is compared?

The rule from notebook 04 on: markdown holds no digit. Allowed are the record's numbers, with the record's unit; names
that contain digits; dates and versions; and what is no prose: code in backticks, links' targets, names of notebooks.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Notebooks whose sentences have templates are read by test_prose.py instead.
NOTEBOOKS = [
    p for p in sorted((ROOT / "notebooks").glob("0[4-9]_*.ipynb")) if '"prose": ' not in p.read_text("utf-8")
]

# The record's numbers that prose may quote, with their unit. One of three characters and more may stand without it.
RECORD = {
    "700": "us",
    "1400": "us",
    "235": "us",
    "295": "us",
    "220": "us",
    "280": "us",
    "465": "us",
    "1105": "us",
    "175": "us",
    "20": "us",
    "30": "us",
    "2": "us",
    "3": "us",
    "9": "us",
    "15": "us",
    "28.70": "us",
    "40.85": "us",
    "41.43": "us",
    "19.38": "us",
    "5": "%",
    "6": "%",
    "10": "%",
    "50": "%",
    "80": "%",
    "90": "%",
    "480": "lines",
    "3.0": "x",
    "4.8": "x",
    "1.48": "x",
}
ALSO = {
    ("5", "us"),
    ("40", "us"),
    ("50", "us"),
    ("3", "x"),
    ("5", "x"),
    ("2", "x"),
    ("6", "copies"),
    ("7", "copies"),
    ("4", "steps"),
    ("8", "steps"),
    ("32", "elements"),
    ("2048", "elements"),
}
QUOTED = {*RECORD.items(), *ALSO}
UNITS = {"us", "µs", "ms", "s", "%", "x", "×", "times", "MB", "GB", "bytes", "steps", "lines", "copies", "elements"}
NAMES = {"H200", "int32", "int64", "fp8", "32-bit", "64-bit", "FA3"}

NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)\n]*\)|https?://\S+|\b\d\d_[a-z_]+\b", re.S)
DATE = re.compile(
    r"\b\d{4}-\d\d-\d\d\b|\b(?:\d{1,2} )?(?:January|February|March|April|May|June|July|August|September|"
    r"October|November|December) (?:\d{1,2}, )?\d{4}\b"
)
VERSION = re.compile(r"\b(?:Python|torch|PyTorch|Triton|CUDA|matplotlib|ipywidgets|JupyterLab) \d+(?:\.\d+)+\b")
LIST_ITEM = re.compile(r"^\s*(?:\*\*)?\d+\.(?:\*\*)? ", re.M)
WORD = re.compile(r"[^\s()\[\]{}*_\"“”,;:!?|~<>=/+→-]*\d[^\s()\[\]{}*_\"“”,;:!?|~<>=/+→-]*(?:-[a-z]+)?")
CLAIM = re.compile(r"[PCBAD]\d")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def uncovered(text):
    """Words with a digit that the rule does not allow."""
    for pattern in (NOT_PROSE, DATE, VERSION, LIST_ITEM):
        text = pattern.sub(" ", text)
    return [word[0] for word in WORD.finditer(text) if not allowed(word[0], text[word.end() :])]


def allowed(word, rest):
    word = word.rstrip(".'s")
    if word in NAMES or CLAIM.fullmatch(word):
        return True
    number, unit = re.fullmatch(r"([\d.]*)(.*)", word).groups()
    unit = unit or following_unit(rest)
    alone = not unit and len(number) >= 3
    return any(number == quoted and (alone or unit == of) for quoted, of in QUOTED)


def following_unit(rest):
    """The unit after a number, or after the number it is a range or a sequence with; empty if the text goes on."""
    end = re.match(r"(?:\s*(?:-|to|->|→|and|,|us|µs)?\s*\d[\d.]*)*\s*(%|[A-Za-zµ×]+)?", rest)
    return end[1] if end and end[1] in UNITS else ""


@every_notebook
def test_no_number_in_prose_goes_unchecked(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"}
    found = {cell: uncovered(text) for cell, text in prose.items() if uncovered(text)}
    assert found == {}, "print these from a cell, which is compared, or quote the record"


@pytest.mark.parametrize(
    "text, found",
    [
        ("It takes 534 us.", ["534"]),
        ("It takes 6.25us", ["6.25us"]),
        ("copies take 59% of it", ["59%"]),
        ("85x faster", ["85x"]),
        ("17 columns, 4 rows", ["17", "4"]),
        ("a gain of 12.", ["12."]),
        ("9% of the time", ["9%"]),  # the record's 9 is in us
        ("480 us", ["480"]),  # and its 480 in lines
        ("from 12 to 235 us", ["12"]),
        ("H100", ["H100"]),
        ("bs=32", ["32"]),
    ],
)
def test_a_number_without_cover_is_found(text, found):
    assert uncovered(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "700 -> 235 us and 1400 → 295 us",
        "not for 5 to 6%, not for 480 lines",
        "its expected gain of 5-6% was small",
        "28.70 us against 19.38 us (1.48x)",
        "at 4 steps and at 8 steps",
        "On 2025-12-04, in December 2025, with Python 3.11",
        "an H200, int32, claims P1 and D3",
        "`record-4`, [05_batched_copy](05_batched_copy.ipynb), [an issue](https://github.com/a/b/issues/15132)",
        "```python\nx = 12\n```",
        "1. first\n**2.** second",
    ],
)
def test_what_is_allowed_passes(text):
    assert uncovered(text) == []
