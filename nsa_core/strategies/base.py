"""The life of a strategy: missing, allocate, bind (the constructor), replay, and launch inside a caller's graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import torch

from ..batch import INPUTS, Extent, ReplayBatch
from ..config import ForwardMode, NSAConfig
from ..metadata import NSAMetadata, PrecomputedMetadata, Spans, allocate, overlap
from ..plan import CopyPlan, destinations, pair, sources
from ..precompute import compute


class Refused(ValueError):
    """A strategy declines a configuration; the message says why and what to use instead."""


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


NO_STEPS = range(0)


@dataclass(frozen=True, slots=True)
class Captured:
    """What a strategy is bound to: the captured sets of one mode and batch size.

    inputs: the tensors a recorded strategy is to read; None: it brings its own.
    width: tokens that the narrowest table on the way from `req_to_token` to any step has room for.
    buffers: `req_to_token` and every captured tensor once, by name. Their storages are kept: what a graph reads stays
        memory, whatever becomes of the tensor objects.
    """

    config: NSAConfig
    req_to_token: torch.Tensor
    mode: ForwardMode
    bs: int
    sets: list[NSAMetadata]
    inputs: ReplayBatch | None = None
    width: int = field(init=False)
    buffers: dict[str, torch.Tensor] = field(init=False)
    _spans: Spans = field(init=False, repr=False)
    _at_capture: tuple[list[int], list[int]] = field(init=False, repr=False)
    _storages: list[torch.UntypedStorage] = field(init=False, repr=False)
    _resizable: list[tuple[torch.UntypedStorage, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        page_size, room = self.config.page_size, [self.req_to_token.shape[1]]
        room += [s.page_table_1.shape[1] for s in self.sets if s.page_table_1 is not None]
        room += [s.real_page_table.shape[1] * page_size for s in self.sets if s.real_page_table is not None]
        named = [("req_to_token", self.req_to_token)]
        named += [(f"{name} of step {i}", t) for i, s in enumerate(self.sets) for name, t in s.tensors().items()]
        first_names = {id(tensor): name for name, tensor in reversed(named)}
        buffers = {name: tensor for name, tensor in named if first_names[id(tensor)] == name}
        object.__setattr__(self, "width", min(room))
        object.__setattr__(self, "buffers", buffers)
        object.__setattr__(self, "_spans", Spans(buffers.values()))
        object.__setattr__(self, "_at_capture", self._addresses_and_sizes())
        storages = [tensor.untyped_storage() for tensor in buffers.values()]
        object.__setattr__(self, "_storages", storages)
        object.__setattr__(self, "_resizable", [(s, s.data_ptr()) for s in storages if s.resizable()])

    def _addresses_and_sizes(self) -> tuple[list[int], list[int]]:
        tensors = self.buffers.values()
        return list(map(torch.Tensor.data_ptr, tensors)), list(map(torch.Tensor.numel, tensors))

    def require_in_place(self) -> None:
        """Raise ValueError for a tensor that was resized or set to other memory: a graph reads where it was."""
        now = self._addresses_and_sizes()
        if now == self._at_capture:
            return
        for name, was, was_size, at, size in zip(self.buffers, *self._at_capture, *now, strict=True):
            if (was, was_size) != (at, size):
                raise ValueError(
                    f"{name} has {size} elements at {at:#x}, but was captured with {was_size} at {was:#x}; "
                    "capture into a new backend"
                )

    def require_held(self) -> None:
        """Raise ValueError if captured memory was given up by a resize: the part of `require_in_place` that is
        cheap enough for every call, since the storages of `allocate` cannot be resized."""
        for storage, address in self._resizable:
            if storage.data_ptr() != address:
                self.require_in_place()

    def require_outside(self, inputs: Sequence[torch.Tensor]) -> None:
        """Raise ValueError for an input tensor, `ReplayBatch.read_in`, in memory that a captured graph reads."""
        for name, tensor in zip(INPUTS, inputs, strict=False):
            for whose, buffer in self.buffers.items() if self._spans.touch(tensor) else ():
                if overlap(tensor, buffer):
                    raise ValueError(
                        f"{name} shares memory with {whose}, which a captured graph reads; "
                        "keep the batch in tensors of its own"
                    )


class Strategy:
    """One way to refresh captured sets, bound to the sets of one mode and batch size.

    capture_safe: no host value of the batch enters a replay, so it may be recorded in a CUDA graph.
    records_inputs: a replay reads `inputs`, the tensors recorded at capture, and copies others into them first.
    torn: steps that a failed replay left behind: each may hold the batch before or mix two. It is set when writing
        begins, so a replay that fails earlier leaves it, and the buffers, as they were.
    """

    name: str
    standing: str
    contract = "exact"
    needs_triton = False
    needs_cuda = False
    capture_safe = False
    records_inputs = False

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
        self.captured, self.inputs = captured, None
        self.torn, self.every_step = NO_STEPS, range(len(captured.sets))

    def require(self, inputs: Sequence[torch.Tensor]) -> None:
        """Raise ValueError for input tensors, `ReplayBatch.read_in`, that this strategy cannot read as they are."""

    def replay(self, batch: ReplayBatch, extent: Extent | None = None) -> ReplayReport:
        """Refresh every set for a validated batch. extent: its extent; None for a strategy that is capture_safe."""
        raise NotImplementedError(f"{type(self).__name__}.replay")

    def replay_of(self, batch: ReplayBatch) -> Callable[[ReplayBatch], ReplayReport]:
        """What `replay` does for batches in the places of this one, chosen once. Holds none of its tensors."""
        return self.replay

    def launch(self, batch: ReplayBatch) -> None:
        """The refresh as one launch that a CUDA graph can record."""
        raise RuntimeError(
            f"strategy {self.name!r} needs lengths on the host, which a CUDA graph would freeze; "
            "refresh() needs 'fused' or 'graph'"
        )

    def reads(self, batch: ReplayBatch) -> bool:
        """Whether a recorded launch reads this very batch's tensors."""
        return False


