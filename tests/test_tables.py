"""A config names the tables that are read: the others are not allocated, not written, not compared, not missed."""

from dataclasses import replace
from types import SimpleNamespace

import oracle
import pytest
import torch
from batches import DECODE, EXTEND, VERIFY, Requests, each_mode, each_strategy, token_table
from device import DEVICE
from test_golden_replays import FILES, Golden

import nsa_core as nsa
from nsa_core.audit.compare import Comparison
from nsa_core.audit.own import audit_strategy

WIDE, REAL = "page_table_1", "real_page_table"
CONFIG = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3, paged_mqa_num_sms=5)
each_choice = pytest.mark.parametrize("table", (WIDE, REAL))
FEWER_FILES = FILES[::3]
BATCHES = (Requests((70, 3, 129), (1, 0, 2), (2, 1, 3)), Requests((5, 100, 64), (2, 2, 1), (0, 3, 1)))


def other(table):
    return WIDE if table == REAL else REAL


@each_choice
@each_strategy
@pytest.mark.parametrize("path", FEWER_FILES, ids=lambda path: path.stem)
def test_what_is_left_holds_what_the_recording_holds(path, strategy, table):
    golden = Golden(path)
    backend = nsa.MultiStepBackend(replace(golden.config, tables=(table,)), golden.table, 2, strategy=strategy)
    sets = backend.capture(golden.bs, golden.mode)
    assert all(getattr(captured, other(table)) is None for captured in sets)
    for captured in sets:
        for name in set(oracle.FIELDS) - set(oracle.CONSTANT) - {other(table)}:
            cells = getattr(captured, name)
            (cells[1:] if name in oracle.CUMULATIVE else cells).fill_(oracle.POISON)
    for i in golden.replays:
        batch, wanted = golden.batch(i), golden.buffers(i)
        backend.replay(batch, golden.mode)
        live = oracle.live_mask(golden.config, batch, golden.mode, wanted)
        exact = nsa.strategies()[strategy].contract == "exact"
        for captured in sets:
            for name in set(oracle.FIELDS) - {other(table)}:
                differs = getattr(captured, name).cpu().numpy() != wanted[name]
                assert not (differs if exact else differs & live[name]).any(), (name, i)


@each_choice
@each_strategy
@pytest.mark.parametrize("mode", (DECODE, EXTEND))
def test_the_largest_page_is_counted_right(mode, strategy, table):
    config = replace(CONFIG, page_size=2**20, tables=(table,))
    req_to_token = torch.arange(2**31 - 4 * 300, 2**31, device=DEVICE).to(torch.int32).view(4, 300)
    backend = nsa.MultiStepBackend(config, req_to_token, 2, strategy=strategy)
    sets, contract = backend.capture(3, mode), nsa.strategies()[strategy].contract
    comparison = Comparison(sets, config, req_to_token, mode, contract, 3)
    batch, before = BATCHES[0].batch(mode), comparison.poison(-7777)
    backend.replay(batch, mode)
    assert comparison.findings(comparison.expected(batch), before) == []


@each_choice
@each_mode
@each_strategy
@pytest.mark.parametrize("page_size", (1, 7, 64))
def test_the_oracle_agrees_at_every_page_size(page_size, strategy, mode, table):
    config = replace(CONFIG, page_size=page_size, tables=(table,), step_offset=0)
    req_to_token = token_table(4, 140, page_size)
    backend = nsa.MultiStepBackend(config, req_to_token, 2, strategy=strategy)
    sets, contract = backend.capture(3, mode), nsa.strategies()[strategy].contract
    comparison = Comparison(sets, config, req_to_token, mode, contract, 3)
    for requests in BATCHES:
        batch = requests.batch(mode)
        before = comparison.poison(-7777)
        backend.replay(batch, mode)
        assert comparison.findings(comparison.expected(batch), before) == []


@each_choice
@each_mode
@pytest.mark.parametrize("strategy", [name for name in ("fused", "graph") if nsa.strategies(DEVICE)[name].available])
def test_a_table_of_many_blocks(strategy, mode, table):
    config = replace(CONFIG, page_size=64, tables=(table,))
    req_to_token = token_table(3, 20_000, 64)
    backend = nsa.MultiStepBackend(config, req_to_token, 2, strategy=strategy)
    comparison = Comparison(backend.capture(2, mode), config, req_to_token, mode, "live prefix", 2)
    for lengths in ((8192, 8193), (19_990, 64), (1, 16_385)):
        batch, before = Requests(lengths, (2, 0), (1, 1)).batch(mode), comparison.poison(-7777)
        backend.replay(batch, mode)
        assert comparison.findings(comparison.expected(batch), before) == []


@each_choice
@pytest.mark.parametrize("strategy", ["copy", "fused", "shared"])
def test_the_audit_is_silent(strategy, table):
    config = replace(CONFIG, tables=(table,))
    report = audit_strategy(strategy, config, token_table(5, 200, 16), DECODE, num_steps=2, bs=3)
    assert report.ok, report
    assert table in report.fields and other(table) not in report.fields


