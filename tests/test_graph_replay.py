"""The refresh recorded in CUDA graphs: in one of its own, and inside the caller's."""

import pytest
import torch
from batches import DECODE, EXTEND, VERIFY
from device import DEVICE
from test_fused_refresh import assert_live, batch_of, each_mode, table

import nsa_core as nsa
from nsa_core.batch import validate

CONFIG = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3, paged_mqa_num_sms=5)


def backend_for(strategy="graph", steps=3):
    return nsa.MultiStepBackend(CONFIG, table(4, 256), steps, strategy=strategy)


@pytest.mark.skipif(DEVICE == "cuda", reason="says what a machine without a GPU says")
@pytest.mark.parametrize("strategy", ["graph", "shared+graph"])
def test_without_a_gpu_the_error_says_what_is_needed_and_what_works(strategy):
    with pytest.raises(RuntimeError, match="CUDA graph needs an NVIDIA GPU.*'fused'"):
        backend_for(strategy)
    assert not nsa.strategies("cpu")[strategy].available


def test_inputs_are_refused_where_nothing_records_them():
    backend = backend_for("copy")
    with pytest.raises(ValueError, match="inputs were given.*'copy' records none"):
        backend.capture(2, DECODE, inputs=batch_of([4, 5], 3))
    backend.capture(2, DECODE)
    with pytest.raises(RuntimeError, match="'copy' records no inputs"):
        backend.inputs(2, DECODE)


@pytest.mark.cuda
@each_mode
@pytest.mark.parametrize("strategy", ["graph", "shared+graph"])
def test_a_batch_of_other_tensors_is_copied_in_and_the_report_says_so(strategy, mode):
    backend = backend_for(strategy)
    backend.capture(4, mode)
    for seed, lengths in enumerate(([200, 3, 64, 65], [9, 100, 1, 250], [5, 5, 5, 5])):
        batch = batch_of(lengths, 3, seed)
        report = backend.replay(batch, mode)
        assert report.inputs_copied and report.paths["graph"] == 1
        assert_live(backend, batch, mode)


@pytest.mark.cuda
@each_mode
def test_writing_into_the_recorded_inputs_makes_a_replay_one_graph_launch(mode):
    backend = backend_for()
    backend.capture(4, mode)
    inputs = backend.inputs(4, mode)
    for seed, lengths in enumerate(([200, 3, 64, 65], [9, 100, 1, 250])):
        new = batch_of(lengths, 3, seed)
        inputs.seq_lens.copy_(new.seq_lens)
        inputs.req_pool_indices.copy_(new.req_pool_indices)
        if mode is EXTEND:
            inputs.accept_length.copy_(new.accept_length)
        for _ in range(2):  # the second takes the short cut for a batch object seen before
            report = backend.replay(inputs, mode)
            assert not report.inputs_copied and report.paths == {"graph": 1}
        assert_live(backend, new, mode)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_the_engines_own_tensors_can_be_the_recorded_inputs(dtype):
    own = nsa.ReplayBatch(*(torch.full((2,), garbage, dtype=dtype, device=DEVICE) for garbage in (-1, 9999)))
    backend = backend_for()
    backend.capture(2, DECODE, inputs=own)  # their contents are nothing yet, and are not read
    own.seq_lens.copy_(torch.tensor([7, 130]))
    own.req_pool_indices.copy_(torch.tensor([2, 1]))
    assert not backend.replay(own, DECODE).inputs_copied
    assert_live(backend, own, DECODE)
    again = backend.capture(2, DECODE, inputs=own)
    assert all(a is b for a, b in zip(again, backend.sets(2, DECODE), strict=True))
    with pytest.raises(ValueError, match="captured already and reads other tensors"):
        backend.capture(2, DECODE, inputs=batch_of([1, 1], 3))


@pytest.mark.cuda
@pytest.mark.parametrize("strategy", ["fused", "graph"])
def test_a_consumer_graph_refreshes_its_own_metadata(strategy):
    backend, batch = backend_for(strategy), batch_of([5, 9], 3)
    captured = backend.capture(2, VERIFY)[1]
    out = torch.zeros(2, dtype=torch.int64, device=DEVICE)
    backend.refresh(batch, VERIFY)  # compiles outside the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        backend.refresh(batch, VERIFY)
        out.copy_(captured.cu_seqlens_k[1:] + captured.page_table_1[::3, 4])
    seen = []
    for lengths in ([5, 9], [100, 200], [17, 3]):
        batch.seq_lens.copy_(torch.tensor(lengths))
        backend.check_inputs(batch, VERIFY)
        graph.replay()
        assert_live(backend, batch, VERIFY)
        seen.append(out.tolist())
    first = torch.tensor([[5, 9], [100, 200], [17, 3]]) + 3
    slots = backend.req_to_token[batch.req_pool_indices, 4].cpu()
    assert seen == (first.cumsum(1) + slots).tolist()


