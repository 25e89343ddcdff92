"""Do the moving pictures show what was measured, and say it where nothing moves? No browser needed."""

import base64
import io
import json
import re
from datetime import date

import pytest
from PIL import Image

from nsa_core.lab.bench.evidence import PLANS, RECORD_CASES, STEPS_CASES, committed
from nsa_core.lab.decision import claims, costs, measured_break_even, note, times
from nsa_core.lab.explore import chart, pictures
from nsa_core.lab.explore.pictures import (
    cheapest_way,
    claims_table,
    copy_forms,
    decoding_round,
    gain_over_steps,
    live,
    replay_timeline,
    since_december,
    since_releases,
    tables,
    when_copies_pay,
)

MOST_BYTES = 40_000  # of a stored picture
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def run():
    return committed()


@pytest.fixture(scope="module")
def made(run):
    return {
        "gain": pictures.gain(run),
        "loop": pictures.loop(),
        "history": pictures.history(run, note="note.md"),
        "timeline": pictures.timeline(run),
        "calculator": pictures.calculator([run]),
        "ledger": pictures.ledger(run),
        "forms": pictures.forms(run),
        "strategy_map": pictures.strategy_map(run),
        "releases": pictures.releases(),
    }


NAMES = ("gain", "loop", "history", "timeline", "calculator", "ledger", "forms", "strategy_map", "releases")


def test_every_picture_of_the_package_is_tested(made):
    assert set(made) == set(pictures.__all__) - {"audited", "compared", "table"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_kernel_there_is_a_picture_its_words_and_what_would_move(made, name):
    data, metadata = made[name]._repr_mimebundle_()
    assert VIEW in data and data["text/plain"] == made[name].words == repr(made[name])
    if "text/html" in data:
        assert made[name].hint in data["text/html"] and "<script" not in data["text/html"]
        return
    picture = base64.b64decode(data["image/png"])
    assert len(picture) < MOST_BYTES and metadata["image/png"]["alt"] == made[name].words
    with Image.open(io.BytesIO(picture)) as image:
        assert image.width == round(chart.WIDTH * chart.DPI)
    assert made[name].hint.startswith("In JupyterLab, run this cell: ")


def test_a_page_without_widgets_can_be_asked_for(made, monkeypatch):
    monkeypatch.setenv(live.STILL, "1")
    assert made["gain"]._repr_mimebundle_()[0].keys() == {"text/plain", "image/png"}


@pytest.mark.parametrize("name", NAMES)
def test_a_module_carries_what_it_imports_and_asks_nobody(made, name):
    text = made[name]._esm
    assert 'from "./' not in text and text.count("export default") == 1
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "") and "--nsa-copy:" in made[name]._css


@pytest.mark.parametrize("name", NAMES)
def test_what_a_picture_is_given_is_json(made, name):
    for field in (made[name].data, made[name].state):
        assert json.loads(json.dumps(field, allow_nan=False)) == field


def test_setting_the_state_moves_the_words(run):
    picture = pictures.gain(run)
    before = picture.words
    picture.state = picture.state | {"steps": 8}
    assert picture.words != before and picture.words.startswith("With 8 draft steps, measured: ")


def test_gain_shows_the_recording_the_note_and_the_fitted_model(run):
    data, model = gain_over_steps.gain_data(run), measured_break_even(run)
    assert (data["compute"], data["copy"]) == (round(model.compute_us, 1), round(model.step_us, 1))
    for point in data["measured"]:
        case = STEPS_CASES[point["steps"]]
        assert point["eager"] == run.loop(case, "eager").median and point["copy"] == run.loop(case, "copy").median
        assert (point["gain"], point["share"]) == (run.speed_up(case).median, run.copy_share(case).median)
    assert [m["steps"] for m in data["measured"]] == list(STEPS_CASES)
    operations = {run.row(STEPS_CASES[1], name, kind="strategy")["device_ops"] for name in ("eager", "copy")}
    assert len(operations) == 1 and f"the same {operations.pop():.0f} operations" in data["source"]
    assert {c["steps"]: {"before": c["before"], "after": c["after"]} for c in data["claimed"]} == note.TOTALS


