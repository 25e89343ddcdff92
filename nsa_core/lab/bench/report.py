"""Rows as tables: beside the floors, against a recording, and against what the fast strategies set out to reach."""

from collections.abc import Iterable, Sequence

from .floors import EMPTY_LAUNCH, ONE_NODE_GRAPH, TINY_COPY
from .recording import Row
from .stats import Spread

_LAUNCH_FLOORS = (ONE_NODE_GRAPH, EMPTY_LAUNCH, TINY_COPY)  # the lowest that a device has comes first
_IDENTITY = ("machine", "case", "kind", "name", "strategy")
TIMES = ("host_us", "loop_us", "latency_us", "device_us")


def timed(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.get("loop_us") is not None]


def latest(rows: Iterable[Row]) -> list[Row]:
    """Of rows that say the same thing, the one recorded last."""
    return list({tuple(row.get(key) for key in _IDENTITY): row for row in rows}.values())


def find(rows: Iterable[Row], **wanted: object) -> Row | None:
    """The last row whose columns are the wanted ones; None when there is none."""
    found = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    return found[-1] if found else None


def spread_of(row: Row, column: str) -> Spread | None:
    """A column's median and quartiles."""
    if row.get(column) is None:
        return None
    return Spread(row[column], row[f"{column}_q1"], row[f"{column}_q3"], row[f"{column}_n"])


def bandwidth(rows: Iterable[Row]) -> float | None:
    """Bytes per microsecond of the largest copy measured."""
    copies = [row for row in rows if row.get("kind") == "bandwidth"]
    return max(copies, key=lambda row: row["bytes"])["gb_per_s"] * 1e3 if copies else None


def launch_floor(rows: Iterable[Row], case: str) -> Row | None:
    """The lowest launch floor that was timed in turns with a case's candidates."""
    of_case = [row for row in rows if row.get("case") == case and row.get("kind") == "floor"]
    found = (find(of_case, name=name) for name in _LAUNCH_FLOORS)
    return next((row for row in found if row is not None), None)


def table(rows: Sequence[Row]) -> list[Row]:
    """One line per timed row: times, times over `copy`'s, and multiples of the launch floor and of the bytes' time."""
    return [_line(row, rows) for row in timed(rows)]


def _line(row: Row, rows: Sequence[Row]) -> Row:
    copy = find(rows, case=row["case"], kind="strategy", name="copy")
    floor, per_us = launch_floor(rows, row["case"]), bandwidth(rows)
    moved = row.get("bytes_generate") if row["kind"] in ("strategy", "variant") else None
    return {
        "case": row["case"],
        "what": f"{row['name']} [{row['strategy']}]"
        if row["kind"] == "part" and row.get("strategy")
        else row["name"],
        **{name: row[name] for name in TIMES},
        "ops": row["device_ops"],
        "spread": f"{row['loop_us_q1']:g}..{row['loop_us_q3']:g}",
        "copy/this": _quotient(copy and copy["loop_us"], row["loop_us"]),
        "x launch": _quotient(row["loop_us"], floor and floor["loop_us"]),
        "x bytes": _quotient(row["loop_us"], moved and per_us and moved / per_us),
    }


def compare(rows: Sequence[Row], recorded: Sequence[Row]) -> list[Row]:
    """This run's loop times over a recording's, where both have the row; "apart" when the quartiles do not touch."""
    lines, before = [], latest(timed(recorded))
    for row in timed(rows):
        old = find(before, case=row["case"], kind=row["kind"], name=row["name"], strategy=row.get("strategy"))
        if old is not None:
            overlap = spread_of(row, "loop_us").overlaps(old["loop_us_q1"], old["loop_us_q3"])
            lines.append(
                {
                    "case": row["case"],
                    "what": row["name"],
                    "strategy": row.get("strategy"),
                    "loop_us": row["loop_us"],
                    "recorded_us": old["loop_us"],
                    "now/recorded": _quotient(row["loop_us"], old["loop_us"]),
                    "quartiles": "touch" if overlap else "apart",
                    "recorded on": old["machine"],
                }
            )
    return lines


def how_fast(rows: Sequence[Row]) -> list[Row]:
    """The ratios the strategies past the copies set out to reach, each with its limit, from one run's rows."""
    rows = latest(rows)
    lines = [
        *_graph_lines(rows),
        *_speed_up_lines(rows),
        *_byte_lines(rows),
        *_shared_lines(rows),
        *_host_lines(rows),
    ]
    return [line | {"met": _met(line)} for line in lines if line["value"] is not None]


