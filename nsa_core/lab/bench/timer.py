"""The one timer: host, loop and device time, latency and device operations of calls that must be right first."""

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat

from .device import Cuda, Host
from .stats import Spread, require_positive, spread

LOOP_CALLS = 200  # most calls of one loop block
SINGLE_CALLS = 20  # most single calls of one round
WARM_UP_CALLS = 3  # fewest; the warm-up also goes on for WARM_UP_NS
WARM_UP_NS = 5_000_000
PROFILED_CALLS = 7
REFERENCE_NS = 400_000  # of one block of the reference


class WrongResult(RuntimeError):
    """A candidate computed something else than the oracle; there is no point in timing it."""


@dataclass(frozen=True)
class Candidate:
    """Something to time.

    call: one call, without arguments.
    check: makes a call and returns the differences from what it should have done, one line each. None only for what
        computes nothing.
    """

    name: str
    call: Callable[[], object]
    check: Callable[[], list[str]] | None


@dataclass(frozen=True)
class Admitted:
    """A candidate whose result was right, warmed up; the only thing `Timer.measure` takes."""

    candidate: Candidate
    ns: float  # one call, roughly; only to share the budget out


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds per call. Latency, device time and operations are None where the device is the CPU.

    loops: the loop time of every round. references: the reference's time next to it, empty where there is none.
    """

    host: Spread
    loop: Spread
    latency: Spread | None
    device: Spread | None
    device_ops: Spread | None
    loops: tuple[float, ...]
    references: tuple[float, ...]


@dataclass
class _Samples:
    host: list[float] = field(default_factory=list)
    loop: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)


class Timer:
    """Times candidates against each other, in turns, so that a drifting clock moves all of them alike.

    observer: drains the device and profiles it.
    budget_s: seconds for all candidates of one `measure` together; every candidate gets at least one loop block and
        one single call per round, so slow candidates can exceed it.
    rounds: turns; each adds one loop sample and up to SINGLE_CALLS host and latency samples.
    loop_calls: calls of one loop block; None shares the budget out.
    reference: one call of something small that is timed between all blocks, so that a slow moment is seen.
    clock: nanoseconds; a test injects its own.

    host: until the call returns, the device idle before. latency: until the device has drained, from the same calls.
    loop: a block of back-to-back calls behind one that is not timed, and the drain, divided by the calls.
    """

    def __init__(
        self,
        observer: Host | Cuda,
        *,
        budget_s: float = 3.0,
        rounds: int = 9,
        loop_calls: int | None = None,
        reference: Callable[[], object] | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        require_positive("budget_s", budget_s)
        require_positive("rounds", rounds)
        require_positive("loop_calls", 1 if loop_calls is None else loop_calls)
        self.observer, self.budget_s, self.rounds = observer, budget_s, rounds
        self.loop_calls, self.reference, self._clock = loop_calls, reference, clock

    def admit(self, candidate: Candidate) -> Admitted:
        """Check a candidate's result and warm it up. WrongResult names the field and the cell that is wrong."""
        wrong = candidate.check() if candidate.check else []
        if wrong:
            raise WrongResult(f"{candidate.name} is not timed, its result is wrong: {'; '.join(wrong)}")
        return Admitted(candidate, self._warm_up(candidate.call))

    def measure(self, admitted: Sequence[Admitted]) -> dict[str, Timing]:
        """Time admitted candidates in turns; each round starts with another one."""
        samples = {name: _Samples() for name in _names(admitted)}
        with no_garbage_collection():
            calls = self._reference_calls()
            before = self._refer(calls)
            for turn in range(self.rounds):
                for a in _rotated(admitted, turn):
                    into = samples[a.candidate.name]
                    self._take(a, into, len(admitted))
                    after = self._refer(calls)
                    into.reference.append(max(before, after))  # slow on either side is slow
                    before = after
        return self._timings(admitted, samples)

    def beside(self, baseline: Admitted, admitted: Sequence[Admitted]) -> dict[str, list[tuple[float, float]]]:
        """By candidate, a pair of device times per round: its own, and the baseline's in the block next to it.

        Microseconds per call. The baseline's block stands between those of two candidates, and each round starts with
        another one: whichever way a clock drifts, a candidate comes before its baseline as often as behind it.
        """
        pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in _names(admitted)}
        with no_garbage_collection():
            self._block(baseline)  # not kept: clocks settle under this load
            for turn in range(self.rounds):
                in_turn = _rotated(admitted, turn)
                for first, *second in (in_turn[at : at + 2] for at in range(0, len(in_turn), 2)):
                    own, alone, *others = map(self._block, [first, baseline, *second])
                    for a, us in zip([first, *second], [own, *others], strict=True):
                        pairs[a.candidate.name].append((us, alone))
        return pairs

    def time(self, candidates: Sequence[Candidate]) -> dict[str, Timing]:
        """Admit and measure."""
        return self.measure([self.admit(candidate) for candidate in candidates])

    def _warm_up(self, call: Callable[[], object]) -> float:
        begin, calls = self._clock(), 0
        while calls < WARM_UP_CALLS or (calls < LOOP_CALLS and self._clock() - begin < WARM_UP_NS):
            before = self._clock()
            call()
            self.observer.drain()
            last, calls = self._clock() - before, calls + 1
        return max(float(last), 1.0)

    def _reference_calls(self) -> int:
        return 0 if self.reference is None else max(1, int(REFERENCE_NS / self._warm_up(self.reference)))

    def _refer(self, calls: int) -> float:
        """Nanoseconds of a call of the reference; 0 where there is none."""
        return self._loop(self.reference, calls) if calls else 0.0

    def _block(self, admitted: Admitted) -> float:
        return self.observer.elapsed_us(admitted.candidate.call, self.loop_calls or LOOP_CALLS)

    def _take(self, admitted: Admitted, into: _Samples, sharers: int) -> None:
        share = self.budget_s * 1e9 / (self.rounds * sharers) / 2  # half for the loop, half for single calls
        fits = max(int(share / admitted.ns), 1)
        admitted.candidate.call()  # not timed: others ran before, and a block of two or three calls would begin cold
        into.loop.append(self._loop(admitted.candidate.call, self.loop_calls or min(max(fits - 1, 1), LOOP_CALLS)))
        for _ in range(min(fits, SINGLE_CALLS)):
            self._single(admitted.candidate.call, into)

    def _loop(self, call: Callable[[], object], calls: int) -> float:
        self.observer.drain()
        begin = self._clock()
        for _ in repeat(None, calls):
            call()
        self.observer.drain()
        return (self._clock() - begin) / calls

    def _single(self, call: Callable[[], object], into: _Samples) -> None:
        self.observer.drain()
        begin = self._clock()
        call()
        returned = self._clock()
        self.observer.drain()
        into.latency.append(self._clock() - begin)
        into.host.append(returned - begin)

    def _timings(self, admitted: Sequence[Admitted], samples: dict[str, _Samples]) -> dict[str, Timing]:
        profiles = self.observer.profile([a.candidate.call for a in admitted], PROFILED_CALLS)
        timings = {}
        for at, (name, s) in enumerate(samples.items()):
            device, ops = _on_device(profiles[at]) if profiles else (None, None)
            latency = None if isinstance(self.observer, Host) else _us(s.latency)
            references = _rounds(s.reference) if self.reference else ()
            timings[name] = Timing(_us(s.host), _us(s.loop), latency, device, ops, _rounds(s.loop), references)
        return timings


def _names(admitted: Sequence[Admitted]) -> list[str]:
    names = [a.candidate.name for a in admitted]
    if len(set(names)) != len(names):
        raise ValueError(f"candidates share a name: {names}; give each its own")
    return names


def _rotated(admitted: Sequence[Admitted], turn: int) -> list[Admitted]:
    first = turn % max(len(admitted), 1)
    return [*admitted[first:], *admitted[:first]]


def _us(nanoseconds: Sequence[float]) -> Spread:
    return spread(nanoseconds).scaled(1e-3)


def _rounds(nanoseconds: Sequence[float]) -> tuple[float, ...]:
    return tuple(ns * 1e-3 for ns in nanoseconds)


def _on_device(runs: Sequence[Sequence]) -> tuple[Spread, Spread]:
    return spread([sum(op.us for op in run) for run in runs]), spread([float(len(run)) for run in runs])


@contextmanager
def no_garbage_collection():
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
