"""One launch for all steps: does it write what the oracle says, and nothing it may not, at every size?"""

from dataclasses import replace

import oracle
import pytest
import torch
from batches import DECODE, EXTEND, VERIFY
from device import DEVICE

import nsa_core as nsa
from nsa_core.audit.compare import Comparison
from nsa_core.lab.check import check
from nsa_core.lab.trace import Request, requests
from nsa_core.strategies import strategies

MODES = [DECODE, VERIFY, EXTEND]
each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
each_form = pytest.mark.parametrize(
    ("mode", "fixed_width"),
    [(DECODE, False), (VERIFY, False), (EXTEND, False), (EXTEND, True)],
    ids=("decode", "target_verify", "draft_extend", "draft_extend_of_fixed_width"),
)


def table(rows, columns):
    return torch.arange(rows * columns, dtype=torch.int32, device=DEVICE).view(rows, columns)


def batch_of(lengths, drafts, seed=0, fixed_width=False):
    random = torch.Generator().manual_seed(seed)
    accepts = torch.randint(0, drafts + 1, (len(lengths),), generator=random, dtype=torch.int32)
    lengths = torch.tensor(lengths)
    accepts = torch.minimum(accepts, lengths).int()
    batch = nsa.ReplayBatch(*(t.to(DEVICE) for t in (lengths, torch.arange(len(lengths)) % 4, accepts)))
    return replace(batch, accept_length=None) if fixed_width else batch


def assert_live(backend, batch, mode):
    sets = backend.sets(batch.bs, mode)
    comparison = Comparison(sets, backend.config, backend.req_to_token, mode, "live prefix", batch.bs)
    assert comparison.findings(comparison.expected(batch), comparison.snapshot()) == []


@each_form
@pytest.mark.parametrize(("bs", "drafts"), [(1, 1), (33, 3), (257, 1), (129, 4)])
def test_the_vectors_have_no_block_that_limits_them(mode, fixed_width, bs, drafts):
    config = nsa.NSAConfig(page_size=4, index_topk=6, num_draft_tokens=drafts, paged_mqa_num_sms=3)
    backend = nsa.MultiStepBackend(config, table(4, 16), 1, strategy="fused")
    oracle.poison(backend.capture(bs, mode))
    batch = batch_of([(7 * i) % 12 for i in range(bs)], drafts, fixed_width=fixed_width)
    backend.replay(batch, mode)
    assert_live(backend, batch, mode)


def test_four_thousand_rows():
    test_the_vectors_have_no_block_that_limits_them(EXTEND, False, 1024, 4)


@each_form
@pytest.mark.parametrize("length", [1, 511, 512, 513, 1024, 1300])
def test_table_blocks_end_where_a_row_ends(mode, fixed_width, length):
    backend = nsa.MultiStepBackend(
        nsa.NSAConfig(page_size=7, num_draft_tokens=2), table(4, 1304), 2, strategy="fused"
    )
    oracle.poison(backend.capture(2, mode))
    batch = batch_of([length, 3], 2, fixed_width=fixed_width)
    backend.replay(batch, mode)
    assert_live(backend, batch, mode)


def guarded(shape, stride):
    """A view whose rows lie `stride` apart in a buffer of -5: what lies between them is not the kernel's."""
    buffer = torch.full((shape[0] * stride + 3,), -5, dtype=torch.int32, device=DEVICE)
    return buffer, buffer[3:].as_strided(shape, (stride, 1))


