"""Do captured buffers stay where they are, stay apart, and hide their stale tails?"""

import numpy as np
import oracle
import pytest
import torch
from batches import (
    CASES,
    DECODE,
    EXTEND,
    HOST_ONLY,
    IDLE,
    MODES,
    Requests,
    captured,
    each_mode,
    each_strategy,
    token_table,
)

import nsa_core as nsa

CONFIG = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3, max_context_len=8192)
PAGE_1 = nsa.NSAConfig(page_size=1, index_topk=48, num_draft_tokens=3)
WIDTH, POOL, STEPS, BS = 130, 6, 2, 3
MARK = 4242
INPUTS = ("seq_lens", "req_pool_indices", "accept_length", "seq_lens_cpu", "accept_length_cpu")


def table(config=CONFIG):
    return token_table(POOL, WIDTH, config.page_size)


def random_requests(generator, bs=BS):
    lengths = generator.integers(3, WIDTH - 3, bs, endpoint=True)
    pool_rows, accepts = generator.integers(0, POOL, bs), generator.integers(0, 4, bs)
    dtype = (torch.int32, torch.int64)[generator.integers(2)]
    return Requests(tuple(lengths), tuple(pool_rows), tuple(accepts), dtype)


def places(steps):
    tensors = [getattr(step, field) for step in steps for field in oracle.FIELDS]
    return [(t.data_ptr(), t.shape, t.stride(), t.dtype) for t in tensors]


WITH_LONG_TAILS = (
    "shrinks from full width to one token",
    "page size 1",
    "accepted none, some and all",
    "a request of length 0 beside a full one",
)


def storage(tensor):
    return tensor.untyped_storage().data_ptr()


@each_strategy
@each_mode
def test_no_field_of_any_step_moves_in_fifty_replays_or_ten_interpreted_ones(mode, strategy):
    backend, generator = captured(CONFIG, table(), STEPS, strategy, BS, mode), np.random.default_rng(0)
    before = places(backend.sets(BS, mode))
    for _ in range(50 if strategy in HOST_ONLY else 10):
        backend.replay(random_requests(generator).batch(mode), mode)
        assert places(backend.sets(BS, mode)) == before


@each_strategy
@each_mode
def test_captured_shapes_and_constants_are_those_of_the_field_table(mode, strategy):
    backend = captured(CONFIG, table(), STEPS, strategy, BS, mode)
    for step in range(STEPS):
        for field, shape in oracle.captured_shapes(CONFIG, BS, mode, WIDTH).items():
            tensor = getattr(backend[step], field)
            assert (tensor.dtype, tuple(tensor.shape)) == (torch.int32, shape), field
        for field in oracle.CONSTANT:
            assert getattr(backend[step], field).tolist() == list(range(len(getattr(backend[step], field))))
        for field in oracle.CUMULATIVE:
            assert getattr(backend[step], field)[0] == 0


def test_table_width_comes_from_the_token_table_not_from_the_nominal_context():
    for context in (64, 131072):
        config = nsa.NSAConfig(page_size=16, max_context_len=context)
        assert captured(config, table(), 1, "copy", BS, DECODE)[0].page_table_1.shape == (BS, WIDTH)


@each_strategy
@each_mode
def test_capturing_again_returns_the_same_set(mode, strategy):
    backend = nsa.MultiStepBackend(CONFIG, table(), STEPS, strategy=strategy)
    first = backend.capture(BS, mode)
    before = places(first)
    assert len(first) == len(backend) == STEPS
    assert places(backend.capture(BS, mode)) == places(backend.sets(BS, mode)) == before


@each_strategy
@each_mode
def test_the_captured_set_never_aliases_a_tensor_of_the_caller(mode, strategy):
    tokens = table()
    backend = captured(CONFIG, tokens, STEPS, strategy, BS, mode)
    batch = Requests((30, 40, 50), (0, 1, 2), (1, 2, 3), torch.int32).batch(mode)
    backend.replay(batch, mode)
    before = [oracle.snapshot(step) for step in backend.sets(BS, mode)]
    for given in (batch.seq_lens, batch.req_pool_indices, batch.accept_length, tokens):
        if given is not None:
            given.fill_(oracle.POISON)
    for step, cells in zip(backend.sets(BS, mode), before, strict=True):
        oracle.assert_same_cells(oracle.snapshot(step), cells)


@each_strategy
@each_mode
def test_the_callers_tensors_are_not_written(mode, strategy):
    tokens = table()
    backend = captured(CONFIG, tokens, STEPS, strategy, BS, mode)
    batch = Requests((30, 40, 50), (0, 1, 2), (1, 2, 3), torch.int32, mirrored=True).batch(mode)
    given = [tokens] + [t for name in INPUTS if (t := getattr(batch, name)) is not None]
    kept = [t.clone() for t in given]
    backend.replay(batch, mode)
    assert all(torch.equal(now, then) for now, then in zip(given, kept, strict=True))


