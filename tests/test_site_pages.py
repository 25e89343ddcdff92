"""Do the pages of the site say what the notebooks and docstrings say, with links and places where they belong?"""

import json
import runpy
from pathlib import Path

import pytest

from nsa_core.lab.explore.page import METADATA, explorer_values, front_metadata, page_model, setup_of, setup_values
from nsa_core.lab.explore.quiz import Quiz
from nsa_core.lab.explore.setup import Setup
from nsa_core.lab.explore.story import STORY

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
PAGES = runpy.run_path(str(FOLDER / "site/pages.py"))
KNOWN = {"kv slot": "term-kv-slot", "draft step": "term-draft"}
STORED = [
    (path.name, output)
    for path in sorted(FOLDER.glob("*.ipynb"))
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
    for output in cell.get("outputs", [])
]


@pytest.mark.parametrize(
    "text, becomes",
    {
        "a **KV slot** is": "a [**KV slot**](#term-kv-slot) is",
        "two **draft steps**": "two [**draft steps**](#term-draft)",
        "[KV slots](glossary.md)": "[KV slots](#term-kv-slot)",
        "the [glossary](glossary.md)": "the [glossary](glossary.md)",
        "[below](#What-does-a-call-cost?)": "[below](#what-does-a-call-cost)",
        "[there](06_why_reverted.ipynb#Decision)": "[there](06_why_reverted.ipynb#decision)",
        "**Something else.** Text": "**Something else.** Text",
    }.items(),
)
def test_a_term_leads_to_its_entry(text, becomes):
    assert PAGES["linked"](text, KNOWN) == becomes


def test_every_term_of_the_glossary_has_an_address_of_its_own():
    terms = PAGES["terms"](FOLDER)
    text = PAGES["glossary"]((FOLDER / "glossary.md").read_text(encoding="utf-8"))
    assert len(terms) > 40 and terms["kv slot"] == "term-kv-slot"
    assert all(text.count(f"({anchor})=\n") == 1 for anchor in terms.values())


def test_a_docstring_becomes_a_list_of_what_it_explains():
    lines = ["Does `x`: quickly.", "", "bs, mode: what is captured;", "    see *args.", "", "Raises: no_one_."]
    PAGES["docstring"](None, None, None, None, None, lines)
    assert lines == [
        "Does ``x``: quickly.",
        "",
        "",
        "- **bs, mode**: what is captured;",
        "  see \\*args.",
        "",
        "Raises: no\\_one\\_.",
    ]


def test_every_notebook_is_in_the_contents_and_the_first_is_the_page_itself():
    contents = PAGES["toctree"](FOLDER)
    assert contents.count("<self>") == 1 and "00 start here <self>" in contents
    assert all(
        f"<{path.stem}>" in contents for path in list(FOLDER.glob("[0-9][0-9]_*.ipynb")) if "00" not in path.stem
    )


def test_a_widget_gets_a_place_in_front_of_its_still_form_and_no_text_ends_it_early():
    stored = front_metadata("quiz", {"question": "</script>?", "code": "", "options": [], "chosen": -1})
    cell = {"metadata": {"tags": []}, "outputs": [{"data": {}, "metadata": stored}, {"text": "said"}]}
    PAGES["mount"](cell)
    place, still, said = cell["outputs"]
    html = place["data"]["text/html"]
    assert still["metadata"] == stored and said == {"text": "said"}
    assert html.count("</script>") == 1 and "\\u003c/script>?" in html


def test_a_page_that_a_picture_leads_to_is_a_web_page_here():
    place = PAGES["place"](front_metadata("history", {"data": {"note": "december-2025.md"}}))
    assert '"december-2025.html"' in place


def test_a_stored_explorer_is_the_setup_it_was_made_of():
    setup = Setup(bs=4, strategy="fused", draft_tokens=3)
    values = json.loads(json.dumps(setup_values(setup)))
    assert setup_of(values) == setup
    model = page_model(front_metadata("explorer", explorer_values(setup, STORY, (), 2))[METADATA])
    assert [control["value"] for control in model["controls"]][:2] == ["decode", "fused"] and len(
        model["rosters"]
    ) == 7


@pytest.mark.parametrize("name, output", [found for found in STORED if "<summary>Answer</summary>" in str(found[1])])
def test_a_stored_question_is_live_on_a_page_and_says_the_same(name, output):
    assert METADATA in output["metadata"], f"{name} was stored by an older package; run: make notebooks"
    model = json.loads(output["metadata"][METADATA]["model"])
    assert Quiz(**model)._html() == "".join(output["data"]["text/html"])
