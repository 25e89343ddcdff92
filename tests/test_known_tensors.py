"""What a strategy that reads nothing on the host checks again: not the tensors it knows, and nothing once bound."""

from types import SimpleNamespace

import pytest
import torch
from batches import DECODE, EXTEND, VERIFY
from device import DEVICE
from test_fused_refresh import assert_live, batch_of, each_mode, table

import nsa_core as nsa
from nsa_core import multistep

CONFIG = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3, paged_mqa_num_sms=5)
BS = 3
STRATEGIES = ["fused", "shared+fused", *(["graph", "shared+graph"] if DEVICE == "cuda" else [])]
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


def backend_for(strategy, *modes, validation="shapes"):
    backend = nsa.MultiStepBackend(CONFIG, table(4, 256), 2, strategy=strategy, validation=validation)
    for mode in modes:
        backend.capture(BS, mode)
    return backend


def another(batch):
    """A new object around the very same tensors, as an engine makes one for every step."""
    return nsa.ReplayBatch(batch.seq_lens, batch.req_pool_indices, batch.accept_length)


@pytest.fixture
def validated(monkeypatch):
    """The batches that were validated."""
    batches = []

    def counting(config, req_to_token, batch, *rest, **options):
        batches.append(batch)
        return nsa.batch.validate(config, req_to_token, batch, *rest, **options)

    monkeypatch.setattr(multistep, "validate", counting)
    return batches


@each_mode
@each_strategy
def test_a_new_object_around_known_tensors_is_not_validated_again(strategy, mode, validated):
    backend, batch = backend_for(strategy, mode), batch_of([70, 3, 199], 3, 1)
    backend.replay(batch, mode)
    batch.seq_lens.copy_(torch.tensor([9, 250 - 8, 64]))
    report = backend.replay(another(batch), mode)
    assert validated == [batch]
    assert report is backend.last_replay
    assert_live(backend, batch, mode)


@each_strategy
def test_known_in_one_mode_is_not_known_in_another(strategy, validated):
    backend, batch = backend_for(strategy, DECODE, VERIFY), batch_of([70, 3, 199], 3, 1)
    for mode in (DECODE, VERIFY, DECODE, VERIFY):
        backend.replay(batch, mode)
        assert_live(backend, batch, mode)
    assert len(validated) == 2


@each_strategy
def test_host_mirrors_and_values_that_are_read_are_checked_every_time(strategy, validated):
    batch = batch_of([70, 3, 199], 3, 1)
    mirrored = nsa.ReplayBatch(batch.seq_lens, batch.req_pool_indices, None, batch.seq_lens.clone().cpu())
    backend = backend_for(strategy, DECODE)
    backend.replay(batch, DECODE)
    for _ in range(2):
        backend.replay(mirrored, DECODE)
    assert len(validated) == 3
    mirrored.seq_lens_cpu[1] = 4096
    with pytest.raises(ValueError, match="seq_lens_cpu.1. is 4096"):
        backend.replay(mirrored, DECODE)
    reading = backend_for(strategy, DECODE, validation="values")
    reading.replay(batch, DECODE)
    batch.seq_lens[0] = 4096
    with pytest.raises(ValueError, match="seq_lens.0. is 4096"):
        reading.replay(batch, DECODE)


@each_strategy
def test_more_tensors_than_are_remembered_are_still_served(strategy, monkeypatch):
    monkeypatch.setattr(multistep, "_MOST_KNOWN", 4)
    backend = backend_for(strategy, DECODE)
    batches = [batch_of([7 + n, 3, 199 - n], 3, n) for n in range(7)]
    for batch in batches + batches[:2]:
        backend.replay(batch, DECODE)
    assert len(backend._known) <= 4
    assert_live(backend, batches[1], DECODE)


@each_mode
@each_strategy
def test_bound_tensors_are_replayed_with_what_they_hold_by_then(strategy, mode, validated):
    backend, batch = backend_for(strategy, mode), batch_of([70, 3, 199], 3, 1)
    before = [t.clone() for t in backend[0].tensors().values()]
    refresh = backend.bind(batch, mode)
    assert all(torch.equal(t, old) for t, old in zip(backend[0].tensors().values(), before, strict=True))
    for lengths in ([9, 100, 64], [200, 5, 1]):
        batch.seq_lens.copy_(torch.tensor(lengths))
        report = refresh()
        assert report is backend.last_replay and report.strategy == strategy
        assert_live(backend, batch, mode)
    assert len(validated) == 1


@each_strategy
def test_the_two_forms_of_draft_extend_are_known_apart(strategy, validated):
    backend, ragged = backend_for(strategy, EXTEND), batch_of([70, 3, 199], 3, 1)
    fixed_width = nsa.ReplayBatch(ragged.seq_lens, ragged.req_pool_indices)
    refreshes = [(backend.bind(batch, EXTEND), batch) for batch in (ragged, fixed_width)]
    for lengths in ([9, 100, 64], [200, 5, 2]):
        ragged.seq_lens.copy_(torch.tensor(lengths))
        for batch in (ragged, fixed_width, another(fixed_width), another(ragged)):
            backend.replay(batch, EXTEND)
            assert_live(backend, batch, EXTEND)
        for refresh, batch in refreshes[::-1]:
            refresh()
            assert_live(backend, batch, EXTEND)
    assert len(validated) == 4  # each form once bound and once replayed


