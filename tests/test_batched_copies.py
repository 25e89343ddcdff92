"""The reverted batched copies: which pairs a kernel takes, what it refuses, and the crash that ended them."""

import os
import subprocess
import sys

import pytest
import torch
from batches import DECODE, EXTEND, VERIFY
from device import DEVICE

import nsa_core as nsa
from nsa_core.kernels import copies
from nsa_core.plan import copy_plan
from nsa_core.strategies import REGISTRY
from nsa_core.strategies.base import Captured
from nsa_core.strategies.batched import describe

BATCHED = ("batched", "batched-each", "batched-strided", "batched-steps")
SIZES = (0, 1, 2, copies.BLOCK - 1, copies.BLOCK, copies.BLOCK + 1, 3 * copies.BLOCK + 7)
each_form = pytest.mark.parametrize("name", BATCHED)


def executor(name):
    config, table = nsa.NSAConfig(), torch.zeros(1, 64, dtype=torch.int32, device=DEVICE)
    sets = nsa.MultiStepBackend(config, table, 1).capture(1, DECODE)
    return REGISTRY[name](Captured(config, table, DECODE, 1, sets))


def vector(size, start=1):
    return torch.arange(start, start + size, dtype=torch.int32, device=DEVICE)


def pairs(sizes):
    """Guarded destinations: one cell on either side that no copy may touch."""
    buffers = [torch.full((size + 2,), -7, dtype=torch.int32, device=DEVICE) for size in sizes]
    return buffers, [(b[1:-1], vector(b.numel() - 2, 1000 * i)) for i, b in enumerate(buffers)]


def assert_copied(buffers, plan):
    for buffer, (dst, src) in zip(buffers, plan, strict=True):
        assert torch.equal(dst, src)
        assert buffer[0] == -7 and buffer[-1] == -7


@each_form
@pytest.mark.parametrize("size", SIZES)
def test_one_copy_of_any_size_stays_inside_its_destination(name, size):
    buffers, plan = pairs([size])
    executor(name).execute([plan])
    assert_copied(buffers, plan)


@each_form
@pytest.mark.parametrize("count", [2, 8, 9, 17])
def test_any_number_of_pairs_of_mixed_sizes(name, count):
    buffers, plan = pairs([SIZES[i % len(SIZES)] for i in range(count)])
    executor(name).execute([plan])
    assert_copied(buffers, plan)


@pytest.mark.parametrize(
    ("name", "launches"), [("batched", 4), ("batched-each", 18), ("batched-strided", 2), ("batched-steps", 1)]
)
def test_launches_for_nine_pairs_in_each_of_two_steps(name, launches):
    buffers, plan = pairs([3] * 18)
    assert executor(name).execute([plan[:9], plan[9:]])["launch"] == launches
    assert_copied(buffers, plan)


@each_form
def test_nothing_to_copy_launches_nothing(name):
    _, plan = pairs([0, 0])
    assert executor(name).execute([plan]).get("launch", 0) == 0


def slices(rows, columns):
    buffer = torch.full((rows, 64), -7, dtype=torch.int32, device=DEVICE)
    return buffer, (buffer[:, :columns], vector(rows * columns).view(rows, columns))


@pytest.mark.parametrize("name", ["batched-strided", "batched-steps"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 3), (7, 63), (33, 64), (40, 61)])
def test_the_strided_kernel_copies_slices(name, rows, columns):
    buffer, pair = slices(rows, columns)
    assert executor(name).execute([[pair]]) == {"launch": 1, "triton": 1}
    assert torch.equal(*pair) and bool((buffer[:, columns:] == -7).all())


PATHS = {  # (Triton, .copy_()) pairs of one step: the two page tables are all but a few bytes of the copy
    ("batched", "narrow"): {DECODE: (4, 2), VERIFY: (5, 2), EXTEND: (5, 2)},
    ("batched", "full"): {DECODE: (6, 0), VERIFY: (7, 0), EXTEND: (7, 0)},
    ("batched-each", "narrow"): {DECODE: (4, 2), VERIFY: (5, 2), EXTEND: (5, 2)},
    ("batched-strided", "narrow"): {DECODE: (6, 0), VERIFY: (7, 0), EXTEND: (7, 0)},
    ("batched-steps", "narrow"): {DECODE: (6, 0), VERIFY: (7, 0), EXTEND: (7, 0)},
}


