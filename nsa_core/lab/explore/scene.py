"""What the explorer shows, as plain data: one replay, every captured cell, who wrote it and who would read it.

A scene is made of dicts, lists, strings and numbers, so it travels as JSON: to the notebook's front end, to a static
page, to the picture that viewers without JavaScript see. `front/README.md` documents it field by field.
"""

import torch

from ...config import TABLES
from ...metadata import CONSTANTS
from ...strategies import REGISTRY
from .observe import NEVER, PER_REQUEST, CellState, Observation
from .setup import Batch

STATES = ("read", "unread", "stale", "never", "constant", "fault", "foreign")  # CellState's, and one more
FOREIGN = len(STATES) - 1  # stale, and its slot is now another request's than the row's, whoever left it there
ORDER = (*TABLES, "cache_seqlens_int32", "nsa_seqlens_expanded", "nsa_cache_seqlens_int32", "cu_seqlens_k")
ORDER += ("nsa_cu_seqlens_k", *CONSTANTS)  # fields, as they are shown
NOBODY, PADDING = -1, 0  # owners; from 1 on they are places in `people`


def everybody(batches: list[Batch]) -> list[str]:
    """The requests of all batches in order of their first appearance, behind padding."""
    return ["padding", *dict.fromkeys(name for batch in batches for name in batch.people)]


def scene(observation: Observation, step: int, people: list[str], note: str = "") -> dict:
    """The last replay of an observation, draft step `step`. people: as `everybody` gives them."""
    setup, batch, rows = observation.setup, observation.batches[-1], observation.rows[-1][step]
    pages = _pages(observation, people)
    fields = _fields(observation, step, people, pages)
    return {
        "note": note,
        "replay": len(observation.batches),
        "mode": setup.mode.value,
        "fixed_width": setup.fixed_width,
        "strategy": setup.strategy,
        "contract": REGISTRY[setup.strategy].contract,
        "page_size": setup.page_size,
        "topk": setup.topk,
        "draft_tokens": setup.draft_tokens,
        "draft_step": step,
        "draft_steps": setup.steps,
        "differing_fields": [name for name, cells in observation.differences().items() if any(cells)],
        "people": people,
        "requests": [
            {"person": people.index(name), "length": length, "accepted": accepted, "pool_row": row}
            for name, length, accepted, row in zip(
                batch.people, batch.lengths, batch.accepts or (None,) * len(batch.lengths), batch.rows, strict=True
            )
        ],
        "rows": [
            [people.index(batch.people[r.request]) if r.request < len(batch.people) else PADDING, r.length]
            for r in rows
        ],
        "pages": pages,
        "fields": fields,
        "cost": _cost(observation),
    }


def _cost(observation: Observation) -> dict:
    cost, captured = observation.cost, 4 * observation.cells_written()
    written = captured if cost.written is None else cost.written  # a kernel here writes captured cells only
    return {
        "launches": cost.launches,
        "copies": cost.copies,
        "written": written,
        "captured": captured,
        "read": cost.read,
    }


def _fields(observation: Observation, step: int, people: list[str], pages: dict[str, int]) -> list[dict]:
    tensors, values = observation.sets[step].tensors(), observation.values(step)
    found, names = [], {}
    for name, states in sorted(observation.states(step).items(), key=lambda item: ORDER.index(item[0])):
        ages, address = observation.ages[step][name], tensors[name].data_ptr()
        owners, now = (_owners(observation, step, name, at, people) for at in (ages, len(observation.batches)))
        held = _held(observation, name, values[name], pages, now)
        states = states.masked_fill((states == CellState.STALE) & held & (now != NOBODY), FOREIGN)
        cells = {"values": values[name], "states": states, "ages": ages, "owners": owners}
        shape = list(ages.shape) if ages.dim() == 2 else [1, len(ages)]
        about = {"name": name, "shape": shape, "tokens": _tokens(observation, name), "same_as": names.get(address)}
        found.append(about | {key: runs(cell) for key, cell in cells.items()})
        names.setdefault(address, name)
    return found


def _tokens(observation: Observation, name: str) -> int:
    """Tokens of a column; 0: no table."""
    return {"page_table_1": 1, "real_page_table": observation.setup.page_size}.get(name, 0)


def _owners(
    observation: Observation, step: int, name: str, ages: torch.Tensor | int, people: list[str]
) -> torch.Tensor:
    """For every cell, the request that its row belonged to in replay `ages`."""
    shape, first = observation.ages[step][name].shape, int("cu_" in name)
    of_replay = torch.full((len(observation.batches) + 1, shape[0]), NOBODY)
    for age, batch in enumerate(observation.batches, NEVER + 1):
        rows = observation.rows[age - 1][step]
        requests = range(shape[0] - first) if name in PER_REQUEST else [row.request for row in rows]
        known = [people.index(name) for name in batch.people]
        line = [known[request] if request < len(known) else PADDING for request in requests]
        of_replay[age, first : first + len(line)] = torch.tensor(line, dtype=torch.int64)
    index = torch.arange(shape[0]).view(-1, *[1] * (len(shape) - 1)).expand(shape)
    return of_replay[torch.as_tensor(ages).clamp(min=NEVER).expand(shape), index]


def _held(
    observation: Observation, name: str, values: torch.Tensor, pages: dict[str, int], now: torch.Tensor
) -> torch.Tensor:
    """bool, the cells of a table whose slot or page now belongs to another request than their row."""
    if not _tokens(observation, name):
        return torch.zeros_like(values, dtype=torch.bool)
    table = values // observation.setup.page_size if name == "page_table_1" else values
    holder = torch.full((max(0, int(table.max()), *map(int, pages)) + 1,), NOBODY)
    holder[list(map(int, pages))] = torch.tensor(list(pages.values()), dtype=torch.int64)
    return (holder[table] != NOBODY) & (holder[table] != now)


def _pages(observation: Observation, people: list[str]) -> dict[str, int]:
    """Whose each page is now: those that hold the tokens of this batch's requests."""
    setup, batch, whose = observation.setup, observation.batches[-1], {}
    growth = setup.config.length_growth(setup.mode, setup.steps - 1)
    for name, length, row in zip(batch.people, batch.lengths, batch.rows, strict=True):
        slots = observation.table[row, : length + growth : setup.page_size]
        whose |= dict.fromkeys(map(str, (slots // setup.page_size).tolist()), people.index(name))
    return whose


def runs(cells: torch.Tensor) -> list[int]:
    """Cells, row after row, as [value, count, increment, value, count, increment, ...]: slots count up in a page."""
    flat = cells.flatten().to(torch.int64)
    steps = flat.diff()
    changes = (steps.diff().nonzero().flatten() + 1).tolist()  # where one increment ends and another begins
    numbers, steps, found, at = flat.tolist(), steps.tolist(), [], 0
    for change in (*changes, len(numbers)):
        if change > at:  # the jump from one run to the next is no run
            end = min(change + 1, len(numbers))
            found += [numbers[at], end - at, steps[at] if end - at > 1 else 0]
            at = end
    return found


def cells_of(field: dict, key: str) -> torch.Tensor:
    """`runs` undone, in the field's shape."""
    triples = torch.tensor(field[key], dtype=torch.int64).view(-1, 3)
    parts = [value + increment * torch.arange(count) for value, count, increment in triples.tolist()]
    return torch.cat([torch.zeros(0, dtype=torch.int64), *parts]).view(field["shape"])
