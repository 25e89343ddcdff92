"""python -m nsa_core bench"""

import argparse
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import torch

import nsa_core as nsa

from ..device import device_named
from . import exposure, report
from .cases import EVIDENCE, QUICK, BenchCase, exposed, grid, select
from .conditions import busy
from .evidence import Evidence, committed_set, load, slow_cases
from .recording import Recording, Row
from .run import SECTIONS, STALE_SCHEDULES, Bench, not_timed
from .stats import require_positive

_BUDGET_S = {"cuda": 2.5, "cpu": 1.0}
_QUICK_BUDGET_S = 0.6
_EVIDENCE_S = 165.0
_SECTION_WEIGHT = 1.5
_LEAST_S = 0.1  # of timing for a unit of weight, whatever the time left
_SHOWN_AT_END = ("record-4", "record-8")
_EXPOSED = """A decode step with a refresh less the step alone: median [least..most of the rounds], and % of the step.
before: in a graph of its own; copy: replayed by the host, and all of the host's time that the step does not cover."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure strategies, their parts and the floors; nothing is timed unless its result is right."
    )
    parser.epilog = """examples:
  python -m nsa_core bench --quick --record mine.jsonl
  python -m nsa_core bench --case 'record-*,floors' --strategy copy,fused
  python -m nsa_core bench --case 'exposed-*' --record mine.jsonl  # beside a decode step; 80 s of an H100
  python -m nsa_core bench --evidence notebooks/results/evidence  # a run for the committed set; three minutes
  python -m nsa_core bench --report mine.jsonl"""
    option = parser.add_argument
    option("--list", action="store_true", help="print the cases, sections and strategies; measure nothing")
    option("--report", type=Path, metavar="PATH", help="print the tables of a recording or a set; measure nothing")
    option("--quick", action="store_true", help="measure a subset of the cases, below a minute on a 2-core CPU")
    option("--case", metavar="NAME[,..]", help="measure only these cases and sections; in case names * and ? match")
    option("--strategy", metavar="NAME[,..]", help="measure only these strategies; default all that can run")
    option("--device", metavar="NAME", help="cpu or cuda; default the GPU if there is one")
    option("--budget", type=float, metavar="SECONDS", help="time for each case; default 2.5 on a GPU, 1 on a CPU")
    option("--record", type=Path, metavar="FILE", help="append every row to FILE as JSON lines, as it is measured")
    option(
        "--evidence", type=Path, metavar="FOLDER", help="record what a set of evidence holds, as FOLDER/GPU-N.jsonl"
    )
    option("--seconds", type=float, metavar="SECONDS", help=f"time for all of --evidence; default {_EVIDENCE_S:g}")
    option("--anyway", action="store_true", help="record although the machine is busy; every row will say so")


def main(args: argparse.Namespace) -> int:
    """Exit status 1 when a row failed: a wrong result or an error."""
    if args.report:
        for run in (run for machine in load(args.report) for run in machine.runs):
            print(f"\n{run.conditions}")
            _show(run.rows, {row["case"] for row in run.rows})
            _print_drift(run.rows)
        return 0
    device = device_named(args.device)
    if args.list:
        return _list(device)
    sections, cases = _chosen(args)
    return measure(args, device, [*sections, *cases], Bench, None if args.case else _SHOWN_AT_END)


def _chosen(args: argparse.Namespace) -> tuple[list[str], list[BenchCase]]:
    if args.case is None:
        names = EVIDENCE if args.evidence else QUICK if args.quick else ["*"]
        return _everywhere(), [case for case in select(names) if not case.decode_gemms]
    wanted = args.case.split(",")
    sections = [name for name in SECTIONS if name in wanted]
    patterns = [name for name in wanted if name not in SECTIONS]
    return sections, select(patterns)


def _everywhere() -> list[str]:
    """The sections that need nothing but this package."""
    return [name for name in SECTIONS if name != STALE_SCHEDULES]


def measure(
    args: argparse.Namespace,
    device: torch.device,
    items: Sequence[str | BenchCase],
    make: Callable[..., Bench],
    shown: Collection[str] | None = None,
) -> int:
    """Measure sections and cases with the bench that `make` makes, record and print; returns the exit status.

    shown: cases whose rows are printed; None for all.
    """
    rows: list[Row] = []
    names = None if args.strategy is None else args.strategy.split(",")
    seconds = None if args.evidence is None else _seconds("--seconds", args.seconds, _EVIDENCE_S)
    budget_s = _seconds("--budget", args.budget, _QUICK_BUDGET_S if args.quick else _BUDGET_S.get(device.type, 1.0))
    bench = make(device, rows.extend, strategies=names, budget_s=budget_s)
    if any(getattr(item, "decode_gemms", 0) for item in items):
        exposure.require(device, bench.strategies)
    bench.conditions["busy"] = _require_idle(device, args)
    path = args.record if args.evidence is None else next_recording(args.evidence, bench.conditions["machine"])
    recording = Recording(path, bench.conditions) if path else None
    pace = Pace([_weight(item) for item in items], seconds) if seconds else None
    with recording or nullcontext():
        if recording:
            bench.sink = lambda new: (rows.extend(new), recording.append(new))
        _announce(bench, path)
        bench.warm_up()
        for item in _progress(items):
            bench.budget_s = pace.next() if pace else budget_s
            bench.case(item) if isinstance(item, BenchCase) else bench.section(item)
        if args.evidence:
            _take_again(bench, rows, items)
    _show(rows, {row.get("case") for row in rows} if shown is None else shown)
    return _conclude(rows, bench.failures)


def _take_again(bench: Bench, rows: Sequence[Row], items: Sequence[str | BenchCase]) -> None:
    """Once more what was timed in a slow phase of the machine; whoever reads takes the faster take of a case."""
    slow = slow_cases(rows)
    bench.conditions["take"] = 2
    for item in _progress([item for item in items if isinstance(item, BenchCase) and item.name in slow]):
        bench.case(item)


def _seconds(option: str, given: float | None, default: float) -> float:
    if given is not None:
        require_positive(option, given)
    return default if given is None else given


def _weight(item: str | BenchCase) -> float:
    return item.weight if isinstance(item, BenchCase) else _SECTION_WEIGHT


class Pace:
    """Shares a time out among items by weight, so that all of them end in it.

    What an item takes beside its timing (building, checking, compiling, profiling) is learnt from those before it.
    """

    def __init__(self, weights: Sequence[float], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._weights, self._clock = list(weights), clock
        self._begin, self._end = clock(), clock() + seconds
        self._timing, self._done = 0.0, 0

    def next(self) -> float:
        """Seconds of timing for each unit of the next item's weight."""
        now, weight = self._clock(), self._weights[self._done]
        beside = (now - self._begin - self._timing) / self._done if self._done else 0.0
        share = (self._end - now) * weight / sum(self._weights[self._done :])
        timing = max(share - beside, _LEAST_S * weight)
        self._timing, self._done = self._timing + timing, self._done + 1
        return timing / weight


