"""Which cells does a replay write, and which of them will be read? Observed, not derived from the rules."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from enum import IntEnum

import torch

from ... import MultiStepBackend, NSAMetadata, ReplayBatch
from ...audit.oracle import Row, rows_in_use
from ...strategies import REGISTRY
from ...strategies.base import ReplayReport
from .setup import Batch, Setup, interleaved_table
from .traffic import Cost, Traffic

# A replay into cells that all hold one of these shows what it wrote, and two of them leave no doubt: a written value
# can be equal to one of them, not to both.
POISONS = (-0x5EED, -0xBEEF)

PER_REQUEST = ("cache_seqlens_int32", "cu_seqlens_k")  # the other vectors have an entry per row
SCHEDULES = ("flashmla_metadata", "paged_mqa_schedule_metadata")  # of the device, not of a request; no setup has them
FIELDS = tuple(field.name for field in fields(NSAMetadata) if field.name not in SCHEDULES)
NEVER, CONSTANT = 0, -1  # ages; a cell written by replay k (from 1) has age k


class CellState(IntEnum):
    """What the last replay did to a cell, and whether a reader bounded by the lengths reads it."""

    LIVE = 0  # written and read
    UNREAD = 1  # written, not read
    STALE = 2  # kept from an earlier replay, not read
    NEVER = 3  # no replay wrote it so far; it holds what capture left
    CONSTANT = 4  # no replay can write it
    FAULT = 5  # read, but not written


class Observation:
    """Captured sets of one setup, and for every cell the replay that wrote it last.

    Each replay runs three times: into the observed sets, and into two twins that were filled with a poison each.
    Raises what the package raises for a setup or a batch it refuses; the observed sets are then as they were.
    """

    def __init__(self, setup: Setup):
        self.setup, self.config = setup, setup.config  # refuses sizes that are none before they size a table
        self.table = interleaved_table(setup.bs, setup.width, setup.page_size, setup.device)
        self._own_table = self.table.clone()
        self.backend = setup.backend(self.table)
        self._twins = [setup.backend(self.table) for _ in POISONS]
        self.sets = self.backend.capture(setup.bs, setup.mode)
        for twin in self._twins:
            twin.capture(setup.bs, setup.mode)
        self.batches: list[Batch] = []
        self.rows: list[list[list[Row]]] = []  # by replay and step: the rows in use
        self.cost: Cost | None = None  # of the last replay
        self.ages = [{name: reached.to(torch.int32) - 1 for name, reached in step.items()} for step in self._reach()]

    def replay(self, batch: Batch) -> None:
        """Refresh the observed sets once and note who wrote what."""
        padded, before = batch.padded(self.setup), self.table.clone()
        self.table.copy_(self._own_table if batch.table is None else batch.table)
        try:
            with Traffic() as traffic:
                report = self.backend.replay(padded, self.setup.mode)
        except (KeyError, RuntimeError, TypeError, ValueError):
            self.table.copy_(before)
            raise
        self.cost = self._cost(report, traffic.cost)
        self.batches.append(batch)
        self.rows.append([rows_in_use(self.config, padded, self.setup.mode, i) for i in range(self.setup.steps)])
        self.written = self._written_by(padded)
        for step, written in enumerate(self.written):
            for name, mask in written.items():
                self.ages[step][name][mask] = len(self.batches)

    def states(self, step: int) -> dict[str, torch.Tensor]:
        """int8 `CellState` of every cell of a step's set, by field."""
        live = live_cells(self.setup, self.sets[step], len(self.rows[-1][step]))
        return {name: _states(age, live[name], len(self.batches)) for name, age in self.ages[step].items()}

    def values(self, step: int) -> dict[str, torch.Tensor]:
        """What a step's set holds now, on the CPU, by field."""
        return {name: tensor.cpu() for name, tensor in self.sets[step].tensors().items()}

    def differences(self) -> dict[str, list[int]]:
        """Cells of each step that differ from step 0's, by field."""
        first = self.sets[0].tensors()
        return {name: [int((step.tensors()[name] != first[name]).sum()) for step in self.sets] for name in first}

    def cells_written(self) -> int:
        """Cells the last replay wrote in all steps; storage that goes by two names counts once."""
        masks = {}
        for captured, written in zip(self.sets, self.written, strict=True):
            masks |= {tensor.data_ptr(): written[name] for name, tensor in captured.tensors().items()}
        return sum(int(mask.sum()) for mask in masks.values())

    def _written_by(self, batch: ReplayBatch) -> list[dict[str, torch.Tensor]]:
        """Replay into both twins: the cells that do not keep their poison, by step and field."""
        kept = [self._kept(poison, twin, batch) for poison, twin in zip(POISONS, self._twins, strict=True)]
        return [{name: ~(one[name] & two[name]) for name in one} for one, two in zip(*kept, strict=True)]

    def _kept(self, poison: int, twin: MultiStepBackend, batch: ReplayBatch) -> list[dict[str, torch.Tensor]]:
        """Fill every buffer of `twin` with `poison`, replay, and say where it is still there."""
        sets = [captured.tensors() for captured in twin.sets(self.setup.bs, self.setup.mode)]
        for tensors in sets:
            for tensor in tensors.values():
                tensor.fill_(poison)
        twin.replay(batch, self.setup.mode)
        return [{name: (tensor == poison).cpu() for name, tensor in tensors.items()} for tensors in sets]

    def _cost(self, report: ReplayReport, counted: Cost) -> Cost:
        if not REGISTRY[self.setup.strategy].needs_triton:
            return counted
        launches = report.paths.get("launch", 0) + report.paths.get("graph", 0)
        return Cost(launches, report.paths.get("copy_", 0), None, None)  # what a kernel reads, nobody sees

    def _reach(self) -> list[dict[str, torch.Tensor]]:
        """The cells that some batch can write: those of the longest batches, ragged ones among them."""
        most = min(self.setup.draft_tokens, self.setup.longest)
        ragged = range(1, most + 1) if self.setup.mode.is_draft_extend() else [most]
        reached = []
        for first in ragged:
            accepts = (first,) + (most,) * (self.setup.bs - 1)
            longest = Batch((self.setup.longest,) * self.setup.bs, accepts)
            reached.append(self._written_by(longest.padded(self.setup)))
        return [
            {name: torch.stack([r[step][name] for r in reached]).any(0) for name in reached[0][step]}
            for step in range(self.setup.steps)
        ]


