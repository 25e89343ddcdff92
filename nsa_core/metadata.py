"""The buffers a captured graph reads, and the values a replay puts into them."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import torch

from . import show
from .config import ForwardMode, NSAConfig


@dataclass(frozen=True)
class NSAFlashMLAMetadata:
    """FlashMLA's scheduler metadata: an object that holds tensors and is none itself.

    flashmla_metadata: int32 [num_sm_parts, 8], a row per part: begin request, begin block, end request,
        end block (exclusive), begin split; columns 5..7 are unused.
    num_splits: int32 [rows + 1], cumulative splits.
    """

    flashmla_metadata: torch.Tensor
    num_splits: torch.Tensor

    def slice(self, sl: slice) -> "NSAFlashMLAMetadata":
        """A view on fewer rows. Only `num_splits` has rows; the parts stay whole."""
        return NSAFlashMLAMetadata(self.flashmla_metadata, self.num_splits[sl])

    def copy_(self, other: "NSAFlashMLAMetadata") -> None:
        self.flashmla_metadata.copy_(other.flashmla_metadata)
        self.num_splits.copy_(other.num_splits)


@dataclass
class PrecomputedMetadata:
    """The values of one replay, computed once. E rows and L columns are in use; all int32 on one device.

    A table that `NSAConfig.tables` leaves out is None, here and in `NSAMetadata`.

    Field names are those of `NSAMetadata`; each value fills the leading corner of the field of that name.
    """

    cache_seqlens_int32: torch.Tensor  # [bs]
    cu_seqlens_k: torch.Tensor  # [bs + 1]
    page_table_1: torch.Tensor | None  # [E, L]
    nsa_seqlens_expanded: torch.Tensor  # [E]
    nsa_cache_seqlens_int32: torch.Tensor  # [E]
    nsa_cu_seqlens_k: torch.Tensor  # [E + 1]
    real_page_table: torch.Tensor | None  # [E, ceil(L / page_size)]
    flashmla_metadata: NSAFlashMLAMetadata | None = None  # only a dense schedule changes with the lengths
    paged_mqa_schedule_metadata: torch.Tensor | None = None  # [num_sms + 1, 2]


@dataclass(frozen=True, repr=False)
class NSAMetadata:
    """One step's captured set: fixed addresses, fixed shapes, int32. cap = captured rows, W = table width.

    Frozen, because a graph reads the tensors that were captured: a field set to another tensor would be refreshed
    where no graph looks.
    """

    # written by every replay
    cache_seqlens_int32: torch.Tensor  # [bs]
    cu_seqlens_k: torch.Tensor  # [bs + 1]; its leading zero is written at capture only
    page_table_1: torch.Tensor | None  # [cap, W]
    nsa_seqlens_expanded: torch.Tensor  # [cap]; in decode the storage of cache_seqlens_int32
    nsa_cache_seqlens_int32: torch.Tensor  # [cap]
    nsa_cu_seqlens_k: torch.Tensor  # [cap + 1]; its leading zero is written at capture only
    real_page_table: torch.Tensor | None  # [cap, ceil(W / page_size)]; with page_size 1 the storage of page_table_1
    # constant after capture: one query token per row
    cu_seqlens_q: torch.Tensor | None = None  # [cap + 1], arange
    nsa_cu_seqlens_q: torch.Tensor | None = None  # [cap + 1], arange
    # sparse: constant after capture; dense: written by every replay
    flashmla_metadata: NSAFlashMLAMetadata | None = None
    # written by every replay when the config asks for it
    paged_mqa_schedule_metadata: torch.Tensor | None = None  # [num_sms + 1, 2]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every buffer by name, objects expanded into theirs; aliases appear under each of their names."""
        return dict(named_tensors(self))

    def __repr__(self) -> str:
        return show.text(*self._shown())

    def _repr_html_(self) -> str:
        return show.html(*self._shown())

    def _shown(self) -> tuple[str, list[show.Line]]:
        tensors = self.tensors()
        title = f"NSAMetadata, one captured set on {self.cache_seqlens_int32.device}"
        return title, [show.line(name, tensor) for name, tensor in tensors.items()]


LEADING_ZERO = ("cu_seqlens_k", "nsa_cu_seqlens_k", "flashmla_metadata.num_splits")  # 0 at [0], from capture on
CONSTANTS = ("cu_seqlens_q", "nsa_cu_seqlens_q")

SPLIT_KV = 256  # tokens in a split of the paged-MQA schedule, the unit of work an SM takes


