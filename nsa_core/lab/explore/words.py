"""The last replay in plain words: what it wrote, and which request, token and rule a cell belongs to."""

from ... import ForwardMode, strategies
from ...audit.oracle import Row
from .observe import CONSTANT, NEVER, PER_REQUEST, CellState, Observation
from .setup import Setup

STATE_WORDS = {
    CellState.LIVE: "written and read",
    CellState.UNREAD: "written, not read",
    CellState.STALE: "kept from an earlier replay",
    CellState.NEVER: "never written",
    CellState.CONSTANT: "constant since capture",
    CellState.FAULT: "read, but not written (fault)",
}

_LENGTH = {"decode": "s", "target_verify": "s + d", "draft_extend": "s"}
_EXPANDED = {
    "decode": "the same storage as cache_seqlens_int32",
    "target_verify": "s + 1 ... s + d, one per drafted token",
    "draft_extend": "s - a + 1 ... s, one per accepted token",
}
_SUM = "0, then the running sum of {}; the leading 0 is written at capture only"
_RULES = {
    "cu_seqlens_k": _SUM.format("cache_seqlens_int32"),
    "page_table_1": "req_to_token[pool row, column]",
    "nsa_cache_seqlens_int32": "min(nsa_seqlens_expanded, topk)",
    "nsa_cu_seqlens_k": _SUM.format("nsa_cache_seqlens_int32"),
    "real_page_table": "page_table_1[row, column * page_size] // page_size",
    "cu_seqlens_q": "0, 1, 2, ...: one query token per row",
    "nsa_cu_seqlens_q": "0, 1, 2, ...: one query token per row",
}


def rule(field: str, mode: ForwardMode) -> str:
    """How the field's values follow from the batch. s, a: length and accept length; d: draft tokens."""
    of_mode = {"cache_seqlens_int32": _LENGTH, "nsa_seqlens_expanded": _EXPANDED}
    return of_mode[field][mode.captured_as.value] if field in of_mode else _RULES[field]


def summary(observation: Observation, step: int) -> str:
    """What the last replay wrote, and what a step looks like now. The counts are a fingerprint of the picture."""
    return f"{_wrote(observation)} {_left(observation, step)} {_steps(observation)}"


def _wrote(observation: Observation) -> str:
    setup, report, cells = observation.setup, observation.backend.last_replay, observation.cells_written()
    operations = ", ".join(f"{count} {kind}" for kind, count in report.paths.items())
    known = report.columns is not None  # on the host; a live-prefix strategy need not know it
    corner = f", rows [:{report.rows}] and columns [:{report.columns}] of {_columns_of(setup)}" if known else ""
    asked = f"{setup.mode.name}, {len(observation.batches[-1].lengths)} of {_count(setup.bs, 'captured request')}"
    contract = strategies()[setup.strategy].contract
    return (
        f"Replay {len(observation.batches)} ({asked}, strategy {setup.strategy}, contract {contract}) wrote "
        f"{cells} cells = {4 * cells} bytes in {_count(setup.steps, 'step')}{corner}; operations: {operations}."
    )


def _columns_of(setup: Setup) -> str:
    return "page_table_1" if "page_table_1" in setup.tables else "the tokens"


def _left(observation: Observation, step: int) -> str:
    states = observation.states(step).values()
    counts = {state: sum(int((cells == state).sum()) for cells in states) for state in CellState}
    present = "; ".join(f"{count} {STATE_WORDS[state]}" for state, count in counts.items() if count)
    return f"Cells of step {step}: {present}."


def _steps(observation: Observation) -> str:
    differing = {name: max(counts) for name, counts in observation.differences().items() if any(counts)}
    steps = _count(observation.setup.steps, "step")
    return f"All {steps} are equal." if not differing else f"Steps differ in {', '.join(differing)}."


def describe_cell(observation: Observation, step: int, field: str, row: int, column: int = 0) -> str:
    """One cell: its value, its request and token, the rule, and what the last replay did to it."""
    at = _inside(observation, field, row, column)
    value, state = observation.values(step)[field][at].item(), CellState(int(observation.states(step)[field][at]))
    by = f" (replay {int(observation.ages[step][field][at])})" if state is CellState.STALE else ""
    cell = f"{field}{list(at)} = {value}: {_belongs(observation, step, field, at)}"
    return f"{cell}. {STATE_WORDS[state].capitalize()}{by}. Rule: {rule(field, observation.setup.mode)}."


def _inside(observation: Observation, field: str, row: int, column: int) -> tuple[int, ...]:
    fields = observation.sets[0].tensors()
    if field not in fields:
        raise ValueError(f"field {field} was not captured; there are {', '.join(fields)}")
    shape = fields[field].shape
    at = (row, column)[: len(shape)]
    for name, index, size in zip(("row", "column"), at, shape, strict=False):
        if not 0 <= index < size:
            raise ValueError(f"{name} is {index}, but {field} has {name}s 0..{size - 1}")
    return at


def _belongs(observation: Observation, step: int, field: str, at: tuple[int, ...]) -> str:
    age = int(observation.ages[step][field][at])
    if age in (NEVER, CONSTANT):
        return "no replay wrote it"
    row = _row_at(observation, age, step, field, at[0])
    if row is None:
        return "a row not in use"
    batch = observation.batches[age - 1]
    padded = row.request >= len(batch.lengths)
    who = f"request {row.request} " + ("(padding)" if padded else f"(pool row {batch.rows[row.request]})")
    return f"{who}, {_token(observation, field, at, row)}"


def _row_at(observation: Observation, age: int, step: int, field: str, index: int) -> Row | None:
    """The row in use that entry `index` of a field served in replay `age`."""
    rows = observation.rows[age - 1][step]
    if field in PER_REQUEST:
        request = index - field.startswith("cu_")
        return next((row for row in reversed(rows) if row.request == request), Row(request, 0))
    index -= "cu_" in field
    return rows[index] if index < len(rows) else None


def _token(observation: Observation, field: str, at: tuple[int, ...], row: Row) -> str:
    tokens = f"row of {_count(row.length, 'token')}"
    if len(at) == 1:
        return "all its tokens so far" if "cu_" in field else tokens
    size = 1 if field == "page_table_1" else observation.setup.page_size
    first = at[1] * size
    columns = f"column {first}" if field == "page_table_1" else f"columns {first} to {first + size - 1}"
    return f"{columns} of a {tokens}{'' if first < row.length else ', past its end'}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
