"""What copies cost, in pictures: computing once against N times, and a kernel in place of the copies.

Every figure of a recording carries the conditions it was made under; what is taken here and now is shown, not stored.
"""

import html
import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import ipywidgets as W
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch.utils._python_dispatch import TorchDispatchMode

from ... import MultiStepBackend, copy_plan, precompute
from ...strategies.batched import describe
from ..bench import Bench, BenchCase, Candidate, Spread, Timer, build, parts
from ..bench.device import Host
from ..bench.evidence import PLANS, RECORD_CASES, STEPS_CASES, Evidence
from ..bench.floors import COMPILED_LAUNCH, EMPTY_LAUNCH
from ..bench.recording import Row
from ..bench.report import find, spread_of
from ..decision import BreakEven, fit
from ..decision.note import OPERATIONS as RECORD_OPERATIONS
from ..decision.note import ORIGINAL, ORIGINAL_CONDITIONS
from ..decision.note import SEVEN as RECORD_SEVEN
from ..decision.note import TOTALS as RECORD
from .chart import COLOURS, SMALL, Chart, figure, finish, grouped_dots, labels, legend, name_rows, stacked_bars
from .frame import device

ITS_CODE = "its code on an H200"

MODES = {
    "decode": STEPS_CASES,
    **{mode: {n: f"{mode}-steps-{n}" for n in (1, 4, 8, 16)} for mode in ("target_verify", "draft_extend")},
}
FORMS = ("batched-each", "batched", "batched-strided", "batched-steps")
KINDS = ("note us", "loop us", "device us")


