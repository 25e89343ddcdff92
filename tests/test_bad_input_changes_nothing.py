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
    each_strategy,
    runnable_strategies,
    token_table,
)
from device import DEVICE

import nsa_core as nsa

ROOT = Path(__file__).parents[1]
POOL, WIDTH, DRAFTED, STEPS = 5, 40, 3, 2
CONFIG = nsa.NSAConfig(page_size=16, index_topk=24, num_draft_tokens=DRAFTED, max_context_len=WIDTH)
TABLE = token_table(POOL, WIDTH, 16)


def i32(*values):
    return torch.tensor(values, dtype=torch.int32, device=DEVICE)


def i64(*values):
    return torch.tensor(values, dtype=torch.int64, device=DEVICE)


def mirror(*values):
    return torch.tensor(values, dtype=torch.int64)


def on_the_cpu(batch):
    return {name: None if value is None else value.cpu() for name, value in batch.items()}


def good(mode):
    accept_length = i32(1, 3) if mode is EXTEND else None
    return dict(seq_lens=i64(10, 20), req_pool_indices=i64(1, 3), accept_length=accept_length)


@dataclass(frozen=True)
class Bad:
    """One change to a good batch, and what the refusal has to say: patterns, every one of them found."""

    why: str
    error: type
    change: dict
    says: tuple
    modes: tuple = MODES


def number(value):
    return rf"(?<![\w.-]){value}(?![\w])"


def shape(*sizes):
    return r"[\[(]" + ", ?".join(map(str, sizes)) + r",?[\])]"


ELSEWHERE = torch.zeros(2, dtype=torch.int64, device="cpu" if DEVICE == "cuda" else "meta")
NOT_ON_THE_HOST = torch.zeros(2, dtype=torch.int64, device="cuda" if DEVICE == "cuda" else "meta")
WRAPS = 2**32  # as int32 it would read 0

