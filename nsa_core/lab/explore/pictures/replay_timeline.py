"""What do host and GPU do during one replay? Both, on one time axis, by way of refreshing."""

from matplotlib.figure import Figure

from ...bench import parts
from ...bench.evidence import RECORD_CASES, Evidence
from ..chart import COLOURS, GREY, WORDS, figure, labels
from .live import LivePicture, measured_on, three

WAYS = ("eager", "copy", "fused", "graph")
CAVEAT = (
    "We recorded how many operations there were and how long they took together, not when each ran; their places in "
    "the picture are illustrative. The parts of a replay were timed alone and share its time in proportion."
)


def timeline(evidence: Evidence, steps: int = 4) -> LivePicture:
    """One replay by four ways; the cursor and the zoom can be moved."""
    data = timeline_data(evidence)
    longest = max(way["host"] for way in data["replays"][str(steps)])
    return LivePicture(
        "replay_timeline",
        data,
        {"steps": steps, "at": 0.0, "window": longest},
        words=lambda now: "\n".join(busy(way) for way in data["replays"][str(now["steps"])]),
        still=lambda now: _still(data["replays"][str(now["steps"])], now["steps"]),
        hint="move through the time of a replay, and zoom in to see single operations.",
    )


def timeline_data(evidence: Evidence) -> dict:
    """Fields as front/replay_timeline.js lists them; microseconds."""
    return {
        "replays": {str(n): [_replay(evidence, name, n) for name in WAYS] for n in RECORD_CASES},
        "source": f"{CAVEAT} {measured_on(evidence, 'decode, 32 requests of 4,096 tokens')}",
    }


def _replay(evidence: Evidence, name: str, steps: int) -> dict:
    row = evidence.row(RECORD_CASES[steps], name, kind="strategy")
    return {
        "name": name,
        "host": row["host_us"],
        "device": row["device_us"],
        "operations": int(row["device_ops"]),
        "segments": _segments(evidence, name, steps, row),
    }


def _segments(evidence: Evidence, name: str, steps: int, whole: dict) -> list[dict]:
    """The host's time in order. What the recording cannot tell apart is one segment.

    Parts were timed alone. Where they took longer there than the whole replay, they share it in proportion.
    """
    if name not in ("eager", "copy"):
        return [_segment("one launch", "all steps", whole)]
    case = RECORD_CASES[steps]
    compute = evidence.row(case, parts.PRECOMPUTE, kind="part")
    copies = evidence.row(case, parts.COPY_ONE, kind="part", strategy="copy")
    found = [] if name == "eager" else [_segment("compute", "once for all steps", compute)]
    for step in range(1, steps + 1):
        found += [_segment("compute", f"step {step}", compute)] * (name == "eager")
        found += [_segment("copies", f"step {step}", copies)]
    alone = sum(segment["us"] for segment in found)
    fitted = min(1.0, whole["host_us"] / alone)
    found = [segment | {"us": fitted * segment["us"]} for segment in found]
    rest = whole["host_us"] - fitted * alone
    return [*found, {"part": "rest", "what": "checks and bookkeeping", "us": max(rest, 0), "operations": 0}]


def _segment(part: str, what: str, row: dict) -> dict:
    return {"part": part, "what": what, "us": row["host_us"], "operations": int(row["device_ops"])}


def busy(way: dict) -> str:
    """How long each of the two works, in one line."""
    operations = f"{way['operations']} operation{'s' * (way['operations'] > 1)}"
    return (
        f"{way['name']}: {three(way['host'])} \u00b5s on the host, {three(way['device'])} \u00b5s on the GPU in "
        f"{operations}; the GPU works {way['device'] / way['host']:.0%} of the time"
    )


def _still(replays: list[dict], steps: int) -> Figure:
    fig = figure(3.4)
    ax = fig.subplots()
    for row, way in enumerate(replays):
        begin = 0.0
        for segment in way["segments"]:
            colour = COLOURS[segment["part"]]
            ax.barh(2.6 * row, segment["us"], left=begin, height=0.8, color=colour, edgecolor="white", lw=0.6)
            each = [begin + segment["us"] * (i + 1) / segment["operations"] for i in range(segment["operations"])]
            ax.vlines(each, 2.6 * row + 0.5, 2.6 * row + 1.2, color=colour, lw=0.9)
            begin += segment["us"]
        ax.text(begin + 8, 2.6 * row, f"{three(way['host'])} \u00b5s", va="center", fontsize=WORDS)
    ax.set_yticks([2.6 * row + 0.4 for row in range(len(replays))], [way["name"] for way in replays])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.1 * max(way["host"] for way in replays))
    labels(
        ax,
        f"one replay of {steps} steps; bars: the host, strokes: the GPU, which waits in between",
        "microseconds",
        "",
    )
    ax.tick_params(labelsize=WORDS)
    ax.grid(False)
    ax.text(
        0.995,
        0.02,
        "grey: compute, blue: copies, light grey: checks and bookkeeping, orange: one launch",
        transform=ax.transAxes,
        ha="right",
        fontsize=WORDS,
        color=GREY,
    )
    return fig
