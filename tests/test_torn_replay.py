"""After an error inside a replay: which steps hold what, who says so, and does the next replay put it right?"""

from dataclasses import replace

import oracle
import pytest
import torch
from batches import (
    DECODE,
    EXTEND,
    HOST_ONLY,
    Requests,
    captured,
    each_mode,
    each_strategy,
    runnable_strategies,
    token_table,
)
from device import DEVICE

import nsa_core as nsa
from nsa_core.audit.probes import Inject, InjectedFault

CONFIG = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3, paged_mqa_num_sms=5)
STEPS, MOST_PLACES = 3, 6
BEFORE, FAILING, AFTER = (
    Requests((100, 30), (1, 0), (3, 1)),
    Requests((33, 120), (2, 1), (1, 3)),
    Requests((17, 64), (0, 2), (2, 0)),
)


def backend_for(strategy, mode):
    return captured(CONFIG, token_table(3, 130, 16), STEPS, strategy, 2, mode)


def cells(backend):
    """Every captured cell of every step, schedules included."""
    return [{name: tensor.clone() for name, tensor in backend[step].tensors().items()} for step in range(STEPS)]


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def assert_live(backend, requests, mode):
    batch = requests.batch(mode)
    for step in range(STEPS):
        wanted = oracle.expected(
            CONFIG, backend.req_to_token, batch, mode, oracle.snapshot(backend[step]), step, STEPS
        )
        live = oracle.live_mask(CONFIG, batch, mode, wanted, step)
        oracle.assert_live_cells(oracle.snapshot(backend[step]), wanted, live, f"step {step}")


def operations(strategy, mode):
    """PyTorch's, in one replay. A compiled kernel and a recorded graph are none; an interpreted kernel is many."""
    backend, count, batch = backend_for(strategy, mode), Inject(None), FAILING.batch(mode)
    backend.replay(BEFORE.batch(mode), mode)
    with count:
        backend.replay(batch, mode)
    return count.operations


def places(strategy, mode):
    """Where to fail: before every operation, or, of a strategy with kernels, before a few of them and the last."""
    count = operations(strategy, mode)
    few = range(0, count, max(-(-count // MOST_PLACES), 1))
    return range(count) if strategy in HOST_ONLY else sorted({*few, *range(count)[-1:]})


def tear(backend, mode, before, fault=InjectedFault):
    """A replay of FAILING that fails before its operation number `before`."""
    batch = FAILING.batch(mode)
    with pytest.raises(fault) as failure, Inject(before, fault):
        backend.replay(batch, mode)
    return failure.value


@each_strategy
@each_mode
def test_an_error_before_any_operation_leaves_old_new_or_named_steps(mode, strategy):
    backend, reference = backend_for(strategy, mode), backend_for(strategy, mode)
    torn_at = set()
    for before in places(strategy, mode):
        for each in (backend, reference):
            oracle.poison(each.sets(2, mode))
            each.replay(BEFORE.batch(mode), mode)
        old = cells(backend)
        reference.replay(FAILING.batch(mode), mode)
        error, new = tear(backend, mode, before), cells(reference)
        left, whole = cells(backend), old if not backend.torn else new
        assert all(same(left[step], whole[step]) for step in set(range(STEPS)) - set(backend.torn)), before
        assert bool(backend.torn) == any("may be torn" in note for note in getattr(error, "__notes__", []))
        torn_at.add(backend.torn)
        backend.replay(AFTER.batch(mode), mode)
        assert backend.torn == ()
        assert_live(backend, AFTER, mode)
    if "graph" in strategy:
        assert torn_at == {()}  # PyTorch copies the inputs; the launch that writes is none of its operations
    elif "fused" in strategy:
        assert torn_at == {(0, 1, 2)} if DEVICE == "cpu" else not any(torn_at)  # compiled, all there is is the launch
    else:
        assert () in torn_at and len(torn_at) > 1


@pytest.mark.parametrize("strategy", [s for s in runnable_strategies() if "fused" in s or "graph" in s])
@pytest.mark.parametrize("call", ("replay", "refresh"))
@each_mode
def test_a_launch_that_fails_may_have_torn_every_step(mode, call, strategy, monkeypatch):
    from nsa_core.kernels import refresh

    def fails(*_, **__):
        raise InjectedFault("injected into the launch")

    backend = backend_for(strategy, mode)
    backend.replay(BEFORE.batch(mode), mode)
    by_graph = "graph" in strategy and call == "replay"
    launch = (torch.cuda.CUDAGraph, "replay") if by_graph else (type(refresh.refresh), "run")
    batch = replace(FAILING, dtype=torch.int32).batch(mode)  # other dtypes than before: Triton itself is asked to run
    with monkeypatch.context() as patch, pytest.raises(InjectedFault) as failure:
        patch.setattr(*launch, fails)
        getattr(backend, call)(batch, mode)
    assert backend.torn == (0, 1, 2)
    assert failure.value.__notes__[0].startswith(
        f"steps 0..2 of bs 2 in {mode.name} may be torn; replay again before"
    )
    backend.replay(AFTER.batch(mode), mode)
    assert backend.torn == ()
    assert_live(backend, AFTER, mode)


def test_copy_names_the_step_it_was_writing_and_those_after_it():
    backend, torn = backend_for("copy", DECODE), set()
    for before in places("copy", DECODE):
        backend.replay(BEFORE.batch(DECODE), DECODE)
        error = tear(backend, DECODE, before)
        torn.add(backend.torn)
        if backend.torn == (1, 2):
            assert error.__notes__[0].startswith("steps 1..2 of bs 2 in DECODE may be torn; replay again before")
    assert torn == {(), (0, 1, 2), (1, 2), (2,)}


def test_an_interrupt_tears_and_tells_like_any_error():
    backend = backend_for("copy", EXTEND)
    last = operations("copy", EXTEND) - 1
    error = tear(backend, EXTEND, last, KeyboardInterrupt)
    assert backend.torn == (2,) and error.__notes__[0].startswith("step 2 of bs 2 in DRAFT_EXTEND may be torn")


def test_what_is_torn_stays_so_until_a_replay_returns():
    backend = backend_for("copy", DECODE)
    tear(backend, DECODE, operations("copy", DECODE) - 1)
    with pytest.raises(ValueError, match=r"seq_lens\[0\] is 999"):
        backend.replay(Requests((999, 1), (0, 0), ()).batch(DECODE), DECODE)
    batch = AFTER.batch(DECODE)
    with pytest.raises(InjectedFault), Inject(0):
        backend.replay(batch, DECODE)
    assert backend.torn == (2,)
    backend.replay(BEFORE.batch(DECODE), DECODE)
    assert backend.torn == ()
    assert_live(backend, BEFORE, DECODE)


def test_a_replay_of_another_set_does_not_hide_what_is_torn():
    backend = backend_for("copy", DECODE)
    backend.capture(2, EXTEND)
    tear(backend, DECODE, operations("copy", DECODE) - 1)
    backend.replay(BEFORE.batch(EXTEND), EXTEND)
    assert backend.torn == (2,)
    backend.replay(BEFORE.batch(DECODE), DECODE)
    assert backend.torn == ()
