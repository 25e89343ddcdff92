"""python -m nsa_core bench"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

import nsa_core as nsa

from . import report
from .cases import QUICK, Case, grid, select
from .evidence import load
from .recording import Recording, Row, read
from .run import SECTIONS, Run, not_timed

_BUDGET_S = {"cuda": 2.5, "cpu": 1.0}
_QUICK_BUDGET_S = 0.6
_SHOWN_AT_END = ("record-4", "record-8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Measure strategies, their parts and the floors; correctness is checked first."
    parser.add_argument("--quick", action="store_true", help="a subset of the grid, below a minute on a 2-core CPU")
    parser.add_argument("--case", metavar="NAME[,..]", help="cases or sections by name or pattern; see --list")
    parser.add_argument("--strategy", metavar="NAME[,..]", help="strategies to time; default all that can run")
    parser.add_argument("--device", help="cpu or cuda; default the GPU if there is one")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="timing per case; default 2.5 (GPU), 1 (CPU)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="append every row to FILE (JSON lines)")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="print ratios to the rows recorded in FILE")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing; print a recording's tables")
    parser.add_argument(
        "--list", action="store_true", help="print the cases, sections and strategies, measure nothing"
    )


def main(args: argparse.Namespace) -> int:
    """Exit status 1 when a row failed: a wrong result or an error."""
    if args.report:
        for run in reversed(load([args.report])):
            print(f"\n{run.conditions}")
            _show(run.rows, {row["case"] for row in run.rows})
        return 0
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if args.list:
        return _list(device)
    sections, cases = _chosen(args)
    recorded = read(args.compare) if args.compare else []
    rows, failures = _measure(args, device, sections, cases)
    _show(rows, {row.get("case") for row in rows} if args.case else _SHOWN_AT_END)
    if recorded:
        print(f"\nagainst {args.compare}:\n{report.text(report.compare(rows, recorded))}")
    return _conclude(rows, failures)


def _chosen(args: argparse.Namespace) -> tuple[list[str], list[Case]]:
    if args.case is None:
        return list(SECTIONS), select(QUICK) if args.quick else grid()
    wanted = args.case.split(",")
    sections = [name for name in SECTIONS if name in wanted]
    patterns = [name for name in wanted if name not in SECTIONS]
    return sections, select(patterns)


def _measure(
    args: argparse.Namespace, device: torch.device, sections: Sequence[str], cases: Sequence[Case]
) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    with Recording(args.record) if args.record else nullcontext() as recording:

        def sink(new: Sequence[Row]) -> None:
            rows.extend(new)
            if recording is not None:
                recording.append(new)

        budget = args.budget or (_QUICK_BUDGET_S if args.quick else _BUDGET_S[device.type])
        names = args.strategy.split(",") if args.strategy else None
        run = Run(device, sink, strategies=names, budget_s=budget)
        _announce(run)
        run.warm_up()
        for item in _progress([*sections, *cases]):
            run.case(item) if isinstance(item, Case) else run.section(item)
    return rows, run.failures


def _announce(run: Run) -> None:
    where = run.conditions
    print(
        f"{where['machine']}, torch {where['torch']}, triton {where['triton']}, commit {where['commit']}"
        f"{', DIRTY TREE' if where['dirty'] else ''}, {where['date']}"
    )
    if where["device"] == "cpu":
        print("On a CPU there are host times only: no latency, device time or device operations.")
    if where["commit"] is None:
        print("No commit is known: not a git checkout. Set NSA_CORE_COMMIT to record one.")
    print("Microseconds per call; median, and first and third quartile as the spread.", flush=True)


def _progress(items: list) -> Iterator:
    """The items, with a bar on a terminal's stderr where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return iter(items)
    bar = tqdm(items, unit="case", file=sys.stderr, disable=None)
    return _named(bar)


def _named(bar) -> Iterator:
    for item in bar:
        bar.set_postfix_str(item.name if isinstance(item, Case) else item)
        yield item


def _show(rows: Sequence[Row], cases) -> None:
    shown = [row for row in rows if row.get("case") in cases or row.get("kind") == "bandwidth"]
    lines = [line for line in report.beside_floors(report.latest(shown)) if line["case"] in cases]
    print(report.text(lines))
    speeds = [{"copy": row["name"], "GB/s": row["gb_per_s"]} for row in rows if row.get("kind") == "bandwidth"]
    if speeds:
        print(f"\n{report.text(speeds)}")


def _conclude(rows: Sequence[Row], failures: Sequence[str]) -> int:
    for row in rows:
        if row["kind"] == "refused":
            print(f"refused: {row['case']} {row['name']}: {row['reason']}")
    for failure in failures:
        print(f"FAILED: {failure}")
    print(f"{len(report.timed(rows))} rows timed, {len(failures)} failed")
    return 1 if failures else 0


def _list(device: torch.device) -> int:
    print("sections:", ", ".join(SECTIONS))
    print("cases (* in --quick):")
    for case in grid():
        mark = "*" if case.name in QUICK else " "
        print(
            f" {mark} {case.name}: {case.mode.value}, bs {case.bs}, lengths {case.lengths}, {case.steps} steps, "
            f"page {case.page_size}, FlashMLA {case.flashmla}"
        )
    print(f"strategies on {device}:")
    for name, info in nsa.strategies(device).items():
        reason = not_timed(info, device)
        print(f"   {name}: {info.contract}; {info.standing}" + (f"; NOT TIMED HERE: {reason}" if reason else ""))
    return 0
