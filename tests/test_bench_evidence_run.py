"""Does a run for the evidence name its host, keep its time, refuse a busy machine, and go where it belongs?"""

import json
import os
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from nsa_core.__main__ import main
from nsa_core.lab.bench import Recording, command, conditions, floors, read
from nsa_core.lab.bench.cases import EVIDENCE, select
from nsa_core.lab.bench.command import Pace, next_recording
from nsa_core.lab.bench.evidence import PLANS, load
from nsa_core.lab.bench.report import bandwidth
from nsa_core.lab.decision import claims

CPU = torch.device("cpu")
SMALL = ("bench", "--device", "cpu", "--case", "decode-bs-1", "--strategy", "copy,eager", "--budget", "0.01")


@pytest.fixture
def idle(monkeypatch):
    monkeypatch.setattr(command, "busy", lambda device: None)


@pytest.fixture
def loaded(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (7.0, 1.0, 1.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


def test_a_run_names_its_host_and_its_process():
    here = conditions.conditions(CPU)
    named = {"run", "cpu", "cores", "kernel", "virtualisation", "host", "pid", "python", "date"}
    assert named <= here.keys() and here["pid"] == os.getpid()
    assert here["run"] != conditions.conditions(CPU)["run"] and here["host"] == conditions.conditions(CPU)["host"]
    assert len(here["host"]) == 8 and os.uname().nodename not in json.dumps(here)


def test_what_is_said_once_is_read_with_every_row(tmp_path):
    path, shared = tmp_path / "r.jsonl", {"run": "1", "machine": "A GPU", "busy": None}
    for run, us in (("1", 2.0), ("2", 3.0)):
        with Recording(path, shared | {"run": run}) as recording:
            recording.append([shared | {"run": run, "case": "c", "kind": "floor", "loop_us": us}])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1] == {"run": "1", "case": "c", "kind": "floor", "loop_us": 2.0}
    assert [(row["run"], row["machine"], row["loop_us"]) for row in read(path)] == [
        ("1", "A GPU", 2),
        ("2", "A GPU", 3),
    ]


def test_what_changes_in_a_run_is_said_by_its_rows(tmp_path):
    path, shared = tmp_path / "r.jsonl", {"run": "1"}
    with Recording(path, shared) as recording:
        shared["take"] = 2
        recording.append([shared | {"case": "c"}])
    assert read(path) == [{"kind": "run", "run": "1", "case": "c", "take": 2}]


@pytest.mark.parametrize("rounds", [[1.0, -1.0], [1.0, "x"], [float("nan")]])
def test_a_round_that_is_no_time_is_refused(tmp_path, rounds):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"case": "c", "loop_us_rounds": rounds}) + "\n")
    with pytest.raises(ValueError, match="line 1: loop_us_rounds is "):
        read(path)


def test_a_timed_row_carries_its_reference_and_its_rounds(tmp_path, idle, capsys):
    path = tmp_path / "r.jsonl"
    assert main([*SMALL, "--record", str(path)]) == 0
    timed = [row for row in read(path) if row.get("loop_us")]
    assert {row["kind"] for row in timed} == {"strategy", "part", "floor"}
    for row in timed:
        assert len(row["loop_us_rounds"]) == len(row["reference_us_rounds"]) == row["reference_us_n"] == 9
        assert row["cpu"] and row["busy"] is None
    assert "slowest reference: " in capsys.readouterr().out


def test_a_busy_machine_is_not_recorded(tmp_path, loaded, capsys):
    assert main([*SMALL, "--record", str(tmp_path / "r.jsonl")]) == 2
    assert "this machine is busy: load average 7.0 on 4 cores; wait, or " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_busy_machine_is_marked_when_asked(tmp_path, loaded):
    path = tmp_path / "r.jsonl"
    assert main([*SMALL, "--record", str(path), "--anyway"]) == 0
    assert {row["busy"] for row in read(path)} == {"load average 7.0 on 4 cores"}
    assert main(list(SMALL)) == 0  # nothing is recorded


@pytest.mark.parametrize(
    "load, cores, is_busy", [(1.4, 2, False), (1.6, 2, True), (7.9, 16, False), (8.1, 16, True), (0.0, None, False)]
)
def test_busy_is_more_than_a_run_just_over_leaves_behind(monkeypatch, load, cores, is_busy):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert (conditions.busy(CPU) is not None) is is_busy


