"""Does the timer measure what it says, in turns, within its budget, and never a wrong result?"""

from dataclasses import dataclass

import pytest
import torch

from nsa_core.lab.bench import stats
from nsa_core.lab.bench.device import Host, Operation, _split, observer
from nsa_core.lab.bench.timer import Candidate, Timer, WrongResult


class Machine:
    """A clock that only calls advance, and a device that works behind the host's back. Nanoseconds."""

    def __init__(self):
        self.now, self.device_free, self.log = 0, 0, []

    def clock(self):
        return self.now

    def drain(self):
        self.now = max(self.now, self.device_free)

    def profile(self, calls, repeats):
        return [[[Operation("kernel", 2.0), Operation("Memcpy DtoD", 1.0)]] * repeats for _ in calls]

    def candidate(self, name, host_us=3.0, device_us=0.0, check=None, drift=0.0):
        def call():
            self.log.append(name)
            self.now += round(host_us * 1e3 * (1 + drift * self.now))
            self.device_free = max(self.device_free, self.now) + round(device_us * 1e3)

        return Candidate(name, call, check)

    def timer(self, **options):
        return Timer(self, clock=self.clock, **options)


class HostMachine(Machine, Host):
    """The same with a CPU's observer."""

    profile = Host.profile


def test_host_time_ends_when_the_call_returns_and_latency_when_the_device_is_done():
    machine = Machine()
    timing = machine.timer().time([machine.candidate("a", host_us=3, device_us=10)])["a"]
    assert (timing.host.median, timing.latency.median) == (3, 13)


@pytest.mark.parametrize("host_us, device_us, loop_us", [(3, 10, 10), (10, 3, 10)])
def test_loop_time_is_the_slower_of_host_and_device(host_us, device_us, loop_us):
    machine = Machine()
    timing = machine.timer(loop_calls=1000).time([machine.candidate("a", host_us, device_us)])["a"]
    assert timing.loop.median == pytest.approx(loop_us, rel=0.01)


def test_device_time_and_operations_come_from_the_profiler():
    machine = Machine()
    timing = machine.timer().time([machine.candidate("a")])["a"]
    assert (timing.device.median, timing.device_ops.median) == (3, 2)


def test_a_cpu_has_host_times_only():
    machine = HostMachine()
    timing = machine.timer().time([machine.candidate("a")])["a"]
    assert (timing.host.median, timing.loop.median) == (3, 3)
    assert timing.latency is timing.device is timing.device_ops is None


def test_candidates_take_turns_and_each_round_begins_with_another():
    machine = Machine()
    timer = machine.timer(rounds=3, loop_calls=1, budget_s=1e-9)
    admitted = [timer.admit(machine.candidate(name)) for name in "abc"]
    machine.log.clear()
    timer.measure(admitted)
    assert (
        "".join(machine.log) == "aaabbbccc" + "bbbcccaaa" + "cccaaabbb"
    )  # one not timed, a loop block and a single call


def test_a_drifting_clock_moves_both_candidates_and_not_their_ratio():
    machine = Machine()
    slowing = {"drift": 2e-7}  # twice as slow after 5 ms
    timings = machine.timer(budget_s=0.02, rounds=20).time(
        [machine.candidate("a", 10, **slowing), machine.candidate("b", 20, **slowing)]
    )
    assert timings["a"].loop.high > 1.2 * timings["a"].loop.low
    assert stats.ratio(timings["b"].loop, timings["a"].loop).median == pytest.approx(2, rel=0.1)


def test_a_wrong_candidate_is_refused_before_it_is_timed():
    machine = Machine()
    wrong = machine.candidate("a", check=lambda: ["cache_seqlens_int32[0] is 6, should be 5"])
    with pytest.raises(WrongResult, match=r"a is not timed.*cache_seqlens_int32\[0\] is 6, should be 5"):
        machine.timer().time([machine.candidate("b"), wrong])
    assert set(machine.log) == {"b"}  # warmed up; nothing was measured, and `a` was not called again


def test_every_candidate_is_checked_and_warmed_up_before_any_is_timed():
    machine, checked = Machine(), []
    candidates = [machine.candidate(name, check=lambda name=name: checked.append(name) or []) for name in "ab"]
    timer = machine.timer()
    admitted = [timer.admit(candidate) for candidate in candidates]
    assert checked == ["a", "b"]
    assert machine.log.count("a") >= 3
    assert [a.ns for a in admitted] == [3000, 3000]


@pytest.mark.parametrize("budget_s", [0.05, 0.2])
def test_the_time_budget_is_kept(budget_s):
    machine = Machine()
    timer = machine.timer(budget_s=budget_s)
    admitted = [timer.admit(machine.candidate(name, host_us=us)) for name, us in (("a", 5), ("b", 50), ("c", 500))]
    begin = machine.now
    timer.measure(admitted)
    assert machine.now - begin <= budget_s * 1e9 * 1.01


