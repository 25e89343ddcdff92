"""What does a decode step feel of a refresh? By the bytes that the refresh writes."""

from ..bench.exposure import INSIDE
from .chart import COLOURS, GREY, WORDS, Chart, caption, figure, labels
from .said import exposed_rows

NAMED = {
    ("exposed-32x64k-steps-8", "fused"): "8 sets, both tables",
    ("exposed-32x64k-steps-8", "shared+fused"): "one set, both tables",
    ("exposed-32x64k-steps-8-real-table", "fused"): "8 sets, real page table only",
    ("exposed-32x64k-steps-8-real-table", "shared+fused"): "one set, real page table only",
}


def exposure_chart() -> Chart:
    """Time added to a stand-in decode step by a refresh inside its graph: a floor, then bytes."""
    rows = [row for row in exposed_rows() if row.get("place") == INSIDE]
    fig = figure(3.4)
    ax = fig.subplots()
    for row in rows:
        ax.plot(row["bytes_written"] / 1e6, row["exposed_us"], "o", ms=6, color=COLOURS[row["strategy"]])
    lines = []
    for row in rows:
        name = NAMED.get((row["case"], row["strategy"]))
        if name is not None:
            at = row["bytes_written"] / 1e6, row["exposed_us"]
            ax.annotate(name, at, (-6, 8), textcoords="offset points", ha="right", fontsize=WORDS)
            lines.append(f"{name}: {at[0]:.3g} MB written, {at[1]:.1f} \u00b5s added")
    ax.set_xscale("log")
    ax.set_ylim(0, None)
    labels(ax, "each dot is a refresh inside a step's graph; named: 32 requests of 65,536 tokens", "MB written, log scale", "\u00b5s added to the step")
    ax.tick_params(labelsize=WORDS)
    return Chart(fig, lines)
