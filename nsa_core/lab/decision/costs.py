"""What follows from costs by hand or from a recorded machine: totals, copy share, the note's criteria, a verdict."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..bench import Spread, parts
from ..bench.evidence import RECORD_CASES, Evidence, NotMeasured
from ..bench.stats import clearly_below, ratio
from . import note
from .break_even import BreakEven
from .criteria import (
    SIGNIFICANT,
    Alternative,
    Criterion,
    better_alternative_criterion,
    bottleneck_criterion,
    conclude,
    copy_share_criterion,
)

ONE_LAUNCH = "one launch"
MOST_STEPS = 16
NO_SPREAD = re.compile(r" \((\S+?)\.\.\1\)")  # quartiles of a number that has none


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
    verdict: str

    @property
    def lines(self) -> list[str]:
        saves = 1 - self.totals["batched"] / self.totals["copy"]
        totals = ", ".join(f"{name} {us:.4g} us" for name, us in self.totals.items())
        judged = [f"{criterion.name}: {criterion.state}; {criterion.reason}." for criterion in self.criteria]
        return [
            f"{self.steps} steps: {totals}. Copies take {self.share:.0%} of copy; batching them saves {saves:+.0%}.",
            *(NO_SPREAD.sub("", line) for line in judged),
            f"Verdict: {self.verdict}.",
        ]


def answer(costs: Costs, steps: int, decode_step_us: float | None = None) -> Answer:
    """The record's criteria on these costs, by the functions that also judge measurements."""
    totals, share = costs.totals(steps), costs.model.copy_share(steps)
    alternatives = _alternatives(totals, steps)
    bottleneck = bottleneck_criterion(totals["copy"], decode_step_us)
    if decode_step_us is None:
        bottleneck = replace(bottleneck, reason="the length of a decode step is not given")
    shares = copy_share_criterion({steps: _exactly(share)})
    criteria = [shares, bottleneck, better_alternative_criterion(alternatives)]
    return Answer(steps, totals, share, criteria, conclude(criteria, alternatives)[0])


def _alternatives(totals: dict[str, float], steps: int) -> list[Alternative]:
    copy = _exactly(totals["copy"])
    alternatives = []
    for name, contract in (("batched", "exact"), (ONE_LAUNCH, "live prefix")):
        if name in totals:
            own = _exactly(totals[name])
            faster = {steps: ratio(copy, own)}
            alternatives.append(Alternative(name, contract, faster, clearly_below(own, copy, SIGNIFICANT)))
    return sorted(alternatives, key=lambda a: -a.least)


def _exactly(value: float) -> Spread:
    return Spread(value, value, value, 1)


def presets(recorded: Sequence[Evidence]) -> dict[str, Costs]:
    """Recorded machines by name, each by its newest run that can answer; then the record's own numbers.

    recorded: runs, the newest first.
    """
    machines: dict[str, Costs] = {}
    for run in recorded:
        for name, launch in (("one launch", "fused"), ("in a graph", "graph")):
            try:
                machines.setdefault(f"{run.machine}, recorded, {name}", measured(run, launch))
            except NotMeasured:
                continue  # a run of other cases
    return machines | {
        "the record: its table": table(),
        "the record: its micro-case": micro_case(),
        "the record's code, read on an H200": original(),
    }


def measured(run: Evidence, launch: str) -> Costs:
    """A recorded machine's costs in the record's case of 4 steps; launch: the strategy that launches once."""
    case = RECORD_CASES[4]
    copy, batched = (run.part(case, parts.COPY_ONE, name).median for name in ("copy", "batched"))
    return Costs(run.part(case, parts.PRECOMPUTE).median, copy, batched, run.loop(case, launch).median)


def table() -> Costs:
    """What the record's table of totals implies: two numbers of steps give both costs, and batching saved 15 us."""
    copy = (note.TOTALS[8]["after"] - note.TOTALS[4]["after"]) / 4
    return Costs(note.TOTALS[4]["after"] - 4 * copy, copy, copy - (note.TOTALS[4]["after"] - note.BATCHED[4]) / 4)


def micro_case() -> Costs:
    """The only copies that the record measured: seven small contiguous ones, beside 175 us of computing."""
    return replace(table(), copy=note.SEVEN["copy"], batched=note.SEVEN["batched"])


def original() -> Costs:
    """The record's code on an H200; the launch is the prototype of that reading."""
    read = note.ORIGINAL[4]
    return Costs(read["compute"], read["copies"] / 4, (read["batched"] - read["compute"]) / 4, note.ORIGINAL_LAUNCH)
