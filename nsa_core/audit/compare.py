"""The one comparison of `check`, the bench and `audit`: what a refresh left stale, wrote wrongly or moved."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from ..batch import ReplayBatch
from ..config import ForwardMode, NSAConfig
from ..metadata import CONSTANTS, LEADING_ZERO
from .captured_set import TABLES, CapturedSet, Place, Surroundings
from .oracle import PAGED_MQA, PARTS, SPLITS, Cells, expected, flashmla_cells
from .report import Finding

Before = Mapping[str, torch.Tensor]  # what each field held, by name
Expected = Sequence[Mapping[str, Cells]]  # by set and field


class Comparison:
    """Captured sets of one mode and batch size, and what they must hold after a refresh.

    sources: one object per draft step, the same one several times where steps share a set.
    contract: "exact" or "live prefix". bs: captured requests; the length of `cache_seqlens_int32` unless given.
    """

    def __init__(
        self,
        sources: Sequence[object],
        config: NSAConfig,
        req_to_token: torch.Tensor,
        mode: ForwardMode,
        contract: str,
        bs: int | None = None,
    ) -> None:
        self.config, self.req_to_token, self.mode, self.contract = config, req_to_token, mode, contract
        first_step = {id(source): step for step, source in reversed(list(enumerate(sources)))}
        self.sets = [CapturedSet(step, sources[step], config) for step in sorted(first_step.values())]
        self.num_steps = len(sources)
        self.bs = self.sets[0].tensors["cache_seqlens_int32"].shape[0] if bs is None else bs
        self.rows = self.bs * config.rows_per_request(mode)
        self.room = needed_shapes(config, self.rows, self.bs, req_to_token.shape[1])

    def expected(self, batch: ReplayBatch) -> list[dict[str, Cells]]:
        """By set. Without a step offset all steps hold the same, and it is looked up once."""

        def of(captured: CapturedSet) -> dict[str, Cells]:
            options = {"step": captured.step, "num_steps": self.num_steps}
            return expected(self.config, self.req_to_token, batch, self.mode, captured.tensors, **options)

        return (
            [of(captured) for captured in self.sets]
            if self.config.step_offset
            else [of(self.sets[0])] * len(self.sets)
        )

    def poison(self, value: int) -> list[Before]:
        """Fill every cell that a refresh may write; returns what the sets hold then."""
        return [captured.poison(value) for captured in self.sets]

    def snapshot(self) -> list[Before]:
        return [captured.snapshot() for captured in self.sets]

    def findings(self, cells: Expected, before: Sequence[Before]) -> list[Finding]:
        """Every cell: the promised ones against `cells`, the oracle's, all others against what they held `before`."""
        findings = list(promised_cells(self.sets, cells, before, self.contract))
        if not self.config.step_offset:
            findings += equal_steps(self.sets, cells, self.contract, {finding.field for finding in findings})
        for captured, of_set, held_before in zip(self.sets, cells, before, strict=True):
            findings += fixed_cells(captured)
            findings += moved(captured)
            findings += outside_cells(captured, of_set, held_before, self.contract, self.room)
        return findings


def promised_cells(
    sets: Sequence[CapturedSet], expected_cells: Expected, before: Sequence[Before], contract: str
) -> Iterator[Finding]:
    """Not refreshed, or wrong."""
    for captured, cells_by_name, held_before in zip(sets, expected_cells, before, strict=True):
        for name, cells in cells_by_name.items():
            field = captured.tensors[name]
            wrong = cells.wrong(field, contract)
            stale = wrong & (cells.corner(field) == cells.corner(held_before[name]))
            for kind, which in (("not refreshed", stale), ("wrong", wrong & ~stale)):
                if bool(which.any()):
                    message = _first(name, cells, field, which, kind, contract) + cells.consequence(field)
                    yield Finding(kind, name, captured.step, message)


def _first(name: str, cells: Cells, field: torch.Tensor, which: torch.Tensor, kind: str, contract: str) -> str:
    places = which.nonzero()
    at = tuple(places[0].tolist())
    became = f"kept what it held ({int(field[at])})" if kind == "not refreshed" else f"is {int(field[at])}"
    promised = "live cells" if contract != "exact" else "cells"
    how_many = f"{len(places)} of {int(cells.promised(contract).sum())} {promised}"
    return f"{name}{list(at)} {became} and should be {int(cells.values[at])} ({how_many})"


def equal_steps(
    sets: Sequence[CapturedSet], expected_cells: Expected, contract: str, faulty: set[str]
) -> Iterator[Finding]:
    """Steps that must be equal and are not. Only a field with a wrong cell can differ: the oracle's are equal."""
    for name in sorted(faulty & set(expected_cells[0])):
        cells = expected_cells[0][name]
        first = cells.corner(sets[0].tensors[name])
        for captured in sets[1:]:
            differ = (cells.corner(captured.tensors[name]) != first) & cells.promised(contract)
            if bool(differ.any()):
                at = tuple(differ.nonzero()[0].tolist())
                here, there = int(captured.tensors[name][at]), int(sets[0].tensors[name][at])
                message = f"{name}{list(at)} is {here}, but {there} in step {sets[0].step}"
                yield Finding("steps differ", name, captured.step, message)


def fixed_cells(captured: CapturedSet) -> Iterator[Finding]:
    """Leading zeros and the fields that are fixed at capture."""
    for name in LEADING_ZERO:
        if name in captured.written() and int(captured.tensors[name][0]) != 0:
            message = f"{name}[0] is {int(captured.tensors[name][0])}; nothing writes it after capture"
            yield Finding("leading zero lost", name, captured.step, message)
    for name, at_capture in captured.constants.items():
        tensor = captured.tensors[name]
        if not torch.equal(tensor, at_capture):
            at = tuple((tensor != at_capture).nonzero()[0].tolist())
            message = f"{name}{list(at)} is {int(tensor[at])}, but was captured as {int(at_capture[at])}"
            yield Finding("constant changed", name, captured.step, message)