def test_binding_checks_what_a_replay_checks():
    backend, batch = backend_for("fused", DECODE), batch_of([70, 3, 199], 3, 1)
    with pytest.raises(KeyError, match="bs 2 in DECODE was not captured"):
        backend.bind(batch_of([1, 2], 3), DECODE)
    with pytest.raises(TypeError, match="mode must be one of"):
        backend.bind(batch, "decode")
    with pytest.raises(ValueError, match="seq_lens shares memory with cache_seqlens_int32 of step 0"):
        backend.bind(nsa.ReplayBatch(backend[0].cache_seqlens_int32, batch.req_pool_indices), DECODE)


@pytest.mark.parametrize("strategy", ["copy", "eager", "foreach", "shared"])
def test_a_strategy_that_reads_lengths_on_the_host_has_nothing_to_bind(strategy):
    backend = backend_for(strategy, DECODE)
    with pytest.raises(RuntimeError, match=f"'{strategy}' needs lengths on the host.*use 'fused' or 'graph'"):
        backend.bind(batch_of([70, 3, 199], 3, 1), DECODE)


def test_a_bound_call_makes_its_sets_the_current_ones_and_takes_its_turn():
    backend = backend_for("fused", DECODE, EXTEND)
    decode, extend = batch_of([70, 3, 199], 3, 1), batch_of([7, 30, 19], 3, 2)
    refresh = backend.bind(decode, DECODE)
    backend.replay(extend, EXTEND)
    refresh()
    assert backend[0] is backend.sets(BS, DECODE)[0]
    backend._turn["taken"] = object()  # as while another thread's call is under way
    with pytest.raises(RuntimeError, match="in use by another thread"):
        refresh()


def calls_that_know(backend, batch, mode):
    """A replay of tensors that were replayed before, and a bound call."""
    bound = backend.bind(batch, mode)
    backend.replay(batch, mode)
    return {"replay": lambda: backend.replay(another(batch), mode), "bound": bound}


@pytest.mark.parametrize("call", ["replay", "bound"])
@each_strategy
def test_an_adopted_buffer_that_was_resized_is_refused_though_its_inputs_are_known(strategy, call):
    if strategy.startswith("shared"):
        pytest.skip("shared sets are allocated, never adopted")
    backend, batch = backend_for(strategy), batch_of([70, 3, 199], 3, 1)
    sets = backend_for("copy", DECODE).sets(BS, DECODE)
    backend.adopt(BS, DECODE, [SimpleNamespace(**{n: t.clone() for n, t in s.tensors().items()}) for s in sets])
    replay = calls_that_know(backend, batch, DECODE)[call]
    replay()
    assert_live(backend, batch, DECODE)
    backend.sets(BS, DECODE)[1].page_table_1.resize_(2**20)
    with pytest.raises(ValueError, match=r"^page_table_1 of step 1 has 1048576 elements at 0x.* captured with"):
        replay()
    assert backend.torn == ()


@each_strategy
def test_an_allocated_buffer_cannot_be_resized_to_other_memory(strategy):
    backend = backend_for(strategy, DECODE)
    for tensor in {id(tensor): tensor for tensor in backend[0].tensors().values()}.values():
        with pytest.raises(RuntimeError, match="not resizable"):
            tensor.resize_(2**20)


@pytest.mark.parametrize("call", ["replay", "bound"])
@each_strategy
def test_memory_that_a_graph_reads_is_never_given_to_anybody_else(strategy, call):
    backend, batch = backend_for(strategy, DECODE), batch_of([70, 3, 199], 3, 1)
    replay = calls_that_know(backend, batch, DECODE)[call]
    table = backend[0].page_table_1
    address, nbytes = table.data_ptr(), table.nbytes
    table.set_(torch.zeros_like(table))  # another table for whoever looks, the captured one for a graph
    replay()
    others = [torch.empty(nbytes, dtype=torch.int8, device=DEVICE) for _ in range(64)]
    assert address not in {other.data_ptr() for other in others}


@each_strategy
def test_tensors_are_known_by_their_dtype_too(strategy, validated):
    backend, batch = backend_for(strategy, DECODE), batch_of([70, 3, 199], 3, 1)
    backend.replay(batch, DECODE)
    halves = batch.seq_lens.view(torch.int32)[:BS]  # the same address, shape and strides
    assert halves.data_ptr() == batch.seq_lens.data_ptr() and halves.shape == batch.seq_lens.shape
    read_otherwise = nsa.ReplayBatch(halves, batch.req_pool_indices)
    backend.replay(read_otherwise, DECODE)
    assert len(validated) == 2
    assert_live(backend, read_otherwise, DECODE)
