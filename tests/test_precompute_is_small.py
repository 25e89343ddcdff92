"""How many operations does it take to compute one replay's values, and does that depend on the batch?"""

from dataclasses import replace

import pytest
import torch
from batches import DECODE, EXTEND, VERIFY, Requests, each_mode, token_table
from device import DEVICE
from torch.utils._python_dispatch import TorchDispatchMode

import nsa_core as nsa
from nsa_core.lab.bench import parts as page_table

MOST = {DECODE: 10, VERIFY: 14, EXTEND: 20}
SCHEDULE = {"cpu": 13, "cuda": 1}  # of a paged-MQA schedule; on a GPU the allocation, since Triton's launch is none
SIZES = (1, 7, 64)
WIDTH = 130

# Operations that only look at memory differently: no kernel, no bytes moved.
VIEWS = {
    "aten.alias",
    "aten.as_strided",
    "aten.detach",
    "aten.diagonal",
    "aten.expand",
    "aten.narrow",
    "aten.permute",
    "aten.select",
    "aten.slice",
    "aten.split",
    "aten.split_with_sizes",
    "aten.squeeze",
    "aten.t",
    "aten.transpose",
    "aten.unbind",
    "aten.unfold",
    "aten.unsqueeze",
    "aten.view",
    "aten._unsafe_view",
}


class Recorder(TorchDispatchMode):
    """Names of the operations called inside the block, views left out."""

    def __enter__(self):
        self.calls = []
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str(func.overloadpacket) not in VIEWS:
            self.calls.append(str(func.overloadpacket))
        return func(*args, **(kwargs or {}))


def requests_of(bs, dtype=torch.int64, mirrored=False):
    lengths = tuple(3 + 17 * i % (WIDTH - 8) for i in range(bs))
    return Requests(lengths, tuple(range(bs)), tuple(i % 4 for i in range(1, bs + 1)), dtype, mirrored)


def calls_of(mode, requests, page_size=64, num_draft_tokens=3, num_sms=None):
    config = nsa.NSAConfig(
        page_size=page_size, index_topk=48, num_draft_tokens=num_draft_tokens, paged_mqa_num_sms=num_sms
    )
    table, batch = token_table(len(requests.lengths), WIDTH, page_size), requests.batch(mode)
    page_table.strided_columns.cache_clear()
    with Recorder() as recorder:
        nsa.precompute(config, table, batch, mode)
    return recorder.calls


def test_the_recorder_counts_kernels_and_copies_but_no_views():
    with Recorder() as recorder:
        table = torch.arange(12).view(3, 4)[:, 1:]
        (table.t().unsqueeze(0) + 1).to(torch.int32)
    assert recorder.calls == ["aten.arange", "aten.add", "aten._to_copy"]


@pytest.mark.parametrize("mirrored", (False, True), ids=("without_mirrors", "with_mirrors"))
@pytest.mark.parametrize("dtype", (torch.int32, torch.int64), ids=("int32", "int64"))
@pytest.mark.parametrize("page_size", (1, 64), ids=lambda n: f"page_{n}")
@pytest.mark.parametrize("bs", SIZES, ids=lambda n: f"bs_{n}")
@each_mode
def test_a_replay_is_computed_in_few_operations(mode, bs, page_size, dtype, mirrored):
    calls = calls_of(mode, requests_of(bs, dtype, mirrored), page_size)
    assert 0 < len(calls) <= MOST[mode], calls


@pytest.mark.parametrize("page_size", (1, 64), ids=lambda n: f"page_{n}")
@each_mode
def test_the_number_of_operations_does_not_depend_on_the_batch_size(mode, page_size):
    counts = {bs: len(calls_of(mode, requests_of(bs), page_size)) for bs in SIZES}
    assert len(set(counts.values())) == 1, counts


@each_mode
def test_more_draft_tokens_cost_no_operation_more(mode):
    few, many = (calls_of(mode, requests_of(7), num_draft_tokens=d) for d in (3, 5))
    assert few == many


@pytest.mark.parametrize("bs", SIZES, ids=lambda n: f"bs_{n}")
def test_fixed_width_costs_no_operation_more_than_verify(bs):
    fixed_width = calls_of(EXTEND, replace(requests_of(bs), accepts=None))
    assert 0 < len(fixed_width) <= MOST[VERIFY], fixed_width


def test_accepting_nothing_costs_no_operation_more():
    nothing = calls_of(EXTEND, Requests((9, 30), (0, 1), (0, 0)))
    assert len(nothing) <= len(calls_of(EXTEND, Requests((9, 30), (0, 1), (2, 3))))


@pytest.mark.parametrize("num_sms", (1, 132))
@pytest.mark.parametrize("bs", SIZES, ids=lambda n: f"bs_{n}")
@each_mode
def test_a_paged_mqa_schedule_costs_a_fixed_number_of_operations(mode, bs, num_sms):
    without, scheduled = (calls_of(mode, requests_of(bs), num_sms=sms) for sms in (None, num_sms))
    assert len(scheduled) - len(without) == SCHEDULE[DEVICE], scheduled
