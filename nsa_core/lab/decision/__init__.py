"""Keep the copies, batch them, or do something else? The note's own criteria, evaluated on measurements."""

from .break_even import BreakEven, fit, measured_break_even
from .command import add_arguments, main
from .criteria import Alternative, Criterion, Verdict, conclude
from .decision import Decision, decide

__all__ = [
    "Alternative",
    "BreakEven",
    "Criterion",
    "Decision",
    "Verdict",
    "add_arguments",
    "conclude",
    "decide",
    "fit",
    "main",
    "measured_break_even",
]
