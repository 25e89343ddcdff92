"""python -m nsa_core decide"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ..bench import Bench, select
from ..bench.evidence import RECORD_CASES, Evidence, NotMeasured, committed, load, recordings, runs
from ..bench.recording import Row
from ..bench.report import text
from ..bench.stats import require_positive
from ..device import device_named
from . import claims
from .decision import Decision, decide

_MEASURED_CASES = ("record-4", "record-8", "decode-steps-1")
_MEASURE_BUDGET_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Keep the copies, batch them, or do something else, by the record's own criteria."
    parser.epilog = """examples:
  python -m nsa_core decide --decode-step-us 8000
  python -m nsa_core decide --recording mine.jsonl --claims"""
    option = parser.add_argument
    option("--recording", type=Path, metavar="FILE", help="decide from a recording of the bench; measure nothing")
    option("--device", metavar="NAME", help="measure a short run on cpu or cuda; default the GPU if there is one")
    option("--decode-step-us", type=float, metavar="US", help="length of your decode step in microseconds")
    option("--claims", action="store_true", help="print the record's claims, each with its verdict, instead")


def main(args: argparse.Namespace) -> int:
    """Exit status 1 when there is nothing to decide from."""
    if args.decode_step_us is not None:
        require_positive("--decode-step-us", args.decode_step_us)
    try:
        if args.claims:
            _print_claims([args.recording] if args.recording else recordings())
        else:
            evidence, source = _evidence(args)
            print(source)
            _print(decide(evidence, args.decode_step_us))
    except NotMeasured as missing:
        print(f"nothing to decide from: {missing}", file=sys.stderr)
        return 1
    return 0


def measure(device: torch.device) -> Evidence:
    """A short run of the record's cases. NotMeasured when one of them failed."""
    rows: list[Row] = []
    bench = Bench(device, rows.extend, budget_s=_MEASURE_BUDGET_S)
    bench.warm_up()
    for case in select(_MEASURED_CASES):
        bench.case(case)
    if bench.failures:
        raise NotMeasured("; ".join(bench.failures))
    return runs(rows)[0]


def _evidence(args: argparse.Namespace) -> tuple[Evidence, str]:
    """What to decide from, and where that comes from."""
    if args.recording:
        return _decidable(args.recording), f"From the recording {args.recording}."
    if args.device is not None or torch.cuda.is_available():
        return measure(device_named(args.device)), "Measured here and now, a short run."
    path = committed()
    return _decidable(path), f"No GPU here: from the committed recording {path.name}, made on another machine."


def _decidable(path: Path) -> Evidence:
    """The newest run of a recording that measured what a decision needs."""
    newest_first = load([path])
    for evidence in newest_first:
        if evidence.has(RECORD_CASES[4], "copy"):
            return evidence
    raise NotMeasured(f"none of {len(newest_first)} runs in {path} has {RECORD_CASES[4]} with copy")


def _print_claims(paths: Sequence[Path]) -> None:
    rulings = claims.ledger(load(paths))
    for machine in dict.fromkeys(ruling.machine for ruling in rulings):
        print(f"\n{machine}")
        for r in (ruling for ruling in rulings if ruling.machine == machine):
            print(f"{r.claim.id}  {r.verdict}: {r.number}\n    {r.claim.text} [{r.claim.test}]")


def _print(decision: Decision) -> None:
    print(decision.conditions)
    if not decision.on_gpu:
        print("A CPU's times: they decide for this CPU, not for a GPU that serves.")
    print("\n" + text([{"criterion": c.name, "state": c.state, "why": c.reason} for c in decision.criteria]))
    print("\n" + text(decision.comparison))
    _print_model(decision)
    print("\nreasons:\n" + "\n".join(f"  - {reason}" for reason in decision.reasons))
    print(f"\nVerdict: {decision.verdict}")


def _print_model(decision: Decision) -> None:
    model, batched = decision.model, decision.batched_step_us
    if model is None:
        print(f"\nno break-even model: {decision.no_model}")
        return
    print(
        f"\nbreak-even model: {model.compute_us:.4g} us to compute, {model.copies} copies of {model.per_copy_us:.3g} "
        f"us a step; error {model.rms:.0%} rms, {model.worst:.0%} at worst over {model.points} points"
    )
    print(text(decision.model_rows))
    print(
        f"computing once cannot pass {model.speed_up_limit:.3g}x; "
        f"the copies take over half from {model.steps_to_half:.3g} steps on"
    )
    measured = "not measured" if batched is None else f"{batched:.4g} us measured"
    print(f"batching a step's copies pays below {model.step_us:.4g} us a step; {measured}")
