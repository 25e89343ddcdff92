"""Do the decision's tables and sentences say what the rule says, and the pictures beside them the same?"""

import bench_rows
import pytest
import torch

import nsa_core as nsa
from nsa_core.lab.bench import BenchCase
from nsa_core.lab.bench.bytes_moved import BytesMoved
from nsa_core.lab.bench.evidence import STEPS_CASES, Evidence, committed, committed_set, load
from nsa_core.lab.decision import decide
from nsa_core.lab.decision import times as model
from nsa_core.lab.decision.criteria import EXACT
from nsa_core.lab.decision.decision import measured_alternatives
from nsa_core.lab.explore import decisions, said
from nsa_core.lab.explore.exposure_chart import FILLED, NAMED, exposure_chart
from nsa_core.lab.explore.pictures import cheapest_way, when_copies_pay
from nsa_core.metadata import memory

FORMS = [name for name in nsa.strategies("cpu") if name.startswith("batched")]
MACHINES = load(committed_set())
every_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.machine)


@pytest.fixture(scope="module")
def run():
    return committed()


@every_machine
def test_the_table_acts_where_the_rule_acts(machine):
    for row in decisions.what_to_do(machine, steps=STEPS_CASES, round_ms=(2, 8, 30)):
        verdict = decide(machine, row["draft steps"], row["round"] * 1e3).verdict
        assert verdict.acts is (row["what to do"] not in (decisions.LEAVE, decisions.KEEP))


@every_machine
def test_the_table_and_the_map_say_the_same(machine):
    costs = when_copies_pay.calculator_data([machine])["presets"][0]
    for row in decisions.what_to_do(machine):
        state = costs | {"steps": row["draft steps"], "step_ms": row["round"]}
        assert when_copies_pay.judged(state)[1] == row["what to do"], row


@every_machine
def test_the_table_of_rounds_has_every_verdict(machine):
    table = {row.pop("draft steps"): row for row in decisions.by_round(machine)}
    for row in decisions.what_to_do(machine):
        said = table[row["draft steps"]][f"round of {row['round']} ms"]
        assert said == f"{row['what to do']} ({row['of the round']:.1%})"


@every_machine
def test_the_strategies_beside_copy_are_those_that_were_timed(machine):
    copy, graph = (decisions.beside_copy(machine)[at] for at in (1, 4))
    assert (copy["strategy"], copy["times as fast as copy"]) == ("copy", 1)
    assert graph["in the worst run"] == machine.faster(STEPS_CASES[4], "graph").low > 1.25


def test_a_short_round_asks_for_one_launch_and_a_long_one_for_nothing():
    machine = Evidence(bench_rows.recording(bench_rows.AS_ON_AN_H200))
    assert decisions.to_do(machine, 4, 1).startswith("one launch (")
    assert decisions.to_do(machine, 4, 1000).startswith("leave it (")


@every_machine
def test_the_best_batched_form_of_a_plan_is_the_fastest_of_them(machine):
    for best, case in zip(decisions.best_batched(machine), decisions.PLANS.values(), strict=True):
        forms = [way for way in measured_alternatives(machine, case) if way.name in FORMS]
        assert best.faster.median == max(way.faster.median for way in forms)


def test_the_best_exact_way_keeps_the_exact_contract(run):
    assert decisions.best(run, 4, EXACT).contract == EXACT


@pytest.mark.parametrize("bs, width", [(1, 64), (3, 100)])
def test_a_set_is_counted_as_if_it_were_allocated(bs, width):
    table = torch.zeros(bs + 1, width, dtype=torch.int32)
    allocated = nsa.MultiStepBackend(nsa.NSAConfig(), table, 1).capture(bs, nsa.ForwardMode.DECODE)
    assert said.set_gb(bs, width) * 1e9 == memory(allocated).held


def test_every_named_dot_is_on_the_chart():
    assert len(exposure_chart().lines) == len(NAMED) * len(FILLED) + 1


# the model of the map


@every_machine
def test_the_model_is_bound_by_the_launch_or_by_bytes(machine):
    times = model.fitted(machine)
    assert times.graph(0) == times.launch and times.copy(4, 0) == times.copies.copied(4)
    assert times.graph(10**9) - times.graph(10**9 // 2) == pytest.approx(10**9 / 2 / times.per_us)


def test_the_model_is_right_in_the_middle():
    assert said.model_errors()[len(said.model_errors()) // 2] < 0.1


@every_machine
def test_copies_are_nowhere_the_cheapest_on_the_map(machine):
    data = cheapest_way.map_data(machine)
    won = {cheapest_way.winner(data, n, t, []) for n in range(1, data["mostSteps"] + 1) for t in data["tokens"]}
    assert won == {"graph", "shared+graph"}


def test_one_set_wins_the_sooner_the_more_steps(run):
    borders = [model.one_set_wins_from(run, steps) for steps in (2, 4, 8, 16)]
    assert borders == sorted(borders, reverse=True) and borders[0] > borders[-1]
    with pytest.raises(ValueError, match="1 steps"):
        model.one_set_wins_from(run, 1)


def test_with_one_step_sharing_changes_nothing(run):
    found = model.fitted(run).by_way(1, model.moved_by(BenchCase("one", bs=4, lengths=4096, steps=1)))
    assert found["graph"] == found["shared+graph"]


def test_bytes_scale_with_tokens():
    assert model.scaled(BytesMoved(10, 6, 20, 40), 2.5) == BytesMoved(25, 15, 50, 100)
    one, many = (model.moved_by(BenchCase("c", bs=bs, lengths=1024)) for bs in (1, 64))
    assert model.scaled(one, 64).generate == pytest.approx(many.generate, rel=0.01)
