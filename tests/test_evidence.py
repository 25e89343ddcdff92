"""Does a set of runs give one answer to one question, from comparisons that are made inside a run and a phase?"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from bench_rows import AS_ON_AN_H200, CONDITIONS, recording

from nsa_core.__main__ import main
from nsa_core.lab.bench import evidence as sets
from nsa_core.lab.bench import timer
from nsa_core.lab.bench.evidence import (
    PLANS,
    RECORD_CASES,
    STEPS_CASES,
    Evidence,
    NotMeasured,
    committed,
    committed_set,
    load,
    slow_cases,
    whole,
)
from nsa_core.lab.bench.report import beside_floors, bound_of
from nsa_core.lab.bench.run import columns
from nsa_core.lab.bench.stats import Spread
from nsa_core.lab.bench.timer import Admitted, Candidate, Timer
from nsa_core.lab.decision import claims, decide
from nsa_core.lab.explore import said

ROOT = Path(__file__).resolve().parents[1]
CASE = "record-4"


def timed(name, loops, references=None, kind="strategy", **more):
    """A row with its rounds."""
    references = references or [20.0] * len(loops)
    row = CONDITIONS | {"case": CASE, "kind": kind, "name": name, "strategy": name}
    for column, values in (("loop_us", loops), ("reference_us", references)):
        ordered = sorted(values)
        row |= {column: ordered[len(values) // 2], f"{column}_rounds": values}
        row |= {f"{column}_q1": ordered[0], f"{column}_q3": ordered[-1], f"{column}_n": len(values)}
    return row | more


def run(copy, graph, *more, **conditions):
    rows = [timed("copy", copy), timed("graph", graph), *more]
    return [row | conditions for row in rows]


# one run


def test_a_ratio_is_formed_round_by_round():
    drifting = Evidence(run([100, 200, 300, 400], [10, 20, 30, 40]))
    assert drifting.faster(CASE, "graph") == Spread(10, 10, 10, 4)
    assert drifting.loop(CASE, "copy").high / drifting.loop(CASE, "graph").low == 40  # what quartiles would allow


def test_rounds_of_different_phases_are_left_out():
    copy = timed("copy", [100, 100, 100, 200, 100], [20, 20, 20, 40, 20])
    evidence = Evidence([copy, timed("graph", [10] * 5)])
    assert evidence.faster(CASE, "graph") == Spread(10, 10, 10, 4)


@pytest.mark.parametrize("apart, refused", [(1.19, False), (1.21, True)])
def test_rows_of_different_phases_are_not_compared(apart, refused):
    evidence = Evidence([timed("copy", [100] * 9, [20 * apart] * 9), timed("graph", [10] * 9)])
    if refused:
        with pytest.raises(
            NotMeasured, match=r"record-4, copy and graph were timed in different phases .* 24.2 and 20"
        ):
            evidence.faster(CASE, "graph")
    else:
        assert evidence.faster(CASE, "graph").median == 10


def test_the_copies_share_is_what_computing_once_leaves():
    compute = timed("precompute only", [40, 30, 35, 45, 41], kind="part", strategy=None)
    share = Evidence([*run([100] * 5, [10] * 5), compute]).copy_share(CASE)
    assert share == Spread(0.6, pytest.approx(0.59), pytest.approx(0.65), 5)


def test_a_share_is_at_least_none_of_it():
    compute = timed("precompute only", [120, 100, 130, 90, 99], kind="part", strategy=None)
    share = Evidence([*run([100] * 5, [10] * 5), compute]).copy_share(CASE)
    assert (share.low, share.median) == (0, 0) and share.high == pytest.approx(0.01)


def test_a_case_timed_again_counts_by_its_faster_take():
    slow, fast = run([150] * 5, [15] * 5), run([100] * 5, [10] * 5, take=2)
    slow = [row | {"reference_us": 40} for row in slow]
    for rows in (slow + fast, fast + slow):
        assert Evidence(rows).loop(CASE, "copy").median == 100 and len(Evidence(rows).rows) == 2


@pytest.mark.parametrize(
    "case, device_us, warm, expected",
    [(CASE, 3, None, 5), (CASE, 9, None, 9), (CASE, 3, True, 8), ("seven-copies", 3, None, 8)],
)
def test_blocks_that_began_with_a_cold_call_are_read_by_the_longer_of_cpu_and_gpu(case, device_us, warm, expected):
    times = {
        f"{name}{end}": us for name, us in (("host_us", 5), ("device_us", device_us)) for end in ("", "_q1", "_q3")
    }
    rows = [timed("copy", [8] * 3) | times | {"host_us_n": 9, "device_us_n": 5, "case": case, "warm_loops": warm}]
    assert Evidence(rows).loop(case, "copy").median == expected


def test_cases_of_a_slow_phase_are_named():
    rows = [{"case": f"case {us}", "reference_us": us} for us in (20, 21, 22, 23, 26, 40)]
    assert slow_cases(rows) == ["case 26", "case 40"] and slow_cases([]) == []


def test_a_recording_without_rounds_is_compared_by_its_quartiles():
    assert Evidence(recording(AS_ON_AN_H200)).faster(CASE, "graph").count == 9


# several runs


def test_a_time_is_the_median_of_the_runs_and_their_range():
    evidence = Evidence(*(run([us] * 3, [us / 10] * 3) for us in (500, 900, 600)))
    assert evidence.loop(CASE, "copy") == Spread(600, 500, 900, 3)


@pytest.mark.parametrize("pace, expected", [(1.19, Spread(600, 500, 900, 3)), (1.21, Spread(550, 500, 600, 2))])
def test_a_time_is_of_the_runs_in_which_the_machine_was_not_slow(pace, expected):
    runs = [run([us] * 3, [us / 10] * 3) for us in (500, 900, 600)]
    runs[1] = [row | {"reference_us": row["reference_us"] * pace} for row in runs[1]]
    assert Evidence(*runs).loop(CASE, "copy") == expected
    assert Evidence(*runs).faster(CASE, "graph").count == 3  # of every run: both sides were as slow


def test_a_ratio_is_the_median_of_the_runs_whose_times_count_and_the_range_of_all():
    runs = [run([us] * 3, [10] * 3) for us in (500, 900, 600)]
    runs[1] = [row | {"reference_us": row["reference_us"] * 1.3} for row in runs[1]]
    assert Evidence(*runs).faster(CASE, "graph") == Spread(55, 50, 90, 3)


def test_a_ratio_is_formed_inside_each_run():
    evidence = Evidence(*(run([copy] * 3, [graph] * 3) for copy, graph in ((500, 5), (1000, 10), (600, 5))))
    assert evidence.faster(CASE, "graph") == Spread(100, 100, 120, 3)  # medians over runs would say 600 / 5


def test_a_run_that_cannot_answer_leaves_it_to_the_others():
    slow = run([100] * 3, [10] * 3)
    slow[0] = timed("copy", [100] * 3, [40] * 3)
    evidence = Evidence(slow, run([100] * 3, [5] * 3), run([100] * 3, [4] * 3))
    assert evidence.faster(CASE, "graph") == Spread(22.5, 20, 25, 2)
    with pytest.raises(NotMeasured, match="different phases"):
        Evidence(slow, slow).faster(CASE, "graph")


def test_what_is_no_measurement_is_taken_as_it_is_and_device_times_are_summarised():
    rows = [run([100] * 3, [10] * 3, timed("eager", [9] * 3, device_us=us, device_ops=64.0)) for us in (3, 5, 4)]
    row = Evidence(*rows).row(CASE, "eager")
    assert (row["device_us"], row["device_ops"], row["machine"]) == (4, 64.0, "A GPU")
    assert "loop_us_rounds" not in row


def test_conditions_name_hosts_and_days_once_and_what_is_lacking():
    one = {"cpu": "A CPU", "date": "2026-01-01T00:00:00+00:00", "host": "a"}
    two = {"cpu": "B CPU", "date": "2026-01-03T00:00:00+00:00", "host": "b"}
    runs = [run([1] * 3, [1] * 3, **conditions) for conditions in (one, one, two)]
    conditions = Evidence(*runs).conditions
    assert conditions.startswith("A GPU, 3 runs, A CPU / B CPU, driver 1, torch 2, ")
    assert conditions.endswith("2026-01-01 to 2026-01-03")
    assert Evidence(*runs).brief == "A GPU, 3 runs, 2026-01-01 to 2026-01-03"
    assert Evidence(*runs[:2]).conditions.endswith("provisional: 3 runs on 2 hosts or days are wanted")
    assert Evidence(*runs[:1] * 3).lacks != ""


def test_a_busy_run_says_so():
    runs = [run([1], [1]), run([1], [1], busy="load average 9.0 on 2 cores")]
    assert "busy: no / load average 9.0 on 2 cores" in Evidence(*runs).conditions


def test_the_drift_of_a_run_is_that_of_its_references():
    evidence = Evidence(run([1] * 3, [1] * 3, timed("eager", [1] * 3, [30] * 3, case="slow")))
    assert evidence.drift == [(1.5, "slow")]
    assert [line["x reference"] for line in beside_floors(with_columns(evidence.rows))] == [1, 1, 1.5]


def with_columns(rows):
    return [dict.fromkeys(("host_us", "latency_us", "device_us", "device_ops")) | row for row in rows]


# sets


def written(folder, **files):
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_set_is_a_folder_and_answers_by_machine_the_quoted_one_first(tmp_path):
    one, other = {"machine": "A GPU", "run": "1"}, {"machine": sets.QUOTED, "run": "2"}
    again = {"machine": "A GPU", "run": "3"}
    rows = {name: run([1], [1], **conditions) for name, conditions in (("a-1", one), ("b-1", other), ("a-2", again))}
    assert [(m.machine, len(m.runs)) for m in load(written(tmp_path, **rows))] == [(sets.QUOTED, 1), ("A GPU", 2)]


def test_two_runs_in_one_file_are_two_runs(tmp_path):
    rows = run([1], [1], run="1") + run([3], [1], run="2")
    (machine,) = load(written(tmp_path, a=rows) / "a.jsonl")
    assert machine.loop(CASE, "copy") == Spread(2, 1, 3, 2)


def test_the_committed_set_is_complete_or_says_that_it_is_not():
    for machine in load(sets.committed_set()):
        assert not machine.lacks or machine.lacks in machine.conditions
        assert all(machine.has(case, "copy") for case in PLANS.values())


@pytest.mark.parametrize("machine", load(sets.committed_set()), ids=lambda machine: machine.machine)
def test_no_strategy_is_faster_than_what_bounds_it(machine):
    """With the spread of the recording: the least that a floor took, and the most that the replay did."""
    checked = 0
    for one in machine.runs:
        floors = [row | {"loop_us": row["loop_us_q1"]} for row in one.rows if row["kind"] == "floor"]
        others = [row for row in one.rows if row["kind"] == "bandwidth"]
        for row in one.all(kind="strategy"):
            least = bound_of(row, [*floors, *others])
            assert least is None or least <= row["loop_us_q3"], (row["case"], row["name"], least)
            checked += least is not None
    assert checked > 300


# one answer


def test_every_figure_that_is_told_twice_is_told_alike():
    """Sentences, the decision and the ledger; notebooks' outputs come from the same calls, and are re-executed."""
    e, ledger = committed(), {r.claim.id: r.number for r in claims.ledger(committed())}
    for n in RECORD_CASES:
        decided = decide(e, n)
        share, before, after = f"{said.share(n):.0%}", f"{said.us(n, 'eager'):.4g} us", f"{said.us(n, 'copy'):.4g} us"
        assert decided.judgement.criteria[0].reason.startswith(share)
        assert all(re.search(rf"{share}( \(\S+\))? at {n} steps", ledger[claim]) for claim in ("C6", "D2"))
        (row,) = (row for row in decided.by_steps if row["steps"] == n)
        (modelled,) = (row for row in decided.model_rows if row["steps"] == n)
        assert row["copies"] == decided.judgement.criteria[0].reason
        assert f"{modelled['measured share']:.0%}" == share
        numbers = ledger["P1" if n == 4 else "P2"]
        assert before in numbers and after in numbers and f"{row['copy us']:.4g} us" == after
        gain = f"{said.times(n, 'eager', 'copy'):.3g}x"
        assert gain in numbers and gain in ledger["D3"] and f"{modelled['measured']:.3g}x" == gain
        for alternative in decided.judgement.alternatives:
            assert f"{alternative.faster.median:.3g}" == f"{said.times(n, 'copy', alternative.name):.3g}"
        batched = f"{said.times(n, 'copy', 'batched'):.3g}x"
        assert batched in ledger["B3"] and batched in ledger["D1"]
    graph = f"{said.times(4, 'copy', 'graph'):.3g}x"
    assert graph in ledger["A3"] and graph in decide(e).verdict.line


