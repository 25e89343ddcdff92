"""What the runs of one machine say together, asked for by name: the only way anything reads a recording.

A set is a folder of recordings, or one. It answers for each machine in it by all of that machine's runs. A time is
the median, and the range, of the runs in which the machine was not slow in that case: a host's pace changes by a
factor of 2. A ratio or a share is formed inside each run: the median is that of the same runs, the range that of all.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import resources
from pathlib import Path

from . import parts
from .recording import MEASURED, ROUNDS, BrokenRecording, Row, read
from .report import find, spread_of
from .stats import Spread, across, ratio, rounded, spread

RECORD_CASES = {4: "record-4", 8: "record-8"}
STEPS_CASES = {1: "decode-steps-1", 2: "decode-steps-2", **RECORD_CASES, 16: "decode-steps-16"}
# What a replay may look like, for questions whose answer could depend on it.
PLANS = {
    **{f"decode, {n} step{'s' * (n > 1)}": case for n, case in STEPS_CASES.items()},
    **{f"verify, {n} steps": f"target_verify-steps-{n}" for n in (4, 8)},
    **{f"extend, {n} steps": f"draft_extend-steps-{n}" for n in (4, 8)},
    "decode, bs 256": "decode-bs-256",
    "decode, 128 k tokens": "decode-context-128k",
    "decode, full width": "decode-full-width",
    "decode, page size 1": "page-1-decode",
    "decode, dense FlashMLA": "flashmla-dense-decode",
    "decode, Azure trace": "trace-azure-decode",
}
# Times. Where references differ by more, so did the machine: on an H200's host 8.3..9.4, then 11.8 us.
SAME_PHASE = 1.2
ROUNDS_NEEDED = 3  # of a ratio
RUNS_WANTED, PLACES_WANTED = 3, 2  # runs of a machine, on different hosts or days
_LONG_LOOPS = "seven-copies"  # 1,000 calls each
SET = "evidence"
QUOTED = "NVIDIA H200"  # the machine that sentences and pictures quote

CHECKOUT_RESULTS = Path(__file__).resolve().parents[3] / "notebooks" / "results"
_RUN_COLUMNS = ("machine", "device", "date", "case", "kind")
_IDENTITY = ("case", "kind", "name", "strategy", "mode", "of")


class NotMeasured(LookupError):
    """The runs lack a row that a question needs, or cannot compare two; the message names it."""


class Evidence:
    """All runs of one machine, each a list of rows; `rows` is what they say together."""

    def __init__(self, *runs: Iterable[Row]) -> None:
        listed = [_warm(_fastest_takes(rows)) for rows in runs]
        self._slow = slow_in(listed)
        if not all(listed) or not listed:
            raise ValueError("rows is empty; a run has at least 1")
        self.runs = [self] if len(listed) == 1 else [Evidence(rows) for rows in listed]
        self.rows = listed[0] if len(listed) == 1 else _together(listed)

    @property
    def machine(self) -> str:
        return self.rows[0]["machine"]

    @property
    def on_gpu(self) -> bool:
        return self.rows[0]["device"] == "cuda"

    @property
    def conditions(self) -> str:
        """Machine, hosts, versions, commits and dates, each named once; and what the set still lacks."""
        rows = [run.rows[0] for run in self.runs]

        def each(text: Callable[[Row], str]) -> str:
            return " / ".join(dict.fromkeys(map(text, rows)))

        said = [
            self.machine,
            self._how_many,
            each(lambda row: row.get("cpu") or "CPU not named"),
            *([each(lambda row: f"driver {row['driver']}")] if self.on_gpu else []),
            each(lambda row: f"torch {row['torch']}"),
            each(lambda row: f"triton {row['triton']}"),
            each(_commit),
            self._days,
            *(["busy: " + each(lambda row: row.get("busy") or "no")] if any(r.get("busy") for r in rows) else []),
            *([self.lacks] if self.lacks else []),
        ]
        return ", ".join(said)

    @property
    def brief(self) -> str:
        """Machine, number of runs and days, for below a picture; `conditions` says all."""
        return ", ".join(filter(None, [self.machine, self._how_many, self._days, self.lacks]))

    @property
    def _how_many(self) -> str:
        return f"{len(self.runs)} run{'s' * (len(self.runs) > 1)}"

    @property
    def _days(self) -> str:
        days = [run.rows[0]["date"][:10] for run in self.runs]
        return " to ".join(dict.fromkeys((min(days), max(days))))

    @property
    def lacks(self) -> str:
        """What the runs lack to be the evidence for a machine; empty when they suffice."""
        firsts = [run.rows[0] for run in self.runs]
        hosts, days = ({row.get("host") for row in firsts}, {row["date"][:10] for row in firsts})
        if len(firsts) >= RUNS_WANTED and max(len(hosts), len(days)) >= PLACES_WANTED:
            return ""
        return f"provisional: {RUNS_WANTED} runs on {PLACES_WANTED} hosts or days are wanted"

    @property
    def drift(self) -> list[tuple[float, str]]:
        """By run, how many times its slowest reference is its usual one, and the case it stood in."""
        timed = [[row for row in run.rows if row.get("reference_us")] for run in self.runs]
        slowest = [(max(rows, key=lambda row: row["reference_us"]), rows) for rows in timed if rows]
        return [
            (slow["reference_us"] / statistics.median(row["reference_us"] for row in rows), slow["case"])
            for slow, rows in slowest
        ]

    @cached_property
    def _of_case(self) -> dict[str, list[Row]]:
        cases: dict[str, list[Row]] = {}
        for row in self.rows:
            cases.setdefault(row["case"], []).append(row)
        return cases

    def row(self, case: str, name: str, **columns: object) -> Row:
        row = find(self._of_case.get(case, ()), name=name, **columns)
        if row is None or row["kind"] in ("error", "refused"):
            reason = f": {row['reason']}" if row else ""
            raise NotMeasured(f"{case}, {' '.join([name, *map(str, columns.values())])} was not measured{reason}")
        return row

    def has(self, case: str, strategy: str) -> bool:
        """Was a strategy's whole replay timed in a case?"""
        return find(self._of_case.get(case, ()), kind="strategy", name=strategy) is not None

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

    def ratio(self, case: str, over: Row, under: Row) -> Spread:
        """Loop time of one row of a case over another's; `over` and `under` are the columns that name them."""
        return self.over_runs(lambda run: _quotient(run.row(case, **over), run.row(case, **under)), case)

    def faster(self, case: str, fast: str, slow: str = "copy") -> Spread:
        """How many times faster than `slow` the whole replay of `fast` is."""
        return self.ratio(case, whole(slow), whole(fast))

    def speed_up(self, case: str) -> Spread:
        """How many times faster than `eager` the kept path is."""
        return self.faster(case, "copy", "eager")

    def copy_share(self, case: str) -> Spread:
        """The part of the kept path's loop time that goes beyond computing once, into the copies to N steps; 0..1."""
        compute = {"kind": "part", "name": parts.PRECOMPUTE, "strategy": None}
        return self.over_runs(lambda run: run.ratio(case, compute, whole("copy")).rest, case)

    def over_runs(self, ask: Callable[["Evidence"], Spread], case: str | None = None) -> Spread:
        """What `ask` says of each run that can answer, summarised. NotMeasured when none can.

        case: what is asked about. The median is then that of the runs whose times count there; the range is of all.
        """
        answers, missing = {}, []
        for at, run in enumerate(self.runs):
            try:
                answers[at] = ask(run)
            except NotMeasured as reason:
                missing.append(reason)
        if not answers:
            raise missing[0]
        counting = [answer for at, answer in answers.items() if case not in self._slow[at]]
        return replace(across([*answers.values()]), median=across(counting or [*answers.values()]).median)

    def all(self, **columns: object) -> list[Row]:
        """Every row with these columns; NotMeasured when there is none."""
        rows = [row for row in self.rows if all(row.get(key) == value for key, value in columns.items())]
        if not rows:
            raise NotMeasured(f"no row with {columns}")
        return rows