@each_strategy
@each_mode
def test_leading_cells_and_constants_are_never_written(mode, strategy):
    backend, generator = captured(CONFIG, table(), STEPS, strategy, BS, mode), np.random.default_rng(1)
    for step in backend.sets(BS, mode):
        for field in oracle.CUMULATIVE:
            getattr(step, field)[0] = MARK
        for field in oracle.CONSTANT:
            getattr(step, field).fill_(MARK)
    for _ in range(3):
        backend.replay(random_requests(generator).batch(mode), mode)
    for step in backend.sets(BS, mode):
        assert all(getattr(step, field)[0] == MARK for field in oracle.CUMULATIVE)
        assert all((getattr(step, field) == MARK).all() for field in oracle.CONSTANT)


@each_strategy
def test_decode_expanded_lengths_are_the_storage_of_the_cache_lengths(strategy):
    for step in captured(CONFIG, table(), STEPS, strategy, BS, DECODE).sets(BS, DECODE):
        assert step.nsa_seqlens_expanded.data_ptr() == step.cache_seqlens_int32.data_ptr()


@each_strategy
@each_mode
def test_with_page_size_1_both_tables_are_one_storage(mode, strategy):
    for step in captured(PAGE_1, table(PAGE_1), STEPS, strategy, BS, mode).sets(BS, mode):
        assert step.real_page_table.data_ptr() == step.page_table_1.data_ptr()
        assert step.real_page_table.shape == step.page_table_1.shape