def test_the_audit_sees_that_the_one_table_is_stale():
    config = replace(CONFIG, tables=(REAL,))
    req_to_token = token_table(5, 200, 16)
    backend = nsa.MultiStepBackend(config, req_to_token, 1)
    sets = backend.capture(3, DECODE)

    def refresh(batch):
        kept = sets[0].real_page_table.clone()
        backend.replay(batch, DECODE)
        sets[0].real_page_table[1].copy_(kept[1])

    report = nsa.audit(refresh, sets, config, req_to_token, DECODE)
    assert {(finding.kind, finding.field) for finding in report.findings} == {("not refreshed", REAL)}


def engine_set(bs, width, *tables):
    """An engine's own buffers, of three requests."""

    def cells(*shape):
        return torch.full(shape, -7777, dtype=torch.int32, device=DEVICE)

    vectors = {"cache_seqlens_int32": bs, "cu_seqlens_k": bs + 1, "nsa_seqlens_expanded": bs}
    vectors |= {"nsa_cache_seqlens_int32": bs, "nsa_cu_seqlens_k": bs + 1}
    fields = {name: cells(size) for name, size in vectors.items()}
    return SimpleNamespace(
        **fields, **{name: cells(bs, width if name == WIDE else -(-width // 16)) for name in tables}
    )


@each_choice
def test_an_adopted_object_may_lack_the_table_or_have_it_left_alone(table):
    config = replace(CONFIG, tables=(table,), paged_mqa_num_sms=None)
    objects = [engine_set(3, 140, table), engine_set(3, 140, WIDE, REAL)]
    backend = nsa.MultiStepBackend(config, token_table(4, 140, 16), 2)
    sets = backend.adopt(3, DECODE, objects)
    assert all(getattr(captured, other(table)) is None for captured in sets)
    backend.replay(BATCHES[0].batch(DECODE), DECODE)
    assert torch.equal(getattr(objects[0], table), getattr(objects[1], table))
    assert (getattr(objects[1], other(table)) == -7777).all()
    with pytest.raises(ValueError, match=f"{table} is missing from the adopted"):
        nsa.MultiStepBackend(config, token_table(4, 140, 16), 1).adopt(3, DECODE, [engine_set(3, 140, other(table))])


def test_the_real_table_alone_says_how_long_a_request_may_be():
    config = replace(CONFIG, tables=(REAL,), paged_mqa_num_sms=None)
    backend = nsa.MultiStepBackend(config, token_table(4, 140, 16), 1)
    backend.adopt(3, DECODE, [engine_set(3, 96, REAL)])
    backend.replay(Requests((96, 1, 1), (1, 2, 3), ()).batch(DECODE), DECODE)
    with pytest.raises(ValueError, match=r"seq_lens\[0\] is 97 and needs 97 columns, but the narrowest table has 96"):
        backend.replay(Requests((97, 1, 1), (1, 2, 3), ()).batch(DECODE), DECODE)


@each_mode
def test_a_step_offset_still_tells_the_steps_apart(mode):
    config = replace(CONFIG, tables=(REAL,), step_offset=1)
    req_to_token = token_table(4, 140, 16)
    for strategy in ("copy", "shared"):
        backend = nsa.MultiStepBackend(config, req_to_token, 3, strategy=strategy)
        comparison = Comparison(backend.capture(3, mode), config, req_to_token, mode, "exact", 3)
        batch, before = BATCHES[0].batch(mode), comparison.poison(-7777)
        backend.replay(batch, mode)
        assert comparison.findings(comparison.expected(batch), before) == []


def test_the_bytes_of_the_wide_table_are_not_held():
    held = {}
    for tables in ((WIDE, REAL), (WIDE,), (REAL,)):
        backend = nsa.MultiStepBackend(nsa.NSAConfig(page_size=64, tables=tables), token_table(2, 6400, 64), 4)
        backend.capture(8, DECODE)
        held[tables] = backend.memory(8, DECODE).held
    assert held[WIDE, REAL] - held[WIDE,] == 4 * 8 * 100 * 4
    assert held[WIDE, REAL] - held[REAL,] == 4 * 8 * 6400 * 4


@pytest.mark.parametrize("mode", (DECODE, VERIFY, EXTEND), ids=lambda mode: mode.value)
def test_precompute_leaves_the_table_out(mode):
    batch, table = BATCHES[0].batch(mode), token_table(4, 140, 16)
    both = nsa.precompute(CONFIG, table, batch, mode)
    for only in (WIDE, REAL):
        one = nsa.precompute(replace(CONFIG, tables=(only,)), table, batch, mode)
        assert getattr(one, other(only)) is None
        assert torch.equal(getattr(one, only), getattr(both, only))


@pytest.mark.parametrize(
    "tables", [(), [WIDE], "page_table_1", (WIDE, "page_table"), None, 3, (["x"],), (REAL, REAL)]
)
def test_tables_are_named_from_the_two_there_are(tables):
    with pytest.raises(ValueError, match="tables must be a tuple of one or both of page_table_1, real_page_table"):
        nsa.NSAConfig(tables=tables)
