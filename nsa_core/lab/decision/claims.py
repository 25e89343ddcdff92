"""The record's claims, each with the test that a recording answers; no verdict in this file is typed by hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..bench import parts
from ..bench.evidence import RECORD_CASES, Evidence, NotMeasured
from ..bench.floors import TINY_COPY
from ..bench.stats import Spread, ratio

TOLERANCE = 0.25  # a measured time or ratio holds when its middle half comes within this much of the record's number
COPY_SHARE_LIMIT = 0.5  # the record's condition for looking again

HELD, NOT_HELD, NOT_TESTABLE, JUDGEMENT = "held", "did not hold", "not testable there", "judgement"
MET, NOT_MET = "met", "not met"

Outcome = tuple[bool | None, str]  # does the claim hold (None: no number settles it), and the numbers as text
_MODE_CASES = ("record-4", "target_verify-steps-4", "draft_extend-steps-4")


@dataclass(frozen=True)
class Claim:
    """One statement of the record.

    kind: "number", "cause", "judgement" or "criterion".
    test: how a recording answers it, in words; `ask` is the same as code.
    gpu: a statement about GPUs, which a run on a CPU cannot test.
    """

    id: str
    kind: str
    text: str
    test: str
    ask: Callable[[Evidence], Outcome]
    gpu: bool = True


@dataclass(frozen=True)
class Ruling:
    """What one machine's recordings say about a claim; number: the measured numbers as text."""

    claim: Claim
    machine: str
    verdict: str
    number: str


def ledger(evidence: Sequence[Evidence]) -> list[Ruling]:
    """Every claim on every recorded machine. Of a machine's runs the newest that can answer does."""
    machines = dict.fromkeys(run.machine for run in evidence)
    return [
        _settle(claim, [run for run in evidence if run.machine == machine])
        for machine in machines
        for claim in CLAIMS
    ]


def evaluate(claim: Claim, evidence: Evidence) -> Ruling:
    """One claim on one run."""
    try:
        if claim.gpu and not evidence.on_gpu:
            raise NotMeasured("a statement about GPUs; this run had none")
        holds, number = claim.ask(evidence)
    except NotMeasured as missing:
        return Ruling(claim, evidence.machine, NOT_TESTABLE, str(missing))
    return Ruling(claim, evidence.machine, _verdict(claim, holds), number)


def _settle(claim: Claim, newest_first: Sequence[Evidence]) -> Ruling:
    rulings = [evaluate(claim, run) for run in newest_first]
    return next((ruling for ruling in rulings if ruling.verdict != NOT_TESTABLE), rulings[0])


def _verdict(claim: Claim, holds: bool | None) -> str:
    if holds is None:
        return JUDGEMENT
    yes, no = (MET, NOT_MET) if claim.kind == "criterion" else (HELD, NOT_HELD)
    return yes if holds else no


def near(measured: Spread, low: float, high: float | None = None) -> bool:
    """Does the middle half of the samples come within TOLERANCE of the record's number, or of its range?"""
    return measured.overlaps(low * (1 - TOLERANCE), (low if high is None else high) * (1 + TOLERANCE))


def _us(measured: Spread) -> str:
    return f"{measured.median:.4g} us ({measured.q1:.4g}..{measured.q3:.4g})"


def _x(measured: Spread) -> str:
    return f"{measured.median:.3g}x ({measured.q1:.3g}..{measured.q3:.3g})"


def _before_after(steps: int, before: float, after: float, factor: float) -> Callable[[Evidence], Outcome]:
    def ask(e: Evidence) -> Outcome:
        case = RECORD_CASES[steps]
        eager, copy, faster = e.loop(case, "eager"), e.loop(case, "copy"), e.speed_up(case)
        holds = near(eager, before) and near(copy, after) and near(faster, factor)
        return holds, f"{_us(eager)} -> {_us(copy)}, {_x(faster)}"

    return ask


def _one_step(e: Evidence) -> Outcome:
    claimed = {"to(int32)": 5, "cumsum": 15, "table gather": 20, "clamp": 30, "page transform": 40, "cat/arange": 50}
    whole = e.part("record-4", parts.PRECOMPUTE)
    groups = {name: e.part("precompute-parts", name) for name in claimed}
    listed = ", ".join(f"{name} {value.median:.3g}" for name, value in groups.items())
    holds = near(whole, 175) and all(near(groups[name], us) for name, us in claimed.items())
    return holds, f"decode {_us(whole)}; alone: {listed} us"


