"""Does the grid cover what it promises, and do its cases get the inputs, bytes and checks they say?"""

from dataclasses import replace

import pytest
import torch
from batches import DECODE, EXTEND, MODES, VERIFY

import nsa_core as nsa
from nsa_core.lab.bench.bytes_moved import BytesMoved, bytes_moved
from nsa_core.lab.bench.cases import QUICK, BenchCase, build, grid, select, token_table
from nsa_core.lab.bench.verify import POISON, Gate

GRID = grid()


def test_names_are_unique():
    names = [case.name for case in GRID]
    assert len(set(names)) == len(names)


def test_the_records_two_scenarios_are_bs_32_of_4096_tokens_in_tables_of_8192():
    for case, steps in zip(select(["record-4", "record-8"]), (4, 8), strict=True):
        sizes = (case.mode, case.bs, case.lengths, case.width, case.page_size, case.steps)
        assert sizes == (DECODE, 32, 4096, 8192, 64, steps)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_every_mode_is_varied_in_every_condition(mode):
    cases = [case for case in GRID if case.mode is mode]
    assert {1, 4, 8, 16} <= {case.steps for case in cases if case.lengths == 4096 and case.bs == 32}
    assert {1, 256} <= {case.bs for case in cases}
    assert {1024, 128 * 1024, "ragged", "azure", "mooncake"} <= {case.lengths for case in cases}
    assert {1, 64} == {case.page_size for case in cases}
    assert {"none", "sparse", "dense"} == {case.flashmla for case in cases}
    assert any(case.lengths == 65536 and case.steps == 8 for case in cases)


def test_the_quick_subset_is_part_of_the_grid_and_has_every_mode_and_a_trace():
    cases = select(QUICK)
    assert {case.name for case in cases} == set(QUICK)
    assert {case.mode for case in cases} == set(MODES)
    assert "azure" in {case.lengths for case in cases}


def test_a_pattern_selects_a_family_and_one_that_selects_nothing_is_refused():
    assert [case.name for case in select(["trace-azure-*"])] == [f"trace-azure-{mode.value}" for mode in MODES]
    with pytest.raises(ValueError, match="case 'recrod-4' matches none of: record-4"):
        select(["record-4", "recrod-4"])


SMALL = [
    BenchCase("decode", bs=3, lengths=130),
    BenchCase("verify", VERIFY, bs=3, lengths=130),
    BenchCase("extend", EXTEND, bs=5, lengths=130),
    BenchCase("ragged", bs=9, lengths="ragged", longest=300),
    BenchCase("one", bs=3, lengths="one long", longest=2000),
    BenchCase("unmirrored", EXTEND, bs=3, lengths=130, mirrors=False),
    BenchCase("azure", EXTEND, bs=4, lengths="azure"),
    BenchCase("dense", VERIFY, bs=3, lengths=130, flashmla="dense"),
    BenchCase("offset", bs=3, lengths=130, step_offset=1),
]


def each_small(test):
    return pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)(test)


@each_small
def test_a_case_gets_the_same_inputs_every_time_and_they_fit(case):
    first, again = build(case, "cpu"), build(case, "cpu")
    assert torch.equal(first.req_to_token, again.req_to_token)
    assert first.lengths == again.lengths == tuple(first.batch.seq_lens.tolist())
    assert max(first.lengths) + 16 <= first.req_to_token.shape[1]
    assert (first.batch.seq_lens_cpu is not None) is case.mirrors
    assert len(set(first.batch.req_pool_indices.tolist())) == first.batch.bs


def test_slots_come_in_page_aligned_runs_and_none_twice():
    table = token_table(5, 200, 64)
    assert table.unique().numel() == table.numel() == 1000
    assert torch.equal(table[:, ::64] % 64, torch.zeros(5, 4, dtype=torch.int32))
    assert torch.equal(table[:, 63] - table[:, 0], torch.full((5,), 63, dtype=torch.int32))


@each_small
def test_the_gate_passes_a_right_replay(case):
    inputs, backend = captured(case)
    gate = Gate(case, inputs)
    assert gate.replayed(backend, lambda: backend.replay(inputs.batch, case.mode), "exact") == []
    assert gate.cells("exact") > 100


