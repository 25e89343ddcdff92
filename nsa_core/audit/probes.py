"""Faults that values do not show: errors that vanish inside a refresh, waits for the device, memory that is kept."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .cases import Case
from .report import Finding
from .session import POISONS, Session, tensors_of


class InjectedFault(NotImplementedError):
    """What a missing kernel, or as a RuntimeError a failing one, would raise."""


class InjectedShortage(torch.OutOfMemoryError):
    """What a full device would raise."""


class InjectedMisfit(AttributeError, ValueError, TypeError, AssertionError):
    """What an object that is no tensor, or a shape that does not fit, would raise."""


class InjectedMiss(KeyError, IndexError, ImportError):
    """What a look-up for a batch size, a field or a compiler that is not there would raise."""


# At how many of a refresh's operations each is injected, at most: all of them for the likeliest.
_FAULTS = {InjectedFault: 200, InjectedShortage: 12, InjectedMisfit: 12, InjectedMiss: 12}
_FAILED_REFRESHES = 12


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


def operations(session: Session, case: Case) -> int:
    """PyTorch operations in one refresh."""
    count, batch = Inject(None), case.batch(session.req_to_token.device)
    with count:
        session.refresh(batch)
    return count.operations


def errors(session: Session, case: Case, count: int) -> Iterator[Finding]:
    """Fail one operation of a refresh after the other: each error must come out.

    Python catches single errors by design: `hasattr` one, a comparison another, a miss in a cache a third. So what is
    no RuntimeError has to vanish at a quarter of the places to be held against the refresh.
    """
    for fault, most in _FAULTS.items():
        places = _spread(count, most)
        quiet = [before for before in places if _swallowed(session, case, Inject(before, fault))]
        if quiet and (issubclass(fault, RuntimeError) or 4 * len(quiet) >= len(places)):
            kinds = " and ".join(base.__name__ for base in fault.__bases__)
            message = f"operation {quiet[0]} of {count} failed with {kinds} and nobody was told"
            yield Finding("error swallowed", "", None, f"{message} ({len(quiet)} of {len(places)} tried)")


def repairs(session: Session, case: Case, other: Case, count: int) -> Iterator[Finding]:
    """Fail a refresh: the next one, for another batch or the same, must put all right that it left behind."""
    for i, before in enumerate(_spread(count, _FAILED_REFRESHES)):
        session.poison(POISONS[0])
        _swallowed(session, case, Inject(before))
        for left in session.observe(replace((other, case)[i % 2], poisoned=False), POISONS[0]):
            message = f"{left.message}; the refresh before it failed at operation {before} of {count}"
            yield Finding("not restored", left.field, left.step, message, left.batch)


def _swallowed(session: Session, case: Case, inject: Inject) -> bool:
    """Whether a refresh in which an operation failed returns as if none had."""
    batch = case.batch(session.req_to_token.device)
    try:
        with inject:
            session.refresh(batch)
    except Exception:  # the injected fault, or what an engine makes of it
        return False
    return inject.operations > inject.before


def _spread(operations: int, most: int) -> list[int]:
    """At most `most` places, the first and the last among them."""
    chosen = min(operations, most)
    return sorted({i * (operations - 1) // max(chosen - 1, 1) for i in range(chosen)})


_PAUSE = 0.05  # seconds; a thread or stream that is later than this goes unnoticed


def late(session: Session, case: Case) -> Iterator[Finding]:
    """Cells that change after a refresh has returned, those of the inputs included."""
    batch = case.batch(session.req_to_token.device)
    inputs = tensors_of(batch) | {"req_to_token": session.req_to_token}
    watched = [(name, None, tensor) for name, tensor in inputs.items()]
    watched += [(name, captured.step, t) for captured in session.sets for name, t in captured.tensors.items()]
    session.poison(POISONS[0])
    session.refresh(batch)
    returned = [tensor.clone() for _, _, tensor in watched]
    time.sleep(_PAUSE)
    if session.req_to_token.is_cuda:
        torch.cuda.synchronize()
    for (name, step, tensor), then in zip(watched, returned, strict=True):
        changed = (tensor != then).nonzero()
        if len(changed):
            at = tuple(changed[0].tolist())
            message = f"{name}{list(at)} was {int(then[at])} when the refresh returned and became {int(tensor[at])}"
            yield Finding("written late", name, step, message)


_REPEATS = 3


def device(session: Session, case: Case) -> Iterator[Finding]:
    """Host synchronisation and kept memory, on CUDA, with a batch that has host mirrors."""
    batches = [
        case.batch(session.req_to_token.device) for _ in range(3 + _REPEATS)
    ]  # one each: a refresh may spoil it
    following = iter(batches)
    session.refresh(next(following))  # compiles and allocates what is allocated once
    yield from _synchronisation(lambda: session.refresh(next(following)))
    yield from _memory(lambda: session.refresh(next(following)))


def _synchronisation(refresh: Callable[[], object]) -> Iterator[Finding]:
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype feature")
        try:
            torch.cuda.set_sync_debug_mode("error")
            refresh()
        except Exception as error:  # PyTorch reports a synchronisation as a RuntimeError, which an engine may wrap
            message = f"with host mirrors given, {type(error).__name__}: {error}"
            yield Finding("host synchronisation", "", None, message)
        finally:
            torch.cuda.set_sync_debug_mode(mode)


def _memory(refresh: Callable[[], object]) -> Iterator[Finding]:
    refresh()
    before = torch.cuda.memory_stats()
    for _ in range(_REPEATS):
        refresh()
    after = torch.cuda.memory_stats()
    for counter, what in (
        ("allocated_bytes.all.current", "bytes are kept"),
        ("segment.all.allocated", "new segments"),
    ):
        grown = after.get(counter, 0) - before.get(counter, 0)
        if grown > 0:
            yield Finding("allocation", "", None, f"{grown} {what} after {_REPEATS} refreshes of one batch")


def allocations(session: Session, case: Case) -> int:
    """Requests to PyTorch's CUDA allocator in one refresh."""
    batch = case.batch(session.req_to_token.device)
    before = torch.cuda.memory_stats().get("allocation.all.allocated", 0)
    session.refresh(batch)
    return torch.cuda.memory_stats().get("allocation.all.allocated", 0) - before
