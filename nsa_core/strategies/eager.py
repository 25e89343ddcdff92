"""Every step computes everything, as the code did before the decision."""

import torch

from ..batch import Extent, ReplayBatch
from ..plan import pair, sources
from .base import NO_STEPS, PlanStrategy, ReplayReport


class Eager(PlanStrategy):
    name = "eager"
    standing = "baseline: what precomputing replaced"

    @torch.inference_mode()
    def replay(self, batch: ReplayBatch, extent: Extent | None) -> ReplayReport:
        copies = 0
        for step, into in enumerate(self.destinations):
            plan = pair(into, sources(self._compute(batch, extent, [step])[0]))
            self._copy_step(step, plan)
            copies += len(plan)
        self.torn = NO_STEPS
        return ReplayReport(self.name, extent.rows, extent.columns, extent.host_reads, {"copy_": copies})
