"""What the explorer shows, as plain data: one replay, every captured cell, who wrote it and who would read it.

A scene is made of dicts, lists, strings and numbers, so it travels as JSON: to the notebook's front end, to a static
page, to the picture that viewers without JavaScript see. `front/README.md` documents it field by field.
"""

import numpy as np

from ... import strategies
from ...config import TABLES
from .observe import NEVER, PER_REQUEST, CellState, Observation
from .setup import Batch

STATES = ("read", "unread", "stale", "never", "constant", "fault", "foreign")  # CellState's, and one more
FOREIGN = len(STATES) - 1  # stale, and left by another request than the row's own
NOBODY, PADDING = -1, 0  # owners; from 1 on they are places in `people`


def everybody(batches: list[Batch]) -> list[str]:
    """The requests of all batches in order of their first appearance, behind padding."""
    return ["padding", *dict.fromkeys(name for batch in batches for name in batch.people)]


def scene(observation: Observation, step: int, people: list[str], note: str = "") -> dict:
    """The last replay of an observation, draft step `step`. people: as `everybody` gives them."""
    setup, batch, rows = observation.setup, observation.batches[-1], observation.rows[-1][step]
    fields = _fields(observation, step, people)
    info, cost = strategies(setup.device)[setup.strategy], observation.cost
    return {
        "note": note,
        "replay": len(observation.batches),
        "mode": setup.mode.value,
        "fixed_width": setup.fixed_width,
        "strategy": setup.strategy,
        "contract": info.contract,
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
        "rows": [[_person(batch, row.request, people), row.length] for row in rows],
        "pages": _pages(observation, people),
        "fields": fields,
        "cost": {
            "launches": cost.launches,
            "copies": cost.copies,
            "written": cost.written,
            "read": cost.read,
            "captured": 4 * observation.cells_written(),
        },
    }


def _fields(observation: Observation, step: int, people: list[str]) -> list[dict]:
    values, states, seen = observation.values(step), observation.states(step), {}
    found = []
    for name in sorted(values, key=lambda name: name not in TABLES):
        address = observation.sets[step].tensors()[name].data_ptr()
        ages, state = observation.ages[step][name].numpy(), states[name].numpy().copy()
        owners = _owners(observation, step, name, ages, people)
        now = _owners(observation, step, name, np.full_like(ages, len(observation.batches)), people)
        state[(state == CellState.STALE) & (owners != now) & (now != NOBODY)] = FOREIGN
        cells = {"values": values[name].numpy(), "states": state, "ages": ages, "owners": owners}
        shape = list(ages.shape) if ages.ndim == 2 else [1, len(ages)]
        found.append(
            {"name": name, "shape": shape, "tokens": _tokens(observation, name), "same_as": seen.get(address)}
            | {key: runs(cell) for key, cell in cells.items()}
        )
        seen.setdefault(address, name)
    return found


def _tokens(observation: Observation, name: str) -> int:
    """Tokens of a column; 0: no table."""
    return {"page_table_1": 1, "real_page_table": observation.setup.page_size}.get(name, 0)


def _owners(observation: Observation, step: int, name: str, ages: np.ndarray, people: list[str]) -> np.ndarray:
    """For every cell, the request that its row belonged to in the replay that wrote it."""
    first = 1 if "cu_" in name else 0
    size = len(ages) - first
    of_replay = np.full((len(observation.batches) + 1, size + first), NOBODY)
    for age, batch in enumerate(observation.batches, NEVER + 1):
        requests = range(size) if name in PER_REQUEST else [row.request for row in observation.rows[age - 1][step]]
        line = [_person(batch, request, people) for request in requests]
        of_replay[age, first : first + len(line)] = line
    index = np.arange(len(ages)).reshape(-1, *[1] * (ages.ndim - 1))
    return of_replay[np.maximum(ages, NEVER), index]


def _person(batch: Batch, request: int, people: list[str]) -> int:
    return people.index(batch.people[request]) if request < len(batch.people) else PADDING


def _pages(observation: Observation, people: list[str]) -> dict[str, int]:
    """Whose each page is now: those that hold the tokens of this batch's requests."""
    setup, batch, whose = observation.setup, observation.batches[-1], {}
    growth = setup.config.length_growth(setup.mode, setup.steps - 1)
    for name, length, row in zip(batch.people, batch.lengths, batch.rows, strict=True):
        slots = observation.table[row, : length + growth : setup.page_size]
        whose |= dict.fromkeys(map(str, (slots // setup.page_size).tolist()), people.index(name))
    return whose


def runs(cells: np.ndarray) -> list[int]:
    """Cells, row after row, as [value, count, increment, value, count, increment, ...]: slots count up in a page."""
    flat = cells.astype(np.int64).ravel()
    found, at = [], 0
    steps = np.diff(flat)
    changes = np.flatnonzero(np.diff(steps)) + 1  # where one increment ends and another begins
    while at < len(flat):
        end = (
            int(changes[np.searchsorted(changes, at)]) + 1
            if np.searchsorted(changes, at) < len(changes)
            else len(flat)
        )
        end = max(end, at + 1)
        step = int(steps[at]) if end - at > 1 else 0
        found += [int(flat[at]), end - at, step]
        at = end
    return found


def cells_of(field: dict, key: str) -> np.ndarray:
    """`runs` undone, in the field's shape."""
    triples = np.array(field[key], dtype=np.int64).reshape(-1, 3)
    parts = [value + increment * np.arange(count) for value, count, increment in triples]
    return np.concatenate(parts).reshape(field["shape"]) if parts else np.zeros(field["shape"], dtype=np.int64)
