"""Do the criteria, the break-even model and the verdict follow from the numbers they are given?"""

import json

import pytest
from bench_rows import AS_ON_AN_H200, AS_RECORDED, recording

from nsa_core.__main__ import main
from nsa_core.lab import decision
from nsa_core.lab.bench.evidence import NotMeasured, runs
from nsa_core.lab.bench.stats import Spread

EXACT = decision.BreakEven(compute_us=150, per_copy_us=10, copies=6)


def share(value):
    return {4: Spread(value, value, value, 9)}


def alternative(name, factor, significant=True):
    return decision.Alternative(name, "exact", share(factor), significant)


def criteria(copies, bottleneck, better):
    return [
        decision.Criterion(name, met, "why") for name, met in zip("abc", (copies, bottleneck, better), strict=True)
    ]


@pytest.mark.parametrize("value, met", [(0.10, False), (0.5, False), (0.51, True)])
def test_the_copy_share_criterion_is_met_above_a_half(value, met):
    assert decision.copy_share_criterion(share(value)).met is met


def test_one_number_of_steps_above_a_half_is_enough():
    assert decision.copy_share_criterion(share(0.2) | {8: Spread(0.75, 0.7, 0.8, 9)}).met


def test_without_measured_shares_the_criterion_is_not_known():
    assert decision.copy_share_criterion({}).met is None


@pytest.mark.parametrize("step_us, met", [(None, None), (10_000, True), (10_001, False), (500, True)])
def test_a_bottleneck_is_five_percent_of_the_decode_step_the_user_gives(step_us, met):
    assert decision.bottleneck_criterion(500, step_us).met is met


def test_a_decode_step_of_no_length_is_refused():
    with pytest.raises(ValueError, match="decode_step_us must be a finite number above 0, got 0"):
        decision.replay_share(500, 0)


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


def test_a_replay_that_is_no_bottleneck_keeps_the_copies_whatever_else_exists():
    verdict, _ = decision.conclude(criteria(True, False, True), [alternative("graph", 100)])
    assert verdict.startswith("keep the copies; the replay is no bottleneck")


@pytest.mark.parametrize("bottleneck", [None, True])
def test_a_significantly_better_way_past_copying_is_something_else(bottleneck):
    verdict, reasons = decision.conclude(criteria(True, bottleneck, True), [alternative("graph", 100)])
    assert verdict == "do something else: graph, at least 100x faster than the copies"
    assert "graph keeps the contract 'exact'" in reasons


def test_a_significantly_better_way_to_copy_batches_them():
    verdict, reasons = decision.conclude(criteria(True, None, True), [alternative("batched", 2)])
    assert verdict == "batch the copies with batched, at least 2x faster than the copies"
    assert reasons[0].endswith("worth its complexity")


def test_nothing_better_keeps_the_copies_and_names_an_open_criterion():
    best_first = [alternative("batched", 1.05, significant=False)]
    verdict, reasons = decision.conclude(criteria(True, None, False), best_first)
    assert verdict.startswith("keep the copies") and verdict.endswith("more than half of the time")
    assert reasons[0].endswith("reverting it stands")
    assert "half" not in decision.conclude(criteria(False, None, False), best_first)[0]


def test_significant_takes_the_factor_and_a_spread_that_does_not_touch():
    faster = {a.name: a.significant for a in decision.decide(run(AS_ON_AN_H200)).alternatives}
    assert faster == {"graph": True, "fused": True, "batched": False}


def run(numbers):
    return runs(recording(numbers))[0]


def test_on_the_records_numbers_the_decision_is_the_records():
    decided = decision.decide(run(AS_RECORDED))
    assert decided.verdict.startswith("keep the copies")
    assert [c.met for c in decided.criteria] == [False, None, False]


def test_on_an_h200s_numbers_reverting_stands_and_yet_it_is_time_to_look_again():
    decided = decision.decide(run(AS_ON_AN_H200))
    assert decided.verdict.startswith("do something else: graph, at least 76x")
    assert [c.met for c in decided.criteria] == [True, None, True]
    assert "batched, 0.777x" in decided.reasons[0] and decided.reasons[0].endswith("reverting it stands")


def test_a_run_without_the_kept_path_cannot_be_decided():
    rows = [r for r in recording(AS_RECORDED) if r["name"] != "copy"]
    with pytest.raises(NotMeasured, match="record-4, copy strategy was not measured"):
        decision.decide(runs(rows)[0])


def test_a_decision_carries_all_that_is_printed():
    decided = decision.decide(run(AS_ON_AN_H200), 1884)
    assert decided.conditions.startswith("A GPU, driver 1, torch 2") and decided.on_gpu
    assert [row["of the decode step"] for row in decided.comparison] == ["0.25%", "0.75%", "32.17%"]
    assert (decided.model.copies, decided.no_model, decided.batched_step_us) == (6, "", 107.1)
    assert [row["steps"] for row in decided.model_rows] == [1, 2, 4, 8, 16]


def test_a_decision_without_a_model_says_why():
    rows = [r for r in recording(AS_ON_AN_H200) if r["kind"] != "plan"]
    decided = decision.decide(runs(rows)[0])
    assert (decided.model, decided.model_rows) == (None, [])
    assert decided.no_model == "record-4, copies of 1 step plan was not measured"


def command(tmp_path, *arguments, numbers=AS_ON_AN_H200):
    path = tmp_path / "made-up.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in recording(numbers)))
    return main(["decide", "--recording", str(path), *arguments])


def test_the_command_prints_one_verdict_line_and_where_it_comes_from(tmp_path, capsys):
    assert command(tmp_path, "--decode-step-us", "1884") == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("Verdict:")] == [
        "Verdict: do something else: graph, at least 76x faster than the copies"
    ]
    assert "made-up.jsonl" in printed and "A GPU, driver 1, torch 2" in printed
    assert "471 us is 25.0% of 1884 us" in printed


def test_the_command_prints_the_ledger(tmp_path, capsys):
    assert command(tmp_path, "--claims") == 0
    printed = capsys.readouterr().out
    assert "P1  did not hold: 834 us" in printed and "D2  met:" in printed
