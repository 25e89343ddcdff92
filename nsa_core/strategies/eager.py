"""Every step computes everything, as the code did before the record."""

from ..batch import ReplayBatch
from ..plan import copy_plan
from .base import NO_STEPS, PlanStrategy, ReplayReport


class Eager(PlanStrategy):
    name = "eager"
    standing = "baseline: what precomputing replaced"

    def replay(self, batch: ReplayBatch) -> ReplayReport:
        copies, used = 0, self._extent(batch)
        for step, captured in enumerate(self.captured.sets):
            plan = copy_plan(captured, self._compute(batch, used, [step])[0], self.captured.mode)
            self._copy_step(step, plan)
            copies += len(plan)
        self.torn = NO_STEPS
        return ReplayReport(self.name, used.rows, used.columns, used.host_reads, {"copy_": copies})
