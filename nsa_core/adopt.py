"""Taking over an engine's own captured buffers."""

import torch

from .config import ForwardMode, NSAConfig
from .metadata import NSAFlashMLAMetadata, NSAMetadata


def adopt_metadata(
    config: NSAConfig, req_to_token: torch.Tensor, bs: int, mode: ForwardMode, held: object
) -> NSAMetadata:
    """Wrap an engine's metadata object: same tensors, no copy.

    held: any object with the fields of `NSAMetadata` as attributes; `nsa_x` may be spelled `dsa_x`, SGLang's
        name since May 2026. Query-side constants may be missing. Schedules are taken when the config asks for them.
    Raises ValueError (missing, shape, device, layout) or TypeError (not a tensor, dtype), naming the field.
    """
    cap = bs * config.rows_per_request(mode)
    sizes = {
        "cache_seqlens_int32": bs,
        "cu_seqlens_k": bs + 1,
        "nsa_seqlens_expanded": cap,
        "nsa_cache_seqlens_int32": cap,
        "nsa_cu_seqlens_k": cap + 1,
    }
    taken = {name: _vector(req_to_token, name, _attribute(held, name), size) for name, size in sizes.items()}
    taken["page_table_1"] = _table(req_to_token, "page_table_1", _attribute(held, "page_table_1"), cap, 1)
    pages = -(-taken["page_table_1"].shape[1] // config.page_size)
    taken["real_page_table"] = _table(
        req_to_token, "real_page_table", _attribute(held, "real_page_table"), cap, pages
    )
    for name in ("cu_seqlens_q", "nsa_cu_seqlens_q"):
        constant = _attribute(held, name, None)
        taken[name] = None if constant is None else _vector(req_to_token, name, constant, cap + 1)
    if config.paged_mqa_num_sms is not None:
        name, schedule = "paged_mqa_schedule_metadata", _attribute(held, "paged_mqa_schedule_metadata")
        taken[name] = _table(req_to_token, name, schedule, config.paged_mqa_num_sms + 1, 2)
        if schedule.shape[1] != 2 or not schedule.is_contiguous():
            raise ValueError(
                f"{name} has shape {list(schedule.shape)} and strides {schedule.stride()}; DeepGEMM reads "
                f"it as contiguous [{config.paged_mqa_num_sms + 1}, 2]"
            )
    return NSAMetadata(**taken, flashmla_metadata=_flashmla(config, req_to_token, cap, held))


def require_separate(
    config: NSAConfig, req_to_token: torch.Tensor, mode: ForwardMode, sets: list[NSAMetadata]
) -> None:
    """Refuse adopted buffers that a replay would overwrite with another field's, or another step's, values."""
    for step, captured in enumerate(sets):
        _require_fields_apart(config, mode, step, captured)
        for name, tensor in captured.tensors().items():
            if tensor.untyped_storage().data_ptr() == req_to_token.untyped_storage().data_ptr():
                raise ValueError(f"{name} of step {step} lies in req_to_token's storage, which a replay only reads")
    if config.step_offset and len({s.cache_seqlens_int32.data_ptr() for s in sets}) < len(sets):
        raise ValueError(
            f"cache_seqlens_int32 is one buffer for several steps, but with step_offset "
            f"{config.step_offset} lengths differ from step to step; adopt one per step"
        )


def _require_fields_apart(config: NSAConfig, mode: ForwardMode, step: int, captured: NSAMetadata) -> None:
    may_alias = {"nsa_seqlens_expanded": "cache_seqlens_int32"} if mode.is_decode_or_idle() else {}
    if config.page_size == 1:
        may_alias["real_page_table"] = "page_table_1"
    owner: dict[int, str] = {}
    for name, tensor in captured.tensors().items():
        first = owner.setdefault(tensor.data_ptr(), name)
        if first != name and may_alias.get(name) != first:
            raise ValueError(f"{name} of step {step} is the same buffer as {first}; each needs one of its own")


_REQUIRED = object()


def _attribute(held: object, name: str, default: object = _REQUIRED) -> object:
    for spelling in (name, name.replace("nsa_", "dsa_", 1)):
        if getattr(held, spelling, None) is not None:
            return getattr(held, spelling)
    if default is _REQUIRED:
        raise ValueError(f"{name} is missing from the adopted {type(held).__name__}; every replay writes it")
    return default


def _vector(like: torch.Tensor, name: str, value: object, size: int) -> torch.Tensor:
    _tensor(like, name, value, 1)
    if value.shape[0] < size:
        raise ValueError(f"{name} has {value.shape[0]} entries, but a capture of this size needs {size}")
    return value


def _table(like: torch.Tensor, name: str, value: object, rows: int, columns: int) -> torch.Tensor:
    _tensor(like, name, value, 2)
    if value.shape[0] < rows or value.shape[1] < columns:
        raise ValueError(f"{name} has shape {list(value.shape)}, but needs at least [{rows}, {columns}]")
    if value.stride(1) != 1 or value.stride(0) < value.shape[1]:
        raise ValueError(f"{name} has strides {value.stride()}; its rows must be contiguous and must not overlap")
    return value


def _tensor(like: torch.Tensor, name: str, value: object, dims: int) -> None:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} must be a tensor, got {value!r}")
    if value.dtype != torch.int32:
        raise TypeError(f"{name} must be int32, got {value.dtype}")
    if value.dim() != dims:
        raise ValueError(f"{name} must have {dims} dimensions, got shape {list(value.shape)}")
    if value.device != like.device:
        raise ValueError(f"{name} is on {value.device}, but req_to_token is on {like.device}")
    if not value.is_contiguous() and dims == 1:
        raise ValueError(f"{name} has stride {value.stride(0)}; a vector must be contiguous")


def _flashmla(config: NSAConfig, like: torch.Tensor, cap: int, held: object) -> NSAFlashMLAMetadata | None:
    parts = config.flashmla_num_sm_parts
    if parts is None:
        return None
    schedule = _attribute(held, "flashmla_metadata")
    rows = _table(like, "flashmla_metadata.flashmla_metadata", _attribute(schedule, "flashmla_metadata"), parts, 8)
    splits = _vector(like, "flashmla_metadata.num_splits", _attribute(schedule, "num_splits"), cap + 1)
    return NSAFlashMLAMetadata(rows, splits)
