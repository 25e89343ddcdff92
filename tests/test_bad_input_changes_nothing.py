"""Is every bad batch refused by field and value, before the first cell of any step changes?"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

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
from torch._subclasses.fake_tensor import FakeTensorMode

import nsa_core as nsa
from nsa_core.batch import validate
from nsa_core.schedules import schedule_paged_mqa

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
MIRROR_ALONE = Bad(
    "accept mirror without accept lengths",
    ValueError,
    dict(accept_length=None, accept_length_cpu=mirror(1, 3)),
    ("accept_length_cpu is given, but accept_length, which it mirrors, is None",),
    (EXTEND,),
)
VALUES = LENGTHS + POOL_ROWS + ACCEPTS
BAD = DTYPES + NOT_TENSORS + SHAPES + DEVICES + ACCEPT_TENSORS + MIRRORS + [MIRROR_ALONE] + VALUES
FIXED_WIDTH = [
    replace(bad, change={"accept_length": None} | bad.change, modes=(EXTEND,))
    for bad in BAD
    if EXTEND in bad.modes and not any("accept" in field for field in bad.change)
]
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
    for change in ({}, {"accept_length": None}):
        oracle.poison(every_step(backend))
        replay(backend, mode, change)
        assert all((step.cache_seqlens_int32 != oracle.POISON).all() for step in backend.sets(2, mode))


@each_of(BAD)
def test_bad_batch_is_refused_by_name(backend, bad, mode):
    refused(backend, bad.error, bad.says, lambda: replay(backend, mode, bad.change))


@each_of(FIXED_WIDTH)
def test_bad_batch_of_fixed_width_is_refused_by_name(backend, bad, mode):
    refused(backend, bad.error, bad.says, lambda: replay(backend, mode, bad.change))


@pytest.mark.parametrize("bad", [*ONE_PER_FIELD, MIRROR_ALONE], ids=lambda bad: bad.why)
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


# Memory and tensors that are not the engine's to lend or to change.


@pytest.mark.parametrize("field", ("cache_seqlens_int32", "nsa_seqlens_expanded", "page_table_1", "req_to_token"))
@pytest.mark.parametrize("name", ("seq_lens", "req_pool_indices"))
@each_strategy
def test_a_batch_in_captured_memory_is_refused(strategy, name, field):
    """Target verify would add its drafts to the lengths it reads, again in every replay."""
    steps = captured(CONFIG, TABLE.clone(), STEPS, strategy, 2, *MODES, validation="values")
    buffers = {**vars(steps.sets(2, VERIFY)[0]), "req_to_token": steps.req_to_token}
    taken = buffers[field].view(-1)[:2].fill_(1)
    whose = field if field == "req_to_token" else f"{field} of step 0"
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{name} shares memory with {whose}, which a captured graph reads"):
            replay(steps, VERIFY, {name: taken})


@pytest.mark.parametrize("validation", ("values", "shapes"))
@pytest.mark.parametrize("strategy", ("copy", "fused"))
def test_tensors_that_changed_since_the_last_replay_are_looked_at_again(strategy, validation):
    steps = captured(CONFIG, TABLE, STEPS, strategy, 2, *MODES, validation=validation)
    for change, error, says in (
        (lambda batch: batch.seq_lens.resize_(1), KeyError, ("bs 1 in DECODE was not captured",)),
        (lambda batch: batch.req_pool_indices.resize_(1), ValueError, ("req_pool_indices has 1 entries",)),
        (lambda batch: setattr(batch.seq_lens, "data", i64(1, 2).float()), TypeError, ("seq_lens", "float32")),
        (lambda batch: batch.seq_lens.set_(i64(1, 2).view(1, 2)), ValueError, ("seq_lens", shape(1, 2))),
        (lambda batch: object.__setattr__(batch, "seq_lens", [1, 2]), TypeError, ("seq_lens", shape(1, 2))),
        (lambda batch: object.__setattr__(batch, "req_pool_indices", None), TypeError, ("req_pool_indices", "None")),
    ):
        batch = nsa.ReplayBatch(**good(DECODE))
        steps.replay(batch, DECODE)
        change(batch)
        refused(steps, error, says, lambda batch=batch: steps.replay(batch, DECODE))


@pytest.mark.parametrize("strategy", ("copy", "fused"))
def test_a_tensor_that_moved_since_the_last_replay_is_read_where_it_is(strategy):
    steps, batch = (
        captured(CONFIG, TABLE, STEPS, strategy, 2, *MODES, validation="shapes"),
        nsa.ReplayBatch(**good(DECODE)),
    )
    steps.replay(batch, DECODE)
    batch.seq_lens.data = i64(7, 9)
    steps.replay(batch, DECODE)
    object.__setattr__(batch, "req_pool_indices", i64(4, 2))
    steps.replay(batch, DECODE)
    assert steps[1].cache_seqlens_int32.tolist() == [7, 9]
    assert torch.equal(steps[1].page_table_1[0, :7], TABLE[4, :7])


def strided():
    return i64(7, -1, 9, -1)[::2]


def test_a_tensor_that_became_strided_is_read_by_its_stride_or_refused():
    for strategy in ("copy", "fused"):
        steps, batch = (
            captured(CONFIG, TABLE, STEPS, strategy, 2, *MODES, validation="shapes"),
            nsa.ReplayBatch(**good(DECODE)),
        )
        steps.replay(batch, DECODE)
        batch.seq_lens.data = strided()
        if strategy == "copy":
            steps.replay(batch, DECODE)
            assert steps[1].cache_seqlens_int32.tolist() == [7, 9]
            continue
        for call in (steps.replay, steps.refresh):
            refused(steps, ValueError, ("seq_lens has stride 2",), lambda call=call, batch=batch: call(batch, DECODE))


@pytest.mark.parametrize("name", ("config", "req_to_token", "strategy", "num_steps"))
def test_what_a_backend_was_built_from_is_read_only(name):
    steps = construct()
    with pytest.raises(AttributeError):
        setattr(steps, name, getattr(steps, name))


def test_captured_fields_are_read_only_and_the_list_of_sets_is_the_callers():
    steps = captured(CONFIG, TABLE, STEPS, "copy", 2, DECODE)
    with pytest.raises(AttributeError):
        steps[0].page_table_1 = steps[1].page_table_1
    for sets in (steps.sets(2, DECODE), steps.capture(2, DECODE)):
        sets.clear()
    assert len(steps.sets(2, DECODE)) == STEPS


MOVES = {
    "resized": lambda tensor: tensor.resize_(1),
    "set": lambda tensor: tensor.set_(torch.zeros_like(tensor)),
    "rebound": lambda tensor: setattr(tensor, "data", torch.zeros_like(tensor)),
}


@pytest.mark.parametrize("move", list(MOVES.values()), ids=list(MOVES))
@pytest.mark.parametrize("field", ("cu_seqlens_k", "page_table_1", "cu_seqlens_q", "req_to_token"))
@each_strategy
def test_a_captured_tensor_that_is_elsewhere_is_refused_by_name(strategy, field, move):
    steps = captured(CONFIG, TABLE.clone(), STEPS, strategy, 2, *MODES, validation="values")
    where = "req_to_token" if field == "req_to_token" else f"{field} of step 0"
    move(steps.req_to_token if field == "req_to_token" else getattr(steps.sets(2, VERIFY)[0], field))
    rest = [t for s in steps.sets(2, VERIFY) for t in s.tensors().values()]
    before = [t.clone() for t in rest]
    with pytest.raises(ValueError, match=rf"^{where} has \d+ elements at 0x.*, but was captured with \d+ at 0x"):
        replay(steps, VERIFY, {})
    assert all(map(torch.equal, rest, before))


def fake(*shape, dtype=torch.int64):
    with FakeTensorMode():
        return torch.zeros(shape, dtype=dtype, device=DEVICE)


def freed(tensor):
    tensor.untyped_storage().resize_(0)
    return tensor


def nested(*rows, dtype=torch.int64):
    return torch.nested.nested_tensor([torch.tensor(row, dtype=dtype) for row in rows], device=TABLE.device)


def jagged():
    return torch.nested.nested_tensor([i64(1), i64(2, 3)], layout=torch.jagged, device=TABLE.device)


NO_MEMORY = {
    "fake": (lambda: fake(2), r"is a FakeTensor on"),
    "sparse": (lambda: i64(1, 2).to_sparse(), "is a Tensor on .* with layout torch.sparse_coo"),
    "nested": (lambda: nested([1], [2, 3]), "is a nested Tensor on"),
    "nested numbers": (lambda: nested(1, 2), "is a nested Tensor on"),
    "jagged": (jagged, "is a nested NestedTensor on .* with layout torch.jagged"),
    "freed": (lambda: freed(i64(1, 2)), r"has shape \[2\], but its storage has been freed"),
    "negated": (lambda: torch._neg_view(i64(1, 2)), r"is a negated view.*pass .resolve_neg\(\)"),
}


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(("make", "says"), list(NO_MEMORY.values()), ids=list(NO_MEMORY))
@pytest.mark.parametrize("name", ("seq_lens", "req_pool_indices", "accept_length"))
@pytest.mark.parametrize(("strategy", "validation"), (("copy", "values"), ("fused", "values"), ("fused", "shapes")))
def test_a_tensor_without_memory_is_refused_by_name(strategy, validation, name, make, says):
    steps = captured(CONFIG, TABLE, STEPS, strategy, 2, *MODES, validation=validation)
    refused(steps, ValueError, (f"^{name} {says}",), lambda: replay(steps, EXTEND, {name: make()}))


@pytest.mark.parametrize("name", ("seq_lens", "req_pool_indices", "accept_length"))
@pytest.mark.parametrize(("strategy", "validation"), (("copy", "values"), ("fused", "values"), ("fused", "shapes")))
def test_a_tensor_inside_a_function_transform_is_refused_by_name(strategy, validation, name):
    steps = captured(CONFIG, TABLE, STEPS, strategy, 2, *MODES, validation=validation)

    def each(tensor):
        replay(steps, EXTEND, {name: tensor})
        return tensor

    says = (f"^{name} is a tensor inside a function transform .vmap, grad., which has no address",)
    refused(steps, ValueError, says, lambda: torch.func.vmap(each)(i64(1, 2, 2, 1).view(2, 2)))


TABLES = {
    "fake": (lambda: fake(POOL, WIDTH, dtype=torch.int32), "is a FakeTensor"),
    "nested": (lambda: nested([1], [2, 3], dtype=torch.int32), "is a nested Tensor"),
    "freed": (lambda: freed(TABLE.clone()), "has shape .* its storage has been freed"),
    "negated": (lambda: torch._neg_view(TABLE), "is a negated view"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(("make", "says"), list(TABLES.values()), ids=list(TABLES))
def test_a_token_table_or_a_captured_field_without_memory_is_refused_by_name(make, says):
    with pytest.raises(ValueError, match=f"^req_to_token {says}"):
        construct(req_to_token=make())
    with pytest.raises(ValueError, match=f"^req_to_token {says}"):
        nsa.precompute(CONFIG, make(), nsa.ReplayBatch(**good(DECODE)), DECODE)
    fields = vars(captured(CONFIG, TABLE, 1, "copy", 2, DECODE)[0])
    for name in ("cu_seqlens_k", "page_table_1"):
        with pytest.raises(ValueError, match=f"^{name} {says}"):
            construct(num_steps=1).adopt(2, DECODE, [SimpleNamespace(**fields | {name: make()})])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(("make", "says"), list(NO_MEMORY.values()), ids=list(NO_MEMORY))
def test_padding_of_a_tensor_without_memory_is_refused_by_name(make, says):
    with pytest.raises(ValueError, match=f"^seq_lens {says}"):
        nsa.ReplayBatch(seq_lens=make(), req_pool_indices=i64(1, 3)).padded(4)


MOST = 2**31 - 1


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
def test_lengths_whose_sum_wraps_are_refused_where_they_are_read(mode):
    growth, table = DRAFTED * (mode is VERIFY), TABLE.cpu()
    for over in (0, 1):
        lengths = torch.tensor([2**30 - 1, 2**30 - 2 * growth + over])
        batch = nsa.ReplayBatch(**on_the_cpu(good(mode) | {"seq_lens": lengths}))

        def read(batch=batch):
            return validate(CONFIG, table, batch, mode, width=MOST, read_values=True)

        if not over:
            assert read().columns == max(lengths.tolist()) + growth
            continue
        with pytest.raises(ValueError, match=f"seq_lens sums to {2**31} tokens, above {MOST}: cu_seqlens_k is int32"):
            read()


def test_a_million_tokens_in_each_of_2048_requests_are_refused():
    table = torch.zeros(1, 2**20, dtype=torch.int32)
    batch = nsa.ReplayBatch(torch.full((2048,), 2**20), torch.zeros(2048, dtype=torch.int64))
    with pytest.raises(ValueError, match=f"seq_lens sums to {2**31} tokens"):
        nsa.precompute(CONFIG, table, batch, DECODE)


@pytest.mark.parametrize("row", (-1, POOL))
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("strategy", HOST_ONLY)
def test_a_pool_row_that_nobody_read_is_still_named_on_the_cpu(strategy, mode, row):
    steps = captured(CONFIG, TABLE.cpu(), STEPS, strategy, 2, *MODES, validation="shapes")
    batch = nsa.ReplayBatch(**on_the_cpu(good(mode) | dict(req_pool_indices=i64(1, row))))
    says = (f"req_pool_indices has a row that is not in 0..{POOL - 1}",)
    refused(steps, ValueError, says, lambda: steps.replay(batch, mode))


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
    "page_size": (0, -16, 2**20 + 1),
    "index_topk": (0, -1),
    "num_draft_tokens": (0, -4),
    "max_context_len": (0, -1),
    "flashmla_num_sm_parts": (0, -1),
    "paged_mqa_num_sms": (0, -1),
    "step_offset": (-1,),
}
TOO_MANY = 2**31


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, values in SETTINGS.items() for value in (*values, TOO_MANY)]
)
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


# The edge of the API.


def built(batch_size=2):
    return captured(CONFIG, TABLE, STEPS, "copy", batch_size, DECODE)


def decode(**change):
    return nsa.ReplayBatch(**good(DECODE) | change)


EDGES = {
    "a step past the last": (IndexError, lambda: built()[99], "step 99 is not there; the captured steps are 0..1"),
    "a step before the first": (IndexError, lambda: built()[-3], "step -3 is not there; the captured steps are 0..1"),
    "a step by its name": (TypeError, lambda: built()["a"], "step must be an int, got 'a'"),
    "a step that is a bool": (TypeError, lambda: built()[True], "step must be an int, got True"),
    "several steps": (TypeError, lambda: built()[:1], r"step must be an int, got slice\("),
    "half a step": (
        TypeError,
        lambda: nsa.precompute(CONFIG, TABLE, decode(), DECODE, step=1.5),
        "step must be an int, got 1.5",
    ),
    "a step before 0": (
        ValueError,
        lambda: nsa.precompute(CONFIG, TABLE, decode(), DECODE, step=-1),
        "step must be at least 0, got -1",
    ),
    "half a page": (TypeError, lambda: nsa.transform_page_table(TABLE, 2.5), "page_size must be an int, got 2.5"),
    "half a part": (
        TypeError,
        lambda: nsa.schedule_flashmla(i32(1), num_sm_parts=2.5),
        "num_sm_parts must be an int, got 2.5",
    ),
    "half a token": (TypeError, lambda: nsa.schedule_flashmla(i32(1), 2, topk=2.5), "topk must be an int, got 2.5"),
    "half an SM": (TypeError, lambda: schedule_paged_mqa(i32(1), 2.5), "num_sms must be an int, got 2.5"),
    "an SM that is a bool": (TypeError, lambda: schedule_paged_mqa(i32(1), True), "num_sms must be an int, got True"),
    "a list of strategies": (
        ValueError,
        lambda: construct(strategy=["copy"]),
        r"strategy \['copy'\] is not known; choose one of eager, copy,",
    ),
    "padding of a list": (
        TypeError,
        lambda: decode(seq_lens=[1, 2]).padded(4),
        r"seq_lens must be a tensor, got \[1, 2\]",
    ),
    "padding to half a request": (TypeError, lambda: decode().padded(2.5), "bs must be an int, got 2.5"),
    "inputs that are no batch": (
        TypeError,
        lambda: built().check_inputs(None, DECODE),
        "batch must be a ReplayBatch, got None",
    ),
    "inputs in a list": (
        TypeError,
        lambda: built().check_inputs(decode(seq_lens=[1, 2]), DECODE),
        r"seq_lens must be a tensor, got \[1, 2\]",
    ),
    "static inputs that are no batch": (
        ValueError,
        lambda: built().capture(2, DECODE, inputs=5),
        "inputs were given, but strategy 'copy' records none",
    ),
}


@pytest.mark.parametrize(("error", "call", "says"), list(EDGES.values()), ids=list(EDGES))
def test_the_edge_of_the_api_names_what_it_was_given(error, call, says):
    with pytest.raises(error, match=f"^{says}"):
        call()


def test_accept_lengths_are_not_read_in_decode_and_looked_at_where_they_are():
    """Only `padded` knows no mode, and so looks at every tensor it grows."""
    batch, steps = decode(accept_length=[1, 1], accept_length_cpu=[1, 1]), built()
    steps.capture(2, EXTEND)
    steps.replay(batch, DECODE)
    steps.check_inputs(batch, DECODE)
    nsa.precompute(CONFIG, TABLE, batch, DECODE)
    for call in (
        lambda: steps.replay(batch, EXTEND),
        lambda: nsa.precompute(CONFIG, TABLE, batch, EXTEND),
        lambda: batch.padded(4),
    ):
        with pytest.raises(TypeError, match=r"^accept_length must be a tensor, got \[1, 1\]"):
            call()


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


@pytest.mark.parametrize("version", ("2.1.0", "3.2.0", "3.2+git1f4c", "3.3.0", "3.10.1", "4.0"))
def test_a_triton_whose_kernels_go_wrong_is_not_used(version, monkeypatch):
    """Triton 3.2 compiles `refresh` to a wrong paged-MQA schedule."""
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    infos = [info for info in nsa.strategies(DEVICE).values() if info.needs_triton and "graph" not in info.name]
    right = version in ("3.3.0", "3.10.1", "4.0")
    for info in infos:
        assert info.needs.startswith("Triton 3.3 or newer") and info.available is right
        says = f"Triton {version} is installed, and its kernels go wrong before 3.3; pip install 'triton>=3.3'"
        assert info.reason == (None if right else says)
    if not right:
        with pytest.raises(
            RuntimeError, match=f"strategy 'fused' cannot run on {DEVICE}.*: Triton {re.escape(version)}"
        ):
            construct(strategy="fused")


TOO_LATE = """
import os, triton.language
os.environ["TRITON_INTERPRET"] = "1"
import nsa_core as nsa
print(nsa.strategies("cpu")["fused"].reason)
"""


def test_an_interpreter_asked_for_too_late_is_told():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", TOO_LATE]
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed == "TRITON_INTERPRET=1 was set after triton was imported; set it before, or start Python with it\n"
