"""Is a single wrong cell always found, wherever a reader may look, and blamed on its field and step?"""

import oracle
import pytest
from batches import DECODE, EXTEND, MODES, VERIFY, Requests, token_table
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import nsa_core as nsa
from nsa_core.audit import audit
from nsa_core.audit.session import POISONS

WIDTH, POOL, BS, STEPS = 270, 5, 3, 3
CONFIGS = [
    nsa.NSAConfig(
        page_size=page,
        index_topk=48,
        num_draft_tokens=3,
        flashmla_num_sm_parts=5,
        flashmla_dense=dense,
        paged_mqa_num_sms=6,
    )
    for page, dense in ((16, False), (1, True))
]
SCHEDULES = ("flashmla_metadata.flashmla_metadata", "flashmla_metadata.num_splits", "paged_mqa_schedule_metadata")


@st.composite
def requests(draw, mode):
    lengths = tuple(draw(st.integers(1, WIDTH - 3)) for _ in range(BS))
    accepts = tuple(draw(st.integers(0, min(3, length))) for length in lengths)
    assume(mode is not EXTEND or any(accepts))
    return Requests(lengths, tuple(draw(st.integers(0, POOL - 1)) for _ in range(BS)), accepts)


def live_cells(backend, batch, mode, step):
    """Every (field, index) of a step that a reader may look at, by the tests' own oracle."""
    held = oracle.snapshot(backend[step])
    masks = oracle.live_mask(backend.config, batch, mode, held, step)
    places = [(name, tuple(map(int, at))) for name, mask in masks.items() for at in zip(*mask.nonzero(), strict=True)]
    rows = len(oracle.rows_in_use(backend.config, batch, mode, step))
    parts, splits, entries = (5, rows + 1 if backend.config.flashmla_dense else backend_rows(mode) + 1, 7)
    places += [(SCHEDULES[0], (part, column)) for part in range(parts) for column in (0, 2, 3, 4)]
    places += [(SCHEDULES[1], (row,)) for row in range(splits)]
    return places + [(SCHEDULES[2], (entry, column)) for entry in range(entries) for column in (0, 1)]


def backend_rows(mode):
    return BS if mode is DECODE else 3 * BS


def corrupting(backend, mode, step, name, at, value):
    """A correct refresh that leaves one cell wrong."""

    def refresh(batch):
        backend.replay(batch, mode)
        backend[step].tensors()[name][at] = value

    return refresh


@pytest.mark.parametrize("mode", MODES, ids=lambda m: m.value)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"page_size_{c.page_size}")
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_one_wrong_cell_is_found(config, data, mode):
    backend = nsa.MultiStepBackend(config, token_table(POOL, WIDTH, config.page_size), STEPS)
    sets, batch = backend.capture(BS, mode), data.draw(requests(mode)).batch(mode)
    backend.replay(batch, mode)
    step = data.draw(st.integers(0, STEPS - 1))
    places = live_cells(backend, batch, mode, step)
    name = data.draw(st.sampled_from(sorted({place[0] for place in places})))
    at = data.draw(st.sampled_from([place[1] for place in places if place[0] == name]))
    right = int(backend[step].tensors()[name][at])
    value = data.draw(st.sampled_from((*POISONS, 0, right + 1, right - 1)) | st.integers(-(2**31), 2**31 - 1))
    assume(value != right)
    refresh = corrupting(backend, mode, step, name, at, value)
    report = audit(refresh, sets, config, backend.req_to_token, mode, [batch])
    address = backend[step].tensors()[name].data_ptr()
    names = {other for other, tensor in backend[step].tensors().items() if tensor.data_ptr() == address}
    assert any(finding.field in names and finding.step == step for finding in report.findings), str(report)


def test_the_cells_drawn_from_cover_every_field():
    backend = nsa.MultiStepBackend(CONFIGS[0], token_table(POOL, WIDTH, 16), STEPS)
    backend.capture(BS, VERIFY)
    batch = Requests((60, 100, 3), (0, 1, 2), ()).batch(VERIFY)
    backend.replay(batch, VERIFY)
    assert {name for name, _ in live_cells(backend, batch, VERIFY, 0)} == set(backend[0].tensors())


@pytest.mark.parametrize("poison", POISONS)
def test_a_constant_fill_that_happens_to_be_one_poison_is_found_with_the_other(poison):
    config = CONFIGS[0]
    backend = nsa.MultiStepBackend(config, token_table(POOL, WIDTH, 16), 1)
    sets = backend.capture(BS, DECODE)

    def refresh(batch):
        backend.replay(batch, DECODE)
        sets[0].page_table_1[:, 200:] = poison  # past every length of the batches below

    batches = [Requests((200, 60 + i, 3), (0, 1, 2), ()).batch(DECODE) for i in range(2)]
    report = audit(refresh, sets, config, backend.req_to_token, DECODE, batches, contract="exact")
    assert [(f.kind, f.field) for f in report.findings] == [("written outside", "page_table_1")]
    assert report.findings[0].batches == 1
