"""What this machine does while a cell runs: operations counted, and times taken.

Times are shown and never stored; what is stored in their place was recorded.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import ipywidgets as W
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ... import MultiStepBackend, copy_plan, precompute
from ...strategies.batched import describe
from ..bench import Bench, BenchCase, Candidate, Timer, build, parts
from ..bench.device import observer
from ..bench.evidence import Evidence
from ..bench.recording import Row
from .frame import device
from .pictures import table
from .pictures.live import FORMED
from .pictures.tables import Table

NOT_STORED = "Timed on the machine where this cell runs. The times are shown there and not stored."
HOST = "Time of the CPU until the call returns."
UNITS = {"time": "\u00b5s", "GPU": "\u00b5s"}


class Timed(W.HTML):
    """Times taken when a cell ran, as a table in the page; a stored page has what was recorded instead."""

    def __init__(self, rows: Sequence[Row], note: str = "", recorded: Table | None = None):
        self._recorded = recorded
        super().__init__(table(rows, UNITS, caption=f"On {device()}. {note}").html)

    def _repr_mimebundle_(self, **kwargs):
        stored = {"text/plain": NOT_STORED}
        if self._recorded:
            words = {"text/plain": f"{NOT_STORED} Recorded:\n", "text/html": f"<p>{NOT_STORED} Recorded:</p>"}
            stored = {kind: words[kind] + said for kind, said in self._recorded._repr_mimebundle_().items()}
        return super()._repr_mimebundle_(**kwargs) | stored


def replays(case: BenchCase, names: Sequence[str], evidence: Evidence | None = None, budget_s: float = 0.4) -> Timed:
    """Whole replays by strategy, each checked against the oracle first. RuntimeError when one was wrong.

    names: the first is what the others are compared with. What needs a GPU that is not here is named, not timed.
    evidence: where the case was recorded under its name.
    """
    rows: list[Row] = []
    run = Bench(_device(), rows.extend, budget_s=budget_s)
    left_out = [name for name in names if name not in run.strategies]
    run.strategies = {name: run.strategies[name] for name in names if name not in left_out}
    run.case(case)
    if run.failures:
        raise RuntimeError("; ".join(run.failures))
    found = [row for row in rows if row["kind"] == "strategy"]
    note = f"Not timed, since they need a GPU: {', '.join(left_out)}." if left_out else ""
    return Timed(_lines(found), note, _recorded(evidence, case.name, names) if evidence else None)


def _recorded(evidence: Evidence, case: str, names: Sequence[str]) -> Table:
    """How many times as fast is found in each run, so it may differ from the ratio of two times in the table."""
    rows = _lines([evidence.row(case, name, kind="strategy") for name in names])
    times = [evidence.faster(case, name, names[0]).median for name in names]
    shown = [row | {"times as fast": median} for row, median in zip(rows, times, strict=True)]
    return table(shown, UNITS, caption=f"{FORMED} {evidence.brief}")


def _lines(rows: Sequence[Row]) -> list[Row]:
    return [_line(row, rows[0]) for row in rows]


def _line(row: Row, first: Row) -> Row:
    line = {"strategy": row["name"], "time": row["loop_us"], "times as fast": first["loop_us"] / row["loop_us"]}
    return (
        line
        if row["device_us"] is None
        else line | {"GPU": row["device_us"], "GPU operations": int(row["device_ops"])}
    )


def describing(case: BenchCase, evidence: Evidence | None = None, budget_s: float = 0.2) -> Timed:
    """What a kernel's caller does before it can launch: list the copies of a set, then describe each; host times.

    evidence: where the copies of one set were recorded under the case's name.
    """
    inputs = build(case, _device())
    values = precompute(case.config, inputs.req_to_token, inputs.batch, case.mode)
    captured = MultiStepBackend(case.config, inputs.req_to_token, 1).capture(len(inputs.lengths), case.mode)[0]
    plan = copy_plan(captured, values, case.mode)
    elements = sum(src.numel() for _, src in plan)

    def described() -> list[str]:
        sizes = sum(describe(*pair).size for pair in plan)
        return [] if sizes == elements else [f"{sizes} elements are described, the plan has {elements}"]

    calls = (
        Candidate("list them", lambda: copy_plan(captured, values, case.mode), None),
        Candidate("describe them", lambda: [describe(*pair) for pair in plan], described),
        Candidate("copy each with .copy_()", lambda: [dst.copy_(src) for dst, src in plan], None),
    )
    timed = Timer(observer(_device()), budget_s=budget_s).time(calls)
    rows = [{f"the {len(plan)} copies of a set": name, "time": timing.host.median} for name, timing in timed.items()]
    return Timed(rows, HOST, _one_set(evidence, case.name) if evidence else None)


def _one_set(evidence: Evidence, case: str) -> Table:
    names = ("copy", "batched", "batched-strided")
    found = {name: evidence.row(case, parts.COPY_ONE, strategy=name)["host_us"] for name in names}
    rows = [{"the copies of one set, by": name, "time": us} for name, us in found.items()]
    return table(rows, UNITS, caption=f"{HOST} The machine is that of the tables above.")


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.calls[func.overloadpacket.__name__] += 1
        return result


def operations_of(call: Callable[[], object]) -> Counter:
    """The tensor operations of one call by name; views, which move nothing, are left out."""
    with _Counting() as counting:
        call()
    return counting.calls
