"""Is what a decode step feels of a refresh a difference between neighbours, of a step that really was refreshed?"""

import json
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from device import DEVICE

import nsa_core as nsa
from nsa_core.__main__ import main
from nsa_core.lab.bench import Bench, Recording, cases, command, exposure, grid, read, report, run, select
from nsa_core.lab.bench.bytes_moved import bytes_moved, bytes_written
from nsa_core.lab.bench.cases import BenchCase, build
from nsa_core.lab.bench.device import Cuda, Host
from nsa_core.lab.bench.exposure import BEFORE, FORKED, INSIDE, NOISE, PLACES, STRATEGIES, DecodeStep
from nsa_core.lab.bench.timer import Admitted, Candidate, Timer, no_garbage_collection
from nsa_core.lab.bench.verify import Gate

TINY = BenchCase("exposed-tiny", bs=3, lengths=130, steps=2, decode_gemms=3)
PLACED = [(name, place) for name, (places, _) in STRATEGIES.items() for place in places]
each_place = pytest.mark.parametrize("strategy, place", PLACED)


# which refreshes


def test_four_shapes_at_every_choice_of_tables_beside_six_gemms():
    shapes = {(case.bs, case.lengths, case.steps) for case in cases.exposed()}
    assert shapes == {(1, 4096, 4), (32, 4096, 4), (32, 4096, 8), (32, 65536, 8)}
    choices = {("page_table_1",), ("real_page_table",), ("page_table_1", "real_page_table")}
    assert {(case.bs, case.lengths, case.steps, case.tables) for case in cases.exposed()} == {
        (*shape, tables) for shape in shapes for tables in choices
    }
    assert {case.decode_gemms for case in cases.exposed()} == {6} and len(cases.exposed()) == 12


def test_they_are_measured_only_where_they_are_named():
    assert not any(case.decode_gemms for case in grid())
    assert select(["exposed-*"]) == cases.exposed()
    assert [case.name for case in select(["exposed-32x64k-*-real-table"])] == ["exposed-32x64k-steps-8-real-table"]


def test_the_list_marks_them(capsys):
    assert main(["bench", "--list", "--device", "cpu"]) == 0
    assert " + exposed-32x64k-steps-8-wide-table: decode, bs 32, lengths 65536" in capsys.readouterr().out


def test_without_a_gpu_the_command_refuses_in_one_line_and_records_nothing(capsys, tmp_path):
    arguments = ["bench", "--device", "cpu", "--case", "exposed-*", "--record", str(tmp_path / "r.jsonl")]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "timed in CUDA graphs; they need an NVIDIA GPU, the device is cpu" in line
    assert list(tmp_path.iterdir()) == []


def test_strategies_that_are_not_measured_beside_a_step_are_refused_by_those_that_are():
    exposure.require(torch.device("cuda"), ["eager", "copy"])
    with pytest.raises(ValueError, match=r"none of the strategies .* choose of fused, shared\+fused, copy"):
        exposure.require(torch.device("cuda"), ["eager", "graph"])


def test_bytes_written_are_counted_by_hand():
    case = BenchCase("counted", bs=2, lengths=100, steps=3)
    one = 2 * (100 + 2) * 4 + (2 * 2 + 2 * 2) * 4  # slots and pages, four vectors
    written, moved = bytes_written(case, build(case, "cpu")), bytes_moved(case, build(case, "cpu"))
    assert (written.generate, written.share, written.copy) == (3 * one, one, one + 3 * one)
    assert written.recompute == moved.recompute // 2


# in which turns


class Clock:
    """An observer on which a call takes its microseconds, and everything `drift` more for each block so far."""

    def __init__(self, drift=0.0):
        self.log, self.drift, self.blocks, self.calls = [], drift, 0, set()

    def drain(self):
        """Nothing to wait for."""

    def elapsed_us(self, call, calls):
        self.calls.add(calls)
        self.blocks += 1
        return call() + self.drift * self.blocks

    def admitted(self, name, us):
        return Admitted(Candidate(name, lambda: self.log.append(name) or us, None), 1.0)

    def beside(self, candidates, rounds, **options):
        timer = Timer(self, rounds=rounds, **options)
        return timer.beside(self.admitted("-", 250.0), [self.admitted(*c) for c in candidates.items()])


