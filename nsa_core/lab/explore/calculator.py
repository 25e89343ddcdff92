"""When do copies pay? Five costs in, by hand or from a recorded machine; totals, copy share and verdict out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import ipywidgets as W
from matplotlib.axes import Axes

from ..bench.evidence import RECORD_CASES, Evidence, NotMeasured
from ..bench.stats import exactly
from ..decision import Alternative, BreakEven, Criterion, Verdict, conclude
from ..decision.criteria import LIVE_PREFIX, better_criterion, bottleneck_criterion, keeping, share_criterion
from .chart import COLOURS, GREY, SMALL, Chart, figure, labels, stacked_bars
from .figures_copies import ORIGINAL, RECORD, RECORD_SEVEN
from .form import FULL, WRAP, StaticForm

# One launch by the same reading that ORIGINAL comes from: a prototype of it, 4 steps, microseconds of loop time.
ORIGINAL_LAUNCH = 18.4
RECORD_BATCHED = {4: 220.0, 8: 280.0}  # the record's totals with batching, microseconds
ONE_LAUNCH = "one launch"
WAYS = ("eager", "copy", "batched", ONE_LAUNCH)
OWN = "own numbers"
MOST_STEPS = 16


@dataclass(frozen=True)
class Costs:
    """Microseconds. launch 0: a launch that refreshes all steps is not an option.

    compute: one step's values. copy: all copies of one step. batched: what replaces the copies of one step.
    launch: one launch that replaces computing and copying, whatever the number of steps.
    """

    compute: float
    copy: float
    batched: float
    launch: float = 0.0

    @property
    def model(self) -> BreakEven:
        return BreakEven(self.compute, self.copy, copies=1)

    def totals(self, steps: int) -> dict[str, float]:
        """A replay of `steps` steps by each way, microseconds."""
        model, one = self.model, {ONE_LAUNCH: self.launch} if self.launch else {}
        batched = model.batched(steps, self.batched)
        return {"eager": model.eager(steps), "copy": model.copied(steps), "batched": batched} | one


@dataclass(frozen=True)
class Answer:
    """What follows from costs: totals in microseconds, the copies' share of `copy` (0..1), and the decision."""

    steps: int
    totals: dict[str, float]
    share: float
    criteria: list[Criterion]
    verdict: Verdict

    @property
    def lines(self) -> list[str]:
        saves = 1 - self.totals["batched"] / self.totals["copy"]
        totals = ", ".join(f"{name} {us:.4g} us" for name, us in self.totals.items())
        judged = [f"{criterion.name}: {criterion.state}; {criterion.reason}." for criterion in self.criteria]
        return [
            f"{self.steps} steps: {totals}. Copies take {self.share:.0%} of copy; batching them saves {saves:+.0%}.",
            *judged,
            f"Verdict: {self.verdict.line}.",
        ]


def answer(costs: Costs, steps: int, decode_step_us: float | None = None) -> Answer:
    """The rule on these costs, by the functions that also judge measurements."""
    totals, share = costs.totals(steps), costs.model.copy_share(steps)
    alternatives = [
        Alternative(name, contract, totals[name], exactly(totals["copy"] / totals[name]))
        for name, contract in (("batched", "exact"), (ONE_LAUNCH, LIVE_PREFIX))
        if name in totals
    ]
    best_first = keeping(alternatives, LIVE_PREFIX)
    bottleneck = bottleneck_criterion(totals["copy"], decode_step_us)
    criteria = [share_criterion(exactly(share)), bottleneck, better_criterion(best_first)]
    return Answer(steps, totals, share, criteria, conclude(criteria, best_first))


def presets(recorded: Sequence[Evidence]) -> dict[str, Costs]:
    """Recorded machines by name, where their runs can answer; then the record's own numbers."""
    machines: dict[str, Costs] = {}
    for machine in recorded:
        for name, launch in (("one launch", "fused"), ("in a graph", "graph")):
            try:
                machines[f"{machine.machine}, recorded, {name}"] = measured(machine, launch)
            except NotMeasured:
                continue  # runs of other cases
    return machines | {
        "the record: its table": table(),
        "the record: its micro-case": micro_case(),
        "the record's code, read on an H200": original(),
    }


def measured(evidence: Evidence, launch: str) -> Costs:
    """Costs that give a recorded machine's totals and share at 4 steps; launch: the strategy that launches once."""
    case = RECORD_CASES[4]
    copy, batched = (evidence.loop(case, name).median for name in ("copy", "batched"))
    compute = copy * (1 - evidence.copy_share(case).median)
    return Costs(compute, (copy - compute) / 4, (batched - compute) / 4, evidence.loop(case, launch).median)


def table() -> Costs:
    """What the record's table of totals implies: two numbers of steps give both costs, and batching saved 15 us."""
    copy = (RECORD[8]["after"] - RECORD[4]["after"]) / 4
    return Costs(RECORD[4]["after"] - 4 * copy, copy, copy - (RECORD[4]["after"] - RECORD_BATCHED[4]) / 4)


