"""Taking over an engine's own captured buffers."""

from collections.abc import Sequence

import torch

from .batch import INPUTS, ReplayBatch, require_memory
from .config import TABLES, ForwardMode, NSAConfig
from .metadata import CONSTANTS, NSAFlashMLAMetadata, NSAMetadata, byte_span, overlap


def adopt_metadata(
    config: NSAConfig, req_to_token: torch.Tensor, bs: int, mode: ForwardMode, source: object
) -> NSAMetadata:
    """Wrap an engine's metadata object: same tensors, no copy.

    source: any object with the fields of `NSAMetadata` as attributes; `nsa_x` may be spelled `dsa_x`, SGLang's
        name since May 2026. Query-side constants may be missing. Tables and schedules are taken as the config asks;
        of FlashMLA parts sized for a larger SM count the first P are taken.
    Raises ValueError (missing, shape, device, layout) or TypeError (not a tensor, dtype), naming the field.
    """
    cap, device = bs * config.rows_per_request(mode), req_to_token.device
    sizes = {
        "cache_seqlens_int32": bs,
        "cu_seqlens_k": bs + 1,
        "nsa_seqlens_expanded": cap,
        "nsa_cache_seqlens_int32": cap,
        "nsa_cu_seqlens_k": cap + 1,
    }
    fields = {name: _vector(device, name, _required(source, name), size) for name, size in sizes.items()}
    columns = 1
    for name in TABLES:
        needed = name in config.tables
        fields[name] = _table(device, name, _required(source, name), cap, columns) if needed else None
        if needed:
            columns = -(-fields[name].shape[1] // config.page_size)
    for name in CONSTANTS:
        constant = engine_attribute(source, name)
        fields[name] = None if constant is None else _vector(device, name, constant, cap + 1)
    if config.paged_mqa_num_sms is not None:
        name = "paged_mqa_schedule_metadata"
        fields[name] = _schedule(device, name, _required(source, name), config.paged_mqa_num_sms + 1, 2)
    if config.flashmla_num_sm_parts is not None:
        schedule, name = _required(source, "flashmla_metadata"), "flashmla_metadata.flashmla_metadata"
        parts = _schedule(device, name, _required(schedule, "flashmla_metadata"), config.flashmla_num_sm_parts, 8)
        splits = _vector(device, "flashmla_metadata.num_splits", _required(schedule, "num_splits"), cap + 1)
        fields["flashmla_metadata"] = NSAFlashMLAMetadata(parts, splits)
    return NSAMetadata(**fields)


def engine_attribute(source: object, name: str) -> object:
    """An engine's field under the name `nsa_x` or `dsa_x`; None when it has neither."""
    spellings = (name, name.replace("nsa_", "dsa_", 1))
    return next((getattr(source, s) for s in spellings if getattr(source, s, None) is not None), None)


def require_separate(
    config: NSAConfig,
    req_to_token: torch.Tensor,
    mode: ForwardMode,
    sets: Sequence[NSAMetadata],
    inputs: ReplayBatch | None = None,
) -> None:
    """Refuse memory of which a replay would overwrite one part with another's values, or what it reads.

    All fields of all steps, `req_to_token` and the recorded inputs are compared by the bytes they span. One buffer
    may serve a field in several steps, where the steps' values are equal, and two fields whose values always are.
    """
    first_step = {id(captured): step for step, captured in reversed(list(enumerate(sets)))}
    recorded = [] if inputs is None else zip(INPUTS, inputs.read_in(mode), strict=False)
    read = [(name, None, tensor) for name, tensor in [("req_to_token", req_to_token), *recorded]]
    written = [(name, step, t) for step in sorted(first_step.values()) for name, t in sets[step].tensors().items()]
    for one, other in _overlapping([*read, *written]):
        if not _may_share(config, mode, one, other):
            differ = config.step_offset and one[1] not in (None, other[1])
            why = f"with step_offset {config.step_offset} steps differ; " if differ else ""
            raise ValueError(f"{_told(other)} shares memory with {_told(one)}; {why}each needs its own cells")


_Buffer = tuple[str, int | None, torch.Tensor]  # name, step of a captured field, tensor


def _told(buffer: _Buffer) -> str:
    name, step, _ = buffer
    return name if step is None else f"{name} of step {step}"


def _overlapping(buffers: Sequence[_Buffer]) -> list[tuple[_Buffer, _Buffer]]:
    """Pairs with a cell in common, in the order given."""
    spans, pairs = sorted((*byte_span(tensor), at) for at, (_, _, tensor) in enumerate(buffers)), []
    for nth, (_, end, at) in enumerate(spans):
        for begin, _, other in spans[nth + 1 :]:
            if begin >= end:
                break
            if overlap(buffers[at][2], buffers[other][2]):
                pairs.append((min(at, other), max(at, other)))
    return [(buffers[one], buffers[other]) for one, other in sorted(pairs)]


def _may_share(config: NSAConfig, mode: ForwardMode, one: _Buffer, other: _Buffer) -> bool:
    (name, step, a), (other_name, other_step, b) = one, other
    if name in CONSTANTS and other_name in CONSTANTS:
        return True
    if None in (step, other_step) or a.data_ptr() != b.data_ptr() or a.stride() != b.stride():
        return False
    same_table = {"page_table_1", "real_page_table"} if config.page_size == 1 else {"page_table_1"}
    tables_only = {name, other_name} <= same_table or name == other_name == "real_page_table"
    if step != other_step and config.step_offset and not (tables_only or _is_fixed(config, name)):
        return False  # lengths differ from step to step, and with them everything but tables and fixed schedules
    lengths = {"cache_seqlens_int32", "nsa_seqlens_expanded"} if mode.is_decode_or_idle() else set()
    return name == other_name or tables_only or {name, other_name} == lengths


def _is_fixed(config: NSAConfig, name: str) -> bool:
    return name.startswith("flashmla_metadata.") and not config.flashmla_dense


def _required(source: object, name: str) -> object:
    value = engine_attribute(source, name)
    if value is None:
        raise ValueError(f"{name} is missing from the adopted {type(source).__name__}; every replay writes it")
    return value


def _vector(device: torch.device, name: str, value: object, size: int) -> torch.Tensor:
    _require_tensor(device, name, value, 1)
    if value.shape[0] < size:
        raise ValueError(f"{name} has {value.shape[0]} entries, but a capture of this size needs {size}")
    if not value.is_contiguous():
        raise ValueError(f"{name} has stride {value.stride(0)}; a vector must be contiguous")
    return value


def _table(device: torch.device, name: str, value: object, rows: int, columns: int) -> torch.Tensor:
    _require_tensor(device, name, value, 2)
    if value.shape[0] < rows or value.shape[1] < columns:
        raise ValueError(f"{name} has shape {list(value.shape)}, but needs at least [{rows}, {columns}]")
    if (value.shape[1] > 1 and value.stride(1) != 1) or (value.shape[0] > 1 and value.stride(0) < value.shape[1]):
        raise ValueError(f"{name} has strides {value.stride()}; its rows must be contiguous and must not overlap")
    return value


def _schedule(device: torch.device, name: str, value: object, rows: int, columns: int) -> torch.Tensor:
    """The first `rows` rows of a schedule, which its kernel reads without gaps."""
    _table(device, name, value, rows, columns)
    if value.shape[1] != columns or not value.is_contiguous():
        shape = f"shape {list(value.shape)} and strides {value.stride()}"
        raise ValueError(f"{name} has {shape}; its kernel reads it as contiguous [{rows}, {columns}]")
    return value[:rows]


def _require_tensor(device: torch.device, name: str, value: object, dims: int) -> None:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} must be a tensor, got {value!r}")
    if value.dtype != torch.int32:
        raise TypeError(f"{name} must be int32, got {value.dtype}")
    if value.device != device:
        raise ValueError(f"{name} is on {value.device}, but req_to_token is on {device}")
    require_memory(name, value)
    if value.dim() != dims:
        raise ValueError(f"{name} must have {dims} dimensions, got shape {list(value.shape)}")