def test_every_candidate_has_a_baseline_next_to_it_before_it_as_often_as_behind_it():
    clock = Clock()
    clock.beside(dict.fromkeys("abcd", 1.0), rounds=3, loop_calls=200)
    assert "".join(clock.log) == "-" + "a-bc-d" + "b-cd-a" + "c-da-b"  # the first warms up
    assert clock.calls == {200}


def test_an_odd_candidate_has_one_of_its_own():
    clock = Clock()
    pairs = clock.beside(dict.fromkeys("abc", 1.0), rounds=2)
    assert "".join(clock.log) == "-" + "a-bc-" + "b-ca-"
    assert {len(rounds) for rounds in pairs.values()} == {2}


def test_a_pair_is_the_candidate_and_its_neighbour():
    pairs = Clock().beside({"a": 255.0, "b": 260.0}, rounds=2)
    assert pairs == {"a": [(255.0, 250.0)] * 2, "b": [(260.0, 250.0)] * 2}


def test_a_drift_far_above_the_difference_leaves_it():
    named = {"noise": 250.0, "a": 252.0, "b": 250.5, "c": 280.0}
    pairs = Clock(drift=0.5).beside(named, rounds=10)  # 30 us in all
    for name, us in named.items():
        row = exposure.columns(pairs[name])
        assert row["exposed_us"] == pytest.approx(us - 250, abs=0.01)
        assert row["exposed_us_max"] - row["exposed_us_min"] == pytest.approx(1, abs=0.01)
        assert row["decode_step_us_q3"] - row["decode_step_us_q1"] > 10


def test_two_candidates_of_one_name_are_refused():
    clock = Clock()
    with pytest.raises(ValueError, match="share a name"):
        Timer(clock).beside(clock.admitted("-", 1.0), [clock.admitted("a", 1.0)] * 2)


def test_elapsed_time_is_that_between_two_events_by_the_calls(monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append(self)

        def elapsed_time(self, end):
            assert log[1] is self and log[-2] is end
            return 1.5  # ms

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("drain"))
    assert Cuda(torch.device("cuda")).elapsed_us(lambda: log.append("call"), 3) == 500
    assert log == ["drain", log[1], *["call"] * 3, log[-2], "drain"]


# what the rows say


def test_the_exposed_time_is_formed_by_round():
    pairs = [(260.0, 250.0), (300.0, 280.0), (255.0, 254.0)]  # medians 260 and 254; differences 10, 20 and 1
    row = exposure.columns(pairs)
    assert (row["decode_step_us"], row["exposed_us"]) == (254, 10)
    assert (row["exposed_us_min"], row["exposed_us_max"], row["exposed_us_n"]) == (1, 20, 3)
    assert row["exposed_percent"] == 4


def rows_made_up(exposed_us=6.5, noise_us=-0.2):
    about = {"case": "exposed-tiny", "machine": "A GPU", "device": "cuda", "date": "today", "kind": "exposed"}
    about |= {"tables": "page_table_1", "driver": None, "torch": "2", "triton": "3", "commit": None, "dirty": None}
    refresh = {"name": "fused, inside", "strategy": "fused", "place": INSIDE, "bytes_written": 3 * 2**20}
    measured = [(250.0 + exposed_us + at, 250.0) for at in (-0.5, 0, 0.5)]
    noise = [(250.0 + noise_us + at, 250.0) for at in (-0.1, 0, 0.1)]
    return [
        about | {"name": NOISE, "strategy": None} | exposure.columns(noise),
        about | refresh | exposure.columns(measured),
    ]