def test_gain_says_whether_a_number_was_measured(run):
    data = gain_over_steps.gain_data(run)
    at = {"steps": 4, "compute": data["compute"], "copy": data["copy"]}
    eager, copy = (f"{run.loop('record-4', name).median:,.0f} \u00b5s" for name in ("eager", "copy"))
    faster = f"{run.speed_up('record-4').median:.1f} times as fast."
    assert gain_over_steps.sentence(data, at).startswith(
        f"With 4 draft steps, measured: {eager} becomes {copy}, {faster}"
    )
    assert "by the model" in gain_over_steps.sentence(data, at | {"steps": 3})
    note = gain_over_steps.sentence(data, at | {"compute": 175, "copy": 15})
    assert "by the model: 760 \u00b5s becomes 235 \u00b5s" in note and "stays below 12.7" in note


def test_a_round_accepts_what_its_rows_say():
    assert decoding_round.ROWS == decoding_round.STEPS + 1 == len(decoding_round.DATA["rounds"][0]["guesses"]) + 1
    for one in decoding_round.DATA["rounds"]:
        assert 0 <= one["accepted"] <= decoding_round.STEPS and 1 <= one["other"] <= decoding_round.ROWS
    assert {one["accepted"] for one in decoding_round.DATA["rounds"]} >= {0, decoding_round.STEPS}


def test_history_is_dated_sourced_and_in_order(run):
    found = since_december.events(run, note="note.md")
    days = [date.fromisoformat(event["date"]) for event in found]
    assert days == sorted(days) and days[0] == date(2025, 12, 4)
    assert all(event["url"] and event["source"] and event["text"].endswith(".") for event in found)
    (own,) = [event for event in found if event["who"] == since_december.HERE]
    for name in ("eager", "copy", "graph"):
        assert live.three(run.loop("record-4", name).median) in own["text"]


@pytest.mark.parametrize("time", replay_timeline.TIMES)
def test_timeline_has_the_recorded_totals_and_counts(run, time):
    data = replay_timeline.timeline_data(run, time)
    for n, case in RECORD_CASES.items():
        for way in data["replays"][str(n)]:
            row = run.row(case, way["name"], kind="strategy")
            assert (way["host"], way["device"], way["operations"]) == (row[time], row["device_us"], row["device_ops"])
            assert sum(segment["operations"] for segment in way["segments"]) == way["operations"]
            assert sum(segment["us"] for segment in way["segments"]) == pytest.approx(way["host"])
    assert "not when each ran" in data["source"]


def test_timeline_begins_when_a_named_strategy_is_done(run):
    row = run.row("record-4", "fused", kind="strategy")
    state = pictures.timeline(run, done="fused").state
    assert state["at"] == row["host_us"] + row["device_us"] and pictures.timeline(run).state["at"] > state["at"]


def test_forms_have_the_recorded_times_and_copy_comes_first(run):
    data = copy_forms.forms_data(run)
    assert [label.replace("draft ", "") for label in data["plans"]] == list(PLANS)
    for shown, case in zip(data["plans"].values(), PLANS.values(), strict=True):
        ways = {way["name"]: way for way in shown}
        assert list(ways) == list(copy_forms.STRATEGIES) and ways["copy"]["faster"] == 1
        assert ways["batched"]["us"] == run.loop(case, "batched").median
        assert ways["batched"]["low"] == run.faster(case, "batched").low


def test_calculator_keeps_its_arithmetic(run):
    data = when_copies_pay.calculator_data([run])
    first = data["presets"][0]
    assert first["compute"] == round(costs.measured(run, "fused").compute, 2)
    state = {"steps": 4, "step_ms": 8.0} | {name: first[name] for name in ("compute", "copy", "batched", "launch")}
    assert when_copies_pay.judged(state)[1] == "one launch"
    assert when_copies_pay.judged(state | {"step_ms": 30.0, "steps": 2})[1] == "leave it"
    assert when_copies_pay.judged(state | {"launch": 0.0})[1] == "keep the copies"
    assert when_copies_pay.judged(state | {"launch": 0.0, "batched": 10.0})[1] == "batch the copies"


def test_ledger_puts_the_deciding_claims_first_and_leaves_none_out(run):
    rulings = claims.ledger(run)
    rows = claims_table.ledger_rows(rulings)
    assert tuple(row["id"] for row in rows if row["deciding"]) == claims_table.DECIDING
    assert all(row["deciding"] for row in rows[:6])
    assert {row["id"]: row["verdict"] for row in rows} == {ruling.claim.id: ruling.verdict for ruling in rulings}
    assert len(rows) == len(claims.CLAIMS) and not any("record-" in row["measured"] + row["test"] for row in rows)


