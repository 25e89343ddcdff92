"""Is every bad batch refused by field and value, before the first cell of any step changes?"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from batches import (
    DECODE,
    EXTEND,
    HOST_ONLY,
    MODES,
    VERIFY,
    captured,
    captured_or_skip,
    each_strategy,
    runnable_strategies,
    token_table,
)

import nsa_core as nsa

ROOT = Path(__file__).parents[1]
POOL, WIDTH, DRAFTED, STEPS = 5, 40, 3, 2
CONFIG = nsa.NSAConfig(page_size=16, index_topk=24, num_draft_tokens=DRAFTED, max_context_len=WIDTH)
TABLE = token_table(POOL, WIDTH, 16)


def i32(*values):
    return torch.tensor(values, dtype=torch.int32)


def i64(*values):
    return torch.tensor(values, dtype=torch.int64)


def good(mode):
    accept_length = i32(1, 3) if mode is EXTEND else None
    return dict(seq_lens=i64(10, 20), req_pool_indices=i64(1, 3), accept_length=accept_length)


@dataclass(frozen=True)
class Bad:
    """One change to a good batch, and what the refusal has to say: patterns, every one of them found."""

    why: str
    error: type | tuple
    change: dict
    says: tuple
    modes: tuple = MODES


def number(value):
    return rf"(?<![\w.-]){value}(?![\w])"


def shape(*sizes):
    return r"[\[(]" + ", ?".join(map(str, sizes)) + r",?[\])]"


META = torch.zeros(2, dtype=torch.int64, device="meta")
WRAPS = 2**32  # as int32 it would read 0

DTYPES = [
    Bad(f"{field} as {dtype}", TypeError, {field: torch.tensor([1, 2]).to(getattr(torch, dtype))}, (field, dtype))
    for field in ("seq_lens", "req_pool_indices")
    for dtype in ("float32", "int16", "bool")
]
NOT_TENSORS = [
    Bad(f"{field} as {type(value).__name__}", TypeError, {field: value}, (field, shown))
    for field in ("seq_lens", "req_pool_indices")
    for value, shown in (([10, 20], shape(10, 20)), (np.array([10, 20]), r"ndarray|array\("))
]
SHAPES = [
    Bad("seq_lens of rank 0", ValueError, dict(seq_lens=torch.tensor(10)), ("seq_lens", shape() + "|rank 0|0-d")),
    Bad("seq_lens of rank 2", ValueError, dict(seq_lens=i64(10, 20).view(1, 2)), ("seq_lens", shape(1, 2))),
    Bad("one pool row too many", ValueError, dict(req_pool_indices=i64(0, 1, 2)), ("req_pool_indices", number(3))),
    Bad("one pool row too few", ValueError, dict(req_pool_indices=i64(0)), ("req_pool_indices", number(1))),
    Bad(
        "pool rows of rank 2",
        ValueError,
        dict(req_pool_indices=i64(0, 1).view(2, 1)),
        ("req_pool_indices", shape(2, 1)),
    ),
]
DEVICES = [
    Bad(f"{field} elsewhere", ValueError, {field: META}, (field, "meta"))
    for field in ("seq_lens", "req_pool_indices")
]
LENGTHS = [
    Bad("a negative length", ValueError, dict(seq_lens=i64(10, -1)), ("seq_lens", number(-1))),
    Bad("the lowest int32 length", ValueError, dict(seq_lens=i32(-(2**31), 9)), ("seq_lens", number(-(2**31)))),
    Bad(
        "one token past the table",
        ValueError,
        dict(seq_lens=i64(41, 20)),
        ("seq_lens", number(41), number(40)),
        (DECODE, EXTEND),
    ),
    Bad(
        "drafts past the table",
        ValueError,
        dict(seq_lens=i64(20, 38)),
        ("seq_lens", number("(38|41)"), number(40)),
        (VERIFY,),
    ),
    Bad("a length that wraps to 3", ValueError, dict(seq_lens=i64(WRAPS + 3, 20)), ("seq_lens", number(WRAPS + 3))),
]
POOL_ROWS = [
    Bad(
        "a pool row past the last",
        ValueError,
        dict(req_pool_indices=i64(0, POOL)),
        ("req_pool_indices", number(POOL)),
    ),
    Bad("a negative pool row", ValueError, dict(req_pool_indices=i32(-1, 2)), ("req_pool_indices", number(-1))),
    Bad(
        "a pool row that wraps to 1",
        ValueError,
        dict(req_pool_indices=i64(WRAPS + 1, 2)),
        ("req_pool_indices", number(WRAPS + 1)),
    ),
]
NONE_OR_VALUE = (ValueError, TypeError)
ACCEPTS = [
    Bad(why, error, dict(accept_length=value), ("accept_length", says), (EXTEND,))
    for why, error, value, says in (
        ("no accept lengths", NONE_OR_VALUE, None, "None|missing|needs|DRAFT_EXTEND"),
        ("a negative accept length", ValueError, i32(2, -1), number(-1)),
        ("more accepted than drafted", ValueError, i32(4, 1), number(4)),
        ("accept lengths too many", ValueError, i32(1, 1, 1), number(3)),
        ("accept lengths too few", ValueError, i32(1), number(1)),
        ("accept lengths of rank 2", ValueError, i32(1, 1).view(1, 2), shape(1, 2)),
        ("accept lengths as float32", TypeError, torch.ones(2), "float32"),
        ("accept lengths as int16", TypeError, torch.ones(2, dtype=torch.int16), "int16"),
        ("accept lengths in a list", TypeError, [1, 1], shape(1, 1)),
        ("accept lengths elsewhere", ValueError, META.int(), "meta"),
    )
] + [
    Bad(
        "more accepted than the request holds",
        ValueError,
        dict(seq_lens=i64(20, 2), accept_length=i32(1, 3)),
        ("accept_length", number(3), number(2)),
        (EXTEND,),
    )
]
MIRRORS = [
    Bad(f"length mirror {why}", error, dict(seq_lens_cpu=value), ("seq_lens_cpu", says), modes)
    for why, error, value, says, modes in (
        ("too short a tensor", ValueError, i64(10), number(1), MODES),
        ("too long a tensor", ValueError, i64(10, 20, 30), number(3), MODES),
        ("of rank 2", ValueError, i64(10, 20).view(2, 1), shape(2, 1), MODES),
        ("as float64", TypeError, torch.tensor([10.0, 20.0], dtype=torch.float64), "float64", MODES),
        ("as int16", TypeError, torch.tensor([10, 20], dtype=torch.int16), "int16", MODES),
        ("in a list", TypeError, [10, 20], shape(10, 20), MODES),
        ("elsewhere", ValueError, META, "meta", MODES),
        ("below the longest request", ValueError, i64(10, 19), number(19), MODES),
        ("below a shorter request", ValueError, i64(9, 20), number(9), MODES),
        ("past the table", ValueError, i64(10, 41), number(41), (DECODE, EXTEND)),
        ("past the table with its drafts", ValueError, i64(10, 38), number("(38|41)"), (VERIFY,)),
    )
] + [
    Bad(f"accept mirror {why}", error, dict(accept_length_cpu=value), ("accept_length_cpu", says), (EXTEND,))
    for why, error, value, says in (
        ("too short a tensor", ValueError, i32(1), number(1)),
        ("as float32", TypeError, torch.tensor([1.0, 3.0]), "float32"),
        ("in a list", TypeError, [1, 3], shape(1, 3)),
        ("below the accept lengths", ValueError, i32(1, 2), number(2)),
        ("above the draft tokens", ValueError, i32(1, 4), number(4)),
    )
]
BAD = DTYPES + NOT_TENSORS + SHAPES + DEVICES + LENGTHS + POOL_ROWS + ACCEPTS + MIRRORS
BAD_IN_MODE = [pytest.param(bad, mode, id=f"{bad.why}-{mode.name.lower()}") for bad in BAD for mode in bad.modes]
ONE_PER_FIELD = [LENGTHS[0], POOL_ROWS[0], ACCEPTS[2], MIRRORS[0], DTYPES[0], DEVICES[0]]


@pytest.fixture(scope="module", params=[name for name in runnable_strategies() if name in HOST_ONLY])
def backend(request):
    """All three modes captured at batch size 2; refused batches leave it as it is, so the cases can share it."""
    return captured(CONFIG, TABLE, STEPS, request.param, 2, *MODES)


@pytest.fixture(scope="module", params=[name for name in runnable_strategies() if name not in HOST_ONLY])
def kernel_backend(request):
    return captured(CONFIG, TABLE, STEPS, request.param, 2, *MODES)


def every_step(backend):
    return [step for mode in MODES for step in backend.sets(2, mode)]


def refused(backend, error, says, act):
    """Run `act` on poisoned sets: it has to raise, to say what was wrong, and to leave each cell of each step."""
    steps = every_step(backend)
    oracle.poison(steps)
    before = [oracle.snapshot(step) for step in steps]
    with pytest.raises(error) as refusal:
        act()
    for step, cells in zip(steps, before, strict=True):
        oracle.assert_same_cells(oracle.snapshot(step), cells, "after a refused batch")
    for pattern in says:
        assert re.search(pattern, str(refusal.value)), f"{pattern} not in: {refusal.value}"


def replay(backend, mode, change):
    backend.replay(nsa.ReplayBatch(**good(mode) | change), mode)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
def test_the_good_batch_is_accepted_and_changes_every_step(backend, mode):
    oracle.poison(every_step(backend))
    replay(backend, mode, {})
    assert all((step.cache_seqlens_int32 != oracle.POISON).all() for step in backend.sets(2, mode))


@pytest.mark.parametrize("bad, mode", BAD_IN_MODE)
def test_bad_batch_is_refused_by_name(backend, bad, mode):
    refused(backend, bad.error, bad.says, lambda: replay(backend, mode, bad.change))


@pytest.mark.parametrize("bad", ONE_PER_FIELD, ids=lambda bad: bad.why)
def test_bad_batch_is_refused_before_any_kernel_runs(kernel_backend, bad):
    refused(kernel_backend, bad.error, bad.says, lambda: replay(kernel_backend, bad.modes[-1], bad.change))


def test_a_batch_size_never_captured_is_refused(backend):
    batch = nsa.ReplayBatch(seq_lens=i64(1, 2, 3), req_pool_indices=i64(0, 1, 2))
    refused(backend, KeyError, (number(3), "DECODE"), lambda: backend.replay(batch, DECODE))


def test_a_mode_never_captured_is_refused(backend):
    fresh = captured(CONFIG, TABLE, STEPS, "copy", 2, DECODE)
    batch = nsa.ReplayBatch(**good(VERIFY))
    refused(backend, KeyError, ("TARGET_VERIFY",), lambda: fresh.replay(batch, VERIFY))


@pytest.mark.parametrize("batch", ({"seq_lens": i64(1, 2)}, None, i64(1, 2)), ids=lambda b: type(b).__name__)
def test_a_batch_of_another_type_is_refused(backend, batch):
    refused(backend, TypeError, ("ReplayBatch", re.escape(repr(batch))), lambda: backend.replay(batch, DECODE))


@pytest.mark.parametrize("mode", ("decode", 1, None), ids=repr)
def test_a_mode_of_another_type_is_refused(backend, mode):
    refused(backend, TypeError, ("ForwardMode", "mode", str(mode)), lambda: replay(backend, mode, {}))


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@each_strategy
def test_the_longest_draft_step_has_to_fit_the_table(mode, strategy):
    config = replace(CONFIG, step_offset=2)
    offset = captured_or_skip("step_offset", config, TABLE, STEPS, strategy, 2, *MODES)
    last = WIDTH - 2 * STEPS - DRAFTED * (mode is VERIFY)
    says = ("seq_lens|step_offset", number(f"({last + 1}|{WIDTH + 1})"), number(WIDTH))
    replay(offset, mode, dict(seq_lens=i64(10, last)))
    refused(offset, ValueError, says, lambda: replay(offset, mode, dict(seq_lens=i64(10, last + 1))))


CHECKED = ("auto", "values")


@pytest.mark.parametrize("validation", CHECKED)
def test_values_on_the_cpu_are_read_under(validation):
    backend = nsa.MultiStepBackend(CONFIG, TABLE, STEPS, validation=validation)
    for mode in MODES:
        backend.capture(2, mode)
    refused(backend, ValueError, ("seq_lens", number(-1)), lambda: replay(backend, DECODE, dict(seq_lens=i64(-1, 2))))


@pytest.mark.parametrize(
    "change", ({"seq_lens": i64(1).view(1, 1)}, {"seq_lens_cpu": i64(41, 41)}), ids=("rank", "mirror")
)
def test_shapes_and_mirrors_are_read_even_without_values(change):
    backend = nsa.MultiStepBackend(CONFIG, TABLE, STEPS, validation="shapes")
    for mode in MODES:
        backend.capture(2, mode)
    refused(backend, ValueError, tuple(change), lambda: replay(backend, DECODE, change))


@pytest.mark.parametrize("validation", ("auto", "values", "shapes"))
@each_strategy
def test_a_mirror_gone_bad_since_the_last_replay_is_refused(strategy, validation):
    backend = nsa.MultiStepBackend(CONFIG, TABLE, STEPS, strategy=strategy, validation=validation)
    for mode in MODES:
        backend.capture(2, mode)
    batch = nsa.ReplayBatch(**good(DECODE), seq_lens_cpu=i64(10, 20))
    backend.replay(batch, DECODE)
    batch.seq_lens_cpu[1] = WIDTH + 1
    refused(backend, ValueError, ("seq_lens_cpu", number(WIDTH + 1)), lambda: backend.replay(batch, DECODE))


# Before anything is captured.


def construct(**change):
    return nsa.MultiStepBackend(**dict(config=CONFIG, req_to_token=TABLE, num_steps=STEPS) | change)


CONSTRUCTION = {
    "req_to_token as int64": (TypeError, dict(req_to_token=TABLE.long()), ("req_to_token", "int64")),
    "req_to_token as float32": (TypeError, dict(req_to_token=TABLE.float()), ("req_to_token", "float32")),
    "req_to_token in a list": (TypeError, dict(req_to_token=[[0, 1]]), ("req_to_token", r"\[0, 1\]")),
    "req_to_token of rank 1": (ValueError, dict(req_to_token=TABLE[0]), ("req_to_token", shape(WIDTH))),
    "req_to_token of rank 3": (ValueError, dict(req_to_token=TABLE[None]), ("req_to_token", shape(1, POOL, WIDTH))),
    "no steps": (ValueError, dict(num_steps=0), ("num_steps", number(0))),
    "a negative number of steps": (ValueError, dict(num_steps=-2), ("num_steps", number(-2))),
    "an unknown validation": (
        ValueError,
        dict(validation="none"),
        ("validation", "none", "auto", "values", "shapes"),
    ),
    "an unknown strategy": (
        ValueError,
        dict(strategy="fastest"),
        ("strategy", "fastest", *map(re.escape, nsa.strategies())),
    ),
}


@pytest.mark.parametrize("error, change, says", list(CONSTRUCTION.values()), ids=list(CONSTRUCTION))
def test_backend_is_not_built_from(error, change, says):
    with pytest.raises(error) as refusal:
        construct(**change)
    assert all(re.search(pattern, str(refusal.value)) for pattern in says), refusal.value


SETTINGS = {
    "page_size": (0, -16),
    "index_topk": (0, -1),
    "num_draft_tokens": (0, -4),
    "max_context_len": (0, -1),
    "flashmla_num_sm_parts": (0, -1),
    "step_offset": (-1,),
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in SETTINGS.items() for value in values])
def test_config_refuses(name, value):
    with pytest.raises(ValueError, match=name) as refusal:
        nsa.NSAConfig(**{name: value})
    assert re.search(number(value), str(refusal.value)), refusal.value


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        CONFIG.page_size = 1


CAPTURES = {
    "a negative batch size": (ValueError, (-1, DECODE), ("bs", number(-1))),
    "a fraction of a batch": (TypeError, (1.5, DECODE), ("bs", r"1\.5")),
    "a mode by its name": (TypeError, (2, "decode"), ("mode", "decode|str")),
}


@pytest.mark.parametrize("error, what, says", list(CAPTURES.values()), ids=list(CAPTURES))
def test_capture_refuses(error, what, says):
    with pytest.raises(error) as refusal:
        construct().capture(*what)
    assert all(re.search(pattern, str(refusal.value)) for pattern in says), refusal.value


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize(
    "change", (dict(seq_lens=i64(10, -1)), dict(req_pool_indices=i64(0, POOL))), ids=lambda c: next(iter(c))
)
def test_precompute_validates_too(mode, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        nsa.precompute(CONFIG, TABLE, nsa.ReplayBatch(**good(mode) | change), mode)


def test_padding_to_fewer_requests_is_refused():
    with pytest.raises(ValueError, match=number(1)) as refusal:
        nsa.ReplayBatch(**good(DECODE)).padded(1)
    assert re.search(number(2), str(refusal.value)), refusal.value


# What cannot run here says what it needs. In a process of its own: no GPU, no interpreter.

REPORT = """
import torch, nsa_core as nsa
for name, info in nsa.strategies().items():
    try:
        nsa.MultiStepBackend(nsa.NSAConfig(), torch.zeros(1, 8, dtype=torch.int32), 1, strategy=name)
        print(name, info.available, "built", sep="|")
    except RuntimeError as refusal:
        print(name, info.available, refusal, info.reason, sep="|")
"""


@pytest.fixture(scope="module")
def bare_machine():
    hidden = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | hidden
    printed = subprocess.run(
        [sys.executable, "-c", REPORT], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return {line.split("|")[0]: line.split("|")[1:] for line in printed.stdout.splitlines()}


@pytest.mark.parametrize(
    "strategy", [name for name in nsa.strategies() if name not in ("eager", "copy", "foreach", "shared")]
)
def test_a_strategy_that_cannot_run_raises_what_it_needs(bare_machine, strategy):
    available, message, reason = bare_machine[strategy]
    assert available == "False"
    assert strategy in message
    assert re.search(r"CUDA|GPU|TRITON_INTERPRET|triton", message), message
    assert re.search(r"CUDA|GPU|TRITON_INTERPRET|triton", reason), reason


@pytest.mark.parametrize("strategy", ("eager", "copy", "foreach", "shared"))
def test_a_strategy_without_kernels_is_built_without_gpu_and_interpreter(bare_machine, strategy):
    assert bare_machine[strategy] == ["True", "built"]
