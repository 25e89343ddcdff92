"""The last replay in plain words: what it wrote, and which request, token and rule a cell belongs to."""

from ... import ForwardMode, strategies
from ...audit.oracle import Row
from .observe import CONSTANT, NEVER, PER_REQUEST, CellState, Observation

SAYS = {
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
_RULES = {
    "cu_seqlens_k": "0, then the running sum of cache_seqlens_int32; the leading 0 is written at capture only",
    "page_table_1": "req_to_token[pool row, column]",
    "nsa_cache_seqlens_int32": "min(nsa_seqlens_expanded, topk)",
    "nsa_cu_seqlens_k": "0, then the running sum of nsa_cache_seqlens_int32; the leading 0 is written at capture only",
    "real_page_table": "page_table_1[row, column * page_size] // page_size",
    "cu_seqlens_q": "0, 1, 2, ...: one query token per row",
    "nsa_cu_seqlens_q": "0, 1, 2, ...: one query token per row",
}


def rule(field: str, mode: ForwardMode) -> str:
    """How the field's values follow from the batch. s, a: length and accept length; d: draft tokens."""
    of_mode = {"cache_seqlens_int32": _LENGTH, "nsa_seqlens_expanded": _EXPANDED}
    return of_mode[field][mode.captured_as.value] if field in of_mode else _RULES[field]


def summary(seen: Observation, step: int) -> str:
    """What the last replay wrote, and what step `step` looks like now. The counts are a fingerprint of the picture."""
    return f"{_wrote(seen)} {_left(seen, step)} {_steps(seen)}"


def _wrote(seen: Observation) -> str:
    setup, report, cells = seen.setup, seen.backend.last_replay, seen.cells_written()
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.paths.items())
    known = report.columns is not None  # on the host; a live-prefix strategy need not know it
    corner = f", rows [:{report.rows}] and columns [:{report.columns}] of page_table_1" if known else ""
    asked = f"{setup.mode.name}, {len(seen.inputs[-1].lengths)} of {_count(setup.bs, 'captured request')}"
    contract = strategies()[setup.strategy].contract
    return (
        f"Replay {len(seen.inputs)} ({asked}, strategy {setup.strategy}, contract {contract}) wrote {cells} cells"
        f" = {4 * cells} bytes in {_count(setup.steps, 'step')}{corner}; operations: {kinds}."
    )


def _left(seen: Observation, step: int) -> str:
    states = seen.states(step).values()
    counts = {state: sum(int((cells == state).sum()) for cells in states) for state in CellState}
    return f"Cells of step {step}: {'; '.join(f'{count} {SAYS[state]}' for state, count in counts.items() if count)}."


def _steps(seen: Observation) -> str:
    differing = {name: max(counts) for name, counts in seen.differences().items() if any(counts)}
    steps = _count(seen.setup.steps, "step")
    return f"All {steps} are equal." if not differing else f"Steps differ in {', '.join(differing)}."


def describe(seen: Observation, step: int, field: str, row: int, column: int = 0) -> str:
    """One cell: its value, its request and token, the rule, and what the last replay did to it."""
    at = _inside(seen, field, row, column)
    value, state = seen.values(step)[field][at].item(), CellState(int(seen.states(step)[field][at]))
    by = f" (replay {int(seen.ages[step][field][at])})" if state is CellState.STALE else ""
    cell = f"{field}{list(at)} = {value}: {_belongs(seen, step, field, at)}"
    return f"{cell}. {SAYS[state].capitalize()}{by}. Rule: {rule(field, seen.setup.mode)}."


def _inside(seen: Observation, field: str, row: int, column: int) -> tuple[int, ...]:
    shape = seen.sets[0].tensors()[field].shape
    at = (row, column)[: len(shape)]
    for name, index, size in zip(("row", "column"), at, shape, strict=False):
        if not 0 <= index < size:
            raise ValueError(f"{name} is {index}, but {field} has {name}s 0..{size - 1}")
    return at


def _belongs(seen: Observation, step: int, field: str, at: tuple[int, ...]) -> str:
    age = int(seen.ages[step][field][at])
    if age in (NEVER, CONSTANT):
        return "no replay wrote it"
    row = _row_at(seen, age, step, field, at[0])
    if row is None:
        return "a row not in use"
    given = seen.inputs[age - 1]
    padded = row.request >= len(given.lengths)
    who = f"request {row.request} " + ("(padding)" if padded else f"(pool row {given.rows[row.request]})")
    return f"{who}, {_token(seen, field, at, row)}"


def _row_at(seen: Observation, age: int, step: int, field: str, index: int) -> Row | None:
    """The row in use that entry `index` of a field served in replay `age`."""
    rows = seen.rows[age - 1][step]
    if field in PER_REQUEST:
        request = index - field.startswith("cu_")
        return next((row for row in reversed(rows) if row.request == request), Row(request, 0))
    index -= "cu_" in field
    return rows[index] if index < len(rows) else None


def _token(seen: Observation, field: str, at: tuple[int, ...], row: Row) -> str:
    if field == "page_table_1":
        past = "" if at[1] < row.length else ", past its end"
        return f"column {at[1]} of a row of {_count(row.length, 'token')}{past}"
    if field == "real_page_table":
        first = at[1] * seen.setup.page_size
        past = "" if first < row.length else ", past its end"
        return (
            f"columns {first} to {first + seen.setup.page_size - 1} of a row of {_count(row.length, 'token')}{past}"
        )
    return "all its tokens so far" if "cu_" in field else f"row of {_count(row.length, 'token')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
