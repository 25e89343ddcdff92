"""What the notebooks' sentences may ask: figures of the committed set, by name."""

import functools
import json
from datetime import date

import torch

from ... import ForwardMode, NSAConfig
from ...metadata import allocate
from ..bench.evidence import CHECKOUT_RESULTS, PLANS, STEPS_CASES, Evidence, committed
from ..bench.exposure import INSIDE
from ..bench.recording import read
from ..decision import BreakEven, claims, costs, criteria, measured_break_even, note
from ..decision import times as times_model
from ..releases import recorded
from . import decisions, faults
from .pictures import cheapest_way
from .session import Session
from .setup import Setup
from .trace_batches import full_size
from .words import tally


@functools.cache
def evidence() -> Evidence:
    """The runs that the notebooks quote."""
    return committed()


def gpu() -> str:
    """The machine of those runs."""
    return evidence().machine


def day() -> str:
    """The day of the newest of those runs, `3 May 2026`."""
    return _day(max(row["date"] for row in evidence().rows))


def _day(moment: str) -> str:
    of = date.fromisoformat(moment[:10])
    return f"{of.day} {of:%B %Y}"


def runs() -> str:
    """How many runs those are, `one run, provisional`."""
    many = len(evidence().runs)
    return f"{'one run' if many == 1 else f'{many} runs'}{', provisional' * bool(evidence().lacks)}"


def us(steps: int, strategy: str) -> float:
    """Loop time of one replay of 32 requests of 4,096 tokens, microseconds."""
    return evidence().loop(STEPS_CASES[steps], strategy).median


def span(steps: int, strategy: str) -> str:
    """How far that time spreads, `1,061 to 1,081`."""
    loop = evidence().loop(STEPS_CASES[steps], strategy)
    return f"{loop.low:,.0f} to {loop.high:,.0f}"


def times(steps: int, slow: str, fast: str) -> float:
    """How many times as long one strategy takes as another."""
    return evidence().faster(STEPS_CASES[steps], fast, slow).median


def share(steps: int) -> float:
    """The part of a replay by copies that is spent copying; 0..1."""
    return evidence().copy_share(STEPS_CASES[steps]).median


def host(steps: int, strategy: str) -> float:
    """Time of the CPU for one replay timed alone, until the call returns; microseconds."""
    return _replay(steps, strategy)["host_us"]


def busy(steps: int, strategy: str) -> float:
    """The part of that time in which the GPU works; 0..1."""
    row = _replay(steps, strategy)
    return row["device_us"] / row["host_us"]


def to_do(steps: int, round_ms: float) -> str:
    """What the rule says for so many draft steps and such a round, and which part of it a refresh takes."""
    return decisions.to_do(evidence(), steps, round_ms)


def pays_up_to(steps: int) -> float:
    """The longest round, milliseconds, of which a refresh by copies is enough to matter."""
    return us(steps, "copy") / criteria.BOTTLENECK_SHARE / 1e3


def measured_costs() -> costs.Costs:
    """What computing, copying and batching a step cost in a refresh of 4 steps: the calculator's first preset."""
    return costs.measured(evidence(), "fused")


def launches(steps: int, strategy: str) -> int:
    """Operations on the GPU in one replay, as the profiler counted them."""
    return int(_replay(steps, strategy)["device_ops"])


def device_us(steps: int, strategy: str) -> float:
    """How long the GPU works in one replay; microseconds."""
    return _replay(steps, strategy)["device_us"]


def _replay(steps: int, strategy: str) -> dict:
    return evidence().row(STEPS_CASES[steps], strategy, kind="strategy")


def set_gb(bs: int, width: int) -> float:
    """One captured set of decode, counted without allocating it; 10^9 bytes."""
    table = torch.empty((1, width), dtype=torch.int32, device="meta")
    tensors = allocate(NSAConfig(), table, bs, ForwardMode.DECODE).tensors().values()
    return sum({id(tensor): tensor.nbytes for tensor in tensors}.values()) / 1e9


@functools.cache
def best_batched() -> list[decisions.Alternative]:
    """The best batched form of every recorded plan."""
    return decisions.best_batched(evidence())


def best(steps: int, contract: str) -> decisions.Alternative:
    """The strategy that the rule names in a contract; the fastest where none is significant."""
    return decisions.best(evidence(), steps, contract)


def faster(plan: str, strategy: str) -> float:
    """How many times as fast as the copies a strategy is in a recorded plan."""
    return evidence().faster(PLANS[plan], strategy).median


def loop_us(case: str, strategy: str) -> float:
    """One refresh of a recorded case, repeated back to back; microseconds."""
    return evidence().loop(case, strategy).median


def map_error(steps: int) -> float:
    """How far the calculator's sum of costs is from the measured refresh by copies; 0..1."""
    return abs(measured_costs().totals(steps)["copy"] / us(steps, "copy") - 1)


