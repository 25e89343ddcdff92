"""What one replay needs, computed once: the rules of the field table, per forward mode, without a host loop."""

from collections.abc import Sequence

import torch

from .batch import Extent, ReplayBatch, require_req_to_token, validate
from .config import ForwardMode, NSAConfig, require_int, require_mode
from .metadata import NSAFlashMLAMetadata, PrecomputedMetadata
from .schedules import schedule_flashmla, schedule_paged_mqa


def precompute(
    config: NSAConfig, req_to_token: torch.Tensor, batch: ReplayBatch, mode: ForwardMode, step: int = 0
) -> PrecomputedMetadata:
    """Validate `batch` and compute every field of draft step `step`.

    req_to_token: int32 [pool, W], KV slot of token t of request r.
    Tensor values are checked where that is free (CPU). At most 10 / 14 / 20 aten calls (decode / verify / extend),
    schedules that depend on lengths apart.
    On CUDA without host mirrors it reads from the device: the longest length, and in a ragged draft extend the
    accepted total.
    Raises as `nsa_core.batch.validate` does, before anything is computed.
    """
    require_mode(mode)
    require_req_to_token(req_to_token)
    require_int("step", step, 0)
    width, read_values = req_to_token.shape[1], not req_to_token.is_cuda
    extent = validate(config, req_to_token, batch, mode, width=width, num_steps=step + 1, read_values=read_values)
    return compute(config, req_to_token, batch, mode, extent, [step])[0]


def transform_page_table(page_table_1: torch.Tensor, page_size: int) -> torch.Tensor:
    """The page of each page's first token: `page_table_1[:, ::page_size] // page_size`.

    A plain strided slice: 0.6 of the time of cached column indices (H200, 32 x 4096, page size 64, claim P7 of
    `decide --claims`), because it needs no gather.

    page_table_1: int32 [rows, columns] of KV slots; slots come in page-aligned runs.
    Returns int32 [rows, ceil(columns / page_size)]; with page_size 1 the argument itself: the two stay one storage.
    """
    if not isinstance(page_table_1, torch.Tensor) or page_table_1.dtype not in (torch.int32, torch.int64):
        got = getattr(page_table_1, "dtype", page_table_1)
        raise TypeError(f"page_table_1 must be an int32 or int64 tensor, got {got!r}")
    if page_table_1.dim() != 2:
        raise ValueError(f"page_table_1 must be [rows, columns], got shape {list(page_table_1.shape)}")
    require_int("page_size", page_size, 1)
    return page_table_1 if page_size == 1 else page_table_1[:, ::page_size] // page_size


def compute(
    config: NSAConfig,
    req_to_token: torch.Tensor,
    batch: ReplayBatch,
    mode: ForwardMode,
    extent: Extent,
    steps: Sequence[int],
) -> list[PrecomputedMetadata]:
    """The values of `steps` for a validated batch: one object, or with a step offset one per step on shared tables.

    A page table depends on its step only through its width, so every step takes the longest's, `extent.columns`.
    """
    requests, pool_rows = _rows(config, batch, mode, extent.rows)
    try:
        tables = _tables(config, req_to_token[:, : extent.columns], pool_rows)
    except IndexError as error:  # on the CPU, which looks by itself where `validate` was told not to
        raise ValueError(f"req_pool_indices has a row that is not in 0..{req_to_token.shape[0] - 1}") from error
    distinct = steps if config.step_offset else steps[:1]
    return [_compute_step(config, batch, mode, requests, tables, step) for step in distinct]


