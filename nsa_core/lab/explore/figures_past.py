"""Past the copies, in pictures: one launch for all steps, shared sets, the floors, and what an engine would notice.

Every figure of a recording carries the conditions it was made under. Models are fitted to the recording, and their
error is said beside them.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from ... import ForwardMode, NSAConfig
from ...metadata import allocate
from ..bench import BenchCase, grid
from ..bench.evidence import RECORD_CASES, STEPS_CASES, Evidence
from ..bench.floors import COMPILED_LAUNCH, EMPTY_LAUNCH, ONE_NODE_GRAPH
from ..bench.recording import Row
from ..bench.report import bandwidth, bound_of, find
from ..decision.times import Times, graph_rows, moved_by, scaled
from ..decision.times import fitted as fitted
from .chart import COLOURS, DIFFERENT, GREY, SAME, SMALL, Chart, figure, finish, labels, legend, name_rows

MARKS = {"eager": "s", "copy": "o", "batched": "v", "fused": "^", "graph": "D", "shared+graph": "x"}
IN_CALLER = "fused, in the caller's graph"
WINS = 1.25  # times faster, as in the decision


@dataclass(frozen=True)
class Published:
    """A gain of a whole engine that its authors ascribe to replay metadata, in percent; a loss is below 0.

    requests: how many ran at once; None where the source does not say.
    """

    source: str
    what: str
    requests: int | None
    gain: float

    @property
    def url(self) -> str:
        project, number = self.source.split("#")
        return f"https://github.com/{PROJECTS[project]}/pull/{number}"


PROJECTS = {"sglang": "sgl-project/sglang", "vllm": "vllm-project/vllm"}
# Read in November 2026; as reported, not measured here.
PUBLISHED = (
    Published("sglang#14781", "computing once for all steps, 16K context", 1, 12.4),
    Published("sglang#14781", "the same, 16K to 64K, the lower of two", 4, 5.5),
    Published("sglang#14781", "the same, 16K to 64K, the higher of two", 4, 7.5),
    Published("sglang#26241", "Kimi-K2.5, 80K: a token's time from 2.47 to 2.41 ms", None, 2.5),
    Published("sglang#37124", "GLM-5.2 on MI355X: median token interval times 0.984", 4, 1.6),
    Published("vllm#41162", "DeepSeek-V4, rebuilding in every step", 1, -0.4),
    Published("vllm#41162", "the same", 16, 0.7),
    Published("vllm#41162", "the same", 64, 0.4),
    Published("vllm#54790", "H200, K = 3: a hook in place of a rebuild", 1, 12.7),
    Published("vllm#54790", "the same", 2, 2.8),
    Published("vllm#54790", "the same", 4, -3.7),
    Published("vllm#54790", "the same", 8, 2.1),
    Published("vllm#54790", "the same", 16, 2.7),
    Published("vllm#54790", "the same", 32, -12.0),
    Published("vllm#57756", "ROCm: fewer launches", 1, 2.1),
    Published("vllm#57885", "a token's time from 4.467 to 4.457 ms", None, 0.2),
)
NOISE = 3.6  # percent, the spread that vllm#54790 gives for its own readings
DECODE_STEPS_MS = {"sglang#26241": 2.47, "vllm#57885": 4.467, "vllm#45258": 27.7}  # published lengths of a step
# sglang#30474 quotes four draft tables of 1.07 GB a GPU at this width; bs follows from the bytes of one.
QUOTED_WIDTH, QUOTED_BS = 1_048_582, 256


# Counted


def counted(bs: int = 32, tokens: int = 4096, steps: Sequence[int] = (1, 2, 4, 8, 16)) -> list[Row]:
    """What each way moves for a decode batch, in bytes and in passes over one step's live values."""
    lines, once = [], moved_by(BenchCase("counted", bs=bs, lengths=tokens, steps=1)).generate / 2
    for n in steps:
        moved = moved_by(BenchCase("counted", bs=bs, lengths=tokens, steps=n))
        for way, size in (("copy to N", moved.copy), ("generate into N", moved.generate), ("shared", moved.share)):
            lines.append({"steps": n, "way": way, "MB": size / 1e6, "passes": size / once})
    return lines


def launches(evidence: Evidence) -> list[Row]:
    """Device operations of a replay as the profiler counted them, by number of steps."""
    return [
        {"steps": n} | {name: int(evidence.row(case, name, kind="strategy")["device_ops"]) for name in MARKS}
        for n, case in STEPS_CASES.items()
    ]


