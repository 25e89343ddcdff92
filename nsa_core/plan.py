"""Which value goes where: the only other place, beside precompute, that knows what a captured set looks like."""

from collections.abc import Iterator
from dataclasses import fields

import torch

from .config import ForwardMode, require_mode
from .metadata import LEADING_ZERO, NSAMetadata, PrecomputedMetadata

CopyPlan = list[tuple[torch.Tensor, torch.Tensor]]


def copy_plan(captured: NSAMetadata, precomputed: PrecomputedMetadata, mode: ForwardMode) -> CopyPlan:
    """Flat (destination view, source tensor) pairs of equal shapes that bring `captured` up to date.

    Each source fills the leading corner of its field. Objects are expanded into their tensors, so whoever executes
    the plan needs to know neither a forward mode nor a class. Cells outside the destinations keep what they held.
    A field that is another name of an earlier one (decode's expanded lengths, a page_size-1 real table) is left out.
    """
    require_mode(mode)
    pairs, planned = [], set()
    for dst, src in _whole_fields(captured, precomputed):
        if dst.data_ptr() not in planned:
            planned.add(dst.data_ptr())
            pairs.append((_corner(dst, src), src))
    return pairs


def _whole_fields(captured: object, precomputed: object) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(captured tensor, value) of every field the replay brings, objects taken apart."""
    for field in fields(precomputed):
        src, dst = getattr(precomputed, field.name), getattr(captured, field.name)
        if src is None:
            continue
        if not isinstance(src, torch.Tensor):
            yield from _whole_fields(dst, src)
        elif field.name in LEADING_ZERO:
            yield dst[1:], src[1:]
        else:
            yield dst, src


def _corner(dst: torch.Tensor, src: torch.Tensor) -> torch.Tensor:
    for dim, size in enumerate(src.shape):
        if size != dst.shape[dim]:
            dst = dst.narrow(dim, 0, size)
    return dst
