"""What a replay consists of: computing once, copying one step or all of them, and every group of operations alone."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import torch

from nsa_core import MultiStepBackend, copy_plan, precompute, transform_page_table
from nsa_core.metadata import NSAMetadata
from nsa_core.plan import CopyPlan
from nsa_core.strategies import REGISTRY
from nsa_core.strategies.base import Captured, PlanStrategy, Strategy

from .cases import BenchCase, CaseInputs
from .timer import Candidate
from .verify import Gate

PRECOMPUTE = "precompute only"
COPY_ONE, COPY_ALL, ONE_COPY, SEVEN_COPIES = (
    "copies of 1 step",
    "copies of N steps",
    "one copy_",
    "seven int32 copies",
)
SLICED = "page transform, sliced"
CACHED, REBUILT = "page transform, cached columns", "page transform, columns rebuilt"
OPERATIONS = ("to(int32)", "cumsum", "table gather", "clamp", "page transform", "cat/arange")
MICRO_SIZES = (32, 64, 128, 256, 512, 1024, 2048)  # elements of the record's seven int32 copies
MICRO_CALLS = 1000
OPERATIONS_CASE = BenchCase("precompute-parts", width=8192)


def precompute_only(case: BenchCase, inputs: CaseInputs, gate: Gate) -> Candidate:
    """Validation and computation of one step, as every copying strategy does once, in inference mode as it does."""
    given = (case.config, inputs.req_to_token, inputs.batch, case.mode)
    compute = torch.inference_mode()(lambda: precompute(*given))
    _, sets = _bound("copy", case, inputs, 1)

    def refresh() -> None:
        for dst, src in copy_plan(sets[0], compute(), case.mode):
            dst.copy_(src)

    def check() -> list[str]:
        return gate.differences(sets, "live prefix", refresh)

    return Candidate(PRECOMPUTE, compute, check)


def copies(case: BenchCase, inputs: CaseInputs, name: str, steps: int) -> Candidate:
    """The copies of `steps` steps alone: plans built and executed as in a replay, nothing computed."""
    values = precompute(case.config, inputs.req_to_token, inputs.batch, case.mode)
    executor, _ = _bound(name, case, inputs, steps)

    @torch.inference_mode()
    def copy() -> None:
        executor.execute(executor.plans([values]))

    return _execution(name, copy, executor.plans([values]))


def one_copy(case: BenchCase, inputs: CaseInputs) -> Candidate:
    """The largest `.copy_()` of a step, its views ready: a single launch with the replay's own shapes."""
    values = precompute(case.config, inputs.req_to_token, inputs.batch, case.mode)
    _, sets = _bound("copy", case, inputs, 1)
    dst, src = max(copy_plan(sets[0], values, case.mode), key=lambda pair: pair[1].numel())
    return _execution(ONE_COPY, lambda: dst.copy_(src), [[(dst, src)]])


def executors(names: Iterable[str]) -> list[str]:
    """Those of the named strategies that execute a copy plan, always the default among them."""
    runs_plans = [
        name
        for name in names
        if issubclass(REGISTRY[name], PlanStrategy) and REGISTRY[name].execute is not PlanStrategy.execute
    ]
    return runs_plans if "copy" in runs_plans else ["copy", *runs_plans]


def micro_copies(device: torch.device, name: str) -> Candidate:
    """The record's micro-benchmark: seven contiguous int32 copies through one executor, the plan ready."""
    sources = [torch.arange(size, dtype=torch.int32, device=device) for size in MICRO_SIZES]
    plans = [[(torch.zeros_like(src), src) for src in sources]]
    table = torch.zeros(1, 64, dtype=torch.int32, device=device)
    smallest = BenchCase("smallest", bs=1, lengths=1, steps=1)
    executor, _ = _bound(name, smallest, CaseInputs(table, None, (1,), None), 1)
    return _execution(SEVEN_COPIES, lambda: executor.execute(plans), plans)


