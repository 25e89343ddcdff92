"""Do the criteria, the break-even model and the verdict follow from the numbers they are given?"""

import json

import pytest
from bench_rows import AS_ON_AN_H200, AS_RECORDED, recording, row

from nsa_core.__main__ import main
from nsa_core.lab import decision
from nsa_core.lab.bench.evidence import Evidence, NotMeasured
from nsa_core.lab.bench.stats import Spread, exactly
from nsa_core.lab.decision import criteria

EXACT = decision.BreakEven(compute_us=150, per_copy_us=10, copies=6)


def alternative(name, factor, contract="exact"):
    return decision.Alternative(name, contract, 10.0, factor if isinstance(factor, Spread) else exactly(factor))


def three(copies, bottleneck, better):
    return [
        decision.Criterion(name, met, f"why {name}")
        for name, met in zip("abc", (copies, bottleneck, better), strict=True)
    ]


@pytest.mark.parametrize("value, met", [(0.10, False), (0.5, False), (0.51, True)])
def test_the_copy_share_criterion_is_met_above_a_half(value, met):
    assert criteria.share_criterion(exactly(value)).met is met


def test_without_a_measured_share_the_criterion_is_not_known():
    assert criteria.share_criterion(None, "another phase") == decision.Criterion(
        "copies above 50% of the refresh", None, "another phase"
    )


@pytest.mark.parametrize("step_us, met", [(None, None), (10_000, True), (10_001, False), (500, True)])
def test_a_bottleneck_is_five_percent_of_the_decode_step_the_user_gives(step_us, met):
    assert criteria.bottleneck_criterion(500, step_us).met is met


def test_a_step_that_is_not_given_is_asked_for_with_the_length_that_decides():
    assert criteria.bottleneck_criterion(500, None).reason == "the round's length is not given; met up to 10 ms"


@pytest.mark.parametrize("step_us", [100, 499, 500])
def test_no_refresh_is_more_than_all_of_a_step(step_us):
    assert criteria.refresh_share(500, step_us) == 1
    assert "100.0%" in criteria.bottleneck_criterion(500, step_us).reason


def test_a_decode_step_of_no_length_is_refused():
    with pytest.raises(ValueError, match="decode_step_us must be a finite number above 0, got 0"):
        criteria.refresh_share(500, 0)


def test_the_model_is_exact_at_the_costs_it_is_made_of():
    assert EXACT.eager(4) == 4 * 210 and EXACT.copied(4) == 150 + 240
    assert EXACT.speed_up(4) == pytest.approx(840 / 390)
    assert EXACT.copy_share(4) == pytest.approx(240 / 390)
    assert EXACT.batched(4, 20) == 150 + 80
    assert EXACT.copy_share(EXACT.steps_to_half) == pytest.approx(0.5)
    assert EXACT.speed_up(10**9) == pytest.approx(EXACT.speed_up_limit)


def test_a_fit_to_the_models_own_totals_returns_its_costs_without_error():
    steps = (1, 2, 4, 8, 16)
    fitted = decision.fit({n: EXACT.eager(n) for n in steps}, {n: EXACT.copied(n) for n in steps}, 6)
    assert (fitted.compute_us, fitted.per_copy_us) == (pytest.approx(150), pytest.approx(10))
    assert fitted.worst == pytest.approx(0, abs=1e-9) and fitted.points == 10


def test_a_fit_states_how_far_its_worst_point_is_off():
    eager, copied = ({n: of(n) for n in (1, 4, 8)} for of in (EXACT.eager, EXACT.copied))
    fitted = decision.fit(eager | {8: 1.3 * EXACT.eager(8)}, copied, 6)
    assert 0.05 < fitted.rms < fitted.worst < 0.3


@pytest.mark.parametrize("eager, copied", [({}, {}), ({1: 210}, {1: 210}), ({1: 210}, {})])
def test_points_that_cannot_tell_computing_from_copying_are_refused(eager, copied):
    with pytest.raises(ValueError, match="do not tell computing from copying apart"):
        decision.fit(eager, copied, 6)