def named_tensors(holder: object, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of a metadata object by name, objects inside it expanded into theirs."""
    for field in fields(holder):
        value = getattr(holder, field.name)
        if isinstance(value, torch.Tensor):
            yield prefix + field.name, value
        elif value is not None:
            yield from named_tensors(value, f"{field.name}.")


def allocate(
    config: NSAConfig, req_to_token: torch.Tensor, bs: int, mode: ForwardMode, tables_of: NSAMetadata | None = None
) -> NSAMetadata:
    """A captured set for `bs` requests, valid for a graph capture: zeros, except the constants.

    Tables are `req_to_token.shape[1]` wide, not `config.max_context_len`; with `tables_of` they
    are that set's own, as is the sparse FlashMLA schedule.
    """
    cap, width, device = bs * config.rows_per_request(mode), req_to_token.shape[1], req_to_token.device
    parts, sms = config.flashmla_num_sm_parts, config.paged_mqa_num_sms

    def zeros(*shape: int) -> torch.Tensor:
        return _never_resized(torch.zeros(shape, dtype=torch.int32, device=device))

    # Never inference tensors: a set captured under inference_mode must be writable outside of it.
    with torch.inference_mode(False):
        lengths, counts = zeros(bs), _never_resized(torch.arange(cap + 1, dtype=torch.int32, device=device))
        page_table_1 = real_page_table = None
        if tables_of:
            page_table_1, real_page_table = tables_of.page_table_1, tables_of.real_page_table
        else:
            if "page_table_1" in config.tables:
                page_table_1 = zeros(cap, width)
            if "real_page_table" in config.tables:
                same = config.page_size == 1 and page_table_1 is not None
                real_page_table = page_table_1 if same else zeros(cap, -(-width // config.page_size))
        if tables_of and not config.flashmla_dense:
            flashmla = tables_of.flashmla_metadata  # sparse: no step's lengths enter it
        else:
            flashmla = None if parts is None else NSAFlashMLAMetadata(zeros(parts, 8), zeros(cap + 1))
        return NSAMetadata(
            cache_seqlens_int32=lengths,
            cu_seqlens_k=zeros(bs + 1),
            page_table_1=page_table_1,
            nsa_seqlens_expanded=lengths if mode.is_decode_or_idle() else zeros(cap),
            nsa_cache_seqlens_int32=zeros(cap),
            nsa_cu_seqlens_k=zeros(cap + 1),
            real_page_table=real_page_table,
            cu_seqlens_q=counts,
            nsa_cu_seqlens_q=_never_resized(counts.clone()),
            flashmla_metadata=flashmla,
            paged_mqa_schedule_metadata=None if sms is None else zeros(sms + 1, 2),
        )


def _never_resized(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory, in a storage that torch refuses to resize: a graph goes on reading where it was."""
    return tensor if tensor.is_meta else torch.from_dlpack(torch.utils.dlpack.to_dlpack(tensor))


def byte_span(tensor: torch.Tensor) -> tuple[int, int]:
    """First byte and end of the memory between a tensor's first and last element; (0, 0) when it has none."""
    begin, elements = tensor.data_ptr(), tensor.numel()
    if elements == 0:
        return 0, 0
    if not tensor.is_contiguous():
        elements = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return begin, begin + elements * tensor.element_size()


def overlap(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two vectors or tables with contiguous rows may have a byte in common.

    A vector with a stride is a table of one column. Tables cut side by side from a wider one span each other's rows
    without sharing a cell: with equal row strides the columns decide, with unequal ones an overlap of the spans.
    """
    (a_begin, a_end), (b_begin, b_end) = byte_span(a), byte_span(b)
    if a_begin >= b_end or b_begin >= a_end:
        return False
    a, b = (t.unsqueeze(1) if t.dim() == 1 and not t.is_contiguous() else t for t in (a, b))
    strides = {t.stride(0) * t.element_size() for t in (a, b) if t.dim() == 2 and t.shape[0] > 1}
    a_row, b_row = (t.shape[-1] * t.element_size() for t in (a, b))
    if len(strides) != 1 or max(a_row, b_row) > max(strides):  # rows that overlap themselves leave no gap either
        return True
    stride = strides.pop()
    behind = (b_begin - a_begin) % stride  # where b's row begins in a's
    return behind < a_row or behind + b_row > stride


class Spans:
    """The bytes that tensors span, to ask cheaply whether another tensor may lie among them."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self._begins, self._ends = [], []
        for begin, end in sorted(map(byte_span, tensors)):
            if self._ends and begin <= self._ends[-1]:
                self._ends[-1] = max(end, self._ends[-1])
            else:
                self._begins.append(begin)
                self._ends.append(end)

    def touch(self, tensor: torch.Tensor) -> bool:
        begin, end = byte_span(tensor)
        at = bisect_right(self._ends, begin)  # the first span that ends behind `begin`
        return at < len(self._begins) and self._begins[at] < end


@dataclass(frozen=True)
class Memory:
    """Bytes of captured buffers.

    held: what the steps hold together, each buffer counted once however many steps read it.
    separate: what they would hold with a set of buffers each.
    """

    held: int
    separate: int

    @property
    def saved(self) -> int:
        return self.separate - self.held


def memory(sets: list[NSAMetadata]) -> Memory:
    """Count the buffers of all steps."""
    distinct = [{t.data_ptr(): t.nbytes for t in s.tensors().values()} for s in sets]
    held = {address: size for buffers in distinct for address, size in buffers.items()}
    return Memory(sum(held.values()), sum(sum(buffers.values()) for buffers in distinct))
