"""One refresh under the lens: what it left stale, wrote wrongly, wrote elsewhere or moved."""

from collections.abc import Iterator, Sequence

import torch

from ..batch import ReplayBatch
from .expect import Question, Want, columns_in_use
from .held import ARANGES, LEADING_ZERO, PAGED_MQA, PARTS, TABLES, Held, Place, Surroundings
from .report import Finding


def live_cells(wants: Sequence[dict[str, Want]], sets: Sequence[Held], poison: int) -> Iterator[Finding]:
    """Not refreshed, or wrong."""
    for want, held in zip(wants, sets, strict=True):
        for name, cells in want.items():
            field = held.tensors[name]
            wrong = cells.wrong(field)
            stale = cells.corner(field) == poison
            for kind, which in (("not refreshed", wrong & stale), ("wrong", wrong & ~stale)):
                if bool(which.any()):
                    message = _first(name, cells, field, which, kind) + cells.consequence(field)
                    yield Finding(kind, name, held.step, message)


def _first(name: str, cells: Want, field: torch.Tensor, which: torch.Tensor, kind: str) -> str:
    places = which.nonzero()
    at = tuple(places[0].tolist())
    said = "kept the poison" if kind == "not refreshed" else f"is {int(field[at])}"
    how_many = f"{len(places)} of {int(cells.live.sum())} live cells"
    return f"{name}{list(at)} {said} and should be {int(cells.values[at])} ({how_many})"


def equal_steps(wants: Sequence[dict[str, Want]], sets: Sequence[Held], faulty: set[str]) -> Iterator[Finding]:
    """Steps that must be equal and are not. Only a field with a wrong cell can differ: the oracle's steps are equal."""
    for name in sorted(faulty):
        cells, first = wants[0][name], wants[0][name].corner(sets[0].tensors[name])
        for held in sets[1:]:
            differ = (cells.corner(held.tensors[name]) != first) & cells.live
            if bool(differ.any()):
                at = tuple(differ.nonzero()[0].tolist())
                here, there = int(held.tensors[name][at]), int(sets[0].tensors[name][at])
                yield Finding(
                    "steps differ", name, held.step, f"{name}{list(at)} is {here}, but {there} in step {sets[0].step}"
                )


def fixed_cells(held: Held) -> Iterator[Finding]:
    """Leading zeros and the fields that are fixed at capture."""
    for name in LEADING_ZERO:
        if name in held.written() and int(held.tensors[name][0]) != 0:
            found = int(held.tensors[name][0])
            yield Finding(
                "leading zero lost", name, held.step, f"{name}[0] is {found}; nothing writes it after capture"
            )
    for name, captured in held.constants.items():
        if not torch.equal(held.tensors[name], captured):
            at = tuple((held.tensors[name] != captured).nonzero()[0].tolist())
            now, then = int(held.tensors[name][at]), int(captured[at])
            yield Finding(
                "constant changed", name, held.step, f"{name}{list(at)} is {now}, but was captured as {then}"
            )


def inside(
    question: Question, held: Held, want: dict[str, Want], cap: int, contract: str, poison: int
) -> Iterator[Finding]:
    """Written outside the rows and columns of a field, inside its own memory.

    exact: rows [:E], columns [:L]. live prefix: captured rows, and the columns of `req_to_token`.
    """
    for name, field in held.written().items():
        if name in (PARTS, PAGED_MQA) or name not in want:
            continue  # schedules have no rows that could be too many
        for said, begin, outside in _outside(field, *_writable(question, name, want[name], cap, contract)):
            changed = (outside != poison).nonzero()
            if len(changed):
                at = [int(i) + b for i, b in zip(changed[0], begin, strict=True)]
                message = f"{name}{at} was written, past {said} ({len(changed)} such cells)"
                yield Finding("written outside", name, held.step, message)


_PER_REQUEST = ("cache_seqlens_int32", "cu_seqlens_k")