class PlanStrategy(Strategy):
    """Precompute once, then execute the copy plan of every step. A subclass says how."""

    def __init__(self, captured: Captured) -> None:
        super().__init__(captured)
        self.destinations = [destinations(s) for s in captured.sets]

    @torch.inference_mode()  # no gradient is wanted, and every operation costs the host less without the bookkeeping
    def replay(self, batch: ReplayBatch, extent: Extent | None) -> ReplayReport:
        plans = self.plans(self._compute(batch, extent, self.every_step))
        self.torn = self.every_step
        paths = self.execute(plans)
        self.torn = NO_STEPS
        return ReplayReport(self.name, extent.rows, extent.columns, extent.host_reads, paths)

    def plans(self, values: Sequence[PrecomputedMetadata]) -> list[CopyPlan]:
        """A plan for each step. values: one for all steps, or with a step offset one each."""
        found = [sources(value) for value in values]
        return [pair(into, value) for into, value in zip(self.destinations, cycle(found), strict=False)]

    def execute(self, plans: list[CopyPlan]) -> dict[str, int]:
        """Run one plan per step; returns how many operations of each kind that took."""
        raise NotImplementedError(f"{type(self).__name__}.execute")

    def _copy_step(self, step: int, plan: CopyPlan) -> None:
        """One `.copy_()` per pair of one step, steps in order."""
        self.torn = range(step, len(self.captured.sets))
        for dst, src in plan:
            dst.copy_(src)
        self.torn = range(step + 1, len(self.captured.sets))

    def _compute(self, batch: ReplayBatch, extent: Extent, steps: Sequence[int]) -> list[PrecomputedMetadata]:
        c = self.captured
        return compute(c.config, c.req_to_token, batch, c.mode, extent, steps)