def test_a_candidate_slower_than_its_share_is_still_measured_once_a_round():
    machine = Machine()
    timing = machine.timer(rounds=4, budget_s=0.001).time([machine.candidate("a", host_us=10_000)])["a"]
    assert timing.loop.count == timing.host.count == 4


def test_two_candidates_of_one_name_are_refused():
    machine = Machine()
    with pytest.raises(ValueError, match="share a name"):
        machine.timer().time([machine.candidate("a"), machine.candidate("a")])


@pytest.mark.parametrize("option", ["budget_s", "rounds", "loop_calls"])
def test_options_that_measure_nothing_are_refused(option):
    with pytest.raises(ValueError, match=f"{option} must be a finite number above 0, got 0"):
        Machine().timer(**{option: 0})


def test_the_spread_is_the_quartiles():
    assert stats.spread([1, 2, 3, 4, 5]) == stats.Spread(3, 2, 4, 5)
    assert stats.spread([7.0]) == stats.Spread(7, 7, 7, 1)
    assert stats.spread([5, 1, 4, 2, 3]) == stats.spread([1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match="samples is empty"):
        stats.spread([])


def test_a_ratio_is_as_uncertain_as_its_quartiles_allow():
    assert stats.ratio(stats.Spread(20, 18, 22, 9), stats.Spread(10, 9, 11, 5)) == stats.Spread(2, 18 / 11, 22 / 9, 5)
    with pytest.raises(ValueError, match="a ratio needs times above 0"):
        stats.ratio(stats.Spread(1, 1, 1, 1), stats.Spread(0, 0, 0, 1))


def test_several_runs_are_the_median_of_their_medians_and_their_range():
    runs = [stats.Spread(20, 1, 99, 9), stats.Spread(30, 29, 31, 9), stats.Spread(25, 25, 25, 9)]
    assert stats.across(runs) == stats.Spread(25, 20, 30, 3)
    assert stats.across(runs[:1]) == runs[0]


def test_a_reference_stands_between_all_blocks_and_every_round_keeps_the_slower_of_its_two():
    machine, slow = Machine(), {"from": 12, "to": 18}
    calls = []

    def reference():
        calls.append(1)
        machine.log.append("-")
        block = machine.log.count("a") + machine.log.count("b")
        machine.now += 200_000 * (2 if slow["from"] <= block < slow["to"] else 1)

    timer = machine.timer(rounds=4, loop_calls=1, budget_s=1e-9, reference=reference)
    admitted = [timer.admit(machine.candidate(name)) for name in "ab"]
    machine.log.clear()
    timings = timer.measure(admitted)
    after_warm_up = "".join(machine.log).lstrip("-")
    assert (
        after_warm_up == "aaa--bbb--" + "bbb--aaa--" + "aaa--bbb--" + "bbb--aaa--"
    )  # of three calls the first is not timed
    assert timings["a"].references == (200, 400, 400, 200) and timings["b"].references == (200, 200, 400, 200)
    assert timings["a"].loops == (3,) * 4 and len(calls) > 18


def test_without_a_reference_there_is_none():
    machine = Machine()
    assert machine.timer().time([machine.candidate("a")])["a"].references == ()


@dataclass
class Interval:
    start: float
    us: float

    def elapsed_us(self):
        return self.us


@dataclass
class Event:
    """What torch.profiler reports, as far as the split reads it."""

    name: str
    start: float
    us: float = 1.0
    on_device: bool = True

    @property
    def device_type(self):
        return torch.autograd.DeviceType.CUDA if self.on_device else torch.autograd.DeviceType.CPU

    @property
    def time_range(self):
        return Interval(self.start, self.us)


def test_a_profile_is_cut_at_the_separators_in_the_devices_order():
    separator = "at::cuda::(anonymous namespace)::spin_kernel(long)"
    events = [
        Event("cudaLaunchKernel", 0, on_device=False),
        Event("Memcpy DtoD", 5, 0.5),
        Event(separator, 1),
        Event("add", 2, 0.25),
        Event(separator, 4),
        Event("before the first separator", 0),
        Event(separator, 9),
    ]
    assert list(_split(events)) == [[Operation("add", 0.25)], [Operation("Memcpy DtoD", 0.5)], []]


@pytest.mark.parametrize(
    "name, kind",
    [
        ("Memcpy DtoD (Device -> Device)", "memcpy"),
        ("Memset (Device)", "memset"),
        ("void at::native::elementwise_kernel<...>", "kernel"),
    ],
)
def test_an_operations_kind_is_read_from_the_profilers_name(name, kind):
    assert Operation(name, 1.0).kind == kind


def test_a_device_that_nobody_can_wait_for_is_refused():
    with pytest.raises(ValueError, match="device must be cpu or cuda, got meta"):
        observer(torch.device("meta"))
