"""What every captured cell must hold after a refresh: the field table once more, row by row and slowly.

`check`, the bench's gate and `audit` hold every refresh against this. It shares nothing with `precompute` but the
inputs and the FlashMLA walk, which recorded schedules prove by itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from ..batch import ReplayBatch
from ..config import ForwardMode, NSAConfig
from ..metadata import LEADING_ZERO
from ..schedules import SPLIT_KV, schedule_flashmla
from .walk import walk_schedule

PARTS, SPLITS = "flashmla_metadata.flashmla_metadata", "flashmla_metadata.num_splits"
PAGED_MQA = "paged_mqa_schedule_metadata"
_READ_COLUMNS = 5  # of a FlashMLA part; the others are unused


@dataclass(frozen=True)
class Row:
    """One captured row in use: the request it serves and the tokens it may attend to."""

    request: int
    length: int


@dataclass(frozen=True)
class Cells:
    """The leading corner of one field: what a refresh writes there.

    live: what a reader bounded by the lengths reads; right under every contract.
    written: what an exact refresh writes. others: values that are right as well, whole (another release of a
    schedule). rows: lengths of the rows a paged-MQA schedule was made for, to tell what a wrong one does.
    """

    values: torch.Tensor
    live: torch.Tensor
    written: torch.Tensor
    others: tuple[torch.Tensor, ...] = ()
    rows: tuple[int, ...] | None = None

    def corner(self, field: torch.Tensor) -> torch.Tensor:
        """The part of `field` this speaks of."""
        return field[tuple(slice(0, size) for size in self.values.shape)]

    def wrong(self, field: torch.Tensor, contract: str) -> torch.Tensor:
        """bool, where a cell that `contract` promises differs."""
        actual = self.corner(field)
        if any(torch.equal(actual, other) for other in self.others):
            return torch.zeros_like(self.live)
        return (actual != self.values) & self.promised(contract)

    def promised(self, contract: str) -> torch.Tensor:
        """bool, the cells that a refresh under `contract` must bring up to date."""
        return self.written if contract == "exact" else self.live

    def consequence(self, field: torch.Tensor) -> str:
        """What a reader would do with the wrong cells, where that is known."""
        if self.rows is None:
            return ""
        walk = walk_schedule(self.corner(field), torch.tensor(self.rows))
        return "" if walk.ok else f" ({walk})"


def rows_in_use(config: NSAConfig, batch: ReplayBatch, mode: ForwardMode, step: int = 0) -> list[Row]:
    """The rows [:E] of draft step `step`, in order."""
    rows, offset = [], config.step_offset * (step + 1)
    for request, tokens in enumerate(batch.seq_lens.tolist()):
        if mode.is_decode_or_idle():
            lengths = [tokens]
        elif mode.is_target_verify():
            lengths = [tokens + draft for draft in range(1, config.num_draft_tokens + 1)]
        else:
            fixed_width = batch.accept_length is None
            accepted = config.num_draft_tokens if fixed_width else int(batch.accept_length[request])
            lengths = [tokens - accepted + draft for draft in range(1, accepted + 1)]
        rows += [Row(request, max(length + offset, 0)) for length in lengths]
    return rows


def request_lengths(config: NSAConfig, batch: ReplayBatch, mode: ForwardMode, step: int = 0) -> list[int]:
    """What `cache_seqlens_int32` must hold."""
    return [tokens + _growth(config, mode, step) for tokens in batch.seq_lens.tolist()]


def columns_in_use(config: NSAConfig, batch: ReplayBatch, mode: ForwardMode, num_steps: int) -> int:
    """L, the columns an exact refresh writes in every step: those of the longest, as the host mirror knows it."""
    known = batch.seq_lens if batch.seq_lens_cpu is None else batch.seq_lens_cpu
    return max(known.tolist(), default=0) + _growth(config, mode, num_steps - 1)


def _growth(config: NSAConfig, mode: ForwardMode, step: int) -> int:
    drafted = config.num_draft_tokens if mode.is_target_verify() else 0
    return drafted + config.step_offset * (step + 1)


def expected(
    config: NSAConfig,
    req_to_token: torch.Tensor,
    batch: ReplayBatch,
    mode: ForwardMode,
    fields: Mapping[str, torch.Tensor],
    *,
    step: int = 0,
    num_steps: int = 1,
) -> dict[str, Cells]:
    """By name, what each of `fields` must hold in draft step `step` of `num_steps`; constants are left out."""
    rows = rows_in_use(config, batch, mode, step)
    lengths, row_lengths = request_lengths(config, batch, mode, step), [row.length for row in rows]
    attended = [min(length, config.index_topk) for length in row_lengths]
    vectors = {
        "cache_seqlens_int32": lengths,
        "cu_seqlens_k": _running_sum(lengths),
        "nsa_seqlens_expanded": row_lengths,
        "nsa_cache_seqlens_int32": attended,
        "nsa_cu_seqlens_k": _running_sum(attended),
    }
    device = req_to_token.device
    cells = {name: _vector(name, values, device) for name, values in vectors.items() if name in fields}
    columns = columns_in_use(config, batch, mode, num_steps)
    pool_rows = batch.req_pool_indices.tolist()
    slots = req_to_token[[pool_rows[row.request] for row in rows], :columns] if rows else req_to_token[:0, :columns]
    if "page_table_1" in fields:
        cells["page_table_1"] = _table(slots, row_lengths, 1)
    if "real_page_table" in fields:
        pages = slots[:, :: config.page_size] // config.page_size
        cells["real_page_table"] = _table(pages, row_lengths, config.page_size)
    if PAGED_MQA in fields:
        cells[PAGED_MQA] = _paged_mqa(row_lengths, fields[PAGED_MQA].shape[0] - 1, device)
    if SPLITS in fields and config.flashmla_dense:
        cells |= flashmla_cells(config, attended, device)
    return cells


def flashmla_cells(config: NSAConfig, attended: list[int], device: torch.device) -> dict[str, Cells]:
    """FlashMLA's schedule of rows that attend to this many tokens each; nothing when there are none."""
    if not attended:
        return {}
    schedule = schedule_flashmla(torch.tensor(attended), config.flashmla_num_sm_parts)
    parts = schedule.flashmla_metadata[:, :_READ_COLUMNS]
    live = torch.ones_like(parts, dtype=torch.bool)
    live[:, 1] = parts[:, 0] < len(attended)  # where an idle part begins inside a request is unspecified
    splits = _vector(SPLITS, schedule.num_splits.tolist(), device)
    return {PARTS: Cells(parts.to(device), live.to(device), live.to(device)), SPLITS: splits}


