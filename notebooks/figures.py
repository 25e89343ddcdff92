"""Bring the README's picture and numbers up to date with the recordings: `python notebooks/figures.py`.

The picture carries its words and the conditions of the runs as its description, so that a test can tell a stale one.
"""

import base64
import io
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nsa_core.lab.bench.evidence import committed
from nsa_core.lab.explore import prose
from nsa_core.lab.explore.pictures import timeline

HERE = Path(__file__).resolve().parent
README, PICTURE = HERE.parent / "README.md", HERE / "results" / "one_refresh.png"


def drawn() -> tuple[str, bytes]:
    """What CPU and GPU do during one refresh, by four ways: words, and the picture with the words inside."""
    moving = timeline(committed())
    moving.hint = "It moves in the notebooks: make lab."
    data, _ = moving.static()
    words, about, buffer = f"{moving.words}\n{moving.data['source']}", PngInfo(), io.BytesIO()
    about.add_text("Description", words)
    Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).save(
        buffer, format="png", optimize=True, pnginfo=about
    )
    return words, buffer.getvalue()


def main() -> None:
    PICTURE.write_bytes(drawn()[1])
    README.write_text(prose.render_page(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PICTURE.name}: {PICTURE.stat().st_size} bytes; {README.name}: numbers are up to date")


if __name__ == "__main__":
    main()
