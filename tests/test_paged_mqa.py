"""Is the paged-MQA schedule DeepGEMM's own, one launch, recordable, and does the walk tell a stale one?"""

import importlib.util

import pytest
import torch
from batches import Requests, each_mode, token_table
from device import DEVICE
from hypothesis import given, settings
from hypothesis import strategies as st
from test_precompute_is_small import Recorder
from torch._subclasses.fake_tensor import FakeTensorMode

import nsa_core as nsa
from nsa_core import schedules
from nsa_core.audit.walk import walk_schedule
from nsa_core.lab.bench.device import observer
from nsa_core.schedules import RELEASES, schedule_paged_mqa, share_out_in_tensor_operations

HOPPER = 132  # SMs of an H100 or H200
DTYPES = (torch.int32, torch.int64)
LONGEST = 2**31 - 1


def lens(values, dtype=torch.int32):
    return torch.tensor(values, dtype=dtype)


def entries(values, num_sms=HOPPER, **options):
    return [tuple(entry) for entry in schedule_paged_mqa(lens(values), num_sms, **options).tolist()]


def serial(values, num_sms, release):
    """The distribution loop, one SM after the other."""
    before = [0]
    for value in values:
        before.append(before[-1] + -(-value // 256))
    each, more = divmod(before[-1], num_sms)
    made = []
    for sm in range(num_sms + 1):
        first = sm * each + (min(sm, more) if release == "0f5f266" else max(sm - (num_sms - more), 0))
        row = next((row for row in range(len(values)) if before[row + 1] > first), len(values))
        made.append((row, first - before[row]))
    return made


some_lengths = st.lists(st.integers(0, 3000) | st.sampled_from((255, 256, 257, 512, 513)), max_size=12)
some_sms = st.integers(1, 40)
# Every SM in one program here, for an interpreter's sake; `test_programs_share_the_rows_as_they_may` has others.
SIZES = {} if DEVICE == "cuda" else {"entries": 64}


def kernel(context_lens, num_sms, rows, first_take_more, **sizes):
    from nsa_core.kernels.schedule import launch

    on_device = [None if t is None else t.to(DEVICE) for t in (context_lens, rows)]
    return launch(on_device[0], num_sms, on_device[1], first_take_more, **sizes or SIZES).cpu()


each_way = pytest.mark.parametrize(
    "share_out", (kernel, share_out_in_tensor_operations), ids=("kernel", "tensor_operations")
)
each_release = pytest.mark.parametrize("release", RELEASES)


def shared_out(share_out, lengths, num_sms, release=RELEASES[0], rows=None):
    return [tuple(entry) for entry in share_out(lengths, num_sms, rows, release == "0f5f266").tolist()]


# Recorded values of DeepGEMM's own code.


def test_one_token_per_row_fills_the_last_sms():
    assert entries([1, 1, 1, 1]) == [(0, 0)] * 129 + [(1, 0), (2, 0), (3, 0), (4, 0)]


def test_one_token_more_than_a_split_changes_seven_entries_of_the_older_release():
    before, after = (entries([length] * 4, release="0f5f266") for length in (256, 257))
    assert before[:5] == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]
    assert after[:9] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1), (4, 0)]
    assert sum(left != right for left, right in zip(before, after, strict=True)) == 7


def test_two_long_rows_in_both_releases():
    newer, older = (entries([100_000] * 2, release=release) for release in RELEASES)
    assert newer[:3] == [(0, 0), (0, 5), (0, 10)] and newer[-2:] == [(1, 385), (2, 0)]
    assert older[:3] == [(0, 0), (0, 6), (0, 12)] and older[-3:] == [(1, 381), (1, 386), (2, 0)]


@each_release
@given(values=some_lengths, num_sms=some_sms)
def test_schedule_matches_a_serial_loop(release, values, num_sms):
    assert entries(values, num_sms, release=release) == serial(values, num_sms, release)


# One launch, and the same in tensor operations.


@each_way
@each_release
@settings(max_examples=25)
@given(
    values=some_lengths, unused=some_lengths, num_sms=some_sms, dtype=st.sampled_from(DTYPES), counted=st.booleans()
)
def test_both_ways_match_a_serial_loop(release, share_out, values, unused, num_sms, dtype, counted):
    lengths, rows = lens(values + unused * counted, dtype), lens([len(values)], dtype) if counted else None
    assert shared_out(share_out, lengths, num_sms, release, rows) == serial(values, num_sms, release)