_PAST_DECODE = ("target_verify", "draft_extend")
_STEPS_CASES = ["decode-steps-1", "record-4", "record-8", "decode-steps-16"]
_STEPS_CASES += [f"{mode}-steps-{n}" for mode in _PAST_DECODE for n in (1, 4, 8, 16)]


def _graph_lines(rows: list[Row]) -> Iterable[Row]:
    per_us = bandwidth(rows)
    for case in _STEPS_CASES:
        graph, floor = (
            find(rows, case=case, kind="strategy", name="graph"),
            find(rows, case=case, name=ONE_NODE_GRAPH),
        )
        if graph and floor and per_us:
            least = max(floor["loop_us"], graph["bytes_generate"] / per_us)
            yield _at_most(f"{case}: graph loop / max(one-node graph, bytes)", graph["loop_us"] / least, 1.25)
            yield _at_most(f"{case}: graph host / one-node graph host", graph["host_us"] / floor["host_us"], 1.25)


def _speed_up_lines(rows: list[Row]) -> Iterable[Row]:
    for case, slower, least in (("record-4", "copy", 60), ("record-8", "copy", 60), ("record-4", "eager", 100)):
        graph, other = (find(rows, case=case, kind="strategy", name=name) for name in ("graph", slower))
        value = _quotient(other and other["loop_us"], graph and graph["loop_us"])
        yield {"ratio": f"{case}: {slower} loop / graph loop", "value": value, "limit": least, "side": "at least"}


def _byte_lines(rows: list[Row]) -> Iterable[Row]:
    per_us = bandwidth(rows)
    for case in ("decode", *_PAST_DECODE):
        for name in ("fused", "graph"):
            row = find(rows, case=f"bytes-64k-steps-8-{case}", kind="strategy", name=name)
            least = row and per_us and row["bytes_generate"] / per_us
            value = _quotient(row and row["device_us"], least)
            yield _at_most(f"bytes-64k-steps-8-{case}: {name} device / bytes", value, 1.25)
    one = find(rows, case="one-long-64k", kind="strategy", name="fused")
    every = find(rows, case="bytes-64k-steps-8-decode", kind="strategy", name="fused")
    if one and every:
        used = one["bytes_generate"] / every["bytes_generate"]
        name = f"one-long-64k: fused device / that of all long (it moves {used:.3f} of the bytes)"
        yield _at_most(name, _quotient(one["device_us"], every["device_us"]), 0.5)


def _shared_lines(rows: list[Row]) -> Iterable[Row]:
    pairs = [(f"{mode}-steps-1", f"{mode}-steps-8") for mode in _PAST_DECODE]
    for one, eight in [("decode-steps-1", "record-8"), *pairs]:
        few, many = (find(rows, case=case, kind="strategy", name="shared+fused") for case in (one, eight))
        for column in ("device_us", "captured_bytes"):
            value = _quotient(many and many[column], few and few[column])
            yield _at_most(f"{eight}: shared+fused {column} / that at 1 step", value, 1.1)


def _host_lines(rows: list[Row]) -> Iterable[Row]:
    for case in _STEPS_CASES:
        fused, empty = find(rows, case=case, kind="strategy", name="fused"), find(rows, case=case, name=EMPTY_LAUNCH)
        value = _quotient(fused and fused["host_us"], empty and empty["host_us"])
        yield _at_most(f"{case}: fused host / empty Triton launch host", value, 2)


def _at_most(name: str, value: float | None, limit: float) -> Row:
    return {"ratio": name, "value": None if value is None else round(value, 3), "limit": limit, "side": "at most"}


def _met(line: Row) -> bool:
    return line["value"] <= line["limit"] if line["side"] == "at most" else line["value"] >= line["limit"]


def _quotient(over: float | None, under: float | None) -> float | None:
    return round(over / under, 3) if over and under else None


def text(lines: Sequence[Row]) -> str:
    """A table as text, through pandas where it is installed."""
    if not lines:
        return "(no rows)"
    try:
        import pandas
    except ModuleNotFoundError:
        return _plain(lines)
    with pandas.option_context(
        "display.width", 250, "display.max_columns", None, "display.max_rows", None, "display.max_colwidth", None
    ):
        return pandas.DataFrame([{k: _cell(v) for k, v in line.items()} for line in lines]).to_string(index=False)


def _plain(lines: Sequence[Row]) -> str:
    cells = [list(lines[0]), *([_cell(value) for value in line.values()] for line in lines)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
