"""The schedules that kernels read, integer for integer: FlashMLA's split-KV parts and DeepGEMM's paged-MQA plan."""

from collections.abc import Iterator

import torch

from .config import require_int
from .metadata import NSAFlashMLAMetadata

FLASHMLA_BLOCK = 64  # tokens in a FlashMLA block (`block_size_n`)
FLASHMLA_OVERHEAD = 5  # blocks a request costs besides its own (`fixed_overhead_num_blocks`)
_COLUMNS = 8  # of a part; the kernel reads the first five

SPLIT_KV = 256  # tokens in a split, the unit of work an SM takes

_REMAINDER_GOES_TO = {"54e2261": "last", "0f5f266": "first"}  # DeepGEMM release -> the SMs that take one split more
RELEASES = tuple(_REMAINDER_GOES_TO)


def schedule_flashmla(seqlens: torch.Tensor, num_sm_parts: int, topk: int | None = None) -> NSAFlashMLAMetadata:
    """Share the KV blocks of every row out among `num_sm_parts` parts, as FlashMLA's own kernel does.

    seqlens: int32/int64 [rows], tokens each row attends to. With `topk` set every row attends to topk tokens and
        the values are not read: the schedule is a function of (rows, topk, num_sm_parts) alone.
    num_sm_parts: P, see `NSAConfig.flashmla_num_sm_parts`.
    Returns int32 [P, 8] parts and int32 [rows + 1] cumulative splits, on the device of `seqlens`.

    The walk is sequential and runs on the host: dense, on CUDA, it reads `seqlens` back (one synchronisation).
    In the row of an idle part (begin request == rows) the begin block is 0; FlashMLA leaves it unspecified.
    Source: FlashMLA, release of October 2025; checked against 120 schedules recorded from its kernel on an H200.
    """
    _require_lengths("seqlens", seqlens, 1)
    require_int("num_sm_parts", num_sm_parts, 1)
    if topk is not None:
        require_int("topk", topk, 1)
    lengths = seqlens.tolist() if topk is None else [topk] * seqlens.shape[0]
    if min(lengths) < 0:
        raise ValueError(f"seqlens has {min(lengths)}; a length is at least 0")
    blocks = [max(length - 1, 0) // FLASHMLA_BLOCK + 1 for length in lengths]
    payload = -(-sum(n + FLASHMLA_OVERHEAD for n in blocks) // num_sm_parts) + FLASHMLA_OVERHEAD
    splits = [0]
    ends = [n if length else 0 for n, length in zip(blocks, lengths, strict=True)]
    parts = list(_walk(blocks, ends, num_sm_parts, payload, splits))
    return NSAFlashMLAMetadata(
        torch.tensor(parts, dtype=torch.int32, device=seqlens.device),
        torch.tensor(splits, dtype=torch.int32, device=seqlens.device),
    )


def _walk(blocks: list[int], ends: list[int], num_parts: int, payload: int, splits: list[int]) -> Iterator[list[int]]:
    """Yield a row per part; append to `splits` as requests end."""
    request = block = split = 0
    for _ in range(num_parts):
        begin, room = (request, block, split), payload
        while request < len(blocks) and room >= blocks[request] - block + FLASHMLA_OVERHEAD:
            room -= blocks[request] - block + FLASHMLA_OVERHEAD
            splits.append(splits[-1] + split + 1)
            request, block, split = request + 1, 0, 0
        if request < len(blocks) and room > FLASHMLA_OVERHEAD:
            block, split = block + room - FLASHMLA_OVERHEAD, split + 1
        end = (request, block) if block else (request - 1, ends[request - 1])
        yield [begin[0], begin[1], *end, begin[2]] + [0] * (_COLUMNS - 5)


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
    _require_lengths("context_lens", context_lens, 0)
    require_int("num_sms", num_sms, 1)
    if release not in RELEASES:
        raise ValueError(f"release must be one of {', '.join(RELEASES)}, got {release!r}")
    used = context_lens if rows is None else context_lens * (_count(context_lens, 0, context_lens.shape[0]) < rows)
    before = torch.zeros(used.shape[0] + 1, dtype=torch.int64, device=used.device)  # splits before each row
    torch.cumsum((used + (SPLIT_KV - 1)) // SPLIT_KV, 0, out=before[1:])
    first = _first_split(before[-1:], num_sms, release)
    row = torch.searchsorted(before[1:], first, right=True)
    split = first - before.index_select(0, row)
    if rows is not None:
        row = torch.minimum(row, rows)  # the end of the work is the row after the last one in use
    return torch.stack([row, split], 1).to(torch.int32)


def _count(like: torch.Tensor, first: int, end: int) -> torch.Tensor:
    return torch.arange(first, end, device=like.device)


def _first_split(total: torch.Tensor, num_sms: int, release: str) -> torch.Tensor:
    """int64 [num_sms + 1]: the splits that lie before each SM's first."""
    each, more, sm = total // num_sms, total % num_sms, _count(total, 0, num_sms + 1)
    if _REMAINDER_GOES_TO[release] == "first":
        return torch.addcmul(torch.minimum(sm, more), sm, each)
    late = (_count(total, -num_sms, 1) + more).clamp_(min=0)  # of the SMs that take one split more, those before
    return torch.addcmul(late, sm, each)


def _require_lengths(name: str, lengths: object, fewest: int) -> None:
    if not isinstance(lengths, torch.Tensor) or lengths.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{name} must be an int32 or int64 tensor, got {getattr(lengths, 'dtype', lengths)!r}")
    if lengths.dim() != 1 or lengths.shape[0] < fewest:
        shape = list(lengths.shape)
        raise ValueError(
            f"{name} must be [rows], at least {fewest}, got shape {shape}; of [rows, next_n] give a column"
        )
