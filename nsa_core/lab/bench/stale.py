"""What a stale schedule costs its reader: DeepGEMM's own paged-MQA kernel on the schedule of its lengths, or of 1.

Only schedules that end are run: one left from longer lengths than the batch has walks past the batch's last row.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from nsa_core.metadata import SPLIT_KV
from nsa_core.schedules import schedule_paged_mqa
from nsa_core.strategies.base import Refused

from .recording import Row
from .timer import Candidate

SHAPES = ((1, 100_000), (4, 100_000), (8, 32_768), (32, 8_192), (32, 65_536))  # requests, tokens of each
FRESH, STALE = "schedule of these lengths", "schedule of length 1"
HEADS, WIDTH, BLOCK = 64, 128, 64  # of DeepSeek-V3.2's indexer; tokens in a KV block
_SCALE_BYTES = 4  # of a token's float32 scale, behind its 8-bit values


def cases(device: torch.device) -> Iterator[tuple[Row, list[Candidate]]]:
    """For each shape its conditions as columns, and the kernel on both schedules."""
    if device.type != "cuda":
        raise Refused("DeepGEMM's kernels run on a GPU; name one with --device")
    deep_gemm = _deep_gemm()
    for bs, tokens in SHAPES:
        yield _case(deep_gemm, device, bs, tokens)


def _case(deep_gemm: object, device: torch.device, bs: int, tokens: int) -> tuple[Row, list[Candidate]]:
    num_sms = torch.cuda.get_device_properties(device).multi_processor_count
    lengths = torch.full((bs,), tokens, dtype=torch.int32, device=device)
    fresh, stale = (schedule_paged_mqa(of, num_sms) for of in (lengths, torch.ones_like(lengths)))
    theirs = deep_gemm.get_paged_mqa_logits_metadata(lengths.view(-1, 1), BLOCK, num_sms)
    kernel = _kernel(deep_gemm, device, bs, tokens)
    on_fresh, on_stale = partial(kernel, fresh), partial(kernel, stale)

    def same_schedule() -> list[str]:
        return [] if torch.equal(fresh, theirs) else ["the schedule is not DeepGEMM's own"]

    def same_logits() -> list[str]:
        equal = torch.equal(on_fresh().nan_to_num(), on_stale().nan_to_num())
        return [] if equal else ["the logits differ from those of the fresh schedule"]

    about = {
        "case": f"stale-schedule-{bs}-x-{tokens}",
        "bs": bs,
        "tokens": bs * tokens,
        "longest": tokens,
        "num_sms": num_sms,
        "busiest_fresh": busiest_sm(fresh, lengths),
        "busiest_stale": busiest_sm(stale, lengths),
    }
    return about, [Candidate(FRESH, on_fresh, same_schedule), Candidate(STALE, on_stale, same_logits)]


def busiest_sm(schedule: torch.Tensor, lengths: torch.Tensor) -> int:
    """The most splits that one SM walks through by a schedule, whatever lengths it was made for.

    schedule: int32 [SMs + 1, 2], from `schedule_paged_mqa`: where SM k begins; it ends where the next one begins.
    lengths: int32 [rows], tokens that the kernel reads.
    """
    splits = torch.cat([lengths.new_zeros(1), (lengths + SPLIT_KV - 1) // SPLIT_KV]).cumsum(0)
    begins = splits[schedule[:, 0].long()] + schedule[:, 1]
    return int(begins.diff().max())


def _kernel(library: object, device: torch.device, bs: int, tokens: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """The indexer's logits of one token a request, for a schedule; the table names each KV block about four times."""
    blocks = -(-tokens // BLOCK)
    kv = torch.randint(
        0, 255, (bs * blocks // 4 + 1, BLOCK, 1, WIDTH + _SCALE_BYTES), dtype=torch.uint8, device=device
    )
    kv[..., WIDTH:] = torch.ones(1, device=device).view(torch.uint8)
    query = torch.randn(bs, 1, HEADS, WIDTH, device=device).to(torch.float8_e4m3fn)
    weights = torch.randn(bs, HEADS, device=device)
    lengths = torch.full((bs, 1), tokens, dtype=torch.int32, device=device)
    table = torch.randint(0, kv.shape[0], (bs, blocks), dtype=torch.int32, device=device)
    return lambda schedule: library.fp8_paged_mqa_logits(query, kv, weights, lengths, table, schedule, tokens)


def _deep_gemm() -> object:
    try:
        import deep_gemm
    except ImportError as missing:
        raise Refused(f"{missing}; its reader is DeepGEMM: pip install sgl-deep-gemm==0.1.5.post1") from None
    return deep_gemm