@pytest.mark.parametrize(
    "free, works, seen",
    [
        (79, "0", None),
        (70, "0", "9.0 GiB of the GPU's memory is others'"),
        (79, "55", "the GPU works 55% of the time"),
        (79, None, None),
        (79, "[N/A]", None),
    ],
)
def test_a_gpu_that_works_for_others_is_busy(monkeypatch, free, works, seen):
    monkeypatch.setattr(os, "getloadavg", lambda: (0, 0, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12-ab"))
    asked = []
    monkeypatch.setattr(conditions, "_answer", lambda *words: asked.append(words) or works)
    assert conditions.busy(torch.device("cuda", 1)) == seen
    assert asked[0][:2] == ("nvidia-smi", "--id=GPU-12-ab")


def test_the_conditions_of_a_gpu_can_be_told_without_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12-ab"))
    here, again = (conditions.conditions(torch.device("cuda")) for _ in range(2))
    assert here["machine"] == here["gpu"] == "NVIDIA H100 80GB HBM3" and here["cpu"] != here["gpu"]
    assert here["host"] == again["host"] != conditions.conditions(CPU)["host"]


@pytest.mark.parametrize(
    "machine, name",
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("AMD EPYC", "epyc"),
        ("Intel(R) Xeon(R) Platinum 8480C", "xeon"),
        ("x86_64", "x86_64"),
    ],
)
def test_a_recording_is_named_by_its_gpu_and_the_next_free_number(tmp_path, monkeypatch, machine, name):
    committed = tmp_path / "committed"
    committed.mkdir()
    monkeypatch.setattr(command, "committed_set", lambda: committed)
    assert next_recording(tmp_path / "new", machine) == tmp_path / "new" / f"{name}-1.jsonl"
    (committed / f"{name}-1.jsonl").touch()
    (tmp_path / f"{name}-2.jsonl").touch()
    assert next_recording(tmp_path, machine).name == f"{name}-3.jsonl"


# the time of a run


class Work:
    """A clock on which an item takes its timing, and more beside."""

    def __init__(self, beside):
        self.now, self.beside = 100.0, beside

    def run(self, weights, seconds):
        pace, budgets = Pace(weights, seconds, clock=lambda: self.now), []
        for at, weight in enumerate(weights):
            budgets.append(pace.next())
            self.now += budgets[-1] * weight + self.beside(at)
        return budgets


def test_without_anything_beside_a_time_is_shared_out_by_weight():
    assert Work(lambda at: 0).run([1, 2, 1], 40) == pytest.approx([10, 10, 10])


@pytest.mark.parametrize(
    "beside", [lambda at: 2.0, lambda at: 6.0 if at < 5 else 1.0, lambda at: 3.0 if at % 2 else 0.5]
)
def test_what_items_take_beside_their_timing_is_learnt(beside):
    weights, work = [1.5] * 4 + [1, 2, 3] * 10, Work(beside)
    budgets = work.run(weights, 165)
    assert 140 <= work.now - 100 <= 175 and min(budgets) >= 0.1


def test_a_run_that_is_late_still_times_everything_a_little():
    work = Work(lambda at: 50.0)
    assert set(work.run([1] * 5, 60)[2:]) == {0.1}


# what a run holds


def test_the_evidence_has_every_plan_and_leaves_out_what_no_question_asks():
    names = {case.name for case in select(EVIDENCE)}
    assert set(PLANS.values()) <= names and not any(name.startswith("exposed") for name in names)
    assert len(names) < 35


FEW = ("record-4", "record-8", "decode-steps-1", "target_verify-steps-4", "draft_extend-steps-4", "flashmla-dense-*")


def record_evidence(folder):
    arguments = ["bench", "--device", "cpu", "--evidence", str(folder), "--seconds", "1", "--anyway"]
    return main([*arguments, "--strategy", "eager,copy,foreach"])


@pytest.mark.soak
def test_a_whole_run_for_the_evidence_has_no_failure(tmp_path):
    assert record_evidence(tmp_path) == 0
    (machine,) = load(tmp_path)
    assert all(machine.has(case.name, "copy") for case in select(EVIDENCE))


def test_one_command_records_a_run_that_answers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "EVIDENCE", FEW)
    folder, status = tmp_path, record_evidence(tmp_path)
    (path,) = folder.iterdir()
    assert status == 0 and path.name.endswith("-1.jsonl")
    (machine,) = load(folder)
    assert {"strategy", "part", "floor", "bandwidth", "fact", "plan", "copy"} == {r["kind"] for r in machine.rows}
    verdicts = {r.claim.id: r.verdict for r in claims.ledger(machine)}
    assert verdicts["P5"] == verdicts["C1"] == verdicts["C5"] == verdicts["B6"] == claims.HELD
    assert main(["decide", "--recording", str(folder), "--decode-step-us", "20000"]) == 0
    printed = capsys.readouterr().out
    assert sum(line.startswith("Verdict: ") for line in printed.splitlines()) == 1


