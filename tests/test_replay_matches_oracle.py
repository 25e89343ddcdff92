"""Does every strategy keep its contract on any batch, replay after replay, in every step?"""

from dataclasses import replace

import oracle
import pytest
import torch
from batches import (
    CAPACITY,
    CASES,
    DECODE,
    EXTEND,
    EXTEND_CAPACITY,
    HOST_ONLY,
    IDLE,
    MODES,
    VERIFY,
    Requests,
    Scenario,
    captured,
    captured_or_skip,
    each_case,
    each_mode,
    each_strategy,
    examples_for,
    runnable_strategies,
    scenarios,
    token_table,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nsa_core as nsa

# A strategy that shares runs the same kernels on fewer buffers: nothing that large sizes could add.
each_unshared_strategy = pytest.mark.parametrize(
    "strategy", [name for name in runnable_strategies() if not name.startswith("shared")]
)


def assert_contract(strategy, wanted, step, live, note):
    cells = oracle.snapshot(step)
    if nsa.strategies()[strategy].contract == "exact":
        oracle.assert_same_cells(cells, wanted, note)
    else:
        oracle.assert_live_cells(cells, wanted, live, note)


def replay_and_compare(backend, strategy, scenario, mode):
    """Every replay of the scenario into the same poisoned buffers; `before` carries the tails along."""
    config, steps = scenario.config, range(scenario.num_steps)
    oracle.poison(backend.sets(scenario.bs, mode))
    before = [oracle.snapshot(backend[step]) for step in steps]
    for i, requests in enumerate(scenario.replays):
        batch = requests.batch(mode)
        backend.replay(batch, mode)
        for step in steps:
            wanted = oracle.expected(config, scenario.table, batch, mode, before[step], step, scenario.num_steps)
            live = oracle.live_mask(config, batch, mode, wanted, step)
            assert_contract(strategy, wanted, backend[step], live, f"replay {i}, step {step}")
            before[step] = oracle.snapshot(backend[step])


def fits(case, mode):
    """A named case serves the modes whose rule its accept lengths obey; decode and verify read none."""
    pairs = [(a, s) for replay in case.replays for a, s in zip(replay.accepts, replay.lengths, strict=True)]
    return mode is not EXTEND or all(a <= s for a, s in pairs)


def test_strategies_without_kernels_run_everywhere():
    assert set(HOST_ONLY) <= set(runnable_strategies())


def test_every_strategy_names_one_of_the_two_contracts():
    assert {info.contract for info in nsa.strategies().values()} <= {"exact", "live prefix"}
    assert all(nsa.strategies()[name].contract == "exact" for name in ("eager", "copy", "foreach", "batched"))


def test_every_named_case_serves_every_mode():
    assert all(fits(case, mode) for case in CASES.values() for mode in MODES)


@each_strategy
@each_mode
@each_case
def test_named_case(case, mode, strategy):
    replay_and_compare(case.backend(strategy, mode), strategy, case, mode)


@each_strategy
@each_case
def test_named_case_of_fixed_width(case, strategy):
    replay_and_compare(case.backend(strategy, EXTEND), strategy, case.fixed_width, EXTEND)


@each_strategy
@each_case
def test_fixed_width_writes_the_cells_of_a_ragged_batch_that_accepts_all_drafts(case, strategy):
    config, cells = case.config, []
    lengths = tuple(max(length, config.num_draft_tokens) for length in case.replays[0].lengths)
    for accepts in ((config.num_draft_tokens,) * case.bs, None):
        backend = case.backend(strategy, EXTEND)
        oracle.poison(backend.sets(case.bs, EXTEND))
        backend.replay(Requests(lengths, case.replays[0].pool_rows, accepts).batch(EXTEND), EXTEND)
        cells.append([oracle.snapshot(step) for step in backend.sets(case.bs, EXTEND)])
    for ragged, fixed_width in zip(*cells, strict=True):
        oracle.assert_same_cells(fixed_width, ragged)


@pytest.mark.parametrize("strategy", [name for name in runnable_strategies() if name in HOST_ONLY])
def test_the_extent_of_fixed_width_needs_no_accept_lengths(strategy):
    case = CASES["shrinks from full width to one token"].fixed_width
    report = case.backend(strategy, EXTEND).replay(case.replays[1].batch(EXTEND), EXTEND)
    assert (report.rows, report.columns) == (case.bs * case.config.num_draft_tokens, 1)


@each_strategy
def test_a_backend_replays_both_forms_of_draft_extend_in_turn(strategy):
    case = CASES["accepted none, some and all"]
    turns = (*case.replays, *case.fixed_width.replays, *case.replays[::-1])
    replay_and_compare(case.backend(strategy, EXTEND), strategy, replace(case, replays=turns), EXTEND)


@each_unshared_strategy
@each_mode
@pytest.mark.parametrize("case", list(CAPACITY.values()), ids=list(CAPACITY))
def test_case_larger_than_a_kernels_tile(case, mode, strategy):
    replay_and_compare(case.backend(strategy, mode), strategy, case, mode)


@each_unshared_strategy
@pytest.mark.parametrize("case", list(CAPACITY.values()), ids=list(CAPACITY))
def test_case_of_fixed_width_larger_than_a_kernels_tile(case, strategy):
    replay_and_compare(case.backend(strategy, EXTEND), strategy, case.fixed_width, EXTEND)


@each_unshared_strategy
def test_accept_lengths_of_1031_requests(strategy):
    replay_and_compare(EXTEND_CAPACITY.backend(strategy, EXTEND), strategy, EXTEND_CAPACITY, EXTEND)


@each_strategy
def test_random_batches(strategy):
    @settings(max_examples=examples_for(strategy), deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data(), mode=st.sampled_from(MODES))
    def replay_random_scenario(data, mode):
        scenario = data.draw(scenarios(mode, most_steps=5 if strategy in HOST_ONLY else 2))
        replay_and_compare(scenario.backend(strategy, mode), strategy, scenario, mode)

    replay_random_scenario()


OFFSET_REPLAYS = (
    Requests((14, 48), (1, 0), (2, 0)),
    Requests((3, 15), (0, 1), (1, 3)),
    Requests((100, 63), (1, 1), (3, 2)),
)


@pytest.mark.parametrize("step_offset", (1, 2), ids=lambda n: f"step_offset_{n}")
@each_strategy
@each_mode
def test_with_a_step_offset_each_step_has_its_own_lengths_and_all_steps_the_longest_table(
    mode, strategy, step_offset
):
    config = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3, step_offset=step_offset)
    scenario = Scenario(config, 130, 2, 3, OFFSET_REPLAYS)
    backend = captured_or_skip("step_offset", config, scenario.table, 3, strategy, 2, mode)
    replay_and_compare(backend, strategy, scenario, mode)
    if mode is EXTEND:
        replay_and_compare(backend, strategy, scenario.fixed_width, mode)


