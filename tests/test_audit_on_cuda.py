"""On a GPU: does the audit find waits, kept memory, other streams and frozen values, and pass what is right?"""

import pytest
import torch
from batches import DECODE, token_table

import nsa_core as nsa
from nsa_core.audit import audit

pytestmark = pytest.mark.cuda
CONFIG = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3, paged_mqa_num_sms=5)
SPIN = 20_000_000  # device cycles, some 10 ms


def audited(make, strategy="copy", bs=3, **options):
    table = token_table(5, 333, 16).cuda()
    backend = nsa.MultiStepBackend(CONFIG, table, 3, strategy=strategy)
    sets = backend.capture(bs, DECODE)
    refresh = make(backend, lambda batch: backend.replay(batch, DECODE), sets)
    return audit(refresh, sets, CONFIG, table, DECODE, **options)


def reads_a_length_back(backend, replay, sets):  # sglang#29371
    def refresh(batch):
        replay(batch)
        assert batch.seq_lens.max().item() >= 0

    return refresh


def keeps_every_plan(backend, replay, sets):  # sglang#27664
    kept = []

    def refresh(batch):
        replay(batch)
        kept.append([captured.page_table_1.clone() for captured in sets])

    return refresh


def writes_on_a_stream_of_its_own(backend, replay, sets):  # sglang#28034
    """What the table must hold arrives late, from a stream that nobody waits for."""
    stream, table, kept = torch.cuda.Stream(), sets[0].page_table_1, []

    def refresh(batch):
        before = table.clone()
        replay(batch)
        kept.append(table.clone())
        table.copy_(before)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            torch.cuda._sleep(SPIN)
            table.copy_(kept[-1])

    return refresh


def replays_a_graph_of_host_values(backend, replay, sets):  # sglang#39825
    """The copies are recorded with the column count of the batch at capture."""
    static = nsa.ReplayBatch(
        *(torch.ones(3, dtype=torch.int64, device="cuda") for _ in range(2)),
        seq_lens_cpu=torch.ones(3, dtype=torch.int64),
    )
    replay(static)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replay(static)

    def refresh(batch):
        static.seq_lens.copy_(batch.seq_lens)
        static.req_pool_indices.copy_(batch.req_pool_indices)
        graph.replay()

    return refresh


MUTANTS = {
    "host synchronisation": reads_a_length_back,
    "allocation": keeps_every_plan,
    "not refreshed": writes_on_a_stream_of_its_own,
}


@pytest.mark.parametrize("kind, make", list(MUTANTS.items()), ids=list(MUTANTS))
def test_mutant_is_found(kind, make):
    report = audited(make)
    torch.cuda.synchronize()
    assert kind in report.kinds, str(report)


def test_host_values_in_a_graph_are_found_in_the_tables():
    report = audited(replays_a_graph_of_host_values)
    assert {f.field for f in report.findings if f.kind == "not refreshed"} == {"page_table_1", "real_page_table"}


def test_temporaries_are_counted_and_are_no_fault():
    report = audited(lambda backend, replay, sets: replay)
    assert report.ok and report.allocations > 0, str(report)


def test_a_recorded_refresh_allocates_nothing():
    report = audited(lambda backend, replay, sets: replay, strategy="graph")
    assert report.ok and report.allocations == 0, str(report)


def test_a_refresh_inside_the_callers_own_graph_is_right():
    def record(backend, replay, sets):
        inputs = nsa.ReplayBatch(*(torch.ones(3, dtype=torch.int64, device="cuda") for _ in range(2)))
        backend.refresh(inputs, DECODE)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            backend.refresh(inputs, DECODE)

        def refresh(batch):
            inputs.seq_lens.copy_(batch.seq_lens)
            inputs.req_pool_indices.copy_(batch.req_pool_indices)
            graph.replay()

        return refresh

    report = audited(record, strategy="fused")
    assert report.ok, str(report)