def outside_cells(
    captured: CapturedSet,
    expected_cells: Mapping[str, Cells],
    before: Before,
    contract: str,
    room: Mapping[str, tuple[int, ...]],
) -> Iterator[Finding]:
    """Written outside the rows and columns of a field, inside its own memory.

    exact: rows [:E], columns [:L]. live prefix: captured rows, and the columns of `req_to_token`.
    """
    for name, cells in expected_cells.items():
        if name in (PARTS, PAGED_MQA):
            continue  # schedules have no rows that could be too many
        rows, *columns = cells.values.shape if contract == "exact" else room[name]
        field, held_before = captured.tensors[name], before[name]
        parts = [(f"its {rows} rows", (rows,) + (0,) * len(columns), field[rows:], held_before[rows:])]
        if columns:
            width = columns[0]
            beyond = field[:rows, width:], held_before[:rows, width:]
            parts.append((f"its {width} columns", (0, width), *beyond))
        for limit, begin, outside, was in parts:
            changed = (outside != was).nonzero()
            if len(changed):
                at = [int(i) + b for i, b in zip(changed[0], begin, strict=True)]
                message = f"{name}{at} was written, past {limit} ({len(changed)} such cells)"
                yield Finding("written outside", name, captured.step, message)


def around(places: Sequence[Surroundings], poison: int) -> Iterator[Finding]:
    """Written outside a field's memory."""
    for place in places:
        for name, step, cells, value in place.written(poison):
            where = f"{cells} cells behind" if cells >= 0 else f"{-cells} cells before"
            message = f"{value} was written {where} the start of {name}, outside its cells"
            yield Finding("written outside", name, step, message)


def moved(captured: CapturedSet) -> Iterator[Finding]:
    """Fields that are no longer where a graph reads them."""
    now = captured.now()
    for name, place in captured.places.items():
        if name not in now or Place.of(now[name]) != place:
            change = "is gone" if name not in now else _change(place, Place.of(now[name]))
            yield Finding("moved", name, captured.step, f"{name} {change}; a graph reads what was captured")


_CHANGES = {
    "address": "has another address",
    "shape": "changed shape",
    "stride": "changed strides",
    "dtype": "changed dtype",
    "nbytes": "has another storage size",
}


def _change(then: Place, now: Place) -> str:
    return " and ".join(
        change if name == "address" else f"{change} from {getattr(then, name)} to {getattr(now, name)}"
        for name, change in _CHANGES.items()
        if getattr(then, name) != getattr(now, name)
    )


def aliases(captured: CapturedSet, batch: ReplayBatch | None, req_to_token: torch.Tensor) -> Iterator[Finding]:
    """Captured fields in the memory of a tensor that the caller goes on using."""
    inputs = {} if batch is None else {name: getattr(batch, name) for name in ReplayBatch.__dataclass_fields__}
    inputs["req_to_token"] = req_to_token
    owners = {t.untyped_storage().data_ptr(): name for name, t in inputs.items() if t is not None}
    for name, tensor in (*captured.tensors.items(), *captured.now().items()):
        owner = owners.get(tensor.untyped_storage().data_ptr())
        if owner is not None and tensor.numel():
            message = f"{name} lies in the memory of {owner}; whoever writes one changes the other"
            yield Finding("aliases an input", name, captured.step, message)


def constant_cells(captured: CapturedSet, rows: int) -> dict[str, Cells]:
    """What the fields that are fixed at capture must hold."""
    cells = {}
    for name in CONSTANTS:
        if name in captured.constants:
            values = torch.arange(rows + 1, dtype=torch.int32, device=captured.tensors[name].device)
            whole = torch.ones_like(values, dtype=torch.bool)
            cells[name] = Cells(values, whole, whole)
    if SPLITS in captured.constants:
        config = captured.config
        cells |= flashmla_cells(config, [config.index_topk] * rows, captured.tensors[SPLITS].device)
    return cells


def needed_shapes(config: NSAConfig, rows: int, bs: int, width: int) -> dict[str, tuple[int, ...]]:
    """By field, the cells that a batch `req_to_token` admits can need."""
    return {
        "cache_seqlens_int32": (bs,),
        "cu_seqlens_k": (bs + 1,),
        "nsa_seqlens_expanded": (rows,),
        "nsa_cache_seqlens_int32": (rows,),
        "nsa_cu_seqlens_k": (rows + 1,),
        "page_table_1": (rows, width),
        "real_page_table": (rows, -(-width // config.page_size)),
        **dict.fromkeys(CONSTANTS, (rows + 1,)),
        SPLITS: (rows + 1,),
        PARTS: (config.flashmla_num_sm_parts or 0, 8),
        PAGED_MQA: ((config.paged_mqa_num_sms or 0) + 1, 2),
    }


def too_small(captured: CapturedSet, needed: Mapping[str, tuple[int, ...]]) -> Iterator[Finding]:
    """Fields without room for every batch that `req_to_token` admits."""
    for name, tensor in captured.tensors.items():
        size = needed[name]
        if tensor.dim() != len(size) or any(have < least for have, least in zip(tensor.shape, size, strict=True)):
            why = "; size tables by req_to_token, not by the nominal context" if name in TABLES else ""
            message = f"{name} has shape {list(tensor.shape)}, needs {list(size)}{why}"
            yield Finding("too small", name, captured.step, message)