def test_a_difference_below_zero_is_read_back_and_a_step_below_zero_is_not(tmp_path):
    rows = rows_made_up()
    with Recording(tmp_path / "r.jsonl") as recording:
        recording.append(rows)
    assert read(tmp_path / "r.jsonl") == rows and rows[0]["exposed_us"] < 0
    for column, value in (
        ("exposed_us", None),
        ("exposed_us_min", None),
        ("exposed_us_q1", "6"),
        ("decode_step_us", -1),
    ):
        (tmp_path / "broken.jsonl").write_text(json.dumps(rows[0] | {column: value}) + "\n")
        if column == "exposed_us":  # not measured
            assert read(tmp_path / "broken.jsonl")[0][column] is None
            continue
        with pytest.raises(ValueError, match=f"line 1: {column} is {value!r}, must be a finite number"):
            read(tmp_path / "broken.jsonl")


def test_a_line_has_a_column_for_each_place_beside_the_step_and_its_noise():
    assert report.exposures(rows_made_up()) == [
        {
            "case": "exposed-tiny",
            "strategy": "fused",
            "tables": "page_table_1",
            "before": None,
            "inside": "6.5 [6..7] 2.6%",
            "forked": None,
            "MiB written": 3,
            "decode step": 250,
            "noise floor": "-0.2 [-0.3..-0.1] -0.08%",
        }
    ]


