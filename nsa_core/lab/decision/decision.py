"""All that a run decides: the criteria, the alternatives beside the copies, the break-even model, the verdict."""

from collections.abc import Callable
from dataclasses import dataclass

from ..bench.evidence import RECORD_CASES, STEPS_CASES, Evidence, NotMeasured
from ..bench.floors import EMPTY_LAUNCH
from ..bench.parts import COPY_ONE
from ..bench.recording import Row
from .break_even import BreakEven, measured_break_even
from .criteria import (
    Alternative,
    Criterion,
    better_alternative_criterion,
    bottleneck_criterion,
    conclude,
    copy_share_criterion,
    measured_alternatives,
    replay_share,
)


@dataclass(frozen=True)
class Decision:
    """What a run says, and what follows.

    conditions: the machine, versions, commit and date of the run; on_gpu: whether its times are a GPU's.
    alternatives: best first; comparison: a table row for each.
    model: None where it cannot be fitted, for the reason in no_model; model_rows: one for each number of steps.
    batched_step_us: one step's copies batched, as measured; None where they were not.
    """

    conditions: str
    on_gpu: bool
    criteria: list[Criterion]
    alternatives: list[Alternative]
    comparison: list[Row]
    model: BreakEven | None
    no_model: str
    model_rows: list[Row]
    batched_step_us: float | None
    reasons: list[str]
    verdict: str


def decide(evidence: Evidence, decode_step_us: float | None = None) -> Decision:
    """Evaluate one run. NotMeasured when it lacks `copy` or its copies alone in the record's cases."""
    replay_us = evidence.loop(RECORD_CASES[4], "copy").median
    shares = {n: evidence.copy_share(case) for n, case in RECORD_CASES.items() if evidence.has(case, "copy")}
    alternatives = measured_alternatives(evidence)
    criteria = [
        copy_share_criterion(shares),
        bottleneck_criterion(replay_us, decode_step_us),
        better_alternative_criterion(alternatives),
    ]
    verdict, reasons = conclude(criteria, alternatives)
    model, no_model = _model(evidence)
    return Decision(
        evidence.conditions,
        evidence.on_gpu,
        criteria,
        alternatives,
        [_comparison(alternative, evidence, decode_step_us) for alternative in alternatives],
        model,
        no_model,
        [_model_row(steps, model, evidence) for steps in STEPS_CASES] if model else [],
        _measured(lambda: evidence.part(RECORD_CASES[4], COPY_ONE, "batched").median),
        reasons,
        verdict,
    )


def _comparison(alternative: Alternative, evidence: Evidence, decode_step_us: float | None) -> Row:
    own = evidence.loop(RECORD_CASES[4], alternative.name).median
    row: Row = {"alternative": alternative.name, "contract": alternative.contract, "us at 4 steps": own}
    row |= {f"x copy at {n}": faster.median for n, faster in alternative.faster.items()}
    share = None if decode_step_us is None else f"{replay_share(own, decode_step_us):.2%}"
    return row | {"significant": alternative.significant, "of the decode step": share}


def _model(evidence: Evidence) -> tuple[BreakEven | None, str]:
    try:
        return measured_break_even(evidence), ""
    except (NotMeasured, ValueError) as reason:
        return None, str(reason)


def _model_row(steps: int, model: BreakEven, evidence: Evidence) -> Row:
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