def foreign_set(bs, width, stride):
    vectors = {
        "cache_seqlens_int32": bs,
        "cu_seqlens_k": bs + 1,
        "dsa_cache_seqlens_int32": bs,
        "dsa_cu_seqlens_k": bs + 1,
        "dsa_seqlens_expanded": bs,
    }
    held = {name: torch.zeros(size, dtype=torch.int32, device=DEVICE) for name, size in vectors.items()}
    guard, held["page_table_1"] = guarded((bs, width), stride)
    pages_guard, held["real_page_table"] = guarded((bs, -(-width // 16)), stride)
    return type("EngineMetadata", (), held)(), [guard, pages_guard]


def test_foreign_buffers_of_different_widths_and_strides_keep_their_surroundings():
    shapes = ((90, 95), (71, 80), (64, 64))
    engine, guards = zip(*(foreign_set(3, width, stride) for width, stride in shapes), strict=True)
    backend = nsa.MultiStepBackend(nsa.NSAConfig(page_size=16), table(4, 96), 3, strategy="fused")
    backend.adopt(3, DECODE, engine)
    batch = batch_of([64, 5, 17], 1)
    backend.replay(batch, DECODE)
    assert_live(backend, batch, DECODE)
    for guard, pages in guards:
        assert int((guard != -5).sum()) == 64 + 5 + 17
        assert int((pages != -5).sum()) == 4 + 1 + 2


def test_lengths_nobody_checked_stay_inside_the_table():
    engine, guards = foreign_set(2, 32, 40)
    backend = nsa.MultiStepBackend(nsa.NSAConfig(page_size=16), table(4, 64), 1, "fused", validation="shapes")
    backend.adopt(2, DECODE, [engine])
    backend.replay(nsa.ReplayBatch(torch.tensor([5000, 3]).to(DEVICE), torch.tensor([1, 2]).to(DEVICE)), DECODE)
    assert int((guards[0] != -5).sum()) == 32 + 3


@pytest.mark.parametrize("length", [2**31 - 256, 2**31 - 255, 2**31 - 1])
def test_the_longest_length_does_not_wrap_in_the_paged_mqa_schedule(length):
    config = nsa.NSAConfig(tables=("real_page_table",), paged_mqa_num_sms=3)
    backend = nsa.MultiStepBackend(config, table(4, 64), 1, "fused", validation="shapes")
    captured = backend.capture(1, DECODE)[0]
    lengths = torch.tensor([length], device=DEVICE)
    backend.replay(nsa.ReplayBatch(lengths, torch.zeros_like(lengths)), DECODE)
    each, more = divmod(-(-length // 256), 3)
    begins = [sm * each + max(sm - (3 - more), 0) for sm in range(3)]
    assert captured.paged_mqa_schedule_metadata.tolist() == [[0, begin] for begin in begins] + [[1, 0]]


def test_rows_past_the_accepted_ones_are_left_alone():
    config = nsa.NSAConfig(page_size=4, num_draft_tokens=4)
    backend = nsa.MultiStepBackend(config, table(4, 64), 1, strategy="fused")
    captured = backend.capture(3, EXTEND)[0]
    oracle.poison([captured])
    accepts = torch.tensor([2, 0, 3], dtype=torch.int32, device=DEVICE)
    backend.replay(nsa.ReplayBatch(torch.tensor([9, 8, 50]).to(DEVICE), torch.arange(3).to(DEVICE), accepts), EXTEND)
    for field in (captured.page_table_1, captured.nsa_seqlens_expanded, captured.nsa_cu_seqlens_k[1:]):
        assert bool((field[5:] == -7777).all())


def test_rows_before_the_first_token_have_length_0_in_both_forms_of_draft_extend():
    """Accept lengths above the lengths are refused where they are read; elsewhere the kernel holds the rows at 0."""
    config, cells = nsa.NSAConfig(page_size=4, num_draft_tokens=4, paged_mqa_num_sms=3), []
    lengths, pool_rows = torch.tensor([9, 2, 0], device=DEVICE), torch.arange(3, device=DEVICE)
    for accepts in (None, torch.full((3,), 4, device=DEVICE)):
        backend = nsa.MultiStepBackend(config, table(4, 64), 1, strategy="fused", validation="shapes")
        oracle.poison(backend.capture(3, EXTEND))
        backend.replay(nsa.ReplayBatch(lengths, pool_rows, accepts), EXTEND)
        assert backend[0].nsa_seqlens_expanded.tolist() == [6, 7, 8, 9, 0, 0, 1, 2, 0, 0, 0, 0]
        cells.append([t.clone() for t in backend[0].tensors().values()])
    assert all(map(torch.equal, *cells))


def test_the_length_dependent_flashmla_schedule_is_refused_by_name():
    config = nsa.NSAConfig(flashmla_num_sm_parts=4, flashmla_dense=True)
    with pytest.raises(ValueError, match="flashmla_dense=True.*'fused'.*'copy'"):
        nsa.MultiStepBackend(config, table(4, 64), 1, strategy="fused").capture(2, DECODE)


def test_more_rows_a_request_than_a_tile_holds_are_refused_where_there_are_such_rows():
    backend = nsa.MultiStepBackend(nsa.NSAConfig(num_draft_tokens=300), table(4, 512), 1, strategy="fused")
    with pytest.raises(ValueError, match="num_draft_tokens is 300.*tile of 256"):
        backend.capture(1, VERIFY)
    backend.capture(1, DECODE)


def test_a_replay_is_one_launch_and_the_host_learns_no_extent():
    backend = nsa.MultiStepBackend(nsa.NSAConfig(), table(4, 64), 8, strategy="fused")
    backend.capture(2, DECODE)
    report = backend.replay(batch_of([5, 9], 1), DECODE)
    assert report.paths == {"launch": 1} and (report.rows, report.columns, report.host_reads) == (None, None, 0)


def test_refresh_is_for_strategies_that_read_nothing_on_the_host():
    backend = nsa.MultiStepBackend(nsa.NSAConfig(), table(4, 64), 2, strategy="copy")
    backend.capture(2, DECODE)
    with pytest.raises(RuntimeError, match="'copy'.*host.*'fused'"):
        backend.refresh(batch_of([5, 9], 1), DECODE)
    backend = nsa.MultiStepBackend(nsa.NSAConfig(), table(4, 64), 2, strategy="fused")
    backend.capture(2, DECODE)
    backend.refresh(batch_of([5, 9], 1), DECODE)
    assert_live(backend, batch_of([5, 9], 1), DECODE)


def shrunk(name):
    """A trace's own arrivals and proportions at a size that an interpreter replays in seconds."""
    sizes = ((r.arrival_s, r.context_tokens // 64 + 1, r.generated_tokens // 8 + 1) for r in requests(name))
    return [Request(*size) for size in sizes]


@pytest.mark.parametrize("name", ["azure", "mooncake"])
@pytest.mark.parametrize("strategy", ["copy", "fused", "shared+fused"])
def test_three_strategies_agree_with_the_oracle_on_hundreds_of_trace_steps(strategy, name):
    config = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3, max_context_len=300)
    trace = name if DEVICE == "cuda" else shrunk(name)
    if DEVICE == "cuda":
        config = nsa.NSAConfig(max_context_len=131072, flashmla_num_sm_parts=66, paged_mqa_num_sms=132)
    draft_steps = 2 if DEVICE == "cuda" or strategy != "fused" else 1  # interpreted, every program costs milliseconds
    info = strategies(DEVICE)[strategy]
    result = check(trace, config, info, steps=300, num_steps=draft_steps, max_batch=3, device=DEVICE)
    assert result.faults == [] and result.replays == 300 and result.requests > 500


@pytest.mark.cuda
def test_no_batch_size_length_or_step_count_compiles_again():
    from nsa_core.kernels.refresh import refresh

    def kernels():
        return sum(len(cache[0]) for cache in refresh.device_caches.values())

    config, slots = nsa.NSAConfig(page_size=32, index_topk=77), table(4, 4096)
    counts = []
    for bs, steps, length in ((1, 1, 5), (2, 3, 64), (16, 4, 4000), (17, 8, 1), (300, 2, 4095)):
        backend = nsa.MultiStepBackend(config, slots, steps, strategy="fused")
        backend.capture(bs, DECODE)
        lengths = torch.full((bs,), length, device=DEVICE)
        batch = nsa.ReplayBatch(lengths, torch.zeros_like(lengths))
        backend.replay(batch, DECODE)
        assert_live(backend, batch, DECODE)
        counts.append(kernels())
    assert counts[0] == counts[-1]


@pytest.mark.cuda
@pytest.mark.parametrize("strategy", ["copy", "fused", "batched-strided"])
def test_offsets_past_two_to_the_31(strategy):
    width, rows = 1_048_582, 2_100
    slots = torch.arange(width, dtype=torch.int32, device=DEVICE).unsqueeze(0).repeat(2, 1)
    slots[1] += 7
    backend = nsa.MultiStepBackend(nsa.NSAConfig(), slots, 1, strategy=strategy)
    captured = backend.capture(rows, DECODE)[0]
    lengths = torch.full((rows,), 3, device=DEVICE)
    lengths[-1] = width if strategy == "fused" else 70_000
    pool_rows = torch.ones(rows, dtype=torch.int64, device=DEVICE)
    backend.replay(nsa.ReplayBatch(lengths, pool_rows), DECODE)
    last = int(lengths[-1])
    assert (rows - 1) * captured.page_table_1.stride(0) > 2**31
    assert torch.equal(captured.page_table_1[-1, :last], slots[1, :last])
    assert torch.equal(captured.real_page_table[-1, : -(-last // 64)], slots[1, :last:64] // 64)
    assert captured.page_table_1[-2, :3].tolist() == slots[1, :3].tolist()
