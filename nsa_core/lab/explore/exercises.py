"""Graders of the notebooks' exercises: right answers are computed by a replay, wrong ones raise AssertionError."""

from collections.abc import Callable
from functools import partial

import torch

from ... import ForwardMode
from .observe import CellState, Observation
from .setup import Batch, Setup

DECODE = Setup()
VERIFY = Setup(mode=ForwardMode.TARGET_VERIFY, bs=4, draft_tokens=2)
EXTEND = Setup(mode=ForwardMode.DRAFT_EXTEND, bs=4)


def grade(exercise: str, answer: object) -> None:
    """Print that `answer` is right, or raise AssertionError with a hint."""
    if exercise not in CHECKS:
        raise ValueError(f"exercise {exercise!r} is not known; choose one of {', '.join(CHECKS)}")
    if answer is ...:
        raise AssertionError(f"{exercise}: no answer yet; put yours in place of the three dots")
    hint = CHECKS[exercise](answer)
    if hint is not None:
        raise AssertionError(f"{exercise}: {hint}")
    print(f"{exercise}: right")


def _replayed(setup: Setup, *batches: Batch) -> Observation:
    observation = Observation(setup)
    for batch in batches:
        observation.replay(batch)
    return observation


def _count(observation: Observation, state: CellState, field: str = "page_table_1") -> int:
    return int((observation.states(0)[field] == state).sum())


def _decode_unread(answer: int) -> str | None:
    observation = _replayed(DECODE, Batch((7, 12, 3, 9, 17, 5, 14, 10)))
    if answer != _count(observation, CellState.UNREAD):
        return f"{answer} is not what a replay shows; all 8 rows are written up to the longest, read up to their own"


def _decode_tight(answer: list[int]) -> str | None:
    if len(answer) != DECODE.bs:
        return f"{len(answer)} lengths; the captured size is {DECODE.bs}"
    unread = _count(_replayed(DECODE, Batch(tuple(answer))), CellState.UNREAD)
    if unread:
        return f"{unread} cells of page_table_1 are written and not read; what would have to be true of the longest?"


def _decode_stale(answer: tuple[list[int], list[int]]) -> str | None:
    stale = _count(_replayed(DECODE, *(Batch(tuple(lengths)) for lengths in answer)), CellState.STALE)
    if stale != 40:
        return f"{stale} cells of page_table_1 are kept from the first replay; the exercise asks for 40"


def _verify_longest(answer: int) -> str | None:
    for length, fits in ((answer, True), (answer + 1, False)):
        if _accepted(VERIFY, Batch((length,))) is not fits:
            verdict = "does not fit" if fits else "fits as well"
            return f"a request of {length} tokens {verdict}; how many columns has a row?"


def _accepted(setup: Setup, batch: Batch) -> bool:
    try:
        _replayed(setup, batch)
    except ValueError:
        return False
    return True


def _verify_uncut(answer: list[int]) -> str | None:
    if len(set(answer)) != VERIFY.bs:
        return f"{answer} are not {VERIFY.bs} different lengths"
    values = _replayed(VERIFY, Batch(tuple(answer))).values(0)
    cut = int((values["nsa_cache_seqlens_int32"] < values["nsa_seqlens_expanded"]).sum())
    if cut:
        return f"topk {VERIFY.topk} cuts {cut} of {VERIFY.rows} rows; a request's last row is the longest"


def _extend_requests(answer: list[int]) -> str | None:
    observation = _replayed(EXTEND, Batch((8, 6, 9, 4), (2, 0, 4, 1)))
    right = [row.request for row in observation.rows[-1][0]]
    if list(answer) != right:
        return (
            f"{list(answer)} is not the order of the {len(right)} rows in use; a request has as many as it accepted"
        )


def _extend_full(answer: list[int]) -> str | None:
    first, second = (Batch((20,) * EXTEND.bs, accepts) for accepts in ((4,) * EXTEND.bs, tuple(answer)))
    stale = _count(_replayed(EXTEND, first, second), CellState.STALE, "nsa_seqlens_expanded")
    if stale:
        return f"{stale} rows still hold the first replay; which accept lengths put all {EXTEND.rows} rows in use?"


def _expanded(setup: Setup, batch: Batch, answer: list[int]) -> str | None:
    observation = _replayed(setup, batch)
    rows = sum(row.request < len(batch.lengths) for row in observation.rows[-1][0])  # those after are padding
    right = observation.values(0)["nsa_seqlens_expanded"][:rows]
    if not torch.equal(torch.tensor(answer, dtype=right.dtype), right):
        return (
            f"{answer} is not nsa_seqlens_expanded; it has {len(right)} entries, and a request's last is its longest"
        )


CHECKS: dict[str, Callable[..., str | None]] = {
    "decode unread": _decode_unread,
    "decode tight": _decode_tight,
    "decode stale": _decode_stale,
    "verify longest": _verify_longest,
    "verify rows": partial(_expanded, VERIFY, Batch((5, 9, 3, 12))),
    "verify uncut": _verify_uncut,
    "extend requests": _extend_requests,
    "extend rows": partial(_expanded, EXTEND, Batch((7, 12), (3, 2))),
    "extend full": _extend_full,
}