@each_mode
def test_otherwise_no_two_fields_share_storage(mode):
    step = captured(CONFIG, table(), 1, "copy", BS, mode)[0]
    fields = [field for field in oracle.FIELDS if not (mode is DECODE and field == "nsa_seqlens_expanded")]
    spans = sorted((t.data_ptr(), t.data_ptr() + 4 * t.numel()) for t in (getattr(step, field) for field in fields))
    assert all(end <= begin for (_, end), (begin, _) in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize("strategy", [name for name in HOST_ONLY if name != "shared"])
@each_mode
def test_steps_have_buffers_of_their_own(mode, strategy):
    first, second = captured(CONFIG, table(), 2, strategy, BS, mode).sets(BS, mode)
    assert storage(first.page_table_1) != storage(second.page_table_1)
    assert storage(first.cache_seqlens_int32) != storage(second.cache_seqlens_int32)


@each_mode
def test_shared_steps_have_one_set_between_them(mode):
    first, second = captured(CONFIG, table(), 2, "shared", BS, mode).sets(BS, mode)
    assert places([first]) == places([second])


def test_shared_steps_with_a_step_offset_share_only_the_tables():
    config = nsa.NSAConfig(page_size=16, step_offset=1)
    first, second = captured(config, table(), 2, "shared", BS, DECODE).sets(BS, DECODE)
    assert first.page_table_1.data_ptr() == second.page_table_1.data_ptr()
    assert first.real_page_table.data_ptr() == second.real_page_table.data_ptr()
    assert first.cache_seqlens_int32.data_ptr() != second.cache_seqlens_int32.data_ptr()


@each_strategy
def test_modes_captured_with_one_batch_size_coexist(strategy):
    backend = captured(CONFIG, table(), STEPS, strategy, BS, *MODES)
    for mode in MODES:
        oracle.poison(step for other in MODES for step in backend.sets(BS, other))
        others = [step for other in MODES if other is not mode for step in backend.sets(BS, other)]
        before = [oracle.snapshot(step) for step in others]
        backend.replay(Requests((30, 40, 50), (0, 1, 2), (1, 2, 3)).batch(mode), mode)
        for step, cells in zip(others, before, strict=True):
            oracle.assert_same_cells(oracle.snapshot(step), cells, f"after a replay of {mode.name}")


@each_strategy
def test_idle_leaves_what_decode_leaves(strategy):
    cells = []
    for mode in (DECODE, IDLE):
        backend = captured(CONFIG, table(), STEPS, strategy, BS, mode)
        oracle.poison(backend.sets(BS, mode))
        backend.replay(Requests((30, 40, 50), (0, 1, 2), ()).batch(mode), mode)
        cells.append([oracle.snapshot(step) for step in backend.sets(BS, mode)])
    for decode, idle in zip(*cells, strict=True):
        oracle.assert_same_cells(decode, idle)


@pytest.mark.parametrize("name", WITH_LONG_TAILS)
@each_strategy
@each_mode
def test_tail_is_never_visible_to_a_bounded_reader(mode, strategy, name):
    case = CASES[name]
    backend = case.backend(strategy, mode)
    for requests in case.replays:
        batch = requests.batch(mode)
        oracle.poison(backend.sets(case.bs, mode))
        backend.replay(batch, mode)
        rows = len(oracle.rows_in_use(case.config, batch, mode, 0))
        for step in backend.sets(case.bs, mode):
            assert oracle.POISON not in oracle.read_bounded(step, rows, case.config.page_size)


@pytest.mark.parametrize("name", WITH_LONG_TAILS)
@each_strategy
def test_tail_is_never_visible_to_a_bounded_reader_of_fixed_width(strategy, name):
    case = CASES[name].fixed_width
    backend = case.backend(strategy, EXTEND)
    for requests in case.replays:
        oracle.poison(backend.sets(case.bs, EXTEND))
        backend.replay(requests.batch(EXTEND), EXTEND)
        rows = case.bs * case.config.num_draft_tokens
        for step in backend.sets(case.bs, EXTEND):
            assert oracle.POISON not in oracle.read_bounded(step, rows, case.config.page_size)


def test_a_reader_past_its_bound_does_see_the_poison():
    case = CASES["shrinks from full width to one token"]
    backend, batch = case.backend("copy", EXTEND), case.replays[-1].batch(EXTEND)
    oracle.poison(backend.sets(case.bs, EXTEND))
    backend.replay(batch, EXTEND)
    rows = len(oracle.rows_in_use(case.config, batch, EXTEND, 0))
    assert oracle.POISON in oracle.read_bounded(backend[0], rows + 1, case.config.page_size)


# Padding: a batch smaller than the captured one.


@each_mode
def test_a_padded_batch_ends_in_requests_of_one_token_in_pool_row_0(mode):
    batch = Requests((30, 40), (4, 5), (2, 3), torch.int32, mirrored=True).batch(mode)
    padded = batch.padded(4)
    assert (batch.bs, padded.bs) == (2, 4)
    assert padded.seq_lens.tolist() == padded.seq_lens_cpu.tolist() == [30, 40, 1, 1]
    assert padded.req_pool_indices.tolist() == [4, 5, 0, 0]
    assert padded.seq_lens.dtype == padded.req_pool_indices.dtype == torch.int32
    if mode is EXTEND:
        assert padded.accept_length.tolist() == padded.accept_length_cpu.tolist() == [2, 3, 1, 1]
    else:
        assert padded.accept_length is None and padded.accept_length_cpu is None


def test_padding_to_its_own_size_changes_no_value():
    batch = Requests((30, 40), (4, 5), (2, 3)).batch(EXTEND)
    padded = batch.padded(2)
    assert padded.seq_lens.tolist() == [30, 40]
    assert padded.accept_length.tolist() == [2, 3]
    assert padded.seq_lens_cpu is None


@each_strategy
@each_mode
def test_a_padded_batch_replays_into_the_larger_set(mode, strategy):
    backend = captured(CONFIG, table(), STEPS, strategy, 5, mode)
    batch = Requests((30, 40), (4, 5), (2, 3)).batch(mode).padded(5)
    oracle.poison(backend.sets(5, mode))
    before = oracle.snapshot(backend[0])
    backend.replay(batch, mode)
    wanted = oracle.expected(CONFIG, table(), batch, mode, before)
    live = oracle.live_mask(CONFIG, batch, mode, wanted)
    for step in backend.sets(5, mode):
        oracle.assert_live_cells(oracle.snapshot(step), wanted, live)
        assert step.cache_seqlens_int32[2:].tolist() == wanted["cache_seqlens_int32"][2:].tolist()


@each_strategy
def test_rows_that_would_lie_before_the_first_token_of_a_padded_request_have_length_0(strategy):
    backend = captured(CONFIG, table(), STEPS, strategy, 4, EXTEND)
    backend.replay(Requests((30, 2), (4, 5), None).batch(EXTEND).padded(4), EXTEND)
    for step in backend.sets(4, EXTEND):
        assert step.cache_seqlens_int32.tolist() == [30, 2, 1, 1]
        assert step.nsa_seqlens_expanded.tolist() == [28, 29, 30, 0, 1, 2, 0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize("captured_inside", (True, False), ids=("captured_inside", "captured_outside"))
@each_strategy
@each_mode
def test_what_inference_mode_captured_is_replayed_outside_of_it_and_the_reverse(mode, strategy, captured_inside):
    case = CASES["eleven requests, a prime"]
    with torch.inference_mode(captured_inside):
        backend = case.backend(strategy, mode)
        batches = [requests.batch(mode) for requests in case.replays]
    for batch in batches:
        with torch.inference_mode(not captured_inside):
            backend.replay(batch, mode)
        wanted = (batch.seq_lens + case.config.length_growth(mode, 0)).tolist()
        assert all(step.cache_seqlens_int32.tolist() == wanted for step in backend)
