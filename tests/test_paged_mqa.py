"""Is the paged-MQA schedule DeepGEMM's own, can a graph record it, and does the walk tell a stale one?"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from nsa_core.audit.walk import walk_schedule
from nsa_core.schedules import RELEASES, schedule_paged_mqa

HOPPER = 132  # SMs of an H100 or H200
DTYPES = (torch.int32, torch.int64)


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


@pytest.mark.parametrize("release", RELEASES)
@given(values=some_lengths, num_sms=some_sms)
def test_schedule_matches_a_serial_loop(release, values, num_sms):
    assert entries(values, num_sms, release=release) == serial(values, num_sms, release)


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


@pytest.mark.parametrize("rows", (None, 3), ids=("all_rows", "counted_rows"))
def test_nothing_is_read_back_so_a_graph_can_record_it(rows):
    operations = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            operations.append(str(func))
            return func(*args, **(kwargs or {}))

    count = None if rows is None else lens([rows])
    with Record():
        schedule_paged_mqa(lens([300, 0, 9000, 7]), HOPPER, rows=count)
    assert not [name for name in operations if "_local_scalar_dense" in name or "nonzero" in name]
    assert len(operations) <= 26, operations


def test_it_is_made_without_looking_at_a_value():
    made = schedule_paged_mqa(torch.empty(5, dtype=torch.int32, device="meta"), HOPPER)
    assert made.shape == (HOPPER + 1, 2) and made.is_meta


REFUSED = {
    "no SMs": (ValueError, {"num_sms": 0}, ("num_sms", "0")),
    "an unknown release": (ValueError, {"release": "2.1"}, ("release", "2.1", "54e2261")),
    "float lengths": (TypeError, {"context_lens": torch.tensor([1.0])}, ("context_lens", "float32")),
    "lengths in a list": (TypeError, {"context_lens": [1, 2]}, ("context_lens", "[1, 2]")),
    "lengths of rank 2": (ValueError, {"context_lens": lens([[1, 2]])}, ("context_lens", "[1, 2]", "give a column")),
}


@pytest.mark.parametrize("error, change, says", list(REFUSED.values()), ids=list(REFUSED))
def test_bad_input_is_refused_by_name(error, change, says):
    with pytest.raises(error) as refusal:
        schedule_paged_mqa(**{"context_lens": lens([1, 2]), "num_sms": 4} | change)
    assert all(word in str(refusal.value) for word in says), refusal.value


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
