"""Rows as tables, beside what bounds them."""

import math
import statistics
from collections.abc import Iterable, Sequence

from nsa_core.audit.report import table

from .exposure import NOISE, PLACES
from .floors import bound
from .recording import BrokenRecording, Row
from .stats import Spread

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
    """A column's median, and how far it spreads."""
    if row.get(column) is None:
        return None
    for end in ("q1", "q3", "n"):
        if f"{column}_{end}" not in row:
            raise BrokenRecording(f"{row['case']}, {row.get('name')}: {column} stands without {column}_{end}")
    return Spread(row[column], row[f"{column}_q1"], row[f"{column}_q3"], row[f"{column}_n"])


def bandwidth(rows: Iterable[Row], moved: float = math.inf) -> float | None:
    """Bytes per microsecond of the quickest copy or fill measured; None where all were of more than `moved` bytes,
    for a cache may be faster than all of them."""
    measured = [row for row in rows if row.get("kind") == "bandwidth"]
    known = any(row["bytes"] <= moved for row in measured)
    return max(row["gb_per_s"] * 1e3 for row in measured) if known else None


def launch_floors(rows: Iterable[Row], case: str) -> dict[str, float]:
    """Loop times of the launches that were timed in turns with a case's candidates, by name."""
    return {row["name"]: row["loop_us"] for row in rows if row.get("case") == case and row.get("kind") == "floor"}


def launch_floor(rows: Iterable[Row], case: str) -> Row | None:
    """The lowest launch floor that was timed in turns with a case's candidates."""
    of_case = [row for row in rows if row.get("case") == case and row.get("kind") == "floor"]
    return min(of_case, key=lambda row: row["loop_us"], default=None)


def bound_of(row: Row, rows: Sequence[Row]) -> float | None:
    """Microseconds below which a strategy's row cannot be, by the floors of its own run and case."""
    floors_us = launch_floors(rows, row["case"])
    return bound(row, floors_us, lambda moved: bandwidth(rows, moved)) if row["kind"] == "strategy" else None


def beside_floors(rows: Sequence[Row]) -> list[Row]:
    """One line per timed row: times, times faster than `copy`, multiples of its bound and of the usual reference."""
    references = [row["reference_us"] for row in rows if row.get("reference_us")]
    usual = statistics.median(references) if references else None
    return [_line(row, rows, usual) for row in timed(rows)]


def _line(row: Row, rows: Sequence[Row], usual_reference: float | None) -> Row:
    copy = find(rows, case=row["case"], kind="strategy", name="copy")
    part = row["kind"] == "part" and row.get("strategy")
    return {
        "case": row["case"],
        "what": f"{row['name']} [{row['strategy']}]" if part else row["name"],
        **{name: row[name] for name in TIMES},
        "ops": row["device_ops"],
        "spread": f"{row['loop_us_q1']:g}..{row['loop_us_q3']:g}",
        "copy/this": _quotient(copy and copy["loop_us"], row["loop_us"]),
        "x bound": _quotient(row["loop_us"], bound_of(row, rows)),
        "x reference": _quotient(row.get("reference_us"), usual_reference),
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


def _quotient(over: float | None, under: float | None) -> float | None:
    return round(over / under, 3) if over and under else None


def text(lines: Sequence[Row]) -> str:
    """Lines with the same columns as one aligned table."""
    if not lines:
        return "(no rows)"
    return "\n".join(table(tuple(lines[0]), [tuple(map(_cell, line.values())) for line in lines]))


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
