"""python -m nsa_core decide"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ..bench import Bench, select
from ..bench.evidence import STEPS_CASES, Evidence, NotMeasured, by_machine, committed_set, load
from ..bench.recording import Row
from ..bench.report import text
from ..bench.stats import require_positive
from ..device import device_named
from . import claims
from .criteria import CONTRACTS, LIVE_PREFIX, RULE
from .decision import Decision, decide

_MEASURED_CASES = ("record-4", "record-8", "decode-steps-1")
_MEASURE_BUDGET_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = f"Does the revert stand, and is there something better to do than copying?\n\n{RULE}"
    parser.epilog = """examples:
  python -m nsa_core decide --steps 8 --decode-step-us 8000
  python -m nsa_core decide --recording mine.jsonl --claims"""
    option = parser.add_argument
    option("--recording", type=Path, metavar="PATH", help="a recording, or a set of them; default the committed set")
    option("--device", metavar="NAME", help="measure a short run on cpu or cuda instead")
    option("--steps", type=int, default=4, metavar="N", help=f"draft steps: {', '.join(map(str, STEPS_CASES))}")
    option(
        "--decode-step-us", type=float, metavar="US", help="your round, from one refresh to the next, microseconds"
    )
    option("--contract", choices=CONTRACTS, default=LIVE_PREFIX, help="what your readers need (default %(default)s)")
    option("--claims", action="store_true", help="print the note's claims, each with its verdict, instead")


def main(args: argparse.Namespace) -> int:
    """Exit status 1 when there is nothing to decide from."""
    if args.decode_step_us is not None:
        require_positive("--decode-step-us", args.decode_step_us)
    try:
        machines, source = _evidence(args)
        print(source)
        for machine in machines:
            if args.claims:
                _print_claims(machine)
            else:
                _print(decide(machine, args.steps, args.decode_step_us, args.contract))
    except NotMeasured as missing:
        print(f"nothing to decide from: {missing}", file=sys.stderr)
        return 1
    return 0


def measure(device: torch.device) -> Evidence:
    """A short run of the note's cases. NotMeasured when one of them failed."""
    rows: list[Row] = []
    bench = Bench(device, rows.extend, budget_s=_MEASURE_BUDGET_S)
    bench.warm_up()
    for case in select(_MEASURED_CASES):
        bench.case(case)
    if bench.failures:
        raise NotMeasured("; ".join(bench.failures))
    return by_machine(rows)[0]


def _evidence(args: argparse.Namespace) -> tuple[Sequence[Evidence], str]:
    """What to decide from, and where that comes from."""
    if args.recording:
        return load(args.recording), f"From {args.recording}."
    if args.device is not None:
        return [measure(device_named(args.device))], "Measured here and now, a short run."
    return load(committed_set()), "From the committed set of recordings."


def _print_claims(evidence: Evidence) -> None:
    print(f"\n{evidence.conditions}")
    for r in claims.ledger(evidence):
        remark = f" {r.claim.remark}" if r.claim.remark else ""
        print(f"{r.claim.id}  {r.verdict}: {r.number}.{remark}")
        print(f"    Claimed: {r.claim.text}\n    Measured: {r.claim.test}.\n    Would change it: {r.claim.changes}.")


def _print(decision: Decision) -> None:
    own = decision.judgement
    print(f"\n{decision.conditions}")
    if not decision.on_gpu:
        print("A CPU's times: they decide for this CPU, not for a GPU that serves.")
    print(f"{decision.steps} draft steps, 32 requests of 4,096 tokens: {own.copy.median:.4g} us by copies\n\n{RULE}")
    print("\n" + text([{"criterion": c.name, "state": c.state, "why": c.reason} for c in own.criteria]))
    print(f"\nin the contract {decision.contract!r}, or the exact one:\n{text(decision.comparison)}")
    print("\n" + text(decision.by_steps))
    _print_model(decision)
    if decision.differing:
        print(f"\nplans in which an answer differs:\n{text(decision.differing)}")
    look = "Yes" if decision.verdict.look else "No"
    stands = "Yes" if decision.verdict.revert_stands else "No"
    print(f"\nIs it time to look again? {look}.")
    print(f"Does the revert of the batched copy stand? {stands}: {decision.verdict.revert}.")
    print(f"Is there something better to do than copying? {decision.verdict.act}.")
    print(f"\nVerdict: {decision.verdict.line}")


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
