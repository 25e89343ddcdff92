"""Is FlashMLA's scheduler metadata the one its own kernel computes, and when does a replay have to touch it?"""

import json
from pathlib import Path

import oracle
import pytest
import torch
from batches import DECODE, EXTEND, VERIFY, Requests, captured_or_skip, each_mode, each_strategy, token_table
from hypothesis import given, settings
from hypothesis import strategies as st

import nsa_core as nsa

CASES = json.loads((Path(__file__).parent / "data" / "flashmla.json").read_text())
PARTS = 5


def case_id(case):
    kind = "dense" if case["topk"] is None else f"topk{case['topk']}"
    return f"{len(case['seqlens'])}_requests-{case['num_sm_parts']}_parts-{kind}"


def int32(values):
    return torch.tensor(values, dtype=torch.int32)


def assert_schedule(scheduled, parts, num_splits):
    rows = len(num_splits) - 1
    assert scheduled.num_splits[: rows + 1].tolist() == num_splits
    assert oracle.same_schedule(scheduled.flashmla_metadata.tolist(), parts, rows)


def test_120_recorded_cases_are_here_dense_and_sparse():
    assert len(CASES) == 120
    assert {case["topk"] is None for case in CASES} == {True, False}
    assert {(case["block_size_n"], case["fixed_overhead_num_blocks"]) for case in CASES} == {(64, 5)}


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_schedule_is_the_one_the_kernel_recorded(case):
    scheduled = nsa.schedule_flashmla(int32(case["seqlens"]), case["num_sm_parts"], topk=case["topk"])
    assert scheduled.flashmla_metadata.shape == (case["num_sm_parts"], 8)
    assert scheduled.num_splits.shape == (len(case["seqlens"]) + 1,)
    assert scheduled.flashmla_metadata.dtype == scheduled.num_splits.dtype == torch.int32
    assert_schedule(scheduled, case["tile_scheduler_metadata"], case["num_splits"])


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_the_tests_own_oracle_reproduces_the_recording(case):
    lengths = [case["topk"] or length for length in case["seqlens"]]
    parts, num_splits = oracle.schedule(lengths, case["num_sm_parts"])
    assert num_splits == case["num_splits"]
    assert oracle.same_schedule(parts, case["tile_scheduler_metadata"], len(lengths))


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=20), parts=st.integers(1, 80))
def test_schedule_of_random_lengths_matches_the_oracle(lengths, parts):
    assert_schedule(nsa.schedule_flashmla(int32(lengths), parts), *oracle.schedule(lengths, parts))


@settings(max_examples=50, deadline=None)
@given(
    pair=st.integers(1, 40).flatmap(
        lambda n: st.tuples(*[st.lists(st.integers(0, 9000), min_size=n, max_size=n)] * 2)
    ),
    parts=st.integers(1, 80),
    topk=st.sampled_from((1, 64, 65, 2048)),
)
def test_sparse_schedule_does_not_depend_on_the_lengths(pair, parts, topk):
    left, right = (nsa.schedule_flashmla(int32(lengths), parts, topk=topk) for lengths in pair)
    assert torch.equal(left.num_splits, right.num_splits)
    assert torch.equal(left.flashmla_metadata[:, :5], right.flashmla_metadata[:, :5])


def test_slice_narrows_the_splits_and_leaves_the_parts_whole():
    whole = nsa.schedule_flashmla(int32([70, 1, 900, 64]), PARTS)
    part = whole.slice(slice(0, 3))
    assert part.num_splits.tolist() == whole.num_splits.tolist()[:3]
    assert part.num_splits.data_ptr() == whole.num_splits.data_ptr()
    assert part.flashmla_metadata.data_ptr() == whole.flashmla_metadata.data_ptr()
    assert part.flashmla_metadata.shape == whole.flashmla_metadata.shape


def test_copy_writes_both_tensors_in_place():
    target, source = (nsa.schedule_flashmla(int32(lengths), PARTS) for lengths in ([1, 1], [5000, 64]))
    addresses = target.flashmla_metadata.data_ptr(), target.num_splits.data_ptr()
    target.copy_(source)
    assert (target.flashmla_metadata.data_ptr(), target.num_splits.data_ptr()) == addresses
    assert_schedule(target, *oracle.schedule([5000, 64], PARTS))


