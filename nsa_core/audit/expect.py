"""What every field must hold after a refresh, from the oracle: values, and which cells are live."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import torch

from ..batch import ReplayBatch
from ..config import ForwardMode, NSAConfig
from ..schedules import RELEASES, schedule_flashmla, schedule_paged_mqa
from .held import LEADING_ZERO, PAGED_MQA, PARTS, SPLITS, TABLES, VECTORS, Held
from .oracle import Cells, expected, request_lengths, rows_in_use
from .walk import walk_schedule

_READ_COLUMNS = 5  # of a FlashMLA part; the others are unused


@dataclass(frozen=True)
class Want:
    """The leading corner of one field: what its live cells must be.

    others: values that are right as well, whole (another release of a schedule).
    """

    values: torch.Tensor
    live: torch.Tensor
    others: tuple[torch.Tensor, ...] = ()
    lengths: tuple[int, ...] | None = None  # of a paged-MQA schedule, to tell what a wrong one does

    def corner(self, field: torch.Tensor) -> torch.Tensor:
        """The part of `field` this speaks of."""
        return field[tuple(slice(0, size) for size in self.values.shape)]

    def wrong(self, field: torch.Tensor) -> torch.Tensor:
        """bool, where a live cell differs."""
        have = self.corner(field)
        if any(torch.equal(have, other) for other in self.others):
            return torch.zeros_like(self.live)
        return (have != self.values) & self.live

    def consequence(self, field: torch.Tensor) -> str:
        """What a reader would do with the wrong cells, where that is known."""
        if self.lengths is None:
            return ""
        walk = walk_schedule(self.corner(field), torch.tensor(self.lengths))
        return "" if walk.ok else f" ({walk})"


@dataclass(frozen=True)
class Question:
    """A batch as the checks see it."""

    config: NSAConfig
    req_to_token: torch.Tensor
    batch: ReplayBatch
    mode: ForwardMode
    num_steps: int


def wanted(question: Question, held: Held) -> dict[str, Want]:
    """By field, for draft step `held.step`; only fields the set has and a refresh writes."""
    q, written = question, held.written()
    rows = [row.length for row in rows_in_use(q.config, q.batch, q.mode, held.step)]
    wants = dict(_from_oracle(q, held, rows))
    if SPLITS in written:
        wants |= _flashmla(q.config, rows, written)
    return wants


def columns_in_use(question: Question) -> int:
    """L: columns an exact refresh writes, those of the longest step."""
    return max(request_lengths(question.config, question.batch, question.mode, question.num_steps - 1))


def constants(config: NSAConfig, held: Held, cap: int) -> dict[str, Want]:
    """What the fields that are fixed at capture must hold."""
    wants = {}
    for name, tensor in held.constants.items():
        if name not in (PARTS, SPLITS):
            values = torch.arange(cap + 1, dtype=tensor.dtype, device=tensor.device)
            wants[name] = Want(values, torch.ones_like(values, dtype=torch.bool))
    if SPLITS in held.constants:
        wants |= _flashmla(config, [config.index_topk] * cap, held.tensors)
    return wants


def _from_oracle(q: Question, held: Held, rows: list[int]) -> Iterator[tuple[str, Want]]:
    longest = max(rows, default=0)
    shapes = dict(held.tensors)  # the oracle takes the shapes from here: tables cropped to what is live
    shapes["page_table_1"] = shapes["page_table_1"][: len(rows), :longest]
    shapes["real_page_table"] = shapes["real_page_table"][: len(rows), : -(-longest // q.config.page_size)]
    cells = expected(
        q.config,
        q.req_to_token,
        q.batch,
        q.mode,
        SimpleNamespace(**shapes),
        contract="live prefix",
        step=held.step,
        num_steps=q.num_steps,
    )
    for name in TABLES:
        yield name, Want(cells[name].values, cells[name].mask)
    for name in VECTORS:
        used = int(cells[name].mask.sum())
        yield name, Want(cells[name].values[:used], _written(name, cells[name].mask[:used]))
    if PAGED_MQA in cells:
        yield PAGED_MQA, _paged_mqa(cells[PAGED_MQA], rows)


def _paged_mqa(cells: Cells, rows: list[int]) -> Want:
    """The oracle speaks for one DeepGEMM release; the plan of another is as good."""
    lengths, entries = torch.tensor(rows, dtype=torch.int32), cells.values.shape[0]
    others = [schedule_paged_mqa(lengths, entries - 1, release=release) for release in RELEASES[1:]]
    return Want(cells.values, cells.mask, tuple(o.to(cells.values.device) for o in others), tuple(rows))


def _written(name: str, live: torch.Tensor) -> torch.Tensor:
    if name in LEADING_ZERO:
        live[0] = False  # written at capture, and looked at by itself
    return live


def _flashmla(config: NSAConfig, rows: list[int], tensors: dict[str, torch.Tensor]) -> dict[str, Want]:
    device, attended = tensors[SPLITS].device, [min(length, config.index_topk) for length in rows]
    if not rows:
        return {}
    plan = schedule_flashmla(torch.tensor(attended), config.flashmla_num_sm_parts)
    parts = plan.flashmla_metadata[:, :_READ_COLUMNS]
    live = torch.ones_like(parts, dtype=torch.bool)
    live[:, 1] = parts[:, 0] < len(rows)  # where an idle part begins inside a request is unspecified
    splits = _written(SPLITS, torch.ones_like(plan.num_splits, dtype=torch.bool))
    return {
        PARTS: Want(parts.to(device), live.to(device)),
        SPLITS: Want(plan.num_splits.to(device), splits.to(device)),
    }
