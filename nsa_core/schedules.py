"""The schedules that kernels read, integer for integer: FlashMLA's split-KV parts and DeepGEMM's paged-MQA plan."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch

from . import kernels
from .batch import require_memory
from .config import require_int
from .metadata import SPLIT_KV, NSAFlashMLAMetadata

FLASHMLA_BLOCK = 64  # tokens in a FlashMLA block (`block_size_n`)
FLASHMLA_OVERHEAD = 5  # blocks a request costs besides its own (`fixed_overhead_num_blocks`)
_COLUMNS = 8  # of a part; the kernel reads the first five

_REMAINDER_GOES_TO = {"54e2261": "last", "0f5f266": "first"}  # DeepGEMM release -> the SMs that take one split more
RELEASES = tuple(_REMAINDER_GOES_TO)
_INTS = (torch.int32, torch.int64)


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

    context_lens: int32/int64 [rows], 0 .. 2**31 - 1 tokens each row's indexer scores: `nsa_seqlens_expanded` in every
        forward mode (in decode that is `cache_seqlens_int32`), not cut at top-k. SGLang's indexer passes the same,
        with next_n 1. Values are not checked; a negative length acts as 0.
    rows: optional int32/int64 tensor of one element ([] or [1]) on the same device, the rows in use; lengths past
        them do not count. For draft extend inside a graph, where the host does not know E. Without it every row is
        in use. Its value is not checked: more rows than there are act as all of them, a negative number as 0.
    release: the DeepGEMM commit to agree with. "54e2261" is its Hopper schedule since June 2026; "0f5f266" that of
        2025, and with one query token per row also that of April 2026 and of 54e2261 on Blackwell.
    Returns int32 [num_sms + 1, 2] of (row, split): SM k works from entry k up to, and without, entry k + 1.

    No host loop, no host read, one shape per (rows, num_sms): it may be recorded in a CUDA graph. On a GPU it is one
    launch where Triton is there; the first compiles, so call it once before recording. Elsewhere it is tensor
    operations. The integers are the same.
    Raises TypeError (not a tensor, dtype) or ValueError (everything else) before anything is computed.
    """
    _require_lengths("context_lens", context_lens, 0)
    require_int("num_sms", num_sms, 1)
    if rows is not None:
        _require_count("rows", rows, context_lens)
    if release not in RELEASES:
        raise ValueError(f"release must be one of {', '.join(RELEASES)}, got {release!r}")
    first_take_more = _REMAINDER_GOES_TO[release] == "first"
    share_out = (_launch() if context_lens.is_cuda else None) or share_out_in_tensor_operations
    return share_out(context_lens, num_sms, rows, first_take_more)


@lru_cache
def _launch() -> Callable[..., torch.Tensor] | None:
    """The kernel for tensors on a GPU; None where there is no Triton that compiles it.

    Never on the CPU: it could run interpreted there, in 7 ms where the tensor operations take 0.05 ms.
    """
    if kernels.missing(torch.device("cuda")) is not None:
        return None
    from .kernels import schedule

    return schedule.launch


def share_out_in_tensor_operations(
    context_lens: torch.Tensor, num_sms: int, rows: torch.Tensor | None, first_take_more: bool
) -> torch.Tensor:
    """What the kernel does, without Triton: 13 operations, 4 more with `rows`."""
    count, device = context_lens.shape[0], context_lens.device
    splits = context_lens.floor_divide(-SPLIT_KV).neg_().clamp_(min=0)  # rounded up by no sum, which could wrap
    if rows is not None:
        unused = torch.arange(count, device=device) >= rows
        splits.masked_fill_(unused, 0)
    zeros = torch.zeros(count + 1 + 3 * (num_sms + 1), dtype=torch.int64, device=device)
    before, first, entries = zeros.split([count + 1, num_sms + 1, 2 * (num_sms + 1)])
    torch.cumsum(splits, 0, out=before[1:])  # splits before each row
    # of `total` splits SM k takes (total + k) // num_sms: the last SMs one more; or counted down, the first
    turns = (num_sms - 1, -1, -1) if first_take_more else (0, num_sms)
    shares = (torch.arange(*turns, device=device) + before[-1]).floor_divide_(num_sms)
    torch.cumsum(shares, 0, out=first[1:])  # splits before each SM's first
    if rows is not None:
        before[1:].add_(unused)  # so that the end of the work is the row after the last one in use
    row, split = entries.view(2, -1)
    torch.searchsorted(before[1:], first, right=True, out=row)
    torch.sub(first, before.index_select(0, row), out=split)
    return entries.view(2, -1).t().to(torch.int32, memory_format=torch.contiguous_format)


def _require_lengths(name: str, lengths: object, fewest: int) -> None:
    _require_ints(name, lengths)
    if lengths.dim() != 1 or lengths.shape[0] < fewest:
        shape = list(lengths.shape)
        raise ValueError(
            f"{name} must be [rows], at least {fewest}, got shape {shape}; of [rows, next_n] give a column"
        )


def _require_count(name: str, count: object, like: torch.Tensor) -> None:
    if not isinstance(count, torch.Tensor):
        raise TypeError(
            f"{name} must be a tensor, got {count!r}; a number known on the host needs none: "
            "pass the lengths of the rows in use alone"
        )
    _require_ints(name, count)
    if count.dim() > 1 or count.numel() != 1:
        raise ValueError(f"{name} must have one element, shape [] or [1], got shape {list(count.shape)}")
    if count.device != like.device:
        raise ValueError(f"{name} is on {count.device}, but the lengths are on {like.device}; it must be there too")


def _require_ints(name: str, tensor: object) -> None:
    if not isinstance(tensor, torch.Tensor) or tensor.dtype not in _INTS:
        raise TypeError(f"{name} must be an int32 or int64 tensor, got {getattr(tensor, 'dtype', tensor)!r}")
    require_memory(name, tensor)