def next_recording(folder: Path, machine: str) -> Path:
    """The next free name for a machine's recording; one that the committed set has is not free."""
    short = re.sub(r"^(nvidia|amd|intel) ", "", re.sub(r"\(.*?\)", "", machine.lower())).split()[0]
    taken = {path.name for place in (folder, committed_set()) for path in place.glob("*.jsonl")}
    return next(folder / name for n in count(1) if (name := f"{short}-{n}.jsonl") not in taken)


def _require_idle(device: torch.device, args: argparse.Namespace) -> str | None:
    """What else the machine does, to be recorded; RuntimeError where that would be recorded without asking."""
    seen = busy(device)
    if seen and (args.record or args.evidence) and not args.anyway:
        raise RuntimeError(f"this machine is busy: {seen}; wait, or record with --anyway, which marks every row")
    return seen


def _announce(bench: Bench, path: Path | None) -> None:
    where = bench.conditions
    print(
        f"{where['machine']}, torch {where['torch']}, triton {where['triton']}, commit {where['commit']}"
        f"{', DIRTY TREE' if where['dirty'] else ''}, {where['date']}"
    )
    if where["device"] == "cpu":
        print("On a CPU there are host times only: no latency, device time or device operations.")
    if where["busy"]:
        print(f"This machine is busy: {where['busy']}.")
    if path:
        print(f"recording {path}")
    if where["commit"] is None:
        print("No commit is known: not a git checkout. Set NSA_CORE_COMMIT to record one.")
    print("Microseconds per call; median, and first and third quartile as the spread.", flush=True)


def _progress(items: Sequence[str | BenchCase]) -> Iterator[str | BenchCase]:
    """The items, with a bar on a terminal's stderr where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield from items
        return
    bar = tqdm(items, unit="case", file=sys.stderr, disable=None)
    for item in bar:
        bar.set_postfix_str(item.name if isinstance(item, BenchCase) else item)
        yield item


def _show(rows: Sequence[Row], cases: Collection[str]) -> None:
    shown = [row for row in rows if row.get("case") in cases or row.get("kind") == "bandwidth"]
    lines = [line for line in report.beside_floors(report.latest(shown)) if line["case"] in cases]
    speeds = [{"copy": row["name"], "GB/s": row["gb_per_s"]} for row in rows if row.get("kind") == "bandwidth"]
    exposures = report.exposures(shown)
    tables = [report.text(table) for table in (lines, speeds) if table]
    tables += [f"{_EXPOSED}\n{report.text(exposures)}"] if exposures else []
    print("\n\n".join(tables) or report.text([]))


def _conclude(rows: Sequence[Row], failures: Sequence[str]) -> int:
    for row in rows:
        if row["kind"] == "refused":
            print(f"refused: {' '.join(filter(None, (row['case'], row.get('name'))))}: {row['reason']}")
    for failure in failures:
        print(f"FAILED: {failure}")
    exposures = [row for row in rows if row["kind"] == "exposed"]
    _print_drift(rows)
    print(f"{len(report.timed(rows)) + len(exposures)} rows timed, {len(failures)} failed")
    return 1 if failures else 0


def _print_drift(rows: Sequence[Row]) -> None:
    for times, case in Evidence(rows).drift if rows else ():
        print(f"slowest reference: {times:.2f} times the usual one, in {case}")


def _list(device: torch.device) -> int:
    print("sections:", ", ".join(_everywhere()), f"and, with DeepGEMM, {STALE_SCHEDULES}")
    held = {case.name for case in select(EVIDENCE)}
    print("cases (* in --quick, e in --evidence, + only where named):")
    for case in [*grid(), *exposed()]:
        mark = "+" if case.decode_gemms else "*" if case.name in QUICK else "e" if case.name in held else " "
        print(
            f" {mark} {case.name}: {case.mode.value}, bs {case.bs}, lengths {case.lengths}, {case.steps} steps, "
            f"page {case.page_size}, FlashMLA {case.flashmla}, tables {' '.join(case.tables)}"
        )
    print(f"strategies on {device}:")
    for name, info in nsa.strategies(device).items():
        reason = not_timed(info, device)
        print(f"   {name}: {info.contract}; {info.standing}" + (f"; NOT TIMED HERE: {reason}" if reason else ""))
    return 0
