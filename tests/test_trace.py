"""Does the trace engine produce the batches a serving engine would, and the same ones every time?"""

import csv
import time
from collections import Counter
from importlib import resources
from itertools import islice

import pytest
import torch

from nsa_core.batch import validate
from nsa_core.config import ForwardMode, NSAConfig
from nsa_core.lab import trace
from nsa_core.lab.trace import Request, TraceEngine

CYCLE = [ForwardMode.DECODE, ForwardMode.TARGET_VERIFY, ForwardMode.DRAFT_EXTEND]
ENDS = {  # first and last request of the files described in nsa_core/lab/data/README.md
    "azure": (Request(0.0, 374, 44), Request(628.703, 181, 105)),
    "mooncake": (Request(0.0, 6758, 500), Request(987.0, 900, 50)),
}
FILLS = Request(6.0, 200, 65)  # with d = 4 exactly the 269 columns of engine_for
SHORT = [Request(0.1 * i, 1 + 37 * i % 200, 1 + 23 * i % 61) for i in range(60)] + [FILLS]
CONFIGS = [NSAConfig(page_size=p, num_draft_tokens=d) for p, d in ((64, 4), (1, 3), (7, 1))]


def engine_for(config=CONFIGS[0], requests=SHORT, **settings):
    return TraceEngine(requests, config, **{"max_batch": 5, "width": 269, **settings})


def snapshot(step):
    tensors = (step.batch.seq_lens, step.batch.req_pool_indices, step.batch.accept_length)
    return step.mode, step.time_s, step.requests, *(None if t is None else t.tolist() for t in tensors)


def history(engine, steps=400):
    return [(snapshot(step), engine.req_to_token.sum(1).tolist()) for step in islice(engine, steps)]


def slots_of_requests(engine, step):
    """Slots each request of a step holds: the length its iteration started from, and the lookahead."""
    accepted = 0 if step.batch.accept_length is None else step.batch.accept_length
    held = (step.batch.seq_lens - accepted + engine.lookahead).tolist()
    return [engine.req_to_token[row, :n] for row, n in zip(step.batch.req_pool_indices.tolist(), held, strict=True)]


@pytest.mark.parametrize("name", trace.names())
def test_shipped_traces_are_the_attributed_ones(name):
    rows = trace.requests(name)
    assert (len(rows), rows[0], rows[-1]) == (3000, *ENDS[name])
    assert [r.arrival_s for r in rows] == sorted(r.arrival_s for r in rows)


def test_every_shipped_file_is_attributed():
    data = resources.files("nsa_core.lab") / "data"
    files = {entry.name for entry in data.iterdir()} - {"README.md"}
    readme = (data / "README.md").read_text(encoding="utf-8")
    assert files == {"azure_conversation_2023.csv", "mooncake_conversation_2024.csv"}
    assert all(f"`{name}`" in readme for name in files) and "CC BY 4.0" in readme and "Apache-2.0" in readme
    for name in files:
        with (data / name).open(encoding="utf-8") as file:
            assert next(csv.reader(file)) == ["arrival_s", "context_tokens", "generated_tokens"]


def test_iterating_again_and_building_again_give_the_same_steps_and_tables():
    engine = engine_for()
    first = history(engine)
    assert history(engine) == first == history(engine_for())


def test_another_seed_accepts_and_places_differently():
    one, other = history(engine_for(seed=1)), history(engine_for(seed=2))
    assert [s for s, _ in one] != [s for s, _ in other]
    assert one[0][0] == other[0][0] and one[0][1] != other[0][1]  # same first batch, other slots


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"page{c.page_size}-d{c.num_draft_tokens}")
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_every_batch_passes_validation(config, dtype):
    engine = engine_for(config, dtype=dtype)
    for step in engine:
        validate(config, engine.req_to_token, step.batch, step.mode, width=269, read_values=True)
        assert step.batch.seq_lens.dtype == step.batch.req_pool_indices.dtype == dtype
        assert step.batch.seq_lens.min() >= 1 and step.batch.req_pool_indices.min() >= 1
        assert len(set(step.batch.req_pool_indices.tolist())) == step.batch.bs <= 5


