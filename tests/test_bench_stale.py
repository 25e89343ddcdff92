"""What is said of a reader on a stale schedule: how much its busiest SM has to do, and where it cannot be timed."""

import pytest
import torch

from nsa_core.lab.bench.stale import busiest_sm, cases
from nsa_core.schedules import schedule_paged_mqa
from nsa_core.strategies.base import Refused

TOKENS = 256  # of a split


def on_schedule_of(made_for, read):
    return busiest_sm(schedule_paged_mqa(torch.tensor(made_for), 4), torch.tensor(read, dtype=torch.int32))


def test_a_fresh_schedule_shares_the_splits_out():
    assert on_schedule_of([100 * TOKENS], [100 * TOKENS]) == 25
    assert on_schedule_of([3 * TOKENS, 6 * TOKENS], [3 * TOKENS, 6 * TOKENS]) == 3  # 9 splits on 4 SMs


def test_a_schedule_of_length_1_gives_a_request_to_one_sm():
    assert on_schedule_of([1], [100 * TOKENS]) == 100
    assert on_schedule_of([1] * 8, [TOKENS, *[5 * TOKENS] * 7]) == 10  # two requests to each of 4 SMs


def test_on_a_cpu_it_is_refused_by_name():
    with pytest.raises(Refused, match="DeepGEMM's kernels run on a GPU"):
        next(cases(torch.device("cpu")))
