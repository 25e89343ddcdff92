"""Does a run refuse what is wrong, go on after a failure, and print and record what it measured?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bench_rows import AS_ON_AN_H200, recording

import nsa_core as nsa
from nsa_core.lab.bench import Bench, beside_floors, read, report, select
from nsa_core.lab.bench.cases import BenchCase, build
from nsa_core.lab.bench.run import not_timed
from nsa_core.strategies import REGISTRY
from nsa_core.strategies.base import Captured, Refused
from nsa_core.strategies.copy import Copy
from nsa_core.strategies.foreach import Foreach

TINY = BenchCase("tiny", bs=2, lengths=130, steps=2, parts=True)


class OneWrongCell(Copy):
    """Copies everything, then damages a cell of step 1."""

    name = "one-wrong-cell"

    def execute(self, plans):
        done = super().execute(plans)
        self.captured.sets[-1].page_table_1[1, 7] += 1
        return done


class Breaks(Copy):
    name = "breaks"

    def replay(self, batch, extent):
        raise IndexError("bs 2 broke")


class Declines(Foreach):
    name = "declines"

    def __init__(self, captured):
        raise Refused("page_size=64: strategy 'declines' takes 1 only")


class CannotBeBound(Foreach):
    name = "cannot-be-bound"

    def __init__(self, captured):
        raise ValueError("bs 2 broke")


def rows_of(monkeypatch, *classes, case=TINY, **options):
    for cls in classes:
        monkeypatch.setitem(REGISTRY, cls.name, cls)
    rows = []
    run = Bench(torch.device("cpu"), rows.extend, budget_s=0.01, **options)
    run.case(case)
    return run, rows


def of(rows, kind, name):
    return [row for row in rows if row["kind"] == kind and row["name"] == name]


def test_a_strategy_that_writes_one_wrong_cell_is_refused_before_it_is_timed(monkeypatch):
    run, rows = rows_of(monkeypatch, OneWrongCell)
    assert not of(rows, "strategy", "one-wrong-cell")
    (row,) = of(rows, "error", "one-wrong-cell")
    assert "WrongResult" in row["reason"] and "step 1: page_table_1[1, 7] is " in row["reason"]
    assert len(run.failures) >= 1
    assert of(rows, "strategy", "copy")[0]["loop_us"] > 0  # the others are still measured


def test_a_strategy_that_raises_is_a_row_and_the_run_goes_on(monkeypatch):
    run, rows = rows_of(monkeypatch, Breaks)
    assert of(rows, "error", "breaks")[0]["reason"] == "IndexError: bs 2 broke"
    assert of(rows, "strategy", "eager") and run.failures == ["tiny breaks: IndexError: bs 2 broke"]


def test_a_strategy_that_declines_the_configuration_is_no_failure(monkeypatch):
    case = BenchCase("whole replays only", bs=2, lengths=9, steps=2)
    run, rows = rows_of(monkeypatch, Declines, strategies=["copy", "declines"], case=case)
    assert of(rows, "refused", "declines")[0]["reason"].startswith("page_size=64")
    assert run.failures == []


def test_a_constructor_that_fails_otherwise_is_a_failure(monkeypatch):
    case = BenchCase("whole replays only", bs=2, lengths=9, steps=2)
    run, rows = rows_of(monkeypatch, CannotBeBound, strategies=["copy", "cannot-be-bound"], case=case)
    assert of(rows, "error", "cannot-be-bound")[0]["reason"] == "ValueError: bs 2 broke"
    assert run.failures == ["whole replays only cannot-be-bound: ValueError: bs 2 broke"]


def test_every_declined_configuration_is_a_refusal_by_type():
    dense = BenchCase("dense", bs=2, lengths=9, steps=2, flashmla="dense")
    inputs = build(dense, torch.device("cpu"))
    sets = nsa.MultiStepBackend(dense.config, inputs.req_to_token, 2).capture(2, dense.mode)
    captured = Captured(dense.config, inputs.req_to_token, dense.mode, 2, sets)
    for name, reason in (("fused", "flashmla_dense=True"), ("shared", "sharing needs one for all steps")):
        with pytest.raises(Refused, match=reason):
            REGISTRY[name](captured)


def test_an_interrupt_is_not_swallowed(monkeypatch):
    class Interrupted(Copy):
        name = "interrupted"

        def replay(self, batch, extent):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows_of(monkeypatch, Interrupted)


def test_every_row_carries_its_conditions(monkeypatch):
    _, rows = rows_of(monkeypatch)
    of_all = {"case", "machine", "device", "gpu", "driver", "torch", "triton", "python", "commit", "dirty", "date"}
    of_timed = {"mode", "bs", "lengths", "steps", "page_size", "bytes_generate", "loop_us_q1", "loop_us_n"}
    assert all(of_all <= row.keys() for row in rows)
    for row in report.timed(rows):
        assert of_timed <= row.keys()
        assert row["device_us"] is None and row["latency_us"] is None  # a CPU
    assert json.loads(json.dumps(rows)) == rows


def test_parts_are_measured_beside_the_strategies(monkeypatch):
    _, rows = rows_of(monkeypatch, strategies=["eager", "copy", "foreach"])
    parts = {(row["name"], row["strategy"]) for row in rows if row["kind"] == "part"}
    copies = {(f"copies of {n}", name) for n in ("1 step", "N steps") for name in ("copy", "foreach")}
    assert parts == {("precompute only", None), ("one copy_", "copy")} | copies


def test_the_plan_row_counts_copies_and_which_are_contiguous(monkeypatch):
    _, rows = rows_of(monkeypatch)
    (plan,) = of(rows, "plan", "copies of 1 step")
    assert (plan["copies"], plan["contiguous_copies"]) == (6, 4)


def test_unknown_and_untimable_strategies_are_refused_by_name():
    with pytest.raises(ValueError, match="strategy 'cpoy' is not known; choose from eager, copy"):
        Bench(torch.device("cpu"), list, strategies=["cpoy"])
    with pytest.raises(ValueError, match="strategy 'fused' cannot be timed on cpu"):
        Bench(torch.device("cpu"), list, strategies=["fused"])


def test_an_interpreted_kernel_is_never_timed():
    reasons = {name: not_timed(info, torch.device("cpu")) for name, info in nsa.strategies("cpu").items()}
    assert {name for name, reason in reasons.items() if reason is None} == {"eager", "copy", "foreach", "shared"}


def bench(*arguments, **environment):
    command = [sys.executable, "-m", "nsa_core", *arguments]
    root = Path(nsa.__file__).parents[1]
    return subprocess.run(
        command,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "quick.jsonl"
    return path, bench("bench", "--quick", "--device", "cpu", "--budget", "0.001", "--anyway", "--record", str(path))


def test_the_quick_subset_runs_records_and_says_what_a_cpu_cannot_measure(quick):
    path, done = quick
    assert done.returncode == 0, done.stdout + done.stderr
    assert "On a CPU there are host times only" in done.stdout and " 0 failed" in done.stdout
    rows = read(path)
    assert {case.name for case in select(["record-*"])} <= {row["case"] for row in rows}
    assert {"strategy", "part", "floor", "bandwidth", "fact", "plan", "copy"} == {row["kind"] for row in rows}


def test_a_quick_recording_can_be_decided_and_turned_into_a_ledger(quick):
    path, _ = quick
    decided = bench("decide", "--recording", str(path), "--decode-step-us", "20000")
    assert decided.returncode == 0, decided.stderr
    assert sum(line.startswith("Verdict: ") for line in decided.stdout.splitlines()) == 1
    ledger = bench("decide", "--claims", "--recording", str(path)).stdout
    assert "P5  held" in ledger and "P1  not testable there" in ledger


def test_the_command_exits_with_1_after_a_failure(monkeypatch, capsys):
    import argparse

    from nsa_core.lab import bench as package

    monkeypatch.setitem(REGISTRY, Breaks.name, Breaks)
    parser = argparse.ArgumentParser()
    package.add_arguments(parser)
    arguments = ["--device", "cpu", "--case", "decode-bs-1", "--strategy", "copy,breaks", "--budget", "0.001"]
    assert package.main(parser.parse_args(arguments)) == 1
    assert "FAILED: decode-bs-1 breaks: IndexError" in capsys.readouterr().out


def test_the_list_names_cases_and_what_cannot_be_timed_here():
    printed = bench("bench", "--list", "--device", "cpu").stdout
    assert " * record-4: decode, bs 32" in printed and "fused: live prefix" in printed and "NOT TIMED HERE" in printed


def test_a_table_shows_a_row_beside_its_floors():
    lines = {(line["case"], line["what"]): line for line in beside_floors(recording(AS_ON_AN_H200))}
    graph = lines["record-4", "graph"]
    assert graph["copy/this"] == pytest.approx(471 / 4.7, rel=1e-3)
    assert graph["x bound"] == pytest.approx(4.7 / (600_000 / 4e6), rel=1e-3)  # no launch of it is on record


def test_a_table_aligns_its_columns_and_says_what_is_missing():
    lines = [{"name": "copy", "us": 1.5}, {"name": "x", "us": None}]
    assert report.text(lines) == "name  us\ncopy  1.5\nx     -"
    assert report.text([]) == "(no rows)"