def test_points_that_contradict_the_model_are_refused():
    with pytest.raises(ValueError, match="both must be above 0"):
        decision.fit({1: 100, 4: 400}, {1: 100, 4: 1000}, 6)


GRAPH = alternative("graph", 100, "live prefix")


@pytest.mark.parametrize("share", [True, False, None])
@pytest.mark.parametrize(
    "bottleneck, better, acts",
    [
        (True, True, True),
        (True, False, False),
        (False, True, False),
        (False, None, False),
        (None, False, False),
        (None, True, None),
        (True, None, None),
    ],
)
def test_the_rule_acts_when_it_matters_and_something_is_better_whatever_the_share(share, bottleneck, better, acts):
    verdict = decision.conclude(three(share, bottleneck, better), [GRAPH])
    assert verdict.acts is acts
    assert verdict.act.startswith({True: "act: graph, 100x", False: "keep the copies", None: "open: why "}[acts])
    assert verdict.look is (True in (share, bottleneck, better))


def test_what_is_missing_is_named_and_what_would_follow():
    assert decision.conclude(three(True, None, True), [GRAPH]).act == (
        "open: why b; then act: graph, 100x as fast as the copies"
    )
    assert decision.conclude(three(True, None, None), []).act == "open: why b; why c"


@pytest.mark.parametrize(
    "factor, stands", [(1.05, True), (1.25, False), (Spread(2, 1.2, 3, 3), True), (Spread(2, 1.3, 3, 3), False)]
)
def test_the_revert_stands_unless_a_batched_form_is_significant_in_every_run(factor, stands):
    verdict = decision.conclude(three(True, False, True), [GRAPH, alternative("batched-steps", factor)])
    assert verdict.revert_stands is stands
    assert verdict.revert.startswith("the best batched form is batched-steps, ")
    assert ("does not stand" in verdict.line) is not stands


def test_a_better_way_to_copy_is_no_batched_form():
    assert decision.conclude(three(True, True, True), [alternative("foreach", 2)]).revert_stands


def test_the_contract_that_is_needed_rules_alternatives_out():
    both = [alternative("shared", 2), GRAPH]
    assert [a.name for a in criteria.keeping(both, "live prefix")] == ["graph", "shared"]
    assert [a.name for a in criteria.keeping(both, "exact")] == ["shared"]


def test_of_ways_about_as_fast_the_simplest_is_named():
    ways = [
        alternative("foreach", 1.2),
        alternative("shared", 1.4),
        GRAPH,
        alternative("shared+graph", 1.2 * GRAPH.faster.median),
    ]
    named = [a.name for a in criteria.keeping(ways, "live prefix")]
    assert named == ["graph", "shared+graph", "shared", "foreach"]
    assert criteria.keeping(ways[:2], "exact")[0].name == "shared"  # foreach is not significant, shared is
    ways[3] = alternative("shared+graph", 1.3 * GRAPH.faster.median)
    assert criteria.keeping(ways, "live prefix")[0].name == "shared+graph"


def run(numbers, *more):
    return Evidence([*recording(numbers), *more])


def test_on_the_notes_numbers_the_decision_is_the_notes():
    decided = decision.decide(run(AS_RECORDED), decode_step_us=1000)
    assert decided.verdict.line == "the revert stands; keep the copies; nothing is 1.25x faster"
    assert [c.met for c in decided.judgement.criteria] == [False, True, False]


def test_on_an_h200s_numbers_reverting_stands_and_what_to_do_depends_on_the_step():
    on = run(AS_ON_AN_H200)
    assert [decision.decide(on, decode_step_us=us).verdict.acts for us in (None, 9000, 30_000)] == [None, True, False]
    decided = decision.decide(on)
    assert [c.met for c in decided.judgement.criteria] == [True, None, True]
    assert decided.verdict.revert_stands and decided.verdict.look


def test_the_steps_that_are_asked_for_are_judged():
    on = run(AS_ON_AN_H200)
    assert decision.decide(on, 8).judgement.copy.median == 692
    assert [decision.decide(on, n, 12_000).verdict.acts for n in (4, 8)] == [False, True]
    with pytest.raises(ValueError, match="steps is 3; recorded are 1, 2, 4, 8, 16"):
        decision.decide(on, 3)


