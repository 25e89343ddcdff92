"""What copies cost, in pictures: computing once against N times, and a kernel in place of the copies.

Every figure of a recording carries the conditions it was made under; what is taken here and now is shown, not stored.
"""

import base64
import html
import inspect
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import ipywidgets as W
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.utils._python_dispatch import TorchDispatchMode

from ... import MultiStepBackend, copy_plan, precompute
from ...strategies.batched import describe
from ..bench import Bench, BenchCase, Candidate, Spread, Timer, build, parts
from ..bench.device import Host
from ..bench.evidence import RECORD_CASES, STEPS_CASES, Evidence, NotMeasured, committed, load
from ..bench.floors import EMPTY_LAUNCH
from ..bench.recording import Row
from ..bench.report import spread_of
from ..decision import BreakEven, fit
from .draw import DPI, LINE, WIDTH
from .frame import device

# The record's own numbers, microseconds.
RECORD = {4: {"before": 700.0, "after": 235.0}, 8: {"before": 1400.0, "after": 295.0}}
RECORD_OPERATIONS = {
    "to(int32)": 5,
    "cumsum": 15,
    "table gather": 20,
    "clamp": 30,
    "page transform": 40,
    "cat/arange": 50,
}
RECORD_SEVEN = {"copy": 28.70, "batched-each": 41.43, "batched": 19.38}

# The code the record describes, read on an H200 in November 2026: not by this project's bench, so only to compare with.
ORIGINAL = {
    4: {"before": 833.8, "after": 471.3, "compute": 201.1, "copies": 267.8, "batched": 605.9},
    8: {"before": 1992.3, "after": 692.4, "compute": 147.0, "copies": 517.2, "batched": 1038.1},
}
ORIGINAL_CONDITIONS = (
    "read outside this project: NVIDIA H200, torch 2.11.0+cu130, triton 3.6.0, 2026-11-22; bs 32, "
    "4096 tokens, page 64, loop time"
)

MODES = {
    "decode": STEPS_CASES,
    **{mode: {n: f"{mode}-steps-{n}" for n in (1, 4, 8, 16)} for mode in ("target_verify", "draft_extend")},
}
FORMS = ("batched-each", "batched", "batched-strided", "batched-steps")

# From seaborn's colour-blind palette.
COMPUTE, COPY, REST = "#029e73", "#0173b2", "#949494"
EAGER, BATCHED, FOREACH = "#d55e00", "#cc78bc", "#56b4e9"
SAID, LOOP, DEVICE = "#ffffff", "#ece133", "#444444"
SMALL = 7.5  # points


class Chart:
    """A figure and in words what it shows; any notebook viewer shows both, without widgets."""

    def __init__(self, fig: Figure, lines: Sequence[str]):
        self.lines, buffer = list(lines), io.BytesIO()
        fig.savefig(buffer, format="png", metadata={"Software": None})  # no version inside, so equal is equal
        self.png = buffer.getvalue()

    def _repr_mimebundle_(self, **_kwargs):
        text = "\n".join(self.lines)
        return {"text/plain": text, "image/png": base64.b64encode(self.png).decode()}, {"image/png": {"alt": text}}


class Live(W.HTML):
    """Times taken when a cell ran, as a table in the page. Stored is only what was timed, never how long it took."""

    def __init__(self, times: Mapping[str, Spread]):
        self.summary = f"Measured when this cell ran; the times are shown, not stored: {', '.join(times)}."
        head = f"<p>On {html.escape(device())}; microseconds per call: median, middle half of the samples</p>"
        lines = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{t.median:.4g}</td><td>{t.q1:.4g}..{t.q3:.4g}</td></tr>"
            for name, t in times.items()
        )
        super().__init__(f'<div role="status">{head}<table>{lines}</table></div>')

    def _repr_mimebundle_(self, **kwargs):
        return super()._repr_mimebundle_(**kwargs) | {"text/plain": self.summary}


def recorded() -> Evidence:
    """The newest run of the committed recording that measured a GPU with every number of decode steps."""
    for run in load([committed()]):
        if run.on_gpu and all(run.has(case, "copy") for case in STEPS_CASES.values()):
            return run
    raise NotMeasured(f"no run in {committed().name} has copy in all of {', '.join(STEPS_CASES.values())}")


