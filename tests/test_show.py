"""Do the objects a reader prints say what they hold, briefly, in a terminal and in a notebook?"""

import pytest
import torch
from batches import DECODE, token_table
from device import DEVICE

import nsa_core as nsa
from nsa_core.audit.report import AuditReport, Finding

CONFIG = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3)


def replayed():
    steps = nsa.MultiStepBackend(CONFIG, token_table(12, 130, 16), 2)
    steps.capture(9, DECODE)
    lengths = torch.arange(1, 10, device=DEVICE)
    steps.replay(nsa.ReplayBatch(lengths, lengths), DECODE)
    return steps


def test_a_captured_set_shows_every_field_with_its_first_values():
    shown = repr(replayed()[0])
    assert f"one captured set on {torch.empty(0, device=DEVICE).device.type}" in shown
    assert "cache_seqlens_int32      [9]       1 2 3 4 5 6 7 8 9" in shown
    assert "... 3 rows more" in shown and len(shown.splitlines()) < 30 and max(map(len, shown.splitlines())) < 118
    assert not [name for name in replayed()[0].tensors() if name not in shown]


def test_a_notebook_gets_a_table_with_the_same_cells():
    captured = replayed()[0]
    page = captured._repr_html_()
    assert page.count("<tr>") == len(captured.tensors()) + 1 and "1 2 3 4 5 6 7 8 9" in page


def test_a_batch_shows_what_it_was_given_and_no_more():
    batch = nsa.ReplayBatch(torch.tensor([6, 3]), torch.tensor([1, 2]))
    assert repr(batch) == "ReplayBatch\n  seq_lens          [2]  6 3\n  req_pool_indices  [2]  1 2"
    assert "accept_length" not in batch._repr_html_()


def test_a_backend_says_what_is_captured():
    steps = nsa.MultiStepBackend(CONFIG, token_table(4, 130, 16), 2)
    assert "2 steps by 'copy', tables of 130 columns" in repr(steps) and "nothing captured yet" in repr(steps)
    steps.capture(3, DECODE)
    assert repr(steps).endswith("bs 3 in DECODE)")


@pytest.mark.parametrize(
    "odd", [[1, 2], None, 3.5, torch.zeros((), dtype=torch.int64), torch.zeros(2, device="meta")]
)
def test_what_is_no_batch_yet_can_be_printed_all_the_same(odd):
    assert "seq_lens" in repr(nsa.ReplayBatch(torch.tensor([1]), odd))


def test_a_name_is_never_taken_for_markup():
    batch = nsa.ReplayBatch("<script>", torch.tensor([1]))
    assert "<script>" not in batch._repr_html_()


def test_an_audit_report_is_a_table_of_its_findings():
    finding = Finding("wrong", "cu_seqlens_k", 1, "cu_seqlens_k[2] is 7\nand should be 9", None)
    report = AuditReport([finding], "DECODE", "exact", 2, ("cu_seqlens_k",), 12, skipped=("nothing",))
    assert report._repr_html_().count("<tr>") == 2 and "7<br>and should be 9" in report._repr_html_()
    assert "1 findings in 12 batches" in repr(report) and repr(report) == str(report)