def test_plans_with_another_answer_are_listed():
    on = run(AS_ON_AN_H200)
    assert [line["plan"] for line in decision.decide(on).differing] == ["decode, dense FlashMLA"]  # copy alone
    on = Evidence([r for r in on.rows if r["case"] != "flashmla-dense-decode"])
    assert decision.decide(on).differing == []
    assert [line["plan"] for line in decision.decide(on, 4, 12_000).differing] == ["decode, 8 steps"]
    exact = {"contract": "exact", "checked_cells": 1}
    plan = [
        row("decode-full-width", "strategy", name, us, name, **exact)
        for name, us in (("copy", 300), ("batched", 200))
    ]
    (line,) = decision.decide(Evidence([*on.rows, *plan])).differing
    assert (line["plan"], line["the revert"]) == ("decode, full width", "falls")


def test_a_contract_that_a_plans_best_does_not_keep_changes_the_answer():
    on = run(AS_ON_AN_H200, row("record-4", "strategy", "shared", 200, "shared", contract="exact", checked_cells=1))
    assert decision.decide(on, contract="live prefix").judgement.alternatives[0].name == "graph"
    graph = [r | ({"contract": "live prefix"} if r["name"] == "graph" else {}) for r in on.rows]
    assert decision.decide(Evidence(graph), contract="exact").judgement.alternatives[0].name == "shared"


def test_a_run_without_the_kept_path_cannot_be_decided():
    rows = [r for r in recording(AS_RECORDED) if r["name"] != "copy"]
    with pytest.raises(NotMeasured, match="record-4, copy strategy was not measured"):
        decision.decide(Evidence(rows))


def test_a_decision_carries_all_that_is_printed():
    decided = decision.decide(run(AS_ON_AN_H200), 4, 1884)
    assert decided.conditions.startswith("A GPU, 1 run, CPU not named, driver 1, torch 2") and decided.on_gpu
    assert [row["of the decode step"] for row in decided.comparison] == ["0.25%", "0.75%", "32.17%"]
    assert (decided.model.copies, decided.no_model, decided.batched_step_us) == (6, "", 107.1)
    assert [row["steps"] for row in decided.model_rows] == [1, 2, 4, 8, 16]
    assert [row["steps"] for row in decided.by_steps] == [4, 8]


def test_a_decision_without_a_model_says_why():
    rows = [r for r in recording(AS_ON_AN_H200) if r["kind"] != "plan"]
    decided = decision.decide(Evidence(rows))
    assert (decided.model, decided.model_rows) == (None, [])
    assert decided.no_model == "record-4, copies of 1 step plan was not measured"


def command(tmp_path, *arguments, numbers=AS_ON_AN_H200):
    path = tmp_path / "made-up.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in recording(numbers)))
    return main(["decide", "--recording", str(path), *arguments])


def test_the_command_prints_one_verdict_line_the_rule_and_where_it_comes_from(tmp_path, capsys):
    assert command(tmp_path, "--decode-step-us", "1884") == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("Verdict:")] == [
        "Verdict: the revert stands; act: graph, 100x (98.2..102) as fast as the copies"
    ]
    assert "made-up.jsonl" in printed and "A GPU, 1 run, CPU not named, driver 1, torch 2" in printed
    assert "471 us is 25.0% of 1884 us" in printed and criteria.RULE in printed


def test_the_command_takes_steps_a_step_and_a_contract(tmp_path, capsys):
    assert command(tmp_path, "--steps", "8", "--decode-step-us", "30000", "--contract", "exact") == 0
    assert "Verdict: the revert stands; keep the copies; the refresh is no bottleneck" in capsys.readouterr().out


def test_the_command_prints_the_ledger(tmp_path, capsys):
    assert command(tmp_path, "--claims") == 0
    printed = capsys.readouterr().out
    assert "P1  did not hold: 834 us" in printed and "D2  judgement:" in printed
    assert "Would change it: a single cell that differs." in printed
