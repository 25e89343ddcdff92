"""Are questions neutral until answered, their keys computed, and their answers folded away without a kernel?"""

import re

import pytest

from nsa_core.audit import audit
from nsa_core.audit.report import AuditReport, Finding
from nsa_core.lab.explore.faults import ENGINE, FAULTS, code
from nsa_core.lab.explore.gallery import TinyEngine, array_table, batch, cell_of, plan_table
from nsa_core.lab.explore.page import STILL
from nsa_core.lab.explore.quiz import ask, repair

VIEW = "application/vnd.jupyter.widget-view+json"

ANSWERS = {"3": "each row has its own `length`.", "4": "one is padding."}
FINDING = Finding("wrong", "cu_seqlens_k", 1, "cu_seqlens_k[2] is 7 and should be 9", batch(A=7, B=2))


def report(*findings):
    return AuditReport(list(findings), "DECODE", "exact", 2, ("cu_seqlens_k",), 12)


def test_nothing_is_chosen_before_the_reader_chooses():
    assert ask("How many?", ANSWERS, 3).chosen == -1


def test_a_key_that_is_no_option_is_refused():
    with pytest.raises(ValueError, match="right is 5, which is none of the options '3', '4'"):
        ask("How many?", ANSWERS, 5)


def test_without_a_kernel_the_answer_is_folded_away_and_markup_is_text():
    page = ask("How many <cells>?", ANSWERS, 3)._repr_mimebundle_()[0]
    assert "<details><summary>Answer</summary>" in page["text/html"] and "&lt;cells&gt;" in page["text/html"]
    assert page["text/html"].index("<details>") < page["text/html"].index("<code>length</code>")
    assert page["text/plain"].endswith("Answer: 3, because each row has its own `length`.")


def test_an_exported_page_can_do_without_the_widget(monkeypatch):
    asked = ask("How many?", ANSWERS, 3)
    assert VIEW in asked._repr_mimebundle_()[0]
    monkeypatch.setenv(STILL, "1")
    assert asked._repr_mimebundle_()[0].keys() == {"text/plain", "text/html"}


def test_a_line_is_judged_by_the_audit_and_the_hint_names_the_cell():
    program = "replay(batch)\n...\n"
    judged = []

    def judge(text):
        judged.append(text)
        return report() if "right" in text else report(FINDING)

    options = repair("Which line?", program, ["right()", "wrong()"], judge).options
    assert judged == ["replay(batch)\nright()\n", "replay(batch)\nwrong()\n"]
    assert [option["right"] for option in options] == [True, False]
    assert options[1]["because"] == "cu_seqlens_k[2] is 7 and should be 9, with lengths [7, 2]."


@pytest.mark.parametrize("lines", [["right 1", "right 2"], ["wrong"]])
def test_a_puzzle_has_exactly_one_solution(lines):
    with pytest.raises(ValueError, match="exactly one has to"):
        repair("Which?", "...", lines, lambda text: report() if "right" in text else report(FINDING))


def test_the_tiny_engine_is_right_without_its_fault():
    engine = TinyEngine(lambda batch, replay, sets: replay(batch))
    assert engine.serve(batch(A=6, B=3), batch(B=4, A=7)) == []
    assert engine.sets[0].page_table_1[0, :4].tolist() == [200, 201, 202, 203]


def test_the_tiny_engine_names_the_cell_that_its_fault_left():
    def keeps_the_sum(batch, replay, sets):
        before = sets[0].cu_seqlens_k.clone()
        replay(batch)
        sets[0].cu_seqlens_k.copy_(before)

    findings = TinyEngine(keeps_the_sum).serve(batch(A=6, B=3), batch(B=4, A=7))
    assert cell_of(findings[0]) == "cu_seqlens_k[1]"


def correct(**config):
    return TinyEngine(lambda batch, replay, sets: replay(batch), **config)


def test_a_row_of_a_table_is_named_as_a_cell_of_it_and_by_its_request():
    engine = correct()
    engine.serve(batch(B=4, A=7))
    shown = {row.pop("array"): row for row in array_table(engine.sets[0], "BA").shown}
    assert shown["page_table_1[1]"]["request"] == "A" and shown["page_table_1[1]"]["6"] == "106"
    assert shown["page_table_1[0]"]["7"] == "\u00b7", "nobody needs it, and nobody wrote it"
    assert list(shown["cu_seqlens_k"].values())[:5] == ["", "0", "4", "11", ""]
    assert shown["cache_seqlens_int32"]["request"] == "B, A"


def test_a_request_with_several_rows_has_one_length_and_the_colour_of_its_slots():
    engine = correct(**ENGINE[5])
    engine.serve(batch(A=6, B=3))
    table = array_table(engine.sets[0], "AABB")
    requests = {row["array"]: row["request"] for row in table.shown}
    assert requests["cache_seqlens_int32"] == "A, B" and requests["nsa_seqlens_expanded"] == "A, A, B, B"
    first = list(requests).index("page_table_1[0]")
    cells = r"\.row(\d+)\.col(\d+) \{\s*background-color: ([^;]+);"
    colours = {(int(row), int(column)): colour for row, column, colour in re.findall(cells, table.html)}
    assert colours[first, 2] == colours[first + 1, 9] != colours[first + 2, 2]
    assert (first - 1, 2) not in colours, "a length is nobody's slot"


def test_the_plan_of_the_worked_example_is_the_one_in_the_text():
    engine = correct(**ENGINE[2])
    engine.serve(batch(A=300, B=5))
    first = plan_table(engine.sets).shown[0]
    assert list(first.values()) == ["0", "[0, 0]", "[0, 1]", "[1, 0]", "[2, 0]"]


@pytest.mark.parametrize("number", FAULTS)
def test_the_audit_finds_the_fault_and_nothing_without_it(number):
    assert TinyEngine(FAULTS[number], **ENGINE[number]).audit()
    engine = correct(**ENGINE[number])
    assert audit(engine.refresh, engine.sets, engine.config, engine.req_to_token, engine.mode).ok


def test_the_code_of_a_fault_is_shown():
    assert code(3).startswith("def only_real_requests(") and code(3).endswith("= lengths")
