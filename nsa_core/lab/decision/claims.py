"""The note's claims: what each said, what is measured instead, and the verdict that the measurements give.

Counts, ratios, shares and causes are judged. A time in microseconds depends on the host that asks and is reported;
where the note speaks of something else than we have, that is said; a judgement gets the number that it is about.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..bench import parts
from ..bench.evidence import RECORD_CASES, Evidence, NotMeasured
from ..bench.floors import TINY_COPY
from ..bench.recording import Row
from ..bench.stats import Spread
from .criteria import COPY_SHARE_LIMIT, percent, times

TOLERANCE = 0.25  # a ratio or a share holds within this much of the note's number

HELD, NOT_HELD, HOST = "held", "did not hold", "depends on the host"
OTHER, JUDGEMENT, NOT_TESTABLE = "another object", "judgement", "not testable there"

_MODE_CASES = ("record-4", "target_verify-steps-4", "draft_extend-steps-4")
_OPERATIONS = "precompute-parts"


@dataclass(frozen=True)
class Claim:
    """One statement of the note.

    kind: "number", "cause", "judgement" or "criterion".
    text: what the note claimed. test: what is measured. number: the measurement in words.
    judged: asked of every run, whether it holds there; or the verdict of what cannot be judged.
    changes: what would change the verdict. remark: what belongs beside it.
    gpu: a statement about GPUs, which a run on a CPU cannot test.
    """

    id: str
    kind: str
    text: str
    test: str
    number: Callable[[Evidence], str]
    judged: Callable[[Evidence], bool] | str
    changes: str
    remark: str = ""
    gpu: bool = True


@dataclass(frozen=True)
class Ruling:
    """What a machine's runs say about a claim; number: what was measured, in words."""

    claim: Claim
    machine: str
    verdict: str
    number: str


def ledger(evidence: Evidence) -> list[Ruling]:
    """Every claim, by all runs of a machine."""
    return [evaluate(claim, evidence) for claim in CLAIMS]


def evaluate(claim: Claim, evidence: Evidence) -> Ruling:
    """One claim. Runs that disagree have hosts that do: that is a verdict too."""
    try:
        if claim.gpu and not evidence.on_gpu:
            raise NotMeasured("a statement about GPUs; this run had none")
        number = claim.number(evidence)
        verdict = claim.judged if isinstance(claim.judged, str) else _verdict(claim.judged, evidence)
    except NotMeasured as missing:
        return Ruling(claim, evidence.machine, NOT_TESTABLE, str(missing))
    return Ruling(claim, evidence.machine, verdict, number)


def _verdict(holds: Callable[[Evidence], bool], evidence: Evidence) -> str:
    answers, missing = set(), []
    for run in evidence.runs:
        try:
            answers.add(holds(run))
        except NotMeasured as reason:
            missing.append(reason)
    if not answers:
        raise missing[0]
    return {frozenset({True}): HELD, frozenset({False}): NOT_HELD}.get(frozenset(answers), HOST)


def near(measured: Spread, low: float, high: float | None = None) -> bool:
    """Is a run's median within TOLERANCE of the note's number, or of its range?"""
    return low * (1 - TOLERANCE) <= measured.median <= (low if high is None else high) * (1 + TOLERANCE)


def _us(measured: Spread) -> str:
    spread = "" if measured.low == measured.high else f" ({measured.low:.4g}..{measured.high:.4g})"
    return f"{measured.median:.4g} us{spread}"


def _by_steps(of: Callable[[Evidence, str], str]) -> Callable[[Evidence], str]:
    """What `of` says of the note's two cases."""
    return lambda e: ", ".join(f"{of(e, case)} at {n} steps" for n, case in RECORD_CASES.items())


def _in_both(holds: Callable[[Evidence, str], bool]) -> Callable[[Evidence], bool]:
    return lambda e: all([holds(e, case) for case in RECORD_CASES.values()])


def _before_after(e: Evidence, case: str) -> str:
    return f"{_us(e.loop(case, 'eager'))} -> {_us(e.loop(case, 'copy'))}, {times(e.speed_up(case))}"


