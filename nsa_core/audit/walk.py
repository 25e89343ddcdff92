"""What the SMs would do with a paged-MQA schedule and the lengths of now."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import torch

from ..schedules import SPLIT_KV


@dataclass(frozen=True)
class ScheduleWalk:
    """What the SMs would do with a schedule and the lengths of now.

    terminates: every SM meets its end; DeepGEMM tests for equality, so an SM that steps over its end never stops.
    covers_once: every split of every row is worked on exactly once, and nothing else is.
    busiest, ideal: splits on the busiest SM, and on each if they were shared out evenly.
    stuck_sm: the first SM that never stops.
    """

    terminates: bool
    covers_once: bool
    busiest: int
    ideal: int
    stuck_sm: int | None = None

    @property
    def balanced(self) -> bool:
        return self.busiest <= self.ideal

    @property
    def ok(self) -> bool:
        return self.terminates and self.covers_once and self.balanced

    def __str__(self) -> str:
        if not self.terminates:
            return f"SM {self.stuck_sm} steps over its end and never stops"
        if not self.covers_once:
            return "some splits are worked on never or twice"
        return f"the busiest SM has {self.busiest} splits where {self.ideal} would do"


def walk_schedule(schedule: torch.Tensor, context_lens: torch.Tensor) -> ScheduleWalk:
    """Walk a schedule as DeepGEMM's kernel does, against the lengths a graph would read now.

    schedule: int [num_sms + 1, 2]; context_lens: int [rows in use]. Reads both back; a serial host loop.
    Lengths that grew since the schedule was made leave it exact but uneven. Lengths that shrank below a stored split
    make it endless. A row of length 0 costs one empty task when an SM passes it; that is not counted as a split.
    """
    entries, lengths = [tuple(entry) for entry in schedule.tolist()], context_lens.tolist()
    runs = [_run(begin, end, lengths) for begin, end in pairwise(entries)]
    stuck = next((sm for sm, (_, stops) in enumerate(runs) if not stops), None)
    work = Counter((row, split) for row, length in enumerate(lengths) for split in range(-(-length // SPLIT_KV)))
    done = Counter(task for tasks, _ in runs for task in tasks)
    busiest = max(len(tasks) for tasks, _ in runs)
    return ScheduleWalk(stuck is None, done == work, busiest, -(-work.total() // len(runs)), stuck)


def _run(at: tuple[int, int], end: tuple[int, int], lengths: list[int]) -> tuple[list[tuple[int, int]], bool]:
    """The splits one SM works on before it meets its end, passes it or leaves the rows; and whether it met it."""
    tasks = []
    while at < end and 0 <= at[0] < len(lengths):
        if lengths[at[0]]:
            tasks.append(at)
        at = (at[0], at[1] + 1)
        if at[1] * SPLIT_KV >= lengths[at[0]]:
            at = (at[0] + 1, 0)
    return tasks, at == end
