"""Captured sets under comparison: their cells by name, where they were at capture, and what stands around them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ..adopt import engine_attribute
from ..config import TABLES, NSAConfig
from ..metadata import CONSTANTS, LEADING_ZERO
from .oracle import PAGED_MQA, PARTS, SPLITS

VECTORS = (
    "cache_seqlens_int32",
    "cu_seqlens_k",
    "nsa_seqlens_expanded",
    "nsa_cache_seqlens_int32",
    "nsa_cu_seqlens_k",
)
_AROUND = 1 << 16  # cells watched before and behind the captured ones of a storage


@dataclass(frozen=True)
class Place:
    """What a graph has recorded of a tensor."""

    address: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    nbytes: int  # of the storage

    @staticmethod
    def of(tensor: torch.Tensor) -> "Place":
        storage = tensor.untyped_storage().nbytes()
        return Place(tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, storage)


class CapturedSet:
    """One step's set: the tensors it had when the comparison began, and the object that a refresh may rebind."""

    def __init__(self, step: int, source: object, config: NSAConfig) -> None:
        self.step, self.source, self.config = step, source, config
        self.tensors = {name: _tensor(name, value) for name, value in _named(source, config)}
        self.places = {name: Place.of(tensor) for name, tensor in self.tensors.items()}
        fixed = CONSTANTS if config.flashmla_dense else (*CONSTANTS, PARTS, SPLITS)
        self.constants = {name: self.tensors[name].clone() for name in fixed if name in self.tensors}

    def now(self) -> dict[str, torch.Tensor]:
        """The tensors the object has at this moment."""
        return {name: value for name, value in _named(self.source, self.config) if isinstance(value, torch.Tensor)}

    def written(self) -> dict[str, torch.Tensor]:
        """The fields a refresh writes."""
        return {name: tensor for name, tensor in self.tensors.items() if name not in self.constants}

    def snapshot(self) -> dict[str, torch.Tensor]:
        """What the fields that a refresh writes hold now."""
        return {name: tensor.clone() for name, tensor in self.written().items()}

    def poison(self, value: int) -> dict[str, torch.Tensor]:
        """As after capture, except that every cell a refresh has to write holds `value`; returns what fields hold."""
        for name, tensor in self.written().items():
            (tensor[1:] if name in LEADING_ZERO else tensor).fill_(value)
        for name in LEADING_ZERO:
            if name in self.written():
                self.tensors[name][:1].zero_()
        for name, value_at_capture in self.constants.items():
            self.tensors[name].copy_(value_at_capture)
        return {name: tensor.new_full((), value).expand(tensor.shape) for name, tensor in self.written().items()}


def _named(source: object, config: NSAConfig) -> Iterator[tuple[str, object]]:
    """What a set holds under each name that this config makes it need; query-side constants may be missing."""
    for name in (*VECTORS, *(name for name in TABLES if name in config.tables)):
        yield name, engine_attribute(source, name)
    for name in CONSTANTS:
        if engine_attribute(source, name) is not None:
            yield name, engine_attribute(source, name)
    if config.flashmla_num_sm_parts is not None:
        schedule = engine_attribute(source, "flashmla_metadata")
        for name in (PARTS, SPLITS):
            yield name, getattr(schedule, name.partition(".")[2], None)
    if config.paged_mqa_num_sms is not None:
        yield PAGED_MQA, engine_attribute(source, PAGED_MQA)


def sms_of_schedule(source: object) -> int | None:
    """num_sms of the paged-MQA schedule a captured set has, whatever its config says."""
    schedule = engine_attribute(source, PAGED_MQA)
    return schedule.shape[0] - 1 if isinstance(schedule, torch.Tensor) and schedule.shape[0] > 1 else None


def _tensor(name: str, value: object) -> torch.Tensor:
    if value is None:
        raise ValueError(f"{name} is missing from a captured set; every replay writes it")
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} of a captured set must be a tensor, got {value!r}")
    return value


class Surroundings:
    """The cells of a storage that lie between, before or behind the captured ones: nobody may write them."""

    def __init__(self, tensors: Sequence[tuple[str, int, torch.Tensor]]) -> None:
        """tensors: (field, step, tensor) of one storage."""
        self.tensors = sorted(tensors, key=lambda item: item[2].storage_offset())
        first = min(t.storage_offset() for _, _, t in tensors)
        last = max(t.storage_offset() + _span(t) for _, _, t in tensors)
        whole = _cells(tensors[0][2])
        self.begin, end = max(first - _AROUND, 0), min(last + _AROUND, whole.numel())
        self.cells = whole[self.begin : end]
        self.free = torch.ones_like(self.cells, dtype=torch.bool)
        for _, _, t in tensors:
            self.free.as_strided(t.shape, t.stride(), t.storage_offset() - self.begin).fill_(False)
        self.before = self.cells.clone()

    def poison(self, value: int) -> None:
        self.cells.masked_fill_(self.free, value)

    def restore(self) -> None:
        torch.where(self.free, self.before, self.cells, out=self.cells)

    def written(self, value: int) -> list[tuple[str, int, int, int]]:
        """(field, step, cells behind the field's first cell, value) of the first foreign write, if there is one."""
        changed = ((self.cells != value) & self.free).nonzero()
        if not len(changed):
            return []
        at = int(changed[0]) + self.begin
        name, step, owner = max(
            (item for item in self.tensors if item[2].storage_offset() <= at),
            key=lambda item: item[2].storage_offset(),
            default=self.tensors[0],
        )
        return [(name, step, at - owner.storage_offset(), int(self.cells[at - self.begin]))]


def surroundings(sets: Sequence[CapturedSet]) -> list[Surroundings]:
    """One per storage that holds more than captured cells."""
    storages: dict[int, list[tuple[str, int, torch.Tensor]]] = {}
    for captured in sets:
        for name, tensor in captured.tensors.items():
            storages.setdefault(tensor.untyped_storage().data_ptr(), []).append((name, captured.step, tensor))
    return [Surroundings(tensors) for tensors in storages.values() if not any(_fills(t) for _, _, t in tensors)]


def _fills(tensor: torch.Tensor) -> bool:
    """Whether a tensor is all there is in its storage."""
    return tensor.dtype != torch.int32 or tensor.numel() * 4 >= tensor.untyped_storage().nbytes() - 3


def _span(tensor: torch.Tensor) -> int:
    """Cells from a tensor's first to its last, both included."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _cells(tensor: torch.Tensor) -> torch.Tensor:
    """The whole storage of an int32 tensor, flat."""
    return tensor.as_strided((tensor.untyped_storage().nbytes() // 4,), (1,), 0)
