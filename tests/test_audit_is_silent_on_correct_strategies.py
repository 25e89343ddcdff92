"""Does the audit stay silent on every strategy, mode, page size and step count that is right?"""

import pytest
import torch
from batches import DECODE, EXTEND, HOST_ONLY, VERIFY, each_mode, runnable_strategies
from device import DEVICE
from mutants import BS, STEPS, strided_set

import nsa_core as nsa
from nsa_core.audit import audit
from nsa_core.audit.own import audit_strategy, token_table

BASE = {"index_topk": 40, "num_draft_tokens": 3, "flashmla_num_sm_parts": 5, "paged_mqa_num_sms": 5}
WIDTH, POOL = 270, 7  # a split of 256 tokens and then some
KERNELS = [name for name in runnable_strategies() if name not in HOST_ONLY]

SIZES = ((1, 1), (64, 1), (7, 2), (1, 5), (64, 5))  # page size, steps
# Kernels in the interpreter are slow: each mode meets one size, and all of them in the soak.
SIZE_OF = {DECODE: (64, 1), VERIFY: (1, 2), EXTEND: (16, 3)}


def report_on(strategy, mode, page_size, steps, device="cpu", in_turn=True, fixed_width=False, **options):
    config = nsa.NSAConfig(page_size=page_size, **BASE | options)
    table = token_table(POOL, WIDTH, page_size, torch.device(device))
    return audit_strategy(strategy, config, table, mode, steps, bs=3, in_turn=in_turn, fixed_width=fixed_width)


def each_size(test):
    return pytest.mark.parametrize("page_size, steps", SIZES)(test)


@each_size
@each_mode
@pytest.mark.parametrize("strategy", HOST_ONLY)
def test_strategies_without_kernels(strategy, mode, page_size, steps):
    report = report_on(strategy, mode, page_size, steps)
    assert report.ok, str(report)
    assert report.batches > 30 and len(report.fields) == 12


@each_size
@pytest.mark.parametrize("options", ({}, {"step_offset": 2}, {"flashmla_dense": True}), ids=str)
@pytest.mark.parametrize("strategy", HOST_ONLY)
def test_draft_extend_of_fixed_width(strategy, options, page_size, steps):
    report = report_on(strategy, EXTEND, page_size, steps, fixed_width=True, **options)
    assert report.ok, str(report)
    assert report.batches > 30 and len(report.fields) == 12


@pytest.mark.parametrize("strategy", KERNELS)
def test_kernels_in_draft_extend_of_fixed_width(strategy):
    report = report_on(strategy, EXTEND, *SIZE_OF[EXTEND], device=DEVICE, in_turn=False, fixed_width=True)
    assert report.ok, str(report)


@each_mode
@pytest.mark.parametrize("strategy", KERNELS)
def test_kernels(strategy, mode):
    report = report_on(strategy, mode, *SIZE_OF[mode], device=DEVICE, in_turn=False)
    assert report.ok, str(report)


@pytest.mark.soak
@each_size
@each_mode
@pytest.mark.parametrize("strategy", KERNELS)
def test_kernels_everywhere(strategy, mode, page_size, steps):
    report = report_on(strategy, mode, page_size, steps, device=DEVICE)
    assert report.ok, str(report)


@each_mode
@pytest.mark.parametrize("options", ({"step_offset": 2}, {"flashmla_dense": True}, {"index_topk": 1}), ids=str)
@pytest.mark.parametrize("strategy", HOST_ONLY)
def test_options(strategy, mode, options):
    report = report_on(strategy, mode, 16, 3, **options)
    assert report.ok, str(report)


@pytest.mark.parametrize(("mode", "fixed_width"), [(DECODE, False), (VERIFY, False), (EXTEND, False), (EXTEND, True)])
@pytest.mark.parametrize("contract", ("exact", "live prefix"))
def test_adopted_slices_of_wider_buffers(mode, fixed_width, contract):
    config = nsa.NSAConfig(page_size=16, **BASE | {"flashmla_num_sm_parts": None})
    table = token_table(9, 333, 16, torch.device(DEVICE))
    sets = [strided_set(config, mode, 333, gap=7) for _ in range(STEPS)]
    backend = nsa.MultiStepBackend(config, table, STEPS)
    backend.adopt(BS, mode, sets)
    options = {"contract": contract, "fixed_width": fixed_width}
    report = audit(lambda batch: backend.replay(batch, mode), sets, config, table, mode, **options)
    assert report.ok, str(report)


def test_one_request_one_token_wide():
    config = nsa.NSAConfig(page_size=1, num_draft_tokens=1)
    table = torch.zeros(1, 2, dtype=torch.int32, device=DEVICE)
    backend = nsa.MultiStepBackend(config, table, 1)
    sets = backend.capture(1, VERIFY)
    report = audit(lambda batch: backend.replay(batch, VERIFY), sets, config, table, VERIFY, contract="exact")
    assert report.ok, str(report)


@pytest.mark.cuda
@each_mode
@pytest.mark.parametrize("page_size, steps", ((1, 3), (64, 4)))
@pytest.mark.parametrize("strategy", list(nsa.strategies("cpu")))
def test_on_a_gpu(strategy, mode, page_size, steps):
    report = report_on(strategy, mode, page_size, steps, device="cuda")
    assert report.ok, str(report)
    if mode is EXTEND:
        fixed_width = report_on(strategy, mode, page_size, steps, device="cuda", fixed_width=True)
        assert fixed_width.ok, str(fixed_width)
    assert report.allocations is not None and not any("memory" in reason for reason in report.skipped)
