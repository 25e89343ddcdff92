"""DeepGEMM's paged-MQA schedule: the plan that does depend on lengths, and a walk that tells what a stale one does."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import torch

SPLIT_KV = 256  # tokens in a split, the unit of work an SM takes

_REMAINDER_GOES_TO = {"54e2261": "last", "0f5f266": "first"}  # DeepGEMM release -> the SMs that take one split more
RELEASES = tuple(_REMAINDER_GOES_TO)


def schedule_paged_mqa(
    context_lens: torch.Tensor, num_sms: int, *, rows: torch.Tensor | None = None, release: str = RELEASES[0]
) -> torch.Tensor:
    """Share the KV splits of every row out among `num_sms` SMs, as DeepGEMM does for one query token per row.

    context_lens: int32/int64 [rows], tokens each row's indexer scores: `nsa_seqlens_expanded` in every forward mode
        (in decode that is `cache_seqlens_int32`), not cut at top-k. SGLang's indexer passes the same, with next_n 1.
    rows: optional int tensor of one element on the same device, the rows in use; lengths past them are not read. For
        draft extend inside a graph, where the host does not know E. Without it every row is in use.
    release: the DeepGEMM commit to agree with. "54e2261" is its Hopper schedule since June 2026; "0f5f266" that of
        2025, and with one query token per row also that of April 2026 and of 54e2261 on Blackwell.
    Returns int32 [num_sms + 1, 2] of (row, split): SM k works from entry k up to, and without, entry k + 1.

    No host loop, no host read, one shape per (rows, num_sms): it may be recorded in a CUDA graph.
    """
    _require(context_lens, num_sms, release)
    used = context_lens if rows is None else context_lens * (_count(context_lens, context_lens.shape[0]) < rows)
    before = torch.cat([used.new_zeros(1, dtype=torch.int64), torch.cumsum((used + (SPLIT_KV - 1)) // SPLIT_KV, 0)])
    first = _first_split(before[-1], _count(context_lens, num_sms + 1), num_sms, release)
    row = torch.searchsorted(before[1:], first, right=True)
    split = first - before.index_select(0, row)
    if rows is not None:
        row = torch.minimum(row, rows)  # the end of the work is the row after the last one in use
    return torch.stack([row, split], 1).to(torch.int32)


def _count(like: torch.Tensor, to: int) -> torch.Tensor:
    return torch.arange(to, device=like.device)


def _first_split(total: torch.Tensor, sm: torch.Tensor, num_sms: int, release: str) -> torch.Tensor:
    """int64 [num_sms + 1]: the splits that lie before each SM's first."""
    each, more = total // num_sms, total % num_sms
    if _REMAINDER_GOES_TO[release] == "first":
        return sm * each + torch.minimum(sm, more)
    return sm * each + (sm - num_sms + more).clamp(min=0)


def _require(context_lens: torch.Tensor, num_sms: int, release: str) -> None:
    if not isinstance(context_lens, torch.Tensor) or context_lens.dtype not in (torch.int32, torch.int64):
        got = getattr(context_lens, "dtype", context_lens)
        raise TypeError(f"context_lens must be an int32 or int64 tensor, got {got!r}")
    if context_lens.dim() != 1:
        raise ValueError(
            f"context_lens must have shape [rows], got {list(context_lens.shape)}; "
            "of [rows, next_n] give the last column"
        )
    if num_sms < 1:
        raise ValueError(f"num_sms must be at least 1, got {num_sms}; pass the device's multi_processor_count")
    if release not in RELEASES:
        raise ValueError(f"release must be one of {', '.join(RELEASES)}, got {release!r}")


@dataclass(frozen=True)
class ScheduleWalk:
    """What the SMs would do with a schedule and the lengths of now.

    terminates: every SM meets its end; DeepGEMM tests for equality, so an SM that steps over its end never stops.
    covers_once: every split of every row is worked on exactly once, and nothing else is.
    busiest, ideal: splits on the busiest SM, and on each if they were shared out evenly.
    stuck_sm: the first SM that never stops.
    """

    terminates: bool
    covers_once: bool
    busiest: int
    ideal: int
    stuck_sm: int | None = None

    @property
    def balanced(self) -> bool:
        return self.busiest <= self.ideal

    @property
    def ok(self) -> bool:
        return self.terminates and self.covers_once and self.balanced

    def __str__(self) -> str:
        if not self.terminates:
            return f"SM {self.stuck_sm} steps over its end and never stops"
        if not self.covers_once:
            return "some splits are worked on never or twice"
        return f"the busiest SM has {self.busiest} splits where {self.ideal} would do"


def walk_schedule(schedule: torch.Tensor, context_lens: torch.Tensor) -> ScheduleWalk:
    """Walk a schedule as DeepGEMM's kernel does, against the lengths a graph would read now.

    schedule: int [num_sms + 1, 2]; context_lens: int [rows in use]. Reads both back; a serial host loop.
    Lengths that grew since the schedule was made leave it exact but uneven. Lengths that shrank below a stored split
    make it endless. A row of length 0 costs one empty task when an SM passes it; that is not counted as a split.
    """
    entries, lengths = [tuple(entry) for entry in schedule.tolist()], context_lens.tolist()
    runs = [_run(begin, end, lengths) for begin, end in pairwise(entries)]
    stuck = next((sm for sm, (_, stops) in enumerate(runs) if not stops), None)
    work = Counter((row, split) for row, length in enumerate(lengths) for split in range(-(-length // SPLIT_KV)))
    done = Counter(task for tasks, _ in runs for task in tasks)
    busiest = max(len(tasks) for tasks, _ in runs)
    return ScheduleWalk(stuck is None, done == work, busiest, -(-work.total() // len(runs)), stuck)


def _run(at: tuple[int, int], end: tuple[int, int], lengths: list[int]) -> tuple[list[tuple[int, int]], bool]:
    """The splits one SM works on before it meets its end, passes it or leaves the rows; and whether it met it."""
    tasks = []
    while at < end and 0 <= at[0] < len(lengths):
        if lengths[at[0]]:
            tasks.append(at)
        at = (at[0], at[1] + 1)
        if at[1] * SPLIT_KV >= lengths[at[0]]:
            at = (at[0] + 1, 0)
    return tasks, at == end
