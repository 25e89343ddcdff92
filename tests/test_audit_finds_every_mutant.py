"""Does the audit find each fault of the gallery, blame the right field and show it with a small batch?"""

import functools
from dataclasses import replace

import pytest
import torch
from mutants import BS, GALLERY, LATE, STEPS, WIDTH

from nsa_core.audit import KINDS, audit, probes

FOUND_ON_CPU = set(KINDS) - {"host synchronisation", "allocation"}


def report_on(mutant):
    refresh, sets, config, table = mutant.build()
    options = {"contract": mutant.contract, "fixed_width": mutant.fixed_width}
    with pytest.MonkeyPatch.context() as patch:
        if mutant.kind == "written late":
            patch.setattr(probes, "_PAUSE", 4 * LATE)
        return audit(refresh, sets, config, table, mutant.mode, **options)


@functools.cache
def report_of(name):
    return report_on(next(mutant for mutant in GALLERY if mutant.name == name))


def findings_of(name, kind=None):
    mutant = next(mutant for mutant in GALLERY if mutant.name == name)
    found = [f for f in report_of(name).findings if f.field == mutant.field and f.kind == (kind or mutant.kind)]
    assert found, name
    return found


@pytest.mark.parametrize("mutant", GALLERY, ids=lambda mutant: mutant.name)
def test_mutant_is_found(mutant):
    report = report_of(mutant.name)
    assert not report.ok
    assert (mutant.kind, mutant.field) in {(finding.kind, finding.field) for finding in report.findings}, str(report)
    assert mutant.kind in str(report) and mutant.field in str(report)


IN_FIXED_WIDTH = {
    "padded_rows_get_lengths_below_zero": ("wrong", "nsa_seqlens_expanded"),
    "an_extended_request_of_length_0_has_one_token": ("wrong", "cache_seqlens_int32"),
    "accepted_rows_are_counted_as_last_time": ("raised", ""),  # there is nothing to count
}


@pytest.mark.parametrize("name", IN_FIXED_WIDTH)
def test_a_mutant_of_ragged_draft_extend_is_found_in_fixed_width(name):
    mutant = next(mutant for mutant in GALLERY if mutant.name == name)
    report = report_on(replace(mutant, fixed_width=True))
    assert IN_FIXED_WIDTH[name] in {(finding.kind, finding.field) for finding in report.findings}, str(report)


def test_rows_of_length_0_take_a_request_shorter_than_its_rows():
    batch = findings_of("a_request_shorter_than_its_rows_brings_fewer")[0].batch
    assert batch.accept_length is None and min(batch.seq_lens.tolist()) < 4


def test_mutants_are_told_apart_and_every_kind_of_fault_has_one():
    assert len(GALLERY) >= 14 and len({mutant.name for mutant in GALLERY}) == len(GALLERY)
    assert all("#" in mutant.report for mutant in GALLERY if mutant.report is not None)
    assert {mutant.kind for mutant in GALLERY} == FOUND_ON_CPU


def test_the_same_refresh_without_its_fault_is_clean():
    """What the audit holds against a mutant is the mutation, not the sets it is built on."""
    for mutant in {
        (m.mode, m.fixed_width, m.sets, str(m.config)): m for m in GALLERY if m.sets != "nominal"
    }.values():
        report = report_on(replace(mutant, make=lambda replay, sets: replay))
        assert report.ok, f"{mutant.name}: {report}"


def test_steps_are_told_apart():
    assert [f.step for f in findings_of("three_destinations_get_all_but_the_schedule")] == [0, 1, 2]
    assert [f.step for f in findings_of("later_draft_steps_are_not_rebuilt")] == [1, 2, 3]
    assert [f.step for f in findings_of("a_longer_batch_grows_the_buffer")] == [2]
    assert [f.step for f in findings_of("the_first_tensors_are_read_forever")] == list(range(STEPS))


def test_a_fault_of_long_batches_shows_with_one_token_too_many():
    batch = findings_of("the_width_known_on_the_host_is_frozen")[0].batch
    assert sorted(batch.seq_lens.tolist()) == [1] * (BS - 1) + [2]


def test_a_fault_of_empty_batches_shows_with_an_empty_one():
    batch = findings_of("an_idle_batch_keeps_the_metadata_of_the_last_busy_one")[0].batch
    assert batch.seq_lens.tolist() == [0] * BS


def test_a_fault_that_takes_two_batches_shows_with_both():
    finding = findings_of("a_batch_of_known_shape_is_skipped")[0]
    assert finding.batch.seq_lens.tolist() == finding.after.seq_lens.tolist() == [1] * BS


def test_an_alias_needs_the_input_type_that_is_not_converted():
    assert findings_of("lengths_that_are_int32_already_are_not_copied")[0].batch.seq_lens.dtype == torch.int32


def test_a_stale_schedule_comes_with_what_it_would_do():
    messages = [f.message for f in findings_of("the_schedule_is_that_of_the_batch_before")]
    assert all("worked on never or twice" in m or "never stops" in m or "would do" in m for m in messages)


def test_a_write_past_the_row_is_placed():
    message = findings_of("the_stride_is_taken_from_the_shape", "written outside")[0].message
    assert f"{WIDTH} cells behind the start of page_table_1" in message


def test_a_narrow_table_says_what_to_size_it_by():
    message = findings_of("tables_are_as_wide_as_the_nominal_context")[0].message
    assert "[4, 256], needs [4, 333]" in message and "size tables by req_to_token" in message


def test_a_swallowed_error_says_which_operation_failed_with_what():
    message = findings_of("a_fallback_swallows_the_error")[0].message
    assert message.startswith("operation ") and "failed with AttributeError and ValueError and TypeError" in message