@contextmanager
def one_thread() -> Iterator[None]:
    """Tensors this small are quicker without a second thread, above all where something else has the other core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def live_cells(setup: Setup, captured: NSAMetadata, rows: int) -> dict[str, torch.Tensor]:
    """The cells that a reader of rows [:rows] reads when it bounds each row by the length found in the buffer."""
    lengths = captured.nsa_seqlens_expanded[:rows].cpu()
    live = {}
    for name, tensor in captured.tensors().items():
        live[name] = torch.zeros(tensor.shape, dtype=torch.bool)
        if tensor.dim() == 2:
            tokens = setup.page_size if name == "real_page_table" else 1
            live[name][:rows] = torch.arange(tensor.shape[1]) * tokens < lengths.unsqueeze(1)
        elif name in PER_REQUEST:
            live[name][:] = True
        else:
            live[name][: rows + tensor.shape[0] - setup.rows] = True
    return live


def _states(age: torch.Tensor, live: torch.Tensor, last: int) -> torch.Tensor:
    state = torch.full(age.shape, CellState.STALE, dtype=torch.int8)
    state[age == NEVER] = CellState.NEVER
    state[live] = CellState.FAULT
    state[age == CONSTANT] = CellState.CONSTANT
    state[(age == last) & live] = CellState.LIVE
    state[(age == last) & ~live] = CellState.UNREAD
    return state