@pytest.mark.cuda
def test_other_tensors_than_the_recorded_are_refused_by_name_and_address():
    backend, batch = backend_for("fused"), batch_of([5, 9], 3)
    backend.capture(2, DECODE)
    backend.refresh(batch, DECODE)
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        backend.refresh(batch, DECODE)
    moved = nsa.ReplayBatch(batch.seq_lens.clone(), batch.req_pool_indices)
    now, was = (hex(b.seq_lens.data_ptr()) for b in (moved, batch))
    for call in (backend.check_inputs, backend.refresh):
        with pytest.raises(ValueError, match=f"seq_lens.*{now}.*{was}"):
            call(moved, DECODE)
    backend.refresh(batch, DECODE)


def of_form(batch, ragged):
    """The same tensors as a batch of one form of draft extend."""
    accepts = torch.ones(batch.bs, dtype=torch.int32, device=DEVICE)
    return nsa.ReplayBatch(batch.seq_lens, batch.req_pool_indices, accepts if ragged else None)


@pytest.mark.cuda
@pytest.mark.parametrize("strategy", ["graph", "shared+graph"])
def test_recorded_accept_lengths_serve_both_forms_of_draft_extend(strategy):
    backend = backend_for(strategy)
    backend.capture(3, EXTEND)
    for fixed_width in (True, False, True, True):
        batch = batch_of([200, 1, 64], 3, 1, fixed_width)
        paths = {"graph": 1, "copy_": 2, "fill_": 1} if fixed_width else {"graph": 1, "copy_": 3}
        for _ in range(2):
            report = backend.replay(batch, EXTEND)
            assert report.paths == paths and report.inputs_copied
            assert_live(backend, batch, EXTEND)
        assert (backend.inputs(3, EXTEND).accept_length == 3).all() == fixed_width


@pytest.mark.cuda
def test_the_recorded_lengths_without_their_accept_lengths_are_of_fixed_width():
    backend = backend_for()
    backend.capture(3, EXTEND)
    inputs = backend.inputs(3, EXTEND)
    inputs.seq_lens.copy_(torch.tensor([200, 1, 64]))
    without = of_form(inputs, ragged=False)
    refresh = backend.bind(without, EXTEND)
    for call in (lambda: backend.replay(without, EXTEND), refresh):
        inputs.accept_length.fill_(1)
        backend.replay(inputs, EXTEND)
        assert_live(backend, inputs, EXTEND)
        assert call().inputs_copied
        assert_live(backend, without, EXTEND)


@pytest.mark.cuda
@pytest.mark.parametrize("strategy", ["graph", "shared+graph"])
def test_inputs_without_accept_lengths_record_fixed_width_in_one_graph_launch(strategy):
    backend, inputs = backend_for(strategy), batch_of([5, 9, 1], 3, fixed_width=True)
    backend.capture(3, EXTEND, inputs=inputs)
    assert backend.inputs(3, EXTEND) is inputs
    assert len(backend.capture(3, EXTEND, inputs=inputs)) == 3
    refresh = backend.bind(inputs, EXTEND)
    for lengths in ([200, 2, 0], [1, 1, 250]):
        inputs.seq_lens.copy_(torch.tensor(lengths))
        for call in (lambda: backend.replay(inputs, EXTEND), refresh):
            assert call().paths == {"graph": 1}
            assert_live(backend, inputs, EXTEND)
    other = batch_of([77, 1, 3], 3, 1, fixed_width=True)
    assert backend.replay(other, EXTEND).paths == {"graph": 1, "copy_": 2}
    assert_live(backend, other, EXTEND)


@pytest.mark.cuda
def test_adopted_buffers_are_refreshed_from_the_engines_own_inputs():
    owner, inputs = backend_for("copy"), batch_of([5, 9, 1], 3, fixed_width=True)
    backend = backend_for("graph")
    backend.adopt(3, EXTEND, owner.capture(3, EXTEND), inputs=inputs)
    inputs.seq_lens.copy_(torch.tensor([200, 2, 0]))
    assert backend.replay(inputs, EXTEND).paths == {"graph": 1}
    assert_live(backend, inputs, EXTEND)


def test_a_strategy_that_records_no_inputs_adopts_none():
    backend, poison = backend_for("copy"), -7
    sets = backend_for("copy").capture(3, DECODE)
    for captured in sets:
        captured.cu_seqlens_k.fill_(poison)
    with pytest.raises(ValueError, match="inputs were given, but strategy 'copy' records none"):
        backend.adopt(3, DECODE, sets, inputs=batch_of([5, 9, 1], 3))
    assert all(bool((captured.cu_seqlens_k == poison).all()) for captured in sets), "written before it was refused"


