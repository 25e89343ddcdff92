"""One launch that computes every field from the request lengths and writes the captured sets of all steps.

No host value enters but sizes fixed at capture, so a launch can be recorded in a CUDA graph. Offsets are 64-bit.
"""

import triton
import triton.language as tl

from .schedule import first_split, pass_rows, splits_of

# Chosen from 42 readings on an H200, see notebooks/results/h200-tuning.md: within noise of the best on small batches,
# and 18.7 us for 64 k tokens x 8 steps, where the slowest takes 25.3 us.
COLUMNS = 512  # table columns a program moves at a time
PAGES_ALONE = 128  # pages it moves at a time where page_table_1 is left out
LINES = tl.constexpr(4)  # rows of tables it moves them to
NUM_WARPS = 2
TILE = tl.constexpr(256)  # rows the vector program handles at a time
SCHEDULE_TILE = tl.constexpr(32)  # rows the schedule program compares with every SM at a time
ACCEPTS = tl.constexpr(1024)  # accept lengths a program adds up at a time

VECTOR_FIELDS = (
    "cache_seqlens_int32",
    "cu_seqlens_k",
    "nsa_seqlens_expanded",
    "nsa_cache_seqlens_int32",
    "nsa_cu_seqlens_k",
    "paged_mqa_schedule_metadata",
)

# Rows of a request: 1, d, its accept length, d. Only target verify attends to d tokens more than `seq_lens` counts.
MODES = {"decode": 0, "target_verify": 1, "draft_extend": 2, "draft_extend of fixed width": 3}


@triton.jit
def _rows_of(accept_length, request, mask, MODE: tl.constexpr, DRAFTS: tl.constexpr):
    """Captured rows of each request: 1, d, or its accept length held within 0..d."""
    if MODE == 0:
        return tl.where(mask, 1, 0)
    elif MODE == 2:
        accepted = tl.load(accept_length + request, mask=mask, other=0).to(tl.int32)
        return tl.minimum(tl.maximum(accepted, 0), DRAFTS)
    else:
        return tl.where(mask, DRAFTS, 0)


@triton.jit
def _first_row_of(accept_length, request, MODE: tl.constexpr, DRAFTS: tl.constexpr):
    """Rows of all requests before `request`."""
    if MODE == 0:
        return request
    elif MODE == 2:
        before = request * 0
        for first in range(0, request, ACCEPTS):
            at = first + tl.arange(0, ACCEPTS)
            before += tl.sum(_rows_of(accept_length, at, at < request, MODE, DRAFTS))
        return before
    else:
        return request * DRAFTS


