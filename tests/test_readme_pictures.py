"""Is the README's picture that of the committed recording, and small?"""

import io
import runpy
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(ROOT / "notebooks" / "figures.py"))
NAMES = ("loop_time.png",)
MAX_BYTES = 200_000


@pytest.fixture(scope="module")
def drawn():
    return SCRIPT["pictures"]()


def test_the_script_draws_these_pictures(drawn):
    assert tuple(drawn) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_picture_shows_the_committed_recording(name, drawn):
    path = SCRIPT["RESULTS"] / name
    with Image.open(path) as stored:
        assert stored.info["Description"] == "\n".join(drawn[name].lines), "run: python notebooks/figures.py"
        assert stored.size == Image.open(io.BytesIO(drawn[name].png)).size
    assert path.stat().st_size < MAX_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_drawing_again_gives_the_same_bytes(name, drawn):
    assert SCRIPT["described"](drawn[name]) == SCRIPT["described"](SCRIPT["pictures"]()[name])
