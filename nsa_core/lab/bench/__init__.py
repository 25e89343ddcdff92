"""How long replays take here: one timer, a named grid of cases, the floors, and recordings that only grow."""

from .cases import BenchCase, build, grid, select
from .command import add_arguments, main
from .recording import BrokenRecording, Recording, read
from .report import beside_floors
from .run import Bench
from .stats import Spread
from .timer import Candidate, Timer, WrongResult

__all__ = [
    "Bench",
    "BenchCase",
    "BrokenRecording",
    "Candidate",
    "Recording",
    "Spread",
    "Timer",
    "WrongResult",
    "add_arguments",
    "beside_floors",
    "build",
    "grid",
    "main",
    "read",
    "select",
]
