"""What do host and GPU do during one refresh? Both, on one time axis, by strategy."""

from matplotlib.figure import Figure

from ...bench import parts
from ...bench.evidence import RECORD_CASES, Evidence
from ..chart import COLOURS, GREY, INK, WORDS, figure, labels
from .live import LivePicture, measured_on, three

TIMES = {
    "host_us": "A bar is the time of one call alone, until it returns.",
    "loop_us": "A bar is the time of one refresh: the CPU's time or the GPU's, whichever is longer.",
}
STRATEGIES = ("eager", "copy", "fused", "graph")
CAVEAT = (
    "We recorded how many operations there were and how long they took together, not when each ran; their places in "
    "the picture are illustrative. The parts of a refresh were timed alone and share its time in proportion."
)


def timeline(evidence: Evidence, steps: int = 4, done: str = "copy", time: str = "host_us") -> LivePicture:
    """One refresh by four strategies; the cursor and the zoom can be moved. It begins when `done` is done.

    time: what a bar shows, the time of one call alone ("host_us") or the loop time ("loop_us").
    """
    data = timeline_data(evidence, time)
    replays = data["replays"][str(steps)]
    longest = max(replay["host"] for replay in replays)
    return LivePicture(
        "replay_timeline",
        data,
        {"steps": steps, "done": done, "at": end(replays, done), "window": longest},
        words=lambda now: "\n".join(map(busy, data["replays"][str(now["steps"])])),
        still=lambda now: _still(data["replays"][str(now["steps"])], now),
        hint="move through the time of a refresh, and zoom in to see single operations.",
    )


def timeline_data(evidence: Evidence, time: str = "host_us") -> dict:
    """Fields as front/replay_timeline.js lists them; microseconds."""
    return {
        "replays": {str(n): [_replay(evidence, name, n, time) for name in STRATEGIES] for n in RECORD_CASES},
        "source": f"{CAVEAT} {TIMES[time]} {measured_on(evidence, 'decode, 32 requests of 4,096 tokens')}",
    }


def end(replays: list[dict], name: str) -> float:
    """When a strategy's refresh is done: the GPU's last operation follows the host's last request."""
    (replay,) = [replay for replay in replays if replay["name"] == name]
    return replay["host"] + replay["device"] / replay["operations"]


def _replay(evidence: Evidence, name: str, steps: int, time: str) -> dict:
    row = evidence.row(RECORD_CASES[steps], name, kind="strategy")
    return {
        "name": name,
        "host": row[time],
        "device": row["device_us"],
        "operations": int(row["device_ops"]),
        "segments": _segments(evidence, name, steps, row, time),
    }


def _segments(evidence: Evidence, name: str, steps: int, whole: dict, time: str) -> list[dict]:
    """The host's time in order. What the recording cannot tell apart is one segment.

    Parts were timed alone; they share the time of the whole refresh in proportion.
    """
    if name not in ("eager", "copy"):
        return [_segment("one launch", whole, time)]
    case = RECORD_CASES[steps]
    compute = evidence.row(case, parts.PRECOMPUTE, kind="part")
    copies = evidence.row(case, parts.COPY_ONE, kind="part", strategy="copy")
    computed, copied = _segment("compute", compute, time), _segment("copies", copies, time)
    found = [computed, copied] * steps if name == "eager" else [computed, *[copied] * steps]
    of_whole = whole[time] / sum(segment["us"] for segment in found)
    return [segment | {"us": of_whole * segment["us"]} for segment in found]


def _segment(part: str, row: dict, time: str) -> dict:
    return {"part": part, "us": row[time], "operations": int(row["device_ops"])}


def busy(replay: dict) -> str:
    """How long each of the two works, in one line."""
    many = f"{replay['operations']} operation{'s' * (replay['operations'] > 1)}"
    host, device = replay["host"], replay["device"]
    return (
        f"{replay['name']}: {three(host)} \u00b5s on the host, {three(device)} \u00b5s on the GPU in {many}; "
        f"the GPU works {device / host:.0%} of the time"
    )


def _still(replays: list[dict], state: dict) -> Figure:
    fig = figure(3.4)
    ax = fig.subplots()
    for row, replay in enumerate(replays):
        begin = 0.0
        for segment in replay["segments"]:
            colour = COLOURS[segment["part"]]
            ax.barh(2.6 * row, segment["us"], left=begin, height=0.8, color=colour, edgecolor="white", lw=0.6)
            each = [begin + segment["us"] * (i + 1) / segment["operations"] for i in range(segment["operations"])]
            ax.vlines(each, 2.6 * row + 0.5, 2.6 * row + 1.2, color=colour, lw=0.9)
            begin += segment["us"]
        ax.text(begin + 8, 2.6 * row, f"{three(replay['host'])} \u00b5s", va="center", fontsize=WORDS)
    ax.axvline(state["at"], ymin=0.1, color=INK, lw=1)  # stops above the words
    ax.set_yticks([2.6 * row + 0.4 for row in range(len(replays))], [replay["name"] for replay in replays])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.1 * max(replay["host"] for replay in replays))
    labels(
        ax,
        f"one refresh for {state['steps']} draft steps; bars: the host, strokes: the GPU, which waits in between; "
        f"line: {three(state['at'])} \u00b5s after the call",
        "microseconds",
        "",
    )
    ax.tick_params(labelsize=WORDS)
    ax.grid(False)
    ax.text(
        0.995,
        0.02,
        "grey: compute, with its checks; blue: copies; orange: one launch",
        transform=ax.transAxes,
        ha="right",
        fontsize=WORDS,
        color=GREY,
    )
    return fig