@pytest.mark.parametrize(
    "field",
    [
        "cache_seqlens_int32",
        "cu_seqlens_k",
        "nsa_cache_seqlens_int32",
        "nsa_cu_seqlens_k",
        "page_table_1",
        "real_page_table",
        "nsa_seqlens_expanded",
    ],
)
def test_the_gate_names_the_step_field_and_cell_that_is_wrong(field):
    case = SMALL[1]
    inputs, backend = captured(case)

    def call():
        backend.replay(inputs.batch, case.mode)
        getattr(backend[2], field).view(-1)[1] += 1

    lines = Gate(case, inputs).replayed(backend, call, "exact")
    cell = r"[0, 1]" if "page_table" in field else "[1]"
    assert lines[0].startswith(f"step 2: {field}{cell} is ")
    assert all(line.startswith(f"step 2: {field}{cell} is ") for line in lines)


def test_the_gate_sees_a_cell_that_nobody_writes():
    case = SMALL[0]
    inputs, backend = captured(case)
    lines = Gate(case, inputs).replayed(backend, lambda: None, "exact")
    assert any(line.startswith(f"step 0: page_table_1[0, 0] kept what it held ({POISON})") for line in lines)


def test_the_gate_sees_a_schedule_that_is_not_refreshed():
    case = SMALL[7]
    inputs, backend = captured(case)

    def call():
        backend.replay(inputs.batch, case.mode)
        backend[0].flashmla_metadata.num_splits[1] += 1

    lines = Gate(case, inputs).replayed(backend, call, "exact")
    assert lines[0].startswith("step 0: flashmla_metadata.num_splits[1] is ")


def test_the_gate_sees_a_query_side_constant_that_changed():
    case = SMALL[0]
    inputs, backend = captured(case)

    def call():
        backend.replay(inputs.batch, case.mode)
        backend[1].cu_seqlens_q[1] = 7

    assert Gate(case, inputs).replayed(backend, call, "exact") == [
        "step 1: cu_seqlens_q[1] is 7, but was captured as 1"
    ]


def test_the_gate_also_checks_the_second_call_of_a_batch():
    case, calls = SMALL[0], []
    inputs, backend = captured(case)

    def call():
        calls.append(1)
        if len(calls) == 1:
            backend.replay(inputs.batch, case.mode)

    assert Gate(case, inputs).replayed(backend, call, "exact") != []


def captured(case):
    inputs = build(case, "cpu")
    backend = nsa.MultiStepBackend(case.config, inputs.req_to_token, case.steps)
    backend.capture(inputs.batch.bs, case.mode)
    return inputs, backend


def test_bytes_of_a_case_small_enough_to_count_by_hand():
    case = BenchCase("counted", bs=2, lengths=100, steps=3, page_size=64)
    read = 2 * 8 * 2 + 2 * 100 * 4  # two int64 vectors, the slots
    tables, vectors = 2 * (100 + 2) * 4, (2 * 2 + 2 * 2) * 4  # slots and pages; four vectors of bs
    exact = tables + vectors
    assert bytes_moved(case, build(case, "cpu")) == BytesMoved(
        generate=read + 3 * exact, share=read + exact, copy=2 * exact + 6 * exact, recompute=12 * exact
    )


def test_ragged_lengths_are_charged_what_they_use():
    even = BenchCase("even", bs=4, lengths=1024)
    one = BenchCase("one", bs=4, lengths="one long", longest=4096)
    assert bytes_moved(one, build(one, "cpu")).generate < 2 * bytes_moved(even, build(even, "cpu")).generate
    assert bytes_moved(one, build(one, "cpu")).copy > 3 * bytes_moved(even, build(even, "cpu")).copy


def test_sharing_with_a_step_offset_still_writes_each_steps_lengths():
    plain, offset = (BenchCase("x", bs=2, lengths=100, step_offset=offset) for offset in (0, 1))
    tables_apart = bytes_moved(offset, build(offset, "cpu")).share - bytes_moved(plain, build(plain, "cpu")).share
    assert 3 * 8 * 4 <= tables_apart < 3 * 8 * 4 + 100


def test_a_table_that_is_left_out_costs_no_bytes():
    both = BenchCase("both", bs=2, lengths=6400, steps=3, page_size=64)
    wide, real = (replace(both, tables=(name,)) for name in ("page_table_1", "real_page_table"))
    moved = {case.tables: bytes_moved(case, build(case, "cpu")) for case in (both, wide, real)}
    tables = {
        names: 3 * 2 * (6400 * ("page_table_1" in names) + 100 * ("real_page_table" in names)) for names in moved
    }
    read = {names: 2 * (6400 if "page_table_1" in names else 100) for names in moved}
    rest = {names: m.generate - 4 * (tables[names] + read[names]) for names, m in moved.items()}
    assert len(set(rest.values())) == 1
