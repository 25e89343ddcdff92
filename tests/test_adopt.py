"""Can an engine hand over captured metadata of its own, in either spelling, and is anything unfit refused by name?"""

import re
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
import torch
from batches import (
    CASES,
    DECODE,
    EXTEND,
    MODES,
    VERIFY,
    Requests,
    each_mode,
    each_strategy,
    runnable_strategies,
    token_table,
)
from device import DEVICE

import nsa_core as nsa
from nsa_core.adopt import require_separate

WIDTH, POOL, BS, STEPS, PAGE = 130, 6, 3, 2, 16
CONFIG = nsa.NSAConfig(page_size=PAGE, index_topk=48, num_draft_tokens=3)
FIRST = Requests((100, 17, 64), (5, 0, 2), (3, 0, 1))
SECOND = Requests((3, 48, 20), (1, 1, 0), (1, 2, 2))
GUARD = 37  # odd, so that adopted buffers begin at addresses divisible by 4 only


def dsa(field):
    return field.replace("nsa_", "dsa_")


def guarded(shape, value):
    """A contiguous tensor in the middle of a larger allocation, and that allocation."""
    size = torch.Size(shape).numel()
    arena = torch.full((size + 2 * GUARD,), value, dtype=torch.int32, device=DEVICE)
    return arena[GUARD : GUARD + size].view(shape), arena


def foreign(mode, config=CONFIG, width=WIDTH, spell=str, bs=BS):
    """One step of an engine's own: every field a separate buffer, none allocated by the package."""
    buffers = {}
    for field, shape in oracle.captured_shapes(config, bs, mode, width).items():
        tensor, _ = guarded(shape, oracle.POISON)
        buffers[field] = tensor
    for field in oracle.CONSTANT:
        buffers[field].copy_(torch.arange(len(buffers[field]), device=DEVICE))
    for field in oracle.CUMULATIVE:
        buffers[field][0] = 0
    return SimpleNamespace(**{spell(field): tensor for field, tensor in buffers.items()})


def respelled(step, spell):
    return SimpleNamespace(**{field: getattr(step, spell(field)) for field in oracle.FIELDS})


def backend_of(strategy="copy", config=CONFIG, num_steps=STEPS, **options):
    table = token_table(POOL, WIDTH, config.page_size)
    return nsa.MultiStepBackend(config, table, num_steps, strategy=strategy, **options)


def foreign_steps(strategy, mode, **how):
    """An object per step; one object for all steps where a strategy shares."""
    one = foreign(mode, **how)
    return (
        [one] * STEPS if strategy.startswith("shared") else [one] + [foreign(mode, **how) for _ in range(STEPS - 1)]
    )


def adopting(strategy, steps, mode, config=CONFIG, **options):
    backend = backend_of(strategy, config, len(steps), **options)
    backend.adopt(BS, mode, steps)
    return backend


def replay_and_compare(backend, strategy, steps, mode, config=CONFIG):
    table = token_table(POOL, WIDTH, config.page_size)
    for requests in (FIRST, SECOND):
        batch = requests.batch(mode)
        before = [oracle.snapshot(step) for step in steps]
        backend.replay(batch, mode)
        for step, cells in zip(steps, before, strict=True):
            wanted = oracle.expected(config, table, batch, mode, cells)
            if nsa.strategies()[strategy].contract == "exact":
                oracle.assert_same_cells(oracle.snapshot(step), wanted)
            else:
                live = oracle.live_mask(config, batch, mode, wanted)
                oracle.assert_live_cells(oracle.snapshot(step), wanted, live)


@pytest.mark.parametrize("spell", (str, dsa), ids=("nsa_fields", "dsa_fields"))
@each_strategy
@each_mode
def test_an_engines_buffers_are_refreshed_in_place(mode, strategy, spell):
    steps = foreign_steps(strategy, mode, spell=spell)
    backend = adopting(strategy, steps, mode)
    replay_and_compare(backend, strategy, [respelled(step, spell) for step in steps], mode)


