"""What can be handed to an audit, what comes back, and what does it leave behind?"""

from types import SimpleNamespace

import pytest
import torch
from batches import DECODE, EXTEND, IDLE, VERIFY, Requests, each_mode, token_table
from device import DEVICE
from mutants import BS, strided_set

import nsa_core as nsa
from nsa_core.audit import KINDS, Finding, audit
from nsa_core.schedules import RELEASES, schedule_paged_mqa

CONFIG = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3, paged_mqa_num_sms=5)


def backend_for(mode, config=CONFIG, steps=2, bs=2):
    backend = nsa.MultiStepBackend(config, token_table(5, 130, config.page_size), steps)
    return backend, backend.capture(bs, mode)


def audited(backend, sets, mode=DECODE, refresh=None, **options):
    refresh = refresh or (lambda batch: backend.replay(batch, mode))
    return audit(refresh, sets, backend.config, backend.req_to_token, mode, **options)


def test_a_clean_report_says_what_was_looked_at():
    report = audited(*backend_for(DECODE))
    assert report.ok and report.findings == [] and report.kinds == set()
    looked_at = f"{report.batches} batches x 2 steps x 10 fields, DECODE, contract 'live prefix'"
    assert report.batches > 30 and str(report).startswith(f"clean: {looked_at}")
    on_cpu = "not looked at: synchronisation and memory: no CUDA device holds these sets"
    on_cuda = f"allocations of one refresh, from PyTorch's cache: {report.allocations}"
    assert str(report).splitlines()[1:] == [on_cuda if DEVICE == "cuda" else on_cpu]
    assert (report.allocations is None) == (DEVICE == "cpu")


def test_a_finding_says_kind_field_step_cell_and_batch():
    backend, sets = backend_for(DECODE)

    def refresh(batch):
        backend.replay(batch, DECODE)
        sets[1].real_page_table[1, 0] += 1

    (finding,) = [f for f in audited(backend, sets, refresh=refresh).findings if f.kind == "wrong"]
    assert (finding.field, finding.step, finding.after) == ("real_page_table", 1, None)
    assert "real_page_table[1, 0] is " in finding.message and "\n" not in finding.message
    assert finding.batch.seq_lens.tolist() == [1, 1] and finding.batches > 10


def test_steps_with_the_same_fault_share_a_line_of_the_table():
    backend, sets = backend_for(DECODE, steps=3)
    report = audited(backend, sets, refresh=lambda batch: None)
    (line,) = [line for line in str(report).splitlines() if " page_table_1 " in line]
    assert line.startswith("not refreshed")
    assert " 0-2 " in line and "kept what it held (-1515870811) and should be" in line
    assert len(report.findings) == 3 * 8 and {f.kind for f in report.findings} == {"not refreshed"}


def test_every_kind_is_explained():
    assert all(explained and kind == kind.lower() for kind, explained in KINDS.items())
    assert set(Finding.__dataclass_fields__) >= {"kind", "field", "step", "message", "batch"}


# Captured sets of an engine.


def engine_set(captured, **changes):
    fields = {name.replace("nsa_", "dsa_", 1): getattr(captured, name) for name in vars(captured)}
    return SimpleNamespace(**fields | changes)


def test_sets_of_an_engine_with_its_own_spelling():
    backend, sets = backend_for(VERIFY)
    assert audited(backend, [engine_set(s) for s in sets], VERIFY).ok
    stale = audited(backend, [engine_set(s) for s in sets], VERIFY, refresh=lambda batch: None)
    assert "nsa_seqlens_expanded" in {f.field for f in stale.findings}


def test_a_schedule_counts_even_if_the_config_does_not_ask_for_one():
    config = nsa.NSAConfig(page_size=16)
    backend, sets = backend_for(DECODE, config)
    held = [
        engine_set(s, paged_mqa_schedule_metadata=torch.zeros(6, 2, dtype=torch.int32, device=DEVICE)) for s in sets
    ]
    report = audited(backend, held)
    assert {(f.kind, f.field) for f in report.findings} == {("not refreshed", "paged_mqa_schedule_metadata")}


