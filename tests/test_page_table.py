"""Does `transform_page_table` turn KV slots into page numbers, for any width, without keeping anything for ever?"""

import pytest
import torch
from batches import token_table

import nsa_core as nsa
from nsa_core.lab.bench import parts as page_table

WIDTHS = (1, 2, 7, 15, 16, 17, 64, 65, 97, 130)


def by_loop(table, page_size):
    return [[row[c] // page_size for c in range(0, len(row), page_size)] for row in table.tolist()]


@pytest.mark.parametrize("page_size", (1, 3, 7, 16, 64, 200), ids=lambda n: f"page_{n}")
@pytest.mark.parametrize("width", WIDTHS, ids=lambda n: f"width_{n}")
def test_one_column_per_page_begun(width, page_size):
    table = token_table(5, width, page_size)
    pages = nsa.transform_page_table(table, page_size)
    assert pages.shape == (5, -(-width // page_size))
    assert pages.dtype == torch.int32
    assert pages.tolist() == by_loop(table, page_size)


@pytest.mark.parametrize("page_size", (1, 16), ids=lambda n: f"page_{n}")
@pytest.mark.parametrize("shape", ((0, 64), (3, 0)), ids=("no_rows", "no_columns"))
def test_an_empty_table_has_no_pages(shape, page_size):
    pages = nsa.transform_page_table(torch.zeros(shape, dtype=torch.int32), page_size)
    assert pages.shape == (shape[0], -(-shape[1] // page_size))


def test_columns_of_a_wider_table_transform_like_a_table_of_their_own():
    wide = token_table(4, 200, 16)
    assert nsa.transform_page_table(wide[:, :97], 16).tolist() == by_loop(wide[:, :97], 16)


def test_slots_near_the_end_of_int32_keep_their_page():
    table = torch.tensor([[2**31 - 64, 2**31 - 63]], dtype=torch.int32)
    assert nsa.transform_page_table(table, 64).tolist() == [[2**25 - 1]]


def test_the_table_given_is_not_changed():
    table = token_table(3, 130, 16)
    kept = table.clone()
    nsa.transform_page_table(table, 16)
    assert torch.equal(table, kept)


def test_an_interleaving_of_shapes_gives_what_each_gives_alone():
    shapes = [(width, page_size) for width in WIDTHS for page_size in (16, 1, 7)]
    for width, page_size in shapes + shapes[::-1]:
        table = token_table(2, width, page_size, seed=width)
        assert nsa.transform_page_table(table, page_size).tolist() == by_loop(table, page_size)


def test_the_cached_form_gives_the_same_and_its_cache_can_be_emptied():
    cache, table = page_table.strided_columns, token_table(2, 130, 16)
    page_table.strided_columns.cache_clear()
    for _ in range(2):
        assert page_table.transform_page_table_indexed(table, 16).tolist() == by_loop(table, 16)
    assert (cache.cache_info().currsize, cache.cache_info().hits) == (1, 1)
    page_table.strided_columns.cache_clear()
    assert cache.cache_info().currsize == 0
    assert page_table.transform_page_table_indexed(table, 16).tolist() == by_loop(table, 16)


REFUSED = {
    "page size 0": (ValueError, dict(page_size=0), ("page_size", "0")),
    "page size -16": (ValueError, dict(page_size=-16), ("page_size", "-16")),
    "rank 1": (ValueError, dict(page_table_1=torch.zeros(4, dtype=torch.int32)), ("page_table_1", "4")),
    "float slots": (TypeError, dict(page_table_1=torch.zeros(2, 4)), ("page_table_1", "float32")),
    "a list": (TypeError, dict(page_table_1=[[0, 1]]), ("page_table_1", "[[0, 1]]")),
}


@pytest.mark.parametrize("error, change, says", list(REFUSED.values()), ids=list(REFUSED))
def test_bad_table_is_refused_by_name(error, change, says):
    good = {"page_table_1": torch.zeros(2, 4, dtype=torch.int32), "page_size": 16}
    with pytest.raises(error) as refusal:
        nsa.transform_page_table(**good | change)
    assert all(word in str(refusal.value) for word in says), refusal.value