SHARE = re.compile(r"(\d+)%(?: \(\d+%\.\.\d+%\))? at (\d+) steps")


def test_the_shares_that_notebooks_and_commands_print_are_the_sets_and_none_is_above_all(capsys):
    texts = {path.name: outputs(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    for words in (["decide"], ["decide", "--claims"], ["decide", "--steps", "8"]):
        assert main(words) == 0
        texts[" ".join(words)] = capsys.readouterr().out
    lines = [
        line for text in texts.values() for line in text.splitlines() if re.search(r"[Cc]opies (take|above)", line)
    ]
    found = {(int(n), int(share)) for line in lines for share, n in SHARE.findall(line)}
    assert found and found <= {
        (n, round(100 * machine.copy_share(case).median))
        for machine in load(committed_set())
        for n, case in STEPS_CASES.items()
    }
    assert not [line for line in lines if any(int(share) > 100 for share in re.findall(r"(\d+)%", line))]


def outputs(path):
    cells = json.loads(path.read_text())["cells"]
    stored = [output for cell in cells for output in cell.get("outputs", [])]
    return "\n".join("".join(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in stored)


@pytest.mark.parametrize("words", [["decide"], ["decide", "--claims"]], ids=" ".join)
def test_an_installed_package_answers_as_the_checkout_does(words, tmp_path):
    """Laid out as the wheel lays it out, with what `force-include` puts into it."""
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    shutil.copytree(ROOT / "nsa_core", tmp_path / "nsa_core", ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in included["force-include"].items():
        shutil.copytree(ROOT / source, tmp_path / target)
    printed = [
        subprocess.run(
            [sys.executable, "-m", "nsa_core", *words],
            cwd=place,
            env=os.environ | {"PYTHONPATH": str(place)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for place in (ROOT, tmp_path)
    ]
    assert printed[0] == printed[1] != ""


# a slow phase, deliberately


class Phases:
    """A clock on which everything takes twice as long between two of its moments. Nanoseconds."""

    def __init__(self, begin, end):
        self.now, self.begin, self.end = 0, begin, end

    def clock(self):
        return self.now

    def drain(self):
        """Nothing to wait for."""

    def profile(self, calls, repeats):
        return None

    def call(self, us):
        def work():
            self.now += round(us * 1e3 * (2 if self.begin <= self.now < self.end else 1))

        return work

    def rows(self, **candidates):
        turns = Timer(self, clock=self.clock, reference=self.call(20), budget_s=0.05)
        admitted = [Admitted(Candidate(name, self.call(us), None), us * 1e3) for name, us in candidates.items()]
        timings = turns.measure(admitted)
        label = CONDITIONS | {"case": CASE, "kind": "strategy"}
        return [label | {"name": name} | columns(timings[name], {}) for name in candidates]


def test_a_slow_phase_of_a_whole_row_is_caught_by_its_references():
    (copy,), (graph,) = Phases(0, 10**12).rows(copy=300), Phases(0, 0).rows(graph=10)
    assert copy["reference_us"] == 40 and copy["loop_us"] == 600 and graph["reference_us"] == 20
    with pytest.raises(NotMeasured, match="different phases of the machine"):
        Evidence([copy, graph]).faster(CASE, "graph")


def test_a_slow_phase_in_the_middle_changes_no_ratio():
    total = Phases(0, 0)
    total.rows(copy=300, graph=10)
    begin = total.now // 3
    phases = Phases(begin, 2 * begin)
    evidence = Evidence(phases.rows(copy=300, graph=10))
    assert {20, 40} <= {round(us) for us in evidence.row(CASE, "copy")["reference_us_rounds"]}
    assert evidence.faster(CASE, "graph").median == pytest.approx(30, rel=0.01)
    assert evidence.drift[0][0] >= 1


BURN = "import os; os.sched_setaffinity(0, {%d}); print(flush=True)\nwhile True: pass"


@pytest.mark.soak
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs to pin processes to a CPU")
def test_a_process_that_burns_the_same_cpu_is_seen_by_the_references(monkeypatch):
    """A scheduler lets each run for milliseconds: a block of the reference has to be as long, or most miss it."""
    from nsa_core.lab.bench.device import Host
    from nsa_core.lab.bench.floors import reference

    monkeypatch.setattr(timer, "REFERENCE_NS", 8_000_000)
    allowed = os.sched_getaffinity(0)
    cpu, burning = min(allowed), []
    turns = Timer(Host(), budget_s=2, rounds=30, reference=reference(torch.device("cpu")))
    try:
        os.sched_setaffinity(0, {cpu})
        work = Admitted(Candidate("copy", lambda: torch.arange(20_000).sum(), None), 2e4)
        quiet = turns.measure([work])["copy"]
        for _ in range(6):
            process = subprocess.Popen([sys.executable, "-c", BURN % cpu], stdout=subprocess.PIPE)
            burning.append(process)
            process.stdout.readline()
        loud = turns.measure([work])["copy"]
    finally:
        for process in burning:
            process.kill()
            process.wait()
            process.stdout.close()
        os.sched_setaffinity(0, allowed)
    label = CONDITIONS | {"case": CASE, "kind": "strategy"}
    rows = [label | {"name": name} | columns(timing, {}) for name, timing in (("copy", loud), ("graph", quiet))]
    kept = [max(pair) <= sets.SAME_PHASE * min(pair) for pair in zip(loud.references, quiet.references, strict=True)]
    assert sum(kept) < 15, (loud.references, quiet.references)
    assert max(loud.references) > 1.5 * min(quiet.references)
    assert Evidence(rows).row(CASE, "copy")["reference_us"] > 1.2 * Evidence(rows).row(CASE, "graph")["reference_us"]


def test_a_query_names_columns():
    assert whole("graph") == {"kind": "strategy", "name": "graph"}
