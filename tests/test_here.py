"""Are operations counted without views, replays checked before they are timed, and times shown but never stored?"""

import re

import pytest
import torch

from nsa_core.lab.bench import Bench, BenchCase, WrongResult
from nsa_core.lab.bench.evidence import committed
from nsa_core.lab.explore import here

SMALL = BenchCase("small", bs=2, lengths=64, width=128, steps=2)


def stored(timed):
    return {kind: text for kind, text in timed._repr_mimebundle_().items() if "widget-view" not in kind}


def test_operations_are_counted_without_views():
    x = torch.arange(12).view(3, 4)
    counted = here.operations_of(lambda: x[:, ::2].t().add(1).copy_(torch.zeros(2, 3)))
    assert counted == {"add": 1, "zeros": 1, "copy_": 1}


def test_a_time_is_shown_and_not_stored():
    timed = here.Timed([{"way": "copy", "time": 12.5}])
    assert ">12.5<" in timed.value and "time, \u00b5s" in timed.value and here.device() in timed.value
    assert stored(timed) == {"text/plain": here.NOT_STORED} and not re.search(r"\d", here.NOT_STORED)


def test_what_was_recorded_is_stored_beside():
    run = committed()
    timed = here.Timed([{"way": "copy", "time": 12.5}], recorded=here._recorded(run, "record-4", ("copy", "batched")))
    kept = stored(timed)
    assert set(kept) == {"text/plain", "text/html"} and here.NOT_STORED in kept["text/html"]
    for said in kept.values():
        assert run.brief in said and "batched" in said and "12.5" not in said


def test_replays_are_compared_with_the_first():
    timed = here.replays(SMALL, ("eager", "copy"), budget_s=0.02)
    assert timed.value.index(">eager<") < timed.value.index(">copy<")
    assert timed.value.index(">eager<") < timed.value.index(">1.00<") < timed.value.index(">copy<")


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a machine without a GPU")
def test_what_needs_a_gpu_is_named_and_not_timed():
    value = here.replays(SMALL, ("copy", "batched"), budget_s=0.02).value
    assert "Not timed, since they need a GPU: batched." in value and ">batched<" not in value


def test_a_wrong_replay_is_not_timed(monkeypatch):
    monkeypatch.setattr(Bench, "case", lambda run, case: run.failures.append(f"{case.name} copy: wrong"))
    with pytest.raises(RuntimeError, match="small copy: wrong"):
        here.replays(SMALL, ("copy",))


def test_describing_is_checked_first(monkeypatch):
    value = here.describing(SMALL, budget_s=0.01).value
    assert "the 6 copies of a set" in value and ">describe them<" in value
    monkeypatch.setattr(here, "describe", lambda _dst, _src: type("Nothing", (), {"size": 0}))
    with pytest.raises(WrongResult, match="0 elements are described"):
        here.describing(SMALL, budget_s=0.01)