def operations(case: BenchCase, inputs: CaseInputs) -> Iterator[Candidate]:
    """The groups the record splits computing one step into, each on a decode case's own tensors."""
    config, batch, table = case.config, inputs.batch, inputs.req_to_token
    want = precompute(config, table, batch, case.mode)
    lengths, columns = want.cache_seqlens_int32, want.page_table_1.shape[1]
    rows, size, drafts = batch.req_pool_indices, config.page_size, range(1, config.num_draft_tokens + 1)

    def cumulative():
        return torch.nn.functional.pad(torch.cumsum(lengths, 0, dtype=torch.int32), (1, 0))

    def ranges():  # the expanded lengths of a verify step as the record's code built them: an arange per request
        return torch.cat(
            [torch.arange(n + 1, n + 1 + len(drafts), dtype=torch.int32, device=table.device) for n in inputs.lengths]
        )

    expanded = torch.tensor([n + i for n in inputs.lengths for i in drafts], dtype=torch.int32, device=table.device)
    yield _comparison("to(int32)", lambda: batch.seq_lens.to(torch.int32), lengths)
    yield _comparison("cumsum", cumulative, want.cu_seqlens_k)
    yield _comparison("table gather", lambda: table[:, :columns].index_select(0, rows), want.page_table_1)
    yield _comparison("clamp", lambda: lengths.clamp(max=config.index_topk), want.nsa_cache_seqlens_int32)
    yield _comparison("page transform", lambda: transform_page_table(want.page_table_1, size), want.real_page_table)
    yield _comparison("cat/arange", ranges, expanded)


def transforms(case: BenchCase, inputs: CaseInputs) -> Iterator[Candidate]:
    """The page transform three ways: sliced, through the cached index tensor, with that tensor built every time."""
    page_table = inputs.req_to_token[:, : max(inputs.lengths)].index_select(0, inputs.batch.req_pool_indices)
    size = case.page_size
    want = page_table[:, ::size] // size

    def rebuilt():
        strided_columns.cache_clear()
        return transform_page_table_indexed(page_table, size)

    yield _comparison(SLICED, lambda: transform_page_table(page_table, size), want)
    yield _comparison(CACHED, lambda: transform_page_table_indexed(page_table, size), want)
    yield _comparison(REBUILT, rebuilt, want)


@lru_cache(maxsize=256)
def strided_columns(width: int, page_size: int, device: torch.device) -> torch.Tensor:
    """Indices of each page's first column, int64 [ceil(width / page_size)]; one tensor per argument triple."""
    return torch.arange(0, width, page_size, device=device)


def transform_page_table_indexed(page_table_1: torch.Tensor, page_size: int) -> torch.Tensor:
    """The same result through the record's cached index tensor, kept for measuring it against plain slicing."""
    columns = strided_columns(page_table_1.shape[1], page_size, page_table_1.device)
    return page_table_1.index_select(1, columns) // page_size


def plan_of_one_step(case: BenchCase, inputs: CaseInputs) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The copies of one step by field name."""
    values = precompute(case.config, inputs.req_to_token, inputs.batch, case.mode)
    _, sets = _bound("copy", case, inputs, 1)
    names = {tensor.data_ptr(): name for name, tensor in reversed(sets[0].tensors().items())}
    skipping_zero = {tensor[1:].data_ptr(): name for name, tensor in sets[0].tensors().items() if tensor.numel() > 1}
    plan = copy_plan(sets[0], values, case.mode)
    return {names.get(dst.data_ptr(), skipping_zero.get(dst.data_ptr())): (dst, src) for dst, src in plan}


def _bound(name: str, case: BenchCase, inputs: CaseInputs, steps: int) -> tuple[Strategy, list[NSAMetadata]]:
    """An executor with sets of its own; it runs plans only, so no batch ever reaches it."""
    bs = len(inputs.lengths)
    sets = MultiStepBackend(case.config, inputs.req_to_token, steps, strategy=name).capture(bs, case.mode)
    return REGISTRY[name](Captured(case.config, inputs.req_to_token, case.mode, bs, sets)), sets


def _execution(name: str, call, plans: list[CopyPlan]) -> Candidate:
    pairs = [pair for plan in plans for pair in plan]

    def check() -> list[str]:
        for dst, _ in pairs:
            dst.fill_(-7)
        call()
        wrong = [at for at, (dst, src) in enumerate(pairs) if not torch.equal(dst, src)]
        return [f"copy {at} of {len(pairs)} differs from its source" for at in wrong]

    return Candidate(name, call, check)


def _comparison(name: str, call, want: torch.Tensor) -> Candidate:
    def check() -> list[str]:
        return [] if torch.equal(call(), want) else ["the result differs from the replay's own"]

    return Candidate(name, call, check)
