"""Recorded times as a table: a row for each thing that was timed."""

from collections.abc import Collection, Mapping, Sequence

from ..bench.recording import Row
from .pictures.tables import Table, table

COLUMNS = {
    "loop_us": "time",
    "host_us": "host",
    "device_us": "GPU",
    "latency_us": "until it is done",
    "device_ops": "GPU operations",
}
UNITS = dict.fromkeys(("time", "host", "GPU", "until it is done"), "\u00b5s")
LOOP = ("loop_us", "device_us", "device_ops")


def measured(
    what: str, rows: Mapping[str, Row], caption: str, columns: Sequence[str] = LOOP, marked: Collection[str] = ()
) -> Table:
    """what: the header of the first column. rows: by the words that stand in it. marked: some of these words."""
    shown = [{what: name} | {COLUMNS[column]: _cell(row, column) for column in columns} for name, row in rows.items()]
    return table(shown, UNITS, [at for at, name in enumerate(rows) if name in marked], caption)


def _cell(row: Row, column: str) -> float:
    return int(row[column]) if column == "device_ops" else row[column]
