"""Which value goes where: the only other place, beside precompute, that knows what a captured set looks like."""

from collections.abc import Mapping

import torch

from .config import ForwardMode, require_mode
from .metadata import NSAMetadata, PrecomputedMetadata, named_tensors

CopyPlan = list[tuple[torch.Tensor, torch.Tensor]]
_WITHOUT_FIRST = ("cu_seqlens_k", "nsa_cu_seqlens_k")  # the zero stays from capture; `num_splits` is copied whole


def copy_plan(captured: NSAMetadata, precomputed: PrecomputedMetadata, mode: ForwardMode) -> CopyPlan:
    """Flat (destination view, source tensor) pairs of equal shapes that bring `captured` up to date.

    Each source fills the leading corner of its field. Objects are expanded into their tensors, so whoever executes
    the plan needs to know neither a forward mode nor a class. Cells outside the destinations keep what they held.
    A field that is another name of an earlier one (decode's expanded lengths, a page_size-1 real table) is left out.
    """
    require_mode(mode)
    return pair(destinations(captured), sources(precomputed))


def destinations(captured: NSAMetadata) -> dict[str, torch.Tensor]:
    """By name, where values go in a captured set. Fixed at capture, so a strategy asks for it once."""
    first_names = {}
    for name, tensor in captured.tensors().items():
        first_names.setdefault(tensor.data_ptr(), name)
    return {
        name: _past_leading_zero(name, tensor)
        for name, tensor in captured.tensors().items()
        if name in first_names.values()
    }


def sources(precomputed: PrecomputedMetadata) -> dict[str, torch.Tensor]:
    """By name, the values of one replay. They serve every step that has these values."""
    return {name: _past_leading_zero(name, tensor) for name, tensor in named_tensors(precomputed)}


def pair(into: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> CopyPlan:
    """Each value with the corner of its destination that it fills."""
    return [(_corner(into[name], value), value) for name, value in values.items() if name in into]


def _past_leading_zero(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor[1:] if name in _WITHOUT_FIRST else tensor


def _corner(dst: torch.Tensor, src: torch.Tensor) -> torch.Tensor:
    if dst.shape == src.shape:
        return dst
    for dim, size in enumerate(src.shape):
        if size != dst.shape[dim]:
            dst = dst.narrow(dim, 0, size)
    return dst
