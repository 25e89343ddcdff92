"""How long a decode replay takes by what bounds it, launches or bytes: a model fitted to a recording."""

import statistics
from dataclasses import dataclass

from ..bench import BenchCase, build
from ..bench.bytes_moved import BytesMoved, bytes_moved
from ..bench.evidence import Evidence, NotMeasured
from ..bench.floors import ONE_NODE_GRAPH
from ..bench.recording import Row
from ..bench.report import bandwidth
from .break_even import BreakEven, measured_break_even
from .criteria import SIGNIFICANT


@dataclass(frozen=True)
class Times:
    """Loop time of a decode replay by what bounds it: the host's launches, or the device's bytes. Microseconds.

    copies: the break-even model of `copy`. launch: a graph replay with next to nothing in it. start, per_us: the
    device needs start + bytes / per_us, at the bandwidth of a large copy. gap: between two graphs, where the device
    is the bound.
    """

    copies: BreakEven
    launch: float
    start: float
    per_us: float
    gap: float

    def graph(self, moved: int) -> float:
        return max(self.launch, self.start + moved / self.per_us + self.gap)

    def copy(self, steps: int, moved: int) -> float:
        return max(self.copies.copied(steps), moved / self.per_us)

    def by_way(self, steps: int, moved: BytesMoved) -> dict[str, float]:
        return {
            "copy": self.copy(steps, moved.copy),
            "graph": self.graph(moved.generate),
            "shared+graph": self.graph(moved.share),
        }


def fitted(evidence: Evidence) -> Times:
    """The model of a recording's decode cases."""
    rows = graph_rows(evidence)
    per_us = bandwidth(evidence.rows)
    start = statistics.median(row["device_us"] - moved / per_us for row, moved in rows)
    idle = [row["loop_us"] for row, _ in rows if row["device_us"] < 0.5 * row["loop_us"]]
    busy = [row["loop_us"] - row["device_us"] for row, _ in rows if row["device_us"] > 0.7 * row["loop_us"]]
    if not idle or not busy:
        raise NotMeasured("the recording lacks graph replays bound by the launch, or by bytes, to fit to")
    launch, gap = statistics.median(idle), statistics.median(busy)
    return Times(measured_break_even(evidence), launch, start, per_us, gap)


def graph_rows(evidence: Evidence) -> list[tuple[Row, int]]:
    """Decode rows of both graph strategies, and the bytes each has to move."""
    sizes = {"graph": "bytes_generate", "shared+graph": "bytes_share"}
    return [
        (row, row[sizes[row["name"]]]) for row in evidence.all(kind="strategy", mode="decode") if row["name"] in sizes
    ]


def errors(evidence: Evidence) -> list[float]:
    """How far the model is off, modelled over recorded loop time minus 1, in every decode replay by graph.

    Cases whose own floor, timed in turns with them, was slow too are left out: the machine was, not the model.
    """
    times = fitted(evidence)
    floors = {row["case"]: row["loop_us"] for row in evidence.all(kind="floor", name=ONE_NODE_GRAPH)}
    slow = {case for case, us in floors.items() if us > SIGNIFICANT * statistics.median(floors.values())}
    rows = [(row, moved) for row, moved in graph_rows(evidence) if row["case"] not in slow]
    return [times.graph(moved) / row["loop_us"] - 1 for row, moved in rows]


def one_set_wins_from(evidence: Evidence, steps: int) -> int:
    """Tokens in a decode batch, a power of two, from which on one set is significantly faster than N."""
    times, unit = fitted(evidence), moved_by(BenchCase("unit", bs=1, lengths=1024, steps=steps))
    for k in range(10, 31):
        us = times.by_way(steps, scaled(unit, 2**k / 1024))
        if us["graph"] >= SIGNIFICANT * us["shared+graph"]:
            return 2**k
    raise ValueError(f"{steps} steps: one set is nowhere faster; with 2 steps or more it is where bytes decide")


def moved_by(case: BenchCase) -> BytesMoved:
    """The bytes of a case, from its inputs built on the CPU."""
    return bytes_moved(case, build(case, "cpu"))


def scaled(moved: BytesMoved, factor: float) -> BytesMoved:
    """A decode batch's bytes grow with its tokens; what does not is a few bytes a request."""
    sizes = (moved.generate, moved.share, moved.copy, moved.recompute)
    return BytesMoved(*(round(factor * size) for size in sizes))
