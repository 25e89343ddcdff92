"""Draw the README's two pictures from the committed set of recordings: `python notebooks/figures.py`.

Each carries its words and the conditions of the runs as its description, so that a test can tell a stale one.
"""

import io
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nsa_core.lab.bench.evidence import committed
from nsa_core.lab.decision import claims
from nsa_core.lab.explore.chart import Chart
from nsa_core.lab.explore.figures_past import strategies_chart
from nsa_core.lab.explore.ledger import overview

RESULTS = Path(__file__).resolve().parent / "results"


def pictures() -> dict[str, Chart]:
    """What each strategy costs above the floors, and what became of the note's claims."""
    runs = committed()
    return {"loop_time.png": strategies_chart(runs), "claims.png": overview(claims.ledger(runs), runs.conditions)}


def described(chart: Chart) -> bytes:
    """The chart's picture with its words inside."""
    words, buffer = PngInfo(), io.BytesIO()
    words.add_text("Description", "\n".join(chart.lines))
    Image.open(io.BytesIO(chart.png)).save(buffer, format="png", optimize=True, pnginfo=words)
    return buffer.getvalue()


def main() -> None:
    for name, chart in pictures().items():
        (RESULTS / name).write_bytes(described(chart))
        print(f"results/{name}: {(RESULTS / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
