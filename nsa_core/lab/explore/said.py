"""What the notebooks' sentences may ask: figures of the committed set, by name."""

import functools

from ..bench.evidence import STEPS_CASES, Evidence, committed


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


FACTS = {"us": us, "times": times, "share": share}