DTYPES = [
    Bad(f"{field} as {dtype}", TypeError, {field: i64(1, 2).to(getattr(torch, dtype))}, (field, dtype))
    for field in ("seq_lens", "req_pool_indices")
    for dtype in ("float32", "int16", "bool")
]
NOT_TENSORS = [
    Bad(f"{field} as {type(value).__name__}", TypeError, {field: value}, (field, shown))
    for field in ("seq_lens", "req_pool_indices")
    for value, shown in (([10, 20], shape(10, 20)), (np.array([10, 20]), r"array\(\[10, 20\]\)"))
]
SHAPES = [
    Bad("seq_lens of rank 0", ValueError, dict(seq_lens=i64(10)[0]), ("seq_lens", shape())),
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
    Bad(f"{field} elsewhere", ValueError, {field: ELSEWHERE}, (field, f"is on {ELSEWHERE.device}"))
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
        ("seq_lens", "needs 38 [+] 3 columns", number(40)),
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
ACCEPT_TENSORS = [
    Bad(why, error, dict(accept_length=value), ("accept_length", says), (EXTEND,))
    for why, error, value, says in (
        ("no accept lengths", ValueError, None, "is None"),
        ("accept lengths too many", ValueError, i32(1, 1, 1), number(3)),
        ("accept lengths too few", ValueError, i32(1), number(1)),
        ("accept lengths of rank 2", ValueError, i32(1, 1).view(1, 2), shape(1, 2)),
        ("accept lengths as float32", TypeError, i32(1, 1).float(), "float32"),
        ("accept lengths as int16", TypeError, i32(1, 1).short(), "int16"),
        ("accept lengths in a list", TypeError, [1, 1], shape(1, 1)),
        ("accept lengths elsewhere", ValueError, ELSEWHERE.int(), f"is on {ELSEWHERE.device}"),
    )
]
ACCEPTS = [
    Bad(
        "a negative accept length",
        ValueError,
        dict(accept_length=i32(2, -1)),
        ("accept_length", number(-1)),
        (EXTEND,),
    ),
    Bad(
        "more accepted than drafted",
        ValueError,
        dict(accept_length=i32(4, 1)),
        ("accept_length", number(4)),
        (EXTEND,),
    ),
    Bad(
        "more accepted than the request holds",
        ValueError,
        dict(seq_lens=i64(20, 2), accept_length=i32(1, 3)),
        ("accept_length", number(3), number(2)),
        (EXTEND,),
    ),
]
MIRRORS = [
    Bad(f"length mirror {why}", error, dict(seq_lens_cpu=value), ("seq_lens_cpu", says), modes)
    for why, error, value, says, modes in (
        ("too short a tensor", ValueError, mirror(10), number(1), MODES),
        ("too long a tensor", ValueError, mirror(10, 20, 30), number(3), MODES),
        ("of rank 2", ValueError, mirror(10, 20).view(2, 1), shape(2, 1), MODES),
        ("as float64", TypeError, mirror(10, 20).double(), "float64", MODES),
        ("as int16", TypeError, mirror(10, 20).short(), "int16", MODES),
        ("in a list", TypeError, [10, 20], shape(10, 20), MODES),
        ("elsewhere", ValueError, NOT_ON_THE_HOST, f"is on {NOT_ON_THE_HOST.device}", MODES),
        ("below the longest request", ValueError, mirror(10, 19), number(19), MODES),
        ("below a shorter request", ValueError, mirror(9, 20), number(9), MODES),
        ("past the table", ValueError, mirror(10, 41), number(41), (DECODE, EXTEND)),
        ("past the table with its drafts", ValueError, mirror(10, 38), "needs 38 [+] 3 columns", (VERIFY,)),
    )
] + [
    Bad(f"accept mirror {why}", error, dict(accept_length_cpu=value), ("accept_length_cpu", says), (EXTEND,))
    for why, error, value, says in (
        ("too short a tensor", ValueError, mirror(1), number(1)),
        ("as float32", TypeError, mirror(1, 3).float(), "float32"),
        ("in a list", TypeError, [1, 3], shape(1, 3)),
        ("below the accept lengths", ValueError, mirror(1, 2).int(), number(2)),
        ("above the draft tokens", ValueError, mirror(1, 4).int(), number(4)),
    )
]
VALUES = LENGTHS + POOL_ROWS + ACCEPTS
BAD = DTYPES + NOT_TENSORS + SHAPES + DEVICES + ACCEPT_TENSORS + MIRRORS + VALUES
ONE_PER_FIELD = [LENGTHS[0], POOL_ROWS[0], ACCEPTS[1], MIRRORS[0], DTYPES[0], DEVICES[0]]


def each_of(cases):
    in_mode = [pytest.param(bad, mode, id=f"{bad.why}-{mode.name.lower()}") for bad in cases for mode in bad.modes]
    return pytest.mark.parametrize("bad, mode", in_mode)


@pytest.fixture(scope="module", params=[name for name in runnable_strategies() if name in HOST_ONLY])
def backend(request):
    """All three modes captured at batch size 2; refused batches leave it as it is, so the cases can share it."""
    return captured(CONFIG, TABLE, STEPS, request.param, 2, *MODES, validation="values")


@pytest.fixture(scope="module", params=[name for name in runnable_strategies() if name not in HOST_ONLY])
def kernel_backend(request):
    return captured(CONFIG, TABLE, STEPS, request.param, 2, *MODES, validation="values")


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


@each_of(BAD)
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
    offset = captured(config, TABLE, STEPS, strategy, 2, *MODES, validation="values")
    growth = 2 * STEPS + DRAFTED * (mode is VERIFY)
    last = WIDTH - growth
    says = (
        rf"seq_lens\[1\] is {last + 1} and needs {last + 1} [+] {growth} columns",
        f"narrowest table has {WIDTH};",
    )
    replay(offset, mode, dict(seq_lens=i64(10, last)))
    refused(offset, ValueError, says, lambda: replay(offset, mode, dict(seq_lens=i64(10, last + 1))))


@pytest.fixture(scope="module")
def backend_on_the_cpu():
    return captured(CONFIG, TABLE.cpu(), STEPS, "copy", 2, *MODES)


@each_of(VALUES)
def test_values_on_the_cpu_are_read_unasked(backend_on_the_cpu, bad, mode):
    batch = nsa.ReplayBatch(**on_the_cpu(good(mode) | bad.change))
    refused(backend_on_the_cpu, bad.error, bad.says, lambda: backend_on_the_cpu.replay(batch, mode))


@pytest.mark.parametrize(
    "change", ({"seq_lens": i64(1).view(1, 1)}, {"seq_lens_cpu": mirror(41, 41)}), ids=("rank", "mirror")
)
def test_shapes_and_mirrors_are_read_even_without_values(change):
    backend = captured(CONFIG, TABLE, STEPS, "copy", 2, *MODES, validation="shapes")
    refused(backend, ValueError, tuple(change), lambda: replay(backend, DECODE, change))


@pytest.mark.parametrize("validation", ("auto", "values", "shapes"))
@each_strategy
def test_a_mirror_gone_bad_since_the_last_replay_is_refused(strategy, validation):
    backend = captured(CONFIG, TABLE, STEPS, strategy, 2, *MODES, validation=validation)
    batch = nsa.ReplayBatch(**good(DECODE), seq_lens_cpu=mirror(10, 20))
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
    "a mode by its name": (TypeError, (2, "decode"), ("mode must be one of ForwardMode.DECODE,", "'decode'")),
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
def test_precompute_reads_values_on_the_cpu(mode, change):
    (field,) = change
    with pytest.raises(ValueError, match=rf"{field}\[1\] is {change[field][1]}"):
        nsa.precompute(CONFIG, TABLE.cpu(), nsa.ReplayBatch(**on_the_cpu(good(mode) | change)), mode)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
def test_precompute_needs_the_longest_length_and_so_reads_lengths_anywhere(mode):
    with pytest.raises(ValueError, match=r"seq_lens\[1\] is -1"):
        nsa.precompute(CONFIG, TABLE, nsa.ReplayBatch(**good(mode) | dict(seq_lens=i64(10, -1))), mode)


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
    assert message == f"strategy {strategy!r} cannot run on cpu: {reason}"
    lacks = "a CUDA graph needs an NVIDIA GPU;" if "graph" in strategy else "Triton cannot compile for cpu;"
    assert reason.startswith(lacks) and "put req_to_token on" in reason


@pytest.mark.parametrize("strategy", ("eager", "copy", "foreach", "shared"))
def test_a_strategy_without_kernels_is_built_without_gpu_and_interpreter(bare_machine, strategy):
    assert bare_machine[strategy] == ["True", "built"]
