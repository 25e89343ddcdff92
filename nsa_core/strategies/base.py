"""The life of a strategy in four verbs: missing, allocate, bind (the constructor), replay."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ..batch import Extent, ReplayBatch, extent
from ..config import ForwardMode, NSAConfig
from ..metadata import NSAMetadata, PrecomputedMetadata, allocate
from ..plan import CopyPlan, copy_plan
from ..precompute import compute


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What the last replay did.

    rows, columns: the extent E, L the host knew; None where no strategy had to know it on the host.
    host_reads: device tensors read back (each a synchronisation).
    paths: how many operations of each kind ran, e.g. {"copy_": 24}.
    inputs_copied: the batch's tensors were not the recorded ones and were copied into them first.
    """

    strategy: str
    rows: int | None = None
    columns: int | None = None
    host_reads: int = 0
    paths: dict[str, int] = field(default_factory=dict)
    inputs_copied: bool = False


class Refused(ValueError):
    """This strategy declines this configuration; the message says which and what to use instead."""


NO_STEPS = range(0)


@dataclass(frozen=True, slots=True)
class Captured:
    """What a strategy is bound to: the captured sets of one mode and batch size."""

    config: NSAConfig
    req_to_token: torch.Tensor
    mode: ForwardMode
    bs: int
    sets: list[NSAMetadata]
    inputs: ReplayBatch | None = None  # the tensors a recorded strategy is to read; None: it brings its own

    @property
    def width(self) -> int:
        """Columns of the narrowest table on the way from `req_to_token` to any step."""
        return min(self.req_to_token.shape[1], *(s.page_table_1.shape[1] for s in self.sets))


class Strategy:
    """One way to refresh captured sets, bound to the sets of one mode and batch size."""

    name: str
    standing: str
    contract = "exact"
    needs = "torch"
    capture_safe = False  # whether a replay may be recorded in a CUDA graph: no host value of the batch enters it

    @classmethod
    def missing(cls, device: torch.device) -> str | None:
        """What this machine lacks to run the strategy on `device`, and the way out; None when it can run."""
        return None

    @classmethod
    def allocate(
        cls, config: NSAConfig, req_to_token: torch.Tensor, bs: int, mode: ForwardMode, num_steps: int
    ) -> list[NSAMetadata]:
        """The captured sets of all steps."""
        return [allocate(config, req_to_token, bs, mode) for _ in range(num_steps)]

    def __init__(self, captured: Captured) -> None:
        self.captured = captured
        # Steps that a failed replay left behind: each may hold the batch before or mix two.
        # Set when writing begins, so a replay that fails earlier leaves it, and the buffers, as they were.
        self.torn = NO_STEPS

    def repeat(self, batch: ReplayBatch) -> Callable[[], object] | None:
        """The same replay again, for tensors whose contents may have changed; None where the host must look at them."""
        return None

    def replay(self, batch: ReplayBatch) -> ReplayReport:
        """Refresh every set for a validated batch."""
        raise NotImplementedError(f"{type(self).__name__}.replay")


class PlanStrategy(Strategy):
    """Precompute once, then execute the copy plan of every step. A subclass says how."""

    def replay(self, batch: ReplayBatch) -> ReplayReport:
        used = self._extent(batch)
        values = self._compute(batch, used, range(len(self.captured.sets)))
        plans = [copy_plan(s, v, self.captured.mode) for s, v in zip(self.captured.sets, values, strict=True)]
        self.torn = range(len(self.captured.sets))
        paths = self.execute(plans)
        self.torn = NO_STEPS
        return ReplayReport(self.name, used.rows, used.columns, used.host_reads, paths)

    def execute(self, plans: list[CopyPlan]) -> dict[str, int]:
        """Run one plan per step; returns how many operations of each kind that took."""
        raise NotImplementedError(f"{type(self).__name__}.execute")

    def _copy_step(self, step: int, plan: CopyPlan) -> None:
        """One `.copy_()` per pair of one step, steps in order."""
        self.torn = range(step, len(self.captured.sets))
        for dst, src in plan:
            dst.copy_(src)
        self.torn = range(step + 1, len(self.captured.sets))

    def _extent(self, batch: ReplayBatch) -> Extent:
        c = self.captured
        return extent(c.config, batch, c.mode, c.width, len(c.sets))

    def _compute(self, batch: ReplayBatch, used: Extent, steps: Sequence[int]) -> list[PrecomputedMetadata]:
        c = self.captured
        return compute(c.config, c.req_to_token, batch, c.mode, used, steps)
