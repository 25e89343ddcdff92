"""Graders of the notebooks' exercises: right answers are computed by a replay, wrong ones raise AssertionError."""

from collections.abc import Callable

import torch

from ... import ForwardMode
from .observe import CellState, Observation
from .setup import Inputs, Setup

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


def _replayed(setup: Setup, *batches: Inputs) -> Observation:
    seen = Observation(setup)
    for inputs in batches:
        seen.replay(inputs)
    return seen


def _count(seen: Observation, state: CellState, field: str = "page_table_1") -> int:
    return int((seen.states(0)[field] == state).sum())


def _decode_unread(answer: int) -> str | None:
    seen = _replayed(DECODE, Inputs((7, 12, 3, 9, 17, 5, 14, 10)))
    if answer != _count(seen, CellState.UNREAD):
        return f"{answer} is not what a replay shows; all 8 rows are written up to the longest, read up to their own"


def _decode_tight(answer: list[int]) -> str | None:
    if len(answer) != DECODE.bs:
        return f"{len(answer)} lengths; the captured size is {DECODE.bs}"
    unread = _count(_replayed(DECODE, Inputs(tuple(answer))), CellState.UNREAD)
    if unread:
        return f"{unread} cells of page_table_1 are written and not read; what would have to be true of the longest?"


def _decode_stale(answer: tuple[list[int], list[int]]) -> str | None:
    stale = _count(_replayed(DECODE, *(Inputs(tuple(lengths)) for lengths in answer)), CellState.STALE)
    if stale != 40:
        return f"{stale} cells of page_table_1 are kept from the first replay; the exercise asks for 40"


def _verify_longest(answer: int) -> str | None:
    for length, fits in ((answer, True), (answer + 1, False)):
        if _accepted(VERIFY, Inputs((length,))) is not fits:
            verdict = "does not fit" if fits else "fits as well"
            return f"a request of {length} tokens {verdict}; how many columns has a row?"


def _accepted(setup: Setup, inputs: Inputs) -> bool:
    try:
        _replayed(setup, inputs)
    except ValueError:
        return False
    return True


def _verify_rows(answer: list[int]) -> str | None:
    return _expanded(answer, VERIFY, Inputs((5, 9, 3, 12)))


def _verify_uncut(answer: list[int]) -> str | None:
    if len(set(answer)) != VERIFY.bs:
        return f"{answer} are not {VERIFY.bs} different lengths"
    held = _replayed(VERIFY, Inputs(tuple(answer))).values(0)
    cut = int((held["nsa_cache_seqlens_int32"] < held["nsa_seqlens_expanded"]).sum())
    if cut:
        return f"topk {VERIFY.topk} cuts {cut} of {VERIFY.rows} rows; a request's last row is the longest"


def _extend_requests(answer: list[int]) -> str | None:
    seen = _replayed(EXTEND, Inputs((8, 6, 9, 4), (2, 0, 4, 1)))
    right = [row.request for row in seen.rows[-1][0]]
    if list(answer) != right:
        return (
            f"{list(answer)} is not the order of the {len(right)} rows in use; a request has as many as it accepted"
        )


def _extend_rows(answer: list[int]) -> str | None:
    return _expanded(answer, EXTEND, Inputs((7, 12), (3, 2)), rows=5)


def _extend_full(answer: list[int]) -> str | None:
    first, second = (Inputs((20,) * EXTEND.bs, accepts) for accepts in ((4,) * EXTEND.bs, tuple(answer)))
    stale = _count(_replayed(EXTEND, first, second), CellState.STALE, "nsa_seqlens_expanded")
    if stale:
        return f"{stale} rows still hold the first replay; which accept lengths put all {EXTEND.rows} rows in use?"


def _expanded(answer: list[int], setup: Setup, inputs: Inputs, rows: int | None = None) -> str | None:
    right = _replayed(setup, inputs).values(0)["nsa_seqlens_expanded"][:rows]
    if not torch.equal(torch.tensor(answer, dtype=right.dtype), right):
        return (
            f"{answer} is not nsa_seqlens_expanded; it has {len(right)} entries, and a request's last is its longest"
        )


CHECKS: dict[str, Callable[..., str | None]] = {
    "decode unread": _decode_unread,
    "decode tight": _decode_tight,
    "decode stale": _decode_stale,
    "verify longest": _verify_longest,
    "verify rows": _verify_rows,
    "verify uncut": _verify_uncut,
    "extend requests": _extend_requests,
    "extend rows": _extend_rows,
    "extend full": _extend_full,
}
