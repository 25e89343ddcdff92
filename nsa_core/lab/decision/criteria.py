"""The note's three conditions, evaluated, and the rule that makes a verdict of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..bench.stats import Spread, require_positive

COPY_SHARE_LIMIT = 0.5  # the note's condition for looking again
BOTTLENECK_SHARE = 0.05  # of a round; below it even a free refresh is within what a serving benchmark resolves
SIGNIFICANT = 1.25  # times faster than the copies; the note called 5 to 6% not worth the complexity
EXACT, LIVE_PREFIX = CONTRACTS = ("exact", "live prefix")

RULE = f"""Look again when one of three conditions holds:
  1. the copies take more than {COPY_SHARE_LIMIT:.0%} of the refresh;
  2. the refresh takes at least {BOTTLENECK_SHARE:.0%} of a round;
  3. a strategy that keeps the contract needed is at least {SIGNIFICANT} times as
     fast as the copies, in every run.
Act when 2 and 3 hold. If one of them does not, keep the copies. If one is not
known, the answer is open and says which. Condition 1 alone changes nothing: it
says where a refresh's time goes, not whether that time matters.
Of strategies that meet 3 and lie within {SIGNIFICANT} times of the fastest, the
simplest is named. The revert of the batched copy stands unless a batched form
is at least {SIGNIFICANT} times as fast as the copies, in every run."""


@dataclass(frozen=True)
class Criterion:
    """One of the three conditions. met is None where nothing was measured or given."""

    name: str
    met: bool | None
    reason: str

    @property
    def state(self) -> str:
        return {True: "met", False: "not met", None: "not known"}[self.met]


@dataclass(frozen=True)
class Alternative:
    """A strategy beside the copies: its time, and how many times faster than `copy` it is."""

    name: str
    contract: str
    us: float
    faster: Spread

    @property
    def significant(self) -> bool:
        """In every run; of a single run, in three quarters of its rounds."""
        return self.faster.low >= SIGNIFICANT

    @property
    def batches(self) -> bool:
        """Is it a form of what was reverted?"""
        return self.name.startswith("batched")

    @property
    def factor(self) -> str:
        return f"{self.name}, {times(self.faster)}"


@dataclass(frozen=True)
class Verdict:
    """The two questions, answered. None: open, for want of what `act` names."""

    revert_stands: bool
    revert: str
    acts: bool | None
    act: str
    look: bool

    @property
    def line(self) -> str:
        return f"the revert {'stands' if self.revert_stands else 'does not stand'}; {self.act}"


def times(factor: Spread) -> str:
    """A factor with its spread, where it has one."""
    return f"{factor.median:.3g}x{_ends(factor, '.3g')}"


def percent(share: Spread) -> str:
    """A share (0..1) with its spread, where it has one."""
    return f"{share.median:.0%}{_ends(share, '.0%')}"


def _ends(spread: Spread, form: str) -> str:
    low, high = format(spread.low, form), format(spread.high, form)
    return "" if low == high else f" ({low}..{high})"


def share_criterion(share: Spread | None, reason: str = "not measured") -> Criterion:
    """Do the copies take more than half of the refresh?"""
    name = f"copies above {COPY_SHARE_LIMIT:.0%} of the refresh"
    return (
        Criterion(name, None, reason)
        if share is None
        else Criterion(name, share.median > COPY_SHARE_LIMIT, percent(share))
    )


def bottleneck_criterion(refresh_us: float, decode_step_us: float | None) -> Criterion:
    """Does a refresh take enough of a round to matter?"""
    name = f"refresh at least {BOTTLENECK_SHARE:.0%} of a round"
    if decode_step_us is None:
        limit = refresh_us / BOTTLENECK_SHARE / 1e3
        return Criterion(name, None, f"the round's length is not given; met up to {limit:.3g} ms")
    share = refresh_share(refresh_us, decode_step_us)
    reason = f"{refresh_us:.4g} us is {share:.1%} of {decode_step_us:g} us"
    return Criterion(name, share >= BOTTLENECK_SHARE, reason)


def refresh_share(refresh_us: float, decode_step_us: float) -> float:
    """The refresh's share of a round, from one refresh to the next; 1 where it is said to be shorter than that."""
    require_positive("decode_step_us", decode_step_us)
    return min(refresh_us / decode_step_us, 1.0)


def better_criterion(best_first: Sequence[Alternative]) -> Criterion:
    """Is the best alternative significantly faster than the copies?"""
    name = f"an alternative {SIGNIFICANT}x faster"
    if not best_first:
        return Criterion(name, None, "no alternative was measured")
    return Criterion(name, best_first[0].significant, best_first[0].factor)


def keeping(alternatives: Sequence[Alternative], contract: str) -> list[Alternative]:
    """Those that keep the contract needed, given simplest first, as best first; the exact one keeps both.

    The best is the simplest of those that are significant and that the fastest does not beat by SIGNIFICANT; the
    others follow, the fastest first.
    """
    kept = [a for a in alternatives if a.contract in (contract, EXACT)]
    fastest_first = sorted(kept, key=lambda a: -a.faster.median)
    enough = [a for a in kept if a.significant and fastest_first[0].faster.median < SIGNIFICANT * a.faster.median]
    return [*enough[:1], *(a for a in fastest_first if a not in enough[:1])]


def conclude(criteria: Sequence[Criterion], best_first: Sequence[Alternative]) -> Verdict:
    """RULE, on the criteria (share, bottleneck, alternative) and the alternatives in the contract needed."""
    _, bottleneck, better = criteria
    needed = (bottleneck, better)
    acts = False if any(c.met is False for c in needed) else None if any(c.met is None for c in needed) else True
    batched = [a for a in best_first if a.batches]
    stands = not any(a.significant for a in batched)
    best = max(batched, key=lambda a: a.faster.median, default=None)
    against = f"the best batched form is {best.factor}" if best else "no batched form was measured"
    return Verdict(stands, against, acts, _act(acts, bottleneck, better, best_first), any(c.met for c in criteria))


def _act(acts: bool | None, bottleneck: Criterion, better: Criterion, best_first: Sequence[Alternative]) -> str:
    if acts:
        return f"act: {best_first[0].factor} as fast as the copies"
    if acts is None:
        missing = "; ".join(c.reason for c in (bottleneck, better) if c.met is None)
        would = f"; then act: {best_first[0].factor} as fast as the copies" if better.met else ""
        return f"open: {missing}{would}"
    why = "the refresh is no bottleneck" if bottleneck.met is False else f"nothing is {SIGNIFICANT}x faster"
    return f"keep the copies; {why}"
