"""Keep the copies, batch them, or do something else? The note's own criteria, evaluated on measurements."""

from .break_even import BreakEven, fit, measured_break_even
from .command import add_arguments, main, measure
from .criteria import (
    RULE,
    Alternative,
    Criterion,
    Verdict,
    better_criterion,
    bottleneck_criterion,
    conclude,
    keeping,
    refresh_share,
    share_criterion,
)
from .decision import Decision, Judgement, decide, judge, measured_alternatives

__all__ = [
    "RULE",
    "Alternative",
    "BreakEven",
    "Criterion",
    "Decision",
    "Judgement",
    "Verdict",
    "add_arguments",
    "better_criterion",
    "bottleneck_criterion",
    "conclude",
    "decide",
    "fit",
    "judge",
    "keeping",
    "main",
    "measure",
    "measured_alternatives",
    "measured_break_even",
    "refresh_share",
    "share_criterion",
]