def test_validation_accepts_multi_step_offsets_with_the_documented_lookahead():
    config = NSAConfig(num_draft_tokens=4, step_offset=1)
    longest = max(r.context_tokens + r.generated_tokens for r in SHORT)
    engine = engine_for(config, lookahead=4 + 3, width=longest + 4 + 3)
    assert engine.left_out == 0
    for step in engine:
        validate(config, engine.req_to_token, step.batch, step.mode, width=longest + 7, num_steps=3, read_values=True)


def test_modes_follow_the_speculative_cycle():
    steps = list(engine_for())
    assert [s.mode for s in steps] == CYCLE * (len(steps) // 3)
    assert [s.iteration for s in steps] == [i // 3 for i in range(len(steps))]
    for decode, verify, extend in zip(steps[::3], steps[1::3], steps[2::3], strict=True):
        assert decode.batch is verify.batch and decode.batch.accept_length is None
        assert decode.requests == verify.requests == extend.requests
        accepted = extend.batch.accept_length
        assert accepted.dtype == torch.int32 and 1 <= accepted.min() <= accepted.max() <= 4
        assert torch.equal(decode.batch.seq_lens + accepted, extend.batch.seq_lens)


def test_committed_lengths_carry_over_to_the_next_iteration():
    lengths = dict(enumerate(r.context_tokens for r in SHORT))
    for step in engine_for():
        if step.mode is ForwardMode.DRAFT_EXTEND:
            lengths.update(zip(step.requests, step.batch.seq_lens.tolist(), strict=True))
        else:
            assert step.batch.seq_lens.tolist() == [lengths[i] for i in step.requests]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"page{c.page_size}-d{c.num_draft_tokens}")
@pytest.mark.parametrize("accept_rate", [0, 0.8, 1])
def test_every_request_gets_exactly_its_generated_tokens(config, accept_rate):
    total = Counter()
    for step in islice(engine_for(config, accept_rate=accept_rate), 2, None, 3):
        total.update(dict(zip(step.requests, step.batch.accept_length.tolist(), strict=True)))
    assert total == {i: r.generated_tokens for i, r in enumerate(SHORT)}


def test_default_acceptance_averages_as_documented():
    engine = engine_for(requests=[Request(0, 8, 40000)], width=40012)
    accepted = [step.batch.accept_length.item() for step in islice(engine, 2, None, 3)]
    assert abs(40000 / len(accepted) - 2.95) < 0.06  # 5 standard errors of about 13,500 draws
    assert set(accepted) == {1, 2, 3, 4}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"page{c.page_size}-d{c.num_draft_tokens}")