class Live(W.HTML):
    """Times taken when a cell ran, as a table in the page. Stored is only what was timed, never how long it took."""

    def __init__(self, times: Mapping[str, Spread]):
        self.summary = f"Measured when this cell ran; the times are shown, not stored: {', '.join(times)}."
        head = f"<p>On {html.escape(device())}; microseconds per call: median, middle half of the samples</p>"
        lines = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{t.median:.4g}</td><td>{t.low:.4g}..{t.high:.4g}</td></tr>"
            for name, t in times.items()
        )
        super().__init__(f'<div role="status">{head}<table>{lines}</table></div>')

    def _repr_mimebundle_(self, **kwargs):
        return super()._repr_mimebundle_(**kwargs) | {"text/plain": self.summary}


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

    planning = f"plan the {len(plan)} copies of a step"
    timed = Timer(Host(), budget_s=budget_s).time(
        [
            Candidate(planning, lambda: copy_plan(captured, values, case.mode), planned),
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
    return {
        mode: fit(
            *({n: evidence.loop(case, name).median for n, case in cases.items()} for name in ("eager", "copy")),
            evidence.row(cases[4], parts.COPY_ONE, kind="plan")["copies"],
        )
        for mode, cases in MODES.items()
    }


def gain_chart(evidence: Evidence) -> Chart:
    """Totals by number of steps, and the gain with its limit: points measured, lines from the model."""
    by_mode, fig = models(evidence), figure(3.4)
    left, right = fig.subplots(1, 2)
    model, steps = by_mode["decode"], [1 + i / 4 for i in range(61)]
    for name, total, mark in (("eager", model.eager, "s"), ("copy", model.copied, "o")):
        left.plot(steps, [total(n) / 1e3 for n in steps], color=COLOURS[name], lw=1)
        loops = {n: evidence.loop(case, name).scaled(1e-3) for n, case in STEPS_CASES.items()}
        _points(left, loops, COLOURS[name], mark, name)
    labels(left, "decode: time of a replay", "draft steps N", "loop time, ms", "upper left")
    for (mode, model), mark in zip(by_mode.items(), "o^s", strict=True):
        right.plot(steps, [model.speed_up(n) for n in steps], color=COLOURS[mode], lw=1)
        right.axhline(model.speed_up_limit, color=COLOURS[mode], lw=0.8, ls=":")
        gains = {n: evidence.speed_up(case) for n, case in MODES[mode].items()}
        _points(right, gains, COLOURS[mode], mark, mode)
    labels(right, "gain of computing once; dotted: its limit", "draft steps N", "eager / copy")
    lines = [
        f"{mode}: {model.compute_us:.4g} us to compute, {model.step_us:.4g} us to copy a step; gain at most "
        f"{model.speed_up_limit:.3g}x; copies pass half from {model.steps_to_half:.3g} steps; error {model.rms:.0%} "
        f"rms, {model.worst:.0%} at worst of {model.points} points"
        for mode, model in by_mode.items()
    ]
    return finish(fig, lines, evidence)


def _points(ax: Axes, spreads: Mapping[int, Spread], colour: str, mark: str, label: str) -> None:
    medians = [s.median for s in spreads.values()]
    below, above = [s.median - s.low for s in spreads.values()], [s.high - s.median for s in spreads.values()]
    ax.errorbar(list(spreads), medians, [below, above], fmt=mark, ms=4, color=colour, elinewidth=1, label=label)


def timeline_chart(evidence: Evidence, steps: int = 4) -> Chart:
    """One replay on host and device, both ways.

    A recording keeps sums, so a part's operations are drawn evenly over its host time.
    """
    replays = {name: _segments(evidence, name, steps) for name in ("eager", "copy")}
    fig = figure(2.9)
    axes = fig.subplots(2, 1, sharex=True)
    for ax, (name, segments) in zip(axes, replays.items(), strict=True):
        _draw_lanes(ax, segments)
        labels(ax, f"{name}, {steps} steps", "", "")
    axes[1].set_xlabel("microseconds since the call; the device catches up with each launch", fontsize=SMALL)
    parts_named = {"compute": "compute", "copies": "copies", "not in either part": "rest"}
    legend(fig, {label: COLOURS[part] for label, part in parts_named.items()}, "upper right", 3)
    return finish(fig, [_busy(evidence, name, steps) for name in replays], evidence)


def _segments(evidence: Evidence, name: str, steps: int) -> list[tuple[str, float, int]]:
    """(part, host us, device operations) of a replay in order; what is in neither part comes last."""
    case = RECORD_CASES[steps]
    whole = evidence.row(case, name, kind="strategy")
    rows = {
        "compute": evidence.row(case, parts.PRECOMPUTE, kind="part"),
        "copies": evidence.row(case, parts.COPY_ONE, kind="part", strategy="copy"),
    }
    compute, copies = ((part, row["host_us"], int(row["device_ops"])) for part, row in rows.items())
    segments = [compute, copies] * steps if name == "eager" else [compute, *[copies] * steps]
    rest = max(whole["host_us"] - sum(us for _, us, _ in segments), 0)
    return [*segments, ("rest", rest, 0)]


def _draw_lanes(ax: Axes, segments: Sequence[tuple[str, float, int]]) -> None:
    begin = 0.0
    for part, host, operations in segments:
        ax.barh([1], [host], left=begin, height=0.7, color=COLOURS[part], edgecolor="white", lw=0.8)
        each = [begin + host * (at + 1) / operations for at in range(operations)]
        # a stroke is about as wide as the operation is long
        ax.vlines(each, -0.35, 0.35, color=COLOURS[part], lw=0.8)
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
    """What each group of operations costs alone, beside the note's number. `us each`: per device operation."""
    rows = []
    for name, us in RECORD_OPERATIONS.items():
        row = evidence.row("precompute-parts", name, kind="part")
        times = {"operations": name, "note us": us} | _times(row)
        rows.append(times | {"us each": row["loop_us"] / row["device_ops"]})
    return rows


def _times(row: Row) -> Row:
    return {"loop us": row["loop_us"], "device us": row["device_us"], "device ops": int(row["device_ops"])}


def operations_chart(evidence: Evidence) -> Chart:
    """Record, host-bound loop time and device time of each group."""
    rows = operations(evidence)
    names = {f"{row['operations']} ({row['device ops']})": row for row in rows}
    title = "computing one step: each group alone (in brackets: device operations)"
    return _times_chart(evidence, 2.8, title, names, KINDS, "operations", "microseconds, log scale")


def transform_chart(evidence: Evidence) -> Chart:
    """The page transform without an index tensor, with a cached one, and with one built every time."""
    names = (parts.SLICED, parts.CACHED, parts.REBUILT)
    rows = {
        name.removeprefix("page transform, "): evidence.row("precompute-parts", name, kind="part") for name in names
    }
    return _times_chart(evidence, 1.9, "the page transform", rows, ("loop_us", "device_us"), "name", "microseconds")


def record_table(evidence: Evidence) -> list[Row]:
    """The note's table, the same code read on an H200, and this project's recording, microseconds."""
    lines = []
    for n, case in RECORD_CASES.items():
        own = {key: evidence.loop(case, name).median for key, name in (("before", "eager"), ("after", "copy"))}
        for source, totals in {"the note": RECORD[n], ITS_CODE: ORIGINAL[n], "this project": own}.items():
            before, after = totals["before"], totals["after"]
            line = {"steps": n, "source": source, "before": before, "after": after}
            gain = evidence.speed_up(case).median if totals is own else before / after
            lines.append(line | {"gain": gain, "saved": before - after})
    return lines


def record_parts(evidence: Evidence) -> list[Row]:
    """What "after" consists of. The note's copies are what its total leaves beside 175 us of computing."""
    lines, once = [], RECORD[4]["before"] / 4
    for n, case in RECORD_CASES.items():
        own = evidence.part(case, parts.PRECOMPUTE).median, evidence.part(case, parts.COPY_ALL, "copy").median
        sources = {
            "the note": (RECORD[n]["after"], once, RECORD[n]["after"] - once),
            ITS_CODE: tuple(ORIGINAL[n][key] for key in ("after", "compute", "copies")),
            "this project": (evidence.loop(case, "copy").median, *own),
        }
        for source, (after, compute, copies) in sources.items():
            line = {"steps": n, "source": source, "compute": compute, "copies": copies}
            lines.append(line | {"rest": after - compute - copies, "copies of 1 step": copies / n})
    return lines


def record_chart(evidence: Evidence) -> Chart:
    """Where the time of "after" goes: the note, its code, this recording."""
    rows, fig, columns = record_parts(evidence), figure(2.3), ("compute", "copies", "rest")
    ax = fig.subplots()
    names = [f"{row['steps']} steps, {row['source']}" for row in rows]
    stacked_bars(ax, names, {part: [max(row[part], 0) for row in rows] for part in columns})
    labels(ax, "computed once, copied N times", "microseconds", "")
    lines = [_values(row, columns, "source", f"{row['steps']} steps, ") for row in rows]
    return finish(fig, [*lines, f"{ITS_CODE}: {ORIGINAL_CONDITIONS}"], evidence)


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
    fig, lines = figure(2.9), []
    kinds = {"moves a full block": COLOURS["copies"], "moves a part of one": COLOURS["foreach"]}
    kinds |= {"returns at once": "#dddddd"}
    for ax, (title, sizes) in zip(fig.subplots(1, len(plans)), plans.items(), strict=True):
        counts = programs(list(sizes.values()), block)
        _grid(ax, counts, list(sizes), list(kinds.values()))
        total, idle = sum(map(sum, counts)), sum(count[2] for count in counts)
        ax.set_title(f"{title}: {sum(counts[0])} x {len(counts)} programs", fontsize=SMALL + 1)
        lines.append(
            f"{title}: {sum(counts[0])} blocks x {len(counts)} copies = {total} programs, "
            f"{idle} of them ({idle / total:.0%}) return at once"
        )
    legend(fig, kinds, "lower center", 3)
    return Chart(fig, lines)


def _grid(ax: Axes, counts: Sequence[tuple[int, int, int]], names: Sequence[str], colours: Sequence[str]) -> None:
    width = sum(counts[0])
    edge = {"edgecolor": "white", "lw": 1} if width <= 8 else {"lw": 0}
    for row, count in enumerate(counts):
        kinds = [colour for colour, many in zip(colours, count, strict=True) for _ in range(many)]
        ax.barh([row] * width, [1] * width, left=range(width), height=0.8, color=kinds, **edge)
    name_rows(ax, names)
    ax.set_xlim(0, width)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
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
    lines = []
    for label, case in cases.items():
        row = evidence.row(case, parts.COPY_ONE, kind="plan")
        copies, contiguous = row["copies"], row["contiguous_copies"]
        shares = {"of the copies": contiguous / copies, "of the bytes": row["contiguous_bytes"] / row["copied_bytes"]}
        lines.append({"plan": label, "copies": copies, "taken": contiguous} | shares)
    return lines


def seven(evidence: Evidence) -> list[Row]:
    """The note's seven copies by form: its number, and the recording's loop and device time."""
    rows = [evidence.row("seven-copies", parts.SEVEN_COPIES, strategy=name) for name in ("copy", "foreach", *FORMS)]
    return [
        {"form": row["strategy"], "note us": RECORD_SEVEN.get(row["strategy"])}
        | _times(row)
        | {
            "copy_ / this": evidence.ratio(
                "seven-copies",
                *({"kind": "part", "name": parts.SEVEN_COPIES, "strategy": of} for of in ("copy", row["strategy"])),
            ).median
        }
        for row in rows
    ]


def seven_chart(evidence: Evidence) -> Chart:
    """Seven small contiguous copies: the note's numbers, and what was recorded."""
    rows, title = {row["form"]: row for row in seven(evidence)}, "seven int32 copies of 32 to 2048 elements"
    return _times_chart(evidence, 3.2, title, rows, KINDS, "form", "microseconds per call")


def forms(evidence: Evidence) -> list[Row]:
    """How many times faster than `copy` each form's whole replay is, by plan."""
    lines = []
    for label, case in PLANS.items():
        faster = {name: evidence.faster(case, name).median for name in (*FORMS, "foreach")}
        lines.append({"plan": label} | faster)
    return lines


def forms_chart(evidence: Evidence) -> Chart:
    """Whole replays of real plans: left of the line a form loses to `.copy_()`."""
    rows, fig, names = forms(evidence), figure(3.9), (*FORMS, "foreach")
    ax = fig.subplots()
    for name, mark in zip(names, "vos^D", strict=True):
        colour = COLOURS["foreach" if name == "foreach" else "batched"]
        fill = "white" if name in ("batched-each", "batched-strided") else colour
        times = [row[name] for row in rows]
        ax.plot(times, range(len(rows)), mark, ms=6, color=colour, label=name, markerfacecolor=fill)
    ax.axvline(1, color="black", lw=1)
    name_rows(ax, [row["plan"] for row in rows])
    labels(ax, "whole replays: copy loop time / loop time of the form; right of 1 the form wins", "times", "")
    return finish(fig, [_values(row, names, "plan") for row in rows], evidence)


def cheapest_launch(evidence: Evidence) -> str:
    """The cheapest Triton launch that was timed; older recordings have the ordinary one only."""
    return next(name for name in (COMPILED_LAUNCH, EMPTY_LAUNCH) if find(evidence.rows, kind="floor", name=name))


def room(evidence: Evidence, steps: int = 4) -> list[Row]:
    """What replacing copies by a launch could save at best, and what it did; microseconds a replay, copies only.

    At best: the replaced `.copy_()` at the price of one, less an empty launch; describing copies would be free.
    """
    case = RECORD_CASES[steps]
    plan, one = evidence.row(case, parts.COPY_ONE, kind="plan"), evidence.part(case, parts.ONE_COPY, "copy").median
    launch = evidence.spread(case, cheapest_launch(evidence), kind="floor").median
    spent = evidence.part(case, parts.COPY_ALL, "copy").median
    forms_replaced = {
        "batched": (plan["contiguous_copies"] * steps, steps),
        "batched-strided": (plan["copies"] * steps, steps),
        "batched-steps": (plan["copies"] * steps, 1),
    }
    lines = []
    for name, (replaced, launches) in forms_replaced.items():
        saved = spent - evidence.part(case, parts.COPY_ALL, name).median
        best = replaced * one - launches * launch
        line = {"form": name, "copies replaced": replaced, "launches": launches}
        lines.append(line | {"saves at best": best, "saved": saved, "describing and passing": best - saved})
    return lines


def _times_chart(
    evidence: Evidence,
    height: float,
    title: str,
    rows: Mapping[str, Row],
    columns: Sequence[str],
    name: str,
    unit: str,
) -> Chart:
    """Dots of `columns` for each row; in words, each row goes by what it has in column `name`."""
    fig = figure(height)
    ax = fig.subplots()
    dots = {column.replace("_", " "): [row[column] for row in rows.values()] for column in columns}
    grouped_dots(ax, list(rows), dots)
    if "log" in unit:
        ax.set_xscale("log")
    labels(ax, title, unit, "")
    return finish(fig, [_values(row, columns, name) for row in rows.values()], evidence)


def _values(row: Row, columns: Sequence[str], name: str, prefix: str = "") -> str:
    values = [f"{column} {row[column]:.3g}" for column in columns if row[column] is not None]
    return f"{prefix}{row[name]}: {', '.join(values)}"
