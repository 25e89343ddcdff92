"""Rows as tables: beside the floors, and against a recording."""

from collections.abc import Iterable, Sequence

from nsa_core.audit.report import table

from .exposure import NOISE, PLACES
from .floors import EMPTY_LAUNCH, ONE_NODE_GRAPH, TINY_COPY
from .recording import BrokenRecording, Row
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
    matching = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    return matching[-1] if matching else None


def spread_of(row: Row, column: str) -> Spread | None:
    """A column's median and quartiles."""
    if row.get(column) is None:
        return None
    for end in ("q1", "q3", "n"):
        if f"{column}_{end}" not in row:
            raise BrokenRecording(f"{row['case']}, {row.get('name')}: {column} stands without {column}_{end}")
    return Spread(row[column], row[f"{column}_q1"], row[f"{column}_q3"], row[f"{column}_n"])


def bandwidth(rows: Iterable[Row]) -> float | None:
    """Bytes per microsecond of the largest copy measured."""
    copies = [row for row in rows if row.get("kind") == "bandwidth"]
    return max(copies, key=lambda row: row["bytes"])["gb_per_s"] * 1e3 if copies else None


def launch_floor(rows: Iterable[Row], case: str) -> Row | None:
    """The lowest launch floor that was timed in turns with a case's candidates."""
    of_case = [row for row in rows if row.get("case") == case and row.get("kind") == "floor"]
    floors = (find(of_case, name=name) for name in _LAUNCH_FLOORS)
    return next((row for row in floors if row is not None), None)


def beside_floors(rows: Sequence[Row]) -> list[Row]:
    """One line per timed row: times, times faster than `copy`, and multiples of both floors."""
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


def exposures(rows: Iterable[Row]) -> list[Row]:
    """One line per case and strategy: what a decode step feels of the refresh in each place, its own time, noise."""
    measured, lines = latest(row for row in rows if row.get("kind") == "exposed"), {}
    for row in (row for row in measured if row.get("place")):
        noise = find(measured, case=row["case"], name=NOISE, machine=row.get("machine"))
        line = {name: row[name] for name in ("case", "strategy", "tables")} | dict.fromkeys(PLACES)
        line |= {"MiB written": row["bytes_written"] / 2**20}
        line |= {"decode step": noise and noise["decode_step_us"], NOISE: noise and _exposed(noise)}
        lines.setdefault((row.get("machine"), row["case"], row["strategy"]), line)[row["place"]] = _exposed(row)
    return list(lines.values())


def _exposed(row: Row) -> str:
    us, low, high, percent = (row[f"exposed_{end}"] for end in ("us", "us_min", "us_max", "percent"))
    return f"{us:.3g} [{low:.3g}..{high:.3g}] {percent:.2g}%"


def compare(rows: Sequence[Row], recorded: Sequence[Row]) -> list[Row]:
    """This run's loop or exposed times over a recording's, where both have the row; "apart" when the quartiles do not
    touch."""
    lines, before = [], latest(_comparable(recorded))
    for row in _comparable(rows):
        old, column = find(before, **{key: row.get(key) for key in _IDENTITY[1:]}), _compared(row)
        if old is not None:
            overlap = spread_of(row, column).overlaps(old[f"{column}_q1"], old[f"{column}_q3"])
            lines.append(
                {
                    "case": row["case"],
                    "what": row["name"],
                    "strategy": row.get("strategy"),
                    "now_us": row[column],
                    "recorded_us": old[column],
                    "now/recorded": _quotient(row[column], old[column]),
                    "quartiles": "touch" if overlap else "apart",
                    "recorded on": old["machine"],
                }
            )
    return lines


def _comparable(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.get(_compared(row)) is not None and row.get("name") != NOISE]


def _compared(row: Row) -> str:
    return "exposed_us" if row.get("kind") == "exposed" else "loop_us"


def _quotient(over: float | None, under: float | None) -> float | None:
    return round(over / under, 3) if over and under else None


def text(lines: Sequence[Row]) -> str:
    """Lines with the same columns as one aligned table."""
    if not lines:
        return "(no rows)"
    return "\n".join(table(tuple(lines[0]), [tuple(map(_cell, line.values())) for line in lines]))


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