def _operations(e: Evidence) -> str:
    alone = ", ".join(f"{name} {e.part(_OPERATIONS, name).median:.3g}" for name in parts.OPERATIONS)
    return f"decode {_us(e.part('record-4', parts.PRECOMPUTE))}; alone: {alone} us"


def _saved(e: Evidence, case: str) -> str:
    return f"{e.loop(case, 'eager').median - e.loop(case, 'copy').median:.4g} us"


def _part(name: str, strategy: str | None = None) -> Row:
    return {"kind": "part", "name": name, "strategy": strategy}


def _transform(over: str, under: str) -> Callable[[Evidence], Spread]:
    return lambda e: e.ratio(_OPERATIONS, _part(over), _part(under))


def _plans(e: Evidence) -> dict[str, Row]:
    return {case: e.row(case, parts.COPY_ONE, kind="plan") for case in _MODE_CASES}


def _copies_listed(e: Evidence) -> str:
    return ", ".join(f"{plan['copies']} in {case}" for case, plan in _plans(e).items())


def _step_batched(e: Evidence) -> Spread:
    """How many times faster a step's copies are when batched."""
    return e.ratio("record-4", _part(parts.COPY_ONE, "copy"), _part(parts.COPY_ONE, "batched"))


def _step_batched_us(e: Evidence) -> str:
    copy, batched = (e.part("record-4", parts.COPY_ONE, name).median for name in ("copy", "batched"))
    return f"{copy - batched:+.3g} us per step ({copy:.4g} -> {batched:.4g}), {times(_step_batched(e))}"


def _seven(e: Evidence, form: str) -> Spread:
    """How many times faster than `.copy_()` a form makes the seven copies."""
    return e.ratio("seven-copies", _part(parts.SEVEN_COPIES, "copy"), _part(parts.SEVEN_COPIES, form))


def _seven_listed(e: Evidence) -> str:
    names = {"copy": "copy_", "batched-each": "seven launches", "batched": "one launch"}
    listed = ", ".join(
        f"{said} {_us(e.part('seven-copies', parts.SEVEN_COPIES, name))}" for name, said in names.items()
    )
    return f"{listed}: {times(_seven(e, 'batched'))}"


def _batching(e: Evidence, case: str) -> str:
    faster = e.faster(case, "batched")
    times_us = f"{_us(e.loop(case, 'copy'))} -> {_us(e.loop(case, 'batched'))}"
    return f"{times_us}, {times(faster)}, {1 - 1 / faster.median:+.0%}"


def _contiguous(e: Evidence, unit: str) -> list[float]:
    """The part of each mode's copies, or of their bytes, that is contiguous on both sides."""
    taken, of = {"copies": ("contiguous_copies", "copies"), "bytes": ("contiguous_bytes", "copied_bytes")}[unit]
    return [plan[taken] / plan[of] for plan in _plans(e).values()]


def _contiguous_listed(e: Evidence) -> str:
    copies, volume = _contiguous(e, "copies"), _contiguous(e, "bytes")
    return (
        f"{min(copies):.0%} to {max(copies):.0%} of the copies, {min(volume):.2%} to {max(volume):.2%} of the bytes"
    )


def _kinds(e: Evidence) -> list[Row]:
    copies = [row for row in e.all(kind="copy") if row["operation"] is not None]
    if not copies:
        raise NotMeasured("the profiler saw no device operation")
    return copies


def _kinds_listed(e: Evidence) -> str:
    counts = []
    for flat, name in ((True, "contiguous"), (False, "strided")):
        kinds = [row["operation"] for row in _kinds(e) if row["contiguous"] is flat]
        counts += [f"{name}: {kinds.count(kind)} of {len(kinds)} a {kind}" for kind in sorted(set(kinds))]
    return "; ".join(counts)


def _wrong(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["kind"] == "error" and row.get("strategy") == "copy"]