def claims_that(verdict: str) -> int:
    """How many of the note's claims have a verdict."""
    return sum(ruling.verdict == verdict for ruling in claims.ledger(evidence()))


def map_border(steps: int) -> int:
    """The fewest tokens in the batch for which the map names `shared+graph`."""
    return cheapest_way.border(evidence(), steps)


@functools.cache
def model_errors() -> list[float]:
    """How far the map's model is off, without sign, smallest first; 0..1."""
    return sorted(map(abs, times_model.errors(evidence())))


def alone(name: str, column: str = "loop_us", strategy: str | None = None, case: str = "record-4") -> float:
    """A part of a replay, or a floor, timed alone."""
    return evidence().row(case, name, strategy=strategy)[column]


def per_operation(column: str) -> list[float]:
    """A column of every kind of operation that computes a set of decode, per operation on the GPU; microseconds."""
    rows = [evidence().row("precompute-parts", name, kind="part") for name in note.OPERATIONS if name != "cat/arange"]
    return [row[column] / row["device_ops"] for row in rows]


def computed_alone() -> float:
    """The operations that compute a set of decode, each timed alone, and both of its running sums; microseconds."""
    each = {name: alone(name, case="precompute-parts") for name in note.OPERATIONS if name != "cat/arange"}
    return sum(each.values()) + each["cumsum"]


def copies_of_a_set(steps: int) -> float:
    """What the copies into one set take in a refresh of so many; microseconds."""
    return share(steps) * us(steps, "copy") / steps


def gain(steps: int) -> float:
    """How many times as fast computing once is."""
    return evidence().speed_up(STEPS_CASES[steps]).median


@functools.cache
def fitted() -> BreakEven:
    """What computing and copying a step of decode cost, by the totals of all numbers of steps."""
    return measured_break_even(evidence())


def forms(name: str) -> list[float]:
    """How many times as fast as `copy` a form of the copies is, for every recorded plan; slowest first."""
    return sorted(evidence().faster(case, name).median for case in PLANS.values())


def copied(operation: str, contiguous: bool) -> list[dict]:
    """The copies of a step that were a "memcpy" or a "kernel" on the GPU, by whether they lie in one piece."""
    copies = evidence().all(kind="copy")
    return [row for row in copies if (row["operation"], row["contiguous"]) == (operation, contiguous)]


def equal_cells(mode: str) -> int:
    """Cells compared on the GPU, every step computed against computed once."""
    (fact,) = evidence().all(kind="fact", name="steps are equal", mode=mode)
    return fact["cells"] if fact["value"] else 0


@functools.cache
def unread_share() -> float:
    """Of the cells that a replay of sixteen recorded requests writes in a step's set, those nobody reads; 0..1."""
    setup = Setup(bs=16, width=4096, page_size=64, topk=2048)
    cells = tally(Session(setup, recorded=[full_size(setup, 2000)]).frames[0])
    return cells["unread"] / (cells["unread"] + cells["read"])


@functools.cache
def third_replay(mode: str = "decode", strategy: str = "copy") -> dict:
    """What the explorer of a mode's page shows in its third replay. cells: written in one set; needed: bytes read."""
    steps = 3 if mode == "decode" else 1  # a round has N draft steps, one verify and one extend
    setup = Setup(ForwardMode(mode), bs=4, draft_tokens=3, steps=steps, strategy=strategy)
    shown = Session(setup).frames[2]
    cells = tally(shown)
    of_set = {"cells": cells["read"] + cells["unread"], "rows": len(shown["rows"]), "captured_rows": setup.rows}
    return shown["cost"] | of_set | {"steps": steps, "needed": 4 * steps * cells["read"]}


@functools.cache
def exposed_rows(gpu: str = "h200") -> list[dict]:
    """Refreshes before, inside and beside a stand-in decode step."""
    return read(CHECKOUT_RESULTS / "exposed" / f"{gpu}.jsonl")


def _exposed(case: str, name: str, gpu: str) -> dict:
    return next(row for row in exposed_rows(gpu) if row["case"] == f"exposed-{case}" and row["name"] == name)


def exposed(case: str, strategy: str, place: str = "inside", gpu: str = "h200") -> float:
    """What a stand-in decode step takes longer with a refresh before, inside or "forked" beside it; microseconds."""
    return _exposed(case, f"{strategy}, {place}", gpu)["exposed_us"]


def decode_step(case: str, gpu: str = "h200") -> float:
    """The stand-in decode step alone; microseconds."""
    return _exposed(case, "noise floor", gpu)["decode_step_us"]


@functools.cache
def delta_facts() -> dict:
    """The recording of writing only what changed: cells compared, wrong ones, promises broken."""
    return json.loads((CHECKOUT_RESULTS / "delta-h100.json").read_text(encoding="utf-8"))


