"""All that measurements decide: criteria, the alternatives beside the copies, the break-even model, the verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..bench.evidence import PLANS, STEPS_CASES, Evidence, NotMeasured
from ..bench.floors import COMPILED_LAUNCH, EMPTY_LAUNCH
from ..bench.parts import COPY_ONE
from ..bench.recording import Row
from ..bench.stats import Spread
from .break_even import BreakEven, measured_break_even
from .criteria import (
    BOTTLENECK_SHARE,
    LIVE_PREFIX,
    Alternative,
    Criterion,
    Verdict,
    better_criterion,
    bottleneck_criterion,
    conclude,
    keeping,
    refresh_share,
    share_criterion,
    times,
)


@dataclass(frozen=True)
class Judgement:
    """One plan by the rule. copy: its refresh by copies; alternatives: in the contract needed, best first."""

    copy: Spread
    alternatives: list[Alternative]
    criteria: list[Criterion]
    verdict: Verdict


@dataclass(frozen=True)
class Decision:
    """What a machine's runs say of a plan of `steps` decode steps, and what follows.

    by_steps: a table row for every number of steps. differing: one for every other plan whose answer differs.
    model: None where it cannot be fitted, for the reason in no_model; model_rows: one for each number of steps.
    batched_step_us: one step's copies batched, as measured; None where they were not.
    """

    conditions: str
    on_gpu: bool
    steps: int
    contract: str
    decode_step_us: float | None
    judgement: Judgement
    by_steps: list[Row]
    differing: list[Row]
    model: BreakEven | None
    no_model: str
    model_rows: list[Row]
    batched_step_us: float | None

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    @property
    def comparison(self) -> list[Row]:
        """A table row for every alternative."""
        return [_comparison(alternative, self.decode_step_us) for alternative in self.judgement.alternatives]


def decide(
    evidence: Evidence, steps: int = 4, decode_step_us: float | None = None, contract: str = LIVE_PREFIX
) -> Decision:
    """Evaluate a machine's runs for `steps` decode steps. NotMeasured when `copy` was not timed for them."""
    if steps not in STEPS_CASES:
        raise ValueError(f"steps is {steps}; recorded are {', '.join(map(str, STEPS_CASES))}")
    own = judgement(evidence, STEPS_CASES[steps], decode_step_us, contract)
    others = {name: case for name, case in PLANS.items() if case != STEPS_CASES[steps] and evidence.has(case, "copy")}
    judged = {name: judgement(evidence, case, decode_step_us, contract) for name, case in others.items()}
    model, no_model = _model(evidence)
    return Decision(
        evidence.conditions,
        evidence.on_gpu,
        steps,
        contract,
        decode_step_us,
        own,
        [_of_steps(n, judgement(evidence, case, decode_step_us, contract)) for n, case in _measured_steps(evidence)],
        [_differing(name, other) for name, other in judged.items() if _differs(other, own)],
        model,
        no_model,
        [_model_row(n, model, evidence) for n in STEPS_CASES] if model else [],
        _measured(lambda: evidence.part(STEPS_CASES[4], COPY_ONE, "batched").median),
    )


def judgement(evidence: Evidence, case: str, decode_step_us: float | None, contract: str) -> Judgement:
    """A plan by the rule."""
    copy, alternatives = evidence.loop(case, "copy"), keeping(measured_alternatives(evidence, case), contract)
    criteria = [
        _share(evidence, case),
        bottleneck_criterion(copy.median, decode_step_us),
        better_criterion(alternatives),
    ]
    return Judgement(copy, alternatives, criteria, conclude(criteria, alternatives))


def measured_alternatives(evidence: Evidence, case: str) -> list[Alternative]:
    """Every strategy that was timed beside `copy` in a case and can be compared with it."""
    rows = [row for row in evidence.rows if (row["case"], row.get("kind")) == (case, "strategy")]
    names = dict.fromkeys(row["name"] for row in rows if row["name"] not in ("eager", "copy"))
    found = {name: _measured(lambda name=name: evidence.faster(case, name)) for name in names}
    contracts = {row["name"]: row["contract"] for row in rows}
    return [
        Alternative(name, contracts[name], evidence.loop(case, name).median, faster)
        for name, faster in found.items()
        if faster is not None
    ]


def _share(evidence: Evidence, case: str) -> Criterion:
    try:
        return share_criterion(evidence.copy_share(case))
    except NotMeasured as missing:
        return share_criterion(None, str(missing))


def _differs(other: Judgement, own: Judgement) -> bool:
    """Is a question answered otherwise, or is what would be done not to be had there?"""
    one, two = ((j.verdict.revert_stands, j.verdict.acts) for j in (other, own))
    best = own.alternatives[0].name if own.verdict.acts is not False and own.alternatives else None
    return one != two or (best is not None and best not in [a.name for a in other.alternatives if a.significant])


def _differing(name: str, judgement: Judgement) -> Row:
    verdict = judgement.verdict
    return {"plan": name, "the revert": "stands" if verdict.revert_stands else "falls", "and": verdict.act}


def _of_steps(steps: int, judgement: Judgement) -> Row:
    share, bottleneck, _ = judgement.criteria
    best = judgement.alternatives[0] if judgement.alternatives else None
    return {
        "steps": steps,
        "copy us": judgement.copy.median,
        "copies": share.reason if share.met is not None else None,
        "best": best and best.name,
        "faster": best and times(best.faster),
        "5% of a step up to ms": judgement.copy.median / BOTTLENECK_SHARE / 1e3,
        "act": {True: "yes", False: "no", None: "below that"}[judgement.verdict.acts],
    }


def _measured_steps(evidence: Evidence) -> list[tuple[int, str]]:
    return [(n, case) for n, case in STEPS_CASES.items() if evidence.has(case, "copy")]


def _comparison(alternative: Alternative, decode_step_us: float | None) -> Row:
    share = None if decode_step_us is None else f"{refresh_share(alternative.us, decode_step_us):.2%}"
    return {
        "alternative": alternative.name,
        "contract": alternative.contract,
        "us": alternative.us,
        "x copy": times(alternative.faster),
        "significant": alternative.significant,
        "of the decode step": share,
    }


def _model(evidence: Evidence) -> tuple[BreakEven | None, str]:
    try:
        return measured_break_even(evidence), ""
    except (NotMeasured, ValueError) as reason:
        return None, str(reason)


def _model_row(steps: int, model: BreakEven, evidence: Evidence) -> Row:
    case = STEPS_CASES[steps]
    launches = [_measured(lambda name=name: evidence.spread(case, name, kind="floor").median) for name in _LAUNCHES]
    launch = next(filter(None, launches), None)
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


_LAUNCHES: Sequence[str] = (COMPILED_LAUNCH, EMPTY_LAUNCH)


def _measured(ask: Callable[[], object]) -> object:
    """What was asked for; None where it was not measured."""
    try:
        return ask()
    except NotMeasured:
        return None
