"""Does the first look at a captured set say what the set holds, and whose slots a stale row names?"""

import pytest
import torch

import nsa_core as nsa
from nsa_core.lab.explore.two_requests import reads, says

DECODE = nsa.ForwardMode.DECODE
TABLE = torch.tensor([range(0, 12), range(100, 112), range(200, 212)]).int()
CONFIG = nsa.NSAConfig(page_size=4, index_topk=5)


@pytest.fixture
def steps():
    backend = nsa.MultiStepBackend(CONFIG, TABLE, num_steps=2)
    backend.capture(2, DECODE)
    backend.replay(nsa.ReplayBatch(torch.tensor([6, 3]), torch.tensor([1, 2])), DECODE)
    return backend


def plain(rows):
    return [{key: str(value).replace("\u00a0", " ") for key, value in row.items()} for row in rows]


def test_each_array_says_what_the_rules_say(steps):
    found = {row["array"]: (row["request A"], row["request B"]) for row in plain(says(steps[0], CONFIG, "AB"))}
    assert found == {
        "cache_seqlens_int32": ("6", "3"),
        "nsa_cache_seqlens_int32": ("5", "3"),
        "cu_seqlens_k": ("0 to 6", "6 to 9"),
        "page_table_1": ("100 101 102 103 104 105", "200 201 202 │ 203 204 205"),
        "real_page_table": ("25 26", "50 │ 51"),
    }


def test_a_row_that_is_fresh_belongs_to_its_request(steps):
    assert [row["these slots are"] for row in reads(steps[0], TABLE, {"A": 1, "B": 2})] == ["A's", "B's"]


def test_a_stale_row_names_its_owner_and_cells_that_nobody_wrote(steps):
    stale = steps[0].page_table_1.clone()
    steps.replay(nsa.ReplayBatch(torch.tensor([4, 7]), torch.tensor([2, 1])), DECODE)
    steps[0].page_table_1.copy_(stale)
    b, a = plain(reads(steps[0], TABLE, {"B": 2, "A": 1}))
    assert b["its row should hold"] == "200 201 202 203"
    assert b["it holds"] == "100 101 102 103" and b["these slots are"] == "A's"
    assert a["it holds"].endswith(" 205 0") and a["these slots are"] == "B's and nobody's"