def exposed_writing(least: float, below: float) -> list[float]:
    """What the recorded refreshes inside a graph add that write so many MB, on both GPUs; microseconds, sorted."""
    rows = [row for gpu in ("h200", "h100") for row in exposed_rows(gpu) if row.get("place") == INSIDE]
    return sorted(row["exposed_us"] for row in rows if least * 1e6 <= row["bytes_written"] < below * 1e6)


def exposed_noise() -> float:
    """How far two recordings of the same step differ at most, on both GPUs; microseconds."""
    rows = [row for gpu in ("h200", "h100") for row in exposed_rows(gpu) if row["name"] == "noise floor"]
    return max(abs(row["exposed_us"]) for row in rows)


def delta(way: str, tokens: int = 65536, steps: int = 8, grows_by: int = 1, everything_new: bool = False) -> float:
    """What a way to refresh adds to a graph that only counts lengths up; microseconds."""
    asked = {"tokens": tokens, "steps": steps, "grows_by": grows_by, "everything_new": everything_new}
    times = {row["way"]: row["us"] for row in delta_facts()["rows"] if asked.items() <= row.items()}
    return times[way] - times["nothing"]


@functools.cache
def _calls() -> dict:
    return json.loads((CHECKOUT_RESULTS / "replay-path.json").read_text(encoding="utf-8"))["replay_path"]


def call(strategy: str, way: str) -> float:
    """One replay in decode by what is known of its tensors ("bind", "new", "fresh", ..); microseconds."""
    asked = {"mode": "decode", "strategy": strategy, "call": way}
    return next(row["after_us"] for row in _calls()["rows"] if asked.items() <= row.items())


def calls_on() -> str:
    """GPU and day of those calls."""
    return f"{_calls()['gpu']}, {_day(_calls()['date'])}"


@functools.cache
def _schedule() -> dict:
    return json.loads((CHECKOUT_RESULTS / "schedule-h100.json").read_text(encoding="utf-8"))


def plan(rows: int, way: str, of: str = "loop") -> float:
    """Planning the indexer's kernel by tensor "operations", one "launch" or "deep_gemm", or that on the "gpu"; us."""
    found = next(row[of][way] for row in _schedule()["plan"] if row["rows"] == rows)
    return found[0] if of == "loop" else found  # of a loop: median, 10th and 90th percentile


def plan_adds(when: str = "after", strategy: str = "copy") -> float:
    """What the plan adds to a refresh of 4 draft steps of decode, "before" it was one kernel or "after"; us."""
    asked = {"mode": "decode", "strategy": strategy}
    row = next(row for row in _schedule()["copy"] if asked.items() <= row.items())
    return row[when][0] - row["without"][0]


def plan_on() -> str:
    """GPU of that recording."""
    return _schedule()["gpu"]


def released(version: str, sets: int, strategy: str | None = None, column: str = "loop_us") -> float:
    """Of a release's own refresh, or of a strategy on the release's sets, on an H200; microseconds, or device_ops."""
    return recorded.timed(version, sets, strategy)[column]


def stale(requests: int, tokens: int, column: str, gpu: str = "h200") -> float:
    """Of DeepGEMM's kernel on a stale schedule: fresh_us, stale_us, times, busiest_fresh or busiest_stale."""
    return recorded.stale(requests, tokens, gpu)[column]


FACTS = {
    "call": call,
    "plan": plan,
    "plan_adds": plan_adds,
    "plan_on": plan_on,
    "calls_on": calls_on,
    "gpu": gpu,
    "day": day,
    "runs": runs,
    "to_do": to_do,
    "host": host,
    "busy": busy,
    "released": released,
    "stale": stale,
    "pays_up_to": pays_up_to,
    "per_operation": per_operation,
    "measured_costs": measured_costs,
    "launches": launches,
    "set_gb": set_gb,
    "best": best,
    "best_batched": best_batched,
    "faster": faster,
    "faulty": faults.code,
    "loop_us": loop_us,
    "map_error": map_error,
    "claims_that": claims_that,
    "criteria": criteria,
    "model_errors": model_errors,
    "implied": costs.table(),
    "alone": alone,
    "copied": copied,
    "computed_alone": computed_alone,
    "copies_of_a_set": copies_of_a_set,
    "device_us": device_us,
    "equal_cells": equal_cells,
    "evidence": evidence,
    "fitted": fitted,
    "forms": forms,
    "gain": gain,
    "note": note,
    "exposed": exposed,
    "decode_step": decode_step,
    "exposed_writing": exposed_writing,
    "map_border": map_border,
    "exposed_noise": exposed_noise,
    "delta": delta,
    "delta_facts": delta_facts,
    "us": us,
    "span": span,
    "times": times,
    "share": share,
    "third_replay": third_replay,
    "unread_share": unread_share,
}
