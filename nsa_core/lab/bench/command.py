"""python -m nsa_core bench"""

import argparse
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

import nsa_core as nsa

from ..device import device_named
from . import exposure, report
from .cases import QUICK, BenchCase, exposed, grid, select
from .evidence import load
from .recording import Recording, Row, read
from .run import SECTIONS, Bench, not_timed
from .stats import require_positive

_BUDGET_S = {"cuda": 2.5, "cpu": 1.0}
_QUICK_BUDGET_S = 0.6
_SHOWN_AT_END = ("record-4", "record-8")
_EXPOSED = """A decode step with a refresh less the step alone: median [least..most of the rounds], and % of the step.
before: in a graph of its own; copy: replayed by the host, and all of the host's time that the step does not cover."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure strategies, their parts and the floors; nothing is timed unless its result is right."
    )
    parser.epilog = """examples:
  python -m nsa_core bench --quick --record mine.jsonl
  python -m nsa_core bench --case 'record-*,floors' --strategy copy,fused --compare mine.jsonl
  python -m nsa_core bench --case 'exposed-*' --record mine.jsonl  # beside a decode step; 80 s of an H100
  python -m nsa_core bench --report mine.jsonl"""
    option = parser.add_argument
    option("--list", action="store_true", help="print the cases, sections and strategies; measure nothing")
    option("--report", type=Path, metavar="FILE", help="print the tables of a recording; measure nothing")
    option("--quick", action="store_true", help="measure a subset of the cases, below a minute on a 2-core CPU")
    option("--case", metavar="NAME[,..]", help="measure only these cases and sections; in case names * and ? match")
    option("--strategy", metavar="NAME[,..]", help="measure only these strategies; default all that can run")
    option("--device", metavar="NAME", help="cpu or cuda; default the GPU if there is one")
    option("--budget", type=float, metavar="SECONDS", help="time for each case; default 2.5 on a GPU, 1 on a CPU")
    option("--record", type=Path, metavar="FILE", help="append every row to FILE as JSON lines, as it is measured")
    option("--compare", type=Path, metavar="FILE", help="print this run's loop times over those recorded in FILE")


def main(args: argparse.Namespace) -> int:
    """Exit status 1 when a row failed: a wrong result or an error."""
    if args.report:
        for evidence in reversed(load([args.report])):
            print(f"\n{evidence.conditions}")
            _show(evidence.rows, {row["case"] for row in evidence.rows})
        return 0
    device = device_named(args.device)
    if args.list:
        return _list(device)
    sections, cases = _chosen(args)
    return measure(args, device, [*sections, *cases], Bench, None if args.case else _SHOWN_AT_END)


def _chosen(args: argparse.Namespace) -> tuple[list[str], list[BenchCase]]:
    if args.case is None:
        return list(SECTIONS), select(QUICK) if args.quick else grid()
    wanted = args.case.split(",")
    sections = [name for name in SECTIONS if name in wanted]
    patterns = [name for name in wanted if name not in SECTIONS]
    return sections, select(patterns)


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
    recorded = read(args.compare) if args.compare else []
    recording = Recording(args.record) if args.record else None

    def sink(new: Sequence[Row]) -> None:
        rows.extend(new)
        if recording:
            recording.append(new)

    names = None if args.strategy is None else args.strategy.split(",")
    bench = make(device, sink, strategies=names, budget_s=_budget_s(args, device))
    if any(getattr(item, "decode_gemms", 0) for item in items):
        exposure.require(device, bench.strategies)
    with recording or nullcontext():
        _announce(bench)
        bench.warm_up()
        for item in _progress(items):
            bench.case(item) if isinstance(item, BenchCase) else bench.section(item)
    _show(rows, {row.get("case") for row in rows} if shown is None else shown)
    if recorded:
        print(f"\nagainst {args.compare}:\n{report.text(report.compare(rows, recorded))}")
    return _conclude(rows, bench.failures)


def _budget_s(args: argparse.Namespace, device: torch.device) -> float:
    if args.budget is not None:
        require_positive("--budget", args.budget)
        return args.budget
    return _QUICK_BUDGET_S if args.quick else _BUDGET_S.get(device.type, 1.0)


def _announce(bench: Bench) -> None:
    where = bench.conditions
    print(
        f"{where['machine']}, torch {where['torch']}, triton {where['triton']}, commit {where['commit']}"
        f"{', DIRTY TREE' if where['dirty'] else ''}, {where['date']}"
    )
    if where["device"] == "cpu":
        print("On a CPU there are host times only: no latency, device time or device operations.")
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
            print(f"refused: {row['case']} {row['name']}: {row['reason']}")
    for failure in failures:
        print(f"FAILED: {failure}")
    exposures = [row for row in rows if row["kind"] == "exposed"]
    print(f"{len(report.timed(rows)) + len(exposures)} rows timed, {len(failures)} failed")
    return 1 if failures else 0


def _list(device: torch.device) -> int:
    print("sections:", ", ".join(SECTIONS))
    print("cases (* in --quick, + only where named):")
    for case in [*grid(), *exposed()]:
        mark = "+" if case.decode_gemms else "*" if case.name in QUICK else " "
        print(
            f" {mark} {case.name}: {case.mode.value}, bs {case.bs}, lengths {case.lengths}, {case.steps} steps, "
            f"page {case.page_size}, FlashMLA {case.flashmla}, tables {' '.join(case.tables)}"
        )
    print(f"strategies on {device}:")
    for name, info in nsa.strategies(device).items():
        reason = not_timed(info, device)
        print(f"   {name}: {info.contract}; {info.standing}" + (f"; NOT TIMED HERE: {reason}" if reason else ""))
    return 0