def test_slots_are_page_aligned_runs(config):
    page, engine = config.page_size, engine_for(config)
    for step in engine:
        for slots in slots_of_requests(engine, step):
            runs = torch.arange(len(slots)) % page
            assert torch.equal(slots % page, runs.int())
            assert torch.equal(slots // page, (slots[::page] // page).repeat_interleave(page)[: len(slots)])


@pytest.mark.parametrize("settings", [{}, {"num_pages": 9}, {"max_batch": 1}], ids=str)
def test_live_requests_share_no_page_and_none_is_the_padding_page(settings):
    engine = engine_for(**settings)
    for step in engine:
        pages = torch.cat([slots[::64] // 64 for slots in slots_of_requests(engine, step)]).tolist()
        assert len(pages) == len(set(pages))
        assert 1 <= min(pages) and max(pages) <= engine.pool.num_pages
        assert not engine.req_to_token[0].any()


def test_pages_come_back_and_are_reused_out_of_order():
    engine, owners, untidy = engine_for(), {}, 0
    for step in engine:
        for index, slots in zip(step.requests, slots_of_requests(engine, step), strict=True):
            pages = slots[::64] // 64
            untidy += int((pages.diff() != 1).any())
            for number in pages.tolist():
                owners.setdefault(number, set()).add(index)
    assert engine.pool.free_pages == engine.pool.unpromised == engine.pool.num_pages
    assert max(map(len, owners.values())) > 1 and untidy > 0


def test_requests_that_cannot_fit_are_left_out_and_counted():
    tall = [Request(0, 200, 66), FILLS, Request(7, 1, 1)]
    engine = engine_for(requests=tall)
    assert engine.left_out == 1 and engine.requests == tuple(tall[1:])
    assert engine_for(requests=tall, num_pages=1).left_out == 2


def test_long_contexts_of_mooncake_are_left_out_of_a_narrow_table():
    narrow = NSAConfig(max_context_len=8192)
    engine = TraceEngine("mooncake", narrow, max_batch=2)
    assert (
        0 < engine.left_out == sum(r.context_tokens + r.generated_tokens > 8192 for r in trace.requests("mooncake"))
    )
    assert TraceEngine("azure", narrow, max_batch=2).left_out == 0
    assert TraceEngine("mooncake", NSAConfig(), max_batch=2).left_out == 0


def test_admission_waits_for_pages_and_nobody_is_preempted():
    at_once = [Request(0, 100, 20)] * 6  # two pages each
    engine = engine_for(requests=at_once, num_pages=5, max_batch=6)
    batches = [step.requests for step in engine]
    assert max(map(len, batches)) == 2 and {i for batch in batches for i in batch} == set(range(6))
    for index in range(6):
        present = [i for i, batch in enumerate(batches) if index in batch]
        assert present == list(range(present[0], present[-1] + 1))


def test_admission_waits_for_rows_and_arrivals_and_skips_idle_time():
    engine = engine_for(requests=[Request(50, 9, 9), Request(0, 9, 9), Request(0, 9, 9)], max_batch=1)
    seen = {step.requests: step.time_s for step in reversed(list(engine))}
    assert list(seen) == [(2,), (1,), (0,)]  # sorted by arrival, one row: one at a time
    assert seen[(0,)] == 0 and 0 < seen[(1,)] < 1 and seen[(2,)] == 50


def test_no_step_runs_before_its_requests_arrive():
    engine = engine_for()
    assert all(engine.requests[i].arrival_s <= step.time_s for step in engine for i in step.requests)


def test_mirrors_are_equal_copies_or_absent():
    for step in islice(engine_for(), 30):
        assert torch.equal(step.batch.seq_lens, step.batch.seq_lens_cpu)
        assert step.batch.seq_lens.data_ptr() != step.batch.seq_lens_cpu.data_ptr()
        if step.mode is ForwardMode.DRAFT_EXTEND:
            assert torch.equal(step.batch.accept_length, step.batch.accept_length_cpu)
    bare = [step.batch for step in islice(engine_for(host_mirrors=False), 3)]
    assert all(b.seq_lens_cpu is None and b.accept_length_cpu is None for b in bare)


@pytest.mark.parametrize("name", trace.names())
def test_300_steps_of_a_wide_table_take_seconds_and_keep_its_address(name):
    engine = TraceEngine(name, NSAConfig())
    address, start, longest = engine.req_to_token.data_ptr(), time.perf_counter(), 0
    for step in islice(engine, 300):
        validate(engine.config, engine.req_to_token, step.batch, step.mode, width=131076, read_values=True)
        longest = max(longest, step.batch.seq_lens_cpu.max().item())
    assert time.perf_counter() - start < 10  # 0.1 s on an idle core
    assert engine.req_to_token.data_ptr() == address and engine.req_to_token.shape == (33, 131076)
    assert longest > {"azure": 400, "mooncake": 10000}[name]


def test_page_slots_that_pass_int32_are_refused():
    with pytest.raises(ValueError, match="num_pages 33554432 of 64 slots"):
        engine_for(num_pages=2**25)


BAD = [
    ({"max_batch": 0}, "max_batch must lie in 1..inf, got 0"),
    ({"lookahead": 3}, "lookahead must lie in 4..inf, got 3"),
    ({"accept_rate": 1.5}, "accept_rate must lie in 0..1, got 1.5"),
    ({"iteration_s": -1.0}, "iteration_s must lie in 0..inf, got -1.0"),
    ({"width": 5}, "none of 61 requests fits width 5"),
    ({"num_pages": 0}, "none of 61 requests fits width 269 and num_pages 0"),
    ({"requests": "chat"}, "name must be one of azure, mooncake, got 'chat'"),
]


@pytest.mark.parametrize("settings, message", BAD, ids=[next(iter(s)) for s, _ in BAD])
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError) as refusal:
        engine_for(**settings)
    assert message in str(refusal.value)


def test_an_empty_request_is_refused():
    with pytest.raises(ValueError, match="generated_tokens must be at least 1, got 0"):
        Request(0, 5, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_request_that_never_arrives_or_ends_is_refused(value):
    with pytest.raises(ValueError, match=f"arrival_s must be finite, got .*{value}"):
        Request(value, 5, 5)
    with pytest.raises(TypeError, match=f"context_tokens must be an int, got {value}"):
        Request(0, value, 5)
