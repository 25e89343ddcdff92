"""What the notebooks' sentences may ask: figures of the committed set, by name."""

import functools
import json

from ..bench.evidence import CHECKOUT_RESULTS, PLANS, STEPS_CASES, Evidence, committed
from ..bench.recording import read
from ..decision import BreakEven, measured_break_even, note
from .observe import CellState, Observation
from .setup import Setup
from .trace_batches import full_size


@functools.cache
def evidence() -> Evidence:
    """The runs that the notebooks quote."""
    return committed()


def us(steps: int, strategy: str) -> float:
    """Loop time of one replay of 32 requests of 4,096 tokens, microseconds."""
    return evidence().loop(STEPS_CASES[steps], strategy).median


def times(steps: int, slow: str, fast: str) -> float:
    """How many times as long one strategy takes as another."""
    return evidence().faster(STEPS_CASES[steps], fast, slow).median


def share(steps: int) -> float:
    """The part of a replay by copies that is spent copying; 0..1."""
    return evidence().copy_share(STEPS_CASES[steps]).median


def launches(steps: int, strategy: str) -> int:
    """Operations on the GPU in one replay, as the profiler counted them."""
    return int(_replay(steps, strategy)["device_ops"])


def device_us(steps: int, strategy: str) -> float:
    """How long the GPU works in one replay; microseconds."""
    return _replay(steps, strategy)["device_us"]


def _replay(steps: int, strategy: str) -> dict:
    return evidence().row(STEPS_CASES[steps], strategy, kind="strategy")


def alone(name: str, column: str = "loop_us", strategy: str | None = None, case: str = "record-4") -> float:
    """A part of a replay, or a floor, timed alone."""
    return evidence().row(case, name, strategy=strategy)[column]


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
    """Of the cells of `page_table_1` that a replay of sixteen recorded requests writes, those nobody reads; 0..1."""
    setup = Setup(bs=16, width=4096, page_size=64, topk=2048)
    observation = Observation(setup)
    observation.replay(full_size(setup, 2000))
    states = observation.states(0)["page_table_1"]
    return int((states == CellState.UNREAD).sum()) / int((states <= CellState.UNREAD).sum())


@functools.cache
def _exposed_rows() -> list[dict]:
    return read(CHECKOUT_RESULTS / "exposed" / "h100.jsonl")


def _exposed(case: str, name: str) -> dict:
    return next(row for row in _exposed_rows() if row["case"] == f"exposed-{case}" and row["name"] == name)


def exposed(case: str, strategy: str, place: str = "inside") -> float:
    """What a stand-in decode step takes longer with a refresh before, inside or "forked" beside it; microseconds."""
    return _exposed(case, f"{strategy}, {place}")["exposed_us"]


def decode_step(case: str) -> float:
    """The stand-in decode step alone; microseconds."""
    return _exposed(case, "noise floor")["decode_step_us"]


@functools.cache
def _delta() -> dict:
    return json.loads((CHECKOUT_RESULTS / "delta-h100.json").read_text(encoding="utf-8"))


def delta(way: str, tokens: int = 65536, steps: int = 8, grows_by: int = 1, everything_new: bool = False) -> float:
    """What a way to refresh adds to a graph that only counts lengths up; microseconds."""
    asked = {"tokens": tokens, "steps": steps, "grows_by": grows_by, "everything_new": everything_new}
    times = {row["way"]: row["us"] for row in _delta()["rows"] if asked.items() <= row.items()}
    return times[way] - times["nothing"]


FACTS = {
    "alone": alone,
    "copied": copied,
    "device_us": device_us,
    "equal_cells": equal_cells,
    "evidence": evidence,
    "fitted": fitted,
    "forms": forms,
    "gain": gain,
    "launches": launches,
    "note": note,
    "exposed": exposed,
    "decode_step": decode_step,
    "delta": delta,
    "us": us,
    "times": times,
    "share": share,
    "unread_share": unread_share,
}