def _tables(
    config: NSAConfig, req_to_token: torch.Tensor, pool_rows: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """page_table_1 [E, L] and real_page_table; None where the config needs none."""
    if "page_table_1" not in config.tables:  # only the slots that begin a page are read, 1/page_size of all
        firsts = req_to_token[:, :: config.page_size].index_select(0, pool_rows)
        return None, firsts if config.page_size == 1 else firsts.floor_divide_(config.page_size)
    page_table_1 = req_to_token.index_select(0, pool_rows)
    wanted = "real_page_table" in config.tables
    return page_table_1, transform_page_table(page_table_1, config.page_size) if wanted else None


def _rows(
    config: NSAConfig, batch: ReplayBatch, mode: ForwardMode, rows: int
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Each row's request [E] (None where that follows from the shape) and its row of `req_to_token` [E]."""
    pool_rows = batch.req_pool_indices
    if batch.is_ragged(mode):
        # output_size spares the device read that repeat_interleave needs to learn its own length
        requests = torch.repeat_interleave(batch.accept_length, output_size=rows)
        return requests, pool_rows.index_select(0, requests)
    if mode.is_decode_or_idle():
        return None, pool_rows
    return None, pool_rows.repeat_interleave(config.num_draft_tokens)


def _compute_step(
    config: NSAConfig,
    batch: ReplayBatch,
    mode: ForwardMode,
    requests: torch.Tensor | None,
    tables: tuple[torch.Tensor | None, torch.Tensor | None],
    step: int,
) -> PrecomputedMetadata:
    lengths = batch.seq_lens.to(
        torch.int32, copy=True
    )  # a copy even when it is int32 already: never alias the caller
    growth = config.length_growth(mode, step)
    cache_seqlens = lengths.add_(growth) if growth else lengths
    expanded = _expand(config, batch, mode, cache_seqlens, requests)
    attended = expanded.clamp(max=config.index_topk)
    return PrecomputedMetadata(
        cache_seqlens_int32=cache_seqlens,
        cu_seqlens_k=_cumulative(cache_seqlens),
        page_table_1=tables[0],
        nsa_seqlens_expanded=expanded,
        nsa_cache_seqlens_int32=attended,
        nsa_cu_seqlens_k=_cumulative(attended),
        real_page_table=tables[1],
        flashmla_metadata=_dense_schedule(config, attended),
        paged_mqa_schedule_metadata=_paged_mqa_schedule(config, expanded),
    )


def _expand(
    config: NSAConfig,
    batch: ReplayBatch,
    mode: ForwardMode,
    cache_seqlens: torch.Tensor,
    requests: torch.Tensor | None,
) -> torch.Tensor:
    """int32 [E]: the length of each row. A request's rows end at its own length and count down by one going up."""
    if mode.is_decode_or_idle():
        return cache_seqlens
    if not batch.is_ragged(mode):
        counts = torch.arange(1 - config.num_draft_tokens, 1, dtype=torch.int32, device=cache_seqlens.device)
        lengths = (cache_seqlens.unsqueeze(1) + counts).view(-1)
        # a padded request has length 1: rows that would lie before its first token have length 0
        return lengths.clamp_(min=0) if mode.is_draft_extend() else lengths
    # rows of request r are numbered cumsum(a)[r-1] .. cumsum(a)[r]-1, the last of them as long as the request
    before_first_row = cache_seqlens - torch.cumsum(batch.accept_length, 0, dtype=torch.int32)
    counts = torch.arange(1, requests.shape[0] + 1, dtype=torch.int32, device=cache_seqlens.device)
    return before_first_row.index_select(0, requests).add_(counts)


def _cumulative(lengths: torch.Tensor) -> torch.Tensor:
    out = lengths.new_zeros(lengths.shape[0] + 1)
    torch.cumsum(lengths, 0, dtype=torch.int32, out=out[1:])
    return out


def _dense_schedule(config: NSAConfig, attended: torch.Tensor) -> NSAFlashMLAMetadata | None:
    # The sparse schedule is missing on purpose: it does not depend on lengths, so capture writes it once.
    if not config.flashmla_dense or attended.shape[0] == 0:
        return None
    return schedule_flashmla(attended, config.flashmla_num_sm_parts)


def _paged_mqa_schedule(config: NSAConfig, expanded: torch.Tensor) -> torch.Tensor | None:
    sms = config.paged_mqa_num_sms
    return None if sms is None else schedule_paged_mqa(expanded, sms)
