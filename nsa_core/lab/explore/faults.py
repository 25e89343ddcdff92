"""The five faults of the game, each a refresh that does nearly what it should; see `gallery.TinyEngine`."""

import inspect

from ... import ForwardMode, ReplayBatch
from .gallery import TinyEngine
from .pictures import tables


def later_steps_keep_their_table(batch, replay, sets):
    kept = [s.page_table_1.clone() for s in sets[1:]]
    replay(batch)
    for s, table in zip(sets[1:], kept, strict=True):
        s.page_table_1.copy_(table)


def the_plan_is_forgotten(batch, replay, sets):
    kept = [s.paged_mqa_schedule_metadata.clone() for s in sets[:3]]
    replay(batch)
    for s, plan in zip(sets[:3], kept, strict=True):
        s.paged_mqa_schedule_metadata.copy_(plan)


def only_real_requests(batch, replay, sets):
    kept = [s.cache_seqlens_int32[2:].clone() for s in sets]
    replay(batch)
    for s, lengths in zip(sets, kept, strict=True):
        # "nobody looks at the padded rows"
        s.cache_seqlens_int32[2:] = lengths


def the_width_is_that_of_the_recording(batch, replay, sets):
    width = 8
    kept = [s.page_table_1[:, width:].clone() for s in sets]
    replay(batch)
    for s, columns in zip(sets, kept, strict=True):
        s.page_table_1[:, width:] = columns


def lengths_are_not_copied(batch, replay, sets):
    cache_seqlens = batch.seq_lens  # why copy it?
    cache_seqlens += 2
    replay(ReplayBatch(cache_seqlens - 2, batch.req_pool_indices))


FAULTS = {
    1: later_steps_keep_their_table,
    2: the_plan_is_forgotten,
    3: only_real_requests,
    4: the_width_is_that_of_the_recording,
    5: lengths_are_not_copied,
}
ENGINE = {  # what the engine of a fault is, beside the fault
    1: {},
    2: {"width": 1024, "paged_mqa_num_sms": 3},
    3: {"bs": 3},
    4: {},
    5: {"mode": ForwardMode.TARGET_VERIFY, "num_draft_tokens": 2},
}


def code(number: int) -> str:
    """A faulty refresh, to be shown when the cell was looked for."""
    return inspect.getsource(FAULTS[number]).rstrip()


def engine_of(number: int) -> TinyEngine:
    """An engine with a fault, before its first batch."""
    return TinyEngine(FAULTS[number], **ENGINE[number])


def audit_of(number: int) -> tables.Table:
    """What the audit finds first in a faulty refresh, and the smallest batch in which it does."""
    finding = engine_of(number).audit()
    lengths, rows = (tensor.tolist() for tensor in (finding.batch.seq_lens, finding.batch.req_pool_indices))
    found = {"the audit says": f"{finding.kind}: {finding.message}"}
    return tables.table([found | {"lengths in its batch": lengths, "rows of req_to_token": rows}])