def bytes_agree(evidence: Evidence) -> list[str]:
    """Names of recorded cases of uniform lengths whose bytes are not those counted here."""
    even = [case for case in grid() if isinstance(case.lengths, int) and evidence.has(case.name, "copy")]
    small = [case for case in even if case.bs * case.lengths < 2**20]
    wrong = []
    for case in small:
        row, moved = evidence.row(case.name, "copy", kind="strategy"), moved_by(case)
        recorded = row["bytes_generate"], row["bytes_share"], row["bytes_copy"]
        wrong += [case.name] if recorded != (moved.generate, moved.share, moved.copy) else []
    return wrong


def set_bytes(config: NSAConfig, bs: int, width: int, mode: ForwardMode = ForwardMode.DECODE) -> int:
    """Bytes of one captured set, counted without allocating it."""
    table = torch.empty((1, width), dtype=torch.int32, device="meta")
    captured = allocate(config, table, bs, mode)
    return sum({id(tensor): tensor.nbytes for tensor in captured.tensors().values()}.values())


# Measured


def steps_chart(evidence: Evidence) -> Chart:
    """Loop time of a decode replay by number of steps, above the floors of the device."""
    fig = figure(3.4)
    ax, lines = fig.subplots(), []
    for name, mark in MARKS.items():
        loops = {n: evidence.loop(case, name).median for n, case in STEPS_CASES.items()}
        ax.plot(list(loops), list(loops.values()), color=COLOURS[name], marker=mark, ms=5, lw=1, label=name)
        lines.append(f"{name}: " + ", ".join(f"{us:.4g} us at {n}" for n, us in loops.items()))
    _floors(ax.axhline, evidence, RECORD_CASES[4], lines)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(list(STEPS_CASES), STEPS_CASES)
    labels(ax, "decode, bs 32, 4096 tokens: loop time of a replay", "draft steps N", "microseconds, log scale")
    ax.legend(fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return finish(fig, lines, evidence)


def strategies_chart(evidence: Evidence) -> Chart:
    """Loop time of every strategy in the note's two cases, above the floors of the device."""
    names = [row["name"] for row in evidence.all(case=RECORD_CASES[4], kind="strategy")]
    names.sort(key=lambda name: -evidence.loop(RECORD_CASES[4], name).median)
    fig = figure(3.9)
    ax, lines = fig.subplots(), []
    for at, (n, case) in enumerate(RECORD_CASES.items()):
        loops = [evidence.loop(case, name).median for name in names]
        fill = [COLOURS[name] for name in names] if at else "white"
        ax.scatter(loops, range(len(names)), s=34, zorder=3, color=fill, edgecolors=[COLOURS[name] for name in names])
        for row, us in enumerate(loops):
            text = f"{us:.3g}" if us < 1000 else f"{us:.0f}"
            side = {"xytext": (8 if at else -8, 0), "ha": "left" if at else "right"}
            ax.annotate(text, (us, row), textcoords="offset points", va="center", fontsize=SMALL - 1, **side)
        lines += [f"{n} steps: " + ", ".join(f"{name} {us:.4g} us" for name, us in zip(names, loops, strict=True))]
    _floors(ax.axvline, evidence, RECORD_CASES[4], lines)
    ax.set_xscale("log")
    ax.margins(x=0.12)
    name_rows(ax, names)
    title = "one replay of decode steps, bs 32, 4096 tokens; open: 4 steps, filled: 8"
    labels(ax, title, "loop time, microseconds, log scale", "", "lower right")
    return finish(fig, lines, evidence)


def cheapest_launch(evidence: Evidence) -> str:
    """The cheapest Triton launch that was timed; older recordings have the ordinary one only."""
    return next(name for name in (COMPILED_LAUNCH, EMPTY_LAUNCH) if find(evidence.rows, kind="floor", name=name))


def _floors(draw, evidence: Evidence, case: str, lines: list[str]) -> None:
    for name, dash in ((cheapest_launch(evidence), "--"), (ONE_NODE_GRAPH, ":")):
        us = evidence.spread(case, name, kind="floor").median
        draw(us, color=GREY, lw=1, ls=dash, label=f"floor: {name}")
        lines.append(f"floor, {name}: {us:.3g} us")


def in_callers_graph(evidence: Evidence) -> list[Row]:
    """What refreshing inside the caller's own graph adds to a graph of one node, microseconds."""
    lines = []
    for n, case in STEPS_CASES.items():
        alone = evidence.spread(case, ONE_NODE_GRAPH, kind="floor").median
        both = evidence.spread(case, IN_CALLER, kind="variant").median
        line = {"steps": n, "one node": alone, "and the refresh": both, "added": both - alone}
        lines.append(line | {"own graph": evidence.loop(case, "graph").median})
    return lines


def shared_table(evidence: Evidence) -> list[Row]:
    """Device time and captured bytes with N sets and with one."""
    lines = []
    for n, case in STEPS_CASES.items():
        own, one = (evidence.row(case, name, kind="strategy") for name in ("graph", "shared+graph"))
        device_us = {"N sets, us": own["device_us"], "one set, us": one["device_us"]}
        sizes = {"N sets, MB": own["captured_bytes"] / 1e6, "one set, MB": one["captured_bytes"] / 1e6}
        lines.append({"steps": n} | device_us | sizes)
    return lines


# Modelled


def errors(evidence: Evidence, times: Times) -> dict[str, float]:
    """Modelled over recorded loop time minus 1 of every decode replay by graph."""
    return {
        f"{row['case']}, {row['name']}": times.graph(moved) / row["loop_us"] - 1
        for row, moved in graph_rows(evidence)
    }


def slow_moments(evidence: Evidence) -> set[str]:
    """Decode cases whose own floor, timed in turns with them, is more than 1.25 times the middle of all floors."""
    floors = {row["case"]: row["loop_us"] for row in evidence.all(kind="floor", name=ONE_NODE_GRAPH)}
    return {case for case, us in floors.items() if us > WINS * statistics.median(floors.values())}


def crossover_chart(evidence: Evidence, times: Times) -> Chart:
    """Where one set beats N, and how far both are ahead of copies, as N, batch and context grow."""
    fig, lines = figure(5.4), []
    for ax, n in zip(fig.subplots(2, 2, sharex=True, sharey=True).flat, (1, 4, 8, 16), strict=True):
        faster, ahead = _maps(times, n)
        wins = [[value >= WINS for value in row] for row in faster]
        colours = {"cmap": ListedColormap((SAME, DIFFERENT)), "vmin": 0, "vmax": 1}
        ax.pcolormesh(CONTEXTS, BATCHES, wins, shading="nearest", **colours)
        levels = ax.contour(CONTEXTS, BATCHES, ahead, levels=(3, 10, 30, 100), colors=GREY, linewidths=0.8)
        ax.clabel(levels, fmt="%gx", fontsize=SMALL - 1)
        _draw_points(ax, evidence, n)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        labels(ax, f"{n} step{'s' * (n > 1)}", "context, tokens", "batch, requests")
        lines.append(_crossing(times, n))
    named = {"the launch decides: N sets and one set tie": SAME, "bytes decide: one set wins": DIFFERENT}
    title = "modelled; circles: recorded; lines: times faster than copies (graph, N sets)"
    legend(fig, named, "upper center", 2, title=title, title_fontsize=SMALL + 1)
    return finish(fig, lines, evidence)


CONTEXTS = [2**k for k in range(10, 21)]
BATCHES = [2**k for k in range(9)]


def _maps(times: Times, steps: int) -> tuple[list[list[float]], list[list[float]]]:
    """By batch and context: N sets' time over one set's, and copies' over N sets'."""
    unit = moved_by(BenchCase("unit", bs=1, lengths=1024, steps=steps))
    cells = [[times.by_way(steps, scaled(unit, bs * tokens / 1024)) for tokens in CONTEXTS] for bs in BATCHES]
    pairs = (("graph", "shared+graph"), ("copy", "graph"))
    faster, ahead = ([[us[slow] / us[fast] for us in row] for row in cells] for slow, fast in pairs)
    return faster, ahead


def _draw_points(ax: Axes, evidence: Evidence, steps: int) -> None:
    for row in evidence.all(kind="strategy", name="graph", mode="decode", steps=steps, page_size=64, step_offset=0):
        if row["flashmla"] == "none" and row["tokens"] == row["bs"] * row["longest"]:
            wins = evidence.faster(row["case"], "shared+graph", "graph").median >= WINS
            colour = DIFFERENT if wins else SAME
            ax.plot(row["longest"], row["bs"], "o", ms=7, color=colour, markeredgecolor="black", clip_on=False)


def _crossing(times: Times, steps: int) -> str:
    """From how many tokens in the batch on one set wins."""
    unit = moved_by(BenchCase("unit", bs=1, lengths=1024, steps=steps))
    for k in range(10, 29):
        us = times.by_way(steps, scaled(unit, 2**k / 1024))
        if us["graph"] >= WINS * us["shared+graph"]:
            return (
                f"{steps} steps: one set wins from {2**k:,} tokens in the batch on; there copies take "
                f"{us['copy'] / us['graph']:.3g} times as long as N sets in a graph"
            )
    return f"{steps} step: N sets are one set; sharing changes nothing"


# Floors

FLOOR_LIMIT = 1.25  # times the floor a graph replay may take
FLOOR_CASES = ("decode-steps-1", "record-4", "record-8", "decode-steps-16")
FLOOR_CASES += tuple(f"{mode}-steps-{n}" for mode in ("target_verify", "draft_extend") for n in (1, 4, 8, 16))


def floor_rows(evidence: Evidence) -> list[Row]:
    """Graph replays over the larger of their two floors, with their device time and what lies between replays."""
    lines, per_us = [], bandwidth(evidence.rows)
    for case in FLOOR_CASES:
        row = evidence.row(case, "graph", kind="strategy")
        moving, above = row["bytes_generate"] / per_us, round(row["loop_us"] / bound_of(row, evidence.rows), 3)
        lines.append(
            {
                "case": case,
                "loop us": row["loop_us"],
                "device us": row["device_us"],
                "bytes us": moving,
                "times the floor": above,
                "limit": FLOOR_LIMIT,
                "met": above <= FLOOR_LIMIT,
            }
        )
    return lines


def floors_chart(evidence: Evidence) -> Chart:
    """How far a graph replay is above the larger of a graph of one node and the time of its bytes."""
    rows, fig = floor_rows(evidence), figure(2.9)
    ax = fig.subplots()
    for at, row in enumerate(rows):
        mark, colour = ("o", COLOURS["copy"]) if row["met"] else ("X", COLOURS["eager"])
        ax.plot(row["times the floor"], at, mark, ms=7, color=colour)
    ax.axvline(1, color="black", lw=1)
    ax.axvline(rows[0]["limit"], color=GREY, lw=1, ls="--")
    name_rows(ax, [row["case"] for row in rows])
    labels(ax, "graph loop time over its floor; dashed: the limit set; crosses miss it", "times the floor", "")
    lines = [f"{row['case']}: {row['times the floor']:.3g}, {'met' if row['met'] else 'missed'}" for row in rows]
    return finish(fig, lines, evidence)


# What an engine would notice


def saved_us(evidence: Evidence) -> dict[int, float]:
    """Loop time that a graph saves of the copies, by number of steps: at most this reaches a decode step."""
    return {
        n: evidence.loop(case, "copy").median - evidence.loop(case, "graph").median
        for n, case in RECORD_CASES.items()
    }


def engine_chart(evidence: Evidence) -> Chart:
    """Left: the most a decode step could gain, by its length. Right: what engines published, by load."""
    fig, lines = figure(3.3), []
    left, right = fig.subplots(1, 2)
    lengths = [2 ** (k / 8) for k in range(8, 57)]
    for (n, us), name, dash in zip(saved_us(evidence).items(), ("fused", "copy"), ("-", "--"), strict=True):
        percents = [us / 10 / ms for ms in lengths]
        left.plot(lengths, percents, dash, color=COLOURS[name], label=f"{n} steps, {us:.0f} us saved")
        gains = ", ".join(f"{us / 10 / ms:.2g}% of {ms} ms ({source})" for source, ms in DECODE_STEPS_MS.items())
        lines.append(f"{n} steps: {us:.4g} us saved, at most {gains}")
    left.set_xscale("log", base=2)
    left.set_xticks([2, 4, 8, 16, 32, 64, 128], [2, 4, 8, 16, 32, 64, 128])
    labels(left, "at most: if no part of a replay is hidden", "decode step, ms, log scale", "percent of the step")
    _draw_published(right)
    lines.append(f"published, end to end: {len(PUBLISHED)} readings of {len({p.source for p in PUBLISHED})} changes")
    return finish(fig, lines, evidence)


def _draw_published(ax: Axes) -> None:
    known = [p for p in PUBLISHED if p.requests is not None]
    for source, mark in zip(dict.fromkeys(p.source for p in known), "osD^v", strict=False):
        points = [p for p in known if p.source == source]
        ax.plot([p.requests for p in points], [p.gain for p in points], mark, ms=5, label=source, alpha=0.9)
    ax.axhspan(-NOISE, NOISE, color="#eeeeee", zorder=0)
    ax.axhline(0, color="black", lw=0.8)
    ax.set_xscale("log", base=2)
    ax.set_xticks([1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 16, 32, 64])
    title = "published; grey: the spread one of them gives"
    labels(ax, title, "requests at once, log scale", "end-to-end gain, %", "lower left")
