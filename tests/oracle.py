"""The package's oracle as numpy cells, proved on the recorded replays; and a second walk of FlashMLA's schedule.

`test_golden_replays` holds `expected` against SGLang's own buffers, cell for cell: what it says is then held against
every strategy. The FlashMLA walk is written again here, because the package's oracle shares the one under test.
"""

from dataclasses import replace

import numpy as np
import torch

from nsa_core.audit import oracle as product

POISON = -7777
CONSTANT = ("cu_seqlens_q", "nsa_cu_seqlens_q")
CUMULATIVE = ("cu_seqlens_k", "nsa_cu_seqlens_k")
FIELDS = (
    "cache_seqlens_int32",
    "cu_seqlens_k",
    "cu_seqlens_q",
    "page_table_1",
    "real_page_table",
    "nsa_cache_seqlens_int32",
    "nsa_seqlens_expanded",
    "nsa_cu_seqlens_k",
    "nsa_cu_seqlens_q",
)


def ceil_div(a, b):
    return -(-a // b)


def row_capacity(config, bs, mode):
    return bs if mode.name in ("DECODE", "IDLE") else bs * config.num_draft_tokens


def captured_shapes(config, bs, mode, width):
    cap = row_capacity(config, bs, mode)
    return {
        "cache_seqlens_int32": (bs,),
        "cu_seqlens_k": (bs + 1,),
        "cu_seqlens_q": (cap + 1,),
        "page_table_1": (cap, width),
        "real_page_table": (cap, ceil_div(width, config.page_size)),
        "nsa_cache_seqlens_int32": (cap,),
        "nsa_seqlens_expanded": (cap,),
        "nsa_cu_seqlens_k": (cap + 1,),
        "nsa_cu_seqlens_q": (cap + 1,),
    }


def rows_in_use(config, batch, mode, step):
    """One (request, length) per row: where the row's tokens come from and how many of them it may read."""
    return [(row.request, row.length) for row in product.rows_in_use(config, batch, mode, step)]


columns_in_use = product.columns_in_use


def _cells(config, req_to_token, batch, mode, like, step, num_steps):
    fields = {field: torch.from_numpy(np.array(cells)) for field, cells in like.items()}
    given = (config, req_to_token, batch, mode, fields)
    return product.expected(*given, step=step, num_steps=num_steps).items()


def expected(config, req_to_token, batch, mode, before, step=0, num_steps=1):
    """Every cell of one step's captured set after an `exact` replay that found `before` in it."""
    after = {field: np.array(cells) for field, cells in before.items()}
    for field, cells in _cells(config, req_to_token, batch, mode, before, step, num_steps):
        written = cells.written.cpu().numpy()
        cells.corner(after[field])[written] = cells.values.cpu().numpy()[written]
    return after


def live_mask(config, batch, mode, before, step=0):
    """True where a reader that bounds row r by the row's own length may look."""
    live = {field: np.zeros(np.shape(cells), dtype=bool) for field, cells in before.items()}
    table = torch.zeros(1, np.shape(before["page_table_1"])[1], dtype=torch.int32)
    anywhere = replace(batch, req_pool_indices=torch.zeros_like(batch.req_pool_indices))
    for field, cells in _cells(config, table, anywhere, mode, before, step, 1):
        cells.corner(live[field])[:] = cells.live.cpu().numpy()
    for field in CUMULATIVE:
        live[field][0] = True
    for field in CONSTANT:
        live[field][:] = True
    return live


def schedule(lengths, num_parts, block=64, overhead=5):
    """FlashMLA's walk over the requests: five columns per part, and the cumulative number of splits."""
    blocks = [max(length - 1, 0) // block + 1 for length in lengths]
    payload = ceil_div(sum(count + overhead for count in blocks), num_parts) + overhead
    request = taken = split = 0
    num_splits, parts = [0], []
    for _ in range(num_parts):
        begin = (request, taken, split)
        left = payload
        while request < len(blocks) and left >= blocks[request] - taken + overhead:
            left -= blocks[request] - taken + overhead
            num_splits.append(num_splits[-1] + split + 1)
            request, taken, split = request + 1, 0, 0
        if request < len(blocks) and left > overhead:
            taken, split = taken + left - overhead, split + 1
        if taken:
            end = (request, taken)
        else:
            end = (request - 1, blocks[request - 1] if lengths[request - 1] else 0)
        parts.append([begin[0], begin[1], *end, begin[2]])
    return parts, num_splits


def same_schedule(left, right, bs):
    """Five columns equal, except the begin block of an idle part, which is unspecified."""
    left, right = np.array(left)[:, :5], np.array(right)[:, :5]
    idle = right[:, 0] == bs
    left[idle, 1] = right[idle, 1] = 0
    return np.array_equal(left, right)


# Looking at captured sets: anything with the fields as torch tensors.


def poison(steps):
    """Sentinel into every cell that a replay may write; constants and leading zeros stay."""
    for captured in steps:
        for field in FIELDS:
            if field not in CONSTANT:
                getattr(captured, field).fill_(POISON)
        for field in CUMULATIVE:
            getattr(captured, field)[0] = 0


def snapshot(captured):
    return {field: getattr(captured, field).cpu().numpy().copy() for field in FIELDS}


def assert_same_cells(actual, wanted, note=""):
    for field in FIELDS:
        np.testing.assert_array_equal(actual[field], wanted[field], err_msg=f"{field} {note}", strict=True)


def assert_live_cells(actual, wanted, live, note=""):
    for field in FIELDS:
        hidden = np.where(live[field], actual[field], wanted[field])
        np.testing.assert_array_equal(hidden, wanted[field], err_msg=f"live {field} {note}", strict=True)


def read_bounded(captured, rows, page_size):
    """What a reader sees that knows the number of rows and takes every bound from the captured lengths."""
    cells = snapshot(captured)
    seen = [cells[field][:rows] for field in ("nsa_seqlens_expanded", "nsa_cache_seqlens_int32")]
    seen += [cells["cache_seqlens_int32"], cells["cu_seqlens_k"], cells["nsa_cu_seqlens_k"][: rows + 1]]
    for row in range(rows):
        length = int(cells["nsa_seqlens_expanded"][row])
        seen.append(cells["page_table_1"][row, :length])
        seen.append(cells["real_page_table"][row, : ceil_div(length, page_size)])
    return np.concatenate(seen)
