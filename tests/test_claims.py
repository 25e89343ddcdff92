"""Does the ledger cover the note, judge what can be judged, and say what it could not?"""

import pytest
from bench_rows import AS_ON_AN_H200, AS_RECORDED, recording

from nsa_core.lab.bench.evidence import Evidence
from nsa_core.lab.bench.stats import Spread
from nsa_core.lab.decision import claims

NUMBERED = {"P": 7, "C": 6, "B": 7, "A": 3, "D": 3}
IDS = [f"{letter}{i}" for letter, count in NUMBERED.items() for i in range(1, count + 1)]
FIXED = {
    **dict.fromkeys(("P7", "A1", "A2", "A3", "D1", "D2"), claims.JUDGEMENT),
    **dict.fromkeys(("P3", "C2"), claims.HOST),  # times of a host
    **dict.fromkeys(("P4", "P6", "C3", "B5"), claims.OTHER),
}


def verdicts(*runs):
    return {f.claim.id: f.verdict for f in claims.ledger(Evidence(*runs))}


def test_every_claim_of_the_note_is_in_the_ledger_once():
    assert [claim.id for claim in claims.CLAIMS] == IDS


def test_every_claim_says_what_would_change_its_verdict():
    assert all(claim.text and claim.test and claim.changes for claim in claims.CLAIMS)


def test_on_the_notes_own_numbers_every_claim_that_is_judged_holds():
    verdict = verdicts(recording(AS_RECORDED))
    assert verdict == FIXED | {i: claims.HELD for i in IDS if i not in FIXED}


def test_on_the_numbers_of_an_h200_the_same_claims_do_not():
    verdict = verdicts(recording(AS_ON_AN_H200))
    assert {i for i, v in verdict.items() if v == claims.NOT_HELD} == {
        *("P1", "P2", "C4", "C6", "B2", "B3", "B4", "D3")
    }
    assert {i: verdict[i] for i in FIXED} == FIXED
    assert verdict["P5"] == verdict["B7"] == claims.HELD


@pytest.mark.parametrize("slower", [0.5, 2, 10])
def test_a_host_that_is_slower_in_everything_changes_no_verdict(slower):
    def scaled(row):
        return {k: v * slower if k.split("_q")[0].endswith("_us") and v is not None else v for k, v in row.items()}

    rows = recording(AS_ON_AN_H200)
    assert verdicts([scaled(row) for row in rows]) == verdicts(rows)


def test_runs_that_disagree_make_a_verdict_of_their_own():
    one, other = recording(AS_RECORDED), recording(AS_ON_AN_H200)
    assert verdicts(one, other)["P1"] == claims.HOST
    assert verdicts(one, one)["P1"] == claims.HELD and verdicts(other, other)["P1"] == claims.NOT_HELD


def test_a_number_travels_with_its_verdict():
    number = {f.claim.id: f.number for f in claims.ledger(Evidence(recording(AS_ON_AN_H200)))}
    assert number["P1"].startswith("834 us") and "1.77x" in number["P1"]
    assert number["B2"].startswith("-17.8 us")
    assert number["C4"] == "contiguous: 1 of 1 a memcpy; strided: 1 of 1 a kernel"
    assert number["D2"].endswith("at 8 steps (met)")


def test_cells_that_differ_are_said_by_mode():
    rows = recording(AS_ON_AN_H200)
    worse = [row | {"mode": "decode", "value": False} if row["name"] == "steps are equal" else row for row in rows]
    said = [{f.claim.id: f for f in claims.ledger(Evidence(of))}["P5"] for of in (rows, worse)]
    assert [(ruling.verdict, ruling.number) for ruling in said] == [
        (claims.HELD, "1,000 cells compared, 0 differ"),
        (claims.NOT_HELD, "1,000 cells compared, some differ in ['decode']"),
    ]


def test_a_cpu_cannot_test_a_statement_about_gpus():
    verdict = verdicts(recording(AS_RECORDED, device="cpu", machine="A CPU"))
    testable = {claim.id for claim in claims.CLAIMS if not claim.gpu}
    assert testable == {"P5", "C1", "C5", "B4", "B5", "B6", "A2"}
    assert {i for i, v in verdict.items() if v != claims.NOT_TESTABLE} == testable


def test_a_missing_row_is_named_and_no_verdict_is_made_up():
    rows = [r for r in recording(AS_RECORDED) if not (r["case"] == "record-8" and r["name"] == "eager")]
    rulings = {f.claim.id: f for f in claims.ledger(Evidence(rows))}
    assert rulings["P2"].verdict == claims.NOT_TESTABLE
    assert rulings["P2"].number == "record-8, eager strategy was not measured"
    assert rulings["P1"].verdict == claims.HELD


def test_a_run_that_cannot_answer_leaves_it_to_the_others():
    partial = [r for r in recording(AS_ON_AN_H200) if r["case"] == "record-4"]
    verdict = verdicts(recording(AS_RECORDED), partial)
    assert verdict["P2"] == claims.HELD and verdict["P1"] == claims.HOST


def failed(case, name, reason):
    return recording(AS_RECORDED)[0] | {
        "case": case,
        "kind": "error",
        "name": name,
        "strategy": name,
        "reason": reason,
    }


def test_an_error_row_is_no_measurement_and_its_reason_is_given():
    rows = [r for r in recording(AS_RECORDED) if not (r["case"] == "record-4" and r["name"] == "batched")]
    rulings = {
        f.claim.id: f for f in claims.ledger(Evidence([*rows, failed("record-4", "batched", "TypeError: no")]))
    }
    assert rulings["B3"].verdict == claims.NOT_TESTABLE


def test_a_wrong_copy_anywhere_breaks_the_claim_that_there_are_no_edge_cases():
    rows = recording(AS_RECORDED)
    wrong = failed("ragged-decode", "copy", "WrongResult: x")
    assert verdicts([*rows, wrong])["C5"] == claims.NOT_HELD
    assert verdicts(rows, [*rows, wrong])["C5"] == claims.HOST


@pytest.mark.parametrize("median, holds", [(100, True), (125, True), (126, False), (75, True), (74, False)])
def test_a_number_holds_when_a_runs_median_is_within_a_quarter_of_it(median, holds):
    assert claims.near(Spread(median, 0, 1000, 9), 100) is holds