@pytest.mark.parametrize("mode", [DECODE, VERIFY, EXTEND], ids=lambda mode: mode.value)
@pytest.mark.parametrize(("name", "width"), PATHS, ids="-".join)
def test_which_path_each_pair_took(name, width, mode):
    steps, (triton, copied) = 2, PATHS[name, width][mode]
    longest = {"narrow": 100, "full": 128}[width] - (2 if mode is VERIFY else 0)
    table = vector(4 * 128).view(4, 128)
    backend = nsa.MultiStepBackend(nsa.NSAConfig(page_size=16, num_draft_tokens=2), table, steps, strategy=name)
    backend.capture(3, mode)
    accepts = torch.tensor([2, 2, 2], dtype=torch.int32, device=DEVICE)
    lengths = torch.tensor([5, longest, 9], device=DEVICE)
    paths = backend.replay(nsa.ReplayBatch(lengths, lengths % 4, accepts), mode).paths
    assert (paths["triton"], paths.get("copy_", 0)) == (steps * triton, steps * copied)
    assert backend.last_replay.paths == paths


REFUSED = {
    "int64 source": (lambda: (vector(4), vector(4).long()), TypeError, "source is torch.int64.*int32 only"),
    "int64 destination": (lambda: (vector(4).long(), vector(4)), TypeError, "destination is torch.int64"),
    "float": (lambda: (vector(4).float(), vector(4)), TypeError, "destination is torch.float32"),
    "other shape": (lambda: (vector(4), vector(5)), ValueError, r"source \[5\].*destination \[4\]"),
    "every second column": (lambda: (vector(8)[::2], vector(4)), ValueError, r"strides \(2,\).*contiguous rows"),
    "three dimensions": (lambda: (vector(8).view(2, 2, 2), vector(8).view(2, 2, 2)), ValueError, "two dimensions"),
    "itself": (lambda: (vector(4),) * 2, ValueError, "overlap"),
}


@pytest.mark.parametrize(("make", "error", "says"), REFUSED.values(), ids=REFUSED)
def test_a_pair_no_kernel_may_take_is_refused_by_name(make, error, says):
    with pytest.raises(error, match=says):
        describe(*make())


@pytest.mark.parametrize("shift", [1, 7])
def test_a_source_that_overlaps_its_destination_is_refused(shift):
    buffer = vector(32)
    with pytest.raises(ValueError, match="overlap"):
        describe(buffer[:16], buffer[shift : shift + 16])
    assert describe(buffer[:16], buffer[16:]).size == 16


def naive_descriptors(captured, precomputed):
    """The reverted code's assumption, rebuilt: every field of the metadata is a tensor."""
    fields = [name for name, value in vars(precomputed).items() if value is not None]
    ask = [(getattr(captured, name), getattr(precomputed, name)) for name in fields]
    return [(dst, src) for dst, src in ask if src.is_contiguous() and dst.is_contiguous()]


def test_the_crash_of_the_record_and_the_plan_that_cannot_have_it():
    config = nsa.NSAConfig(flashmla_num_sm_parts=4, flashmla_dense=True)
    table = vector(2 * 128).view(2, 128)
    captured = nsa.MultiStepBackend(config, table, 1).capture(2, DECODE)[0]
    batch = nsa.ReplayBatch(torch.tensor([70, 9], device=DEVICE), torch.tensor([0, 1], device=DEVICE))
    precomputed = nsa.precompute(config, table, batch, DECODE)
    with pytest.raises(AttributeError) as crash:
        naive_descriptors(captured, precomputed)
    assert str(crash.value) == "'NSAFlashMLAMetadata' object has no attribute 'is_contiguous'"
    plan = copy_plan(captured, precomputed, DECODE)
    assert len(plan) == 8 and all(isinstance(t, torch.Tensor) for pair in plan for t in pair)
    executor("batched").execute([plan])
    assert torch.equal(captured.flashmla_metadata.num_splits, precomputed.flashmla_metadata.num_splits)


@each_form
def test_without_gpu_and_interpreter_the_error_names_both_ways_out(name):
    code = (
        "import torch, nsa_core as n\n"
        f"n.MultiStepBackend(n.NSAConfig(), torch.zeros(1, 64, dtype=torch.int32), 1, strategy={name!r})"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode == 1 and last.startswith("RuntimeError") and name in last
    assert "NVIDIA GPU" in last and "TRITON_INTERPRET=1" in last


@each_form
def test_standing_is_reverted_and_the_default_is_copy(name):
    assert nsa.strategies()[name].standing.startswith("reverted")
    assert nsa.MultiStepBackend(nsa.NSAConfig(), torch.zeros(1, 64, dtype=torch.int32), 1).strategy == "copy"