def whole(strategy: str) -> Row:
    """The columns that name a strategy's whole replay."""
    return {"kind": "strategy", "name": strategy}


def _commit(row: Row) -> str:
    return f"commit {(row['commit'] or 'unknown')[:12]}" + (", dirty tree" if row["dirty"] else "")


def _quotient(over: Row, under: Row) -> Spread:
    """Of one run, round by round: rows were timed in turns, and rounds of different phases are left out."""
    pairs = [_by_round(row, "loop_us") for row in (over, under)]
    if not all(pairs):  # recorded before rounds were
        return ratio(spread_of(over, "loop_us"), spread_of(under, "loop_us"))
    references = [_by_round(row, "reference_us") for row in (over, under)]
    rounds = zip(*pairs, *references, strict=True)
    kept = [a / b for a, b, one, other in rounds if max(one, other) <= SAME_PHASE * min(one, other)]
    if len(kept) < min(ROUNDS_NEEDED, len(pairs[0])):
        raise NotMeasured(
            f"{over['case']}, {over['name']} and {under['name']} were timed in different phases of the machine: "
            f"the reference next to them took {over['reference_us']:g} and {under['reference_us']:g} us"
        )
    return spread(kept)


def _by_round(row: Row, column: str) -> list[float]:
    return row.get(column + ROUNDS) or []


def pace(rows: Iterable[Row]) -> dict[str, float]:
    """By case, microseconds of the reference timed next to its rows: how slow the machine was then."""
    references: dict[str, list[float]] = {}
    for row in rows:
        if row.get("reference_us"):
            references.setdefault(row["case"], []).append(row["reference_us"])
    return {case: statistics.median(found) for case, found in references.items()}