def test_the_command_prints_a_recordings_table(tmp_path, capsys):
    with Recording(tmp_path / "r.jsonl") as recording:
        recording.append(rows_made_up())
    assert main(["bench", "--report", str(tmp_path / "r.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert "A decode step with a refresh less the step alone" in printed and "(no rows)" not in printed
    header, line = printed.splitlines()[-2:]
    assert header.split()[:6] == ["case", "strategy", "tables", *PLACES]
    assert line.split("  ")[:2] == ["exposed-tiny", "fused"] and "6.5 [6..7] 2.6%" in line


# the decode step, on a CPU that stands in for the GPU

without_a_gpu = pytest.mark.skipif(DEVICE == "cuda", reason="stands in for a GPU where there is none")


class StandIn:
    """Streams that log who waits for whom, and graphs that record named operations instead of running them."""

    COSTS = {"refresh": 5.0, "mm": 100.0, "add": 1.0}

    def __init__(self, monkeypatch):
        self.streams, self.recording, self.log, self.us = ["default"], None, [], 0.0
        standing_in = {
            "Stream": lambda device=None: self.new_stream(),
            "current_stream": lambda: self.stream_named(self.streams[-1]),
            "stream": self.use,
            "synchronize": lambda device=None: None,
            "device": lambda device: nullcontext(),
            "CUDAGraph": self.new_graph,
            "graph": self.record,
        }
        for name, value in standing_in.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch, "mm", self.operation("mm", torch.mm))
        monkeypatch.setattr(torch, "add", self.operation("add", torch.add))
        monkeypatch.setattr(nsa.MultiStepBackend, "refresh", self.operation("refresh", nsa.MultiStepBackend.refresh))
        monkeypatch.setattr(exposure, "WIDTH", 16)
        monkeypatch.setattr(exposure, "ROUNDS", 3)
        self.made = 0

    def new_stream(self):
        self.made += 1
        return self.stream_named(("main", "side")[(self.made - 1) % 2])

    def stream_named(self, name):
        return SimpleNamespace(name=name, wait_stream=lambda other: self.log.append(f"{name} waits for {other.name}"))

    @contextmanager
    def use(self, stream):
        self.streams.append(stream.name)
        yield
        self.streams.pop()

    def operation(self, name, function):
        def called(*arguments, **options):
            self.log.append(f"{name} on {self.streams[-1]}")
            if self.recording is not None:
                return self.recording.append((name, partial(function, *arguments, **options)))
            return function(*arguments, **options)

        return called

    def new_graph(self):
        nodes = []

        def replay():
            assert self.recording is None
            for name, node in nodes:
                self.us += self.COSTS[name]
                node()

        return SimpleNamespace(nodes=nodes, replay=replay)

    @contextmanager
    def record(self, graph, stream):
        self.log.clear()  # a test asks for what was recorded last
        self.recording = graph.nodes
        with self.use(stream):
            yield
        self.recording = None

    def observer(self):
        host = Host()
        host.elapsed_us = self.elapsed_us
        return host

    def elapsed_us(self, call, calls):
        before = self.us
        call()
        return self.us - before


@pytest.fixture
def stand_in(monkeypatch):
    return StandIn(monkeypatch)


def refreshed_step(strategy, place, device):
    inputs = build(TINY, device)
    inputs = replace(inputs, batch=replace(inputs.batch, seq_lens_cpu=None))
    backend = nsa.MultiStepBackend(TINY.config, inputs.req_to_token, TINY.steps, strategy=strategy)
    backend.capture(TINY.bs, TINY.mode)
    step = DecodeStep(torch.device(device), TINY.bs, TINY.decode_gemms)
    return step, backend, inputs, step.with_refresh(place, backend, inputs.batch, TINY.mode)


@no_garbage_collection()
def require_each_replay_refreshes(strategy, place, device):
    """The sets hold what the oracle says, and the step read it, for every batch that the tensors hold."""
    step, backend, inputs, call = refreshed_step(strategy, place, device)
    contract, sets = nsa.strategies(device)[strategy].contract, backend.sets(TINY.bs, TINY.mode)
    for lengths in ((130, 1, 64), (7, 4000, 65)):
        inputs.batch.seq_lens.copy_(torch.tensor(lengths))
        assert Gate(TINY, inputs).differences(sets, contract, call) == []
        assert step.sums_read.tolist() == [0, lengths[0], sum(lengths[:2]), sum(lengths)]
    stale = Gate(TINY, inputs).differences(sets, contract, step.alone())
    assert any("kept what it held" in line for line in stale)


@without_a_gpu
@each_place
def test_a_replay_of_the_step_refreshes_what_it_reads(strategy, place, stand_in):
    require_each_replay_refreshes(strategy, place, "cpu")


@pytest.mark.cuda
@each_place
def test_a_replay_of_the_steps_cuda_graph_refreshes_what_it_reads(strategy, place):
    require_each_replay_refreshes(strategy, place, "cuda")


READ_AND_REST = ["add on main", "mm on main"]


@without_a_gpu
@pytest.mark.parametrize(
    "place, recorded",
    [
        (BEFORE, ["mm on main"] * 2 + READ_AND_REST),  # the refresh has a graph of its own
        (INSIDE, ["refresh on main"] + ["mm on main"] * 2 + READ_AND_REST),
        (
            FORKED,
            ["side waits for main", "refresh on side", *["mm on main"] * 2, "main waits for side", *READ_AND_REST],
        ),
    ],
)
def test_the_reader_comes_behind_the_refresh_and_a_fork_stands_beside_the_first_gemms(place, recorded, stand_in):
    refreshed_step("fused", place, "cpu")
    assert stand_in.log == recorded


@without_a_gpu
def test_everything_that_is_recorded_ran_once_on_the_same_stream_before(stand_in, monkeypatch):
    step = DecodeStep(torch.device("cpu"), 1, 2)
    stand_in.log.clear()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: stand_in.log.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: stand_in.use(stream))
    step.alone()
    work = ["mm on main", "mm on main", "add on main"]
    assert stand_in.log == ["main waits for default", *work, "synchronize", *work]


def timed_beside(monkeypatch, stand_in, strategies=None):
    """A whole case; kernels are interpreted, and time is what the stand-in charges for recorded operations."""
    monkeypatch.setattr(run, "not_timed", lambda info, device: info.reason)
    monkeypatch.setattr(run, "observer", lambda device: stand_in.observer())
    rows = []
    bench = Bench(torch.device("cpu"), rows.extend, strategies=strategies)
    bench.case(TINY)
    return bench, rows


@without_a_gpu
def test_every_place_is_a_row_with_what_its_refresh_costs_and_the_noise_is_one_too(monkeypatch, stand_in):
    bench, rows = timed_beside(monkeypatch, stand_in)
    assert bench.failures == [] and {row["kind"] for row in rows} == {"exposed"}
    assert [row["name"] for row in rows] == [NOISE, *(f"{name}, {place}" for name, place in PLACED)]
    assert {row["decode_step_us"] for row in rows} == {301}
    exposed = {row["name"]: row["exposed_us"] for row in rows}
    assert exposed.pop(NOISE) == exposed.pop("copy, before") == 0  # nothing of `copy` is recorded
    assert set(exposed.values()) == {5}
    conditions = {"tables", "bs", "steps", "decode_gemms", "calls", "exposed_us_n", "commit", "date", "machine"}
    assert all(conditions <= row.keys() for row in rows)
    assert all(row["checked_cells"] > 0 and row["bytes_written"] > 0 for row in rows if row["name"] != NOISE)


@without_a_gpu
def test_only_the_strategies_that_were_named_are_measured(monkeypatch, stand_in):
    _, rows = timed_beside(monkeypatch, stand_in, ["shared+fused"])
    assert {row["strategy"] for row in rows} == {None, "shared+fused"}


@without_a_gpu
def test_a_graph_that_refreshes_nothing_is_not_timed(monkeypatch, stand_in):
    monkeypatch.setattr(nsa.MultiStepBackend, "refresh", lambda *arguments: None)
    bench, rows = timed_beside(monkeypatch, stand_in)
    assert [row["name"] for row in rows if row["kind"] == "exposed"] == [NOISE, "copy, before"]
    assert len(bench.failures) == 6 and all("kept what it held" in failure for failure in bench.failures)


@without_a_gpu
def test_a_step_that_reads_before_its_refresh_is_not_timed(monkeypatch, stand_in):
    in_order = DecodeStep._run

    def read_first(step, sums, first=None, beside=None):
        in_order(step, sums)
        for refresh in filter(None, (first, beside)):
            refresh()

    monkeypatch.setattr(DecodeStep, "_run", read_first)
    bench, _ = timed_beside(monkeypatch, stand_in, ["fused"])
    early = [failure for failure in bench.failures if "read cu_seqlens_k before its refresh" in failure]
    assert [failure.split(":")[0] for failure in early] == [
        "exposed-tiny fused, inside",
        "exposed-tiny fused, forked",
    ]


@without_a_gpu
def test_the_command_measures_records_and_prints_them(monkeypatch, stand_in, tmp_path, capsys):
    monkeypatch.setattr(cases, "exposed", lambda: [TINY])
    monkeypatch.setattr(command.exposure, "require", lambda device, strategies: None)
    monkeypatch.setattr(run, "not_timed", lambda info, device: info.reason)
    monkeypatch.setattr(run, "observer", lambda device: stand_in.observer())
    path = tmp_path / "r.jsonl"
    arguments = ["bench", "--device", "cpu", "--case", "exposed-*"]
    assert main([*arguments, "--anyway", "--record", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "8 rows timed, 0 failed"
    assert [line.split()[1] for line in lines[-4:-1]] == list(STRATEGIES)
    assert len(read(path)) == 8


@pytest.mark.cuda
def test_a_case_is_timed_on_a_gpu(monkeypatch):
    monkeypatch.setattr(exposure, "ROUNDS", 2)
    monkeypatch.setattr(exposure, "CALLS", 5)
    rows = []
    bench = Bench(torch.device("cuda"), rows.extend)
    bench.case(TINY)
    assert bench.failures == []
    assert [row["name"] for row in rows] == [NOISE, *(f"{name}, {place}" for name, place in PLACED)]
    assert all(row["decode_step_us"] > 0 and row["exposed_us_n"] == 2 for row in rows)
