"""The decision as tables, by the rule that `decide` applies: what to do where, and what was compared."""

from collections.abc import Sequence

from ..bench.evidence import PLANS, RECORD_CASES, STEPS_CASES, Evidence
from ..bench.recording import Row
from ..decision import decide, note
from ..decision.costs import ONE_LAUNCH
from ..decision.criteria import BOTTLENECK_SHARE, EXACT, LIVE_PREFIX, SIGNIFICANT, Alternative, refresh_share
from ..decision.decision import Judgement, judgement, measured_alternatives

LEAVE, KEEP, LAUNCH = "leave it", "keep the copies", ONE_LAUNCH
LAUNCHED_ONCE = ("fused", "graph", "shared+fused", "shared+graph")  # the strategies that copy nothing
UNITS = {
    "decode step": "ms",
    "refresh by copies": "\u00b5s",
    "of it copies": "%",
    "of the step": "%",
    "time": "\u00b5s",
    "N sets, GPU time": "\u00b5s",
    "one set, GPU time": "\u00b5s",
    "eager": "\u00b5s",
    "copy": "\u00b5s",
}


def what_to_do(
    evidence: Evidence, steps: Sequence[int] = (2, 4, 8), step_ms: Sequence[float] = (4, 10, 30)
) -> list[Row]:
    """A row for every number of draft steps and length of a decode step."""
    return [_verdict(evidence, n, ms) for n in steps for ms in step_ms]


def _verdict(evidence: Evidence, steps: int, step_ms: float) -> Row:
    judged = judgement(evidence, STEPS_CASES[steps], step_ms * 1e3, LIVE_PREFIX)
    action, because = _action(judged)
    return {
        "draft steps": steps,
        "decode step": step_ms,
        "refresh by copies": judged.copy.median,
        "of it copies": evidence.copy_share(STEPS_CASES[steps]).median,
        "of the step": refresh_share(judged.copy.median, step_ms * 1e3),
        "what to do": action,
        "because": because,
    }


def _action(judged: Judgement) -> tuple[str, str]:
    """In the words of the calculator's map, and the condition that says so."""
    _, bottleneck, better = judged.criteria
    best = judged.alternatives[0]
    if not bottleneck.met:
        return LEAVE, f"condition 2 fails: below {BOTTLENECK_SHARE:.0%} of the step"
    if not better.met:
        return KEEP, f"condition 3 fails: nothing is {SIGNIFICANT} times as fast"
    because = f"conditions 2 and 3: {best.name} is {best.faster.median:.3g} times as fast"
    return LAUNCH if best.name in LAUNCHED_ONCE else best.name, because


def beside_copy(evidence: Evidence, steps: int = 4) -> list[Row]:
    """Every way that was timed beside the copies, the fastest first."""
    ways = sorted(measured_alternatives(evidence, STEPS_CASES[steps]), key=lambda way: way.us)
    return [
        {
            "way": way.name,
            "contract": way.contract,
            "time": way.us,
            "times as fast as copy": way.faster.median,
            "low end": way.faster.low,
            f"{SIGNIFICANT} or more": way.significant,
        }
        for way in ways
    ]


def best_batched(evidence: Evidence) -> list[Alternative]:
    """The best batched form of every plan."""
    judged = (judgement(evidence, case, None, EXACT) for case in PLANS.values())
    return [
        max((way for way in one.alternatives if way.batches), key=lambda way: way.faster.median) for one in judged
    ]


def best(evidence: Evidence, steps: int, contract: str) -> Alternative:
    """The way that the rule names in a contract."""
    return decide(evidence, steps, contract=contract).judgement.alternatives[0]


def shared_sets(evidence: Evidence) -> list[Row]:
    """By number of draft steps: how long the GPU works to fill N sets, or one."""
    rows = []
    for n, case in STEPS_CASES.items():
        own, one = (evidence.row(case, name, kind="strategy") for name in ("graph", "shared+graph"))
        rows.append({"draft steps": n, "N sets, GPU time": own["device_us"], "one set, GPU time": one["device_us"]})
    return rows


def computed_once(evidence: Evidence) -> list[Row]:
    """What the note says of computing once, and what was measured, for each number of draft steps it names."""
    rows = []
    for n, case in RECORD_CASES.items():
        ours = {name: evidence.loop(case, name).median for name in ("eager", "copy")}
        rows.append(_once(n, "the note", note.TOTALS[n]))
        rows.append(_once(n, "SGLang of that time, H200", note.ORIGINAL[n]))
        gain = {"times as fast": evidence.speed_up(case).median}
        rows.append({"draft steps": n, "source": "this package, H200"} | ours | gain)
    return rows


def _once(steps: int, source: str, us: dict[str, float]) -> Row:
    times = {"eager": us["before"], "copy": us["after"], "times as fast": us["before"] / us["after"]}
    return {"draft steps": steps, "source": source} | times


def beside_copies(evidence: Evidence, strategies: Sequence[str], steps: Sequence[int] = (1, 4, 16)) -> list[Row]:
    """How many times as fast as the copies: by number of draft steps, and the extremes of all recorded plans."""
    rows = []
    for name in strategies:
        every = [evidence.faster(case, name).median for case in PLANS.values()]
        by_steps = {f"{n} draft step{'s' * (n > 1)}": evidence.faster(STEPS_CASES[n], name).median for n in steps}
        rows.append({"strategy": name} | by_steps | {"slowest kind": min(every), "fastest kind": max(every)})
    return rows