def _writable(q: Question, name: str, want: Want, cap: int, contract: str) -> tuple[int, int]:
    """Rows and columns of a field that a refresh may write; a vector has no columns."""
    rows, exact = want.values.shape[0], contract == "exact"
    if not exact and name not in _PER_REQUEST:
        rows = cap + (name in LEADING_ZERO)
    columns = columns_in_use(q) if exact else q.req_to_token.shape[1]
    return rows, columns if name == "page_table_1" else -(-columns // q.config.page_size)


def _outside(field: torch.Tensor, rows: int, columns: int) -> Iterator[tuple[str, tuple[int, ...], torch.Tensor]]:
    yield f"its {rows} rows", (rows,) + (0,) * (field.dim() - 1), field[rows:]
    if field.dim() == 2:
        yield f"its {columns} columns", (0, columns), field[:rows, columns:]


def around(places: Sequence[Surroundings], poison: int) -> Iterator[Finding]:
    """Written outside a field's memory."""
    for place in places:
        for name, step, cells, value in place.written(poison):
            where = f"{cells} cells behind" if cells >= 0 else f"{-cells} cells before"
            message = f"{value} was written {where} the start of {name}, outside its cells"
            yield Finding("written outside", name, step, message)


def moved(held: Held) -> Iterator[Finding]:
    """Fields that are no longer where a graph reads them."""
    now = held.now()
    for name, place in held.places.items():
        if name not in now or Place.of(now[name]) != place:
            became = "is gone" if name not in now else _change(place, Place.of(now[name]))
            yield Finding("moved", name, held.step, f"{name} {became}; a graph reads what was captured")


def _change(then: Place, now: Place) -> str:
    names = {
        "address": "has another address",
        "shape": "changed shape",
        "stride": "changed strides",
        "dtype": "changed dtype",
        "nbytes": "has another storage size",
    }
    changed = [
        said if name == "address" else f"{said} from {getattr(then, name)} to {getattr(now, name)}"
        for name, said in names.items()
        if getattr(then, name) != getattr(now, name)
    ]
    return " and ".join(changed)


def aliases(held: Held, batch: ReplayBatch | None, req_to_token: torch.Tensor) -> Iterator[Finding]:
    """Captured fields in the memory of a tensor that the caller goes on using."""
    inputs = {} if batch is None else {name: getattr(batch, name) for name in ReplayBatch.__dataclass_fields__}
    inputs["req_to_token"] = req_to_token
    owners = {t.untyped_storage().data_ptr(): name for name, t in inputs.items() if t is not None}
    for name, tensor in (*held.tensors.items(), *held.now().items()):
        owner = owners.get(tensor.untyped_storage().data_ptr())
        if owner is not None and tensor.numel():
            message = f"{name} lies in the memory of {owner}; whoever writes one changes the other"
            yield Finding("aliases an input", name, held.step, message)


def capacity(held: Held, rows: int, bs: int, width: int) -> Iterator[Finding]:
    """Fields without room for every batch that `req_to_token` admits."""
    pages = -(-width // held.config.page_size)
    need = {
        "cache_seqlens_int32": (bs,),
        "cu_seqlens_k": (bs + 1,),
        "nsa_seqlens_expanded": (rows,),
        "nsa_cache_seqlens_int32": (rows,),
        "nsa_cu_seqlens_k": (rows + 1,),
        "page_table_1": (rows, width),
        "real_page_table": (rows, pages),
        **dict.fromkeys(ARANGES, (rows + 1,)),
        "flashmla_metadata.num_splits": (rows + 1,),
        PARTS: (held.config.flashmla_num_sm_parts, 8),
        PAGED_MQA: ((held.config.paged_mqa_num_sms or 0) + 1, 2),
    }
    for name, tensor in held.tensors.items():
        size = need[name]
        if tensor.dim() != len(size) or any(have < least for have, least in zip(tensor.shape, size, strict=True)):
            message = f"{name} has shape {list(tensor.shape)}, needs {list(size)}"
            why = "; size tables by req_to_token, not by the nominal context" if name in TABLES else ""
            yield Finding("too small", name, held.step, message + why)
