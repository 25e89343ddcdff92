"""The buffers a captured graph reads, and the values a replay puts into them."""

from dataclasses import dataclass, fields

import torch

from .config import ForwardMode, NSAConfig


@dataclass
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

    Field names are those of `NSAMetadata`; each value fills the leading corner of the field of that name.
    """

    cache_seqlens_int32: torch.Tensor  # [bs]
    cu_seqlens_k: torch.Tensor  # [bs + 1]
    page_table_1: torch.Tensor  # [E, L]
    nsa_seqlens_expanded: torch.Tensor  # [E]
    nsa_cache_seqlens_int32: torch.Tensor  # [E]
    nsa_cu_seqlens_k: torch.Tensor  # [E + 1]
    real_page_table: torch.Tensor  # [E, ceil(L / page_size)]
    flashmla_metadata: NSAFlashMLAMetadata | None = None  # only a dense schedule changes with the lengths
    paged_mqa_schedule_metadata: torch.Tensor | None = None  # [num_sms + 1, 2]


@dataclass
class NSAMetadata:
    """One step's captured set: fixed addresses, fixed shapes, int32. cap = captured rows, W = table width."""

    # written by every replay
    cache_seqlens_int32: torch.Tensor  # [bs]
    cu_seqlens_k: torch.Tensor  # [bs + 1]; its leading zero is written at capture only
    page_table_1: torch.Tensor  # [cap, W]
    nsa_seqlens_expanded: torch.Tensor  # [cap]; in decode the storage of cache_seqlens_int32
    nsa_cache_seqlens_int32: torch.Tensor  # [cap]
    nsa_cu_seqlens_k: torch.Tensor  # [cap + 1]; its leading zero is written at capture only
    real_page_table: torch.Tensor  # [cap, ceil(W / page_size)]; with page_size 1 the storage of page_table_1
    # constant after capture: one query token per row
    cu_seqlens_q: torch.Tensor | None = None  # [cap + 1], arange
    nsa_cu_seqlens_q: torch.Tensor | None = None  # [cap + 1], arange
    # sparse: constant after capture; dense: written by every replay
    flashmla_metadata: NSAFlashMLAMetadata | None = None
    # written by every replay when the config asks for it
    paged_mqa_schedule_metadata: torch.Tensor | None = None  # [num_sms + 1, 2]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every buffer by name, objects expanded into theirs; aliases appear under each of their names."""
        return dict(_named_tensors(self))


def _named_tensors(holder: object, prefix: str = ""):
    for field in fields(holder):
        value = getattr(holder, field.name)
        if isinstance(value, torch.Tensor):
            yield prefix + field.name, value
        elif value is not None:
            yield from _named_tensors(value, f"{field.name}.")


def allocate(
    config: NSAConfig, req_to_token: torch.Tensor, bs: int, mode: ForwardMode, tables_of: NSAMetadata | None = None
) -> NSAMetadata:
    """A captured set for `bs` requests, valid for a graph capture: zeros, except the constants.

    Tables are `req_to_token.shape[1]` wide, not `config.max_context_len`; with `tables_of` they
    are that set's own, as is the sparse FlashMLA schedule.
    """
    cap = bs * config.rows_per_request(mode)
    page_table_1, real_page_table = _tables(config, req_to_token, cap, tables_of)
    lengths = _zeros(req_to_token, bs)
    sms = config.paged_mqa_num_sms
    return NSAMetadata(
        cache_seqlens_int32=lengths,
        cu_seqlens_k=_zeros(req_to_token, bs + 1),
        page_table_1=page_table_1,
        nsa_seqlens_expanded=lengths if mode.is_decode_or_idle() else _zeros(req_to_token, cap),
        nsa_cache_seqlens_int32=_zeros(req_to_token, cap),
        nsa_cu_seqlens_k=_zeros(req_to_token, cap + 1),
        real_page_table=real_page_table,
        cu_seqlens_q=torch.arange(cap + 1, dtype=torch.int32, device=req_to_token.device),
        nsa_cu_seqlens_q=torch.arange(cap + 1, dtype=torch.int32, device=req_to_token.device),
        flashmla_metadata=_flashmla(config, req_to_token, cap, tables_of),
        paged_mqa_schedule_metadata=sms and _zeros(req_to_token, sms + 1, 2),
    )


def _tables(
    config: NSAConfig, req_to_token: torch.Tensor, cap: int, tables_of: NSAMetadata | None
) -> tuple[torch.Tensor, torch.Tensor]:
    if tables_of is not None:
        return tables_of.page_table_1, tables_of.real_page_table
    width = req_to_token.shape[1]
    page_table_1 = _zeros(req_to_token, cap, width)
    pages = -(-width // config.page_size)
    return page_table_1, page_table_1 if config.page_size == 1 else _zeros(req_to_token, cap, pages)


def _flashmla(
    config: NSAConfig, like: torch.Tensor, cap: int, tables_of: NSAMetadata | None
) -> NSAFlashMLAMetadata | None:
    parts = config.flashmla_num_sm_parts
    if tables_of is not None and not config.flashmla_dense:
        return tables_of.flashmla_metadata  # sparse: no step's lengths enter it
    return None if parts is None else NSAFlashMLAMetadata(_zeros(like, parts, 8), _zeros(like, cap + 1))


def _zeros(like: torch.Tensor, *shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int32, device=like.device)


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
