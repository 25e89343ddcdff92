"""Precompute once, then copy with Triton: the optimisation of December 2025 that was reverted, and its relatives."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from .. import kernels
from ..metadata import overlap
from ..plan import CopyPlan
from .base import Captured, PlanStrategy


@dataclass(frozen=True, slots=True)
class CopyDescriptor:
    """One copy a kernel can run: rows of `columns` elements, each `*_stride` elements after the one before."""

    src: torch.Tensor
    dst: torch.Tensor
    size: int  # elements
    columns: int
    src_stride: int
    dst_stride: int

    @property
    def contiguous(self) -> bool:
        return self.src.is_contiguous() and self.dst.is_contiguous()

    def row(self) -> list[int]:
        """Its line in the table that `kernels.copies.copy_described` reads."""
        return [self.src.data_ptr(), self.dst.data_ptr(), self.size, self.columns, self.src_stride, self.dst_stride]


def describe(dst: torch.Tensor, src: torch.Tensor) -> CopyDescriptor:
    """Check a pair of the copy plan and describe it.

    Raises TypeError (dtype) or ValueError (shape, device, layout, overlap): int32 only by decision, at most two
    dimensions with contiguous rows, no memory in common.
    """
    for name, tensor in (("source", src), ("destination", dst)):
        if tensor.dtype != torch.int32:
            raise TypeError(f"{name} is {tensor.dtype}; the copy kernels take int32 only, as every captured field is")
        if tensor.dim() not in (1, 2) or (tensor.stride(-1) != 1 and tensor.shape[-1] > 1):
            raise ValueError(
                f"{name} has shape {list(tensor.shape)} and strides {tensor.stride()}; "
                "the copy kernels take one or two dimensions with contiguous rows"
            )
    if src.shape != dst.shape or src.device != dst.device:
        raise ValueError(
            f"source {list(src.shape)} on {src.device} does not fit destination {list(dst.shape)} on {dst.device}"
        )
    if overlap(src, dst):
        raise ValueError(f"source and destination {list(dst.shape)} overlap in memory; a parallel copy would race")
    return CopyDescriptor(src, dst, src.numel(), src.shape[-1], src.stride(0), dst.stride(0))


class _TritonCopies(PlanStrategy):
    """Describes every pair, hands the kernels what they can take and `.copy_()` the rest; counts both."""

    standing = "reverted: kept as a reference, never chosen for the user"
    needs_triton = True

    @classmethod
    def missing(cls, device: torch.device) -> str | None:
        return kernels.missing(device)

    def __init__(self, captured: Captured) -> None:
        super().__init__(captured)
        from ..kernels import copies

        self._kernels = copies

    def execute(self, plans: list[CopyPlan]) -> dict[str, int]:
        paths = Counter()
        for group in self.groups(plans):
            described = [describe(dst, src) for dst, src in group]
            taken = [d for d in described if d.size and self.takes(d)]
            paths["launch"] += self.copy(taken) if taken else 0
            paths["triton"] += len(taken)
            for d in described:
                if d.size and not self.takes(d):
                    d.dst.copy_(d.src)
                    paths["copy_"] += 1
        return dict(paths)

    def groups(self, plans: list[CopyPlan]) -> Sequence[CopyPlan]:
        """What is launched together: each step's plan."""
        return plans

    def takes(self, descriptor: CopyDescriptor) -> bool:
        """Whether the kernel takes a pair: contiguous on both sides, which a page-table slice `[:, :L]` is not."""
        return descriptor.contiguous

    def copy(self, taken: list[CopyDescriptor]) -> int:
        """Copy; returns the number of launches."""
        raise NotImplementedError(f"{type(self).__name__}.copy")

    def _blocks(self, taken: Sequence[CopyDescriptor]) -> int:
        return -(-max(d.size for d in taken) // self._kernels.BLOCK)


class BatchedEach(_TritonCopies):
    """The investigation's first form: a launch per copy."""

    name = "batched-each"

    def copy(self, taken: list[CopyDescriptor]) -> int:
        for d in taken:
            self._kernels.copy_one[(self._blocks([d]),)](d.src, d.dst, d.size, BLOCK=self._kernels.BLOCK)
        return len(taken)


class Batched(_TritonCopies):
    """The unified kernel: a launch per eight contiguous copies of one step."""

    name = "batched"

    def copy(self, taken: list[CopyDescriptor]) -> int:
        most = self._kernels.MOST_COPIES
        for at in range(0, len(taken), most):
            copies = taken[at : at + most]
            unused = [copies[0]] * (
                most - len(copies)
            )  # a pointer argument must hold something; size 0 copies nothing
            sources = [d.src for d in chain(copies, unused)]
            destinations = [d.dst for d in chain(copies, unused)]
            sizes = [d.size for d in copies] + [0] * len(unused)
            grid = (self._blocks(copies), len(copies))
            self._kernels.copy_up_to_8[grid](*sources, *destinations, *sizes, BLOCK=self._kernels.BLOCK)
        return -(-len(taken) // most)


class BatchedStrided(_TritonCopies):
    """Page-table slices too: a launch per step, over a table of addresses sent to the device each time."""

    name = "batched-strided"

    def takes(self, descriptor: CopyDescriptor) -> bool:
        return True

    def copy(self, taken: list[CopyDescriptor]) -> int:
        device = taken[0].dst.device
        # from pinned memory, because a copy to a GPU from any other waits for everything before it
        table = torch.tensor([d.row() for d in taken], pin_memory=device.type == "cuda").to(device, non_blocking=True)
        self._kernels.copy_described[(self._blocks(taken), len(taken))](table, BLOCK=self._kernels.BLOCK)
        return 1


class BatchedSteps(BatchedStrided):
    """One launch for the copies of all N steps."""

    name = "batched-steps"

    def groups(self, plans: list[CopyPlan]) -> Sequence[CopyPlan]:
        return [[pair for plan in plans for pair in plan]]