@pytest.mark.parametrize("spell", (str, dsa), ids=("nsa_fields", "dsa_fields"))
def test_the_backend_shows_adopted_tensors_under_the_nsa_names(spell):
    steps = [foreign(VERIFY, spell=spell) for _ in range(STEPS)]
    backend = backend_of()
    backend.adopt(BS, VERIFY, steps)
    for i, step in enumerate(steps):
        for field in oracle.FIELDS:
            assert getattr(backend[i], field).data_ptr() == getattr(step, spell(field)).data_ptr(), field


@each_strategy
def test_decode_lengths_in_two_buffers_are_both_refreshed(strategy):
    steps = foreign_steps(strategy, DECODE)
    backend = adopting(strategy, steps, DECODE)
    backend.replay(FIRST.batch(DECODE), DECODE)
    for step in steps:
        assert step.nsa_seqlens_expanded.data_ptr() != step.cache_seqlens_int32.data_ptr()
        assert step.nsa_seqlens_expanded.tolist() == step.cache_seqlens_int32.tolist() == [100, 17, 64]


@each_strategy
def test_decode_lengths_in_one_buffer_are_refreshed_too(strategy):
    steps = foreign_steps(strategy, DECODE)
    for step in steps:
        step.nsa_seqlens_expanded = step.cache_seqlens_int32
    replay_and_compare(adopting(strategy, steps, DECODE), strategy, steps, DECODE)


@each_strategy
@each_mode
def test_page_size_1_tables_in_two_buffers_are_both_refreshed(mode, strategy):
    config = nsa.NSAConfig(page_size=1, index_topk=48, num_draft_tokens=3)
    steps = foreign_steps(strategy, mode, config=config)
    replay_and_compare(adopting(strategy, steps, mode, config), strategy, steps, mode, config)


@each_strategy
@each_mode
def test_not_one_cell_around_an_adopted_buffer_is_written(mode, strategy):
    steps, arenas = foreign_steps(strategy, mode), []
    for step in steps:
        for field, shape in oracle.captured_shapes(CONFIG, BS, mode, WIDTH).items():
            tensor, arena = guarded(shape, oracle.POISON)
            setattr(step, field, tensor)
            arenas.append(arena)
    backend = adopting(strategy, steps, mode)
    for requests in (FIRST, SECOND):
        backend.replay(requests.batch(mode), mode)
    assert all((arena[:GUARD] == oracle.POISON).all() and (arena[-GUARD:] == oracle.POISON).all() for arena in arenas)


@pytest.mark.parametrize("strategy", ("eager", "copy", "foreach"))
@pytest.mark.parametrize("cut", (True, False), ids=("cut_to_size", "whole"))
@each_mode
def test_buffers_made_for_a_larger_batch_are_adopted(mode, cut, strategy):
    large = [foreign(mode, bs=8) for _ in range(STEPS)]
    shapes = oracle.captured_shapes(CONFIG, BS, mode, WIDTH)
    steps = [SimpleNamespace(**{f: getattr(step, f)[: shapes[f][0]] for f in oracle.FIELDS}) for step in large]
    replay_and_compare(adopting(strategy, steps if cut else large, mode), strategy, steps if cut else large, mode)
    for step in large:
        for field in set(oracle.FIELDS) - set(oracle.CONSTANT):
            assert (getattr(step, field)[shapes[field][0] :] == oracle.POISON).all(), field


def spread(shape, row_stride):
    """[rows, columns] whose rows lie `row_stride` elements apart."""
    arena = torch.full((shape[0] * row_stride,), oracle.POISON, dtype=torch.int32, device=DEVICE)
    return arena.as_strided(shape, (row_stride, 1))


@each_strategy
@each_mode
def test_tables_cut_from_wider_ones_are_written_by_their_strides(mode, strategy):
    steps = foreign_steps(strategy, mode)
    tables = [spread(step.page_table_1.shape, 333) for step in steps]
    for step, table in zip(steps, tables, strict=True):
        step.page_table_1 = table
        step.real_page_table = spread(step.real_page_table.shape, 17)
    replay_and_compare(adopting(strategy, steps, mode), strategy, steps, mode)
    for table in tables:
        between_rows = table.as_strided((table.shape[0] - 1, 333 - WIDTH), (333, 1), WIDTH)
        assert (between_rows == oracle.POISON).all()