@pytest.mark.parametrize("entries", (1, 2, 8))
@pytest.mark.parametrize("rows", (0, 1, 7, 8, 9, 16, 17))
def test_programs_share_the_rows_as_they_may(rows, entries):
    values = [(1000 * row + 256) % 3000 * (row % 3 != 1) for row in range(rows)]
    for num_sms, release in ((1, RELEASES[0]), (6, RELEASES[0]), (7, RELEASES[1])):
        schedule = kernel(lens(values), num_sms, None, release == "0f5f266", tile=8, entries=entries)
        assert list(map(tuple, schedule.tolist())) == serial(values, num_sms, release)


@each_way
@each_release
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_longest_lengths_do_not_wrap(dtype, release, share_out):
    for values in ([LONGEST], [LONGEST - 254], [LONGEST - 255], [1, LONGEST, 0, LONGEST], [LONGEST] * 300):
        assert shared_out(share_out, lens(values, dtype), 7, release) == serial(values, 7, release)


@each_way
def test_a_negative_length_acts_as_0(share_out):
    values = [-1, 300, -255, -256, -257, 9, -(2**31)]
    expected = serial([max(value, 0) for value in values], 3, RELEASES[0])
    assert shared_out(share_out, lens(values), 3) == expected


@each_way
@each_release
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", (0, 1), ids=("0-dim", "1-dim"))
def test_any_number_of_rows_in_use_acts_as_one_that_is_there(dim, dtype, release, share_out):
    values = [0, 700, 0, 513, -5, 90, 0]
    for rows, acts_as in ((-(2**31), 0), (-1, 0), (0, 0), (1, 1), (3, 3), (5, 5), (7, 7), (8, 7), (LONGEST, 7)):
        count = lens([rows], dtype)[0] if dim == 0 else lens([rows], dtype)
        expected = serial([max(value, 0) for value in values[:acts_as]], 4, release)
        assert shared_out(share_out, lens(values), 4, release, count) == expected, rows


@each_way
def test_a_column_of_lengths_is_read_by_its_stride(share_out):
    columns = lens([[300, 1], [0, 2], [9000, 3]])
    assert shared_out(share_out, columns[:, 0], 7) == serial([300, 0, 9000], 7, RELEASES[0])
    assert shared_out(share_out, lens([600]).expand(3), 7) == serial([600] * 3, 7, RELEASES[0])


@pytest.mark.parametrize("num_sms", (1, 132, 200))
def test_as_many_rows_as_an_engine_has(num_sms):
    random = torch.Generator().manual_seed(num_sms)
    lengths = torch.randint(0, LONGEST, (8192,), generator=random, dtype=torch.int32) * (torch.arange(8192) % 5 > 0)
    for count, first_take_more in ((None, True), (lens([8192 - 77]), False)):
        given = lengths, num_sms, count, first_take_more
        made = kernel(*given) if DEVICE == "cuda" else kernel(*given, entries=256)
        assert torch.equal(made, share_out_in_tensor_operations(*given))


@each_release
@pytest.mark.parametrize("counted, most", ((False, 13), (True, 17)), ids=("all_rows", "counted_rows"))
def test_without_triton_it_is_few_operations_and_none_reads_a_value_back(counted, most, release):
    lengths, count = lens([300, 0, 9000, 7]), lens([3]) if counted else None
    with Recorder() as recorder:
        schedule = share_out_in_tensor_operations(lengths, HOPPER, count, release == "0f5f266")
    assert schedule.is_contiguous() and len(recorder.calls) == most, recorder.calls
    assert not {"aten._local_scalar_dense", "aten.nonzero", "aten.item"} & set(recorder.calls)


def test_without_triton_a_gpu_gets_tensor_operations_and_the_cpu_always_does(monkeypatch):
    schedules._launch.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert schedules._launch() is None
    schedules._launch.cache_clear()
    monkeypatch.undo()
    monkeypatch.setattr(schedules, "_launch", lambda: pytest.fail("asked for a kernel on the CPU"))
    assert entries([300, 1], 2) == serial([300, 1], 2, RELEASES[0])


@pytest.mark.cuda
@each_release
@pytest.mark.parametrize("counted", (False, True), ids=("all_rows", "counted_rows"))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_on_a_gpu_it_is_one_launch(dtype, counted, release):
    lengths, count = lens([300, 0, 9000, 7], dtype).cuda(), lens([3]).cuda() if counted else None

    def call():
        return schedule_paged_mqa(lengths, HOPPER, rows=count, release=release)

    expected = share_out_in_tensor_operations(lengths, HOPPER, count, release == "0f5f266")
    assert torch.equal(call(), expected)
    (runs,) = observer(torch.device("cuda")).profile([call], 3)
    assert [[operation.name for operation in run] for run in runs] == [["paged_mqa"]] * 3


