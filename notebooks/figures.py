"""Bring the README's picture and numbers up to date with the recordings: `python notebooks/figures.py`.

The picture carries its words and the conditions of the runs as its description, so that a test can tell a stale one.
"""

import io
import textwrap
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nsa_core.lab.bench.evidence import RECORD_CASES, committed
from nsa_core.lab.explore import chart, palette, prose
from nsa_core.lab.explore.pictures.live import measured_on, three

HERE = Path(__file__).resolve().parent
README, PICTURE = HERE.parent / "README.md", HERE / "results" / "one_refresh.png"
STEPS, DOTS_PER_INCH, WAITS = 4, 200, 0.72  # WAITS: how near to the paper the colour of waiting is
ROWS = {  # strategy: what it does, for a reader who has seen nothing else
    "eager": "each set is computed anew, as SGLang did until December 2025",
    "copy": "computed once, copied into each set: kept",
    "batched": "computed once, most copies of a set by one kernel: reverted",
    "fused": "one kernel computes everything and writes all sets",
    "graph": "the same kernel, recorded as a CUDA graph",
}


def measured() -> list[dict]:
    """Of each strategy: microseconds of a refresh, microseconds in which the GPU works, its operations."""
    run, case = committed(), RECORD_CASES[STEPS]
    found = []
    for name, does in ROWS.items():
        row = run.row(case, name, kind="strategy")
        whole = {"us": run.loop(case, name).median, "gpu": row["device_us"], "operations": int(row["device_ops"])}
        found.append({"name": name, "does": does, **whole})
    return found


def told(row: dict) -> str:
    """The line beside a bar."""
    return f"{three(row['us'])} \u00b5s, {row['operations']} GPU operation{'s' * (row['operations'] > 1)}"


def figure(rows: list[dict], source: str) -> Figure:
    """A bar for each strategy: solid while the GPU works, pale while it waits."""
    fig = chart.figure(3.5)
    fig.set_dpi(DOTS_PER_INCH)
    ax, longest = fig.subplots(), max(row["us"] for row in rows)
    for at, row in enumerate(rows):
        colour = palette.STRATEGIES[row["name"]]
        pale = colour.mixed(palette.PAPER, WAITS).light
        ax.barh(at, row["us"], height=0.42, color=pale)
        ax.barh(at, row["gpu"], height=0.42, color=colour.light)
        ax.text(0, at - 0.42, row["name"], fontsize=chart.WORDS, color=colour.light, weight="bold")
        ax.text(0.09 * longest, at - 0.42, row["does"], fontsize=chart.WORDS, color=chart.INK)
        ax.text(row["us"] + 0.01 * longest, at, told(row), va="center", fontsize=chart.WORDS, color=chart.INK)
    ax.set(xlim=(0, 1.22 * longest), ylim=(len(rows) - 0.6, -0.8))
    ax.set_title(
        f"One refresh of {STEPS} sets. Solid: the GPU works. Pale: it waits for the CPU.", loc="left", size=10
    )
    ax.axis("off")
    fig.supxlabel("\n".join(textwrap.wrap(source, 140)), fontsize=7, color=chart.GREY, x=0.005, ha="left")
    return fig


def drawn() -> tuple[str, bytes]:
    """The cost of one refresh by strategy: words, and the picture with the words inside."""
    rows, buffer, about = measured(), io.BytesIO(), PngInfo()
    source = measured_on(
        committed(), "decode, 32 requests of 4,096 tokens; the CPU's time or the GPU's, whichever is longer"
    )
    lines = [f"{row['name']}, {row['does']}: {told(row)}, at work {three(row['gpu'])} \u00b5s" for row in rows]
    words = "\n".join([*lines, source])
    about.add_text("Description", words)
    Image.open(io.BytesIO(chart.png(figure(rows, source)))).save(buffer, format="png", optimize=True, pnginfo=about)
    return words, buffer.getvalue()


def main() -> None:
    PICTURE.write_bytes(drawn()[1])
    README.write_text(prose.render_page(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PICTURE.name}: {PICTURE.stat().st_size} bytes; {README.name}: numbers are up to date")


if __name__ == "__main__":
    main()
