"""python -m nsa_core decide"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..bench import Run, select
from ..bench.evidence import RECORD_CASES, STEPS_CASES, Evidence, NotMeasured, committed, load, recordings, runs
from ..bench.floors import EMPTY_LAUNCH
from ..bench.parts import COPY_ONE
from ..bench.recording import Row
from ..bench.report import text
from . import claims
from .break_even import BreakEven, measured_break_even
from .criteria import Alternative, Decision, decide, replay_share

_MEASURED_CASES = ("record-4", "record-8", "decode-steps-1")
_MEASURE_BUDGET_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Keep the copies, batch them, or do something else, by the record's own criteria."
    parser.add_argument("--recording", type=Path, metavar="FILE", help="decide from a recording instead of measuring")
    parser.add_argument("--device", help="measure a short run on this device; default the GPU if there is one")
    parser.add_argument("--decode-step-us", type=float, metavar="US", help="length of your decode step, microseconds")
    parser.add_argument("--claims", action="store_true", help="print the ledger of the record's claims instead")


def main(args: argparse.Namespace) -> int:
    """Exit status 1 when there is nothing to decide from."""
    try:
        if args.claims:
            _print_ledger([args.recording] if args.recording else recordings())
        else:
            evidence, source = _evidence(args)
            _print(decide(evidence, args.decode_step_us), evidence, source, args.decode_step_us)
    except (NotMeasured, FileNotFoundError) as missing:
        print(f"nothing to decide from: {missing}", file=sys.stderr)
        return 1
    return 0


def measure(device: torch.device) -> Evidence:
    """A short run of the record's cases. NotMeasured when one of them failed."""
    rows: list[Row] = []
    run = Run(device, rows.extend, budget_s=_MEASURE_BUDGET_S)
    run.warm_up()
    for case in select(_MEASURED_CASES):
        run.case(case)
    if run.failures:
        raise NotMeasured("; ".join(run.failures))
    return runs(rows)[0]


def _evidence(args: argparse.Namespace) -> tuple[Evidence, str]:
    if args.recording:
        return _decidable(load([args.recording])), f"From the recording {args.recording}."
    if args.device or torch.cuda.is_available():
        return measure(torch.device(args.device or "cuda")), "Measured here and now, a short run."
    path = committed()
    return _decidable(
        load([path])
    ), f"No GPU here: from the committed recording {path.name}, made on another machine."


def _decidable(newest_first: Sequence[Evidence]) -> Evidence:
    """The newest run that measured what a decision needs."""
    for evidence in newest_first:
        if evidence.has(RECORD_CASES[4], "copy"):
            return evidence
    raise NotMeasured(f"none of {len(newest_first)} runs has {RECORD_CASES[4]} with copy")


def _print_ledger(paths: Sequence[Path]) -> None:
    findings = claims.ledger(load(paths))
    for machine in dict.fromkeys(f.machine for f in findings):
        print(f"\n{machine}")
        for f in (f for f in findings if f.machine == machine):
            print(f"{f.claim.id}  {f.verdict}: {f.number}\n    {f.claim.text} [{f.claim.test}]")


def _print(decision: Decision, evidence: Evidence, source: str, decode_step_us: float | None) -> None:
    print(f"{source}\n{evidence.conditions}")
    if not evidence.on_gpu:
        print("A CPU's times: they decide for this CPU, not for a GPU that serves.")
    print("\n" + text([{"criterion": c.name, "state": c.state, "why": c.reason} for c in decision.criteria]))
    print("\n" + text([_line(a, evidence, decode_step_us) for a in decision.alternatives]))
    _print_model(evidence)
    print("\nreasons:\n" + "\n".join(f"  - {reason}" for reason in decision.reasons))
    print(f"\nVerdict: {decision.verdict}")


def _line(alternative: Alternative, evidence: Evidence, decode_step_us: float | None) -> Row:
    own = evidence.loop(RECORD_CASES[4], alternative.name).median
    line: Row = {"alternative": alternative.name, "contract": alternative.contract, "us at 4 steps": own}
    line |= {f"x copy at {n}": f.median for n, f in alternative.faster.items()}
    share = None if decode_step_us is None else f"{replay_share(own, decode_step_us):.2%}"
    return line | {"significant": alternative.significant, "of the decode step": share}


def _print_model(evidence: Evidence) -> None:
    try:
        model = measured_break_even(evidence)
    except (NotMeasured, ValueError) as why:
        print(f"\nno break-even model: {why}")
        return
    print(
        f"\nbreak-even model: {model.compute_us:.4g} us to compute, {model.copies} copies of {model.per_copy_us:.3g} "
        f"us a step; error {model.rms:.0%} rms, {model.worst:.0%} at worst over {model.points} points"
    )
    print(text([_model_line(n, model, evidence) for n in STEPS_CASES]))
    print(
        f"computing once cannot pass {model.speed_up_limit:.3g}x; "
        f"the copies take over half from {model.steps_to_half:.3g} steps on"
    )
    batched = _measured(lambda: evidence.part(RECORD_CASES[4], COPY_ONE, "batched").median)
    said = "not measured" if batched is None else f"{batched:.4g} us measured"
    print(f"batching a step's copies pays below {model.step_us:.4g} us a step; {said}")


def _model_line(steps: int, model: BreakEven, evidence: Evidence) -> Row:
    case = STEPS_CASES[steps]
    launch = _measured(lambda: evidence.spread(case, EMPTY_LAUNCH, kind="floor").median)
    return {
        "steps": steps,
        "eager us": model.eager(steps),
        "copy us": model.copied(steps),
        "speed-up": model.speed_up(steps),
        "measured": _measured(lambda: evidence.speed_up(case).median),
        "copy share": model.copy_share(steps),
        "measured share": _measured(lambda: evidence.copy_share(case).median),
        "batched at the launch floor us": launch and model.batched(steps, launch),
    }


def _measured(ask: Callable[[], float]) -> float | None:
    try:
        return ask()
    except NotMeasured:
        return None
