"""Are the README's picture and numbers those of the committed recordings?"""

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

from nsa_core.lab.explore import prose

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(ROOT / "notebooks" / "figures.py"))
TEXT = SCRIPT["README"].read_text(encoding="utf-8")
TEMPLATES = [told[1] for told in prose.TOLD.finditer(TEXT)]
MAX_BYTES = 200_000


@pytest.fixture(scope="module")
def drawn():
    return SCRIPT["drawn"]()


def test_the_stored_picture_shows_the_committed_recording(drawn):
    with Image.open(SCRIPT["PICTURE"]) as stored:
        assert stored.info["Description"] == drawn[0], "run: python notebooks/figures.py"
    assert SCRIPT["PICTURE"].stat().st_size < MAX_BYTES


def test_drawing_again_gives_the_same_bytes(drawn):
    assert SCRIPT["drawn"]() == drawn


def test_every_number_is_what_its_expression_yields():
    assert TEMPLATES and prose.render_page(TEXT) == TEXT, "run: python notebooks/figures.py"


def test_every_time_has_an_expression():
    """Outside of the passages that are rendered, no sentence names a time."""
    assert re.findall(r"\d\s?(?:\u00b5s|us|ms)\b", prose.TOLD.sub("", TEXT)) == []


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_changed_digit_is_seen_and_mended(template):
    shown = prose.render(template)
    at = re.search(r"\d", shown).start()
    changed = f"{shown[:at]}{(int(shown[at]) + 1) % 10}{shown[at + 1 :]}"
    page = TEXT.replace(f"-->\n{shown}\n", f"-->\n{changed}\n")
    assert page != TEXT and prose.render_page(page) == TEXT
