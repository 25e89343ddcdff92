"""Faults that values do not show: errors that vanish inside a refresh, waits for the device, memory that is kept."""

import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .cases import Case
from .report import Finding
from .run import POISONS, Outcome, Run

_MOST_INJECTIONS = 12  # spread over the operations of one refresh


class InjectedFault(ImportError, RuntimeError):
    """What a missing compiler or a failing kernel would raise."""


class Inject(TorchDispatchMode):
    """Lets `before` operations pass and fails the next with `fault`; with None it only counts."""

    def __init__(self, before: int | None, fault: type[BaseException] = InjectedFault) -> None:
        super().__init__()
        self.before, self.fault, self.operations = before, fault, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if self.operations == self.before:
            self.operations += 1
            raise self.fault(f"injected before operation {self.before} ({func})")
        self.operations += 1
        return func(*args, **(kwargs or {}))


def operations(run: Run, case: Case) -> int:
    """PyTorch operations in one refresh."""
    count = Inject(None)
    run.poison(POISONS[0])
    with count:
        run.refresh(case.batch(run.req_to_token.device))
    return count.operations


def errors(run: Run, case: Case, repair: Case, count: int) -> Iterator[Finding]:
    """Fail one operation of a refresh after the other: the error must come out, and the next refresh put all right.

    The next one is for another batch, so that whatever the failed one left behind shows.
    """
    for before in _spread(count):
        run.poison(POISONS[0])
        with Outcome() as outcome, Inject(before) as inject:
            run.refresh(case.batch(run.req_to_token.device))
        if outcome.error is None and inject.operations > before:
            yield Finding("error swallowed", "", None, f"operation {before} of {count} failed and nobody was told")
        for left in run.observe(repair, POISONS[0], after_error=True):
            message = f"{left.message}; the refresh before it failed at operation {before} of {count}"
            yield Finding("not restored", left.field, left.step, message, left.batch)


def _spread(operations: int) -> list[int]:
    """At most `_MOST_INJECTIONS` places, the first and the last among them."""
    chosen = min(operations, _MOST_INJECTIONS)
    return sorted({i * (operations - 1) // max(chosen - 1, 1) for i in range(chosen)})


def handled(run: Run, case: Case) -> Iterator[Finding]:
    """Errors that a refresh meets here and now, catches and goes on from: a fallback nobody hears of."""
    batch, seen = case.batch(run.req_to_token.device), {}
    with Outcome() as outcome, _watching(seen):
        run.refresh(batch)
    for error, place in seen.values() if outcome.error is None else ():
        if not isinstance(error, _IDIOMS) and not _is_library(place):
            where = f"{Path(place.f_code.co_filename).name}, {place.f_code.co_name}"
            yield Finding("error swallowed", "", None, f"{type(error).__name__}: {error}, handled in {where}")


_IDIOMS = (StopIteration, GeneratorExit, KeyError, IndexError)  # ends of loops and cache look-ups


def _is_library(frame) -> bool:
    """Whether a frame belongs to torch, triton or the standard library, which use errors as answers."""
    path = Path(frame.f_code.co_filename)
    standard = Path(sysconfig.get_paths()["stdlib"])
    libraries = [Path(torch.__file__).parent, Path(torch.__file__).parent.parent / "triton"]
    return (
        frame.f_code.co_name == "__getattr__"
        or not path.exists()
        or any(path.is_relative_to(home) for home in libraries)
        or (path.is_relative_to(standard) and "site-packages" not in path.parts)
    )


@contextmanager
def _watching(seen: dict):
    """Fills `seen` with every exception and the last frame it passed: the one that handled it, or let it out."""

    def trace(frame, event, argument):
        if event == "exception":
            seen[id(argument[1])] = (argument[1], frame)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def device(run: Run, case: Case) -> Iterator[Finding]:
    """Host synchronisation and kept memory, on CUDA, with a batch that has host mirrors."""
    batch = case.batch(run.req_to_token.device)
    run.refresh(batch)  # compiles and allocates what is allocated once
    yield from _synchronisation(lambda: run.refresh(batch))
    yield from _memory(lambda: run.refresh(batch))


def _synchronisation(refresh: Callable[[], object]) -> Iterator[Finding]:
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with Outcome() as outcome:
            refresh()
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    if outcome.error is not None:
        yield Finding("host synchronisation", "", None, f"with host mirrors given, {outcome.said()}")


_REPEATS = 3


def _memory(refresh: Callable[[], object]) -> Iterator[Finding]:
    refresh()
    before = torch.cuda.memory_stats()
    for _ in range(_REPEATS):
        refresh()
    after = torch.cuda.memory_stats()
    for counter, said in (
        ("allocated_bytes.all.current", "bytes are kept"),
        ("segment.all.allocated", "new segments"),
    ):
        grown = after.get(counter, 0) - before.get(counter, 0)
        if grown > 0:
            yield Finding("allocation", "", None, f"{grown} {said} after {_REPEATS} refreshes of one batch")


def allocations(run: Run, case: Case) -> int:
    """Requests to PyTorch's CUDA allocator in one refresh."""
    batch = case.batch(run.req_to_token.device)
    before = torch.cuda.memory_stats().get("allocation.all.allocated", 0)
    run.refresh(batch)
    return torch.cuda.memory_stats().get("allocation.all.allocated", 0) - before