@pytest.mark.cuda
@each_mode
def test_on_a_gpu_copy_needs_one_operation_more_and_a_copy_for_each_step(mode):
    operations = []
    for num_sms in (None, HOPPER):
        config = nsa.NSAConfig(paged_mqa_num_sms=num_sms)
        backend = nsa.MultiStepBackend(config, token_table(4, 130, 64), 4, "copy")
        backend.capture(3, mode)
        batch = Requests((100, 30, 7), (0, 1, 2), (2, 0, 4), mirrored=True).batch(mode)
        backend.replay(batch, mode)
        (runs,) = observer(torch.device("cuda")).profile([lambda b=backend, i=batch: b.replay(i, mode)], 3)
        operations.append({len(run) for run in runs})
    (without,), (scheduled,) = operations
    assert scheduled == without + 1 + 4


@pytest.mark.cuda
def test_no_number_of_rows_or_sms_compiles_again():
    from nsa_core.kernels.schedule import paged_mqa

    counts = []
    for rows, num_sms in ((3, 5), (1, 1), (16, 16), (0, 132), (4097, 7)):
        schedule_paged_mqa(torch.full((rows + 1,), 300, dtype=torch.int32, device="cuda")[1:], num_sms)
        counts.append(sum(len(cache[0]) for cache in paged_mqa.device_caches.values()))
    assert counts[0] == counts[-1]


@pytest.mark.cuda
@each_release
def test_a_graph_that_recorded_it_follows_lengths_and_rows(release):
    lengths, count = lens([300, 0, 9000, 7]).cuda(), lens([3]).cuda()
    schedule_paged_mqa(lengths, HOPPER, rows=count, release=release)  # compiles outside the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = schedule_paged_mqa(lengths, HOPPER, rows=count, release=release)
    for values, rows in (([300, 0, 9000, 7], 4), ([1, LONGEST, 0, 513], 2), ([5, 6, 7, 8], -1)):
        lengths.copy_(lens(values))
        count.fill_(rows)
        graph.replay()
        assert [tuple(entry) for entry in made.tolist()] == serial(values[: max(rows, 0)], HOPPER, release)


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason=f"needs 2 GPUs, found {torch.cuda.device_count()}")
def test_lengths_on_a_gpu_that_is_not_the_current_one():
    made = schedule_paged_mqa(lens([300, 0, 9000]).to("cuda:1"), 7)
    assert made.get_device() == 1 and torch.cuda.current_device() == 0
    assert [tuple(entry) for entry in made.tolist()] == serial([300, 0, 9000], 7, RELEASES[0])


@pytest.mark.cuda
@pytest.mark.skipif(
    importlib.util.find_spec("deep_gemm") is None, reason="needs DeepGEMM: pip install sgl-deep-gemm==0.1.5.post1"
)
def test_the_installed_deep_gemm_makes_the_schedule_of_one_release():
    import deep_gemm

    num_sms = torch.cuda.get_device_properties(DEVICE).multi_processor_count
    random, agree = torch.Generator().manual_seed(0), dict.fromkeys(RELEASES, 0)
    # few sizes in steps of 32 rows, because DeepGEMM compiles a kernel for each
    shapes = [(rows, most) for rows in (1, 2, 7, 31, 32, 33, 61, 64, 97, 128) for most in (2, 700, 9000, 1_000_000)]
    for rows, most in shapes:
        lengths = torch.randint(0, most, (rows,), generator=random, dtype=torch.int32)
        lengths[0] += 1  # where all are 0, DeepGEMM reads past its shared memory
        theirs = deep_gemm.get_paged_mqa_logits_metadata(lengths.cuda().view(-1, 1), 64, num_sms).cpu()
        for release in RELEASES:
            ours = schedule_paged_mqa(lengths.cuda(), num_sms, release=release).cpu()
            assert torch.equal(ours, schedule_paged_mqa(lengths, num_sms, release=release))
            agree[release] += torch.equal(ours, theirs)
    assert sorted(count == len(shapes) for count in agree.values()) == [False, True], (agree, len(shapes))


# What it is given.


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_lengths_of_either_integer_type_give_int32(dtype):
    made = schedule_paged_mqa(lens([300, 0, 9000], dtype), 7)
    assert made.dtype == torch.int32 and made.shape == (8, 2)
    assert torch.equal(made, schedule_paged_mqa(lens([300, 0, 9000]), 7))


