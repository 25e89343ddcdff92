"""Which replays are measured: a named grid, and the inputs of each of its cases."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch

from nsa_core import ForwardMode, NSAConfig, ReplayBatch
from nsa_core.config import TABLES
from nsa_core.lab import trace

DECODE, VERIFY, EXTEND = ForwardMode.DECODE, ForwardMode.TARGET_VERIFY, ForwardMode.DRAFT_EXTEND
MODES = (DECODE, VERIFY, EXTEND)
FLASHMLA_PARTS = 66  # of an H200: 132 SMs // 2, sparse fp8 decode with up to 128 query heads
SPARE_COLUMNS = 4096  # tables are wider than the longest request, as an engine's are
TRACE_ITERATION = 150  # far enough in that the batch is full or has settled


@dataclass(frozen=True)
class BenchCase:
    """One replay to measure; every field is a condition of its numbers.

    lengths: tokens of every request; "ragged", drawn from 1..`longest`; "one long", one of `longest` and the others
        of 1024; or a trace's name, the batch of its iteration TRACE_ITERATION.
    width: columns of `req_to_token`; None for the longest request + SPARE_COLUMNS.
    flashmla: "none", "sparse" (written at capture, free at replay) or "dense" (every replay schedules).
    tables: the page tables that are captured, see `NSAConfig`.
    mirrors: the batch carries host mirrors, as an engine's does.
    parts: also measure what the replay consists of.
    decode_gemms: GEMMs of the captured decode step whose delay is measured instead, see `exposure`; 0: none.
    weight: share of the time budget relative to other cases.
    """

    name: str
    mode: ForwardMode = DECODE
    bs: int = 32
    lengths: int | str = 4096
    longest: int = 4096
    steps: int = 4
    page_size: int = 64
    width: int | None = None
    flashmla: str = "none"
    step_offset: int = 0
    tables: tuple[str, ...] = TABLES
    mirrors: bool = True
    parts: bool = False
    decode_gemms: int = 0
    weight: float = 1.0

    @property
    def config(self) -> NSAConfig:
        parts = None if self.flashmla == "none" else FLASHMLA_PARTS
        dense = self.flashmla == "dense"
        return NSAConfig(
            page_size=self.page_size,
            flashmla_num_sm_parts=parts,
            flashmla_dense=dense,
            step_offset=self.step_offset,
            tables=self.tables,
        )


@dataclass(frozen=True)
class CaseInputs:
    """What a case's replay reads."""

    req_to_token: torch.Tensor
    batch: ReplayBatch
    lengths: tuple[int, ...]
    accepts: tuple[int, ...] | None


def build(case: BenchCase, device: torch.device | str) -> CaseInputs:
    """The inputs of a case; the same case always gets the same ones."""
    if case.lengths in trace.names():
        return _from_trace(case, device)
    lengths = _lengths(case)
    width = case.width or max(lengths) + SPARE_COLUMNS
    table = token_table(case.bs + 1, width, case.page_size).to(device)
    return _read(table, _batch(case, lengths, device))