@pytest.mark.cuda
def test_accept_lengths_are_refused_by_name_where_fixed_width_was_recorded():
    backend, inputs = backend_for(), batch_of([5, 9, 1], 3, fixed_width=True)
    backend.capture(3, EXTEND, inputs=inputs)
    backend.replay(inputs, EXTEND)
    before = [t.clone() for captured in backend.sets(3, EXTEND) for t in captured.tensors().values()]
    ragged = batch_of([70, 80, 90], 3, 2)
    for batch in (ragged, of_form(inputs, ragged=True)):
        for call in (backend.replay, backend.bind, backend.refresh):
            with pytest.raises(
                ValueError, match="^accept_length is given, but the recorded inputs have none.* 3 rows"
            ):
                call(batch, EXTEND)
    with pytest.raises(ValueError, match="captured already and reads other tensors"):
        backend.capture(3, EXTEND, inputs=ragged)
    now = [t for captured in backend.sets(3, EXTEND) for t in captured.tensors().values()]
    assert inputs.seq_lens.tolist() == [5, 9, 1] and all(map(torch.equal, now, before))


@pytest.mark.cuda
@pytest.mark.parametrize("ragged", (True, False), ids=("ragged", "fixed_width"))
@pytest.mark.parametrize("strategy", ["fused", "graph"])
def test_a_consumer_graph_reads_the_form_of_draft_extend_it_recorded(strategy, ragged):
    backend, inputs = backend_for(strategy), batch_of([5, 9, 3], 3)
    backend.capture(3, EXTEND)
    recorded, other = of_form(inputs, ragged), of_form(inputs, not ragged)
    backend.refresh(recorded, EXTEND)  # compiles outside the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        backend.refresh(recorded, EXTEND)
    is_now, was = ("None", "given") if ragged else ("given", "None")
    for call in (backend.check_inputs, backend.refresh):
        with pytest.raises(
            ValueError, match=f"^accept_length is {is_now}, but was {was} when the graph was recorded"
        ):
            call(other, EXTEND)
    for lengths in ([100, 200, 1], [17, 3, 2]):
        inputs.seq_lens.copy_(torch.tensor(lengths))
        backend.check_inputs(recorded, EXTEND)
        graph.replay()
        assert_live(backend, recorded, EXTEND)
    backend.forget_recording(3, EXTEND)
    backend.refresh(other, EXTEND)
    assert_live(backend, other, EXTEND)


@pytest.fixture
def validations(monkeypatch):
    """The batches that `validate` was asked about."""
    asked = []

    def counting(config, table, batch, *arguments, **options):
        asked.append(batch)
        return validate(config, table, batch, *arguments, **options)

    monkeypatch.setattr("nsa_core.multistep.validate", counting)
    return asked


@pytest.mark.parametrize("strategy", ["fused", "shared+fused"])
def test_a_new_batch_object_around_known_tensors_is_not_validated_again(strategy, validations):
    backend = nsa.MultiStepBackend(CONFIG, table(4, 256), 2, strategy, validation="shapes")
    static = [batch_of([5, 9], 3), batch_of([7, 100, 3], 3)]
    for batch in static:
        backend.capture(batch.bs, DECODE)
    for length in (5, 77):
        for batch in static:
            batch.seq_lens.fill_(length)
            again = nsa.ReplayBatch(batch.seq_lens, batch.req_pool_indices)
            backend.replay(again, DECODE)
            assert_live(backend, again, DECODE)
    assert len(validations) == len(static)


def test_known_tensors_that_changed_are_looked_at_again(validations):
    """By address, dtype, shape and stride, never by the identity of an object."""
    backend = nsa.MultiStepBackend(CONFIG, table(4, 256), 2, "fused", validation="shapes")
    backend.capture(2, DECODE)
    batch = batch_of([5, 9], 3)
    backend.replay(batch, DECODE)
    batch.seq_lens.data = torch.tensor([[5, 1], [9, 1]], device=DEVICE)[:, 0]
    with pytest.raises(ValueError, match="seq_lens has stride 2"):
        backend.replay(batch, DECODE)
    object.__setattr__(batch, "seq_lens", [5, 9])
    with pytest.raises(TypeError, match="seq_lens must be a tensor"):
        backend.replay(batch, DECODE)
    batch = batch_of([5, 9], 3)
    backend.replay(batch, DECODE)
    batch.req_pool_indices.resize_(1)
    with pytest.raises(ValueError, match="req_pool_indices has 1 entries, but seq_lens has 2"):
        backend.replay(batch, DECODE)


@pytest.mark.cuda
def test_recorded_inputs_that_moved_are_copied_into_the_memory_that_is_read():
    backend, inputs = backend_for(), batch_of([5, 9], 3)
    backend.capture(2, DECODE, inputs=inputs)
    assert not backend.replay(inputs, DECODE).inputs_copied
    inputs.seq_lens.data = inputs.seq_lens + 60
    assert backend.replay(inputs, DECODE).inputs_copied
    assert_live(backend, inputs, DECODE)
    with pytest.raises(ValueError, match="captured already and reads other tensors"):
        backend.capture(2, DECODE, inputs=inputs)


@pytest.mark.cuda
def test_inputs_that_the_kernel_cannot_read_are_refused_at_capture():
    strided = torch.ones(2, 2, dtype=torch.int64, device=DEVICE)[:, 0]
    with pytest.raises(ValueError, match="seq_lens has stride 2"):
        backend_for().capture(2, DECODE, inputs=nsa.ReplayBatch(strided, torch.zeros_like(strided)))