@pytest.mark.parametrize("rows", (1, 32, 64, 128), ids=lambda rows: f"{rows}_rows")
def test_all_lengths_zero_leave_every_sm_without_work(rows):
    assert entries([0] * rows) == [(rows, 0)] * (HOPPER + 1)
    assert walk_schedule(schedule_paged_mqa(lens([0] * rows), HOPPER), lens([0] * rows)).ok


def test_no_rows_at_all_give_no_work():
    assert entries([], 3) == [(0, 0)] * 4


@given(values=some_lengths, unused=some_lengths, num_sms=some_sms)
def test_rows_past_the_ones_in_use_do_not_count(values, unused, num_sms):
    made = schedule_paged_mqa(lens(values + unused), num_sms, rows=lens([len(values)]))
    assert torch.equal(made, schedule_paged_mqa(lens(values), num_sms))


def test_a_million_tokens_in_a_thousand_rows_do_not_overflow():
    values = lens([1_048_576] * 1024)
    assert schedule_paged_mqa(values, 2).tolist() == [[0, 0], [512, 0], [1024, 0]]
    assert schedule_paged_mqa(values, HOPPER)[:2].tolist() == [[0, 0], [7, 3103]]


def fake(values):
    with FakeTensorMode():
        return lens(values)


def nested():
    return torch.nested.nested_tensor([lens([1]), lens([2, 3])])


def freed(values):
    tensor = lens(values)
    tensor.untyped_storage().resize_(0)
    return tensor


WITHOUT_MEMORY = {
    "fake": (lambda: fake([1, 2]), "is a FakeTensor on cpu"),
    "meta": (lambda: lens([1, 2]).to("meta"), "is a Tensor on meta"),
    "sparse": (lambda: lens([1, 2]).to_sparse(), "is a Tensor on cpu with layout torch.sparse_coo"),
    "nested": (nested, "is a nested Tensor on cpu"),
    "freed": (lambda: freed([1, 2]), "but its storage has been freed"),
    "negated": (lambda: torch._neg_view(lens([1, 2])), "is a negated view"),
}
MAKERS = {
    "context_lens": lambda tensor: schedule_paged_mqa(tensor, 4),
    "rows": lambda tensor: schedule_paged_mqa(lens([1, 2]), 4, rows=tensor),
    "seqlens": lambda tensor: nsa.schedule_flashmla(tensor, 4),
    "seqlens where values do not matter": lambda tensor: nsa.schedule_flashmla(tensor, 4, topk=64),
}


@pytest.fixture
def nothing_computed(monkeypatch):
    """A refusal comes before any computation."""

    def computed(*given):
        raise AssertionError("a schedule was computed from what had to be refused")

    monkeypatch.setattr(schedules, "share_out_in_tensor_operations", computed)
    monkeypatch.setattr(schedules, "_walk", computed)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("make, says", list(WITHOUT_MEMORY.values()), ids=list(WITHOUT_MEMORY))
@pytest.mark.parametrize("name, schedule", list(MAKERS.items()), ids=list(MAKERS))
def test_a_tensor_without_values_at_an_address_is_refused_by_name(name, schedule, make, says, nothing_computed):
    with pytest.raises(ValueError, match=f"^{name.split()[0]} .*{says}"):
        schedule(make())


@pytest.mark.parametrize("name, schedule", list(MAKERS.items()), ids=list(MAKERS))
def test_a_tensor_inside_a_function_transform_is_refused_by_name(name, schedule, nothing_computed):
    with pytest.raises(ValueError, match=f"^{name.split()[0]} is a tensor inside a function transform"):
        torch.func.vmap(schedule)(lens([[1], [3]]))


REFUSED = {
    "no SMs": (ValueError, {"num_sms": 0}, ("num_sms", "0")),
    "an unknown release": (ValueError, {"release": "2.1"}, ("release", "2.1", "54e2261")),
    "float lengths": (TypeError, {"context_lens": torch.tensor([1.0])}, ("context_lens", "float32")),
    "lengths in a list": (TypeError, {"context_lens": [1, 2]}, ("context_lens", "[1, 2]")),
    "lengths of rank 2": (ValueError, {"context_lens": lens([[1, 2]])}, ("context_lens", "[1, 2]", "give a column")),
    "rows as a number": (TypeError, {"rows": 1}, ("rows must be a tensor, got 1;", "the rows in use alone")),
    "rows in a list": (TypeError, {"rows": [1]}, ("rows must be a tensor, got [1];", "the rows in use alone")),
    "rows as float32": (TypeError, {"rows": torch.tensor([1.0])}, ("rows must be an int32 or int64", "float32")),
    "rows as bool": (TypeError, {"rows": torch.tensor([True])}, ("rows must be an int32 or int64", "torch.bool")),
    "rows as int16": (TypeError, {"rows": torch.tensor([1]).short()}, ("rows must be an int32 or int64", "int16")),
    "two counts of rows": (ValueError, {"rows": lens([1, 2])}, ("rows", "shape [] or [1], got shape [2]")),
    "no count of rows": (ValueError, {"rows": lens([])}, ("rows", "shape [] or [1], got shape [0]")),
    "rows of rank 2": (ValueError, {"rows": lens([[1]])}, ("rows", "shape [] or [1], got shape [1, 1]")),
}


