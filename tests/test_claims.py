"""Does the ledger cover the record, follow the numbers, and say what it could not test?"""

import pytest
from bench_rows import AS_ON_AN_H200, AS_RECORDED, recording

from nsa_core.lab.bench.evidence import Evidence, runs
from nsa_core.lab.bench.stats import Spread
from nsa_core.lab.decision import claims

NUMBERED = {"P": 7, "C": 6, "B": 7, "A": 3, "D": 3}
IDS = [f"{letter}{i}" for letter, count in NUMBERED.items() for i in range(1, count + 1)]
JUDGEMENTS = {"P7", "A1", "A2", "A3", "D1"}


def verdicts(rows):
    return {f.claim.id: f.verdict for f in claims.ledger(runs(rows))}


def test_every_claim_of_the_record_is_in_the_ledger_once():
    assert [claim.id for claim in claims.CLAIMS] == IDS


def test_on_the_records_own_numbers_every_claim_holds():
    verdict = verdicts(recording(AS_RECORDED))
    assert {i: verdict.pop(i) for i in JUDGEMENTS} == dict.fromkeys(JUDGEMENTS, claims.JUDGEMENT)
    assert verdict.pop("D2") == claims.NOT_MET
    assert verdict == dict.fromkeys(verdict, claims.HELD)


def test_on_the_numbers_of_an_h200_the_same_claims_do_not():
    verdict = verdicts(recording(AS_ON_AN_H200))
    assert {i for i, v in verdict.items() if v == claims.NOT_HELD} == {
        "P1",
        "P2",
        "C2",
        "C3",
        "C4",
        "C6",
        "B2",
        "B3",
        "B4",
        "B5",
        "D3",
    }
    assert verdict["D2"] == claims.MET
    assert verdict["P5"] == verdict["B7"] == claims.HELD


def test_a_number_travels_with_its_verdict():
    number = {f.claim.id: f.number for f in claims.ledger(runs(recording(AS_ON_AN_H200)))}
    assert number["P1"].startswith("834 us") and "1.77x" in number["P1"]
    assert number["B2"].startswith("-17.8 us")
    assert number["C4"] == "contiguous: 1 of 1 a memcpy; strided: 1 of 1 a kernel"


def test_a_cpu_cannot_test_a_statement_about_gpus():
    verdict = verdicts(recording(AS_RECORDED, device="cpu", machine="A CPU"))
    testable = {claim.id for claim in claims.CLAIMS if not claim.gpu}
    assert testable == {"P5", "C1", "C5", "B4", "B5", "B6", "A2"}
    assert {i for i, v in verdict.items() if v != claims.NOT_TESTABLE} == testable


def test_a_missing_row_is_named_and_no_verdict_is_made_up():
    rows = [r for r in recording(AS_RECORDED) if not (r["case"] == "record-8" and r["name"] == "eager")]
    rulings = {f.claim.id: f for f in claims.ledger(runs(rows))}
    assert rulings["P2"].verdict == claims.NOT_TESTABLE
    assert rulings["P2"].number == "record-8, eager strategy was not measured"
    assert rulings["P1"].verdict == claims.HELD


def test_an_error_row_is_no_measurement_and_its_reason_is_given():
    failed = {
        "case": "record-4",
        "kind": "error",
        "name": "batched",
        "strategy": "batched",
        "reason": "TypeError: no",
    }
    rows = [r for r in recording(AS_RECORDED) if not (r["case"] == "record-4" and r["name"] == "batched")]
    rulings = {f.claim.id: f for f in claims.ledger([Evidence([*rows, rows[0] | failed])])}
    assert rulings["B3"].verdict == claims.NOT_TESTABLE


def test_a_wrong_copy_anywhere_breaks_the_claim_that_there_are_no_edge_cases():
    failed = {
        "case": "ragged-decode",
        "kind": "error",
        "name": "copy",
        "strategy": "copy",
        "reason": "WrongResult: x",
    }
    rows = recording(AS_RECORDED)
    assert verdicts([*rows, rows[0] | failed])["C5"] == claims.NOT_HELD


def test_machines_get_verdicts_of_their_own():
    rows = recording(AS_RECORDED) + recording(AS_ON_AN_H200, machine="Another GPU")
    verdict = {(f.machine, f.claim.id): f.verdict for f in claims.ledger(runs(rows))}
    assert verdict["A GPU", "P1"] == claims.HELD
    assert verdict["Another GPU", "P1"] == claims.NOT_HELD
    assert len(verdict) == 2 * len(IDS)


def test_the_newest_run_that_can_answer_does():
    newer = {"date": "2026-02-01T00:00:00+00:00"}
    partial = [r for r in recording(AS_ON_AN_H200, **newer) if r["case"] == "record-4"]
    verdict = verdicts(recording(AS_RECORDED) + partial)
    assert verdict["P1"] == claims.NOT_HELD  # the newer run has record-4
    assert verdict["P2"] == claims.HELD  # only the older one has record-8


@pytest.mark.parametrize(
    "measured, holds",
    [
        (Spread(100, 100, 100, 9), True),
        (Spread(125, 125, 125, 9), True),
        (Spread(126, 126, 126, 9), False),
        (Spread(130, 120, 140, 9), True),
        (Spread(74, 73, 74.9, 9), False),
    ],
)
def test_a_number_holds_when_the_middle_half_comes_within_a_quarter_of_it(measured, holds):
    assert claims.near(measured, 100) is holds
