"""When do copies pay? Five costs in, by hand or from a recorded machine; totals, copy share and verdict out."""

from collections.abc import Sequence

import ipywidgets as W
from matplotlib.axes import Axes

from ..decision.costs import MOST_STEPS, ONE_LAUNCH, Costs, answer, presets, table
from .chart import COLOURS, GREY, SMALL, Chart, figure, labels, stacked_bars
from .form import FULL, WRAP, StaticForm

__all__ = ["Calculator", "Costs", "answer", "presets", "table"]

WAYS = ("eager", "copy", "batched", ONE_LAUNCH)
OWN = "own numbers"


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