def slow_cases(rows: Iterable[Row]) -> list[str]:
    """Cases that a run timed in a slow phase: their reference is above that of a quarter of the cases."""
    paces = pace(rows)
    usual = sorted(paces.values())[len(paces) // 4] if paces else 0.0
    return [case for case, us in paces.items() if us > SAME_PHASE * usual]


def _fastest_takes(rows: Iterable[Row]) -> list[Row]:
    """A run's rows; of a case that it timed again, only those of the take in which the machine was fastest."""
    takes: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        takes.setdefault(row["case"], {}).setdefault(row.get("take", 1), []).append(row)
    return [row for of_case in takes.values() for row in min(of_case.values(), key=_slowness)]


def _warm(rows: Sequence[Row]) -> list[Row]:
    """Rows with a loop time in which every call is warm, as a bench of today takes it.

    In older recordings each block begins with a cold call: a quarter of the time where a block has only a few calls.
    There it is what a warm loop takes: a single call's time on the CPU or on the GPU, whichever is longer.
    """
    cold = [not row.get("warm_loops") and row["case"] != _LONG_LOOPS and row.get("host_us") for row in rows]
    return [_longer(row) if first else row for row, first in zip(rows, cold, strict=True)]


def _longer(row: Row) -> Row:
    longer = max(("host_us", "device_us"), key=lambda column: row.get(column) or 0)
    ends = {f"loop_us{end}": row.get(longer + end) for end in ("", "_q1", "_q3", "_n")}
    return {key: value for key, value in row.items() if key != "loop_us" + ROUNDS} | ends


def _slowness(rows: Sequence[Row]) -> float:
    return max(pace(rows).values(), default=math.inf)


def _together(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """One row for all that say the same: measured columns are the runs' median, quartiles become their range.

    Of each case, only from runs at the pace of the fastest.
    """
    alike: dict[tuple, list[Row]] = {}
    for rows, slow in zip(runs, slow_in(runs), strict=True):
        newest = {tuple(row.get(key) for key in _IDENTITY): row for row in rows if row["case"] not in slow}
        for key, row in newest.items():
            alike.setdefault(key, []).append(row)
    return [_summary(rows) for rows in alike.values()]


def slow_in(runs: Sequence[Sequence[Row]]) -> list[set[str]]:
    """Of each run the cases whose reference took longer than in another run, by SAME_PHASE."""
    paces = [pace(rows) for rows in runs]
    fastest = {case: min(p[case] for p in paces if case in p) for case in set().union(*paces)}
    return [{case for case, us in own.items() if us > SAME_PHASE * fastest[case]} for own in paces]


def _summary(rows: Sequence[Row]) -> Row:
    if len(rows) == 1:
        return rows[0]
    row = {key: value for key, value in rows[0].items() if not key.endswith(ROUNDS)}
    for column in [c for c in row if MEASURED.fullmatch(c) and not c.endswith(("_q1", "_q3"))]:
        values = [other[column] for other in rows if other.get(column) is not None]
        if values:
            row[column] = rounded(statistics.median(values))
            ends = {"q1": min(values), "q3": max(values), "n": len(values)}
            row |= {f"{column}_{end}": value for end, value in ends.items() if f"{column}_{end}" in row}
    return row


def by_machine(rows: Iterable[Row]) -> list[Evidence]:
    """Rows by machine and run; the machine that is quoted comes first."""
    machines: dict[tuple, dict[tuple, list[Row]]] = {}
    for row in rows:
        runs = machines.setdefault((row["machine"], row["device"]), {})
        runs.setdefault((row["date"], row.get("run")), []).append(row)
    first = sorted(machines, key=lambda machine: (machine[0] != QUOTED, machine))
    return [Evidence(*machines[machine].values()) for machine in first]


def committed_set() -> Path:
    """The set that comes with the project: from the installed package, else from the checkout."""
    packaged = resources.files("nsa_core.lab") / "data" / SET
    return Path(str(packaged)) if packaged.is_dir() else CHECKOUT_RESULTS / SET


def committed() -> Evidence:
    """The machine that is quoted, by the set that comes with the project."""
    return load(committed_set())[0]


def load(path: Path) -> list[Evidence]:
    """The machines of a set, or of a single recording."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise BrokenRecording(f"{path} has no recordings; record one: python -m nsa_core bench --evidence {path}")
    return by_machine(row for file in files for row in _complete(file))


def _complete(path: Path) -> list[Row]:
    rows = read(path)
    for row in rows:
        if lacking := [column for column in _RUN_COLUMNS if column not in row]:
            raise BrokenRecording(
                f"{path}: a row lacks {', '.join(lacking)}, so its run is unknown; restore the file"
            )
    return rows