# the floors, on a CPU that stands in for a GPU


class Graph:
    """Records nothing; replays one addition, as the graph of one node would."""

    def __init__(self):
        self.counter = None

    def replay(self):
        self.counter.add_(1)


@pytest.fixture
def stand_in(monkeypatch):
    graphs, launched = [], []

    def record(graph):
        graphs.append(graph)
        return nullcontext()

    class Compiled:
        def __getitem__(self, grid):
            return lambda *arguments: launched.append(grid)

    class Kernel:
        def __getitem__(self, grid):
            return lambda *arguments, num_warps: launched.append((grid, num_warps)) or Compiled()

    from nsa_core.kernels import empty

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    monkeypatch.setattr(empty, "nothing", Kernel())
    return launched


def test_an_empty_kernel_is_launched_past_the_look_up_and_the_ordinary_way(stand_in):
    compiled, ordinary = floors._empty_launches(CPU)
    assert (compiled.name, ordinary.name) == (floors.COMPILED_LAUNCH, floors.EMPTY_LAUNCH)
    assert stand_in == [((1,), 1)]  # compiled once
    compiled.call()
    assert stand_in[1:] == [(1, 1, 1)]
    ordinary.call()
    assert stand_in[2:] == [((1,), 1)]


def test_the_reference_is_a_copy_a_graph_and_a_launch_and_keeps_what_they_write_alive(stand_in, monkeypatch):
    made = []
    graph = floors._one_node_graph(CPU)
    graph_of = graph.call.__self__
    graph_of.counter = torch.zeros(1, dtype=torch.int32)
    monkeypatch.setattr(
        floors, "launches", lambda device: iter([floors._tiny_copy(CPU), graph, *floors._empty_launches(CPU)])
    )
    reference = floors.reference(CPU)
    made.extend(reference.__closure__[0].cell_contents)
    before, launched = int(graph_of.counter), len(stand_in)
    reference()
    assert int(graph_of.counter) == before + 1 and stand_in[launched:] == [(1, 1, 1)]
    assert graph in made and [c.name for c in made] == [
        floors.TINY_COPY,
        floors.ONE_NODE_GRAPH,
        floors.COMPILED_LAUNCH,
    ]


def test_a_cpu_has_one_copy_for_a_reference():
    assert [candidate.name for candidate in floors.launches(CPU)] == [floors.TINY_COPY]
    floors.reference(CPU)()


def test_copies_and_fills_say_what_they_move():
    moved = {candidate.name: size for candidate, size in floors.bandwidths(CPU)}
    assert moved == {"copy of 32 MiB": 2 * 2**25, "fill of 32 MiB": 2**25}


@pytest.mark.parametrize(
    "name, paths, us",
    [
        ("copy", {"copy_": 24}, 24 * 8),
        ("batched", {"launch": 4, "triton": 16, "copy_": 8}, 4 * 5 + 8 * 8),
        ("foreach", {"foreach_copy_": 1}, 10),  # its bytes
        ("fused", {"launch": 1}, 5),
        ("graph", {"graph": 1}, 4),
        ("shared", {"copy_": 6}, 6 * 8),
        ("shared+graph", {"graph": 1}, 3),
        ("eager", {}, 20),
    ],
)
def test_a_bound_is_the_calls_at_their_cheapest_or_the_bytes(name, paths, us):
    prices = {floors.TINY_COPY: 8.0, floors.COMPILED_LAUNCH: 5.0, floors.ONE_NODE_GRAPH: 3.0}
    moved = {"bytes_generate": 4000, "bytes_share": 1000, "bytes_copy": 10_000, "bytes_recompute": 20_000}
    assert floors.bound({"name": name, "paths": paths} | moved, prices, lambda size: 1000.0) == us
    assert floors.bound({"name": name, "paths": paths}, {}, lambda size: None) is None


def test_a_size_that_no_copy_was_as_small_as_has_no_rate():
    rows = [{"kind": "bandwidth", "bytes": size, "gb_per_s": rate} for size, rate in ((1000, 2.0), (4000, 3.0))]
    assert [bandwidth(rows, moved) for moved in (999, 1000, 10**9)] == [None, 3000, 3000]