@each_strategy
def test_random_batches_with_a_step_offset(strategy):
    config = nsa.NSAConfig(step_offset=1)
    captured_or_skip("step_offset", config, token_table(1, 8, 64), 1, strategy, 1, DECODE)

    @settings(max_examples=examples_for(strategy) // 2, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data(), mode=st.sampled_from(MODES))
    def replay_random_scenario(data, mode):
        scenario = data.draw(scenarios(mode, most_steps=5 if strategy in HOST_ONLY else 2, step_offset=1))
        replay_and_compare(scenario.backend(strategy, mode), strategy, scenario, mode)

    replay_random_scenario()


def every_second(values):
    """The same values at every second element of another tensor."""
    spread = torch.full((2 * len(values),), 9, dtype=values.dtype)
    spread[::2] = values
    return spread[::2]


def of_one_value(values):
    return values[:1].expand(len(values))


@pytest.mark.parametrize("lay_out", (every_second, of_one_value))
@pytest.mark.parametrize(
    ("field", "accepts"),
    [
        *((field, (2, 0, 3)) for field in ("seq_lens", "req_pool_indices", "accept_length")),
        *((field, None) for field in ("seq_lens", "req_pool_indices")),
    ],
    ids=lambda value: {None: "fixed_width", (2, 0, 3): "ragged"}.get(value, value),
)
@each_strategy
def test_inputs_with_strides_are_read_right_or_refused_by_name(strategy, field, accepts, lay_out):
    case = CASES["one page less one, one page, one past it"]
    backend, batch = case.backend(strategy, EXTEND), Requests((17, 16, 15), (0, 1, 2), accepts).batch(EXTEND)
    strided = replace(batch, **{field: lay_out(getattr(batch, field))})
    try:
        backend.replay(strided, EXTEND)
    except ValueError as refusal:
        assert field in str(refusal)
    else:
        wanted = oracle.expected(case.config, case.table, strided, EXTEND, oracle.snapshot(backend[1]))
        live = oracle.live_mask(case.config, strided, EXTEND, wanted)
        oracle.assert_live_cells(oracle.snapshot(backend[1]), wanted, live)


@pytest.mark.parametrize("validation", ("auto", "shapes"))
@each_strategy
@each_mode
def test_a_batch_object_given_again_is_read_afresh(mode, strategy, validation):
    case = CASES["shrinks from full width to one token"]
    backend = nsa.MultiStepBackend(case.config, case.table, 2, strategy=strategy, validation=validation)
    backend.capture(case.bs, mode)
    batch = case.replays[0].batch(mode)
    for requests in case.replays:
        for field in ("seq_lens", "req_pool_indices") + ("accept_length",) * (mode is EXTEND):
            getattr(batch, field).copy_(getattr(requests.batch(mode), field))
        oracle.poison(backend.sets(case.bs, mode))
        before = oracle.snapshot(backend[1])
        backend.replay(batch, mode)
        wanted = oracle.expected(case.config, case.table, batch, mode, before)
        assert_contract(strategy, wanted, backend[1], oracle.live_mask(case.config, batch, mode, wanted), "")


@each_strategy
@each_mode
def test_a_token_table_cut_from_a_wider_one_is_read_by_its_strides(mode, strategy):
    case = CASES["eleven requests, a prime"]
    wide = token_table(case.pool, 200, case.config.page_size, seed=3)
    backend = captured(case.config, wide[:, :97], 2, strategy, case.bs, mode)
    before, batch = oracle.snapshot(backend[1]), case.replays[0].batch(mode)
    backend.replay(batch, mode)
    wanted = oracle.expected(case.config, wide, batch, mode, before)
    live = oracle.live_mask(case.config, batch, mode, wanted)
    oracle.assert_live_cells(oracle.snapshot(backend[1]), wanted, live)


@each_strategy
@each_mode
def test_a_host_mirror_that_is_too_long_is_an_upper_bound(mode, strategy):
    case = CASES["grows from one token to full width"]
    backend, bound = case.backend(strategy, mode), 90 + case.config.num_draft_tokens * (mode is VERIFY)
    oracle.poison(backend.sets(case.bs, mode))
    batch = Requests((17, 48), (0, 1), (2, 1)).batch(mode)
    mirrored = nsa.ReplayBatch(
        batch.seq_lens, batch.req_pool_indices, batch.accept_length, seq_lens_cpu=torch.tensor([90, 60])
    )
    before = oracle.snapshot(backend[0])
    backend.replay(mirrored, mode)
    wanted = oracle.expected(case.config, case.table, batch, mode, before)
    live = oracle.live_mask(case.config, batch, mode, wanted)
    for step in range(case.num_steps):
        oracle.assert_live_cells(oracle.snapshot(backend[step]), wanted, live, f"step {step}")
        if nsa.strategies()[strategy].contract == "exact":
            assert (backend[step].page_table_1[:, bound:] == oracle.POISON).all()


@each_strategy
@pytest.mark.parametrize("mode", (DECODE, VERIFY), ids=lambda mode: mode.name.lower())
def test_accept_lengths_are_not_read_outside_draft_extend(mode, strategy):
    case = CASES["one page less one, one page, one past it"]
    backend = case.backend(strategy, mode)
    batch = case.replays[0].batch(mode)
    backend.replay(nsa.ReplayBatch(batch.seq_lens, batch.req_pool_indices, torch.tensor([1, 0, 2]).int()), mode)
    live = oracle.live_mask(case.config, batch, mode, oracle.snapshot(backend[0]))
    wanted = oracle.expected(case.config, case.table, batch, mode, oracle.snapshot(backend[0]))
    oracle.assert_live_cells(oracle.snapshot(backend[1]), wanted, live)


@each_strategy
def test_idle_replays_like_decode_into_the_same_set(strategy):
    case = CASES["shrinks from full width to one token"]
    backend = case.backend(strategy, DECODE)
    assert [a is b for a, b in zip(backend.capture(case.bs, IDLE), backend.sets(case.bs, DECODE), strict=True)] == [
        True
    ] * 2
    replay_and_compare(backend, strategy, case, IDLE)


@each_strategy
@each_mode
def test_an_empty_batch_is_handled_or_refused_by_name(mode, strategy):
    empty = Scenario(nsa.NSAConfig(), 130, 2, 2, (Requests((), (), ()),))
    try:
        backend = empty.backend(strategy, mode)
    except ValueError as refusal:
        assert "bs" in str(refusal) and "0" in str(refusal)
    else:
        replay_and_compare(backend, strategy, empty, mode)


@each_mode
@each_case
def test_precompute_returns_just_the_rows_and_columns_in_use(case, mode):
    config, requests = case.config, case.replays[-1]
    batch = requests.batch(mode)
    values = nsa.precompute(config, case.table, batch, mode)
    shapes = oracle.captured_shapes(config, case.bs, mode, case.width)
    blank = {field: torch.zeros(shape, dtype=torch.int32).numpy() for field, shape in shapes.items()}
    wanted = oracle.expected(config, case.table, batch, mode, blank)
    rows = len(oracle.rows_in_use(config, batch, mode, 0))
    columns = oracle.columns_in_use(config, batch, mode, 1)
    pages = oracle.ceil_div(columns, config.page_size)
    used = {
        "cache_seqlens_int32": wanted["cache_seqlens_int32"],
        "cu_seqlens_k": wanted["cu_seqlens_k"],
        "page_table_1": wanted["page_table_1"][:rows, :columns],
        "real_page_table": wanted["real_page_table"][:rows, :pages],
        "nsa_seqlens_expanded": wanted["nsa_seqlens_expanded"][:rows],
        "nsa_cache_seqlens_int32": wanted["nsa_cache_seqlens_int32"][:rows],
        "nsa_cu_seqlens_k": wanted["nsa_cu_seqlens_k"][: rows + 1],
    }
    for field, cells in used.items():
        assert getattr(values, field).dtype == torch.int32, field
        assert getattr(values, field).shape == cells.shape, field
        assert getattr(values, field).tolist() == cells.tolist(), field


@each_mode
@each_case
def test_executing_the_copy_plan_by_hand_is_a_replay(case, mode):
    backend = case.backend("copy", mode)
    oracle.poison(backend.sets(case.bs, mode))
    before, batch = oracle.snapshot(backend[0]), case.replays[0].batch(mode)
    plan = nsa.copy_plan(backend[0], nsa.precompute(case.config, case.table, batch, mode), mode)
    for destination, source in plan:
        assert destination.shape == source.shape and destination.dtype == source.dtype == torch.int32
        destination.copy_(source)
    wanted = oracle.expected(case.config, case.table, batch, mode, before)
    oracle.assert_same_cells(oracle.snapshot(backend[0]), wanted)


@each_mode
def test_copy_plan_never_targets_a_constant_or_a_leading_zero(mode):
    case = CASES["eleven requests, a prime"]
    backend = case.backend("copy", mode)
    values = nsa.precompute(case.config, case.table, case.replays[0].batch(mode), mode)
    kept = [getattr(backend[0], field).data_ptr() for field in oracle.CONSTANT + oracle.CUMULATIVE]
    assert not set(kept) & {destination.data_ptr() for destination, _ in nsa.copy_plan(backend[0], values, mode)}


@each_strategy
def test_one_backend_serves_several_batch_sizes_and_modes_in_turn(strategy):
    config, table = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3), token_table(4, 130, 16)
    backend = nsa.MultiStepBackend(config, table, 2, strategy=strategy)
    small, large = Requests((9,), (3,), (2,)), Requests((64, 5, 33), (0, 2, 1), (1, 3, 0))
    turns = [(requests, mode) for mode in MODES for requests in (small, large)]
    for requests, mode in turns:
        backend.capture(len(requests.lengths), mode)
    for requests, mode in turns[::-1] + turns:
        backend.replay(requests.batch(mode), mode)
        wanted = oracle.expected(config, table, requests.batch(mode), mode, oracle.snapshot(backend[1]))
        live = oracle.live_mask(config, requests.batch(mode), mode, wanted)
        oracle.assert_live_cells(oracle.snapshot(backend[1]), wanted, live, f"{mode.name} {requests.lengths}")
        assert backend[1] is backend.sets(len(requests.lengths), mode)[1]