REFUSED = {
    "no parts": (ValueError, dict(num_sm_parts=0), ("num_sm_parts", "0")),
    "top-k 0": (ValueError, dict(topk=0), ("topk", "0")),
    "float lengths": (TypeError, dict(seqlens=torch.tensor([1.0])), ("seqlens", "float32")),
    "lengths of rank 2": (ValueError, dict(seqlens=int32([[1, 2]])), ("seqlens", "2")),
    "lengths in a list": (TypeError, dict(seqlens=[1, 2]), ("seqlens", "[1, 2]")),
    "a negative length": (ValueError, dict(seqlens=int32([3, -4])), ("seqlens", "-4")),
}


@pytest.mark.parametrize("error, change, says", list(REFUSED.values()), ids=list(REFUSED))
def test_bad_schedule_input_is_refused_by_name(error, change, says):
    with pytest.raises(error) as refusal:
        nsa.schedule_flashmla(**{"seqlens": int32([1, 2]), "num_sm_parts": 4} | change)
    assert all(word in str(refusal.value) for word in says), refusal.value


# In the captured set.

FIRST = Requests((100, 30), (1, 0), (2, 0))
SECOND = Requests((20, 64), (0, 1), (1, 1))


def scheduled_steps(strategy, mode, dense):
    config = nsa.NSAConfig(
        page_size=16, index_topk=48, num_draft_tokens=3, flashmla_num_sm_parts=PARTS, flashmla_dense=dense
    )
    return captured_or_skip("flashmla_dense", config, token_table(2, 130, 16), 2, strategy, 2, mode)


def test_a_set_captured_without_parts_has_no_scheduler_metadata():
    backend = nsa.MultiStepBackend(nsa.NSAConfig(), token_table(2, 130, 64), 1)
    backend.capture(2, DECODE)
    assert backend[0].flashmla_metadata is None


@each_strategy
@each_mode
def test_sparse_metadata_is_complete_at_capture_and_no_replay_touches_it(strategy, mode):
    backend = scheduled_steps(strategy, mode, dense=False)
    rows = 2 if mode is DECODE else 6
    for step in range(2):
        assert_schedule(backend[step].flashmla_metadata, *oracle.schedule([48] * rows, PARTS))
    for step in range(2):
        backend[step].flashmla_metadata.num_splits.fill_(oracle.POISON)
        backend[step].flashmla_metadata.flashmla_metadata.fill_(oracle.POISON)
    backend.replay(FIRST.batch(mode), mode)
    for step in range(2):
        assert (backend[step].flashmla_metadata.num_splits == oracle.POISON).all()
        assert (backend[step].flashmla_metadata.flashmla_metadata == oracle.POISON).all()


@each_strategy
@each_mode
def test_dense_metadata_follows_the_selected_lengths_of_every_replay(strategy, mode):
    backend = scheduled_steps(strategy, mode, dense=True)
    for requests in (FIRST, SECOND):
        batch = requests.batch(mode)
        for step in range(2):
            backend[step].flashmla_metadata.num_splits.fill_(oracle.POISON)
        backend.replay(batch, mode)
        lengths = [min(n, 48) for _, n in oracle.rows_in_use(backend.config, batch, mode, 0)]
        for step in range(2):
            scheduled = backend[step].flashmla_metadata
            assert_schedule(scheduled, *oracle.schedule(lengths, PARTS))
            assert (scheduled.num_splits[len(lengths) + 1 :] == oracle.POISON).all()


def test_dense_splits_of_draft_extend_have_room_for_every_row():
    metadata = scheduled_steps("copy", EXTEND, dense=True)[0].flashmla_metadata
    assert metadata.num_splits.shape == (2 * 3 + 1,)
    assert metadata.flashmla_metadata.shape == (PARTS, 8)


def test_precompute_schedules_dense_metadata_only():
    for dense in (False, True):
        backend = scheduled_steps("copy", VERIFY, dense)
        values = nsa.precompute(backend.config, backend.req_to_token, FIRST.batch(VERIFY), VERIFY)
        assert (values.flashmla_metadata is not None) == dense


@each_mode
def test_no_scheduler_object_reaches_a_copy_plan(mode):
    backend = scheduled_steps("copy", mode, dense=True)
    values = nsa.precompute(backend.config, backend.req_to_token, FIRST.batch(mode), mode)
    plan = nsa.copy_plan(backend[0], values, mode)
    assert all(isinstance(item, torch.Tensor) for pair in plan for item in pair)
    splits = backend[0].flashmla_metadata.num_splits
    assert splits.data_ptr() in [destination.data_ptr() for destination, _ in plan]
