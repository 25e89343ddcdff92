"""DeepGEMM's paged-MQA schedule of a vector of row lengths, in one launch. `refresh` takes its search from here."""

import torch
import triton
import triton.language as tl

from .. import metadata

SPLIT_KV = tl.constexpr(metadata.SPLIT_KV)
TILE = 1024  # rows a program looks at at a time
ENTRIES = 1  # entries of the schedule a program finds; each adds up all rows for itself, so none waits for another
NUM_WARPS = 4


@triton.jit
def splits_of(length, used):
    """KV splits of the rows in use, 0 of the others. `length + SPLIT_KV - 1` would wrap where lengths are longest."""
    return tl.where(used & (length > 0), (length - 1) // SPLIT_KV + 1, 0)


@triton.jit
def first_split(total, sm, num_sms, FIRST_TAKE_MORE: tl.constexpr):
    """The splits before an SM's first; `sm == num_sms` is the end of the work."""
    if FIRST_TAKE_MORE:
        return sm * (total // num_sms) + tl.minimum(sm, total % num_sms)
    else:
        return sm * (total // num_sms) + tl.maximum(sm - num_sms + total % num_sms, 0)


@triton.jit
def pass_rows(used, splits, begin, row, before, seen):
    """Go on by a tile: an SM's first split lies in the row before which no more splits lie than `begin`.

    row, before: the rows that each SM has passed, and the splits in them. seen: the splits in all tiles so far.
    """
    end = seen + tl.cumsum(splits, 0)
    passed = used[:, None] & (end[:, None] <= begin[None, :])
    row += tl.sum(passed.to(tl.int32), 0)
    before = tl.maximum(before, tl.max(tl.where(passed, end[:, None], 0), 0))
    return row, before, seen + tl.sum(splits)


@triton.jit
def _tile(context_lens, stride, first, rows, TILE: tl.constexpr):
    """Which of the rows first .. first + TILE are in use, and their splits; int64, as sums of them may be."""
    row = first + tl.arange(0, TILE)
    length = tl.load(context_lens + row.to(tl.int64) * stride, mask=row < rows, other=0)
    return row < rows, splits_of(length, row < rows).to(tl.int64)


_FREE = ["rows", "stride", "num_sms"]


@triton.jit(do_not_specialize=_FREE, do_not_specialize_on_alignment=["context_lens", "rows_in_use", "schedule"])
def paged_mqa(
    context_lens,
    rows_in_use,
    schedule,
    rows,
    stride,
    num_sms,
    TILE: tl.constexpr,
    ENTRIES: tl.constexpr,
    FIRST_TAKE_MORE: tl.constexpr,
    COUNTED: tl.constexpr,
):
    """Grid: num_sms + 1 entries, ENTRIES each. Rows in use: `rows`; where COUNTED, what `rows_in_use` then holds."""
    if COUNTED:
        rows = tl.minimum(tl.load(rows_in_use), rows).to(tl.int32)
    splits = tl.zeros([TILE], tl.int64)
    for first in range(0, rows, TILE):
        splits += _tile(context_lens, stride, first, rows, TILE)[1]
    total = tl.sum(splits)
    sm = tl.program_id(0) * ENTRIES + tl.arange(0, ENTRIES)
    begin = first_split(total, sm, num_sms, FIRST_TAKE_MORE)
    row, before, seen = sm * 0, begin * 0, total * 0
    for first in range(0, rows, TILE):
        used, splits = _tile(context_lens, stride, first, rows, TILE)
        row, before, seen = pass_rows(used, splits, begin, row, before, seen)
    tl.store(schedule + 2 * sm, row, mask=sm <= num_sms)
    tl.store(schedule + 2 * sm + 1, (begin - before).to(tl.int32), mask=sm <= num_sms)


def launch(
    context_lens: torch.Tensor,
    num_sms: int,
    rows: torch.Tensor | None,
    first_take_more: bool,
    tile: int = TILE,
    entries: int = ENTRIES,
) -> torch.Tensor:
    """int32 [num_sms + 1, 2], see `nsa_core.schedules.schedule_paged_mqa`."""
    schedule = torch.empty((num_sms + 1, 2), dtype=torch.int32, device=context_lens.device)
    inputs = context_lens, context_lens if rows is None else rows, schedule
    sizes = context_lens.shape[0], context_lens.stride(0), num_sms
    with torch.cuda.device_of(context_lens):  # Triton launches on the current GPU, wherever its tensors are
        paged_mqa[(triton.cdiv(num_sms + 1, entries),)](
            *inputs, *sizes, tile, entries, first_take_more, rows is not None, num_warps=NUM_WARPS
        )
    return schedule