def replays_here(case: BenchCase, names: Sequence[str], budget_s: float = 0.4) -> dict[str, Spread]:
    """Loop times on this machine of whole replays and of the parts of `copy`, checked against the oracle first.

    On a CPU these are host times: nothing is launched there. RuntimeError when a strategy was wrong.
    """
    rows: list[Row] = []
    run = Bench(_here(), rows.extend, strategies=names, budget_s=budget_s)
    run.case(case)
    if run.failures:
        raise RuntimeError("; ".join(run.failures))
    kept = [row for row in rows if row["kind"] in ("strategy", "part")]
    return {row["name"]: spread_of(row, "loop_us") for row in kept}


def describing_here(case: BenchCase, budget_s: float = 0.2) -> dict[str, Spread]:
    """Host times of what a kernel's caller does before it can launch: plan a step, then describe every pair."""
    inputs = build(case, _here())
    values = precompute(case.config, inputs.req_to_token, inputs.batch, case.mode)
    captured = MultiStepBackend(case.config, inputs.req_to_token, 1).capture(len(inputs.lengths), case.mode)[0]
    plan = copy_plan(captured, values, case.mode)
    elements = sum(src.numel() for _, src in plan)

    def described() -> list[str]:
        sizes = sum(describe(*pair).size for pair in plan)
        return [] if sizes == elements else [f"{sizes} elements are described, the plan has {elements}"]

    def planned() -> list[str]:
        again = [[t.data_ptr() for t in pair] for pair in copy_plan(captured, values, case.mode)]
        return [] if again == [[t.data_ptr() for t in pair] for pair in plan] else ["the plan has other pairs"]

    timed = Timer(Host(), budget_s=budget_s).time(
        [
            Candidate(
                f"plan the {len(plan)} copies of a step", lambda: copy_plan(captured, values, case.mode), planned
            ),
            Candidate("describe them for a kernel", lambda: [describe(*pair) for pair in plan], described),
        ]
    )
    return {name: timing.loop for name, timing in timed.items()}


def _here() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.calls[func.overloadpacket.__name__] += 1
        return result


def operations_of(call: Callable[[], object]) -> Counter:
    """The tensor operations of one call by name; views, which move nothing, are left out."""
    with _Counting() as counting:
        call()
    return counting.calls


# Computing once against N times


def models(evidence: Evidence) -> dict[str, BreakEven]:
    """The break-even model of each mode, fitted to its measured totals."""
    return {mode: _fitted(evidence, cases) for mode, cases in MODES.items()}


def _fitted(evidence: Evidence, cases: Mapping[int, str]) -> BreakEven:
    totals = {name: {n: evidence.loop(case, name).median for n, case in cases.items()} for name in ("eager", "copy")}
    return fit(totals["eager"], totals["copy"], evidence.row(cases[4], parts.COPY_ONE, kind="plan")["copies"])


def gain_chart(evidence: Evidence) -> Chart:
    """Totals by number of steps, and the gain with its limit: points measured, lines from the model."""
    found, fig = models(evidence), _figure(3.4)
    left, right = fig.subplots(1, 2)
    model, steps = found["decode"], [1 + i / 4 for i in range(61)]
    for name, colour, total, mark in (("eager", EAGER, model.eager, "s"), ("copy", COPY, model.copied, "o")):
        left.plot(steps, [total(n) / 1e3 for n in steps], color=colour, lw=1)
        _points(left, STEPS_CASES, lambda case, name=name: evidence.loop(case, name).scaled(1e-3), colour, mark, name)
    _labels(left, "decode: time of a replay", "draft steps N", "loop time, ms")
    left.legend(loc="upper left", fontsize=SMALL, frameon=False)
    for (mode, each), colour, mark in zip(found.items(), (COPY, COMPUTE, EAGER), "o^s", strict=True):
        right.plot(steps, [each.speed_up(n) for n in steps], color=colour, lw=1)
        right.axhline(each.speed_up_limit, color=colour, lw=0.8, ls=":")
        _points(right, MODES[mode], evidence.speed_up, colour, mark, mode)
    _labels(right, "gain of computing once; dotted: its limit", "draft steps N", "eager / copy")
    lines = [
        f"{mode}: {each.compute_us:.4g} us to compute, {each.step_us:.4g} us to copy a step; gain at most "
        f"{each.speed_up_limit:.3g}x; copies pass half from {each.steps_to_half:.3g} steps; error {each.rms:.0%} "
        f"rms, {each.worst:.0%} at worst of {each.points} points"
        for mode, each in found.items()
    ]
    return _chart(fig, lines, evidence)