def _handled(e: Evidence) -> str:
    dense = [row for row in e.all(kind="strategy", name="copy") if row["flashmla"] == "dense"]
    strided = [row for row in e.all(kind="plan") if row["contiguous_copies"] < row["copies"]]
    if not dense or not strided:
        raise NotMeasured("no dense FlashMLA case, or no strided copy, was measured")
    cells = sum(row["checked_cells"] for row in e.all(kind="strategy", name="copy"))
    wrong = f"{len(_wrong(e.rows))} cases wrong"
    return f"{cells:,} cells right, {wrong}; {len(strided)} strided, {len(dense)} with objects"


def _equal(e: Evidence) -> list[Row]:
    return e.all(kind="fact", name="steps are equal")


def _equal_listed(e: Evidence) -> str:
    rows = _equal(e)
    modes = [row["mode"] for row in rows if not row["value"]]
    return (
        f"{sum(row['cells'] for row in rows):,} cells compared, {f'some differ in {modes}' if modes else '0 differ'}"
    )


def _fact(name: str, **columns: object) -> Callable[[Evidence], object]:
    return lambda e: e.row("facts", name, **columns)["value"]


def _device_share(e: Evidence) -> Spread:
    """Device time over the kept path's loop time, at most all of it."""

    def of_run(run: Evidence) -> Spread:
        device = run.spread("record-4", "copy", "device_us", kind="strategy")
        return device.scaled(1 / run.loop("record-4", "copy").median).at_most(1)

    return e.over_runs(of_run)


def _share(e: Evidence, case: str) -> str:
    return percent(e.copy_share(case))


def _halves(e: Evidence) -> str:
    """Whether copies take above half, by steps."""
    met = {case: e.copy_share(case).median > COPY_SHARE_LIMIT for case in RECORD_CASES.values()}
    said = (
        f"{_share(e, case)} at {n} steps ({'met' if met[case] else 'not met'})" for n, case in RECORD_CASES.items()
    )
    return f"copies take {', '.join(said)}"


