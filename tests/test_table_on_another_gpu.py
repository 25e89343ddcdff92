"""The table on a GPU that is not the current one: every launch and recording goes to the table's device."""

import pytest
import torch
from batches import DECODE, EXTEND, VERIFY

import nsa_core as nsa
from nsa_core.audit.own import audit_strategy, token_table

CONFIG = nsa.NSAConfig(page_size=64, index_topk=96, num_draft_tokens=3, flashmla_num_sm_parts=4, paged_mqa_num_sms=5)

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason=f"needs 2 GPUs, found {torch.cuda.device_count()}"),
]


@pytest.fixture(autouse=True)
def the_first_gpu_is_current():
    torch.cuda.set_device(0)
    yield
    assert torch.cuda.current_device() == 0


@pytest.mark.parametrize("mode", [DECODE, VERIFY, EXTEND], ids=lambda mode: mode.value)
@pytest.mark.parametrize("strategy", nsa.strategies())
def test_every_strategy_refreshes_there(strategy, mode):
    req_to_token = token_table(7, 300, CONFIG.page_size, torch.device("cuda:1"))
    report = audit_strategy(strategy, CONFIG, req_to_token, mode, num_steps=3, bs=4)
    assert report.ok, report


def test_a_refresh_recorded_in_the_callers_graph_runs_there():
    device = torch.device("cuda:1")
    req_to_token = token_table(7, 300, CONFIG.page_size, device)
    steps = nsa.MultiStepBackend(CONFIG, req_to_token, 2, strategy="fused")
    captured = steps.capture(2, DECODE)
    batch = nsa.ReplayBatch(torch.tensor([70, 5], device=device), torch.tensor([3, 1], device=device))
    steps.replay(batch, DECODE)
    with torch.cuda.device(device):
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.Stream(device)):  # the default is kept for other tests
            steps.refresh(batch, DECODE)
    batch.seq_lens.copy_(torch.tensor([9, 200]))
    graph.replay()
    torch.cuda.synchronize(device)
    assert [s.cu_seqlens_k.tolist() for s in captured] == [[0, 9, 209]] * 2


def test_graphs_are_recorded_on_one_gpu_after_the_other(monkeypatch):
    """PyTorch keeps one stream for recordings, of the device that recorded first."""
    monkeypatch.setattr(torch.cuda.graph, "default_capture_stream", None)
    for device in ("cuda:1", "cuda:0", "cuda:1"):
        req_to_token = token_table(7, 300, CONFIG.page_size, torch.device(device))
        report = audit_strategy("graph", CONFIG, req_to_token, DECODE, num_steps=2, bs=3)
        assert report.ok, report


def test_a_batch_on_the_current_gpu_is_refused_by_name():
    req_to_token = token_table(7, 300, CONFIG.page_size, torch.device("cuda:1"))
    steps = nsa.MultiStepBackend(CONFIG, req_to_token, 2, strategy="fused")
    steps.capture(2, DECODE)
    batch = nsa.ReplayBatch(torch.tensor([70, 5], device="cuda:0"), torch.tensor([3, 1], device="cuda:0"))
    with pytest.raises(ValueError, match="seq_lens is on cuda:0, but must be on cuda:1"):
        steps.replay(batch, DECODE)