def _points(ax: Axes, cases: Mapping[int, str], ask: Callable, colour: str, mark: str, label: str) -> None:
    spreads = {n: ask(case) for n, case in cases.items()}
    middle = [s.median for s in spreads.values()]
    below, above = [s.median - s.q1 for s in spreads.values()], [s.q3 - s.median for s in spreads.values()]
    ax.errorbar(list(spreads), middle, [below, above], fmt=mark, ms=4, color=colour, elinewidth=1, label=label)


def timeline_chart(evidence: Evidence, steps: int = 4) -> Chart:
    """One replay on host and device, both ways.

    A recording keeps sums, so a part's operations are drawn evenly over its host time.
    """
    replays = {name: _segments(evidence, name, steps) for name in ("eager", "copy")}
    fig = _figure(2.9)
    axes = fig.subplots(2, 1, sharex=True)
    for ax, (name, segments) in zip(axes, replays.items(), strict=True):
        _draw_lanes(ax, segments)
        _labels(ax, f"{name}, {steps} steps", "", "", legend=False)
    axes[1].set_xlabel("microseconds since the call; the device catches up with each launch", fontsize=SMALL)
    handles = [
        axes[0].barh([0], [0], color=colour, label=label)
        for label, colour in (("compute", COMPUTE), ("copies", COPY), ("not in either part", REST))
    ]
    fig.legend(handles=handles, loc="outside upper right", ncols=3, fontsize=SMALL, frameon=False)
    return _chart(fig, [_busy(evidence, name, steps) for name in replays], evidence)


def _segments(evidence: Evidence, name: str, steps: int) -> list[tuple[str, float, int]]:
    """(colour, host us, device operations) of a replay's parts in order; the rest comes last."""
    case = RECORD_CASES[steps]
    compute = _part_row(evidence.row(case, parts.PRECOMPUTE, kind="part"), COMPUTE)
    copies = _part_row(evidence.row(case, parts.COPY_ONE, kind="part", strategy="copy"), COPY)
    whole = evidence.row(case, name, kind="strategy")
    segments = [compute, copies] * steps if name == "eager" else [compute, *[copies] * steps]
    rest = max(whole["host_us"] - sum(us for _, us, _ in segments), 0)
    return [*segments, (REST, rest, 0)]


def _part_row(row: Row, colour: str) -> tuple[str, float, int]:
    return colour, row["host_us"], int(row["device_ops"])


def _draw_lanes(ax: Axes, segments: Sequence[tuple[str, float, int]]) -> None:
    begin = 0.0
    for colour, host, operations in segments:
        ax.barh([1], [host], left=begin, height=0.7, color=colour, edgecolor="white", lw=0.8)
        each = [begin + host * (at + 1) / operations for at in range(operations)]
        ax.vlines(each, -0.35, 0.35, color=colour, lw=0.8)  # a stroke is about as wide as the operation is long
        begin += host
    ax.set_yticks([1, 0], ["host", "device"])
    ax.set_ylim(-0.5, 1.5)


def _busy(evidence: Evidence, name: str, steps: int) -> str:
    row = evidence.row(RECORD_CASES[steps], name, kind="strategy")
    return (
        f"{name}, {steps} steps: {row['host_us']:.4g} us on the host, {row['device_us']:.3g} us on the device in "
        f"{row['device_ops']:.0f} operations; the device works {row['device_us'] / row['host_us']:.0%} of the time"
    )


def operations(evidence: Evidence) -> list[Row]:
    """What each group of operations costs alone, beside the record's number. `us each`: per device operation."""
    rows = [evidence.row("precompute-parts", name, kind="part") for name in RECORD_OPERATIONS]
    return [
        {
            "operations": row["name"],
            "record us": said,
            "loop us": row["loop_us"],
            "device us": row["device_us"],
            "device ops": int(row["device_ops"]),
            "us each": row["loop_us"] / row["device_ops"],
        }
        for row, said in zip(rows, RECORD_OPERATIONS.values(), strict=True)
    ]


def operations_chart(evidence: Evidence) -> Chart:
    """Record, host-bound loop time and device time of each group."""
    rows, fig = operations(evidence), _figure(2.8)
    ax = fig.subplots()
    kinds = {"record us": SAID, "loop us": LOOP, "device us": DEVICE}
    _bars(
        ax,
        [f"{row['operations']} ({row['device ops']})" for row in rows],
        {kind: ([row[kind] for row in rows], colour) for kind, colour in kinds.items()},
    )
    ax.set_xscale("log")
    _labels(
        ax, "computing one step: each group alone (in brackets: device operations)", "microseconds, log scale", ""
    )
    return _chart(fig, [_values(row, kinds, "operations") for row in rows], evidence)