_crash, _lines = _fact("FlashMLA metadata.is_contiguous()"), _fact("source lines", strategy="batched")
_CRASH = "'NSAFlashMLAMetadata' object has no attribute 'is_contiguous'"
_cached, _sliced = _transform(parts.REBUILT, parts.CACHED), _transform(parts.SLICED, parts.CACHED)
_SCENARIO = "32 requests of 4,096 tokens, loop time"
_ANOTHER_HOST = "nothing: it is the time of one host, there to compare with"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P1",
        "number",
        "Computing once takes a replay of 4 steps from 700 to 235 us, 3.0x.",
        f"eager over copy at 4 steps, {_SCENARIO}; judged is the ratio",
        lambda e: _before_after(e, "record-4"),
        lambda e: near(e.speed_up("record-4"), 3.0),
        "cheaper copies raise the ratio; free copies cap it at 4",
    ),
    Claim(
        "P2",
        "number",
        "Computing once takes a replay of 8 steps from 1400 to 295 us, 4.8x.",
        f"eager over copy at 8 steps, {_SCENARIO}; judged is the ratio",
        lambda e: _before_after(e, "record-8"),
        lambda e: near(e.speed_up("record-8"), 4.8),
        "cheaper copies raise the ratio; free copies cap it at 8",
    ),
    Claim(
        "P3",
        "number",
        "One step costs about 175 us to compute: to(int32) 5, cumsum 15 (twice), table gather 20, "
        "clamp 30, page transform 40, cat/arange 50.",
        "precompute alone, and each group of operations alone",
        _operations,
        HOST,
        _ANOTHER_HOST,
        "A decode step needs no cat/arange, so that time is no part of the first.",
    ),
    Claim(
        "P4",
        "number",
        "Computing once saves 465 us at 4 steps and 1105 us at 8.",
        "eager minus copy; our eager copies too, the note's 700 and 1400 us are computing alone",
        _by_steps(_saved),
        OTHER,
        "a measurement of the note's own code",
    ),
    Claim(
        "P5",
        "cause",
        "All draft steps get identical inputs, so computing once is exact.",
        "eager's N sets and copy's N sets compared bit for bit, in three modes",
        _equal_listed,
        lambda e: all(row["value"] for row in _equal(e)),
        "a single cell that differs",
        "Exact for every field it covers; the released code did not cover all of them "
        "(paged_mqa_schedule_metadata, SGLang 0.5.7 to 0.5.10).",
        gpu=False,
    ),
    Claim(
        "P6",
        "number",
        "Caching what the page transform needs makes it 2x faster.",
        "the indexed transform, its index tensor rebuilt every time over cached; that date's code has no such cache",
        lambda e: f"{times(_cached(e))} faster with its index tensor cached",
        OTHER,
        "code with the cache that the note speaks of",
    ),
    Claim(
        "P7",
        "judgement",
        "One cache of strided indices for the whole process helps.",
        "plain slicing over the indexed transform with cached indices",
        lambda e: f"slicing / cached indices = {times(_sliced(e))}; below 1 the cache loses to a plain slice",
        JUDGEMENT,
        "a ratio above 1: slicing slower than cached indices",
    ),
    Claim(
        "C1",
        "number",
        "A step takes 6 or 7 copies.",
        "length of the copy plan in three modes",
        _copies_listed,
        lambda e: all(6 <= plan["copies"] <= 7 for plan in _plans(e).values()),
        "another number of fields to copy",
        gpu=False,
    ),
    Claim(
        "C2",
        "number",
        "Copying one step takes 20 to 30 us.",
        "copies of 1 step, record-4",
        lambda e: _us(e.part("record-4", parts.COPY_ONE, "copy")),
        HOST,
        _ANOTHER_HOST,
        "The note's own totals imply 15 us a step.",
    ),
    Claim(
        "C3",
        "number",
        "A launch costs 2 to 3 us.",
        "a 4-byte `.copy_()` called from Python, and the page table's; the note speaks of a call of the CUDA API",
        lambda e: (
            f"4-byte copy_ {_us(e.spread('record-4', TINY_COPY, kind='floor'))}, "
            f"the page table's {_us(e.part('record-4', parts.ONE_COPY, 'copy'))}"
        ),
        OTHER,
        "timing cudaMemcpyAsync alone; a call from Python pays PyTorch's own time as well",
    ),
    Claim(
        "C4",
        "cause",
        "copy_ is a cudaMemcpyAsync.",
        "the profiler's operation behind each copy of a step",
        _kinds_listed,
        lambda e: all(row["operation"] == "memcpy" for row in _kinds(e)),
        "contiguous page tables, or a PyTorch that uses a memcpy for strided copies too",
    ),
    Claim(
        "C5",
        "cause",
        "copy_ deals with strided tensors and custom objects; it has no edge-case bugs.",
        "copy against the oracle in every case, strided and with FlashMLA objects",
        _handled,
        lambda e: not _wrong(e.rows),
        "one case in which copy is wrong",
        gpu=False,
    ),
    Claim(
        "C6",
        "number",
        "Copies are about 10% of the total.",
        "what copy takes beyond computing once, over all of it",
        _by_steps(_share),
        _in_both(lambda e, case: near(e.copy_share(case), 0.10)),
        "copies that together take a ninth of the time of computing",
        "The note's own totals imply 26% and 41%.",
    ),
    Claim(
        "B1",
        "number",
        "Seven int32 copies take 28.70 us with copy_, 40.85 to 41.43 us in seven Triton launches and "
        "19.38 us in one (1.48x).",
        "seven copies of 32..2048 elements by our kernel, 1000 back-to-back calls a sample; judged is the ratio",
        _seven_listed,
        lambda e: near(_seven(e, "batched"), 1.48),
        "a kernel that needs less preparation on the CPU: preparing its list of copies takes longer than making them",
    ),
    Claim(
        "B2",
        "number",
        "Batching saves about 9 us per call.",
        "copies of 1 step, copy over batched, record-4; judged is whether it saves anything",
        _step_batched_us,
        lambda e: _step_batched(e).median > 1,
        "a batched form that is faster than the copies",
    ),
    Claim(
        "B3",
        "number",
        "Batching the copies takes 4 steps from 235 to about 220 us (6%), and 8 steps from 295 to 280 us (5%).",
        "copy over batched at 4 and 8 steps; judged is whether it saves anything",
        _by_steps(_batching),
        _in_both(lambda e, case: e.faster(case, "batched").median > 1),
        "a batched form that is faster than the copies",
    ),
    Claim(
        "B4",
        "cause",
        "80 to 90% of the copies take the Triton path; falling back is rare.",
        "pairs of the copy plan that are contiguous on both sides, and their bytes",
        _contiguous_listed,
        lambda e: 0.8 <= min(_contiguous(e, "copies")) and max(_contiguous(e, "copies")) <= 0.9,
        "page tables exactly as wide as the longest request: their copies are contiguous",
        gpu=False,
    ),
    Claim(
        "B5",
        "number",
        "The batched kernel needs 480 lines.",
        "lines of our own four batched forms and their kernels",
        lambda e: f"{_lines(e)} lines, of another program",
        OTHER,
        "counting the lines of the note's own file",
        gpu=False,
    ),
    Claim(
        "B6",
        "cause",
        f"It crashed: {_CRASH}.",
        "FlashMLA's metadata object is asked what the kernel's caller asked it",
        _crash,
        lambda e: _crash(e) == _CRASH,
        "an object that has is_contiguous",
        gpu=False,
    ),
    Claim(
        "B7",
        "cause",
        "The CPU's launch overhead matters more than the GPU's time.",
        "device time over loop time of copy, record-4; judged is whether it is below a half",
        lambda e: f"device time is {percent(_device_share(e))} of the kept path's loop time at 4 steps",
        lambda e: _device_share(e).median < 0.5,
        "tables so large that moving their bytes takes longer than launching",
    ),
    Claim(
        "A1",
        "judgement",
        "CUDA streams would not help.",
        "device time over loop time, all that streams could hide",
        lambda e: (
            f"streams overlap device time only, which is {percent(_device_share(e))} of the loop time at 4 steps"
        ),
        JUDGEMENT,
        "a refresh that keeps the GPU busy most of the time",
    ),
    Claim(
        "A2",
        "judgement",
        "One flattened buffer is not practical.",
        "bytes that go into strided slices",
        lambda e: (
            f"{1 - _contiguous(e, 'bytes')[0]:.1%} of a step's bytes go into strided slices, "
            "which one flat copy cannot fill"
        ),
        JUDGEMENT,
        "page tables exactly as wide as the longest request: their copies are contiguous",
        gpu=False,
    ),
    Claim(
        "A3",
        "judgement",
        "A kernel of one's own is unlikely to beat cudaMemcpy.",
        "copy over fused and graph, record-4",
        lambda e: (
            ", ".join(f"{name} is {times(e.faster('record-4', name))} as fast as copy" for name in ("fused", "graph"))
            + " at 4 steps"
        ),
        JUDGEMENT,
        "a factor below 1: a kernel slower than copy",
    ),
    Claim(
        "D1",
        "judgement",
        "5 to 6% is not worth the complexity, so batching is reverted.",
        "copy over batched",
        _by_steps(lambda e, case: f"batching is {times(e.faster(case, 'batched'))} as fast as copy"),
        JUDGEMENT,
        "a batched form at least 1.25 times as fast as the copies",
    ),
    Claim(
        "D2",
        "criterion",
        "Look again only if copies pass 50% of the total, production shows a bottleneck, or a "
        "significant insight turns up.",
        f"the first condition: what copy takes beyond computing once, above {COPY_SHARE_LIMIT:.0%} of it",
        _halves,
        JUDGEMENT,
        "copies that take less than half of the refresh",
    ),
    Claim(
        "D3",
        "number",
        "Overall the kept path is 3 to 5x faster than the original.",
        "eager over copy at 4 and 8 steps",
        _by_steps(lambda e, case: times(e.speed_up(case))),
        _in_both(lambda e, case: near(e.speed_up(case), 3, 5)),
        "cheaper copies",
    ),
)