@pytest.mark.parametrize("release", RELEASES)
def test_the_schedule_of_either_release_is_right(release):
    backend, sets = backend_for(VERIFY)

    def refresh(batch):
        backend.replay(batch, VERIFY)
        for captured in sets:
            captured.paged_mqa_schedule_metadata.copy_(
                schedule_paged_mqa(captured.nsa_seqlens_expanded, 5, release=release)
            )

    assert audited(backend, sets, VERIFY, refresh).ok


def test_constants_that_are_wrong_from_the_start():
    backend, sets = backend_for(EXTEND)
    sets[1].cu_seqlens_q[3] = 7
    (finding,) = audited(backend, sets, EXTEND).findings
    assert (finding.kind, finding.field, finding.step) == ("wrong", "cu_seqlens_q", 1)
    assert "cu_seqlens_q[3] is 7 and should be 3" in finding.message


def test_too_few_rows_end_the_audit_with_that_finding():
    backend, sets = backend_for(VERIFY)
    report = audited(backend, [engine_set(sets[0], page_table_1=sets[0].page_table_1[:5])], VERIFY)
    assert [(f.kind, f.field) for f in report.findings] == [("too small", "page_table_1")]
    assert report.batches == 0 and "has shape [5, 130], needs [6, 130]" in str(report)


def test_a_captured_field_that_is_the_callers_tensor():
    backend, sets = backend_for(DECODE)
    lengths = torch.tensor([3, 4], dtype=torch.int32, device=DEVICE)
    held = [engine_set(s, cache_seqlens_int32=lengths, dsa_seqlens_expanded=lengths) for s in sets]
    batch = nsa.ReplayBatch(lengths, torch.tensor([0, 1], device=DEVICE))
    report = audited(backend, held, batches=[batch])
    assert {f.field for f in report.findings if f.kind == "aliases an input"} >= {"cache_seqlens_int32"}
    assert lengths.tolist() == [3, 4]


# Batches.


def test_given_batches_are_the_ones_refreshed_with():
    backend, sets = backend_for(DECODE)
    batches, seen = [Requests((n, 9), (0, 1), ()).batch(DECODE) for n in (5, 70)], []

    def refresh(batch):
        seen.append(batch)
        backend.replay(batch, DECODE)

    assert audited(backend, sets, refresh=refresh, batches=batches).ok
    assert [seen[0] is batches[0], seen[1] is batches[1]] == [True, True]


def test_given_batches_may_be_smaller_than_the_buffers():
    backend = nsa.MultiStepBackend(CONFIG, token_table(5, 130, 16), 2)
    sets = [strided_set(CONFIG, DECODE, 130, gap=0) for _ in range(2)]
    backend.adopt(2, DECODE, sets)
    batches = [Requests((n, 9), (0, 1), ()).batch(DECODE) for n in (5, 70)]
    assert sets[0].cache_seqlens_int32.shape == (BS,)
    assert audited(backend, sets, batches=batches, contract="exact").ok


def test_an_idle_rank_is_audited_like_decode():
    backend, sets = backend_for(DECODE)
    assert audited(backend, sets, IDLE).ok


def test_between_is_called_before_every_refresh():
    backend, sets = backend_for(DECODE)
    calls = []
    report = audited(
        backend,
        sets,
        between=lambda: calls.append("between"),
        refresh=lambda batch: calls.append("refresh") or backend.replay(batch, DECODE),
    )
    assert report.ok and calls[:4] == ["between", "refresh"] * 2


def test_no_slot_lies_past_the_cache_of_a_refresh_that_reads_it():
    backend, sets = backend_for(DECODE)
    kv_cache, seen = torch.zeros(1000, device=DEVICE), []

    def refresh(batch):
        backend.replay(batch, DECODE)
        seen.append(int(backend.req_to_token.max()))
        kv_cache[sets[0].page_table_1[:, 0].clamp(min=0)]

    report = audited(backend, sets, refresh=refresh, num_slots=1000)
    assert set(report.kinds) <= {"host synchronisation"}, str(report)  # on a GPU `int` waits, and the audit says so
    assert 1000 - backend.config.page_size <= max(seen) < 1000