def transform_chart(evidence: Evidence) -> Chart:
    """The page transform without an index tensor, with a cached one, and with one built every time."""
    rows = [
        evidence.row("precompute-parts", name, kind="part") for name in (parts.SLICED, parts.CACHED, parts.REBUILT)
    ]
    fig, kinds = _figure(1.9), {"loop_us": LOOP, "device_us": DEVICE}
    ax = fig.subplots()
    _bars(
        ax,
        [row["name"].removeprefix("page transform, ") for row in rows],
        {kind.replace("_", " "): ([row[kind] for row in rows], colour) for kind, colour in kinds.items()},
    )
    _labels(ax, "the page transform", "microseconds", "")
    return _chart(fig, [_values(row, kinds, "name") for row in rows], evidence)


def record_table(evidence: Evidence) -> list[Row]:
    """The record's table, the same code read on an H200, and this project's recording, microseconds."""
    lines = []
    for n, case in RECORD_CASES.items():
        own = {key: evidence.loop(case, name).median for key, name in (("before", "eager"), ("after", "copy"))}
        read = {"record": RECORD[n], "its code on an H200": ORIGINAL[n], "this project": own}
        lines += [
            {
                "steps": n,
                "source": source,
                "before": t["before"],
                "after": t["after"],
                "gain": t["before"] / t["after"],
                "saved": t["before"] - t["after"],
            }
            for source, t in read.items()
        ]
    return lines


def record_parts(evidence: Evidence) -> list[Row]:
    """What "after" consists of, by source. The record's copies are what its total leaves beside 175 us of computing."""
    lines, compute = [], RECORD[4]["before"] / 4
    for n, case in RECORD_CASES.items():
        total, once = evidence.loop(case, "copy").median, evidence.part(case, parts.PRECOMPUTE).median
        copies = evidence.part(case, parts.COPY_ALL, "copy").median
        lines += [
            {"steps": n, "source": "record", "compute": compute, "copies": RECORD[n]["after"] - compute},
            {
                "steps": n,
                "source": "its code on an H200",
                "compute": ORIGINAL[n]["compute"],
                "copies": ORIGINAL[n]["copies"],
            },
            {"steps": n, "source": "this project", "compute": once, "copies": copies},
        ]
        for line, after in zip(lines[-3:], (RECORD[n]["after"], ORIGINAL[n]["after"], total), strict=True):
            line |= {"rest": after - line["compute"] - line["copies"], "copies of 1 step": line["copies"] / n}
    return lines


def record_chart(evidence: Evidence) -> Chart:
    """Where the time of "after" goes: record, its code, this recording."""
    rows, fig = record_parts(evidence), _figure(2.3)
    ax, begin = fig.subplots(), [0.0] * len(rows)
    for part, colour in (("compute", COMPUTE), ("copies", COPY), ("rest", REST)):
        widths = [max(row[part], 0) for row in rows]
        ax.barh(range(len(rows)), widths, left=begin, color=colour, edgecolor="white", height=0.7, label=part)
        begin = [a + b for a, b in zip(begin, widths, strict=True)]
    ax.set_yticks(range(len(rows)), [f"{row['steps']} steps, {row['source']}" for row in rows])
    ax.invert_yaxis()
    _labels(ax, "computed once, copied N times", "microseconds", "")
    lines = [_values(row, ("compute", "copies", "rest"), "source", f"{row['steps']} steps, ") for row in rows]
    return _chart(fig, [*lines, f"its code on an H200: {ORIGINAL_CONDITIONS}"], evidence)


# A kernel in place of the copies


def explain(kernel: object, notes: Mapping[str, str]) -> str:
    """Markdown: a kernel's source, and a note for lines of it. ValueError when a noted line is not in the source."""
    source = inspect.getsource(getattr(kernel, "fn", kernel))
    missing = [fragment for fragment in notes if fragment not in source]
    if missing:
        raise ValueError(f"{missing[0]!r} is not in the source of the kernel; explain the lines it has now")
    lines = "\n".join(f"- `{fragment}`: {note}" for fragment, note in notes.items())
    return f"```python\n{source.rstrip()}\n```\n\n{lines}"


