"""What follows from costs by hand or from a recorded machine: totals, copy share, the note's criteria, a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..bench.evidence import RECORD_CASES, Evidence, NotMeasured
from ..bench.stats import exactly
from . import note
from .break_even import BreakEven
from .criteria import (
    EXACT,
    LIVE_PREFIX,
    Alternative,
    Criterion,
    Verdict,
    better_criterion,
    bottleneck_criterion,
    conclude,
    keeping,
    share_criterion,
)

BATCHED, ONE_LAUNCH = "batched", "one launch"
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
        return {"eager": model.eager(steps), "copy": model.copied(steps), BATCHED: batched} | one


@dataclass(frozen=True)
class Answer:
    """What follows from costs: totals in microseconds, the copies' share of `copy` (0..1), and the decision.

    best: the fastest way beside the copies.
    """

    steps: int
    totals: dict[str, float]
    share: float
    best: str
    criteria: list[Criterion]
    verdict: Verdict

    @property
    def lines(self) -> list[str]:
        saves = 1 - self.totals[BATCHED] / self.totals["copy"]
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
        for name, contract in ((BATCHED, EXACT), (ONE_LAUNCH, LIVE_PREFIX))
        if name in totals
    ]
    best_first = keeping(alternatives, LIVE_PREFIX)
    bottleneck = bottleneck_criterion(totals["copy"], decode_step_us)
    criteria = [share_criterion(exactly(share)), bottleneck, better_criterion(best_first)]
    return Answer(steps, totals, share, best_first[0].name, criteria, conclude(criteria, best_first))


def presets(recorded: Sequence[Evidence]) -> dict[str, Costs]:
    """Recorded machines by name, where their runs can answer; then the December 2025 note's own numbers."""
    machines: dict[str, Costs] = {}
    for machine in recorded:
        for launch in ("graph", "fused"):
            try:
                machines[f"{machine.machine}, {launch}"] = measured(machine, launch)
            except NotMeasured:
                continue  # runs of other cases
    return machines | {"the note: its table": table(), "the note: its seven copies": seven_copies()}


def measured(evidence: Evidence, launch: str) -> Costs:
    """Costs that give a recorded machine's totals and share at 4 steps; launch: the strategy that launches once."""
    case = RECORD_CASES[4]
    copy, batched = (evidence.loop(case, name).median for name in ("copy", "batched"))
    compute = copy * (1 - evidence.copy_share(case).median)
    return Costs(compute, (copy - compute) / 4, (batched - compute) / 4, evidence.loop(case, launch).median)


def table() -> Costs:
    """What the note's table of totals implies: two numbers of steps give both costs, and batching saved 15 us."""
    copy = (note.TOTALS[8]["after"] - note.TOTALS[4]["after"]) / 4
    return Costs(note.TOTALS[4]["after"] - 4 * copy, copy, copy - (note.TOTALS[4]["after"] - note.BATCHED[4]) / 4)


def seven_copies() -> Costs:
    """The only copies that the note measured: seven small contiguous ones, beside 175 us of computing."""
    return replace(table(), copy=note.SEVEN["copy"], batched=note.SEVEN["batched"])
