"""Is `check` green only for what it compared, and red for any field that is not what it should be?"""

import pytest
import torch
from device import DEVICE

import nsa_core as nsa
from nsa_core import kernels
from nsa_core.__main__ import main
from nsa_core.lab.check import check
from nsa_core.strategies import REGISTRY, strategies
from nsa_core.strategies.copy import Copy

SHORT = ("check", "--device", "cpu", "--trace", "azure", "--trace-steps", "3", "--width", "2048")
CONFIG = nsa.NSAConfig(max_context_len=2048, flashmla_num_sm_parts=4, paged_mqa_num_sms=6)
FIELDS = nsa.MultiStepBackend(CONFIG, torch.zeros(1, 64).int(), 1).capture(1, nsa.ForwardMode.DECODE)[0].tensors()


class Damages(Copy):
    """Copies everything, then adds 1 to a cell of the last step's `field`."""

    name, field = "damages", ""

    def execute(self, plans):
        done = super().execute(plans)
        self.captured.sets[-1].tensors()[self.field].view(-1)[-1] += 1
        return done


@pytest.mark.parametrize("field", FIELDS)
def test_every_captured_field_is_compared(field, monkeypatch):
    monkeypatch.setitem(REGISTRY, "damages", type("Damages", (Damages,), {"field": field}))
    options = {"steps": 4, "num_steps": 2, "max_batch": 2, "device": DEVICE}
    result = check("azure", CONFIG, strategies(DEVICE)["damages"], **options)
    assert result.replays == 4 and any(f", step 1: {field}[" in fault for fault in result.faults)


def test_what_is_equal_exits_with_0(capsys):
    assert main([*SHORT, "--strategy", "copy"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == "copy exact azure 3 3 375 equal".split()


def test_a_wrong_cell_exits_with_1(capsys, monkeypatch):
    monkeypatch.setitem(REGISTRY, "damages", type("Damages", (Damages,), {"field": "cu_seqlens_k"}))
    assert main([*SHORT, "--strategy", "damages"]) == 1
    assert "faults; first: replay 0, decode, step 2: cu_seqlens_k[1] is " in capsys.readouterr().out


def test_a_strategy_asked_for_that_cannot_run_exits_with_2(capsys, monkeypatch):
    monkeypatch.setattr(kernels, "missing", lambda device: "no kernels here")
    assert main([*SHORT, "--strategy", "copy", "--strategy", "fused"]) == 2
    assert main([*SHORT, "--strategy", "fused"]) == 2
    assert "not run: fused: no kernels here" in capsys.readouterr().out


def test_strategies_that_lack_the_same_are_named_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr(kernels, "missing", lambda device: "no kernels here")
    assert main(list(SHORT)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not run: ")]
    assert [line.rpartition(": ")[2] for line in lines].count("no kernels here") == 1
    assert lines[0].startswith("not run: batched, batched-each, batched-strided, batched-steps, fused, ")