def _savings(e: Evidence) -> Outcome:
    saved = {n: e.loop(case, "eager").median - e.loop(case, "copy").median for n, case in RECORD_CASES.items()}
    holds = all(near(_without_spread(saved[n]), claimed) for n, claimed in ((4, 465), (8, 1105)))
    return holds, f"{saved[4]:.4g} us at 4 steps, {saved[8]:.4g} us at 8"


def _without_spread(value: float) -> Spread:
    return Spread(value, value, value, 1)


def _steps_equal(e: Evidence) -> Outcome:
    modes = e.all(kind="fact", name="steps are equal")
    cells = sum(row["cells"] for row in modes)
    return all(row["value"] for row in modes), f"{cells:,} cells of {len(modes)} modes compared"


def _columns_cached(e: Evidence) -> Outcome:
    gain = ratio(e.part("precompute-parts", parts.REBUILT), e.part("precompute-parts", parts.CACHED))
    return near(gain, 2), f"the transform is {_x(gain)} faster with its index tensor cached"


def _columns_help(e: Evidence) -> Outcome:
    gain = ratio(e.part("precompute-parts", parts.SLICED), e.part("precompute-parts", parts.CACHED))
    return None, f"slicing / cached indices = {_x(gain)}; below 1 the cache loses to a plain slice"


def _copies_per_step(e: Evidence) -> Outcome:
    counts = {case: e.row(case, parts.COPY_ONE, kind="plan")["copies"] for case in _MODE_CASES}
    return all(6 <= n <= 7 for n in counts.values()), ", ".join(f"{n} in {case}" for case, n in counts.items())


def _one_step_copied(e: Evidence) -> Outcome:
    cost = e.part("record-4", parts.COPY_ONE, "copy")
    return near(cost, 20, 30), _us(cost)


def _launch(e: Evidence) -> Outcome:
    tiny, large = e.spread("record-4", TINY_COPY, kind="floor"), e.part("record-4", parts.ONE_COPY, "copy")
    return near(tiny, 2, 3) and near(large, 2, 3), f"4-byte copy_ {_us(tiny)}, the page table's {_us(large)}"


def _memcpy(e: Evidence) -> Outcome:
    copies = [row for row in e.all(kind="copy") if row["operation"] is not None]
    if not copies:
        raise NotMeasured("the profiler saw no device operation")
    counts = []
    for flat, name in ((True, "contiguous"), (False, "strided")):
        kinds = [row["operation"] for row in copies if row["contiguous"] is flat]
        counts += [f"{name}: {kinds.count(kind)} of {len(kinds)} a {kind}" for kind in sorted(set(kinds))]
    return all(row["operation"] == "memcpy" for row in copies), "; ".join(counts)


def _handles_everything(e: Evidence) -> Outcome:
    dense = [row for row in e.all(kind="strategy", name="copy") if row["flashmla"] == "dense"]
    strided = [row for row in e.all(kind="plan") if row["contiguous_copies"] < row["copies"]]
    if not dense or not strided:
        raise NotMeasured("no dense FlashMLA case, or no strided copy, was measured")
    wrong = [row for row in e.rows if row["kind"] == "error" and row.get("strategy") == "copy"]
    cells = sum(row["checked_cells"] for row in e.all(kind="strategy", name="copy"))
    counts = f"{cells:,} cells right, {len(wrong)} cases wrong; {len(strided)} strided, {len(dense)} with objects"
    return not wrong, counts


def _share(e: Evidence) -> Outcome:
    shares = {n: e.copy_share(case) for n, case in RECORD_CASES.items()}
    return all(near(share, 0.10) for share in shares.values()), share_text(shares)


def share_text(shares: dict[int, Spread]) -> str:
    """Shares (0..1) by number of steps, as percent with their quartiles."""
    return ", ".join(f"{s.median:.0%} ({s.q1:.0%}..{s.q3:.0%}) at {n} steps" for n, s in shares.items())


def _seven(e: Evidence) -> Outcome:
    names = ("copy", "batched-each", "batched")
    copy, each, one = (e.part("seven-copies", parts.SEVEN_COPIES, name) for name in names)
    gain = ratio(copy, one)
    holds = near(copy, 28.7) and near(each, 40.85, 41.43) and near(one, 19.38) and near(gain, 1.48)
    return holds, f"copy_ {_us(copy)}, seven launches {_us(each)}, one launch {_us(one)}: {_x(gain)}"


def _saved_per_call(e: Evidence) -> Outcome:
    copy, batched = (e.part("record-4", parts.COPY_ONE, name).median for name in ("copy", "batched"))
    saved = copy - batched
    return near(_without_spread(saved), 9), f"{saved:+.3g} us per step ({copy:.4g} -> {batched:.4g})"