def micro_case() -> Costs:
    """The only copies that the record measured: seven small contiguous ones, beside 175 us of computing."""
    return replace(table(), copy=RECORD_SEVEN["copy"], batched=RECORD_SEVEN["batched"])


def original() -> Costs:
    """The record's code on an H200; the launch is the prototype of that reading."""
    read = ORIGINAL[4]
    return Costs(read["compute"], read["copies"] / 4, (read["batched"] - read["compute"]) / 4, ORIGINAL_LAUNCH)


def chart(costs: Costs, steps: int, lines: Sequence[str]) -> Chart:
    """Where the time of each way goes, and how it grows with the number of steps."""
    fig = figure(2.7)
    left, right = fig.subplots(1, 2)
    _draw_bars(left, costs, steps)
    _draw_growth(right, costs, steps)
    return Chart(fig, lines)


def _draw_bars(ax: Axes, costs: Costs, steps: int) -> None:
    totals, computed, copied = costs.totals(steps), steps * costs.compute, steps * costs.copy
    parts_of = {
        "compute": [computed, costs.compute, costs.compute, 0],
        "copies": [copied, copied, 0, 0],
        "batched copies": [0, 0, steps * costs.batched, 0],
        ONE_LAUNCH: [0, 0, 0, costs.launch],
    }
    stacked_bars(ax, WAYS, parts_of)
    for row, name in enumerate(WAYS):
        total = totals.get(name, 0)
        ax.text(total, row, f" {total:.4g}" if total else " not an option", va="center", fontsize=SMALL)
    ax.set_xlim(0, 1.15 * max(totals.values()))
    labels(ax, f"{steps} steps, microseconds", "", "", "lower right")


def _draw_growth(ax: Axes, costs: Costs, steps: int) -> None:
    shown = range(1, MOST_STEPS + 1)
    totals = [costs.totals(n) for n in shown]
    for name, dash in zip(totals[0], ("-", "-", "--", "-."), strict=False):
        ax.plot(shown, [us[name] for us in totals], dash, color=COLOURS[name], label=name)
    ax.axvline(steps, color=GREY, lw=0.8, ls=":")
    ax.set_yscale("log")
    labels(ax, "total by number of steps, microseconds, log scale", "draft steps N", "")


class Calculator(StaticForm):
    """Live controls in a notebook; a static picture and its words everywhere else.

    given: presets by name; the first is shown first. Moving a cost makes the numbers your own.
    """

    def __init__(self, given: dict[str, Costs]):
        super().__init__(_controls(given))
        self.given = given
        self.controls["preset"].observe(self._take_preset, "value")
        for name in COSTS:
            self.controls[name].observe(self._own_numbers, "value")
        for name in ("steps", "decode_step"):
            self.controls[name].observe(self._show, "value")
        self._take_preset()
        self.children = [W.HBox(_columns(self.controls), layout=WRAP), self.image, self.text]

    @property
    def costs(self) -> Costs:
        return Costs(*(self.controls[name].value for name in COSTS))

    def _take_preset(self, _change: object = None) -> None:
        costs = self.given.get(self.controls["preset"].value)
        if costs is None or not self._listening:
            return
        self._set({name: getattr(costs, name) for name in COSTS})
        self._show()

    def _own_numbers(self, _change: object) -> None:
        if self._listening:
            self._set({"preset": OWN})
            self._show()

    def _show(self, _change: object = None) -> None:
        steps, decode_step_ms = self.controls["steps"].value, self.controls["decode_step"].value
        implied = answer(self.costs, steps, decode_step_ms * 1e3 or None)
        lines = [f"{self.controls['preset'].value}.", *implied.lines]
        self._show_lines(lines, chart(self.costs, steps, lines).png)


COSTS = {
    "compute": "compute a step, us",
    "copy": "copy a step, us",
    "batched": "batched step, us",
    "launch": "one launch for all, us",
}
STYLE = {"description_width": "130px"}


def _controls(given: dict[str, Costs]) -> dict[str, W.ValueWidget]:
    options = {"continuous_update": False, "style": STYLE, "layout": FULL}
    controls = {
        "preset": W.Dropdown(options=[*given, OWN], description="numbers of", style=STYLE, layout=FULL),
        "steps": W.IntSlider(4, 1, MOST_STEPS, description="draft steps N", **options),
        "decode_step": W.FloatSlider(0, min=0, max=50, step=0.5, description="decode step, ms", **options),
    }
    for name, label in COSTS.items():
        most = 100 * (1 + max(getattr(costs, name) for costs in given.values()) // 50)
        least = 0.0 if name == "launch" else 0.5
        controls[name] = W.FloatSlider(least, min=least, max=most, step=0.5, description=label, **options)
    return controls


def _columns(controls: dict[str, W.ValueWidget]) -> list[W.VBox]:
    layout = W.Layout(flex="340px 1 340px", min_width="340px")
    note = W.HTML("<small>0 means: not known (decode step), not an option (one launch)</small>")
    given = [controls[name] for name in ("preset", "steps", "decode_step")]
    return [W.VBox([*given, note], layout=layout), W.VBox([controls[name] for name in COSTS], layout=layout)]