def _vector(name: str, values: list[int], device: torch.device) -> Cells:
    live = torch.ones(len(values), dtype=torch.bool, device=device)
    live[: int(name in LEADING_ZERO)] = False  # written at capture, and looked at by itself
    return Cells(torch.tensor(values, dtype=torch.int32, device=device), live, live)


def _table(values: torch.Tensor, lengths: list[int], tokens: int) -> Cells:
    """tokens: of a column."""
    first = torch.arange(values.shape[1], device=values.device) * tokens
    live = first < torch.tensor(lengths, device=values.device, dtype=torch.int64).unsqueeze(1)
    return Cells(values, live, torch.ones_like(live))


def _paged_mqa(lengths: list[int], num_sms: int, device: torch.device) -> Cells:
    """The (row, split) each SM begins at: every split listed in order and dealt out.

    The oracle speaks for one DeepGEMM release, in which the last SMs take one more; the plan of another is as good.
    """
    splits = [(at, split) for at, length in enumerate(lengths) for split in range(-(-length // SPLIT_KV))]
    each, more = divmod(len(splits), num_sms)
    end = (len(lengths), 0)

    def dealt(before: Callable[[int], int]) -> torch.Tensor:
        begins = [sm * each + before(sm) for sm in range(num_sms + 1)]
        values = [splits[begin] if begin < len(splits) else end for begin in begins]
        return torch.tensor(values, dtype=torch.int32, device=device)

    last, first = dealt(lambda sm: max(sm - (num_sms - more), 0)), dealt(lambda sm: min(sm, more))
    whole = torch.ones_like(last, dtype=torch.bool)
    return Cells(last, whole, whole, (first,), tuple(lengths))


def _running_sum(lengths: list[int]) -> list[int]:
    total = [0]
    for length in lengths:
        total.append(total[-1] + length)
    return total
