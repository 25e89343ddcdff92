"""What does a decode step feel of a refresh? By the bytes that the refresh writes."""

from ..bench.exposure import INSIDE
from .chart import COLOURS, WORDS, Chart, caption, figure, labels
from .said import exposed_rows

# By case and strategy: what stands beside the dot, and where.
NAMED = {
    ("exposed-32x64k-steps-8", "fused"): ("8 sets, both tables", (-10, -3)),
    ("exposed-32x64k-steps-8", "shared+fused"): ("one set, both tables", (-10, 4)),
    ("exposed-32x64k-steps-8-real-table", "fused"): ("8 sets, real page table only", (4, 19)),
    ("exposed-32x64k-steps-8-real-table", "shared+fused"): ("one set, real page table only", (4, 6)),
}


def exposure_chart() -> Chart:
    """Time added to a stand-in decode step by a refresh inside its graph: a floor, then bytes."""
    rows = [row for row in exposed_rows() if row.get("place") == INSIDE]
    fig, lines = figure(3.4), []
    ax = fig.subplots()
    for row in rows:
        at = row["bytes_written"] / 1e6, row["exposed_us"]
        ax.plot(*at, "o", ms=6, color=COLOURS[row["strategy"]])
        name, offset = NAMED.get((row["case"], row["strategy"]), ("", None))
        if name:
            ax.annotate(name, at, offset, textcoords="offset points", ha="right", fontsize=WORDS)
            lines.append(f"{name}: {at[0]:.3g} MB written, {at[1]:.1f} \u00b5s added")
    ax.set_xscale("log")
    ax.set_xticks([0.001, 0.01, 0.1, 1, 10, 100], ["0.001", "0.01", "0.1", "1", "10", "100"])
    ax.set_ylim(0, None)
    title = "a refresh inside a step's graph; orange: N sets, green: one set; named: 32 requests of 65,536 tokens"
    labels(ax, title, "MB written, log scale", "\u00b5s added to the step")
    ax.tick_params(labelsize=WORDS)
    first = rows[0]
    conditions = (
        f"{first['machine']}, torch {first['torch']}, triton {first['triton']}, {first['date'][:10]}, one run"
    )
    caption(fig, conditions)
    return Chart(fig, [*lines, conditions])