@pytest.mark.parametrize("error, change, says", list(REFUSED.values()), ids=list(REFUSED))
def test_bad_input_is_refused_by_name(error, change, says, nothing_computed):
    with pytest.raises(error) as refusal:
        schedule_paged_mqa(**{"context_lens": lens([1, 2]), "num_sms": 4} | change)
    assert all(word in str(refusal.value) for word in says), refusal.value


@pytest.mark.cuda
def test_rows_on_another_device_are_refused_by_name():
    with pytest.raises(ValueError, match="^rows is on cpu, but the lengths are on cuda:0"):
        schedule_paged_mqa(lens([1, 2]).cuda(), 4, rows=lens([1]))


# The walk.


@pytest.mark.parametrize("release", RELEASES)
@settings(max_examples=60)
@given(values=some_lengths, num_sms=some_sms)
def test_a_fresh_schedule_ends_covers_every_split_once_and_is_even(release, values, num_sms):
    walk = walk_schedule(schedule_paged_mqa(lens(values), num_sms, release=release), lens(values))
    assert walk.ok and walk.stuck_sm is None, walk


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("made_at, run_at", ((257, 256), (1000, 100)))
def test_lengths_that_shrank_make_a_schedule_endless(made_at, run_at, release):
    walk = walk_schedule(schedule_paged_mqa(lens([made_at] * 4), HOPPER, release=release), lens([run_at] * 4))
    assert not walk.terminates and not walk.ok
    assert f"SM {walk.stuck_sm} steps over its end" in str(walk)


@pytest.mark.parametrize(
    "rows, length, busiest, ideal", ((4, 100_000, 391, 12), (1, 100_000, 391, 3), (32, 8192, 32, 8))
)
def test_a_schedule_from_capture_is_right_and_serial(rows, length, busiest, ideal):
    """Capture fills lengths with 1, so every row stays with one SM."""
    walk = walk_schedule(schedule_paged_mqa(lens([1] * rows), HOPPER), lens([length] * rows))
    assert (walk.terminates, walk.covers_once, walk.balanced) == (True, True, False)
    assert (walk.busiest, walk.ideal) == (busiest, ideal) and f"{busiest} splits where {ideal}" in str(walk)


@settings(max_examples=60)
@given(values=some_lengths.filter(any), num_sms=some_sms, grown=st.integers(1, 2000))
def test_lengths_that_grew_still_cover_every_split_once(values, num_sms, grown):
    walk = walk_schedule(schedule_paged_mqa(lens(values), num_sms), lens([v + grown if v else 0 for v in values]))
    assert walk.terminates and walk.covers_once


def test_a_schedule_that_skips_a_split_or_repeats_one_is_told():
    made = schedule_paged_mqa(lens([2560]), 5)
    late, twice = made.clone(), made.clone()
    late[0, 1] = 1
    twice[-2] = twice[-3]
    assert walk_schedule(late, lens([2560])).terminates and not walk_schedule(late, lens([2560])).covers_once
    assert walk_schedule(twice, lens([2560])).covers_once and not walk_schedule(twice, lens([2560])).balanced
    assert "never or twice" in str(walk_schedule(late, lens([2560])))


@given(values=some_lengths, num_sms=some_sms, poison=st.sampled_from((0x7F7F7F7F, -0x5A5A5A5B)))
def test_the_walk_of_garbage_ends(values, num_sms, poison):
    made = torch.full((num_sms + 1, 2), poison, dtype=torch.int32)
    assert walk_schedule(made, lens(values)).covers_once == (not any(values))


def test_more_splits_than_int32_counts():
    last = schedule_paged_mqa(torch.full((300,), 2**31 - 300, dtype=torch.int32), 132)[-2:]
    assert last.tolist() == [[297, 6100805], [300, 0]]