def _with_batching(e: Evidence) -> Outcome:
    holds, totals = True, []
    for (n, case), (before, after) in zip(RECORD_CASES.items(), ((235, 220), (295, 280)), strict=True):
        copy, batched = e.loop(case, "copy"), e.loop(case, "batched")
        holds = holds and near(copy, before) and near(batched, after) and batched.median < copy.median
        totals.append(f"{_us(copy)} -> {_us(batched)} ({_gain(e, case):+.0%}) at {n} steps")
    return holds, "; ".join(totals)


def _gain(e: Evidence, case: str) -> float:
    """The part of `copy`'s loop time that batching saves; negative when it costs time."""
    return 1 - e.loop(case, "batched").median / e.loop(case, "copy").median


def _triton_path(e: Evidence) -> Outcome:
    plans = [e.row(case, parts.COPY_ONE, kind="plan") for case in _MODE_CASES]
    counts = [plan["contiguous_copies"] / plan["copies"] for plan in plans]
    volume = [plan["contiguous_bytes"] / plan["copied_bytes"] for plan in plans]
    copies = f"{min(counts):.0%} to {max(counts):.0%} of the copies"
    return 0.8 <= min(counts) and max(counts) <= 0.9, f"{copies}, {min(volume):.2%} to {max(volume):.2%} of the bytes"


def _lines(e: Evidence) -> Outcome:
    lines = e.row("facts", "source lines", strategy="batched")["value"]
    return near(_without_spread(lines), 480), f"{lines} lines for four batched forms, kernels and edge cases"


def _crash(e: Evidence) -> Outcome:
    message = e.row("facts", "FlashMLA metadata.is_contiguous()")["value"]
    return message == "'NSAFlashMLAMetadata' object has no attribute 'is_contiguous'", message


def _device_share(e: Evidence) -> float:
    return e.spread("record-4", "copy", "device_us", kind="strategy").median / e.loop("record-4", "copy").median


def _host_bound(e: Evidence) -> Outcome:
    share = _device_share(e)
    return share < 0.5, f"device time is {share:.1%} of the kept path's loop time at 4 steps"


def _streams(e: Evidence) -> Outcome:
    return None, f"streams overlap device time only, which is {_device_share(e):.1%} of the loop time at 4 steps"


def _flattened(e: Evidence) -> Outcome:
    plan = e.row("record-4", parts.COPY_ONE, kind="plan")
    strided = 1 - plan["contiguous_bytes"] / plan["copied_bytes"]
    return None, f"{strided:.1%} of a step's bytes go into strided slices, which one flat copy cannot fill"


def _past_memcpy(e: Evidence) -> Outcome:
    gains = {name: ratio(e.loop("record-4", "copy"), e.loop("record-4", name)) for name in ("fused", "graph")}
    return None, ", ".join(f"{name} is {_x(gain)} as fast as copy" for name, gain in gains.items()) + " at 4 steps"


def _worth_it(e: Evidence) -> Outcome:
    gains = {n: _gain(e, case) for n, case in RECORD_CASES.items()}
    return None, ", ".join(f"batching saves {gain:+.0%} at {n} steps" for n, gain in gains.items())


def _look_again(e: Evidence) -> Outcome:
    shares = {n: e.copy_share(case).median for n, case in RECORD_CASES.items()}
    listed = ", ".join(f"copies take {share:.0%} at {n} steps" for n, share in shares.items())
    return any(share > COPY_SHARE_LIMIT for share in shares.values()), listed


def _overall(e: Evidence) -> Outcome:
    gains = {n: e.speed_up(case) for n, case in RECORD_CASES.items()}
    listed = ", ".join(f"{_x(gain)} at {n} steps" for n, gain in gains.items())
    return all(near(gain, 3, 5) for gain in gains.values()), listed


