"""How long replays take here: one timer, a named grid of cases, the floors, and recordings that only grow."""

from .cases import QUICK, BenchCase, build, grid, select
from .command import add_arguments, main
from .recording import BrokenRecording, Recording, read
from .report import beside_floors, compare
from .run import SECTIONS, Bench
from .stats import Spread, spread
from .timer import Candidate, Timer, Timing, WrongResult

__all__ = [
    "QUICK",
    "SECTIONS",
    "BrokenRecording",
    "Candidate",
    "BenchCase",
    "Recording",
    "Bench",
    "Spread",
    "Timer",
    "Timing",
    "WrongResult",
    "add_arguments",
    "beside_floors",
    "build",
    "compare",
    "grid",
    "main",
    "read",
    "select",
    "spread",
]
