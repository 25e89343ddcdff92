"""A gallery of faults: a correct refresh, made wrong the way engines got it wrong.

A mutant is `name(replay, sets)`: `replay(batch)` refreshes `sets` correctly, and what is returned does almost that.
`replay.req_to_token` is the token table. What is `modelled_on` a report happened; what is `planted` shows with one
property of a batch only, or to one way of looking. They run on the CPU everywhere: what they get wrong has no device,
and the small launches of many test processes wait for one another on a GPU.
"""

import threading
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import torch
from batches import DECODE, EXTEND, VERIFY, token_table
from device import DEVICE

import nsa_core as nsa
from nsa_core.schedules import schedule_paged_mqa

BS, STEPS, POOL, WIDTH = 4, 4, 9, 333
BASE = {"page_size": 64, "index_topk": 96, "num_draft_tokens": 4, "max_context_len": 256, "paged_mqa_num_sms": 7}
VECTORS = (
    "cache_seqlens_int32",
    "cu_seqlens_k",
    "nsa_seqlens_expanded",
    "nsa_cache_seqlens_int32",
    "nsa_cu_seqlens_k",
)


@dataclass(frozen=True)
class Mutant:
    """report: where it happened, if it did. kind, field: a finding that the audit must come back with."""

    make: object
    report: str | None
    kind: str
    field: str
    mode: nsa.ForwardMode = DECODE
    sets: str = "captured"  # or "strided": slices of wider buffers, adopted; or "nominal": tables too narrow, adopted
    contract: str = "live prefix"
    config: dict = field(default_factory=dict)
    fixed_width: bool = False  # batches without accept lengths

    @property
    def name(self):
        return self.make.__name__

    def build(self):
        """(refresh, captured sets, config, req_to_token)."""
        config, table = nsa.NSAConfig(**BASE | self.config), token_table(POOL, WIDTH, 64).cpu()
        backend = nsa.MultiStepBackend(config, table, STEPS)
        if self.sets == "captured":
            # as an engine holds them: objects whose fields can be set
            sets = [SimpleNamespace(**vars(captured)) for captured in backend.capture(BS, self.mode)]
        else:
            width = WIDTH if self.sets == "strided" else config.max_context_len
            sets = [
                strided_set(config, self.mode, width, gap=7 * (self.sets == "strided"), device="cpu")
                for _ in range(STEPS)
            ]
            backend.adopt(BS, self.mode, sets)

        def replay(batch):
            backend.replay(batch, self.mode)

        replay.req_to_token = table
        return self.make(replay, sets), sets, config, table


def numbers(*shape, device):
    return torch.zeros(shape, dtype=torch.int32, device=device)


