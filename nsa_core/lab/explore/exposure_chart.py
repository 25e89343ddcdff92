"""What does a round feel of a refresh? By the bytes that the refresh writes, on two GPUs."""

from matplotlib.axes import Axes

from ..bench.exposure import INSIDE
from .chart import COLOURS, WORDS, Chart, caption, figure, labels
from .said import exposed_rows

FILLED = {"h200": True, "h100": False}  # how a GPU's dots are drawn
LEAST_MB = 0.01  # what writes less adds no less, and would squeeze the rest
# By case and strategy: what stands beside the H200's dot, and where.
NAMED = {
    ("exposed-32x64k-steps-8", "fused"): ("8 sets, both tables", (-9, -3)),
    ("exposed-32x64k-steps-8", "shared+fused"): ("one set, both tables", (-9, 3)),
    ("exposed-32x64k-steps-8-real-table", "fused"): ("8 sets, real page table only", (0, 11)),
    ("exposed-32x64k-steps-8-real-table", "shared+fused"): ("one set, real page table only", (0, 11)),
}
TICKS = {"x": [0.01, 0.1, 1, 10, 100], "y": [1, 2, 5, 10, 20, 50]}


def exposure_chart() -> Chart:
    """Time added to a stand-in for a round by a refresh inside its graph: a floor, then bytes."""
    fig, lines = figure(3.8), []
    ax = fig.subplots()
    for gpu, filled in FILLED.items():
        for row in exposed_rows(gpu):
            if row.get("place") == INSIDE and row["bytes_written"] >= LEAST_MB * 1e6:
                lines += _dot(ax, row, filled)
    _axes(ax)
    runs = [exposed_rows(gpu)[0] for gpu in FILLED]
    conditions = "; ".join(f"{run['machine']}, {run['date'][:10]}, one run" for run in runs)
    caption(fig, f"{conditions}; torch {runs[0]['torch']}, triton {runs[0]['triton']}")
    return Chart(fig, [*lines, conditions])


def _dot(ax: Axes, row: dict, filled: bool) -> list[str]:
    """Draws a refresh; the words of one that is named."""
    at, colour = (row["bytes_written"] / 1e6, row["exposed_us"]), COLOURS[row["strategy"]]
    ax.plot(*at, "o", ms=6, mec=colour, mfc=colour if filled else "none")
    name, offset = NAMED.get((row["case"], row["strategy"]), ("", None))
    if not name:
        return []
    if filled:
        side = "right" if offset[0] else "center"
        ax.annotate(name, at, offset, textcoords="offset points", ha=side, fontsize=WORDS)
    return [f"{row['machine']}: {name}: {at[0]:.3g} MB written, {at[1]:.1f} \u00b5s added"]


def _axes(ax: Axes) -> None:
    ax.set(xscale="log", yscale="log", ylim=(1, 50))
    ax.minorticks_off()
    ax.set_xticks(TICKS["x"], TICKS["x"])
    ax.set_yticks(TICKS["y"], TICKS["y"])
    title = "Orange: N sets, green: one set. Filled: H200, open: H100. Named: 32 requests of 65,536 tokens."
    labels(ax, title, "MB written (both axes are logarithmic)", "\u00b5s added to the round")
    ax.tick_params(labelsize=WORDS)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_size(WORDS)
