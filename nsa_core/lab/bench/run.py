"""A run: every case's candidates checked, timed in turns and turned into rows; what fails becomes a row too."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import cycle

import torch

import nsa_core as nsa
from nsa_core.strategies import REGISTRY, StrategyInfo
from nsa_core.strategies.base import Refused, ReplayReport

from . import exposure, facts, floors, parts, stale
from .bytes_moved import bytes_moved, bytes_written
from .cases import BenchCase, CaseInputs, build
from .conditions import conditions
from .device import observer
from .recording import ROUNDS, Row
from .stats import rounded, spread, spread_columns
from .timer import Admitted, Candidate, Timer, Timing, no_garbage_collection
from .verify import Gate

Labelled = tuple[Row, Callable[[], Candidate]]  # what the row says besides its times, and how to make the candidate
STALE_SCHEDULES = "stale-schedules"  # needs DeepGEMM, so it is measured where it is named
WARM_UP_CALLS = 200_000  # about 1.5 s of 4-byte copies


class Bench:
    """Measures cases and sections on one device and hands every row to `sink` as soon as it is known.

    strategies: names to measure; None for all that are available.
    budget_s: seconds of timing for a case of weight 1.
    """

    def __init__(
        self,
        device: torch.device,
        sink: Callable[[Sequence[Row]], None],
        *,
        strategies: Sequence[str] | None = None,
        budget_s: float = 3.0,
    ) -> None:
        self.device, self.sink, self.budget_s = device, sink, budget_s
        self.conditions, self.observer = conditions(device), observer(device)
        self.strategies = _known(strategies, device)
        self.failures: list[str] = []

    @cached_property
    def reference(self) -> Callable[[], object]:
        """What is timed next to everything, so that a slow moment is seen."""
        return floors.reference(self.device)

    def warm_up(self) -> None:
        """Bring clocks up, so that the first case is measured like the last."""
        if self.device.type == "cuda":
            timer = Timer(self.observer, budget_s=1, rounds=1, loop_calls=WARM_UP_CALLS)
            timer.time([next(floors.launches(self.device))])  # profiles too: every later row is measured after that

    def case(self, case: BenchCase) -> None:
        """All rows of one case."""
        with self._noting({"case": case.name}):
            inputs = build(case, self.device)
            gate, about = Gate(case, inputs), describe(case, inputs)
            if case.decode_gemms:
                self._expose(about, case, inputs, gate)
            else:
                self._emit([about | {"kind": "plan"} | facts.plan(case, inputs)])
                self._time(about, self._candidates(case, inputs, gate), self._timer(case.weight))
        self._free()

    def section(self, name: str) -> None:
        """All rows of one of SECTIONS."""
        with self._noting({"case": name}):
            SECTIONS[name](self, {"case": name})
        self._free()

    def _candidates(self, case: BenchCase, inputs: CaseInputs, gate: Gate) -> Iterator[Labelled]:
        for name, info in self.strategies.items():
            label = {"kind": "strategy", "name": name, "strategy": name, "contract": info.contract}
            given = _unmirrored(inputs) if REGISTRY[name].capture_safe else inputs
            yield label, partial(_replay, case, given, gate, label)
            if case.parts:
                yield from self._variants(case, given, gate, label)
        yield from self._parts(case, inputs, gate)
        yield from self._floors()

    def _variants(self, case: BenchCase, inputs: CaseInputs, gate: Gate, label: Row) -> Iterator[Labelled]:
        """How a strategy that reads nothing on the host can be called otherwise."""
        cls = REGISTRY[label["strategy"]]
        ways = {"new batch object": _replay_anew} if cls.capture_safe else {}
        if cls.records_inputs:
            ways["inputs copied in"] = partial(_replay, recorded=False)
        elif cls.capture_safe and self.device.type == "cuda":
            ways["in the caller's graph"] = _refresh_in_graph
        for way, make in ways.items():
            named = label | {"kind": "variant", "name": f"{label['name']}, {way}"}
            yield named, partial(make, case, inputs, gate, named)

    def _expose(self, about: Row, case: BenchCase, inputs: CaseInputs, gate: Gate) -> None:
        """A case's refreshes beside a decode step, each in turns with the step alone. Not bound by `budget_s`."""
        timer = Timer(self.observer, rounds=exposure.ROUNDS, loop_calls=exposure.CALLS)
        with torch.cuda.device(self.device), no_garbage_collection():
            step = exposure.DecodeStep(self.device, case.bs, case.decode_gemms)
            alone = timer.admit(Candidate("decode step", step.alone(), None))
            admitted = self._admit(about, self._beside(case, inputs, gate, step), timer)
            pairs = timer.beside(alone, [a for _, a in admitted])
        about = about | {"decode_gemms": case.decode_gemms, "calls": exposure.CALLS}
        self._emit(about | label | exposure.columns(pairs[a.candidate.name]) for label, a in admitted)

    def _beside(
        self, case: BenchCase, inputs: CaseInputs, gate: Gate, step: exposure.DecodeStep
    ) -> Iterator[Labelled]:
        noise = {"kind": "exposed", "name": exposure.NOISE, "strategy": None}
        yield noise, lambda: Candidate(exposure.NOISE, step.alone(), None)
        written = bytes_written(case, inputs)
        for name, (places, way) in exposure.STRATEGIES.items():
            for place in places if name in self.strategies else ():
                given = _unmirrored(inputs) if REGISTRY[name].capture_safe else inputs
                label = {"kind": "exposed", "name": f"{name}, {place}", "strategy": name, "place": place}
                label |= {"contract": self.strategies[name].contract, "bytes_written": getattr(written, way)}
                yield label, partial(_refresh_beside, case, given, gate, label, step)

    def _parts(self, case: BenchCase, inputs: CaseInputs, gate: Gate) -> Iterator[Labelled]:
        yield _part(parts.PRECOMPUTE), partial(parts.precompute_only, case, inputs, gate)
        for name in parts.executors(self.strategies) if case.parts else ["copy"]:
            yield _part(parts.COPY_ALL, name), partial(parts.copies, case, inputs, name, case.steps)
            if case.parts:
                yield _part(parts.COPY_ONE, name), partial(parts.copies, case, inputs, name, 1)
        if case.parts:
            yield _part(parts.ONE_COPY, "copy"), partial(parts.one_copy, case, inputs)

    def _floors(self) -> Iterator[Labelled]:
        for candidate in floors.launches(self.device):
            yield _ready({"kind": "floor", "name": candidate.name}, candidate)

    def _launch_floors(self, about: Row) -> None:
        self._time(about, self._floors(), self._timer(0.5))
        for candidate, moved in floors.bandwidths(self.device):
            label = {"kind": "bandwidth", "name": candidate.name, "bytes": moved}
            self._time(about, [_ready(label, candidate)], self._timer(0.2))

    def _micro(self, about: Row) -> None:
        names = parts.executors(self.strategies)
        made = [(_part(parts.SEVEN_COPIES, name), partial(parts.micro_copies, self.device, name)) for name in names]
        self._time(about, [*made, *self._floors()], self._timer(1.0, parts.MICRO_CALLS))

    def _operations(self, about: Row) -> None:
        inputs = build(parts.OPERATIONS_CASE, self.device)
        groups = [*parts.operations(parts.OPERATIONS_CASE, inputs), *parts.transforms(parts.OPERATIONS_CASE, inputs)]
        made = [_ready(_part(candidate.name), candidate) for candidate in groups]
        about = describe(parts.OPERATIONS_CASE, inputs) | about
        self._time(about, [*made, *self._floors()], self._timer(1.0))

    def _facts(self, about: Row) -> None:
        for row in facts.rows(self.device, self.observer):
            self._emit([about | row])

    def _stale_schedules(self, about: Row) -> None:
        for shape, candidates in stale.cases(self.device):
            made = [_ready({"kind": "reader", "name": candidate.name}, candidate) for candidate in candidates]
            self._time(about | shape, made, self._timer(0.5))

    def _timer(self, weight: float, loop_calls: int | None = None) -> Timer:
        return Timer(self.observer, budget_s=self.budget_s * weight, loop_calls=loop_calls, reference=self.reference)

    def _time(self, about: Row, labelled: Iterable[Labelled], timer: Timer) -> None:
        admitted = self._admit(about, labelled, timer)
        timings = timer.measure([a for _, a in admitted])
        self._emit(about | label | columns(timings[a.candidate.name], label) for label, a in admitted)

    def _admit(self, about: Row, labelled: Iterable[Labelled], timer: Timer) -> list[tuple[Row, Admitted]]:
        """Admit each candidate by itself, so that one that is wrong does not keep the others from being timed."""
        admitted: list[tuple[Row, Admitted]] = []
        for label, make in labelled:
            with self._noting(about | label):
                made = make()
                unique = Candidate(f"{len(admitted)} {made.name}", made.call, made.check)
                admitted.append((label, timer.admit(unique)))
        return admitted

    def _emit(self, rows: Iterable[Row]) -> None:
        self.sink([row | self.conditions for row in rows])

    @contextmanager
    def _noting(self, about: Row) -> Iterator[None]:
        """Turn what the block raises into a row and go on; a strategy that declines is no failure of the run."""
        try:
            yield
        except Refused as refusal:
            self._emit([about | {"kind": "refused", "reason": str(refusal)}])
        except Exception as error:
            self._fail(about, f"{type(error).__name__}: {error}")

    def _fail(self, about: Row, reason: str) -> None:
        self._emit([about | {"kind": "error", "reason": reason}])
        self.failures.append(f"{about['case']} {about.get('name', '')}: {reason}")
        print(f"FAILED: {self.failures[-1]}", file=sys.stderr, flush=True)

    def _free(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


SECTIONS: dict[str, Callable[[Bench, Row], None]] = {
    "floors": Bench._launch_floors,
    "facts": Bench._facts,
    "seven-copies": Bench._micro,
    "precompute-parts": Bench._operations,
    STALE_SCHEDULES: Bench._stale_schedules,
}


def describe(case: BenchCase, inputs: CaseInputs) -> Row:
    """A case's conditions as columns."""
    moved = bytes_moved(case, inputs)
    return {
        "case": case.name,
        "mode": case.mode.value,
        "bs": len(inputs.lengths),
        "lengths": str(case.lengths),
        "longest": max(inputs.lengths),
        "tokens": sum(inputs.lengths),
        "steps": case.steps,
        "page_size": case.page_size,
        "width": inputs.req_to_token.shape[1],
        "flashmla": case.flashmla,
        "step_offset": case.step_offset,
        "tables": " ".join(case.tables),
        "mirrors": inputs.batch.seq_lens_cpu is not None,
        "bytes_generate": moved.generate,
        "bytes_share": moved.share,
        "bytes_copy": moved.copy,
        "bytes_recompute": moved.recompute,
    }


def columns(timing: Timing, label: Row) -> Row:
    """A timing as columns: median, quartiles, samples; microseconds. Loop and reference also round by round."""
    row: Row = {}
    for name in ("host", "loop", "latency", "device"):
        row |= spread_columns(f"{name}_us", getattr(timing, name))
    row |= spread_columns("reference_us", spread(timing.references))
    for name, rounds in (("loop_us", timing.loops), ("reference_us", timing.references)):
        row[name + ROUNDS] = [rounded(us) for us in rounds]
    row["device_ops"] = None if timing.device_ops is None else timing.device_ops.median
    if "bytes" in label:
        row["gb_per_s"] = rounded(label["bytes"] / (row["device_us"] or row["loop_us"]) / 1e3)
    return row


def _known(names: Sequence[str] | None, device: torch.device) -> dict[str, StrategyInfo]:
    """The strategies to time. Kernels interpreted on a CPU are left out: their times say nothing about a kernel."""
    everything = nsa.strategies(device)
    for name in names or ():
        if name not in everything:
            raise ValueError(f"strategy {name!r} is not known; choose from {', '.join(everything)}")
        if reason := not_timed(everything[name], device):
            raise ValueError(f"strategy {name!r} cannot be timed on {device}: {reason}")
    return {
        name: info
        for name, info in everything.items()
        if name in (names or everything) and not not_timed(info, device)
    }


def not_timed(info: StrategyInfo, device: torch.device) -> str | None:
    """Why a strategy is not timed here; None when it is."""
    if not info.available:
        return info.reason
    if device.type == "cpu" and info.needs_triton:
        return "Triton interprets its kernels on a CPU; such times say nothing about them"
    return None


def _unmirrored(inputs: CaseInputs) -> CaseInputs:
    """For a strategy that reads nothing on the host: mirrors would only be checked."""
    return replace(inputs, batch=replace(inputs.batch, seq_lens_cpu=None, accept_length_cpu=None))


def _replay(case: BenchCase, inputs: CaseInputs, gate: Gate, label: Row, *, recorded: bool = True) -> Candidate:
    """A strategy's whole replay of one batch object, on sets of its own. recorded: where a strategy can record the
    tensors it reads, it records these; else it has to copy them in first."""
    backend = _captured(case, inputs, label, recorded=recorded)
    return _checked(backend, gate, label, partial(backend.replay, inputs.batch, case.mode))


def _replay_anew(case: BenchCase, inputs: CaseInputs, gate: Gate, label: Row) -> Candidate:
    """The same for an engine that wraps its tensors in a new batch object every time: validated every time."""
    backend = _captured(case, inputs, label, recorded=True)
    batches = cycle([inputs.batch, replace(inputs.batch)])
    return _checked(backend, gate, label, lambda: backend.replay(next(batches), case.mode))


def _refresh_in_graph(case: BenchCase, inputs: CaseInputs, gate: Gate, label: Row) -> Candidate:
    """A caller's graph of one node of its own and the refresh; the one-node floor is what it would cost without."""
    backend, own = _captured(case, inputs, label, recorded=False), torch.zeros_like(inputs.batch.seq_lens)
    backend.replay(inputs.batch, case.mode)  # compiled before the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        backend.refresh(inputs.batch, case.mode)
        own.add_(1)
    graph.writes = own  # of itself it keeps an address only, and would add 1 to whatever is allocated there next
    return _checked(backend, gate, label, graph.replay)


def _refresh_beside(
    case: BenchCase, inputs: CaseInputs, gate: Gate, label: Row, step: exposure.DecodeStep
) -> Candidate:
    """A decode step with its refresh: right when the sets are, and when the step read them after the refresh."""
    backend = _captured(case, inputs, label, recorded=False)
    call = step.with_refresh(label["place"], backend, inputs.batch, case.mode)
    refreshed, sums = _checked(backend, gate, label, call), exposure.last_sums(backend, inputs.batch, case.mode)

    def check() -> list[str]:
        wrong = refreshed.check()
        read_early = not wrong and not torch.equal(step.sums_read, sums)
        return ["the decode step read cu_seqlens_k before its refresh"] if read_early else wrong

    return Candidate(label["name"], call, check)


def _captured(case: BenchCase, inputs: CaseInputs, label: Row, *, recorded: bool) -> nsa.MultiStepBackend:
    records = recorded and REGISTRY[label["strategy"]].records_inputs
    backend = nsa.MultiStepBackend(case.config, inputs.req_to_token, case.steps, strategy=label["strategy"])
    backend.capture(inputs.batch.bs, case.mode, inputs=inputs.batch if records else None)
    label["captured_bytes"] = backend.memory(inputs.batch.bs, case.mode).held
    return backend


def _checked(backend: nsa.MultiStepBackend, gate: Gate, label: Row, call: Callable[[], object]) -> Candidate:
    def check() -> list[str]:
        wrong = gate.replayed(backend, call, label["contract"])
        label.update(_reported(backend.last_replay), checked_cells=gate.cells(label["contract"]))
        return wrong

    return Candidate(label["name"], call, check)


def _reported(done: ReplayReport | None) -> Row:
    if done is None:
        return {}
    return {"host_reads": done.host_reads, "paths": dict(done.paths), "inputs_copied": done.inputs_copied}


def _part(name: str, strategy: str | None = None) -> Row:
    return {"kind": "part", "name": name, "strategy": strategy}


def _ready(label: Row, candidate: Candidate) -> Labelled:
    return label, lambda: candidate
