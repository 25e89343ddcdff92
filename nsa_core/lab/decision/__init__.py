"""Keep the copies, batch them, or do something else? The record's own criteria, evaluated on measurements."""

from .break_even import BreakEven, fit, measured_break_even
from .command import add_arguments, main, measure
from .criteria import (
    Alternative,
    Criterion,
    better_alternative_criterion,
    bottleneck_criterion,
    conclude,
    copy_share_criterion,
    measured_alternatives,
    replay_share,
)
from .decision import Decision, decide

__all__ = [
    "Alternative",
    "BreakEven",
    "Criterion",
    "Decision",
    "add_arguments",
    "better_alternative_criterion",
    "bottleneck_criterion",
    "conclude",
    "copy_share_criterion",
    "decide",
    "fit",
    "main",
    "measure",
    "measured_alternatives",
    "measured_break_even",
    "replay_share",
]