def strided_set(config, mode, width, gap, device=DEVICE):
    """A captured set as an engine may hold it: each field a slice of a buffer with `gap` cells to spare."""
    cap, pages = BS * config.rows_per_request(mode), -(-width // config.page_size)
    sizes = dict(zip(VECTORS, (BS, BS + 1, cap, cap, cap + 1), strict=True))
    vectors = {name: numbers(size + 2 * gap, device=device)[gap : gap + size] for name, size in sizes.items()}
    tables = {
        name: numbers(cap + gap, columns + gap, device=device)[:cap, :columns]
        for name, columns in (("page_table_1", width), ("real_page_table", pages))
    }
    constants = {
        name: torch.arange(cap + 1, dtype=torch.int32, device=device) for name in ("cu_seqlens_q", "nsa_cu_seqlens_q")
    }
    schedule = numbers(config.paged_mqa_num_sms + 1, 2, device=device)
    return SimpleNamespace(**vectors, **tables, **constants, paged_mqa_schedule_metadata=schedule)


GALLERY = []


def modelled_on(report, kind, field, **options):
    def add(make):
        GALLERY.append(Mutant(make, report, kind, field, **options))
        return make

    return add


def planted(kind, field, **options):
    return modelled_on(None, kind, field, **options)


# Stale contents.


@modelled_on("sglang#24571", "not refreshed", "paged_mqa_schedule_metadata")
def three_destinations_get_all_but_the_schedule(replay, sets):
    def refresh(batch):
        kept = [s.paged_mqa_schedule_metadata.clone() for s in sets[:3]]
        replay(batch)
        for captured, schedule in zip(sets, kept, strict=False):
            captured.paged_mqa_schedule_metadata.copy_(schedule)

    return refresh


@modelled_on("fi#4365", "wrong", "paged_mqa_schedule_metadata", mode=VERIFY)
def the_schedule_is_that_of_the_batch_before(replay, sets):
    last = torch.ones(1, dtype=torch.int32)

    def refresh(batch):
        nonlocal last
        replay(batch)
        for captured in sets:
            captured.paged_mqa_schedule_metadata.copy_(schedule_paged_mqa(last, BASE["paged_mqa_num_sms"]))
        last = sets[0].nsa_seqlens_expanded.clone()

    return refresh


@modelled_on("sglang#15132", "not refreshed", "cache_seqlens_int32")
def an_idle_batch_keeps_the_metadata_of_the_last_busy_one(replay, sets):
    return lambda batch: replay(batch) if batch.seq_lens.any() else None


@modelled_on("vllm#41162", "steps differ", "page_table_1")
def later_draft_steps_are_not_rebuilt(replay, sets):
    def refresh(batch):
        kept = [captured.page_table_1.clone() for captured in sets[1:]]
        replay(batch)
        for captured, table in zip(sets[1:], kept, strict=True):
            captured.page_table_1.copy_(table)

    return refresh


@modelled_on("TRT#17247", "not refreshed", "real_page_table")
def only_the_first_column_is_refreshed(replay, sets):
    def refresh(batch):
        kept = [captured.real_page_table[:, 1:].clone() for captured in sets]
        replay(batch)
        for captured, columns in zip(sets, kept, strict=True):
            captured.real_page_table[:, 1:] = columns

    return refresh


@modelled_on("local-inference-lab/vllm#398", "not refreshed", "page_table_1")
def a_batch_of_known_shape_is_skipped(replay, sets):
    last = None

    def refresh(batch):
        nonlocal last
        if (seen := batch.seq_lens.tolist()) != last:
            replay(batch)
        last = seen

    return refresh


@modelled_on("vllm-ascend#9623", "wrong", "cache_seqlens_int32")
def the_first_tensors_are_read_forever(replay, sets):
    first = None

    def refresh(batch):
        nonlocal first
        first = batch if first is None else first
        replay(first)

    return refresh


@modelled_on("sglang#39825", "not refreshed", "page_table_1")
def the_width_known_on_the_host_is_frozen(replay, sets):
    width = None

    def refresh(batch):
        nonlocal width
        width = int(batch.seq_lens.max()) if width is None else width
        kept = [captured.page_table_1[:, width:].clone() for captured in sets]
        replay(batch)
        for captured, columns in zip(sets, kept, strict=True):
            captured.page_table_1[:, width:] = columns

    return refresh


@modelled_on("lightseekorg/tokenspeed#509", "wrong", "nsa_seqlens_expanded", mode=EXTEND)
def accepted_rows_are_counted_as_last_time(replay, sets):
    accepts = torch.ones(BS, dtype=torch.int32)

    def refresh(batch):
        nonlocal accepts
        replay(nsa.ReplayBatch(batch.seq_lens, batch.req_pool_indices, accepts.clamp(max=batch.seq_lens)))
        accepts = batch.accept_length.clone()

    return refresh


# Moved.


@modelled_on("vllm#33638", "moved", "paged_mqa_schedule_metadata")
def the_plan_is_a_new_tensor_every_time(replay, sets):
    def refresh(batch):
        for captured in sets:
            captured.paged_mqa_schedule_metadata = captured.paged_mqa_schedule_metadata.clone()
        replay(batch)

    return refresh


@modelled_on("sglang#38512", "moved", "page_table_1")
def a_longer_batch_grows_the_buffer(replay, sets):
    longest = 300

    def refresh(batch):
        nonlocal longest
        if int(batch.seq_lens.max()) > longest:
            longest = int(batch.seq_lens.max())
            sets[2].page_table_1 = torch.zeros_like(sets[2].page_table_1)
        replay(batch)

    return refresh


@modelled_on("sglang#27840", "aliases an input", "cache_seqlens_int32")
def lengths_that_are_int32_already_are_not_copied(replay, sets):
    def refresh(batch):
        replay(batch)
        for captured in sets:
            captured.cache_seqlens_int32 = batch.seq_lens.to(torch.int32)

    return refresh


# Widths, strides, rows, types.


@modelled_on("sglang#17554", "written outside", "page_table_1", sets="strided")
def the_stride_is_taken_from_the_shape(replay, sets):
    def refresh(batch):
        held = [captured.page_table_1.clone() for captured in sets]
        replay(batch)
        for captured, before in zip(sets, held, strict=True):
            right, shape = captured.page_table_1.clone(), captured.page_table_1.shape
            captured.page_table_1.copy_(before)
            captured.page_table_1.as_strided(shape, (shape[1], 1)).copy_(right)

    return refresh


@modelled_on("sglang#29379", "too small", "page_table_1", sets="nominal")
def tables_are_as_wide_as_the_nominal_context(replay, sets):
    return replay


@modelled_on("sglang#34384", "written outside", "cache_seqlens_int32", sets="strided")
def a_larger_bucket_is_refreshed_in_the_same_buffer(replay, sets):
    def refresh(batch):
        replay(batch)
        for captured in sets:
            captured.cache_seqlens_int32.as_strided((BS + 2,), (1,))[BS:] = 1

    return refresh


@modelled_on("sglang#29499", "written outside", "page_table_1", contract="exact")
def tails_are_cleared_under_the_exact_contract(replay, sets):
    def refresh(batch):
        replay(batch)
        for captured in sets:
            captured.page_table_1[:, int(batch.seq_lens.max()) :] = 0

    return refresh


@modelled_on("sglang#14781", "leading zero lost", "cu_seqlens_k")
def the_cumsum_comes_without_its_zero(replay, sets):
    def refresh(batch):
        replay(batch)
        for captured in sets:
            captured.cu_seqlens_k[:-1] = batch.seq_lens.cumsum(0)

    return refresh


@modelled_on("sglang#21987", "constant changed", "cu_seqlens_q", mode=EXTEND)
def query_offsets_are_uniform_at_capture_and_summed_at_replay(replay, sets):
    def refresh(batch):
        replay(batch)
        for captured in sets:
            captured.cu_seqlens_q[1 : BS + 1] = batch.accept_length.cumsum(0)

    return refresh


@modelled_on("sglang#14654", "wrong", "cache_seqlens_int32")
def int64_lengths_are_read_as_int32(replay, sets):
    def refresh(batch):
        replay(batch)
        for captured in sets:
            captured.cache_seqlens_int32.copy_(batch.seq_lens.view(torch.int32)[:BS])

    return refresh


@modelled_on("sglang#30378", "wrong", "nsa_seqlens_expanded", mode=EXTEND)
def padded_rows_get_lengths_below_zero(replay, sets):
    def refresh(batch):
        replay(batch)
        drafted = torch.arange(1 - BASE["num_draft_tokens"], 1)
        for captured in sets:
            captured.nsa_seqlens_expanded.copy_((batch.seq_lens[:, None] + drafted).view(-1))

    return refresh


@modelled_on("TRT#15913", "input changed", "seq_lens", mode=VERIFY)
def lengths_grow_in_the_callers_tensor(replay, sets):
    def refresh(batch):
        replay(batch)
        batch.seq_lens.add_(1)

    return refresh


@modelled_on("vllm#51593", "wrong", "nsa_cache_seqlens_int32")
def a_length_of_zero_becomes_minus_one(replay, sets):
    def refresh(batch):
        replay(batch)
        for captured in sets:
            captured.nsa_cache_seqlens_int32.masked_fill_(captured.nsa_cache_seqlens_int32 == 0, -1)

    return refresh


@modelled_on(
    "FlashMLA#96",
    "not refreshed",
    "flashmla_metadata.num_splits",
    mode=VERIFY,
    config={"flashmla_num_sm_parts": 6, "flashmla_dense": True},
)
def splits_are_sized_for_requests_instead_of_rows(replay, sets):
    def refresh(batch):
        kept = [captured.flashmla_metadata.num_splits[BS + 1 :].clone() for captured in sets]
        replay(batch)
        for captured, tail in zip(sets, kept, strict=True):
            captured.flashmla_metadata.num_splits[BS + 1 :] = tail

    return refresh


# Errors.


@modelled_on("sglang#29798", "raised", "")
def a_batch_without_host_mirrors_crashes(replay, sets):
    return lambda batch: replay(batch) if batch.seq_lens_cpu.max() >= 0 else None


@modelled_on("sglang#28743", "error swallowed", "")
def a_fallback_swallows_the_error(replay, sets):
    def refresh(batch):
        try:
            replay(batch)
        except AttributeError:  # the fault on show: an object that is no tensor goes unnoticed
            replay(batch)

    return refresh


@modelled_on("sglang#29373", "error swallowed", "")
def a_failed_copy_is_only_logged(replay, sets):
    def refresh(batch):
        try:
            replay(batch)
        except RuntimeError:  # the fault on show
            print("falling back")

    return refresh


@modelled_on("sglang#37165", "not restored", "page_table_1")
def what_failed_once_is_never_tried_again(replay, sets):
    pending = True

    def refresh(batch):
        nonlocal pending
        if pending:
            pending = False
            replay(batch)
            pending = True

    return refresh


@planted("error swallowed", "")
def one_kind_of_error_means_a_shape_that_does_not_fit(replay, sets):
    return swallowing(replay, ValueError)


@planted("error swallowed", "")
def one_kind_of_error_means_a_batch_size_not_captured(replay, sets):
    return swallowing(replay, KeyError)


@planted("error swallowed", "")
def one_kind_of_error_means_no_memory(replay, sets):
    return swallowing(replay, torch.OutOfMemoryError)


@planted("error swallowed", "")
def one_kind_of_error_means_no_such_kernel(replay, sets):
    return swallowing(replay, NotImplementedError)


def swallowing(replay, error):
    def refresh(batch):
        try:
            replay(batch)
        except error:  # the fault on show
            pass

    return refresh


@planted("error swallowed", "")
def one_copy_of_many_may_fail(replay, sets):
    def refresh(batch):
        replay(batch)
        for i in range(40):
            try:
                sets[1].cu_seqlens_k.copy_(sets[0].cu_seqlens_k)
            except RuntimeError:  # the fault on show, in one place
                if i != 23:
                    raise

    return refresh


@planted("not restored", "page_table_1")
def a_batch_that_failed_counts_as_done(replay, sets):
    failed = None

    def refresh(batch):
        nonlocal failed
        this = batch.seq_lens.tolist(), batch.req_pool_indices.tolist()
        if this != failed:
            failed = this
            replay(batch)
            failed = None

    return refresh


@planted("not restored", "page_table_1")
def the_refresh_after_a_failed_one_is_skipped(replay, sets):
    failed = False

    def refresh(batch):
        nonlocal failed
        skip, failed = failed, True
        if not skip:
            replay(batch)
        failed = False

    return refresh


# Inputs.


@planted("raised", "", mode=EXTEND)
def a_mirror_of_lengths_comes_with_one_of_accept_lengths(replay, sets):
    return lambda batch: (
        replay(batch) if batch.seq_lens_cpu is None else replay(batch) or batch.accept_length_cpu.sum()
    )


@planted("raised", "")
def mirrors_have_the_dtype_of_the_lengths(replay, sets):
    def refresh(batch):
        assert batch.seq_lens_cpu is None or batch.seq_lens_cpu.dtype == batch.seq_lens.dtype
        replay(batch)

    return refresh


@planted("wrong", "cache_seqlens_int32")
def the_host_mirror_is_taken_for_the_lengths(replay, sets):
    def refresh(batch):
        mirror = batch.seq_lens_cpu
        replay(batch if mirror is None else replace(batch, seq_lens=mirror))

    return refresh


@planted("input changed", "seq_lens_cpu")
def lengths_grow_in_the_host_mirror(replay, sets):
    def refresh(batch):
        replay(batch)
        if batch.seq_lens_cpu is not None:
            batch.seq_lens_cpu.add_(1)

    return refresh


@planted("input changed", "accept_length_cpu", mode=EXTEND)
def accepted_tokens_are_taken_off_the_host_mirror(replay, sets):
    def refresh(batch):
        replay(batch)
        if batch.accept_length_cpu is not None:
            batch.accept_length_cpu.zero_()

    return refresh


@planted("not refreshed", "nsa_seqlens_expanded", mode=EXTEND)
def int64_accept_lengths_are_read_as_int32(replay, sets):
    def refresh(batch):
        replay(replace(batch, accept_length=batch.accept_length.view(torch.int32)[:BS], accept_length_cpu=None))

    return refresh


@planted("wrong", "cache_seqlens_int32")
def inputs_are_read_from_the_start_of_their_storage(replay, sets):
    def refresh(batch):
        lengths, rows = (t.as_strided(t.shape, t.stride(), 0) for t in (batch.seq_lens, batch.req_pool_indices))
        replay(nsa.ReplayBatch(lengths, rows))

    return refresh


@planted("input changed", "req_to_token")
def pool_rows_change_places_in_the_token_table(replay, sets):
    def refresh(batch):
        replay(batch)
        replay.req_to_token.copy_(replay.req_to_token.flip(0))

    return refresh


@planted("input changed", "req_to_token")
def a_row_of_the_token_table_is_turned_round(replay, sets):
    def refresh(batch):
        replay(batch)
        row = replay.req_to_token[int(batch.req_pool_indices[0])]
        row.copy_(row.flip(0))

    return refresh


# What a refresh thinks it knows.


def cached(replay, sets, names, key):
    """Takes the fields of `names` from what a batch with the same key came to."""
    known = {}

    def refresh(batch):
        replay(batch)
        values = known.setdefault(key(batch), [getattr(sets[0], name).clone() for name in names])
        for captured in sets:
            for name, of_batch in zip(names, values, strict=True):
                getattr(captured, name).copy_(of_batch)

    return refresh


@planted("wrong", "page_table_1")
def tables_are_cached_by_lengths(replay, sets):
    return cached(replay, sets, ("page_table_1",), lambda batch: tuple(batch.seq_lens.tolist()))


@planted("wrong", "real_page_table")
def tables_are_cached_by_lengths_and_pool_rows(replay, sets):
    return cached(replay, sets, ("real_page_table",), lambda b: (*b.seq_lens.tolist(), *b.req_pool_indices.tolist()))


@planted("wrong", "cu_seqlens_k")
def cumulative_lengths_are_cached_by_the_sum_of_lengths(replay, sets):
    return cached(replay, sets, ("cu_seqlens_k",), lambda batch: int(batch.seq_lens.sum()))


@planted("wrong", "cu_seqlens_k", mode=EXTEND)
def cumulative_lengths_are_cached_by_sums_and_the_longest(replay, sets):
    def key(batch):
        return int(batch.seq_lens.sum()), int(batch.seq_lens.max()), int(batch.accept_length.sum())

    return cached(replay, sets, ("cu_seqlens_k",), key)


@planted("wrong", "cu_seqlens_k")
def cumulative_lengths_are_cached_by_the_host_mirror(replay, sets):
    def key(batch):
        return tuple((batch.seq_lens if batch.seq_lens_cpu is None else batch.seq_lens_cpu).tolist())

    return cached(replay, sets, ("cu_seqlens_k",), key)


@planted("not refreshed", "cu_seqlens_k")
def tensors_that_were_not_written_to_are_not_read_again(replay, sets):
    last = None

    def refresh(batch):
        nonlocal last
        this = batch.seq_lens.data_ptr(), batch.seq_lens._version
        if this != last:
            replay(batch)
        last = this

    return refresh


@planted("not refreshed", "cu_seqlens_k", mode=VERIFY)
def one_busy_request_among_empty_ones_is_forgotten(replay, sets):
    return lambda batch: replay(batch) if int((batch.seq_lens > 0).sum()) != 1 else None


@planted("not refreshed", "nsa_seqlens_expanded", mode=EXTEND)
def a_batch_that_begins_with_no_rows_is_forgotten(replay, sets):
    def refresh(batch):
        first, *others = batch.accept_length.tolist()
        if first > 0 or set(others) != {BASE["num_draft_tokens"]}:
            replay(batch)

    return refresh


def skipping_tables(replay, sets, same):
    """Leaves the tables alone while what the first set holds agrees with the batch."""

    def refresh(batch):
        skip = same(batch)
        kept = [(captured.page_table_1.clone(), captured.real_page_table.clone()) for captured in sets]
        replay(batch)
        for captured, (slots, pages) in zip(sets, kept if skip else (), strict=skip):
            captured.page_table_1.copy_(slots)
            captured.real_page_table.copy_(pages)

    return refresh


@planted("not refreshed", "page_table_1")
def tables_are_skipped_while_the_captured_lengths_are_right(replay, sets):
    return skipping_tables(replay, sets, lambda batch: bool((sets[0].cache_seqlens_int32 == batch.seq_lens).all()))


@planted("not refreshed", "real_page_table")
def tables_are_skipped_while_lengths_and_first_slots_are_right(replay, sets):
    def same(batch):
        live = batch.seq_lens > 0
        first = replay.req_to_token[batch.req_pool_indices.long(), 0] == sets[0].page_table_1[:, 0]
        return bool((sets[0].cache_seqlens_int32 == batch.seq_lens).all() and first[live].all())

    return skipping_tables(replay, sets, same)


@planted("not refreshed", "page_table_1")
def a_pool_row_is_taken_for_a_request_that_grows(replay, sets):
    """Requests that keep their row and have a few tokens more get their new columns only."""
    last = None

    def refresh(batch):
        nonlocal last
        lengths, rows = batch.seq_lens.tolist(), batch.req_pool_indices.tolist()
        grown = (
            last and rows == last[1] and all(0 < now - was < 64 for now, was in zip(lengths, last[0], strict=True))
        )
        grown = grown and last[0] == sets[0].cache_seqlens_int32.tolist()
        kept = [captured.page_table_1.clone() for captured in sets]
        replay(batch)
        for captured, table in zip(sets, kept, strict=True):
            for row, length in enumerate(last[0] if grown else ()):
                captured.page_table_1[row, :length] = table[row, :length]
        last = lengths, rows

    return refresh


@planted("wrong", "nsa_seqlens_expanded", mode=VERIFY)
def a_verified_request_of_length_0_counts_as_padding(replay, sets):
    def refresh(batch):
        replay(batch)
        padding = (batch.seq_lens == 0).repeat_interleave(BASE["num_draft_tokens"])
        for captured in sets:
            captured.nsa_seqlens_expanded.masked_fill_(padding, 1)

    return refresh


@planted("wrong", "cache_seqlens_int32", mode=EXTEND)
def an_extended_request_of_length_0_has_one_token(replay, sets):
    def refresh(batch):
        replay(batch)
        for captured in sets:
            captured.cache_seqlens_int32.clamp_(min=1)

    return refresh


@planted("wrong", "nsa_seqlens_expanded", mode=EXTEND)
def equal_accept_lengths_count_as_all_accepted(replay, sets):
    def refresh(batch):
        equal = 1 < int(batch.accept_length.min()) == int(batch.accept_length.max())
        most = batch.seq_lens.clamp(max=BASE["num_draft_tokens"]).int()
        replay(replace(batch, accept_length=most, accept_length_cpu=None) if equal else batch)

    return refresh


@planted("wrong", "cache_seqlens_int32")
def ascending_lengths_are_turned_round(replay, sets):
    def refresh(batch):
        ascending = bool((batch.seq_lens.diff() > 0).all())
        replay(replace(batch, seq_lens=batch.seq_lens.flip(0), seq_lens_cpu=None) if ascending else batch)

    return refresh


# Draft extend of fixed width.


@planted("raised", "", mode=EXTEND, fixed_width=True)
def every_batch_is_expected_to_bring_accept_lengths(replay, sets):
    return lambda batch: replay(batch) if int(batch.accept_length.max()) > 0 else None


@planted("wrong", "nsa_seqlens_expanded", mode=EXTEND, fixed_width=True)
def accept_lengths_stay_those_of_the_batch_before(replay, sets):
    last = torch.ones(BS, dtype=torch.int64)

    def refresh(batch):
        nonlocal last
        replay(nsa.ReplayBatch(batch.seq_lens, batch.req_pool_indices, torch.minimum(last, batch.seq_lens)))
        last = batch.seq_lens.clamp(max=BASE["num_draft_tokens"])

    return refresh


@planted("wrong", "nsa_seqlens_expanded", mode=EXTEND, fixed_width=True)
def a_request_shorter_than_its_rows_brings_fewer(replay, sets):
    def refresh(batch):
        accepts = batch.seq_lens.clamp(max=BASE["num_draft_tokens"])
        replay(nsa.ReplayBatch(batch.seq_lens, batch.req_pool_indices, accepts))

    return refresh


# Slots, and time.


@planted("wrong", "real_page_table")
def pages_are_divided_as_floats(replay, sets):
    def refresh(batch):
        replay(batch)
        for captured in sets:
            captured.real_page_table.copy_(
                (captured.page_table_1[:, :: BASE["page_size"]] / BASE["page_size"]).floor()
            )

    return refresh


@planted("wrong", "page_table_1")
def slots_pass_through_int16(replay, sets):
    def refresh(batch):
        replay(batch)
        for captured in sets:
            captured.page_table_1.copy_(captured.page_table_1.short())

    return refresh


LATE = 0.5  # seconds; the pause of an audit must be longer


def writing_late(replay, write):
    """Calls `write(batch)` from a thread, once no other refresh has followed for longer than a busy machine takes."""
    late = threading.Timer(0, int)

    def refresh(batch):
        nonlocal late
        late.cancel()
        replay(batch)
        late = threading.Timer(LATE, write, [batch])
        late.start()

    return refresh


@planted("written late", "page_table_1")
def a_thread_writes_a_table_when_the_engine_pauses(replay, sets):
    return writing_late(replay, lambda batch: sets[1].page_table_1[:, 0].fill_(-1))


@planted("written late", "cu_seqlens_q")
def a_thread_writes_a_constant_when_the_engine_pauses(replay, sets):
    return writing_late(replay, lambda batch: sets[0].cu_seqlens_q[1:].fill_(5))


@planted("written late", "req_to_token")
def a_thread_allocates_when_the_engine_pauses(replay, sets):
    return writing_late(replay, lambda batch: replay.req_to_token[0].add_(1))


@planted("written late", "seq_lens")
def a_thread_counts_tokens_when_the_engine_pauses(replay, sets):
    return writing_late(replay, lambda batch: batch.seq_lens.add_(1))