_SCENARIO = "bs 32, 4096 tokens, loop time"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P1",
        "number",
        "Computing once takes a replay of 4 steps from 700 to 235 us, 3.0x.",
        f"eager and copy, record-4: {_SCENARIO}",
        _before_after(4, 700, 235, 3.0),
    ),
    Claim(
        "P2",
        "number",
        "Computing once takes a replay of 8 steps from 1400 to 295 us, 4.8x.",
        f"eager and copy, record-8: {_SCENARIO}",
        _before_after(8, 1400, 295, 4.8),
    ),
    Claim(
        "P3",
        "number",
        "One step costs about 175 us to compute: to(int32) 5, cumsum 15 (twice), table gather 20, "
        "clamp 30, page transform 40, cat/arange 50.",
        "precompute alone, and each group of operations alone",
        _one_step,
    ),
    Claim(
        "P4",
        "number",
        "Computing once saves 465 us at 4 steps and 1105 us at 8.",
        "eager minus copy, record-4 and record-8",
        _savings,
    ),
    Claim(
        "P5",
        "cause",
        "All steps get identical inputs, so computing once is exact.",
        "eager's N sets and copy's N sets compared bit for bit, in three modes",
        _steps_equal,
        gpu=False,
    ),
    Claim(
        "P6",
        "number",
        "Caching what the page transform needs makes it 2x faster.",
        "the indexed transform with its index tensor rebuilt every time, over the cached one",
        _columns_cached,
    ),
    Claim(
        "P7",
        "judgement",
        "One cache of strided indices for the whole process helps.",
        "plain slicing over the indexed transform with cached indices",
        _columns_help,
    ),
    Claim(
        "C1",
        "number",
        "A step takes 6 or 7 copies.",
        "length of the copy plan in three modes",
        _copies_per_step,
        gpu=False,
    ),
    Claim("C2", "number", "Copying one step takes 20 to 30 us.", "copies of 1 step, record-4", _one_step_copied),
    Claim(
        "C3",
        "number",
        "A launch costs 2 to 3 us.",
        "loop time of a 4-byte copy_ and of the page table's copy_",
        _launch,
    ),
    Claim(
        "C4", "cause", "copy_ is a cudaMemcpyAsync.", "the profiler's operation behind each copy of a step", _memcpy
    ),
    Claim(
        "C5",
        "cause",
        "copy_ deals with strided tensors and custom objects; it has no edge-case bugs.",
        "copy against the oracle in every case, strided and with FlashMLA objects",
        _handles_everything,
        gpu=False,
    ),
    Claim("C6", "number", "Copies are about 10% of the total.", "copies of N steps over the copy strategy", _share),
    Claim(
        "B1",
        "number",
        "Seven int32 copies take 28.70 us with copy_, 40.85 to 41.43 us in seven Triton launches and "
        "19.38 us in one (1.48x).",
        "seven copies of 32..2048 elements, 1000 back-to-back calls a sample",
        _seven,
    ),
    Claim(
        "B2",
        "number",
        "Batching saves about 9 us per call.",
        "copies of 1 step, copy minus batched, record-4",
        _saved_per_call,
    ),
    Claim(
        "B3",
        "number",
        "With batching 235 becomes about 220 us (6%), and 295 about 280 us (5%).",
        "copy and batched, record-4 and record-8",
        _with_batching,
    ),
    Claim(
        "B4",
        "cause",
        "80 to 90% of the copies take the Triton path; falling back is rare.",
        "pairs of the copy plan that are contiguous on both sides, and their bytes",
        _triton_path,
        gpu=False,
    ),
    Claim(
        "B5",
        "number",
        "The batched kernel needs 480 lines.",
        "lines of this project's batched strategies and their kernels",
        _lines,
        gpu=False,
    ),
    Claim(
        "B6",
        "cause",
        "It crashed: 'NSAFlashMLAMetadata' object has no attribute 'is_contiguous'.",
        "FlashMLA's metadata object is asked what the kernel's caller asked it",
        _crash,
        gpu=False,
    ),
    Claim(
        "B7",
        "cause",
        "The CPU's launch overhead matters more than the GPU's time.",
        "device time over loop time of copy, record-4, below a half",
        _host_bound,
    ),
    Claim(
        "A1",
        "judgement",
        "CUDA streams would not help.",
        "device time over loop time, all that streams could hide",
        _streams,
    ),
    Claim(
        "A2",
        "judgement",
        "One flattened buffer is not practical.",
        "bytes that go into strided slices",
        _flattened,
        gpu=False,
    ),
    Claim(
        "A3",
        "judgement",
        "A kernel of one's own is unlikely to beat cudaMemcpy.",
        "copy over fused and graph, record-4",
        _past_memcpy,
    ),
    Claim(
        "D1",
        "judgement",
        "5 to 6% is not worth the complexity, so batching is reverted.",
        "what batching saves of copy's loop time",
        _worth_it,
    ),
    Claim(
        "D2",
        "criterion",
        "Look again only if copies pass 50% of the total, production shows a bottleneck, or a "
        "significant insight turns up.",
        "the first condition: copy share above 50% at 4 or 8 steps",
        _look_again,
    ),
    Claim(
        "D3",
        "number",
        "Overall the kept path is 3 to 5x faster than the original.",
        "eager over copy at 4 and 8 steps",
        _overall,
    ),
)
