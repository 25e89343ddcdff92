"""Do thousands of consecutive trace replays keep memory flat and every checked output right?"""

import itertools
import os
from pathlib import Path

import pytest
import torch
from batches import DECODE

import nsa_core as nsa
from nsa_core.audit.compare import Comparison
from nsa_core.lab.trace import TraceEngine

CONFIG = nsa.NSAConfig(index_topk=256, max_context_len=2048, flashmla_num_sm_parts=8, paged_mqa_num_sms=16)
STEPS = 3
GROWTH = 8 << 20  # bytes of resident memory; a leak of 100 bytes a replay would pass it in the long run


def resident():
    """Bytes of memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def traffic():
    """Trace steps without end: the trace starts over when it is served."""
    engine = TraceEngine("azure", CONFIG, max_batch=4, iteration_s=0.5)
    return engine, itertools.chain.from_iterable(itertools.repeat(engine))


def assert_right(backend, batch, mode):
    sets = backend.sets(batch.bs, mode)
    comparison = Comparison(sets, backend.config, backend.req_to_token, mode, "live prefix")
    assert comparison.findings(comparison.expected(batch), comparison.snapshot()) == []


def soak(replays, warm_up, check_every):
    engine, steps = traffic()
    backend = nsa.MultiStepBackend(CONFIG, engine.req_to_token, STEPS)
    for bs, mode in itertools.product(range(1, engine.max_batch + 1), nsa.ForwardMode):
        backend.capture(bs, mode)
    addresses = {key: t.data_ptr() for key, t in captured_tensors(backend).items()}
    held = None
    for i, at in enumerate(itertools.islice(steps, replays)):
        backend.replay(at.batch, at.mode)
        if i % check_every == 0:
            assert_right(backend, at.batch, at.mode)
        if i == warm_up:
            held = resident()
    assert resident() - held < GROWTH, f"{resident() - held} bytes more after {replays} replays"
    assert {key: t.data_ptr() for key, t in captured_tensors(backend).items()} == addresses


def captured_tensors(backend):
    sizes = itertools.product((1, 4), nsa.ForwardMode, range(STEPS))
    return {
        (bs, mode, step, name): tensor
        for bs, mode, step in sizes
        for name, tensor in backend.sets(bs, mode)[step].tensors().items()
    }


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc/self/statm to read resident memory")
def test_2_000_replays():
    soak(2_000, warm_up=400, check_every=40)


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc/self/statm to read resident memory")
def test_100_000_replays():
    soak(100_000, warm_up=5_000, check_every=500)


@pytest.mark.soak
@pytest.mark.cuda
def test_a_million_replays_through_graph():
    """The inputs are the recorded ones, written in place, as an engine would; batches are made once and dealt out."""
    engine = TraceEngine("azure", CONFIG, max_batch=4, iteration_s=0.5, device="cuda")
    decodes = (at.batch for at in engine if at.mode is DECODE and at.batch.bs == 4)
    batches = [nsa.ReplayBatch(b.seq_lens, b.req_pool_indices) for b in itertools.islice(decodes, 200)]
    backend = nsa.MultiStepBackend(CONFIG, engine.req_to_token, STEPS, strategy="graph")
    backend.capture(4, DECODE)
    inputs, held = backend.inputs(4, DECODE), None
    for i in range(1_000_000):
        batch = batches[i % len(batches)]
        inputs.seq_lens.copy_(batch.seq_lens)
        inputs.req_pool_indices.copy_(batch.req_pool_indices)
        backend.replay(inputs, DECODE)
        if i % 9_973 == 0:
            assert_right(backend, batch, DECODE)
            held = torch.cuda.memory_allocated() if held is None else held
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= held + (1 << 20)
