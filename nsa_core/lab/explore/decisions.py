"""The decision as tables, by the rule that `decide` applies: what to do where, and what was compared."""

from collections.abc import Sequence

from ..bench.evidence import PLANS, RECORD_CASES, STEPS_CASES, Evidence
from ..bench.recording import Row
from ..decision import decide, note
from ..decision.costs import ONE_LAUNCH
from ..decision.criteria import EXACT, LIVE_PREFIX, Alternative, refresh_share
from ..decision.decision import Judgement, judgement
from ..releases import recorded

RELEASES = {"before": "0.5.6.post2", "after": "0.5.7"}  # the last that computes every set, the first that does not
STEPS, ROUND_MS = (2, 4, 8), (4, 10, 30)  # what a page shows
LEAVE, KEEP, LAUNCH = "leave it", "keep the copies", ONE_LAUNCH
COMPARED = {  # what a page about the decision has to compare
    "eager": "computes every set",
    "copy": "computes once, copies array by array",
    "batched": "the batched copy: one launch for a set's arrays, .copy_() for its tables",
    "fused": "one launch computes and writes all sets",
    "graph": "that launch, recorded as a CUDA graph",
}
LAUNCHED_ONCE = ("fused", "graph", "shared+fused", "shared+graph")  # the strategies that copy nothing
UNITS = {"round": "ms", "of the round": "%", "time": "\u00b5s", "eager": "\u00b5s", "copy": "\u00b5s"}


def what_to_do(evidence: Evidence, steps: Sequence[int] = STEPS, round_ms: Sequence[float] = ROUND_MS) -> list[Row]:
    """A row for every number of draft steps and length of a round."""
    return [_verdict(evidence, n, ms) for n in steps for ms in round_ms]


def by_round(evidence: Evidence) -> list[Row]:
    """The same with a row for every number of draft steps, and a column for every length of a round."""
    return [{"draft steps": n} | {f"round of {ms} ms": to_do(evidence, n, ms) for ms in ROUND_MS} for n in STEPS]


def to_do(evidence: Evidence, steps: int, round_ms: float) -> str:
    """What to do, and the part of a round that a refresh by copies takes: `leave it (1.5%)`."""
    row = _verdict(evidence, steps, round_ms)
    return f"{row['what to do']} ({row['of the round']:.1%})"


def _verdict(evidence: Evidence, steps: int, round_ms: float) -> Row:
    judged = judgement(evidence, STEPS_CASES[steps], round_ms * 1e3, LIVE_PREFIX)
    return {
        "draft steps": steps,
        "round": round_ms,
        "of the round": refresh_share(judged.copy.median, round_ms * 1e3),
        "what to do": _action(judged),
    }


def _action(judged: Judgement) -> str:
    """In the words of the calculator's map."""
    _, bottleneck, better = judged.criteria
    best = judged.alternatives[0].name
    if not bottleneck.met:
        return LEAVE
    if not better.met:
        return KEEP
    return LAUNCH if best in LAUNCHED_ONCE else best


def beside_copy(evidence: Evidence, steps: int = 4) -> list[Row]:
    """Five strategies, each compared with `copy` in every run."""
    return [_compared(evidence, STEPS_CASES[steps], name, does) for name, does in COMPARED.items()]


def _compared(evidence: Evidence, case: str, name: str, does: str) -> Row:
    faster = evidence.faster(case, name)
    return {
        "strategy": name,
        "what it does": does,
        "time": evidence.loop(case, name).median,
        "times as fast as copy": faster.median,
        "in the worst run": faster.low,
    }


def best_batched(evidence: Evidence) -> list[Alternative]:
    """The best batched form of every plan."""
    judged = (judgement(evidence, case, None, EXACT) for case in PLANS.values())
    return [
        max((way for way in one.alternatives if way.batches), key=lambda way: way.faster.median) for one in judged
    ]


def best(evidence: Evidence, steps: int, contract: str) -> Alternative:
    """The strategy that the rule names in a contract; the fastest where none is significant."""
    return decide(evidence, steps, contract=contract).judgement.alternatives[0]


def computed_once(evidence: Evidence) -> list[Row]:
    """What the note says of computing once, and what was measured, for each number of draft steps (sets) it names."""
    rows = []
    for n, case in RECORD_CASES.items():
        ours = {name: evidence.loop(case, name).median for name in ("eager", "copy")}
        rows.append(_once(n, "the note", note.TOTALS[n]))
        own = {when: recorded.timed(version, n)["loop_us"] for when, version in RELEASES.items()}
        rows.append(_once(n, "SGLang 0.5.6.post2 and 0.5.7, H200", own))
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
