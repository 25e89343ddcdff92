"""One captured set for all steps: what is shared, what is not, and when sharing is refused."""

import pytest
import torch
from batches import DECODE, VERIFY
from test_fused_refresh import assert_live, batch_of, each_mode, table

import nsa_core as nsa
from nsa_core.metadata import allocate

SHARING = ("shared", "shared+fused")
each_sharing = pytest.mark.parametrize("strategy", SHARING)
TABLES = ("page_table_1", "real_page_table")


def backend_for(strategy, steps=4, **options):
    return nsa.MultiStepBackend(nsa.NSAConfig(page_size=16, **options), table(4, 256), steps, strategy=strategy)


@each_sharing
def test_without_an_offset_all_steps_are_one_object(strategy):
    sets = backend_for(strategy).capture(3, DECODE)
    assert all(captured is sets[0] for captured in sets)


@each_sharing
@each_mode
def test_with_an_offset_tables_are_shared_and_lengths_are_not(strategy, mode):
    backend = backend_for(strategy, step_offset=1, flashmla_num_sm_parts=4, paged_mqa_num_sms=3)
    sets = backend.capture(3, mode)
    addresses = [{name: t.data_ptr() for name, t in s.tensors().items()} for s in sets]
    for name in addresses[0]:
        distinct = len({held[name] for held in addresses})
        shared = name in TABLES or name.startswith("flashmla")
        assert distinct == (1 if shared else 4), name
    batch = batch_of([9, 60, 17], 4)
    backend.replay(batch, mode)
    assert_live(backend, batch, mode)
    assert (sets[3].cache_seqlens_int32 - sets[0].cache_seqlens_int32).tolist() == [3, 3, 3]


@each_sharing
def test_bytes_held_do_not_grow_with_the_steps_and_the_saving_is_reported(strategy):
    one, eight = backend_for(strategy, steps=1), backend_for(strategy, steps=8)
    one.capture(3, DECODE), eight.capture(3, DECODE)
    held, apart = one.memory(3, DECODE), eight.memory(3, DECODE)
    assert apart.held == held.held and apart.separate == 8 * held.held and apart.saved == 7 * held.held


def test_separate_sets_save_nothing():
    backend = backend_for("copy", steps=8)
    backend.capture(3, DECODE)
    assert backend.memory(3, DECODE).saved == 0


def test_a_million_tokens_of_context_are_a_gibibyte_a_step():
    slots = torch.empty(1, 2**20, dtype=torch.int32, device="meta")
    captured = allocate(nsa.NSAConfig(num_draft_tokens=4), slots, 64, VERIFY)
    assert captured.page_table_1.nbytes == 2**30


@each_sharing
def test_adopting_different_buffers_is_refused_before_any_replay(strategy):
    donor = nsa.MultiStepBackend(nsa.NSAConfig(page_size=16), table(4, 256), 4).capture(3, DECODE)
    with pytest.raises(ValueError, match="cache_seqlens_int32: 4 different buffers for 4 steps.*one for all steps"):
        backend_for(strategy).adopt(3, DECODE, donor)


@each_sharing
def test_adopting_one_set_for_steps_that_differ_is_refused(strategy):
    donor = nsa.MultiStepBackend(nsa.NSAConfig(page_size=16), table(4, 256), 1).capture(3, DECODE)
    with pytest.raises(
        ValueError,
        match="cache_seqlens_int32 of step 1 shares memory with cache_seqlens_int32 of step 0; with step_offset 2",
    ):
        backend_for(strategy, step_offset=2).adopt(3, DECODE, donor * 4)


@each_sharing
def test_adopting_one_set_for_equal_steps_is_what_it_is_for(strategy):
    donor = nsa.MultiStepBackend(nsa.NSAConfig(page_size=16), table(4, 256), 1).capture(3, DECODE)
    backend = backend_for(strategy)
    backend.adopt(3, DECODE, donor * 4)
    batch = batch_of([9, 60, 17], 1)
    backend.replay(batch, DECODE)
    assert_live(backend, batch, DECODE)
    assert donor[0].cache_seqlens_int32.tolist() == [9, 60, 17]


def test_sharing_copies_one_steps_plan_whatever_the_number_of_steps():
    backend = backend_for("shared", steps=8)
    backend.capture(3, DECODE)
    assert backend.replay(batch_of([9, 60, 17], 1), DECODE).paths == {"copy_": 6}
