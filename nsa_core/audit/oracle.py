"""The field table once more, row by row and slowly: what `check` and `audit` hold every strategy against.

Nothing here is shared with `precompute` but the inputs.
"""

from dataclasses import dataclass

import torch

from ..batch import ReplayBatch
from ..config import ForwardMode, NSAConfig
from ..metadata import NSAMetadata


@dataclass(frozen=True)
class Row:
    """One captured row in use: the request it serves and the tokens it may attend to."""

    request: int
    length: int


@dataclass(frozen=True)
class Cells:
    """What a field must hold: `values` wherever `mask` is true."""

    values: torch.Tensor
    mask: torch.Tensor


def rows_in_use(config: NSAConfig, batch: ReplayBatch, mode: ForwardMode, step: int = 0) -> list[Row]:
    """The rows [:E] of draft step `step`, in order."""
    rows, offset = [], config.step_offset * (step + 1)
    for request, tokens in enumerate(batch.seq_lens.tolist()):
        if mode.is_decode_or_idle():
            lengths = [tokens]
        elif mode.is_target_verify():
            lengths = [tokens + draft for draft in range(1, config.num_draft_tokens + 1)]
        else:
            accepted = int(batch.accept_length[request])
            lengths = [tokens - accepted + draft for draft in range(1, accepted + 1)]
        rows += [Row(request, length + offset) for length in lengths]
    return rows


def request_lengths(config: NSAConfig, batch: ReplayBatch, mode: ForwardMode, step: int = 0) -> list[int]:
    """What `cache_seqlens_int32` must hold."""
    drafted = config.num_draft_tokens if mode.is_target_verify() else 0
    return [tokens + drafted + config.step_offset * (step + 1) for tokens in batch.seq_lens.tolist()]


def expected(
    config: NSAConfig,
    req_to_token: torch.Tensor,
    batch: ReplayBatch,
    mode: ForwardMode,
    captured: NSAMetadata,
    *,
    contract: str,
    step: int = 0,
    num_steps: int = 1,
) -> dict[str, Cells]:
    """The cells a replay under `contract` must have written in `captured`, by field.

    "exact": rows [:E], columns [:L] of the longest step. "live prefix": each row up to its own length.
    """
    rows = rows_in_use(config, batch, mode, step)
    lengths = request_lengths(config, batch, mode, step)
    columns = max(request_lengths(config, batch, mode, num_steps - 1))
    attended = [min(row.length, config.index_topk) for row in rows]
    vectors = {
        "cache_seqlens_int32": lengths,
        "cu_seqlens_k": _running_sum(lengths),
        "nsa_seqlens_expanded": [row.length for row in rows],
        "nsa_cache_seqlens_int32": attended,
        "nsa_cu_seqlens_k": _running_sum(attended),
    }
    cells = {name: _vector_cells(getattr(captured, name), values) for name, values in vectors.items()}
    pool_rows = batch.req_pool_indices.tolist()
    slots = [req_to_token[pool_rows[row.request], : columns if contract == "exact" else row.length] for row in rows]
    cells["page_table_1"] = _table_cells(captured.page_table_1, slots)
    pages = [s[:: config.page_size] // config.page_size for s in slots]
    cells["real_page_table"] = _table_cells(captured.real_page_table, pages)
    if config.paged_mqa_num_sms is not None:
        name, schedule = "paged_mqa_schedule_metadata", _paged_mqa(rows, config.paged_mqa_num_sms)
        cells[name] = _table_cells(getattr(captured, name), schedule)
    return cells


def _paged_mqa(rows: list[Row], num_sms: int) -> list[torch.Tensor]:
    """The (row, split) each SM begins at: every split listed in order, dealt out, the last SMs taking one more."""
    splits = [(at, split) for at, row in enumerate(rows) for split in range(-(-row.length // 256))]
    each, more = divmod(len(splits), num_sms)
    begins = [sm * each + max(sm - (num_sms - more), 0) for sm in range(num_sms + 1)]
    end = (len(rows), 0)
    return [torch.tensor(splits[begin] if begin < len(splits) else end, dtype=torch.int32) for begin in begins]


def differences(captured: NSAMetadata, cells: dict[str, Cells], before: dict[str, torch.Tensor] | None) -> list[str]:
    """One line per field that is wrong; with `before` also per field written outside its cells."""
    found = []
    for name, want in cells.items():
        have = getattr(captured, name)
        found += _first_wrong(name, have, want.values, want.mask, "should be")
        if before is not None:
            found += _first_wrong(name, have, before[name], ~want.mask, "was written outside its cells; it held")
    return found


def _first_wrong(name: str, have: torch.Tensor, want: torch.Tensor, mask: torch.Tensor, said: str) -> list[str]:
    wrong = ((have != want) & mask).nonzero()
    if not len(wrong):
        return []
    at = tuple(wrong[0].tolist())
    return [f"{name}{list(at)} is {have[at].item()}, {said} {want[at].item()} ({len(wrong)} such cells)"]


def _running_sum(lengths: list[int]) -> list[int]:
    total = [0]
    for length in lengths:
        total.append(total[-1] + length)
    return total


def _vector_cells(like: torch.Tensor, values: list[int]) -> Cells:
    full, mask = torch.zeros_like(like), torch.zeros_like(like, dtype=torch.bool)
    full[: len(values)] = torch.tensor(values, dtype=like.dtype, device=like.device)
    mask[: len(values)] = True
    return Cells(full, mask)


def _table_cells(like: torch.Tensor, rows: list[torch.Tensor]) -> Cells:
    full, mask = torch.zeros_like(like), torch.zeros_like(like, dtype=torch.bool)
    for at, row in enumerate(rows):
        full[at, : len(row)] = row
        mask[at, : len(row)] = True
    return Cells(full, mask)