@each_strategy
def test_strides_of_a_single_row_or_column_say_nothing_about_gaps(strategy):
    steps, table = foreign_steps(strategy, DECODE), torch.arange(POOL, dtype=torch.int32, device=DEVICE)
    for step in steps:
        step.page_table_1, step.real_page_table = (
            torch.full((size,), oracle.POISON, dtype=torch.int32, device=DEVICE).as_strided((1, size), (1, 1))
            for size in (WIDTH, -(-WIDTH // PAGE))
        )
    nsa.MultiStepBackend(CONFIG, table.as_strided((POOL, 1), (1, POOL)), STEPS, strategy)
    backend = nsa.MultiStepBackend(CONFIG, token_table(POOL, WIDTH, PAGE), STEPS, strategy)
    sets = backend.adopt(1, DECODE, steps)
    batch = Requests((100,), (5,), (3,)).batch(DECODE)
    backend.replay(batch, DECODE)
    assert torch.equal(sets[0].page_table_1[0, :100], backend.req_to_token[5, :100])


def sparse_file(cells, path):
    yield torch.from_numpy(np.memmap(path, dtype=np.int32, mode="w+", shape=cells))


def gpu_memory(cells, _path):
    """Test processes share the GPU, and several such blocks at a time may not fit: they take turns."""
    import fcntl

    with open(__file__, encoding="utf-8") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        arena = torch.empty(cells, dtype=torch.int32, device=DEVICE)
        yield arena
        arena.untyped_storage().resize_(0)  # pytest and the backend under test still hold the tensor
        torch.cuda.empty_cache()


@pytest.fixture
def far_apart(tmp_path):
    """Three rows 2**30 elements apart: the distance fits 32 bits, the offset of row 2 does not. 8 GiB in all."""
    allocate = gpu_memory if DEVICE == "cuda" else sparse_file
    for arena in allocate(2**31 + WIDTH, tmp_path / "rows"):
        yield arena.as_strided((3, WIDTH), (2**30, 1))


@each_strategy
def test_rows_of_the_token_table_are_found_past_32_bits(far_apart, strategy):
    far_apart.copy_(token_table(3, WIDTH, PAGE))
    backend = nsa.MultiStepBackend(CONFIG, far_apart, STEPS, strategy=strategy)
    backend.capture(1, DECODE)
    backend.replay(Requests((100,), (2,), ()).batch(DECODE), DECODE)
    for step in range(STEPS):
        assert torch.equal(backend[step].page_table_1[0, :100], far_apart[2, :100])
        assert torch.equal(backend[step].real_page_table[0, :7], far_apart[2, :100:PAGE] // PAGE)


@each_strategy
def test_rows_of_a_page_table_are_written_past_32_bits(far_apart, strategy):
    far_apart.fill_(oracle.POISON)
    step, table = foreign(DECODE), token_table(POOL, WIDTH, PAGE)
    step.page_table_1 = far_apart
    backend = backend_of(strategy, num_steps=1)
    backend.adopt(BS, DECODE, [step])
    backend.replay(Requests((3, 17, 100), (4, 3, 5), ()).batch(DECODE), DECODE)
    for row, (length, pool_row) in enumerate(((3, 4), (17, 3), (100, 5))):
        assert torch.equal(far_apart[row, :length], table[pool_row, :length])


@each_mode
def test_adopted_and_captured_sets_hold_the_same_values(mode):
    case = CASES["eleven requests, a prime"]
    captured = case.backend("copy", mode)
    adopted = nsa.MultiStepBackend(case.config, case.table, case.num_steps)
    adopted.adopt(case.bs, mode, [foreign(mode, case.config, case.width, bs=case.bs) for _ in range(case.num_steps)])
    oracle.poison(captured.sets(case.bs, mode))
    for backend in (captured, adopted):
        backend.replay(case.replays[0].batch(mode), mode)
    for ours, theirs in zip(captured.sets(case.bs, mode), adopted.sets(case.bs, mode), strict=True):
        oracle.assert_same_cells(oracle.snapshot(ours), oracle.snapshot(theirs))


# A page table narrower than the pool's rows bounds the lengths.

NARROW = 96


@pytest.mark.parametrize("strategy", ("eager", "copy", "foreach"))
@each_mode
def test_lengths_up_to_a_narrower_page_table_are_replayed(mode, strategy):
    steps = [foreign(mode, width=NARROW) for _ in range(STEPS)]
    backend, longest = adopting(strategy, steps, mode), NARROW - CONFIG.num_draft_tokens * (mode is VERIFY)
    batch = Requests((longest, 5, 16), (0, 1, 2), (1, 2, 3)).batch(mode)
    before = oracle.snapshot(steps[0])
    backend.replay(batch, mode)
    wanted = oracle.expected(CONFIG, backend.req_to_token, batch, mode, before)
    for step in steps:
        oracle.assert_same_cells(oracle.snapshot(step), wanted)


@each_strategy
@each_mode
def test_one_token_past_a_narrower_page_table_is_refused_by_its_width(mode, strategy):
    steps = foreign_steps(strategy, mode, width=NARROW)
    longest = NARROW - CONFIG.num_draft_tokens * (mode is VERIFY)
    backend = adopting(strategy, steps, mode, validation="values")
    before = [oracle.snapshot(step) for step in steps]
    said = rf"seq_lens\[1\] is {longest + 1} and needs .* columns, but the narrowest table has {NARROW};"
    with pytest.raises(ValueError, match=said):
        backend.replay(Requests((5, longest + 1, 16), (0, 1, 2), (1, 2, 3)).batch(mode), mode)
    for step, cells in zip(steps, before, strict=True):
        oracle.assert_same_cells(oracle.snapshot(step), cells)


# Unfit objects.


def changed(mode, field, change):
    steps = [foreign(mode) for _ in range(STEPS)]
    setattr(steps[-1], field, change(getattr(steps[-1], field)))
    return steps


def refusal_of(steps, mode, *errors):
    with pytest.raises(errors) as refusal:
        backend_of().adopt(BS, mode, steps)
    return str(refusal.value)


each_field = pytest.mark.parametrize("field", oracle.FIELDS)


@pytest.mark.parametrize("field", [field for field in oracle.FIELDS if field not in oracle.CONSTANT])
def test_a_missing_field_is_named(field):
    steps = [foreign(EXTEND) for _ in range(STEPS)]
    delattr(steps[-1], field)
    assert refusal_of(steps, EXTEND, ValueError).startswith(f"{field} is missing from the adopted SimpleNamespace")


@each_strategy
def test_query_side_constants_may_be_missing_because_no_replay_writes_them(strategy):
    steps = foreign_steps(strategy, EXTEND)
    written = [field for field in oracle.FIELDS if field not in oracle.CONSTANT]
    bare = [SimpleNamespace(**{field: getattr(step, field) for field in written}) for step in steps]
    replay_and_compare(adopting(strategy, bare, EXTEND), strategy, steps, EXTEND)


@each_field
def test_a_field_of_another_dtype_is_named(field):
    message = refusal_of(changed(VERIFY, field, torch.Tensor.long), VERIFY, TypeError)
    assert message == f"{field} must be int32, got torch.int64; see metadata[{STEPS - 1}]"


@each_field
def test_a_field_that_is_no_tensor_is_named(field):
    message = refusal_of(changed(VERIFY, field, torch.Tensor.tolist), VERIFY, TypeError)
    assert message.startswith(f"{field} must be a tensor, got [")


@each_field
def test_a_field_with_one_row_too_few_is_named(field):
    steps = changed(VERIFY, field, lambda tensor: tensor[:-1])
    rows = len(getattr(steps[-1], field))
    says = {1: f"{field} has {rows} entries, but", 2: f"{field} has shape [{rows}, "}
    assert refusal_of(steps, VERIFY, ValueError).startswith(says[getattr(steps[-1], field).dim()])


@each_field
def test_a_field_of_another_rank_is_named(field):
    message = refusal_of(changed(VERIFY, field, lambda tensor: tensor[None]), VERIFY, ValueError)
    assert re.match(rf"{field} must have [12] dimensions, got shape \[1, ", message), message


@each_field
def test_a_field_on_another_device_is_named(field):
    elsewhere = "cpu" if DEVICE == "cuda" else "meta"
    message = refusal_of(changed(VERIFY, field, lambda tensor: tensor.to(elsewhere)), VERIFY, ValueError)
    assert message.startswith(f"{field} is on {elsewhere}, but req_to_token is on {DEVICE}")


def test_a_real_page_table_too_narrow_for_its_page_table_is_named():
    message = refusal_of(
        changed(DECODE, "real_page_table", lambda table: table[:, :-1].contiguous()), DECODE, ValueError
    )
    assert message.startswith(f"real_page_table has shape [{BS}, 8], but needs at least [{BS}, 9]")


@pytest.mark.parametrize("number", (0, 1, 3), ids=lambda n: f"{n}_objects")
def test_any_other_number_of_objects_than_steps_is_refused(number):
    message = refusal_of([foreign(DECODE) for _ in range(number)], DECODE, ValueError)
    assert message == f"metadata has {number} objects for {STEPS} steps; give one per step"


@pytest.mark.parametrize("strategy", [name for name in runnable_strategies() if name.startswith("shared")])
@each_mode
def test_a_strategy_that_shares_refuses_a_buffer_per_step_and_names_it(mode, strategy):
    said = f"cache_seqlens_int32: {STEPS} different buffers for {STEPS} steps; sharing needs one for all steps"
    with pytest.raises(ValueError, match=said):
        adopting(strategy, [foreign(mode) for _ in range(STEPS)], mode)


def test_a_captured_set_is_not_replaced_by_an_adopted_one():
    backend = backend_of()
    backend.capture(BS, DECODE)
    with pytest.raises(ValueError, match=f"bs {BS} in DECODE is captured already"):
        backend.adopt(BS, DECODE, [foreign(DECODE) for _ in range(STEPS)])


def test_a_refused_object_leaves_nothing_adopted():
    backend = backend_of()
    with pytest.raises(TypeError, match="page_table_1 must be int32"):
        backend.adopt(BS, DECODE, changed(DECODE, "page_table_1", torch.Tensor.long))
    with pytest.raises(KeyError, match=f"bs {BS} in DECODE was not captured"):
        backend.replay(FIRST.batch(DECODE), DECODE)


def test_every_mode_can_be_adopted_side_by_side():
    backend, sets = backend_of(), {mode: [foreign(mode) for _ in range(STEPS)] for mode in MODES}
    for mode, steps in sets.items():
        backend.adopt(BS, mode, steps)
    for mode, steps in sets.items():
        replay_and_compare(backend, "copy", steps, mode)


@pytest.mark.parametrize("replayed", (True, False), ids=("replayed_inside", "replayed_outside"))
@pytest.mark.parametrize("adopted", (True, False), ids=("adopted_inside", "adopted_outside"))
@each_strategy
def test_buffers_made_under_inference_mode_are_refreshed_inside_and_outside_of_it(strategy, adopted, replayed):
    with torch.inference_mode():
        steps = foreign_steps(strategy, VERIFY)
    with torch.inference_mode(adopted):
        backend, batch = adopting(strategy, steps, VERIFY), FIRST.batch(VERIFY)
    with torch.inference_mode(replayed):
        backend.replay(batch, VERIFY)
    assert all(step.cache_seqlens_int32.tolist() == [103, 20, 67] for step in steps)


# Memory that serves twice.

SHARING = nsa.NSAConfig(page_size=4, num_draft_tokens=2)


def fields_of(mode, config=SHARING, table=None):
    """A step's fields by name, captured on the side: nothing in them is shared that may not be."""
    table = token_table(3, 64, config.page_size) if table is None else table
    return dict(vars(nsa.MultiStepBackend(config, table, 1).capture(2, mode)[0]))


def adopt_fields(mode, *steps, config=SHARING, table=None):
    table = token_table(3, 64, config.page_size) if table is None else table
    backend = nsa.MultiStepBackend(config, table, len(steps))
    return backend.adopt(2, mode, [SimpleNamespace(**fields) for fields in steps])


def int32(*shape):
    return torch.zeros(shape, dtype=torch.int32, device=DEVICE)


def one_vector_into_the_next(step, _):
    arena = int32(9)
    return step | {"nsa_seqlens_expanded": arena[:4], "nsa_cache_seqlens_int32": arena[3:7]}


def a_vector_in_the_last_row_of_a_table(step, _):
    return step | {"cu_seqlens_k": step["page_table_1"][-1, -3:]}


def two_fields_in_one_buffer(step, _):
    return step | {"nsa_seqlens_expanded": step["nsa_cache_seqlens_int32"]}


def two_tables_in_one_buffer(step, _):
    return step | {"real_page_table": step["page_table_1"]}


def a_field_of_the_step_before(step, before):
    return step | {"nsa_cache_seqlens_int32": before["nsa_seqlens_expanded"]}


def tables_one_row_apart(step, before):
    rows = int32(5, 64)
    before["page_table_1"] = rows[:4]
    return step | {"page_table_1": rows[1:]}


def tables_one_column_apart(step, before):
    columns = int32(4, 65)
    before["page_table_1"] = columns[:, :-1]
    return step | {"page_table_1": columns[:, 1:]}


OVERLAPS = {
    one_vector_into_the_next: "nsa_cache_seqlens_int32 of step 1 shares memory with nsa_seqlens_expanded of step 1",
    a_vector_in_the_last_row_of_a_table: "page_table_1 of step 1 shares memory with cu_seqlens_k of step 1",
    two_fields_in_one_buffer: "nsa_cache_seqlens_int32 of step 1 shares memory with nsa_seqlens_expanded of step 1",
    two_tables_in_one_buffer: "real_page_table of step 1 shares memory with page_table_1 of step 1",
    a_field_of_the_step_before: "nsa_cache_seqlens_int32 of step 1 shares memory with nsa_seqlens_expanded of step 0",
    tables_one_row_apart: "page_table_1 of step 1 shares memory with page_table_1 of step 0",
    tables_one_column_apart: "page_table_1 of step 1 shares memory with page_table_1 of step 0",
}


@pytest.mark.parametrize(("share", "says"), OVERLAPS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_cells_that_serve_twice_are_refused(share, says):
    before, last = fields_of(VERIFY), fields_of(VERIFY)
    last = share(last, before)
    with pytest.raises(ValueError, match=f"^{says}; each needs its own cells"):
        adopt_fields(VERIFY, before, last)


def test_tables_side_by_side_share_no_cell():
    before, last, both = fields_of(VERIFY), fields_of(VERIFY), int32(4, 128)
    before["page_table_1"], last["page_table_1"] = both[:, :64], both[:, 64:]
    assert len(adopt_fields(VERIFY, before, last)) == 2


def test_arrays_over_one_memory_are_seen_as_one():
    """Each numpy array gives a storage of its own, so storages cannot be compared."""
    table, cells = token_table(3, 64, 4).cpu(), np.zeros(9, dtype=np.int32)
    step = fields_of(VERIFY, table=table)
    step |= {"nsa_seqlens_expanded": torch.from_numpy(cells[:4]), "nsa_cu_seqlens_k": torch.from_numpy(cells[3:8])}
    with pytest.raises(
        ValueError, match="nsa_cu_seqlens_k of step 0 shares memory with nsa_seqlens_expanded of step 0"
    ):
        adopt_fields(VERIFY, step, table=table)


@pytest.mark.parametrize("through", ("a view", "numpy"))
def test_cells_of_req_to_token_are_refused(through):
    table = token_table(3, 64, 4).cpu()
    view = table[1:] if through == "a view" else torch.from_numpy(table.numpy()[1:])
    with pytest.raises(ValueError, match="page_table_1 of step 0 shares memory with req_to_token; each needs"):
        adopt_fields(DECODE, fields_of(DECODE, table=table) | {"page_table_1": view}, table=table)


WITH_OFFSET = nsa.NSAConfig(page_size=4, num_draft_tokens=2, step_offset=1, paged_mqa_num_sms=3)


@pytest.mark.parametrize(
    "field", [f for f in oracle.FIELDS if f not in oracle.CONSTANT] + ["paged_mqa_schedule_metadata"]
)
def test_with_a_step_offset_steps_may_share_tables_only(field):
    steps = [fields_of(VERIFY, WITH_OFFSET) for _ in range(3)]
    steps[2][field] = steps[0][field]
    if "page_table" in field:
        assert len(adopt_fields(VERIFY, *steps, config=WITH_OFFSET)) == 3
        return
    says = f"{field} of step 2 shares memory with {field} of step 0; with step_offset 1 steps differ"
    with pytest.raises(ValueError, match=says):
        adopt_fields(VERIFY, *steps, config=WITH_OFFSET)


def test_one_object_for_steps_whose_lengths_differ_is_refused():
    one = fields_of(DECODE, WITH_OFFSET)
    with pytest.raises(ValueError, match="of step 1 shares memory with .* of step 0; with step_offset 1"):
        adopt_fields(DECODE, one, one, config=WITH_OFFSET)


@pytest.mark.parametrize(
    ("inputs", "says"),
    (
        (lambda table, lengths: (table.view(-1)[3:5], lengths), "seq_lens shares memory with req_to_token"),
        (lambda table, lengths: (lengths, lengths), "req_pool_indices shares memory with seq_lens"),
    ),
    ids=("req_to_token", "each other"),
)
def test_inputs_that_a_strategy_would_write_into_are_memory_of_their_own(inputs, says):
    """`graph` copies a batch into its recorded inputs; what else lies there would change with them."""
    table = token_table(3, 64, 4)
    sets = nsa.MultiStepBackend(SHARING, table, 1).capture(2, DECODE)
    with pytest.raises(ValueError, match=says):
        require_separate(SHARING, table, DECODE, sets, nsa.ReplayBatch(*inputs(table, int32(2))))


# Schedules.

SCHEDULED = nsa.NSAConfig(page_size=4, num_draft_tokens=2, flashmla_num_sm_parts=5, paged_mqa_num_sms=3)


def with_parts(rows, columns):
    step = fields_of(VERIFY, SCHEDULED)
    parts = torch.full((rows, columns), oracle.POISON, dtype=torch.int32, device=DEVICE)
    return step | {"flashmla_metadata": nsa.NSAFlashMLAMetadata(parts, step["flashmla_metadata"].num_splits)}, parts


def test_of_parts_for_more_sms_the_first_are_taken():
    step, parts = with_parts(7, 8)
    (adopted,) = adopt_fields(VERIFY, step, config=SCHEDULED)
    assert adopted.flashmla_metadata.flashmla_metadata.shape == (5, 8)
    wanted = nsa.schedule_flashmla(int32(4), 5, SCHEDULED.index_topk).flashmla_metadata
    assert torch.equal(parts[:5], wanted) and (parts[5:] == oracle.POISON).all()


@pytest.mark.parametrize(("rows", "columns"), ((5, 9), (5, 7), (4, 8)), ids=str)
def test_parts_of_another_shape_are_refused_before_anything_is_written(rows, columns):
    step, parts = with_parts(rows, columns)
    step["cu_seqlens_k"].fill_(oracle.POISON)
    with pytest.raises(ValueError, match=rf"^flashmla_metadata.flashmla_metadata has shape \[{rows}, {columns}\]"):
        adopt_fields(VERIFY, step, config=SCHEDULED)
    assert (parts == oracle.POISON).all() and (step["cu_seqlens_k"] == oracle.POISON).all()


def test_a_schedule_with_gaps_is_refused():
    schedule = int32(4, 3)[:, :2]
    with pytest.raises(ValueError, match=r"paged_mqa_schedule_metadata has shape \[4, 2\] and strides \(3, 1\)"):
        adopt_fields(
            VERIFY, fields_of(VERIFY, SCHEDULED) | {"paged_mqa_schedule_metadata": schedule}, config=SCHEDULED
        )


@pytest.mark.parametrize("metadata", (None, 7, {}, (step for step in ())), ids=lambda m: type(m).__name__)
def test_what_is_no_list_of_objects_is_refused_by_name(metadata):
    with pytest.raises(TypeError, match=f"^metadata must be a list of {STEPS} objects, one per step, got "):
        backend_of().adopt(BS, DECODE, metadata)


def test_strided_vectors_overlap_where_their_cells_do():
    from nsa_core.metadata import overlap

    wide = torch.zeros(40, 128, dtype=torch.int32, device=DEVICE)
    table = wide[:, :100]
    assert overlap(table, wide[:, 99]) and not overlap(table, wide[:, 100])
    assert overlap(table, wide.view(-1)[124::8][:3])  # every 8th cell, on into the table's next row
    flat = torch.arange(100, dtype=torch.int32, device=DEVICE)
    assert overlap(flat.expand(4, 100), flat[1:4])  # rows that are one memory