def programs(sizes: Sequence[int], block: int) -> list[tuple[int, int, int]]:
    """(full, partial, idle) programs of each copy: the grid is as wide as the longest copy has blocks."""
    width = -(-max(sizes) // block)
    return [(size // block, int(size % block > 0), width - -(-size // block)) for size in sizes]


def grid_chart(plans: Mapping[str, Mapping[str, int]], block: int) -> Chart:
    """The grids of copies by name and size: which programs move a block, a part of one, or nothing."""
    fig = _figure(2.9)
    kinds = (("moves a full block", COPY), ("moves a part of one", FOREACH), ("returns at once", "#dddddd"))
    lines = []
    for ax, (title, sizes) in zip(fig.subplots(1, len(plans)), plans.items(), strict=True):
        counts = programs(list(sizes.values()), block)
        _grid(ax, counts, list(sizes), [colour for _, colour in kinds])
        total, idle = sum(map(sum, counts)), sum(count[2] for count in counts)
        ax.set_title(f"{title}: {sum(counts[0])} x {len(counts)} programs", fontsize=SMALL + 1)
        lines.append(
            f"{title}: {sum(counts[0])} blocks x {len(counts)} copies = {total} programs, "
            f"{idle} of them ({idle / total:.0%}) return at once"
        )
    handles = [fig.axes[0].barh([0], [0], color=colour, label=label) for label, colour in kinds]
    fig.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    return Chart(fig, lines)


def _grid(ax: Axes, counts: Sequence[tuple[int, int, int]], names: Sequence[str], colours: Sequence[str]) -> None:
    width = sum(counts[0])
    edge = {"edgecolor": "white", "lw": 1} if width <= 8 else {"lw": 0}
    for row, count in enumerate(counts):
        kinds = [colour for colour, many in zip(colours, count, strict=True) for _ in range(many)]
        ax.barh([row] * width, [1] * width, left=range(width), height=0.8, color=kinds, **edge)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlim(0, width)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.invert_yaxis()
    ax.set_xlabel("program_id(0): block of the copy", fontsize=SMALL)
    ax.set_ylabel("program_id(1): copy", fontsize=SMALL)
    ax.tick_params(length=0, labelsize=SMALL)


def taken(evidence: Evidence) -> list[Row]:
    """The share of a step's copies, and of its bytes, that are contiguous on both sides."""
    cases = {
        "decode": "record-4",
        "target verify": "target_verify-steps-4",
        "draft extend": "draft_extend-steps-4",
        "decode, full width": "decode-full-width",
    }
    rows = {label: evidence.row(case, parts.COPY_ONE, kind="plan") for label, case in cases.items()}
    return [
        {
            "plan": label,
            "copies": row["copies"],
            "taken": row["contiguous_copies"],
            "of the copies": row["contiguous_copies"] / row["copies"],
            "of the bytes": row["contiguous_bytes"] / row["copied_bytes"],
        }
        for label, row in rows.items()
    ]


def seven(evidence: Evidence) -> list[Row]:
    """The record's micro-case by form: its number, and the recording's loop and device time."""
    rows = [evidence.row("seven-copies", parts.SEVEN_COPIES, strategy=name) for name in ("copy", "foreach", *FORMS)]
    return [
        {
            "form": row["strategy"],
            "record us": RECORD_SEVEN.get(row["strategy"]),
            "loop us": row["loop_us"],
            "device us": row["device_us"],
            "device ops": int(row["device_ops"]),
            "copy_ / this": rows[0]["loop_us"] / row["loop_us"],
        }
        for row in rows
    ]


def seven_chart(evidence: Evidence) -> Chart:
    """Seven small contiguous copies: the record's numbers, and what was recorded."""
    rows, fig = seven(evidence), _figure(3.2)
    ax, kinds = fig.subplots(), {"record us": SAID, "loop us": LOOP, "device us": DEVICE}
    _bars(
        ax,
        [row["form"] for row in rows],
        {kind: ([row[kind] or 0 for row in rows], colour) for kind, colour in kinds.items()},
    )
    _labels(ax, "seven int32 copies of 32 to 2048 elements", "microseconds per call", "")
    return _chart(fig, [_values(row, kinds, "form") for row in rows], evidence)


REAL_PLANS = {
    "decode, 4 steps": "record-4",
    "decode, 8 steps": "record-8",
    "decode, 16 steps": "decode-steps-16",
    "verify, 4 steps": "target_verify-steps-4",
    "verify, 8 steps": "target_verify-steps-8",
    "extend, 4 steps": "draft_extend-steps-4",
    "extend, 8 steps": "draft_extend-steps-8",
    "decode, bs 256": "decode-bs-256",
    "decode, 128 k tokens": "decode-context-128k",
    "decode, full width": "decode-full-width",
    "decode, page size 1": "page-1-decode",
    "decode, dense FlashMLA": "flashmla-dense-decode",
    "decode, Azure trace": "trace-azure-decode",
}


def forms(evidence: Evidence) -> list[Row]:
    """How many times faster than `copy` each form's whole replay is, by plan."""
    return [
        {"plan": label}
        | {
            name: evidence.loop(case, "copy").median / evidence.loop(case, name).median
            for name in (*FORMS, "foreach")
        }
        for label, case in REAL_PLANS.items()
    ]


def forms_chart(evidence: Evidence) -> Chart:
    """Whole replays of real plans: left of the line a form loses to `.copy_()`."""
    rows, fig = forms(evidence), _figure(3.9)
    ax = fig.subplots()
    for name, mark, colour in zip((*FORMS, "foreach"), "vos^D", (BATCHED,) * 4 + (FOREACH,), strict=True):
        hollow = name in ("batched-each", "batched-strided")
        ax.plot(
            [row[name] for row in rows],
            range(len(rows)),
            mark,
            ms=6,
            color=colour,
            label=name,
            markerfacecolor="white" if hollow else colour,
        )
    ax.axvline(1, color="black", lw=1)
    ax.set_yticks(range(len(rows)), [row["plan"] for row in rows])
    ax.invert_yaxis()
    _labels(ax, "whole replays: copy loop time / loop time of the form; right of 1 the form wins", "times", "")
    return _chart(fig, [_values(row, (*FORMS, "foreach"), "plan") for row in rows], evidence)


def room(evidence: Evidence, steps: int = 4) -> list[Row]:
    """What replacing copies by a launch could save at best, and what it did; microseconds a replay, copies only.

    At best: the replaced `.copy_()` at the price of one, less an empty launch; describing copies would be free.
    """
    case = RECORD_CASES[steps]
    plan, one = evidence.row(case, parts.COPY_ONE, kind="plan"), evidence.part(case, parts.ONE_COPY, "copy").median
    launch = evidence.spread(case, EMPTY_LAUNCH, kind="floor").median
    spent = evidence.part(case, parts.COPY_ALL, "copy").median
    lines = []
    for name, replaced, launches in (
        ("batched", plan["contiguous_copies"] * steps, steps),
        ("batched-strided", plan["copies"] * steps, steps),
        ("batched-steps", plan["copies"] * steps, 1),
    ):
        own = evidence.part(case, parts.COPY_ALL, name).median
        best = replaced * one - launches * launch
        lines.append(
            {
                "form": name,
                "copies replaced": replaced,
                "launches": launches,
                "saves at best": best,
                "saved": spent - own,
                "describing and passing": best - (spent - own),
            }
        )
    return lines


# Drawing


def _figure(height: float) -> Figure:
    fig = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    fig.get_layout_engine().set(w_pad=0.08)
    return fig


def _chart(fig: Figure, lines: Sequence[str], evidence: Evidence) -> Chart:
    """A chart whose caption is the conditions of the run."""
    fig.supxlabel(evidence.conditions, fontsize=7, color="#444444")
    return Chart(fig, [*lines, evidence.conditions])


def _bars(ax: Axes, names: Sequence[str], groups: Mapping[str, tuple[Sequence[float], str]]) -> None:
    """Horizontal bars in groups, the first name uppermost."""
    height = 0.8 / len(groups)
    for at, (label, (values, colour)) in enumerate(groups.items()):
        places = [row + (at - (len(groups) - 1) / 2) * height for row in range(len(names))]
        ax.barh(places, values, height=height, color=colour, edgecolor=LINE, lw=0.6, label=label)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()


def _labels(ax: Axes, title: str, x: str, y: str, legend: bool = True) -> None:
    ax.set_title(title, fontsize=SMALL + 1, loc="left")
    ax.set_xlabel(x, fontsize=SMALL)
    ax.set_ylabel(y, fontsize=SMALL)
    ax.tick_params(labelsize=SMALL)
    ax.grid(axis="both" if y else "x", lw=0.4, color="#cccccc")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        ax.legend(fontsize=SMALL, frameon=False)


def _values(row: Row, columns: Sequence[str] | Mapping[str, str], name: str, prefix: str = "") -> str:
    said = [f"{column} {row[column]:.3g}" for column in columns if row[column] is not None]
    return f"{prefix}{row[name]}: {', '.join(said)}"