@each_mode
def test_a_refresh_that_reads_what_it_is_to_write_is_found(mode):
    """Adding up in place relies on the old contents; a poisoned cell shows it."""
    backend, sets = backend_for(mode)

    def refresh(batch):
        before = sets[0].cu_seqlens_k.clone()
        backend.replay(batch, mode)
        sets[0].cu_seqlens_k.copy_((sets[0].cu_seqlens_k + before) // 2)

    assert "wrong" in audited(backend, sets, mode, refresh).kinds


def test_what_surrounds_the_fields_and_the_token_table_come_back_as_they_were():
    backend = nsa.MultiStepBackend(CONFIG, token_table(5, 130, 16), 1)
    wide = torch.arange(4 * 200, dtype=torch.int32, device=DEVICE).view(4, 200)
    held, table, before = strided_set(CONFIG, DECODE, 130, gap=7), backend.req_to_token.clone(), wide.clone()
    held.page_table_1 = wide[:, 20:150]
    backend.adopt(BS, DECODE, [held])
    assert audited(backend, [held]).ok
    assert torch.equal(backend.req_to_token, table)
    assert torch.equal(wide[:, :20], before[:, :20]) and torch.equal(wide[:, 150:], before[:, 150:])


def test_a_refresh_that_writes_to_the_token_table_is_told():
    backend, sets = backend_for(DECODE)

    def refresh(batch):
        backend.replay(batch, DECODE)
        backend.req_to_token[4, 3] += 1

    before = backend.req_to_token.clone()
    report = audited(backend, sets, refresh=refresh)
    (finding,) = [f for f in report.findings if f.kind == "input changed"]
    assert (
        finding.field == "req_to_token" and "rows [4]" in finding.message and finding.batches >= report.batches // 2
    )
    assert torch.equal(backend.req_to_token, before)


def test_a_field_that_is_gone_has_moved():
    backend, sets = backend_for(DECODE)

    def refresh(batch):
        backend.replay(batch, DECODE)
        held[1].real_page_table = None

    held = [engine_set(captured) for captured in sets]
    (finding,) = audited(backend, held, refresh=refresh).findings
    assert (finding.kind, finding.field, finding.step) == ("moved", "real_page_table", 1) and "is gone" in str(
        finding
    )


def test_fixed_width_asks_for_no_accept_lengths():
    backend, sets = backend_for(EXTEND)
    asked = {False: [], True: []}
    for fixed_width, batches in asked.items():

        def refresh(batch, batches=batches):
            batches.append(batch)
            backend.replay(batch, EXTEND)

        assert audited(backend, sets, EXTEND, refresh, fixed_width=fixed_width).ok
    assert all((batch.accept_length is None) == fixed for fixed, batches in asked.items() for batch in batches)
    assert all(batch.accept_length_cpu is None for batch in asked[True])
    assert {False, True} == {batch.seq_lens_cpu is None for batch in asked[True]}


@pytest.mark.parametrize("engine_batches", (False, True))
def test_batches_can_be_kept_to_those_an_engine_forms(engine_batches):
    backend, sets = backend_for(EXTEND)
    lengths, accepts, loose_mirrors, strided = [], [], [], []

    def refresh(batch):
        lengths.extend(batch.seq_lens.tolist())
        accepts.extend(batch.accept_length.tolist())
        loose_mirrors.append(
            batch.seq_lens_cpu is not None and batch.seq_lens_cpu.tolist() != batch.seq_lens.tolist()
        )
        strided.append(not batch.seq_lens.is_contiguous())
        backend.replay(batch, EXTEND)

    found = audited(backend, sets, EXTEND, refresh, engine_batches=engine_batches).findings
    assert {finding.kind for finding in found} <= {"host synchronisation"}  # on a GPU: this test's own reading
    assert min(lengths) == min(accepts) == int(engine_batches)
    assert any(loose_mirrors) == any(strided) == (not engine_batches)


def test_batches_of_either_form_can_be_audited_together():
    backend, sets = backend_for(EXTEND)
    batches = [Requests((1, 2), (0, 1), accepts).batch(EXTEND) for accepts in ((1, 2), None, (0, 1))]
    assert audited(backend, sets, EXTEND, batches=batches).ok


GOOD = Requests((1, 2), (0, 1), ()).batch(DECODE)
REFUSED = {
    "no sets": (ValueError, {"captured_sets": []}, "captured_sets is empty"),
    "no slots": (ValueError, {"num_slots": 0}, "num_slots must be at least 1"),
    "no mode": (TypeError, {"mode": "decode"}, "ForwardMode"),
    "no contract": (ValueError, {"contract": "loose"}, "contract.*'loose'"),
    "no batches": (ValueError, {"batches": []}, "batches"),
    "one batch, not in a list": (
        TypeError,
        {"batches": Requests((1,), (0,), ()).batch(DECODE)},
        "list of ReplayBatch",
    ),
    "None for a batch": (
        TypeError,
        {"batches": [GOOD, None]},
        r"batches\[1\]: batch must be a ReplayBatch, got None",
    ),
    "a batch of lists": (TypeError, {"batches": [nsa.ReplayBatch([1, 2], [0, 1])]}, r"batches\[0\]: seq_lens must"),
    "a row past the pool": (
        ValueError,
        {"batches": [GOOD, Requests((1, 1), (0, 5), ()).batch(DECODE)]},
        r"batches\[1\]: req_pool_indices\[1\] is 5",
    ),
    "fixed width in another mode": (ValueError, {"fixed_width": True}, "fixed_width is .*, but mode is DECODE"),
    "accept lengths in fixed width": (
        ValueError,
        {"batches": [GOOD, Requests((1, 2), (0, 1), (1, 2)).batch(EXTEND)], "mode": EXTEND, "fixed_width": True},
        r"batches\[1\]: accept_length is given, but fixed_width is True",
    ),
    "a token table of int64": (
        TypeError,
        {"req_to_token": token_table(2, 9, 1).long()},
        "req_to_token must be an int32",
    ),
    "two sizes": (ValueError, {"batches": [Requests((1,) * n, (0,) * n, ()).batch(DECODE) for n in (1, 2)]}, "sizes"),
    "a field missing": (ValueError, {"captured_sets": [SimpleNamespace()]}, "cache_seqlens_int32 is missing"),
    "no tensor": (TypeError, {"captured_sets": [SimpleNamespace(cache_seqlens_int32=[1])]}, "cache_seqlens_int32"),
    "no room": (ValueError, {"req_to_token": token_table(2, 3, 1), "mode": VERIFY}, "no room"),
}


@pytest.mark.parametrize("error, change, says", list(REFUSED.values()), ids=list(REFUSED))
def test_what_cannot_be_audited_is_refused_by_name(error, change, says):
    backend, sets = backend_for(change.get("mode") if change.get("mode") is VERIFY else DECODE)
    given = {
        "refresh": lambda batch: pytest.fail("refused arguments must not be refreshed with"),
        "captured_sets": sets,
        "config": CONFIG,
        "req_to_token": backend.req_to_token,
        "mode": DECODE,
    }
    with pytest.raises(error, match=says):
        audit(**given | change)


# Errors that a refresh may catch.


def an_import_that_fails(batch):
    try:
        import no_such_kernels
    except ImportError:
        no_such_kernels = None
    return no_such_kernels


def attributes_that_are_missing(batch):
    try:
        longest = batch.longest
    except AttributeError:
        longest = getattr(batch, "most", 0)
    return longest if hasattr(batch, "most") else None


def look_ups_that_miss(batch):
    for error, table in ((KeyError, {}), (IndexError, [])):
        try:
            return table[batch.bs]
        except error:
            continue


class Longest:
    def __init__(self, batch):
        self.batch = batch

    @property
    def length(self):
        return int(self.batch.seq_lens.max())


def a_property_that_computes(batch):
    return hasattr(Longest(batch), "length")


def a_key_that_is_computed(batch):
    try:
        return {}[int(batch.seq_lens.max())]
    except KeyError:
        return None


def a_comparison_of_tensors(batch):
    return batch.seq_lens < batch.req_pool_indices  # Python tries it the other way round


IDIOMS = (
    an_import_that_fails,
    attributes_that_are_missing,
    look_ups_that_miss,
    a_property_that_computes,
    a_key_that_is_computed,
    a_comparison_of_tensors,
)


@pytest.mark.parametrize("idiom", IDIOMS, ids=lambda idiom: idiom.__name__)
def test_what_python_catches_by_design_is_no_fault(idiom):
    backend, sets = backend_for(DECODE)
    report = audited(backend, sets, refresh=lambda batch: (idiom(batch), backend.replay(batch, DECODE)))
    assert set(report.kinds) <= {"host synchronisation"}, str(report)  # on a GPU `int` waits, and the audit says so
