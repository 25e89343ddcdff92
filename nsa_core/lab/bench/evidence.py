"""What one run measured, asked for by name: the only way claims and the decision read a recording."""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from . import parts
from .recording import BrokenRecording, Row, read
from .report import find, spread_of
from .stats import Spread, ratio

RECORD_CASES = {4: "record-4", 8: "record-8"}
STEPS_CASES = {1: "decode-steps-1", 2: "decode-steps-2", **RECORD_CASES, 16: "decode-steps-16"}
CHECKOUT_RESULTS = Path(__file__).resolve().parents[3] / "notebooks" / "results"
_RUN_COLUMNS = ("machine", "device", "date", "case", "kind")
_COMMITTED = "h200.jsonl"


class NotMeasured(LookupError):
    """A run lacks a row that a question needs; the message names it."""


class Evidence:
    """The rows of one run on one machine; rows of different runs are never compared."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(rows)
        if not self.rows:
            raise ValueError("rows is empty; a run has at least 1")

    @property
    def machine(self) -> str:
        return self.rows[0]["machine"]

    @property
    def on_gpu(self) -> bool:
        return self.rows[0]["device"] == "cuda"

    @property
    def conditions(self) -> str:
        row = self.rows[0]
        commit = f"commit {(row['commit'] or 'unknown')[:12]}" + (", dirty tree" if row["dirty"] else "")
        driver = f"driver {row['driver']}, " if row["driver"] else ""
        return f"{row['machine']}, {driver}torch {row['torch']}, triton {row['triton']}, {commit}, {row['date']}"

    def row(self, case: str, name: str, **columns: object) -> Row:
        row = find(self.rows, case=case, name=name, **columns)
        if row is None or row["kind"] in ("error", "refused"):
            reason = f": {row['reason']}" if row else ""
            raise NotMeasured(f"{case}, {' '.join([name, *map(str, columns.values())])} was not measured{reason}")
        return row

    def has(self, case: str, strategy: str) -> bool:
        """Was a strategy's whole replay timed in a case?"""
        return find(self.rows, case=case, kind="strategy", name=strategy) is not None

    def spread(self, case: str, name: str, column: str = "loop_us", **columns: object) -> Spread:
        value = spread_of(self.row(case, name, **columns), column)
        if value is None:
            raise NotMeasured(f"{case}, {name} has no {column} on {self.machine}")
        return value

    def loop(self, case: str, strategy: str) -> Spread:
        """Loop time of a strategy's whole replay, microseconds."""
        return self.spread(case, strategy, kind="strategy")

    def part(self, case: str, name: str, strategy: str | None = None) -> Spread:
        return self.spread(case, name, kind="part", strategy=strategy)

    def speed_up(self, case: str) -> Spread:
        """How many times faster than `eager` the kept path is."""
        return ratio(self.loop(case, "eager"), self.loop(case, "copy"))

    def copy_share(self, case: str) -> Spread:
        """The part of the kept path's loop time that the copies of its N steps take alone; 0..1."""
        return ratio(self.part(case, parts.COPY_ALL, "copy"), self.loop(case, "copy"))

    def all(self, **columns: object) -> list[Row]:
        """Every row with these columns; NotMeasured when there is none."""
        rows = [row for row in self.rows if all(row.get(key) == value for key, value in columns.items())]
        if not rows:
            raise NotMeasured(f"no row with {columns}")
        return rows


def runs(rows: Iterable[Row]) -> list[Evidence]:
    """Rows by run, the newest first; a run is a machine and the date it began at."""
    grouped: dict[tuple, list[Row]] = {}
    for row in rows:
        grouped.setdefault((row["date"], row["machine"], row["device"]), []).append(row)
    return [Evidence(grouped[key]) for key in sorted(grouped, reverse=True)]


def committed() -> Path:
    """The recording that comes with the project: from the installed package, else from the checkout."""
    packaged = resources.files("nsa_core.lab") / "data" / _COMMITTED
    path = Path(str(packaged)) if packaged.is_file() else CHECKOUT_RESULTS / _COMMITTED
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; record one: python -m nsa_core bench --record FILE, or name one")
    return path


def recordings() -> list[Path]:
    """Every recording at hand: those of the checkout, or the one in the installed package."""
    return sorted(CHECKOUT_RESULTS.glob("*.jsonl")) or [committed()]


def load(paths: Iterable[Path]) -> list[Evidence]:
    """The runs of several recordings, the newest first."""
    return runs(row for path in paths for row in _complete(path))


def _complete(path: Path) -> list[Row]:
    rows = read(path)
    for row in rows:
        if lacking := [column for column in _RUN_COLUMNS if column not in row]:
            raise BrokenRecording(
                f"{path}: a row lacks {', '.join(lacking)}, so its run is unknown; restore the file"
            )
    return rows
