"""The record's conditions for looking again, as functions of measurements, and the verdict that follows."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..bench.evidence import RECORD_CASES, Evidence
from ..bench.stats import Spread, clearly_below, ratio, require_positive
from .claims import COPY_SHARE_LIMIT, share_text

BOTTLENECK_SHARE = 0.05  # of a decode step; below it even a free replay is within what a serving benchmark resolves
SIGNIFICANT = 1.25  # times faster than the copies; the record called 5 to 6% not worth the complexity


@dataclass(frozen=True)
class Criterion:
    """One of the record's conditions. met is None where nothing was measured or given."""

    name: str
    met: bool | None
    reason: str

    @property
    def state(self) -> str:
        return {True: "met", False: "not met", None: "not known"}[self.met]


@dataclass(frozen=True)
class Alternative:
    """A strategy beside the copies: times faster than `copy` by number of steps, and whether that is significant."""

    name: str
    contract: str
    faster: dict[int, Spread]
    significant: bool

    @property
    def least(self) -> float:
        return min(f.median for f in self.faster.values())

    @property
    def copies(self) -> bool:
        """Does it still compute once and copy N times?"""
        return self.name.startswith("batched") or self.name == "foreach"

    @property
    def factors(self) -> str:
        return ", ".join(f"{f.median:.3g}x ({f.q1:.3g}..{f.q3:.3g}) at {n} steps" for n, f in self.faster.items())


def copy_share_criterion(shares: dict[int, Spread]) -> Criterion:
    """Do the copies take more than half of the kept path's time? shares: copy share (0..1) by number of steps."""
    name = f"copies above {COPY_SHARE_LIMIT:.0%} of the total"
    if not shares:
        return Criterion(name, None, "not measured")
    met = any(share.median > COPY_SHARE_LIMIT for share in shares.values())
    return Criterion(name, met, share_text(shares))


def bottleneck_criterion(replay_us: float, decode_step_us: float | None) -> Criterion:
    """Is a replay of `replay_us` a bottleneck of a decode step of `decode_step_us`?"""
    name = f"a measured bottleneck: at least {BOTTLENECK_SHARE:.0%} of a decode step"
    if decode_step_us is None:
        return Criterion(name, None, "give the length of a decode step with --decode-step-us")
    share = replay_share(replay_us, decode_step_us)
    return Criterion(name, share >= BOTTLENECK_SHARE, f"{replay_us:.4g} us is {share:.1%} of {decode_step_us:g} us")


def replay_share(replay_us: float, decode_step_us: float) -> float:
    """The replay's share of a decode step, 0 and up; above 1 the replay takes longer than the step it serves."""
    require_positive("decode_step_us", decode_step_us)
    return replay_us / decode_step_us


def better_alternative_criterion(best_first: Sequence[Alternative]) -> Criterion:
    """Is the best alternative at least SIGNIFICANT times faster than the copies, at every number of steps?"""
    name = f"a significantly better alternative: at least {SIGNIFICANT}x"
    if not best_first:
        return Criterion(name, None, "no alternative was measured")
    best = best_first[0]
    return Criterion(name, best.significant, f"{best.name}, {best.factors}")


def measured_alternatives(evidence: Evidence) -> list[Alternative]:
    """Every strategy measured in each of the record's cases that has `copy`, best first."""
    cases = {n: case for n, case in RECORD_CASES.items() if evidence.has(case, "copy")}
    names = dict.fromkeys(row["name"] for row in evidence.rows if row.get("kind") == "strategy")
    alternatives = [
        _alternative(evidence, name, cases)
        for name in names
        if name not in ("eager", "copy") and all(evidence.has(case, name) for case in cases.values())
    ]
    return sorted(alternatives, key=lambda a: -a.least)


def _alternative(evidence: Evidence, name: str, cases: dict[int, str]) -> Alternative:
    pairs = {n: (evidence.loop(case, name), evidence.loop(case, "copy")) for n, case in cases.items()}
    faster = {n: ratio(copy, own) for n, (own, copy) in pairs.items()}
    significant = all(clearly_below(own, copy, SIGNIFICANT) for own, copy in pairs.values())
    contract = evidence.row(next(iter(cases.values())), name, kind="strategy")["contract"]
    return Alternative(name, contract, faster, significant)


def conclude(criteria: Sequence[Criterion], best_first: Sequence[Alternative]) -> tuple[str, list[str]]:
    """The verdict and its reasons, from the criteria (copy share, bottleneck, alternative) and the alternatives.

    A replay that is known to be no bottleneck keeps the copies: there is nothing to win. Otherwise a significantly
    better alternative decides, by what it is: another way to copy, or something past copying.
    """
    share, bottleneck, better = criteria
    reasons = [_about_copying(best_first), *(f"{c.name}: {c.state}; {c.reason}" for c in criteria)]
    if bottleneck.met is False:
        return "keep the copies; the replay is no bottleneck of this decode step", reasons
    if better.met:
        best = best_first[0]
        reasons.append(f"{best.name} keeps the contract {best.contract!r}")
        act = f"batch the copies with {best.name}" if best.copies else f"do something else: {best.name}"
        return f"{act}, at least {best.least:.3g}x faster than the copies", reasons
    tail = "; yet they take more than half of the time" if share.met else ""
    return f"keep the copies; nothing measured is {SIGNIFICANT}x faster{tail}", reasons


def _about_copying(best_first: Sequence[Alternative]) -> str:
    batched = [a for a in best_first if a.copies]
    if not batched:
        return "no other way to copy was measured"
    best = batched[0]
    worth = "worth its complexity" if best.significant else "not worth its complexity, so reverting it stands"
    return f"the best other way to copy is {best.name}, {best.factors}: {worth}"
