"""Do costs imply totals, a share and a verdict by the criteria that judge a measurement?"""

import bench_rows
import pytest

from nsa_core.lab.bench.evidence import Evidence, committed
from nsa_core.lab.decision import costs, decide
from nsa_core.lab.decision.costs import ONE_LAUNCH, Costs, answer, presets

COSTS = Costs(compute=100, copy=20, batched=30, launch=5)
TABLE = "the note: its table"


@pytest.fixture(scope="module")
def machines():
    return presets([committed()])


def test_totals_are_those_of_the_break_even_model():
    assert COSTS.totals(4) == {"eager": 480, "copy": 180, "batched": 220, ONE_LAUNCH: 5}


def test_a_launch_of_zero_is_no_option():
    assert ONE_LAUNCH not in Costs(100, 20, 30).totals(4)
    assert answer(Costs(100, 20, 30), 4).verdict.act == "keep the copies; nothing is 1.25x faster"


def test_the_share_is_of_the_kept_path():
    assert answer(COSTS, 4).share == pytest.approx(80 / 180)
    assert [answer(COSTS, n).criteria[0].met for n in (4, 5, 6)] == [False, False, True]  # 6 * 20 > 100


def test_batching_that_is_significantly_cheaper_upsets_the_revert():
    verdict = answer(Costs(100, 50, 10), 8, 1000).verdict
    assert not verdict.revert_stands and verdict.act.startswith("act: batched")
    assert answer(Costs(100, 50, 40), 8).verdict.revert_stands


def test_one_launch_is_no_way_to_copy():
    assert answer(COSTS, 4, 1000).verdict.line == "the revert stands; act: one launch, 36x as fast as the copies"


def test_a_long_decode_step_makes_the_replay_no_bottleneck():
    assert "no bottleneck" in answer(COSTS, 4, decode_step_us=10_000).verdict.act
    assert answer(COSTS, 4, decode_step_us=1000).criteria[1].met is True
    assert answer(COSTS, 4).criteria[1].met is None


def test_the_note_is_reproduced_from_its_own_totals():
    implied = costs.table()
    assert (implied.compute, implied.copy, implied.batched) == (175, 15, 11.25)
    assert [implied.totals(n)["copy"] for n in (4, 8)] == [235, 295]
    assert implied.totals(4)["batched"] == 220
    assert [round(answer(implied, n).share, 2) for n in (4, 8)] == [0.26, 0.41]
    assert [answer(implied, n).verdict.act for n in (4, 8)] == ["keep the copies; nothing is 1.25x faster"] * 2


def test_a_recorded_machine_gets_the_numbers_and_the_verdict_of_its_measurement():
    machine = Evidence(bench_rows.recording(bench_rows.AS_ON_AN_H200))
    found, judged = answer(costs.measured(machine, "graph"), 4), decide(machine).judgement
    assert [c.met for c in found.criteria] == [c.met for c in judged.criteria]
    assert found.totals["copy"] == pytest.approx(judged.copy.median)
    assert found.share == pytest.approx(machine.copy_share("record-4").median)
    assert (found.verdict.acts, found.verdict.revert_stands) == (judged.verdict.acts, judged.verdict.revert_stands)


def test_every_recorded_gpu_and_the_note_are_presets(machines):
    names = list(machines)
    assert names[0].endswith(", graph") and TABLE in names
    assert "NVIDIA H200, fused" in names


def test_a_machine_with_other_cases_is_passed_over():
    other = [row for row in bench_rows.recording(bench_rows.AS_ON_AN_H200) if row["case"] != "record-4"]
    assert all(name.startswith("the note: ") for name in presets([Evidence(other)]))
