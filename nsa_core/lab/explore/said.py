"""What the notebooks' sentences may ask: figures of the committed recording, by name."""

import functools

from ..bench.evidence import STEPS_CASES, Evidence, committed, load
from .observe import CellState, Observation
from .setup import Setup
from .trace_batches import full_size


@functools.cache
def evidence() -> Evidence:
    """The run that the notebooks quote."""
    return next(run for run in load([committed()]) if run.on_gpu)


def us(steps: int, strategy: str) -> float:
    """Loop time of one replay of 32 requests of 4,096 tokens, microseconds."""
    return evidence().loop(STEPS_CASES[steps], strategy).median


def times(steps: int, slow: str, fast: str) -> float:
    """How many times as long one strategy takes as another."""
    return us(steps, slow) / us(steps, fast)


def share(steps: int) -> float:
    """The part of a replay by copies that is spent copying; 0..1."""
    return evidence().copy_share(STEPS_CASES[steps]).median


@functools.cache
def unread_share() -> float:
    """Of the cells of `page_table_1` that a replay of sixteen recorded requests writes, those nobody reads; 0..1."""
    setup = Setup(bs=16, width=4096, page_size=64, topk=2048)
    observation = Observation(setup)
    observation.replay(full_size(setup, 2000))
    states = observation.states(0)["page_table_1"]
    return int((states == CellState.UNREAD).sum()) / int((states <= CellState.UNREAD).sum())


FACTS = {"us": us, "times": times, "share": share, "unread_share": unread_share}