@pytest.mark.parametrize("steps", [1, 4, 16])
@pytest.mark.parametrize("tokens", [2**10, 2**17, 2**28])
def test_map_times_are_those_of_the_fitted_model(run, steps, tokens):
    data, model = cheapest_way.map_data(run), times.fitted(run)
    unit = times.moved_by(times.BenchCase("unit", bs=1, lengths=1024, steps=steps))
    expected = model.by_way(steps, times.scaled(unit, tokens / 1024))
    assert cheapest_way.times_of(data, steps, tokens) == pytest.approx(expected, rel=1e-6)


def test_map_names_the_cheapest_way_that_is_left(run):
    data = cheapest_way.map_data(run)
    assert cheapest_way.winner(data, 4, 2**12, []) == "graph"
    assert cheapest_way.winner(data, 8, 2**28, []) == "shared+graph"
    assert cheapest_way.winner(data, 8, 2**28, ["graph", "shared+graph"]) == "copy"


def test_a_table_has_three_digits_units_and_a_marked_row():
    made = tables.table(
        [{"way": "copy", "time": 534.4, "share": 0.592}, {"way": "graph", "time": 6.252, "share": None}],
        units={"time": "\u00b5s", "share": "%"},
        marked=[1],
        caption="Two ways.",
    )
    data = made._repr_mimebundle_()
    assert data["text/plain"].splitlines()[0].split() == ["way", "time,", "\u00b5s", "share,", "%"]
    assert data["text/plain"].splitlines()[2].split() == ["*", "graph", "6.25", "\u2013"]
    assert ">534<" in data["text/html"] and ">59<" in data["text/html"] and "Two ways." in data["text/html"]
    assert data["text/html"] == made._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize(
    "number, words", [(1078.4, "1,078"), (534.4, "534"), (26.87, "26.9"), (6.252, "6.25"), (0.0213, "0.0213")]
)
def test_numbers_have_three_digits(number, words):
    assert live.three(number) == words


def test_four_numbers_of_the_note_stand_beside_the_measured_ones(run):
    shown = pictures.compared(run)._repr_mimebundle_()["text/plain"]
    lines = [re.split(r"\s{2,}", line.strip(" *")) for line in shown.splitlines()[1:-1]]
    found = {what: (note, measured) for what, note, measured in lines}
    once, batched = run.speed_up("record-4").median, run.faster("record-4", "batched").median
    assert len(found) == 4 and shown.endswith(run.brief)
    assert found["computing once, against computing every set"] == ("3.0 times as fast", f"{once:.1f} times as fast")
    assert found["the batched copy, against plain copies"] == ("6% shorter", f"{1 / batched - 1:.0%} longer")


def test_the_table_of_audits_says_in_how_many_sets_the_plan_is_stale():
    shown = pictures.audited()._repr_mimebundle_()["text/plain"]
    lines = [re.split(r"\s{2,}", line.strip()) for line in shown.splitlines()[1:-1]]
    found = {release: rest for release, _, *rest in lines}
    assert found["0.5.6.post2"] == ["has no such array", "clean", "synchronises"]
    assert found["0.5.7, computing once switched off"] == ["clean in 3 sets", "clean", "synchronises"]
    assert found["0.5.7"] == found["0.5.8"] == found["0.5.9"] == ["stale in 3 of 3 sets", "clean", "synchronises"]
    every = "stale in 2 of 2 sets; stale in 3 of 3 sets; stale in 4 of 4 sets"
    assert found["0.5.10.post1"] == [every, "synchronises", "synchronises"]
    assert found["0.5.23"] == ["clean in 2 sets; stale in 3 of 3 sets; stale in 3 of 4 sets", "clean", "clean"]


def test_every_audit_of_draft_steps_is_in_the_table():
    audits = {(a.version, a.flags) for a in since_releases.recorded.audits() if a.mode == "decode"}
    assert audits == set(since_releases.AUDITED)


def test_tables_of_a_page_style_no_other_table():
    ids = {re.search(r'<table id="(\w+)"', pictures.table([{"a": n}]).html)[1] for n in (1, 2)}
    assert len(ids) == 2