def token_table(pool: int, width: int, page_size: int) -> torch.Tensor:
    """int32 [pool, width] of page-aligned runs of slots; pages in shuffled order, none twice."""
    pages = -(-width // page_size)
    order = torch.randperm(pool * pages, generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    slots = order.view(pool, pages, 1) * page_size + torch.arange(page_size, dtype=torch.int32)
    return slots.view(pool, -1)[:, :width].contiguous()


def _lengths(case: BenchCase) -> list[int]:
    if case.lengths == "ragged":
        drawn = random.Random(0)
        return [drawn.randint(case.config.num_draft_tokens, case.longest) for _ in range(case.bs)]
    if case.lengths == "one long":
        return [case.longest] + [1024] * (case.bs - 1)
    return [case.lengths] * case.bs


def _batch(case: BenchCase, lengths: list[int], device: torch.device | str) -> ReplayBatch:
    seq_lens, accept_length = torch.tensor(lengths), None
    if case.mode is EXTEND:
        accepts = [1 + i % case.config.num_draft_tokens for i in range(case.bs)]
        accept_length = torch.tensor(accepts, dtype=torch.int32)
    return ReplayBatch(
        seq_lens=seq_lens.to(device, copy=True),
        req_pool_indices=torch.arange(case.bs, 0, -1, device=device),
        accept_length=None if accept_length is None else accept_length.to(device, copy=True),
        seq_lens_cpu=seq_lens if case.mirrors else None,
        accept_length_cpu=accept_length if case.mirrors else None,
    )


def _read(table: torch.Tensor, batch: ReplayBatch) -> CaseInputs:
    accepts = None if batch.accept_length is None else tuple(batch.accept_length.tolist())
    return CaseInputs(table, batch, tuple(batch.seq_lens.tolist()), accepts)


def _from_trace(case: BenchCase, device: torch.device | str) -> CaseInputs:
    engine = trace.TraceEngine(case.lengths, case.config, max_batch=case.bs, device=device)
    for step in engine:
        if step.iteration == TRACE_ITERATION and step.mode is case.mode:
            return _read(engine.req_to_token, step.batch)
    raise ValueError(f"trace {case.lengths} ends before iteration {TRACE_ITERATION}")


def _family(prefix: str, **options) -> list[BenchCase]:
    return [BenchCase(f"{prefix}-{mode.value}", mode=mode, **options) for mode in MODES]


def grid() -> list[BenchCase]:
    """The full grid. Not a cross product: each family varies one condition around bs 32, 4096 tokens, 4 steps."""
    in_parts, past_decode = {"width": 8192, "parts": True}, (VERIFY, EXTEND)
    return [
        BenchCase("record-4", steps=4, weight=3, **in_parts),
        BenchCase("record-8", steps=8, weight=3, **in_parts),
        *(BenchCase(f"decode-steps-{n}", steps=n, weight=2, **in_parts) for n in (1, 2, 16)),
        *(
            BenchCase(f"{mode.value}-steps-{n}", mode, steps=n, weight=2, **in_parts)
            for mode in past_decode
            for n in (1, 4, 8, 16)
        ),
        *(BenchCase(f"decode-bs-{bs}", bs=bs) for bs in (1, 8, 64, 128, 256)),
        *(BenchCase(f"{mode.value}-bs-{bs}", mode, bs=bs) for mode in past_decode for bs in (1, 256)),
        *(BenchCase(f"decode-context-{k}k", lengths=k * 1024) for k in (1, 16, 64, 128)),
        *(BenchCase(f"{mode.value}-context-{k}k", mode, lengths=k * 1024) for mode in past_decode for k in (1, 128)),
        BenchCase("decode-full-width", width=4096),
        BenchCase("decode-page-1-steps-8", page_size=1, steps=8),
        *_family("page-1", page_size=1),
        *_family("flashmla-sparse", flashmla="sparse"),
        *_family("flashmla-dense", flashmla="dense"),
        *_family("ragged", lengths="ragged", longest=8192),
        BenchCase("one-long-64k", lengths="one long", longest=65536, steps=8),
        *_family("bytes-64k-steps-8", lengths=65536, steps=8),
        *_family("real-table-64k-steps-8", lengths=65536, steps=8, tables=("real_page_table",)),
        *_family("no-mirrors", mirrors=False),
        *_family("step-offset", step_offset=1),
        *_family("trace-azure", lengths="azure"),
        *_family("trace-mooncake", lengths="mooncake"),
    ]


def exposed() -> list[BenchCase]:
    """Refreshes beside a decode step, at every choice of tables; measured only where named: 80 s of an H100."""
    shapes = ((1, 4, 4), (32, 4, 4), (32, 4, 8), (32, 64, 8))
    choices = {"": TABLES, "-real-table": ("real_page_table",), "-wide-table": ("page_table_1",)}
    return [
        BenchCase(
            f"exposed-{bs}x{k}k-steps-{n}{suffix}", bs=bs, lengths=k * 1024, steps=n, tables=tables, decode_gemms=6
        )
        for bs, k, n in shapes
        for suffix, tables in choices.items()
    ]


QUICK = (
    "record-4",
    "record-8",
    "decode-steps-1",
    "target_verify-steps-4",
    "draft_extend-steps-4",
    "page-1-decode",
    "flashmla-dense-decode",
    "ragged-decode",
    "trace-azure-decode",
)


EVIDENCE = (  # what claims, the decision and the figures ask about
    *("record-*", "decode-steps-*", "target_verify-steps-*", "draft_extend-steps-*", "decode-context-*"),
    *("decode-bs-1", "decode-bs-256", "decode-full-width", "page-1-decode", "bytes-64k-steps-8-decode"),
    *("flashmla-*-decode", "ragged-decode", "no-mirrors-decode", "step-offset-decode", "trace-*-decode"),
)


def select(patterns: Iterable[str]) -> list[BenchCase]:
    """The cases, of the grid or exposed, whose names match any of the patterns (`*` and `?` as in file names)."""
    cases, patterns = [*grid(), *exposed()], list(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(case.name, pattern) for case in cases):
            raise ValueError(f"case {pattern!r} matches none of: {', '.join(case.name for case in cases)}")
    return [case for case in cases if any(fnmatchcase(case.name, pattern) for pattern in patterns)]
