"""What the notebooks' sentences may ask: figures of the committed set, by name."""

import functools
import json
from datetime import date

from ..bench.evidence import CHECKOUT_RESULTS, STEPS_CASES, Evidence, committed
from ..bench.recording import read
from ..releases import recorded
from .observe import CellState, Observation
from .setup import Setup
from .trace_batches import full_size


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


def us(steps: int, strategy: str) -> float:
    """Loop time of one replay of 32 requests of 4,096 tokens, microseconds."""
    return evidence().loop(STEPS_CASES[steps], strategy).median


def times(steps: int, slow: str, fast: str) -> float:
    """How many times as long one strategy takes as another."""
    return evidence().faster(STEPS_CASES[steps], fast, slow).median


def share(steps: int) -> float:
    """The part of a replay by copies that is spent copying; 0..1."""
    return evidence().copy_share(STEPS_CASES[steps]).median


def host(steps: int, strategy: str) -> float:
    """Time of the CPU for one replay timed alone, until the call returns; microseconds."""
    return evidence().row(STEPS_CASES[steps], strategy, kind="strategy")["host_us"]


def busy(steps: int, strategy: str) -> float:
    """The part of that time in which the GPU works; 0..1."""
    row = evidence().row(STEPS_CASES[steps], strategy, kind="strategy")
    return row["device_us"] / row["host_us"]


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


def released(version: str, steps: int, strategy: str | None = None, gpu: str = "h200") -> float:
    """Loop time of a release's own refresh, or of a strategy on the release's buffers; microseconds."""
    return recorded.timed(version, steps, strategy, gpu)["loop_us"]


def released_operations(version: str, steps: int, gpu: str = "h200") -> float:
    """Operations on the GPU in a release's own refresh."""
    return recorded.timed(version, steps, None, gpu)["device_ops"]


def stale(requests: int, tokens: int, column: str, gpu: str = "h200") -> float:
    """Of DeepGEMM's kernel on a stale schedule: fresh_us, stale_us, times, busiest_fresh or busiest_stale."""
    return recorded.stale(requests, tokens, gpu)[column]


def _stale_pieces() -> list[float]:
    shapes = [(row["bs"], row["longest"]) for row in recorded.stale_rows()]
    found = [recorded.stale(*shape) for shape in dict.fromkeys(shapes)]
    return [row["stale_us"] / row["busiest_stale"] for row in found]


def stale_piece_least() -> float:
    """Microseconds of a stale plan for each piece on its busiest multiprocessor, where it is least."""
    return min(_stale_pieces())


def stale_piece_most() -> float:
    return max(_stale_pieces())


FACTS = {
    "stale_piece_least": stale_piece_least,
    "stale_piece_most": stale_piece_most,
    "call": call,
    "calls_on": calls_on,
    "gpu": gpu,
    "day": day,
    "host": host,
    "busy": busy,
    "released": released,
    "released_operations": released_operations,
    "stale": stale,
    "exposed": exposed,
    "decode_step": decode_step,
    "delta": delta,
    "us": us,
    "times": times,
    "share": share,
    "unread_share": unread_share,
}