@triton.jit
def _tile(
    seq_lens,
    accept_length,
    first,
    bs,
    growth,
    MODE: tl.constexpr,
    DRAFTS: tl.constexpr,
    REQUESTS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Requests first .. first + REQUESTS: lengths, rows, and each row's use and length [REQUESTS, ROWS]."""
    request = first + tl.arange(0, REQUESTS)
    valid = request < bs
    length = tl.load(seq_lens + request, mask=valid, other=0).to(tl.int32)
    length = tl.where(valid, length + growth, 0)
    rows = _rows_of(accept_length, request, valid, MODE, DRAFTS)
    nth = tl.arange(0, ROWS)[None, :]
    # a request's rows end at its own length and count down by one going up
    row_length = (length - rows)[:, None] + nth + 1
    if MODE >= 2:  # a padded request has length 1: rows that would lie before its first token have length 0
        row_length = tl.maximum(row_length, 0)
    return length, rows, nth < rows[:, None], row_length


@triton.jit
def _write_vectors(
    fields,
    growth,
    seq_lens,
    accept_length,
    bs,
    MODE: tl.constexpr,
    DRAFTS: tl.constexpr,
    ROWS: tl.constexpr,
    TOPK: tl.constexpr,
):
    """Every one-dimensional field of one step. Sums carry from tile to tile."""
    REQUESTS: tl.constexpr = TILE // ROWS
    cache_seqlens = tl.load(fields).to(tl.pointer_type(tl.int32))
    cu_seqlens = tl.load(fields + 1).to(tl.pointer_type(tl.int32))
    expanded = tl.load(fields + 2).to(tl.pointer_type(tl.int32))
    attended = tl.load(fields + 3).to(tl.pointer_type(tl.int32))
    cu_attended = tl.load(fields + 4).to(tl.pointer_type(tl.int32))
    tokens_before = growth * 0
    rows_before = growth * 0
    attended_before = growth * 0
    for first in range(0, bs, REQUESTS):
        length, rows, used, row_length = _tile(
            seq_lens, accept_length, first, bs, growth, MODE, DRAFTS, REQUESTS, ROWS
        )
        request = first + tl.arange(0, REQUESTS)
        tl.store(cache_seqlens + request, length, mask=request < bs)
        tl.store(cu_seqlens + 1 + request, tokens_before + tl.cumsum(length, 0), mask=request < bs)
        row = (rows_before + tl.cumsum(rows, 0) - rows)[:, None] + tl.arange(0, ROWS)[None, :]
        row_attended = tl.where(used, tl.minimum(row_length, TOPK), 0)
        of_request = tl.sum(row_attended, 1)
        row_sum = (attended_before + tl.cumsum(of_request, 0) - of_request)[:, None] + tl.cumsum(row_attended, 1)
        tl.store(expanded + row, row_length, mask=used)
        tl.store(attended + row, row_attended, mask=used)
        tl.store(cu_attended + 1 + row, row_sum, mask=used)
        tokens_before += tl.sum(length)
        rows_before += tl.sum(rows)
        attended_before += tl.sum(of_request)


@triton.jit
def _row_splits(
    seq_lens,
    accept_length,
    first,
    bs,
    growth,
    MODE: tl.constexpr,
    DRAFTS: tl.constexpr,
    REQUESTS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Which rows of a tile are in use, and their KV splits; both flat, in row order."""
    _, _, used, row_length = _tile(seq_lens, accept_length, first, bs, growth, MODE, DRAFTS, REQUESTS, ROWS)
    splits = splits_of(row_length, used)
    return tl.reshape(used, [REQUESTS * ROWS]), tl.reshape(splits, [REQUESTS * ROWS])


@triton.jit
def _write_schedule(
    address,
    growth,
    seq_lens,
    accept_length,
    bs,
    NUM_SMS: tl.constexpr,
    SMS: tl.constexpr,
    MODE: tl.constexpr,
    DRAFTS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """The paged-MQA schedule of one step."""
    REQUESTS: tl.constexpr = SCHEDULE_TILE // ROWS if ROWS <= SCHEDULE_TILE else 1
    total = growth * 0
    for first in range(0, bs, REQUESTS):
        _, splits = _row_splits(seq_lens, accept_length, first, bs, growth, MODE, DRAFTS, REQUESTS, ROWS)
        total += tl.sum(splits)
    sm = tl.arange(0, SMS)
    begin = first_split(total, sm, NUM_SMS, False)
    row = sm * 0
    before = sm * 0
    seen = growth * 0
    for first in range(0, bs, REQUESTS):
        used, splits = _row_splits(seq_lens, accept_length, first, bs, growth, MODE, DRAFTS, REQUESTS, ROWS)
        row, before, seen = pass_rows(used, splits, begin, row, before, seen)
    schedule = tl.load(address).to(tl.pointer_type(tl.int32))
    tl.store(schedule + 2 * sm, row, mask=sm <= NUM_SMS)
    tl.store(schedule + 2 * sm + 1, begin - before, mask=sm <= NUM_SMS)


@triton.jit
def _write_tables(
    tables,
    num_tables,
    req_to_token,
    first_slot,
    length,
    first_row,
    rows,
    group,
    split,
    splits,
    COLUMNS: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    PAGES: tl.constexpr,
    WIDE_TABLE: tl.constexpr,
    REAL_TABLE: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """A request's slots, up to its length, into LINES of the lines it has: one per row and table."""
    line = group * LINES + tl.arange(0, LINES)
    there = line < num_tables * rows
    table, row = tables + line // rows * 4, first_row + line % rows
    page_table_1 = tl.load(table, mask=there, other=0).to(tl.pointer_type(tl.int32))
    page_table_1 += row * tl.load(table + 1, mask=there, other=0)
    real_page_table = tl.load(table + 2, mask=there, other=0).to(tl.pointer_type(tl.int32))
    real_page_table += row * tl.load(table + 3, mask=there, other=0)
    slots = req_to_token + first_slot
    if WIDE_TABLE and ALIGNED:
        page_table_1, slots = tl.multiple_of(page_table_1, [16]), tl.multiple_of(slots, 16)
    for first in range(split * COLUMNS, length, splits * COLUMNS):
        if WIDE_TABLE:
            column = (first + tl.arange(0, COLUMNS))[None, :]
            # Streaming stores (.cs), since nothing here is read back: 18.9 us against 23.3 us, same case and file.
            if first + COLUMNS <= length:  # a mask that ends anywhere would split every 16-byte store into four
                slot = tl.load(slots + column)
                tl.store(page_table_1[:, None] + column, slot, mask=there[:, None], cache_modifier=".cs")
            else:
                slot = tl.load(slots + column, mask=column < length)
                here = there[:, None] & (column < length)
                tl.store(page_table_1[:, None] + column, slot, mask=here, cache_modifier=".cs")
        if REAL_TABLE:
            page = ((first + PAGE_SIZE - 1) // PAGE_SIZE + tl.arange(0, PAGES))[None, :]
            inside = page * PAGE_SIZE < tl.minimum(first + COLUMNS, length)
            number = tl.load(slots + page * PAGE_SIZE, mask=inside) // PAGE_SIZE
            tl.store(real_page_table[:, None] + page, number, mask=there[:, None] & inside)


_FREE = ["bs", "num_steps", "num_vectors", "num_tables", "splits", "width", "slots_stride"]


# Sizes are unspecialised: no value of a batch size, a width or a step count compiles a new kernel.
@triton.jit(do_not_specialize=_FREE, do_not_specialize_on_alignment=["seq_lens", "req_pool_indices", "accept_length"])
def refresh(
    seq_lens,
    req_pool_indices,
    accept_length,
    req_to_token,
    addresses,
    bs,
    num_steps,
    num_vectors,
    num_tables,
    splits,
    width,
    slots_stride,
    MODE: tl.constexpr,
    DRAFTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    PAGES: tl.constexpr,
    TOPK: tl.constexpr,
    STEP_OFFSET: tl.constexpr,
    NUM_SMS: tl.constexpr,
    SMS: tl.constexpr,
    WIDE_TABLE: tl.constexpr,
    REAL_TABLE: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Refresh all steps. Grid: num_vectors, as many again with a schedule, and bs * splits * groups of LINES rows.

    addresses: int64, a row of six per step that has vectors of its own, the addresses of VECTOR_FIELDS; then a row of
        four per step with tables of its own: page_table_1, its row stride, real_page_table, its row stride.
    Step i attends to STEP_OFFSET * (i + 1) tokens beyond `seq_lens`, in target verify to d more. Tables are those
    of the longest step, so steps may share them.
    """
    program = tl.program_id(0)
    drafted = DRAFTS if MODE == 1 else 0
    if program < num_vectors:
        _write_vectors(
            addresses + program * 6,
            drafted + STEP_OFFSET * (program + 1),
            seq_lens,
            accept_length,
            bs,
            MODE,
            DRAFTS,
            ROWS,
            TOPK,
        )
    elif NUM_SMS > 0 and program < 2 * num_vectors:
        step = program - num_vectors
        _write_schedule(
            addresses + step * 6 + 5,
            drafted + STEP_OFFSET * (step + 1),
            seq_lens,
            accept_length,
            bs,
            NUM_SMS,
            SMS,
            MODE,
            DRAFTS,
            ROWS,
        )
    else:
        program -= num_vectors * (2 if NUM_SMS > 0 else 1)
        groups = (num_tables * DRAFTS + LINES - 1) // LINES
        group = program % groups
        request = program // groups % bs
        split = program // groups // bs  # slowest, so that programs past every length start last
        length = tl.minimum(tl.load(seq_lens + request).to(tl.int32) + drafted + STEP_OFFSET * num_steps, width)
        rows = _rows_of(accept_length, request, request < bs, MODE, DRAFTS)
        first_slot = tl.load(req_pool_indices + request).to(tl.int64) * slots_stride
        if split * COLUMNS < length and group * LINES < num_tables * rows:
            first_row = _first_row_of(accept_length, request, MODE, DRAFTS).to(tl.int64)
            _write_tables(
                addresses + num_vectors * 6,
                num_tables,
                req_to_token,
                first_slot,
                length,
                first_row,
                rows,
                group,
                split,
                splits,
                COLUMNS,
                PAGE_SIZE,
                PAGES,
                WIDE_TABLE,
                REAL_TABLE,
                ALIGNED,
            )
