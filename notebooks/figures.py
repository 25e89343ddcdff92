"""Draw the README's picture from the committed set of recordings: `python notebooks/figures.py`.

It carries its words and the conditions of the runs as its description, so that a test can tell a stale one.
"""

import io
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nsa_core.lab.bench.evidence import RECORD_CASES, Evidence, committed
from nsa_core.lab.bench.floors import ONE_NODE_GRAPH
from nsa_core.lab.explore.chart import COLOURS, GREY, SMALL, Chart, figure, finish, labels, name_rows

RESULTS = Path(__file__).resolve().parent / "results"


def pictures() -> dict[str, Chart]:
    """What each strategy costs above the floor."""
    return {"loop_time.png": strategies_chart(committed())}


def strategies_chart(evidence: Evidence) -> Chart:
    """Loop time of every strategy in the note's two cases, above a graph with a single node."""
    names = [row["name"] for row in evidence.all(case=RECORD_CASES[4], kind="strategy")]
    names.sort(key=lambda name: -evidence.loop(RECORD_CASES[4], name).median)
    fig, lines = figure(3.9), []
    ax = fig.subplots()
    for n, case in RECORD_CASES.items():
        loops = [evidence.loop(case, name).median for name in names]
        _draw_dots(ax, names, loops, filled=n == max(RECORD_CASES))
        lines.append(f"{n} steps: " + ", ".join(f"{name} {us:.4g} us" for name, us in zip(names, loops, strict=True)))
    floor = evidence.spread(RECORD_CASES[4], ONE_NODE_GRAPH, kind="floor").median
    ax.axvline(floor, color=GREY, lw=1, ls=":", label=f"floor: {ONE_NODE_GRAPH}")
    lines.append(f"floor, {ONE_NODE_GRAPH}: {floor:.3g} us")
    ax.set_xscale("log")
    ax.margins(x=0.12)
    name_rows(ax, names)
    title = "one replay of decode steps, bs 32, 4096 tokens; open: 4 steps, filled: 8"
    labels(ax, title, "loop time, microseconds, log scale", "", "lower right")
    return finish(fig, lines, evidence)


def _draw_dots(ax, names: list[str], loops: list[float], filled: bool) -> None:
    colours = [COLOURS[name] for name in names]
    ax.scatter(loops, range(len(names)), s=34, zorder=3, color=colours if filled else "white", edgecolors=colours)
    side = {"xytext": (8 if filled else -8, 0), "ha": "left" if filled else "right"}
    for row, us in enumerate(loops):
        words = f"{us:.3g}" if us < 1000 else f"{us:.0f}"
        ax.annotate(words, (us, row), textcoords="offset points", va="center", fontsize=SMALL - 1, **side)


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
